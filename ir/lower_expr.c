// SPDX-License-Identifier: Apache-2.0
// Types of values and elementwise code: literals take the type of the other operand, tiles
// broadcast as in NumPy, everything else must be converted by `as`.
#include "ir/lower.h"

#include <math.h>
#include <string.h>

bool lw_lifted(const lower *l, const ir_value *v) {
    return l->lift && v->type.space == IS_REG && v->tmp == l->lift;
}

const fe_type *lw_type_of(fe_eval *e, const fe_value *v) {
    lower *l = lw(e);
    if (v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL)
        return fe_scalar_type(e, v->typed ? v->dtype : lw_default_type(v));
    if (v->kind != FV_RT) return NULL;
    const ir_type *t = &v->rt->type;
    if (t->space == IS_SCALAR || lw_lifted(l, v->rt)) return fe_scalar_type(e, t->elem);
    fe_type *r = vm_new(l->a, fe_type);
    r->kind = t->space == IS_BARRIER ? FT_BARRIER : FT_TENSOR;
    r->space = t->space == IS_REG ? FS_REG : t->space == IS_GLOBAL ? FS_GLOBAL : FS_SHARED;
    r->inflight = t->inflight;
    r->elem = t->elem;
    r->rank = t->rank;
    for (int d = 0; d < t->rank; d++) {
        r->dim[d] = t->dim[d] < 0 ? vm_new(l->a, fe_value) : fe_int(e, t->dim[d]);
        if (t->dim[d] < 0) r->dim[d]->kind = FV_ANY;
    }
    return r;
}

const char *lw_text(lower *l, const fe_value *v) {
    if (v->kind == FV_INT && !v->typed) return "an integer literal";
    if (v->kind == FV_FLOAT && !v->typed) return "a float literal";
    const fe_type *t = lw_type_of(l->e, v);
    return t ? fe_type_text(l->e, t) : fe_describe(l->e, v);
}

bool lw_dtype_of(lower *l, const fe_value *v, vm_dtype *t) {
    (void)l;
    if (v->kind == FV_RT && (v->rt->type.space == IS_SCALAR || v->rt->type.space == IS_REG)) {
        *t = v->rt->type.elem;
        return true;
    }
    if (v->kind == FV_BOOL) {
        *t = T_bool;
        return true;
    }
    if ((v->kind == FV_INT || v->kind == FV_FLOAT) && v->typed) {
        *t = v->dtype;
        return true;
    }
    return false;
}

vm_dtype lw_default_type(const fe_value *v) {
    if (v->kind == FV_BOOL) return T_bool;
    if (v->kind == FV_FLOAT) return T_f32;
    return v->kind == FV_INT && (v->i > INT32_MAX || v->i < INT32_MIN) ? T_i64 : T_i32;
}

static bool fits(int64_t x, vm_dtype t) {
    if (t == T_u64) return true;
    return vm_decode_int(t, vm_encode_int(t, x)) == x;
}

static void mixed(lower *l, const fe_value *v, vm_dtype t, vm_span at) {
    vm_diag *d =
        vm_report(l->c, D_E0350, at, "%s where %s is expected: there is no implicit conversion",
                  lw_text(l, v), vm_dtype_name(t));
    vm_help(l->c, d, "write '… as %s'", vm_dtype_name(t));
}

ir_value *lw_const(lower *l, const fe_value *v, vm_dtype t, vm_span at) {
    if (v->typed && v->kind != FV_BOOL && v->dtype != t) {
        mixed(l, v, t, at);
        return NULL;
    }
    if (v->kind == FV_BOOL) {
        if (t == T_bool) return ir_const(&l->b, t, v->i != 0);
        mixed(l, v, t, at);
        return NULL;
    }
    if (v->kind == FV_INT && (vm_is_int(t) || (t == T_bool && v->typed))) {
        if (fits(v->i, t) || v->typed) return ir_const(&l->b, t, vm_encode_int(t, v->i));
        vm_report(l->c, D_E0352, at, "%lld does not fit into %s", (long long)v->i,
                  vm_dtype_name(t));
        return NULL;
    }
    if (v->kind == FV_INT && vm_is_float(t)) {
        const uint64_t code = vm_encode(t, (double)v->i, vm_default_rounding(t));
        if (vm_decode(t, code) == (double)v->i && (int64_t)(double)v->i == v->i)
            return ir_const(&l->b, t, code);
        vm_report(l->c, D_E0352, at, "%lld has no exact value in %s", (long long)v->i,
                  vm_dtype_name(t));
        return NULL;
    }
    if (v->kind == FV_FLOAT && vm_is_float(t))
        return ir_const(&l->b, t, vm_encode(t, v->f, vm_default_rounding(t)));
    mixed(l, v, t, at);
    return NULL;
}

