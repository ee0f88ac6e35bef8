// SPDX-License-Identifier: Apache-2.0
// The formatter. It works on the token stream, so that it cannot change the program: tokens and
// comments keep their order, and only the blanks between them are chosen anew. A "line" here is
// what lies between two line ends that the grammar asks for (after ';', '{', '}' and attributes);
// lines that are too long are broken at commas, brackets and operators.
#include "frontend/syntax.h"
#include <string.h>

#define NONE UINT32_MAX
enum { WIDTH = 100, STEP = 4 };

typedef struct {
    const char *text;
    uint32_t size, width;
    uint8_t row;
    bool space;     // one blank before it (a comment after code: two)
    bool hard;      // a new line before it in any case
    bool may;       // a new line may stand before it …
    uint8_t kind;   // … the less gladly the higher
    uint32_t depth; // brackets around it
    bool comment;
} piece;

typedef struct {
    vm_comp *c;
    const fe_stream *s;
    const fe_token *tok;
    vm_text out;
    VM_VEC(piece) line;
    VM_VEC(uint32_t) trail;  // offsets in `out` of // comments behind code, for align()
    VM_VEC(uint32_t) blocks; // indents of the lines that opened the blocks around us
    uint32_t indent;         // of the current line, in steps
    uint32_t depth;
    uint32_t done;    // source offset up to which everything has been taken
    bool due;         // a line end is owed before the next line
    bool opened;      // the last thing written was a '{': no blank line after it
    bool hard;        // the next piece of the line starts a new line
    bool join;        // the line goes on behind a '}' (else)
    bool in_bars;     // between the bars of a lambda
    bool header;      // in the header of a kernel or fn …
    bool params_done; // … after its parameters
    bool had_clauses;
    uint8_t before;    // row of the last piece; FE_END at the start of a line
    bool before_tight; // … which takes no blank after it
} fmt;

static uint32_t width(const char *s, uint32_t n) {
    uint32_t w = 0;
    for (uint32_t i = 0; i < n; i++) w += ((unsigned char)s[i] & 0xc0) != 0x80;
    return w;
}

static bool ends_operand(const fmt *f, uint32_t i) {
    switch (f->tok[i].row) {
    case K_ID_:
    case K_INT_:
    case K_FLOAT_:
    case K_STRING_:
    case K_TRUE_:
    case K_FALSE_:
    case K_RPAREN_:
        return true;
    case K_RBRACK_:
        return f->tok[i].match == NONE || f->tok[f->tok[i].match].row != K_ATTR_;
    default:
        return false;
    }
}

// ---- writing lines ------------------------------------------------------------------------------

static void line_end(fmt *f) {
    if (f->due) vm_putn(&f->out, "\n", 1);
    f->due = false;
}

static void blanks(fmt *f, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) vm_putn(&f->out, " ", 1);
}

/// Where to break, given that pieces lo .. hi-1 fit on the line: the index of the piece that starts
/// the next line, or hi (there is no choice: keep going to the next possibility).
static uint32_t choose(const fmt *f, uint32_t lo, uint32_t hi, uint32_t column) {
    uint32_t best = NONE, cost = NONE, col = column;
    for (uint32_t i = lo; i <= hi && i < f->line.n; i++) {
        const piece *k = &f->line.at[i];
        if (i > lo && k->may) {
            const uint32_t at =
                k->depth * 22 + k->kind * 3u + (WIDTH - (col < WIDTH ? col : WIDTH)) / 4;
            if (at <= cost) best = i, cost = at;
        }
        col += k->width + k->space;
    }
    if (best != NONE) return best;
    for (uint32_t i = hi + 1; i < f->line.n; i++)
        if (f->line.at[i].may || f->line.at[i].hard) return i;
    return f->line.n;
}

/// A header that does not fit on one line has its parameters on lines of their own.
static void break_header(fmt *f, uint32_t more) {
    uint32_t w = f->indent * STEP + more, open = NONE;
    for (uint32_t i = 0; i < f->line.n; i++) {
        const piece *k = &f->line.at[i];
        w += k->width + (i > 0 && k->space);
        if (open == NONE && k->row == K_LPAREN_ && k->depth == 0) open = i;
    }
    if (w > WIDTH && open != NONE && open + 1 < f->line.n && f->line.at[open + 1].row != K_RPAREN_)
        f->line.at[open + 1].hard = true;
}

