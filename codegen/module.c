// SPDX-License-Identifier: Apache-2.0
// One LLVM module for a module of tile IR: context and target machine, kernel skeletons, the pass
// pipeline, and the text that comes out. Nothing here knows a single instruction.
#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/emit.h"

static const char triple[] = "nvptx64-nvidia-cuda";

// ---- the process-wide part of LLVM --------------------------------------------------------------

static _Thread_local jmp_buf *on_fatal;
static _Thread_local char fatal_text[512];

/// LLVM would end the process after this returns; leaving it loses LLVM's objects of this call.
static void fatal(const char *reason) {
    if (!on_fatal) return;
    snprintf(fatal_text, sizeof fatal_text, "%s", reason);
    longjmp(*on_fatal, 1);
}

static void init_once(void) {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    // 32-bit shared addresses, so that constant parts fold into the access.
    const char *const args[] = {"tilus", "--nvptx-short-ptr"};
    LLVMParseCommandLineOptions(2, args, NULL);
    LLVMInstallFatalErrorHandler(fatal);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

typedef struct {
    char text[512];
    bool failed;
} messages;

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *user) {
    messages *m = user;
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError) return;
    char *s = LLVMGetDiagInfoDescription(info);
    if (!m->failed) snprintf(m->text, sizeof m->text, "%s", s);
    m->failed = true;
    LLVMDisposeMessage(s);
}

// ---- kernels ------------------------------------------------------------------------------------

static void string_attr(cg *g, const char *key, const char *value) {
    LLVMAddAttributeAtIndex(g->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(g->ctx, key, (unsigned)strlen(key), value,
                                                      (unsigned)strlen(value)));
}

static void enum_attr(cg *g, LLVMAttributeIndex at, const char *name, uint64_t value) {
    const unsigned k = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(g->fn, at, LLVMCreateEnumAttribute(g->ctx, k, value));
}

static void add_types(cg *g) {
    g->t_void = LLVMVoidTypeInContext(g->ctx);
    g->t_i1 = LLVMInt1TypeInContext(g->ctx);
    g->t_i8 = LLVMInt8TypeInContext(g->ctx);
    g->t_i16 = LLVMInt16TypeInContext(g->ctx);
    g->t_i32 = LLVMInt32TypeInContext(g->ctx);
    g->t_i64 = LLVMInt64TypeInContext(g->ctx);
    g->t_f16 = LLVMHalfTypeInContext(g->ctx);
    g->t_bf16 = LLVMBFloatTypeInContext(g->ctx);
    g->t_f32 = LLVMFloatTypeInContext(g->ctx);
    g->t_f64 = LLVMDoubleTypeInContext(g->ctx);
    g->t_v2f16 = LLVMVectorType(g->t_f16, 2);
    g->t_v2bf16 = LLVMVectorType(g->t_bf16, 2);
    g->t_p0 = LLVMPointerTypeInContext(g->ctx, 0);
    g->t_p1 = LLVMPointerTypeInContext(g->ctx, 1);
    g->t_p3 = LLVMPointerTypeInContext(g->ctx, 3);
}

/// Which pointer parameters are only ever read, so that loads may go through the read-only path. None
/// are where others may write them during the launch: semaphores, a dependent launch, fences.
typedef struct {
    const ir_func *func;
    bool *written; // by parameter
} access_info;

static void mark_all(access_info *a, bool fixed) {
    for (uint32_t i = 0; i < a->func->nparams; i++) a->written[i] |= fixed || !a->func->params[i].fixed;
}

static void note_write(ir_op *op, void *user) {
    access_info *a = user;
    switch (op->inst) {
    case I_wait_until: case I_wait_for: case I_signal: case I_wait_previous: case I_fence: case I_ptx:
        mark_all(a, op->inst != I_wait_previous);
        return;
    default: break;
    }
    if (!(vm_insts[op->inst].fx & FX_WRITE) || !op->nops) return;
    ir_access at;
    if (!ir_trace(op->ops[0], &at) || !at.root) {
        mark_all(a, op->inst != I_wait_previous);
        return;
    }
    if (at.root->inst == I_alloc_shared) return;
    const ir_op *root = at.root;
    while (root->inst != I_global_view) { // a reshaped view has its own root
        const ir_value *up = root->nops ? root->ops[0] : NULL;
        if (!up || !up->def || up->type.space != IS_GLOBAL) break;
        root = up->def;
    }
    if (root->inst == I_alloc_shared || root->res[0]->type.space == IS_SHARED) return;
    if (root->inst != I_global_view) {
        mark_all(a, op->inst != I_wait_previous);
        return;
    }
    for (uint32_t i = 0; i < a->func->nparams; i++)
        if (a->func->params[i].value == root->ops[0]) a->written[i] = true;
}

