// SPDX-License-Identifier: Apache-2.0
// How a tile moves from one register layout to another: decided from the tables of both layouts alone,
// by counted cost, so that the pass that places memory, the remarks and code generation agree.
#pragma once
#include "layout/banks.h"

enum move_kind {
    MOVE_REGISTERS, // every thread has what it needs, in the same slots in all threads
    MOVE_SHUFFLE,   // every warp has what it needs: rounds
    MOVE_SHARED     // through scratch memory
};

/// Costs in issue slots of a warp.
enum {
    MOVE_COST_SELECT = 1,
    MOVE_COST_SHUFFLE = 2,
    MOVE_COST_ACCESS = 2,    // each store or load of shared memory, and each wavefront beyond its first
    MOVE_COST_BARRIER = 16,
    MOVE_MAX_UNITS = 128     // longer tiles do not try shuffles
};

/// One unit (`per` consecutive slots) from each lane to another. Lane l gives its unit give[l], reads
/// from lane from[l] and puts what it reads into its unit put[l]; -1: does not matter, takes none.
typedef struct {
    bool local;              // from[l] is l: selects only
    bool joined;             // travels in the same 32-bit word as the round before it
    int8_t from[BANK_LANES];
    int16_t give[BANK_LANES], put[BANK_LANES];
} move_round;

typedef struct move_plan {
    enum move_kind kind;
    int per;                 // slots of a unit, shuffles
    int32_t *slot;           // MOVE_REGISTERS: source slot of each slot, -1: dead
    int nrounds;
    move_round *round;
    // scratch memory: cells of `pack` elements that are neighbours along dimension `along`. Row r (all
    // other dimensions, row-major) begins at cell r * pitch; the cell number's bits [base, base + bits)
    // are then xored with bits [base + shift, …).
    int along, pack, cell_bytes;
    int64_t pitch;
    int sw_base, sw_bits, sw_shift;
    int store_vec, load_vec; // cells an access
    int64_t bytes;
    // what it costs: shuffle instructions and selects, or accesses a warp
    int shuffles, selects, stores, loads, conflicts;
    int cost_shuffle, cost_shared; // -1: impossible
} move_plan;

/// Both layouts belong to the same number of threads and cover `shape`. elem_bits: of an element in
/// memory. Never NULL.
const move_plan *layout_move_plan(vm_arena *a, const layout *from, const layout *to, const int32_t *shape,
                                  unsigned elem_bits);
/// The cell number of an index, before the swizzle and after it.
int64_t move_cell(const move_plan *p, int rank, const int32_t *shape, const int32_t *index);
/// Whether every element arrives: move_check.c carries the plan out.
bool move_plan_exact(vm_arena *a, const move_plan *p, const layout *from, const layout *to, const int32_t *shape);
/// "8 shuffles", "shared memory: 4 stores, 4 loads, 0 bank conflicts"
const char *move_text(vm_arena *a, const move_plan *p);
