// SPDX-License-Identifier: Apache-2.0
// Matrix products of warpgroups: collected from the four warps, their operands fetched as rows of
// 32 bytes along K at one moment, multiplied and written to the accumulators at another, in order
// of issue.
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/alu.h"
#include "runtime/vgpu/async.h"

#define MAX_N 256
#define POISON 0x7fbadbadu

typedef struct {
    uint32_t n, nacc;
    uint8_t d, a, b; // types
    bool rs, ta, tb, neg_a, neg_b, saturate;
    int8_t scale; // 0, 1: literal; -1: by the predicate
    bool scale_not;
    vg_row pred, desc_a, desc_b;
    vg_row frag[4];
    const vg_row *acc;
} wg_args;

// ---- operands -----------------------------------------------------------------------------------

/// A matrix in shared memory: where the 16 bytes of piece (i, j) of it lie.
typedef struct {
    uint32_t start, lead, stride, base, mode; // mode: 0 none, 1: 32 B, 2: 64 B, 3: 128 B
    bool mn;
} wg_matrix;

static wg_matrix descriptor(uint64_t d, bool mn) {
    return (wg_matrix){.start = (uint32_t)(d & 0x3fff) << 4,
                       .lead = (uint32_t)(d >> 16 & 0x3fff) << 4,
                       .stride = (uint32_t)(d >> 32 & 0x3fff) << 4,
                       .base = (uint32_t)(d >> 49 & 7),
                       .mode = (4 - (uint32_t)(d >> 62)) & 3,
                       .mn = mn};
}

/// K-major: i is the row, j the half of its 32 bytes. MN-major: i counts 8 elements, j is the k.
static uint32_t piece(const wg_matrix *m, uint32_t i, uint32_t j) {
    uint32_t at = m->start;
    const uint32_t span = 16u << m->mode;
    if (!m->mn) {
        at += i / 8 * m->stride + i % 8 * span + (m->mode ? j * 16 : j * m->lead);
    } else if (!m->mode) {
        at += i * m->stride + j / 8 * m->lead + j % 8 * 16;
    } else {
        const uint32_t wide = span / 16;
        at += i / wide * m->lead + i % wide * 16 + j / 8 * m->stride + j % 8 * span;
    }
    at &= 0x3ffff;
    return at ^ (((at >> 7) - m->base) & ((1u << m->mode) - 1)) << 4;
}

static bool fetch(vg_matrix *o, const wg_matrix *m, uint32_t rows, uint8_t *out) {
    const vg_block *b = o->warp[0]->block;
    const uint32_t ni = m->mn ? rows / 8 : rows, nj = m->mn ? 16 : 2;
    for (uint32_t i = 0; i < ni; i++)
        for (uint32_t j = 0; j < nj; j++) {
            const uint32_t at = piece(m, i, j);
            if (at + 16 > b->shared_bytes) {
                vg_fail(o->warp[0], o->in, 0, VG_ILLEGAL_ADDRESS,
                        "wgmma reads shared memory at 0x%x, past its end at 0x%x: the descriptor "
                        "is wrong",
                        at, b->shared_bytes);
                return false;
            }
            if (!m->mn)
                memcpy(out + i * 32 + j * 16, b->shared + at, 16);
            else {
                for (uint32_t e = 0; e < 8; e++)
                    memcpy(out + (i * 8 + e) * 32 + j * 2, b->shared + at + e * 2, 2);
            }
        }
    return true;
}

/// A fragment in registers: each word holds 4 bytes of a row.
static void gather_fragment(vg_matrix *o, const wg_args *x) {
    for (uint32_t g = 0; g < 4; g++)
        for (uint32_t r = 0; r < 4; r++) {
            const uint32_t *row = (const uint32_t *)(const void *)(o->rows[g] + x->frag[r]);
            for (uint32_t l = 0; l < 32; l++)
                memcpy(o->data + (g * 16 + (r & 1) * 8 + l / 4) * 32 + (r >> 1) * 16 + l % 4 * 4,
                       &row[l], 4);
        }
}

