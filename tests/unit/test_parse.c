// SPDX-License-Identifier: Apache-2.0
// Scanner and parser: golden trees, spans, literals, documentation, limits, large inputs. Messages
// are tested by tests/errors/ (see test_errors.c).
#include "frontend/ast.h"
#include "tests/unit/golden.h"

static const char *fixtures;
static jmp_buf oom;

static ast *parse(vm_comp *c, const char *text) {
    return fe_parse(c, vm_source_add(c, "p.tvm", text, strlen(text)));
}

static void programs_each(const char *path) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    size_t size = 0;
    char *text = read_text(path, &size);
    const uint32_t f = vm_source_add(c, path, text, size);
    const ast *a = fe_parse(c, f);
    if (c->nerrors) fail_msg("%s", vm_diags_text(c, false));
    char golden[8200];
    snprintf(golden, sizeof golden, "%.*s.ast", (int)strlen(path) - 4, path);
    compare_golden(golden, fe_ast_text(c, a));
    free(text);
    vm_comp_free(c);
}

static void programs(void **s) {
    (void)s;
    char folder[5000];
    snprintf(folder, sizeof folder, "%s/../golden/ast", fixtures);
    assert_true(each_program(folder, programs_each) >= 5);
}

/// Every node lies within its parent and inside the file.
static void inside(const ast *a, const vm_source *s) {
    assert_true(a->span.lo <= a->span.hi && a->span.hi <= s->size);
    for (uint32_t i = 0; i < a->nkids; i++) {
        const ast *k = a->kid[i];
        if (!k) continue;
        assert_true(k->height < a->height);
        assert_true(a->span.lo <= k->span.lo && k->span.hi <= a->span.hi);
        inside(k, s);
    }
}

static void spans_each(const char *path) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    size_t size = 0;
    char *text = read_text(path, &size);
    const uint32_t f = vm_source_add(c, path, text, size);
    inside(fe_parse(c, f), vm_source_at(c, f));
    assert_memory_equal(vm_source_at(c, f)->text, text, size); // flex has put everything back
    free(text);
    vm_comp_free(c);
}

static void spans(void **s) {
    (void)s;
    char folder[5000];
    snprintf(folder, sizeof folder, "%s/../golden/ast", fixtures);
    each_program(folder, spans_each);
    vm_comp *c = vm_comp_new(NULL, &oom);
    const ast *a = parse(c, "\n  #[x] const  abc : i32 =  1 + 2 ;\n");
    const ast *k = a->kid[0], *b = k->kid[0];
    assert_int_equal(k->span.lo, 8);
    assert_int_equal(k->span.hi, 35);
    assert_int_equal(b->name_span.lo, 15);
    assert_int_equal(b->name_span.hi, 18);
    assert_int_equal(b->kid[1]->span.lo, 28);
    assert_int_equal(b->kid[1]->span.hi, 33);
    assert_string_equal(k->attrs->name, "x");
    assert_null(k->attrs->next);
    vm_comp_free(c);
}

static const ast *value(vm_comp *c, const char *text) {
    const ast *a = parse(c, vm_format(c->arena, "const x = %s;", text));
    if (c->nerrors) fail_msg("%s", vm_diags_text(c, false));
    return a->kid[0]->kid[0]->kid[1];
}

static void literals(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    assert_true(value(c, "18446744073709551615")->u == UINT64_MAX);
    assert_true(value(c, "0xFFff_ffff_FFFF_ffff")->u == UINT64_MAX);
    assert_true(value(c, "0b1011_0110")->u == 0xb6);
    assert_true(value(c, "1_000_007")->u == 1000007);
    assert_true(value(c, "1.5e3")->f == 1500.0);
    assert_true(value(c, "1e-5")->f == 1e-5);
    assert_true(value(c, "1_0.2_5E+1")->f == 102.5);
    assert_string_equal(value(c, "\"a\\n\\t\\\"\\\\b\"")->name, "a\n\t\"\\b");
    assert_string_equal(value(c, "\"\\{{}\\}\"")->name, "{{{}}}");
    assert_int_equal(value(c, "true")->u, 1);
    assert_int_equal(value(c, "false")->kind, AST_BOOL);
    vm_comp_free(c);
}

static void shape(const char *text, const char *want) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    char *got = fe_ast_text(c, value(c, text)), *to = got;
    for (const char *p = got; *p; p++) // one line: blanks instead of line ends and indents
        if (*p != '\n')
            *to++ = *p;
        else if (p[1]) {
            *to++ = ' ';
            while (p[1] == ' ') p++;
        }
    *to = 0;
    assert_string_equal(got, want);
    vm_comp_free(c);
}

static void precedence(void **s) {
    (void)s;
    shape("a + b * c", "binary + id a binary * id b id c");
    shape("a & b == c", "binary == binary & id a id b id c");
    shape("a as b * c", "binary * as id a id b id c");
    shape("-a as b", "as unary - id a id b");
    shape("a in b..c @ d", "binary in id a range id b at id c id d");
    shape("a || b && c", "binary || id a binary && id b id c");
    shape("reg f[1] @ l", "at space reg index id f int 1 id l");
    shape("a << b + c | d", "binary | binary << id a binary + id b id c id d");
    shape("a - b - c", "binary - binary - id a id b id c");
    shape("f(|i, j| i + j, x)", "call id f lambda i, j binary + id i id j id x");
    shape("a[b..c step d, .., e +: 2]", "index id a range id b id c id d all window id e int 2");
    shape("-x.y(1)", "unary - call member y id x int 1");
}

