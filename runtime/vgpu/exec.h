// SPDX-License-Identifier: Apache-2.0
// Private to the virtual GPU: decoded instructions, warps, blocks, and what the executors share.
//
// A kernel is decoded once into vg_inst, one for each ptx_inst (same index). Executors work on 32 lanes
// at once: a register is a row of 32 lanes, so inner loops vectorise. Immediates, special registers
// and addresses of variables are rows too (filled when the warp starts), so that executors read rows only.
#pragma once
#include <stdatomic.h>
#include "runtime/vgpu/vgpu.h"

typedef struct vg_inst vg_inst;
typedef struct vg_warp vg_warp;
typedef struct vg_block vg_block;
typedef struct vg_cluster vg_cluster;
typedef struct vg_run vg_run;       // one launch
typedef struct vg_worker vg_worker; // one thread of the host
typedef struct vg_decoder vg_decoder;
typedef struct vg_frame vg_frame;

// ---- registers ----------------------------------------------------------------------------------
// Row of a register by the bits of its type: pred: one uint32_t, bit l = lane l; up to 32 bits:
// uint32_t[32], unused upper bits zero; 64: uint64_t[32]; 128: uint64_t[32][2]. Offsets are bytes from
// vg_warp.rows, each row 64-byte aligned (predicates 4).

typedef int32_t vg_row;             // offset of a row; VG_NO_ROW: operand absent or _
#define VG_NO_ROW (-1)

#define VG_ROW32(w, r) ((uint32_t *)(void *)((w)->rows + (r)))
#define VG_ROW64(w, r) ((uint64_t *)(void *)((w)->rows + (r)))
#define VG_ROWF32(w, r) ((float *)(void *)((w)->rows + (r)))
#define VG_ROWF64(w, r) ((double *)(void *)((w)->rows + (r)))
#define VG_PRED(w, r) (*(uint32_t *)(void *)((w)->rows + (r)))

/// What an executor says to the warp's loop.
enum vg_next {
    VG_NEXT,     // go on with pc + 1
    VG_JUMPED,   // the executor has set the warp's pc / splits
    VG_YIELD,    // go on with pc + 1, but let others run first (a poll that failed, nanosleep)
    VG_BLOCKED,  // cannot go on: same instruction again later; w->why and why_id say what for
    VG_STOP      // the launch has failed: vg_fail has been called
};
/// `mask`: lanes that execute it, guard applied, never 0.
typedef enum vg_next vg_exec(vg_warp *w, const vg_inst *in, uint32_t mask);

struct vg_inst {
    vg_exec *run;
    vg_row guard;               // VG_NO_ROW: none
    bool guard_not;
    uint8_t cls;                // enum vg_class
    uint8_t space;              // enum ptx_space of memory instructions
    uint8_t bytes;              // of one element of a memory access
    uint8_t vec;                // elements of a vector access, at least 1
    uint8_t sub, sub2, sub3;    // the executor's own (rounding, comparison, …)
    uint32_t target, join;      // branches: instruction indices
    vg_row d[4], s[4];          // results and sources; more of them in `rows`
    int64_t imm;                // offset of an address, or the executor's own
    const vg_row *rows;         // long operand lists (vectors, matrix fragments)
    uint32_t nrows;
    const void *aux;            // the executor's own, decoded
    const ptx_inst *ptx;        // text, line, source line
    const struct vg_wrap *wrap; // rows made before `run` and widened after it (decode.c), or NULL
};

// ---- kernels ------------------------------------------------------------------------------------

/// A row to fill when a warp starts.
typedef struct {
    vg_row row;
    uint8_t kind;               // enum vg_fill
    uint8_t wide;               // 64-bit row
    int32_t special;
    uint64_t value;             // constant or address
} vg_fill_row;
enum vg_fill {
    VG_FILL_CONST,
    VG_FILL_SPECIAL,
    VG_FILL_LOCAL,              // value + base of the frame's local memory
    VG_FILL_DYNAMIC             // value + offset of dynamic shared memory
};

