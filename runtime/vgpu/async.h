// SPDX-License-Identifier: Apache-2.0
// What the asynchronous agents of the virtual GPU share: operations in flight, mbarriers, tensor
// maps. Blocks of one cluster run on one thread of the host, so nothing here is locked.
#pragma once
#include "runtime/vgpu/exec.h"

/// What a warp that waits for VG_W_MBARRIER waits for, when it is not an mbarrier's address.
#define VG_WAIT_WARPGROUP (1ull << 32)
#define VG_WAIT_REGISTERS (2ull << 32)
#define VG_NEVER UINT64_MAX // a due time: at the latest moment only

/// When an operation reads and when it writes, in the issuing block's steps.
typedef struct {
    uint64_t read, write;
} vg_due;

/// One cp.async instruction of a warp, or its cp.async.mbarrier.arrive: lanes of one group.
typedef struct vg_copy vg_copy;
struct vg_copy {
    vg_copy *next;
    const vg_inst *in;
    uint32_t lanes, mask; // mask: those whose bytes are still to come
    uint32_t group;
    vg_due due;
    uint8_t bytes;       // 0: an arrival on mbarriers, once the lanes' copies before are done
    bool has_read, done; // done: kept only until the wait, for the sanitizer
    uint8_t size[32];    // bytes read; the rest is zero
    const uint8_t *src[32];
    uint8_t *dst[32];
    uint32_t bar[32]; // arrival: offset in the block's shared memory
    uint64_t *ticket; // of the sanitizer
    uint32_t nticket;
    uint8_t data[32][16];
};

/// A tensor map, decoded.
typedef struct {
    uint64_t base, dim[5], stride[5]; // stride[0]: bytes of an element
    uint32_t box[5], step[5];         // elements; element strides
    uint32_t rank, bytes;             // bytes of an element
    uint8_t type, swizzle, nan_fill, im2col;
    int32_t lower[3], upper[3];
    uint32_t channels, pixels;
    uint32_t count[5]; // elements of the box in shared memory
    uint64_t total;    // bytes of the box in shared memory
} vg_tensor;

enum vg_red {
    VG_RED_NONE,
    VG_RED_ADD,
    VG_RED_MIN,
    VG_RED_MAX,
    VG_RED_INC,
    VG_RED_DEC,
    VG_RED_AND,
    VG_RED_OR,
    VG_RED_XOR
};

/// A bulk or tensor copy of one thread.
typedef struct vg_bulk vg_bulk;
struct vg_bulk {
    vg_bulk *next;
    vg_warp *warp;
    const vg_inst *in;
    uint32_t lane;
    vg_due due;
    bool has_read, done;
    bool by_group; // completes a bulk group, else an mbarrier
    uint32_t group;
    uint8_t red, type; // reduction and its type
    const uint8_t *src;
    uint8_t *dst;
    uint64_t bytes;
    uint32_t src_offset; // of shared sources
    vg_block *src_owner; // of shared sources
    uint32_t targets;    // blocks of the cluster that receive it, by rank; 0: global memory
    uint32_t dst_offset, bar_offset;
    vg_block *bar_owner; // one receiver: the block whose mbarrier is told
    vg_tensor *tensor;
    bool tensor_load;
    int32_t at[5];     // coordinates
    int32_t offset[3]; // im2col
    uint8_t *data;
    struct vg_ticket *ticket; // of the sanitizer
    uint32_t nticket, cap_ticket;
};

typedef struct {
    uint32_t at; // offset in shared memory
    bool valid;
    uint32_t expected, pending;
    int64_t tx;           // bytes expected and not yet there
    uint64_t phase, word; // word: what shared memory holds for it
} vg_mbar;

/// A wgmma of a warpgroup; runs once its four warps have issued it.
typedef struct vg_matrix vg_matrix;
struct vg_matrix {
    vg_matrix *next;
    const vg_inst *in;
    vg_warp *warp[4];
    uint8_t *rows[4];        // registers of the frame that issued it
    uint32_t joined, waited; // warps that have issued it, and waited for it
    uint32_t group[4];       // of each warp's own counting
    vg_due due;
    bool has_read, done;
    uint64_t a, b; // descriptors
    bool accumulate;
    uint32_t *saved; // accumulators, while the registers hold poison
    uint64_t *ticket;
    uint32_t nticket;
    _Alignas(16) uint8_t data[(64 + 256) * 32]; // A, then B transposed: rows of 32 bytes along K
};

