// SPDX-License-Identifier: Apache-2.0
// ldmatrix, stmatrix and movmatrix, and what all matrix instructions share. Layouts: matrix.h.
#include "runtime/vgpu/matrix.h"

#include "runtime/vgpu/memory.h"

// ---- fragments ----------------------------------------------------------------------------------

static const vgm_elem elems[] = {
    {PTX_f16, 16, 'f'}, {PTX_bf16, 16, 'f'}, {PTX_tf32, 32, 'f'}, {PTX_e4m3, 8, 'f'},
    {PTX_e5m2, 8, 'f'}, {PTX_e2m3, 8, 'f'},  {PTX_e3m2, 8, 'f'},  {PTX_e2m1, 8, 'f'},
    {PTX_f64, 64, 'd'}, {PTX_u8, 8, 'i'},    {PTX_s8, 8, 'i'},    {PTX_u4, 4, 'i'},
    {PTX_s4, 4, 'i'},   {PTX_b1, 1, 'b'},
};

const vgm_elem *vgm_elem_of(int type) {
    for (size_t i = 0; i < sizeof elems / sizeof elems[0]; i++)
        if (elems[i].type == type) return &elems[i];
    return NULL;
}

/// A code of up to eight bits as a float; the e2m1 of mma lies in bits 2 to 5 of its byte.
static float small_float(int type, uint32_t code) {
    switch (type) {
    case PTX_e4m3:
        return (float)vm_decode(T_f8e4m3, code);
    case PTX_e5m2:
        return (float)vm_decode(T_f8e5m2, code);
    case PTX_e2m3:
        return (float)vm_decode(T_f6e2m3, code & 63);
    case PTX_e3m2:
        return (float)vm_decode(T_f6e3m2, code & 63);
    default:
        return (float)vm_decode(T_f4e2m1, code >> 2 & 15);
    }
}

/// Element i of 32 words, as the bits of a float or as an int.
#define EACH(expr)                                                                                 \
    for (int l = 0; l < 32; l++) out[l] = (expr);                                                  \
    break
VGA_FAST static void decode_row(const uint32_t *a, const vgm_elem *t, uint32_t i,
                                uint32_t out[32]) {
    const uint32_t at = i * t->bits;
    switch (t->type) {
    case PTX_f16:
        EACH(vga_u(vga_f16(a[l] >> at & 0xffff)));
    case PTX_bf16:
        EACH((a[l] >> at & 0xffff) << 16);
    case PTX_tf32:
        EACH(a[l] & 0xffffe000u);
    case PTX_u8:
        EACH(a[l] >> at & 0xff);
    case PTX_s8:
        EACH((uint32_t)((int32_t)(a[l] << (24 - at)) >> 24));
    case PTX_u4:
        EACH(a[l] >> at & 0xf);
    case PTX_s4:
        EACH((uint32_t)((int32_t)(a[l] << (28 - at)) >> 28));
    case PTX_b1:
        EACH(a[l]);
    default:
        EACH(vga_u(small_float(t->type, a[l] >> at & 0xff)));
    }
}
#undef EACH

void vgm_gather(vg_warp *w, const vg_row *rows, uint32_t n, uint32_t mr, const vgm_elem *t,
                void *out, uint32_t rs, uint32_t cs) {
    // Bits stay packed: a word is one element of 32.
    const uint32_t e = t->bits == 64 || t->arith == 'b' ? 1 : 32u / t->bits;
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t row = r % mr * 8, col = r / mr * 4 * e;
        if (t->bits == 64) {
            const uint64_t *const a = VG_ROW64(w, rows[r]);
            double *const o = out;
            for (uint32_t l = 0; l < 32; l++)
                o[(row + l / 4) * rs + (col + l % 4) * cs] = vga_d(a[l]);
            continue;
        }
        uint32_t v[32];
        for (uint32_t i = 0; i < e; i++) {
            decode_row(VG_ROW32(w, rows[r]), t, i, v);
            uint32_t *o = (uint32_t *)out + row * rs + (col + i) * cs;
            const uint32_t step = e * cs;
            for (uint32_t g = 0; g < 32; g += 4, o += rs)
                o[0] = v[g], o[step] = v[g + 1], o[2 * step] = v[g + 2], o[3 * step] = v[g + 3];
        }
    }
}

