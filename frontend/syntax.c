// SPDX-License-Identifier: Apache-2.0
// The token stream and the driver of the parser: the file is scanned once into an array, the
// grammar runs over the array, and where a message named a sure repair (a missing ';', '=' for
// '==') it runs again over the repaired array, so that one slip costs one message.
#include "frontend/syntax.h"
#include <string.h>

#define NONE UINT32_MAX

const fe_token_row fe_token_rows[FE_END + 1] = {
#define TOKEN(id, spelling, cls) [K_##id##_] = {spelling, FE_##cls},
#include "frontend/tokens.def"
#undef TOKEN
    [FE_END] = {"end of file", FE_KIND},
};

int fe_find_row(const char *text, size_t n, enum fe_class cls) {
    for (int i = 0; i < FE_END; i++) {
        const fe_token_row *r = &fe_token_rows[i];
        if (r->cls == cls && r->text[0] == text[0] && strncmp(r->text, text, n) == 0 && !r->text[n])
            return i;
    }
    return -1;
}

vm_span fe_tok_span(const fe_stream *s, uint32_t i) {
    return (vm_span){s->file, s->tok.at[i].lo, s->tok.at[i].hi};
}

uint32_t fe_comment_lo(const fe_stream *s, uint32_t i) {
    return i ? s->tok.at[i - 1].comment : 0;
}

static bool opens(uint8_t row) {
    return row == K_LPAREN_ || row == K_LBRACK_ || row == K_LBRACE_ || row == K_ATTR_;
}

static bool pair(uint8_t open, uint8_t close) {
    return close == (open == K_LPAREN_ ? K_RPAREN_ : open == K_LBRACE_ ? K_RBRACE_ : K_RBRACK_);
}

/// Pairs brackets. A closing brace closes everything left open inside its block; other closers
/// without their opener pair with nothing, so that one lost bracket does not shift all the rest.
void fe_match(fe_stream *s) {
    VM_VEC(uint32_t) open = {0};
    uint32_t brace = NONE;
    for (uint32_t i = 0; i < s->tok.n; i++) {
        fe_token *t = &s->tok.at[i];
        t->match = NONE;
        t->brace = brace;
        if (opens(t->row)) {
            if (open.n == FE_MAX_NESTING && !s->cut) {
                vm_diag *d = vm_report(s->c, D_E0701, fe_tok_span(s, i),
                                       "brackets nest deeper than %u levels", FE_MAX_NESTING);
                vm_help(s->c, d, "name inner parts with let or fn");
                s->cut = s->bad = true;
                t->row = FE_END;
                s->tok.n = i + 1;
                return;
            }
            vm_push(s->c->arena, &open, i);
            if (t->row == K_LBRACE_) brace = i;
            continue;
        }
        uint32_t n = open.n;
        if (t->row == K_RBRACE_)
            while (n && s->tok.at[open.at[n - 1]].row != K_LBRACE_) n--;
        else if (t->row != K_RPAREN_ && t->row != K_RBRACK_)
            continue;
        if (n == 0 || !pair(s->tok.at[open.at[n - 1]].row, t->row)) continue;
        fe_token *o = &s->tok.at[open.at[n - 1]];
        o->match = i;
        t->match = open.at[n - 1];
        open.n = n - 1;
        if (t->row == K_RBRACE_) t->brace = brace = o->brace;
    }
}

fe_stream *fe_scan(vm_comp *c, uint32_t file) {
    fe_stream *s = vm_new(c->arena, fe_stream);
    s->c = c;
    s->file = file;
    s->src = vm_source_at(c, file);
    fe_scan_run(s);
    const uint32_t n = s->src->size;
    const fe_token end = {
        .row = FE_END, .first = true, .column1 = true, .lo = n, .hi = n, .comment = s->comment.n};
    vm_push(c->arena, &s->tok, end);
    fe_match(s);
    return s;
}

/// Whether a statement or clause starts with this word.
static bool starts_statement(uint8_t row) {
    switch (row) {
    case K_CONST_:
    case K_LET_:
    case K_VAR_:
    case K_IF_:
    case K_FOR_:
    case K_WHILE_:
    case K_FETCH_:
    case K_ROLE_:
    case K_SIMT_:
    case K_BREAK_:
    case K_CONTINUE_:
    case K_RETURN_:
    case K_RUN_:
    case K_ATTR_:
    case K_WHERE_:
    case K_REQUIRES_:
    case K_TUNE_:
    case K_LAUNCH_:
    case K_WHEN_:
        return true;
    default:
        return false;
    }
}

static bool starts_item(const fe_token *t) {
    switch (t->row) {
    case K_IMPORT_:
    case K_FN_:
    case K_STRUCT_:
    case K_KERNEL_:
    case K_TEST_:
        return true;
    case K_CONST_:
    case K_ATTR_:
        return t->column1;
    default:
        return false;
    }
}

/// An item's word at the very beginning of a line: the block before it has lost its '}'.
static bool surely_item(const fe_token *t) {
    return t->column1 && starts_item(t) && t->row != K_CONST_ && t->row != K_ATTR_;
}

