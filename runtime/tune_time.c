// SPDX-License-Identifier: Apache-2.0
// One kernel on one set of arguments, again and again: are the results those of the first kernel,
// and how long does a launch take when nothing of its memory is in the L2 cache. On the virtual
// GPU, where there is no time, instructions and sectors are counted.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/tune.h"
#include "runtime/vgpu/backend.h"

enum { MAX_SETS = 512, MAX_LAUNCHES = 2048, MAX_SAMPLES = 64, PIECE = 1 << 20, MAX_PIECES = 64 };
static const size_t cold_bytes = (size_t)256
                                 << 20; // what is touched before the same bytes come again

struct rt_bench {
    tilus_context *c;
    tilus_arg *args; // the caller's
    size_t n;
    double tolerance;
    bool *written;
    void **pristine;     // copies of written memory, on the device
    size_t *bytes;       // of pointers, else 0
    uint8_t **reference; // results of the first kernel, on the host: pieces of them
    bool has_reference;
    vm_dtype *type;
    tilus_stream stream;
    tilus_event from, to;
    size_t sets;    // the caller's memory and sets - 1 copies; 0: not made yet
    size_t *offset; // of each pointer in a copy
    size_t stride;  // of copies
    void *copies;
    tilus_plan *plan[MAX_SETS];
};

void rt_bench_free(rt_bench *b) {
    if (!b) return;
    tilus_context *const c = b->c;
    for (size_t i = 0; i < b->n; i++) {
        if (b->pristine && b->pristine[i]) tilus_free(c, b->pristine[i]);
        if (b->reference) free(b->reference[i]);
    }
    if (b->copies) tilus_free(c, b->copies);
    if (b->from) tilus_event_destroy(c, b->from);
    if (b->to) tilus_event_destroy(c, b->to);
    if (b->stream) tilus_stream_destroy(c, b->stream);
    free(b->args);
    free(b->written);
    free(b->pristine);
    free(b->bytes);
    free(b->reference);
    free(b->type);
    free(b->offset);
    free(b);
}

static tilus_status init(rt_bench *b, const tilus_kernel *k, const tilus_arg *args) {
    tilus_context *const c = b->c;
    const ir_func *const f = k->func;
    if (b->n != f->nparams)
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "tuning of %s: %zu arguments for %u parameters",
                       f->name, b->n, f->nparams);
    for (uint32_t i = 0; i < f->nparams; i++) {
        b->args[i] = args[i];
        b->type[i] = f->params[i].value->type.elem;
        if (args[i].kind != TILUS_ARG_POINTER) continue;
        const size_t known = rt_extent(c, (uintptr_t)args[i].as.ptr);
        b->bytes[i] = args[i].bytes ? args[i].bytes : known;
        if (!b->bytes[i])
            return rt_fail(c, TILUS_INVALID_ARGUMENT,
                           "tuning of %s: the size of the memory of '%s' is not known", f->name,
                           f->params[i].name);
        b->written[i] = f->params[i].written;
        if (!b->written[i]) continue;
        tilus_status s = tilus_alloc(c, b->bytes[i], &b->pristine[i]);
        if (s == TILUS_OK)
            s = tilus_copy_async(c, b->pristine[i], args[i].as.ptr, b->bytes[i], NULL);
        if (s != TILUS_OK) return s;
    }
    tilus_status s = tilus_synchronize(c, NULL);
    if (s == TILUS_OK) s = tilus_stream_create(c, &b->stream);
    if (s == TILUS_OK) s = tilus_event_create(c, &b->from);
    if (s == TILUS_OK) s = tilus_event_create(c, &b->to);
    return s;
}

tilus_status rt_bench_new(tilus_kernel *k, const tilus_arg *args, size_t n, double tolerance,
                          rt_bench **out) {
    tilus_context *const c = k->module->ctx;
    rt_bench *const b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b) return rt_no_memory(c);
    b->c = c;
    b->n = n;
    b->tolerance = tolerance;
    b->args = calloc(n + 1, sizeof *b->args);
    b->written = calloc(n + 1, sizeof *b->written);
    b->pristine = calloc(n + 1, sizeof *b->pristine);
    b->bytes = calloc(n + 1, sizeof *b->bytes);
    b->reference = calloc(n + 1, sizeof *b->reference);
    b->type = calloc(n + 1, sizeof *b->type);
    b->offset = calloc(n + 1, sizeof *b->offset);
    const bool all =
        b->args && b->written && b->pristine && b->bytes && b->reference && b->type && b->offset;
    const tilus_status s = all ? init(b, k, args) : rt_no_memory(c);
    if (s == TILUS_OK)
        *out = b;
    else
        rt_bench_free(b);
    return s;
}