static void note_budget(ir_op *op, void *user) { *(bool *)user |= op->inst == I_role && ir_get(op, AT_regs); }

static void add_function(cg *g) {
    ir_func *f = g->func;
    access_info seen = {f, vm_newn(g->arena, bool, f->nparams + 1)};
    ir_walk(f->body, note_write, &seen);
    const uint32_t maps = ir_map_count(f); // tensor maps follow the parameters
    LLVMTypeRef *t = vm_newn(g->arena, LLVMTypeRef, f->nparams + maps + 1);
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_type *p = &f->params[i].value->type;
        t[i] = p->space == IS_PTR ? g->t_p1 : p->elem == T_bool ? g->t_i8 : cg_scalar_type(g, p->elem);
    }
    for (uint32_t i = 0; i < maps; i++) t[f->nparams + i] = g->t_p0;
    g->fn = LLVMAddFunction(g->m, f->name, LLVMFunctionType(g->t_void, t, f->nparams + maps, false));
    LLVMSetFunctionCallConv(g->fn, 71); // ptx_kernel
    const LLVMAttributeIndex self = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;
    enum_attr(g, self, "nounwind", 0);
    enum_attr(g, self, "convergent", 0);
    char text[48];
    snprintf(text, sizeof text, "%d,1,1", f->warps * 32);
    string_attr(g, "nvvm.reqntid", text);
    // Roles that divide the registers anew: ptxas must know how many a thread begins with.
    bool budgets = false;
    ir_walk(f->body, note_budget, &budgets);
    if (budgets && f->regs <= 0) string_attr(g, "nvvm.minctasm", "1");
    if (f->regs > 0) {
        snprintf(text, sizeof text, "%d", f->regs);
        string_attr(g, "nvvm.maxnreg", text);
    }
    if (f->cluster[0] * f->cluster[1] * f->cluster[2] > 1) {
        snprintf(text, sizeof text, "%d,%d,%d", f->cluster[0], f->cluster[1], f->cluster[2]);
        string_attr(g, "nvvm.cluster_dim", text);
    }
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_param *p = &f->params[i];
        LLVMSetValueName2(LLVMGetParam(g->fn, i), p->name, strlen(p->name));
        if (p->value->type.space != IS_PTR) continue;
        if (!p->alias) enum_attr(g, i + 1, "noalias", 0);
        if (!p->alias && !p->written && !seen.written[i]) enum_attr(g, i + 1, "readonly", 0);
        enum_attr(g, i + 1, "align", p->align ? (uint64_t)p->align : 16);
    }
}

/// A tensor map is read where the launch has put it, never copied.
static void add_maps(cg *g) {
    const uint32_t n = ir_map_count(g->func);
    const unsigned byval = LLVMGetEnumAttributeKindForName("byval", 5);
    for (uint32_t i = 0; i < n; i++) {
        const LLVMAttributeIndex at = g->func->nparams + i + 1;
        LLVMAddAttributeAtIndex(g->fn, at, LLVMCreateTypeAttribute(g->ctx, byval, LLVMArrayType2(g->t_i8, 128)));
        LLVMAddAttributeAtIndex(g->fn, at, LLVMCreateStringAttribute(g->ctx, "nvvm.grid_constant", 18, "", 0));
        enum_attr(g, at, "align", 64);
        const char *name = vm_format(g->arena, "map%u", i);
        LLVMSetValueName2(LLVMGetParam(g->fn, g->func->nparams + i), name, strlen(name));
    }
}

