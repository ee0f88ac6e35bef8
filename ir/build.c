// SPDX-License-Identifier: Apache-2.0
// Making and changing tile IR: modules, functions, types, operations, regions, deep copies, and the
// small questions that every pass asks.
#include "ir/ir.h"

#include <assert.h>
#include <string.h>

ir_module *ir_module_new(vm_comp *c, const vm_arch *arch) {
    ir_module *m = vm_new(c->arena, ir_module);
    m->comp = c;
    m->arch = arch;
    return m;
}

ir_func *ir_func_new(ir_module *m, const char *name, vm_span at) {
    ir_func *f = vm_new(m->comp->arena, ir_func);
    f->name = vm_strdup(m->comp->arena, name);
    f->kernel = f->name;
    f->module = m;
    f->comp = m->comp;
    f->warps = 1;
    f->cluster[0] = f->cluster[1] = f->cluster[2] = 1;
    f->span = at;
    f->body = ir_region_new(f, NULL);
    f->host = ir_region_new(f, NULL);
    vm_push(m->comp->arena, &m->funcs, f);
    return f;
}

static ir_value *value_new(ir_func *f, ir_type t) {
    ir_value *v = vm_new(f->comp->arena, ir_value);
    v->id = f->next_id++;
    v->type = t;
    return v;
}

ir_value *ir_param_add(ir_func *f, const char *name, ir_type t, vm_span at) {
    ir_param *old = f->params;
    f->params = vm_newn(f->comp->arena, ir_param, f->nparams + 1);
    if (f->nparams) memcpy(f->params, old, f->nparams * sizeof *old);
    ir_param *p = &f->params[f->nparams];
    p->name = vm_strdup(f->comp->arena, name);
    p->value = value_new(f, t);
    p->value->index = f->nparams++;
    p->value->name = p->name;
    p->value->span = at;
    p->align = 16;
    p->span = at;
    return p->value;
}

ir_type ir_scalar(vm_dtype t) {
    return (ir_type){.space = IS_SCALAR, .elem = t};
}

ir_type ir_view_type(enum ir_space s, vm_dtype t, int rank, const int64_t *dim) {
    ir_type r = {.space = s, .elem = t, .rank = (uint8_t)rank};
    for (int d = 0; d < rank; d++) r.dim[d] = dim[d];
    return r;
}

ir_type ir_reg(vm_dtype t, int rank, const int64_t *dim, const layout *l) {
    ir_type r = ir_view_type(IS_REG, t, rank, dim);
    r.reg = l;
    return r;
}

bool ir_type_equal(const ir_type *a, const ir_type *b) {
    if (a->space != b->space || a->elem != b->elem || a->rank != b->rank ||
        a->inflight != b->inflight)
        return false;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != b->dim[d]) return false;
    if (a->reg != b->reg && (!a->reg || !b->reg || !layout_equal(a->reg, b->reg))) return false;
    return a->shared == b->shared ||
           (a->shared && b->shared && shared_equal(a->shared, b->shared));
}

int64_t ir_elems(const ir_type *t) {
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++) {
        if (t->dim[d] < 0) return -1;
        if (t->dim[d] == 0) return 0;
        if (n > INT64_MAX / t->dim[d]) return INT64_MAX;
        n *= t->dim[d];
    }
    return n;
}

ir_region *ir_region_new(ir_func *f, ir_op *parent) {
    ir_region *r = vm_new(f->comp->arena, ir_region);
    r->parent = parent;
    r->func = f;
    return r;
}

// Arrays of pointers grow by one; doubling at powers of two keeps that linear overall.
static void *grow(vm_arena *a, void *at, uint32_t n) {
    if (n & (n - 1)) return at;
    void *fresh = vm_alloc(a, sizeof(void *) * (n ? 2 * (size_t)n : 1));
    if (n) memcpy(fresh, at, n * sizeof(void *));
    return fresh;
}

