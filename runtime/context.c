// SPDX-License-Identifier: Apache-2.0
// Contexts: the choice of a device, the primary context of the GPU, memory and lists of the objects
// that a context owns.
#include <stdlib.h>
#include <string.h>
#include "runtime/tune.h"
#include "runtime/vgpu/backend.h"

void *rt_alloc(tilus_context *c, size_t size) {
    void *p = c->alloc.alloc(c->alloc.user, size);
    return p ? memset(p, 0, size) : NULL;
}

void rt_free(tilus_context *c, void *p, size_t size) {
    if (p) c->alloc.release(c->alloc.user, p, size);
}

char *rt_strdup(tilus_context *c, const char *s) {
    const size_t n = strlen(s) + 1;
    char *p = rt_alloc(c, n);
    return p ? memcpy(p, s, n) : NULL;
}

bool rt_list_add(tilus_context *c, rt_list *l, void *x) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 8;
        void **at = rt_alloc(c, cap * sizeof *at);
        if (!at) return false;
        if (l->n) memcpy(at, l->at, l->n * sizeof *at);
        rt_free(c, l->at, l->cap * sizeof *l->at);
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = x;
    return true;
}

bool rt_list_remove(rt_list *l, const void *x) {
    for (size_t i = 0; i < l->n; i++)
        if (l->at[i] == x) {
            memmove(&l->at[i], &l->at[i + 1], (l->n - i - 1) * sizeof *l->at);
            l->n--;
            return true;
        }
    return false;
}

static void list_free(tilus_context *c, rt_list *l) { rt_free(c, l->at, l->cap * sizeof *l->at); }

// ---- the caller's CUDA context stays current ----------------------------------------------------

tilus_status rt_enter(tilus_context *c) { return rt_cu(c, c->cu.ctx_push(c->primary), "cuCtxPushCurrent"); }

void rt_leave(tilus_context *c) {
    void *old;
    c->cu.ctx_pop(&old); // it can fail only if the push did
}

// ---- life ---------------------------------------------------------------------------------------

static tilus_status open_gpu(tilus_context *c, int ordinal) {
    const rt_driver *cu = &c->cu;
    int rc = cu->init(0), version = 0, count = 0, major = 0, minor = 0;
    if (rc) return rt_cu(c, rc, "cuInit");
    rc = cu->driver_version(&version);
    if (rc) return rt_cu(c, rc, "cuDriverGetVersion");
    if (version < 12000)
        return rt_fail(c, TILUS_DRIVER_TOO_OLD, "the CUDA driver supports CUDA %d.%d; 12.0 or newer is needed", version / 1000, version % 1000 / 10);
    rc = cu->device_count(&count);
    if (rc) return rt_cu(c, rc, "cuDeviceGetCount");
    if (ordinal < 0 || ordinal >= count)
        return rt_fail(c, TILUS_NO_DEVICE, "there is no GPU number %d: the driver shows %d", ordinal, count);
    rc = cu->device_get(&c->gpu, ordinal);
    if (!rc) rc = cu->device_name(c->name, sizeof c->name, c->gpu);
    if (!rc) rc = cu->device_attribute(&major, CU_ATTR_MAJOR, c->gpu);
    if (!rc) rc = cu->device_attribute(&minor, CU_ATTR_MINOR, c->gpu);
    if (rc) return rt_cu(c, rc, "cuDeviceGet");
    c->name[sizeof c->name - 1] = 0;
    c->arch = vm_arch_for_device(major, minor);
    if (!c->arch) return rt_fail(c, TILUS_UNSUPPORTED, "%s has compute capability %d.%d; 8.0 or higher is needed", c->name, major, minor);
    rc = cu->primary_retain(&c->primary, c->gpu);
    if (rc) return rt_cu(c, rc, "cuDevicePrimaryCtxRetain");
    c->has_primary = true;
    return TILUS_OK;
}

