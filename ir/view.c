// SPDX-License-Identifier: Apache-2.0
// What a view is a part of: walks the static chain of slices and permutations up to its root and
// says, for each dimension of the root, which dimension of the view walks along it, and from where.
#include "ir/ir.h"

enum { MAX_CHAIN = 64 };

static bool is_root(const ir_op *op) {
    return op->inst != I_slice && op->inst != I_permute && op->inst != I_peer;
}

static bool add_origin(ir_access *a, int d, ir_value *v) {
    int64_t x;
    if (ir_known(v, &x)) return !__builtin_add_overflow(a->d[d].constant, x, &a->d[d].constant);
    if (a->d[d].n == sizeof a->d[d].origin / sizeof *a->d[d].origin) return false;
    a->d[d].origin[a->d[d].n++] = v;
    return true;
}

static int find(const ir_access *a, int view_dim) {
    for (int d = 0; d < a->rank; d++)
        if (a->d[d].view_dim == view_dim) return d;
    return -1;
}

static bool step_slice(const ir_op *op, ir_access *a) {
    const ir_attr *mode = ir_get(op, AT_mode);
    if (!mode) return false;
    uint32_t next = 1;
    int out = 0;
    for (uint32_t d = 0; d < mode->n; d++) {
        const int r = find(a, (int)d);
        const uint32_t take = mode->v[d] == 2 ? 0 : mode->v[d] == 3 ? 2 : 1;
        if (r < 0 || next + take > op->nops) return false;
        if (mode->v[d] == 3) {
            // The bound is stated relative to this operand: it must start where the root does.
            if (a->d[r].n || a->d[r].constant || a->d[r].limit) return false;
            a->d[r].limit = op->ops[next + 1];
        }
        if (take && !add_origin(a, r, op->ops[next])) return false;
        // Dimensions are renamed in ascending order, so a new number never meets an old one again.
        a->d[r].view_dim = mode->v[d] == 0 ? -1 : out++;
        next += take;
    }
    return true;
}

static bool step_permute(const ir_op *op, ir_access *a) {
    const ir_attr *dims = ir_get(op, AT_dims);
    if (!dims) return false;
    int now[LAYOUT_MAX_RANK];
    for (int r = 0; r < a->rank; r++) now[r] = a->d[r].view_dim;
    // dims is a permutation: find for each old number its one place.
    for (int r = 0; r < a->rank; r++) {
        if (a->d[r].view_dim < 0) continue;
        int place = -1;
        for (uint32_t d = 0; d < dims->n; d++)
            if (dims->v[d] == a->d[r].view_dim) place = (int)d;
        if (place < 0) return false;
        now[r] = place;
    }
    for (int r = 0; r < a->rank; r++) a->d[r].view_dim = now[r];
    return true;
}

bool ir_trace(const ir_value *view, ir_access *out) {
    const ir_op *chain[MAX_CHAIN];
    int n = 0;
    const ir_value *v = view;
    while (v->def && !is_root(v->def)) {
        if (n == MAX_CHAIN || v->def->nops < 1) return false;
        chain[n++] = v->def;
        v = v->def->ops[0];
    }
    if (!v->def) return false;
    *out = (ir_access){.root = v->def, .rank = v->type.rank};
    for (int d = 0; d < out->rank; d++) out->d[d].view_dim = d;
    while (n--)
        if (chain[n]->inst == I_peer) out->peer = chain[n]->ops[1];
        else if (!(chain[n]->inst == I_slice ? step_slice(chain[n], out) : step_permute(chain[n], out)))
            return false;
    return true;
}
