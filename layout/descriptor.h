// SPDX-License-Identifier: Apache-2.0
// Matrix descriptors of warpgroup products: whether an operand that lies in shared memory in a
// given layout is one of the canonical forms that the hardware walks by itself, and which. The
// forms are those of the PTX ISA's "asynchronous warpgroup level matrix shared memory layout"; only
// the layout's map is asked, so any layout with the right map serves.
//
// In bytes, T = 16, P the swizzle width (16 without swizzle), element (i, j) at i along m or n, j
// along k:
//   along k   (i % 8) P + (i / 8) stride + j/T-chunks: one after the other, `leading` apart without
//   swizzle along mn  P bytes of i in a row, then `leading` (without swizzle: `stride`); (j % 8) P,
//   then every
//             eighth j `stride` (without swizzle: `leading`)
// and address bits [4, 4 + log2(P / 16)) ^= bits [7, …).
#pragma once
#include "layout/layout.h"

/// One operand: a box of a shared tile. Dimension 0 of each pair is m (or n), 1 is k.
typedef struct {
    const shared_layout *tile;
    int dim[2];        // dimensions of the tile that the box walks along
    int64_t extent[2]; // of the whole operand
    int64_t step[2];   // of what one instruction reads; divides nothing by itself
    uint64_t
        divisor[LAYOUT_MAX_RANK]; // of the box's origin in each dimension of the tile; 0: it is 0
    unsigned elem_bits;           // 8, 16, 32
} descriptor_box;

typedef struct {
    int swizzle;             // bytes: 128, 64, 32, or 0
    bool across;             // contiguous along m or n, not along k
    int64_t leading, stride; // bytes, multiples of 16
} descriptor;

/// False, with *why naming a layout that would do, if the operand has no descriptor. Instructions
/// that begin at multiples of `step` inside the box all have this one, started at
/// layout_descriptor_offset.
bool layout_descriptor(vm_arena *a, const descriptor_box *box, descriptor *out, layout_why why);
/// Bytes from the box's origin to its element (mn, k), before the swizzle.
int64_t layout_descriptor_offset(const descriptor_box *box, int64_t mn, int64_t k);
/// The 64 bits of the descriptor but for the start address (bits 0..13: byte address / 16).
uint64_t descriptor_bits(const descriptor *d);
