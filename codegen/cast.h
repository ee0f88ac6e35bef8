// SPDX-License-Identifier: Apache-2.0
// Private to codegen: what the emitters of packed conversions share. A pair is two f16 or bf16 in a word.
#pragma once
#include "codegen/emit.h"

LLVMValueRef cg_prmt(cg *g, LLVMValueRef a, LLVMValueRef b, uint32_t sel);
/// (x & mask) | with, or ^ with, in one LOP3: LLVM and ptxas leave two when both are constants.
LLVMValueRef cg_mask_or(cg *g, LLVMValueRef x, uint32_t mask, uint32_t with, bool exclusive);
LLVMValueRef cg_pair_const(cg *g, vm_dtype t, double x);
LLVMValueRef cg_widen_pair(cg *g, vm_dtype from, LLVMValueRef v, int k); // element k as f32
LLVMValueRef cg_narrow_pair(cg *g, vm_dtype to, LLVMValueRef lo, LLVMValueRef hi);

// ---- emit_cast_bits.c: encoded tiles (vm/bitorder.h) ----------------------------------------------

/// f7e5m1 put in place in f16: its greatest exponent means infinity there, whatever the mantissa says.
LLVMValueRef cg_clip_pair(cg *g, LLVMValueRef y);
/// f8e8m0 from codes in place in bf16: the exponent is the number, but for code 0, which is 2^-127, and
/// 255, a NaN: infinity times 0.
LLVMValueRef cg_scale_pair(cg *g, LLVMValueRef bits);
/// The cast of a tile that a view has taken out of the order for this very target: straight from the
/// encoded words. NULL: it is no such cast.
LLVMValueRef cg_scale_number(cg *g, LLVMValueRef bits); // where there is no NaN
/// The four codes of a word to two pairs of f16, where their exponents go beyond it: each is put together
/// as an f32 and rounded. Subnormals of theirs are nothing in f16. encoded: in the order of BITS_SPLIT.
void cg_split_pairs(cg *g, vm_dtype q, bool numbers, bool encoded, LLVMValueRef x, LLVMValueRef pair[2]);
cg_tile *cg_decode_cast(cg *g, const ir_op *cast, vm_dtype to);
/// A view that changes the order of bits; nothing where only casts as above use the result.
void cg_reorder_view(cg *g, ir_op *view);
