// SPDX-License-Identifier: Apache-2.0
// Declarations, views of shared and global memory, and elements: a[i, j], a[i +: W, ..], x[e] = v.
#include "ir/lower.h"

#include <string.h>

// ---- views --------------------------------------------------------------------------------------

static ir_value *as_i64(lower *l, ir_value *v) {
    int64_t k;
    if (v->type.elem == T_i64) return v;
    if (ir_known(v, &k)) return ir_const_int(&l->b, T_i64, k);
    return ir_emit1(&l->b, I_cast, 1, &v, ir_scalar(T_i64));
}

// Extents of t: static ones into dim, run-time ones as operands appended to ops.
static bool extents(lower *l, const fe_type *t, int64_t *dim, ir_value **ops, uint32_t *n,
                    vm_span at) {
    for (int d = 0; d < t->rank; d++) {
        fe_value *v = t->dim[d];
        if (lw_poison(v)) return false;
        dim[d] = IR_DYN;
        if (v->kind == FV_INT && v->i >= 0 && v->i <= INT32_MAX)
            dim[d] = v->i;
        else if (v->kind == FV_RT) {
            ir_value *x = lw_index(l, v, at);
            if (!x) return false;
            ops[(*n)++] = x;
        } else {
            vm_report(l->c, D_E0358, at, "extent %d is %s, not an integer from 0 to 2147483647", d,
                      fe_describe(l->e, v));
            return false;
        }
    }
    return true;
}

fe_value *lw_global_view(lower *l, ir_value *ptr, const fe_type *t, const char *name, vm_span at) {
    ir_value *ops[1 + 2 * LAYOUT_MAX_RANK] = {ptr};
    uint32_t n = 1;
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (!extents(l, t, dim, ops, &n, at)) return fe_poison(l->e);
    const fe_value *lay = t->layout;
    const fe_value *strides = NULL;
    if (lay && lay->kind == FV_SHARED_LAYOUT && !lay->sh && lay->strides)
        strides = lay->strides;
    else if (lay && !lw_poison(lay)) {
        vm_diag *d = vm_report(l->c, D_E0421, at, "a global tensor takes strides(…) after '@'");
        vm_help(l->c, d, "write '@ strides(ld, 1)', one stride in elements for each dimension");
        return fe_poison(l->e);
    }
    if (strides) {
        if ((int)strides->n != t->rank) {
            vm_report(l->c, D_E0421, at, "%u strides for a tensor of rank %d", strides->n, t->rank);
            return fe_poison(l->e);
        }
        for (uint32_t i = 0; i < strides->n; i++) {
            ir_value *s = lw_index(l, strides->item[i], at);
            if (!s) return fe_poison(l->e);
            ops[n++] = as_i64(l, s);
        }
    }
    ir_value *v =
        ir_emit1(&l->b, I_global_view, n, ops, ir_view_type(IS_GLOBAL, t->elem, t->rank, dim));
    if (strides) ir_set_int(v->def, AT_strided, 1);
    v->name = name;
    ir_set_str(v->def, AT_name, name);
    return lw_rt(l, v);
}

static bool is_dense(const ir_value *v) {
    return v->def &&
           (v->def->inst == I_alloc_shared || v->def->inst == I_global_view ||
            v->def->inst == I_reshape) &&
           !ir_int(v->def, AT_strided, 0);
}

bool lw_has_range(const ir_value *view) {
    for (const ir_value *v = view; v->def && v->def->nops; v = v->def->ops[0]) {
        const ir_attr *mode = v->def->inst == I_slice ? ir_get(v->def, AT_mode) : NULL;
        for (uint32_t d = 0; mode && d < mode->n; d++)
            if (mode->v[d] == 3) return true;
    }
    return false;
}

fe_value *lw_permute(lower *l, ir_value *x, const int32_t *perm, vm_span at) {
    const int rank = x->type.rank;
    unsigned seen = 0;
    x = lw_landed(l, x);
    ir_type t = x->type;
    t.reg = NULL;
    t.shared = NULL;
    for (int d = 0; d < rank; d++) {
        if (perm[d] < 0 || perm[d] >= rank || (seen >> perm[d] & 1)) {
            vm_report(l->c, D_E0411, at, "the dimensions of permute are 0 to %d, each once",
                      rank - 1);
            return fe_poison(l->e);
        }
        seen |= 1u << perm[d];
        t.dim[d] = x->type.dim[perm[d]];
    }
    ir_value *r = lw_emit(l, I_permute, 1, &x, t);
    ir_set_ints(r->def, AT_dims, (uint32_t)rank, perm);
    r->name = x->name;
    return lw_rt(l, r);
}

