// SPDX-License-Identifier: Apache-2.0
// Warpgroup products. A tile's product is a grid of instructions m64nNkK: along k the accumulator's
// registers go through tied operands from one to the next, and on through phis, so that nothing
// moves. Shared operands are descriptors whose constant parts come from the layout; only the start
// address moves. Fences, groups and counts of waits are decided by the pass async.
#include <string.h>

#include "codegen/place.h"
#include "ir/infer.h"

/// Number of this thread's warpgroup in its group, known to be the same in a warp; NULL: there is
/// one.
static LLVMValueRef warpgroup(cg *g) {
    cg_group *r = g->group;
    if (r->threads <= 128) return NULL;
    if (r->warpgroup) return r->warpgroup;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
    LLVMPositionBuilderBefore(g->b, LLVMGetBasicBlockTerminator(r->prologue));
    LLVMValueRef args[4] = {cg_i32(g, -1), LLVMBuildLShr(g->b, r->tid, cg_i32(g, 7), ""),
                            cg_i32(g, 0), cg_i32(g, 31)};
    r->warpgroup = cg_call(g, "llvm.nvvm.shfl.sync.idx.i32", g->t_i32, 4, args);
    cg_at(g, here);
    return r->warpgroup;
}

/// A shared operand: what is constant, and where it starts.
typedef struct {
    descriptor_box box;
    descriptor d;
    cg_place place;
    uint64_t bits;
} operand;

static bool operand_of(cg *g, const ir_op *op, int k, operand *o) {
    const char *why = "";
    if (!infer_descriptor(g->arena, op, k, NULL, true, &o->box, &o->d, &why)) {
        g->failed = true;
        vm_diag *d = vm_report(
            g->comp, D_E0610, op->span,
            "operand %c of 'wgmma' cannot be read from shared memory as it lies there", "ab"[k]);
        vm_note(g->comp, d, "%s", why);
        if (op->ops[k]->def)
            vm_label(g->comp, d, op->ops[k]->def->span, "%s",
                     ir_type_text(g->arena, &op->ops[k]->type));
        return false;
    }
    if (!cg_place_of(g, op, op->ops[k], &o->place)) return false;
    shared_layout *plain = vm_dup(g->arena, o->box.tile, sizeof *plain);
    plain->sw_bits = 0; // the hardware applies the swizzle to the address that it has found
    o->place.layout = plain;
    o->bits = descriptor_bits(&o->d);
    return true;
}

/// Low half of the descriptor of the operand's rows from `first` on (plus 64 for each warpgroup of
/// the group).
static LLVMValueRef start_of(cg *g, const operand *o, int64_t first, bool per_warpgroup) {
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL}, wg = per_warpgroup ? warpgroup(g) : NULL;
    int64_t more[LAYOUT_MAX_RANK] = {first};
    if (wg) run[0] = LLVMBuildMul(g->b, wg, cg_i32(g, 64), "");
    const cg_root_index at = cg_place_index(g, &o->place, run, more);
    LLVMValueRef x =
        LLVMBuildPtrToInt(g->b, cg_place_address(g, &o->place, &at, NULL), g->t_i32, "");
    x = LLVMBuildLShr(g->b, x, cg_i32(g, 4), "");
    return LLVMBuildOr(g->b, x, cg_i32(g, (int64_t)(o->bits & 0xffffffff)), "");
}

static LLVMValueRef descriptor_at(cg *g, const operand *o, LLVMValueRef start, int64_t bytes) {
    if (bytes) start = LLVMBuildAdd(g->b, start, cg_i32(g, bytes / 16), "");
    LLVMValueRef x = LLVMBuildZExt(g->b, start, g->t_i64, "");
    return LLVMBuildOr(g->b, x, cg_i64(g, (int64_t)(o->bits & ~0xffffffffull)), "");
}

static void put_list(vm_text *t, uint32_t from, uint32_t n) {
    vm_put(t, "{");
    for (uint32_t i = 0; i < n; i++) vm_put(t, "%s$%u", i ? ", " : "", from + i);
    vm_put(t, "}");
}