ir_value *lw_landed(lower *l, ir_value *v) {
    if (v->type.inflight)
        vm_report(l->c, D_Rpass, l->b.span, "waits here for '%s', which is in flight", v->name ? v->name : "a product");
    return lw_waited(l, v);
}

ir_value *lw_landed_at_once(lower *l, ir_value *v, vm_span at) {
    ir_type t = v->type;
    t.inflight = false;
    vm_diag *d = vm_report(l->c, D_Wperf, at, "the product is waited for as soon as it is issued: the variable is not in flight");
    vm_help(l->c, d, "declare it 'inflight(%s)', and wait(…) where the value is needed", ir_type_text(l->a, &t));
    return lw_landed(l, v);
}

ir_value *lw_waited(lower *l, ir_value *v) {
    if (!v->type.inflight) return v;
    ir_type t = v->type;
    t.inflight = false;
    ir_value *w = ir_emit1(&l->b, I_wait_value, 1, &v, t);
    w->name = v->name;
    w->pinned = v->pinned;
    return w;
}

static ir_value *readable(lower *l, const fe_value *v, vm_span at) {
    if (lw_is_view(v)) {
        vm_diag *d =
            vm_report(l->c, D_E0420, at, "a memory view (%s) is not a value", lw_text(l, v));
        vm_help(l->c, d, "load(…) reads it into registers");
        return NULL;
    }
    if (v->kind != FV_RT || (v->rt->type.space != IS_SCALAR && v->rt->type.space != IS_REG)) {
        if (!lw_poison(v))
            vm_report(l->c, D_E0353, at, "%s is not a number or tile", fe_describe(l->e, v));
        return NULL;
    }
    if (l->simt && v->rt->type.space == IS_REG) {
        vm_diag *d =
            vm_report(l->c, D_E0430, at, "a whole tile inside simt, which is code of one thread");
        vm_help(l->c, d, "name the thread's element: x[t]");
        return NULL;
    }
    if (l->lift && v->rt->type.space == IS_REG && !lw_lifted(l, v->rt)) {
        vm_diag *d = vm_report(l->c, D_E0423, at,
                               "a tile inside a lambda is read at the lambda's own indices only");
        vm_help(l->c, d, "write '|i, …, e| … x[i] …'");
        return NULL;
    }
    return lw_landed(l, v->rt);
}

ir_value *lw_operand(lower *l, const fe_value *v, vm_dtype t, vm_span at) {
    if (lw_poison(v)) return NULL;
    if (lw_number(v)) return lw_const(l, v, t, at);
    ir_value *x = readable(l, v, at);
    if (!x) return NULL;
    if (x->type.elem == t) return x;
    mixed(l, v, t, at);
    return NULL;
}

ir_value *lw_tile(lower *l, const fe_value *v, const char *what, vm_span at) {
    if (lw_poison(v)) return NULL;
    ir_value *x = lw_number(v) ? NULL : readable(l, v, at);
    if (x && x->type.space == IS_REG) return x;
    if (x || lw_number(v))
        vm_report(l->c, D_E0353, at, "%s needs a register tile, not %s", what, lw_text(l, v));
    return NULL;
}

ir_value *lw_scalar(lower *l, const fe_value *v, vm_dtype t, vm_span at) {
    ir_value *x = lw_operand(l, v, t, at);
    if (!x || x->type.space == IS_SCALAR) return x;
    if (lw_lifted(l, x)) {
        vm_diag *d =
            vm_report(l->c, D_E0423, at,
                      "one scalar for all elements is needed here, this differs by element");
        vm_help(l->c, d, "in a lambda, select(c, x, y) chooses by element");
    } else
        vm_report(l->c, D_E0353, at, "a scalar is needed here, not %s", lw_text(l, v));
    return NULL;
}

