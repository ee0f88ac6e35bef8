// SPDX-License-Identifier: Apache-2.0
// A warp's way through a kernel: its splits, which part at branches and meet at joins, the frames of
// functions that it calls, and the loop that executes.
//
// Splits form a tree. Where lanes part, the split they were becomes a parent that waits at the join with
// the lanes that have come; the ways are its children. Lanes that others of their warp wait for in a
// spinning loop are let go on alone (vg_warp_release), as independent thread scheduling promises.
#include "runtime/vgpu/exec.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 256,
    POLL_LENGTH = 64            // instructions between polls of a loop that only polls, at most
};

// ---- frames -------------------------------------------------------------------------------------

static void *row_memory(size_t bytes) { return aligned_alloc(64, (bytes + 63) & ~(size_t)63); }

uint64_t vg_special(const vg_warp *w, int special, uint32_t lane) {
    const vg_block *const b = w->block;
    const vg_run *const r = w->run;
    const vg_launch_config *const c = r->config;
    const uint32_t t = w->id * 32 + lane, nx = c->block[0], ny = c->block[1];
    const unsigned *const cl = r->cluster;
    switch (special) {
    case PTX_S_tid_x: return t % nx;
    case PTX_S_tid_y: return t / nx % ny;
    case PTX_S_tid_z: return t / nx / ny;
    case PTX_S_ntid_x: return c->block[0];
    case PTX_S_ntid_y: return c->block[1];
    case PTX_S_ntid_z: return c->block[2];
    case PTX_S_ctaid_x: return b->id[0];
    case PTX_S_ctaid_y: return b->id[1];
    case PTX_S_ctaid_z: return b->id[2];
    case PTX_S_nctaid_x: return c->grid[0];
    case PTX_S_nctaid_y: return c->grid[1];
    case PTX_S_nctaid_z: return c->grid[2];
    case PTX_S_laneid: return lane;
    case PTX_S_warpid: return w->id;
    case PTX_S_nwarpid: return 64;
    case PTX_S_smid: return b->linear % VG_PROCESSORS;
    case PTX_S_nsmid: return VG_PROCESSORS;
    case PTX_S_gridid: return r->number;
    case PTX_S_lanemask_eq: return 1u << lane;
    case PTX_S_lanemask_lt: return (1u << lane) - 1;
    case PTX_S_lanemask_le: return (2u << lane) - 1;
    case PTX_S_lanemask_gt: return (uint32_t)~((2u << lane) - 1);
    case PTX_S_lanemask_ge: return (uint32_t)~((1u << lane) - 1);
    case PTX_S_clock: return (uint32_t)w->clock;
    case PTX_S_clock_hi: return w->clock >> 32;
    case PTX_S_clock64: return w->clock;
    case PTX_S_globaltimer: return b->steps + w->clock;
    case PTX_S_globaltimer_lo: return (uint32_t)(b->steps + w->clock);
    case PTX_S_globaltimer_hi: return (b->steps + w->clock) >> 32;
    case PTX_S_dynamic_smem_size: return r->shared_bytes - r->dynamic_at;
    case PTX_S_total_smem_size: return r->shared_bytes;
    case PTX_S_aggr_smem_size: return r->shared_bytes + 1024;
    case PTX_S_clusterid_x: return b->id[0] / cl[0];
    case PTX_S_clusterid_y: return b->id[1] / cl[1];
    case PTX_S_clusterid_z: return b->id[2] / cl[2];
    case PTX_S_nclusterid_x: return c->grid[0] / cl[0];
    case PTX_S_nclusterid_y: return c->grid[1] / cl[1];
    case PTX_S_nclusterid_z: return c->grid[2] / cl[2];
    case PTX_S_cluster_ctaid_x: return b->id[0] % cl[0];
    case PTX_S_cluster_ctaid_y: return b->id[1] % cl[1];
    case PTX_S_cluster_ctaid_z: return b->id[2] % cl[2];
    case PTX_S_cluster_nctaid_x: return cl[0];
    case PTX_S_cluster_nctaid_y: return cl[1];
    case PTX_S_cluster_nctaid_z: return cl[2];
    case PTX_S_cluster_ctarank: return b->rank;
    case PTX_S_cluster_nctarank: return cl[0] * cl[1] * cl[2];
    case PTX_S_is_explicit_cluster: return r->explicit_cluster ? UINT32_MAX : 0;
    default: return 0;
    }
}

