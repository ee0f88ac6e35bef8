// SPDX-License-Identifier: Apache-2.0
// Statements with run-time conditions. Variables that a body assigns become carried values; those
// that are known numbers at the entry are materialised, so that one type holds on all paths.
#include "ir/lower.h"

#include <string.h>

// ---- carried variables --------------------------------------------------------------------------

static bool is_leaf(const fe_value *v) {
    return lw_in_space(v, IS_SCALAR) || lw_in_space(v, IS_REG);
}

static bool has_items(const fe_value *v) {
    return v->kind == FV_TUPLE || v->kind == FV_LIST || v->kind == FV_STRUCT;
}

// Declared scalar type of field i of a struct value, as far as its tree says so.
static bool field_type(const fe_value *v, uint32_t i, vm_dtype *t) {
    if (v->kind != FV_STRUCT || !v->decl || i + 1 >= v->decl->nkids) return false;
    const ast *field = v->decl->kid[i + 1];
    const ast *type = field && field->nkids ? field->kid[0] : NULL;
    return type && type->kind == AST_ID && type->name && vm_dtype_find(type->name, t);
}

/// A copy of v in which numbers that may change are constants in registers of their type.
static fe_value *materialise(lower *l, const fe_value *v, const vm_dtype *t, vm_span at) {
    if (has_items(v)) {
        fe_value *r = vm_dup(l->a, v, sizeof *v);
        r->item = vm_newn(l->a, fe_value *, v->n ? v->n : 1);
        for (uint32_t i = 0; i < v->n; i++) {
            vm_dtype ft = T_i32;
            const bool fixed =
                v->kind == FV_STRUCT && lw_number(v->item[i]) && !field_type(v, i, &ft);
            r->item[i] = fixed ? v->item[i]
                               : materialise(l, v->item[i], v->kind == FV_STRUCT ? &ft : NULL, at);
        }
        return r;
    }
    if (!lw_number(v) || (!t && !v->typed)) return vm_dup(l->a, v, sizeof *v);
    ir_value *x = lw_const(l, v, v->typed && v->kind != FV_BOOL ? v->dtype : t ? *t : T_bool, at);
    return x ? lw_rt(l, x) : fe_poison(l->e);
}

fe_value *lw_copy(lower *l, const fe_value *v) {
    fe_value *r = vm_dup(l->a, v, sizeof *v);
    if (!has_items(v)) return r;
    r->item = vm_newn(l->a, fe_value *, v->n ? v->n : 1);
    for (uint32_t i = 0; i < v->n; i++) r->item[i] = lw_copy(l, v->item[i]);
    return r;
}

typedef VM_VEC(fe_value *) leaves;

static void collect(lower *l, fe_value *v, leaves *out) {
    if (has_items(v))
        for (uint32_t i = 0; i < v->n; i++) collect(l, v->item[i], out);
    else if (is_leaf(v))
        vm_push(l->a, out, v);
}

lw_carry *lw_carry_make(lower *l, uint32_t n, fe_binding **vars, vm_span at) {
    lw_carry *c = vm_new(l->a, lw_carry);
    leaves all = {0};
    VM_VEC(const char *) names = {0};
    VM_VEC(const fe_type *) types = {0};
    c->n = n;
    c->var = vars;
    c->entry = vm_newn(l->a, fe_value *, n ? n : 1);
    for (uint32_t i = 0; i < n; i++) {
        fe_binding *b = vars[i];
        vm_dtype t = T_i32;
        if (b->type && b->type->kind == FT_SCALAR)
            t = b->type->elem;
        else if (lw_number(b->value))
            t = lw_default_type(b->value);
        c->entry[i] = materialise(l, b->value, &t, at);
        const uint32_t before = all.n;
        collect(l, c->entry[i], &all);
        for (uint32_t k = before; k < all.n; k++) {
            vm_push(l->a, &names, b->name);
            vm_push(l->a, &types, b->type);
        }
    }
    c->nleaf = all.n;
    c->leaf = vm_newn(l->a, ir_value *, all.n + 1);
    c->type = vm_newn(l->a, ir_type, all.n + 1);
    c->pinned = vm_newn(l->a, bool, all.n + 1);
    c->name = names.at;
    for (uint32_t i = 0; i < all.n; i++) {
        ir_value *v = all.at[i]->rt;
        c->leaf[i] = v;
        c->type[i] = v->type;
        // A declared layout holds on all paths; one that merely came with the value does not.
        const fe_type *t = types.at[i];
        c->pinned[i] = v->pinned && (l->simt || (t && t->layout));
        if (!c->pinned[i]) c->type[i].reg = NULL;
    }
    return c;
}

