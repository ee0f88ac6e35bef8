// SPDX-License-Identifier: Apache-2.0
// Sanitizer: what generic accesses of warps do to shadow memory, and what synchronisation does to
// clocks. Asynchronous work is in san_async.c, reports are in report.c.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "runtime/vgpu/san.h"

void san_thread(const vg_warp *w, uint32_t lane, unsigned out[3]) {
    const unsigned *const d = w->run->config->block;
    const unsigned t = w->id * 32 + lane, x = d[0] ? d[0] : 1, y = d[1] ? d[1] : 1;
    out[0] = t % x;
    out[1] = t / x % y;
    out[2] = t / x / y;
}

// ---- bits ---------------------------------------------------------------------------------------

static uint8_t mask_of(uint64_t lo, uint64_t hi) { return (uint8_t)((0xffu << lo) & (0xffu >> (8 - hi))); }

void san_bits_set(uint8_t *bits, uint64_t at, uint64_t n, bool shared) {
    const uint64_t end = at + n;
    while (at < end) {
        uint8_t *const p = bits + at / 8;
        const uint64_t lo = at % 8, hi = end - at + lo < 8 ? end - at + lo : 8;
        const uint8_t m = mask_of(lo, hi);
        if (!shared) *p |= m;
        else if ((__atomic_load_n(p, __ATOMIC_RELAXED) & m) != m) __atomic_fetch_or(p, m, __ATOMIC_RELAXED);
        at += hi - lo;
    }
}

bool san_bits_all(const uint8_t *bits, uint64_t at, uint64_t n) {
    const uint64_t end = at + n;
    while (at < end) {
        const uint64_t lo = at % 8, hi = end - at + lo < 8 ? end - at + lo : 8;
        const uint8_t m = mask_of(lo, hi);
        if ((__atomic_load_n(bits + at / 8, __ATOMIC_RELAXED) & m) != m) return false;
        at += hi - lo;
    }
    return true;
}

static void bits_clear(uint8_t *bits, uint64_t at, uint64_t n) {
    for (uint64_t i = at; i < at + n;) {
        if (i % 8 == 0 && at + n - i >= 8) {
            const uint64_t bytes = (at + n - i) / 8;
            memset(bits + i / 8, 0, bytes);
            i += 8 * bytes;
        } else {
            bits[i / 8] &= (uint8_t) ~(1u << i % 8);
            i++;
        }
    }
}

// ---- device memory ------------------------------------------------------------------------------

static void *reserve(size_t n) {
    void *const p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/// The state of a machine, made at first use. NULL: no memory, and then nothing is checked.
static san_gpu *state(vg_gpu *g) {
    if (g->san) return g->san;
    san_gpu *const s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->init_bytes = g->reserved / 8 + 1;
    s->mark_bytes = g->reserved / 128 + 1;
    s->init = reserve(s->init_bytes);
    s->now = reserve(s->mark_bytes);
    s->previous = reserve(s->mark_bytes);
    if (s->init && s->now && s->previous) return g->san = s;
    if (s->init) munmap(s->init, s->init_bytes);
    if (s->now) munmap(s->now, s->mark_bytes);
    if (s->previous) munmap(s->previous, s->mark_bytes);
    free(s);
    return NULL;
}

void vg_san_destroy(vg_gpu *g) {
    san_gpu *const s = g->san;
    if (!s) return;
    munmap(s->init, s->init_bytes);
    munmap(s->now, s->mark_bytes);
    munmap(s->previous, s->mark_bytes);
    free(s);
    g->san = NULL;
}

void vg_san_host_write(vg_gpu *g, uint64_t addr, uint64_t bytes) {
    san_gpu *const s = state(g);
    if (s) san_bits_set(s->init, addr - VG_GLOBAL, bytes, false);
}

void vg_san_alloc(vg_gpu *g, uint64_t addr, uint64_t bytes, bool freed) {
    san_gpu *const s = state(g);
    (void)freed; // an access to it is out of bounds
    if (s) bits_clear(s->init, addr - VG_GLOBAL, bytes);
}

void vg_san_launch(vg_run *r, bool begin) {
    san_gpu *const s = state(r->gpu);
    if (!s || !begin) return;
    uint8_t *const old = s->previous;
    s->previous = s->now;
    s->now = old;
    madvise(old, s->mark_bytes, MADV_DONTNEED); // private and anonymous: zero again
    s->have_previous = r->config->dependent;
}

void san_global_write(vg_gpu *g, uint64_t addr, uint64_t bytes) {
    san_gpu *const s = g->san;
    if (!s || !bytes) return;
    const uint64_t at = addr - VG_GLOBAL;
    san_bits_set(s->init, at, bytes, true);
    san_bits_set(s->now, at / 16, (at + bytes - 1) / 16 - at / 16 + 1, true);
}

static bool of_previous(const san_gpu *s, uint64_t at, uint32_t bytes) {
    for (uint64_t i = at / 16; i <= (at + bytes - 1) / 16; i++)
        if (s->previous[i / 8] >> i % 8 & 1) return true;
    return false;
}

static void global_access(vg_warp *w, const vg_inst *in, uint32_t mask, const uint64_t addr[32], uint32_t bytes, int use) {
    san_gpu *const s = w->run->gpu->san;
    if (!s) return;
    bool told = false;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m);
        const uint64_t at = addr[l] - VG_GLOBAL;
        if (s->have_previous && !w->waited && !told && of_previous(s, at, bytes)) {
            told = true;
            vg_report_defect(w, in, l, VG_D_dependent, NULL, NULL,
                             "%s of %u bytes at 0x%llx, which the launch before has written, ahead of griddepcontrol.wait",
                             use & VG_WRITE ? "write" : "read", bytes, (unsigned long long)addr[l]);
        }
        if (use & (VG_READ | VG_ATOMIC) && !told && !san_bits_all(s->init, at, bytes)) {
            told = true;
            vg_report_defect(w, in, l, VG_D_uninit, NULL, NULL, "read of %u bytes of global memory at 0x%llx that nobody has written",
                             bytes, (unsigned long long)addr[l]);
        }
        if (use & (VG_WRITE | VG_ATOMIC)) san_global_write(w->run->gpu, addr[l], bytes);
    }
    if (use & VG_ATOMIC)
        for (uint32_t m = mask; m; m &= m - 1) {
            const uint64_t a = addr[__builtin_ctz(m)];
            san_know *const k = san_sync_at(w->block, a);
            if (!k) return;
            san_join(SAN(w->block), &SANW(w)->k, k);
            san_join(SAN(w->block), k, &SANW(w)->k);
        }
    if (use & VG_ATOMIC) {
        SANW(w)->epoch++;
        san_tick(w);
    }
}

