// SPDX-License-Identifier: Apache-2.0
// vm/num.c against fixtures/dtypes.txt, an oracle in exact rationals that shares no code with it
// (fixtures/dtypes.py), and the casts between all types against rules stated here anew.
#include "vm/vm.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *fixtures = "tests/fixtures";
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void) { // xorshift64*
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717u;
}

static uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}

static double from_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static bool same(double x, double y) { return (isnan(x) && isnan(y)) || bits_of(x) == bits_of(y); }

static uint64_t low(unsigned b) { return b >= 64 ? UINT64_MAX : (1ull << b) - 1; }

/// The words of each fixture line whose first word is `kind`, given to `f`; at least `least` lines.
static void each_line(const char *kind, unsigned least, void (*f)(char **word, unsigned n)) {
    char path[4096];
    snprintf(path, sizeof path, "%s/dtypes.txt", fixtures);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    static char line[1 << 16];
    static char *word[600];
    unsigned lines = 0;
    while (fgets(line, sizeof line, in)) {
        unsigned n = 0;
        for (char *p = strtok(line, " \n"); p && n < 600; p = strtok(NULL, " \n")) word[n++] = p;
        if (n < 2 || strcmp(word[0], kind) != 0) continue;
        f(word, n);
        lines++;
    }
    fclose(in);
    assert_true(lines >= least);
}

static vm_dtype type(const char *name) {
    vm_dtype t;
    if (!vm_dtype_find(name, &t)) fail_msg("no type %s", name);
    return t;
}

static void check_values(vm_dtype t, char **word, unsigned n) {
    assert_int_equal(n, 1u << vm_bits(t));
    float f32[256];
    double f64[256];
    uint8_t cells[256];
    for (unsigned c = 0; c < n; c++) cells[c] = (uint8_t)c;
    vm_bulk_to_f32(t, n, cells, f32);
    vm_bulk_to_f64(t, n, cells, f64);
    for (unsigned c = 0; c < n; c++) {
        const double want = strtod(word[c], NULL), got = vm_decode(t, c);
        if (!same(want, got)) fail_msg("%s %#x is %a, not %s", vm_dtype_name(t), c, got, word[c]);
        assert_true(same(f64[c], want));
        assert_true(same((double)f32[c], want));
        // Each finite code comes back from its value, -0 included.
        if (isfinite(want))
            for (unsigned m = 0; m < 4; m++)
                assert_int_equal(vm_encode(t, want, (vm_rounding){.round = m & 1, .saturate = m >> 1}), c);
    }
}

static void values_line(char **word, unsigned n) { check_values(type(word[1]), word + 2, n - 2); }

static void exmy_line(char **word, unsigned n) {
    const unsigned e = (unsigned)(word[1][1] - '0'), m = (unsigned)(word[1][3] - '0');
    char name[16];
    snprintf(name, sizeof name, "f%ue%um%u", 1 + e + m, e, m);
    check_values(type(name), word + 2, n - 2);
}

static void hash_line(char **word, unsigned n) {
    assert_int_equal(n, 4);
    const vm_dtype t = type(word[1]);
    const unsigned first = (unsigned)atoi(word[2]) * 4096;
    uint64_t h = 0xcbf29ce484222325;
    for (unsigned c = first; c < first + 4096; c++) {
        const double x = vm_decode(t, c);
        if (isfinite(x)) assert_int_equal(vm_encode(t, x, vm_default_rounding(t)), c);
        uint16_t cell = (uint16_t)c;
        float f;
        vm_bulk_to_f32(t, 1, &cell, &f);
        assert_true(same((double)f, x));
        const uint64_t u = isnan(x) ? 0x7ff8ull << 48 : bits_of(x);
        for (unsigned i = 0; i < 8; i++) h = (h ^ (u >> (8 * i) & 255)) * 0x100000001b3;
    }
    assert_int_equal(h, strtoull(word[3], NULL, 16));
}

