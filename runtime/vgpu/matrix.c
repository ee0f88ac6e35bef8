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
    case PTX_e2m3:
        return (float)vm_decode(T_f6e2m3, code & 63);
    case PTX_e3m2:
        return (float)vm_decode(T_f6e3m2, code & 63);
    default:
        return (float)vm_decode(T_f4e2m1, code >> 2 & 15);
    }
}

/// The elements of 32 words in the order in which they lie, as the bits of floats or as ints.
VGA_FAST static void decode_register(const uint32_t *a, const vgm_elem *t, uint32_t out[256]) {
    const uint8_t *const c = (const uint8_t *)a;
    const uint16_t *const h = (const uint16_t *)(const void *)a;
#define EACH(n, expr)                                                                              \
    for (int i = 0; i < (n); i++) out[i] = (expr);                                                 \
    break
#define NIBBLE(i) (a[(i) / 8] >> ((i) % 8 * 4) & 0xf)
    switch (t->type) {
    case PTX_f16:
        EACH(64, vga_u(vga_f16(h[i])));
    case PTX_bf16:
        EACH(64, (uint32_t)h[i] << 16);
    case PTX_tf32:
        EACH(32, a[i] & 0xffffe000u);
    case PTX_u8:
        EACH(128, c[i]);
    case PTX_s8:
        EACH(128, (uint32_t)(int8_t)c[i]);
    case PTX_u4:
        EACH(256, NIBBLE(i));
    case PTX_s4:
        EACH(256, (NIBBLE(i) ^ 8) - 8);
    case PTX_e4m3:
        EACH(128, vga_u(vga_e4m3(c[i])));
    case PTX_e5m2:
        EACH(128, vga_u(vga_e5m2(c[i])));
    case PTX_b1:
        EACH(32, a[i]);
    default:
        EACH(128, vga_u(small_float(t->type, c[i])));
    }
#undef EACH
}

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
        // Row g of the block is 4e neighbours, a column of the result if cs is not 1.
        uint32_t v[256], *const o = (uint32_t *)out + row * rs + col * cs;
        const uint32_t *from = VG_ROW32(w, rows[r]);
        const uint32_t length = 4 * e;
        const bool halves = t->bits == 16 && rs == 1;
        vga_v8h x[8];
        if (halves) {
            memcpy(x, from, sizeof x);
            VGA_TRANSPOSE(x)
            from = (const uint32_t *)(const void *)x;
        }
        decode_register(from, t, v);
        if (cs == 1 || halves) {
            for (uint32_t g = 0; g < 8; g++)
                for (uint32_t i = 0; i < length; i += 4)
                    VGA_STORE(vga_v4u, o + g * (halves ? cs : rs) + i,
                              VGA_LOAD(vga_v4u, v + g * length + i));
        } else {
            for (uint32_t i = 0; i < length; i++)
                for (uint32_t g = 0; g < 8; g++) o[g * rs + i * cs] = v[g * length + i];
        }
    }
}

void vgm_gather_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type,
                       void *out) {
    const uint32_t mr = m / 8, blocks = mr * (n / 8);
    for (uint32_t b = 0; b < blocks; b++) {
        if (type == PTX_f32 || type == PTX_s32) {
            const uint32_t *const x = VG_ROW32(w, rows[2 * b]), *const y = VG_ROW32(w, rows[2 * b + 1]);
            uint32_t *o = (uint32_t *)out + b % mr * 8 * n + b / mr * 8;
            for (uint32_t g = 0; g < 32; g += 4, o += n) {
                const vga_v4u p = VGA_LOAD(vga_v4u, x + g), q = VGA_LOAD(vga_v4u, y + g);
                VGA_STORE(vga_v4u, o, __builtin_shufflevector(p, q, 0, 4, 1, 5));
                VGA_STORE(vga_v4u, o + 4, __builtin_shufflevector(p, q, 2, 6, 3, 7));
            }
            continue;
        }
        for (uint32_t l = 0; l < 32; l++) {
            const uint32_t at = (b % mr * 8 + l / 4) * n + b / mr * 8 + l % 4 * 2;
            if (type == PTX_f16) {
                const uint32_t v = VG_ROW32(w, rows[b])[l];
                ((float *)out)[at] = vga_f16(v & 0xffff);
                ((float *)out)[at + 1] = vga_f16(v >> 16);
            } else {
                for (uint32_t i = 0; i < 2; i++)
                    ((double *)out)[at + i] = VG_ROWF64(w, rows[2 * b + i])[l];
            }
        }
    }
}

