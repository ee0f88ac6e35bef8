// SPDX-License-Identifier: Apache-2.0
// Software pipelining. Each tensor that a fetch block fills becomes a ring of as many stages as the
// block is deep. At step i (the iterations, and N - 1 steps before the loop, N the greatest depth) a
// block of depth n fetches iteration i + n - 1 into the slot before the one that is read.
// Blocks copied by cp.async: each step closes one group, so that at the top of an iteration all but the
// youngest n - 2 groups must have landed, n the least depth; a block of depth 1 copies at the top,
// synchronously. Blocks copied by the engine (via = bulk, tensor) have an mbarrier for each slot, on
// which the bytes of one fetch land; every thread waits for the slot that it reads next. The barriers
// are made once, outside of all loops: after an inner loop the slots that were filled an odd number of
// times get one arrival more, so that the next run of it finds all of them in phase 0.
// The barriers of the group that the rings need come from the barrier pass.
#include "ir/pass.h"

#include <string.h>

typedef struct {
    ir_op *op;
    int depth;
    VM_VEC(ir_op *) tensors; // alloc_shared that it fills
    VM_VEC(ir_value *) ring; // beside tensors: the ring that replaces it
    const char *via;         // bulk or tensor; NULL: cp.async
    ir_value *full;          // via: one mbarrier a slot
    bool mixed;              // via: something else than copies fills it, too
} fetch_block;

typedef struct {
    ir_func *f;
    vm_comp *c;
    vm_arena *arena;
    ir_op *loop;
    ir_region *body;
    VM_VEC(fetch_block) blocks;
    bool failed;
    bool breaks;             // a break leaves the loop with fetches under way
} pipeline;

static const char *name_of(const ir_value *v) {
    const char *n = v->def ? ir_str(v->def, AT_name) : NULL;
    return n ? n : v->name ? v->name : "a value";
}

// ---- what is written and read -------------------------------------------------------------------

typedef struct {
    pipeline *p;
    fetch_block *b;
} visit;

static int find_tensor(const fetch_block *b, const ir_value *v) {
    for (uint32_t i = 0; i < b->tensors.n; i++)
        if (b->tensors.at[i]->res[0] == v) return (int)i;
    return -1;
}

static void note_fill(ir_op *op, void *user) {
    visit *x = user;
    pipeline *p = x->p;
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        if (!fx[i].write) continue;
        const ir_value *root = ir_memory_of(fx[i].view);
        if (!root || !root->def) {
            vm_report(p->c, D_E0510, op->span, "loop cannot be pipelined: 'fetch' writes global memory");
            p->failed = true;
            continue;
        }
        if (!ir_into_shared(op)) x->b->mixed = true;
        if (find_tensor(x->b, root) >= 0) continue;
        if (ir_elems(&root->type) < 0 || root->type.rank == LAYOUT_MAX_RANK) {
            vm_report(p->c, D_E0510, op->span, "loop cannot be pipelined: '%s' has %s", name_of(root),
                      ir_elems(&root->type) < 0 ? "a run-time size" : "too many dimensions");
            p->failed = true;
            continue;
        }
        vm_push(p->arena, &x->b->tensors, root->def);
    }
    if (op->inst == I_sync || op->inst == I_wait_group || op->inst == I_commit_group ||
        op->inst == I_return || vm_insts[op->inst].cls == C_BARRIER) {
        vm_report(p->c, D_E0510, op->span, "loop cannot be pipelined: '%s' inside 'fetch'", vm_insts[op->inst].name);
        p->failed = true;
    }
}

// A tensor of a ring is written by its block alone and used inside the loop only.
static void check_use(ir_op *op, void *user) {
    visit *x = user;
    pipeline *p = x->p;
    for (uint32_t i = 0; i < op->nops; i++) {
        const int t = find_tensor(x->b, op->ops[i]);
        if (t < 0 || ir_inside(op, p->loop)) continue;
        vm_diag *d = vm_report(p->c, D_E0512, op->span, "'%s' is used outside of the loop that fetches it",
                               name_of(op->ops[i]));
        vm_label(p->c, d, x->b->op->span, "fetched here");
        p->failed = true;
    }
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        const ir_value *root = ir_memory_of(fx[i].view);
        if (!fx[i].write || !root || find_tensor(x->b, root) < 0 || ir_inside(op, x->b->op)) continue;
        vm_diag *d = vm_report(p->c, D_E0512, op->span, "'%s' is filled by 'fetch' and written here, too", name_of(root));
        vm_label(p->c, d, x->b->op->span, "fetched here");
        p->failed = true;
    }
}

