// SPDX-License-Identifier: Apache-2.0
// The vm executor: scalar code of threads. Without warp operations the threads run one after another
// on one set of slots; with them each has its own, runs until it must meet others, and the meeting
// (shuffle, ballot, sync) happens when all that belong to it have come to the same instruction.
#include "ir/interp.h"
#include <assert.h>

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)

static void set_thread(strand *t, const strand *group, const simt_info *z) {
    t->r[z->tid_slot] = t->tid;
    for (uint32_t k = 0; k < z->captured.n; k++) {
        const uint64_t pair = z->captured.at[k];
        t->r[(uint32_t)pair] = group->r[pair >> 32];
    }
    for (uint32_t k = 0; k < z->nargs; k++)
        t->r[z->inner[k]] = group->r[z->result[k] != UINT32_MAX ? z->result[k] : z->outer[k]];
}
static bool make_threads(mach *m, const simt_info *z) {
    const uint32_t n = z->lockstep ? z->threads : 1;
    simt_frames *x = &m->simts[z->number - 1];
    if (x->n) return true;
    const fdesc *f = &z->frame;
    const size_t words = f->nslots + 1;
    x->n = n;
    x->slots = vm_take(m, n * words * 8);
    x->mem = vm_take(m, n * (f->bytes + 64));
    x->threads = vm_take(m, n * sizeof(strand));
    if (!x->slots || !x->mem || !x->threads) return false;
    for (uint32_t t = 0; t < n; t++) {
        uint64_t *r = x->slots + t * words;
        char *mem = x->mem + t * (f->bytes + 64);
        memset(r, 0, words * 8);
        for (uint32_t k = 0; k < f->consts.n; k++) r[f->consts.at[k].slot] = f->consts.at[k].code;
        for (uint32_t k = 0; k < f->bufs.n; k++) r[f->bufs.at[k].slot] = (uint64_t)(uintptr_t)(mem + f->bufs.at[k].off);
        x->threads[t] = (strand){.r = r, .tid = t};
    }
    return true;
}

// ---- warp operations ----------------------------------------------------------------------------

static uint64_t lane_value(const strand *warp, uint32_t lanes, uint32_t lane, vm_inst k, int64_t y) {
    int64_t from = lane;
    switch (k) {
    case I_shuffle: from = y & 31; break;
    case I_shuffle_up: from = (int64_t)lane - y; break;
    case I_shuffle_down: from = (int64_t)lane + y; break;
    default: from = (int64_t)lane ^ y; break;
    }
    return from < 0 || from >= (int64_t)lanes ? warp[lane].give : warp[from].give;
}

/// All lanes that take part wait at the same instruction: exchange and let them go on.
static const ins *meet(mach *m, strand *s, strand *warp, uint32_t lanes, uint32_t first) {
    const ins *i = warp[first].pc;
    const ir_op *op = i->op;
    const uint32_t all = lanes == 32 ? UINT32_MAX : (1u << lanes) - 1;
    const uint32_t mask = ir_get(op, AT_mask) ? (uint32_t)ir_int(op, AT_mask, 0) & all : all;
    uint32_t ballot = 0;
    for (uint32_t l = 0; l < lanes; l++) {
        if (!(mask >> l & 1)) continue;
        if (warp[l].stop != STOP_WARP || warp[l].pc != i)
            return vm_trap(m, s, i, "%s needs all threads of the warp, but thread %u is elsewhere: control flow must be "
                           "uniform, or name the lanes with mask =", vm_insts[op->inst].name, warp[l].tid);
        ballot |= (uint32_t)(warp[l].give & 1) << l;
    }
    uint64_t got[32];
    for (uint32_t l = 0; l < lanes; l++)
        if (mask >> l & 1)
            got[l] = op->inst == I_ballot ? ballot
                                          : lane_value(warp, lanes, l, op->inst, as_int((vm_dtype)i->n, warp[l].r[i->b]));
    for (uint32_t l = 0; l < lanes; l++) {
        if (!(mask >> l & 1)) continue;
        warp[l].r[i->d] = got[l];
        warp[l].pc = i + 1;
        warp[l].stop = STOP_NONE;
    }
    return i;
}
H(warp_op) {
    (void)m;
    s->give = s->r[i->a];
    s->pc = i;
    s->stop = STOP_WARP;
    return NULL;
}
static void cc_warp(cc *c, const ir_op *op) {
    const uint32_t a = cc_use(c, op->ops[0]), b = op->nops > 1 ? cc_use(c, op->ops[1]) : 0;
    cc_put(c, op, warp_op, cc_def(c, op->res[0]), a, b, op->nops > 1 ? op->ops[1]->type.elem : 0);
}
void cc_shuffle(cc *c, const ir_op *op) { cc_warp(c, op); }
void cc_shuffle_up(cc *c, const ir_op *op) { cc_warp(c, op); }
void cc_shuffle_down(cc *c, const ir_op *op) { cc_warp(c, op); }
void cc_shuffle_xor(cc *c, const ir_op *op) { cc_warp(c, op); }
void cc_ballot(cc *c, const ir_op *op) { cc_warp(c, op); }

