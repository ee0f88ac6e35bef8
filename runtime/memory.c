// SPDX-License-Identifier: Apache-2.0
// Device memory, copies, streams and events. On the VM memory is the host's and all is synchronous.
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/runtime.h"

enum { ALIGN = 256 };

// ---- blocks, sorted by address ------------------------------------------------------------------

/// Number of blocks that begin at or before p.
static size_t upto(const tilus_context *c, uint64_t p) {
    size_t lo = 0, hi = c->nblocks;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (c->blocks[mid].at <= p) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

size_t rt_extent(const tilus_context *c, uint64_t p) {
    const size_t k = upto(c, p);
    if (!k) return 0;
    const rt_block *b = &c->blocks[k - 1];
    return p - b->at < b->size ? b->size - (size_t)(p - b->at) : 0;
}

static bool reserve_block(tilus_context *c) {
    if (c->nblocks < c->cap_blocks) return true;
    const size_t cap = c->cap_blocks ? c->cap_blocks * 2 : 16;
    rt_block *b = rt_alloc(c, cap * sizeof *b);
    if (!b) return false;
    if (c->nblocks) memcpy(b, c->blocks, c->nblocks * sizeof *b);
    rt_free(c, c->blocks, c->cap_blocks * sizeof *b);
    c->blocks = b;
    c->cap_blocks = cap;
    return true;
}

tilus_status tilus_alloc(tilus_context *c, size_t size, void **out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (!size || size > SIZE_MAX / 2) return rt_fail(c, TILUS_INVALID_ARGUMENT, "%zu bytes cannot be allocated", size);
    if (!reserve_block(c)) return rt_no_memory(c);
    rt_block b = {.size = size};
    if (c->device == TILUS_DEVICE_VM) {
        // not zeroed: a program that reads what it did not write should be seen to do so
        b.base = c->alloc.alloc(c->alloc.user, size + ALIGN);
        if (!b.base) return rt_fail(c, TILUS_OUT_OF_DEVICE_MEMORY, "no memory for %zu bytes", size);
        b.at = ((uintptr_t)b.base + ALIGN - 1) / ALIGN * ALIGN;
    } else {
        tilus_status s = rt_enter(c);
        if (s != TILUS_OK) return s;
        s = rt_cu(c, c->cu.mem_alloc(&b.at, size), "cuMemAlloc");
        rt_leave(c);
        if (s != TILUS_OK) return s;
    }
    const size_t k = upto(c, b.at);
    memmove(&c->blocks[k + 1], &c->blocks[k], (c->nblocks - k) * sizeof b);
    c->blocks[k] = b;
    c->nblocks++;
    *out = (void *)(uintptr_t)b.at;
    return TILUS_OK;
}

tilus_status tilus_free(tilus_context *c, void *ptr) {
    if (!c) return TILUS_INVALID_ARGUMENT;
    if (!ptr) return TILUS_OK;
    const uint64_t p = (uintptr_t)ptr;
    const size_t k = upto(c, p);
    if (!k || c->blocks[k - 1].at != p)
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "%p was not allocated by this context", ptr);
    const rt_block b = c->blocks[k - 1];
    tilus_status s = c->device == TILUS_DEVICE_VM ? TILUS_OK : rt_enter(c);
    if (s != TILUS_OK) return s; // still the context's
    memmove(&c->blocks[k - 1], &c->blocks[k], (c->nblocks - k) * sizeof b);
    c->nblocks--;
    if (c->device == TILUS_DEVICE_VM) {
        rt_free(c, b.base, b.size + ALIGN);
        return TILUS_OK;
    }
    s = rt_cu(c, c->cu.mem_free(b.at), "cuMemFree");
    rt_leave(c);
    return s;
}

// ---- copies -------------------------------------------------------------------------------------

static bool bad_copy(tilus_context *c, const void *dst, const void *src, size_t size) {
    if (c && (!size || (dst && src))) return false;
    if (c) rt_fail(c, TILUS_INVALID_ARGUMENT, "a null pointer cannot be copied");
    return true;
}

/// The device side of a copy must not leave the block that it begins in.
static tilus_status check_inside(tilus_context *c, const void *p, size_t size) {
    const size_t n = rt_extent(c, (uintptr_t)p);
    return n && size > n ? rt_fail(c, TILUS_INVALID_ARGUMENT, "%zu bytes are beyond the %zu that were allocated there", size, n)
                         : TILUS_OK;
}

tilus_status tilus_upload(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream st) {
    if (bad_copy(c, dst, src, size)) return TILUS_INVALID_ARGUMENT;
    tilus_status s = check_inside(c, dst, size);
    if (s != TILUS_OK || !size) return s;
    if (c->device == TILUS_DEVICE_VM) {
        memmove(dst, src, size);
        return TILUS_OK;
    }
    s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.copy_h2d((uintptr_t)dst, src, size, st), "cuMemcpyHtoDAsync");
    if (s == TILUS_OK) s = rt_cu(c, c->cu.stream_synchronize(st), "cuStreamSynchronize");
    rt_leave(c);
    return s;
}

