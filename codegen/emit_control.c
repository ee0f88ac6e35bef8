// SPDX-License-Identifier: Apache-2.0
// Control: loops, conditionals, scopes, roles. Everything is SSA: a place where paths meet collects
// the edges that lead to it and makes its phis when all are known.
#include <assert.h>

#include "codegen/emit.h"

typedef struct edge {
    LLVMBasicBlockRef from;
    LLVMValueRef *x;
    struct edge *next;
} edge;

/// A place to jump to with the words of some values.
typedef struct {
    LLVMBasicBlockRef bb;
    edge *first, **last;
} target;

/// Where the terminators of a region lead. Each construct copies its surroundings and overrides.
struct cg_loop {
    target *yield, *brk, *cont, *leave, *ret;
};

static target target_new(cg *g, const char *name) {
    return (target){.bb = cg_block(g, name)};
}

// ---- values as lists of words -------------------------------------------------------------------

static bool carried(const ir_value *v) {
    return v->type.space == IS_REG || v->type.space == IS_SCALAR;
}

static uint32_t words_of(const ir_value *v) {
    if (!carried(v)) return 0;
    return cg_is_tile(v) ? cg_nwords(v->type.elem, cg_slots(&v->type)) : 1;
}

static uint32_t words_in(uint32_t n, ir_value *const *v) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += words_of(v[i]);
    return sum;
}

static LLVMValueRef *flatten(cg *g, uint32_t n, ir_value *const *v) {
    LLVMValueRef *x = vm_newn(g->arena, LLVMValueRef, words_in(n, v) + 1);
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!carried(v[i])) continue;
        if (!cg_is_tile(v[i])) {
            x[k++] = cg_scalar(g, v[i]);
            continue;
        }
        const cg_tile *t = cg_tile_of(g, v[i]);
        for (uint32_t w = 0; w < t->nwords; w++) x[k++] = t->word[w];
    }
    return x;
}

static void bind(cg *g, uint32_t n, ir_value *const *v, LLVMValueRef const *x) {
    for (uint32_t i = 0; i < n; i++) {
        if (!carried(v[i])) continue;
        if (!cg_is_tile(v[i])) {
            cg_set_scalar(g, v[i], *x++);
            continue;
        }
        cg_tile *t = cg_tile_new(g, v[i]->type.elem, cg_slots(&v[i]->type));
        for (uint32_t w = 0; w < t->nwords; w++) t->word[w] = *x++;
        cg_set_tile(g, v[i], t);
    }
}

static LLVMTypeRef *types_of(cg *g, uint32_t n, ir_value *const *v) {
    LLVMTypeRef *t = vm_newn(g->arena, LLVMTypeRef, words_in(n, v) + 1);
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        LLVMTypeRef word = !carried(v[i])    ? NULL
                           : cg_is_tile(v[i]) ? cg_word_type(g, v[i]->type.elem)
                                              : cg_scalar_type(g, v[i]->type.elem);
        for (uint32_t w = 0, m = words_of(v[i]); w < m; w++) t[k++] = word;
    }
    return t;
}

// ---- jumps and meetings -------------------------------------------------------------------------

static void jump_with(cg *g, target *to, LLVMValueRef *x) {
    edge *e = vm_new(g->arena, edge);
    *e = (edge){LLVMGetInsertBlock(g->b), x, NULL};
    if (!to->last) to->last = &to->first;
    *to->last = e;
    to->last = &e->next;
    LLVMBuildBr(g->b, to->bb);
}

static void jump(cg *g, target *to, uint32_t n, ir_value *const *v) {
    jump_with(g, to, flatten(g, n, v));
}

/// Continues at the target; x[0..words) are what arrived there. Undefined if nothing does.
static void arrive(cg *g, target *to, uint32_t words, LLVMTypeRef const *type, LLVMValueRef *x) {
    cg_at(g, to->bb);
    for (uint32_t w = 0; w < words; w++) {
        if (!to->first) {
            x[w] = LLVMGetUndef(type[w]);
            continue;
        }
        // A single edge, or the same value on all of them, needs no phi: the value dominates.
        LLVMValueRef same = to->first->next ? NULL : to->first->x[w];
        if (same) {
            x[w] = same;
            continue;
        }
        LLVMValueRef phi = LLVMBuildPhi(g->b, type[w], "");
        for (edge *e = to->first; e; e = e->next) LLVMAddIncoming(phi, &e->x[w], &e->from, 1);
        x[w] = phi;
    }
}

