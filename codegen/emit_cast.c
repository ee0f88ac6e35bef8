// SPDX-License-Identifier: Apache-2.0
// Number conversions of one value: every pair of types, bit for bit what vm_cast gives (NaN codes of
// 16-bit floats and wider aside). Everything that has no instruction goes through f32, which holds
// all types of 16 bits and fewer exactly. Conversions of packed words are in emit_cast_tile.c.
#include "codegen/emit.h"
#include "vm/bitorder.h"

static uint64_t low_mask(unsigned bits) { return bits >= 64 ? UINT64_MAX : (1ull << bits) - 1; }

static LLVMValueRef ci(LLVMValueRef like, uint64_t x) { return LLVMConstInt(LLVMTypeOf(like), x, false); }

static LLVMValueRef select_if(cg *g, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(g->b, c, a, b, "");
}

static LLVMValueRef as_bits(cg *g, LLVMValueRef x) { return cg_bitcast(g, x, g->t_i32); }
static LLVMValueRef as_f32(cg *g, LLVMValueRef x) { return cg_bitcast(g, x, g->t_f32); }
static LLVMValueRef is_nan(cg *g, LLVMValueRef x) { return LLVMBuildFCmp(g->b, LLVMRealUNO, x, x, ""); }

static LLVMValueRef call1(cg *g, const char *name, LLVMTypeRef ret, LLVMValueRef x) {
    return cg_call(g, name, ret, 1, &x);
}

// ---- integers to floats -------------------------------------------------------------------------

/// Up to 16 bits: placed in the mantissa of 2^23, which is then taken off; no slow conversion unit.
static LLVMValueRef small_int_to_f32(cg *g, vm_dtype from, LLVMValueRef x, double kept) {
    const unsigned b = vm_bits(from);
    const bool sign = vm_dtypes[from].kind == K_INT;
    const uint32_t flip = sign ? 1u << (b - 1) : 0;
    LLVMValueRef u = cg_code(g, from, x, g->t_i32);
    u = LLVMBuildXor(g->b, u, cg_i32(g, 0x4b000000u | flip), "");
    return LLVMBuildFSub(g->b, as_f32(g, u), LLVMConstReal(g->t_f32, 8388608.0 + flip - kept), "");
}

/// Rounded to f32 so that a second rounding to fewer digits is right: toward zero, and the last bit
/// set if anything was lost.
static LLVMValueRef int_to_f32_odd(cg *g, bool sign, LLVMValueRef x) {
    const bool wide = LLVMTypeOf(x) == g->t_i64;
    LLVMValueRef f = call1(g, wide ? (sign ? "llvm.nvvm.ll2f.rz" : "llvm.nvvm.ull2f.rz")
                                   : (sign ? "llvm.nvvm.i2f.rz" : "llvm.nvvm.ui2f.rz"), g->t_f32, x);
    LLVMValueRef back = call1(g, wide ? (sign ? "llvm.nvvm.f2ll.rz" : "llvm.nvvm.f2ull.rz")
                                      : (sign ? "llvm.nvvm.f2i.rz" : "llvm.nvvm.f2ui.rz"), LLVMTypeOf(x), f);
    LLVMValueRef lost = LLVMBuildICmp(g->b, LLVMIntNE, back, x, "");
    lost = LLVMBuildZExt(g->b, lost, g->t_i32, "");
    return as_f32(g, LLVMBuildOr(g->b, as_bits(g, f), lost, ""));
}

static LLVMValueRef f64_to_f32_odd(cg *g, LLVMValueRef x) {
    LLVMValueRef f = call1(g, "llvm.nvvm.d2f.rz", g->t_f32, x);
    LLVMValueRef back = LLVMBuildFPExt(g->b, f, g->t_f64, "");
    LLVMValueRef lost = LLVMBuildFCmp(g->b, LLVMRealONE, back, x, "");
    lost = LLVMBuildZExt(g->b, lost, g->t_i32, "");
    return as_f32(g, LLVMBuildOr(g->b, as_bits(g, f), lost, ""));
}

static LLVMValueRef from_f32(cg *g, vm_dtype to, LLVMValueRef x, vm_rounding r);

