// SPDX-License-Identifier: Apache-2.0
// Relayout: executes the plan of layout/move.h by registers, warp shuffles, or scratch shared memory.
#include <assert.h>
#include <string.h>

#include "codegen/tile.h"
#include "layout/move.h"

// ---- shuffles -----------------------------------------------------------------------------------

typedef struct {
    cg *g;
    const move_plan *p;
    vm_dtype elem;
    unsigned bits, unit_bits; // of an element in memory, of a unit
    bool dense;               // the bit strings of cg_tile_to_i32 are made of such elements
    LLVMTypeRef type;         // of a unit: i32 or i64
    LLVMValueRef lane, *word;
    const cg_tile *x;
    VM_VEC(struct lane_set { uint32_t lanes; LLVMValueRef in; }) sets;
} mover;

static LLVMValueRef low_bits(mover *m, LLVMValueRef x, unsigned from, unsigned n) {
    cg *g = m->g;
    if (from) x = LLVMBuildLShr(g->b, x, cg_i32(g, from), "");
    return n < 32 && from + n < 32 ? LLVMBuildAnd(g->b, x, cg_i32(g, ((int64_t)1 << n) - 1), "") : x;
}

static LLVMValueRef source_unit(mover *m, int q) {
    cg *g = m->g;
    if (m->bits == 64) return cg_code(g, m->elem, cg_slot(g, m->x, (uint32_t)q), g->t_i64);
    if (m->dense) {
        const unsigned at = (unsigned)q * m->unit_bits;
        return low_bits(m, m->word[at / 32], at % 32, m->unit_bits);
    }
    LLVMValueRef u = NULL;
    for (int i = 0; i < m->p->per; i++) {
        LLVMValueRef c = cg_code(g, m->elem, cg_slot(g, m->x, (uint32_t)(q * m->p->per + i)), g->t_i32);
        if (i) c = LLVMBuildShl(g->b, c, cg_i32(g, i * (int)m->bits), "");
        u = u ? LLVMBuildOr(g->b, u, c, "") : c;
    }
    return u;
}

/// i1: whether the lane is in the set.
static LLVMValueRef lane_in(mover *m, uint32_t lanes) {
    cg *g = m->g;
    for (uint32_t i = 0; i < m->sets.n; i++)
        if (m->sets.at[i].lanes == lanes) return m->sets.at[i].in;
    LLVMValueRef x = LLVMBuildLShr(g->b, cg_i32(g, lanes), m->lane, "");
    x = LLVMBuildTrunc(g->b, x, g->t_i1, "");
    struct lane_set s = {lanes, x};
    vm_push(g->arena, &m->sets, s);
    return x;
}

/// The unit that each lane gives in a round: selects between those that differ.
static LLVMValueRef given(mover *m, const move_round *r) {
    cg *g = m->g;
    LLVMValueRef v = NULL;
    uint32_t done = 0;
    for (int l = 0; l < BANK_LANES; l++) {
        if (r->give[l] < 0 || (done >> l & 1)) continue;
        uint32_t lanes = 0;
        for (int k = 0; k < BANK_LANES; k++)
            if (r->give[k] == r->give[l]) lanes |= 1u << k;
        done |= lanes;
        LLVMValueRef u = source_unit(m, r->give[l]);
        v = v ? LLVMBuildSelect(g->b, lane_in(m, lanes), u, v, "") : u;
    }
    return v;
}

