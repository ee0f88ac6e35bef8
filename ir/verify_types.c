// SPDX-License-Identifier: Apache-2.0
// The verifier's rules of single operations: operand counts, types, shapes, layouts and attributes,
// by the class of the instruction's row.
#include "ir/verify.h"
#include "layout/move.h"

#include <string.h>

#define NEED(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) return ir_check_fail(k, op, __VA_ARGS__);                                     \
    } while (0)

static bool is_tile(const ir_value *v) {
    return v->type.space == IS_REG;
}

static bool is_scalar(const ir_value *v) {
    return v->type.space == IS_SCALAR;
}

static bool is_int(const ir_value *v) {
    return is_scalar(v) && (vm_is_int(v->type.elem) || v->type.elem == T_bool);
}

static bool is_memory(const ir_value *v) {
    return v->type.space == IS_SHARED || v->type.space == IS_GLOBAL;
}

static bool same_shape(const ir_type *a, const ir_type *b) {
    if (a->rank != b->rank) return false;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != b->dim[d]) return false;
    return true;
}

bool ir_check_same(const ir_checker *k, const ir_type *a, const ir_type *b) {
    if (a->space != b->space || a->elem != b->elem || a->inflight != b->inflight) return false;
    if (!same_shape(a, b)) return false;
    return !k->f->relaid || !a->reg || !b->reg || layout_equal(a->reg, b->reg);
}

static int64_t open_dims(const ir_type *t) {
    int64_t n = 0;
    for (int d = 0; d < t->rank; d++) n += t->dim[d] < 0;
    return n;
}

bool ir_check_type(ir_checker *k, const ir_op *op, const ir_type *t) {
    NEED(t->elem < T_count_ && t->rank <= LAYOUT_MAX_RANK, "malformed type");
    for (int d = 0; d < t->rank; d++) {
        if (t->space == IS_REG) NEED(t->dim[d] >= 1, "extent of a register tile below 1");
        else NEED(t->dim[d] >= IR_DYN, "negative extent");
        NEED(t->dim[d] <= INT32_MAX, "extent too large");
    }
    if (t->inflight) NEED(t->space == IS_REG || t->space == IS_NONE, "only tiles are in flight");
    if (t->space == IS_REG && t->reg) {
        NEED(t->reg->rank == t->rank, "layout of rank %d on a tile of rank %d", t->reg->rank, t->rank);
        for (int d = 0; d < t->rank; d++)
            NEED(t->reg->shape[d] >= t->dim[d], "layout smaller than its tile");
        NEED(layout_covers(k->arena, t->reg), "layout does not own every element");
    }
    if (t->space == IS_SHARED && t->shared) {
        NEED(t->shared->rank == t->rank, "shared layout of the wrong rank");
        for (int d = 0; d < t->rank; d++)
            NEED(t->dim[d] < 0 || t->shared->shape[d] >= t->dim[d], "layout smaller than its tile");
        NEED(shared_injective(k->arena, t->shared, NULL, NULL), "two elements share an offset in this layout");
        NEED(shared_inside(t->shared), "layout reaches beyond its size");
    }
    return true;
}

// Tiles of one operation agree in shape, and in layout once that is settled.
static bool check_alike(ir_checker *k, const ir_op *op, const ir_type *res) {
    bool tile = false;
    for (uint32_t i = 0; i < op->nops; i++) {
        const ir_type *t = &op->ops[i]->type;
        NEED(t->space == IS_SCALAR || t->space == IS_REG, "operand %u is neither scalar nor tile", i);
        NEED(!t->inflight, "operand %u is in flight", i);
        if (t->space != IS_REG) continue;
        tile = true;
        NEED(res->space == IS_REG && same_shape(t, res), "operand %u and result differ in shape", i);
        if (k->f->relaid && t->reg && res->reg)
            NEED(layout_equal(t->reg, res->reg), "operand %u and result differ in layout", i);
    }
    NEED(tile == (res->space == IS_REG), "a tile where a scalar is due, or the reverse");
    NEED(res->space == IS_SCALAR || res->space == IS_REG, "result is neither scalar nor tile");
    return true;
}

