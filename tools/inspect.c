// SPDX-License-Identifier: Apache-2.0
// tilusc layout, type and explain: questions to the tables, without a program.
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "layout/svg.h"
#include "tools/tool.h"

enum { KEY_JSON = 1000, KEY_SVG, KEY_BITS };
typedef struct {
    const char *what, *other, *svg; // other: second layout of a pair
    bool json;
    unsigned bits;
} query;

static error_t parse(int key, char *arg, struct argp_state *s) {
    query *const q = s->input;
    switch (key) {
    case KEY_JSON: q->json = true; return 0;
    case ARGP_KEY_ARG:
        if (q->what) argp_error(s, "one argument, please");
        q->what = arg;
        return 0;
    case ARGP_KEY_END:
        if (!q->what) argp_error(s, "an argument is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
static const struct argp_option options[] = {{"json", KEY_JSON, NULL, 0, "Print JSON", 0}, {0}};

// ---- layout -------------------------------------------------------------------------------------

static error_t parse_layout(int key, char *arg, struct argp_state *s) {
    query *const q = s->input;
    switch (key) {
    case KEY_SVG: q->svg = arg; return 0;
    case KEY_BITS: {
        char *end;
        const unsigned long n = strtoul(arg, &end, 10);
        if (*end || n < 1 || n > 64) argp_error(s, "--bits takes 1 to 64, not '%.100s'", arg);
        q->bits = (unsigned)n;
        return 0;
    }
    case ARGP_KEY_ARG:
        if (!q->what) return parse(key, arg, s);
        if (q->other) argp_error(s, "one layout, or two with --svg");
        q->other = arg;
        return 0;
    case ARGP_KEY_END:
        if (q->other && !q->svg) argp_error(s, "two layouts are drawn side by side: --svg is missing");
        return parse(key, arg, s);
    default: return parse(key, arg, s);
    }
}
static const struct argp_option layout_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print JSON", 0},
    {"svg", KEY_SVG, "FILE", 0, "Draw it into FILE; two layouts side by side", 0},
    {"bits", KEY_BITS, "N", 0, "Width of an element of a shared layout, for its banks (default 16)", 0},
    {0}};

static bool read_layout(vm_arena *a, const char *text, const layout **reg, const shared_layout **sh) {
    const char *why = NULL;
    size_t where = 0;
    if (layout_parse(a, text, reg, sh, &why, &where)) return true;
    fflush(stdout);
    fprintf(stderr, "tilusc: error: %s\n  %s\n  %*s^\n", why ? why : "not a layout", text, (int)where, "");
    return false;
}

static int draw_layout(vm_arena *a, const query *q, const layout *reg, const shared_layout *sh) {
    const layout *to = NULL;
    const shared_layout *other = NULL;
    const char *text;
    if (q->other && !read_layout(a, q->other, &to, &other)) return TOOL_FAILED;
    if (q->other && (!reg || !to)) {
        tool_error("a pair is made of two register layouts");
        return TOOL_FAILED;
    }
    if (to) text = layout_svg_pair(a, reg, to, vm_format(a, "%s to %s", q->what, q->other));
    else text = reg ? layout_svg(a, reg, q->what) : shared_svg(a, sh, q->bits ? q->bits : 16, q->what);
    return tool_write(q->svg, text, strlen(text)) ? TOOL_OK : TOOL_USAGE;
}

static int show_layout(vm_comp *c, const query *q) {
    const layout *reg = NULL;
    const shared_layout *sh = NULL;
    vm_arena *const a = c->arena;
    if (!read_layout(a, q->what, &reg, &sh)) return TOOL_FAILED;
    if (q->svg) return draw_layout(a, q, reg, sh);
    if (q->json) {
        puts(reg ? layout_json(a, reg) : shared_json(a, sh));
        return TOOL_OK;
    }
    if (!reg) {
        printf("%s\n%s", shared_text(a, sh), shared_grid(a, sh));
        return TOOL_OK;
    }
    printf("%s\n%s", layout_text(a, reg), layout_grid(a, reg));
    return TOOL_OK;
}

int tool_layout(int argc, char **argv) {
    static const struct argp a = {layout_options, parse_layout, "EXPR [EXPR]",
        "Prints or draws the table of a layout: for registers which thread and slot holds an element, for shared memory "
        "where it lies.\vexamples:\n"
        "  tilusc layout 'local(2, 1).spatial(8, 4).local(1, 2)'\n"
        "  tilusc layout mma.m16n8k16.b --json\n"
        "  tilusc layout 'spatial(8, 4)' 'column_spatial(8, 4)' --svg relayout.svg\n", NULL, NULL, NULL};
    query q = {0};
    if (tool_argp(&a, "layout", argc, argv, &q)) return TOOL_USAGE;
    jmp_buf oom;
    vm_comp *volatile c = NULL;
    if (setjmp(oom)) {
        vm_comp_free(c);
        return tool_usage("out of memory");
    }
    c = vm_comp_new(NULL, &oom);
    if (!c) return tool_usage("out of memory");
    const int code = show_layout(c, &q);
    vm_comp_free(c);
    return code;
}

// ---- type ---------------------------------------------------------------------------------------

static const char *kind_name(vm_dtype t) {
    static const char *const names[] = {"bool", "unsigned", "signed", "float"};
    return names[vm_dtypes[t].kind];
}

static json_t *value_of(vm_dtype t, uint64_t code) {
    if (!vm_is_float(t)) return json_integer(vm_decode_int(t, code));
    const double x = vm_decode(t, code);
    if (isnan(x)) return json_string("nan");
    if (isinf(x)) return json_string(x < 0 ? "-inf" : "inf");
    return json_real(x);
}

static int type_json(vm_dtype t) {
    const vm_dtype_info *const i = &vm_dtypes[t];
    json_t *const o = json_pack("{s:s, s:i, s:s}", "name", i->name, "bits", (int)i->bits, "kind", kind_name(t));
    if (!o) return tool_usage("out of memory");
    if (i->kind == K_FLOAT) {
        json_object_set_new(o, "exponent", json_integer(i->e));
        json_object_set_new(o, "mantissa", json_integer(i->m));
    }
    if (i->bits <= 16) {
        json_t *const values = json_array();
        for (uint64_t code = 0; code < 1ULL << i->bits; code++) json_array_append_new(values, value_of(t, code));
        json_object_set_new(o, "values", values);
    }
    char *const text = json_dumps(o, JSON_PRESERVE_ORDER | JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(o);
    if (!text) return tool_usage("out of memory");
    puts(text);
    free(text);
    return TOOL_OK;
}

static int type_text(vm_dtype t) {
    static const char *const special[] = {"no infinities, no NaN", "NaN is the code of ones, no infinities",
                                          "infinities and NaN as in IEEE 754", "an unsigned power of two, NaN is the code of ones"};
    const vm_dtype_info *const i = &vm_dtypes[t];
    printf("%s: %u bits, %s", i->name, i->bits, kind_name(t));
    if (i->kind == K_FLOAT) printf(", %u exponent bits, %u mantissa bits; %s", i->e, i->m, special[i->special]);
    puts("");
    if (i->bits > 8) {
        if (i->kind == K_FLOAT) {
            double least = 0, most = 0;
            for (uint64_t code = 0; i->bits <= 16 && code < 1ULL << i->bits; code++) {
                const double x = vm_decode(t, code);
                if (!isfinite(x)) continue;
                if (x > most) most = x;
                if (x > 0 && (least == 0 || x < least)) least = x;
            }
            if (most > 0) printf("smallest positive %.9g, largest %.9g\n", least, most);
        }
        return TOOL_OK;
    }
    for (uint64_t code = 0; code < 1ULL << i->bits; code++) {
        char buf[40];
        if (vm_is_float(t)) snprintf(buf, sizeof buf, "%.9g", vm_decode(t, code));
        else snprintf(buf, sizeof buf, "%" PRId64, vm_decode_int(t, code));
        printf("%12s%s", buf, code % 8 == 7 || code + 1 == 1ULL << i->bits ? "\n" : "");
    }
    return TOOL_OK;
}

int tool_type(int argc, char **argv) {
    static const struct argp a = {options, parse, "NAME",
        "Describes an element type. Values are listed in the order of their codes, from 0.\vexamples:\n"
        "  tilusc type f6e3m2\n  tilusc type u4 --json\n", NULL, NULL, NULL};
    query q = {0};
    if (tool_argp(&a, "type", argc, argv, &q)) return TOOL_USAGE;
    vm_dtype t;
    if (!vm_dtype_find(q.what, &t)) {
        const char *names[T_count_];
        for (int i = 0; i < T_count_; i++) names[i] = vm_dtypes[i].name;
        const char *const near = vm_nearest(q.what, names, T_count_);
        tool_error("there is no type '%.100s'%s%s%s", q.what, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return TOOL_FAILED;
    }
    return q.json ? type_json(t) : type_text(t);
}

// ---- explain ------------------------------------------------------------------------------------

static void wrap(const char *text) {
    for (size_t col = 0; *text;) {
        const size_t n = strcspn(text, " \n");
        if (col && col + 1 + n > 78) {
            putchar('\n');
            col = 0;
        }
        if (col) putchar(' ');
        fwrite(text, 1, n, stdout);
        col += n + (col > 0);
        text += n;
        if (*text == '\n') {
            putchar('\n');
            col = 0;
        }
        if (*text) text++;
    }
    putchar('\n');
}

int tool_explain(int argc, char **argv) {
    static const struct argp a = {options, parse, "CODE",
        "Explains a diagnostic, such as E0402. 'all' lists the codes.\vexamples:\n"
        "  tilusc explain E0510\n  tilusc explain all\n", NULL, NULL, NULL};
    query q = {0};
    if (tool_argp(&a, "explain", argc, argv, &q)) return TOOL_USAGE;
    if (!strcmp(q.what, "all")) {
        for (int i = 0; i < D_count_; i++)
            printf("%-6s %s\n", vm_code_name((enum vm_code)i), vm_code_title((enum vm_code)i));
        return TOOL_OK;
    }
    enum vm_code code;
    if (!vm_code_find(q.what, &code)) {
        const char *names[D_count_];
        for (int i = 0; i < D_count_; i++) names[i] = vm_code_name((enum vm_code)i);
        const char *const near = vm_nearest(q.what, names, D_count_);
        tool_error("there is no diagnostic '%.100s'%s%s%s", q.what, near ? "; did you mean '" : "; 'tilusc explain all' lists them",
                   near ? near : "", near ? "'?" : "");
        return TOOL_FAILED;
    }
    if (q.json) {
        json_t *const o = json_pack("{s:s, s:s, s:s}", "code", vm_code_name(code), "title", vm_code_title(code), "text", vm_code_chapter(code));
        char *const text = o ? json_dumps(o, JSON_PRESERVE_ORDER | JSON_COMPACT) : NULL;
        json_decref(o);
        if (!text) return tool_usage("out of memory");
        puts(text);
        free(text);
        return TOOL_OK;
    }
    printf("%s: %s\n\n", vm_code_name(code), vm_code_title(code));
    wrap(vm_code_chapter(code));
    return TOOL_OK;
}