void vg_frame_fill(vg_warp *w, vg_frame *f, bool all) {
    const vg_kernel *const k = f->code;
    for (uint32_t i = 0; i < k->nfill; i++) {
        const vg_fill_row *const x = &k->fill[i];
        if (x->kind == VG_FILL_SPECIAL) {
            for (uint32_t l = 0; l < 32; l++) {
                const uint64_t v = vg_special(w, x->special, l);
                if (x->wide) ((uint64_t *)(void *)(f->rows + x->row))[l] = v;
                else ((uint32_t *)(void *)(f->rows + x->row))[l] = (uint32_t)v & (uint32_t)x->value;
            }
            continue;
        }
        if (!all && x->kind != VG_FILL_LOCAL) continue; // the same in each block
        uint64_t v = x->value;
        if (x->kind == VG_FILL_LOCAL) v += f->local_base;
        else if (x->kind == VG_FILL_DYNAMIC) v += w->run->dynamic_at;
        for (uint32_t l = 0; l < 32; l++)
            if (x->wide) ((uint64_t *)(void *)(f->rows + x->row))[l] = v;
            else ((uint32_t *)(void *)(f->rows + x->row))[l] = (uint32_t)v;
    }
}

vg_frame *vg_frame_push(vg_warp *w, const vg_kernel *code, const vg_frame *caller) {
    const uint32_t depth = caller ? caller->depth + 1 : 0;
    if (depth > MAX_DEPTH) return NULL;
    vg_frame *f = w->frames;
    while (f && (f->used || f->code != code)) f = f->next;
    const bool fresh = !f;
    if (fresh) {
        f = calloc(1, sizeof *f);
        uint8_t *const rows = f ? row_memory(code->row_bytes) : NULL;
        if (!rows) {
            free(f);
            return NULL;
        }
        memset(rows, 0, code->row_bytes);
        f->rows = rows;
        f->code = code;
        f->next = w->frames; // the entry's frame is the last of the list
        w->frames = f;
    }
    f->used = true;
    f->depth = depth;
    f->alloca_bytes = 0;
    f->local_base = caller ? caller->local_base + caller->code->local_bytes + caller->alloca_bytes : 0;
    if ((uint64_t)f->local_base + code->local_bytes > w->run->local_stride) {
        f->used = false;
        return NULL;
    }
    vg_frame_fill(w, f, fresh);
    return f;
}

void vg_frame_drop(vg_warp *w, vg_frame *f) {
    for (uint32_t i = 0; i < w->nsplit; i++)
        if (w->split[i].used && w->split[i].frame == f) return;
    if (f->depth) f->used = false;
}

// ---- splits -------------------------------------------------------------------------------------

static void store(vg_warp *w) {
    vg_split *const s = &w->split[w->current];
    s->pc = w->pc;
    s->mask = w->active;
}

static void switch_to(vg_warp *w, uint32_t i) {
    const vg_split *const s = &w->split[i];
    w->current = i;
    w->pc = s->pc;
    w->active = s->mask;
    w->join = s->parent >= 0 ? s->join : VG_NO_JOIN;
    w->rows = s->frame->rows;
    w->code = s->frame->code;
}

static uint32_t new_split(vg_warp *w) {
    uint32_t i = 0;
    while (i < w->nsplit && w->split[i].used) i++;
    if (i == w->nsplit) {
        if (w->nsplit == w->cap_split) {
            const uint32_t cap = w->cap_split ? 2 * w->cap_split : 8;
            vg_split *const grown = realloc(w->split, cap * sizeof *grown);
            if (!grown) return UINT32_MAX;
            w->split = grown;
            w->cap_split = cap;
        }
        w->nsplit++;
    }
    w->split[i] = (vg_split){.used = true, .parent = -1};
    w->parts++;
    return i;
}

static bool runnable(const vg_split *s) { return s->used && !s->children && s->mask; }

/// Another split of the warp than the current one; false: none can run, and the warp is done if none is left.
static bool pick(vg_warp *w) {
    const uint32_t n = w->nsplit;
    uint32_t from = w->current;
    if (w->run->gpu->options.schedule && w->parts > 2) from = (uint32_t)(vg_random(&w->block->worker->rng) % n);
    for (int blocked = 0; blocked < 2; blocked++) // those that wait come last: they may go on by now
        for (uint32_t k = 1; k <= n; k++) {
            const uint32_t i = (from + k) % n;
            if (!runnable(&w->split[i]) || w->split[i].blocked != (blocked == 1)) continue;
            switch_to(w, i);
            return true;
        }
    return false;
}

static void finish(vg_warp *w) {
    w->done = true;
    w->active = 0;
    w->block->running--;
}

/// Split i has no lanes left to run: gone, and so are parents that waited for it and got none.
static void retire(vg_warp *w, uint32_t i) {
    for (;;) {
        const int32_t parent = w->split[i].parent;
        vg_frame *const f = w->split[i].frame;
        w->split[i].used = false;
        w->parts--;
        vg_frame_drop(w, f);
        if (parent < 0) return;
        vg_split *const p = &w->split[parent];
        p->children--;
        if (p->children || p->mask) return;
        i = (uint32_t)parent;
    }
}