static void local_access(vg_warp *w, const vg_inst *in, uint32_t mask, const uint64_t addr[32], uint32_t bytes, int use) {
    san_block *const s = SAN(w->block);
    const uint32_t each = w->run->local_stride;
    if (!s->local || !each || !strcmp(in->ptx->mod[0], "param")) return; // calls write parameters
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m);
        const uint64_t off = addr[l];
        if (off + bytes > each) continue; // beyond the static frame
        const uint64_t at = (uint64_t)(w->id * 32 + l) * each + off;
        if (use & VG_READ && !san_bits_all(s->local, at, bytes)) {
            vg_report_defect(w, in, l, VG_D_uninit, NULL, NULL, "read of %u bytes of local memory at 0x%llx that the thread has not written",
                             bytes, (unsigned long long)off);
            return;
        }
        if (use & VG_WRITE) san_bits_set(s->local, at, bytes, false);
    }
}

// ---- clocks -------------------------------------------------------------------------------------

void san_join(const san_block *s, san_know *to, const san_know *from) {
    for (uint32_t i = 0; i < s->agents; i++) {
        if (from->vc[i] > to->vc[i]) to->vc[i] = from->vc[i];
        if (from->fc[i] > to->fc[i]) to->fc[i] = from->fc[i];
    }
}

void san_tick(vg_warp *w) { SANW(w)->k.vc[SANW(w)->agent]++; }

static bool know_init(san_know *k, uint32_t agents) {
    k->vc = calloc(agents, sizeof *k->vc);
    k->fc = calloc(agents, sizeof *k->fc);
    return k->vc && k->fc;
}
static void know_free(san_know *k) {
    free(k->vc);
    free(k->fc);
}

static san_sync *find(san_sync *table, uint32_t cap, uint64_t key) {
    uint64_t h = key * 0x9E3779B97F4A7C15ull >> 32;
    while (table[h % cap].key && table[h % cap].key != key) h++;
    return &table[h % cap];
}

san_know *san_sync_at(vg_block *b, uint64_t key) {
    san_block *const s = SAN(b);
    if (!s) return NULL;
    key |= 1ull << 63; // never 0
    if (2 * (s->nsync + 1) > s->cap_sync) {
        const uint32_t cap = s->cap_sync ? 2 * s->cap_sync : 32;
        san_sync *const more = calloc(cap, sizeof *more);
        if (!more) return NULL;
        for (uint32_t i = 0; i < s->cap_sync; i++)
            if (s->sync[i].key) *find(more, cap, s->sync[i].key) = s->sync[i];
        free(s->sync);
        s->sync = more;
        s->cap_sync = cap;
    }
    san_sync *const e = find(s->sync, s->cap_sync, key);
    if (e->key) return &e->k;
    if (!know_init(&e->k, s->agents)) {
        know_free(&e->k);
        e->k = (san_know){0};
        return NULL;
    }
    e->key = key;
    s->nsync++;
    return &e->k;
}

