// SPDX-License-Identifier: Apache-2.0
// Warpgroup products from source to machine code. Where ptxas is found it must neither serialise a
// product nor spill, and what the roles of a kernel ask for in registers must be granted. One small
// kernel's PTX is held against a golden file; the async pass is asked on small tile IR.
#include "tests/unit/ir_text.h"
#include "runtime/compile.h"

static const char *fixtures;

typedef struct {
    const char *file, *kernel;
    const char *define[6];
    int registers;          // at most, of the launch
    const char *has[4];     // in the PTX
} build;

static rt_compilation *compiled(const build *b, const char *arch) {
    char path[5000];
    snprintf(path, sizeof path, "%s/../%s", fixtures, b->file);
    uint32_t n = 0;
    while (n < 6 && b->define[n]) n++;
    const rt_options o = {.name = path, .kernel = b->kernel, .arch = vm_arch_find(arch), .stage = RT_STAGE_PTX, .ndefine = n,
                          .define = b->define, .cg = {.opt = 3}, .verify = true};
    rt_compilation *x = rt_compilation_new(NULL, &o);
    assert_non_null(x);
    const enum rt_result r = rt_compile(x);
    if (r != RT_OK) fail_msg("%s: %s%s", b->kernel, x->message, rt_diagnostics(x, false, false));
    return x;
}

static void good(const build *b) {
    rt_compilation *x = compiled(b, "sm_90a");
    for (int i = 0; i < 4 && b->has[i]; i++)
        if (!strstr(x->ptx, b->has[i])) fail_msg("%s: no '%s' in\n%s", b->kernel, b->has[i], x->ptx);
    assert_null(strstr(x->ptx, "call.uni"));
    assert_true(x->reports->count[CG_wgmma] > 0);
    if (setjmp(x->oom)) fail_msg("out of memory");
    cg_ptxas_result r;
    assert_true(cg_ptxas(x->comp, x->ptx, "sm_90a", false, &r));
    if (r.found) {
        if (!r.ok || r.serialized || r.spill_bytes != 0 || r.registers > b->registers)
            fail_msg("%s %s: %d registers, %d bytes spilled\n%s", b->kernel, b->define[0] ? b->define[0] : "", r.registers, r.spill_bytes, r.log);
    }
    rt_compilation_free(x);
}

