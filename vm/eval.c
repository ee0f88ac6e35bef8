// SPDX-License-Identifier: Apache-2.0
// The meaning of every elementwise instruction on codes: one function a row of inst.def, found by
// its name. Constant folding, compile-time evaluation and the interpreter all come here.
#include "vm/vm.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef uint64_t eval_fn(vm_dtype t, const uint64_t *a);

static uint64_t mask_of(vm_dtype t) {
    return vm_bits(t) >= 64 ? UINT64_MAX : (1ull << vm_bits(t)) - 1;
}

/// An f32 below the least normal number is a zero of its sign, coming and going.
static double flush(vm_dtype t, double x) {
    return t == T_f32 && fabs(x) < (double)FLT_MIN ? copysign(0, x) : x;
}

static double get(vm_dtype t, uint64_t code) { return flush(t, vm_decode(t, code)); }

static uint64_t put(vm_dtype t, double x) {
    if (isnan(x)) x = fabs((double)NAN); // hosts differ in the sign of the NaN they make
    if (t != T_f32) return vm_encode(t, x, vm_default_rounding(t));
    const float f = (float)x; // the host rounds to nearest-even too
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u & 0x7f800000 ? u : u & 0x80000000;
}

// ---- arithmetic ---------------------------------------------------------------------------------
// A double holds twice the digits of an f32 and two more, so + - * / and sqrt of narrower types
// rounded to double and then to the type are rounded as if once.

#define ARITH(name, op)                                                                            \
    static uint64_t ev_##name(vm_dtype t, const uint64_t *a) {                                     \
        if (vm_is_float(t)) return put(t, get(t, a[0]) op get(t, a[1]));                           \
        return (a[0] op a[1]) & mask_of(t);                                                        \
    }
ARITH(add, +)
ARITH(sub, -)
ARITH(mul, *)

static uint64_t ev_div(vm_dtype t, const uint64_t *a) {
    if (vm_is_float(t)) return put(t, get(t, a[0]) / get(t, a[1]));
    const int64_t x = vm_decode_int(t, a[0]), y = vm_decode_int(t, a[1]);
    if (y == 0) return mask_of(t);
    if (!vm_is_signed(t)) return (uint64_t)x / (uint64_t)y;
    if (y == -1) return (0 - (uint64_t)x) & mask_of(t); // the least integer stays itself
    return (uint64_t)(x / y) & mask_of(t);
}

static uint64_t ev_rem(vm_dtype t, const uint64_t *a) {
    if (vm_is_float(t)) return put(t, fmod(get(t, a[0]), get(t, a[1])));
    const int64_t x = vm_decode_int(t, a[0]), y = vm_decode_int(t, a[1]);
    if (y == 0) return a[0] & mask_of(t);
    if (!vm_is_signed(t)) return (uint64_t)x % (uint64_t)y;
    return y == -1 ? 0 : (uint64_t)(x % y) & mask_of(t);
}

static uint64_t ev_and(vm_dtype t, const uint64_t *a) { return (a[0] & a[1]) & mask_of(t); }
static uint64_t ev_or(vm_dtype t, const uint64_t *a) { return (a[0] | a[1]) & mask_of(t); }
static uint64_t ev_xor(vm_dtype t, const uint64_t *a) { return (a[0] ^ a[1]) & mask_of(t); }
static uint64_t ev_not(vm_dtype t, const uint64_t *a) { return ~a[0] & mask_of(t); }

/// A negative amount has its top bit set, and so counts as too large.
static bool too_far(vm_dtype t, uint64_t by) { return (by & mask_of(t)) >= vm_bits(t); }

static uint64_t ev_shl(vm_dtype t, const uint64_t *a) {
    return too_far(t, a[1]) ? 0 : (a[0] << (a[1] & mask_of(t))) & mask_of(t);
}

static uint64_t ev_shr(vm_dtype t, const uint64_t *a) {
    const int64_t x = vm_decode_int(t, a[0]);
    const bool neg = vm_is_signed(t) && x < 0;
    if (too_far(t, a[1])) return neg ? mask_of(t) : 0;
    const uint64_t by = a[1] & mask_of(t), u = (uint64_t)x;
    return (neg ? ~(~u >> by) : u >> by) & mask_of(t);
}

/// Floats: a NaN loses against a number, and -0 is below +0.
static uint64_t least(vm_dtype t, const uint64_t *a, bool largest) {
    if (vm_is_float(t)) {
        const double x = get(t, a[0]), y = get(t, a[1]);
        if (isnan(x) || isnan(y)) return put(t, isnan(x) ? (isnan(y) ? fabs((double)NAN) : y) : x);
        const bool x_below = x < y || (x == y && signbit(x));
        return put(t, x_below != largest ? x : y);
    }
    const int64_t x = vm_decode_int(t, a[0]), y = vm_decode_int(t, a[1]);
    const bool x_below = vm_is_signed(t) ? x < y : (uint64_t)x < (uint64_t)y;
    return (uint64_t)(x_below != largest ? x : y) & mask_of(t);
}