static bool check_elem(ir_checker *k, const ir_op *op) {
    const ir_type *res = &op->res[0]->type;
    if (!check_alike(k, op, res)) return false;
    const uint8_t cls = vm_insts[op->inst].cls;
    if (cls == C_CAST) {
        const char *round = ir_str(op, AT_round);
        NEED(!round || !strcmp(round, "nearest") || !strcmp(round, "zero"), "unknown rounding");
        if (op->inst == I_bitcast)
            NEED(vm_bits(res->elem) == vm_bits(op->ops[0]->type.elem), "widths differ");
        return true;
    }
    const uint32_t from = cls == C_SELECT ? 1 : 0;
    const vm_dtype t = op->ops[from]->type.elem;
    if (from) NEED(op->ops[0]->type.elem == T_bool, "condition is not bool");
    for (uint32_t i = from; i < op->nops; i++)
        NEED(op->ops[i]->type.elem == t, "element types differ: %s and %s", vm_dtype_name(t),
             vm_dtype_name(op->ops[i]->type.elem));
    NEED(res->elem == (cls == C_CMP ? T_bool : t), "result has the wrong element type");
    const char *why = "";
    NEED(vm_eval_legal(op->inst, t, &why), "not defined on %s", vm_dtype_name(t));
    return true;
}

static bool check_leaf(ir_checker *k, const ir_op *op) {
    const ir_type *res = &op->res[0]->type;
    if (op->inst == I_poison) {
        NEED(res->space == IS_SCALAR || res->space == IS_REG, "result is neither scalar nor tile");
        return true;
    }
    NEED(res->space == IS_SCALAR, "result is not a scalar");
    if (op->inst == I_const) {
        const ir_attr *a = ir_get(op, AT_value);
        NEED(a, "attribute 'value' is missing");
        const unsigned bits = vm_bits(res->elem);
        NEED(bits == 64 || (uint64_t)a->i >> bits == 0, "code does not fit the type");
        return true;
    }
    NEED(res->elem == T_i32, "result is not i32");
    if (op->inst == I_thread_id) NEED(ir_enclosing(op, I_simt), "only inside simt");
    if (op->inst == I_block_id || op->inst == I_grid_dim) {
        const int64_t d = ir_int(op, AT_dim, -1);
        NEED(d >= 0 && d < 3, "attribute 'dim' is not 0, 1 or 2");
    }
    return true;
}

// dims is a list of n different numbers below bound.
static bool check_dims(ir_checker *k, const ir_op *op, uint32_t n, int bound) {
    const ir_attr *a = ir_get(op, AT_dims);
    NEED(a && a->n == n, "attribute 'dims' needs %u numbers", n);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        NEED(a->v[i] >= 0 && a->v[i] < bound, "attribute 'dims' names no dimension");
        NEED(!(seen >> a->v[i] & 1), "attribute 'dims' names a dimension twice");
        seen |= 1u << a->v[i];
    }
    return true;
}

