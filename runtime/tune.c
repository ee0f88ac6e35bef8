// SPDX-License-Identifier: Apache-2.0
// The search through a tuning space: points are compiled by child processes, so that nothing a
// compiler can do wrong costs more than one point, and timed here one after the other. What is
// known already is not done again.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "runtime/tune.h"
#include "runtime/vgpu/backend.h"

enum { MAX_JOBS = 64, FINALISTS = 3 };
void (*rt_tune_before_compile)(const char *values);

enum step { WAITING, COMPILING, COMPILED, DONE };
typedef struct {
    tilus_tune_point pub;
    enum step step;
    fe_instance *instance;
    tilus_meta *metas; // the fixed ones, then the tuned ones
    size_t nmetas;
    tilus_kernel *kernel;
    bool reference; // known to be right: runs first, for its results
} point;

typedef struct {
    pid_t pid;
    int fd;
    point *p;
    double deadline;
    uint8_t *data;
    size_t n, cap;
} job;

typedef struct {
    tilus_module *m;
    tilus_context *c;
    const char *kernel;
    const tilus_tune_params *par;
    const tilus_arg *args;
    size_t nargs;
    rt_compilation *x;
    point *at;
    uint32_t n;
    size_t done;
    int64_t key;
    bool counts, stopped;
    bool compared; // there are results to compare others with
    rt_bench *bench;
    job jobs[MAX_JOBS];
    int njobs, max_jobs;
    tilus_tune_result *out;
} search;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- children -----------------------------------------------------------------------------------

enum { ANSWER_OK = 1, ANSWER_EXCLUDED, ANSWER_FAILED };
/// What a child writes before its texts: entry, ptx, host, warnings, or the reason alone.
typedef struct {
    uint32_t magic, kind;
    uint64_t size[4]; // with the NUL
    uint8_t key[32];  // of the kernel cache
} answer;

static bool write_all(int fd, const void *data, size_t n) {
    for (size_t at = 0; at < n;) {
        const ssize_t k = write(fd, (const char *)data + at, n - at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        at += (size_t)k;
    }
    return true;
}

static bool give(int fd, uint32_t kind, const uint8_t key[32], const char *const text[4]) {
    answer a = {.magic = 0x74756e65, .kind = kind};
    if (key) memcpy(a.key, key, 32);
    for (int i = 0; i < 4; i++) a.size[i] = text[i] ? strlen(text[i]) + 1 : 0;
    bool ok = write_all(fd, &a, sizeof a);
    for (int i = 0; ok && i < 4; i++) ok = write_all(fd, text[i], a.size[i]);
    return ok;
}

static bool give_reason(int fd, rt_compilation *x, enum rt_result r) {
    const vm_diag *d = x->comp->diags;
    while (d && d->sev != VM_ERROR) d = d->next;
    char text[400];
    if (r == RT_ERRORS && d)
        snprintf(text, sizeof text, "%s: %s", vm_code_name(d->code), d->text);
    else if (r == RT_NO_MEMORY)
        snprintf(text, sizeof text, "out of memory");
    else if (x->kernels.n && x->kernels.at[0].skipped)
        snprintf(text, sizeof text, "%s", x->kernels.at[0].skipped);
    else
        snprintf(text, sizeof text, "%s", *x->message ? x->message : "it is not built");
    return give(fd,
                r == RT_ERRORS && rt_too_large(x->comp->diags) ? ANSWER_EXCLUDED : ANSWER_FAILED,
                NULL, (const char *[4]){text});
}

static bool answer_with(int fd, rt_compilation *x, enum rt_result r) {
    if (r != RT_OK || x->ir->funcs.n != 1) return give_reason(fd, x, r);
    if (setjmp(x->oom)) return give(fd, ANSWER_FAILED, NULL, (const char *[4]){"out of memory"});
    uint8_t key[32];
    const rt_cached t = rt_kernel_texts(x);
    rt_cache_key(x, key);
    return give(fd, ANSWER_OK, key, (const char *[4]){t.entry, t.ptx, t.host, t.warnings});
}

/// A child's whole life. It allocates by malloc, which is sound after fork, and leaves driver and
/// databases alone.
_Noreturn static void child(search *s, const point *p, int fd, const char *const *define) {
    signal(SIGINT, SIG_IGN); // the parent decides
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rt_options o = rt_kernel_options(s->m, s->kernel, p->nmetas, define);
    o.tuner = NULL;
    if (rt_tune_before_compile) rt_tune_before_compile(p->pub.values);
    rt_compilation *const x = rt_compilation_new(NULL, &o);
    _exit(x && answer_with(fd, x, rt_compile(x)) ? 0 : 1);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tilus_meta *)a)->name, ((const tilus_meta *)b)->name);
}

