// SPDX-License-Identifier: Apache-2.0
// The driver's entry points on the virtual GPU. Every call is done when it returns, so streams are
// names, and events hold the host's clock.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/vgpu/backend.h"

enum { VG_CUDA_VERSION = 13000, CU_INVALID_VALUE = 1, CU_NOT_SUPPORTED = 801, CU_INVALID_CONTEXT = 201,
       CU_INVALID_HANDLE = 400 };

/// An opened device: the handle of its context. Devices are numbered as they are opened.
typedef struct machine {
    vg_gpu *gpu;
    int device;
    int sm;
    struct machine *next;
} machine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static machine *machines;
static int opened;
static _Thread_local vg_options pending;
static _Thread_local machine *stack[16]; // contexts pushed
static _Thread_local int depth;
static _Thread_local int last_rc;
static _Thread_local char last_text[2048];

static machine *current(void) { return depth > 0 && depth <= 16 ? stack[depth - 1] : NULL; }

/// Remembers why, for cuGetErrorString.
static int because(int rc, const char *text) {
    last_rc = rc;
    snprintf(last_text, sizeof last_text, "%s", text);
    return rc;
}
static int result(const machine *m, enum vg_status s) { return s == VG_OK ? 0 : because((int)s, vg_error(m->gpu)); }

#define CURRENT(m)                                                                                 \
    machine *const m = current();                                                                  \
    if (!m) return because(CU_INVALID_CONTEXT, "no context is current")