static bool check_tile(ir_checker *k, const ir_op *op) {
    const ir_type *res = &op->res[0]->type;
    const ir_type *x = op->nops ? &op->ops[0]->type : NULL;
    if (op->inst == I_iota) {
        const int64_t d = ir_int(op, AT_dim, -1);
        NEED(res->space == IS_REG && res->elem == T_i32, "result is not an i32 tile");
        NEED(d >= 0 && d < res->rank, "attribute 'dim' names no dimension");
        return true;
    }
    if (op->inst == I_full) {
        NEED(res->space == IS_REG && x->space == IS_SCALAR && x->elem == res->elem,
             "needs a scalar of the tile's element type");
        return true;
    }
    const bool memory = op->inst == I_permute || op->inst == I_reshape;
    NEED(x->space == IS_REG || (memory && is_memory(op->ops[0])), "operand is not a tile");
    NEED(res->space == x->space && !x->inflight && !res->inflight, "result is of another space");
    if (op->inst == I_view) {
        if (x->reg && res->reg && k->f->relaid) {
            NEED(x->reg->threads == res->reg->threads, "number of threads changes");
            NEED((uint64_t)x->reg->slots * vm_bits(x->elem) ==
                     (uint64_t)res->reg->slots * vm_bits(res->elem),
                 "number of bits per thread changes");
        }
        return true;
    }
    NEED(x->elem == res->elem, "element type changes");
    if (op->inst == I_relayout && k->f->relaid && x->reg && res->reg) {
        int32_t shape[LAYOUT_MAX_RANK] = {0};
        for (int d = 0; d < res->rank; d++) shape[d] = (int32_t)res->dim[d];
        NEED(x->reg->threads == res->reg->threads, "number of threads changes");
        NEED(same_shape(x, res), "shape changes");
        NEED(move_plan_exact(k->arena, ir_move_plan(op), x->reg, res->reg, shape), "plan loses elements");
    }
    switch (op->inst) {
    case I_broadcast: {
        if (!check_dims(k, op, x->rank, res->rank)) return false;
        const ir_attr *a = ir_get(op, AT_dims);
        for (uint32_t i = 0; i < x->rank; i++)
            NEED(x->dim[i] == res->dim[a->v[i]] || x->dim[i] == 1, "extent %u does not stretch", i);
        return true;
    }
    case I_permute: {
        NEED(res->rank == x->rank, "rank changes");
        if (!check_dims(k, op, x->rank, x->rank)) return false;
        const ir_attr *a = ir_get(op, AT_dims);
        for (uint32_t i = 0; i < x->rank; i++)
            NEED(res->dim[i] == x->dim[a->v[i]], "extent %u is not that of its dimension", i);
        return true;
    }
    case I_reshape:
        NEED(ir_elems(x) >= 0 && ir_elems(x) == ir_elems(res), "number of elements changes");
        return true;
    default:
        NEED(same_shape(x, res), "shape changes");
        return true;
    }
}

static bool check_dot(ir_checker *k, const ir_op *op) {
    const ir_type *a = &op->ops[0]->type, *b = &op->ops[1]->type, *c = &op->ops[2]->type;
    const ir_type *res = &op->res[0]->type;
    const int r = c->rank;
    NEED(r >= 2 && a->rank == r && b->rank == r && (op->inst == I_dot || r == 2), "operands are not matrices");
    NEED(a->dim[r - 2] == c->dim[r - 2] && a->dim[r - 1] == b->dim[r - 2] && b->dim[r - 1] == c->dim[r - 1],
         "extents do not fit: a[M, K], b[K, N], c[M, N]");
    for (int d = 0; d < r - 2; d++) NEED(a->dim[d] == c->dim[d] && b->dim[d] == c->dim[d], "stacks differ");
    NEED(c->space == IS_REG && res->space == IS_REG && res->elem == c->elem && same_shape(res, c),
         "result is not of the accumulator's type");
    if (op->inst == I_dot) {
        NEED(a->space == IS_REG && b->space == IS_REG, "operands are not tiles");
        NEED(!a->inflight && !b->inflight && !c->inflight && !res->inflight, "operand in flight");
    } else {
        NEED((a->space == IS_REG && !a->inflight) || a->space == IS_SHARED, "a is not in registers or shared");
        NEED(b->space == IS_SHARED, "b is not in shared memory");
        NEED(res->inflight, "result is not in flight");
    }
    if (k->f->relaid && c->reg && res->reg)
        NEED(layout_equal(c->reg, res->reg), "accumulator and result differ in layout");
    return true;
}

