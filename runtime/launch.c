// SPDX-License-Identifier: Apache-2.0
// Launching: arguments become codes, the host region checks them and gives the grid, and the driver or
// the VM runs the kernel. Nothing here allocates once a plan exists.
#include <stddef.h>
#include <string.h>
#include "runtime/runtime.h"

// ---- plans --------------------------------------------------------------------------------------

static rt_tensor_map *map_at(const tilus_plan *p, size_t i) {
    return (rt_tensor_map *)(((uintptr_t)p->map + 63) / 64 * 64) + i;
}

/// What a plain launch cannot say.
static void add_attributes(tilus_plan *p) {
    const ir_func *f = p->kernel->func;
    rt_launch_config *l = &p->config;
    l->attrs = p->attrs;
    if (f->cluster[0] * f->cluster[1] * f->cluster[2] > 1) {
        rt_launch_attribute *a = &p->attrs[l->nattrs++];
        a->id = CU_LAUNCH_CLUSTER;
        for (int d = 0; d < 3; d++) a->cluster[d] = (unsigned)f->cluster[d];
    }
    if (f->dependent) {
        rt_launch_attribute *a = &p->attrs[l->nattrs++];
        a->id = CU_LAUNCH_DEPENDENT;
        a->allowed = 1;
    }
}

/// Tensor maps for a launch, those anew whose tensor has moved or changed its shape. The driver wants
/// its context for that.
static tilus_status encode_maps(tilus_plan *p, const ir_launch *l) {
    tilus_context *c = p->kernel->module->ctx;
    static const uint32_t ones[5] = {1, 1, 1, 1, 1};
    if (!l->maps || c->device == TILUS_DEVICE_VM) return TILUS_OK;
    if (!c->cu.tensor_map) return rt_fail(c, TILUS_DRIVER_TOO_OLD, "launch of %s: the driver knows no tensor maps", p->kernel->func->name);
    const bool mapped = p->mapped;
    bool entered = false;
    tilus_status s = TILUS_OK;
    for (uint32_t i = 0; s == TILUS_OK && i < l->maps; i++) {
        const ir_tensor_map *m = &l->map[i];
        if (mapped && !memcmp(m, &p->launch.map[i], sizeof *m)) continue;
        p->mapped = false; // until all are made
        if (!entered && (s = rt_enter(c)) != TILUS_OK) return s;
        entered = true;
        s = rt_cu(c, c->cu.tensor_map(map_at(p, i), ir_map_type(m->elem), (uint32_t)m->rank, m->base, m->extent, m->stride + 1,
                                      m->box, ones, 0, ir_map_swizzle(m->swizzle), 2, 0), "cuTensorMapEncodeTiled");
    }
    if (entered) rt_leave(c);
    if (s == TILUS_OK) p->mapped = true;
    return s;
}

tilus_status rt_plan_new(tilus_kernel *k, tilus_plan **out) {
    tilus_context *c = k->module->ctx;
    const size_t maps = ir_map_count(k->func), n = k->func->nparams + maps + 1;
    tilus_plan *p = rt_alloc(c, sizeof *p);
    if (!p) return rt_no_memory(c);
    p->kernel = k;
    p->map = maps ? rt_alloc(c, (maps + 1) * sizeof *p->map) : NULL; // one more: room to align
    p->code = rt_alloc(c, n * sizeof *p->code);
    p->spare = rt_alloc(c, n * sizeof *p->spare);
    p->params = rt_alloc(c, n * sizeof *p->params);
    p->args = rt_alloc(c, n * sizeof *p->args);
    p->spare_args = rt_alloc(c, n * sizeof *p->spare_args);
    if ((maps && !p->map) || !p->code || !p->spare || !p->params || !p->args || !p->spare_args) {
        rt_plan_free(p);
        return rt_no_memory(c);
    }
    p->threads = (unsigned)k->func->warps * 32;
    for (size_t i = 0; i < maps; i++) p->params[k->func->nparams + i] = map_at(p, i);
    add_attributes(p);
    *out = p;
    return TILUS_OK;
}

