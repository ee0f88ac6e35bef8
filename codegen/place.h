// SPDX-License-Identifier: Apache-2.0
// Private to codegen: where the elements of a view lie, and which of them exist.
#pragma once
#include "codegen/tile.h"

/// A view resolved to its root. Indices of the root are i64 for global memory, i32 for shared.
typedef struct {
    const ir_op *root;
    bool global;
    vm_dtype elem;
    unsigned bits;                            // an element in memory
    int rank;                                 // of the root
    int view_dim[LAYOUT_MAX_RANK];            // or -1
    LLVMValueRef origin[LAYOUT_MAX_RANK];     // run-time part, NULL: 0
    int64_t origin_const[LAYOUT_MAX_RANK];
    uint64_t origin_divisor[LAYOUT_MAX_RANK]; // of the whole origin; 0: it is 0
    bool guarded[LAYOUT_MAX_RANK];            // bounds must be checked
    LLVMValueRef extent[LAYOUT_MAX_RANK];
    uint64_t extent_divisor[LAYOUT_MAX_RANK];
    LLVMValueRef stride[LAYOUT_MAX_RANK];     // global, elements, i64; NULL: 1
    uint64_t stride_divisor[LAYOUT_MAX_RANK];
    LLVMValueRef base;                        // global: pointer
    LLVMValueRef peer;                        // shared: rank of the block that it belongs to; NULL: this one
    int64_t shared_at;                        // shared: byte offset
    LLVMValueRef shared_more;                 // plus run-time bytes: behind other tiles of run-time size
    const shared_layout *layout;              // shared; NULL: dense with run-time extents (strides in `stride`, i32)
    int contiguous;                           // root dimension of stride 1, or -1
    int along;                                // the view dimension of it, or -1
    unsigned align;                           // global: bytes that every row start is aligned to
    LLVMValueRef policy;                      // global: how long L2 keeps what is accessed, or NULL
    bool once, constant;                      // and L1 need not keep it; nobody writes it during the launch
} cg_place;

/// False after a report if the view cannot be resolved. `op` carries the attributes guard, align, evict.
bool cg_place_of(cg *g, const ir_op *op, const ir_value *view, cg_place *p);
/// Greatest power of two of consecutive elements along the contiguous dimension, at most `most`, that
/// an access starting at an index divisible by it may cover at once (16 bytes).
unsigned cg_place_vector(const cg_place *p, unsigned most);
/// v or less: so few elements of under 8 bits that a vector lies inside of the tensor or outside.
unsigned cg_place_whole_bytes(const cg_place *p, unsigned v);
/// Root indices of an element: at[d] = origin + index along the view dimension. `index[k]`: run-time
/// part for view dimension k (NULL: 0), `plus[k]`: its constant part.
typedef struct {
    LLVMValueRef run[LAYOUT_MAX_RANK];
    int64_t plus[LAYOUT_MAX_RANK];
} cg_root_index;
cg_root_index cg_place_index(cg *g, const cg_place *p, LLVMValueRef const *index, const int64_t *plus);
/// Address of the element (bytes; sub-byte elements: of the byte holding its first bit, with *bit).
LLVMValueRef cg_place_address(cg *g, const cg_place *p, const cg_root_index *at, LLVMValueRef *bit);
/// Whether `n` elements along the contiguous dimension from `at` all exist; NULL: surely.
LLVMValueRef cg_place_inside(cg *g, const cg_place *p, const cg_root_index *at, unsigned n);
/// The same with all dimensions but the contiguous one; and how many of n elements along it exist (i32).
LLVMValueRef cg_place_inside_but(cg *g, const cg_place *p, const cg_root_index *at);
LLVMValueRef cg_place_remaining(cg *g, const cg_place *p, const cg_root_index *at, unsigned n);
bool cg_place_guards(const cg_place *p);
/// One element's code (i32, or i64 for 64-bit types) and back; the address must exist.
LLVMValueRef cg_element_load(cg *g, const cg_place *p, const cg_root_index *at);
void cg_element_store(cg *g, const cg_place *p, const cg_root_index *at, LLVMValueRef code);
/// `n` consecutive elements as i32 words ((bits * n + 31) / 32; upper bits of the last are zero). n is
/// a power of two and n * bits whole bytes; wide ones are split where the address is less aligned.
void cg_vector_load(cg *g, const cg_place *p, const cg_root_index *at, unsigned n, LLVMValueRef *words);
void cg_vector_store(cg *g, const cg_place *p, const cg_root_index *at, unsigned n, LLVMValueRef const *words);

// ---- matrix.c: ldmatrix and stmatrix ------------------------------------------------------------

/// All words of the tile by ldmatrix (words of a load) or stmatrix; false if the pattern is another.
bool cg_matrix_load(cg *g, ir_op *op, const cg_place *p, const ir_type *t, LLVMValueRef *words);
bool cg_matrix_store(cg *g, ir_op *op, const cg_place *p, const ir_type *t, LLVMValueRef const *words);

/// A load whose only user is a dot in the same region with nothing between that writes or waits: its
/// ldmatrix instructions are issued where the dot wants their registers, so that few live at a time.
typedef struct cg_lazy cg_lazy;
bool cg_is_lazy(cg *g, const ir_op *load);
cg_lazy *cg_lazy_new(cg *g, ir_op *load); // NULL: it is none, the tile has been loaded
LLVMValueRef cg_lazy_word(cg *g, cg_lazy *z, uint32_t word);