static bool check_reduce(ir_checker *k, const ir_op *op) {
    const ir_type *x = &op->ops[0]->type, *res = &op->res[0]->type;
    NEED(x->space == IS_REG && !x->inflight, "operand is not a tile");
    NEED(x->elem == res->elem, "element type changes");
    if (op->inst == I_any || op->inst == I_all) NEED(x->elem == T_bool, "operand is not bool");
    const ir_attr *dim = ir_get(op, AT_dim);
    if (vm_insts[op->inst].cls == C_SCAN) {
        static const char *const names[] = {"add", "mul", "min", "max", "and", "or", "xor"};
        const char *name = ir_str(op, AT_op);
        bool found = !name;
        for (size_t i = 0; i < sizeof names / sizeof *names && name; i++)
            found = found || strcmp(name, names[i]) == 0;
        NEED(found, "unknown scan operation");
        NEED(res->space == IS_REG && same_shape(x, res), "shape changes");
        NEED(!dim || (dim->i >= 0 && dim->i < x->rank), "attribute 'dim' names no dimension");
        return true;
    }
    if (!dim) {
        NEED(res->space == IS_SCALAR, "result is not a scalar");
        return true;
    }
    NEED(dim->i >= 0 && dim->i < x->rank, "attribute 'dim' names no dimension");
    const bool keep = ir_int(op, AT_keep, 0) != 0;
    if (res->space == IS_SCALAR) {
        NEED(x->rank == 1 && !keep, "result is not a tile");
        return true;
    }
    NEED(res->space == IS_REG && res->rank == x->rank - !keep, "result has the wrong rank");
    for (int d = 0, e = 0; d < x->rank; d++) {
        if (d == dim->i && !keep) continue;
        NEED(res->dim[e++] == (d == dim->i ? 1 : x->dim[d]), "result has the wrong shape");
    }
    return true;
}

static bool check_slice(ir_checker *k, const ir_op *op) {
    NEED(op->nops >= 1 && is_memory(op->ops[0]), "operand is not a memory view");
    const ir_type *x = &op->ops[0]->type, *res = &op->res[0]->type;
    const ir_attr *mode = ir_get(op, AT_mode);
    NEED(mode && mode->n == x->rank, "attribute 'mode' needs %d numbers", x->rank);
    NEED(res->space == x->space && res->elem == x->elem, "space or element type changes");
    uint32_t n = 1;
    int e = 0;
    for (uint32_t d = 0; d < mode->n; d++) {
        const int m = mode->v[d];
        NEED(m >= 0 && m <= 3, "unknown mode %d", m);
        n += m == 2 ? 0 : m == 3 ? 2 : 1;
        if (m == 0) continue;
        NEED(e < res->rank, "result has too few dimensions");
        if (m == 1) NEED(res->dim[e] >= 0, "width of a window is not constant");
        if (m == 2) NEED(res->dim[e] == x->dim[d], "extent of a whole dimension changes");
        if (m == 3) NEED(res->dim[e] == IR_DYN, "extent of a range is not open");
        e++;
    }
    NEED(e == res->rank, "result has too many dimensions");
    NEED(op->nops == n, "needs %u operands", n);
    for (uint32_t i = 1; i < n; i++) NEED(is_int(op->ops[i]), "operand %u is not an integer", i);
    ir_access a;
    NEED(ir_trace(op->res[0], &a), "chain of views cannot be traced");
    return true;
}