typedef struct {
    vg_matrix *first, **end; // in order of issue
    uint64_t base;           // number of `first` since the start
    uint64_t count[4];       // wgmmas that each warp has issued
} vg_warpgroup;

/// Asynchronous state of a block.
typedef struct {
    vg_bulk *bulk, **bulk_end;
    vg_mbar *bar; // hashed by offset, open addressing
    uint32_t nbar, cap_bar;
    uint32_t arrivals; // arrivals among the warps' copies
    uint64_t next_due, random;
    vg_warpgroup group[8];
    uint32_t registers[32]; // a thread, by warp, after setmaxnreg; 0: as launched
    vg_copy *spare;
} vg_agents;

/// Waiting at an mbarrier.
typedef struct {
    uint32_t pc, mask, at, polls;
    vg_block *owner;
    uint64_t phase;
    bool parked;
} vg_park;

/// Asynchronous state of a warp.
typedef struct {
    vg_copy *copy, **copy_end;
    uint32_t copy_group[32], bulk_group[32]; // groups that each lane has committed
    uint32_t matrix_group;
    vg_park park[4]; // by the first lane's quarter
} vg_issuer;

vg_agents *vg_agents_of(vg_block *b);
vg_issuer *vg_issuer_of(vg_warp *w); // and its block's state; NULL: no memory
enum vg_next vg_no_memory(vg_warp *w, const vg_inst *in);
void vg_draw(vg_block *b, vg_due *d);
static inline bool vg_sane(const vg_warp *w) {
    return w->run->gpu->options.sanitize;
}

// async.c
void vg_copy_force(vg_warp *w, vg_copy *upto);
// mbarrier.c
vg_mbar *vg_mbar_find(vg_block *owner, uint32_t at);
/// Arrival of `count` after `expect` more bytes. False: failed.
bool vg_mbar_arrive(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at,
                    uint32_t count, int64_t expect, uint64_t *state);
bool vg_mbar_bytes(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at,
                   int64_t bytes);
bool vg_mbar_pending_add(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner,
                         uint32_t at);
/// Completes whatever would tell this mbarrier something.
void vg_mbar_force(vg_block *owner, uint32_t at);
// bulk.c, tma.c
void vgd_bulk(vg_decoder *d, vg_inst *out);
void vgd_tensor(vg_decoder *d, vg_inst *out);
vg_bulk *vg_bulk_new(vg_warp *w, const vg_inst *in, uint32_t lane);
void vg_bulk_issue(vg_bulk *o);
void vg_bulk_drop(vg_bulk *o); // never issued
void vg_bulk_read(vg_bulk *o);
void vg_bulk_write(vg_bulk *o);
void vg_bulk_unlink(vg_agents *g, vg_bulk *o);
bool vg_bulk_targets(vg_warp *w, const vg_inst *in, uint32_t lane,
                     uint32_t mask); // do they all exist?
int vgd_reduction(vg_decoder *d);
bool vg_reduces(int red, int type);
void vg_bulk_lease(vg_bulk *o, vg_block *owner, int space, uint64_t at, uint64_t bytes, int use);
/// The part of a row of a box, numbered from 0, that lies inside the tensor.
typedef struct {
    uint64_t at;           // device address of its first byte
    uint32_t first, bytes; // in the row
} vg_tensor_row;
vg_tensor_row vg_tensor_at(const vg_bulk *o, uint64_t row);
bool vg_tensor_load(vg_bulk *o); // global memory to o->data
void vg_tensor_place(const vg_bulk *o, uint8_t *shared,
                     uint32_t offset); // o->data to shared memory
void vg_tensor_fetch(vg_bulk *o);      // shared memory to o->data
bool vg_tensor_store(vg_bulk *o);      // o->data to global memory
void vg_reduce(uint8_t *dst, const uint8_t *src, size_t bytes, int red, int type);
bool vg_tensor_decode(const void *map, vg_tensor *out);
/// The shared offset after the swizzle (0 none, 1: 32 B, 2: 64 B, 3: 128 B).
static inline uint32_t vg_swizzle(uint32_t at, uint32_t mode) {
    return at ^ (((at >> 7) & ((1u << mode) - 1u)) << 4);
}
// wgmma.c
bool vg_matrix_progress(vg_block *b, bool all, uint64_t *next);
void vg_matrix_free(vg_agents *g);
