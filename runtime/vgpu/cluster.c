// SPDX-License-Identifier: Apache-2.0
// Peers of a cluster (mapa, getctarank), fences, dependent launch, and the register budget that
// setmaxnreg moves between warpgroups.
#include <string.h>
#include "runtime/vgpu/async.h"

#define OFFSET ((1u << VG_RANK_SHIFT) - 1)
#define REGISTERS 65536u // of a multiprocessor

// ---- mapa, getctarank
// -----------------------------------------------------------------------------

enum { F_WIDE = 1, F_GENERIC = 2, F_WIDE_SOURCE = 4 };

static enum vg_next mapa(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), rank = VG_ROW32(w, in->s[1])[l];
        uint64_t a =
            (in->sub & F_WIDE_SOURCE ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l]) +
            (uint64_t)in->imm;
        if (rank >= w->block->cluster->nblocks) {
            return vg_fail(w, in, l, VG_ILLEGAL_ADDRESS, "block %u of a cluster of %u", rank,
                           w->block->cluster->nblocks);
        }
        if (in->sub & F_GENERIC && a >> 32 != VG_WINDOW_SHARED >> 32) {
            return vg_fail(w, in, l, VG_ILLEGAL_ADDRESS,
                           "mapa of 0x%llx, which is not in shared memory", (unsigned long long)a);
        }
        uint64_t r = (a & OFFSET) | (uint64_t)(rank + 1) << VG_RANK_SHIFT;
        if (in->sub & F_GENERIC) r |= VG_WINDOW_SHARED;
        if (in->sub & F_WIDE)
            VG_ROW64(w, in->d[0])[l] = r;
        else
            VG_ROW32(w, in->d[0])[l] = (uint32_t)r;
    }
    return VG_NEXT;
}

static enum vg_next getctarank(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        uint64_t a =
            (in->sub & F_WIDE_SOURCE ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l]) +
            (uint64_t)in->imm;
        uint32_t code = (uint32_t)a >> VG_RANK_SHIFT;
        VG_ROW32(w, in->d[0])[l] = code ? code - 1 : w->block->rank;
    }
    return VG_NEXT;
}

void vgd_cluster(vg_decoder *d, vg_inst *out) {
    const bool maps = strcmp(d->in->op, "mapa") == 0;
    const ptx_opnd *o = d->in->opnd;
    out->cls = VG_C_int;
    bool shared = vgd_mod(d, "shared::cluster"), wide = vgd_type(d, 0) == PTX_u64,
         wide_source = wide;
    if (!vgd_count(d, maps ? 3 : 2, maps ? 3 : 2)) return;
    out->d[0] = vgd_result(d, &o[0], maps && wide ? PTX_u64 : PTX_u32);
    if (o[1].kind == PTX_O_ADDRESS)
        out->s[0] = vgd_address(d, &o[1], &wide_source, &out->imm);
    else
        out->s[0] = vgd_source(d, &o[1], wide ? PTX_u64 : PTX_u32);
    if (maps) out->s[1] = vgd_source(d, &o[2], PTX_u32);
    out->sub = (uint8_t)((wide ? F_WIDE : 0) | (shared ? 0 : F_GENERIC) |
                         (wide_source ? F_WIDE_SOURCE : 0));
    out->run = maps ? mapa : getctarank;
}

// ---- fences -------------------------------------------------------------------------------------

/// Host threads share global memory only: a full fence is right for every order and scope.
static enum vg_next fence(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)mask;
    atomic_thread_fence(memory_order_seq_cst);
    if (vg_sane(w)) vg_san_fence(w, in, in->sub, in->sub2);
    return VG_NEXT;
}

