// SPDX-License-Identifier: Apache-2.0
// Functions of test blocks: making tensors, expectations, references, elementwise functions.
#include "frontend/testing.h"
#include <math.h>
#include <string.h>

static fe_tensor *of_type(fe_eval *e, const fe_args *args, const char *what, vm_span at) {
    const fe_value *v = args->n && args->at[0].form == FA_VALUE ? args->at[0].v : NULL;
    const fe_type *t = v && v->kind == FV_TYPE ? v->type : NULL;
    if (!t || (t->kind != FT_TENSOR && t->kind != FT_SCALAR) || t->space != FS_NONE) {
        test_bad(e, at, "%s takes a tensor type such as f16[16, 64]", what);
        return NULL;
    }
    int64_t dim[LAYOUT_MAX_RANK] = {0}, n = 8;
    for (int d = 0; d < t->rank; d++) {
        dim[d] = t->dim[d]->kind == FV_INT ? t->dim[d]->i : -1;
        if (dim[d] < 0 || __builtin_mul_overflow(n, dim[d] ? dim[d] : 1, &n) || n > INT64_C(1) << 36) {
            test_bad(e, at, "extent %d of the tensor is not a size that fits", d);
            return NULL;
        }
    }
    return fe_tensor_new(e, t->elem, t->rank, dim);
}
static const fe_value *option(const fe_args *args, const char *name, uint32_t position) {
    const fe_arg *a = fe_named(args, name);
    if (!a && position < args->n && !args->at[position].name) a = &args->at[position];
    return a && a->form == FA_VALUE ? a->v : NULL;
}
static double real(const fe_value *v, double otherwise) {
    return !v ? otherwise : v->kind == FV_FLOAT ? v->f : v->kind == FV_INT ? (double)v->i : otherwise;
}

static fe_value *make(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    fe_tensor *t = of_type(e, args, name, at);
    if (!t) return fe_poison(e);
    if (!strcmp(name, "random")) {
        const fe_value *seed = option(args, "seed", 1), *dist = option(args, "dist", 2);
        const char *d = dist && dist->kind == FV_STRING ? dist->s : "uniform";
        if (strcmp(d, "uniform") && strcmp(d, "normal") && strcmp(d, "codes"))
            return test_bad(e, at, "no distribution \"%s\": there are \"uniform\", \"normal\" and \"codes\"", d);
        fe_tensor_random(t, seed && seed->kind == FV_INT ? (uint64_t)seed->i : 0, d);
    } else if (!strcmp(name, "full")) {
        const fe_value *v = option(args, "value", 1);
        if (!v || (v->kind != FV_INT && v->kind != FV_FLOAT && v->kind != FV_BOOL))
            return test_bad(e, at, "full takes a type and a number");
        tensor_fill(t, fe_to_code(v, t->type));
    } else if (!strcmp(name, "poison")) {
        tensor_fill(t, vm_bits(t->type) == 64 ? UINT64_MAX : (1ULL << vm_bits(t->type)) - 1);
    } else if (!strcmp(name, "iota")) {
        for (size_t k = 0; k < t->n; k++) tensor_set(t, k, vm_cast(T_i64, t->type, (uint64_t)k, vm_default_rounding(t->type)));
    }
    return tensor_value(e, t);
}

// ---- expectations -------------------------------------------------------------------------------

static bool two(fe_eval *e, const char *name, fe_args *args, const fe_tensor **a, const fe_tensor **b, vm_span at) {
    fe_value *x = args->n > 0 ? args->at[0].v : NULL, *y = args->n > 1 ? args->at[1].v : NULL;
    if (!x || !y || x->kind != FV_TENSOR || y->kind != FV_TENSOR) {
        test_bad(e, at, "%s takes two tensors", name);
        return false;
    }
    *a = x->tensor;
    *b = y->tensor;
    bool same = (*a)->rank == (*b)->rank;
    for (int d = 0; same && d < (*a)->rank; d++) same = (*a)->dim[d] == (*b)->dim[d];
    if (!same) test_fail(e, at, "shapes differ: %s and %s", tensor_shape_text(e, *a), tensor_shape_text(e, *b));
    return same;
}

