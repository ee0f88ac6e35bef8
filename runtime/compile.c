// SPDX-License-Identifier: Apache-2.0
// The whole path: text, tree, instances, tile IR, passes, LLVM, PTX, machine code. Each stage can be
// the last one, and then leaves its text.
#include "runtime/compile.h"
#include "runtime/tune.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const stage_names[] = {"tokens", "ast", "check", "ir", "layout", "llvm", "ptx", "cubin", "sass"};

bool rt_stage_find(const char *name, enum rt_stage *out) {
    for (size_t i = 0; i < sizeof stage_names / sizeof *stage_names; i++)
        if (!strcmp(stage_names[i], name)) {
            *out = (enum rt_stage)i;
            return true;
        }
    return false;
}

static const char *const pass_names[] = {
    "lower",
#define PASS(name, doc) #name,
#include "ir/pass.def"
#undef PASS
};

static const char *const *copy_list(vm_arena *a, uint32_t n, const char *const *from) {
    const char **to = vm_newn(a, const char *, n + 1);
    for (uint32_t i = 0; i < n; i++) to[i] = vm_strdup(a, from[i]);
    return to;
}

static const char *copy(vm_arena *a, const char *s) { return s ? vm_strdup(a, s) : NULL; }

rt_compilation *rt_compilation_new(const vm_allocator *a, const rt_options *opt) {
    const vm_allocator mem = a ? *a : vm_malloc;
    rt_compilation *x = mem.alloc(mem.user, sizeof *x);
    if (!x) return NULL;
    memset(x, 0, sizeof *x);
    x->alloc = mem;
    x->opt = *opt;
    x->text = "";
    x->comp = vm_comp_new(&mem, &x->oom);
    if (!x->comp) {
        mem.release(mem.user, x, sizeof *x);
        return NULL;
    }
    if (setjmp(x->oom)) {
        rt_compilation_free(x);
        return NULL;
    }
    vm_arena *m = x->comp->arena;
    rt_options *o = &x->opt;
    o->name = vm_strdup(m, o->name ? o->name : "<text>");
    if (o->text) {
        char *t = vm_alloc(m, o->size + 2);
        memcpy(t, opt->text, o->size);
        o->text = t;
    }
    o->include = copy_list(m, o->ninclude, o->include);
    o->define = copy_list(m, o->ndefine, o->define);
    o->kernel = copy(m, o->kernel);
    o->entry = copy(m, o->entry);
    o->after = copy(m, o->after);
    o->shape = copy(m, o->shape);
    o->cg.ptx = copy(m, o->cg.ptx);
    x->comp->want_perf = o->perf;
    x->comp->want_remarks = o->remarks;
    x->comp->werror = o->werror;
    if (o->max_errors) x->comp->max_errors = o->max_errors;
    return x;
}

void rt_compilation_free(rt_compilation *x) {
    if (!x) return;
    vm_comp_free(x->comp);
    const vm_allocator mem = x->alloc;
    mem.release(mem.user, x, sizeof *x);
}

const char *rt_diagnostics(rt_compilation *x, bool json, bool color) {
    if (!x->comp->diags || setjmp(x->oom)) return "";
    return json ? vm_diags_json(x->comp) : vm_diags_text(x->comp, color);
}

// ---- clock --------------------------------------------------------------------------------------

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// Adds the time since *since to the row `name`, and starts the next lap.
static void lap(rt_compilation *x, const char *name, double *since) {
    if (!x->opt.time) return;
    const double t = now(), d = t - *since;
    *since = t;
    for (uint32_t i = 0; i < x->times.n; i++)
        if (!strcmp(x->times.at[i].name, name)) {
            x->times.at[i].seconds += d;
            return;
        }
    vm_push(x->comp->arena, &x->times, ((rt_time){name, d}));
}

