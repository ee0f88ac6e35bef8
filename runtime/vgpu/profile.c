// SPDX-License-Identifier: Apache-2.0
// Profiler: what each instruction did, counted as the hardware would: sectors of global memory,
// wavefronts of shared memory, divergence. Counts are added by all workers at once.
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/exec.h"

const char *const vg_class_names[VG_class_count_] = {
#define VG_CLASS(id, name) name,
#include "runtime/vgpu/class.def"
#undef VG_CLASS
};

typedef struct entry {
    const vg_kernel *code;
    vg_counts *counts;
    uint8_t *cls;
    uint32_t *flops;       // a thread, or a warp for matrix instructions
    uint32_t n;
    uint64_t launches, blocks;
    char *name;
    struct entry *next;
} entry;

typedef struct {
    entry *first, **end;
    vg_profile *shown;
} state;

static _Thread_local struct {
    const vg_kernel *code;
    entry *e;
    uint64_t generation;
} last;
static _Atomic uint64_t generations; // of all machines: a thread's memory of an entry must not outlive it

static void add(uint64_t *x, uint64_t n) {
    if (n) __atomic_fetch_add(x, n, __ATOMIC_RELAXED);
}

// ---- arithmetic of an instruction ---------------------------------------------------------------

static bool has(const ptx_inst *p, const char *mod) {
    for (uint32_t i = 0; i < p->nmod; i++)
        if (!strcmp(p->mod[i], mod)) return true;
    return false;
}

/// "m16n8k16": twice the product, for the whole warp, or a quarter of it for a warpgroup's warp.
static uint32_t matrix_flops(const ptx_inst *p) {
    for (uint32_t i = 0; i < p->nmod; i++) {
        unsigned m, n, k;
        if (sscanf(p->mod[i], "m%un%uk%u", &m, &n, &k) == 3) return 2 * m * n * k / (strcmp(p->op, "wgmma") ? 1 : 4);
    }
    return 0;
}

static uint32_t thread_flops(const ptx_inst *p) {
    static const char *const floats[] = {"f16", "bf16", "f32", "f64", NULL}, *const pairs[] = {"f16x2", "bf16x2", "f32x2", NULL};
    uint32_t width = 0;
    for (int i = 0; floats[i]; i++)
        if (has(p, floats[i])) width = 1;
    for (int i = 0; pairs[i]; i++)
        if (has(p, pairs[i])) width = 2;
    if (!strcmp(p->op, "fma") || !strcmp(p->op, "mad")) return 2 * width;
    static const char *const ones[] = {"add", "sub", "mul", "div", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh", NULL};
    for (int i = 0; ones[i]; i++)
        if (!strcmp(p->op, ones[i])) return width;
    return 0;
}

// ---- entries ------------------------------------------------------------------------------------

static void drop(entry *e) {
    free(e->counts);
    free(e->cls);
    free(e->flops);
    free(e->name);
    free(e);
}

static entry *entry_new(const vg_kernel *k) {
    entry *const e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->code = k;
    e->n = k->ninst;
    e->counts = calloc(e->n, sizeof *e->counts);
    e->cls = calloc(e->n, 1);
    e->flops = calloc(e->n, sizeof *e->flops);
    e->name = strdup(k->func->name);
    if (!e->counts || !e->cls || !e->flops || !e->name) {
        drop(e);
        return NULL;
    }
    for (uint32_t i = 0; i < e->n; i++) {
        const vg_inst *const in = &k->inst[i];
        e->cls[i] = in->cls;
        if (in->ptx) e->flops[i] = in->cls == VG_C_matrix ? matrix_flops(in->ptx) : thread_flops(in->ptx);
    }
    return e;
}

static entry *entry_of(vg_gpu *g, const vg_kernel *k) {
    const uint64_t now = atomic_load_explicit(&generations, memory_order_relaxed);
    if (last.code == k && last.generation == now) return last.e;
    vg_lock(g);
    state *s = g->prof;
    if (!s && (s = g->prof = calloc(1, sizeof *s))) s->end = &s->first;
    entry *e = s ? s->first : NULL;
    while (e && e->code != k) e = e->next;
    if (!e && s && (e = entry_new(k))) {
        *s->end = e;
        s->end = &e->next;
    }
    vg_unlock(g);
    last.code = k;
    last.e = e;
    last.generation = now;
    return e;
}

void vg_prof_launch(vg_run *r, bool begin) {
    if (!begin) return;
    entry *const e = entry_of(r->gpu, r->kernel);
    if (!e) return;
    e->launches++;
    e->blocks += r->blocks;
    r->counts = e->counts;
}

static vg_counts *counts_of(vg_warp *w, const vg_inst *in, entry **e) {
    *e = entry_of(w->run->gpu, w->code);
    const size_t pc = (size_t)(in - w->code->inst);
    return *e && pc < (*e)->n ? &(*e)->counts[pc] : NULL;
}

void vg_prof_step(vg_warp *w, const vg_inst *in, uint32_t mask) {
    entry *e;
    vg_counts *const c = counts_of(w, in, &e);
    if (!c) return;
    const uint64_t threads = (uint64_t)__builtin_popcount(mask), flops = e->flops[c - e->counts];
    add(&c->warps, 1);
    add(&c->threads, threads);
    add(&c->flops, in->cls == VG_C_matrix ? flops : flops * threads);
    if (in->cls == VG_C_control && mask != w->active && in->ptx && !strcmp(in->ptx->op, "bra")) add(&c->divergent, 1);
}

// ---- memory -------------------------------------------------------------------------------------

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t distinct(uint64_t *x, uint32_t n) {
    qsort(x, n, sizeof *x, by_number);
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) m += i == 0 || x[i] != x[i - 1];
    return m;
}

