// SPDX-License-Identifier: Apache-2.0
// A CUDA driver without a GPU, for tests of the runtime: it records calls, hands out handles, keeps
// memory on the host, and fails when told to. Kernels are not executed.
#include <stdlib.h>
#include <string.h>
#include "runtime/runtime.h"

static _Thread_local rt_null *null;

/// Notes the call; the error to return, or 0.
static int note(int call) {
    if (null->norder < sizeof null->order / sizeof *null->order) null->order[null->norder++] = call;
    null->count[call]++;
    return null->fail_at[call] == null->count[call] ? null->error[call] : 0;
}
#define NOTE(name)                                                                                 \
    do {                                                                                           \
        const int rc_ = note(RT_CALL_##name);                                                      \
        if (rc_) return rc_;                                                                       \
    } while (0)

static void *handle(int kind) { return (void *)(uintptr_t)(0x1000 + kind); }

static int null_init(unsigned flags) {
    (void)flags;
    NOTE(init);
    return null->devices ? 0 : CU_NO_DEVICE;
}
static int null_driver_version(int *v) {
    NOTE(driver_version);
    *v = null->version;
    return 0;
}
static int null_error_name(int e, const char **t) {
    (void)e;
    *t = "CUDA_ERROR_NULL";
    return 0;
}
static int null_error_string(int e, const char **t) {
    (void)e;
    *t = "error of the null driver";
    return 0;
}
static int null_device_count(int *n) {
    NOTE(device_count);
    *n = null->devices;
    return 0;
}
static int null_device_get(int *d, int ordinal) {
    NOTE(device_get);
    *d = ordinal;
    return ordinal < null->devices ? 0 : CU_INVALID_DEVICE;
}
static int null_device_name(char *name, int len, int d) {
    (void)d;
    NOTE(device_name);
    snprintf(name, (size_t)len, "null device");
    return 0;
}
static int null_device_attribute(int *v, int attribute, int d) {
    (void)d;
    NOTE(device_attribute);
    *v = attribute == CU_ATTR_MAJOR ? null->major : attribute == CU_ATTR_MINOR ? null->minor
         : attribute == CU_ATTR_PROCESSORS ? 132 : 232448;
    return 0;
}
static int null_device_total_mem(size_t *n, int d) {
    (void)d;
    NOTE(device_total_mem);
    *n = (size_t)1 << 37;
    return 0;
}
static int null_primary_retain(void **c, int d) {
    (void)d;
    NOTE(primary_retain);
    *c = handle(1);
    return 0;
}
static int null_primary_release(int d) {
    (void)d;
    NOTE(primary_release);
    return 0;
}
static int null_ctx_push(void *c) {
    (void)c;
    NOTE(ctx_push);
    null->depth++;
    return 0;
}
static int null_ctx_pop(void **c) {
    NOTE(ctx_pop);
    null->depth--;
    *c = handle(1);
    return 0;
}
static int null_ctx_synchronize(void) {
    NOTE(ctx_synchronize);
    return 0;
}
static void put_log(const char *text, void *to, void *size) {
    if (text && to) snprintf(to, (size_t)(uintptr_t)size, "%s", text);
}
static int null_module_load(void **m, const void *image, unsigned n, int *options, void **values) {
    (void)image;
    void *value[16] = {0};
    for (unsigned i = 0; i < n; i++)
        if (options[i] >= 0 && options[i] < 16) value[options[i]] = values[i];
    put_log(null->jit_info, value[CU_JIT_INFO_LOG], value[CU_JIT_INFO_LOG_SIZE]);
    put_log(null->jit_error, value[CU_JIT_ERROR_LOG], value[CU_JIT_ERROR_LOG_SIZE]);
    NOTE(module_load);
    *m = handle(2);
    return 0;
}
static int null_module_unload(void *m) {
    (void)m;
    NOTE(module_unload);
    return 0;
}
static int null_module_function(void **f, void *m, const char *name) {
    (void)m;
    (void)name;
    NOTE(module_function);
    *f = handle(3);
    return 0;
}
static int null_func_get(int *v, int attribute, void *f) {
    (void)f;
    NOTE(func_get);
    *v = attribute == CU_FUNC_REGS ? null->registers : attribute == CU_FUNC_LOCAL ? null->local : 0;
    return 0;
}
static int null_func_set(void *f, int attribute, int value) {
    (void)f;
    NOTE(func_set);
    if (attribute == CU_FUNC_MAX_DYNAMIC_SHARED) null->max_dynamic = value;
    return 0;
}
static int null_occupancy(int *blocks, void *f, int threads, size_t shared) {
    (void)f;
    (void)shared;
    NOTE(occupancy);
    *blocks = 2048 / threads;
    return 0;
}
static int null_clusters(int *n, void *f, const void *config) {
    (void)f;
    NOTE(clusters);
    *n = ((const rt_launch_config *)config)->nattrs ? 65 : 132;
    return 0;
}
static int null_launch(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **params, void **extra) {
    (void)f;
    (void)stream;
    (void)extra;
    NOTE(launch);
    memcpy(null->grid, (unsigned[]){gx, gy, gz}, sizeof null->grid);
    memcpy(null->block, (unsigned[]){bx, by, bz}, sizeof null->block);
    null->shared = shared;
    null->params = params;
    return 0;
}
static int null_launch_ex(const void *config, void *f, void **params, void **extra) {
    (void)f;
    (void)extra;
    NOTE(launch_ex);
    const rt_launch_config *l = config;
    memcpy(null->grid, l->grid, sizeof null->grid);
    memcpy(null->block, l->block, sizeof null->block);
    null->shared = l->shared;
    null->params = params;
    memset(null->cluster, 0, sizeof null->cluster);
    null->dependent = 0;
    for (unsigned i = 0; i < l->nattrs; i++) {
        if (l->attrs[i].id == CU_LAUNCH_CLUSTER) memcpy(null->cluster, l->attrs[i].cluster, sizeof null->cluster);
        if (l->attrs[i].id == CU_LAUNCH_DEPENDENT) null->dependent = (unsigned)l->attrs[i].allowed;
    }
    return 0;
}
static int null_tensor_map(void *map, int type, uint32_t rank, void *address, const uint64_t *dims, const uint64_t *strides, const uint32_t *box,
                           const uint32_t *element_strides, int interleave, int swizzle, int l2_promotion, int oob_fill) {
    (void)element_strides;
    (void)interleave;
    (void)l2_promotion;
    (void)oob_fill;
    NOTE(tensor_map);
    if (!null->depth) return 201; // as the driver: no context is current
    memset(map, 0, 128);
    memcpy(map, &address, sizeof address);
    null->map = (rt_null_map){.type = type, .rank = rank, .address = address, .swizzle = swizzle};
    memcpy(null->map.dims, dims, rank * sizeof *dims);
    memcpy(null->map.box, box, rank * sizeof *box);
    if (rank > 1) memcpy(null->map.strides, strides, (rank - 1) * sizeof *strides);
    return 0;
}
static int null_mem_alloc(uint64_t *p, size_t n) {
    NOTE(mem_alloc);
    void *m = aligned_alloc(256, (n + 255) / 256 * 256);
    if (!m) return CU_OUT_OF_MEMORY;
    null->live++;
    *p = (uintptr_t)m;
    return 0;
}
static int null_mem_free(uint64_t p) {
    free((void *)(uintptr_t)p); // also when it reports an error: nobody will try again
    null->live--;
    NOTE(mem_free);
    return 0;
}
static int null_mem_info(size_t *free, size_t *total) {
    NOTE(mem_info);
    *free = *total = (size_t)1 << 37;
    return 0;
}
static int null_copy_h2d(uint64_t dst, const void *src, size_t n, void *stream) {
    (void)stream;
    NOTE(copy_h2d);
    memmove((void *)(uintptr_t)dst, src, n);
    return 0;
}
static int null_copy_d2h(void *dst, uint64_t src, size_t n, void *stream) {
    (void)stream;
    NOTE(copy_d2h);
    memmove(dst, (const void *)(uintptr_t)src, n);
    return 0;
}
static int null_copy_any(uint64_t dst, uint64_t src, size_t n, void *stream) {
    (void)stream;
    NOTE(copy_any);
    memmove((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, n);
    return 0;
}
static int null_fill8(uint64_t dst, unsigned char v, size_t n, void *stream) {
    (void)stream;
    NOTE(fill8);
    memset((void *)(uintptr_t)dst, v, n);
    return 0;
}
static int null_stream_create(void **s, unsigned flags) {
    (void)flags;
    NOTE(stream_create);
    *s = handle(4);
    return 0;
}
static int null_stream_destroy(void *s) {
    (void)s;
    NOTE(stream_destroy);
    return 0;
}
static int null_stream_synchronize(void *s) {
    (void)s;
    NOTE(stream_synchronize);
    return 0;
}
static int null_stream_capture_begin(void *s, int mode) {
    (void)s;
    (void)mode;
    NOTE(stream_capture_begin);
    return 0;
}
static int null_stream_capture_end(void *s, void **graph) {
    (void)s;
    NOTE(stream_capture_end);
    *graph = handle(5);
    return 0;
}
static int null_graph_instantiate(void **exec, void *graph, unsigned long long flags) {
    (void)graph;
    (void)flags;
    NOTE(graph_instantiate);
    *exec = handle(9);
    return 0;
}
static int null_graph_launch(void *exec, void *s) {
    (void)exec;
    (void)s;
    NOTE(graph_launch);
    return 0;
}
static int null_graph_exec_destroy(void *exec) {
    (void)exec;
    NOTE(graph_exec_destroy);
    return 0;
}
static int null_graph_destroy(void *graph) {
    (void)graph;
    NOTE(graph_destroy);
    return 0;
}
static int null_event_create(void **e, unsigned flags) {
    (void)flags;
    NOTE(event_create);
    *e = handle(6);
    return 0;
}
static int null_event_destroy(void *e) {
    (void)e;
    NOTE(event_destroy);
    return 0;
}
static int null_event_record(void *e, void *s) {
    (void)e;
    (void)s;
    NOTE(event_record);
    return 0;
}
static int null_event_synchronize(void *e) {
    (void)e;
    NOTE(event_synchronize);
    return 0;
}
static int null_event_elapsed(float *ms, void *from, void *to) {
    (void)from;
    (void)to;
    NOTE(event_elapsed);
    *ms = 1.0f;
    return 0;
}

void rt_null_init(rt_null *n) {
    *n = (rt_null){.devices = 1, .version = 13000, .major = 9, .minor = 0, .registers = 40};
}

void rt_null_driver(rt_driver *d, rt_null *n) {
    null = n;
    *d = (rt_driver){
#define DRIVER(name, symbol, params, needed) .name = null_##name,
#include "runtime/driver.def"
#undef DRIVER
    };
}