static uint64_t ev_min(vm_dtype t, const uint64_t *a) { return least(t, a, false); }
static uint64_t ev_max(vm_dtype t, const uint64_t *a) { return least(t, a, true); }

static uint64_t sign_bit(vm_dtype t) { return 1ull << (vm_bits(t) - 1); }

static uint64_t ev_neg(vm_dtype t, const uint64_t *a) {
    if (vm_is_float(t)) return (a[0] ^ sign_bit(t)) & mask_of(t);
    return (0 - a[0]) & mask_of(t);
}

static uint64_t ev_abs(vm_dtype t, const uint64_t *a) {
    if (vm_is_float(t)) return a[0] & mask_of(t) & ~sign_bit(t);
    const bool neg = vm_is_signed(t) && (a[0] & sign_bit(t));
    return (neg ? 0 - a[0] : a[0]) & mask_of(t);
}

/// x + y in the exact sum's precision but for the last bit, which is odd if anything was lost:
/// then a later rounding to fewer digits is right.
static double add_to_odd(double x, double y) {
    const double s = x + y;
    if (!isfinite(s)) return s;
    const double yy = s - x, lost = (x - (s - yy)) + (y - yy);
    const uint64_t u = vm_bits_of(s);
    if (lost == 0 || (u & 1)) return s;
    return vm_from_bits((lost > 0) == (s > 0) ? u + 1 : u - 1);
}

static uint64_t ev_fma(vm_dtype t, const uint64_t *a) {
    if (!vm_is_float(t)) return (a[0] * a[1] + a[2]) & mask_of(t);
    const double x = get(t, a[0]), y = get(t, a[1]), z = get(t, a[2]);
    if (t == T_f64) return put(t, fma(x, y, z));
    return put(t, add_to_odd(x * y, z)); // the product of narrower types is exact
}

// ---- functions ----------------------------------------------------------------------------------
// As the hardware does them: f32 steps where the definition has steps, f64 throughout for f64.

static double step(vm_dtype t, double x) { return t == T_f64 ? x : (double)(float)x; }

static double fn_exp(vm_dtype t, double x) { return exp2(step(t, x * step(t, M_LOG2E))); }
static double fn_log(vm_dtype t, double x) { return step(t, log2(x)) * step(t, M_LN2); }
#define PLAIN(name, expr)                                                                          \
    static double fn_##name(vm_dtype t, double x) {                                                \
        (void)t;                                                                                   \
        return expr;                                                                               \
    }
PLAIN(floor, floor(x))
PLAIN(ceil, ceil(x))
PLAIN(exp2, exp2(x))
PLAIN(log2, log2(x))
PLAIN(sqrt, sqrt(x))
PLAIN(rsqrt, 1 / sqrt(x))
PLAIN(rcp, 1 / x)
PLAIN(sin, sin(x))
PLAIN(cos, cos(x))
PLAIN(tanh, tanh(x))
PLAIN(erf, erf(x))

#define FUNCTION(name)                                                                             \
    static uint64_t ev_##name(vm_dtype t, const uint64_t *a) {                                     \
        return put(t, fn_##name(t, get(t, a[0])));                                                 \
    }
FUNCTION(floor)
FUNCTION(ceil)
FUNCTION(exp)
FUNCTION(exp2)
FUNCTION(log)
FUNCTION(log2)
FUNCTION(sqrt)
FUNCTION(rsqrt)
FUNCTION(rcp)
FUNCTION(sin)
FUNCTION(cos)
FUNCTION(tanh)
FUNCTION(erf)

// ---- bits ---------------------------------------------------------------------------------------

static uint64_t ev_popc(vm_dtype t, const uint64_t *a) {
    return (uint64_t)__builtin_popcountll(a[0] & mask_of(t)) & mask_of(t);
}

static uint64_t ev_clz(vm_dtype t, const uint64_t *a) {
    const uint64_t x = a[0] & mask_of(t);
    const unsigned n = x ? (unsigned)__builtin_clzll(x) - (64 - vm_bits(t)) : vm_bits(t);
    return n & mask_of(t);
}

static uint64_t ev_brev(vm_dtype t, const uint64_t *a) {
    uint64_t r = 0;
    for (unsigned i = 0, b = vm_bits(t); i < b; i++) r |= (a[0] >> i & 1) << (b - 1 - i);
    return r;
}

static uint64_t ev_bswap(vm_dtype t, const uint64_t *a) {
    const unsigned b = vm_bits(t);
    return b < 8 ? a[0] & mask_of(t) : __builtin_bswap64(a[0]) >> (64 - b);
}

