// SPDX-License-Identifier: Apache-2.0
// tilusc build: compiles a program and writes the stage that was asked for.
#include <stdlib.h>
#include <string.h>
#include "runtime/tune.h"
#include "tools/tool.h"

enum { KEY_EMIT = 1000, KEY_AFTER, KEY_ARCH, KEY_KERNEL, KEY_ENTRY, KEY_TIMES, KEY_PTX, KEY_REPORT, KEY_SHAPE };
typedef struct {
    tool_options o;
    const char *file, *out, *emit;
    bool header, cubin, depfile, report;
} build;

static const char *const stages[] = {"tokens", "ast", "ir", "layout", "llvm", "ptx", "sass", "header", "cubin", "check"};

static void set_emit(build *b, const char *name, struct argp_state *s) {
    b->emit = name;
    b->header = !strcmp(name, "header");
    b->cubin = !strcmp(name, "cubin");
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        if (!strcmp(name, stages[i])) {
            rt_stage_find(b->header ? "ptx" : name, &b->o.rt.stage);
            return;
        }
    const char *const near = vm_nearest(name, stages, sizeof stages / sizeof *stages);
    argp_error(s, "--emit takes tokens, ast, check, ir, layout, llvm, ptx, sass, cubin or header, not '%.100s'%s%s%s", name,
               near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static void finish(build *b, struct argp_state *s) {
    if (!b->file) argp_error(s, "no file is given ('-': standard input)");
    if (b->emit) return;
    const char *emit = "ptx";
    if (b->o.rt.after) emit = "ir";
    else if (b->out && tool_ends(b->out, ".h")) emit = "header";
    else if (b->out && tool_ends(b->out, ".cubin")) emit = "cubin";
    else if (b->out && tool_ends(b->out, ".sass")) emit = "sass";
    else if (b->out && tool_ends(b->out, ".ll")) emit = "llvm";
    else if (b->out && tool_ends(b->out, ".tir")) emit = "ir";
    set_emit(b, emit, s);
}

/// "m=16,n=4096" as the database has it, with blanks.
static void set_shape(build *b, char *arg, struct argp_state *s) {
    for (char *p = arg, *end; *p; p = end) {
        const size_t name = strcspn(p, "=,");
        const long long x = p[name] == '=' ? strtoll(p + name + 1, &end, 0) : 0;
        if (!name || p[name] != '=' || end == p + name + 1 || (*end && *end != ',') || x < 0) argp_error(s, "--shape takes NAME=NUMBER,…, not '%.100s'", arg);
        if (*end) *end++ = ' ';
    }
    b->o.rt.shape = arg;
}

static error_t parse(int key, char *arg, struct argp_state *s) {
    build *const b = s->input;
    switch (key) {
    case ARGP_KEY_INIT: s->child_inputs[0] = &b->o; return 0;
    case 'o': b->out = arg; return 0;
    case 'M':
        if (strcmp(arg, "D") != 0) argp_error(s, "there is no option '-M%.50s'; there is -MD", arg);
        b->depfile = true;
        return 0;
    case KEY_EMIT: set_emit(b, arg, s); return 0;
    case KEY_AFTER: b->o.rt.after = arg; return 0;
    case KEY_ARCH: b->o.arch = arg; return 0;
    case KEY_KERNEL: b->o.rt.kernel = arg; return 0;
    case KEY_ENTRY: b->o.rt.entry = arg; return 0;
    case KEY_TIMES: b->o.rt.time = true; return 0;
    case KEY_PTX: {
        const size_t n = strspn(arg, "0123456789");
        if (arg[n] || n < 2) argp_error(s, "--ptx takes a version such as 80, not '%.50s'", arg);
        static char feature[40];
        snprintf(feature, sizeof feature, "+ptx%.30s", arg);
        b->o.rt.cg.ptx = feature;
        return 0;
    }
    case KEY_REPORT: b->report = true; return 0;
    case KEY_SHAPE: set_shape(b, arg, s); return 0;
    case ARGP_KEY_ARG:
        if (b->file) argp_error(s, "one file at a time, please: '%.100s' is the second", arg);
        b->file = arg;
        return 0;
    case ARGP_KEY_END: finish(b, s); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/// Text with what `make` needs: blanks and $ escaped.
static void put_dep(vm_text *t, const char *s) {
    for (; *s; s++) vm_put(t, "%s%c", *s == ' ' || *s == '#' ? "\\" : *s == '$' ? "$" : "", *s);
}

static int write_depfile(build *b, rt_compilation *x) {
    if (!b->out || !strcmp(b->out, "-")) return tool_usage("-MD needs -o");
    vm_text t = {.arena = x->comp->arena};
    put_dep(&t, b->out);
    vm_put(&t, ":");
    for (uint32_t i = 0; i < x->files.n; i++) {
        vm_put(&t, " ");
        put_dep(&t, x->files.at[i]);
    }
    vm_put(&t, "\n");
    for (uint32_t i = 1; i < x->files.n; i++) { // a deleted import must not stop make
        put_dep(&t, x->files.at[i]);
        vm_put(&t, ":\n");
    }
    const char *const text = vm_text_end(&t);
    return tool_write(vm_format(x->comp->arena, "%s.d", b->out), text, strlen(text)) ? TOOL_OK : TOOL_USAGE;
}

static int write_result(build *b, rt_compilation *x) {
    const void *data = x->text;
    size_t size = strlen(x->text);
    if (b->header) {
        data = tool_header(x, b->out && strcmp(b->out, "-") != 0 ? b->out : NULL);
        if (!data) return TOOL_FAILED;
        size = strlen(data);
    } else if (b->cubin) {
        data = x->cubin;
        size = x->cubin_size;
    }
    if (!tool_write(b->out ? b->out : "-", data, size)) return TOOL_USAGE;
    return b->depfile ? write_depfile(b, x) : TOOL_OK;
}

static void show_notes(const build *b, rt_compilation *x) {
    for (uint32_t i = 0; i < x->kernels.n && !b->o.json; i++)
        if (x->kernels.at[i].skipped) fprintf(stderr, "tilusc: note: kernel '%s' is skipped: %s\n", x->kernels.at[i].kernel, x->kernels.at[i].skipped);
    double all = 0;
    for (uint32_t i = 0; i < x->times.n; i++) all += x->times.at[i].seconds;
    for (uint32_t i = 0; i < x->times.n; i++)
        fprintf(stderr, "%10.3f ms  %4.1f %%  %s\n", 1e3 * x->times.at[i].seconds, all > 0 ? 100 * x->times.at[i].seconds / all : 0, x->times.at[i].name);
    if (x->times.n) fprintf(stderr, "%10.3f ms          total\n", 1e3 * all);
}

static int compile(build *b) {
    rt_options opt = b->o.rt;
    opt.name = b->file;
    rt_tune_target target = {0}; // any GPU of the architecture
    if (opt.arch) {
        snprintf(target.arch, sizeof target.arch, "%s", opt.arch->name);
        opt.tuner = rt_tuner_new(NULL, b->o.tune_db, &target, tool_warn, NULL);
        if (!opt.tuner) return tool_usage("out of memory");
    }
    rt_compilation *const x = rt_compilation_new(NULL, &opt);
    if (!x) {
        rt_tuner_free(opt.tuner);
        return tool_usage("out of memory");
    }
    tool_progress("compiling %s", b->file);
    const enum rt_result r = rt_compile(x);
    int code = tool_report(x, &b->o, r);
    if (!code) {
        if (setjmp(x->oom)) code = tool_usage("out of memory");
        else {
            show_notes(b, x);
            if (b->report && x->reports) fputs(cg_report_text(x->comp, x->reports), stderr);
            code = write_result(b, x);
        }
    }
    rt_compilation_free(x);
    rt_tuner_free(opt.tuner);
    return code;
}

int tool_build(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"output", 'o', "OUT", 0, "Where to write; .ptx .h .cubin .sass .ll .tir decide what (default: PTX to standard output)", 1},
        {"emit", KEY_EMIT, "STAGE", 0, "tokens, ast, check, ir, layout, llvm, ptx, sass, cubin or header", 1},
        {"after", KEY_AFTER, "PASS", 0, "With ir and layout: stop after this pass ('lower': before all)", 1},
        {"arch", KEY_ARCH, "ARCH", 0, "sm_80 (default), sm_86, sm_89, sm_90, sm_90a, native, or vm for ir and layout", 1},
        {"kernel", KEY_KERNEL, "NAME", 0, "Only this kernel", 1},
        {"entry", KEY_ENTRY, "NAME", 0, "Entry name instead of the derived one", 1},
        {NULL, 'M', "D", 0, "-MD: write the imports to OUT.d, for make and ninja", 1},
        {"shape", KEY_SHAPE, "NAME=N,…", 0, "Arguments for which tuned parameters are chosen from the tuning database", 1},
        {"ptx", KEY_PTX, "VERSION", 0, "PTX version, 80 for 8.0, instead of the architecture's own", 1},
        {"time-passes", KEY_TIMES, NULL, 0, "Say what took how long", 1},
        {"report", KEY_REPORT, NULL, 0, "Say what code generation chose: loads, matrix instructions, shared memory", 1},
        {0}};
    static const struct argp_child children[] = {{&tool_common_argp, 0, "Shared options:", 10}, {0}};
    static const struct argp a = {options, parse, "FILE",
        "Compiles the kernels of FILE ('-': standard input; .tir: tile IR as --emit=ir prints it). Kernels whose "
        "meta-parameters have no values, or that the target excludes, are skipped with a note.\vexamples:\n"
        "  tilusc build programs/matmul.tvm --arch=sm_90a -o matmul.ptx\n"
        "  tilusc build programs/w4a16.tvm --kernel=pack -D Q=u4 -o pack.h\n"
        "  tilusc build programs/softmax.tvm --emit=layout\n"
        "  tilusc build programs/w4a16.tvm --emit=ir --after=infer\n", children, NULL, NULL};
    build b = {0};
    tool_options_init(&b.o);
    b.o.rt.stage = RT_STAGE_PTX;
    if (tool_argp(&a, "build", argc, argv, &b)) return TOOL_USAGE;
    if (!tool_arch(&b.o, "sm_80")) return TOOL_USAGE;
    return compile(&b);
}
