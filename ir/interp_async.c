// SPDX-License-Identifier: Apache-2.0
// The vm executor: barriers, asynchronous copies, waiting on memory, places, print and assert.
// Copies on a barrier land at once, and the barrier is modelled fully. Copies of groups land when their
// group is waited for, so that a wait that a pass forgot shows as a wrong result.
#include "ir/interp.h"
#include <math.h>

#define H(name) static const ins *name(mach *m, strand *s, const ins *i)

// ---- leaves -------------------------------------------------------------------------------------

H(block_id) {
    s->r[i->d] = (uint32_t)m->block[i->n];
    return i + 1;
}
H(grid_dim) {
    s->r[i->d] = (uint32_t)m->grid[i->n];
    return i + 1;
}
H(thread_id) {
    (void)m;
    s->r[i->d] = s->tid;
    return i + 1;
}
H(cluster_rank) {
    const int *cl = m->p->func->cluster;
    int64_t rank = 0;
    for (int d = 2; d >= 0; d--) {
        const int64_t n = cl[d] > 0 ? cl[d] : 1;
        rank = rank * n + m->block[d] % n;
    }
    s->r[i->d] = (uint32_t)rank;
    return i + 1;
}
/// The running block of that rank in m's cluster, or NULL.
static mach *peer_of(const mach *m, int64_t rank) {
    const int *cl = m->p->func->cluster;
    int64_t at[3];
    if (rank < 0 || !m->nall) return NULL;
    for (int d = 0; d < 3; d++) {
        const int64_t n = cl[d] > 0 ? cl[d] : 1;
        at[d] = m->block[d] - m->block[d] % n + rank % n;
        rank /= n;
    }
    for (size_t k = 0; !rank && k < *m->nall; k++)
        if (!memcmp(m->all[k]->block, at, sizeof at)) return m->all[k];
    return NULL;
}
enum { PEER_BITS = 48 }; // barriers: rank + 1 above the number of barriers
H(peer) { // n: of barriers
    const uint64_t x = s->r[i->a];
    const int64_t rank = as_int((vm_dtype)i->n, s->r[i->b]);
    mach *const q = peer_of(m, rank);
    if (!q) return vm_trap(m, s, i, "no block of rank %lld runs in this cluster; it may not have begun, or have ended", (long long)rank);
    if (i->x) {
        s->r[i->d] = (x & 0xffffffffffff) | (uint64_t)(rank + 1) << PEER_BITS;
        return i + 1;
    }
    rview *v = view_of(s->r[i->d]);
    *v = *view_of(x);
    v->base = q->mem + (v->base - m->mem);
    return i + 1;
}
void cc_peer(cc *c, const ir_op *op) {
    static const char barriers;
    const uint32_t at = cc_put(c, op, peer, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), op->ops[1]->type.elem);
    cc_at(c, at)->x = op->res[0]->type.space == IS_BARRIER ? &barriers : NULL;
}
static uint32_t axis(const ir_op *op) {
    const int64_t d = ir_int(op, AT_dim, 0);
    return d < 0 || d > 2 ? 0 : (uint32_t)d;
}
void cc_block_id(cc *c, const ir_op *op) { cc_put(c, op, block_id, cc_def(c, op->res[0]), 0, 0, axis(op)); }
void cc_grid_dim(cc *c, const ir_op *op) { cc_put(c, op, grid_dim, cc_def(c, op->res[0]), 0, 0, axis(op)); }
void cc_thread_id(cc *c, const ir_op *op) { cc_put(c, op, thread_id, cc_def(c, op->res[0]), 0, 0, 0); }
void cc_cluster_rank(cc *c, const ir_op *op) { cc_put(c, op, cluster_rank, cc_def(c, op->res[0]), 0, 0, 0); }

// ---- barriers -----------------------------------------------------------------------------------

