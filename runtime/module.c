// SPDX-License-Identifier: Apache-2.0
// Modules and kernels: from a text and meta-parameters to something that can be launched, through the
// cache where there is one.
#include <stdlib.h>
#include <string.h>
#include "runtime/runtime.h"

// ---- modules ------------------------------------------------------------------------------------

static tilus_module *module_new(tilus_context *c, const char *name) {
    tilus_module *m = rt_alloc(c, sizeof *m);
    if (!m) return NULL;
    m->ctx = c;
    m->name = rt_strdup(c, name);
    if (!m->name) {
        rt_free(c, m, sizeof *m);
        return NULL;
    }
    m->next = c->modules;
    c->modules = m;
    return m;
}

void tilus_module_destroy(tilus_module *m) {
    if (!m) return;
    tilus_context *c = m->ctx;
    while (m->dispatches) tilus_dispatch_destroy(m->dispatches);
    while (m->kernels) {
        tilus_kernel *k = m->kernels;
        m->kernels = k->next;
        rt_kernel_free(k);
    }
    if (m->cu_module && rt_enter(c) == TILUS_OK) {
        c->cu.module_unload(m->cu_module);
        rt_leave(c);
    }
    tilus_module **at = &c->modules;
    while (*at && *at != m) at = &(*at)->next;
    if (*at) *at = m->next;
    for (size_t i = 0; i < m->folders.n; i++) rt_free(c, m->folders.at[i], strlen(m->folders.at[i]) + 1);
    rt_free(c, m->folders.at, m->folders.cap * sizeof *m->folders.at);
    rt_free(c, m->name, strlen(m->name) + 1);
    rt_free(c, m->text, m->size + 1);
    rt_free(c, m, sizeof *m);
}

tilus_status tilus_module_from_source(tilus_context *c, const char *name, const char *text, size_t size, tilus_module **out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (!text || size > UINT32_MAX / 2) return rt_fail(c, TILUS_INVALID_ARGUMENT, "no text, or one that is too long");
    tilus_module *m = module_new(c, name ? name : "<text>");
    if (!m) return rt_no_memory(c);
    m->text = rt_alloc(c, size + 1);
    if (!m->text) {
        m->size = 0;
        tilus_module_destroy(m);
        return rt_no_memory(c);
    }
    memcpy(m->text, text, size);
    m->size = size;
    *out = m;
    return TILUS_OK;
}

tilus_status tilus_module_from_file(tilus_context *c, const char *path, tilus_module **out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (!path) return rt_fail(c, TILUS_INVALID_ARGUMENT, "no path");
    jmp_buf oom;
    vm_comp *comp = vm_comp_new(&c->alloc, &oom); // for the text while it is read
    if (!comp) return rt_no_memory(c);
    if (setjmp(oom)) {
        vm_comp_free(comp);
        return rt_no_memory(c);
    }
    size_t size = 0;
    const char *why = "";
    const char *text = rt_read_file(comp, path, &size, &why);
    if (!text) text = rt_embedded(path, &size);
    const tilus_status s = text ? tilus_module_from_source(c, path, text, size, out)
                                : rt_fail(c, TILUS_IO_ERROR, "cannot read '%s': %s", path, why);
    vm_comp_free(comp);
    return s;
}

tilus_status tilus_module_include(tilus_module *m, const char *folder) {
    if (!m || !folder) return TILUS_INVALID_ARGUMENT;
    char *copy = rt_strdup(m->ctx, folder);
    if (!copy || !rt_list_add(m->ctx, &m->folders, copy)) {
        rt_free(m->ctx, copy, strlen(folder) + 1);
        return rt_no_memory(m->ctx);
    }
    return TILUS_OK;
}

// ---- code into the driver -----------------------------------------------------------------------

enum { LOG_SIZE = 1 << 14 };

/// ptxas tells of code that it could not make fast by lines with a number C75xx.
static bool has_advisory(const char *log) {
    for (const char *p = log; (p = strstr(p, "C75")) != NULL; p += 3)
        if (p[3] >= '0' && p[3] <= '9' && p[4] >= '0' && p[4] <= '9') return true;
    return false;
}

