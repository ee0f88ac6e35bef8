// SPDX-License-Identifier: Apache-2.0
// The vm executor, private to interp*.c. A plan is flat code: regions become jumps, so a strand of
// control (the block, a role, a thread of simt) is a program counter and an array of 8-byte slots,
// and waiting is just stopping. Tiles lie in their logical row-major order, one cell an element,
// wherever their layouts say that threads hold them; a slot holds a pointer to the cells.
#pragma once
#include "ir/ir.h"
#include <string.h>

typedef struct ins ins;
typedef struct mach mach;
typedef struct strand strand;
typedef struct cc cc;
/// Executes one instruction; returns the next one, or NULL when the strand stops (s->stop says why).
typedef const ins *(*ins_fn)(mach *m, strand *s, const ins *i);

struct ins {
    ins_fn fn;
    uint32_t d, a, b, c; // slots
    int32_t jump;        // relative target
    uint32_t n;          // elements, or what the handler likes
    const void *x;       // its tables
    const ir_op *op;     // where it comes from
};

enum stop { STOP_NONE, STOP_END, STOP_WAIT, STOP_WARP, STOP_SYNC, STOP_TRAP };

/// A view of memory while running: everything in coordinates of the view.
typedef struct {
    char *base;      // packed memory (global) or cells (shared)
    uint64_t bits;   // size of a global buffer in bits; UINT64_MAX: unknown
    int64_t off;     // element offset of coordinate 0
    vm_dtype type;
    uint8_t rank;
    bool global, dead; // dead: a fixed coordinate is out of bounds
    int64_t ext[LAYOUT_MAX_RANK], stride[LAYOUT_MAX_RANK];
    int64_t lo[LAYOUT_MAX_RANK], hi[LAYOUT_MAX_RANK]; // coordinates that exist in the root
} rview;

typedef struct { uint32_t slot; uint64_t code; } frame_const;
typedef struct { uint32_t slot; size_t off; } frame_buf;
/// Slots of a block or of a thread of simt, and what they hold at the start.
typedef struct {
    uint32_t nslots;
    VM_VEC(frame_const) consts;
    VM_VEC(frame_buf) bufs;
    size_t bytes; // of all buffers
} fdesc;

typedef struct {
    uint32_t count, pending;
    int64_t tx;
    uint32_t phases; // completed
} mbarrier;

struct strand {
    uint64_t *r; // slots
    const ins *pc;
    enum stop stop;
    uint32_t tid;       // thread of the group, in simt
    uint64_t give;      // operand of a warp operation, then its result
    const char *waits;  // for deadlock reports
    uint32_t wait_bar;
    int64_t wait_arg;
    bool entered;       // a blocked instruction is resumed (cluster_sync, roles)
    uint32_t groups;    // of asynchronous copies, closed
};

struct ir_plan {
    const ir_func *func;
    VM_VEC(ins) code;
    fdesc frame;
    uint32_t nbars, nsimt, ndyn, max_roles;
    bool across; // blocks wait for each other
    bool late;   // copies land when they are waited for
    VM_VEC(struct simt_info *) simts;
};

/// Slots, buffers and strands of n threads of one simt.
typedef struct {
    uint64_t *slots;
    char *mem;
    strand *threads;
    uint32_t n;
} simt_frames;

/// A copy that has been issued and not been waited for.
typedef struct {
    const strand *owner;
    uint32_t group;
    rview dst, src;
} late_copy;

struct mach {
    const ir_plan *p;
    const ir_run *run;
    uint64_t *r;
    char *mem;
    int64_t block[3], grid[3];
    mbarrier *bars;
    struct { void *at; size_t cap; } *dyn; // shared memory of run-time extent, staging
    struct { void *at; size_t cap; } scratch;
    late_copy *late;
    uint32_t nlate, late_cap;
    simt_frames *simts;
    strand main;
    strand *roles;
    uint32_t nroles;
    uint64_t rng;
    int64_t cluster_seen; // cluster barriers passed
    int64_t *clusters; // arrivals a cluster
    mach *const *all; // blocks that run, and their number
    const size_t *nall;
    bool progress, ended;
    char *error;
    vm_span *where;
};

const ins *vm_trap(mach *m, strand *s, const ins *i, const char *fmt, ...) VM_PRINTF(4, 5);
const ins *vm_block(strand *s, const ins *i, const char *waits, uint32_t bar, int64_t arg);
void *vm_scratch(mach *m, size_t bytes); // NULL: no memory
bool vm_reserve(mach *m, void *slot, size_t bytes);
void vm_release(mach *m, void *p, size_t bytes);
void *vm_take(mach *m, size_t bytes);
void strand_run(mach *m, strand *s);

