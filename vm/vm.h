// SPDX-License-Identifier: Apache-2.0
// The machine: what exists (types, instructions, architectures, diagnostics) and what it means.
// Everything here works on host values; no IR, no files but sources, no LLVM.
//
// Ownership: every pointer returned by a function that takes a `vm_comp *` lives in its arena and
// dies with it. Thread-safety: one thread a vm_comp; the tables are constant.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
#define VM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define VM_NORETURN __attribute__((noreturn))
#else
#define VM_PRINTF(f, a)
#define VM_NORETURN
#endif

typedef struct vm_comp vm_comp;

// ---- arena.c: memory of one compilation ---------------------------------------------------------

/// Embedder's memory. `alloc(size 0)` is never called; a NULL return means out of memory.
typedef struct {
    void *(*alloc)(void *user, size_t size);
    void (*release)(void *user, void *ptr, size_t size);
    void *user;
} vm_allocator;
extern const vm_allocator vm_malloc; // malloc and free

typedef struct vm_arena vm_arena;
vm_arena *vm_arena_new(const vm_allocator *a, jmp_buf *oom); // NULL a: malloc; NULL result: no memory
void vm_arena_free(vm_arena *a);
void vm_arena_set_oom(vm_arena *a, jmp_buf *oom); // from now on jumps there
size_t vm_arena_used(const vm_arena *a);
/// Zeroed, 16-byte aligned. Out of memory longjmps to the arena's `oom` with value 1.
void *vm_alloc(vm_arena *a, size_t size);
void *vm_dup(vm_arena *a, const void *src, size_t size);
char *vm_strdup(vm_arena *a, const char *s);
char *vm_format(vm_arena *a, const char *fmt, ...) VM_PRINTF(2, 3);
char *vm_vformat(vm_arena *a, const char *fmt, va_list ap);

#define vm_new(arena, T) ((T *)vm_alloc((arena), sizeof(T)))
#define vm_newn(arena, T, n) ((T *)vm_alloc((arena), sizeof(T) * (size_t)(n)))

/// Typed growable array in an arena: `VM_VEC(int) v = {0}; vm_push(arena, &v, 3); v.at[0]; v.n`.
#define VM_VEC(T)                                                                                  \
    struct {                                                                                       \
        T *at;                                                                                     \
        uint32_t n, cap;                                                                           \
    }
void *vm_grow_(vm_arena *a, void *at, uint32_t n, uint32_t *cap, size_t elem);
#define vm_push(arena, v, x)                                                                       \
    ((v)->n == (v)->cap                                                                            \
         ? (void)((v)->at = vm_grow_((arena), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at))        \
         : (void)0,                                                                                \
     (v)->at[(v)->n++] = (x))

/// Growable text. `vm_text_end` returns the NUL-terminated string (arena-owned).
typedef struct {
    vm_arena *arena;
    char *at;
    size_t n, cap;
} vm_text;
void vm_put(vm_text *t, const char *fmt, ...) VM_PRINTF(2, 3);
void vm_putn(vm_text *t, const char *s, size_t n);
char *vm_text_end(vm_text *t);

// ---- source.c, intern.c: files, spans, names ----------------------------------------------------

/// Half-open byte range [lo, hi) of source file number `file` (0: nowhere).
typedef struct {
    uint32_t file, lo, hi;
} vm_span;
#define VM_NOWHERE ((vm_span){0, 0, 0})

typedef struct {
    const char *name;    // as shown to the user
    const char *text;    // NUL-terminated, followed by a second NUL (flex)
    uint32_t size;
    uint32_t *line;      // offsets of line starts
    uint32_t nlines;
} vm_source;

uint32_t vm_source_add(vm_comp *c, const char *name, const char *text, size_t size);
const vm_source *vm_source_at(const vm_comp *c, uint32_t file);
void vm_source_place(const vm_source *s, uint32_t off, uint32_t *line, uint32_t *col); // 1-based
vm_span vm_span_join(vm_span a, vm_span b);
const char *vm_place(vm_comp *c, vm_span s); // "file:line:col", "?" if nowhere

const char *vm_intern(vm_comp *c, const char *s);
const char *vm_internn(vm_comp *c, const char *s, size_t n); // equal names are equal pointers
/// The candidate nearest to `name` by edit distance (at most a third of its length), else NULL.
const char *vm_nearest(const char *name, const char *const *cands, size_t n);

// ---- diag.def, diag.c: what went wrong ----------------------------------------------------------

enum vm_severity { VM_ERROR, VM_WARNING, VM_REMARK, VM_NOTE, VM_HELP };

enum vm_code {
#define DIAG(code, sev, title, chapter) D_##code,
#include "vm/diag.def"
#undef DIAG
    D_count_
};

typedef struct vm_diag vm_diag;
struct vm_diag {
    enum vm_severity sev; // of the head; children have NOTE, HELP or a label's NOTE with a span
    enum vm_code code;
    vm_span span;
    const char *text;
    bool label;           // child: a secondary span under the snippet
    const char *replace;  // child help: suggested replacement of its span, or NULL
    vm_diag *child, *next;
    vm_diag *last_child;
};