static tilus_status vgpu_options(tilus_context *c, const tilus_vgpu_params *p, vg_options *out) {
    static const tilus_vgpu_params none;
    if (!p) p = &none;
    const vm_arch *const a = vm_arch_find(p->arch ? p->arch : "sm_90a");
    if (!a || a->sm > 90 || p->threads < 0 || p->threads > 1024)
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "the virtual GPU is an sm_80, sm_86, sm_89 or sm_90a, not '%s', with 0 to 1024 threads",
                       p->arch ? p->arch : "");
    c->profiles = p->profile != 0;
    *out = (vg_options){.sm = a->sm, .threads = p->threads, .schedule = p->schedule, .sanitize = p->sanitize != 0,
                        .profile = p->profile != 0, .print = rt_print, .user = c};
    return TILUS_OK;
}

/// What TILUS_DEVICE_AUTO means: *out stays AUTO unless the environment says otherwise.
static tilus_status automatic(tilus_context *c, tilus_device *out) {
    static const struct {
        const char *name;
        tilus_device device;
    } names[] = {{"auto", TILUS_DEVICE_AUTO}, {"cuda", TILUS_DEVICE_CUDA}, {"vm", TILUS_DEVICE_VM}, {"vgpu", TILUS_DEVICE_VGPU}};
    const char *const name = getenv("TILUS_DEVICE");
    if (!name || !*name) return TILUS_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) {
            *out = names[i].device;
            return TILUS_OK;
        }
    return rt_fail(c, TILUS_INVALID_ARGUMENT, "TILUS_DEVICE is auto, cuda, vm or vgpu, not '%.60s'", name);
}

static tilus_status open_device(tilus_context *c, const tilus_context_params *p, const rt_driver *table) {
    tilus_device device = p->device;
    c->device = TILUS_DEVICE_VM;
    snprintf(c->name, sizeof c->name, "vm");
    tilus_status s = device == TILUS_DEVICE_AUTO ? automatic(c, &device) : TILUS_OK;
    if (s != TILUS_OK || device == TILUS_DEVICE_VM) return s;
    if (device == TILUS_DEVICE_VGPU) {
        vg_options o;
        s = vgpu_options(c, p->vgpu, &o);
        if (s != TILUS_OK) return s;
        rt_vgpu_driver(&c->cu, &o);
        c->sanitize = o.sanitize;
    } else if (table) c->cu = *table;
    else {
        char why[400];
        s = rt_driver_load(&c->cu, why, sizeof why);
        if (s != TILUS_OK) rt_fail(c, s, "%s", why);
    }
    c->has_driver = s == TILUS_OK;
    if (s == TILUS_OK) s = open_gpu(c, p->ordinal);
    if (s == TILUS_OK) {
        c->device = device == TILUS_DEVICE_VGPU ? TILUS_DEVICE_VGPU : TILUS_DEVICE_CUDA;
        return TILUS_OK;
    }
    c->arch = NULL;
    snprintf(c->name, sizeof c->name, "vm");
    if (device != TILUS_DEVICE_AUTO) return s;
    rt_log(c, TILUS_LOG_INFO, "using the virtual machine: %s", c->error);
    c->error[0] = 0;
    return TILUS_OK;
}

static void warn(void *context, const char *text) { rt_log(context, TILUS_LOG_WARNING, "%s", text); }

/// What is known of tuned parameters. On the VM nothing is: all points are alike there.
static tilus_status open_tuner(tilus_context *c, const char *where) {
    if (c->device == TILUS_DEVICE_VM) return TILUS_OK;
    rt_tune_target t = {.counts = c->device == TILUS_DEVICE_VGPU};
    snprintf(t.gpu, sizeof t.gpu, "%s", c->name);
    snprintf(t.arch, sizeof t.arch, "%s", c->arch->name);
    int rc = c->cu.driver_version(&t.driver);
    if (!rc) rc = c->cu.device_attribute(&t.sms, CU_ATTR_MULTIPROCESSORS, c->gpu);
    if (rc) return rt_cu(c, rc, "cuDeviceGetAttribute");
    c->tuner = rt_tuner_new(&c->alloc, where, &t, warn, c);
    return c->tuner ? TILUS_OK : rt_no_memory(c);
}

