// SPDX-License-Identifier: Apache-2.0
// Addition to sad, of integers and floats: one row of a table for each operation and type. Directed
// roundings run the same loop with the host's rounding set.
#include "runtime/vgpu/alu.h"

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

// ---- integers -----------------------------------------------------------------------------------
// Operations that differ by width only.
#define WIDTHS(OP)                                                                                 \
    OP(16, uint32_t, VGA_EXEC32, 0xffffu)                                                          \
    OP(32, uint32_t, VGA_EXEC32, 0xffffffffu)                                                      \
    OP(64, uint64_t, VGA_EXEC64, UINT64_MAX)
#define W_OPS(bits, T, EXEC, m)                                                                    \
    EXEC(add_##bits, (a[l] + b[l]) & m)                                                            \
    EXEC(sub_##bits, (a[l] - b[l]) & m)                                                            \
    EXEC(mul_##bits, (a[l] * b[l]) & m)                                                            \
    EXEC(mad_##bits, (a[l] * b[l] + c[l]) & m)                                                     \
    EXEC(neg_##bits, ((T)0 - a[l]) & m)
WIDTHS(W_OPS)

// Operations that read numbers: suffix, number, unsigned of its size, wider number, its unsigned.
#define NUMBERS(OP)                                                                                \
    OP(u16, uint16_t, uint16_t, uint32_t, uint32_t, VGA_EXEC32, 16)                                \
    OP(s16, int16_t, uint16_t, int32_t, uint32_t, VGA_EXEC32, 16)                                  \
    OP(u32, uint32_t, uint32_t, uint64_t, uint64_t, VGA_EXEC32, 32)                                \
    OP(s32, int32_t, uint32_t, int64_t, uint64_t, VGA_EXEC32, 32)                                  \
    OP(u64, uint64_t, uint64_t, u128, u128, VGA_EXEC64, 64)                                        \
    OP(s64, int64_t, uint64_t, s128, u128, VGA_EXEC64, 64)

#define N_OPS(s, T, U, W, UW, EXEC, bits)                                                          \
    static VGA_INLINE U hi_##s(T x, T y) {                                                         \
        return (U)((UW)((W)x * (W)y) >> bits);                                                     \
    }                                                                                              \
    static VGA_INLINE U div_1_##s(T x, T y) {                                                      \
        if (y == 0) return (U) ~(U)0;                                                              \
        if ((T)-1 < 0 && y == (T)-1) return (U)((UW)0 - (UW)(U)x);                                 \
        return (U)(x / y);                                                                         \
    }                                                                                              \
    static VGA_INLINE U rem_1_##s(T x, T y) {                                                      \
        if (y == 0) return (U) ~(U)0; /* what GPUs make of it */                                   \
        if ((T)-1 < 0 && y == (T)-1) return 0;                                                     \
        return (U)(x % y);                                                                         \
    }                                                                                              \
    EXEC(mulhi_##s, hi_##s((T)a[l], (T)b[l]))                                                      \
    EXEC(madhi_##s, (U)(hi_##s((T)a[l], (T)b[l]) + c[l]))                                          \
    EXEC(div_##s, div_1_##s((T)a[l], (T)b[l]))                                                     \
    EXEC(rem_##s, rem_1_##s((T)a[l], (T)b[l]))                                                     \
    EXEC(min_##s, (U)((T)a[l] < (T)b[l] ? a[l] : b[l]))                                            \
    EXEC(max_##s, (U)((T)a[l] > (T)b[l] ? a[l] : b[l]))                                            \
    EXEC(abs_##s, (U)((T)a[l] < 0 ? (U)((UW)0 - (UW)a[l]) : (U)a[l]))                              \
    EXEC(sad_##s, (U)(((T)a[l] > (T)b[l] ? a[l] - b[l] : b[l] - a[l]) + c[l]))
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtype-limits"
#endif
NUMBERS(N_OPS)
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

// The wide product of 16- and 32-bit numbers; z has the product's width.
VGA_EXEC32(mulwide_u16, (uint32_t)(uint16_t)a[l] * (uint16_t)b[l])
VGA_EXEC32(mulwide_s16, (uint32_t)((int32_t)(int16_t)a[l] * (int16_t)b[l]))
VGA_EXEC32(madwide_u16, (uint32_t)(uint16_t)a[l] * (uint16_t)b[l] + c[l])
VGA_EXEC32(madwide_s16, (uint32_t)((int32_t)(int16_t)a[l] * (int16_t)b[l]) + c[l])
#define WIDE(name, expr) VGA_EXEC(name, uint64_t, VG_ROW64, uint32_t, VG_ROW32, expr)
#define Z64 (VG_ROW64(w, in->s[2])[l])
WIDE(mulwide_u32, (uint64_t)a[l] * b[l])
WIDE(mulwide_s32, (uint64_t)((int64_t)(int32_t)a[l] * (int32_t)b[l]))
WIDE(madwide_u32, (uint64_t)a[l] * b[l] + Z64)
WIDE(madwide_s32, (uint64_t)((int64_t)(int32_t)a[l] * (int32_t)b[l]) + Z64)

static VGA_INLINE uint32_t clamp32(int64_t x) {
    return (uint32_t)(int32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}
VGA_EXEC32(addsat_s32, clamp32((int64_t)(int32_t)a[l] + (int32_t)b[l]))
VGA_EXEC32(subsat_s32, clamp32((int64_t)(int32_t)a[l] - (int32_t)b[l]))
VGA_EXEC32(madhisat_s32,
           clamp32((int64_t)(int32_t)hi_s32((int32_t)a[l], (int32_t)b[l]) + (int32_t)c[l]))
VGA_EXEC32(minrelu_s32, (uint32_t)((int32_t)a[l] < (int32_t)b[l] ? ((int32_t)a[l] < 0 ? 0 : a[l])
                                                                 : ((int32_t)b[l] < 0 ? 0 : b[l])))
VGA_EXEC32(maxrelu_s32, (uint32_t)((int32_t)a[l] > (int32_t)b[l] ? ((int32_t)a[l] < 0 ? 0 : a[l])
                                                                 : ((int32_t)b[l] < 0 ? 0 : b[l])))

static VGA_INLINE uint64_t p24u(uint32_t x, uint32_t y) {
    return (uint64_t)(x & 0xffffff) * (y & 0xffffff);
}
static VGA_INLINE int32_t s24(uint32_t x) {
    return (int32_t)(x << 8) >> 8;
}
static VGA_INLINE uint64_t p24s(uint32_t x, uint32_t y) {
    return (uint64_t)((int64_t)s24(x) * s24(y));
}
VGA_EXEC32(mul24lo_u32, p24u(a[l], b[l]))
VGA_EXEC32(mul24lo_s32, p24s(a[l], b[l]))
VGA_EXEC32(mul24hi_u32, p24u(a[l], b[l]) >> 16)
VGA_EXEC32(mul24hi_s32, p24s(a[l], b[l]) >> 16)
VGA_EXEC32(mad24lo_u32, (uint32_t)p24u(a[l], b[l]) + c[l])
VGA_EXEC32(mad24lo_s32, (uint32_t)p24s(a[l], b[l]) + c[l])
VGA_EXEC32(mad24hi_u32, (uint32_t)(p24u(a[l], b[l]) >> 16) + c[l])
VGA_EXEC32(mad24hi_s32, (uint32_t)(p24s(a[l], b[l]) >> 16) + c[l])
VGA_EXEC32(mad24hisat_s32,
           clamp32((int64_t)(int32_t)(uint32_t)(p24s(a[l], b[l]) >> 16) + (int32_t)c[l]))

// Two 16-bit numbers in a word.
#define LO(r) ((r)[l] & 0xffffu)
#define HI(r) ((r)[l] >> 16)
#define PAIR(lo, hi) (((uint32_t)(lo)&0xffffu) | (uint32_t)(hi) << 16)
#define PICK(T, cmp, x, y) ((T)(x)cmp(T)(y) ? (x) : (y))
static VGA_INLINE uint32_t relu16(uint32_t x) {
    return x & 0x8000u ? 0 : x;
}
VGA_EXEC32(add_x2, PAIR(LO(a) + LO(b), HI(a) + HI(b)))
VGA_EXEC32(min_u16x2, PAIR(PICK(uint16_t, <, LO(a), LO(b)), PICK(uint16_t, <, HI(a), HI(b))))
VGA_EXEC32(max_u16x2, PAIR(PICK(uint16_t, >, LO(a), LO(b)), PICK(uint16_t, >, HI(a), HI(b))))
VGA_EXEC32(min_s16x2, PAIR(PICK(int16_t, <, LO(a), LO(b)), PICK(int16_t, <, HI(a), HI(b))))
VGA_EXEC32(max_s16x2, PAIR(PICK(int16_t, >, LO(a), LO(b)), PICK(int16_t, >, HI(a), HI(b))))
VGA_EXEC32(minrelu_s16x2,
           PAIR(relu16(PICK(int16_t, <, LO(a), LO(b))), relu16(PICK(int16_t, <, HI(a), HI(b)))))
VGA_EXEC32(maxrelu_s16x2,
           PAIR(relu16(PICK(int16_t, >, LO(a), LO(b))), relu16(PICK(int16_t, >, HI(a), HI(b)))))

// ---- floats -------------------------------------------------------------------------------------
// Each operation three times: plain, flushing subnormals, and with whatever flags `sub` has.

#define F32(name, expr)                                                                            \
    VGA_F32(name##_f32, 0, expr)                                                                   \
    VGA_F32(name##_ftz_f32, VGA_FTZ, expr)                                                         \
    VGA_F32(name##_any_f32, in->sub, expr)

/// The smaller (or larger) of two codes of numbers x and y: NaN loses unless .NaN; -0 below +0.
#define PICKER(bits, T, F, nan_code, sign_bit)                                                     \
    static VGA_INLINE T pick##bits(F x, F y, T ux, T uy, bool largest, unsigned fl) {              \
        const T sx = ux & (T)sign_bit, sy = uy & (T)sign_bit;                                      \
        const bool xn = x != x, yn = y != y;                                                       \
        if (fl & VGA_XORSIGN) {                                                                    \
            x = x < 0 ? -x : x, y = y < 0 ? -y : y;                                                \
            ux &= (T) ~(T)sign_bit, uy &= (T) ~(T)sign_bit;                                        \
        }                                                                                          \
        const bool below = (x < y) | ((x == y) & ((ux & (T)sign_bit) != 0));                       \
        T r = below != largest ? ux : uy;                                                          \
        if (fl & VGA_XORSIGN) r = (T)((r & (T) ~(T)sign_bit) | (sx ^ sy));                         \
        const T one = (fl & VGA_XORSIGN) ? (T)((xn ? uy : ux) | (sx ^ sy)) : xn ? uy : ux;         \
        r = (xn | yn) ? ((fl & VGA_NAN) || (xn & yn) ? (T)nan_code : one) : r;                     \
        return r;                                                                                  \
    }
PICKER(32, uint32_t, float, VGA_NAN32, 0x80000000u)
PICKER(64, uint64_t, double, 0x7fffffffffffffffull, 0x8000000000000000ull)
PICKER(16, uint32_t, float, VGA_NAN16, 0x8000u)

/// |x| > 2^126 makes the approximate quotient a zero: its reciprocal is subnormal and lost.
static VGA_INLINE float div_approx(float x, float y, unsigned fl) {
    const float m = y < 0 ? -y : y;
    const float q = x / y;
    return (fl & VGA_APPROX) && m > 0x1p126f && m < (float)INFINITY
               ? (x - x != 0 ? vga_f(VGA_NAN32) : vga_f(vga_u(q) & 0x80000000u))
               : q;
}

F32(add, vga_out32(VGA_X + VGA_Y, fl))
F32(sub, vga_out32(VGA_X - VGA_Y, fl))
F32(mul, vga_out32(VGA_X *VGA_Y, fl))
F32(fma, vga_out32(fmaf(VGA_X, VGA_Y, VGA_Z), fl))
F32(div, vga_out32(div_approx(VGA_X, VGA_Y, fl), fl))
F32(min, pick32(VGA_X, VGA_Y, vga_u(VGA_X), vga_u(VGA_Y), false, fl))
F32(max, pick32(VGA_X, VGA_Y, vga_u(VGA_X), vga_u(VGA_Y), true, fl))
F32(abs, vga_u(VGA_X) & 0x7fffffffu)
F32(neg, vga_u(VGA_X) ^ 0x80000000u)

#define DX vga_d(a[l])
#define DY vga_d(b[l])
#define DZ vga_d(c[l])
/// f64 keeps the NaN of its first operand that is one, made quiet, as the hardware may.
static VGA_INLINE uint64_t out64(double r, uint64_t x, uint64_t y, uint64_t z) {
    const uint64_t quiet = 0x8000000000000ull;
    const double dx = vga_d(x), dy = vga_d(y), dz = vga_d(z);
    const uint64_t nan = dx != dx   ? x | quiet
                         : dy != dy ? y | quiet
                         : dz != dz ? z | quiet
                                    : 0xfff8000000000000ull;
    return r != r ? nan : vga_du(r);
}
VGA_EXEC64(add_f64, out64(DX + DY, a[l], b[l], b[l]))
VGA_EXEC64(sub_f64, out64(DX - DY, a[l], b[l], b[l]))
VGA_EXEC64(mul_f64, out64(DX *DY, a[l], b[l], b[l]))
VGA_EXEC64(fma_f64, out64(fma(DX, DY, DZ), a[l], b[l], c[l]))
VGA_EXEC64(div_f64, out64(DX / DY, a[l], b[l], b[l]))
/// Of two NaNs the second, made quiet.
static VGA_INLINE uint64_t pick_f64(uint64_t x, uint64_t y, bool largest) {
    const double dx = vga_d(x), dy = vga_d(y);
    return (dx != dx) & (dy != dy) ? y | 0x8000000000000ull : pick64(dx, dy, x, y, largest, 0);
}
VGA_EXEC64(min_f64, pick_f64(a[l], b[l], false))
VGA_EXEC64(max_f64, pick_f64(a[l], b[l], true))
VGA_EXEC64(abs_f64, a[l] & 0x7fffffffffffffffull)
VGA_EXEC64(neg_f64, a[l] ^ 0x8000000000000000ull)

// Halves: the expression is in x, y, z (codes, in the low 16 bits) and fl.
static VGA_INLINE uint32_t flush_f16(uint32_t h) {
    return h & 0x7c00u ? h : h & 0x8000u;
}
static VGA_INLINE uint32_t in_f16(uint32_t h, unsigned fl) {
    return fl & VGA_FTZ ? flush_f16(h) : h;
}
static VGA_INLINE uint32_t in_bf16(uint32_t h, unsigned fl) {
    (void)fl;
    return h;
}
static VGA_INLINE uint32_t after(uint32_t h, unsigned fl, uint32_t one, uint32_t inf) {
    const bool neg = h & 0x8000u, nan = (h & 0x7fffu) > inf;
    if (fl & VGA_SAT) h = neg || nan ? 0 : h > one ? one : h;
    if (fl & VGA_RELU) h = neg && !nan ? 0 : h;
    return h;
}
static VGA_INLINE uint32_t out_f16(uint32_t h, unsigned fl) {
    return after(fl & VGA_FTZ ? flush_f16(h) : h, fl, 0x3c00u, 0x7c00u);
}
static VGA_INLINE uint32_t out_bf16(uint32_t h, unsigned fl) {
    return after(h, fl, 0x3f80u, 0x7f80u);
}

#define HALF_ONE(name, t, expr)                                                                    \
    static VGA_INLINE uint32_t name##_1_##t(uint32_t x, uint32_t y, uint32_t z, unsigned fl) {     \
        x = in_##t(x, fl), y = in_##t(y, fl), z = in_##t(z, fl);                                   \
        (void)y, (void)z;                                                                          \
        return out_##t(expr, fl);                                                                  \
    }                                                                                              \
    VGA_F32(name##_##t, 0, name##_1_##t(LO(a), LO(b), LO(c), fl))                                  \
    VGA_F32(name##_any_##t, in->sub, name##_1_##t(LO(a), LO(b), LO(c), fl))                        \
    VGA_F32(name##_##t##x2, 0,                                                                     \
            PAIR(name##_1_##t(LO(a), LO(b), LO(c), fl), name##_1_##t(HI(a), HI(b), HI(c), fl)))    \
    VGA_F32(name##_any_##t##x2, in->sub,                                                           \
            PAIR(name##_1_##t(LO(a), LO(b), LO(c), fl), name##_1_##t(HI(a), HI(b), HI(c), fl)))
#define HALVES(OP)                                                                                 \
    OP(f16, vga_f16, vga_to_f16)                                                                   \
    OP(bf16, vga_bf16, vga_to_bf16)
#define H_OPS(t, of, to)                                                                           \
    HALF_ONE(add, t, to(of(x) + of(y)))                                                            \
    HALF_ONE(sub, t, to(of(x) - of(y)))                                                            \
    HALF_ONE(mul, t, to(of(x) * of(y)))                                                            \
    HALF_ONE(fma, t, to(vga_fma_half(of(x), of(y), of(z))))                                        \
    HALF_ONE(min, t, pick16(of(x), of(y), x, y, false, fl))                                        \
    HALF_ONE(max, t, pick16(of(x), of(y), x, y, true, fl))                                         \
    HALF_ONE(abs, t, x & 0x7fffu)                                                                  \
    HALF_ONE(neg, t, x ^ 0x8000u)
HALVES(H_OPS)

// ---- the table ----------------------------------------------------------------------------------

/// How many bits wide are the sources, the addend and the result, by form.
typedef struct {
    const char *op, *form; // form: lo, hi, wide, "" for none
    uint8_t type, sources;
    uint8_t allowed; // flags that it may have
    bool rounds;     // rn rz rm rp
    vg_exec *run, *ftz, *any;
} row;

#define R_INT(op, form, t, n, f) {op, form, PTX_##t, n, 0, false, f, NULL, NULL},
#define R_WIDTH(t, bits)                                                                           \
    R_INT("add", "", t, 2, add_##bits)                                                             \
    R_INT("sub", "", t, 2, sub_##bits)                                                             \
    R_INT("mul", "lo", t, 2, mul_##bits)                                                           \
    R_INT("mul", "hi", t, 2, mulhi_##t)                                                            \
    R_INT("mad", "lo", t, 3, mad_##bits)                                                           \
    R_INT("mad", "hi", t, 3, madhi_##t)                                                            \
    R_INT("div", "", t, 2, div_##t)                                                                \
    R_INT("rem", "", t, 2, rem_##t)                                                                \
    R_INT("min", "", t, 2, min_##t)                                                                \
    R_INT("max", "", t, 2, max_##t)                                                                \
    R_INT("sad", "", t, 3, sad_##t)                                                                \
    R_INT("neg", "", t, 1, neg_##bits)                                                             \
    R_INT("abs", "", t, 1, abs_##t)
#define R_WIDE(t)                                                                                  \
    R_INT("mul", "wide", t, 2, mulwide_##t)                                                        \
    R_INT("mad", "wide", t, 3, madwide_##t)
#define R_24(t)                                                                                    \
    R_INT("mul24", "lo", t, 2, mul24lo_##t)                                                        \
    R_INT("mul24", "hi", t, 2, mul24hi_##t)                                                        \
    R_INT("mad24", "lo", t, 3, mad24lo_##t)                                                        \
    R_INT("mad24", "hi", t, 3, mad24hi_##t)
#define R_F32(op, n, flags, rounds, f)                                                             \
    {op, "", PTX_f32, n, flags, rounds, f##_f32, f##_ftz_f32, f##_any_f32},
#define R_F64(op, n, rounds, f) {op, "", PTX_f64, n, 0, rounds, f##_f64, NULL, NULL},
#define R_HALF(op, n, fl16, flb, rounds, f)                                                        \
    {op, "", PTX_f16, n, fl16, rounds, f##_f16, NULL, f##_any_f16},                                \
        {op, "", PTX_f16x2, n, fl16, rounds, f##_f16x2, NULL, f##_any_f16x2},                      \
        {op, "", PTX_bf16, n, flb, rounds, f##_bf16, NULL, f##_any_bf16},                          \
        {op, "", PTX_bf16x2, n, flb, rounds, f##_bf16x2, NULL, f##_any_bf16x2},

enum { FS = VGA_FTZ | VGA_SAT, MM = VGA_FTZ | VGA_NAN | VGA_XORSIGN };
static const row rows[] = {
    R_WIDTH(u16, 16) R_WIDTH(s16, 16) R_WIDTH(u32, 32) R_WIDTH(s32, 32) R_WIDTH(u64, 64)
        R_WIDTH(s64, 64) R_WIDE(u16) R_WIDE(s16) R_WIDE(u32) R_WIDE(s32) R_24(u32) R_24(s32)
            R_INT("add", "", u16x2, 2, add_x2) R_INT("add", "", s16x2, 2, add_x2)
                R_INT("min", "", u16x2, 2, min_u16x2) R_INT("max", "", u16x2, 2, max_u16x2)
                    R_INT("min", "", s16x2, 2, min_s16x2) R_INT("max", "", s16x2, 2, max_s16x2)
                        R_F32("add", 2, FS, true, add) R_F32("sub", 2, FS, true, sub)
                            R_F32("mul", 2, FS, true, mul) R_F32("fma", 3, FS, true, fma) R_F32(
                                "mad", 3, FS, true, fma) R_F32("div", 2, VGA_FTZ, true,
                                                               div) R_F32("min", 2, MM, false, min)
                                R_F32("max", 2, MM, false, max) R_F32("abs", 1, VGA_FTZ, false, abs)
                                    R_F32("neg", 1, VGA_FTZ, false, neg) R_F64("add", 2, true, add)
                                        R_F64("sub", 2, true, sub) R_F64("mul", 2, true, mul) R_F64(
                                            "fma", 3, true, fma) R_F64("mad", 3, true, fma)
                                            R_F64("div", 2, true, div) R_F64("min", 2, false, min)
                                                R_F64("max", 2, false, max) R_F64("abs", 1, false,
                                                                                  abs)
                                                    R_F64("neg", 1, false, neg) R_HALF(
                                                        "add", 2, FS, 0, true,
                                                        add) R_HALF("sub", 2, FS, 0, true, sub)
                                                        R_HALF("mul", 2, FS, 0, true, mul) R_HALF(
                                                            "fma", 3, FS | VGA_RELU, VGA_RELU, true,
                                                            fma) R_HALF("min", 2, MM,
                                                                        VGA_NAN | VGA_XORSIGN,
                                                                        false, min)
                                                            R_HALF("max", 2, MM,
                                                                   VGA_NAN | VGA_XORSIGN, false,
                                                                   max) R_HALF("abs", 1, VGA_FTZ, 0,
                                                                               false, abs)
                                                                R_HALF("neg", 1, VGA_FTZ, 0, false,
                                                                       neg)};

/// Variants that clamp: same operands as the row without.
static const struct {
    const char *op, *form, *mod;
    uint8_t type;
    vg_exec *run;
} variants[] = {
    {"add", "", "sat", PTX_s32, addsat_s32},       {"sub", "", "sat", PTX_s32, subsat_s32},
    {"mad", "hi", "sat", PTX_s32, madhisat_s32},   {"mad24", "hi", "sat", PTX_s32, mad24hisat_s32},
    {"min", "", "relu", PTX_s32, minrelu_s32},     {"max", "", "relu", PTX_s32, maxrelu_s32},
    {"min", "", "relu", PTX_s16x2, minrelu_s16x2}, {"max", "", "relu", PTX_s16x2, maxrelu_s16x2},
};

static uint8_t class_of(int type) {
    switch (type) {
    case PTX_f32:
        return VG_C_float;
    case PTX_f64:
        return VG_C_double;
    case PTX_f16:
    case PTX_f16x2:
    case PTX_bf16:
    case PTX_bf16x2:
        return VG_C_half;
    default:
        return VG_C_int;
    }
}

static int widened(int t) {
    return t == PTX_u16 ? PTX_u32 : t == PTX_s16 ? PTX_s32 : t == PTX_u32 ? PTX_u64 : PTX_s64;
}

void vgd_arith(vg_decoder *d, vg_inst *out) {
    if (vgd_mod(d, "cc")) {
        vgd_carry(d, out);
        return;
    }
    static const char *const forms[] = {"lo", "hi", "wide", NULL};
    const int type = vgd_type(d, 0), rounding = vga_rounding(d), form_at = vgd_one_of(d, forms);
    const char *const form = form_at < 0 ? "" : forms[form_at];
    const char *const op = d->in->op;
    const row *r = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !r; i++)
        if (rows[i].type == type && !strcmp(rows[i].op, op) && !strcmp(rows[i].form, form))
            r = &rows[i];
    if (!r) {
        vgd_fail(d, "%s has no form for these types", op);
        return;
    }
    if (!vgd_count(d, r->sources + 1u, r->sources + 1u)) return;
    out->cls = class_of(type);
    out->run = r->run;

    unsigned flags = 0;
    static const struct {
        const char *mod;
        uint8_t flag;
    } known[] = {{"ftz", VGA_FTZ}, {"sat", VGA_SAT}, {"relu", VGA_RELU}, {"NaN", VGA_NAN}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((r->allowed & known[i].flag) && vgd_mod(d, known[i].mod)) flags |= known[i].flag;
    if ((r->allowed & VGA_XORSIGN) && vgd_mod(d, "xorsign")) {
        if (!vgd_mod(d, "abs")) vgd_fail(d, "xorsign goes with abs");
        flags |= VGA_XORSIGN;
    }
    if (!strcmp(op, "div") && type == PTX_f32) {
        if (vgd_mod(d, "approx"))
            flags |= VGA_APPROX;
        else
            vgd_mod(d, "full");
    }
    out->sub = (uint8_t)flags;
    if (flags) out->run = flags == VGA_FTZ && r->ftz ? r->ftz : r->any;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        if (variants[i].type == type && !strcmp(variants[i].op, op) &&
            !strcmp(variants[i].form, form) && vgd_mod(d, variants[i].mod))
            out->run = variants[i].run;
    }
    if (rounding >= 0 && !r->rounds) vgd_fail(d, "%s of this type does not round", op);
    if (rounding > 0 && out->cls == VG_C_half) vgd_fail(d, "halves round to nearest only");

    const bool wide = form_at == 2;
    vga_sources(d, out, 1, wide ? 2 : r->sources, type);
    if (wide)
        out->s[2] = r->sources == 3 ? vgd_source(d, &d->in->opnd[3], widened(type)) : out->s[0];
    out->d[0] = vga_result(d, &d->in->opnd[0], wide ? widened(type) : type);
    vga_directed(d, out, rounding);
}

// ---- carry --------------------------------------------------------------------------------------
// The carry flag is a row of the kernel: 0 or 1 a lane. add.cc, sub.cc, mad.cc come here too.

/// x * y, low or high half, of the type's width.
static VGA_INLINE uint64_t product(uint64_t x, uint64_t y, unsigned form, bool wide,
                                   bool is_signed) {
    if (form == 0) return wide ? x * y : (uint32_t)(x * y);
    if (wide) return is_signed ? hi_s64((int64_t)x, (int64_t)y) : hi_u64(x, y);
    return is_signed ? hi_s32((int32_t)(uint32_t)x, (int32_t)(uint32_t)y)
                     : hi_u32((uint32_t)x, (uint32_t)y);
}

enum { C_ADD, C_SUB, C_MAD };
enum { C_IN = 1, C_OUT = 2, C_WIDE = 4, C_SIGNED = 8, C_HIGH = 16 };

static enum vg_next ex_carry(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const unsigned fl = in->sub2;
    const bool wide = fl & C_WIDE;
    uint32_t *const cf = VG_ROW32(w, in->s[3]);
    for (int l = 0; l < 32; l++) {
        if (!(mask & vga_bit[l])) continue;
        uint64_t v[3];
        for (int i = 0; i < 3; i++)
            v[i] = wide ? VG_ROW64(w, in->s[i])[l] : VG_ROW32(w, in->s[i])[l];
        uint64_t x = v[0], y = v[1];
        if (in->sub == C_MAD)
            x = product(v[0], v[1], fl & C_HIGH ? 1 : 0, wide, fl & C_SIGNED), y = v[2];
        const uint64_t cin = fl & C_IN ? cf[l] & 1 : 0;
        u128 r;
        const u128 top = (u128)1 << (wide ? 64 : 32);
        if (in->sub == C_SUB)
            r = top + x - y - (fl & C_IN ? cin : 0); // the flag is the borrow
        else
            r = (u128)x + y + cin;
        const bool over = (r & top) != 0;
        if (fl & C_OUT) cf[l] = in->sub == C_SUB ? !over : over;
        if (wide)
            VG_ROW64(w, in->d[0])[l] = (uint64_t)r;
        else
            VG_ROW32(w, in->d[0])[l] = (uint32_t)r;
    }
    return VG_NEXT;
}

/// The kernel's carry row, made by the first who asks.
static vg_row carry_row(vg_decoder *d) {
    if (!d->kernel->carry) d->kernel->carry = vgd_scratch(d, false) + 1;
    return d->kernel->carry - 1;
}

void vgd_carry(vg_decoder *d, vg_inst *out) {
    static const char *const forms[] = {"lo", "hi", NULL};
    const int type = vgd_type(d, 0), form = vgd_one_of(d, forms);
    const char *const op = d->in->op;
    out->sub = op[0] == 'm' ? C_MAD : op[0] == 's' ? C_SUB : C_ADD;
    const bool with_in = op[strlen(op) - 1] == 'c';
    unsigned fl = with_in ? C_IN : 0;
    if (vgd_mod(d, "cc")) fl |= C_OUT;
    if (type != PTX_u32 && type != PTX_s32 && type != PTX_u64 && type != PTX_s64) {
        vgd_fail(d, "%s with carry wants 32 or 64 bits", op);
        return;
    }
    if ((out->sub == C_MAD) != (form >= 0)) vgd_fail(d, "lo or hi goes with mad");
    if (form == 1) fl |= C_HIGH;
    if (ptx_types[type].bits == 64) fl |= C_WIDE;
    if (ptx_types[type].kind == PTX_K_INT) fl |= C_SIGNED;
    const uint32_t n = out->sub == C_MAD ? 3 : 2;
    if (!vgd_count(d, n + 1, n + 1)) return;
    out->sub2 = (uint8_t)fl;
    out->cls = VG_C_int;
    out->run = ex_carry;
    vga_sources(d, out, 1, n, type);
    out->s[3] = carry_row(d);
    out->d[0] = vga_result(d, &d->in->opnd[0], type);
}
