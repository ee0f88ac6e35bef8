// SPDX-License-Identifier: Apache-2.0
// Arrays of structs in memory. In global memory the members of one struct lie behind each other, each on
// 16 bytes, and every member is a view of its own with the array's dimensions in front; in shared memory
// every member is a tensor, or, with '@ row_major()', they lie as in global memory. Slices and copies of such an array are those of its members.
#include "ir/lower.h"

#include <string.h>

typedef struct {
    uint32_t n;
    const fe_type *type[FE_MAX_FIELDS];
    int64_t offset[FE_MAX_FIELDS], bytes;
} members;

static bool members_of(lower *l, const fe_type *t, members *m, vm_span at) {
    m->n = fe_struct_members(l->e, t->strukt, m->type, at);
    if (!m->n) return false;
    m->bytes = fe_struct_offsets(m->n, m->type, m->offset);
    bool ok = m->bytes > 0 && t->rank >= 1 && !t->layout;
    for (uint32_t i = 0; ok && i < m->n; i++) {
        const fe_type *x = m->type[i];
        ok = x->kind == FT_TENSOR && x->space == FS_NONE && !x->layout && 128 % vm_mem_bits(x->elem) == 0 &&
             t->rank + x->rank < LAYOUT_MAX_RANK;
    }
    if (ok) return true;
    vm_diag *d = vm_report(l->c, D_E0304, at, "structs of this type cannot lie in memory");
    vm_help(l->c, d,
            "members are tensors of constant extents and of 1, 2, 4, 8, 16, 32 or 64 bits an element, "
            "'w: u8[64]', in an array with at least one dimension: 'global Block[n]'");
    return false;
}

static fe_value *make(lower *l, const fe_type *t, uint32_t n, fe_value **items) {
    fe_value *r = vm_new(l->a, fe_value);
    r->kind = FV_STRUCT;
    r->n = n;
    r->item = items;
    r->decl = t->strukt->node;
    r->home = t->strukt->module;
    r->metas = t->strukt->scope;
    r->lead = t->rank;
    r->span = l->b.span;
    return r;
}

int64_t lw_struct_bytes(lower *l, const fe_type *t, vm_span at) {
    members m;
    return members_of(l, t, &m, at) ? m.bytes : 0;
}

static ir_value *product(lower *l, ir_value *x, const fe_value *by, vm_span at) {
    ir_value *y = lw_index(l, by, at);
    if (!x || !y) return NULL;
    if (y->type.elem != T_i64) {
        int64_t k;
        y = ir_known(y, &k) ? ir_const_int(&l->b, T_i64, k)
                            : ir_emit1(&l->b, I_cast, 1, &y, ir_scalar(T_i64));
    }
    ir_value *ops[2] = {x, y};
    return ir_emit1(&l->b, I_mul, 2, ops, ir_scalar(T_i64));
}

// Strides are in elements of the member. Where it does not start with the struct, one more dimension
// of that stride, at index 1, leads to it.
static fe_value *member_view(lower *l, ir_value *ptr, const fe_type *t, const fe_type *x, int64_t offset,
                             int64_t bytes, const char *name, vm_span at) {
    const int64_t bits = vm_mem_bits(x->elem);
    int64_t dim[LAYOUT_MAX_RANK] = {0}, inner[LAYOUT_MAX_RANK] = {0};
    if (!lw_static_dims(l, x, inner, at)) return fe_poison(l->e);
    ir_value *ops[1 + 2 * LAYOUT_MAX_RANK] = {ptr}, *stride[LAYOUT_MAX_RANK];
    uint32_t n = 1;
    int rank = t->rank;
    ir_value *s = ir_const_int(&l->b, T_i64, bytes * 8 / bits);
    for (int d = t->rank - 1; d >= 0; d--) {
        stride[d] = s;
        if (d && !(s = product(l, s, t->dim[d], at))) return fe_poison(l->e);
    }
    for (int d = 0; d < t->rank; d++) {
        dim[d] = t->dim[d]->kind == FV_INT ? t->dim[d]->i : IR_DYN;
        if (dim[d] >= 0) continue;
        if (!(ops[n++] = lw_index(l, t->dim[d], at))) return fe_poison(l->e);
    }
    if (offset) {
        dim[rank] = 2;
        stride[rank++] = ir_const_int(&l->b, T_i64, offset * 8 / bits);
    }
    int64_t walk = 1;
    for (int d = x->rank - 1; d >= 0; d--) {
        dim[rank + d] = inner[d];
        stride[rank + d] = ir_const_int(&l->b, T_i64, walk);
        walk *= inner[d];
    }
    rank += x->rank;
    for (int d = 0; d < rank; d++) ops[n++] = stride[d];
    ir_value *v = ir_emit1(&l->b, I_global_view, n, ops, ir_view_type(IS_GLOBAL, x->elem, rank, dim));
    ir_set_int(v->def, AT_strided, 1);
    v->name = name;
    ir_set_str(v->def, AT_name, name);
    fe_value *r = lw_rt(l, v);
    if (!offset) return r;
    fe_arg at_member[LAYOUT_MAX_RANK];
    for (int d = 0; d < t->rank; d++) at_member[d] = (fe_arg){.form = FA_ALL, .span = at};
    at_member[t->rank] = (fe_arg){.form = FA_VALUE, .v = fe_int(l->e, 1), .span = at};
    return lw_index_hook(l->e, r, &(fe_args){(uint32_t)t->rank + 1, at_member}, at);
}

