// SPDX-License-Identifier: Apache-2.0
// The algebra of register layouts: composition and its two inverses, concatenation, reduction and
// its inverse, and the changes of shape. Each works on the digit lists of reg.c, and none looks at
// tables, so all are cheap and hold for extents that are no powers of two.
#include "layout/internal.h"

#include <string.h>

enum { MAX_DIGITS = LAYOUT_MAX_MODES * 2 };

static int max_int(int x, int y) {
    return x > y ? x : y;
}

// Shape of f with 1 put in front up to `rank`.
static void padded(const layout *f, int rank, int32_t *shape) {
    const int pad = rank - f->rank;
    for (int d = 0; d < rank; d++) shape[d] = d < pad ? 1 : f->shape[d - pad];
}

static int padded_digits(const layout *f, int rank, layout_digit *out) {
    const int n = layout_digits(f, out);
    for (int i = 0; i < n; i++)
        if (out[i].dim >= 0) out[i].dim += rank - f->rank;
    return n;
}

const layout *layout_compose(vm_arena *a, const layout *f, const layout *g, layout_why why) {
    const int rank = max_int(f->rank, g->rank);
    int32_t shape[LAYOUT_MAX_RANK], inner[LAYOUT_MAX_RANK];
    padded(f, rank, shape);
    padded(g, rank, inner);
    for (int d = 0; d < rank; d++) {
        const int64_t s = (int64_t)shape[d] * inner[d];
        if (s > (int64_t)LAYOUT_MAX_SLOTS * LAYOUT_MAX_THREADS)
            return layout_fail(a, why, "%s * %s has more than %d threads or %d slots",
                               layout_text(a, f), layout_text(a, g), LAYOUT_MAX_THREADS,
                               LAYOUT_MAX_SLOTS);
        shape[d] = (int32_t)s;
    }
    layout_digit digits[2 * MAX_DIGITS];
    int n = padded_digits(f, rank, digits);
    for (int i = 0; i < n; i++)
        if (digits[i].dim >= 0) digits[i].stride *= inner[digits[i].dim];
    n += padded_digits(g, rank, digits + n);
    return layout_from_digits(a, rank, shape, n, digits, why);
}

// ---- division -----------------------------------------------------------------------------------

static const char *digit_text(vm_arena *a, const layout_digit *x) {
    if (x->dim < 0) return vm_format(a, "%d replicas", x->extent);
    return vm_format(a, "extent %d at stride %d of dimension %d", x->extent, x->stride, x->dim);
}

