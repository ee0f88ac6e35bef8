// SPDX-License-Identifier: Apache-2.0
// BLAKE3, which LLVM brings along; for the keys of the kernel cache.
#include <llvm-c/Core.h>
#include <llvm-c/blake3.h>

#include "codegen/codegen.h"

void cg_hash(const cg_piece *pieces, size_t n, uint8_t out[32]) {
    llvm_blake3_hasher h;
    llvm_blake3_hasher_init(&h);
    for (size_t i = 0; i < n; i++) {
        const uint64_t size = pieces[i].size; // in front of each, so that no two lists read the same
        llvm_blake3_hasher_update(&h, &size, sizeof size);
        if (size) llvm_blake3_hasher_update(&h, pieces[i].data, size);
    }
    llvm_blake3_hasher_finalize(&h, out, 32);
}

const char *cg_version(char text[32]) {
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(text, 32, "LLVM %u.%u.%u", major, minor, patch);
    return text;
}
