// SPDX-License-Identifier: Apache-2.0
// Programs that must be rejected: every file of tests/errors says in comments what is reported,
//     // expect: E0201 9:14 part of the message
// and nothing else may be. `// stage: NAME` chooses how far the file is taken (default: parse).
#include "frontend/ast.h"
#include "tests/unit/golden.h"

static const char *fixtures;
static jmp_buf oom;

static void stage_parse(vm_comp *c, uint32_t file) {
    fe_parse(c, file);
}

/// How far a file can be taken; later stages add their rows.
static const struct {
    const char *name;
    void (*run)(vm_comp *c, uint32_t file);
} stages[] = {
    {"parse", stage_parse},
};

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
    char *text = read_text(path, &size), stage[32] = "parse";
    assert_non_null(text);
    for (const char *p = text; (p = strstr(p, "// expect: ")); p++) {
        assert_true(n < sizeof want / sizeof *want);
        expected *e = &want[n++];
        *e = (expected){0};
        if (sscanf(p, "// expect: %15s %u:%u %255[^\n]", e->code, &e->line, &e->col, e->part) < 3)
            fail_msg("%s: cannot read '%.40s'", path, p);
    }
    const char *s = strstr(text, "// stage: ");
    if (s) sscanf(s, "// stage: %31s", stage);

    vm_comp *c = vm_comp_new(NULL, &oom);
    const uint32_t file = vm_source_add(c, strrchr(path, '/') + 1, text, size);
    bool known = false;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (strcmp(stages[i].name, stage) != 0) continue;
        stages[i].run(c, file);
        known = true;
    }
    if (!known) fail_msg("%s: unknown stage %s", path, stage);
    for (const vm_diag *d = c->diags; d; d = d->next) {
        bool met = false;
        for (size_t i = 0; i < n && !met; i++)
            if (!want[i].met && meets(c, &want[i], d)) met = want[i].met = true;
        if (!met)
            fail_msg("%s: %s: not expected: %s: %s\n%s", path, vm_place(c, d->span),
                     vm_code_name(d->code), d->text, vm_diags_text(c, false));
    }
    for (size_t i = 0; i < n; i++)
        if (!want[i].met)
            fail_msg("%s: %s %u:%u %s: not reported\n%s", path, want[i].code, want[i].line,
                     want[i].col, want[i].part, vm_diags_text(c, false));
    vm_comp_free(c);
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
    if (setjmp(oom)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
