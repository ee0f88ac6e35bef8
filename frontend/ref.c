// SPDX-License-Identifier: Apache-2.0
// The functions behind std/ref.tvm: plain references on host tensors, accumulated in float64, written
// for being obviously right; only matmul is blocked. They are called as builtins named ref_….
#include "frontend/tensor.h"
#include <math.h>
#include <string.h>

fe_value *ref_fail(fe_eval *e, vm_span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vm_report(e->comp, D_E0902, at, "%s", vm_vformat(e->arena, fmt, ap));
    va_end(ap);
    fe_value *v = vm_new(e->arena, fe_value);
    v->kind = FV_POISON;
    return v;
}

// ---- arguments: by position, or by the names that std/ref.tvm gives ------------------------------

static fe_tensor *tensor_arg(const fe_args *a, uint32_t k) {
    return k < a->n && a->at[k].form == FA_VALUE && a->at[k].v->kind == FV_TENSOR ? a->at[k].v->tensor : NULL;
}
static double number(const fe_args *a, uint32_t k, double otherwise) {
    if (k >= a->n || a->at[k].form != FA_VALUE) return otherwise;
    const fe_value *v = a->at[k].v;
    return v->kind == FV_FLOAT ? v->f : v->kind == FV_INT || v->kind == FV_BOOL ? (double)v->i : otherwise;
}
static int dim_of(const fe_tensor *t, double d) {
    const int k = (int)d < 0 ? (int)d + t->rank : (int)d;
    return k >= 0 && k < t->rank ? k : -1;
}
typedef struct { size_t outer, n, inner; } around;
static around cut(const fe_tensor *t, int dim) {
    around r = {1, (size_t)t->dim[dim], 1};
    for (int d = 0; d < t->rank; d++) {
        if (d < dim) r.outer *= (size_t)t->dim[d];
        if (d > dim) r.inner *= (size_t)t->dim[d];
    }
    return r;
}

// ---- matmul -------------------------------------------------------------------------------------

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("default", "avx2")))
#else
#define CLONES
#endif
CLONES static void add_rows(size_t n, double *restrict c, const double *restrict b, const double *a) {
    for (size_t j = 0; j < n; j++)
        c[j] += (a[0] * b[j] + a[1] * b[n + j]) + (a[2] * b[2 * n + j] + a[3] * b[3 * n + j]);
}
static void product(size_t m, size_t k, size_t n, const double *a, const fe_tensor *tb, size_t first, double *c) {
    double rows[4 * 256], part[4];
    const size_t cell = vm_cell(tb->type);
    for (size_t j0 = 0; j0 < n; j0 += 256) { // a strip of columns that stays in the first cache
        const size_t w = n - j0 < 256 ? n - j0 : 256;
        for (size_t e = 0; e < k; e += 4) {
            for (size_t r = 0; r < 4; r++) {
                if (e + r < k)
                    vm_bulk_to_f64(tb->type, w, (const char *)tb->cells + (first + (e + r) * n + j0) * cell, rows + r * w);
                else memset(rows + r * w, 0, w * sizeof(double));
            }
            for (size_t i = 0; i < m; i++) {
                for (size_t r = 0; r < 4; r++) part[r] = e + r < k ? a[i * k + e + r] : 0;
                add_rows(w, c + i * n + j0, rows, part);
            }
        }
    }
}
static fe_value *matmul(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *a = tensor_arg(args, 0), *b = tensor_arg(args, 1);
    if (!a || !b || a->rank < 2 || b->rank < 2) return ref_fail(e, at, "matmul takes two tensors of rank 2 or more");
    const size_t m = (size_t)a->dim[a->rank - 2], k = (size_t)a->dim[a->rank - 1], n = (size_t)b->dim[b->rank - 1];
    bool fits = (size_t)b->dim[b->rank - 2] == k && (b->rank == 2 || b->rank == a->rank);
    for (int d = 0; fits && b->rank > 2 && d < a->rank - 2; d++) fits = a->dim[d] == b->dim[d];
    if (!fits) return ref_fail(e, at, "matmul of %s and %s", tensor_shape_text(e, a), tensor_shape_text(e, b));
    int64_t dim[LAYOUT_MAX_RANK];
    memcpy(dim, a->dim, sizeof dim);
    dim[a->rank - 1] = (int64_t)n;
    fe_tensor *r = fe_tensor_new(e, T_f64, a->rank, dim);
    const double *x = tensor_f64(e, a);
    const size_t batch = m && k ? a->n / (m * k) : 0;
    for (size_t z = 0; z < batch; z++)
        product(m, k, n, x + z * m * k, b, b->rank > 2 ? z * k * n : 0, (double *)r->cells + z * m * n);
    return tensor_value(e, r);
}

