// SPDX-License-Identifier: Apache-2.0
// Kernels chosen by what is known only at the launch: by the shape of the arguments, once, or
// through a table that is searched at every launch.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/runtime.h"
#include "runtime/tune.h"

struct tilus_dispatch {
    tilus_module *module;
    tilus_dispatch *next;
    size_t n, cap; // cap: of both lists
    int64_t *from; // ascending, the first is INT64_MIN
    tilus_kernel **kernel;
    uint32_t param; // of the scalar
};

// ---- a choice for a shape -----------------------------------------------------------------------

/// Loads the module's text and finds the kernel's tree. NULL after a message in *s.
static const ast *load(tilus_module *m, rt_compilation *x, const char *name, tilus_status *s) {
    const enum rt_result r = rt_load(x);
    if (r != RT_OK || x->comp->nerrors) {
        *s = r == RT_OK || r == RT_ERRORS ? rt_fail_diagnostics(m->ctx, x)
                                          : rt_fail(m->ctx, TILUS_IO_ERROR, "%s", x->message);
        return NULL;
    }
    const ast *const tree = x->module ? x->module->tree : NULL;
    for (uint32_t i = 0; tree && i < tree->nkids; i++)
        if (tree->kid[i]->kind == AST_KERNEL && !strcmp(tree->kid[i]->name, name))
            return tree->kid[i];
    *s = rt_fail(m->ctx, TILUS_NOT_FOUND, "'%s' has no kernel '%s'", m->name, name);
    return NULL;
}

static bool good_metas(const tilus_meta *metas, size_t n) {
    if (n > 1024 || (n && !metas)) return false;
    for (size_t i = 0; i < n; i++)
        if (!metas[i].name || !*metas[i].name || !metas[i].value || strchr(metas[i].name, '='))
            return false;
    return true;
}

