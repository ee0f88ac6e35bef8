// SPDX-License-Identifier: Apache-2.0
// Private to the arithmetic executors of the virtual GPU: loops over 32 lanes that vectorise, and the
// numbers they share. An executor is written as one expression of X, Y and Z, the sources of a lane.
#pragma once
#include <math.h>
#include <string.h>
#include "runtime/vgpu/exec.h"

#if defined(__GNUC__)
#define VGA_INLINE inline __attribute__((always_inline))
#define VGA_IVDEP _Pragma("GCC ivdep")
#else
#define VGA_INLINE inline
#define VGA_IVDEP
#endif
// Executors exist twice on x86-64: for every processor, and for those with AVX2 and FMA.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__OPTIMIZE__)
#define VGA_FAST __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define VGA_FAST
#endif

#define VGA_ALL UINT32_MAX
static const uint32_t vga_bit[32] = {
    1u,       1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
    1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
    1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
    1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};

/// d[l] = expr for the lanes of mask; rows may be equal, never partly overlap.
#define VGA_EACH(d, mask, T, expr)                                                                 \
    do {                                                                                           \
        if ((mask) == VGA_ALL) {                                                                   \
            VGA_IVDEP                                                                              \
            for (int l = 0; l < 32; l++) (d)[l] = (T)(expr);                                       \
        } else {                                                                                   \
            VGA_IVDEP                                                                              \
            for (int l = 0; l < 32; l++) {                                                         \
                const T vga_v = (T)(expr);                                                         \
                (d)[l] = (mask)&vga_bit[l] ? vga_v : (d)[l];                                       \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/// An executor of up to three sources whose rows are ST and whose result row is DT.
#define VGA_EXEC(name, DT, DROW, ST, SROW, expr)                                                   \
    VGA_FAST static enum vg_next name(vg_warp *w, const vg_inst *in, uint32_t mask) {              \
        const ST *const a = SROW(w, in->s[0]), *const b = SROW(w, in->s[1]);                       \
        const ST *const c = SROW(w, in->s[2]);                                                     \
        DT *const d = DROW(w, in->d[0]);                                                           \
        const unsigned sub = in->sub, sub2 = in->sub2, sub3 = in->sub3;                            \
        (void)a, (void)b, (void)c, (void)sub, (void)sub2, (void)sub3;                              \
        VGA_EACH(d, mask, DT, expr);                                                               \
        return VG_NEXT;                                                                            \
    }
#define VGA_EXEC32(name, expr) VGA_EXEC(name, uint32_t, VG_ROW32, uint32_t, VG_ROW32, expr)
#define VGA_EXEC64(name, expr) VGA_EXEC(name, uint64_t, VG_ROW64, uint64_t, VG_ROW64, expr)

/// Result rows a warp may not want (_): a place to write that nobody reads.
static inline void vga_set_pred(vg_warp *w, vg_row r, uint32_t mask, uint32_t bits) {
    if (r == VG_NO_ROW) return;
    VG_PRED(w, r) = (VG_PRED(w, r) & ~mask) | (bits & mask);
}

// ---- words and floats ---------------------------------------------------------------------------

static VGA_INLINE float vga_f(uint32_t u) {
    union { uint32_t u; float f; } x = {u};
    return x.f;
}
static VGA_INLINE uint32_t vga_u(float f) {
    union { float f; uint32_t u; } x = {f};
    return x.u;
}
static VGA_INLINE double vga_d(uint64_t u) { return vm_from_bits(u); }
static VGA_INLINE uint64_t vga_du(double d) { return vm_bits_of(d); }

/// Flags of float executors.
enum { VGA_FTZ = 1, VGA_SAT = 2, VGA_RELU = 4, VGA_NAN = 8, VGA_XORSIGN = 16, VGA_APPROX = 32 };
#define VGA_NAN32 0x7fffffffu
#define VGA_NAN16 0x7fffu

static VGA_INLINE uint32_t vga_flush(uint32_t u) {
    return u & 0x7f800000u ? u : u & 0x80000000u;
}
static VGA_INLINE float vga_in32(uint32_t u, unsigned flags) {
    return vga_f(flags & VGA_FTZ ? vga_flush(u) : u);
}
/// The code of a result: flushed, clamped, NaN canonical.
static VGA_INLINE uint32_t vga_out32(float x, unsigned flags) {
    uint32_t u = vga_u(x);
    if (flags & VGA_FTZ) u = vga_flush(u);
    u = x != x ? VGA_NAN32 : u;
    if (flags & VGA_SAT) u = x > 0 ? (x < 1 ? u : 0x3f800000u) : 0;
    if (flags & VGA_RELU) u = x > 0 || x != x ? u : 0;
    return u;
}

/// Halves by bit arithmetic, so that loops of them vectorise; the same as vm_decode and vm_encode.
static VGA_INLINE float vga_f16(uint32_t h) {
    const uint32_t mag = (h & 0x7fffu) << 13, normal = mag + (112u << 23);
    // A subnormal: its digits below a power of two, which is taken away; slow numbers never occur.
    const uint32_t tiny = vga_u(vga_f(mag + (113u << 23)) - 0x1p-14f);
    uint32_t u = mag < 1u << 23 ? tiny : normal;
    u = mag >= 0x7c00u << 13 ? mag | 0x7f800000u : u;
    return vga_f(u | (h & 0x8000u) << 16);
}
static VGA_INLINE uint32_t vga_to_f16(float f) {
    const uint32_t u = vga_u(f), sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    // Adding 0.5 puts the unit in the last place where that of a subnormal half is.
    const uint32_t tiny = vga_u(vga_f(mag) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (mag - (112u << 23) + 0xfffu + (mag >> 13 & 1)) >> 13;
    uint32_t r = mag < 113u << 23 ? tiny : normal;
    r = mag >= 0x477ff000u ? 0x7c00u : r;
    r |= sign;
    return mag > 0x7f800000u ? VGA_NAN16 : r;
}
static VGA_INLINE float vga_bf16(uint32_t h) { return vga_f(h << 16); }
static VGA_INLINE uint32_t vga_to_bf16(float f) {
    const uint32_t u = vga_u(f);
    const uint32_t r = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (u & 0x7fffffffu) > 0x7f800000u ? VGA_NAN16 : r;
}

/// Eight-bit floats, scaled to the exponent range of f32; NaN apart.
static VGA_INLINE float vga_e4m3(uint32_t x) {
    const uint32_t mag = (x & 0x7f) << 20, normal = mag + (120u << 23);
    const uint32_t tiny = vga_u(vga_f(mag + (121u << 23)) - 0x1p-6f);
    uint32_t u = mag < 1u << 23 ? tiny : normal;
    u = (x & 0x7f) == 0x7f ? 0x7fc00000u : u;
    return vga_f(u | (x & 0x80) << 24);
}
static VGA_INLINE float vga_e5m2(uint32_t x) { return vga_f16((x & 0xff) << 8); }

/// x + y where the result, if inexact, has an odd last bit: rounding it again to fewer bits (by two or
/// more) is then as good as rounding once.
static VGA_INLINE double vga_add_odd(double x, double y) {
    const double s = x + y, t = s - x;
    const double err = (x - (s - t)) + (y - t);
    // The last bit becomes odd by a step away from zero if the error has the sign of s, else toward it.
    const uint64_t u = vga_du(s), even = ~u & 1, opposite = (u ^ vga_du(err)) >> 63;
    const uint64_t step = even - (opposite & even) * 2;
    const uint64_t v = u + step;
    return vga_d((err == err) & (err != 0) ? v : u);
}
/// A double as a float with an odd last bit unless exact.
static VGA_INLINE float vga_float_odd(double x) {
    const float f = (float)x;
    const double err = x - (double)f;
    const uint32_t u = vga_u(f), even = ~u & 1, opposite = (u ^ (uint32_t)(vga_du(err) >> 32)) >> 31;
    const uint32_t v = u + (even - (opposite & even) * 2);
    return vga_f((err == err) & (err != 0) ? v : u);
}
/// x * y + z rounded once, for halves of eight or eleven bits.
static VGA_INLINE float vga_fma_half(float x, float y, float z) {
    return vga_float_odd(vga_add_odd((double)x * (double)y, (double)z));
}

/// Vectors of the compiler, for what its loops do not find by themselves.
typedef uint16_t vga_v8h __attribute__((vector_size(16)));
typedef uint32_t vga_v4u __attribute__((vector_size(16)));
#define VGA_LOAD(T, p) (*(const T *)memcpy(&(T){0}, (p), sizeof(T)))
#define VGA_STORE(T, p, v)                                                                         \
    do {                                                                                           \
        const T v_ = (v);                                                                          \
        memcpy((p), &v_, sizeof v_);                                                               \
    } while (0)
/// Transposes eight rows of eight halves.
#define VGA_TRANSPOSE(x)                                                                           \
    for (int pass_ = 0; pass_ < 3; pass_++) {                                                      \
        vga_v8h y_[8];                                                                             \
        for (int i_ = 0; i_ < 4; i_++) {                                                           \
            y_[2 * i_] = __builtin_shufflevector((x)[i_], (x)[i_ + 4], 0, 8, 1, 9, 2, 10, 3, 11);  \
            y_[2 * i_ + 1] =                                                                       \
                __builtin_shufflevector((x)[i_], (x)[i_ + 4], 4, 12, 5, 13, 6, 14, 7, 15);         \
        }                                                                                          \
        for (int i_ = 0; i_ < 8; i_++) (x)[i_] = y_[i_];                                           \
    }

/// An executor of up to three f32 (or halves, in words); the expression may use the flags fl.
#define VGA_F32(name, flags, expr)                                                                  \
    VGA_FAST static enum vg_next name(vg_warp *w, const vg_inst *in, uint32_t mask) {              \
        const uint32_t *const a = VG_ROW32(w, in->s[0]), *const b = VG_ROW32(w, in->s[1]);         \
        const uint32_t *const c = VG_ROW32(w, in->s[2]);                                           \
        uint32_t *const d = VG_ROW32(w, in->d[0]);                                                 \
        const unsigned fl = (flags);                                                               \
        (void)a, (void)b, (void)c, (void)fl;                                                       \
        VGA_EACH(d, mask, uint32_t, expr);                                                         \
        return VG_NEXT;                                                                            \
    }
#define VGA_X vga_in32(a[l], fl)
#define VGA_Y vga_in32(b[l], fl)
#define VGA_Z vga_in32(c[l], fl)

// ---- decoding -----------------------------------------------------------------------------------

/// Sources s[0..n) from operands first, …; the rest repeat the first, so that their rows exist.
void vga_sources(vg_decoder *d, vg_inst *out, uint32_t first, uint32_t n, int type);
/// The result's row; `_` gets a row of its own.
vg_row vga_result(vg_decoder *d, const ptx_opnd *o, int type);
/// Predicate operand that may be a constant; *negated: !p.
vg_row vga_pred_source(vg_decoder *d, const ptx_opnd *o, bool *negated);
/// rn, rz, rm, rp among the modifiers: 0..3, -1: none.
int vga_rounding(vg_decoder *d);
/// Makes out run with the host rounding as `rounding` says (0: nearest, nothing to do).
void vga_directed(vg_decoder *d, vg_inst *out, int rounding);
bool vga_is(const vg_decoder *d, const char *op);
