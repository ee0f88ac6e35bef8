// SPDX-License-Identifier: Apache-2.0
// Expressions. Known operands are computed, through vm/eval where they have a machine type; the rest
// goes to the hooks.
#include <math.h>
#include <string.h>
#include "frontend/eval_internal.h"

static fe_value *runtime_only(fe_eval *e, const char *what, vm_span at) {
    vm_report(e->comp, D_E0324, at, "%s is only possible in a kernel", what);
    return fe_poison(e);
}

// ---- operators ----------------------------------------------------------------------------------

static fe_value *bad_operands(fe_eval *e, enum ast_op op, const fe_value *x, const fe_value *y, vm_span at) {
    vm_report(e->comp, D_E0315, at, "'%s' has no meaning for %s and %s", ast_op_text(op), fe_describe(e, x), fe_describe(e, y));
    return fe_poison(e);
}

static fe_value *overflow(fe_eval *e, vm_span at, const char *what) {
    vm_report(e->comp, D_E0307, at, "%s", what);
    return fe_poison(e);
}

static bool op_inst(enum ast_op op, vm_inst *i) {
    switch (op) {
    case OP_ADD: *i = I_add; return true;
    case OP_SUB: *i = I_sub; return true;
    case OP_MUL: *i = I_mul; return true;
    case OP_DIV: *i = I_div; return true;
    case OP_REM: *i = I_rem; return true;
    case OP_AND: *i = I_and; return true;
    case OP_OR: *i = I_or; return true;
    case OP_XOR: *i = I_xor; return true;
    case OP_SHL: *i = I_shl; return true;
    case OP_SHR: *i = I_shr; return true;
    case OP_EQ: *i = I_eq; return true;
    case OP_NE: *i = I_ne; return true;
    case OP_LT: *i = I_lt; return true;
    case OP_LE: *i = I_le; return true;
    case OP_GT: *i = I_gt; return true;
    case OP_GE: *i = I_ge; return true;
    default: return false;
    }
}

static fe_value *untyped_int(fe_eval *e, enum ast_op op, int64_t x, int64_t y, vm_span at) {
    int64_t r = 0;
    switch (op) {
    case OP_ADD: if (__builtin_add_overflow(x, y, &r)) goto over; break;
    case OP_SUB: if (__builtin_sub_overflow(x, y, &r)) goto over; break;
    case OP_MUL: if (__builtin_mul_overflow(x, y, &r)) goto over; break;
    case OP_DIV: case OP_REM:
        if (y == 0) return overflow(e, at, "division by zero");
        if (y == -1) {
            if (op == OP_DIV && x == INT64_MIN) goto over;
            r = op == OP_DIV ? -x : 0;
        } else r = op == OP_DIV ? x / y : x % y;
        break;
    case OP_AND: r = x & y; break;
    case OP_OR: r = x | y; break;
    case OP_XOR: r = x ^ y; break;
    case OP_SHL:
        if (x == 0) break;
        if (y < 0 || y > 62) goto over;
        r = (int64_t)((uint64_t)x << y);
        if (r >> y != x) goto over;
        break;
    case OP_SHR: r = y < 0 || y > 63 ? (x < 0 ? -1 : 0) : x >> y; break;
    case OP_EQ: return fe_bool(e, x == y);
    case OP_NE: return fe_bool(e, x != y);
    case OP_LT: return fe_bool(e, x < y);
    case OP_GT: return fe_bool(e, x > y);
    case OP_LE: return fe_bool(e, x <= y);
    case OP_GE: return fe_bool(e, x >= y);
    default: return NULL;
    }
    return fe_int(e, r);
over:
    return overflow(e, at, vm_format(e->arena, "%lld %s %lld does not fit 64 bits", (long long)x, ast_op_text(op), (long long)y));
}

static fe_value *untyped_float(fe_eval *e, enum ast_op op, double x, double y) {
    switch (op) {
    case OP_ADD: return fe_float(e, x + y);
    case OP_SUB: return fe_float(e, x - y);
    case OP_MUL: return fe_float(e, x * y);
    case OP_DIV: return fe_float(e, x / y);
    case OP_REM: return fe_float(e, fmod(x, y));
    case OP_EQ: return fe_bool(e, x == y);
    case OP_NE: return fe_bool(e, x != y);
    case OP_LT: return fe_bool(e, x < y);
    case OP_GT: return fe_bool(e, x > y);
    case OP_LE: return fe_bool(e, x <= y);
    case OP_GE: return fe_bool(e, x >= y);
    default: return NULL;
    }
}

