// SPDX-License-Identifier: Apache-2.0
// Private to codegen: what emitters of tile operations share. Everything here follows from tables of
// the layouts alone; nothing depends on how a layout was made.
#pragma once
#include "codegen/emit.h"

/// Index of an operand's element for an index of the result.
typedef void (*cg_index_fn)(const void *ctx, const int32_t *to, int32_t *from);

/// For every slot of `to` (a tile type with layout) the slot of `from` that the same thread holds the
/// corresponding element in; -1 where the slot is dead in all threads. False if some thread lacks an
/// element or the number differs between threads.
bool cg_slot_map(cg *g, const ir_type *to, const ir_type *from, cg_index_fn fn, const void *ctx, int32_t *map);

/// A tile in layout l whose slot i is slot map[i] of x (-1: dead).
cg_tile *cg_renumbered(cg *g, const cg_tile *x, const layout *l, const int32_t *map);

/// Writes the tile's elements to scratch memory at byte `offset`, row-major cells of
/// cg_cell_bytes, and reads them back in another layout. No barriers.
unsigned cg_cell_bytes(vm_dtype t);
void cg_scratch_store(cg *g, const ir_type *type, const cg_tile *x, int64_t offset);
cg_tile *cg_scratch_load(cg *g, const ir_type *type, int64_t offset);
/// Row-major element number of this thread's slot, i32.
LLVMValueRef cg_linear(cg *g, const ir_type *type, uint32_t slot);
/// Shared address of cell number `cell` (i32) of a scratch area, plus a constant number of cells.
LLVMValueRef cg_scratch_at(cg *g, LLVMValueRef cell, int64_t more, unsigned cell_bytes, int64_t offset);
