// SPDX-License-Identifier: Apache-2.0
// Compile-time evaluation. One evaluator walks the AST: what is known becomes fe_values, what is not
// is handed to the stage behind `fe_hooks` (ir/lower*.c emits tile IR for it; a test block has no
// hooks, everything in it is known). Names, scopes, modules, meta-parameters, inlining of functions,
// structs, lambdas, `const for`/`const if` live here once.
#pragma once
#include "frontend/ast.h"
#include "layout/layout.h"

typedef struct fe_value fe_value;
typedef struct fe_type fe_type;
typedef struct fe_eval fe_eval;
typedef struct fe_scope fe_scope;
typedef struct fe_module fe_module;
struct ir_value; // opaque here
struct fe_tensor;

// ---- value.c: values and types ------------------------------------------------------------------

enum fe_kind {
    FV_POISON,        // an error has been reported: whoever meets it stays silent
    FV_NONE,          // no value (statement, function without result)
    FV_INT, FV_FLOAT, FV_BOOL, FV_STRING,
    FV_TYPE, FV_LAYOUT, FV_SHARED_LAYOUT, FV_ATOM, FV_DOT,
    FV_TUPLE, FV_LIST, FV_RANGE,
    FV_FN, FV_LAMBDA, FV_BUILTIN, FV_KERNEL, FV_MODULE, FV_STRUCT_TYPE, FV_STRUCT,
    FV_SPECIAL,       // block, grid, cluster, target, mma: things with members
    FV_ANY,           // `_`
    FV_TENSOR,        // host tensor of a test block
    FV_RT             // known only at run time: an IR value
};

struct fe_value {
    enum fe_kind kind;
    bool typed;                 // INT, FLOAT, BOOL: has type `dtype`; else an untyped literal
    vm_dtype dtype;
    vm_span span;               // where it was made
    union {
        int64_t i;              // INT (u64 as its two's complement), BOOL 0/1
        double f;
        const char *s;          // STRING text; BUILTIN and SPECIAL name
        const fe_type *type;    // TYPE
        const layout *lay;
        struct {                // SHARED_LAYOUT: a layout, or a recipe applied to the tensor's shape
            const shared_layout *sh;
            int swizzle;        // bytes of swizzle(W) when sh is NULL; -1: column_major(), 0: row_major()
            fe_value *strides;  // TUPLE of strides(…) (may hold FV_RT) when sh is NULL
        };
        const mma_atom *atom;
        const mma_dot *dot;
        struct {                // TUPLE, LIST, RANGE (2 items), STRUCT (fields in order)
            uint32_t n;
            fe_value **item;
            const ast *decl;    // STRUCT: its declaration
            fe_module *home;    // STRUCT: module of the declaration
            fe_scope *metas;    // STRUCT: bound meta-parameters, or NULL
            int lead;           // STRUCT in memory: dimensions of the array that it is
            fe_value *raw;      // STRUCT in memory: its bytes as one view, or NULL
        };
        struct {                // FN, KERNEL, STRUCT_TYPE, LAMBDA, MODULE
            const ast *node;
            fe_module *module;
            fe_scope *scope;    // LAMBDA: captured; others: bound meta-parameters, or NULL
        };
        struct fe_tensor *tensor;
        struct ir_value *rt;
    };
};

enum fe_space { FS_NONE, FS_REG, FS_SHARED, FS_GLOBAL, FS_TMEM };
enum fe_type_kind {
    FT_SCALAR,   // f32, u4, …
    FT_TENSOR,   // space elem[dims] @ layout; FS_NONE: host tensor, or the target of view()
    FT_BARRIER,  // shared barrier[dims]
    FT_STRUCT, FT_TUPLE,
    FT_META      // compile-time kinds: int float bool str type layout (name in `meta`)
};
struct fe_type {
    enum fe_type_kind kind;
    enum fe_space space;
    bool inflight;
    vm_dtype elem;
    int rank;
    fe_value *dim[LAYOUT_MAX_RANK]; // INT, RT, or ANY
    fe_value *layout;               // LAYOUT, SHARED_LAYOUT, or NULL
    const char *meta;
    fe_value *strukt;               // FT_STRUCT: the STRUCT_TYPE
    fe_value *items;                // FT_TUPLE: TUPLE of TYPE
};

