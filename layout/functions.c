// SPDX-License-Identifier: Apache-2.0
// The functions of layout expressions: they take arguments apart and call the algebra. A new one is
// one function and one row of the table at the end.
#include "layout/parse.h"

#include <string.h>

const char *const layout_kind_names[] = {
    "a number",        "a truth value", "a list",  "a register layout",
    "a shared layout", "mma",           "an atom", "a dot"};

bool layout_parse_fail(parser *p, size_t at, const char *fmt, ...) {
    if (p->failed) return false;
    va_list ap;
    va_start(ap, fmt);
    p->why = vm_vformat(p->a, fmt, ap);
    va_end(ap);
    p->where = at;
    p->failed = true;
    return false;
}

// ---- arguments ----------------------------------------------------------------------------------

// The argument named `key`, else the pos-th positional one; NULL if absent (an error if required).
static const value *take(parser *p, args *as, int pos, const char *key, bool required) {
    arg *found = NULL;
    int k = 0;
    for (int i = 0; i < as->n; i++) {
        arg *x = &as->arg[i];
        if (x->key ? strcmp(x->key, key) == 0 : k++ == pos) {
            if (found || x->used) {
                layout_parse_fail(p, x->v.at, "%s: argument '%s' is given twice", as->name, key);
                return NULL;
            }
            found = x;
        }
    }
    if (found) {
        found->used = true;
        return &found->v;
    }
    if (required) layout_parse_fail(p, as->at, "%s: argument '%s' is missing", as->name, key);
    return NULL;
}

static bool expect(parser *p, const args *as, const value *v, enum kind kind, const char *key) {
    if (v->kind == kind) return true;
    return layout_parse_fail(p, v->at, "%s: '%s' must be %s, not %s", as->name, key,
                             layout_kind_names[kind], layout_kind_names[v->kind]);
}

static bool to_int32(parser *p, int64_t x, size_t at, int32_t *out) {
    if (x > INT32_MAX || x < -INT32_MAX)
        return layout_parse_fail(p, at, "%lld does not fit 32 bits", (long long)x);
    *out = (int32_t)x;
    return true;
}

static bool list_of(parser *p, const args *as, const value *v, const char *key, int cap,
                    int32_t *out, int *n) {
    if (v->kind == V_INT) { // a single number is a list of one
        *n = 1;
        return to_int32(p, v->i, v->at, out);
    }
    if (!expect(p, as, v, V_LIST, key)) return false;
    if (v->n > cap)
        return layout_parse_fail(p, v->at, "%s: '%s' has more than %d entries", as->name, key, cap);
    for (int i = 0; i < v->n; i++)
        if (!to_int32(p, v->list[i], v->at, &out[i])) return false;
    *n = v->n;
    return true;
}

static bool take_list(parser *p, args *as, int pos, const char *key, int cap, int32_t *out,
                      int *n) {
    const value *v = take(p, as, pos, key, true);
    return v && list_of(p, as, v, key, cap, out, n);
}

static bool take_int(parser *p, args *as, int pos, const char *key, int32_t *out) {
    const value *v = take(p, as, pos, key, true);
    return v && expect(p, as, v, V_INT, key) && to_int32(p, v->i, v->at, out);
}

static const layout *take_reg(parser *p, args *as, int pos, const char *key) {
    const value *v = take(p, as, pos, key, true);
    return v && expect(p, as, v, V_REG, key) ? v->reg : NULL;
}

static const shared_layout *take_shared(parser *p, args *as, int pos, const char *key) {
    const value *v = take(p, as, pos, key, true);
    return v && expect(p, as, v, V_SHARED, key) ? v->sh : NULL;
}

// A shape written local(2, 3), local([2, 3]), local((2, 3)) or local(shape = [2, 3]).
static bool take_shape(parser *p, args *as, int32_t *shape, int *rank) {
    int n = 0;
    const value *list = NULL;
    for (int i = 0; i < as->n; i++) {
        arg *x = &as->arg[i];
        if (x->key ? strcmp(x->key, "shape") == 0 : x->v.kind == V_LIST) {
            if (list || n)
                return layout_parse_fail(p, x->v.at, "%s: the shape is given twice", as->name);
            list = &x->v;
            x->used = true;
        } else if (!x->key) {
            if (list)
                return layout_parse_fail(p, x->v.at, "%s: the shape is given twice", as->name);
            if (!expect(p, as, &x->v, V_INT, "shape")) return false;
            if (n == LAYOUT_MAX_RANK)
                return layout_parse_fail(p, x->v.at, "%s: the rank is more than %d", as->name,
                                         LAYOUT_MAX_RANK);
            if (!to_int32(p, x->v.i, x->v.at, &shape[n++])) return false;
            x->used = true;
        }
    }
    *rank = n;
    return !list || list_of(p, as, list, "shape", LAYOUT_MAX_RANK, shape, rank);
}

