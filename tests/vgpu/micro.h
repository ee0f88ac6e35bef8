// SPDX-License-Identifier: Apache-2.0
// Micro-kernels of one instruction each: text, inputs, execution on the virtual GPU, comparison.
//
// Kinds of registers: h w l: 16, 32, 64 bits; p: predicate; e b: f16, bf16; E B: pairs of them; f d: f32,
// f64; g: f32 of moderate size; r: f32 in [-pi, pi]; n: 0 to 70; j: 0 to 31; z: -8 to 8; c: third
// operand of shfl; Q U: four e4m3 or e5m2 (whole numbers).
#pragma once
#include "runtime/vgpu/vgpu.h"

/// How results are compared: one of these, or the ulps by which they may differ.
enum { MICRO_EXACT = -1, MICRO_ANYNAN = -2, MICRO_ABS = -3, MICRO_LOG = -4, MICRO_INTS = -5 };
typedef struct {
    int sm;
    double how;
    const char *kinds, *text;
} micro;
extern const micro micros[];
extern const size_t nmicros;

enum { MICRO_MOST = 32 };       // operands
typedef struct {
    uint32_t n;                 // threads
    uint32_t nd, ns;            // results, sources
    uint64_t *in, *out;         // [operand][thread]; free with free
} micro_data;

/// The module's text; every lane executes it, or those whose number has a bit of `lanes` if guarded.
char *micro_ptx(const micro *m, bool guarded);
#define MICRO_LANES 0x5a5af00fu
micro_data micro_inputs(const micro *m, uint64_t seed);
/// Fills out (0xa5 where nothing is written). False: *why says what failed.
bool micro_run(vg_gpu *g, const char *ptx, micro_data *x, char *why, size_t size);
/// Whether two results of kind k agree.
bool micro_agree(const micro *m, char k, uint64_t x, uint64_t y);
uint64_t micro_random(uint64_t *state);
