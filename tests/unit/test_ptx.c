// SPDX-License-Identifier: Apache-2.0
// The PTX parser: every form by hand, every error, what nvcc wrote (tests/vgpu/cuda) and what we write
// for every program; each instruction's text must be what stands in the source.
#include "tests/unit/runtime_util.h"

#include "runtime/compile.h"
#include "runtime/vgpu/ptx.h"

#include <ctype.h>
#include <dirent.h>

static const char *fixtures;

static jmp_buf oom;
static vm_arena *arena;
static int fresh(void **s) {
    (void)s;
    arena = vm_arena_new(NULL, &oom);
    return 0;
}
static int done(void **s) {
    (void)s;
    vm_arena_free(arena);
    return 0;
}

#define HEAD ".version 8.3\n.target sm_90a, debug\n.address_size 64\n"

static ptx_module *parsed(const char *text, size_t n) {
    ptx_error e;
    char *const copy = malloc(n ? n : 1); // exactly as long: reading behind it shows
    memcpy(copy, text, n);
    ptx_module *const m = ptx_parse(arena, copy, n, &e);
    free(copy);
    if (!m) fail_msg("%s\nin: %.200s", e.text, text);
    assert_int_equal(e.line, 0);
    return m;
}
static ptx_module *of(const char *text) { return parsed(text, strlen(text)); }

/// The one function, with `body` between its braces.
static const ptx_func *body(const char *text) {
    const ptx_module *const m = of(vm_format(arena, HEAD
        ".global .align 8 .b8 g[64];\n.extern .func (.param .b32 r) f (.param .b64 a);\n.func stop() .noreturn;\n"
        ".entry k(.param .u64 p, .param .align 8 .b8 q[24]) {\n"
        ".reg .pred %%p<4>; .reg .b16 %%h<4>; .reg .b32 %%r<16>; .reg .b64 %%rd<8>; .reg .f32 %%f<4>;\n%s\n}\n", text));
    return ptx_function(m, "k");
}

static void same(const ptx_func *f, uint32_t i, const char *want) {
    char got[256];
    assert_true(i < f->ninst);
    ptx_inst_text(f, &f->inst[i], got, sizeof got);
    assert_string_equal(got, want);
}

// ---- forms --------------------------------------------------------------------------------------