/// Stores of the copy engine may still read the block's shared memory.
static void note_store(ir_op *op, void *user) {
    const bool copies = op->inst == I_copy_async || op->inst == I_tma_store || op->inst == I_tma_reduce;
    const char *via = ir_str(op, AT_via);
    if (copies && op->ops[0]->type.space == IS_GLOBAL && (op->inst != I_copy_async || (via && strcmp(via, "cp_async") != 0))) *(bool *)user = true;
}

static void add_line_scope(cg *g, LLVMMetadataRef *units) {
    const ir_func *f = g->func;
    if (!g->opt->lines || !f->span.file) return;
    const vm_source *s = vm_source_at(g->comp, f->span.file);
    if (!s) return;
    LLVMMetadataRef file = LLVMDIBuilderCreateFile(g->di, s->name, strlen(s->name), "", 0);
    if (!*units) {
        const unsigned one = 1;
        // Emission kind 3, DebugDirectivesOnly, is missing in the C enumeration: .loc lines without
        // `.target debug`, which would stop ptxas from optimising.
        *units = LLVMDIBuilderCreateCompileUnit(g->di, LLVMDWARFSourceLanguageC99, file, "tilus", 5,
                                                one, "", 0, 0, "", 0, (LLVMDWARFEmissionKind)3, 0, 0,
                                                0, "", 0, "", 0);
        LLVMMetadataRef three = LLVMValueAsMetadata(cg_i32(g, 3)), two = LLVMValueAsMetadata(cg_i32(g, 2));
        LLVMAddModuleFlag(g->m, LLVMModuleFlagBehaviorWarning, "Debug Info Version", 18, three);
        LLVMAddModuleFlag(g->m, LLVMModuleFlagBehaviorWarning, "Dwarf Version", 13, two);
    }
    uint32_t line, col;
    vm_source_place(s, f->span.lo, &line, &col);
    LLVMMetadataRef type = LLVMDIBuilderCreateSubroutineType(g->di, file, NULL, 0, LLVMDIFlagZero);
    g->di_scope = LLVMDIBuilderCreateFunction(g->di, file, f->name, strlen(f->name), f->name,
                                              strlen(f->name), file, line, type, false, true, line,
                                              LLVMDIFlagZero, true);
    LLVMSetSubprogram(g->fn, g->di_scope);
}

/// Most words of register tiles alive at once, by a walk in textual order: a value lives from its
/// making to its last use in the same region or below.
typedef struct {
    uint32_t now, most;
} pressure;

static uint32_t weight(const ir_value *v) {
    return v->type.space == IS_REG && v->type.reg ? cg_ni32(v->type.elem, (uint32_t)v->type.reg->slots) : 0;
}

static void count_uses(ir_op *op, void *user) {
    uint32_t *left = user;
    for (uint32_t i = 0; i < op->nops; i++) left[op->ops[i]->id]++;
}

static void press(const ir_region *r, uint32_t *left, pressure *p) {
    for (uint32_t i = 0; i < r->nargs; i++) p->now += weight(r->args[i]);
    for (const ir_op *op = r->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->nregions; i++) press(op->regions[i], left, p);
        for (uint32_t i = 0; i < op->nres; i++) p->now += weight(op->res[i]);
        if (p->now > p->most) p->most = p->now;
        for (uint32_t i = 0; i < op->nops; i++)
            if (--left[op->ops[i]->id] == 0 && !op->ops[i]->owner) p->now -= weight(op->ops[i]);
        for (uint32_t i = 0; i < op->nres; i++)
            if (left[op->res[i]->id] == 0) p->now -= weight(op->res[i]);
    }
    for (uint32_t i = 0; i < r->nargs; i++) p->now -= weight(r->args[i]);
}