/// False: no process can be made.
static bool start(search *s, point *p) {
    vm_arena *const a = s->x->comp->arena;
    const char **const define = vm_newn(a, const char *, p->nmetas + 1);
    tilus_meta *const sorted = vm_newn(a, tilus_meta, p->nmetas + 1);
    memcpy(sorted, p->metas, p->nmetas * sizeof *sorted);
    qsort(sorted, p->nmetas, sizeof *sorted,
          by_name); // as tilus_kernel_get does: the same cache key
    for (size_t i = 0; i < p->nmetas; i++)
        define[i] = vm_format(a, "%s=%s", sorted[i].name, sorted[i].value);
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) != 0) return false;
    const pid_t pid = fork();
    if (pid == 0) child(s, p, fd[1], define);
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return false;
    }
    const double limit = s->par->compile_seconds > 0 ? s->par->compile_seconds : 60;
    s->jobs[s->njobs++] = (job){.pid = pid, .fd = fd[0], .p = p, .deadline = now() + limit};
    p->step = COMPILING;
    return true;
}

/// Waits for a child that has ended or is to end.
static int reap(job *j, bool kill_it) {
    int status = 0;
    if (kill_it) kill(j->pid, SIGKILL);
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(j->fd);
    return status;
}

static void drop(search *s, int i) {
    free(s->jobs[i].data);
    s->jobs[i] = s->jobs[--s->njobs];
}

static void clean_up(search *s) {
    while (s->njobs) {
        reap(&s->jobs[0], true);
        drop(s, 0);
    }
    rt_bench_free(s->bench);
    s->bench = NULL;
    rt_compilation_free(s->x);
}

// ---- points -------------------------------------------------------------------------------------

static void tell(search *s, const point *p) {
    if (s->par->progress) s->par->progress(s->par->user, &p->pub, s->done, s->n);
}

/// What recall() reads again. The note of a point that was timed is not empty if the assembler
/// warned.
static void store(search *s, const point *p) {
    const bool timed = p->pub.state == TILUS_TUNE_TIMED;
    const char *const prefix = p->pub.state == TILUS_TUNE_EXCLUDED ? "excluded: "
                               : p->pub.state == TILUS_TUNE_WRONG  ? "wrong: "
                               : timed && p->pub.advisory          ? "the assembler warns"
                                                                   : "";
    const rt_tune_known k = {.values = p->pub.values,
                             .cost = timed ? p->pub.cost : -1,
                             .registers = p->pub.registers,
                             .spill = p->pub.spill_bytes,
                             .note = vm_format(s->x->comp->arena, "%s%s", prefix, p->pub.reason)};
    rt_tuner_put(s->c->tuner, s->key, &k);
}

/// A point is dealt with: counted, stored, told.
static void settle(search *s, point *p, tilus_tune_state state, const char *reason) {
    p->step = DONE;
    s->done++;
    if (p->pub.state == TILUS_TUNE_KNOWN) { // it ran for its results alone
        if (state == TILUS_TUNE_TIMED) return;
        p->pub.cost = -1;
        s->out->known--;
    }
    p->pub.state = state;
    p->pub.reason = reason ? vm_strdup(s->x->comp->arena, reason) : "";
    size_t *const count[] = {[TILUS_TUNE_TIMED] = &s->out->timed,
                             [TILUS_TUNE_EXCLUDED] = &s->out->excluded,
                             [TILUS_TUNE_FAILED] = &s->out->failed,
                             [TILUS_TUNE_WRONG] = &s->out->wrong};
    ++*count[state];
    store(s, p);
    tell(s, p);
}

