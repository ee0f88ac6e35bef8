// SPDX-License-Identifier: Apache-2.0
// Compile-time functions on layouts: the primitives, the algebra and the operand layouts of tensor
// cores, in the spellings of layout_parse.
#include <string.h>
#include "frontend/eval_internal.h"

enum { MAX_INTS = LAYOUT_MAX_RANK };

typedef struct {
    int n;
    int32_t at[MAX_INTS];
} ints;

static bool is(const char *a, const char *b) { return !strcmp(a, b); }

fe_value *fe_layout_error(fe_eval *e, vm_span at, const char *what, const char *why) {
    vm_report(e->comp, D_E0330, at, "%s: %s", what, why ? why : "the arguments do not fit");
    return fe_poison(e);
}

static fe_value *reg_value(fe_eval *e, const layout *l, vm_span at, const char *what, const char *why) {
    if (!l) return fe_layout_error(e, at, what, why);
    fe_value *v = fe_new_value(e, FV_LAYOUT);
    v->lay = l;
    v->span = at;
    return v;
}

static fe_value *shared_value(fe_eval *e, const shared_layout *l, vm_span at, const char *what, const char *why) {
    if (!l) return fe_layout_error(e, at, what, why);
    fe_value *v = fe_new_value(e, FV_SHARED_LAYOUT);
    v->sh = l;
    v->span = at;
    return v;
}

static bool add_int(fe_eval *e, ints *out, const fe_value *v, const char *what, vm_span at) {
    if (v->kind == FV_INT && v->i >= INT32_MIN && v->i <= INT32_MAX && out->n < MAX_INTS) {
        out->at[out->n++] = (int32_t)v->i;
        return true;
    }
    if (v->kind == FV_INT)
        vm_report(e->comp, D_E0330, at, out->n == MAX_INTS ? "'%s' takes at most 8 integers" : "an argument of '%s' is too large", what);
    else
        vm_report(e->comp, fe_is_known(v) ? D_E0304 : D_E0308, at, "'%s' takes integers known at compile time, not %s", what,
                  fe_describe(e, v));
    return false;
}

static bool to_ints(fe_eval *e, ints *out, const fe_value *v, const char *what, vm_span at) {
    if (v->kind != FV_TUPLE && v->kind != FV_LIST) return add_int(e, out, v, what, at);
    for (uint32_t i = 0; i < v->n; i++)
        if (!add_int(e, out, v->item[i], what, at)) return false;
    return true;
}

/// Positional arguments from number `from` on, and names allowed in `names` ("" ends the list).
static bool positional(fe_eval *e, ints *out, const fe_args *args, uint32_t from, const char *what, const char *const *names) {
    for (uint32_t i = from; i < args->n; i++) {
        const fe_arg *a = &args->at[i];
        if (a->name) {
            bool ok = false;
            for (int k = 0; names && names[k]; k++) ok |= is(names[k], a->name);
            if (ok && a->form == FA_VALUE) continue;
            vm_report(e->comp, D_E0309, a->span, "'%s' has no parameter '%s'", what, a->name);
            return false;
        }
        if (a->form != FA_VALUE) {
            vm_report(e->comp, D_E0309, a->span, "'%s' takes integers", what);
            return false;
        }
        if (!to_ints(e, out, a->v, what, a->span)) return false;
    }
    return true;
}

static bool named_ints(fe_eval *e, ints *out, const fe_args *args, const char *name, const char *what) {
    const fe_arg *a = fe_named(args, name);
    return !a || to_ints(e, out, a->v, what, a->span);
}

static const char *const no_names[] = {NULL};

static fe_value *primitive(fe_eval *e, const char *name, const fe_args *args, uint32_t from, vm_span at) {
    static const char *const ranks_name[] = {"ranks", NULL}, *const workers_name[] = {"num_workers", NULL};
    ints s = {0}, r = {0};
    const char *why = NULL;
    const bool spatial = is(name, "spatial"), repl = is(name, "replicated");
    if (!positional(e, &s, args, from, name, spatial ? ranks_name : repl ? workers_name : no_names)) return fe_poison(e);
    if (s.n == 0 && !repl) return fe_layout_error(e, at, name, "at least one extent is needed");
    if (spatial) {
        if (!named_ints(e, &r, args, "ranks", name)) return fe_poison(e);
        if (r.n && r.n != s.n) return fe_layout_error(e, at, name, "'ranks' needs one number a dimension");
        return reg_value(e, layout_spatial(e->arena, s.n, s.at, r.n ? r.at : NULL, &why), at, name, why);
    }
    if (repl) {
        if (!named_ints(e, &r, args, "num_workers", name)) return fe_poison(e);
        if (r.n != 1) return fe_layout_error(e, at, name, "'num_workers' is missing");
        return reg_value(e, layout_replicated(e->arena, s.n, s.at, r.at[0], &why), at, name, why);
    }
    const layout *l = is(name, "local")          ? layout_local(e->arena, s.n, s.at, &why)
                      : is(name, "column_local") ? layout_column_local(e->arena, s.n, s.at, &why)
                                                 : layout_column_spatial(e->arena, s.n, s.at, &why);
    return reg_value(e, l, at, name, why);
}

