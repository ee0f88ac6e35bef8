// SPDX-License-Identifier: Apache-2.0
// Inserts the barriers that conflicting accesses of one group need: a forward dataflow over the
// structured regions, whose state is the set of accesses since the last barrier. Loops first settle
// what their back edge needs, then what flows in from before; conflicts inside an `if` are settled
// before it, where all threads pass. Across roles nothing is inserted.
#include "ir/pass.h"

#include <string.h>

typedef struct {
    const ir_value *root;  // allocation or parameter; NULL: scratch
    uint64_t lo, hi;       // planned bytes in shared memory, equal if not placed
    bool global, alias;
    bool fixed;            // constant index along the root's first dimension
    int64_t index;
    bool write, atomic;
    bool flying;           // has not landed: no barrier helps yet
    bool store;            // flying: of the copy engine's stores, which wait_stores waits for
    bool settled;          // a barrier has passed; kept only for the proxy fence
    bool fenced;           // a proxy fence has passed
} access_t;

typedef VM_VEC(access_t) access_set;

typedef struct frame {
    const ir_op *op;       // for, while or scope
    access_set out, again; // states at its end and at its back edge
    struct frame *up;
} frame;

typedef struct {
    ir_func *f;
    vm_arena *arena;
    bool dry, conflict;
    bool proxies;          // asynchronous-proxy reads exist
    VM_VEC(const ir_value *) proxy_read; // shared tiles that they read
    VM_VEC(access_t) proxy_write;        // shared memory that the copy engine writes
    frame *frames;
} walker;

static bool same(const access_t *a, const access_t *b) {
    return a->root == b->root && a->lo == b->lo && a->hi == b->hi && a->fixed == b->fixed &&
           a->index == b->index && a->write == b->write && a->atomic == b->atomic &&
           a->flying == b->flying && a->store == b->store && a->settled == b->settled && a->fenced == b->fenced;
}

static void add(walker *w, access_set *s, const access_t *a) {
    for (uint32_t i = 0; i < s->n; i++)
        if (same(&s->at[i], a)) return;
    vm_push(w->arena, s, *a);
}

static void join(walker *w, access_set *to, const access_set *from) {
    for (uint32_t i = 0; i < from->n; i++) add(w, to, &from->at[i]);
}

static access_set copy_of(walker *w, const access_set *s) {
    access_set r = {0};
    join(w, &r, s);
    return r;
}

// A barrier: what has landed is ordered; what flies is not.
static void settle(walker *w, access_set *s) {
    access_set r = {0};
    for (uint32_t i = 0; i < s->n; i++) {
        access_t a = s->at[i];
        if (!a.flying) {
            if (!w->proxies || !a.write || a.global) continue;
            a.settled = true;
        }
        add(w, &r, &a);
    }
    *s = r;
}

static bool meet(const access_t *a, const access_t *b) {
    if (a->global != b->global) return false;
    if (a->root == b->root && a->root) return !(a->fixed && b->fixed && a->index != b->index);
    if (a->global) return a->alias || b->alias;
    if (!a->root && !b->root) return false; // operations with scratch bring their own barriers
    return a->lo < b->hi && b->lo < a->hi;
}

static bool conflicts(const access_t *a, const access_t *b) {
    return (a->write || b->write) && !(a->atomic && b->atomic) && meet(a, b);
}

static bool describe(const ir_effect *e, access_t *a) {
    const ir_value *root = ir_memory_of(e->view);
    if (!root) return false;
    *a = (access_t){.root = root, .write = e->write, .atomic = e->atomic, .flying = e->async, .store = e->store};
    if (root->type.space == IS_PTR) {
        a->global = true;
        const ir_func *f = e->view->def->parent->func;
        for (uint32_t i = 0; i < f->nparams; i++)
            if (f->params[i].value == root) a->alias = f->params[i].alias;
    } else {
        const ir_type *t = &root->type;
        const int64_t n = t->shared ? t->shared->size : ir_elems(t);
        a->lo = (uint64_t)ir_int(root->def, AT_offset, 0);
        a->hi = ir_get(root->def, AT_offset) && n >= 0 ? a->lo + ((uint64_t)n * vm_mem_bits(t->elem) + 7) / 8 : a->lo;
    }
    ir_access x;
    if (ir_trace(e->view, &x) && x.rank > 0 && x.root->res[0] == root && x.d[0].view_dim < 0 && !x.d[0].n) {
        a->fixed = true;
        a->index = x.d[0].constant;
    }
    return true;
}