/// What the database says of a point: it is not run again.
static void recall(search *s, const rt_tune_known *k) {
    point *p = NULL;
    for (uint32_t i = 0; i < s->n && !p; i++)
        if (!strcmp(s->at[i].pub.values, k->values)) p = &s->at[i];
    if (!p || p->step == DONE) return;
    static const struct {
        const char *prefix;
        tilus_tune_state state;
    } kinds[] = {{"excluded: ", TILUS_TUNE_EXCLUDED},
                 {"wrong: ", TILUS_TUNE_WRONG},
                 {"", TILUS_TUNE_FAILED}};
    p->step = DONE;
    p->pub.cost = k->cost;
    p->pub.registers = k->registers;
    p->pub.spill_bytes = k->spill;
    p->pub.state = TILUS_TUNE_KNOWN;
    s->done++;
    if (k->cost >= 0) {
        p->pub.advisory = *k->note != 0;
        s->out->known++;
        return;
    }
    size_t i = 0;
    while (strncmp(k->note, kinds[i].prefix, strlen(kinds[i].prefix)) != 0) i++;
    p->pub.state = kinds[i].state;
    p->pub.reason = k->note + strlen(kinds[i].prefix);
    size_t *const count[] = {&s->out->excluded, &s->out->wrong, &s->out->failed};
    ++*count[i];
}

/// A child has ended: its answer, or why there is none.
static void take_answer(search *s, job *j, int status) {
    point *const p = j->p;
    char why[200];
    answer a;
    size_t want = sizeof a;
    bool whole = j->n >= sizeof a;
    if (whole) {
        memcpy(&a, j->data, sizeof a);
        whole = a.magic == 0x74756e65;
        for (int i = 0; whole && i < 4; i++) {
            whole = a.size[i] <= j->n;
            want += whole ? a.size[i] : 0;
        }
        whole = whole && want == j->n;
    }
    if (!whole) {
        if (WIFSIGNALED(status))
            snprintf(why, sizeof why, "the compiler died: %s", strsignal(WTERMSIG(status)));
        else
            snprintf(why, sizeof why, "the compiler ended with status %d and without an answer",
                     WEXITSTATUS(status));
        settle(s, p, TILUS_TUNE_FAILED, why);
        return;
    }
    char *text[4] = {0}, *at = (char *)j->data + sizeof a;
    for (int i = 0; i < 4; i++) {
        if (a.size[i]) text[i] = at;
        at += a.size[i];
        if (a.size[i]) at[-1] = 0;
    }
    if (a.kind != ANSWER_OK || !text[0] || !text[1] || !text[2] || !text[3]) {
        settle(s, p, a.kind == ANSWER_EXCLUDED ? TILUS_TUNE_EXCLUDED : TILUS_TUNE_FAILED,
               text[0] ? text[0] : "no reason");
        return;
    }
    const rt_cached t = {.entry = text[0], .ptx = text[1], .host = text[2], .warnings = text[3]};
    if (rt_kernel_adopt(s->m, s->kernel, p->metas, p->nmetas, &t, &p->kernel) != TILUS_OK) {
        settle(s, p, TILUS_TUNE_FAILED, tilus_error(s->c));
        return;
    }
    rt_cache_put(s->c->cache, a.key, &t);
    p->step = COMPILED;
}

static bool receive(job *j) {
    if (j->cap - j->n < 1 << 16) {
        const size_t cap = j->cap ? 2 * j->cap : 1 << 18;
        uint8_t *const more = realloc(j->data, cap);
        if (!more) return false;
        j->data = more;
        j->cap = cap;
    }
    const ssize_t k = read(j->fd, j->data + j->n, j->cap - j->n);
    if (k > 0) j->n += (size_t)k;
    return k > 0 || (k < 0 && errno == EINTR);
}

