// SPDX-License-Identifier: Apache-2.0
// Private to matrix instructions: fragments to dense arrays and back, and products of those.
//
// Layouts. Lane l is row g = l / 4 and column t = l % 4 of an 8x4 grid. A register holds e elements
// (of at most 32 bits; 64-bit ones: e = 1). Operands A (m x k) and B (as n x k) are cut in blocks of
// 8 rows and 4e columns; register r is block (r % mr, r / mr) for mr = rows / 8, and element i of
// lane l there is row g, column t * e + i. Results (m x n) are cut in blocks of 8x8, numbered alike;
// a block has the pair of elements row g, columns 2t and 2t + 1 of each lane. These are the layouts
// that the PTX ISA gives for mma; wmma's, which it leaves open, are taken to be the same, with the
// registers of f16 fragments beyond the needed ones repeating the first.
#pragma once
#include "runtime/vgpu/alu.h"

/// A kind of element in fragments and in memory.
typedef struct {
    uint8_t type;       // enum ptx_type
    uint8_t bits;       // in memory and in registers (tf32, f32: 32; e2m1 and others of mma: 8)
    char arith;         // f: as float, d: as double, i: as int32, b: single bits
} vgm_elem;
const vgm_elem *vgm_elem_of(int type);

/// out[row * rs + col * cs] = the operand, as float, int32 or double. `n`: registers, `mr`: rows / 8.
void vgm_gather(vg_warp *w, const vg_row *rows, uint32_t n, uint32_t mr, const vgm_elem *t, void *out,
                uint32_t rs, uint32_t cs);
/// The same of results: registers of f16 (two elements), f32, s32 or f64.
void vgm_gather_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type, void *out);
void vgm_scatter_result(vg_warp *w, const vg_row *rows, uint32_t m, uint32_t n, int type, uint32_t mask, const void *in);

typedef struct {
    uint32_t m, n, k;
    const vgm_elem *a, *b;
    int c, d;           // types of the results
    uint32_t ra, rb;    // registers of A and B that hold their elements
    bool saturate;      // satfinite
    bool bit_and;       // b1: and, else xor
    const vg_row *row[4]; // d, a, b, c
} vgm_product;
/// d = a * b + c.
enum vg_next vgm_multiply(vg_warp *w, const vg_inst *in, uint32_t mask);

/// mNnNkN among the modifiers, marked; false: there is none.
bool vgm_shape(vg_decoder *d, uint32_t *m, uint32_t *n, uint32_t *k);
/// The i-th of row and col among the modifiers: 0 row, 1 col, -1 none. Marks it.
int vgm_layout(vg_decoder *d, int i);
/// Registers of a list operand (a single register counts as one), `bits` wide each.
const vg_row *vgm_registers(vg_decoder *d, const ptx_opnd *o, uint32_t n, unsigned bits, bool result);