static int vgpu_init(unsigned flags) {
    (void)flags;
    return 0;
}
static int vgpu_driver_version(int *v) {
    *v = VG_CUDA_VERSION;
    return 0;
}
static int vgpu_error_name(int e, const char **t) {
    static const struct {
        int rc;
        const char *name;
    } names[] = {{VG_INVALID_VALUE, "invalid value"}, {VG_OUT_OF_MEMORY, "out of memory"}, {VG_INVALID_PTX, "invalid PTX"},
                 {VG_NOT_FOUND, "not found"}, {VG_ILLEGAL_ADDRESS, "illegal address"}, {VG_OUT_OF_RESOURCES, "out of resources"},
                 {VG_LAUNCH_TIMEOUT, "launch timeout"}, {VG_ASSERT, "assertion"}, {VG_MISALIGNED, "misaligned address"},
                 {VG_ILLEGAL_INSTRUCTION, "illegal instruction"}, {VG_LAUNCH_FAILED, "launch failed"},
                 {CU_NOT_SUPPORTED, "not supported"}};
    *t = "error of the virtual GPU";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].rc == e) *t = names[i].name;
    return 0;
}
static int vgpu_error_string(int e, const char **t) {
    if (e && e == last_rc) *t = last_text;
    else vgpu_error_name(e, t);
    return 0;
}
static int vgpu_device_count(int *n) {
    *n = 1;
    return 0;
}
static int vgpu_device_get(int *d, int ordinal) {
    if (ordinal != 0) return CU_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    *d = opened++;
    pthread_mutex_unlock(&lock);
    return 0;
}
static int vgpu_device_name(char *name, int len, int d) {
    (void)d;
    snprintf(name, (size_t)len, "vgpu");
    return 0;
}
static int pending_sm(void) { return pending.sm ? pending.sm : 90; }
static int sm_of(int device) {
    int sm = pending_sm();
    pthread_mutex_lock(&lock);
    for (const machine *m = machines; m; m = m->next)
        if (m->device == device) sm = m->sm;
    pthread_mutex_unlock(&lock);
    return sm;
}
static int vgpu_device_attribute(int *v, int attribute, int d) {
    const int sm = sm_of(d);
    switch (attribute) {
    case CU_ATTR_MAJOR: *v = sm / 10; return 0;
    case CU_ATTR_MINOR: *v = sm % 10; return 0;
    case CU_ATTR_MAX_SHARED_OPTIN: *v = sm >= 90 ? 232448 : sm == 80 ? 166912 : 101376; return 0;
    case CU_ATTR_PROCESSORS: *v = VG_PROCESSORS; return 0;
    case 1: *v = 1024; return 0;  // threads of a block
    case 10: *v = 32; return 0;   // warp
    default: return because(CU_INVALID_VALUE, "the virtual GPU does not have this attribute");
    }
}
static int vgpu_device_total_mem(size_t *n, int d) {
    (void)d;
    *n = pending.memory ? pending.memory : (size_t)16 << 30;
    return 0;
}
static int vgpu_primary_retain(void **c, int d) {
    machine *const m = calloc(1, sizeof *m);
    if (!m) return because(CU_OUT_OF_MEMORY, "out of host memory");
    const enum vg_status s = vg_create(&pending, &m->gpu);
    if (s != VG_OK) {
        free(m);
        return because((int)s, "the virtual GPU cannot be made: out of host memory");
    }
    m->device = d;
    m->sm = pending_sm();
    pthread_mutex_lock(&lock);
    m->next = machines;
    machines = m;
    pthread_mutex_unlock(&lock);
    *c = m;
    return 0;
}
static int vgpu_primary_release(int d) {
    machine *found = NULL;
    pthread_mutex_lock(&lock);
    for (machine **at = &machines; *at; at = &(*at)->next)
        if ((*at)->device == d) {
            found = *at;
            *at = found->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    if (!found) return CU_INVALID_DEVICE;
    vg_destroy(found->gpu);
    free(found);
    return 0;
}
static int vgpu_ctx_push(void *c) {
    if (depth >= 16) return because(CU_INVALID_CONTEXT, "too many contexts are pushed");
    stack[depth++] = c;
    return 0;
}
static int vgpu_ctx_pop(void **c) {
    if (depth == 0) return because(CU_INVALID_CONTEXT, "no context is current");
    *c = stack[--depth];
    return 0;
}
static int vgpu_ctx_synchronize(void) { return 0; }

// ---- modules ------------------------------------------------------------------------------------

static int vgpu_module_load(void **module, const void *image, unsigned n, int *options, void **values) {
    CURRENT(m);
    ptx_error e = {0};
    vg_module *const out = vg_load(m->gpu, image, strlen(image), &e);
    *module = out;
    if (out) return 0;
    char *log = NULL;
    size_t size = 0;
    for (unsigned i = 0; i < n; i++) {
        if (options[i] == CU_JIT_ERROR_LOG) log = values[i];
        if (options[i] == CU_JIT_ERROR_LOG_SIZE) size = (size_t)(uintptr_t)values[i];
    }
    if (log && size) snprintf(log, size, "%s", e.text);
    return because(VG_INVALID_PTX, e.text);
}
static int vgpu_module_unload(void *module) {
    vg_unload(module);
    return 0;
}
static int vgpu_module_function(void **f, void *module, const char *name) {
    *f = vg_function(module, name);
    return *f ? 0 : because(CU_NOT_FOUND, "the module has no such kernel");
}
static int vgpu_func_get(int *v, int attribute, void *f) {
    (void)attribute;
    (void)f;
    *v = 0; // nothing spills, registers are virtual
    return 0;
}
static int vgpu_func_set(void *f, int attribute, int v) {
    (void)f;
    (void)attribute;
    (void)v;
    return 0;
}
static int vgpu_occupancy(int *blocks, void *f, int threads, size_t shared) {
    (void)f;
    const size_t by_shared = shared ? (size_t)233472 / (shared + 1024) : 32;
    const int by_threads = threads > 0 ? 2048 / threads : 0;
    *blocks = (size_t)by_threads < by_shared ? by_threads : (int)by_shared;
    if (*blocks > 32) *blocks = 32;
    return 0;
}

/// Runs while the calling thread's C locale and stack stay as they are; done on return.
static int run(machine *m, void *f, const vg_launch_config *c) { return result(m, vg_launch(m->gpu, f, c)); }

static int vgpu_launch(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **params, void **extra) {
    (void)stream;
    CURRENT(m);
    if (extra) return because(CU_INVALID_VALUE, "the virtual GPU takes parameters one by one");
    return run(m, f, &(vg_launch_config){{gx, gy, gz}, {bx, by, bz}, {0, 0, 0}, shared, params, false});
}

static int vgpu_clusters(int *n, void *f, const void *config) {
    const rt_launch_config *const c = config;
    int blocks = 0;
    unsigned size = 1;
    vgpu_occupancy(&blocks, f, (int)(c->block[0] * c->block[1] * c->block[2]), c->shared);
    for (unsigned i = 0; i < c->nattrs; i++)
        if (c->attrs[i].id == CU_LAUNCH_CLUSTER) size = c->attrs[i].cluster[0] * c->attrs[i].cluster[1] * c->attrs[i].cluster[2];
    *n = size ? VG_PROCESSORS * blocks / (int)size : 0;
    return 0;
}

static int vgpu_launch_ex(const void *config, void *f, void **params, void **extra) {
    CURRENT(m);
    const rt_launch_config *const c = config;
    if (extra) return because(CU_INVALID_VALUE, "the virtual GPU takes parameters one by one");
    vg_launch_config out = {.shared = c->shared, .params = params};
    memcpy(out.grid, c->grid, sizeof out.grid);
    memcpy(out.block, c->block, sizeof out.block);
    for (unsigned i = 0; i < c->nattrs; i++) {
        if (c->attrs[i].id == CU_LAUNCH_CLUSTER) memcpy(out.cluster, c->attrs[i].cluster, sizeof out.cluster);
        if (c->attrs[i].id == CU_LAUNCH_DEPENDENT) out.dependent = c->attrs[i].allowed != 0;
    }
    return run(m, f, &out);
}

static int vgpu_tensor_map(void *map, int type, uint32_t rank, void *address, const uint64_t *dims, const uint64_t *strides,
                           const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int l2_promotion,
                           int oob_fill) {
    return vg_tensor_map_encode(map, type, rank, address, dims, strides, box, element_strides, interleave, swizzle, l2_promotion, oob_fill);
}

// ---- memory -------------------------------------------------------------------------------------

static int vgpu_mem_alloc(uint64_t *p, size_t n) {
    CURRENT(m);
    return result(m, vg_alloc(m->gpu, n, p));
}
static int vgpu_mem_free(uint64_t p) {
    CURRENT(m);
    return result(m, vg_free(m->gpu, p));
}
static int vgpu_mem_info(size_t *free_bytes, size_t *total) {
    CURRENT(m);
    (void)m;
    *free_bytes = *total = pending.memory ? pending.memory : (size_t)16 << 30;
    return 0;
}
static int no_block(void) { return because(CU_INVALID_VALUE, "not memory of the virtual GPU, or past the end of a block"); }
static int vgpu_copy_h2d(uint64_t dst, const void *src, size_t n, void *stream) {
    (void)stream;
    CURRENT(m);
    void *const to = vg_host(m->gpu, dst, n, true);
    if (!to) return no_block();
    memcpy(to, src, n);
    return 0;
}
static int vgpu_copy_d2h(void *dst, uint64_t src, size_t n, void *stream) {
    (void)stream;
    CURRENT(m);
    const void *const from = vg_host(m->gpu, src, n, false);
    if (!from) return no_block();
    memcpy(dst, from, n);
    return 0;
}
static int vgpu_copy_any(uint64_t dst, uint64_t src, size_t n, void *stream) {
    (void)stream;
    CURRENT(m);
    const void *const from = vg_host(m->gpu, src, n, false);
    void *const to = vg_host(m->gpu, dst, n, true);
    if (!from || !to) return no_block();
    memmove(to, from, n);
    return 0;
}
static int vgpu_fill8(uint64_t dst, unsigned char v, size_t n, void *stream) {
    (void)stream;
    CURRENT(m);
    void *const to = vg_host(m->gpu, dst, n, true);
    if (!to) return no_block();
    memset(to, v, n);
    return 0;
}

// ---- streams and events -------------------------------------------------------------------------

static int vgpu_stream_create(void **s, unsigned flags) {
    (void)flags;
    *s = malloc(1);
    return *s ? 0 : because(CU_OUT_OF_MEMORY, "out of host memory");
}
static int vgpu_stream_destroy(void *s) {
    free(s);
    return 0;
}
static int vgpu_stream_synchronize(void *s) {
    (void)s;
    return 0;
}
static int vgpu_stream_capture_begin(void *s, int mode) {
    (void)s;
    (void)mode;
    return because(CU_NOT_SUPPORTED, "the virtual GPU does not capture graphs");
}
static int vgpu_stream_capture_end(void *s, void **graph) {
    (void)s;
    *graph = NULL;
    return because(CU_NOT_SUPPORTED, "the virtual GPU does not capture graphs");
}
static int vgpu_graph_instantiate(void **exec, void *graph, unsigned long long flags) {
    (void)graph;
    (void)flags;
    *exec = NULL;
    return because(CU_NOT_SUPPORTED, "the virtual GPU does not capture graphs");
}
static int vgpu_graph_launch(void *exec, void *s) {
    (void)exec;
    (void)s;
    return because(CU_NOT_SUPPORTED, "the virtual GPU does not capture graphs");
}
static int vgpu_graph_exec_destroy(void *exec) {
    (void)exec;
    return 0;
}
static int vgpu_graph_destroy(void *graph) {
    (void)graph;
    return 0;
}
static int vgpu_event_create(void **e, unsigned flags) {
    (void)flags;
    *e = calloc(1, sizeof(struct timespec));
    return *e ? 0 : because(CU_OUT_OF_MEMORY, "out of host memory");
}
static int vgpu_event_destroy(void *e) {
    free(e);
    return 0;
}
static int vgpu_event_record(void *e, void *s) {
    (void)s;
    return clock_gettime(CLOCK_MONOTONIC, e) ? CU_INVALID_HANDLE : 0;
}
static int vgpu_event_synchronize(void *e) {
    (void)e;
    return 0;
}
static int vgpu_event_elapsed(float *ms, void *from, void *to) {
    const struct timespec *const a = from, *const b = to;
    *ms = (float)(1e3 * (double)(b->tv_sec - a->tv_sec) + 1e-6 * (double)(b->tv_nsec - a->tv_nsec));
    return 0;
}

void rt_vgpu_driver(rt_driver *d, const vg_options *o) {
    pending = o ? *o : (vg_options){0};
    *d = (rt_driver){
#define DRIVER(name, symbol, params, needed) .name = vgpu_##name,
#include "runtime/driver.def"
#undef DRIVER
    };
}

vg_gpu *rt_vgpu(const tilus_context *c) {
    return c && c->device == TILUS_DEVICE_VGPU && c->has_primary ? ((machine *)c->primary)->gpu : NULL;
}