static void expect_close(fe_eval *e, fe_args *args, vm_span at) {
    testing *t = e->user;
    const fe_tensor *a, *b;
    if (!two(e, "expect_close", args, &a, &b, at)) return;
    const double rtol = real(option(args, "rtol", 2), 1e-3), atol = real(option(args, "atol", 3), 0);
    enum { PART = 1024 };
    double x[PART], y[PART], diff = 0, norm = 0, top = 0, worst = -1;
    size_t where = 0;
    for (int pass = 0; pass < 2; pass++) // the largest reference first: the elementwise bound needs it
        for (size_t k = 0; k < a->n; k += PART) {
            const size_t n = a->n - k < PART ? a->n - k : PART;
            vm_bulk_to_f64(b->type, n, (const char *)b->cells + k * vm_cell(b->type), y);
            if (pass == 0) {
                for (size_t j = 0; j < n; j++) top = fmax(top, fabs(y[j]));
                continue;
            }
            vm_bulk_to_f64(a->type, n, (const char *)a->cells + k * vm_cell(a->type), x);
            for (size_t j = 0; j < n; j++) {
                const double d = x[j] == y[j] ? 0 : fabs(x[j] - y[j]); // equal infinities differ by nothing
                if (isnan(d) || (isinf(d) && !isinf(worst))) {
                    test_fail(e, at, "element %s is %g, expected %g", tensor_index_text(e, a, k + j), x[j], y[j]);
                    return;
                }
                diff += d * d;
                norm += isinf(y[j]) ? 0 : y[j] * y[j];
                if (d > worst) worst = d, where = k + j;
            }
        }
    const double error = norm > 0 ? sqrt(diff / norm) : sqrt(diff);
    if (isinf(top)) top = 0;
    const double bound = atol + 10 * rtol * top;
    if (norm > 0 ? error > rtol : error > rtol + atol * sqrt((double)a->n))
        test_fail(e, at, "relative error %.3g is above rtol = %g; largest difference %.3g at %s", error, rtol, worst,
                  tensor_index_text(e, a, where));
    else if (worst > bound)
        test_fail(e, at, "element %s differs by %.3g, above atol + 10 * rtol * max = %.3g (is %g, expected %g)",
                  tensor_index_text(e, a, where), worst, bound, vm_decode(a->type, tensor_get(a, where)),
                  vm_decode(b->type, tensor_get(b, where)));
    else
        t->measured = vm_format(e->arena, "relative error %.3g, largest difference %.3g", error, worst > 0 ? worst : 0.0);
}

static void expect_equal(fe_eval *e, fe_args *args, vm_span at) {
    const fe_tensor *a, *b;
    const bool scalars = args->n > 1 && args->at[0].v->kind != FV_TENSOR && args->at[1].v->kind != FV_TENSOR;
    if (scalars) {
        const fe_value *x = args->at[0].v, *y = args->at[1].v;
        const bool f = x->kind == FV_FLOAT || y->kind == FV_FLOAT;
        const bool same = f ? real(x, NAN) == real(y, NAN) : x->kind == y->kind && (x->kind == FV_INT || x->kind == FV_BOOL) ? x->i == y->i : fe_equal(x, y);
        if (!same) test_fail(e, at, "%s is not %s", fe_describe(e, x), fe_describe(e, y));
        return;
    }
    if (!two(e, "expect_equal", args, &a, &b, at)) return;
    if (a->type != b->type) {
        test_fail(e, at, "types differ: %s and %s", tensor_shape_text(e, a), tensor_shape_text(e, b));
        return;
    }
    const size_t cell = vm_cell(a->type);
    if (!memcmp(a->cells, b->cells, a->n * cell)) return;
    size_t wrong = 0, first = a->n;
    for (size_t k = 0; k < a->n; k++) {
        const uint64_t x = tensor_get(a, k), y = tensor_get(b, k);
        if (x == y || (vm_is_float(a->type) && isnan(vm_decode(a->type, x)) && isnan(vm_decode(a->type, y)))) continue;
        if (!wrong++) first = k; // any NaN equals any other: machines differ in their bits
    }
    if (!wrong) return;
    const uint64_t x = tensor_get(a, first), y = tensor_get(b, first);
    test_fail(e, at, "%zu of %zu elements differ, first %s: %.9g (0x%llx), expected %.9g (0x%llx)", wrong, a->n,
              tensor_index_text(e, a, first), vm_decode(a->type, x), (unsigned long long)x, vm_decode(a->type, y),
              (unsigned long long)y);
}

