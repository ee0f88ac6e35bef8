// SPDX-License-Identifier: Apache-2.0
// The virtual GPU as an embedder sees it: a device of tilus.h that compiles and launches, takes PTX of
// others, reports defects and leaks, and lives beside other contexts and threads.
#include "tests/unit/runtime_util.h"

#include <pthread.h>

static char logged[4000];
static void take(void *user, tilus_log_level level, const char *text) {
    (void)user;
    (void)level;
    const size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s\n", text);
}

static tilus_context *open_vgpu(const tilus_vgpu_params *v) {
    tilus_context *c = NULL;
    char why[300] = "";
    logged[0] = 0;
    const tilus_context_params p = {.device = TILUS_DEVICE_VGPU, .vgpu = v, .log = take, .error = why, .error_size = sizeof why};
    if (tilus_context_create(&p, &c) != TILUS_OK) fail_msg("%s", why);
    return c;
}
#define OK(c, call)                                                                                \
    if ((call) != TILUS_OK) fail_msg("%s: %s", #call, tilus_error(c))

static void programs(void **s) {
    (void)s;
    tilus_context *const c = open_vgpu(&(tilus_vgpu_params){.arch = "sm_86"});
    assert_int_equal(tilus_context_device(c), TILUS_DEVICE_VGPU);
    assert_string_equal(tilus_device_name(c), "vgpu");
    assert_string_equal(tilus_device_arch(c), "sm_86");
    enum { N = 5000 };
    static float x[N], y[N], z[N];
    for (int i = 0; i < N; i++) x[i] = rng_float(), y[i] = rng_float();
    tilus_module *m;
    tilus_kernel *k;
    tilus_plan *plan;
    void *d[3];
    OK(c, tilus_module_from_file(c, "vector_add.tvm", &m));
    OK(c, tilus_kernel_get(m, "vector_add", NULL, 0, &k));
    for (int i = 0; i < 3; i++) OK(c, tilus_alloc(c, sizeof x, &d[i]));
    OK(c, tilus_upload(c, d[0], x, sizeof x, NULL));
    OK(c, tilus_upload(c, d[1], y, sizeof y, NULL));
    OK(c, tilus_fill(c, d[2], 0xff, sizeof z, NULL));
    const tilus_arg args[] = {tilus_int(N - 3), tilus_pointer(d[0]), tilus_pointer(d[1]), tilus_pointer(d[2])};
    OK(c, tilus_prepare(k, args, 4, &plan));
    OK(c, tilus_launch_prepared(plan, NULL));
    OK(c, tilus_download(c, z, d[2], sizeof z, NULL));
    for (int i = 0; i < N; i++)
        if (i < N - 3 ? z[i] != x[i] + y[i] : z[i] == z[i]) fail_msg("element %d: %g", i, (double)z[i]);
    const tilus_arg bad[] = {tilus_int(N + 1), tilus_array(d[0], 1, (int64_t[]){N}), tilus_pointer(d[1]), tilus_pointer(d[2])};
    assert_int_not_equal(tilus_launch(k, NULL, bad, 4), TILUS_OK); // the contract holds here, too
    tilus_context_destroy(c);
}

static const char ptx[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry rotate(.param .u64 p, .param .u32 by)\n{\n"
    ".reg .b32 %r<8>;\n.reg .b64 %rd<4>;\n.shared .align 4 .b8 s[256];\n"
    "ld.param.u64 %rd1, [p];\nld.param.u32 %r1, [by];\nmov.u32 %r2, %tid.x;\nmul.wide.u32 %rd2, %r2, 4;\n"
    "add.u64 %rd3, %rd1, %rd2;\nld.global.u32 %r3, [%rd3];\nshl.b32 %r4, %r2, 2;\nmov.u32 %r5, s;\n"
    "add.u32 %r4, %r4, %r5;\nst.shared.u32 [%r4], %r3;\n"
    "bar.sync 0;\n"
    "add.u32 %r6, %r2, %r1;\nand.b32 %r6, %r6, 63;\nshl.b32 %r6, %r6, 2;\nadd.u32 %r6, %r6, %r5;\n"
    "ld.shared.u32 %r7, [%r6];\nst.global.u32 [%rd3], %r7;\nret;\n}\n";

/// PTX of others, with and without its barrier.
static void foreign(void **s) {
    (void)s;
    for (int sound = 0; sound < 2; sound++) {
        tilus_context *const c = open_vgpu(&(tilus_vgpu_params){.sanitize = 1, .threads = 1});
        char text[sizeof ptx];
        memcpy(text, ptx, sizeof ptx);
        if (!sound) memcpy(strstr(text, "bar.sync"), "//      ", 8);
        tilus_module *m;
        tilus_kernel *k;
        void *d;
        uint32_t v[64];
        for (uint32_t i = 0; i < 64; i++) v[i] = i * 2654435761u;
        OK(c, tilus_module_from_ptx(c, text, &m));
        OK(c, tilus_kernel_get(m, "rotate", NULL, 0, &k));
        OK(c, tilus_alloc(c, sizeof v, &d));
        OK(c, tilus_upload(c, d, v, sizeof v, NULL));
        uint32_t by = 37;
        OK(c, tilus_launch_raw(k, NULL, (unsigned[]){1, 1, 1}, (unsigned[]){64, 1, 1}, 0, (void *[]){&d, &by}));
        uint32_t got[64];
        OK(c, tilus_download(c, got, d, sizeof got, NULL));
        if (sound) {
            for (uint32_t i = 0; i < 64; i++) assert_int_equal(got[i], v[(i + by) % 64]);
            assert_int_equal(tilus_vgpu_reports(c), 0);
            assert_int_equal(tilus_vgpu_check_leaks(c), 1);
            assert_non_null(strstr(tilus_vgpu_report(c, 0), "256 bytes"));
            OK(c, tilus_free(c, d));
        } else {
            assert_true(tilus_vgpu_reports(c) >= 1);
            const char *const first = tilus_vgpu_report(c, 0); // read before the other warp's write, or unordered
            assert_true(strstr(first, "race") || strstr(first, "uninitialized"));
            assert_non_null(strstr(tilus_vgpu_report(c, 0), "kernel rotate"));
        }
        assert_null(tilus_vgpu_report(c, 1000));
        tilus_context_destroy(c);
        assert_true(sound == !strstr(logged, "leak")); // what was not freed is logged
    }
}

static void refused(void **s) {
    (void)s;
    tilus_context *c = NULL;
    char why[300] = "";
    tilus_context_params p = {.device = TILUS_DEVICE_VGPU, .error = why, .error_size = sizeof why};
    p.vgpu = &(tilus_vgpu_params){.arch = "sm_75"};
    assert_int_equal(tilus_context_create(&p, &c), TILUS_INVALID_ARGUMENT);
    assert_non_null(strstr(why, "sm_75"));
    p.vgpu = &(tilus_vgpu_params){.threads = -1};
    assert_int_equal(tilus_context_create(&p, &c), TILUS_INVALID_ARGUMENT);
    p.vgpu = NULL;
    p.ordinal = 1;
    assert_int_equal(tilus_context_create(&p, &c), TILUS_NO_DEVICE);
    assert_null(c);
    c = open_vgpu(NULL);
    tilus_module *m;
    tilus_kernel *k;
    assert_int_not_equal(tilus_module_from_ptx(c, ".version 8.0\n.target sm_80\nnonsense", &m), TILUS_OK);
    assert_non_null(strstr(tilus_error(c), "line 3"));
    OK(c, tilus_module_from_ptx(c, ptx, &m));
    assert_int_equal(tilus_kernel_get(m, "no_such", NULL, 0, &k), TILUS_NOT_FOUND);
    OK(c, tilus_kernel_get(m, "rotate", NULL, 0, &k));
    void *nowhere = NULL;
    uint32_t by = 1;
    assert_int_equal(tilus_launch_raw(k, NULL, (unsigned[]){1, 1, 1}, (unsigned[]){64, 1, 1}, 0, (void *[]){&nowhere, &by}), TILUS_TRAP);
    assert_non_null(strstr(tilus_error(c), "rotate"));
    assert_int_not_equal(tilus_launch_raw(k, NULL, (unsigned[]){1, 1, 1}, (unsigned[]){4096, 1, 1}, 0, (void *[]){&nowhere, &by}), TILUS_OK);
    char byte = 0;
    assert_int_not_equal(tilus_download(c, &byte, (void *)(uintptr_t)64, 1, NULL), TILUS_OK);
    void *huge;
    assert_int_equal(tilus_alloc(c, (size_t)1 << 50, &huge), TILUS_OUT_OF_DEVICE_MEMORY);
    tilus_context_destroy(c);
}

/// A context of its own in each thread.
static void *one_thread(void *out) {
    tilus_context *c = NULL;
    const tilus_context_params p = {.device = TILUS_DEVICE_VGPU, .vgpu = &(tilus_vgpu_params){.threads = 1}};
    tilus_module *m;
    tilus_kernel *k;
    void *d = NULL;
    uint32_t v[64], got[64], by = 5, right = 0;
    for (uint32_t i = 0; i < 64; i++) v[i] = i * 40503u;
    if (tilus_context_create(&p, &c) != TILUS_OK) return NULL;
    if (tilus_module_from_ptx(c, ptx, &m) == TILUS_OK && tilus_kernel_get(m, "rotate", NULL, 0, &k) == TILUS_OK &&
        tilus_alloc(c, sizeof v, &d) == TILUS_OK)
        for (int i = 0; i < 20; i++) {
            tilus_upload(c, d, v, sizeof v, NULL);
            tilus_launch_raw(k, NULL, (unsigned[]){1, 1, 1}, (unsigned[]){64, 1, 1}, 0, (void *[]){&d, &by});
            tilus_download(c, got, d, sizeof got, NULL);
            for (uint32_t e = 0; e < 64; e++) right += got[e] == v[(e + by) % 64];
        }
    tilus_context_destroy(c);
    *(uint32_t *)out = right;
    return NULL;
}

static void threads(void **s) {
    (void)s;
    pthread_t t[4];
    uint32_t right[4] = {0};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, one_thread, &right[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(right[i], 20 * 64);
}

static void chosen(void **s) {
    (void)s;
    tilus_context *c = NULL;
    char why[300] = "";
    const tilus_context_params p = {.error = why, .error_size = sizeof why};
    setenv("TILUS_DEVICE", "vgpu", 1);
    assert_int_equal(tilus_context_create(&p, &c), TILUS_OK);
    assert_int_equal(tilus_context_device(c), TILUS_DEVICE_VGPU);
    tilus_context_destroy(c);
    setenv("TILUS_DEVICE", "vm", 1);
    assert_int_equal(tilus_context_create(&p, &c), TILUS_OK);
    assert_int_equal(tilus_context_device(c), TILUS_DEVICE_VM);
    assert_int_equal(tilus_vgpu_reports(c), 0);
    assert_int_equal(tilus_vgpu_check_leaks(c), 0);
    tilus_context_destroy(c);
    setenv("TILUS_DEVICE", "tpu", 1);
    assert_int_equal(tilus_context_create(&p, &c), TILUS_INVALID_ARGUMENT);
    assert_non_null(strstr(why, "tpu"));
    unsetenv("TILUS_DEVICE");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(programs), cmocka_unit_test(foreign), cmocka_unit_test(refused),
                                       cmocka_unit_test(threads), cmocka_unit_test(chosen)};
    return cmocka_run_group_tests_name("vgpu_device", tests, NULL, NULL);
}