fe_value *lw_reshape(lower *l, ir_value *x, int rank, const int64_t *dim, vm_span at) {
    const int64_t n = ir_elems(&x->type);
    int64_t m = 1;
    for (int d = 0; d < rank; d++) m = dim[d] < 0 ? -1 : m * dim[d];
    if (n < 0 || n != m) {
        vm_report(l->c, D_E0411, at,
                  "reshape keeps the number of elements: %s has %lld, the new shape %lld",
                  ir_type_text(l->a, &x->type), (long long)n, (long long)m);
        return fe_poison(l->e);
    }
    for (int d = 0; d < rank; d++) {
        if (dim[d] >= 1 && dim[d] <= INT32_MAX) continue;
        vm_report(l->c, D_E0411, at, "extents are positive");
        return fe_poison(l->e);
    }
    if (x->type.space != IS_REG && !is_dense(x)) {
        vm_diag *d =
            vm_report(l->c, D_E0411, at,
                      "only whole dense tensors can be reshaped, this view is a part of one");
        vm_help(l->c, d, "reshape first, slice then");
        return fe_poison(l->e);
    }
    x = lw_landed(l, x);
    ir_type t = x->type;
    t.reg = NULL;
    t.shared = NULL;
    t.rank = (uint8_t)rank;
    memcpy(t.dim, dim, sizeof *dim * (size_t)rank);
    ir_value *r = lw_emit(l, I_reshape, 1, &x, t);
    r->name = x->name;
    return lw_rt(l, r);
}

// ---- indexing -----------------------------------------------------------------------------------

// a[lo..hi step d]: the dimension is cut into rows of d, of which one column is taken.
static ir_value *every(lower *l, ir_value *view, const fe_args *args, fe_args *now, vm_span at) {
    const int rank = view->type.rank;
    int64_t dim[LAYOUT_MAX_RANK + 1];
    int steps = 0, n = 0;
    for (uint32_t i = 0; i < args->n; i++) steps += args->at[i].step != NULL;
    if (!steps) return view;
    now->at = vm_newn(l->a, fe_arg, args->n + (uint32_t)steps);
    now->n = 0;
    for (int d = 0; d < rank; d++) {
        const fe_arg *a = d < (int)args->n ? &args->at[d] : NULL;
        if (n >= LAYOUT_MAX_RANK) {
            vm_report(l->c, D_E0411, at, "at most %d dimensions", LAYOUT_MAX_RANK);
            return NULL;
        }
        if (!a || !a->step) {
            dim[n++] = view->type.dim[d];
            if (a) now->at[now->n++] = *a;
            continue;
        }
        const bool known = a->v->kind == FV_INT && a->v2->kind == FV_INT && a->step->kind == FV_INT;
        const int64_t by = known ? a->step->i : 0, size = view->type.dim[d];
        if (!known || by < 1 || a->v->i < 0 || a->v2->i <= a->v->i || a->v2->i > size || size % by ||
            n + 2 > LAYOUT_MAX_RANK) {
            vm_diag *g = vm_report(
                l->c, D_E0422, a->span,
                "'lo..hi step d' needs constants within the dimension, and d must divide its extent");
            vm_note(l->c, g, "the view is %s", ir_type_text(l->a, &view->type));
            vm_help(l->c, g, "copy the part into a shared tensor of constant extents first");
            return NULL;
        }
        dim[n++] = size / by;
        dim[n++] = by;
        now->at[now->n++] =
            (fe_arg){.form = FA_WINDOW, .v = fe_int(l->e, a->v->i / by),
                     .v2 = fe_int(l->e, (a->v2->i - a->v->i + by - 1) / by), .span = a->span};
        now->at[now->n++] =
            (fe_arg){.form = FA_VALUE, .v = fe_int(l->e, a->v->i % by), .span = a->span};
    }
    const fe_value *r = lw_reshape(l, view, n, dim, at);
    return lw_poison(r) ? NULL : r->rt;
}