/// Sectors of 32 bytes; the least is what the distinct words would fill.
static void sectors(vg_counts *c, uint32_t mask, const uint64_t addr[32], uint32_t bytes) {
    uint64_t sector[32 * 5], word[32 * 17];
    uint32_t ns = 0, nw = 0;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint64_t a = addr[__builtin_ctz(m)];
        for (uint64_t s = a / 32; s <= (a + bytes - 1) / 32 && ns < 32 * 5; s++) sector[ns++] = s;
        const uint32_t unit = bytes < 4 ? 1 : 4;
        for (uint64_t b = a / unit; b <= (a + bytes - 1) / unit && nw < 32 * 17; b++) word[nw++] = b;
    }
    const uint32_t unit = bytes < 4 ? 1 : 4;
    add(&c->sectors, distinct(sector, ns));
    add(&c->ideal_sectors, (distinct(word, nw) * unit + 31) / 32);
}

/// Most distinct words that lanes [lo, hi) want of one bank of 4 bytes.
static uint32_t passes(uint32_t mask, const uint64_t addr[32], uint32_t bytes, uint32_t lo, uint32_t hi) {
    uint32_t of_bank[32] = {0}, n = 0, most = 0;
    uint64_t word[32 * 4];
    for (uint32_t l = lo; l < hi; l++) {
        if (!(mask >> l & 1)) continue;
        for (uint64_t x = addr[l] / 4; x <= (addr[l] + bytes - 1) / 4 && n < 32 * 4; x++) word[n++] = x;
    }
    const uint32_t d = n ? (qsort(word, n, sizeof *word, by_number), n) : 0;
    for (uint32_t i = 0; i < d; i++)
        if (i == 0 || word[i] != word[i - 1]) {
            const uint32_t now = ++of_bank[word[i] % 32];
            if (now > most) most = now;
        }
    return most;
}

/// Accesses of 8 bytes go by half warps, of 16 by quarters.
static void wavefronts(vg_counts *c, uint32_t mask, const uint64_t addr[32], uint32_t bytes) {
    const uint32_t step = bytes > 8 ? 8 : bytes > 4 ? 16 : 32;
    for (uint32_t lo = 0; lo < 32; lo += step) {
        const uint32_t n = passes(mask, addr, bytes, lo, lo + step);
        add(&c->wavefronts, n);
        add(&c->ideal_wavefronts, n > 0);
    }
}

void vg_prof_memory(vg_warp *w, const vg_inst *in, uint32_t mask, int space, const uint64_t addr[32], uint32_t bytes) {
    entry *e;
    vg_counts *const c = counts_of(w, in, &e);
    if (!c || !bytes || bytes > 64) return;
    add(&c->bytes, (uint64_t)bytes * (uint64_t)__builtin_popcount(mask));
    if (space == PTX_GLOBAL) sectors(c, mask, addr, bytes);
    else if (space == PTX_SHARED || space == PTX_SHARED_CLUSTER) wavefronts(c, mask, addr, bytes);
}

void vg_prof_rows(vg_warp *w, const vg_inst *in, const uint32_t *row, uint32_t nrows) {
    entry *e;
    vg_counts *const c = counts_of(w, in, &e);
    if (!c) return;
    add(&c->bytes, 16ull * nrows);
    for (uint32_t i = 0; i < nrows; i += 8) { // one matrix a pass
        uint64_t at[32] = {0};
        const uint32_t n = nrows - i < 8 ? nrows - i : 8;
        for (uint32_t r = 0; r < n; r++) at[r] = row[i + r];
        add(&c->wavefronts, passes((1u << n) - 1, at, 16, 0, n));
        add(&c->ideal_wavefronts, 1);
    }
}

// ---- results ------------------------------------------------------------------------------------

static void sum(vg_counts *to, const vg_counts *x) {
    const uint64_t *const from = (const uint64_t *)x;
    uint64_t *const out = (uint64_t *)to;
    for (size_t i = 0; i < sizeof *x / sizeof *from; i++) out[i] += from[i];
}

size_t vg_profiles(vg_gpu *g, const vg_profile **out) {
    state *const s = g->prof;
    *out = NULL;
    if (!s) return 0;
    size_t n = 0;
    for (const entry *e = s->first; e; e = e->next) n++;
    free(s->shown);
    s->shown = calloc(n ? n : 1, sizeof *s->shown);
    if (!s->shown) return 0;
    vg_profile *p = s->shown;
    for (const entry *e = s->first; e; e = e->next, p++) {
        *p = (vg_profile){.kernel = e->name, .func = e->code->func, .module = e->code->module->ptx, .launches = e->launches, .blocks = e->blocks,
                          .inst = e->counts, .cls = e->cls};
        for (uint32_t i = 0; i < e->n; i++) {
            sum(&p->by_class[e->cls[i]], &e->counts[i]);
            sum(&p->total, &e->counts[i]);
        }
    }
    *out = s->shown;
    return n;
}

void vg_profiles_clear(vg_gpu *g) {
    state *const s = g->prof;
    if (!s) return;
    for (entry *e = s->first, *next; e; e = next) {
        next = e->next;
        drop(e);
    }
    free(s->shown);
    free(s);
    g->prof = NULL;
    atomic_fetch_add(&generations, 1);
}

void vg_prof_destroy(vg_gpu *g) { vg_profiles_clear(g); }