// ---- source -------------------------------------------------------------------------------------

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static enum rt_result add_source(rt_compilation *x) {
    rt_options *o = &x->opt;
    vm_comp *c = x->comp;
    const char *text = o->text, *why = "";
    if (!text) {
        text = rt_read_file(c, o->name, &o->size, &why);
        if (!text) {
            snprintf(x->message, sizeof x->message, "cannot read '%.300s': %s", o->name, why);
            return RT_NO_FILE;
        }
        if (!strcmp(o->name, "-")) o->name = "<stdin>";
        else {
            vm_push(c->arena, &x->files, o->name);
            vm_push(c->arena, &x->imports, o->name);
        }
    }
    if (ends_with(o->name, ".tir")) o->is_ir = true;
    x->file = vm_source_add(c, o->name, text, o->size);
    return RT_OK;
}

enum rt_result rt_load(rt_compilation *x) {
    double t = now();
    const enum rt_result r = x->file ? RT_OK : add_source(x);
    if (r != RT_OK) return r;
    if (x->opt.is_ir) {
        x->ir = ir_parse(x->comp, x->file);
        if (x->ir && x->opt.arch) x->ir->arch = x->opt.arch;
        lap(x, "parse", &t);
        return RT_OK;
    }
    const fe_options o = {.arch = x->opt.arch, .load = rt_loader, .load_user = x};
    x->eval = fe_eval_new(x->comp, &o);
    x->module = fe_load_main(x->eval, x->file);
    lap(x, "parse", &t);
    if (!x->comp->nerrors) fe_check(x->eval, x->module);
    lap(x, "check", &t);
    return RT_OK;
}

// ---- instances ----------------------------------------------------------------------------------

typedef struct {
    rt_compilation *x;
    double t;
} pass_clock;

static void after_pass(void *user, const char *pass, ir_func *f) {
    (void)f;
    pass_clock *k = user;
    lap(k->x, pass, &k->t);
}

static bool run_passes(rt_compilation *x, ir_func *f) {
    const rt_options *o = &x->opt;
    const char *after = o->after;
    if (!after && o->stage == RT_STAGE_LAYOUT) after = "relayout";
    if (after && !strcmp(after, "lower")) return true;
    pass_clock k = {x, now()};
    const ir_pass_options p = {.stop_after = after, .verify = o->verify, .after = after_pass, .user = &k};
    return ir_run_passes(f, &p);
}

ir_func *rt_lower(rt_compilation *x, const fe_instance *k) {
    double t = now();
    ir_module *m = ir_module_new(x->comp, x->opt.arch);
    ir_func *f = ir_lower(m, x->eval, k);
    lap(x, "lower", &t);
    if (!f) return NULL;
    if (!m->funcs.n) vm_push(x->comp->arena, &m->funcs, f);
    return run_passes(x, f) ? f : NULL;
}

const char *rt_ptx_of(rt_compilation *x, ir_func *f, cg_report **report) {
    double t = now();
    ir_module *m = ir_module_new(x->comp, x->opt.arch);
    vm_push(x->comp->arena, &m->funcs, f);
    ir_module *const home = f->module;
    f->module = m;
    const char *ptx = cg_ptx(x->comp, m, &x->opt.cg, report);
    f->module = home;
    lap(x, "llvm", &t);
    return ptx;
}

static uint32_t defines(rt_compilation *x, fe_define **out) {
    vm_arena *a = x->comp->arena;
    *out = vm_newn(a, fe_define, x->opt.ndefine + 1);
    for (uint32_t i = 0; i < x->opt.ndefine; i++) {
        const char *d = x->opt.define[i], *eq = strchr(d, '=');
        (*out)[i].name = vm_internn(x->comp, d, (size_t)(eq - d));
        (*out)[i].value = fe_string(x->eval, eq + 1);
    }
    return x->opt.ndefine;
}

static bool has_meta(const ast *kernel, const char *name) {
    const ast *meta = kernel->kid[0];
    for (uint32_t i = 0; meta && i < meta->nkids; i++)
        if (!strcmp(meta->kid[i]->name, name)) return true;
    return false;
}

