// SPDX-License-Identifier: Apache-2.0
// The meaning of elementwise instructions against plain C: long double arithmetic for the floats,
// 128-bit integers for the integers; and the array forms against the single ones.
#include "vm/vm.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 0x2545f4914f6cdd1d;

static uint64_t rnd(void) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717u;
}

static uint64_t low(unsigned b) { return b >= 64 ? UINT64_MAX : (1ull << b) - 1; }

static uint64_t eval1(vm_inst i, vm_dtype t, uint64_t x) { return vm_eval(i, t, &x); }
static uint64_t eval2(vm_inst i, vm_dtype t, uint64_t x, uint64_t y) {
    return vm_eval(i, t, (uint64_t[]){x, y});
}
static uint64_t eval3(vm_inst i, vm_dtype t, uint64_t x, uint64_t y, uint64_t z) {
    return vm_eval(i, t, (uint64_t[]){x, y, z});
}

static void equal(vm_inst i, vm_dtype t, const uint64_t *a, uint64_t got, uint64_t want) {
    if (got != want)
        fail_msg("%s %s of %llx %llx %llx: %llx, not %llx", vm_insts[i].name, vm_dtype_name(t),
                 (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2],
                 (unsigned long long)got, (unsigned long long)want);
}

// ---- integers -----------------------------------------------------------------------------------

__extension__ typedef __int128 big;
__extension__ typedef unsigned __int128 ubig;

static big value(vm_dtype t, uint64_t c) {
    const unsigned b = vm_bits(t);
    c &= low(b);
    return vm_dtypes[t].kind == K_INT && c >> (b - 1) ? (big)c - ((big)1 << b) : (big)c;
}

static uint64_t wrap(vm_dtype t, big x) { return (uint64_t)x & low(vm_bits(t)); }

static big floor_shift(big x, unsigned by) { // division by 2^by, downward
    const big d = (big)1 << by, q = x / d;
    return q * d > x ? q - 1 : q;
}

static void int_case(vm_dtype t, const uint64_t *a) {
    const unsigned b = vm_bits(t);
    const big x = value(t, a[0]), y = value(t, a[1]), z = value(t, a[2]);
#define IS(op, want) equal(I_##op, t, a, vm_eval(I_##op, t, a), want)
    IS(add, wrap(t, x + y));
    IS(sub, wrap(t, x - y));
    IS(mul, wrap(t, (big)((ubig)x * (ubig)y)));
    IS(fma, wrap(t, (big)((ubig)x * (ubig)y + (ubig)z)));
    IS(div, y ? wrap(t, x / y) : low(b));
    IS(rem, y ? wrap(t, x % y) : a[0]);
    IS(min, wrap(t, x < y ? x : y));
    IS(max, wrap(t, x > y ? x : y));
    IS(neg, wrap(t, -x));
    IS(abs, wrap(t, x < 0 ? -x : x));
    IS(not, wrap(t, -1 - x));
    IS(eq, x == y);
    IS(ne, x != y);
    IS(lt, x < y);
    IS(le, x <= y);
    IS(gt, x > y);
    IS(ge, x >= y);
    const bool far = y < 0 || y >= (big)b;
    IS(shl, far ? 0 : wrap(t, (big)((ubig)x << (unsigned)y)));
    IS(shr, far ? wrap(t, x < 0 ? -1 : 0) : wrap(t, floor_shift(x, (unsigned)y)));
    uint64_t ones = 0, lead = b, rev = 0, swap = 0, and = 0, or = 0, xor = 0;
    for (unsigned i = 0; i < b; i++) {
        const uint64_t p = a[0] >> i & 1, q = a[1] >> i & 1;
        ones += p;
        if (p) lead = b - 1 - i;
        rev = rev * 2 + p;
        and |= (p * q) << i;
        or |= (uint64_t)(p + q > 0) << i;
        xor |= (uint64_t)(p != q) << i;
    }
    for (unsigned i = 0; i < b; i += 8) swap = swap * 256 + (a[0] >> i & 255);
    IS(popc, ones);
    IS(clz, lead);
    IS(brev, rev);
    IS(bswap, swap);
    IS(and, and);
    IS(or, or);
    IS(xor, xor);
    uint64_t word = 0; // bit by bit: result bit i is bit i - amount of x, or falls in y's top
    const unsigned by = (unsigned)(a[2] % b);
    for (unsigned i = 0; i < b; i++)
        word |= (i >= by ? a[0] >> (i - by) & 1 : a[1] >> (b + i - by) & 1) << i;
    IS(fshl, word);
}

