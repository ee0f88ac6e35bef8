// SPDX-License-Identifier: Apache-2.0
// Copies between views, by registers or by cp.async, and atomics. The work is spread over the group
// in vectors as wide as both sides allow.
#include <string.h>

#include "codegen/place.h"

/// Run-time extents: one element a thread and step.
static void copy_loop(cg *g, const ir_op *op, const cg_place *dst, const cg_place *src) {
    const ir_type *td = &op->ops[0]->type, *ts = &op->ops[1]->type;
    // Extents of the copied box: constant ones of either side, else from the side that has a range.
    LLVMValueRef ext[LAYOUT_MAX_RANK], total = cg_i64(g, 1);
    for (int k = 0; k < td->rank; k++) {
        if (td->dim[k] >= 0 || ts->dim[k] >= 0) {
            ext[k] = cg_i64(g, td->dim[k] >= 0 ? td->dim[k] : ts->dim[k]);
        } else {
            LLVMValueRef n[2] = {NULL, NULL};
            const cg_place *p[2] = {dst, src};
            for (int i = 0; i < 2; i++)
                for (int d = 0; d < p[i]->rank; d++) {
                    if (p[i]->view_dim[d] != k) continue;
                    LLVMValueRef e = p[i]->extent[d], o = p[i]->origin[d];
                    if (LLVMTypeOf(e) != g->t_i64) e = LLVMBuildSExt(g->b, e, g->t_i64, "");
                    if (o && LLVMTypeOf(o) != g->t_i64) o = LLVMBuildSExt(g->b, o, g->t_i64, "");
                    if (o) e = LLVMBuildSub(g->b, e, o, "");
                    n[i] = LLVMBuildSub(g->b, e, cg_i64(g, p[i]->origin_const[d]), "");
                }
            if (!n[0] || !n[1]) ext[k] = n[0] ? n[0] : n[1];
            else ext[k] = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, n[0], n[1], ""), n[0], n[1], "");
        }
        total = LLVMBuildMul(g->b, total, ext[k], "");
    }
    LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b), head = cg_block(g, "copy"), body = cg_block(g, "copy.body"), done = cg_block(g, "copy.done");
    LLVMValueRef first = LLVMBuildZExt(g->b, cg_tid(g), g->t_i64, "");
    LLVMBuildBr(g->b, head);
    cg_at(g, head);
    LLVMValueRef i = LLVMBuildPhi(g->b, g->t_i64, "i");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, i, total, ""), body, done);
    cg_at(g, body);
    LLVMValueRef run[LAYOUT_MAX_RANK], rest = i;
    for (int k = td->rank - 1; k >= 0; k--) {
        run[k] = k ? LLVMBuildURem(g->b, rest, ext[k], "") : rest;
        if (k) rest = LLVMBuildUDiv(g->b, rest, ext[k], "");
    }
    LLVMValueRef r32[LAYOUT_MAX_RANK];
    for (int k = 0; k < td->rank; k++) r32[k] = LLVMBuildTrunc(g->b, run[k], g->t_i32, "");
    const cg_root_index s = cg_place_index(g, src, src->global ? run : r32, NULL), d = cg_place_index(g, dst, dst->global ? run : r32, NULL);
    cg_guard k = cg_guard_begin(g, cg_place_inside(g, src, &s, 1));
    LLVMValueRef x = cg_element_load(g, src, &s);
    cg_guard_end(g, &k);
    x = cg_guard_value(g, &k, x, LLVMConstNull(LLVMTypeOf(x)));
    k = cg_guard_begin(g, cg_place_inside(g, dst, &d, 1));
    cg_element_store(g, dst, &d, x);
    cg_guard_end(g, &k);
    LLVMValueRef next = LLVMBuildAdd(g->b, i, cg_i64(g, g->group->threads), "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
    LLVMBuildBr(g->b, head);
    LLVMAddIncoming(i, (LLVMValueRef[]){first, next}, (LLVMBasicBlockRef[]){from, last}, 2);
    cg_at(g, done);
}