static ir_op *put(walker *w, ir_op *before, vm_inst inst) {
    ir_builder b = {w->f, before->parent, before, before->span};
    return ir_emit(&b, inst, 0, NULL, 0, NULL);
}

// A barrier behind a fence.
static void keep_flying(walker *w, access_set *s) {
    access_set r = {0};
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].flying) add(w, &r, &s->at[i]);
    *s = r;
}

// Roles of one run have the numbers 1, 2, …; 0 is the block's barrier.
static int role_number(const ir_op *role) {
    int n = 1;
    for (const ir_op *p = role->prev; p && p->inst == I_role; p = p->prev) n++;
    return n;
}

static void name_barrier(ir_op *sync) {
    const ir_op *role = ir_enclosing(sync, I_role);
    if (role && !ir_get(sync, AT_barrier)) ir_set_int(sync, AT_barrier, role_number(role));
}

static void proxy_fence(walker *w, ir_op *op) {
    if (op->prev && op->prev->inst == I_fence && ir_int(op->prev, AT_proxy, 0)) return; // of an earlier walk
    ir_op *f = put(w, op, I_fence);
    ir_set_int(f, AT_proxy, 1);
    ir_set_str(f, AT_scope, "block");
}

// Whether ordinary stores of what somebody reads through the asynchronous proxy, or writes over, wait for the
// fence of the threads that made them: it stands before the first barrier or arrival after them.
static bool unfenced(const walker *w, const access_set *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        const access_t *a = &s->at[i];
        if (!a->write || a->global || a->flying || a->fenced || a->settled) continue;
        for (uint32_t k = 0; k < w->proxy_read.n; k++)
            if (w->proxy_read.at[k] == a->root) return true;
        for (uint32_t k = 0; k < w->proxy_write.n; k++)
            if (meet(a, &w->proxy_write.at[k])) return true;
    }
    return false;
}

static void barrier_before(walker *w, ir_op *op, access_set *s, bool fence) {
    w->conflict = true;
    fence = fence || unfenced(w, s);
    if (!w->dry) {
        if (fence) proxy_fence(w, op);
        name_barrier(put(w, op, I_sync));
    }
    if (fence) keep_flying(w, s);
    else settle(w, s);
}

// A barrier of the program.
static void pass_barrier(walker *w, ir_op *op, access_set *s) {
    if (!unfenced(w, s)) {
        settle(w, s);
        return;
    }
    if (!w->dry) proxy_fence(w, op);
    keep_flying(w, s);
}

// The issuer of stores out of shared memory waits until they have read it, or have landed.
static void stores_before(walker *w, ir_op *op, access_set *s, bool landed) {
    if (!w->dry) {
        ir_op *x = put(w, op, I_wait_stores);
        if (landed) ir_set_int(x, AT_keep, 1);
    }
    access_set r = {0};
    for (uint32_t i = 0; i < s->n; i++)
        if (!s->at[i].store || (s->at[i].write && !landed)) add(w, &r, &s->at[i]);
    *s = r;
}

typedef struct {
    walker *w;
    access_set set;
} gather_state;

static void gather_op(ir_op *op, void *user) {
    gather_state *g = user;
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        access_t a;
        if (describe(&fx[i], &a)) add(g->w, &g->set, &a);
    }
}

// Accesses of a single operation (a whole simt block counts as one).
static void step(walker *w, ir_op *op, access_set *s) {
    access_set own = {0}, kept = {0};
    bool proxy = false;
    if (op->inst == I_simt) {
        gather_state g = {.w = w};
        ir_walk(op->regions[0], gather_op, &g);
        own = kept = g.set;
    } else {
        ir_effect fx[IR_MAX_EFFECTS];
        for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
            access_t a;
            if (!describe(&fx[i], &a)) continue;
            add(w, &own, &a);
            if (!fx[i].manual) add(w, &kept, &a);
            proxy = proxy || (fx[i].proxy && !fx[i].write);
        }
        const ir_attr *scratch = ir_get(op, AT_scratch);
        if (scratch) {
            const access_t a = {.lo = (uint64_t)scratch->i,
                                .hi = (uint64_t)scratch->i + ir_scratch_bytes(op), .write = true};
            add(w, &own, &a);
            add(w, &kept, &a);
        }
    }
    bool sync = false, fence = false, read = false, landed = false;
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < own.n; k++) {
            const access_t *a = &s->at[i], *b = &own.at[k];
            if (a->store && !(a->write && b->store) && conflicts(a, b)) { // a store reads its source, or has not landed
                read = true;
                landed |= a->write;
            }
            if (a->flying || !conflicts(a, b)) continue;
            if (proxy && a->write && !a->global && !b->write && !a->fenced) fence = true;
            else if (!a->settled) sync = true;
        }
    if (read) stores_before(w, op, s, landed);
    if (sync || fence || read) barrier_before(w, op, s, fence);
    join(w, s, &kept);
}

