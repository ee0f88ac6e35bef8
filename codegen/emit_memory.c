// SPDX-License-Identifier: Apache-2.0
// Tile loads and stores, element accesses. Widths follow from the layout's runs and from what is known
// of alignment; ldmatrix and stmatrix are tried first (matrix.c).
#include "codegen/place.h"

/// ORs the low `n` bits held in src into the bit string dst at bit `at`.
static void deposit(cg *g, LLVMValueRef *dst, unsigned at, LLVMValueRef const *src, unsigned n) {
    for (unsigned done = 0; done < n; done += 32) {
        const unsigned pos = at + done, sh = pos % 32, left = n - done < 32 ? n - done : 32;
        LLVMValueRef v = src[done / 32], lo = sh ? LLVMBuildShl(g->b, v, cg_i32(g, sh), "") : v;
        dst[pos / 32] = dst[pos / 32] ? LLVMBuildOr(g->b, dst[pos / 32], lo, "") : lo;
        if (sh + left > 32) {
            LLVMValueRef hi = LLVMBuildLShr(g->b, v, cg_i32(g, 32 - sh), "");
            dst[pos / 32 + 1] = dst[pos / 32 + 1] ? LLVMBuildOr(g->b, dst[pos / 32 + 1], hi, "") : hi;
        }
    }
}

/// Bits [at, at + n) of src as words, upper bits zero.
static void withdraw(cg *g, LLVMValueRef const *src, unsigned at, LLVMValueRef *dst, unsigned n) {
    for (unsigned done = 0; done < n; done += 32) {
        const unsigned pos = at + done, sh = pos % 32, left = n - done < 32 ? n - done : 32;
        LLVMValueRef v = sh ? LLVMBuildLShr(g->b, src[pos / 32], cg_i32(g, sh), "") : src[pos / 32];
        if (sh + left > 32) v = LLVMBuildOr(g->b, v, LLVMBuildShl(g->b, src[pos / 32 + 1], cg_i32(g, 32 - sh), ""), "");
        if (left < 32) v = LLVMBuildAnd(g->b, v, cg_i32(g, (1ll << left) - 1), "");
        dst[done / 32] = v;
    }
}

static void view_index(cg *g, const ir_type *t, uint32_t slot, LLVMValueRef *run, int64_t *more) {
    for (int d = 0; d < t->rank; d++) {
        run[d] = cg_index_thread(g, t->reg, d);
        more[d] = cg_index_slot(t->reg, slot, d);
    }
}

/// Elements a thread may access at once: its run along the contiguous dimension, as far as aligned.
static unsigned vector_of(const cg_place *p, const ir_type *t) {
    if (p->along < 0) return 1;
    const unsigned v = cg_place_vector(p, (unsigned)layout_run(t->reg, p->along));
    return v && t->dim[p->along] % v == 0 ? v : 1;
}

static bool may_be_partial(const cg_place *p, unsigned v) {
    return v > 1 && p->guarded[p->contiguous] && (p->extent_divisor[p->contiguous] % v || p->origin_divisor[p->contiguous] % v);
}

static void warn_narrow(cg *g, const ir_op *op, const cg_place *p, const ir_type *t, unsigned v, const char *what) {
    if (!p->global || p->along < 0) return;
    unsigned want = (unsigned)layout_run(t->reg, p->along);
    while (want > 1 && want * p->bits > 128) want /= 2;
    const char *name = ir_str(p->root, AT_name);
    cg_remark(g, op, "%s of %s: %u-byte accesses", what, name ? name : "a view", v * p->bits / 8 ? v * p->bits / 8 : 1);
    if (v >= want || v * p->bits >= 128) return;
    vm_diag *d = vm_report(g->comp, D_Wperf, op->span, "%s of '%s' uses %u-byte accesses where its layout allows %u", what,
                           name ? name : "view", v * p->bits / 8 ? v * p->bits / 8 : 1, want * p->bits / 8);
    vm_help(g->comp, d, "state that the row length is a multiple of %u: 'requires … %% %u == 0;'", want, want);
}

static bool refuse_hint(cg *g, const ir_op *op, const cg_place *p, unsigned v) {
    if (!p->policy || v * p->bits >= 32) return false;
    cg_refuse(g, op, vm_format(g->arena, "evict = %s on accesses of %u bytes", ir_str(op, AT_evict), v * p->bits / 8 ? v * p->bits / 8 : 1),
              "accesses of 4 aligned bytes and more honour it");
    return true;
}

