// SPDX-License-Identifier: Apache-2.0
// libtilus: compiles kernels written in the .tvm language and runs them on an NVIDIA GPU, or on the
// host where there is none. This is the only installed header.
//
//   context  a device (a GPU, or the virtual machine on the host) and all that was made for it
//   module   a source text or file, or PTX
//   kernel   one kernel of a module for fixed meta-parameters, compiled when it is first asked for
//   plan     a kernel with its arguments checked, ready to be launched again and again
//
// Errors. Every function that can fail returns a tilus_status; TILUS_OK is 0. tilus_error(context) is
// the message of the last failure. Nothing here prints, exits or aborts. A NULL object is
// TILUS_INVALID_ARGUMENT; destroying NULL does nothing.
//
// Threads. A context and everything that was made for it may be used by one thread at a time; different
// contexts may be used by different threads at once, also on the same GPU. Functions without a context
// may be called from anywhere.
//
// CUDA. A context uses the primary context of its GPU, as the CUDA runtime and PyTorch do: memory,
// streams and events may be exchanged with them. The calling thread's current CUDA context is the same
// after each call as before.
#ifndef TILUS_H
#define TILUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TILUS_API __attribute__((visibility("default")))
#else
#define TILUS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TILUS_VERSION_MAJOR 0
#define TILUS_VERSION_MINOR 1
#define TILUS_VERSION_PATCH 0
#define TILUS_MAX_RANK 8

// ---- status -------------------------------------------------------------------------------------

/// What can happen, in words: X(NAME, "text").
#define TILUS_STATUS_LIST(X)                                                                       \
    X(OK, "success")                                                                               \
    X(NO_DRIVER, "the CUDA driver is not installed")                                               \
    X(NO_DEVICE, "there is no such GPU")                                                           \
    X(OUT_OF_MEMORY, "out of host memory")                                                         \
    X(OUT_OF_DEVICE_MEMORY, "out of device memory")                                                \
    X(INVALID_ARGUMENT, "invalid argument")                                                        \
    X(COMPILE_ERROR, "the program has errors")                                                     \
    X(NOT_FOUND, "not found")                                                                      \
    X(IO_ERROR, "a file could not be read or written")                                             \
    X(BAD_FORMAT, "a file is malformed")                                                           \
    X(LAUNCH_REFUSED, "the arguments break the kernel's contract")                                 \
    X(TRAP, "the kernel trapped")                                                                  \
    X(DRIVER_ERROR, "the CUDA driver reports an error")                                            \
    X(DRIVER_TOO_OLD, "the CUDA driver is too old")                                                \
    X(UNSUPPORTED, "this device cannot do that")

typedef enum tilus_status {
#define TILUS_X(name, text) TILUS_##name,
    TILUS_STATUS_LIST(TILUS_X)
#undef TILUS_X
} tilus_status;

/// The text of a status; never NULL, also for numbers that are none.
TILUS_API const char *tilus_status_text(tilus_status s);
/// "0.1.0".
TILUS_API const char *tilus_version(void);

// ---- context ------------------------------------------------------------------------------------

typedef struct tilus_context tilus_context;
typedef struct tilus_module tilus_module;
typedef struct tilus_kernel tilus_kernel;
typedef struct tilus_plan tilus_plan;
/// A CUstream, or NULL for the default stream. Ignored by the VM, where all calls are synchronous.
typedef void *tilus_stream;
/// A CUevent.
typedef void *tilus_event;

typedef enum tilus_device {
    TILUS_DEVICE_AUTO, // $TILUS_DEVICE (cuda, vm or vgpu) if it is set; else the GPU if there is one, else the VM
    TILUS_DEVICE_CUDA,
    TILUS_DEVICE_VM,   // programs run on the host, on host memory
    TILUS_DEVICE_VGPU  // programs are compiled to PTX, which the host executes: slow, and sees all
} tilus_device;

typedef enum tilus_log_level { TILUS_LOG_INFO, TILUS_LOG_WARNING, TILUS_LOG_ERROR, TILUS_LOG_PRINT } tilus_log_level;

/// Memory of the embedder. alloc gives 16-byte aligned memory or NULL; release gets back the size.
typedef struct tilus_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*release)(void *user, void *ptr, size_t size);
    void *user;
} tilus_allocator;