typedef struct { uint32_t first, n, count; } bar_info;
H(alloc_barrier) {
    const bar_info *z = i->x;
    for (uint32_t k = 0; k < z->n; k++) m->bars[z->first + k] = (mbarrier){z->count, z->count, 0, 0};
    s->r[i->d] = z->first | (uint64_t)z->n << 32;
    return i + 1;
}
void cc_alloc_barrier(cc *c, const ir_op *op) {
    bar_info *z = vm_new(c->arena, bar_info);
    z->n = (uint32_t)ir_int(op, AT_extent, 1);
    z->count = (uint32_t)ir_int(op, AT_count, 1);
    z->first = c->p->nbars;
    c->p->nbars += z->n;
    cc_at(c, cc_put(c, op, alloc_barrier, cc_def(c, op->res[0]), 0, 0, 0))->x = z;
}
H(barrier_at) {
    const int64_t k = as_int((vm_dtype)i->n, s->r[i->b]), n = (int64_t)(s->r[i->a] >> 32 & 0xffff);
    if (k < 0 || k >= n) return vm_trap(m, s, i, "barrier %lld of an array of %lld", (long long)k, (long long)n);
    s->r[i->d] = ((uint32_t)s->r[i->a] + (uint64_t)k) | 1ULL << 32 | s->r[i->a] >> PEER_BITS << PEER_BITS;
    return i + 1;
}
void cc_barrier_at(cc *c, const ir_op *op) {
    cc_put(c, op, barrier_at, cc_def(c, op->res[0]), cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), op->ops[1]->type.elem);
}
static mbarrier *bar_of(mach *m, uint64_t slot) {
    mach *const q = slot >> PEER_BITS ? peer_of(m, (int64_t)(slot >> PEER_BITS) - 1) : m;
    return q ? &q->bars[(uint32_t)slot] : NULL;
}
static void complete(mach *m, mbarrier *b) {
    m->progress = true;
    if (b->pending || b->tx) return;
    b->phases++;
    b->pending = b->count;
}
static const ins *arrival(mach *m, strand *s, const ins *i, int64_t bytes) {
    mbarrier *b = bar_of(m, s->r[i->a]);
    if (!b) return vm_trap(m, s, i, "the block whose barrier this is has ended");
    if (b->pending == 0)
        return vm_trap(m, s, i, "more arrivals than the %u of the barrier in one phase", b->count);
    b->tx += bytes;
    b->pending--;
    complete(m, b);
    return i + 1;
}
H(arrive) { return arrival(m, s, i, 0); }
H(expect) { return arrival(m, s, i, as_int((vm_dtype)i->n, s->r[i->b])); }
H(wait_phase) {
    mbarrier *b = bar_of(m, s->r[i->a]);
    if (!b || b < m->bars || s->r[i->a] >> PEER_BITS) return vm_trap(m, s, i, "waits on a barrier of another block");
    const int64_t phase = as_int((vm_dtype)i->n, s->r[i->b]);
    if ((b->phases & 1) == (uint32_t)(phase & 1))
        return vm_block(s, i, phase & 1 ? "wait for a phase of parity 1" : "wait for a phase of parity 0",
                        (uint32_t)s->r[i->a], phase & 1);
    return i + 1;
}
void cc_arrive(cc *c, const ir_op *op) { cc_put(c, op, arrive, 0, cc_use(c, op->ops[0]), 0, 0); }
void cc_expect(cc *c, const ir_op *op) {
    cc_put(c, op, expect, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), op->ops[1]->type.elem);
}
void cc_wait(cc *c, const ir_op *op) {
    cc_put(c, op, wait_phase, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), op->ops[1]->type.elem);
}

// ---- asynchronous copies ------------------------------------------------------------------------