ir_value *lw_index(lower *l, const fe_value *v, vm_span at) {
    if (lw_poison(v)) return NULL;
    if (v->kind == FV_INT) return lw_const(l, v, v->typed ? v->dtype : lw_default_type(v), at);
    vm_dtype t;
    if (!lw_dtype_of(l, v, &t) || !vm_is_int(t)) {
        if (lw_is_view(v))
            readable(l, v, at);
        else
            vm_report(l->c, D_E0353, at, "an index is an integer, not %s", lw_text(l, v));
        return NULL;
    }
    return lw_scalar(l, v, t, at);
}

// ---- elementwise --------------------------------------------------------------------------------

ir_value *lw_broadcast(lower *l, ir_value *v, const ir_type *shape) {
    bool same = v->type.rank == shape->rank;
    int32_t dims[LAYOUT_MAX_RANK] = {0};
    for (int d = 0; d < v->type.rank; d++) {
        dims[d] = shape->rank - v->type.rank + d;
        same = same && v->type.dim[d] == shape->dim[d];
    }
    if (same) return v;
    ir_value *r =
        lw_emit(l, I_broadcast, 1, &v, ir_reg(v->type.elem, shape->rank, shape->dim, NULL));
    ir_set_ints(r->def, AT_dims, v->type.rank, dims);
    return r;
}

// NumPy: align at the last dimension, extent 1 stretches.
static bool join_shapes(ir_type *to, const ir_type *t) {
    const int rank = to->rank > t->rank ? to->rank : t->rank;
    int64_t dim[LAYOUT_MAX_RANK];
    for (int d = 0; d < rank; d++) {
        const int i = d - (rank - to->rank), k = d - (rank - t->rank);
        const int64_t x = i < 0 ? 1 : to->dim[i], y = k < 0 ? 1 : t->dim[k];
        if (x != y && x != 1 && y != 1) return false;
        dim[d] = x == 1 ? y : x;
    }
    to->rank = (uint8_t)rank;
    memcpy(to->dim, dim, sizeof dim);
    return true;
}

// The amount as x's type such that negative and large amounts still count as the width or more.
static ir_value *shift_amount(lower *l, const fe_value *v, vm_dtype t, vm_span at) {
    if (v->kind == FV_INT) {
        const int64_t width = (int64_t)vm_bits(t);
        const int64_t n = v->i < 0 || v->i > width ? width : v->i;
        return ir_const(&l->b, t, vm_encode_int(t, n));
    }
    vm_dtype from;
    if (!lw_dtype_of(l, v, &from) || !vm_is_int(from)) {
        vm_report(l->c, D_E0351, at, "a shift amount is an integer, not %s", lw_text(l, v));
        return NULL;
    }
    ir_value *x = lw_operand(l, v, from, at);
    if (!x || from == t) return x;
    if (vm_bits(from) > vm_bits(t)) {
        const vm_dtype u = vm_bits(from) == 64 ? T_u64 : vm_bits(from) == 32 ? T_u32 : T_u16;
        ir_type ty = x->type;
        ty.reg = NULL;
        ty.elem = u;
        if (from != u) x = lw_emit(l, I_cast, 1, &x, ty);
        ir_value *two[2] = {x, ir_const(&l->b, u, vm_bits(t))};
        x = lw_emit(l, I_min, 2, two, ty);
    }
    ir_type ty = x->type;
    ty.reg = NULL;
    ty.elem = t;
    return lw_emit(l, I_cast, 1, &x, ty);
}