/// Severity comes from the table; `-Wperf` warnings and remarks are dropped unless enabled.
/// Never returns NULL, so notes can always be hung on the result.
vm_diag *vm_report(vm_comp *c, enum vm_code code, vm_span at, const char *fmt, ...) VM_PRINTF(4, 5);
vm_diag *vm_label(vm_comp *c, vm_diag *d, vm_span at, const char *fmt, ...) VM_PRINTF(4, 5);
vm_diag *vm_note(vm_comp *c, vm_diag *d, const char *fmt, ...) VM_PRINTF(3, 4);
vm_diag *vm_help(vm_comp *c, vm_diag *d, const char *fmt, ...) VM_PRINTF(3, 4);
vm_diag *vm_fix(vm_comp *c, vm_diag *d, vm_span at, const char *replacement);
const char *vm_code_name(enum vm_code c);   // "E0340", "L0002", "perf"
const char *vm_code_title(enum vm_code c);
const char *vm_code_chapter(enum vm_code c);
bool vm_code_find(const char *name, enum vm_code *out);
/// Renders all collected diagnostics as in language.md section 5 (or one JSON object a line).
char *vm_diags_text(vm_comp *c, bool color);
char *vm_diags_json(vm_comp *c);

// ---- the compilation ----------------------------------------------------------------------------

struct vm_comp {
    vm_arena *arena;
    jmp_buf *oom;
    struct vm_interner *names;
    VM_VEC(vm_source *) sources; // file 1 is at[0]
    vm_diag *diags, *last_diag;  // in order of report
    uint32_t nerrors, nwarnings;
    uint32_t nreports;           // errors, repetitions of earlier ones included (those are kept once)
    uint32_t max_errors;         // default 100; beyond it further errors are counted, not kept
    bool want_perf;              // -Wperf
    bool want_remarks;           // -Rpass
    bool werror;                 // warnings are errors
};
/// `oom` must stay valid while the compilation lives. NULL result: out of memory.
vm_comp *vm_comp_new(const vm_allocator *a, jmp_buf *oom);
void vm_comp_free(vm_comp *c);

// ---- dtype.def, dtype.c: element types ----------------------------------------------------------

typedef enum {
#define DTYPE(name, bits, kind, e, m, special) T_##name,
#include "vm/dtype.def"
#undef DTYPE
    T_count_
} vm_dtype;

enum vm_kind { K_BOOL, K_UINT, K_INT, K_FLOAT };
/// What the top exponent means: numbers; OCP e4m3 (only all-ones is NaN); IEEE (inf, NaN); scale e8m0.
enum vm_special { SP_NONE, SP_NAN, SP_IEEE, SP_SCALE };

typedef struct {
    const char *name;
    uint8_t bits, kind, e, m, special;
} vm_dtype_info;

extern const vm_dtype_info vm_dtypes[T_count_];
bool vm_dtype_find(const char *name, vm_dtype *out);  // also "f8e4m3" style; aliases none
static inline unsigned vm_bits(vm_dtype t) { return vm_dtypes[t].bits; }
static inline const char *vm_dtype_name(vm_dtype t) { return vm_dtypes[t].name; }
static inline bool vm_is_float(vm_dtype t) { return vm_dtypes[t].kind == K_FLOAT; }
static inline bool vm_is_int(vm_dtype t) { return vm_dtypes[t].kind == K_INT || vm_dtypes[t].kind == K_UINT; }
static inline bool vm_is_signed(vm_dtype t) { return vm_dtypes[t].kind == K_INT || vm_dtypes[t].kind == K_FLOAT; }
/// Bits in memory: bool is one byte, all others `bits` (dense bit strings).
static inline unsigned vm_mem_bits(vm_dtype t) { return t == T_bool ? 8 : vm_dtypes[t].bits; }
/// Bytes of a host cell (one element, unpacked, code in the low bits, upper bits zero): 1, 2, 4, 8.
static inline unsigned vm_cell(vm_dtype t) {
    const unsigned b = vm_dtypes[t].bits;
    return b <= 8 ? 1 : b <= 16 ? 2 : b <= 32 ? 4 : 8;
}

// ---- num.c: bit-exact numerics ------------------------------------------------------------------

/// To nearest-even, toward zero, toward -infinity, toward +infinity, to nearest with ties away from zero.
enum vm_round { R_NEAREST, R_ZERO, R_DOWN, R_UP, R_AWAY };
typedef struct {
    enum vm_round round;
    bool saturate; // out of range: largest finite value; else infinity, NaN, or all ones
    bool numbers;  // of types that have a NaN but no infinity, the NaN's code is one more number
    bool offset;   // integers of up to 8 bits come with bits_offset added
} vm_rounding;
/// The rounding of `as`: nearest-even; saturating for floats of at most 8 bits, not for wider ones.
vm_rounding vm_default_rounding(vm_dtype to);