/// The virtual GPU. All zero: an sm_90a, all cores, no sanitizer.
typedef struct tilus_vgpu_params {
    const char *arch;            // "sm_80", "sm_86", "sm_89" or "sm_90a"; NULL: sm_90a
    int threads;                 // of the host that run blocks; 0: as many as cores; 1: fixed order
    uint64_t schedule;           // seed of the order in which warps and asynchronous work go on; 0: by turns
    int sanitize;                // nonzero: report races, uninitialised reads, work in flight touched, …
    int profile;                 // nonzero: count instructions and accesses
} tilus_vgpu_params;

/// All zero is a good start: automatic device 0, malloc, no log, no cache.
typedef struct tilus_context_params {
    tilus_device device;
    int ordinal;                 // which GPU
    const tilus_allocator *alloc;// NULL: malloc. Copied. LLVM and SQLite allocate by their own means
    /// Called by the thread that calls the library. TILUS_LOG_PRINT: output of `print` on the VM.
    void (*log)(void *user, tilus_log_level level, const char *text);
    void *log_user;
    /// Folder of the kernel cache. NULL: none. "": $TILUS_CACHE_DIR, or else $XDG_CACHE_HOME/tilus, or
    /// else $HOME/.cache/tilus. Processes may share it; if it cannot be used, a warning is logged.
    const char *cache_dir;
    int strict_jit;              // nonzero: an advisory of the PTX assembler (C75xx) is an error
    int optimize;                // 0: the default (3), or 1 to 3; -1: none
    const tilus_vgpu_params *vgpu; // of TILUS_DEVICE_VGPU; NULL: all zero. Copied
    char *error;                 // if not NULL, receives the message when creation fails
    size_t error_size;
    /// Database of tuned parameters. NULL: only what comes with the library. "": $TILUS_TUNE_DB, or else
    /// tune.sqlite in the folder of the kernel cache. "none": tuned parameters take their first legal
    /// values. Processes may share it; if it cannot be used, a warning is logged.
    const char *tune_db;
} tilus_context_params;

/// Makes a context. p NULL: all zero.
/// NO_DRIVER, NO_DEVICE (not with AUTO), DRIVER_TOO_OLD, DRIVER_ERROR, OUT_OF_MEMORY, INVALID_ARGUMENT.
TILUS_API tilus_status tilus_context_create(const tilus_context_params *p, tilus_context **out);
/// Destroys the context and all that it owns: modules, kernels, plans, memory, streams, events. Work
/// on the GPU must have been waited for.
TILUS_API void tilus_context_destroy(tilus_context *c);
/// Message of the last failure; "" if there was none. Valid until the next call on the context.
/// For COMPILE_ERROR: all diagnostics as they are shown to people.
TILUS_API const char *tilus_error(const tilus_context *c);
/// The same as one JSON object a line, after COMPILE_ERROR; else "".
TILUS_API const char *tilus_error_json(const tilus_context *c);
/// What the context runs on, never TILUS_DEVICE_AUTO.
TILUS_API tilus_device tilus_context_device(const tilus_context *c);
/// "NVIDIA H200", "vm" or "vgpu"; "sm_90a" or "vm".
TILUS_API const char *tilus_device_name(const tilus_context *c);
TILUS_API const char *tilus_device_arch(const tilus_context *c);
/// What the virtual GPU's sanitizer has found since the context was made, each place once: their number,
/// and the text of the i-th (NULL: there is none), valid until the next launch.
TILUS_API size_t tilus_vgpu_reports(const tilus_context *c);
TILUS_API const char *tilus_vgpu_report(const tilus_context *c, size_t i);
/// Makes a report of each block of device memory that is allocated now; how many. Destroying a context
/// with the sanitizer logs them (TILUS_LOG_WARNING).
TILUS_API size_t tilus_vgpu_check_leaks(tilus_context *c);

// ---- modules and kernels ------------------------------------------------------------------------

/// A program given as text. `name` is shown in messages and decides where imports are looked for; it
/// may be NULL. The texts are copied. Nothing is compiled yet.
/// OUT_OF_MEMORY, INVALID_ARGUMENT.
TILUS_API tilus_status tilus_module_from_source(tilus_context *c, const char *name, const char *text,
                                                size_t size, tilus_module **out);
