// SPDX-License-Identifier: Apache-2.0
// Where diverged paths meet again: immediate post-dominators of a function's basic blocks, by the
// iteration of Cooper, Harvey and Kennedy on the reversed graph. Blocks that never reach the end
// (endless loops) are given an edge to it.
#include "runtime/vgpu/ptx.h"

#include <string.h>

typedef struct {
    vm_arena *arena;
    const ptx_func *f;
    uint32_t nblock;      // the end is block nblock
    uint32_t *first;      // block to its first instruction; [nblock]: ninst
    uint32_t *block;      // instruction to block; [ninst]: nblock
    VM_VEC(uint32_t) *from; // predecessors: successors of the reversed graph
    uint32_t *nsucc;
    uint32_t **succ;
} graph;

static bool ends_block(const ptx_inst *i) {
    static const char *const ops[] = {"bra", "brx", "ret", "exit", "trap"};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        if (strcmp(i->op, ops[k]) == 0) return true;
    return i->noreturn;
}

/// The targets of instruction i: *n of them, as instruction indices; ends are ninst.
static const uint32_t *jumps(const graph *g, uint32_t at, uint32_t *n, uint32_t *one) {
    const ptx_inst *const i = &g->f->inst[at];
    *n = 1;
    *one = g->f->ninst;
    if (strcmp(i->op, "bra") == 0 || strcmp(i->op, "brx") == 0)
        for (uint32_t k = 0; k < i->nopnd; k++) {
            const ptx_opnd *const o = &i->opnd[k];
            if (o->kind != PTX_O_SYMBOL || o->label < 0) continue;
            if (o->targets) {
                *n = g->f->targets[o->label].nlabel;
                return g->f->targets[o->label].at;
            }
            *one = g->f->label[o->label].at;
        }
    return one;
}

static void split(graph *g) {
    const uint32_t n = g->f->ninst;
    uint8_t *const starts = vm_alloc(g->arena, n + 1);
    starts[0] = starts[n] = 1;
    for (uint32_t i = 0; i < n; i++) {
        if (!ends_block(&g->f->inst[i])) continue;
        starts[i + 1] = 1;
        uint32_t count, one;
        const uint32_t *const to = jumps(g, i, &count, &one);
        for (uint32_t k = 0; k < count; k++) starts[to[k]] = 1;
    }
    g->block = vm_newn(g->arena, uint32_t, n + 1);
    for (uint32_t i = 0; i < n; i++) g->nblock += starts[i];
    g->first = vm_newn(g->arena, uint32_t, g->nblock + 1);
    uint32_t b = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (starts[i]) g->first[b++] = i;
        g->block[i] = b - 1;
    }
    g->first[g->nblock] = n;
    g->block[n] = g->nblock;
}

/// Successors of each block, then the same edges backwards.
static void connect(graph *g) {
    g->succ = vm_newn(g->arena, uint32_t *, g->nblock + 1);
    g->nsucc = vm_newn(g->arena, uint32_t, g->nblock + 1);
    g->from = vm_alloc(g->arena, sizeof *g->from * (g->nblock + 1));
    for (uint32_t b = 0; b < g->nblock; b++) {
        const uint32_t last = g->first[b + 1] - 1;
        const ptx_inst *const i = &g->f->inst[last];
        uint32_t count = 0, one = 0;
        const uint32_t *to = NULL;
        const bool ends = ends_block(i);
        if (ends) to = jumps(g, last, &count, &one);
        uint32_t *const s = vm_newn(g->arena, uint32_t, count + 2); // room for an edge to the end
        uint32_t n = 0;
        if (!ends || i->guard >= 0) s[n++] = b + 1;
        for (uint32_t k = 0; k < count; k++) s[n++] = g->block[to[k]];
        g->succ[b] = s;
        g->nsucc[b] = n;
        for (uint32_t k = 0; k < n; k++) vm_push(g->arena, &g->from[s[k]], b);
    }
}

/// Blocks in postorder of the reversed graph, from the end. Each is followed once.
typedef struct {
    uint32_t *order, n;
    uint8_t *seen;
    uint32_t *stack, *edge;
} walk;

static void follow(graph *g, walk *w, uint32_t root) {
    uint32_t top = 0;
    w->stack[0] = root;
    w->edge[0] = 0;
    w->seen[root] = 1;
    for (;;) {
        const uint32_t b = w->stack[top];
        if (w->edge[top] < g->from[b].n) {
            const uint32_t next = g->from[b].at[w->edge[top]++];
            if (w->seen[next]) continue;
            w->seen[next] = 1;
            w->stack[++top] = next;
            w->edge[top] = 0;
            continue;
        }
        w->order[w->n++] = b;
        if (!top--) return;
    }
}

uint32_t *ptx_joins(vm_arena *a, const ptx_func *f) {
    uint32_t *const join = vm_newn(a, uint32_t, f->ninst + 1);
    if (!f->ninst) return join;
    graph *const g = vm_new(a, graph);
    g->arena = a;
    g->f = f;
    split(g);
    connect(g);
    const uint32_t end = g->nblock, n = g->nblock + 1;
    walk w = {vm_newn(a, uint32_t, n), 0, vm_alloc(a, n), vm_newn(a, uint32_t, n), vm_newn(a, uint32_t, n)};
    follow(g, &w, end);
    for (uint32_t b = end; b-- > 0;)
        if (!w.seen[b]) {
            g->succ[b][g->nsucc[b]++] = end;
            vm_push(a, &g->from[end], b);
            follow(g, &w, b);
        }
    w.n = 0;
    memset(w.seen, 0, n);
    follow(g, &w, end);

    uint32_t *const rank = vm_newn(a, uint32_t, n), *const dom = vm_newn(a, uint32_t, n);
    for (uint32_t i = 0; i < w.n; i++) rank[w.order[i]] = i;
    for (uint32_t b = 0; b < n; b++) dom[b] = UINT32_MAX;
    dom[end] = end;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = w.n - 1; i-- > 0;) {
            const uint32_t b = w.order[i];
            uint32_t d = UINT32_MAX;
            for (uint32_t k = 0; k < g->nsucc[b]; k++) {
                uint32_t s = g->succ[b][k];
                if (dom[s] == UINT32_MAX) continue;
                if (d == UINT32_MAX) d = s;
                while (d != s) {
                    while (rank[d] < rank[s]) d = dom[d];
                    while (rank[s] < rank[d]) s = dom[s];
                }
            }
            if (dom[b] != d) {
                dom[b] = d;
                changed = true;
            }
        }
    }
    for (uint32_t b = 0; b < end; b++) {
        const uint32_t last = g->first[b + 1] - 1;
        if (ends_block(&f->inst[last])) join[last] = g->first[dom[b]];
    }
    return join;
}
