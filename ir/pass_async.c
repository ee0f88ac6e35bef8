// SPDX-License-Identifier: Apache-2.0
// Asynchronous products: closes groups of wgmmas, computes how many groups each wait may leave
// open, and inserts the waits that nobody wrote: before memory or registers that a running product
// reads are overwritten or handed back, and where a group of threads ends. A forward dataflow over
// the structured regions, one group of threads at a time. Its state is the list of open groups,
// youngest first; where paths meet the lists are aligned at the youngest, and an absent group
// counts as landed. Groups beyond the deepest place share that place: a wait for one of them waits
// for a younger one, which is safe.
#include "ir/infer.h"
#include "ir/pass.h"

#include <string.h>

// A cell of the state: 0, or 1 + iterations since the product, at most OLD.
enum { PLACES = 8, OLD = 7 };

typedef struct {
    ir_op *op;
    const ir_value *read[2];         // shared tiles
    int64_t part[2];                 // constant index in their first dimension, or -1
    VM_VEC(const ir_value *) guards; // barriers whose arrival frees them
    bool any_guard;                  // unknown: every arrival may
    bool leads;                      // first of its group
    VM_VEC(const ir_op *) writers;   // of the registers that it reads
} site;

typedef struct {
    const ir_value *from, *to;
} edge;

typedef struct {
    uint8_t *cell; // [site][PLACES]
} state;

typedef struct frame {
    const ir_op *op;
    state out, again;
    bool left, back; // reached at all
    struct frame *up;
} frame;

typedef struct {
    ir_func *f;
    vm_arena *arena;
    VM_VEC(site) sites;
    VM_VEC(edge) edges;
    bool *seen; // by value id
    bool dry;
    frame *frames;
} walker;

// ---- states -------------------------------------------------------------------------------------

static state fresh(walker *w) {
    return (state){vm_newn(w->arena, uint8_t, w->sites.n * PLACES)};
}

static state copy_of(walker *w, const state *s) {
    return (state){vm_dup(w->arena, s->cell, w->sites.n * PLACES)};
}

static bool join(walker *w, state *to, const state *from) {
    bool grew = false;
    for (uint32_t i = 0; i < w->sites.n * PLACES; i++)
        if (from->cell[i] > to->cell[i]) {
            to->cell[i] = from->cell[i];
            grew = true;
        }
    return grew;
}

static void retire(walker *w, state *s, int keep) {
    for (uint32_t i = 0; i < w->sites.n; i++)
        for (int p = keep; p < PLACES; p++) s->cell[i * PLACES + (uint32_t)p] = 0;
}

static void push(walker *w, state *s) { // a new group: all others are one place older
    for (uint32_t i = 0; i < w->sites.n; i++) {
        uint8_t *c = s->cell + (size_t)i * PLACES;
        const uint8_t last = c[PLACES - 1] > c[PLACES - 2] ? c[PLACES - 1] : c[PLACES - 2];
        memmove(c + 1, c, PLACES - 1);
        c[PLACES - 1] = last;
        c[0] = 0;
    }
}

static void grow_older(walker *w, state *s) {
    for (uint32_t i = 0; i < w->sites.n * PLACES; i++)
        if (s->cell[i] && s->cell[i] <= OLD) s->cell[i]++;
}

/// Ages count iterations of the innermost loop: those of products outside of it have no end.
static void set_ages(walker *w, state *s, const ir_op *inside) {
    for (uint32_t i = 0; i < w->sites.n; i++)
        for (int p = 0; p < PLACES; p++) {
            uint8_t *c = &s->cell[i * PLACES + (uint32_t)p];
            if (*c) *c = inside && ir_inside(w->sites.at[i].op, inside) ? 1 : OLD + 1;
        }
}

