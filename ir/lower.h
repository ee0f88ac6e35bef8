// SPDX-License-Identifier: Apache-2.0
// Private to the lowering of AST to tile IR (lower*.c). The evaluator walks the tree; these hooks
// emit operations for what is known only at run time. Variables live in fe_binding.value; control
// flow turns those that a body assigns into carried values (lower_control.c).
#pragma once
#include "ir/ir.h"

enum { LW_MAX_ARGS = 24 };

/// A `map` being expanded: inside its lambda the elements of tiles stand for scalars. A tile value
/// is such an element when its `tmp` is the lift.
typedef struct lw_lift {
    ir_type shape;                    // of the mapped tile
    ir_value *index[LAYOUT_MAX_RANK]; // iota of each lambda index, NULL without indices
    struct lw_lift *up;
} lw_lift;

/// Variables that a region assigns, with the shape of their values at its entry: run-time leaves
/// are carried, known ones must stay as they are.
typedef struct {
    uint32_t n; // variables
    fe_binding **var;
    fe_value **entry; // leaves to carry are FV_RT scalars and tiles
    uint32_t nleaf;
    ir_value **leaf; // entry values
    ir_type *type;
    bool *pinned;
    const char **name;
} lw_carry;

/// A run-time loop whose body is being lowered (break and continue carry its values).
typedef struct lw_loop {
    const lw_carry *carry;
    bool pipelined;
    struct lw_loop *up;
} lw_loop;

/// An inlined function with early returns, or a simt body with them (carry set): a `scope`.
typedef struct lw_frame {
    ir_op *scope;
    ir_builder saved; // of the caller
    bool saved_dead;
    const ast *fn;         // NULL: simt body
    const lw_carry *carry; // simt body: tiles
    fe_value *shape;       // structure of the returned value; leaves FV_RT
    ir_type *type;
    uint32_t nleaf, nleaves; // carried leaves, `leave` operations emitted
    fe_value *only;          // value of the first return
    bool only_top;           // that return stands in the scope's own region
    lw_loop *loop;           // outside of the frame
    struct lw_frame *up;
} lw_frame;

typedef struct {
    fe_eval *e;
    vm_comp *c;
    vm_arena *a;
    ir_func *f;
    const fe_instance *k;
    ir_builder b;
    bool dead;  // code that control never reaches: emitted into a loose region
    bool host;  // the host region is being lowered
    bool exact; // under #[strict]
    lw_lift *lift;
    lw_loop *loop;
    lw_frame *frame;
    ir_op *simt, *role, *fetch; // being lowered, or NULL
    int threads;                // of the current group
    int64_t next_set;           // number of the next group of role statements
    ir_value *block_id[3], *grid_dim[3];
} lower;

static inline lower *lw(fe_eval *e) {
    return e->user;
}
static inline bool lw_poison(const fe_value *v) {
    return !v || v->kind == FV_POISON;
}
static inline bool lw_number(const fe_value *v) {
    return v->kind == FV_INT || v->kind == FV_FLOAT || v->kind == FV_BOOL;
}
static inline bool lw_in_space(const fe_value *v, enum ir_space s) {
    return v->kind == FV_RT && v->rt->type.space == s;
}
static inline bool lw_is_view(const fe_value *v) {
    return lw_in_space(v, IS_SHARED) || lw_in_space(v, IS_GLOBAL);
}

// ---- lower.c: whole functions and small helpers -------------------------------------------------