static void flush(fmt *f) {
    if (f->line.n == 0) {
        f->join = false;
        return;
    }
    if (f->header && f->line.at[0].row < K_WHERE_) break_header(f, 0);
    uint32_t column = f->indent * STEP;
    if (f->join) {
        vm_putn(&f->out, " ", 1);
        column += 2;
    } else {
        line_end(f);
        blanks(f, column);
    }
    for (uint32_t i = 0; i < f->line.n;) {
        uint32_t end = i, col = column;
        for (; end < f->line.n; end++) { // what fits
            const piece *k = &f->line.at[end];
            if (end > i && k->hard) break;
            const uint32_t w = k->width + (end > i && k->space);
            if (col + w > WIDTH && !k->comment) break;
            col += w;
        }
        if (end < f->line.n && !f->line.at[end].hard) end = choose(f, i, end, column);
        for (uint32_t k = i; k < end; k++) {
            const piece *x = &f->line.at[k];
            if (k > i && x->comment && x->text[1] == '/')
                vm_push(f->c->arena, &f->trail, (uint32_t)f->out.n);
            else if (k > i && x->space)
                blanks(f, 1);
            vm_putn(&f->out, x->text, x->size);
        }
        i = end;
        if (i < f->line.n) {
            vm_putn(&f->out, "\n", 1);
            column = (f->indent + 1) * STEP;
            blanks(f, column);
        }
    }
    f->line.n = 0;
    f->due = true;
    f->hard = f->join = f->opened = false;
    f->before = FE_END;
    f->before_tight = false;
    f->in_bars = false;
}

/// Puts the blanks before comments behind code: two, or more where lines follow each other, so
/// that their comments stand in one column.
static char *align(fmt *f) {
    vm_text t = {.arena = f->c->arena};
    const char *text = f->out.at;
    uint32_t from = 0;
    for (uint32_t i = 0; i < f->trail.n;) {
        uint32_t end = i, most = 0;
        for (; end < f->trail.n; end++) {
            uint32_t lo = f->trail.at[end], lines = 0;
            for (uint32_t k = end > i ? f->trail.at[end - 1] : lo; k < lo; k++)
                lines += text[k] == '\n';
            if (lines > 1) break;
            while (lo > 0 && text[lo - 1] != '\n') lo--;
            const uint32_t w = width(text + lo, f->trail.at[end] - lo);
            if (w > most) most = w;
        }
        for (; i < end; i++) {
            const uint32_t at = f->trail.at[i];
            uint32_t lo = at;
            while (lo > 0 && text[lo - 1] != '\n') lo--;
            vm_putn(&t, text + from, at - from);
            vm_put(&t, "%*s", (int)(most - width(text + lo, at - lo) + 2), "");
            from = at;
        }
    }
    vm_putn(&t, text + from, f->out.n - from);
    return vm_text_end(&t);
}

/// An empty line where the source has at least one before offset `lo`.
static void keep_blank(fmt *f, uint32_t lo) {
    int n = 0;
    for (uint32_t i = f->done; i < lo; i++) n += f->s->src->text[i] == '\n';
    if (n > 1 && f->out.n && !f->opened) {
        line_end(f);
        vm_putn(&f->out, "\n", 1);
    }
}

// ---- comments -----------------------------------------------------------------------------------

static void put_comment(fmt *f, const fe_comment *m) {
    const char *text = f->s->src->text + m->lo;
    const uint32_t n = m->hi - m->lo;
    if (f->line.n) { // inside of a line
        const bool own = m->first;
        const piece k = {.text = text,
                         .size = n,
                         .width = width(text, n),
                         .space = true,
                         .hard = own || f->hard,
                         .comment = true,
                         .row = FE_END,
                         .depth = f->depth};
        vm_push(f->c->arena, &f->line, k);
        f->hard = own || m->line;
    } else if (m->first || f->out.n == 0) {
        keep_blank(f, m->lo);
        line_end(f);
        blanks(f, (f->blocks.n ? f->indent : f->header && f->params_done ? 1 : 0) * STEP);
        vm_putn(&f->out, text, n);
        f->due = true;
        f->opened = false;
    } else { // behind code
        if (m->line)
            vm_push(f->c->arena, &f->trail, (uint32_t)f->out.n);
        else
            blanks(f, 1);
        vm_putn(&f->out, text, n);
        f->due = true;
    }
    f->done = m->hi;
}

static void put_comments(fmt *f, uint32_t i) {
    for (uint32_t k = fe_comment_lo(f->s, i); k < f->tok[i].comment; k++)
        put_comment(f, &f->s->comment.at[k]);
}

