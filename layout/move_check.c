// SPDX-License-Identifier: Apache-2.0
// Whether a plan moves every element: it is carried out with the elements' numbers in the place of
// values, as the emitted code would do it, and what arrives is compared.
#include <string.h>

#include "layout/move.h"

typedef struct {
    vm_arena *arena;
    const move_plan *p;
    const layout *from, *to;
    const int32_t *shape, *have; // have: the element of each thread and slot of `from`
    int32_t *result;             // the same of `to`, as it comes out
} run;

enum { NEVER_WRITTEN = -3, DEAD = -2 };

static void by_registers(const run *r) {
    const int slots = r->to->slots;
    for (int t = 0; t < r->to->threads; t++)
        for (int s = 0; s < slots; s++)
            r->result[t * slots + s] = r->p->slot[s] < 0 ? DEAD : r->have[t * r->from->slots + r->p->slot[s]];
}

static bool by_shuffles(const run *r) {
    const move_plan *p = r->p;
    const int given = r->from->slots / p->per;
    for (int k = 0; k < p->nrounds; k++) {
        const move_round *x = &p->round[k];
        for (int l = 0; l < BANK_LANES && x->joined; l++)
            if (x->from[l] != x[-1].from[l]) return false;
        for (int t = 0; t < r->to->threads; t++) {
            const int lane = t % BANK_LANES, put = x->put[lane], other = t - lane + x->from[lane];
            if (put < 0 || other >= r->to->threads) continue; // of dead elements only
            if (x->local && other != t) return false;
            const int give = x->give[other % BANK_LANES], q = give < 0 ? k % given : give;
            for (int i = 0; i < p->per; i++)
                r->result[t * r->to->slots + put * p->per + i] = r->have[other * r->from->slots + q * p->per + i];
        }
    }
    return true;
}

/// One side of the way through memory: accesses are aligned runs of cells within the scratch memory.
static bool access(const run *r, bool load, int32_t *memory) {
    const move_plan *p = r->p;
    const layout *l = load ? r->to : r->from;
    const int vec = load ? p->load_vec : p->store_vec, step = vec * p->pack;
    const int32_t *at = layout_table(r->arena, l), *live = load ? layout_linear_table(r->arena, l, r->shape) : r->have;
    if (vec * p->cell_bytes > 16 || l->slots % step) return false;
    for (int i = 0; i < l->threads * l->slots; i += step) {
        if (live[i] < 0) continue;
        const int64_t c = move_cell(p, l->rank, r->shape, at + (size_t)i * l->rank);
        if (c < 0 || (c + vec) * p->cell_bytes > p->bytes || c % vec) return false;
        for (int j = 0; j < step; j++) {
            int32_t *m = &memory[c * p->pack + j];
            if (live[i + j] < 0) return false;
            if (load) r->result[i + j] = *m;
            else if (*m != NEVER_WRITTEN && *m != live[i + j]) return false; // two elements in a cell
            else *m = live[i + j];
        }
    }
    return true;
}

static bool by_memory(const run *r) {
    const int64_t n = r->p->bytes / r->p->cell_bytes * r->p->pack;
    int32_t *memory = vm_newn(r->arena, int32_t, n + 1);
    for (int64_t i = 0; i < n; i++) memory[i] = NEVER_WRITTEN;
    return access(r, false, memory) && access(r, true, memory);
}

bool move_plan_exact(vm_arena *a, const move_plan *p, const layout *from, const layout *to, const int32_t *shape) {
    run r = {a, p, from, to, shape, layout_linear_table(a, from, shape), NULL};
    const int n = to->threads * to->slots;
    r.result = vm_newn(a, int32_t, n + 1);
    for (int i = 0; i < n; i++) r.result[i] = NEVER_WRITTEN;
    bool ok = from->threads == to->threads;
    if (ok && p->kind == MOVE_REGISTERS) by_registers(&r);
    else if (ok) ok = p->kind == MOVE_SHUFFLE ? by_shuffles(&r) : by_memory(&r);
    const int32_t *want = layout_linear_table(a, to, shape);
    for (int i = 0; i < n && ok; i++) ok = want[i] < 0 || want[i] == r.result[i];
    return ok;
}
