// SPDX-License-Identifier: Apache-2.0
// Source texts, places in them, and the life of a compilation.
// Reads no files: whoever has the text adds it.
#include "vm/vm.h"

#include <string.h>

uint32_t vm_source_add(vm_comp *c, const char *name, const char *text, size_t size) {
    if (size > UINT32_MAX - 2) size = UINT32_MAX - 2; // offsets are 32 bits; the caller checks
    vm_source *s = vm_new(c->arena, vm_source);
    char *copy = vm_alloc(c->arena, size + 2);
    if (size) memcpy(copy, text, size);
    s->name = vm_strdup(c->arena, name);
    s->text = copy;
    s->size = (uint32_t)size;
    uint32_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += copy[i] == '\n';
    s->line = vm_newn(c->arena, uint32_t, lines);
    for (uint32_t i = 0; i < s->size; i++)
        if (copy[i] == '\n') s->line[++s->nlines] = i + 1;
    s->nlines++;
    vm_push(c->arena, &c->sources, s);
    return c->sources.n;
}

const vm_source *vm_source_at(const vm_comp *c, uint32_t file) {
    return file >= 1 && file <= c->sources.n ? c->sources.at[file - 1] : NULL;
}

void vm_source_place(const vm_source *s, uint32_t off, uint32_t *line, uint32_t *col) {
    if (off > s->size) off = s->size;
    uint32_t lo = 0, hi = s->nlines; // the last line start at or before off
    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (s->line[mid] <= off) lo = mid;
        else hi = mid;
    }
    uint32_t n = 1; // columns count characters: continuation bytes of UTF-8 do not
    for (uint32_t i = s->line[lo]; i < off; i++) n += ((uint8_t)s->text[i] & 0xc0) != 0x80;
    if (line) *line = lo + 1;
    if (col) *col = n;
}

vm_span vm_span_join(vm_span a, vm_span b) {
    if (!a.file) return b;
    if (!b.file || a.file != b.file) return a;
    if (b.lo < a.lo) a.lo = b.lo;
    if (b.hi > a.hi) a.hi = b.hi;
    return a;
}

const char *vm_place(vm_comp *c, vm_span at) {
    const vm_source *s = vm_source_at(c, at.file);
    if (!s) return "?";
    uint32_t line, col;
    vm_source_place(s, at.lo, &line, &col);
    return vm_format(c->arena, "%s:%u:%u", s->name, line, col);
}

vm_comp *vm_comp_new(const vm_allocator *a, jmp_buf *oom) {
    jmp_buf here;
    vm_arena *arena = vm_arena_new(a, &here);
    if (!arena) return NULL;
    if (setjmp(here)) {
        vm_arena_free(arena);
        return NULL;
    }
    vm_comp *c = vm_new(arena, vm_comp);
    c->arena = arena;
    c->oom = oom;
    c->max_errors = 100;
    vm_internn(c, "", 0); // the interner exists from the start
    vm_arena_set_oom(arena, oom);
    return c;
}

void vm_comp_free(vm_comp *c) {
    if (c) vm_arena_free(c->arena);
}