// ---- along a dimension --------------------------------------------------------------------------

enum { SUM, MAX, MIN, MEAN };
static fe_value *along(fe_eval *e, fe_args *args, vm_span at, int what) {
    const fe_tensor *t = tensor_arg(args, 0);
    const int dim = t ? dim_of(t, number(args, 1, 0)) : -1;
    if (dim < 0) return ref_fail(e, at, "the reduction takes a tensor and one of its dimensions");
    const around r = cut(t, dim);
    int64_t shape[LAYOUT_MAX_RANK];
    int rank = 0;
    for (int d = 0; d < t->rank; d++)
        if (d != dim) shape[rank++] = t->dim[d];
    fe_tensor *y = fe_tensor_new(e, T_f64, rank, shape);
    const double *x = tensor_f64(e, t);
    double *out = y->cells;
    for (size_t o = 0; o < r.outer; o++)
        for (size_t i = 0; i < r.inner; i++) {
            double v = r.n && (what == MAX || what == MIN) ? x[o * r.n * r.inner + i] : 0;
            for (size_t k = 0; k < r.n; k++) {
                const double z = x[(o * r.n + k) * r.inner + i];
                v = what == MAX ? fmax(v, z) : what == MIN ? fmin(v, z) : v + z;
            }
            out[o * r.inner + i] = what == MEAN ? v / (double)r.n : v;
        }
    return tensor_value(e, y);
}
static fe_value *ref_sum(fe_eval *e, fe_args *a, vm_span at) { return along(e, a, at, SUM); }
static fe_value *ref_max(fe_eval *e, fe_args *a, vm_span at) { return along(e, a, at, MAX); }
static fe_value *ref_min(fe_eval *e, fe_args *a, vm_span at) { return along(e, a, at, MIN); }
static fe_value *ref_mean(fe_eval *e, fe_args *a, vm_span at) { return along(e, a, at, MEAN); }

static fe_value *softmax(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *t = tensor_arg(args, 0);
    const int dim = t ? dim_of(t, number(args, 1, -1)) : -1;
    if (dim < 0) return ref_fail(e, at, "softmax takes a tensor and one of its dimensions");
    const around r = cut(t, dim);
    fe_tensor *y = tensor_like(e, T_f64, t);
    const double *x = tensor_f64(e, t);
    double *out = y->cells;
    for (size_t o = 0; o < r.outer; o++)
        for (size_t i = 0; i < r.inner; i++) {
            double top = -INFINITY, sum = 0;
            for (size_t k = 0; k < r.n; k++) top = fmax(top, x[(o * r.n + k) * r.inner + i]);
            for (size_t k = 0; k < r.n; k++) sum += exp(x[(o * r.n + k) * r.inner + i] - top);
            for (size_t k = 0; k < r.n; k++) {
                const size_t p = (o * r.n + k) * r.inner + i;
                out[p] = exp(x[p] - top) / sum;
            }
        }
    return tensor_value(e, y);
}
static fe_value *rmsnorm(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *t = tensor_arg(args, 0), *w = tensor_arg(args, 1);
    if (!t || !w || t->rank < 1 || w->rank != 1 || w->dim[0] != t->dim[t->rank - 1])
        return ref_fail(e, at, "rmsnorm takes x[…, n] and w[n]");
    const double eps = number(args, 2, 1e-6);
    const size_t n = w->n;
    fe_tensor *y = tensor_like(e, T_f64, t);
    const double *x = tensor_f64(e, t), *g = tensor_f64(e, w);
    double *out = y->cells;
    for (size_t row = 0; n && row < t->n; row += n) {
        double sum = 0;
        for (size_t k = 0; k < n; k++) sum += x[row + k] * x[row + k];
        const double s = 1 / sqrt(sum / (double)n + eps);
        for (size_t k = 0; k < n; k++) out[row + k] = x[row + k] * s * g[k];
    }
    return tensor_value(e, y);
}
/// Largest magnitude of each group of `group` elements along dim: what group scales are made of.
static fe_value *absmax(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *t = tensor_arg(args, 0);
    const int dim = t ? dim_of(t, number(args, 2, 0)) : -1;
    const int64_t group = (int64_t)number(args, 1, 0);
    if (dim < 0 || group < 1 || t->dim[dim] % group) return ref_fail(e, at, "absmax takes a tensor, a group size that divides the extent, and a dimension");
    const around r = cut(t, dim);
    int64_t shape[LAYOUT_MAX_RANK];
    memcpy(shape, t->dim, sizeof shape);
    shape[dim] /= group;
    fe_tensor *y = fe_tensor_new(e, T_f64, t->rank, shape);
    const double *x = tensor_f64(e, t);
    double *out = y->cells;
    for (size_t o = 0; o < r.outer; o++)
        for (size_t k = 0; k < r.n; k++)
            for (size_t i = 0; i < r.inner; i++) {
                double *v = &out[(o * (r.n / (size_t)group) + k / (size_t)group) * r.inner + i];
                *v = fmax(*v, fabs(x[(o * r.n + k) * r.inner + i]));
            }
    return tensor_value(e, y);
}

