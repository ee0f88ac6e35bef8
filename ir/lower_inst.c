// SPDX-License-Identifier: Apache-2.0
// Calls of instructions on memory, barriers and threads, and the dispatch by name.
#include "ir/lower.h"

#include <string.h>

// ---- arguments ----------------------------------------------------------------------------------

fe_value *lw_none(lower *l) {
    return fe_none(l->e);
}

fe_value *lw_bad_args(lower *l, const char *name, const char *want, vm_span at) {
    vm_report(l->c, D_E0354, at, "'%s' takes %s", name, want);
    return fe_poison(l->e);
}

uint32_t lw_positional(const fe_args *args, fe_value **v, vm_span *span) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < args->n && n < LW_MAX_ARGS; i++) {
        if (args->at[i].name || args->at[i].form != FA_VALUE) continue;
        span[n] = args->at[i].span;
        v[n++] = args->at[i].v;
    }
    return n;
}

int64_t lw_named_int(lower *l, const fe_args *args, const char *name, int64_t otherwise) {
    const fe_arg *a = fe_named(args, name);
    if (!a || !a->v || lw_poison(a->v)) return otherwise;
    if (a->v->kind == FV_INT || a->v->kind == FV_BOOL) return a->v->i;
    vm_report(l->c, D_E0358, a->span, "'%s' is a constant integer", name);
    return otherwise;
}

const char *lw_named_str(lower *l, const fe_args *args, const char *name) {
    const fe_arg *a = fe_named(args, name);
    if (!a || !a->v || lw_poison(a->v)) return NULL;
    if (a->v->kind == FV_STRING || a->v->kind == FV_BUILTIN) return a->v->s;
    vm_report(l->c, D_E0358, a->span, "'%s' is a constant string", name);
    return NULL;
}

static bool one_of(const char *s, const char *list) { // list: " a b c "
    const size_t n = strlen(s);
    for (const char *p = list; *p; p++)
        if (p[0] == ' ' && strncmp(p + 1, s, n) == 0 && p[1 + n] == ' ') return true;
    return false;
}

static void attr_str(lower *l, const fe_args *args, const char *name, enum ir_attr_key k, ir_op *op,
                     const char *list) {
    const char *s = lw_named_str(l, args, name);
    if (!s) return;
    if (!one_of(s, list))
        vm_report(l->c, D_E0354, fe_named(args, name)->span, "'%s' is one of%s", name, list);
    else
        ir_set_str(op, k, s);
}

static ir_value *need_view(lower *l, const char *name, const fe_value *v, vm_span at) {
    if (lw_poison(v)) return NULL;
    if (lw_is_view(v)) return v->rt;
    vm_diag *d =
        vm_report(l->c, D_E0353, at, "'%s' needs a view of memory, not %s", name, lw_text(l, v));
    if (lw_in_space(v, IS_SCALAR))
        vm_help(l->c, d, "one element is written 'a[i] = x' and read 'a[i]'");
    return NULL;
}

static ir_value *need_barrier(lower *l, const char *name, const fe_value *v, vm_span at) {
    if (lw_poison(v)) return NULL;
    if (lw_in_space(v, IS_BARRIER) && (v->rt->type.rank == 0 || v->rt->type.dim[0] == 1))
        return v->rt;
    vm_report(l->c, D_E0513, at, "'%s' needs one barrier, not %s", name, lw_text(l, v));
    return NULL;
}

// ---- memory -------------------------------------------------------------------------------------

static bool no_range(lower *l, const char *name, const ir_value *v, vm_span at) {
    bool open = lw_has_range(v);
    for (int d = 0; d < v->type.rank; d++) open = open || v->type.dim[d] < 1;
    if (!open) return true;
    vm_diag *d = vm_report(l->c, D_E0408, at, "'%s' needs constant extents, this view is %s", name,
                           ir_type_text(l->a, &v->type));
    vm_help(l->c, d, "take a window: a[i +: W]; elements out of bounds read 0 and are not written");
    return false;
}

