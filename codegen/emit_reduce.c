// SPDX-License-Identifier: Apache-2.0
// Reductions and scans of tiles: within threads, by butterflies within warps, through scratch shared
// memory across warps.
#include <assert.h>
#include <string.h>

#include "codegen/tile.h"

typedef struct {
    vm_inst op;
    vm_dtype type;   // of the accumulation: f16 and bf16 sums run in f32
    uint64_t identity;
} monoid;

static uint64_t identity_of(vm_inst op, vm_dtype t) {
    const unsigned bits = vm_bits(t);
    const uint64_t ones = bits == 64 ? ~0ull : (1ull << bits) - 1;
    const double inf = __builtin_inf();
    switch (op) {
    case I_mul: return vm_is_float(t) ? vm_encode(t, 1.0, vm_default_rounding(t)) : 1;
    case I_and: return ones;
    case I_min: return vm_is_float(t) ? vm_encode(t, inf, vm_default_rounding(t)) : vm_is_signed(t) ? ones >> 1 : ones;
    case I_max: return vm_is_float(t) ? vm_encode(t, -inf, vm_default_rounding(t)) : vm_is_signed(t) ? 1ull << (bits - 1) : 0;
    default: return 0;
    }
}

static monoid monoid_of(vm_inst op, vm_dtype t) {
    const vm_dtype acc = (op == I_add || op == I_mul) && (t == T_f16 || t == T_bf16) ? T_f32 : t;
    return (monoid){op, acc, identity_of(op, acc)};
}

static LLVMValueRef join(cg *g, const monoid *m, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef x[2] = {a, b};
    return cg_elem(g, m->op, m->type, x, false);
}

/// Bits of the thread number along which partial results differ, as powers of two, and digits that
/// are none (odd extents).
typedef struct {
    int nbits, ndigits;
    int32_t bit[16];
    layout_digit digit[LAYOUT_MAX_MODES];
} lanes;

static lanes lanes_along(const layout *l, int dim) { // dim -1: all dimensions
    lanes r = {0};
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    for (int i = 0; i < n; i++) {
        if (!d[i].spatial || d[i].dim < 0 || (dim >= 0 && d[i].dim != dim)) continue;
        const bool pow2 = !(d[i].extent & (d[i].extent - 1)) && !(d[i].div & (d[i].div - 1));
        if (pow2)
            for (int32_t b = d[i].div; b < d[i].div * d[i].extent; b *= 2) r.bit[r.nbits++] = b;
        else r.digit[r.ndigits++] = d[i];
    }
    return r;
}

/// Combines v[n] over the threads of `l`; every thread ends with the whole result.
static void across_threads(cg *g, const ir_op *op, const monoid *m, const lanes *l, LLVMValueRef *v, uint32_t n) {
    bool far = l->ndigits > 0;
    for (int i = 0; i < l->nbits; i++) {
        if (l->bit[i] >= 32) {
            far = true;
            continue;
        }
        for (uint32_t s = 0; s < n; s++) {
            cg_counted(g, CG_shuffle);
            v[s] = join(g, m, v[s], cg_shuffle(g, CG_SHFL_XOR, v[s], cg_i32(g, l->bit[i]), NULL));
        }
    }
    if (!far) return;
    const int64_t scratch = ir_int(op, AT_scratch, -1);
    assert(scratch >= 0);
    const unsigned cell = cg_cell_bytes(m->type);
    LLVMTypeRef ct = cell == 1 ? g->t_i8 : cell == 2 ? g->t_i16 : cell == 4 ? g->t_i32 : g->t_i64;
    LLVMValueRef tid = cg_tid(g), row = LLVMBuildMul(g->b, tid, cg_i32(g, n), "");
    cg_sync(g);
    for (uint32_t s = 0; s < n; s++) {
        LLVMValueRef c = cg_code(g, m->type, v[s], cell == 8 ? g->t_i64 : g->t_i32);
        if (cell < 4) c = LLVMBuildTrunc(g->b, c, ct, "");
        LLVMSetAlignment(LLVMBuildStore(g->b, c, cg_scratch_at(g, row, s, cell, scratch)), cell);
    }
    cg_sync(g);
    // peers: all combinations of the far bits and digits; own digit values are cleared first
    LLVMValueRef base = tid;
    int32_t peers = 1;
    for (int i = 0; i < l->nbits; i++)
        if (l->bit[i] >= 32) {
            base = LLVMBuildAnd(g->b, base, cg_i32(g, ~l->bit[i]), "");
            peers *= 2;
        }
    for (int i = 0; i < l->ndigits; i++) {
        const layout_digit *d = &l->digit[i];
        LLVMValueRef own = LLVMBuildURem(g->b, LLVMBuildUDiv(g->b, tid, cg_i32(g, d->div), ""), cg_i32(g, d->extent), "");
        base = LLVMBuildSub(g->b, base, LLVMBuildMul(g->b, own, cg_i32(g, d->div), ""), "");
        peers *= d->extent;
    }
    base = LLVMBuildMul(g->b, base, cg_i32(g, n), "");
    for (uint32_t s = 0; s < n; s++) {
        LLVMValueRef sum = NULL;
        for (int32_t p = 0; p < peers; p++) {
            int32_t off = 0, rest = p;
            for (int i = 0; i < l->nbits; i++)
                if (l->bit[i] >= 32) {
                    off += rest % 2 * l->bit[i];
                    rest /= 2;
                }
            for (int i = 0; i < l->ndigits; i++) {
                off += rest % l->digit[i].extent * l->digit[i].div;
                rest /= l->digit[i].extent;
            }
            LLVMValueRef x = LLVMBuildLoad2(g->b, ct, cg_scratch_at(g, base, (int64_t)off * n + s, cell, scratch), "");
            LLVMSetAlignment(x, cell);
            if (cell < 4) x = LLVMBuildZExt(g->b, x, g->t_i32, "");
            x = cg_from_code(g, m->type, x);
            sum = sum ? join(g, m, sum, x) : x;
        }
        v[s] = sum;
    }
}

