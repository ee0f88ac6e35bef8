// SPDX-License-Identifier: Apache-2.0
// Launches that need more than a grid, on the driver without a GPU: what attributes they carry, which
// tensor maps are encoded and when, and how they are refused.
#include "tests/unit/runtime_util.h"

static const char text[] =
    "kernel boxes[R: int = 16, C: int = 64](m: i32, n: i32, x: global f16[m, n], y: global f16[m, n])\n"
    "    launch { grid = (cdiv(m, R), cdiv(n, C)); warps = 4; }\n"
    "{\n"
    "    let s: shared f16[R, C] @ swizzle(128), full: shared barrier[1] = 1;\n"
    "    copy_async(s, x[block.x * R +: R, block.y * C +: C], full[0], via = tensor);\n"
    "    arrive(full[0]);\n"
    "    wait(full[0], 0);\n"
    "    let v = load(s);\n"
    "    store(s, v + v);\n"
    "    tma_store(y[block.x * R +: R, block.y * C +: C], s);\n"
    "}\n"
    "kernel paired(n: i32, x: global f32[n, 128], w: global f32[128], y: global f32[n, 128])\n"
    "    launch { grid = n; warps = 4; cluster = 2; dependent = true; static = (w); }\n"
    "{\n"
    "    let s: shared f32[128], full: shared barrier[1] = 1;\n"
    "    copy_async(s, w, full[0], via = bulk);\n"
    "    arrive(full[0]);\n"
    "    wait_previous();\n"
    "    wait(full[0], 0);\n"
    "    store(y[block.x, ..], load(x[block.x, ..]) + load(s));\n"
    "    launch_next();\n"
    "}\n";

typedef struct {
    rt_null n;
    tilus_context *c;
    tilus_module *m;
} bench;

static void start(bench *b, const char *cache) {
    rt_driver table;
    rt_null_init(&b->n);
    rt_null_driver(&table, &b->n);
    const tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .cache_dir = cache};
    assert_int_equal(rt_context_create(&p, &table, &b->c), TILUS_OK);
    assert_int_equal(tilus_module_from_source(b->c, "t.tvm", text, sizeof text - 1, &b->m), TILUS_OK);
}

static tilus_kernel *get(bench *b, const char *name) {
    tilus_kernel *k;
    if (tilus_kernel_get(b->m, name, NULL, 0, &k) != TILUS_OK) fail_msg("%s", tilus_error(b->c));
    return k;
}

static void maps_of(const char *cache) {
    bench b;
    start(&b, cache);
    tilus_kernel *k = get(&b, "boxes");
    void *p[2];
    for (int i = 0; i < 2; i++) assert_int_equal(tilus_alloc(b.c, 64 * 200 * 2, &p[i]), TILUS_OK);
    tilus_arg a[] = {tilus_int(50), tilus_int(200), tilus_pointer(p[0]), tilus_pointer(p[1])};
    tilus_plan *plan;
    if (tilus_prepare(k, a, 4, &plan) != TILUS_OK) fail_msg("%s", tilus_error(b.c));
    assert_int_equal(b.n.count[RT_CALL_tensor_map], 2);
    assert_int_equal(b.n.map.type, 6); // f16
    assert_int_equal(b.n.map.rank, 2);
    assert_int_equal(b.n.map.swizzle, 3);
    assert_ptr_equal(b.n.map.address, p[1]);
    const uint64_t dims[] = {200, 50};
    const uint32_t box[] = {64, 16};
    assert_memory_equal(b.n.map.dims, dims, sizeof dims);
    assert_int_equal(b.n.map.strides[0], 400);
    assert_memory_equal(b.n.map.box, box, sizeof box);
    int64_t blocks = 0;
    assert_int_equal(tilus_plan_resident(plan, &blocks), TILUS_OK);
    assert_true(blocks > 0 && blocks % 132 == 0);
    assert_int_equal(tilus_launch_prepared(plan, NULL), TILUS_OK);
    assert_int_equal(b.n.count[RT_CALL_launch], 1);
    assert_int_equal((uintptr_t)b.n.params[4] % 64, 0);
    assert_ptr_equal(*(void **)b.n.params[4], p[0]); // the null driver's maps begin with the address
    assert_ptr_equal(*(void **)b.n.params[5], p[1]);

    // the same again: nothing to encode; another extent: both; another pointer: one
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_OK);
    assert_int_equal(b.n.count[RT_CALL_tensor_map], 2);
    a[0] = tilus_int(33);
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_OK);
    assert_int_equal(b.n.count[RT_CALL_tensor_map], 4);
    a[2] = tilus_pointer((char *)p[0] + 1600);
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_OK);
    assert_int_equal(b.n.count[RT_CALL_tensor_map], 5);
    assert_int_equal(tilus_launch_prepared(plan, NULL), TILUS_OK);
    assert_ptr_equal(*(void **)b.n.params[4], (char *)p[0] + 1600);

    a[1] = tilus_int(100);
    a[0] = tilus_int(10);
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_LAUNCH_REFUSED); // 200 bytes a row
    assert_non_null(strstr(tilus_error(b.c), "a stride of 200 bytes"));
    a[1] = tilus_int(104);
    b.n.fail_at[RT_CALL_tensor_map] = b.n.count[RT_CALL_tensor_map] + 2;
    b.n.error[RT_CALL_tensor_map] = 1;
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_DRIVER_ERROR);
    assert_non_null(strstr(tilus_error(b.c), "cuTensorMapEncodeTiled"));
    const int before = b.n.count[RT_CALL_tensor_map];
    assert_int_equal(tilus_plan_update(plan, a, 4), TILUS_OK); // all of them anew
    assert_int_equal(b.n.count[RT_CALL_tensor_map], before + 2);
    tilus_context_destroy(b.c);
    assert_int_equal(b.n.live, 0);
}

