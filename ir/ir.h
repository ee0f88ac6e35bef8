// SPDX-License-Identifier: Apache-2.0
// Tile IR: SSA values in structured regions. A function has scalar and pointer parameters, a body and
// a scalar host region. Everything lives in the compilation's arena. Thread-safety: one thread a
// vm_comp; ir_interp_run only reads the function and may run on several threads at once.
//
// Control. A region's last operation is a terminator (yield, break, continue, leave, return).
//   for    (lo, hi, step, init…)  { (i, carried…) … yield next… }             -> carried…
//   while  (init…)                { (c…) … yield cond } { (c…) … yield next… }   -> c…
//   if     (cond)                 { … yield x… } { … yield x… }  (second region may be empty: no results)
//   scope                         { … yield x… }   `leave x…` inside jumps to its end
//   role   attrs begin end step index set          { … yield }
//   simt   (tile…)                { (t, tile…) … yield tile… }   -> tile…
//   fetch                         { … yield }        only in the body of a `for` with attribute stages
// break and continue name the innermost for/while and carry its values; they may stand at the end of
// any region nested in it by `if` and `scope` only. Inside simt everything is scalar, a thread.
//
// Types. Scalars; reg tiles (immutable values); views of shared and global memory (never carried by
// loops or ifs: their defining chain is static); pointers (parameters only); barriers; none.
#pragma once
#include "frontend/eval.h"
#include "layout/layout.h"
#include "vm/vm.h"

typedef struct ir_value ir_value;
typedef struct ir_op ir_op;
typedef struct ir_region ir_region;
typedef struct ir_func ir_func;
typedef struct ir_module ir_module;

enum ir_space { IS_NONE, IS_SCALAR, IS_REG, IS_SHARED, IS_GLOBAL, IS_PTR, IS_BARRIER };
enum { IR_DYN = -1 }; // a run-time extent

typedef struct ir_type {
    enum ir_space space;
    vm_dtype elem;
    uint8_t rank;
    bool inflight;
    int64_t dim[LAYOUT_MAX_RANK];
    const layout *reg;           // IS_REG: NULL until inference
    const shared_layout *shared; // IS_SHARED, on alloc_shared only: NULL until inference
} ir_type;

/// Who decided a layout; precedence of inference, highest last.
enum ir_why { WHY_NONE, WHY_DEFAULT, WHY_MEMORY, WHY_VIEW, WHY_CARRIED, WHY_TENSOR_CORE, WHY_PINNED };

struct ir_value {
    uint32_t id;            // unique in the function; printing renumbers
    ir_type type;
    ir_op *def;             // NULL: region argument or function parameter
    ir_region *owner;       // region whose argument it is; NULL for results and parameters
    uint32_t index;         // among results or arguments
    const char *name;       // hint, or NULL
    bool pinned;            // layout written with @: only ir_pass_relayout may put moves before it
    enum ir_why why;
    const char *reason;     // text for --emit=layout
    vm_span span;
    bool divided;           // facts of pass_divides, asked by ir_divisor
    uint64_t divisor, promised;
    void *tmp;              // a pass's own
};

enum ir_attr_key {
#define ATTR(key, kind, doc) AT_##key,
#include "ir/attr.def"
#undef ATTR
    AT_count_
};
enum ir_attr_kind { AK_INT, AK_STR, AK_INTS, AK_DTYPE, AK_LAYOUT };
typedef struct ir_attr {
    enum ir_attr_key key;
    union {
        int64_t i;          // INT, DTYPE
        const char *s;
        const layout *lay;
        struct {
            uint32_t n;
            const int32_t *v;
        };
    };
    struct ir_attr *next;
} ir_attr;
extern const struct ir_attr_info { const char *name; enum ir_attr_kind kind; const char *doc; } ir_attrs[AT_count_];

struct ir_op {
    vm_inst inst;
    uint32_t nops, nres, nregions;
    ir_value **ops;
    ir_value **res;
    ir_region **regions;
    ir_attr *attrs;
    ir_op *prev, *next;
    ir_region *parent;
    vm_span span;
    void *tmp;
};

struct ir_region {
    uint32_t nargs;
    ir_value **args;
    ir_op *first, *last;
    ir_op *parent;          // NULL: body or host of a function
    ir_func *func;
};

typedef struct {
    const char *name;
    ir_value *value;        // IS_SCALAR or IS_PTR
    bool written, alias;    // pointers
    bool fixed;             // `static`: no launch that may still run writes it
    int align;              // bytes; default 16
    vm_span span;
} ir_param;

struct ir_func {
    const char *name;       // entry name
    const char *kernel;     // name in the source
    ir_module *module;
    vm_comp *comp;
    uint32_t nparams;
    ir_param *params;
    ir_region *body, *host;
    int warps;              // of a block
    int regs;               // #[regs(n)] or 0
    int cluster[3];
    bool dependent;         // may begin before the launch in front of it has ended
    uint32_t shared_bytes;  // after smem; dynamic allocations are beyond it
    uint32_t next_id;
    bool has_layouts;       // after infer
    bool relaid;            // after relayout: the layouts at both ends of every edge agree
    vm_span span;
};