/// An entry, or a .func as one entry calls it: callees are decoded once for each entry.
struct vg_kernel {
    vg_module *module;
    const ptx_func *func;
    vg_kernel *next;            // the module's next entry; the entry's next callee
    vg_kernel *entry;           // itself for entries
    vg_kernel *callees;         // of an entry
    vg_inst *inst;              // func->ninst of them, and a final exit or return
    uint32_t ninst;
    vg_fill_row *fill;
    uint32_t nfill;
    vg_row *reg;                // row of each of func's registers
    uint32_t row_bytes;         // of one warp
    uint32_t static_shared;     // bytes
    uint32_t local_bytes;       // a thread; of the frame, parameters of callees included
    uint32_t local_total;       // entry: a thread, all frames
    uint32_t dynamic_align;     // entry: of dynamic shared memory
    bool cluster_used;
    bool allocates;             // alloca
    vg_row carry;               // row of the carry flag + 1, 0: none
};

struct vg_module {
    vg_gpu *gpu;
    vg_module *next;
    ptx_module *ptx;
    vg_kernel *kernels;
    vm_arena *arena;
    uint64_t vars, var_bytes;   // global block of the module's variables
};

// ---- decode.c -----------------------------------------------------------------------------------

struct vg_decoder {
    vg_gpu *gpu;
    vg_module *module;
    vg_kernel *kernel;
    const ptx_func *func;
    const ptx_inst *in;         // the one being decoded
    vm_arena *arena;
    uint64_t used;              // bit i: modifier i has been understood
    ptx_error *error;
    bool failed;
    struct vg_decoding *state;  // decode.c's own
};
/// Decoders, one for each root opcode (ops.def): fill *out, whose guard, ptx, and empty rows are set.
/// A modifier that nobody asked for, or vgd_fail, makes loading fail with its line.
typedef void vg_decode(vg_decoder *d, vg_inst *out);
#define PTX_OP(name, decoder, doc) vg_decode decoder;
#include "runtime/vgpu/ops.def"
#undef PTX_OP

bool vgd_mod(vg_decoder *d, const char *name);         // is it there? marks it understood
/// The i-th type among the modifiers (".f32"), PTX_NONE if there are fewer; marks it understood.
int vgd_type(vg_decoder *d, int i);
/// The first modifier of a zero-terminated list of names that is there: its index, -1 if none.
int vgd_one_of(vg_decoder *d, const char *const *names);
void vgd_fail(vg_decoder *d, const char *fmt, ...) VM_PRINTF(2, 3);
bool vgd_count(vg_decoder *d, uint32_t least, uint32_t most); // operands; fails otherwise
/// Row of operand i read as `type` (registers, integers, floats, specials, addresses of symbols), or
/// of an operand of a list. Registers must have a row wide enough (32-bit rows hold 8 and 16 too).
vg_row vgd_source(vg_decoder *d, const ptx_opnd *o, int type);
vg_row vgd_result(vg_decoder *d, const ptx_opnd *o, int type); // register or _
vg_row vgd_pred(vg_decoder *d, const ptx_opnd *o);             // predicate register (not negated)
vg_row vgd_constant(vg_decoder *d, uint64_t value, bool wide);
/// Base row (32 or 64 bits wide as the register is; *wide) and constant offset of [base + offset].
vg_row vgd_address(vg_decoder *d, const ptx_opnd *o, bool *wide, int64_t *offset);
int vgd_space(vg_decoder *d);                          // of the modifiers; marks them
void *vgd_alloc(vg_decoder *d, size_t n);              // zeroed, lives with the module
vg_row vgd_scratch(vg_decoder *d, bool wide);          // a row of the instruction's own

// ---- a launch -----------------------------------------------------------------------------------

/// Registers of a function that a warp executes. Splits of a warp may share one.
struct vg_frame {
    const vg_kernel *code;
    uint8_t *rows;
    uint32_t local_base, alloca_bytes; // of local memory: where the frame's starts, what alloca took
    uint32_t depth;
    bool used;
    vg_frame *next;
};

