// SPDX-License-Identifier: Apache-2.0
// Compile-time values and types: making, comparing and describing them, and the one conversion that
// happens without being written, from untyped literals to the type that the context asks for.
#include <math.h>
#include <string.h>
#include "frontend/eval_internal.h"

fe_value *fe_new_value(fe_eval *e, enum fe_kind k) {
    fe_value *v = vm_new(e->arena, fe_value);
    v->kind = k;
    return v;
}

fe_value *fe_int(fe_eval *e, int64_t i) {
    fe_value *v = fe_new_value(e, FV_INT);
    v->i = i;
    return v;
}

fe_value *fe_int_of(fe_eval *e, vm_dtype t, int64_t i) {
    fe_value *v = fe_int(e, i);
    v->typed = true;
    v->dtype = t;
    return v;
}

fe_value *fe_float(fe_eval *e, double f) {
    fe_value *v = fe_new_value(e, FV_FLOAT);
    v->f = f;
    return v;
}

fe_value *fe_bool(fe_eval *e, bool b) {
    fe_value *v = fe_new_value(e, FV_BOOL);
    v->i = b;
    v->typed = true;
    v->dtype = T_bool;
    return v;
}

fe_value *fe_string(fe_eval *e, const char *s) {
    fe_value *v = fe_new_value(e, FV_STRING);
    v->s = s;
    return v;
}

fe_value *fe_list(fe_eval *e, enum fe_kind k, uint32_t n, fe_value **items) {
    fe_value *v = fe_new_value(e, k);
    v->n = n;
    v->item = vm_newn(e->arena, fe_value *, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        v->item[i] = items[i];
        if (items[i]->kind == FV_POISON) return items[i];
    }
    return v;
}

fe_value *fe_tuple(fe_eval *e, uint32_t n, fe_value **items) { return fe_list(e, FV_TUPLE, n, items); }

fe_value *fe_rt(fe_eval *e, struct ir_value *rt) {
    fe_value *v = fe_new_value(e, FV_RT);
    v->rt = rt;
    return v;
}

fe_value *fe_poison(fe_eval *e) { return fe_new_value(e, FV_POISON); }
fe_value *fe_none(fe_eval *e) { return fe_new_value(e, FV_NONE); }

fe_value *fe_type_value(fe_eval *e, const fe_type *t) {
    fe_value *v = fe_new_value(e, FV_TYPE);
    v->type = t;
    return v;
}

const fe_type *fe_scalar_type(fe_eval *e, vm_dtype t) {
    fe_type *r = vm_new(e->arena, fe_type);
    r->kind = FT_SCALAR;
    r->elem = t;
    return r;
}

fe_type *fe_meta_kind(fe_eval *e, const char *name) {
    fe_type *t = vm_new(e->arena, fe_type);
    t->kind = FT_META;
    t->meta = name;
    return t;
}

static bool known(const fe_value *v, bool tensors) {
    if (!v) return true;
    switch (v->kind) {
    case FV_RT: return false;
    case FV_TENSOR: return tensors;
    case FV_TUPLE: case FV_LIST: case FV_RANGE: case FV_STRUCT:
        for (uint32_t i = 0; i < v->n; i++)
            if (!known(v->item[i], tensors)) return false;
        return true;
    case FV_SHARED_LAYOUT: return v->sh || !v->strides || known(v->strides, tensors);
    case FV_TYPE:
        for (int i = 0; i < v->type->rank; i++)
            if (!known(v->type->dim[i], tensors)) return false;
        return known(v->type->layout, tensors);
    default: return true;
    }
}

bool fe_is_known(const fe_value *v) { return known(v, true); }
bool fe_all_known(const fe_value *v) { return known(v, false); }

