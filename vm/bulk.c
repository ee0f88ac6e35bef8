// SPDX-License-Identifier: Apache-2.0
// Arrays of host values: instructions, casts and dense bit strings, with native loops for the
// common types. Every native loop gives the very codes that num.c and eval.c give.
#include "vm/vm.h"

#include <math.h>
#include <string.h>
#include <threads.h>

#define INLINE static inline __attribute__((always_inline))
// Loops over cells read and write the same index, so dst == src does not hinder vectors.
#if defined(__clang__)
#define LANES _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define LANES _Pragma("GCC ivdep")
#else
#define LANES
#endif
// The wide clone is chosen when the program is loaded; sanitizers run before that choice works.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAST __attribute__((target_clones("default", "avx2")))
#else
#define FAST
#endif

static uint64_t mask_of(unsigned bits) { return bits >= 64 ? UINT64_MAX : (1ull << bits) - 1; }

// ---- cells --------------------------------------------------------------------------------------

static uint64_t cell_get(unsigned width, const void *p, size_t i) {
    switch (width) {
    case 1: return ((const uint8_t *)p)[i];
    case 2: return ((const uint16_t *)p)[i];
    case 4: return ((const uint32_t *)p)[i];
    default: return ((const uint64_t *)p)[i];
    }
}

static void cell_put(unsigned width, void *p, size_t i, uint64_t v) {
    switch (width) {
    case 1: ((uint8_t *)p)[i] = (uint8_t)v; break;
    case 2: ((uint16_t *)p)[i] = (uint16_t)v; break;
    case 4: ((uint32_t *)p)[i] = (uint32_t)v; break;
    default: ((uint64_t *)p)[i] = v; break;
    }
}

// ---- dense bit strings --------------------------------------------------------------------------

uint64_t vm_get_bits(const void *mem, size_t bit, unsigned nbits) {
    const uint8_t *p = (const uint8_t *)mem + bit / 8;
    const unsigned off = (unsigned)(bit % 8);
    uint64_t v = 0;
    if (nbits == 0) return 0;
    const unsigned bytes = (off + nbits + 7) / 8; // at most 9
    for (unsigned i = 0; i < bytes && i < 8; i++) v |= (uint64_t)p[i] << (8 * i);
    v >>= off;
    if (bytes == 9) v |= (uint64_t)p[8] << (64 - off);
    return v & mask_of(nbits);
}

void vm_put_bits(void *mem, size_t bit, unsigned nbits, uint64_t v) {
    uint8_t *p = (uint8_t *)mem + bit / 8;
    unsigned off = (unsigned)(bit % 8);
    while (nbits) {
        const unsigned take = nbits < 8 - off ? nbits : 8 - off;
        const uint8_t m = (uint8_t)(mask_of(take) << off);
        *p = (uint8_t)((*p & ~m) | ((uint8_t)(v << off) & m));
        v >>= take;
        nbits -= take;
        off = 0;
        p++;
    }
}

/// Elements narrower than a byte: eight of them are `b` bytes, at the same bit of each group.
static size_t unpack_groups(unsigned b, size_t n, const uint8_t *p, unsigned off, uint8_t *out) {
    const size_t bytes = (off + n * b + 7) / 8;
    const unsigned m = (unsigned)mask_of(b);
    size_t i = 0;
    for (size_t at = 0; i + 8 <= n && at + 8 <= bytes; i += 8, at += b) {
        uint64_t w = 0;
        for (unsigned k = 0; k < 8; k++) w |= (uint64_t)p[at + k] << (8 * k); // one load
        w >>= off; // 8 * 7 + 7 bits at most
        for (unsigned k = 0; k < 8; k++) out[i + k] = (uint8_t)(w >> (k * b) & m);
    }
    return i;
}

static size_t pack_groups(unsigned b, size_t n, const uint8_t *in, uint8_t *p) {
    const uint64_t m = mask_of(b);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w = 0;
        for (unsigned k = 0; k < 8; k++) w |= (in[i + k] & m) << (k * b);
        for (unsigned k = 0; k < b; k++) *p++ = (uint8_t)(w >> (8 * k));
    }
    return i;
}