/// A program in a file; a name such as "matmul.tvm" that is no file is looked for among the programs
/// that come with the library. IO_ERROR, OUT_OF_MEMORY, INVALID_ARGUMENT.
TILUS_API tilus_status tilus_module_from_file(tilus_context *c, const char *path, tilus_module **out);
/// PTX text of any origin; its kernels are launched by tilus_launch_raw.
/// UNSUPPORTED (VM), COMPILE_ERROR (the driver's log is the message), DRIVER_TOO_OLD, DRIVER_ERROR.
TILUS_API tilus_status tilus_module_from_ptx(tilus_context *c, const char *ptx, tilus_module **out);
/// Adds a folder in which imports are looked for. OUT_OF_MEMORY, INVALID_ARGUMENT.
TILUS_API tilus_status tilus_module_include(tilus_module *m, const char *folder);
/// Destroys the module with its kernels and plans.
TILUS_API void tilus_module_destroy(tilus_module *m);

/// A meta-parameter: its name and its value as an expression of the language ("f16", "64", "(1, 4)").
typedef struct tilus_meta {
    const char *name, *value;
} tilus_meta;

/// The kernel for these meta-parameters, compiled on the first call and then found again. For PTX,
/// `name` is the entry name and there are no metas. The module owns it. Tuned parameters without a value
/// take the one that most shapes in the tuning database have on this GPU, or else the first legal one.
/// COMPILE_ERROR, NOT_FOUND (no such kernel), OUT_OF_MEMORY, IO_ERROR, DRIVER_TOO_OLD, DRIVER_ERROR.
TILUS_API tilus_status tilus_kernel_get(tilus_module *m, const char *name, const tilus_meta *metas,
                                        size_t nmetas, tilus_kernel **out);

typedef struct tilus_kernel_info {
    const char *entry;      // name in PTX
    int threads;            // a block
    uint32_t shared_bytes;  // a block, without tiles of run-time size
    int registers;          // a thread; -1: not known (VM)
    int spill_bytes;        // local memory a thread; -1: not known
    int from_cache;         // not compiled by this process
    int advisory;           // the assembler warned (C75xx): see jit_log
    size_t params;          // run-time parameters
    const char *ptx;        // "" on the VM
    const char *jit_log;    // what the driver said, or ""
    const char *warnings;   // what the compiler said, or ""
} tilus_kernel_info;
/// Facts about a kernel; the pointers live as long as it. INVALID_ARGUMENT.
TILUS_API tilus_status tilus_kernel_describe(const tilus_kernel *k, tilus_kernel_info *out);
/// Name and element type of parameter i ("n", "i32"; *pointer nonzero: a tensor's address).
/// INVALID_ARGUMENT.
TILUS_API tilus_status tilus_kernel_param(const tilus_kernel *k, size_t i, const char **name,
                                          const char **type, int *pointer);

// ---- launch -------------------------------------------------------------------------------------

typedef enum tilus_arg_kind { TILUS_ARG_INT, TILUS_ARG_FLOAT, TILUS_ARG_POINTER } tilus_arg_kind;

/// One run-time argument, in the order of the kernel's parameters. Numbers are converted to the
/// parameter's type; an integer that does not fit is refused. A pointer may state the extent of its
/// memory and its shape; what is stated is checked against the signature. For memory of tilus_alloc
/// the extent is known anyway.
typedef struct tilus_arg {
    tilus_arg_kind kind;
    int rank;                     // pointers: of `dim`, -1 for "no shape stated"
    union {
        int64_t i;
        double f;
        void *ptr;
    } as;
    size_t bytes;                 // pointers: size of the memory there, 0: not known
    int64_t dim[TILUS_MAX_RANK];
} tilus_arg;

static inline tilus_arg tilus_int(int64_t x) {
    tilus_arg a = {TILUS_ARG_INT, -1, {0}, 0, {0}};
    a.as.i = x;
    return a;
}
static inline tilus_arg tilus_float(double x) {
    tilus_arg a = {TILUS_ARG_FLOAT, -1, {0}, 0, {0}};
    a.as.f = x;
    return a;
}
static inline tilus_arg tilus_pointer(const void *p) {
    tilus_arg a = {TILUS_ARG_POINTER, -1, {0}, 0, {0}};
    a.as.ptr = (void *)p;
    return a;
}
static inline tilus_arg tilus_array(const void *p, int rank, const int64_t *dim) {
    tilus_arg a = tilus_pointer(p);
    a.rank = rank;
    for (int i = 0; i < rank && i < TILUS_MAX_RANK; i++) a.dim[i] = dim[i];
    return a;
}