static void emit_function(cg *g, LLVMMetadataRef *units) {
    const ir_func *f = g->func;
    add_function(g);
    add_maps(g);
    add_line_scope(g, units);
    cg_group block = {.threads = f->warps * 32};
    LLVMBasicBlockRef entry = cg_block(g, "entry"), body = cg_block(g, "body");
    g->exit = cg_block(g, "exit");
    cg_at(g, entry);
    block.tid = cg_call(g, "llvm.nvvm.read.ptx.sreg.tid.x", g->t_i32, 0, NULL);
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_value *v = f->params[i].value;
        LLVMValueRef x = LLVMGetParam(g->fn, i);
        if (v->type.space != IS_PTR && v->type.elem == T_bool)
            x = LLVMBuildICmp(g->b, LLVMIntNE, x, LLVMConstNull(g->t_i8), "");
        cg_set_scalar(g, v, x);
    }
    LLVMBuildBr(g->b, body);
    block.prologue = entry;
    g->group = &block;
    cg_at(g, body);
    ir_walk(g->func->body, note_store, &g->engine_stores);
    cg_prefetch_maps(g, ir_map_count(f));
    cg_region(g, f->body);
    if (!LLVMGetBasicBlockTerminator(LLVMGetInsertBlock(g->b))) LLVMBuildBr(g->b, g->exit);
    cg_at(g, g->exit);
    LLVMSetCurrentDebugLocation2(g->b, NULL);
    if (g->engine_stores) cg_wait_stores(g, 0, false);
    LLVMBuildRetVoid(g->b);
    LLVMMoveBasicBlockAfter(g->exit, LLVMGetLastBasicBlock(g->fn));

    uint32_t *left = vm_newn(g->arena, uint32_t, f->next_id + 1);
    pressure p = {0};
    ir_walk(f->body, count_uses, left);
    press(f->body, left, &p);
    g->report->tile_registers = p.most;
}

// ---- the pipeline -------------------------------------------------------------------------------

/// The tile IR has done the optimising; InstCombine would undo the shape of shared addresses.
static const char *const pipelines[4] = {
    "function(sroa)",
    "function(sroa,early-cse<memssa>,simplifycfg,adce)",
    "function(sroa,early-cse<memssa>,simplifycfg,gvn,adce)",
    "function(sroa,early-cse<memssa>,simplifycfg,gvn,adce)",
};

typedef struct {
    LLVMContextRef ctx;
    LLVMModuleRef m;
    LLVMBuilderRef b;
    LLVMDIBuilderRef di;
    LLVMTargetMachineRef tm;
} owned;

static void release(owned *o) {
    if (o->di) LLVMDisposeDIBuilder(o->di);
    if (o->b) LLVMDisposeBuilder(o->b);
    if (o->m) LLVMDisposeModule(o->m);
    if (o->tm) LLVMDisposeTargetMachine(o->tm);
    if (o->ctx) LLVMContextDispose(o->ctx);
    *o = (owned){0};
}

static char *fail(vm_comp *c, ir_module *m, const char *what) {
    const vm_span at = m->funcs.n ? m->funcs.at[0]->span : VM_NOWHERE;
    vm_report(c, D_E0690, at, "LLVM: %s", what);
    return NULL;
}

static char *text_of(vm_comp *c, ir_module *m, owned *o, const cg_options *opt, bool ptx) {
    char *why = NULL;
    if (LLVMVerifyModule(o->m, LLVMReturnStatusAction, &why)) {
        char *text = vm_strdup(c->arena, why);
        LLVMDisposeMessage(why);
        return fail(c, m, text);
    }
    LLVMDisposeMessage(why);
    LLVMPassBuilderOptionsRef po = LLVMCreatePassBuilderOptions();
    LLVMErrorRef err = LLVMRunPasses(o->m, pipelines[opt->opt & 3], o->tm, po);
    LLVMDisposePassBuilderOptions(po);
    if (err) {
        char *s = LLVMGetErrorMessage(err), *text = vm_strdup(c->arena, s);
        LLVMDisposeErrorMessage(s);
        return fail(c, m, text);
    }
    if (!ptx) {
        char *s = LLVMPrintModuleToString(o->m), *text = vm_strdup(c->arena, s);
        LLVMDisposeMessage(s);
        return text;
    }
    LLVMMemoryBufferRef buf = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(o->tm, o->m, LLVMAssemblyFile, &why, &buf)) {
        char *text = vm_strdup(c->arena, why ? why : "no text");
        LLVMDisposeMessage(why);
        return fail(c, m, text);
    }
    const size_t n = LLVMGetBufferSize(buf);
    char *text = vm_alloc(c->arena, n + 1);
    memcpy(text, LLVMGetBufferStart(buf), n);
    text[n] = 0;
    LLVMDisposeMemoryBuffer(buf);
    return text;
}