static void expect_true(fe_eval *e, fe_args *args, vm_span at) {
    const fe_value *v = args->n ? args->at[0].v : NULL;
    if (!v || v->kind != FV_BOOL) test_bad(e, at, "assert takes a condition");
    else if (!v->i) {
        const fe_value *text = option(args, "message", 1);
        test_fail(e, at, "assertion failed%s%s", text && text->kind == FV_STRING ? ": " : "", text && text->kind == FV_STRING ? text->s : "");
    }
}

// ---- calls --------------------------------------------------------------------------------------

static fe_value *shape_to(fe_eval *e, fe_args *args, vm_span at, bool permute) {
    const fe_tensor *t = args->at[0].v->kind == FV_TENSOR ? args->at[0].v->tensor : NULL;
    fe_value *list[LAYOUT_MAX_RANK];
    uint32_t n = 0;
    for (uint32_t k = 1; k < args->n; k++) {
        fe_value *v = args->at[k].form == FA_VALUE ? args->at[k].v : NULL;
        const bool many = v && (v->kind == FV_TUPLE || v->kind == FV_LIST);
        for (uint32_t j = 0; v && j < (many ? v->n : 1) && n < LAYOUT_MAX_RANK; j++) list[n++] = many ? v->item[j] : v;
    }
    int64_t dim[LAYOUT_MAX_RANK], total = 1;
    int32_t perm[LAYOUT_MAX_RANK];
    uint32_t seen = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (list[k]->kind != FV_INT || list[k]->i < 0) return test_bad(e, at, "extents and dimensions are integers");
        dim[k] = list[k]->i;
        perm[k] = (int32_t)dim[k];
        if (!permute && (dim[k] > INT64_C(1) << 40 || __builtin_mul_overflow(total, dim[k], &total))) total = -1;
        if (permute && t && dim[k] < t->rank) seen |= 1u << dim[k];
    }
    if (!t || (permute ? (int)n != t->rank || seen != (1u << n) - 1 : (size_t)total != t->n))
        return test_bad(e, at, "%s does not fit the tensor", permute ? "the permutation" : "the shape");
    return tensor_value(e, permute ? tensor_permute(e, t, perm) : tensor_reshape(e, t, (int)n, dim));
}

/// fma, prmt, fshl of tensors and numbers; select of a bool tensor.
static fe_value *ternary(fe_eval *e, vm_inst k, const char *name, fe_args *args, vm_span at) {
    fe_tensor *x[3];
    uint64_t code[3] = {0};
    const fe_tensor *first = NULL, *shape = NULL;
    const int from = k == I_select;
    for (int i = 0; i < 3; i++) {
        const fe_value *v = args->at[i].v;
        x[i] = v && v->kind == FV_TENSOR ? v->tensor : NULL;
        if (!x[i] && (!v || (v->kind != FV_INT && v->kind != FV_FLOAT && v->kind != FV_BOOL)))
            return test_bad(e, at, "'%s' takes tensors and numbers", name);
        if (x[i] && i >= from && !first) first = x[i];
        if (x[i] && (!shape || x[i]->n > shape->n)) shape = x[i];
    }
    if (!first) return test_bad(e, at, "'%s' takes a tensor of the type of its result", name);
    const vm_dtype t = first->type;
    const char *why = NULL;
    if (!vm_eval_legal(k, t, &why)) return test_bad(e, at, "'%s' on %s: %s", name, vm_dtype_name(t), why ? why : "not defined");
    const void *src[3];
    bool scalar[3];
    for (int i = 0; i < 3; i++) {
        const vm_dtype want = i < from ? T_bool : t;
        if (x[i] && (x[i]->type != want || x[i]->rank > shape->rank))
            return test_bad(e, at, "'%s' on %s and %s", name, vm_dtype_name(t), tensor_shape_text(e, x[i]));
        for (int d = 1; x[i] && d <= x[i]->rank; d++)
            if (x[i]->dim[x[i]->rank - d] != 1 && x[i]->dim[x[i]->rank - d] != shape->dim[shape->rank - d])
                return test_bad(e, at, "shapes of %s and %s do not broadcast", tensor_shape_text(e, x[i]), tensor_shape_text(e, shape));
        scalar[i] = !x[i];
        if (x[i]) x[i] = tensor_stretch(e, x[i], shape->rank, shape->dim);
        else code[i] = want == T_bool ? (uint64_t)(args->at[i].v->i != 0) : fe_to_code(args->at[i].v, t);
        src[i] = x[i] ? x[i]->cells : (const void *)&code[i];
    }
    fe_tensor *r = tensor_like(e, t, shape);
    if (r->n) vm_bulk(k, t, r->n, src, scalar, r->cells);
    return tensor_value(e, r);
}

