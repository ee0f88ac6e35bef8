// SPDX-License-Identifier: Apache-2.0
// Asynchronous operations: when each reads its sources and writes its results, and cp.async itself.
// With schedule 0 both happen at the latest moment, the wait; otherwise each draws its own two
// times.
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/async.h"

// ---- engine -------------------------------------------------------------------------------------

vg_agents *vg_agents_of(vg_block *b) {
    if (!b->async) vg_async_block_begin(b);
    return b->async;
}

enum vg_next vg_no_memory(vg_warp *w, const vg_inst *in) {
    return vg_fail(w, in, 0, VG_OUT_OF_MEMORY, "no host memory for an asynchronous operation");
}

vg_issuer *vg_issuer_of(vg_warp *w) {
    if (!w->async) {
        vg_issuer *i = vg_agents_of(w->block) ? calloc(1, sizeof *i) : NULL;
        if (!i) return NULL;
        i->copy_end = &i->copy;
        w->async = i;
    }
    return w->async;
}

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void vg_async_block_begin(vg_block *b) {
    vg_agents *g = b->async ? b->async : calloc(1, sizeof *g);
    b->async = g;
    if (!g) return; // the first operation fails
    g->bulk_end = &g->bulk;
    g->arrivals = 0;
    memset(g->group, 0, sizeof g->group);
    memset(g->registers, 0, sizeof g->registers);
    for (int i = 0; i < 8; i++) g->group[i].end = &g->group[i].first;
    g->next_due = VG_NEVER;
    g->random = mix(b->run->gpu->options.schedule * 0x9e3779b97f4a7c15ull + b->linear);
}

static uint64_t draw(vg_agents *g) {
    return mix(g->random += 0x9e3779b97f4a7c15ull);
}

/// Many short delays, some long ones, and often "never": the latest moment finds most mistakes.
static uint64_t later(vg_agents *g, uint64_t from) {
    uint64_t x = draw(g);
    if (from == VG_NEVER || (x & 3) == 0) return VG_NEVER;
    if ((x & 3) == 1) return from;
    return from + (x >> 8) % (1ull << (1 + ((x >> 2) & 63) % 12));
}

void vg_draw(vg_block *b, vg_due *d) {
    vg_agents *g = b->async;
    d->read = d->write = VG_NEVER;
    if (!b->run->gpu->options.schedule) return;
    d->read = later(g, b->steps);
    d->write = later(g, d->read);
    if (d->read < g->next_due) g->next_due = d->read;
}

// ---- cp.async: one operation for the lanes of a warp that are in one group
// ------------------------

enum { HAS_SIZE = 1, HAS_IGNORE = 2, IGNORE_NOT = 4, WIDE_DST = 8, WIDE_SRC = 16 };

typedef struct {
    int64_t dst, src; // offsets of the addresses
    uint8_t flags;
    uint8_t dst_space;
} copy_args;

static vg_copy *new_copy(vg_warp *w, const vg_inst *in, uint32_t mask, uint32_t group) {
    vg_agents *g = w->block->async;
    vg_issuer *i = w->async;
    vg_copy *c = g->spare;
    if (c)
        g->spare = c->next;
    else if (!(c = malloc(sizeof *c)))
        return NULL;
    c->next = NULL;
    c->in = in;
    c->mask = c->lanes = mask;
    c->group = group;
    c->bytes = 0;
    c->has_read = c->done = false;
    c->ticket = NULL;
    c->nticket = 0;
    vg_draw(w->block, &c->due);
    *i->copy_end = c;
    i->copy_end = &c->next;
    return c;
}

/// The copy is known to be complete: to the warp that waits, or to whom the mbarrier lets on.
static void end_tickets(vg_warp *w, vg_copy *c, vg_block *owner, uint32_t bar) {
    for (uint32_t i = 0; i < c->nticket; i++)
        vg_san_async_end(w, c->ticket[i], owner != NULL, owner, bar);
    free(c->ticket);
    c->ticket = NULL;
    c->nticket = 0;
}