/// Names of the meta-parameters that nothing gives a value, NULL if there are none.
static const char *open_metas(rt_compilation *x, const ast *kernel, uint32_t n, const fe_define *defs) {
    const ast *meta = kernel->kid[0];
    vm_text t = {.arena = x->comp->arena};
    for (uint32_t i = 0; meta && i < meta->nkids; i++) {
        const ast *p = meta->kid[i];
        bool given = (p->nkids > 1 && p->kid[1]) || rt_is_tuned(kernel, p->name);
        for (uint32_t k = 0; k < n; k++) given |= !strcmp(defs[k].name, p->name);
        if (!given) vm_put(&t, t.n ? ", %s" : "%s", p->name);
    }
    return t.n ? vm_text_end(&t) : NULL;
}

static void add_kernel(rt_compilation *x, const fe_instance *k, const char *name, ir_func *f, const char *skipped) {
    const rt_kernel r = {.instance = (fe_instance *)k, .kernel = name, .entry = k ? k->entry : name, .func = f, .skipped = skipped};
    vm_push(x->comp->arena, &x->kernels, r);
    if (!f) return;
    f->module = x->ir;
    vm_push(x->comp->arena, &x->ir->funcs, f);
}

/// The diagnostics so far: what is reported later can be taken back.
typedef struct {
    vm_diag *last;
    uint32_t errors, warnings;
} mark;

static mark mark_of(const vm_comp *c) { return (mark){c->last_diag, c->nerrors, c->nwarnings}; }

static void rewind_to(vm_comp *c, const mark *m) {
    c->last_diag = m->last;
    if (m->last) m->last->next = NULL;
    else c->diags = NULL;
    c->nerrors = m->errors;
    c->nwarnings = m->warnings;
}

/// Whether what was reported since `from` says only that the target is too small for the instance.
bool rt_too_large(const vm_diag *from) {
    bool any = false;
    for (const vm_diag *d = from; d; d = d->next) {
        if (d->sev != VM_ERROR) continue;
        if (d->code != D_E0601 && d->code != D_E0407) return false;
        any = true;
    }
    return any;
}

/// The first instance, or else the first point of the tuning space, that fits the target.
static ir_func *lower_first_fit(rt_compilation *x, const ast *kernel, uint32_t n, const fe_define *defs, fe_instance **k) {
    vm_comp *c = x->comp;
    const mark m = mark_of(c);
    vm_diag *const last = m.last;
    ir_func *f = rt_lower(x, *k);
    if (f || !rt_too_large(last ? last->next : c->diags)) return f;
    vm_diag *const first = last ? last->next : c->diags, *const after = c->last_diag;
    const uint32_t all_errors = c->nerrors, all_warnings = c->nwarnings;
    fe_instance **point;
    const uint32_t points = fe_tune_points(x->eval, x->module, kernel, n, defs, &point);
    for (uint32_t i = 0; i < points; i++) {
        rewind_to(c, &m);
        f = rt_lower(x, point[i]);
        if (f) {
            *k = point[i];
            return f;
        }
    }
    // nothing fits: the first reports say why. The link that the trials cut is restored.
    if (points) {
        c->nerrors = all_errors;
        c->nwarnings = all_warnings;
        c->last_diag = after;
        if (last) last->next = first;
        else c->diags = first;
    }
    return NULL;
}

/// The point that the tuner knows to be best, NULL: it knows none. Reports nothing: what is wrong with
/// the space is said by whoever takes its first point.
static fe_instance *choose(rt_compilation *x, const ast *kernel, uint32_t n, const fe_define *defs) {
    if (!x->opt.tuner || !rt_is_tuned(kernel, NULL)) return NULL;
    if (x->choice.kernel == kernel) return x->choice.point;
    x->choice.kernel = kernel;
    x->choice.point = NULL;
    if (!rt_tuner_knows(x->opt.tuner, x->eval, kernel->name)) return NULL;
    const mark m = mark_of(x->comp);
    fe_instance **point;
    const uint32_t points = fe_tune_points(x->eval, x->module, kernel, n, defs, &point);
    rewind_to(x->comp, &m);
    const uint32_t best = rt_tuner_pick(x->opt.tuner, x->eval, x->module, kernel, x->opt.shape ? x->opt.shape : "", points, point);
    if (best < points) x->choice.point = point[best];
    return x->choice.point;
}

