// SPDX-License-Identifier: Apache-2.0
// Number conversions. All go the same way: a row is read as 32 numbers that hold it exactly, and
// written in the type wanted, rounded once. Pairs that kernels convert all day have loops of their
// own.
#include "runtime/vgpu/alu.h"

#include <fenv.h>

__extension__ typedef __int128 s128;

enum { RN, RZ, RM, RP, RNA, RNI, RZI, RMI, RPI };
enum { C_FTZ = 1, C_SAT = 2, C_RELU = 4, C_FINITE = 8 };

/// How an element type is kept: its vm type, and the code of the NaN that conversions make.
typedef struct {
    uint8_t type;
    uint8_t vm;
    uint64_t nan;
} number;
static const number numbers[] = {
    {PTX_u8, T_u8, 0},
    {PTX_u16, T_u16, 0},
    {PTX_u32, T_u32, 0},
    {PTX_u64, T_u64, 0},
    {PTX_s8, T_i8, 0},
    {PTX_s16, T_i16, 0},
    {PTX_s32, T_i32, 0},
    {PTX_s64, T_i64, 0},
    {PTX_f16, T_f16, VGA_NAN16},
    {PTX_bf16, T_bf16, VGA_NAN16},
    {PTX_tf32, T_tf32, VGA_NAN32 & 0xffffe000u},
    {PTX_f32, T_f32, VGA_NAN32},
    {PTX_f64, T_f64, 0},
    {PTX_e4m3, T_f8e4m3, 0x7f},
    {PTX_e5m2, T_f8e5m2, 0x7f},
    {PTX_e2m3, T_f6e2m3, 0x1f},
    {PTX_e3m2, T_f6e3m2, 0x1f},
    {PTX_e2m1, T_f4e2m1, 7},
    {PTX_ue8m0, T_f8e8m0, 0xff},
};
/// Packed types: elements of how many bits each, the first at the bottom.
static const struct {
    uint8_t type, element, bits;
} packed[] = {
    {PTX_f16x2, PTX_f16, 16},  {PTX_bf16x2, PTX_bf16, 16},  {PTX_e4m3x2, PTX_e4m3, 8},
    {PTX_e5m2x2, PTX_e5m2, 8}, {PTX_e2m3x2, PTX_e2m3, 8},   {PTX_e3m2x2, PTX_e3m2, 8},
    {PTX_e2m1x2, PTX_e2m1, 4}, {PTX_ue8m0x2, PTX_ue8m0, 8},
};

typedef struct {
    const number *from, *to;
    vm_rounding round; // of vm_encode
    int integral;      // RNI…RPI, 0: none
    int mode;          // of the host
    unsigned flags;
    unsigned from_bits, to_bits; // of packed elements
    uint32_t keep;               // bits of the result's register
} conversion;

static const number *number_of(int type) {
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].type == type) return &numbers[i];
    return NULL;
}
static bool is_float(const number *n) {
    return ptx_types[n->type].kind == PTX_K_FLOAT;
}
static bool is_wide(const number *n) {
    return ptx_types[n->type].bits == 64;
}

// ---- integers to integers -----------------------------------------------------------------------

VGA_FAST static void read_ints(vg_warp *w, vg_row row, int type, int64_t v[32]) {
    const uint32_t *const a = VG_ROW32(w, row);
    const uint64_t *const b = VG_ROW64(w, row);
    switch (type) {
    case PTX_u8:
        for (int l = 0; l < 32; l++) v[l] = (uint8_t)a[l];
        break;
    case PTX_s8:
        for (int l = 0; l < 32; l++) v[l] = (int8_t)a[l];
        break;
    case PTX_u16:
        for (int l = 0; l < 32; l++) v[l] = (uint16_t)a[l];
        break;
    case PTX_s16:
        for (int l = 0; l < 32; l++) v[l] = (int16_t)a[l];
        break;
    case PTX_u32:
        for (int l = 0; l < 32; l++) v[l] = a[l];
        break;
    case PTX_s32:
        for (int l = 0; l < 32; l++) v[l] = (int32_t)a[l];
        break;
    default:
        for (int l = 0; l < 32; l++) v[l] = (int64_t)b[l];
        break;
    }
}