H(copy_on_barrier) { // n 1: the bytes were announced by expect; 0: the copy announces its own
    const rview *dst = view_of(s->r[i->a]);
    const char *why = view_copy(m, dst, view_of(s->r[i->b]));
    if (why) return vm_trap(m, s, i, "%s", why);
    if (i->n) {
        mbarrier *b = bar_of(m, s->r[i->c]);
        b->tx -= (int64_t)((view_elems(dst) * vm_mem_bits(dst->type) + 7) / 8);
        complete(m, b);
    }
    return i + 1;
}
/// Every block of the mask takes part, each with its own bytes: a barrier expects those of all of them.
H(copy_to_cluster) {
    const int64_t mask = *(const int64_t *)i->x;
    const rview *dst = view_of(s->r[i->a]), *src = view_of(s->r[i->b]);
    const int64_t bytes = (int64_t)((view_elems(dst) * vm_mem_bits(dst->type) + 7) / 8);
    const uint32_t at = (uint32_t)s->r[i->c];
    if (!i->n) m->bars[at].tx += bytes * __builtin_popcountll((uint64_t)mask);
    for (int rank = 0; rank < 16; rank++) {
        if (!(mask >> rank & 1)) continue;
        mach *const q = peer_of(m, rank);
        if (!q) return vm_trap(m, s, i, "no block of rank %d runs in this cluster; it may not have begun, or have ended", rank);
        rview there = *dst;
        there.base = q->mem + (dst->base - m->mem);
        const char *why = view_copy(m, &there, src);
        if (why) return vm_trap(m, s, i, "%s", why);
        q->bars[at].tx -= bytes;
        complete(q, &q->bars[at]);
    }
    m->progress = true;
    return i + 1;
}
H(issue) {
    if (m->nlate == m->late_cap) {
        const uint32_t cap = m->late_cap ? m->late_cap * 2 : 16;
        late_copy *more = vm_take(m, cap * sizeof *more);
        if (!more) return vm_trap(m, s, i, "out of memory");
        if (m->nlate) memcpy(more, m->late, m->nlate * sizeof *more);
        vm_release(m, m->late, m->late_cap * sizeof *more);
        m->late = more;
        m->late_cap = cap;
    }
    m->late[m->nlate++] = (late_copy){s, s->groups, *view_of(s->r[i->a]), *view_of(s->r[i->b])};
    return i + 1;
}
H(commit) {
    (void)m;
    s->groups++;
    return i + 1;
}
H(wait_group) { // n: groups that may stay open
    uint32_t kept = 0;
    const char *why = NULL;
    for (uint32_t k = 0; k < m->nlate; k++) {
        const late_copy *c = &m->late[k];
        if (c->owner != s || c->group + i->n >= s->groups) m->late[kept++] = *c;
        else if (!why) why = view_copy(m, &c->dst, &c->src);
    }
    m->nlate = kept;
    return why ? vm_trap(m, s, i, "asynchronous copy: %s", why) : i + 1;
}
static void cc_landing(cc *c, const ir_op *op, bool announced) {
    if (op->nops < 3) {
        if (c->p->late && op->inst == I_copy_async)
            cc_put(c, op, issue, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), 0);
        else cc_copy(c, op);
        return;
    }
    const uint32_t bar = cc_use(c, op->ops[2]);
    const int64_t mask = ir_int(op, AT_multicast, 0);
    const uint32_t at = cc_put(c, op, mask ? copy_to_cluster : copy_on_barrier, 0, cc_use(c, op->ops[0]), cc_use(c, op->ops[1]), announced);
    cc_at(c, at)->c = bar;
    if (mask) cc_at(c, at)->x = vm_dup(c->arena, &mask, sizeof mask);
}
void cc_copy_async(cc *c, const ir_op *op) { cc_landing(c, op, false); }
void cc_tma_load(cc *c, const ir_op *op) { cc_landing(c, op, true); }
void cc_tma_store(cc *c, const ir_op *op) { cc_copy(c, op); }
void cc_commit_group(cc *c, const ir_op *op) { cc_put(c, op, commit, 0, 0, 0, 0); }
void cc_wait_group(cc *c, const ir_op *op) {
    if (ir_get(op, AT_of)) return; // products land at once
    cc_put(c, op, wait_group, 0, 0, 0, (uint32_t)ir_int(op, AT_count, 0));
}
void cc_wait_stores(cc *c, const ir_op *op) { (void)c, (void)op; } // stores land at once
void cc_wait_previous(cc *c, const ir_op *op) { (void)c, (void)op; } // launches run one after another
void cc_launch_next(cc *c, const ir_op *op) { (void)c, (void)op; }
void cc_fence(cc *c, const ir_op *op) { (void)c, (void)op; } // memory is one and in order
void cc_wait_value(cc *c, const ir_op *op) { cc_relayout(c, op); }

// ---- waiting on memory --------------------------------------------------------------------------

typedef struct { cc_list l; vm_inst cmp; vm_dtype type; } cell_info;
H(wait_cell) { // a: view, b: value
    const cell_info *z = i->x;
    const rview *v = view_of(s->r[i->a]);
    const char *why = NULL;
    int64_t off;
    if (!view_where(v, s->r, z->l.n, z->l.slot, z->l.type, &off, &why))
        return vm_trap(m, s, i, "%s", why ? why : "waits on a cell out of bounds");
    const uint64_t args[3] = {view_get(v, off), s->r[i->b], 0};
    if (vm_eval(z->cmp, z->type, args)) return i + 1;
    return vm_block(s, i, "waits for a cell of memory", UINT32_MAX, -1);
}
H(signal_cell) {
    const cell_info *z = i->x;
    const rview *v = view_of(s->r[i->a]);
    const char *why = NULL;
    int64_t off;
    if (view_where(v, s->r, z->l.n, z->l.slot, z->l.type, &off, &why)) view_set(v, off, s->r[i->b]);
    else return vm_trap(m, s, i, "%s", why ? why : "signals a cell out of bounds");
    return i + 1;
}
static void cc_cell(cc *c, const ir_op *op, ins_fn fn, vm_inst cmp) {
    cell_info *z = vm_new(c->arena, cell_info);
    z->l = cc_operands(c, op, 1, op->nops - 1);
    z->cmp = cmp;
    z->type = op->ops[0]->type.elem;
    const uint32_t v = cc_use(c, op->ops[op->nops - 1]);
    cc_at(c, cc_put(c, op, fn, 0, cc_use(c, op->ops[0]), v, 0))->x = z;
}
void cc_wait_until(cc *c, const ir_op *op) {
    vm_inst cmp;
    const char *name = ir_str(op, AT_cmp);
    cc_cell(c, op, wait_cell, name && vm_inst_find(name, &cmp) ? cmp : I_eq);
}
void cc_wait_for(cc *c, const ir_op *op) { cc_cell(c, op, wait_cell, I_ge); }
void cc_signal(cc *c, const ir_op *op) { cc_cell(c, op, signal_cell, I_eq); }

