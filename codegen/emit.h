// SPDX-License-Identifier: Apache-2.0
// Private to codegen: the state of one kernel's emission and what emitters share.
//
// A value of the tile IR becomes one of
//   scalar   one LLVM value of cg_scalar_type: bool i1, integers iN, integers and floats of fewer than
//            8 bits and all 8-bit ones i8 holding the code (upper bits zero), f16 half, bf16 bfloat,
//            f32 and tf32 float, f64 double
//   tile     a cg_tile: the thread's slots as "words" (below)
//   pointer  ptr addrspace(1)
//   view, barrier: no value; emitters trace the defining chain with ir_trace
// Instructions outside simt are executed by every thread of the group alike, so scalars are uniform.
#pragma once
#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>

#include "codegen/codegen.h"

/// The slots of a register tile in one thread: the dense bit string of the slots, least significant
/// bits first, cut into words. Word type by element type:
///   f32, tf32 float, one slot;  f64 double, one;  i64, u64 i64, one;  bool i1, one
///   f16 <2 x half>, bf16 <2 x bfloat>: two slots, slot 2w in element 0
///   all others i32: slot s is bits [s*b, s*b + b) of the string, so 3-bit slots straddle words
/// Bits beyond the last slot are unspecified.
typedef struct {
    vm_dtype elem;
    uint32_t slots, nwords;
    LLVMValueRef *word;
} cg_tile;

/// The group that executes what is being emitted.
typedef struct cg_group {
    struct cg_group *up;
    int threads, first_warp;
    bool role;                   // named barrier instead of barrier 0
    int barrier;                 // its hardware number
    LLVMValueRef tid;            // index of the thread in the group, i32
    LLVMBasicBlockRef prologue;  // dominates all of the group's code, ends in a branch: place for caches
    struct cg_cache *cache;      // thread parts of indices
    LLVMValueRef warpgroup;      // number of the thread's warpgroup, once asked for
    LLVMValueRef warp;           // cg_warp
} cg_group;

typedef struct cg_loop cg_loop;  // emit_control.c: targets of break, continue, leave, return

typedef struct cg {
    vm_comp *comp;
    vm_arena *arena;
    const vm_arch *arch;
    const cg_options *opt;
    ir_module *mod;
    ir_func *func;
    LLVMContextRef ctx;
    LLVMModuleRef m;
    LLVMBuilderRef b;
    LLVMValueRef fn, smem;       // the kernel; the extern shared array
    LLVMTypeRef t_void, t_i1, t_i8, t_i16, t_i32, t_i64, t_f16, t_bf16, t_f32, t_f64;
    LLVMTypeRef t_v2f16, t_v2bf16, t_p0, t_p1, t_p3; // generic, global and shared pointers
    cg_group *group;
    bool simt;                   // inside simt: code is a thread's own
    cg_loop *loop;
    LLVMBasicBlockRef exit;      // the kernel's ret
    VM_VEC(void *) values;       // by ir_value id: LLVMValueRef or cg_tile *
    cg_report *report;
    LLVMMetadataRef di_scope;    // NULL: no lines
    LLVMDIBuilderRef di;
    uint32_t strings;            // numbering of string constants
    int next_barrier;            // named barriers given out
    bool engine_stores;          // the kernel has copies out of shared memory by the copy engine
    bool failed;                 // an error has been reported for this function
} cg;

// ---- emit.c: values -----------------------------------------------------------------------------

LLVMTypeRef cg_scalar_type(cg *g, vm_dtype t);
LLVMTypeRef cg_word_type(cg *g, vm_dtype t);
uint32_t cg_nwords(vm_dtype t, uint32_t slots);   // words of a tile
uint32_t cg_ni32(vm_dtype t, uint32_t slots);     // 32-bit registers of its dense bit string

LLVMValueRef cg_scalar(cg *g, const ir_value *v); // also pointers
cg_tile *cg_tile_of(cg *g, const ir_value *v);
void cg_set_scalar(cg *g, const ir_value *v, LLVMValueRef x);
void cg_set_tile(cg *g, const ir_value *v, cg_tile *t);
static inline bool cg_is_tile(const ir_value *v) { return v->type.space == IS_REG; }
uint32_t cg_slots(const ir_type *t);              // slots of a register tile's layout
LLVMValueRef cg_int64(cg *g, const ir_value *v);  // integer scalar, extended by its own sign to i64
LLVMValueRef cg_int32(cg *g, const ir_value *v);  // the same to i32; wider ones are cut
LLVMValueRef cg_widen(cg *g, vm_dtype t, LLVMValueRef x, LLVMTypeRef to); // integer code of t: extend or cut

