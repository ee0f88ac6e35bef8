// SPDX-License-Identifier: Apache-2.0
// Register layouts: their one canonical form, the primitive constructors, and the questions that
// inference, interpreter and code generation ask. The operations of the algebra are in algebra.c.
//
// Internally everything works on digits: a layout is a list of thread digits and a list of slot
// digits, each of which adds digit * stride to one dimension. Composition, division and the rest
// are then list operations, and the canonical form (no extent 1, neighbours merged) is unique: two
// layouts are the same map exactly when they are the same bytes.
#include "layout/internal.h"

#include <string.h>

enum { MAX_DIGITS = LAYOUT_MAX_MODES * 2 };

void *layout_fail(vm_arena *a, layout_why why, const char *fmt, ...) {
    if (why) {
        va_list ap;
        va_start(ap, fmt);
        *why = vm_vformat(a, fmt, ap);
        va_end(ap);
    }
    return NULL;
}

const char *layout_list(vm_arena *a, int n, const int32_t *v) {
    vm_text t = {.arena = a};
    vm_put(&t, "[");
    for (int i = 0; i < n; i++) vm_put(&t, "%s%d", i ? ", " : "", v[i]);
    vm_put(&t, "]");
    return vm_text_end(&t);
}

bool layout_positions(vm_arena *a, const char *what, int n, const int32_t *in, int rank,
                      int32_t *out, layout_why why) {
    unsigned seen = 0;
    if (n < 0 || n > rank) {
        layout_fail(a, why, "%s: %d dimensions given, but the rank is %d", what, n, rank);
        return false;
    }
    for (int i = 0; i < n; i++) {
        const int32_t d = in[i] < 0 ? in[i] + rank : in[i];
        if (in[i] < -rank || d >= rank) {
            layout_fail(a, why, "%s: there is no dimension %d in rank %d", what, in[i], rank);
            return false;
        }
        if (seen & 1u << d) {
            layout_fail(a, why, "%s: dimension %d is given twice", what, in[i]);
            return false;
        }
        seen |= 1u << d;
        out[i] = d;
    }
    return true;
}

