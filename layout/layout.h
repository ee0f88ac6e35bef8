// SPDX-License-Identifier: Apache-2.0
// Layouts: pure mathematics. A register layout maps (thread, slot) to an index, a shared layout
// maps an index to an element offset. Layouts are immutable and live in the arena that made them.
// The algebra is that of "Tilus: A Virtual Machine for Arbitrary Low-Precision GPGPU Computation in
// LLM Serving" (arXiv 2504.12984), with concat and padding added.
#pragma once
#include "vm/vm.h"

enum {
    LAYOUT_MAX_RANK = 8,
    LAYOUT_MAX_MODES = 32,
    LAYOUT_MAX_SLOTS = 1024,
    LAYOUT_MAX_THREADS = 1024
};

// ---- reg.c: register layouts --------------------------------------------------------------------

/// Each dimension splits into modes (row-major, `mode_shape` lists them dimension after dimension).
/// Every mode stands in exactly one of `spatial` and `local`, whose order is significance, the
/// first the most significant. A spatial entry -r is a replica mode of extent r that no dimension
/// owns.
typedef struct layout {
    uint8_t rank, nmodes, nspatial, nlocal;
    int32_t shape[LAYOUT_MAX_RANK];
    uint8_t dim_modes[LAYOUT_MAX_RANK]; // number of modes of each dimension
    int32_t mode_shape[LAYOUT_MAX_MODES];
    int32_t spatial[LAYOUT_MAX_MODES], local[LAYOUT_MAX_MODES];
    int32_t threads, slots; // products, replicas included
} layout;

/// All constructors and operations give NULL when the arguments do not fit, with the reason in
/// *why (arena text) if why != NULL. Results are canonical: no extent-1 modes, mergeable ones
/// merged.
typedef const char **layout_why;
const layout *layout_make(vm_arena *a, int rank, const int32_t *shape, const uint8_t *dim_modes,
                          const int32_t *mode_shape, int nspatial, const int32_t *spatial,
                          int nlocal, const int32_t *local, layout_why why);
const layout *layout_local(vm_arena *a, int rank, const int32_t *shape, layout_why why);
const layout *layout_spatial(vm_arena *a, int rank, const int32_t *shape, const int32_t *ranks,
                             layout_why why);
const layout *layout_column_local(vm_arena *a, int rank, const int32_t *shape, layout_why why);
const layout *layout_column_spatial(vm_arena *a, int rank, const int32_t *shape, layout_why why);
const layout *layout_replicated(vm_arena *a, int rank, const int32_t *shape, int workers,
                                layout_why why);
const layout *layout_auto_local_spatial(vm_arena *a, int threads, int rank, const int32_t *shape,
                                        layout_why why);
/// f * g
const layout *layout_compose(vm_arena *a, const layout *f, const layout *g, layout_why why);
/// f: f*g = h
const layout *layout_divide(vm_arena *a, const layout *h, const layout *g, layout_why why);
/// g: f*g = h
const layout *layout_left_divide(vm_arena *a, const layout *h, const layout *f, layout_why why);
const layout *layout_concat(vm_arena *a, const layout *f, const layout *g, layout_why why);
const layout *layout_reduce(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                            bool keepdims, layout_why why);
const layout *layout_permute(vm_arena *a, const layout *f, const int32_t *perm, layout_why why);
const layout *layout_reshape(vm_arena *a, const layout *f, int rank, const int32_t *shape,
                             layout_why why);
const layout *layout_flatten(vm_arena *a, const layout *f, layout_why why);
const layout *layout_squeeze(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                             layout_why why);
const layout *layout_unsqueeze(vm_arena *a, const layout *f, int ndims, const int32_t *dims,
                               layout_why why);
/// Inverse of reduce for broadcasting: a tile of `shape` whose reduction over the stretched dims is
/// f. Dimension k of f stands at dims[k] of the result (NULL: right-aligned, as in NumPy); the
/// others, and those in which f has extent 1, become local (outermost slots).
const layout *layout_stretch(vm_arena *a, const layout *f, int rank, const int32_t *shape,
                             const int32_t *dims, layout_why why);

