// SPDX-License-Identifier: Apache-2.0
// Tile operations that move or rename slots: view, relayout, broadcast, permute, reshape, full, iota.
// Elements that stay in their thread cost nothing; the others go through scratch shared memory.
#include <assert.h>
#include <string.h>

#include "codegen/cast.h"
#include "codegen/tile.h"

static bool inside(const ir_type *t, const int32_t *index) {
    for (int d = 0; d < t->rank; d++)
        if (index[d] >= t->dim[d]) return false;
    return true;
}

bool cg_slot_map(cg *g, const ir_type *to, const ir_type *from, cg_index_fn fn, const void *ctx, int32_t *map) {
    const layout *lt = to->reg, *lf = from->reg;
    if (lt->threads != lf->threads) return false;
    const int rt = lt->rank, rf = lf->rank;
    const int32_t *tt = layout_table(g->arena, lt), *tf = layout_table(g->arena, lf);
    for (int s = 0; s < lt->slots; s++) {
        map[s] = -1;
        for (int t = 0; t < lt->threads; t++) {
            const int32_t *it = tt + ((size_t)t * (size_t)lt->slots + (size_t)s) * (size_t)rt;
            int32_t want[LAYOUT_MAX_RANK];
            if (!inside(to, it)) continue;
            fn(ctx, it, want);
            if (map[s] < 0) {
                const int32_t *at = tf + (size_t)t * (size_t)lf->slots * (size_t)rf;
                for (int q = 0; q < lf->slots && map[s] < 0; q++)
                    if (!memcmp(at + q * rf, want, sizeof(int32_t) * (size_t)rf)) map[s] = q;
                if (map[s] < 0) return false;
            } else if (memcmp(tf + ((size_t)t * (size_t)lf->slots + (size_t)map[s]) * (size_t)rf, want, sizeof(int32_t) * (size_t)rf)) {
                return false;
            }
        }
    }
    return true;
}

static bool identity_map(const int32_t *map, int n) {
    for (int i = 0; i < n; i++)
        if (map[i] >= 0 && map[i] != i) return false;
    return true;
}

cg_tile *cg_renumbered(cg *g, const cg_tile *x, const layout *l, const int32_t *map) {
    if (identity_map(map, l->slots) && (int)x->slots == l->slots) return (cg_tile *)x;
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, l->slots);
    for (int i = 0; i < l->slots; i++) s[i] = map[i] >= 0 ? cg_slot(g, x, (uint32_t)map[i]) : cg_const(g, x->elem, 0);
    return cg_tile_from_slots(g, x->elem, (uint32_t)l->slots, s);
}

// ---- scratch ------------------------------------------------------------------------------------

unsigned cg_cell_bytes(vm_dtype t) { return vm_cell(t); }

LLVMValueRef cg_linear(cg *g, const ir_type *type, uint32_t slot) {
    LLVMValueRef sum = cg_i32(g, 0);
    for (int d = 0; d < type->rank; d++)
        sum = LLVMBuildAdd(g->b, LLVMBuildMul(g->b, sum, cg_i32(g, type->dim[d]), ""), cg_index(g, type->reg, slot, d), "");
    return sum;
}

LLVMValueRef cg_scratch_at(cg *g, LLVMValueRef cell, int64_t more, unsigned cell_bytes, int64_t offset) {
    LLVMValueRef bytes = cell_bytes == 1 ? cell : LLVMBuildMul(g->b, cell, cg_i32(g, cell_bytes), "");
    return cg_shared(g, bytes, offset + more * cell_bytes);
}

static LLVMTypeRef cell_type(cg *g, unsigned bytes) {
    return bytes == 1 ? g->t_i8 : bytes == 2 ? g->t_i16 : bytes == 4 ? g->t_i32 : g->t_i64;
}

