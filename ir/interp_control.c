// SPDX-License-Identifier: Apache-2.0
// The vm executor: regions as jumps, roles, and the scheduler of strands and blocks. Nothing waits by
// spinning: a blocked strand stops, and if a whole round moves nobody, that is a deadlock.
#include "ir/interp.h"
#include <stdlib.h>

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)

// ---- loops, ifs, scopes -------------------------------------------------------------------------

H(jump) {
    (void)m, (void)s;
    return i + i->jump;
}
H(jump_unless) {
    (void)m;
    return s->r[i->a] & 1 ? i + 1 : i + i->jump;
}
typedef struct { vm_dtype lo, hi, step, i; } for_types;
H(for_start) { // d: counter, a: lo, b: step
    const for_types *t = i->x;
    s->r[i->d] = (uint64_t)as_int(t->lo, s->r[i->a]);
    if (as_int(t->step, s->r[i->b]) <= 0)
        return vm_trap(m, s, i, "the step of a loop is %lld, not positive",
                       (long long)as_int(t->step, s->r[i->b]));
    return i + 1;
}
H(for_head) { // d: i, a: counter, b: hi
    (void)m;
    const for_types *t = i->x;
    const int64_t k = (int64_t)s->r[i->a];
    if (k >= as_int(t->hi, s->r[i->b])) return i + i->jump;
    s->r[i->d] = (uint64_t)k & mask_of(t->i);
    return i + 1;
}
H(for_next) { // d: counter, b: step
    (void)m;
    const for_types *t = i->x;
    s->r[i->d] += (uint64_t)as_int(t->step, s->r[i->b]);
    return i + i->jump;
}
H(end) {
    (void)m;
    s->pc = i;
    s->stop = STOP_END;
    return NULL;
}

static void land_all(cc *c, const uint32_t *at, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) cc_land(c, at[k]);
}

void cc_for(cc *c, const ir_op *op) {
    const ir_region *body = op->regions[0];
    for_types *t = vm_new(c->arena, for_types);
    *t = (for_types){op->ops[0]->type.elem, op->ops[1]->type.elem, op->ops[2]->type.elem, body->args[0]->type.elem};
    const uint32_t count = cc_new(c), hi = cc_use(c, op->ops[1]), step = cc_use(c, op->ops[2]);
    const uint32_t n = body->nargs - 1, start = cc_put(c, op, for_start, count, cc_use(c, op->ops[0]), step, 0);
    cc_at(c, start)->x = t;
    const uint32_t i = cc_def(c, body->args[0]);
    cc_transfer(c, op, n, op->ops + 3, body->args + 1, NULL);
    const uint32_t head = cc_put(c, op, for_head, i, count, hi, 0);
    cc_at(c, head)->x = t;
    cc_exit e = {.up = c->exits, .op = op, .bound = body, .n = n, .dst = body->args + 1};
    c->exits = &e;
    cc_region(c, body);
    c->exits = e.up;
    if (body->last->inst == I_yield) cc_transfer(c, body->last, n, body->last->ops, body->args + 1, body);
    land_all(c, e.again.at, e.again.n);
    const uint32_t next = cc_put(c, op, for_next, count, 0, step, 0);
    cc_at(c, next)->x = t;
    cc_jump_to(c, next, head);
    cc_land(c, head);
    land_all(c, e.out.at, e.out.n);
    for (uint32_t k = 0; k < op->nres; k++) cc_alias(c, op->res[k], cc_def(c, body->args[k + 1]));
}

void cc_while(cc *c, const ir_op *op) {
    const ir_region *test = op->regions[0], *body = op->regions[1];
    const uint32_t n = test->nargs;
    cc_transfer(c, op, n, op->ops, test->args, NULL);
    for (uint32_t k = 0; k < n; k++) cc_alias(c, body->args[k], cc_def(c, test->args[k]));
    const uint32_t head = c->p->code.n;
    cc_region(c, test);
    const uint32_t out = cc_put(c, op, jump_unless, 0, cc_use(c, test->last->ops[0]), 0, 0);
    cc_exit e = {.up = c->exits, .op = op, .bound = body, .n = n, .dst = test->args};
    c->exits = &e;
    cc_region(c, body);
    c->exits = e.up;
    if (body->last->inst == I_yield) cc_transfer(c, body->last, n, body->last->ops, test->args, body);
    land_all(c, e.again.at, e.again.n);
    cc_jump_to(c, cc_put(c, op, jump, 0, 0, 0, 0), head);
    cc_land(c, out);
    land_all(c, e.out.at, e.out.n);
    for (uint32_t k = 0; k < op->nres; k++) cc_alias(c, op->res[k], cc_def(c, test->args[k]));
}

