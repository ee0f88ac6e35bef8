// SPDX-License-Identifier: Apache-2.0
// The virtual GPU's memory: one range of addresses, reserved but not backed, of which blocks are taken
// upwards with guard space between them. Freed addresses are reused late, so that stale pointers are found.
#include "runtime/vgpu/exec.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK_ALIGN = 256, GUARD = 4096, PAGE = 4096 };
#define DEFAULT_MEMORY ((size_t)16 << 30)
#define HEAP_BYTES ((uint64_t)8 << 20)

enum vg_status vg_gpu_fail(vg_gpu *g, enum vg_status s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->error, sizeof g->error, fmt, ap);
    va_end(ap);
    return s;
}

const char *vg_error(const vg_gpu *g) { return g->error; }

void vg_lock(vg_gpu *g) { pthread_mutex_lock(g->lock); }
void vg_unlock(vg_gpu *g) { pthread_mutex_unlock(g->lock); }

enum vg_status vg_create(const vg_options *o, vg_gpu **out) {
    *out = NULL;
    vg_gpu *const g = calloc(1, sizeof *g);
    if (!g) return VG_OUT_OF_MEMORY;
    if (o) g->options = *o;
    if (!g->options.sm) g->options.sm = 90;
    if (!g->options.max_steps) g->options.max_steps = 100000000000ull;
    if (!g->options.memory) g->options.memory = DEFAULT_MEMORY;
    pthread_mutex_t *const lock = malloc(sizeof *lock);
    if (!lock || g->options.memory > (size_t)1 << 46) {
        free(lock);
        free(g);
        return lock ? VG_INVALID_VALUE : VG_OUT_OF_MEMORY;
    }
    pthread_mutex_init(lock, NULL);
    g->lock = lock;
    // Room for freed blocks too: addresses are taken several times over before any is reused.
    g->reserved = 4 * g->options.memory + ((size_t)1 << 30);
    void *at = MAP_FAILED;
    while (g->reserved >= g->options.memory) {
        at = mmap(NULL, g->reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at != MAP_FAILED) break;
        g->reserved /= 2;
    }
    if (at == MAP_FAILED) {
        g->base = NULL;
        vg_destroy(g);
        return VG_OUT_OF_MEMORY;
    }
    g->base = at;
    g->top = PAGE;
    *out = g;
    return VG_OK;
}

void vg_destroy(vg_gpu *g) {
    if (!g) return;
    while (g->modules) vg_unload(g->modules);
    vg_reports_clear(g);
    vg_san_destroy(g);
    vg_prof_destroy(g);
    for (vg_module *m = g->unloaded, *next; m; m = next) {
        next = m->next;
        vg_module_free(m);
    }
    if (g->base) munmap(g->base, g->reserved);
    pthread_mutex_destroy(g->lock);
    free(g->lock);
    free(g->heap_state);
    free(g->extent);
    free(g);
}

// ---- blocks -------------------------------------------------------------------------------------

static size_t live_bytes(const vg_gpu *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->nextent; i++)
        if (g->extent[i].live) n += g->extent[i].bytes;
    return n;
}