void vm_unpack(vm_dtype t, size_t n, const void *mem, size_t bit, void *cells) {
    const unsigned b = vm_mem_bits(t), w = vm_cell(t);
    const uint8_t *p = (const uint8_t *)mem + bit / 8;
    if (n == 0) return;
    if (b == 8 * w && bit % 8 == 0) {
        memcpy(cells, p, n * w);
        return;
    }
    size_t i = b < 8 ? unpack_groups(b, n, p, (unsigned)(bit % 8), cells) : 0;
    for (; i < n; i++) cell_put(w, cells, i, vm_get_bits(mem, bit + i * b, b));
}

void vm_pack(vm_dtype t, size_t n, const void *cells, void *mem, size_t bit) {
    const unsigned b = vm_mem_bits(t), w = vm_cell(t);
    if (n == 0) return;
    if (b == 8 * w && bit % 8 == 0) {
        memcpy((uint8_t *)mem + bit / 8, cells, n * w);
        return;
    }
    size_t i = 0;
    if (b < 8) { // up to a byte boundary one by one, if one is ever met
        while (i < n && i < 8 && (bit + i * b) % 8) {
            vm_put_bits(mem, bit + i * b, b, cell_get(w, cells, i));
            i++;
        }
        const size_t at = bit + i * b;
        if (i < n && at % 8 == 0)
            i += pack_groups(b, n - i, (const uint8_t *)cells + i, (uint8_t *)mem + at / 8);
    }
    for (; i < n; i++) vm_put_bits(mem, bit + i * b, b, cell_get(w, cells, i));
}

// ---- lanes: codes and native floats -------------------------------------------------------------

INLINE float as_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

INLINE uint32_t as_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

INLINE uint32_t flush(uint32_t u) { return u & 0x7f800000 ? u : u & 0x80000000; }
INLINE bool nan32(uint32_t u) { return (u & 0x7fffffff) > 0x7f800000; }
INLINE uint32_t canon32(uint32_t u) { return nan32(u) ? (u & 0x80000000) | 0x7fc00000 : u; }

INLINE float of_f32(uint32_t u) { return as_float(u); }
INLINE float of_bf16(uint16_t h) { return as_float((uint32_t)h << 16); }
INLINE float of_f16(uint16_t h) {
    const uint32_t a = h & 0x7fffu, s = (h & 0x8000u) << 16;
    const uint32_t scaled = as_bits(as_float(a << 13) * 0x1p112f); // subnormals come out right
    return as_float((a >= 0x7c00 ? (a << 13) | 0x7f800000 : scaled) | s);
}

/// To nearest-even; NaN keeps its sign and nothing else.
INLINE uint32_t to_f32(float x) { return canon32(as_bits(x)); }
INLINE uint16_t to_bf16(float x) {
    const uint32_t u = as_bits(x), r = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (uint16_t)(nan32(u) ? (u >> 16 & 0x8000) | 0x7fc0 : r);
}
INLINE uint16_t to_f16(float x) {
    const uint32_t u = as_bits(x), a = u & 0x7fffffff, s = u >> 16 & 0x8000;
    const uint32_t sub = as_bits(as_float(a) + 0.5f) - 0x3f000000; // the addition rounds
    const uint32_t nor = (a - (112u << 23) + 0xfff + (a >> 13 & 1)) >> 13;
    const uint32_t fin = a < 0x38800000 ? sub : nor;
    return (uint16_t)((a > 0x7f800000 ? 0x7e00 : a >= 0x47800000 ? 0x7c00 : fin) | s);
}

/// A double as a float whose last bit is odd if anything was lost: rounding it again to at most
/// 22 digits is then right.
INLINE float to_odd(double d) {
    const float f = (float)d;
    const uint32_t u = as_bits(f);
    const double lost = d - (double)f;
    // Without branches, for the sake of vectors: a step away from zero, or toward it.
    const uint32_t fix = (uint32_t)((lost > 0) | (lost < 0)) & ~u & 1;
    const uint32_t in = (uint32_t)(lost > 0) ^ (u >> 31) ^ 1; // toward zero
    return as_float(u + fix - 2 * (fix & in));
}