/// Number of the lane to read from, as code: shifted bits of the lane if it is such a function of it,
/// otherwise looked up bit by bit.
static LLVMValueRef source_lane(mover *m, const move_round *r) {
    cg *g = m->g;
    bool linear = r->from[0] >= 0;
    int column[5] = {0};
    for (int b = 0; b < 5 && linear; b++) {
        linear = r->from[1 << b] >= 0;
        column[b] = r->from[1 << b] ^ r->from[0];
    }
    for (int l = 0; l < BANK_LANES && linear; l++) {
        int x = r->from[0];
        for (int b = 0; b < 5; b++) x ^= l >> b & 1 ? column[b] : 0;
        linear = r->from[l] < 0 || r->from[l] == x;
    }
    LLVMValueRef sum = NULL;
    if (linear) {
        for (int by = -4; by <= 4; by++) { // bits that move by the same distance move together
            int mask = 0;
            for (int b = 0; b < 5; b++)
                if (b + by >= 0 && b + by < 5 && (column[b] >> (b + by) & 1)) mask |= 1 << b;
            if (!mask) continue;
            LLVMValueRef x = LLVMBuildAnd(g->b, m->lane, cg_i32(g, mask), "");
            if (by > 0) x = LLVMBuildShl(g->b, x, cg_i32(g, by), "");
            if (by < 0) x = LLVMBuildLShr(g->b, x, cg_i32(g, -by), "");
            sum = sum ? LLVMBuildXor(g->b, sum, x, "") : x;
        }
        if (!sum) return cg_i32(g, r->from[0]);
        return r->from[0] ? LLVMBuildXor(g->b, sum, cg_i32(g, r->from[0]), "") : sum;
    }
    for (int b = 0; b < 5; b++) {
        uint32_t table = 0;
        for (int l = 0; l < BANK_LANES; l++)
            if (r->from[l] >= 0 && (r->from[l] >> b & 1)) table |= 1u << l;
        if (!table) continue;
        LLVMValueRef x = LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, cg_i32(g, table), m->lane, ""), cg_i32(g, 1), "");
        if (b) x = LLVMBuildShl(g->b, x, cg_i32(g, b), "");
        sum = sum ? LLVMBuildOr(g->b, sum, x, "") : x;
    }
    return sum ? sum : cg_i32(g, 0);
}

static LLVMValueRef exchange(mover *m, const move_round *r, LLVMValueRef x) {
    int distance = -1;
    bool same = true;
    for (int l = 0; l < BANK_LANES; l++) {
        if (r->from[l] < 0) continue;
        same = same && (distance < 0 || distance == (r->from[l] ^ l));
        distance = r->from[l] ^ l;
    }
    if (same) return distance ? cg_shuffle(m->g, CG_SHFL_XOR, x, cg_i32(m->g, distance), NULL) : x;
    return cg_shuffle(m->g, CG_SHFL_IDX, x, source_lane(m, r), NULL);
}

static void put(mover *m, const move_round *r, LLVMValueRef v, LLVMValueRef *out) {
    uint32_t done = 0;
    for (int l = 0; l < BANK_LANES; l++) {
        const int u = r->put[l];
        if (u < 0 || (done >> l & 1)) continue;
        uint32_t lanes = 0;
        for (int k = 0; k < BANK_LANES; k++)
            if (r->put[k] == u) lanes |= 1u << k;
        done |= lanes;
        out[u] = out[u] ? LLVMBuildSelect(m->g->b, lane_in(m, lanes), v, out[u], "") : v;
    }
}

static cg_tile *tile_of_units(mover *m, uint32_t slots, LLVMValueRef *unit, int n) {
    cg *g = m->g;
    for (int u = 0; u < n; u++)
        if (!unit[u]) unit[u] = LLVMConstNull(m->type); // dead everywhere
    if (m->dense) {
        LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, cg_ni32(m->elem, slots) + 1);
        for (int u = 0; u < n; u++) {
            const unsigned at = (unsigned)u * m->unit_bits;
            LLVMValueRef x = at % 32 ? LLVMBuildShl(g->b, unit[u], cg_i32(g, at % 32), "") : unit[u];
            w[at / 32] = w[at / 32] ? LLVMBuildOr(g->b, w[at / 32], x, "") : x;
        }
        return cg_tile_from_i32(g, m->elem, slots, w);
    }
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, slots);
    for (uint32_t i = 0; i < slots; i++) {
        const unsigned per = (unsigned)m->p->per;
        LLVMValueRef c = unit[i / per];
        if (m->bits < 32) c = low_bits(m, c, i % per * m->bits, m->bits);
        s[i] = cg_from_code(g, m->elem, c);
    }
    return cg_tile_from_slots(g, m->elem, slots, s);
}

