// SPDX-License-Identifier: Apache-2.0
// The vm executor: register tiles. Cells lie in logical order, so most instructions never see the
// layouts; only `view` does, by a table made once for each operation.
#include "ir/interp.h"
#include "vm/bitorder.h"
#include <float.h>
#include <math.h>

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)

// ---- elementwise --------------------------------------------------------------------------------

typedef struct {
    uint32_t nops, slot[3];
    bool scalar[3];
    vm_dtype type;
    size_t n;
} elem_info;
H(elem) {
    (void)m;
    const elem_info *z = i->x;
    const void *src[3];
    for (uint32_t k = 0; k < z->nops; k++)
        src[k] = z->scalar[k] ? (const void *)&s->r[z->slot[k]] : tile_of(s->r[z->slot[k]]);
    vm_bulk(i->op->inst, z->type, z->n, src, z->scalar, tile_of(s->r[i->d]));
    return i + 1;
}
void cc_elem(cc *c, const ir_op *op) {
    if (op->res[0]->type.space != IS_REG) {
        cc_elem_scalar(c, op);
        return;
    }
    elem_info *z = vm_new(c->arena, elem_info);
    z->nops = op->nops;
    z->type = op->ops[op->inst == I_select ? 1 : 0]->type.elem;
    z->n = elems_of(&op->res[0]->type);
    for (uint32_t k = 0; k < op->nops && k < 3; k++) {
        z->slot[k] = cc_use(c, op->ops[k]);
        z->scalar[k] = op->ops[k]->type.space != IS_REG;
    }
    cc_at(c, cc_put(c, op, elem, cc_def(c, op->res[0]), 0, 0, 0))->x = z;
}

