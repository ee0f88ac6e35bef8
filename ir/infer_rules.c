// SPDX-License-Identifier: Apache-2.0
// Rules of layout inference: what an instruction says about the layouts of its tiles.
#include "ir/infer.h"

static void i32_dims(const ir_type *t, int32_t *out) {
    for (int d = 0; d < t->rank; d++) out[d] = (int32_t)t->dim[d];
}

static const layout *broadcast_operand(vm_arena *a, const ir_op *op, const layout *result) {
    const ir_type *from = &op->ops[0]->type, *to = &op->res[0]->type;
    const ir_attr *dims = ir_get(op, AT_dims);
    if (!dims) return NULL;
    bool kept[LAYOUT_MAX_RANK] = {false};
    int32_t stretched[LAYOUT_MAX_RANK], added[LAYOUT_MAX_RANK];
    int ns = 0, na = 0;
    for (uint32_t d = 0; d < dims->n; d++) {
        kept[dims->v[d]] = true;
        if (from->dim[d] == 1 && to->dim[dims->v[d]] != 1) stretched[ns++] = dims->v[d];
    }
    for (int d = 0; d < to->rank; d++)
        if (!kept[d]) added[na++] = d;
    const layout *l = result;
    if (ns) l = layout_reduce(a, l, ns, stretched, true, NULL);
    if (l && na) l = layout_reduce(a, l, na, added, false, NULL);
    return l;
}

static const layout *broadcast_result(vm_arena *a, const ir_op *op, const layout *operand) {
    const ir_attr *dims = ir_get(op, AT_dims);
    const ir_type *to = &op->res[0]->type;
    int32_t shape[LAYOUT_MAX_RANK];
    if (!dims) return NULL;
    i32_dims(to, shape);
    // A padded operand stays padded in the result.
    for (uint32_t d = 0; d < dims->n; d++)
        if (op->ops[0]->type.dim[d] != 1 && operand->shape[d] > shape[dims->v[d]])
            shape[dims->v[d]] = operand->shape[d];
    return layout_stretch(a, operand, to->rank, shape, dims->v, NULL);
}

static const layout *permuted(vm_arena *a, const ir_op *op, const layout *l, bool inverse) {
    const ir_attr *dims = ir_get(op, AT_dims);
    int32_t p[LAYOUT_MAX_RANK];
    if (!dims || dims->n != l->rank) return NULL;
    for (uint32_t d = 0; d < dims->n; d++) {
        if (inverse) p[dims->v[d]] = (int32_t)d;
        else p[d] = dims->v[d];
    }
    return layout_permute(a, l, p, NULL);
}

static const layout *reshaped(vm_arena *a, const layout *l, const ir_type *from, const ir_type *to) {
    int32_t shape[LAYOUT_MAX_RANK];
    for (int d = 0; d < from->rank; d++)
        if (l->shape[d] != from->dim[d]) return NULL; // padding cannot be renumbered
    i32_dims(to, shape);
    return layout_reshape(a, l, to->rank, shape, NULL);
}

static const layout *reduced(vm_arena *a, const ir_op *op, const layout *l) {
    if (!ir_get(op, AT_dim)) return NULL;
    const int32_t d = (int32_t)ir_int(op, AT_dim, 0);
    return layout_reduce(a, l, 1, &d, ir_int(op, AT_keep, 0) != 0, NULL);
}

static const layout *unreduced(vm_arena *a, const ir_op *op, const layout *l) {
    const ir_type *from = &op->ops[0]->type;
    const int32_t dim = (int32_t)ir_int(op, AT_dim, -1);
    int32_t shape[LAYOUT_MAX_RANK], dims[LAYOUT_MAX_RANK];
    if (dim < 0) return NULL;
    const bool keep = ir_int(op, AT_keep, 0) != 0;
    i32_dims(from, shape);
    for (int d = 0, n = 0; d < from->rank; d++)
        if (keep || d != dim) {
            if (d != dim && l->shape[n] > shape[d]) shape[d] = l->shape[n];
            dims[n++] = d;
        }
    return layout_stretch(a, l, from->rank, shape, dims, NULL);
}

const layout *infer_operand(const ir_op *op, uint32_t k, const layout *l) {
    vm_arena *a = op->parent->func->comp->arena;
    switch (vm_insts[op->inst].cls) {
    case C_ELEM: case C_CMP: case C_SELECT: case C_CAST: case C_SCAN: return l;
    case C_REDUCE: return NULL;
    default: break;
    }
    switch (op->inst) {
    case I_broadcast: return broadcast_operand(a, op, l);
    case I_permute: return permuted(a, op, l, true);
    case I_reshape: return reshaped(a, l, &op->res[0]->type, &op->ops[0]->type);
    case I_wait_value: return l;
    case I_elem_set: return k == 0 ? l : NULL;
    default: return NULL;
    }
}

