// SPDX-License-Identifier: Apache-2.0
// Syntax-error messages: what was found, what could stand there in words of the language, and the
// repair where there is only one.
#include "frontend/syntax.h"
#include <stdarg.h>
#include <string.h>

#define NONE UINT32_MAX
enum { MAX_LISTED = 4, MAX_REPAIRS = 32 };

vm_diag *fe_error(fe_parser *p, enum vm_code code, vm_span at, const char *fmt, ...) {
    p->s->bad = true;
    const uint64_t key = (uint64_t)code << 32 | at.lo;
    for (uint32_t i = 0; i < p->seen.n; i++)
        if (p->seen.at[i] == key) return NULL;
    if (p->seen.n >= FE_MAX_ERRORS || p->s->cut) return NULL;
    vm_push(p->c->arena, &p->seen, key);
    va_list ap;
    va_start(ap, fmt);
    const char *text = vm_vformat(p->c->arena, fmt, ap);
    va_end(ap);
    return vm_report(p->c, code, at, "%s", text);
}

void fe_too_deep(fe_parser *p, vm_span at) {
    if (p->too_deep) return;
    p->too_deep = true;
    vm_diag *d = fe_error(p, D_E0701, at, "nested deeper than %u levels", FE_MAX_NESTING);
    if (d) vm_help(p->c, d, "name inner parts with let or fn");
}

static const char *row_text(fe_parser *p, uint8_t row) {
    const fe_token_row *r = &fe_token_rows[row];
    if (row == K_ID_) return "a name";
    if (row == K_STRING_) return "a string";
    return r->cls == FE_KIND ? r->text : vm_format(p->c->arena, "'%s'", r->text);
}

static const char *found(fe_parser *p, const fe_token *t) {
    const fe_token_row *r = &fe_token_rows[t->row];
    if (t->row == FE_END) return "end of file";
    if (t->row == K_STRING_) return "string";
    if (r->cls != FE_KIND) return vm_format(p->c->arena, "'%s'", r->text);
    const uint32_t n = t->hi - t->lo;
    return vm_format(p->c->arena, "'%.*s%s'", (int)(n > 40 ? 40 : n), p->s->src->text + t->lo,
                     n > 40 ? "…" : "");
}

/// The keyword among `want` that `t` is a misspelling of, or NULL.
static const char *near_word(const fe_token *t, const uint8_t *want, uint32_t n) {
    const char *cand[FE_END];
    size_t m = 0;
    for (uint32_t i = 0; i < n; i++)
        if (want[i] < FE_END && fe_token_rows[want[i]].cls == FE_WORD)
            cand[m++] = fe_token_rows[want[i]].text;
    return t->row == K_ID_ && m ? vm_nearest(t->s, cand, m) : NULL;
}

/// "'a', 'b' or 'c'"
static const char *list(fe_parser *p, const uint8_t *row, uint32_t n) {
    vm_text t = {.arena = p->c->arena};
    for (uint32_t i = 0; i < n; i++)
        vm_put(&t, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", row_text(p, row[i]));
    return vm_text_end(&t);
}

static bool repair(fe_parser *p) {
    p->again = p->repairs++ < MAX_REPAIRS;
    return p->again;
}

static void insert(fe_parser *p, uint32_t i, uint8_t row) {
    fe_stream *s = p->s;
    const fe_token end = s->tok.at[s->tok.n - 1];
    vm_push(p->c->arena, &s->tok, end);
    memmove(&s->tok.at[i + 1], &s->tok.at[i], (s->tok.n - 1 - i) * sizeof *s->tok.at);
    fe_token *t = &s->tok.at[i];
    const uint32_t hi = i ? t[-1].hi : 0;
    *t = (fe_token){.row = row, .made = true, .lo = hi, .hi = hi, .comment = i ? t[-1].comment : 0};
}

static uint32_t innermost_open(const fe_stream *s, uint32_t i) {
    while (i-- > 0) {
        const fe_token *t = &s->tok.at[i];
        const bool open =
            t->row == K_LPAREN_ || t->row == K_LBRACK_ || t->row == K_LBRACE_ || t->row == K_ATTR_;
        if (open) return i;
        if (t->match != NONE && t->match < i) i = t->match;
    }
    return NONE;
}

/// What may follow, without the operators that may follow nearly everything.
static uint32_t without_operators(const uint8_t *want, uint32_t n, uint8_t *out) {
    uint32_t m = 0;
    bool after = false; // after an operand: a list or a statement could end here
    for (uint32_t i = 0; i < n; i++)
        after |= want[i] == K_COMMA_ || want[i] == K_SEMI_ || want[i] == K_LBRACE_;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t r = want[i];
        const bool op = (r >= K_SET_ADD_ && r <= K_REM_) || r == K_IN_ || r == K_AS_ ||
                        r == K_DOT_ || r == K_DOTS_ || r == K_WINDOW_ || r == K_STEP_ ||
                        (r == K_SET_ && after) || ((r == K_LPAREN_ || r == K_LBRACK_) && after);
        if (!op) out[m++] = r;
    }
    return m;
}