void rt_plan_free(tilus_plan *p) {
    if (!p) return;
    tilus_context *c = p->kernel->module->ctx;
    const size_t maps = ir_map_count(p->kernel->func), n = p->kernel->func->nparams + maps + 1;
    rt_free(c, p->map, (maps + 1) * sizeof *p->map);
    rt_free(c, p->code, n * sizeof *p->code);
    rt_free(c, p->spare, n * sizeof *p->spare);
    rt_free(c, p->params, n * sizeof *p->params);
    rt_free(c, p->args, n * sizeof *p->args);
    rt_free(c, p->spare_args, n * sizeof *p->spare_args);
    rt_free(c, p, sizeof *p);
}

void tilus_plan_destroy(tilus_plan *p) {
    if (!p) return;
    tilus_plan **at = &p->kernel->plans;
    while (*at && *at != p) at = &(*at)->next;
    if (*at) *at = p->next;
    rt_plan_free(p);
}

// ---- arguments ----------------------------------------------------------------------------------

static tilus_status bad_arg(tilus_context *c, const ir_func *f, uint32_t i, const char *why) {
    const ir_param *p = &f->params[i];
    const bool ptr = p->value->type.space == IS_PTR;
    return rt_fail(c, TILUS_INVALID_ARGUMENT, "launch of %s: argument %u, '%s: %s%s', %s", f->kernel ? f->kernel : f->name, i + 1, p->name,
                   ptr ? "global " : "", vm_dtype_name(p->value->type.elem), why);
}

static bool fits(vm_dtype t, int64_t x) {
    const unsigned bits = vm_bits(t);
    if (vm_dtypes[t].kind == K_BOOL) return x == 0 || x == 1;
    if (bits >= 64) return true;
    return vm_is_signed(t) ? x >= -((int64_t)1 << (bits - 1)) && x < (int64_t)1 << (bits - 1) : x >= 0 && x < (int64_t)1 << bits;
}

static tilus_status take_pointer(tilus_context *c, const ir_func *f, uint32_t i, const tilus_arg *a, ir_arg *to) {
    if (a->kind != TILUS_ARG_POINTER) return bad_arg(c, f, i, "needs a pointer");
    if (a->rank > TILUS_MAX_RANK) return bad_arg(c, f, i, "has too many dimensions");
    const size_t known = rt_extent(c, (uintptr_t)a->as.ptr);
    if (known && a->bytes > known) return bad_arg(c, f, i, "states more bytes than were allocated there");
    to->ptr = a->as.ptr;
    to->code = (uintptr_t)a->as.ptr;
    to->bytes = a->bytes ? a->bytes : known ? known : (size_t)-1;
    to->rank = a->rank < 0 ? -1 : a->rank;
    for (int k = 0; k < to->rank; k++) to->dim[k] = a->dim[k];
    return TILUS_OK;
}

static tilus_status take_args(const tilus_plan *p, const tilus_arg *args, size_t n) {
    const tilus_kernel *k = p->kernel;
    const ir_func *f = k->func;
    tilus_context *c = k->module->ctx;
    if (n != f->nparams || (n && !args))
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "launch of %s: %zu arguments for %u parameters", f->kernel ? f->kernel : f->name, n, f->nparams);
    for (uint32_t i = 0; i < f->nparams; i++) {
        const tilus_arg *a = &args[i];
        ir_arg *to = &p->spare_args[i];
        *to = (ir_arg){.bytes = (size_t)-1, .rank = -1};
        const vm_dtype t = f->params[i].value->type.elem;
        if (f->params[i].value->type.space == IS_PTR) {
            const tilus_status s = take_pointer(c, f, i, a, to);
            if (s != TILUS_OK) return s;
        } else if (a->kind == TILUS_ARG_INT) {
            if (!vm_is_float(t) && !fits(t, a->as.i)) return bad_arg(c, f, i, "does not fit its type");
            to->code = vm_is_float(t) ? vm_encode(t, (double)a->as.i, vm_default_rounding(t)) : vm_encode_int(t, a->as.i);
        } else if (a->kind == TILUS_ARG_FLOAT) {
            if (!vm_is_float(t)) return bad_arg(c, f, i, "is an integer; a float was given");
            to->code = vm_encode(t, a->as.f, vm_default_rounding(t));
        } else return bad_arg(c, f, i, "is a number; a pointer was given");
        p->spare[i] = to->code;
    }
    return TILUS_OK;
}

