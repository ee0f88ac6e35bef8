// SPDX-License-Identifier: Apache-2.0
// Statements: declarations, assignments, control flow that is known, and handing over what is not.
#include <string.h>
#include "frontend/eval_internal.h"

enum { MAX_EXPANSIONS = 100000 };

static void kernel_only(fe_eval *e, const char *what, vm_span at) {
    vm_report(e->comp, D_E0324, at, "%s is only possible in a kernel", what);
}

// ---- declarations -------------------------------------------------------------------------------

void fe_bind_pattern(fe_eval *e, const ast *b, fe_value *v, const fe_type *t, bool is_var) {
    if (b->nnames == 1) {
        fe_bind(e, b->names[0], v, t, is_var, b->names_span[0]);
        return;
    }
    const bool fits = v->kind == FV_TUPLE && v->n == b->nnames;
    if (!fits && v->kind != FV_POISON)
        vm_report(e->comp, D_E0322, b->span, "%u names cannot take %s", b->nnames, fe_describe(e, v));
    for (uint32_t i = 0; i < b->nnames; i++) {
        const fe_type *ti = t && t->kind == FT_TUPLE && i < t->items->n && t->items->item[i]->kind == FV_TYPE
                                ? t->items->item[i]->type : NULL;
        fe_bind(e, b->names[i], fits ? v->item[i] : fe_poison(e), ti, is_var, b->names_span[i]);
    }
}

void fe_exec_const(fe_eval *e, const ast *n) {
    for (uint32_t i = 0; i < n->nkids; i++) {
        const ast *b = n->kid[i];
        if (b->kind != AST_BIND) continue;
        const fe_type *t = b->kid[0] ? fe_type_expr(e, b->kid[0]) : NULL;
        fe_value *v = fe_kid(b, 1) ? fe_expr(e, b->kid[1]) : fe_poison(e);
        if (b->kid[0]) v = t ? fe_coerce(e, v, t, b->span) : fe_poison(e);
        if (!fe_all_known(v) && v->kind != FV_STRUCT) {
            vm_report(e->comp, D_E0308, b->kid[1]->span, "constant '%s' must be known at compile time, but this is %s",
                      b->names[0], fe_describe(e, v));
            v = fe_poison(e);
        }
        fe_bind_pattern(e, b, v, t, false);
    }
}

/// A variable's initial value: scalars become values of run time, structs and tuples leaf by leaf.
static fe_value *declare_leaves(fe_eval *e, const char *name, fe_value *v, bool is_var, ast *attrs, vm_span at) {
    switch (v->kind) {
    case FV_STRUCT: case FV_TUPLE: {
        fe_value *r = vm_dup(e->arena, v, sizeof *v);
        r->item = vm_newn(e->arena, fe_value *, v->n + 1);
        for (uint32_t i = 0; i < v->n; i++)
            r->item[i] = fe_foreign(v->item[i]) ? v->item[i]
                                                : declare_leaves(e, name, v->item[i], is_var, attrs, at);
        return r;
    }
    case FV_INT: case FV_FLOAT: case FV_BOOL:
        return is_var ? e->hooks->declare(e, name, NULL, v, is_var, attrs, at) : v;
    case FV_RT: case FV_TENSOR: return e->hooks->declare(e, name, NULL, v, is_var, attrs, at);
    default: return v;
    }
}

static fe_value *declare(fe_eval *e, const ast *b, const char *name, const fe_type *t, fe_value *v, bool is_var, ast *attrs) {
    const bool hooked = e->hooks && e->hooks->declare;
    if (v && v->kind == FV_POISON) return v;
    if (t && (t->kind == FT_META || t->kind == FT_TUPLE || (t->kind == FT_STRUCT && t->space == FS_NONE))) {
        if (!v) {
            vm_report(e->comp, D_E0309, b->span, "'%s' needs an initial value", name);
            return fe_poison(e);
        }
        v = fe_coerce(e, v, t, b->span);
        return hooked ? declare_leaves(e, name, v, is_var, attrs, b->span) : v;
    }
    if (t && t->kind == FT_SCALAR && v && !fe_foreign(v)) {
        v = fe_coerce(e, v, t, b->span);
        if (!is_var || v->kind == FV_POISON) return v;
    }
    if (hooked && t) return e->hooks->declare(e, name, t, v, is_var, attrs, b->span);
    if (hooked) return declare_leaves(e, name, v, is_var, attrs, b->span);
    if (!v) {
        if (t && t->kind == FT_SCALAR) return fe_from_code(e, t->elem, 0);
        if (t) kernel_only(e, "a tile or memory", b->span);
        return fe_poison(e);
    }
    return t ? fe_coerce(e, v, t, b->span) : v;
}