static bool same_dims(lower *l, const char *name, const ir_type *a, const ir_type *b, bool open,
                      vm_span at) {
    bool ok = a->rank == b->rank && a->elem == b->elem;
    for (int d = 0; ok && d < a->rank; d++)
        ok = a->dim[d] == b->dim[d] || (open && (a->dim[d] < 0 || b->dim[d] < 0));
    if (ok) return true;
    vm_diag *d = vm_report(l->c, a->elem != b->elem ? D_E0350 : D_E0356, at, "'%s' of %s to %s",
                           name, ir_type_text(l->a, b), ir_type_text(l->a, a));
    if (a->elem != b->elem) vm_help(l->c, d, "write '… as %s'", vm_dtype_name(a->elem));
    return false;
}

static void attr_evict(lower *l, const fe_args *args, ir_op *op) {
    const fe_arg *a = fe_named(args, "evict");
    bool global = false;
    for (uint32_t i = 0; i < op->nops; i++) global |= op->ops[i]->type.space == IS_GLOBAL;
    if (a && !global) vm_report(l->c, D_E0354, a->span, "'evict' is for accesses to global memory");
    else attr_str(l, args, "evict", AT_evict, op, " first last normal ");
}

static fe_value *load(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (n != 1) return lw_bad_args(l, "load", "one view", at);
    if (v[0]->kind == FV_STRUCT) {
        fe_value *r = vm_dup(l->a, v[0], sizeof *r);
        r->lead = 0;
        r->raw = NULL;
        r->item = vm_newn(l->a, fe_value *, r->n + 1);
        for (uint32_t i = 0; i < r->n; i++)
            if (lw_poison(r->item[i] = load(l, args, 1, &v[0]->item[i], s, at))) return r->item[i];
        return r;
    }
    if (lw_in_space(v[0], IS_SCALAR)) return v[0]; // an element has been loaded by its index
    ir_value *x = need_view(l, "load", v[0], s[0]);
    if (!x || !no_range(l, "load", x, s[0])) return fe_poison(l->e);
    ir_value *r =
        ir_emit1(&l->b, I_load, 1, &x, ir_reg(x->type.elem, x->type.rank, x->type.dim, NULL));
    attr_evict(l, args, r->def);
    return lw_rt(l, r);
}

static fe_value *store(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (n != 2) return lw_bad_args(l, "store", "a view and a tile", at);
    ir_value *dst = need_view(l, "store", v[0], s[0]);
    if (!dst || !no_range(l, "store", dst, s[0])) return fe_poison(l->e);
    ir_value *x;
    if (lw_number(v[1]) || lw_in_space(v[1], IS_SCALAR)) {
        x = lw_scalar(l, v[1], dst->type.elem, s[1]);
        if (x)
            x = ir_emit1(&l->b, I_full, 1, &x,
                         ir_reg(dst->type.elem, dst->type.rank, dst->type.dim, NULL));
    } else
        x = lw_tile(l, v[1], "'store'", s[1]);
    if (!x || !same_dims(l, "store", &dst->type, &x->type, false, at)) return fe_poison(l->e);
    ir_value *ops[2] = {dst, x};
    ir_op *op = ir_emit(&l->b, I_store, 2, ops, 0, NULL);
    attr_evict(l, args, op);
    return lw_none(l);
}

static fe_value *copies(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                        fe_value **v, const vm_span *s, vm_span at) {
    const bool barrier = i == I_copy_async || i == I_tma_load;
    if (n < 2 || n > (barrier ? 3u : 2u) || (i == I_tma_load && n != 3))
        return lw_bad_args(l, name,
                           i == I_tma_load ? "(dst, src, barrier)"
                           : barrier       ? "(dst, src[, barrier])"
                                           : "(dst, src)",
                           at);
    if (v[0]->kind == FV_STRUCT && v[1]->kind == FV_STRUCT && v[0]->decl == v[1]->decl && v[0]->n == v[1]->n) {
        fe_value *part[LW_MAX_ARGS];
        memcpy(part, v, n * sizeof *v);
        if (v[0]->raw && v[1]->raw) { // all members at once
            part[0] = v[0]->raw;
            part[1] = v[1]->raw;
            return copies(l, i, name, args, n, part, s, at);
        }
        for (uint32_t f = 0; f < v[0]->n; f++) {
            part[0] = v[0]->item[f];
            part[1] = v[1]->item[f];
            if (lw_poison(copies(l, i, name, args, n, part, s, at))) return fe_poison(l->e);
        }
        return lw_none(l);
    }
    ir_value *ops[3];
    for (int k = 0; k < 2; k++)
        if (!(ops[k] = need_view(l, name, v[k], s[k]))) return fe_poison(l->e);
    if (n == 3 && !(ops[2] = need_barrier(l, name, v[2], s[2]))) return fe_poison(l->e);
    if (!same_dims(l, name, &ops[0]->type, &ops[1]->type, true, at)) return fe_poison(l->e);
    ir_op *op = ir_emit(&l->b, i, n, ops, 0, NULL);
    attr_str(l, args, "via", AT_via, op, " cp_async bulk tensor ");
    attr_evict(l, args, op);
    if (i == I_tma_reduce) attr_str(l, args, "op", AT_op, op, " add min max and or xor ");
    const int64_t mask = lw_named_int(l, args, "multicast", 0);
    if (mask) ir_set_int(op, AT_multicast, mask);
    return lw_none(l);
}

