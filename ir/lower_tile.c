// SPDX-License-Identifier: Apache-2.0
// Calls of instructions on register tiles: constructors, reductions, scans, products, views, map.
#include "ir/lower.h"
#include "vm/bitorder.h"

#include <string.h>

static ir_value *tile_of(lower *l, const fe_type *t, vm_span at, ir_type *out) {
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (!lw_static_dims(l, t, dim, at)) return NULL;
    *out = ir_reg(t->elem, t->rank, dim, NULL);
    return NULL;
}

// zeros(T[…]) and full(T[…], x).
static fe_value *full(lower *l, bool zeros, uint32_t n, fe_value **v, const vm_span *s,
                      vm_span at) {
    if (n != (zeros ? 1u : 2u) || v[0]->kind != FV_TYPE || v[0]->type->kind != FT_TENSOR)
        return lw_bad_args(l, zeros ? "zeros" : "full",
                           zeros ? "a tensor type: zeros(f32[16])" : "(T[…], value)", at);
    const fe_type *t = v[0]->type;
    ir_type ty = {.space = IS_NONE};
    tile_of(l, t, s[0], &ty);
    if (ty.space != IS_REG) return fe_poison(l->e);
    ir_value *x = zeros ? ir_const(&l->b, t->elem, 0) : lw_scalar(l, v[1], t->elem, s[1]);
    if (!x) return fe_poison(l->e);
    ir_value *r = ir_emit1(&l->b, I_full, 1, &x, ty);
    if (t->layout && t->layout->kind == FV_LAYOUT) return lw_pin(l, r, t->layout->lay, s[0]);
    return lw_rt(l, r);
}

static ir_value *emit_iota(lower *l, const ir_type *shape, int dim) {
    ir_type t = *shape;
    t.elem = T_i32;
    t.reg = NULL;
    ir_value *r = lw_emit(l, I_iota, 0, NULL, t);
    ir_set_int(r->def, AT_dim, dim);
    return r;
}

static fe_value *iota(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s,
                      vm_span at) {
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (n < 1 || n > LAYOUT_MAX_RANK) return lw_bad_args(l, "iota", "1 to 8 extents", at);
    for (uint32_t i = 0; i < n; i++) {
        if (v[i]->kind == FV_INT && v[i]->i >= 1 && v[i]->i <= INT32_MAX)
            dim[i] = v[i]->i;
        else {
            vm_report(l->c, D_E0358, s[i], "the extent of a tile is a positive constant");
            return fe_poison(l->e);
        }
    }
    const int64_t d = lw_named_int(l, args, "dim", n - 1);
    if (d < 0 || d >= n) return lw_bad_args(l, "iota", "a dimension that it has", at);
    const ir_type t = ir_reg(T_i32, (int)n, dim, NULL);
    return lw_rt(l, emit_iota(l, &t, (int)d));
}