struct ir_module {
    vm_comp *comp;
    const vm_arch *arch;    // NULL: the VM
    VM_VEC(ir_func *) funcs;
};

// ---- build.c: making and changing ---------------------------------------------------------------

ir_module *ir_module_new(vm_comp *c, const vm_arch *arch);
ir_func *ir_func_new(ir_module *m, const char *name, vm_span at);
ir_value *ir_param_add(ir_func *f, const char *name, ir_type t, vm_span at);

ir_type ir_scalar(vm_dtype t);
ir_type ir_reg(vm_dtype t, int rank, const int64_t *dim, const layout *l);
ir_type ir_view_type(enum ir_space s, vm_dtype t, int rank, const int64_t *dim);
bool ir_type_equal(const ir_type *a, const ir_type *b); // layouts included
int64_t ir_elems(const ir_type *t);                     // product of extents; -1 if one is dynamic

/// Where new operations go: before `before`, or at the end of `region` when it is NULL.
typedef struct {
    ir_func *func;
    ir_region *region;
    ir_op *before;
    vm_span span;
} ir_builder;
ir_region *ir_region_new(ir_func *f, ir_op *parent);
ir_value *ir_region_arg(ir_region *r, ir_type t, const char *name);
ir_op *ir_emit(ir_builder *b, vm_inst i, uint32_t nops, ir_value *const *ops, uint32_t nres, const ir_type *res);
ir_value *ir_emit1(ir_builder *b, vm_inst i, uint32_t nops, ir_value *const *ops, ir_type res);
ir_value *ir_const(ir_builder *b, vm_dtype t, uint64_t code);
ir_value *ir_const_int(ir_builder *b, vm_dtype t, int64_t x);
void ir_add_region(ir_op *op, ir_region *r);
ir_value *ir_add_result(ir_op *op, ir_type t);
void ir_add_operand(ir_op *op, ir_value *v);
void ir_insert_before(ir_op *at, ir_op *op);
void ir_append(ir_region *r, ir_op *op);
void ir_remove(ir_op *op);
void ir_replace_uses(ir_func *f, ir_value *old, ir_value *with); // everywhere in f (body and host)
/// Deep copy of op at the builder; operands through map (see ir_map), regions included.
typedef struct ir_map ir_map;
ir_map *ir_map_new(ir_func *f);
void ir_map_set(ir_map *m, const ir_value *from, ir_value *to);
ir_value *ir_map_get(const ir_map *m, const ir_value *from); // itself if not mapped
ir_op *ir_clone(ir_builder *b, const ir_op *op, ir_map *m);

void ir_set_int(ir_op *op, enum ir_attr_key k, int64_t v);
void ir_set_str(ir_op *op, enum ir_attr_key k, const char *s);
void ir_set_ints(ir_op *op, enum ir_attr_key k, uint32_t n, const int32_t *v);
void ir_set_layout(ir_op *op, enum ir_attr_key k, const layout *l);
const ir_attr *ir_get(const ir_op *op, enum ir_attr_key k);
int64_t ir_int(const ir_op *op, enum ir_attr_key k, int64_t otherwise);
const char *ir_str(const ir_op *op, enum ir_attr_key k); // NULL if absent
vm_rounding ir_rounding(const ir_op *cast);              // by its attributes
void ir_unset(ir_op *op, enum ir_attr_key k);

bool ir_known(const ir_value *v, int64_t *out);   // integer constant?
ir_op *ir_terminator(const ir_region *r);
ir_op *ir_enclosing(const ir_op *op, vm_inst i);  // innermost parent op of that kind, or NULL
int ir_group_threads(const ir_op *op);            // threads of the group that executes op
int ir_loop_depth(const ir_op *op);
/// Pre-order over all operations of a region and its nested regions; fn may remove `op`.
void ir_walk(ir_region *r, void (*fn)(ir_op *op, void *user), void *user);

/// What a view is a part of. Root: global_view, alloc_shared, or a reshape of one (its own dense root).
typedef struct {
    ir_op *root;
    ir_value *peer;                 // rank of the block whose shared memory it is; NULL: the own
    int rank;                       // of the root
    struct {
        int view_dim;               // dimension of the view that walks along it, or -1 (fixed)
        uint32_t n;                 // origin = constant + sum of these scalars (any integer type)
        ir_value *origin[12];
        int64_t constant;
        ir_value *limit;            // extra upper bound from a range (relative to the root), or NULL
    } d[LAYOUT_MAX_RANK];
} ir_access;
/// False if the chain cannot be traced (too long); verified programs always can.
bool ir_trace(const ir_value *view, ir_access *out);

