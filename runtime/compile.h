// SPDX-License-Identifier: Apache-2.0
// The whole way from source text to PTX, shared by the library and by tilusc. Internal: embedders see
// tilus.h. Nothing here touches a GPU or prints.
//
// Memory: everything reachable from an rt_compilation lives in its arena and dies with it. Running out
// of memory ends rt_compile with RT_NO_MEMORY. Whoever goes on to allocate in the arena by calling
// other folders' functions must first do `if (setjmp(x->oom)) …`. Thread-safety: one thread an
// rt_compilation; any number of them at once.
#pragma once
#include "codegen/codegen.h"

enum rt_result {
    RT_OK,
    RT_ERRORS,     // diagnostics say what
    RT_NO_MEMORY,
    RT_NO_FILE,    // the input cannot be read: x->message
    RT_NO_KERNEL,  // a kernel was asked for by name and the file has none of it: x->message
    RT_BAD_OPTION, // options that contradict each other or name what does not exist: x->message
    RT_NO_TOOL     // ptxas or a disassembler is missing or failed: x->message
};

/// How far to go; `text` is the dump of that stage (of all kernels, in order).
enum rt_stage {
    RT_STAGE_TOKENS, RT_STAGE_AST,
    RT_STAGE_CHECK,  // names and types, no instance is made: no text
    RT_STAGE_IR,     // after all passes, or after options.after; "lower": before all passes
    RT_STAGE_LAYOUT, // grids of all tiles, after pass `relayout` (or options.after)
    RT_STAGE_LLVM, RT_STAGE_PTX,
    RT_STAGE_CUBIN,  // ptxas: x->cubin
    RT_STAGE_SASS    // … and nvdisasm or cuobjdump
};
bool rt_stage_find(const char *name, enum rt_stage *out); // "tokens", "ir", …

typedef struct {
    const char *name;                // file as shown in messages; decides where imports are looked for
    const char *text;                // NULL: the file is read; "-": standard input
    size_t size;                     // of text
    bool is_ir;                      // the text is printed tile IR, not a program (also: name ends in .tir)
    uint32_t ninclude, ndefine;
    const char *const *include;      // -I
    const char *const *define;       // "NAME=TEXT"
    const vm_arch *arch;             // NULL: for the VM (stages after IR and LAYOUT are then errors)
    const char *kernel;              // only this kernel; NULL: all kernels of the main file
    const char *entry;               // entry name instead of the derived one (one kernel only), or NULL
    const char *after;               // last pass to run, NULL: all
    enum rt_stage stage;
    cg_options cg;
    bool verify;                     // IR after every pass, in release builds too
    bool perf, remarks, werror;      // -Wperf, -Rpass, -Werror
    bool time;                       // fill x->times
    bool points;                     // every point of the tuning space, not only the first that fits
    uint32_t max_errors;             // 0: the default
    struct rt_tuner *tuner;          // chooses points of tuning spaces (tune.h); NULL: the first that fits
    const char *shape;               // … for whole-number arguments like these ("m=16 n=4096"), NULL: not known
} rt_options;

typedef struct {
    fe_instance *instance;           // NULL for IR text
    const char *kernel, *entry;
    ir_func *func;                   // after the passes; NULL if skipped or before RT_STAGE_IR
    const char *skipped;             // why nothing was built, NULL: built
} rt_kernel;

typedef struct {
    const char *name;                // "parse", "check", "lower", pass names, "llvm", "ptxas"
    double seconds;
} rt_time;

typedef struct rt_compilation {
    jmp_buf oom;
    vm_allocator alloc;
    rt_options opt;
    vm_comp *comp;                   // NULL when even that could not be had
    fe_eval *eval;                   // NULL for IR text
    fe_module *module;               // the main file
    uint32_t file;                   // its source number
    ir_module *ir;                   // all built functions
    VM_VEC(rt_kernel) kernels;
    VM_VEC(const char *) files;      // opened (not the embedded ones): for -MD
    VM_VEC(const char *) imports;    // as `files`: the name by which each was asked for
    VM_VEC(rt_time) times;
    const char *text;                // of the stage asked for, "" if there is none
    const char *ptx;                 // NULL before RT_STAGE_PTX
    const char *cubin;
    size_t cubin_size;
    cg_report *reports;
    cg_ptxas_result ptxas;           // of RT_STAGE_CUBIN and _SASS
    char message[400];               // of RT_NO_FILE and RT_NO_KERNEL
    struct {
        const ast *kernel;           // that opt.tuner has been asked about last
        fe_instance *point;          // NULL: nothing is known
    } choice;
} rt_compilation;

/// Never NULL but when out of memory. a NULL: malloc. Copies what opt points to.
rt_compilation *rt_compilation_new(const vm_allocator *a, const rt_options *opt);
void rt_compilation_free(rt_compilation *x);
/// All stages up to opt.stage. Call once.
enum rt_result rt_compile(rt_compilation *x);
/// The parts of rt_compile, for tests, tuning and editors. Caller has set x->oom.
/// rt_load: source, imports, checks (RT_OK even with errors in x->comp, so that editors can go on).
enum rt_result rt_load(rt_compilation *x);
/// Lowers one instance into a module of its own and runs the passes (opt.after). NULL after reports.
ir_func *rt_lower(rt_compilation *x, const fe_instance *k);
/// What opt.tuner chooses for opt.kernel: values of the tuned parameters, "" without a choice. After rt_load.
const char *rt_choice_text(rt_compilation *x);
/// PTX of one function (the target is x->opt.arch). NULL after reports.
const char *rt_ptx_of(rt_compilation *x, ir_func *f, cg_report **report);
/// Diagnostics as text (color) or as JSON lines; never NULL, "" when there are none or no memory.
const char *rt_diagnostics(rt_compilation *x, bool json, bool color);

/// Texts compiled into the library: "std/ref.tvm", "matmul.tvm", … NULL: none of that name.
const char *rt_embedded(const char *path, size_t *size);
uint32_t rt_embedded_count(void);
const char *rt_embedded_name(uint32_t i);
/// Looks for `path` as an import from `importer` does: embedded, importer's folder, -I. fe_loader.
const char *rt_loader(void *compilation, vm_comp *c, const char *importer, const char *path, size_t *size);
/// The whole file, NUL-terminated twice, in c's arena. NULL: *why says.
const char *rt_read_file(vm_comp *c, const char *path, size_t *size, const char **why);