/// Writes the low bits; signed results fill their register with copies of the sign.
VGA_FAST static void write_ints(vg_warp *w, vg_row row, int type, uint32_t keep, uint32_t mask,
                                const int64_t v[32]) {
    uint32_t *const d = VG_ROW32(w, row);
    uint64_t *const e = VG_ROW64(w, row);
    switch (type) {
    case PTX_u8:
        VGA_EACH(d, mask, uint32_t, (uint8_t)v[l]);
        break;
    case PTX_s8:
        VGA_EACH(d, mask, uint32_t, (uint32_t)(int8_t)v[l] & keep);
        break;
    case PTX_u16:
        VGA_EACH(d, mask, uint32_t, (uint16_t)v[l]);
        break;
    case PTX_s16:
        VGA_EACH(d, mask, uint32_t, (uint32_t)(int16_t)v[l] & keep);
        break;
    case PTX_u32:
    case PTX_s32:
        VGA_EACH(d, mask, uint32_t, (uint32_t)v[l]);
        break;
    default:
        VGA_EACH(e, mask, uint64_t, (uint64_t)v[l]);
        break;
    }
}

static void range_of(int type, s128 *lo, s128 *hi) {
    const unsigned bits = ptx_types[type].bits;
    const bool sign = ptx_types[type].kind == PTX_K_INT;
    *lo = sign ? -((s128)1 << (bits - 1)) : 0;
    *hi = ((s128)1 << (sign ? bits - 1 : bits)) - 1;
}

static enum vg_next ex_int_int(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const conversion *const c = in->aux;
    int64_t v[32];
    read_ints(w, in->s[0], c->from->type, v);
    if (c->flags & C_SAT) {
        s128 lo, hi;
        range_of(c->to->type, &lo, &hi);
        for (int l = 0; l < 32; l++) {
            const s128 x = c->from->type == PTX_u64 ? (s128)(uint64_t)v[l] : (s128)v[l];
            v[l] = (int64_t)(x < lo ? lo : x > hi ? hi : x);
        }
    }
    write_ints(w, in->d[0], c->to->type, c->keep, mask, v);
    return VG_NEXT;
}

// ---- floats -------------------------------------------------------------------------------------

VGA_FAST static void read_floats(vg_warp *w, vg_row row, const conversion *c, double v[32]) {
    const uint32_t *const a = VG_ROW32(w, row);
    const uint64_t *const b = VG_ROW64(w, row);
    switch (c->from->type) {
    case PTX_f16:
        for (int l = 0; l < 32; l++) v[l] = (double)vga_f16(a[l] & 0xffff);
        break;
    case PTX_bf16:
        for (int l = 0; l < 32; l++) v[l] = (double)vga_f(a[l] << 16);
        break;
    case PTX_f32:
        if (c->flags & C_FTZ)
            for (int l = 0; l < 32; l++) v[l] = (double)vga_f(vga_flush(a[l]));
        else
            for (int l = 0; l < 32; l++) v[l] = (double)vga_f(a[l]);
        break;
    case PTX_f64:
        for (int l = 0; l < 32; l++) v[l] = vga_d(b[l]);
        break;
    default:
        for (int l = 0; l < 32; l++) v[l] = vm_decode((vm_dtype)c->from->vm, a[l]);
        break;
    }
}

VGA_FAST static void integral(int how, double v[32]) {
    switch (how) {
    case RNI:
        for (int l = 0; l < 32; l++) v[l] = rint(v[l]);
        break;
    case RZI:
        for (int l = 0; l < 32; l++) v[l] = trunc(v[l]);
        break;
    case RMI:
        for (int l = 0; l < 32; l++) v[l] = floor(v[l]);
        break;
    case RPI:
        for (int l = 0; l < 32; l++) v[l] = ceil(v[l]);
        break;
    default:
        break;
    }
}