static void arm(cc *c, const ir_op *op, const ir_region *r) {
    cc_region(c, r);
    if (r->last && r->last->inst == I_yield) cc_transfer(c, r->last, op->nres, r->last->ops, op->res, r);
}

void cc_if(cc *c, const ir_op *op) {
    for (uint32_t k = 0; k < op->nres; k++) cc_def(c, op->res[k]);
    const uint32_t no = cc_put(c, op, jump_unless, 0, cc_use(c, op->ops[0]), 0, 0);
    arm(c, op, op->regions[0]);
    if (op->nregions < 2 || !op->regions[1]->first) {
        cc_land(c, no);
        return;
    }
    const uint32_t done = cc_put(c, op, jump, 0, 0, 0, 0);
    cc_land(c, no);
    arm(c, op, op->regions[1]);
    cc_land(c, done);
}

void cc_scope(cc *c, const ir_op *op) {
    const ir_region *r = op->regions[0];
    for (uint32_t k = 0; k < op->nres; k++) cc_def(c, op->res[k]);
    cc_exit e = {.up = c->exits, .op = op, .bound = r, .n = op->nres, .dst = op->res};
    c->exits = &e;
    arm(c, op, r);
    c->exits = e.up;
    land_all(c, e.out.at, e.out.n);
}

void cc_fetch(cc *c, const ir_op *op) { cc_region(c, op->regions[0]); } // in time: ahead is a schedule

static cc_exit *exit_of(cc *c, bool scope) {
    cc_exit *e = c->exits;
    while (e && (e->op->inst == I_scope) != scope) e = e->up;
    return e;
}
static void leave_to(cc *c, const ir_op *op, cc_exit *e, bool again) {
    cc_transfer(c, op, e->n < op->nops ? e->n : op->nops, op->ops, e->dst, e->bound);
    const uint32_t at = cc_put(c, op, jump, 0, 0, 0, 0);
    if (again) vm_push(c->arena, &e->again, at);
    else vm_push(c->arena, &e->out, at);
}
void cc_yield(cc *c, const ir_op *op) { (void)c, (void)op; } // its parent knows what it means
void cc_break(cc *c, const ir_op *op) { leave_to(c, op, exit_of(c, false), false); }
void cc_continue(cc *c, const ir_op *op) { leave_to(c, op, exit_of(c, false), true); }
void cc_leave(cc *c, const ir_op *op) { leave_to(c, op, exit_of(c, true), false); }
void cc_return(cc *c, const ir_op *op) { cc_put(c, op, end, 0, 0, 0, 0); }

// ---- roles --------------------------------------------------------------------------------------

H(roles) { // a: first body (relative), n: how many, x: their starts
    const int32_t *start = i->x;
    if (!s->entered) {
        s->entered = true;
        m->nroles = i->n;
        for (uint32_t k = 0; k < i->n; k++) m->roles[k] = (strand){.r = s->r, .pc = i + start[k]};
        m->progress = true;
    }
    for (uint32_t k = 0; k < m->nroles; k++)
        if (m->roles[k].stop != STOP_END) return vm_block(s, i, NULL, 0, 0);
    s->entered = false;
    m->nroles = 0;
    return i + i->jump;
}

void cc_role(cc *c, const ir_op *op) {
    uint32_t n = 1;
    const int64_t set = ir_int(op, AT_set, 0);
    for (const ir_op *o = op->next; o && o->inst == I_role && ir_int(o, AT_set, 0) == set; o = o->next) n++;
    if (n > c->p->max_roles) c->p->max_roles = n;
    int32_t *start = vm_newn(c->arena, int32_t, n);
    const uint32_t at = cc_put(c, op, roles, 0, 0, 0, n);
    cc_at(c, at)->x = start;
    cc_exit *outer = c->exits;
    c->exits = NULL;
    for (uint32_t k = 0; k < n; k++, op = op->next) {
        start[k] = (int32_t)(c->p->code.n - at);
        cc_region(c, op->regions[0]);
        cc_put(c, op, end, 0, 0, 0, 0);
    }
    c->exits = outer;
    cc_land(c, at);
}