bool fe_type_equal(const fe_type *a, const fe_type *b) {
    if (a == b) return true;
    if (!a || !b || a->kind != b->kind || a->space != b->space || a->rank != b->rank ||
        a->inflight != b->inflight)
        return false;
    if ((a->kind == FT_SCALAR || a->kind == FT_TENSOR) && a->elem != b->elem) return false;
    if (a->kind == FT_META && strcmp(a->meta, b->meta) != 0) return false;
    if (a->kind == FT_STRUCT && !fe_equal(a->strukt, b->strukt)) return false;
    if (a->kind == FT_TUPLE && !fe_equal(a->items, b->items)) return false;
    for (int i = 0; i < a->rank; i++)
        if (!fe_equal(a->dim[i], b->dim[i])) return false;
    if (!a->layout != !b->layout) return false;
    return !a->layout || fe_equal(a->layout, b->layout);
}

static bool scope_equal(const fe_scope *a, const fe_scope *b) {
    const fe_binding *x = a ? a->first : NULL, *y = b ? b->first : NULL;
    for (; x && y; x = x->next, y = y->next)
        if (strcmp(x->name, y->name) != 0 || !fe_equal(x->value, y->value)) return false;
    return x == y;
}

bool fe_equal(const fe_value *a, const fe_value *b) {
    if (a == b) return true;
    if (!a || !b) return false;
    if (a->kind == FV_INT && b->kind == FV_FLOAT) return (double)a->i == b->f;
    if (a->kind == FV_FLOAT && b->kind == FV_INT) return a->f == (double)b->i;
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case FV_INT: case FV_BOOL: return a->i == b->i;
    case FV_FLOAT: return a->f == b->f;
    case FV_STRING: case FV_BUILTIN: case FV_SPECIAL: return strcmp(a->s, b->s) == 0;
    case FV_TYPE: return fe_type_equal(a->type, b->type);
    case FV_LAYOUT: return layout_equal(a->lay, b->lay);
    case FV_SHARED_LAYOUT:
        if (a->sh && b->sh) return shared_equal(a->sh, b->sh);
        return !a->sh && !b->sh && a->swizzle == b->swizzle && fe_equal(a->strides, b->strides);
    case FV_ATOM: return strcmp(a->atom->name, b->atom->name) == 0;
    case FV_TUPLE: case FV_LIST: case FV_RANGE: case FV_STRUCT:
        if (a->n != b->n || (a->kind == FV_STRUCT && a->decl != b->decl)) return false;
        for (uint32_t i = 0; i < a->n; i++)
            if (!fe_equal(a->item[i], b->item[i])) return false;
        return true;
    case FV_FN: case FV_KERNEL: case FV_STRUCT_TYPE:
        return a->node == b->node && scope_equal(a->scope, b->scope);
    case FV_MODULE: return a->module == b->module;
    case FV_RT: return a->rt == b->rt;
    case FV_NONE: case FV_ANY: return true;
    default: return false;
    }
}

// ---- description --------------------------------------------------------------------------------

static void put_value(fe_eval *e, vm_text *t, const fe_value *v);

static void put_type(fe_eval *e, vm_text *t, const fe_type *y) {
    static const char *const space[] = {"", "reg ", "shared ", "global ", "tmem "};
    if (y->inflight) vm_put(t, "inflight(");
    vm_put(t, "%s", space[y->space]);
    switch (y->kind) {
    case FT_SCALAR: case FT_TENSOR: vm_put(t, "%s", vm_dtype_name(y->elem)); break;
    case FT_BARRIER: vm_put(t, "barrier"); break;
    case FT_META: vm_put(t, "%s", y->meta); break;
    case FT_TUPLE: put_value(e, t, y->items); break;
    case FT_STRUCT: put_value(e, t, y->strukt); break;
    }
    if (y->rank) {
        vm_put(t, "[");
        for (int i = 0; i < y->rank; i++) {
            if (i) vm_put(t, ", ");
            if (y->dim[i]->kind == FV_RT) vm_put(t, "?");
            else put_value(e, t, y->dim[i]);
        }
        vm_put(t, "]");
    }
    if (y->layout) {
        vm_put(t, " @ ");
        put_value(e, t, y->layout);
    }
    if (y->inflight) vm_put(t, ")");
}

