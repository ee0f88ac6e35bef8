// SPDX-License-Identifier: Apache-2.0
// What the subcommands of tilusc share. Only the tool prints and exits; the folders below never do.
#pragma once
#include <argp.h>
#include <signal.h>
#include "runtime/compile.h"
#include "runtime/tilus.h"

enum { TOOL_OK, TOOL_FAILED, TOOL_USAGE }; // exit codes: fine; program or test failed; usage, environment

// ---- main.c, common.c: commands, messages -------------------------------------------------------

/// COMMAND(name, "one line").
#define TOOL_COMMANDS(X)                                                                           \
    X(build, "compile the kernels of a program")                                                   \
    X(run, "run one kernel on arguments from files or expressions")                                \
    X(tune, "time the points of a kernel's tuning space and keep the best")                        \
    X(profile, "run one kernel on the virtual GPU and count what it does")                         \
    X(test, "run the test blocks of programs")                                                     \
    X(fmt, "format programs, or check that they are formatted")                                    \
    X(layout, "print the table of a layout expression")                                            \
    X(type, "describe an element type and its values")                                             \
    X(quantize, "quantise a weight to a low-bit type, in groups, and pack it")                     \
    X(explain, "explain a diagnostic code")
#define X(name, doc) int tool_##name(int argc, char **argv);
TOOL_COMMANDS(X)
#undef X

/// "tilusc: error: …" on standard error.
void tool_error(const char *fmt, ...) VM_PRINTF(1, 2);
/// The same, then TOOL_USAGE.
int tool_usage(const char *fmt, ...) VM_PRINTF(1, 2);
/// "tilusc: warning: …"; user is not used.
void tool_warn(void *user, const char *text);
/// Flushes standard output; a full disk or a closed pipe is an error: TOOL_USAGE.
int tool_flush(int code);
/// Writes the whole file, by way of a temporary one if it is a regular file. False after an error.
bool tool_write(const char *path, const void *data, size_t size);
bool tool_ends(const char *s, const char *end);
double tool_now(void);
/// Milliseconds or seconds, as fits: "12.3 ms".
const char *tool_seconds(char buf[32], double seconds);
/// A transient line on a terminal for work that takes longer than half a second; NULL clears it.
void tool_progress(const char *fmt, ...) VM_PRINTF(1, 2);

// ---- options.c: what build, run and test have in common -----------------------------------------

enum tool_on { ON_AUTO, ON_VM, ON_VGPU, ON_CUDA };
enum { TOOL_MAX_LIST = 256 };
typedef struct {
    rt_options rt;
    const char *include[TOOL_MAX_LIST], *define[TOOL_MAX_LIST];
    const char *arch;    // as written, NULL: not given
    bool json, color;
    enum tool_on on;
    uint64_t seed;       // of the schedule of VM and virtual GPU
    bool sanitize, profile; // virtual GPU
    const char *tune_db; // as of tilus_context_params
} tool_options;
/// Starts with the defaults.
void tool_options_init(tool_options *o);
/// argp child: -D -I -W -R -g -O --color --diagnostics --verify; input is a tool_options *.
extern const struct argp tool_common_argp;
/// argp child: --on, --seed, --sanitize, --target.
extern const struct argp tool_on_argp;
/// Sets o->rt.arch from o->arch ("native": the GPU's). False after a message.
bool tool_arch(tool_options *o, const char *otherwise);
/// Shows all diagnostics of x, then x->message if r has one. Returns the exit code.
int tool_report(rt_compilation *x, const tool_options *o, enum rt_result r);
int tool_argp(const struct argp *a, const char *command, int argc, char **argv, void *input);

// ---- exec.c: running an instance on the VM, the virtual GPU or the GPU -------------------------------------------