static void put_constraints(vm_text *t, const char *kind, uint32_t n, bool tied) {
    for (uint32_t i = 0; i < n; i++) vm_put(t, "=%s,", kind);
    for (uint32_t i = 0; tied && i < n; i++) vm_put(t, "%u,", i);
}

/// Assembly whose results are n words of one type, tied to x where `tied`, before the other
/// arguments.
static void tied_asm(cg *g, const char *text, vm_text *constraints, uint32_t n, bool tied,
                     LLVMValueRef *x, LLVMTypeRef word, uint32_t nmore, LLVMValueRef const *more) {
    LLVMTypeRef *each = vm_newn(g->arena, LLVMTypeRef, n);
    LLVMValueRef *args = vm_newn(g->arena, LLVMValueRef, n + nmore + 1);
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) each[i] = word;
    for (uint32_t i = 0; tied && i < n; i++) args[k++] = x[i];
    for (uint32_t i = 0; i < nmore; i++) args[k++] = more[i];
    vm_put(constraints, "~{memory}");
    LLVMTypeRef ret = n == 1 ? word : LLVMStructTypeInContext(g->ctx, each, n, false);
    LLVMValueRef r = cg_asm(g, text, vm_text_end(constraints), ret, k, args, true);
    for (uint32_t i = 0; i < n; i++) x[i] = n == 1 ? r : LLVMBuildExtractValue(g->b, r, i, "");
}

static const char *letter(vm_dtype acc) {
    return acc == T_f32 ? "f" : "r";
}

typedef struct {
    const char *a, *b, *c; // names of the types
    int depth;             // k of an instruction
    vm_dtype acc;
    bool half, integer; // 16-bit floats; integers
    bool regs;          // a comes from registers
    bool ta, tb;        // contiguous along m, n
} form;

/// One instruction on `words`; a: four registers or one descriptor.
static void instruction(cg *g, const form *f, int n, bool zero, LLVMValueRef *words,
                        uint32_t nwords, LLVMValueRef const *a, LLVMValueRef b) {
    vm_text t = {.arena = g->arena}, c = {.arena = g->arena};
    uint32_t at = zero ? nwords : 2 * nwords;
    vm_put(&t, "wgmma.mma_async.sync.aligned.m64n%dk%d.%s.%s.%s ", n, f->depth, f->c, f->a, f->b);
    put_list(&t, 0, nwords);
    vm_put(&t, ", ");
    if (f->regs)
        put_list(&t, at, 4);
    else
        vm_put(&t, "$%u", at);
    at += f->regs ? 4 : 1;
    vm_put(&t, ", $%u, %d", at, !zero);
    if (!f->integer) vm_put(&t, ", 1, 1");
    if (f->half && !f->regs) vm_put(&t, ", %d", f->ta);
    if (f->half) vm_put(&t, ", %d", f->tb);
    vm_put(&t, ";");
    put_constraints(&c, letter(f->acc), nwords, !zero);
    vm_put(&c, f->regs ? "r,r,r,r,l," : "l,l,");
    LLVMValueRef more[5];
    const uint32_t na = f->regs ? 4 : 1;
    for (uint32_t i = 0; i < na; i++) more[i] = a[i];
    more[na] = b;
    tied_asm(g, vm_text_end(&t), &c, nwords, !zero, words, cg_word_type(g, f->acc), na + 1, more);
    cg_counted(g, CG_wgmma);
}

static void same_index(const void *ctx, const int32_t *to, int32_t *from) {
    (void)ctx;
    from[0] = to[0];
    from[1] = to[1];
}

/// The registers of operand a in the order of the instructions, or NULL after a report.
static LLVMValueRef *registers_of(cg *g, ir_op *op, const layout *natural) {
    const ir_value *v = op->ops[0];
    const cg_tile *x = cg_tile_of(g, v);
    ir_type t = v->type;
    t.reg = natural;
    if (!layout_equal(v->type.reg, natural)) {
        int32_t *map = vm_newn(g->arena, int32_t, (size_t)natural->slots);
        if (!cg_slot_map(g, &t, &v->type, same_index, NULL, map)) {
            cg_refuse(g, op,
                      "wgmma with an operand a whose slots stand in another order in each thread",
                      "relayout it, or leave its layout to the compiler");
            return NULL;
        }
        x = cg_renumbered(g, x, natural, map);
    }
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, cg_ni32(x->elem, x->slots));
    cg_tile_to_i32(g, x, w);
    return w;
}

