// SPDX-License-Identifier: Apache-2.0
// What the scanner, the parser, its messages and the formatter share. Private to frontend/: other
// folders and the later stages see only ast.h.
#pragma once
#include "frontend/ast.h"

enum fe_class { FE_KIND, FE_WORD, FE_MARK };

/// Rows of tokens.def; FE_END ends a stream. Bison's token numbers are FE_FIRST + row.
enum fe_row {
#define TOKEN(id, spelling, cls) K_##id##_,
#include "frontend/tokens.def"
#undef TOKEN
    FE_END
};
#define FE_FIRST 258
#define FE_MAX_NESTING 256u
#define FE_MAX_ERRORS 1000u // a file; later ones are neither kept nor worked out

typedef struct {
    const char *text;
    enum fe_class cls;
} fe_token_row;
extern const fe_token_row fe_token_rows[FE_END + 1];

typedef struct {
    uint8_t row;  // enum fe_row
    bool first;   // first token of its line
    bool column1; // … and at its very beginning
    bool made;    // inserted by a repair
    uint32_t lo, hi;
    uint32_t comment; // number of comments before this token
    uint32_t brace;   // token of the innermost '{' around it, UINT32_MAX at file level
    uint32_t match;   // brackets: the other one, UINT32_MAX without one
    union {
        uint64_t u;
        double f;
        const char *s; // names interned, strings decoded
    };
} fe_token;

typedef struct {
    uint32_t lo, hi;
    bool line; // to the end of the line; else /* */
    bool first;
} fe_comment;

typedef VM_VEC(ast *) fe_list;

/// State of the scanner (flex's extra) and, once it has run, the token stream.
typedef struct fe_stream {
    vm_comp *c;
    const vm_source *src;
    uint32_t file, at;    // at: end of the last match
    bool bad;             // an error was found, here or by the parser
    bool line_start;      // only blanks since the last newline
    bool cut;             // ended early, by the nesting limit; already reported
    VM_VEC(fe_token) tok; // the last one is FE_END
    VM_VEC(fe_comment) comment;
} fe_stream;

/// State of one run of the parser.
typedef struct fe_parser {
    vm_comp *c;
    fe_stream *s;
    uint32_t at;                       // next token to hand out
    uint32_t last;                     // token handed out last
    uint32_t progress;                 // recovery has been tried for tokens below
    bool recover;                      // skip to a safe place before the next token
    bool again;                        // a token was repaired: parse anew
    bool in_clauses;                   // a kernel's or fn's header is complete
    bool too_deep;                     // E0701 has been reported
    uint8_t queue[FE_MAX_NESTING + 4]; // rows of tokens to hand out first, last one first
    uint32_t nqueue;
    uint32_t repairs;
    VM_VEC(uint64_t) seen; // errors already reported (code and place)
    ast *root;
} fe_parser;

fe_parser *fe_parse_file(vm_comp *c, uint32_t file); // fe_parse, with what it knows besides

/// Scans a file; reports E01xx. tok.n >= 1 always.
fe_stream *fe_scan(vm_comp *c, uint32_t file);
void fe_match(fe_stream *s);                                    // sets brace and match
int fe_find_row(const char *text, size_t n, enum fe_class cls); // row or -1
vm_span fe_tok_span(const fe_stream *s, uint32_t i);
/// Comments right before token i are comment[fe_comment_lo(s, i) .. tok[i].comment).
uint32_t fe_comment_lo(const fe_stream *s, uint32_t i);

/// Flex side (scan.l): fills s.
void fe_scan_run(fe_stream *s);
/// Bison side (parse.y): one run; the tree goes to p->root.
void fe_parse_run(fe_parser *p);

// report.c: messages. Each place is reported once, also over repeated runs.
vm_diag *fe_error(fe_parser *p, enum vm_code code, vm_span at, const char *fmt, ...)
    VM_PRINTF(4, 5); // NULL if it was reported before
/// A syntax error at the token p->last; `want` are the rows that could stand there.
void fe_syntax_error(fe_parser *p, const uint8_t *want, uint32_t n);
void fe_too_deep(fe_parser *p, vm_span at);
void fe_skip(fe_parser *p); // recovery: moves p->at and fills p->queue

// ast.c: nodes for the parser's actions.
ast *fe_node(fe_parser *p, enum ast_kind kind, vm_span span, uint32_t n, ...); // n kids
ast *fe_node_list(fe_parser *p, enum ast_kind kind, vm_span span, bool has_first, ast *first,
                  const fe_list *rest);
ast *fe_error_node(fe_parser *p, vm_span span);
fe_list *fe_list_new(fe_parser *p);
fe_list *fe_list_add(fe_parser *p, fe_list *l, ast *a);
void fe_set_name(ast *a, const char *name, vm_span span);
void fe_set_names(fe_parser *p, ast *a, const fe_list *ids);
void fe_set_doc(fe_parser *p, ast *a, uint32_t lo); // lo: offset of the item's first token
ast *fe_chain(const fe_list *l);                    // links by `next`