/// x * y + z for doubles that hold floats: last bit odd if anything was lost, as in eval.c.
INLINE double fma_odd(double x, double y, double z) {
    const double p = x * y, s = p + z, zz = s - p;
    const double lost = (p - (s - zz)) + (z - zz);
    uint64_t u;
    memcpy(&u, &s, sizeof u);
    const uint64_t fix = (uint64_t)((lost > 0) | (lost < 0)) & ~u & 1;
    const uint64_t in = (uint64_t)(lost > 0) ^ (u >> 63) ^ 1;
    u += fix - 2 * (fix & in);
    double r;
    memcpy(&r, &u, sizeof r);
    return r;
}

// ---- instructions -------------------------------------------------------------------------------

typedef void kernel(size_t n, const void *pa, const void *pb, const void *pc, void *pd);

#define LOOP(name, A, B, C, D, expr)                                                               \
    FAST static void name(size_t n, const void *pa, const void *pb, const void *pc, void *pd) {    \
        const A *a = pa;                                                                           \
        const B *b = pb;                                                                           \
        const C *c = pc;                                                                           \
        D *d = pd;                                                                                 \
        (void)a, (void)b, (void)c;                                                                 \
        LANES for (size_t i = 0; i < n; i++) d[i] = (D)(expr);                                     \
    }
#define LOOP_(op, type, C, D, expr) LOOP(k_##op##_##type, C, C, C, D, expr)

// Integers: T the cell, U the unsigned one of its width; wrapping is done unsigned, in 64 bits.
#define LOOPS_INT(type, T, U, SIGNED)                                                              \
    LOOP_(add, type, U, U, (uint64_t)a[i] + b[i])                                                  \
    LOOP_(sub, type, U, U, (uint64_t)a[i] - b[i])                                                  \
    LOOP_(mul, type, U, U, (uint64_t)a[i] * b[i])                                                  \
    LOOP_(and, type, U, U, a[i] & b[i])                                                            \
    LOOP_(or, type, U, U, a[i] | b[i])                                                             \
    LOOP_(xor, type, U, U, a[i] ^ b[i])                                                            \
    LOOP_(not, type, U, U, ~a[i])                                                                  \
    LOOP_(neg, type, U, U, 0 - (uint64_t)a[i])                                                     \
    LOOP_(fma, type, U, U, (uint64_t)a[i] * b[i] + c[i])                                           \
    LOOP_(shl, type, U, U, b[i] < 8 * sizeof(U) ? (U)(a[i] << (b[i] & (8 * sizeof(U) - 1))) : 0u)  \
    LOOP_(shr, type, U, U,                                                                         \
          b[i] < 8 * sizeof(U) ? (T)a[i] >> (b[i] & (8 * sizeof(U) - 1))                           \
                               : (T)(SIGNED * ((T)a[i] >> (8 * sizeof(U) - 1))))                   \
    LOOP_(min, type, T, T, a[i] < b[i] ? a[i] : b[i])                                              \
    LOOP_(max, type, T, T, a[i] > b[i] ? a[i] : b[i])                                              \
    LOOP_(eq, type, T, uint8_t, a[i] == b[i])                                                      \
    LOOP_(ne, type, T, uint8_t, a[i] != b[i])                                                      \
    LOOP_(lt, type, T, uint8_t, a[i] < b[i])                                                       \
    LOOP_(le, type, T, uint8_t, a[i] <= b[i])                                                      \
    LOOP_(gt, type, T, uint8_t, a[i] > b[i])                                                       \
    LOOP_(ge, type, T, uint8_t, a[i] >= b[i])
LOOPS_INT(u8, uint8_t, uint8_t, 0)
LOOPS_INT(i8, int8_t, uint8_t, 1)
LOOPS_INT(u16, uint16_t, uint16_t, 0)
LOOPS_INT(i16, int16_t, uint16_t, 1)
LOOPS_INT(u32, uint32_t, uint32_t, 0)
LOOPS_INT(i32, int32_t, uint32_t, 1)
LOOPS_INT(u64, uint64_t, uint64_t, 0)
LOOPS_INT(i64, int64_t, uint64_t, 1)