static void enc_line(char **word, unsigned n) {
    assert_int_equal(n, 7);
    const vm_dtype t = type(word[1]);
    const uint64_t u = strtoull(word[2], NULL, 16);
    for (unsigned m = 0; m < 4; m++) {
        const vm_rounding r = {.round = m < 2 ? R_NEAREST : R_ZERO, .saturate = m & 1};
        const uint64_t want = strtoull(word[3 + m], NULL, 16);
        const uint64_t got = vm_encode(t, from_bits(u), r);
        if (got != want)
            fail_msg("%s of %a mode %u: %llx, not %llx", word[1], from_bits(u), m,
                     (unsigned long long)got, (unsigned long long)want);
        assert_int_equal(vm_cast(T_f64, t, u, r), want);
        uint64_t cell = 0;
        vm_bulk_cast(T_f64, t, 1, &u, &cell, r);
        assert_int_equal(cell, want);
    }
}

static void int_line(char **word, unsigned n) {
    assert_int_equal(n, 5);
    const vm_dtype t = type(word[1]);
    const bool neg = word[2][0] == 's';
    const uint64_t x = neg ? (uint64_t)strtoll(word[3], NULL, 10) : strtoull(word[3], NULL, 10);
    const uint64_t got = vm_cast(neg ? T_i64 : T_u64, t, x, vm_default_rounding(t));
    if (got != strtoull(word[4], NULL, 16))
        fail_msg("%s of %s: %llx", word[1], word[3], (unsigned long long)got);
}

static void values(void **s) { (void)s; each_line("values", 22, values_line); }
static void exmy(void **s) { (void)s; each_line("exmy", 10, exmy_line); }
static void hashes(void **s) { (void)s; each_line("hash", 32, hash_line); }
static void encoding(void **s) { (void)s; each_line("enc", 1000, enc_line); }
static void from_int(void **s) { (void)s; each_line("int", 100, int_line); }

static void special_values(void **s) {
    (void)s;
    const vm_rounding wide = {.round = R_NEAREST}, sat = {.round = R_NEAREST, .saturate = true};
    const double inf = (double)INFINITY, nan = (double)NAN;
    assert_int_equal(vm_encode(T_f16, inf, wide), 0x7c00);
    assert_int_equal(vm_encode(T_f16, -inf, sat), 0xfbff);
    assert_int_equal(vm_encode(T_bf16, -inf, wide), 0xff80);
    assert_int_equal(vm_encode(T_f32, 1e300, wide), 0x7f800000);
    assert_int_equal(vm_encode(T_f32, 1e300, (vm_rounding){.round = R_ZERO}), 0x7f7fffff);
    assert_int_equal(vm_encode(T_f8e4m3, inf, sat), 0x7e);
    assert_int_equal(vm_encode(T_f8e4m3, inf, wide), 0x7f);
    assert_int_equal(vm_encode(T_f8e4m3, nan, sat), 0x7f);
    assert_int_equal(vm_encode(T_f8e4m3, copysign(nan, -1), sat), 0xff);
    assert_int_equal(vm_encode(T_f8e5m2, inf, wide), 0x7c);
    assert_int_equal(vm_encode(T_f8e5m2, inf, sat), 0x7b);
    assert_int_equal(vm_encode(T_f8e8m0, nan, sat), 0xff);
    assert_int_equal(vm_encode(T_f8e8m0, inf, sat), 0xfe);
    assert_int_equal(vm_encode(T_f8e8m0, -1, sat), 0);
    assert_int_equal(vm_encode(T_f6e3m2, nan, sat), 0x3f);
    assert_int_equal(vm_encode(T_f4e2m1, -inf, sat), 0xf);
    for (unsigned t = 0; t < T_count_; t++) {
        const uint64_t code = vm_encode((vm_dtype)t, nan, vm_default_rounding((vm_dtype)t));
        assert_true(code <= low(vm_bits((vm_dtype)t)));
        if (vm_dtypes[t].special != SP_NONE) assert_true(isnan(vm_decode((vm_dtype)t, code)));
        assert_int_equal(vm_default_rounding((vm_dtype)t).saturate,
                         vm_dtypes[t].kind == K_FLOAT && vm_dtypes[t].bits <= 8);
    }
    assert_true(isnan(vm_decode(T_tf32, 0x7f800001)));
    assert_true(isinf(vm_decode(T_tf32, 0xff800000)));
    // Casts leave denormals of f32 alone.
    assert_int_equal(vm_cast(T_f32, T_f64, 1, wide), bits_of(0x1p-149));
    assert_int_equal(vm_encode(T_f32, 0x1p-149, wide), 1);
}