/// `mask` reaches the join of split i: its parent has them from now on.
static void arrive(vg_warp *w, uint32_t i, uint32_t mask) {
    vg_split *const s = &w->split[i], *const p = &w->split[s->parent];
    if (s->frame != p->frame) vg_call_results(w, s->frame, p, mask);
    p->mask |= mask;
}

/// The current split stands at its join: merged, and its parents too as long as they stand at theirs.
static void merge(vg_warp *w) {
    store(w);
    for (;;) {
        const uint32_t i = w->current;
        const int32_t parent = w->split[i].parent;
        arrive(w, i, w->split[i].mask);
        w->split[i].mask = 0;
        retire(w, i);
        vg_split *const p = &w->split[parent];
        if (p->children) {
            pick(w);
            return;
        }
        switch_to(w, (uint32_t)parent);
        if (w->pc != w->join) return;
    }
}

enum vg_next vg_diverge(vg_warp *w, uint32_t join, uint32_t n, const uint32_t *target, const uint32_t *mask) {
    store(w);
    const vg_inst *const in = &w->code->inst[w->pc];
    vg_split *const s = &w->split[w->current];
    uint32_t parent, first = UINT32_MAX;
    uint32_t reuse = UINT32_MAX; // the current split is one of the ways
    if (s->parent >= 0 && s->join == join) {
        parent = (uint32_t)s->parent;
        reuse = w->current;
    } else {
        parent = w->current;
        s->pc = join;
        s->mask = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!mask[i]) continue;
        if (target[i] == join) {
            if (parent != w->current) arrive(w, w->current, mask[i]);
            else w->split[parent].mask |= mask[i];
            continue;
        }
        uint32_t c = reuse;
        if (c == UINT32_MAX) {
            c = new_split(w);
            if (c == UINT32_MAX) return vg_fail(w, in, 0, VG_OUT_OF_MEMORY, "out of host memory");
            w->split[c].parent = (int32_t)parent;
            w->split[c].frame = w->split[w->current].frame;
            w->split[c].join = join;
            w->split[parent].children++;
        }
        reuse = UINT32_MAX;
        w->split[c].mask = mask[i];
        w->split[c].pc = target[i];
        if (first == UINT32_MAX) first = c;
    }
    if (reuse != UINT32_MAX) { // all ways were the join; callers take care that this is not so
        w->split[reuse].mask = 0;
        retire(w, reuse);
        if (!pick(w)) w->active = 0;
        return VG_JUMPED;
    }
    if (first == UINT32_MAX) switch_to(w, parent);
    else switch_to(w, first);
    return VG_JUMPED;
}

enum vg_next vg_enter(vg_warp *w, vg_frame *f, uint32_t mask) {
    store(w);
    const uint32_t c = new_split(w), caller = w->current;
    if (c == UINT32_MAX) return vg_fail(w, &w->code->inst[w->pc], 0, VG_OUT_OF_MEMORY, "out of host memory");
    vg_split *const s = &w->split[caller];
    s->pc++;
    s->mask &= ~mask;
    s->children++;
    w->split[c].mask = mask;
    w->split[c].join = f->code->ninst;
    w->split[c].parent = (int32_t)caller;
    w->split[c].frame = f;
    switch_to(w, c);
    return VG_JUMPED;
}

enum vg_next vg_exit_lanes(vg_warp *w, uint32_t mask) {
    w->live &= ~mask;
    w->active &= ~mask;
    store(w);
    if (w->active) {
        w->pc++; // the guard left some: they go on
        store(w);
    } else {
        retire(w, w->current);
        if (!w->live) finish(w);
        else pick(w);
    }
    vg_bar_exited(w, mask);
    return VG_JUMPED;
}

bool vg_warp_release(vg_warp *w) {
    if (w->done || w->parts < 2) return false;
    store(w);
    const uint32_t n = w->nsplit;
    for (uint32_t i = 0; i < n; i++) {
        if (!w->split[i].used || !w->split[i].children || !w->split[i].mask) continue;
        const uint32_t c = new_split(w);
        if (c == UINT32_MAX) return false;
        vg_split *const p = &w->split[i], *const s = &w->split[c];
        s->mask = p->mask;
        s->pc = p->pc;
        s->join = p->join;
        s->parent = p->parent;
        s->frame = p->frame;
        p->mask = 0;
        if (s->parent >= 0) w->split[s->parent].children++;
        w->blocked = false;
        // Released where the parent's own join is: it goes on from there.
        switch_to(w, c);
        if (w->pc == w->join) merge(w);
        return true;
    }
    return false;
}