static void arrive_as(cg *g, target *to, uint32_t n, ir_value *const *v) {
    const uint32_t words = words_in(n, v);
    LLVMValueRef *x = vm_newn(g->arena, LLVMValueRef, words + 1);
    arrive(g, to, words, types_of(g, n, v), x);
    bind(g, n, v, x);
}

static bool open_end(cg *g) { return !LLVMGetBasicBlockTerminator(LLVMGetInsertBlock(g->b)); }

static void region_in(cg *g, ir_region *r, cg_loop *frame) {
    cg_loop *up = g->loop;
    g->loop = frame;
    cg_region(g, r);
    if (open_end(g)) jump(g, frame->yield, 0, NULL);
    g->loop = up;
}

static cg_loop frame_of(const cg *g) { return g->loop ? *g->loop : (cg_loop){0}; }

void emit_yield(cg *g, ir_op *op) {
    if (g->loop && g->loop->yield) jump(g, g->loop->yield, op->nops, op->ops);
}

void emit_break(cg *g, ir_op *op) { jump(g, g->loop->brk, op->nops, op->ops); }
void emit_continue(cg *g, ir_op *op) { jump(g, g->loop->cont, op->nops, op->ops); }
void emit_leave(cg *g, ir_op *op) { jump(g, g->loop->leave, op->nops, op->ops); }

void emit_return(cg *g, ir_op *op) {
    (void)op;
    if (g->loop && g->loop->ret) jump(g, g->loop->ret, 0, NULL);
    else LLVMBuildBr(g->b, g->exit);
}

// ---- loops --------------------------------------------------------------------------------------

/// Keeps LLVM from copying the body: unrolling is a decision of the tile IR.
static void no_unroll(cg *g, LLVMValueRef branch) {
    LLVMMetadataRef name = LLVMMDStringInContext2(g->ctx, "llvm.loop.unroll.disable", 24);
    LLVMMetadataRef off = LLVMMDNodeInContext2(g->ctx, &name, 1);
    LLVMMetadataRef self = LLVMTemporaryMDNode(g->ctx, NULL, 0);
    LLVMMetadataRef both[2] = {self, off};
    LLVMMetadataRef id = LLVMMDNodeInContext2(g->ctx, both, 2);
    LLVMMetadataReplaceAllUsesWith(self, id);
    LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(g->ctx, "llvm.loop", 9),
                    LLVMMetadataAsValue(g->ctx, id));
}

typedef struct {
    LLVMBasicBlockRef bb;
    uint32_t words;
    LLVMTypeRef *type;
    LLVMValueRef *phi;
} header;

static header header_begin(cg *g, uint32_t n, ir_value *const *init, ir_value *const *args) {
    header h = {.words = words_in(n, args), .type = types_of(g, n, args)};
    LLVMValueRef *x = flatten(g, n, init);
    LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b);
    h.bb = cg_block(g, "loop");
    LLVMBuildBr(g->b, h.bb);
    cg_at(g, h.bb);
    h.phi = vm_newn(g->arena, LLVMValueRef, h.words + 1);
    for (uint32_t w = 0; w < h.words; w++) {
        h.phi[w] = LLVMBuildPhi(g->b, h.type[w], "");
        LLVMAddIncoming(h.phi[w], &x[w], &from, 1);
    }
    bind(g, n, args, h.phi);
    return h;
}

/// The back edge from the latch, or the latch's end if no path reaches it.
static bool latch_begin(cg *g, target *latch, header *h, LLVMValueRef *next) {
    if (!latch->first) {
        LLVMDeleteBasicBlock(latch->bb);
        return false;
    }
    arrive(g, latch, h->words, h->type, next);
    return true;
}

static void latch_end(cg *g, header *h, LLVMValueRef *next) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
    for (uint32_t w = 0; w < h->words; w++) LLVMAddIncoming(h->phi[w], &next[w], &here, 1);
    no_unroll(g, LLVMBuildBr(g->b, h->bb));
}