// Atomics and cell waits are written f(view, i, …, x) or f(view[i, …], x): then the index has
// already been lowered as a read, which is taken back.
static ir_value *cell(lower *l, const char *name, const fe_args *args, fe_value *first,
                      ir_value **ops, uint32_t *n, vm_span at) {
    *n = 1;
    if (lw_is_view(first)) return ops[0] = first->rt;
    ir_op *def = first->kind == FV_RT ? first->rt->def : NULL;
    if (!def || def->inst != I_load_elem || !args->at[0].node ||
        args->at[0].node->kind != AST_INDEX)
        return need_view(l, name, first, at);
    memcpy(ops, def->ops, def->nops * sizeof *ops);
    *n = def->nops;
    if (def->parent) ir_remove(def);
    return ops[0];
}

static fe_value *atomic(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                        fe_value **v, const vm_span *s, vm_span at) {
    ir_value *ops[LAYOUT_MAX_RANK + 4];
    uint32_t k;
    if (!n) return lw_bad_args(l, name, "(view, indices…, value)", at);
    ir_value *view = cell(l, name, args, v[0], ops, &k, s[0]);
    if (!view) return fe_poison(l->e);
    const ir_type *t = &view->type;
    const uint32_t values = i == I_atomic_cas ? 2 : 1;
    if (k == 1 && n == 2 && lw_in_space(v[1], IS_REG) && i != I_atomic_cas &&
        vm_insts[i].cls == C_MEM) {
        ir_value *x = lw_tile(l, v[1], name, s[1]);
        if (!x || !no_range(l, name, view, s[0]) || !same_dims(l, name, t, &x->type, false, at))
            return fe_poison(l->e);
        ops[1] = x;
        ir_op *op = ir_emit(&l->b, i, 2, ops, 0, NULL);
        attr_str(l, args, "order", AT_order, op, " relaxed acquire release acq_rel ");
        attr_str(l, args, "scope", AT_scope, op, " block gpu system ");
        return lw_none(l);
    }
    if (k - 1 + n - 1 != t->rank + values)
        return lw_bad_args(l, name, "a view, one index for each dimension, and the value", at);
    for (uint32_t j = 1; j < n; j++) {
        ops[k] = k <= t->rank ? lw_index(l, v[j], s[j]) : lw_scalar(l, v[j], t->elem, s[j]);
        if (!ops[k++]) return fe_poison(l->e);
    }
    const bool result = vm_insts[i].cls == C_MEM;
    const ir_type old = ir_scalar(t->elem);
    ir_op *op = ir_emit(&l->b, i, k, ops, result ? 1 : 0, &old);
    attr_str(l, args, "order", AT_order, op, " relaxed acquire release acq_rel ");
    attr_str(l, args, "scope", AT_scope, op, " block gpu system ");
    if (i == I_wait_until) {
        ir_set_str(op, AT_cmp, "eq");
        attr_str(l, args, "cmp", AT_cmp, op, " eq ne lt le gt ge ");
    }
    return result ? lw_rt(l, op->res[0]) : lw_none(l);
}

