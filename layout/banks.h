// SPDX-License-Identifier: Apache-2.0
// Bank conflicts of shared memory, counted as the hardware serves accesses: 32 banks of 4 bytes; a
// warp's access of 8 bytes a lane goes in two halves, of 16 bytes in four quarters.
#pragma once
#include "layout/layout.h"

enum { BANK_LANES = 32 };

/// Sums over warp-wide accesses. A wavefront is one pass over the banks; conflicts are the wavefronts
/// beyond one for each half or quarter that has work.
typedef struct {
    int64_t accesses, wavefronts, conflicts;
} bank_count;

/// Adds one access of a warp: byte address of each lane (-1: takes no part), 1..16 bytes a lane.
void bank_access(const int64_t address[BANK_LANES], int bytes, bank_count *sum);

/// All accesses of a tile in register layout `reg` whose element (i, j, …) stands at index `origin` +
/// (i, j, …) of the shared tile (NULL: 0). The tile's extents are `shape` (NULL: those of reg); `vec`
/// slots that are consecutive along a dimension go in one access, lanes that repeat an element write
/// once. Extents of 1 in `shape` may be missing in the tile's layout when ranks differ (right-aligned).
/// False if the layout cannot be in such an access: offsets that are not consecutive or aligned.
bool bank_tile(vm_arena *a, const layout *reg, const int32_t *shape, const shared_layout *sh, const int32_t *origin,
               unsigned elem_bits, int vec, bool store, bank_count *sum);
/// Widest vec (a power of two of at most 16 bytes) that bank_tile accepts.
int bank_vector(vm_arena *a, const layout *reg, const int32_t *shape, const shared_layout *sh, const int32_t *origin,
                unsigned elem_bits);
/// 16-byte rows of 8×8 matrices as ldmatrix reads them, over a box of `rows` × `cols` of the last two
/// dimensions; `trans`: the same addresses. False if rows are not 16 aligned bytes.
bool bank_matrix(vm_arena *a, const shared_layout *sh, int rows, int cols, unsigned elem_bits, bank_count *sum);
/// 16-byte (or narrower) pieces as a copy by `threads` threads writes them, row-major over the tile.
bool bank_copy(vm_arena *a, const shared_layout *sh, int threads, unsigned elem_bits, bank_count *sum);

/// How a shared tile is used.
typedef struct {
    enum { BANK_LOAD, BANK_STORE, BANK_MATRIX, BANK_COPY } kind;
    const layout *reg;       // all but BANK_COPY
    int32_t shape[LAYOUT_MAX_RANK]; // extents of the part that is accessed at once (rank of the tile)
    int threads;             // BANK_COPY
} bank_use;
/// Conflicts of one use in one layout; false if it cannot be counted.
bool bank_use_count(vm_arena *a, const bank_use *u, const shared_layout *sh, unsigned elem_bits, bank_count *sum);
/// The layout of a tile of this shape in which these uses cost fewest wavefronts: row-major or xored
/// by 16-byte chunks. *left: what remains.
const shared_layout *shared_find_swizzle(vm_arena *a, int rank, const int32_t *shape, unsigned elem_bits, int n,
                                         const bank_use *uses, bank_count *left);