static void copy_read(vg_copy *c) {
    if (c->has_read) return;
    c->has_read = true;
    for (uint32_t m = c->bytes ? c->mask : 0; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        memset(c->data[l], 0, sizeof c->data[l]);
        memcpy(c->data[l], c->src[l], c->size[l]);
    }
}

/// Writes the lanes' part; the operation is done when all have it.
static void copy_write(vg_warp *w, vg_copy *c, uint32_t lanes) {
    (void)w;
    for (uint32_t m = c->mask & lanes; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        if (c->has_read)
            memcpy(c->dst[l], c->data[l], c->bytes);
        else if (c->size[l] == 16)
            memcpy(c->dst[l], c->src[l], 16);
        else {
            memmove(c->dst[l], c->src[l], c->size[l]);
            memset(c->dst[l] + c->size[l], 0, (size_t)(c->bytes - c->size[l]));
        }
    }
    c->mask &= ~lanes;
    c->done = !c->mask;
}

/// Arrives on the lanes' mbarriers, for which their copies before must be there.
static void copy_signal(vg_warp *w, vg_copy *c) {
    const uint32_t first = c->bar[__builtin_ctz(c->mask)];
    vg_copy *const head = ((vg_issuer *)w->async)->copy;
    for (vg_copy *o = head; o != c; o = o->next) // arrivals come in order
        if (!o->bytes && !o->done && o->lanes & c->mask) copy_signal(w, o);
    for (vg_copy *o = head; o != c; o = o->next) {
        if (!o->bytes || !(o->lanes & c->mask)) continue;
        copy_write(w, o, c->mask);
        if (o->done) end_tickets(w, o, w->block, first);
    }
    c->done = true;
    ((vg_agents *)w->block->async)->arrivals--;
    for (uint32_t m = c->mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        if (!vg_mbar_arrive(w, c->in, l, w->block, c->bar[l], 1, 0, NULL)) return;
    }
}

void vg_copy_force(vg_warp *w, vg_copy *c) {
    if (c->bytes)
        copy_write(w, c, UINT32_MAX);
    else
        copy_signal(w, c);
}

/// Drops what is done and no longer watched by the sanitizer.
static void drop_copies(vg_warp *w) {
    vg_issuer *i = w->async;
    vg_agents *g = w->block->async;
    vg_copy **p = &i->copy;
    while (*p) {
        vg_copy *c = *p;
        if (!c->done || c->nticket) {
            p = &c->next;
            continue;
        }
        free(c->ticket);
        *p = c->next;
        c->next = g->spare;
        g->spare = c;
    }
    i->copy_end = p;
}

/// Lanes that wait for c when `left` groups may stay open; ~0: for all, committed or not.
static uint32_t waiting(const vg_issuer *i, const vg_copy *c, uint32_t mask, uint32_t left) {
    uint32_t lanes = 0;
    for (uint32_t m = c->bytes ? c->lanes & mask : 0; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        if (left == UINT32_MAX || c->group + (uint64_t)left < i->copy_group[l]) lanes |= m & -m;
    }
    return lanes;
}

static enum vg_next wait_group(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_issuer *i = w->async;
    if (!i || !i->copy) return VG_NEXT;
    for (vg_copy *c = i->copy; c; c = c->next) {
        uint32_t lanes = waiting(i, c, mask, (uint32_t)in->imm);
        if (!lanes) continue;
        // the sanitizer knows operations, not lanes
        if (!c->done) copy_write(w, c, c->nticket ? UINT32_MAX : lanes);
        end_tickets(w, c, NULL, 0);
    }
    drop_copies(w);
    return VG_NEXT;
}

static enum vg_next commit_group(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_issuer *i = vg_issuer_of(w);
    if (!i) return vg_no_memory(w, in);
    for (uint32_t m = mask; m; m &= m - 1) i->copy_group[__builtin_ctz(m)]++;
    return VG_NEXT;
}

