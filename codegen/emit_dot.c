// SPDX-License-Identifier: Apache-2.0
// Matrix products on tensor cores. Which registers feed which mma is found from the layouts' tables:
// any slot order of the right owners serves, so no shape of layout is special.
#include <string.h>

#include "codegen/place.h"
#include "ir/infer.h"

typedef struct {
    const layout *l;
    const int32_t *table; // [thread][slot]: matrix of the stack, row, column
    const int32_t *first; // thread 0: (matrix, row, column) -> slot, -1: not held
    int matrices, rows, cols;
} operand;

static int32_t held_at(const operand *o, int matrix, int row, int col) {
    return o->first[((size_t)matrix * (size_t)o->rows + (size_t)row) * (size_t)o->cols + (size_t)col];
}

static operand operand_of(cg *g, const layout *l) {
    const int r = l->rank;
    operand o = {.l = l, .rows = l->shape[r - 2], .cols = l->shape[r - 1]};
    const size_t cells = (size_t)l->threads * (size_t)l->slots;
    const int32_t *table = layout_table(g->arena, l);
    int32_t *triple = vm_newn(g->arena, int32_t, 3 * cells);
    for (size_t i = 0; i < cells; i++) {
        const int32_t *x = table + i * (size_t)r;
        int32_t matrix = 0;
        for (int d = 0; d < r - 2; d++) matrix = matrix * l->shape[d] + x[d];
        triple[3 * i] = matrix;
        triple[3 * i + 1] = x[r - 2];
        triple[3 * i + 2] = x[r - 1];
    }
    size_t all = 1;
    for (int d = 0; d < r; d++) all *= (size_t)l->shape[d];
    int32_t *first = vm_newn(g->arena, int32_t, all);
    for (size_t i = 0; i < all; i++) first[i] = -1;
    for (int s = l->slots - 1; s >= 0; s--) {
        const int32_t *x = triple + 3 * s;
        first[((size_t)x[0] * (size_t)o.rows + (size_t)x[1]) * (size_t)o.cols + (size_t)x[2]] = s;
    }
    o.matrices = (int)(all / ((size_t)o.rows * (size_t)o.cols));
    o.table = triple;
    o.first = first;
    return o;
}

static const int32_t *at(const operand *o, int t, int s) { return o->table + ((size_t)t * (size_t)o->l->slots + (size_t)s) * 3; }

/// Slots of the fragment of `atom` whose origin is (row, col) of `matrix` for warp 0, checked for every
/// thread: warp w's origin is its own (org[w]), along the axes that move with the accumulator tile.
static bool fragment(const operand *o, const layout *atom, const int32_t *org, int warps, bool rows_move, bool cols_move,
                     int row, int col, int32_t *slots) {
    const int matrix = org[0];
    for (int j = 0; j < atom->slots; j++) {
        int32_t in[2];
        layout_index(atom, 0, j, in);
        const int r = row + in[0], c = col + in[1];
        if (matrix >= o->matrices || r >= o->rows || c >= o->cols || (slots[j] = held_at(o, matrix, r, c)) < 0) return false;
        for (int w = 0; w < warps; w++)
            for (int lane = 0; lane < 32; lane++) {
                layout_index(atom, lane, j, in);
                const int32_t *own = org + (size_t)w * 3, *is = at(o, w * 32 + lane, slots[j]);
                const int wr = rows_move ? own[1] - org[1] : 0, wc = cols_move ? own[2] - org[2] : 0;
                if (is[0] != own[0] || is[1] != row + wr + in[0] || is[2] != col + wc + in[1]) return false;
            }
    }
    return true;
}

/// Slots beyond the tile along k must not bring in NaNs: they are made zero.
static const cg_tile *zero_dead(cg *g, const cg_tile *x, const ir_type *t, int k) {
    if (t->reg->shape[k] == t->dim[k]) return x;
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, x->slots), zero = cg_const(g, x->elem, 0);
    for (uint32_t i = 0; i < x->slots; i++) {
        LLVMValueRef live = cg_live(g, t, i);
        s[i] = live ? LLVMBuildSelect(g->b, live, cg_slot(g, x, i), zero, "") : cg_slot(g, x, i);
    }
    return cg_tile_from_slots(g, x->elem, x->slots, s);
}