fe_value *fe_int(fe_eval *e, int64_t i);                   // untyped
fe_value *fe_int_of(fe_eval *e, vm_dtype t, int64_t i);
fe_value *fe_float(fe_eval *e, double f);
fe_value *fe_bool(fe_eval *e, bool b);
fe_value *fe_string(fe_eval *e, const char *s);
fe_value *fe_tuple(fe_eval *e, uint32_t n, fe_value **items);
fe_value *fe_rt(fe_eval *e, struct ir_value *v);
fe_value *fe_poison(fe_eval *e);
const fe_type *fe_scalar_type(fe_eval *e, vm_dtype t);
bool fe_is_known(const fe_value *v);                       // no RT anywhere inside
bool fe_equal(const fe_value *a, const fe_value *b);
const char *fe_describe(fe_eval *e, const fe_value *v);    // "u4[16, 8]", "128", "function f"
const char *fe_type_text(fe_eval *e, const fe_type *t);
fe_value *fe_none(fe_eval *e);
fe_value *fe_type_value(fe_eval *e, const fe_type *t);
bool fe_type_equal(const fe_type *a, const fe_type *b);
uint64_t fe_to_code(const fe_value *v, vm_dtype t);        // INT, FLOAT, BOOL as a code of type t (no check)
fe_value *fe_from_code(fe_eval *e, vm_dtype t, uint64_t code); // typed; T_bool: BOOL
/// v as type t without conversion: literals become typed, tuples item by item, run-time values through
/// hooks->coerce. Reports mismatches. t NULL: v.
fe_value *fe_coerce(fe_eval *e, fe_value *v, const fe_type *t, vm_span at);

// ---- module.c: files and imports ----------------------------------------------------------------

struct fe_module {
    uint32_t file;
    const char *path;
    ast *tree;
    fe_scope *globals;   // filled lazily: consts evaluate on first use, cycles are diagnosed
};
/// How `import "x.tvm"` finds its text: the embedded std/ files, then -I paths. Returned text lives
/// in the arena. NULL: not found.
typedef const char *(*fe_loader)(void *user, vm_comp *c, const char *importer, const char *path, size_t *size);

typedef struct {
    const vm_arch *arch;     // target.sm, target.has(…); NULL: the VM (everything is there)
    fe_loader load;
    void *load_user;
} fe_options;

// ---- eval.c, eval_expr.c, eval_stmt.c, builtin.c ------------------------------------------------

/// One argument of a call or an index. Exactly one form is set.
typedef struct {
    enum { FA_VALUE, FA_ALL, FA_WINDOW, FA_RANGE } form;
    const char *name;       // named argument or NULL
    fe_value *v, *v2;       // VALUE: v; WINDOW: start, width; RANGE: lo, hi
    fe_value *step;         // RANGE: every step-th; NULL: each
    const ast *node;        // the argument's tree (a LAMBDA is passed as an FV_LAMBDA value)
    vm_span span;
} fe_arg;
typedef struct {
    uint32_t n;
    fe_arg *at;
} fe_args;

/// A name in scope. `value` of a `var` changes; hooks that need the names assigned inside a region
/// use fe_assigned.
typedef struct fe_binding {
    const char *name;
    fe_value *value;
    const fe_type *type;    // declared or inferred type, NULL for untyped constants
    bool is_var, used;
    const char *group;      // role or simt it was declared in, NULL: the block
    int depth;              // nesting depth of the scope that declared it
    vm_span span;
    struct fe_binding *next;
    struct fe_binding *alias; // receiver of a method: the caller's variable; fe_find sees through it
    const ast *lazy;          // global constant not evaluated yet: its BIND
    bool busy;                // … being evaluated
} fe_binding;
struct fe_scope {
    fe_scope *up;
    fe_binding *first;
    fe_module *module;
    int depth;
    bool fn_border;         // names outside are reached only if they are the module's
};