static const vm_dtype ints[] = {T_u8, T_i8, T_u16, T_i16, T_u32, T_i32, T_u64, T_i64};

static void integers(void **s) {
    (void)s;
    for (unsigned k = 0; k < 30000; k++) {
        const vm_dtype t = ints[rnd() % 8];
        uint64_t a[3];
        for (unsigned j = 0; j < 3; j++) {
            const unsigned b = vm_bits(t);
            a[j] = rnd() & low(b) & low((unsigned)(1 + rnd() % 64));
            if (rnd() % 4 == 0) a[j] = (0 - (rnd() & 3)) & low(b);            // about 0
            if (rnd() % 8 == 0) a[j] = ((1ull << (b - 1)) - (rnd() & 1)) & low(b); // the ends
            if (rnd() % 4 == 0) a[j] = rnd() % (b + 3);                        // shift amounts
        }
        int_case(t, a);
    }
    assert_int_equal(eval3(I_prmt, T_u32, 0x33221100, 0x77665544, 0x7250), 0x77225500);
    assert_int_equal(eval3(I_prmt, T_i32, 0x80017f00, 0xff, 0xcb98), 0xffff0000 & 0xffffffff);
    assert_int_equal(eval2(I_lt, T_i4, 0xf, 1), 1);
    assert_int_equal(eval2(I_lt, T_u4, 0xf, 1), 0);
    assert_int_equal(eval2(I_max, T_u3, 5, 6), 6);
    assert_int_equal(eval2(I_min, T_i3, 5, 2), 5);
    for (unsigned x = 0; x < 2; x++) {
        assert_int_equal(eval1(I_not, T_bool, x), !x);
        for (unsigned y = 0; y < 2; y++) {
            assert_int_equal(eval2(I_and, T_bool, x, y), x && y);
            assert_int_equal(eval2(I_or, T_bool, x, y), x || y);
            assert_int_equal(eval2(I_xor, T_bool, x, y), x != y);
            assert_int_equal(eval2(I_eq, T_bool, x, y), x == y);
        }
    }
}

// ---- floats -------------------------------------------------------------------------------------
// The oracle rounds a long double to p digits by adding and taking away: no bit of vm/num.c.

typedef struct {
    vm_dtype t;
    int p, emin; // digits, exponent of the least normal
    long double max;
} shape;
static const shape shapes[] = {{T_f16, 11, -14, 65504.0L}, {T_bf16, 8, -126, 0x1.fep127L},
                               {T_f32, 24, -126, (long double)FLT_MAX}};

static long double round_to(const shape *f, long double x) {
    if (x == 0 || isnan(x) || isinf(x)) return x;
    int e;
    frexpl(x, &e); // 2^(e-1) <= |x| < 2^e
    const int ulp = (e - 1 < f->emin ? f->emin : e - 1) - (f->p - 1);
    const long double n = rintl(ldexpl(x, -ulp)), y = ldexpl(n, ulp);
    if (fabsl(y) > f->max) return copysignl((long double)INFINITY, x);
    const bool small = f->t == T_f32 && fabsl(y) < (long double)FLT_MIN;
    return small ? copysignl(0, x) : copysignl(y, x);
}

static long double operand(const shape *f, uint64_t c) {
    if (f->t == T_f32) {
        const uint32_t u = (uint32_t)c;
        float x;
        memcpy(&x, &u, 4);
        return fabsf(x) < FLT_MIN ? copysignl(0, (long double)x) : (long double)x;
    }
    const int m = f->p - 1, bias = 1 - f->emin, ex = (int)(c >> m & low((unsigned)(15 - m)));
    const long double frac = (long double)(c & low((unsigned)m));
    const long double top = frac > 0 ? (long double)NAN : (long double)INFINITY;
    const long double x = ex == (int)low((unsigned)(15 - m)) ? top
                          : ex ? ldexpl(frac + ldexpl(1, m), ex - bias - m)
                               : ldexpl(frac, f->emin - m);
    return c >> 15 & 1 ? -x : x;
}

