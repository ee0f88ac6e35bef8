// SPDX-License-Identifier: Apache-2.0
// Launches: the grid's clusters are taken by threads of the host, a few at a time. A worker runs the
// blocks that it holds by turns and starts another when those it holds only wait, so grids whose blocks
// wait for each other go on as they would on a GPU that holds 132 multiprocessors' worth of them.
#include "runtime/vgpu/exec.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    QUANTUM = 4096,             // instructions of a warp's turn
    SLICE = 1 << 21,            // of a cluster's turn while others wait
    SM_THREADS = 2048,
    SM_BLOCKS = 32,
    RELEASE_AFTER = 64,         // turns without progress before lanes are let go on alone
    MAX_WORKERS = 256,
    THREAD_STEPS = 16384        // warp instructions that are worth threads of the host
};
#define IDLE_LIMIT ((uint64_t)1 << 21) // turns of nothing but polling before it counts as a deadlock
#define RESIDENT_BYTES ((uint64_t)4 << 30)

// ---- messages -----------------------------------------------------------------------------------

/// " (kernel k, block (x, y, z), thread (x, y, z), line n: text, file:line)"
static void describe(const vg_warp *w, const vg_inst *in, uint32_t lane, char *out, size_t size) {
    const vg_block *const b = w->block;
    char text[160] = "";
    size_t n = 0;
    if (in && in->ptx) ptx_inst_text(w->code->func, in->ptx, text, sizeof text);
#define PUT(...)                                                                                   \
    do {                                                                                           \
        const int put_ = snprintf(out + n, size - n, __VA_ARGS__);                                 \
        n = put_ < 0 || (size_t)put_ >= size - n ? size - 1 : n + (size_t)put_;                    \
    } while (0)
    PUT("kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", w->run->kernel->func->name, b->id[0], b->id[1], b->id[2],
        (unsigned)vg_special(w, PTX_S_tid_x, lane), (unsigned)vg_special(w, PTX_S_tid_y, lane),
        (unsigned)vg_special(w, PTX_S_tid_z, lane));
    if (!in || !in->ptx) return;
    PUT(", PTX line %u: %s", (unsigned)in->ptx->pos.line, text);
    const ptx_module *const m = w->run->kernel->module->ptx;
    const uint32_t file = in->ptx->pos.src_file;
    if (file && file < m->nfile && m->file[file]) PUT(" (%s:%u)", m->file[file], (unsigned)in->ptx->pos.src_line);
}

static enum vg_next fail_with(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_status s, const char *what) {
    vg_run *const r = w->run;
    char where[1024];
    describe(w, in, lane, where, sizeof where);
    vg_lock(r->gpu);
    if (atomic_load(&r->status) == VG_OK) {
        snprintf(r->gpu->error, sizeof r->gpu->error, "%s\n  in %s", what, where);
        atomic_store(&r->status, (int)s);
    }
    vg_unlock(r->gpu);
    atomic_store(&r->stop, true);
    return VG_STOP;
}

