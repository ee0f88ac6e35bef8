// SPDX-License-Identifier: Apache-2.0
// Reductions and scans.
#include "codegen/emit.h"

#define REFUSE(name)                                                                               \
    void emit_##name(cg *g, ir_op *op) { cg_refuse(g, op, #name, "another form"); }
REFUSE(sum)
REFUSE(max_of)
REFUSE(min_of)
REFUSE(any)
REFUSE(all)
REFUSE(scan_inclusive)
REFUSE(scan_exclusive)