static bool is_number(const fe_value *v) { return v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL; }

static fe_value *typed_shift(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    if (x->kind != FV_INT || y->kind != FV_INT) return bad_operands(e, op, x, y, at);
    const vm_dtype t = x->dtype;
    const bool huge = y->i < 0 || y->i >= (int64_t)vm_bits(t);
    if (huge) {
        const bool sign = op == OP_SHR && vm_dtypes[t].kind == K_INT && x->i < 0;
        return fe_from_code(e, t, vm_encode_int(t, sign ? -1 : 0));
    }
    const uint64_t a[2] = {fe_to_code(x, t), (uint64_t)y->i};
    return fe_from_code(e, t, vm_eval(op == OP_SHL ? I_shl : I_shr, t, a));
}

static fe_value *numbers(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    vm_inst inst;
    if (!op_inst(op, &inst)) return bad_operands(e, op, x, y, at);
    if ((op == OP_SHL || op == OP_SHR) && x->typed) return typed_shift(e, op, x, y, at);
    if (op == OP_SHL || op == OP_SHR)
        return x->kind == FV_INT && y->kind == FV_INT ? untyped_int(e, op, x->i, y->i, at) : bad_operands(e, op, x, y, at);
    if (!x->typed && !y->typed) {
        fe_value *r = NULL;
        if (x->kind == FV_INT && y->kind == FV_INT) r = untyped_int(e, op, x->i, y->i, at);
        else r = untyped_float(e, op, x->kind == FV_INT ? (double)x->i : x->f, y->kind == FV_INT ? (double)y->i : y->f);
        return r ? r : bad_operands(e, op, x, y, at);
    }
    if (x->typed && y->typed && x->dtype != y->dtype) {
        vm_diag *d = vm_report(e->comp, D_E0305, at, "operands of '%s' are %s and %s", ast_op_text(op),
                               vm_dtype_name(x->dtype), vm_dtype_name(y->dtype));
        vm_help(e->comp, d, "convert one of them with 'as'");
        return fe_poison(e);
    }
    const fe_type *t = fe_scalar_type(e, x->typed ? x->dtype : y->dtype);
    if (!x->typed) x = fe_coerce(e, x, t, at);
    if (!y->typed) y = fe_coerce(e, y, t, at);
    if (x->kind == FV_POISON || y->kind == FV_POISON) return fe_poison(e);
    const char *why = NULL;
    if (!vm_eval_legal(inst, t->elem, &why)) {
        vm_report(e->comp, D_E0315, at, "'%s' is not defined on %s%s%s", ast_op_text(op), vm_dtype_name(t->elem),
                  why ? ": " : "", why ? why : "");
        return fe_poison(e);
    }
    const uint64_t a[2] = {fe_to_code(x, t->elem), fe_to_code(y, t->elem)};
    const uint64_t r = vm_eval(inst, t->elem, a);
    return op >= OP_EQ && op <= OP_GE ? fe_bool(e, r != 0) : fe_from_code(e, t->elem, r);
}

static fe_value *contains(fe_eval *e, fe_value *x, fe_value *y, vm_span at) {
    if (y->kind == FV_RANGE) {
        fe_value *lo = fe_binary(e, OP_GE, x, y->item[0], at), *hi = fe_binary(e, OP_LT, x, y->item[1], at);
        return fe_binary(e, OP_LAND, lo, hi, at);
    }
    if (y->kind != FV_TUPLE && y->kind != FV_LIST) return bad_operands(e, OP_IN, x, y, at);
    fe_value *r = fe_bool(e, false);
    for (uint32_t i = 0; i < y->n; i++) {
        fe_value *eq = fe_foreign(x) || fe_foreign(y->item[i]) ? fe_binary(e, OP_EQ, x, y->item[i], at)
                                                               : fe_bool(e, fe_equal(x, y->item[i]));
        r = fe_binary(e, OP_LOR, r, eq, at);
    }
    return r;
}

