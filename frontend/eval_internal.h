// SPDX-License-Identifier: Apache-2.0
// What the files of the evaluator share among themselves.
#pragma once
#include "frontend/eval.h"

/// Everything that changes when evaluation moves to another place of the program.
typedef struct {
    fe_scope *scope;
    const fe_hooks *hooks;
    const char *group;
    fe_value *ret_type;
    int loop;
    bool active, jumping;
    int kind;
    fe_value *value;
} fe_state;
fe_state fe_save(const fe_eval *e);
void fe_restore(fe_eval *e, const fe_state *s);

fe_value *fe_new_value(fe_eval *e, enum fe_kind k);
fe_value *fe_list(fe_eval *e, enum fe_kind k, uint32_t n, fe_value **items);
/// An operand that only hooks understand: run-time value or host tensor.
static inline bool fe_foreign(const fe_value *v) { return v->kind == FV_RT || v->kind == FV_TENSOR; }
bool fe_all_known(const fe_value *v); // no RT, no host tensor inside
fe_binding *fe_find_in(const fe_scope *s, const char *name); // this scope only, aliases not followed
fe_scope *fe_new_scope(fe_eval *e, fe_scope *up, fe_module *m, bool border);
fe_value *fe_force(fe_eval *e, fe_scope *where, fe_binding *b);
void fe_unknown_name(fe_eval *e, const char *name, vm_span at); // once a place
bool fe_tick(fe_eval *e, vm_span at); // false: the step limit is exhausted

/// Types of values: TYPE, STRUCT_TYPE, tuples of those. NULL without a report if v is poison or ANY.
const fe_type *fe_as_type(fe_eval *e, fe_value *v, vm_span at);
const fe_type *fe_type_of_value(fe_eval *e, const fe_value *v); // NULL: has none
fe_type *fe_meta_kind(fe_eval *e, const char *name);
fe_value *fe_unary(fe_eval *e, enum ast_op op, fe_value *x, vm_span at);
fe_value *fe_member(fe_eval *e, fe_value *x, const char *name, vm_span at);
fe_value *fe_index(fe_eval *e, fe_value *x, fe_args *args, vm_span at);
fe_value *fe_call_fn(fe_eval *e, fe_value *fn, fe_args *args, fe_binding *receiver, vm_span at);
fe_value *fe_struct_literal(fe_eval *e, fe_value *type, fe_args *args, vm_span at);
fe_value *fe_at(fe_eval *e, fe_value *x, fe_value *lay, vm_span at);
fe_value *fe_cast(fe_eval *e, fe_value *x, const fe_type *to, vm_span at);
/// Binds metas given as `f[…]`: a copy of fn with a scope of those.
fe_value *fe_bind_metas(fe_eval *e, fe_value *fn, fe_args *args, vm_span at);
/// Deduces the unbound metas of `meta` in scope s from a parameter's type pattern and its argument.
void fe_match_type(fe_eval *e, const ast *meta, fe_scope *s, const ast *pattern, const fe_type *actual);
void fe_exec_stmts(fe_eval *e, const ast *block); // own scope, leaves flow alone
/// Evaluates a BIND of a const: binds its names in the current scope.
void fe_exec_const(fe_eval *e, const ast *node);
void fe_bind_pattern(fe_eval *e, const ast *bind, fe_value *v, const fe_type *t, bool is_var);

fe_value *fe_predefined(fe_eval *e, const char *name, vm_span at); // NULL: no such name
bool fe_is_builtin(const char *name);
bool fe_is_predefined(const char *name); // any name fe_predefined knows, types included
void fe_predefined_names(fe_eval *e, uint32_t *n, const char ***names);
const char *fe_bad_type_name(fe_eval *e, const char *name); // message if it looks like a type
fe_value *fe_layout_builtin(fe_eval *e, const char *name, fe_args *args, vm_span at);
fe_value *fe_layout_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at);
fe_value *fe_layout_error(fe_eval *e, vm_span at, const char *what, const char *why);
bool fe_broken(const ast *a); // holds an AST_ERROR: reported, not evaluated
static inline const ast *fe_bare(const ast *a) {
    while (a && a->kind == AST_PAREN && a->nkids) a = a->kid[0];
    return a;
}
static inline ast *fe_kid(const ast *a, uint32_t i) { return a && i < a->nkids ? a->kid[i] : NULL; }
/// `via = bulk`, `order = acquire`: options whose words need no quotes, unless a variable has that name.
bool fe_option_word(fe_eval *e, const ast *arg);