static char *emit_module(vm_comp *c, ir_module *m, const cg_options *opt, cg_report **reports,
                         bool ptx, owned *o) {
    LLVMTargetRef target;
    char *why = NULL;
    if (LLVMGetTargetFromTriple(triple, &target, &why)) {
        LLVMDisposeMessage(why);
        return fail(c, m, "this LLVM has no NVPTX target");
    }
    // Level 1 at least: without it tied wgmma operands get moves. Higher ones give the same code.
    o->tm = LLVMCreateTargetMachine(target, triple, m->arch->name, opt->ptx ? opt->ptx : m->arch->ptx,
                                    opt->opt > 1 ? LLVMCodeGenLevelAggressive : LLVMCodeGenLevelLess,
                                    LLVMRelocDefault, LLVMCodeModelDefault);
    o->ctx = LLVMContextCreate();
    messages said = {0};
    LLVMContextSetDiagnosticHandler(o->ctx, on_diagnostic, &said);
    o->m = LLVMModuleCreateWithNameInContext("tilus", o->ctx);
    LLVMSetTarget(o->m, triple);
    LLVMTargetDataRef dl = LLVMCreateTargetDataLayout(o->tm);
    LLVMSetModuleDataLayout(o->m, dl);
    LLVMDisposeTargetData(dl);
    o->b = LLVMCreateBuilderInContext(o->ctx);
    if (opt->lines) o->di = LLVMCreateDIBuilder(o->m);

    cg base = {.comp = c, .arena = c->arena, .arch = m->arch, .opt = opt, .mod = m, .ctx = o->ctx,
               .m = o->m, .b = o->b, .di = o->di};
    add_types(&base);
    base.smem = LLVMAddGlobalInAddressSpace(o->m, LLVMArrayType2(base.t_i8, 0), "smem", 3);
    LLVMSetAlignment(base.smem, 1024);
    LLVMMetadataRef units = NULL;
    bool failed = false;
    cg_report **at = reports;
    for (uint32_t i = 0; i < m->funcs.n; i++) {
        cg g = base;
        g.func = m->funcs.at[i];
        g.strings = base.strings;
        g.report = vm_new(c->arena, cg_report);
        g.report->kernel = g.func->name;
        g.report->threads = g.func->warps * 32;
        g.report->shared_bytes = g.func->shared_bytes;
        emit_function(&g, &units);
        base.strings = g.strings;
        failed |= g.failed;
        if (at) *at = g.report, at = &g.report->next;
    }
    if (o->di) LLVMDIBuilderFinalize(o->di);
    if (failed) return NULL;
    char *text = text_of(c, m, o, opt, ptx);
    if (text && said.failed) return fail(c, m, said.text);
    return text;
}

static char *run(vm_comp *c, ir_module *m, const cg_options *opt, cg_report **reports, bool ptx) {
    static const cg_options standard = {.opt = 3};
    if (reports) *reports = NULL;
    if (!m->arch) return fail(c, m, "the module has no architecture");
    pthread_once(&once, init_once);
    // Out of memory in our arena must not lose LLVM's objects; the volatile copy survives the jump.
    owned *volatile o = vm_new(c->arena, owned);
    jmp_buf here, *const outer = c->oom;
    jmp_buf on_error;
    char *text = NULL;
    if (setjmp(here)) {
        vm_arena_set_oom(c->arena, outer);
        on_fatal = NULL;
        release(o);
        longjmp(*outer, 1);
    }
    vm_arena_set_oom(c->arena, &here);
    on_fatal = &on_error;
    if (setjmp(on_error)) {
        vm_arena_set_oom(c->arena, outer);
        on_fatal = NULL;
        return fail(c, m, fatal_text);
    }
    text = emit_module(c, m, opt ? opt : &standard, reports, ptx, o);
    on_fatal = NULL;
    vm_arena_set_oom(c->arena, outer);
    release(o);
    return text;
}

char *cg_ptx(vm_comp *c, ir_module *m, const cg_options *o, cg_report **reports) {
    return run(c, m, o, reports, true);
}

char *cg_llvm(vm_comp *c, ir_module *m, const cg_options *o, cg_report **reports) {
    return run(c, m, o, reports, false);
}