extern const fe_hooks lw_hooks;
fe_value *lw_rt(lower *l, ir_value *v);
/// Emits one operation with one result, marked as lifted inside a lambda.
ir_value *lw_emit(lower *l, vm_inst i, uint32_t n, ir_value *const *ops, ir_type t);
/// Attribute `name` of a statement or parameter: its node (ID, CALL or ARG), or NULL.
const ast *lw_attr(const ast *attrs, const char *name);
/// Integer argument of an attribute CALL; `otherwise` if absent or wrong (reported).
int64_t lw_attr_int(lower *l, const ast *attr, int64_t otherwise);
/// Named arguments of #[pipeline(n, via = …, evict = …)] onto op.
void lw_attr_copies(lower *l, const ast *attr, ir_op *op);
void lw_dead(lower *l); // control never comes here: see lower.dead
ir_builder lw_enter(lower *l, ir_region *r,
                    bool *dead); // code goes into r; returns what to restore
void lw_leave(lower *l, ir_builder saved, bool dead);

// ---- lower_expr.c: types and elementwise code ---------------------------------------------------

const char *lw_text(lower *l, const fe_value *v); // type of a value, for messages
bool lw_lifted(const lower *l, const ir_value *v);
bool lw_dtype_of(lower *l, const fe_value *v, vm_dtype *t); // of typed values and tiles
/// A known number as a constant of type t; NULL after a report.
ir_value *lw_const(lower *l, const fe_value *v, vm_dtype t, vm_span at);
/// Scalar, element of a lambda, or tile of element type t; NULL after a report. In flight: waits.
ir_value *lw_operand(lower *l, const fe_value *v, vm_dtype t, vm_span at);
ir_value *lw_tile(lower *l, const fe_value *v, const char *what, vm_span at); // a reg tile
ir_value *lw_scalar(lower *l, const fe_value *v, vm_dtype t, vm_span at);
ir_value *lw_index(lower *l, const fe_value *v, vm_span at); // integer of any type
ir_value *lw_landed(lower *l, ir_value *v);
ir_value *lw_landed_at_once(lower *l, ir_value *v, vm_span at); // … and warns: a variable has no type in flight
ir_value *lw_waited(lower *l, ir_value *v); // the same where the program says wait(v): no remark
fe_value *lw_elem(lower *l, vm_inst i, uint32_t n, fe_value *const *v, const char *what,
                  vm_span at);
ir_value *lw_broadcast(lower *l, ir_value *v, const ir_type *shape);
fe_value *lw_pin(lower *l, ir_value *v, const layout *lay, vm_span at); // x @ L
bool lw_layout_fits(lower *l, const layout *lay, const ir_type *t, vm_span at);
/// Dimensions of a tensor type as constants; false after a report.
bool lw_static_dims(lower *l, const fe_type *t, int64_t *dim, vm_span at);
vm_dtype lw_default_type(const fe_value *v);

fe_value *lw_unary(fe_eval *e, enum ast_op op, fe_value *x, vm_span at);
fe_value *lw_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at);
fe_value *lw_cast(fe_eval *e, fe_value *x, const fe_type *to, vm_span at);
fe_value *lw_at(fe_eval *e, fe_value *x, fe_value *lay, vm_span at);
fe_value *lw_coerce(fe_eval *e, fe_value *v, const fe_type *type, vm_span at);
const fe_type *lw_type_of(fe_eval *e, const fe_value *v);

// ---- lower_memory.c: declarations, views, elements ----------------------------------------------

fe_value *lw_declare(fe_eval *e, const char *name, const fe_type *type, fe_value *init, bool is_var,
                     ast *attrs, vm_span at);
fe_value *lw_index_hook(fe_eval *e, fe_value *x, fe_args *args, vm_span at);
void lw_store_index(fe_eval *e, fe_value *x, fe_binding *holder, fe_args *args, fe_value *v,
                    vm_span at);
