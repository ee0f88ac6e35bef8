// SPDX-License-Identifier: Apache-2.0
// Bit-exact numerics: what a code of each element type means, and how a number becomes a code.
// One decoder and one encoder serve every float, driven by its row of dtype.def.
#include "vm/bitorder.h"

#include <math.h>
#include <string.h>

static uint64_t mask_of(unsigned bits) { return bits >= 64 ? UINT64_MAX : (1ull << bits) - 1; }

vm_rounding vm_default_rounding(vm_dtype to) {
    return (vm_rounding){.round = R_NEAREST, .saturate = vm_is_float(to) && vm_bits(to) <= 8};
}

/// How a float type lies in its code. tf32 alone leaves bits below its mantissa unused.
typedef struct {
    unsigned e, m, low; // exponent bits, mantissa bits, unused bits below
    int bias;
    uint64_t all;    // the magnitude code of all ones
    uint64_t finite; // the largest finite magnitude code
} form;

static form form_of(vm_dtype t) {
    const vm_dtype_info *d = &vm_dtypes[t];
    form f = {.e = d->e, .m = d->m, .low = t == T_tf32 ? 13 : 0};
    f.bias = (1 << (f.e - 1)) - 1;
    f.all = mask_of(f.e + f.m);
    f.finite = d->special == SP_IEEE ? (mask_of(f.e) << f.m) - 1
               : d->special == SP_NAN ? f.all - 1
                                      : f.all;
    return f;
}

// ---- decoding -----------------------------------------------------------------------------------

/// 2^e for e in the range of normal doubles.
static double pow2(int e) { return vm_from_bits((uint64_t)(e + 1023) << 52); }

double vm_decode(vm_dtype t, uint64_t code) {
    const vm_dtype_info *d = &vm_dtypes[t];
    if (t == T_f64) return vm_from_bits(code);
    if (t == T_f32) {
        const uint32_t u = (uint32_t)code;
        float x;
        memcpy(&x, &u, sizeof x);
        return (double)x;
    }
    if (d->kind != K_FLOAT) {
        if (d->kind == K_INT) return (double)vm_decode_int(t, code);
        return (double)(code & mask_of(d->bits));
    }
    if (d->special == SP_SCALE) return code == 255 ? (double)NAN : pow2((int)(code & 255) - 127);
    const form f = form_of(t);
    const uint64_t mag = (code >> f.low) & f.all;
    const bool neg = (code >> (d->bits - 1)) & 1;
    double x;
    if (mag > f.finite) {
        const bool inf = d->special == SP_IEEE && (mag & mask_of(f.m)) == 0 &&
                         (code & mask_of(f.low)) == 0;
        x = inf ? (double)INFINITY : (double)NAN;
    } else {
        const int ex = (int)(mag >> f.m);
        const uint64_t frac = mag & mask_of(f.m);
        const uint64_t sig = ex ? frac | (1ull << f.m) : frac;
        x = (double)sig * pow2((ex ? ex : 1) - f.bias - (int)f.m);
    }
    return neg ? -x : x;
}

double vm_decode_number(vm_dtype t, uint64_t code) {
    const vm_dtype_info *d = &vm_dtypes[t];
    if (d->special == SP_SCALE && (code & 255) == 255) return (double)INFINITY;
    if (d->special != SP_NAN) return vm_decode(t, code);
    const form f = form_of(t);
    if ((code & f.all) != f.all) return vm_decode(t, code);
    const double x = (double)mask_of(f.m + 1) * pow2((int)mask_of(f.e) - f.bias - (int)f.m);
    return code >> (d->bits - 1) & 1 ? -x : x;
}

int64_t vm_decode_int(vm_dtype t, uint64_t code) {
    const unsigned b = vm_bits(t);
    code &= mask_of(b);
    if (vm_dtypes[t].kind == K_INT && b < 64 && (code >> (b - 1))) code |= ~mask_of(b);
    return (int64_t)code;
}

// ---- encoding -----------------------------------------------------------------------------------

static uint64_t place(vm_dtype t, const form *f, bool neg, uint64_t mag) {
    return (mag << f->low) | ((uint64_t)neg << (vm_bits(t) - 1));
}

static uint64_t encode_nan(vm_dtype t, bool neg) {
    const vm_dtype_info *d = &vm_dtypes[t];
    if (d->special == SP_SCALE) return 255;
    const form f = form_of(t);
    if (d->special == SP_NONE) return mask_of(d->bits);
    // The quiet NaN without payload; eight-bit floats have all ones, as the hardware does.
    const bool ones = d->bits == 8;
    return place(t, &f, neg, ones ? f.all : (mask_of(f.e) << f.m) | (1ull << (f.m - 1)));
}

static uint64_t encode_beyond(vm_dtype t, bool neg, bool exact_inf, vm_rounding r) {
    const vm_dtype_info *d = &vm_dtypes[t];
    if (d->special == SP_SCALE)
        return r.saturate || ((r.round == R_ZERO || r.round == R_DOWN) && !exact_inf) ? 254 : 255;
    const form f = form_of(t);
    // Toward zero, or away from its infinity, a finite number does not become infinite.
    const bool inward = r.round == R_ZERO || r.round == (neg ? R_UP : R_DOWN);
    const bool clamp = r.saturate || (inward && !exact_inf);
    if (clamp || d->special == SP_NONE) return place(t, &f, neg, f.finite);
    return place(t, &f, neg, d->special == SP_IEEE ? f.finite + 1 : f.all);
}

