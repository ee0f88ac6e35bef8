// SPDX-License-Identifier: Apache-2.0
// Exchange between the lanes of a warp.
#include "codegen/emit.h"

static LLVMValueRef shuffle_word(cg *g, enum cg_shfl how, LLVMValueRef x, LLVMValueRef lane, LLVMValueRef mask) {
    static const char *const name[] = {
        [CG_SHFL_IDX] = "llvm.nvvm.shfl.sync.idx.i32",
        [CG_SHFL_UP] = "llvm.nvvm.shfl.sync.up.i32",
        [CG_SHFL_DOWN] = "llvm.nvvm.shfl.sync.down.i32",
        [CG_SHFL_XOR] = "llvm.nvvm.shfl.sync.bfly.i32",
    };
    LLVMValueRef a[4] = {mask ? mask : cg_i32(g, -1), x, lane, cg_i32(g, how == CG_SHFL_UP ? 0 : 31)};
    cg_counted(g, CG_shuffle);
    return cg_call(g, name[how], g->t_i32, 4, a);
}

LLVMValueRef cg_shuffle(cg *g, enum cg_shfl how, LLVMValueRef x, LLVMValueRef lane, LLVMValueRef mask) {
    LLVMTypeRef t = LLVMTypeOf(x);
    if (t == g->t_i64 || t == g->t_f64) {
        LLVMValueRef u = cg_bitcast(g, x, g->t_i64);
        LLVMValueRef lo = LLVMBuildTrunc(g->b, u, g->t_i32, "");
        LLVMValueRef hi = LLVMBuildTrunc(g->b, LLVMBuildLShr(g->b, u, cg_i64(g, 32), ""), g->t_i32, "");
        lo = LLVMBuildZExt(g->b, shuffle_word(g, how, lo, lane, mask), g->t_i64, "");
        hi = LLVMBuildZExt(g->b, shuffle_word(g, how, hi, lane, mask), g->t_i64, "");
        u = LLVMBuildOr(g->b, lo, LLVMBuildShl(g->b, hi, cg_i64(g, 32), ""), "");
        return cg_bitcast(g, u, t);
    }
    if (t == g->t_i1 || t == g->t_i8 || t == g->t_i16) {
        x = shuffle_word(g, how, LLVMBuildZExt(g->b, x, g->t_i32, ""), lane, mask);
        return LLVMBuildTrunc(g->b, x, t, "");
    }
    if (t == g->t_f16 || t == g->t_bf16) {
        x = LLVMBuildZExt(g->b, cg_bitcast(g, x, g->t_i16), g->t_i32, "");
        x = shuffle_word(g, how, x, lane, mask);
        return cg_bitcast(g, LLVMBuildTrunc(g->b, x, g->t_i16, ""), t);
    }
    return cg_bitcast(g, shuffle_word(g, how, cg_bitcast(g, x, g->t_i32), lane, mask), t);
}

static LLVMValueRef mask_of(cg *g, const ir_op *op) { return cg_i32(g, ir_int(op, AT_mask, -1)); }

static void shuffle(cg *g, ir_op *op, enum cg_shfl how) {
    LLVMValueRef lane = cg_int32(g, op->ops[1]), mask = mask_of(g, op);
    if (!cg_is_tile(op->res[0])) {
        cg_set_scalar(g, op->res[0], cg_shuffle(g, how, cg_scalar(g, op->ops[0]), lane, mask));
        return;
    }
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    cg_tile *r = cg_tile_new(g, x->elem, x->slots);
    for (uint32_t i = 0; i < x->nwords; i++) r->word[i] = cg_shuffle(g, how, x->word[i], lane, mask);
    cg_set_tile(g, op->res[0], r);
}

void emit_shuffle(cg *g, ir_op *op) { shuffle(g, op, CG_SHFL_IDX); }
void emit_shuffle_up(cg *g, ir_op *op) { shuffle(g, op, CG_SHFL_UP); }
void emit_shuffle_down(cg *g, ir_op *op) { shuffle(g, op, CG_SHFL_DOWN); }
void emit_shuffle_xor(cg *g, ir_op *op) { shuffle(g, op, CG_SHFL_XOR); }

void emit_ballot(cg *g, ir_op *op) {
    LLVMValueRef a[2] = {mask_of(g, op), cg_scalar(g, op->ops[0])};
    cg_set_scalar(g, op->res[0], cg_call(g, "llvm.nvvm.vote.ballot.sync", g->t_i32, 2, a));
}