/// Gives the PTX to the driver. *log: what it said, to be freed (strlen + 1), or NULL.
static tilus_status load_ptx(tilus_context *c, const char *ptx, void **module, char **log) {
    *log = NULL;
    *module = NULL;
    char *buf = rt_alloc(c, 2 * LOG_SIZE);
    if (!buf) return rt_no_memory(c);
    char *info = buf, *error = buf + LOG_SIZE;
    int option[] = {CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_SIZE, CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_SIZE, CU_JIT_VERBOSE};
    void *value[] = {info, (void *)(uintptr_t)LOG_SIZE, error, (void *)(uintptr_t)LOG_SIZE, (void *)(uintptr_t)1};
    tilus_status s = rt_enter(c);
    if (s == TILUS_OK) {
        s = rt_cu(c, c->cu.module_load(module, ptx, 5, option, value), "cuModuleLoadDataEx");
        rt_leave(c);
        info[LOG_SIZE - 1] = error[LOG_SIZE - 1] = 0;
        if (s != TILUS_OK && *error)
            rt_fail(c, s == TILUS_DRIVER_ERROR ? s = TILUS_COMPILE_ERROR : s, "%.300s\n%.700s", tilus_error(c), error);
        else if (s == TILUS_OK && *info && !(*log = rt_strdup(c, info))) s = rt_no_memory(c);
    }
    rt_free(c, buf, 2 * LOG_SIZE);
    if (s != TILUS_OK && *module) {
        if (rt_enter(c) == TILUS_OK) {
            c->cu.module_unload(*module);
            rt_leave(c);
        }
        *module = NULL;
    }
    return s;
}

static tilus_status find_function(tilus_kernel *k, void *module, const char *entry) {
    tilus_context *c = k->module->ctx;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.module_function(&k->cu_func, module, entry), entry);
    if (s == TILUS_OK) s = rt_cu(c, c->cu.func_get(&k->registers, CU_FUNC_REGS, k->cu_func), "cuFuncGetAttribute");
    if (s == TILUS_OK) s = rt_cu(c, c->cu.func_get(&k->spill, CU_FUNC_LOCAL, k->cu_func), "cuFuncGetAttribute");
    const ir_func *f = k->func;
    if (s == TILUS_OK && f && f->shared_bytes > 48 << 10) {
        s = rt_cu(c, c->cu.func_set(k->cu_func, CU_FUNC_MAX_DYNAMIC_SHARED, (int)f->shared_bytes), "cuFuncSetAttribute");
        k->shared_limit = f->shared_bytes;
    }
    if (s == TILUS_OK && f && f->cluster[0] * f->cluster[1] * f->cluster[2] > 8)
        s = rt_cu(c, c->cu.func_set(k->cu_func, CU_FUNC_NON_PORTABLE_CLUSTER, 1), "cuFuncSetAttribute");
    rt_leave(c);
    return s;
}

static tilus_status load_kernel(tilus_kernel *k, const char *ptx, const char *entry) {
    tilus_context *c = k->module->ctx;
    const tilus_status s = load_ptx(c, ptx, &k->cu_module, &k->jit_log);
    if (s != TILUS_OK) return s;
    k->owns_module = true;
    k->advisory = k->jit_log && has_advisory(k->jit_log);
    if (k->advisory && c->strict)
        return rt_fail(c, TILUS_COMPILE_ERROR, "%s: the assembler warns: %.800s", entry, strstr(k->jit_log, "C75"));
    if (k->advisory) rt_log(c, TILUS_LOG_WARNING, "%s: the assembler warns: %s", entry, strstr(k->jit_log, "C75"));
    return find_function(k, k->cu_module, entry);
}

tilus_status tilus_module_from_ptx(tilus_context *c, const char *ptx, tilus_module **out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (!ptx) return rt_fail(c, TILUS_INVALID_ARGUMENT, "no text");
    if (c->device == TILUS_DEVICE_VM) return rt_fail(c, TILUS_UNSUPPORTED, "the VM does not run PTX");
    tilus_module *m = module_new(c, "<ptx>");
    if (!m) return rt_no_memory(c);
    char *log;
    const tilus_status s = load_ptx(c, ptx, &m->cu_module, &log);
    if (s != TILUS_OK) {
        tilus_module_destroy(m);
        return s;
    }
    if (log) {
        if (has_advisory(log)) rt_log(c, TILUS_LOG_WARNING, "the assembler warns: %s", strstr(log, "C75"));
        rt_free(c, log, strlen(log) + 1);
    }
    *out = m;
    return TILUS_OK;
}

// ---- kernels ------------------------------------------------------------------------------------

void rt_kernel_free(tilus_kernel *k) {
    tilus_context *c = k->module->ctx;
    while (k->plans) tilus_plan_destroy(k->plans);
    rt_plan_free(k->scratch);
    if (k->owns_module && k->cu_module && rt_enter(c) == TILUS_OK) {
        c->cu.module_unload(k->cu_module);
        rt_leave(c);
    }
    if (k->jit_log) rt_free(c, k->jit_log, strlen(k->jit_log) + 1);
    if (k->warnings) rt_free(c, k->warnings, strlen(k->warnings) + 1);
    if (k->key) rt_free(c, k->key, strlen(k->key) + 1);
    rt_cached_free(c, &k->cached);
    rt_compilation_free(k->comp);
    rt_free(c, k, sizeof *k);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tilus_meta *)a)->name, ((const tilus_meta *)b)->name);
}

