// SPDX-License-Identifier: Apache-2.0
// Places shared memory: what is not live at the same time may share bytes. Time is the position in
// the text; a use in a loop lasts for the whole loop unless the memory is made inside it, roles of one
// set live at the same time. Aliasing that results gets its barriers from the barrier pass.
#include "ir/pass.h"
#include "layout/move.h"

#include <string.h>

typedef struct {
    ir_op *op;
    bool scratch;
    uint32_t begin, end;   // positions, inclusive; begin > end: never used
    uint64_t bytes, align, offset;
    uint32_t made;         // position of op
} item;

typedef struct {
    ir_func *f;
    vm_arena *arena;
    VM_VEC(item) items;
    uint32_t pos;
    uint32_t *end_of;      // by op number: last position inside
    VM_VEC(ir_op *) ops;   // by position
} planner;

static uint32_t at(const ir_op *op) {
    return (uint32_t)(uintptr_t)op->tmp;
}

static void number(planner *p, ir_region *r) {
    for (ir_op *op = r->first; op; op = op->next) {
        op->tmp = (void *)(uintptr_t)p->ops.n;
        vm_push(p->arena, &p->ops, op);
        for (uint32_t i = 0; i < op->nregions; i++) number(p, op->regions[i]);
    }
}

static uint32_t end_at(planner *p, const ir_op *op) {
    uint32_t *e = &p->end_of[at(op)];
    if (*e) return *e;
    uint32_t end = at(op);
    for (uint32_t i = 0; i < op->nregions; i++)
        if (op->regions[i]->last) {
            const uint32_t inner = end_at(p, op->regions[i]->last);
            if (inner > end) end = inner;
        }
    return *e = end;
}

static void cover(item *x, uint32_t lo, uint32_t hi) {
    if (lo < x->begin) x->begin = lo;
    if (hi > x->end) x->end = hi;
}

static void use(planner *p, item *x, ir_op *op, bool loops) {
    uint32_t lo = at(op), hi = end_at(p, op);
    for (ir_op *q = op->parent->parent; q; q = q->parent->parent) {
        if (q->inst == I_role) {
            // All roles of the run are there at once.
            const ir_op *first = q, *last = q;
            while (first->prev && first->prev->inst == I_role) first = first->prev;
            while (last->next && last->next->inst == I_role) last = last->next;
            lo = at(first);
            hi = end_at(p, last);
        } else if (loops && (q->inst == I_for || q->inst == I_while) && !ir_inside(x->op, q)) {
            lo = at(q);
            hi = end_at(p, q);
        }
    }
    ir_effect fx[IR_MAX_EFFECTS];
    bool async = op->inst == I_wgmma;
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) async = async || fx[i].async;
    if (async && loops) {
        // In flight until everything has landed.
        uint32_t k = hi + 1;
        while (k < p->ops.n &&
               !(p->ops.at[k]->inst == I_wait_group && !ir_get(p->ops.at[k], AT_of) && ir_int(p->ops.at[k], AT_count, 0) == 0 &&
                 op->inst == I_copy_async && op->nops == 2))
            k++;
        hi = k < p->ops.n ? k : p->ops.n;
        if (k == p->ops.n) lo = 0;
    }
    cover(x, lo, hi);
}

static item *item_of(planner *p, const ir_op *op) {
    for (uint32_t i = 0; i < p->items.n; i++)
        if (p->items.at[i].op == op && !p->items.at[i].scratch) return &p->items.at[i];
    return NULL;
}

static uint64_t alloc_bytes(const ir_type *t) {
    const uint64_t n = (uint64_t)(t->shared ? t->shared->size : ir_elems(t));
    return (n * vm_mem_bits(t->elem) + 7) / 8;
}