static uint64_t ev_prmt(vm_dtype t, const uint64_t *a) {
    const uint64_t pair = (a[0] & UINT32_MAX) | a[1] << 32;
    uint64_t r = 0;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned sel = (unsigned)(a[2] >> (4 * i)) & 15;
        uint64_t byte = pair >> (8 * (sel & 7)) & 255;
        if (sel & 8) byte = byte & 128 ? 255 : 0; // the byte's sign, everywhere
        r |= byte << (8 * i);
    }
    return r & mask_of(t);
}

static uint64_t ev_fshl(vm_dtype t, const uint64_t *a) {
    const unsigned b = vm_bits(t), by = (unsigned)((a[2] & mask_of(t)) % b);
    if (by == 0) return a[0] & mask_of(t);
    return (a[0] << by | (a[1] & mask_of(t)) >> (b - by)) & mask_of(t);
}

// ---- comparisons and choice ---------------------------------------------------------------------

#define COMPARE(name, op)                                                                          \
    static uint64_t ev_##name(vm_dtype t, const uint64_t *a) {                                     \
        if (vm_is_float(t)) return get(t, a[0]) op get(t, a[1]);                                   \
        const int64_t x = vm_decode_int(t, a[0]), y = vm_decode_int(t, a[1]);                      \
        return vm_is_signed(t) ? x op y : (uint64_t)x op(uint64_t) y;                              \
    }
COMPARE(eq, ==)
COMPARE(ne, !=)
COMPARE(lt, <)
COMPARE(le, <=)
COMPARE(gt, >)
COMPARE(ge, >=)

static uint64_t ev_select(vm_dtype t, const uint64_t *a) {
    return ((a[0] & 1) ? a[1] : a[2]) & mask_of(t);
}

// ---- the table ----------------------------------------------------------------------------------

static eval_fn *const meaning[I_count_] = {
#define INST(name, ...)
#define INST_ELEM(name, ...) [I_##name] = ev_##name,
#include "vm/inst.def"
#undef INST_ELEM
#undef INST
};

uint64_t vm_eval(vm_inst i, vm_dtype t, const uint64_t *args) {
    return meaning[i] ? meaning[i](t, args) : 0;
}

// ---- what is defined on what --------------------------------------------------------------------

static bool refuse(const char **why, const char *text) {
    if (why) *why = text;
    return false;
}

/// For each type, what to say when it is too narrow to calculate with.
static const char *const narrow[T_count_] = {
#define DTYPE(name, bits, kind, e, m, special)                                                     \
    [T_##name] = "arithmetic on " #name " is not defined: write `as f16` (or another wide type) "  \
                 "first",
#include "vm/dtype.def"
#undef DTYPE
};

static bool calculates(vm_dtype t) {
    switch (t) {
    case T_f16: case T_bf16: case T_f32: case T_f64: return true;
    default: return vm_is_int(t) && vm_bits(t) >= 8;
    }
}

bool vm_eval_legal(vm_inst i, vm_dtype t, const char **why) {
    if (why) *why = NULL;
    if (!meaning[i]) return refuse(why, "this instruction does not work element by element");
    const bool fl = vm_is_float(t), integer = vm_is_int(t);
    switch (i) {
    case I_select: return true;
    case I_eq: case I_ne:
        if (t == T_bool || integer || calculates(t)) return true;
        break;
    case I_lt: case I_le: case I_gt: case I_ge: case I_min: case I_max:
        if (integer || calculates(t)) return true;
        if (t == T_bool) return refuse(why, "bools have no order: write `as u8` first");
        break;
    case I_and: case I_or: case I_xor: case I_not:
        if (t == T_bool || (integer && calculates(t))) return true;
        if (fl) return refuse(why, "floats have no bitwise operations: `bitcast` to an integer "
                                   "of equal width first");
        break;
    case I_rem:
        if (fl) return refuse(why, "`%` is defined on integers: write x - floor(x / y) * y");
        if (calculates(t)) return true;
        break;
    case I_shl: case I_shr: case I_popc: case I_clz: case I_brev: case I_bswap: case I_fshl:
        if (fl) return refuse(why, "this is defined on integers of 8 bits and more: `bitcast` to "
                                   "an integer of equal width first");
        if (calculates(t)) return true;
        break;
    case I_prmt:
        if (t == T_u32 || t == T_i32) return true;
        return refuse(why, "prmt permutes the bytes of u32 or i32");
    case I_exp: case I_exp2: case I_log: case I_log2: case I_sin: case I_cos: case I_tanh:
    case I_erf:
        if (t == T_f64) return refuse(why, "no target computes this in f64: write `as f32` first");
        // fall through
    case I_floor: case I_ceil: case I_sqrt: case I_rsqrt: case I_rcp:
        if (!fl) return refuse(why, "this is defined on floats: write `as f32` first");
        if (calculates(t)) return true;
        break;
    default:
        if (t == T_bool)
            return refuse(why, "arithmetic on bool is not defined: write `as i32` first");
        if (calculates(t)) return true;
        break;
    }
    if (t == T_tf32)
        return refuse(why, "tf32 is an operand type of dot: write `as f32` to calculate");
    return refuse(why, narrow[t]);
}