static bool check_view(ir_checker *k, const ir_op *op) {
    if (op->inst == I_slice) return check_slice(k, op);
    if (op->inst == I_member) {
        const ir_type *x = &op->ops[0]->type, *r = &op->res[0]->type;
        NEED(x->space == IS_SHARED && r->space == IS_SHARED && x->elem == T_u8 && x->rank >= 1 && r->rank >= x->rank - 1, "needs a shared view of bytes");
        for (int d = 0; d + 1 < x->rank; d++) NEED(x->dim[d] == r->dim[d], "extents %d differ", d);
        int64_t bits = vm_mem_bits(r->elem);
        for (int d = x->rank - 1; d < r->rank; d++) bits *= r->dim[d];
        NEED(bits >= 0 && ir_int(op, AT_offset, 0) >= 0 && ir_int(op, AT_offset, 0) * 8 + bits <= x->dim[x->rank - 1] * 8, "reaches out of its struct");
        return true;
    }
    if (op->inst == I_peer) {
        const enum ir_space s = op->ops[0]->type.space;
        NEED((s == IS_SHARED || s == IS_BARRIER) && is_int(op->ops[1]), "needs a shared view or barriers, and an integer");
        NEED(op->res[0]->type.space == s && op->res[0]->type.rank == op->ops[0]->type.rank, "result is of another type");
        return true;
    }
    const ir_type *res = &op->res[0]->type;
    uint32_t n = (uint32_t)open_dims(res), from = 0;
    if (op->inst == I_global_view) {
        NEED(res->space == IS_GLOBAL, "result is not a global view");
        NEED(op->nops && op->ops[0]->type.space == IS_PTR, "operand 0 is not a pointer");
        from = 1;
        n += 1 + (ir_get(op, AT_strided) ? res->rank : 0u);
    } else {
        NEED(res->space == IS_SHARED, "result is not a shared view");
        NEED(!k->host, "not in the host region");
    }
    NEED(op->nops == n, "needs %u operands", n);
    for (uint32_t i = from; i < n; i++) NEED(is_int(op->ops[i]), "operand %u is not an integer", i);
    return true;
}

// (view, indices…[, values…]): the view of rank r, r integers, `extra` scalars of the element type.
static bool check_cell(ir_checker *k, const ir_op *op, uint32_t extra) {
    NEED(op->nops >= 1 && is_memory(op->ops[0]), "operand 0 is not a memory view");
    const ir_type *x = &op->ops[0]->type;
    NEED(op->nops == 1u + x->rank + extra, "needs %u operands", 1u + x->rank + extra);
    for (uint32_t i = 1; i <= x->rank; i++) NEED(is_int(op->ops[i]), "index %u is no integer", i - 1);
    for (uint32_t i = 1u + x->rank; i < op->nops; i++)
        NEED(is_scalar(op->ops[i]) && op->ops[i]->type.elem == x->elem, "value is of another type");
    if (op->nres)
        NEED(op->res[0]->type.space == IS_SCALAR && op->res[0]->type.elem == x->elem,
             "result is of another type");
    return true;
}

static bool check_mem(ir_checker *k, const ir_op *op) {
    switch (op->inst) {
    case I_load_elem:
        NEED(op->nres == 1, "needs a result");
        return check_cell(k, op, 0);
    case I_store_elem:
        NEED(op->nres == 0, "has no result");
        return check_cell(k, op, 1);
    case I_atomic_add:
    case I_atomic_min:
    case I_atomic_max:
    case I_atomic_exch:
    case I_atomic_cas:
        NEED(op->nres <= 1, "has one result at most");
        if (op->nops == 2 && is_tile(op->ops[1])) {
            NEED(is_memory(op->ops[0]) && op->nres == 0, "needs (view, tile) and no result");
            NEED(op->ops[0]->type.elem == op->ops[1]->type.elem &&
                     same_shape(&op->ops[0]->type, &op->ops[1]->type),
                 "view and tile differ");
            return true;
        }
        return check_cell(k, op, op->inst == I_atomic_cas ? 2 : 1);
    default:
        break;
    }
    NEED(op->nops >= 1 && is_memory(op->ops[0]), "operand 0 is not a memory view");
    const ir_type *x = &op->ops[0]->type;
    switch (op->inst) {
    case I_load: {
        const ir_type *res = &op->res[0]->type;
        NEED(res->space == IS_REG && res->elem == x->elem && same_shape(res, x),
             "view and tile differ");
        return true;
    }
    case I_store: {
        const ir_type *y = &op->ops[1]->type;
        NEED(y->space == IS_REG && !y->inflight && y->elem == x->elem && same_shape(y, x),
             "view and tile differ");
        return true;
    }
    case I_load_be:
    case I_load_le:
        NEED(x->elem == T_u8 && x->rank == 1, "needs a u8 view of rank 1");
        NEED(is_int(op->ops[1]) && op->res[0]->type.space == IS_SCALAR &&
                 vm_dtypes[op->res[0]->type.elem].kind == K_UINT &&
                 vm_bits(op->res[0]->type.elem) % 8 == 0,
             "needs an integer offset and gives an unsigned integer of whole bytes");
        return true;
    case I_copy:
    case I_copy_async:
    case I_tma_load:
    case I_tma_store:
    case I_tma_reduce: {
        NEED(op->nops >= 2 && is_memory(op->ops[1]), "operand 1 is not a memory view");
        const ir_type *y = &op->ops[1]->type;
        NEED(x->elem == y->elem && x->rank == y->rank, "views differ in type or rank");
        for (int d = 0; d < x->rank; d++)
            NEED(x->dim[d] == y->dim[d] || x->dim[d] < 0 || y->dim[d] < 0, "extents %d differ", d);
        NEED(op->nops <= 3, "too many operands");
        if (op->nops == 3) NEED(op->ops[2]->type.space == IS_BARRIER, "operand 2 is not a barrier");
        if (op->inst == I_tma_load) NEED(op->nops == 3, "needs a barrier");
        return true;
    }
    default: // prefetch
        return true;
    }
}