fe_value *test_call(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    testing *t = e->user;
    fe_value *none = fe_none(e);
    if (t->failed) return fe_poison(e);
    if (t->exec->dry && (!strncmp(name, "expect_", 7) || !strcmp(name, "assert")) && strcmp(name, "expect_error")) return none;
    if (!strcmp(name, "random") || !strcmp(name, "zeros") || !strcmp(name, "full") || !strcmp(name, "poison") ||
        (!strcmp(name, "iota") && args->n && args->at[0].v && args->at[0].v->kind == FV_TYPE))
        return make(e, name, args, at);
    if (!strcmp(name, "expect_close")) return expect_close(e, args, at), none;
    if (!strcmp(name, "expect_equal")) return expect_equal(e, args, at), none;
    if (!strcmp(name, "assert")) return expect_true(e, args, at), none;
    if (!strcmp(name, "expect_error")) {
        const fe_value *v = args->n ? args->at[0].v : NULL;
        if (!v || v->kind != FV_STRING) return test_bad(e, at, "expect_error takes the text that the next run's error contains");
        t->expected = v->s;
        return none;
    }
    if (!strncmp(name, "ref_", 4)) {
        fe_value *r = fe_ref_call(e, name + 4, args, at);
        return r ? r : test_bad(e, at, "no reference function '%s'", name + 4);
    }
    if (!args->n || args->at[0].form != FA_VALUE) return test_bad(e, at, "'%s' has no meaning in a test block", name);
    fe_value *x = args->at[0].v;
    if (!strcmp(name, "reshape")) return shape_to(e, args, at, false);
    if (!strcmp(name, "permute")) return shape_to(e, args, at, true);
    if (!strcmp(name, "bitcast") && args->n == 2) {
        fe_value *to = args->at[0].v->kind == FV_TYPE ? args->at[0].v : args->at[1].v;
        fe_value *v = to == args->at[0].v ? args->at[1].v : args->at[0].v;
        if (v->kind == FV_TENSOR && to->kind == FV_TYPE && vm_bits(to->type->elem) == vm_bits(v->tensor->type)) {
            fe_tensor *r = tensor_copy(e, v->tensor);
            r->type = to->type->elem;
            return tensor_value(e, r);
        }
    }
    const bool reduces = !strcmp(name, "sum") || ((!strcmp(name, "max") || !strcmp(name, "min")) && (args->n == 1 || fe_named(args, "dim")));
    if (reduces && x->kind == FV_TENSOR) {
        fe_arg two_args[2] = {args->at[0], fe_named(args, "dim") ? *fe_named(args, "dim") : args->n > 1 ? args->at[1] : args->at[0]};
        fe_args both = {2, two_args};
        if (args->n == 1) { // no dimension: of everything
            two_args[0].v = tensor_value(e, tensor_reshape(e, x->tensor, 1, (int64_t[]){(int64_t)x->tensor->n}));
            two_args[1] = (fe_arg){.form = FA_VALUE, .v = fe_int(e, 0), .span = at};
        }
        fe_value *r = fe_ref_call(e, name, &both, at);
        if (r->kind == FV_TENSOR && r->tensor->rank == 0) return fe_from_code(e, T_f64, tensor_get(r->tensor, 0));
        return r;
    }
    vm_inst k;
    if (vm_inst_find(name, &k) && (vm_insts[k].cls == C_ELEM) && vm_insts[k].nops == (int)args->n && args->n <= 2)
        return test_elementwise(e, k, name, x, args->n > 1 ? args->at[1].v : NULL, at);
    if (args->n == 3 && vm_inst_find(name, &k) && (vm_insts[k].cls == C_ELEM || k == I_select) && vm_insts[k].nops == 3)
        return ternary(e, k, name, args, at);
    return test_bad(e, at, "'%s' has no meaning in a test block", name);
}
