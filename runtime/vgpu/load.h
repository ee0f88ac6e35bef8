// SPDX-License-Identifier: Apache-2.0
// Private to decode.c and load.c: the state of decoding one function.
#pragma once
#include "runtime/vgpu/exec.h"

/// Work around an instruction: a row narrowed or a counter read before it, a result widened after it.
enum vg_step_kind { VG_STEP_NARROW, VG_STEP_SPECIAL, VG_STEP_WIDEN };
typedef struct {
    uint8_t kind;
    bool after, wide;
    uint8_t sign_bits;          // WIDEN: of the signed number, 0: unsigned
    uint32_t keep;
    vg_row from, to;
    int special;
} vg_wrap_step;
typedef struct vg_wrap {
    vg_exec *run;
    uint32_t n;
    const vg_wrap_step *step;
} vg_wrap;

typedef struct {
    const ptx_var *var;
    uint32_t offset;
} vg_shared_at;
typedef VM_VEC(vg_shared_at) vg_shared_map;

typedef struct vg_decoding {
    VM_VEC(vg_fill_row) fill;
    uint32_t *index;            // hash table of fill, indices from 1
    uint32_t nfill, cap_index;
    VM_VEC(vg_wrap_step) step;  // of the instruction being decoded
    uint32_t pred_at, pred_left;
    vg_shared_map *shared;      // of the entry
    const uint32_t *joins;
} vg_decoding;

uint64_t vg_code_address(const ptx_module *m, const ptx_func *f); // 0: it has no body
uint64_t vgd_fill_hash(const vg_fill_row *f);
void vgd_finish(vg_decoder *d, vg_inst *out); // after the decoder: steps around it
/// Where the paths of the instruction being decoded meet again.
uint32_t vgd_join(const vg_decoder *d);
/// The callee as this entry calls it; decodes it when first named. NULL after vgd_fail.
const vg_kernel *vgd_callee(vg_decoder *d, const ptx_func *f);