tilus_status rt_context_create(const tilus_context_params *p, const rt_driver *table, tilus_context **out) {
    static const tilus_context_params none;
    if (!p) p = &none;
    if (p->error && p->error_size) p->error[0] = 0;
    if (!out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    const bool bad = p->device < TILUS_DEVICE_AUTO || p->device > TILUS_DEVICE_VGPU || p->optimize < -1 || p->optimize > 3 ||
                     (p->alloc && (!p->alloc->alloc || !p->alloc->release));
    if (bad) {
        if (p->error) snprintf(p->error, p->error_size, "invalid context parameters");
        return TILUS_INVALID_ARGUMENT;
    }
    vm_allocator mem = vm_malloc;
    if (p->alloc) mem = (vm_allocator){p->alloc->alloc, p->alloc->release, p->alloc->user};
    tilus_context *c = mem.alloc(mem.user, sizeof *c);
    if (!c) {
        if (p->error) snprintf(p->error, p->error_size, "out of host memory");
        return TILUS_OUT_OF_MEMORY;
    }
    memset(c, 0, sizeof *c);
    c->alloc = mem;
    c->log = p->log;
    c->log_user = p->log_user;
    c->strict = p->strict_jit != 0;
    c->opt = p->optimize == 0 ? 3 : p->optimize < 0 ? 0 : p->optimize;
    tilus_status s = open_device(c, p, table);
    if (s == TILUS_OK) s = open_tuner(c, p->tune_db);
    if (s != TILUS_OK) {
        if (p->error) snprintf(p->error, p->error_size, "%s", c->error);
        rt_log(c, TILUS_LOG_ERROR, "%s", c->error);
        tilus_context_destroy(c);
        return s;
    }
    if (p->cache_dir && c->device != TILUS_DEVICE_VM) c->cache = rt_cache_open(c, p->cache_dir);
    *out = c;
    return TILUS_OK;
}

tilus_status tilus_context_create(const tilus_context_params *p, tilus_context **out) {
    return rt_context_create(p, NULL, out);
}

void tilus_context_destroy(tilus_context *c) {
    if (!c) return;
    if (c->sanitize) {
        const size_t before = tilus_vgpu_reports(c), n = tilus_vgpu_check_leaks(c);
        for (size_t i = before; i < before + n; i++) rt_log(c, TILUS_LOG_WARNING, "%s", tilus_vgpu_report(c, i));
    }
    while (c->modules) tilus_module_destroy(c->modules);
    while (c->nblocks) {
        const size_t n = c->nblocks;
        tilus_free(c, (void *)(uintptr_t)c->blocks[n - 1].at);
        c->nblocks = n - 1; // even if the driver refused
    }
    rt_free(c, c->blocks, c->cap_blocks * sizeof *c->blocks);
    while (c->streams.n) tilus_stream_destroy(c, c->streams.at[c->streams.n - 1]);
    while (c->events.n) tilus_event_destroy(c, c->events.at[c->events.n - 1]);
    list_free(c, &c->streams);
    list_free(c, &c->events);
    rt_cache_close(c->cache);
    rt_tuner_free(c->tuner);
    if (c->has_primary) c->cu.primary_release(c->gpu);
    if (c->has_driver) rt_driver_unload(&c->cu);
    rt_free(c, c->text, c->text_size);
    rt_free(c, c->json, c->json_size);
    const vm_allocator mem = c->alloc;
    mem.release(mem.user, c, sizeof *c);
}

size_t tilus_vgpu_reports(const tilus_context *c) {
    const vg_report *r;
    vg_gpu *const g = rt_vgpu(c);
    return g ? vg_reports(g, &r) : 0;
}

size_t tilus_vgpu_check_leaks(tilus_context *c) {
    vg_gpu *const g = rt_vgpu(c);
    return g ? vg_check_leaks(g) : 0;
}

const char *tilus_vgpu_report(const tilus_context *c, size_t i) {
    const vg_report *r;
    vg_gpu *const g = rt_vgpu(c);
    return g && i < vg_reports(g, &r) ? r[i].text : NULL;
}

tilus_device tilus_context_device(const tilus_context *c) { return c ? c->device : TILUS_DEVICE_AUTO; }
const char *tilus_device_name(const tilus_context *c) { return c ? c->name : ""; }
const char *tilus_device_arch(const tilus_context *c) { return !c ? "" : c->arch ? c->arch->name : "vm"; }