static bool is_range(const fe_arg *a) {
    return a->form == FA_RANGE || (a->form == FA_VALUE && a->v->kind == FV_RANGE && a->v->n >= 2);
}

static bool all_scalars(const fe_args *args, int rank) {
    if ((int)args->n != rank) return false;
    for (uint32_t i = 0; i < args->n; i++)
        if (args->at[i].form != FA_VALUE || is_range(&args->at[i])) return false;
    return true;
}

// The view and its scalar indices as operands; 0 after a report.
static uint32_t element(lower *l, ir_value *view, const fe_args *args, ir_value **ops) {
    ops[0] = view;
    for (uint32_t i = 0; i < args->n; i++) {
        ops[i + 1] = lw_index(l, args->at[i].v, args->at[i].span);
        if (!ops[i + 1]) return 0;
    }
    return args->n + 1;
}

static ir_value *slice(lower *l, ir_value *view, const fe_args *args, vm_span at) {
    fe_args now = *args;
    if (args->n <= view->type.rank && !(view = every(l, view, args, &now, at))) return NULL;
    args = &now;
    const ir_type *vt = &view->type;
    if (args->n > vt->rank) {
        vm_report(l->c, D_E0401, at, "%u indices for a tensor of rank %d", args->n, vt->rank);
        return NULL;
    }
    ir_type t = *vt;
    t.shared = NULL;
    t.rank = 0;
    ir_value *ops[1 + 2 * LAYOUT_MAX_RANK] = {view};
    int32_t mode[LAYOUT_MAX_RANK];
    uint32_t n = 1;
    for (uint32_t d = 0; d < vt->rank; d++) {
        const fe_arg *a = d < args->n ? &args->at[d] : NULL;
        mode[d] = 2;
        if (!a || a->form == FA_ALL)
            t.dim[t.rank++] = vt->dim[d];
        else if (is_range(a)) {
            const fe_value *lo = a->form == FA_RANGE ? a->v : a->v->item[0];
            const fe_value *hi = a->form == FA_RANGE ? a->v2 : a->v->item[1];
            mode[d] = 3;
            t.dim[t.rank++] = IR_DYN;
            ops[n] = lw_index(l, lo, a->span);
            if (!ops[n] || !(ops[n + 1] = lw_index(l, hi, a->span))) return NULL;
            n += 2;
        } else if (a->form == FA_WINDOW) {
            if (lw_poison(a->v2)) return NULL;
            if (a->v2->kind != FV_INT || a->v2->i < 1 || a->v2->i > INT32_MAX) {
                vm_diag *dg = vm_report(l->c, D_E0422, a->span,
                                        "the width of a window is a positive constant");
                vm_help(l->c, dg, "a[lo..hi] has a run-time extent (copy and simt only)");
                return NULL;
            }
            mode[d] = 1;
            t.dim[t.rank++] = a->v2->i;
            if (!(ops[n++] = lw_index(l, a->v, a->span))) return NULL;
        } else {
            mode[d] = 0;
            if (!(ops[n++] = lw_index(l, a->v, a->span))) return NULL;
        }
    }
    ir_value *r = ir_emit1(&l->b, I_slice, n, ops, t);
    ir_set_ints(r->def, AT_mode, vt->rank, mode);
    r->name = view->name;
    return r;
}

