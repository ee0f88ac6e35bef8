// SPDX-License-Identifier: Apache-2.0
// Runs kernel instances on host tensors: on the VM straight through the compile path, on a GPU, real or
// virtual, through the library as any embedder does it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/tune.h"
#include "runtime/vgpu/backend.h"
#include "tools/tool.h"

typedef struct {
    const ast *node;
    const char *entry;
    const ir_func *func;
    const ir_plan *plan;    // VM
    tilus_kernel *kernel;   // GPU
} built;

struct tool_exec {
    const tool_options *opt;
    tilus_context *ctx;
    const vm_arch *arch;
    bool gpu, cuda, lost;     // gpu: cuda or virtual
    rt_compilation *c;
    VM_VEC(built) done;                       // in c's arena
    VM_VEC(struct { uint32_t file; tilus_module *m; }) modules;
    double seconds;
    const char *diagnostics;
};

static void print_line(void *user, tilus_log_level level, const char *text) {
    (void)user;
    if (level == TILUS_LOG_WARNING) tool_warn(NULL, text);
    if (level != TILUS_LOG_PRINT) return;
    tool_progress(NULL);
    puts(text);
}

static tilus_status open_context(tool_exec *x, tilus_device device, char why[300]) {
    const tilus_vgpu_params vgpu = {.arch = x->opt->arch, .schedule = x->opt->seed, .threads = x->opt->seed ? 1 : 0,
                                    .sanitize = x->opt->sanitize, .profile = x->opt->profile};
    const tilus_context_params p = {.device = device, .error = why, .error_size = 300, .vgpu = &vgpu, .log = print_line, .tune_db = x->opt->tune_db, .optimize = x->opt->rt.cg.opt ? x->opt->rt.cg.opt : -1};
    return tilus_context_create(&p, &x->ctx);
}

tool_exec *tool_exec_new(const tool_options *o) {
    tool_exec *const x = calloc(1, sizeof *x);
    if (!x) {
        tool_error("out of memory");
        return NULL;
    }
    x->opt = o;
    if (o->on == ON_VM) return x;
    char why[300] = "";
    const tilus_device device = o->on == ON_CUDA ? TILUS_DEVICE_CUDA : o->on == ON_VGPU ? TILUS_DEVICE_VGPU : TILUS_DEVICE_AUTO;
    const tilus_status s = open_context(x, device, why);
    if (s != TILUS_OK) {
        tool_error("%s", *why ? why : tilus_status_text(s));
        free(x);
        return NULL;
    }
    x->cuda = tilus_context_device(x->ctx) == TILUS_DEVICE_CUDA;
    x->gpu = tilus_context_device(x->ctx) != TILUS_DEVICE_VM;
    if (!x->gpu) return x;
    x->arch = vm_arch_find(tilus_device_arch(x->ctx));
    if (x->arch) return x;
    tool_error("architecture '%s' of the GPU is unknown", tilus_device_arch(x->ctx));
    tool_exec_free(x);
    return NULL;
}

void tool_exec_free(tool_exec *x) {
    if (!x) return;
    tilus_context_destroy(x->ctx);
    free(x);
}

const char *tool_exec_device(const tool_exec *x) { return x->ctx ? tilus_device_name(x->ctx) : "vm"; }

size_t tool_exec_reports(tool_exec *x) {
    vg_gpu *const g = x->ctx ? rt_vgpu(x->ctx) : NULL;
    if (!g) return 0;
    const vg_report *r;
    const size_t n = vg_reports(g, &r);
    for (size_t i = 0; i < n; i++) fputs(r[i].text, stdout);
    vg_reports_clear(g);
    return n;
}

const vm_arch *tool_exec_arch(const tool_exec *x) { return x->arch; }
bool tool_exec_is_lost(const tool_exec *x) { return x->lost; }
double tool_exec_seconds(const tool_exec *x) { return x->seconds; }
const char *tool_exec_diagnostics(const tool_exec *x) { return x->diagnostics; }

tilus_context *tool_exec_context(tool_exec *x) {
    char why[300] = "";
    if (!x->ctx && open_context(x, TILUS_DEVICE_VM, why) != TILUS_OK) tool_error("%s", *why ? why : "out of memory");
    return x->ctx;
}

void tool_exec_bind(tool_exec *x, rt_compilation *c) {
    for (uint32_t i = 0; i < x->modules.n; i++) tilus_module_destroy(x->modules.at[i].m);
    memset(&x->modules, 0, sizeof x->modules);
    memset(&x->done, 0, sizeof x->done);
    x->c = c;
    x->diagnostics = NULL;
}

// ---- compiling ----------------------------------------------------------------------------------

