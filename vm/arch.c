// SPDX-License-Identifier: Apache-2.0
// Targets: the rows of arch.def and how a device chooses among them.
#include "vm/vm.h"

#include <string.h>

const vm_arch vm_archs[] = {
#define ARCH(name, sm, a, ptx, shared, threads, features)                                          \
    {#name, sm, a, ptx, shared, threads, features},
#include "vm/arch.def"
#undef ARCH
};
const size_t vm_narchs = sizeof vm_archs / sizeof *vm_archs;

const vm_arch *vm_arch_find(const char *name) {
    for (size_t i = 0; i < vm_narchs; i++)
        if (strcmp(vm_archs[i].name, name) == 0) return &vm_archs[i];
    return NULL;
}

const vm_arch *vm_arch_for_device(int major, int minor) {
    const int sm = major * 10 + minor;
    const vm_arch *best = NULL; // an "a" target runs on its very chip only
    for (size_t i = 0; i < vm_narchs; i++) {
        const vm_arch *a = &vm_archs[i];
        if (a->suffix_a ? a->sm != sm : a->sm > sm) continue;
        if (!best || a->sm > best->sm || (a->sm == best->sm && a->suffix_a)) best = a;
    }
    return best;
}

bool vm_arch_has(const vm_arch *a, const char *feature) {
    static const struct {
        const char *name;
        uint32_t bit;
    } names[] = {
        {"ldmatrix", A_LDMATRIX}, {"cp_async", A_CP_ASYNC},       {"mma_bf16", A_MMA_BF16},
        {"stmatrix", A_STMATRIX}, {"tma", A_TMA},                 {"wgmma", A_WGMMA},
        {"cluster", A_CLUSTER},   {"fp8_cvt", A_FP8_CVT},         {"fp8_mma", A_FP8_MMA},
        {"pdl", A_PDL},           {"setmaxnreg", A_SETMAXNREG},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, feature) == 0) return (a->features & names[i].bit) != 0;
    return false;
}
