// SPDX-License-Identifier: Apache-2.0
// libtilus through its public header: on the VM end to end, on the null driver call by call, with
// memory and driver failing at every point, with caches in every state, in two threads.
#include "tests/unit/runtime_util.h"

#include <pthread.h>
#include <sys/stat.h>

static const char add_text[] =
    "kernel add[B: int = 1024](n: i32, x: global f32[n], y: global f32[n], z: global f32[n])\n"
    "    requires n >= 3;\n"
    "    launch { grid = cdiv(n, B); warps = 4; }\n"
    "{\n"
    "    let i = block.x * B;\n"
    "    store(z[i +: B], load(x[i +: B]) + load(y[i +: B]));\n"
    "}\n"
    "kernel open[N: int](a: global f32[N]) launch { grid = 1; warps = 1; } { store(a[0 +: 32], zeros(f32[32])); }\n";

static tilus_module *module_of(tilus_context *c, const char *text) {
    tilus_module *m;
    assert_int_equal(tilus_module_from_source(c, "t.tvm", text, strlen(text), &m), TILUS_OK);
    return m;
}

static tilus_context *vm_context(const tilus_allocator *a, journal *j) {
    const tilus_context_params p = {.device = TILUS_DEVICE_VM, .alloc = a, .log = j ? take_log : NULL, .log_user = j};
    tilus_context *c = NULL;
    assert_int_equal(tilus_context_create(&p, &c), TILUS_OK);
    return c;
}

// ---- statuses and devices -----------------------------------------------------------------------

static void statuses(void **s) {
    (void)s;
    assert_string_equal(tilus_status_text(TILUS_OK), "success");
    for (int i = 0; i <= TILUS_UNSUPPORTED; i++) assert_true(strlen(tilus_status_text((tilus_status)i)) > 4);
    assert_string_equal(tilus_status_text((tilus_status)999), "unknown status");
    assert_string_equal(tilus_version(), "0.1.0");
    assert_int_equal(tilus_context_create(NULL, NULL), TILUS_INVALID_ARGUMENT);
    tilus_context *c;
    char why[200];
    tilus_context_params p = {.optimize = 9, .error = why, .error_size = sizeof why};
    assert_int_equal(tilus_context_create(&p, &c), TILUS_INVALID_ARGUMENT);
    assert_null(c);
    assert_true(*why);
    tilus_context_destroy(NULL);
    assert_string_equal(tilus_error(NULL), "no context");
    assert_string_equal(tilus_device_name(NULL), "");
}

static void missing_driver(void **s) {
    (void)s;
    char why[300];
    journal j = {0};
    tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .error = why, .error_size = sizeof why};
    tilus_context *c;
    const tilus_status r = tilus_context_create(&p, &c);
    if (r == TILUS_OK) { // there is a GPU here
        tilus_context_destroy(c);
        p.ordinal = 1000;
        assert_int_equal(tilus_context_create(&p, &c), TILUS_NO_DEVICE);
    } else assert_true(r == TILUS_NO_DRIVER || r == TILUS_NO_DEVICE);
    assert_null(c);
    assert_true(strlen(why) > 10);
    p = (tilus_context_params){.ordinal = 1000, .log = take_log, .log_user = &j};
    assert_int_equal(tilus_context_create(&p, &c), TILUS_OK); // AUTO falls back
    assert_int_equal(tilus_context_device(c), TILUS_DEVICE_VM);
    assert_string_equal(tilus_device_arch(c), "vm");
    assert_non_null(strstr(j.text, "virtual machine"));
    tilus_module *m;
    assert_int_equal(tilus_module_from_ptx(c, ".version 8.0", &m), TILUS_UNSUPPORTED);
    tilus_context_destroy(c);
}

// ---- the VM -------------------------------------------------------------------------------------

enum { N = 2500 };

