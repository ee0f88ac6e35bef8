// SPDX-License-Identifier: Apache-2.0
// Host tensors and test blocks: determinism of random data, expectations that hold and that fail with
// the right message, NumPy broadcasting, references against direct formulas, `run` and its errors.
#include "frontend/eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static jmp_buf oom;
static vm_comp *comp;
static fe_eval *eval;
static const char *ref_text;

static const char *load(void *user, vm_comp *c, const char *importer, const char *path, size_t *size) {
    (void)user, (void)importer;
    if (strcmp(path, "std/ref.tvm") != 0 || !ref_text) return NULL;
    *size = strlen(ref_text);
    char *t = vm_alloc(c->arena, *size + 2);
    memcpy(t, ref_text, *size);
    return t;
}
static int setup(void **state) {
    (void)state;
    comp = vm_comp_new(NULL, &oom);
    const fe_options o = {.load = load};
    eval = comp ? fe_eval_new(comp, &o) : NULL;
    return eval ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    vm_comp_free(comp);
    return 0;
}

/// An executor that adds 1 to every element of the last argument, or refuses a negative first one.
static bool increment(void *user, fe_eval *e, fe_instance *k, fe_args *args, vm_span at, const char **why) {
    (void)e, (void)k, (void)at;
    if (user) ++*(int *)user;
    if (args->at[0].v->i < 0) {
        *why = "error[L0002]: requires n >= 0";
        return false;
    }
    fe_tensor *t = args->at[args->n - 1].v->tensor;
    for (size_t i = 0; i < t->n; i++) ((uint32_t *)t->cells)[i]++;
    return true;
}

static fe_test_result run_body(const char *body, int *runs) {
    char *text = vm_format(comp->arena,
                           "import \"std/ref.tvm\";\nkernel inc[T: type](n: i32, a: global T[n]) launch { grid = 1; warps = 1; } { }\n"
                           "test \"t\" {\n%s\n}\n",
                           body);
    const size_t n = strlen(text);
    char *z = vm_alloc(comp->arena, n + 2);
    memcpy(z, text, n);
    fe_module *m = fe_load_main(eval, vm_source_add(comp, "t.tvm", z, n));
    if (!m || comp->nerrors) fail_msg("%s", vm_diags_text(comp, false));
    fe_test_result r = {0};
    const fe_executor x = {.run = increment, .user = runs};
    for (uint32_t i = 0; i < m->tree->nkids; i++)
        if (m->tree->kid[i]->kind == AST_TEST) fe_run_test(eval, m, m->tree->kid[i], &x, &r);
    return r;
}