static bool made_in_loop(const pipeline *p, const ir_value *v) {
    if (v->def) return ir_inside(v->def, p->loop);
    return v->owner && v->owner->parent && (v->owner->parent == p->loop || ir_inside(v->owner->parent, p->loop));
}

// Whether v can be computed for another iteration: from the index and what is known outside.
static const ir_value *bound_to_iteration(const pipeline *p, const ir_value *v, int depth) {
    if (!made_in_loop(p, v) || v == p->body->args[0]) return NULL;
    if (!v->def || v->def->parent != p->body || depth > 200) return v;
    if (v->def->inst == I_alloc_shared) return NULL;
    if (!ir_is_pure(v->def) || v->def->nregions) return v;
    for (uint32_t i = 0; i < v->def->nops; i++) {
        const ir_value *bad = bound_to_iteration(p, v->def->ops[i], depth + 1);
        if (bad) return bad;
    }
    return NULL;
}

static void check_reads(ir_op *op, void *user) {
    visit *x = user;
    pipeline *p = x->p;
    for (uint32_t i = 0; i < op->nops; i++) {
        const ir_value *v = op->ops[i];
        const bool own = v->def ? ir_inside(v->def, x->b->op)
                                : v->owner && v->owner->parent &&
                                      (v->owner->parent == x->b->op || ir_inside(v->owner->parent, x->b->op));
        if (own || p->failed) continue;
        const ir_value *bad = bound_to_iteration(p, v, 0);
        if (!bad) continue;
        vm_diag *d = vm_report(p->c, D_E0510, op->span,
                               "loop cannot be pipelined: 'fetch' reads '%s', computed by the same iteration", name_of(bad));
        vm_help(p->c, d, "compute it inside 'fetch' from the loop's index and values from outside");
        p->failed = true;
    }
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        const ir_value *root = ir_memory_of(fx[i].view);
        if (fx[i].write || !root || find_tensor(x->b, root) < 0) continue;
        vm_report(p->c, D_E0510, op->span, "loop cannot be pipelined: 'fetch' reads '%s', which it fills", name_of(root));
        p->failed = true;
    }
}

// ---- building -----------------------------------------------------------------------------------

static ir_value *binary(ir_builder *b, vm_inst i, ir_value *x, ir_value *y) {
    ir_value *ops[2] = {x, y};
    const bool cmp = vm_insts[i].cls == C_CMP;
    return ir_emit1(b, i, 2, ops, ir_scalar(cmp ? T_bool : x->type.elem));
}

typedef struct {
    const char *via;
    ir_value *full; // the slot's barrier
} landing;

static void make_async(ir_op *op, void *user) {
    const landing *to = user;
    if (!ir_into_shared(op)) return;
    op->inst = I_copy_async;
    if (!to->full) return;
    if (op->nops == 2) ir_add_operand(op, to->full);
    ir_set_str(op, AT_via, to->via);
}

static void bring(pipeline *p, ir_builder *b, ir_map *m, ir_value *v) {
    if (!made_in_loop(p, v) || ir_map_get(m, v) != v || !v->def || v->def->parent != p->body) return;
    for (uint32_t i = 0; i < v->def->nops; i++) bring(p, b, m, v->def->ops[i]);
    ir_clone(b, v->def, m);
}

typedef struct {
    pipeline *p;
    ir_builder *b;
    ir_map *m;
} bringer;

static void bring_operands(ir_op *op, void *user) {
    bringer *x = user;
    for (uint32_t i = 0; i < op->nops; i++) bring(x->p, x->b, x->m, op->ops[i]);
}