// ---- tokens -------------------------------------------------------------------------------------

static bool is_binary_row(uint8_t row) {
    return (row >= K_SET_ && row <= K_REM_) || row == K_IN_ || row == K_AS_ || row == K_STEP_ ||
           row == K_ARROW_ || row == K_WINDOW_;
}

static bool spaced(const fmt *f, uint32_t i, bool closing_bar) {
    const uint8_t row = f->tok[i].row, p = f->before;
    if (p == FE_END || f->before_tight || closing_bar) return false;
    switch (row) {
    case K_RPAREN_:
    case K_RBRACK_:
    case K_COMMA_:
    case K_SEMI_:
    case K_COLON_:
    case K_DOT_:
        return false;
    case K_DOTS_:
        return p == K_COMMA_;
    case K_LPAREN_:
    case K_LBRACK_:
        return !(i && ends_operand(f, i - 1));
    default:
        return true;
    }
}

static void put_token(fmt *f, uint32_t i) {
    const fe_token *t = &f->tok[i];
    const uint8_t row = t->row, p = f->before;
    const bool operand = i && p != FE_END && ends_operand(f, i - 1);
    bool tight = row == K_LPAREN_ || row == K_LBRACK_ || row == K_ATTR_ || row == K_DOT_ ||
                 row == K_DOTS_ || row == K_NOT_ || row == K_INV_;
    bool closing_bar = false, unary = row == K_NOT_ || row == K_INV_;
    if ((row == K_SUB_ || row == K_MUL_) && !operand) tight = unary = true;
    if (row == K_OR_ && f->in_bars)
        closing_bar = true, f->in_bars = false;
    else if (row == K_OR_ && !operand)
        f->in_bars = tight = unary = true;
    if (row == K_RPAREN_ || row == K_RBRACK_) f->depth -= f->depth > 0;

    piece k = {.text = f->s->src->text + t->lo,
               .size = t->hi - t->lo,
               .row = row,
               .space = spaced(f, i, closing_bar),
               .hard = f->hard,
               .depth = f->depth};
    k.width = width(k.text, k.size);
    const bool bars = f->in_bars || closing_bar;
    if (p == K_COMMA_ && !bars)
        k.may = true;
    else if ((p == K_LPAREN_ || p == K_LBRACK_) && row != K_RPAREN_ && row != K_RBRACK_)
        k.may = true, k.kind = 1;
    else if (p == K_SET_ && !bars)
        k.may = true, k.kind = 3;
    else if (!unary && !bars && row != K_SET_ && p != FE_END && is_binary_row(row)) {
        k.may = true;
        k.kind = row == K_AS_ || row == K_IN_ || row == K_WINDOW_ ? 4 : 2;
    }
    if (f->before_tight && p != K_LPAREN_ && p != K_LBRACK_) k.may = false;
    vm_push(f->c->arena, &f->line, k);
    if (row == K_LPAREN_ || row == K_LBRACK_ || row == K_ATTR_) f->depth++;
    f->hard = false;
    f->before = row;
    f->before_tight = tight;
    f->done = t->hi;
}

static uint32_t flat_width(const fmt *f) {
    uint32_t w = f->indent * STEP + (f->join ? 2 : 0);
    for (uint32_t i = 0; i < f->line.n; i++) {
        const piece *k = &f->line.at[i];
        if (k->comment || (k->hard && i)) return NONE;
        w += k->width + (i > 0 && k->space);
    }
    return w;
}

/// Whether the block that opens at token i may stay on the line: it does in the source, it holds
/// one statement (entries of launch and the like: any number) and there is room.
static bool stays(fmt *f, uint32_t i) {
    const uint32_t m = f->tok[i].match;
    const uint8_t first = f->line.n ? f->line.at[0].row : FE_END;
    if (m == NONE || f->tok[m].comment != f->tok[i].comment || f->tok[m + 1].row == K_ELSE_)
        return false;
    if (first == FE_END || first == K_ELSE_ ||
        memchr(f->s->src->text + f->tok[i].lo, '\n', f->tok[m].hi - f->tok[i].lo))
        return false;
    uint32_t semis = 0;
    for (uint32_t k = i + 1; k < m; k++) {
        if (f->tok[k].row == K_LBRACE_ || f->tok[k].row == K_ATTR_) return false;
        semis += f->tok[k].row == K_SEMI_;
    }
    if (semis > 1 && first != K_TUNE_ && first != K_LAUNCH_ && first != K_STRUCT_) return false;
    const uint32_t w = flat_width(f);
    if (w == NONE) return false;
    const fmt saved = *f; // try it and look how wide it is
    for (uint32_t k = i; k <= m; k++) put_token(f, k);
    const bool fits = flat_width(f) <= WIDTH;
    if (!fits) {
        const uint32_t n = saved.line.n;
        const fmt now = *f;
        *f = saved;
        f->line.at = now.line.at; // it may have been moved
        f->line.cap = now.line.cap;
        f->line.n = n;
    }
    return fits;
}