static bool refuse_sub_byte(cg *g, const ir_op *op, const cg_place *p, unsigned v) {
    if (v * p->bits % 8 == 0) return false;
    vm_diag *d = vm_report(g->comp, D_E0410, op->span, "this copy of %s does not begin and end on whole bytes", vm_dtype_name(p->elem));
    vm_help(g->comp, d, "make offsets and extents multiples of %d elements, and say so by 'requires'", p->bits == 4 ? 2 : p->bits == 2 ? 4 : 8);
    g->failed = true;
    return true;
}

/// cp.async under a policy; args: shared address, global address, bytes to read or NULL.
static void hinted(cg *g, unsigned bytes, LLVMValueRef const *args, LLVMValueRef policy) {
    LLVMValueRef a[4] = {LLVMBuildPtrToInt(g->b, args[0], g->t_i32, ""), LLVMBuildPtrToInt(g->b, args[1], g->t_i64, ""), policy, args[2]};
    cg_asm(g, vm_format(g->arena, "cp.async.%s.shared.global.L2::cache_hint [$0], [$1], %u%s, $2;", bytes == 16 ? "cg" : "ca", bytes,
                        args[2] ? ", $3" : ""),
           args[2] ? "r,l,l,r,~{memory}" : "r,l,l,~{memory}", g->t_void, args[2] ? 4 : 3, a, true);
}

