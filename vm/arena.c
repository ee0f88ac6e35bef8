// SPDX-License-Identifier: Apache-2.0
// Memory of one compilation: a chain of blocks that dies as a whole, and growable text in it.
// Not for runtime objects, which have owners of their own.
#include "vm/vm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct block block;
struct block {
    block *next;
    size_t size; // header included
    size_t used;
    size_t pad; // keeps the payload 16-byte aligned
};

struct vm_arena {
    vm_allocator mem;
    jmp_buf *oom;
    block *blocks;
    size_t total;
};

enum { BLOCK_MIN = 1 << 14, BLOCK_MAX = 1 << 20 };

static void *std_alloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

static void std_release(void *user, void *ptr, size_t size) {
    (void)user;
    (void)size;
    free(ptr);
}

const vm_allocator vm_malloc = {std_alloc, std_release, NULL};

vm_arena *vm_arena_new(const vm_allocator *mem, jmp_buf *oom) {
    const vm_allocator m = mem ? *mem : vm_malloc;
    vm_arena *a = m.alloc(m.user, sizeof *a);
    if (!a) return NULL;
    *a = (vm_arena){.mem = m, .oom = oom};
    return a;
}

void vm_arena_free(vm_arena *a) {
    if (!a) return;
    for (block *b = a->blocks; b;) {
        block *next = b->next;
        a->mem.release(a->mem.user, b, b->size);
        b = next;
    }
    const vm_allocator m = a->mem;
    m.release(m.user, a, sizeof *a);
}

void vm_arena_set_oom(vm_arena *a, jmp_buf *oom) { a->oom = oom; }

size_t vm_arena_used(const vm_arena *a) { return a->total; }

static VM_NORETURN void out_of_memory(vm_arena *a) {
    assert(a->oom);
    longjmp(*a->oom, 1);
}

void *vm_alloc(vm_arena *a, size_t size) {
    if (size > SIZE_MAX / 2) out_of_memory(a);
    size = size ? (size + 15) & ~(size_t)15 : 16;
    block *b = a->blocks;
    if (!b || b->size - b->used < size) {
        // Blocks double up to a limit, so that small compilations stay small.
        size_t want = b ? b->size * 2 : BLOCK_MIN;
        if (want > BLOCK_MAX) want = BLOCK_MAX;
        const bool big = sizeof *b + size > want;
        if (big) want = sizeof *b + size;
        block *n = a->mem.alloc(a->mem.user, want);
        if (!n) out_of_memory(a);
        *n = (block){.size = want, .used = sizeof *n};
        if (big && b) { // keep filling the current block
            n->next = b->next;
            b->next = n;
        } else {
            n->next = b;
            a->blocks = n;
        }
        b = n;
    }
    void *p = (char *)b + b->used;
    b->used += size;
    a->total += size;
    return memset(p, 0, size);
}

void *vm_dup(vm_arena *a, const void *src, size_t size) {
    void *p = vm_alloc(a, size);
    if (size) memcpy(p, src, size);
    return p;
}

char *vm_strdup(vm_arena *a, const char *s) { return vm_dup(a, s, strlen(s) + 1); }

/// Length of the formatted text; `fmt` is read once here and once by the writer.
static size_t measure(const char *fmt, va_list ap) {
    char none[1];
    const int n = fmt ? vsnprintf(none, 1, fmt, ap) : 0;
    return n > 0 ? (size_t)n : 0;
}

char *vm_vformat(vm_arena *a, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    const size_t n = measure(fmt, ap);
    char *s = vm_alloc(a, n + 1);
    if (n) vsnprintf(s, n + 1, fmt, again);
    va_end(again);
    return s;
}

char *vm_format(vm_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *s = vm_vformat(a, fmt, ap);
    va_end(ap);
    return s;
}

void *vm_grow_(vm_arena *a, void *at, uint32_t n, uint32_t *cap, size_t elem) {
    if (*cap > UINT32_MAX / 2) out_of_memory(a);
    *cap = *cap ? *cap * 2 : 4;
    void *p = vm_alloc(a, elem * *cap);
    if (n) memcpy(p, at, elem * n);
    return p;
}

static void text_reserve(vm_text *t, size_t more) {
    if (t->cap - t->n > more) return;
    size_t cap = t->cap ? t->cap : 64;
    while (cap - t->n <= more) {
        if (cap > SIZE_MAX / 4) out_of_memory(t->arena);
        cap *= 2;
    }
    char *p = vm_alloc(t->arena, cap);
    if (t->n) memcpy(p, t->at, t->n);
    t->at = p;
    t->cap = cap;
}

void vm_putn(vm_text *t, const char *s, size_t n) {
    text_reserve(t, n);
    if (n) memcpy(t->at + t->n, s, n);
    t->n += n;
}

void vm_put(vm_text *t, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const size_t n = measure(fmt, ap);
    va_end(ap);
    if (n) {
        text_reserve(t, n + 1);
        vsnprintf(t->at + t->n, n + 1, fmt, again);
        t->n += n;
    }
    va_end(again);
}

char *vm_text_end(vm_text *t) {
    text_reserve(t, 1);
    t->at[t->n] = 0;
    return t->at;
}
