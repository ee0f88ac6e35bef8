// SPDX-License-Identifier: Apache-2.0
// The tree that the parser makes. Uniform nodes; what the children are stands in ast.def.
#pragma once
#include "vm/vm.h"

enum ast_kind {
#define AST(kind, name, children) AST_##kind,
#include "frontend/ast.def"
#undef AST
    AST_count_
};

/// Operators of AST_UNARY, AST_BINARY and AST_ASSIGN.
enum ast_op {
    OP_NONE, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_REM, OP_AND, OP_OR, OP_XOR, OP_SHL, OP_SHR,
    OP_LAND, OP_LOR, OP_EQ, OP_NE, OP_LT, OP_GT, OP_LE, OP_GE, OP_IN, OP_NEG, OP_NOT, OP_INV, OP_STAR,
    OP_REG, OP_SHARED, OP_GLOBAL, OP_TMEM
};

typedef struct ast ast;
struct ast {
    enum ast_kind kind;
    enum ast_op op;
    bool flag;
    vm_span span;               // the whole construct
    vm_span name_span;          // of `name` where there is one
    const char *name, *name2;   // interned (strings: arena text)
    const char **names;         // BIND, TUNE_IN, LAMBDA: nnames interned names
    vm_span *names_span;
    uint32_t nnames;
    union {
        uint64_t u;
        double f;
    };
    uint32_t nkids;
    uint32_t height;            // of the tree below; at most 256 (E0701), so walkers may recurse
    ast **kid;
    ast *attrs;                 // chain of attribute arguments (ARG or expression), by `next`
    ast *next;
    const char *doc;            // text of the /// comments before an item, or NULL
};

extern const char *const ast_kind_names[AST_count_];
const char *ast_op_text(enum ast_op op); // "+", "&&", "in", …

/// Parses the source file. Never NULL: after errors (reported in c) the tree holds AST_ERROR nodes.
ast *fe_parse(vm_comp *c, uint32_t file);
/// Token dump and tree dump (`--emit=tokens|ast`), one item a line, indented.
char *fe_tokens_text(vm_comp *c, uint32_t file);
char *fe_ast_text(vm_comp *c, const ast *a);
/// The source formatted; comments kept; fmt(fmt(x)) = fmt(x). NULL if the file has syntax errors.
char *fe_format(vm_comp *c, uint32_t file);