fe_value *lw_member(fe_eval *e, fe_value *x, const char *name, vm_span at);
fe_value *lw_permute(lower *l, ir_value *x, const int32_t *perm, vm_span at);
fe_value *lw_reshape(lower *l, ir_value *x, int rank, const int64_t *dim, vm_span at);
fe_value *lw_global_view(lower *l, ir_value *ptr, const fe_type *t, const char *name, vm_span at);
/// Arrays of structs in memory: STRUCT values whose items are views of the members (lower_struct.c).
fe_value *lw_struct_global(lower *l, ir_value *ptr, const fe_type *t, const char *name, vm_span at);
fe_value *lw_struct_shared(lower *l, const fe_type *t, const char *name, vm_span at);
fe_value *lw_struct_index(lower *l, fe_value *x, fe_args *args, vm_span at);
int64_t lw_struct_bytes(lower *l, const fe_type *t, vm_span at); // of one; 0 after a report
bool lw_has_range(const ir_value *view); // a slice x..y is in its chain

// ---- lower_inst.c, lower_tile.c: instructions by name -------------------------------------------

fe_value *lw_call(fe_eval *e, const char *name, fe_args *args, vm_span at);
fe_value *lw_map(lower *l, fe_args *args, vm_span at);
fe_value *lw_call_tile(lower *l, const char *name, fe_args *args, vm_span at, bool *mine);
fe_value *lw_bad_args(lower *l, const char *name, const char *want, vm_span at);
fe_value *lw_none(lower *l);
/// The options of `cast` given to a cast that has just been made.
fe_value *lw_cast_as(lower *l, fe_value *cast, const fe_args *args);
int64_t lw_named_int(lower *l, const fe_args *args, const char *name, int64_t otherwise);
const char *lw_named_str(lower *l, const fe_args *args, const char *name);
uint32_t lw_positional(const fe_args *args, fe_value **v, vm_span *span); // at most LW_MAX_ARGS

// ---- lower_control.c: statements ----------------------------------------------------------------

fe_value *lw_copy(lower *l, const fe_value *v); // structs and tuples deep
lw_carry *lw_carry_make(lower *l, uint32_t n, fe_binding **vars, vm_span at); // NULL after a report
lw_carry *lw_carry_assigned(lower *l, const ast *tree);
void lw_carry_bind(lower *l, const lw_carry *c, ir_value *const *v); // the variables are now these
bool lw_carry_read(lower *l, const lw_carry *c, ir_value **out, vm_span at);
void lw_carry_out(lower *l, const lw_carry *c, vm_inst i,
                  vm_span at); // terminator with their values
void lw_carry_pins(const lw_carry *c, ir_value *const *v);
ir_value **lw_carry_args(lower *l, ir_region *r, const lw_carry *c);

fe_value *lw_logic(fe_eval *e, enum ast_op op, fe_value *x, const ast *y, vm_span at);
void lw_if(fe_eval *e, fe_value *cond, ast *node);
void lw_for(fe_eval *e, fe_value *lo, fe_value *hi, fe_value *step, ast *node);
void lw_while(fe_eval *e, ast *node);
void lw_jump(fe_eval *e, ast *node);
void lw_return(fe_eval *e, fe_value *v, ast *node);
void lw_enter_fn(fe_eval *e, const ast *fn);
fe_value *lw_leave_fn(fe_eval *e, const ast *fn);
/// Whether the tree holds a `return` of its own (those of simt and roles are theirs); with in_loop: only
/// one inside a loop counts.
bool lw_returns(const ast *n, bool in_loop);
void lw_exec_scope(lower *l, const ast *body); // a block; `return` in it goes to its end

// ---- lower_group.c: fetch, role, simt -----------------------------------------------------------

void lw_fetch(fe_eval *e, ast *node);
void lw_role(fe_eval *e, ast *node);
void lw_simt(fe_eval *e, ast *node);

// ---- lower_host.c -------------------------------------------------------------------------------

/// warps and cluster of the launch clause into f. False after a report.
bool lw_launch_shape(lower *l, const ast *clauses);
/// The clause's dependent and static, which names parameters.
void lw_dependent(lower *l, const ast *clauses);
/// Reports parameters that are called static and written. After the body has been lowered.
void lw_check_static(lower *l);
/// The host region. Parameters are bound in the scope.
void lw_host(lower *l, const ast *params, const ast *clauses);
