// SPDX-License-Identifier: Apache-2.0
// The vm executor: matrix products. Operands become f32 (i32, f64) once, then one blocked loop runs
// that compilers turn into vector code; small enough blocks stay in the first cache.
#include "ir/interp.h"

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define CLONES
#endif

/// c[m,n] += a[m,k] * b[k,n], four rows of b at a time.
#define KERNEL(name, T)                                                                            \
    CLONES static void name(size_t m, size_t n, size_t k, const T *restrict a, const T *restrict b,\
                            T *restrict c) {                                                       \
        for (size_t r = 0; r < m; r++, a += k, c += n) {                                           \
            const T *row = b;                                                                      \
            size_t e = 0;                                                                          \
            for (; e + 4 <= k; e += 4, row += 4 * n) {                                             \
                const T a0 = a[e], a1 = a[e + 1], a2 = a[e + 2], a3 = a[e + 3];                    \
                for (size_t j = 0; j < n; j++)                                                     \
                    c[j] += (a0 * row[j] + a1 * row[n + j]) + (a2 * row[2 * n + j] + a3 * row[3 * n + j]); \
            }                                                                                      \
            for (; e < k; e++, row += n)                                                           \
                for (size_t j = 0; j < n; j++) c[j] += a[e] * row[j];                              \
        }                                                                                          \
    }
KERNEL(dot_f32, float)
KERNEL(dot_f64, double)
KERNEL(dot_u32, uint32_t)

typedef struct {
    size_t stack, m, n, k;
    vm_dtype ta, tb, tc;
    uint32_t load_a, load_b; // slot + 1 of a buffer when the operand is a view
    uint32_t fa, fb, fc;     // converted operands
} dot_info;

static void widen(vm_dtype t, vm_dtype acc, size_t n, const void *src, void *dst) {
    if (acc == T_f64) vm_bulk_to_f64(t, n, src, dst);
    else if (vm_is_float(acc)) vm_bulk_to_f32(t, n, src, dst);
    else vm_bulk_cast(t, T_i32, n, src, dst, vm_default_rounding(T_i32));
}

/// The products of a stack of matrices, one after the other.
#define STACK(kernel, T, to)                                                                       \
    for (size_t t = 0; t < all; t++)                                                               \
        kernel(z->m, z->n, z->k, (const T *)fa + t * na, (const T *)fb + t * nb, (T *)(to) + t * nc)

H(dot) {
    const dot_info *z = i->x;
    const void *a = tile_of(s->r[i->a]), *b = tile_of(s->r[i->b]);
    const char *why = NULL;
    if (z->load_a) {
        void *t = tile_of(s->r[z->load_a - 1]);
        if (!view_load(m, view_of(s->r[i->a]), t, &why)) return vm_trap(m, s, i, "%s", why);
        a = t;
    }
    if (z->load_b) {
        void *t = tile_of(s->r[z->load_b - 1]);
        if (!view_load(m, view_of(s->r[i->b]), t, &why)) return vm_trap(m, s, i, "%s", why);
        b = t;
    }
    const size_t na = z->m * z->k, nb = z->k * z->n, nc = z->m * z->n, all = z->stack;
    void *fa = tile_of(s->r[z->fa]), *fb = tile_of(s->r[z->fb]), *d = tile_of(s->r[i->d]);
    widen(z->ta, z->tc, all * na, a, fa);
    widen(z->tb, z->tc, all * nb, b, fb);
    const void *c = tile_of(s->r[i->c]);
    if (z->tc == T_f32) {
        if (c != d) memcpy(d, c, all * nc * 4);
        STACK(dot_f32, float, d);
    } else if (z->tc == T_f64) {
        if (c != d) memcpy(d, c, all * nc * 8);
        STACK(dot_f64, double, d);
    } else if (vm_is_float(z->tc)) {
        float *fc = tile_of(s->r[z->fc]);
        vm_bulk_to_f32(z->tc, all * nc, c, fc);
        STACK(dot_f32, float, fc);
        vm_bulk_cast(T_f32, z->tc, all * nc, fc, d, vm_default_rounding(z->tc));
    } else {
        if (c != d) memcpy(d, c, all * nc * 4);
        STACK(dot_u32, uint32_t, d);
    }
    return i + 1;
}

void cc_dot(cc *c, const ir_op *op) {
    const ir_type *a = &op->ops[0]->type, *b = &op->ops[1]->type, *r = &op->res[0]->type;
    dot_info *z = vm_new(c->arena, dot_info);
    const int rank = r->rank;
    *z = (dot_info){.stack = 1, .m = (size_t)a->dim[rank - 2], .k = (size_t)a->dim[rank - 1],
                    .n = (size_t)b->dim[rank - 1], .ta = a->elem, .tb = b->elem, .tc = r->elem};
    for (int d = 0; d < rank - 2; d++) z->stack *= (size_t)r->dim[d];
    const size_t wide = r->elem == T_f64 ? 8 : 4;
    if (a->space != IS_REG) z->load_a = 1 + cc_buf(c, z->stack * z->m * z->k * vm_cell(a->elem));
    if (b->space != IS_REG) z->load_b = 1 + cc_buf(c, z->stack * z->k * z->n * vm_cell(b->elem));
    z->fa = cc_buf(c, z->stack * z->m * z->k * wide);
    z->fb = cc_buf(c, z->stack * z->k * z->n * wide);
    z->fc = vm_is_float(r->elem) && wide != vm_cell(r->elem) ? cc_buf(c, z->stack * z->m * z->n * 4) : 0;
    const uint32_t x = cc_use(c, op->ops[0]), y = cc_use(c, op->ops[1]), acc = cc_use(c, op->ops[2]);
    const uint32_t at = cc_put(c, op, dot, cc_def(c, op->res[0]), x, y, 0);
    cc_at(c, at)->c = acc;
    cc_at(c, at)->x = z;
}
void cc_wgmma(cc *c, const ir_op *op) { cc_dot(c, op); } // lands at once: a wait is where it may be read
