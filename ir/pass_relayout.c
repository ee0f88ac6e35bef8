// SPDX-License-Identifier: Apache-2.0
// Puts a relayout on every edge whose ends have different layouts. A tile that any thread can make
// anew is made again instead; a move of a value from outside a loop stands where the value is made.
#include "ir/infer.h"

typedef struct moved {
    const ir_value *from;
    const layout *to;
    ir_value *v;
    struct moved *next;
} moved;

typedef struct {
    ir_func *f;
    vm_arena *arena;
    moved *done;
} state;

static ir_builder after_def(state *s, ir_value *v) {
    ir_builder b = {.func = s->f, .span = v->span};
    if (v->def) {
        b.region = v->def->parent;
        b.before = v->def->next;
    } else {
        b.region = v->owner;
        b.before = v->owner->first;
    }
    return b;
}

/// v in layout `to`: an earlier move, the tile made again, or a new relayout right after v's origin.
static ir_value *moved_to(state *s, ir_value *v, const layout *to, vm_span at) {
    for (moved *m = s->done; m; m = m->next)
        if (m->from == v && layout_equal(m->to, to)) return m->v;
    ir_builder b = after_def(s, v);
    ir_type t = v->type;
    t.reg = to;
    b.span = at.file ? at : v->span;
    ir_value *r;
    if (is_free(v)) {
        ir_map *map = ir_map_new(s->f);
        ir_op *again = ir_clone(&b, v->def, map);
        r = again->res[0];
        r->type.reg = to;
    } else {
        r = ir_emit1(&b, I_relayout, 1, &v, t);
        r->reason = "moved";
    }
    r->pinned = false;
    moved *m = vm_new(s->arena, moved);
    *m = (moved){v, to, r, s->done};
    s->done = m;
    return r;
}

static void want(state *s, ir_op *op, uint32_t k, const layout *l) {
    ir_value *v = op->ops[k];
    if (!l || !is_tile(v) || !v->type.reg || layout_equal(v->type.reg, l)) return;
    op->ops[k] = moved_to(s, v, l, op->span);
}

static void tie(void *user, ir_op *at, uint32_t k, ir_value *to) {
    if (is_tile(to)) want(user, at, k, to->type.reg);
}

/// The result comes out in layout `natural`; whoever uses it keeps the layout that inference promised.
static void settle(state *s, ir_op *op, const layout *natural) {
    ir_value *r = op->res[0];
    if (!natural || !is_tile(r) || layout_equal(r->type.reg, natural)) return;
    ir_builder b = {.func = s->f, .region = op->parent, .before = op->next, .span = op->span};
    ir_type t = r->type;
    ir_value *moved = ir_emit1(&b, I_relayout, 1, &r, t);
    ir_replace_uses(s->f, r, moved);
    moved->def->ops[0] = r;
    moved->name = r->name;
    moved->why = r->why;
    moved->reason = r->reason;
    moved->pinned = r->pinned;
    r->pinned = false;
    r->type.reg = natural;
}

static bool bytes_have_one_owner(const ir_type *t, int along) {
    const unsigned bits = vm_mem_bits(t->elem);
    return bits >= 8 || along < 0 || (int64_t)layout_run(t->reg, along) * bits % 8 == 0;
}

static void check_view(state *s, ir_op *op) {
    const ir_value *x = op->ops[0], *r = op->res[0];
    if (!x->type.reg || !r->type.reg) return;
    const long bx = (long)x->type.reg->slots * (long)vm_bits(x->type.elem), br = (long)r->type.reg->slots * (long)vm_bits(r->type.elem);
    if (bx == br && x->type.reg->threads == r->type.reg->threads) return;
    vm_diag *d = vm_report(s->f->comp, D_E0402, op->span, "view changes the number of bits per thread");
    vm_note(s->f->comp, d, "source: %ld bits per thread (%d x %s) on %d threads; result: %ld (%d x %s) on %d", bx, x->type.reg->slots,
            vm_dtype_name(x->type.elem), x->type.reg->threads, br, r->type.reg->slots, vm_dtype_name(r->type.elem), r->type.reg->threads);
    if (r->type.reg->slots && bx % r->type.reg->slots == 0)
        vm_help(s->f->comp, d, "these bits hold %ld-bit elements", bx / r->type.reg->slots);
}

