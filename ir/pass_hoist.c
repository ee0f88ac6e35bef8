// SPDX-License-Identifier: Apache-2.0
// Loop-invariant code motion: pure operations that stand directly in a loop's body and use nothing
// that the loop makes move before it, inner loops first.
#include "ir/pass.h"

static bool made_inside(const ir_value *v, const ir_op *loop) {
    if (v->def) return ir_inside(v->def, loop);
    if (!v->owner) return false;
    const ir_op *p = v->owner->parent;
    return p == loop || (p && ir_inside(p, loop));
}

static void hoist_loop(ir_op *loop) {
    for (uint32_t i = 0; i < loop->nregions; i++)
        for (ir_op *op = loop->regions[i]->first, *next; op; op = next) {
            next = op->next;
            if (!ir_is_pure(op) || op->inst == I_alloc_shared || op->nregions) continue;
            bool stays = false;
            for (uint32_t k = 0; k < op->nops; k++) stays = stays || made_inside(op->ops[k], loop);
            if (stays) continue;
            ir_remove(op);
            ir_insert_before(loop, op);
        }
}

static void hoist_region(ir_region *r) {
    for (ir_op *op = r->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->nregions; i++) hoist_region(op->regions[i]);
        if (op->inst == I_for || op->inst == I_while) hoist_loop(op);
    }
}

void ir_pass_hoist(ir_func *f) {
    hoist_region(f->body);
}
