// SPDX-License-Identifier: Apache-2.0
// The order of bits in which a type of up to 8 bits converts to pairs of f16 or bf16 with the fewest
// instructions, and the plan of the conversion. Both come out of one search (bitorder.c) from the type's
// description alone; `encode` permutes bits by the plan, `decode` carries it out, and nothing else
// decides about either.
//
// A word of 32 bits is two lanes of 16. Rotated by any amount, bits i and i + 16 stay in the same place
// of different lanes, so one rotation and one mask put several bits of two elements where the result
// wants them; elements 2p and 2p + 1 make pair p. What one rotation does not cover comes from further
// pieces.
#pragma once
#include "vm/vm.h"

enum { BITS_MAX_PIECES = 8 };

typedef struct {
    uint16_t word;     // of the encoded bit string
    uint8_t rot;       // rotl32 of it, 0..15
    uint16_t mask;     // in each lane
    bool top;          // belongs to the second number of a pair that is made of two
} bits_piece;

typedef struct {
    unsigned n;
    unsigned shift;    // where the code's bit 0 lies (integers); 0 for floats
    bits_piece piece[BITS_MAX_PIECES];
} bits_pair;

/// How the bits put in place become numbers.
typedef enum {
    BITS_NONE,         // no plan: the order is the plain one
    BITS_INT,          // mantissa of 1024 or 128, sign bit flipped: subtract
    BITS_WIDE_INT,     // 8 bits in bf16: low seven as above, the top one is a number of its own
    BITS_FLOAT,        // exponent and mantissa in place: multiply by a power of two
    BITS_SCALE,        // f8e8m0 in bf16
    BITS_SPLIT,        // exponents beyond f16's: a byte a code, made into an f32 and rounded; no pairs
} bits_form;

typedef struct {
    bits_form form;
    uint32_t slots, words, pairs;
    bits_pair *pair;
    unsigned rest;     // bits of the last word if it is not full, else 32
} bits_plan;

/// What q is first converted to on its way to t: f16 or bf16, exactly. Orders depend on this alone.
vm_dtype bits_target(vm_dtype q, vm_dtype t);
/// The plan for `slots` elements of q a thread. form is BITS_NONE where the plain order is as good: odd
/// numbers of slots, types that an instruction converts, other targets. `numbers`: as in vm_rounding; it
/// makes a difference where an instruction is used for the NaN's sake. Deterministic.
bits_plan bits_plan_make(vm_arena *a, vm_dtype q, vm_dtype t, uint32_t slots, bool numbers);
/// SHF, LOP3 and PRMT instructions of the plan; arithmetic comes on top.
unsigned bits_plan_cost(const bits_plan *p);
/// order[i]: the bit of the plain bit string that lies at bit i of the encoded one; slots * bits(q) of
/// them, a permutation.
void bits_order(vm_arena *a, vm_dtype q, vm_dtype t, uint32_t slots, bool numbers, uint32_t *order);
/// What an integer in the mantissa of a greater number counts from: left in where it need not be 0.
int bits_offset(vm_dtype q, vm_dtype t);
/// BITS_SPLIT: the bits of a byte that make the top byte of an f32, its sign and exponent but for the
/// last bit; the others, moved up by `up`, are the next byte. `add` corrects the top byte's bias.
typedef struct {
    uint8_t top, next, up, add;
} bits_split;
bits_split bits_split_of(vm_dtype q);