/// Diagnostics since the mark, taken out of the compilation again: a test may expect the failure.
typedef struct {
    vm_diag *last;
    uint32_t errors, warnings;
} mark;
static mark mark_of(const vm_comp *c) { return (mark){c->last_diag, c->nerrors, c->nwarnings}; }

static const char *take_errors(tool_exec *x, mark m) {
    vm_comp *const c = x->c->comp;
    vm_diag *const first = m.last ? m.last->next : c->diags;
    if (!first) return "the kernel cannot be compiled";
    vm_diag *const all = c->diags;
    c->diags = first;
    x->diagnostics = x->opt->json ? vm_diags_json(c) : vm_diags_text(c, x->opt->color);
    c->diags = all;
    if (m.last) m.last->next = NULL;
    else c->diags = NULL;
    c->last_diag = m.last;
    c->nerrors = m.errors;
    c->nwarnings = m.warnings;
    const vm_diag *d = first;
    while (d->next && d->sev != VM_ERROR) d = d->next;
    return vm_format(c->arena, "%s: %s: %s", vm_place(c, d->span), vm_code_name(d->code), d->text);
}

static tilus_module *module_of(tool_exec *x, const fe_module *m) {
    for (uint32_t i = 0; i < x->modules.n; i++)
        if (x->modules.at[i].file == m->file) return x->modules.at[i].m;
    const vm_source *const s = vm_source_at(x->c->comp, m->file);
    tilus_module *out = NULL;
    if (tilus_module_from_source(x->ctx, m->path ? m->path : s->name, s->text, s->size, &out) != TILUS_OK) return NULL;
    for (uint32_t i = 0; i < x->opt->rt.ninclude; i++) tilus_module_include(out, x->opt->rt.include[i]);
    vm_push(x->c->comp->arena, &x->modules, ((__typeof__(*x->modules.at)){m->file, out}));
    return out;
}

static const built *build(tool_exec *x, fe_eval *e, fe_instance *k, const char **why) {
    for (uint32_t i = 0; i < x->done.n; i++)
        if (x->done.at[i].node == k->node && !strcmp(x->done.at[i].entry, k->entry)) return &x->done.at[i];
    built b = {.node = k->node, .entry = k->entry};
    const mark m = mark_of(x->c->comp);
    b.func = rt_lower(x->c, k);
    if (!b.func) {
        *why = take_errors(x, m);
        return NULL;
    }
    if (!x->gpu) b.plan = ir_plan_new(b.func);
    else {
        tilus_module *const mod = module_of(x, k->module);
        tilus_meta *const metas = vm_newn(e->arena, tilus_meta, k->nmeta + 1);
        for (uint32_t i = 0; i < k->nmeta; i++) {
            const fe_value *v = k->meta[i]; // a text is given as it is, everything else as an expression
            metas[i] = (tilus_meta){k->meta_name[i], v->kind == FV_STRING ? v->s : fe_describe(e, v)};
        }
        if (!mod || tilus_kernel_get(mod, k->node->name, metas, k->nmeta, &b.kernel) != TILUS_OK) {
            *why = vm_strdup(e->arena, tilus_error(x->ctx));
            return NULL;
        }
    }
    vm_push(x->c->comp->arena, &x->done, b);
    return &x->done.at[x->done.n - 1];
}

// ---- running ------------------------------------------------------------------------------------

static void *aligned(vm_arena *a, size_t bytes) {
    const uintptr_t p = (uintptr_t)vm_alloc(a, bytes + 256);
    return (void *)((p + 255) & ~(uintptr_t)255);
}

static void print(void *user, const char *text, size_t n) {
    (void)user;
    tool_progress(NULL);
    fwrite(text, 1, n, stdout);
}

static bool on_vm(tool_exec *x, fe_eval *e, const built *b, fe_value **v, const char **why) {
    const ir_func *const f = b->func;
    ir_arg *const args = vm_newn(e->arena, ir_arg, f->nparams + 1);
    for (uint32_t i = 0; i < f->nparams; i++) {
        ir_arg *const a = &args[i];
        *a = (ir_arg){.rank = -1};
        if (v[i]->kind != FV_TENSOR) {
            a->code = fe_to_code(v[i], f->params[i].value->type.elem);
            continue;
        }
        const fe_tensor *const t = v[i]->tensor;
        a->bytes = fe_tensor_bytes(t);
        a->ptr = aligned(e->arena, a->bytes);
        fe_tensor_pack(t, a->ptr);
        a->rank = t->rank;
        memcpy(a->dim, t->dim, sizeof a->dim);
    }
    ir_launch l;
    if (!ir_host_eval(f, args, &l)) {
        *why = vm_format(e->arena, "launch of %s: error[%s]: %s", f->kernel ? f->kernel : f->name, vm_code_name(l.code), l.error);
        return false;
    }
    if (l.grid[0] == 0 || l.grid[1] == 0 || l.grid[2] == 0) return true;
    const ir_run run = {.args = args, .grid = {l.grid[0], l.grid[1], l.grid[2]}, .dynamic_shared = l.dynamic_shared,
                        .seed = x->opt->seed, .print = print};
    char error[1000] = "";
    vm_span where = VM_NOWHERE;
    const double t = tool_now();
    const bool ok = ir_interp_run(b->plan, &run, error, &where);
    x->seconds = tool_now() - t;
    for (uint32_t i = 0; i < f->nparams; i++)
        if (v[i]->kind == FV_TENSOR && f->params[i].written) fe_tensor_unpack(v[i]->tensor, args[i].ptr);
    if (!ok) *why = vm_format(e->arena, "%s: %s", vm_place(e->comp, where), error);
    return ok;
}