void vgm_gather_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type,
                       void *out) {
    const uint32_t mr = m / 8, blocks = mr * (n / 8);
    for (uint32_t b = 0; b < blocks; b++) {
        for (uint32_t l = 0; l < 32; l++) {
            const uint32_t at = (b % mr * 8 + l / 4) * n + b / mr * 8 + l % 4 * 2;
            if (type == PTX_f16) {
                const uint32_t v = VG_ROW32(w, rows[b])[l];
                ((float *)out)[at] = vga_f16(v & 0xffff);
                ((float *)out)[at + 1] = vga_f16(v >> 16);
            } else if (type == PTX_f64) {
                for (uint32_t i = 0; i < 2; i++)
                    ((double *)out)[at + i] = VG_ROWF64(w, rows[2 * b + i])[l];
            } else {
                for (uint32_t i = 0; i < 2; i++)
                    ((uint32_t *)out)[at + i] = VG_ROW32(w, rows[2 * b + i])[l];
            }
        }
    }
}

void vgm_scatter_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type,
                        uint32_t mask, const void *in) {
    const uint32_t mr = m / 8, blocks = mr * (n / 8);
    for (uint32_t b = 0; b < blocks; b++) {
        for (uint32_t l = 0; l < 32; l++) {
            if (!(mask & vga_bit[l])) continue;
            const uint32_t at = (b % mr * 8 + l / 4) * n + b / mr * 8 + l % 4 * 2;
            if (type == PTX_f16) {
                const float *const v = (const float *)in + at;
                VG_ROW32(w, rows[b])[l] = vga_to_f16(v[0]) | vga_to_f16(v[1]) << 16;
            } else if (type == PTX_f64) {
                for (uint32_t i = 0; i < 2; i++)
                    VG_ROWF64(w, rows[2 * b + i])[l] = ((const double *)in)[at + i];
            } else {
                for (uint32_t i = 0; i < 2; i++)
                    VG_ROW32(w, rows[2 * b + i])[l] = ((const uint32_t *)in)[at + i];
            }
        }
    }
}

// ---- products -----------------------------------------------------------------------------------
// b is stored k x n, so that the inner loops run over eight neighbouring results.

/// Four rows of A times eight columns of B at once.
#define PRODUCT(name, T, out)                                                                      \
    VGA_FAST static void name(const vgm_product *p, const T *restrict a, const T *restrict b,      \
                              T *restrict c) {                                                     \
        const uint32_t n = p->n, depth = p->k;                                                     \
        for (uint32_t i = 0; i < p->m; i += 4) {                                                   \
            for (uint32_t j0 = 0; j0 < n; j0 += 8) {                                               \
                T s0[8], s1[8], s2[8], s3[8];                                                      \
                T *const o = c + i * n + j0;                                                       \
                const T *const x = a + i * depth;                                                  \
                for (uint32_t j = 0; j < 8; j++)                                                   \
                    s0[j] = o[j], s1[j] = o[n + j], s2[j] = o[2 * n + j], s3[j] = o[3 * n + j];    \
                for (uint32_t k = 0; k < depth; k++) {                                             \
                    const T *const y = b + k * n + j0;                                             \
                    const T x0 = x[k], x1 = x[depth + k], x2 = x[2 * depth + k],                   \
                            x3 = x[3 * depth + k];                                                 \
                    for (uint32_t j = 0; j < 8; j++) {                                             \
                        s0[j] += x0 * y[j];                                                        \
                        s1[j] += x1 * y[j];                                                        \
                        s2[j] += x2 * y[j];                                                        \
                        s3[j] += x3 * y[j];                                                        \
                    }                                                                              \
                }                                                                                  \
                for (uint32_t j = 0; j < 8; j++)                                                   \
                    o[j] = out(s0[j]), o[n + j] = out(s1[j]), o[2 * n + j] = out(s2[j]),           \
                    o[3 * n + j] = out(s3[j]);                                                     \
            }                                                                                      \
        }                                                                                          \
    }
static VGA_INLINE float nan_made(float x) {
    return x != x ? vga_f(VGA_NAN32) : x;
}
PRODUCT(product_f32, float, nan_made)
#define SAME(x) (x)
PRODUCT(product_u32, uint32_t, SAME)
VGA_FAST static void product_f64(const vgm_product *p, const double *a, const double *b,
                                 double *c) {
    for (uint32_t i = 0; i < p->m; i++) {
        for (uint32_t k = 0; k < p->k; k++) {
            const double x = a[i * p->k + k];
            for (uint32_t j = 0; j < p->n; j++)
                c[i * p->n + j] = fma(x, b[k * p->n + j], c[i * p->n + j]);
        }
    }
}
/// Sums that stop at the ends of int32: of all products at once, which fit.
static void product_clamped(const vgm_product *p, const int32_t *a, const int32_t *b, uint32_t *c) {
    for (uint32_t i = 0; i < p->m; i++)
        for (uint32_t j = 0; j < p->n; j++) {
            int64_t sum = (int32_t)c[i * p->n + j];
            for (uint32_t k = 0; k < p->k; k++) sum += (int64_t)a[i * p->k + k] * b[k * p->n + j];
            c[i * p->n + j] = (uint32_t)(sum > INT32_MAX   ? INT32_MAX
                                         : sum < INT32_MIN ? INT32_MIN
                                                           : (int32_t)sum);
        }
}
static void product_bits(const vgm_product *p, const uint32_t *a, const uint32_t *b, uint32_t *c) {
    const uint32_t words = p->k / 32;
    for (uint32_t i = 0; i < p->m; i++)
        for (uint32_t k = 0; k < words; k++)
            for (uint32_t j = 0; j < p->n; j++) {
                const uint32_t x = a[i * words + k], y = b[k * p->n + j];
                c[i * p->n + j] += (uint32_t)__builtin_popcount(p->bit_and ? x & y : x ^ y);
            }
}