fe_value *fe_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    if (x->kind == FV_POISON) return x;
    if (y->kind == FV_POISON) return y;
    if (op == OP_IN) return contains(e, x, y, at);
    if (op == OP_LAND || op == OP_LOR) {
        if (x->kind == FV_BOOL && (x->i != 0) == (op == OP_LOR)) return x;
        if (x->kind == FV_BOOL && (y->kind == FV_BOOL || fe_foreign(y))) return y;
        if (y->kind == FV_BOOL && fe_foreign(x) && (y->i != 0) == (op == OP_LAND)) return x;
    }
    if (fe_foreign(x) || fe_foreign(y)) {
        if (e->hooks && e->hooks->binary) return e->hooks->binary(e, op, x, y, at);
        return runtime_only(e, "this operation", at);
    }
    const bool layouts = x->kind == FV_LAYOUT || x->kind == FV_SHARED_LAYOUT;
    if (layouts && (op == OP_MUL || op == OP_DIV)) return fe_layout_binary(e, op, x, y, at);
    if (x->kind == FV_BOOL && y->kind == FV_BOOL) {
        const bool a = x->i != 0, b = y->i != 0;
        switch (op) {
        case OP_AND: case OP_LAND: return fe_bool(e, a && b);
        case OP_OR: case OP_LOR: return fe_bool(e, a || b);
        case OP_XOR: case OP_NE: return fe_bool(e, a != b);
        case OP_EQ: return fe_bool(e, a == b);
        default: return bad_operands(e, op, x, y, at);
        }
    }
    if (is_number(x) && is_number(y)) {
        if (x->kind == FV_BOOL || y->kind == FV_BOOL) return bad_operands(e, op, x, y, at);
        return numbers(e, op, x, y, at);
    }
    if (op == OP_EQ || op == OP_NE) {
        const bool types = (x->kind == FV_TYPE || x->kind == FV_STRUCT_TYPE) && (y->kind == FV_TYPE || y->kind == FV_STRUCT_TYPE);
        if (x->kind != y->kind && !types) return bad_operands(e, op, x, y, at);
        return fe_bool(e, fe_equal(x, y) == (op == OP_EQ));
    }
    if (op == OP_ADD && x->kind == FV_STRING && y->kind == FV_STRING)
        return fe_string(e, vm_format(e->arena, "%s%s", x->s, y->s));
    if (op == OP_ADD && x->kind == y->kind && (x->kind == FV_TUPLE || x->kind == FV_LIST)) {
        fe_value **it = vm_newn(e->arena, fe_value *, x->n + y->n + 1);
        memcpy(it, x->item, x->n * sizeof *it);
        memcpy(it + x->n, y->item, y->n * sizeof *it);
        return fe_list(e, x->kind, x->n + y->n, it);
    }
    return bad_operands(e, op, x, y, at);
}

static fe_value *in_space(fe_eval *e, enum ast_op op, fe_value *x, vm_span at) {
    const fe_type *t = fe_as_type(e, x, at);
    if (!t) return fe_poison(e);
    if (t->kind == FT_META || t->kind == FT_TUPLE || t->space != FS_NONE) {
        vm_report(e->comp, D_E0304, at, "%s cannot lie in %s memory", fe_type_text(e, t), ast_op_text(op));
        return fe_poison(e);
    }
    fe_type *r = vm_dup(e->arena, t, sizeof *t);
    r->space = op == OP_REG ? FS_REG : op == OP_SHARED ? FS_SHARED : op == OP_GLOBAL ? FS_GLOBAL : FS_TMEM;
    if (r->kind == FT_SCALAR) r->kind = FT_TENSOR;
    return fe_type_value(e, r);
}

fe_value *fe_unary(fe_eval *e, enum ast_op op, fe_value *x, vm_span at) {
    if (x->kind == FV_POISON) return x;
    if (op == OP_REG || op == OP_SHARED || op == OP_GLOBAL || op == OP_TMEM) return in_space(e, op, x, at);
    if (fe_foreign(x)) {
        if (e->hooks && e->hooks->unary) return e->hooks->unary(e, op, x, at);
        return runtime_only(e, "this operation", at);
    }
    if (op == OP_NOT && x->kind == FV_BOOL) return fe_bool(e, !x->i);
    if (op == OP_NEG || op == OP_INV) {
        if (x->kind == FV_INT && !x->typed) {
            if (op == OP_INV) return fe_int(e, ~x->i);
            return x->i == INT64_MIN ? overflow(e, at, "the negated value does not fit 64 bits") : fe_int(e, -x->i);
        }
        if (x->kind == FV_FLOAT && !x->typed && op == OP_NEG) return fe_float(e, -x->f);
        const vm_inst inst = op == OP_NEG ? I_neg : I_not;
        const char *why = NULL;
        if (is_number(x) && vm_eval_legal(inst, x->dtype, &why)) {
            const uint64_t a = fe_to_code(x, x->dtype);
            return fe_from_code(e, x->dtype, vm_eval(inst, x->dtype, &a));
        }
    }
    vm_diag *d = vm_report(e->comp, D_E0315, at, "'%s' has no meaning for %s", ast_op_text(op), fe_describe(e, x));
    if (op == OP_NOT && x->kind == FV_INT) vm_help(e->comp, d, "'~' complements the bits of an integer");
    return fe_poison(e);
}

