// SPDX-License-Identifier: Apache-2.0
// Folds constants by the machine's own numerics, applies the identities of integer arithmetic, takes
// known branches, drops loops without trips, and removes what nobody uses. One walk: a value that is
// replaced is replaced in its users as they are reached, which is always later.
#include "ir/pass.h"

#include <string.h>

typedef struct {
    ir_func *f;
    ir_map *map;
} folder;

static bool code_of(const ir_value *v, uint64_t *code) {
    if (!v->def || v->def->inst != I_const) return false;
    *code = (uint64_t)ir_int(v->def, AT_value, 0);
    return true;
}

static uint64_t fold_cast(const ir_op *op, uint64_t code) {
    const vm_dtype from = op->ops[0]->type.elem, to = op->res[0]->type.elem;
    if (op->inst == I_bitcast) return code;
    return vm_cast(from, to, code, ir_rounding(op));
}

static bool is_elementwise(const ir_op *op) {
    const uint8_t c = vm_insts[op->inst].cls;
    return c == C_ELEM || c == C_CMP || c == C_SELECT || c == C_CAST;
}

static ir_value *constant(folder *k, ir_op *op) {
    uint64_t code[3];
    if (op->nops > 3) return NULL;
    for (uint32_t i = 0; i < op->nops; i++)
        if (!code_of(op->ops[i], &code[i])) return NULL;
    const uint8_t cls = vm_insts[op->inst].cls;
    const uint64_t r = cls == C_CAST ? fold_cast(op, code[0])
                                     : vm_eval(op->inst, op->ops[cls == C_SELECT ? 1 : 0]->type.elem, code);
    ir_builder b = {k->f, op->parent, op, op->span};
    return ir_const(&b, op->res[0]->type.elem, r);
}

static bool all_ones(vm_dtype t, int64_t x) {
    return vm_encode_int(t, x) == vm_encode_int(t, -1);
}

// Identities with one known operand. They hold for scalars and, where the result is the other
// operand, for tiles beside a scalar just as well.
static ir_value *identity(folder *k, ir_op *op) {
    if (op->inst == I_select) {
        int64_t c;
        ir_value *pick = ir_known(op->ops[0], &c) ? op->ops[c ? 1 : 2]
                         : op->ops[1] == op->ops[2] ? op->ops[1] : NULL;
        return pick && ir_type_equal(&pick->type, &op->res[0]->type) ? pick : NULL;
    }
    if (op->inst == I_cast && ir_type_equal(&op->ops[0]->type, &op->res[0]->type)) return op->ops[0];
    if (op->nops != 2 || vm_insts[op->inst].cls != C_ELEM) return NULL;
    ir_value *x = op->ops[0], *y = op->ops[1];
    const vm_dtype t = x->type.elem;
    if ((op->inst == I_min || op->inst == I_max) && x == y) return x;
    if (!vm_is_int(t) && t != T_bool) return NULL;
    ir_builder b = {k->f, op->parent, op, op->span};
    int64_t c;
    const bool commutes = op->inst == I_add || op->inst == I_mul || op->inst == I_and ||
                          op->inst == I_or || op->inst == I_xor;
    if (!ir_known(y, &c)) {
        if (!commutes || !ir_known(x, &c)) return NULL;
        x = y;
    }
    ir_value *same = ir_type_equal(&x->type, &op->res[0]->type) ? x : NULL;
    const bool scalar = op->res[0]->type.space == IS_SCALAR;
    switch (op->inst) {
    case I_add:
    case I_sub:
    case I_or:
    case I_xor:
    case I_shl:
    case I_shr:
        if (c == 0) return same;
        return op->inst == I_or && all_ones(t, c) && scalar ? ir_const_int(&b, t, -1) : NULL;
    case I_mul:
        if (c == 1) return same;
        return c == 0 && scalar ? ir_const_int(&b, t, 0) : NULL;
    case I_div:
        return c == 1 ? same : NULL;
    case I_rem:
        return c == 1 && scalar ? ir_const_int(&b, t, 0) : NULL;
    case I_and:
        if (all_ones(t, c)) return same;
        return c == 0 && scalar ? ir_const_int(&b, t, 0) : NULL;
    default:
        return NULL;
    }
}