enum vg_next vgm_multiply(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const vgm_product *const p = in->aux;
    _Alignas(64) union {
        float f[32 * 64];
        double d[16 * 16];
        int32_t i[32 * 64];
        uint32_t u[32 * 64];
    } a, b, c;
    const uint32_t k = p->a->arith == 'b' ? p->k / 32 : p->k;
    vgm_gather(w, p->row[1], p->ra, p->m / 8, p->a, &a, k, 1);
    vgm_gather(w, p->row[2], p->rb, p->n / 8, p->b, &b, 1, p->n);
    vgm_gather_result(w, p->row[3], p->m, p->n, p->c, &c);
    switch (p->a->arith) {
    case 'f':
        product_f32(p, a.f, b.f, c.f);
        break;
    case 'd':
        product_f64(p, a.d, b.d, c.d);
        break;
    case 'i':
        if (p->saturate)
            product_clamped(p, a.i, b.i, c.u);
        else
            product_u32(p, a.u, b.u, c.u); // the same modulo 2^32
        break;
    default:
        product_bits(p, a.u, b.u, c.u);
        break;
    }
    vgm_scatter_result(w, p->row[0], p->m, p->n, p->d, mask, &c);
    return VG_NEXT;
}

// ---- decoding -----------------------------------------------------------------------------------

bool vgm_shape(vg_decoder *d, uint32_t *m, uint32_t *n, uint32_t *k) {
    for (uint32_t i = 0; i < d->in->nmod && i < 64; i++) {
        char end;
        if (sscanf(d->in->mod[i], "m%2un%2uk%3u%c", m, n, k, &end) != 3) continue;
        d->used |= (uint64_t)1 << i;
        return true;
    }
    return false;
}

int vgm_layout(vg_decoder *d, int i) {
    for (uint32_t m = 0; m < d->in->nmod && m < 64; m++) {
        const bool col = !strcmp(d->in->mod[m], "col");
        if ((!col && strcmp(d->in->mod[m], "row")) || i-- > 0) continue;
        d->used |= (uint64_t)1 << m;
        return col;
    }
    return -1;
}

const vg_row *vgm_registers(vg_decoder *d, const ptx_opnd *o, uint32_t n, unsigned bits,
                            bool result) {
    const ptx_opnd *const list = o->kind == PTX_O_LIST ? o->list : o;
    const uint32_t have = o->kind == PTX_O_LIST ? o->nlist : 1;
    const int type = bits == 64 ? PTX_b64 : bits == 16 ? PTX_b16 : PTX_b32;
    vg_row *const rows = vgd_alloc(d, n * sizeof *rows);
    if (have != n) {
        vgd_fail(d, "a fragment of %u registers where %u are needed", (unsigned)have, (unsigned)n);
        return rows;
    }
    for (uint32_t i = 0; i < n; i++)
        rows[i] = result ? vga_result(d, &list[i], type) : vgd_source(d, &list[i], type);
    return rows;
}

// ---- ldmatrix, stmatrix, movmatrix
// ---------------------------------------------------------------- Matrix i is eight rows of 16
// bytes at the addresses of lanes 8i to 8i + 7. sub2: transposed.

/// Word of lane l in a matrix of eight rows of eight halves, as it lies or transposed.
static uint32_t fragment(const uint16_t m[8][8], uint32_t l, bool transposed) {
    const uint32_t r = l / 4, c = l % 4 * 2;
    return transposed ? m[c][r] | (uint32_t)m[c + 1][r] << 16
                      : m[r][c] | (uint32_t)m[r][c + 1] << 16;
}
static void unfragment(uint16_t m[8][8], uint32_t l, bool transposed, uint32_t v) {
    const uint32_t r = l / 4, c = l % 4 * 2;
    *(transposed ? &m[c][r] : &m[r][c]) = (uint16_t)v;
    *(transposed ? &m[c + 1][r] : &m[r][c + 1]) = (uint16_t)(v >> 16);
}