fe_value *fe_cast(fe_eval *e, fe_value *x, const fe_type *to, vm_span at) {
    if (x->kind == FV_POISON || !to) return fe_poison(e);
    if (fe_foreign(x)) {
        if (e->hooks && e->hooks->cast) return e->hooks->cast(e, x, to, at);
        return runtime_only(e, "this conversion", at);
    }
    if (to->kind != FT_SCALAR || !is_number(x)) {
        vm_report(e->comp, D_E0315, at, "%s cannot be converted to %s", fe_describe(e, x), fe_type_text(e, to));
        return fe_poison(e);
    }
    const vm_dtype from = x->typed ? x->dtype : x->kind == FV_FLOAT ? T_f64 : T_i64;
    return fe_from_code(e, to->elem, vm_cast(from, to->elem, fe_to_code(x, from), vm_default_rounding(to->elem)));
}

fe_value *fe_at(fe_eval *e, fe_value *x, fe_value *lay, vm_span at) {
    if (x->kind == FV_POISON || lay->kind == FV_POISON) return fe_poison(e);
    if (lay->kind != FV_LAYOUT && lay->kind != FV_SHARED_LAYOUT) {
        vm_report(e->comp, D_E0304, at, "expected a layout behind '@', found %s", fe_describe(e, lay));
        return fe_poison(e);
    }
    if (x->kind == FV_TYPE && (x->type->kind == FT_TENSOR || x->type->kind == FT_STRUCT)) {
        fe_type *t = vm_dup(e->arena, x->type, sizeof *t);
        t->layout = lay;
        return fe_type_value(e, t);
    }
    if (e->hooks && e->hooks->at && fe_foreign(x)) return e->hooks->at(e, x, lay, at);
    vm_report(e->comp, D_E0315, at, "%s has no layout", fe_describe(e, x));
    return fe_poison(e);
}

// ---- members, indices ---------------------------------------------------------------------------

static fe_value *no_member(fe_eval *e, const fe_value *x, const char *name, vm_span at, const char *near) {
    vm_diag *d = vm_report(e->comp, D_E0310, at, "%s has no member '%s'", fe_describe(e, x), name);
    if (near) vm_help(e->comp, d, "did you mean '%s'?", near);
    return fe_poison(e);
}

static fe_value *module_item(fe_eval *e, fe_value *x, const char *name, vm_span at) {
    fe_module *m = x->module;
    fe_binding *b = fe_find_in(m->globals, name);
    if (b) return b->lazy || !b->value ? fe_force(e, m->globals, b) : b->value;
    VM_VEC(const char *) c = {0};
    for (b = m->globals->first; b; b = b->next) vm_push(e->arena, &c, b->name);
    return no_member(e, x, name, at, vm_nearest(name, c.at, c.n));
}

static int field_index(const ast *decl, const char *name) {
    for (uint32_t i = 1; i < decl->nkids; i++)
        if (!strcmp(decl->kid[i]->name, name)) return (int)i - 1;
    return -1;
}

static fe_value *lay_value(fe_eval *e, const layout *l) {
    fe_value *v = fe_new_value(e, FV_LAYOUT);
    v->lay = l;
    return v;
}

static fe_value *dot_member(fe_eval *e, fe_value *x, const char *n, vm_span at) {
    const mma_atom *a = x->kind == FV_ATOM ? x->atom : x->dot->atom;
    const mma_dot *d = x->kind == FV_DOT ? x->dot : NULL;
    if (!strcmp(n, "a")) return lay_value(e, d ? d->a : a->a);
    if (!strcmp(n, "b")) return lay_value(e, d ? d->b : a->b);
    if (!strcmp(n, "c")) return lay_value(e, d ? d->c : a->c);
    if (d) {
        if (!strcmp(n, "a_warps")) return lay_value(e, d->a_warps);
        if (!strcmp(n, "b_warps")) return lay_value(e, d->b_warps);
        if (!strcmp(n, "c_warps")) return lay_value(e, d->c_warps);
    }
    if (!strcmp(n, "m")) return fe_int(e, d ? a->m * d->wm * d->rm : a->m);
    if (!strcmp(n, "n")) return fe_int(e, d ? a->n * d->wn * d->rn : a->n);
    if (!strcmp(n, "k")) return fe_int(e, d ? a->k * d->rk : a->k);
    return no_member(e, x, n, at, NULL);
}