/// Groups younger than all those of site i that are at least `age` iterations old; PLACES: none is
/// open.
static int younger(const state *s, uint32_t i, int age) {
    for (int p = 0; p < PLACES; p++) {
        const int c = s->cell[i * PLACES + (uint32_t)p];
        if (c && c - 1 >= age) return p;
    }
    return PLACES;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

// ---- where values come from ---------------------------------------------------------------------

static void add_edge(void *user, ir_op *at, uint32_t k, ir_value *to) {
    walker *w = user;
    vm_push(w->arena, &w->edges, ((edge){at->ops[k], to}));
}

/// The result that becomes this argument of a loop's body in the next iteration, or NULL.
static const ir_value *carried_result(const ir_value *v) {
    const ir_op *loop = v->def || !v->owner ? NULL : v->owner->parent;
    if (!loop || (loop->inst != I_for && loop->inst != I_while)) return NULL;
    const uint32_t first = loop->inst == I_for ? 1 : 0;
    return v->index >= first && v->index - first < loop->nres ? loop->res[v->index - first] : NULL;
}

typedef void (*origin_fn)(walker *w, const ir_op *def, void *user);

/// Calls fn for every operation that makes v, on any path; through views of the same registers.
static void origins(walker *w, const ir_value *v, origin_fn fn, void *user) {
    if (w->seen[v->id]) return;
    w->seen[v->id] = true;
    const ir_value *next = carried_result(v);
    if (next) origins(w, next, fn, user);
    for (uint32_t i = 0; i < w->edges.n; i++)
        if (w->edges.at[i].to == v) origins(w, w->edges.at[i].from, fn, user);
    if (!v->def || v->def->nregions) return;
    switch (v->def->inst) {
    case I_relayout:
        fn(w, v->def, user); // may be a mere renaming, or not
        origins(w, v->def->ops[0], fn, user);
        return;
    case I_view:
    case I_reshape:
    case I_permute:
    case I_wait_value:
        origins(w, v->def->ops[0], fn, user);
        return;
    default:
        fn(w, v->def, user);
    }
}

static void start(walker *w) {
    memset(w->seen, 0, (size_t)w->f->next_id * sizeof *w->seen);
}

// ---- sites --------------------------------------------------------------------------------------

/// The constant index that a view has in the first dimension of its tile, or -1.
static int64_t part_of(const ir_value *view) {
    ir_access acc;
    return ir_trace(view, &acc) && acc.rank && acc.d[0].view_dim < 0 && !acc.d[0].n &&
                   acc.root->inst == I_alloc_shared
               ? acc.d[0].constant
               : -1;
}

static const ir_value *barrier_of(const ir_value *v) {
    while (v->def && v->def->inst != I_alloc_barrier && v->def->nops) v = v->def->ops[0];
    return v;
}

static void add_guard(walker *w, site *x, const ir_value *b) {
    for (uint32_t i = 0; i < x->guards.n; i++)
        if (x->guards.at[i] == b) return;
    vm_push(w->arena, &x->guards, b);
}

typedef struct {
    walker *w;
    site *x;
    const ir_value *index; // of the part that is written, or NULL: any wait counts
    int found;
} wait_search;

static void look_at_wait(ir_op *op, void *user) {
    wait_search *z = user;
    if (op->inst != I_wait || op->ops[0]->type.space != IS_BARRIER) return;
    const ir_op *at = op->ops[0]->def;
    if (z->index && (!at || at->inst != I_barrier_at || at->ops[1] != z->index)) return;
    z->found++;
    add_guard(z->w, z->x, barrier_of(op->ops[0]));
}

/// Another role that writes what the product reads has waited for room: an arrival on what it
/// waited for hands the memory back. The barrier of the same index is the one, if there is one.
static void look_at_write(walker *w, site *x, ir_op *op, const ir_value *view) {
    ir_op *role = ir_enclosing(op, I_role);
    if (role == ir_enclosing(x->op, I_role) || !role) return;
    ir_access acc;
    wait_search z = {.w = w, .x = x};
    if (ir_trace(view, &acc) && acc.rank && acc.d[0].view_dim < 0 && acc.d[0].n == 1 &&
        !acc.d[0].constant)
        z.index = acc.d[0].origin[0];
    if (z.index) ir_walk(role->regions[0], look_at_wait, &z);
    z.index = NULL;
    if (!z.found) ir_walk(role->regions[0], look_at_wait, &z);
    if (!z.found) x->any_guard = true;
}

static void look_at_op(ir_op *op, void *user) {
    walker *w = user;
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        if (!fx[i].write || fx[i].view->type.space != IS_SHARED) continue;
        const ir_value *root = ir_memory_of(fx[i].view);
        for (uint32_t k = 0; k < w->sites.n && root; k++) {
            site *x = &w->sites.at[k];
            if (x->read[0] != root && x->read[1] != root) continue;
            look_at_write(w, x, op, fx[i].view);
            // cp.async lands by the ordinary proxy, at a barrier behind which nobody but the reader
            // can fence
            if (fx[i].manual && !fx[i].proxy) ir_set_int(x->op, AT_proxy, 1);
        }
    }
}