static bool row_addresses(vg_warp *w, const vg_inst *in, int use, vg_accessed *x) {
    const uint32_t n = in->nrows * 8, lanes = n == 32 ? VGA_ALL : (1u << n) - 1;
    vg_inst one = *in;
    one.sub = in->sub3;
    if (!vg_access(w, &one, lanes, 16, 16, use, x)) return false;
    if (!w->watch) return true;
    if (w->watch & VG_WATCH_SAN) {
        vg_block *owner[32];
        uint64_t at[32];
        for (uint32_t l = 0; l < 32; l++) {
            owner[l] = !x->one && x->owner[l] ? x->owner[l] : w->block;
            at[l] = x->addr[l] & ((1u << VG_RANK_SHIFT) - 1);
        }
        vg_san_access(w, in, lanes, PTX_SHARED, owner, at, 16, use);
    }
    if (w->watch & VG_WATCH_PROF) {
        uint32_t row[32];
        for (uint32_t i = 0; i < n; i++)
            row[i] = (uint32_t)x->addr[i] & ((1u << VG_RANK_SHIFT) - 1);
        vg_prof_rows(w, in, row, n);
    }
    return true;
}

static enum vg_next ex_ldmatrix(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    if (!row_addresses(w, in, VG_READ, &x)) return VG_STOP;
    for (uint32_t i = 0; i < in->nrows; i++) {
        uint16_t m[8][8];
        for (uint32_t r = 0; r < 8; r++) memcpy(m[r], (const void *)x.host[8 * i + r], 16);
        uint32_t *const d = VG_ROW32(w, in->rows[i]);
        VGA_EACH(d, mask, uint32_t, fragment((const uint16_t(*)[8])m, (uint32_t)l, in->sub2));
    }
    return VG_NEXT;
}

static enum vg_next ex_stmatrix(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    (void)mask;
    if (!row_addresses(w, in, VG_WRITE, &x)) return VG_STOP;
    for (uint32_t i = 0; i < in->nrows; i++) {
        uint16_t m[8][8];
        for (uint32_t l = 0; l < 32; l++) unfragment(m, l, in->sub2, VG_ROW32(w, in->rows[i])[l]);
        for (uint32_t r = 0; r < 8; r++) memcpy((void *)x.host[8 * i + r], m[r], 16);
    }
    return VG_NEXT;
}

static enum vg_next ex_movmatrix(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint16_t m[8][8];
    for (uint32_t l = 0; l < 32; l++) unfragment(m, l, false, VG_ROW32(w, in->s[0])[l]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, fragment((const uint16_t(*)[8])m, (uint32_t)l, true));
    return VG_NEXT;
}

void vgd_ldmatrix(vg_decoder *d, vg_inst *out) {
    static const char *const counts[] = {"x1", "x2", "x4", NULL};
    const bool load = vga_is(d, "ldmatrix"), move = vga_is(d, "movmatrix");
    const ptx_opnd *const o = d->in->opnd;
    vgd_mod(d, "sync");
    vgd_mod(d, "aligned");
    out->cls = move ? VG_C_warp : load ? VG_C_shared_load : VG_C_shared_store;
    if (!vgd_count(d, 2, 2)) return;
    if (!vgd_mod(d, "m8n8") || vgd_type(d, 0) != PTX_b16) {
        vgd_fail(d, "matrices other than .m8n8 of .b16 are of later architectures");
        return;
    }
    out->sub2 = vgd_mod(d, "trans");
    if (move) {
        if (!out->sub2) vgd_fail(d, "movmatrix wants trans");
        out->run = ex_movmatrix;
        out->s[0] = vgd_source(d, &o[1], PTX_b32);
        out->d[0] = vga_result(d, &o[0], PTX_b32);
        return;
    }
    const int count = vgd_one_of(d, counts);
    if (count < 0) {
        vgd_fail(d, "%s wants x1, x2 or x4", d->in->op);
        return;
    }
    out->space = (uint8_t)vgd_space(d);
    if (out->space != PTX_SHARED && out->space != PTX_GENERIC)
        vgd_fail(d, "matrices lie in shared memory");
    out->nrows = 1u << count;
    out->rows = vgm_registers(d, &o[load ? 0 : 1], out->nrows, 32, load);
    vgd_memory(d, out, &o[load ? 1 : 0]);
    out->sub3 = out->sub;
    out->bytes = 16;
    out->vec = 1;
    out->run = load ? ex_ldmatrix : ex_stmatrix;
}