static void maps(void **s) {
    (void)s;
    maps_of(NULL);
    char dir[64];
    temp_folder(dir);
    maps_of(dir);
    maps_of(dir); // the recipes come from the cache
    remove_folder(dir);
}

static void attributes(void **s) {
    (void)s;
    bench b;
    start(&b, NULL);
    tilus_kernel *k = get(&b, "paired");
    void *p[3];
    for (int i = 0; i < 3; i++) assert_int_equal(tilus_alloc(b.c, 10 * 128 * 4, &p[i]), TILUS_OK);
    tilus_arg a[] = {tilus_int(6), tilus_pointer(p[0]), tilus_pointer(p[1]), tilus_pointer(p[2])};
    if (tilus_launch(k, NULL, a, 4) != TILUS_OK) fail_msg("%s", tilus_error(b.c));
    assert_int_equal(b.n.count[RT_CALL_launch], 0);
    assert_int_equal(b.n.count[RT_CALL_launch_ex], 1);
    assert_int_equal(b.n.count[RT_CALL_tensor_map], 0);
    const unsigned cluster[] = {2, 1, 1};
    assert_memory_equal(b.n.cluster, cluster, sizeof cluster);
    assert_int_equal(b.n.dependent, 1);
    assert_int_equal(b.n.grid[0], 6);
    assert_int_equal(b.n.block[0], 128);
    assert_ptr_equal(*(void **)b.n.params[3], p[2]);
    tilus_plan *plan;
    int64_t blocks = 0;
    assert_int_equal(tilus_prepare(k, a, 4, &plan), TILUS_OK);
    assert_int_equal(tilus_plan_resident(plan, &blocks), TILUS_OK);
    assert_int_equal(blocks, 2 * 65); // the null driver holds 65 clusters
    b.n.fail_at[RT_CALL_clusters] = 2;
    b.n.error[RT_CALL_clusters] = 1;
    assert_int_equal(tilus_plan_resident(plan, &blocks), TILUS_DRIVER_ERROR);
    assert_int_equal(tilus_plan_resident(NULL, &blocks), TILUS_INVALID_ARGUMENT);
    a[0] = tilus_int(5);
    assert_int_equal(tilus_launch(k, NULL, a, 4), TILUS_LAUNCH_REFUSED);
    assert_non_null(strstr(tilus_error(b.c), "no multiple of the cluster's 2 blocks"));
    tilus_kernel_info info;
    assert_int_equal(tilus_kernel_describe(k, &info), TILUS_OK);
    static const char *const have[] = {"cp.async.bulk.shared::cluster.global", "griddepcontrol.wait", "griddepcontrol.launch_dependents",
                                       ".explicitcluster", "mbarrier.expect_tx"};
    for (size_t i = 0; i < sizeof have / sizeof *have; i++)
        if (!strstr(info.ptx, have[i])) fail_msg("no %s in:\n%s", have[i], info.ptx);
    tilus_context_destroy(b.c);
    assert_int_equal(b.n.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps), cmocka_unit_test(attributes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
