// SPDX-License-Identifier: Apache-2.0
// Barriers of warps, blocks and clusters. Threads arrive, not warps: a warp whose lanes come one after
// the other is complete when all of its live lanes have come, and then counts as 32.
#include "runtime/vgpu/alu.h"

#include <string.h>

enum { BAR_SYNC, BAR_ARRIVE, BAR_POPC, BAR_AND, BAR_OR };
enum { CLUSTER_ARRIVE, CLUSTER_WAIT };
#define ALL_THREADS UINT32_MAX

// ---- of a block ---------------------------------------------------------------------------------

static uint32_t expected(const vg_block *b, const vg_bar *bar) {
    return bar->expected == ALL_THREADS ? b->running * 32 : bar->expected;
}

static void try_complete(vg_block *b, uint32_t id) {
    vg_bar *const bar = &b->bar[id];
    if (!bar->expected || bar->arrived < expected(b, bar) || !bar->arrived) return;
    memcpy(bar->result, bar->red, sizeof bar->red);
    bar->generation++;
    bar->arrived = 0;
    bar->expected = 0;
    for (uint32_t i = 0; i < b->nwarps; i++) b->warp[i].at_bar[id] = 0;
}

void vg_bar_exited(vg_warp *w, uint32_t mask) {
    vg_block *const b = w->block;
    (void)mask;
    for (uint32_t id = 0; id < 16; id++) {
        vg_bar *const bar = &b->bar[id];
        // The lanes that were missing are gone: the warp is complete.
        if (w->at_bar[id] && w->live && !(w->live & ~w->at_bar[id])) {
            bar->arrived += (uint32_t)__builtin_popcount(~w->live & ~w->at_bar[id]);
            w->at_bar[id] = UINT32_MAX;
        }
        if (bar->expected == ALL_THREADS) try_complete(b, id);
    }
    vg_cluster *const c = b->cluster;
    uint32_t missing = 0, arrived = 0;
    for (uint32_t k = 0; k < c->nblocks; k++)
        for (uint32_t i = 0; i < c->block[k]->nwarps; i++) {
            const vg_warp *const x = &c->block[k]->warp[i];
            missing |= x->live & ~x->at_cluster;
            arrived |= x->at_cluster;
        }
    if (arrived && !missing) {
        c->phase++;
        for (uint32_t k = 0; k < c->nblocks; k++)
            for (uint32_t i = 0; i < c->block[k]->nwarps; i++) c->block[k]->warp[i].at_cluster = 0;
    }
}

static void divergence(vg_warp *w, const vg_inst *in, uint32_t mask) {
    static const unsigned nobody[3] = {0};
    if (w->watch & VG_WATCH_SAN)
        vg_report_defect(w, in, (uint32_t)__builtin_ctz(mask), VG_D_divergence, NULL, nobody,
                         "lanes 0x%08x of the warp come to an aligned barrier without lanes 0x%08x", (unsigned)mask, (unsigned)(w->live & ~mask));
}

