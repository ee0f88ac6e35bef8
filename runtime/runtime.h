// SPDX-License-Identifier: Apache-2.0
// Private to the runtime: the driver table and the objects behind the handles of tilus.h.
#pragma once
#include <stdalign.h>
#include "runtime/compile.h"
#include "runtime/tilus.h"

_Static_assert(TILUS_MAX_RANK == LAYOUT_MAX_RANK, "ranks of the public header");

// ---- driver.c, null.c: the CUDA driver ----------------------------------------------------------

typedef struct {
    void *library; // of dlopen, or NULL
#define DRIVER(name, symbol, params, needed) int(*name) params;
#include "runtime/driver.def"
#undef DRIVER
} rt_driver;

/// Numbers of the driver's interface that this project uses.
enum {
    CU_OUT_OF_MEMORY = 2, CU_NO_DEVICE = 100, CU_INVALID_DEVICE = 101, CU_INVALID_PTX = 218,
    CU_UNSUPPORTED_PTX = 222, CU_NO_BINARY = 209, CU_NOT_FOUND = 500,
    CU_ATTR_MAX_SHARED_OPTIN = 97, CU_ATTR_PROCESSORS = 16, CU_ATTR_MAJOR = 75, CU_ATTR_MINOR = 76,
    CU_ATTR_MULTIPROCESSORS = 16, CU_ATTR_L2_BYTES = 38,
    CU_FUNC_SHARED = 1, CU_FUNC_LOCAL = 3, CU_FUNC_REGS = 4, CU_FUNC_MAX_DYNAMIC_SHARED = 8,
    CU_FUNC_NON_PORTABLE_CLUSTER = 14,
    CU_JIT_INFO_LOG = 3, CU_JIT_INFO_LOG_SIZE = 4, CU_JIT_ERROR_LOG = 5, CU_JIT_ERROR_LOG_SIZE = 6,
    CU_JIT_VERBOSE = 12, CU_STREAM_NON_BLOCKING = 1
};

/// Loads libcuda.so.1. TILUS_NO_DRIVER or TILUS_DRIVER_TOO_OLD with the reason in why.
tilus_status rt_driver_load(rt_driver *d, char *why, size_t size);
void rt_driver_unload(rt_driver *d);

enum {
#define DRIVER(name, symbol, params, needed) RT_CALL_##name,
#include "runtime/driver.def"
#undef DRIVER
    RT_CALL_count_
};
extern const char *const rt_driver_symbols[RT_CALL_count_];

/// CUlaunchConfig and CUlaunchAttribute.
typedef struct {
    int id, pad;
    union {
        char bytes[64];
        unsigned cluster[3];
        int allowed;
    };
} rt_launch_attribute;
enum { CU_LAUNCH_CLUSTER = 4, CU_LAUNCH_DEPENDENT = 6 };
typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream;
    rt_launch_attribute *attrs;
    unsigned nattrs;
} rt_launch_config;

/// Arguments of cuTensorMapEncodeTiled.
typedef struct {
    int type;
    uint32_t rank, box[5];
    void *address;
    uint64_t dims[5], strides[4];
    int swizzle;
} rt_null_map;

/// A driver that has no GPU: it records its calls and fails when told to. One a thread: a table made
/// by rt_null_driver acts on the rt_null that its thread set last.
typedef struct {
    int count[RT_CALL_count_];   // calls so far
    int fail_at[RT_CALL_count_]; // the how-many-th call fails, 0: none
    int error[RT_CALL_count_];   // … with this CUresult
    int order[256];              // the first calls, in order
    uint32_t norder;
    int devices, version, major, minor;
    int depth;                   // contexts pushed
    size_t live;                 // allocations alive
    const char *jit_info, *jit_error; // logs of module_load
    int registers, local;
    unsigned grid[3], block[3], shared;   // of the last launch
    unsigned cluster[3], dependent;       // of the last cuLaunchKernelEx
    rt_null_map map;                      // encoded last
    void **params;               // of the last launch
    int max_dynamic;             // last CU_FUNC_MAX_DYNAMIC_SHARED
} rt_null;
void rt_null_init(rt_null *n);
void rt_null_driver(rt_driver *d, rt_null *n);

// ---- cache.c: compiled kernels on disk ----------------------------------------------------------

typedef struct rt_cache rt_cache;
typedef struct {
    char *entry, *ptx, *host, *warnings; // host: IR text without the body
    size_t size;                         // of the one block behind all four
} rt_cached;
/// NULL when there is nothing to use; the reason has been logged. Never fails otherwise.
rt_cache *rt_cache_open(tilus_context *c, const char *dir);
void rt_cache_close(rt_cache *k);
bool rt_cache_get(rt_cache *k, const uint8_t key[32], rt_cached *out);
void rt_cache_put(rt_cache *k, const uint8_t key[32], const rt_cached *in);
void rt_cached_free(tilus_context *c, rt_cached *x);
/// Key of one kernel: everything that its code depends on. x has been loaded.
void rt_cache_key(rt_compilation *x, uint8_t key[32]);

// ---- context.c ----------------------------------------------------------------------------------

typedef struct {
    uint64_t at;
    size_t size;
    void *base; // VM: what the allocator gave
} rt_block;

typedef struct {
    void **at;
    size_t n, cap;
} rt_list;