/// Reads what children have written, for at most `ms`.
static void listen(search *s, int ms) {
    struct pollfd f[MAX_JOBS];
    for (int i = 0; i < s->njobs; i++)
        f[i] = (struct pollfd){.fd = s->jobs[i].fd, .events = POLLIN};
    poll(f, (nfds_t)s->njobs, ms);
    const double t = now();
    for (int i = s->njobs; i-- > 0;) { // drop() moves the last one here, which has been seen
        job *const j = &s->jobs[i];
        if (f[i].revents && !receive(j)) {
            const int status = reap(j, false);
            take_answer(s, j, status);
            drop(s, i);
        } else if (t > j->deadline) {
            char why[80];
            snprintf(why, sizeof why, "the compiler does not end within %g s",
                     s->par->compile_seconds > 0 ? s->par->compile_seconds : 60.0);
            reap(j, true);
            settle(s, j->p, TILUS_TUNE_FAILED, why);
            drop(s, i);
        }
    }
}

static double best_cost(const search *s) {
    double best = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const tilus_tune_point *const p = &s->at[i].pub;
        if ((p->state == TILUS_TUNE_TIMED || p->state == TILUS_TUNE_KNOWN) && p->cost >= 0 &&
            (best == 0 || p->cost < best))
            best = p->cost;
    }
    return best;
}

static bool fatal(const search *s, tilus_status st) {
    return st == TILUS_OUT_OF_MEMORY || st == TILUS_INVALID_ARGUMENT ||
           (!s->counts && (st == TILUS_TRAP || st == TILUS_DRIVER_ERROR));
}

/// Runs a compiled point. Not OK: the search cannot go on.
static tilus_status try(search *s, point *p) {
    tilus_kernel_info info;
    tilus_kernel_describe(p->kernel, &info);
    p->pub.registers = info.registers;
    p->pub.spill_bytes = info.spill_bytes;
    p->pub.advisory = info.advisory;
    const bool known = p->pub.state == TILUS_TUNE_KNOWN;
    tilus_status st =
        s->bench ? TILUS_OK
                 : rt_bench_new(p->kernel, s->args, s->nargs, s->par->tolerance, &s->bench);
    if (st != TILUS_OK) return st;
    if (!known) {
        // if this process ends in it, the next one will pass it over
        rt_tuner_put(s->c->tuner, s->key,
                     &(rt_tune_known){.values = p->pub.values,
                                      .cost = -1,
                                      .registers = info.registers,
                                      .spill = info.spill_bytes,
                                      .note = "the process ended while it ran"});
        tell(s, p);
    }
    rt_check check;
    st = rt_bench_check(s->bench, p->kernel, &check);
    s->compared |= st == TILUS_OK;
    if (st == TILUS_OK && check.wrong) {
        settle(s, p, TILUS_TUNE_WRONG, check.why);
        return TILUS_OK;
    }
    double us = check.count;
    if (st == TILUS_OK && !s->counts && !known)
        st = rt_bench_time(s->bench, p->kernel,
                           s->par->point_seconds > 0 ? s->par->point_seconds : 0.15, best_cost(s),
                           &us);
    if (st != TILUS_OK) {
        char why[1000];
        snprintf(why, sizeof why, "%s", tilus_error(s->c));
        settle(s, p, TILUS_TUNE_FAILED, why);
        if (fatal(s, st)) return rt_fail(s->c, st, "%s: %s", p->pub.values, why);
        return TILUS_OK;
    }
    if (!known) p->pub.cost = us;
    settle(s, p, TILUS_TUNE_TIMED, NULL);
    return TILUS_OK;
}

/// Starts the next point: from the module or the cache if it is there, else in a child.
static tilus_status begin(search *s, point *p) {
    const tilus_status st = rt_kernel_find(s->m, s->kernel, p->metas, p->nmetas, &p->kernel);
    if (st == TILUS_OK) {
        p->step = COMPILED;
        return TILUS_OK;
    }
    if (st == TILUS_OUT_OF_MEMORY) return st;
    if (st != TILUS_NOT_FOUND) {
        settle(s, p, TILUS_TUNE_FAILED, tilus_error(s->c));
        return TILUS_OK;
    }
    if (start(s, p)) return TILUS_OK;
    return s->njobs ? TILUS_OK
                    : rt_fail(s->c, TILUS_OUT_OF_MEMORY, "no process can be started: %s",
                              strerror(errno));
}

