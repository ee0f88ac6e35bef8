// SPDX-License-Identifier: Apache-2.0
// The pass runner: the rows of pass.def in order, with verification after each.
#include "ir/pass.h"

#include <string.h>

static const struct {
    const char *name;
    void (*run)(ir_func *f);
} passes[] = {
#define PASS(name, doc) {#name, ir_pass_##name},
#include "ir/pass.def"
#undef PASS
};

static bool verified(ir_func *f, const char *after) {
    const char *why = "";
    if (ir_verify(f, &why)) return true;
    vm_report(f->comp, D_E0802, f->span, "after pass '%s': %s", after, why);
    return false;
}

bool ir_run_passes(ir_func *f, const ir_pass_options *o) {
    static const ir_pass_options none;
    if (!o) o = &none;
#ifdef NDEBUG
    const bool check = o->verify;
#else
    const bool check = true;
#endif
    const uint32_t errors = f->comp->nerrors;
    if (check && !verified(f, "lower")) return false;
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        // Text that was printed after these passes may be fed in again.
        const bool done = (f->has_layouts && strcmp(passes[i].name, "infer") == 0) ||
                          (f->relaid && strcmp(passes[i].name, "relayout") == 0);
        if (!done) passes[i].run(f);
        if (f->comp->nerrors > errors) return false;
        if (strcmp(passes[i].name, "relayout") == 0) f->relaid = true;
        if (check && !verified(f, passes[i].name)) return false;
        if (o->after) o->after(o->user, passes[i].name, f);
        if (o->stop_after && strcmp(o->stop_after, passes[i].name) == 0) break;
    }
    return true;
}

static void count_op(ir_op *op, void *user) {
    uint32_t *n = user;
    for (uint32_t i = 0; i < op->nops; i++) n[op->ops[i]->id]++;
}

uint32_t *ir_count_uses(const ir_func *f) {
    uint32_t *n = vm_newn(f->comp->arena, uint32_t, f->next_id + 1);
    ir_walk(f->body, count_op, n);
    ir_walk(f->host, count_op, n);
    return n;
}

bool ir_is_pure(const ir_op *op) {
    return vm_insts[op->inst].fx == FX_NONE && op->nres > 0 && op->inst != I_alloc_barrier;
}

const ir_value *ir_memory_of(const ir_value *view) {
    for (const ir_value *v = view; v; v = v->def->ops[0]) {
        if (!v->def) return v->type.space == IS_PTR ? v : NULL;
        if (v->def->inst == I_alloc_shared) return v;
        if (v->def->nops == 0) return NULL;
    }
    return NULL;
}

bool ir_inside(const ir_op *op, const ir_op *outer) {
    for (const ir_op *p = op->parent->parent; p; p = p->parent->parent)
        if (p == outer) return true;
    return false;
}

const char *ir_copy_via(const ir_op *op) {
    if (ir_get(op, AT_via)) return ir_str(op, AT_via);
    const ir_op *fetch = ir_into_shared(op) ? ir_enclosing(op, I_fetch) : NULL;
    if (!fetch) return NULL;
    return ir_str(ir_get(fetch, AT_via) ? fetch : fetch->parent->parent, AT_via);
}

bool ir_by_engine(const ir_op *op) {
    if (op->inst == I_tma_load || op->inst == I_tma_store || op->inst == I_tma_reduce) return true;
    const char *via = op->inst == I_copy_async ? ir_str(op, AT_via) : NULL;
    return via && strcmp(via, "cp_async") != 0;
}

uint32_t ir_effects(const ir_op *op, ir_effect out[IR_MAX_EFFECTS]) {
    uint32_t n = 0;
#define EFFECT(...) out[n++] = (ir_effect){__VA_ARGS__}
    switch (op->inst) {
    case I_load:
    case I_load_elem:
    case I_load_be:
    case I_load_le:
        EFFECT(.view = op->ops[0]);
        break;
    case I_store:
    case I_store_elem:
        EFFECT(.view = op->ops[0], .write = true);
        break;
    case I_copy:
        EFFECT(.view = op->ops[1]);
        EFFECT(.view = op->ops[0], .write = true);
        break;
    case I_copy_async:
        if (op->ops[1]->type.space == IS_SHARED && ir_by_engine(op)) { // out of shared memory, as tma_store
            EFFECT(.view = op->ops[1], .async = true, .proxy = true, .store = true);
            EFFECT(.view = op->ops[0], .write = true, .async = true, .proxy = true, .store = true);
            break;
        }
        EFFECT(.view = op->ops[1], .proxy = ir_by_engine(op));
        EFFECT(.view = op->ops[0], .write = true, .async = true, .manual = op->nops > 2, .proxy = ir_by_engine(op));
        break;
    case I_tma_load:
        EFFECT(.view = op->ops[0], .write = true, .async = true, .manual = true, .proxy = true);
        break;
    case I_tma_store:
    case I_tma_reduce:
        EFFECT(.view = op->ops[1], .async = true, .proxy = true, .store = true);
        EFFECT(.view = op->ops[0], .write = true, .async = true, .proxy = true, .store = true);
        break;
    case I_wgmma:
        for (int i = 0; i < 2; i++)
            if (op->ops[i]->type.space == IS_SHARED)
                EFFECT(.view = op->ops[i], .async = true, .proxy = true);
        break;
    case I_atomic_add:
    case I_atomic_min:
    case I_atomic_max:
    case I_atomic_exch:
    case I_atomic_cas:
        EFFECT(.view = op->ops[0], .write = true, .atomic = true);
        break;
    default:
        break;
    }
#undef EFFECT
    return n;
}