/// A NaN of f64 keeps its sign and the upper bits of its payload, made quiet.
static VGA_INLINE uint32_t payload16(double x, unsigned m) {
    const uint64_t u = vga_du(x), frac = u & 0xfffffffffffffull;
    return (uint32_t)(u >> 48 & 0x8000u) | (0x7fffu >> m << m) | 1u << (m - 1) |
           (uint32_t)(frac >> (52 - m));
}
static uint64_t nan_of(const conversion *c, double x) {
    if (c->from->type != PTX_f64) return c->to->nan;
    switch (c->to->type) {
    case PTX_f32:
        return vga_u((float)x);
    case PTX_f16:
        return payload16(x, 10);
    case PTX_bf16:
        return payload16(x, 7);
    default:
        return c->to->nan;
    }
}

/// One number as a code of the result's element type.
static uint64_t encode(const conversion *c, double x) {
    if (isnan(x)) return c->flags & C_SAT ? 0 : nan_of(c, x);
    if ((c->flags & C_RELU) && !(x > 0)) x = 0;
    if (c->flags & C_SAT) x = x > 0 ? (x < 1 ? x : 1) : 0;
    return vm_encode((vm_dtype)c->to->vm, x, c->round);
}

VGA_FAST static void write_floats(vg_warp *w, vg_row row, const conversion *c, uint32_t mask,
                                  const double v[32]) {
    uint32_t *const d = VG_ROW32(w, row);
    uint64_t *const e = VG_ROW64(w, row);
    const unsigned fl = (c->flags & C_FTZ ? VGA_FTZ : 0u) | (c->flags & C_SAT ? VGA_SAT : 0u);
    const bool simple = c->round.round == R_NEAREST && !(c->flags & ~(unsigned)C_FTZ);
    const bool from_f64 = c->from->type == PTX_f64;
    uint32_t code[32];
    if (c->to->type == PTX_f32 && !(c->flags & (C_RELU | C_FINITE))) {
        for (int l = 0; l < 32; l++) code[l] = vga_u((float)v[l]);
        if (c->mode != FE_TONEAREST) fesetround(FE_TONEAREST);
        if (from_f64 && !(fl & VGA_SAT))
            VGA_EACH(d, mask, uint32_t, v[l] != v[l] ? code[l] : vga_out32(vga_f(code[l]), fl));
        else
            VGA_EACH(d, mask, uint32_t, vga_out32(vga_f(code[l]), fl));
    } else if (c->to->type == PTX_f16 && simple) {
        VGA_EACH(d, mask, uint32_t,
                 (v[l] != v[l]) & from_f64 ? payload16(v[l], 10) : vga_to_f16(vga_float_odd(v[l])));
    } else if (c->to->type == PTX_bf16 && simple) {
        VGA_EACH(d, mask, uint32_t,
                 (v[l] != v[l]) & from_f64 ? payload16(v[l], 7) : vga_to_bf16(vga_float_odd(v[l])));
    } else if (c->to->type == PTX_f64) {
        const bool sat = c->flags & C_SAT;
        VGA_EACH(e, mask, uint64_t,
                 vga_du(!sat ? v[l] : v[l] > 0 ? (v[l] < 1 ? v[l] : 1) : 0) |
                     (!sat & (v[l] != v[l]) ? (uint64_t)1 << 51 : 0)); // floor may leave it signaling
    } else {
        for (int l = 0; l < 32; l++) code[l] = mask & vga_bit[l] ? (uint32_t)encode(c, v[l]) : 0;
        VGA_EACH(d, mask, uint32_t, code[l]);
    }
}

