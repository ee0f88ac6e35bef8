// SPDX-License-Identifier: Apache-2.0
// Runs the test blocks of differential test files in one of two ways:
//   check vm FILE…           on the interpreter; expectations are checked
//   check ptx ARCH FILE…     every instance that the tests would run is compiled for ARCH, all of a file
//                            in one PTX module, which ptxas must accept (skipped where there is none)
// A line a test; exit status 1 if one fails. `tilusc test --on=cuda` runs the same files on a GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/compile.h"

typedef struct {
    const ast *node;
    const char *entry;
    ir_func *func;
    ir_plan *plan;
} built;

typedef struct {
    rt_compilation *x;
    bool ptx, full;           // full: all optimisations of LLVM, as in use; else it only checks
    ir_module *all;
    VM_VEC(built) done;
    unsigned kernels;
    char printed[4096];       // by the kernel that ran last
    size_t nprinted;
} session;

static void print_to(void *user, const char *text, size_t n) {
    session *const s = user;
    if (n > sizeof s->printed - 1 - s->nprinted) n = sizeof s->printed - 1 - s->nprinted;
    memcpy(s->printed + s->nprinted, text, n);
    s->printed[s->nprinted += n] = 0;
}

static const char *first_error(rt_compilation *x, const vm_diag *before) {
    const vm_diag *d = before ? before->next : x->comp->diags;
    while (d && d->sev != VM_ERROR) d = d->next;
    return d ? vm_format(x->comp->arena, "%s: %s: %s", vm_place(x->comp, d->span), vm_code_name(d->code), d->text)
             : "lowering failed without a message";
}

static built *build(session *s, fe_instance *k, const char **why) {
    rt_compilation *const x = s->x;
    for (uint32_t i = 0; i < s->done.n; i++)
        if (s->done.at[i].node == k->node && !strcmp(s->done.at[i].entry, k->entry)) return &s->done.at[i];
    const vm_diag *const before = x->comp->last_diag;
    const uint32_t errors = x->comp->nerrors;
    built b = {.node = k->node, .entry = k->entry, .func = rt_lower(x, k)};
    if (!b.func) {
        *why = first_error(x, before);
        x->comp->nerrors = errors; // the test fails by *why, or expects it
        return NULL;
    }
    if (!s->ptx) b.plan = ir_plan_new(b.func);
    else {
        vm_push(x->comp->arena, &s->all->funcs, b.func);
        b.func->module = s->all;
    }
    s->kernels++;
    vm_push(x->comp->arena, &s->done, b);
    return &s->done.at[s->done.n - 1];
}

static bool run(void *user, fe_eval *e, fe_instance *k, fe_args *a, vm_span at, const char **why) {
    session *const s = user;
    (void)at;
    const built *const b = build(s, k, why);
    if (!b) return false;
    ir_arg *const args = vm_newn(e->arena, ir_arg, a->n + 1);
    for (uint32_t i = 0; i < a->n; i++) {
        const fe_value *const v = a->at[i].v;
        args[i].rank = -1;
        if (v->kind == FV_TENSOR) {
            const fe_tensor *const t = v->tensor;
            args[i].bytes = fe_tensor_bytes(t);
            const uintptr_t p = (uintptr_t)vm_alloc(e->arena, args[i].bytes + 256);
            args[i].ptr = (void *)((p + 127) & ~(uintptr_t)127);
            if (!s->ptx) fe_tensor_pack(t, args[i].ptr);
            args[i].rank = t->rank;
            memcpy(args[i].dim, t->dim, sizeof t->dim);
        } else {
            const vm_dtype dt = b->func->params[i].value->type.elem;
            args[i].code = v->kind == FV_FLOAT ? vm_encode(dt, v->f, vm_default_rounding(dt)) : vm_encode_int(dt, v->i);
        }
    }
    ir_launch l = {0};
    if (!ir_host_eval(b->func, args, &l)) {
        *why = vm_strdup(e->arena, l.error);
        return false;
    }
    if (s->ptx) return true;
    char error[1000] = "";
    vm_span where = {0};
    s->nprinted = 0;
    ir_run r = {.args = args, .dynamic_shared = l.dynamic_shared, .print = print_to, .user = s};
    memcpy(r.grid, l.grid, sizeof r.grid);
    const bool ok = ir_interp_run(b->plan, &r, error, &where);
    if (!ok) *why = vm_format(e->arena, "%s at %s", error, vm_place(e->comp, where));
    for (uint32_t i = 0; i < a->n; i++)
        if (a->at[i].v->kind == FV_TENSOR) fe_tensor_unpack(a->at[i].v->tensor, args[i].ptr);
    return ok;
}