static ir_value *slot_view(ir_builder *b, ir_value *ring, ir_value *slot) {
    int32_t mode[LAYOUT_MAX_RANK] = {0};
    for (int d = 1; d < ring->type.rank; d++) mode[d] = 2;
    ir_value *ops[2] = {ring, slot};
    ir_value *v = ir_emit1(b, I_slice, 2, ops,
                           ir_view_type(IS_SHARED, ring->type.elem, ring->type.rank - 1, ring->type.dim + 1));
    ir_set_ints(v->def, AT_mode, ring->type.rank, mode);
    v->name = ring->name;
    return v;
}

// The block for iteration `index`, into `slot`.
static void clone_block(pipeline *p, ir_builder *b, fetch_block *x, ir_value *index, ir_value *slot) {
    ir_map *m = ir_map_new(p->f);
    ir_map_set(m, p->body->args[0], index);
    for (uint32_t i = 0; i < x->tensors.n; i++)
        if (x->depth > 1) ir_map_set(m, x->tensors.at[i]->res[0], slot_view(b, x->ring.at[i], slot));
    bringer br = {p, b, m};
    ir_walk(x->op->regions[0], bring_operands, &br);
    landing to = {x->via, NULL};
    if (x->via) {
        ir_value *ops[2] = {x->full, slot};
        to.full = ir_emit1(b, I_barrier_at, 2, ops, (ir_type){.space = IS_BARRIER});
    }
    for (const ir_op *o = x->op->regions[0]->first; o; o = o->next) {
        if (o->inst == I_yield) break;
        ir_op *c = ir_clone(b, o, m);
        if (x->depth == 1 && !x->via) continue;
        make_async(c, &to);
        for (uint32_t i = 0; i < c->nregions; i++) ir_walk(c->regions[i], make_async, &to);
    }
    if (!x->via) return;
    ir_op *arrive = ir_emit(b, I_arrive, 1, &to.full, 0, NULL);
    if (!x->mixed) ir_set_int(arrive, AT_uniform, 1);
}

// if (index < hi) { block }
static void guarded_block(pipeline *p, ir_builder *b, fetch_block *x, ir_value *index, ir_value *slot) {
    ir_value *cond = binary(b, I_lt, index, p->loop->ops[1]);
    ir_op *op = ir_emit(b, I_if, 1, &cond, 0, NULL);
    ir_region *then = ir_region_new(p->f, op);
    ir_add_region(op, then);
    ir_add_region(op, ir_region_new(p->f, op));
    ir_builder in = {p->f, then, NULL, b->span};
    clone_block(p, &in, x, index, slot);
    ir_emit(&in, I_yield, 0, NULL, 0, NULL);
}

static ir_value *ahead(pipeline *p, ir_builder *b, ir_value *from, int steps) {
    if (steps == 0) return from;
    const vm_dtype t = from->type.elem;
    return binary(b, I_add, from, binary(b, I_mul, p->loop->ops[2], ir_const_int(b, t, steps)));
}

static void make_rings(pipeline *p) {
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        fetch_block *x = &p->blocks.at[k];
        for (uint32_t i = 0; i < x->tensors.n; i++) {
            ir_op *alloc = x->tensors.at[i];
            if (ir_inside(alloc, p->loop)) { // the ring outlives an iteration
                ir_remove(alloc);
                ir_insert_before(p->loop, alloc);
            }
            if (x->depth == 1) {
                vm_push(p->arena, &x->ring, alloc->res[0]);
                continue;
            }
            const ir_type *old = &alloc->res[0]->type;
            int64_t dim[LAYOUT_MAX_RANK] = {x->depth};
            for (int d = 0; d < old->rank; d++) dim[d + 1] = old->dim[d];
            ir_type t = ir_view_type(IS_SHARED, old->elem, old->rank + 1, dim);
            if (old->shared) t.shared = shared_prepend(p->arena, old->shared, x->depth);
            ir_builder b = {p->f, alloc->parent, alloc, alloc->span};
            ir_value *ring = ir_emit1(&b, I_alloc_shared, 0, NULL, t);
            ring->def->attrs = alloc->attrs;
            ring->name = alloc->res[0]->name;
            ring->why = alloc->res[0]->why;
            ring->reason = alloc->res[0]->reason;
            vm_push(p->arena, &x->ring, ring);
        }
    }
}

typedef struct {
    pipeline *p;
    ir_value *next;
} jump_state;