static enum vg_next ex_float_float(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const conversion *const c = in->aux;
    double v[32];
    read_floats(w, in->s[0], c, v);
    integral(c->integral, v);
    if (c->mode != FE_TONEAREST) fesetround(c->mode);
    write_floats(w, in->d[0], c, mask, v);
    if (c->mode != FE_TONEAREST) fesetround(FE_TONEAREST);
    return VG_NEXT;
}

/// Out of range becomes the nearest integer there is; NaN 0, or the sign bit where 64 bits are
/// involved.
static enum vg_next ex_float_int(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const conversion *const c = in->aux;
    const int to = c->to->type;
    const unsigned bits = ptx_types[to].bits;
    const bool sign = ptx_types[to].kind == PTX_K_INT;
    const double hi = ldexp(1, (int)(sign ? bits - 1 : bits)), lo = sign ? -hi : 0;
    const uint64_t most = sign         ? ((uint64_t)1 << (bits - 1)) - 1
                          : bits == 64 ? UINT64_MAX
                                       : ((uint64_t)1 << bits) - 1;
    const uint64_t least = sign ? ~most : 0;
    const uint64_t nan = is_wide(c->from) || is_wide(c->to) ? (uint64_t)1 << (bits - 1) : 0;
    double v[32];
    int64_t r[32];
    read_floats(w, in->s[0], c, v);
    integral(c->integral, v);
    for (int l = 0; l < 32; l++) {
        const double x = v[l];
        const uint64_t inside = !(x > lo && x < hi) ? 0
                                : x >= 0x1p63
                                    ? (uint64_t)(int64_t)(x - 0x1p63) + ((uint64_t)1 << 63)
                                    : (uint64_t)(int64_t)x;
        r[l] = (int64_t)(x != x ? nan : x >= hi ? most : x <= lo ? least : inside);
    }
    write_ints(w, in->d[0], to, c->keep, mask, r);
    return VG_NEXT;
}

