// SPDX-License-Identifier: Apache-2.0
// print through vprintf, assert through __assertfail, and inline PTX. A tile is printed in index
// order: a loop over its elements in which the owner prints, with a barrier of the group after each.
#include <stdio.h>
#include <string.h>

#include "codegen/tile.h"

LLVMValueRef cg_string(cg *g, const char *s) {
    LLVMValueRef text = LLVMConstStringInContext2(g->ctx, s, strlen(s), false);
    for (LLVMValueRef v = LLVMGetFirstGlobal(g->m); v; v = LLVMGetNextGlobal(v))
        if (LLVMGetInitializer(v) == text) return LLVMConstAddrSpaceCast(v, g->t_p0);
    const char *name = vm_format(g->arena, "text_%u", g->strings++);
    LLVMValueRef v = LLVMAddGlobalInAddressSpace(g->m, LLVMTypeOf(text), name, 1);
    LLVMSetInitializer(v, text);
    LLVMSetGlobalConstant(v, true);
    LLVMSetLinkage(v, LLVMInternalLinkage);
    return LLVMConstAddrSpaceCast(v, g->t_p0);
}

// ---- print --------------------------------------------------------------------------------------

/// Arguments of one vprintf call: every one widened to 8 bytes.
typedef struct {
    vm_text format;
    VM_VEC(LLVMValueRef) args;
} line;

static void literal(line *l, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) vm_put(&l->format, s[i] == '%' ? "%%%%" : "%c", s[i]);
}

static void value(cg *g, line *l, vm_dtype t, LLVMValueRef x) {
    if (t == T_bool) {
        vm_put(&l->format, "%%s");
        x = LLVMBuildSelect(g->b, x, cg_string(g, "true"), cg_string(g, "false"), "");
    } else if (vm_is_float(t)) {
        vm_put(&l->format, "%%.9g");
        x = cg_cast(g, t, T_f64, x, (vm_rounding){.round = R_NEAREST});
    } else {
        vm_put(&l->format, vm_is_signed(t) ? "%%lld" : "%%llu");
        x = cg_widen(g, t, x, g->t_i64);
    }
    vm_push(g->arena, &l->args, x);
}

static LLVMValueRef buffer(cg *g, uint32_t n) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b), entry = LLVMGetEntryBasicBlock(g->fn);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    LLVMPositionBuilderBefore(g->b, first);
    LLVMValueRef a = LLVMBuildAlloca(g->b, LLVMArrayType2(g->t_i64, n ? n : 1), "");
    LLVMSetAlignment(a, 8);
    LLVMPositionBuilderAtEnd(g->b, here);
    return a;
}

static void call_print(cg *g, line *l) {
    LLVMValueRef buf = buffer(g, l->args.n);
    for (uint32_t i = 0; i < l->args.n; i++) {
        LLVMValueRef at = cg_i32(g, 8ll * i);
        LLVMValueRef s = LLVMBuildStore(g->b, l->args.at[i], LLVMBuildGEP2(g->b, g->t_i8, buf, &at, 1, ""));
        LLVMSetAlignment(s, 8);
    }
    LLVMValueRef args[2] = {cg_string(g, vm_text_end(&l->format)), buf};
    cg_call(g, "vprintf", g->t_i32, 2, args);
}

/// What stands before or after element e: by how many dimensions begin or end there.
static LLVMValueRef bracket(cg *g, const ir_type *t, LLVMValueRef e, bool open) {
    LLVMValueRef text = cg_string(g, open ? "" : ", ");
    int64_t size = 1;
    for (int n = 1; n <= t->rank; n++) {
        size *= t->dim[t->rank - n];
        char s[2 * LAYOUT_MAX_RANK + 8] = "";
        for (int i = 0; i < n; i++) s[i] = open ? '[' : ']';
        if (!open && n < t->rank) memcpy(s + n, ",\n ", 4);
        LLVMValueRef r = LLVMBuildURem(g->b, e, cg_i32(g, size), "");
        LLVMValueRef here = LLVMBuildICmp(g->b, LLVMIntEQ, r, cg_i32(g, open ? 0 : size - 1), "");
        text = LLVMBuildSelect(g->b, here, cg_string(g, s), text, "");
    }
    return text;
}