static void release(vg_warp *w, san_know *k) {
    san_join(SAN(w->block), k, &SANW(w)->k);
    san_tick(w);
}
static void acquire(vg_warp *w, const san_know *k) {
    san_join(SAN(w->block), &SANW(w)->k, k);
    SANW(w)->epoch++;
}

void vg_san_bar(vg_warp *w, const vg_inst *in, int bar, bool arrive, bool leave) {
    (void)in;
    if (!w->san) return;
    san_know *const k = &SAN(w->block)->bar[bar & 15];
    if (arrive) release(w, k);
    if (leave) acquire(w, k);
}

/// Each block has its copy: the others may have ended when it leaves.
void vg_san_cluster_bar(vg_warp *w, bool arrive, bool leave) {
    const vg_cluster *const c = w->block->cluster;
    if (!w->san) return;
    for (uint32_t i = 0; arrive && i < c->nblocks; i++)
        if (c->block[i]->san) san_join(SAN(c->block[i]), &SAN(c->block[i])->cluster, &SANW(w)->k);
    if (arrive) san_tick(w);
    if (leave) acquire(w, &SAN(w->block)->cluster);
}

void vg_san_warp_sync(vg_warp *w, uint32_t mask) {
    (void)mask;
    if (w->san) SANW(w)->epoch++;
}

void vg_san_fence(vg_warp *w, const vg_inst *in, int scope, bool proxy) {
    (void)in;
    (void)scope;
    if (!w->san) return;
    san_warp *const s = SANW(w);
    if (!proxy) return;
    s->k.fc[s->agent] = s->k.vc[s->agent];
    san_tick(w);
}

// ---- shared memory ------------------------------------------------------------------------------

/// Thread of another agent's lane; a lane that is not known counts as the warp's first.
static void other_thread(const vg_warp *w, uint32_t agent, uint32_t lane, unsigned out[3]) {
    const vg_warp other = {.run = w->run, .id = agent % w->block->nwarps};
    san_thread(&other, lane == ANY_LANE ? 0 : lane, out);
}

static const char *verb(int use) { return use & VG_ATOMIC ? "atomic access" : use & VG_WRITE ? "write" : "read"; }

typedef struct {
    vg_warp *w;
    const vg_inst *in;
    vg_block *owner;
    uint64_t addr;
    uint32_t lane, bytes;
    int use;
} access;

static void tell(const access *a, enum vg_defect what, const vg_inst *other, uint32_t agent, uint32_t lane, const char *how) {
    unsigned t[3] = {0, 0, 0};
    if (agent != NO_AGENT && agent < SAN(a->w->block)->agents - 1) other_thread(a->w, agent, lane, t);
    vg_report_defect(a->w, a->in, a->lane, what, other, t, "%s of %u bytes of shared memory at 0x%llx %s",
                     verb(a->use), a->bytes, (unsigned long long)a->addr, how);
}

/// Looks at one cell. True: something was reported.
static bool check_cell(const access *a, san_cell *c, const uint32_t *reads, uint32_t need) {
    const san_warp *const s = SANW(a->w);
    const bool writes = a->use & (VG_WRITE | VG_ATOMIC);
    if (c->in_flight) {
        tell(a, VG_D_in_flight, c->write, NO_AGENT, 0, "that asynchronous work will still write");
        return true;
    }
    if (writes && c->leased) {
        tell(a, VG_D_leased, c->read, NO_AGENT, 0, "that asynchronous work still reads");
        return true;
    }
    if (c->wbytes & need && !(c->flags & F_ATOMIC && a->use & VG_ATOMIC)) {
        if (c->wagent != s->agent) {
            if (s->k.vc[c->wagent] < c->wclock) {
                tell(a, VG_D_race, c->write, c->wagent, c->wlane, "is not ordered after a write");
                return true;
            }
        } else if (c->wlane != a->lane && c->wlane != ANY_LANE && c->wepoch == s->epoch && c->wstep != (uint32_t)a->w->clock) {
            tell(a, VG_D_race, c->write, c->wagent, c->wlane, "is not ordered after another lane's write");
            return true;
        }
    }
    if (!writes || !c->readers || !(c->rbytes & need)) return false;
    const uint32_t n = SAN(a->owner)->agents;
    for (uint32_t i = 0; i < n; i++)
        if (i != s->agent && reads[i] > s->k.vc[i]) {
            tell(a, VG_D_race, c->read, i, c->ragent == i ? c->rlane : ANY_LANE, "is not ordered after a read");
            return true;
        }
    if (c->ragent == s->agent && c->rlane != a->lane && c->rlane != ANY_LANE && c->repoch == s->epoch && c->read != a->in) {
        tell(a, VG_D_race, c->read, c->ragent, c->rlane, "is not ordered after another lane's read");
        return true;
    }
    return false;
}