static void passes(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "let a = random(f32[3, 5], seed = 1); expect_equal(a, random(f32[3, 5], seed = 1));",
        "let a = random(u4[7, 3], seed = 2); expect_equal(a.t.t, a); expect_equal(a.reshape(21).reshape(7, 3), a);",
        "let a = full(i32[2, 3], 7), b = iota(i32[3]); expect_equal(a + b, full(i32[2, 1], 7) + b);",
        "let a = random(f16[4, 6], seed = 3), b = random(f16[6, 5], seed = 4);\n"
        "expect_close(ref.matmul(a, b).t, ref.matmul(b.t, a.t), rtol = 1e-12);",
        "let w = random(u4[64, 16], seed = 3), s = random(f16[2, 16], seed = 4); let d = w as f16 * ref.repeat(s, 32);\n"
        "expect_equal(d[40, ..], w[40, ..] as f16 * s[1, ..]);",
        "let x = random(f32[3, 50], seed = 5); let p = ref.softmax(x);\n"
        "expect_close(ref.sum(p, dim = 1), full(f64[3], 1.0), rtol = 1e-12);",
        "let x = random(f32[3, 50], seed = 5), w = full(f32[50], 1.0); let y = ref.rmsnorm(x, w);\n"
        "expect_close(ref.mean(y * y, dim = 1), full(f64[3], 1.0), rtol = 1e-4);",
        "let q = random(f16[1, 2, 20, 8], seed = 6), k = random(f16[1, 1, 20, 8], seed = 7), v = random(f16[1, 1, 20, 8], seed = 8);\n"
        "let all = ref.attention(q, k, v, 0.3); expect_close(ref.na1d(q[.., 0 +: 1, .., ..], k, v, 20, 0.3), all[.., 0 +: 1, .., ..], rtol = 1e-12);\n"
        "let c = ref.attention(q, k, v, 0.3, causal = true); expect_close(c[0, 1, 0, ..], v[0, 0, 0, ..], rtol = 1e-12);\n"
        "expect_close(ref.attention(q, k, v, 0.3, window = 1)[0, 0, 4, ..], v[0, 0, 4, ..], rtol = 1e-12);",
        "var a = zeros(u32[3]); let b = a + 0; run inc(3, a); expect_equal(a, b + 1); var c = a; run inc[u32](3, c); expect_equal(c, a + 1);",
        "expect_error(\"requires n >= 0\"); run inc(-1, zeros(u32[2])); run inc(1, zeros(u32[2]));",
        "var s = 0; for i in 0..5 { s += i; } if s == 10 { expect_equal(s, 10); } else { expect_equal(0, 1); }",
        "var a = zeros(i32[4, 4]); a[1, ..] = iota(i32[4]); a[2, 3] = 9; expect_equal(a[2, 3], 9 as i32); expect_equal(a[1, 2 +: 2], iota(i32[2]) + 2);",
        "let p = poison(u3[8]); expect_equal(p, full(u3[8], 7));",
        "let a = random(bf16[999], seed = 1, dist = \"normal\"); assert(max(abs(a)) < 6.0, \"range\"); assert(max(a) > 2.0, \"spread\");",
        "let x = random(f32[6, 4], seed = 9); expect_close(ref.absmax(x, 3)[1, ..], ref.max(ref.abs(x[3 +: 3, ..])), rtol = 1e-12);",
    };
    for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) {
        void *unused = NULL;
        teardown(&unused);
        setup(&unused);
        const fe_test_result r = run_body(bodies[k], NULL);
        if (!r.passed) fail_msg("%s\n%s", bodies[k], r.message ? r.message : vm_diags_text(comp, false));
    }
}