static void copy(cg *g, ir_op *op, bool async) {
    cg_place dst, src;
    const ir_type *t = &op->ops[0]->type;
    if (!cg_place_of(g, op, op->ops[0], &dst) || !cg_place_of(g, op, op->ops[1], &src)) return;
    bool fixed = true;
    for (int k = 0; k < t->rank; k++) fixed &= t->dim[k] >= 0 && op->ops[1]->type.dim[k] >= 0;
    if (!fixed) {
        if (!refuse_sub_byte(g, op, &dst, 1)) copy_loop(g, op, &dst, &src);
        return;
    }
    const bool same = dst.along >= 0 && dst.along == src.along;
    unsigned v = same ? cg_place_vector(&dst, 128) : 1;
    if (same) v = cg_place_vector(&src, v);
    while (v > 1 && same && t->dim[dst.along] % v) v /= 2;
    v = cg_place_whole_bytes(&src, cg_place_whole_bytes(&dst, v));
    if (refuse_sub_byte(g, op, &dst, v)) return;
    const unsigned bytes = v * dst.bits / 8;
    const bool hw = async && !dst.global && src.global && (bytes == 4 || bytes == 8 || bytes == 16) && (g->arch->features & A_CP_ASYNC);
    const char *name = ir_str(src.global ? src.root : dst.root, AT_name);
    if (!name) name = "a view";
    if (hw) cg_remark(g, op, "copy of %s: %u-byte cp.async", name, bytes);
    else cg_remark(g, op, "copy of %s: %u-byte accesses through registers", name, bytes);
    int64_t elems = ir_elems(t), perfect = elems * dst.bits / 8 / g->group->threads;
    if ((async && !hw) || (bytes < 4 && perfect >= 4)) {
        vm_diag *d = vm_report(g->comp, D_Wperf, op->span, async && !hw ? "copy of '%s' cannot use cp.async: only %u-byte pieces are known to be aligned"
                                                                        : "copy of '%s' uses %u-byte accesses", name, bytes);
        vm_help(g->comp, d, "state that the row length is a multiple of %u: 'requires … %% %u == 0;'", 128 / dst.bits, 128 / dst.bits);
    }
    LLVMValueRef policy = hw ? src.policy : NULL;
    if ((src.policy || dst.policy) && bytes < 4) {
        cg_refuse(g, op, vm_format(g->arena, "evict = %s in pieces of %u bytes", ir_str(op, AT_evict), bytes),
                  "copies in pieces of 4 aligned bytes and more honour it");
        return;
    }
    // one vector a thread and step, row-major over vectors
    ir_type vec = *t;
    if (same) vec.dim[dst.along] /= v;
    const int threads = g->group->threads;
    int64_t n = 1;
    for (int k = 0; k < vec.rank; k++) n *= vec.dim[k];
    const bool partial = v > 1 && src.guarded[src.contiguous] && (src.extent_divisor[src.contiguous] % v || src.origin_divisor[src.contiguous] % v);
    const bool dpartial = v > 1 && dst.guarded[dst.contiguous] && (dst.extent_divisor[dst.contiguous] % v || dst.origin_divisor[dst.contiguous] % v);
    if (dst.bits < 8 && dpartial && refuse_sub_byte(g, op, &dst, 1)) return;
    for (int64_t first = 0; first < n; first += threads) {
        LLVMValueRef id = first ? LLVMBuildAdd(g->b, cg_tid(g), cg_i32(g, first), "") : cg_tid(g), rest = id;
        LLVMValueRef run[LAYOUT_MAX_RANK], mine = NULL;
        if (first + threads > n) mine = LLVMBuildICmp(g->b, LLVMIntULT, id, cg_i32(g, n), "");
        for (int k = vec.rank - 1; k >= 0; k--) {
            run[k] = k ? LLVMBuildURem(g->b, rest, cg_i32(g, vec.dim[k]), "") : rest;
            if (k) rest = LLVMBuildUDiv(g->b, rest, cg_i32(g, vec.dim[k]), "");
            if (same && k == dst.along && v > 1) run[k] = LLVMBuildMul(g->b, run[k], cg_i32(g, v), "");
        }
        const cg_root_index s = cg_place_index(g, &src, run, NULL), d = cg_place_index(g, &dst, run, NULL);
        cg_guard in = cg_guard_begin(g, mine);
        if (hw) {
            LLVMValueRef left = NULL, other = cg_place_inside_but(g, &src, &s);
            if (src.guarded[src.contiguous] || other) {
                left = cg_place_remaining(g, &src, &s, v);
                left = LLVMBuildUDiv(g->b, LLVMBuildMul(g->b, left, cg_i32(g, src.bits), ""), cg_i32(g, 8), "");
                if (other) left = LLVMBuildSelect(g->b, other, left, cg_i32(g, 0), "");
            }
            LLVMValueRef args[3] = {cg_place_address(g, &dst, &d, NULL), cg_place_address(g, &src, &s, NULL), left};
            if (left) // nothing is read: any valid address will do
                args[1] = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntNE, left, cg_i32(g, 0), ""), args[1], src.base, "");
            if (policy) hinted(g, bytes, args, policy);
            else cg_call(g, vm_format(g->arena, "llvm.nvvm.cp.async.%s.shared.global.%u%s", bytes == 16 ? "cg" : "ca", bytes, left ? ".s" : ""),
                    g->t_void, left ? 3 : 2, args);
            cg_counted(g, bytes == 16 ? CG_cp_async_16 : bytes == 8 ? CG_cp_async_8 : CG_cp_async_4);
        } else {
            LLVMValueRef w[8] = {NULL}, si = cg_place_inside(g, &src, &s, partial ? v : 1), zero = cg_i32(g, 0);
            const unsigned words = (v * src.bits + 31) / 32;
            cg_guard k = cg_guard_begin(g, si);
            cg_vector_load(g, &src, &s, v, w);
            cg_guard_end(g, &k);
            for (unsigned i = 0; i < words; i++) w[i] = cg_guard_value(g, &k, w[i], zero);
            cg_guard whole = cg_guard_begin(g, cg_and(g, partial ? si : NULL, cg_place_inside(g, &dst, &d, dpartial ? v : 1)));
            cg_vector_store(g, &dst, &d, v, w);
            cg_guard_end(g, &whole);
            if (partial || dpartial) { // element by element at the edge
                LLVMValueRef full = cg_and(g, partial ? si : NULL, dpartial ? cg_place_inside(g, &dst, &d, v) : NULL);
                cg_guard edge = cg_guard_begin(g, LLVMBuildNot(g->b, full, ""));
                for (unsigned j = 0; j < v && src.bits >= 8; j++) {
                    cg_root_index es = s, ed = d;
                    es.plus[src.contiguous] += j;
                    ed.plus[dst.contiguous] += j;
                    cg_guard a = cg_guard_begin(g, cg_place_inside(g, &src, &es, 1));
                    LLVMValueRef x = cg_element_load(g, &src, &es);
                    cg_guard_end(g, &a);
                    x = cg_guard_value(g, &a, x, LLVMConstNull(LLVMTypeOf(x)));
                    cg_guard b = cg_guard_begin(g, cg_place_inside(g, &dst, &ed, 1));
                    cg_element_store(g, &dst, &ed, x);
                    cg_guard_end(g, &b);
                }
                cg_guard_end(g, &edge);
            }
        }
        cg_guard_end(g, &in);
    }
}