enum vg_next vg_gather(vg_warp *w, const vg_inst *in, uint32_t *mask, uint32_t member) {
    const uint32_t want = member & w->live;
    if ((want & ~*mask) == 0) return VG_NEXT;
    uint32_t have = *mask;
    const uint32_t pc = (uint32_t)(in - w->code->inst);
    const vg_frame *const f = w->split[w->current].frame;
    for (uint32_t i = 0; i < w->nsplit; i++) {
        const vg_split *const s = &w->split[i];
        if (i != w->current && runnable(s) && s->blocked && s->why == VG_W_WARP && s->pc == pc && s->frame == f) have |= s->mask;
    }
    if (want & ~have) {
        w->why = VG_W_WARP;
        w->why_id = want & ~have;
        return VG_BLOCKED;
    }
    for (uint32_t i = 0; i < w->nsplit; i++) {
        vg_split *const s = &w->split[i];
        if (i == w->current || !runnable(s) || !s->blocked || s->why != VG_W_WARP || s->pc != pc || s->frame != f) continue;
        s->blocked = false;
        s->pc++;
        if (s->parent >= 0 && s->pc == s->join) { // the join follows: no turn of its own
            const uint32_t lanes = s->mask;
            arrive(w, i, lanes);
            s->mask = 0;
            retire(w, i);
        }
    }
    *mask = have;
    return VG_NEXT;
}

void vg_warp_start(vg_warp *w, uint32_t lanes) {
    w->nsplit = 0;
    w->parts = 0;
    w->live = lanes;
    w->done = w->blocked = w->polled = false;
    w->clock = w->polled_at = 0;
    w->polls = 0;
    w->at_cluster = 0;
    w->cluster_phase = 0;
    memset(w->at_bar, 0, sizeof w->at_bar);
    const uint32_t i = new_split(w);
    vg_frame *f = w->frames;
    while (f->next) f = f->next;
    for (vg_frame *c = w->frames; c; c = c->next) c->used = c == f;
    w->split[i].mask = lanes;
    w->split[i].frame = f;
    switch_to(w, i);
}

// ---- the loop -----------------------------------------------------------------------------------

/// Guard and hooks around one instruction: what the loop does when it is watched.
static enum vg_next watched(vg_warp *w, const vg_inst *in, uint32_t mask) {
    if (w->watch & VG_WATCH_PROF) vg_prof_step(w, in, mask);
    if (w->open_wgmmas && (w->watch & VG_WATCH_SAN)) vg_san_registers(w, in, mask);
    return in->run(w, in, mask);
}

/// Another split's turn, if there is one; else this one's again.
static bool rotate(vg_warp *w) {
    if (w->parts < 2) return false;
    store(w);
    return pick(w);
}

bool vg_warp_turn(vg_warp *w, uint64_t budget) {
    bool progress = false;
    uint32_t tried = 0, polls = 0; // splits found waiting or polling in a row
    uint64_t n = 0;
    const uint8_t watch = w->watch;
    atomic_bool *const stop = &w->run->stop;
    while (n < budget && !w->done) {
        const vg_inst *const in = &w->code->inst[w->pc];
        uint32_t mask = w->active;
        n++;
        w->clock++;
        if (in->guard != VG_NO_ROW) {
            const uint32_t p = VG_PRED(w, in->guard);
            mask &= in->guard_not ? ~p : p;
            if (!mask) {
                w->pc++;
                if (w->pc == w->join) merge(w);
                continue;
            }
        }
        switch (watch ? watched(w, in, mask) : in->run(w, in, mask)) {
        case VG_NEXT:
            w->pc++;
            tried = 0;
            if (w->split[w->current].blocked) w->split[w->current].blocked = false, progress = true;
            if (w->pc == w->join) merge(w);
            break;
        case VG_JUMPED:
            if (w->done) return true;
            if (w->pc == w->join) merge(w);
            break;
        case VG_YIELD:
            w->split[w->current].blocked = false;
            w->pc++;
            if (w->pc == w->join) merge(w);
            w->polls = w->clock - w->polled_at <= POLL_LENGTH ? w->polls + 1 : 1;
            w->polled_at = w->clock;
            polls++;
            if (polls >= w->parts) goto out;
            rotate(w);
            break;
        case VG_BLOCKED: {
            vg_split *const s = &w->split[w->current];
            n--;
            w->clock--;
            s->blocked = true;
            s->why = w->why;
            s->why_id = w->why_id;
            if (++tried >= w->parts || !rotate(w)) {
                if (n) progress |= polls == 0;
                goto out;
            }
            break;
        }
        case VG_STOP:
        default: return true;
        }
        if ((n & 1023) == 0 && atomic_load_explicit(stop, memory_order_relaxed)) return true;
    }
    progress |= w->done || w->polls < w->parts || w->clock - w->polled_at > POLL_LENGTH;
out:
    if (!w->done) store(w); // reports read it
    w->block->steps += n;
    w->block->worker->steps += n;
    w->blocked = !w->done && tried >= w->parts;
    return progress;
}