void emit_for(cg *g, ir_op *op) {
    ir_region *r = op->regions[0];
    const uint32_t n = op->nops - 3;
    const vm_dtype t = r->args[0]->type.elem;
    LLVMValueRef lo = cg_scalar(g, op->ops[0]), hi = cg_scalar(g, op->ops[1]);
    LLVMValueRef step = cg_scalar(g, op->ops[2]);
    LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b);
    header h = header_begin(g, n, op->ops + 3, r->args + 1);
    LLVMValueRef i = LLVMBuildPhi(g->b, LLVMTypeOf(lo), "i");
    LLVMAddIncoming(i, &lo, &from, 1);
    cg_set_scalar(g, r->args[0], i);
    LLVMBasicBlockRef body = cg_block(g, "body");
    target latch = target_new(g, "latch"), end = target_new(g, "end");
    LLVMValueRef more = LLVMBuildICmp(g->b, vm_is_signed(t) ? LLVMIntSLT : LLVMIntULT, i, hi, "");
    LLVMBuildCondBr(g->b, more, body, end.bb);
    edge *e = vm_new(g->arena, edge);
    *e = (edge){h.bb, h.phi, NULL};
    end.first = e;
    end.last = &e->next;

    cg_at(g, body);
    cg_loop frame = frame_of(g);
    frame.yield = frame.cont = &latch;
    frame.brk = &end;
    region_in(g, r, &frame);
    LLVMValueRef *next = vm_newn(g->arena, LLVMValueRef, h.words + 1);
    if (latch_begin(g, &latch, &h, next)) {
        // i < hi here, so that hi - i is exact as an unsigned number: the sum never passes the type's end
        LLVMValueRef more_left = LLVMBuildICmp(g->b, LLVMIntUGT, LLVMBuildSub(g->b, hi, i, ""), step, "");
        LLVMValueRef j = LLVMBuildSelect(g->b, more_left, LLVMBuildAdd(g->b, i, step, ""), hi, "");
        LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
        LLVMAddIncoming(i, &j, &here, 1);
        latch_end(g, &h, next);
    }
    arrive_as(g, &end, op->nres, op->res);
}

void emit_while(cg *g, ir_op *op) {
    ir_region *test = op->regions[0], *r = op->regions[1];
    header h = header_begin(g, op->nops, op->ops, test->args);
    target asked = target_new(g, "asked"), latch = target_new(g, "latch"), end = target_new(g, "end");
    cg_loop frame = frame_of(g);
    frame.yield = &asked;
    region_in(g, test, &frame);
    LLVMValueRef cond;
    LLVMTypeRef one = g->t_i1;
    arrive(g, &asked, 1, &one, &cond);
    LLVMBasicBlockRef body = cg_block(g, "body");
    edge *e = vm_new(g->arena, edge);
    *e = (edge){LLVMGetInsertBlock(g->b), h.phi, NULL};
    end.first = e;
    end.last = &e->next;
    LLVMBuildCondBr(g->b, cond, body, end.bb);

    cg_at(g, body);
    bind(g, r->nargs, r->args, h.phi);
    frame.yield = frame.cont = &latch;
    frame.brk = &end;
    region_in(g, r, &frame);
    LLVMValueRef *next = vm_newn(g->arena, LLVMValueRef, h.words + 1);
    if (latch_begin(g, &latch, &h, next)) latch_end(g, &h, next);
    arrive_as(g, &end, op->nres, op->res);
}

// ---- conditionals and scopes --------------------------------------------------------------------

void emit_if(cg *g, ir_op *op) {
    LLVMValueRef cond = cg_scalar(g, op->ops[0]);
    const bool other = op->nregions > 1 && op->regions[1]->first;
    LLVMBasicBlockRef then = cg_block(g, "then"), otherwise = other ? cg_block(g, "else") : NULL;
    target end = target_new(g, "endif");
    cg_loop frame = frame_of(g);
    frame.yield = &end;
    if (!other) {
        edge *e = vm_new(g->arena, edge);
        *e = (edge){LLVMGetInsertBlock(g->b), flatten(g, 0, NULL), NULL};
        end.first = e;
        end.last = &e->next;
    }
    LLVMBuildCondBr(g->b, cond, then, other ? otherwise : end.bb);
    cg_at(g, then);
    region_in(g, op->regions[0], &frame);
    if (other) {
        cg_at(g, otherwise);
        region_in(g, op->regions[1], &frame);
    }
    arrive_as(g, &end, op->nres, op->res);
}