void emit_copy(cg *g, ir_op *op) { copy(g, op, false); }

void emit_copy_async(cg *g, ir_op *op) {
    const char *via = ir_str(op, AT_via);
    if (via && !strcmp(via, "bulk")) {
        cg_bulk_copy(g, op);
        return;
    }
    if (via && !strcmp(via, "tensor")) {
        cg_tensor_copy(g, op);
        return;
    }
    if (ir_get(op, AT_multicast)) {
        cg_refuse(g, op, "a multicast by cp.async", "the copy engine can do that: via = bulk or via = tensor");
        return;
    }
    copy(g, op, true);
    if (op->nops < 3) return;
    // The barrier expects one arrival more until this thread's copies have landed: the phase that the group's
    // own arrival belongs to does not end before. What was copied through registers lies there already.
    LLVMValueRef at = LLVMBuildPtrToInt(g->b, cg_barrier_pointer(g, op->ops[2]), g->t_i32, "");
    cg_asm(g, "cp.async.mbarrier.arrive.shared.b64 [$0];", "r,~{memory}", g->t_void, 1, &at, true);
}

// ---- atomics ------------------------------------------------------------------------------------

static LLVMAtomicOrdering ordering(const ir_op *op) {
    const char *o = ir_str(op, AT_order);
    if (!o) return LLVMAtomicOrderingMonotonic;
    switch (o[0] == 'a' && o[1] == 'c' && o[3] == '_' ? 'b' : o[0]) {
    case 'a': return LLVMAtomicOrderingAcquire;
    case 'b': return LLVMAtomicOrderingAcquireRelease;
    default: return o[2] == 'l' && o[3] == 'e' ? LLVMAtomicOrderingRelease : LLVMAtomicOrderingMonotonic;
    }
}

static unsigned sync_scope(cg *g, const ir_op *op) {
    const char *s = ir_str(op, AT_scope);
    const char *name = !s || s[0] == 'g' ? "device" : s[0] == 'b' ? "block" : "";
    return LLVMGetSyncScopeID(g->ctx, name, (size_t)(name[0] ? (name[0] == 'd' ? 6 : 5) : 0));
}

static LLVMValueRef atomic(cg *g, const ir_op *op, vm_dtype t, LLVMValueRef address, LLVMValueRef x, LLVMValueRef expected) {
    cg_counted(g, CG_atomic);
    const unsigned scope = sync_scope(g, op);
    if (op->inst == I_atomic_cas) {
        LLVMTypeRef it = vm_bits(t) == 64 ? g->t_i64 : g->t_i32;
        LLVMAtomicOrdering fail = ordering(op) == LLVMAtomicOrderingAcquireRelease ? LLVMAtomicOrderingAcquire
                                : ordering(op) == LLVMAtomicOrderingRelease ? LLVMAtomicOrderingMonotonic : ordering(op);
        LLVMValueRef r = LLVMBuildAtomicCmpXchgSyncScope(g->b, address, cg_code(g, t, expected, it), cg_code(g, t, x, it), ordering(op), fail, scope);
        return cg_from_code(g, t, LLVMBuildExtractValue(g->b, r, 0, ""));
    }
    const bool f = vm_is_float(t), s = vm_is_signed(t);
    const LLVMAtomicRMWBinOp how = op->inst == I_atomic_exch ? LLVMAtomicRMWBinOpXchg
                                 : op->inst == I_atomic_add ? (f ? LLVMAtomicRMWBinOpFAdd : LLVMAtomicRMWBinOpAdd)
                                 : op->inst == I_atomic_min ? (f ? LLVMAtomicRMWBinOpFMin : s ? LLVMAtomicRMWBinOpMin : LLVMAtomicRMWBinOpUMin)
                                 : (f ? LLVMAtomicRMWBinOpFMax : s ? LLVMAtomicRMWBinOpMax : LLVMAtomicRMWBinOpUMax);
    return LLVMBuildAtomicRMWSyncScope(g->b, how, address, x, ordering(op), scope);
}