static LLVMValueRef int_to_float(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef x, vm_rounding r) {
    if (vm_bits(from) <= 16) {
        if (from == T_bool) x = LLVMBuildZExt(g->b, x, g->t_i8, "");
        const vm_dtype t = from == T_bool ? T_u8 : from;
        LLVMValueRef f = small_int_to_f32(g, t, x, r.offset ? bits_offset(from, to) : 0);
        return to == T_f64 ? LLVMBuildFPExt(g->b, f, g->t_f64, "") : from_f32(g, to, f, r);
    }
    const bool sign = vm_dtypes[from].kind == K_INT, wide = vm_bits(from) == 64;
    if (to == T_f64 && r.round == R_ZERO && wide)
        return call1(g, sign ? "llvm.nvvm.ll2d.rz" : "llvm.nvvm.ull2d.rz", g->t_f64, x);
    if (to == T_f32 && r.round == R_ZERO)
        return call1(g, wide ? (sign ? "llvm.nvvm.ll2f.rz" : "llvm.nvvm.ull2f.rz")
                             : (sign ? "llvm.nvvm.i2f.rz" : "llvm.nvvm.ui2f.rz"), g->t_f32, x);
    if (to == T_f64 || to == T_f32) {
        LLVMTypeRef t = cg_scalar_type(g, to);
        return sign ? LLVMBuildSIToFP(g->b, x, t, "") : LLVMBuildUIToFP(g->b, x, t, "");
    }
    return from_f32(g, to, int_to_f32_odd(g, sign, x), r);
}

// ---- floats to integers -------------------------------------------------------------------------

/// The conversion instructions truncate and saturate; a NaN gives 0 (32 bits) or is caught here.
static LLVMValueRef float_to_int(cg *g, vm_dtype to, LLVMValueRef x, bool f64) {
    const bool sign = vm_dtypes[to].kind == K_INT;
    const unsigned b = vm_bits(to);
    if (b == 64) {
        LLVMValueRef y = call1(g, f64 ? (sign ? "llvm.nvvm.d2ll.rz" : "llvm.nvvm.d2ull.rz")
                                      : (sign ? "llvm.nvvm.f2ll.rz" : "llvm.nvvm.f2ull.rz"), g->t_i64, x);
        return select_if(g, is_nan(g, x), ci(y, 0), y);
    }
    if (b == 32 && !sign) {
        LLVMValueRef y = call1(g, f64 ? "llvm.nvvm.d2ui.rz" : "llvm.nvvm.f2ui.rz", g->t_i32, x);
        return f64 ? select_if(g, is_nan(g, x), ci(y, 0), y) : y;
    }
    LLVMValueRef y = call1(g, f64 ? "llvm.nvvm.d2i.rz" : "llvm.nvvm.f2i.rz", g->t_i32, x);
    if (f64) y = select_if(g, is_nan(g, x), ci(y, 0), y);
    if (b == 32) return y;
    const int64_t most = (int64_t)low_mask(sign ? b - 1 : b), least = sign ? -most - 1 : 0;
    LLVMValueRef lo[2] = {y, cg_i32(g, least)};
    LLVMValueRef hi[2] = {cg_call(g, "llvm.smax.i32", g->t_i32, 2, lo), cg_i32(g, most)};
    y = cg_call(g, "llvm.smin.i32", g->t_i32, 2, hi);
    if (b < 8) y = LLVMBuildAnd(g->b, y, cg_i32(g, (int64_t)low_mask(b)), "");
    return LLVMBuildTrunc(g->b, y, cg_scalar_type(g, to), "");
}

// ---- small floats to f32 ------------------------------------------------------------------------

