// SPDX-License-Identifier: Apache-2.0
// Names that are there without a declaration, and the compile-time functions on numbers and types.
// Layout functions are in builtin_layout.c.
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "frontend/eval_internal.h"

static const char *const metas[] = {"int", "float", "bool", "str", "type", "layout"};
static const char *const specials[] = {"block", "grid", "cluster", "target", "mma", "threads", "warps"};
static const char *const functions[] = {
    // compile time
    "cdiv", "gcd", "log2i", "bits", "bytes", "is_float", "is_signed", "len", "row_max", "row_min", "row_sum", "row_any",
    "row_all", "inflight", "clamp", "local", "spatial", "column_local", "column_spatial", "concat", "divide",
    "left_divide", "reduce", "replicated", "permute", "reshape", "flatten", "squeeze", "unsqueeze",
    "auto_local_spatial", "swizzle", "strides", "row_major", "column_major", "compose",
    // run time, beside the rows of inst.def
    "zeros", "map", "order", "encode", "decode", "decode_bias", "lane", "warp",
    // test blocks
    "random", "poison", "expect_close", "expect_equal", "expect_error"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool among(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return true;
    return false;
}

bool fe_is_builtin(const char *name) {
    vm_inst i;
    if (among(name, functions, COUNT(functions)) || !strncmp(name, "ref_", 4)) return true;
    return vm_inst_find(name, &i) && (vm_insts[i].vis == V_SOURCE || vm_insts[i].vis == V_SIMT);
}

bool fe_is_predefined(const char *name) {
    vm_dtype t;
    return vm_dtype_find(name, &t) || among(name, metas, COUNT(metas)) || among(name, specials, COUNT(specials)) ||
           fe_is_builtin(name) || !strcmp(name, "PI") || !strcmp(name, "LOG2E") || !strcmp(name, "INF") ||
           !strcmp(name, "NAN") || !strcmp(name, "barrier") || !strcmp(name, "_");
}

void fe_predefined_names(fe_eval *e, uint32_t *n, const char ***names) {
    VM_VEC(const char *) v = {0};
    static const char *const others[] = {"PI", "LOG2E", "INF", "NAN", "barrier"};
    for (size_t i = 0; i < T_count_; i++) vm_push(e->arena, &v, vm_dtypes[i].name);
    for (size_t i = 0; i < COUNT(metas); i++) vm_push(e->arena, &v, metas[i]);
    for (size_t i = 0; i < COUNT(specials); i++) vm_push(e->arena, &v, specials[i]);
    for (size_t i = 0; i < COUNT(functions); i++) vm_push(e->arena, &v, functions[i]);
    for (size_t i = 0; i < COUNT(others); i++) vm_push(e->arena, &v, others[i]);
    for (size_t i = 0; i < I_count_; i++)
        if (vm_insts[i].vis == V_SOURCE || vm_insts[i].vis == V_SIMT) vm_push(e->arena, &v, vm_insts[i].name);
    *n = v.n;
    *names = v.at;
}

fe_value *fe_predefined(fe_eval *e, const char *name, vm_span at) {
    vm_dtype t;
    if (!strcmp(name, "_")) return fe_new_value(e, FV_ANY);
    if (vm_dtype_find(name, &t)) return fe_type_value(e, fe_scalar_type(e, t));
    if (among(name, metas, COUNT(metas))) return fe_type_value(e, fe_meta_kind(e, name));
    if (!strcmp(name, "barrier")) {
        fe_type *b = vm_new(e->arena, fe_type);
        b->kind = FT_BARRIER;
        return fe_type_value(e, b);
    }
    if (!strcmp(name, "PI")) return fe_float(e, 3.14159265358979323846);
    if (!strcmp(name, "LOG2E")) return fe_float(e, 1.4426950408889634074);
    if (!strcmp(name, "INF")) return fe_float(e, (double)INFINITY);
    if (!strcmp(name, "NAN")) return fe_float(e, (double)NAN);
    if (among(name, specials, COUNT(specials))) {
        fe_value *v = fe_new_value(e, FV_SPECIAL);
        v->s = name;
        v->span = at;
        const bool value = !strcmp(name, "threads") || !strcmp(name, "warps");
        if (!value) return v;
        if (e->hooks && e->hooks->member) return e->hooks->member(e, v, "", at);
        vm_report(e->comp, D_E0324, at, "'%s' is only known in a kernel", name);
        return fe_poison(e);
    }
    if (fe_is_builtin(name)) {
        fe_value *v = fe_new_value(e, FV_BUILTIN);
        v->s = name;
        return v;
    }
    return NULL;
}

const char *fe_bad_type_name(fe_eval *e, const char *name) {
    if ((name[0] == 'u' || name[0] == 'i') && isdigit((unsigned char)name[1])) {
        char *end;
        const long n = strtol(name + 1, &end, 10);
        if (*end || n > 4096) return NULL;
        return vm_format(e->arena, "no type '%s'; integers have 1 to 8 (signed: 2 to 8), 16, 32 or 64 bits", name);
    }
    int bits, ex, man, used = 0;
    if (strlen(name) > 12 || sscanf(name, "f%de%dm%d%n", &bits, &ex, &man, &used) != 3 || name[used] || bits < 0 || ex < 0 || man < 0)
        return NULL;
    vm_text t = {.arena = e->arena};
    vm_put(&t, "no type '%s'", name);
    vm_dtype found;
    char a[32], b[32];
    if (1 + ex + man != bits) {
        vm_put(&t, ": 1 + %d + %d bits make %d, not %d", ex, man, 1 + ex + man, bits);
        snprintf(a, sizeof a, "f%de%dm%d", bits, ex, bits - 1 - ex);
        snprintf(b, sizeof b, "f%de%dm%d", 1 + ex + man, ex, man);
        const bool ha = vm_dtype_find(a, &found), hb = vm_dtype_find(b, &found);
        if (ha && hb) vm_put(&t, "; did you mean '%s' or '%s'?", a, b);
        else if (ha || hb) vm_put(&t, "; did you mean '%s'?", ha ? a : b);
    } else vm_put(&t, "; small floats have 3 to 8 bits, at least one exponent and one mantissa bit, from f3e1m1 to f8e4m3");
    return vm_text_end(&t);
}

// ---- compile-time functions ---------------------------------------------------------------------

static fe_value *fail(fe_eval *e, enum vm_code code, vm_span at, const char *text) {
    vm_report(e->comp, code, at, "%s", text);
    return fe_poison(e);
}

/// Exactly n positional values; NULL after a report.
static fe_value **plain(fe_eval *e, const char *name, const fe_args *args, uint32_t n, vm_span at) {
    bool ok = args->n == n;
    fe_value **v = vm_newn(e->arena, fe_value *, n + 1);
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = args->at[i].form == FA_VALUE && !args->at[i].name;
        v[i] = args->at[i].v;
    }
    if (ok) return v;
    vm_report(e->comp, D_E0309, at, "'%s' takes %u value%s", name, n, n == 1 ? "" : "s");
    return NULL;
}