// Both divisions: h over q, where q stands on the right (suffix) or on the left (prefix) of h.
static const layout *divide(vm_arena *a, const layout *h, const layout *q, bool right,
                            layout_why why) {
    const char *const side = right ? "divide" : "left-divide";
    const int rank = max_int(h->rank, q->rank);
    int32_t hs[LAYOUT_MAX_RANK], qs[LAYOUT_MAX_RANK], shape[LAYOUT_MAX_RANK];
    padded(h, rank, hs);
    padded(q, rank, qs);
    for (int d = 0; d < rank; d++) {
        if (hs[d] % qs[d])
            return layout_fail(
                a, why, "%s does not %s %s: dimension %d has extent %d, not a multiple of %d",
                layout_text(a, q), side, layout_text(a, h), d, hs[d], qs[d]);
        shape[d] = hs[d] / qs[d];
    }
    layout_digit x[MAX_DIGITS], y[MAX_DIGITS];
    const int nx = padded_digits(h, rank, x), ny = padded_digits(q, rank, y);
    // In f*g the digits of f stand above those of g: strides of the left factor grow by shape(g).
    if (!right)
        for (int i = 0; i < ny; i++)
            if (y[i].dim >= 0) y[i].stride *= shape[y[i].dim];

    for (int k = 0; k < 2; k++) {
        const bool spatial = k == 0;
        const int x0 = spatial ? 0 : h->nspatial, x1 = spatial ? h->nspatial : nx;
        const int y0 = spatial ? 0 : q->nspatial, y1 = spatial ? q->nspatial : ny;
        const int step = right ? -1 : 1;
        int i = right ? x1 - 1 : x0;
        for (int j = right ? y1 - 1 : y0; j >= y0 && j < y1; j += step, i += step) {
            const char *const what = spatial ? "thread" : "slot";
            if (i < x0 || i >= x1)
                return layout_fail(
                    a, why, "%s does not %s %s: it has more %s digits (%s is left over)",
                    layout_text(a, q), side, layout_text(a, h), what, digit_text(a, &y[j]));
            const bool aligned = x[i].dim == y[j].dim &&
                                 (right ? x[i].stride == y[j].stride
                                        : x[i].stride * x[i].extent == y[j].stride * y[j].extent);
            if (!aligned || x[i].extent % y[j].extent)
                return layout_fail(a, why,
                                   "%s does not %s %s: the %s digit with %s does not match %s",
                                   layout_text(a, q), side, layout_text(a, h), what,
                                   digit_text(a, &y[j]), digit_text(a, &x[i]));
            // The digit of h may be longer, then a part of it remains; only the last may.
            x[i].extent /= y[j].extent;
            if (right) x[i].stride *= y[j].dim < 0 ? 1 : y[j].extent;
            if (x[i].extent > 1 && j + step >= y0 && j + step < y1)
                return layout_fail(a, why,
                                   "%s does not %s %s: the %s digit with %s does not match %s",
                                   layout_text(a, q), side, layout_text(a, h), what,
                                   digit_text(a, &y[j + step]), digit_text(a, &x[i]));
        }
    }
    if (right)
        for (int i = 0; i < nx; i++)
            if (x[i].dim >= 0 && x[i].extent > 1) {
                if (x[i].stride % qs[x[i].dim])
                    return layout_fail(a, why, "%s does not %s %s: %s lies inside it",
                                       layout_text(a, q), side, layout_text(a, h),
                                       digit_text(a, &x[i]));
                x[i].stride /= qs[x[i].dim];
            }
    const char *inner = NULL;
    const layout *f = layout_from_digits(a, rank, shape, nx, x, &inner);
    if (!f)
        return layout_fail(a, why, "%s does not %s %s: %s", layout_text(a, q), side,
                           layout_text(a, h), inner);
    return f;
}

const layout *layout_divide(vm_arena *a, const layout *h, const layout *g, layout_why why) {
    return divide(a, h, g, true, why);
}

const layout *layout_left_divide(vm_arena *a, const layout *h, const layout *f, layout_why why) {
    return divide(a, h, f, false, why);
}

// ---- concatenation, reduction -------------------------------------------------------------------

const layout *layout_concat(vm_arena *a, const layout *f, const layout *g, layout_why why) {
    const int rank = f->rank + g->rank;
    if (rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "concat: rank %d is more than %d", rank, LAYOUT_MAX_RANK);
    int32_t shape[LAYOUT_MAX_RANK];
    for (int d = 0; d < rank; d++) shape[d] = d < f->rank ? f->shape[d] : g->shape[d - f->rank];
    layout_digit digits[2 * MAX_DIGITS];
    int n = layout_digits(f, digits);
    n += padded_digits(g, rank, digits + n);
    return layout_from_digits(a, rank, shape, n, digits, why);
}

const layout *layout_reduce(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                            bool keepdims, layout_why why) {
    int32_t pos[LAYOUT_MAX_RANK];
    if (!layout_positions(a, "reduce", ndims, dims, f->rank, pos, why)) return NULL;
    int32_t to[LAYOUT_MAX_RANK] = {0}, shape[LAYOUT_MAX_RANK];
    for (int i = 0; i < ndims; i++) to[pos[i]] = -1;
    int rank = 0;
    for (int d = 0; d < f->rank; d++) {
        if (to[d] < 0) {
            if (keepdims) shape[rank++] = 1;
        } else {
            to[d] = rank;
            shape[rank++] = f->shape[d];
        }
    }
    layout_digit digits[MAX_DIGITS];
    const int n = layout_digits(f, digits);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        layout_digit x = digits[i];
        if (x.dim >= 0) x.dim = to[x.dim];
        if (x.dim < 0) {
            if (!x.spatial) continue;
            x.stride = 0;
        }
        digits[kept++] = x;
    }
    return layout_from_digits(a, rank, shape, kept, digits, why);
}