static tilus_status add_on(tilus_context *c, const char *b, float *out, const float *x, const float *y) {
    tilus_module *m;
    tilus_kernel *k;
    void *dx, *dy, *dz;
    tilus_stream st;
    tilus_status s = tilus_module_from_source(c, "t.tvm", add_text, strlen(add_text), &m);
    if (!s) s = tilus_kernel_get(m, "add", &(tilus_meta){"B", b}, 1, &k);
    if (!s) s = tilus_stream_create(c, &st);
    if (!s) s = tilus_alloc(c, N * 4, &dx);
    if (!s) s = tilus_alloc(c, N * 4, &dy);
    if (!s) s = tilus_alloc(c, N * 4, &dz);
    if (!s) s = tilus_upload(c, dx, x, N * 4, st);
    if (!s) s = tilus_copy_async(c, dy, y, N * 4, st);
    if (!s) s = tilus_fill(c, dz, 0xff, N * 4, st);
    const tilus_arg args[] = {tilus_int(N), tilus_pointer(s ? NULL : dx), tilus_pointer(s ? NULL : dy), tilus_pointer(s ? NULL : dz)};
    tilus_plan *p;
    if (!s) s = tilus_prepare(k, args, 4, &p);
    if (!s) s = tilus_launch_prepared(p, st);
    if (!s) s = tilus_launch(k, st, args, 4);
    if (!s) s = tilus_synchronize(c, st);
    if (!s) s = tilus_download(c, out, dz, N * 4, st);
    if (!s) s = tilus_free(c, dx);
    return s;
}

static void randoms(float *x, int n) {
    for (int i = 0; i < n; i++) x[i] = rng_float();
}

static void vm_end_to_end(void **s) {
    (void)s;
    counter k = {.left = -1};
    const tilus_allocator a = {count_alloc, count_release, &k};
    static float x[N], y[N], z[N];
    randoms(x, N);
    randoms(y, N);
    tilus_context *c = vm_context(&a, NULL);
    if (add_on(c, "512", z, x, y) != TILUS_OK) fail_msg("%s", tilus_error(c));
    for (int i = 0; i < N; i++)
        if (z[i] != x[i] + y[i]) fail_msg("element %d: %g, not %g", i, (double)z[i], (double)(x[i] + y[i]));
    tilus_context_destroy(c);
    assert_int_equal(k.live, 0);
}

static void kernel_facts(void **s) {
    (void)s;
    tilus_context *c = vm_context(NULL, NULL);
    tilus_module *m = module_of(c, add_text);
    tilus_kernel *k, *again;
    assert_int_equal(tilus_kernel_get(m, "add", NULL, 0, &k), TILUS_OK);
    assert_int_equal(tilus_kernel_get(m, "add", NULL, 0, &again), TILUS_OK);
    assert_ptr_equal(k, again);
    assert_int_equal(tilus_kernel_get(m, "add", &(tilus_meta){"B", "256"}, 1, &again), TILUS_OK);
    assert_ptr_not_equal(k, again);
    tilus_kernel_info info;
    assert_int_equal(tilus_kernel_describe(k, &info), TILUS_OK);
    assert_string_equal(info.entry, "add");
    assert_int_equal(info.threads, 128);
    assert_int_equal(info.params, 4);
    assert_int_equal(info.registers, -1);
    const char *name, *type;
    int pointer;
    assert_int_equal(tilus_kernel_param(k, 0, &name, &type, &pointer), TILUS_OK);
    assert_string_equal(name, "n");
    assert_string_equal(type, "i32");
    assert_false(pointer);
    assert_int_equal(tilus_kernel_param(k, 3, NULL, NULL, &pointer), TILUS_OK);
    assert_true(pointer);
    assert_int_equal(tilus_kernel_param(k, 4, NULL, NULL, NULL), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_launch_raw(k, NULL, (unsigned[]){1, 1, 1}, (unsigned[]){1, 1, 1}, 0, NULL), TILUS_UNSUPPORTED);
    tilus_context_destroy(c);
}