void fe_syntax_error(fe_parser *p, const uint8_t *want, uint32_t n) {
    p->recover = true;
    p->s->bad = true;
    if (p->again || p->s->cut) return;
    const fe_stream *s = p->s;
    const uint32_t i = p->last;
    fe_token *t = &s->tok.at[i];
    const fe_token *prev = i ? t - 1 : NULL;
    const vm_span at = fe_tok_span(s, i);
    bool has[FE_END + 1] = {0};
    for (uint32_t k = 0; k < n; k++) has[want[k]] = true;
    const char *what = found(p, t);
    vm_diag *d;

    if (t->row == K_SET_ && has[K_EQ_] && !has[K_SET_]) {
        d = fe_error(p, D_E0201, at, "unexpected '='");
        if (d) {
            vm_help(p->c, d, "comparison is '=='");
            vm_fix(p->c, d, at, "==");
        }
        if (repair(p)) t->row = K_EQ_;
        return;
    }
    // `retrun x;`, `kernal f(…)`: the word before was taken for a name.
    if (prev && prev->row == K_ID_ && !t->first &&
        (prev->first || (i > 1 && (prev[-1].row == K_SEMI_ || prev[-1].row == K_LBRACE_ ||
                                   prev[-1].row == K_RBRACE_))) &&
        (t->row <= K_STRING_ || fe_token_rows[t->row].cls == FE_WORD || t->row == K_LBRACE_)) {
        static const uint8_t words[] = {K_CONST_, K_LET_,   K_VAR_,  K_IF_,   K_ELSE_,   K_FOR_,
                                        K_WHILE_, K_FETCH_, K_ROLE_, K_SIMT_, K_RETURN_, K_RUN_};
        const char *w = near_word(prev, words, sizeof words);
        if (w && s->tok.at[i].brace != NONE) {
            const vm_span before = fe_tok_span(s, i - 1);
            d = fe_error(p, D_E0201, before, "unexpected %s; did you mean '%s'?", found(p, prev),
                         w);
            if (d) vm_fix(p->c, d, before, w);
            return;
        }
    }
    const bool ends = t->first || t->row == K_RBRACE_ || t->row == K_LBRACE_ || t->row == FE_END;
    if (has[K_SEMI_] && prev && ends) {
        const vm_span end = {s->file, prev->hi, prev->hi};
        d = fe_error(p, D_E0201, end, "expected ';'");
        if (d) vm_fix(p->c, d, end, ";");
        if (repair(p)) insert(p, i, K_SEMI_);
        return;
    }
    uint8_t few[FE_END + 1];
    uint32_t nfew = without_operators(want, n, few);
    if (nfew == 0 && n <= MAX_LISTED) memcpy(few, want, nfew = n);
    const char *word = near_word(t, want, n);
    if (word) {
        d = fe_error(p, D_E0201, at, "unexpected %s; did you mean '%s'?", what, word);
        if (d) vm_fix(p->c, d, at, word);
    } else if (has[K_KERNEL_]) {
        d = fe_error(p, D_E0201, at, "unexpected %s; expected %s", what,
                     has[K_IMPORT_] ? "import, const, fn, struct, kernel or test"
                                    : "const, fn, struct, kernel or test after the attribute");
    } else if (has[K_LET_]) {
        d = fe_error(p, D_E0201, at, "unexpected %s; expected a statement%s", what,
                     has[K_RBRACE_] ? " or '}'" : "");
    } else if (has[K_INT_]) {
        d = fe_error(p, D_E0201, at, "unexpected %s; expected an expression", what);
    } else if (nfew && nfew <= MAX_LISTED) {
        d = fe_error(p, D_E0201, at, "unexpected %s; expected %s", what, list(p, few, nfew));
    } else {
        d = fe_error(p, D_E0201, at, "unexpected %s", what);
    }
    if (!d) return;
    const uint8_t r = t->row;
    if (r == FE_END || r == K_SEMI_ || (t->first && !has[K_SEMI_] && !has[K_LET_]) ||
        r == K_RPAREN_ || r == K_RBRACK_ || r == K_RBRACE_ || (t->column1 && t->brace != NONE)) {
        const uint32_t o = innermost_open(s, i);
        const bool block = o != NONE && s->tok.at[o].row == K_LBRACE_;
        if (o != NONE && s->tok.at[o].match != i && !(block && s->tok.at[o].match != NONE))
            vm_label(p->c, d, fe_tok_span(s, o), "this '%s' is not closed",
                     fe_token_rows[s->tok.at[o].row].text);
    }
    if (has[K_ID_] && fe_token_rows[r].cls == FE_WORD && nfew <= MAX_LISTED)
        vm_note(p->c, d, "'%s' is a reserved word", fe_token_rows[r].text);
    if (prev && (r >= K_EQ_ && r <= K_GE_) && has[K_SEMI_])
        vm_help(p->c, d, "comparisons do not chain; join them with '&&'");
    if (r == K_DOTS_ && has[K_SEMI_]) vm_help(p->c, d, "ranges do not nest");
}