static tilus_status loop(search *s) {
    for (;;) {
        if (s->par->stop && s->par->stop(s->par->user)) {
            s->stopped = true;
            return TILUS_OK;
        }
        point *ready = NULL, *reference = NULL;
        bool open = s->njobs > 0;
        for (uint32_t i = 0; i < s->n; i++) {
            point *const p = &s->at[i];
            if (p->step == WAITING && s->njobs < s->max_jobs) {
                const tilus_status st = begin(s, p);
                if (st != TILUS_OK) return st;
            }
            open |= p->step != DONE;
            if (p->step != DONE && (p->reference || (!s->compared && !reference))) reference = p;
            if (p->step == COMPILED && !ready) ready = p;
        }
        if (reference)
            ready = reference->step == COMPILED ? reference : NULL; // the others wait for it
        if (!open) return TILUS_OK;
        if (s->njobs) listen(s, ready ? 0 : 50);
        if (!ready) continue;
        const tilus_status st = try(s, ready);
        if (st != TILUS_OK) return st;
    }
}

/// Those near the top are timed once more, in turns and for longer: the choice is between them.
static tilus_status final_round(search *s) {
    point *top[FINALISTS] = {0};
    for (uint32_t i = 0; i < s->n; i++) {
        point *p = &s->at[i];
        if (p->pub.state != TILUS_TUNE_TIMED || !p->kernel || p->pub.cost < 0) continue;
        for (int k = 0; k < FINALISTS; k++)
            if (!top[k] || p->pub.cost < top[k]->pub.cost) {
                point *const old = top[k];
                top[k] = p;
                p = old;
                if (!p) break;
            }
    }
    if (s->counts || s->stopped || !top[0] || !top[1] || s->out->known) return TILUS_OK;
    const double seconds = s->par->point_seconds > 0 ? s->par->point_seconds : 0.15;
    for (int k = 0; k < FINALISTS && top[k]; k++) {
        double us;
        if (top[k]->pub.cost > 1.05 * top[0]->pub.cost) continue;
        const tilus_status st = rt_bench_time(s->bench, top[k]->kernel, 2 * seconds, 0, &us);
        if (st != TILUS_OK) return st;
        top[k]->pub.cost = us;
        store(s, top[k]);
    }
    return TILUS_OK;
}

static tilus_status conclude(search *s) {
    tilus_status st = final_round(s);
    point *best = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        point *const p = &s->at[i];
        if ((p->pub.state != TILUS_TUNE_TIMED && p->pub.state != TILUS_TUNE_KNOWN) ||
            p->pub.cost < 0)
            continue;
        if (s->out->first_cost < 0) s->out->first_cost = p->pub.cost;
        if (!best || p->pub.cost < best->pub.cost) best = p;
    }
    if (!best) return st;
    s->out->cost = best->pub.cost;
    snprintf(s->out->best, sizeof s->out->best, "%s", best->pub.values);
    if (st != TILUS_OK || s->stopped) return st;
    st = tilus_kernel_get(s->m, s->kernel, best->metas, best->nmetas, &best->kernel);
    if (st == TILUS_OK && !s->bench)
        st = rt_bench_new(best->kernel, s->args, s->nargs, s->par->tolerance, &s->bench);
    return st == TILUS_OK ? rt_bench_finish(s->bench, best->kernel) : st;
}

// ---- the space ----------------------------------------------------------------------------------

static const ast *find_kernel(search *s) {
    const ast *const tree = s->x->module ? s->x->module->tree : NULL;
    for (uint32_t i = 0; tree && i < tree->nkids; i++)
        if (tree->kid[i]->kind == AST_KERNEL && !strcmp(tree->kid[i]->name, s->kernel))
            return tree->kid[i];
    return NULL;
}

