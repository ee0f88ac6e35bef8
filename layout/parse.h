// SPDX-License-Identifier: Apache-2.0
// Between the reader of layout expressions (parse.c) and the functions that may be called in them
// (functions.c): values and arguments. Nothing else includes this.
#pragma once
#include "layout/internal.h"

enum { MAX_ARGS = 16, MAX_LIST = 64, MAX_DEPTH = 256 };

enum kind { V_INT, V_BOOL, V_LIST, V_REG, V_SHARED, V_MMA, V_ATOM, V_DOT };

typedef struct {
    enum kind kind;
    int n; // V_LIST
    size_t at;
    int64_t i;
    const int64_t *list;
    const layout *reg;
    const shared_layout *sh;
    const mma_atom *atom;
    const mma_dot *dot;
} value;

typedef struct {
    const char *key; // NULL: positional
    value v;
    bool used;
} arg;

typedef struct {
    const char *name; // of the function, for messages
    size_t at;
    int n;
    arg *arg;
} args;

typedef struct {
    vm_arena *a;
    const char *text;
    size_t at;
    int depth;
    bool failed;
    const char *why;
    size_t where;
} parser;

typedef bool layout_run_function(parser *p, args *as, value *out);
typedef struct {
    const char *name;
    layout_run_function *run;
    bool constructor; // as a method it composes with its receiver; others take it as first argument
} layout_function;
enum { LAYOUT_FUNCTIONS = 30 };
extern const layout_function layout_functions[LAYOUT_FUNCTIONS];
layout_run_function layout_call_dot; // mma.dot

extern const char *const layout_kind_names[];
/// Records the first error; always false.
bool layout_parse_fail(parser *p, size_t at, const char *fmt, ...) VM_PRINTF(3, 4);
/// Runs f and rejects arguments that it did not use.
bool layout_call(parser *p, layout_run_function *f, args *as, value *out);
/// The operators * and / on layouts; `as` carries name and place for messages.
bool layout_values_compose(parser *p, const args *as, const value *f, const value *g, value *out);
bool layout_values_divide(parser *p, const args *as, const value *h, const value *g, value *out);