static void same(const shape *f, vm_inst i, const uint64_t *a, long double want) {
    const uint64_t got = vm_eval(i, f->t, a);
    const long double y = operand(f, got);
    if ((isnan(want) && isnan(y)) || (want == y && !signbit(want) == !signbit(y))) return;
    fail_msg("%s %s of %llx %llx %llx: %La, not %La", vm_insts[i].name, vm_dtype_name(f->t),
             (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2], y, want);
}

static uint64_t float_code(vm_dtype t) {
    const unsigned b = vm_bits(t);
    const uint64_t exps = (low(b - 1) >> vm_dtypes[t].m) << vm_dtypes[t].m;
    const uint64_t c = rnd() & low(b);
    switch (rnd() % 8) {
    case 0: return c & ~exps;                       // zero exponent
    case 1: return c | exps;                        // inf or NaN
    case 2: return (c | exps) & ~low(vm_dtypes[t].m); // inf
    case 3: return c & (1ull << (b - 1));           // zeros
    case 4: return c & ~low(vm_dtypes[t].m / 2u);   // few digits: ties
    default: return c;
    }
}

/// x * y + z rounded once. The product is exact; of the sum the part that a long double loses
/// decides only when the rest is a tie, which moving one ulp toward it settles.
static long double fused(const shape *f, long double x, long double y, long double z) {
    const long double p = x * y, s = p + z;
    if (isnan(s) || isinf(s) || s == 0) return s == 0 ? s : round_to(f, s);
    const long double zz = s - p, lost = (p - (s - zz)) + (z - zz);
    const long double toward = copysignl((long double)INFINITY, lost);
    return round_to(f, lost == 0 ? s : nextafterl(s, toward));
}

static void floats(void **s) {
    (void)s;
    for (unsigned k = 0; k < 150000; k++) {
        const shape *f = &shapes[rnd() % 3];
        uint64_t a[3] = {float_code(f->t), float_code(f->t), float_code(f->t)};
        if (rnd() % 4 == 0) // close exponents, so that the sums have something to cancel
            a[1] = (a[0] ^ (rnd() & low(vm_dtypes[f->t].m + 2u))) & low(vm_bits(f->t));
        const long double x = operand(f, a[0]), y = operand(f, a[1]), z = operand(f, a[2]);
        same(f, I_add, a, round_to(f, x + y));
        same(f, I_sub, a, round_to(f, x - y));
        same(f, I_mul, a, round_to(f, x * y));
        same(f, I_div, a, round_to(f, x / y));
        same(f, I_sqrt, a, round_to(f, sqrtl(x)));
        same(f, I_rcp, a, round_to(f, 1 / x));
        same(f, I_floor, a, floorl(x));
        same(f, I_ceil, a, round_to(f, ceill(x)));
        same(f, I_fma, a, fused(f, x, y, z));
        const bool less = x < y || (x == y && signbit(x));
        same(f, I_min, a, isnan(x) ? y : isnan(y) ? x : less ? x : y);
        same(f, I_max, a, isnan(x) ? y : isnan(y) ? x : less ? y : x);
        equal(I_neg, f->t, a, eval1(I_neg, f->t, a[0]), a[0] ^ 1ull << (vm_bits(f->t) - 1));
        equal(I_abs, f->t, a, eval1(I_abs, f->t, a[0]), a[0] & low(vm_bits(f->t) - 1));
        equal(I_eq, f->t, a, vm_eval(I_eq, f->t, a), x == y);
        equal(I_ne, f->t, a, vm_eval(I_ne, f->t, a), x != y);
        equal(I_lt, f->t, a, vm_eval(I_lt, f->t, a), x < y);
        equal(I_le, f->t, a, vm_eval(I_le, f->t, a), x <= y);
        equal(I_gt, f->t, a, vm_eval(I_gt, f->t, a), x > y);
        equal(I_ge, f->t, a, vm_eval(I_ge, f->t, a), x >= y);
    }
    // f32 fma against the C library, where nothing is flushed.
    for (unsigned k = 0; k < 20000; k++) {
        float v[3];
        uint64_t a[3];
        for (unsigned j = 0; j < 3; j++) {
            v[j] = ldexpf((float)(int32_t)rnd(), (int)(rnd() % 40) - 40);
            uint32_t u;
            memcpy(&u, &v[j], 4);
            a[j] = u;
        }
        same(&shapes[2], I_fma, a, (long double)fmaf(v[0], v[1], v[2]));
    }
}

