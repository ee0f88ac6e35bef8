// SPDX-License-Identifier: Apache-2.0
// PTX text as data: what the virtual GPU reads. The parser knows PTX's syntax, its directives and
// names; what an instruction means, and which modifiers it may have, is decided by vgpu's decoders.
#pragma once
#include "vm/vm.h"

/// Element types of registers, variables and instructions.
enum ptx_type {
#define PTX_TYPE(name, bits, kind) PTX_##name,
#include "runtime/vgpu/types.def"
#undef PTX_TYPE
    PTX_type_count_
};
enum ptx_kind { PTX_K_NONE, PTX_K_PRED, PTX_K_BITS, PTX_K_UINT, PTX_K_INT, PTX_K_FLOAT, PTX_K_PACKED };
typedef struct {
    const char *name;     // "f32", without the dot
    uint16_t bits;        // of one register; packed types: of the whole
    uint8_t kind;         // enum ptx_kind
} ptx_type_info;
extern const ptx_type_info ptx_types[PTX_type_count_];
int ptx_type_named(const char *name, size_t n); // PTX_NONE if there is none

enum ptx_space {
    PTX_GENERIC, PTX_REG, PTX_CONST, PTX_GLOBAL, PTX_LOCAL, PTX_PARAM, PTX_SHARED, PTX_SHARED_CLUSTER
};

/// Place in the PTX text, and the source line that `.loc` gave before it (file 0: none).
typedef struct {
    uint32_t line, column;
    uint32_t src_file, src_line;
} ptx_pos;

/// Module or function variable. Bytes beyond `ninit` are zero.
typedef struct ptx_var ptx_var;
struct ptx_var {
    const char *name;
    uint8_t space;        // CONST, GLOBAL, LOCAL, PARAM, SHARED; register parameters: REG
    uint8_t type;
    bool is_extern;       // .extern .shared x[]: dynamic shared memory
    bool unsized;         // extent left open
    uint32_t align;
    uint64_t bytes;
    const uint8_t *init;
    uint64_t ninit;
    struct ptx_reloc {    // addresses inside the initialiser
        uint64_t at;      // byte offset, 8 bytes (or mask of one byte)
        const char *symbol;
        int64_t addend;
        bool generic;     // generic(x)
        uint8_t bytes;    // written: 4 or 8; 1: the byte of the address that starts at bit `shift`
        uint8_t shift;
        ptx_var *var;     // what `symbol` is: a variable, or else a function
        struct ptx_func *func;
    } *reloc;
    uint32_t nreloc;
    ptx_pos pos;
    uint64_t address;     // vgpu: where it was placed; parameters: offset among the parameters
    int32_t reg;          // space REG (a .func's register parameter): its register
};

typedef struct {
    const char *name;     // "%rd7"
    uint8_t type;
} ptx_reg;

/// Special registers, the ones that vgpu knows: one row each.
enum ptx_special {
#define PTX_SPECIAL(id, name, type, meaning) PTX_S_##id,
#include "runtime/vgpu/special.def"
#undef PTX_SPECIAL
    PTX_special_count_
};

enum ptx_opnd_kind {
    PTX_O_REG,            // reg; negated: !p
    PTX_O_INT,            // integer
    PTX_O_FLOAT,          // 0f…, 0d… or decimal: value as f64, and its bits if written in hex
    PTX_O_SPECIAL,        // special
    PTX_O_SYMBOL,         // var or func or label by name
    PTX_O_ADDRESS,        // [base + offset]; base reg, symbol or none; `list` for tensor coordinates
    PTX_O_LIST,           // {a, b, …}
    PTX_O_PAIR,           // a|b, list of two
    PTX_O_SINK            // _
};
typedef struct ptx_opnd ptx_opnd;
struct ptx_opnd {
    uint8_t kind;
    bool negated;         // !p or -x
    int8_t part;          // selector of video instructions: .b0 to .b3 0..3, .h0 .h1 4, 5; -1: none
    uint8_t hex_bits;     // FLOAT: 32 or 64 if written as 0f or 0d
    int32_t reg;          // REG, ADDRESS base; -1: none
    int32_t special;
    int64_t integer;      // INT; FLOAT: its bits if hex_bits; ADDRESS: offset; SYMBOL: addend
    double real;          // FLOAT
    const char *symbol;   // SYMBOL, ADDRESS base; NULL: none
    ptx_var *var;         // resolved variable of `symbol`, or NULL (label, function)
    struct ptx_func *func; // resolved function of `symbol`, or NULL
    int32_t label;        // SYMBOL: index of the function's `label` or, with `targets`, of its `targets`;
    bool targets;         // -1: neither
    ptx_opnd *list;       // LIST, PAIR, ADDRESS (coordinates after the base)
    uint32_t nlist;
};