H(thread_sync) {
    (void)m;
    s->pc = i;
    s->stop = STOP_SYNC;
    return NULL;
}
void cc_sync(cc *c, const ir_op *op) {
    if (c->simt) cc_put(c, op, thread_sync, 0, 0, 0, 0); // elsewhere the group is one strand
}

// ---- running the threads ------------------------------------------------------------------------


static const ins *in_turn(mach *m, strand *s, const ins *i, const simt_info *z) {
    strand *t = &m->simts[z->number - 1].threads[0];
    const ins *body = m->p->code.at + z->body;
    for (uint32_t k = 0; k < z->threads; k++) {
        t->tid = k;
        if (k == 0) set_thread(t, s, z);
        else {
            t->r[z->tid_slot] = k;
            for (uint32_t e = 0; e < z->nargs; e++)
                t->r[z->inner[e]] = s->r[z->result[e] != UINT32_MAX ? z->result[e] : z->outer[e]];
        }
        t->pc = body;
        strand_run(m, t);
        if (t->stop == STOP_TRAP) {
            s->stop = STOP_TRAP;
            s->pc = i;
            return NULL;
        }
    }
    return i + i->jump;
}

static const ins *in_step(mach *m, strand *s, const ins *i, const simt_info *z, bool fresh) {
    strand *t = m->simts[z->number - 1].threads;
    const uint32_t n = z->threads;
    if (fresh)
        for (uint32_t k = 0; k < n; k++) {
            set_thread(&t[k], s, z);
            t[k].pc = m->p->code.at + z->body;
            t[k].stop = STOP_NONE;
        }
    for (;;) {
        bool moved = false;
        uint32_t ended = 0, synced = 0;
        for (uint32_t w = 0; w < n; w += 32) {
            const uint32_t lanes = n - w < 32 ? n - w : 32;
            for (;;) {
                uint32_t first = lanes;
                for (uint32_t l = 0; l < lanes; l++) {
                    strand *x = &t[w + l];
                    if (x->stop == STOP_NONE || x->stop == STOP_WAIT) {
                        const ins *before = x->pc;
                        const bool waited = x->stop == STOP_WAIT;
                        strand_run(m, x);
                        if (x->stop == STOP_TRAP) {
                            s->stop = STOP_TRAP;
                            s->pc = i;
                            return NULL;
                        }
                        if (!waited || x->pc != before || x->stop != STOP_WAIT) moved = true;
                    }
                    if (x->stop == STOP_WARP && first == lanes) first = l;
                }
                if (first == lanes) break;
                bool waiting = false; // a lane held up by memory or a barrier may yet come
                for (uint32_t l = 0; l < lanes; l++) waiting |= t[w + l].stop == STOP_WAIT;
                if (waiting) break;
                if (!meet(m, s, &t[w], lanes, first)) return NULL;
                moved = true;
            }
        }
        const strand *held = NULL;
        for (uint32_t k = 0; k < n; k++) {
            ended += t[k].stop == STOP_END;
            synced += t[k].stop == STOP_SYNC;
            if (t[k].stop == STOP_WAIT) held = &t[k];
        }
        if (ended == n) return i + i->jump;
        if (synced == n) {
            for (uint32_t k = 0; k < n; k++) {
                t[k].stop = STOP_NONE;
                t[k].pc++;
            }
            moved = true;
        }
        if (moved) {
            m->progress = true;
            continue;
        }
        if (held) return vm_block(s, i, held->waits, held->wait_bar, held->wait_arg);
        for (uint32_t k = 0; k < n; k++)
            if (t[k].stop == STOP_SYNC)
                return vm_trap(m, s, t[k].pc, "sync() is reached by %u of %u threads", synced, n);
        return vm_trap(m, s, i, "threads of simt wait for each other for ever");
    }
}