static bool foreign_args(const fe_args *args) {
    for (uint32_t i = 0; i < args->n; i++) {
        if (args->at[i].form != FA_VALUE && args->at[i].form != FA_RANGE) return true;
        if (args->at[i].v && !fe_all_known(args->at[i].v)) return true;
        if (args->at[i].v2 && !fe_all_known(args->at[i].v2)) return true;
    }
    return false;
}

static fe_value *cdiv(fe_eval *e, fe_value *x, fe_value *y, vm_span at) {
    fe_value *less = fe_binary(e, OP_SUB, y, fe_int(e, 1), at);
    return fe_binary(e, OP_DIV, fe_binary(e, OP_ADD, x, less, at), y, at);
}

static fe_value *gcd(fe_eval *e, fe_value *x, fe_value *y, vm_span at) {
    if (x->kind != FV_INT || y->kind != FV_INT)
        return fail(e, fe_is_known(x) && fe_is_known(y) ? D_E0305 : D_E0308, at, "'gcd' takes integers known at compile time");
    uint64_t a = (uint64_t)(x->i < 0 ? -x->i : x->i), b = (uint64_t)(y->i < 0 ? -y->i : y->i);
    while (b) {
        const uint64_t r = a % b;
        a = b;
        b = r;
    }
    return x->typed ? fe_int_of(e, x->dtype, (int64_t)a) : y->typed ? fe_int_of(e, y->dtype, (int64_t)a) : fe_int(e, (int64_t)a);
}

