// SPDX-License-Identifier: Apache-2.0
// Tile instructions that move no data, and relayouts. On memory views permute and reshape emit nothing.
#include "codegen/emit.h"

#define REFUSE(name)                                                                               \
    void emit_##name(cg *g, ir_op *op) {                                                           \
        if (op->nres && cg_is_tile(op->res[0]))                                                    \
            cg_refuse(g, op, #name, "another form");                                               \
    }
REFUSE(broadcast)
REFUSE(permute)
REFUSE(reshape)
REFUSE(view)
REFUSE(relayout)