// ---- print.c, text.y: the text form -------------------------------------------------------------
//   func @name(%m: i32, %a: ptr f16 {align = 16}) warps 4 { body } host { … }
//   %3, %4 = for %0, %1, %2, %init {stages = 3} : i32, reg f32[64, 64] @ LAYOUT {
//     (%i: i32, %acc: reg f32[64, 64]): … }
// Types after the colon are those of the results. ir_parse(ir_print(m)) prints the same.
char *ir_print(const ir_module *m);
char *ir_print_func(const ir_func *f);
char *ir_type_text(vm_arena *a, const ir_type *t);
/// Parses printed text (file of c); NULL after reports (E08xx).
ir_module *ir_parse(vm_comp *c, uint32_t file);

// ---- verify.c -----------------------------------------------------------------------------------

/// True if well-formed; else *why (arena text) names operation and rule. Asserted after each pass in
/// debug builds; reported as E0801 for parsed text.
bool ir_verify(const ir_func *f, const char **why);
enum { IR_MAX_NESTING = 256 }; // regions within regions

// ---- lower.c …: AST to IR -----------------------------------------------------------------------

/// Lowers one instance; NULL after reports. Attributes, clauses and host region included.
ir_func *ir_lower(ir_module *m, fe_eval *e, const fe_instance *k);

// ---- pass.c, infer*.c, pass_*.c -----------------------------------------------------------------

typedef struct {
    const char *stop_after;   // pass name: stop there, NULL: run all
    bool verify;              // after each pass
    void (*after)(void *user, const char *pass, ir_func *f); // called after each pass if not NULL
    void *user;
} ir_pass_options;
bool ir_run_passes(ir_func *f, const ir_pass_options *o); // false after reports
#define PASS(name, doc) void ir_pass_##name(ir_func *f);
#include "ir/pass.def"
#undef PASS
/// Grids of all tiles with who decided each layout (`--emit=layout`).
char *ir_explain(const ir_func *f);
/// Facts of pass_divides, usable by codegen: greatest known divisor of an integer scalar (0: it is 0).
uint64_t ir_divisor(const ir_value *v);
/// Shared bytes that op needs for itself (relayout between threads, reductions and scans across warps,
/// atomics whose result all threads need); 0: none. pass_smem places them: attribute scratch.
uint32_t ir_scratch_bytes(const ir_op *op);
/// How a relayout moves its tile (layout/move.h): what placement, remarks and code generation share.
const struct move_plan *ir_move_plan(const ir_op *op);

// ---- host.c: the host region --------------------------------------------------------------------

typedef struct {
    uint64_t code;            // scalar parameters
    void *ptr;                // pointer parameters
    size_t bytes;             // extent of the buffer, (size_t)-1: unknown
    int rank;                 // shape that the caller states, or -1
    int64_t dim[LAYOUT_MAX_RANK];
} ir_arg;
/// What a tensor map says, filled in for one launch.
typedef struct {
    void *base;
    vm_dtype elem;
    int rank, swizzle;
    uint64_t extent[5], stride[5]; // units of the element (bytes for those below 8 bits); stride[0] unused
    uint32_t box[5];
} ir_tensor_map;
enum { IR_MAX_MAPS = 8 };
uint32_t ir_map_count(const ir_func *f);
int ir_map_type(vm_dtype t);     // CUtensorMapDataType and CUtensorMapSwizzle
int ir_map_swizzle(int bytes);

typedef struct {
    int64_t grid[3];
    uint64_t dynamic_shared;  // bytes beyond func->shared_bytes
    char error[400];          // why the launch is refused ("" if not); text as in language.md section 5
    enum vm_code code;        // L0001 …
    uint32_t maps;
    ir_tensor_map map[IR_MAX_MAPS]; // `maps` of them; the rest is not written
} ir_launch;
/// Interprets the host region: extents against stated shapes and bytes, requires, alignment, overlap,
/// grid. No allocation. False: out->error.
bool ir_host_eval(const ir_func *f, const ir_arg *args, ir_launch *out);

// ---- interp.c, interp_*.c: the vm executor ------------------------------------------------------

typedef struct ir_plan ir_plan;       // function made ready to run, reusable, owned by arena
ir_plan *ir_plan_new(const ir_func *f);
typedef struct {
    const ir_arg *args;
    int64_t grid[3];
    uint64_t dynamic_shared;
    uint64_t seed;                    // schedule of ready coroutines; 0: in order
    void (*print)(void *user, const char *text, size_t n); // output of `print`; NULL: dropped
    void *user;
    const vm_allocator *alloc;        // NULL: malloc
} ir_run;
/// Runs all blocks. False: trap (assert, poison read, out-of-range buffer, deadlock, no memory) with
/// text and place in error.
bool ir_interp_run(const ir_plan *p, const ir_run *r, char error[1000], vm_span *where);