/// What the evaluator does not know how to do itself. A hook may be NULL: then its construct behaves
/// as in known code (or is an error). `threads` and `warps` are asked for as member(SPECIAL, ""). Called when an operand is FV_RT, or for things
/// that only make sense at run time. Each reports its own errors and then returns FV_POISON.
typedef struct fe_hooks {
    fe_value *(*unary)(fe_eval *e, enum ast_op op, fe_value *x, vm_span at);
    fe_value *(*binary)(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at);
    /// x && y, x || y with a run-time x: y is evaluated only where it decides.
    fe_value *(*logic)(fe_eval *e, enum ast_op op, fe_value *x, const ast *y, vm_span at);
    fe_value *(*cast)(fe_eval *e, fe_value *x, const fe_type *to, vm_span at);          // x as T
    fe_value *(*at)(fe_eval *e, fe_value *x, fe_value *layout, vm_span at);             // x @ L
    /// An instruction or a member called on a run-time value (`x.view(…)`: name "view", args[0] = x).
    fe_value *(*call)(fe_eval *e, const char *name, fe_args *args, vm_span at);
    fe_value *(*member)(fe_eval *e, fe_value *x, const char *name, vm_span at);         // x.t, block.x
    fe_value *(*index)(fe_eval *e, fe_value *x, fe_args *args, vm_span at);
    /// x[args] = v. `holder` is the variable that holds tile x (its value is to be replaced), or NULL.
    void (*store_index)(fe_eval *e, fe_value *x, fe_binding *holder, fe_args *args, fe_value *v, vm_span at);
    /// let/var: the value to bind. type and init may each be NULL, not both.
    fe_value *(*declare)(fe_eval *e, const char *name, const fe_type *type, fe_value *init, bool is_var, ast *attrs, vm_span at);
    /// Value of v as the type of the variable or parameter (literals become typed, no conversion else).
    fe_value *(*coerce)(fe_eval *e, fe_value *v, const fe_type *type, vm_span at);
    const fe_type *(*type_of)(fe_eval *e, const fe_value *v);
    // statements with a run-time condition or of the machine; each runs its bodies by fe_exec_block
    void (*if_)(fe_eval *e, fe_value *cond, ast *node);
    void (*for_)(fe_eval *e, fe_value *lo, fe_value *hi, fe_value *step, ast *node);
    void (*while_)(fe_eval *e, ast *node);
    void (*fetch)(fe_eval *e, ast *node);
    void (*role)(fe_eval *e, ast *node);
    void (*simt)(fe_eval *e, ast *node);
    void (*jump)(fe_eval *e, ast *node);                   // break, continue in a run-time loop
    void (*return_)(fe_eval *e, fe_value *v, ast *node);   // return in the kernel itself, or not at the end of a fn
    /// Around an inlined function whose returns are not all in tail position.
    void (*enter_fn)(fe_eval *e, const ast *fn);
    fe_value *(*leave_fn)(fe_eval *e, const ast *fn);
    /// A statement begins (for source places); the test block's `run`.
    void (*run)(fe_eval *e, fe_value *kernel, fe_args *meta, fe_args *args, vm_span at);
} fe_hooks;

struct fe_eval {
    vm_comp *comp;
    vm_arena *arena;
    fe_options opt;
    VM_VEC(fe_module *) modules;   // [0] is the main file
    fe_scope *scope;
    const fe_hooks *hooks;         // NULL: everything must be known
    void *user;                    // the hooks' state
    uint64_t steps;                // limit: 10^7
    int inline_depth;              // limit: recursion is an error
    VM_VEC(const ast *) calls;     // functions being inlined, outermost first
    VM_VEC(vm_span) call_spans;
    /// return/break/continue: `jumping` until the construct of `kind` (AST_RETURN, …) is left; `active`:
    /// a return leaves through here, not through hooks->return_. fe_exec_block clears what hooks did.
    struct { bool active, jumping; int kind; fe_value *value; } flow;
    const char *group;             // copied into new bindings; kept by the hooks
    fe_value *ret_type;            // TYPE that `return` coerces to, or NULL
    int loop;                      // innermost loop: 0 none, 1 known, 2 run-time, 3 known but under a run-time condition
    uint32_t expansions;           // of const for, limit 10^5
    bool exhausted;                // a limit was reported: everything is poison
};

fe_eval *fe_eval_new(vm_comp *c, const fe_options *opt);
fe_module *fe_load_main(fe_eval *e, uint32_t file);        // parses, loads imports, declares globals
fe_value *fe_lookup(fe_eval *e, const char *name, vm_span at); // reports unknown names with "did you mean"
fe_binding *fe_find(fe_scope *s, const char *name);
fe_binding *fe_bind(fe_eval *e, const char *name, fe_value *v, const fe_type *t, bool is_var, vm_span at);
fe_scope *fe_push(fe_eval *e);
void fe_pop(fe_eval *e);