void vgd_fence(vg_decoder *d, vg_inst *out) {
    static const char *const scopes[] = {"cta", "cluster", "gpu", "sys", NULL};
    static const char *const levels[] = {"cta", "", "gl", "sys", NULL}; // membar
    static const char *const orders[] = {"acq_rel", "sc", "acquire", "release", NULL};
    static const char *const proxies[] = {"async",
                                          "async::generic",
                                          "alias",
                                          "tensormap::generic",
                                          "async.global",
                                          "async.shared::cta",
                                          "async.shared::cluster",
                                          NULL};
    static const char *const spaces[] = {"global", "shared::cta", "shared::cluster", NULL};
    static const char *const extra[] = {"mbarrier_init", "sync_restrict::shared::cta",
                                        "sync_restrict::shared::cluster", NULL};
    bool membar = strcmp(d->in->op, "membar") == 0;
    out->cls = VG_C_sync;
    out->run = fence;
    bool proxy = vgd_mod(d, "proxy");
    int kind = proxy ? vgd_one_of(d, proxies) : -1;
    if (proxy && kind < 0) vgd_fail(d, "this proxy is not known");
    vgd_one_of(d, orders);
    int more = vgd_one_of(d, extra);
    vgd_one_of(d, spaces);
    int scope = vgd_one_of(d, membar ? levels : scopes);
    if (scope < 0) {
        if (!proxy) vgd_fail(d, "a fence needs its scope");
        scope = kind == 0 ? 0 : 3;
    }
    out->sub = (uint8_t)scope;
    out->sub2 = (proxy && kind != 2) || more == 0; // copies use mbarriers by the asynchronous proxy
    if (!vgd_count(d, 0, 2)) return;
    if (d->in->nopnd == 2) { // fence.proxy.tensormap::generic.acquire.gpu [map], 128
        bool wide;
        vgd_address(d, &d->in->opnd[0], &wide, &out->imm);
        vgd_mod(d, "from");
        if (d->in->opnd[1].kind != PTX_O_INT || d->in->opnd[1].integer != 128)
            vgd_fail(d, "a tensor map has 128 bytes");
    }
}

// ---- dependent launch, register budget
// --------------------------------------------------------------

/// Launches run one after the other, so what came before is over.
static enum vg_next depend(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)mask;
    if (in->sub) w->waited = true;
    return VG_NEXT;
}

/// Registers of a thread at the start: stated, or what the block's size leaves.
static uint32_t at_launch(const vg_warp *w) {
    uint32_t stated = w->run->kernel->func->maxnreg, n = w->block->nwarps * 32;
    uint32_t left = REGISTERS / n / 8 * 8;
    if (stated) return stated < left ? (stated + 7) / 8 * 8 : left;
    return left > 255 ? 255 : left;
}

static enum vg_next setmaxnreg(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_agents *g = vg_agents_of(w->block);
    if (!g) return vg_no_memory(w, in);
    const uint32_t want = (uint32_t)in->imm, start = at_launch(w);
    if (mask != w->live)
        return vg_fail(w, in, 0, VG_LAUNCH_FAILED, "setmaxnreg by a part of a warp");
    if (w->id >= 32) return VG_NEXT;
    uint32_t *mine = &g->registers[w->id], have = *mine ? *mine : start, taken = 0;
    if (in->sub ? want < have : want > have) {
        if (vg_sane(w)) {
            vg_report_defect(w, in, 0, VG_D_registers, NULL, NULL,
                             "setmaxnreg.%s to %u by a warp that has %u", in->sub ? "inc" : "dec",
                             want, have);
        }
        return VG_NEXT;
    }
    for (uint32_t i = 0; i < w->block->nwarps && i < 32; i++)
        taken += 32 * (i == w->id ? want : g->registers[i] ? g->registers[i] : start);
    // What the launch took is the block's: others must release before this warp can have more.
    if (in->sub && taken > w->block->nwarps * 32 * start) {
        w->why = VG_W_MBARRIER;
        w->why_id = VG_WAIT_REGISTERS;
        return VG_BLOCKED;
    }
    *mine = want;
    return VG_NEXT;
}

void vgd_grid(vg_decoder *d, vg_inst *out) {
    out->cls = VG_C_sync;
    if (strcmp(d->in->op, "griddepcontrol") == 0) {
        out->sub = vgd_mod(d, "wait");
        if (!out->sub && !vgd_mod(d, "launch_dependents"))
            vgd_fail(d, "griddepcontrol waits or launches dependents");
        if (vgd_count(d, 0, 0)) out->run = depend;
        return;
    }
    out->sub = vgd_mod(d, "inc");
    if (!out->sub && !vgd_mod(d, "dec")) vgd_fail(d, "setmaxnreg needs .inc or .dec");
    vgd_mod(d, "sync");
    vgd_mod(d, "aligned");
    vgd_mod(d, "u32");
    if (!vgd_count(d, 1, 1)) return;
    const ptx_opnd *o = &d->in->opnd[0];
    out->imm = o->kind == PTX_O_INT ? o->integer : 0;
    if (out->imm < 24 || out->imm > 256 || out->imm % 8)
        vgd_fail(d, "setmaxnreg takes a multiple of 8 from 24 to 256");
    out->run = setmaxnreg;
}