// Floats: in(code) is the operand, out(float) the code of a result. An f32 holds twice the digits
// of f16 and bf16 and two more, so rounding twice is rounding once (see eval.c).
#define IN_f32(u) of_f32(flush(u))
#define IN_f16(u) of_f16(u)
#define IN_bf16(u) of_bf16(u)
INLINE uint32_t out_f32(float x) { return nan32(as_bits(x)) ? 0x7fc00000 : flush(as_bits(x)); }
INLINE uint16_t out_f16(float x) { // the NaN that a host makes has either sign
    const uint16_t code = to_f16(x);
    return (uint16_t)(nan32(as_bits(x)) ? 0x7e00 : code);
}
INLINE uint16_t out_bf16(float x) {
    const uint16_t code = to_bf16(x);
    return (uint16_t)(nan32(as_bits(x)) ? 0x7fc0 : code);
}
#define ROUND_f32(d) (float)(d)
#define ROUND_f16(d) to_odd(d)
#define ROUND_bf16(d) to_odd(d)
// In the range of f16 a sum that a double cannot hold is no tie: 22 digits of product and one of z
// span less than 53 unless one of the two is too small to matter.
#define FMA_f16(x, y, z) ((x) * (y) + (z))
#define FMA_bf16(x, y, z) fma_odd(x, y, z)
#define FMA_f32(x, y, z) fma_odd(x, y, z)
#define CODE_f32(u) flush(u)
#define CODE_f16(u) (u)
#define CODE_bf16(u) (u)

/// By the order of codes: -0 below +0. A NaN loses against a number.
#define PICK(name, U, S, top, nan, inf)                                                            \
    INLINE U name(U x, U y, bool largest) {                                                        \
        const S kx = (S)(x ^ ((U)((S)x >> (8 * sizeof(S) - 1)) & (top)));                          \
        const S ky = (S)(y ^ ((U)((S)y >> (8 * sizeof(S) - 1)) & (top)));                          \
        const bool nx = (x & (top)) > (inf), ny = (y & (top)) > (inf);                             \
        U r = (largest ? kx > ky : kx < ky) ? x : y;                                               \
        r = ny ? x : r;                                                                            \
        r = nx ? y : r;                                                                            \
        return (U)((nx & ny) ? (nan) : r);                                                         \
    }
PICK(pick_f16, uint16_t, int16_t, 0x7fff, 0x7e00, 0x7c00)
PICK(pick_bf16, uint16_t, int16_t, 0x7fff, 0x7fc0, 0x7f80)
PICK(pick_f32, uint32_t, int32_t, 0x7fffffff, 0x7fc00000, 0x7f800000)