/// Registers of an operand: all there, or loaded when they are asked for.
typedef struct {
    vm_dtype elem;
    cg_lazy *lazy;
    const cg_tile *tile;
    LLVMValueRef *word;
} source;

static source source_of(cg *g, const ir_value *v, int k) {
    source s = {.elem = v->type.elem, .lazy = cg_lazy_new(g, v->def)};
    if (s.lazy) return s;
    s.tile = zero_dead(g, cg_tile_of(g, v), &v->type, k);
    s.word = vm_newn(g->arena, LLVMValueRef, cg_ni32(s.tile->elem, s.tile->slots));
    cg_tile_to_i32(g, s.tile, s.word);
    return s;
}

static LLVMValueRef word_of(cg *g, const source *s, int32_t w) { return s->lazy ? cg_lazy_word(g, s->lazy, (uint32_t)w) : s->word[w]; }

static LLVMValueRef slot_code(cg *g, const source *s, int32_t slot) {
    if (!s->lazy) return cg_code(g, s->elem, cg_slot(g, s->tile, (uint32_t)slot), g->t_i32);
    LLVMValueRef w = word_of(g, s, slot / 2); // lazy loads hold 16-bit elements
    return slot % 2 ? LLVMBuildLShr(g->b, w, cg_i32(g, 16), "") : LLVMBuildAnd(g->b, w, cg_i32(g, 0xffff), "");
}

/// The slots of one fragment register as 32 bits; a whole register of the tile where they are one.
static LLVMValueRef packed(cg *g, const source *t, const int32_t *slots) {
    const unsigned bits = vm_bits(t->elem), per = 32 / bits;
    bool whole = slots[0] % (int)per == 0;
    for (unsigned i = 1; i < per; i++) whole &= slots[i] == slots[0] + (int)i;
    if (whole) return word_of(g, t, slots[0] / (int)per);
    LLVMValueRef r = NULL;
    for (unsigned i = 0; i < per; i++) {
        LLVMValueRef c = slot_code(g, t, slots[i]);
        if (i) c = LLVMBuildShl(g->b, c, cg_i32(g, i * bits), "");
        r = r ? LLVMBuildOr(g->b, r, c, "") : c;
    }
    return r;
}

static const char *mma_name(cg *g, const mma_atom *atom, vm_dtype a, vm_dtype b, vm_dtype c) {
    const char *types = a == T_bf16 ? "bf16" : a == T_f16 ? (c == T_f16 ? "f16.f16" : "f32.f32")
                      : a == T_i8 ? (b == T_i8 ? "s8" : "s8.u8") : b == T_u8 ? "u8" : "u8.s8";
    return vm_format(g->arena, "llvm.nvvm.mma.%s.row.col.%s", atom->name, types);
}

/// One mma: acc[0..4) += a · b, slots of the accumulator tile.
static void one(cg *g, const char *name, vm_dtype ta, vm_dtype tc, LLVMValueRef const *a, int na, LLVMValueRef const *b, int nb,
                LLVMValueRef *acc, const int32_t *slots) {
    LLVMValueRef args[16], r;
    unsigned n = 0;
    LLVMTypeRef in = ta == T_f16 ? g->t_v2f16 : g->t_i32;
    for (int i = 0; i < na; i++) args[n++] = cg_bitcast(g, a[i], in);
    for (int i = 0; i < nb; i++) args[n++] = cg_bitcast(g, b[i], in);
    if (tc == T_f16) {
        for (int i = 0; i < 2; i++) {
            LLVMValueRef v = LLVMGetUndef(g->t_v2f16);
            for (int j = 0; j < 2; j++) v = LLVMBuildInsertElement(g->b, v, acc[slots[2 * i + j]], cg_i32(g, j), "");
            args[n++] = v;
        }
        r = cg_call(g, name, LLVMStructTypeInContext(g->ctx, (LLVMTypeRef[]){g->t_v2f16, g->t_v2f16}, 2, false), n, args);
        for (int i = 0; i < 4; i++)
            acc[slots[i]] = LLVMBuildExtractElement(g->b, LLVMBuildExtractValue(g->b, r, (unsigned)i / 2, ""), cg_i32(g, i % 2), "");
    } else {
        LLVMTypeRef e = tc == T_f32 ? g->t_f32 : g->t_i32;
        for (int i = 0; i < 4; i++) args[n++] = acc[slots[i]];
        r = cg_call(g, name, LLVMStructTypeInContext(g->ctx, (LLVMTypeRef[]){e, e, e, e}, 4, false), n, args);
        for (unsigned i = 0; i < 4; i++) acc[slots[i]] = LLVMBuildExtractValue(g->b, r, i, "");
    }
    cg_counted(g, CG_mma);
}