cg_tile *cg_tile_new(cg *g, vm_dtype t, uint32_t slots); // words are NULL: fill them all
LLVMValueRef cg_slot(cg *g, const cg_tile *t, uint32_t slot); // scalar of cg_scalar_type
cg_tile *cg_tile_from_slots(cg *g, vm_dtype t, uint32_t slots, LLVMValueRef const *s);
/// The dense bit string as i32 words (cg_ni32 of them) and back: free for whole-word types. This is
/// what view, vector loads and stores, ldmatrix and mma operands work on.
void cg_tile_to_i32(cg *g, const cg_tile *t, LLVMValueRef *out);
cg_tile *cg_tile_from_i32(cg *g, vm_dtype t, uint32_t slots, LLVMValueRef const *w);
/// Scalar <-> its code in the low bits of an i32 or i64 (upper bits zero).
LLVMValueRef cg_code(cg *g, vm_dtype t, LLVMValueRef x, LLVMTypeRef to);
LLVMValueRef cg_from_code(cg *g, vm_dtype t, LLVMValueRef code);
LLVMValueRef cg_const(cg *g, vm_dtype t, uint64_t code); // constant scalar
LLVMValueRef cg_undef_word(cg *g, vm_dtype t);

static inline LLVMValueRef cg_i32(cg *g, int64_t x) { return LLVMConstInt(g->t_i32, (uint64_t)x & 0xffffffffu, false); }
static inline LLVMValueRef cg_i64(cg *g, int64_t x) { return LLVMConstInt(g->t_i64, (uint64_t)x, true); }
static inline LLVMValueRef cg_i1(cg *g, bool x) { return LLVMConstInt(g->t_i1, x, false); }

// ---- emit.c: where elements are -----------------------------------------------------------------

/// Index of this thread's slot along dim, i32. = thread part (computed once a group, cached, NULL when
/// it is zero) + slot part (a constant).
LLVMValueRef cg_index(cg *g, const layout *l, uint32_t slot, int dim);
LLVMValueRef cg_index_thread(cg *g, const layout *l, int dim);
int32_t cg_index_slot(const layout *l, uint32_t slot, int dim);
/// Whether the slot holds an element of the tile (layouts may be larger). NULL: always; a constant
/// false if never.
LLVMValueRef cg_live(cg *g, const ir_type *tile, uint32_t slot);
/// Whether this thread is the first of those that hold the same elements. NULL: every thread is.
LLVMValueRef cg_first_replica(cg *g, const layout *l);
/// Likewise for slots: false if an earlier slot of the same thread holds the same element.
bool cg_first_slot(const layout *l, uint32_t slot);
LLVMValueRef cg_tid(cg *g);                                // in the group
LLVMValueRef cg_lane(cg *g);
LLVMValueRef cg_elected(cg *g);                            // i1: first thread of the group
LLVMValueRef cg_warp(cg *g);                               // i32, known to be uniform: warp in the group

// ---- emit.c: code -------------------------------------------------------------------------------

LLVMBasicBlockRef cg_block(cg *g, const char *name);       // appended to the kernel
void cg_at(cg *g, LLVMBasicBlockRef bb);                   // continue at the end of bb
/// Code under a condition: begin, emit, end. NULL cond: unconditional. Values made inside do not
/// dominate the rest: pass them out with cg_guard_value(g, guard, inside, outside) after the end.
typedef struct {
    LLVMBasicBlockRef from, then, last, join;
} cg_guard;
cg_guard cg_guard_begin(cg *g, LLVMValueRef cond);
void cg_guard_end(cg *g, cg_guard *k);
LLVMValueRef cg_guard_value(cg *g, const cg_guard *k, LLVMValueRef inside, LLVMValueRef outside);
LLVMValueRef cg_and(cg *g, LLVMValueRef a, LLVMValueRef b); // i1; either may be NULL (true)
/// Call of an intrinsic by its full name, argument types taken from the arguments.
LLVMValueRef cg_call(cg *g, const char *name, LLVMTypeRef ret, unsigned n, LLVMValueRef *args);
LLVMValueRef cg_asm(cg *g, const char *text, const char *constraints, LLVMTypeRef ret, unsigned n,
                    LLVMValueRef *args, bool side_effect); // convergent if side_effect
LLVMValueRef cg_bitcast(cg *g, LLVMValueRef x, LLVMTypeRef to); // no-op if of that type
/// ptr addrspace(3) at byte `offset` of the block's shared memory, plus dynamic bytes `dyn` (i32 or
/// NULL). The constant is the last GEP, so that it folds into the access.
LLVMValueRef cg_shared(cg *g, LLVMValueRef dyn, int64_t offset);
/// The same in the shared memory of the cluster's block of rank `rank` (i32): ptr addrspace(7).
LLVMValueRef cg_shared_of(cg *g, LLVMValueRef rank, LLVMValueRef dyn, int64_t offset);
void cg_region(cg *g, ir_region *r);                       // all operations up to the terminator
void cg_op(cg *g, ir_op *op);

