// SPDX-License-Identifier: Apache-2.0
// Programs that must be rejected: every file of tests/errors says in comments what is reported,
//     // expect: E0201 9:14 part of the message
// and nothing else may be. `// stage: NAME` chooses how far the file is taken: parse (default), compile
// (all passes, for the VM), ptx (for sm_80, or the target named behind it).
#include "runtime/compile.h"
#include "tests/unit/golden.h"

static const char *fixtures;

/// The file taken through the stage; NULL: there is no such stage.
static rt_compilation *compiled(const char *name, const char *text, size_t size, const char *stage, const char *arch) {
    rt_options o = {.name = name, .text = text, .size = size};
    if (!strcmp(stage, "ptx")) {
        o.arch = vm_arch_find(arch);
        o.stage = RT_STAGE_PTX;
    } else if (!strcmp(stage, "compile")) o.stage = RT_STAGE_IR;
    else if (!strcmp(stage, "parse")) o.stage = RT_STAGE_AST;
    else return NULL;
    rt_compilation *const x = rt_compilation_new(NULL, &o);
    assert_non_null(x);
    assert_int_equal(rt_compile(x), RT_ERRORS);
    return x;
}

typedef struct {
    char code[16], part[256];
    unsigned line, col;
    bool met;
} expected;

static bool meets(vm_comp *c, const expected *e, const vm_diag *d) {
    uint32_t line = 0, col = 0;
    if (d->span.file) vm_source_place(vm_source_at(c, d->span.file), d->span.lo, &line, &col);
    if (strcmp(vm_code_name(d->code), e->code) != 0 || line != e->line || col != e->col)
        return false;
    if (strstr(d->text, e->part)) return true;
    for (const vm_diag *k = d->child; k; k = k->next)
        if (k->text && strstr(k->text, e->part)) return true;
    return false;
}

static void check(const char *path) {
    static expected want[256];
    size_t n = 0, size = 0;
    char *text = read_text(path, &size), stage[32] = "parse", arch[32] = "sm_80";
    assert_non_null(text);
    for (const char *p = text; (p = strstr(p, "// expect: ")); p++) {
        assert_true(n < sizeof want / sizeof *want);
        expected *e = &want[n++];
        *e = (expected){0};
        if (sscanf(p, "// expect: %15s %u:%u %255[^\n]", e->code, &e->line, &e->col, e->part) < 3)
            fail_msg("%s: cannot read '%.40s'", path, p);
    }
    const char *s = strstr(text, "// stage: ");
    if (s) sscanf(s, "// stage: %31s %31s", stage, arch);
    if (!vm_arch_find(arch)) strcpy(arch, "sm_80"); // the line after it

    rt_compilation *const x = compiled(strrchr(path, '/') + 1, text, size, stage, arch);
    if (!x) fail_msg("%s: unknown stage %s", path, stage);
    vm_comp *const c = x->comp;
    for (const vm_diag *d = c->diags; d; d = d->next) {
        bool met = false;
        for (size_t i = 0; i < n && !met; i++)
            if (!want[i].met && meets(c, &want[i], d)) met = want[i].met = true;
        if (!met)
            fail_msg("%s: %s: not expected: %s: %s\n%s", path, vm_place(c, d->span),
                     vm_code_name(d->code), d->text, rt_diagnostics(x, false, false));
    }
    for (size_t i = 0; i < n; i++)
        if (!want[i].met)
            fail_msg("%s: %s %u:%u %s: not reported\n%s", path, want[i].code, want[i].line,
                     want[i].col, want[i].part, rt_diagnostics(x, false, false));
    rt_compilation_free(x);
    free(text);
}

static void all(void **s) {
    (void)s;
    char folder[5000];
    snprintf(folder, sizeof folder, "%s/../errors", fixtures);
    assert_true(each_program(folder, check) > 0);
}

int main(int argc, char **argv) {
    fixtures = argc > 1 ? argv[1] : "tests/fixtures";
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
