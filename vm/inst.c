// SPDX-License-Identifier: Apache-2.0
// Instructions: the rows of inst.def. What the elementwise ones mean is in eval.c.
#include "vm/vm.h"

#include <string.h>

const vm_inst_info vm_insts[I_count_] = {
#define INST(name, cls, nops, nres, fx, vis, sm, doc) {#name, cls, nops, nres, fx, vis, sm, doc},
#include "vm/inst.def"
#undef INST
};

bool vm_inst_find(const char *name, vm_inst *out) {
    for (unsigned i = 0; i < I_count_; i++) {
        if (strcmp(vm_insts[i].name, name) != 0) continue;
        *out = (vm_inst)i;
        return true;
    }
    return false;
}