static void machine_code(void **s) {
    (void)s;
#define ROLES "roles/wgmma_async.tvm"
    static const build list[] = {
        {ROLES, "shared_operands", {"BN=128"}, 168, {"m64n128k16.f32.bf16.bf16", "wgmma.wait_group.sync.aligned 1;", "setmaxnreg.inc.sync.aligned.u32 \t232;"}},
        {ROLES, "shared_operands", {"BN=256"}, 168, {"m64n256k16.f32.bf16.bf16"}},
        {ROLES, "shared_operands", {"T=f16", "BN=192"}, 168, {"m64n192k16.f32.f16.f16"}},
        {ROLES, "weights", {"KS=16", "BN=256"}, 168, {"m64n256k16", "wgmma.wait_group.sync.aligned 3;"}},
        {ROLES, "weights", {"KS=32"}, 168, {"m64n64k16", "wgmma.wait_group.sync.aligned 1;"}},
        {ROLES, "weights", {"KS=64", "Q=i8"}, 168, {"m64n64k16"}},
        {ROLES, "chain", {"BK=64"}, 168, {"m64n64k16", "wgmma.wait_group.sync.aligned 1;"}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) good(&list[i]);
}

/// An assertion traps without a call.
static void assertions(void **s) {
    (void)s;
    static const char text[] =
        "kernel k(n: i32, c: global f32[64, 64])\n    launch { grid = 1; warps = 4; }\n{\n"
        "    let sa: shared f16[64, 64];\n    store(sa, full(f16[64, 64], 1.0));\n    assert(n > 3, \"n\");\n"
        "    store(c[.., ..], wait(wgmma(sa, sa.t, 0.0)));\n}\n";
    const rt_options o = {.name = "t.tvm", .text = text, .size = sizeof text - 1, .arch = vm_arch_find("sm_90a"), .stage = RT_STAGE_PTX, .cg = {.opt = 3}};
    rt_compilation *x = rt_compilation_new(NULL, &o);
    assert_int_equal(rt_compile(x), RT_OK);
    assert_null(strstr(x->ptx, "__assertfail"));
    assert_non_null(strstr(x->ptx, "tilus_assertion"));
    assert_non_null(strstr(x->ptx, "trap"));
    if (setjmp(x->oom)) fail_msg("out of memory");
    cg_ptxas_result r;
    assert_true(cg_ptxas(x->comp, x->ptx, "sm_90a", false, &r));
    assert_false(r.found && (!r.ok || r.serialized));
    rt_compilation_free(x);
}

/// Targets without it.
static void other_targets(void **s) {
    (void)s;
    static const char text[] =
        "kernel k(c: global f32[64, 64])\n    launch { grid = 1; warps = 4; }\n{\n"
        "    let sa: shared f16[64, 64];\n    store(sa, full(f16[64, 64], 1.0));\n"
        "    store(c[.., ..], wait(wgmma(sa, sa.t, 0.0)));\n}\n";
    const char *const archs[] = {"sm_80", "sm_90"};
    for (int i = 0; i < 2; i++) {
        const rt_options o = {.name = "t.tvm", .text = text, .size = sizeof text - 1, .arch = vm_arch_find(archs[i]), .stage = RT_STAGE_PTX};
        rt_compilation *x = rt_compilation_new(NULL, &o);
        assert_int_equal(rt_compile(x), RT_ERRORS);
        const char *said = rt_diagnostics(x, false, false);
        if (!strstr(said, "error[E0602]: 'wgmma' needs sm_90a")) fail_msg("%s", said);
        rt_compilation_free(x);
    }
}

/// An accumulator that is no value in flight: legal, and slow.
static void waited_each_time(void **s) {
    (void)s;
    static const char text[] =
        "kernel k(n: i32, c: global f32[64, 64])\n    launch { grid = 1; warps = 4; }\n{\n"
        "    let sa: shared f16[64, 64];\n    store(sa, full(f16[64, 64], 1.0));\n    var acc: reg f32[64, 64] = 0.0;\n"
        "    for i in 0..n { acc = wgmma(sa, sa.t, acc); }\n    store(c[.., ..], acc);\n}\n";
    const rt_options o = {.name = "t.tvm", .text = text, .size = sizeof text - 1, .arch = vm_arch_find("sm_90a"), .stage = RT_STAGE_IR,
                          .perf = true, .remarks = true};
    rt_compilation *x = rt_compilation_new(NULL, &o);
    assert_int_equal(rt_compile(x), RT_OK);
    const char *said = rt_diagnostics(x, false, false);
    if (!strstr(said, "inflight(reg f32[64, 64])") || !strstr(said, "waits here for")) fail_msg("%s", said);
    rt_compilation_free(x);
}

static void golden(void **s) {
    (void)s;
    const build b = {.file = "golden/ptx/wgmma.tvm", .kernel = "product"};
    rt_compilation *x = compiled(&b, "sm_90a");
    char path[5000];
    snprintf(path, sizeof path, "%s/../golden/ptx/wgmma.ptx", fixtures);
    const char *body = strstr(x->ptx, ".version"); // what is before names the LLVM release
    assert_non_null(body);
    compare_golden(path, body);
    rt_compilation_free(x);
}

// ---- the pass -----------------------------------------------------------------------------------

#define HEAD                                                                                       \
    "func @f(%n: i32, %p: ptr f32 {written}) warps 8 {\n"                                          \
    "  %a = alloc_shared {name = \"a\"} : shared f16[2, 64, 16]\n"                                 \
    "  %b = alloc_shared {name = \"b\"} : shared f16[16, 64]\n"                                    \
    "  %0 = const {value = 0} : i32\n  %1 = const {value = 1} : i32\n"                             \
    "  %a0 = slice %a, %0 {mode = [0, 2, 2]} : shared f16[64, 16]\n"                               \
    "  %a1 = slice %a, %1 {mode = [0, 2, 2]} : shared f16[64, 16]\n"                               \
    "  %h = const {value = 0} : f16\n  %z = const {value = 0} : f32\n"                             \
    "  %x = full %h : reg f16[64, 16]\n  %c = full %z : reg f32[64, 64]\n"                         \
    "  %v = global_view %p : global f32[64, 64]\n"
#define ACC "inflight reg f32[64, 64]"

static const char *after(vm_comp *c, const char *body) {
    char text[8000];
    snprintf(text, sizeof text, "%s%s  return\n}\n", HEAD, body);
    ir_func *f = ir_must_read(c, text);
    ir_pass_async(f);
    const char *why = "";
    if (c->nerrors == 0 && !ir_verify(f, &why)) fail_msg("%s\n%s", why, ir_print_func(f));
    return ir_print_func(f);
}

static void has(const char *text, const char *part, unsigned times) {
    if (count_text(text, part) != times) fail_msg("%u times '%s', not %u, in\n%s", count_text(text, part), part, times, text);
}

#define LOOP(body)                                                                                 \
    "  %r = for %0, %n, %1, %c0 : " ACC " {\n    (%i: i32, %acc: " ACC "):\n" body "  }\n"
#define LANDED "  %w = wait_value %r : reg f32[64, 64]\n  store %v, %w\n"
#define START "  %c0 = full %z : " ACC "\n"

static void counts(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    // Two products in a row are one group; what is waited for first leaves the younger one open.
    const char *t = after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n  %l = wgmma %a1, %b, %k : " ACC "\n  %w = wait_value %l : reg f32[64, 64]\n"
                             "  store %v, %w\n");
    has(t, "{fence = 1}", 1);
    has(t, "{commit = 1}", 1);
    has(t, "{count = 0}", 1);
    t = after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n  %2 = add %x, %x : reg f16[64, 16]\n  %l = wgmma %a1, %b, %c : " ACC "\n"
                 "  %w = wait_value %k : reg f32[64, 64]\n  store %v, %w\n  %u = wait_value %l : reg f32[64, 64]\n  store %v, %u\n");
    has(t, "{count = 1}", 1);
    has(t, "{count = 0}", 1);
    // Carried by a loop without a wait in it.
    t = after(c, START LOOP("    %m = wgmma %a0, %b, %acc : " ACC "\n    yield %m\n") LANDED);
    has(t, "wait", 1);
    has(t, "{count = 0}", 1);
    // Memory that is written again.
    t = after(c, START LOOP("    store %a0, %x\n    %m = wgmma %a0, %b, %acc : " ACC "\n    yield %m\n") LANDED);
    has(t, "wait_group {count = 0, of = \"wgmma\"}", 1);
    t = after(c, START LOOP("    store %a1, %x\n    %m = wgmma %a0, %b, %acc : " ACC "\n    yield %m\n") LANDED);
    has(t, "wait_group", 0);
    t = after(c, START LOOP("    %m = wgmma %a0, %b, %acc : " ACC "\n    store %a0, %x {lag = 1}\n    yield %m\n") LANDED);
    has(t, "wait_group {count = 1, of = \"wgmma\"}", 1); // not what this iteration's product reads
    // Registers that are written again: one slice waits for all, two leave one open.
    t = after(c, START LOOP("    %e = add %x, %x : reg f16[64, 16]\n    %m = wgmma %e, %b, %acc : " ACC "\n    yield %m\n") LANDED);
    has(t, "wait_group {count = 0, of = \"wgmma\"}", 1);
    t = after(c, START LOOP("    %e = add %x, %x : reg f16[64, 16]\n    %m = wgmma %e, %b, %acc : " ACC "\n"
                            "    %e1 = mul %x, %x : reg f16[64, 16]\n    %m1 = wgmma %e1, %b, %m : " ACC "\n    yield %m1\n") LANDED);
    has(t, "wait_group {count = 1, of = \"wgmma\"}", 2);
    // The kernel ends.
    t = after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n");
    has(t, "wait_group {count = 0, of = \"wgmma\"}", 1);
    vm_comp_free(c);
}