static tilus_status restore(rt_bench *b) {
    tilus_status s = TILUS_OK;
    for (size_t i = 0; s == TILUS_OK && i < b->n; i++)
        if (b->written[i])
            s = tilus_copy_async(b->c, b->args[i].as.ptr, b->pristine[i], b->bytes[i], b->stream);
    return s;
}

tilus_status rt_bench_finish(rt_bench *b, tilus_kernel *k) {
    tilus_status s = restore(b);
    if (s == TILUS_OK) s = tilus_launch(k, b->stream, b->args, b->n);
    return s == TILUS_OK ? tilus_synchronize(b->c, b->stream) : s;
}

// ---- are the results right ----------------------------------------------------------------------

/// Large results are compared in pieces spread over them.
static size_t pieces(size_t bytes) {
    const size_t n = (bytes + PIECE - 1) / PIECE;
    return n > MAX_PIECES ? MAX_PIECES : n;
}
static size_t piece_at(size_t bytes, size_t i) {
    const size_t all = (bytes + PIECE - 1) / PIECE, n = pieces(bytes);
    return (n < 2 ? 0 : i * (all - 1) / (n - 1)) * PIECE;
}
static size_t piece_size(size_t bytes, size_t at) {
    return bytes - at < PIECE ? bytes - at : PIECE;
}

typedef struct {
    double error, norm; // squared
    size_t strange;     // not a number, or infinite, on one side only
    size_t different;   // bytes, where numbers are not compared
} difference;

/// Types of whole bytes are compared as numbers, others bit by bit.
static bool compares_numbers(vm_dtype t) {
    return vm_is_float(t) && vm_mem_bits(t) == 8 * vm_cell(t);
}

static void compare(vm_dtype t, const uint8_t *got, const uint8_t *want, size_t bytes,
                    difference *d) {
    enum { PART = 512 };
    double x[PART + 8], y[PART + 8];
    if (!compares_numbers(t)) {
        for (size_t i = 0; i < bytes; i++) d->different += got[i] != want[i];
        return;
    }
    const size_t cell = vm_cell(t);
    for (size_t at = 0; at + cell <= bytes; at += PART * cell) {
        const size_t left = (bytes - at) / cell, n = left < PART ? left : PART;
        vm_bulk_to_f64(t, n, got + at, x);
        vm_bulk_to_f64(t, n, want + at, y);
        for (size_t i = 0; i < n; i++) {
            if (!isfinite(x[i]) || !isfinite(y[i]))
                d->strange += !(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])));
            else {
                d->error += (x[i] - y[i]) * (x[i] - y[i]);
                d->norm += y[i] * y[i];
            }
        }
    }
}

/// Sums in another order differ by some roundings to the element type, and of f32 accumulation.
static double usual_tolerance(vm_dtype t) {
    const double eps = ldexp(1, -(int)vm_dtypes[t].m);
    return eps < 1e-10 ? 1e-10 : eps < 1e-4 ? 1e-4 : 2 * eps;
}

static tilus_status look(rt_bench *b, size_t i, uint8_t *buf, rt_check *out) {
    const size_t n = pieces(b->bytes[i]);
    const bool first = !b->has_reference;
    if (first && !(b->reference[i] = malloc(n * PIECE))) return rt_no_memory(b->c);
    difference d = {0};
    for (size_t k = 0; k < n; k++) {
        const size_t at = piece_at(b->bytes[i], k), size = piece_size(b->bytes[i], at);
        uint8_t *const ref = b->reference[i] + k * PIECE;
        const tilus_status s = tilus_download(
            b->c, first ? ref : buf, (const uint8_t *)b->args[i].as.ptr + at, size, b->stream);
        if (s != TILUS_OK) return s;
        if (!first) compare(b->type[i], buf, ref, size, &d);
    }
    if (first || out->wrong) return TILUS_OK;
    const double tolerance = b->tolerance > 0 ? b->tolerance : usual_tolerance(b->type[i]);
    const double norm = sqrt(d.error / (d.norm > 0 ? d.norm : 1));
    out->wrong = d.strange || d.different || norm > tolerance;
    if (!out->wrong) return TILUS_OK;
    if (d.strange)
        snprintf(
            out->why, sizeof out->why,
            "argument %zu: %zu elements are not finite where the first point's are, or the reverse",
            i + 1, d.strange);
    else if (d.different)
        snprintf(out->why, sizeof out->why, "argument %zu: %zu bytes differ from the first point's",
                 i + 1, d.different);
    else
        snprintf(out->why, sizeof out->why,
                 "argument %zu differs from the first point's by %.2g (norm), more than %.2g",
                 i + 1, norm, tolerance);
    return TILUS_OK;
}