static bool assemble(session *s, const char *path) {
    rt_compilation *const x = s->x;
    cg_report *reports = NULL;
    if (!s->all->funcs.n) return true;
    const char *const ptx = cg_ptx(x->comp, s->all, &x->opt.cg, &reports);
    if (!ptx) {
        printf("FAILED %s: %s\n%s", path, "no PTX", rt_diagnostics(x, false, false));
        return false;
    }
    cg_ptxas_result r = {0};
    if (getenv("DIFF_SAVE")) {
        FILE *const f = fopen(getenv("DIFF_SAVE"), "w");
        if (f) fputs(ptx, f), fclose(f);
    }
    if (!cg_ptxas(x->comp, ptx, x->opt.arch->name, false, &r) || !r.found) {
        printf("skipped %s: ptxas cannot be run\n", path);
        return true;
    }
    const bool ok = r.ok && !r.serialized; // C75xx: products that wait for each other, budgets ignored
    printf("%s %s on %s: %u kernels%s%s\n", ok ? "ok" : "FAILED", path, x->opt.arch->name, s->kernels,
           ok ? "" : "\n", ok ? "" : r.log);
    return ok;
}

static unsigned file(const char *path, const vm_arch *arch, const char *only) {
    const rt_options o = {.name = path, .stage = RT_STAGE_CHECK, .verify = true, .arch = arch, .cg.opt = arch ? 1 : 0};
    session *const s = calloc(1, sizeof *s);
    rt_compilation *const x = rt_compilation_new(NULL, &o);
    if (!s || !x || setjmp(x->oom)) {
        printf("FAILED %s: out of memory\n", path);
        return 1;
    }
    *s = (session){.x = x, .ptx = arch != NULL};
    if (rt_load(x) != RT_OK || x->comp->nerrors) {
        printf("FAILED %s: %s\n%s", path, x->message, rt_diagnostics(x, false, false));
        return 1;
    }
    s->all = ir_module_new(x->comp, arch);
    const fe_executor hooks = {.run = run, .user = s, .dry = arch != NULL};
    unsigned bad = 0;
    double total = 0;
    for (uint32_t i = 0; i < x->module->tree->nkids; i++) {
        const ast *const t = x->module->tree->kid[i];
        if (t->kind != AST_TEST || (only && !strstr(t->name, only))) continue;
        fe_test_result r = {0};
        fe_run_test(x->eval, x->module, t, &hooks, &r);
        total += r.seconds;
        const bool ok = r.passed;
        if (!ok || !arch) printf("%s %s \"%s\" (%.2f s) %s\n", ok ? "ok" : "FAILED", path, r.title, r.seconds, r.message ? r.message : "");
        fflush(stdout);
        bad += !ok;
    }
    if (!arch) printf("%s: %u kernels, %.2f s\n", path, s->kernels, total);
    if (arch && !assemble(s, path)) bad++;
    if (bad) printf("%s", rt_diagnostics(x, false, false));
    fflush(stdout);
    rt_compilation_free(x);
    free(s);
    return bad;
}

int main(int argc, char **argv) {
    const bool ptx = argc > 3 && !strcmp(argv[1], "ptx");
    if (!ptx && (argc < 3 || strcmp(argv[1], "vm") != 0)) {
        fprintf(stderr, "usage: %s vm FILE…\n       %s ptx ARCH FILE…\n", argv[0], argv[0]);
        return 2;
    }
    const vm_arch *const arch = ptx ? vm_arch_find(argv[2]) : NULL;
    if (ptx && !arch) return 2;
    unsigned bad = 0;
    for (int i = ptx ? 3 : 2; i < argc; i++) bad += file(argv[i], arch, getenv("DIFF_ONLY"));
    return bad != 0;
}