H(simt) {
    const simt_info *z = i->x;
    const bool fresh = !s->entered;
    if (fresh) {
        if (!make_threads(m, z)) return vm_trap(m, s, i, "out of memory");
        for (uint32_t k = 0; k < z->nargs; k++) {
            if (z->result[k] == UINT32_MAX) continue;
            char *d = tile_of(s->r[z->result[k]]);
            memcpy(d, tile_of(s->r[z->outer[k]]), z->bytes[k]);
            if (z->fill[k]) memset(d + z->bytes[k], 0xff, z->pbytes[k]);
        }
    }
    s->entered = false;
    const ins *next = z->lockstep ? in_step(m, s, i, z, fresh) : in_turn(m, s, i, z);
    if (!next && s->stop == STOP_WAIT) s->entered = true;
    return next;
}

// ---- making -------------------------------------------------------------------------------------

/// Which operand of the simt a tile value inside it comes from, or -1.
static int source_of(const ir_op *simt, const ir_value *v) {
    for (int guard = 0; guard < 10000; guard++) {
        if (!v->def) {
            const ir_op *o = v->owner ? v->owner->parent : NULL;
            if (!o) return -1;
            if (o == simt) return (int)v->index - 1;
            if (o->inst == I_for && v->index > 0) v = o->ops[v->index + 2];
            else if (o->inst == I_while) v = o->ops[v->index];
            else return -1;
            continue;
        }
        const ir_op *o = v->def;
        switch (o->inst) {
        case I_elem_set: v = o->ops[0]; break;
        case I_for: v = o->ops[v->index + 3]; break;
        case I_while: v = o->ops[v->index]; break;
        case I_if:
        case I_scope: {
            const ir_op *last = o->regions[0]->last;
            const ir_op *other = o->nregions > 1 ? o->regions[1]->last : NULL;
            const ir_op *y = last && last->inst == I_yield ? last : other && other->inst == I_yield ? other : last;
            if (!y || v->index >= y->nops || (y->inst != I_yield && y->inst != I_leave)) return -1;
            v = y->ops[v->index];
            break;
        }
        default: return -1;
        }
    }
    return -1;
}
static void find_meeting(ir_op *op, void *user) {
    bool *found = user;
    if (vm_insts[op->inst].cls == C_WARP || op->inst == I_sync || op->inst == I_wait || op->inst == I_wait_until ||
        op->inst == I_wait_for)
        *found = true;
}
H(thread_end) {
    (void)m;
    s->pc = i;
    s->stop = STOP_END;
    return NULL;
}

void cc_simt(cc *c, const ir_op *op) {
    ir_region *body = op->regions[0];
    simt_info *z = vm_new(c->arena, simt_info);
    vm_push(c->arena, &c->p->simts, z);
    z->number = ++c->p->nsimt;
    z->threads = (uint32_t)ir_group_threads(op);
    z->nargs = op->nops;
    z->outer = vm_newn(c->arena, uint32_t, op->nops + 1);
    z->inner = vm_newn(c->arena, uint32_t, op->nops + 1);
    z->result = vm_newn(c->arena, uint32_t, op->nops + 1);
    z->bytes = vm_newn(c->arena, size_t, op->nops + 1);
    z->pbytes = vm_newn(c->arena, size_t, op->nops + 1);
    z->fill = vm_newn(c->arena, bool, op->nops + 1);
    for (uint32_t k = 0; k < op->nops; k++) {
        z->outer[k] = cc_use(c, op->ops[k]);
        z->result[k] = UINT32_MAX;
        z->bytes[k] = cc_tile_bytes(c, op->ops[k]);
    }
    const ir_op *last = body->last;
    for (uint32_t r = 0; r < op->nres; r++) {
        int k = last->inst == I_yield && r < last->nops ? source_of(op, last->ops[r]) : -1;
        if (k < 0) k = (int)r;
        const ir_value *v = op->res[r];
        z->result[k] = cc_def(c, v);
        if (c->poison[v->id] && !c->poison[op->ops[k]->id]) {
            z->bytes[k] = poison_at(elems_of(&v->type), vm_cell(v->type.elem));
            z->fill[k] = true;
            z->pbytes[k] = (elems_of(&v->type) + 7) / 8;
        }
    }
    ir_walk(body, find_meeting, &z->lockstep);
    const uint32_t at = cc_put(c, op, simt, 0, 0, 0, 0);
    cc_at(c, at)->x = z;
    fdesc *fd = c->fd;
    cc_exit *exits = c->exits;
    const uint32_t outer = c->simt;
    simt_info *outer_info = c->info;
    c->fd = &z->frame;
    c->exits = NULL;
    c->simt = z->number;
    c->info = z;
    z->body = c->p->code.n;
    z->tid_slot = cc_def(c, body->args[0]);
    for (uint32_t k = 0; k < op->nops; k++) z->inner[k] = cc_def(c, body->args[k + 1]);
    cc_region(c, body);
    cc_put(c, op, thread_end, 0, 0, 0, 0);
    c->fd = fd;
    c->exits = exits;
    c->simt = outer;
    c->info = outer_info;
    cc_land(c, at);
}

