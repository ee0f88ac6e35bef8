// SPDX-License-Identifier: Apache-2.0
// Reciprocals, roots, exponentials, logarithms, and classes of numbers. Approximate forms are
// computed in double by series that vectorise, and rounded once: far inside of the ulps that PTX
// allows.
#include "runtime/vgpu/alu.h"

// ---- functions of doubles
// -------------------------------------------------------------------------

/// 2^x for |x| up to 1000, to 40 bits; beyond that a number too large or too small for every float.
static VGA_INLINE double exp2_of(double x) {
    const double c = x < -1000 ? -1000 : x > 1000 ? 1000 : x;
    const double big = 0x1.8p52, n = (c + big) - big, f = c - n;
    static const double k[] = {1.0,
                               0x1.62e42fefa39efp-1,
                               0x1.ebfbdff82c58fp-3,
                               0x1.c6b08d704a0cp-5,
                               0x1.3b2ab6fba4e77p-7,
                               0x1.5d87fe78a6731p-10,
                               0x1.430912f86c787p-13,
                               0x1.ffcbfc588b0c7p-17,
                               0x1.62c0223a5c824p-20,
                               0x1.b5253d395e7c4p-24,
                               0x1.e4cf5158b8ecap-28};
    double r = k[10];
    r = r * f + k[9], r = r * f + k[8], r = r * f + k[7], r = r * f + k[6], r = r * f + k[5];
    r = r * f + k[4], r = r * f + k[3], r = r * f + k[2], r = r * f + k[1], r = r * f + k[0];
    // n + 1023 in the low bits of a double of fixed exponent is moved to the exponent's place.
    const uint64_t e = vga_du(n + (big + 1023)) << 52;
    return x != x ? x : r * vga_d(e);
}

/// log2 of a double that is no subnormal, to 45 bits.
static VGA_INLINE double log2_of(double x) {
    const uint64_t u = vga_du(x);
    const uint64_t shifted = u - 0x3fe6a09e667f3bcdull; // exponents change at sqrt(1/2)
    const uint64_t eb = shifted & 0xfff0000000000000ull;
    const double m = vga_d(u - eb);
    const uint64_t biased = ((eb >> 52) + 1024) & 0x7ff;
    const double e = vga_d(biased | 0x4330000000000000ull) - (0x1p52 + 1024);
    const double z = (m - 1) / (m + 1), z2 = z * z;
    double r = 1.0 / 17;
    r = r * z2 + 1.0 / 15, r = r * z2 + 1.0 / 13, r = r * z2 + 1.0 / 11, r = r * z2 + 1.0 / 9;
    r = r * z2 + 1.0 / 7, r = r * z2 + 1.0 / 5, r = r * z2 + 1.0 / 3, r = r * z2 + 1;
    const double y = e + r * z * 0x1.71547652b82fep1; // 2 / ln 2
    return !(x > 0) ? (x == 0 ? -(double)INFINITY : (double)NAN) : x == (double)INFINITY ? x : y;
}

static VGA_INLINE double tanh_of(double x) {
    const double m = x < 0 ? -x : x;
    const double big = 1 - 2 / (exp2_of(m * 0x1.71547652b82fep1) + 1);
    const double m2 = m * m, small = m * (1 - m2 * (1.0 / 3 - m2 * (2.0 / 15)));
    const double r = m < 0x1p-6 ? small : big;
    return x != x ? x : copysign(r, x);
}

// ---- f32
// ------------------------------------------------------------------------------------------