// ---- functions ----------------------------------------------------------------------------------

// `why` is read only here: the call that makes f writes it.
static bool give(parser *p, const args *as, const layout *f, const char *const *why, value *out) {
    if (!f) return layout_parse_fail(p, as->at, "%s", *why);
    out->kind = V_REG;
    out->reg = f;
    return true;
}

static bool give_shared(parser *p, const args *as, const shared_layout *f, const char *const *why,
                        value *out) {
    if (!f)
        return layout_parse_fail(
            p, as->at, "%s",
            why ? *why
                : vm_format(p->a, "%s: the extents must be positive and not too many", as->name));
    out->kind = V_SHARED;
    out->sh = f;
    return true;
}

#define SHAPE_FUNCTION(name)                                                                       \
    static bool fn_##name(parser *p, args *as, value *out) {                                       \
        int32_t shape[LAYOUT_MAX_RANK];                                                            \
        int rank;                                                                                  \
        const char *why = NULL;                                                                    \
        if (!take_shape(p, as, shape, &rank)) return false;                                        \
        return give(p, as, layout_##name(p->a, rank, shape, &why), &why, out);                     \
    }
SHAPE_FUNCTION(local)
SHAPE_FUNCTION(column_local)
SHAPE_FUNCTION(column_spatial)
#undef SHAPE_FUNCTION

static bool fn_spatial(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK], ranks[LAYOUT_MAX_RANK];
    int rank, n = 0;
    const char *why = NULL;
    const value *v = take(p, as, -1, "ranks", false);
    if (v && !list_of(p, as, v, "ranks", LAYOUT_MAX_RANK, ranks, &n)) return false;
    if (!take_shape(p, as, shape, &rank)) return false;
    if (v && n != rank)
        return layout_parse_fail(p, v->at, "spatial: %d ranks for a shape of %d dimensions", n,
                                 rank);
    return give(p, as, layout_spatial(p->a, rank, shape, v ? ranks : NULL, &why), &why, out);
}

static bool fn_replicated(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK], workers = 0;
    int rank;
    const char *why = NULL;
    if (!take_int(p, as, -1, "num_workers", &workers) || !take_shape(p, as, shape, &rank))
        return false;
    return give(p, as, layout_replicated(p->a, rank, shape, workers, &why), &why, out);
}

static bool fn_auto_local_spatial(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK], threads = 0;
    int rank;
    const char *why = NULL;
    if (!take_int(p, as, 0, "num_threads", &threads) ||
        !take_list(p, as, 1, "shape", LAYOUT_MAX_RANK, shape, &rank))
        return false;
    return give(p, as, layout_auto_local_spatial(p->a, threads, rank, shape, &why), &why, out);
}

// A flat mode list as the number of modes of each dimension: modes are taken until they multiply to
// the extent. What cannot be taken so is left for layout_make to refuse.
static bool split_modes(parser *p, const args *as, int rank, const int32_t *shape, int n,
                        const int32_t *modes, uint8_t *counts) {
    int m = 0;
    for (int d = 0; d < rank; d++) {
        int64_t have = 1;
        counts[d] = 0;
        for (; m < n && (have < shape[d] || d == rank - 1); m++) {
            if (modes[m] < 1)
                return layout_parse_fail(p, as->at, "%s: mode extent %d is not positive", as->name,
                                         modes[m]);
            have *= modes[m];
            counts[d]++;
            if (have > shape[d]) break;
        }
        if (have != shape[d])
            return layout_parse_fail(
                p, as->at, "%s: the modes of dimension %d do not multiply to its extent %d",
                as->name, d, shape[d]);
    }
    if (m < n)
        return layout_parse_fail(p, as->at, "%s: there are more modes than the shape needs",
                                 as->name);
    return true;
}