static const fe_type *binding_type(fe_eval *e, const fe_type *t, const fe_value *v) {
    return t ? t : fe_type_of_value(e, v);
}

static void let(fe_eval *e, const ast *n) {
    const bool is_var = n->kind == AST_VAR;
    for (uint32_t i = 0; i < n->nkids; i++) {
        const ast *b = n->kid[i];
        if (b->kind != AST_BIND) continue;
        const fe_type *t = b->kid[0] ? fe_type_expr(e, b->kid[0]) : NULL;
        fe_value *v = fe_kid(b, 1) ? fe_expr(e, b->kid[1]) : NULL;
        if (!v && !b->kid[0]) {
            vm_report(e->comp, D_E0309, b->span, "'%s' needs a type or an initial value", b->names[0]);
            v = fe_poison(e);
        }
        if (v && v->kind == FV_NONE) {
            vm_report(e->comp, D_E0304, b->kid[1]->span, "this yields no value");
            v = fe_poison(e);
        }
        if (b->kid[0] && !t) v = fe_poison(e);
        if (b->nnames == 1) {
            v = declare(e, b, b->names[0], t, v, is_var, n->attrs);
            fe_bind(e, b->names[0], v, binding_type(e, t, v), is_var, b->names_span[0]);
            continue;
        }
        const bool fits = v && v->kind == FV_TUPLE && v->n == b->nnames;
        if (!fits && (!v || v->kind != FV_POISON))
            vm_report(e->comp, D_E0322, b->span, "%u names cannot take %s", b->nnames, v ? fe_describe(e, v) : "nothing");
        for (uint32_t k = 0; k < b->nnames; k++) {
            const fe_type *tk = t && t->kind == FT_TUPLE && k < t->items->n && t->items->item[k]->kind == FV_TYPE
                                    ? t->items->item[k]->type : NULL;
            fe_value *vk = fits ? declare(e, b, b->names[k], tk, v->item[k], is_var, n->attrs) : fe_poison(e);
            fe_bind(e, b->names[k], vk, binding_type(e, tk, vk), is_var, b->names_span[k]);
        }
    }
}

// ---- assignment ---------------------------------------------------------------------------------

static fe_value *set_field(fe_eval *e, fe_value *x, const char *name, fe_value *v, vm_span at) {
    for (uint32_t i = 1; x->kind == FV_STRUCT && i < x->decl->nkids; i++) {
        if (strcmp(x->decl->kid[i]->name, name) != 0) continue;
        fe_value *r = vm_dup(e->arena, x, sizeof *x);
        r->item = vm_dup(e->arena, x->item, x->n * sizeof *x->item);
        v = fe_coerce(e, v, fe_type_of_value(e, x->item[i - 1]), at);
        r->item[i - 1] = v;
        return r;
    }
    if (x->kind != FV_POISON && v->kind != FV_POISON)
        vm_report(e->comp, D_E0310, at, "%s has no field '%s' to assign", fe_describe(e, x), name);
    return x;
}

static bool writable(fe_eval *e, const fe_binding *b, const char *name, vm_span at) {
    if (b->is_var) return true;
    if (b->value && b->value->kind == FV_POISON) return false;
    vm_diag *d = vm_report(e->comp, D_E0314, at, "'%s' cannot be assigned", name);
    vm_label(e->comp, d, b->span, "declared here without 'var'");
    return false;
}

static fe_value *operand(fe_eval *e, const ast *n, fe_value *(*read)(fe_eval *, const ast *)) {
    fe_value *v = fe_expr(e, n->kid[1]);
    return n->op == OP_NONE ? v : fe_binary(e, n->op, read(e, n->kid[0]), v, n->span);
}