static fe_value *reduce(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                        fe_value **v, const vm_span *s, vm_span at) {
    if (n != 1) return lw_bad_args(l, name, "a tile, dim = and keep =", at);
    ir_value *x = lw_tile(l, v[0], vm_format(l->a, "'%s'", name), s[0]);
    if (!x) return fe_poison(l->e);
    const bool bools = i == I_any || i == I_all;
    if (bools != (x->type.elem == T_bool)) {
        vm_report(l->c, D_E0351, at, "'%s' is not defined for %s", name,
                  vm_dtype_name(x->type.elem));
        return fe_poison(l->e);
    }
    const char *why = NULL;
    const vm_inst step = i == I_sum ? I_add : i == I_max_of ? I_max : I_min;
    if (!bools && !vm_eval_legal(step, x->type.elem, &why)) {
        vm_diag *d = vm_report(l->c, D_E0351, at, "'%s' is not defined for %s", name,
                               vm_dtype_name(x->type.elem));
        if (why) vm_help(l->c, d, "%s", why);
        return fe_poison(l->e);
    }
    const fe_arg *named = fe_named(args, "dim");
    const bool keep = lw_named_int(l, args, "keep", 0) != 0;
    if (!named) {
        if (!keep) return lw_rt(l, ir_emit1(&l->b, i, 1, &x, ir_scalar(x->type.elem)));
        return lw_bad_args(l, name, "'keep' together with 'dim' only", at);
    }
    const int64_t dim = lw_named_int(l, args, "dim", -1);
    if (dim < 0 || dim >= x->type.rank) {
        vm_report(l->c, D_E0401, named->span, "a tile of rank %d has the dimensions 0 to %d",
                  x->type.rank, x->type.rank - 1);
        return fe_poison(l->e);
    }
    ir_type t = x->type;
    t.reg = NULL;
    t.rank = 0;
    for (int d = 0; d < x->type.rank; d++)
        if (d != dim || keep) t.dim[t.rank++] = d == dim ? 1 : x->type.dim[d];
    if (!t.rank) t = ir_scalar(x->type.elem);
    ir_value *r = ir_emit1(&l->b, i, 1, &x, t);
    if (t.space == IS_REG) {
        ir_set_int(r->def, AT_dim, dim);
        if (keep) ir_set_int(r->def, AT_keep, 1);
    }
    return lw_rt(l, r);
}

static fe_value *scan(lower *l, vm_inst i, const char *name, const fe_args *args, uint32_t n,
                      fe_value **v, const vm_span *s, vm_span at) {
    static const char *const names[] = {"add", "mul", "min", "max", "and", "or", "xor"};
    static const vm_inst insts[] = {I_add, I_mul, I_min, I_max, I_and, I_or, I_xor};
    if (n != 1) return lw_bad_args(l, name, "a tile, dim = and op =", at);
    ir_value *x = lw_tile(l, v[0], vm_format(l->a, "'%s'", name), s[0]);
    if (!x) return fe_poison(l->e);
    const char *op = lw_named_str(l, args, "op");
    if (!op) op = "add";
    size_t k = 0;
    while (k < 7 && strcmp(op, names[k]) != 0) k++;
    const char *why = NULL;
    if (k == 7 || !vm_eval_legal(insts[k], x->type.elem, &why)) {
        vm_diag *d = vm_report(l->c, D_E0351, at, "no scan with '%s' on %s", op,
                               vm_dtype_name(x->type.elem));
        vm_help(l->c, d, "%s", why ? why : "add, mul, min, max, and, or, xor");
        return fe_poison(l->e);
    }
    const int64_t dim = lw_named_int(l, args, "dim", 0);
    if (dim < 0 || dim >= x->type.rank) return lw_bad_args(l, name, "a dimension of the tile", at);
    ir_type t = x->type;
    t.reg = NULL;
    ir_value *r = ir_emit1(&l->b, i, 1, &x, t);
    ir_set_str(r->def, AT_op, op);
    ir_set_int(r->def, AT_dim, dim);
    return lw_rt(l, r);
}

// ---- products -----------------------------------------------------------------------------------

static bool dot_types(vm_dtype a, vm_dtype b, vm_dtype c) {
    if (a == T_i8 || a == T_u8) return (b == T_i8 || b == T_u8) && c == T_i32;
    if (vm_bits(a) == 8 && vm_is_float(a)) return vm_bits(b) == 8 && vm_is_float(b) && c == T_f32;
    if (a != b) return false;
    if (a == T_f16) return c == T_f16 || c == T_f32;
    if (a == T_f64) return c == T_f64;
    return (a == T_bf16 || a == T_tf32 || a == T_f32) && c == T_f32;
}