static cg_tile *by_shuffles(cg *g, const move_plan *p, const cg_tile *x, uint32_t slots) {
    mover m = {.g = g, .p = p, .elem = x->elem, .bits = vm_mem_bits(x->elem), .x = x, .lane = cg_lane(g)};
    m.unit_bits = m.bits * (unsigned)p->per;
    m.type = m.bits == 64 ? g->t_i64 : g->t_i32;
    m.dense = x->elem != T_bool && m.bits <= 32 && 32 % m.bits == 0;
    m.word = vm_newn(g->arena, LLVMValueRef, cg_ni32(x->elem, x->slots) + 1);
    if (m.dense) cg_tile_to_i32(g, x, m.word);
    const int n = (int)slots / p->per;
    LLVMValueRef *out = vm_newn(g->arena, LLVMValueRef, n + 1);
    for (int i = 0; i < p->nrounds;) {
        const move_round *r = &p->round[i];
        int k = 1;
        while (i + k < p->nrounds && r[k].joined) k++;
        LLVMValueRef v = NULL;
        for (int j = 0; j < k; j++) {
            LLVMValueRef u = given(&m, &r[j]);
            if (j) u = LLVMBuildShl(g->b, u, cg_i32(g, j * (int)m.unit_bits), "");
            v = v ? LLVMBuildOr(g->b, v, u, "") : u;
        }
        if (!r->local) v = exchange(&m, r, v);
        for (int j = 0; j < k; j++)
            put(&m, &r[j], k == 1 ? v : low_bits(&m, v, (unsigned)j * m.unit_bits, m.unit_bits), out);
        i += k;
    }
    return tile_of_units(&m, slots, out, n);
}

// ---- scratch memory -----------------------------------------------------------------------------

/// Thread part of the cell number of this thread's slots, NULL: 0; and the slot's own part.
static LLVMValueRef thread_cell(cg *g, const move_plan *p, const ir_type *t) {
    LLVMValueRef sum = NULL;
    int64_t row = p->pitch;
    for (int d = t->rank - 1; d >= 0; d--) {
        LLVMValueRef x = cg_index_thread(g, t->reg, d);
        const int64_t stride = d == p->along ? 1 : row;
        if (d != p->along) row *= t->dim[d];
        if (!x) continue;
        if (d == p->along && p->pack > 1) x = LLVMBuildUDiv(g->b, x, cg_i32(g, p->pack), "");
        if (stride != 1) x = LLVMBuildMul(g->b, x, cg_i32(g, stride), "");
        sum = sum ? LLVMBuildAdd(g->b, sum, x, "") : x;
    }
    return sum;
}

static int64_t slot_cell(const move_plan *p, const ir_type *t, uint32_t slot) {
    int32_t at[LAYOUT_MAX_RANK];
    layout_index(t->reg, 0, (int)slot, at);
    int64_t sum = 0, row = p->pitch;
    for (int d = t->rank - 1; d >= 0; d--) {
        sum += d == p->along ? at[d] / p->pack : at[d] * row;
        if (d != p->along) row *= t->dim[d];
    }
    return sum;
}