enum vg_next vg_fail(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_status s, const char *fmt, ...) {
    char what[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return fail_with(w, in, lane, s, what);
}

// ---- clusters -----------------------------------------------------------------------------------

static void free_warp(vg_warp *w) {
    vg_async_warp_free(w);
    vg_san_warp_free(w);
    for (vg_frame *f = w->frames; f;) {
        vg_frame *const next = f->next;
        free(f->rows);
        free(f);
        f = next;
    }
    free(w->split);
    free(w->local);
}

static void free_cluster(vg_cluster *c) {
    if (!c) return;
    for (uint32_t i = 0; i < c->nblocks && c->block; i++) {
        vg_block *const b = c->block[i];
        if (!b) continue;
        if (b->san) vg_san_block_end(b); // the launch failed in its middle
        for (uint32_t k = 0; k < b->room_warps; k++) free_warp(&b->warp[k]);
        vg_async_block_free(b);
        free(b->warp);
        free(b->shared);
        free(b);
    }
    free(c->block);
    free(c);
}

static bool new_warp(vg_worker *wk, vg_block *b, uint32_t i) {
    vg_run *const r = wk->run;
    vg_warp *const w = &b->warp[i];
    w->block = b;
    w->run = r;
    w->id = i;
    w->watch = (uint8_t)((r->gpu->options.sanitize ? VG_WATCH_SAN : 0) | (r->gpu->options.profile ? VG_WATCH_PROF : 0));
    if (r->local_stride && !(w->local = calloc(32, r->local_stride))) return false;
    return true;
}

/// Memory of a cluster's blocks; NULL: none left.
static vg_cluster *new_cluster(vg_worker *wk) {
    vg_run *const r = wk->run;
    const unsigned *const block = r->config->block;
    const uint32_t threads = block[0] * block[1] * block[2], nwarps = (threads + 31) / 32;
    vg_cluster *const c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->nblocks = r->cluster[0] * r->cluster[1] * r->cluster[2];
    c->block = calloc(c->nblocks, sizeof(vg_block *));
    bool ok = c->block != NULL;
    for (uint32_t i = 0; ok && i < c->nblocks; i++) {
        vg_block *const b = c->block[i] = calloc(1, sizeof *b);
        if (!b) ok = false;
        else {
            b->run = r;
            b->worker = wk;
            b->cluster = c;
            b->rank = i;
            b->nthreads = threads;
            b->nwarps = nwarps;
            b->shared_bytes = r->shared_bytes;
            b->shared = aligned_alloc(1024, (r->shared_bytes + 1024u + 1023u) & ~1023u);
            b->warp = calloc(nwarps, sizeof *b->warp);
            if (!b->shared || !b->warp) ok = false;
            else memset(b->shared, 0, (r->shared_bytes + 1024u + 1023u) & ~1023u);
            for (uint32_t k = 0; ok && k < nwarps; k++) {
                b->room_warps = k + 1;
                ok = new_warp(wk, b, k);
            }
        }
    }
    if (ok) return c;
    free_cluster(c);
    return NULL;
}

static bool start_block(vg_block *b, uint64_t cluster_index) {
    vg_run *const r = b->run;
    const unsigned *const cl = r->cluster, *const grid = r->config->grid;
    const uint64_t nx = grid[0] / cl[0], ny = grid[1] / cl[1];
    const uint32_t rx = b->rank % cl[0], ry = b->rank / cl[0] % cl[1], rz = b->rank / cl[0] / cl[1];
    b->id[0] = (unsigned)(cluster_index % nx * cl[0] + rx);
    b->id[1] = (unsigned)(cluster_index / nx % ny * cl[1] + ry);
    b->id[2] = (unsigned)(cluster_index / nx / ny * cl[2] + rz);
    b->linear = b->id[0] + (uint64_t)grid[0] * (b->id[1] + (uint64_t)grid[1] * b->id[2]);
    b->running = b->nwarps;
    b->steps = 0;
    memset(b->bar, 0, sizeof b->bar);
    for (uint32_t i = 0; i < b->nwarps; i++) {
        vg_warp *const w = &b->warp[i];
        const uint32_t left = b->nthreads - i * 32;
        if (!w->frames) {
            if (!vg_frame_push(w, r->kernel, NULL)) return false;
        } else {
            vg_frame *f = w->frames;
            while (f->next) f = f->next;
            vg_frame_fill(w, f, false);
        }
        vg_warp_start(w, left >= 32 ? UINT32_MAX : (1u << left) - 1);
    }
    vg_async_block_begin(b);
    if (r->gpu->options.sanitize) vg_san_block_begin(b);
    return true;
}

/// Takes the grid's next cluster; false: there is none, or no memory for it.
static bool start_cluster(vg_worker *wk) {
    vg_run *const r = wk->run;
    if (atomic_load(&r->next_cluster) >= r->nclusters) return false;
    if (wk->nresident == wk->cap_resident) {
        const uint32_t cap = wk->cap_resident ? 2 * wk->cap_resident : 16;
        vg_cluster **const grown = realloc(wk->resident, cap * sizeof *grown);
        vg_cluster **const spare = grown ? realloc(wk->spare, cap * sizeof *spare) : NULL;
        if (grown) wk->resident = grown;
        if (spare) wk->spare = spare;
        if (!spare) return false;
        wk->cap_resident = cap;
    }
    vg_cluster *const c = wk->nspare ? wk->spare[--wk->nspare] : new_cluster(wk);
    if (!c) return false;
    const uint64_t i = atomic_fetch_add(&r->next_cluster, 1);
    if (i >= r->nclusters) {
        wk->spare[wk->nspare++] = c;
        return false;
    }
    c->phase = 0;
    c->idle = 0;
    c->next = 0;
    c->running = c->nblocks;
    wk->resident[wk->nresident++] = c;
    if (r->gpu->options.schedule)
        wk->rng = (r->gpu->options.schedule + i * 0x9e3779b97f4a7c15ull) | 1;
    for (uint32_t k = 0; k < c->nblocks; k++)
        if (!start_block(c->block[k], i)) {
            vg_gpu *const g = r->gpu;
            vg_lock(g);
            if (atomic_load(&r->status) == VG_OK) {
                vg_gpu_fail(g, VG_OUT_OF_MEMORY, "out of host memory for the registers of a block of %s", r->kernel->func->name);
                atomic_store(&r->status, VG_OUT_OF_MEMORY);
            }
            vg_unlock(g);
            atomic_store(&r->stop, true);
            return false;
        }
    return true;
}

// ---- deadlock -----------------------------------------------------------------------------------

static void explain_split(vg_warp *w, const vg_split *s, char *out, size_t size) {
    switch (s->why) {
    case VG_W_BAR: case VG_W_CLUSTER: vg_bar_explain(w, s, out, size); break;
    case VG_W_MBARRIER: w->why_id = s->why_id; vg_async_explain(w, out, size); break;
    case VG_W_WARP:
        snprintf(out, size, "lanes 0x%08" PRIx64 " of the warp, which its mask names, to come to the same instruction", s->why_id);
        break;
    default: snprintf(out, size, "something that does not come");
    }
}

/// Nobody in the cluster can go on: which warps wait, for what, and what is missing.
static void report_deadlock(vg_cluster *c, bool polling) {
    char text[900];
    size_t n = 0;
    vg_warp *first = NULL;
    const vg_inst *at = NULL;
    uint32_t lane = 0, shown = 0, more = 0;
    const int head = snprintf(text, sizeof text, polling ? "deadlock: nothing changes what the threads that still run wait for"
                                                         : "deadlock: all threads that still run wait");
    n = (size_t)head;
    for (uint32_t b = 0; b < c->nblocks; b++)
        for (uint32_t i = 0; i < c->block[b]->nwarps; i++) {
            vg_warp *const w = &c->block[b]->warp[i];
            for (uint32_t k = 0; k < w->nsplit && !w->done; k++) {
                const vg_split *const s = &w->split[k];
                if (!s->used || s->children || !s->mask || !(s->blocked || polling)) continue;
                const vg_inst *const in = &s->frame->code->inst[s->pc];
                if (!first) {
                    first = w;
                    at = in;
                    lane = (uint32_t)__builtin_ctz(s->mask);
                }
                if (shown == 6) {
                    more++;
                    continue;
                }
                shown++;
                char what[160] = "a value in memory", lanes[32] = "";
                if (s->blocked) explain_split(w, s, what, sizeof what);
                if (s->mask != w->live) snprintf(lanes, sizeof lanes, " lanes 0x%08x", (unsigned)s->mask);
                const int m = snprintf(text + n, sizeof text - n, "\n  block (%u,%u,%u) warp %u%s, PTX line %u: waits for %s", c->block[b]->id[0],
                                       c->block[b]->id[1], c->block[b]->id[2], (unsigned)w->id, lanes, (unsigned)in->ptx->pos.line, what);
                if (m > 0) n = n + (size_t)m < sizeof text ? n + (size_t)m : sizeof text - 1;
            }
        }
    if (more) snprintf(text + n, sizeof text - n, "\n  and %u more", (unsigned)more);
    if (!first) return;
    if (first->run->gpu->options.sanitize) {
        static const unsigned nobody[3] = {0};
        vg_report_defect(first, at, lane, VG_D_deadlock, NULL, nobody, "%s", text);
    }
    fail_with(first, at, lane, VG_LAUNCH_TIMEOUT, text);
}

// ---- turns --------------------------------------------------------------------------------------

enum turn { T_RAN, T_POLLED, T_BLOCKED, T_DONE };

static void end_block(vg_block *b) {
    vg_async_block_end(b);
    if (b->run->gpu->options.sanitize) vg_san_block_end(b);
    b->cluster->running--;
}

/// One turn of each of a block's warps.
static enum turn block_turn(vg_block *b) {
    vg_worker *const wk = b->worker;
    const uint64_t seed = b->run->gpu->options.schedule;
    bool progress = false, all_blocked = true;
    const uint32_t n = b->nwarps, from = seed ? (uint32_t)(vg_random(&wk->rng) % n) : 0;
    for (uint32_t k = 0; k < n && b->running; k++) {
        vg_warp *const w = &b->warp[(from + k) % n];
        if (w->done) continue;
        if (seed && n > 1 && vg_random(&wk->rng) % 4 == 0 && all_blocked == false) continue; // skips a turn
        const uint64_t quantum = seed ? 1 + vg_random(&wk->rng) % (vg_random(&wk->rng) % 2 ? 8 : 256) : QUANTUM;
        progress |= vg_warp_turn(w, quantum);
        if (w->done) progress = true;
        else if (!w->blocked) all_blocked = false;
        if (atomic_load_explicit(&b->run->stop, memory_order_relaxed)) return T_RAN;
    }
    if (!b->running) {
        end_block(b);
        return T_DONE;
    }
    if (vg_async_progress(b, false)) progress = true;
    if (progress) return T_RAN;
    return all_blocked ? T_BLOCKED : T_POLLED;
}

static bool count_steps(vg_worker *wk, vg_cluster *c) {
    vg_run *const r = wk->run;
    const uint64_t all = atomic_fetch_add(&r->steps, wk->steps) + wk->steps;
    wk->steps = 0;
    if (all <= r->gpu->options.max_steps) return true;
    for (uint32_t i = 0; i < c->nblocks; i++)
        for (uint32_t k = 0; k < c->block[i]->nwarps; k++) {
            vg_warp *const w = &c->block[i]->warp[k];
            if (w->done) continue;
            vg_fail(w, &w->code->inst[w->pc], 0, VG_LAUNCH_TIMEOUT,
                    "the launch has executed %" PRIu64 " warp instructions and does not end", all);
            return false;
        }
    return true;
}

static void *work(void *arg);
/// Starts the other workers, as many as there are clusters for. Launches that do little never do.
static void start_workers(vg_run *r) {
    const uint64_t next = atomic_load(&r->next_cluster), left = next < r->nclusters ? r->nclusters - next : 0;
    pthread_t *const thread = r->thread;
    const uint32_t last = left < r->nworkers - 1 ? (uint32_t)left + 1 : r->nworkers;
    while (r->started < last) {
        atomic_fetch_add(&r->moving, 1);
        if (pthread_create(&thread[r->started], NULL, work, &r->worker[r->started]) != 0) {
            atomic_fetch_sub(&r->moving, 1);
            break;
        }
        r->started++;
    }
    r->nworkers = r->started;
}
static bool may_start(const vg_worker *wk) {
    const vg_run *const r = wk->run;
    return wk == r->worker && r->started < r->nworkers;
}

/// Turns of a cluster until it ends, only waits, or has had its slice.
static enum turn cluster_turn(vg_worker *wk, vg_cluster *c, bool others) {
    vg_run *const r = wk->run;
    uint64_t ran = 0;
    for (;;) {
        enum turn all = T_BLOCKED;
        for (uint32_t i = 0; i < c->nblocks; i++) {
            vg_block *const b = c->block[i];
            if (!b->running) continue;
            const enum turn t = block_turn(b);
            if (atomic_load_explicit(&r->stop, memory_order_relaxed)) return T_DONE;
            if (t == T_RAN || t == T_DONE) all = T_RAN;
            else if (t == T_POLLED && all == T_BLOCKED) all = T_POLLED;
        }
        ran += wk->steps;
        if (may_start(wk) && atomic_load_explicit(&r->steps, memory_order_relaxed) + wk->steps > THREAD_STEPS)
            start_workers(r);
        if (!count_steps(wk, c)) return T_DONE;
        if (!c->running) return T_DONE;
        if (all == T_RAN) {
            c->idle = 0;
            if (others && ran > SLICE) return T_RAN;
            continue;
        }
        bool woke = false;
        for (uint32_t i = 0; i < c->nblocks; i++)
            if (c->block[i]->running && vg_async_progress(c->block[i], true)) woke = true;
        if (woke) continue;
        c->idle++;
        if (all == T_BLOCKED || c->idle % RELEASE_AFTER == 0) {
            for (uint32_t i = 0; i < c->nblocks; i++)
                for (uint32_t k = 0; k < c->block[i]->nwarps; k++)
                    woke |= vg_warp_release(&c->block[i]->warp[k]);
            if (woke) continue;
        }
        return all;
    }
}

static void retire_cluster(vg_worker *wk, uint32_t i) {
    wk->spare[wk->nspare++] = wk->resident[i];
    memmove(wk->resident + i, wk->resident + i + 1, (wk->nresident - i - 1) * sizeof *wk->resident);
    wk->nresident--;
}

/// Everything that this worker holds only polls. Others may change that; long silence may not.
static void wait_for_others(vg_worker *wk) {
    vg_run *const r = wk->run;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < wk->nresident; i++)
        if (wk->resident[i]->idle < least) least = wk->resident[i]->idle;
    const uint64_t others = atomic_load(&r->moving);
    if (least > IDLE_LIMIT && others == 0) report_deadlock(wk->resident[0], true);
    sched_yield();
}