static fe_value *dot(lower *l, vm_inst i, const char *name, uint32_t n, fe_value **v,
                     const vm_span *s, vm_span at) {
    if (n != 3 && !(n == 2 && i == I_dot))
        return lw_bad_args(l, name, i == I_dot ? "(a, b[, accumulator])" : "(a, b, accumulator)",
                           at);
    ir_value *x[3];
    for (int k = 0; k < 2; k++) {
        const bool shared = lw_in_space(v[k], IS_SHARED);
        if (i == I_wgmma && k == 1 && !shared)
            return lw_bad_args(l, name, "operand b in shared memory", s[1]);
        x[k] = i == I_wgmma && shared ? v[k]->rt
                                      : lw_tile(l, v[k], vm_format(l->a, "'%s'", name), s[k]);
        if (!x[k]) return fe_poison(l->e);
        if (x[k]->type.rank < 2 || (i == I_wgmma && x[k]->type.rank > 2))
            return lw_bad_args(l, name, i == I_wgmma ? "matrices (rank 2)" : "matrices or stacks of them (rank 2 and more)", s[k]);
    }
    const int rank = x[0]->type.rank; // dimensions before the last two count matrices
    int64_t dim[LAYOUT_MAX_RANK];
    memcpy(dim, x[0]->type.dim, sizeof dim);
    dim[rank - 1] = x[1]->type.dim[x[1]->type.rank - 1];
    if (n == 2 || lw_number(v[2]) || lw_in_space(v[2], IS_SCALAR)) {
        const vm_dtype e = x[0]->type.elem;
        vm_dtype t = e == T_i8 || e == T_u8 ? T_i32 : e == T_f64 ? T_f64 : T_f32;
        if (n == 3) lw_dtype_of(l, v[2], &t);
        ir_value *z = n == 2 ? ir_const(&l->b, t, 0) : lw_scalar(l, v[2], t, s[2]);
        if (!z) return fe_poison(l->e);
        x[2] = ir_emit1(&l->b, I_full, 1, &z, ir_reg(t, rank, dim, NULL));
    } else if (i == I_wgmma && lw_in_space(v[2], IS_REG) && v[2]->rt->type.inflight)
        x[2] = v[2]->rt;
    else
        x[2] = lw_tile(l, v[2], vm_format(l->a, "'%s'", name), s[2]);
    if (!x[2]) return fe_poison(l->e);
    const ir_type *c = &x[2]->type;
    const int64_t depth = x[0]->type.dim[rank - 1];
    bool fits = x[1]->type.rank == rank && c->rank == rank && depth >= 0 && depth == x[1]->type.dim[rank - 2];
    for (int d = 0; d < rank && fits; d++)
        fits = c->dim[d] == dim[d] && (d >= rank - 2 || x[1]->type.dim[d] == dim[d]);
    if (!fits) {
        vm_diag *d = vm_report(l->c, D_E0356, at,
                               "shapes of '%s' do not fit: a[M, K], b[K, N], c[M, N], all with the same "
                               "dimensions before these", name);
        for (int k = 0; k < 3; k++)
            vm_note(l->c, d, "%c is %s", "abc"[k], ir_type_text(l->a, &x[k]->type));
        return fe_poison(l->e);
    }
    if (!dot_types(x[0]->type.elem, x[1]->type.elem, c->elem)) {
        vm_diag *d = vm_report(l->c, D_E0351, at, "no product of %s and %s into %s",
                               vm_dtype_name(x[0]->type.elem), vm_dtype_name(x[1]->type.elem),
                               vm_dtype_name(c->elem));
        vm_help(l->c, d,
                "f16 into f16 or f32; bf16, tf32, f32 and 8-bit floats into f32; i8, u8 into i32");
        return fe_poison(l->e);
    }
    ir_type t = *c;
    t.reg = NULL;
    t.inflight = i == I_wgmma;
    return lw_rt(l, ir_emit1(&l->b, i, 3, x, t));
}

// ---- views of tiles -----------------------------------------------------------------------------