static void operands(void **s) {
    (void)s;
    static const char *const rows[][2] = {
        {"add.s32 %r1, %r2, 5;", "add.s32 %r1, %r2, 5"},
        {"@%p1 mov.u32 %r1,%tid.x;", "@%p1 mov.u32 %r1, %tid.x"},
        {"@!%p1 mov.u64 %rd1, %clock64;", "@!%p1 mov.u64 %rd1, %clock64"},
        {"mov.u32 %r1, %cluster_ctaid.y;", "mov.u32 %r1, %cluster_ctaid.y"},
        {"mov.b32 %r1, -1;", "mov.b32 %r1, -1"},
        {"mov.b32 %r1, 0x7fU;", "mov.b32 %r1, 127"},
        {"mov.b32 %r1, 017;", "mov.b32 %r1, 15"},
        {"mov.b32 %r1, 0b101;", "mov.b32 %r1, 5"},
        {"mov.b32 %r1, WARP_SZ;", "mov.b32 %r1, 32"},
        {"mov.b64 %rd1, 0xffffffffffffffff;", "mov.b64 %rd1, -1"},
        {"mov.b32 %r1, 2+3*4 - (1 << 2) % 3;", "mov.b32 %r1, 13"},
        {"mov.b32 %r1, ~0 & 255 | 256 ^ 1;", "mov.b32 %r1, 511"},
        {"mov.b32 %r1, 3 < 4 && !(2 >= 3) ? 7 : 8;", "mov.b32 %r1, 7"},
        {"mov.b32 %r1, -7 / 2 + -7 % 2;", "mov.b32 %r1, -4"},
        {"mov.b32 %r1, (.u64) -1 >> 63;", "mov.b32 %r1, 1"},
        {"mov.b32 %r1, -1 < 1U || 2 == 3;", "mov.b32 %r1, 0"},
        {"mov.b32 %r1, (-64 >> 3) + (1 << 70) + (-1 >> 99);", "mov.b32 %r1, -9"},
        {"mov.b32 %r1, (1 != 2) + (2 > 1) * 4 + (1 <= 0) * 8;", "mov.b32 %r1, 5"},
        {"mov.f32 %f1, 0f3F800000;", "mov.f32 %f1, 0f3F800000"},
        {"mov.f32 %f1, -0f3F800000;", "mov.f32 %f1, 0fBF800000"},
        {"mov.f64 %rd1, 0D3FF0000000000000;", "mov.f64 %rd1, 0d3FF0000000000000"},
        {"mov.f32 %f1, 1.5e1;", "mov.f32 %f1, 15"},
        {"mov.f32 %f1, 0.5 * 3.0;", "mov.f32 %f1, 1.5"},
        {"ld.global.v2.b32 {%r1, _}, [%rd1+-4];", "ld.global.v2.b32 {%r1, _}, [%rd1-4]"},
        {"ld.param.b64 %rd1, [q+8];", "ld.param.b64 %rd1, [q+8]"},
        {"ld.global.b64 %rd1, [g+4*2-1];", "ld.global.b64 %rd1, [g+7]"},
        {"ld.shared::cluster.b32 %r1, [%r2 - 8 + 4];", "ld.shared::cluster.b32 %r1, [%r2-4]"},
        {"ld.global.b32 %r1, [4096];", "ld.global.b32 %r1, [4096]"},
        {"setp.lt.and.s32 %p1|%p2, %r1, %r2, !%p3;", "setp.lt.and.s32 %p1|%p2, %r1, %r2, !%p3"},
        {"shfl.sync.bfly.b32 _|%p2, %r1, 1, 31, -1;", "shfl.sync.bfly.b32 _|%p2, %r1, 1, 31, -1"},
        {"vadd.s32.u32.s32 %r1, %r2.b3, -%r3.h1;", "vadd.s32.u32.s32 %r1, %r2.b3, -%r3.h1"},
        {"mov.u64 %rd1, g+16;", "mov.u64 %rd1, g+16"},
        {"mov.u64 %rd1, f;", "mov.u64 %rd1, f"},
        {"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4];",
         "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4]"},
        {"wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd1, %rd2, %p1, 1, -1, 0, 1;",
         "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %rd1, %rd2, %p1, 1, -1, 0, 1"},
        {"ld.global.L1::no_allocate.L2::128B.v4.b32 {%r1,%r2,%r3,%r4}, [%rd1];",
         "ld.global.L1::no_allocate.L2::128B.v4.b32 {%r1, %r2, %r3, %r4}, [%rd1]"},
        {"tex.2d.v4.f32.f32 {%f0,%f1,%f2,%f3}, [g, %rd1, {%f0, %f1}];", "tex.2d.v4.f32.f32 {%f0, %f1, %f2, %f3}, [g, {%rd1, {%f0, %f1}}]"},
        {"call.uni (%r1), f, (%rd1);", "call.uni (%r1), f, (%rd1)"},
        {"call stop;", "call stop"},
        {"bar.sync 0; // all", "bar.sync 0"},
        {"/* a\n b ** */ ret;", "ret"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const ptx_func *const f = body(rows[i][0]);
        assert_int_equal(f->ninst, 1);
        same(f, 0, rows[i][1]);
    }
    const ptx_func *f = body("mov.b32 %r1, 0f7FA00001; ld.param.b32 %r1, [q+4]; mov.u64 %rd1, f; mov.u64 %rd2, g+3;");
    assert_int_equal(f->inst[0].opnd[1].integer, 0x7fa00001); // a signalling NaN keeps its bits
    assert_int_equal(f->inst[0].opnd[1].hex_bits, 32);
    assert_ptr_equal(f->inst[1].opnd[1].var, &f->param[1]);
    assert_int_equal(f->inst[1].opnd[1].integer, 4);
    assert_string_equal(f->inst[2].opnd[1].func->name, "f");
    assert_string_equal(f->inst[3].opnd[1].var->name, "g");
    assert_int_equal(f->inst[3].opnd[1].integer, 3);
    assert_int_equal(f->param[1].address, 8);
    assert_int_equal(f->param_bytes, 32);
    char cut[8];
    ptx_inst_text(f, &f->inst[0], cut, sizeof cut);
    assert_string_equal(cut, "mov.b32");
    ptx_inst_text(f, &f->inst[0], cut, 1);
    assert_string_equal(cut, "");
}

static void scopes(void **s) {
    (void)s;
    // Two inlined blocks with the same names, as asm volatile leaves them.
    const ptx_func *const f = body(
        "{ .reg .pred P1; .reg .b32 %r<2>; LAB_WAIT: mbarrier.try_wait.parity.shared::cta.b64 P1, [%r2], %r1;\n"
        "@P1 bra DONE; bra LAB_WAIT; DONE: }\n"
        "{ .reg .pred P1; { LAB_WAIT: @P1 bra.uni DONE; bra OUT; } bra LAB_WAIT2; DONE: LAB_WAIT2: }\n"
        "OUT: ret;");
    assert_int_equal(f->inst[0].opnd[0].reg, 36);
    assert_int_equal(f->inst[0].opnd[2].reg, 38); // the block's own %r1
    assert_int_equal(f->inst[0].opnd[1].reg, 10); // the function's %r2
    assert_int_equal(f->label[f->inst[1].opnd[0].label].at, 3);
    assert_int_equal(f->label[f->inst[2].opnd[0].label].at, 0);
    assert_int_equal(f->label[f->inst[3].opnd[0].label].at, 6);
    assert_int_equal(f->label[f->inst[4].opnd[0].label].at, 6);
    assert_int_equal(f->inst[3].guard, 39);
    assert_string_equal(f->reg[39].name, "P1");
    const ptx_func *const v = body(".reg .v4 .f32 %v; .reg .v2 .b32 %w; mov.f32 %v.y, %f1; mov.v4.f32 %v, {%f0,%f1,%f2,%f3}; mov.b32 %r1, %w.g;");
    same(v, 0, "mov.f32 %v.y, %f1");
    same(v, 1, "mov.v4.f32 {%v.x, %v.y, %v.z, %v.w}, {%f0, %f1, %f2, %f3}");
    same(v, 2, "mov.b32 %r1, %w.y");
}

static void flow(void **s) {
    (void)s;
    const ptx_func *f = body("ts: .branchtargets $A, $B, $A;\n@%p1 brx.idx %r1, ts;\n$A: @%p2 bra $C;\n add.s32 %r1, %r1, 1;\n$B: @%p1 exit;\n"
                             "$C: @!%p1 bra $A;\n@%p3 call stop;\nret;");
    assert_int_equal(f->ntargets, 1);
    assert_int_equal(f->targets[0].nlabel, 3);
    assert_int_equal(f->targets[0].at[1], 3);
    assert_true(f->inst[0].opnd[1].targets);
    const uint32_t *j = ptx_joins(arena, f);
    // 0 brx, 1 bra C, 2 add, 3 exit, 4 bra A, 5 call, 6 ret
    assert_int_equal(j[0], 7);
    assert_int_equal(j[1], 7); // the exit lies on one of the ways
    assert_int_equal(j[3], 7);
    assert_int_equal(j[4], 7);
    assert_true(f->inst[5].noreturn);
    assert_int_equal(j[5], 7);
    assert_int_equal(j[6], 7);

    f = body("@%p1 bra A;\nmov.b32 %r1, 1;\nbra.uni B;\nA: mov.b32 %r1, 2;\nB: @%p2 bra B;\n@%p3 bra C;\nmov.b32 %r1, 3;\nC: mov.b32 %r1, 4;");
    j = ptx_joins(arena, f);
    assert_int_equal(j[0], 4);
    assert_int_equal(j[2], 4);
    assert_int_equal(j[4], 5);
    assert_int_equal(j[5], 7);

    f = body("A: add.s32 %r1, %r1, 1;\n@%p1 bra B;\nadd.s32 %r2, %r2, 1;\nB: bra A;\nC: ret;\nret;"); // endless
    j = ptx_joins(arena, f);
    assert_int_equal(j[1], 3);
    assert_int_equal(j[4], 6);
    assert_non_null(ptx_joins(arena, body("")));
    f = body("ct: .calltargets f, stop; call (%r1), %rd1, (%rd2), ct;");
    assert_false(f->inst[0].noreturn);
    f = body("@%p1 trap; mov.b32 %r1, 1; {.reg .b64 c; pr: .callprototype (.param .b32 _) _ (.param .b64 _) .noreturn; call (%r1), c, (%rd1), pr; }");
    j = ptx_joins(arena, f);
    assert_true(f->inst[2].noreturn);
    assert_int_equal(j[0], 3);
    same(f, 2, "call (%r1), c, (%rd1), pr");
}

/// Whether the end can be reached from instruction i without passing `not`.
static bool ends_without(const ptx_func *f, uint32_t i, uint32_t not, uint32_t *seen, uint32_t mark) {
    if (i == not) return false;
    if (i >= f->ninst) return true;
    if (seen[i] == mark) return false;
    seen[i] = mark;
    const ptx_inst *const x = &f->inst[i];
    const bool bra = strcmp(x->op, "bra") == 0, leaves = strcmp(x->op, "exit") == 0;
    if (bra && ends_without(f, f->label[x->opnd[0].label].at, not, seen, mark)) return true;
    if (leaves && not != f->ninst) return true;
    return (x->guard >= 0 || !(bra || leaves)) && ends_without(f, i + 1, not, seen, mark);
}

/// Random functions: the join lies on every way to the end, and before all others that do.
static void joins_of_random_flow(void **s) {
    (void)s;
    uint32_t compared = 0, mark = 0;
    for (int round = 0; round < 3000; round++) {
        vm_text t = {.arena = arena};
        const uint32_t n = 2 + (uint32_t)(rng() % 14);
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t pick = rng() % 10;
            const unsigned to = (unsigned)(rng() % n);
            vm_put(&t, "L%u: %s", i, pick < 5 || pick == 9 ? "@%p1 " : "");
            if (pick < 4 || pick == 5) vm_put(&t, "bra L%u;\n", to);
            else vm_put(&t, pick == 4 ? "exit;\n" : "mov.b32 %%r1, %%r2;\n");
        }
        const ptx_func *const f = body(vm_text_end(&t));
        uint32_t seen[16] = {0};
        bool all = true; // endless loops have no ways to compare
        for (uint32_t i = 0; i < n; i++) all &= ends_without(f, i, UINT32_MAX, seen, ++mark);
        if (!all) continue;
        const uint32_t *const join = ptx_joins(arena, f);
        for (uint32_t i = 0; i < n; i++) {
            const ptx_inst *const x = &f->inst[i];
            if (strcmp(x->op, "mov") == 0) continue;
            // Instructions on every way from i, i itself apart: its successors decide.
            bool passed[17] = {0};
            for (uint32_t k = 0; k <= n; k++) {
                mark++;
                bool around = false;
                if (strcmp(x->op, "bra") == 0) around |= ends_without(f, f->label[x->opnd[0].label].at, k, seen, mark);
                else around |= k != n;
                mark++;
                if (x->guard >= 0) around |= ends_without(f, i + 1, k, seen, mark);
                passed[k] = k == n || (k != i && !around);
            }
            assert_true(passed[join[i]]);
            for (uint32_t k = 0; k < n; k++) // the others lie behind it
                if (passed[k] && k != join[i]) assert_false(ends_without(f, join[i], k, seen, ++mark));
            compared++;
        }
    }
    assert_true(compared > 3000);
}