static void *work(void *arg) {
    vg_worker *const wk = arg;
    vg_run *const r = wk->run;
    uint32_t at = 0, idle = 0; // residents in a row without progress
    bool moving = true;
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        if (!wk->nresident || (idle >= wk->nresident && wk->nresident < r->resident_limit)) {
            if (start_cluster(wk)) {
                at = wk->nresident - 1;
                idle = 0;
            } else if (!wk->nresident) {
                if (atomic_load(&r->next_cluster) < r->nclusters && !atomic_load(&r->stop)) {
                    vg_lock(r->gpu);
                    if (atomic_load(&r->status) == VG_OK) {
                        vg_gpu_fail(r->gpu, VG_OUT_OF_MEMORY, "out of host memory for a block of %s", r->kernel->func->name);
                        atomic_store(&r->status, VG_OUT_OF_MEMORY);
                    }
                    vg_unlock(r->gpu);
                    atomic_store(&r->stop, true);
                }
                break;
            }
        }
        if (at >= wk->nresident) at = 0;
        vg_cluster *const c = wk->resident[at];
        const bool others = wk->nresident > 1;
        const enum turn t = cluster_turn(wk, c, others);
        if (atomic_load_explicit(&r->stop, memory_order_relaxed)) break;
        if (t == T_RAN || t == T_DONE) {
            if (!moving) atomic_fetch_add(&r->moving, 1);
            moving = true;
            idle = 0;
        } else idle++;
        if (t == T_BLOCKED) report_deadlock(c, false);
        if (t == T_DONE) retire_cluster(wk, at);
        else at++;
        if (wk->nresident && idle >= wk->nresident &&
            (wk->nresident >= r->resident_limit || atomic_load(&r->next_cluster) >= r->nclusters)) {
            if (may_start(wk)) start_workers(r);
            if (moving) atomic_fetch_sub(&r->moving, 1);
            moving = false;
            wait_for_others(wk);
        }
    }
    if (moving) atomic_fetch_sub(&r->moving, 1);
    for (uint32_t i = 0; i < wk->nresident; i++) free_cluster(wk->resident[i]);
    for (uint32_t i = 0; i < wk->nspare; i++) free_cluster(wk->spare[i]);
    free(wk->resident);
    free(wk->spare);
    return NULL;
}

