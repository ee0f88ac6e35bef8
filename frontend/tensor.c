// SPDX-License-Identifier: Apache-2.0
// Host tensors of test blocks: storage, random contents, shapes, conversions. Random numbers are a
// function of (seed, index) made with integer and exactly specified float steps only, so that every
// machine sees the same data.
#include "frontend/tensor.h"
#include <math.h>
#include <string.h>

fe_tensor *fe_tensor_new(fe_eval *e, vm_dtype type, int rank, const int64_t *dim) {
    fe_tensor *t = vm_new(e->arena, fe_tensor);
    t->type = type;
    t->rank = rank;
    t->n = 1;
    for (int d = 0; d < rank; d++) {
        t->dim[d] = dim[d];
        t->n *= (size_t)dim[d];
    }
    t->cells = vm_alloc(e->arena, t->n * vm_cell(type) + 64); // vector loops may read past the end
    return t;
}
size_t fe_tensor_bytes(const fe_tensor *t) { return (t->n * vm_mem_bits(t->type) + 7) / 8; }
void fe_tensor_pack(const fe_tensor *t, void *mem) {
    const size_t bytes = fe_tensor_bytes(t);
    if (bytes) ((uint8_t *)mem)[bytes - 1] = 0; // bits behind the last element
    vm_pack(t->type, t->n, t->cells, mem, 0);
}
void fe_tensor_unpack(fe_tensor *t, const void *mem) { vm_unpack(t->type, t->n, mem, 0, t->cells); }

fe_value *tensor_value(fe_eval *e, fe_tensor *t) {
    fe_value *v = vm_new(e->arena, fe_value);
    v->kind = FV_TENSOR;
    v->typed = true;
    v->dtype = t->type;
    v->tensor = t;
    return v;
}
fe_tensor *tensor_like(fe_eval *e, vm_dtype t, const fe_tensor *s) { return fe_tensor_new(e, t, s->rank, s->dim); }
fe_tensor *tensor_copy(fe_eval *e, const fe_tensor *t) {
    fe_tensor *r = tensor_like(e, t->type, t);
    memcpy(r->cells, t->cells, t->n * vm_cell(t->type));
    return r;
}
void tensor_fill(fe_tensor *t, uint64_t code) {
    if (vm_cell(t->type) == 1) memset(t->cells, (int)code, t->n);
    else for (size_t k = 0; k < t->n; k++) tensor_set(t, k, code);
}

// ---- random -------------------------------------------------------------------------------------

static inline uint64_t mix(uint64_t x) { // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/// Natural logarithm by exactly specified steps (error below 1e-12, the same everywhere).
static double plain_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752440) {
        m *= 2;
        e--;
    }
    const double s = (m - 1) / (m + 1), z = s * s;
    double sum = 0;
    for (int k = 19; k >= 1; k -= 2) sum = sum * z + 1.0 / k;
    return 2 * s * sum + e * 0.69314718055994530942;
}

/// Inverse of the normal distribution (Acklam), relative error 1.2e-9.
static double normal_of(double p) {
    static const double a[6] = {-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
                                1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[5] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                                6.680131188771972e+01, -1.328068155288572e+01};
    static const double c[6] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                                -2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00};
    static const double d[4] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                                3.754408661907416e+00};
    if (p >= 0.02425 && p <= 0.97575) {
        const double q = p - 0.5, r = q * q;
        return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
               (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
    }
    const double q = sqrt(-2 * plain_log(p < 0.5 ? p : 1 - p));
    const double x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
                     ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    return p < 0.5 ? x : -x;
}

/// Uniform codes: as many elements of one hash as fit.
static void random_codes(fe_tensor *t, uint64_t key) {
    const uint64_t mask = vm_bits(t->type) == 64 ? UINT64_MAX : (1ULL << vm_bits(t->type)) - 1;
    const size_t cell = vm_cell(t->type), per = 8 / cell;
    uint64_t lanes = 0;
    for (size_t k = 0; k < per; k++) lanes |= mask << k * cell * 8;
    if (cell == 8) lanes = mask;
    uint8_t *out = t->cells;
    size_t k = 0;
    for (; k + per <= t->n; k += per) {
        const uint64_t h = mix(key + k / per) & lanes;
        memcpy(out + k * cell, &h, 8); // little-endian hosts, like every number format here
    }
    if (k < t->n) {
        const uint64_t h = mix(key + k / per) & lanes;
        memcpy(out + k * cell, &h, (t->n - k) * cell);
    }
}