static void refusals(void **s) {
    (void)s;
    tilus_context *c = vm_context(NULL, NULL);
    tilus_module *m = module_of(c, add_text);
    tilus_kernel *k;
    assert_int_equal(tilus_kernel_get(m, "add", NULL, 0, &k), TILUS_OK);
    void *p[3];
    for (int i = 0; i < 3; i++) assert_int_equal(tilus_alloc(c, 100 * 4, &p[i]), TILUS_OK);
    const struct {
        tilus_arg a[4];
        size_t n;
        tilus_status status;
        const char *text;
    } rows[] = {
        {{tilus_int(100), tilus_pointer(p[0]), tilus_pointer(p[1])}, 3, TILUS_INVALID_ARGUMENT, "3 arguments for 4"},
        {{tilus_float(100), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_INVALID_ARGUMENT, "is an integer"},
        {{tilus_int(1LL << 33), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_INVALID_ARGUMENT, "does not fit"},
        {{tilus_pointer(p[0]), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_INVALID_ARGUMENT, "is a number"},
        {{tilus_int(100), tilus_int(1), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_INVALID_ARGUMENT, "needs a pointer"},
        {{tilus_int(2), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, "requires n >= 3"},
        {{tilus_int(101), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, ""},
        {{tilus_int(100), tilus_array(p[0], 1, (int64_t[]){99}), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, "x"},
        {{tilus_int(100), tilus_pointer(NULL), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, "x"},
        {{tilus_int(50), tilus_pointer((char *)p[0] + 4), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, "16"},
        {{tilus_int(100), tilus_pointer(p[2]), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_LAUNCH_REFUSED, "overlap"},
        {{tilus_int(100), tilus_array(p[0], 1, (int64_t[]){100}), tilus_pointer(p[1]), tilus_pointer(p[2])}, 4, TILUS_OK, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tilus_status r = tilus_launch(k, NULL, rows[i].a, rows[i].n);
        if (r != rows[i].status) fail_msg("row %zu: %s: %s", i, tilus_status_text(r), tilus_error(c));
        if (r != TILUS_OK && !strstr(tilus_error(c), rows[i].text)) fail_msg("row %zu: %s", i, tilus_error(c));
    }
    tilus_arg big = tilus_pointer(p[0]);
    big.bytes = 1 << 20; // more than was allocated
    assert_int_equal(tilus_launch(k, NULL, (tilus_arg[]){tilus_int(100), big, tilus_pointer(p[1]), tilus_pointer(p[2])}, 4),
                     TILUS_INVALID_ARGUMENT);
    tilus_plan *plan;
    assert_int_equal(tilus_prepare(k, rows[11].a, 4, &plan), TILUS_OK);
    assert_int_equal(tilus_plan_update(plan, rows[5].a, 4), TILUS_LAUNCH_REFUSED); // and the plan is as it was
    int64_t grid[3];
    assert_int_equal(tilus_plan_grid(plan, grid), TILUS_OK);
    assert_int_equal(grid[0], 1);
    assert_int_equal(tilus_launch_prepared(plan, NULL), TILUS_OK);
    tilus_plan_destroy(plan);
    assert_int_equal(tilus_free(c, (char *)p[0] + 16), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_free(c, NULL), TILUS_OK);
    assert_int_equal(tilus_upload(c, p[0], grid, 401, NULL), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_alloc(c, 0, &p[0]), TILUS_INVALID_ARGUMENT);
    tilus_context_destroy(c);
}

static void program_errors(void **s) {
    (void)s;
    tilus_context *c = vm_context(NULL, NULL);
    tilus_kernel *k;
    tilus_module *m = module_of(c, add_text);
    assert_int_equal(tilus_kernel_get(m, "addd", NULL, 0, &k), TILUS_NOT_FOUND);
    assert_non_null(strstr(tilus_error(c), "did you mean 'add'"));
    assert_int_equal(tilus_kernel_get(m, "add", &(tilus_meta){"C", "1"}, 1, &k), TILUS_COMPILE_ERROR);
    assert_non_null(strstr(tilus_error(c), "E0343"));
    assert_int_equal(tilus_kernel_get(m, "add", &(tilus_meta){"B", "(("}, 1, &k), TILUS_COMPILE_ERROR);
    assert_int_equal(tilus_kernel_get(m, "open", NULL, 0, &k), TILUS_COMPILE_ERROR);
    assert_non_null(strstr(tilus_error(c), "E0341"));
    assert_int_equal(tilus_kernel_get(m, "add", &(tilus_meta){"B=3", "1"}, 1, &k), TILUS_INVALID_ARGUMENT);
    m = module_of(c, "kernel f(a: globl f32[4]) launch { grid = 1; warps = 1; } {}");
    assert_int_equal(tilus_kernel_get(m, "f", NULL, 0, &k), TILUS_COMPILE_ERROR);
    assert_null(k);
    assert_non_null(strstr(tilus_error(c), "t.tvm:1:"));
    assert_int_equal(tilus_error_json(c)[0], '{');
    assert_int_equal(tilus_module_from_file(c, "/nowhere/k.tvm", &m), TILUS_IO_ERROR);
    assert_string_equal(tilus_error_json(c), "");
    assert_int_equal(tilus_module_from_file(c, "vector_add.tvm", &m), TILUS_OK); // compiled in
    assert_int_equal(tilus_kernel_get(m, "vector_add", &(tilus_meta){"T", "f16"}, 1, &k), TILUS_OK);
    tilus_context_destroy(c);
}

static void traps(void **s) {
    (void)s;
    journal j = {0};
    tilus_context *c = vm_context(NULL, &j);
    tilus_module *m = module_of(c, "kernel f(n: i32)\n launch { grid = 2; warps = 1; }\n{\n    print(\"n is {}\", n);\n    assert(n < 5, \"n too big\");\n}\n");
    tilus_kernel *k;
    if (tilus_kernel_get(m, "f", NULL, 0, &k) != TILUS_OK) fail_msg("%s", tilus_error(c));
    assert_int_equal(tilus_launch(k, NULL, (tilus_arg[]){tilus_int(4)}, 1), TILUS_OK);
    if (!strstr(j.text, "n is 4")) fail_msg("%s", j.text);
    assert_int_equal(tilus_launch(k, NULL, (tilus_arg[]){tilus_int(7)}, 1), TILUS_TRAP);
    assert_non_null(strstr(tilus_error(c), "n too big"));
    assert_non_null(strstr(tilus_error(c), "t.tvm:5:"));
    tilus_context_destroy(c);
}

static void imports(void **s) {
    (void)s;
    char dir[64], path[128], inc[128];
    temp_folder(dir);
    snprintf(inc, sizeof inc, "%s/inc", dir);
    assert_int_equal(mkdir(inc, 0700), 0);
    snprintf(path, sizeof path, "%s/inc/two.tvm", dir);
    put_file(path, "const B = 64;\n", 14);
    snprintf(path, sizeof path, "%s/one.tvm", dir);
    const char one[] = "import \"two.tvm\";\nconst fn width() -> int { return two.B; }\n";
    put_file(path, one, sizeof one - 1);
    snprintf(path, sizeof path, "%s/main.tvm", dir);
    const char text[] = "import \"one.tvm\";\nconst B = one.width();\nkernel f(x: global i32[B]) launch { grid = 1; warps = 1; } { store(x[0 +: B], load(x[0 +: B]) + 1); }\n";
    put_file(path, text, sizeof text - 1);
    tilus_context *c = vm_context(NULL, NULL);
    tilus_module *m;
    tilus_kernel *k;
    assert_int_equal(tilus_module_from_file(c, path, &m), TILUS_OK);
    assert_int_equal(tilus_kernel_get(m, "f", NULL, 0, &k), TILUS_COMPILE_ERROR); // two.tvm is not found
    assert_non_null(strstr(tilus_error(c), "two.tvm"));
    assert_int_equal(tilus_module_include(m, inc), TILUS_OK);
    if (tilus_kernel_get(m, "f", NULL, 0, &k) != TILUS_OK) fail_msg("%s", tilus_error(c));
    int32_t *x;
    assert_int_equal(tilus_alloc(c, 256, (void **)&x), TILUS_OK);
    for (int i = 0; i < 64; i++) x[i] = 3 * i;
    assert_int_equal(tilus_launch(k, NULL, (tilus_arg[]){tilus_pointer(x)}, 1), TILUS_OK);
    for (int i = 0; i < 64; i++) assert_int_equal(x[i], 3 * i + 1);
    tilus_context_destroy(c);
    remove_folder(dir);
}

/// The path from text to result with memory running out at each allocation.
static void no_memory(void **s) {
    (void)s;
    static float x[N], y[N], z[N];
    randoms(x, N);
    randoms(y, N);
    bool done = false;
    for (long left = 0; !done; left++) {
        counter k = {.left = left};
        const tilus_allocator a = {count_alloc, count_release, &k};
        const tilus_context_params p = {.device = TILUS_DEVICE_VM, .alloc = &a};
        tilus_context *c;
        tilus_status r = tilus_context_create(&p, &c);
        if (r == TILUS_OK) r = add_on(c, "512", z, x, y);
        if (r != TILUS_OK && r != TILUS_OUT_OF_MEMORY && r != TILUS_OUT_OF_DEVICE_MEMORY && r != TILUS_TRAP)
            fail_msg("allocation %ld: %s: %s", left, tilus_status_text(r), tilus_error(c));
        done = r == TILUS_OK;
        tilus_context_destroy(c);
        assert_int_equal(k.live, 0);
        assert_true(left < 10000);
    }
}

// ---- the null driver ----------------------------------------------------------------------------

static tilus_status null_context(rt_null *n, const tilus_context_params *p, tilus_context **c) {
    rt_driver table;
    rt_null_driver(&table, n);
    return rt_context_create(p, &table, c);
}

static void launch_order(void **s) {
    (void)s;
    rt_null n;
    rt_null_init(&n);
    tilus_context *c;
    assert_int_equal(null_context(&n, &(tilus_context_params){.device = TILUS_DEVICE_CUDA}, &c), TILUS_OK);
    assert_string_equal(tilus_device_name(c), "null device");
    assert_string_equal(tilus_device_arch(c), "sm_90a");
    tilus_module *m = module_of(c, add_text);
    tilus_kernel *k;
    if (tilus_kernel_get(m, "add", NULL, 0, &k) != TILUS_OK) fail_msg("%s", tilus_error(c));
    assert_int_equal(n.count[RT_CALL_module_load], 1);
    assert_int_equal(n.depth, 0);
    tilus_kernel_info info;
    assert_int_equal(tilus_kernel_describe(k, &info), TILUS_OK);
    assert_non_null(strstr(info.ptx, ".entry add"));
    assert_int_equal(info.registers, 40);
    void *p[3];
    for (int i = 0; i < 3; i++) assert_int_equal(tilus_alloc(c, 5000 * 4, &p[i]), TILUS_OK);
    tilus_arg a[] = {tilus_int(5000), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])};
    tilus_plan *plan;
    assert_int_equal(tilus_prepare(k, a, 4, &plan), TILUS_OK);
    n.norder = 0;
    assert_int_equal(tilus_launch_prepared(plan, NULL), TILUS_OK);
    const int want[] = {RT_CALL_ctx_push, RT_CALL_launch, RT_CALL_ctx_pop};
    assert_int_equal(n.norder, 3);
    assert_memory_equal(n.order, want, sizeof want);
    assert_int_equal(n.grid[0], 5);
    assert_int_equal(n.block[0], 128);
    assert_int_equal(*(int32_t *)n.params[0], 5000);
    for (int i = 0; i < 3; i++) assert_ptr_equal(*(void **)n.params[i + 1], p[i]);
    a[0] = tilus_int(1025);
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_OK);
    assert_int_equal(tilus_launch_prepared(plan, NULL), TILUS_OK);
    assert_int_equal(n.grid[0], 2);
    n.fail_at[RT_CALL_launch] = n.count[RT_CALL_launch] + 1;
    n.error[RT_CALL_launch] = 719;
    assert_int_equal(tilus_launch(k, NULL, a, 4), TILUS_TRAP);
    assert_non_null(strstr(tilus_error(c), "CUDA_ERROR_NULL"));
    assert_int_equal(n.depth, 0);
    tilus_event e[2];
    float ms;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tilus_event_create(c, &e[i]), TILUS_OK);
        assert_int_equal(tilus_event_record(c, e[i], NULL), TILUS_OK);
    }
    assert_int_equal(tilus_event_elapsed(c, e[0], e[1], &ms), TILUS_OK);
    assert_true(ms == 1.0f);
    tilus_context_destroy(c);
    assert_int_equal(n.live, 0);
    assert_int_equal(n.depth, 0);
    assert_int_equal(n.count[RT_CALL_module_unload], 1);
    assert_int_equal(n.count[RT_CALL_primary_release], 1);
    assert_int_equal(n.count[RT_CALL_event_destroy], 2);
}

/// Each call of the driver fails once; nothing may leak, and the caller's context stays current.
static void driver_failures(void **s) {
    (void)s;
    static float x[N], y[N], z[N];
    int failed = 0;
    for (int call = 0; call < RT_CALL_count_; call++)
        for (int nth = 1; nth <= 4; nth++) {
            counter k = {.left = -1};
            const tilus_allocator a = {count_alloc, count_release, &k};
            rt_null n;
            rt_null_init(&n);
            n.fail_at[call] = nth;
            n.error[call] = 999;
            tilus_context *c;
            tilus_status r = null_context(&n, &(tilus_context_params){.device = TILUS_DEVICE_CUDA, .alloc = &a}, &c);
            if (r == TILUS_OK) r = add_on(c, "1024", z, x, y);
            const bool hit = n.count[call] >= nth;
            const bool ignored = call == RT_CALL_ctx_pop || call == RT_CALL_mem_free || call == RT_CALL_stream_destroy;
            if (hit && !ignored && r == TILUS_OK) fail_msg("%s number %d failed, and nobody saw it", rt_driver_symbols[call], nth);
            if (!hit && r != TILUS_OK) fail_msg("%s: %s", rt_driver_symbols[call], tilus_error(c));
            if (hit && r != TILUS_OK && c) assert_true(strlen(tilus_error(c)) > 5);
            failed += hit;
            tilus_context_destroy(c);
            assert_int_equal(k.live, 0);
            if (call != RT_CALL_ctx_pop) assert_int_equal(n.depth, 0);
            if (!hit) break;
        }
    assert_true(failed > 25);
}

static void jit_messages(void **s) {
    (void)s;
    const struct {
        int error;
        const char *info, *log;
        bool strict;
        tilus_status status;
        const char *text;
    } rows[] = {
        {222, NULL, "Unsupported .version 8.6; current version is '7.8'", false, TILUS_DRIVER_TOO_OLD, "7.8"},
        {218, NULL, "ptxas fatal : syntax", false, TILUS_COMPILE_ERROR, "syntax"},
        {2, NULL, NULL, false, TILUS_OUT_OF_DEVICE_MEMORY, ""},
        {0, "ptxas info : (C7510) Potential Performance Loss: wgmma serialized", NULL, true, TILUS_COMPILE_ERROR, "C7510"},
        {0, "ptxas info : (C7510) Potential Performance Loss: wgmma serialized", NULL, false, TILUS_OK, ""},
        {0, "ptxas info : 0 bytes gmem, C75x", NULL, true, TILUS_OK, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rt_null n;
        rt_null_init(&n);
        n.jit_info = rows[i].info;
        n.jit_error = rows[i].log;
        n.fail_at[RT_CALL_module_load] = rows[i].error ? 1 : 0;
        n.error[RT_CALL_module_load] = rows[i].error;
        journal j = {0};
        tilus_context *c;
        const tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .strict_jit = rows[i].strict, .log = take_log, .log_user = &j};
        assert_int_equal(null_context(&n, &p, &c), TILUS_OK);
        tilus_kernel *k;
        const tilus_status r = tilus_kernel_get(module_of(c, add_text), "add", NULL, 0, &k);
        if (r != rows[i].status) fail_msg("row %zu: %s", i, tilus_error(c));
        if (r != TILUS_OK) assert_non_null(strstr(tilus_error(c), rows[i].text));
        tilus_kernel_info info;
        if (r == TILUS_OK) {
            assert_int_equal(tilus_kernel_describe(k, &info), TILUS_OK);
            assert_int_equal(info.advisory, i == 4);
            assert_int_equal(j.warnings, i == 4);
            assert_string_equal(info.jit_log, rows[i].info);
        }
        tilus_context_destroy(c);
        assert_int_equal(n.count[RT_CALL_module_unload], rows[i].error ? 0 : 1);
    }
}

static void foreign_ptx(void **s) {
    (void)s;
    rt_null n;
    rt_null_init(&n);
    tilus_context *c;
    assert_int_equal(null_context(&n, NULL, &c), TILUS_OK);
    tilus_module *m;
    tilus_kernel *k;
    assert_int_equal(tilus_module_from_ptx(c, ".version 8.0", &m), TILUS_OK);
    assert_int_equal(tilus_kernel_get(m, "foo", NULL, 0, &k), TILUS_OK);
    assert_int_equal(tilus_kernel_get(m, "foo", &(tilus_meta){"B", "1"}, 1, &k), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_kernel_get(m, "foo", NULL, 0, &k), TILUS_OK);
    assert_int_equal(tilus_launch(k, NULL, NULL, 0), TILUS_UNSUPPORTED);
    int x = 5;
    void *params[] = {&x};
    assert_int_equal(tilus_launch_raw(k, NULL, (unsigned[]){3, 2, 1}, (unsigned[]){64, 2, 1}, 100000, params), TILUS_OK);
    assert_int_equal(n.max_dynamic, 100000);
    assert_int_equal(n.grid[1], 2);
    assert_int_equal(n.block[0], 64);
    n.fail_at[RT_CALL_module_function] = n.count[RT_CALL_module_function] + 1;
    n.error[RT_CALL_module_function] = CU_NOT_FOUND;
    assert_int_equal(tilus_kernel_get(m, "bar", NULL, 0, &k), TILUS_NOT_FOUND);
    tilus_context_destroy(c);
    const int cases[][3] = {{0, 13000, TILUS_NO_DEVICE}, {1, 11080, TILUS_DRIVER_TOO_OLD}};
    for (int i = 0; i < 2; i++) {
        rt_null_init(&n);
        n.devices = cases[i][0];
        n.version = cases[i][1];
        assert_int_equal(null_context(&n, &(tilus_context_params){.device = TILUS_DEVICE_CUDA}, &c), cases[i][2]);
        assert_int_equal(null_context(&n, NULL, &c), TILUS_OK);
        assert_int_equal(tilus_context_device(c), TILUS_DEVICE_VM);
        tilus_context_destroy(c);
    }
    rt_null_init(&n);
    n.major = 7;
    assert_int_equal(null_context(&n, &(tilus_context_params){.device = TILUS_DEVICE_CUDA}, &c), TILUS_UNSUPPORTED);
}

// ---- the cache ----------------------------------------------------------------------------------

/// Gets the kernel in a new context; whether it came from the cache.
static bool cached(const char *dir, const char *text, const char *b, journal *j) {
    rt_null n;
    rt_null_init(&n);
    counter k = {.left = -1};
    const tilus_allocator a = {count_alloc, count_release, &k};
    tilus_context *c;
    const tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .alloc = &a, .cache_dir = dir, .log = take_log, .log_user = j};
    assert_int_equal(null_context(&n, &p, &c), TILUS_OK);
    tilus_kernel *kernel;
    if (tilus_kernel_get(module_of(c, text), "add", &(tilus_meta){"B", b}, 1, &kernel) != TILUS_OK) fail_msg("%s", tilus_error(c));
    tilus_kernel_info info;
    assert_int_equal(tilus_kernel_describe(kernel, &info), TILUS_OK);
    assert_non_null(strstr(info.ptx, info.entry));
    assert_int_equal(info.threads, 128);
    void *x[3];
    for (int i = 0; i < 3; i++) assert_int_equal(tilus_alloc(c, 4000, &x[i]), TILUS_OK);
    tilus_arg arg[] = {tilus_int(1000), tilus_pointer(x[0]), tilus_pointer(x[1]), tilus_pointer(x[2])};
    if (tilus_launch(kernel, NULL, arg, 4) != TILUS_OK) fail_msg("%s", tilus_error(c));
    assert_int_equal(n.grid[0], (1000 + atoi(b) - 1) / atoi(b));
    arg[0] = tilus_int(2);
    assert_int_equal(tilus_launch(kernel, NULL, arg, 4), TILUS_LAUNCH_REFUSED);
    assert_non_null(strstr(tilus_error(c), "requires n >= 3"));
    tilus_context_destroy(c);
    assert_int_equal(k.live, 0);
    return info.from_cache;
}

static void cache_hits(void **s) {
    (void)s;
    char dir[64], sub[80], path[128];
    temp_folder(dir);
    snprintf(sub, sizeof sub, "%s/a/b", dir);
    journal j = {0};
    assert_false(cached(sub, add_text, "512", &j));
    assert_true(cached(sub, add_text, "512", &j));
    assert_false(cached(sub, add_text, "256", &j));
    char other[1024];
    snprintf(other, sizeof other, "%s// changed\n", add_text);
    assert_false(cached(sub, other, "512", &j));
    assert_true(cached(sub, add_text, "256", &j));
    setenv("TILUS_CACHE_DIR", sub, 1);
    assert_true(cached("", add_text, "512", &j));
    unsetenv("TILUS_CACHE_DIR");
    setenv("XDG_CACHE_HOME", dir, 1);
    assert_false(cached("", add_text, "512", &j));
    unsetenv("XDG_CACHE_HOME");
    assert_false(cached(NULL, add_text, "512", &j));
    assert_int_equal(j.warnings, 0);

    snprintf(path, sizeof path, "%s/kernels.sqlite", sub);
    char junk[5000];
    for (size_t i = 0; i < sizeof junk; i++) junk[i] = (char)rng();
    put_file(path, junk, sizeof junk);
    assert_false(cached(sub, add_text, "512", &j));
    assert_int_equal(j.warnings, 1);
    snprintf(path, sizeof path, "%s/file", dir);
    put_file(path, "x", 1);
    assert_false(cached(path, add_text, "512", &j)); // no folder
    assert_int_equal(j.warnings, 2);
    assert_non_null(strstr(j.text, "kernel cache"));
    remove_folder(dir);
}

/// A database whose pages or rows were damaged behind the library's back.
static void cache_damage(void **s) {
    (void)s;
    for (int round = 0; round < 12; round++) {
        char dir[64], path[128];
        temp_folder(dir);
        journal j = {0};
        assert_false(cached(dir, add_text, "512", &j));
        snprintf(path, sizeof path, "%s/kernels.sqlite", dir);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        fseek(f, 0, SEEK_END);
        const long size = ftell(f);
        for (int i = 0; i < 1 << round; i++) {
            fseek(f, (long)(rng() % (uint64_t)size), SEEK_SET);
            fputc((int)(rng() & 255), f);
        }
        fclose(f);
        cached(dir, add_text, "512", &j); // hit or miss, but right
        remove_folder(dir);
    }
}

static void cache_no_memory(void **s) {
    (void)s;
    char dir[64];
    temp_folder(dir);
    journal j = {0};
    cached(dir, add_text, "512", &j);
    bool done = false;
    for (long left = 0; !done; left++) {
        counter k = {.left = left};
        const tilus_allocator a = {count_alloc, count_release, &k};
        rt_null n;
        rt_null_init(&n);
        tilus_context *c;
        tilus_module *m;
        tilus_kernel *kernel;
        const tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .alloc = &a, .cache_dir = dir};
        tilus_status r = null_context(&n, &p, &c);
        if (r == TILUS_OK) r = tilus_module_from_source(c, NULL, add_text, strlen(add_text), &m);
        if (r == TILUS_OK) r = tilus_kernel_get(m, "add", &(tilus_meta){"B", "512"}, 1, &kernel);
        if (r != TILUS_OK) assert_int_equal(r, TILUS_OUT_OF_MEMORY);
        done = r == TILUS_OK;
        tilus_context_destroy(c);
        assert_int_equal(k.live, 0);
        assert_int_equal(n.depth, 0);
    }
    remove_folder(dir);
}

// ---- threads ------------------------------------------------------------------------------------

static void *worker(void *user) {
    const char *dir = user;
    static _Thread_local float x[N], y[N], z[N];
    for (int i = 0; i < N; i++) {
        x[i] = (float)i * 0.5f;
        y[i] = (float)(N - i);
    }
    for (int round = 0; round < 3; round++) {
        tilus_context *c;
        if (tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VM}, &c) || add_on(c, "256", z, x, y)) return "vm";
        tilus_context_destroy(c);
        for (int i = 0; i < N; i++)
            if (z[i] != x[i] + y[i]) return "wrong";
        rt_null n;
        rt_null_init(&n);
        if (null_context(&n, &(tilus_context_params){.device = TILUS_DEVICE_CUDA, .cache_dir = dir}, &c) || add_on(c, "512", z, x, y))
            return "null driver";
        tilus_context_destroy(c);
    }
    return NULL;
}

static void threads(void **s) {
    (void)s;
    char dir[64];
    temp_folder(dir);
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, worker, dir), 0);
    for (int i = 0; i < 2; i++) {
        void *why;
        pthread_join(t[i], &why);
        if (why) fail_msg("%s", (char *)why);
    }
    remove_folder(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses),       cmocka_unit_test(missing_driver), cmocka_unit_test(vm_end_to_end),
        cmocka_unit_test(kernel_facts),   cmocka_unit_test(refusals),       cmocka_unit_test(program_errors),
        cmocka_unit_test(traps),          cmocka_unit_test(imports),        cmocka_unit_test(no_memory),
        cmocka_unit_test(launch_order),   cmocka_unit_test(driver_failures), cmocka_unit_test(jit_messages),
        cmocka_unit_test(foreign_ptx),    cmocka_unit_test(cache_hits),     cmocka_unit_test(cache_damage),
        cmocka_unit_test(cache_no_memory), cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