void emit_scope(cg *g, ir_op *op) {
    target end = target_new(g, "endscope");
    cg_loop frame = frame_of(g);
    frame.yield = frame.leave = &end;
    region_in(g, op->regions[0], &frame);
    arrive_as(g, &end, op->nres, op->res);
}

// ---- simt and roles -----------------------------------------------------------------------------

/// Per-thread code: the same words under other names. `return` leaves with the tiles as they came,
/// since it carries none.
void emit_simt(cg *g, ir_op *op) {
    ir_region *r = op->regions[0];
    const uint32_t n = r->nargs - 1;
    assert(n == op->nops);
    LLVMValueRef *in = flatten(g, n, op->ops);
    cg_set_scalar(g, r->args[0], cg_tid(g));
    bind(g, n, r->args + 1, in);
    target end = target_new(g, "endsimt"), ret = target_new(g, "return");
    cg_loop frame = {.yield = &end, .ret = &ret};
    const bool outer = g->simt;
    g->simt = true;
    region_in(g, r, &frame);
    g->simt = outer;
    if (ret.first) {
        cg_at(g, ret.bb);
        jump_with(g, &end, in);
    } else {
        LLVMDeleteBasicBlock(ret.bb);
    }
    arrive_as(g, &end, op->nres, op->res);
}

enum { REGISTER_FILE = 65536, MAX_NAMED = 15 };

static void set_registers(cg *g, const ir_op *op, int regs) {
    if (!cg_need(g, op, A_SETMAXNREG, "regs", 90)) return;
    const int threads = g->func->warps * 32;
    int launch = g->func->regs > 0 ? g->func->regs : REGISTER_FILE / threads / 8 * 8;
    if (launch > 255) launch = 255;
    LLVMValueRef n = cg_i32(g, regs);
    cg_call(g, regs > launch ? "llvm.nvvm.setmaxnreg.inc.sync.aligned.u32"
                             : "llvm.nvvm.setmaxnreg.dec.sync.aligned.u32", g->t_void, 1, &n);
}

void emit_role(cg *g, ir_op *op) {
    const int64_t begin = ir_int(op, AT_begin, 0), end = ir_int(op, AT_end, begin + 1);
    if (g->next_barrier >= MAX_NAMED) {
        cg_refuse(g, op, "more than 15 roles", "a block has 16 hardware barriers, one of them its own");
        return;
    }
    // The warp's number through a shuffle, so that ptxas knows it to be uniform.
    LLVMValueRef warp = LLVMBuildLShr(g->b, cg_tid(g), cg_i32(g, 5), "");
    LLVMValueRef args[4] = {cg_i32(g, -1), warp, cg_i32(g, 0), cg_i32(g, 31)};
    warp = cg_call(g, "llvm.nvvm.shfl.sync.idx.i32", g->t_i32, 4, args);
    LLVMValueRef off = LLVMBuildSub(g->b, warp, cg_i32(g, begin), "");
    LLVMValueRef in = LLVMBuildICmp(g->b, LLVMIntULT, off, cg_i32(g, end - begin), "");
    cg_group role = {.up = g->group, .threads = (int)(end - begin) * 32, .first_warp = (int)begin,
                     .role = true, .barrier = ++g->next_barrier};
    role.prologue = cg_block(g, "role");
    LLVMBasicBlockRef body = cg_block(g, "body");
    target done = target_new(g, "endrole");
    LLVMBuildCondBr(g->b, in, role.prologue, done.bb);
    cg_at(g, role.prologue);
    role.tid = LLVMBuildSub(g->b, cg_tid(g), cg_i32(g, begin * 32), "");
    LLVMBuildBr(g->b, body);
    cg_at(g, body);
    g->group = &role;
    if (ir_get(op, AT_regs)) set_registers(g, op, (int)ir_int(op, AT_regs, 0));
    cg_loop frame = {.yield = &done, .ret = &done};
    region_in(g, op->regions[0], &frame);
    g->group = role.up;
    cg_at(g, done.bb);
    // Roles of one set run side by side and join after the last of them.
    const ir_op *next = op->next;
    if (!next || next->inst != I_role || ir_int(next, AT_set, -1) != ir_int(op, AT_set, -1)) cg_sync(g);
}

void emit_fetch(cg *g, ir_op *op) {
    cg_refuse(g, op, "a fetch block that was not pipelined", "give the loop #[pipeline(n)]");
}