/// The same array as bytes: one more dimension.
static fe_type raw_type(lower *l, const fe_type *t, enum fe_space space, int64_t bytes) {
    fe_type r = {.kind = FT_TENSOR, .space = space, .elem = T_u8, .rank = t->rank + 1};
    for (int d = 0; d < t->rank; d++) r.dim[d] = t->dim[d];
    r.dim[t->rank] = fe_int(l->e, bytes);
    return r;
}

fe_value *lw_struct_global(lower *l, ir_value *ptr, const fe_type *t, const char *name, vm_span at) {
    members m;
    if (!members_of(l, t, &m, at)) return fe_poison(l->e);
    fe_value **items = vm_newn(l->a, fe_value *, m.n);
    for (uint32_t i = 0; i < m.n; i++) {
        items[i] = member_view(l, ptr, t, m.type[i], m.offset[i], m.bytes, name, at);
        if (lw_poison(items[i])) return items[i];
    }
    fe_value *r = make(l, t, m.n, items);
    const fe_type bytes = raw_type(l, t, FS_GLOBAL, m.bytes);
    if (t->rank < LAYOUT_MAX_RANK) r->raw = lw_global_view(l, ptr, &bytes, name, at);
    return r;
}

/// Members as parts of one tensor of bytes, which a single copy fills.
static fe_value *packed(lower *l, const fe_type *t, const members *m, const char *name, vm_span at) {
    fe_type *bytes = vm_new(l->a, fe_type);
    *bytes = raw_type(l, t, FS_SHARED, m->bytes);
    bytes->layout = t->layout;
    fe_value *raw = lw_declare(l->e, name, bytes, NULL, false, NULL, at);
    if (lw_poison(raw)) return raw;
    fe_value **items = vm_newn(l->a, fe_value *, m->n);
    for (uint32_t i = 0; i < m->n; i++) {
        int64_t dim[LAYOUT_MAX_RANK] = {0}, inner[LAYOUT_MAX_RANK] = {0};
        if (!lw_static_dims(l, m->type[i], inner, at)) return fe_poison(l->e);
        for (int d = 0; d < t->rank; d++) dim[d] = raw->rt->type.dim[d];
        for (int d = 0; d < m->type[i]->rank; d++) dim[t->rank + d] = inner[d];
        ir_value *v = ir_emit1(&l->b, I_member, 1, &raw->rt, ir_view_type(IS_SHARED, m->type[i]->elem, t->rank + m->type[i]->rank, dim));
        ir_set_int(v->def, AT_offset, m->offset[i]);
        ir_set_str(v->def, AT_name, name);
        v->name = name;
        items[i] = lw_rt(l, v);
    }
    fe_value *r = make(l, t, m->n, items);
    r->raw = raw;
    return r;
}

fe_value *lw_struct_shared(lower *l, const fe_type *t, const char *name, vm_span at) {
    members m;
    fe_type with = *t;
    fe_type *array = &with;
    if (!t->rank) { // one struct: an array of one, without its dimension
        array->rank = 1;
        array->dim[0] = fe_int(l->e, 1);
    }
    array->layout = NULL;
    if (!members_of(l, array, &m, at)) return fe_poison(l->e);
    if (t->layout && (t->layout->kind != FV_SHARED_LAYOUT || t->layout->sh || t->layout->swizzle || t->layout->strides)) {
        vm_diag *d = vm_report(l->c, D_E0405, at, "an array of structs has no layout but row_major()");
        vm_help(l->c, d, "write '@ row_major()' to have them as in global memory, nothing for a tensor a member");
        return fe_poison(l->e);
    }
    if (t->layout) return packed(l, t, &m, name, at);
    fe_value **items = vm_newn(l->a, fe_value *, m.n);
    for (uint32_t i = 0; i < m.n; i++) {
        fe_type *x = vm_dup(l->a, m.type[i], sizeof *x);
        x->space = FS_SHARED;
        for (int d = 0; d < x->rank; d++) x->dim[t->rank + d] = m.type[i]->dim[d];
        for (int d = 0; d < t->rank; d++) x->dim[d] = t->dim[d];
        x->rank += t->rank;
        items[i] = lw_declare(l->e, name, x, NULL, false, NULL, at);
        if (lw_poison(items[i])) return items[i];
    }
    return make(l, t, m.n, items);
}

fe_value *lw_struct_index(lower *l, fe_value *x, fe_args *args, vm_span at) {
    int lead = x->lead;
    if ((int)args->n > lead) {
        vm_report(l->c, D_E0401, at, "%u indices for an array of structs with %d dimension%s", args->n, lead,
                  lead == 1 ? "" : "s");
        return fe_poison(l->e);
    }
    for (uint32_t i = 0; i < args->n; i++)
        lead -= args->at[i].form == FA_VALUE && args->at[i].v->kind != FV_RANGE;
    fe_value *r = vm_dup(l->a, x, sizeof *x);
    r->lead = lead;
    r->item = vm_newn(l->a, fe_value *, x->n);
    if (x->raw && lw_poison(r->raw = lw_index_hook(l->e, x->raw, args, at))) return r->raw;
    for (uint32_t i = 0; i < x->n; i++) {
        r->item[i] = lw_index_hook(l->e, x->item[i], args, at);
        if (lw_poison(r->item[i])) return r->item[i];
    }
    return r;
}