/// The slot's element as the accumulation type; the identity where it is dead.
static LLVMValueRef member(cg *g, const monoid *m, const ir_type *t, const cg_tile *x, uint32_t s) {
    LLVMValueRef v = cg_cast(g, t->elem, m->type, cg_slot(g, x, s), vm_default_rounding(m->type)), live = cg_live(g, t, s);
    return live ? LLVMBuildSelect(g->b, live, v, cg_const(g, m->type, m->identity), "") : v;
}

typedef struct {
    int dim;
    bool keep;
    int rank;
} dropped;

static void reduced_index(const void *ctx, const int32_t *to, int32_t *from) {
    const dropped *r = ctx;
    for (int d = 0, n = 0; d < r->rank; d++) {
        if (d == r->dim && !r->keep) continue;
        from[n++] = d == r->dim ? 0 : to[d];
    }
}

static void reduce(cg *g, ir_op *op, vm_inst how) {
    const ir_type *t = &op->ops[0]->type;
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const monoid m = monoid_of(how, t->elem);
    if (!cg_is_tile(op->res[0])) {
        LLVMValueRef v = cg_const(g, m.type, m.identity);
        for (uint32_t s = 0; s < x->slots; s++)
            if (cg_first_slot(t->reg, s)) v = join(g, &m, v, member(g, &m, t, x, s));
        const lanes l = lanes_along(t->reg, -1);
        across_threads(g, op, &m, &l, &v, 1);
        cg_set_scalar(g, op->res[0], cg_cast(g, m.type, op->res[0]->type.elem, v, vm_default_rounding(t->elem)));
        return;
    }
    const ir_type *tr = &op->res[0]->type;
    const uint32_t n = cg_slots(tr);
    const dropped d = {(int)ir_int(op, AT_dim, 0), ir_int(op, AT_keep, 0) != 0, t->rank};
    int32_t *map = vm_newn(g->arena, int32_t, x->slots);
    if (!cg_slot_map(g, t, tr, reduced_index, &d, map)) {
        cg_refuse(g, op, "a reduction whose result has another owner", "let the result's layout be inferred");
        return;
    }
    LLVMValueRef *v = vm_newn(g->arena, LLVMValueRef, n);
    for (uint32_t s = 0; s < x->slots; s++) {
        if (map[s] < 0 || !cg_first_slot(t->reg, s)) continue;
        LLVMValueRef e = member(g, &m, t, x, s);
        v[map[s]] = v[map[s]] ? join(g, &m, v[map[s]], e) : e;
    }
    for (uint32_t s = 0; s < n; s++)
        if (!v[s]) v[s] = cg_const(g, m.type, m.identity);
    const lanes l = lanes_along(t->reg, d.dim);
    across_threads(g, op, &m, &l, v, n);
    for (uint32_t s = 0; s < n; s++) v[s] = cg_cast(g, m.type, tr->elem, v[s], vm_default_rounding(tr->elem));
    cg_set_tile(g, op->res[0], cg_tile_from_slots(g, tr->elem, n, v));
}

