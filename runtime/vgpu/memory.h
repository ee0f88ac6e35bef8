// SPDX-License-Identifier: Apache-2.0
// Private to the executors of memory instructions: a warp's addresses, resolved.
#pragma once
#include "runtime/vgpu/exec.h"

enum { VG_M_WIDE = 1, VG_M_SIGNED = 2, VG_M_WATCHED = 4 }; // vg_inst.sub

/// A register of a memory access and its bits.
typedef struct {
    vg_row row;
    uint32_t bits;
} vg_row_of;

typedef struct {
    _Alignas(64) uint64_t addr[32];
    _Alignas(64) uintptr_t host[32];
    bool one;                   // all in one place, whose space is `space`
    int space;
    int spaces[32];             // not `one`: of each lane
    vg_block *owner[32];
} vg_accessed;

/// Resolves [s[0]] + imm of in's space for the lanes of mask (other lanes get an address of theirs).
/// False: vg_fail has been called.
bool vg_access(vg_warp *w, const vg_inst *in, uint32_t mask, uint32_t n, uint32_t align, int use, vg_accessed *x);
/// Tells the sanitizer and the profiler; call if w->watch.
void vg_access_watched(vg_warp *w, const vg_inst *in, uint32_t mask, uint32_t n, int use, vg_accessed *x);

/// st.async and red.async (bulk.c).
void vgd_store_async(vg_decoder *d, vg_inst *out);
uint32_t vgd_vector(vg_decoder *d);
bool vgd_ordering(vg_decoder *d);
bool vgd_has_policy(vg_decoder *d);
/// Sets the address of out from an operand: s[0], imm, VG_M_WIDE.
void vgd_memory(vg_decoder *d, vg_inst *out, const ptx_opnd *address);