/// Dynamic shared memory beyond the usual 48 KiB must be asked for, once a size.
static tilus_status allow_shared(tilus_kernel *k, unsigned bytes) {
    tilus_context *c = k->module->ctx;
    if (c->device == TILUS_DEVICE_VM || bytes <= 48 << 10 || bytes <= k->shared_limit) return TILUS_OK;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.func_set(k->cu_func, CU_FUNC_MAX_DYNAMIC_SHARED, (int)bytes), "cuFuncSetAttribute");
    rt_leave(c);
    if (s == TILUS_OK) k->shared_limit = bytes;
    return s;
}

tilus_status tilus_plan_update(tilus_plan *p, const tilus_arg *args, size_t n) {
    if (!p) return TILUS_INVALID_ARGUMENT;
    tilus_kernel *k = p->kernel;
    tilus_context *c = k->module->ctx;
    tilus_status s = take_args(p, args, n);
    if (s != TILUS_OK) return s;
    ir_launch l;
    if (!ir_host_eval(k->func, p->spare_args, &l)) return rt_fail(c, TILUS_LAUNCH_REFUSED, "%s", l.error);
    const unsigned shared = (unsigned)(k->func->shared_bytes + l.dynamic_shared);
    s = allow_shared(k, shared);
    if (s == TILUS_OK) s = encode_maps(p, &l);
    if (s != TILUS_OK) return s;
    for (uint32_t i = 0; i < k->func->nparams; i++) {
        p->args[i] = p->spare_args[i];
        p->code[i] = p->spare[i];
        p->params[i] = &p->code[i]; // little-endian: a narrow value is its first bytes
    }
    memcpy(&p->launch, &l, offsetof(ir_launch, map) + l.maps * sizeof *l.map);
    p->shared = shared;
    for (int i = 0; i < 3; i++) p->grid[i] = p->config.grid[i] = (unsigned)l.grid[i];
    memcpy(p->config.block, (unsigned[]){p->threads, 1, 1}, sizeof p->config.block);
    p->config.shared = shared;
    p->ready = true;
    return TILUS_OK;
}