static void declarations(void **s) {
    (void)s;
    const ptx_module *const m = of(HEAD
        ".file 3 \"a b.tvm\", 12, 34\n"
        "\t.weak .global .align 4 .u32 w = 7, v = 8;\n.weak .global .align 4 .u32 w = 9;\n"
        ".const .f32 c[3] = {1, 0f40000000, 2.5};\n.global .v2 .s16 pair[2] = {{1, -1}, {2}};\n"
        ".extern .shared .align 16 .b8 dyn[];\n.shared .b64 bar[4];\n.extern .global .b32 later;\n.global .b32 later;\n"
        ".global .align 8 .u64 t[] = {generic(w)+8, k, 0x10, tail};\n"
        ".global .f64 many<2>[2], half = 0.5, three = 3;\n"
        ".global .u8 bytes[] = {0xFF(w), 0xFF00(generic(w)), 3};\n"
        ".global .b32 grid[2][3] = {{1,2},{3,4,5}};\n.global .b32 flat[2][2] = {1,2,3,4};\n.global .b8 empty[0];\n"
        ".global .attribute(.managed, .unified(1,2)) .b32 shared_by_all;\n.common .global .b32 z;\n.common .global .b32 z;\n"
        ".global .f64 d = 0d3FF0000000000000;\n.global .b16 h[2] = {0x3c00, 65535};\n.global .u64 tail;\n"
        ".visible .entry k(.param .u64 .ptr .global .align 16 a, .param .u8 b, .param .v4 .f32 c4)\n"
        ".reqntid 128, 2\n.maxntid 256\n.minnctapersm 2\n.maxnreg 96\n.reqnctapercluster 2, 1, 1\n.explicitcluster\n.maxclusterrank 8\n"
        "{ .reg .b64 %rd<2>; .local .align 8 .b8 depot[16]; .shared .b32 sh; .loc 3 17 5\n"
        "mov.u64 %rd1, depot; .loc 3 18 1, function_name $L__info_string0+4, inlined_at 3 2 1\n .pragma \"nounroll\"; ret;\n"
        "{ // callseq 0\n .param .b64 param0; st.param.b64 [param0], %rd1; } { .param .b64 param0; st.param.b64 [param0+0], %rd0; } }\n"
        ".func (.reg .b32 out) old(.reg .b32 in, .param .b32 x) { add.s32 out, in, 1; ret; }\n"
        ".func none() .noreturn;\n.func none() .noreturn { trap; }\n.visible .func alias_of(); .alias alias_of, none;\n"
        ".section .debug_info { .b32 5\n .b8 {1} .b64 $L__x - $L__y }\n.file 1 \"\"\n");
    assert_int_equal(m->version, 83);
    assert_string_equal(m->target, "sm_90a");
    assert_int_equal(m->nfile, 4);
    assert_null(m->file[0]);
    assert_string_equal(m->file[3], "a b.tvm");
    const ptx_var *v[32];
    for (uint32_t i = 0; i < m->nvar; i++) v[i] = m->var[i];
    assert_string_equal(v[0]->name, "w");
    assert_int_equal(v[0]->init[0], 7);
    assert_string_equal(v[1]->name, "v");
    assert_int_equal(v[2]->ninit, 12);
    assert_memory_equal(v[2]->init, ((float[]){1, 2, 2.5f}), 12);
    assert_int_equal(v[3]->bytes, 8);
    assert_int_equal(v[3]->align, 4);
    assert_memory_equal(v[3]->init, ((int16_t[]){1, -1, 2}), 6);
    assert_true(v[4]->is_extern && v[4]->unsized && v[4]->space == PTX_SHARED && v[4]->align == 16);
    assert_int_equal(v[5]->bytes, 32);
    assert_false(v[6]->is_extern);
    const ptx_var *const t = v[7];
    assert_int_equal(t->bytes, 32);
    assert_int_equal(t->nreloc, 3);
    assert_true(t->reloc[0].generic && t->reloc[0].var == v[0] && t->reloc[0].addend == 8 && t->reloc[0].bytes == 8);
    assert_ptr_equal(t->reloc[1].func, ptx_function(m, "k"));
    assert_int_equal(t->reloc[2].at, 24);
    assert_string_equal(t->reloc[2].var->name, "tail");
    assert_int_equal(t->init[16], 16);
    assert_true(v[8]->bytes == 16 && strcmp(v[9]->name, "many1") == 0);
    assert_memory_equal(v[10]->init, &(double){0.5}, 8);
    assert_memory_equal(v[11]->init, &(double){3}, 8);
    for (uint32_t i = 8; i + 4 < m->nvar; i++) v[i] = v[i + 4];
    assert_true(v[8]->bytes == 3 && v[8]->nreloc == 2 && v[8]->reloc[1].shift == 8 && v[8]->reloc[1].bytes == 1);
    assert_memory_equal(v[9]->init, ((int32_t[]){1, 2, 0, 3, 4, 5}), 24);
    assert_memory_equal(v[10]->init, ((int32_t[]){1, 2, 3, 4}), 16);
    assert_int_equal(v[11]->bytes, 0);
    const ptx_func *const k = ptx_function(m, "k");
    assert_true(k->is_entry && !k->is_extern && k->nparam == 3);
    assert_int_equal(k->param[2].address, 16);
    assert_int_equal(k->param_bytes, 32);
    assert_true(k->reqntid[0] == 128 && k->reqntid[1] == 2 && k->reqntid[2] == 1 && k->maxntid[0] == 256);
    assert_true(k->minnctapersm == 2 && k->maxnreg == 96 && k->cluster[0] == 2 && k->explicit_cluster);
    assert_int_equal(k->nlocal, 4);
    assert_int_equal(k->inst[0].pos.src_line, 17);
    assert_int_equal(k->inst[1].pos.src_line, 18);
    assert_int_equal(k->inst[1].pos.src_file, 3);
    assert_ptr_equal(k->inst[3].opnd[0].var, k->local[3]);
    const ptx_func *const old = ptx_function(m, "old");
    assert_true(old->ret[0].space == PTX_REG && old->inst[0].opnd[0].reg == old->ret[0].reg && old->param[0].reg == 1);
    assert_true(ptx_function(m, "none")->noreturn && !ptx_function(m, "none")->is_extern);
    assert_ptr_equal(ptx_function(m, "alias_of")->alias, ptx_function(m, "none"));
    assert_null(ptx_function(m, "nobody"));
    assert_int_equal(ptx_type_named("f16x2", 5), PTX_f16x2);
    assert_int_equal(ptx_type_named("NONE", 4), PTX_NONE);
    assert_int_equal(ptx_type_named("f1", 2), PTX_NONE);
}