static uint64_t code64(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}

static void doubles(void **s) {
    (void)s;
    for (unsigned k = 0; k < 5000; k++) {
        const double x = ldexp((double)(int64_t)rnd(), (int)(rnd() % 200) - 150);
        const double y = ldexp((double)(int64_t)rnd(), (int)(rnd() % 200) - 150);
        const double z = -x * y * (1 + (double)(rnd() % 3) * 0x1p-52);
        const uint64_t a = code64(x), b = code64(y);
        assert_int_equal(eval2(I_add, T_f64, a, b), code64(x + y));
        assert_int_equal(eval2(I_mul, T_f64, a, b), code64(x * y));
        assert_int_equal(eval2(I_div, T_f64, a, b), code64(x / y));
        assert_int_equal(eval3(I_fma, T_f64, a, b, code64(z)), code64(fma(x, y, z)));
        assert_int_equal(eval2(I_lt, T_f64, a, b), x < y);
    }
}

/// Functions within their documented errors, over the range where kernels use them.
static void functions(void **s) {
    (void)s;
    static const struct {
        vm_inst i;
        long double (*f)(long double);
        double lo, hi, rel, abs;
    } rows[] = {
        {I_exp2, exp2l, -125, 127, 0x1p-22, 0}, {I_exp, expl, -80, 80, 0x1p-16, 0},
        {I_log2, log2l, 1e-30, 1e30, 0x1p-22, 0x1p-22},
        {I_log, logl, 1e-30, 1e30, 0x1p-22, 0x1p-21},
        {I_sin, sinl, -3.14, 3.14, 0, 0x1p-20}, {I_cos, cosl, -3.14, 3.14, 0, 0x1p-20},
        {I_tanh, tanhl, -9, 9, 0x1p-10, 0}, {I_erf, erfl, -4, 4, 0, 0x1p-20},
        {I_sqrt, sqrtl, 0, 1e30, 0x1p-22, 0},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (unsigned k = 0; k < 2000; k++) {
            const double part = (double)(rnd() >> 11) * 0x1p-53;
            const float x = (float)(rows[r].lo + (rows[r].hi - rows[r].lo) * part);
            uint32_t u;
            memcpy(&u, &x, 4);
            const long double want = rows[r].f((long double)x);
            const long double got = operand(&shapes[2], eval1(rows[r].i, T_f32, u));
            const long double err = fabsl(got - want);
            if (err > rows[r].rel * fabsl(want) + rows[r].abs)
                fail_msg("%s(%a) = %La, not %La", vm_insts[rows[r].i].name, (double)x, got, want);
        }
    }
    assert_int_equal(eval1(I_rsqrt, T_f32, 0x40800000), 0x3f000000);
    assert_int_equal(eval1(I_exp2, T_f16, 0x4200), 0x4800);
    assert_int_equal(eval1(I_log2, T_bf16, 0x4100), 0x4040);
    assert_int_equal(eval1(I_exp2, T_f32, 0xff800000), 0);
    assert_int_equal(eval1(I_sqrt, T_f32, 0xbf800000), 0x7fc00000);
    assert_int_equal(eval1(I_rcp, T_f32, 1), 0x7f800000); // a denormal counts as 0
    assert_int_equal(eval2(I_mul, T_f32, 0x00800000, 0x3f000000), 0);
    assert_int_equal(eval2(I_mul, T_f32, 0x80800000, 0x3f000000), 0x80000000);
}

// ---- legality -----------------------------------------------------------------------------------

