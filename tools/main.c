// SPDX-License-Identifier: Apache-2.0
// tilusc: finds the subcommand. Each one has its file and its argp table.
#include <stdlib.h>
#include <string.h>
#include "tools/tool.h"

typedef struct {
    const char *name, *doc;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
#define X(name, doc) {#name, doc, tool_##name},
    TOOL_COMMANDS(X)
#undef X
};
enum { NCOMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *f) {
    fputs("usage: tilusc COMMAND [OPTION…] [ARG…]\n\n"
          "Compiles, runs and tests GPU kernels written in the .tvm language.\n\ncommands:\n", f);
    for (int i = 0; i < NCOMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].doc);
    fputs("\n  tilusc COMMAND --help   options and examples of a command\n"
          "  tilusc --version        version and targets\n\n"
          "examples:\n"
          "  tilusc test programs/w4a16.tvm\n"
          "  tilusc build programs/matmul.tvm --arch=sm_90a -o matmul.ptx\n"
          "  tilusc run programs/vector_add.tvm vector_add n=1000 x='random(f32[n], seed = 1)' \\\n"
          "      y='full(f32[n], 2.0)' z='zeros(f32[n])' -o z=z.npy\n\n"
          "exit status: 0 fine; 1 the program has errors or a test failed; 2 usage or environment\n", f);
}

static void version(void) {
    printf("tilusc %d.%d.%d\ntargets:", TILUS_VERSION_MAJOR, TILUS_VERSION_MINOR, TILUS_VERSION_PATCH);
    for (size_t i = 0; i < vm_narchs; i++) printf(" %s", vm_archs[i].name);
    printf(" vm\n");
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); // a closed pipe is an error that is reported
    argp_err_exit_status = TOOL_USAGE;
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        help(stderr);
        return TOOL_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?") || !strcmp(name, "help")) {
        if (!strcmp(name, "help") && argc > 2) {
            for (int i = 0; i < NCOMMANDS; i++)
                if (!strcmp(argv[2], commands[i].name))
                    return commands[i].run(2, (char *[]){argv[2], (char[]){"--help"}, NULL});
        }
        help(stdout);
        return tool_flush(TOOL_OK);
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        version();
        return tool_flush(TOOL_OK);
    }
    const char *names[NCOMMANDS];
    for (int i = 0; i < NCOMMANDS; i++) {
        names[i] = commands[i].name;
        if (!strcmp(name, names[i])) return tool_flush(commands[i].run(argc - 1, argv + 1));
    }
    const char *near = vm_nearest(name, names, NCOMMANDS);
    if (near) return tool_usage("there is no command '%.100s'; did you mean '%s'?", name, near);
    return tool_usage("there is no command '%.100s'; 'tilusc --help' lists them", name);
}