fe_value *lw_elem(lower *l, vm_inst i, uint32_t n, fe_value *const *v, const char *what,
                  vm_span at) {
    l->b.span = at;
    const uint32_t first = i == I_select ? 1 : 0;
    const bool shift = i == I_shl || i == I_shr;
    vm_dtype t = T_i32;
    bool found = false;
    for (uint32_t k = 0; k < n; k++) {
        if (lw_poison(v[k])) return fe_poison(l->e);
        if (!lw_number(v[k]) && !readable(l, v[k], at)) return fe_poison(l->e);
    }
    for (uint32_t k = first; k < n && !found; k++) {
        if (shift && k == 1) continue;
        found = lw_dtype_of(l, v[k], &t);
    }
    if (!found)
        for (uint32_t k = first; k < (shift ? 1 : n); k++)
            if (lw_number(v[k]) && (k == first || v[k]->kind == FV_FLOAT))
                t = lw_default_type(v[k]);
    const bool floats = i == I_exp || i == I_exp2 || i == I_log || i == I_log2 || i == I_sqrt ||
                        i == I_rsqrt || i == I_rcp || i == I_sin || i == I_cos || i == I_tanh ||
                        i == I_erf;
    if (!found && floats) t = T_f32;
    const char *why = NULL;
    if (i != I_select && !vm_eval_legal(i, t, &why)) {
        vm_diag *d =
            vm_report(l->c, D_E0351, at, "'%s' is not defined for %s", what, vm_dtype_name(t));
        if (why) vm_help(l->c, d, "%s", why);
        return fe_poison(l->e);
    }
    ir_value *x[4];
    ir_type shape = ir_scalar(t);
    for (uint32_t k = 0; k < n; k++) {
        x[k] = shift && k == 1 ? shift_amount(l, v[k], t, at)
                               : lw_operand(l, v[k], k < first ? T_bool : t, at);
        if (!x[k]) return fe_poison(l->e);
        if (x[k]->type.space != IS_REG) continue;
        if (shape.space == IS_SCALAR)
            shape = ir_reg(t, x[k]->type.rank, x[k]->type.dim, NULL);
        else if (!join_shapes(&shape, &x[k]->type)) {
            vm_diag *d = vm_report(l->c, D_E0356, at,
                                   "shapes of the operands of '%s' do not broadcast", what);
            for (uint32_t j = 0; j < n; j++)
                vm_note(l->c, d, "operand %u is %s", j + 1, lw_text(l, v[j]));
            return fe_poison(l->e);
        }
    }
    if (shape.space == IS_REG)
        for (uint32_t k = 0; k < n; k++)
            if (x[k]->type.space == IS_REG) x[k] = lw_broadcast(l, x[k], &shape);
    shape.elem = vm_insts[i].cls == C_CMP ? T_bool : t;
    return lw_rt(l, lw_emit(l, i, n, x, shape));
}

static const vm_inst binary_inst[] = {
    [OP_ADD] = I_add,  [OP_SUB] = I_sub, [OP_MUL] = I_mul, [OP_DIV] = I_div, [OP_REM] = I_rem,
    [OP_AND] = I_and,  [OP_OR] = I_or,   [OP_XOR] = I_xor, [OP_SHL] = I_shl, [OP_SHR] = I_shr,
    [OP_LAND] = I_and, [OP_LOR] = I_or,  [OP_EQ] = I_eq,   [OP_NE] = I_ne,   [OP_LT] = I_lt,
    [OP_GT] = I_gt,    [OP_LE] = I_le,   [OP_GE] = I_ge,
};

fe_value *lw_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x) || lw_poison(y)) return fe_poison(e);
    if (op == OP_IN) {
        if (y->kind != FV_RANGE || y->n < 2) {
            vm_report(l->c, D_E0353, at, "the right side of 'in' is a range lo..hi");
            return fe_poison(e);
        }
        fe_value *lo[2] = {x, y->item[0]}, *hi[2] = {x, y->item[1]}, *both[2];
        both[0] = lw_elem(l, I_ge, 2, lo, "in", at);
        both[1] = lw_elem(l, I_lt, 2, hi, "in", at);
        return lw_elem(l, I_and, 2, both, "in", at);
    }
    if (op <= OP_NONE || op > OP_GE || (op != OP_ADD && binary_inst[op] == 0)) {
        vm_report(l->c, D_E0351, at, "'%s' is not defined here", ast_op_text(op));
        return fe_poison(e);
    }
    if (op == OP_LAND || op == OP_LOR) {
        for (int k = 0; k < 2; k++) {
            fe_value *v = k ? y : x, *other = k ? x : y;
            vm_dtype t;
            if (v->kind == FV_BOOL) return (v->i != 0) == (op == OP_LAND) ? other : v;
            if (lw_dtype_of(l, v, &t) && t == T_bool) continue;
            if (!lw_is_view(v))
                vm_report(l->c, D_E0355, at, "'%s' needs bools, not %s", ast_op_text(op),
                          lw_text(l, v));
            else
                readable(l, v, at);
            return fe_poison(e);
        }
    }
    fe_value *both[2] = {x, y};
    return lw_elem(l, binary_inst[op], 2, both, ast_op_text(op), at);
}