const layout *layout_stretch(vm_arena *a, const layout *f, int rank, const int32_t *shape,
                             const int32_t *dims, layout_why why) {
    if (rank < f->rank || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "a tile of rank %d cannot be broadcast to rank %d", f->rank,
                           rank);
    int32_t to[LAYOUT_MAX_RANK], from[LAYOUT_MAX_RANK], out[LAYOUT_MAX_RANK];
    for (int k = 0; k < f->rank; k++) to[k] = rank - f->rank + k; // new dimensions in front
    if (dims && !layout_positions(a, "broadcast", f->rank, dims, rank, to, why)) return NULL;
    for (int d = 0; d < rank; d++) from[d] = -1;
    for (int k = 0; k < f->rank; k++) from[to[k]] = k;
    for (int d = 0; d < rank; d++) {
        if (shape[d] < 1)
            return layout_fail(a, why, "broadcast: extent %d of dimension %d is not positive",
                               shape[d], d);
        if (from[d] < 0) {
            out[d] = shape[d];
            continue;
        }
        const int32_t s = f->shape[from[d]];
        if (s != 1 && s < shape[d])
            return layout_fail(a, why, "broadcast: dimension %d has extent %d, not 1 or %d", d, s,
                               shape[d]);
        out[d] = s == 1 ? shape[d] : s; // a layout larger than its tile stays as large
    }
    layout_digit digits[MAX_DIGITS + LAYOUT_MAX_RANK], old[MAX_DIGITS];
    const int nold = layout_digits(f, old);
    int n = 0;
    for (int d = 0; d < rank; d++) {
        if (from[d] < 0 || (f->shape[from[d]] == 1 && out[d] > 1))
            digits[n++] = (layout_digit){d, out[d], 1, 0, false};
    }
    for (int i = 0; i < nold; i++) {
        if (old[i].dim >= 0) old[i].dim = to[old[i].dim];
        digits[n++] = old[i];
    }
    return layout_from_digits(a, rank, out, n, digits, why);
}

// ---- changes of shape ---------------------------------------------------------------------------

const layout *layout_permute(vm_arena *a, const layout *f, const int32_t *perm, layout_why why) {
    int32_t pos[LAYOUT_MAX_RANK], to[LAYOUT_MAX_RANK] = {0}, shape[LAYOUT_MAX_RANK];
    if (!layout_positions(a, "permute", f->rank, perm, f->rank, pos, why)) return NULL;
    for (int d = 0; d < f->rank; d++) {
        shape[d] = f->shape[pos[d]];
        to[pos[d]] = d;
    }
    layout_digit digits[MAX_DIGITS];
    const int n = layout_digits(f, digits);
    for (int i = 0; i < n; i++)
        if (digits[i].dim >= 0) digits[i].dim = to[digits[i].dim];
    return layout_from_digits(a, f->rank, shape, n, digits, why);
}