/// Host addresses of all lanes: one look at the whole span, each lane by itself only if that fails.
static bool resolve_all(vg_warp *w, const vg_inst *in, uint32_t mask, const uint64_t addr[32],
                        uint32_t n, uint32_t align, int space, int use, uint8_t *out[32]) {
    uint64_t lo = UINT64_MAX, hi = 0, bits = 0;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint64_t a = addr[__builtin_ctz(m)];
        lo = a < lo ? a : lo;
        hi = a > hi ? a : hi;
        bits |= a;
    }
    uint8_t *base = NULL;
    if (!(bits & (align - 1))) {
        if (space == PTX_GLOBAL)
            base = vg_global(w->run->gpu, lo, hi - lo + n);
        else if (space == PTX_SHARED && hi + n <= w->block->shared_bytes)
            base = w->block->shared + lo;
    }
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        int s = space;
        vg_block *owner = NULL;
        out[l] =
            base ? base + (addr[l] - lo) : vg_resolve(w, in, l, addr[l], n, align, use, &s, &owner);
        if (!out[l]) return false;
    }
    return true;
}

/// Tells the sanitizer of ranges, neighbours merged.
static void lease(vg_warp *w, vg_copy *c, vg_block *owner, int space, const uint64_t addr[32],
                  const uint8_t size[32], int use) {
    uint64_t at = 0, n = 0;
    for (uint32_t m = c->mask;; m &= m - 1) {
        uint32_t l = m ? (uint32_t)__builtin_ctz(m) : 0;
        if (m && n && at + n == addr[l]) {
            n += size[l];
            continue;
        }
        if (n) {
            if (!c->ticket && !(c->ticket = malloc(64 * sizeof *c->ticket))) return;
            c->ticket[c->nticket++] = vg_san_async(w, c->in, owner, space, at, n, use, "cp.async");
        }
        if (!m) return;
        at = addr[l];
        n = size[l];
    }
}

static enum vg_next copy(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const copy_args *x = in->aux;
    vg_issuer *is = vg_issuer_of(w);
    uint64_t dst[32] = {0}, src[32] = {0};
    uint8_t size[32], *to[32], *from[32];
    uint32_t n = in->bytes, readers = 0;
    if (!is) return vg_no_memory(w, in);
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        dst[l] = (x->flags & WIDE_DST ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l]) +
                 (uint64_t)x->dst;
        src[l] = (x->flags & WIDE_SRC ? VG_ROW64(w, in->s[1])[l] : VG_ROW32(w, in->s[1])[l]) +
                 (uint64_t)x->src;
        if (!(x->flags & WIDE_DST)) dst[l] = (uint32_t)dst[l];
        uint32_t k = n;
        if (x->flags & HAS_SIZE) k = VG_ROW32(w, in->s[2])[l];
        if (x->flags & HAS_IGNORE &&
            ((VG_PRED(w, in->s[2]) >> l & 1) != 0) != ((x->flags & IGNORE_NOT) != 0))
            k = 0;
        if (k > n)
            return vg_fail(w, in, l, VG_ILLEGAL_INSTRUCTION, "cp.async reads %u bytes to write %u",
                           k, n);
        size[l] = (uint8_t)k;
        if (k) readers |= 1u << l;
    }
    if (!resolve_all(w, in, mask, dst, n, n, x->dst_space, VG_WRITE, to)) return VG_STOP;
    if (readers == mask && !(x->flags & HAS_SIZE)) {
        if (!resolve_all(w, in, mask, src, n, n, PTX_GLOBAL, VG_READ, from)) return VG_STOP;
    } else {
        for (uint32_t m = mask; m; m &= m - 1) { // only the bytes read need exist
            uint32_t l = (uint32_t)__builtin_ctz(m);
            int s = PTX_GLOBAL;
            vg_block *owner = NULL;
            from[l] = to[l];
            if (!size[l]) continue;
            if (src[l] % n)
                return vg_fail(w, in, l, VG_MISALIGNED,
                               "cp.async reads at 0x%llx, not a multiple of %u",
                               (unsigned long long)src[l], n);
            if (!(from[l] = vg_resolve(w, in, l, src[l], size[l], 1, VG_READ, &s, &owner)))
                return VG_STOP;
        }
    }
    if (w->run->counts) {
        if (readers) vg_prof_memory(w, in, readers, PTX_GLOBAL, src, n);
        vg_prof_memory(w, in, mask, PTX_SHARED, dst, n);
    }
    for (uint32_t rest = mask; rest;) {
        uint32_t group = is->copy_group[__builtin_ctz(rest)], same = 0;
        for (uint32_t m = rest; m; m &= m - 1)
            if (is->copy_group[__builtin_ctz(m)] == group) same |= m & -m;
        rest &= ~same;
        vg_copy *c = new_copy(w, in, same, group);
        if (!c) return vg_no_memory(w, in);
        c->bytes = (uint8_t)n;
        memcpy(c->size, size, sizeof size);
        memcpy(c->dst, to, sizeof to);
        memcpy((void *)c->src, from, sizeof from);
        if (vg_sane(w)) {
            uint8_t full[32];
            memset(full, (int)n, sizeof full);
            for (uint32_t m = same; m; m &= m - 1)
                dst[__builtin_ctz(m)] &= (1u << VG_RANK_SHIFT) - 1;
            lease(w, c, NULL, PTX_GLOBAL, src, size, VG_READ);
            lease(w, c, w->block, PTX_SHARED, dst, full, VG_WRITE);
        }
    }
    return VG_NEXT;
}