/// Checks the arguments against the kernel's contract, computes the grid and launches. Returns before
/// the work is done (on the VM: after). Allocates nothing and does not synchronise, so it may be
/// captured into a CUDA graph.
/// LAUNCH_REFUSED, INVALID_ARGUMENT (number or kinds of arguments), TRAP (VM), OUT_OF_MEMORY (VM),
/// DRIVER_ERROR.
TILUS_API tilus_status tilus_launch(tilus_kernel *k, tilus_stream s, const tilus_arg *args, size_t n);
/// The checks of tilus_launch once and for all. The kernel owns the plan. Errors as there, and
/// OUT_OF_MEMORY.
TILUS_API tilus_status tilus_prepare(tilus_kernel *k, const tilus_arg *args, size_t n, tilus_plan **out);
/// Replaces all arguments of a plan; allocates nothing. If it fails, the plan is as before.
TILUS_API tilus_status tilus_plan_update(tilus_plan *p, const tilus_arg *args, size_t n);
/// Launches a plan: little more than cuLaunchKernel. DRIVER_ERROR, TRAP (VM), OUT_OF_MEMORY (VM).
TILUS_API tilus_status tilus_launch_prepared(tilus_plan *p, tilus_stream s);
TILUS_API void tilus_plan_destroy(tilus_plan *p);
/// The grid that a plan launches.
TILUS_API tilus_status tilus_plan_grid(const tilus_plan *p, int64_t grid[3]);
/// How many blocks of the plan's kernel the device holds at once, whole clusters only: the largest grid of a
/// persistent kernel that runs in one wave. UNSUPPORTED on the VM.
TILUS_API tilus_status tilus_plan_resident(const tilus_plan *p, int64_t *blocks);
/// Launches a kernel of a PTX module; `params` as in cuLaunchKernel. UNSUPPORTED for other kernels.
TILUS_API tilus_status tilus_launch_raw(tilus_kernel *k, tilus_stream s, const unsigned grid[3],
                                        const unsigned block[3], unsigned shared_bytes, void **params);

// ---- tuning -------------------------------------------------------------------------------------

/// tilus_kernel_get with the arguments of a launch: tuned parameters without a value take the tuning
/// database's for the nearest shape (the whole numbers among the arguments, by the ratio of each).
/// Only the kinds and numbers of `args` matter. Not for the launch path: see tilus_dispatch.
/// Errors of tilus_kernel_get.
TILUS_API tilus_status tilus_kernel_get_for(tilus_module *m, const char *name, const tilus_meta *metas, size_t nmetas,
                                            const tilus_arg *args, size_t nargs, tilus_kernel **out);

typedef enum tilus_tune_state {
    TILUS_TUNE_STARTED,  // is about to be launched for the first time; nothing is known yet
    TILUS_TUNE_TIMED,
    TILUS_TUNE_KNOWN,    // timed before: the cost comes from the database
    TILUS_TUNE_EXCLUDED, // the target cannot hold it: threads, shared memory, registers
    TILUS_TUNE_FAILED,   // did not compile, launch or end
    TILUS_TUNE_WRONG     // its results differ from those of the first point
} tilus_tune_state;

typedef struct tilus_tune_point {
    tilus_tune_state state;
    const char *values;  // "WM=1 WN=4 stages=3"
    const char *reason;  // of EXCLUDED, FAILED and WRONG, else ""
    double cost;         // microseconds; on the virtual GPU warp instructions and sectors; else -1
    int registers, spill_bytes; // a thread; -1: not known
    int advisory;        // the assembler warned (C75xx)
} tilus_tune_point;

/// All zero is a good start.
typedef struct tilus_tune_params {
    const tilus_meta *metas;     // fixed ones; those left out of the tuning space too
    size_t nmetas;
    int jobs;                    // processes that compile; 0: as many as cores
    double compile_seconds;      // most that one may take; 0: 60
    double point_seconds;        // about as long as one point is timed; 0: 0.15
    double tolerance;            // relative norm by which results may differ; 0: by the element type
    int again;                   // nonzero: time what the database knows, too
    /// Called for each point, when `done` of `total` are dealt with. May be NULL.
    void (*progress)(void *user, const tilus_tune_point *p, size_t done, size_t total);
    /// Asked between points; nonzero: end with the best so far. May be NULL.
    int (*stop)(void *user);
    void *user;
} tilus_tune_params;