static void add_writer(walker *w, const ir_op *def, void *user) {
    site *x = user;
    vm_push(w->arena, &x->writers, def);
}

static bool between_products(const ir_op *op) { // may stand inside a group
    if (!ir_is_pure(op) || op->nregions) return false;
    for (uint32_t i = 0; i < op->nres; i++)
        if (is_tile(op->res[i])) return false;
    return true;
}

static void collect(ir_op *op, void *user) {
    walker *w = user;
    infer_carried(op, add_edge, w);
    if (op->inst != I_wgmma) return;
    site x = {.op = op, .leads = true};
    for (int k = 0; k < 2; k++)
        if (op->ops[k]->type.space == IS_SHARED) {
            x.read[k] = ir_memory_of(op->ops[k]);
            x.part[k] = part_of(op->ops[k]);
        }
    const ir_op *last = op->prev;
    while (last && between_products(last)) last = last->prev;
    // Products with registers as operand are groups of their own: the sooner each lands, the sooner
    // its registers are free.
    if (last && last->inst == I_wgmma && !is_tile(op->ops[0]) && !is_tile(last->ops[0]))
        x.leads =
            !infer_wgmma_fresh(op) &&
            !(op->ops[2]->type.inflight && !(op->ops[2]->def && op->ops[2]->def->inst == I_full));
    vm_push(w->arena, &w->sites, x);
}

// ---- one use ------------------------------------------------------------------------------------

typedef struct {
    walker *w;
    VM_VEC(ir_op *) * uses; // by value id
} use_lists;

static void note_uses(ir_op *op, void *user) {
    use_lists *u = user;
    for (uint32_t k = 0; k < op->nops; k++)
        if (op->ops[k]->type.inflight) vm_push(u->w->arena, &u->uses[op->ops[k]->id], op);
}

static bool leaves(const ir_op *op) {
    return op->inst == I_break || op->inst == I_continue || op->inst == I_leave;
}

/// Whether control may pass both: not if they stand in different branches, or one of them jumps
/// away.
static bool both(const ir_op *a, const ir_op *b) {
    if (leaves(a) || leaves(b)) return false;
    for (const ir_op *p = a->parent->parent; p; p = p->parent->parent)
        if (p->inst == I_if && ir_inside(b, p)) {
            for (uint32_t r = 0; r < 2 && r < p->nregions; r++) {
                bool in[2] = {false, false};
                const ir_op *const x[2] = {a, b};
                for (int i = 0; i < 2; i++)
                    for (const ir_region *q = x[i]->parent; q;
                         q = q->parent ? q->parent->parent : NULL)
                        in[i] |= q == p->regions[r];
                if (in[0] != in[1]) return false;
            }
        }
    return true;
}