const char *rt_choice_text(rt_compilation *x) {
    const ast *const tree = x->module && x->opt.tuner && x->opt.kernel ? x->module->tree : NULL;
    for (uint32_t i = 0; tree && i < tree->nkids; i++) {
        if (tree->kid[i]->kind != AST_KERNEL || strcmp(tree->kid[i]->name, x->opt.kernel) != 0) continue;
        fe_define *defs;
        const uint32_t n = defines(x, &defs);
        const fe_instance *const k = choose(x, tree->kid[i], n, defs);
        return k ? rt_tune_values(x->eval, k) : "";
    }
    return "";
}

static void build_kernel(rt_compilation *x, const ast *kernel, uint32_t n, const fe_define *defs) {
    const char *open = open_metas(x, kernel, n, defs);
    if (open && !x->opt.kernel) {
        add_kernel(x, NULL, kernel->name, NULL, vm_format(x->comp->arena, "no value for %s", open));
        return;
    }
    if (x->opt.points) {
        fe_instance **point;
        const uint32_t points = fe_tune_points(x->eval, x->module, kernel, n, defs, &point);
        for (uint32_t i = 0; i < points; i++)
            add_kernel(x, point[i], kernel->name, point[i]->excluded ? NULL : rt_lower(x, point[i]), point[i]->why);
        return;
    }
    fe_instance *k = choose(x, kernel, n, defs);
    ir_func *f = NULL;
    if (k) { // tuned for another machine, perhaps: then it need not fit this one
        const mark m = mark_of(x->comp);
        f = rt_lower(x, k);
        if (!f) rewind_to(x->comp, &m);
        else {
            add_kernel(x, k, kernel->name, f, NULL);
            return;
        }
    }
    k = fe_instantiate(x->eval, x->module, kernel, n, defs, VM_NOWHERE, !x->opt.kernel);
    if (!k) return;
    f = k->excluded ? NULL : lower_first_fit(x, kernel, n, defs, &k);
    add_kernel(x, k, kernel->name, f, k->excluded ? k->why : NULL);
}