static fe_value *view(lower *l, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (n != 2 || v[1]->kind != FV_TYPE || v[1]->type->kind != FT_TENSOR)
        return lw_bad_args(l, "view", "a type: x.view(u8[64] @ L)", at);
    ir_value *x = lw_tile(l, v[0], "'view'", s[0]);
    if (!x) return fe_poison(l->e);
    const fe_type *t = v[1]->type;
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (!lw_static_dims(l, t, dim, s[1])) return fe_poison(l->e);
    ir_type ty = ir_reg(t->elem, t->rank, dim, NULL);
    const layout *lay = t->layout && t->layout->kind == FV_LAYOUT ? t->layout->lay : NULL;
    if (lay && !lw_layout_fits(l, lay, &ty, s[1])) return fe_poison(l->e);
    const layout *from = x->type.reg;
    if (lay && from &&
        (int64_t)lay->slots * vm_bits(t->elem) != (int64_t)from->slots * vm_bits(x->type.elem)) {
        const unsigned to_bits = vm_bits(t->elem), from_bits = vm_bits(x->type.elem);
        vm_diag *d = vm_report(l->c, D_E0402, s[1], "view changes the number of bits per thread");
        vm_label(l->c, d, s[1], "%lld bits per thread (%d x %s)", (long long)lay->slots * to_bits,
                 lay->slots, vm_dtype_name(t->elem));
        vm_label(l->c, d, x->span.file ? x->span : s[0], "%lld bits per thread (%d x %s)",
                 (long long)from->slots * from_bits, from->slots, vm_dtype_name(x->type.elem));
        const int64_t fit = (int64_t)from->slots * from_bits;
        if (fit % lay->slots == 0)
            vm_help(l->c, d, "these bytes hold %lld-bit elements in that layout",
                    (long long)(fit / lay->slots));
        return fe_poison(l->e);
    }
    ir_value *r = ir_emit1(&l->b, I_view, 1, &x, ty);
    r->name = x->name;
    if (!lay) return lw_rt(l, r);
    r->type.reg = lay;
    r->pinned = true;
    r->why = WHY_PINNED;
    r->reason = "written with @";
    return lw_rt(l, r);
}

// The bit order of packed files, one for each pair of a low-bit type and the type that it converts to, is
// what vm/bitorder.c finds: encode(w, T) puts w's bits into it within each thread, decode(bytes,
// Q[…] @ L, T) takes them out again and converts. What decode_bias gives is on top of integers with bias = kept.
static fe_value *encode(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (n != 2 || v[1]->kind != FV_TYPE || v[1]->type->kind != FT_SCALAR)
        return lw_bad_args(l, "encode", "a tile of low-bit elements and the type to convert to", at);
    ir_value *x = lw_tile(l, v[0], "'encode'", s[0]);
    if (!x) return fe_poison(l->e);
    const layout *from = x->type.reg;
    const unsigned bits = vm_bits(x->type.elem);
    if (bits > 8 || !from || (int64_t)from->slots * from->threads != ir_elems(&x->type) || (unsigned)from->slots * bits % 8) {
        vm_diag *d = vm_report(l->c, D_E0402, s[0], "'encode' packs whole bytes in each thread, of elements of at most 8 bits");
        vm_help(l->c, d, from ? "each thread holds %d elements of %u bits; no element may be replicated"
                              : "say which thread holds what: encode(w @ L, T)", from ? from->slots : 0, bits);
        return fe_poison(l->e);
    }
    const int32_t threads = from->threads, bytes = (int32_t)((unsigned)from->slots * bits / 8);
    const int64_t dim[1] = {(int64_t)threads * bytes};
    ir_value *r = ir_emit1(&l->b, I_view, 1, &x, ir_reg(T_u8, 1, dim, NULL));
    r->name = x->name;
    r->type.reg = layout_compose(l->a, layout_spatial(l->a, 1, &threads, NULL, NULL),
                                 layout_local(l->a, 1, &bytes, NULL), NULL);
    r->pinned = true;
    r->why = WHY_PINNED;
    r->reason = "made by encode";
    ir_set_int(r->def, AT_encode, v[1]->type->elem);
    if (!lw_named_int(l, args, "nan", 1)) ir_set_int(r->def, AT_nan, 0);
    return lw_rt(l, r);
}