static bool fn_layout(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK], modes[LAYOUT_MAX_MODES], spatial[LAYOUT_MAX_MODES],
        local[LAYOUT_MAX_MODES];
    uint8_t counts[LAYOUT_MAX_RANK];
    int rank, n, ns, nl;
    const char *why = NULL;
    if (!take_list(p, as, 0, "shape", LAYOUT_MAX_RANK, shape, &rank) ||
        !take_list(p, as, 1, "modes", LAYOUT_MAX_MODES, modes, &n) ||
        !take_list(p, as, 2, "spatial", LAYOUT_MAX_MODES, spatial, &ns) ||
        !take_list(p, as, 3, "local", LAYOUT_MAX_MODES, local, &nl) ||
        !split_modes(p, as, rank, shape, n, modes, counts))
        return false;
    return give(p, as, layout_make(p->a, rank, shape, counts, modes, ns, spatial, nl, local, &why),
                &why, out);
}

bool layout_values_compose(parser *p, const args *as, const value *f, const value *g, value *out) {
    const char *why = NULL;
    if (f->kind == V_REG && g->kind == V_REG)
        return give(p, as, layout_compose(p->a, f->reg, g->reg, &why), &why, out);
    if (f->kind == V_SHARED && g->kind == V_SHARED)
        return give_shared(p, as, shared_compose(p->a, f->sh, g->sh, &why), &why, out);
    return layout_parse_fail(p, as->at, "%s: %s and %s do not compose", as->name,
                             layout_kind_names[f->kind], layout_kind_names[g->kind]);
}

static bool fn_compose(parser *p, args *as, value *out) {
    const value *f = take(p, as, 0, "f", true), *g = take(p, as, 1, "g", true);
    return f && g && layout_values_compose(p, as, f, g, out);
}

bool layout_values_divide(parser *p, const args *as, const value *h, const value *g, value *out) {
    if (!expect(p, as, h, V_REG, "h") || !expect(p, as, g, V_REG, "g")) return false;
    const char *why = NULL;
    return give(p, as, layout_divide(p->a, h->reg, g->reg, &why), &why, out);
}

static bool fn_divide(parser *p, args *as, value *out) {
    const value *h = take(p, as, 0, "h", true), *g = h ? take(p, as, 1, "g", true) : NULL;
    return g && layout_values_divide(p, as, h, g, out);
}

static bool fn_left_divide(parser *p, args *as, value *out) {
    const char *why = NULL;
    const layout *h = take_reg(p, as, 0, "h"), *f = h ? take_reg(p, as, 1, "f") : NULL;
    return f && give(p, as, layout_left_divide(p->a, h, f, &why), &why, out);
}

static bool fn_concat(parser *p, args *as, value *out) {
    const char *why = NULL;
    const layout *f = take_reg(p, as, 0, "f"), *g = f ? take_reg(p, as, 1, "g") : NULL;
    return g && give(p, as, layout_concat(p->a, f, g, &why), &why, out);
}

static bool fn_reduce(parser *p, args *as, value *out) {
    int32_t dims[LAYOUT_MAX_RANK];
    int n;
    const char *why = NULL;
    const layout *f = take_reg(p, as, 0, "f");
    if (!f || !take_list(p, as, 1, "dims", LAYOUT_MAX_RANK, dims, &n)) return false;
    const value *keep = take(p, as, 2, "keepdims", false);
    if (keep && !expect(p, as, keep, V_BOOL, "keepdims")) return false;
    return give(p, as, layout_reduce(p->a, f, n, dims, keep && keep->i, &why), &why, out);
}

static bool fn_permute(parser *p, args *as, value *out) {
    int32_t perm[LAYOUT_MAX_RANK];
    int n;
    const char *why = NULL;
    const value *f = take(p, as, 0, "f", true);
    if (!f || !take_list(p, as, 1, "dims", LAYOUT_MAX_RANK, perm, &n)) return false;
    if (f->kind != V_SHARED && !expect(p, as, f, V_REG, "f")) return false;
    const int rank = f->kind == V_REG ? f->reg->rank : f->sh->rank;
    if (n != rank)
        return layout_parse_fail(p, as->at, "permute: %d dimensions given for rank %d", n, rank);
    if (f->kind == V_REG) return give(p, as, layout_permute(p->a, f->reg, perm, &why), &why, out);
    if (!layout_positions(p->a, "permute", rank, perm, rank, (int32_t[LAYOUT_MAX_RANK]){0}, &why))
        return give_shared(p, as, NULL, &why, out);
    return give_shared(p, as, shared_permute(p->a, f->sh, perm), &why, out);
}