void emit_load(cg *g, ir_op *op) {
    const ir_type *t = &op->res[0]->type;
    cg_place p;
    if (cg_is_lazy(g, op) || !cg_place_of(g, op, op->ops[0], &p)) return;
    const uint32_t slots = cg_slots(t), nw = cg_ni32(t->elem, slots);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, nw + 1);
    if (cg_matrix_load(g, op, &p, t, w)) {
        cg_set_tile(g, op->res[0], cg_tile_from_i32(g, t->elem, slots, w));
        return;
    }
    unsigned v = vector_of(&p, t);
    if (v * p.bits % 8) v = 1;
    warn_narrow(g, op, &p, t, v, "load");
    if (refuse_hint(g, op, &p, v)) return;
    const bool partial = may_be_partial(&p, v), boolean = t->elem == T_bool;
    LLVMValueRef *codes = vm_newn(g->arena, LLVMValueRef, slots), zero = cg_i32(g, 0);
    if (cg_place_guards(&p)) cg_counted(g, CG_guard);
    for (uint32_t s = 0; s < slots; s += v) {
        LLVMValueRef run[LAYOUT_MAX_RANK], got[8] = {NULL}, live = cg_live(g, t, s);
        int64_t more[LAYOUT_MAX_RANK];
        view_index(g, t, s, run, more);
        const cg_root_index at = cg_place_index(g, &p, run, more);
        const unsigned bits = v * p.bits, n = (bits + 31) / 32;
        if (v == 1) {
            cg_guard k = cg_guard_begin(g, cg_and(g, live, cg_place_inside(g, &p, &at, 1)));
            got[0] = cg_element_load(g, &p, &at);
            if (p.bits == 64) {
                got[1] = LLVMBuildTrunc(g->b, LLVMBuildLShr(g->b, got[0], cg_i64(g, 32), ""), g->t_i32, "");
                got[0] = LLVMBuildTrunc(g->b, got[0], g->t_i32, "");
            }
            cg_guard_end(g, &k);
            for (unsigned i = 0; i < n; i++) got[i] = cg_guard_value(g, &k, got[i], zero);
        } else {
            LLVMValueRef in = cg_and(g, live, cg_place_inside(g, &p, &at, partial ? v : 1));
            cg_guard k = cg_guard_begin(g, in);
            cg_vector_load(g, &p, &at, v, got);
            cg_guard_end(g, &k);
            for (unsigned i = 0; i < n; i++) got[i] = cg_guard_value(g, &k, got[i], zero);
            if (partial) { // the vector that straddles the end: element by element
                cg_guard rest = cg_guard_begin(g, LLVMBuildNot(g->b, in, ""));
                LLVMValueRef part[8] = {NULL}, merged[8];
                for (unsigned j = 0; j < v; j++) {
                    cg_root_index e = at;
                    e.plus[p.contiguous] += j;
                    cg_guard one = cg_guard_begin(g, cg_and(g, live, cg_place_inside(g, &p, &e, 1)));
                    LLVMValueRef c = cg_element_load(g, &p, &e), cw[2] = {c, NULL};
                    if (p.bits == 64) {
                        cw[1] = LLVMBuildTrunc(g->b, LLVMBuildLShr(g->b, c, cg_i64(g, 32), ""), g->t_i32, "");
                        cw[0] = LLVMBuildTrunc(g->b, c, g->t_i32, "");
                    }
                    cg_guard_end(g, &one);
                    for (unsigned i = 0; i < (p.bits + 31) / 32; i++) cw[i] = cg_guard_value(g, &one, cw[i], zero);
                    deposit(g, part, j * p.bits, cw, p.bits);
                }
                cg_guard_end(g, &rest);
                for (unsigned i = 0; i < n; i++) merged[i] = cg_guard_value(g, &rest, part[i], got[i]);
                for (unsigned i = 0; i < n; i++) got[i] = merged[i];
            }
        }
        if (boolean)
            for (unsigned j = 0; j < v; j++) {
                LLVMValueRef b = LLVMBuildLShr(g->b, got[j / 4], cg_i32(g, j % 4 * 8), "");
                b = LLVMBuildAnd(g->b, b, cg_i32(g, 255), "");
                codes[s + j] = LLVMBuildICmp(g->b, LLVMIntNE, b, zero, "");
            }
        else deposit(g, w, s * p.bits, got, bits);
    }
    cg_set_tile(g, op->res[0], boolean ? cg_tile_from_slots(g, t->elem, slots, codes) : cg_tile_from_i32(g, t->elem, slots, w));
}

static void refuse_bits(cg *g, const ir_op *op, const cg_place *p) {
    vm_diag *d = vm_report(g->comp, D_E0410, op->span, "this store of %s does not begin and end on whole bytes for each thread",
                           vm_dtype_name(p->elem));
    vm_help(g->comp, d, "make offsets and extents multiples of %d elements, and say so by 'requires'", p->bits == 4 ? 2 : p->bits == 2 ? 4 : 8);
    g->failed = true;
}