static bool check_barrier(ir_checker *k, const ir_op *op) {
    switch (op->inst) {
    case I_alloc_barrier:
        NEED(op->res[0]->type.space == IS_BARRIER, "result is not a barrier");
        NEED(ir_int(op, AT_count, 1) >= 1 && ir_int(op, AT_extent, 1) >= 1 &&
                 ir_int(op, AT_extent, 1) <= 4096,
             "count or extent out of range");
        return true;
    case I_barrier_at:
        NEED(op->ops[0]->type.space == IS_BARRIER && op->res[0]->type.space == IS_BARRIER &&
                 is_int(op->ops[1]),
             "needs (barriers, index)");
        return true;
    case I_expect:
    case I_wait:
        NEED(op->ops[0]->type.space == IS_BARRIER && is_int(op->ops[1]), "needs (barrier, integer)");
        return true;
    case I_arrive:
        NEED(op->ops[0]->type.space == IS_BARRIER, "operand is not a barrier");
        return true;
    case I_wait_until: {
        static const char *const names[] = {"eq", "ne", "lt", "le", "gt", "ge"};
        const char *name = ir_str(op, AT_cmp);
        bool found = false;
        for (size_t i = 0; i < 6 && name; i++) found = found || strcmp(name, names[i]) == 0;
        NEED(found, "attribute 'cmp' is missing or unknown");
        return check_cell(k, op, 1);
    }
    case I_signal:
    case I_wait_for:
        return check_cell(k, op, 1);
    case I_wait_group:
        NEED(ir_int(op, AT_count, 0) >= 0, "attribute 'count' is negative");
        return true;
    case I_wait_value:
        NEED(op->ops[0]->type.inflight, "operand is not in flight");
        NEED(!op->res[0]->type.inflight, "result is in flight");
        return true;
    default:
        return true;
    }
}

static bool check_thread(ir_checker *k, const ir_op *op) {
    NEED(ir_enclosing(op, I_simt), "only inside simt");
    if (vm_insts[op->inst].cls == C_WARP) {
        for (uint32_t i = 0; i < op->nops; i++) NEED(is_scalar(op->ops[i]), "operand is no scalar");
        NEED(op->res[0]->type.space == IS_SCALAR, "result is no scalar");
        if (op->inst == I_ballot)
            NEED(op->res[0]->type.elem == T_u32 && op->ops[0]->type.elem == T_bool, "needs bool, gives u32");
        else NEED(op->res[0]->type.elem == op->ops[0]->type.elem && is_int(op->ops[1]), "types do not fit");
        return true;
    }
    NEED(op->nops >= 1 && is_tile(op->ops[0]), "operand 0 is not a tile");
    const ir_type *x = &op->ops[0]->type;
    const uint32_t extra = op->inst == I_elem_set;
    NEED(op->nops == 1u + x->rank + extra, "needs %u operands", 1u + x->rank + extra);
    for (uint32_t i = 1; i <= x->rank; i++) NEED(is_int(op->ops[i]), "index %u is no integer", i - 1);
    const ir_type *res = &op->res[0]->type;
    if (!extra) {
        NEED(res->space == IS_SCALAR && res->elem == x->elem, "result is of another type");
        return true;
    }
    const ir_type *v = &op->ops[op->nops - 1]->type;
    NEED(v->space == IS_SCALAR && v->elem == x->elem, "value is of another type");
    NEED(ir_check_same(k, res, x), "result is not of the tile's type");
    return true;
}

