// SPDX-License-Identifier: Apache-2.0
// Matrix products.
#include "codegen/emit.h"

void emit_dot(cg *g, ir_op *op) { cg_refuse(g, op, "dot", "another form"); }