static void put_items(fe_eval *e, vm_text *t, const fe_value *v, const char *open, const char *close) {
    vm_put(t, "%s", open);
    for (uint32_t i = 0; i < v->n; i++) {
        if (i) vm_put(t, ", ");
        put_value(e, t, v->item[i]);
    }
    vm_put(t, "%s", close);
}

static void put_value(fe_eval *e, vm_text *t, const fe_value *v) {
    switch (v->kind) {
    case FV_POISON: vm_put(t, "an erroneous value"); break;
    case FV_NONE: vm_put(t, "no value"); break;
    case FV_INT:
        if (v->typed && v->dtype == T_u64) vm_put(t, "%llu", (unsigned long long)v->i);
        else vm_put(t, "%lld", (long long)v->i);
        break;
    case FV_FLOAT: vm_put(t, "%.17g", v->f); break;
    case FV_BOOL: vm_put(t, "%s", v->i ? "true" : "false"); break;
    case FV_STRING: vm_put(t, "\"%s\"", v->s); break;
    case FV_TYPE: put_type(e, t, v->type); break;
    case FV_LAYOUT: vm_put(t, "%s", layout_text(e->arena, v->lay)); break;
    case FV_SHARED_LAYOUT:
        if (v->sh) vm_put(t, "%s", shared_text(e->arena, v->sh));
        else if (v->strides) put_items(e, t, v->strides, "strides(", ")");
        else if (v->swizzle > 0) vm_put(t, "swizzle(%d)", v->swizzle);
        else vm_put(t, v->swizzle < 0 ? "column_major()" : "row_major()");
        break;
    case FV_ATOM: vm_put(t, "mma.%s", v->atom->name); break;
    case FV_DOT: vm_put(t, "mma.dot(mma.%s, …)", v->dot->atom->name); break;
    case FV_TUPLE: put_items(e, t, v, "(", v->n == 1 ? ",)" : ")"); break;
    case FV_LIST: put_items(e, t, v, "[", "]"); break;
    case FV_RANGE:
        put_value(e, t, v->item[0]);
        vm_put(t, "..");
        put_value(e, t, v->item[1]);
        break;
    case FV_FN: vm_put(t, "function %s", v->node->name); break;
    case FV_KERNEL: vm_put(t, "kernel %s", v->node->name); break;
    case FV_LAMBDA: vm_put(t, "a lambda"); break;
    case FV_BUILTIN: vm_put(t, "function %s", v->s); break;
    case FV_MODULE: vm_put(t, "module %s", v->module->path); break;
    case FV_STRUCT_TYPE: {
        vm_put(t, "%s", v->node->name);
        const ast *meta = fe_kid(v->node, 0);
        if (!v->scope || !meta) break;
        for (uint32_t i = 0, k = 0; i < meta->nkids; i++) {
            const fe_binding *b = fe_find_in(v->scope, meta->kid[i]->name);
            if (!b || !b->value) continue;
            vm_put(t, k++ ? ", " : "[");
            put_value(e, t, b->value);
            if (i + 1 == meta->nkids) vm_put(t, "]");
        }
        break;
    }
    case FV_STRUCT: vm_put(t, "a %s", v->decl->name); break;
    case FV_SPECIAL: vm_put(t, "'%s'", v->s); break;
    case FV_ANY: vm_put(t, "_"); break;
    case FV_TENSOR: case FV_RT: {
        const fe_type *y = fe_type_of_value(e, v);
        if (y && v->kind == FV_RT) vm_put(t, "a run-time ");
        if (y) put_type(e, t, y);
        else vm_put(t, v->kind == FV_RT ? "a run-time value" : "a tensor");
        break;
    }
    }
}