// ---- errors -------------------------------------------------------------------------------------

static void expect(const char *text, size_t n, uint32_t line, const char *part) {
    ptx_error e;
    if (ptx_parse(arena, text, n, &e)) fail_msg("accepted: %.600s", text);
    if (e.line != line || !strstr(e.text, part)) fail_msg("'%s' (line %u), not '%s' in line %u", e.text, e.line, part, line);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "line %u: ", line);
    if (line) assert_int_equal(strncmp(e.text, prefix, strlen(prefix)), 0);
}

/// `text` stands from line 4 on.
static void wrong(const char *text, uint32_t line, const char *part) {
    const char *const all = vm_format(arena, HEAD "%s", text);
    expect(all, strlen(all), line, part);
}
static void wrong_body(const char *text, const char *part) {
    wrong(vm_format(arena, ".global .b32 g;\n.func f();\n.entry k(.param .u64 p) {\n.reg .pred %%p<4>; .reg .b32 %%r<4>; .reg .v2 .b32 %%v;\n%s\n}\n", text), 8, part);
}

static void errors(void **s) {
    (void)s;
    expect("", 0, 1, "no .version");
    expect(".version 8.3\n", 13, 2, "no .target");
    expect(".version 83\n", 12, 1, "a version, like 8.3");
    expect(".version 1e9\n", 13, 1, "a version, like 8.3");
    expect(".version 8.3\n.target 9\n", 23, 2, "a target");
    expect(".version 8.3\0\n", 14, 1, "byte 0x00");
    wrong(".address_size 32\n", 4, "only 64");
    wrong("\n/* open\n\n", 7, "comment is not closed");
    wrong(".file 1 \"a\n", 4, "string is not closed");
    wrong(".file 1 2\n", 4, "name of a file");
    wrong(".file 70000 \"a\"\n", 4, "at most 65535");
    wrong(".section .debug { { }\n", 5, "found the end of the text");
    wrong(".pragma 3;\n", 4, "a string");
    wrong("@\n", 4, "a directive, a variable or a function");
    wrong(".global .b32 3x;\n", 4, "'3x' is not a number");
    wrong(".global .b32 x = 99999999999999999999;\n", 4, "does not fit in 64 bits");
    wrong(".global .b33 x;\n", 4, "a type, found '.b33'");
    wrong(".global x;\n", 4, "a type");
    wrong(".global .b32 .f32 x;\n", 4, "two types");
    wrong(".global .pred x;\n", 4, "a variable of type .pred");
    wrong(".global .align 3 .b32 x;\n", 4, "no power of two");
    wrong(".global .b32 x\n.global", 5, "expected ';'");
    wrong(".global .b32 x;\n.global .f32 x;\n", 5, "declared twice");
    wrong(".extern .global .b32 x;\n.shared .b32 x;\n", 5, "another space");
    wrong(".global .b32 x[];\n", 4, "has no size");
    wrong(".global .b32 x[2][];\n", 4, "only the first extent");
    wrong(".global .b32 x[2][0];\n", 4, "an extent of 0");
    wrong(".global .b32 x[-1];\n", 4, "is negative");
    wrong(".global .b32 x[5000000000];\n", 4, "at most 4294967295");
    wrong(".global .b32 x[100000][100000];\n", 4, "larger than 4 GiB");
    wrong(".global .b8 x[1][1][1][1][1][1][1][1][1];\n", 4, "more than 8 extents");
    wrong(".global .b8 x[2] = {1,2,3};\n", 4, "more values than elements");
    wrong(".global .b8 x[1][2] = {{1},{2}};\n", 4, "more values than elements");
    wrong(".global .b8 x[2] = {{1}};\n", 4, "more braces than extents");
    wrong(".global .b8 x[2] = 3;\n", 4, "expected '{'");
    wrong(".global .b8 x[4][100000000] = {{1},{2}};\n", 4, "an initialiser beyond");
    wrong(".shared .b32 x = 3;\n", 4, "cannot have an initialiser");
    wrong(".global .b16 x = 1.5;\n", 4, "its bits must be written");
    wrong(".global .b16 x = x;\n", 4, "an address in an initialiser of type .b16");
    wrong(".global .b64 x = 0xf0(x);\n", 4, "one whole byte");
    wrong(".global .b8 x = 0xff(3);\n", 4, "a mask of a number");
    wrong(".global .b64 x = generic(3);\n", 4, "generic() of a number");
    wrong(".global .b64 x = 1 + y;\n", 4, "nothing is named 'y'");
    wrong(".global .b64 x = y * 2;\n", 4, "an address where an integer");
    wrong(".global .b64 x = 1 << 2.0;\n", 4, "a float where an integer");
    wrong(".global .b64 x = 1 / 0;\n", 4, "division by zero");
    wrong(".global .b64 x = 1 % (2 - 2);\n", 4, "division by zero");
    wrong(".param .b64 x;\n", 4, "outside of a function");
    wrong(".reg .b64 x;\n", 4, "belong into functions");
    wrong(".entry 7() {}\n", 4, "name of a function");
    wrong(".entry k(.shared .b32 a) {}\n", 4, "a parameter is .param or .reg");
    wrong(".entry k(int a) {}\n", 4, "expected a parameter");
    wrong(".entry k(.param .b32 a, .param .b32 a) {}\n", 4, "declared twice");
    wrong(".entry k() {}\n.entry k() {}\n", 5, "declared twice");
    wrong(".entry k() .reqntid 0 {}\n", 4, "an extent of 0");
    wrong(".entry k() .reqntid 1,1,1,1 {}\n", 4, "at most three");
    wrong(".entry k()\n.global", 5, "'{' or ';'");
    wrong(".func f(); .alias g, f;\n", 4, "the alias 'g' is not declared");
    wrong(".func g(); .alias g, f;\n", 4, "'f' is no function");
    wrong(".func f() { ret;\n", 5, "found the end of the text");
    wrong(".func f(.reg .v2 .b32 a) { ret; }\n", 4, "vector register as parameter");
    wrong_body("add.s32 %r1, %r9, 1;", "no register is named '%r9'");
    wrong_body("mov.b32 %r1, %tid.q;", "no register is named '%tid.q'");
    wrong_body("mov.b32 %r1, %r2 }", "',' or ';', found '}'");
    wrong_body("mov.b32 %r1 %r2;", "',' or ';', found '%r2'");
    wrong_body("mov.b32 {%r1 %r2}, 0;", "',' or '}'");
    wrong_body("ld.b32 %r1, [%r2;", "',' or ']'");
    wrong_body("ld.b32 %r1, [nowhere];", "no variable is named 'nowhere'");
    wrong_body("ld.b32 %r1, [%v];", "a vector as address");
    wrong_body("ld.b32 %r1, [1.5];", "a float as address");
    wrong_body("ld.b32 %r1, [%r1+%r2];", "no integer");
    wrong_body("ld.b32 %r1, [%r1+1.5];", "no integer");
    wrong_body("mov.b32 %r1, %v.z;", "an element of the vector register");
    wrong_body("mov.b32 %r1, %r2.x;", "a selector");
    wrong_body("mov.b32 %r1, -%v;", "a negated vector");
    wrong_body("mov.b32 %r1, 1+%r2;", "register '%r2' in a constant expression");
    wrong_body("mov.b32 %r1, 0xff(g);", "a mask outside");
    wrong_body("mov.b32 %r1, ;", "an operand");
    wrong_body("bra L;", "nothing is named 'L'");
    wrong_body("bra g;", "nothing is named 'g'");
    wrong_body("{ M: } bra M;", "nothing is named 'M'");
    wrong_body("L: L: ret;", "'L' is declared twice");
    wrong_body("t: .branchtargets t;", "'t' is no label");
    wrong_body("t: .branchtargets 5;", "a label");
    wrong_body("@%r1 ret;", "no predicate register");
    wrong_body("@7 ret;", "a predicate register");
    wrong_body("call nobody;", "function 'nobody' is not declared");
    wrong_body("call g;", "function 'g' is not declared");
    wrong_body("call 3;", "neither a function nor a register");
    wrong_body("call f, (%r1;", "',' or ')'");
    wrong_body("t: .callprototype _ () .b32;", "expected ';'");
    wrong_body(".loc 1 2 x", "a column");
    wrong_body(".loc 1 2 3, elsewhere 4", "'function_name' or 'inlined_at'");
    wrong_body(".visible .b32 x;", "a declaration or an instruction");
    wrong_body(".reg .b32 %q<2000000>;", "at most 1048576");
    wrong_body(".reg .b32 %q<1048576>;", "more than 1048576 registers");
    wrong_body(".reg .b32 %r<2>;", "declared twice");
    wrong_body("5;", "an instruction, a label or '}'");
    wrong_body("add.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"
               ".a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a %r1;", "more than 64 modifiers");
    static const char *const open[] = {"mov.b32 %r1, ", "(", "mov.b32 %r1, ", "-", "mov.b32 ", "{", "mov.b32 %r1, ", "(.u64)",
                                       "", "{", "mov.b32 %r1, ", "1?", "ld.b32 %r1, ", "[%r1,", "mov.b32 %r1, ", "1?2:"};
    for (size_t i = 0; i < sizeof open / sizeof *open; i += 2) { // no depth may reach the stack's end
        vm_text t = {.arena = arena};
        vm_put(&t, "%s", open[i]);
        for (int k = 0; k < 200000; k++) vm_put(&t, "%s", open[i + 1]);
        wrong_body(vm_text_end(&t), "nested more than 64 deep");
    }
    vm_text t = {.arena = arena};
    vm_put(&t, HEAD ".global .b8 x[1] = ");
    for (int k = 0; k < 100000; k++) vm_put(&t, "{");
    const char *const braces = vm_text_end(&t);
    expect(braces, strlen(braces), 4, "more braces");
}