static void print_tile(cg *g, const ir_value *v) {
    const ir_type *t = &v->type;
    const cg_tile *x = cg_tile_of(g, v);
    LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b), loop = cg_block(g, "print"), end = cg_block(g, "printed");
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++) n *= t->dim[d];
    LLVMValueRef *linear = vm_newn(g->arena, LLVMValueRef, x->slots + 1);
    LLVMValueRef *slot = vm_newn(g->arena, LLVMValueRef, x->slots + 1);
    LLVMValueRef *live = vm_newn(g->arena, LLVMValueRef, x->slots + 1);
    for (uint32_t s = 0; s < x->slots; s++) {
        linear[s] = cg_linear(g, t, s);
        live[s] = cg_and(g, cg_live(g, t, s), cg_first_replica(g, t->reg));
        slot[s] = cg_slot(g, x, s);
    }
    LLVMBuildBr(g->b, loop);
    cg_at(g, loop);
    LLVMValueRef e = LLVMBuildPhi(g->b, g->t_i32, "e"), zero = cg_i32(g, 0);
    LLVMAddIncoming(e, &zero, &from, 1);
    LLVMValueRef mine = cg_i1(g, false), what = slot[0];
    for (uint32_t s = 0; s < x->slots; s++) {
        LLVMValueRef here = cg_and(g, LLVMBuildICmp(g->b, LLVMIntEQ, linear[s], e, ""), live[s]);
        what = LLVMBuildSelect(g->b, here, slot[s], what, "");
        mine = LLVMBuildOr(g->b, mine, here, "");
    }
    cg_guard k = cg_guard_begin(g, mine);
    line l = {.format = {.arena = g->arena}};
    vm_put(&l.format, "%%s");
    vm_push(g->arena, &l.args, bracket(g, t, e, true));
    value(g, &l, t->elem, what);
    vm_put(&l.format, "%%s");
    vm_push(g->arena, &l.args, bracket(g, t, e, false));
    call_print(g, &l);
    cg_guard_end(g, &k);
    cg_sync(g);
    LLVMValueRef next = LLVMBuildAdd(g->b, e, cg_i32(g, 1), "");
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
    LLVMAddIncoming(e, &next, &here, 1);
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntULT, next, cg_i32(g, n), ""), loop, end);
    cg_at(g, end);
}

static void flush(cg *g, line *l) {
    if (!l->format.n) return;
    cg_guard k = cg_guard_begin(g, g->simt ? NULL : cg_elected(g));
    call_print(g, l);
    cg_guard_end(g, &k);
    *l = (line){.format = {.arena = g->arena}};
}

void emit_print(cg *g, ir_op *op) {
    const char *f = ir_str(op, AT_format);
    line l = {.format = {.arena = g->arena}};
    uint32_t k = 0;
    for (f = f ? f : ""; *f;) {
        const char *hole = strstr(f, "{}");
        if (!hole || k >= op->nops) {
            literal(&l, f, strlen(f));
            break;
        }
        literal(&l, f, (size_t)(hole - f));
        const ir_value *v = op->ops[k++];
        f = hole + 2;
        if (!cg_is_tile(v)) {
            value(g, &l, v->type.elem, cg_scalar(g, v));
            continue;
        }
        flush(g, &l);
        cg_sync(g);
        print_tile(g, v);
    }
    literal(&l, "\n", 1);
    flush(g, &l);
}

// ---- assert -------------------------------------------------------------------------------------