static inline uint64_t mask_of(vm_dtype t) {
    const unsigned b = vm_bits(t);
    return b >= 64 ? UINT64_MAX : (1ULL << b) - 1;
}
static inline int64_t as_int(vm_dtype t, uint64_t code) {
    switch (t) {
    case T_i32: return (int32_t)(uint32_t)code;
    case T_u32: case T_u64: case T_i64: case T_bool: return (int64_t)code;
    default: return vm_decode_int(t, code);
    }
}
static inline uint64_t cell_get(const void *cells, unsigned cell, size_t k) {
    switch (cell) {
    case 1: return ((const uint8_t *)cells)[k];
    case 2: return ((const uint16_t *)cells)[k];
    case 4: return ((const uint32_t *)cells)[k];
    default: return ((const uint64_t *)cells)[k];
    }
}
static inline void cell_set(void *cells, unsigned cell, size_t k, uint64_t v) {
    switch (cell) {
    case 1: ((uint8_t *)cells)[k] = (uint8_t)v; break;
    case 2: ((uint16_t *)cells)[k] = (uint16_t)v; break;
    case 4: ((uint32_t *)cells)[k] = (uint32_t)v; break;
    default: ((uint64_t *)cells)[k] = v; break;
    }
}
static inline void *tile_of(uint64_t slot) { return (void *)(uintptr_t)slot; }
static inline rview *view_of(uint64_t slot) { return (rview *)(uintptr_t)slot; }
/// A tile that may be poison carries a bit an element (1: written) behind its cells.
static inline size_t poison_at(size_t n, unsigned cell) { return (n * cell + 7) / 8 * 8; }

// ---- making plans -------------------------------------------------------------------------------

/// Something that control can jump out of: a loop or a scope.
typedef struct cc_exit {
    struct cc_exit *up;
    const ir_op *op;
    const ir_region *bound;  // values defined inside die with the jump
    uint32_t n;
    ir_value *const *dst;    // loop arguments or results
    VM_VEC(uint32_t) out, again;
} cc_exit;

struct cc {
    ir_plan *p;
    const ir_func *f;
    vm_arena *arena;
    fdesc *fd;
    uint32_t simt;           // 0: the block; else number of the simt being compiled
    struct simt_info *info;
    uint32_t *slot;          // of value id, + 1
    uint32_t *home;          // simt number it was defined in
    uint32_t *cap, *cap_in;  // captured copy and for which simt
    bool *poison;            // value id may be poison
    cc_exit *exits;
};

uint32_t cc_new(cc *c);                              // a slot
uint32_t cc_buf(cc *c, size_t bytes);                // a slot that points to bytes
uint32_t cc_use(cc *c, const ir_value *v);           // slot of an operand
uint32_t cc_def(cc *c, const ir_value *v);           // slot of a result, with its buffer
void cc_alias(cc *c, const ir_value *v, uint32_t slot);
uint32_t cc_put(cc *c, const ir_op *op, ins_fn fn, uint32_t d, uint32_t a, uint32_t b, uint32_t x);
ins *cc_at(cc *c, uint32_t k);
void cc_land(cc *c, uint32_t from);                  // the jump at `from` goes to the next instruction
void cc_jump_to(cc *c, uint32_t from, uint32_t to);
void cc_region(cc *c, const ir_region *r);           // all operations but the terminator's meaning
/// src values to dst values at once; those defined within `bound` die.
void cc_transfer(cc *c, const ir_op *op, uint32_t n, ir_value *const *src, ir_value *const *dst, const ir_region *bound);
size_t cc_tile_bytes(const cc *c, const ir_value *v);
static inline size_t elems_of(const ir_type *t) { return (size_t)ir_elems(t); }

/// One copied rectangle: dst row-major of dim, src with strides (0: repeated).
typedef struct {
    uint8_t rank;
    unsigned cell;
    int64_t dim[LAYOUT_MAX_RANK], stride[LAYOUT_MAX_RANK];
} nd_copy;
void nd_simplify(nd_copy *c);
void nd_run(const nd_copy *c, const void *src, void *dst);

// interp_memory.c
bool view_load(mach *m, const rview *v, void *cells, const char **why);
bool view_store(mach *m, const rview *v, const void *cells, const char **why);
size_t view_elems(const rview *v);
const char *view_copy(mach *m, const rview *dst, const rview *src); // NULL, or why not
uint64_t view_get(const rview *v, int64_t off);
void view_set(const rview *v, int64_t off, uint64_t code);
/// Element offset of the coordinates in slots; false: out of bounds. *why set: beyond the buffer.
bool view_where(const rview *v, const uint64_t *r, uint32_t n, const uint32_t *slot, const uint8_t *type, int64_t *off, const char **why);

/// Operands of any number with their types.
typedef struct {
    uint32_t n;
    uint32_t *slot;
    uint8_t *type;
} cc_list;
cc_list cc_operands(cc *c, const ir_op *op, uint32_t from, uint32_t to);

typedef struct simt_info {
    uint32_t number, threads;
    fdesc frame;
    uint32_t body;                 // first instruction
    uint32_t tid_slot;
    uint32_t nargs;
    uint32_t *outer, *inner, *result; // tile operands: block slot, thread slot, block slot of the result or ~0
    size_t *bytes;
    bool *fill;                    // result has poison bits, the operand none
    size_t *pbytes;
    bool lockstep;
    VM_VEC(uint64_t) captured; // outer slot << 32 | inner slot
} simt_info;

#define INST_ELEM(name, ...)
#define INST(name, ...) void cc_##name(cc *c, const ir_op *op);
#include "vm/inst.def"
#undef INST
#undef INST_ELEM
void cc_elem(cc *c, const ir_op *op);
void cc_permute_view(cc *c, const ir_op *op);
void cc_reshape_view(cc *c, const ir_op *op);
void cc_elem_scalar(cc *c, const ir_op *op);
void cc_cast_scalar(cc *c, const ir_op *op, const vm_rounding *r);