typedef struct {
    int64_t offset;
    bool wide, noinc;
    uint8_t space;
} arrive_args;

static enum vg_next copy_arrive(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const arrive_args *x = in->aux;
    vg_copy *c = vg_issuer_of(w) ? new_copy(w, in, mask, 0) : NULL;
    if (!c) return vg_no_memory(w, in);
    vg_agents_of(w->block)->arrivals++;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        uint64_t a = x->wide ? VG_ROW64(w, in->s[0])[l] + (uint64_t)x->offset
                             : (uint32_t)(VG_ROW32(w, in->s[0])[l] + (uint64_t)x->offset);
        int space = x->space;
        vg_block *owner = NULL;
        uint8_t *p = vg_resolve(w, in, l, a, 8, 8, VG_ATOMIC, &space, &owner);
        if (!p) return VG_STOP;
        if (owner != w->block) {
            return vg_fail(w, in, l, VG_ILLEGAL_INSTRUCTION,
                           "cp.async.mbarrier.arrive on another block's mbarrier");
        }
        c->bar[l] = (uint32_t)(p - owner->shared);
        if (vg_sane(w)) {
            vg_san_mbarrier_use(w, in, l, owner, c->bar[l], false);
            vg_san_mbarrier(w, owner, c->bar[l], true, false);
        }
        if (!x->noinc && !vg_mbar_pending_add(w, in, l, owner, c->bar[l])) return VG_STOP;
    }
    return VG_NEXT;
}

// ---- progress -----------------------------------------------------------------------------------

/// Reads and writes what is due; the soonest of the rest goes to *next.
static bool step(vg_due due, uint64_t now, bool *has_read, bool *reads, bool *writes,
                 uint64_t *next) {
    *reads = !*has_read && due.read <= now;
    *writes = due.write <= now && (*reads || *has_read);
    uint64_t t = *writes ? VG_NEVER : (*reads || *has_read) ? due.write : due.read;
    if (t < *next) *next = t;
    return *reads || *writes;
}

static bool progress_copies(vg_warp *w, uint64_t now, bool all, uint64_t *next) {
    vg_issuer *i = w->async;
    bool any = false, dropped = false;
    for (vg_copy *c = i ? i->copy : NULL; c; c = c->next) {
        if (c->done) continue;
        bool r, x;
        if (all)
            r = x = true;
        else if (!step(c->due, now, &c->has_read, &r, &x, next))
            continue;
        if (x)
            vg_copy_force(w, c), dropped = true;
        else if (c->bytes)
            copy_read(c);
        else
            c->has_read = true;
        any = true;
    }
    if (dropped) drop_copies(w);
    return any;
}