/// The bits of a double, and back.
static inline uint64_t vm_bits_of(double x) {
    union { double x; uint64_t u; } b = {x};
    return b.u;
}
static inline double vm_from_bits(uint64_t u) {
    union { uint64_t u; double x; } b = {u};
    return b.x;
}
double vm_decode(vm_dtype t, uint64_t code);                    // exact but for 64-bit integers
uint64_t vm_encode(vm_dtype t, double x, vm_rounding r);
int64_t vm_decode_int(vm_dtype t, uint64_t code);               // integer and bool types, sign-extended
uint64_t vm_encode_int(vm_dtype t, int64_t x);                  // wraps
/// What the NaN's code of a type without infinities spells: 480 in f8e4m3, infinity in f8e8m0.
double vm_decode_number(vm_dtype t, uint64_t code);
static inline bool vm_has_numbers(vm_dtype t) {
    return vm_dtypes[t].special == SP_NAN || vm_dtypes[t].special == SP_SCALE;
}
/// The meaning of `x as to` (language.md section 2), and of cast(x, to, round =, saturate =, nan =, bias =).
uint64_t vm_cast(vm_dtype from, vm_dtype to, uint64_t code, vm_rounding r);

// ---- inst.def, inst.c, eval.c: instructions and their meaning -----------------------------------

enum vm_class {
    C_LEAF, C_ELEM, C_CMP, C_SELECT, C_CAST, C_TILE, C_VIEW, C_MEM, C_ASYNC, C_BARRIER, C_DOT,
    C_REDUCE, C_SCAN, C_WARP, C_SIMT, C_CONTROL, C_MISC
};
enum { FX_NONE = 0, FX_READ = 1, FX_WRITE = 2, FX_SYNC = 4, FX_IO = 8, FX_CTL = 16, FX_ASYNC = 32 };
enum vm_visibility { V_SOURCE, V_OPERATOR, V_SIMT, V_INTERNAL }; // how it is written in `.tvm`

typedef enum {
#define INST(name, cls, nops, nres, fx, vis, sm, doc) I_##name,
#include "vm/inst.def"
#undef INST
    I_count_
} vm_inst;

typedef struct {
    const char *name;
    uint8_t cls;
    int8_t nops, nres; // -1: any number
    uint8_t fx, vis, sm;
    const char *doc;
} vm_inst_info;
extern const vm_inst_info vm_insts[I_count_];
bool vm_inst_find(const char *name, vm_inst *out);

/// Meaning of an elementwise instruction (C_ELEM, C_CMP, C_SELECT) on codes of operand type t.
/// Comparisons give bool; select takes (bool, x, y) and t is the type of x and y. f32 flushes
/// denormal inputs and results. Total: x / 0 and x % 0 on integers give all ones and x.
uint64_t vm_eval(vm_inst i, vm_dtype t, const uint64_t *args);
/// Whether `i` is defined on operand type t; if not and why != NULL, *why says what to do instead.
bool vm_eval_legal(vm_inst i, vm_dtype t, const char **why);

/// The same on arrays of cells (see vm_cell). `scalar[k]` : src[k] is one cell for all n.
/// dst may be equal to a src. Native loops for the common types, vm_eval for the rest.
void vm_bulk(vm_inst i, vm_dtype t, size_t n, const void *const *src, const bool *scalar, void *dst);
void vm_bulk_cast(vm_dtype from, vm_dtype to, size_t n, const void *src, void *dst, vm_rounding r);
/// To and from float (f16, bf16, f32 and all of 8 bits and fewer) and double (every type).
void vm_bulk_to_f32(vm_dtype from, size_t n, const void *src, float *dst);
void vm_bulk_to_f64(vm_dtype from, size_t n, const void *src, double *dst);
/// Dense bit strings (LSB first, element i at bit i*vm_mem_bits) <-> cells. Writing leaves the
/// neighbouring bits alone.
void vm_unpack(vm_dtype t, size_t n, const void *mem, size_t bit, void *cells);
void vm_pack(vm_dtype t, size_t n, const void *cells, void *mem, size_t bit);
uint64_t vm_get_bits(const void *mem, size_t bit, unsigned nbits); // nbits <= 64
void vm_put_bits(void *mem, size_t bit, unsigned nbits, uint64_t v);

// ---- arch.def, arch.c: targets ------------------------------------------------------------------

enum {
    A_LDMATRIX = 1, A_CP_ASYNC = 2, A_MMA_BF16 = 4, A_STMATRIX = 8, A_TMA = 16, A_WGMMA = 32,
    A_CLUSTER = 64, A_FP8_CVT = 128, A_FP8_MMA = 256, A_SETMAXNREG = 512, A_PDL = 1024
};
typedef struct {
    const char *name;      // "sm_90a"
    uint16_t sm;           // 90
    bool suffix_a;         // architecture-specific target
    const char *ptx;       // LLVM feature, "+ptx86"
    uint32_t shared_bytes; // most dynamic shared memory of a block
    uint16_t max_threads;  // a block
    uint32_t features;     // A_…
} vm_arch;
extern const vm_arch vm_archs[];
extern const size_t vm_narchs;
const vm_arch *vm_arch_find(const char *name);            // NULL if unknown
const vm_arch *vm_arch_for_device(int major, int minor);  // best row that runs there, or NULL
bool vm_arch_has(const vm_arch *a, const char *feature);  // "wgmma", "tma", "cp_async", …
