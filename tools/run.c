// SPDX-License-Identifier: Apache-2.0
// tilusc run and profile: one kernel on arguments of the command line.
#include "tools/tool.h"

enum { KEY_PROFILE_JSON = 2000 };
typedef struct {
    tool_options o;
    tool_call call;
    bool json;                    // of the profile
} command;

static error_t parse(int key, char *arg, struct argp_state *s) {
    command *const c = s->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        for (int i = 0; i < 2; i++) s->child_inputs[i] = &c->o;
        s->child_inputs[2] = &c->call;
        return 0;
    case KEY_PROFILE_JSON: c->json = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// ---- running ------------------------------------------------------------------------------------

/// Runs, and keeps the tensors: they are written in place.
static bool keep(void *user, fe_eval *e, fe_instance *k, fe_args *args, vm_span at, const char **why) {
    tool_call *const c = user;
    const fe_executor inner = tool_exec_hooks(c->exec);
    if (k->node == c->node && !c->results) tool_call_keep(c, e, args);
    return inner.run(inner.user, e, k, args, at, why);
}

static uint32_t pick(void *user, fe_eval *e, const fe_module *m, const ast *kernel, uint32_t n, fe_instance **point, fe_args *args) {
    const fe_executor inner = tool_exec_hooks(((tool_call *)user)->exec);
    return inner.pick(inner.user, e, m, kernel, n, point, args);
}

static int run(command *c) {
    tool_call *const k = &c->call;
    rt_compilation *const x = k->x;
    vm_comp *const comp = x->comp;
    if (setjmp(x->oom)) return tool_usage("out of memory");
    int code;
    const ast *const test = tool_call_block(k, &code);
    if (!test) return code;
    tool_exec_bind(k->exec, x);
    fe_test_result result = {0};
    const fe_executor hooks = {.run = keep, .pick = pick, .user = k};
    tool_progress("running %s", k->kernel);
    fe_run_test(x->eval, x->module, test, &hooks, &result);
    tool_progress(NULL);
    if (!result.passed) {
        fflush(stdout);
        if (tool_exec_diagnostics(k->exec)) fputs(tool_exec_diagnostics(k->exec), stderr);
        else if (comp->diags) return tool_report(x, &c->o, RT_ERRORS);
        else tool_error("%s", result.message ? result.message : "the run failed");
        return TOOL_FAILED;
    }
    if (!k->results) {
        tool_error("%s", result.message ? result.message : "nothing was run");
        return TOOL_FAILED;
    }
    char time[32];
    fprintf(stderr, "%s: %s on %s%s%s\n", k->kernel, tool_seconds(time, tool_exec_seconds(k->exec)),
            tool_exec_device(k->exec), result.message ? "; " : "",
            result.message ? result.message : "");
    const int written = tool_call_write(k);
    const int shown = c->o.profile ? tool_profile_show(k->exec, comp, c->json) : TOOL_OK;
    return tool_exec_reports(k->exec) ? TOOL_FAILED : written ? written : shown;
}

/// Runs what the command line has asked for.
static int execute(command *c) {
    tool_call *const k = &c->call;
    if (!(k->exec = tool_exec_new(&c->o))) return TOOL_USAGE;
    int code = tool_call_load(k);
    if (!code) code = run(c);
    rt_compilation_free(k->x);
    tool_exec_free(k->exec);
    return code;
}

int tool_run(int argc, char **argv) {
    static const struct argp_child children[] = {{&tool_on_argp, 0, NULL, 2}, {&tool_common_argp, 0, "Shared options:", 10}, {&tool_call_argp, 0, NULL, 1}, {0}};
    static const struct argp a = {NULL, parse, "FILE KERNEL [[NAME=]VALUE…]",
        "Runs one kernel. Arguments are given in order or by the parameter's name. A VALUE is x.npy, "
        "x.safetensors:tensor (either may be followed by ' as TYPE'), or an expression as in test blocks: 16, -1.5, "
        "random(f16[m, 64], seed = 1), zeros(f32[m]), full(…); earlier arguments may be used by name. Negative numbers "
        "need a name or '--' before them. Extents are checked against the signature.\vexamples:\n"
        "  tilusc run programs/vector_add.tvm vector_add n=1000 x=x.npy y='full(f32[n], 2.0)' \\\n"
        "      z='zeros(f32[n])' -o z=z.npy\n"
        "  tilusc run --on=vm programs/matmul_lowbit.tvm pack -D Q=u4 k=256 n=64 src='codes.npy as u4' \\\n"
        "      dst='zeros(u8[16, 8, 64])' -o dst=b.npy\n", children, NULL, NULL};
    static command c;
    tool_options_init(&c.o);
    c.call.o = &c.o;
    return tool_argp(&a, "run", argc, argv, &c) ? TOOL_USAGE : execute(&c);
}

int tool_profile(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"json", KEY_PROFILE_JSON, NULL, 0, "Counts as JSON: by class, source line and PTX instruction", 1},
        {0}};
    static const struct argp_child children[] = {{&tool_on_argp, 0, NULL, 2}, {&tool_common_argp, 0, "Shared options:", 10}, {&tool_call_argp, 0, NULL, 1}, {0}};
    static const struct argp a = {options, parse, "FILE KERNEL [[NAME=]VALUE…]",
        "Runs one kernel on the virtual GPU, with arguments as of 'tilusc run', and shows by class of instruction and by "
        "source line what it executed: warp instructions, 32-byte sectors of global memory (100 %: no byte moved in "
        "vain), bank conflicts of shared memory (1.00x: none), divergence.\vexample:\n"
        "  tilusc profile programs/transpose.tvm transpose m=256 n=256 'a=random(f32[m, n], seed = 1)' \\\n"
        "      'b=zeros(f32[n, m])'\n", children, NULL, NULL};
    static command c;
    tool_options_init(&c.o);
    c.call.o = &c.o;
    if (tool_argp(&a, "profile", argc, argv, &c)) return TOOL_USAGE;
    c.o.on = ON_VGPU;
    c.o.profile = true;
    return execute(&c);
}