void emit_store(cg *g, ir_op *op) {
    const ir_type *t = &op->ops[1]->type;
    const cg_tile *x = cg_tile_of(g, op->ops[1]);
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p)) return;
    const uint32_t slots = x->slots, nw = cg_ni32(t->elem, slots);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, nw + 2);
    if (t->elem == T_bool) { // one byte each in memory
        for (uint32_t s = 0; s < slots; s++) {
            LLVMValueRef run[LAYOUT_MAX_RANK], live = cg_live(g, t, s);
            int64_t more[LAYOUT_MAX_RANK];
            view_index(g, t, s, run, more);
            const cg_root_index at = cg_place_index(g, &p, run, more);
            cg_guard k = cg_guard_begin(g, cg_and(g, live, cg_place_inside(g, &p, &at, 1)));
            cg_element_store(g, &p, &at, LLVMBuildZExt(g->b, cg_slot(g, x, s), g->t_i32, ""));
            cg_guard_end(g, &k);
        }
        return;
    }
    cg_tile_to_i32(g, x, w);
    if (cg_matrix_store(g, op, &p, t, w)) return;
    unsigned v = vector_of(&p, t);
    v = cg_place_whole_bytes(&p, v);
    if (v * p.bits % 8) {
        refuse_bits(g, op, &p);
        return;
    }
    warn_narrow(g, op, &p, t, v, "store");
    if (refuse_hint(g, op, &p, v)) return;
    const bool partial = may_be_partial(&p, v);
    if (partial && p.bits < 8) {
        refuse_bits(g, op, &p);
        return;
    }
    if (cg_place_guards(&p)) cg_counted(g, CG_guard);
    cg_guard mine = cg_guard_begin(g, cg_first_replica(g, t->reg));
    for (uint32_t s = 0; s < slots; s += v) {
        if (!cg_first_slot(t->reg, s)) continue;
        LLVMValueRef run[LAYOUT_MAX_RANK], part[8], live = cg_live(g, t, s);
        int64_t more[LAYOUT_MAX_RANK];
        view_index(g, t, s, run, more);
        const cg_root_index at = cg_place_index(g, &p, run, more);
        LLVMValueRef in = cg_and(g, live, cg_place_inside(g, &p, &at, partial ? v : 1));
        withdraw(g, w, s * p.bits, part, v * p.bits);
        cg_guard k = cg_guard_begin(g, in);
        cg_vector_store(g, &p, &at, v, part);
        cg_guard_end(g, &k);
        if (!partial) continue;
        cg_guard rest = cg_guard_begin(g, LLVMBuildNot(g->b, in, ""));
        for (unsigned j = 0; j < v; j++) {
            cg_root_index e = at;
            e.plus[p.contiguous] += j;
            LLVMValueRef one[2];
            cg_guard each = cg_guard_begin(g, cg_and(g, live, cg_place_inside(g, &p, &e, 1)));
            withdraw(g, w, (s + j) * p.bits, one, p.bits);
            cg_vector_store(g, &p, &e, 1, one);
            cg_guard_end(g, &each);
        }
        cg_guard_end(g, &rest);
    }
    cg_guard_end(g, &mine);
}

// ---- elements -----------------------------------------------------------------------------------

static cg_root_index element_at(cg *g, const cg_place *p, const ir_op *op, uint32_t first, uint32_t n) {
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL};
    for (uint32_t i = 0; i < n && i < LAYOUT_MAX_RANK; i++)
        run[i] = p->global ? cg_int64(g, op->ops[first + i]) : cg_int32(g, op->ops[first + i]);
    return cg_place_index(g, p, run, NULL);
}

void emit_load_elem(cg *g, ir_op *op) {
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p)) return;
    for (int d = 0; d < p.rank; d++) p.guarded[d] |= p.view_dim[d] >= 0;
    const vm_dtype t = op->res[0]->type.elem;
    const cg_root_index at = element_at(g, &p, op, 1, op->nops - 1);
    cg_guard k = cg_guard_begin(g, cg_place_inside(g, &p, &at, 1));
    LLVMValueRef c = cg_element_load(g, &p, &at);
    cg_guard_end(g, &k);
    c = cg_guard_value(g, &k, c, LLVMConstNull(LLVMTypeOf(c)));
    cg_set_scalar(g, op->res[0], cg_from_code(g, t, c));
}