typedef struct tilus_tune_result {
    size_t product;              // points of the lists' product
    size_t points;               // of them, `when` and `where` hold
    size_t timed, known, excluded, failed, wrong; // what became of them
    int interrupted;             // `stop` has ended it
    double cost, first_cost;     // of the best, and of the first point; -1: there is none
    const char *unit;            // "us" or "count"
    char best[512];              // values of the best point, "" if there is none
} tilus_tune_result;

/// Runs a kernel with every point of its tuning space on these arguments and keeps the results in the
/// context's database. Points are compiled by child processes (made by fork; they do not touch the GPU;
/// no other thread may compile meanwhile, or a child may find a lock taken and its point fails),
/// checked against the first one's results and timed by device events with a cold L2 cache: launches go
/// round copies of the arguments' memory, as much as half of the free device memory. Every pointer's
/// extent must be known (tilus_alloc, or `bytes`). Memory that the kernel writes is restored between
/// points and holds the best point's results in the end.
/// A fault on the GPU ends the call with TRAP or DRIVER_ERROR: the point is noted as failed, and the
/// same call on a new context goes on behind it. COMPILE_ERROR, NOT_FOUND, INVALID_ARGUMENT,
/// LAUNCH_REFUSED, OUT_OF_MEMORY, OUT_OF_DEVICE_MEMORY; UNSUPPORTED: the VM, or a virtual GPU that does
/// not profile. `out` is valid whenever the call has begun to run points.
TILUS_API tilus_status tilus_tune(tilus_module *m, const char *kernel, const tilus_tune_params *p,
                                  const tilus_arg *args, size_t nargs, tilus_tune_result *out);

/// A table of kernels that differ in their tuned parameters, for a number that is known at run time.
typedef struct tilus_dispatch tilus_dispatch;
typedef struct tilus_dispatch_params {
    const char *kernel;
    const tilus_meta *metas;     // fixed meta-parameters
    size_t nmetas;
    const char *scalar;          // the run-time parameter, "m"
    const int64_t *values;       // of it, ascending; NULL: those in the tuning database
    size_t nvalues;
    const tilus_meta *shape;     // the other whole-number parameters: {"n", "8192"}, …
    size_t nshape;
} tilus_dispatch_params;
/// Compiles one kernel for each value (fewer where the database has the same for several). A number
/// between two values gets the kernel of the one with the smaller ratio to it. The module owns it.
/// INVALID_ARGUMENT (no such parameter, values not ascending and positive), errors of tilus_kernel_get.
TILUS_API tilus_status tilus_dispatch_create(tilus_module *m, const tilus_dispatch_params *p, tilus_dispatch **out);
/// The kernel for a number: a search of the table, some nanoseconds, no allocation. From any thread.
TILUS_API tilus_kernel *tilus_dispatch_find(const tilus_dispatch *d, int64_t value);
/// tilus_launch of the kernel for args' own value of the scalar. Errors of tilus_launch.
TILUS_API tilus_status tilus_dispatch_launch(const tilus_dispatch *d, tilus_stream s, const tilus_arg *args, size_t n);
/// Distinct kernels of the table, and where the i-th begins: the smallest number that gets it.
TILUS_API size_t tilus_dispatch_count(const tilus_dispatch *d);
TILUS_API tilus_status tilus_dispatch_at(const tilus_dispatch *d, size_t i, int64_t *from, tilus_kernel **kernel);
TILUS_API void tilus_dispatch_destroy(tilus_dispatch *d);

// ---- memory, streams, events --------------------------------------------------------------------