static void add_point(search *s, fe_instance *k, point *p) {
    vm_arena *const a = s->x->comp->arena;
    const size_t fixed = s->par->nmetas;
    p->instance = k;
    p->pub = (tilus_tune_point){.state = TILUS_TUNE_STARTED,
                                .values = rt_tune_values(s->x->eval, k),
                                .reason = "",
                                .cost = -1,
                                .registers = -1,
                                .spill_bytes = -1};
    p->metas = vm_newn(a, tilus_meta, fixed + k->nmeta + 1);
    if (fixed) memcpy(p->metas, s->par->metas, fixed * sizeof *p->metas);
    p->nmetas = fixed;
    for (uint32_t i = 0; i < k->nmeta; i++)
        if (k->tuned[i])
            p->metas[p->nmetas++] =
                (tilus_meta){k->meta_name[i], rt_tune_meta(s->x->eval, k->meta[i])};
}

static bool has_meta(const ast *kernel, const char *name) {
    const ast *const meta = kernel->kid[0];
    for (uint32_t i = 0; meta && i < meta->nkids; i++)
        if (!strcmp(meta->kid[i]->name, name)) return true;
    return false;
}

static tilus_status enumerate(search *s) {
    rt_compilation *const x = s->x;
    vm_arena *const a = x->comp->arena;
    const enum rt_result r = rt_load(x);
    if (r != RT_OK) return rt_fail(s->c, TILUS_IO_ERROR, "%s", x->message);
    if (x->comp->nerrors) return rt_fail_diagnostics(s->c, x);
    const ast *const kernel = find_kernel(s);
    if (!kernel)
        return rt_fail(s->c, TILUS_NOT_FOUND, "'%s' has no kernel '%s'", s->m->name, s->kernel);
    const uint32_t n = (uint32_t)s->par->nmetas;
    fe_define *const defs = vm_newn(a, fe_define, n + 1);
    for (uint32_t i = 0; i < n; i++)
        if (!has_meta(kernel, s->par->metas[i].name))
            return rt_fail(s->c, TILUS_COMPILE_ERROR, "'%s' has no meta-parameter '%s'", s->kernel,
                           s->par->metas[i].name);
    for (uint32_t i = 0; i < n; i++)
        defs[i] = (fe_define){vm_intern(x->comp, s->par->metas[i].name),
                              fe_string(x->eval, s->par->metas[i].value)};
    s->out->product = fe_tune_product(x->eval, x->module, kernel, n, defs);
    if (x->comp->nerrors) return rt_fail_diagnostics(s->c, x);
    fe_instance **all;
    s->n = fe_tune_points(x->eval, x->module, kernel, n, defs, &all);
    if (!s->n) { // a message that says why
        if (!x->comp->nerrors)
            fe_instantiate(x->eval, x->module, kernel, n, defs, VM_NOWHERE, false);
        return x->comp->nerrors
                   ? rt_fail_diagnostics(s->c, x)
                   : rt_fail(s->c, TILUS_COMPILE_ERROR,
                             "no point of the tuning space of '%s' satisfies 'when' and 'where'",
                             s->kernel);
    }
    s->out->points = s->n;
    s->at = vm_newn(a, point, s->n);
    for (uint32_t i = 0; i < s->n; i++) add_point(s, all[i], &s->at[i]);
    int64_t *const value = vm_newn(a, int64_t, s->nargs + 1);
    bool *const whole = vm_newn(a, bool, s->nargs + 1);
    for (size_t i = 0; i < s->nargs; i++) {
        value[i] = s->args[i].as.i;
        whole[i] = s->args[i].kind == TILUS_ARG_INT;
    }
    rt_tuner *const t = s->c->tuner;
    const rt_tune_target *const target = rt_tuner_target(t);
    const rt_tune_row key = {.program = rt_tune_program(x->eval, x->module),
                             .kernel = s->kernel,
                             .source = rt_tune_source(x->eval, x->module, kernel),
                             .metas = rt_tune_fixed(x->eval, s->n, all),
                             .shape = rt_tune_shape(a, kernel, (uint32_t)s->nargs, value, whole),
                             .gpu = target->gpu,
                             .arch = target->arch,
                             .compiler = rt_tuner_compiler(t),
                             .unit = s->out->unit,
                             .sms = target->sms,
                             .driver = target->driver};
    if (rt_tuner_write(t)) s->key = rt_tuner_key(t, &key);
    if (s->par->again) rt_tuner_forget(t, s->key);
    rt_tune_knowns known = {0};
    rt_tuner_points(t, s->key, x->comp, &known);
    for (uint32_t i = 0; i < known.n; i++) recall(s, &known.at[i]);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].step == DONE) tell(s, &s->at[i]);
    point *ref = NULL; // with what is known the others are compared
    for (uint32_t i = 0; i < s->n; i++) {
        point *const p = &s->at[i];
        if (p->pub.state == TILUS_TUNE_KNOWN && (!ref || p->pub.cost < ref->pub.cost)) ref = p;
    }
    if (ref && s->done < s->n) {
        ref->reference = true;
        ref->step = WAITING;
        s->done--;
    }
    return TILUS_OK;
}