/// Exponent and mantissa bits moved to where f32 has them, then times a power of two, which makes
/// subnormals normal too (plain LLVM arithmetic does not flush).
static LLVMValueRef small_to_f32(cg *g, vm_dtype from, LLVMValueRef x, bool numbers) {
    const vm_dtype_info *d = &vm_dtypes[from];
    LLVMValueRef u = cg_code(g, from, x, g->t_i32);
    if (d->special == SP_SCALE) {
        LLVMValueRef y = LLVMBuildShl(g->b, u, cg_i32(g, 23), "");
        y = select_if(g, LLVMBuildICmp(g->b, LLVMIntEQ, u, cg_i32(g, 0), ""), cg_i32(g, 0x400000), y);
        if (!numbers) y = select_if(g, LLVMBuildICmp(g->b, LLVMIntEQ, u, cg_i32(g, 255), ""), cg_i32(g, 0x7fc00000), y);
        return as_f32(g, y);
    }
    const unsigned e = d->e, m = d->m;
    const int bias = (1 << (e - 1)) - 1;
    const uint64_t all = low_mask(e + m);
    LLVMValueRef mag = LLVMBuildAnd(g->b, u, cg_i32(g, (int64_t)all), "");
    LLVMValueRef sign = LLVMBuildShl(g->b, u, cg_i32(g, 31 - (e + m)), "");
    sign = LLVMBuildAnd(g->b, sign, cg_i32(g, 0x80000000), "");
    LLVMValueRef y = as_f32(g, LLVMBuildShl(g->b, mag, cg_i32(g, 23 - m), ""));
    y = LLVMBuildFMul(g->b, y, as_f32(g, cg_i32(g, (int64_t)(254 - bias) << 23)), "");
    y = as_bits(g, y);
    if (d->special == SP_NAN && !numbers) {
        LLVMValueRef nan = LLVMBuildICmp(g->b, LLVMIntEQ, mag, cg_i32(g, (int64_t)all), "");
        y = select_if(g, nan, cg_i32(g, 0x7fc00000), y);
    } else if (d->special == SP_IEEE) {
        const uint64_t top = low_mask(e) << m;
        LLVMValueRef inf = LLVMBuildICmp(g->b, LLVMIntUGE, mag, cg_i32(g, (int64_t)top), "");
        LLVMValueRef nan = LLVMBuildICmp(g->b, LLVMIntUGT, mag, cg_i32(g, (int64_t)top), "");
        y = select_if(g, inf, cg_i32(g, 0x7f800000), y);
        y = select_if(g, nan, cg_i32(g, 0x7fc00000), y);
    }
    return as_f32(g, LLVMBuildOr(g->b, y, sign, ""));
}

static LLVMValueRef to_f32(cg *g, vm_dtype from, LLVMValueRef x, bool numbers) {
    switch (from) {
    case T_f32: return x;
    case T_tf32: return as_f32(g, LLVMBuildAnd(g->b, as_bits(g, x), cg_i32(g, 0xffffe000), ""));
    case T_f16: return LLVMBuildFPExt(g->b, x, g->t_f32, "");
    case T_bf16: { // one shift; fpext would take more
        LLVMValueRef u = LLVMBuildZExt(g->b, cg_bitcast(g, x, g->t_i16), g->t_i32, "");
        return as_f32(g, LLVMBuildShl(g->b, u, cg_i32(g, 16), ""));
    }
    default: return small_to_f32(g, from, x, numbers);
    }
}

// ---- f32 to smaller floats ----------------------------------------------------------------------

/// The nearest power of two, ties to the even exponent.
static LLVMValueRef f32_to_scale(cg *g, LLVMValueRef x, vm_rounding r) {
    LLVMValueRef u = as_bits(g, x), mag = LLVMBuildAnd(g->b, u, cg_i32(g, 0x7fffffff), "");
    LLVMValueRef n = mag;
    if (r.round == R_NEAREST) {
        LLVMValueRef odd = LLVMBuildLShr(g->b, mag, cg_i32(g, 23), "");
        odd = LLVMBuildAnd(g->b, odd, cg_i32(g, 1), "");
        n = LLVMBuildAdd(g->b, LLVMBuildAdd(g->b, n, cg_i32(g, 0x3fffff), ""), odd, "");
    }
    n = LLVMBuildLShr(g->b, n, cg_i32(g, 23), "");
    if (r.round == R_NEAREST) { // below 2^-126 the leading one is no exponent: 2^-127 is code 0
        LLVMValueRef tiny = LLVMBuildICmp(g->b, LLVMIntULT, mag, cg_i32(g, 0x800000), "");
        LLVMValueRef up = LLVMBuildICmp(g->b, LLVMIntUGT, mag, cg_i32(g, 0x600000), "");
        n = select_if(g, tiny, LLVMBuildZExt(g->b, up, g->t_i32, ""), n);
    }
    LLVMValueRef big = LLVMBuildICmp(g->b, LLVMIntUGT, n, cg_i32(g, 254), "");
    LLVMValueRef inf = LLVMBuildICmp(g->b, LLVMIntUGE, mag, cg_i32(g, 0x7f800000), "");
    n = select_if(g, big, cg_i32(g, r.saturate || r.round == R_ZERO ? 254 : 255), n);
    n = select_if(g, inf, cg_i32(g, r.saturate ? 254 : 255), n);
    LLVMValueRef neg = LLVMBuildICmp(g->b, LLVMIntUGT, u, cg_i32(g, 0x80000000), "");
    n = select_if(g, neg, cg_i32(g, r.saturate ? 0 : 255), n);
    n = select_if(g, LLVMBuildICmp(g->b, LLVMIntUGT, mag, cg_i32(g, 0x7f800000), ""), cg_i32(g, 255), n);
    return LLVMBuildTrunc(g->b, n, g->t_i8, "");
}