static void read_operands(vg_matrix *o) {
    const wg_args *x = o->in->aux;
    if (o->has_read) return;
    o->has_read = true;
    if (x->rs)
        gather_fragment(o, x);
    else {
        const wg_matrix a = descriptor(o->a, x->ta);
        if (!fetch(o, &a, 64, o->data)) return;
    }
    const wg_matrix b = descriptor(o->b, x->tb);
    fetch(o, &b, x->n, o->data + 64 * 32);
}

// ---- numbers ------------------------------------------------------------------------------------

static float f32_of(uint32_t bits) {
    union {
        uint32_t u;
        float f;
    } b = {bits};
    return b.f;
}

static uint32_t bits_of(float x) {
    union {
        float f;
        uint32_t u;
    } b = {x};
    return b.u;
}

/// Branch-free, so that loops over it vectorise.
static inline float half(uint32_t h) {
    const uint32_t magnitude = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16;
    const uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u | magnitude : 0;
    const float x = f32_of(magnitude) * 0x1p112f;
    return f32_of((special ? special : bits_of(x)) | sign);
}

static inline float e4m3(uint32_t c) {
    const float x = half((c & 0x80) << 8 | (c & 0x7f) << 7) * 256;
    return (c & 0x7f) == 0x7f ? f32_of(0x7fffffff) : x;
}

/// Rows of 32 bytes to numbers, one after the other.
VGA_FAST static void expand(int type, const uint8_t *restrict from, uint32_t rows,
                            float *restrict to, bool negative) {
    const uint32_t n = rows * 256 / ptx_types[type].bits;
    const uint16_t *h = (const uint16_t *)(const void *)from;
    const uint32_t *w = (const uint32_t *)(const void *)from;
    switch (type) {
    case PTX_f16:
        for (uint32_t i = 0; i < n; i++) to[i] = half(h[i]);
        break;
    case PTX_bf16:
        for (uint32_t i = 0; i < n; i++) to[i] = f32_of((uint32_t)h[i] << 16);
        break;
    case PTX_e5m2:
        for (uint32_t i = 0; i < n; i++) to[i] = half((uint32_t)from[i] << 8);
        break;
    case PTX_s8:
        for (uint32_t i = 0; i < n; i++) to[i] = (int8_t)from[i];
        break;
    case PTX_u8:
        for (uint32_t i = 0; i < n; i++) to[i] = from[i];
        break;
    case PTX_e4m3:
        for (uint32_t i = 0; i < n; i++) to[i] = e4m3(from[i]);
        break;
    default:
        for (uint32_t i = 0; i < n; i++) to[i] = f32_of(w[i] & 0xffffe000u);
        break; // tf32
    }
    if (negative)
        for (uint32_t i = 0; i < n; i++) to[i] = -to[i];
}

/// acc[64][n] += a[64][k] * b[k][n], eight steps of k at a time.
VGA_FAST static void product(float *restrict acc, const float *restrict a, const float *restrict b,
                             uint32_t n, uint32_t k) {
    for (uint32_t m = 0; m < 64; m++, acc += n)
        for (uint32_t i = 0; i < k; i += 8) {
            const float *x = a + m * k + i, *b0 = b + i * n, *b1 = b0 + n, *b2 = b1 + n,
                        *b3 = b2 + n, *b4 = b3 + n, *b5 = b4 + n, *b6 = b5 + n, *b7 = b6 + n;
            const float x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3], x4 = x[4], x5 = x[5], x6 = x[6],
                        x7 = x[7];
            VGA_IVDEP
            for (uint32_t j = 0; j < n; j++) {
                acc[j] += ((x0 * b0[j] + x1 * b1[j]) + (x2 * b2[j] + x3 * b3[j])) +
                          ((x4 * b4[j] + x5 * b5[j]) + (x6 * b6[j] + x7 * b7[j]));
            }
        }
}

/// Rows of B to rows of k.
VGA_FAST static void transpose(const float *restrict from, float *restrict to, uint32_t n,
                               uint32_t k) {
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t i = 0; i < k; i++) to[i * n + j] = from[j * k + i];
}

