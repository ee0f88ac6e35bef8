// SPDX-License-Identifier: Apache-2.0
// Shared by the two halves of the verifier: verify.c walks regions (dominance, groups, terminators,
// control), verify_types.c holds the rules of single operations.
#pragma once
#include "ir/ir.h"

typedef struct {
    const ir_func *f;
    vm_arena *arena;
    const char *why;
    const ir_value **defined; // by id; NULL: not in scope here
    const ir_op **group;      // by id: role that made the value, NULL: the block
    uint32_t nids;
    bool host;
} ir_checker;

bool ir_check_fail(ir_checker *k, const ir_op *op, const char *fmt, ...) VM_PRINTF(3, 4);
/// Equal, layouts only once relayout has run.
bool ir_check_same(const ir_checker *k, const ir_type *a, const ir_type *b);
/// Operand, result and attribute rules of an operation other than control.
bool ir_check_types(ir_checker *k, const ir_op *op);
bool ir_check_type(ir_checker *k, const ir_op *op, const ir_type *t);
