// SPDX-License-Identifier: Apache-2.0
// The text form of tile IR: print and parse are inverse on every golden file; malformed text and
// programs that break a rule are reports, never crashes.
#include "tests/unit/ir_text.h"

static const char *folder;

static int ends_in_ir(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 3 && strcmp(d->d_name + n - 3, ".ir") == 0;
}

static void round_trip(void **s) {
    (void)s;
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/../golden/ir", folder);
    struct dirent **list;
    const int n = scandir(dir, &list, ends_in_ir, alphasort);
    assert_true(n >= 2);
    for (int i = 0; i < n; i++) {
        char path[8192];
        snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        char *text = read_text(path, NULL);
        vm_comp *c = ir_fresh();
        ir_module *m = ir_read(c, text);
        if (!m) fail_msg("%s", vm_diags_text(c, false));
        assert_string_equal(ir_print(m), text);
        // Every prefix and every text with one byte changed is read or refused.
        const size_t size = strlen(text);
        for (size_t k = 0; k < size; k += 7) {
            vm_comp *d = ir_fresh();
            char *cut = malloc(size + 1);
            memcpy(cut, text, size + 1);
            if (k % 2) cut[k] = 0;
            else cut[k] = "%{}@(,:\"x9"[k / 14 % 10];
            ir_module *r = ir_read(d, cut);
            if (!r) assert_true(d->nerrors > 0);
            else {
                char *once = ir_print(r);
                ir_module *again = ir_read(d, once);
                if (!again) fail_msg("%s\n%s", vm_diags_text(d, false), once);
                assert_string_equal(ir_print(again), once);
            }
            free(cut);
            vm_comp_free(d);
        }
        vm_comp_free(c);
        free(text);
        free(list[i]);
    }
    free(list);
}

static void refused(const char *text, const char *why) {
    vm_comp *c = ir_fresh();
    ir_module *m = ir_read(c, text);
    if (m) fail_msg("accepted: %s", text);
    char *said = vm_diags_text(c, false);
    if (!strstr(said, why) || !strstr(said, "E0801")) fail_msg("'%s' is not in: %s", why, said);
    vm_comp_free(c);
}

static void syntax(void **s) {
    (void)s;
    refused("func @f() warps 1 {\n  %0 = cnst {value = 1} : i32\n}\n", "unknown instruction 'cnst'");
    refused("func @f() warps 1 {\n  assume %7\n}\n", "%7 is not defined");
    refused("func @f() warps 1 {\n  %0 = const {value = 1} : i33\n}\n", "no type 'i33'");
    refused("func @f() warps 1 {\n  %0 = const {walue = 1} : i32\n}\n", "unknown attribute 'walue'");
    refused("func @f() warps 1 {\n  %0 = const {value = \"1\"} : i32\n}\n", "value of another kind");
    refused("func @f() warps 1 {\n  %0 = const {value = 1}\n}\n", "1 results, but 0 types");
    refused("func @f() warps 1 {\n  %0 = const {value = 1} : i32\n  %0 = const {value = 2} : i32\n}\n", "defined twice");
    refused("func @f() warps 1 {\n  %0 = poison : reg f32[4] @ locl(4)\n}\n", "layout:");
    refused("func @f() warps 1 {\n  print {format = \"x}\n}\n", "string is not closed");
    refused("func @f(%a: reg f32[4]) warps 1 {\n}\n", "a parameter is a scalar or a pointer");
    refused("func @f() wraps 1 {\n}\n", "unknown function attribute");
    refused("func @f() warps 1 {", "unexpected");
    refused("func @f() warps 1 {\n  %0 = const {value = 99999999999999999999} : u64\n}\n", "64 bits");
    char deep[16384] = "func @f() warps 1 {\n";
    for (int i = 0; i < 400; i++) strcat(deep, "scope {\n");
    refused(deep, "nested too deeply");
}

#define F(body) "func @f(%x: i32, %p: ptr f16) warps 2 {\n" body "}\n"