static int64_t type_bits(const fe_type *t, bool *ok) {
    int64_t n = 0;
    *ok = t && (t->kind == FT_SCALAR || t->kind == FT_TENSOR || t->kind == FT_BARRIER);
    if (!*ok) return 0;
    n = t->kind == FT_BARRIER ? 64 : (int64_t)vm_mem_bits(t->elem);
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i]->kind != FV_INT) *ok = false;
        else if (__builtin_mul_overflow(n, t->dim[i]->i, &n)) *ok = false;
    }
    return n;
}

static const fe_type *type_arg(fe_eval *e, fe_value *v, vm_span at) {
    if (v->kind == FV_TYPE) return v->type;
    const fe_type *t = fe_type_of_value(e, v);
    if (!t) vm_report(e->comp, D_E0304, at, "expected a type, found %s", fe_describe(e, v));
    return t;
}

uint32_t fe_struct_members(fe_eval *e, fe_value *st, const fe_type **out, vm_span at) {
    const ast *node = st->node;
    const fe_state old = fe_save(e);
    e->scope = fe_new_scope(e, st->scope ? st->scope : st->module->globals, st->module, false);
    uint32_t n = 0;
    bool ok = node->nkids > 1 && node->nkids <= FE_MAX_FIELDS + 1;
    for (uint32_t i = 1; ok && i < node->nkids; i++) ok = (out[n++] = fe_type_expr(e, node->kid[i]->kid[0])) != NULL;
    fe_restore(e, &old);
    if (ok) return n;
    vm_report(e->comp, D_E0304, at, "a struct in memory has 1 to %d members of known type", FE_MAX_FIELDS);
    return 0;
}

int64_t fe_struct_offsets(uint32_t n, const fe_type *const *member, int64_t *offset) {
    int64_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool ok;
        const int64_t b = type_bits(member[i], &ok);
        if (!ok || b < 0 || b > INT32_MAX) return 0;
        offset[i] = total;
        total += (b + 127) / 128 * 16;
    }
    return total;
}

static fe_value *struct_bits(fe_eval *e, fe_value *st, vm_span at) {
    const fe_type *member[FE_MAX_FIELDS];
    int64_t offset[FE_MAX_FIELDS];
    const uint32_t n = fe_struct_members(e, st, member, at);
    const int64_t total = n ? fe_struct_offsets(n, member, offset) : 0;
    if (!n) return fe_poison(e);
    return total ? fe_int(e, total * 8) : fail(e, D_E0304, at, "this struct has no size known at compile time");
}

/// order(n, threads = …): std/order.tvm, without an import.
static fe_value *ordered(fe_eval *e, fe_args *args, vm_span at) {
    fe_module *m = fe_import(e, "std/order.tvm", at);
    fe_binding *b = m ? fe_find_in(m->globals, vm_intern(e->comp, "order")) : NULL;
    return b && b->value ? fe_call_fn(e, b->value, args, NULL, at) : fe_poison(e);
}

static fe_value *of_type(fe_eval *e, const char *name, fe_value *v, vm_span at) {
    if (v->kind == FV_STRUCT_TYPE && (!strcmp(name, "bits") || !strcmp(name, "bytes"))) {
        fe_value *b = struct_bits(e, v, at);
        return b->kind == FV_INT && !strcmp(name, "bytes") ? fe_int(e, b->i / 8) : b;
    }
    const fe_type *t = type_arg(e, v, at);
    if (!t) return fe_poison(e);
    if (!strcmp(name, "is_float") || !strcmp(name, "is_signed")) {
        if (t->kind != FT_SCALAR && t->kind != FT_TENSOR) return fe_bool(e, false);
        return fe_bool(e, name[3] == 'f' ? vm_is_float(t->elem) : vm_is_signed(t->elem));
    }
    bool ok;
    const int64_t n = type_bits(t, &ok);
    if (!ok) return fail(e, D_E0308, at, vm_format(e->arena, "the size of %s is not known at compile time", fe_type_text(e, t)));
    return fe_int(e, !strcmp(name, "bits") ? n : (n + 7) / 8);
}