ir_value *ir_region_arg(ir_region *r, ir_type t, const char *name) {
    ir_value *v = value_new(r->func, t);
    v->owner = r;
    v->index = r->nargs;
    v->name = name;
    r->args = grow(r->func->comp->arena, r->args, r->nargs);
    r->args[r->nargs++] = v;
    return v;
}

static ir_op *op_new(ir_func *f, vm_inst i, vm_span at) {
    ir_op *op = vm_new(f->comp->arena, ir_op);
    op->inst = i;
    op->span = at;
    return op;
}

static void place(ir_builder *b, ir_op *op) {
    if (b->before) ir_insert_before(b->before, op);
    else ir_append(b->region, op);
}

ir_op *ir_emit(ir_builder *b, vm_inst i, uint32_t nops, ir_value *const *ops, uint32_t nres,
               const ir_type *res) {
    ir_op *op = op_new(b->func, i, b->span);
    place(b, op);
    for (uint32_t k = 0; k < nops; k++) ir_add_operand(op, ops[k]);
    for (uint32_t k = 0; k < nres; k++) ir_add_result(op, res[k]);
    return op;
}

ir_value *ir_emit1(ir_builder *b, vm_inst i, uint32_t nops, ir_value *const *ops, ir_type res) {
    return ir_emit(b, i, nops, ops, 1, &res)->res[0];
}

ir_value *ir_const(ir_builder *b, vm_dtype t, uint64_t code) {
    ir_value *v = ir_emit1(b, I_const, 0, NULL, ir_scalar(t));
    ir_set_int(v->def, AT_value, (int64_t)code);
    return v;
}

ir_value *ir_const_int(ir_builder *b, vm_dtype t, int64_t x) {
    return ir_const(b, t, vm_encode_int(t, x));
}

void ir_add_region(ir_op *op, ir_region *r) {
    op->regions = grow(r->func->comp->arena, op->regions, op->nregions);
    op->regions[op->nregions++] = r;
    r->parent = op;
}

ir_value *ir_add_result(ir_op *op, ir_type t) {
    ir_func *f = op->parent->func;
    ir_value *v = value_new(f, t);
    v->def = op;
    v->index = op->nres;
    v->span = op->span;
    op->res = grow(f->comp->arena, op->res, op->nres);
    op->res[op->nres++] = v;
    return v;
}

void ir_add_operand(ir_op *op, ir_value *v) {
    op->ops = grow(op->parent->func->comp->arena, op->ops, op->nops);
    op->ops[op->nops++] = v;
}

void ir_insert_before(ir_op *at, ir_op *op) {
    op->parent = at->parent;
    op->prev = at->prev;
    op->next = at;
    if (at->prev) at->prev->next = op;
    else at->parent->first = op;
    at->prev = op;
}

void ir_append(ir_region *r, ir_op *op) {
    op->parent = r;
    op->prev = r->last;
    op->next = NULL;
    if (r->last) r->last->next = op;
    else r->first = op;
    r->last = op;
}

void ir_remove(ir_op *op) {
    if (op->prev) op->prev->next = op->next;
    else op->parent->first = op->next;
    if (op->next) op->next->prev = op->prev;
    else op->parent->last = op->prev;
    op->prev = op->next = NULL;
    op->parent = NULL;
}

struct replacement {
    ir_value *old, *with;
};

static void replace_in(ir_op *op, void *user) {
    const struct replacement *r = user;
    for (uint32_t k = 0; k < op->nops; k++)
        if (op->ops[k] == r->old) op->ops[k] = r->with;
}

void ir_replace_uses(ir_func *f, ir_value *old, ir_value *with) {
    struct replacement r = {old, with};
    ir_walk(f->body, replace_in, &r);
    ir_walk(f->host, replace_in, &r);
}

struct ir_map {
    vm_arena *arena;
    ir_value **to;
    uint32_t cap;
};

ir_map *ir_map_new(ir_func *f) {
    ir_map *m = vm_new(f->comp->arena, ir_map);
    m->arena = f->comp->arena;
    m->cap = f->next_id + 16;
    m->to = vm_newn(m->arena, ir_value *, m->cap);
    return m;
}