static fe_value *load_bytes(lower *l, vm_inst i, const char *name, uint32_t n, fe_value **v,
                            const vm_span *s, vm_span at) {
    if (n != 3 || v[0]->kind != FV_TYPE || v[0]->type->kind != FT_SCALAR)
        return lw_bad_args(l, name, "(type, u8 view, byte offset)", at);
    const vm_dtype t = v[0]->type->elem;
    ir_value *ops[2] = {need_view(l, name, v[1], s[1]), lw_index(l, v[2], s[2])};
    if (!ops[0] || !ops[1]) return fe_poison(l->e);
    if (ops[0]->type.elem != T_u8 || ops[0]->type.rank != 1 || vm_dtypes[t].kind != K_UINT ||
        vm_bits(t) % 8)
        return lw_bad_args(l, name, "an unsigned type of whole bytes and a u8 view of rank 1", at);
    return lw_rt(l, ir_emit1(&l->b, i, 2, ops, ir_scalar(t)));
}

// ---- barriers, threads, the rest ----------------------------------------------------------------

static fe_value *barriers(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                          fe_value **v, const vm_span *s, vm_span at) {
    if (i == I_wait && n >= 1 && lw_in_space(v[0], IS_REG)) {
        if (n != 1)
            return lw_bad_args(l, name, "a value in flight, or a barrier and its phase", at);
        return lw_rt(l, lw_waited(l, v[0]->rt));
    }
    const uint32_t want = i == I_arrive ? 1 : 2;
    if (n != want)
        return lw_bad_args(l, name,
                           i == I_arrive ? "(barrier)"
                           : i == I_wait ? "(barrier, phase)"
                                         : "(barrier, bytes)",
                           at);
    ir_value *ops[2] = {need_barrier(l, name, v[0], s[0]), NULL};
    if (!ops[0] || (want == 2 && !(ops[1] = lw_index(l, v[1], s[1])))) return fe_poison(l->e);
    ir_op *op = ir_emit(&l->b, i, want, ops, 0, NULL);
    const int64_t lag = i == I_arrive ? lw_named_int(l, args, "lag", 0) : 0;
    if (lag > 0) ir_set_int(op, AT_lag, lag);
    if (i == I_arrive && lw_named_int(l, args, "reads", 0)) ir_set_int(op, AT_reads, 1);
    return lw_none(l);
}

static fe_value *warp(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                      fe_value **v, const vm_span *s, vm_span at) {
    if (!l->simt) {
        vm_diag *d =
            vm_report(l->c, D_E0435, at, "'%s' works between threads: it stands in 'simt'", name);
        vm_help(l->c, d, "tiles have sum(…), max(…) and scan_inclusive(…)");
        return fe_poison(l->e);
    }
    ir_op *op;
    if (i == I_ballot) {
        if (n != 1) return lw_bad_args(l, name, "one bool", at);
        ir_value *x = lw_scalar(l, v[0], T_bool, s[0]);
        const ir_type t = ir_scalar(T_u32);
        if (!x) return fe_poison(l->e);
        op = ir_emit(&l->b, i, 1, &x, 1, &t);
    } else {
        if (n != 2) return lw_bad_args(l, name, "(value, lane or distance)", at);
        vm_dtype e = lw_default_type(v[0]);
        lw_dtype_of(l, v[0], &e);
        ir_value *ops[2] = {lw_scalar(l, v[0], e, s[0]), lw_index(l, v[1], s[1])};
        const ir_type t = ir_scalar(e);
        if (!ops[0] || !ops[1]) return fe_poison(l->e);
        op = ir_emit(&l->b, i, 2, ops, 1, &t);
    }
    const int64_t mask = lw_named_int(l, args, "mask", -1);
    if (mask != -1) ir_set_int(op, AT_mask, mask);
    return lw_rt(l, op->res[0]);
}

static fe_value *print(lower *l, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (!n || v[0]->kind != FV_STRING)
        return lw_bad_args(l, "print", "a format string and values for its {}", at);
    uint32_t holes = 0;
    for (const char *p = v[0]->s; *p; p++) holes += p[0] == '{' && p[1] == '}';
    if (holes != n - 1) {
        vm_report(l->c, D_E0354, at, "the format has %u {}, but %u values follow", holes, n - 1);
        return fe_poison(l->e);
    }
    ir_value *ops[LW_MAX_ARGS];
    for (uint32_t k = 1; k < n; k++) {
        vm_dtype t = lw_number(v[k]) ? lw_default_type(v[k]) : T_i32;
        if (!lw_number(v[k]) || v[k]->typed) lw_dtype_of(l, v[k], &t);
        if (!(ops[k - 1] = lw_operand(l, v[k], t, s[k]))) return fe_poison(l->e);
    }
    ir_op *op = ir_emit(&l->b, I_print, n - 1, ops, 0, NULL);
    ir_set_str(op, AT_format, v[0]->s);
    return lw_none(l);
}