/// Elements that a thread holds in consecutive slots and that lie side by side in a row.
static unsigned run_of(const ir_type *t, unsigned cell) {
    unsigned run = (unsigned)layout_run(t->reg, t->rank - 1);
    while (run > 1 && (run * cell > 16 || t->dim[t->rank - 1] % run)) run /= 2;
    return run ? run : 1;
}

void cg_scratch_store(cg *g, const ir_type *type, const cg_tile *x, int64_t offset) {
    const unsigned cell = cg_cell_bytes(type->elem), run = run_of(type, cell);
    cg_guard mine = cg_guard_begin(g, cg_first_replica(g, type->reg));
    for (uint32_t s = 0; s < x->slots; s += run) {
        if (!cg_first_slot(type->reg, s)) continue;
        cg_guard live = cg_guard_begin(g, cg_live(g, type, s));
        LLVMTypeRef ct = cell_type(g, cell), vt = run > 1 ? LLVMVectorType(ct, run) : ct;
        LLVMValueRef v = LLVMGetUndef(vt);
        for (unsigned j = 0; j < run; j++) {
            LLVMValueRef c = cg_code(g, type->elem, cg_slot(g, x, s + j), cell == 8 ? g->t_i64 : g->t_i32);
            if (cell < 4) c = LLVMBuildTrunc(g->b, c, ct, "");
            v = run > 1 ? LLVMBuildInsertElement(g->b, v, c, cg_i32(g, j), "") : c;
        }
        LLVMValueRef st = LLVMBuildStore(g->b, v, cg_scratch_at(g, cg_linear(g, type, s), 0, cell, offset));
        LLVMSetAlignment(st, run * cell);
        cg_guard_end(g, &live);
    }
    cg_guard_end(g, &mine);
}

cg_tile *cg_scratch_load(cg *g, const ir_type *type, int64_t offset) {
    const unsigned cell = cg_cell_bytes(type->elem), run = run_of(type, cell);
    const uint32_t slots = cg_slots(type);
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, slots);
    LLVMTypeRef ct = cell_type(g, cell), vt = run > 1 ? LLVMVectorType(ct, run) : ct;
    for (uint32_t i = 0; i < slots; i += run) {
        LLVMValueRef live = cg_live(g, type, i), at = cg_linear(g, type, i);
        if (live) at = LLVMBuildSelect(g->b, live, at, cg_i32(g, 0), ""); // dead slots read cell 0
        LLVMValueRef v = LLVMBuildLoad2(g->b, vt, cg_scratch_at(g, at, 0, cell, offset), "");
        LLVMSetAlignment(v, run * cell);
        for (unsigned j = 0; j < run; j++) {
            LLVMValueRef c = run > 1 ? LLVMBuildExtractElement(g->b, v, cg_i32(g, j), "") : v;
            if (cell < 4) c = LLVMBuildZExt(g->b, c, g->t_i32, "");
            s[i + j] = cg_from_code(g, type->elem, c);
        }
    }
    return cg_tile_from_slots(g, type->elem, slots, s);
}

// ---- emitters -----------------------------------------------------------------------------------

void emit_view(cg *g, ir_op *op) {
    if (!cg_is_tile(op->res[0])) return; // a memory view: traced by its users
    if (ir_get(op, AT_encode) || ir_get(op, AT_decode)) {
        cg_reorder_view(g, op);
        return;
    }
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const ir_type *t = &op->res[0]->type;
    const uint32_t have = cg_ni32(x->elem, x->slots), slots = cg_slots(t), need = cg_ni32(t->elem, slots);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, have > need ? have : need);
    cg_tile_to_i32(g, x, w);
    for (uint32_t i = have; i < need; i++) w[i] = LLVMGetUndef(g->t_i32);
    cg_set_tile(g, op->res[0], cg_tile_from_i32(g, t->elem, slots, w));
}