fe_value *fe_expr(fe_eval *e, const ast *node);
const fe_type *fe_type_expr(fe_eval *e, const ast *node);  // NULL after a report
bool fe_const_int(fe_eval *e, const ast *node, int64_t *out); // must be known; reports if not
void fe_eval_args(fe_eval *e, uint32_t n, ast *const *kids, fe_args *out);
const fe_arg *fe_named(const fe_args *a, const char *name);
void fe_exec_block(fe_eval *e, const ast *block);          // own scope
void fe_exec_stmt(fe_eval *e, const ast *stmt);
/// Calls fn, lambda or builtin value with evaluated arguments (lambda with hooks: inlined).
fe_value *fe_call(fe_eval *e, fe_value *fn, fe_args *args, vm_span at);
fe_value *fe_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at); // known or hooks
/// Names assigned (=, op=, x[i] =) in the tree that are declared outside of it, in order of appearance.
/// Method calls on struct variables count as assignments to the variable.
void fe_assigned(fe_eval *e, const ast *tree, uint32_t *n, const char *const **names);
/// Types of the members of a STRUCT_TYPE in order, at most LAYOUT_MAX_FIELDS; 0 after a report.
enum { FE_MAX_FIELDS = 16 };
uint32_t fe_struct_members(fe_eval *e, fe_value *st, const fe_type **out, vm_span at);
/// Bytes from one struct to the next, and where each member starts (16-byte aligned); 0: no constant size.
int64_t fe_struct_offsets(uint32_t n, const fe_type *const *member, int64_t *offset);
/// Module of a text that comes with the library; NULL after a report.
fe_module *fe_import(fe_eval *e, const char *path, vm_span at);
/// Known functions (cdiv, gcd, bits, local, spatial, swizzle, concat, mma.dot, …): NULL if `name` is
/// none of them; otherwise the result (or FV_POISON).
fe_value *fe_builtin(fe_eval *e, const char *name, fe_args *args, vm_span at);

// ---- instantiate.c: kernels with their meta-parameters ------------------------------------------

/// A kernel with all meta-parameters bound.
typedef struct {
    fe_module *module;
    const ast *node;
    const char *entry;        // matmul__Q_u4_WM_1
    fe_scope *metas;          // meta-parameters and clause consts, bound
    uint32_t nmeta;
    const char **meta_name;
    fe_value **meta;
    const bool *tuned;        // by index: its value is a point of the tuning space
    bool excluded;            // `where` excludes the target: skip by rule
    const char *why;          // when excluded
} fe_instance;

/// Text or value given from outside (-D NAME=TEXT) or from a `run` statement.
typedef struct {
    const char *name;
    fe_value *value;
} fe_define;
/// One candidate of the tuning space, or the only instance. `defines` override lists. Reports errors
/// at `at` (the call) and returns NULL: missing meta, failed where (E0340).
fe_instance *fe_instantiate(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs, vm_span at, bool quiet_exclude);
/// All points of the tune clause that satisfy `when` and `where`, in order (last list fastest).
uint32_t fe_tune_points(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs, fe_instance ***out);
/// Points of the whole product of the lists, those that `when` and `where` exclude too; 0 after a report.
uint64_t fe_tune_product(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs);
/// Meta-parameters that follow from argument types: binds into defs (grown in the arena).
bool fe_deduce(fe_eval *e, const ast *kernel, const fe_args *args, uint32_t *n, fe_define **defs, vm_span at);

// ---- check.c: what can be said without instantiation --------------------------------------------

/// Names resolve, duplicates, unused `let`s (warning), break outside loops, tile code in simt, …
void fe_check(fe_eval *e, fe_module *m);

// ---- tensor.c, testing.c: host tensors of test blocks -------------------------------------------

/// Dense cells (vm_cell bytes an element), row-major; `mem` is the packed image when asked for.
typedef struct fe_tensor {
    vm_dtype type;
    int rank;
    int64_t dim[LAYOUT_MAX_RANK];
    size_t n;        // elements
    void *cells;
} fe_tensor;
fe_tensor *fe_tensor_new(fe_eval *e, vm_dtype t, int rank, const int64_t *dim); // zeroed
size_t fe_tensor_bytes(const fe_tensor *t);                     // packed
void fe_tensor_pack(const fe_tensor *t, void *mem);
void fe_tensor_unpack(fe_tensor *t, const void *mem);
/// Deterministic for (type, shape, seed, dist) on every machine. dist: "uniform" (floats in [-1, 1),
/// integers over all codes) or "normal".
void fe_tensor_random(fe_tensor *t, uint64_t seed, const char *dist);
/// Result of running a test block.
typedef struct {
    const char *title;
    bool passed;
    double seconds;
    const char *message; // first failure with place, or the measured error of expect_close
} fe_test_result;
/// Runs one test block; `run` statements go through run(user, kernel instance, args…).
typedef struct {
    /// args[i]: FV_TENSOR (read and written in place) or a known scalar. False: failed, *why set.
    bool (*run)(void *user, fe_eval *e, fe_instance *k, fe_args *args, vm_span at, const char **why);
    /// Which of n > 0 points of the kernel's tuning space runs on these arguments. NULL: the first.
    uint32_t (*pick)(void *user, fe_eval *e, const fe_module *m, const ast *kernel, uint32_t n, fe_instance **point, fe_args *args);
    void *user;
    bool dry;  // nothing really runs: expectations of values are not checked
} fe_executor;
bool fe_run_test(fe_eval *e, fe_module *m, const ast *test, const fe_executor *x, fe_test_result *out);
