// SPDX-License-Identifier: Apache-2.0
// Tile IR to LLVM IR to PTX. The only folder that includes LLVM, and only in its .c files and its
// private header: this one is free of it.
//
// Thread-safety: one thread a vm_comp; several compilations may run at once. Every returned pointer
// lives in the compilation's arena. A target's instruction set is checked before LLVM sees an
// instruction; should LLVM fail all the same, the call reports E0690 and leaks its LLVM objects, but
// the process lives on.
#pragma once
#include "ir/ir.h"

typedef struct {
    int opt;             // 0..3: work of LLVM's passes; code is always register allocated by ptxas
    bool lines;          // source places (.loc/.file), which cost nothing at run time
    const char *ptx;     // LLVM feature such as "+ptx80"; NULL: the architecture's own
} cg_options;

/// What code generation chose, counted over the text of a kernel (not over its trips).
enum cg_count {
#define CG_COUNTS(X)                                                                               \
    X(ldmatrix, "ldmatrix") X(stmatrix, "stmatrix") X(mma, "mma") X(wgmma, "wgmma")                \
    X(cp_async_16, "cp.async 16 bytes") X(cp_async_8, "cp.async 8 bytes")                          \
    X(cp_async_4, "cp.async 4 bytes") X(bulk, "bulk copies") X(tma, "tensor copies")               \
    X(ld_global_32, "32-byte global loads") X(ld_global_16, "16-byte global loads")                \
    X(ld_global_8, "8-byte global loads") X(ld_global_4, "4-byte global loads")                    \
    X(ld_global_small, "global loads below 4 bytes")                                               \
    X(st_global_32, "32-byte global stores") X(st_global_16, "16-byte global stores")              \
    X(st_global_8, "8-byte global stores") X(st_global_4, "4-byte global stores")                  \
    X(st_global_small, "global stores below 4 bytes")                                              \
    X(ld_shared_16, "16-byte shared loads") X(ld_shared_8, "8-byte shared loads")                  \
    X(ld_shared_4, "4-byte shared loads") X(ld_shared_small, "shared loads below 4 bytes")         \
    X(st_shared_16, "16-byte shared stores") X(st_shared_8, "8-byte shared stores")                \
    X(st_shared_4, "4-byte shared stores") X(st_shared_small, "shared stores below 4 bytes")       \
    X(atomic, "atomics") X(shuffle, "warp shuffles") X(barrier, "barriers")                        \
    X(guard, "guarded accesses") X(relayout_shared, "relayouts through shared memory")             \
    X(relayout_shuffle, "relayouts by shuffles")
#define X(name, doc) CG_##name,
    CG_COUNTS(X)
#undef X
    CG_count_
};
extern const char *const cg_count_names[CG_count_];  // "ldmatrix", …
extern const char *const cg_count_docs[CG_count_];

typedef struct cg_remark_list {
    vm_span span;
    const char *text;
    struct cg_remark_list *next;
} cg_remark_list;

typedef struct cg_report cg_report;
struct cg_report {
    const char *kernel;       // entry name
    int threads;              // a block
    uint32_t shared_bytes;    // static part
    uint32_t tile_registers;  // most 32-bit words of register tiles alive at once, an estimate
    uint32_t count[CG_count_];
    cg_remark_list *remarks;  // in order
    cg_report *next;          // next kernel of the module
};

/// PTX (or LLVM IR before and after its passes' opt level) of every function of m, whose passes have
/// run. m->arch must be set. NULL after vm_report. *reports may be NULL.
char *cg_ptx(vm_comp *c, ir_module *m, const cg_options *o, cg_report **reports);
char *cg_llvm(vm_comp *c, ir_module *m, const cg_options *o, cg_report **reports);
/// Readable text of the reports.
char *cg_report_text(vm_comp *c, const cg_report *r);

/// What ptxas says about a PTX text. It is looked for in $TILUS_PTXAS, then PATH, then the CUDA
/// toolkit's usual place.
typedef struct {
    bool found;               // ptxas exists
    bool ok;                  // it accepted the text
    int registers, spill_bytes, shared_bytes; // of the worst kernel; -1: not stated
    bool serialized;          // a C75xx advisory: wgmma serialised, setmaxnreg ignored, …
    const char *log;
    const char *cubin;        // bytes, if asked for
    size_t cubin_size;
} cg_ptxas_result;
/// False: the environment failed (no temporary file, no process); the reason is in out->log.
bool cg_ptxas(vm_comp *c, const char *ptx, const char *arch, bool want_cubin, cg_ptxas_result *out);

// ---- hash.c -------------------------------------------------------------------------------------

typedef struct {
    const void *data;
    size_t size;
} cg_piece;
/// BLAKE3 of the pieces, each with its length. Any thread.
void cg_hash(const cg_piece *pieces, size_t n, uint8_t out[32]);
const char *cg_version(char text[32]); // "LLVM 22.1.8"; returns text