const char *fe_describe(fe_eval *e, const fe_value *v) {
    vm_text t = {.arena = e->arena};
    put_value(e, &t, v);
    return vm_text_end(&t);
}

const char *fe_type_text(fe_eval *e, const fe_type *y) {
    vm_text t = {.arena = e->arena};
    put_type(e, &t, y);
    return vm_text_end(&t);
}

// ---- types --------------------------------------------------------------------------------------

const fe_type *fe_as_type(fe_eval *e, fe_value *v, vm_span at) {
    if (v->kind == FV_POISON || v->kind == FV_ANY) return NULL;
    if (v->kind == FV_TYPE) return v->type;
    fe_type *t = vm_new(e->arena, fe_type);
    if (v->kind == FV_STRUCT_TYPE) {
        t->kind = FT_STRUCT;
        t->strukt = v;
        return t;
    }
    if (v->kind == FV_TUPLE) {
        t->kind = FT_TUPLE;
        fe_value **it = vm_newn(e->arena, fe_value *, v->n + 1);
        for (uint32_t i = 0; i < v->n; i++) {
            if (v->item[i]->kind == FV_ANY) {
                it[i] = v->item[i];
                continue;
            }
            const fe_type *s = fe_as_type(e, v->item[i], at);
            if (!s) return NULL;
            it[i] = fe_type_value(e, s);
        }
        t->items = fe_tuple(e, v->n, it);
        return t;
    }
    vm_report(e->comp, D_E0304, at, "expected a type, found %s", fe_describe(e, v));
    return NULL;
}

const fe_type *fe_type_of_value(fe_eval *e, const fe_value *v) {
    fe_type *t;
    switch (v->kind) {
    case FV_INT: case FV_FLOAT: case FV_BOOL: return v->typed ? fe_scalar_type(e, v->dtype) : NULL;
    case FV_RT: return e->hooks && e->hooks->type_of ? e->hooks->type_of(e, v) : NULL;
    case FV_TENSOR:
        t = vm_new(e->arena, fe_type);
        t->kind = FT_TENSOR;
        t->elem = v->tensor->type;
        t->rank = v->tensor->rank;
        for (int i = 0; i < t->rank; i++) t->dim[i] = fe_int(e, v->tensor->dim[i]);
        return t;
    case FV_STRUCT:
        t = vm_new(e->arena, fe_type);
        t->kind = FT_STRUCT;
        t->strukt = fe_new_value(e, FV_STRUCT_TYPE);
        t->strukt->node = v->decl;
        t->strukt->module = v->home;
        t->strukt->scope = v->metas;
        return t;
    default: return NULL;
    }
}

uint64_t fe_to_code(const fe_value *v, vm_dtype t) {
    if (v->kind == FV_FLOAT && v->typed && v->dtype == t) // its own number, an infinity too
        return vm_encode(t, v->f, (vm_rounding){.round = R_NEAREST});
    if (v->kind == FV_FLOAT)
        return vm_is_float(t) ? vm_encode(t, v->f, vm_default_rounding(t))
                              : vm_cast(T_f64, t, vm_encode(T_f64, v->f, vm_default_rounding(T_f64)),
                                        vm_default_rounding(t));
    if (t == T_bool) return v->i != 0;
    if (vm_is_float(t)) {
        const vm_dtype from = v->typed && v->dtype == T_u64 ? T_u64 : T_i64;
        return vm_cast(from, t, (uint64_t)v->i, vm_default_rounding(t));
    }
    return vm_encode_int(t, v->i);
}

fe_value *fe_from_code(fe_eval *e, vm_dtype t, uint64_t code) {
    if (t == T_bool) return fe_bool(e, code != 0);
    if (vm_is_float(t)) {
        fe_value *v = fe_float(e, vm_decode(t, code));
        v->typed = true;
        v->dtype = t;
        return v;
    }
    return fe_int_of(e, t, vm_decode_int(t, code));
}