static fe_value *auto_layout(fe_eval *e, const fe_args *args, vm_span at) {
    static const char *const names[] = {"num_threads", "shape", NULL};
    ints p = {0}, t = {0}, s = {0};
    const char *why = NULL, *name = "auto_local_spatial";
    if (!positional(e, &p, args, 0, name, names) || !named_ints(e, &t, args, "num_threads", name) || !named_ints(e, &s, args, "shape", name))
        return fe_poison(e);
    int k = 0;
    if (!t.n && k < p.n) t.at[t.n++] = p.at[k++];
    while (!fe_named(args, "shape") && k < p.n) s.at[s.n++] = p.at[k++];
    if (t.n != 1 || !s.n || k < p.n) return fe_layout_error(e, at, name, "needs num_threads = T and shape = (…)");
    return reg_value(e, layout_auto_local_spatial(e->arena, t.at[0], s.n, s.at, &why), at, name, why);
}

static fe_value *binary(fe_eval *e, const char *name, fe_value *x, fe_value *y, vm_span at) {
    const char *why = NULL;
    if (x->kind == FV_SHARED_LAYOUT && y->kind == FV_SHARED_LAYOUT && is(name, "compose")) {
        if (!x->sh || !y->sh) return fe_layout_error(e, at, name, "a recipe without a shape cannot be composed");
        return shared_value(e, shared_compose(e->arena, x->sh, y->sh, &why), at, name, why);
    }
    if (x->kind != FV_LAYOUT || y->kind != FV_LAYOUT) {
        vm_report(e->comp, D_E0304, at, "'%s' takes two register layouts, not %s and %s", name, fe_describe(e, x), fe_describe(e, y));
        return fe_poison(e);
    }
    const layout *l = is(name, "compose")  ? layout_compose(e->arena, x->lay, y->lay, &why)
                      : is(name, "divide") ? layout_divide(e->arena, x->lay, y->lay, &why)
                      : is(name, "concat") ? layout_concat(e->arena, x->lay, y->lay, &why)
                                           : layout_left_divide(e->arena, x->lay, y->lay, &why);
    return reg_value(e, l, at, name, why);
}

fe_value *fe_layout_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    return binary(e, op == OP_MUL ? "compose" : "divide", x, y, at);
}

static fe_value *shared_recipe(fe_eval *e, const char *name, const fe_args *args, vm_span at) {
    fe_value *v = fe_new_value(e, FV_SHARED_LAYOUT);
    v->span = at;
    if (is(name, "strides")) {
        fe_value *it[MAX_INTS];
        if (args->n == 0 || args->n > MAX_INTS) return fe_layout_error(e, at, name, "needs one stride a dimension");
        for (uint32_t i = 0; i < args->n; i++) {
            const fe_arg *a = &args->at[i];
            if (a->form != FA_VALUE || a->name || (a->v->kind != FV_INT && a->v->kind != FV_RT))
                return fe_layout_error(e, a->span, name, "a stride is an integer");
            it[i] = a->v;
        }
        v->strides = fe_tuple(e, args->n, it);
        return v;
    }
    ints s = {0};
    if (!positional(e, &s, args, 0, name, no_names)) return fe_poison(e);
    if (is(name, "swizzle")) {
        const int32_t w = s.n == 1 ? s.at[0] : 0;
        if (w != 16 && w != 32 && w != 64 && w != 128) return fe_layout_error(e, at, name, "takes 16, 32, 64 or 128 bytes");
        v->swizzle = w;
        return v;
    }
    if (s.n) {
        for (int i = 0; i < s.n; i++)
            if (s.at[i] <= 0) return fe_layout_error(e, at, name, "extents must be positive");
        return shared_value(e, is(name, "row_major") ? shared_row_major(e->arena, s.n, s.at) : shared_column_major(e->arena, s.n, s.at),
                            at, name, NULL);
    }
    v->swizzle = is(name, "row_major") ? 0 : -1;
    return v;
}