/// One thread of the group does it and hands the old value round in shared memory.
static void old_for_all(cg *g, ir_op *op, const cg_place *p, const cg_root_index *at, LLVMValueRef in, LLVMValueRef x) {
    const vm_dtype t = p->elem;
    const bool wide = vm_bits(t) == 64;
    LLVMTypeRef ct = wide ? g->t_i64 : g->t_i32;
    LLVMValueRef cell = cg_shared(g, NULL, ir_int(op, AT_scratch, 0));
    cg_sync(g); // what the group did before comes before
    cg_guard one = cg_guard_begin(g, cg_elected(g));
    cg_guard k = cg_guard_begin(g, in);
    LLVMValueRef expected = op->inst == I_atomic_cas ? cg_scalar(g, op->ops[op->nops - 2]) : NULL;
    LLVMValueRef old = atomic(g, op, t, cg_place_address(g, p, at, NULL), x, expected);
    cg_guard_end(g, &k);
    old = cg_guard_value(g, &k, old, cg_const(g, t, 0));
    LLVMSetAlignment(LLVMBuildStore(g->b, cg_code(g, t, old, ct), cell), wide ? 8 : 4);
    cg_guard_end(g, &one);
    cg_sync(g);
    LLVMValueRef r = LLVMBuildLoad2(g->b, ct, cell, "");
    LLVMSetAlignment(r, wide ? 8 : 4);
    cg_set_scalar(g, op->res[0], cg_from_code(g, t, r));
}

/// Elements that one reduction adds: neighbours that the thread owns, aligned, all inside or all outside.
/// 16-bit floats go in pairs, f32 and pairs by 2 and 4 where the chip has that.
static unsigned added_at_once(cg *g, const ir_op *op, const cg_place *p, const ir_type *t) {
    const bool half = p->elem == T_f16 || p->elem == T_bf16;
    if (op->inst != I_atomic_add || !p->global || p->along < 0 || ir_get(op, AT_order) || ir_get(op, AT_scope) || (!half && p->elem != T_f32)) return 1;
    if (g->arch->sm < 90 && p->elem != T_f16) return 1;
    unsigned v = cg_place_vector(p, (unsigned)layout_run(t->reg, p->along));
    const unsigned most = g->arch->sm < 90 ? 2 : half ? 8 : 4;
    while (v > most || t->dim[p->along] % v || (p->guarded[p->contiguous] && (p->extent_divisor[p->contiguous] % v || p->origin_divisor[p->contiguous] % v))) v /= 2;
    return v;
}

static void add_vector(cg *g, const cg_place *p, LLVMValueRef address, const cg_tile *x, uint32_t slot, unsigned v) {
    const bool half = p->bits == 16;
    const unsigned words = half ? v / 2 : v;
    const char *type = p->elem == T_f16 ? "f16x2" : p->elem == T_bf16 ? "bf16x2" : "f32", *vec = words == 4 ? ".v4" : words == 2 ? ".v2" : "";
    LLVMValueRef a[5] = {LLVMBuildPtrToInt(g->b, address, g->t_i64, "")};
    vm_text list = {.arena = g->arena}, marks = {.arena = g->arena};
    for (unsigned i = 0; i < words; i++) {
        a[1 + i] = half ? cg_bitcast(g, x->word[slot / 2 + i], g->t_i32) : cg_slot(g, x, slot + i);
        vm_put(&list, "%s$%u", i ? ", " : "", i + 1);
        vm_put(&marks, ",%s", half ? "r" : "f");
    }
    cg_asm(g, vm_format(g->arena, "red.global.add%s%s.%s [$0], %s%s%s;", half ? ".noftz" : "", vec, type, words > 1 ? "{" : "", vm_text_end(&list), words > 1 ? "}" : ""),
           vm_format(g->arena, "l%s,~{memory}", vm_text_end(&marks)), g->t_void, words + 1, a, true);
    cg_counted(g, CG_atomic);
}