static void collect(planner *p) {
    for (uint32_t k = 0; k < p->ops.n; k++) {
        ir_op *op = p->ops.at[k];
        item x = {.op = op, .begin = UINT32_MAX, .made = k, .align = 16};
        if (op->inst == I_alloc_shared && ir_elems(&op->res[0]->type) >= 0) {
            const ir_type *t = &op->res[0]->type;
            x.bytes = alloc_bytes(t);
            x.align = t->shared && t->shared->sw_bits ? 1024 : x.bytes >= 128 ? 128 : 16;
        } else if (op->inst == I_alloc_barrier) {
            x.bytes = 8 * (uint64_t)ir_int(op, AT_extent, 1);
            cover(&x, 0, p->ops.n);
        } else if ((x.bytes = ir_scratch_bytes(op)) > 0) {
            x.scratch = true;
            use(p, &x, op, false);
        } else continue;
        vm_push(p->arena, &p->items, x);
    }
    for (uint32_t k = 0; k < p->ops.n; k++) {
        ir_op *op = p->ops.at[k];
        for (uint32_t i = 0; i < op->nops; i++) {
            if (op->ops[i]->type.space != IS_SHARED) continue;
            const ir_value *root = ir_memory_of(op->ops[i]);
            item *x = root && root->def ? item_of(p, root->def) : NULL;
            if (x && op->inst == I_peer) cover(x, 0, p->ops.n); // others use it when they like
            if (x && vm_insts[op->inst].cls != C_VIEW && op->inst != I_permute && op->inst != I_reshape)
                use(p, x, op, true);
        }
    }
}

static bool overlap(const item *a, const item *b) {
    return a->begin <= b->end && b->begin <= a->end;
}

// Lowest offset at which x fits beside those that are live together with it.
static void fit(planner *p, uint32_t n) {
    item *x = &p->items.at[n];
    if (x->begin > x->end) return;
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < n; i++) {
            const item *y = &p->items.at[i];
            if (y->begin > y->end || !overlap(x, y)) continue;
            if (x->offset >= y->offset + y->bytes || y->offset >= x->offset + x->bytes) continue;
            x->offset = (y->offset + y->bytes + x->align - 1) / x->align * x->align;
            moved = true;
        }
    }
}

static void too_much(planner *p, uint64_t total, uint64_t limit) {
    vm_diag *d = vm_report(p->f->comp, D_E0601, p->f->span,
                           "kernel '%s' needs %llu bytes of shared memory; %s has %llu", p->f->kernel,
                           (unsigned long long)total,
                           p->f->module->arch ? p->f->module->arch->name : "the virtual machine",
                           (unsigned long long)limit);
    for (uint32_t i = 0; i < p->items.n; i++) {
        const item *x = &p->items.at[i];
        if (x->begin > x->end) continue;
        const char *name = ir_str(x->op, AT_name);
        if (!name && x->op->nres) name = x->op->res[0]->name;
        vm_label(p->f->comp, d, x->op->span, "%s%s%s: %llu bytes",
                 x->scratch ? "scratch of " : name ? "'" : "",
                 x->scratch ? vm_insts[x->op->inst].name : name ? name : "unnamed",
                 !x->scratch && name ? "'" : "", (unsigned long long)x->bytes);
    }
}

void ir_pass_smem(ir_func *f) {
    planner p = {.f = f, .arena = f->comp->arena};
    number(&p, f->body);
    p.end_of = vm_newn(p.arena, uint32_t, p.ops.n + 1);
    collect(&p);
    uint64_t total = 0;
    for (uint32_t i = 0; i < p.items.n; i++) {
        fit(&p, i);
        item *x = &p.items.at[i];
        if (x->begin <= x->end && x->offset + x->bytes > total) total = x->offset + x->bytes;
    }
    const uint64_t limit = f->module->arch ? f->module->arch->shared_bytes : 227 * 1024;
    if (total > limit) {
        too_much(&p, total, limit);
        return;
    }
    for (uint32_t i = 0; i < p.items.n; i++) {
        item *x = &p.items.at[i];
        ir_set_int(x->op, x->scratch ? AT_scratch : AT_offset, (int64_t)x->offset);
    }
    // Memory of run-time size follows; a second one begins where the first one ends.
    uint64_t dynamic = (total + 127) / 128 * 128;
    bool any = false;
    for (uint32_t k = 0; k < p.ops.n; k++) {
        ir_op *op = p.ops.at[k];
        if (op->inst != I_alloc_shared || ir_elems(&op->res[0]->type) >= 0) continue;
        if (!any) ir_set_int(op, AT_offset, (int64_t)dynamic);
        else ir_unset(op, AT_offset);
        any = true;
    }
    f->shared_bytes = (uint32_t)(any ? dynamic : (total + 15) / 16 * 16);
    for (uint32_t k = 0; k < p.ops.n; k++) p.ops.at[k]->tmp = NULL;
}

