// SPDX-License-Identifier: Apache-2.0
// Each pass on small textual IR: what it must do and what it must leave alone. The golden kernel
// goes through the whole pipeline.
#include "tests/unit/ir_text.h"

static const char *folder;

static char *after(vm_comp *c, const char *text, void (*pass)(ir_func *)) {
    ir_func *f = ir_must_read(c, text);
    pass(f);
    const char *why = "";
    if (c->nerrors == 0 && !ir_verify(f, &why)) fail_msg("%s\n%s", why, ir_print_func(f));
    return ir_print_func(f);
}

static void has(const char *text, const char *part, unsigned times) {
    if (count_text(text, part) != times) fail_msg("%u times '%s', not %u, in\n%s", count_text(text, part), part, times, text);
}

#define VIEWS                                                                                      \
    "  %v = global_view %p, %n : global f32[?]\n"                                                  \
    "  %s = alloc_shared {name = \"s\"} : shared f32[64]\n"                                        \
    "  %r = alloc_shared {name = \"r\"} : shared f32[64]\n"                                        \
    "  %0 = const {value = 0} : i32\n"                                                             \
    "  %1 = const {value = 1} : i32\n"                                                             \
    "  %g = slice %v, %0 {mode = [1]} : global f32[64]\n"
#define F(body) "func @f(%n: i32, %p: ptr f32 {written}) warps 4 {\n" VIEWS body "}\n"

static void folding(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    char *t = after(c, F("  %2 = const {value = 7} : i32\n  %3 = mul %2, %2 : i32\n  %4 = mul %3, %0 : i32\n"
                         "  %5 = add %n, %4 : i32\n  %6 = mul %5, %1 : i32\n  %7 = rem %6, %1 : i32\n"
                         "  %8 = add %3, %7 : i32\n  print %8, %6 {format = \"\"}\n"), ir_pass_fold);
    has(t, "{value = 49}", 1);
    has(t, "mul", 0);
    has(t, ", %n {format", 1);
    t = after(c, F("  %2 = eq %0, %1 : bool\n  %3 = if %2 : i32 {\n    sync\n    yield %0\n  } {\n    fence\n    yield %n\n  }\n"
                   "  print %3 {format = \"\"}\n"), ir_pass_fold);
    has(t, "if", 0);
    has(t, "sync", 0);
    has(t, "fence", 1);
    has(t, "print %n", 1);
    t = after(c, F("  %2 = for %1, %0, %1, %n : i32 {\n    (%i: i32, %a: i32):\n    sync\n    yield %i\n  }\n  print %2 {format = \"\"}\n"),
              ir_pass_fold);
    has(t, "sync", 0);
    has(t, "print %n", 1);
    t = after(c, F("  %2 = full %0 : reg i32[64]\n  %3 = full %1 : reg i32[64]\n  %4 = add %2, %3 : reg i32[64]\n"
                   "  %5 = cast %4 : reg f32[64]\n  store %g, %5\n"), ir_pass_fold);
    has(t, "full", 1);
    has(t, "0x3f800000", 1);
    t = after(c, F("  %2 = eq %0, %0 : bool\n  if %2 {\n    return\n  } {\n    yield\n  }\n  fence\n"), ir_pass_fold);
    has(t, "fence", 0);
    has(t, "return", 1);
    vm_comp_free(c);
}

static void dead_code(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    char *t = after(c, F("  %2 = load %g : reg f32[64]\n  %3 = for %0, %n, %1, %2 : reg f32[64] {\n    (%i: i32, %a: reg f32[64]):\n"
                         "    %4 = add %a, %a : reg f32[64]\n    yield %4\n  }\n"), ir_pass_dce);
    has(t, " = ", 1); // the parameter's attribute only
    t = after(c, F("  %2 = load %g : reg f32[64]\n  store %s, %2\n"), ir_pass_dce);
    has(t, "store", 1);
    has(t, "alloc_shared", 1);
    vm_comp_free(c);
}

static void contraction(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    char *t = after(c, F("  %2 = load %g : reg f32[64]\n  %3 = mul %2, %2 : reg f32[64]\n  %4 = add %3, %2 : reg f32[64]\n  store %g, %4\n"),
                    ir_pass_contract);
    has(t, "fma", 1);
    has(t, "mul", 0);
    t = after(c, F("  %2 = load %g : reg f32[64]\n  %3 = mul %2, %2 : reg f32[64]\n  %4 = add %3, %2 {exact = 1} : reg f32[64]\n  store %g, %4\n"),
              ir_pass_contract);
    has(t, "fma", 0);
    t = after(c, F("  %2 = load %g : reg f32[64]\n  %3 = mul %2, %2 : reg f32[64]\n  %4 = add %3, %3 : reg f32[64]\n  store %g, %4\n"),
              ir_pass_contract);
    has(t, "fma", 0);
    vm_comp_free(c);
}