#define ROLES_HEAD                                                                                 \
    "  %full = alloc_barrier {extent = 2, count = 1} : barrier\n  %empty = alloc_barrier {extent = 2, count = 1} : barrier\n" \
    "  %other = alloc_barrier {extent = 2, count = 1} : barrier\n"                                 \
    "  role {begin = 0, end = 2, set = 1} {\n    for %0, %n, %1 {\n      (%pi: i32):\n"             \
    "      %pe = barrier_at %empty, %pi : barrier\n      wait %pe, %pi\n"                              \
    "      %pt = slice %a, %pi {mode = [0, 2, 2]} : shared f16[64, 16]\n      %py = full %h : reg f16[64, 16]\n      store %pt, %py\n"     \
    "      %po = barrier_at %other, %0 : barrier\n      wait %po, %pi\n"                              \
    "      %pg = barrier_at %full, %pi : barrier\n      arrive %pg\n      yield\n    }\n    yield\n  }\n"
#define CONSUMER(release)                                                                          \
    "  role {begin = 4, end = 8, set = 1} {\n    %c0 = full %z : " ACC "\n"                        \
    "    %r = for %0, %n, %1, %c0 : " ACC " {\n      (%i: i32, %acc: " ACC "):\n"                  \
    "      %g = barrier_at %full, %i : barrier\n      wait %g, %i\n"                               \
    "      %t = slice %a, %i {mode = [0, 2, 2]} : shared f16[64, 16]\n"                            \
    "      %m = wgmma %t, %b, %acc : " ACC "\n" release "      yield %m\n    }\n"                  \
    "    %w = wait_value %r : reg f32[64, 64]\n    store %v, %w\n    yield\n  }\n"