static fe_value *repeat(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *t = tensor_arg(args, 0);
    const int64_t n = (int64_t)number(args, 1, 0);
    const int dim = t ? dim_of(t, number(args, 2, 0)) : -1;
    if (dim < 0 || n < 1) return ref_fail(e, at, "repeat takes a tensor, how often, and a dimension");
    return tensor_value(e, tensor_repeat(e, t, dim, n));
}
static fe_value *transpose(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *t = tensor_arg(args, 0);
    if (!t || t->rank < 2) return ref_fail(e, at, "transpose takes a tensor of rank 2 or more");
    int32_t perm[LAYOUT_MAX_RANK];
    for (int d = 0; d < t->rank; d++) perm[d] = d;
    perm[t->rank - 1] = t->rank - 2;
    perm[t->rank - 2] = t->rank - 1;
    return tensor_value(e, tensor_permute(e, t, perm));
}

// ---- attention ----------------------------------------------------------------------------------

/// Rows [lo, hi) of k and v that query i sees, as the mask says.
typedef struct { int64_t n, m, window; bool causal, neighbours; } seen;
static void range_of(const seen *s, int64_t i, int64_t *lo, int64_t *hi) {
    *lo = 0;
    *hi = s->m;
    if (s->neighbours) {
        *lo = i - s->window / 2;
        if (*lo > s->m - s->window) *lo = s->m - s->window;
        if (*lo < 0) *lo = 0;
        if (*lo + s->window < s->m) *hi = *lo + s->window;
        return;
    }
    const int64_t own = i + s->m - s->n; // the last query sits beside the last key
    if ((s->causal || s->window > 0) && own + 1 < *hi) *hi = own + 1 > 0 ? own + 1 : 0;
    if (s->window > 0 && own + 1 - s->window > 0) *lo = own + 1 - s->window;
}
static fe_value *attend(fe_eval *e, const fe_tensor *q, const fe_tensor *k, const fe_tensor *v, double scale, seen s, vm_span at) {
    if (!q || !k || !v || q->rank < 2 || k->rank != q->rank || v->rank != q->rank)
        return ref_fail(e, at, "attention takes q, k and v of one rank: […, heads, rows, width]");
    const int r = q->rank;
    const size_t width = (size_t)q->dim[r - 1], vw = (size_t)v->dim[r - 1];
    s.n = q->dim[r - 2];
    s.m = k->dim[r - 2];
    const size_t qh = r > 2 ? (size_t)q->dim[r - 3] : 1, kh = r > 2 ? (size_t)k->dim[r - 3] : 1;
    bool fits = (size_t)k->dim[r - 1] == width && v->dim[r - 2] == s.m && kh && qh % kh == 0 && (r < 3 || v->dim[r - 3] == k->dim[r - 3]);
    for (int d = 0; d < r - 3; d++) fits = fits && q->dim[d] == k->dim[d] && v->dim[d] == k->dim[d];
    if (!fits) return ref_fail(e, at, "attention of %s, %s and %s", tensor_shape_text(e, q), tensor_shape_text(e, k), tensor_shape_text(e, v));
    int64_t dim[LAYOUT_MAX_RANK];
    memcpy(dim, q->dim, sizeof dim);
    dim[r - 1] = (int64_t)vw;
    fe_tensor *y = fe_tensor_new(e, T_f64, r, dim);
    const double *fq = tensor_f64(e, q), *fk = tensor_f64(e, k), *fv = tensor_f64(e, v);
    double *p = vm_newn(e->arena, double, s.m + 1), *out = y->cells;
    const size_t heads = y->n && vw ? y->n / ((size_t)s.n * vw) : 0;
    for (size_t z = 0; z < heads; z++) {
        const size_t kz = z / qh * kh + z % qh / (qh / kh); // grouped queries share a head of k and v
        for (int64_t i = 0; i < s.n; i++) {
            const double *row = fq + (z * (size_t)s.n + (size_t)i) * width;
            double *o = out + (z * (size_t)s.n + (size_t)i) * vw, top = -INFINITY, sum = 0;
            int64_t lo, hi;
            range_of(&s, i, &lo, &hi);
            for (int64_t j = lo; j < hi; j++) {
                const double *key = fk + (kz * (size_t)s.m + (size_t)j) * width;
                p[j] = 0;
                for (size_t d = 0; d < width; d++) p[j] += row[d] * key[d];
                p[j] *= scale;
                top = fmax(top, p[j]);
            }
            for (int64_t j = lo; j < hi; j++) sum += p[j] = exp(p[j] - top);
            for (int64_t j = lo; j < hi; j++)
                for (size_t d = 0; d < vw; d++) o[d] += p[j] / sum * fv[(kz * (size_t)s.m + (size_t)j) * vw + d];
        }
    }
    return tensor_value(e, y);
}
static fe_value *attention(fe_eval *e, fe_args *a, vm_span at) { // q, k, v, scale, causal, window
    const seen s = {.causal = number(a, 4, 0) != 0, .window = (int64_t)number(a, 5, 0)};
    return attend(e, tensor_arg(a, 0), tensor_arg(a, 1), tensor_arg(a, 2), number(a, 3, 1), s, at);
}
static fe_value *na1d(fe_eval *e, fe_args *a, vm_span at) { // q, k, v, window, scale
    const seen s = {.neighbours = true, .window = (int64_t)number(a, 3, 1)};
    return attend(e, tensor_arg(a, 0), tensor_arg(a, 1), tensor_arg(a, 2), number(a, 4, 1), s, at);
}

