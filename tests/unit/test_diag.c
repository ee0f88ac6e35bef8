// SPDX-License-Identifier: Apache-2.0
// The sink: snippets, labels, JSON, limits, and texts that no terminal should see as they are; and
// what stands under it: arena, names, sources. Running out of memory is tried at every allocation.
#include "vm/vm.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static jmp_buf oom;

static vm_comp *fresh(void) {
    vm_comp *c = vm_comp_new(NULL, &oom);
    assert_non_null(c);
    return c;
}

static uint32_t source(vm_comp *c, const char *name, const char *text) {
    return vm_source_add(c, name, text, strlen(text));
}

static vm_span find(vm_comp *c, uint32_t file, const char *part) {
    const char *text = vm_source_at(c, file)->text, *at = strstr(text, part);
    assert_non_null(at);
    const uint32_t lo = (uint32_t)(at - text);
    return (vm_span){file, lo, lo + (uint32_t)strlen(part)};
}

static void snippet(void **s) {
    (void)s;
    vm_comp *c = fresh();
    const uint32_t f = source(
        c, "w.tvm", "one\n\n\n\n\n\n\n\n\n\tlet w = q.view(x) as T;\nlet q = y;\n");
    vm_diag *d = vm_report(c, D_E0201, find(c, f, "q.view(x)"), "view changes %d bits", 2);
    vm_label(c, d, find(c, f, "q.view(x)"), "256 bits");
    vm_label(c, d, find(c, f, "one"), "128 bits");
    vm_note(c, d, "because of '%s'", "x");
    vm_help(c, d, "write less");
    vm_fix(c, d, find(c, f, "as T"), "as U");
    vm_report(c, D_E0201, VM_NOWHERE, "nowhere");
    assert_string_equal(vm_diags_text(c, false),
                        "w.tvm:10:10: error[E0201]: view changes 2 bits\n"
                        "10 |     let w = q.view(x) as T;\n"
                        "   |             ^~~~~~~~~ 256 bits\n"
                        " 1 | one\n"
                        "   | --- 128 bits\n"
                        "   = note: because of 'x'\n"
                        "   = help: write less\n"
                        "   = help: write 'as U' instead of 'as T'\n"
                        "\n"
                        "error[E0201]: nowhere\n");
    assert_int_equal(c->nerrors, 2);
    assert_non_null(strstr(vm_diags_text(c, true), "\033[1;31m"));
    assert_string_equal(vm_place(c, find(c, f, "q = y")), "w.tvm:11:5");
    assert_string_equal(vm_place(c, VM_NOWHERE), "?");
    vm_comp_free(c);
}

static void other_file_and_same_line(void **s) {
    (void)s;
    vm_comp *c = fresh();
    const uint32_t a = source(c, "a", "x + y\r\n"), b = source(c, "b", "z");
    vm_diag *d = vm_report(c, D_E0201, find(c, a, "x"), "no");
    vm_label(c, d, find(c, a, "y"), "here");
    vm_label(c, d, find(c, b, "z"), "there");
    assert_string_equal(vm_diags_text(c, false), "a:1:1: error[E0201]: no\n"
                                                 "1 | x + y\n"
                                                 "  | ^\n"
                                                 "  |     - here\n"
                                                 " ::: b:1:1\n"
                                                 "1 | z\n"
                                                 "  | - there\n");
    vm_comp_free(c);
}

