// SPDX-License-Identifier: Apache-2.0
// Test blocks: the hooks that give host tensors their meaning while the evaluator walks the block,
// `run`, and the life of one test. Expectations are in testing_expect.c.
#include "frontend/testing.h"
#include <string.h>
#include <time.h>

fe_value *test_bad(fe_eval *e, vm_span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vm_report(e->comp, D_E0902, at, "%s", vm_vformat(e->arena, fmt, ap));
    va_end(ap);
    return fe_poison(e);
}
void test_fail(fe_eval *e, vm_span at, const char *fmt, ...) {
    testing *t = e->user;
    if (t->failed || t->skipped) return; // skipped: what follows checks what was not computed
    va_list ap;
    va_start(ap, fmt);
    t->failed = true;
    t->message = vm_format(e->arena, "%s: %s", vm_place(e->comp, at), vm_vformat(e->arena, fmt, ap));
    va_end(ap);
}

// ---- operators ----------------------------------------------------------------------------------

static vm_inst inst_of(enum ast_op op) {
    switch (op) {
    case OP_ADD: return I_add;
    case OP_SUB: return I_sub;
    case OP_MUL: return I_mul;
    case OP_DIV: return I_div;
    case OP_REM: return I_rem;
    case OP_AND: case OP_LAND: return I_and;
    case OP_OR: case OP_LOR: return I_or;
    case OP_XOR: return I_xor;
    case OP_SHL: return I_shl;
    case OP_SHR: return I_shr;
    case OP_EQ: return I_eq;
    case OP_NE: return I_ne;
    case OP_LT: return I_lt;
    case OP_GT: return I_gt;
    case OP_LE: return I_le;
    case OP_GE: return I_ge;
    case OP_NEG: return I_neg;
    case OP_NOT: case OP_INV: return I_not;
    default: return I_count_;
    }
}
static bool is_scalar(const fe_value *v) { return v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL; }

/// f32 and f64 sums, products and quotients in double, rounded once; all else as the machine does it.
static void apply(fe_eval *e, vm_inst k, vm_dtype t, size_t n, const void *const *src, const bool *scalar, void *dst) {
    const bool arith = k == I_add || k == I_sub || k == I_mul || k == I_div;
    if (!arith || !vm_is_float(t) || (k != I_div && t != T_f32 && t != T_f64)) {
        vm_bulk(k, t, n, src, scalar, dst);
        return;
    }
    enum { PART = 1024 };
    double *x = vm_newn(e->arena, double, 2 * PART), *y = x + PART;
    const size_t cell = vm_cell(t);
    for (size_t at = 0; at < n; at += PART) {
        const size_t w = n - at < PART ? n - at : PART;
        vm_bulk_to_f64(t, scalar[0] ? 1 : w, (const char *)src[0] + (scalar[0] ? 0 : at * cell), x);
        vm_bulk_to_f64(t, scalar[1] ? 1 : w, (const char *)src[1] + (scalar[1] ? 0 : at * cell), y);
        for (size_t j = w; scalar[0] && j-- > 0;) x[j] = x[0];
        for (size_t j = w; scalar[1] && j-- > 0;) y[j] = y[0];
        switch (k) {
        case I_add: for (size_t j = 0; j < w; j++) x[j] += y[j]; break;
        case I_sub: for (size_t j = 0; j < w; j++) x[j] -= y[j]; break;
        case I_mul: for (size_t j = 0; j < w; j++) x[j] *= y[j]; break;
        default: for (size_t j = 0; j < w; j++) x[j] /= y[j]; break;
        }
        if (t == T_f64) memcpy((char *)dst + at * cell, x, w * 8);
        else vm_bulk_cast(T_f64, t, w, x, (char *)dst + at * cell, vm_default_rounding(t));
    }
}