void fe_tensor_random(fe_tensor *t, uint64_t seed, const char *dist) {
    const uint64_t key = mix(seed * 0x2545f4914f6cdd1du + 0x1234567u);
    const bool codes = dist && !strcmp(dist, "codes"), normal = dist && !strcmp(dist, "normal");
    if (codes || (!vm_is_float(t->type) && !normal)) {
        random_codes(t, key);
        if (!codes || !vm_is_float(t->type)) return;
        for (size_t k = 0; k < t->n; k++) // numbers only: what is none becomes zero
            if (!isfinite(vm_decode(t->type, tensor_get(t, k)))) tensor_set(t, k, 0);
        return;
    }
    double x[1024];
    const size_t cell = vm_cell(t->type);
    for (size_t k = 0; k < t->n; k += 1024) {
        const size_t n = t->n - k < 1024 ? t->n - k : 1024;
        for (size_t j = 0; j < n; j++) {
            const uint64_t h = mix(key + k + j) >> 11; // 53 bits
            if (normal) x[j] = normal_of(((double)h + 0.5) * 0x1p-53);
            else x[j] = (double)((int64_t)h - (INT64_C(1) << 52)) * 0x1p-52;
            if (normal && !vm_is_float(t->type)) x[j] *= (double)(1ULL << (vm_bits(t->type) > 3 ? vm_bits(t->type) - 3 : 0));
            if (!vm_is_signed(t->type) || vm_dtypes[t->type].special == SP_SCALE) x[j] = fabs(x[j]);
        }
        vm_bulk_cast(T_f64, t->type, n, x, (char *)t->cells + k * cell, vm_default_rounding(t->type));
    }
}

// ---- conversions and shapes ---------------------------------------------------------------------

double *tensor_f64(fe_eval *e, const fe_tensor *t) {
    double *x = vm_newn(e->arena, double, t->n + 1);
    vm_bulk_to_f64(t->type, t->n, t->cells, x);
    return x;
}
fe_tensor *tensor_from_f64(fe_eval *e, vm_dtype type, int rank, const int64_t *dim, const double *x) {
    fe_tensor *t = fe_tensor_new(e, type, rank, dim);
    vm_bulk_cast(T_f64, type, t->n, x, t->cells, vm_default_rounding(type));
    return t;
}
fe_tensor *tensor_cast(fe_eval *e, const fe_tensor *t, vm_dtype to) {
    fe_tensor *r = tensor_like(e, to, t);
    if (to == t->type) memcpy(r->cells, t->cells, t->n * vm_cell(to));
    else vm_bulk_cast(t->type, to, t->n, t->cells, r->cells, vm_default_rounding(to));
    return r;
}
fe_tensor *tensor_reshape(fe_eval *e, const fe_tensor *t, int rank, const int64_t *dim) {
    fe_tensor *r = vm_dup(e->arena, t, sizeof *t);
    r->rank = rank;
    for (int d = 0; d < rank; d++) r->dim[d] = dim[d];
    return r;
}