/// The fence that makes registers written so far fit for products. It names them, so that nothing
/// that writes them comes after it. Those that the products write, and constants, which would be
/// made where they are used, go through it; operands are only looked at, for others may need them
/// too.
static void fence(cg *g, cg_tile *acc, LLVMValueRef *a, uint32_t na) {
    vm_text c = {.arena = g->arena};
    const uint32_t n = (acc ? acc->nwords : 0) + na;
    LLVMTypeRef *type = vm_newn(g->arena, LLVMTypeRef, n + 1);
    LLVMValueRef *x = vm_newn(g->arena, LLVMValueRef, n + 1),
                 **from = vm_newn(g->arena, LLVMValueRef *, n + 1);
    uint32_t tied = 0, all = 0;
    for (uint32_t i = 0; acc && i < acc->nwords; i++) from[tied++] = &acc->word[i];
    for (uint32_t i = 0; i < na; i++)
        if (LLVMIsConstant(a[i])) from[tied++] = &a[i];
    for (uint32_t i = 0; i < tied; i++) {
        x[all++] = *from[i];
        type[i] = LLVMTypeOf(*from[i]);
        vm_put(&c, "=%s,", type[i] == g->t_f32 ? "f" : "r");
    }
    for (uint32_t i = 0; i < tied; i++) vm_put(&c, "%u,", i);
    for (uint32_t i = 0; i < na; i++)
        if (!LLVMIsConstant(a[i])) {
            x[all++] = a[i];
            vm_put(&c, "r,");
        }
    vm_put(&c, "~{memory}");
    LLVMTypeRef ret = tied == 0   ? g->t_void
                      : tied == 1 ? type[0]
                                  : LLVMStructTypeInContext(g->ctx, type, tied, false);
    LLVMValueRef r = cg_asm(g, "wgmma.fence.sync.aligned;", vm_text_end(&c), ret, all, x, true);
    for (uint32_t i = 0; i < tied; i++)
        *from[i] = tied == 1 ? r : LLVMBuildExtractValue(g->b, r, i, "");
}