// In a lambda: a captured tile at the lambda's own indices, stretched over the other dimensions.
static fe_value *lifted_read(lower *l, ir_value *x, const fe_args *args, vm_span at) {
    int32_t dims[LAYOUT_MAX_RANK] = {0};
    bool ok = args->n == x->type.rank, identity = args->n == l->lift->shape.rank;
    for (uint32_t i = 0; ok && i < args->n; i++) {
        const fe_value *v = args->at[i].form == FA_VALUE ? args->at[i].v : NULL;
        int k = 0;
        while (k < l->lift->shape.rank && !(v && v->kind == FV_RT && v->rt == l->lift->index[k]))
            k++;
        ok = k < l->lift->shape.rank;
        dims[i] = k;
        identity = identity && k == (int)i;
        for (uint32_t j = 0; ok && j < i; j++) ok = dims[j] < k;
    }
    if (!ok) {
        vm_diag *d =
            vm_report(l->c, D_E0423, at,
                      "in a lambda a tile is read only at the lambda's own indices, in order");
        vm_help(l->c, d, "for other elements go through shared memory, or use simt");
        return fe_poison(l->e);
    }
    for (uint32_t i = 0; i < args->n; i++) {
        if (x->type.dim[i] == l->lift->shape.dim[dims[i]]) continue;
        vm_report(l->c, D_E0356, at,
                  "extent %lld of this tile is not that of the mapped tile, %lld",
                  (long long)x->type.dim[i], (long long)l->lift->shape.dim[dims[i]]);
        return fe_poison(l->e);
    }
    if (identity) {
        if (x->tmp == l->lift) return lw_rt(l, x);
        // An operation of its own carries the mark, so that the tile itself stays a tile.
        return lw_rt(
            l, lw_emit(l, I_reshape, 1, &x, ir_reg(x->type.elem, x->type.rank, x->type.dim, NULL)));
    }
    ir_value *r = lw_emit(l, I_broadcast, 1, &x,
                          ir_reg(x->type.elem, l->lift->shape.rank, l->lift->shape.dim, NULL));
    ir_set_ints(r->def, AT_dims, args->n, dims);
    return lw_rt(l, r);
}

static bool bad_args(lower *l, const fe_args *args) {
    (void)l;
    for (uint32_t i = 0; i < args->n; i++)
        if ((args->at[i].v && lw_poison(args->at[i].v)) ||
            (args->at[i].v2 && lw_poison(args->at[i].v2)))
            return true;
    return false;
}

static fe_value *no_element(lower *l, vm_span at) {
    vm_diag *d = vm_report(l->c, D_E0433, at, "elements of a register tile have no address");
    vm_help(l->c, d, "reach them in 'simt t { }' or with x.map(|i, e| …)");
    return fe_poison(l->e);
}

fe_value *lw_index_hook(fe_eval *e, fe_value *x, fe_args *args, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x) || bad_args(l, args)) return fe_poison(e);
    if (x->kind == FV_STRUCT) return lw_struct_index(l, x, args, at);
    if (x->kind == FV_LIST || x->kind == FV_TUPLE) {
        vm_report(l->c, D_E0358, at, "the index of a list must be known at compile time");
        return fe_poison(e);
    }
    if (x->kind != FV_RT || x->rt->type.space == IS_SCALAR) {
        vm_report(l->c, D_E0401, at, "%s cannot be indexed", lw_text(l, x));
        return fe_poison(e);
    }
    ir_value *ops[2 + LAYOUT_MAX_RANK], *v = x->rt;
    const ir_type *t = &v->type;
    if (t->space == IS_BARRIER) {
        if (args->n != 1 || t->rank != 1 || !all_scalars(args, 1)) {
            vm_report(l->c, D_E0513, at, "an array of barriers takes one index");
            return fe_poison(e);
        }
        if (!element(l, v, args, ops)) return fe_poison(e);
        ir_type one = *t;
        one.rank = 0;
        return lw_rt(l, ir_emit1(&l->b, I_barrier_at, 2, ops, one));
    }
    if (t->space == IS_REG) {
        if (l->lift) return lifted_read(l, v, args, at);
        if (!l->simt) return no_element(l, at);
        if (!all_scalars(args, t->rank)) {
            vm_report(l->c, D_E0401, at, "an element of %s takes %d scalar indices", lw_text(l, x),
                      t->rank);
            return fe_poison(e);
        }
        const uint32_t n = element(l, v, args, ops);
        return n ? lw_rt(l, ir_emit1(&l->b, I_elem_get, n, ops, ir_scalar(t->elem))) : fe_poison(e);
    }
    if (all_scalars(args, t->rank)) {
        const uint32_t n = element(l, v, args, ops);
        return n ? lw_rt(l, ir_emit1(&l->b, I_load_elem, n, ops, ir_scalar(t->elem)))
                 : fe_poison(e);
    }
    ir_value *s = slice(l, v, args, at);
    return s ? lw_rt(l, s) : fe_poison(e);
}

