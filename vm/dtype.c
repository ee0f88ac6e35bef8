// SPDX-License-Identifier: Apache-2.0
// Element types: the rows of dtype.def and their names. What the codes mean is in num.c.
#include "vm/vm.h"

#include <string.h>

const vm_dtype_info vm_dtypes[T_count_] = {
#define DTYPE(name, bits, kind, e, m, special) {#name, bits, kind, e, m, special},
#include "vm/dtype.def"
#undef DTYPE
};

bool vm_dtype_find(const char *name, vm_dtype *out) {
    for (unsigned t = 0; t < T_count_; t++) {
        if (strcmp(vm_dtypes[t].name, name) != 0) continue;
        *out = (vm_dtype)t;
        return true;
    }
    return false;
}