// What this group has written by ordinary stores and another role reads through the asynchronous proxy: the
// arrival that hands it over comes after a fence of the writers.
static void fence_before_arrival(walker *w, ir_op *op, access_set *s) {
    if (!unfenced(w, s)) return;
    if (!w->dry) proxy_fence(w, op);
    const access_set t = copy_of(w, s);
    s->n = 0;
    for (uint32_t i = 0; i < t.n; i++) {
        access_t a = t.at[i];
        a.fenced = a.fenced || !a.flying;
        add(w, s, &a);
    }
}

// Work in flight lands: writes (cp.async) or reads (wgmma); with some groups left open it may be in flight
// still, too.
static void land(walker *w, access_set *s, bool reads, bool all) {
    const access_set old = copy_of(w, s);
    s->n = 0;
    for (uint32_t i = 0; i < old.n; i++) {
        access_t a = old.at[i];
        const bool lands = a.flying && !a.store && reads != a.write;
        if (!lands || !all) add(w, s, &a);
        if (!lands) continue;
        a.flying = false;
        add(w, s, &a);
    }
}

static bool region(walker *w, ir_region *r, access_set *s);

// A trial must leave no trace in the states that jumps have gathered: sets only grow, so lengths do.
typedef VM_VEC(uint32_t) marks;

static marks save(walker *w) {
    marks m = {0};
    for (const frame *x = w->frames; x; x = x->up) {
        vm_push(w->arena, &m, x->out.n);
        vm_push(w->arena, &m, x->again.n);
    }
    return m;
}

static void restore(walker *w, const marks *m) {
    uint32_t i = 0;
    for (frame *x = w->frames; x; x = x->up, i += 2) {
        x->out.n = m->at[i];
        x->again.n = m->at[i + 1];
    }
}

// Whether something in r conflicts with s, once the conflicts within r are settled.
static bool would_conflict(walker *w, ir_region *r, const access_set *s) {
    const marks outer = save(w);
    access_set none = {0};
    region(w, r, &none);
    restore(w, &outer);
    const bool dry = w->dry, conflict = w->conflict;
    const marks m = save(w);
    w->dry = true;
    w->conflict = false;
    access_set t = copy_of(w, s);
    region(w, r, &t);
    const bool found = w->conflict;
    w->dry = dry;
    w->conflict = conflict;
    restore(w, &m);
    return found;
}

static frame *find(walker *w, bool scope) {
    for (frame *x = w->frames; x; x = x->up)
        if ((x->op->inst == I_scope) == scope) return x;
    return NULL;
}

// One trip of a loop from state s: leaves in s the state at its end (normal exits and breaks); returns
// the state at the back edge.
static access_set trip(walker *w, ir_op *loop, access_set *s) {
    frame fr = {.op = loop, .up = w->frames};
    w->frames = &fr;
    access_set t = copy_of(w, s);
    if (loop->inst == I_while) {
        region(w, loop->regions[0], &t);
        join(w, &fr.out, &t);
        if (region(w, loop->regions[1], &t)) join(w, &fr.again, &t);
    } else {
        join(w, &fr.out, &t); // no iteration at all
        if (region(w, loop->regions[0], &t)) join(w, &fr.again, &t);
        join(w, &fr.out, &fr.again);
    }
    w->frames = fr.up;
    *s = fr.out;
    return fr.again;
}

static void loop(walker *w, ir_op *op, access_set *s) {
    // What the back edge carries, conflicts on it settled inside.
    access_set back = {0};
    for (uint32_t before = UINT32_MAX; before != back.n;) {
        before = back.n;
        access_set t = copy_of(w, &back);
        const access_set again = trip(w, op, &t);
        join(w, &back, &again);
    }
    // What flows in from before: one barrier before the loop settles it.
    bool found = false;
    if (s->n) {
        const bool dry = w->dry, conflict = w->conflict;
        const marks m = save(w);
        w->dry = true;
        w->conflict = false;
        access_set t = copy_of(w, s);
        trip(w, op, &t);
        found = w->conflict; // those of the back edge are settled already
        w->dry = dry;
        w->conflict = conflict;
        restore(w, &m);
    }
    if (found) barrier_before(w, op, s, false);
    const bool dry = w->dry;
    w->dry = true;
    access_set t = copy_of(w, s);
    const access_set again = trip(w, op, &t);
    access_set u = copy_of(w, s);
    join(w, &u, &again);
    join(w, &u, &back);
    trip(w, op, &u);
    w->dry = dry;
    *s = u;
}