/// Part of a warp with one pc. Splits of a warp run by turns; they merge at `join`. The state of the
/// current one is in the warp (active, pc, …).
typedef struct {
    uint32_t mask, pc, join;
    int32_t parent;             // split that waits for this one at `join`, -1: none
    uint32_t children;          // splits that this one waits for at its pc; it runs when they are in
    vg_frame *frame;
    bool used, blocked;
    uint8_t why;
    uint64_t why_id;
    uint64_t ticket;            // of the barrier that it has arrived at, 0: none
} vg_split;

/// What a warp waits for, for deadlock reports.
enum vg_why { VG_W_NONE, VG_W_BAR, VG_W_MBARRIER, VG_W_CLUSTER, VG_W_WARP, VG_W_GRID };
enum { VG_WATCH_SAN = 1, VG_WATCH_PROF = 2 };

struct vg_warp {
    uint8_t *rows;              // of the current split's frame
    const vg_kernel *code;      // what the current split executes; inst - code->inst is its pc
    vg_block *block;
    vg_run *run;
    uint32_t id;                // in the block
    uint32_t live;              // lanes that have not exited
    uint32_t active;            // lanes of the current split
    uint32_t pc, join;          // of the current split; join: VG_NO_JOIN if it merges nowhere
    vg_split *split;
    uint32_t nsplit, cap_split, current; // places, some unused
    uint32_t parts;             // splits in use
    bool done, blocked;         // blocked: all of its splits
    bool waited;                // has passed griddepcontrol.wait
    bool polled;                // the last access to watched memory changed nothing
    uint8_t watch;              // VG_WATCH_SAN, VG_WATCH_PROF
    uint8_t why;                // of the current split, set with VG_BLOCKED
    uint64_t why_id;            // barrier number or address
    uint64_t clock;             // instructions executed
    uint64_t polled_at;         // clock of the last poll that failed
    uint32_t polls;             // of those, in a row
    uint8_t *local;             // local memory: lane-major, run->local_stride bytes a lane
    vg_frame *frames;           // the entry's first, then those of calls
    uint32_t at_bar[16];        // lanes that wait at the block's barriers
    uint32_t at_cluster;        // lanes that have arrived at the cluster's barrier
    uint64_t cluster_phase;     // that they have arrived in
    uint32_t open_wgmmas;       // async.c counts; the sanitizer sees registers while it is not 0
    void *san;                  // sanitizer's state (vector clocks), NULL without
    void *async;                // open cp.async groups, wgmma groups (async.c)
};
#define VG_NO_JOIN UINT32_MAX

/// One of a block's 16 barriers.
typedef struct {
    uint32_t expected;          // threads, 0: idle, UINT32_MAX: all of the block
    uint32_t arrived;           // threads; a warp whose live lanes all arrived counts 32
    uint64_t generation;
    uint32_t red[3], result[3]; // of bar.red: how many, all, any; of the last generation
} vg_bar;

struct vg_block {
    vg_run *run;
    vg_worker *worker;
    vg_cluster *cluster;        // never NULL: 1 block without clusters
    uint32_t rank;              // in the cluster
    unsigned id[3];
    uint64_t linear;            // in the grid
    uint8_t *shared;
    uint32_t shared_bytes;
    vg_warp *warp;
    uint32_t nwarps, nthreads, running; // running: warps not done
    uint32_t room_warps;
    vg_bar bar[16];
    uint64_t steps;             // warp instructions executed
    void *async;                // operations in flight, mbarriers (async.c)
    void *san;                  // shadow of shared memory, clocks (san.c)
};

struct vg_cluster {
    vg_block **block;           // by rank
    uint32_t nblocks;
    uint64_t phase;             // of barrier.cluster
    uint32_t running;           // blocks not done
    uint64_t idle;              // turns without progress, in a row
    uint32_t next;              // block whose turn it is
};