fe_value *lw_unary(fe_eval *e, enum ast_op op, fe_value *x, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x)) return fe_poison(e);
    vm_dtype t;
    if (op == OP_NOT && lw_dtype_of(l, x, &t) && t != T_bool) {
        vm_diag *d = vm_report(l->c, D_E0355, at, "'!' needs a bool, not %s", lw_text(l, x));
        vm_help(l->c, d, "'~' complements bits");
        return fe_poison(e);
    }
    if (op != OP_NEG && op != OP_NOT && op != OP_INV) {
        vm_report(l->c, D_E0351, at, "'%s' is not defined here", ast_op_text(op));
        return fe_poison(e);
    }
    return lw_elem(l, op == OP_NEG ? I_neg : I_not, 1, &x, ast_op_text(op), at);
}

fe_value *lw_cast(fe_eval *e, fe_value *x, const fe_type *to, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x) || !to) return fe_poison(e);
    if (to->kind != FT_SCALAR) {
        vm_report(l->c, D_E0358, at, "'as' converts to an element type, not to %s",
                  fe_type_text(e, to));
        return fe_poison(e);
    }
    vm_dtype from = T_i32;
    if (lw_number(x) && !lw_dtype_of(l, x, &from)) from = x->kind == FV_INT ? T_i64 : T_f64;
    ir_value *v = lw_number(x) ? lw_const(l, x, from, at) : readable(l, x, at);
    if (!v) return fe_poison(e);
    if (v->type.elem == to->elem) return lw_rt(l, v);
    ir_type t = v->type;
    t.elem = to->elem;
    t.reg = NULL;
    return lw_rt(l, lw_emit(l, I_cast, 1, &v, t));
}

// ---- layouts ------------------------------------------------------------------------------------

bool lw_layout_fits(lower *l, const layout *lay, const ir_type *t, vm_span at) {
    bool ok = lay->rank == t->rank;
    for (int d = 0; ok && d < t->rank; d++) ok = lay->shape[d] >= t->dim[d];
    if (!ok) {
        vm_diag *d = vm_report(l->c, D_E0406, at, "this layout does not cover the tile %s",
                               ir_type_text(l->a, t));
        vm_note(l->c, d, "the layout is %s", layout_text(l->a, lay));
        return false;
    }
    if (lay->threads == l->threads) return true;
    vm_diag *d = vm_report(l->c, D_E0406, at, "this layout has %d threads, but the group has %d",
                           lay->threads, l->threads);
    vm_note(l->c, d, "the layout is %s", layout_text(l->a, lay));
    return false;
}

static fe_value *pin_value(lower *l, ir_value *v, const layout *lay) {
    v->type.reg = lay;
    v->pinned = true;
    v->why = WHY_PINNED;
    v->reason = "written with @";
    return lw_rt(l, v);
}

fe_value *lw_pin(lower *l, ir_value *v, const layout *lay, vm_span at) {
    v = lw_landed(l, v);
    if (!lw_layout_fits(l, lay, &v->type, at)) return fe_poison(l->e);
    if (v->type.reg && layout_equal(v->type.reg, lay)) return lw_rt(l, v);
    if (!v->pinned && !v->type.reg && v->def && !v->def->nregions) return pin_value(l, v, lay);
    ir_type t = v->type;
    t.reg = lay;
    ir_value *r = ir_emit1(&l->b, I_relayout, 1, &v, t);
    ir_set_int(r->def, AT_strict, 1);
    r->name = v->name;
    return pin_value(l, r, lay);
}

fe_value *lw_at(fe_eval *e, fe_value *x, fe_value *lay, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x) || lw_poison(lay)) return fe_poison(e);
    if (lay->kind != FV_LAYOUT) {
        vm_report(l->c, D_E0421, at, "a register tile takes a register layout after '@', not %s",
                  fe_describe(e, lay));
        return fe_poison(e);
    }
    ir_value *v = lw_tile(l, x, "'@'", at);
    return v ? lw_pin(l, v, lay->lay, at) : fe_poison(e);
}

// ---- coercion -----------------------------------------------------------------------------------

bool lw_static_dims(lower *l, const fe_type *t, int64_t *dim, vm_span at) {
    for (int d = 0; d < t->rank; d++) {
        if (t->dim[d] && t->dim[d]->kind == FV_INT && t->dim[d]->i >= 1 &&
            t->dim[d]->i <= INT32_MAX) {
            dim[d] = t->dim[d]->i;
            continue;
        }
        if (!lw_poison(t->dim[d]))
            vm_report(l->c, D_E0358, at, "extent %d of %s must be a positive constant", d,
                      fe_type_text(l->e, t));
        return false;
    }
    return true;
}