static void through_scratch(cg *g, ir_op *op) {
    const ir_type *to = &op->res[0]->type, *from = &op->ops[0]->type;
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const int64_t scratch = ir_int(op, AT_scratch, -1);
    assert(scratch >= 0);
    cg_counted(g, CG_relayout_shared);
    cg_remark(g, op, "%s through %lld bytes of shared memory: %s to %s", vm_insts[op->inst].name,
              (long long)ir_elems(to) * cg_cell_bytes(to->elem), layout_text(g->arena, from->reg), layout_text(g->arena, to->reg));
    cg_sync(g);
    cg_scratch_store(g, from, x, scratch);
    cg_sync(g);
    cg_set_tile(g, op->res[0], cg_scratch_load(g, to, scratch));
}

typedef struct {
    const ir_op *op;
    const ir_attr *dims;
} renaming;

static void broadcast_index(const void *ctx, const int32_t *to, int32_t *from) {
    const renaming *r = ctx;
    for (uint32_t d = 0; d < r->dims->n; d++) from[d] = r->op->ops[0]->type.dim[d] == 1 ? 0 : to[r->dims->v[d]];
}

static void permute_index(const void *ctx, const int32_t *to, int32_t *from) {
    const renaming *r = ctx;
    for (uint32_t d = 0; d < r->dims->n; d++) from[r->dims->v[d]] = to[d];
}

static void reshape_index(const void *ctx, const int32_t *to, int32_t *from) {
    const renaming *r = ctx;
    const ir_type *tt = &r->op->res[0]->type, *tf = &r->op->ops[0]->type;
    int64_t n = 0;
    for (int d = 0; d < tt->rank; d++) n = n * tt->dim[d] + to[d];
    for (int d = tf->rank - 1; d >= 0; d--) {
        from[d] = (int32_t)(n % tf->dim[d]);
        n /= tf->dim[d];
    }
}

static void rename_slots(cg *g, ir_op *op, cg_index_fn fn) {
    if (!cg_is_tile(op->res[0])) return;
    const renaming r = {op, ir_get(op, AT_dims)};
    const ir_type *to = &op->res[0]->type;
    int32_t *map = vm_newn(g->arena, int32_t, to->reg->slots);
    if (!cg_slot_map(g, to, &op->ops[0]->type, fn, &r, map)) {
        if (ir_get(op, AT_scratch)) {
            through_scratch(g, op);
            return;
        }
        cg_refuse(g, op, vm_format(g->arena, "%s between these layouts", vm_insts[op->inst].name), "annotate the operand with '@'");
        return;
    }
    cg_set_tile(g, op->res[0], cg_renumbered(g, cg_tile_of(g, op->ops[0]), to->reg, map));
}

/// Addresses are made where they are used.
void emit_member(cg *g, ir_op *op) { (void)g, (void)op; }
void emit_peer(cg *g, ir_op *op) { (void)cg_need(g, op, A_CLUSTER, "at", 90); }

void emit_broadcast(cg *g, ir_op *op) { rename_slots(g, op, broadcast_index); }
void emit_permute(cg *g, ir_op *op) { rename_slots(g, op, permute_index); }
void emit_reshape(cg *g, ir_op *op) { rename_slots(g, op, reshape_index); }

void emit_full(cg *g, ir_op *op) {
    const ir_type *t = &op->res[0]->type;
    const uint32_t slots = cg_slots(t);
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, slots), x = cg_scalar(g, op->ops[0]);
    for (uint32_t i = 0; i < slots; i++) s[i] = x;
    cg_set_tile(g, op->res[0], cg_tile_from_slots(g, t->elem, slots, s));
}

void emit_iota(cg *g, ir_op *op) {
    const ir_type *t = &op->res[0]->type;
    const uint32_t slots = cg_slots(t);
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, slots);
    for (uint32_t i = 0; i < slots; i++) s[i] = cg_index(g, t->reg, i, (int)ir_int(op, AT_dim, 0));
    cg_set_tile(g, op->res[0], cg_tile_from_slots(g, t->elem, slots, s));
}