/// "name[a=1,b=2]", metas by name. The metas follow each other behind NULs as "a=1" in defs, which
/// rt_options.define points to.
typedef struct {
    char *key;
    const char **define;
    char *text;
    size_t text_size;
    tilus_meta *sorted;
    size_t n;
} names;

static void names_free(tilus_context *c, names *t, bool keep_key) {
    if (t->key && !keep_key) rt_free(c, t->key, strlen(t->key) + 1);
    rt_free(c, t->define, (t->n + 1) * sizeof *t->define);
    rt_free(c, t->text, t->text_size);
    rt_free(c, t->sorted, (t->n + 1) * sizeof *t->sorted);
}

static bool names_make(tilus_context *c, const char *name, const tilus_meta *metas, size_t n, names *t) {
    *t = (names){.n = n};
    size_t size = 1, key = strlen(name) + 3;
    for (size_t i = 0; i < n; i++) size += strlen(metas[i].name) + strlen(metas[i].value) + 2;
    t->text_size = size;
    t->text = rt_alloc(c, size);
    t->define = rt_alloc(c, (n + 1) * sizeof *t->define);
    t->sorted = rt_alloc(c, (n + 1) * sizeof *t->sorted);
    char *k = rt_alloc(c, key + size);
    if (!t->text || !t->define || !t->sorted || !k) {
        rt_free(c, k, key + size);
        names_free(c, t, false);
        return false;
    }
    if (n) memcpy(t->sorted, metas, n * sizeof *metas);
    qsort(t->sorted, n, sizeof *t->sorted, by_name);
    const size_t length = strlen(name);
    memcpy(k, name, length + 1);
    char *at = t->text, *kat = k + length;
    for (size_t i = 0; i < n; i++) {
        t->define[i] = at;
        at += sprintf(at, "%s=%s", t->sorted[i].name, t->sorted[i].value) + 1;
        kat += sprintf(kat, "%c%s", i ? ',' : '[', t->define[i]);
    }
    if (n) sprintf(kat, "]");
    t->key = rt_strdup(c, k); // its size is then its length
    rt_free(c, k, key + size);
    if (!t->key) {
        names_free(c, t, false);
        return false;
    }
    return true;
}

/// Text of the kernel's signature and host region: what a launch needs besides the machine code.
static const char *host_text(rt_compilation *x, ir_func *f) {
    ir_region *const body = f->body;
    f->body = ir_region_new(f, NULL);
    ir_builder b = {.func = f, .region = f->body};
    ir_emit(&b, I_return, 0, NULL, 0, NULL);
    ir_module m = *x->ir;
    m.funcs.at = &f;
    m.funcs.n = 1;
    const char *text = ir_print(&m);
    f->body = body;
    return text;
}

static tilus_status status_of(tilus_context *c, rt_compilation *x, enum rt_result r) {
    switch (r) {
    case RT_OK: return TILUS_OK;
    case RT_ERRORS: return rt_fail_diagnostics(c, x);
    case RT_NO_MEMORY: return rt_no_memory(c);
    case RT_NO_FILE: return rt_fail(c, TILUS_IO_ERROR, "%s", x->message);
    case RT_NO_KERNEL: return rt_fail(c, TILUS_NOT_FOUND, "%s", x->message);
    default: return rt_fail(c, TILUS_INVALID_ARGUMENT, "%s", x->message);
    }
}

/// The kernel's function read back from the cached text; NULL if that is not what it should be.
static rt_compilation *host_of(tilus_context *c, const rt_cached *hit) {
    const rt_options o = {.name = "cache.tir", .text = hit->host, .size = strlen(hit->host), .is_ir = true,
                          .arch = c->arch, .stage = RT_STAGE_IR, .after = "lower"};
    rt_compilation *x = rt_compilation_new(&c->alloc, &o);
    if (x && rt_compile(x) == RT_OK && x->ir->funcs.n == 1) return x;
    rt_compilation_free(x);
    return NULL;
}

enum found { HIT, MISS, NO_MEMORY };