/// dst row-major of (rank, dim); source strides in elements.
static void gather(const fe_tensor *t, fe_tensor *r, const int64_t *stride) {
    const size_t cell = vm_cell(t->type);
    const int in = r->rank - 1;
    if (r->n == 0) return;
    if (in < 0) {
        memcpy(r->cells, t->cells, cell);
        return;
    }
    int64_t at[LAYOUT_MAX_RANK] = {0}, off = 0;
    const char *src = t->cells;
    char *dst = r->cells;
    for (size_t row = 0, rows = r->n / (size_t)r->dim[in]; row < rows; row++) {
        if (stride[in] == 1) {
            memcpy(dst, src + (size_t)off * cell, (size_t)r->dim[in] * cell);
            dst += (size_t)r->dim[in] * cell;
        } else {
            for (int64_t k = 0; k < r->dim[in]; k++, dst += cell)
                memcpy(dst, src + (size_t)(off + k * stride[in]) * cell, cell);
        }
        for (int d = in - 1; d >= 0; d--) {
            off += stride[d];
            if (++at[d] < r->dim[d]) break;
            off -= at[d] * stride[d];
            at[d] = 0;
        }
    }
}
static void dense_strides(const fe_tensor *t, int64_t *stride) {
    int64_t n = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        stride[d] = n;
        n *= t->dim[d];
    }
}
fe_tensor *tensor_permute(fe_eval *e, const fe_tensor *t, const int32_t *perm) {
    int64_t dim[LAYOUT_MAX_RANK], from[LAYOUT_MAX_RANK], stride[LAYOUT_MAX_RANK];
    dense_strides(t, from);
    for (int d = 0; d < t->rank; d++) {
        dim[d] = t->dim[perm[d]];
        stride[d] = from[perm[d]];
    }
    fe_tensor *r = fe_tensor_new(e, t->type, t->rank, dim);
    gather(t, r, stride);
    return r;
}
bool tensor_join_shapes(const fe_tensor *a, const fe_tensor *b, int *rank, int64_t *dim) {
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (int d = 0; d < *rank; d++) {
        const int i = d - (*rank - a->rank), j = d - (*rank - b->rank);
        const int64_t x = i < 0 ? 1 : a->dim[i], y = j < 0 ? 1 : b->dim[j];
        if (x != y && x != 1 && y != 1) return false;
        dim[d] = x == 1 ? y : x;
    }
    return true;
}
fe_tensor *tensor_stretch(fe_eval *e, fe_tensor *t, int rank, const int64_t *dim) {
    int64_t from[LAYOUT_MAX_RANK], stride[LAYOUT_MAX_RANK] = {0};
    bool same = rank == t->rank;
    dense_strides(t, from);
    for (int d = 0; d < rank; d++) {
        const int i = d - (rank - t->rank);
        if (i >= 0 && t->dim[i] != 1) stride[d] = from[i];
        same = same && t->dim[d] == dim[d];
    }
    if (same) return t;
    fe_tensor *r = fe_tensor_new(e, t->type, rank, dim);
    gather(t, r, stride);
    return r;
}
fe_tensor *tensor_repeat(fe_eval *e, const fe_tensor *t, int dim, int64_t n) {
    int64_t shape[LAYOUT_MAX_RANK] = {0};
    size_t inner = vm_cell(t->type), outer = 1;
    for (int d = 0; d < t->rank; d++) {
        shape[d] = t->dim[d];
        if (d <= dim) outer *= (size_t)t->dim[d];
        else inner *= (size_t)t->dim[d];
    }
    shape[dim] *= n;
    fe_tensor *r = fe_tensor_new(e, t->type, t->rank, shape);
    char *dst = r->cells;
    for (size_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++, dst += inner) memcpy(dst, (const char *)t->cells + o * inner, inner);
    return r;
}

char *tensor_shape_text(fe_eval *e, const fe_tensor *t) {
    vm_text s = {.arena = e->arena};
    vm_put(&s, "%s[", vm_dtype_name(t->type));
    for (int d = 0; d < t->rank; d++) vm_put(&s, "%s%lld", d ? ", " : "", (long long)t->dim[d]);
    vm_put(&s, "]");
    return vm_text_end(&s);
}
char *tensor_index_text(fe_eval *e, const fe_tensor *t, size_t k) {
    int64_t at[LAYOUT_MAX_RANK];
    for (int d = t->rank - 1; d >= 0; d--) {
        at[d] = (int64_t)(k % (size_t)t->dim[d]);
        k /= (size_t)t->dim[d];
    }
    vm_text s = {.arena = e->arena};
    vm_put(&s, "[");
    for (int d = 0; d < t->rank; d++) vm_put(&s, "%s%lld", d ? ", " : "", (long long)at[d]);
    vm_put(&s, "]");
    return vm_text_end(&s);
}