// ---- elementwise --------------------------------------------------------------------------------

static fe_value *each(fe_eval *e, fe_args *args, vm_span at, double (*f)(double)) {
    const fe_tensor *t = tensor_arg(args, 0);
    if (!t) return ref_fail(e, at, "the function takes a tensor");
    fe_tensor *y = tensor_like(e, T_f64, t);
    vm_bulk_to_f64(t->type, t->n, t->cells, y->cells);
    double *x = y->cells;
    for (size_t k = 0; k < t->n; k++) x[k] = f(x[k]);
    return tensor_value(e, y);
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu_of(double x) { return x * sigmoid(x); }
static double gelu_of(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static fe_value *ref_exp(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, exp); }
static fe_value *ref_sqrt(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, sqrt); }
static fe_value *ref_abs(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, fabs); }
static fe_value *ref_tanh(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, tanh); }
static fe_value *silu(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, silu_of); }
static fe_value *gelu(fe_eval *e, fe_args *a, vm_span at) { return each(e, a, at, gelu_of); }

static const char *const names[] = {"matmul", "sum", "max", "min", "mean", "softmax", "rmsnorm", "absmax", "repeat",
    "transpose", "attention", "na1d", "exp", "sqrt", "abs", "tanh", "silu", "gelu", "df11_encode"};
static fe_value *(*const functions[])(fe_eval *e, fe_args *a, vm_span at) = {matmul, ref_sum, ref_max, ref_min, ref_mean,
    softmax, rmsnorm, absmax, repeat, transpose, attention, na1d, ref_exp, ref_sqrt, ref_abs, ref_tanh, silu, gelu, ref_df11};
_Static_assert(sizeof names / sizeof *names == sizeof functions / sizeof *functions, "one function a name");

bool fe_is_ref(const char *name) {
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (!strcmp(names[k], name)) return true;
    return false;
}
void fe_ref_names(size_t *n, const char *const **out) {
    *n = sizeof names / sizeof *names;
    *out = names;
}
fe_value *fe_ref_call(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (!strcmp(names[k], name)) return functions[k](e, args, at);
    return NULL;
}