static fe_value *read_target(fe_eval *e, const ast *t) { return fe_expr(e, t); }

/// Assigns v to a chain of names, fields and indices; returns false if the target is no place.
static void assign_to(fe_eval *e, const ast *t, fe_value *v, vm_span at) {
    t = fe_bare(t);
    switch (t->kind) {
    case AST_ID: {
        if (!strcmp(t->name, "_")) return;
        fe_binding *b = fe_find(e->scope, t->name);
        if (!b) {
            fe_lookup(e, t->name, t->span); // reports
            return;
        }
        if (!writable(e, b, t->name, t->span)) return;
        const fe_type *ty = binding_type(e, b->type, b->value ? b->value : fe_poison(e));
        b->value = b->value && b->value->kind == FV_POISON ? b->value : fe_coerce(e, v, ty, at);
        return;
    }
    case AST_TUPLE:
        if (v->kind == FV_POISON) return;
        if (v->kind != FV_TUPLE || v->n != t->nkids) {
            vm_report(e->comp, D_E0322, at, "%u targets cannot take %s", t->nkids, fe_describe(e, v));
            return;
        }
        for (uint32_t i = 0; i < t->nkids; i++) assign_to(e, t->kid[i], v->item[i], at);
        return;
    case AST_MEMBER: {
        fe_value *x = fe_expr(e, t->kid[0]);
        if (x->kind == FV_POISON || v->kind == FV_POISON) return;
        const ast *base = fe_bare(t->kid[0]);
        fe_value *r = set_field(e, x, t->name, v, at);
        if (r == x) return;
        if (base->kind == AST_ID) {
            fe_binding *b = fe_find(e->scope, base->name);
            if (b && writable(e, b, base->name, base->span)) b->value = r;
        } else assign_to(e, base, r, at);
        return;
    }
    case AST_INDEX: {
        const ast *base = fe_bare(t->kid[0]);
        fe_value *x = fe_expr(e, base);
        fe_args args;
        fe_eval_args(e, t->nkids - 1, t->kid + 1, &args);
        if (x->kind == FV_POISON || v->kind == FV_POISON) return;
        for (uint32_t i = 0; i < args.n; i++)
            if ((args.at[i].v && args.at[i].v->kind == FV_POISON) || (args.at[i].v2 && args.at[i].v2->kind == FV_POISON)) return;
        fe_binding *holder = base->kind == AST_ID ? fe_find(e->scope, base->name) : NULL;
        if (x->kind == FV_LIST || x->kind == FV_TUPLE) { // compile-time lists
            if (fe_index(e, x, &args, t->span)->kind == FV_POISON) return;
            fe_value *r = vm_dup(e->arena, x, sizeof *x);
            r->item = vm_dup(e->arena, x->item, x->n * sizeof *x->item);
            r->item[args.at[0].v->i] = v;
            assign_to(e, base, r, at);
            return;
        }
        if (e->hooks && e->hooks->store_index) e->hooks->store_index(e, x, holder, &args, v, at);
        else vm_report(e->comp, D_E0314, t->span, "elements of %s cannot be assigned here", fe_describe(e, x));
        return;
    }
    case AST_ERROR: return;
    default: vm_report(e->comp, D_E0314, t->span, "this cannot be assigned"); return;
    }
}

// ---- control ------------------------------------------------------------------------------------

/// Runs a hook whose bodies execute under run-time control. `loop`: it is a loop itself.
typedef struct {
    bool active;
    int loop;
} region;
static region enter_region(fe_eval *e, bool loop) {
    const region r = {e->flow.active, e->loop};
    if (e->hooks->return_) e->flow.active = false;
    e->loop = loop ? 2 : e->loop == 1 ? 3 : e->loop;
    return r;
}
static void leave_region(fe_eval *e, region r) {
    e->flow.active = r.active;
    e->loop = r.loop;
    e->flow.jumping = false;
}

static fe_value *condition(fe_eval *e, const ast *n) {
    fe_value *c = fe_expr(e, n);
    if (c->kind == FV_BOOL || c->kind == FV_POISON || c->kind == FV_RT) return c;
    vm_report(e->comp, D_E0305, n->span, "a condition is a bool, not %s", fe_describe(e, c));
    return fe_poison(e);
}