static fe_value *claims(lower *l, vm_inst i, const char *name, uint32_t n, fe_value **v,
                        const vm_span *s, vm_span at) {
    const bool text = n == 2 && v[1]->kind == FV_STRING && i == I_assert;
    if (n != 1 && !text)
        return lw_bad_args(l, name, i == I_assert ? "(condition, \"message\")" : "(condition)", at);
    ir_value *x = lw_operand(l, v[0], T_bool, s[0]);
    if (!x) return fe_poison(l->e);
    if (x->type.space == IS_REG) {
        if (l->lift) return lw_bad_args(l, name, "no elements of a lambda", at);
        x = ir_emit1(&l->b, I_all, 1, &x, ir_scalar(T_bool));
    }
    ir_op *op = ir_emit(&l->b, i, 1, &x, 0, NULL);
    if (i == I_assert) ir_set_str(op, AT_message, text ? v[1]->s : "assertion failed");
    return lw_none(l);
}

static fe_value *ptx(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s,
                     vm_span at) {
    if (!n || v[0]->kind != FV_STRING)
        return lw_bad_args(l, "ptx", "(\"text\", inputs…, result type)", at);
    ir_value *ops[LW_MAX_ARGS];
    uint32_t k = 0;
    const fe_type *out = NULL;
    const fe_arg *named = fe_named(args, "out");
    if (named && named->v && named->v->kind == FV_TYPE) out = named->v->type;
    for (uint32_t i = 1; i < n; i++) {
        if (v[i]->kind == FV_TYPE) {
            out = v[i]->type;
            continue;
        }
        const uint32_t m = v[i]->kind == FV_TUPLE ? v[i]->n : 1;
        for (uint32_t j = 0; j < m && k < LW_MAX_ARGS; j++) {
            const fe_value *x = v[i]->kind == FV_TUPLE ? v[i]->item[j] : v[i];
            vm_dtype t = lw_number(x) ? lw_default_type(x) : T_i32;
            lw_dtype_of(l, x, &t);
            if (!(ops[k++] = lw_scalar(l, x, t, s[i]))) return fe_poison(l->e);
        }
    }
    if (out && (out->kind != FT_SCALAR || vm_bits(out->elem) < 16))
        return lw_bad_args(l, "ptx", "a result type of 16, 32 or 64 bits", at);
    const ir_type t = ir_scalar(out ? out->elem : T_i32);
    ir_op *op = ir_emit(&l->b, I_ptx, k, ops, out ? 1 : 0, &t);
    ir_set_str(op, AT_message, v[0]->s);
    if (!out) return lw_none(l);
    const unsigned bits = vm_bits(out->elem);
    ir_set_str(op, AT_outs,
               out->elem == T_f32   ? "=f"
               : out->elem == T_f64 ? "=d"
               : bits == 16         ? "=h"
               : bits == 32         ? "=r"
                                    : "=l");
    return lw_rt(l, op->res[0]);
}

// ---- dispatch -----------------------------------------------------------------------------------

// In simt everything is scalar code; in a lambda everything is an element.
static bool allowed(lower *l, vm_inst i, const char *name, vm_span at) {
    const uint8_t cls = vm_insts[i].cls;
    const bool elem = cls == C_ELEM || cls == C_CMP || cls == C_SELECT || cls == C_CAST;
    if (l->lift && !elem) {
        vm_diag *d = vm_report(l->c, D_E0423, at, "'%s' cannot stand in a lambda of map", name);
        vm_help(l->c, d, "a lambda computes one element from elements and scalars");
        return false;
    }
    const bool tile = cls == C_TILE || cls == C_DOT || cls == C_REDUCE || cls == C_SCAN ||
                      i == I_load || i == I_store || i == I_copy || cls == C_ASYNC;
    if (l->simt && tile) {
        vm_diag *d = vm_report(
            l->c, D_E0430, at,
            "'%s' is a tile instruction: the whole group executes it, not one thread", name);
        vm_help(l->c, d, "move it out of 'simt', or access elements: a[i]");
        return false;
    }
    if (l->fetch && (cls == C_DOT || cls == C_BARRIER || i == I_store)) {
        vm_report(l->c, D_E0510, at, "'%s' cannot run ahead in a fetch block", name);
        return false;
    }
    return true;
}