fe_value *test_elementwise(fe_eval *e, vm_inst k, const char *what, fe_value *a, fe_value *b, vm_span at) {
    fe_tensor *x = a->kind == FV_TENSOR ? a->tensor : NULL, *y = b && b->kind == FV_TENSOR ? b->tensor : NULL;
    if ((!x && !is_scalar(a)) || (b && !y && !is_scalar(b)) || (!x && !y))
        return test_bad(e, at, "'%s' on %s and %s", what, fe_describe(e, a), b ? fe_describe(e, b) : "nothing");
    vm_dtype t = x ? x->type : y->type;
    if (x && y && x->type != y->type) {
        if (!vm_is_float(x->type) || !vm_is_float(y->type) || (x->type != T_f64 && y->type != T_f64))
            return test_bad(e, at, "'%s' on %s and %s: convert one of them with 'as'", what, tensor_shape_text(e, x), tensor_shape_text(e, y));
        t = T_f64; // references are f64: their company is widened exactly
        x = tensor_cast(e, x, t);
        y = tensor_cast(e, y, t);
    }
    const fe_value *lone = !x ? a : b && !y ? b : NULL;
    if (lone && lone->typed && lone->dtype != t)
        return test_bad(e, at, "'%s' on %s and %s: convert one of them with 'as'", what, vm_dtype_name(t), vm_dtype_name(lone->dtype));
    const char *why = NULL;
    if (!vm_eval_legal(k, t, &why)) return test_bad(e, at, "'%s' on %s: %s", what, vm_dtype_name(t), why ? why : "not defined");
    int rank = x ? x->rank : y->rank;
    int64_t dim[LAYOUT_MAX_RANK];
    memcpy(dim, x ? x->dim : y->dim, sizeof dim);
    if (x && y) {
        if (!tensor_join_shapes(x, y, &rank, dim))
            return test_bad(e, at, "shapes of %s and %s do not broadcast", tensor_shape_text(e, x), tensor_shape_text(e, y));
        x = tensor_stretch(e, x, rank, dim);
        y = tensor_stretch(e, y, rank, dim);
    }
    const bool cmp = vm_insts[k].cls == C_CMP;
    fe_tensor *r = fe_tensor_new(e, cmp ? T_bool : t, rank, dim);
    const uint64_t code = lone ? fe_to_code(lone, t) : 0;
    const void *src[3] = {x ? x->cells : (const void *)&code, y ? y->cells : (const void *)&code, NULL};
    const bool scalar[3] = {!x, !y, false};
    if (r->n) apply(e, k, t, r->n, src, scalar, r->cells);
    return tensor_value(e, r);
}
static fe_value *binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    const vm_inst k = inst_of(op);
    if (k == I_count_) return test_bad(e, at, "'%s' is not defined on tensors", ast_op_text(op));
    return test_elementwise(e, k, ast_op_text(op), x, y, at);
}
static fe_value *unary(fe_eval *e, enum ast_op op, fe_value *x, vm_span at) {
    const vm_inst k = inst_of(op);
    if (k == I_count_) return test_bad(e, at, "'%s' is not defined on tensors", ast_op_text(op));
    return test_elementwise(e, k, ast_op_text(op), x, NULL, at);
}
static fe_value *cast(fe_eval *e, fe_value *x, const fe_type *to, vm_span at) {
    if (x->kind != FV_TENSOR || to->kind != FT_SCALAR) return test_bad(e, at, "a tensor converts to an element type");
    return tensor_value(e, tensor_cast(e, x->tensor, to->elem));
}

// ---- parts --------------------------------------------------------------------------------------