void lw_store_index(fe_eval *e, fe_value *x, fe_binding *holder, fe_args *args, fe_value *v,
                    vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x) || lw_poison(v) || bad_args(l, args)) return;
    ir_value *ops[2 + LAYOUT_MAX_RANK];
    if (lw_in_space(x, IS_REG)) {
        if (!l->simt || l->lift) {
            no_element(l, at);
            return;
        }
        if (!holder || !all_scalars(args, x->rt->type.rank)) {
            vm_report(l->c, D_E0401, at, "an element of a tile variable takes %d scalar indices",
                      x->rt->type.rank);
            return;
        }
        if (!holder->is_var) {
            vm_report(l->c, D_E0353, at, "'%s' is not a 'var'", holder->name);
            return;
        }
        const uint32_t n = element(l, x->rt, args, ops);
        if (!n || !(ops[n] = lw_scalar(l, v, x->rt->type.elem, at))) return;
        ir_value *r = ir_emit1(&l->b, I_elem_set, n + 1, ops, x->rt->type);
        r->pinned = x->rt->pinned;
        r->why = x->rt->why;
        r->reason = x->rt->reason;
        r->name = holder->name;
        holder->value = lw_rt(l, r);
        return;
    }
    if (!lw_is_view(x)) {
        vm_report(l->c, D_E0401, at, "%s cannot be indexed", lw_text(l, x));
        return;
    }
    if (all_scalars(args, x->rt->type.rank)) {
        const uint32_t n = element(l, x->rt, args, ops);
        if (n && (ops[n] = lw_scalar(l, v, x->rt->type.elem, at)))
            ir_emit(&l->b, I_store_elem, n + 1, ops, 0, NULL);
        return;
    }
    ir_value *part = slice(l, x->rt, args, at);
    if (!part) return;
    fe_arg two[2] = {{.form = FA_VALUE, .v = lw_rt(l, part), .span = at},
                     {.form = FA_VALUE, .v = v, .span = at}};
    lw_call(e, "store", &(fe_args){2, two}, at);
}

// ---- declarations -------------------------------------------------------------------------------

static const char *index_text(lower *l, int rank, const int32_t *shape, int64_t linear) {
    const char *text = "";
    for (int d = rank - 1; d >= 0; linear /= shape[d--])
        text = vm_format(l->a, "%lld%s%s", (long long)(linear % shape[d]), d < rank - 1 ? ", " : "", text);
    return vm_format(l->a, "[%s]", text);
}