/// Normal results by integer rounding of the f32's own bits; subnormal ones by adding the power of two
/// whose last mantissa bit weighs as much as theirs.
static LLVMValueRef f32_to_small(cg *g, vm_dtype to, LLVMValueRef x, vm_rounding r) {
    const vm_dtype_info *d = &vm_dtypes[to];
    const unsigned e = d->e, m = d->m, shift = 23 - m;
    const int bias = (1 << (e - 1)) - 1, emin = 1 - bias;
    const int64_t all = (int64_t)low_mask(e + m);
    const int64_t finite = d->special == SP_IEEE ? ((int64_t)low_mask(e) << m) - 1
                           : d->special == SP_NAN ? all - 1 : all;
    LLVMValueRef u = as_bits(g, x), mag = LLVMBuildAnd(g->b, u, cg_i32(g, 0x7fffffff), "");
    LLVMValueRef n = mag;
    if (r.round == R_NEAREST) {
        LLVMValueRef odd = LLVMBuildLShr(g->b, mag, cg_i32(g, shift), "");
        odd = LLVMBuildAnd(g->b, odd, cg_i32(g, 1), "");
        n = LLVMBuildAdd(g->b, n, cg_i32(g, ((int64_t)1 << (shift - 1)) - 1), "");
        n = LLVMBuildAdd(g->b, n, odd, "");
    }
    n = LLVMBuildLShr(g->b, n, cg_i32(g, shift), "");
    n = LLVMBuildSub(g->b, n, cg_i32(g, (int64_t)(127 - bias) << m), "");
    LLVMValueRef magic = cg_i32(g, (int64_t)(emin - (int)m + 23 + 127) << 23);
    LLVMValueRef args[2] = {as_f32(g, mag), as_f32(g, magic)};
    LLVMValueRef sub = r.round == R_NEAREST ? LLVMBuildFAdd(g->b, args[0], args[1], "")
                                            : cg_call(g, "llvm.nvvm.add.rz.ftz.f", g->t_f32, 2, args);
    sub = LLVMBuildSub(g->b, as_bits(g, sub), magic, "");
    LLVMValueRef tiny = LLVMBuildICmp(g->b, LLVMIntULT, mag, cg_i32(g, (int64_t)(127 + emin) << 23), "");
    n = select_if(g, tiny, sub, n);
    const int64_t beyond = r.saturate || d->special == SP_NONE ? finite
                           : d->special == SP_IEEE ? finite + 1 : all;
    LLVMValueRef big = LLVMBuildICmp(g->b, LLVMIntUGT, n, cg_i32(g, finite), "");
    n = select_if(g, big, cg_i32(g, r.round == R_ZERO ? finite : beyond), n);
    if (r.round == R_ZERO && beyond != finite) {
        LLVMValueRef inf = LLVMBuildICmp(g->b, LLVMIntEQ, mag, cg_i32(g, 0x7f800000), "");
        n = select_if(g, inf, cg_i32(g, beyond), n);
    }
    LLVMValueRef sign = LLVMBuildLShr(g->b, u, cg_i32(g, 31 - (e + m)), "");
    sign = LLVMBuildAnd(g->b, sign, cg_i32(g, (int64_t)1 << (e + m)), "");
    LLVMValueRef nan = LLVMBuildICmp(g->b, LLVMIntUGT, mag, cg_i32(g, 0x7f800000), "");
    n = select_if(g, nan, cg_i32(g, all), n);
    n = LLVMBuildOr(g->b, n, sign, "");
    if (d->special == SP_NONE) n = select_if(g, nan, cg_i32(g, (int64_t)low_mask(d->bits)), n);
    return LLVMBuildTrunc(g->b, n, g->t_i8, "");
}

