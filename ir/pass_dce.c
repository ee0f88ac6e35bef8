// SPDX-License-Identifier: Apache-2.0
// Removes operations whose results nobody uses and that do nothing else, whole regions included.
#include "ir/pass.h"

// Reads may go too: they have no effect that anyone could see.
static bool removable(const ir_op *op) {
    switch (op->inst) {
    case I_load:
    case I_load_elem:
    case I_load_be:
    case I_load_le:
    case I_const:
        return true;
    case I_if:
    case I_for:
    case I_simt:
    case I_scope:
        for (uint32_t i = 0; i < op->nregions; i++)
            for (const ir_op *o = op->regions[i]->first; o; o = o->next)
                if (o->inst != I_yield && !removable(o)) return false;
        return true;
    default:
        return ir_is_pure(op);
    }
}

static void forget(ir_op *op, void *user) {
    uint32_t *uses = user;
    for (uint32_t i = 0; i < op->nops; i++) uses[op->ops[i]->id]--;
}

static void sweep(ir_region *r, uint32_t *uses) {
    for (ir_op *op = r->last, *prev; op; op = prev) {
        prev = op->prev;
        for (uint32_t i = 0; i < op->nregions; i++) sweep(op->regions[i], uses);
        bool used = false;
        for (uint32_t i = 0; i < op->nres; i++) used = used || uses[op->res[i]->id];
        // Nobody asks for the old value: then nobody need hand it round.
        if (!used && op->nres == 1 && vm_insts[op->inst].cls == C_MEM && (vm_insts[op->inst].fx & FX_WRITE) &&
            !ir_enclosing(op, I_simt))
            op->nres = 0;
        if (used || !removable(op)) continue;
        forget(op, uses);
        for (uint32_t i = 0; i < op->nregions; i++) ir_walk(op->regions[i], forget, uses);
        ir_remove(op);
    }
}

void ir_pass_dce(ir_func *f) {
    uint32_t *uses = ir_count_uses(f);
    sweep(f->body, uses);
    sweep(f->host, uses);
}