VGA_FAST static enum vg_next ex_f32_s32(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const a = VG_ROW32(w, in->s[0]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
#define AS_S32(x)                                                                                  \
    ((x) >= 0x1p31f ? INT32_MAX : (x) > -0x1p31f ? (int32_t)(x) : (x) != (x) ? 0 : INT32_MIN)
    VGA_EACH(d, mask, uint32_t, (uint32_t)AS_S32(vga_f(a[l])));
    return VG_NEXT;
}

/// The upper half of a float, NaNs too.
VGA_EXEC32(ex_f32_bf16, a[l] << 16)

/// Adds half a place to the size; NaNs only lose their last bits.
VGA_EXEC32(ex_tf32_away,
           (a[l] + ((a[l] & 0x7fffffffu) < 0x7f800000u ? 0x1000u : 0)) & 0xffffe000u)

/// Integers of up to 32 bits are exact as doubles; 64-bit ones go straight to the type.
static enum vg_next ex_int_float(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const conversion *const c = in->aux;
    int64_t i[32];
    double v[32];
    read_ints(w, in->s[0], c->from->type, i);
    if (c->mode != FE_TONEAREST) fesetround(c->mode);
    if (!is_wide(c->from)) {
        for (int l = 0; l < 32; l++) v[l] = (double)i[l];
        write_floats(w, in->d[0], c, mask, v);
    } else if (is_wide(c->to)) {
        uint64_t *const d = VG_ROW64(w, in->d[0]);
        if (c->from->type == PTX_u64)
            VGA_EACH(d, mask, uint64_t, vga_du((double)(uint64_t)i[l]));
        else
            VGA_EACH(d, mask, uint64_t, vga_du((double)i[l]));
    } else {
        uint32_t *const d = VG_ROW32(w, in->d[0]);
        for (int l = 0; l < 32; l++) {
            if (!(mask & vga_bit[l])) continue;
            // A double with an odd last bit stands for what lies between.
            const uint64_t mag =
                c->from->type == PTX_s64 && i[l] < 0 ? 0 - (uint64_t)i[l] : (uint64_t)i[l];
            const uint64_t low = mag & 0x7ff, top = mag & ~(uint64_t)0x7ff;
            const double x = (double)(top | (low ? (uint64_t)1 << 11 : 0));
            const double odd = mag >> 53 ? x : (double)mag;
            d[l] = (uint32_t)encode(c, c->from->type == PTX_s64 && i[l] < 0 ? -odd : odd);
        }
    }
    if (c->mode != FE_TONEAREST) fesetround(FE_TONEAREST);
    return VG_NEXT;
}

// ---- packed -------------------------------------------------------------------------------------

/// The first source is the upper half of the result.
VGA_FAST static enum vg_next ex_f16x2_f32(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const a = VG_ROW32(w, in->s[0]), *const b = VG_ROW32(w, in->s[1]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, vga_to_f16(vga_f(a[l])) << 16 | vga_to_f16(vga_f(b[l])));
    return VG_NEXT;
}
VGA_FAST static enum vg_next ex_bf16x2_f32(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const a = VG_ROW32(w, in->s[0]), *const b = VG_ROW32(w, in->s[1]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, vga_to_bf16(vga_f(a[l])) << 16 | vga_to_bf16(vga_f(b[l])));
    return VG_NEXT;
}

static VGA_INLINE uint32_t to_fp8(float f, unsigned m, uint32_t least, uint32_t most) {
    const uint32_t u = vga_u(f), mag = u & 0x7fffffffu, cut = 23 - m;
    const uint32_t bias = least - (1u << 23); // exponent field of what becomes exponent zero
    // Adding a power of two whose last place is that of the subnormals.
    const float magic = vga_f(least + ((23 - m) << 23));
    const uint32_t tiny = vga_u(vga_f(mag) + magic) - vga_u(magic);
    const uint32_t normal = (mag - bias + ((1u << (cut - 1)) - 1) + (mag >> cut & 1)) >> cut;
    uint32_t r = mag < least ? tiny : normal;
    r = r > most ? most : r;
    r |= u >> 24 & 0x80;
    return mag > 0x7f800000u ? 0x7f : r;
}
static VGA_INLINE uint32_t to_e4m3(float f) {
    return to_fp8(f, 3, 121u << 23, 0x7e);
}
static VGA_INLINE uint32_t to_e5m2(float f) {
    return to_fp8(f, 2, 113u << 23, 0x7b);
}
#define TO_FP8(t)                                                                                  \
    VGA_EXEC32(ex_##t##_f32, to_##t(vga_f(a[l])) << 8 | to_##t(vga_f(b[l])))                       \
    VGA_EXEC32(ex_##t##_f16, to_##t(vga_f16(a[l] >> 16)) << 8 | to_##t(vga_f16(a[l] & 0xffff)))
TO_FP8(e4m3)
TO_FP8(e5m2)
VGA_EXEC32(ex_f16_e4m3, vga_to_f16(vga_e4m3(a[l] >> 8 & 0xff)) << 16 | vga_to_f16(vga_e4m3(a[l] & 0xff)))
static VGA_INLINE uint32_t f16_of_e5m2(uint32_t x) {
    return (x & 0x7f) > 0x7c ? VGA_NAN16 : x << 8;
}
VGA_EXEC32(ex_f16_e5m2, f16_of_e5m2(a[l] >> 8 & 0xff) << 16 | f16_of_e5m2(a[l] & 0xff))

static double element(const conversion *c, uint32_t code) {
    if ((c->flags & C_FTZ) && c->from->type == PTX_f32) code = vga_flush(code);
    return vm_decode((vm_dtype)c->from->vm, code);
}
static enum vg_next ex_packed(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const conversion *const c = in->aux;
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    for (int l = 0; l < 32; l++) {
        if (!(mask & vga_bit[l])) continue;
        uint32_t hi = VG_ROW32(w, in->s[0])[l], lo = VG_ROW32(w, in->s[1])[l];
        if (c->from_bits)
            lo = hi & ((1u << c->from_bits) - 1),
            hi = hi >> c->from_bits & ((1u << c->from_bits) - 1);
        d[l] = (uint32_t)encode(c, element(c, lo)) | (uint32_t)encode(c, element(c, hi))
                                                         << c->to_bits;
    }
    return VG_NEXT;
}

static const struct {
    uint8_t to, from;
    unsigned flags; // with which it is the loop's conversion
    vg_exec *run;
} fast_packed[] = {
    {PTX_f16x2, PTX_f32, 0, ex_f16x2_f32},          {PTX_bf16x2, PTX_f32, 0, ex_bf16x2_f32},
    {PTX_e4m3x2, PTX_f32, C_FINITE, ex_e4m3_f32},   {PTX_e5m2x2, PTX_f32, C_FINITE, ex_e5m2_f32},
    {PTX_e4m3x2, PTX_f16x2, C_FINITE, ex_e4m3_f16}, {PTX_e5m2x2, PTX_f16x2, C_FINITE, ex_e5m2_f16},
    {PTX_f16x2, PTX_e4m3x2, 0, ex_f16_e4m3},        {PTX_f16x2, PTX_e5m2x2, 0, ex_f16_e5m2},
};

// ---- decoding -----------------------------------------------------------------------------------

static bool unpack(int *type, unsigned *bits) {
    for (size_t i = 0; i < sizeof packed / sizeof packed[0]; i++) {
        if (packed[i].type != *type) continue;
        *type = packed[i].element;
        *bits = packed[i].bits;
        return true;
    }
    return false;
}

static void decode_packed(vg_decoder *d, vg_inst *out, conversion *c, int to, int from,
                          int rounding) {
    const bool two = c->from_bits == 0;
    const uint32_t n = two ? 3 : 2;
    if (two && c->from->type != PTX_f32) {
        vgd_fail(d, "no conversion between these types");
        return;
    }
    if (!vgd_count(d, n, n)) return;
    out->s[0] = vgd_source(d, &d->in->opnd[1], from);
    out->s[1] = two ? vgd_source(d, &d->in->opnd[2], from) : out->s[0];
    out->d[0] = vga_result(d, &d->in->opnd[0], to);
    out->run = ex_packed;
    for (size_t i = 0; i < sizeof fast_packed / sizeof fast_packed[0]; i++)
        if (fast_packed[i].to == to && fast_packed[i].from == from &&
            fast_packed[i].flags == c->flags && rounding <= RN)
            out->run = fast_packed[i].run;
}

/// cvt.pack: two integers clamped to sub bits (sub2: signed), the second lowest; above them the low
/// bits of the third source, unless there is no room.
static VGA_INLINE uint32_t clamped(uint32_t x, unsigned bits, unsigned is_signed) {
    const int32_t hi = (int32_t)((1u << (bits - is_signed)) - 1), lo = is_signed ? -hi - 1 : 0;
    const int32_t v = (int32_t)x, r = v < lo ? lo : v > hi ? hi : v;
    return (uint32_t)r & ((1u << bits) - 1);
}
VGA_EXEC32(ex_pack, clamped(b[l], sub, sub2) | clamped(a[l], sub, sub2) << sub |
                        (sub == 16 ? 0 : c[l] << (2 * sub & 31)))

static void decode_pack(vg_decoder *d, vg_inst *out, int to, int from) {
    const unsigned bits = ptx_types[to].bits;
    const uint32_t n = bits == 16 ? 3 : 4;
    const bool whole = ptx_types[to].kind == PTX_K_INT || ptx_types[to].kind == PTX_K_UINT;
    if (!vgd_mod(d, "sat") || !whole || bits > 16 || from != PTX_s32 ||
        (n == 4 && vgd_type(d, 2) != PTX_b32)) {
        vgd_fail(d, "cvt.pack wants sat, integers of at most 16 bits, .s32, and .b32 below 16 bits");
        return;
    }
    if (!vgd_count(d, n, n)) return;
    out->cls = VG_C_convert;
    out->sub = (uint8_t)bits;
    out->sub2 = ptx_types[to].kind == PTX_K_INT;
    out->run = ex_pack;
    vga_sources(d, out, 1, n - 1, PTX_u32);
    out->d[0] = vga_result(d, &d->in->opnd[0], PTX_u32);
}

void vgd_cvt(vg_decoder *d, vg_inst *out) {
    static const char *const roundings[] = {"rn",  "rz",  "rm",  "rp",  "rna",
                                            "rni", "rzi", "rmi", "rpi", NULL};
    static const uint8_t vm_rounds[] = {R_NEAREST, R_ZERO, R_DOWN, R_UP, R_AWAY};
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    const int rounding = vgd_one_of(d, roundings), to = vgd_type(d, 0), from = vgd_type(d, 1);
    if (vgd_mod(d, "pack")) {
        decode_pack(d, out, to, from);
        return;
    }
    conversion *const c = vgd_alloc(d, sizeof *c);
    out->aux = c;
    out->cls = VG_C_convert;
    int to_one = to, from_one = from;
    const bool pack = unpack(&to_one, &c->to_bits);
    const bool source_packed = unpack(&from_one, &c->from_bits);
    c->to = number_of(to_one);
    c->from = number_of(from_one);
    if (!c->to || !c->from || (source_packed && !pack)) {
        vgd_fail(d, "no conversion between these types");
        return;
    }
    const bool any_f32 = to == PTX_f32 || from == PTX_f32;
    if (vgd_mod(d, "sat")) c->flags |= C_SAT;
    if (any_f32 && vgd_mod(d, "ftz")) c->flags |= C_FTZ;
    if (is_float(c->to) && to != PTX_f64 && vgd_mod(d, "relu")) c->flags |= C_RELU;
    if (is_float(c->to) && to != PTX_f64 && vgd_mod(d, "satfinite")) c->flags |= C_FINITE;
    const int r = rounding < 0 ? RN : rounding;
    if (r >= RNI) c->integral = r;
    c->round = (vm_rounding){.round = r <= RNA ? (enum vm_round)vm_rounds[r] : R_NEAREST,
                             .saturate = c->flags & C_FINITE};
    c->mode = r <= RP ? modes[r] : FE_TONEAREST;
    if (r == RNA && to != PTX_tf32) vgd_fail(d, "rna goes with .tf32");
    if (pack) {
        decode_packed(d, out, c, to, from, rounding);
        return;
    }
    if (!vgd_count(d, 2, 2)) return;
    const bool ff = is_float(c->from), tf = is_float(c->to);
    if (r >= RNI && !ff) vgd_fail(d, "integers are not rounded to integers");
    if (r < RNI && rounding >= 0 && ff && !tf)
        vgd_fail(d, "conversion to integers wants rni, rzi, rmi or rpi");
    if (rounding < 0 && ff && !tf) vgd_fail(d, "conversion to integers wants rni, rzi, rmi or rpi");
    out->run = !ff && !tf ? ex_int_int : !ff ? ex_int_float : tf ? ex_float_float : ex_float_int;
    if (from == PTX_f32 && to == PTX_s32 && r == RZI && !(c->flags & C_FTZ)) out->run = ex_f32_s32;
    if (from == PTX_bf16 && to == PTX_f32 && !c->flags && r < RNI) out->run = ex_f32_bf16;
    if (from == PTX_f32 && r == RNA && !c->flags) out->run = ex_tf32_away;
    out->s[0] = vgd_source(d, &d->in->opnd[1], from);
    out->s[1] = out->s[2] = out->s[0];
    const ptx_opnd *const o = &d->in->opnd[0];
    c->keep = UINT32_MAX;
    if (o->kind == PTX_O_REG && o->reg >= 0) {
        const unsigned own = ptx_types[d->func->reg[o->reg].type].bits;
        if (own < 32) c->keep = (1u << own) - 1;
    }
    out->d[0] = vga_result(d, o, to);
}
