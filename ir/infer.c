// SPDX-License-Identifier: Apache-2.0
// Layout inference. Sources in order of precedence: layouts written with @, tensor-core operands, views,
// memory vectors, defaults; after each source its layout spreads through everything that can share it.
// What remains different at the ends of an edge becomes a relayout (pass_relayout.c).
#include "ir/infer.h"

typedef struct {
    ir_func *f;
    vm_arena *arena;
    VM_VEC(ir_op *) ops;              // all operations, in order
    VM_VEC(ir_value *) tiles;         // all register tiles, in order of appearance
    VM_VEC(ir_value *) work;          // tiles whose layout has not spread yet
    struct users { VM_VEC(ir_op *) at; } *users; // by value id
    struct ties { VM_VEC(ir_value *) at; } *ties;  // carried partners, both ways
    uint32_t nvalues;
} engine;

static void note_value(engine *e, ir_value *v) {
    if (is_tile(v)) vm_push(e->arena, &e->tiles, v);
}

static void collect(engine *e, ir_region *r) {
    for (uint32_t i = 0; i < r->nargs; i++) note_value(e, r->args[i]);
    for (ir_op *o = r->first; o; o = o->next) {
        vm_push(e->arena, &e->ops, o);
        for (uint32_t i = 0; i < o->nres; i++) note_value(e, o->res[i]);
        for (uint32_t k = 0; k < o->nops; k++)
            if (is_tile(o->ops[k])) vm_push(e->arena, &e->users[o->ops[k]->id].at, o);
        for (uint32_t g = 0; g < o->nregions; g++) collect(e, o->regions[g]);
    }
}

static void add_tie(void *user, ir_op *at, uint32_t k, ir_value *to) {
    engine *e = user;
    ir_value *from = at->ops[k];
    if (!is_tile(to) || !is_tile(from)) return;
    vm_push(e->arena, &e->ties[from->id].at, to);
    vm_push(e->arena, &e->ties[to->id].at, from);
}

static int group_of(const ir_value *v) {
    if (v->def) return ir_group_threads(v->def);
    return v->owner && v->owner->parent ? ir_group_threads(v->owner->parent) : v->owner->func->warps * 32;
}

/// Whether l can be the layout of v: threads of the group, no smaller than the tile.
static bool fits(const ir_value *v, const layout *l) {
    if (l->rank != v->type.rank || l->threads != group_of(v) || l->slots > LAYOUT_MAX_SLOTS) return false;
    for (int d = 0; d < l->rank; d++)
        if (l->shape[d] < v->type.dim[d]) return false;
    return true;
}

static bool give(engine *e, ir_value *v, const layout *l, enum ir_why why, const char *reason) {
    if (!l || v->type.reg || !fits(v, l)) return false;
    v->type.reg = l;
    v->why = why;
    v->reason = reason;
    vm_push(e->arena, &e->work, v);
    return true;
}

static const char *because(engine *e, const ir_op *op, const ir_value *from) {
    return vm_format(e->arena, "%s of %s%s", vm_insts[op->inst].name, from->name ? "" : "%",
                     from->name ? from->name : vm_format(e->arena, "%u", from->id));
}

/// Spreads every layout on the work list as far as it goes.
static void spread(engine *e) {
    for (uint32_t w = 0; w < e->work.n; w++) {
        ir_value *v = e->work.at[w];
        const layout *l = v->type.reg;
        const enum ir_why soft = v->why > WHY_CARRIED ? WHY_CARRIED : v->why;
        for (uint32_t i = 0; i < e->ties[v->id].at.n; i++)
            give(e, e->ties[v->id].at.at[i], l, soft, v->reason ? v->reason : "carried");
        if (is_free(v)) continue;
        if (v->def) // upwards
            for (uint32_t k = 0; k < v->def->nops; k++)
                if (is_tile(v->def->ops[k]))
                    give(e, v->def->ops[k], infer_operand(v->def, k, l), soft, because(e, v->def, v));
        for (uint32_t i = 0; i < e->users[v->id].at.n; i++) { // downwards and across
            ir_op *o = e->users[v->id].at.at[i];
            for (uint32_t k = 0; k < o->nops; k++) {
                if (o->ops[k] != v || !o->nres || !is_tile(o->res[0])) continue;
                give(e, o->res[0], infer_result(o, k, l), soft, because(e, o, v));
                break;
            }
        }
    }
    e->work.n = 0;
}