static fe_value *clamp(lower *l, uint32_t n, fe_value **v, vm_span at) {
    if (n != 3) return lw_bad_args(l, "clamp", "(x, low, high)", at);
    fe_value *hi[2] = {v[0], v[2]}, *lo[2];
    lo[0] = lw_elem(l, I_min, 2, hi, "clamp", at);
    lo[1] = v[1];
    return lw_elem(l, I_max, 2, lo, "clamp", at);
}

fe_value *lw_cast_as(lower *l, fe_value *r, const fe_args *args) {
    ir_op *op = r->kind == FV_RT ? r->rt->def : NULL;
    if (!op || op->inst != I_cast) return r;
    attr_str(l, args, "round", AT_round, op, " nearest zero ");
    if (fe_named(args, "saturate"))
        ir_set_int(op, AT_saturate, lw_named_int(l, args, "saturate", 1) != 0);
    if (!lw_named_int(l, args, "nan", 1)) ir_set_int(op, AT_nan, 0);
    const char *bias = lw_named_str(l, args, "bias");
    if (bias && !one_of(bias, " kept removed "))
        vm_report(l->c, D_E0354, fe_named(args, "bias")->span, "'bias' is one of kept removed");
    else if (bias && bias[0] == 'k')
        ir_set_int(op, AT_kept, 1);
    return r;
}

static fe_value *casts(lower *l, const char *name, const fe_args *args, uint32_t n, fe_value **v,
                       vm_span at) {
    if (n == 2 && v[0]->kind == FV_TYPE) {
        fe_value *t = v[0];
        v[0] = v[1];
        v[1] = t;
    }
    if (n != 2 || v[1]->kind != FV_TYPE || v[1]->type->kind != FT_SCALAR)
        return lw_bad_args(l, name, "a value and an element type", at);
    const fe_type *to = v[1]->type;
    if (strcmp(name, "bitcast") == 0) {
        vm_dtype from;
        if (!lw_dtype_of(l, v[0], &from) || vm_bits(from) != vm_bits(to->elem))
            return lw_bad_args(l, name, "types of equal width", at);
        ir_value *x = lw_operand(l, v[0], from, at);
        if (!x) return fe_poison(l->e);
        ir_type t = x->type;
        t.reg = NULL;
        t.elem = to->elem;
        return lw_rt(l, lw_emit(l, I_bitcast, 1, &x, t));
    }
    return lw_cast_as(l, lw_cast(l->e, v[0], to, at), args);
}