/// index[0..rank) of (thread, slot). Indices beyond a smaller tile are dead, see
/// layout_linear_table.
void layout_index(const layout *f, int thread, int slot, int32_t *index);
/// All of it: table[(t*slots + i)*rank + d]. Cached per arena is the caller's affair.
int32_t *layout_table(vm_arena *a, const layout *f);
/// The same with row-major linear indices into `shape` (a tile no larger than f->shape); -1: dead.
int32_t *layout_linear_table(vm_arena *a, const layout *f, const int32_t *shape);
bool layout_equal(const layout *f, const layout *g);                    // equality of the map
bool layout_same_owners(vm_arena *a, const layout *f, const layout *g); // slots may be renumbered
bool layout_covers(vm_arena *a, const layout *f);    // every index of shape is owned; from the modes alone
bool layout_injective(vm_arena *a, const layout *f); // no index owned twice (no replicas)
int layout_replicas(const layout *f);                // product of replica extents
/// Digit decomposition for code: index[d] = sum over modes m of dim d: digit(m) * stride(m), where
/// digit(m) = (t / div) % extent for spatial modes, (slot / div) % extent for local ones.
typedef struct {
    int32_t dim, extent, stride, div; // dim -1: replica
    bool spatial;
} layout_digit;
/// Spatial digits first, then local ones, each list from the most significant.
/// `out` has room for LAYOUT_MAX_MODES * 2; returns the number.
int layout_digits(const layout *f, layout_digit *out);
/// The layout with these digits (`div` is ignored, the order of each list is significance).
const layout *layout_from_digits(vm_arena *a, int rank, const int32_t *shape, int n,
                                 const layout_digit *digits, layout_why why);
/// Contiguity: greatest power-of-two v such that slots come in aligned runs of v consecutive
/// elements of dimension `dim` (slot i*v+j holds index base + j).
int layout_run(const layout *f, int dim);
/// Whether slots 2w and 2w + 1 of every warp are 8×8 matrices as ldmatrix spreads them: lane l holds
/// elements (l/4, 2(l%4) + {0, 1}) of one whose rows lie along dimension `col`, or of its transpose
/// (*trans). *row: the dimension that goes from row to row.
bool layout_fragment(vm_arena *a, const layout *f, int col, int *row, bool *trans);

// ---- shared.c: shared and global layouts --------------------------------------------------------

/// offset(index) = swizzle(sum of mode digits times mode strides), in elements; each dimension
/// splits into modes as above. `pos` bits of the *byte* address are xored: bits [4, 4+bits) ^= bits
/// [7, 7+bits) when written swizzle(W); in general bits [base, base+bits) ^= bits [base+shift, …),
/// in elements for whole-byte types. `bits` 0: none.
typedef struct shared_layout {
    uint8_t rank, nmodes;
    int32_t shape[LAYOUT_MAX_RANK];
    uint8_t dim_modes[LAYOUT_MAX_RANK];
    int32_t mode_shape[LAYOUT_MAX_MODES];
    int64_t mode_stride[LAYOUT_MAX_MODES];
    uint8_t sw_base, sw_bits, sw_shift; // on element offsets
    int64_t size;                       // elements spanned
} shared_layout;

const shared_layout *shared_row_major(vm_arena *a, int rank, const int32_t *shape);
const shared_layout *shared_column_major(vm_arena *a, int rank, const int32_t *shape);
const shared_layout *shared_strides(vm_arena *a, int rank, const int32_t *shape,
                                    const int64_t *strides);
/// swizzle(W) of language.md: panels of P = gcd(row bytes, W) bytes outermost, 16-byte chunks
/// xored.
const shared_layout *shared_swizzle(vm_arena *a, int rank, const int32_t *shape, unsigned elem_bits,
                                    int w, layout_why why);
const shared_layout *shared_compose(vm_arena *a, const shared_layout *f, const shared_layout *g,
                                    layout_why why);