/// A product that goes on from a value that has been waited for goes on from the landed one.
static bool go_on_from_landed(ir_op *wait, ir_op *op) {
    const ir_op *o = wait;
    while (o && o != op) o = o->next; // in the same region, after it
    if (!o) return false;
    if (op->inst == I_wgmma) {
        op->ops[2] = wait->res[0];
        return true;
    }
    if (op->inst != I_wait_value) return false;
    ir_replace_uses(op->parent->func, op->res[0], wait->res[0]);
    ir_remove(op);
    return true;
}

static void check_single_use(walker *w) {
    use_lists u = {w, NULL};
    u.uses = vm_alloc(w->arena, (size_t)w->f->next_id * sizeof *u.uses);
    ir_walk(w->f->body, note_uses, &u);
    for (uint32_t id = 0; id < w->f->next_id; id++) {
        for (uint32_t i = 0; i < u.uses[id].n; i++)
            for (uint32_t k = i + 1; k < u.uses[id].n; k++) {
                ir_op *a = u.uses[id].at[i], *b = u.uses[id].at[k];
                if (!a->parent || !b->parent || !both(a, b)) continue;
                if (a->inst == I_wait_value && go_on_from_landed(a, b)) continue;
                vm_diag *d =
                    vm_report(w->f->comp, D_E0517, b->span, "a value in flight is used twice");
                vm_label(w->f->comp, d, a->span, "it goes on here");
                vm_help(w->f->comp, d, "wait for it once, 'let x = wait(acc)', and go on with x");
                return;
            }
    }
}

// ---- the walk -----------------------------------------------------------------------------------

static bool has_product(const walker *w, const ir_op *in) {
    for (uint32_t i = 0; i < w->sites.n; i++)
        if (ir_inside(w->sites.at[i].op, in)) return true;
    return false;
}

/// Waits before op until at most n groups are open. A wait inside of a branch stands before it:
/// hardware and assembler follow it better on all paths.
static void wait_before(walker *w, ir_op *op, state *s, int n, const char *what) {
    if (n >= PLACES) return;
    retire(w, s, n);
    if (w->dry) return;
    for (ir_op *up = op->parent->parent; up && up->inst == I_if && !has_product(w, up);
         up = op->parent->parent)
        op = up;
    for (const ir_op *p = op->prev; p && p->inst == I_wait_group; p = p->prev)
        if (ir_get(p, AT_of) && ir_int(p, AT_count, 0) <= n) return;
    ir_builder b = {w->f, op->parent, op, op->span};
    ir_op *g = ir_emit(&b, I_wait_group, 0, NULL, 0, NULL);
    ir_set_str(g, AT_of, "wgmma");
    ir_set_int(g, AT_count, n);
    vm_report(w->f->comp, D_Rpass, op->span, "waits until at most %d group%s of wgmmas %s open: %s",
              n, n == 1 ? "" : "s", n == 1 ? "is" : "are", what);
}

static int all_open(walker *w, const state *s) {
    int n = PLACES;
    for (uint32_t i = 0; i < w->sites.n; i++) n = least(n, younger(s, i, 0));
    return n == PLACES ? n : 0;
}

typedef struct {
    walker *w;
    const state *s;
    int n;
} overwritten;

static const ir_op *innermost_loop(const ir_op *op) {
    for (const ir_op *p = op->parent->parent; p; p = p->parent->parent)
        if (p->inst == I_for || p->inst == I_while) return p;
    return NULL;
}

/// Iterations before this one whose products op leaves alone, itself included: a ring's older
/// buffers.
static int lag_of(const ir_op *op) {
    const int64_t lag = innermost_loop(op) ? ir_int(op, AT_lag, 0) : 0;
    return lag < OLD ? (int)lag : OLD;
}