static void hoisting(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    char *t = after(c, F("  for %0, %n, %1 {\n    (%i: i32):\n    for %0, %n, %1 {\n      (%j: i32):\n      %2 = mul %n, %n : i32\n"
                         "      %3 = add %i, %2 : i32\n      %4 = add %3, %j : i32\n      print %4 {format = \"\"}\n      yield\n    }\n    yield\n  }\n"),
                    ir_pass_hoist);
    has(t, "\n  %8 = mul", 1);
    has(t, "\n    %10 = add", 1);
    has(t, "\n      %12 = add", 1);
    vm_comp_free(c);
}

static void shared_memory(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    // One after the other: the same bytes.
    char *t = after(c, F("  %2 = load %g : reg f32[64]\n  store %s, %2\n  %3 = load %s : reg f32[64]\n"
                         "  store %r, %3\n  %4 = load %r : reg f32[64]\n  store %g, %4\n"), ir_pass_smem);
    has(t, "offset = 0}", 2);
    has(t, "smem 256", 1);
    // Both in one loop: side by side.
    t = after(c, F("  for %0, %n, %1 {\n    (%i: i32):\n    %2 = load %s : reg f32[64]\n    store %r, %2\n    %3 = load %r : reg f32[64]\n"
                   "    store %s, %3\n    yield\n  }\n"), ir_pass_smem);
    has(t, "offset = 0}", 1);
    has(t, "offset = 256}", 1);
    has(t, "smem 512", 1);
    assert_int_equal(c->nerrors, 0);
    after(c, "func @f() warps 1 {\n  %x = alloc_shared {name = \"big\"} : shared f32[60000]\n  %y = load %x : reg f32[60000]\n}\n", ir_pass_smem);
    assert_int_equal(c->nerrors, 1);
    assert_non_null(strstr(vm_diags_text(c, false), "E0601"));
    assert_non_null(strstr(vm_diags_text(c, false), "'big': 240000 bytes"));
    // A scan keeps its cells in scratch memory.
    t = after(c, "func @f() warps 2 layouts {\n  %x = iota {dim = 0} : reg i32[64] @ spatial(64)\n"
                 "  %y = scan_inclusive %x {dim = 0, op = \"add\"} : reg i32[64] @ spatial(64)\n"
                 "  %z = sum %x : i32\n}\n", ir_pass_smem);
    has(t, "scratch = ", 2);
    vm_comp_free(c);
}