// ---- whole files --------------------------------------------------------------------------------

/// Without spaces, and with what is written in two ways in one.
static void squeeze(char *out, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isspace((unsigned char)s[i])) continue;
        if (s[i] == '+' && i + 1 < n && s[i + 1] == '-') continue;
        if (s[i] == '+' && i + 2 < n && s[i + 1] == '0' && s[i + 2] == ']') {
            i++;
            continue;
        }
        *out++ = s[i];
    }
    *out = 0;
}

/// Every instruction's text is the source's, and joins lie behind.
static void faithful(const char *text, size_t n, uint32_t *instructions) {
    const ptx_module *const m = parsed(text, n);
    VM_VEC(const char *) line = {0};
    vm_push(arena, &line, text);
    for (const char *s = text; (s = strchr(s, '\n')); s++) vm_push(arena, &line, s + 1);
    for (uint32_t k = 0; k < m->nfunc; k++) {
        const ptx_func *const f = m->func[k];
        const uint32_t *const j = ptx_joins(arena, f);
        *instructions += f->ninst;
        for (uint32_t i = 0; i < f->ninst; i++) {
            const ptx_inst *const x = &f->inst[i];
            assert_true(j[i] <= f->ninst);
            const char *const at = line.at[x->pos.line - 1] + x->pos.column - 1;
            const size_t len = strcspn(at, ";");
            char want[2048], got[2048], squeezed[2048];
            assert_true(len < sizeof want);
            squeeze(want, at, len);
            ptx_inst_text(f, x, got, sizeof got);
            squeeze(squeezed, got, strlen(got));
            if (strcmp(squeezed, want) && !strstr(want, "0x")) fail_msg("line %u: '%s' is read as '%s'", x->pos.line, want, squeezed);
        }
    }
}