lw_carry *lw_carry_assigned(lower *l, const ast *tree) {
    uint32_t n = 0, k = 0;
    const char *const *names = NULL;
    fe_assigned(l->e, tree, &n, &names);
    fe_binding **vars = vm_newn(l->a, fe_binding *, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        fe_binding *b = fe_find(l->e->scope, names[i]);
        if (!b || !b->is_var || lw_poison(b->value)) continue;
        bool seen = false;
        for (uint32_t j = 0; j < k; j++) seen = seen || vars[j] == b;
        if (!seen) vars[k++] = b;
    }
    return lw_carry_make(l, k, vars, tree->span);
}

static fe_value *rebuild(lower *l, const fe_value *entry, ir_value *const *v, uint32_t *next) {
    if (is_leaf(entry)) {
        ir_value *x = v[(*next)++];
        return lw_rt(l, x);
    }
    fe_value *r = vm_dup(l->a, entry, sizeof *entry);
    if (!has_items(entry)) return r;
    r->item = vm_newn(l->a, fe_value *, entry->n ? entry->n : 1);
    for (uint32_t i = 0; i < entry->n; i++) r->item[i] = rebuild(l, entry->item[i], v, next);
    return r;
}

void lw_carry_bind(lower *l, const lw_carry *c, ir_value *const *v) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < c->n; i++) c->var[i]->value = rebuild(l, c->entry[i], v, &next);
}

static bool same_shape(const ir_type *a, const ir_type *b) {
    if (a->space != b->space || a->elem != b->elem || a->rank != b->rank) return false;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != b->dim[d]) return false;
    return true;
}

static bool read_leaf(lower *l, const fe_value *cur, const ir_type *t, const char *name,
                      ir_value **out, vm_span at) {
    if (lw_poison(cur)) return false;
    if (lw_number(cur) && t->space == IS_SCALAR)
        return (*out = lw_const(l, cur, t->elem, at)) != NULL;
    if (cur->kind == FV_RT && same_shape(&cur->rt->type, t)) {
        *out = cur->rt->type.inflight && !t->inflight ? lw_landed_at_once(l, cur->rt, at) : cur->rt;
        return true;
    }
    vm_diag *d = vm_report(l->c, D_E0357, at, "'%s' is %s here, but %s on another path", name,
                           lw_text(l, cur), ir_type_text(l->a, t));
    vm_help(l->c, d, "give every path the same type");
    return false;
}

static bool read_value(lower *l, const lw_carry *c, const fe_value *entry, const fe_value *cur,
                       const char *name, uint32_t *next, ir_value **out, vm_span at) {
    if (lw_poison(cur)) return false;
    if (is_leaf(entry)) {
        const uint32_t i = (*next)++;
        return read_leaf(l, cur, &c->type[i], name, &out[i], at);
    }
    if (has_items(entry)) {
        bool ok = cur->kind == entry->kind && cur->n == entry->n;
        for (uint32_t i = 0; ok && i < entry->n; i++)
            ok = read_value(l, c, entry->item[i], cur->item[i], name, next, out, at);
        if (ok || (cur->kind == entry->kind && cur->n == entry->n)) return ok;
    } else if (entry->kind == FV_RT ? cur->kind == FV_RT && cur->rt == entry->rt
                                    : fe_equal(entry, cur))
        return true;
    vm_diag *d =
        vm_report(l->c, D_E0357, at,
                  "'%s' changes in run-time control flow, but is not a number or tile", name);
    vm_help(l->c, d, "views, types and compile-time values must be the same on all paths");
    return false;
}

bool lw_carry_read(lower *l, const lw_carry *c, ir_value **out, vm_span at) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (!read_value(l, c, c->entry[i], c->var[i]->value, c->var[i]->name, &next, out, at))
            return false;
    return true;
}

// A terminator with the current values; after an error nothing is emitted, the function is dropped.
void lw_carry_out(lower *l, const lw_carry *c, vm_inst i, vm_span at) {
    ir_value **v = vm_newn(l->a, ir_value *, c->nleaf + 1);
    l->b.span = at;
    if (lw_carry_read(l, c, v, at)) ir_emit(&l->b, i, c->nleaf, v, 0, NULL);
}