#define F32(name, expr)                                                                            \
    VGA_F32(name##_f32, 0, vga_out32((float)(expr), fl))                                           \
    VGA_F32(name##_ftz_f32, VGA_FTZ, vga_out32((float)(expr), fl))
F32(rcp, 1.0f / VGA_X)
F32(sqrt, sqrtf(VGA_X))
F32(rsqrt, 1.0 / sqrt((double)VGA_X))
F32(sin, sin((double)VGA_X))
F32(cos, cos((double)VGA_X))
F32(lg2, log2_of((double)VGA_X))
F32(ex2, exp2_of((double)VGA_X))
VGA_F32(tanh_f32, 0, vga_out32((float)tanh_of((double)VGA_X), fl))
VGA_EXEC32(copysign_f32, (a[l] & 0x80000000u) | (b[l] & 0x7fffffffu))

// ---- f64
// ------------------------------------------------------------------------------------------

VGA_EXEC64(rcp_f64, vga_du(1 / vga_d(a[l])))
VGA_EXEC64(sqrt_f64, vga_du(sqrt(vga_d(a[l]))))
VGA_EXEC64(rsqrt_f64, vga_du(1 / sqrt(vga_d(a[l]))))
/// The gross forms see and make the upper word only, and no subnormals.
static VGA_INLINE double upper_in(uint64_t u) {
    u &= 0xffffffff00000000ull;
    return vga_d(u & 0x7ff0000000000000ull ? u : u & 0x8000000000000000ull);
}
static VGA_INLINE uint64_t upper_out(double x) {
    uint64_t u = vga_du(x);
    u = u & 0x7ff0000000000000ull ? u : u & 0x8000000000000000ull;
    return x != x ? 0x7fffffff00000000ull : u & 0xffffffff00000000ull;
}
VGA_EXEC64(rcp_gross_f64, upper_out(1 / upper_in(a[l])))
VGA_EXEC64(rsqrt_gross_f64, upper_out(1 / sqrt(upper_in(a[l]))))
VGA_EXEC64(copysign_f64, (a[l] & 0x8000000000000000ull) | (b[l] & 0x7fffffffffffffffull))

// ---- halves
// -----------------------------------------------------------------------------------------

#define HALF(name, fn)                                                                             \
    VGA_F32(name##_f16, 0, vga_to_f16(fn((double)vga_f16(a[l] & 0xffff))))                         \
    VGA_F32(name##_f16x2, 0,                                                                       \
            vga_to_f16(fn((double)vga_f16(a[l] & 0xffff))) |                                       \
                vga_to_f16(fn((double)vga_f16(a[l] >> 16))) << 16)                                 \
    VGA_F32(name##_bf16, in->sub, bf16_of((float)fn((double)bf16_in(a[l] << 16, fl)), fl))         \
    VGA_F32(name##_bf16x2, in->sub,                                                                \
            bf16_of((float)fn((double)bf16_in(a[l] << 16, fl)), fl) |                              \
                bf16_of((float)fn((double)bf16_in(a[l] & 0xffff0000u, fl)), fl) << 16)
static VGA_INLINE float bf16_in(uint32_t u, unsigned fl) {
    return vga_in32(u, fl);
}
static VGA_INLINE uint32_t bf16_of(float x, unsigned fl) {
    const uint32_t h = vga_to_bf16(x);
    return !(fl & VGA_FTZ) || (h & 0x7f80) ? h : h & 0x8000;
}
static VGA_INLINE float ex2_half(double x) {
    return (float)exp2_of(x);
}
static VGA_INLINE float tanh_half(double x) {
    return (float)tanh_of(x);
}
HALF(ex2, ex2_half)
HALF(tanh, tanh_half)

// ---- classes of numbers
// -----------------------------------------------------------------------------

static enum vg_next ex_testp(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint32_t r = 0;
    for (int l = 0; l < 32; l++) {
        const uint64_t u = in->sub2 ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l];
        const unsigned m = in->sub2 ? 52 : 23;
        const uint64_t all = in->sub2 ? 0x7ff : 0xff, ex = u >> m & all,
                       frac = u & (((uint64_t)1 << m) - 1);
        bool is;
        switch (in->sub) {
        case 0:
            is = ex != all;
            break; // finite
        case 1:
            is = ex == all && !frac;
            break; // infinite
        case 2:
            is = ex != all || !frac;
            break; // number
        case 3:
            is = ex == all && frac;
            break; // notanumber
        case 4:
            is = ex != all && (ex || !frac);
            break; // normal, to which zero belongs
        default:
            is = !ex && frac;
            break; // subnormal
        }
        r |= is ? vga_bit[l] : 0;
    }
    vga_set_pred(w, in->d[0], mask, r);
    return VG_NEXT;
}

// ---- the table
// --------------------------------------------------------------------------------------

enum { A_APPROX = 1, A_ROUNDS = 2, A_FTZ = 4, A_GROSS = 8, A_PLAIN = 16 };
static const struct {
    const char *op;
    uint8_t type, allowed;
    vg_exec *run, *ftz;
} ops[] = {
    {"rcp", PTX_f32, A_APPROX | A_ROUNDS | A_FTZ, rcp_f32, rcp_ftz_f32},
    {"sqrt", PTX_f32, A_APPROX | A_ROUNDS | A_FTZ, sqrt_f32, sqrt_ftz_f32},
    {"rsqrt", PTX_f32, A_APPROX | A_FTZ, rsqrt_f32, rsqrt_ftz_f32},
    {"sin", PTX_f32, A_APPROX | A_FTZ, sin_f32, sin_ftz_f32},
    {"cos", PTX_f32, A_APPROX | A_FTZ, cos_f32, cos_ftz_f32},
    {"lg2", PTX_f32, A_APPROX | A_FTZ, lg2_f32, lg2_ftz_f32},
    {"ex2", PTX_f32, A_APPROX | A_FTZ, ex2_f32, ex2_ftz_f32},
    {"tanh", PTX_f32, A_APPROX, tanh_f32, NULL},
    {"copysign", PTX_f32, A_PLAIN, copysign_f32, NULL},
    {"rcp", PTX_f64, A_ROUNDS | A_GROSS, rcp_f64, rcp_gross_f64},
    {"sqrt", PTX_f64, A_ROUNDS, sqrt_f64, NULL},
    {"rsqrt", PTX_f64, A_APPROX | A_GROSS, rsqrt_f64, rsqrt_gross_f64},
    {"copysign", PTX_f64, A_PLAIN, copysign_f64, NULL},
    {"ex2", PTX_f16, A_APPROX, ex2_f16, NULL},
    {"ex2", PTX_f16x2, A_APPROX, ex2_f16x2, NULL},
    {"ex2", PTX_bf16, A_APPROX | A_FTZ, ex2_bf16, ex2_bf16},
    {"ex2", PTX_bf16x2, A_APPROX | A_FTZ, ex2_bf16x2, ex2_bf16x2},
    {"tanh", PTX_f16, A_APPROX, tanh_f16, NULL},
    {"tanh", PTX_f16x2, A_APPROX, tanh_f16x2, NULL},
    {"tanh", PTX_bf16, A_APPROX, tanh_bf16, NULL},
    {"tanh", PTX_bf16x2, A_APPROX, tanh_bf16x2, NULL},
};

static void decode_testp(vg_decoder *d, vg_inst *out, int type) {
    static const char *const classes[] = {"finite", "infinite",  "number", "notanumber",
                                          "normal", "subnormal", NULL};
    const int which = vgd_one_of(d, classes);
    if (!vgd_count(d, 2, 2)) return;
    if (which < 0 || (type != PTX_f32 && type != PTX_f64)) {
        vgd_fail(d, "testp wants a class, and .f32 or .f64");
        return;
    }
    out->sub = (uint8_t)which;
    out->sub2 = type == PTX_f64;
    out->run = ex_testp;
    out->s[0] = vgd_source(d, &d->in->opnd[1], type);
    out->d[0] = d->in->opnd[0].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &d->in->opnd[0]);
}

void vgd_special(vg_decoder *d, vg_inst *out) {
    const int type = vgd_type(d, 0);
    out->cls = VG_C_special;
    if (vga_is(d, "testp")) {
        decode_testp(d, out, type);
        return;
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (ops[i].type != type || strcmp(ops[i].op, d->in->op)) continue;
        const unsigned may = ops[i].allowed;
        const bool approx = vgd_mod(d, "approx");
        const int rounding = may & A_ROUNDS ? vga_rounding(d) : -1;
        const bool ftz = (may & (A_FTZ | A_GROSS)) && vgd_mod(d, "ftz");
        out->run = ftz ? ops[i].ftz : ops[i].run;
        out->sub = ftz ? VGA_FTZ : 0;
        const bool gross = (may & A_GROSS) && approx && ftz;
        if (!(may & A_PLAIN) && approx == (rounding >= 0))
            vgd_fail(d, "%s wants either approx or a rounding", d->in->op);
        if ((approx && !(may & A_APPROX) && !gross) || (ftz && (may & A_GROSS) && !approx) ||
            (approx && may & A_PLAIN))
            vgd_fail(d, "%s has no such form", d->in->op);
        const uint32_t n = may & A_PLAIN ? 2 : 1;
        if (!vgd_count(d, n + 1, n + 1)) return;
        vga_sources(d, out, 1, n, type);
        out->d[0] = vga_result(d, &d->in->opnd[0], type);
        vga_directed(d, out, rounding);
        return;
    }
    vgd_fail(d, "%s has no form for this type", d->in->op);
}