static fe_value *alloc_shared(lower *l, const char *name, const fe_type *t, fe_value *init,
                              vm_span at) {
    ir_value *ops[LAYOUT_MAX_RANK];
    uint32_t n = 0;
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (l->simt) {
        vm_report(l->c, D_E0430, at,
                  "shared memory belongs to the group: declare '%s' outside simt", name);
        return fe_poison(l->e);
    }
    if (!extents(l, t, dim, ops, &n, at)) return fe_poison(l->e);
    for (int d = 0; d < t->rank; d++)
        if (dim[d] == 0) {
            vm_report(l->c, D_E0358, at, "extent %d of '%s' must be positive", d, name);
            return fe_poison(l->e);
        }
    ir_type ty = ir_view_type(IS_SHARED, t->elem, t->rank, dim);
    const fe_value *lay = t->layout;
    if (lay && lay->kind == FV_SHARED_LAYOUT) {
        int32_t shape[LAYOUT_MAX_RANK];
        const char *why = NULL;
        bool fits = n == 0;
        for (int d = 0; d < t->rank; d++) {
            fits = fits && dim[d] <= INT32_MAX;
            shape[d] = (int32_t)dim[d];
        }
        if (!fits)
            why = "its extents are not known at compile time";
        else if (lay->sh) {
            ty.shared = lay->sh;
            bool same = lay->sh->rank == t->rank;
            for (int d = 0; same && d < t->rank; d++) same = lay->sh->shape[d] == shape[d];
            if (!same) why = "the layout has another shape";
        } else if (lay->swizzle == -1 || (!lay->swizzle && !lay->strides)) { // column or row major
            int64_t s[LAYOUT_MAX_RANK], walk = 1;
            for (int k = 0; k < t->rank; k++) {
                const int d = lay->swizzle ? k : t->rank - 1 - k;
                s[d] = walk;
                walk *= dim[d];
            }
            ty.shared = shared_strides(l->a, t->rank, shape, s);
        } else if (lay->swizzle)
            ty.shared =
                shared_swizzle(l->a, t->rank, shape, vm_mem_bits(t->elem), lay->swizzle, &why);
        else if (lay->strides && (int)lay->strides->n == t->rank) {
            int64_t s[LAYOUT_MAX_RANK];
            for (int d = 0; d < t->rank; d++) {
                if (lay->strides->item[d]->kind != FV_INT)
                    why = "its strides are not known at compile time";
                s[d] = lay->strides->item[d]->i;
            }
            if (!why) ty.shared = shared_strides(l->a, t->rank, shape, s);
        }
        int64_t one, other;
        if (!why && ty.shared && !shared_injective(l->a, ty.shared, &one, &other)) {
            why = one < 0 ? "elements share their places"
                          : vm_format(l->a, "elements %s and %s share their place", index_text(l, t->rank, shape, one),
                                      index_text(l, t->rank, shape, other));
        }
        if (why || !ty.shared) {
            vm_diag *d = vm_report(l->c, D_E0405, at, "'%s' cannot have this shared layout: %s",
                                   name, why ? why : "the layout does not fit the shape");
            vm_note(l->c, d, "the tensor is %s", ir_type_text(l->a, &ty));
            return fe_poison(l->e);
        }
    } else if (lay && !lw_poison(lay)) {
        vm_report(l->c, D_E0421, at,
                  "shared memory takes a shared layout after '@', such as swizzle(128)");
        return fe_poison(l->e);
    }
    if (init) {
        vm_diag *d = vm_report(l->c, D_E0353, at, "shared memory has no initial value");
        vm_help(l->c, d, "store(%s, full(…)) fills it", name);
    }
    ir_value *v = ir_emit1(&l->b, I_alloc_shared, n, ops, ty);
    v->name = name;
    ir_set_str(v->def, AT_name, name);
    return lw_rt(l, v);
}

static fe_value *alloc_barrier(lower *l, const char *name, const fe_type *t, const fe_value *init,
                               vm_span at) {
    int64_t n = 1;
    if (t->rank > 1 || (t->rank == 1 && !lw_static_dims(l, t, &n, at)) || n < 1) {
        vm_report(l->c, D_E0513, at,
                  "barriers come as 'shared barrier[n]' with a constant n of at least 1");
        return fe_poison(l->e);
    }
    if (init && lw_poison(init)) return fe_poison(l->e);
    if (init && (init->kind != FV_INT || init->i < 1)) {
        vm_report(l->c, D_E0513, at,
                  "a barrier is initialised with its arrivals a phase, a constant of at least 1");
        return fe_poison(l->e);
    }
    ir_type ty = {.space = IS_BARRIER, .elem = T_u64, .rank = 1, .dim = {n}};
    ir_value *v = ir_emit1(&l->b, I_alloc_barrier, 0, NULL, ty);
    ir_set_int(v->def, AT_extent, n);
    ir_set_int(v->def, AT_count, init ? init->i : 1);
    v->name = name;
    return lw_rt(l, v);
}

static fe_value *declare_tile(lower *l, const char *name, const fe_type *t, fe_value *init,
                              vm_span at) {
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (!lw_static_dims(l, t, dim, at)) return fe_poison(l->e);
    ir_type ty = ir_reg(t->elem, t->rank, dim, NULL);
    ty.inflight = t->inflight;
    ir_value *v;
    if (!init)
        v = ir_emit1(&l->b, I_poison, 0, NULL, ty);
    else if (lw_number(init) || lw_in_space(init, IS_SCALAR)) {
        ir_value *x = lw_scalar(l, init, t->elem, at);
        if (!x) return fe_poison(l->e);
        v = ir_emit1(&l->b, I_full, 1, &x, ty);
    } else {
        fe_value *r = lw_coerce(l->e, init, t, at);
        if (!lw_poison(r) && !r->rt->name) r->rt->name = name;
        return r;
    }
    v->name = name;
    if (!t->layout || lw_poison(t->layout)) return lw_rt(l, v);
    if (t->layout->kind != FV_LAYOUT) {
        vm_report(l->c, D_E0421, at, "a register tile takes a register layout after '@'");
        return fe_poison(l->e);
    }
    if (!lw_layout_fits(l, t->layout->lay, &ty, at)) return fe_poison(l->e);
    v->type.reg = t->layout->lay;
    v->pinned = true;
    v->why = WHY_PINNED;
    v->reason = "written with @";
    return lw_rt(l, v);
}