static bool bad_params(const tilus_tune_params *p) {
    if (p->nmetas > 1024 || (p->nmetas && !p->metas) || p->jobs < 0) return true;
    for (size_t i = 0; i < p->nmetas; i++)
        if (!p->metas[i].name || !*p->metas[i].name || !p->metas[i].value ||
            strchr(p->metas[i].name, '='))
            return true;
    return false;
}

static tilus_status run(search *s) {
    if (setjmp(s->x->oom)) return rt_no_memory(s->c);
    tilus_status st = enumerate(s);
    if (st == TILUS_OK) st = loop(s);
    if (st != TILUS_OK && !s->n) return st;
    const tilus_status end = st == TILUS_OK ? conclude(s) : st;
    s->out->interrupted = s->stopped;
    return end;
}

tilus_status tilus_tune(tilus_module *m, const char *kernel, const tilus_tune_params *p,
                        const tilus_arg *args, size_t nargs, tilus_tune_result *out) {
    static const tilus_tune_params none;
    if (!m || !out) return TILUS_INVALID_ARGUMENT;
    if (!p) p = &none;
    tilus_context *const c = m->ctx;
    *out = (tilus_tune_result){
        .cost = -1, .first_cost = -1, .unit = c->device == TILUS_DEVICE_VGPU ? "count" : "us"};
    if (!kernel || nargs > 1024 || (nargs && !args) || bad_params(p))
        return rt_fail(c, TILUS_INVALID_ARGUMENT,
                       "tuning needs a kernel and proper metas and arguments");
    if (!m->text) return rt_fail(c, TILUS_UNSUPPORTED, "kernels of PTX have no tuning space");
    if (!c->tuner)
        return rt_fail(c, TILUS_UNSUPPORTED,
                       "the VM has no times; tune on a GPU, or on the virtual GPU");
    if (rt_vgpu(c) && !c->profiles)
        return rt_fail(c, TILUS_UNSUPPORTED,
                       "a virtual GPU has no times; tune on one that profiles");
    search *const s = rt_alloc(c, sizeof *s);
    if (!s) return rt_no_memory(c);
    *s = (search){.m = m,
                  .c = c,
                  .kernel = kernel,
                  .par = p,
                  .args = args,
                  .nargs = nargs,
                  .counts = c->device == TILUS_DEVICE_VGPU,
                  .out = out};
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    s->max_jobs = p->jobs ? p->jobs : cores > 0 ? (int)cores : 1;
    if (s->max_jobs > MAX_JOBS) s->max_jobs = MAX_JOBS;
    rt_options o = rt_kernel_options(m, kernel, 0, NULL);
    o.stage = RT_STAGE_CHECK;
    o.tuner = NULL;
    s->x = rt_compilation_new(&c->alloc, &o);
    const tilus_status st = s->x ? run(s) : rt_no_memory(c);
    clean_up(s);
    rt_free(c, s, sizeof *s);
    return st;
}