static bool check_misc(ir_checker *k, const ir_op *op) {
    const bool host_only =
        op->inst == I_host_check || op->inst == I_host_extent || op->inst == I_host_tensor || op->inst == I_host_launch;
    NEED(host_only <= k->host, "only in the host region");
    switch (op->inst) {
    case I_assert:
    case I_assume:
    case I_host_check:
        NEED((is_scalar(op->ops[0]) || (is_tile(op->ops[0]) && op->inst == I_assert)) &&
                 op->ops[0]->type.elem == T_bool,
             "operand is not bool");
        return true;
    case I_host_extent: {
        const int64_t p = ir_int(op, AT_param, -1);
        NEED(p >= 0 && p < k->f->nparams && k->f->params[p].value->type.space == IS_PTR,
             "attribute 'param' names no pointer");
        NEED(op->nops <= LAYOUT_MAX_RANK, "too many extents");
        for (uint32_t i = 0; i < op->nops; i++) NEED(is_int(op->ops[i]), "extent is no integer");
        return true;
    }
    case I_host_tensor: {
        const int64_t p = ir_int(op, AT_param, -1);
        const ir_attr *box = ir_get(op, AT_box);
        NEED(p >= 0 && p < k->f->nparams && k->f->params[p].value->type.space == IS_PTR, "attribute 'param' names no pointer");
        NEED(box && box->n >= 1 && box->n <= 5 && op->nops == 2 * box->n - 1, "needs 'box' of 1 to 5 extents, as many extents and one stride less");
        for (uint32_t i = 0; i < op->nops; i++) NEED(is_int(op->ops[i]), "operand is no integer");
        return true;
    }
    case I_host_launch:
        NEED(op->nops >= 3 && op->nops <= 4, "needs grid x, y, z and dynamic shared bytes");
        for (uint32_t i = 0; i < op->nops; i++) NEED(is_int(op->ops[i]), "operand is no integer");
        return true;
    case I_print: {
        NEED(ir_str(op, AT_format), "attribute 'format' is missing");
        for (uint32_t i = 0; i < op->nops; i++)
            NEED(is_scalar(op->ops[i]) || is_tile(op->ops[i]), "operand %u cannot be printed", i);
        return true;
    }
    default:
        return true;
    }
}

bool ir_check_types(ir_checker *k, const ir_op *op) {
    switch (vm_insts[op->inst].cls) {
    case C_LEAF:
        return check_leaf(k, op);
    case C_ELEM:
    case C_CMP:
    case C_SELECT:
    case C_CAST:
        return check_elem(k, op);
    case C_TILE:
        return check_tile(k, op);
    case C_VIEW:
        return check_view(k, op);
    case C_MEM:
        return check_mem(k, op);
    case C_DOT:
        return check_dot(k, op);
    case C_REDUCE:
    case C_SCAN:
        return check_reduce(k, op);
    case C_WARP:
    case C_SIMT:
        return check_thread(k, op);
    case C_ASYNC:
        if (op->inst == I_copy_async || op->inst == I_tma_load || op->inst == I_tma_store ||
            op->inst == I_tma_reduce)
            return check_mem(k, op);
        return check_barrier(k, op);
    case C_BARRIER:
        return check_barrier(k, op);
    default:
        return check_misc(k, op);
    }
}