static void legality(void **s) {
    (void)s;
    const char *why = NULL;
    for (unsigned i = 0; i < I_count_; i++) {
        const unsigned cls = vm_insts[i].cls;
        const bool elem = cls == C_ELEM || cls == C_CMP || cls == C_SELECT;
        for (unsigned t = 0; t < T_count_; t++) {
            why = "unset";
            const bool ok = vm_eval_legal((vm_inst)i, (vm_dtype)t, &why);
            assert_true(ok ? why == NULL : why && strlen(why) > 10);
            assert_int_equal(ok, vm_eval_legal((vm_inst)i, (vm_dtype)t, NULL));
            if (!elem) assert_false(ok);
            if (i == I_select) assert_true(ok);
            // Total, whatever it is asked.
            uint64_t a[3] = {rnd(), rnd(), rnd()};
            const uint64_t r = vm_eval((vm_inst)i, (vm_dtype)t, a);
            assert_true(r <= low(cls == C_CMP ? 1 : vm_bits((vm_dtype)t)));
        }
    }
    assert_false(vm_eval_legal(I_add, T_u4, &why));
    assert_string_equal(why, "arithmetic on u4 is not defined: write `as f16` (or another wide "
                             "type) first");
    assert_false(vm_eval_legal(I_add, T_tf32, &why));
    assert_false(vm_eval_legal(I_add, T_bool, &why));
    assert_false(vm_eval_legal(I_lt, T_bool, &why));
    assert_false(vm_eval_legal(I_lt, T_f8e4m3, &why));
    assert_false(vm_eval_legal(I_and, T_f32, &why));
    assert_false(vm_eval_legal(I_rem, T_f32, &why));
    assert_false(vm_eval_legal(I_shl, T_f16, &why));
    assert_false(vm_eval_legal(I_prmt, T_u64, &why));
    assert_false(vm_eval_legal(I_exp2, T_f64, &why));
    assert_false(vm_eval_legal(I_exp2, T_i32, &why));
    assert_true(vm_eval_legal(I_lt, T_u3, &why));
    assert_true(vm_eval_legal(I_max, T_i2, &why));
    assert_true(vm_eval_legal(I_xor, T_bool, &why));
    assert_true(vm_eval_legal(I_fma, T_bf16, &why));
    assert_true(vm_eval_legal(I_popc, T_u8, &why));
}

// ---- arrays -------------------------------------------------------------------------------------

static void arrays(void **s) {
    (void)s;
    enum { N = 1100 };
    static uint64_t src[3][N], dst[N + 1];
    for (unsigned i = 0; i < I_count_; i++) {
        const unsigned cls = vm_insts[i].cls;
        if (cls != C_ELEM && cls != C_CMP && cls != C_SELECT) continue;
        for (unsigned t = 0; t < T_count_; t++) {
            const vm_dtype type = (vm_dtype)t;
            if (!vm_eval_legal((vm_inst)i, type, NULL)) continue;
            const unsigned w = vm_cell(type), out = cls == C_CMP ? 1 : w;
            const unsigned ops = (unsigned)vm_insts[i].nops;
            for (unsigned round = 0; round < 6; round++) {
                const size_t n = round == 0 ? 0 : round == 1 ? N : 1 + rnd() % 40;
                const bool in_place = round == 2 && cls != C_SELECT;
                bool scalar[3] = {rnd() % 4 == 0, rnd() % 3 == 0, rnd() % 4 == 0};
                const void *p[3] = {src[0], src[1], src[2]};
                static uint64_t code[3][N];
                for (unsigned j = 0; j < ops; j++) {
                    const unsigned wj = cls == C_SELECT && j == 0 ? 1 : w;
                    for (size_t k = 0; k < N; k++) {
                        uint64_t c = rnd() & low(vm_bits(type));
                        if (vm_is_float(type) && type != T_f8e8m0 && type != T_f64)
                            c = float_code(type);
                        else if (rnd() % 3 == 0) c = (rnd() % 70) & low(vm_bits(type));
                        if (wj == 1 && cls == C_SELECT && j == 0) c &= 1;
                        code[j][k] = c;
                        memcpy((char *)src[j] + k * wj, &c, wj);
                    }
                }
                memset(dst, 0xa5, sizeof dst);
                if (in_place) scalar[0] = false;
                void *d = in_place ? (void *)src[0] : dst;
                vm_bulk((vm_inst)i, type, n, p, scalar, d);
                for (size_t k = 0; k < n; k++) {
                    uint64_t a[3] = {0}, got = 0;
                    for (unsigned j = 0; j < ops; j++) a[j] = code[j][scalar[j] ? 0 : k];
                    memcpy(&got, (char *)d + k * out, out);
                    equal((vm_inst)i, type, a, got, vm_eval((vm_inst)i, type, a));
                }
                if (!in_place) assert_int_equal(((uint8_t *)dst)[n * out], 0xa5);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers), cmocka_unit_test(floats),   cmocka_unit_test(doubles),
        cmocka_unit_test(functions), cmocka_unit_test(legality), cmocka_unit_test(arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