typedef struct tool_exec tool_exec;
/// NULL after a message. AUTO: the GPU if there is one.
tool_exec *tool_exec_new(const tool_options *o);
void tool_exec_free(tool_exec *x);
/// "vm", "vgpu" or the GPU's name.
const char *tool_exec_device(const tool_exec *x);
/// Prints what the virtual GPU's sanitizer has found since the last call; how many reports.
size_t tool_exec_reports(tool_exec *x);
/// A kernel has faulted: this process cannot use the GPU any more.
bool tool_exec_is_lost(const tool_exec *x);
/// Architecture to compile for: NULL on the VM.
const vm_arch *tool_exec_arch(const tool_exec *x);
/// The library's context of the executor, made on the VM when it is first asked for.
tilus_context *tool_exec_context(tool_exec *x);
/// Runs belong to compilation `c` from now on; what was compiled for another one is forgotten.
void tool_exec_bind(tool_exec *x, rt_compilation *c);
fe_executor tool_exec_hooks(tool_exec *x);
/// Arguments by parameter, of the types of f's parameters. False: *why says what is wrong.
bool tool_exec_args(tool_exec *x, fe_eval *e, const ir_func *f, const fe_args *args, fe_value **v, vm_span at, const char **why);
/// Device memory for the tensors, with their contents; and back; and released.
tilus_status tool_exec_upload(tool_exec *x, fe_eval *e, const ir_func *f, fe_value *const *v, tilus_arg *args);
tilus_status tool_exec_download(tool_exec *x, fe_eval *e, const ir_func *f, fe_value **v, const tilus_arg *args);
void tool_exec_release(tool_exec *x, const ir_func *f, fe_value *const *v, const tilus_arg *args);
/// Seconds of the last kernel, without copies.
double tool_exec_seconds(const tool_exec *x);
/// Diagnostics of a kernel that could not be compiled in the last run, or NULL.
const char *tool_exec_diagnostics(const tool_exec *x);

// ---- files.c: tensors in files ------------------------------------------------------------------

/// "x.npy" or "x.safetensors:name" as a host tensor; NULL after a message. `who` stands in the message.
fe_tensor *tool_tensor_read(tool_exec *x, fe_eval *e, const char *who, const char *path);
bool tool_tensor_is_file(const char *text);
/// Writes .npy, or a .safetensors of all tensors. Types of fewer than 8 bits become u8 or i8 cells;
/// `packed`: dense bit strings instead.
typedef struct {
    const char *name;
    const fe_tensor *tensor;
    bool packed;
} tool_named;
bool tool_tensors_write(tool_exec *x, fe_eval *e, const char *path, uint32_t n, const tool_named *t);

// ---- call.c: a kernel and its arguments on the command line -------------------------------------

typedef struct {
    tool_options *o;
    const char *file, *kernel;
    const char *args[TOOL_MAX_LIST], *outs[TOOL_MAX_LIST], *checks[TOOL_MAX_LIST], *lets[TOOL_MAX_LIST];
    const char *befores[TOOL_MAX_LIST];
    uint32_t nargs, nouts, nchecks, nlets, nbefores;
    bool optional;                // neither file nor kernel need be given
    tool_exec *exec;
    rt_compilation *x;
    const ast *node;              // of the kernel
    fe_value **results;           // by parameter, once tool_call_keep has been called
} tool_call;
/// argp child: FILE KERNEL ARGS, -o, --check, --let, --before; input is a tool_call *.
extern const struct argp tool_call_argp;
/// Makes x and loads the program for exec's device. Exit code, after a message.
int tool_call_load(tool_call *c);
/// The test block that the command line amounts to; NULL after a message, *code is the exit code. The
/// caller has set x->oom.
const ast *tool_call_block(tool_call *c, int *code);
/// Remembers the arguments of the run, for tool_call_write.
void tool_call_keep(tool_call *c, fe_eval *e, const fe_args *args);
/// Writes what -o asks for. Exit code.
int tool_call_write(tool_call *c);

// ---- profile.c ----------------------------------------------------------------------------------

/// Prints what the virtual GPU has counted. Exit code.
int tool_profile_show(tool_exec *x, vm_comp *c, bool json);

// ---- header.c -----------------------------------------------------------------------------------

/// The C header with PTX and host checks of all built kernels, arena text.
char *tool_header(rt_compilation *x, const char *path);
