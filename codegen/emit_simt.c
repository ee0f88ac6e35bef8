// SPDX-License-Identifier: Apache-2.0
// Elements of register tiles inside simt: the index must name, for every thread, one slot of its own.
// It is found by evaluating the index for each thread at compile time.
#include <string.h>

#include "codegen/emit.h"

enum { MAX_STEPS = 4096 };

typedef struct {
    int64_t t;
    int steps;
} thread_env;

static bool thread_value(const ir_value *v, thread_env *e, uint64_t *code) {
    if (--e->steps < 0) return false;
    const ir_op *op = v->def;
    if (!op) { // the thread number of a simt region, or nothing that is known
        if (!v->owner || !v->owner->parent || v->owner->parent->inst != I_simt || v->index) return false;
        *code = (uint64_t)e->t;
        return true;
    }
    if (v->type.space != IS_SCALAR) return false;
    if (op->inst == I_const) return *code = (uint64_t)ir_int(op, AT_value, 0), true;
    if (op->inst == I_thread_id) return *code = (uint64_t)e->t, true;
    uint64_t x[3] = {0};
    const uint8_t cls = vm_insts[op->inst].cls;
    if ((cls != C_ELEM && cls != C_CMP && cls != C_SELECT && op->inst != I_cast) || op->nops > 3)
        return false;
    for (uint32_t i = 0; i < op->nops; i++)
        if (!thread_value(op->ops[i], e, &x[i])) return false;
    const vm_dtype t = op->ops[op->inst == I_select ? 1 : 0]->type.elem;
    *code = op->inst == I_cast ? vm_cast(t, v->type.elem, x[0], vm_default_rounding(v->type.elem))
                               : vm_eval(op->inst, t, x);
    return true;
}

static const char *index_text(cg *g, int rank, const int64_t *at) {
    vm_text t = {.arena = g->arena};
    for (int d = 0; d < rank; d++) vm_put(&t, "%s%lld", d ? ", " : "", (long long)at[d]);
    return vm_text_end(&t);
}

static bool slot_holds(const layout *l, int thread, uint32_t slot, const int64_t *at) {
    int32_t x[LAYOUT_MAX_RANK];
    layout_index(l, thread, (int)slot, x);
    for (int d = 0; d < l->rank; d++)
        if (x[d] != at[d]) return false;
    return true;
}

static int slot_of(const layout *l, int thread, const int64_t *at) {
    for (uint32_t s = 0; s < (uint32_t)l->slots; s++)
        if (slot_holds(l, thread, s, at)) return (int)s;
    return -1;
}

static void not_owned(cg *g, const ir_op *op, int thread, const int64_t *at) {
    const ir_value *x = op->ops[0];
    const layout *l = x->type.reg;
    const char *name = x->name ? x->name : "the tile", *text = index_text(g, l->rank, at);
    g->failed = true;
    vm_diag *d = vm_report(g->comp, D_E0431, op->span, "thread %d does not own element [%s] of '%s'",
                           thread, text, name);
    for (int k = 0; k < l->threads; k++) {
        if (slot_of(l, k, at) < 0) continue;
        vm_note(g->comp, d, "layout of '%s' is %s: element [%s] belongs to thread %d", name,
                layout_text(g->arena, l), text, k);
        break;
    }
    vm_help(g->comp, d, "exchange values with shuffle(), or go through shared memory");
}

static void not_static(cg *g, const ir_op *op, const char *why) {
    const ir_value *x = op->ops[0];
    g->failed = true;
    vm_diag *d = vm_report(g->comp, D_E0432, op->span, "the slot of '%s' %s", x->name ? x->name : "the tile", why);
    vm_help(g->comp, d, "a register cannot be indexed at run time: unroll with const for");
}

/// The one slot that ops[1..1+rank) name in every thread; -1 after a report.
static int resolve(cg *g, const ir_op *op) {
    const ir_type *type = &op->ops[0]->type;
    const layout *l = type->reg;
    int slot = -1;
    for (int t = 0; t < g->group->threads && t < l->threads; t++) {
        int64_t at[LAYOUT_MAX_RANK] = {0};
        thread_env e = {t, MAX_STEPS};
        for (int d = 0; d < type->rank; d++) {
            const ir_value *v = op->ops[1 + d];
            uint64_t code;
            if (!thread_value(v, &e, &code)) return not_static(g, op, "is known only at run time"), -1;
            at[d] = vm_decode_int(v->type.elem, code);
        }
        if (slot >= 0 && slot_holds(l, t, (uint32_t)slot, at)) continue;
        const int own = slot_of(l, t, at);
        if (own < 0) return not_owned(g, op, t, at), -1;
        if (slot >= 0) return not_static(g, op, "differs between threads"), -1;
        slot = own;
    }
    return slot;
}

void emit_elem_get(cg *g, ir_op *op) {
    const int slot = resolve(g, op);
    if (slot < 0) return cg_undef_results(g, op);
    cg_set_scalar(g, op->res[0], cg_slot(g, cg_tile_of(g, op->ops[0]), (uint32_t)slot));
}

static cg_tile *with_slot(cg *g, const cg_tile *x, uint32_t slot, LLVMValueRef v) {
    cg_tile *r = cg_tile_new(g, x->elem, x->slots);
    memcpy(r->word, x->word, x->nwords * sizeof *x->word);
    const unsigned b = vm_bits(x->elem);
    if (x->elem == T_bool || b >= 32) {
        r->word[slot] = v;
    } else if (x->elem == T_f16 || x->elem == T_bf16) {
        r->word[slot / 2] = LLVMBuildInsertElement(g->b, x->word[slot / 2], v, cg_i32(g, slot % 2), "");
    } else {
        LLVMValueRef code = cg_code(g, x->elem, v, g->t_i32);
        const uint32_t at = slot * b, i = at / 32, off = at % 32, mask = (1u << b) - 1;
        LLVMValueRef w = LLVMBuildAnd(g->b, x->word[i], cg_i32(g, ~(mask << off)), "");
        r->word[i] = LLVMBuildOr(g->b, w, off ? LLVMBuildShl(g->b, code, cg_i32(g, off), "") : code, "");
        if (off + b > 32) {
            w = LLVMBuildAnd(g->b, x->word[i + 1], cg_i32(g, ~(mask >> (32 - off))), "");
            LLVMValueRef rest = LLVMBuildLShr(g->b, code, cg_i32(g, 32 - off), "");
            r->word[i + 1] = LLVMBuildOr(g->b, w, rest, "");
        }
    }
    return r;
}

void emit_elem_set(cg *g, ir_op *op) {
    const int slot = resolve(g, op);
    if (slot < 0) return cg_undef_results(g, op);
    const ir_value *v = op->ops[op->nops - 1];
    cg_set_tile(g, op->res[0], with_slot(g, cg_tile_of(g, op->ops[0]), (uint32_t)slot, cg_scalar(g, v)));
}