static void seed_pinned(engine *e) {
    for (uint32_t i = 0; i < e->tiles.n; i++) {
        ir_value *v = e->tiles.at[i];
        const layout *l = v->type.reg;
        if (!l) continue;
        if (!fits(v, l)) {
            vm_diag *d = vm_report(e->f->comp, D_E0406, v->span, "layout %s does not fit '%s', a tile %s on %d threads",
                                   layout_text(e->arena, l), v->name ? v->name : "value", ir_type_text(e->arena, &v->type), group_of(v));
            vm_note(e->f->comp, d, "the layout has %d threads, %d slots and rank %d", l->threads, l->slots, l->rank);
            v->type.reg = NULL;
            v->pinned = false;
            continue;
        }
        if (v->why == WHY_NONE) v->why = WHY_PINNED;
        if (!v->reason) v->reason = "written with @";
        vm_push(e->arena, &e->work, v);
    }
    // loop variables first: an accumulator's annotation reaches the product before anything else does
    for (uint32_t w = 0; w < e->work.n; w++) {
        ir_value *v = e->work.at[w];
        for (uint32_t i = 0; i < e->ties[v->id].at.n; i++)
            give(e, e->ties[v->id].at.at[i], v->type.reg, WHY_CARRIED, v->reason);
    }
}

/// The layout that v will have by what is already decided behind the elementwise operations and casts that
/// make it; NULL if nothing is.
static const layout *foreseen(const ir_value *v, int depth) {
    if (!is_tile(v)) return NULL;
    if (v->type.reg || !v->def || depth == 0) return v->type.reg;
    const int cls = vm_insts[v->def->inst].cls;
    if (cls != C_ELEM && cls != C_CAST) return NULL;
    for (uint32_t k = 0; k < v->def->nops; k++) {
        const layout *l = foreseen(v->def->ops[k], depth - 1);
        if (l) return l;
    }
    return NULL;
}

static void seed_dots(engine *e) {
    for (uint32_t i = 0; i < e->ops.n; i++) {
        ir_op *o = e->ops.at[i];
        if (vm_insts[o->inst].cls != C_DOT) continue;
        ir_value *c = o->ops[2], *r = o->res[0];
        const layout *ka = foreseen(o->ops[0], 8), *kb = foreseen(o->ops[1], 8);
        const layout *kc = r->type.reg ? r->type.reg : c->type.reg;
        infer_dot_choice ch = {0};
        const char *why = NULL, *reason = o->inst == I_dot ? "operand of dot" : "operand of wgmma";
        if (!infer_dot(e->arena, o, ir_group_threads(o), ka, kb, kc, &ch, &why)) {
            // no tensor core: the interpreter needs no layout rule, code generation says so
            spread(e);
            continue;
        }
        give(e, r, ch.c, WHY_TENSOR_CORE, reason);
        give(e, c, r->type.reg, WHY_TENSOR_CORE, reason);
        if (ch.a && is_tile(o->ops[0])) give(e, o->ops[0], ch.a, WHY_TENSOR_CORE, reason);
        if (ch.b && is_tile(o->ops[1])) give(e, o->ops[1], ch.b, WHY_TENSOR_CORE, reason);
        spread(e);
    }
    spread(e);
}

static void seed_views(engine *e) {
    for (uint32_t i = 0; i < e->ops.n; i++) {
        ir_op *o = e->ops.at[i];
        if (o->inst != I_view || !is_tile(o->ops[0])) continue;
        ir_value *x = o->ops[0], *r = o->res[0];
        const unsigned bx = vm_bits(x->type.elem), br = vm_bits(r->type.elem);
        if (bx == br && ir_elems(&x->type) == ir_elems(&r->type) && x->type.rank == r->type.rank) {
            if (r->type.reg) give(e, x, r->type.reg, WHY_VIEW, "view");
            else if (x->type.reg) give(e, r, x->type.reg, WHY_VIEW, "view");
        }
        if (r->type.reg && !x->type.reg && x->type.rank == 1) { // bytes as they lie: 16-byte runs a thread
            const int64_t bits = (int64_t)r->type.reg->slots * br;
            const int32_t T = r->type.reg->threads, n = (int32_t)(bits / bx);
            int32_t v = (int32_t)(128 / bx);
            while (v > 1 && n % v) v /= 2;
            const int32_t outer = n / v;
            const layout *l = layout_local(e->arena, 1, &outer, NULL);
            l = l ? layout_compose(e->arena, l, layout_spatial(e->arena, 1, &T, NULL, NULL), NULL) : NULL;
            l = l ? layout_compose(e->arena, l, layout_local(e->arena, 1, &v, NULL), NULL) : NULL;
            if (bits % bx == 0) give(e, x, l, WHY_VIEW, "view");
        }
        spread(e);
    }
}