static enum vg_next ex_bar(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_block *const b = w->block;
    vg_split *const s = &w->split[w->current];
    const uint32_t lane = (uint32_t)__builtin_ctz(mask), id = VG_ROW32(w, in->s[0])[lane];
    if (s->ticket) { // has arrived
        const uint32_t at = (uint32_t)s->why_id;
        if (at < 16 && b->bar[at].generation + 1 == s->ticket) {
            w->why = VG_W_BAR;
            w->why_id = at;
            return VG_BLOCKED;
        }
        s->ticket = 0;
        if (w->watch & VG_WATCH_SAN) vg_san_bar(w, in, (int)at, false, true);
        const vg_bar *const bar = &b->bar[at];
        if (in->sub == BAR_POPC) {
            uint32_t *const d = VG_ROW32(w, in->d[0]);
            VGA_EACH(d, mask, uint32_t, bar->result[0]);
        } else if (in->sub == BAR_AND || in->sub == BAR_OR)
            vga_set_pred(w, in->d[0], mask, bar->result[in->sub == BAR_AND ? 1 : 2] ? UINT32_MAX : 0);
        return VG_NEXT;
    }
    uint32_t count = ALL_THREADS;
    if (id > 15) return vg_fail(w, in, lane, VG_ILLEGAL_INSTRUCTION, "barrier %u; there are 16", (unsigned)id);
    if (in->s[1] != VG_NO_ROW) {
        count = VG_ROW32(w, in->s[1])[lane];
        if (!count || count % 32 || count > 1024)
            return vg_fail(w, in, lane, VG_ILLEGAL_INSTRUCTION, "barrier %u for %u threads, no multiple of 32 up to 1024", (unsigned)id, (unsigned)count);
    }
    vg_bar *const bar = &b->bar[id];
    if (in->sub3 && (w->live & ~mask)) divergence(w, in, mask);
    if (bar->expected && bar->expected != count) {
        char was[32] = "all", now[32] = "all";
        if (bar->expected != ALL_THREADS) snprintf(was, sizeof was, "%u", (unsigned)bar->expected);
        if (count != ALL_THREADS) snprintf(now, sizeof now, "%u", (unsigned)count);
        return vg_fail(w, in, lane, VG_LAUNCH_FAILED, "barrier %u is used for %s threads while others use it for %s", (unsigned)id, now, was);
    }
    if (!bar->arrived) {
        bar->expected = count;
        bar->red[0] = bar->red[2] = 0;
        bar->red[1] = 1;
    }
    w->at_bar[id] |= mask;
    bar->arrived += (uint32_t)__builtin_popcount(mask);
    if (!(w->live & ~w->at_bar[id])) { // the last of the warp: lanes that ended count too
        bar->arrived += (uint32_t)__builtin_popcount(~w->live);
        w->at_bar[id] = 0;
    }
    if (in->s[2] != VG_NO_ROW) {
        const uint32_t p = in->sub2 ? ~VG_PRED(w, in->s[2]) : VG_PRED(w, in->s[2]);
        bar->red[0] += (uint32_t)__builtin_popcount(p & mask);
        if (~p & mask) bar->red[1] = 0;
        if (p & mask) bar->red[2] = 1;
    }
    const uint64_t generation = bar->generation;
    if (w->watch & VG_WATCH_SAN) vg_san_bar(w, in, (int)id, true, false);
    if (bar->arrived > expected(b, bar) && bar->expected != ALL_THREADS)
        return vg_fail(w, in, lane, VG_LAUNCH_FAILED, "%u threads arrive at barrier %u, which is for %u", (unsigned)bar->arrived, (unsigned)id,
                       (unsigned)bar->expected);
    try_complete(b, id);
    if (in->sub == BAR_ARRIVE) return VG_NEXT;
    s->ticket = generation + 1;
    s->why_id = id;
    w->why = VG_W_BAR;
    w->why_id = id;
    return ex_bar(w, in, mask); // leaves at once if it was the last
}

// ---- of a warp ----------------------------------------------------------------------------------

static enum vg_next ex_warp_sync(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const member = VG_ROW32(w, in->s[0]);
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    if (!(member[lane] >> lane & 1))
        return vg_fail(w, in, lane, VG_ILLEGAL_INSTRUCTION, "the mask 0x%08x does not name the lane that executes it", (unsigned)member[lane]);
    const enum vg_next n = vg_gather(w, in, &mask, member[lane]);
    if (n == VG_NEXT && (w->watch & VG_WATCH_SAN)) vg_san_warp_sync(w, mask);
    return n;
}

// ---- of a cluster -------------------------------------------------------------------------------

static enum vg_next ex_cluster(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_cluster *const c = w->block->cluster;
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    if (in->sub == CLUSTER_ARRIVE) {
        if (in->sub3 && (w->live & ~mask)) divergence(w, in, mask);
        if (w->at_cluster & mask)
            return vg_fail(w, in, lane, VG_LAUNCH_FAILED, "a second arrival at the cluster's barrier in one phase, without a wait between");
        w->at_cluster |= mask;
        w->cluster_phase = c->phase;
        if (w->watch & VG_WATCH_SAN) vg_san_cluster_bar(w, true, false);
        vg_bar_exited(w, 0); // completes the phase if nobody is missing
        return VG_NEXT;
    }
    if (w->at_cluster & mask) {
        w->why = VG_W_CLUSTER;
        w->why_id = c->phase;
        return VG_BLOCKED;
    }
    if (w->watch & VG_WATCH_SAN) vg_san_cluster_bar(w, false, true);
    return VG_NEXT;
}

// ---- what is missing ----------------------------------------------------------------------------

static size_t put(char *out, size_t size, size_t n, const char *fmt, ...) VM_PRINTF(4, 5);
static size_t put(char *out, size_t size, size_t n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int m = vsnprintf(out + n, size - n, fmt, ap);
    va_end(ap);
    return m < 0 || (size_t)m >= size - n ? size - 1 : n + (size_t)m;
}