// ---- traps --------------------------------------------------------------------------------------

const ins *vm_trap(mach *m, strand *s, const ins *i, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(m->error, 1000, fmt, ap);
    va_end(ap);
    if (n >= 0 && n < 900)
        snprintf(m->error + n, (size_t)(1000 - n), " (block %lld, %lld, %lld)", (long long)m->block[0],
                 (long long)m->block[1], (long long)m->block[2]);
    if (m->where) *m->where = i->op ? i->op->span : VM_NOWHERE;
    s->pc = i;
    s->stop = STOP_TRAP;
    return NULL;
}

const ins *vm_block(strand *s, const ins *i, const char *waits, uint32_t bar, int64_t arg) {
    s->pc = i;
    s->stop = STOP_WAIT;
    s->waits = waits;
    s->wait_bar = bar;
    s->wait_arg = arg;
    return NULL;
}

void strand_run(mach *m, strand *s) {
    const ins *i = s->pc;
    s->stop = STOP_NONE;
    while (i) i = i->fn(m, s, i);
}

// ---- memory -------------------------------------------------------------------------------------

void *vm_take(mach *m, size_t bytes) {
    const vm_allocator *a = m->run->alloc;
    return a ? a->alloc(a->user, bytes) : malloc(bytes);
}
void vm_release(mach *m, void *p, size_t bytes) {
    const vm_allocator *a = m->run->alloc;
    if (!p) return;
    if (a) a->release(a->user, p, bytes);
    else free(p);
}
/// Grows a {pointer, capacity} pair; contents are lost.
bool vm_reserve(mach *m, void *slot, size_t bytes) {
    struct { void *at; size_t cap; } pair;
    memcpy(&pair, slot, sizeof pair);
    if (bytes <= pair.cap && pair.at) return true;
    vm_release(m, pair.at, pair.cap);
    pair.cap = bytes + bytes / 2 + 64;
    pair.at = vm_take(m, pair.cap);
    if (!pair.at) pair.cap = 0;
    memcpy(slot, &pair, sizeof pair);
    return pair.at != NULL;
}
void *vm_scratch(mach *m, size_t bytes) { return vm_reserve(m, &m->scratch, bytes) ? m->scratch.at : NULL; }

static void mach_free(mach *m) {
    const ir_plan *p = m->p;
    vm_release(m, m->r, (p->frame.nslots + 1) * 8);
    vm_release(m, m->mem, p->frame.bytes + 64);
    vm_release(m, m->bars, (p->nbars + 1) * sizeof *m->bars);
    vm_release(m, m->roles, (p->max_roles + 1) * sizeof *m->roles);
    for (uint32_t k = 0; m->dyn && k < p->ndyn; k++) vm_release(m, m->dyn[k].at, m->dyn[k].cap);
    vm_release(m, m->dyn, (p->ndyn + 1) * sizeof *m->dyn);
    for (uint32_t k = 0; m->simts && k < p->nsimt; k++) {
        const fdesc *f = &p->simts.at[k]->frame;
        const uint32_t n = m->simts[k].n;
        vm_release(m, m->simts[k].slots, (size_t)n * (f->nslots + 1) * 8);
        vm_release(m, m->simts[k].mem, (size_t)n * (f->bytes + 64));
        vm_release(m, m->simts[k].threads, n * sizeof(strand));
    }
    vm_release(m, m->simts, (p->nsimt + 1) * sizeof *m->simts);
    vm_release(m, m->scratch.at, m->scratch.cap);
    vm_release(m, m->late, m->late_cap * sizeof *m->late);
    vm_release(m, m, sizeof *m);
}