static void skip_in_block(fe_parser *p, uint32_t i) {
    const fe_token *tok = p->s->tok.at;
    if (!surely_item(&tok[i]) && tok[i].row != K_LBRACE_) i++;
    for (;; i++) {
        const fe_token *t = &tok[i];
        p->at = i;
        if (t->row == FE_END || t->row == K_SEMI_ || t->row == K_RBRACE_) return;
        if (surely_item(t)) {
            for (uint32_t b = t->brace; b != NONE && p->nqueue < FE_MAX_NESTING; b = tok[b].brace)
                p->queue[p->nqueue++] = K_RBRACE_;
            return;
        }
        if (t->first && starts_statement(t->row)) {
            p->queue[p->nqueue++] = K_SEMI_;
            return;
        }
        if (t->row == K_LBRACE_) {
            if (t->match == NONE) {
                p->at = p->s->tok.n - 1;
                return;
            }
            i = t->match;
            const uint8_t next = tok[i + 1].row;
            if (next == K_ELSE_ || next == K_COMMA_ || next == K_RPAREN_ || next == K_SEMI_)
                continue;
            p->at = i + 1;
            p->queue[p->nqueue++] = K_SEMI_;
            return;
        }
    }
}

static void skip_in_clauses(fe_parser *p, uint32_t i) {
    const fe_token *tok = p->s->tok.at;
    const bool misspelt = tok[i].row == K_ID_ && tok[i + 1].row == K_LBRACE_; // lanch { … }
    if (!starts_item(&tok[i]) && tok[i].row != K_LBRACE_) i++;
    for (;; i++) {
        const fe_token *t = &tok[i];
        p->at = i;
        if (t->row == FE_END || t->row == K_SEMI_) return;
        if (misspelt && t->row == K_LBRACE_ && t->match != NONE) {
            p->at = t->match + 1;
            p->queue[p->nqueue++] = K_SEMI_;
            return;
        }
        if (starts_item(t)) { // no body: give the grammar an empty one
            p->queue[p->nqueue++] = K_RBRACE_;
            p->queue[p->nqueue++] = K_LBRACE_;
            p->queue[p->nqueue++] = K_SEMI_;
            return;
        }
        if (t->row == K_LBRACE_ || (t->first && starts_statement(t->row))) {
            p->queue[p->nqueue++] = K_SEMI_;
            return;
        }
    }
}

static void skip_to_item(fe_parser *p, uint32_t i) {
    const fe_token *tok = p->s->tok.at;
    if (!starts_item(&tok[i]) && tok[i].row != K_LBRACE_) i++;
    for (;; i++) {
        p->at = i;
        if (tok[i].row == FE_END || starts_item(&tok[i])) return;
        if (tok[i].row == K_LBRACE_) {
            if (tok[i].match == NONE) continue;
            i = tok[i].match;
        }
    }
}

/// After an error, moves to where the grammar's error rules can go on: the end of the statement,
/// clause or entry, the end of the block, or the next item. Bison then discards nothing itself
/// but the token at which the error was found.
void fe_skip(fe_parser *p) {
    p->recover = false;
    const uint32_t i = p->last;
    const fe_token *t = &p->s->tok.at[i];
    if (t->row == FE_END || p->nqueue) return;
    // The last recovery led to this very token: let bison drop it, or we would stay here for ever.
    if (i < p->progress) return;
    p->progress = i + 1;
    // The error rules take these two themselves.
    if (t->brace != NONE ? t->row == K_SEMI_ || t->row == K_RBRACE_
                         : p->in_clauses && t->row == K_SEMI_)
        return;
    if (t->brace != NONE)
        skip_in_block(p, i);
    else if (p->in_clauses)
        skip_in_clauses(p, i);
    else
        skip_to_item(p, i);
}

fe_parser *fe_parse_file(vm_comp *c, uint32_t file) {
    fe_stream *s = fe_scan(c, file);
    fe_parser *p = vm_new(c->arena, fe_parser);
    p->c = c;
    p->s = s;
    for (;;) {
        p->at = p->last = p->nqueue = p->progress = 0;
        p->recover = p->again = p->in_clauses = false;
        fe_parse_run(p);
        if (!p->again) break;
        fe_match(s);
    }
    if (!p->root) {
        const vm_span all = {file, 0, s->src->size};
        p->root = fe_node(p, AST_FILE, all, 1, fe_error_node(p, all));
    }
    p->root->span = (vm_span){file, 0, s->src->size};
    return p;
}

ast *fe_parse(vm_comp *c, uint32_t file) {
    return fe_parse_file(c, file)->root;
}

char *fe_tokens_text(vm_comp *c, uint32_t file) {
    const fe_stream *s = fe_scan(c, file);
    vm_text t = {.arena = c->arena};
    for (uint32_t i = 0; i < s->tok.n; i++) {
        const fe_token *k = &s->tok.at[i];
        const fe_token_row *r = &fe_token_rows[k->row];
        uint32_t line, col;
        vm_source_place(s->src, k->lo, &line, &col);
        vm_put(&t, "%u:%u %s", line, col, r->cls == FE_MARK ? "'" : "");
        vm_put(&t, "%s%s", r->text, r->cls == FE_MARK ? "'" : "");
        if (r->cls == FE_KIND && k->row != FE_END) {
            vm_put(&t, " ");
            vm_putn(&t, s->src->text + k->lo, k->hi - k->lo);
        }
        vm_put(&t, "\n");
    }
    return vm_text_end(&t);
}