/// "NAME=VALUE" of each, in x's arena.
static const char **definitions(rt_compilation *x, const tilus_meta *metas, size_t n) {
    const char **const d = vm_newn(x->comp->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        d[i] = vm_format(x->comp->arena, "%s=%s", metas[i].name, metas[i].value);
    return d;
}

/// The kernel whose tuned parameters are the known best for a shape. x is loaded and has the
/// definitions.
static tilus_status get_for(tilus_module *m, rt_compilation *x, const char *name,
                            const tilus_meta *metas, size_t n, const char *shape,
                            tilus_kernel **out) {
    x->opt.shape = shape;
    x->choice.kernel = NULL;
    rt_choice_text(x);
    const fe_instance *const k = x->choice.kernel ? x->choice.point : NULL;
    if (!k) return tilus_kernel_get(m, name, metas, n, out);
    tilus_meta *const all = vm_newn(x->comp->arena, tilus_meta, n + k->nmeta + 1);
    size_t count = n;
    if (n) memcpy(all, metas, n * sizeof *metas);
    for (uint32_t i = 0; i < k->nmeta; i++)
        if (k->tuned[i])
            all[count++] = (tilus_meta){k->meta_name[i], rt_tune_meta(x->eval, k->meta[i])};
    const tilus_status s = tilus_kernel_get(m, name, all, count, out);
    // what was tuned on another machine need not fit this one
    return s == TILUS_COMPILE_ERROR ? tilus_kernel_get(m, name, metas, n, out) : s;
}

/// The compilation in which choices are made, loaded. NULL after a message in *s.
static rt_compilation *chooser(tilus_module *m, const char *name, const tilus_meta *metas, size_t n,
                               const ast **kernel, tilus_status *s) {
    tilus_context *const c = m->ctx;
    rt_options o = rt_kernel_options(m, name, 0, NULL);
    o.stage = RT_STAGE_CHECK;
    rt_compilation *const x = rt_compilation_new(&c->alloc, &o);
    if (!x) {
        *s = rt_no_memory(c);
        return NULL;
    }
    if (setjmp(x->oom)) {
        rt_compilation_free(x);
        *s = rt_no_memory(c);
        return NULL;
    }
    x->opt.define = definitions(x, metas, n);
    x->opt.ndefine = (uint32_t)n;
    *kernel = load(m, x, name, s);
    if (*kernel) return x;
    rt_compilation_free(x);
    return NULL;
}

/// Stands around what uses x's arena: out of memory becomes a status.
static tilus_status get_guarded(tilus_module *m, rt_compilation *x, const ast *kernel,
                                const char *name, const tilus_meta *metas, size_t n,
                                const tilus_arg *args, size_t nargs, tilus_kernel **out) {
    if (setjmp(x->oom)) return rt_no_memory(m->ctx);
    int64_t *const value = vm_newn(x->comp->arena, int64_t, nargs + 1);
    bool *const whole = vm_newn(x->comp->arena, bool, nargs + 1);
    for (size_t i = 0; i < nargs; i++) {
        value[i] = args[i].as.i;
        whole[i] = args[i].kind == TILUS_ARG_INT;
    }
    return get_for(m, x, name, metas, n,
                   rt_tune_shape(x->comp->arena, kernel, (uint32_t)nargs, value, whole), out);
}

tilus_status tilus_kernel_get_for(tilus_module *m, const char *name, const tilus_meta *metas,
                                  size_t n, const tilus_arg *args, size_t nargs,
                                  tilus_kernel **out) {
    if (!m || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (nargs > 1024 || (nargs && !args))
        return rt_fail(m->ctx, TILUS_INVALID_ARGUMENT, "bad arguments");
    if (!m->text || !name || !m->ctx->tuner || !good_metas(metas, n))
        return tilus_kernel_get(m, name, metas, n, out);
    tilus_status s = TILUS_OK;
    const ast *kernel;
    rt_compilation *const x = chooser(m, name, metas, n, &kernel, &s);
    if (!x) return s;
    s = get_guarded(m, x, kernel, name, metas, n, args, nargs, out);
    rt_compilation_free(x);
    return s;
}

// ---- tables -------------------------------------------------------------------------------------

static bool is_tensor(const ast *param) {
    return param->nkids && param->kid[0] && param->kid[0]->kind == AST_SPACE;
}

/// Values of the scalar that the kernel was tuned for, ascending.
static size_t known_values(tilus_module *m, rt_compilation *x, const tilus_dispatch_params *p,
                           int64_t **out) {
    rt_tune_rows rows = {0};
    size_t size = 0, n = 0;
    rt_tuner *const t = m->ctx->tuner;
    if (!t) return 0;
    rt_tuner_user_rows(t, p->kernel, x->comp, &rows);
    const char *const text = rt_tuner_is_none(t) ? NULL : rt_embedded("tuned.csv", &size);
    if (text) rt_tune_parse(text, size, p->kernel, x->comp->arena, &rows);
    int64_t *const v = *out = vm_newn(x->comp->arena, int64_t, rows.n + 1);
    for (uint32_t i = 0; i < rows.n; i++) {
        size_t len;
        const char *const at = rt_tune_value(rows.at[i].shape, p->scalar, &len);
        const int64_t value = at ? strtoll(at, NULL, 10) : 0;
        if (value <= 0 || strcmp(rows.at[i].arch, rt_tuner_target(t)->arch) != 0) continue;
        size_t k = 0;
        while (k < n && v[k] < value) k++;
        if (k < n && v[k] == value) continue;
        memmove(v + k + 1, v + k, (n - k) * sizeof *v);
        v[k] = value;
        n++;
    }
    return n;
}

/// Shape of the kernel's whole numbers with one value for the scalar; NULL: p->shape lacks one.
static const char *shape_of(rt_compilation *x, const ast *kernel, const tilus_dispatch_params *p,
                            int64_t value) {
    const ast *const params = kernel->kid[1];
    vm_text t = {.arena = x->comp->arena};
    for (uint32_t i = 0; params && i < params->nkids; i++) {
        const char *const name = params->kid[i]->name;
        if (is_tensor(params->kid[i])) continue;
        if (!strcmp(name, p->scalar)) {
            rt_tune_pair(&t, name, vm_format(x->comp->arena, "%lld", (long long)value));
            continue;
        }
        for (size_t k = 0; k < p->nshape; k++)
            if (!strcmp(p->shape[k].name, name)) rt_tune_pair(&t, name, p->shape[k].value);
    }
    return t.n ? vm_text_end(&t) : "";
}

/// The largest number that is nearer to a than to b, by ratio.
static int64_t between(int64_t a, int64_t b) {
    int64_t k = (int64_t)sqrt((double)a * (double)b);
    if (k < a) k = a;
    return k >= b ? b - 1 : k;
}

static tilus_status fill(tilus_dispatch *d, rt_compilation *x, const ast *kernel,
                         const tilus_dispatch_params *p) {
    tilus_module *const m = d->module;
    tilus_context *const c = m->ctx;
    if (setjmp(x->oom)) return rt_no_memory(c);
    const ast *const params = kernel->nkids > 1 ? kernel->kid[1] : NULL;
    bool found = false;
    for (uint32_t i = 0; params && i < params->nkids; i++)
        if (!strcmp(params->kid[i]->name, p->scalar) && !is_tensor(params->kid[i])) {
            d->param = i;
            found = true;
        }
    if (!found)
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "'%s' has no scalar parameter '%s'", p->kernel,
                       p->scalar);
    int64_t *value = (int64_t *)p->values;
    size_t n = p->nvalues;
    if (!value) n = known_values(m, x, p, &value);
    for (size_t i = 0; i < n; i++)
        if (value[i] <= 0 || (i && value[i] <= value[i - 1]))
            return rt_fail(c, TILUS_INVALID_ARGUMENT,
                           "the values of '%s' must be positive and ascend", p->scalar);
    const size_t entries = n ? n : 1;
    d->cap = entries;
    d->from = rt_alloc(c, entries * sizeof *d->from);
    d->kernel = rt_alloc(c, entries * sizeof *d->kernel);
    if (!d->from || !d->kernel) return rt_no_memory(c);
    for (size_t i = 0; i < entries; i++) {
        tilus_kernel *k = NULL;
        const tilus_status s =
            n ? get_for(m, x, p->kernel, p->metas, p->nmetas, shape_of(x, kernel, p, value[i]), &k)
              : tilus_kernel_get(m, p->kernel, p->metas, p->nmetas, &k);
        if (s != TILUS_OK) return s;
        if (d->n && d->kernel[d->n - 1] == k) continue; // the same for both
        d->from[d->n] = i ? between(value[i - 1], value[i]) + 1 : INT64_MIN;
        d->kernel[d->n++] = k;
    }
    return TILUS_OK;
}

tilus_status tilus_dispatch_create(tilus_module *m, const tilus_dispatch_params *p,
                                   tilus_dispatch **out) {
    if (!m || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    tilus_context *const c = m->ctx;
    if (!p || !p->kernel || !p->scalar || !good_metas(p->metas, p->nmetas) ||
        !good_metas(p->shape, p->nshape) || p->nvalues > 4096 || (p->values && !p->nvalues))
        return rt_fail(
            c, TILUS_INVALID_ARGUMENT,
            "a dispatch needs a kernel, the name of a scalar, and proper metas and values");
    if (!m->text) return rt_fail(c, TILUS_UNSUPPORTED, "kernels of PTX have no meta-parameters");
    tilus_status s = TILUS_OK;
    const ast *kernel;
    rt_compilation *const x = chooser(m, p->kernel, p->metas, p->nmetas, &kernel, &s);
    if (!x) return s;
    tilus_dispatch *const d = rt_alloc(c, sizeof *d);
    if (!d)
        s = rt_no_memory(c);
    else {
        d->module = m;
        d->next = m->dispatches;
        m->dispatches = d;
        s = fill(d, x, kernel, p);
    }
    rt_compilation_free(x);
    if (s == TILUS_OK)
        *out = d;
    else
        tilus_dispatch_destroy(d);
    return s;
}

tilus_kernel *tilus_dispatch_find(const tilus_dispatch *d, int64_t value) {
    if (!d) return NULL;
    size_t lo = 0, n = d->n;
    while (n > 1) { // the last entry that begins at or below
        const size_t half = n / 2;
        lo += d->from[lo + half] <= value ? half : 0;
        n -= half;
    }
    return d->kernel[lo];
}

tilus_status tilus_dispatch_launch(const tilus_dispatch *d, tilus_stream st, const tilus_arg *args,
                                   size_t n) {
    if (!d) return TILUS_INVALID_ARGUMENT;
    if (!args || d->param >= n || args[d->param].kind != TILUS_ARG_INT)
        return rt_fail(d->module->ctx, TILUS_INVALID_ARGUMENT,
                       "argument %u must be a whole number: it decides the kernel", d->param + 1);
    return tilus_launch(tilus_dispatch_find(d, args[d->param].as.i), st, args, n);
}

size_t tilus_dispatch_count(const tilus_dispatch *d) {
    return d ? d->n : 0;
}

tilus_status tilus_dispatch_at(const tilus_dispatch *d, size_t i, int64_t *from,
                               tilus_kernel **kernel) {
    if (!d || i >= d->n) return TILUS_INVALID_ARGUMENT;
    if (from) *from = d->from[i];
    if (kernel) *kernel = d->kernel[i];
    return TILUS_OK;
}

void tilus_dispatch_destroy(tilus_dispatch *d) {
    if (!d) return;
    tilus_context *const c = d->module->ctx;
    tilus_dispatch **at = &d->module->dispatches;
    while (*at && *at != d) at = &(*at)->next;
    if (*at) *at = d->next;
    rt_free(c, d->from, d->cap * sizeof *d->from);
    rt_free(c, d->kernel, d->cap * sizeof *d->kernel);
    rt_free(c, d, sizeof *d);
}