/// The driver prints a failed assertion to standard error, once a thread: caught here for the message.
typedef struct {
    FILE *file;
    int saved;
} catcher;

static catcher catch_begin(void) {
    catcher c = {tmpfile(), -1};
    fflush(stderr);
    if (c.file && (c.saved = dup(STDERR_FILENO)) >= 0) dup2(fileno(c.file), STDERR_FILENO);
    return c;
}

/// The first line that was printed, or "".
static const char *catch_end(catcher c, vm_arena *a) {
    char line[400] = "";
    if (c.saved >= 0) {
        dup2(c.saved, STDERR_FILENO);
        close(c.saved);
    }
    if (!c.file) return "";
    rewind(c.file);
    if (!fgets(line, sizeof line, c.file)) *line = 0;
    fclose(c.file);
    line[strcspn(line, "\n")] = 0;
    return vm_strdup(a, line);
}

tilus_status tool_exec_upload(tool_exec *x, fe_eval *e, const ir_func *f, fe_value *const *v, tilus_arg *args) {
    tilus_status s = TILUS_OK;
    memset(args, 0, f->nparams * sizeof *args);
    for (uint32_t i = 0; s == TILUS_OK && i < f->nparams; i++) {
        if (v[i]->kind != FV_TENSOR) {
            const vm_dtype t = f->params[i].value->type.elem;
            const uint64_t code = fe_to_code(v[i], t);
            args[i] = vm_is_float(t) ? tilus_float(vm_decode(t, code)) : tilus_int(vm_decode_int(t, code));
            continue;
        }
        const fe_tensor *const t = v[i]->tensor;
        const size_t bytes = fe_tensor_bytes(t);
        void *dev = NULL, *const mem = aligned(e->arena, bytes);
        fe_tensor_pack(t, mem);
        s = tilus_alloc(x->ctx, bytes ? bytes : 1, &dev);
        if (s == TILUS_OK && bytes) s = tilus_upload(x->ctx, dev, mem, bytes, NULL);
        args[i] = tilus_array(dev, t->rank, t->dim);
        args[i].bytes = bytes;
    }
    return s;
}

tilus_status tool_exec_download(tool_exec *x, fe_eval *e, const ir_func *f, fe_value **v, const tilus_arg *args) {
    tilus_status s = TILUS_OK;
    for (uint32_t i = 0; s == TILUS_OK && i < f->nparams; i++) {
        if (v[i]->kind != FV_TENSOR || !f->params[i].written) continue;
        const size_t bytes = fe_tensor_bytes(v[i]->tensor);
        void *const mem = aligned(e->arena, bytes);
        if (bytes) s = tilus_download(x->ctx, mem, args[i].as.ptr, bytes, NULL);
        if (s == TILUS_OK) fe_tensor_unpack(v[i]->tensor, mem);
    }
    return s;
}

void tool_exec_release(tool_exec *x, const ir_func *f, fe_value *const *v, const tilus_arg *args) {
    for (uint32_t i = 0; i < f->nparams; i++)
        if (v[i]->kind == FV_TENSOR && args[i].as.ptr) tilus_free(x->ctx, args[i].as.ptr);
}