/// One thread of the host. Clusters stay with the worker that started them.
struct vg_worker {
    vg_run *run;
    uint64_t rng;
    uint64_t lo, hi;            // bounds of the block of global memory used last
    uint64_t steps;             // warp instructions not yet added to run->steps
    vg_cluster **resident;
    uint32_t nresident, cap_resident;
    vg_cluster **spare;         // memory of finished ones
    uint32_t nspare;
};

struct vg_run {
    vg_gpu *gpu;
    const vg_kernel *kernel;
    const vg_launch_config *config;
    uint8_t *param;             // packed as the entry's parameters lie
    uint32_t param_bytes;
    uint32_t shared_bytes;      // static and dynamic
    uint32_t dynamic_at;        // offset of dynamic shared memory
    uint32_t local_stride;      // of a thread's local memory
    unsigned cluster[3];        // blocks, at least 1
    bool explicit_cluster;
    uint64_t nclusters, blocks; // of the grid
    uint64_t number;            // of the launch
    atomic_ullong next_cluster; // not started yet
    atomic_ullong steps;        // warp instructions
    atomic_uint moving;         // workers that do more than wait
    vg_worker *worker;          // nworkers of them; the launch's own thread is the first
    void *thread;               // pthread_t of each
    uint32_t nworkers, started; // written by the first alone
    uint32_t resident_limit;    // clusters a worker may hold
    atomic_int status;          // enum vg_status of the first failure
    atomic_bool stop;
    vg_counts *counts;          // by instruction, of all workers (profile), or NULL
};

/// First failure wins: writes the message (kernel, block, thread, PTX line, instruction, source line)
/// and stops the launch. Returns VG_STOP.
enum vg_next vg_fail(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_status s, const char *fmt, ...)
    VM_PRINTF(5, 6);