static void count_overwritten(ir_op *op, void *user) {
    overwritten *o = user;
    ir_effect fx[IR_MAX_EFFECTS];
    for (uint32_t i = 0, n = ir_effects(op, fx); i < n; i++) {
        const ir_value *root =
            fx[i].write && fx[i].view->type.space == IS_SHARED ? ir_memory_of(fx[i].view) : NULL;
        const int64_t part = root ? part_of(fx[i].view) : -1;
        for (uint32_t k = 0; k < o->w->sites.n * 2 && root; k++) {
            const site *x = &o->w->sites.at[k / 2];
            if (x->read[k % 2] != root ||
                (part >= 0 && x->part[k % 2] >= 0 && part != x->part[k % 2]))
                continue;
            o->n = least(o->n, younger(o->s, k / 2, lag_of(op)));
        }
    }
}

static bool frees(const site *x, const ir_value *barrier) {
    if (x->any_guard) return true;
    for (uint32_t i = 0; i < x->guards.n; i++)
        if (x->guards.at[i] == barrier) return true;
    return false;
}

typedef struct {
    const state *s;
    int age, n;
} landing;

static void count_landing(walker *w, const ir_op *def, void *user) {
    landing *l = user;
    for (uint32_t i = 0; i < w->sites.n; i++)
        if (w->sites.at[i].op == def) l->n = least(l->n, younger(l->s, i, l->age));
}

static void wait_value(walker *w, ir_op *op, state *s) {
    const ir_value *v = op->ops[0];
    const ir_op *loop = innermost_loop(op);
    landing l = {s, loop && !(v->def && ir_inside(v->def, loop)), PLACES};
    start(w);
    origins(w, v, count_landing, &l);
    if (l.n < PLACES) retire(w, s, l.n);
    if (!w->dry) ir_set_int(op, AT_count, l.n < PLACES ? l.n : -1);
}

static void product(walker *w, ir_op *op, state *s) {
    for (uint32_t i = 0; i < w->sites.n; i++) {
        site *x = &w->sites.at[i];
        if (x->op != op) continue;
        if (x->leads) push(w, s);
        s->cell[i * PLACES] = 1;
        if (w->dry) return;
        if (x->leads) ir_set_int(op, AT_fence, 1);
        if (i + 1 == w->sites.n || w->sites.at[i + 1].leads) ir_set_int(op, AT_commit, 1);
        return;
    }
}

static bool region(walker *w, ir_region *r, state *s);

static state trip(walker *w, ir_op *loop, state *s) {
    frame fr = {.op = loop, .out = fresh(w), .again = fresh(w), .up = w->frames};
    w->frames = &fr;
    if (loop->inst == I_while) region(w, loop->regions[0], s);
    join(w, &fr.out, s); // the test fails
    state body = copy_of(w, s);
    if (region(w, loop->regions[loop->inst == I_while ? 1 : 0], &body)) join(w, &fr.again, &body);
    w->frames = fr.up;
    *s = fr.out;
    grow_older(w, &fr.again);
    return fr.again;
}

static void loop(walker *w, ir_op *op, state *s) {
    if (!has_product(w, op) && all_open(w, s) == PLACES) return;
    set_ages(w, s, NULL);
    const bool dry = w->dry;
    w->dry = true;
    for (bool grew = true; grew;) {
        state t = copy_of(w, s);
        const state back = trip(w, op, &t);
        grew = join(w, s, &back);
    }
    w->dry = dry;
    trip(w, op, s);
    set_ages(w, s, op);
}

static void jump(walker *w, const ir_op *op, const state *s) {
    for (frame *x = w->frames; x; x = x->up)
        if ((x->op->inst == I_scope) == (op->inst == I_leave)) {
            join(w, op->inst == I_continue ? &x->again : &x->out, s);
            return;
        }
}