static void extend_jump(ir_op *op, void *user) {
    const jump_state *j = user;
    if (op->inst == I_yield) {
        if (op->parent == j->p->body) ir_add_operand(op, j->next);
        return;
    }
    if (op->inst != I_break && op->inst != I_continue) return;
    for (const ir_op *q = op->parent->parent; q; q = q->parent->parent) {
        if (q->inst == I_while || (q->inst == I_for && q != j->p->loop)) return;
        if (q == j->p->loop) break;
    }
    ir_add_operand(op, j->next);
}

// A value that the loop carries; what it becomes in the next iteration follows by carry_next.
static ir_value *carry(pipeline *p, ir_value *init, const char *name) {
    ir_add_operand(p->loop, init);
    ir_add_result(p->loop, init->type);
    return ir_region_arg(p->body, init->type, name);
}

static void carry_next(pipeline *p, ir_value *next) {
    jump_state j = {p, next};
    ir_walk(p->body, extend_jump, &j);
}

// The slot that an iteration reads and the parity of its turn, one pair for each depth.
typedef struct {
    ir_value *slot, *phase;
    uint32_t result; // of the loop: the slot after it; the phase follows
} counter;

static void count_slots(pipeline *p, ir_builder *top, int depth, counter *c) {
    ir_builder before = {p->f, p->loop->parent, p->loop, p->loop->span};
    c->result = p->loop->nres;
    c->slot = carry(p, ir_const_int(&before, T_i32, 0), "slot");
    ir_value *one = binary(top, I_add, c->slot, ir_const_int(top, T_i32, 1));
    ir_value *zero = ir_const_int(top, T_i32, 0), *wraps = binary(top, I_eq, one, ir_const_int(top, T_i32, depth));
    ir_value *pick[3] = {wraps, zero, one};
    carry_next(p, ir_emit1(top, I_select, 3, pick, ir_scalar(T_i32)));
    c->phase = carry(p, ir_const_int(&before, T_i32, 0), "phase");
    ir_value *turn[3] = {wraps, binary(top, I_xor, c->phase, ir_const_int(top, T_i32, 1)), c->phase};
    carry_next(p, ir_emit1(top, I_select, 3, turn, ir_scalar(T_i32)));
}

static ir_value *previous_slot(ir_builder *b, ir_value *slot, int depth) {
    ir_value *pick[3] = {binary(b, I_eq, slot, ir_const_int(b, T_i32, 0)), ir_const_int(b, T_i32, depth - 1),
                         binary(b, I_sub, slot, ir_const_int(b, T_i32, 1))};
    return ir_emit1(b, I_select, 3, pick, ir_scalar(T_i32));
}

// Barriers are made where the group begins: once, however often the loop runs.
static void make_barriers(pipeline *p) {
    ir_region *r = p->loop->parent;
    while (r->parent && r->parent->inst != I_role) r = r->parent->parent;
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        fetch_block *x = &p->blocks.at[k];
        if (!x->via) continue;
        ir_builder b = {p->f, r, r->first, x->op->span};
        ir_type t = {.space = IS_BARRIER, .rank = 1, .dim = {x->depth}};
        x->full = ir_emit1(&b, I_alloc_barrier, 0, NULL, t);
        x->full->name = "full";
        ir_set_int(x->full->def, AT_extent, x->depth);
        ir_set_int(x->full->def, AT_count, 1);
    }
}

static void wait_slot(ir_builder *b, const fetch_block *x, ir_value *slot, ir_value *phase) {
    ir_value *ops[2] = {x->full, slot};
    ir_value *w[2] = {ir_emit1(b, I_barrier_at, 2, ops, (ir_type){.space = IS_BARRIER}), phase};
    ir_emit(b, I_wait, 2, w, 0, NULL);
}

static ir_region *when(ir_builder *b, ir_value *cond) {
    ir_op *op = ir_emit(b, I_if, 1, &cond, 0, NULL);
    ir_region *then = ir_region_new(b->func, op);
    ir_add_region(op, then);
    ir_add_region(op, ir_region_new(b->func, op));
    return then;
}

static ir_value *as_i32(ir_builder *b, ir_value *cond) {
    ir_value *pick[3] = {cond, ir_const_int(b, T_i32, 1), ir_const_int(b, T_i32, 0)};
    return ir_emit1(b, I_select, 3, pick, ir_scalar(T_i32));
}