static void exec_if(fe_eval *e, ast *n) {
    fe_value *c = condition(e, n->kid[0]);
    if (c->kind == FV_POISON) return;
    if (c->kind == FV_BOOL) {
        const ast *branch = c->i ? n->kid[1] : fe_kid(n, 2);
        if (!branch) return;
        if (branch->kind == AST_BLOCK) fe_exec_stmts(e, branch);
        else fe_exec_stmt(e, branch);
        return;
    }
    if (n->flag) {
        vm_report(e->comp, D_E0308, n->kid[0]->span, "the condition of 'const if' must be known at compile time");
        return;
    }
    if (!e->hooks || !e->hooks->if_) {
        kernel_only(e, "a condition of run time", n->span);
        return;
    }
    const region r = enter_region(e, false);
    e->hooks->if_(e, c, n);
    leave_region(e, r);
}

/// One pass of a known loop. False: leave the loop.
static bool loop_body(fe_eval *e, const ast *body) {
    fe_exec_stmts(e, body);
    if (e->exhausted) return false;
    if (!e->flow.jumping) return true;
    if (e->flow.kind == AST_CONTINUE) {
        e->flow.jumping = false;
        return true;
    }
    if (e->flow.kind == AST_BREAK) e->flow.jumping = false;
    return false;
}

static bool expand(fe_eval *e, const ast *n, fe_value *v) {
    if (n->flag && ++e->expansions > MAX_EXPANSIONS) {
        if (!e->exhausted)
            vm_report(e->comp, D_E0703, n->span, "'const for' expands to more than %d bodies", MAX_EXPANSIONS);
        e->exhausted = true;
        return false;
    }
    fe_push(e);
    fe_bind(e, n->name, v, NULL, false, n->name_span);
    const bool go = loop_body(e, n->kid[2]);
    fe_pop(e);
    return go;
}

static void exec_for(fe_eval *e, ast *n) {
    fe_value *r = fe_expr(e, n->kid[0]);
    fe_value *step = n->kid[1] ? fe_expr(e, n->kid[1]) : fe_int(e, 1);
    if (r->kind == FV_POISON || step->kind == FV_POISON) return;
    const int old = e->loop;
    if (r->kind == FV_TUPLE || r->kind == FV_LIST) {
        e->loop = 1;
        for (uint32_t i = 0; i < r->n && expand(e, n, r->item[i]); i++) {}
        e->loop = old;
        return;
    }
    if (r->kind != FV_RANGE) {
        vm_report(e->comp, D_E0328, n->kid[0]->span, "'for' needs a range, not %s", fe_describe(e, r));
        return;
    }
    fe_value *lo = r->item[0], *hi = r->item[1];
    if (!n->flag && e->hooks && e->hooks->for_) {
        if (step->kind == FV_INT && step->i <= 0) {
            vm_report(e->comp, D_E0328, n->kid[1]->span, "the step must be positive");
            return;
        }
        const region g = enter_region(e, true);
        e->hooks->for_(e, lo, hi, step, n);
        leave_region(e, g);
        return;
    }
    if (lo->kind != FV_INT || hi->kind != FV_INT || step->kind != FV_INT) {
        const fe_value *bad = lo->kind != FV_INT ? lo : hi->kind != FV_INT ? hi : step;
        vm_report(e->comp, fe_is_known(bad) ? D_E0328 : D_E0308, n->kid[0]->span,
                  "the range of this loop must be integers known at compile time, not %s", fe_describe(e, bad));
        return;
    }
    if (step->i <= 0) {
        vm_report(e->comp, D_E0328, n->kid[1]->span, "the step must be positive");
        return;
    }
    const fe_value *typed = lo->typed ? lo : hi->typed ? hi : step;
    e->loop = 1;
    for (int64_t i = lo->i; i < hi->i; i += step->i) {
        if (!expand(e, n, typed->typed ? fe_int_of(e, typed->dtype, i) : fe_int(e, i))) break;
        if (i > INT64_MAX - step->i) break;
    }
    e->loop = old;
}

