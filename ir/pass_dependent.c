// SPDX-License-Identifier: Apache-2.0
// Checks kernels that may begin before the launch in front of them has ended: what that one may still
// write or read is touched only behind wait_previous, on every path. Before it stand asynchronous copies
// and prefetches of `static` operands alone: plain loads could be moved behind it, and be wasted.
#include "ir/pass.h"

typedef struct {
    ir_func *f;
    bool waits, failed; // somewhere
} checker;

static const ir_param *param_of(const checker *k, const ir_value *view) {
    const ir_value *root = view->type.space == IS_GLOBAL ? ir_memory_of(view) : NULL;
    for (uint32_t i = 0; root && i < k->f->nparams; i++)
        if (k->f->params[i].value == root) return &k->f->params[i];
    return NULL;
}

static void access(checker *k, const ir_op *op) {
    const bool early = op->inst == I_prefetch || op->inst == I_tma_load || (op->inst == I_copy_async && op->ops[0]->type.space == IS_SHARED) ||
                       (ir_enclosing(op, I_fetch) && ir_into_shared(op));
    for (uint32_t i = 0; i < op->nops; i++) {
        if (op->ops[i]->type.space != IS_GLOBAL || vm_insts[op->inst].cls == C_VIEW || op->inst == I_permute || op->inst == I_reshape) continue;
        const ir_param *p = param_of(k, op->ops[i]);
        if (early && p && p->fixed) continue;
        k->failed = true;
        vm_diag *d = vm_report(k->f->comp, D_E0515, op->span, "'%s' of '%s' before wait_previous", vm_insts[op->inst].name, p ? p->name : "a tensor");
        if (p && p->fixed) vm_help(k->f->comp, d, "copy_async, and copies in a fetch block, may run ahead of it");
        else vm_help(k->f->comp, d, "call wait_previous() first; tensors that no launch before writes are named by 'static = (…);'");
        return;
    }
}

// Whether wait_previous has been passed at the end of the region.
static bool region(checker *k, const ir_region *r, bool waited) {
    for (const ir_op *op = r->first; op; op = op->next) {
        if (op->inst == I_wait_previous) waited = k->waits = true;
        else if (op->inst == I_if) {
            const bool a = region(k, op->regions[0], waited), b = op->nregions > 1 ? region(k, op->regions[1], waited) : waited;
            waited = a && b;
        } else if (op->inst == I_scope) waited = region(k, op->regions[0], waited);
        else if (op->nregions) {
            for (uint32_t i = 0; i < op->nregions; i++) region(k, op->regions[i], waited); // a loop may not run at all
        } else if (!waited) access(k, op);
    }
    return waited;
}

void ir_pass_dependent(ir_func *f) {
    checker k = {.f = f};
    if (!f->dependent) return;
    region(&k, f->body, false);
    if (k.waits || k.failed) return;
    vm_diag *d = vm_report(f->comp, D_E0515, f->span, "'%s' never waits for the launch before it", f->kernel);
    vm_help(f->comp, d, "call wait_previous(), or leave 'dependent' out of the launch clause");
}
