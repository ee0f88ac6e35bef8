// SPDX-License-Identifier: Apache-2.0
// Attributes of operations: the rows of attr.def, and a list at each operation that is kept in the
// order of the table, so that printing does not depend on the order of setting.
#include "ir/ir.h"

const struct ir_attr_info ir_attrs[AT_count_] = {
#define ATTR(key, kind, doc) {#key, AK_##kind, doc},
#include "ir/attr.def"
#undef ATTR
};

static vm_arena *arena_of(const ir_op *op) {
    return op->parent->func->comp->arena;
}

static ir_attr *slot(ir_op *op, enum ir_attr_key k) {
    ir_attr **p = &op->attrs;
    while (*p && (*p)->key < k) p = &(*p)->next;
    // A fresh node replaces an old one: clones share their lists, so nodes are never changed.
    ir_attr *a = vm_new(arena_of(op), ir_attr);
    a->key = k;
    a->next = *p && (*p)->key == k ? (*p)->next : *p;
    // The nodes before it are shared too: copy them.
    ir_attr **q = &op->attrs;
    for (ir_attr *old = op->attrs; old && old->key < k; old = old->next) {
        ir_attr *copy = vm_dup(arena_of(op), old, sizeof *old);
        *q = copy;
        q = &copy->next;
    }
    *q = a;
    return a;
}

void ir_set_int(ir_op *op, enum ir_attr_key k, int64_t v) {
    slot(op, k)->i = v;
}

void ir_set_str(ir_op *op, enum ir_attr_key k, const char *s) {
    slot(op, k)->s = vm_strdup(arena_of(op), s);
}

void ir_set_ints(ir_op *op, enum ir_attr_key k, uint32_t n, const int32_t *v) {
    ir_attr *a = slot(op, k);
    a->n = n;
    a->v = n ? vm_dup(arena_of(op), v, n * sizeof *v) : NULL;
}

void ir_set_layout(ir_op *op, enum ir_attr_key k, const layout *l) {
    slot(op, k)->lay = l;
}

const ir_attr *ir_get(const ir_op *op, enum ir_attr_key k) {
    for (const ir_attr *a = op->attrs; a && a->key <= k; a = a->next)
        if (a->key == k) return a;
    return NULL;
}

int64_t ir_int(const ir_op *op, enum ir_attr_key k, int64_t otherwise) {
    const ir_attr *a = ir_get(op, k);
    return a ? a->i : otherwise;
}

const char *ir_str(const ir_op *op, enum ir_attr_key k) {
    const ir_attr *a = ir_get(op, k);
    return a ? a->s : NULL;
}

vm_rounding ir_rounding(const ir_op *cast) {
    vm_rounding r = vm_default_rounding(cast->res[0]->type.elem);
    const char *round = ir_str(cast, AT_round);
    if (round) r.round = round[0] == 'z' ? R_ZERO : R_NEAREST;
    r.saturate = ir_int(cast, AT_saturate, r.saturate) != 0;
    r.numbers = !ir_int(cast, AT_nan, 1);
    r.offset = ir_int(cast, AT_kept, 0) != 0;
    return r;
}

void ir_unset(ir_op *op, enum ir_attr_key k) {
    if (!ir_get(op, k)) return;
    ir_attr *gone = slot(op, k); // privatises the nodes before it
    ir_attr **p = &op->attrs;
    while (*p != gone) p = &(*p)->next;
    *p = gone->next;
}