// ---- elements -----------------------------------------------------------------------------------

typedef struct {
    cc_list l;
    int64_t dim[LAYOUT_MAX_RANK];
    unsigned cell;
    int32_t *owner, *canon; // first thread that owns an element; the first thread with a thread's elements
    size_t bits;            // poison bits, or 0
    const char *name;
} own_info;

static bool own_element(mach *m, strand *s, const ins *i, size_t *at) {
    const own_info *z = i->x;
    int64_t e = 0;
    for (uint32_t d = 0; d < z->l.n; d++) {
        const int64_t k = as_int((vm_dtype)z->l.type[d], s->r[z->l.slot[d]]);
        if (k < 0 || k >= z->dim[d]) {
            vm_trap(m, s, i, "thread %u: index %lld is outside of tile '%s'", s->tid, (long long)k, z->name);
            return false;
        }
        e = e * z->dim[d] + k;
    }
    if (z->owner && z->owner[e] != z->canon[s->tid]) {
        vm_trap(m, s, i, "thread %u does not own element %lld of '%s'", s->tid, (long long)e, z->name);
        return false;
    }
    *at = (size_t)e;
    return true;
}
H(elem_get) {
    const own_info *z = i->x;
    const char *tile = tile_of(s->r[i->a]);
    size_t e;
    if (!own_element(m, s, i, &e)) return NULL;
    if (z->bits && !((uint8_t)tile[z->bits + e / 8] >> (e % 8) & 1))
        return vm_trap(m, s, i, "thread %u reads element %zu of '%s' before it was written", s->tid, e, z->name);
    s->r[i->d] = cell_get(tile, z->cell, e);
    return i + 1;
}
H(elem_set) { // threads write their own elements only, so in place is as good as a new tile
    const own_info *z = i->x;
    char *tile = tile_of(s->r[i->a]);
    size_t e;
    if (!own_element(m, s, i, &e)) return NULL;
    if (z->bits) tile[z->bits + e / 8] = (char)(tile[z->bits + e / 8] | 1 << (e % 8));
    cell_set(tile, z->cell, e, s->r[i->b]);
    s->r[i->d] = s->r[i->a];
    return i + 1;
}
static own_info *own(cc *c, const ir_op *op, uint32_t to) {
    const ir_value *v = op->ops[0];
    const ir_type *t = &v->type;
    own_info *z = vm_new(c->arena, own_info);
    z->l = cc_operands(c, op, 1, to);
    memcpy(z->dim, t->dim, sizeof z->dim);
    z->cell = vm_cell(t->elem);
    z->name = v->name ? v->name : "tile";
    if (c->poison[v->id]) z->bits = poison_at(elems_of(t), z->cell);
    if (!t->reg) return z;
    int32_t shape[LAYOUT_MAX_RANK] = {0};
    for (int d = 0; d < t->rank; d++) shape[d] = (int32_t)t->dim[d];
    const int32_t *map = layout_linear_table(c->arena, t->reg, shape);
    const size_t n = elems_of(t), threads = (size_t)t->reg->threads, slots = (size_t)t->reg->slots;
    z->owner = vm_newn(c->arena, int32_t, n);
    z->canon = vm_newn(c->arena, int32_t, threads > c->info->threads ? threads : c->info->threads);
    for (size_t e = 0; e < n; e++) z->owner[e] = -1;
    for (size_t k = 0; k < c->info->threads; k++) z->canon[k] = -2;
    for (size_t k = 0; k < threads; k++) {
        z->canon[k] = -2;
        for (size_t j = 0; j < slots; j++) {
            const int32_t e = map[k * slots + j];
            if (e < 0) continue;
            if (z->owner[e] < 0) z->owner[e] = (int32_t)k;
            z->canon[k] = z->owner[e];
        }
    }
    return z;
}
void cc_elem_get(cc *c, const ir_op *op) {
    const own_info *z = own(c, op, op->nops);
    cc_at(c, cc_put(c, op, elem_get, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), 0, 0))->x = z;
}
void cc_elem_set(cc *c, const ir_op *op) {
    const own_info *z = own(c, op, op->nops - 1);
    const uint32_t v = cc_use(c, op->ops[op->nops - 1]);
    cc_at(c, cc_put(c, op, elem_set, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), v, 0))->x = z;
}