// After a break the fetches under way land, so that nothing is written behind the group's back.
static void drain(ir_builder *b, const fetch_block *x, const counter *c, ir_value *left, const ir_op *loop) {
    for (int k = 0; k < x->depth - 1; k++) {
        ir_builder in = {b->func, when(b, binary(b, I_lt, ir_const_int(b, T_i32, k), left)), NULL, b->span};
        ir_value *at = binary(&in, I_add, loop->res[c->result], ir_const_int(&in, T_i32, k)), *n = ir_const_int(&in, T_i32, x->depth);
        ir_value *over = binary(&in, I_ge, at, n), *pick[3] = {over, binary(&in, I_sub, at, n), at};
        wait_slot(&in, x, ir_emit1(&in, I_select, 3, pick, ir_scalar(T_i32)),
                  binary(&in, I_xor, loop->res[c->result + 1], as_i32(&in, over)));
        ir_emit(&in, I_yield, 0, NULL, 0, NULL);
    }
}

// Of the slots before the next one, one fetch more has landed than of the others (a drained one counts).
static void even_out(ir_builder *b, const fetch_block *x, const counter *c, ir_value *left, const ir_op *loop) {
    ir_value *slot = loop->res[c->result], *phase = loop->res[c->result + 1];
    if (left) {
        ir_value *n = ir_const_int(b, T_i32, x->depth), *at = binary(b, I_add, slot, left);
        ir_value *over = binary(b, I_ge, at, n), *pick[3] = {over, binary(b, I_sub, at, n), at};
        slot = ir_emit1(b, I_select, 3, pick, ir_scalar(T_i32));
        phase = binary(b, I_xor, phase, as_i32(b, over));
    }
    for (int k = 0; k < x->depth; k++) {
        ir_value *turn = binary(b, I_xor, phase, as_i32(b, binary(b, I_lt, ir_const_int(b, T_i32, k), slot)));
        ir_builder in = {b->func, when(b, binary(b, I_ne, turn, ir_const_int(b, T_i32, 0))), NULL, b->span};
        ir_value *ops[2] = {x->full, ir_const_int(&in, T_i32, k)};
        ir_value *bar = ir_emit1(&in, I_barrier_at, 2, ops, (ir_type){.space = IS_BARRIER});
        ir_set_int(ir_emit(&in, I_arrive, 1, &bar, 0, NULL), AT_uniform, 1);
        ir_emit(&in, I_yield, 0, NULL, 0, NULL);
    }
}

static bool repeated(const ir_op *loop) {
    for (const ir_op *q = loop->parent->parent; q && q->inst != I_role; q = q->parent->parent)
        if (q->inst == I_for || q->inst == I_while) return true;
    return false;
}