/// HIT: k is complete but for its driver module.
static enum found from_cache(tilus_kernel *k, rt_compilation *x, uint8_t key[32]) {
    tilus_context *c = k->module->ctx;
    if (setjmp(x->oom)) return NO_MEMORY;
    if (rt_load(x) != RT_OK || x->comp->nerrors) return MISS;
    rt_cache_key(x, key);
    if (!rt_cache_get(c->cache, key, &k->cached)) return MISS;
    rt_compilation *host = host_of(c, &k->cached);
    if (!host) {
        rt_cached_free(c, &k->cached);
        return MISS;
    }
    k->comp = host;
    k->func = host->ir->funcs.at[0];
    k->from_cache = true;
    return HIT;
}

static void to_cache(tilus_kernel *k, rt_compilation *x, const uint8_t key[32]) {
    if (setjmp(x->oom)) return;
    rt_cached in = {.entry = (char *)k->func->name, .ptx = (char *)x->ptx, .host = (char *)host_text(x, k->func),
                    .warnings = k->warnings ? k->warnings : (char *)""};
    rt_cache_put(k->module->ctx->cache, key, &in);
}

static bool make_vm_plan(tilus_kernel *k) {
    if (setjmp(k->comp->oom)) return false;
    k->vm = ir_plan_new(k->func);
    return k->vm != NULL;
}

rt_options rt_kernel_options(const tilus_module *m, const char *name, size_t ndefine, const char *const *define) {
    const tilus_context *c = m->ctx;
    return (rt_options){.name = m->name, .text = m->text, .size = m->size, .ninclude = (uint32_t)m->folders.n,
                        .include = (const char *const *)m->folders.at, .ndefine = (uint32_t)ndefine, .define = define,
                        .arch = c->arch, .kernel = name, .stage = c->device == TILUS_DEVICE_VM ? RT_STAGE_IR : RT_STAGE_PTX,
                        .cg = {.opt = c->opt, .lines = c->device == TILUS_DEVICE_VGPU}, .tuner = c->tuner};
}

rt_cached rt_kernel_texts(rt_compilation *x) {
    ir_func *const f = x->ir->funcs.at[0];
    return (rt_cached){.entry = (char *)f->name, .ptx = (char *)x->ptx, .host = (char *)host_text(x, f), .warnings = (char *)rt_diagnostics(x, false, false)};
}

/// A kernel from what another process has compiled.
static tilus_status adopt(tilus_kernel *k, const rt_cached *in) {
    tilus_context *c = k->module->ctx;
    const char *const from[4] = {in->entry, in->ptx, in->host, in->warnings};
    char **const to[4] = {&k->cached.entry, &k->cached.ptx, &k->cached.host, &k->cached.warnings};
    size_t all = 0;
    for (int i = 0; i < 4; i++) all += strlen(from[i]) + 1;
    char *p = rt_alloc(c, all);
    if (!p) return rt_no_memory(c);
    k->cached.size = all;
    for (int i = 0; i < 4; i++) {
        const size_t n = strlen(from[i]) + 1;
        *to[i] = memcpy(p, from[i], n);
        p += n;
    }
    k->comp = host_of(c, &k->cached);
    if (!k->comp) return rt_fail(c, TILUS_COMPILE_ERROR, "the compiled text of '%s' cannot be read back", in->entry);
    k->func = k->comp->ir->funcs.at[0];
    k->from_cache = true;
    return load_kernel(k, k->cached.ptx, k->cached.entry);
}

static tilus_status compile(tilus_kernel *k, const char *name, const names *t, bool only_cached) {
    tilus_module *m = k->module;
    tilus_context *c = m->ctx;
    const bool vm = c->device == TILUS_DEVICE_VM;
    const rt_options o = rt_kernel_options(m, name, t->n, t->define);
    rt_compilation *x = rt_compilation_new(&c->alloc, &o);
    if (!x) return rt_no_memory(c);
    uint8_t key[32];
    const enum found found = c->cache ? from_cache(k, x, key) : MISS;
    if (found != MISS) rt_compilation_free(x);
    if (found == HIT) return load_kernel(k, k->cached.ptx, k->cached.entry);
    if (found == NO_MEMORY) return rt_no_memory(c);
    if (only_cached) {
        rt_compilation_free(x);
        return TILUS_NOT_FOUND;
    }
    k->comp = x; // freed with k whatever happens
    const enum rt_result r = rt_compile(x);
    if (r != RT_OK) return status_of(c, x, r);
    if (x->ir->funcs.n != 1)
        return rt_fail(c, TILUS_COMPILE_ERROR, "'%s' is not built: %s", name,
                       x->kernels.n && x->kernels.at[0].skipped ? x->kernels.at[0].skipped : "no instance");
    k->func = x->ir->funcs.at[0];
    const char *warnings = rt_diagnostics(x, false, false);
    if (*warnings && !(k->warnings = rt_strdup(c, warnings))) return rt_no_memory(c);
    if (vm) return make_vm_plan(k) ? TILUS_OK : rt_no_memory(c);
    const tilus_status s = load_kernel(k, x->ptx, k->func->name);
    if (s == TILUS_OK && c->cache) to_cache(k, x, key);
    return s;
}