static void from_nvcc(void **s) {
    (void)s;
    const char *const folder = vm_format(arena, "%s/../vgpu/cuda", fixtures);
    DIR *const d = opendir(folder);
    assert_non_null(d);
    uint32_t files = 0, instructions = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".ptx")) continue;
        FILE *const f = fopen(vm_format(arena, "%s/%s", folder, e->d_name), "rb");
        assert_non_null(f);
        char *const text = vm_alloc(arena, 1 << 18);
        const size_t n = fread(text, 1, (1 << 18) - 1, f);
        fclose(f);
        faithful(text, n, &instructions);
        files++;
    }
    closedir(d);
    assert_true(files >= 9 && instructions > 900);
}

static void from_us(void **s) {
    (void)s;
    static const char *const archs[] = {"sm_80", "sm_90a"};
    uint32_t instructions = 0, kernels = 0;
    for (int a = 0; a < 2; a++)
        for (uint32_t i = 0; i < rt_embedded_count(); i++) {
            rt_options o = {.name = rt_embedded_name(i), .stage = RT_STAGE_PTX, .arch = vm_arch_find(archs[a]), .cg = {.opt = 3}};
            o.text = rt_embedded(o.name, &o.size);
            rt_compilation *const x = rt_compilation_new(NULL, &o);
            const enum rt_result r = rt_compile(x);
            if (r != RT_OK) fail_msg("%s: %s%s", o.name, x->message, rt_diagnostics(x, false, false));
            faithful(x->ptx, strlen(x->ptx), &instructions);
            kernels += x->kernels.n;
            rt_compilation_free(x);
        }
    assert_true(kernels > 10 && instructions > 10000);
}

