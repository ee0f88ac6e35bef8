// SPDX-License-Identifier: Apache-2.0
// What only a GPU can show: results, the cost of a prepared launch, graph capture, faults, and that the
// caller's CUDA context is left alone. Skipped where there is none.
#include "tests/unit/runtime_util.h"

#include <time.h>

static tilus_context *ctx;

static int setup(void **s) {
    (void)s;
    char why[400] = "";
    const tilus_status st = tilus_context_create(
        &(tilus_context_params){.device = TILUS_DEVICE_CUDA, .error = why, .error_size = sizeof why}, &ctx);
    if (st == TILUS_OK) return 0;
    // without a GPU: a clear status, a message and no context; the tests below have nothing to run on
    return (st == TILUS_NO_DRIVER || st == TILUS_NO_DEVICE) && why[0] && !ctx ? 0 : -1;
}

static int teardown(void **s) {
    (void)s;
    tilus_context_destroy(ctx);
    return 0;
}

#define NEED_GPU()                                                                                 \
    (void)s;                                                                                       \
    if (!ctx) return // cmocka 1.1.5 reports a skip as "not ok"
#define OK(call)                                                                                   \
    if ((call) != TILUS_OK) fail_msg("%s: %s", #call, tilus_error(ctx))

enum { N = 1 << 16 };
static float x[N], y[N], z[N];

static tilus_kernel *kernel_of(const char *file, const char *name) {
    tilus_module *m;
    tilus_kernel *k;
    OK(tilus_module_from_file(ctx, file, &m));
    OK(tilus_kernel_get(m, name, NULL, 0, &k));
    return k;
}

static void adds(void **s) {
    NEED_GPU();
    for (int i = 0; i < N; i++) x[i] = rng_float(), y[i] = rng_float();
    tilus_kernel *k = kernel_of("vector_add.tvm", "vector_add");
    void *d[3];
    for (int i = 0; i < 3; i++) OK(tilus_alloc(ctx, sizeof x, &d[i]));
    OK(tilus_upload(ctx, d[0], x, sizeof x, NULL));
    OK(tilus_upload(ctx, d[1], y, sizeof y, NULL));
    for (int n = N - 5; n <= N; n++) {
        OK(tilus_fill(ctx, d[2], 0xff, sizeof z, NULL));
        OK(tilus_launch(k, NULL, (tilus_arg[]){tilus_int(n), tilus_pointer(d[0]), tilus_pointer(d[1]), tilus_pointer(d[2])}, 4));
        OK(tilus_download(ctx, z, d[2], sizeof z, NULL));
        for (int i = 0; i < N; i++)
            if (i < n ? z[i] != x[i] + y[i] : z[i] == z[i]) fail_msg("n %d, element %d: %g", n, i, (double)z[i]);
    }
    for (int i = 0; i < 3; i++) OK(tilus_free(ctx, d[i]));
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void launch_cost(void **s) {
    NEED_GPU();
    tilus_kernel *k = kernel_of("vector_add.tvm", "vector_add");
    void *d[3];
    for (int i = 0; i < 3; i++) OK(tilus_alloc(ctx, 4096, &d[i]));
    tilus_stream st;
    OK(tilus_stream_create(ctx, &st));
    tilus_plan *p;
    const tilus_arg a[] = {tilus_int(1024), tilus_pointer(d[0]), tilus_pointer(d[1]), tilus_pointer(d[2])};
    OK(tilus_prepare(k, a, 4, &p));
    double best[3] = {1, 1, 1};
    for (int round = 0; round < 30; round++) {
        double t = now();
        assert_int_equal(rt_enter(ctx), TILUS_OK);
        for (int i = 0; i < 200; i++)
            ctx->cu.launch(k->cu_func, p->grid[0], 1, 1, p->threads, 1, 1, p->shared, st, p->params, NULL);
        double took = now() - t;
        rt_leave(ctx);
        if (took < best[0]) best[0] = took;
        OK(tilus_synchronize(ctx, st));
        t = now();
        for (int i = 0; i < 200; i++) tilus_launch_prepared(p, st);
        took = now() - t;
        if (took < best[1]) best[1] = took;
        OK(tilus_synchronize(ctx, st));
        t = now();
        for (int i = 0; i < 200; i++) tilus_launch(k, st, a, 4);
        took = now() - t;
        if (took < best[2]) best[2] = took;
        OK(tilus_synchronize(ctx, st));
    }
    print_message("# microseconds a launch: bare %.2f, prepared %.2f, checked %.2f\n", best[0] * 5e3, best[1] * 5e3, best[2] * 5e3);
    assert_true(best[1] - best[0] < 2e-6 * 200);
}

static void capture(void **s) {
    NEED_GPU();
    if (!ctx->cu.stream_capture_begin || !ctx->cu.stream_capture_end) return;
    tilus_kernel *k = kernel_of("vector_add.tvm", "vector_add");
    void *d[3], *graph = NULL;
    for (int i = 0; i < 3; i++) OK(tilus_alloc(ctx, 4096, &d[i]));
    tilus_stream st;
    OK(tilus_stream_create(ctx, &st));
    OK(rt_enter(ctx));
    assert_int_equal(ctx->cu.stream_capture_begin(st, 0), 0); // the strict mode
    rt_leave(ctx);
    OK(tilus_launch(k, st, (tilus_arg[]){tilus_int(1024), tilus_pointer(d[0]), tilus_pointer(d[1]), tilus_pointer(d[2])}, 4));
    OK(tilus_fill(ctx, d[2], 1, 4096, st));
    OK(rt_enter(ctx));
    assert_int_equal(ctx->cu.stream_capture_end(st, &graph), 0);
    rt_leave(ctx);
    assert_non_null(graph);
}

/// Every program that comes with the library goes through the driver's assembler.
static void programs_load(void **s) {
    NEED_GPU();
    for (uint32_t i = 0; i < rt_embedded_count(); i++) {
        rt_options o = {.name = rt_embedded_name(i), .arch = ctx->arch, .stage = RT_STAGE_PTX, .cg = {.opt = 3}};
        o.text = rt_embedded(o.name, &o.size);
        rt_compilation *c = rt_compilation_new(NULL, &o);
        const enum rt_result r = rt_compile(c);
        if (r != RT_OK) print_message("# %s does not compile: %s%s\n", o.name, c->message, rt_diagnostics(c, false, false));
        tilus_module *m;
        if (r == RT_OK && c->ir && c->ir->funcs.n) OK(tilus_module_from_ptx(ctx, c->ptx, &m));
        rt_compilation_free(c);
    }
}

static void bad_ptx(void **s) {
    NEED_GPU();
    tilus_module *m;
    assert_int_equal(tilus_module_from_ptx(ctx, ".version 8.0\n.target sm_80\n.address_size 64\n.entry f() { nonsense; }\n", &m), TILUS_COMPILE_ERROR);
    assert_non_null(strstr(tilus_error(ctx), "nonsense"));
}

static void fault(void **s) { // last: the device's context is lost
    NEED_GPU();
    tilus_kernel *k = kernel_of("vector_add.tvm", "vector_add");
    void *bad = (void *)(uintptr_t)0x7000000000000000;
    tilus_status r = tilus_launch(k, NULL, (tilus_arg[]){tilus_int(64), tilus_pointer(bad), tilus_pointer((char *)bad + 4096), tilus_pointer((char *)bad + 8192)}, 4);
    if (r == TILUS_OK) r = tilus_synchronize(ctx, NULL);
    assert_int_equal(r, TILUS_TRAP);
    assert_true(strlen(tilus_error(ctx)) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds),    cmocka_unit_test(launch_cost), cmocka_unit_test(capture),
        cmocka_unit_test(bad_ptx), cmocka_unit_test(programs_load), cmocka_unit_test(fault),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