void vgm_scatter_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type,
                        uint32_t mask, const void *in) {
    const uint32_t mr = m / 8, blocks = mr * (n / 8);
    for (uint32_t b = 0; b < blocks; b++) {
        if (mask == VGA_ALL && (type == PTX_f32 || type == PTX_s32)) {
            uint32_t *const x = VG_ROW32(w, rows[2 * b]), *const y = VG_ROW32(w, rows[2 * b + 1]);
            const uint32_t *v = (const uint32_t *)in + b % mr * 8 * n + b / mr * 8;
            for (uint32_t g = 0; g < 32; g += 4, v += n) {
                const vga_v4u p = VGA_LOAD(vga_v4u, v), q = VGA_LOAD(vga_v4u, v + 4);
                VGA_STORE(vga_v4u, x + g, __builtin_shufflevector(p, q, 0, 2, 4, 6));
                VGA_STORE(vga_v4u, y + g, __builtin_shufflevector(p, q, 1, 3, 5, 7));
            }
            continue;
        }
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

typedef float v8f __attribute__((vector_size(32), aligned(32)));
typedef uint32_t v8u __attribute__((vector_size(32), aligned(32)));

/// Eight rows of A times eight columns of B at once; the arrays are aligned.
#define PRODUCT(name, T, V, out)                                                                   \
    VGA_FAST static void name(const vgm_product *p, const T *restrict a, const T *restrict b,      \
                              T *restrict c) {                                                     \
        const uint32_t n = p->n, depth = p->k;                                                     \
        for (uint32_t i = 0; i < p->m; i += 8)                                                     \
            for (uint32_t j = 0; j < n; j += 8) {                                                  \
                V s[8];                                                                            \
                for (uint32_t r = 0; r < 8; r++)                                                   \
                    s[r] = *(const V *)(const void *)(c + (i + r) * n + j);                        \
                for (uint32_t k = 0; k < depth; k++) {                                             \
                    const V y = *(const V *)(const void *)(b + k * n + j);                         \
                    const T *const x = a + i * depth + k;                                          \
                    UNROLL for (uint32_t r = 0; r < 8; r++) s[r] += x[r * depth] * y;              \
                }                                                                                  \
                for (uint32_t r = 0; r < 8; r++) {                                                 \
                    out(s[r]);                                                                     \
                    *(V *)(void *)(c + (i + r) * n + j) = s[r];                                    \
                }                                                                                  \
            }                                                                                      \
    }
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define NAN_MADE(x)                                                                                \
    do {                                                                                           \
        const v8u not_ = (v8u)((x) != (x));                                                        \
        (x) = (v8f)(((v8u)(x) & ~not_) | (not_ & VGA_NAN32));                                      \
    } while (0)
#define SAME(x) (void)(x)
PRODUCT(product_f32, float, v8f, NAN_MADE)
PRODUCT(product_u32, uint32_t, v8u, SAME)
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

/// A register of all lanes is the matrix, row by row.
static void write_register(uint32_t *d, uint32_t mask, vga_v8h x[8], bool transposed) {
    uint32_t word[32];
    if (transposed) VGA_TRANSPOSE(x)
    memcpy(mask == VGA_ALL ? d : word, x, sizeof word);
    if (mask != VGA_ALL) VGA_EACH(d, mask, uint32_t, word[l]);
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
        vga_v8h m[8];
        for (uint32_t r = 0; r < 8; r++) m[r] = VGA_LOAD(vga_v8h, (const void *)x.host[8 * i + r]);
        write_register(VG_ROW32(w, in->rows[i]), mask, m, in->sub2);
    }
    return VG_NEXT;
}

static enum vg_next ex_stmatrix(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    (void)mask;
    if (!row_addresses(w, in, VG_WRITE, &x)) return VG_STOP;
    for (uint32_t i = 0; i < in->nrows; i++) {
        vga_v8h m[8];
        memcpy(m, VG_ROW32(w, in->rows[i]), sizeof m);
        if (in->sub2) VGA_TRANSPOSE(m)
        for (uint32_t r = 0; r < 8; r++) memcpy((void *)x.host[8 * i + r], &m[r], 16);
    }
    return VG_NEXT;
}

static enum vg_next ex_movmatrix(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vga_v8h m[8];
    memcpy(m, VG_ROW32(w, in->s[0]), sizeof m);
    write_register(VG_ROW32(w, in->d[0]), mask, m, true);
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