static void leases(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    const char *t = after(c, ROLES_HEAD CONSUMER("      %e = barrier_at %empty, %i : barrier\n      arrive %e\n"));
    has(t, "wait_group {count = 0, of = \"wgmma\"}", 1);
    t = after(c, ROLES_HEAD CONSUMER("      %e = barrier_at %empty, %i : barrier\n      arrive %e {lag = 1}\n"));
    has(t, "wait_group {count = 1, of = \"wgmma\"}", 1);
    t = after(c, ROLES_HEAD CONSUMER("      %e = barrier_at %empty, %i : barrier\n      arrive %e {lag = 2}\n"));
    has(t, "wait_group {count = 2, of = \"wgmma\"}", 1);
    // A barrier of the same number that hands back something else needs nothing; the wait of a branch
    // stands before it.
    t = after(c, ROLES_HEAD CONSUMER("      %e = barrier_at %other, %1 : barrier\n      arrive %e\n"));
    has(t, "wait_group", 0);
    t = after(c, ROLES_HEAD CONSUMER("      %q = lt %0, %i : bool\n      if %q {\n        %e = barrier_at %empty, %i : barrier\n"
                                     "        arrive %e {lag = 1}\n        yield\n      } {\n        yield\n      }\n"));
    has(t, "      wait_group {count = 1, of = \"wgmma\"}\n      if", 1);
    vm_comp_free(c);
}

static void refused(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n  print %n {format = \"{}\"}\n");
    assert_int_equal(c->nerrors, 1);
    assert_int_equal(c->diags->code, D_E0516);
    vm_comp_free(c);
    c = ir_fresh();
    after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n  %l = wgmma %a1, %b, %k : " ACC "\n  %m = wgmma %a0, %b, %k : " ACC "\n");
    assert_int_equal(c->nerrors, 1);
    assert_int_equal(c->diags->code, D_E0517);
    vm_comp_free(c);
    // Not twice on any path; and a product that goes on from a landed value.
    c = ir_fresh();
    const char *t = after(c, "  %k = wgmma %a0, %b, %c : " ACC "\n  %w = wait_value %k : reg f32[64, 64]\n  store %v, %w\n"
                             "  %l = wgmma %a1, %b, %k : " ACC "\n  %u = wait_value %l : reg f32[64, 64]\n  store %v, %u\n");
    assert_int_equal(c->nerrors, 0);
    has(t, "wait_value", 2);
    vm_comp_free(c);
}

int main(int argc, char **argv) {
    fixtures = argc > 1 ? argv[1] : "tests/fixtures";
    if (setjmp(ir_oom)) return 99;
    const struct CMUnitTest tests[] = {cmocka_unit_test(machine_code), cmocka_unit_test(assertions), cmocka_unit_test(golden), cmocka_unit_test(waited_each_time), cmocka_unit_test(other_targets),
                                       cmocka_unit_test(counts), cmocka_unit_test(leases), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