static void step(walker *w, ir_op *op, state *s) {
    for (uint32_t i = 0; i < w->sites.n; i++)
        for (uint32_t k = 0; k < w->sites.at[i].writers.n; k++)
            if (w->sites.at[i].writers.at[k] == op)
                wait_before(w, op, s, younger(s, i, 0),
                            "these registers are an operand of a product that may still run");
    overwritten o = {w, s, PLACES};
    count_overwritten(op, &o);
    if (op->inst == I_simt) ir_walk(op->regions[0], count_overwritten, &o);
    wait_before(w, op, s, o.n, "this memory is an operand of a product that may still run");
    if (op->inst == I_arrive || op->inst == I_expect) {
        int n = PLACES;
        for (uint32_t i = 0; i < w->sites.n; i++)
            if (frees(&w->sites.at[i], barrier_of(op->ops[0])))
                n = least(n, younger(s, i, lag_of(op)));
        wait_before(w, op, s, n, "this arrival hands back what they read");
    }
}

static bool region(walker *w, ir_region *r, state *s) {
    for (ir_op *op = r->first; op; op = op->next) {
        switch (op->inst) {
        case I_for:
        case I_while:
            loop(w, op, s);
            break;
        case I_if: {
            state t = copy_of(w, s), u = copy_of(w, s);
            const bool a = region(w, op->regions[0], &t), b = region(w, op->regions[1], &u);
            if (!a && !b) return false;
            *s = fresh(w);
            if (a) join(w, s, &t);
            if (b) join(w, s, &u);
            break;
        }
        case I_scope: {
            frame fr = {.op = op, .out = fresh(w), .again = fresh(w), .up = w->frames};
            w->frames = &fr;
            if (region(w, op->regions[0], s)) join(w, &fr.out, s);
            w->frames = fr.up;
            *s = fr.out;
            break;
        }
        case I_role: {
            wait_before(w, op, s, all_open(w, s), "roles begin");
            state t = fresh(w);
            frame *const up = w->frames;
            w->frames = NULL;
            region(w, op->regions[0], &t);
            if (op->regions[0]->last)
                wait_before(w, op->regions[0]->last, &t, all_open(w, &t), "the role ends");
            w->frames = up;
            break;
        }
        case I_break:
        case I_continue:
        case I_leave:
            jump(w, op, s);
            return false;
        case I_return:
            wait_before(w, op, s, all_open(w, s), "the kernel ends");
            return false;
        case I_wgmma:
            step(w, op, s), product(w, op, s);
            break;
        case I_wait_value:
            wait_value(w, op, s);
            break;
        case I_wait_group:
            if (ir_get(op, AT_of)) retire(w, s, (int)ir_int(op, AT_count, 0));
            break;
        case I_print: {
            vm_diag *d =
                w->dry ? NULL
                       : vm_report(w->f->comp, D_E0516, op->span, "'print' in a kernel with wgmma");
            if (d) vm_label(w->f->comp, d, w->sites.at[0].op->span, "the product");
            if (d)
                vm_help(w->f->comp, d,
                        "store what you want to see in a global tensor, or use dot in a copy of "
                        "the kernel");
            break;
        }
        default:
            step(w, op, s);
        }
    }
    return true;
}

void ir_pass_async(ir_func *f) {
    walker w = {.f = f, .arena = f->comp->arena};
    ir_walk(f->body, collect, &w);
    if (!w.sites.n) return;
    check_single_use(&w);
    w.seen = vm_newn(w.arena, bool, f->next_id + 1);
    for (uint32_t i = 0; i < w.sites.n; i++) {
        start(&w);
        if (is_tile(w.sites.at[i].op->ops[0]))
            origins(&w, w.sites.at[i].op->ops[0], add_writer, &w.sites.at[i]);
    }
    ir_walk(f->body, look_at_op, &w);
    state s = fresh(&w);
    if (region(&w, f->body, &s)) {
        int n = all_open(&w, &s);
        ir_builder b = {f, f->body, NULL, f->span};
        if (n < PLACES) {
            ir_op *g = ir_emit(&b, I_wait_group, 0, NULL, 0, NULL);
            ir_set_str(g, AT_of, "wgmma");
            ir_set_int(g, AT_count, 0);
        }
    }
}