static void float_to_int(void **s) {
    (void)s;
    const vm_rounding r = {.round = R_NEAREST};
    static const double xs[] = {
        0.0, -0.0, 0.5, -0.5, 0.99, 1, -1, 1.5, 2.5, -2.5, 6.999, 7, 8, 15.9, 16, 127.5, 128,
        -128.9, -129, 255.9, 256, 65535.5, 65536, 2147483647.5, -2147483648.5, 4294967295.9,
        4294967296.0, 0x1p62, 0x1p63, -0x1p63, -0x1.8p63, 0x1.fffffffffffffp63, 0x1p64, 1e300,
        -1e300};
    for (unsigned t = T_u1; t <= T_i64; t++) {
        const unsigned b = vm_bits((vm_dtype)t);
        const bool sg = vm_dtypes[t].kind == K_INT;
        for (size_t i = 0; i < sizeof xs / sizeof *xs; i++) {
            const long double x = truncl((long double)xs[i]); // 64 digits hold every bound
            const long double hi = ldexpl(1, (int)b - sg) - 1, lo = sg ? -ldexpl(1, (int)b - 1) : 0;
            const long double y = x > hi ? hi : x < lo ? lo : x;
            const uint64_t want = y < 0 ? (uint64_t)(int64_t)y : (uint64_t)y;
            assert_int_equal(vm_cast(T_f64, (vm_dtype)t, bits_of(xs[i]), r), want & low(b));
            assert_int_equal(vm_encode((vm_dtype)t, xs[i], r), want & low(b));
        }
        assert_int_equal(vm_encode((vm_dtype)t, (double)NAN, r), 0);
    }
    assert_int_equal(vm_encode(T_bool, 0.25, r), 1);
    assert_int_equal(vm_encode(T_bool, -0.0, r), 0);
}

static void int_to_int(void **s) {
    (void)s;
    for (unsigned k = 0; k < 20000; k++) {
        const vm_dtype f = (vm_dtype)(T_u1 + rnd() % (T_i64 - T_u1 + 1));
        const vm_dtype t = (vm_dtype)(T_u1 + rnd() % (T_i64 - T_u1 + 1));
        const uint64_t c = rnd() & low(vm_bits(f));
        uint64_t wide = c;
        if (vm_dtypes[f].kind == K_INT && (c >> (vm_bits(f) - 1))) wide |= ~low(vm_bits(f));
        const vm_rounding r = {.round = R_NEAREST};
        assert_int_equal(vm_cast(f, t, c, r), wide & low(vm_bits(t)));
        assert_int_equal(vm_cast(f, T_bool, c, r), c != 0);
        assert_int_equal((uint64_t)vm_decode_int(f, c), wide);
        assert_int_equal(vm_encode_int(t, (int64_t)wide), wide & low(vm_bits(t)));
    }
    assert_int_equal(vm_encode_int(T_bool, 6), 1);
    assert_int_equal(vm_cast(T_bool, T_f16, 1, (vm_rounding){.round = R_NEAREST}), 0x3c00);
}