static void emit_atomic(cg *g, ir_op *op) {
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p)) return;
    const vm_dtype t = p.elem;
    if (p.bits < 16 || (op->inst == I_atomic_cas && p.bits < 32) || (!vm_is_float(t) && p.bits < 32)) {
        cg_refuse(g, op, vm_format(g->arena, "%s on %s", vm_insts[op->inst].name, vm_dtype_name(t)), "use 32- or 64-bit integers, f16, bf16 or f32");
        return;
    }
    for (int d = 0; d < p.rank; d++) p.guarded[d] |= p.view_dim[d] >= 0;
    if (op->nops == 2 && cg_is_tile(op->ops[1])) {
        const ir_type *tt = &op->ops[1]->type;
        const cg_tile *x = cg_tile_of(g, op->ops[1]);
        const unsigned v = added_at_once(g, op, &p, tt);
        cg_guard mine = cg_guard_begin(g, cg_first_replica(g, tt->reg));
        for (uint32_t s = 0; s < x->slots; s += v) {
            if (!cg_first_slot(tt->reg, s)) continue;
            LLVMValueRef run[LAYOUT_MAX_RANK], live = cg_live(g, tt, s);
            int64_t more[LAYOUT_MAX_RANK];
            for (int d = 0; d < tt->rank; d++) {
                run[d] = cg_index_thread(g, tt->reg, d);
                more[d] = cg_index_slot(tt->reg, s, d);
            }
            const cg_root_index at = cg_place_index(g, &p, run, more);
            cg_guard k = cg_guard_begin(g, cg_and(g, live, cg_place_inside(g, &p, &at, 1)));
            if (v > 1) add_vector(g, &p, cg_place_address(g, &p, &at, NULL), x, s, v);
            else atomic(g, op, t, cg_place_address(g, &p, &at, NULL), cg_slot(g, x, s), NULL);
            cg_guard_end(g, &k);
        }
        cg_guard_end(g, &mine);
        return;
    }
    const uint32_t extra = op->inst == I_atomic_cas ? 2 : 1, n = op->nops - 1 - extra;
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL};
    for (uint32_t i = 0; i < n; i++) run[i] = p.global ? cg_int64(g, op->ops[1 + i]) : cg_int32(g, op->ops[1 + i]);
    const cg_root_index at = cg_place_index(g, &p, run, NULL);
    LLVMValueRef in = cg_place_inside(g, &p, &at, 1), x = cg_scalar(g, op->ops[op->nops - 1]);
    if (!g->simt && op->nres && ir_int(op, AT_scratch, -1) >= 0) {
        old_for_all(g, op, &p, &at, in, x);
        return;
    }
    if (!g->simt) in = cg_and(g, in, cg_elected(g));
    cg_guard k = cg_guard_begin(g, in);
    LLVMValueRef old = atomic(g, op, t, cg_place_address(g, &p, &at, NULL), x, extra == 2 ? cg_scalar(g, op->ops[op->nops - 2]) : NULL);
    cg_guard_end(g, &k);
    if (op->nres) cg_set_scalar(g, op->res[0], cg_guard_value(g, &k, old, cg_const(g, t, 0)));
}

void emit_atomic_add(cg *g, ir_op *op) { emit_atomic(g, op); }
void emit_atomic_min(cg *g, ir_op *op) { emit_atomic(g, op); }
void emit_atomic_max(cg *g, ir_op *op) { emit_atomic(g, op); }
void emit_atomic_exch(cg *g, ir_op *op) { emit_atomic(g, op); }
void emit_atomic_cas(cg *g, ir_op *op) { emit_atomic(g, op); }