static void note_cell(const access *a, san_cell *c, uint32_t *reads, uint32_t bytes) {
    const san_warp *const s = SANW(a->w);
    if (a->use & VG_READ && !(a->use & VG_WRITE)) {
        reads[s->agent] = s->k.vc[s->agent];
        c->readers = true;
        c->ragent = (uint16_t)s->agent;
        c->rlane = (uint8_t)a->lane;
        c->rbytes |= (uint8_t)bytes;
        c->read = a->in;
        c->repoch = s->epoch;
    }
    if (!(a->use & (VG_WRITE | VG_ATOMIC))) return;
    if (c->readers) memset(reads, 0, SAN(a->owner)->agents * sizeof *reads);
    *c = (san_cell){.wclock = s->k.vc[s->agent], .write = a->in, .wepoch = s->epoch, .wstep = (uint32_t)a->w->clock,
                    .wagent = (uint16_t)s->agent, .ragent = NO_AGENT, .wlane = (uint8_t)a->lane, .wbytes = (uint8_t)bytes,
                    .flags = a->use & VG_ATOMIC ? F_ATOMIC : 0, .in_flight = c->in_flight, .leased = c->leased,
                    .read = c->read};
}

/// Bytes of cell i that [at, at + n) covers, as a mask.
static uint32_t covered(uint32_t i, uint64_t at, uint32_t n) {
    const uint64_t lo = at > (uint64_t)i * CELL ? at - (uint64_t)i * CELL : 0;
    const uint64_t end = at + n - (uint64_t)i * CELL, hi = end < CELL ? end : CELL;
    return (15u << lo) & (15u >> (CELL - hi)) & 15u;
}

static void shared_access(vg_warp *w, const vg_inst *in, uint32_t mask, vg_block *const owner[32], const uint64_t addr[32],
                          uint32_t bytes, int use) {
    bool told = false;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m);
        vg_block *const b = owner ? owner[l] : w->block;
        san_block *const s = b ? SAN(b) : NULL;
        const uint64_t at = addr[l] & ((1u << VG_RANK_SHIFT) - 1);
        if (!s || at + bytes > (uint64_t)s->ncells * CELL) continue;
        const access a = {w, in, b, at, l, bytes, use};
        if (use & VG_ATOMIC) {
            san_know *const k = san_sync_at(b, at);
            if (k) san_join(s, &SANW(w)->k, k);
        }
        for (uint32_t i = (uint32_t)(at / CELL); i <= (uint32_t)((at + bytes - 1) / CELL); i++) {
            san_cell *const c = &s->cell[i];
            uint32_t *const reads = s->reads + (size_t)i * s->agents;
            const uint32_t need = covered(i, at, bytes);
            if (!told) told = check_cell(&a, c, reads, need);
            note_cell(&a, c, reads, need);
        }
        if (use & (VG_READ | VG_ATOMIC) && !told && !san_bits_all(s->init, at, bytes)) {
            told = true;
            tell(&a, VG_D_uninit, NULL, NO_AGENT, 0, "that nobody has written");
        }
        if (use & (VG_WRITE | VG_ATOMIC)) san_bits_set(s->init, at, bytes, false);
        if (use & VG_ATOMIC) {
            san_know *const k = san_sync_at(b, at);
            if (k) san_join(s, k, &SANW(w)->k);
        }
    }
    if (use & VG_ATOMIC) {
        SANW(w)->epoch++;
        san_tick(w);
    }
}

void vg_san_access(vg_warp *w, const vg_inst *in, uint32_t mask, int space, vg_block *const owner[32],
                   const uint64_t addr[32], uint32_t bytes, int use) {
    if (!w->san || !bytes) return;
    if (space == PTX_GLOBAL) global_access(w, in, mask, addr, bytes, use);
    else if (space == PTX_LOCAL) local_access(w, in, mask, addr, bytes, use);
    else if (space == PTX_SHARED || space == PTX_SHARED_CLUSTER) shared_access(w, in, mask, owner, addr, bytes, use);
}