static void odd_places(void **s) {
    (void)s;
    vm_comp *c = fresh();
    const uint32_t f = source(c, "f", "a\xff\x01\xc3\xa9z");
    vm_report(c, D_E0201, find(c, f, "z"), "bad\x1b text\xfe");
    vm_report(c, D_E0201, (vm_span){f, 6, 6}, "at the end");
    vm_report(c, D_E0201, (vm_span){f, 4000, 2}, "beyond");
    vm_report(c, D_E0201, (vm_span){77, 1, 2}, "unknown file");
    const uint32_t e = source(c, "e", "");
    vm_report(c, D_E0201, (vm_span){e, 0, 0}, "empty");
    const uint32_t n = source(c, "n", "ab\ncd\n");
    vm_report(c, D_E0201, (vm_span){n, 1, 5}, "two lines");
    vm_report(c, D_E0201, (vm_span){n, 6, 6}, "eof");
    assert_string_equal(vm_diags_text(c, false),
                        "f:1:5: error[E0201]: bad\xef\xbf\xbd text\xef\xbf\xbd\n"
                        "1 | a\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9z\n"
                        "  |     ^\n\n"
                        "f:1:6: error[E0201]: at the end\n"
                        "1 | a\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9z\n"
                        "  |      ^\n\n"
                        "f:1:6: error[E0201]: beyond\n"
                        "1 | a\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9z\n"
                        "  |      ^\n\n"
                        "error[E0201]: unknown file\n\n"
                        "e:1:1: error[E0201]: empty\n"
                        "1 |\n"
                        "  | ^\n\n"
                        "n:1:2: error[E0201]: two lines\n"
                        "1 | ab\n"
                        "  |  ^\n\n"
                        "n:3:1: error[E0201]: eof\n"
                        "3 |\n"
                        "  | ^\n");
    assert_non_null(vm_diags_json(c));
    vm_comp_free(c);
}

static void long_line(void **s) {
    (void)s;
    vm_comp *c = fresh();
    char *text = malloc(100001);
    for (int i = 0; i < 100000; i++) text[i] = (char)(i % 37 == 5 ? '\t' : 'a' + i % 26);
    text[100000] = 0;
    const uint32_t f = source(c, "long", text);
    for (uint32_t at = 0; at < 100000; at += 9973)
        vm_report(c, D_E0201, (vm_span){f, at, at + 300}, "far %u", at);
    vm_report(c, D_E0201, (vm_span){f, 99990, 100000}, "end");
    char *out = vm_diags_text(c, false);
    for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
        assert_true(strlen(line) < 180);
        if (strncmp(line, "  |", 3) == 0) assert_non_null(strchr(line, '^'));
    }
    free(text);
    vm_comp_free(c);
}

static void limits_and_flags(void **s) {
    (void)s;
    vm_comp *c = fresh();
    c->max_errors = 3;
    const uint32_t f = source(c, "f", "abcdefghijkl");
    for (int twice = 0; twice < 2; twice++) vm_report(c, D_E0201, (vm_span){f, 0, 1}, "same");
    assert_int_equal(c->nerrors, 1);
    for (uint32_t i = 1; i < 6; i++)
        assert_non_null(vm_note(c, vm_report(c, D_E0201, (vm_span){f, i, i}, "e"), "n"));
    assert_int_equal(c->nerrors, 6);
    assert_non_null(strstr(vm_diags_text(c, false), "error: 3 more errors are not shown\n"));
    vm_report(c, D_Wperf, VM_NOWHERE, "slow");
    vm_report(c, D_Rpass, VM_NOWHERE, "chose");
    assert_null(strstr(vm_diags_text(c, false), "slow"));
    assert_int_equal(c->nwarnings, 0);
    c->want_perf = c->want_remarks = true;
    vm_report(c, D_Wperf, VM_NOWHERE, "slow");
    vm_report(c, D_Rpass, VM_NOWHERE, "chose");
    assert_non_null(strstr(vm_diags_text(c, false), "warning[-Wperf]: slow\n"));
    assert_non_null(strstr(vm_diags_text(c, false), "remark[-Rpass]: chose\n"));
    assert_int_equal(c->nwarnings, 1);
    c->werror = true;
    assert_int_equal(vm_report(c, D_Wperf, VM_NOWHERE, "slower")->sev, VM_ERROR);
    assert_int_equal(c->nerrors, 7);
    vm_comp_free(c);
}