/// Whether a magnitude goes up by one: of the part below its last bit, `odd` that bit, `some` whether
/// there is such a part at all, `half` its comparison with one half.
static bool goes_up(enum vm_round r, bool neg, bool odd, bool some, int half) {
    switch (r) {
    case R_ZERO: return false;
    case R_DOWN: return some && neg;
    case R_UP: return some && !neg;
    case R_AWAY: return half >= 0;
    default: return half > 0 || (half == 0 && odd);
    }
}

/// The code of -1^neg * sig * 2^exp, rounded once from this exact value.
static uint64_t encode_exact(vm_dtype t, bool neg, uint64_t sig, int exp, vm_rounding r) {
    const vm_dtype_info *d = &vm_dtypes[t];
    const int top = sig ? 63 - __builtin_clzll(sig) : 0;
    if (d->special == SP_SCALE) {
        if (neg && sig) return r.saturate ? 0 : 255; // a scale has no sign
        if (!sig) return 0;
        int e = top + exp + 127;
        const uint64_t frac = sig - (1ull << top), half = top ? 1ull << (top - 1) : 0;
        if (frac && goes_up(r.round, neg, e & 1, true, (frac > half) - (frac < half))) e++;
        return e < 0 ? 0 : e > 254 ? encode_beyond(t, false, false, r) : (uint64_t)e;
    }
    const form f = form_of(t);
    if (!sig) return place(t, &f, neg, 0);
    const int emin = 1 - f.bias, e = top + exp > emin ? top + exp : emin;
    const int shift = e - (int)f.m - exp; // bits of sig below the last kept one
    uint64_t n;
    if (shift <= 0) {
        n = sig << -shift;
    } else if (shift > 64) {
        n = goes_up(r.round, neg, false, true, -1);
    } else {
        n = shift == 64 ? 0 : sig >> shift;
        const uint64_t rest = sig & mask_of((unsigned)shift), half = 1ull << (shift - 1);
        if (goes_up(r.round, neg, n & 1, rest != 0, (rest > half) - (rest < half))) n++;
    }
    // n has the hidden bit when normal; a carry out of the mantissa steps the exponent by itself.
    const uint64_t mag = ((uint64_t)(e - emin) << f.m) + n;
    if (e - emin > (1 << f.e) || mag > f.finite) return encode_beyond(t, neg, false, r);
    return place(t, &f, neg, mag);
}

static uint64_t encode_double(vm_dtype t, double x, vm_rounding r) {
    const uint64_t u = vm_bits_of(x);
    const bool neg = u >> 63;
    const int ex = (int)(u >> 52 & 2047);
    const uint64_t frac = u & mask_of(52);
    if (ex == 2047) {
        if (frac) return encode_nan(t, neg);
        if (vm_dtypes[t].special == SP_SCALE && neg) return r.saturate ? 0 : 255;
        return encode_beyond(t, neg, true, r);
    }
    return encode_exact(t, neg, ex ? frac | 1ull << 52 : frac, (ex ? ex : 1) - 1075, r);
}

/// Truncates and saturates; NaN is 0; bool asks whether x differs from 0.
static uint64_t int_of_double(vm_dtype t, double x) {
    const unsigned b = vm_bits(t);
    if (t == T_bool) return x != 0;
    if (isnan(x)) return 0;
    if (vm_dtypes[t].kind == K_UINT) {
        if (x <= 0) return 0;
        return x >= ldexp(1, (int)b) ? mask_of(b) : (uint64_t)x;
    }
    const double lim = ldexp(1, (int)b - 1);
    if (x >= lim) return mask_of(b - 1);
    if (x < -lim) return 1ull << (b - 1);
    return (uint64_t)(int64_t)x & mask_of(b);
}

uint64_t vm_encode(vm_dtype t, double x, vm_rounding r) {
    return vm_is_float(t) ? encode_double(t, x, r) : int_of_double(t, x);
}

uint64_t vm_encode_int(vm_dtype t, int64_t x) {
    if (t == T_bool) return x != 0;
    if (vm_is_float(t)) {
        const uint64_t mag = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
        return encode_exact(t, x < 0, mag, 0, vm_default_rounding(t));
    }
    return (uint64_t)x & mask_of(vm_bits(t));
}

uint64_t vm_cast(vm_dtype from, vm_dtype to, uint64_t code, vm_rounding r) {
    if (from == to) return code & mask_of(vm_bits(to));
    if (vm_is_float(from))
        return vm_encode(to, r.numbers ? vm_decode_number(from, code) : vm_decode(from, code), r);
    const int64_t x = vm_decode_int(from, code) + (r.offset ? bits_offset(from, to) : 0);
    if (!vm_is_float(to)) return vm_encode_int(to, x);
    const bool neg = vm_dtypes[from].kind == K_INT && x < 0;
    return encode_exact(to, neg, neg ? 0 - (uint64_t)x : (uint64_t)x, 0, r);
}
