// SPDX-License-Identifier: Apache-2.0
// Private to the passes: questions that several of them ask.
#pragma once
#include "ir/ir.h"

/// Uses of each value of f (body and host), by id.
uint32_t *ir_count_uses(const ir_func *f);
/// Does nothing but compute its results: may be removed, moved and repeated.
bool ir_is_pure(const ir_op *op);
/// alloc_shared or the pointer parameter's value behind a memory view; NULL if it is neither.
const ir_value *ir_memory_of(const ir_value *view);
bool ir_inside(const ir_op *op, const ir_op *outer); // op is nested in outer's regions
/// What an operation outside simt does to one view.
typedef struct {
    ir_value *view;
    bool write, atomic;
    bool async;    // lands later: at wait_group or wait_value
    bool manual;   // lands on a barrier that the program waits for
    bool proxy;    // through the asynchronous proxy
    bool store;    // of the copy engine, out of shared memory
} ir_effect;
enum { IR_MAX_EFFECTS = 4 };
/// A copy from global to shared memory.
static inline bool ir_into_shared(const ir_op *op) {
    return (op->inst == I_copy || op->inst == I_copy_async) && op->ops[0]->type.space == IS_SHARED && op->ops[1]->type.space == IS_GLOBAL;
}
/// How a copy into shared memory is to be made: its own via, else that of its fetch block, else that of
/// the pipelined loop; NULL: nobody says.
const char *ir_copy_via(const ir_op *op);
/// Done by the copy engine, which is to say through the asynchronous proxy.
bool ir_by_engine(const ir_op *op);
uint32_t ir_effects(const ir_op *op, ir_effect out[IR_MAX_EFFECTS]);
/// pass_bounds.c: sets guard and align on memory operations, from the divisors of pass_divides.
void ir_prove_bounds(ir_func *f);