static void seed_memory(engine *e) {
    for (int shared = 0; shared < 2; shared++) // global memory first: sectors not used cost more than banks met
        for (uint32_t i = 0; i < e->ops.n; i++) {
            ir_op *o = e->ops.at[i];
            const bool load = o->inst == I_load, store = (o->inst == I_store || o->inst == I_atomic_add) && o->nops == 2;
            if ((!load && !store) || (o->ops[0]->type.space == IS_SHARED) != shared) continue;
            ir_value *v = load ? o->res[0] : o->ops[1];
            if (!is_tile(v) || v->type.reg) continue;
            give(e, v, infer_default(e->arena, &v->type, ir_group_threads(o), infer_contiguous_dim(o->ops[0]), 16), WHY_MEMORY,
                 load ? "16-byte vectors of its load" : "16-byte vectors of its store");
            spread(e);
        }
}

static void seed_rest(engine *e) {
    for (uint32_t i = 0; i < e->ops.n; i++) { // per-thread tiles: element t belongs to thread t
        ir_op *o = e->ops.at[i];
        if (o->inst != I_simt) continue;
        for (uint32_t k = 0; k < o->nops; k++) {
            ir_value *v = o->ops[k];
            if (!is_tile(v) || v->type.reg) continue;
            const int32_t T = ir_group_threads(o), n = v->type.rank == 1 ? (int32_t)((v->type.dim[0] + T - 1) / T) : 0;
            if (!n) continue;
            const layout *l = layout_local(e->arena, 1, &n, NULL);
            l = layout_compose(e->arena, l, layout_spatial(e->arena, 1, &T, NULL, NULL), NULL);
            give(e, v, l, WHY_DEFAULT, "element t of a simt block belongs to thread t");
            spread(e);
        }
    }
    for (int round = 0; round < 2; round++) // free tiles last: they follow whoever uses them
        for (uint32_t i = 0; i < e->tiles.n; i++) {
            ir_value *v = e->tiles.at[i];
            if (v->type.reg || (is_free(v) && round == 0)) continue;
            if (v->def && vm_insts[v->def->inst].cls == C_REDUCE) continue;
            if (give(e, v, infer_default(e->arena, &v->type, group_of(v), -1, 16), WHY_DEFAULT, "nothing else decides")) spread(e);
        }
    for (uint32_t i = 0; i < e->tiles.n; i++) {
        ir_value *v = e->tiles.at[i];
        if (v->type.reg) continue;
        if (give(e, v, infer_default(e->arena, &v->type, group_of(v), -1, 16), WHY_DEFAULT, "nothing else decides")) spread(e);
        if (v->type.reg) continue;
        vm_diag *d = vm_report(e->f->comp, D_E0407, v->span, "tile %s cannot be spread over %d threads",
                               ir_type_text(e->arena, &v->type), group_of(v));
        vm_help(e->f->comp, d, "a thread can hold at most %d elements of a tile: use a smaller tile or more warps", LAYOUT_MAX_SLOTS);
    }
}

void ir_pass_infer(ir_func *f) {
    engine e = {.f = f, .arena = f->comp->arena, .nvalues = f->next_id};
    e.users = vm_newn(e.arena, struct users, f->next_id + 1);
    e.ties = vm_newn(e.arena, struct ties, f->next_id + 1);
    collect(&e, f->body);
    for (uint32_t i = 0; i < e.ops.n; i++) infer_carried(e.ops.at[i], add_tie, &e);
    seed_pinned(&e);
    seed_dots(&e);
    seed_views(&e);
    seed_memory(&e);
    seed_rest(&e);
    infer_shared(f);
    f->has_layouts = true;
}