static void json(void **s) {
    (void)s;
    vm_comp *c = fresh();
    const uint32_t f = source(c, "a \"b\".tvm", "let\nx = \"1\";\n");
    vm_diag *d = vm_report(c, D_E0201, find(c, f, "= "), "tab\t\xff");
    vm_label(c, d, find(c, f, "let"), "lab");
    vm_note(c, d, "no \\ te");
    vm_fix(c, d, find(c, f, "= "), "== ");
    const char *t = vm_diags_json(c);
    const char *want[] = {
        "{\"$message_type\":\"diagnostic\",\"message\":\"tab\\u0009\\ufffd\"",
        "\"code\":{\"code\":\"E0201\",\"explanation\":\"",
        "\"level\":\"error\",\"spans\":[{\"file_name\":\"a \\\"b\\\".tvm\",\"byte_start\":6,"
        "\"byte_end\":8,\"line_start\":2,\"line_end\":2,\"column_start\":3,\"column_end\":5,"
        "\"is_primary\":true,\"text\":[{\"text\":\"x = \\\"1\\\";\",\"highlight_start\":3,"
        "\"highlight_end\":5}],\"label\":null,\"suggested_replacement\":null",
        "},{\"file_name\":\"a \\\"b\\\".tvm\",\"byte_start\":0,", "\"label\":\"lab\"",
        "\"children\":[{\"message\":\"no \\\\ te\",\"code\":null,\"level\":\"note\",\"spans\":[]",
        "\"level\":\"help\",\"spans\":[{", "\"suggested_replacement\":\"== \""};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!strstr(t, want[i])) fail_msg("%s lacks %s", t, want[i]);
    assert_ptr_equal(strchr(t, '\n') + 1, t + strlen(t)); // one line
    vm_comp_free(c);
}

static void codes(void **s) {
    (void)s;
    enum vm_code k;
    for (unsigned i = 0; i < D_count_; i++) {
        assert_true(vm_code_find(vm_code_name((enum vm_code)i), &k));
        assert_int_equal(k, i);
        assert_true(strlen(vm_code_title((enum vm_code)i)) > 3);
        assert_true(strlen(vm_code_chapter((enum vm_code)i)) > 20);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(vm_code_name((enum vm_code)i), vm_code_name((enum vm_code)j));
    }
    assert_true(vm_code_find("Wperf", &k));
    assert_int_equal(k, D_Wperf);
    assert_false(vm_code_find("E9999", &k));
}

static void names(void **s) {
    (void)s;
    vm_comp *c = fresh();
    static const char *at[5000];
    char buf[32];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 5000; i++) {
            snprintf(buf, sizeof buf, "n%x", i * 7919);
            const char *p = vm_intern(c, buf);
            assert_string_equal(p, buf);
            if (round) assert_ptr_equal(p, at[i]);
            at[i] = p;
        }
    assert_ptr_equal(vm_internn(c, "n0xx", 2), at[0]);
    const char *cands[] = {"copy", "shuffle_up", "shuffle_down", "load", "store"};
    assert_string_equal(vm_nearest("lod", cands, 5), "load");
    assert_string_equal(vm_nearest("laod", cands, 5), "load");
    assert_string_equal(vm_nearest("shuffle_dwon", cands, 5), "shuffle_down");
    assert_null(vm_nearest("xyz", cands, 5));
    assert_null(vm_nearest("", cands, 5));
    assert_null(vm_nearest("a", cands, 5));
    vm_comp_free(c);
}

static void places(void **s) {
    (void)s;
    vm_comp *c = fresh();
    const uint32_t f = source(c, "p", "a\n\xc3\xa9z\r\n\nlast");
    const vm_source *src = vm_source_at(c, f);
    assert_int_equal(src->nlines, 4);
    assert_int_equal(src->text[src->size], 0);
    assert_int_equal(src->text[src->size + 1], 0);
    uint32_t line, col;
    vm_source_place(src, 4, &line, &col);
    assert_int_equal(line, 2);
    assert_int_equal(col, 2);
    vm_source_place(src, 999, &line, &col);
    assert_int_equal(line, 4);
    assert_int_equal(col, 5);
    assert_null(vm_source_at(c, 0));
    assert_null(vm_source_at(c, 2));
    const vm_span j = vm_span_join((vm_span){1, 4, 6}, (vm_span){1, 2, 5});
    assert_int_equal(j.lo, 2);
    assert_int_equal(j.hi, 6);
    assert_int_equal(vm_span_join(VM_NOWHERE, j).hi, 6);
    assert_int_equal(vm_span_join(j, (vm_span){2, 0, 99}).hi, 6);
    vm_comp_free(c);
}