const layout *infer_result(const ir_op *op, uint32_t k, const layout *l) {
    vm_arena *a = op->parent->func->comp->arena;
    switch (vm_insts[op->inst].cls) {
    case C_ELEM: case C_CMP: case C_SELECT: case C_CAST: case C_SCAN: return l;
    case C_REDUCE: return is_tile(op->res[0]) ? reduced(a, op, l) : NULL;
    default: break;
    }
    switch (op->inst) {
    case I_broadcast: return broadcast_result(a, op, l);
    case I_permute: return permuted(a, op, l, false);
    case I_reshape: return reshaped(a, l, &op->ops[0]->type, &op->res[0]->type);
    case I_wait_value: return l;
    case I_elem_set: return k == 0 ? l : NULL;
    default: return NULL;
    }
}

const layout *infer_reduced_operand(const ir_op *op, const layout *l) {
    return unreduced(op->parent->func->comp->arena, op, l);
}

// ---- tensor cores -------------------------------------------------------------------------------

static const char *atom_name(vm_dtype a, vm_dtype b, vm_dtype c) {
    if (a != b && !(vm_bits(a) == 8 && vm_bits(b) == 8 && vm_is_int(a) && vm_is_int(b))) return NULL;
    if (a == T_f16 && (c == T_f32 || c == T_f16)) return "m16n8k16";
    if (a == T_bf16 && c == T_f32) return "m16n8k16";
    if ((a == T_i8 || a == T_u8) && c == T_i32) return "m16n8k32";
    return NULL;
}

static int64_t up(int64_t x, int64_t unit) { return (x + unit - 1) / unit; }

bool infer_same_owners(vm_arena *ar, const layout *l, const layout *want) {
    if (layout_equal(l, want)) return true;
    if (l->threads != want->threads || l->rank != want->rank || l->slots != want->slots) return false;
    return layout_same_owners(ar, l, want);
}