/// Walks the part of x that args name: element indices of x in the order of the part.
typedef struct {
    int rank;
    int64_t dim[LAYOUT_MAX_RANK], stride[LAYOUT_MAX_RANK], off;
} part;
static bool part_of(fe_eval *e, const fe_tensor *x, const fe_args *args, part *p, vm_span at) {
    int64_t stride[LAYOUT_MAX_RANK], n = 1;
    if ((int)args->n > x->rank) {
        test_bad(e, at, "%u indices of %s", args->n, tensor_shape_text(e, x));
        return false;
    }
    for (int d = x->rank - 1; d >= 0; d--) {
        stride[d] = n;
        n *= x->dim[d];
    }
    *p = (part){0};
    for (int d = 0; d < x->rank; d++) {
        const fe_arg *a = d < (int)args->n ? &args->at[d] : NULL;
        int64_t lo = 0, w = x->dim[d];
        if (a && a->form != FA_ALL) {
            if (a->v->kind != FV_INT || (a->form != FA_VALUE && a->v2->kind != FV_INT)) {
                test_bad(e, a->span, "indices of a host tensor are integers");
                return false;
            }
            lo = a->v->i;
            w = a->form == FA_VALUE ? 1 : a->form == FA_WINDOW ? a->v2->i : a->v2->i - lo;
        }
        if (lo < 0 || w < 0 || lo > x->dim[d] - w) {
            test_bad(e, a ? a->span : at, "index out of bounds: dimension %d has extent %lld", d, (long long)x->dim[d]);
            return false;
        }
        p->off += lo * stride[d];
        if (a && a->form == FA_VALUE) continue;
        p->dim[p->rank] = w;
        p->stride[p->rank++] = stride[d];
    }
    return true;
}
static size_t element(const part *p, size_t k) {
    int64_t at = p->off;
    for (int d = p->rank - 1; d >= 0; d--) {
        at += (int64_t)(k % (size_t)p->dim[d]) * p->stride[d];
        k /= (size_t)p->dim[d];
    }
    return (size_t)at;
}
static fe_value *index_part(fe_eval *e, fe_value *x, fe_args *args, vm_span at) {
    part p;
    if (x->kind != FV_TENSOR) return test_bad(e, at, "%s has no elements", fe_describe(e, x));
    if (!part_of(e, x->tensor, args, &p, at)) return fe_poison(e);
    if (p.rank == 0) return fe_from_code(e, x->tensor->type, tensor_get(x->tensor, (size_t)p.off));
    fe_tensor *r = fe_tensor_new(e, x->tensor->type, p.rank, p.dim);
    for (size_t k = 0; k < r->n; k++) tensor_set(r, k, tensor_get(x->tensor, element(&p, k)));
    return tensor_value(e, r);
}
static void store_index(fe_eval *e, fe_value *x, fe_binding *holder, fe_args *args, fe_value *v, vm_span at) {
    part p;
    (void)holder;
    if (x->kind != FV_TENSOR || !part_of(e, x->tensor, args, &p, at)) return;
    fe_tensor *t = x->tensor;
    size_t n = 1;
    for (int d = 0; d < p.rank; d++) n *= (size_t)p.dim[d];
    fe_tensor *src = v->kind == FV_TENSOR ? v->tensor : NULL;
    if ((!src && !is_scalar(v)) || (src && src->type != t->type) || (!src && v->typed && v->dtype != t->type)) {
        test_bad(e, at, "%s cannot be stored in %s", fe_describe(e, v), tensor_shape_text(e, t));
        return;
    }
    if (src) src = tensor_stretch(e, src, p.rank, p.dim);
    const uint64_t code = src ? 0 : fe_to_code(v, t->type);
    for (size_t k = 0; k < n; k++) tensor_set(t, element(&p, k), src ? tensor_get(src, k) : code);
}
static fe_value *member(fe_eval *e, fe_value *x, const char *name, vm_span at) {
    if (x->kind == FV_TENSOR && !strcmp(name, "t") && x->tensor->rank >= 2) {
        fe_args a = {1, &(fe_arg){.form = FA_VALUE, .v = x, .span = at}};
        return fe_ref_call(e, "transpose", &a, at);
    }
    if (x->kind == FV_TENSOR && !strcmp(name, "shape")) {
        fe_value *it[LAYOUT_MAX_RANK];
        for (int d = 0; d < x->tensor->rank; d++) it[d] = fe_int(e, x->tensor->dim[d]);
        return fe_tuple(e, (uint32_t)x->tensor->rank, it);
    }
    return test_bad(e, at, "%s has no member '%s'", fe_describe(e, x), name);
}
static fe_value *declare(fe_eval *e, const char *name, const fe_type *type, fe_value *init, bool is_var, ast *attrs, vm_span at) {
    (void)name, (void)attrs;
    if (!init) {
        if (type->kind == FT_SCALAR) return fe_from_code(e, type->elem, 0);
        return test_bad(e, at, "a tensor of a test needs an initial value: zeros(…), random(…), full(…), poison(…)");
    }
    if (init->kind == FV_TENSOR && is_var) return tensor_value(e, tensor_copy(e, init->tensor));
    return type && type->kind == FT_SCALAR && init->kind != FV_TENSOR ? fe_coerce(e, init, type, at) : init;
}
static fe_value *coerce(fe_eval *e, fe_value *v, const fe_type *type, vm_span at) {
    if (v->kind != FV_TENSOR) return v;
    if (type->kind == FT_TENSOR && type->elem == v->tensor->type && type->rank == v->tensor->rank) return v;
    return test_bad(e, at, "%s where %s is expected", tensor_shape_text(e, v->tensor), fe_type_text(e, type));
}

// ---- run ----------------------------------------------------------------------------------------