static bool on_gpu(tool_exec *x, fe_eval *e, const built *b, fe_value **v, const char **why) {
    const ir_func *const f = b->func;
    tilus_context *const c = x->ctx;
    tilus_arg *const args = vm_newn(e->arena, tilus_arg, f->nparams + 1);
    tilus_status s = tool_exec_upload(x, e, f, v, args);
    tilus_event from = NULL, to = NULL;
    if (s == TILUS_OK) s = tilus_event_create(c, &from);
    if (s == TILUS_OK) s = tilus_event_create(c, &to);
    if (s == TILUS_OK) s = tilus_event_record(c, from, NULL);
    const catcher caught = x->cuda ? catch_begin() : (catcher){NULL, -1};
    if (s == TILUS_OK) s = tilus_launch(b->kernel, NULL, args, f->nparams);
    if (s == TILUS_OK) s = tilus_event_record(c, to, NULL);
    if (s == TILUS_OK) s = tilus_synchronize(c, NULL);
    const char *const said = catch_end(caught, e->arena);
    float ms = 0;
    if (s == TILUS_OK) s = tilus_event_elapsed(c, from, to, &ms);
    x->seconds = 1e-3 * (double)ms;
    if (s == TILUS_OK) s = tool_exec_download(x, e, f, v, args);
    if (s != TILUS_OK) *why = vm_format(e->arena, "%s%s%s", tilus_error(c), *said ? ": " : "", said);
    tool_exec_release(x, f, v, args);
    tilus_event_destroy(c, from);
    tilus_event_destroy(c, to);
    x->lost |= x->cuda && (s == TILUS_TRAP || s == TILUS_DRIVER_ERROR);
    return s == TILUS_OK;
}

bool tool_exec_args(tool_exec *x, fe_eval *e, const ir_func *f, const fe_args *args, fe_value **v, vm_span at, const char **why) {
    for (uint32_t i = 0; i < args->n; i++) {
        const fe_arg *const a = &args->at[i];
        uint32_t p = i;
        if (a->name)
            for (p = 0; p < f->nparams && strcmp(f->params[p].name, a->name) != 0;) p++;
        if (p >= f->nparams || v[p]) {
            *why = a->name ? vm_format(e->arena, "'%s' is no parameter, or given twice", a->name)
                           : vm_format(e->arena, "%u arguments for %u parameters", args->n, f->nparams);
            return false;
        }
        v[p] = a->v;
    }
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_type *const t = &f->params[i].value->type;
        if (!v[i]) {
            *why = vm_format(e->arena, "no argument for parameter '%s'", f->params[i].name);
            return false;
        }
        const bool tensor = v[i]->kind == FV_TENSOR, pointer = t->space == IS_PTR;
        if (tensor != pointer || (tensor && v[i]->tensor->type != t->elem)) {
            *why = vm_format(e->arena, "parameter '%s' is %s%s, the argument is %s", f->params[i].name,
                             pointer ? "a tensor of " : "", vm_dtype_name(t->elem), fe_describe(e, v[i]));
            return false;
        }
        if (tensor) continue;
        const fe_type *const type = fe_scalar_type(e, t->elem);
        const mark m = mark_of(e->comp);
        v[i] = fe_coerce(e, v[i], type, at);
        if (v[i]->kind == FV_POISON) {
            *why = take_errors(x, m);
            return false;
        }
    }
    return true;
}

static bool run(void *user, fe_eval *e, fe_instance *k, fe_args *args, vm_span at, const char **why) {
    tool_exec *const x = user;
    x->diagnostics = NULL;
    if (x->lost) {
        *why = "an earlier fault has ended this process's use of the GPU";
        return false;
    }
    const built *const b = build(x, e, k, why);
    if (!b) return false;
    fe_value **const v = vm_newn(e->arena, fe_value *, b->func->nparams + 1);
    if (!tool_exec_args(x, e, b->func, args, v, at, why)) return false;
    return x->gpu ? on_gpu(x, e, b, v, why) : on_vm(x, e, b, v, why);
}

/// The point that the tuning database knows to be best for these arguments on this device.
static uint32_t pick(void *user, fe_eval *e, const fe_module *m, const ast *kernel, uint32_t n, fe_instance **point, fe_args *args) {
    tool_exec *const x = user;
    rt_tuner *const t = x->gpu ? x->ctx->tuner : NULL;
    const ast *const params = kernel->nkids > 1 ? kernel->kid[1] : NULL;
    if (!t || !params || !rt_tuner_knows(t, e, kernel->name)) return 0;
    int64_t *const value = vm_newn(e->arena, int64_t, params->nkids + 1);
    bool *const whole = vm_newn(e->arena, bool, params->nkids + 1);
    for (uint32_t i = 0; i < args->n; i++) {
        uint32_t p = i;
        if (args->at[i].name)
            for (p = 0; p < params->nkids && strcmp(params->kid[p]->name, args->at[i].name) != 0;) p++;
        if (p >= params->nkids || !args->at[i].v || args->at[i].v->kind != FV_INT) continue;
        value[p] = args->at[i].v->i;
        whole[p] = true;
    }
    const uint32_t best = rt_tuner_pick(t, e, m, kernel, rt_tune_shape(e->arena, kernel, params->nkids, value, whole), n, point);
    return best < n ? best : 0;
}

fe_executor tool_exec_hooks(tool_exec *x) { return (fe_executor){.run = run, .pick = pick, .user = x}; }