// ---- launches -----------------------------------------------------------------------------------

static uint32_t shared_limit(int sm) { return (sm >= 90 ? 227u : sm == 80 ? 163u : 99u) * 1024; }

/// What the configuration says and the kernel can bear.
static enum vg_status check(vg_run *r) {
    vg_gpu *const g = r->gpu;
    const vg_kernel *const k = r->kernel;
    const vg_launch_config *const c = r->config;
    const ptx_func *const f = k->func;
    uint64_t threads = 1, blocks = 1, cluster = 1;
    static const unsigned most_grid[3] = {0x7fffffffu, 65535, 65535}, most_block[3] = {1024, 1024, 64};
    for (int i = 0; i < 3; i++) {
        if (!c->grid[i] || c->grid[i] > most_grid[i])
            return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: a grid of (%u,%u,%u) blocks", f->name, c->grid[0], c->grid[1], c->grid[2]);
        if (!c->block[i] || c->block[i] > most_block[i])
            return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: a block of (%u,%u,%u) threads", f->name, c->block[0], c->block[1], c->block[2]);
        const unsigned own = f->cluster[i];
        r->cluster[i] = c->cluster[0] ? c->cluster[i] ? c->cluster[i] : 1 : own ? own : 1;
        threads *= c->block[i];
        blocks *= c->grid[i];
        cluster *= r->cluster[i];
        if (cluster > 16 || c->grid[i] % r->cluster[i])
            return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: the grid (%u,%u,%u) is not made of its clusters, or those have more than 16 blocks",
                               f->name, c->grid[0], c->grid[1], c->grid[2]);
    }
    r->explicit_cluster = c->cluster[0] || f->cluster[0] || f->explicit_cluster;
    if (cluster > 1 && g->options.sm < 90) return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: clusters need sm_90", f->name);
    if (threads > 1024) return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: %" PRIu64 " threads a block; 1024 are the most", f->name, threads);
    const uint64_t required = (uint64_t)f->reqntid[0] * (f->reqntid[1] ? f->reqntid[1] : 1) * (f->reqntid[2] ? f->reqntid[2] : 1);
    if (f->reqntid[0]) {
        for (int i = 0; i < 3; i++)
            if (c->block[i] != (f->reqntid[i] ? f->reqntid[i] : 1))
                return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: a block of (%u,%u,%u) threads; the kernel requires %" PRIu64 " as (%u,%u,%u)", f->name,
                                   c->block[0], c->block[1], c->block[2], required, f->reqntid[0], f->reqntid[1], f->reqntid[2]);
    }
    const uint64_t most = (uint64_t)f->maxntid[0] * (f->maxntid[1] ? f->maxntid[1] : 1) * (f->maxntid[2] ? f->maxntid[2] : 1);
    if (f->maxntid[0] && threads > most)
        return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: %" PRIu64 " threads a block; the kernel allows %" PRIu64, f->name, threads, most);
    const uint64_t align = k->dynamic_align ? k->dynamic_align : 1;
    const uint64_t at = c->shared ? (k->static_shared + align - 1) / align * align : k->static_shared;
    if (at + c->shared > shared_limit(g->options.sm))
        return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: %" PRIu64 " bytes of shared memory a block; %u are the most", f->name, at + c->shared,
                           shared_limit(g->options.sm));
    r->dynamic_at = (uint32_t)at;
    r->shared_bytes = (uint32_t)(at + c->shared);
    r->blocks = blocks;
    r->nclusters = blocks / cluster;
    r->local_stride = (k->local_total + 15) & ~15u;
    return VG_OK;
}

