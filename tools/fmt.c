// SPDX-License-Identifier: Apache-2.0
// tilusc fmt: formats files in place, or says which ones are not formatted.
#include <stdlib.h>
#include <string.h>
#include "tools/tool.h"

enum { KEY_CHECK = 1000 };
typedef struct {
    tool_options o;
    bool check;
    const char **files;
    int n;
} fmt;

static error_t parse(int key, char *arg, struct argp_state *s) {
    fmt *const f = s->input;
    switch (key) {
    case ARGP_KEY_INIT: s->child_inputs[0] = &f->o; return 0;
    case KEY_CHECK: f->check = true; return 0;
    case ARGP_KEY_ARG: f->files[f->n++] = arg; return 0;
    case ARGP_KEY_END:
        if (!f->n) argp_error(s, "no files are given ('-': standard input)");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int one(const fmt *f, const char *path) {
    const rt_options opt = {.name = path};
    rt_compilation *const x = rt_compilation_new(NULL, &opt);
    if (!x) return tool_usage("out of memory");
    int code;
    if (setjmp(x->oom)) {
        rt_compilation_free(x);
        return tool_usage("out of memory");
    }
    const bool standard = !strcmp(path, "-");
    size_t size;
    const char *why = NULL;
    const char *const text = rt_read_file(x->comp, path, &size, &why);
    if (!text) {
        rt_compilation_free(x);
        return tool_usage("cannot read '%s': %s", path, why);
    }
    const uint32_t file = vm_source_add(x->comp, standard ? "<stdin>" : path, text, size);
    const char *const out = fe_format(x->comp, file);
    if (!out) code = tool_report(x, &f->o, RT_ERRORS);
    else if (f->check) {
        code = strlen(out) == size && !memcmp(out, text, size) ? TOOL_OK : TOOL_FAILED;
        if (code) printf("%s: not formatted\n", standard ? "<stdin>" : path);
    } else if (standard) {
        code = tool_write("-", out, strlen(out)) ? TOOL_OK : TOOL_USAGE;
    } else {
        const bool same = strlen(out) == size && !memcmp(out, text, size);
        code = same || tool_write(path, out, strlen(out)) ? TOOL_OK : TOOL_USAGE;
    }
    rt_compilation_free(x);
    return code;
}

int tool_fmt(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"check", KEY_CHECK, NULL, 0, "Change nothing; exit status 1 if a file is not formatted", 0}, {0}};
    static const struct argp_child children[] = {{&tool_common_argp, 0, "Shared options:", 10}, {0}};
    static const struct argp a = {options, parse, "FILE…", "Formats programs in place; '-' formats standard input.\v"
        "examples:\n  tilusc fmt kernel.tvm\n  tilusc fmt --check programs/*.tvm\n", children, NULL, NULL};
    fmt f = {.files = malloc(sizeof(char *) * (size_t)argc)};
    if (!f.files) return tool_usage("out of memory");
    tool_options_init(&f.o);
    int code = tool_argp(&a, "fmt", argc, argv, &f);
    for (int i = 0; i < f.n; i++) {
        const int c = one(&f, f.files[i]);
        if (c > code) code = c;
    }
    free(f.files);
    return code;
}