static fe_value *special_member(fe_eval *e, fe_value *x, const char *name, vm_span at) {
    if (!strcmp(x->s, "target")) {
        if (!strcmp(name, "sm")) return fe_int(e, e->opt.arch ? e->opt.arch->sm : vm_archs[vm_narchs - 1].sm);
        if (!strcmp(name, "name")) return fe_string(e, e->opt.arch ? e->opt.arch->name : "vm");
        return no_member(e, x, name, at, NULL);
    }
    if (!strcmp(x->s, "mma")) {
        const mma_atom *a = mma_atom_find(e->arena, name);
        if (a) {
            fe_value *v = fe_new_value(e, FV_ATOM);
            v->atom = a;
            return v;
        }
        const char *const *names;
        const size_t n = mma_atom_names(&names);
        return no_member(e, x, name, at, vm_nearest(name, names, n));
    }
    if (e->hooks && e->hooks->member) return e->hooks->member(e, x, name, at);
    return runtime_only(e, vm_format(e->arena, "'%s.%s'", x->s, name), at);
}

fe_value *fe_member(fe_eval *e, fe_value *x, const char *name, vm_span at) {
    switch (x->kind) {
    case FV_POISON: return x;
    case FV_MODULE: return module_item(e, x, name, at);
    case FV_STRUCT: {
        const int i = field_index(x->decl, name);
        return i >= 0 ? x->item[i] : no_member(e, x, name, at, NULL);
    }
    case FV_ATOM: case FV_DOT: return dot_member(e, x, name, at);
    case FV_SPECIAL: return special_member(e, x, name, at);
    case FV_LAYOUT:
        if (!strcmp(name, "threads")) return fe_int(e, x->lay->threads);
        if (!strcmp(name, "slots")) return fe_int(e, x->lay->slots);
        if (!strcmp(name, "rank")) return fe_int(e, x->lay->rank);
        if (!strcmp(name, "shape")) {
            fe_value *it[LAYOUT_MAX_RANK];
            for (int i = 0; i < x->lay->rank; i++) it[i] = fe_int(e, x->lay->shape[i]);
            return fe_tuple(e, x->lay->rank, it);
        }
        return no_member(e, x, name, at, NULL);
    case FV_RT: case FV_TENSOR:
        if (e->hooks && e->hooks->member) return e->hooks->member(e, x, name, at);
        return runtime_only(e, vm_format(e->arena, "'.%s'", name), at);
    default: return no_member(e, x, name, at, NULL);
    }
}

static fe_value *index_type(fe_eval *e, fe_value *x, fe_args *args, vm_span at) {
    const fe_type *t = fe_as_type(e, x, at);
    if (!t) return fe_poison(e);
    const bool scalar = t->kind == FT_SCALAR || (t->kind == FT_TENSOR && t->rank == 0);
    if ((!scalar && t->kind != FT_BARRIER && t->kind != FT_STRUCT) || t->rank) {
        vm_report(e->comp, D_E0321, at, "%s takes no extents", fe_type_text(e, t));
        return fe_poison(e);
    }
    if (args->n == 0 || args->n > LAYOUT_MAX_RANK) {
        vm_report(e->comp, D_E0321, at, "a tensor has 1 to %d dimensions", LAYOUT_MAX_RANK);
        return fe_poison(e);
    }
    fe_type *r = vm_dup(e->arena, t, sizeof *t);
    if (scalar) r->kind = FT_TENSOR;
    r->rank = (int)args->n;
    for (uint32_t i = 0; i < args->n; i++) {
        const fe_arg *a = &args->at[i];
        if (a->form == FA_VALUE && a->v->kind == FV_POISON) return a->v;
        const bool ok = a->form == FA_VALUE && !a->name && (a->v->kind == FV_INT || a->v->kind == FV_RT || a->v->kind == FV_ANY);
        if (!ok) {
            vm_report(e->comp, D_E0321, a->span, "an extent is an integer%s%s", a->form == FA_VALUE ? ", not " : "",
                      a->form == FA_VALUE ? fe_describe(e, a->v) : "");
            return fe_poison(e);
        }
        if (a->v->kind == FV_INT && a->v->i < 0) {
            vm_report(e->comp, D_E0321, a->span, "extent %lld is negative", (long long)a->v->i);
            return fe_poison(e);
        }
        r->dim[i] = a->v;
    }
    return fe_type_value(e, r);
}