void emit_dot(cg *g, ir_op *op) {
    const ir_type *ta = &op->ops[0]->type, *tb = &op->ops[1]->type, *tc = &op->res[0]->type;
    const int threads = ir_group_threads(op), warps = threads / 32, rank = tc->rank;
    infer_dot_choice ch;
    const char *why = "no tensor-core instruction";
    if (!infer_dot(g->arena, op, threads, ta->reg, tb->reg, tc->reg, &ch, &why)) {
        cg_refuse(g, op, vm_format(g->arena, "dot: %s", why), "convert the operands to f16 or bf16 with f32 accumulation, or to i8 with i32");
        return;
    }
    const mma_atom *atom = ch.atom;
    operand a = operand_of(g, ta->reg), b = operand_of(g, tb->reg), c = operand_of(g, tc->reg);
    const source xa = source_of(g, op->ops[0], rank - 1), xb = source_of(g, op->ops[1], rank - 2);
    const cg_tile *xc = cg_tile_of(g, op->ops[2]);
    LLVMValueRef *acc = vm_newn(g->arena, LLVMValueRef, xc->slots);
    for (uint32_t s = 0; s < xc->slots; s++) acc[s] = cg_slot(g, xc, s);
    const char *name = mma_name(g, atom, ta->elem, tb->elem, tc->elem);
    const int per = 32 / (int)vm_bits(ta->elem), na = atom->a->slots / per, nb = atom->b->slots / per;
    int32_t *org = vm_newn(g->arena, int32_t, 3 * warps);
    const int ksteps = (int)((ta->dim[rank - 1] + atom->k - 1) / atom->k);
    bool found = false, fits = true;
    for (int kk = 0; kk < ksteps && fits; kk++)
        for (int s = 0; s < tc->reg->slots && fits; s++) {
            const int32_t *o = at(&c, 0, s);
            if (o[1] % atom->m || o[2] % atom->n || held_at(&c, o[0], o[1], o[2]) != s) continue; // slot 0 of lane 0
            int32_t sc[8], sa[16], sb[16];
            for (int w = 0; w < warps; w++) memcpy(org + 3 * w, at(&c, 32 * w, s), 3 * sizeof *org);
            fits = fragment(&c, atom->c, org, warps, true, true, o[1], o[2], sc) &&
                   fragment(&a, atom->a, org, warps, true, false, o[1], kk * atom->k, sa) &&
                   fragment(&b, atom->b, org, warps, false, true, kk * atom->k, o[2], sb);
            if (!fits) break;
            LLVMValueRef ra[8], rb[8];
            for (int i = 0; i < na; i++) ra[i] = packed(g, &xa, sa + i * per);
            for (int i = 0; i < nb; i++) rb[i] = packed(g, &xb, sb + i * per);
            one(g, name, ta->elem, tc->elem, ra, na, rb, nb, acc, sc);
            found = true;
        }
    if (!found || !fits) {
        cg_refuse(g, op, vm_format(g->arena, "dot: operands in layouts %s, %s and %s do not meet in %s", layout_text(g->arena, ta->reg),
                                   layout_text(g->arena, tb->reg), layout_text(g->arena, tc->reg), atom->name),
                  "use the layouts of one mma.dot(…) for all three");
        return;
    }
    cg_remark(g, op, "dot %lldx%lldx%lld by %s", (long long)tc->dim[rank - 2], (long long)tc->dim[rank - 1],
              (long long)ta->dim[rank - 1], name + 10);
    cg_set_tile(g, op->res[0], cg_tile_from_slots(g, tc->elem, xc->slots, acc));
}
