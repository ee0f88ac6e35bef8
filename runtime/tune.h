// SPDX-License-Identifier: Apache-2.0
// Private to the runtime and tilusc: what is known of tuning spaces (the user's database and the
// rows that come with the library), who takes a point by it, and how points are compared.
#pragma once
#include "runtime/runtime.h"

// ---- cache.c: folders ---------------------------------------------------------------------------

/// Folder of the caches (dir "": the usual one). False: there is none, or its name is too long.
bool rt_cache_folder(const char *dir, char *out, size_t size);
bool rt_make_folders(char *path); // as mkdir -p; path is the same afterwards

// ---- tune_db.c: the user's database -------------------------------------------------------------

/// What times depend on besides the kernel and its arguments.
typedef struct {
    char gpu[128]; // its name; "": any GPU of the architecture
    char arch[16];
    int sms, driver; // 0: not known
    bool counts;     // the virtual GPU: counted, not timed
} rt_tune_target;

/// One tuned kernel for one shape. Texts of pairs are "NAME=VALUE NAME=VALUE", without blanks in
/// values.
typedef struct {
    const char *program, *kernel; // base name of the file
    const char *source;           // hash of the kernel's text; "" in rows of the library
    const char *metas, *shape;
    const char *gpu, *arch, *compiler, *unit; // unit: "us" or "count"
    int sms, driver;
    const char *best; // values of the tuned parameters
    double cost;
} rt_tune_row;
typedef VM_VEC(rt_tune_row) rt_tune_rows;

/// One point as the database has it. cost < 0: it failed, note says why.
typedef struct {
    const char *values, *note;
    double cost;
    int registers, spill;
} rt_tune_known;
typedef VM_VEC(rt_tune_known) rt_tune_knowns;

typedef struct rt_tuner rt_tuner;
/// where: a file; "": $TILUS_TUNE_DB, or else tune.sqlite in the folder of the kernel cache;
/// "none": nothing is known, not even what comes with the library; NULL: only that. Opens nothing
/// yet. The tuner may be used by one thread at a time. NULL: out of memory.
rt_tuner *rt_tuner_new(const vm_allocator *a, const char *where, const rt_tune_target *t,
                       void (*warn)(void *user, const char *text), void *user);
void rt_tuner_free(rt_tuner *t);
const rt_tune_target *rt_tuner_target(const rt_tuner *t);
const char *rt_tuner_compiler(const rt_tuner *t);
bool rt_tuner_is_none(const rt_tuner *t);
/// File of the database, "" if there is none.
const char *rt_tuner_path(const rt_tuner *t);
/// Makes the database ready for writing. False after a warning: results will not be kept.
bool rt_tuner_write(rt_tuner *t);
/// The number by which a row's points are stored, made if it is new; 0: there is no database.
int64_t rt_tuner_key(rt_tuner *t, const rt_tune_row *key);
void rt_tuner_put(rt_tuner *t, int64_t key, const rt_tune_known *p);
void rt_tuner_forget(rt_tuner *t, int64_t key);
void rt_tuner_points(rt_tuner *t, int64_t key, vm_comp *c, rt_tune_knowns *out);
/// Appends the user's rows of this kernel (NULL: all), those that have a result.
void rt_tuner_user_rows(rt_tuner *t, const char *kernel, vm_comp *c, rt_tune_rows *out);

// ---- tune_rows.c: rows, and the choice by them --------------------------------------------------

/// Rows of a text of the form that rt_tune_csv writes; lines that are not rows are passed over.
void rt_tune_parse(const char *text, size_t size, const char *kernel, vm_arena *a,
                   rt_tune_rows *out);
const char *rt_tune_csv(vm_arena *a, const rt_tune_rows *rows);
/// Appends "NAME=VALUE".
void rt_tune_pair(vm_text *t, const char *name, const char *value);
/// Value of a name in a text of pairs, and its length; NULL: it has none.
const char *rt_tune_value(const char *pairs, const char *name, size_t *n);
/// A meta-parameter's value as text without blanks.
const char *rt_tune_meta(fe_eval *e, const fe_value *v);
/// Pairs of the parameters that the point has tuned, and of those that are the same whatever the
/// point.
const char *rt_tune_values(fe_eval *e, const fe_instance *point);
const char *rt_tune_fixed(fe_eval *e, uint32_t n, fe_instance *const *point);
/// Hash (hexadecimal) of the kernel's tree without its tuning space, and of all that it may use.
const char *rt_tune_source(fe_eval *e, const fe_module *m, const ast *kernel);
const char *rt_tune_program(fe_eval *e, const fe_module *m);
/// How far two shapes are apart; 0: the same; negative: they have different names.
double rt_tune_distance(const char *a, const char *b);
/// Which of n points is the best for `shape` ("": not known) by what is known; n: nothing is.
uint32_t rt_tuner_pick(rt_tuner *t, fe_eval *e, const fe_module *m, const ast *kernel,
                       const char *shape, uint32_t n, fe_instance *const *point);
/// Whether anything is known of a kernel of this name, so that its space is worth enumerating.
bool rt_tuner_knows(rt_tuner *t, fe_eval *e, const char *kernel);
bool rt_is_tuned(const ast *kernel, const char *name); // name NULL: anything
/// "m=16 n=4096": the whole numbers among a kernel's arguments; is_int may be NULL: all of them.
const char *rt_tune_shape(vm_arena *a, const ast *kernel, uint32_t n, const int64_t *value,
                          const bool *is_int);

// ---- tune_time.c: what a kernel costs, and whether it is right ----------------------------------

typedef struct rt_bench rt_bench;
typedef struct {
    bool wrong;
    char why[200]; // when wrong
    double count;  // on the virtual GPU: warp instructions and sectors
} rt_check;
/// The arguments must stay until rt_bench_free; k says which of them are written.
tilus_status rt_bench_new(tilus_kernel *k, const tilus_arg *args, size_t n, double tolerance,
                          rt_bench **out);
void rt_bench_free(rt_bench *b);
/// Launches once on restored memory and compares with the first kernel that was checked.
tilus_status rt_bench_check(rt_bench *b, tilus_kernel *k, rt_check *out);
/// Median microseconds of launches with a cold L2, for about `seconds`. Ends early when it is
/// clearly above `bound` (0: none).
tilus_status rt_bench_time(rt_bench *b, tilus_kernel *k, double seconds, double bound, double *us);
/// Restores the memory and launches, so that k's results are in it.
tilus_status rt_bench_finish(rt_bench *b, tilus_kernel *k);

// ---- tune.c -------------------------------------------------------------------------------------

/// Called by a child process before it compiles a point: for tests of what a child can do wrong.
extern void (*rt_tune_before_compile)(const char *values);
/// Whether what was reported from `from` on says only that the target is too small.
bool rt_too_large(const vm_diag *from);