static bool is_bound(const fe_define *d, uint32_t n, const char *name) {
    for (uint32_t k = 0; k < n; k++)
        if (d[k].name == name || !strcmp(d[k].name, name)) return true;
    return false;
}
static void run(fe_eval *e, fe_value *kernel, fe_args *meta, fe_args *args, vm_span at) {
    testing *t = e->user;
    const char *expected = t->expected, *why = NULL;
    t->expected = NULL;
    if (t->failed || e->comp->nerrors > t->errors) return;
    const ast *node = kernel->node, *params = node->nkids ? node->kid[0] : NULL;
    fe_define *defs = vm_newn(e->arena, fe_define, meta->n + 1);
    uint32_t n = 0, position = 0;
    for (fe_binding *b = kernel->scope ? kernel->scope->first : NULL; b; b = b->next) {
        fe_define *more = vm_newn(e->arena, fe_define, n + meta->n + 2);
        if (n) memcpy(more, defs, n * sizeof *defs);
        defs = more;
        defs[n++] = (fe_define){b->name, b->value};
    }
    for (uint32_t k = 0; k < meta->n; k++) {
        const char *name = meta->at[k].name;
        if (!name && params && position < params->nkids) name = params->kid[position++]->name;
        if (!name || is_bound(defs, n, name)) {
            test_bad(e, meta->at[k].span, "meta-parameter given twice, or too many");
            return;
        }
        defs[n++] = (fe_define){name, meta->at[k].v};
    }
    if (!fe_deduce(e, node, args, &n, &defs, at)) return;
    const uint32_t errors = e->comp->nerrors;
    fe_instance *inst = NULL, **points = NULL;
    bool tuned = false;
    const ast *clauses = node->nkids > 2 ? node->kid[2] : NULL;
    for (uint32_t k = 0; clauses && k < clauses->nkids; k++) tuned |= clauses->kid[k] && clauses->kid[k]->kind == AST_TUNE;
    const uint32_t npoints = tuned ? fe_tune_points(e, kernel->module, node, n, defs, &points) : 0;
    if (npoints) inst = points[t->exec->pick ? t->exec->pick(t->exec->user, e, kernel->module, node, npoints, points, args) : 0];
    else if (e->comp->nerrors == errors) inst = fe_instantiate(e, kernel->module, node, n, defs, at, true);
    if (!inst) {
        if (e->comp->nerrors == errors) test_fail(e, at, "no instance of '%s' satisfies its clauses", node->name);
        return;
    }
    if (inst->excluded) {
        t->skipped = inst->why ? inst->why : "excluded by 'where'";
        return;
    }
    const fe_hooks *hooks = e->hooks;
    fe_scope *scope = e->scope;
    const bool ok = t->exec->run(t->exec->user, e, inst, args, at, &why);
    e->hooks = hooks;
    e->scope = scope;
    e->user = t;
    if (expected) {
        if (ok && t->exec->dry) return;
        if (ok) test_fail(e, at, "run of '%s' succeeded, but an error with \"%s\" is expected", node->name, expected);
        else if (!why || !strstr(why, expected))
            test_fail(e, at, "run of '%s' failed with \"%s\", not with \"%s\"", node->name, why ? why : "", expected);
        return;
    }
    if (!ok) test_fail(e, at, "%s", why ? why : "the kernel failed");
}

static const fe_hooks hooks = {.unary = unary, .binary = binary, .cast = cast, .call = test_call, .member = member,
    .index = index_part, .store_index = store_index, .declare = declare, .coerce = coerce, .run = run};

bool fe_run_test(fe_eval *e, fe_module *m, const ast *test, const fe_executor *x, fe_test_result *out) {
    testing t = {.exec = x, .errors = e->comp->nerrors};
    struct timespec a, b;
    const fe_hooks *old_hooks = e->hooks;
    fe_scope *old_scope = e->scope;
    void *old_user = e->user;
    const vm_diag *before = e->comp->last_diag;
    *out = (fe_test_result){.title = test->name};
    clock_gettime(CLOCK_MONOTONIC, &a);
    e->hooks = &hooks;
    e->user = &t;
    e->scope = m->globals;
    fe_exec_block(e, test->kid[0]);
    e->flow.jumping = false;
    e->hooks = old_hooks;
    e->scope = old_scope;
    e->user = old_user;
    clock_gettime(CLOCK_MONOTONIC, &b);
    out->seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    out->passed = !t.failed && e->comp->nerrors == t.errors;
    out->message = t.message ? t.message : t.measured;
    if (t.skipped && out->passed) out->message = vm_format(e->arena, "skipped: %s", t.skipped);
    if (!out->passed && !t.failed) {
        const vm_diag *d = before ? before->next : e->comp->diags;
        while (d && d->sev != VM_ERROR) d = d->next;
        if (d) out->message = vm_format(e->arena, "%s: %s: %s", vm_place(e->comp, d->span), vm_code_name(d->code), d->text);
    }
    return out->passed;
}