H(cluster_sync) {
    const int *cl = m->p->func->cluster;
    int64_t size = 1, id = 0;
    for (int d = 2; d >= 0; d--) {
        const int64_t n = cl[d] > 0 ? cl[d] : 1;
        size *= n;
        id = id * ((m->grid[d] + n - 1) / n) + m->block[d] / n;
    }
    if (!s->entered) {
        s->entered = true;
        m->clusters[id]++;
        m->cluster_seen++;
        m->progress = true;
    }
    if (m->clusters[id] < m->cluster_seen * size)
        return vm_block(s, i, "waits for the other blocks of its cluster", UINT32_MAX, -1);
    s->entered = false;
    return i + 1;
}
void cc_cluster_sync(cc *c, const ir_op *op) { cc_put(c, op, cluster_sync, 0, 0, 0, 0); }

// ---- print, assert ------------------------------------------------------------------------------

static void put(mach *m, const char *text, size_t n) {
    if (m->run->print) m->run->print(m->run->user, text, n);
}
static void put_code(mach *m, vm_dtype t, uint64_t code) {
    char text[64];
    int n;
    if (t == T_bool) n = snprintf(text, sizeof text, "%s", code & 1 ? "true" : "false");
    else if (!vm_is_int(t)) n = snprintf(text, sizeof text, "%.9g", vm_decode(t, code));
    else if (vm_is_signed(t)) n = snprintf(text, sizeof text, "%lld", (long long)as_int(t, code));
    else n = snprintf(text, sizeof text, "%llu", (unsigned long long)code);
    put(m, text, (size_t)n);
}
static size_t put_tile(mach *m, const ir_type *t, const void *cells, int d, size_t at) {
    if (d == t->rank) {
        put_code(m, t->elem, cell_get(cells, vm_cell(t->elem), at));
        return at + 1;
    }
    put(m, "[", 1);
    for (int64_t k = 0; k < t->dim[d]; k++) {
        if (k && d + 1 < t->rank) put(m, ",\n ", 3);
        else if (k) put(m, ", ", 2);
        at = put_tile(m, t, cells, d + 1, at);
    }
    put(m, "]", 1);
    return at;
}
H(print) {
    const cc_list *l = i->x;
    const char *f = ir_str(i->op, AT_format);
    uint32_t k = 0;
    for (f = f ? f : ""; *f;) {
        const char *hole = strstr(f, "{}");
        if (!hole || k >= l->n) {
            put(m, f, strlen(f));
            break;
        }
        put(m, f, (size_t)(hole - f));
        const ir_type *t = &i->op->ops[k]->type;
        if (t->space == IS_REG) put_tile(m, t, tile_of(s->r[l->slot[k]]), 0, 0);
        else put_code(m, t->elem, s->r[l->slot[k]]);
        k++;
        f = hole + 2;
    }
    put(m, "\n", 1);
    return i + 1;
}
void cc_print(cc *c, const ir_op *op) {
    cc_list *l = vm_new(c->arena, cc_list);
    *l = cc_operands(c, op, 0, op->nops);
    cc_at(c, cc_put(c, op, print, 0, 0, 0, 0))->x = l;
}
H(check) {
    if (s->r[i->a] & 1) return i + 1;
    const char *text = ir_str(i->op, AT_message);
    return vm_trap(m, s, i, "assertion failed%s%s", text ? ": " : "", text ? text : "");
}
void cc_assert(cc *c, const ir_op *op) { cc_put(c, op, check, 0, cc_use(c, op->ops[0]), 0, 0); }
void cc_assume(cc *c, const ir_op *op) { (void)c, (void)op; }

H(no_meaning) { return vm_trap(m, s, i, "%s has no meaning on the VM", vm_insts[i->op->inst].name); }
static void cc_none(cc *c, const ir_op *op) {
    for (uint32_t k = 0; k < op->nres; k++) cc_def(c, op->res[k]);
    cc_put(c, op, no_meaning, 0, 0, 0, 0);
}
void cc_ptx(cc *c, const ir_op *op) { cc_none(c, op); }
void cc_host_check(cc *c, const ir_op *op) { cc_none(c, op); }
void cc_host_extent(cc *c, const ir_op *op) { cc_none(c, op); }
void cc_host_tensor(cc *c, const ir_op *op) { cc_none(c, op); }
void cc_host_launch(cc *c, const ir_op *op) { cc_none(c, op); }
