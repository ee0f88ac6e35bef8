// SPDX-License-Identifier: Apache-2.0
// Sanitizer: asynchronous work. Between issue and completion its destinations are in flight and its
// sources leased; whoever touches them is reported by san.c. At issue the work must be ordered after the
// accesses before it: those of the generic proxy by a fence of the thread that made them.
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/san.h"

/// cp.async is of the generic proxy; bulk and tensor copies and wgmma are of the asynchronous one.
static bool generic(const vg_inst *in) {
    const ptx_inst *const p = in->ptx;
    if (strcmp(p->op, "cp") != 0) return false;
    for (uint32_t i = 0; i < p->nmod; i++)
        if (!strcmp(p->mod[i], "bulk")) return false;
    return true;
}

static void tell(vg_warp *w, const vg_inst *in, const san_ticket *t, enum vg_defect what, const vg_inst *other, const char *how) {
    vg_report_defect(w, in, 0, what, other, NULL, "%s: %s of shared memory at 0x%llx %s", t->what,
                     t->use & VG_WRITE ? "write" : "read", (unsigned long long)t->at, how);
}

/// One cell of a range at issue. True: something was reported.
static bool issue_cell(vg_warp *w, const vg_inst *in, san_block *s, uint32_t i, const san_ticket *t) {
    const san_cell *const c = &s->cell[i];
    const san_know *const k = &SANW(w)->k;
    const uint32_t me = SANW(w)->agent, last = s->agents - 1;
    const bool writes = t->use & VG_WRITE, gen = generic(in);
    if (c->in_flight) {
        tell(w, in, t, VG_D_in_flight, c->write, "that other asynchronous work will still write");
        return true;
    }
    if (writes && c->leased) {
        tell(w, in, t, VG_D_leased, c->read, "that other asynchronous work still reads");
        return true;
    }
    if (c->wbytes) {
        const bool known = c->wagent == me || k->vc[c->wagent] >= c->wclock;
        if (!known) {
            tell(w, in, t, VG_D_race, c->write, "is not ordered after a write");
            return true;
        }
        if (!gen && c->wagent != last && k->fc[c->wagent] < c->wclock) {
            tell(w, in, t, VG_D_proxy, c->write, "needs fence.proxy.async by the thread that wrote there, before the barrier between them");
            return true;
        }
    }
    if (!writes || !c->readers) return false;
    const uint32_t *const reads = s->reads + (size_t)i * s->agents;
    for (uint32_t a = 0; a < s->agents; a++)
        if (a != me && reads[a] > k->vc[a]) {
            tell(w, in, t, VG_D_race, c->read, "is not ordered after a read");
            return true;
        }
    return false;
}

static bool range_of(const san_ticket *t, uint32_t *lo, uint32_t *hi) {
    const san_block *const s = t->owner ? SAN(t->owner) : NULL;
    if (!s || t->space == PTX_GLOBAL || !t->bytes || t->at + t->bytes > (uint64_t)s->ncells * CELL) return false;
    *lo = (uint32_t)(t->at / CELL);
    *hi = (uint32_t)((t->at + t->bytes - 1) / CELL);
    return true;
}

uint64_t vg_san_async(vg_warp *w, const vg_inst *in, vg_block *owner, int space, uint64_t addr, uint64_t bytes, int use,
                      const char *what) {
    san_block *const home = w->san ? SAN(w->block) : NULL;
    san_ticket *const t = home ? calloc(1, sizeof *t) : NULL;
    if (!t) return 0;
    const bool shared = space != PTX_GLOBAL;
    *t = (san_ticket){.owner = owner, .in = in, .what = what, .at = shared ? addr & ((1u << VG_RANK_SHIFT) - 1) : addr,
                      .bytes = bytes, .space = space, .use = use, .agent = SANW(w)->agent, .next = home->open, .prev = &home->open};
    if (t->next) t->next->prev = &t->next;
    home->open = t;
    san_gpu *const g = w->run->gpu->san;
    if (!shared && g && bytes && use & VG_READ && !san_bits_all(g->init, addr - VG_GLOBAL, bytes))
        vg_report_defect(w, in, 0, VG_D_uninit, NULL, NULL, "%s: read of %llu bytes of global memory at 0x%llx, not all of them written",
                         what, (unsigned long long)bytes, (unsigned long long)addr);
    uint32_t lo, hi;
    if (!range_of(t, &lo, &hi)) return (uint64_t)(uintptr_t)t;
    san_block *const s = SAN(owner);
    bool told = false;
    if (use & VG_READ && !san_bits_all(s->init, t->at, bytes)) {
        told = true;
        tell(w, in, t, VG_D_uninit, NULL, "that nobody has written");
    }
    for (uint32_t i = lo; i <= hi; i++) {
        san_cell *const c = &s->cell[i];
        if (!told) told = issue_cell(w, in, s, i, t);
        if (use & VG_WRITE) {
            c->in_flight = (uint8_t)(c->in_flight + (c->in_flight < 255));
            c->write = in;
        } else {
            c->leased = (uint8_t)(c->leased + (c->leased < 255));
            c->read = in;
        }
    }
    return (uint64_t)(uintptr_t)t;
}

/// What has landed counts as written, or read, by the warp that waited for it, or by the asynchronous
/// agent on behalf of those who wait at the mbarrier.
void vg_san_async_end(vg_warp *w, uint64_t ticket, bool by_mbarrier, vg_block *bar_owner, uint32_t bar) {
    san_ticket *const t = (san_ticket *)(uintptr_t)ticket;
    if (!t) return;
    *t->prev = t->next;
    if (t->next) t->next->prev = t->prev;
    if (t->space == PTX_GLOBAL && t->use & VG_WRITE) san_global_write(w->run->gpu, t->at, t->bytes);
    uint32_t lo, hi;
    if (range_of(t, &lo, &hi) && w->san) {
        san_block *const s = SAN(t->owner);
        const uint32_t last = s->agents - 1, agent = by_mbarrier ? last : SANW(w)->agent;
        const uint32_t clock = by_mbarrier ? ++s->tick : SANW(w)->k.vc[agent];
        for (uint32_t i = lo; i <= hi; i++) {
            san_cell *const c = &s->cell[i];
            uint32_t *const reads = s->reads + (size_t)i * s->agents;
            if (!(t->use & VG_WRITE)) {
                c->leased = (uint8_t)(c->leased - (c->leased > 0));
                reads[agent] = clock;
                c->readers = true;
                c->ragent = (uint16_t)agent;
                c->rlane = ANY_LANE;
                c->rbytes = 15;
                c->read = t->in;
                continue;
            }
            const uint8_t flying = (uint8_t)(c->in_flight - (c->in_flight > 0)), leased = c->leased;
            if (c->readers) memset(reads, 0, s->agents * sizeof *reads);
            *c = (san_cell){.write = t->in, .wclock = clock, .wagent = (uint16_t)agent, .ragent = NO_AGENT, .wlane = ANY_LANE,
                            .wbytes = 15, .in_flight = flying, .leased = leased};
        }
        if (t->use & VG_WRITE) san_bits_set(s->init, t->at, t->bytes, false);
        if (!generic(t->in) && !by_mbarrier && t->use & VG_WRITE) SANW(w)->k.fc[agent] = clock;
        san_know *const k = by_mbarrier && bar_owner && bar_owner->san ? san_sync_at(bar_owner, bar & ((1u << VG_RANK_SHIFT) - 1)) : NULL;
        if (k && k->vc[last] < clock) k->vc[last] = clock;
    }
    free(t);
}
