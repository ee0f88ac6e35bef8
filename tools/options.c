// SPDX-License-Identifier: Apache-2.0
// The options that several subcommands share, and how diagnostics reach the terminal.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/tool.h"

enum { KEY_COLOR = 1000, KEY_JSON, KEY_VERIFY, KEY_ON, KEY_SEED, KEY_SANITIZE, KEY_TARGET, KEY_TUNE_DB };

void tool_options_init(tool_options *o) {
    *o = (tool_options){.color = isatty(STDERR_FILENO) && !getenv("NO_COLOR"), .tune_db = ""};
    o->rt.include = o->include;
    o->rt.define = o->define;
    o->rt.cg.opt = 3;
}

static error_t add(struct argp_state *s, const char *list[TOOL_MAX_LIST], uint32_t *n, const char *text) {
    if (*n == TOOL_MAX_LIST) argp_error(s, "more than %d of one option", TOOL_MAX_LIST);
    else list[(*n)++] = text;
    return 0;
}

static error_t common(int key, char *arg, struct argp_state *s) {
    tool_options *const o = s->input;
    switch (key) {
    case 'D':
        if (!strchr(arg, '=') || *arg == '=') argp_error(s, "-D takes NAME=VALUE, not '%.100s'", arg);
        return add(s, o->define, &o->rt.ndefine, arg);
    case 'I': return add(s, o->include, &o->rt.ninclude, arg);
    case 'O':
        if (*arg < '0' || *arg > '3' || arg[1]) argp_error(s, "-O takes a level from 0 to 3, not '%.100s'", arg);
        else o->rt.cg.opt = *arg - '0';
        return 0;
    case 'g': o->rt.cg.lines = true; return 0;
    case 'W':
        if (!strcmp(arg, "perf")) o->rt.perf = true;
        else if (!strcmp(arg, "error")) o->rt.werror = true;
        else argp_error(s, "there is no warning '-W%.100s'; there are -Wperf and -Werror", arg);
        return 0;
    case 'R':
        if (strcmp(arg, "pass") != 0) argp_error(s, "there are no remarks '-R%.100s'; there is -Rpass", arg);
        o->rt.remarks = true;
        return 0;
    case KEY_COLOR:
        if (!arg || !strcmp(arg, "always")) o->color = true;
        else if (!strcmp(arg, "never")) o->color = false;
        else if (strcmp(arg, "auto") != 0) argp_error(s, "--color takes auto, always or never");
        return 0;
    case KEY_JSON:
        if (!strcmp(arg, "json")) o->json = true;
        else if (strcmp(arg, "text") != 0) argp_error(s, "--diagnostics takes text or json");
        return 0;
    case KEY_VERIFY: o->rt.verify = true; return 0;
    case KEY_TUNE_DB: o->tune_db = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option common_options[] = {
    {"define", 'D', "NAME=VALUE", 0, "Value of a meta-parameter", 10},
    {"include", 'I', "DIR", 0, "Folder to look for imports in", 10},
    {"optimize", 'O', "LEVEL", 0, "Work of LLVM's passes, 0 to 3 (default 3)", 10},
    {NULL, 'g', NULL, 0, "Source places in the PTX", 10},
    {NULL, 'W', "perf|error", 0, "-Wperf: warn of code that is legal but slow; -Werror: warnings are errors", 11},
    {NULL, 'R', "pass", 0, "-Rpass: say what the compiler chose", 11},
    {"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL, "Colour messages: auto, always, never", 11},
    {"diagnostics", KEY_JSON, "FORMAT", 0, "text, or json: one object a line", 11},
    {"tune-db", KEY_TUNE_DB, "FILE|none", 0, "Database of tuned parameters (default $TILUS_TUNE_DB, or tune.sqlite in the cache folder); none: first legal values", 10},
    {"verify", KEY_VERIFY, NULL, 0, "Check the tile IR after every pass", 11},
    {0}};
const struct argp tool_common_argp = {.options = common_options, .parser = common};

static error_t parse_on(int key, char *arg, struct argp_state *s) {
    tool_options *const o = s->input;
    if (key == KEY_SEED) {
        char *end;
        errno = 0;
        o->seed = strtoull(arg, &end, 0);
        if (*end || end == arg || errno || *arg == '-') argp_error(s, "--seed takes a number, not '%.100s'", arg);
        return 0;
    }
    if (key == KEY_SANITIZE) o->sanitize = true;
    if (key == KEY_TARGET) o->arch = arg;
    if (key == KEY_SANITIZE || key == KEY_TARGET) return 0;
    if (key != KEY_ON) return ARGP_ERR_UNKNOWN;
    if (!strcmp(arg, "vm")) o->on = ON_VM;
    else if (!strcmp(arg, "vgpu")) o->on = ON_VGPU;
    else if (!strcmp(arg, "cuda")) o->on = ON_CUDA;
    else if (!strcmp(arg, "auto")) o->on = ON_AUTO;
    else argp_error(s, "--on takes vm, vgpu, cuda or auto, not '%.100s'", arg);
    return 0;
}
static const struct argp_option on_options[] = {
    {"on", KEY_ON, "EXECUTOR", 0, "vm: the interpreter on the host; vgpu: the compiled PTX, executed on the host; cuda: the GPU; auto (default): the GPU if there is one, else vm", 9},
    {"seed", KEY_SEED, "N", 0, "Order in which VM and vgpu run what is ready; 0 (default): in order", 9},
    {"schedule", 0, NULL, OPTION_ALIAS, NULL, 9},
    {"sanitize", KEY_SANITIZE, NULL, 0, "vgpu: report races, uninitialised reads, work in flight touched, …", 9},
    {"arch", KEY_TARGET, "ARCH", 0, "vgpu: what it is: sm_80, sm_86, sm_89 or sm_90a (default)", 9},
    {0}};
const struct argp tool_on_argp = {.options = on_options, .parser = parse_on};

bool tool_arch(tool_options *o, const char *otherwise) {
    const char *name = o->arch ? o->arch : otherwise;
    if (!strcmp(name, "vm")) {
        o->rt.arch = NULL;
        return true;
    }
    char device[64];
    if (!strcmp(name, "native")) {
        tilus_context *c = NULL;
        char why[300] = "";
        const tilus_context_params p = {.device = TILUS_DEVICE_CUDA, .error = why, .error_size = sizeof why};
        const tilus_status s = tilus_context_create(&p, &c);
        if (s != TILUS_OK) {
            tool_error("--arch=native: %s", *why ? why : tilus_status_text(s));
            return false;
        }
        snprintf(device, sizeof device, "%s", tilus_device_arch(c));
        tilus_context_destroy(c);
        name = device;
    }
    o->rt.arch = vm_arch_find(name);
    if (o->rt.arch) return true;
    const char *names[32];
    size_t n = 0;
    for (; n < vm_narchs && n < 30; n++) names[n] = vm_archs[n].name;
    names[n++] = "native";
    names[n++] = "vm";
    const char *near = vm_nearest(name, names, n);
    tool_error("there is no architecture '%.100s'%s%s%s", name, near ? "; did you mean '" : "; 'tilusc --version' lists them",
               near ? near : "", near ? "'?" : "");
    return false;
}

int tool_report(rt_compilation *x, const tool_options *o, enum rt_result r) {
    tool_progress(NULL);
    const char *text = rt_diagnostics(x, o->json, o->color);
    fflush(stdout);
    fputs(text, stderr);
    switch (r) {
    case RT_OK: return TOOL_OK;
    case RT_ERRORS: return TOOL_FAILED;
    case RT_NO_MEMORY: return tool_usage("out of memory");
    case RT_NO_KERNEL: tool_error("%s", x->message); return TOOL_FAILED;
    default: return tool_usage("%s", x->message);
    }
}

int tool_argp(const struct argp *a, const char *command, int argc, char **argv, void *input) {
    char name[40];
    snprintf(name, sizeof name, "tilusc %s", command);
    argv[0] = name; // what argp shows in messages
    return argp_parse(a, argc, argv, 0, NULL, input) ? TOOL_USAGE : TOOL_OK;
}