/// The array forms equal the single ones, for each pair of types, aligned or not, any length.
static void bulk_casts(void **s) {
    (void)s;
    enum { N = 137 };
    static uint64_t src[N + 1], dst[N + 1];
    for (unsigned f = 0; f < T_count_; f++) {
        for (unsigned t = 0; t < T_count_; t++) {
            const vm_dtype from = (vm_dtype)f, to = (vm_dtype)t;
            const unsigned wf = vm_cell(from), wt = vm_cell(to);
            const size_t n = 1 + rnd() % N;
            memset(src, 0, sizeof src);
            memset(dst, 0xa5, sizeof dst);
            for (size_t i = 0; i < n; i++) {
                uint64_t c = rnd() & low(vm_bits(from));
                if (rnd() % 4 == 0) c = vm_encode(from, (double)(int)(rnd() % 999) / 16 - 30,
                                                  vm_default_rounding(from));
                memcpy((char *)src + i * wf, &c, wf);
            }
            for (unsigned m = 0; m < 4; m++) {
                const vm_rounding r = {.round = m & 1, .saturate = m >> 1};
                vm_bulk_cast(from, to, n, src, dst, r);
                for (size_t i = 0; i < n; i++) {
                    uint64_t c = 0, got = 0;
                    memcpy(&c, (char *)src + i * wf, wf);
                    memcpy(&got, (char *)dst + i * wt, wt);
                    const uint64_t want = vm_cast(from, to, c, r);
                    if (got != want)
                        fail_msg("%s as %s of %llx mode %u: %llx, not %llx", vm_dtype_name(from),
                                 vm_dtype_name(to), (unsigned long long)c, m,
                                 (unsigned long long)got, (unsigned long long)want);
                }
                assert_int_equal(((uint8_t *)dst)[n * wt], 0xa5); // nothing written beyond
            }
        }
    }
}

static void bit_strings(void **s) {
    (void)s;
    enum { BYTES = 700 };
    static uint8_t mem[BYTES], ref[BYTES];
    static uint64_t cells[80], back[80];
    for (unsigned k = 0; k < 3000; k++) {
        const vm_dtype t = (vm_dtype)(rnd() % T_count_);
        const unsigned b = vm_mem_bits(t), w = vm_cell(t);
        const size_t n = rnd() % 80, bit = rnd() % 70;
        for (size_t i = 0; i < BYTES; i++) ref[i] = mem[i] = (uint8_t)rnd();
        memset(cells, 0, sizeof cells);
        for (size_t i = 0; i < n; i++) {
            const uint64_t c = rnd() & low(vm_bits(t));
            memcpy((char *)cells + i * w, &c, w);
            for (unsigned j = 0; j < b; j++) { // bit by bit
                const size_t at = bit + i * b + j;
                ref[at / 8] = (uint8_t)((ref[at / 8] & ~(1u << at % 8)) | (c >> j & 1) << at % 8);
            }
        }
        vm_pack(t, n, cells, mem, bit);
        assert_memory_equal(mem, ref, BYTES);
        memset(back, 0, sizeof back);
        vm_unpack(t, n, mem, bit, back);
        assert_memory_equal(back, cells, sizeof cells);
    }
    for (unsigned k = 0; k < 3000; k++) {
        const unsigned nb = (unsigned)(rnd() % 65);
        const size_t bit = rnd() % 500;
        const uint64_t v = rnd() & low(nb), dirt = nb < 64 ? rnd() << nb : 0;
        memcpy(ref, mem, BYTES);
        vm_put_bits(mem, bit, nb, v | dirt);
        assert_int_equal(vm_get_bits(mem, bit, nb), v);
        for (size_t i = 0; i < 600; i++)
            if (i < bit || i >= bit + nb)
                assert_int_equal(vm_get_bits(mem, i, 1), vm_get_bits(ref, i, 1));
    }
}

int main(int argc, char **argv) {
    if (argc > 1) fixtures = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),         cmocka_unit_test(exmy),
        cmocka_unit_test(hashes),         cmocka_unit_test(encoding),
        cmocka_unit_test(from_int),       cmocka_unit_test(special_values),
        cmocka_unit_test(float_to_int),   cmocka_unit_test(int_to_int),
        cmocka_unit_test(bulk_casts),     cmocka_unit_test(bit_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