static void barriers(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
#define FILL "  %2 = load %g : reg f32[64]\n  store %s, %2\n"
#define BARRIERS(n, body) has(after(c, F(FILL body), ir_pass_barrier), " sync", n)
    BARRIERS(1, "  %3 = load %s : reg f32[64]\n  store %g, %3\n");
    BARRIERS(1, "  %3 = load %s : reg f32[64]\n  %4 = load %s : reg f32[64]\n  %5 = add %3, %4 : reg f32[64]\n  store %g, %5\n");
    BARRIERS(1, "  sync\n  %3 = load %s : reg f32[64]\n");
    BARRIERS(0, "  store %r, %2\n");
    BARRIERS(2, "  %3 = load %s : reg f32[64]\n  store %s, %3\n");
    // Before the loop, not in it.
    BARRIERS(1, "  for %0, %n, %1 {\n    (%i: i32):\n    %3 = load %s : reg f32[64]\n    yield\n  }\n");
    // Round the loop and in it; the first of them also orders what came before.
    BARRIERS(2, "  for %0, %n, %1 {\n    (%i: i32):\n    %3 = load %s : reg f32[64]\n    store %s, %3\n    yield\n  }\n");
    // Before a branch, where all threads pass.
    BARRIERS(1, "  %3 = lt %0, %n : bool\n  if %3 {\n    %4 = load %s : reg f32[64]\n    yield\n  } {\n  }\n"
                "  %5 = load %s : reg f32[64]\n");
    BARRIERS(1, "  simt {\n    (%i: i32):\n    %3 = load_elem %s, %i : f32\n    store_elem %r, %i, %3\n    yield\n  }\n");
    // Copies in flight conflict once they are waited for.
    BARRIERS(1, "  copy_async %r, %g\n  commit_group\n  wait_group {count = 0}\n  %3 = load %r : reg f32[64]\n");
    // Global memory, the same parameter: after the load, and after the store.
    BARRIERS(2, "  store %g, %2\n  %3 = load %g : reg f32[64]\n");
    // Stages with different constant numbers do not meet.
    has(after(c, "func @f(%x: f32) warps 2 {\n  %s = alloc_shared : shared f32[2, 64]\n  %0 = const {value = 0} : i32\n"
                 "  %1 = const {value = 1} : i32\n  %a = slice %s, %0 {mode = [0, 2]} : shared f32[64]\n"
                 "  %b = slice %s, %1 {mode = [0, 2]} : shared f32[64]\n  %t = full %x : reg f32[64]\n  store %a, %t\n"
                 "  %u = load %b : reg f32[64]\n}\n", ir_pass_barrier), " sync", 0);
    // Roles have barriers of their own.
    has(after(c, "func @f(%x: f32) warps 4 {\n  %s = alloc_shared : shared f32[64]\n  role {begin = 0, end = 2, set = 0} {\n    yield\n  }\n"
                 "  role {begin = 2, end = 4, set = 0} {\n    %t = full %x : reg f32[64]\n    store %s, %t\n"
                 "    %u = load %s : reg f32[64]\n    yield\n  }\n}\n", ir_pass_barrier), "sync {barrier = 2}", 1);
    // Memory that shares bytes by the plan conflicts, too.
    has(after(c, F("  %2 = load %g : reg f32[64]\n  store %s, %2\n  store %r, %2\n"), ir_pass_barrier), " sync", 0);
    ir_func *f = ir_must_read(c, F(FILL "  %3 = load %s : reg f32[64]\n  store %r, %3\n  %4 = load %r : reg f32[64]\n"));
    ir_pass_smem(f);
    ir_pass_barrier(f);
    has(ir_print_func(f), " sync", 3);
    vm_comp_free(c);
}

#define LOOP(attrs, body)                                                                          \
    F("  for %0, %n, %1 {" attrs "} {\n    (%i: i32):\n" body "    %x = load %s : reg f32[64]\n    yield\n  }\n")
#define FETCH "    fetch {\n      %w = slice %v, %i {mode = [1]} : global f32[64]\n      copy %s, %w\n      yield\n    }\n"

static void pipelines(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    char *t = after(c, LOOP("stages = 4", FETCH), ir_pass_pipeline);
    has(t, "shared f32[4, 64]", 1);
    has(t, "copy_async", 4); // three before the loop, one in it
    has(t, "commit_group", 4);
    has(t, "wait_group {count = 2}", 1);
    has(t, "wait_group {count = 0}", 1);
    has(t, "fetch", 0);
    has(t, "stages", 0);
    t = after(c, LOOP("stages = 1", FETCH), ir_pass_pipeline);
    has(t, "copy_async", 0);
    has(t, "copy %s", 1);
    // Depths of their own, one group for each step.
    t = after(c, LOOP("stages = 3", FETCH "    fetch {stages = 2} {\n      %w2 = slice %v, %i {mode = [1]} : global f32[64]\n"
                                          "      copy %r, %w2\n      yield\n    }\n    %y = load %r : reg f32[64]\n"), ir_pass_pipeline);
    has(t, "commit_group", 3);
    has(t, "copy_async", 5);
    has(t, "wait_group {count = 0}", 2);
    assert_int_equal(c->nerrors, 0);
    vm_comp_free(c);
}

static void no_pipeline(const char *text, const char *code, const char *why) {
    vm_comp *c = ir_fresh();
    after(c, text, ir_pass_pipeline);
    char *said = vm_diags_text(c, false);
    if (!strstr(said, code) || !strstr(said, why)) fail_msg("no %s '%s' in: %s", code, why, said);
    vm_comp_free(c);
}