/// Adds a product of integers, wrapped or saturated. As numbers they are exact: below 2^24.
static void add_whole(int32_t *restrict acc, const float *restrict sum, uint32_t n, bool saturate) {
    for (uint32_t i = 0; i < 64 * n; i++) {
        int64_t x = (int64_t)acc[i] + (int32_t)sum[i];
        if (saturate) x = x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x;
        acc[i] = (int32_t)(uint32_t)(uint64_t)x;
    }
}

static void product_bits(int32_t *acc, const uint8_t *a, const uint8_t *b, uint32_t n) {
    for (uint32_t m = 0; m < 64; m++)
        for (uint32_t j = 0; j < n; j++)
            for (uint32_t i = 0; i < 32; i++)
                acc[m * n + j] += __builtin_popcount((unsigned)(a[m * 32 + i] & b[j * 32 + i]));
}

// ---- accumulators -------------------------------------------------------------------------------

static uint32_t *acc_row(const vg_matrix *o, const wg_args *x, uint32_t g, uint32_t i) {
    if (o->saved) return o->saved + (g * x->nacc + i) * 32;
    return (uint32_t *)(void *)(o->rows[g] + x->acc[i]);
}

/// An 8 by 8 tile of a warp's accumulators: words 0 and 1 are neighbours in a row (two halves of
/// one word for f16), and the row 8 below is in the words after them.
VGA_FAST static void load_acc(const vg_matrix *o, const wg_args *x, uint32_t *restrict acc) {
    const uint32_t n = x->n;
    for (uint32_t g = 0; g < 4; g++)
        for (uint32_t half_tile = 0; half_tile < n / 4; half_tile++) {
            uint32_t *to = acc + (g * 16 + half_tile % 2 * 8) * n + half_tile / 2 * 8;
            if (x->d == PTX_f16) {
                const uint32_t *r = acc_row(o, x, g, half_tile);
                for (uint32_t l = 0; l < 32; l++) {
                    to[l / 4 * n + l % 4 * 2] = bits_of(half(r[l] & 0xffff));
                    to[l / 4 * n + l % 4 * 2 + 1] = bits_of(half(r[l] >> 16));
                }
                continue;
            }
            const uint32_t *r = acc_row(o, x, g, half_tile * 2),
                           *s = acc_row(o, x, g, half_tile * 2 + 1);
            for (uint32_t q = 0; q < 8; q++)
                for (uint32_t t = 0; t < 4; t++) {
                    to[q * n + t * 2] = r[q * 4 + t];
                    to[q * n + t * 2 + 1] = s[q * 4 + t];
                }
        }
}

VGA_FAST static void store_acc(const vg_matrix *o, const wg_args *x, const uint32_t *restrict acc) {
    const vm_rounding nearest = {.round = R_NEAREST};
    const uint32_t n = x->n;
    for (uint32_t g = 0; g < 4; g++)
        for (uint32_t half_tile = 0; half_tile < n / 4; half_tile++) {
            const uint32_t *from = acc + (g * 16 + half_tile % 2 * 8) * n + half_tile / 2 * 8;
            if (x->d == PTX_f16) {
                uint32_t *r = (uint32_t *)(void *)(o->rows[g] + x->acc[half_tile]);
                for (uint32_t l = 0; l < 32; l++) {
                    const uint32_t *p = from + l / 4 * n + l % 4 * 2;
                    r[l] = (vg_to_f16(f32_of(p[0]), nearest) & 0xffff) |
                           vg_to_f16(f32_of(p[1]), nearest) << 16;
                }
                continue;
            }
            uint32_t *r = (uint32_t *)(void *)(o->rows[g] + x->acc[half_tile * 2]);
            uint32_t *s = (uint32_t *)(void *)(o->rows[g] + x->acc[half_tile * 2 + 1]);
            for (uint32_t q = 0; q < 8; q++)
                for (uint32_t t = 0; t < 4; t++) {
                    r[q * 4 + t] = from[q * n + t * 2];
                    s[q * 4 + t] = from[q * n + t * 2 + 1];
                }
        }
}