// Whether a reduction along dim (-1: all) joins threads beyond what shuffles within a warp reach.
static bool needs_memory(const layout *l, int dim) {
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    for (int i = 0; i < n; i++) {
        if (!d[i].spatial || d[i].dim < 0 || (dim >= 0 && d[i].dim != dim)) continue;
        const bool pow2 = !(d[i].extent & (d[i].extent - 1)) && !(d[i].div & (d[i].div - 1));
        if (!pow2 || d[i].div * d[i].extent > 32) return true;
    }
    return false;
}

const move_plan *ir_move_plan(const ir_op *op) {
    const ir_type *to = &op->res[0]->type;
    int32_t shape[LAYOUT_MAX_RANK];
    for (int d = 0; d < to->rank; d++) shape[d] = (int32_t)to->dim[d];
    return layout_move_plan(op->parent->func->comp->arena, op->ops[0]->type.reg, to->reg, shape, vm_mem_bits(to->elem));
}

uint32_t ir_scratch_bytes(const ir_op *op) {
    const uint8_t cls = vm_insts[op->inst].cls;
    vm_arena *a = op->parent->func->comp->arena;
    const ir_type *x = op->nops ? &op->ops[0]->type : NULL;
    if (op->inst == I_relayout) {
        if (!x->reg || !op->res[0]->type.reg) return 0;
        const move_plan *p = ir_move_plan(op);
        return p->kind == MOVE_SHARED ? (uint32_t)p->bytes : 0;
    }
    if (op->inst == I_reshape && x->space == IS_REG) { // layouts that cannot be renumbered: through memory
        const ir_type *y = &op->res[0]->type;
        int32_t shape[LAYOUT_MAX_RANK];
        bool exact = x->reg && y->reg;
        if (!exact) return 0;
        for (int d = 0; d < x->rank; d++) exact = exact && x->reg->shape[d] == x->dim[d];
        for (int d = 0; d < y->rank; d++) shape[d] = (int32_t)y->dim[d];
        const layout *l = exact ? layout_reshape(a, x->reg, y->rank, shape, NULL) : NULL;
        return l && layout_equal(l, y->reg) ? 0 : (uint32_t)ir_elems(y) * vm_cell(y->elem);
    }
    if (cls == C_REDUCE || cls == C_SCAN) {
        // 16-bit floats are accumulated as f32.
        const ir_type *y = &op->res[0]->type;
        const uint32_t cell = vm_is_float(x->elem) && vm_cell(x->elem) < 4 ? 4 : vm_cell(x->elem);
        if (!x->reg) return 0;
        if (cls == C_SCAN) return (uint32_t)ir_elems(x) * cell;
        if (!needs_memory(x->reg, (int)ir_int(op, AT_dim, -1))) return 0;
        return (uint32_t)x->reg->threads * (y->reg ? (uint32_t)y->reg->slots : 1) * cell;
    }
    if (cls == C_MEM && (vm_insts[op->inst].fx & FX_WRITE) && op->nres == 1 && !ir_enclosing(op, I_simt))
        return 16; // an atomic is done by one thread, which hands its result round
    return 0;
}