fe_value *lw_declare(fe_eval *e, const char *name, const fe_type *type, fe_value *init, bool is_var,
                     ast *attrs, vm_span at) {
    lower *l = lw(e);
    (void)attrs;
    l->b.span = at;
    if (init && lw_poison(init)) return fe_poison(e);
    if (type && type->kind == FT_BARRIER && !(init && init->kind == FV_RT))
        return alloc_barrier(l, name, type, init, at);
    if (type && type->kind == FT_TENSOR) {
        if (type->space == FS_TMEM) {
            vm_report(l->c, D_E0353, at, "'%s': no supported target has tensor memory", name);
            return fe_poison(e);
        }
        if (type->space == FS_SHARED && !(init && init->kind == FV_RT))
            return alloc_shared(l, name, type, init, at);
        if (type->space == FS_REG || (type->space == FS_NONE && !(init && lw_is_view(init))))
            return declare_tile(l, name, type, init, at);
    }
    if (type && type->kind == FT_STRUCT && type->space == FS_SHARED && !init)
        return lw_struct_shared(l, type, name, at);
    if (type && type->kind == FT_SCALAR && !init)
        return lw_rt(l, ir_emit1(&l->b, I_poison, 0, NULL, ir_scalar(type->elem)));
    if (!init) {
        vm_report(l->c, D_E0353, at, "'%s' needs an initial value", name);
        return fe_poison(e);
    }
    fe_value *v = lw_coerce(e, init, type, at);
    if (is_var && !type && lw_number(v) && !v->typed) {
        v = vm_dup(l->a, v, sizeof *v);
        v->typed = true;
        v->dtype = lw_default_type(v);
    }
    if (v->kind == FV_RT && !v->rt->name) v->rt->name = name;
    return v;
}

// ---- members ------------------------------------------------------------------------------------

fe_value *lw_member(fe_eval *e, fe_value *x, const char *name, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    if (lw_poison(x)) return x;
    if (x->kind == FV_SPECIAL && x->s) {
        if (strcmp(x->s, "threads") == 0) return fe_int(e, l->threads);
        if (strcmp(x->s, "warps") == 0) return fe_int(e, l->threads / 32);
        const bool block = strcmp(x->s, "block") == 0, grid = strcmp(x->s, "grid") == 0;
        if ((block || grid) && strlen(name) == 1 && *name >= 'x' && *name <= 'z') {
            ir_value **slot = &(block ? l->block_id : l->grid_dim)[*name - 'x'];
            if (l->host) {
                vm_report(l->c, D_E0359, at, "'%s' has no meaning before the launch", x->s);
                return fe_poison(e);
            }
            if (!*slot) { // once, at the very start
                ir_builder b = {l->f, l->f->body, l->f->body->first, at};
                *slot = ir_emit1(&b, block ? I_block_id : I_grid_dim, 0, NULL, ir_scalar(T_i32));
                ir_set_int((*slot)->def, AT_dim, *name - 'x');
            }
            return lw_rt(l, *slot);
        }
        if (strcmp(x->s, "cluster") == 0 && strcmp(name, "rank") == 0)
            return lw_rt(l, ir_emit1(&l->b, I_cluster_rank, 0, NULL, ir_scalar(T_i32)));
        vm_report(l->c, D_E0364, at, "'%s' has no member '%s'", x->s, name);
        return fe_poison(e);
    }
    if (x->kind == FV_RT && strcmp(name, "t") == 0 && x->rt->type.rank >= 2) {
        int32_t perm[LAYOUT_MAX_RANK];
        const int r = x->rt->type.rank;
        for (int d = 0; d < r; d++) perm[d] = d;
        perm[r - 2] = r - 1;
        perm[r - 1] = r - 2;
        return lw_permute(l, x->rt, perm, at);
    }
    vm_report(l->c, D_E0364, at, "%s has no member '%s'", lw_text(l, x), name);
    return fe_poison(e);
}