static void *take0(mach *m, size_t bytes) {
    void *p = vm_take(m, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

static mach *mach_new(const ir_plan *p, const ir_run *run, char *error, vm_span *where) {
    mach first = {.p = p, .run = run};
    mach *m = vm_take(&first, sizeof *m);
    if (!m) return NULL;
    *m = first;
    m->error = error;
    m->where = where;
    m->rng = run->seed;
    m->r = take0(m, (p->frame.nslots + 1) * 8);
    m->mem = vm_take(m, p->frame.bytes + 64);
    m->bars = take0(m, (p->nbars + 1) * sizeof *m->bars);
    m->roles = take0(m, (p->max_roles + 1) * sizeof *m->roles);
    m->dyn = take0(m, (p->ndyn + 1) * sizeof *m->dyn);
    m->simts = take0(m, (p->nsimt + 1) * sizeof *m->simts);
    if (!m->r || !m->mem || !m->bars || !m->roles || !m->dyn || !m->simts) {
        mach_free(m);
        return NULL;
    }
    // the slack behind each tile is read by vector loops; give it a value once
    memset(m->mem, 0, p->frame.bytes + 64);
    for (uint32_t k = 0; k < p->frame.consts.n; k++) m->r[p->frame.consts.at[k].slot] = p->frame.consts.at[k].code;
    for (uint32_t k = 0; k < p->frame.bufs.n; k++)
        m->r[p->frame.bufs.at[k].slot] = (uint64_t)(uintptr_t)(m->mem + p->frame.bufs.at[k].off);
    for (uint32_t k = 0; k < p->func->nparams; k++) { // parameters have the first slots
        const ir_value *v = p->func->params[k].value;
        m->r[k] = v->type.space == IS_PTR ? k : run->args[k].code & mask_of(v->type.elem);
    }
    for (int d = 0; d < 3; d++) m->grid[d] = run->grid[d];
    return m;
}

static void mach_start(mach *m, int64_t block) {
    m->block[0] = block % m->grid[0];
    m->block[1] = block / m->grid[0] % m->grid[1];
    m->block[2] = block / m->grid[0] / m->grid[1];
    m->nroles = m->nlate = 0;
    m->cluster_seen = 0;
    m->main = (strand){.r = m->r, .pc = m->p->code.at};
    m->ended = false;
}

// ---- the scheduler ------------------------------------------------------------------------------

enum outcome { DONE, BLOCKED, TRAPPED };

static bool step(mach *m, strand *s) {
    const ins *before = s->pc;
    strand_run(m, s);
    if (s->stop != STOP_WAIT || s->pc != before) m->progress = true;
    return s->stop != STOP_TRAP;
}

static enum outcome run_block(mach *m, bool *moved) {
    for (;;) {
        m->progress = false;
        if (!step(m, &m->main)) return TRAPPED;
        if (m->main.stop == STOP_END) {
            m->ended = true;
            *moved = true;
            return DONE;
        }
        uint32_t first = 0;
        if (m->rng && m->nroles) {
            m->rng = m->rng * 6364136223846793005ULL + 1442695040888963407ULL;
            first = (uint32_t)(m->rng >> 33) % m->nroles;
        }
        for (uint32_t k = 0; k < m->nroles; k++) {
            strand *s = &m->roles[(first + k) % m->nroles];
            if (s->stop != STOP_END && !step(m, s)) return TRAPPED;
        }
        if (!m->progress) return BLOCKED;
        *moved = true;
    }
}

static size_t place(const ir_plan *p, const ir_op *op, char *out, size_t room) {
    const vm_source *src = op && op->span.file ? vm_source_at(p->func->comp, op->span.file) : NULL;
    uint32_t line = 0, col = 0;
    if (src) vm_source_place(src, op->span.lo, &line, &col);
    const int n = src ? snprintf(out, room, "%s:%u:%u", src->name, line, col)
                      : snprintf(out, room, "%s", op ? vm_insts[op->inst].name : "?");
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static void describe(const mach *m, const strand *s, size_t *n) {
    if (s->stop != STOP_WAIT || !s->waits || *n > 850) return;
    char *e = m->error;
    *n += (size_t)snprintf(e + *n, 1000 - *n, "; ");
    *n += place(m->p, s->pc->op, e + *n, 1000 - *n);
    if (s->wait_arg >= 0 && s->wait_bar != UINT32_MAX) {
        const mbarrier *b = &m->bars[s->wait_bar];
        *n += (size_t)snprintf(e + *n, 1000 - *n, ": %s (barrier: %u of %u arrivals missing, %lld bytes due, phase %u)",
                               s->waits, b->pending, b->count, (long long)b->tx, b->phases);
    } else {
        *n += (size_t)snprintf(e + *n, 1000 - *n, ": %s", s->waits);
    }
}

static void deadlock(mach *m) {
    size_t n = (size_t)snprintf(m->error, 1000, "deadlock in block %lld, %lld, %lld", (long long)m->block[0],
                                (long long)m->block[1], (long long)m->block[2]);
    const strand *first = m->main.waits ? &m->main : NULL;
    describe(m, &m->main, &n);
    for (uint32_t k = 0; k < m->nroles; k++) {
        describe(m, &m->roles[k], &n);
        if (!first && m->roles[k].stop == STOP_WAIT) first = &m->roles[k];
    }
    if (m->where && first && first->pc->op) *m->where = first->pc->op->span;
}

static bool out_of_memory(char *error) {
    snprintf(error, 1000, "out of memory while running on the VM");
    return false;
}

static bool run_in_turn(const ir_plan *p, const ir_run *r, int64_t blocks, char *error, vm_span *where) {
    mach *m = mach_new(p, r, error, where);
    if (!m) return out_of_memory(error);
    enum outcome o = DONE;
    for (int64_t b = 0; b < blocks && o == DONE; b++) {
        bool moved = false;
        mach_start(m, b);
        o = run_block(m, &moved);
    }
    if (o == BLOCKED) deadlock(m);
    mach_free(m);
    return o == DONE;
}

/// Blocks that wait for others are set aside; a new one starts only when none of those can go on.
static bool run_together(const ir_plan *p, const ir_run *r, int64_t blocks, char *error, vm_span *where) {
    mach holder = {.p = p, .run = r};
    struct { mach **at; size_t cap; } live = {0};
    const int *cl = p->func->cluster;
    const int64_t csize = (int64_t)(cl[0] > 0 ? cl[0] : 1) * (cl[1] > 0 ? cl[1] : 1) * (cl[2] > 0 ? cl[2] : 1);
    const size_t nclusters = (size_t)(blocks / csize + 1);
    int64_t *counts = vm_take(&holder, nclusters * 8);
    if (!counts) return out_of_memory(error);
    memset(counts, 0, nclusters * 8);
    bool ok = vm_reserve(&holder, &live, (size_t)blocks * sizeof(mach *));
    if (!ok) out_of_memory(error);
    size_t n = 0;
    mach *spare = NULL;
    for (int64_t next = 0; ok && (n || next < blocks);) {
        bool moved = false;
        for (size_t k = 0; ok && k < n;) {
            const enum outcome o = run_block(live.at[k], &moved);
            if (o == TRAPPED) ok = false;
            if (o != DONE) {
                k++;
                continue;
            }
            if (spare) mach_free(spare);
            spare = live.at[k];
            memmove(&live.at[k], &live.at[k + 1], (--n - k) * sizeof(mach *));
        }
        if (!ok || moved) continue;
        if (next == blocks) {
            if (n) deadlock(live.at[0]), ok = false;
            break;
        }
        mach *m = spare ? spare : mach_new(p, r, error, where);
        spare = NULL;
        if (!m) {
            ok = out_of_memory(error);
            break;
        }
        m->clusters = counts;
        m->all = live.at;
        m->nall = &n;
        mach_start(m, next++);
        live.at[n++] = m;
    }
    for (size_t k = 0; k < n; k++) mach_free(live.at[k]);
    if (spare) mach_free(spare);
    vm_release(&holder, live.at, live.cap);
    vm_release(&holder, counts, nclusters * 8);
    return ok;
}

bool ir_interp_run(const ir_plan *p, const ir_run *r, char error[1000], vm_span *where) {
    error[0] = 0;
    if (where) *where = VM_NOWHERE;
    const int64_t blocks = r->grid[0] * r->grid[1] * r->grid[2];
    if (r->grid[0] < 0 || r->grid[1] < 0 || r->grid[2] < 0) {
        snprintf(error, 1000, "the grid is negative");
        return false;
    }
    if (blocks == 0) return true;
    return (p->across ? run_together : run_in_turn)(p, r, blocks, error, where);
}