static void run(vg_matrix *o) {
    const wg_args *x = o->in->aux;
    union {
        float f[64 * MAX_N];
        int32_t i[64 * MAX_N];
        uint32_t u[64 * MAX_N];
    } acc; // all zero bits: 0 of each
    read_operands(o);
    o->done = true;
    if (o->accumulate)
        load_acc(o, x, acc.u);
    else
        memset(&acc, 0, sizeof(float) * 64 * x->n);
    if (x->a == PTX_b1)
        product_bits(acc.i, o->data, o->data + 64 * 32, x->n);
    else {
        const uint32_t k = 256 / ptx_types[x->a].bits;
        float a[64 * 32], rows[MAX_N * 32], b[MAX_N * 32];
        expand(x->a, o->data, 64, a, x->neg_a);
        expand(x->b, o->data + 64 * 32, x->n, rows, x->neg_b);
        transpose(rows, b, x->n, k);
        if (x->d == PTX_s32) {
            float sum[64 * MAX_N];
            memset(sum, 0, sizeof(float) * 64 * x->n);
            product(sum, a, b, x->n, k);
            add_whole(acc.i, sum, x->n, x->saturate);
        } else
            product(acc.f, a, b, x->n, k);
    }
    store_acc(o, x, acc.u);
    free(o->saved);
    o->saved = NULL;
}

/// Runs everything up to o, in order.
static void force(vg_warpgroup *g, vg_matrix *o) {
    for (vg_matrix *m = g->first; m; m = m->next) {
        if (!m->done) run(m);
        if (m == o) return;
    }
}

// ---- issue --------------------------------------------------------------------------------------