void lw_carry_pins(const lw_carry *c, ir_value *const *v) {
    for (uint32_t i = 0; i < c->nleaf; i++) {
        v[i]->name = c->name[i];
        if (!c->pinned[i]) continue;
        v[i]->pinned = true;
        v[i]->why = WHY_PINNED;
        v[i]->reason = "written with @";
    }
}

ir_value **lw_carry_args(lower *l, ir_region *r, const lw_carry *c) {
    ir_value **v = vm_newn(l->a, ir_value *, c->nleaf + 1);
    for (uint32_t i = 0; i < c->nleaf; i++) {
        v[i] = ir_region_arg(r, c->type[i], c->name[i]);
        v[i]->span = c->var[0]->span;
        for (uint32_t k = 0; k < c->n; k++)
            if (c->var[k]->name == c->name[i]) v[i]->span = c->var[k]->span;
    }
    lw_carry_pins(c, v);
    return v;
}

// ---- if, for, while -----------------------------------------------------------------------------

static ir_value *condition(lower *l, const fe_value *v, vm_span at) {
    vm_dtype t;
    if (lw_poison(v)) return NULL;
    if (!lw_dtype_of(l, v, &t) || t != T_bool) {
        vm_report(l->c, D_E0355, at, "a condition is a bool, not %s", lw_text(l, v));
        return NULL;
    }
    if (v->kind == FV_RT && v->rt->type.space == IS_REG && !lw_lifted(l, v->rt)) {
        vm_diag *d = vm_report(l->c, D_E0355, at, "a condition is one bool, not a tile of them");
        vm_help(l->c, d, "any(…) or all(…) reduces it; select(c, x, y) chooses by element");
        return NULL;
    }
    return lw_scalar(l, v, T_bool, at);
}

static bool both_jump(const ir_op *op) {
    for (int k = 0; k < 2; k++) {
        const ir_op *t = ir_terminator(op->regions[k]);
        if (!t || t->inst == I_yield) return false;
    }
    return true;
}

void lw_if(fe_eval *e, fe_value *cond, ast *node) {
    lower *l = lw(e);
    l->b.span = node->kid[0]->span;
    ast *other = node->nkids > 2 ? node->kid[2] : NULL;
    if (cond->kind == FV_BOOL) {
        if (cond->i)
            fe_exec_block(e, node->kid[1]);
        else if (other)
            fe_exec_stmt(e, other);
        return;
    }
    ir_value *c = condition(l, cond, node->kid[0]->span);
    if (!c) return;
    lw_carry *carry = lw_carry_assigned(l, node);
    l->b.span = node->kid[0]->span;
    ir_op *op = ir_emit(&l->b, I_if, 1, &c, carry->nleaf, carry->type);
    lw_carry_pins(carry, op->res);
    for (int k = 0; k < 2; k++) {
        ir_region *r = ir_region_new(l->f, op);
        ir_add_region(op, r);
        const ast *body = k ? other : node->kid[1];
        if (!body && !carry->nleaf) continue;
        bool dead;
        const ir_builder saved = lw_enter(l, r, &dead);
        lw_carry_bind(l, carry, carry->leaf);
        if (body && body->kind == AST_BLOCK)
            fe_exec_block(e, body);
        else if (body)
            fe_exec_stmt(e, body);
        if (!l->dead) lw_carry_out(l, carry, I_yield, node->span);
        lw_leave(l, saved, dead);
    }
    lw_carry_bind(l, carry, op->res);
    if (both_jump(op)) lw_dead(l);
}

// Code that may as well run where its result is not asked for.
static bool harmless(const ir_region *r) {
    for (const ir_op *op = r->first; op; op = op->next)
        if (op->nregions || vm_insts[op->inst].fx != FX_NONE) return false;
    return true;
}