// Returns whether control reaches the region's end (by yield).
static bool region(walker *w, ir_region *r, access_set *s) {
    for (ir_op *op = r->first; op; op = op->next) {
        switch (op->inst) {
        case I_for:
        case I_while:
            loop(w, op, s);
            break;
        case I_if: {
            if (!w->dry && (would_conflict(w, op->regions[0], s) || would_conflict(w, op->regions[1], s)))
                barrier_before(w, op, s, false);
            access_set t = copy_of(w, s), u = copy_of(w, s);
            const bool a = region(w, op->regions[0], &t);
            const bool b = region(w, op->regions[1], &u);
            s->n = 0;
            if (a) join(w, s, &t);
            if (b) join(w, s, &u);
            if (!a && !b) return false;
            break;
        }
        case I_scope: {
            frame fr = {.op = op, .up = w->frames};
            w->frames = &fr;
            if (region(w, op->regions[0], s)) join(w, &fr.out, s);
            w->frames = fr.up;
            *s = fr.out;
            break;
        }
        case I_role: {
            ir_op *last = op;
            while (last->next && last->next->inst == I_role) last = last->next;
            bool found = false;
            for (ir_op *q = op; !w->dry; q = q->next) {
                found = found || would_conflict(w, q->regions[0], s);
                if (q == last) break;
            }
            if (found) barrier_before(w, op, s, false);
            access_set out = copy_of(w, s);
            for (ir_op *q = op;; q = q->next) {
                access_set t = copy_of(w, s);
                region(w, q->regions[0], &t);
                join(w, &out, &t);
                if (q == last) break;
            }
            *s = out;
            op = last;
            break;
        }
        case I_fetch:
            region(w, op->regions[0], s);
            break;
        case I_break:
        case I_continue: {
            frame *x = find(w, false);
            if (x) join(w, op->inst == I_break ? &x->out : &x->again, s);
            return false;
        }
        case I_leave: {
            frame *x = find(w, true);
            if (x) join(w, &x->out, s);
            return false;
        }
        case I_return:
            return false;
        case I_sync:
            if (!w->dry) name_barrier(op);
            pass_barrier(w, op, s);
            break;
        case I_signal:
        case I_wait_for:
        case I_cluster_sync:
            pass_barrier(w, op, s);
            break;
        case I_wait_group:
            land(w, s, ir_get(op, AT_of) != NULL, ir_int(op, AT_count, 0) == 0);
            break;
        case I_wait_value:
            if (ir_int(op, AT_count, 0) >= 0) land(w, s, true, ir_int(op, AT_count, 0) == 0);
            break;
        case I_wait_stores: {
            const access_set t = copy_of(w, s);
            s->n = 0;
            for (uint32_t i = 0; i < t.n; i++)
                if (!t.at[i].store || (t.at[i].write && !ir_int(op, AT_keep, 0))) add(w, s, &t.at[i]);
            break;
        }
        case I_fence:
            if (ir_int(op, AT_proxy, 0)) { // with a barrier behind it nothing is left but what flies
                const bool all = op->next && op->next->inst == I_sync;
                access_set t = copy_of(w, s);
                s->n = 0;
                for (uint32_t i = 0; i < t.n; i++) {
                    t.at[i].fenced = t.at[i].fenced || !t.at[i].flying;
                    if (all ? t.at[i].flying : !t.at[i].settled) add(w, s, &t.at[i]);
                }
            }
            break;
        case I_arrive:
        case I_expect:
            fence_before_arrival(w, op, s);
            step(w, op, s);
            break;
        default:
            step(w, op, s);
            break;
        }
    }
    return true;
}

static void find_proxies(ir_op *op, void *user) {
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        walker *w = user;
        access_t a;
        if (fx[i].proxy && fx[i].write && describe(&fx[i], &a) && !a.global) vm_push(w->arena, &w->proxy_write, a);
        if (fx[i].proxy && !fx[i].write) {
            const ir_value *root = ir_memory_of(fx[i].view);
            w->proxies = true;
            if (root && root->type.space == IS_SHARED) vm_push(w->arena, &w->proxy_read, root);
        }
    }
}

void ir_pass_barrier(ir_func *f) {
    walker w = {.f = f, .arena = f->comp->arena};
    ir_walk(f->body, find_proxies, &w);
    access_set s = {0};
    region(&w, f->body, &s);
}