void emit_assert(cg *g, ir_op *op) {
    LLVMValueRef bad = LLVMBuildNot(g->b, cg_scalar(g, op->ops[0]), "");
    const char *message = ir_str(op, AT_message), *file = "?";
    uint32_t row = 0, col;
    const vm_source *s = op->span.file ? vm_source_at(g->comp, op->span.file) : NULL;
    if (s) {
        vm_source_place(s, op->span.lo, &row, &col);
        file = s->name;
    }
    cg_guard k = cg_guard_begin(g, bad);
    if (cg_has_wgmma(g)) { // a call would serialise them: line, block and thread are left in a variable
        static const char name[] = "tilus_assertion";
        LLVMTypeRef cells = LLVMArrayType2(g->t_i32, 3);
        LLVMValueRef at = LLVMGetNamedGlobal(g->m, name), x[3] = {cg_i32(g, row), NULL, cg_tid(g)};
        if (!at) {
            at = LLVMAddGlobalInAddressSpace(g->m, cells, name, 1);
            LLVMSetInitializer(at, LLVMConstNull(cells));
            LLVMSetAlignment(at, 4);
        }
        x[1] = cg_call(g, "llvm.nvvm.read.ptx.sreg.ctaid.x", g->t_i32, 0, NULL);
        for (unsigned i = 0; i < 3; i++) {
            LLVMValueRef c = cg_i32(g, 4 * i);
            LLVMValueRef s = LLVMBuildStore(g->b, x[i], LLVMBuildGEP2(g->b, g->t_i8, at, &c, 1, ""));
            LLVMSetVolatile(s, true);
        }
        cg_call(g, "llvm.trap", g->t_void, 0, NULL);
        cg_guard_end(g, &k);
        return;
    }
    LLVMValueRef args[5] = {cg_string(g, message ? message : "assertion failed"), cg_string(g, file),
                            cg_i32(g, row), cg_string(g, g->func->name), cg_i64(g, 1)};
    cg_call(g, "__assertfail", g->t_void, 5, args);
    cg_call(g, "llvm.trap", g->t_void, 0, NULL);
    cg_guard_end(g, &k);
}

// ---- inline PTX ---------------------------------------------------------------------------------

static const char *letter(vm_dtype t) {
    switch (t) {
    case T_bool: return "b";
    case T_f32: case T_tf32: return "f";
    case T_f64: return "d";
    default: return vm_bits(t) == 64 ? "l" : vm_bits(t) == 32 ? "r" : "h";
    }
}

/// `$0` is the result, if there is one, the operands follow.
void emit_ptx(cg *g, ir_op *op) {
    const char *text = ir_str(op, AT_message), *outs = ir_str(op, AT_outs);
    const ir_value *r = op->nres ? op->res[0] : NULL;
    if (op->nres > 1 || (r && cg_is_tile(r))) {
        cg_refuse(g, op, "ptx with more than one result", "give one scalar result");
        return;
    }
    vm_text c = {.arena = g->arena};
    if (r) vm_put(&c, "%s%s,", outs && *outs == '=' ? "" : "=", outs && *outs ? outs : letter(r->type.elem));
    LLVMValueRef *x = vm_newn(g->arena, LLVMValueRef, op->nops + 1);
    for (uint32_t i = 0; i < op->nops; i++) {
        const ir_value *v = op->ops[i];
        if (v->type.space == IS_PTR) {
            x[i] = cg_scalar(g, v);
            vm_put(&c, "l,");
            continue;
        }
        if (v->type.space != IS_SCALAR) {
            cg_refuse(g, op, "ptx with a tile or a view", "give scalars");
            return;
        }
        x[i] = cg_scalar(g, v);
        if (v->type.elem != T_bool && vm_bits(v->type.elem) <= 8) x[i] = LLVMBuildZExt(g->b, x[i], g->t_i16, "");
        vm_put(&c, "%s,", letter(v->type.elem));
    }
    vm_put(&c, "~{memory}");
    const bool narrow = r && r->type.elem != T_bool && vm_bits(r->type.elem) <= 8;
    LLVMTypeRef type = !r ? g->t_void : narrow ? g->t_i16 : cg_scalar_type(g, r->type.elem);
    LLVMValueRef y = cg_asm(g, text ? text : "", vm_text_end(&c), type, op->nops, x, true);
    if (r) cg_set_scalar(g, r, narrow ? LLVMBuildTrunc(g->b, y, g->t_i8, "") : y);
}