// ---- memory -------------------------------------------------------------------------------------

static const char small[] = HEAD ".global .u64 t[] = {t, 1, 2};\n.entry k(.param .u64 p) {\n.reg .pred %p<2>; .reg .b32 %r<100>;\n"
                                 "A: { .reg .b32 x; add.s32 x, %r1, 2; @%p1 bra A; }\nmov.v2.b32 {%r1, %r2}, {%r3, %r4};\nret; }\n";

static void no_memory(void **s) {
    (void)s;
    volatile bool ok = false;
    for (volatile long left = 0; !ok; left++) {
        counter k = {.left = left};
        const vm_allocator alloc = {count_alloc, count_release, &k};
        jmp_buf out;
        vm_arena *volatile a = NULL;
        if (!setjmp(out)) {
            a = vm_arena_new(&alloc, &out);
            ptx_error e;
            if (a) {
                const ptx_module *const m = ptx_parse(a, small, sizeof small - 1, &e);
                assert_non_null(m);
                assert_non_null(ptx_joins(a, m->func[0]));
                ok = true;
            }
        }
        if (a) vm_arena_free(a);
        assert_int_equal(k.live, 0);
        assert_true(left < 1000);
    }
}

/// Text that is cut anywhere is an error or a module, and reads nothing behind its end.
static void cut(void **s) {
    (void)s;
    for (size_t n = 0; n < sizeof small; n++) {
        char *const text = malloc(n ? n : 1);
        memcpy(text, small, n);
        ptx_error e;
        if (!ptx_parse(arena, text, n, &e)) assert_true(e.text[0] != 0);
        free(text);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    fixtures = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(operands, fresh, done), cmocka_unit_test_setup_teardown(scopes, fresh, done),
        cmocka_unit_test_setup_teardown(flow, fresh, done),     cmocka_unit_test_setup_teardown(declarations, fresh, done),
        cmocka_unit_test_setup_teardown(errors, fresh, done),   cmocka_unit_test_setup_teardown(from_nvcc, fresh, done),
        cmocka_unit_test_setup_teardown(from_us, fresh, done),  cmocka_unit_test_setup_teardown(no_memory, fresh, done),
        cmocka_unit_test_setup_teardown(cut, fresh, done),      cmocka_unit_test_setup_teardown(joins_of_random_flow, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