static LLVMValueRef cell_address(cg *g, const move_plan *p, LLVMValueRef thread, int64_t slot, LLVMValueRef live, int64_t offset) {
    LLVMValueRef c = thread;
    if (p->sw_bits) {
        if (slot || !c) c = c ? LLVMBuildAdd(g->b, c, cg_i32(g, slot), "") : cg_i32(g, slot);
        const int64_t mask = ((1ll << p->sw_bits) - 1) << p->sw_base;
        LLVMValueRef hi = LLVMBuildLShr(g->b, c, cg_i32(g, p->sw_shift), "");
        c = LLVMBuildXor(g->b, c, LLVMBuildAnd(g->b, hi, cg_i32(g, mask), ""), "");
        slot = 0;
    }
    if (live) { // dead slots read cell 0
        if (slot || !c) c = c ? LLVMBuildAdd(g->b, c, cg_i32(g, slot), "") : cg_i32(g, slot);
        c = LLVMBuildSelect(g->b, live, c, cg_i32(g, 0), "");
        slot = 0;
    }
    if (c && p->cell_bytes > 1) c = LLVMBuildMul(g->b, c, cg_i32(g, p->cell_bytes), "");
    return cg_shared(g, c, offset + slot * p->cell_bytes);
}

/// Whether whole accesses are whole bits of the dense string.
static bool dense_cells(const move_plan *p, vm_dtype t) {
    return t != T_bool && (unsigned)p->cell_bytes * 8 == (unsigned)p->pack * vm_mem_bits(t);
}

static LLVMTypeRef int_type(cg *g, int bytes) {
    return bytes == 1 ? g->t_i8 : bytes == 2 ? g->t_i16 : bytes == 4 ? g->t_i32 : g->t_i64;
}

/// The type of an access of `bytes`: words where it is made of them, else `vec` cells.
static LLVMTypeRef access_type(cg *g, bool dense, int bytes, int vec, int cell) {
    if (dense && bytes < 4) return int_type(g, bytes);
    if (dense) return bytes > 4 ? LLVMVectorType(g->t_i32, (unsigned)bytes / 4) : g->t_i32;
    return vec > 1 ? LLVMVectorType(int_type(g, cell), (unsigned)vec) : int_type(g, cell);
}

static void scratch_write(cg *g, const move_plan *p, const ir_type *t, const cg_tile *x, int64_t offset) {
    const bool dense = dense_cells(p, t->elem);
    const int vec = p->store_vec, bytes = vec * p->cell_bytes, step = vec * p->pack;
    const unsigned bits = vm_mem_bits(t->elem);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, cg_ni32(t->elem, x->slots) + 1), thread = thread_cell(g, p, t);
    LLVMTypeRef type = access_type(g, dense, bytes, vec, p->cell_bytes);
    if (dense) cg_tile_to_i32(g, x, w);
    cg_guard mine = cg_guard_begin(g, cg_first_replica(g, t->reg));
    for (uint32_t s = 0; s < x->slots; s += (uint32_t)step) {
        if (!cg_first_slot(t->reg, s)) continue;
        cg_guard live = cg_guard_begin(g, cg_live(g, t, s));
        LLVMValueRef v = LLVMGetUndef(type);
        if (dense && bytes <= 4) {
            v = w[s * bits / 32];
            if (s * bits % 32) v = LLVMBuildLShr(g->b, v, cg_i32(g, s * bits % 32), "");
            if (bytes < 4) v = LLVMBuildTrunc(g->b, v, type, "");
        } else if (dense) {
            for (int j = 0; j < bytes / 4; j++)
                v = LLVMBuildInsertElement(g->b, v, w[s * bits / 32 + (unsigned)j], cg_i32(g, j), "");
        } else {
            for (int j = 0; j < vec; j++) {
                LLVMValueRef c = cg_code(g, t->elem, cg_slot(g, x, s + (uint32_t)j), p->cell_bytes == 8 ? g->t_i64 : g->t_i32);
                if (p->cell_bytes < 4) c = LLVMBuildTrunc(g->b, c, int_type(g, p->cell_bytes), "");
                v = vec > 1 ? LLVMBuildInsertElement(g->b, v, c, cg_i32(g, j), "") : c;
            }
        }
        LLVMSetAlignment(LLVMBuildStore(g->b, v, cell_address(g, p, thread, slot_cell(p, t, s), NULL, offset)), (unsigned)bytes);
        cg_counted(g, bytes == 16 ? CG_st_shared_16 : bytes == 8 ? CG_st_shared_8 : bytes == 4 ? CG_st_shared_4 : CG_st_shared_small);
        cg_guard_end(g, &live);
    }
    cg_guard_end(g, &mine);
}