const layout *layout_reshape(vm_arena *a, const layout *f, int rank, const int32_t *shape,
                             layout_why why) {
    if (rank < 0 || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "reshape: rank %d is not in 0..%d", rank, LAYOUT_MAX_RANK);
    int64_t was = 1, is = 1;
    for (int d = 0; d < f->rank; d++) was *= f->shape[d];
    for (int d = 0; d < rank; d++) {
        if (shape[d] < 1)
            return layout_fail(a, why, "reshape: extent %d of dimension %d is not positive",
                               shape[d], d);
        is *= shape[d];
        if (is > was) break;
    }
    if (was != is)
        return layout_fail(a, why, "reshape: %s and %s have different numbers of elements",
                           layout_list(a, f->rank, f->shape), layout_list(a, rank, shape));
    int32_t weight[LAYOUT_MAX_RANK], bound[LAYOUT_MAX_RANK]; // row-major weights, old and new
    int32_t w = 1;
    for (int d = f->rank - 1; d >= 0; d--) {
        weight[d] = w;
        w *= f->shape[d];
    }
    w = 1;
    for (int d = rank - 1; d >= 0; d--) {
        bound[d] = w;
        w *= shape[d];
    }
    // First the digits of the linear index, merged across the old dimensions.
    layout_digit old[MAX_DIGITS], digits[MAX_DIGITS * 2];
    int nold = layout_digits(f, old);
    for (int i = 0; i < nold; i++)
        if (old[i].dim >= 0) {
            old[i].stride *= weight[old[i].dim];
            old[i].dim = 0;
        }
    const int32_t all = (int32_t)was;
    const layout *flat = layout_from_digits(a, 1, &all, nold, old, why);
    if (!flat) return NULL;
    nold = layout_digits(flat, old);
    int n = 0;
    for (int i = 0; i < nold; i++) {
        if (old[i].dim < 0) {
            digits[n++] = old[i];
            continue;
        }
        // Then each, which spans [low, low * extent) of the linear index, cut at the new
        // dimensions.
        const int32_t low = old[i].stride;
        int32_t top = low * old[i].extent;
        for (int d = 0; d < rank && top > low; d++) {
            if (bound[d] >= top) continue;
            const int32_t cut = bound[d] > low ? bound[d] : low;
            if (top % cut || cut % low || cut % bound[d])
                return layout_fail(
                    a, why, "reshape: %s cuts a digit of %s, extent %d at stride %d, in two",
                    layout_list(a, rank, shape), layout_text(a, f), old[i].extent, low);
            if (n == MAX_DIGITS * 2) return layout_fail(a, why, "reshape: too many modes");
            digits[n++] = (layout_digit){d, top / cut, cut / bound[d], 0, old[i].spatial};
            top = cut;
        }
    }
    return layout_from_digits(a, rank, shape, n, digits, why);
}

const layout *layout_flatten(vm_arena *a, const layout *f, layout_why why) {
    int32_t n = 1;
    for (int d = 0; d < f->rank; d++) n *= f->shape[d];
    return layout_reshape(a, f, 1, &n, why);
}

const layout *layout_squeeze(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                             layout_why why) {
    int32_t pos[LAYOUT_MAX_RANK], shape[LAYOUT_MAX_RANK];
    if (!layout_positions(a, "squeeze", ndims, dims, f->rank, pos, why)) return NULL;
    bool drop[LAYOUT_MAX_RANK] = {false};
    for (int i = 0; i < ndims; i++) {
        if (f->shape[pos[i]] != 1)
            return layout_fail(a, why, "squeeze: dimension %d has extent %d, not 1", pos[i],
                               f->shape[pos[i]]);
        drop[pos[i]] = true;
    }
    int rank = 0;
    for (int d = 0; d < f->rank; d++)
        if (!drop[d]) shape[rank++] = f->shape[d];
    return layout_reshape(a, f, rank, shape, why);
}

const layout *layout_unsqueeze(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                               layout_why why) {
    const int rank = f->rank + max_int(ndims, 0);
    if (ndims < 0 || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "unsqueeze: rank %d is more than %d", rank, LAYOUT_MAX_RANK);
    int32_t pos[LAYOUT_MAX_RANK], shape[LAYOUT_MAX_RANK] = {0};
    if (!layout_positions(a, "unsqueeze", ndims, dims, rank, pos, why)) return NULL;
    for (int i = 0; i < ndims; i++) shape[pos[i]] = 1;
    for (int d = 0, k = 0; d < rank; d++)
        if (!shape[d]) shape[d] = f->shape[k++];
    return layout_reshape(a, f, rank, shape, why);
}