static void rules(void **s) {
    (void)s;
    refused(F("  %0 = const {value = 300} : u8\n"), "code does not fit");
    refused(F("  %0 = const {value = 3} : u8\n  %1 = add %0, %x : i32\n"), "element types differ");
    refused(F("  %0 = lt %x, %x : i32\n"), "wrong element type");
    refused(F("  %0 = add %x : i32\n"), "needs 2 operands");
    refused(F("  %0 = add %x, %x : i32, i32\n"), "results, but");
    refused(F("  %0 = full %x : reg i32[4]\n  %1 = full %x : reg i32[8]\n  %2 = add %0, %1 : reg i32[4]\n"), "differ in shape");
    refused(F("  %0 = full %x : reg i32[4]\n  %1 = add %0, %x : i32\n"), "differ in shape");
    refused(F("  %0 = thread_id : i32\n"), "only inside simt");
    refused(F("  %0 = block_id {dim = 3} : i32\n"), "not 0, 1 or 2");
    refused(F("  break\n"), "nothing here");
    refused(F("  return\n  sync\n"), "operations after it");
    refused(F("  %0 = lt %x, %x : bool\n  if %0 {\n  } {\n  }\n"), "does not end with a terminator");
    refused(F("  %0 = lt %x, %x : bool\n  %1 = if %0 : i32 {\n    yield %x\n  } {\n  }\n"), "second region");
    refused(F("  %0 = lt %x, %x : bool\n  %1 = if %0 : i32 {\n    yield %0\n  } {\n    yield %x\n  }\n"), "type of value 0");
    refused(F("  %0 = lt %x, %x : bool\n  if %0 {\n    %1 = add %x, %x : i32\n    yield\n  } {\n  }\n  %2 = add %1, %x : i32\n"),
            "not defined here");
    refused(F("  for %x, %x, %x {\n    (%i: i32, %c: i32):\n    yield %c\n  }\n"), "values for");
    refused(F("  for %x, %x, %x {\n    (%i: i64):\n    yield\n  }\n"), "index is not");
    refused(F("  %v = global_view %p, %x : global f16[?]\n  %0 = load %v : reg f16[4]\n"), "view and tile differ");
    refused(F("  %v = global_view %p : global f16[?]\n"), "needs 2 operands");
    refused(F("  %v = global_view %p, %x : global f16[?]\n  %w = slice %v, %x {mode = [1, 1]} : global f16[4]\n"), "needs 1 numbers");
    refused(F("  %v = global_view %p, %x : global f16[?]\n  %r = if %x : global f16[?] {\n    yield %v\n  } {\n    yield %v\n  }\n"),
            "views are not carried");
    refused(F("  %t = full %x : reg i32[4]\n  role {begin = 0, end = 1} {\n    %0 = add %t, %t : reg i32[4]\n    yield\n  }\n"),
            "tile of another group");
    refused(F("  role {begin = 0, end = 3} {\n    yield\n  }\n"), "not in the block");
    refused(F("  %t = full %x : reg i32[64]\n  simt {\n    (%i: i32):\n    %0 = full %x : reg i32[4]\n    yield\n  }\n"), "tile instruction inside simt");
    refused(F("  %t = full %x : reg i32[64]\n  simt {\n    (%i: i32):\n    %0 = elem_get %t, %i : i32\n    yield\n  }\n"), "from outside the simt");
    refused(F("  host_launch %x, %x, %x\n"), "only in the host region");
    refused("func @f(%x: i32) warps 1 {\n} host {\n  sync\n}\n", "not in the host region");
    refused("func @f(%x: i32) warps 1 layouts {\n  %0 = full %x : reg i32[4]\n}\n", "tile without a layout");
    refused("func @f() warps 1 {\n  %0 = poison : reg f32[33] @ spatial(32)\n}\n", "layout smaller than its tile");
    refused("func @f() warps 1 {\n  %0 = poison : reg f32[32] @ spatial(8, 4)\n}\n", "layout of rank 2");
    refused("func @f() warps 1 {\n  %0 = alloc_shared : shared f32[4, 4] @ strides([4, 4], [4, 4])\n}\n", "share an offset");
    refused("func @f() warps 1 {\n  %0 = alloc_shared : shared f32[4, 8] @ strides([4, 4], [4, 1])\n}\n", "layout smaller than its tile");
    refused("func @f(%x: i32) warps 1 layouts relaid {\n  %0 = full %x : reg i32[32] @ spatial(32)\n"
            "  %1 = relayout %0 : reg i32[16] @ spatial(32)\n}\n", "shape changes");
    refused("func @f(%x: i32) warps 2 layouts relaid {\n  %0 = full %x : reg i32[32] @ spatial(32)\n}\n", "layout of 32 threads");
    refused("func @f() warps 99 {\n}\n", "1 to 32 warps");
    refused(F("  %a = full %x : reg i32[4, 8]\n  %b = sum %a {dim = 1} : reg i32[8]\n"), "wrong shape");
    refused(F("  %a = full %x : reg i32[4, 8]\n  %b = permute %a {dims = [0, 0]} : reg i32[4, 8]\n"), "twice");
}

static void tracing(void **s) {
    (void)s;
    vm_comp *c = ir_fresh();
    ir_func *f = ir_must_read(
        c, "func @f(%n: i32, %p: ptr f16) warps 1 {\n"
           "  %v = global_view %p, %n : global f16[?, 64, 32]\n"
           "  %c3 = const {value = 3} : i32\n"
           "  %a = slice %v, %n, %c3 {mode = [0, 1, 2]} : global f16[16, 32]\n"
           "  %b = permute %a {dims = [1, 0]} : global f16[32, 16]\n"
           "  %d = slice %b, %c3, %n {mode = [1, 0]} : global f16[8]\n"
           "  %e = load %d : reg f16[8]\n}\n");
    ir_access a;
    assert_true(ir_trace(f->body->last->ops[0], &a));
    assert_int_equal(a.root->inst, I_global_view);
    assert_int_equal(a.d[0].view_dim, -1);
    assert_int_equal(a.d[0].n, 1);
    assert_int_equal(a.d[1].view_dim, -1);
    assert_int_equal(a.d[1].n, 1);
    assert_int_equal(a.d[1].constant, 3);
    assert_int_equal(a.d[2].view_dim, 0);
    assert_int_equal(a.d[2].n, 0);
    assert_int_equal(a.d[2].constant, 3);
    vm_comp_free(c);
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/fixtures";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(syntax),
        cmocka_unit_test(rules),
        cmocka_unit_test(tracing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