static uint32_t worker_count(const vg_run *r) {
    long n = r->gpu->options.threads;
    if (n <= 0) n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) n = 1;
    if (n > MAX_WORKERS) n = MAX_WORKERS;
    return (uint64_t)n > r->nclusters ? (uint32_t)r->nclusters : (uint32_t)n;
}

/// Clusters that the machine would hold at once, a worker's share of them; fewer if memory is short.
static uint32_t resident_limit(const vg_run *r, uint32_t workers) {
    const unsigned *const b = r->config->block;
    const uint32_t threads = b[0] * b[1] * b[2], nwarps = (threads + 31) / 32;
    const uint32_t cluster = r->cluster[0] * r->cluster[1] * r->cluster[2];
    uint32_t per_sm = SM_THREADS / (nwarps * 32);
    if (per_sm > SM_BLOCKS) per_sm = SM_BLOCKS;
    const uint32_t by_shared = (shared_limit(r->gpu->options.sm) + 1024) / (r->shared_bytes + 1024);
    if (per_sm > by_shared) per_sm = by_shared;
    uint64_t clusters = (uint64_t)VG_PROCESSORS * (per_sm ? per_sm : 1) / cluster;
    const uint64_t bytes = (uint64_t)cluster * ((uint64_t)nwarps * (r->kernel->row_bytes + 32ull * r->local_stride) + r->shared_bytes + 4096);
    if (clusters > RESIDENT_BYTES / bytes) clusters = RESIDENT_BYTES / bytes;
    clusters = (clusters + workers - 1) / workers;
    return clusters ? (uint32_t)clusters : 1;
}