static bool progress_bulk(vg_block *b, uint64_t now, bool all, uint64_t *next) {
    vg_agents *g = b->async;
    bool any = false;
    for (vg_bulk *o = g->bulk, *after; o; o = after) {
        after = o->next;
        if (o->done) continue;
        bool r, x;
        if (all)
            r = x = true;
        else if (!step(o->due, now, &o->has_read, &r, &x, next))
            continue;
        any = true;
        if (x)
            vg_bulk_write(o); // may free it
        else
            vg_bulk_read(o);
    }
    return any;
}

bool vg_async_progress(vg_block *b, bool all) {
    vg_agents *g = b->async;
    if (!g || (!all && b->steps < g->next_due)) return false;
    uint64_t next = VG_NEVER;
    bool any = progress_bulk(b, b->steps, all, &next);
    for (uint32_t i = 0; i < b->nwarps; i++)
        any |= progress_copies(&b->warp[i], b->steps, all, &next);
    any |= vg_matrix_progress(b, all, &next);
    g->next_due = next <= b->steps ? b->steps + 1 : next;
    return any;
}

static void drop_all_copies(vg_warp *w) {
    vg_issuer *i = w->async;
    if (!i) return;
    for (vg_copy *c = i->copy, *n; c; c = n) {
        n = c->next;
        free(c->ticket);
        free(c);
    }
    memset(i, 0, sizeof *i);
    i->copy_end = &i->copy;
}

void vg_async_warp_free(vg_warp *w) {
    drop_all_copies(w);
    free(w->async);
    w->async = NULL;
}

/// Operations that still go to or come from this block's shared memory are late: a defect, and done
/// now because the memory goes away.
static void finish_bulk(vg_block *b, vg_block *issuer) {
    vg_agents *g = issuer ? issuer->async : NULL;
    for (vg_bulk *o = g ? g->bulk : NULL, *after; o; o = after) {
        after = o->next;
        bool mine =
            issuer == b || o->src_owner == b || (o->targets >> b->rank & 1) || o->bar_owner == b;
        if (!mine) continue;
        bool touches = o->src_owner == b ? !o->has_read : (o->targets >> b->rank & 1) && !o->done;
        if (touches && vg_sane(o->warp)) {
            vg_report_defect(
                o->warp, o->in, o->lane, VG_D_exit, NULL, NULL,
                "block (%u,%u,%u) ends while this operation still %s its shared memory", b->id[0],
                b->id[1], b->id[2], o->src_owner == b ? "reads" : "writes");
        }
        if (!o->done && o->targets == 0)
            vg_bulk_write(o);
        else
            vg_bulk_unlink(g, o);
    }
}

void vg_async_block_end(vg_block *b) {
    vg_agents *g = b->async;
    if (!g) return;
    bool failed = atomic_load(&b->run->stop);
    if (!failed) {
        for (uint32_t r = 0; b->cluster && r < b->cluster->nblocks; r++)
            finish_bulk(b, b->cluster->block[r]);
    }
    while (g->bulk) vg_bulk_unlink(g, g->bulk);
    for (uint32_t i = 0; i < b->nwarps; i++) {
        vg_issuer *is = b->warp[i].async;
        for (vg_copy *c = is ? is->copy : NULL; c && !failed; c = c->next)
            if (c->bytes && !c->done && vg_sane(&b->warp[i])) {
                vg_report_defect(&b->warp[i], c->in, (uint32_t)__builtin_ctz(c->mask), VG_D_exit,
                                 NULL, NULL,
                                 "the block ends while this copy to its shared memory is open");
                break;
            }
        drop_all_copies(&b->warp[i]);
        b->warp[i].open_wgmmas = 0;
    }
    vg_matrix_free(g);
    for (uint32_t i = 0; i < g->cap_bar; i++) g->bar[i] = (vg_mbar){0};
    g->nbar = 0;
}

void vg_async_block_free(vg_block *b) {
    vg_agents *g = b->async;
    if (!g) return;
    while (g->bulk) vg_bulk_unlink(g, g->bulk);
    vg_matrix_free(g);
    for (vg_copy *c = g->spare, *n; c; c = n) {
        n = c->next;
        free(c);
    }
    free(g->bar);
    free(g);
    b->async = NULL;
}

// ---- decoding -----------------------------------------------------------------------------------