static int by_value(const void *x, const void *y) {
    const uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

/// Tells the sanitizer which shared memory is read, neighbouring pieces merged.
static void lease(vg_warp *w, vg_matrix *o, const wg_args *x) {
    uint32_t at[(64 + MAX_N) * 2], n = 0;
    for (int which = x->rs; which < 2; which++) {
        const wg_matrix m = descriptor(which ? o->b : o->a, which ? x->tb : x->ta);
        const uint32_t rows = which ? x->n : 64, ni = m.mn ? rows / 8 : rows, nj = m.mn ? 16 : 2;
        for (uint32_t i = 0; i < ni; i++)
            for (uint32_t j = 0; j < nj; j++) at[n++] = piece(&m, i, j);
    }
    qsort(at, n, sizeof *at, by_value);
    o->ticket = malloc(n * sizeof *o->ticket);
    for (uint32_t i = 0, j; o->ticket && i < n; i = j) {
        uint32_t end = at[i] + 16;
        for (j = i + 1; j < n && at[j] <= end; j++) end = at[j] + 16;
        if (end > w->block->shared_bytes) continue; // fails when it is read
        o->ticket[o->nticket++] =
            vg_san_async(w, o->in, w->block, PTX_SHARED, at[i], end - at[i], VG_READ, "wgmma");
    }
}

/// Under a schedule the registers may hold anything until the wait: some of the time, poison.
static void poison(vg_warpgroup *g, vg_matrix *o, const wg_args *x) {
    for (const vg_matrix *m = g->first; m != o; m = m->next) {
        if (m->done) continue;
        const wg_args *y = m->in->aux;
        for (uint32_t i = 0; i < y->nacc; i++)
            for (uint32_t j = 0; j < x->nacc; j++)
                if (y->acc[i] == x->acc[j]) return; // its result is this one's input
    }
    uint32_t *saved = malloc(sizeof *saved * 4 * x->nacc * 32);
    if (!saved) return;
    for (uint32_t w = 0; w < 4; w++)
        for (uint32_t i = 0; i < x->nacc; i++) {
            uint32_t *row = acc_row(o, x, w, i);
            memcpy(saved + (w * x->nacc + i) * 32, row, 128);
            for (uint32_t l = 0; l < 32; l++) row[l] = POISON;
        }
    o->saved = saved;
}

static vg_warpgroup *group_of(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_agents *g = vg_agents_of(w->block);
    if (!vg_issuer_of(w))
        vg_no_memory(w, in);
    else if (mask != UINT32_MAX)
        vg_fail(w, in, (uint32_t)__builtin_ctz(mask), VG_LAUNCH_FAILED,
                "wgmma by a part of a warp: lanes 0x%x", mask);
    else if ((w->id | 3) >= w->block->nwarps)
        vg_fail(w, in, 0, VG_LAUNCH_FAILED, "wgmma by a warpgroup of fewer than 4 warps");
    else
        return &g->group[w->id / 4];
    return NULL;
}

static bool uniform(const uint64_t *row) {
    uint64_t differs = 0;
    for (int l = 1; l < 32; l++) differs |= row[l] ^ row[0];
    return !differs;
}

static enum vg_next mma(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const wg_args *x = in->aux;
    vg_warpgroup *g = group_of(w, in, mask);
    if (!g) return VG_STOP;
    const uint32_t i = w->id & 3;
    if ((!x->rs && !uniform(VG_ROW64(w, x->desc_a))) || !uniform(VG_ROW64(w, x->desc_b))) {
        return vg_fail(w, in, 0, VG_LAUNCH_FAILED,
                       "the lanes of a warp give wgmma different descriptors");
    }
    const uint64_t a = x->rs ? 0 : VG_ROW64(w, x->desc_a)[0], b = VG_ROW64(w, x->desc_b)[0];
    bool accumulate = x->scale > 0;
    if (x->scale < 0) {
        const uint32_t p = VG_PRED(w, x->pred);
        if (p != 0 && p != UINT32_MAX)
            return vg_fail(w, in, 0, VG_LAUNCH_FAILED,
                           "the lanes of a warp give wgmma different scale-d");
        accumulate = (p != 0) != x->scale_not;
    }
    vg_matrix *o = g->first;
    for (uint64_t k = g->base; o && k < g->count[i]; k++) o = o->next;
    if (o && (o->in != in || o->a != a || o->b != b || o->accumulate != accumulate)) {
        return vg_fail(w, in, 0, VG_LAUNCH_FAILED,
                       "the warps of a warpgroup issue different wgmmas%s",
                       o->in == in ? ": descriptors or scale-d differ" : "");
    }
    if (!o) {
        if (!(o = malloc(sizeof *o))) return vg_no_memory(w, in);
        memset(o, 0, offsetof(vg_matrix, data));
        o->in = in;
        o->a = a;
        o->b = b;
        o->accumulate = accumulate;
        *g->end = o;
        g->end = &o->next;
        if (vg_sane(w)) lease(w, o, x);
    }
    g->count[i]++;
    o->warp[i] = w;
    o->rows[i] = w->rows;
    o->group[i] = ((vg_issuer *)w->async)->matrix_group;
    o->joined |= 1u << i;
    w->open_wgmmas++;
    if (o->joined != 15) return VG_NEXT;
    vg_draw(w->block, &o->due);
    if (w->run->gpu->options.schedule && ((vg_agents *)w->block->async)->random & 1)
        poison(g, o, x);
    return VG_NEXT;
}

static enum vg_next fence(vg_warp *w, const vg_inst *in, uint32_t mask) {
    return group_of(w, in, mask) ? VG_NEXT : VG_STOP;
}

static enum vg_next commit(vg_warp *w, const vg_inst *in, uint32_t mask) {
    if (!group_of(w, in, mask)) return VG_STOP;
    ((vg_issuer *)w->async)->matrix_group++;
    return VG_NEXT;
}

static void end_leases(vg_warp *w, vg_matrix *o) {
    for (uint32_t k = 0; k < o->nticket; k++) vg_san_async_end(w, o->ticket[k], false, NULL, 0);
    o->nticket = 0;
}

static void free_matrix(vg_matrix *o) {
    free(o->saved);
    free(o->ticket);
    free(o);
}

static enum vg_next wait(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_warpgroup *g = group_of(w, in, mask);
    if (!g) return VG_STOP;
    const uint32_t i = w->id & 3, now = ((vg_issuer *)w->async)->matrix_group;
    vg_matrix *last = NULL;
    for (vg_matrix *o = g->first; o; o = o->next) {
        if (!(o->joined >> i & 1) || o->group[i] + (uint64_t)in->imm >= now) break;
        if (o->joined != 15) {
            w->why = VG_W_MBARRIER;
            w->why_id = VG_WAIT_WARPGROUP;
            return VG_BLOCKED;
        }
        last = o;
    }
    if (!last) return VG_NEXT;
    force(g, last);
    for (vg_matrix *o = g->first;; o = o->next) {
        if (!(o->waited >> i & 1)) {
            o->waited |= 1u << i;
            w->open_wgmmas--;
            end_leases(w, o);
        }
        if (o == last) break;
    }
    while (g->first && g->first->waited == 15) {
        vg_matrix *o = g->first;
        g->first = o->next;
        if (!g->first) g->end = &g->first;
        g->base++;
        free_matrix(o);
    }
    return VG_NEXT;
}

bool vg_matrix_progress(vg_block *b, bool all, uint64_t *next) {
    vg_agents *g = b->async;
    bool any = false;
    for (int i = 0; i < 8; i++)
        for (vg_matrix *o = g->group[i].first; o && o->joined == 15; o = o->next) {
            if (o->done) continue;
            const bool writes = all || o->due.write <= b->steps,
                       reads = !o->has_read && (writes || o->due.read <= b->steps);
            if (writes)
                force(&g->group[i], o);
            else if (reads)
                read_operands(o);
            any |= writes || reads;
            const uint64_t t = o->done ? VG_NEVER : o->has_read ? o->due.write : o->due.read;
            if (t < *next) *next = t;
        }
    return any;
}

void vg_matrix_free(vg_agents *g) {
    for (int i = 0; i < 8; i++) {
        for (vg_matrix *o = g->group[i].first, *n; o; o = n) {
            n = o->next;
            free_matrix(o);
        }
        g->group[i] = (vg_warpgroup){0};
        g->group[i].end = &g->group[i].first;
    }
}

bool vg_async_open_wgmma(const vg_warp *w, uint32_t i, vg_open_wgmma *out) {
    const vg_agents *g = w->block->async;
    if (!g || w->id >= 32) return false;
    for (const vg_matrix *o = g->group[w->id / 4].first; o; o = o->next) {
        const uint32_t bit = 1u << (w->id & 3);
        if (!(o->joined & bit) || o->waited & bit || o->rows[w->id & 3] != w->rows || i--) continue;
        const wg_args *x = o->in->aux;
        *out = (vg_open_wgmma){
            .in = o->in, .acc = x->acc, .nacc = x->nacc, .a = x->frag, .na = x->rs ? 4 : 0};
        return true;
    }
    return false;
}

// ---- decoding -----------------------------------------------------------------------------------

static bool is_narrow(int t) {
    return t == PTX_e4m3 || t == PTX_e5m2;
}

/// Types that go together: f16 to f16 or f32, bf16 and tf32 to f32, 8-bit floats to both, integers
/// to s32.
static bool go_together(int d, int a, int b) {
    if (a == PTX_f16) return b == a && (d == PTX_f16 || d == PTX_f32);
    if (a == PTX_bf16 || a == PTX_tf32) return b == a && d == PTX_f32;
    if (is_narrow(a)) return is_narrow(b) && (d == PTX_f16 || d == PTX_f32);
    if (a == PTX_b1) return b == a && d == PTX_s32;
    return (a == PTX_s8 || a == PTX_u8) && (b == PTX_s8 || b == PTX_u8) && d == PTX_s32;
}

static bool decode_shape(vg_decoder *d, wg_args *x) {
    for (uint32_t i = 0; i < d->in->nmod; i++) {
        unsigned n, k;
        int used = 0;
        if (sscanf(d->in->mod[i], "m64n%uk%u%n", &n, &k, &used) != 2 || d->in->mod[i][used])
            continue;
        vgd_mod(d, d->in->mod[i]);
        const bool ints = x->d == PTX_s32; // integers: steps of 8 to 32, then of 16
        if (n < 8 || n > MAX_N || n % 8 || (ints && n > 32 && n % 16) ||
            k != 256u / ptx_types[x->a].bits)
            break;
        x->n = n;
        return true;
    }
    vgd_fail(d, "wgmma has no such shape for these types");
    return false;
}

static bool literal(vg_decoder *d, const ptx_opnd *o, int64_t first, int64_t second,
                    bool *is_second) {
    if (o->kind == PTX_O_INT && (o->integer == first || o->integer == second)) {
        *is_second = o->integer == second;
        return true;
    }
    vgd_fail(d, "this operand of wgmma is %lld or %lld", (long long)first, (long long)second);
    return false;
}

static void decode_mma(vg_decoder *d, vg_inst *out) {
    const ptx_opnd *o = d->in->opnd;
    wg_args *x = vgd_alloc(d, sizeof *x);
    x->d = (uint8_t)vgd_type(d, 0);
    x->a = (uint8_t)vgd_type(d, 1);
    x->b = (uint8_t)vgd_type(d, 2);
    if (!go_together(x->d, x->a, x->b)) {
        vgd_fail(d, "wgmma does not combine these types");
        return;
    }
    if (!decode_shape(d, x)) return;
    x->saturate = vgd_mod(d, "satfinite");
    if (x->a == PTX_b1 && (!vgd_mod(d, "and") || !vgd_mod(d, "popc")))
        vgd_fail(d, "wgmma on .b1 is .and.popc");
    const bool scales = x->d != PTX_s32, swaps = x->a == PTX_f16 || x->a == PTX_bf16;
    x->rs = d->in->nopnd > 1 && o[1].kind == PTX_O_LIST;
    const uint32_t n = 4u + (scales ? 2 : 0) + (swaps ? (x->rs ? 1 : 2) : 0);
    if (!vgd_count(d, n, n)) return;
    x->nacc = x->n / (x->d == PTX_f16 ? 4 : 2);
    if (o[0].kind != PTX_O_LIST || o[0].nlist != x->nacc || (x->rs && o[1].nlist != 4)) {
        vgd_fail(d, "wgmma of this shape has %u accumulator registers, and 4 of A", x->nacc);
        return;
    }
    const int acc_type = x->d == PTX_f16 ? PTX_b32 : x->d;
    vg_row *acc = vgd_alloc(d, x->nacc * sizeof *acc);
    for (uint32_t i = 0; i < x->nacc; i++) acc[i] = vgd_result(d, &o[0].list[i], acc_type);
    x->acc = acc;
    if (x->rs) {
        for (int i = 0; i < 4; i++) x->frag[i] = vgd_source(d, &o[1].list[i], PTX_b32);
    } else
        x->desc_a = vgd_source(d, &o[1], PTX_b64);
    x->desc_b = vgd_source(d, &o[2], PTX_b64);
    if (o[3].kind == PTX_O_INT)
        x->scale = o[3].integer != 0;
    else {
        x->scale = -1;
        x->scale_not = o[3].negated;
        x->pred = vgd_pred(d, &o[3]);
    }
    if (scales && (!literal(d, &o[4], 1, -1, &x->neg_a) || !literal(d, &o[5], 1, -1, &x->neg_b)))
        return;
    if (swaps && !x->rs && !literal(d, &o[6], 0, 1, &x->ta)) return;
    if (swaps && !literal(d, &o[n - 1], 0, 1, &x->tb)) return;
    out->rows = acc;
    out->nrows = x->nacc;
    out->aux = x;
    out->run = mma;
}

void vgd_wgmma(vg_decoder *d, vg_inst *out) {
    out->cls = VG_C_matrix;
    vgd_mod(d, "sync");
    vgd_mod(d, "aligned");
    if (vgd_mod(d, "mma_async"))
        decode_mma(d, out);
    else if (vgd_mod(d, "fence")) {
        if (vgd_count(d, 0, 0)) out->run = fence;
    } else if (vgd_mod(d, "commit_group")) {
        if (vgd_count(d, 0, 0)) out->run = commit;
    } else if (vgd_mod(d, "wait_group")) {
        if (!vgd_count(d, 1, 1)) return;
        if (d->in->opnd[0].kind != PTX_O_INT || d->in->opnd[0].integer < 0)
            vgd_fail(d, "wgmma.wait_group takes a count of groups");
        out->imm = d->in->opnd[0].integer;
        out->run = wait;
    } else
        vgd_fail(d, "this wgmma is not known");
}