tilus_status tilus_prepare(tilus_kernel *k, const tilus_arg *args, size_t n, tilus_plan **out) {
    if (!k || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (!k->func) return rt_fail(k->module->ctx, TILUS_UNSUPPORTED, "a kernel of PTX has no signature; use tilus_launch_raw");
    tilus_plan *p;
    tilus_status s = rt_plan_new(k, &p);
    if (s != TILUS_OK) return s;
    s = tilus_plan_update(p, args, n);
    if (s != TILUS_OK) {
        rt_plan_free(p);
        return s;
    }
    p->next = k->plans;
    k->plans = p;
    *out = p;
    return TILUS_OK;
}

tilus_status tilus_plan_grid(const tilus_plan *p, int64_t grid[3]) {
    if (!p || !grid) return TILUS_INVALID_ARGUMENT;
    memcpy(grid, p->launch.grid, sizeof p->launch.grid);
    return TILUS_OK;
}

tilus_status tilus_plan_resident(const tilus_plan *p, int64_t *blocks) {
    if (!p || !p->ready || !blocks) return TILUS_INVALID_ARGUMENT;
    const tilus_kernel *k = p->kernel;
    tilus_context *c = k->module->ctx;
    if (c->device == TILUS_DEVICE_VM) return rt_fail(c, TILUS_UNSUPPORTED, "the VM has no multiprocessors");
    const int *size = k->func->cluster, cluster = size[0] * size[1] * size[2];
    if (cluster > 1 && !c->cu.clusters) return rt_fail(c, TILUS_DRIVER_TOO_OLD, "the driver does not count clusters");
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    int n = 0, processors = 1;
    if (cluster > 1) s = rt_cu(c, c->cu.clusters(&n, k->cu_func, &p->config), "cuOccupancyMaxActiveClusters");
    else {
        s = rt_cu(c, c->cu.device_attribute(&processors, CU_ATTR_PROCESSORS, c->gpu), "cuDeviceGetAttribute");
        if (s == TILUS_OK) s = rt_cu(c, c->cu.occupancy(&n, k->cu_func, (int)p->threads, p->shared), "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    }
    rt_leave(c);
    *blocks = (int64_t)n * (cluster > 1 ? cluster : processors);
    return s;
}

// ---- running ------------------------------------------------------------------------------------

static void flush_line(tilus_context *c) {
    c->line[c->nline] = 0;
    if (c->nline && c->log) c->log(c->log_user, TILUS_LOG_PRINT, c->line);
    c->nline = 0;
}

/// Text comes in pieces; the log gets lines.
void rt_print(void *user, const char *text, size_t n) {
    tilus_context *c = user;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n' || c->nline == sizeof c->line - 1) flush_line(c);
        if (text[i] != '\n') c->line[c->nline++] = text[i];
    }
}

static tilus_status run_vm(const tilus_plan *p) {
    const tilus_kernel *k = p->kernel;
    tilus_context *c = k->module->ctx;
    const ir_run r = {.args = p->args, .grid = {p->launch.grid[0], p->launch.grid[1], p->launch.grid[2]},
                      .dynamic_shared = p->launch.dynamic_shared, .print = rt_print, .user = c, .alloc = &c->alloc};
    char error[1000] = "";
    vm_span at = VM_NOWHERE;
    const bool ok = ir_interp_run(k->vm, &r, error, &at);
    flush_line(c);
    if (ok) return TILUS_OK;
    const vm_source *src = vm_source_at(k->comp->comp, at.file);
    uint32_t line = 0, col = 0;
    if (src) vm_source_place(src, at.lo, &line, &col);
    if (src) return rt_fail(c, TILUS_TRAP, "%s:%u:%u: %.800s", src->name, line, col, error);
    return rt_fail(c, TILUS_TRAP, "%.900s", error);
}

tilus_status tilus_launch_prepared(tilus_plan *p, tilus_stream st) {
    if (!p || !p->ready) return TILUS_INVALID_ARGUMENT;
    const tilus_kernel *k = p->kernel;
    tilus_context *c = k->module->ctx;
    if (c->device == TILUS_DEVICE_VM) return run_vm(p);
    int rc = c->cu.ctx_push(c->primary);
    if (rc) return rt_cu(c, rc, "cuCtxPushCurrent");
    if (p->config.nattrs && c->cu.launch_ex) {
        p->config.stream = st;
        rc = c->cu.launch_ex(&p->config, k->cu_func, p->params, NULL);
    } else rc = c->cu.launch(k->cu_func, p->grid[0], p->grid[1], p->grid[2], p->threads, 1, 1, p->shared, st, p->params, NULL);
    rt_leave(c);
    if (c->device == TILUS_DEVICE_VGPU) flush_line(c);
    return rc ? rt_cu(c, rc, k->func->name) : TILUS_OK;
}

tilus_status tilus_launch(tilus_kernel *k, tilus_stream st, const tilus_arg *args, size_t n) {
    if (!k) return TILUS_INVALID_ARGUMENT;
    if (!k->func) return rt_fail(k->module->ctx, TILUS_UNSUPPORTED, "a kernel of PTX has no signature; use tilus_launch_raw");
    const tilus_status s = tilus_plan_update(k->scratch, args, n);
    return s == TILUS_OK ? tilus_launch_prepared(k->scratch, st) : s;
}

tilus_status tilus_launch_raw(tilus_kernel *k, tilus_stream st, const unsigned grid[3], const unsigned block[3],
                              unsigned shared, void **params) {
    if (!k || !grid || !block) return TILUS_INVALID_ARGUMENT;
    tilus_context *c = k->module->ctx;
    if (k->func) return rt_fail(c, TILUS_UNSUPPORTED, "'%s' has a signature that must be checked; use tilus_launch", k->key);
    tilus_status s = allow_shared(k, shared);
    if (s != TILUS_OK) return s;
    s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.launch(k->cu_func, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, st, params, NULL), k->key);
    rt_leave(c);
    if (c->device == TILUS_DEVICE_VGPU) flush_line(c);
    return s;
}