/// Elementwise instruction on known scalars. Untyped operands are computed as i64, f64 or f32.
static fe_value *elementwise(fe_eval *e, vm_inst inst, const fe_args *args, vm_span at) {
    const vm_inst_info *info = &vm_insts[inst];
    fe_value **v = plain(e, info->name, args, (uint32_t)info->nops, at);
    if (!v) return fe_poison(e);
    const uint32_t first = info->cls == C_SELECT ? 1 : 0, n = (uint32_t)info->nops;
    if (first && v[0]->kind == FV_BOOL && v[1]->kind != FV_INT && v[1]->kind != FV_FLOAT) return v[0]->i ? v[1] : v[2];
    const fe_value *typed = NULL;
    bool any_float = false;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i]->kind != FV_INT && v[i]->kind != FV_FLOAT && v[i]->kind != FV_BOOL)
            return fail(e, D_E0305, at, vm_format(e->arena, "'%s' takes numbers, not %s", info->name, fe_describe(e, v[i])));
        if (i < first) continue;
        any_float |= v[i]->kind == FV_FLOAT;
        if (v[i]->typed && !typed) typed = v[i];
    }
    if (first && v[0]->kind != FV_BOOL) return fail(e, D_E0305, at, "'select' takes a bool first");
    static const vm_inst floats[] = {I_exp, I_exp2, I_log, I_log2, I_sqrt, I_rsqrt, I_rcp, I_sin, I_cos, I_tanh, I_erf, I_floor, I_ceil};
    for (size_t i = 0; i < COUNT(floats); i++) any_float |= inst == floats[i] && !typed;
    vm_dtype t = typed ? typed->dtype : any_float ? T_f64 : T_i64;
    if (t == T_f64 && !typed && !vm_eval_legal(inst, t, NULL)) t = T_f32; // as the machine computes it
    const bool amounts = inst == I_fshl || inst == I_prmt;
    uint64_t code[3] = {0, 0, 0};
    for (uint32_t i = 0; i < n; i++) {
        if (i < first) {
            code[i] = v[i]->i != 0;
            continue;
        }
        fe_value *x = amounts && i == 2 && v[i]->kind == FV_INT ? fe_int_of(e, t, v[i]->i)
                                                                : fe_coerce(e, v[i], fe_scalar_type(e, t), at);
        if (x->kind == FV_POISON) return x;
        code[i] = fe_to_code(x, t);
    }
    const char *why = NULL;
    if (!vm_eval_legal(inst, t, &why)) {
        vm_report(e->comp, D_E0315, at, "'%s' is not defined on %s%s%s", info->name, vm_dtype_name(t), why ? ": " : "", why ? why : "");
        return fe_poison(e);
    }
    fe_value *r = fe_from_code(e, t, vm_eval(inst, t, code));
    if (!typed && r->kind != FV_BOOL) r->typed = false;
    return r;
}

static fe_value *length(fe_eval *e, fe_value *v, vm_span at) {
    if (v->kind == FV_TUPLE || v->kind == FV_LIST) return fe_int(e, v->n);
    if (v->kind == FV_STRING) return fe_int(e, (int64_t)strlen(v->s));
    if (v->kind == FV_RANGE) return fe_binary(e, OP_SUB, v->item[1], v->item[0], at);
    const fe_type *t = v->kind == FV_TYPE ? v->type : fe_type_of_value(e, v);
    if (t && t->rank && t->dim[0]->kind != FV_ANY) return t->dim[0];
    return fail(e, D_E0305, at, vm_format(e->arena, "%s has no length", fe_describe(e, v)));
}

static fe_value *row(fe_eval *e, const char *op, fe_args *args, vm_span at) {
    if (args->n != 1 || !e->hooks || !e->hooks->call) return fail(e, D_E0309, at, "row reductions take one tile");
    fe_args all = {.n = 2, .at = vm_newn(e->arena, fe_arg, 2)};
    all.at[0] = args->at[0];
    all.at[1] = (fe_arg){.form = FA_VALUE, .name = vm_intern(e->comp, "dim"), .v = fe_int(e, 1), .span = at};
    return e->hooks->call(e, vm_intern(e->comp, op), &all, at);
}

static fe_value *assertion(fe_eval *e, const fe_args *args, vm_span at) {
    if (!args->n || !args->at[0].v || args->at[0].v->kind != FV_BOOL) return NULL;
    if (args->at[0].v->i) return fe_none(e);
    if (e->hooks && e->hooks->call) return NULL; // it may stand where control never comes
    const fe_value *m = args->n > 1 && args->at[1].v && args->at[1].v->kind == FV_STRING ? args->at[1].v : NULL;
    return fail(e, D_E0316, at, vm_format(e->arena, "assertion fails%s%s", m ? ": " : "", m ? m->s : ""));
}