static void transform(pipeline *p) {
    int least = 64, greatest = 1, deepest = 1;
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        const fetch_block *x = &p->blocks.at[k];
        if (x->depth > deepest) deepest = x->depth;
        if (x->via || x->depth < 2) continue;
        if (x->depth < least) least = x->depth;
        if (x->depth > greatest) greatest = x->depth;
    }
    make_rings(p);
    make_barriers(p);
    const vm_span at = p->blocks.at[0].op->span;
    ir_builder before = {p->f, p->loop->parent, p->loop, at};
    ir_value **left = vm_newn(p->arena, ir_value *, p->blocks.n); // fetches under way, where a break may leave them
    for (int step = 1 - deepest; step < 0; step++) {
        for (uint32_t k = 0; k < p->blocks.n; k++) {
            fetch_block *x = &p->blocks.at[k];
            const int i = step + x->depth - 1;
            if (i < 0) continue;
            ir_value *index = ahead(p, &before, p->loop->ops[0], i);
            guarded_block(p, &before, x, index, ir_const_int(&before, T_i32, i));
            if (!x->via || !p->breaks) continue;
            ir_value *one = as_i32(&before, binary(&before, I_lt, index, p->loop->ops[1]));
            left[k] = left[k] ? binary(&before, I_add, left[k], one) : one;
        }
        if (step >= 1 - greatest) ir_emit(&before, I_commit_group, 0, NULL, 0, NULL);
    }
    counter counters[65] = {0};
    ir_builder top = {p->f, p->body, p->body->first, at};
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        const fetch_block *x = &p->blocks.at[k];
        if ((x->depth > 1 || x->via) && !counters[x->depth].slot) count_slots(p, &top, x->depth, &counters[x->depth]);
    }
    if (greatest > 1) ir_set_int(ir_emit(&top, I_wait_group, 0, NULL, 0, NULL), AT_count, least - 2);
    ir_value *index = p->body->args[0];
    uint32_t *left_at = vm_newn(p->arena, uint32_t, p->blocks.n);
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        fetch_block *x = &p->blocks.at[k];
        if (x->depth == 1 && !x->via) continue;
        ir_value *next = ahead(p, &top, index, x->depth - 1);
        guarded_block(p, &top, x, next, previous_slot(&top, counters[x->depth].slot, x->depth));
        if (!left[k]) continue;
        left_at[k] = p->loop->nres;
        ir_value *now = carry(p, left[k], "left"); // this iteration takes one of them
        ir_value *more = as_i32(&top, binary(&top, I_lt, next, p->loop->ops[1]));
        carry_next(p, binary(&top, I_sub, binary(&top, I_add, now, more), ir_const_int(&top, T_i32, 1)));
    }
    if (greatest > 1) ir_emit(&top, I_commit_group, 0, NULL, 0, NULL);
    for (uint32_t k = 0; k < p->blocks.n; k++)
        if (p->blocks.at[k].via) wait_slot(&top, &p->blocks.at[k], counters[p->blocks.at[k].depth].slot, counters[p->blocks.at[k].depth].phase);
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        fetch_block *x = &p->blocks.at[k];
        if (x->depth == 1 && !x->via) clone_block(p, &top, x, index, NULL);
        if (top.before == x->op) top.before = x->op->next;
        ir_remove(x->op);
        for (uint32_t i = 0; i < x->tensors.n && x->depth > 1; i++) {
            ir_op *alloc = x->tensors.at[i];
            ir_replace_uses(p->f, alloc->res[0], slot_view(&top, x->ring.at[i], counters[x->depth].slot));
            ir_remove(alloc);
        }
    }
    ir_builder after = {p->f, p->loop->parent, p->loop->next, at};
    if (greatest > 1) ir_set_int(ir_emit(&after, I_wait_group, 0, NULL, 0, NULL), AT_count, 0);
    bool synced = false;
    for (uint32_t k = 0; k < p->blocks.n; k++) {
        const fetch_block *x = &p->blocks.at[k];
        if (!x->via) continue;
        ir_value *open = left[k] ? p->loop->res[left_at[k]] : NULL;
        if (open) drain(&after, x, &counters[x->depth], open, p->loop);
        if (!repeated(p->loop)) continue;
        if (!synced) ir_emit(&after, I_sync, 0, NULL, 0, NULL); // nobody waits for an older phase any more
        synced = true;
        even_out(&after, x, &counters[x->depth], open, p->loop);
    }
    ir_unset(p->loop, AT_stages);
    ir_unset(p->loop, AT_via);
}

// ---- one loop -----------------------------------------------------------------------------------

// Jumps out of the loop that say nothing of where they leave it would leave copies under way.
static void check_jump(ir_op *op, void *user) {
    pipeline *p = user;
    if (op->inst == I_return ? ir_enclosing(op, I_simt) != NULL : op->inst != I_leave && op->inst != I_break) return;
    if (op->inst == I_break) {
        const ir_op *q = op->parent->parent;
        while (q && q->inst != I_for && q->inst != I_while) q = q->parent->parent;
        p->breaks |= q == p->loop;
        return;
    }
    const ir_op *scope = ir_enclosing(op, I_scope);
    if (op->inst == I_leave && scope && ir_inside(scope, p->loop)) return;
    vm_diag *d = vm_report(p->c, D_E0510, op->span, "loop cannot be pipelined via the copy engine: 'return' leaves it");
    vm_help(p->c, d, "leave it by 'break'");
    p->failed = true;
}