static bool fn_reshape(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK];
    int rank;
    const char *why = NULL;
    const value *f = take(p, as, 0, "f", true);
    if (!f || !take_list(p, as, 1, "shape", LAYOUT_MAX_RANK, shape, &rank)) return false;
    if (f->kind == V_SHARED)
        return give_shared(p, as, shared_reshape(p->a, f->sh, rank, shape, &why), &why, out);
    if (!expect(p, as, f, V_REG, "f")) return false;
    return give(p, as, layout_reshape(p->a, f->reg, rank, shape, &why), &why, out);
}

static bool fn_flatten(parser *p, args *as, value *out) {
    const char *why = NULL;
    const layout *f = take_reg(p, as, 0, "f");
    return f && give(p, as, layout_flatten(p->a, f, &why), &why, out);
}

static bool fn_squeeze(parser *p, args *as, value *out) {
    int32_t dims[LAYOUT_MAX_RANK];
    int n = 0;
    const char *why = NULL;
    const layout *f = take_reg(p, as, 0, "f");
    if (!f) return false;
    const value *v = take(p, as, 1, "dims", false);
    if (v && !list_of(p, as, v, "dims", LAYOUT_MAX_RANK, dims, &n)) return false;
    for (int d = 0; !v && d < f->rank; d++)
        if (f->shape[d] == 1) dims[n++] = d;
    return give(p, as, layout_squeeze(p->a, f, n, dims, &why), &why, out);
}

static bool fn_unsqueeze(parser *p, args *as, value *out) {
    int32_t dims[LAYOUT_MAX_RANK];
    int n;
    const char *why = NULL;
    const layout *f = take_reg(p, as, 0, "f");
    if (!f || !take_list(p, as, 1, "dims", LAYOUT_MAX_RANK, dims, &n)) return false;
    return give(p, as, layout_unsqueeze(p->a, f, n, dims, &why), &why, out);
}

static bool fn_row_major(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK];
    int rank;
    if (!take_shape(p, as, shape, &rank)) return false;
    return give_shared(p, as, shared_row_major(p->a, rank, shape), NULL, out);
}

static bool fn_column_major(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK];
    int rank;
    if (!take_shape(p, as, shape, &rank)) return false;
    return give_shared(p, as, shared_column_major(p->a, rank, shape), NULL, out);
}

static bool fn_strides(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK];
    int rank;
    if (!take_list(p, as, 0, "shape", LAYOUT_MAX_RANK, shape, &rank)) return false;
    const value *v = take(p, as, 1, "strides", true);
    if (!v || !expect(p, as, v, V_LIST, "strides")) return false;
    if (v->n != rank)
        return layout_parse_fail(p, v->at, "strides: %d strides for %d dimensions", v->n, rank);
    const char *why = NULL;
    return give_shared(p, as, shared_make(p->a, rank, shape, rank, shape, v->list, 0, 0, 0, &why),
                       &why, out);
}

static bool fn_shared_layout(parser *p, args *as, value *out) {
    int32_t shape[LAYOUT_MAX_RANK], modes[LAYOUT_MAX_MODES], sw[3] = {0};
    int rank, n, nsw = 3;
    const char *why = NULL;
    if (!take_list(p, as, 0, "shape", LAYOUT_MAX_RANK, shape, &rank) ||
        !take_list(p, as, 1, "modes", LAYOUT_MAX_MODES, modes, &n))
        return false;
    const value *v = take(p, as, 2, "strides", true);
    if (!v || !expect(p, as, v, V_LIST, "strides")) return false;
    if (v->n != n)
        return layout_parse_fail(p, v->at, "shared_layout: %d strides for %d modes", v->n, n);
    const value *s = take(p, as, 3, "swizzle", false);
    if (s && !list_of(p, as, s, "swizzle", 3, sw, &nsw)) return false;
    if (nsw != 3)
        return layout_parse_fail(p, s->at, "shared_layout: 'swizzle' must be [base, bits, shift]");
    return give_shared(p, as,
                       shared_make(p->a, rank, shape, n, modes, v->list, sw[0], sw[1], sw[2], &why),
                       &why, out);
}

static bool fn_swizzle(parser *p, args *as, value *out) {
    int32_t width = 0, bits = 0, shape[LAYOUT_MAX_RANK];
    int rank;
    const char *why = NULL;
    if (!take_int(p, as, 0, "width", &width) ||
        !take_list(p, as, 1, "shape", LAYOUT_MAX_RANK, shape, &rank) ||
        !take_int(p, as, 2, "bits", &bits))
        return false;
    if (bits < 1) return layout_parse_fail(p, as->at, "swizzle: elements of %d bits", bits);
    return give_shared(p, as, shared_swizzle(p->a, rank, shape, (unsigned)bits, width, &why), &why,
                       out);
}