fe_value *fe_index(fe_eval *e, fe_value *x, fe_args *args, vm_span at) {
    if (x->kind == FV_POISON) return x;
    for (uint32_t i = 0; i < args->n; i++)
        if ((args->at[i].v && args->at[i].v->kind == FV_POISON) || (args->at[i].v2 && args->at[i].v2->kind == FV_POISON))
            return fe_poison(e);
    switch (x->kind) {
    case FV_RT: case FV_TENSOR:
        if (e->hooks && e->hooks->index) return e->hooks->index(e, x, args, at);
        return runtime_only(e, "indexing", at);
    case FV_STRUCT:
        if (x->lead && e->hooks && e->hooks->index) return e->hooks->index(e, x, args, at);
        vm_report(e->comp, D_E0321, at, "%s cannot be indexed", fe_describe(e, x));
        return fe_poison(e);
    case FV_TYPE: return index_type(e, x, args, at);
    case FV_STRUCT_TYPE: {
        const ast *meta = fe_kid(x->node, 0);
        return meta && meta->nkids && !x->scope ? fe_bind_metas(e, x, args, at) : index_type(e, x, args, at);
    }
    case FV_FN: case FV_KERNEL: return fe_bind_metas(e, x, args, at);
    case FV_TUPLE: case FV_LIST: case FV_RANGE:
        if (args->n != 1 || args->at[0].form != FA_VALUE || args->at[0].v->kind != FV_INT) {
            vm_report(e->comp, D_E0308, at, "%s takes one index known at compile time", x->kind == FV_TUPLE ? "a tuple" : "a list");
            return fe_poison(e);
        }
        if (args->at[0].v->i < 0 || args->at[0].v->i >= (int64_t)x->n) {
            vm_report(e->comp, D_E0321, at, "index %lld is outside of %u items", (long long)args->at[0].v->i, x->n);
            return fe_poison(e);
        }
        return x->item[args->at[0].v->i];
    default:
        vm_report(e->comp, D_E0321, at, "%s cannot be indexed", fe_describe(e, x));
        return fe_poison(e);
    }
}

// ---- calls --------------------------------------------------------------------------------------

bool fe_option_word(fe_eval *e, const ast *arg) {
    static const char *const options[] = {"via", "evict", "order", "scope", "cmp", "op", "round", "bias"};
    if (arg->kind != AST_ARG || !arg->nkids || arg->kid[0]->kind != AST_ID) return false;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(arg->name, options[i])) return !fe_find(e->scope, arg->kid[0]->name);
    return false;
}

void fe_eval_args(fe_eval *e, uint32_t n, ast *const *kids, fe_args *out) {
    out->n = n;
    out->at = vm_newn(e->arena, fe_arg, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        fe_arg *a = &out->at[i];
        const ast *k = kids[i];
        a->span = k->span;
        if (k->kind == AST_ARG) {
            a->name = k->name;
            k = k->kid[0];
        }
        a->node = k;
        if (fe_option_word(e, kids[i])) {
            a->form = FA_VALUE;
            a->v = fe_string(e, k->name);
            continue;
        }
        switch (k->kind) {
        case AST_ALL: a->form = FA_ALL; break;
        case AST_WINDOW: case AST_RANGE:
            a->form = k->kind == AST_WINDOW ? FA_WINDOW : FA_RANGE;
            a->v = fe_expr(e, k->kid[0]);
            a->v2 = fe_expr(e, k->kid[1]);
            a->step = k->kind == AST_RANGE && k->nkids > 2 ? fe_expr(e, k->kid[2]) : NULL;
            if (a->step && a->step->kind == FV_POISON) a->v = a->step;
            break;
        default: a->form = FA_VALUE; a->v = fe_expr(e, k); break;
        }
    }
}

const fe_arg *fe_named(const fe_args *a, const char *name) {
    for (uint32_t i = 0; i < a->n; i++)
        if (a->at[i].name && !strcmp(a->at[i].name, name)) return &a->at[i];
    return NULL;
}

static fe_args prepend(fe_eval *e, fe_value *x, const fe_args *args, const ast *node) {
    fe_args r = {.n = args->n + 1, .at = vm_newn(e->arena, fe_arg, args->n + 1)};
    r.at[0] = (fe_arg){.form = FA_VALUE, .v = x, .node = node, .span = node->span};
    if (args->n) memcpy(r.at + 1, args->at, args->n * sizeof *r.at);
    return r;
}