// Elementwise work on tiles that are each one repeated scalar is done on the scalars.
static ir_value *uniform(folder *k, ir_op *op) {
    ir_value *s[3];
    bool tile = false;
    if (op->nops > 3 || k->f->has_layouts) return NULL;
    for (uint32_t i = 0; i < op->nops; i++) {
        const bool full = op->ops[i]->def && op->ops[i]->def->inst == I_full;
        tile = tile || full;
        if (op->ops[i]->type.space != IS_SCALAR && !full) return NULL;
        s[i] = full ? op->ops[i]->def->ops[0] : op->ops[i];
    }
    if (!tile) return NULL;
    ir_builder b = {k->f, op->parent, op, op->span};
    ir_value *x = s[0];
    if (is_elementwise(op)) {
        x = ir_emit1(&b, op->inst, op->nops, s, ir_scalar(op->res[0]->type.elem));
        x->def->attrs = op->attrs;
        ir_value *c = constant(k, x->def);
        if (c) x = c;
    }
    ir_value *v = ir_emit1(&b, I_full, 1, &x, op->res[0]->type);
    v->name = op->res[0]->name;
    v->pinned = op->res[0]->pinned;
    v->why = op->res[0]->why;
    v->span = op->res[0]->span;
    return v;
}

static void fold_region(folder *k, ir_region *r);

// Replaces op by the operations of region r; false: what follows is not reached any more.
static void inline_region(folder *k, ir_op *op, ir_region *r) {
    ir_op *end = ir_terminator(r);
    for (ir_op *o = r->first, *next; o && o != end; o = next) {
        next = o->next;
        ir_remove(o);
        ir_insert_before(op, o);
    }
    if (!end || end->inst == I_yield) {
        for (uint32_t i = 0; i < op->nres; i++) ir_map_set(k->map, op->res[i], end->ops[i]);
    } else { // a jump: the rest is dead
        ir_remove(end);
        ir_insert_before(op, end);
        while (op->next) ir_remove(op->next);
    }
    ir_remove(op);
}

// Returns the operation to go on with.
static ir_op *fold_op(folder *k, ir_op *op) {
    for (uint32_t i = 0; i < op->nops; i++) {
        ir_value *v = ir_map_get(k->map, op->ops[i]);
        for (ir_value *w = ir_map_get(k->map, v); w != v; w = ir_map_get(k->map, v)) v = w;
        op->ops[i] = v;
    }
    ir_op *next = op->next;
    int64_t c, lo, hi, step;
    if (op->inst == I_if && ir_known(op->ops[0], &c)) {
        ir_region *r = op->regions[c ? 0 : 1];
        ir_op *first = r->first && r->first != ir_terminator(r) ? r->first : NULL;
        ir_op *before = op->prev;
        ir_region *parent = op->parent;
        inline_region(k, op, r);
        return first ? first : before ? before->next : parent->first;
    }
    if (op->inst == I_for && ir_known(op->ops[0], &lo) && ir_known(op->ops[1], &hi) && lo >= hi &&
        ir_known(op->ops[2], &step) && step > 0) {
        const bool wraps = vm_dtypes[op->ops[0]->type.elem].kind == K_UINT && (lo < 0 || hi < 0);
        if (!wraps) {
            for (uint32_t i = 0; i < op->nres; i++) ir_map_set(k->map, op->res[i], op->ops[3 + i]);
            ir_remove(op);
            return next;
        }
    }
    for (uint32_t i = 0; i < op->nregions; i++) fold_region(k, op->regions[i]);
    ir_value *v = NULL;
    if (is_elementwise(op)) {
        if (op->res[0]->type.space == IS_SCALAR) v = constant(k, op);
        if (!v) v = identity(k, op);
        if (!v && op->res[0]->type.space == IS_REG) v = uniform(k, op);
        // A layout written on the result must survive.
        if (v && op->res[0]->pinned && !v->pinned) v = NULL;
    } else if (op->inst == I_broadcast || (op->inst == I_reshape && op->res[0]->type.space == IS_REG) ||
               (op->inst == I_permute && op->res[0]->type.space == IS_REG)) {
        v = uniform(k, op);
    }
    if (v) {
        ir_map_set(k->map, op->res[0], v);
        ir_remove(op);
    }
    return next;
}

static void fold_region(folder *k, ir_region *r) {
    for (ir_op *op = r->first; op;) op = fold_op(k, op);
}

void ir_pass_fold(ir_func *f) {
    folder k = {f, ir_map_new(f)};
    fold_region(&k, f->body);
    fold_region(&k, f->host);
    ir_pass_dce(f);
}