static enum rt_result build_program(rt_compilation *x) {
    vm_comp *c = x->comp;
    fe_define *defs;
    const uint32_t n = defines(x, &defs);
    const ast *tree = x->module->tree;
    bool *used = vm_newn(c->arena, bool, n + 1);
    VM_VEC(const char *) names = {0};
    VM_VEC(const ast *) todo = {0};
    for (uint32_t i = 0; i < tree->nkids; i++) {
        const ast *k = tree->kid[i];
        if (k->kind != AST_KERNEL) continue;
        vm_push(c->arena, &names, k->name);
        if (x->opt.kernel && strcmp(x->opt.kernel, k->name) != 0) continue;
        vm_push(c->arena, &todo, k);
        for (uint32_t d = 0; d < n; d++) used[d] |= has_meta(k, defs[d].name);
    }
    if (x->opt.kernel && !todo.n) {
        const char *near = vm_nearest(x->opt.kernel, names.at, names.n);
        snprintf(x->message, sizeof x->message, "'%.150s' has no kernel '%.100s'%s%.100s%s", x->opt.name, x->opt.kernel,
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return RT_NO_KERNEL;
    }
    if (x->opt.entry && todo.n != 1) {
        snprintf(x->message, sizeof x->message, "an entry name can be given to one kernel only, not to %u", todo.n);
        return RT_BAD_OPTION;
    }
    for (uint32_t d = 0; d < n && todo.n; d++)
        if (!used[d]) vm_report(c, D_E0343, VM_NOWHERE, "no kernel has a meta-parameter '%s'", defs[d].name);
    if (c->nerrors) return RT_ERRORS;
    x->ir = ir_module_new(c, x->opt.arch);
    for (uint32_t i = 0; i < todo.n; i++) build_kernel(x, todo.at[i], n, defs);
    for (uint32_t i = 0; x->opt.entry && i < x->ir->funcs.n; i++) x->ir->funcs.at[i]->name = x->opt.entry;
    for (uint32_t i = 0; i < x->kernels.n; i++)
        if (x->kernels.at[i].func) x->kernels.at[i].entry = x->kernels.at[i].func->name;
    return RT_OK;
}

static void build_ir(rt_compilation *x) {
    for (uint32_t i = 0; x->ir && i < x->ir->funcs.n; i++) {
        ir_func *f = x->ir->funcs.at[i];
        const bool ok = run_passes(x, f);
        const char *name = f->kernel ? f->kernel : f->name;
        const rt_kernel r = {.kernel = name, .entry = f->name, .func = ok ? f : NULL};
        vm_push(x->comp->arena, &x->kernels, r);
    }
}

// ---- machine code -------------------------------------------------------------------------------

/// All that a command writes, in the arena; NULL if it fails or writes nothing.
static const char *output_of(vm_comp *c, const char *cmd) {
    FILE *const p = popen(cmd, "r");
    if (!p) return NULL;
    jmp_buf here, *const outer = c->oom;
    if (setjmp(here)) { // the process must be waited for on the way out of memory too
        vm_arena_set_oom(c->arena, outer);
        pclose(p);
        longjmp(*outer, 1);
    }
    vm_arena_set_oom(c->arena, &here);
    vm_text t = {.arena = c->arena};
    char *buf = vm_alloc(c->arena, 4096);
    for (size_t n; (n = fread(buf, 1, 4096, p)) > 0;) vm_putn(&t, buf, n);
    const char *text = t.n ? vm_text_end(&t) : NULL;
    vm_arena_set_oom(c->arena, outer);
    return pclose(p) == 0 ? text : NULL;
}

/// Runs a disassembler of the CUDA toolkit on the cubin.
static bool disassemble(rt_compilation *x) {
    static const char *const tools[] = {"nvdisasm -c", "/usr/local/cuda/bin/nvdisasm -c", "cuobjdump -sass",
                                        "/usr/local/cuda/bin/cuobjdump -sass"};
    char path[] = "/tmp/tilus-XXXXXX";
    const int fd = mkstemp(path);
    if (fd < 0) return false;
    size_t done = 0;
    while (done < x->cubin_size) {
        const ssize_t n = write(fd, x->cubin + done, x->cubin_size - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    close(fd);
    jmp_buf here, *const outer = x->comp->oom;
    if (setjmp(here)) {
        x->comp->oom = outer;
        vm_arena_set_oom(x->comp->arena, outer);
        unlink(path);
        longjmp(*outer, 1);
    }
    x->comp->oom = &here;
    const char *text = NULL;
    for (size_t i = 0; i < sizeof tools / sizeof *tools && done == x->cubin_size && !text; i++) {
        char cmd[160];
        snprintf(cmd, sizeof cmd, "%s %s 2>/dev/null", tools[i], path);
        text = output_of(x->comp, cmd);
    }
    x->comp->oom = outer;
    vm_arena_set_oom(x->comp->arena, outer);
    unlink(path);
    if (text) x->text = text;
    return text != NULL;
}

static enum rt_result assemble(rt_compilation *x) {
    double t = now();
    const bool ran = cg_ptxas(x->comp, x->ptx, x->opt.arch->name, true, &x->ptxas);
    lap(x, "ptxas", &t);
    if (!ran || !x->ptxas.found || !x->ptxas.ok) {
        snprintf(x->message, sizeof x->message, "%s%.350s", !ran || !x->ptxas.found ? "ptxas cannot be run: " : "ptxas: ",
                 x->ptxas.log && *x->ptxas.log ? x->ptxas.log : "it is not installed");
        return RT_NO_TOOL;
    }
    x->cubin = x->ptxas.cubin;
    x->cubin_size = x->ptxas.cubin_size;
    if (x->opt.stage != RT_STAGE_SASS || disassemble(x)) return RT_OK;
    snprintf(x->message, sizeof x->message, "neither nvdisasm nor cuobjdump could disassemble the code");
    return RT_NO_TOOL;
}

// ---- all of it ----------------------------------------------------------------------------------

static enum rt_result bad_option(rt_compilation *x) {
    const rt_options *o = &x->opt;
    for (uint32_t i = 0; i < o->ndefine; i++) {
        const char *eq = strchr(o->define[i], '=');
        if (eq && eq != o->define[i]) continue;
        snprintf(x->message, sizeof x->message, "'%.200s' does not have the form NAME=VALUE", o->define[i]);
        return RT_BAD_OPTION;
    }
    if (o->after) {
        bool known = false;
        for (size_t i = 0; i < sizeof pass_names / sizeof *pass_names; i++) known |= !strcmp(pass_names[i], o->after);
        if (!known) {
            const char *near = vm_nearest(o->after, pass_names, sizeof pass_names / sizeof *pass_names);
            snprintf(x->message, sizeof x->message, "there is no pass '%.100s'%s%s%s", o->after, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
            return RT_BAD_OPTION;
        }
        if (o->stage > RT_STAGE_LAYOUT) {
            snprintf(x->message, sizeof x->message, "stopping after a pass goes with the stages ir and layout only");
            return RT_BAD_OPTION;
        }
    }
    if (o->stage > RT_STAGE_LAYOUT && !o->arch) {
        snprintf(x->message, sizeof x->message, "stage '%s' needs an architecture", stage_names[o->stage]);
        return RT_BAD_OPTION;
    }
    return RT_OK;
}

/// Valid PTX without entries, for a file all of whose kernels were skipped.
static const char *empty_ptx(rt_compilation *x) {
    const char *feature = x->opt.cg.ptx ? x->opt.cg.ptx : x->opt.arch->ptx; // "+ptx86": version 8.6
    const size_t n = strlen(feature);
    return n < 6 ? "" : vm_format(x->comp->arena, ".version %.*s.%s\n.target %s\n.address_size 64\n", (int)(n - 5),
                                  feature + 4, feature + n - 1, x->opt.arch->name);
}

static enum rt_result emit(rt_compilation *x) {
    vm_comp *c = x->comp;
    const enum rt_stage stage = x->opt.stage;
    if (stage == RT_STAGE_IR) x->text = ir_print(x->ir);
    if (stage == RT_STAGE_LAYOUT) {
        vm_text t = {.arena = c->arena};
        for (uint32_t i = 0; i < x->ir->funcs.n; i++) vm_put(&t, "%s%s", i ? "\n" : "", ir_explain(x->ir->funcs.at[i]));
        x->text = vm_text_end(&t);
    }
    if (stage <= RT_STAGE_LAYOUT) return RT_OK;
    double t = now();
    const char *out;
    if (!x->ir->funcs.n) out = stage == RT_STAGE_LLVM ? "" : empty_ptx(x);
    else if (stage == RT_STAGE_LLVM) out = cg_llvm(c, x->ir, &x->opt.cg, &x->reports);
    else out = cg_ptx(c, x->ir, &x->opt.cg, &x->reports);
    lap(x, "llvm", &t);
    if (!out || c->nerrors) return RT_ERRORS;
    x->text = out;
    if (stage == RT_STAGE_LLVM) return RT_OK;
    x->ptx = out;
    return stage >= RT_STAGE_CUBIN ? assemble(x) : RT_OK;
}

enum rt_result rt_compile(rt_compilation *x) {
    if (setjmp(x->oom)) return RT_NO_MEMORY;
    enum rt_result r = bad_option(x);
    if (r != RT_OK) return r;
    vm_comp *c = x->comp;
    if (x->opt.stage == RT_STAGE_TOKENS || x->opt.stage == RT_STAGE_AST) {
        r = add_source(x);
        if (r != RT_OK) return r;
        x->text = x->opt.stage == RT_STAGE_TOKENS ? fe_tokens_text(c, x->file) : fe_ast_text(c, fe_parse(c, x->file));
        return c->nerrors ? RT_ERRORS : RT_OK;
    }
    if (!x->eval && !x->ir) r = rt_load(x);
    if (r != RT_OK) return r;
    if (c->nerrors || x->opt.stage == RT_STAGE_CHECK) return c->nerrors ? RT_ERRORS : RT_OK;
    if (x->opt.is_ir) build_ir(x);
    else r = build_program(x);
    if (r != RT_OK) return r;
    if (c->nerrors || !x->ir) return RT_ERRORS;
    r = emit(x);
    return r == RT_OK && c->nerrors ? RT_ERRORS : r;
}