static void decode_copy(vg_decoder *d, vg_inst *out) {
    bool cg = vgd_mod(d, "cg");
    if (!cg && !vgd_mod(d, "ca")) {
        vgd_fail(d, "cp.async needs .ca or .cg");
        return;
    }
    copy_args *x = vgd_alloc(d, sizeof *x);
    if (vgd_mod(d, "shared") || vgd_mod(d, "shared::cta"))
        x->dst_space = PTX_SHARED;
    else {
        vgd_fail(d, "cp.async copies to .shared");
        return;
    }
    if (!vgd_mod(d, "global")) {
        vgd_fail(d, "cp.async copies from .global");
        return;
    }
    static const char *const prefetch[] = {"L2::64B", "L2::128B", "L2::256B", NULL};
    vgd_one_of(d, prefetch);
    uint32_t policy = vgd_mod(d, "L2::cache_hint");
    if (!vgd_count(d, 3 + policy, 4 + policy)) return;
    const ptx_opnd *o = d->in->opnd;
    if (o[2].kind != PTX_O_INT ||
        !(o[2].integer == 16 || (!cg && (o[2].integer == 4 || o[2].integer == 8)))) {
        vgd_fail(d, cg ? "cp.async.cg copies 16 bytes" : "cp.async.ca copies 4, 8 or 16 bytes");
        return;
    }
    bool wide;
    out->bytes = (uint8_t)o[2].integer;
    out->s[0] = vgd_address(d, &o[0], &wide, &x->dst);
    if (wide) x->flags |= WIDE_DST;
    out->s[1] = vgd_address(d, &o[1], &wide, &x->src);
    if (wide) x->flags |= WIDE_SRC;
    if (d->in->nopnd == 4 + policy) {
        if (o[3].kind == PTX_O_REG && o[3].reg >= 0 && d->func->reg[o[3].reg].type == PTX_pred) {
            x->flags |= HAS_IGNORE;
            if (o[3].negated) x->flags |= IGNORE_NOT;
            out->s[2] = vgd_pred(d, &o[3]);
        } else {
            x->flags |= HAS_SIZE;
            out->s[2] = vgd_source(d, &o[3], PTX_u32);
        }
    }
    out->space = PTX_GLOBAL;
    out->aux = x;
    out->run = copy;
}

static void decode_arrive(vg_decoder *d, vg_inst *out) {
    arrive_args *x = vgd_alloc(d, sizeof *x);
    vgd_mod(d, "arrive");
    vgd_mod(d, "b64");
    x->noinc = vgd_mod(d, "noinc");
    x->space = vgd_mod(d, "shared") || vgd_mod(d, "shared::cta") ? PTX_SHARED : PTX_GENERIC;
    if (!vgd_count(d, 1, 1)) return;
    out->s[0] = vgd_address(d, &d->in->opnd[0], &x->wide, &x->offset);
    out->aux = x;
    out->run = copy_arrive;
}

void vgd_cp(vg_decoder *d, vg_inst *out) {
    out->cls = VG_C_async;
    if (!vgd_mod(d, "async"))
        vgd_fail(d, "cp without .async");
    else if (vgd_mod(d, "bulk"))
        vgd_bulk(d, out);
    else if (vgd_mod(d, "mbarrier"))
        decode_arrive(d, out);
    else if (vgd_mod(d, "commit_group")) {
        if (vgd_count(d, 0, 0)) out->run = commit_group;
    } else if (vgd_mod(d, "wait_all")) {
        if (!vgd_count(d, 0, 0)) return;
        out->imm = UINT32_MAX;
        out->run = wait_group;
    } else if (vgd_mod(d, "wait_group")) {
        if (!vgd_count(d, 1, 1)) return;
        const ptx_opnd *o = &d->in->opnd[0];
        if (o->kind != PTX_O_INT || o->integer < 0 || o->integer >= UINT32_MAX) {
            vgd_fail(d, "cp.async.wait_group takes a count of groups");
            return;
        }
        out->imm = o->integer;
        out->run = wait_group;
    } else
        decode_copy(d, out);
}