static fe_value *mismatch(fe_eval *e, const fe_value *v, const fe_type *t, vm_span at) {
    const fe_type *have = fe_type_of_value(e, v);
    vm_diag *d = vm_report(e->comp, D_E0305, at, "expected %s, found %s", fe_type_text(e, t),
                           have && v->kind != FV_RT ? fe_type_text(e, have) : fe_describe(e, v));
    if (t->kind == FT_SCALAR && (v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL))
        vm_help(e->comp, d, "convert with 'as %s'", vm_dtype_name(t->elem));
    return fe_poison(e);
}

static fe_value *to_scalar(fe_eval *e, fe_value *v, const fe_type *t, vm_span at) {
    const vm_dtype d = t->elem;
    if (v->typed) return v->dtype == d ? v : mismatch(e, v, t, at);
    if (d == T_bool || (v->kind == FV_FLOAT && !vm_is_float(d))) return mismatch(e, v, t, at);
    fe_value *r = fe_from_code(e, d, fe_to_code(v, d));
    const bool fits = v->kind == FV_FLOAT ? !isfinite(v->f) || isfinite(r->f)
                      : r->kind == FV_FLOAT ? isfinite(r->f)
                                            : r->i == v->i && (d != T_u64 || v->i >= 0);
    if (fits) return r;
    vm_report(e->comp, D_E0306, at, "%s does not fit %s", fe_describe(e, v), vm_dtype_name(d));
    return fe_poison(e);
}

static fe_value *to_meta(fe_eval *e, fe_value *v, const fe_type *t, vm_span at) {
    const char *m = t->meta;
    if (v->kind == FV_ANY) return v;
    if (!fe_is_known(v)) {
        vm_report(e->comp, D_E0308, at, "this must be known at compile time, but is %s", fe_describe(e, v));
        return fe_poison(e);
    }
    bool ok = false;
    if (!strcmp(m, "int")) ok = v->kind == FV_INT;
    else if (!strcmp(m, "float")) {
        if (v->kind == FV_INT) return fe_float(e, (double)v->i);
        ok = v->kind == FV_FLOAT;
    } else if (!strcmp(m, "bool")) ok = v->kind == FV_BOOL;
    else if (!strcmp(m, "str")) ok = v->kind == FV_STRING;
    else if (!strcmp(m, "type")) ok = v->kind == FV_TYPE || v->kind == FV_STRUCT_TYPE || v->kind == FV_TUPLE;
    else if (!strcmp(m, "layout")) ok = v->kind == FV_LAYOUT || v->kind == FV_SHARED_LAYOUT;
    return ok ? v : mismatch(e, v, t, at);
}

fe_value *fe_coerce(fe_eval *e, fe_value *v, const fe_type *t, vm_span at) {
    if (!t || v->kind == FV_POISON) return v;
    switch (t->kind) {
    case FT_META: return to_meta(e, v, t, at);
    case FT_TUPLE: {
        if (v->kind != FV_TUPLE || v->n != t->items->n) return mismatch(e, v, t, at);
        fe_value **it = vm_newn(e->arena, fe_value *, v->n + 1);
        for (uint32_t i = 0; i < v->n; i++)
            it[i] = fe_coerce(e, v->item[i],
                              t->items->item[i]->kind == FV_TYPE ? t->items->item[i]->type : NULL, at);
        return fe_tuple(e, v->n, it);
    }
    case FT_STRUCT:
        if (v->kind == FV_STRUCT)
            return v->decl == t->strukt->node ? v : mismatch(e, v, t, at);
        break;
    case FT_SCALAR:
        if (v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL) return to_scalar(e, v, t, at);
        break;
    default: break;
    }
    const bool number = v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL;
    if (e->hooks && e->hooks->coerce && (fe_foreign(v) || (number && t->kind == FT_TENSOR)))
        return e->hooks->coerce(e, v, t, at);
    return mismatch(e, v, t, at);
}