static double counted(const vg_profile *p, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)p[i].total.warps + (double)p[i].total.sectors;
    return sum;
}

tilus_status rt_bench_check(rt_bench *b, tilus_kernel *k, rt_check *out) {
    *out = (rt_check){0};
    vg_gpu *const g = rt_vgpu(b->c);
    if (g) vg_profiles_clear(g);
    tilus_status s = rt_bench_finish(b, k);
    if (s != TILUS_OK) return s;
    if (g) {
        const vg_profile *p;
        const size_t n = vg_profiles(g, &p);
        out->count = counted(p, n);
    }
    uint8_t *const buf = malloc(PIECE);
    if (!buf) return rt_no_memory(b->c);
    for (size_t i = 0; s == TILUS_OK && i < b->n; i++)
        if (b->written[i]) s = look(b, i, buf, out);
    free(buf);
    if (s == TILUS_OK) b->has_reference = true;
    return s;
}

// ---- time ---------------------------------------------------------------------------------------

/// Makes the copies of the arguments' memory: as many as keep the same bytes out of the cache.
static tilus_status make_sets(rt_bench *b) {
    tilus_context *const c = b->c;
    size_t all = 0, free_bytes = 0, total = 0;
    for (size_t i = 0; i < b->n; i++) {
        b->offset[i] = b->stride;
        b->stride += (b->bytes[i] + 255) / 256 * 256;
        all += b->bytes[i];
    }
    b->sets = 1;
    if (!all) return TILUS_OK;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.mem_info(&free_bytes, &total), "cuMemGetInfo");
    rt_leave(c);
    if (s != TILUS_OK) return s;
    size_t sets = 1 + (cold_bytes + all - 1) / all;
    if (sets > MAX_SETS) sets = MAX_SETS;
    if (sets - 1 > free_bytes / 2 / b->stride) sets = 1 + free_bytes / 2 / b->stride;
    if (sets < 2) return TILUS_OK;
    if (tilus_alloc(c, (sets - 1) * b->stride, &b->copies) != TILUS_OK) {
        b->copies = NULL; // warmer times are better than none
        return TILUS_OK;
    }
    b->sets = sets;
    s = restore(b);
    for (size_t k = 1; k < sets; k++)
        for (size_t i = 0; s == TILUS_OK && i < b->n; i++)
            if (b->bytes[i])
                s = tilus_copy_async(c, (uint8_t *)b->copies + (k - 1) * b->stride + b->offset[i],
                                     b->args[i].as.ptr, b->bytes[i], b->stream);
    return s == TILUS_OK ? tilus_synchronize(c, b->stream) : s;
}

static tilus_status make_plans(rt_bench *b, tilus_kernel *k) {
    tilus_status s = TILUS_OK;
    tilus_arg *const a = calloc(b->n + 1, sizeof *a);
    if (!a) return rt_no_memory(b->c);
    for (size_t set = 0; s == TILUS_OK && set < b->sets; set++) {
        memcpy(a, b->args, b->n * sizeof *a);
        for (size_t i = 0; set && i < b->n; i++)
            if (b->bytes[i])
                a[i].as.ptr = (uint8_t *)b->copies + (set - 1) * b->stride + b->offset[i];
        s = tilus_prepare(k, a, b->n, &b->plan[set]);
    }
    free(a);
    return s;
}