static LLVMValueRef f32_to_tf32(cg *g, LLVMValueRef x, vm_rounding r) {
    LLVMValueRef u = as_bits(g, x), n = u;
    if (r.round == R_NEAREST) {
        LLVMValueRef odd = LLVMBuildLShr(g->b, u, cg_i32(g, 13), "");
        odd = LLVMBuildAnd(g->b, odd, cg_i32(g, 1), "");
        n = LLVMBuildAdd(g->b, LLVMBuildAdd(g->b, u, cg_i32(g, 0xfff), ""), odd, "");
    }
    n = LLVMBuildAnd(g->b, n, cg_i32(g, 0xffffe000), "");
    LLVMValueRef quiet = LLVMBuildOr(g->b, u, cg_i32(g, 0x400000), "");
    quiet = LLVMBuildAnd(g->b, quiet, cg_i32(g, 0xffffe000), "");
    return as_f32(g, select_if(g, is_nan(g, x), quiet, n));
}

/// Finite results where rounding would give infinity; NaN stays.
static LLVMValueRef clamp_f32(cg *g, LLVMValueRef x, double most) {
    LLVMValueRef a[2] = {x, LLVMConstReal(g->t_f32, -most)};
    LLVMValueRef b[2] = {cg_call(g, "llvm.maxnum.f32", g->t_f32, 2, a), LLVMConstReal(g->t_f32, most)};
    LLVMValueRef y = cg_call(g, "llvm.minnum.f32", g->t_f32, 2, b);
    return select_if(g, is_nan(g, x), x, y);
}

static LLVMValueRef from_f32(cg *g, vm_dtype to, LLVMValueRef x, vm_rounding r) {
    const bool zero = r.round == R_ZERO;
    if (to == T_f32) return x;
    if (r.saturate && (to == T_f16 || to == T_bf16 || to == T_tf32)) {
        const vm_dtype_info *d = &vm_dtypes[to];
        const uint64_t inf = low_mask(d->e) << d->m;
        const uint64_t code = (inf - 1) << (to == T_tf32 ? 13 : 0);
        x = clamp_f32(g, x, vm_decode(to, code));
    }
    switch (to) {
    case T_f16:
        return zero ? cg_asm(g, "cvt.rz.f16.f32 $0, $1;", "=h,f", g->t_f16, 1, &x, false)
                    : LLVMBuildFPTrunc(g->b, x, g->t_f16, "");
    case T_bf16:
        return zero ? cg_asm(g, "cvt.rz.bf16.f32 $0, $1;", "=h,f", g->t_bf16, 1, &x, false)
                    : LLVMBuildFPTrunc(g->b, x, g->t_bf16, "");
    case T_tf32: return f32_to_tf32(g, x, r);
    case T_f64: return LLVMBuildFPExt(g->b, x, g->t_f64, "");
    case T_f8e8m0: return f32_to_scale(g, x, r);
    default: return f32_to_small(g, to, x, r);
    }
}

// ---- all pairs ----------------------------------------------------------------------------------

static LLVMValueRef int_to_int(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef x) {
    if (to == T_bool) return LLVMBuildICmp(g->b, LLVMIntNE, x, ci(x, 0), "");
    x = cg_widen(g, from, x, cg_scalar_type(g, to));
    return vm_bits(to) < 8 ? LLVMBuildAnd(g->b, x, ci(x, low_mask(vm_bits(to))), "") : x;
}

LLVMValueRef cg_cast(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef x, vm_rounding r) {
    if (from == to) return x;
    if (!vm_is_float(from))
        return vm_is_float(to) ? int_to_float(g, from, to, x, r) : int_to_int(g, from, to, x);
    if (from == T_f64) {
        if (to == T_bool) return LLVMBuildFCmp(g->b, LLVMRealUNE, x, LLVMConstNull(g->t_f64), "");
        if (!vm_is_float(to)) return float_to_int(g, to, x, true);
        if (to == T_f32)
            return r.round == R_ZERO ? call1(g, "llvm.nvvm.d2f.rz", g->t_f32, x)
                                     : LLVMBuildFPTrunc(g->b, x, g->t_f32, "");
        return from_f32(g, to, f64_to_f32_odd(g, x), r);
    }
    x = to_f32(g, from, x, r.numbers);
    if (to == T_bool) return LLVMBuildFCmp(g->b, LLVMRealUNE, x, LLVMConstNull(g->t_f32), "");
    if (!vm_is_float(to)) return float_to_int(g, to, x, false);
    return from_f32(g, to, x, r);
}