static void visit(ir_op *op, void *user) {
    state *s = user;
    infer_carried(op, tie, s);
    const vm_inst_info *info = &vm_insts[op->inst];
    if (info->cls == C_DOT) {
        infer_dot_choice ch;
        const ir_value *a = op->ops[0], *b = op->ops[1];
        if (infer_dot(s->arena, op, ir_group_threads(op), is_tile(a) ? a->type.reg : NULL, is_tile(b) ? b->type.reg : NULL,
                      op->res[0]->type.reg, &ch, NULL)) {
            if (is_tile(a) && ch.a) want(s, op, 0, ch.a);
            if (is_tile(b) && ch.b) want(s, op, 1, ch.b);
            settle(s, op, ch.c);
        }
        want(s, op, 2, op->res[0]->type.reg);
        return;
    }
    if (op->inst == I_view) {
        check_view(s, op);
        return;
    }
    if (op->inst == I_relayout) {
        if (ir_int(op, AT_strict, 0) && op->ops[0]->type.reg &&
            !infer_same_owners(s->arena, op->ops[0]->type.reg, op->res[0]->type.reg)) {
            vm_diag *d = vm_report(s->f->comp, D_E0403, op->span, "'@' would move elements between threads");
            vm_note(s->f->comp, d, "the value has layout %s", layout_text(s->arena, op->ops[0]->type.reg));
            vm_help(s->f->comp, d, "relayout(x, L) moves them");
        }
        return;
    }
    if ((op->inst == I_store || op->inst == I_atomic_add) && op->nops == 2 && is_tile(op->ops[1])) {
        const ir_type *t = &op->ops[1]->type;
        const int along = infer_contiguous_dim(op->ops[0]);
        if (!bytes_have_one_owner(t, along)) want(s, op, 1, infer_default(s->arena, t, ir_group_threads(op), along, 16));
        return;
    }
    if (info->cls == C_REDUCE) {
        if (is_tile(op->res[0]) && op->ops[0]->type.reg) settle(s, op, infer_result(op, 0, op->ops[0]->type.reg));
        return;
    }
    if (op->nres != 1 || !is_tile(op->res[0]) || info->cls == C_CONTROL) return;
    for (uint32_t k = 0; k < op->nops; k++) {
        ir_value *v = op->ops[k];
        if (!is_tile(v) || !v->type.reg) continue;
        const layout *l = infer_operand(op, k, op->res[0]->type.reg);
        if (l) {
            want(s, op, k, l);
        } else if (op->inst == I_broadcast || op->inst == I_permute || op->inst == I_reshape) {
            // the relation does not invert here: take the operand as it is and move the result
            const layout *natural = infer_result(op, k, v->type.reg);
            if (!natural && op->inst == I_reshape) { // through a one-dimensional run that both shapes can read
                ir_type flat = ir_reg(v->type.elem, 1, (int64_t[]){ir_elems(&v->type)}, NULL);
                const layout *run = infer_default(s->arena, &flat, ir_group_threads(op), 0, 1);
                int32_t shape[LAYOUT_MAX_RANK];
                for (int d = 0; d < v->type.rank; d++) shape[d] = (int32_t)v->type.dim[d];
                const layout *mid = run ? layout_reshape(s->arena, run, v->type.rank, shape, NULL) : NULL;
                if (mid && (natural = infer_result(op, k, mid)) != NULL) want(s, op, k, mid);
            }
            if (natural) {
                settle(s, op, natural);
            } else if (op->inst != I_reshape) { // a reshape goes through shared memory then
                vm_diag *d = vm_report(s->f->comp, D_E0404, op->span, "%s of a tile in layout %s has no layout", info->name,
                                       layout_text(s->arena, v->type.reg));
                vm_help(s->f->comp, d, "give the operand a layout with '@', or go through shared memory");
            }
        }
    }
}

void ir_pass_relayout(ir_func *f) {
    state s = {.f = f, .arena = f->comp->arena};
    ir_walk(f->body, visit, &s);
}