static void fails(void **state) {
    (void)state;
    static const struct { const char *body, *text; } cases[] = {
        {"let a = random(f32[4, 5], seed = 1); var b = a; b[2, 3] = 7.0; expect_equal(b, a);", "1 of 20 elements differ, first [2, 3]"},
        {"let a = random(f32[64], seed = 1); expect_close(a * 1.1, a, rtol = 1e-2);", "relative error 0.1"},
        {"let a = random(f32[64], seed = 1); var b = a; b[5] = NAN; expect_close(b, a, rtol = 1.0);", "element [5] is "},
        {"let a = random(f32[100000], seed = 1); var b = a; b[77] = 3.0; expect_close(b, a, rtol = 2e-2);", "element [77] differs"},
        {"expect_equal(zeros(i32[3]), zeros(i32[4]));", "shapes differ"},
        {"expect_equal(zeros(i32[3]), zeros(u32[3]));", "types differ"},
        {"let a = zeros(f32[3, 2]) + zeros(f32[3]);", "do not broadcast"},
        {"let a = zeros(f32[3]) + zeros(f16[3]);", "convert one of them with 'as'"},
        {"let a = zeros(u4[3]) * zeros(u4[3]);", "E0902"},
        {"let a = random(f32[3], dist = \"cauchy\");", "no distribution"},
        {"let a = zeros(f32[3])[4];", "out of bounds"},
        {"expect_error(\"requires\"); run inc(1, zeros(u32[2]));", "succeeded, but an error"},
        {"expect_error(\"other\"); run inc(-1, zeros(u32[2]));", "not with \"other\""},
        {"run inc(-1, zeros(u32[2]));", "requires n >= 0"},
        {"let a = ref.matmul(zeros(f16[2, 3]), zeros(f16[4, 2]));", "matmul of f16[2, 3] and f16[4, 2]"},
        {"let a = zeros(f32[6]).reshape(4, 2);", "does not fit"},
        {"assert(1 == 2, \"no\");", "assertion failed: no"},
        {"let a = zeros(f32[1000000, 1000000, 1000000]);", "not a size that fits"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        void *unused = NULL;
        teardown(&unused);
        setup(&unused);
        const fe_test_result r = run_body(cases[k].body, NULL);
        if (r.passed) fail_msg("passed: %s", cases[k].body);
        if (!r.message || !strstr(r.message, cases[k].text)) fail_msg("%s\n%s", cases[k].body, r.message ? r.message : "no message");
    }
}

static void first_failure_ends_the_test(void **state) {
    (void)state;
    int runs = 0;
    const fe_test_result r = run_body("var a = zeros(u32[2]); run inc(2, a); expect_equal(a, zeros(u32[2])); run inc(2, a);", &runs);
    assert_false(r.passed);
    assert_int_equal(runs, 1);
    assert_non_null(strstr(r.message, "t.tvm:4:"));
}

static void random_is_fixed(void **state) { // the same numbers on every machine, for ever
    (void)state;
    fe_tensor *t = fe_tensor_new(eval, T_f32, 1, (int64_t[]){4096});
    fe_tensor_random(t, 7, "uniform");
    const float *x = t->cells;
    double sum = 0;
    for (int i = 0; i < 4096; i++) {
        assert_true(x[i] >= -1.0f && x[i] <= 1.0f);
        sum += (double)x[i];
    }
    assert_true(fabs(sum / 4096) < 0.05);
    fe_tensor *g = fe_tensor_new(eval, T_f64, 1, (int64_t[]){100000});
    fe_tensor_random(g, 7, "normal");
    const double *y = g->cells;
    double m = 0, v = 0;
    for (int i = 0; i < 100000; i++) m += y[i], v += y[i] * y[i];
    assert_true(fabs(m / 1e5) < 0.01 && fabs(v / 1e5 - 1) < 0.02);
    fe_tensor *u = fe_tensor_new(eval, T_u3, 1, (int64_t[]){8003});
    fe_tensor_random(u, 1, "uniform");
    int count[8] = {0};
    for (int i = 0; i < 8003; i++) count[((const uint8_t *)u->cells)[i]]++;
    for (int i = 0; i < 8; i++) assert_true(count[i] > 850 && count[i] < 1150);
}

static void packing_round_trips(void **state) {
    (void)state;
    for (int t = 0; t < T_count_; t++) {
        fe_tensor *a = fe_tensor_new(eval, (vm_dtype)t, 2, (int64_t[]){5, 13}), *b = fe_tensor_new(eval, (vm_dtype)t, 2, (int64_t[]){5, 13});
        fe_tensor_random(a, (uint64_t)t, "codes");
        uint8_t *mem = vm_alloc(comp->arena, fe_tensor_bytes(a));
        fe_tensor_pack(a, mem);
        fe_tensor_unpack(b, mem);
        assert_memory_equal(a->cells, b->cells, a->n * vm_cell((vm_dtype)t));
    }
}

static void df11_decodes(void **state) { // a bit-at-a-time decoder that uses the tables only
    (void)state;
    const fe_test_result r = run_body(
        "let w = random(f32[5003], seed = 1, dist = \"normal\") as bf16;\n"
        "let (luts, codes, gaps, offsets, signs, room) = ref.df11_encode(w, 64);\n"
        "assert(luts.shape[0] >= 2); assert(offsets.shape[0] == (codes.shape[0] + 511) / 512 + 1);\n"
        "expect_equal(offsets[offsets.shape[0] - 1], 5003 as u32);\n"
        "let n = luts.shape[0]; var bit = 0;\n"
        "for i in 0..40 {\n"
        "  var window = 0; for b in 0..16 { let p = bit + b; window = window * 2 + ((codes[p / 8] as i32 >> (7 - p % 8)) & 1) as i32; }\n"
        "  var e = luts[0, window / 256] as i32; if e >= 240 { e = luts[256 - e, window % 256] as i32; }\n"
        "  let want = bitcast(w[i +: 1], u16)[0] as i32; expect_equal(e, (want >> 7) & 255);\n"
        "  bit += luts[n - 1, e] as i32; }", NULL);
    if (!r.passed) fail_msg("%s", r.message ? r.message : vm_diags_text(comp, false));
}

int main(int argc, char **argv) {
    (void)argc;
    // tests/fixtures is argv[1]; the standard library lies beside tests
    static char text[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/../../programs/std/ref.tvm", argc > 1 ? argv[1] : "tests/fixtures");
    FILE *f = fopen(path, "r");
    if (f) {
        text[fread(text, 1, sizeof text - 1, f)] = 0;
        fclose(f);
        ref_text = text;
    }
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(passes), T(fails), T(first_failure_ends_the_test), T(random_is_fixed), T(packing_round_trips), T(df11_decodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
