// SPDX-License-Identifier: Apache-2.0
// What the virtual GPU does without some of its parts: nothing, and for families of instructions an
// error when a module is loaded. Real definitions take precedence; this is the library's last object.
#include "runtime/vgpu/exec.h"

#if defined(__GNUC__)
#define WEAK __attribute__((weak))
#else
#define WEAK
#endif

#define ABSENT(decoder)                                                                            \
    WEAK void decoder(vg_decoder *d, vg_inst *out) {                                               \
        (void)out;                                                                                 \
        vgd_fail(d, "not available");                                                              \
    }
ABSENT(vgd_ldmatrix)
ABSENT(vgd_mma)
ABSENT(vgd_video)
ABSENT(vgd_wmma)


WEAK float vg_f16(uint32_t code) { return (float)vm_decode(T_f16, code); }
WEAK uint32_t vg_to_f16(float x, vm_rounding r) { return (uint32_t)vm_encode(T_f16, (double)x, r); }
WEAK float vg_bf16(uint32_t code) { return (float)vm_decode(T_bf16, code); }
WEAK uint32_t vg_to_bf16(float x, vm_rounding r) { return (uint32_t)vm_encode(T_bf16, (double)x, r); }