/// The part of a stack's layout that counts matrices: f with f * (one matrix) = l, NULL if there is none.
static const layout *stack_part(vm_arena *ar, const layout *l, const layout *matrix, int rank) {
    const int32_t lead[LAYOUT_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    const layout *one = l && l->rank == rank ? layout_unsqueeze(ar, matrix, rank - 2, lead, NULL) : NULL;
    const layout *f = one ? layout_divide(ar, l, one, NULL) : NULL;
    return f && f->shape[rank - 2] == 1 && f->shape[rank - 1] == 1 ? f : NULL;
}

/// `warps` warps share a stack of matrices: each takes neighbours, from the first dimension on.
static const layout *stack_of(vm_arena *ar, const ir_type *c, int warps) {
    int32_t across[LAYOUT_MAX_RANK], within[LAYOUT_MAX_RANK];
    for (int d = 0; d < c->rank; d++) {
        const int64_t n = d < c->rank - 2 ? c->dim[d] : 1;
        across[d] = 1;
        while (across[d] < n && warps % (2 * across[d]) == 0) across[d] *= 2;
        if (warps <= n) across[d] = warps;
        warps /= across[d];
        within[d] = (int32_t)up(n, across[d]);
    }
    const layout *s = warps == 1 ? layout_spatial(ar, c->rank, across, NULL, NULL) : NULL;
    return s ? layout_compose(ar, s, layout_local(ar, c->rank, within, NULL), NULL) : NULL;
}

/// `matrix` for each of a stack.
static const layout *stacked(vm_arena *ar, const layout *stack, const layout *matrix) {
    const int32_t lead[LAYOUT_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    const layout *one = stack && matrix ? layout_unsqueeze(ar, matrix, stack->rank - 2, lead, NULL) : NULL;
    return one ? layout_compose(ar, stack, one, NULL) : NULL;
}

bool infer_dot(vm_arena *ar, const ir_op *op, int threads, const layout *ka, const layout *kb,
               const layout *kc, infer_dot_choice *out, const char **why) {
    if (op->inst == I_wgmma) return infer_wgmma(ar, op, threads, ka, out, why);
    const ir_type *a = &op->ops[0]->type, *b = &op->ops[1]->type, *c = &op->res[0]->type;
    const char *name = atom_name(a->elem, b->elem, c->elem);
    if (!name) {
        if (why) *why = vm_format(ar, "no tensor-core instruction multiplies %s by %s into %s", vm_dtype_name(a->elem),
                                  vm_dtype_name(b->elem), vm_dtype_name(c->elem));
        return false;
    }
    const mma_atom *atom = mma_atom_find(ar, name);
    const int warps = threads / 32, rank = c->rank;
    const int64_t depth = a->dim[rank - 1];
    if (!atom || threads % 32) {
        if (why) *why = "a dot needs whole warps";
        return false;
    }
    long best = -1;
    for (int wm = 1, wn = 1; wm <= warps; wn < warps ? wn++ : (wm++, wn = 1)) {
        if (warps % (wm * wn) || (rank == 2 && wm * wn != warps)) continue;
        const int rm = (int)up(c->dim[rank - 2], (int64_t)atom->m * wm), rn = (int)up(c->dim[rank - 1], (int64_t)atom->n * wn),
                  rk = (int)up(depth, atom->k);
        const mma_dot *d = mma_dot_make(ar, atom, wm, wn, rm, rn, rk, NULL);
        if (!d || d->a->slots > LAYOUT_MAX_SLOTS || d->b->slots > LAYOUT_MAX_SLOTS) continue;
        const layout *da = d->a, *db = d->b, *dc = d->c;
        if (rank > 2) {
            const layout *s = stack_part(ar, kc, dc, rank);
            if (!s) s = stack_part(ar, ka, da, rank);
            if (!s) s = stack_part(ar, kb, db, rank);
            if (!s) s = stack_of(ar, c, warps / (wm * wn));
            da = stacked(ar, s, da);
            db = stacked(ar, s, db);
            dc = stacked(ar, s, dc);
            if (!da || !db || !dc || dc->threads != threads || da->slots > LAYOUT_MAX_SLOTS || db->slots > LAYOUT_MAX_SLOTS) continue;
        }
        const bool fc = !kc || infer_same_owners(ar, kc, dc), fa = !ka || infer_same_owners(ar, ka, da),
                   fb = !kb || infer_same_owners(ar, kb, db);
        // agreement first (the accumulator most), then few registers and square warp grids
        const long words = (long)da->slots * (long)vm_bits(a->elem) / 32 + (long)db->slots * (long)vm_bits(b->elem) / 32 +
                           (long)dc->slots * (long)vm_bits(c->elem) / 32;
        const long score = (fc ? 4000000L : 0) + (fa ? 2000000L : 0) + (fb ? 2000000L : 0) + 1000000L - words;
        if (score > best) {
            best = score;
            *out = (infer_dot_choice){.a = fa && ka ? ka : da, .b = fb && kb ? kb : db, .c = fc && kc ? kc : dc, .atom = atom};
        }
    }
    if (best < 0 && why) *why = vm_format(ar, "no arrangement of %d warps fits the tiles", warps);
    return best >= 0;
}

// ---- memory -------------------------------------------------------------------------------------

int infer_contiguous_dim(const ir_value *view) {
    ir_access acc;
    if (!ir_trace(view, &acc)) return view->type.rank - 1;
    if (ir_int(acc.root, AT_strided, 0)) {
        // the dimension whose stride is the constant 1
        const uint32_t nstr = (uint32_t)acc.rank, first = acc.root->nops - nstr;
        for (int d = 0; d < acc.rank; d++) {
            int64_t s;
            if (ir_known(acc.root->ops[first + (uint32_t)d], &s) && s == 1) return acc.d[d].view_dim;
        }
        return -1;
    }
    return acc.d[acc.rank - 1].view_dim;
}

static int64_t least_divisor_from(int64_t t, int64_t least) {
    for (int64_t p = 1; p <= t; p++)
        if (t % p == 0 && p >= least) return p;
    return t;
}

const layout *infer_default(vm_arena *ar, const ir_type *t, int threads, int along, int max_vec_bytes) {
    const int rank = t->rank;
    int64_t total = 1, left = threads, vec = max_vec_bytes * 8 / (int)vm_mem_bits(t->elem);
    for (int d = 0; d < rank; d++) total *= t->dim[d];
    if (rank == 0) return NULL;
    if (along < 0 || along >= rank) along = rank - 1;
    while (vec & (vec - 1)) vec &= vec - 1; // 3-bit elements: 42 fit, 32 are taken
    if (vec < 1) vec = 1;
    while (vec > 1 && (t->dim[along] % vec || total / vec < threads)) vec /= 2;
    // bytes of sub-byte types must have one owner
    while (vec * (int64_t)vm_mem_bits(t->elem) % 8 && t->dim[along] % (vec * 2) == 0) vec *= 2;
    int32_t outer[LAYOUT_MAX_RANK], spread[LAYOUT_MAX_RANK], inner[LAYOUT_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        // the contiguous dimension takes threads first, then the others from the last
        const int d = i == 0 ? along : rank - i <= along ? rank - i - 1 : rank - i;
        const int64_t n = d == along ? t->dim[d] / vec + (t->dim[d] % vec != 0) : t->dim[d];
        const int64_t p = left == 1 ? 1 : least_divisor_from(left, n);
        spread[d] = (int32_t)(p < left && p > 2 * n ? least_divisor_from(left, 1) : p);
        left /= spread[d];
        outer[d] = (int32_t)up(n, spread[d]);
        inner[d] = d == along ? (int32_t)vec : 1;
    }
    const layout *l = layout_spatial(ar, rank, spread, NULL, NULL);
    const layout *o = layout_local(ar, rank, outer, NULL); // NULL: beyond the limits of layouts
    l = l && o ? layout_compose(ar, o, l, NULL) : NULL;
    l = l ? layout_compose(ar, l, layout_local(ar, rank, inner, NULL), NULL) : NULL;
    if (l && left > 1) {
        int32_t one[LAYOUT_MAX_RANK];
        for (int d = 0; d < rank; d++) one[d] = 1;
        const layout *rep = layout_replicated(ar, rank, one, (int)left, NULL);
        l = rep ? layout_compose(ar, rep, l, NULL) : NULL;
    }
    return l;
}

// ---- carried values -----------------------------------------------------------------------------

static void terminators(ir_region *r, ir_op *target, infer_tie tie, void *user) {
    for (ir_op *o = r->first; o; o = o->next) {
        const bool to_loop = o->inst == I_break || o->inst == I_continue;
        if (to_loop && (target->inst == I_for || target->inst == I_while)) {
            for (uint32_t k = 0; k < o->nops; k++)
                if (k < target->nres) tie(user, o, k, target->res[k]);
        } else if (o->inst == I_leave && target->inst == I_scope) {
            for (uint32_t k = 0; k < o->nops && k < target->nres; k++) tie(user, o, k, target->res[k]);
        }
        const bool inner_loop = o->inst == I_for || o->inst == I_while, inner_scope = o->inst == I_scope;
        if ((target->inst == I_scope && inner_scope) || (target->inst != I_scope && inner_loop)) continue;
        for (uint32_t g = 0; g < o->nregions; g++) terminators(o->regions[g], target, tie, user);
    }
}

void infer_carried(ir_op *op, infer_tie tie, void *user) {
    ir_op *t;
    switch (op->inst) {
    case I_for: {
        ir_region *body = op->regions[0];
        for (uint32_t k = 0; k < op->nres; k++) {
            tie(user, op, 3 + k, body->args[1 + k]);
            tie(user, op, 3 + k, op->res[k]);
        }
        t = ir_terminator(body);
        if (t && t->inst == I_yield)
            for (uint32_t k = 0; k < op->nres && k < t->nops; k++) tie(user, t, k, op->res[k]);
        terminators(body, op, tie, user);
        break;
    }
    case I_while:
        for (uint32_t k = 0; k < op->nres; k++) {
            tie(user, op, k, op->regions[0]->args[k]);
            tie(user, op, k, op->regions[1]->args[k]);
            tie(user, op, k, op->res[k]);
        }
        t = ir_terminator(op->regions[1]);
        if (t && t->inst == I_yield)
            for (uint32_t k = 0; k < op->nres && k < t->nops; k++) tie(user, t, k, op->res[k]);
        terminators(op->regions[1], op, tie, user);
        break;
    case I_if: case I_scope:
        for (uint32_t g = 0; g < op->nregions; g++) {
            t = ir_terminator(op->regions[g]);
            if (t && t->inst == I_yield)
                for (uint32_t k = 0; k < op->nres && k < t->nops; k++) tie(user, t, k, op->res[k]);
        }
        if (op->inst == I_scope) terminators(op->regions[0], op, tie, user);
        break;
    case I_simt:
        for (uint32_t k = 0; k < op->nops; k++) {
            tie(user, op, k, op->regions[0]->args[1 + k]);
            if (k < op->nres) tie(user, op, k, op->res[k]);
        }
        t = ir_terminator(op->regions[0]);
        if (t && t->inst == I_yield)
            for (uint32_t k = 0; k < op->nres && k < t->nops; k++) tie(user, t, k, op->res[k]);
        break;
    default: break;
    }
}
