// SPDX-License-Identifier: Apache-2.0
// Loads, stores, copies and atomics.
#include "codegen/emit.h"

#define REFUSE(name)                                                                               \
    void emit_##name(cg *g, ir_op *op) { cg_refuse(g, op, #name, "another form"); }
REFUSE(load)
REFUSE(store)
REFUSE(load_elem)
REFUSE(store_elem)
REFUSE(load_be)
REFUSE(load_le)
REFUSE(copy)
REFUSE(copy_async)
REFUSE(prefetch)
REFUSE(atomic_add)
REFUSE(atomic_min)
REFUSE(atomic_max)
REFUSE(atomic_exch)
REFUSE(atomic_cas)
