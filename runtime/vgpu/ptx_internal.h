// SPDX-License-Identifier: Apache-2.0
// What the parts of the PTX parser share: tokens, names with their bindings, scopes, expressions.
// Recursion is bounded by PTX_MAX_NEST everywhere; all memory, the scanner's too, is the arena's.
#pragma once
#include "runtime/vgpu/ptx.h"

#include <setjmp.h>

enum { PTX_MAX_NEST = 64, PTX_MAX_DIMS = 8, PTX_MAX_REGS = 1 << 20, PTX_MAX_INIT = 1 << 26 };

typedef struct ptx_parser ptx_parser;
typedef struct ptx_bind ptx_bind;

/// One spelling: equal names are equal pointers. `bind` is what it means in the innermost scope.
typedef struct ptx_name {
    const char *text;
    uint32_t n, hash;
    struct ptx_name *next;
    ptx_bind *bind;
} ptx_name;

enum ptx_bind_kind { PTX_B_REG, PTX_B_VAR, PTX_B_FUNC, PTX_B_SPECIAL, PTX_B_LABEL, PTX_B_TARGETS, PTX_B_PROTO };
struct ptx_bind {
    uint8_t kind;
    uint8_t vector;       // REG: elements, 1 to 4
    bool noreturn;        // PROTO
    uint32_t depth;
    int32_t index;        // REG, SPECIAL, LABEL, TARGETS
    ptx_var *var;
    ptx_func *func;
    ptx_name *name;
    ptx_bind *outer;
};

/// Punctuation is its character.
enum ptx_token_kind {
    PTX_T_END, PTX_T_NAME = 256, PTX_T_DOT, PTX_T_INT, PTX_T_FLOAT, PTX_T_STRING, PTX_T_SHL, PTX_T_SHR,
    PTX_T_LE, PTX_T_GE, PTX_T_EQ, PTX_T_NE, PTX_T_AND, PTX_T_OR
};
typedef struct {
    int kind;
    const char *text;     // as written, in the parser's copy
    uint32_t n;
    ptx_name *name;       // NAME, DOT (without its dot)
    uint64_t integer;
    double real;
    uint8_t hex_bits;     // FLOAT
    bool is_unsigned;     // INT
    uint32_t line, column;
} ptx_token;

/// A name used before its label may have been seen.
typedef struct {
    ptx_name *name;
    ptx_pos pos;
    uint32_t inst_at;     // a call with a prototype gets `noreturn`
    ptx_opnd *opnd;
    uint32_t *at;
} ptx_pending;

struct ptx_parser {
    vm_arena *arena;
    ptx_error *error;
    jmp_buf failed;
    char *text;
    size_t size, at;      // at: behind the last token
    size_t line_start;
    uint32_t line;
    void *scanner;
    ptx_token tok, ahead;
    bool have_ahead;
    uint32_t last_line;   // of the token before `tok`
    ptx_name **bucket;
    uint32_t nbucket, nname;
    uint32_t depth;       // scopes: 0 special registers, 1 module, 2 function, …
    uint32_t nest;        // of recursion in expressions, lists and initialisers
    VM_VEC(ptx_bind *) bound;
    VM_VEC(ptx_pending) pending;
    uint32_t src_file, src_line;
    uint32_t nregs;       // of the whole module
    ptx_module *module;
    VM_VEC(ptx_var *) vars;
    VM_VEC(ptx_func *) funcs;
    VM_VEC(const char *) files;
    // the function's body
    ptx_func *func;
    VM_VEC(ptx_reg) regs;
    VM_VEC(ptx_var *) locals;
    VM_VEC(ptx_inst) insts;
    VM_VEC(ptx_label) labels;
    VM_VEC(ptx_targets) targets;
    VM_VEC(ptx_opnd) stack; // operands of open lists
};

// ---- ptx_scan.l ---------------------------------------------------------------------------------
void ptx_scan_open(ptx_parser *p);
void ptx_scan_token(ptx_parser *p, ptx_token *t);

// ---- ptx_parse.c: errors, tokens, names, scopes -------------------------------------------------
VM_NORETURN void ptx_fail_at(ptx_parser *p, uint32_t line, const char *fmt, ...) VM_PRINTF(3, 4);
/// About what was read last; ptx_fail_here: about the next token.
#define ptx_fail(p, ...) ptx_fail_at((p), (p)->last_line, __VA_ARGS__)
#define ptx_fail_here(p, ...) ptx_fail_at((p), (p)->tok.line, __VA_ARGS__)
VM_NORETURN void ptx_expected(ptx_parser *p, const char *what);
ptx_name *ptx_intern(ptx_parser *p, const char *s, size_t n);
void ptx_next(ptx_parser *p);
const ptx_token *ptx_peek(ptx_parser *p);
bool ptx_accept(ptx_parser *p, int kind);
void ptx_need(ptx_parser *p, int kind, const char *what);
bool ptx_is_dot(const ptx_parser *p, const char *word);
bool ptx_accept_dot(ptx_parser *p, const char *word);
ptx_name *ptx_need_name(ptx_parser *p, const char *what);
uint64_t ptx_need_int(ptx_parser *p, const char *what, uint64_t most);
ptx_pos ptx_here(const ptx_parser *p);
void ptx_enter(ptx_parser *p); // recursion
void ptx_leave(ptx_parser *p);
ptx_bind *ptx_declare(ptx_parser *p, ptx_name *name, enum ptx_bind_kind kind);
void ptx_scope_open(ptx_parser *p);
void ptx_scope_close(ptx_parser *p, size_t bound, size_t pending);
bool ptx_common_directive(ptx_parser *p); // .loc .file .pragma .section

// ---- ptx_expr.c ---------------------------------------------------------------------------------
typedef struct {
    enum { PTX_V_INT, PTX_V_FLOAT, PTX_V_SYMBOL } kind;
    bool is_unsigned, generic;
    uint8_t hex_bits;
    uint8_t mask_bytes, shift; // 1: number(symbol)
    uint64_t integer;     // SYMBOL: addend
    double real;
    ptx_name *symbol;
} ptx_value;
ptx_value ptx_expression(ptx_parser *p);
uint64_t ptx_constant(ptx_parser *p, const char *what, uint64_t most);

// ---- ptx_decl.c ---------------------------------------------------------------------------------
/// Declarations that start at `.reg`, `.const`, …; `linkage` says what stood before them.
enum { PTX_L_EXTERN = 1, PTX_L_VISIBLE = 2, PTX_L_WEAK = 4, PTX_L_COMMON = 8 };
bool ptx_is_space(const ptx_parser *p);
void ptx_declaration(ptx_parser *p, unsigned linkage);
/// `( … )`; anonymous parameters (`_`) are allowed.
ptx_var *ptx_params(ptx_parser *p, uint32_t *n);
uint32_t ptx_lay_params(ptx_parser *p, ptx_var *v, uint32_t n);
void ptx_bind_params(ptx_parser *p, ptx_var *v, uint32_t n);
void ptx_skip_attribute(ptx_parser *p);

// ---- ptx_body.c ---------------------------------------------------------------------------------
void ptx_body(ptx_parser *p, ptx_func *f); // at '{'