/// Where a gap between live blocks, or one left by freed ones, holds `bytes`: when the top is reached.
static size_t find_gap(vg_gpu *g, size_t bytes, size_t *place) {
    size_t n = 0; // drop what was freed: its addresses are needed
    for (size_t i = 0; i < g->nextent; i++)
        if (g->extent[i].live) g->extent[n++] = g->extent[i];
    g->nextent = n;
    size_t at = PAGE;
    for (size_t i = 0; i <= n; i++) {
        const size_t end = i < n ? (size_t)(g->extent[i].at - VG_GLOBAL) : g->reserved;
        if (end >= at && end - at >= bytes) {
            *place = i;
            return at;
        }
        if (i < n) at = (end + g->extent[i].bytes + GUARD + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    }
    return 0;
}

enum vg_status vg_alloc(vg_gpu *g, size_t bytes, uint64_t *address) {
    *address = 0;
    if (!bytes) return vg_gpu_fail(g, VG_INVALID_VALUE, "an allocation of 0 bytes");
    const size_t memory = g->options.memory;
    if (bytes > memory || live_bytes(g) > memory - bytes)
        return vg_gpu_fail(g, VG_OUT_OF_MEMORY, "out of device memory: %zu bytes asked for, %zu in use of %zu", bytes,
                           live_bytes(g), memory);
    if (g->nextent == g->cap_extent) {
        const size_t cap = g->cap_extent ? 2 * g->cap_extent : 64;
        vg_extent *const grown = realloc(g->extent, cap * sizeof *grown);
        if (!grown) return vg_gpu_fail(g, VG_OUT_OF_MEMORY, "out of host memory");
        g->extent = grown;
        g->cap_extent = cap;
    }
    const size_t room = bytes + GUARD;
    size_t at = g->top, place = g->nextent;
    if (g->reserved - g->top < room) {
        at = find_gap(g, room, &place);
        if (!at) return vg_gpu_fail(g, VG_OUT_OF_MEMORY, "no gap of %zu bytes is left", bytes);
    }
    memmove(g->extent + place + 1, g->extent + place, (g->nextent - place) * sizeof *g->extent);
    g->extent[place] = (vg_extent){VG_GLOBAL + at, bytes, true, false};
    g->nextent++;
    const size_t end = (at + room + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    if (end > g->top) g->top = end < g->reserved ? end : g->reserved;
    *address = VG_GLOBAL + at;
    if (g->options.sanitize) vg_san_alloc(g, *address, bytes, false);
    return VG_OK;
}

static vg_extent *extent_below(const vg_gpu *g, uint64_t a) {
    size_t lo = 0, hi = g->nextent;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (g->extent[mid].at <= a) lo = mid + 1;
        else hi = mid;
    }
    return lo ? &g->extent[lo - 1] : NULL;
}

enum vg_status vg_free(vg_gpu *g, uint64_t address) {
    vg_extent *const e = extent_below(g, address);
    if (!e || e->at != address || !e->live)
        return vg_gpu_fail(g, VG_INVALID_VALUE, "0x%llx is %s", (unsigned long long)address,
                           e && e->at == address ? "freed already" : "not the start of an allocation");
    e->live = false;
    // Whole pages go back to the host; the rest stays as it is, out of bounds.
    const uintptr_t from = ((uintptr_t)g->base + (size_t)(address - VG_GLOBAL) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    const uintptr_t to = ((uintptr_t)g->base + (size_t)(address - VG_GLOBAL) + e->bytes) & ~(uintptr_t)(PAGE - 1);
    if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
    if (g->options.sanitize) vg_san_alloc(g, address, e->bytes, true);
    return VG_OK;
}

const vg_extent *vg_extent_at(const vg_gpu *g, uint64_t a, uint64_t n) {
    const vg_extent *const e = extent_below(g, a);
    return e && e->live && a - e->at < e->bytes && n <= e->bytes - (a - e->at) ? e : NULL;
}

uint8_t *vg_global(vg_gpu *g, uint64_t a, size_t n) {
    return vg_extent_at(g, a, n) ? g->base + (a - VG_GLOBAL) : NULL;
}

void *vg_host(vg_gpu *g, uint64_t address, size_t bytes, bool write) {
    uint8_t *const p = vg_global(g, address, bytes);
    if (p && write && g->options.sanitize) vg_san_host_write(g, address, bytes);
    return p;
}

// ---- device malloc ------------------------------------------------------------------------------
// Blocks of 16-byte units in one extent; a list of free ranges sorted by place.

typedef struct {
    uint64_t at, bytes;
    bool taken;
} heap_range;
typedef struct {
    uint32_t n, cap;
    heap_range range[];
} heap;

static bool heap_open(vg_gpu *g) {
    if (g->heap) return true;
    const uint32_t cap = 1 << 14;
    heap *const h = malloc(sizeof *h + cap * sizeof *h->range);
    // The table of extents is read by other workers: vg_load has made the block before any launch.
    if (!h || vg_alloc(g, HEAP_BYTES, &g->heap) != VG_OK) {
        free(h);
        return false;
    }
    extent_below(g, g->heap)->module = true;
    h->n = 1;
    h->cap = cap;
    h->range[0] = (heap_range){g->heap, HEAP_BYTES, false};
    g->heap_state = h;
    return true;
}

bool vg_heap_reserve(vg_gpu *g) { return heap_open(g); }

uint64_t vg_heap_alloc(vg_gpu *g, uint64_t bytes) {
    if (!g->heap_state || bytes > HEAP_BYTES) return 0;
    const uint64_t n = bytes ? (bytes + 15) & ~15ull : 16;
    uint64_t out = 0;
    vg_lock(g);
    heap *const h = g->heap_state;
    for (uint32_t i = 0; i < h->n && !out; i++) {
        heap_range *const r = &h->range[i];
        if (r->taken || r->bytes < n) continue;
        if (r->bytes > n) {
            if (h->n == h->cap) break;
            memmove(r + 2, r + 1, (h->n - i - 1) * sizeof *r);
            r[1] = (heap_range){r->at + n, r->bytes - n, false};
            h->n++;
        }
        r->bytes = n;
        r->taken = true;
        out = r->at;
    }
    vg_unlock(g);
    return out;
}

bool vg_heap_free(vg_gpu *g, uint64_t a) {
    bool found = false;
    if (!g->heap_state) return false;
    vg_lock(g);
    heap *const h = g->heap_state;
    for (uint32_t i = 0; i < h->n && !found; i++) {
        if (h->range[i].at != a || !h->range[i].taken) continue;
        h->range[i].taken = false;
        found = true;
        uint32_t first = i, last = i;
        if (i && !h->range[i - 1].taken) first--;
        if (i + 1 < h->n && !h->range[i + 1].taken) last++;
        for (uint32_t k = first + 1; k <= last; k++) h->range[first].bytes += h->range[k].bytes;
        memmove(&h->range[first + 1], &h->range[last + 1], (h->n - last - 1) * sizeof *h->range);
        h->n -= last - first;
    }
    vg_unlock(g);
    return found;
}