void vg_bar_explain(vg_warp *w, const vg_split *s, char *out, size_t size) {
    const vg_block *const b = w->block;
    if (s->why == VG_W_CLUSTER) {
        const vg_cluster *const c = b->cluster;
        uint32_t missing = 0;
        for (uint32_t k = 0; k < c->nblocks; k++)
            for (uint32_t i = 0; i < c->block[k]->nwarps; i++)
                missing += (uint32_t)__builtin_popcount(c->block[k]->warp[i].live & ~c->block[k]->warp[i].at_cluster);
        put(out, size, 0, "the cluster's barrier, phase %llu: %u threads have not arrived", (unsigned long long)c->phase, (unsigned)missing);
        return;
    }
    const uint32_t id = (uint32_t)s->why_id & 15;
    const vg_bar *const bar = &b->bar[id];
    size_t n = put(out, size, 0, "barrier %u, phase %llu: %u of %u threads have arrived", (unsigned)id, (unsigned long long)bar->generation,
                   (unsigned)bar->arrived, (unsigned)expected(b, bar));
    uint32_t shown = 0;
    for (uint32_t i = 0; i < b->nwarps && bar->expected == ALL_THREADS; i++) {
        const vg_warp *const x = &b->warp[i];
        bool waits = x->done;
        for (uint32_t k = 0; k < x->nsplit; k++)
            if (x->split[k].used && x->split[k].ticket && x->split[k].blocked && x->split[k].why_id == id) waits = true;
        if (waits) continue;
        n = put(out, size, n, "%s%u", shown ? ", " : "; missing: warp ", (unsigned)i);
        if (++shown == 8) break;
    }
}

// ---- decoding -----------------------------------------------------------------------------------

static void decode_cluster(vg_decoder *d, vg_inst *out) {
    const bool aligned = vgd_mod(d, "aligned");
    vgd_mod(d, "release");
    vgd_mod(d, "relaxed");
    vgd_mod(d, "acquire");
    if (vgd_mod(d, "arrive")) out->sub = CLUSTER_ARRIVE;
    else if (vgd_mod(d, "wait")) out->sub = CLUSTER_WAIT;
    else vgd_fail(d, "neither .arrive nor .wait");
    out->sub3 = aligned;
    out->run = ex_cluster;
    vgd_count(d, 0, 0);
}

void vgd_bar(vg_decoder *d, vg_inst *out) {
    static const char *const kinds[] = {"sync", "arrive", "red", NULL};
    static const char *const reds[] = {"popc", "and", "or", NULL};
    const ptx_opnd *const o = d->in->opnd;
    out->cls = VG_C_sync;
    if (vgd_mod(d, "cluster")) {
        decode_cluster(d, out);
        return;
    }
    if (vgd_mod(d, "warp")) {
        if (!vgd_mod(d, "sync")) vgd_fail(d, "a form other than .sync");
        if (!vgd_count(d, 1, 1)) return;
        out->s[0] = vgd_source(d, &o[0], PTX_b32);
        out->run = ex_warp_sync;
        return;
    }
    vgd_mod(d, "cta");
    const bool plain = strcmp(d->in->op, "bar") == 0; // bar is barrier.aligned
    out->sub3 = vgd_mod(d, "aligned") || plain;
    const int kind = vgd_one_of(d, kinds);
    out->run = ex_bar;
    out->cls = VG_C_sync;
    if (kind == 2) {
        const int red = vgd_one_of(d, reds);
        const int type = vgd_type(d, 0);
        if (red < 0 || type != (red == 0 ? PTX_u32 : PTX_pred)) vgd_fail(d, "a reduction other than .popc.u32, .and.pred and .or.pred");
        if (!vgd_count(d, 3, 4) || d->failed) return;
        out->sub = (uint8_t)(BAR_POPC + red);
        out->d[0] = red ? vgd_result(d, &o[0], PTX_pred) : vga_result(d, &o[0], PTX_u32);
        out->s[0] = vgd_source(d, &o[1], PTX_u32);
        if (d->in->nopnd == 4) out->s[1] = vgd_source(d, &o[2], PTX_u32);
        bool negated;
        out->s[2] = vga_pred_source(d, &o[d->in->nopnd - 1], &negated);
        out->sub2 = negated;
        return;
    }
    if (kind < 0) vgd_fail(d, "a form other than .sync, .arrive and .red");
    if (!vgd_count(d, kind == 1 ? 2 : 1, 2)) return;
    out->sub = kind == 1 ? BAR_ARRIVE : BAR_SYNC;
    out->s[0] = vgd_source(d, &o[0], PTX_u32);
    if (d->in->nopnd == 2) out->s[1] = vgd_source(d, &o[1], PTX_u32);
}