int64_t layout_gcd(int64_t a, int64_t b) {
    while (b) {
        const int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

// ---- canonical form -----------------------------------------------------------------------------

static bool shape_ok(vm_arena *a, const char *what, int rank, const int32_t *shape,
                     layout_why why) {
    if (rank < 0 || rank > LAYOUT_MAX_RANK) {
        layout_fail(a, why, "%s: rank %d is not in 0..%d", what, rank, LAYOUT_MAX_RANK);
        return false;
    }
    int64_t n = 1;
    for (int d = 0; d < rank; d++) {
        if (shape[d] < 1) {
            layout_fail(a, why, "%s: extent %d of dimension %d is not positive", what, shape[d], d);
            return false;
        }
        n *= shape[d];
        if (n > (int64_t)LAYOUT_MAX_SLOTS * LAYOUT_MAX_THREADS) {
            layout_fail(a, why, "%s: shape %s has more than %d threads times %d slots", what,
                        layout_list(a, rank, shape), LAYOUT_MAX_THREADS, LAYOUT_MAX_SLOTS);
            return false;
        }
    }
    return true;
}

// Appends to a canonical digit list; false when it would overflow.
static bool append(layout_digit *list, int *n, layout_digit x) {
    if (x.extent == 1) return true;
    if (*n) {
        layout_digit *last = &list[*n - 1];
        const int64_t low = (int64_t)x.stride * x.extent;
        if (last->dim == x.dim && (x.dim < 0 || last->stride == low)) {
            if ((int64_t)last->extent * x.extent > INT32_MAX) return false;
            last->extent *= x.extent;
            last->stride = x.stride;
            return true;
        }
    }
    if (*n == LAYOUT_MAX_MODES) return false;
    list[(*n)++] = x;
    return true;
}

const layout *layout_from_digits(vm_arena *a, int rank, const int32_t *shape, int n,
                                 const layout_digit *digits, layout_why why) {
    if (!shape_ok(a, "layout", rank, shape, why)) return NULL;
    layout_digit list[2][LAYOUT_MAX_MODES]; // 0 spatial, 1 local
    int len[2] = {0, 0};
    bool fits = true;
    for (int i = 0; i < n && fits; i++) {
        const int k = digits[i].spatial ? 0 : 1;
        if (digits[i].extent < 1)
            return layout_fail(a, why, "mode extent %d is not positive", digits[i].extent);
        if (digits[i].dim >= rank || (digits[i].dim < 0 && k == 1))
            return layout_fail(a, why, "a mode belongs to no dimension");
        fits = append(list[k], &len[k], digits[i]);
    }
    int64_t count[2] = {1, 1};
    static const int limit[2] = {LAYOUT_MAX_THREADS, LAYOUT_MAX_SLOTS};
    for (int k = 0; k < 2 && fits; k++)
        for (int i = 0; i < len[k]; i++) {
            count[k] *= list[k][i].extent;
            if (count[k] > limit[k])
                return layout_fail(a, why, "the layout of shape %s has more than %d %s",
                                   layout_list(a, rank, shape), limit[k], k ? "slots" : "threads");
        }
    if (!fits) return layout_fail(a, why, "the layout has more than %d modes", LAYOUT_MAX_MODES);

    layout *f = vm_new(a, layout);
    f->rank = (uint8_t)rank;
    f->nspatial = (uint8_t)len[0];
    f->nlocal = (uint8_t)len[1];
    f->threads = (int32_t)count[0];
    f->slots = (int32_t)count[1];
    for (int d = 0; d < rank; d++) {
        // The modes of a dimension in row-major order are its digits by falling stride.
        f->shape[d] = shape[d];
        int64_t rest = shape[d];
        while (rest > 1) {
            int k = 0, i = 0;
            bool found = false;
            for (k = 0; k < 2; k++) {
                for (i = 0; i < len[k]; i++)
                    if (list[k][i].dim == d &&
                        (int64_t)list[k][i].stride * list[k][i].extent == rest) {
                        found = true;
                        break;
                    }
                if (found) break;
            }
            if (!found || f->nmodes == LAYOUT_MAX_MODES)
                return layout_fail(a, why,
                                   "the modes of dimension %d do not multiply to its extent %d", d,
                                   shape[d]);
            rest = list[k][i].stride;
            f->mode_shape[f->nmodes] = list[k][i].extent;
            (k ? f->local : f->spatial)[i] = f->nmodes++;
            f->dim_modes[d]++;
        }
    }
    int owned = 0;
    for (int i = 0; i < len[0]; i++) {
        if (list[0][i].dim < 0)
            f->spatial[i] = -list[0][i].extent;
        else
            owned++;
    }
    if (owned + len[1] != f->nmodes)
        return layout_fail(a, why, "the modes do not multiply to the shape %s",
                           layout_list(a, rank, shape));
    return f;
}

int layout_digits(const layout *f, layout_digit *out) {
    int32_t dim[LAYOUT_MAX_MODES], stride[LAYOUT_MAX_MODES];
    for (int d = 0, m = 0; d < f->rank; d++) {
        int32_t s = 1;
        for (int j = f->dim_modes[d] - 1; j >= 0; j--) {
            dim[m + j] = d;
            stride[m + j] = s;
            s *= f->mode_shape[m + j];
        }
        m += f->dim_modes[d];
    }
    int n = f->nspatial + f->nlocal;
    int32_t div = 1;
    for (int i = f->nspatial - 1; i >= 0; i--) {
        const int32_t m = f->spatial[i];
        out[i] = m < 0 ? (layout_digit){-1, -m, 0, div, true}
                       : (layout_digit){dim[m], f->mode_shape[m], stride[m], div, true};
        div *= out[i].extent;
    }
    div = 1;
    for (int i = f->nlocal - 1; i >= 0; i--) {
        const int32_t m = f->local[i];
        out[f->nspatial + i] = (layout_digit){dim[m], f->mode_shape[m], stride[m], div, false};
        div *= f->mode_shape[m];
    }
    return n;
}

const layout *layout_make(vm_arena *a, int rank, const int32_t *shape, const uint8_t *dim_modes,
                          const int32_t *mode_shape, int nspatial, const int32_t *spatial,
                          int nlocal, const int32_t *local, layout_why why) {
    if (!shape_ok(a, "layout", rank, shape, why)) return NULL;
    int32_t dim[LAYOUT_MAX_MODES], stride[LAYOUT_MAX_MODES];
    int nmodes = 0;
    for (int d = 0; d < rank; d++) {
        if (nmodes + dim_modes[d] > LAYOUT_MAX_MODES)
            return layout_fail(a, why, "layout: more than %d modes", LAYOUT_MAX_MODES);
        int64_t s = 1;
        for (int j = nmodes + dim_modes[d] - 1; j >= nmodes; j--) {
            if (mode_shape[j] < 1)
                return layout_fail(a, why, "layout: extent %d of mode %d is not positive",
                                   mode_shape[j], j);
            dim[j] = d;
            stride[j] = (int32_t)s;
            s *= mode_shape[j];
            if (s > shape[d]) break;
        }
        if (s != shape[d])
            return layout_fail(a, why,
                               "layout: the modes of dimension %d do not multiply to its extent %d",
                               d, shape[d]);
        nmodes += dim_modes[d];
    }
    if (nspatial < 0 || nlocal < 0 || nspatial > LAYOUT_MAX_MODES || nlocal > LAYOUT_MAX_MODES)
        return layout_fail(a, why, "layout: more than %d spatial or local modes", LAYOUT_MAX_MODES);
    layout_digit digits[MAX_DIGITS];
    uint32_t seen = 0;
    int n = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < (k ? nlocal : nspatial); i++) {
            const int32_t m = k ? local[i] : spatial[i];
            if (m < 0 && k == 0) {
                if (m < -LAYOUT_MAX_THREADS)
                    return layout_fail(a, why, "layout: more than %d replicas", LAYOUT_MAX_THREADS);
                digits[n++] = (layout_digit){-1, -m, 0, 0, true};
                continue;
            }
            if (m < 0 || m >= nmodes)
                return layout_fail(a, why, "layout: there is no mode %d, the layout has %d modes",
                                   m, nmodes);
            if (seen & 1u << m) return layout_fail(a, why, "layout: mode %d is given twice", m);
            seen |= 1u << m;
            digits[n++] = (layout_digit){dim[m], mode_shape[m], stride[m], 0, k == 0};
        }
    for (int m = 0; m < nmodes; m++)
        if (mode_shape[m] > 1 && !(seen & 1u << m))
            return layout_fail(a, why, "layout: mode %d is neither spatial nor local", m);
    return layout_from_digits(a, rank, shape, n, digits, why);
}

// ---- constructors -------------------------------------------------------------------------------

// order[j] is the dimension of significance j, NULL row-major.
static const layout *primitive(vm_arena *a, const char *name, bool spatial, int rank,
                               const int32_t *shape, const int32_t *order, int replicas,
                               layout_why why) {
    if (!shape_ok(a, name, rank, shape, why)) return NULL;
    layout_digit digits[LAYOUT_MAX_RANK + 1];
    int n = 0;
    if (replicas != 1) digits[n++] = (layout_digit){-1, replicas, 0, 0, true};
    for (int j = 0; j < rank; j++) {
        const int d = order ? order[j] : j;
        digits[n++] = (layout_digit){d, shape[d], 1, 0, spatial};
    }
    return layout_from_digits(a, rank, shape, n, digits, why);
}

static void reversed(int rank, int32_t *order) {
    for (int j = 0; j < rank && j < LAYOUT_MAX_RANK; j++) order[j] = rank - 1 - j;
}

const layout *layout_local(vm_arena *a, int rank, const int32_t *shape, layout_why why) {
    return primitive(a, "local", false, rank, shape, NULL, 1, why);
}

const layout *layout_spatial(vm_arena *a, int rank, const int32_t *shape, const int32_t *ranks,
                             layout_why why) {
    if (!ranks) return primitive(a, "spatial", true, rank, shape, NULL, 1, why);
    if (!shape_ok(a, "spatial", rank, shape, why)) return NULL;
    int32_t order[LAYOUT_MAX_RANK];
    unsigned seen = 0;
    for (int d = 0; d < rank; d++) {
        if (ranks[d] < 0 || ranks[d] >= rank || seen & 1u << ranks[d])
            return layout_fail(a, why, "spatial: ranks %s is not a permutation of 0..%d",
                               layout_list(a, rank, ranks), rank - 1);
        seen |= 1u << ranks[d];
        order[ranks[d]] = d;
    }
    return primitive(a, "spatial", true, rank, shape, order, 1, why);
}

const layout *layout_column_local(vm_arena *a, int rank, const int32_t *shape, layout_why why) {
    int32_t order[LAYOUT_MAX_RANK];
    reversed(rank, order);
    return primitive(a, "column_local", false, rank, shape, order, 1, why);
}

const layout *layout_column_spatial(vm_arena *a, int rank, const int32_t *shape, layout_why why) {
    int32_t order[LAYOUT_MAX_RANK];
    reversed(rank, order);
    return primitive(a, "column_spatial", true, rank, shape, order, 1, why);
}

const layout *layout_replicated(vm_arena *a, int rank, const int32_t *shape, int workers,
                                layout_why why) {
    if (workers < 1)
        return layout_fail(a, why, "replicated: the number of workers, %d, is not positive",
                           workers);
    return primitive(a, "replicated", false, rank, shape, NULL, workers, why);
}

const layout *layout_auto_local_spatial(vm_arena *a, int threads, int rank, const int32_t *shape,
                                        layout_why why) {
    if (threads < 1 || threads > LAYOUT_MAX_THREADS)
        return layout_fail(a, why, "auto_local_spatial: %d threads are not in 1..%d", threads,
                           LAYOUT_MAX_THREADS);
    if (!shape_ok(a, "auto_local_spatial", rank, shape, why)) return NULL;
    int32_t across[LAYOUT_MAX_RANK];
    int32_t left = threads;
    for (int d = rank - 1; d >= 0; d--) {
        across[d] = (int32_t)layout_gcd(shape[d], left);
        left /= across[d];
    }
    layout_digit digits[2 * LAYOUT_MAX_RANK + 1];
    int n = 0;
    digits[n++] = (layout_digit){-1, left, 0, 0, true};
    for (int d = 0; d < rank; d++) digits[n++] = (layout_digit){d, across[d], 1, 0, true};
    for (int d = 0; d < rank; d++)
        digits[n++] = (layout_digit){d, shape[d] / across[d], across[d], 0, false};
    return layout_from_digits(a, rank, shape, n, digits, why);
}

// ---- questions ----------------------------------------------------------------------------------

void layout_index(const layout *f, int thread, int slot, int32_t *index) {
    layout_digit digits[MAX_DIGITS];
    const int n = layout_digits(f, digits);
    for (int d = 0; d < f->rank; d++) index[d] = 0;
    for (int j = 0; j < n; j++) {
        const layout_digit *x = &digits[j];
        if (x->dim >= 0)
            index[x->dim] += (x->spatial ? thread : slot) / x->div % x->extent * x->stride;
    }
}

int32_t *layout_table(vm_arena *a, const layout *f) {
    const size_t rank = f->rank, threads = (size_t)f->threads, slots = (size_t)f->slots;
    int32_t *table = vm_newn(a, int32_t, threads * slots * rank + 1);
    int32_t *part = vm_newn(a, int32_t, slots * rank + 1);
    // index(t, i) = index(t, 0) + index(0, i)
    for (size_t i = 0; i < slots; i++) layout_index(f, 0, (int)i, part + i * rank);
    for (size_t t = 0; t < threads; t++) {
        int32_t base[LAYOUT_MAX_RANK];
        layout_index(f, (int)t, 0, base);
        for (size_t i = 0; i < slots; i++)
            for (size_t d = 0; d < rank; d++)
                table[(t * slots + i) * rank + d] = base[d] + part[i * rank + d];
    }
    return table;
}

int32_t *layout_linear_table(vm_arena *a, const layout *f, const int32_t *shape) {
    const int32_t *table = layout_table(a, f);
    const size_t n = (size_t)f->threads * (size_t)f->slots;
    int32_t *out = vm_newn(a, int32_t, n);
    for (size_t j = 0; j < n; j++) {
        int32_t at = 0;
        for (int d = 0; d < f->rank && at >= 0; d++) {
            const int32_t x = table[j * f->rank + (size_t)d];
            at = x < shape[d] ? at * shape[d] + x : -1;
        }
        out[j] = at;
    }
    return out;
}

bool layout_equal(const layout *f, const layout *g) {
    return f == g || (f && g && memcmp(f, g, sizeof *f) == 0); // the canonical form is unique
}

bool layout_same_owners(vm_arena *a, const layout *f, const layout *g) {
    (void)a;
    if (f->rank != g->rank || f->threads != g->threads) return false;
    if (memcmp(f->shape, g->shape, sizeof f->shape) != 0) return false;
    // A thread's least index is its spatial part, and what is not spatial is local: the thread
    // digits decide.
    layout_digit x[MAX_DIGITS], y[MAX_DIGITS];
    layout_digits(f, x);
    layout_digits(g, y);
    if (f->nspatial != g->nspatial) return false;
    for (int i = 0; i < f->nspatial; i++)
        if (x[i].dim != y[i].dim || x[i].extent != y[i].extent || x[i].stride != y[i].stride)
            return false;
    return true;
}

bool layout_covers(vm_arena *a, const layout *f) {
    (void)a;
    int m = 0;
    for (int d = 0; d < f->rank; d++) {
        int64_t n = 1;
        for (int j = 0; j < f->dim_modes[d]; j++) n *= f->mode_shape[m++];
        if (n != f->shape[d]) return false;
    }
    // every digit of an index is one of thread or slot, and nothing else is
    uint32_t seen = 0;
    int64_t threads = 1, slots = 1;
    for (int i = 0; i < f->nspatial + f->nlocal; i++) {
        const bool spatial = i < f->nspatial;
        const int32_t k = spatial ? f->spatial[i] : f->local[i - f->nspatial];
        if (k >= m || (k < 0 && !spatial) || (k >= 0 && seen >> k & 1)) return false;
        if (k >= 0) seen |= 1u << k;
        *(spatial ? &threads : &slots) *= k < 0 ? -k : f->mode_shape[k];
    }
    const uint32_t all = m >= 32 ? UINT32_MAX : (1u << m) - 1;
    return m == f->nmodes && seen == all && threads == f->threads && slots == f->slots;
}

int layout_replicas(const layout *f) {
    int n = 1;
    for (int i = 0; i < f->nspatial; i++)
        if (f->spatial[i] < 0) n *= -f->spatial[i];
    return n;
}

bool layout_injective(vm_arena *a, const layout *f) {
    (void)a;
    return layout_replicas(f) == 1;
}

int layout_run(const layout *f, int dim) {
    if (!f->nlocal) return 1;
    layout_digit digits[MAX_DIGITS];
    const layout_digit *x = &digits[layout_digits(f, digits) - 1];
    if (x->dim != dim || x->stride != 1) return 1;
    return x->extent & -x->extent;
}

bool layout_fragment(vm_arena *a, const layout *f, int col, int *row, bool *trans) {
    const int rank = f->rank, n = f->slots;
    if (col < 0 || n % 2 || f->threads % 32) return false;
    const int32_t *table = layout_table(a, f);
#define AT(thread, slot) (table + ((size_t)(thread) * (size_t)n + (size_t)(slot)) * (size_t)rank)
    // the two dimensions that a warp spans; others are fixed within a matrix
    *row = -1;
    for (int d = 0; d < rank; d++)
        if (d != col && (AT(4, 0)[d] != AT(0, 0)[d] || AT(1, 0)[d] != AT(0, 0)[d])) *row = d;
    if (*row < 0) return false;
    *trans = AT(0, 1)[*row] == AT(0, 0)[*row] + 1;
    for (int w = 0; w < n; w += 2)
        for (int t = 0; t < f->threads; t++) {
            const int lane = t % 32, i = lane / 4, k = 2 * (lane % 4);
            const int32_t *first = AT(t - lane, w);
            if (first[col] % 8) return false;
            for (int j = 0; j < 2; j++) {
                const int32_t *is = AT(t, w + j);
                for (int d = 0; d < rank; d++) {
                    int32_t want = first[d];
                    if (d == *row) want += *trans ? k + j : i;
                    if (d == col) want += *trans ? i : k + j;
                    if (is[d] != want) return false;
                }
            }
        }
#undef AT
    return true;
}
