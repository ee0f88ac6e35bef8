// SPDX-License-Identifier: Apache-2.0
// Private to the parser of IR text: what the grammar (text.y), the scanner (text_scan.c) and the
// builder behind both (text_build.c) share.
#pragma once
#include "ir/ir.h"

typedef struct ir_text_sym {
    const char *name; // interned, without %
    ir_value *value;
} ir_text_sym;

typedef struct ir_text {
    vm_comp *comp;
    vm_arena *arena;
    const vm_source *src;
    uint32_t file;
    // scanner
    uint32_t at;
    bool after_func; // the next @ names a function
    // builder
    ir_module *module;
    ir_func *func;
    ir_op *op;         // whose regions are being read
    ir_region *region; // that receives operations
    int depth;
    bool failed;
    ir_text_sym *syms;
    uint32_t cap, used;
    VM_VEC(const char *) names; // pending results
    VM_VEC(ir_value *) operands;
    VM_VEC(ir_type) types;
    VM_VEC(bool) pinned;
    VM_VEC(int64_t) ints;
    ir_attr *attrs;
} ir_text;

int ir_text_error(ir_text *p, vm_span at, const char *fmt, ...) VM_PRINTF(3, 4); // always 0
// Each is 0 after a report.
int ir_text_func(ir_text *p, vm_span at, const char *name);
int ir_text_option(ir_text *p, vm_span at, const char *name, char kind, int64_t i, const char *s);
int ir_text_param(ir_text *p, vm_span at, const char *name, const ir_type *t);
int ir_text_param_option(ir_text *p, vm_span at, const char *name, int64_t i, const char *s);
int ir_text_host(ir_text *p, vm_span at, const char *word);
int ir_text_operand(ir_text *p, vm_span at, const char *name);
int ir_text_attr(ir_text *p, vm_span at, const char *name, char kind, int64_t i, const char *s);
int ir_text_op(ir_text *p, vm_span at, const char *name);
int ir_text_open(ir_text *p, vm_span at);
void ir_text_close(ir_text *p);
int ir_text_arg(ir_text *p, vm_span at, const char *name, const ir_type *t, bool pinned);
int ir_text_type(ir_text *p, vm_span at, ir_type *t, enum ir_space s, const char *elem, bool tile,
                 const char *layout_text);