/// `n` launches as one graph, so that the host's work does not show. NULL: the driver cannot.
static void *capture(rt_bench *b, size_t n) {
    tilus_context *const c = b->c;
    const rt_driver *const cu = &c->cu;
    void *graph = NULL, *exec = NULL;
    if (!cu->stream_capture_begin || !cu->stream_capture_end || !cu->graph_instantiate ||
        !cu->graph_launch || !cu->graph_destroy || !cu->graph_exec_destroy)
        return NULL;
    if (rt_enter(c) != TILUS_OK) return NULL;
    if (cu->stream_capture_begin(b->stream, 1) == 0) { // of this thread alone
        bool ok = true;
        for (size_t i = 0; ok && i < n; i++)
            ok = tilus_launch_prepared(b->plan[i % b->sets], b->stream) == TILUS_OK;
        ok = cu->stream_capture_end(b->stream, &graph) == 0 && ok;
        if (!ok || cu->graph_instantiate(&exec, graph, 0) != 0) exec = NULL;
        if (graph) cu->graph_destroy(graph);
    }
    rt_leave(c);
    return exec;
}

static tilus_status replay(rt_bench *b, void *exec) {
    tilus_context *const c = b->c;
    tilus_status s = rt_enter(c);
    if (s != TILUS_OK) return s;
    s = rt_cu(c, c->cu.graph_launch(exec, b->stream), "cuGraphLaunch");
    rt_leave(c);
    return s;
}

/// Milliseconds of n launches: of the graph, behind a replay of it that is not timed, so that the
/// GPU does not wait for the host between the events; or one by one.
static tilus_status lap(rt_bench *b, void *exec, size_t n, double *ms) {
    tilus_context *const c = b->c;
    tilus_status s = exec ? replay(b, exec) : TILUS_OK;
    if (s == TILUS_OK) s = tilus_event_record(c, b->from, b->stream);
    if (exec && s == TILUS_OK) s = replay(b, exec);
    for (size_t i = 0; !exec && s == TILUS_OK && i < n; i++)
        s = tilus_launch_prepared(b->plan[i % b->sets], b->stream);
    if (s == TILUS_OK) s = tilus_event_record(c, b->to, b->stream);
    if (s == TILUS_OK) s = tilus_synchronize(c, b->stream);
    float t = 0;
    if (s == TILUS_OK) s = tilus_event_elapsed(c, b->from, b->to, &t);
    *ms = (double)t;
    return s;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *x, size_t n, double *spread) {
    double s[MAX_SAMPLES], d[MAX_SAMPLES];
    memcpy(s, x, n * sizeof *s);
    qsort(s, n, sizeof *s, ascending);
    const double m = n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
    for (size_t i = 0; i < n; i++) d[i] = fabs(x[i] - m);
    qsort(d, n, sizeof *d, ascending);
    *spread = m > 0 ? d[n / 2] / m : 0;
    return m;
}

static tilus_status measure(rt_bench *b, double seconds, double bound, double *us) {
    double ms, x[MAX_SAMPLES], spread = 0;
    const size_t round = b->sets < 4 ? 4 : b->sets;
    tilus_status s = lap(b, NULL, round, &ms); // also the warming up
    if (s != TILUS_OK) return s;
    size_t n =
        (size_t)(0.3 / (ms / (double)round + 1e-4)) + 1; // 0.3 ms a sample, at least one round
    n = (n + b->sets - 1) / b->sets * b->sets;
    if (n > MAX_LAUNCHES) n = MAX_LAUNCHES;
    void *const exec = capture(b, n);
    double used = 0;
    size_t k = 0;
    while (s == TILUS_OK && k < MAX_SAMPLES) {
        s = lap(b, exec, n, &ms);
        x[k++] = 1e3 * ms / (double)n;
        used += (exec ? 2e-3 : 1e-3) * ms;
        *us = median(x, k, &spread);
        if (k >= 3 && bound > 0 && *us > 1.3 * bound) break;
        if (k >= 7 && (spread < 2e-3 || used > seconds)) break;
        if (k >= 3 && used > 4 * seconds) break;
    }
    if (exec && rt_enter(b->c) == TILUS_OK) {
        b->c->cu.graph_exec_destroy(exec);
        rt_leave(b->c);
    }
    return s;
}

tilus_status rt_bench_time(rt_bench *b, tilus_kernel *k, double seconds, double bound, double *us) {
    *us = -1;
    tilus_status s = b->sets ? TILUS_OK : make_sets(b);
    memset(b->plan, 0, sizeof b->plan);
    if (s == TILUS_OK) s = make_plans(b, k);
    if (s == TILUS_OK) s = measure(b, seconds, bound, us);
    for (size_t i = MAX_SETS; i-- > 0;)
        tilus_plan_destroy(b->plan[i]); // the latest first: a kernel lists them so
    return s;
}
