// SPDX-License-Identifier: Apache-2.0
// Tensor maps: the virtual GPU's own 128 bytes, made with the checks that the driver documents for
// cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col, and read by tensor copies.
#include <string.h>
#include "runtime/vgpu/async.h"

#define MAGIC 0x70616d6f736e6574ull

typedef struct {
    uint64_t magic, base;
    uint64_t stride[4];
    uint32_t last[5]; // extents less 1: they go to 2^32
    uint16_t box[5];  // im2col: channels, pixels
    uint8_t step[5];
    uint8_t type, rank, swizzle, nan_fill, im2col;
    int16_t lower[3], upper[3];
} encoded;
_Static_assert(sizeof(encoded) <= 128, "a tensor map has 128 bytes");

/// Element types in the driver's order.
static const uint8_t types[] = {PTX_u8,  PTX_u16, PTX_u32,  PTX_s32, PTX_u64, PTX_s64, PTX_f16,
                                PTX_f32, PTX_f64, PTX_bf16, PTX_f32, PTX_f32, PTX_f32};

static bool is_multiple(uint64_t x, uint64_t n) {
    return x % n == 0;
}

/// Everything that both modes have in common.
static int encode(encoded *e, const void *map, int type, uint32_t rank, const void *address,
                  const uint64_t *dims, const uint64_t *strides, const uint32_t *steps,
                  int interleave, int swizzle, int l2, int oob) {
    const int invalid = VG_INVALID_VALUE;
    if (!map || !is_multiple((uint64_t)(uintptr_t)map, 64) || !dims || !steps ||
        (rank > 1 && !strides))
        return invalid;
    if (type < 0 || (size_t)type >= sizeof types / sizeof *types || rank < 1 || rank > 5)
        return invalid;
    if (interleave < 0 || interleave > 2 || swizzle < 0 || swizzle > 3 || l2 < 0 || l2 > 3 ||
        oob < 0 || oob > 1)
        return invalid;
    if (interleave && rank < 3) return invalid;
    if (interleave == 2 && swizzle != 1) return invalid;
    const unsigned align = interleave == 2 ? 32 : 16;
    const ptx_type_info *t = &ptx_types[types[type]];
    if (!address || !is_multiple((uint64_t)(uintptr_t)address, align)) return invalid;
    if (oob && t->kind != PTX_K_FLOAT) return invalid;
    *e = (encoded){.magic = MAGIC,
                   .base = (uint64_t)(uintptr_t)address,
                   .type = types[type],
                   .rank = (uint8_t)rank,
                   .swizzle = (uint8_t)swizzle,
                   .nan_fill = (uint8_t)oob};
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 1 || dims[i] > 1ull << 32 || steps[i] < 1 || steps[i] > 8) return invalid;
        e->last[i] = (uint32_t)(dims[i] - 1);
        e->step[i] = (uint8_t)(i ? steps[i] : 1); // without interleave dimension 0 has no stride
        if (i + 1 == rank) continue;
        if (!is_multiple(strides[i], align) || strides[i] >= 1ull << 40) return invalid;
        e->stride[i] = strides[i];
    }
    return interleave ? 801 : VG_OK;
}

/// The innermost row of a box: whole 16 bytes, and no wider than the swizzle's span.
static bool fits(const encoded *e, uint64_t elements) {
    uint64_t bytes = elements * ptx_types[e->type].bits / 8;
    return is_multiple(bytes, 16) && (!e->swizzle || bytes <= 16u << e->swizzle);
}

int vg_tensor_map_encode(void *map128, int type, uint32_t rank, void *address, const uint64_t *dims,
                         const uint64_t *strides, const uint32_t *box,
                         const uint32_t *element_strides, int interleave, int swizzle,
                         int l2_promotion, int oob_fill) {
    encoded e;
    int s = encode(&e, map128, type, rank, address, dims, strides, element_strides, interleave,
                   swizzle, l2_promotion, oob_fill);
    if (s != VG_OK) return s;
    if (!box) return VG_INVALID_VALUE;
    for (uint32_t i = 0; i < rank; i++) {
        if (box[i] < 1 || box[i] > 256) return VG_INVALID_VALUE;
        e.box[i] = (uint16_t)box[i];
    }
    if (!fits(&e, box[0])) return VG_INVALID_VALUE;
    memset(map128, 0, 128);
    memcpy(map128, &e, sizeof e);
    return VG_OK;
}

int vg_tensor_map_encode_im2col(void *map128, int type, uint32_t rank, void *address,
                                const uint64_t *dims, const uint64_t *strides, const int *lower,
                                const int *upper, uint32_t channels, uint32_t pixels,
                                const uint32_t *element_strides, int interleave, int swizzle,
                                int l2_promotion, int oob_fill) {
    encoded e;
    int s = encode(&e, map128, type, rank, address, dims, strides, element_strides, interleave,
                   swizzle, l2_promotion, oob_fill);
    if (s != VG_OK) return s;
    if (rank < 3 || !lower || !upper || channels < 1 || channels > 256 || pixels < 1 ||
        pixels > 1024)
        return VG_INVALID_VALUE;
    const int limit = rank == 3 ? 1 << 15 : rank == 4 ? 1 << 7 : 1 << 4;
    for (uint32_t i = 0; i + 2 < rank; i++) {
        if (lower[i] < -limit || lower[i] >= limit || upper[i] < -limit || upper[i] >= limit)
            return VG_INVALID_VALUE;
        e.lower[i] = (int16_t)lower[i];
        e.upper[i] = (int16_t)upper[i];
    }
    e.im2col = 1;
    e.box[0] = (uint16_t)channels;
    e.box[1] = (uint16_t)pixels;
    if (!fits(&e, channels)) return VG_INVALID_VALUE;
    memset(map128, 0, 128);
    memcpy(map128, &e, sizeof e);
    return VG_OK;
}

bool vg_tensor_decode(const void *map, vg_tensor *t) {
    encoded e;
    memcpy(&e, map, sizeof e);
    // A map that the program changed must not lead us outside: every field is checked again.
    if (e.magic != MAGIC || e.rank < 1 || e.rank > 5 || e.type >= PTX_type_count_ || e.swizzle > 3)
        return false;
    *t = (vg_tensor){.base = e.base,
                     .rank = e.rank,
                     .type = e.type,
                     .bytes = ptx_types[e.type].bits / 8u,
                     .swizzle = e.swizzle,
                     .nan_fill = e.nan_fill,
                     .im2col = e.im2col};
    if (!t->bytes) return false;
    t->stride[0] = t->bytes;
    for (uint32_t i = 0; i < e.rank; i++) {
        t->dim[i] = (uint64_t)e.last[i] + 1;
        t->step[i] = e.step[i];
        if (i) t->stride[i] = e.stride[i - 1];
        if (!t->step[i]) return false;
    }
    if (e.im2col) {
        for (int i = 0; i < 3; i++) {
            t->lower[i] = e.lower[i];
            t->upper[i] = e.upper[i];
        }
        t->channels = e.box[0];
        t->pixels = e.box[1];
        t->count[0] = t->channels;
        t->count[1] = t->pixels;
        t->total = (uint64_t)t->channels * t->pixels * t->bytes;
    } else {
        t->total = t->bytes;
        for (uint32_t i = 0; i < e.rank; i++) {
            t->box[i] = e.box[i];
            t->count[i] = (t->box[i] + t->step[i] - 1) / t->step[i];
            t->total *= t->count[i];
        }
    }
    return t->total != 0 && t->count[0] * t->bytes % 16 == 0 && t->total < 1u << VG_RANK_SHIFT;
}