static void refused_pipelines(void **s) {
    (void)s;
    no_pipeline(F("  for %0, %n, %1 {\n    (%i: i32):\n" FETCH "    yield\n  }\n"), "E0511", "not pipelined");
    no_pipeline(F("  %2 = lt %0, %n : bool\n  if %2 {\n    fetch {\n      copy %s, %g\n      yield\n    }\n    yield\n  } {\n  }\n"), "E0511",
                "directly in the body");
    no_pipeline(LOOP("stages = 3", "    %i0 = load_elem %v, %i : f32\n    %i1 = cast %i0 : i32\n    fetch {\n"
                                   "      %w = slice %v, %i1 {mode = [1]} : global f32[64]\n      copy %s, %w\n      yield\n    }\n"),
                "E0510", "'fetch' reads 'i0', computed by the same iteration");
    no_pipeline(LOOP("stages = 3", FETCH "    %z = load %g : reg f32[64]\n    store %s, %z\n"), "E0512", "written here");
    no_pipeline(F("  for %0, %n, %1 {stages = 2} {\n    (%i: i32):\n" FETCH "    yield\n  }\n  %x = load %s : reg f32[64]\n"), "E0512", "outside of the loop");
    no_pipeline(LOOP("stages = 3", ""), "E0510", "no 'fetch'");
    no_pipeline(LOOP("stages = 3, via = \"bulk\"", FETCH "    %q = lt %i, %n : bool\n    if %q {\n      return\n    } {\n    }\n"), "E0510", "'return' leaves it");
}

static void bounds(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
#define HEAD "func @f(%m: i32, %k: i32, %p: ptr f16) warps 4 {\n  %v = global_view %p, %m, %k : global f16[?, ?]\n" \
                       "  %0 = const {value = 0} : i32\n  %32 = const {value = 32} : i32\n  %64 = const {value = 64} : i32\n"
#define TAIL "  %b = block_id {dim = 0} : i32\n  %m0 = mul %b, %64 : i32\n" \
                       "  for %0, %k, %32 {\n    (%k0: i32):\n    %w = slice %v, %m0, %k0 {mode = [1, 1]} : global f16[64, 32]\n" \
                       "    %x = load %w : reg f16[64, 32]\n    yield\n  }\n} host {\n  %h64 = const {value = 64} : i32\n" \
                       "  %63 = const {value = 63} : i32\n  %h0 = const {value = 0} : i32\n  %h1 = const {value = 1} : i32\n" \
                       "  %up = add %m, %63 : i32\n  %gx = div %up, %h64 : i32\n"
    const char *text;
    text = HEAD "  %q = rem %k, %64 : i32\n  %e = eq %q, %0 : bool\n  assume %e\n" TAIL "  host_launch %gx, %h1, %h1, %h0\n}\n";
    has(after(c, text, ir_pass_divides), "load %w {guard = [0], align = 16}", 1);
    text = HEAD "" TAIL "  host_launch %gx, %h1, %h1, %h0\n}\n";
    has(after(c, text, ir_pass_divides), "load %w {guard = [0, 1], align = 2}", 1);
    text = HEAD "  %q = rem %m, %64 : i32\n  %e = eq %q, %0 : bool\n  %q1 = rem %k, %32 : i32\n"
             "  %e1 = eq %q1, %0 : bool\n  %both = and %e, %e1 : bool\n  assume %both\n" TAIL "  host_launch %gx, %h1, %h1, %h0\n}\n";
    ir_func *f = ir_must_read(c, text);
    ir_pass_divides(f);
    has(ir_print_func(f), "load %w {guard = [], align = 16}", 1);
    assert_int_equal(ir_divisor(f->params[0].value), 64);
    assert_int_equal(ir_divisor(f->params[1].value), 32);
    vm_comp_free(c);
}

static void whole(void **s) {
    (void)s;
    char path[8192];
    snprintf(path, sizeof path, "%s/../golden/ir/pipeline.ir", folder);
    char *text = read_text(path, NULL);
    vm_comp *c = ir_fresh();
    ir_func *f = ir_must_read(c, text);
    const ir_pass_options o = {.verify = true};
    if (!ir_run_passes(f, &o)) fail_msg("%s", vm_diags_text(c, false));
    char *t = ir_print_func(f);
    has(t, " sync\n", 1);
    has(t, "guard = [],", 4);
    has(t, "fma", 1);
    // The result may be fed in again.
    assert_string_equal(ir_print_func(ir_must_read(c, t)), t);
    vm_comp_free(c);
    free(text);
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/fixtures";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folding),   cmocka_unit_test(dead_code),         cmocka_unit_test(contraction),
        cmocka_unit_test(hoisting),  cmocka_unit_test(shared_memory),     cmocka_unit_test(barriers),
        cmocka_unit_test(pipelines), cmocka_unit_test(refused_pipelines), cmocka_unit_test(bounds),
        cmocka_unit_test(whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