void emit_store_elem(cg *g, ir_op *op) {
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p)) return;
    if (p.bits % 8) {
        refuse_bits(g, op, &p);
        return;
    }
    for (int d = 0; d < p.rank; d++) p.guarded[d] |= p.view_dim[d] >= 0;
    const cg_root_index at = element_at(g, &p, op, 1, op->nops - 2);
    LLVMValueRef in = cg_place_inside(g, &p, &at, 1);
    if (!g->simt) in = cg_and(g, in, cg_elected(g)); // once a group
    LLVMValueRef x = cg_scalar(g, op->ops[op->nops - 1]);
    cg_guard k = cg_guard_begin(g, in);
    cg_element_store(g, &p, &at, cg_code(g, op->ops[op->nops - 1]->type.elem, x, p.bits == 64 ? g->t_i64 : g->t_i32));
    cg_guard_end(g, &k);
}

/// Bytes at any address: all at once where they exist, else one by one.
static void bytes_of(cg *g, ir_op *op, bool big) {
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p)) return;
    for (int d = 0; d < p.rank; d++) p.guarded[d] |= p.view_dim[d] >= 0;
    const vm_dtype t = op->res[0]->type.elem;
    const unsigned n = vm_bits(t) / 8;
    LLVMTypeRef wt = n == 8 ? g->t_i64 : g->t_i32;
    const cg_root_index at = element_at(g, &p, op, 1, 1);
    LLVMValueRef sum = NULL, all = cg_place_inside(g, &p, &at, n), got[2];
    for (int pass = 0; pass < 2; pass++) {
        cg_guard k = cg_guard_begin(g, pass == 0 ? all : LLVMBuildNot(g->b, all, ""));
        sum = NULL;
        for (unsigned i = 0; i < n; i++) {
            cg_root_index e = at;
            e.plus[p.contiguous] += i;
            cg_guard one = cg_guard_begin(g, pass == 0 ? NULL : cg_place_inside(g, &p, &e, 1));
            LLVMValueRef b = cg_element_load(g, &p, &e);
            cg_guard_end(g, &one);
            b = pass == 0 ? b : cg_guard_value(g, &one, b, cg_i32(g, 0));
            if (n == 8) b = LLVMBuildZExt(g->b, b, g->t_i64, "");
            const unsigned sh = 8 * (big ? n - 1 - i : i);
            if (sh) b = LLVMBuildShl(g->b, b, LLVMConstInt(wt, sh, false), "");
            sum = sum ? LLVMBuildOr(g->b, sum, b, "") : b;
        }
        cg_guard_end(g, &k);
        got[pass] = cg_guard_value(g, &k, sum, pass == 0 ? LLVMConstNull(wt) : got[0]);
        if (!all) break;
    }
    cg_set_scalar(g, op->res[0], cg_from_code(g, t, all ? got[1] : got[0]));
}

void emit_load_be(cg *g, ir_op *op) { bytes_of(g, op, true); }
void emit_load_le(cg *g, ir_op *op) { bytes_of(g, op, false); }

void emit_prefetch(cg *g, ir_op *op) {
    cg_place p;
    if (!cg_place_of(g, op, op->ops[0], &p) || !p.global) return;
    const ir_type *t = &op->ops[0]->type;
    int64_t rows = 1, row = 1;
    for (int d = 0; d < t->rank; d++) *(d == p.along ? &row : &rows) *= t->dim[d] < 0 ? 1 : t->dim[d];
    const int64_t line = 128 * 8 / p.bits, per = (row + line - 1) / line, n = rows * per;
    const int threads = g->group->threads;
    for (int64_t i = 0; i < n; i += threads) { // one line of 128 bytes a thread
        LLVMValueRef id = LLVMBuildAdd(g->b, cg_tid(g), cg_i32(g, i), ""), run[LAYOUT_MAX_RANK] = {NULL}, rest = id;
        if (p.along >= 0) {
            run[p.along] = LLVMBuildMul(g->b, LLVMBuildURem(g->b, rest, cg_i32(g, per), ""), cg_i32(g, line), "");
            rest = LLVMBuildUDiv(g->b, rest, cg_i32(g, per), "");
        }
        for (int d = t->rank - 1; d >= 0; d--) {
            if (d == p.along) continue;
            run[d] = LLVMBuildURem(g->b, rest, cg_i32(g, t->dim[d] < 0 ? 1 : t->dim[d]), "");
            rest = LLVMBuildUDiv(g->b, rest, cg_i32(g, t->dim[d] < 0 ? 1 : t->dim[d]), "");
        }
        const cg_root_index at = cg_place_index(g, &p, run, NULL);
        LLVMValueRef in = cg_and(g, LLVMBuildICmp(g->b, LLVMIntULT, id, cg_i32(g, n), ""), cg_place_inside(g, &p, &at, 1));
        cg_guard k = cg_guard_begin(g, in);
        LLVMValueRef a = LLVMBuildPtrToInt(g->b, cg_place_address(g, &p, &at, NULL), g->t_i64, "");
        cg_asm(g, "prefetch.global.L2 [$0];", "l", g->t_void, 1, &a, true);
        cg_guard_end(g, &k);
    }
}