tilus_status tilus_download(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream st) {
    if (bad_copy(c, dst, src, size)) return TILUS_INVALID_ARGUMENT;
    tilus_status s = check_inside(c, src, size);
    if (s != TILUS_OK || !size) return s;
    if (c->device == TILUS_DEVICE_VM) {
        memmove(dst, src, size);
        return TILUS_OK;
    }
    s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.copy_d2h(dst, (uintptr_t)src, size, st), "cuMemcpyDtoHAsync");
    if (s == TILUS_OK) s = rt_cu(c, c->cu.stream_synchronize(st), "cuStreamSynchronize");
    rt_leave(c);
    return s;
}

tilus_status tilus_copy_async(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream st) {
    if (bad_copy(c, dst, src, size)) return TILUS_INVALID_ARGUMENT;
    tilus_status s = check_inside(c, dst, size);
    if (s == TILUS_OK) s = check_inside(c, src, size);
    if (s != TILUS_OK || !size) return s;
    if (c->device == TILUS_DEVICE_VM) {
        memmove(dst, src, size);
        return TILUS_OK;
    }
    s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.copy_any((uintptr_t)dst, (uintptr_t)src, size, st), "cuMemcpyAsync");
    rt_leave(c);
    return s;
}

tilus_status tilus_fill(tilus_context *c, void *dst, int byte, size_t size, tilus_stream st) {
    if (bad_copy(c, dst, dst, size)) return TILUS_INVALID_ARGUMENT;
    tilus_status s = check_inside(c, dst, size);
    if (s != TILUS_OK || !size) return s;
    if (c->device == TILUS_DEVICE_VM) {
        memset(dst, byte, size);
        return TILUS_OK;
    }
    s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.fill8((uintptr_t)dst, (unsigned char)byte, size, st), "cuMemsetD8Async");
    rt_leave(c);
    return s;
}

// ---- streams and events -------------------------------------------------------------------------

tilus_status tilus_stream_create(tilus_context *c, tilus_stream *out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (c->device == TILUS_DEVICE_VM) return TILUS_OK;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.stream_create(out, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    if (s == TILUS_OK && !rt_list_add(c, &c->streams, *out)) {
        c->cu.stream_destroy(*out);
        *out = NULL;
        s = rt_no_memory(c);
    }
    rt_leave(c);
    return s;
}

tilus_status tilus_stream_destroy(tilus_context *c, tilus_stream st) {
    if (!c) return TILUS_INVALID_ARGUMENT;
    if (!st) return TILUS_OK;
    if (!rt_list_remove(&c->streams, st)) return rt_fail(c, TILUS_INVALID_ARGUMENT, "not a stream of this context");
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.stream_destroy(st), "cuStreamDestroy");
    rt_leave(c);
    return s;
}

tilus_status tilus_synchronize(tilus_context *c, tilus_stream st) {
    if (!c) return TILUS_INVALID_ARGUMENT;
    if (c->device == TILUS_DEVICE_VM) return TILUS_OK;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.stream_synchronize(st), "cuStreamSynchronize");
    rt_leave(c);
    return s;
}

tilus_status tilus_event_create(tilus_context *c, tilus_event *out) {
    if (!c || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    if (c->device == TILUS_DEVICE_VM) {
        struct timespec *t = rt_alloc(c, sizeof *t);
        if (!t || !rt_list_add(c, &c->events, t)) {
            rt_free(c, t, sizeof *t);
            return rt_no_memory(c);
        }
        *out = t;
        return TILUS_OK;
    }
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.event_create(out, 0), "cuEventCreate");
    if (s == TILUS_OK && !rt_list_add(c, &c->events, *out)) {
        c->cu.event_destroy(*out);
        *out = NULL;
        s = rt_no_memory(c);
    }
    rt_leave(c);
    return s;
}

tilus_status tilus_event_destroy(tilus_context *c, tilus_event e) {
    if (!c) return TILUS_INVALID_ARGUMENT;
    if (!e) return TILUS_OK;
    if (!rt_list_remove(&c->events, e)) return rt_fail(c, TILUS_INVALID_ARGUMENT, "not an event of this context");
    if (c->device == TILUS_DEVICE_VM) {
        rt_free(c, e, sizeof(struct timespec));
        return TILUS_OK;
    }
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.event_destroy(e), "cuEventDestroy");
    rt_leave(c);
    return s;
}

tilus_status tilus_event_record(tilus_context *c, tilus_event e, tilus_stream st) {
    if (!c || !e) return TILUS_INVALID_ARGUMENT;
    if (c->device == TILUS_DEVICE_VM) {
        clock_gettime(CLOCK_MONOTONIC, e);
        return TILUS_OK;
    }
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.event_record(e, st), "cuEventRecord");
    rt_leave(c);
    return s;
}

tilus_status tilus_event_elapsed(tilus_context *c, tilus_event from, tilus_event to, float *ms) {
    if (!c || !from || !to || !ms) return TILUS_INVALID_ARGUMENT;
    if (c->device == TILUS_DEVICE_VM) {
        const struct timespec *a = from, *b = to;
        *ms = (float)((double)(b->tv_sec - a->tv_sec) * 1e3 + (double)(b->tv_nsec - a->tv_nsec) * 1e-6);
        return TILUS_OK;
    }
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.event_synchronize(to), "cuEventSynchronize");
    if (s == TILUS_OK) s = rt_cu(c, c->cu.event_elapsed(ms, from, to), "cuEventElapsedTime");
    rt_leave(c);
    return s;
}
