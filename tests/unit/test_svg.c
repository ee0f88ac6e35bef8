// SPDX-License-Identifier: Apache-2.0
// Pictures of layouts: well-formed, one cell an element, owners named, the same every time.
#include "layout/svg.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena.h"


static void parsed(const char *expr, const layout **f, const shared_layout **s) {
    const char *why = "";
    size_t where = 0;
    *f = NULL;
    *s = NULL;
    if (!layout_parse(arena, expr, f, s, &why, &where)) fail_msg("%s: at %zu: %s", expr, where, why);
}

static const layout *reg(const char *expr) {
    const layout *f;
    const shared_layout *s;
    parsed(expr, &f, &s);
    assert_non_null(f);
    return f;
}

/// Elements nest, attributes are quoted and do not repeat their quote, entities are known.
static void well_formed(const char *x) {
    const char *open[64];
    size_t len[64];
    int depth = 0, roots = 0;
    if (!strncmp(x, "<?xml", 5)) x = strstr(x, "?>") + 2;
    while (*x) {
        if (*x == '&') {
            const bool known = !strncmp(x, "&amp;", 5) || !strncmp(x, "&lt;", 4) || !strncmp(x, "&gt;", 4) || !strncmp(x, "&quot;", 6);
            assert_true(known);
            x++;
        } else if (*x != '<') {
            assert_true(*x == '\n' || (unsigned char)*x >= 32);
            assert_true(depth > 0 || isspace((unsigned char)*x));
            x++;
        } else if (x[1] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_memory_equal(x + 2, open[depth], len[depth]);
            assert_int_equal(x[2 + len[depth]], '>');
            x += 3 + len[depth];
        } else {
            const char *name = ++x;
            while (isalnum((unsigned char)*x)) x++;
            assert_true(x > name && depth < 64);
            if (depth == 0) roots++;
            open[depth] = name;
            len[depth] = (size_t)(x - name);
            bool closed = false;
            while (*x != '>') {
                if (*x == '/') {
                    assert_int_equal(x[1], '>');
                    closed = true;
                    x++;
                    break;
                }
                assert_int_equal(*x, ' ');
                x++;
                while (isalpha((unsigned char)*x) || *x == '-' || *x == ':') x++;
                assert_int_equal(*x, '=');
                assert_int_equal(x[1], '"');
                x = strchr(x + 2, '"');
                assert_non_null(x);
                x++;
            }
            x++;
            if (!closed) depth++;
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) n++;
    return n;
}

static void one_cell_an_element(void **state) {
    (void)state;
    static const struct {
        const char *expr;
        int cells;
    } rows[] = {{"local(2, 1).spatial(8, 4).local(1, 2)", 128},
                {"mma.m16n8k16.a", 256},
                {"spatial(4, 1).spatial(8, 4).local(2, 16)", 64 * 64},
                {"spatial(2, 3, 4).local(1, 2, 5)", 240},
                {"spatial(32)", 32},
                {"local(3).replicated(1, num_workers = 32)", 3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *s = layout_svg(arena, reg(rows[i].expr), rows[i].expr);
        well_formed(s);
        assert_int_equal(count(s, "<g><title>["), rows[i].cells);
        assert_string_equal(s, layout_svg(arena, reg(rows[i].expr), rows[i].expr));
    }
    const char *s = layout_svg(arena, reg("local(2, 1).spatial(8, 4).local(1, 2)"), "a");
    assert_non_null(strstr(s, "[9, 3] thread 5 slot 3"));
    assert_non_null(strstr(s, ">5:3</text>"));
    s = layout_svg(arena, reg("local(3).replicated(1, num_workers = 32)"), "replicas");
    assert_non_null(strstr(s, "[1] thread 0 slot 1, thread 1 slot 1"));
}

static void titles_are_escaped(void **state) {
    (void)state;
    const char *s = layout_svg(arena, reg("spatial(4)"), "a < b && \"c\" > d\x01");
    well_formed(s);
    assert_non_null(strstr(s, "a &lt; b &amp;&amp; &quot;c&quot; &gt; d"));
}

static void pairs_say_how(void **state) {
    (void)state;
    const char *s = layout_svg_pair(arena, reg("local(2, 1).spatial(8, 4)"), reg("local(2, 1).column_spatial(8, 4)"), "pair");
    well_formed(s);
    assert_int_equal(count(s, "<g><title>["), 128);
    assert_non_null(strstr(s, "by 2 shuffles"));
    s = layout_svg_pair(arena, reg("spatial(8, 4)"), reg("spatial(4, 4)"), "pair");
    well_formed(s);
    assert_non_null(strstr(s, "no relayout"));
}

static void shared_by_bank(void **state) {
    (void)state;
    const layout *f;
    const shared_layout *sh;
    parsed("row_major(8, 64)", &f, &sh);
    assert_non_null(sh);
    const char *s = shared_svg(arena, sh, 16, "shared");
    well_formed(s);
    assert_int_equal(count(s, "<g><title>["), 512);
    assert_non_null(strstr(s, "[1, 2] offset 66 byte 132 bank 1<"));
}

static void huge_ones_say_so(void **state) {
    (void)state;
    const int32_t shape[2] = {1024, 1024};
    const char *s = shared_svg(arena, shared_row_major(arena, 2, shape), 8, "huge");
    well_formed(s);
    assert_non_null(strstr(s, "too many to draw"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_cell_an_element, setup, teardown),
        cmocka_unit_test_setup_teardown(titles_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(pairs_say_how, setup, teardown),
        cmocka_unit_test_setup_teardown(shared_by_bank, setup, teardown),
        cmocka_unit_test_setup_teardown(huge_ones_say_so, setup, teardown),
    };
    if (setjmp(oom)) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