static void exec_while(fe_eval *e, ast *n) {
    if (e->hooks && e->hooks->while_) {
        const region g = enter_region(e, true);
        e->hooks->while_(e, n);
        leave_region(e, g);
        return;
    }
    const int old = e->loop;
    e->loop = 1;
    for (;;) {
        fe_value *c = condition(e, n->kid[0]);
        if (c->kind == FV_RT) kernel_only(e, "a condition of run time", n->kid[0]->span);
        if (c->kind != FV_BOOL || !c->i || !loop_body(e, n->kid[1])) break;
    }
    e->loop = old;
}

static void jump(fe_eval *e, ast *n) {
    const char *what = n->kind == AST_BREAK ? "break" : "continue";
    if (e->loop == 0) vm_report(e->comp, D_E0317, n->span, "'%s' outside of a loop", what);
    else if (e->loop == 3) {
        vm_report(e->comp, D_E0318, n->span, "'%s' depends on run time, but its loop is expanded at compile time", what);
    } else if (e->loop == 2 && e->hooks && e->hooks->jump) e->hooks->jump(e, n);
    e->flow.jumping = true;
    e->flow.kind = (int)n->kind;
    e->flow.value = NULL;
}

static void exec_return(fe_eval *e, ast *n) {
    fe_value *v = fe_kid(n, 0) ? fe_expr(e, n->kid[0]) : fe_none(e);
    if (e->ret_type) v = fe_coerce(e, v, e->ret_type->type, n->span);
    if (!e->flow.active && e->hooks && e->hooks->return_) e->hooks->return_(e, v, n);
    else if (e->hooks && e->hooks->return_ && e->calls.n == 0) e->hooks->return_(e, v, n);
    e->flow.jumping = true;
    e->flow.kind = AST_RETURN;
    e->flow.value = v;
}

static void region_stmt(fe_eval *e, ast *n, void (*hook)(fe_eval *, ast *), const char *what) {
    if (!hook) {
        kernel_only(e, what, n->span);
        return;
    }
    region r = enter_region(e, false);
    if (n->kind != AST_FETCH) e->loop = 0;
    hook(e, n);
    leave_region(e, r);
}

static void exec_run(fe_eval *e, const ast *n) {
    const ast *c = fe_bare(n->kid[0]);
    if (!e->hooks || !e->hooks->run) {
        vm_report(e->comp, D_E0323, n->span, "'run' stands in test blocks only");
        return;
    }
    if (c->kind != AST_CALL) {
        vm_report(e->comp, D_E0323, n->span, "'run' needs a call of a kernel");
        return;
    }
    const ast *k = fe_bare(c->kid[0]);
    fe_args metas = {0}, args;
    vm_span at = k->span;
    fe_value *f;
    if (k->kind == AST_INDEX) {
        f = fe_expr(e, k->kid[0]);
        fe_eval_args(e, k->nkids - 1, k->kid + 1, &metas);
        at = k->kid[0]->span;
    } else f = fe_expr(e, k);
    fe_eval_args(e, c->nkids - 1, c->kid + 1, &args);
    if (f->kind == FV_POISON) return;
    if (f->kind != FV_KERNEL) {
        vm_report(e->comp, D_E0323, at, "'run' starts kernels, not %s", fe_describe(e, f));
        return;
    }
    for (uint32_t i = 0; i < metas.n; i++)
        if (metas.at[i].v && metas.at[i].v->kind == FV_POISON) return;
    for (uint32_t i = 0; i < args.n; i++)
        if (args.at[i].v && args.at[i].v->kind == FV_POISON) return;
    e->hooks->run(e, f, &metas, &args, at);
}

// ---- the walk -----------------------------------------------------------------------------------

void fe_exec_stmts(fe_eval *e, const ast *block) {
    if (!block) return;
    fe_scope *old = e->scope;
    fe_push(e);
    for (uint32_t i = 0; i < block->nkids && !e->flow.jumping && !e->exhausted; i++) fe_exec_stmt(e, block->kid[i]);
    e->scope = old;
}

void fe_exec_block(fe_eval *e, const ast *block) {
    e->flow.jumping = false;
    fe_exec_stmts(e, block);
    e->flow.jumping = false;
}