// ---- mbarriers ----------------------------------------------------------------------------------

void vg_san_mbarrier(vg_warp *w, vg_block *owner, uint32_t addr, bool release_, bool acquire_) {
    if (!w->san || !owner->san) return;
    const uint32_t at = addr & ((1u << VG_RANK_SHIFT) - 1);
    san_know *const k = san_sync_at(owner, at);
    if (!k) return;
    if (release_) release(w, k);
    if (acquire_) acquire(w, k);
}

void vg_san_mbarrier_init(vg_warp *w, const vg_inst *in, vg_block *owner, uint32_t addr) {
    san_block *const s = owner->san;
    const uint32_t at = addr & ((1u << VG_RANK_SHIFT) - 1);
    if (!w->san || !s || at + 8 > s->ncells * CELL) return;
    for (uint32_t i = at / CELL; i < at / CELL + 2; i++)
        s->cell[i] = (san_cell){.wclock = SANW(w)->k.vc[SANW(w)->agent], .write = in, .wepoch = SANW(w)->epoch,
                                .wstep = (uint32_t)w->clock, .wagent = (uint16_t)SANW(w)->agent, .ragent = NO_AGENT,
                                .wlane = ANY_LANE, .flags = F_INIT};
    san_bits_set(s->init, at, 8, false);
}

void vg_san_mbarrier_use(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t addr, bool async) {
    san_block *const s = owner->san;
    const uint32_t at = addr & ((1u << VG_RANK_SHIFT) - 1);
    if (!w->san || !s || at + 8 > s->ncells * CELL) return;
    const san_cell *const c = &s->cell[at / CELL];
    if (!(c->flags & F_INIT)) return;
    const san_know *const k = &SANW(w)->k;
    const bool own = c->wagent == SANW(w)->agent, known = own || k->vc[c->wagent] >= c->wclock;
    if (known && (!async || k->fc[c->wagent] >= c->wclock)) return;
    const access a = {w, in, owner, at, lane, 8, VG_READ};
    tell(&a, VG_D_init, c->write, c->wagent, c->wlane,
         known ? "as the mbarrier of an asynchronous copy: its initialisation was not fenced (fence.mbarrier_init or fence.proxy.async)"
               : "as an mbarrier whose initialisation is not ordered before");
}

void vg_san_warp_free(vg_warp *w) {
    if (w->san) know_free(&SANW(w)->k);
    free(w->san);
    w->san = NULL;
}

// ---- life of a block ----------------------------------------------------------------------------

void vg_san_block_begin(vg_block *b) {
    const uint32_t blocks = b->cluster && b->cluster->nblocks ? b->cluster->nblocks : 1;
    san_block *const s = calloc(1, sizeof *s);
    b->san = s;
    if (!s) return;
    s->agents = blocks * b->nwarps + 1;
    s->ncells = b->shared_bytes / CELL + 1;
    s->cell = calloc(s->ncells, sizeof *s->cell);
    s->reads = calloc((size_t)s->ncells * s->agents, sizeof *s->reads);
    s->init = calloc(s->ncells, 1);
    const size_t local = (size_t)b->run->local_stride * b->nwarps * 32;
    s->local = local ? calloc(local / 8 + 1, 1) : NULL;
    bool ok = s->cell && s->reads && s->init && (s->local || !local);
    for (int i = 0; ok && i < 16; i++) ok = know_init(&s->bar[i], s->agents);
    ok = ok && know_init(&s->cluster, s->agents);
    for (uint32_t i = 0; ok && i < b->nwarps; i++) {
        san_warp *const w = calloc(1, sizeof *w);
        b->warp[i].san = w;
        ok = w && know_init(&w->k, s->agents);
        if (!ok) break;
        w->agent = b->rank * b->nwarps + i;
        w->k.vc[w->agent] = 1;
        w->epoch = 1;
    }
    if (!ok) vg_san_block_end(b); // no memory: the block runs unchecked
}

void vg_san_block_end(vg_block *b) {
    san_block *const s = b->san;
    for (uint32_t i = 0; i < b->nwarps; i++) vg_san_warp_free(&b->warp[i]);
    if (!s) return;
    for (san_ticket *t = s->open, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    for (int i = 0; i < 16; i++) know_free(&s->bar[i]);
    know_free(&s->cluster);
    for (uint32_t i = 0; i < s->cap_sync; i++) know_free(&s->sync[i].k);
    free(s->sync);
    free(s->cell);
    free(s->reads);
    free(s->init);
    free(s->local);
    free(s);
    b->san = NULL;
}