static enum vg_status execute(vg_run *r) {
    const uint32_t n = worker_count(r);
    r->resident_limit = resident_limit(r, n);
    atomic_store(&r->moving, 1);
    vg_worker *const wk = calloc(n, sizeof *wk);
    pthread_t *const thread = calloc(n, sizeof *thread);
    if (!wk || !thread) {
        free(wk);
        free(thread);
        return vg_gpu_fail(r->gpu, VG_OUT_OF_MEMORY, "out of host memory");
    }
    for (uint32_t i = 0; i < n; i++) {
        wk[i].run = r;
        wk[i].rng = 1;
    }
    r->worker = wk;
    r->thread = thread;
    r->nworkers = n;
    r->started = 1;
    const uint32_t warps = (r->config->block[0] * r->config->block[1] * r->config->block[2] + 31) / 32;
    if (n > 1 && r->blocks * warps * r->kernel->ninst > THREAD_STEPS) start_workers(r);
    work(&wk[0]);
    for (uint32_t i = 1; i < r->started; i++) pthread_join(thread[i], NULL);
    free(wk);
    free(thread);
    return (enum vg_status)atomic_load(&r->status);
}

enum vg_status vg_launch(vg_gpu *g, vg_kernel *k, const vg_launch_config *c) {
    vg_run r = {.gpu = g, .kernel = k, .config = c, .number = ++g->launches};
    enum vg_status s = check(&r);
    if (s != VG_OK) return s;
    const ptx_func *const f = k->func;
    r.param_bytes = f->param_bytes;
    r.param = calloc(1, (size_t)r.param_bytes + 64);
    if (!r.param) return vg_gpu_fail(g, VG_OUT_OF_MEMORY, "out of host memory");
    for (uint32_t i = 0; i < f->nparam; i++) {
        if (!c->params || !c->params[i]) {
            free(r.param);
            return vg_gpu_fail(g, VG_INVALID_VALUE, "%s: parameter %u is missing", f->name, (unsigned)i);
        }
        memcpy(r.param + f->param[i].address, c->params[i], f->param[i].bytes);
    }
    if (g->options.profile) vg_prof_launch(&r, true);
    if (g->options.sanitize) vg_san_launch(&r, true);
    s = execute(&r);
    if (g->options.sanitize) vg_san_launch(&r, false);
    if (g->options.profile) vg_prof_launch(&r, false);
    free(r.param);
    return s;
}