static fe_value *by_instruction(lower *l, vm_inst i, const char *name, fe_args *args, vm_span at) {
    fe_value *v[LW_MAX_ARGS];
    vm_span s[LW_MAX_ARGS];
    const uint32_t n = lw_positional(args, v, s);
    const vm_inst_info *row = &vm_insts[i];
    if (row->cls == C_ELEM || row->cls == C_CMP || row->cls == C_SELECT) {
        if (n != (uint32_t)row->nops)
            return lw_bad_args(
                l, name, vm_format(l->a, "%d operand%s", row->nops, row->nops == 1 ? "" : "s"), at);
        if ((i == I_fshl || i == I_prmt) && v[2]->kind == FV_RT) {
            vm_dtype t, z;
            if (lw_dtype_of(l, v[0], &t) && lw_dtype_of(l, v[2], &z) && z != t)
                v[2] = lw_cast(l->e, v[2], fe_scalar_type(l->e, t), at);
        }
        return lw_elem(l, i, n, v, name, at);
    }
    switch (i) {
    case I_cast:
    case I_bitcast:
        return casts(l, name, args, n, v, at);
    case I_load:
        return load(l, args, n, v, s, at);
    case I_store:
        return store(l, args, n, v, s, at);
    case I_copy:
    case I_copy_async:
    case I_tma_load:
    case I_tma_store:
    case I_tma_reduce:
        return copies(l, i, name, args, n, v, s, at);
    case I_prefetch: {
        ir_value *x = n == 1 ? need_view(l, name, v[0], s[0]) : NULL;
        if (n != 1) return lw_bad_args(l, name, "one view", at);
        if (x) ir_emit(&l->b, i, 1, &x, 0, NULL);
        return lw_none(l);
    }
    case I_atomic_add:
    case I_atomic_min:
    case I_atomic_max:
    case I_atomic_exch:
    case I_atomic_cas:
    case I_signal:
    case I_wait_for:
    case I_wait_until:
        return atomic(l, i, name, args, n, v, s, at);
    case I_load_be:
    case I_load_le:
        return load_bytes(l, i, name, n, v, s, at);
    case I_arrive:
    case I_expect:
    case I_wait:
        return barriers(l, i, name, args, n, v, s, at);
    case I_shuffle:
    case I_shuffle_up:
    case I_shuffle_down:
    case I_shuffle_xor:
    case I_ballot:
        return warp(l, i, name, args, n, v, s, at);
    case I_sync:
    case I_wait_previous:
    case I_launch_next:
    case I_cluster_sync:
        if (n) return lw_bad_args(l, name, "no operands", at);
        ir_emit(&l->b, i, 0, NULL, 0, NULL);
        return lw_none(l);
    case I_fence: {
        ir_op *op = ir_emit(&l->b, i, 0, NULL, 0, NULL);
        attr_str(l, args, "scope", AT_scope, op, " block gpu system ");
        attr_str(l, args, "order", AT_order, op, " relaxed acquire release acq_rel ");
        if (lw_named_int(l, args, "proxy", 0)) ir_set_int(op, AT_proxy, 1);
        return lw_none(l);
    }
    case I_print:
        return print(l, n, v, s, at);
    case I_assert:
    case I_assume:
        return claims(l, i, name, n, v, s, at);
    case I_ptx:
        return ptx(l, args, n, v, s, at);
    default:
        vm_report(l->c, D_E0364, at, "'%s' is not written in programs", name);
        return fe_poison(l->e);
    }
}

/// x.at(rank): a shared tile or barriers of another block of the cluster.
static fe_value *peer(lower *l, fe_value **v, const vm_span *s, vm_span at) {
    ir_value *ops[2] = {v[0]->rt, lw_index(l, v[1], s[1])};
    if (!ops[1]) return fe_poison(l->e);
    if (l->f->cluster[0] * l->f->cluster[1] * l->f->cluster[2] < 2) {
        vm_diag *d = vm_report(l->c, D_E0518, at, "'at' in a kernel without clusters");
        vm_help(l->c, d, "write 'cluster = (2, 1);' in the launch clause");
        return fe_poison(l->e);
    }
    ir_value *r = ir_emit1(&l->b, I_peer, 2, ops, ops[0]->type);
    r->name = ops[0]->name;
    return lw_rt(l, r);
}

fe_value *lw_call(fe_eval *e, const char *name, fe_args *args, vm_span at) {
    lower *l = lw(e);
    l->b.span = at;
    for (uint32_t i = 0; i < args->n; i++)
        if ((args->at[i].v && lw_poison(args->at[i].v)) ||
            (args->at[i].v2 && lw_poison(args->at[i].v2)))
            return fe_poison(e);
    vm_inst i = I_const;
    if (strcmp(name, "cluster.sync") == 0) name = "cluster_sync";
    const bool inst = vm_inst_find(name, &i);
    fe_value *v[LW_MAX_ARGS];
    vm_span s[LW_MAX_ARGS];
    const uint32_t n = lw_positional(args, v, s);
    const bool reduction = (i == I_min || i == I_max) && (n == 1 || fe_named(args, "dim"));
    if (inst && !allowed(l, reduction ? I_sum : i, name, at)) return fe_poison(e);
    if (strcmp(name, "clamp") == 0) return clamp(l, n, v, at);
    if (strcmp(name, "at") == 0 && n == 2 && (lw_in_space(v[0], IS_SHARED) || lw_in_space(v[0], IS_BARRIER))) return peer(l, v, s, at);
    bool mine = false;
    fe_value *r = lw_call_tile(l, name, args, at, &mine);
    if (mine) return r;
    if (inst) return by_instruction(l, i, name, args, at);
    vm_diag *d = vm_report(l->c, D_E0364, at, "no instruction '%s' for these operands", name);
    if (strcmp(name, "at") == 0) vm_help(l->c, d, "x.at(rank) is a shared tile or a barrier of another block of the cluster");
    return fe_poison(e);
}
