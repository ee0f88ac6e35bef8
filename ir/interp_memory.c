// SPDX-License-Identifier: Apache-2.0
// The vm executor: memory. A view knows its offset, strides and the coordinates that exist; shared
// memory is kept as cells in logical order (swizzles are invisible here), global memory as it lies.
#include "ir/interp.h"
#include <assert.h>

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)
#define BEYOND "access beyond the end of a global buffer"

// ---- making views -------------------------------------------------------------------------------

static int64_t clip(int64_t x) { return x > INT64_C(1) << 40 ? INT64_C(1) << 40 : x < -(INT64_C(1) << 40) ? -(INT64_C(1) << 40) : x; }

typedef struct {
    cc_list l;
    ir_type type;
    bool strided;
    uint32_t dyn; // shared memory of run-time extent: its number + 1
    size_t cells; // static shared memory
} root_info;

static void row_major(rview *v) {
    int64_t stride = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        v->stride[d] = stride;
        v->lo[d] = 0;
        v->hi[d] = v->ext[d];
        if (__builtin_mul_overflow(stride, v->ext[d] > 0 ? v->ext[d] : 1, &stride)) stride = INT64_MAX / 2;
    }
}
static uint32_t open_extents(const strand *s, const root_info *z, rview *v, uint32_t k) {
    v->type = z->type.elem;
    v->rank = z->type.rank;
    v->dead = false;
    v->off = 0;
    for (int d = 0; d < v->rank; d++) {
        v->ext[d] = z->type.dim[d];
        if (v->ext[d] == IR_DYN) {
            v->ext[d] = clip(as_int(z->l.type[k], s->r[z->l.slot[k]]));
            k++;
        }
        if (v->ext[d] < 0) v->ext[d] = 0;
    }
    row_major(v);
    return k;
}
H(global_view) {
    const root_info *z = i->x;
    rview *v = view_of(s->r[i->d]);
    const ir_arg *arg = &m->run->args[s->r[z->l.slot[0]]];
    uint32_t k = open_extents(s, z, v, 1);
    v->global = true;
    v->base = arg->ptr;
    v->bits = arg->bytes > SIZE_MAX / 8 ? UINT64_MAX : (uint64_t)arg->bytes * 8;
    if (!arg->ptr) v->bits = 0;
    for (int d = 0; z->strided && d < v->rank && k < z->l.n; d++, k++)
        v->stride[d] = clip(as_int(z->l.type[k], s->r[z->l.slot[k]]));
    return i + 1;
}
void cc_global_view(cc *c, const ir_op *op) {
    root_info *z = vm_new(c->arena, root_info);
    z->l = cc_operands(c, op, 0, op->nops);
    z->type = op->res[0]->type;
    z->strided = ir_int(op, AT_strided, 0) != 0;
    cc_at(c, cc_put(c, op, global_view, cc_def(c, op->res[0]), 0, 0, 0))->x = z;
}

H(alloc_shared) { // a: cells, unless their number is known at run time only
    const root_info *z = i->x;
    rview *v = view_of(s->r[i->d]);
    open_extents(s, z, v, 0);
    v->global = false;
    v->bits = UINT64_MAX;
    const unsigned cell = vm_cell(v->type);
    size_t bytes = z->cells;
    if (z->dyn) {
        int64_t n = 1;
        for (int d = 0; d < v->rank; d++)
            if (__builtin_mul_overflow(n, v->ext[d], &n) || n > INT64_C(1) << 32)
                return vm_trap(m, s, i, "shared memory of more than 2^32 elements");
        bytes = (size_t)n * cell;
        if (!vm_reserve(m, &m->dyn[z->dyn - 1], bytes + 64)) return vm_trap(m, s, i, "out of memory");
        v->base = m->dyn[z->dyn - 1].at;
    } else {
        v->base = tile_of(s->r[i->a]);
    }
    // all ones is NaN in the IEEE formats: a read of what nobody wrote shows in the result
    memset(v->base, cell == 1 ? (int)mask_of(v->type) : 0xff, bytes);
    return i + 1;
}
void cc_alloc_shared(cc *c, const ir_op *op) {
    root_info *z = vm_new(c->arena, root_info);
    z->l = cc_operands(c, op, 0, op->nops);
    z->type = op->res[0]->type;
    uint32_t a = 0;
    if (ir_elems(&z->type) < 0) {
        z->dyn = ++c->p->ndyn;
    } else {
        z->cells = elems_of(&z->type) * vm_cell(z->type.elem);
        a = cc_buf(c, z->cells);
    }
    cc_at(c, cc_put(c, op, alloc_shared, cc_def(c, op->res[0]), a, 0, 0))->x = z;
}