const shared_layout *shared_permute(vm_arena *a, const shared_layout *f, const int32_t *perm);
const shared_layout *shared_reshape(vm_arena *a, const shared_layout *f, int rank,
                                    const int32_t *shape, layout_why why);
/// General form: modes of each dimension in row-major order; `sw_*` on element offsets, bits 0:
/// none.
const shared_layout *shared_make(vm_arena *a, int rank, const int32_t *shape, int nmodes,
                                 const int32_t *mode_shape, const int64_t *mode_stride, int sw_base,
                                 int sw_bits, int sw_shift, layout_why why);
const shared_layout *shared_prepend(vm_arena *a, const shared_layout *f,
                                    int32_t extent);                 // e.g. pipeline stages
int64_t shared_offset(const shared_layout *f, const int32_t *index); // element offset
bool shared_equal(const shared_layout *f, const shared_layout *g);
/// No two indices share an offset. From the strides where they step over each other's spans; counted out
/// otherwise. If not, and one != NULL, *one and *other are two linear indices that do (-1: not looked for,
/// beyond 16 Mi elements).
bool shared_injective(vm_arena *a, const shared_layout *f, int64_t *one, int64_t *other);
bool shared_inside(const shared_layout *f); // no offset is f->size or more

// ---- atoms.def, atoms.c: tensor-core operands ---------------------------------------------------

typedef struct {
    const char *name; // "m16n8k16"
    int m, n, k;
    unsigned operand_bits;   // 32, 16 or 8
    const layout *a, *b, *c; // one warp; a: m×k, b: k×n, c: m×n
} mma_atom;
/// Rows of atoms.def; NULL if unknown. Layouts are made in the arena.
const mma_atom *mma_atom_find(vm_arena *ar, const char *name);
size_t mma_atom_names(const char *const **names);

/// mma.dot(atom, warps = (WM, WN), repeat = (RM, RN, RK)): operand layouts of a block of WM*WN
/// warps for tiles [16·WM·RM, K = k·RK] · [K, n·WN·RN]. Warp (wm, wn) is number wm*WN + wn; warps
/// outermost, then repeats as slots, then the atom: c = spatial(WM,WN).local(RM,RN)*atom.c ; a is
/// replicated over WN, b over WM. a_warps, b_warps, c_warps are the warp parts alone (with
/// replicas).
typedef struct {
    const mma_atom *atom;
    int wm, wn, rm, rn, rk;
    const layout *a, *b, *c, *a_warps, *b_warps, *c_warps;
} mma_dot;
const mma_dot *mma_dot_make(vm_arena *ar, const mma_atom *atom, int wm, int wn, int rm, int rn,
                            int rk, layout_why why);

// ---- text.c: text and pictures ------------------------------------------------------------------

/// A layout expression that layout_parse reads back: a chain of primitives if there is one, else
/// layout(shape = [...], modes = [...], spatial = [...], local = [...]).
char *layout_text(vm_arena *a, const layout *f);
char *shared_text(vm_arena *a, const shared_layout *f);
/// The spellings of language.md section 2 and of the shared vectors (`reduce(spatial(3,4),[0])`,
/// `a * b`, `a / b`, `concat(f,g)`, `left_divide(h,f)`, `permute(f,[1,0])`, `mma.m16n8k16.a`,
/// chained `.local(…)`, keyword arguments). Exactly one of *reg and *sh is set on success. On
/// failure false, with *why and the byte offset *where.
bool layout_parse(vm_arena *a, const char *expr, const layout **reg, const shared_layout **sh,
                  layout_why why, size_t *where);
/// {"shape":…,"threads":…,"locals":…,"map":[t][i] -> index}
char *layout_json(vm_arena *a, const layout *f);
/// {"shape":…,"size":…,"offsets":[…]} in row-major order of the indices (null beyond 4 Mi of them).
char *shared_json(vm_arena *a, const shared_layout *f);
/// Readable thread:slot grid, rank > 2 slice by slice.
char *layout_grid(vm_arena *a, const layout *f);
char *shared_grid(vm_arena *a, const shared_layout *f);