/// One instruction, as written.
typedef struct {
    const char *op;       // interned root: "add", "cp", "wgmma"
    const char **mod;     // interned modifiers in order, without dots: "async", "bulk", "shared::cta", "f32"
    uint32_t nmod;
    int32_t guard;        // predicate register, -1: none
    bool guard_not;
    ptx_opnd *opnd;       // in the order written: results first
    uint32_t nopnd;
    // call only: results and arguments; opnd is the callee and, in an indirect call, its prototype
    ptx_opnd *result, *arg;
    uint32_t nresult, narg;
    bool noreturn;        // call of what never returns
    ptx_pos pos;
} ptx_inst;

typedef struct {
    const char *name;
    uint32_t at;          // index of the instruction that it stands before (ninst: the end)
} ptx_label;

typedef struct {          // .branchtargets of brx.idx
    const char *name;
    const char **label;
    uint32_t *at;         // their places, as in ptx_label
    uint32_t nlabel;
} ptx_targets;

typedef struct ptx_func ptx_func;
struct ptx_func {
    const char *name;
    bool is_entry, is_extern; // extern: declared only (vprintf, __assertfail, malloc, …)
    bool noreturn;
    ptx_func *alias;      // .alias: stands for this one
    ptx_var *param;       // entry: in order; offset in `address`
    uint32_t nparam;
    ptx_var *ret;
    uint32_t nret;
    uint32_t param_bytes;
    ptx_reg *reg;         // a vector register is one for each element: "%v.x"
    uint32_t nreg;
    ptx_var **local;      // .local, .shared and .param variables of the body
    uint32_t nlocal;
    ptx_inst *inst;
    uint32_t ninst;
    ptx_label *label;
    uint32_t nlabel;
    ptx_targets *targets;
    uint32_t ntargets;
    uint32_t reqntid[3], maxntid[3], cluster[3], maxnreg, minnctapersm; // 0: not stated
    bool explicit_cluster;
    ptx_pos pos;
};

typedef struct {
    uint32_t version;     // 83 for 8.3
    const char *target;   // "sm_90a"
    uint32_t address_size;
    ptx_var **var;        // module variables
    uint32_t nvar;
    ptx_func **func;
    uint32_t nfunc;
    const char **file;    // .file table by number; [0] is NULL
    uint32_t nfile;
    vm_arena *arena;
} ptx_module;

/// What went wrong first: "line 12: …".
typedef struct {
    uint32_t line;
    char text[480];
} ptx_error;

/// Parses text (size bytes, need not end in NUL) into a. NULL with *e set; never fails otherwise,
/// whatever the text. Out of memory: by the arena's handler.
ptx_module *ptx_parse(vm_arena *a, const char *text, size_t size, ptx_error *e);
ptx_func *ptx_function(const ptx_module *m, const char *name);
/// The instruction as text, for reports: "ld.global.b32 %r1, [%rd2+4]".
void ptx_inst_text(const ptx_func *f, const ptx_inst *i, char *out, size_t size);
/// Control flow: for each instruction that can branch, the index where its paths meet again (its
/// immediate post-dominator; ninst: the end). Those are bra, brx, ret, exit, trap and calls of what
/// never returns; entries of others are undefined.
uint32_t *ptx_joins(vm_arena *a, const ptx_func *f);