void ir_map_set(ir_map *m, const ir_value *from, ir_value *to) {
    if (from->id >= m->cap) {
        const uint32_t cap = from->id * 2 + 16;
        ir_value **fresh = vm_newn(m->arena, ir_value *, cap);
        memcpy(fresh, m->to, m->cap * sizeof *fresh);
        m->to = fresh;
        m->cap = cap;
    }
    m->to[from->id] = to;
}

ir_value *ir_map_get(const ir_map *m, const ir_value *from) {
    ir_value *to = from->id < m->cap ? m->to[from->id] : NULL;
    return to ? to : (ir_value *)from;
}

static void copy_hints(ir_value *to, const ir_value *from) {
    to->name = from->name;
    to->pinned = from->pinned;
    to->why = from->why;
    to->reason = from->reason;
    to->span = from->span;
}

ir_op *ir_clone(ir_builder *b, const ir_op *op, ir_map *m) {
    ir_op *copy = op_new(b->func, op->inst, op->span);
    place(b, copy);
    for (uint32_t k = 0; k < op->nops; k++) ir_add_operand(copy, ir_map_get(m, op->ops[k]));
    copy->attrs = op->attrs; // nodes are never changed, see attr.c
    for (uint32_t k = 0; k < op->nres; k++) {
        ir_value *v = ir_add_result(copy, op->res[k]->type);
        copy_hints(v, op->res[k]);
        ir_map_set(m, op->res[k], v);
    }
    for (uint32_t k = 0; k < op->nregions; k++) {
        const ir_region *from = op->regions[k];
        ir_region *r = ir_region_new(b->func, copy);
        ir_add_region(copy, r);
        for (uint32_t i = 0; i < from->nargs; i++) {
            ir_value *v = ir_region_arg(r, from->args[i]->type, from->args[i]->name);
            copy_hints(v, from->args[i]);
            ir_map_set(m, from->args[i], v);
        }
        ir_builder in = {b->func, r, NULL, b->span};
        for (const ir_op *o = from->first; o; o = o->next) ir_clone(&in, o, m);
    }
    return copy;
}

bool ir_known(const ir_value *v, int64_t *out) {
    if (!v->def || v->def->inst != I_const || v->type.space != IS_SCALAR ||
        vm_is_float(v->type.elem))
        return false;
    *out = vm_decode_int(v->type.elem, (uint64_t)ir_int(v->def, AT_value, 0));
    return true;
}

ir_op *ir_terminator(const ir_region *r) {
    if (!r->last) return NULL;
    switch (r->last->inst) {
    case I_yield:
    case I_break:
    case I_continue:
    case I_leave:
    case I_return:
        return r->last;
    default:
        return NULL;
    }
}

ir_op *ir_enclosing(const ir_op *op, vm_inst i) {
    for (ir_op *p = op->parent->parent; p; p = p->parent->parent)
        if (p->inst == i) return p;
    return NULL;
}

int ir_group_threads(const ir_op *op) {
    const ir_op *role = op->inst == I_role ? op : ir_enclosing(op, I_role);
    if (!role) return op->parent->func->warps * 32;
    return (int)(ir_int(role, AT_end, 1) - ir_int(role, AT_begin, 0)) * 32;
}

int ir_loop_depth(const ir_op *op) {
    int n = 0;
    for (const ir_op *p = op->parent->parent; p; p = p->parent->parent)
        n += p->inst == I_for || p->inst == I_while;
    return n;
}

void ir_walk(ir_region *r, void (*fn)(ir_op *op, void *user), void *user) {
    for (ir_op *op = r->first, *next; op; op = next) {
        next = op->next;
        fn(op, user);
        if (op->parent != r) continue; // removed or moved
        next = op->next;
        for (uint32_t k = 0; k < op->nregions; k++) ir_walk(op->regions[k], fn, user);
    }
}