fe_value *lw_logic(fe_eval *e, enum ast_op op, fe_value *x, const ast *y, vm_span at) {
    lower *l = lw(e);
    if (l->lift || l->host || !lw_in_space(x, IS_SCALAR) || x->rt->type.elem != T_bool)
        return fe_binary(e, op, x, fe_expr(e, y), at);
    lw_carry *carry = lw_carry_assigned(l, y);
    // y goes into a region of its own; what has no effects there moves out in front.
    ir_region *in = ir_region_new(l->f, NULL);
    bool dead;
    ir_builder saved = lw_enter(l, in, &dead);
    if (carry->nleaf) lw_carry_bind(l, carry, carry->leaf);
    fe_value *v = fe_expr(e, y);
    lw_leave(l, saved, dead);
    if (lw_poison(v)) return v;
    if (!carry->nleaf && harmless(in)) {
        while (in->first) {
            ir_op *o = in->first;
            ir_remove(o);
            if (l->b.before)
                ir_insert_before(l->b.before, o);
            else
                ir_append(l->b.region, o);
        }
        return fe_binary(e, op, x, v, at);
    }
    l->b.span = at;
    ir_type *types = vm_newn(l->a, ir_type, carry->nleaf + 1);
    types[0] = ir_scalar(T_bool);
    for (uint32_t i = 0; i < carry->nleaf; i++) types[i + 1] = carry->type[i];
    ir_op *node = ir_emit(&l->b, I_if, 1, &x->rt, carry->nleaf + 1, types);
    lw_carry_pins(carry, node->res + 1);
    ir_region *other = ir_region_new(l->f, node);
    in->parent = node;
    for (int k = 0; k < 2; k++) {
        const bool here = (k == 0) == (op == OP_LAND);
        ir_add_region(node, here ? in : other);
        saved = lw_enter(l, here ? in : other, &dead);
        ir_value **out = vm_newn(l->a, ir_value *, carry->nleaf + 1);
        out[0] = here ? lw_scalar(l, v, T_bool, y->span) : ir_const(&l->b, T_bool, op == OP_LOR);
        bool ok = out[0] != NULL;
        if (here)
            ok = ok && lw_carry_read(l, carry, out + 1, at);
        else
            memcpy(out + 1, carry->leaf, carry->nleaf * sizeof *out);
        if (ok) ir_emit(&l->b, I_yield, carry->nleaf + 1, out, 0, NULL);
        lw_leave(l, saved, dead);
    }
    if (carry->nleaf) lw_carry_bind(l, carry, node->res + 1);
    return lw_rt(l, node->res[0]);
}

static void exec_loop_body(lower *l, const lw_carry *carry, bool pipelined, const ast *node,
                           const ast *body) {
    lw_loop loop = {carry, pipelined, l->loop};
    const bool exact = l->exact;
    l->loop = &loop;
    l->exact = exact || lw_attr(node->attrs, "strict");
    fe_exec_block(l->e, body);
    l->exact = exact;
    l->loop = loop.up;
    if (!l->dead) lw_carry_out(l, carry, I_yield, body->span);
}

void lw_for(fe_eval *e, fe_value *lo, fe_value *hi, fe_value *step, ast *node) {
    lower *l = lw(e);
    l->b.span = node->kid[0]->span;
    if (lw_poison(lo) || lw_poison(hi) || (step && lw_poison(step))) return;
    if (!step) step = fe_int(e, 1);
    fe_value *bound[3] = {lo, hi, step};
    vm_dtype t = T_i32;
    bool typed = false;
    for (int k = 0; k < 3 && !typed; k++) typed = lw_dtype_of(l, bound[k], &t);
    if (!vm_is_int(t)) {
        vm_report(l->c, D_E0350, node->kid[0]->span, "a loop counts integers, not %s",
                  vm_dtype_name(t));
        return;
    }
    if (step->kind == FV_INT && step->i <= 0) {
        vm_report(l->c, D_E0354, node->span, "the step of a loop is positive");
        return;
    }
    int64_t stages = 0, unroll = 0;
    const ast *a;
    if ((a = lw_attr(node->attrs, "pipeline")) &&
        ((stages = lw_attr_int(l, a, 0)) < 1 || stages > 64)) {
        vm_report(l->c, D_E0354, a->span, "the depth of a pipeline is at least 1 and at most 64");
        return;
    }
    if ((a = lw_attr(node->attrs, "unroll")) && (unroll = lw_attr_int(l, a, 0)) < 1) {
        vm_report(l->c, D_E0354, a->span, "#[unroll(n)] takes n of at least 1");
        return;
    }
    const ast *body = node->kid[node->nkids - 1];
    ir_value *v[3];
    for (int k = 0; k < 3; k++)
        if (!(v[k] = lw_scalar(l, bound[k], t, node->kid[0]->span))) return;
    lw_carry *carry = lw_carry_assigned(l, body);
    ir_value **ops = vm_newn(l->a, ir_value *, carry->nleaf + 3);
    memcpy(ops, v, sizeof v);
    memcpy(ops + 3, carry->leaf, carry->nleaf * sizeof *ops);
    l->b.span = node->kid[0]->span;
    ir_op *op = ir_emit(&l->b, I_for, carry->nleaf + 3, ops, carry->nleaf, carry->type);
    lw_carry_pins(carry, op->res);
    if (stages) {
        ir_set_int(op, AT_stages, stages);
        lw_attr_copies(l, lw_attr(node->attrs, "pipeline"), op);
    }
    if (unroll) ir_set_int(op, AT_unroll, unroll);
    ir_region *r = ir_region_new(l->f, op);
    ir_add_region(op, r);
    ir_value *index = ir_region_arg(r, ir_scalar(t), node->name);
    index->span = node->name_span;
    ir_value **args = lw_carry_args(l, r, carry);
    bool dead;
    const ir_builder saved = lw_enter(l, r, &dead);
    lw_carry_bind(l, carry, args);
    fe_push(e);
    fe_bind(e, node->name, lw_rt(l, index), fe_scalar_type(e, t), false, node->name_span);
    exec_loop_body(l, carry, stages > 0, node, body);
    fe_pop(e);
    lw_leave(l, saved, dead);
    lw_carry_bind(l, carry, op->res);
}