static fe_value *decode(lower *l, const fe_args *args, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    const fe_type *q = n == 3 && v[1]->kind == FV_TYPE ? v[1]->type : NULL;
    if (!q || q->kind != FT_TENSOR || v[2]->kind != FV_TYPE || v[2]->type->kind != FT_SCALAR)
        return lw_bad_args(l, "decode", "bytes, the type of the tile 'Q[…] @ L', and the type to convert to", at);
    if (!q->layout || q->layout->kind != FV_LAYOUT) {
        vm_diag *d = vm_report(l->c, D_E0402, s[1], "'decode' needs the layout that the tile had when it was encoded");
        vm_help(l->c, d, "write decode(bytes, Q[K, N] @ L, T)");
        return fe_poison(l->e);
    }
    fe_value *w = view(l, 2, v, s, at);
    if (lw_poison(w)) return w;
    ir_set_int(w->rt->def, AT_decode, v[2]->type->elem);
    if (!lw_named_int(l, args, "nan", 1)) ir_set_int(w->rt->def, AT_nan, 0);
    return lw_cast_as(l, lw_cast(l->e, w, v[2]->type, at), args);
}

static fe_value *decode_bias(lower *l, uint32_t n, fe_value **v, vm_span at) {
    if (n != 2 || v[0]->kind != FV_TYPE || v[1]->kind != FV_TYPE || v[1]->type->kind != FT_SCALAR)
        return lw_bad_args(l, "decode_bias", "(Q, T)", at);
    const vm_dtype q = v[0]->type->elem, t = v[1]->type->elem;
    return lw_rt(l, ir_const(&l->b, t, vm_encode_int(t, bits_offset(q, t))));
}

// Integers given as f(x, 1, 0) or f(x, [1, 0]).
static int numbers(lower *l, uint32_t n, fe_value **v, int64_t *out, vm_span at) {
    const bool list = n == 2 && (v[1]->kind == FV_LIST || v[1]->kind == FV_TUPLE);
    const uint32_t m = list ? v[1]->n : n - 1;
    for (uint32_t i = 0; i < m && i < LAYOUT_MAX_RANK; i++) {
        const fe_value *x = list ? v[1]->item[i] : v[i + 1];
        if (x->kind != FV_INT) {
            vm_report(l->c, D_E0358, at, "dimensions are constant integers");
            return -1;
        }
        out[i] = x->i;
    }
    if (m <= LAYOUT_MAX_RANK) return (int)m;
    vm_report(l->c, D_E0411, at, "at most %d dimensions", LAYOUT_MAX_RANK);
    return -1;
}

static fe_value *broadcast(lower *l, const char *name, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    ir_value *x = n ? lw_tile(l, v[0], "'broadcast'", s[0]) : NULL;
    if (!x) return n ? fe_poison(l->e) : lw_bad_args(l, name, "a tile and the extents of the result", at);
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    const int m = numbers(l, n, v, dim, at);
    if (m < 0) return fe_poison(l->e);
    bool fits = m >= x->type.rank;
    for (int d = 0; d < m; d++) {
        const int e = d - (m - x->type.rank);
        fits = fits && dim[d] > 0 && (e < 0 || x->type.dim[e] == 1 || x->type.dim[e] == dim[d]);
    }
    const ir_type t = ir_reg(x->type.elem, fits ? m : 0, dim, NULL);
    if (fits) return lw_rt(l, lw_broadcast(l, x, &t));
    vm_report(l->c, D_E0356, at, "%s does not broadcast to these extents", ir_type_text(l->a, &x->type));
    return fe_poison(l->e);
}