typedef struct {
    cc_list l;
    uint8_t mode[LAYOUT_MAX_RANK];
    int64_t width[LAYOUT_MAX_RANK];
} slice_info;
H(slice) {
    (void)m;
    const slice_info *z = i->x;
    const rview *x = view_of(s->r[i->a]);
    rview *v = view_of(s->r[i->d]);
    v->base = x->base;
    v->bits = x->bits;
    v->type = x->type;
    v->global = x->global;
    v->dead = x->dead;
    v->off = x->off;
    uint8_t r = 0;
    uint32_t k = 0;
    for (int d = 0; d < x->rank; d++) {
        if (z->mode[d] == 2) {
            v->ext[r] = x->ext[d];
            v->stride[r] = x->stride[d];
            v->lo[r] = x->lo[d];
            v->hi[r++] = x->hi[d];
            continue;
        }
        const int64_t at = clip(as_int(z->l.type[k], s->r[z->l.slot[k]]));
        k++;
        if (z->mode[d] == 0) {
            int64_t part;
            if (at < x->lo[d] || at >= x->hi[d] || __builtin_mul_overflow(at, x->stride[d], &part) ||
                __builtin_add_overflow(v->off, part, &v->off))
                v->dead = true;
            continue;
        }
        int64_t hi = x->hi[d] - at;
        if (z->mode[d] == 1) {
            v->ext[r] = z->width[d];
        } else {
            const int64_t end = clip(as_int(z->l.type[k], s->r[z->l.slot[k]]));
            k++;
            v->ext[r] = end > at ? end - at : 0;
            if (v->ext[r] < hi) hi = v->ext[r];
        }
        int64_t step;
        if (__builtin_mul_overflow(at, x->stride[d], &step) || __builtin_add_overflow(v->off, step, &v->off))
            v->dead = true;
        v->stride[r] = x->stride[d];
        v->lo[r] = x->lo[d] - at;
        v->hi[r++] = hi;
    }
    v->rank = r;
    return i + 1;
}
void cc_slice(cc *c, const ir_op *op) {
    slice_info *z = vm_new(c->arena, slice_info);
    const ir_attr *mode = ir_get(op, AT_mode);
    z->l = cc_operands(c, op, 1, op->nops);
    for (uint32_t d = 0, r = 0; d < op->ops[0]->type.rank; d++) {
        z->mode[d] = (uint8_t)(mode && d < mode->n ? mode->v[d] : 2);
        if (z->mode[d] != 0) z->width[d] = op->res[0]->type.dim[r++];
    }
    cc_at(c, cc_put(c, op, slice, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}

typedef struct { uint8_t rank, dim[LAYOUT_MAX_RANK]; int64_t ext[LAYOUT_MAX_RANK]; } shape_info;
H(permute_view) {
    (void)m;
    const shape_info *z = i->x;
    const rview *x = view_of(s->r[i->a]);
    rview *v = view_of(s->r[i->d]);
    *v = *x;
    for (int d = 0; d < z->rank; d++) {
        const int e = z->dim[d];
        v->ext[d] = x->ext[e];
        v->stride[d] = x->stride[e];
        v->lo[d] = x->lo[e];
        v->hi[d] = x->hi[e];
    }
    return i + 1;
}
H(reshape_view) {
    const shape_info *z = i->x;
    const rview *x = view_of(s->r[i->a]);
    rview *v = view_of(s->r[i->d]);
    int64_t n = 1, known = 1, open = -1;
    bool whole = true;
    for (int d = x->rank - 1; d >= 0; d--) {
        whole &= x->lo[d] <= 0 && x->hi[d] >= x->ext[d] && (x->stride[d] == n || x->ext[d] <= 1);
        n *= x->ext[d];
    }
    if (!whole && !x->dead) return vm_trap(m, s, i, "reshape of a view that is not dense or reaches out of bounds");
    *v = *x;
    v->rank = z->rank;
    for (int d = 0; d < z->rank; d++) {
        v->ext[d] = z->ext[d];
        if (z->ext[d] == IR_DYN) open = d;
        else known *= z->ext[d];
    }
    if (open >= 0) v->ext[open] = known ? n / known : 0;
    row_major(v);
    return i + 1;
}
void cc_permute_view(cc *c, const ir_op *op) {
    shape_info *z = vm_new(c->arena, shape_info);
    const ir_attr *dims = ir_get(op, AT_dims);
    z->rank = op->res[0]->type.rank;
    for (uint32_t d = 0; dims && d < dims->n && d < LAYOUT_MAX_RANK; d++) z->dim[d] = (uint8_t)dims->v[d];
    cc_at(c, cc_put(c, op, permute_view, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_reshape_view(cc *c, const ir_op *op) {
    shape_info *z = vm_new(c->arena, shape_info);
    z->rank = op->res[0]->type.rank;
    memcpy(z->ext, op->res[0]->type.dim, sizeof z->ext);
    cc_at(c, cc_put(c, op, reshape_view, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}

typedef struct {
    int64_t offset;
    ir_type type;
} member_info;
H(member) { // bytes of the struct's tile, packed as in global memory
    (void)m;
    const member_info *z = i->x;
    const rview *x = view_of(s->r[i->a]);
    rview *v = view_of(s->r[i->d]);
    const int lead = x->rank - 1;
    const int64_t bits = vm_mem_bits(z->type.elem);
    *v = *x;
    v->base = x->base + x->off + z->offset;
    v->off = 0;
    v->bits = UINT64_MAX;
    v->type = z->type.elem;
    v->rank = z->type.rank;
    v->global = true;
    int64_t walk = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        v->ext[d] = z->type.dim[d];
        v->lo[d] = 0;
        v->hi[d] = v->ext[d];
        v->stride[d] = d < lead ? x->stride[d] * 8 / bits : walk;
        if (d >= lead) walk *= v->ext[d];
    }
    return i + 1;
}
void cc_member(cc *c, const ir_op *op) {
    member_info *z = vm_new(c->arena, member_info);
    z->offset = ir_int(op, AT_offset, 0);
    z->type = op->res[0]->type;
    cc_at(c, cc_put(c, op, member, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}

// ---- moving tiles -------------------------------------------------------------------------------

size_t view_elems(const rview *v) {
    size_t n = 1;
    for (int d = 0; d < v->rank; d++) n *= (size_t)v->ext[d];
    return n;
}

static bool reach(const rview *v, int64_t off, int64_t stride, int64_t n) {
    int64_t last;
    if (__builtin_mul_overflow(stride, n - 1, &last) || __builtin_add_overflow(off, last, &last)) return false;
    const int64_t lo = stride < 0 ? last : off, hi = stride < 0 ? off : last;
    return lo >= 0 && (uint64_t)hi < v->bits / vm_mem_bits(v->type);
}

uint64_t view_get(const rview *v, int64_t off) {
    if (!v->global) return cell_get(v->base, vm_cell(v->type), (size_t)off);
    const unsigned b = vm_mem_bits(v->type);
    return vm_get_bits(v->base, (size_t)off * b, b) & mask_of(v->type);
}
void view_set(const rview *v, int64_t off, uint64_t code) {
    const unsigned b = vm_mem_bits(v->type);
    if (!v->global) cell_set(v->base, vm_cell(v->type), (size_t)off, code);
    else vm_put_bits(v->base, (size_t)off * b, b, code);
}

#define STRIDED(T)                                                                                 \
    for (int64_t k = 0; k < n; k++) {                                                              \
        T *mem = (T *)v->base + off + k * stride;                                                  \
        if (write) *mem = ((T *)cells)[k];                                                         \
        else ((T *)cells)[k] = *mem;                                                               \
    }

/// n elements from element offset off; cells in order. Bounds of the buffer have been checked.
static void run_of(const rview *v, int64_t off, int64_t stride, int64_t n, char *cells, bool write) {
    const unsigned cell = vm_cell(v->type), bits = vm_mem_bits(v->type);
    const bool whole = bits == cell * 8 && ((uintptr_t)v->base & (cell - 1)) == 0;
    if (stride == 1 && (!v->global || whole)) {
        char *mem = v->base + off * (int64_t)cell;
        if (write) memcpy(mem, cells, (size_t)n * cell);
        else memcpy(cells, mem, (size_t)n * cell);
    } else if (stride == 1) {
        if (write) vm_pack(v->type, (size_t)n, cells, v->base, (size_t)off * bits);
        else vm_unpack(v->type, (size_t)n, v->base, (size_t)off * bits, cells);
    } else if (!v->global || whole) {
        switch (cell) {
        case 1: STRIDED(uint8_t); break;
        case 2: STRIDED(uint16_t); break;
        case 4: STRIDED(uint32_t); break;
        default: STRIDED(uint64_t); break;
        }
    } else {
        for (int64_t k = 0; k < n; k++)
            if (write) view_set(v, off + k * stride, cell_get(cells, cell, (size_t)k));
            else cell_set(cells, cell, (size_t)k, view_get(v, off + k * stride));
    }
}

static bool move_tile(mach *m, const rview *x, char *cells, bool write, const char **why) {
    (void)m;
    const unsigned cell = vm_cell(x->type);
    int64_t total = 1;
    bool inside = true;
    for (int d = 0; d < x->rank; d++) {
        total *= x->ext[d];
        inside &= x->lo[d] <= 0 && x->hi[d] >= x->ext[d];
    }
    if (total == 0) return true;
    if (x->dead) {
        if (!write) memset(cells, 0, (size_t)total * cell);
        return true;
    }
    int64_t ext[LAYOUT_MAX_RANK + 1] = {1}, stride[LAYOUT_MAX_RANK + 1] = {1}, at[LAYOUT_MAX_RANK + 1] = {0};
    int map[LAYOUT_MAX_RANK + 1] = {0}, r = 0;
    for (int d = 0; d < x->rank; d++) { // dimensions that continue each other become one
        if (inside && x->ext[d] == 1) continue;
        if (inside && r && stride[r - 1] == x->ext[d] * x->stride[d]) {
            ext[r - 1] *= x->ext[d];
            stride[r - 1] = x->stride[d];
            continue;
        }
        ext[r] = x->ext[d];
        stride[r] = x->stride[d];
        map[r++] = d;
    }
    const int in = r ? r - 1 : 0;
    int64_t a = 0, b = ext[in];
    if (!inside) {
        const int d = map[in];
        a = x->lo[d] > 0 ? x->lo[d] < b ? x->lo[d] : b : 0;
        b = x->hi[d] < b ? x->hi[d] > a ? x->hi[d] : a : b;
    }
    int64_t off = x->off;
    for (int64_t row = 0, rows = total / ext[in]; row < rows; row++) {
        bool out = a >= b;
        for (int d = 0; !inside && d < in; d++) out |= at[d] < x->lo[map[d]] || at[d] >= x->hi[map[d]];
        if (out) {
            if (!write) memset(cells, 0, (size_t)ext[in] * cell);
        } else {
            if (x->global && !reach(x, off + a * stride[in], stride[in], b - a)) {
                *why = BEYOND;
                return false;
            }
            if (!write && a) memset(cells, 0, (size_t)a * cell);
            run_of(x, off + a * stride[in], stride[in], b - a, cells + a * (int64_t)cell, write);
            if (!write && b < ext[in]) memset(cells + b * (int64_t)cell, 0, (size_t)(ext[in] - b) * cell);
        }
        cells += ext[in] * (int64_t)cell;
        for (int d = in - 1; d >= 0; d--) {
            off += stride[d];
            if (++at[d] < ext[d]) break;
            off -= at[d] * stride[d];
            at[d] = 0;
        }
    }
    return true;
}
bool view_load(mach *m, const rview *v, void *cells, const char **why) { return move_tile(m, v, cells, false, why); }
bool view_store(mach *m, const rview *v, const void *cells, const char **why) {
    return move_tile(m, v, (char *)(uintptr_t)cells, true, why); // only read when writing
}

H(load) {
    const char *why = NULL;
    return view_load(m, view_of(s->r[i->a]), tile_of(s->r[i->d]), &why) ? i + 1 : vm_trap(m, s, i, "%s", why);
}
H(store) {
    const char *why = NULL;
    return view_store(m, view_of(s->r[i->a]), tile_of(s->r[i->b]), &why) ? i + 1 : vm_trap(m, s, i, "%s", why);
}
void cc_load(cc *c, const ir_op *op) { cc_put(c, op, load, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0); }
void cc_store(cc *c, const ir_op *op) { cc_put(c, op, store, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), 0); }
void cc_prefetch(cc *c, const ir_op *op) { (void)c, (void)op; } // a hint

const char *view_copy(mach *m, const rview *dst, const rview *src) {
    if (dst->rank != src->rank) return "copy between views of different rank";
    for (int d = 0; d < dst->rank; d++)
        if (dst->ext[d] != src->ext[d]) return "copy between views of different extents";
    enum { CHUNK = 1 << 20 };
    const size_t n = view_elems(src), cell = vm_cell(src->type);
    if (n == 0) return NULL;
    rview a = *src, b = *dst;
    int64_t rows = src->rank ? src->ext[0] : 1, step = rows;
    if (src->rank && n > CHUNK) { // long ones go by parts of the first dimension
        step = rows * CHUNK / (int64_t)n;
        if (step < 1) step = 1;
    }
    for (int64_t k = 0; k < rows; k += step) {
        const int64_t w = rows - k < step ? rows - k : step;
        if (src->rank) a.ext[0] = b.ext[0] = w;
        void *tmp = vm_scratch(m, view_elems(&a) * cell);
        const char *why = "out of memory";
        if (!tmp || !view_load(m, &a, tmp, &why) || !view_store(m, &b, tmp, &why)) return why;
        if (!src->rank) break;
        a.off += w * a.stride[0];
        b.off += w * b.stride[0];
        a.lo[0] -= w, a.hi[0] -= w, b.lo[0] -= w, b.hi[0] -= w;
    }
    return NULL;
}
H(copy) {
    const char *why = view_copy(m, view_of(s->r[i->a]), view_of(s->r[i->b]));
    return why ? vm_trap(m, s, i, "%s", why) : i + 1;
}
void cc_copy(cc *c, const ir_op *op) { cc_put(c, op, copy, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), 0); }

// ---- single elements ----------------------------------------------------------------------------

bool view_where(const rview *v, const uint64_t *r, uint32_t n, const uint32_t *slot, const uint8_t *type,
                int64_t *off, const char **why) {
    int64_t at = v->off;
    for (uint32_t d = 0; d < n; d++) {
        const int64_t k = as_int(type[d], r[slot[d]]);
        if (k < v->lo[d] || k >= v->hi[d]) return false;
        int64_t part;
        if (__builtin_mul_overflow(k, v->stride[d], &part) || __builtin_add_overflow(at, part, &at)) {
            *why = BEYOND;
            return false;
        }
    }
    if (v->dead) return false;
    if (v->global && !reach(v, at, 1, 1)) {
        *why = BEYOND;
        return false;
    }
    *off = at;
    return true;
}
H(load_elem) {
    const cc_list *l = i->x;
    const rview *v = view_of(s->r[i->a]);
    const char *why = NULL;
    int64_t off;
    if (view_where(v, s->r, l->n, l->slot, l->type, &off, &why)) s->r[i->d] = view_get(v, off);
    else if (why) return vm_trap(m, s, i, "%s", why);
    else s->r[i->d] = 0;
    return i + 1;
}
H(store_elem) {
    const cc_list *l = i->x;
    const rview *v = view_of(s->r[i->a]);
    const char *why = NULL;
    int64_t off;
    if (view_where(v, s->r, l->n, l->slot, l->type, &off, &why)) view_set(v, off, s->r[i->b]);
    else if (why) return vm_trap(m, s, i, "%s", why);
    return i + 1;
}
static const cc_list *indices(cc *c, const ir_op *op, uint32_t from, uint32_t to) {
    cc_list *l = vm_new(c->arena, cc_list);
    *l = cc_operands(c, op, from, to);
    return l;
}
void cc_load_elem(cc *c, const ir_op *op) {
    const cc_list *l = indices(c, op, 1, op->nops);
    cc_at(c, cc_put(c, op, load_elem, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = l;
}
void cc_store_elem(cc *c, const ir_op *op) {
    const cc_list *l = indices(c, op, 1, op->nops - 1);
    const uint32_t v = cc_use(c, op->ops[op->nops - 1]);
    cc_at(c, cc_put(c, op, store_elem, 0, cc_use(c, op->ops[0]), v, 0))->x = l;
}

/// Bytes that do not exist are 0; `big`: the first is the most significant.
static const ins *load_bytes(mach *m, strand *s, const ins *i, bool big) {
    const rview *v = view_of(s->r[i->a]);
    const int64_t at = clip(as_int((vm_dtype)(i->n & 0xff), s->r[i->b]));
    const unsigned n = i->n >> 8;
    uint64_t x = 0;
    for (unsigned k = 0; k < n && !v->dead; k++) {
        const int64_t p = at + (int64_t)k;
        if (p < v->lo[0] || p >= v->hi[0]) continue;
        const int64_t off = v->off + p * v->stride[0];
        if (v->global && !reach(v, off, 1, 1)) return vm_trap(m, s, i, BEYOND);
        x |= (uint64_t)(uint8_t)v->base[off] << 8 * (big ? n - 1 - k : k);
    }
    s->r[i->d] = x;
    return i + 1;
}
H(load_big) { return load_bytes(m, s, i, true); }
H(load_little) { return load_bytes(m, s, i, false); }
static void cc_bytes(cc *c, const ir_op *op, ins_fn fn) {
    const uint32_t n = (uint32_t)op->ops[1]->type.elem | vm_bits(op->res[0]->type.elem) / 8 << 8;
    cc_put(c, op, fn, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), n);
}
void cc_load_be(cc *c, const ir_op *op) { cc_bytes(c, op, load_big); }
void cc_load_le(cc *c, const ir_op *op) { cc_bytes(c, op, load_little); }

// ---- atomics ------------------------------------------------------------------------------------

static uint64_t combine(vm_inst k, vm_dtype t, uint64_t old, uint64_t x) {
    const uint64_t args[3] = {old, x, 0};
    switch (k) {
    case I_atomic_add: return vm_eval(I_add, t, args);
    case I_atomic_min: return vm_eval(I_min, t, args);
    case I_atomic_max: return vm_eval(I_max, t, args);
    default: return x;
    }
}
H(atomic) { // b: x, c: expected
    const cc_list *l = i->x;
    const rview *v = view_of(s->r[i->a]);
    const char *why = NULL;
    int64_t off;
    uint64_t old = 0;
    if (view_where(v, s->r, l->n, l->slot, l->type, &off, &why)) {
        old = view_get(v, off);
        if (i->op->inst != I_atomic_cas || old == s->r[i->c])
            view_set(v, off, combine(i->op->inst, v->type, old, s->r[i->b]));
    } else if (why) {
        return vm_trap(m, s, i, "%s", why);
    }
    s->r[i->d] = old;
    return i + 1;
}
static const char *combine_tile(mach *m, const rview *v, const void *cells, vm_inst k, vm_dtype t) {
    const size_t n = view_elems(v);
    const unsigned cell = vm_cell(t);
    void *old = vm_scratch(m, n * cell + 64);
    const char *why = "out of memory";
    if (!old || !view_load(m, v, old, &why)) return why;
    for (size_t e = 0; e < n; e++) {
        const uint64_t args[3] = {cell_get(old, cell, e), cell_get(cells, cell, e), 0};
        cell_set(old, cell, e, k == I_select ? args[1] : vm_eval(k, t, args));
    }
    return view_store(m, v, old, &why) ? NULL : why;
}
static vm_inst plain(vm_inst k) {
    return k == I_atomic_add ? I_add : k == I_atomic_min ? I_min : k == I_atomic_max ? I_max : I_select;
}
H(atomic_tile) {
    const rview *v = view_of(s->r[i->a]);
    const char *why = combine_tile(m, v, tile_of(s->r[i->b]), plain(i->op->inst), v->type);
    return why ? vm_trap(m, s, i, "%s", why) : i + 1;
}
static void cc_atomic(cc *c, const ir_op *op) {
    const uint32_t x = cc_use(c, op->ops[op->nops - 1]), v = cc_use(c, op->ops[0]);
    if (op->ops[op->nops - 1]->type.space == IS_REG) {
        cc_put(c, op, atomic_tile, 0, v, x, 0);
        return;
    }
    const bool cas = op->inst == I_atomic_cas;
    const cc_list *l = indices(c, op, 1, op->nops - (cas ? 2 : 1));
    const uint32_t d = op->nres ? cc_def(c, op->res[0]) : cc_new(c);
    const uint32_t at = cc_put(c, op, atomic, d, v, x, 0);
    cc_at(c, at)->x = l;
    if (cas) cc_at(c, at)->c = cc_use(c, op->ops[op->nops - 2]);
}
void cc_atomic_add(cc *c, const ir_op *op) { cc_atomic(c, op); }
void cc_atomic_min(cc *c, const ir_op *op) { cc_atomic(c, op); }
void cc_atomic_max(cc *c, const ir_op *op) { cc_atomic(c, op); }
void cc_atomic_exch(cc *c, const ir_op *op) { cc_atomic(c, op); }
void cc_atomic_cas(cc *c, const ir_op *op) { cc_atomic(c, op); }

H(reduce_into) { // a: dst, b: src
    const rview *src = view_of(s->r[i->b]);
    const vm_inst *k = i->x;
    struct { void *at; size_t cap; } tmp = {0};
    if (!vm_reserve(m, &tmp, view_elems(src) * vm_cell(src->type) + 64)) return vm_trap(m, s, i, "out of memory");
    const char *why = NULL;
    if (view_load(m, src, tmp.at, &why)) why = combine_tile(m, view_of(s->r[i->a]), tmp.at, *k, src->type);
    vm_release(m, tmp.at, tmp.cap);
    return why ? vm_trap(m, s, i, "%s", why) : i + 1;
}
void cc_tma_reduce(cc *c, const ir_op *op) {
    vm_inst *k = vm_new(c->arena, vm_inst);
    const char *name = ir_str(op, AT_op);
    if (!name || !vm_inst_find(name, k)) *k = I_add;
    cc_at(c, cc_put(c, op, reduce_into, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), 0))->x = k;
}