void lw_while(fe_eval *e, ast *node) {
    lower *l = lw(e);
    l->b.span = node->kid[0]->span;
    lw_carry *carry = lw_carry_assigned(l, node);
    ir_op *op = ir_emit(&l->b, I_while, carry->nleaf, carry->leaf, carry->nleaf, carry->type);
    lw_carry_pins(carry, op->res);
    for (int k = 0; k < 2; k++) {
        ir_region *r = ir_region_new(l->f, op);
        ir_add_region(op, r);
        ir_value **args = lw_carry_args(l, r, carry);
        bool dead;
        const ir_builder saved = lw_enter(l, r, &dead);
        lw_carry_bind(l, carry, args);
        if (k)
            exec_loop_body(l, carry, false, node, node->kid[1]);
        else {
            l->b.span = node->kid[0]->span;
            fe_value *v = fe_expr(e, node->kid[0]);
            ir_value *c = condition(l, v, node->kid[0]->span);
            if (c) ir_emit(&l->b, I_yield, 1, &c, 0, NULL);
        }
        lw_leave(l, saved, dead);
    }
    lw_carry_bind(l, carry, op->res);
}

void lw_jump(fe_eval *e, ast *node) {
    lower *l = lw(e);
    if (!l->loop) {
        vm_report(l->c, D_E0514, node->span, "no loop around this that could be left from here");
        return;
    }
    if (!l->dead)
        lw_carry_out(l, l->loop->carry, node->kind == AST_BREAK ? I_break : I_continue, node->span);
    lw_dead(l);
}

// ---- functions with early returns ---------------------------------------------------------------

void lw_enter_fn(fe_eval *e, const ast *fn) {
    lower *l = lw(e);
    lw_frame *f = vm_new(l->a, lw_frame);
    f->fn = fn;
    f->loop = l->loop;
    f->up = l->frame;
    f->scope = ir_emit(&l->b, I_scope, 0, NULL, 0, NULL);
    ir_region *r = ir_region_new(l->f, f->scope);
    ir_add_region(f->scope, r);
    f->saved = lw_enter(l, r, &f->saved_dead);
    l->loop = NULL;
    l->frame = f;
}

static bool frame_types(lower *l, lw_frame *f, const fe_value *v, vm_span at) {
    leaves all = {0};
    f->shape = materialise(l, v, NULL, at);
    collect(l, f->shape, &all);
    f->nleaf = all.n;
    f->type = vm_newn(l->a, ir_type, all.n + 1);
    for (uint32_t i = 0; i < all.n; i++) {
        f->type[i] = all.at[i]->rt->type;
        f->type[i].reg = NULL;
    }
    return true;
}

// Literals without a declared result type take the default type.
static fe_value *settle(lower *l, lw_frame *f, fe_value *v, vm_span at) {
    const ast *result = f->fn && f->fn->nkids > 2 ? f->fn->kid[2] : NULL;
    const fe_type *t = result ? fe_type_expr(l->e, result) : NULL;
    if (t) return lw_coerce(l->e, v, t, at);
    if (!lw_number(v) || v->typed) return v;
    vm_dtype d = lw_default_type(v);
    if (f->shape && is_leaf(f->shape)) d = f->shape->rt->type.elem;
    return lw_coerce(l->e, v, fe_scalar_type(l->e, d), at);
}