static bool fn_shared_row_major_swizzle(parser *p, args *as, value *out) {
    int32_t bytes = 0, shape[LAYOUT_MAX_RANK];
    int rank;
    const char *why = NULL;
    if (!take_list(p, as, 0, "shape", LAYOUT_MAX_RANK, shape, &rank) ||
        !take_int(p, as, 1, "nbytes", &bytes))
        return false;
    if (bytes < 1 || bytes > 16)
        return layout_parse_fail(p, as->at, "%s: elements of %d bytes", as->name, bytes);
    return give_shared(p, as, shared_swizzle(p->a, rank, shape, (unsigned)bytes * 8, 128, &why),
                       &why, out);
}

static bool fn_shared_prepend(parser *p, args *as, value *out) {
    int32_t extent = 0;
    const shared_layout *f = take_shared(p, as, 0, "f");
    if (!f || !take_int(p, as, 1, "extent", &extent)) return false;
    return give_shared(p, as, shared_prepend(p->a, f, extent), NULL, out);
}

bool layout_call_dot(parser *p, args *as, value *out) {
    const value *atom = take(p, as, 0, "atom", true);
    if (!atom || !expect(p, as, atom, V_ATOM, "atom")) return false;
    int32_t w[2] = {1, 1}, r[3] = {1, 1, 1};
    int nw = 2, nr = 3;
    const value *warps = take(p, as, 1, "warps", false), *repeat = take(p, as, 2, "repeat", false);
    if (warps && !list_of(p, as, warps, "warps", 2, w, &nw)) return false;
    if (repeat && !list_of(p, as, repeat, "repeat", 3, r, &nr)) return false;
    if (nw != 2) return layout_parse_fail(p, warps->at, "mma.dot: 'warps' must be (WM, WN)");
    if (nr != 3) return layout_parse_fail(p, repeat->at, "mma.dot: 'repeat' must be (RM, RN, RK)");
    const char *why = NULL;
    out->kind = V_DOT;
    out->dot = mma_dot_make(p->a, atom->atom, w[0], w[1], r[0], r[1], r[2], &why);
    return out->dot || layout_parse_fail(p, as->at, "%s", why);
}

const layout_function layout_functions[LAYOUT_FUNCTIONS] = {
    {"local", fn_local, true},
    {"spatial", fn_spatial, true},
    {"column_local", fn_column_local, true},
    {"column_spatial", fn_column_spatial, true},
    {"replicated", fn_replicated, true},
    {"auto_local_spatial", fn_auto_local_spatial, true},
    {"layout", fn_layout, true},
    {"compose", fn_compose, false},
    {"divide", fn_divide, false},
    {"left_divide", fn_left_divide, false},
    {"concat", fn_concat, false},
    {"reduce", fn_reduce, false},
    {"permute", fn_permute, false},
    {"reshape", fn_reshape, false},
    {"flatten", fn_flatten, false},
    {"squeeze", fn_squeeze, false},
    {"unsqueeze", fn_unsqueeze, false},
    {"row_major", fn_row_major, true},
    {"column_major", fn_column_major, true},
    {"strides", fn_strides, true},
    {"swizzle", fn_swizzle, true},
    {"shared_row_major", fn_row_major, true},
    {"shared_column_major", fn_column_major, true},
    {"shared_row_major_swizzle", fn_shared_row_major_swizzle, true},
    {"shared_layout", fn_shared_layout, true},
    {"shared_compose", fn_compose, false},
    {"shared_permute", fn_permute, false},
    {"shared_reshape", fn_reshape, false},
    {"shared_prepend", fn_shared_prepend, false},
    {"prepend", fn_shared_prepend, false},
};

bool layout_call(parser *p, layout_run_function *f, args *as, value *out) {
    if (!f(p, as, out)) return false;
    for (int i = 0; i < as->n; i++) {
        const arg *x = &as->arg[i];
        if (x->used) continue;
        if (x->key)
            return layout_parse_fail(p, x->v.at, "%s has no argument '%s'", as->name, x->key);
        return layout_parse_fail(p, x->v.at, "%s: too many arguments", as->name);
    }
    return true;
}