static void documentation(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    const ast *a =
        parse(c, "/// lost\n\n// no\n/// one\n///  two\n///\nfn f() {}\nfn g() {} /// not h\n"
                 "fn h() {}\n//// no\n/// of a\n#[x]\nconst a = 1;");
    assert_string_equal(a->kid[0]->doc, "one\n two\n");
    assert_null(a->kid[1]->doc);
    assert_null(a->kid[2]->doc);
    assert_string_equal(a->kid[3]->doc, "of a");
    vm_comp_free(c);
}

static void repeat(vm_text *t, const char *s, int n) {
    while (n-- > 0) vm_put(t, "%s", s);
}

static uint32_t errors_of(const char *head, const char *open, int n, const char *mid,
                          const char *close, const char *tail) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    vm_text t = {.arena = c->arena};
    vm_put(&t, "%s", head);
    repeat(&t, open, n);
    vm_put(&t, "%s", mid);
    repeat(&t, close, n);
    vm_put(&t, "%s", tail);
    const ast *a = parse(c, vm_text_end(&t));
    assert_true(a->height <= 258);
    fe_ast_text(c, a);
    const uint32_t e = c->nerrors;
    if (e) assert_int_equal(c->diags->code, D_E0701);
    vm_comp_free(c);
    return e;
}

static void nesting(void **s) {
    (void)s;
    const char *const forms[][5] = {
        {"const a = ", "(", "1", ")", ";"},
        {"const a = ", "[", "1", "]", ";"},
        {"const a = ", "f(", "1", ")", ";"},
        {"const a = ", "-", "1", "", ";"},
        {"const a = ", "", "1", "+1", ";"},
        {"const a = ", "|i| ", "1", "", ";"},
        {"const a = ", "x[", "1", "]", ";"},
        {"const a = b", "", "", ".c", ";"},
        {"const a = ", "reg ", "f32", "", ";"},
        {"fn f() ", "{", "", "}", ""},
        {"fn f() { ", "if a {} else ", "{}", "", "}"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const char *const *f = forms[i];
        assert_int_equal(errors_of(f[0], f[1], 100, f[2], f[3], f[4]), 0);
        assert_int_equal(errors_of(f[0], f[1], 300, f[2], f[3], f[4]), 1);
        assert_int_equal(errors_of(f[0], f[1], 50000, f[2], f[3], f[4]), 1);
    }
}

static void sizes(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    assert_int_equal(parse(c, "")->nkids, 0);
    assert_int_equal(parse(c, "// only a comment")->nkids, 0);
    assert_int_equal(parse(c, "\xef\xbb\xbf const a = 1;")->nkids, 1);
    vm_text t = {.arena = c->arena};
    for (int i = 0; i < 20000; i++)
        vm_put(&t, "/// doc\nfn f%d(a: i32) -> i32 { return a + %d; }\n", i, i);
    vm_put(&t, "const list = [0");
    repeat(&t, ", 1", 100000);
    vm_put(&t, "];\n");
    const ast *a = parse(c, vm_text_end(&t));
    assert_int_equal(c->nerrors, 0);
    assert_int_equal(a->nkids, 20001);
    assert_int_equal(a->kid[20000]->kid[0]->kid[1]->nkids, 100001);
    vm_comp_free(c);
}

static void many_errors(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    vm_text t = {.arena = c->arena};
    vm_put(&t, "fn f() {\n");
    repeat(&t, "x = 1\ny = ;\n", 3000);
    vm_put(&t, "}\n");
    parse(c, vm_text_end(&t));
    assert_true(c->nerrors >= 100);
    vm_comp_free(c);
}

static void tokens(void **s) {
    (void)s;
    vm_comp *c = vm_comp_new(NULL, &oom);
    const char *text = "kernel k[\n  1.5, 0x1f) \"s\" // c\n..+:";
    assert_string_equal(fe_tokens_text(c, vm_source_add(c, "t.tvm", text, strlen(text))),
                        "1:1 kernel\n1:8 identifier k\n1:9 '['\n2:3 number 1.5\n2:6 ','\n"
                        "2:8 integer 0x1f\n2:12 ')'\n2:14 string \"s\"\n3:1 '..'\n3:3 '+:'\n"
                        "3:5 end of file\n");
    assert_string_equal(ast_op_text(OP_SHL), "<<");
    vm_comp_free(c);
}

static size_t left;

static void *limited(void *user, size_t size) {
    (void)user;
    return left == 0 ? NULL : (left--, malloc(size));
}

static void release(void *user, void *p, size_t size) {
    (void)user;
    (void)size;
    free(p);
}

/// Memory running out at every block of the arena ends the compilation and leaks nothing.
static void out_of_memory(void **s) {
    (void)s;
    const vm_allocator a = {limited, release, NULL};
    static char text[1 << 16];
    static size_t n; // not in a register: longjmp
    for (int i = 0; i < 900; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "fn f%d(a: i32) { x = [a, ((b))]; }\n", i);
    for (volatile size_t blocks = 0;; blocks++) {
        left = blocks;
        jmp_buf here;
        vm_comp *volatile c = NULL;
        if (setjmp(here) == 0) {
            c = vm_comp_new(&a, &here);
            if (!c) continue;
            const uint32_t f = vm_source_add(c, "o.tvm", text, n);
            fe_format(c, f);
            fe_ast_text(c, fe_parse(c, f));
            vm_comp_free(c);
            break;
        }
        if (c) vm_comp_free(c);
        assert_true(blocks < 10000);
    }
}

int main(int argc, char **argv) {
    fixtures = argc > 1 ? argv[1] : "tests/fixtures";
    if (setjmp(oom)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs),      cmocka_unit_test(spans),
        cmocka_unit_test(literals),      cmocka_unit_test(precedence),
        cmocka_unit_test(documentation), cmocka_unit_test(nesting),
        cmocka_unit_test(sizes),         cmocka_unit_test(many_errors),
        cmocka_unit_test(tokens),        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