static void leave_frame(lower *l, lw_frame *f, fe_value *v, vm_span at) {
    if (f->carry) {
        lw_carry_out(l, f->carry, I_leave, at);
        f->nleaves++;
        lw_dead(l);
        return;
    }
    if (!v) v = fe_poison(l->e);
    const bool none = v->kind == FV_NONE;
    if (!none) v = settle(l, f, v, at);
    if (lw_poison(v)) {
        lw_dead(l);
        return;
    }
    if (!f->nleaves++) {
        f->only = v;
        f->only_top = l->b.region == f->scope->regions[0];
        if (!none) frame_types(l, f, v, at);
    } else
        f->only = NULL;
    lw_carry c = {.n = 0, .type = f->type, .nleaf = f->nleaf};
    ir_value **out = vm_newn(l->a, ir_value *, f->nleaf + 1);
    uint32_t next = 0;
    if (none != !f->shape)
        vm_report(l->c, D_E0357, at, "some returns have a value, others have none");
    else if (none || read_value(l, &c, f->shape, v, "the returned value", &next, out, at))
        ir_emit(&l->b, I_leave, f->nleaf, out, 0, NULL);
    lw_dead(l);
}

void lw_return(fe_eval *e, fe_value *v, ast *node) {
    lower *l = lw(e);
    l->b.span = node->span;
    if (l->dead) return;
    if (l->frame) {
        leave_frame(l, l->frame, v ? v : lw_none(l), node->span);
        return;
    }
    if (v && v->kind != FV_NONE && !lw_poison(v))
        vm_report(l->c, D_E0363, node->span, "a kernel returns nothing");
    if (l->role || l->fetch || l->loop) {
        vm_diag *d = vm_report(l->c, D_E0514, node->span, "'return' cannot leave this %s",
                               l->role    ? "role"
                               : l->fetch ? "fetch block"
                                          : "loop of a kernel with roles");
        vm_help(l->c, d, "use 'if' around the rest, or 'break'");
        return;
    }
    ir_emit(&l->b, I_return, 0, NULL, 0, NULL);
    lw_dead(l);
}

bool lw_returns(const ast *n, bool in_loop) {
    if (!n || n->kind == AST_SIMT || n->kind == AST_ROLE) return false;
    if (n->kind == AST_RETURN) return !in_loop;
    in_loop = in_loop && n->kind != AST_FOR && n->kind != AST_WHILE;
    for (uint32_t i = 0; i < n->nkids; i++)
        if (lw_returns(n->kid[i], in_loop)) return true;
    return false;
}

void lw_exec_scope(lower *l, const ast *body) {
    const lw_carry none = {.n = 0};
    lw_frame f = {.carry = &none, .up = l->frame};
    f.scope = ir_emit(&l->b, I_scope, 0, NULL, 0, NULL);
    ir_region *r = ir_region_new(l->f, f.scope);
    ir_add_region(f.scope, r);
    f.saved = lw_enter(l, r, &f.saved_dead);
    l->frame = &f;
    fe_exec_block(l->e, body);
    if (!l->dead) ir_emit(&l->b, I_yield, 0, NULL, 0, NULL);
    lw_leave(l, f.saved, f.saved_dead);
    l->frame = f.up;
}

// One return at the very end needs no scope: its code moves out in front of it.
static void splice(ir_op *scope) {
    ir_region *r = scope->regions[0];
    while (r->first) {
        ir_op *op = r->first;
        ir_remove(op);
        if (op->inst != I_leave && op->inst != I_yield) ir_insert_before(scope, op);
    }
    ir_remove(scope);
}

fe_value *lw_leave_fn(fe_eval *e, const ast *fn) {
    lower *l = lw(e);
    lw_frame *f = l->frame;
    if (!f) return fe_poison(e);
    const bool falls = !l->dead;
    if (falls && f->shape)
        vm_report(l->c, D_E0363, fn->span, "'%s' ends without returning a value",
                  fn->name ? fn->name : "this function");
    else if (falls)
        ir_emit(&l->b, I_yield, 0, NULL, 0, NULL);
    lw_leave(l, f->saved, f->saved_dead);
    l->loop = f->loop;
    l->frame = f->up;
    if (!f->nleaves || (f->only && f->only_top && !falls)) {
        splice(f->scope);
        return f->nleaves ? f->only : lw_none(l);
    }
    if (!f->shape) return lw_none(l);
    ir_value **res = vm_newn(l->a, ir_value *, f->nleaf + 1);
    for (uint32_t i = 0; i < f->nleaf; i++) res[i] = ir_add_result(f->scope, f->type[i]);
    uint32_t next = 0;
    return rebuild(l, f->shape, res, &next);
}