/// For .sync instructions that name lanes (`member`): *mask covers them, or becomes the lanes that wait
/// at this instruction in other splits too, which then go on together; VG_BLOCKED until all are there.
enum vg_next vg_gather(vg_warp *w, const vg_inst *in, uint32_t *mask, uint32_t member);
/// The current split's lanes take several ways: lanes mask[i] go to target[i]; they meet at `join`.
enum vg_next vg_diverge(vg_warp *w, uint32_t join, uint32_t n, const uint32_t *target, const uint32_t *mask);
/// Lanes of the current split enter a function whose frame is ready; they come back behind the call.
enum vg_next vg_enter(vg_warp *w, vg_frame *f, uint32_t mask);
/// Lanes of the current split end.
enum vg_next vg_exit_lanes(vg_warp *w, uint32_t mask);
/// Bookkeeping of barriers when threads are gone.
void vg_bar_exited(vg_warp *w, uint32_t mask);
void vg_bar_explain(vg_warp *w, const vg_split *s, char *out, size_t size);
/// Runs one warp for at most `budget` instructions; true if it did more than wait.
bool vg_warp_turn(vg_warp *w, uint64_t budget);
/// Lets lanes that wait for others of their warp go on alone; false: there are none.
bool vg_warp_release(vg_warp *w);
void vg_warp_start(vg_warp *w, uint32_t lanes);
vg_frame *vg_frame_push(vg_warp *w, const vg_kernel *code, const vg_frame *caller); // NULL: too deep
void vg_frame_drop(vg_warp *w, vg_frame *f); // unless a split uses it
void vg_frame_fill(vg_warp *w, vg_frame *f, bool all);
uint64_t vg_special(const vg_warp *w, int special, uint32_t lane);
/// Results of a call for lanes that return: from the callee's frame to the caller's.
void vg_call_results(vg_warp *w, const vg_frame *callee, const vg_split *caller, uint32_t mask);
static inline uint64_t vg_random(uint64_t *state) { // xorshift64*
    *state ^= *state >> 12, *state ^= *state << 25, *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

// ---- memory -------------------------------------------------------------------------------------
// Generic addresses: global memory from VG_GLOBAL; windows of shared memory (cluster rank + 1 in bits
// 24-31; 0: own block) and of the thread's local memory. Shared addresses proper are the low 32 bits of
// the window's, rank bits included, so shared::cta addresses are valid shared::cluster addresses.
#define VG_GLOBAL 0x700000000000ull
#define VG_WINDOW_SHARED 0x010000000000ull
#define VG_WINDOW_LOCAL 0x020000000000ull
#define VG_WINDOW_CODE 0x040000000000ull  // addresses of functions: VG_CODE_STEP times their index
#define VG_CODE_STEP 16
#define VG_WINDOW_PARAM 0x030000000000ull // of an entry; .param addresses of entries are these
#define VG_RANK_SHIFT 24

/// Host address of [a, a + n) for this lane, or NULL after vg_fail (out of bounds, misaligned).
/// *space becomes GLOBAL, SHARED, LOCAL, CONST or PARAM for generic addresses; *owner: block whose
/// shared memory it is. Accesses of warps should check the common case once, not lane by lane.
enum vg_use { VG_READ = 1, VG_WRITE = 2, VG_ATOMIC = 4 };
uint8_t *vg_resolve(vg_warp *w, const vg_inst *in, uint32_t lane, uint64_t a, uint32_t n, uint32_t align,
                    int use, int *space, vg_block **owner);
/// Same for asynchronous agents: no lane. NULL: outside; the caller reports.
uint8_t *vg_global(vg_gpu *g, uint64_t a, size_t n);
uint8_t *vg_shared(vg_block *b, uint32_t a, uint32_t n, vg_block **owner); // rank bits honoured

// ---- sanitizer and profiler hooks ---------------------------------------------------------------
// Called only when the launch has them on (w->run->gpu->options). Addresses are of enum ptx_space
// GLOBAL (device address), SHARED (offset in owner; owner NULL: the warp's own block) or LOCAL (offset in
// the thread's frame). `use` has VG_ATOMIC also for volatile, relaxed, acquire and release accesses.
// san*.c, report.c and profile.c implement them.

void vg_san_access(vg_warp *w, const vg_inst *in, uint32_t mask, int space, vg_block *const owner[32],
                   const uint64_t addr[32], uint32_t bytes, int use);
/// Registers read or written by an ordinary instruction while matrix work is open on this warp; called
/// only if the warp has open wgmmas.
void vg_san_registers(vg_warp *w, const vg_inst *in, uint32_t mask);
void vg_san_bar(vg_warp *w, const vg_inst *in, int bar, bool arrive, bool leave); // arrives at, leaves
void vg_san_cluster_bar(vg_warp *w, bool arrive, bool leave);
void vg_san_warp_sync(vg_warp *w, uint32_t mask);
void vg_san_fence(vg_warp *w, const vg_inst *in, int scope, bool proxy);  // scope: 0 cta, 1 cluster, 2 gpu, 3 sys
void vg_san_mbarrier(vg_warp *w, vg_block *owner, uint32_t addr, bool release, bool acquire);
/// Initialisation of an mbarrier, and each use of one by a thread or (async) by an asynchronous copy:
/// reports a use that the initialisation was not published to. Uses are no data accesses.
void vg_san_mbarrier_init(vg_warp *w, const vg_inst *in, vg_block *owner, uint32_t addr);
void vg_san_mbarrier_use(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t addr, bool async);
/// An asynchronous agent's access of a range (async.c calls at issue): reads are leased, writes in
/// flight, until vg_san_async_end with the returned ticket. `what`: for reports.
uint64_t vg_san_async(vg_warp *w, const vg_inst *in, vg_block *owner, int space, uint64_t addr, uint64_t bytes,
                      int use, const char *what);
void vg_san_async_end(vg_warp *w, uint64_t ticket, bool by_mbarrier, vg_block *bar_owner, uint32_t bar);
void vg_san_block_begin(vg_block *b);
void vg_san_block_end(vg_block *b);
void vg_san_host_write(vg_gpu *g, uint64_t addr, uint64_t bytes);
void vg_san_alloc(vg_gpu *g, uint64_t addr, uint64_t bytes, bool freed);
void vg_san_launch(vg_run *r, bool begin);
void vg_san_warp_free(vg_warp *w); // before its memory goes (blocks are reused between)
void vg_san_destroy(vg_gpu *g);
void vg_prof_launch(vg_run *r, bool begin); // sets r->counts; adds up at the end
void vg_prof_destroy(vg_gpu *g);
/// Adds a report (merged with an equal one). Any worker.
void vg_report_defect(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_defect what, const vg_inst *other,
                      const unsigned other_thread[3], const char *fmt, ...) VM_PRINTF(7, 8);

void vg_prof_step(vg_warp *w, const vg_inst *in, uint32_t mask);  // each instruction
void vg_prof_memory(vg_warp *w, const vg_inst *in, uint32_t mask, int space, const uint64_t addr[32], uint32_t bytes);
/// Shared rows of 16 bytes that a matrix load or store touches (ldmatrix, stmatrix), a count of phases.
void vg_prof_rows(vg_warp *w, const vg_inst *in, const uint32_t *row, uint32_t nrows);

// ---- asynchronous agents (async.c, mbarrier.c, tma.c, wgmma.c) ------------------------------------

void vg_async_block_begin(vg_block *b);
/// Does what is due; with `all`, everything that can be done now. True if something was done.
bool vg_async_progress(vg_block *b, bool all);
/// Called when the block's last warp is done.
void vg_async_block_end(vg_block *b);
void vg_async_warp_free(vg_warp *w);   // before its memory goes (blocks are reused between)
void vg_async_block_free(vg_block *b);
/// Registers of a warp's open wgmmas, oldest first: accumulators in flight and the fragment of A leased.
typedef struct {
    const vg_inst *in;
    const vg_row *acc, *a;
    uint32_t nacc, na;          // na: 0 if A is in shared memory
} vg_open_wgmma;
bool vg_async_open_wgmma(const vg_warp *w, uint32_t i, vg_open_wgmma *out); // false: no i-th
/// "mbarrier at 0x40, phase 3: 1 arrival and 4096 bytes missing", for deadlock reports.
void vg_async_explain(vg_warp *w, char *out, size_t size);

// ---- numbers (num.c of this folder; vm/num.c underneath) -------------------------------------------

float vg_f16(uint32_t code);
uint32_t vg_to_f16(float x, vm_rounding r);
float vg_bf16(uint32_t code);
uint32_t vg_to_bf16(float x, vm_rounding r);

// ---- the machine --------------------------------------------------------------------------------

typedef struct {
    uint64_t at;                // device address
    size_t bytes;
    bool live;
    bool module;                // variables of a module: no leak
} vg_extent;

struct vg_gpu {
    vg_options options;
    uint8_t *base;              // host address of VG_GLOBAL
    size_t reserved, top;       // bytes of the arena; used so far
    vg_extent *extent;          // sorted by address
    size_t nextent, cap_extent;
    vg_module *modules;
    vg_module *unloaded;        // memory that reports and profiles still name
    char error[2048];
    uint64_t launches;
    void *san, *prof;           // their states
    void *reports;              // report.c
    void *lock;                 // of what launches' workers share: messages, device malloc
    uint64_t heap;              // device malloc's memory, 0: none yet
    void *heap_state;
};
void vg_module_free(vg_module *m);
enum vg_status vg_gpu_fail(vg_gpu *g, enum vg_status s, const char *fmt, ...) VM_PRINTF(3, 4);
void vg_lock(vg_gpu *g);
void vg_unlock(vg_gpu *g);
/// The live block that holds [a, a + n), or NULL.
const vg_extent *vg_extent_at(const vg_gpu *g, uint64_t a, uint64_t n);
/// Device malloc and free; 0: none left.
bool vg_heap_reserve(vg_gpu *g); // before a launch that may call them
uint64_t vg_heap_alloc(vg_gpu *g, uint64_t bytes);
bool vg_heap_free(vg_gpu *g, uint64_t a);