typedef struct { vm_dtype from, to; size_t n; vm_rounding r; } cast_info;
H(cast) {
    (void)m;
    const cast_info *z = i->x;
    vm_bulk_cast(z->from, z->to, z->n, tile_of(s->r[i->a]), tile_of(s->r[i->d]), z->r);
    return i + 1;
}
H(copy_cells) {
    (void)m;
    memcpy(tile_of(s->r[i->d]), tile_of(s->r[i->a]), *(const size_t *)i->x);
    return i + 1;
}
static void cc_same(cc *c, const ir_op *op) {
    size_t *n = vm_new(c->arena, size_t);
    *n = elems_of(&op->res[0]->type) * vm_cell(op->res[0]->type.elem);
    cc_at(c, cc_put(c, op, copy_cells, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = n;
}
void cc_cast(cc *c, const ir_op *op) {
    const ir_type *from = &op->ops[0]->type, *to = &op->res[0]->type;
    cast_info *z = vm_new(c->arena, cast_info);
    *z = (cast_info){from->elem, to->elem, 0, ir_rounding(op)};
    if (to->space != IS_REG) {
        cc_cast_scalar(c, op, &z->r);
        return;
    }
    if (from->elem == to->elem) {
        cc_same(c, op);
        return;
    }
    z->n = elems_of(to);
    cc_at(c, cc_put(c, op, cast, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_bitcast(cc *c, const ir_op *op) {
    if (op->res[0]->type.space == IS_REG) cc_same(c, op);
    else cc_cast_scalar(c, op, NULL);
}
void cc_relayout(cc *c, const ir_op *op) { cc_same(c, op); } // layouts are names here

// ---- making and reordering ----------------------------------------------------------------------

typedef struct { uint32_t outer, extent, inner; } iota_info;
H(iota) {
    (void)m;
    const iota_info *z = i->x;
    uint32_t *d = tile_of(s->r[i->d]);
    for (uint32_t o = 0; o < z->outer; o++)
        for (uint32_t k = 0; k < z->extent; k++)
            for (uint32_t e = 0; e < z->inner; e++) *d++ = k;
    return i + 1;
}
static iota_info around(const ir_type *t, int64_t dim) {
    iota_info z = {1, 1, 1};
    for (int d = 0; d < t->rank; d++) {
        if (d < dim) z.outer *= (uint32_t)t->dim[d];
        else if (d > dim) z.inner *= (uint32_t)t->dim[d];
        else z.extent = (uint32_t)t->dim[d];
    }
    return z;
}
void cc_iota(cc *c, const ir_op *op) {
    iota_info *z = vm_new(c->arena, iota_info);
    *z = around(&op->res[0]->type, ir_int(op, AT_dim, 0));
    cc_at(c, cc_put(c, op, iota, cc_def(c, op->res[0]), 0, 0, 0))->x = z;
}

H(full) { // n: elements, b: cell
    (void)m;
    void *d = tile_of(s->r[i->d]);
    const uint64_t x = s->r[i->a];
    switch (i->b) {
    case 1: memset(d, (int)x, i->n); break;
    case 2: for (uint32_t k = 0; k < i->n; k++) ((uint16_t *)d)[k] = (uint16_t)x; break;
    case 4: for (uint32_t k = 0; k < i->n; k++) ((uint32_t *)d)[k] = (uint32_t)x; break;
    default: for (uint32_t k = 0; k < i->n; k++) ((uint64_t *)d)[k] = x; break;
    }
    return i + 1;
}
void cc_full(cc *c, const ir_op *op) {
    const ir_type *t = &op->res[0]->type;
    cc_put(c, op, full, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), vm_cell(t->elem), (uint32_t)elems_of(t));
}

void nd_simplify(nd_copy *c) {
    int r = 0;
    for (int d = 0; d < c->rank; d++) {
        if (c->dim[d] == 1) continue;
        if (r && c->stride[r - 1] == c->dim[d] * c->stride[d]) {
            c->dim[r - 1] *= c->dim[d];
            c->stride[r - 1] = c->stride[d];
        } else {
            c->dim[r] = c->dim[d];
            c->stride[r++] = c->stride[d];
        }
    }
    if (r == 0) {
        c->dim[0] = 1;
        c->stride[r++] = 1;
    }
    c->rank = (uint8_t)r;
}
#define ROW(T)                                                                                     \
    do {                                                                                           \
        const T *x = (const T *)src + off;                                                         \
        T *y = (T *)dst;                                                                           \
        if (step == 0) for (int64_t k = 0; k < n; k++) y[k] = *x;                                  \
        else for (int64_t k = 0; k < n; k++) y[k] = x[k * step];                                   \
    } while (0)
void nd_run(const nd_copy *c, const void *src, void *dst) {
    const int in = c->rank - 1;
    const int64_t n = c->dim[in], step = c->stride[in];
    int64_t rows = 1, off = 0, at[LAYOUT_MAX_RANK] = {0};
    for (int d = 0; d < in; d++) rows *= c->dim[d];
    for (int64_t row = 0; row < rows; row++) {
        if (step == 1) {
            memcpy(dst, (const char *)src + off * (int64_t)c->cell, (size_t)n * c->cell);
        } else {
            switch (c->cell) {
            case 1: ROW(uint8_t); break;
            case 2: ROW(uint16_t); break;
            case 4: ROW(uint32_t); break;
            default: ROW(uint64_t); break;
            }
        }
        dst = (char *)dst + n * (int64_t)c->cell;
        for (int d = in - 1; d >= 0; d--) {
            off += c->stride[d];
            if (++at[d] < c->dim[d]) break;
            off -= at[d] * c->stride[d];
            at[d] = 0;
        }
    }
}
H(reorder) {
    (void)m;
    nd_run(i->x, tile_of(s->r[i->a]), tile_of(s->r[i->d]));
    return i + 1;
}
static void strides_of(const ir_type *t, int64_t *stride) {
    int64_t n = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        stride[d] = n;
        n *= t->dim[d];
    }
}
static void cc_reorder(cc *c, const ir_op *op, bool broadcast) {
    const ir_type *x = &op->ops[0]->type, *y = &op->res[0]->type;
    const ir_attr *dims = ir_get(op, AT_dims);
    nd_copy *z = vm_new(c->arena, nd_copy);
    int64_t stride[LAYOUT_MAX_RANK];
    strides_of(x, stride);
    z->rank = y->rank;
    z->cell = vm_cell(y->elem);
    for (int d = 0; d < y->rank; d++) z->dim[d] = y->dim[d];
    for (int d = 0; d < x->rank; d++) {
        const int at = dims && (uint32_t)d < dims->n ? dims->v[d] : d + y->rank - x->rank;
        if (!broadcast) z->stride[d] = stride[at];
        else if (at >= 0 && at < y->rank) z->stride[at] = x->dim[d] == 1 ? 0 : stride[d];
    }
    nd_simplify(z);
    cc_at(c, cc_put(c, op, reorder, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_broadcast(cc *c, const ir_op *op) { cc_reorder(c, op, true); }
void cc_permute(cc *c, const ir_op *op) {
    if (op->res[0]->type.space == IS_REG) cc_reorder(c, op, false);
    else cc_permute_view(c, op);
}
void cc_reshape(cc *c, const ir_op *op) {
    if (op->res[0]->type.space == IS_REG) cc_same(c, op);
    else cc_reshape_view(c, op);
}

// ---- view: bits of each thread ------------------------------------------------------------------

/// An element of the result is put together from `pieces` parts of source elements.
typedef struct { uint64_t mask; uint32_t from; uint8_t right, left; } view_piece;
typedef struct {
    uint32_t n, pieces;
    unsigned from_cell, to_cell;
    view_piece *at; // n * pieces
    uint32_t *gather; // whole elements of equal width: where each comes from
} view_info;
#define GATHER(T)                                                                                  \
    for (uint32_t k = 0; k < z->n; k++) ((T *)d)[k] = ((const T *)a)[z->gather[k]]
H(view) {
    (void)m;
    const view_info *z = i->x;
    const void *a = tile_of(s->r[i->a]);
    void *d = tile_of(s->r[i->d]);
    if (z->gather) {
        switch (z->from_cell) {
        case 1: GATHER(uint8_t); break;
        case 2: GATHER(uint16_t); break;
        case 4: GATHER(uint32_t); break;
        default: GATHER(uint64_t); break;
        }
        return i + 1;
    }
    const view_piece *p = z->at;
    if (z->pieces == 1 && z->from_cell == 1 && z->to_cell == 1) {
        for (uint32_t k = 0; k < z->n; k++, p++)
            ((uint8_t *)d)[k] = (uint8_t)(((const uint8_t *)a)[p->from] >> p->right & p->mask);
        return i + 1;
    }
    for (uint32_t k = 0; k < z->n; k++) {
        uint64_t x = 0;
        for (uint32_t e = 0; e < z->pieces; e++, p++)
            x |= (cell_get(a, z->from_cell, p->from) >> p->right & p->mask) << p->left;
        cell_set(d, z->to_cell, k, x);
    }
    return i + 1;
}
/// For each bit of a thread's result the bit of its operand, of views that change the order; else NULL.
static uint32_t *bit_order(cc *c, const ir_op *op) {
    const bool in = ir_get(op, AT_encode) != NULL;
    const ir_attr *a = in ? ir_get(op, AT_encode) : ir_get(op, AT_decode);
    if (!a) return NULL;
    const ir_type *plain = in ? &op->ops[0]->type : &op->res[0]->type;
    const uint32_t slots = (uint32_t)plain->reg->slots, n = slots * vm_bits(plain->elem);
    uint32_t *order = vm_newn(c->arena, uint32_t, n + 1), *back = vm_newn(c->arena, uint32_t, n + 1);
    bits_order(c->arena, plain->elem, (vm_dtype)a->i, slots, !ir_int(op, AT_nan, 1), order);
    for (uint32_t k = 0; k < n; k++) back[order[k]] = k;
    return in ? order : back;
}
static int32_t *linear(cc *c, const ir_type *t) {
    int32_t shape[LAYOUT_MAX_RANK] = {0};
    for (int d = 0; d < t->rank; d++) shape[d] = (int32_t)t->dim[d];
    return layout_linear_table(c->arena, t->reg, shape);
}
void cc_view(cc *c, const ir_op *op) {
    const ir_type *x = &op->ops[0]->type, *y = &op->res[0]->type;
    if (!x->reg || !y->reg) { // before inference: only the trivial one has a meaning
        cc_same(c, op);
        return;
    }
    view_info *z = vm_new(c->arena, view_info);
    const unsigned xb = vm_bits(x->elem), yb = vm_bits(y->elem);
    const int32_t *from = linear(c, x), *to = linear(c, y);
    z->n = (uint32_t)elems_of(y);
    z->pieces = (yb + xb - 2) / xb + 1;
    if (yb <= xb && xb % yb == 0) z->pieces = 1;
    else if (yb % xb == 0) z->pieces = yb / xb;
    const uint32_t *order = bit_order(c, op);
    if (order) z->pieces = yb;
    z->from_cell = vm_cell(x->elem);
    z->to_cell = vm_cell(y->elem);
    z->at = vm_newn(c->arena, view_piece, (size_t)z->n * z->pieces + 1);
    const int32_t threads = x->reg->threads < y->reg->threads ? x->reg->threads : y->reg->threads;
    for (int32_t t = 0; t < threads; t++) {
        for (int32_t j = 0; j < y->reg->slots; j++) {
            const int32_t e = to[(int64_t)t * y->reg->slots + j];
            if (e < 0) continue;
            view_piece *p = z->at + (size_t)e * z->pieces;
            if (p->mask) continue; // a replica: the same bits by the type rules
            for (unsigned b = 0, used; b < yb; b += used) {
                const unsigned at = (unsigned)j * yb + b, bit = order ? order[at] : at;
                const unsigned slot = bit / xb, in = bit % xb;
                used = order ? 1 : xb - in < yb - b ? xb - in : yb - b;
                const int32_t f = (int32_t)slot < x->reg->slots ? from[(int64_t)t * x->reg->slots + (int32_t)slot] : -1;
                if (f < 0) continue;
                *p++ = (view_piece){used >= 64 ? UINT64_MAX : (1ULL << used) - 1,
                                    (uint32_t)f, (uint8_t)in, (uint8_t)b};
            }
        }
    }
    if (xb == yb && !order) {
        z->gather = vm_newn(c->arena, uint32_t, z->n);
        for (uint32_t k = 0; k < z->n; k++) {
            z->gather[k] = z->at[k].from;
            if (!z->at[k].mask) { // owned by nobody: keep the masks, they make it zero
                z->gather = NULL;
                break;
            }
        }
    }
    cc_at(c, cc_put(c, op, view, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}

// ---- reductions and scans -----------------------------------------------------------------------

typedef struct {
    iota_info d;
    vm_dtype type;
    vm_inst k;
    bool scalar, before; // scans: exclusive
    uint64_t identity;
    uint32_t tmp;
} reduce_info;

static float ftz(float x) { return fabsf(x) < FLT_MIN ? 0.0f : x; }

static void reduce_f32(const reduce_info *z, const float *x, float *y) {
    const uint32_t n = z->d.extent, w = z->d.inner;
    for (uint32_t o = 0; o < z->d.outer; o++, x += (size_t)n * w, y += w) {
        for (uint32_t e = 0; e < w; e++) y[e] = n ? x[e] : 0;
        for (uint32_t k = 1; k < n; k++) {
            const float *r = x + (size_t)k * w;
            switch (z->k) {
            case I_sum: for (uint32_t e = 0; e < w; e++) y[e] += r[e]; break;
            case I_max_of: for (uint32_t e = 0; e < w; e++) y[e] = r[e] > y[e] || y[e] != y[e] ? r[e] : y[e]; break;
            default: for (uint32_t e = 0; e < w; e++) y[e] = r[e] < y[e] || y[e] != y[e] ? r[e] : y[e]; break;
            }
        }
        for (uint32_t e = 0; e < w; e++) y[e] = ftz(y[e]);
    }
}
static vm_inst step_of(vm_inst k) {
    switch (k) {
    case I_sum: return I_add;
    case I_max_of: return I_max;
    case I_min_of: return I_min;
    case I_any: return I_or;
    case I_all: return I_and;
    default: return k;
    }
}
static bool through_f32(vm_dtype t) { return vm_is_float(t) && vm_bits(t) <= 32 && t != T_f8e8m0; }

H(reduce) {
    (void)m;
    const reduce_info *z = i->x;
    const size_t n = (size_t)z->d.outer * z->d.extent * z->d.inner, rows = (size_t)z->d.outer * z->d.inner;
    const unsigned cell = vm_cell(z->type);
    uint64_t one = 0;
    void *y = z->scalar ? (void *)&one : tile_of(s->r[i->d]);
    const void *a = tile_of(s->r[i->a]);
    if (through_f32(z->type)) {
        float *x = tile_of(s->r[z->tmp]), *sum = x + n;
        vm_bulk_to_f32(z->type, n, a, x);
        reduce_f32(z, x, sum);
        if (z->type == T_f32) memcpy(y, sum, rows * 4);
        else vm_bulk_cast(T_f32, z->type, rows, sum, y, vm_default_rounding(z->type));
    } else {
        const vm_inst k = step_of(z->k);
        for (uint32_t o = 0; o < z->d.outer; o++)
            for (uint32_t e = 0; e < z->d.inner; e++) {
                const size_t base = (size_t)o * z->d.extent * z->d.inner + e;
                uint64_t args[3] = {cell_get(a, cell, base), 0, 0};
                for (uint32_t j = 1; j < z->d.extent; j++) {
                    args[1] = cell_get(a, cell, base + (size_t)j * z->d.inner);
                    if (k == I_add && vm_is_int(z->type)) args[0] = (args[0] + args[1]) & mask_of(z->type);
                    else args[0] = vm_eval(k, z->type, args);
                }
                cell_set(y, cell, (size_t)o * z->d.inner + e, args[0]);
            }
    }
    if (z->scalar) s->r[i->d] = one;
    return i + 1;
}
static void cc_reduce(cc *c, const ir_op *op) {
    const ir_type *x = &op->ops[0]->type;
    reduce_info *z = vm_new(c->arena, reduce_info);
    z->scalar = op->res[0]->type.space != IS_REG;
    z->d = around(x, ir_int(op, AT_dim, 0));
    if (z->scalar || !ir_get(op, AT_dim)) z->d = (iota_info){1, (uint32_t)elems_of(x), 1};
    z->type = x->elem;
    z->k = op->inst;
    if (through_f32(x->elem)) z->tmp = cc_buf(c, elems_of(x) * 8);
    cc_at(c, cc_put(c, op, reduce, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_sum(cc *c, const ir_op *op) { cc_reduce(c, op); }
void cc_max_of(cc *c, const ir_op *op) { cc_reduce(c, op); }
void cc_min_of(cc *c, const ir_op *op) { cc_reduce(c, op); }
void cc_any(cc *c, const ir_op *op) { cc_reduce(c, op); }
void cc_all(cc *c, const ir_op *op) { cc_reduce(c, op); }

H(scan) {
    (void)m;
    const reduce_info *z = i->x;
    const unsigned cell = vm_cell(z->type);
    const void *a = tile_of(s->r[i->a]);
    void *y = tile_of(s->r[i->d]);
    const bool plain = z->k == I_add && vm_is_int(z->type);
    for (uint32_t o = 0; o < z->d.outer; o++)
        for (uint32_t e = 0; e < z->d.inner; e++) {
            uint64_t args[3] = {z->identity, 0, 0};
            for (uint32_t j = 0; j < z->d.extent; j++) {
                const size_t at = ((size_t)o * z->d.extent + j) * z->d.inner + e;
                args[1] = cell_get(a, cell, at);
                const uint64_t before = args[0];
                args[0] = j == 0 && !z->before ? args[1]
                          : plain ? (args[0] + args[1]) & mask_of(z->type)
                                  : vm_eval(z->k, z->type, args);
                cell_set(y, cell, at, z->before ? before : args[0]);
            }
        }
    return i + 1;
}
static uint64_t identity(vm_inst k, vm_dtype t) {
    const vm_rounding wide = {.round = R_NEAREST};
    const bool f = vm_is_float(t), sign = vm_is_signed(t);
    switch (k) {
    case I_mul: return f ? vm_encode(t, 1, wide) : 1;
    case I_and: return mask_of(t);
    case I_min: return f ? vm_encode(t, (double)INFINITY, wide) : sign ? mask_of(t) >> 1 : mask_of(t);
    case I_max: return f ? vm_encode(t, (double)-INFINITY, wide) : sign ? 1ULL << (vm_bits(t) - 1) : 0;
    default: return 0;
    }
}
static void cc_scan(cc *c, const ir_op *op) {
    reduce_info *z = vm_new(c->arena, reduce_info);
    const char *name = ir_str(op, AT_op);
    z->d = around(&op->ops[0]->type, ir_int(op, AT_dim, 0));
    z->type = op->ops[0]->type.elem;
    if (!name || !vm_inst_find(name, &z->k)) z->k = I_add;
    z->before = op->inst == I_scan_exclusive;
    z->identity = identity(z->k, z->type);
    cc_at(c, cc_put(c, op, scan, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_scan_inclusive(cc *c, const ir_op *op) { cc_scan(c, op); }
void cc_scan_exclusive(cc *c, const ir_op *op) { cc_scan(c, op); }
