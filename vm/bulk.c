// SPDX-License-Identifier: Apache-2.0
// Arrays of host values: instructions, casts and dense bit strings, with native loops for the
// common types. Every native loop gives the very codes that num.c and eval.c give.
#include "vm/vm.h"

#include <string.h>

static uint64_t mask_of(unsigned bits) { return bits >= 64 ? UINT64_MAX : (1ull << bits) - 1; }

// ---- cells --------------------------------------------------------------------------------------

static uint64_t cell_get(unsigned width, const void *p, size_t i) {
    switch (width) {
    case 1: return ((const uint8_t *)p)[i];
    case 2: return ((const uint16_t *)p)[i];
    case 4: return ((const uint32_t *)p)[i];
    default: return ((const uint64_t *)p)[i];
    }
}

static void cell_put(unsigned width, void *p, size_t i, uint64_t v) {
    switch (width) {
    case 1: ((uint8_t *)p)[i] = (uint8_t)v; break;
    case 2: ((uint16_t *)p)[i] = (uint16_t)v; break;
    case 4: ((uint32_t *)p)[i] = (uint32_t)v; break;
    default: ((uint64_t *)p)[i] = v; break;
    }
}

// ---- dense bit strings --------------------------------------------------------------------------

uint64_t vm_get_bits(const void *mem, size_t bit, unsigned nbits) {
    const uint8_t *p = (const uint8_t *)mem + bit / 8;
    const unsigned off = (unsigned)(bit % 8);
    uint64_t v = 0;
    if (nbits == 0) return 0;
    const unsigned bytes = (off + nbits + 7) / 8; // at most 9
    for (unsigned i = 0; i < bytes && i < 8; i++) v |= (uint64_t)p[i] << (8 * i);
    v >>= off;
    if (bytes == 9) v |= (uint64_t)p[8] << (64 - off);
    return v & mask_of(nbits);
}

void vm_put_bits(void *mem, size_t bit, unsigned nbits, uint64_t v) {
    uint8_t *p = (uint8_t *)mem + bit / 8;
    unsigned off = (unsigned)(bit % 8);
    while (nbits) {
        const unsigned take = nbits < 8 - off ? nbits : 8 - off;
        const uint8_t m = (uint8_t)(mask_of(take) << off);
        *p = (uint8_t)((*p & ~m) | ((uint8_t)(v << off) & m));
        v >>= take;
        nbits -= take;
        off = 0;
        p++;
    }
}

void vm_unpack(vm_dtype t, size_t n, const void *mem, size_t bit, void *cells) {
    const unsigned b = vm_mem_bits(t), w = vm_cell(t);
    if (b == 8 * w && bit % 8 == 0) {
        if (n) memcpy(cells, (const uint8_t *)mem + bit / 8, n * w);
        return;
    }
    for (size_t i = 0; i < n; i++) cell_put(w, cells, i, vm_get_bits(mem, bit + i * b, b));
}

void vm_pack(vm_dtype t, size_t n, const void *cells, void *mem, size_t bit) {
    const unsigned b = vm_mem_bits(t), w = vm_cell(t);
    if (b == 8 * w && bit % 8 == 0) {
        if (n) memcpy((uint8_t *)mem + bit / 8, cells, n * w);
        return;
    }
    for (size_t i = 0; i < n; i++) vm_put_bits(mem, bit + i * b, b, cell_get(w, cells, i));
}

// ---- casts and instructions ---------------------------------------------------------------------

void vm_bulk_cast(vm_dtype from, vm_dtype to, size_t n, const void *src, void *dst, vm_rounding r) {
    const unsigned wf = vm_cell(from), wt = vm_cell(to);
    for (size_t i = 0; i < n; i++) cell_put(wt, dst, i, vm_cast(from, to, cell_get(wf, src, i), r));
}

void vm_bulk_to_f32(vm_dtype from, size_t n, const void *src, float *dst) {
    const unsigned w = vm_cell(from);
    for (size_t i = 0; i < n; i++) dst[i] = (float)vm_decode(from, cell_get(w, src, i));
}

void vm_bulk_to_f64(vm_dtype from, size_t n, const void *src, double *dst) {
    const unsigned w = vm_cell(from);
    for (size_t i = 0; i < n; i++) dst[i] = vm_decode(from, cell_get(w, src, i));
}

void vm_bulk(vm_inst i, vm_dtype t, size_t n, const void *const *src, const bool *scalar,
             void *dst) {
    const unsigned ops = (unsigned)vm_insts[i].nops, cls = vm_insts[i].cls;
    const unsigned w = vm_cell(t), out = cls == C_CMP ? 1 : w;
    uint64_t a[3] = {0};
    for (size_t k = 0; k < n; k++) {
        for (unsigned j = 0; j < ops; j++)
            a[j] = cell_get(cls == C_SELECT && j == 0 ? 1 : w, src[j], scalar[j] ? 0 : k);
        cell_put(out, dst, k, vm_eval(i, t, a));
    }
}