/// Writes the '{' at token i and what belongs on its line; returns the last token taken.
static uint32_t put_open(fmt *f, uint32_t i) {
    const uint32_t m = f->tok[i].match;
    const uint8_t first = f->line.n ? f->line.at[0].row : FE_END;
    if (f->header && f->blocks.n == 0 && first != K_TUNE_ && first != K_LAUNCH_) { // the body
        if (f->had_clauses) {
            flush(f);
            f->indent = 0;
        } else
            break_header(f, 2);
        f->header = f->params_done = false;
    }
    if (m == i + 1 && f->tok[m].comment == f->tok[i].comment) {
        put_token(f, i);
        put_token(f, m);
        f->line.at[f->line.n - 1].space = false;
        flush(f);
        return m;
    }
    if (stays(f, i)) {
        flush(f);
        return m;
    }
    put_token(f, i);
    const uint32_t at = f->indent;
    flush(f);
    vm_push(f->c->arena, &f->blocks, at);
    f->indent = at + 1;
    f->opened = true;
    return i;
}

static void put_close(fmt *f, uint32_t i) {
    flush(f);
    f->indent = f->blocks.n ? f->blocks.at[--f->blocks.n] : 0;
    line_end(f);
    blanks(f, f->indent * STEP);
    vm_putn(&f->out, "}", 1);
    f->due = true;
    f->opened = false;
    f->done = f->tok[i].hi;
    if (f->header && f->blocks.n == 0) f->indent = 1;
}

static bool is_clause(const fmt *f, uint8_t row) {
    return f->header && f->params_done && f->blocks.n == 0 && f->depth == 0 &&
           (row == K_WHERE_ || row == K_REQUIRES_ || row == K_TUNE_ || row == K_LAUNCH_ ||
            row == K_CONST_);
}

static void format(fmt *f) {
    for (uint32_t i = 0; i < f->s->tok.n; i++) {
        const uint8_t row = f->tok[i].row;
        put_comments(f, i);
        if (row == FE_END) break;
        if (is_clause(f, row)) {
            flush(f);
            f->indent = 1;
            f->had_clauses = true;
        }
        if (row == K_RBRACE_) {
            put_close(f, i);
            continue;
        }
        if (row == K_ELSE_ && i && f->tok[i - 1].row == K_RBRACE_ && f->line.n == 0 &&
            fe_comment_lo(f->s, i) == f->tok[i].comment) {
            f->join = true;
        } else if (f->line.n == 0) {
            if (f->header && f->blocks.n == 0 && row == K_LBRACE_) f->indent = 0;
            keep_blank(f, f->tok[i].lo);
        }
        if (row == K_LBRACE_) {
            i = put_open(f, i);
            continue;
        }
        if (f->blocks.n == 0 && f->line.n == 0 && !f->params_done) f->indent = 0;
        put_token(f, i);
        if (f->blocks.n == 0 && (row == K_KERNEL_ || row == K_FN_)) {
            f->header = true;
            f->params_done = f->had_clauses = false;
        }
        if (f->header && row == K_RPAREN_ && f->depth == 0 && f->blocks.n == 0)
            f->params_done = true;
        const bool attr =
            row == K_RBRACK_ && f->tok[i].match != NONE && f->tok[f->tok[i].match].row == K_ATTR_;
        if ((row == K_SEMI_ && f->depth == 0) || (attr && f->depth == 0)) flush(f);
    }
    flush(f);
    line_end(f);
}

char *fe_format(vm_comp *c, uint32_t file) {
    const fe_parser *p = fe_parse_file(c, file);
    if (p->s->bad) return NULL;
    fmt f = {.c = c, .s = p->s, .before = FE_END};
    f.tok = f.s->tok.at;
    f.out.arena = c->arena;
    format(&f);
    return f.out.n ? align(&f) : vm_text_end(&f.out);
}