/// How a kernel comes to be.
typedef struct {
    bool only_cached;        // or not at all: TILUS_NOT_FOUND
    const rt_cached *texts;  // compiled elsewhere, or NULL
} origin;

static tilus_status kernel_new(tilus_module *m, const char *name, const names *t, const origin *from, tilus_kernel **out) {
    tilus_context *c = m->ctx;
    tilus_kernel *k = rt_alloc(c, sizeof *k);
    if (!k) return rt_no_memory(c);
    k->module = m;
    k->registers = k->spill = -1;
    k->key = rt_strdup(c, t->key);
    tilus_status s = k->key ? TILUS_OK : rt_no_memory(c);
    if (s == TILUS_OK && from->texts) s = adopt(k, from->texts);
    else if (s == TILUS_OK && m->text) s = compile(k, name, t, from->only_cached);
    else if (s == TILUS_OK) s = find_function(k, m->cu_module, name);
    if (s == TILUS_OK && k->func) s = rt_plan_new(k, &k->scratch);
    if (s != TILUS_OK) {
        rt_kernel_free(k);
        return s;
    }
    k->next = m->kernels;
    m->kernels = k;
    *out = k;
    return TILUS_OK;
}

static tilus_status get(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, const origin *from, tilus_kernel **out) {
    if (!m || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    tilus_context *c = m->ctx;
    if (!name || n > 1024 || (n && !metas)) return rt_fail(c, TILUS_INVALID_ARGUMENT, "no kernel name, or bad meta-parameters");
    for (size_t i = 0; i < n; i++)
        if (!metas[i].name || !*metas[i].name || !metas[i].value || strchr(metas[i].name, '='))
            return rt_fail(c, TILUS_INVALID_ARGUMENT, "meta-parameter %zu has no proper name or value", i);
    if (!m->text && n) return rt_fail(c, TILUS_INVALID_ARGUMENT, "kernels of PTX have no meta-parameters");
    names t;
    if (!names_make(c, name, metas, n, &t)) return rt_no_memory(c);
    tilus_status s = TILUS_OK;
    for (tilus_kernel *k = m->kernels; k && !*out; k = k->next)
        if (!strcmp(k->key, t.key)) *out = k;
    if (!*out) s = kernel_new(m, name, &t, from, out);
    names_free(c, &t, false);
    return s;
}

tilus_status tilus_kernel_get(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, tilus_kernel **out) {
    return get(m, name, metas, n, &(origin){0}, out);
}

tilus_status rt_kernel_find(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, tilus_kernel **out) {
    return get(m, name, metas, n, &(origin){.only_cached = true}, out);
}

tilus_status rt_kernel_adopt(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, const rt_cached *texts, tilus_kernel **out) {
    return get(m, name, metas, n, &(origin){.texts = texts}, out);
}

tilus_status tilus_kernel_describe(const tilus_kernel *k, tilus_kernel_info *out) {
    if (!k || !out) return TILUS_INVALID_ARGUMENT;
    const ir_func *f = k->func;
    const char *ptx = k->from_cache ? k->cached.ptx : k->comp ? k->comp->ptx : NULL;
    const char *warnings = k->from_cache ? k->cached.warnings : k->warnings;
    *out = (tilus_kernel_info){.entry = f ? f->name : k->key, .threads = f ? f->warps * 32 : 0,
                               .shared_bytes = f ? f->shared_bytes : 0, .registers = k->registers, .spill_bytes = k->spill,
                               .from_cache = k->from_cache, .advisory = k->advisory, .params = f ? f->nparams : 0,
                               .ptx = ptx ? ptx : "", .jit_log = k->jit_log ? k->jit_log : "", .warnings = warnings ? warnings : ""};
    return TILUS_OK;
}

tilus_status tilus_kernel_param(const tilus_kernel *k, size_t i, const char **name, const char **type, int *pointer) {
    if (!k || !k->func || i >= k->func->nparams) return TILUS_INVALID_ARGUMENT;
    const ir_param *p = &k->func->params[i];
    if (name) *name = p->name;
    if (type) *type = vm_dtype_name(p->value->type.elem);
    if (pointer) *pointer = p->value->type.space == IS_PTR;
    return TILUS_OK;
}