static void tables(void **s) {
    (void)s;
    vm_dtype t;
    for (unsigned i = 0; i < T_count_; i++) {
        assert_true(vm_dtype_find(vm_dtypes[i].name, &t));
        assert_int_equal(t, i);
        if (vm_dtypes[i].kind == K_FLOAT && t != T_tf32 && t != T_f8e8m0)
            assert_int_equal(vm_dtypes[i].bits, 1 + vm_dtypes[i].e + vm_dtypes[i].m);
    }
    assert_false(vm_dtype_find("f6e3m3", &t));
    vm_inst k;
    for (unsigned i = 0; i < I_count_; i++) {
        assert_true(vm_inst_find(vm_insts[i].name, &k));
        assert_int_equal(k, i);
    }
    assert_false(vm_inst_find("matmul", &k));
    assert_string_equal(vm_arch_for_device(9, 0)->name, "sm_90a");
    assert_string_equal(vm_arch_for_device(10, 0)->name, "sm_90");
    assert_string_equal(vm_arch_for_device(8, 7)->name, "sm_86");
    assert_null(vm_arch_for_device(7, 5));
    assert_null(vm_arch_find("sm_70"));
    assert_true(vm_arch_has(vm_arch_find("sm_90a"), "wgmma"));
    assert_false(vm_arch_has(vm_arch_find("sm_90"), "wgmma"));
    assert_true(vm_arch_has(vm_arch_find("sm_80"), "cp_async"));
    assert_false(vm_arch_has(vm_arch_find("sm_80"), "magic"));
}

// ---- no memory ----------------------------------------------------------------------------------

typedef struct {
    size_t live;
    int left;
} budget;

static void *take(void *user, size_t size) {
    budget *b = user;
    assert_true(size > 0);
    if (b->left-- <= 0) return NULL;
    b->live += size;
    return malloc(size);
}

static void give(void *user, void *ptr, size_t size) {
    ((budget *)user)->live -= size;
    free(ptr);
}

/// Whether a compilation comes through with n allocations; nothing may leak either way.
static bool survives(int n) {
    budget b = {0, n};
    const vm_allocator mem = {take, give, &b};
    jmp_buf out;
    volatile bool done = false;
    vm_comp *c = vm_comp_new(&mem, &out);
    if (c && setjmp(out) == 0) {
        static char big[5000];
        memset(big, 'x', sizeof big);
        for (uint32_t i = 0; i < 60; i++) {
            const uint32_t f = vm_source_add(c, "f", big, sizeof big);
            vm_note(c, vm_report(c, D_E0201, (vm_span){f, i, i + 1}, "e%u", i), "n");
            vm_internn(c, big, i * 80);
        }
        assert_true(strlen(vm_diags_text(c, true)) > 1000);
        assert_true(vm_arena_used(c->arena) > 100000);
        done = true;
    }
    vm_comp_free(c);
    assert_int_equal(b.live, 0);
    return done;
}

static void out_of_memory(void **s) {
    (void)s;
    int n = 0;
    while (n < 1000 && !survives(n)) n++;
    assert_true(n > 4 && n < 1000);
}

static void memory(void **s) {
    (void)s;
    vm_comp *c = fresh();
    VM_VEC(int) v = {0};
    for (int i = 0; i < 1000; i++) vm_push(c->arena, &v, i * 3);
    for (int i = 0; i < 1000; i++) assert_int_equal(v.at[i], i * 3);
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = vm_alloc(c->arena, n);
        assert_int_equal((uintptr_t)p & 15, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    vm_text t = {.arena = c->arena};
    assert_string_equal(vm_text_end(&t), "");
    for (int i = 0; i < 500; i++) vm_put(&t, "%d,", i);
    assert_int_equal(strlen(vm_text_end(&t)), t.n);
    assert_string_equal(vm_format(c->arena, "%s-%d", "a", 5), "a-5");
    vm_comp_free(c);
    vm_comp_free(NULL);
    vm_arena_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snippet),       cmocka_unit_test(other_file_and_same_line),
        cmocka_unit_test(odd_places),    cmocka_unit_test(long_line),
        cmocka_unit_test(limits_and_flags), cmocka_unit_test(json),
        cmocka_unit_test(codes),         cmocka_unit_test(names),
        cmocka_unit_test(places),        cmocka_unit_test(tables),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