static cg_tile *scratch_read(cg *g, const move_plan *p, const ir_type *t, int64_t offset) {
    const bool dense = dense_cells(p, t->elem);
    const int vec = p->load_vec, bytes = vec * p->cell_bytes, step = vec * p->pack;
    const unsigned bits = vm_mem_bits(t->elem);
    const uint32_t slots = cg_slots(t);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, cg_ni32(t->elem, slots) + 1), *slot = vm_newn(g->arena, LLVMValueRef, slots);
    LLVMValueRef thread = thread_cell(g, p, t);
    LLVMTypeRef type = access_type(g, dense, bytes, vec, p->cell_bytes);
    for (uint32_t s = 0; s < slots; s += (uint32_t)step) {
        LLVMValueRef at = cell_address(g, p, thread, slot_cell(p, t, s), cg_live(g, t, s), offset);
        LLVMValueRef v = LLVMBuildLoad2(g->b, type, at, "");
        LLVMSetAlignment(v, (unsigned)bytes);
        cg_counted(g, bytes == 16 ? CG_ld_shared_16 : bytes == 8 ? CG_ld_shared_8 : bytes == 4 ? CG_ld_shared_4 : CG_ld_shared_small);
        if (dense && bytes <= 4) {
            const unsigned k = s * bits / 32, off = s * bits % 32;
            if (bytes < 4) v = LLVMBuildZExt(g->b, v, g->t_i32, "");
            if (off) v = LLVMBuildShl(g->b, v, cg_i32(g, off), "");
            w[k] = w[k] ? LLVMBuildOr(g->b, w[k], v, "") : v;
        } else if (dense) {
            for (int j = 0; j < bytes / 4; j++)
                w[s * bits / 32 + (unsigned)j] = LLVMBuildExtractElement(g->b, v, cg_i32(g, j), "");
        } else {
            for (int j = 0; j < vec; j++) {
                LLVMValueRef c = vec > 1 ? LLVMBuildExtractElement(g->b, v, cg_i32(g, j), "") : v;
                if (p->cell_bytes < 4) c = LLVMBuildZExt(g->b, c, g->t_i32, "");
                slot[s + (uint32_t)j] = cg_from_code(g, t->elem, c);
            }
        }
    }
    return dense ? cg_tile_from_i32(g, t->elem, slots, w) : cg_tile_from_slots(g, t->elem, slots, slot);
}

// ---- emitter ------------------------------------------------------------------------------------

void emit_relayout(cg *g, ir_op *op) {
    const ir_type *to = &op->res[0]->type, *from = &op->ops[0]->type;
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const move_plan *p = ir_move_plan(op);
    if (p->kind == MOVE_REGISTERS) {
        cg_set_tile(g, op->res[0], cg_renumbered(g, x, to->reg, p->slot));
        return;
    }
    const char *what = move_text(g->arena, p), *lf = layout_text(g->arena, from->reg), *lt = layout_text(g->arena, to->reg);
    if (p->kind == MOVE_SHUFFLE) {
        cg_counted(g, CG_relayout_shuffle);
        cg_remark(g, op, "relayout by %s: %s to %s", what, lf, lt);
        cg_set_tile(g, op->res[0], by_shuffles(g, p, x, cg_slots(to)));
        return;
    }
    const int64_t scratch = ir_int(op, AT_scratch, -1);
    assert(scratch >= 0);
    cg_counted(g, CG_relayout_shared);
    cg_remark(g, op, "relayout through %s (%lld bytes): %s to %s", what, (long long)p->bytes, lf, lt);
    cg_sync(g);
    scratch_write(g, p, from, x, scratch);
    cg_sync(g);
    cg_set_tile(g, op->res[0], scratch_read(g, p, to, scratch));
}