/// Functions whose first argument is the layout they change.
static fe_value *changed(fe_eval *e, const char *name, const fe_args *args, vm_span at) {
    static const char *const dims_names[] = {"dims", "keepdims", "dim", NULL}, *const shape_names[] = {"shape", NULL};
    const fe_value *x = args->at[0].v;
    ints d = {0};
    const char *why = NULL;
    vm_arena *a = e->arena;
    const bool shape = is(name, "reshape");
    bool keep = false;
    const fe_arg *k = fe_named(args, "keepdims");
    if (k && k->v->kind == FV_BOOL) keep = k->v->i != 0;
    fe_args rest = *args;
    if (is(name, "reduce") && args->n == 3 && !args->at[2].name && args->at[2].v && args->at[2].v->kind == FV_BOOL) {
        keep = args->at[2].v->i != 0; // reduce(f, dims, keepdims)
        rest.n = 2;
    }
    if (!positional(e, &d, &rest, 1, name, shape ? shape_names : dims_names) ||
        !named_ints(e, &d, args, shape ? "shape" : "dims", name) || (!shape && !named_ints(e, &d, args, "dim", name)))
        return fe_poison(e);
    if (x->kind == FV_SHARED_LAYOUT) {
        if (is(name, "permute") && x->sh && d.n == x->sh->rank) {
            bool seen[MAX_INTS] = {false};
            for (int i = 0; i < d.n; i++) {
                if (d.at[i] < 0 || d.at[i] >= d.n || seen[d.at[i]]) return fe_layout_error(e, at, name, "not a permutation");
                seen[d.at[i]] = true;
            }
            return shared_value(e, shared_permute(a, x->sh, d.at), at, name, NULL);
        }
        return fe_layout_error(e, at, name, "not defined on this shared layout");
    }
    const layout *f = x->lay, *l;
    if (is(name, "reduce")) l = layout_reduce(a, f, d.n, d.at, keep, &why);
    else if (is(name, "permute")) {
        if (d.n != f->rank) return fe_layout_error(e, at, name, "needs one number a dimension");
        l = layout_permute(a, f, d.at, &why);
    } else if (shape) l = layout_reshape(a, f, d.n, d.at, &why);
    else if (is(name, "flatten")) l = layout_flatten(a, f, &why);
    else if (is(name, "squeeze")) l = layout_squeeze(a, f, d.n, d.at, &why);
    else l = layout_unsqueeze(a, f, d.n, d.at, &why);
    return reg_value(e, l, at, name, why);
}

static fe_value *dot(fe_eval *e, const fe_args *args, vm_span at) {
    static const char *const names[] = {"warps", "repeat", "atom", NULL};
    const fe_arg *first = args->n && !args->at[0].name ? &args->at[0] : fe_named(args, "atom");
    if (!first || first->form != FA_VALUE || first->v->kind != FV_ATOM)
        return fe_layout_error(e, at, "mma.dot", "the first argument is an atom such as mma.m16n8k16");
    ints rest = {0}, w = {0}, r = {0};
    if (!positional(e, &rest, args, args->at[0].name ? 0 : 1, "mma.dot", names) || !named_ints(e, &w, args, "warps", "mma.dot") ||
        !named_ints(e, &r, args, "repeat", "mma.dot"))
        return fe_poison(e);
    if (!r.n) {
        r.n = 3;
        r.at[0] = r.at[1] = r.at[2] = 1;
    }
    if (r.n == 2) r.at[r.n++] = 1;
    if (w.n != 2 || r.n != 3 || rest.n) return fe_layout_error(e, at, "mma.dot", "needs warps = (WM, WN) and repeat = (RM, RN, RK)");
    const char *why = NULL;
    const mma_dot *d = mma_dot_make(e->arena, first->v->atom, w.at[0], w.at[1], r.at[0], r.at[1], r.at[2], &why);
    if (!d) return fe_layout_error(e, at, "mma.dot", why);
    fe_value *v = fe_new_value(e, FV_DOT);
    v->dot = d;
    return v;
}

fe_value *fe_layout_builtin(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    const fe_arg *a0 = args->n && args->at[0].form == FA_VALUE && !args->at[0].name ? &args->at[0] : NULL;
    const bool on_layout = a0 && (a0->v->kind == FV_LAYOUT || a0->v->kind == FV_SHARED_LAYOUT);
    static const char *const prims[] = {"local", "spatial", "column_local", "column_spatial", "replicated"};
    for (size_t i = 0; i < sizeof prims / sizeof *prims; i++) {
        if (!is(name, prims[i])) continue;
        if (!on_layout) return primitive(e, name, args, 0, at);
        fe_value *g = primitive(e, name, args, 1, at);
        return g->kind == FV_POISON ? g : binary(e, "compose", a0->v, g, at);
    }
    if (is(name, "auto_local_spatial")) return auto_layout(e, args, at);
    if (is(name, "compose") || is(name, "divide") || is(name, "left_divide") || is(name, "concat")) {
        if (args->n != 2 || !a0 || args->at[1].form != FA_VALUE || args->at[1].name)
            return fe_layout_error(e, at, name, "takes two layouts");
        return binary(e, name, a0->v, args->at[1].v, at);
    }
    if (is(name, "swizzle") || is(name, "strides") || is(name, "row_major") || is(name, "column_major"))
        return shared_recipe(e, name, args, at);
    if (is(name, "mma.dot")) return dot(e, args, at);
    static const char *const changers[] = {"reduce", "permute", "reshape", "flatten", "squeeze", "unsqueeze"};
    for (size_t i = 0; i < sizeof changers / sizeof *changers; i++)
        if (is(name, changers[i])) {
            if (on_layout) return changed(e, name, args, at);
            const bool tile = is(name, "permute") || is(name, "reshape") || is(name, "flatten") || is(name, "squeeze") || is(name, "unsqueeze");
            return tile && e->hooks ? NULL : fe_layout_error(e, at, name, "the first argument is a layout");
        }
    return NULL;
}