static fe_value *reshaping(lower *l, const char *name, const fe_args *args, uint32_t n,
                           fe_value **v, vm_span at) {
    ir_value *x = n && v[0]->kind == FV_RT ? lw_landed(l, v[0]->rt) : NULL;
    if (!x || (x->type.space != IS_REG && !lw_is_view(v[0])) || (l->lift && lw_lifted(l, x)))
        return lw_bad_args(l, name, "a tile or a view", at);
    int64_t dim[LAYOUT_MAX_RANK] = {0};
    if (strcmp(name, "flatten") == 0) {
        int64_t lo = 0, hi = x->type.rank;
        for (uint32_t i = 1; i < args->n; i++) {
            const fe_arg *a = &args->at[i];
            const fe_value *p = a->form == FA_RANGE              ? a->v
                                : a->v && a->v->kind == FV_RANGE ? a->v->item[0]
                                                                 : NULL;
            const fe_value *q = a->form == FA_RANGE              ? a->v2
                                : a->v && a->v->kind == FV_RANGE ? a->v->item[1]
                                                                 : NULL;
            if (!p || p->kind != FV_INT || q->kind != FV_INT)
                return lw_bad_args(l, name, "a constant range of dimensions", at);
            lo = p->i;
            hi = q->i;
        }
        if (lo < 0 || hi > x->type.rank || lo >= hi)
            return lw_bad_args(l, name, "a range of its dimensions", at);
        int rank = 0;
        for (int64_t d = 0; d < x->type.rank; d++) {
            if (d <= lo || d >= hi)
                dim[rank++] = x->type.dim[d];
            else
                dim[rank - 1] =
                    x->type.dim[d] < 0 || dim[rank - 1] < 0 ? -1 : dim[rank - 1] * x->type.dim[d];
        }
        return lw_reshape(l, x, rank, dim, at);
    }
    const int m = numbers(l, n, v, dim, at);
    if (m < 0) return fe_poison(l->e);
    if (strcmp(name, "reshape") == 0) return lw_reshape(l, x, m, dim, at);
    if (m != x->type.rank) return lw_bad_args(l, name, "every dimension once", at);
    int32_t perm[LAYOUT_MAX_RANK];
    for (int d = 0; d < m; d++)
        perm[d] = dim[d] < 0 || dim[d] > LAYOUT_MAX_RANK ? -1 : (int32_t)dim[d];
    return lw_permute(l, x, perm, at);
}

static fe_value *relayout(lower *l, uint32_t n, fe_value **v, const vm_span *s, vm_span at) {
    if (n != 2 || v[1]->kind != FV_LAYOUT)
        return lw_bad_args(l, "relayout", "a tile and a register layout", at);
    ir_value *x = lw_tile(l, v[0], "'relayout'", s[0]);
    if (!x || !lw_layout_fits(l, v[1]->lay, &x->type, s[1])) return fe_poison(l->e);
    ir_type t = x->type;
    t.reg = v[1]->lay;
    ir_value *r = ir_emit1(&l->b, I_relayout, 1, &x, t);
    r->name = x->name;
    r->pinned = true;
    r->why = WHY_PINNED;
    r->reason = "written with relayout";
    return lw_rt(l, r);
}

// ---- map ----------------------------------------------------------------------------------------

