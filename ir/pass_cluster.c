// SPDX-License-Identifier: Apache-2.0
// Checks uses of other blocks' shared memory and barriers: between two cluster barriers, of which the
// first says that the others have begun (and made what is read), the last that nobody needs them longer.
#include "ir/pass.h"

typedef struct {
    ir_func *f;
    const ir_op *open; // last use of a peer since a cluster barrier
    bool synced;
} walker;

static const ir_op *peer_of(const ir_op *op) {
    for (uint32_t i = 0; i < op->nops; i++)
        for (const ir_value *v = op->ops[i]; v->def && v->def->nops && vm_insts[v->def->inst].cls != C_ELEM; v = v->def->ops[0]) {
            if (v->def->inst == I_peer) return v->def;
            if (v->type.space != IS_SHARED && v->type.space != IS_BARRIER) break;
        }
    return NULL;
}

static void region(walker *w, const ir_region *r) {
    for (const ir_op *op = r->first; op; op = op->next) {
        if (op->inst == I_cluster_sync) {
            w->synced = true;
            w->open = NULL;
            continue;
        }
        const uint8_t cls = vm_insts[op->inst].cls;
        if (cls != C_VIEW && op->inst != I_permute && op->inst != I_reshape && op->inst != I_barrier_at && peer_of(op)) {
            if (!w->synced) {
                vm_diag *d = vm_report(w->f->comp, D_E0518, op->span, "another block's shared memory or barrier before 'cluster.sync()'");
                vm_help(w->f->comp, d, "the other block may not have begun yet");
                w->synced = true;
            }
            w->open = op;
        }
        const bool was = w->synced;
        for (uint32_t i = 0; i < op->nregions; i++) {
            if (op->inst != I_scope) w->synced = was;
            region(w, op->regions[i]);
        }
        if (op->nregions && op->inst != I_scope) w->synced = was; // it may not have run
    }
}

void ir_pass_cluster(ir_func *f) {
    walker w = {.f = f};
    region(&w, f->body);
    if (!w.open) return;
    vm_diag *d = vm_report(f->comp, D_E0518, w.open->span, "another block's shared memory or barrier is used, and that block may have ended");
    vm_help(f->comp, d, "call 'cluster.sync()' behind the last use");
}