#define LOOPS_FLOAT(t, U, TOP)                                                                     \
    LOOP_(add, t, U, U, out_##t(IN_##t(a[i]) + IN_##t(b[i])))                                      \
    LOOP_(sub, t, U, U, out_##t(IN_##t(a[i]) - IN_##t(b[i])))                                      \
    LOOP_(mul, t, U, U, out_##t(IN_##t(a[i]) * IN_##t(b[i])))                                      \
    LOOP_(div, t, U, U, out_##t(IN_##t(a[i]) / IN_##t(b[i])))                                      \
    LOOP_(fma, t, U, U,                                                                            \
          out_##t(ROUND_##t(FMA_##t((double)IN_##t(a[i]), (double)IN_##t(b[i]),                    \
                                    (double)IN_##t(c[i])))))                                       \
    LOOP_(min, t, U, U, pick_##t(CODE_##t(a[i]), CODE_##t(b[i]), false))                           \
    LOOP_(max, t, U, U, pick_##t(CODE_##t(a[i]), CODE_##t(b[i]), true))                            \
    LOOP_(neg, t, U, U, a[i] ^ (U)~(U)TOP)                                                         \
    LOOP_(abs, t, U, U, a[i] & TOP)                                                                \
    LOOP_(sqrt, t, U, U, out_##t(sqrtf(IN_##t(a[i]))))                                             \
    LOOP_(eq, t, U, uint8_t, IN_##t(a[i]) == IN_##t(b[i]))                                         \
    LOOP_(ne, t, U, uint8_t, IN_##t(a[i]) != IN_##t(b[i]))                                         \
    LOOP_(lt, t, U, uint8_t, IN_##t(a[i]) < IN_##t(b[i]))                                          \
    LOOP_(le, t, U, uint8_t, IN_##t(a[i]) <= IN_##t(b[i]))                                         \
    LOOP_(gt, t, U, uint8_t, IN_##t(a[i]) > IN_##t(b[i]))                                          \
    LOOP_(ge, t, U, uint8_t, IN_##t(a[i]) >= IN_##t(b[i]))
LOOPS_FLOAT(f16, uint16_t, 0x7fff)
LOOPS_FLOAT(bf16, uint16_t, 0x7fff)
LOOPS_FLOAT(f32, uint32_t, 0x7fffffff)

LOOP(k_select_1, uint8_t, uint8_t, uint8_t, uint8_t, (a[i] & 1) ? b[i] : c[i])
LOOP(k_select_2, uint8_t, uint16_t, uint16_t, uint16_t, (a[i] & 1) ? b[i] : c[i])
LOOP(k_select_4, uint8_t, uint32_t, uint32_t, uint32_t, (a[i] & 1) ? b[i] : c[i])
LOOP(k_select_8, uint8_t, uint64_t, uint64_t, uint64_t, (a[i] & 1) ? b[i] : c[i])

#define ROW(op, t) [I_##op][T_##t] = k_##op##_##t
#define ROWS_BOTH(op)                                                                              \
    ROW(op, u8), ROW(op, i8), ROW(op, u16), ROW(op, i16), ROW(op, u32), ROW(op, i32),              \
        ROW(op, u64), ROW(op, i64)
#define ROWS_FLOAT(op) ROW(op, f16), ROW(op, bf16), ROW(op, f32)
#define ROWS_ALL(op) ROWS_BOTH(op), ROWS_FLOAT(op)
static kernel *const kernels[I_count_][T_count_] = {
    ROWS_ALL(add),   ROWS_ALL(sub),   ROWS_ALL(mul),   ROWS_FLOAT(div), ROWS_ALL(fma),
    ROWS_ALL(min),   ROWS_ALL(max),   ROWS_ALL(neg),   ROWS_FLOAT(abs), ROWS_FLOAT(sqrt),
    ROWS_ALL(eq),    ROWS_ALL(ne),    ROWS_ALL(lt),    ROWS_ALL(le),    ROWS_ALL(gt),
    ROWS_ALL(ge),    ROWS_BOTH(and),  ROWS_BOTH(or),   ROWS_BOTH(xor),  ROWS_BOTH(not),
    ROWS_BOTH(shl),  ROWS_BOTH(shr),
};

static kernel *kernel_of(vm_inst i, vm_dtype t) {
    if (i != I_select) return kernels[i][t];
    switch (vm_cell(t)) {
    case 1: return k_select_1;
    case 2: return k_select_2;
    case 4: return k_select_4;
    default: return k_select_8;
    }
}

enum { CHUNK = 512 };

void vm_bulk(vm_inst i, vm_dtype t, size_t n, const void *const *src, const bool *scalar,
             void *dst) {
    const unsigned ops = (unsigned)vm_insts[i].nops, cls = vm_insts[i].cls;
    const unsigned w = vm_cell(t), out = cls == C_CMP ? 1 : w;
    unsigned width[3] = {cls == C_SELECT ? 1 : w, w, w};
    kernel *const k = kernel_of(i, t);
    uint64_t wide[3][CHUNK]; // a scalar, as often as a chunk needs it
    uint64_t arg[3] = {0};
    const size_t fill = n < CHUNK ? n : CHUNK;
    for (unsigned j = 0; j < ops && n; j++) {
        if (!scalar[j]) continue;
        arg[j] = cell_get(width[j], src[j], 0);
        for (size_t e = 0; k && e < fill; e++) cell_put(width[j], wide[j], e, arg[j]);
    }
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t m = n - at < CHUNK ? n - at : CHUNK;
        if (k) {
            const void *p[3] = {NULL};
            for (unsigned j = 0; j < ops; j++)
                p[j] = scalar[j] ? (const void *)wide[j] : (const char *)src[j] + at * width[j];
            k(m, p[0], p[1], p[2], (char *)dst + at * out);
            continue;
        }
        for (size_t e = at; e < at + m; e++) {
            for (unsigned j = 0; j < ops; j++)
                if (!scalar[j]) arg[j] = cell_get(width[j], src[j], e);
            cell_put(out, dst, e, vm_eval(i, t, arg));
        }
    }
}

// ---- casts --------------------------------------------------------------------------------------

static float small[T_count_][256]; // values of all types of 8 bits and fewer
static once_flag small_once = ONCE_FLAG_INIT;

static void small_init(void) {
    for (unsigned t = 0; t < T_count_; t++)
        for (unsigned c = 0; vm_bits((vm_dtype)t) <= 8 && c < 256; c++)
            small[t][c] = (float)vm_decode((vm_dtype)t, c);
}

/// The types whose every value a float holds exactly.
static bool fits_f32(vm_dtype t) {
    return vm_bits(t) <= 16 || t == T_f32 || t == T_tf32;
}

#define MAP(name, A, D, expr) LOOP(name, A, A, A, D, expr)
#define MAPF(name, A, expr)                                                                        \
    FAST static void name(size_t n, const A *a, float *d) {                                        \
        LANES for (size_t i = 0; i < n; i++) d[i] = (expr);                                        \
    }
MAPF(f16_floats, uint16_t, of_f16(a[i]))
MAPF(bf16_floats, uint16_t, of_bf16(a[i]))
MAPF(u16_floats, uint16_t, (float)a[i])
MAPF(i16_floats, uint16_t, (float)(int16_t)a[i])
MAP(f16_codes, float, uint16_t, to_f16(a[i]))
MAP(bf16_codes, float, uint16_t, to_bf16(a[i]))
MAP(f32_codes, float, uint32_t, to_f32(a[i]))
MAP(f16_from_double, double, uint16_t, to_f16(to_odd(a[i])))
MAP(bf16_from_double, double, uint16_t, to_bf16(to_odd(a[i])))
MAP(f32_from_double, double, uint32_t, to_f32((float)a[i]))

void vm_bulk_to_f32(vm_dtype from, size_t n, const void *src, float *dst) {
    if (n == 0) return;
    switch (from) {
    case T_f32: memcpy(dst, src, n * sizeof *dst); return;
    case T_f16: f16_floats(n, src, dst); return;
    case T_bf16: bf16_floats(n, src, dst); return;
    case T_u16: u16_floats(n, src, dst); return;
    case T_i16: i16_floats(n, src, dst); return;
    default: break;
    }
    if (vm_bits(from) <= 8) {
        call_once(&small_once, small_init);
        const float *table = small[from];
        const uint8_t *c = src;
        for (size_t i = 0; i < n; i++) dst[i] = table[c[i]];
        return;
    }
    const unsigned w = vm_cell(from);
    for (size_t i = 0; i < n; i++) dst[i] = (float)vm_decode(from, cell_get(w, src, i));
}

FAST static void doubles_of_floats(size_t n, const float *a, double *d) {
    LANES for (size_t i = 0; i < n; i++) d[i] = (double)a[i];
}

void vm_bulk_to_f64(vm_dtype from, size_t n, const void *src, double *dst) {
    const unsigned w = vm_cell(from);
    if (n == 0) return;
    if (from == T_f64) {
        memcpy(dst, src, n * sizeof *dst);
    } else if (from == T_i32) {
        for (size_t i = 0; i < n; i++) dst[i] = (double)((const int32_t *)src)[i];
    } else if (fits_f32(from)) {
        float mid[CHUNK];
        for (size_t at = 0; at < n; at += CHUNK) {
            const size_t m = n - at < CHUNK ? n - at : CHUNK;
            vm_bulk_to_f32(from, m, (const char *)src + at * w, mid);
            doubles_of_floats(m, mid, dst + at);
        }
    } else {
        for (size_t i = 0; i < n; i++) dst[i] = vm_decode(from, cell_get(w, src, i));
    }
}

/// Integers of any type, sign or zero extended.
FAST static void load_ints(vm_dtype t, size_t n, const void *src, int64_t *d) {
    const unsigned up = 64 - vm_bits(t);
    const bool sg = vm_dtypes[t].kind == K_INT;
#define LOAD(U)                                                                                    \
    LANES for (size_t i = 0; i < n; i++) {                                                         \
        const uint64_t u = (uint64_t)((const U *)src)[i] << up;                                    \
        d[i] = sg ? (int64_t)u >> up : (int64_t)(u >> up);                                         \
    }                                                                                              \
    break;
    switch (vm_cell(t)) {
    case 1: LOAD(uint8_t)
    case 2: LOAD(uint16_t)
    case 4: LOAD(uint32_t)
    default: LOAD(uint64_t)
    }
}

FAST static void store_ints(vm_dtype t, size_t n, const int64_t *a, void *dst) {
    const uint64_t m = mask_of(vm_bits(t));
#define STORE(U, expr)                                                                             \
    LANES for (size_t i = 0; i < n; i++)((U *)dst)[i] = (U)(expr);                                 \
    break;
    if (t == T_bool) {
        for (size_t i = 0; i < n; i++) ((uint8_t *)dst)[i] = a[i] != 0;
        return;
    }
    switch (vm_cell(t)) {
    case 1: STORE(uint8_t, (uint64_t)a[i] & m)
    case 2: STORE(uint16_t, a[i])
    case 4: STORE(uint32_t, a[i])
    default: STORE(uint64_t, a[i])
    }
}

/// Truncates and saturates to integers of at most 32 bits.
FAST static void ints_of_doubles(vm_dtype t, size_t n, const double *a, int64_t *d) {
    const bool sg = vm_dtypes[t].kind == K_INT;
    const unsigned b = vm_bits(t);
    const double hi = (double)mask_of(b - sg), lo = sg ? -(double)mask_of(b - 1) - 1 : 0;
    for (size_t i = 0; i < n; i++) {
        const double x = a[i] == a[i] ? a[i] : 0;
        d[i] = (int64_t)(x < lo ? lo : x > hi ? hi : x);
    }
}

/// One chunk by native loops, or false. Rounding is to nearest and does not saturate.
static bool cast_chunk(vm_dtype from, vm_dtype to, size_t n, const void *src, void *dst) {
    float f[CHUNK];
    double d[CHUNK];
    int64_t k[CHUNK];
    const bool from_float = vm_is_float(from), to_float = vm_is_float(to);
    if (!from_float && !to_float) {
        load_ints(from, n, src, k);
        store_ints(to, n, k, dst);
        return true;
    }
    if (to_float) {
        if (to != T_f16 && to != T_bf16 && to != T_f32) return false;
        if (fits_f32(from)) {
            vm_bulk_to_f32(from, n, src, f);
            if (to == T_f16) f16_codes(n, f, NULL, NULL, dst);
            else if (to == T_bf16) bf16_codes(n, f, NULL, NULL, dst);
            else f32_codes(n, f, NULL, NULL, dst);
            return true;
        }
        if (from == T_u64 || from == T_i64) return false; // a double would round first
        vm_bulk_to_f64(from, n, src, d);
        if (to == T_f16) f16_from_double(n, d, NULL, NULL, dst);
        else if (to == T_bf16) bf16_from_double(n, d, NULL, NULL, dst);
        else f32_from_double(n, d, NULL, NULL, dst);
        return true;
    }
    if (vm_bits(to) > 32 || to == T_bool) return false;
    vm_bulk_to_f64(from, n, src, d);
    ints_of_doubles(to, n, d, k);
    store_ints(to, n, k, dst);
    return true;
}

void vm_bulk_cast(vm_dtype from, vm_dtype to, size_t n, const void *src, void *dst, vm_rounding r) {
    const unsigned wf = vm_cell(from), wt = vm_cell(to);
    if (n == 0) return;
    const bool plain = !r.offset && !(r.numbers && vm_has_numbers(from)) &&
                       (!vm_is_float(to) || (r.round == R_NEAREST && !r.saturate));
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t m = n - at < CHUNK ? n - at : CHUNK;
        const char *s = (const char *)src + at * wf;
        char *d = (char *)dst + at * wt;
        if (from == to) memmove(d, s, m * wf);
        else if (!plain || !cast_chunk(from, to, m, s, d))
            for (size_t i = 0; i < m; i++)
                cell_put(wt, d, i, vm_cast(from, to, cell_get(wf, s, i), r));
    }
}