fe_value *lw_map(lower *l, fe_args *args, vm_span at) {
    if (args->n != 2 || !args->at[1].v || args->at[1].v->kind != FV_LAMBDA)
        return lw_bad_args(l, "map", "a tile and a lambda |i, …, e| …", at);
    ir_value *x = lw_tile(l, args->at[0].v, "'map'", args->at[0].span);
    if (!x) return fe_poison(l->e);
    fe_value *fn = args->at[1].v;
    const uint32_t n = fn->node->nnames, rank = x->type.rank;
    if (n != 1 && n != rank + 1) {
        vm_report(l->c, D_E0354, args->at[1].span,
                  "the lambda of a tile of rank %u takes %u indices and the element, or the "
                  "element alone",
                  rank, rank);
        return fe_poison(l->e);
    }
    lw_lift lift = {.shape = x->type, .up = l->lift};
    if (l->lift) {
        vm_report(l->c, D_E0423, at, "'map' cannot stand in a lambda of map");
        return fe_poison(l->e);
    }
    l->lift = &lift;
    void *const mark = x->tmp;
    x->tmp = &lift;
    fe_arg in[LAYOUT_MAX_RANK + 1];
    for (uint32_t i = 0; i + 1 < n; i++) {
        lift.index[i] = emit_iota(l, &x->type, (int)i);
        lift.index[i]->name = fn->node->names[i];
        in[i] = (fe_arg){.form = FA_VALUE, .v = lw_rt(l, lift.index[i]), .span = at};
    }
    in[n - 1] = (fe_arg){.form = FA_VALUE, .v = lw_rt(l, x), .span = at};
    fe_value *r = fe_call(l->e, fn, &(fe_args){n, in}, at);
    ir_value *y = NULL;
    l->b.span = at;
    vm_dtype t = T_i32;
    if (lw_number(r)) {
        t = lw_default_type(r);
        if (r->typed) t = r->dtype;
        y = lw_const(l, r, t, at);
    } else if (!lw_poison(r) && lw_dtype_of(l, r, &t))
        y = lw_operand(l, r, t, at);
    else if (!lw_poison(r))
        vm_report(l->c, D_E0353, at, "a lambda of map gives a number, not %s",
                  fe_describe(l->e, r));
    if (y && y->type.space == IS_SCALAR)
        y = ir_emit1(&l->b, I_full, 1, &y, ir_reg(t, (int)rank, x->type.dim, NULL));
    x->tmp = mark;
    l->lift = lift.up;
    if (!y) return fe_poison(l->e);
    y->tmp = l->lift;
    return lw_rt(l, y);
}

fe_value *lw_call_tile(lower *l, const char *name, fe_args *args, vm_span at, bool *mine) {
    fe_value *v[LW_MAX_ARGS];
    vm_span s[LW_MAX_ARGS];
    const uint32_t n = lw_positional(args, v, s);
    const bool dim = fe_named(args, "dim") != NULL;
    *mine = true;
    if (strcmp(name, "map") == 0) return lw_map(l, args, at);
    if (strcmp(name, "zeros") == 0) return full(l, true, n, v, s, at);
    if (strcmp(name, "full") == 0) return full(l, false, n, v, s, at);
    if (strcmp(name, "iota") == 0) return iota(l, args, n, v, s, at);
    if (strcmp(name, "max") == 0 && (dim || n == 1))
        return reduce(l, I_max_of, name, args, n, v, s, at);
    if (strcmp(name, "min") == 0 && (dim || n == 1))
        return reduce(l, I_min_of, name, args, n, v, s, at);
    if (strcmp(name, "sum") == 0) return reduce(l, I_sum, name, args, n, v, s, at);
    if (strcmp(name, "any") == 0) return reduce(l, I_any, name, args, n, v, s, at);
    if (strcmp(name, "all") == 0) return reduce(l, I_all, name, args, n, v, s, at);
    if (strcmp(name, "scan_inclusive") == 0)
        return scan(l, I_scan_inclusive, name, args, n, v, s, at);
    if (strcmp(name, "scan_exclusive") == 0)
        return scan(l, I_scan_exclusive, name, args, n, v, s, at);
    if (strcmp(name, "dot") == 0) return dot(l, I_dot, name, n, v, s, at);
    if (strcmp(name, "wgmma") == 0) return dot(l, I_wgmma, name, n, v, s, at);
    if (strcmp(name, "view") == 0) return view(l, n, v, s, at);
    if (strcmp(name, "encode") == 0) return encode(l, args, n, v, s, at);
    if (strcmp(name, "decode") == 0) return decode(l, args, n, v, s, at);
    if (strcmp(name, "decode_bias") == 0) return decode_bias(l, n, v, at);
    if (strcmp(name, "broadcast") == 0) return broadcast(l, name, n, v, s, at);
    if (strcmp(name, "relayout") == 0) return relayout(l, n, v, s, at);
    if (strcmp(name, "reshape") == 0 || strcmp(name, "permute") == 0 ||
        strcmp(name, "flatten") == 0)
        return reshaping(l, name, args, n, v, at);
    *mine = false;
    return NULL;
}