void emit_wgmma(cg *g, ir_op *op) {
    cg_undef_results(g, op);
    if (!cg_need(g, op, A_WGMMA, "wgmma", 90)) return;
    infer_dot_choice ch;
    const char *why = NULL;
    const ir_type *a = &op->ops[0]->type, *c = &op->res[0]->type;
    if (!infer_wgmma(g->arena, op, g->group->threads, NULL, &ch, &why)) {
        cg_refuse(g, op, vm_format(g->arena, "this wgmma (%s)", why),
                  "dot(load(a), load(b), acc) takes any extents on mma.sync");
        return;
    }
    if (!layout_equal(c->reg, ch.c)) {
        cg_refuse(g, op, "a wgmma whose accumulator has another layout",
                  "leave its layout to the compiler; relayout(wait(acc), L) moves the result");
        return;
    }
    form f = {.a = infer_wgmma_type(a->elem),
              .b = infer_wgmma_type(op->ops[1]->type.elem),
              .c = infer_wgmma_type(c->elem),
              .depth = 256 / (int)vm_bits(a->elem),
              .acc = c->elem,
              .half = vm_bits(a->elem) == 16,
              .integer = vm_is_int(a->elem),
              .regs = cg_is_tile(op->ops[0])};
    operand oa = {0}, ob;
    if (!operand_of(g, op, 1, &ob) || (!f.regs && !operand_of(g, op, 0, &oa))) return;
    f.ta = oa.d.across;
    f.tb = ob.d.across;
    LLVMValueRef *ra = f.regs ? registers_of(g, op, ch.a) : NULL;
    if (f.regs && !ra) return;

    const int64_t m = c->dim[0], n = c->dim[1], k = a->dim[1], stride = g->group->threads / 2,
                  reps = m / stride;
    const uint32_t per8 = c->elem == T_f16 ? 2 : 4; // words of eight columns
    cg_tile *r = cg_tile_new(g, c->elem, cg_slots(c));
    memcpy(r->word, cg_tile_of(g, op->ops[2])->word, r->nwords * sizeof *r->word);
    LLVMValueRef sb = start_of(g, &ob, 0, false),
                 *sa = vm_newn(g->arena, LLVMValueRef, (size_t)reps);
    for (int64_t i = 0; i < reps && !f.regs; i++) sa[i] = start_of(g, &oa, i * stride, true);
    if (ir_int(op, AT_proxy, 0))
        cg_call(g, "llvm.nvvm.fence.proxy.async.shared_cta", g->t_void, 0, NULL);
    const bool zero = infer_wgmma_fresh(op),
               carried = op->ops[2]->type.inflight &&
                         !(op->ops[2]->def && op->ops[2]->def->inst == I_full);
    if (ir_int(op, AT_fence, 0))
        fence(g, zero || carried ? NULL : r, ra, ra ? cg_ni32(a->elem, (uint32_t)ch.a->slots) : 0);
    for (int64_t k0 = 0; k0 < k; k0 += f.depth)
        for (int64_t i = 0; i < reps; i++)
            for (int64_t n0 = 0; n0 < n;) {
                const int cols = infer_wgmma_columns(a->elem, n - n0);
                LLVMValueRef da =
                    f.regs ? NULL
                           : descriptor_at(g, &oa, sa[i], layout_descriptor_offset(&oa.box, 0, k0));
                LLVMValueRef db =
                    descriptor_at(g, &ob, sb, layout_descriptor_offset(&ob.box, n0, k0));
                instruction(g, &f, cols, zero && !k0, r->word + (i * n + n0) / 8 * per8,
                            (uint32_t)cols / 8 * per8,
                            f.regs ? ra + (i * (k / f.depth) + k0 / f.depth) * 4 : &da, db);
                n0 += cols;
            }
    if (ir_int(op, AT_commit, 0))
        cg_asm(g, "wgmma.commit_group.sync.aligned;", "~{memory}", g->t_void, 0, NULL, true);
    cg_set_tile(g, op->res[0], r);
    cg_remark(g, op, "wgmma m64n%dk%d, %s and %s%s", infer_wgmma_columns(a->elem, n), f.depth,
              f.regs ? "a from registers"
                     : vm_format(g->arena, "a by %d-byte swizzle%s", oa.d.swizzle,
                                 f.ta ? " across k" : ""),
              vm_format(g->arena, "b by %d-byte swizzle", ob.d.swizzle), f.tb ? " across k" : "");
}

/// Waits until at most n groups are open; the words that have landed are new values, so that
/// nothing that uses them can move before.
static void wait_for(cg *g, int64_t n, cg_tile *x) {
    const char *text = vm_format(g->arena, "wgmma.wait_group.sync.aligned %lld;", (long long)n);
    vm_text c = {.arena = g->arena};
    if (!x) {
        cg_asm(g, text, "~{memory}", g->t_void, 0, NULL, true);
        return;
    }
    put_constraints(&c, letter(x->elem), x->nwords, true);
    tied_asm(g, text, &c, x->nwords, true, x->word, cg_word_type(g, x->elem), 0, NULL);
}

void cg_wgmma_wait(cg *g, const ir_op *op) {
    wait_for(g, ir_int(op, AT_count, 0), NULL);
}

void emit_wait_value(cg *g, ir_op *op) {
    if (!cg_is_tile(op->res[0])) return cg_undef_results(g, op);
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    cg_tile *r = cg_tile_new(g, x->elem, x->slots);
    memcpy(r->word, x->word, x->nwords * sizeof *x->word);
    const int64_t n = ir_int(op, AT_count, 0);
    if (n >= 0 && (g->arch->features & A_WGMMA)) wait_for(g, n, r);
    cg_set_tile(g, op->res[0], r);
}

static void look(ir_op *op, void *user) {
    *(bool *)user |= op->inst == I_wgmma;
}

bool cg_has_wgmma(cg *g) {
    bool found = false;
    ir_walk(g->func->body, look, &found);
    return found;
}