/// Memory of the device, 256-byte aligned (of the host on the VM). Its content is arbitrary.
/// OUT_OF_DEVICE_MEMORY, OUT_OF_MEMORY, INVALID_ARGUMENT (size 0), DRIVER_ERROR.
TILUS_API tilus_status tilus_alloc(tilus_context *c, size_t size, void **out);
/// Frees it; NULL is allowed. INVALID_ARGUMENT if it is not memory of this context.
TILUS_API tilus_status tilus_free(tilus_context *c, void *ptr);
/// Host to device and back, after the work on stream s; on return the copy is done.
/// DRIVER_ERROR, INVALID_ARGUMENT.
TILUS_API tilus_status tilus_upload(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream s);
TILUS_API tilus_status tilus_download(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream s);
/// Any memory to any memory, in stream order; host memory must stay until the stream is synchronised.
TILUS_API tilus_status tilus_copy_async(tilus_context *c, void *dst, const void *src, size_t size, tilus_stream s);
/// Sets each byte, in stream order.
TILUS_API tilus_status tilus_fill(tilus_context *c, void *dst, int byte, size_t size, tilus_stream s);

/// A stream that does not wait for the default stream. NULL on the VM. The context owns it.
TILUS_API tilus_status tilus_stream_create(tilus_context *c, tilus_stream *out);
TILUS_API tilus_status tilus_stream_destroy(tilus_context *c, tilus_stream s);
/// Waits for all work of the stream; faults of earlier kernels appear here. TRAP, DRIVER_ERROR.
TILUS_API tilus_status tilus_synchronize(tilus_context *c, tilus_stream s);
TILUS_API tilus_status tilus_event_create(tilus_context *c, tilus_event *out);
TILUS_API tilus_status tilus_event_destroy(tilus_context *c, tilus_event e);
TILUS_API tilus_status tilus_event_record(tilus_context *c, tilus_event e, tilus_stream s);
/// Waits for `to`, then gives the milliseconds between the two. On the VM: wall time.
TILUS_API tilus_status tilus_event_elapsed(tilus_context *c, tilus_event from, tilus_event to, float *ms);

// ---- tensors in files ---------------------------------------------------------------------------

/// A tensor in host memory: dense, row-major, elements packed as the kernels expect them.
typedef struct tilus_tensor {
    const char *dtype;            // name of the element type ("bf16"), a constant
    const char *name;             // in a safetensors file, or ""; lives as long as the tensor (or file)
    int rank;
    int64_t dim[TILUS_MAX_RANK];
    void *data;                   // read-only when mapped from a file
    size_t bytes;
    void *owner;                  // private
    size_t owner_bytes;
} tilus_tensor;

/// Reads a .npy file (versions 1 to 3; numbers of 1 to 8 bytes; '|V2' is bf16; Fortran order is
/// converted). IO_ERROR, BAD_FORMAT, UNSUPPORTED (element type, byte order, rank), OUT_OF_MEMORY.
TILUS_API tilus_status tilus_npy_read(tilus_context *c, const char *path, tilus_tensor *out);
/// Writes one; types without a counterpart in NumPy are written as unsigned integers of their width
/// (bf16 as '|V2'). IO_ERROR, UNSUPPORTED (types below 8 bits), INVALID_ARGUMENT.
TILUS_API tilus_status tilus_npy_write(tilus_context *c, const char *path, const tilus_tensor *t);
/// Gives back what tilus_npy_read allocated or mapped.
TILUS_API void tilus_tensor_free(tilus_context *c, tilus_tensor *t);

typedef struct tilus_safetensors tilus_safetensors;
/// Opens a .safetensors file; its tensors are mapped, not read. The context does not own it.
/// IO_ERROR, BAD_FORMAT, OUT_OF_MEMORY.
TILUS_API tilus_status tilus_safetensors_open(tilus_context *c, const char *path, tilus_safetensors **out);
TILUS_API void tilus_safetensors_close(tilus_safetensors *f);
TILUS_API size_t tilus_safetensors_count(const tilus_safetensors *f);
/// Tensor i in the order of the file's header, or by name; `out` points into the mapping.
/// INVALID_ARGUMENT, NOT_FOUND.
TILUS_API tilus_status tilus_safetensors_at(const tilus_safetensors *f, size_t i, tilus_tensor *out);
TILUS_API tilus_status tilus_safetensors_find(const tilus_safetensors *f, const char *name, tilus_tensor *out);
/// Writes a file with these tensors. IO_ERROR, UNSUPPORTED (element types that the format lacks),
/// INVALID_ARGUMENT (a name twice), OUT_OF_MEMORY.
TILUS_API tilus_status tilus_safetensors_write(tilus_context *c, const char *path, const tilus_tensor *t, size_t n);

#ifdef __cplusplus
}
#endif
#endif