fe_value *fe_builtin(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    fe_value **v;
    if (!strncmp(name, "row_", 4) && strcmp(name, "row_major") != 0) return row(e, name + 4, args, at);
    if (!strcmp(name, "cdiv")) return (v = plain(e, name, args, 2, at)) ? cdiv(e, v[0], v[1], at) : fe_poison(e);
    if (!strcmp(name, "gcd")) return (v = plain(e, name, args, 2, at)) ? gcd(e, v[0], v[1], at) : fe_poison(e);
    if (!strcmp(name, "log2i")) {
        if (!(v = plain(e, name, args, 1, at))) return fe_poison(e);
        if (v[0]->kind != FV_INT || v[0]->i <= 0) return fail(e, D_E0307, at, "'log2i' takes a positive integer known at compile time");
        return fe_int(e, 63 - __builtin_clzll((unsigned long long)v[0]->i));
    }
    if (!strcmp(name, "bits") || !strcmp(name, "bytes") || !strcmp(name, "is_float") || !strcmp(name, "is_signed"))
        return (v = plain(e, name, args, 1, at)) ? of_type(e, name, v[0], at) : fe_poison(e);
    if (!strcmp(name, "len")) return (v = plain(e, name, args, 1, at)) ? length(e, v[0], at) : fe_poison(e);
    if (!strcmp(name, "inflight")) {
        if (!(v = plain(e, name, args, 1, at))) return fe_poison(e);
        const fe_type *t = fe_as_type(e, v[0], at);
        if (!t || t->kind != FT_TENSOR || t->space != FS_REG)
            return t ? fail(e, D_E0304, at, "only register tiles can be in flight") : fe_poison(e);
        fe_type *r = vm_dup(e->arena, t, sizeof *t);
        r->inflight = true;
        return fe_type_value(e, r);
    }
    if (!strcmp(name, "target.has")) {
        if (!(v = plain(e, name, args, 1, at))) return fe_poison(e);
        if (v[0]->kind != FV_STRING) return fail(e, D_E0305, at, "target.has takes the name of a feature as a string");
        return fe_bool(e, !e->opt.arch || vm_arch_has(e->opt.arch, v[0]->s));
    }
    fe_value *lay = fe_layout_builtin(e, name, args, at);
    if (lay) return lay;
    if (foreign_args(args)) return NULL;
    if (!strcmp(name, "order") && e->hooks && e->hooks->simt) return ordered(e, args, at);
    if (!strcmp(name, "assert") || !strcmp(name, "assume")) return assertion(e, args, at);
    if (!strcmp(name, "cast") && args->n == 2 && args->at[0].v->kind != FV_TYPE && args->at[1].v->kind == FV_TYPE)
        return fe_cast(e, args->at[0].v, args->at[1].v->type, at);
    if (!strcmp(name, "bitcast") && args->n == 2 && args->at[1].v->kind == FV_TYPE) {
        const fe_value *x = args->at[0].v;
        const fe_type *t = args->at[1].v->type;
        if (x->typed && t->kind == FT_SCALAR && vm_bits(t->elem) == vm_bits(x->dtype))
            return fe_from_code(e, t->elem, fe_to_code(x, x->dtype));
        return fail(e, D_E0305, at, "'bitcast' takes a value with a type, and a type of the same number of bits");
    }
    if (!strcmp(name, "clamp")) {
        if (!(v = plain(e, name, args, 3, at))) return fe_poison(e);
        fe_arg hi[2] = {args->at[0], args->at[2]}, lo[2];
        fe_value *m = elementwise(e, I_min, &(fe_args){2, hi}, at);
        if (m->kind == FV_POISON) return m;
        lo[0] = (fe_arg){.form = FA_VALUE, .v = m, .span = at};
        lo[1] = args->at[1];
        return elementwise(e, I_max, &(fe_args){2, lo}, at);
    }
    vm_inst inst;
    if (vm_inst_find(name, &inst) && (vm_insts[inst].cls == C_ELEM || vm_insts[inst].cls == C_SELECT) &&
        vm_insts[inst].vis == V_SOURCE) {
        for (uint32_t i = 0; i < args->n; i++) {
            const fe_value *x = args->at[i].v; // reductions: min(x, dim = …)
            if (args->at[i].name || !x) return NULL;
        }
        return elementwise(e, inst, args, at);
    }
    return NULL;
}