struct tilus_context {
    vm_allocator alloc;
    tilus_device device;
    void (*log)(void *user, tilus_log_level level, const char *text);
    void *log_user;
    rt_driver cu;
    bool has_driver, has_primary, sanitize; // sanitize: virtual GPU
    int gpu;
    void *primary;
    const vm_arch *arch;         // NULL: VM
    char name[128];
    int opt;
    bool strict, profiles;       // profiles: a virtual GPU that counts
    rt_cache *cache;
    struct rt_tuner *tuner;      // NULL: the VM, where nothing is tuned
    char error[1024];
    char line[1024];             // of the VM's print, not complete yet
    size_t nline;
    char *text, *json;           // long form of the last compile error
    size_t text_size, json_size;
    rt_block *blocks;            // sorted by address
    size_t nblocks, cap_blocks;
    rt_list streams, events;
    tilus_module *modules;
};

tilus_status rt_context_create(const tilus_context_params *p, const rt_driver *table, tilus_context **out);
void *rt_alloc(tilus_context *c, size_t size);         // zeroed; NULL: out of memory
void rt_free(tilus_context *c, void *p, size_t size);  // NULL allowed
char *rt_strdup(tilus_context *c, const char *s);      // free with strlen + 1
bool rt_list_add(tilus_context *c, rt_list *l, void *x);
bool rt_list_remove(rt_list *l, const void *x);
void rt_log(const tilus_context *c, tilus_log_level level, const char *fmt, ...) VM_PRINTF(3, 4);
/// Sets the message and returns s.
tilus_status rt_fail(tilus_context *c, tilus_status s, const char *fmt, ...) VM_PRINTF(3, 4);
tilus_status rt_no_memory(tilus_context *c);
tilus_status rt_fail_diagnostics(tilus_context *c, rt_compilation *x);
/// Status of a driver call; rc 0 is TILUS_OK.
tilus_status rt_cu(tilus_context *c, int rc, const char *what);
tilus_status rt_enter(tilus_context *c); // makes the primary context current
void rt_leave(tilus_context *c);
/// Bytes from p to the end of its block, 0: not memory of this context.
size_t rt_extent(const tilus_context *c, uint64_t p);

// ---- module.c, launch.c -------------------------------------------------------------------------

struct tilus_module {
    tilus_context *ctx;
    tilus_module *next;
    char *name, *text;           // program; text NULL: PTX
    size_t size;
    rt_list folders;             // strings
    void *cu_module;             // of PTX
    tilus_kernel *kernels;
    tilus_dispatch *dispatches;
};

struct tilus_kernel {
    tilus_module *module;
    tilus_kernel *next;
    char *key;                   // "name[a=1, b=2]"
    rt_compilation *comp;        // owns func
    ir_func *func;               // NULL: PTX of others
    ir_plan *vm;
    void *cu_module, *cu_func;
    bool owns_module, from_cache, advisory;
    int registers, spill;
    uint32_t shared_limit;       // dynamic shared bytes that have been set for cu_func
    rt_cached cached;            // texts that came from the cache
    char *jit_log, *warnings;
    tilus_plan *plans;
    tilus_plan *scratch;         // of tilus_launch
};

typedef struct {
    _Alignas(64) uint8_t bytes[128];
} rt_tensor_map;

struct tilus_plan {
    tilus_kernel *kernel;
    tilus_plan *next;
    bool ready;
    ir_launch launch;
    unsigned grid[3], threads, shared;
    uint64_t *code, *spare;      // nparams values
    void **params;
    ir_arg *args, *spare_args;
    rt_tensor_map *map;          // as many as the kernel needs, behind the values in params
    bool mapped;                 // they are those of launch.map
    rt_launch_attribute attrs[2];
    rt_launch_config config;     // for cuLaunchKernelEx, if there are attributes
};

/// Options by which a kernel of a module is compiled.
rt_options rt_kernel_options(const tilus_module *m, const char *name, size_t ndefine, const char *const *define);
/// What a process needs that loads the one kernel of x, which has its PTX. In x's arena.
rt_cached rt_kernel_texts(rt_compilation *x);
/// tilus_kernel_get without compiling: NOT_FOUND if neither the module nor the cache has the kernel.
tilus_status rt_kernel_find(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, tilus_kernel **out);
/// tilus_kernel_get with what another process has compiled. `texts` are copied.
tilus_status rt_kernel_adopt(tilus_module *m, const char *name, const tilus_meta *metas, size_t n, const rt_cached *texts, tilus_kernel **out);

/// What kernels print on the VM and on the virtual GPU, in pieces; the context's log gets lines.
void rt_print(void *context, const char *text, size_t n);
tilus_status rt_plan_new(tilus_kernel *k, tilus_plan **out);
void rt_plan_free(tilus_plan *p);
void rt_kernel_free(tilus_kernel *k);

// ---- mapfile.c: files of tensors ----------------------------------------------------------------

typedef struct {
    const uint8_t *at;
    size_t size;
} rt_map;
tilus_status rt_map_file(tilus_context *c, const char *path, rt_map *out); // read-only
void rt_unmap(rt_map *m);
/// Writes to a neighbour of path that rt_finish_file renames, so that no half file is ever seen.
FILE *rt_create_file(tilus_context *c, const char *path, char temp[4096]);
tilus_status rt_finish_file(tilus_context *c, FILE *f, const char *temp, const char *path);
/// Elements and packed bytes of a shape; false: negative, or more than memory can have.
bool rt_shape_bytes(vm_dtype t, int rank, const int64_t *dim, size_t *n, size_t *bytes);