void fe_exec_stmt(fe_eval *e, const ast *node) {
    ast *n = (ast *)(uintptr_t)node; // hooks take a mutable tree but do not change it
    if (!fe_tick(e, n->span)) return;
    const fe_hooks *h = e->hooks;
    switch (n->kind) {
    case AST_BLOCK: fe_exec_stmts(e, n); break;
    case AST_CONST: fe_exec_const(e, n); break;
    case AST_LET: case AST_VAR: let(e, n); break;
    case AST_ASSIGN: assign_to(e, n->kid[0], operand(e, n, read_target), n->span); break;
    case AST_EXPR: fe_expr(e, n->kid[0]); break;
    case AST_IF: exec_if(e, n); break;
    case AST_FOR: exec_for(e, n); break;
    case AST_WHILE: exec_while(e, n); break;
    case AST_FETCH: region_stmt(e, n, h ? h->fetch : NULL, "'fetch'"); break;
    case AST_ROLE: region_stmt(e, n, h ? h->role : NULL, "'role'"); break;
    case AST_SIMT: region_stmt(e, n, h ? h->simt : NULL, "'simt'"); break;
    case AST_BREAK: case AST_CONTINUE: jump(e, n); break;
    case AST_RETURN: exec_return(e, n); break;
    case AST_RUN: exec_run(e, n); break;
    case AST_ERROR: break;
    default: fe_expr(e, n); break;
    }
}

// ---- what a region assigns ----------------------------------------------------------------------

typedef struct {
    fe_eval *e;
    VM_VEC(const char *) found;
    VM_VEC(const char *) inner; // names declared inside, innermost last
} assigned;

static void note_root(assigned *a, const ast *t) {
    for (t = fe_bare(t); t && (t->kind == AST_INDEX || t->kind == AST_MEMBER); t = fe_bare(t->kid[0])) {}
    if (!t) return;
    if (t->kind == AST_TUPLE) {
        for (uint32_t i = 0; i < t->nkids; i++) note_root(a, t->kid[i]);
        return;
    }
    if (t->kind != AST_ID) return;
    for (uint32_t i = 0; i < a->inner.n; i++)
        if (!strcmp(a->inner.at[i], t->name)) return;
    const fe_binding *b = fe_find(a->e->scope, t->name);
    if (!b || !b->is_var) return;
    for (uint32_t i = 0; i < a->found.n; i++)
        if (!strcmp(a->found.at[i], t->name)) return;
    vm_push(a->e->arena, &a->found, t->name);
}

static void collect(assigned *a, const ast *n) {
    if (!n) return;
    const uint32_t mark = a->inner.n;
    switch (n->kind) {
    case AST_ASSIGN:
        collect(a, n->kid[1]);
        for (uint32_t i = 0; i < n->kid[0]->nkids; i++) collect(a, n->kid[0]->kid[i]);
        note_root(a, n->kid[0]);
        return;
    case AST_BIND:
        for (uint32_t i = 0; i < n->nkids; i++) collect(a, n->kid[i]);
        for (uint32_t i = 0; i < n->nnames; i++) vm_push(a->e->arena, &a->inner, n->names[i]);
        return;
    case AST_CALL: {
        const ast *c = fe_bare(n->kid[0]);
        if (c->kind == AST_INDEX) c = fe_bare(c->kid[0]);
        if (c->kind == AST_MEMBER) {
            const ast *r = fe_bare(c->kid[0]);
            const fe_binding *b = r->kind == AST_ID ? fe_find(a->e->scope, r->name) : NULL;
            if (b && b->value && b->value->kind == FV_STRUCT) note_root(a, r);
        }
        break;
    }
    case AST_FOR: case AST_SIMT:
        if (n->name) vm_push(a->e->arena, &a->inner, n->name);
        break;
    case AST_ROLE:
        if (n->name2) vm_push(a->e->arena, &a->inner, n->name2);
        break;
    default: break;
    }
    for (uint32_t i = 0; i < n->nkids; i++) collect(a, n->kid[i]);
    const bool scope = n->kind == AST_BLOCK || n->kind == AST_FOR || n->kind == AST_SIMT || n->kind == AST_ROLE;
    if (scope) a->inner.n = mark;
}

void fe_assigned(fe_eval *e, const ast *tree, uint32_t *n, const char *const **names) {
    assigned a = {.e = e};
    collect(&a, tree);
    *n = a.found.n;
    *names = a.found.at;
}