// ---- emit.c: reports ----------------------------------------------------------------------------

static inline void cg_counted(cg *g, enum cg_count k) { g->report->count[k]++; }
void cg_remark(cg *g, const ir_op *op, const char *fmt, ...) VM_PRINTF(3, 4); // Rpass + report
/// False after E0602 "NAME needs sm_XX" if the target lacks the A_ feature.
bool cg_need(cg *g, const ir_op *op, uint32_t feature, const char *what, int sm);
/// E0603: this form has no code on this target; `instead` says what has. Results become undefined.
void cg_refuse(cg *g, const ir_op *op, const char *what, const char *instead);
void cg_undef_results(cg *g, const ir_op *op);

// ---- emit_scalar.c ------------------------------------------------------------------------------

/// Elementwise instruction on scalars of operand type t (as vm_eval); `exact` as the attribute.
LLVMValueRef cg_elem(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x, bool exact);
/// The same on words of tiles of type t where that has packed code (f16, bf16 pairs; and, or, xor, not
/// on integers); NULL where it must be done slot by slot.
LLVMValueRef cg_elem_word(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x);
/// add mul min max and or xor by name, as vm_inst.
bool cg_op_named(const char *name, vm_inst *out);

// ---- emit_cast.c --------------------------------------------------------------------------------

LLVMValueRef cg_cast(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef x, vm_rounding r); // scalars
cg_tile *cg_cast_tile(cg *g, const cg_tile *x, vm_dtype to, vm_rounding r);             // slot order kept

// ---- emit_warp.c --------------------------------------------------------------------------------

enum cg_shfl { CG_SHFL_IDX, CG_SHFL_UP, CG_SHFL_DOWN, CG_SHFL_XOR };
/// Any scalar or word of up to 64 bits (i1 too); lane: i32; mask: i32, NULL: all lanes.
LLVMValueRef cg_shuffle(cg *g, enum cg_shfl how, LLVMValueRef x, LLVMValueRef lane, LLVMValueRef mask);

// ---- emit_bulk.c --------------------------------------------------------------------------------

/// Code for one thread of the group, always the same one, chosen so that ptxas issues to the copy
/// engine without a loop over lanes. Not inside simt.
typedef struct {
    cg_guard warp, lane;
} cg_issue;
cg_issue cg_issue_begin(cg *g);
void cg_issue_end(cg *g, cg_issue *k);
/// Announces bytes (i32) on the mbarrier (i32 shared address); no arrival. By one thread.
void cg_expect_bytes(cg *g, LLVMValueRef barrier, LLVMValueRef bytes);
/// i64 policy for .L2::cache_hint of evict = first or last; NULL: none is needed.
LLVMValueRef cg_cache_policy(cg *g, const char *evict);
/// Waits until all but `count` groups of this thread's bulk stores have read their source, or landed.
void cg_wait_stores(cg *g, int64_t count, bool landed);
void cg_bulk_copy(cg *g, ir_op *op);                       // copy_async via = bulk

// ---- emit_tensor.c ------------------------------------------------------------------------------

void cg_tensor_copy(cg *g, ir_op *op);                     // copy_async via = tensor
void cg_prefetch_maps(cg *g, uint32_t n);                  // the kernel's tensor maps, at its beginning

// ---- emit_sync.c --------------------------------------------------------------------------------

void cg_sync(cg *g);                                       // barrier of the current group
void cg_sync_warp(cg *g);
LLVMValueRef cg_barrier_pointer(cg *g, const ir_value *v);  // shared address of an mbarrier

// ---- emit_wgmma.c -------------------------------------------------------------------------------

void cg_wgmma_wait(cg *g, const ir_op *op);                // wait_group of wgmmas
/// Whether the kernel has wgmmas: then it must not call anything.
bool cg_has_wgmma(cg *g);

// ---- emit_print.c -------------------------------------------------------------------------------

LLVMValueRef cg_string(cg *g, const char *s);              // generic pointer to a constant

// ---- emitters: one a row of inst.def; elementwise rows share emit_elem ---------------------------

#define INST_ELEM(name, cls, nops, nres, fx, vis, sm, doc)
#define INST(name, cls, nops, nres, fx, vis, sm, doc) void emit_##name(cg *g, ir_op *op);
#include "vm/inst.def"
#undef INST
#undef INST_ELEM
void emit_elem(cg *g, ir_op *op);
