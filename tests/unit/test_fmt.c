// SPDX-License-Identifier: Apache-2.0
// The formatter: it keeps the tree, it is idempotent, and its style is as the golden files show.
#include "frontend/ast.h"
#include "tests/unit/golden.h"

static const char *fixtures;
static jmp_buf oom;

static const char *format(vm_comp *c, const char *text) {
    const uint32_t f = vm_source_add(c, "f.tvm", text, strlen(text));
    return fe_format(c, f);
}

static void check(const char *in, const char *want) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    const char *out = format(c, in);
    assert_non_null(out);
    assert_string_equal(out, want);
    assert_string_equal(format(c, out), want);
    vm_comp_free(c);
}

static void programs_each(const char *path) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    char *text = read_text(path, NULL);
    assert_non_null(text);
    const char *once = format(c, text);
    if (!once) fail_msg("%s: %s", path, vm_diags_text(c, false));
    const uint32_t a = vm_source_add(c, "a.tvm", text, strlen(text));
    const uint32_t b = vm_source_add(c, "b.tvm", once, strlen(once));
    assert_string_equal(fe_ast_text(c, fe_parse(c, a)), fe_ast_text(c, fe_parse(c, b)));
    assert_string_equal(format(c, once), once);
    char golden[8200];
    snprintf(golden, sizeof golden, "%.*s.fmt", (int)strlen(path) - 4, path);
    compare_golden(golden, once);
    free(text);
    vm_comp_free(c);
}

static void programs(void **s) {
    (void)s;
    char folder[5000];
    snprintf(folder, sizeof folder, "%s/../golden/ast", fixtures);
    assert_true(each_program(folder, programs_each) >= 5);
}

static void spaces(void **s) {
    (void)s;
    check("", "");
    check("\n\n  \n", "");
    check("const a=1 ;", "const a = 1;\n");
    check("const a=-1- -b*(c+d)as u8;", "const a = -1 - -b * (c + d) as u8;\n");
    check("const f = | i,j | - i, g = (| x | x | y) ;", "const f = |i, j| -i, g = (|x| x | y);\n");
    check("const x = a [ i+:W , .. , 1 .. 2 , ..] . t ( ) ;",
          "const x = a[i +: W, .., 1..2, ..].t();\n");
    check("fn f(){}", "fn f() {}\n");
    check("fn f() { a();\n}", "fn f() {\n    a();\n}\n");
    check("fn f() { a(); }", "fn f() { a(); }\n");
    check("fn f() { a(); b(); }", "fn f() {\n    a();\n    b();\n}\n");
    check(
        "test \"t\" { #[x] if a{b();}else{c();} }",
        "test \"t\" {\n    #[x]\n    if a {\n        b();\n    } else {\n        c();\n    }\n}\n");
}

static void comments(void **s) {
    (void)s;
    check("// a\n\n\n\n// b", "// a\n\n// b\n");
    check("const a = 1; // one\nconst bcd = 2; // two\n",
          "const a = 1;    // one\nconst bcd = 2;  // two\n");
    check("const a = [1, // one\n2];", "const a = [1,  // one\n    2];\n");
    check("fn f() { // why\n}", "fn f() {  // why\n}\n");
    check("fn f() {\n\n\n// only\n\n}", "fn f() {\n    // only\n}\n");
}

static void long_lines(void **s) {
    (void)s;
    char in[2048] = "fn f() { call(";
    for (int i = 0; i < 60; i++)
        snprintf(in + strlen(in), sizeof in - strlen(in), "%sargument%d", i ? ", " : "", i);
    strcat(in, "); }");
    vm_comp *c = vm_comp_new(NULL, &oom);
    const char *out = format(c, in);
    assert_non_null(out);
    for (const char *p = out; *p;) {
        const size_t n = strcspn(p, "\n");
        assert_true(n <= 100);
        p += n + (p[n] == '\n');
    }
    assert_string_equal(format(c, out), out);
    vm_comp_free(c);
}

static void errors(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    assert_null(format(c, "const a = ;"));
    assert_null(format(c, "const a = \"x;"));
    assert_null(format(c, "const a = ;"));
    vm_comp_free(c);
}

int main(int argc, char **argv) {
    fixtures = argc > 1 ? argv[1] : "tests/fixtures";
    if (setjmp(oom)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs),   cmocka_unit_test(spaces), cmocka_unit_test(comments),
        cmocka_unit_test(long_lines), cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