static fe_value *method(fe_eval *e, const ast *callee, fe_value *x, fe_args *args, vm_span at) {
    const ast *base = fe_bare(callee->kid[0]);
    const char *name = callee->name;
    const vm_span where = callee->name_span.file ? callee->name_span : at;
    switch (x->kind) {
    case FV_POISON: return x;
    case FV_STRUCT: {
        if (field_index(x->decl, name) >= 0) break;
        fe_binding *b = fe_find_in(x->home->globals, name);
        if (!b && e->scope->module) b = fe_find(e->scope, name);
        if (!b || !b->value || b->value->kind != FV_FN) return no_member(e, x, name, where, NULL);
        const fe_args all = prepend(e, x, args, base);
        fe_binding *r = base->kind == AST_ID ? fe_find(e->scope, base->name) : NULL;
        if (!fe_tick(e, at)) return fe_poison(e);
        for (uint32_t i = 0; i < all.n; i++)
            if (all.at[i].v && all.at[i].v->kind == FV_POISON) return all.at[i].v;
        return fe_call_fn(e, b->value, &(fe_args){all.n, all.at}, r && r->value == x ? r : NULL, at);
    }
    case FV_SPECIAL:
        if (!strcmp(x->s, "target") || (!strcmp(x->s, "mma") && !strcmp(name, "dot")) || !strcmp(x->s, "cluster")) {
            fe_value *f = fe_new_value(e, FV_BUILTIN);
            f->s = vm_format(e->arena, "%s.%s", x->s, name);
            return fe_call(e, f, args, at);
        }
        break;
    case FV_RT: case FV_TENSOR: {
        fe_args all = prepend(e, x, args, base);
        for (uint32_t i = 0; i < all.n; i++)
            if ((all.at[i].v && all.at[i].v->kind == FV_POISON) || (all.at[i].v2 && all.at[i].v2->kind == FV_POISON)) return fe_poison(e);
        if (e->hooks && e->hooks->call) return e->hooks->call(e, name, &all, at);
        return runtime_only(e, vm_format(e->arena, "'.%s()'", name), at);
    }
    case FV_MODULE: break;
    default:
        if (fe_is_builtin(name)) {
            fe_value *f = fe_new_value(e, FV_BUILTIN);
            f->s = name;
            fe_args all = prepend(e, x, args, base);
            return fe_call(e, f, &all, at);
        }
        break;
    }
    return fe_call(e, fe_member(e, x, name, where), args, at);
}

/// A method may have the name of an instruction, `fn wait(r: Ring)`: it hides the instruction only
/// where the first argument is a struct.
static bool meant_for_struct(const fe_value *fn, const fe_args *args) {
    const ast *params = fe_kid(fn->node, 1), *t = params && params->nkids ? fe_bare(fe_kid(params->kid[0], 0)) : NULL;
    if (t && t->kind == AST_INDEX) t = fe_bare(t->kid[0]);
    const fe_binding *b = t && t->kind == AST_ID ? fe_find_in(fn->module->globals, t->name) : NULL;
    if (!b || !b->value || b->value->kind != FV_STRUCT_TYPE) return true;
    return args->n && args->at[0].form == FA_VALUE && args->at[0].v->kind == FV_STRUCT;
}

static fe_value *call(fe_eval *e, const ast *n) {
    const ast *callee = fe_bare(n->kid[0]);
    fe_args args;
    if (callee->kind == AST_MEMBER) {
        fe_value *x = fe_expr(e, callee->kid[0]);
        fe_eval_args(e, n->nkids - 1, n->kid + 1, &args);
        return method(e, callee, x, &args, n->span);
    }
    if (callee->kind == AST_INDEX && fe_bare(callee->kid[0])->kind == AST_MEMBER) { // x.f[metas](args)
        const ast *m = fe_bare(callee->kid[0]);
        fe_value *x = fe_expr(e, m->kid[0]);
        fe_binding *b = x->kind == FV_STRUCT && field_index(x->decl, m->name) < 0 ? fe_find_in(x->home->globals, m->name) : NULL;
        if (b && b->value && b->value->kind == FV_FN) {
            fe_args metas;
            fe_eval_args(e, callee->nkids - 1, callee->kid + 1, &metas);
            fe_value *f = fe_bind_metas(e, b->value, &metas, callee->span);
            fe_eval_args(e, n->nkids - 1, n->kid + 1, &args);
            fe_args all = prepend(e, x, &args, m->kid[0]);
            const ast *base = fe_bare(m->kid[0]);
            fe_binding *r = base->kind == AST_ID ? fe_find(e->scope, base->name) : NULL;
            return f->kind == FV_FN ? fe_call_fn(e, f, &all, r && r->value == x ? r : NULL, n->span) : f;
        }
    }
    fe_value *f = fe_expr(e, callee);
    fe_eval_args(e, n->nkids - 1, n->kid + 1, &args);
    if (callee->kind == AST_ID && f->kind == FV_FN && fe_is_builtin(callee->name) && !meant_for_struct(f, &args)) {
        f = fe_new_value(e, FV_BUILTIN);
        f->s = callee->name;
    }
    return fe_call(e, f, &args, n->span);
}

