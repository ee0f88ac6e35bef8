// SPDX-License-Identifier: Apache-2.0
// Private to layout inference: how the layouts of an operation's tiles hang together.
#pragma once
#include "ir/ir.h"
#include "layout/descriptor.h"

/// Layout that `operand` number k must have so that `op` needs no data movement, given its other
/// tiles; NULL if nothing follows (or the relation cannot be inverted). Only relations that are one to
/// one: elementwise, casts, broadcast, permute, reshape, scans, wait_value, elem_set.
const layout *infer_operand(const ir_op *op, uint32_t k, const layout *result);
/// Layout of the result that follows from operand k's; NULL if nothing follows.
const layout *infer_result(const ir_op *op, uint32_t k, const layout *operand);
/// A layout of a reduction's operand whose reduction is `l` (the result's); used when nothing else decides.
const layout *infer_reduced_operand(const ir_op *op, const layout *l);

/// Operand layouts of a dot (or wgmma) on `threads` threads that agree best with what is known
/// (each may be NULL). False, with *why, when no tensor-core instruction fits.
typedef struct {
    const layout *a, *b, *c;
    const mma_atom *atom; // NULL for wgmma
} infer_dot_choice;
bool infer_dot(vm_arena *ar, const ir_op *op, int threads, const layout *a, const layout *b,
               const layout *c, infer_dot_choice *out, const char **why);
/// infer_wgmma.c: the same for wgmma; a is NULL where it comes from shared memory, b always does.
bool infer_wgmma(vm_arena *ar, const ir_op *op, int threads, const layout *a, infer_dot_choice *out, const char **why);
/// Whether its accumulator is zeros, which it need not read.
bool infer_wgmma_fresh(const ir_op *op);
/// PTX's name of an operand type of wgmma; NULL: it is none.
const char *infer_wgmma_type(vm_dtype t);
/// Columns that the next instruction takes when `left` remain, operands of type a.
int infer_wgmma_columns(vm_dtype a, int64_t left);
/// The descriptor of shared operand k (0, 1) of a wgmma whose tile has layout sh (NULL: the one that it
/// has). `facts`: what pass_divides knows about origins counts; else they are taken for aligned.
bool infer_descriptor(vm_arena *ar, const ir_op *op, int k, const shared_layout *sh, bool facts, descriptor_box *box,
                      descriptor *out, const char **why);
/// Whether `l` serves where `want` is expected by a tensor-core operand: same owners, any slot order.
bool infer_same_owners(vm_arena *ar, const layout *l, const layout *want);

/// Default for a tile that nothing else decides: 16-byte vectors along dimension `along`, threads
/// row-major over the rest, padded; spare threads replicate.
const layout *infer_default(vm_arena *ar, const ir_type *t, int threads, int along, int max_vec_bytes);
/// The dimension of a view along which memory is contiguous (-1: none).
int infer_contiguous_dim(const ir_value *view);

static inline bool is_tile(const ir_value *v) { return v->type.space == IS_REG; }
/// Tiles that any thread can make anew: they take layouts from their users and pass none on.
static inline bool is_free(const ir_value *v) {
    return v->def && (v->def->inst == I_full || v->def->inst == I_iota || v->def->inst == I_poison);
}
/// Values of a terminator (yield, break, continue, leave) and the values that they become.
typedef void (*infer_tie)(void *user, ir_op *at, uint32_t operand, ir_value *to);
/// Calls tie for every edge on which a value is carried without an operation: loop inits, yields,
/// jumps, if and scope results, simt tiles. `to` is the region argument or result.
void infer_carried(ir_op *op, infer_tie tie, void *user);

/// infer_shared.c: layouts of shared tiles, once the layouts of register tiles are known; remarks.
void infer_shared(ir_func *f);
