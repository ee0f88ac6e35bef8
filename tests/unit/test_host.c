// SPDX-License-Identifier: Apache-2.0
// The host region: grids, every reason to refuse a launch with its text, loops and jumps.
#include "tests/unit/ir_text.h"

#define KERNEL(body)                                                                               \
    "func @f(%m: i32, %k: i64, %a: ptr u4 {align = 16}, %c: ptr f32 {align = 8, written}) warps 4 smem 1024 {\n" \
    "  return\n} host {\n  %0 = const {value = 0} : i32\n  %1 = const {value = 1} : i32\n"          \
    "  %64 = const {value = 64} : i32\n" body "}\n"
#define SHAPES "  host_extent %m, %k {param = 2}\n  host_extent %m {param = 3}\n"
#define GRID "  %up = sub %64, %1 : i32\n  %s = add %m, %up : i32\n  %g = div %s, %64 : i32\n  host_launch %g, %1, %1, %0\n"

static char memory[8192] __attribute__((aligned(16)));
static ir_arg args[4];

static void defaults(void) {
    memset(args, 0, sizeof args);
    for (int i = 0; i < 4; i++) {
        args[i].rank = -1;
        args[i].bytes = (size_t)-1;
    }
    args[0].code = 100;
    args[1].code = 7;
    args[2].ptr = memory;
    args[3].ptr = memory + 4096;
}

static ir_launch launch(const char *text, bool ok) {
    vm_comp *c = ir_fresh();
    ir_func *f = ir_must_read(c, text);
    ir_launch l;
    if (ir_host_eval(f, args, &l) != ok) fail_msg("%s", l.error);
    vm_comp_free(c);
    return l;
}

static void refused(const char *text, enum vm_code code, const char *why) {
    const ir_launch l = launch(text, false);
    if (l.code != code || strcmp(l.error, why) != 0) fail_msg("[%s] %s", vm_code_name(l.code), l.error);
}

static void grids(void **s) {
    (void)s;
    defaults();
    ir_launch l = launch(KERNEL(SHAPES GRID), true);
    assert_int_equal(l.grid[0], 2);
    assert_int_equal(l.grid[1], 1);
    assert_int_equal(l.dynamic_shared, 0);
    assert_string_equal(l.error, "");
    args[0].code = 0;
    assert_int_equal(launch(KERNEL(SHAPES GRID), true).grid[0], 0);
    args[0].code = 5;
    l = launch(KERNEL("  %n = for %0, %m, %1, %0 : i32 {\n    (%i: i32, %x: i32):\n    %t = const {value = 3} : i32\n"
                      "    %e = eq %i, %t : bool\n    if %e {\n      break %x\n    } {\n    }\n    %y = add %x, %i : i32\n    yield %y\n  }\n"
                      "  %w = while %n : i32 {\n    (%z: i32):\n    %lt = lt %z, %64 : bool\n    yield %lt\n  } {\n    (%z2: i32):\n"
                      "    %d = add %z2, %z2 : i32\n    yield %d\n  }\n  %q = scope : i32 {\n    leave %w\n  }\n  host_launch %n, %q, %1, %64\n"
                      ), true);
    assert_int_equal(l.grid[0], 3); // 0 + 1 + 2
    assert_int_equal(l.grid[1], 96);
    assert_int_equal(l.dynamic_shared, 64);
}

static void refusals(void **s) {
    (void)s;
    defaults();
    const char *check = KERNEL("  %r = rem %m, %64 : i32\n  %e = eq %r, %0 : bool\n"
                               "  host_check %e {message = \"requires m % BM == 0, but {} and BM = 64 (k.tvm:3)\"}\n" GRID);
    refused(check, D_L0002, "requires m % BM == 0, but m = 100 and BM = 64 (k.tvm:3)");
    args[0].code = 128;
    launch(check, true);
    defaults();
    args[2].rank = 2;
    args[2].dim[0] = 100;
    args[2].dim[1] = 8;
    refused(KERNEL(SHAPES GRID), D_L0001, "extent 1 of 'a' is 8, but the kernel needs 7");
    args[2].rank = 1;
    refused(KERNEL(SHAPES GRID), D_L0001, "'a' has 1 dimensions, but the kernel needs 2");
    defaults();
    args[2].bytes = 349; // 700 elements of 4 bits
    refused(KERNEL(SHAPES GRID), D_L0001, "'a' has 349 bytes, but the kernel needs 350");
    args[2].bytes = 350;
    launch(KERNEL(SHAPES GRID), true);
    args[0].code = (uint64_t)(uint32_t)-4;
    refused(KERNEL(SHAPES GRID), D_L0001, "extent 0 of 'a' is -4");
    defaults();
    args[2].ptr = NULL;
    refused(KERNEL(SHAPES GRID), D_L0003, "'a' is a null pointer");
    args[2].ptr = memory + 8;
    refused(KERNEL(SHAPES GRID), D_L0003, "'a' is not aligned to 16 bytes");
    args[2].ptr = memory + 4096 + 384;
    refused(KERNEL(SHAPES GRID), D_L0004, "'c' is written and overlaps 'a'; #[alias] allows it");
    args[2].ptr = memory + 4096 + 400;
    launch(KERNEL(SHAPES GRID), true);
    defaults();
    args[0].code = 70000;
    refused(KERNEL("  host_launch %1, %m, %1, %0\n"), D_L0005, "grid.y is 70000, the limit is 65535; m = 70000");
    args[0].code = 300000;
    refused(KERNEL("  host_launch %1, %1, %1, %m\n"), D_L0006, "the block needs 301024 bytes of shared memory, the limit is 232448");
    args[1].code = (uint64_t)1 << 62;
    refused(KERNEL(SHAPES GRID), D_L0001, "'a' is too large");
    refused(KERNEL("  %n = while %m : i32 {\n    (%z: i32):\n    %t = eq %z, %z : bool\n    yield %t\n  } {\n    (%z2: i32):\n    yield %z2\n  }\n"),
            D_L0007, "the launch conditions take too long to evaluate");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(grids), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