// ---- the walk -----------------------------------------------------------------------------------

static fe_value *items(fe_eval *e, const ast *n, enum fe_kind k) {
    fe_value **it = vm_newn(e->arena, fe_value *, n->nkids + 1);
    for (uint32_t i = 0; i < n->nkids; i++) it[i] = fe_expr(e, n->kid[i]);
    return fe_list(e, k, n->nkids, it);
}

static fe_value *expr(fe_eval *e, const ast *n) {
    switch (n->kind) {
    case AST_ID: return fe_lookup(e, n->name, n->span);
    case AST_INT:
        return n->u > INT64_MAX ? fe_int_of(e, T_u64, (int64_t)n->u) : fe_int(e, (int64_t)n->u);
    case AST_FLOAT: return fe_float(e, n->f);
    case AST_STRING: return fe_string(e, n->name);
    case AST_BOOL: return fe_bool(e, n->u != 0);
    case AST_PAREN: return fe_expr(e, n->kid[0]);
    case AST_TUPLE: return items(e, n, FV_TUPLE);
    case AST_LIST: return items(e, n, FV_LIST);
    case AST_RANGE: return items(e, n, FV_RANGE);
    case AST_UNARY: case AST_SPACE: return fe_unary(e, n->op, fe_expr(e, n->kid[0]), n->span);
    case AST_BINARY: {
        fe_value *x = fe_expr(e, n->kid[0]);
        const bool logic = n->op == OP_LAND || n->op == OP_LOR;
        if (logic && x->kind == FV_BOOL && (x->i != 0) == (n->op == OP_LOR)) return x;
        if (logic && x->kind == FV_RT && e->hooks && e->hooks->logic)
            return e->hooks->logic(e, n->op, x, n->kid[1], n->span);
        return fe_binary(e, n->op, x, fe_expr(e, n->kid[1]), n->span);
    }
    case AST_AT: {
        fe_value *x = fe_expr(e, n->kid[0]);
        return fe_at(e, x, fe_expr(e, n->kid[1]), n->span);
    }
    case AST_AS: {
        fe_value *x = fe_expr(e, n->kid[0]);
        return fe_cast(e, x, fe_type_expr(e, n->kid[1]), n->span);
    }
    case AST_CALL: return call(e, n);
    case AST_INDEX: {
        fe_value *x = fe_expr(e, n->kid[0]);
        fe_args args;
        fe_eval_args(e, n->nkids - 1, n->kid + 1, &args);
        return fe_index(e, x, &args, n->span);
    }
    case AST_MEMBER: return fe_member(e, fe_expr(e, n->kid[0]), n->name, n->name_span.file ? n->name_span : n->span);
    case AST_LAMBDA: {
        fe_value *v = fe_new_value(e, FV_LAMBDA);
        v->node = n;
        v->module = e->scope->module;
        v->scope = e->scope;
        return v;
    }
    case AST_ERROR: return fe_poison(e);
    default:
        vm_report(e->comp, D_E0304, n->span, "this is not a value");
        return fe_poison(e);
    }
}

fe_value *fe_expr(fe_eval *e, const ast *n) {
    if (!n || !fe_tick(e, n->span)) return fe_poison(e);
    fe_value *v = expr(e, n);
    return v ? v : fe_poison(e);
}

const fe_type *fe_type_expr(fe_eval *e, const ast *n) {
    fe_value *v = fe_expr(e, n);
    if (v->kind == FV_ANY) {
        vm_report(e->comp, D_E0304, n->span, "'_' cannot stand for a type here");
        return NULL;
    }
    return fe_as_type(e, v, n->span);
}

bool fe_const_int(fe_eval *e, const ast *n, int64_t *out) {
    fe_value *v = fe_expr(e, n);
    *out = 0;
    if (v->kind == FV_POISON) return false;
    if (v->kind == FV_INT) {
        *out = v->i;
        return true;
    }
    vm_report(e->comp, fe_is_known(v) ? D_E0304 : D_E0308, n->span, "expected an integer known at compile time, found %s",
              fe_describe(e, v));
    return false;
}
