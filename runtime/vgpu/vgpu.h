// SPDX-License-Identifier: Apache-2.0
// The virtual GPU: executes PTX on the host, warp by warp, and on request reports what a GPU would
// not: races, accesses out of bounds, uninitialised reads, deadlocks; and counts what costs time.
//
// Numbers are exact where PTX says so (one source: vm/num.c and vm/eval.c); approximate functions are
// correctly rounded results of the host's library, within PTX's bounds. Device addresses are not host
// addresses. One thread of the host uses a vg_gpu at a time; a launch may use several inside.
#pragma once
#include <stdio.h>
#include "runtime/vgpu/ptx.h"

typedef struct vg_gpu vg_gpu;
typedef struct vg_module vg_module;
typedef struct vg_kernel vg_kernel;

enum { VG_PROCESSORS = 132 }; // multiprocessors that it says it has

/// Same numbers as CUresult.
enum vg_status {
    VG_OK = 0, VG_INVALID_VALUE = 1, VG_OUT_OF_MEMORY = 2, VG_INVALID_PTX = 218, VG_NOT_FOUND = 500,
    VG_ILLEGAL_ADDRESS = 700, VG_OUT_OF_RESOURCES = 701, VG_LAUNCH_TIMEOUT = 702, VG_ASSERT = 710,
    VG_MISALIGNED = 716, VG_ILLEGAL_INSTRUCTION = 715, VG_LAUNCH_FAILED = 719
};

typedef struct {
    int sm;               // 80, 86, 89, 90: what it says it is and lets run; 0: 90
    int threads;          // of the host; 0: all cores; 1: deterministic order
    uint64_t schedule;    // seed of the interleaving of warps and of asynchronous work; 0: round robin,
                          // asynchronous work done at its latest moment
    bool sanitize;        // races, uninitialised reads, leases, leaks (bounds are always checked)
    bool profile;         // count per instruction
    uint64_t max_steps;   // warp instructions a launch may execute before it counts as hanging; 0: 10^11
    size_t memory;        // device bytes; 0: 16 GB, of which only what is written takes memory
    void (*print)(void *user, const char *text, size_t size); // of vprintf; NULL: stdout
    void *user;
} vg_options;

enum vg_status vg_create(const vg_options *o, vg_gpu **out);
void vg_destroy(vg_gpu *g);

/// Device memory. Blocks are 256-byte aligned, with guard space between them.
enum vg_status vg_alloc(vg_gpu *g, size_t bytes, uint64_t *address);
enum vg_status vg_free(vg_gpu *g, uint64_t address);
/// Host pointer to bytes [address, address + bytes) if they lie in one block, else NULL. With `write`
/// they count as initialised from now on.
void *vg_host(vg_gpu *g, uint64_t address, size_t bytes, bool write);

/// NULL with the reason in e ("line 12: …").
vg_module *vg_load(vg_gpu *g, const char *ptx, size_t size, ptx_error *e);
void vg_unload(vg_module *m);
vg_kernel *vg_function(vg_module *m, const char *name);
const ptx_func *vg_ptx(const vg_kernel *k);
/// Device address and size of a module variable; false: there is none.
bool vg_variable(vg_module *m, const char *name, uint64_t *address, size_t *bytes);

typedef struct {
    unsigned grid[3], block[3], cluster[3]; // cluster 0: the kernel's own, or none
    unsigned shared;                        // dynamic bytes
    void **params;                          // as cuLaunchKernel
    bool dependent;                         // programmatic dependent launch
} vg_launch_config;
/// Runs to the end. Anything but VG_OK: vg_error says where.
enum vg_status vg_launch(vg_gpu *g, vg_kernel *k, const vg_launch_config *c);
const char *vg_error(const vg_gpu *g);      // of the last call that failed

/// A tensor map in the virtual GPU's own form: 128 bytes for a kernel's parameter. Arguments and checks as
/// cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col; 801: valid, but interleaved, which vgpu lacks.
int vg_tensor_map_encode(void *map128, int type, uint32_t rank, void *address, const uint64_t *dims,
                         const uint64_t *strides, const uint32_t *box, const uint32_t *element_strides,
                         int interleave, int swizzle, int l2_promotion, int oob_fill);
int vg_tensor_map_encode_im2col(void *map128, int type, uint32_t rank, void *address, const uint64_t *dims,
                                const uint64_t *strides, const int *lower, const int *upper, uint32_t channels,
                                uint32_t pixels, const uint32_t *element_strides, int interleave, int swizzle,
                                int l2_promotion, int oob_fill);

// ---- sanitizer ----------------------------------------------------------------------------------

enum vg_defect {
#define VG_DEFECT(id, name, doc) VG_D_##id,
#include "runtime/vgpu/defect.def"
#undef VG_DEFECT
    VG_defect_count_
};
extern const char *const vg_defect_names[VG_defect_count_];

typedef struct {
    enum vg_defect what;
    const char *kernel;
    unsigned block[3], thread[3];
    ptx_pos pos;            // of the instruction
    const char *source;     // file of .loc, or NULL
    ptx_pos other;          // the access it collides with, line 0: none
    unsigned other_thread[3];
    uint64_t count;         // how often the same pair was found
    const char *text;       // the whole report, some lines
} vg_report;
/// Distinct reports since the last vg_reports_clear, in the order found.
size_t vg_reports(const vg_gpu *g, const vg_report **out);
void vg_reports_clear(vg_gpu *g);
/// Blocks of device memory still allocated become reports (call before vg_destroy).
size_t vg_check_leaks(vg_gpu *g);

// ---- profiler -----------------------------------------------------------------------------------

enum vg_class {
#define VG_CLASS(id, name) VG_C_##id,
#include "runtime/vgpu/class.def"
#undef VG_CLASS
    VG_class_count_
};
extern const char *const vg_class_names[VG_class_count_];

/// Counts of one instruction, or of a sum of them.
typedef struct {
    uint64_t warps, threads;          // executions by warps; by threads (guard true)
    uint64_t bytes;                   // asked for by threads
    uint64_t sectors, ideal_sectors;  // 32-byte sectors of global memory touched; the least possible
    uint64_t wavefronts, ideal_wavefronts; // shared memory: passes over the banks; the least possible
    uint64_t divergent;               // executions of a branch that split a warp
    uint64_t flops;                   // of arithmetic and matrix instructions
} vg_counts;

typedef struct {
    const char *kernel;
    const ptx_func *func;
    const ptx_module *module;
    uint64_t launches, blocks;
    const vg_counts *inst;            // by index of func->inst
    const uint8_t *cls;               // enum vg_class by index
    vg_counts by_class[VG_class_count_], total;
} vg_profile;
/// One entry a kernel that ran since the last clear.
size_t vg_profiles(vg_gpu *g, const vg_profile **out);
void vg_profiles_clear(vg_gpu *g);