static bool dims_match(const fe_type *want, const ir_type *t) {
    if (want->rank != t->rank) return false;
    for (int d = 0; d < t->rank; d++)
        if (want->dim[d] && want->dim[d]->kind == FV_INT && t->dim[d] >= 0 &&
            want->dim[d]->i != t->dim[d])
            return false;
    return true;
}

static fe_value *mismatch(lower *l, const fe_value *v, const fe_type *type, vm_span at) {
    vm_diag *d = vm_report(l->c, D_E0350, at, "%s where %s is expected", lw_text(l, v),
                           fe_type_text(l->e, type));
    if (lw_is_view(v) && type->space == FS_REG) vm_help(l->c, d, "load(…) reads it into registers");
    return fe_poison(l->e);
}

static fe_value *coerce_scalar(lower *l, fe_value *v, const fe_type *type, vm_span at) {
    const vm_dtype t = type->elem;
    if (lw_number(v)) {
        // Known numbers stay known: only their type is settled.
        if (v->typed && v->kind != FV_BOOL ? v->dtype == t : v->kind == FV_BOOL && t == T_bool)
            return v;
        ir_builder loose = l->b;
        l->b.region = ir_region_new(l->f, NULL);
        l->b.before = NULL;
        const bool ok = lw_const(l, v, t, at) != NULL;
        l->b = loose;
        if (!ok) return fe_poison(l->e);
        fe_value *r = vm_dup(l->a, v, sizeof *v);
        r->typed = true;
        r->dtype = t;
        if (v->kind == FV_INT && vm_is_float(t)) {
            r->kind = FV_FLOAT;
            r->f = (double)v->i;
        }
        return r;
    }
    ir_value *x = lw_operand(l, v, t, at);
    if (!x) return fe_poison(l->e);
    if (x->type.space == IS_SCALAR || lw_lifted(l, x)) return x == v->rt ? v : lw_rt(l, x);
    return mismatch(l, v, type, at);
}

static fe_value *coerce_tensor(lower *l, fe_value *v, const fe_type *type, vm_span at) {
    if (v->kind != FV_RT) return mismatch(l, v, type, at);
    const ir_type *t = &v->rt->type;
    const bool reg = type->space == FS_REG || (type->space == FS_NONE && t->space == IS_REG);
    const enum ir_space want = reg ? IS_REG : type->space == FS_SHARED ? IS_SHARED : IS_GLOBAL;
    if (type->space == FS_TMEM || t->space != want || t->elem != type->elem || !dims_match(type, t))
        return mismatch(l, v, type, at);
    if (!reg) return v;
    if (t->inflight && !type->inflight) v = lw_rt(l, lw_landed_at_once(l, v->rt, at));
    if (type->layout && type->layout->kind == FV_LAYOUT && !type->inflight)
        return lw_pin(l, v->rt, type->layout->lay, at);
    return v;
}

fe_value *lw_coerce(fe_eval *e, fe_value *v, const fe_type *type, vm_span at) {
    lower *l = lw(e);
    if (!type || lw_poison(v) || v->kind == FV_ANY) return v;
    l->b.span = at;
    switch (type->kind) {
    case FT_SCALAR:
        return coerce_scalar(l, v, type, at);
    case FT_TENSOR:
        return coerce_tensor(l, v, type, at);
    case FT_BARRIER:
        return lw_in_space(v, IS_BARRIER) ? v : mismatch(l, v, type, at);
    case FT_STRUCT:
        if (v->kind == FV_STRUCT && (!type->strukt || v->decl == type->strukt->node)) return v;
        return mismatch(l, v, type, at);
    case FT_TUPLE: {
        if (v->kind != FV_TUPLE || !type->items || type->items->n != v->n)
            return mismatch(l, v, type, at);
        fe_value **item = vm_newn(l->a, fe_value *, v->n ? v->n : 1);
        for (uint32_t i = 0; i < v->n; i++)
            item[i] = lw_coerce(e, v->item[i], type->items->item[i]->type, at);
        return fe_tuple(e, v->n, item);
    }
    case FT_META:
        if (v->kind != FV_RT) return v;
        vm_report(l->c, D_E0358, at,
                  "a run-time value where %s is expected: it must be known at compile time",
                  type->meta ? type->meta : "a constant");
        return fe_poison(e);
    }
    return v;
}