/// The copies of a fetch block into shared memory take its hint to the cache.
static void hint(ir_op *op, void *user) {
    const char *evict = user;
    if (op->inst == I_copy && op->ops[0]->type.space == IS_SHARED && !ir_get(op, AT_evict)) ir_set_str(op, AT_evict, evict);
}

static void run_loop(ir_func *f, ir_op *loop) {
    pipeline p = {.f = f, .c = f->comp, .arena = f->comp->arena, .loop = loop, .body = loop->regions[0]};
    const int64_t stages = ir_int(loop, AT_stages, 0);
    for (ir_op *op = p.body->first; op; op = op->next) {
        if (op->inst != I_fetch) continue;
        fetch_block b = {.op = op, .depth = (int)ir_int(op, AT_stages, stages)};
        if (b.depth == 0) {
            vm_diag *d = vm_report(p.c, D_E0511, op->span, "'fetch' in a loop that is not pipelined");
            vm_help(p.c, d, "write #[pipeline(n)] before the loop");
            return;
        }
        const char *via = ir_str(ir_get(op, AT_via) ? op : loop, AT_via);
        if (via && strcmp(via, "cp_async") != 0) b.via = vm_strdup(p.arena, via);
        const char *evict = ir_str(ir_get(op, AT_evict) ? op : loop, AT_evict);
        if (evict) ir_walk(op->regions[0], hint, vm_strdup(p.arena, evict));
        vm_push(p.arena, &p.blocks, b);
    }
    if (!p.blocks.n) {
        if (!stages) return;
        vm_diag *d = vm_report(p.c, D_E0510, loop->span, "loop cannot be pipelined: it has no 'fetch' block");
        vm_help(p.c, d, "put the copies that run ahead into fetch { }");
        return;
    }
    for (uint32_t k = 0; k < p.blocks.n; k++) {
        visit x = {&p, &p.blocks.at[k]};
        ir_walk(x.b->op->regions[0], note_fill, &x);
        ir_walk(x.b->op->regions[0], check_reads, &x);
        ir_walk(f->body, check_use, &x);
        if (x.b->via && !p.failed) ir_walk(p.body, check_jump, &p);
        if (!p.failed && !x.b->tensors.n) {
            vm_report(p.c, D_E0510, x.b->op->span, "loop cannot be pipelined: 'fetch' fills no shared tensor");
            p.failed = true;
        }
    }
    if (!p.failed) transform(&p);
}

typedef VM_VEC(ir_op *) op_list;

static void collect(ir_op *op, void *user) {
    op_list *l = user;
    if (op->inst == I_for || op->inst == I_fetch) vm_push(op->parent->func->comp->arena, l, op);
}

// Members of structs are named where they are used, so that they can be those of a ring's slot.
static void sink_member(ir_op *op, void *user) {
    ir_func *f = user;
    for (uint32_t i = 0; i < op->nops; i++) {
        ir_op *def = op->ops[i]->def;
        if (!def || def->inst != I_member || def->parent == op->parent) continue;
        ir_builder b = {f, op->parent, op, def->span};
        op->ops[i] = ir_clone(&b, def, ir_map_new(f))->res[0];
    }
}

static void drop_member(ir_op *op, void *user) {
    const uint32_t *uses = user;
    if (op->inst == I_member && !uses[op->res[0]->id]) ir_remove(op);
}

void ir_pass_pipeline(ir_func *f) {
    op_list ops = {0};
    ir_walk(f->body, sink_member, f);
    ir_walk(f->body, drop_member, ir_count_uses(f));
    ir_walk(f->body, collect, &ops);
    const uint32_t errors = f->comp->nerrors;
    for (uint32_t i = 0; i < ops.n; i++) {
        ir_op *op = ops.at[i];
        if (!op->parent) continue; // a fetch that its loop has taken
        if (op->inst == I_for) {
            run_loop(f, op);
        } else if (op->parent->parent == NULL || op->parent->parent->inst != I_for) {
            vm_diag *d = vm_report(f->comp, D_E0511, op->span, "'fetch' does not stand directly in the body of a loop");
            vm_help(f->comp, d, "a fetch block belongs to the loop with #[pipeline(n)] whose body it stands in");
        }
    }
    if (ops.n && f->comp->nerrors == errors) ir_pass_fold(f); // indices of the prologue
}