void emit_sum(cg *g, ir_op *op) { reduce(g, op, I_add); }
void emit_max_of(cg *g, ir_op *op) { reduce(g, op, I_max); }
void emit_min_of(cg *g, ir_op *op) { reduce(g, op, I_min); }
void emit_any(cg *g, ir_op *op) { reduce(g, op, I_or); }
void emit_all(cg *g, ir_op *op) { reduce(g, op, I_and); }

// ---- scans --------------------------------------------------------------------------------------

/// Kogge-Stone over the dimension: log2(extent) rounds of reading the element 2^r before one's own.
/// Any layout serves. One element a thread in order needs scratch only across warps.
static void scan(cg *g, ir_op *op, bool exclusive) {
    const ir_type *t = &op->ops[0]->type;
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const char *name = ir_str(op, AT_op);
    vm_inst how = I_add;
    if (name && !cg_op_named(name, &how)) {
        cg_refuse(g, op, vm_format(g->arena, "scan by '%s'", name), "use add, mul, min, max, and, or or xor");
        return;
    }
    const monoid m = monoid_of(how, t->elem);
    const int dim = (int)ir_int(op, AT_dim, 0);
    const int64_t scratch = ir_int(op, AT_scratch, -1);
    assert(scratch >= 0);
    ir_type acc = *t;
    acc.elem = m.type;
    int64_t stride = 1;
    for (int d = dim + 1; d < t->rank; d++) stride *= t->dim[d];
    const unsigned cell = cg_cell_bytes(m.type);
    LLVMTypeRef ct = cell == 1 ? g->t_i8 : cell == 2 ? g->t_i16 : cell == 4 ? g->t_i32 : g->t_i64;
    LLVMValueRef *v = vm_newn(g->arena, LLVMValueRef, x->slots);
    for (uint32_t s = 0; s < x->slots; s++) v[s] = member(g, &m, t, x, s);
    for (int64_t step = 1; step < t->dim[dim] * (exclusive ? 2 : 1); step *= 2) {
        const bool last = step >= t->dim[dim]; // exclusive: one more exchange, by one place
        const int64_t back = last ? 1 : step;
        cg_sync(g);
        cg_scratch_store(g, &acc, cg_tile_from_slots(g, m.type, x->slots, v), scratch);
        cg_sync(g);
        for (uint32_t s = 0; s < x->slots; s++) {
            LLVMValueRef i = cg_index(g, t->reg, s, dim), has = LLVMBuildICmp(g->b, LLVMIntSGE, i, cg_i32(g, back), "");
            has = cg_and(g, has, cg_live(g, t, s));
            LLVMValueRef at = LLVMBuildSub(g->b, cg_linear(g, t, s), cg_i32(g, back * stride), "");
            at = LLVMBuildSelect(g->b, has, at, cg_i32(g, 0), "");
            LLVMValueRef c = LLVMBuildLoad2(g->b, ct, cg_scratch_at(g, at, 0, cell, scratch), "");
            LLVMSetAlignment(c, cell);
            if (cell < 4) c = LLVMBuildZExt(g->b, c, g->t_i32, "");
            c = LLVMBuildSelect(g->b, has, cg_from_code(g, m.type, c), cg_const(g, m.type, m.identity), "");
            v[s] = last ? c : join(g, &m, c, v[s]);
        }
        if (last) break;
    }
    if (exclusive && t->dim[dim] == 1)
        for (uint32_t s = 0; s < x->slots; s++) v[s] = cg_const(g, m.type, m.identity);
    for (uint32_t s = 0; s < x->slots; s++) v[s] = cg_cast(g, m.type, t->elem, v[s], vm_default_rounding(t->elem));
    cg_set_tile(g, op->res[0], cg_tile_from_slots(g, t->elem, x->slots, v));
}

void emit_scan_inclusive(cg *g, ir_op *op) { scan(g, op, false); }
void emit_scan_exclusive(cg *g, ir_op *op) { scan(g, op, true); }
