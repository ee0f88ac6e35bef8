// SPDX-License-Identifier: Apache-2.0
// tilusc tune: the tuning space of a kernel on arguments of the command line, for one shape or
// many. On a GPU the work is done by a process of its own: after a fault or a hang another one goes
// on behind the point that did it, which the database remembers.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/tune.h"
#include "tools/tool.h"

enum {
    KEY_EACH = 1000,
    KEY_JOBS,
    KEY_AGAIN,
    KEY_TIMEOUT,
    KEY_SECONDS,
    KEY_TOLERANCE,
    KEY_EXPORT,
    MAX_EACH = 16,
    INTERRUPTED = 130,
    LOST = 77
};

/// What a worker leaves to its successor; in shared memory.
typedef struct {
    uint64_t shape;     // to go on with
    bool done, started; // everything; a point runs
    int code;
    unsigned restarts;
    char values[512]; // of the point that runs
} state;

typedef struct {
    tool_options o;
    tool_call call;
    const char *each[MAX_EACH];
    uint32_t neach;
    tilus_tune_params par;
    unsigned limit;
    bool export, worker;
    state *s;
    tilus_module *module;
    const char *given[TOOL_MAX_LIST]; // arguments as given
    uint32_t ngiven, ndefine;
    fe_instance *const *point;
    uint32_t npoints;
    tilus_tune_params last; // of the shape's search, and its arguments
    const tilus_arg *last_args;
    size_t last_nargs;
    tilus_status status;
    bool interrupted;
    double best;     // so far, of the shape
    char what[1024]; // kernel and shape, for messages
} tune;

static volatile sig_atomic_t interrupted;
static volatile pid_t worker;
static void on_interrupt(int sig) {
    interrupted = 1;
    if (worker > 0) kill(worker, sig);
}
static void catch_interrupts(void) {
    const struct sigaction a = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

// ---- what is shown ------------------------------------------------------------------------------

static const char *cost_text(char buf[40], double cost, bool counts) {
    if (counts)
        snprintf(buf, 40, "%.0f counts", cost);
    else
        snprintf(buf, 40, "%.2f us", cost);
    return buf;
}

static bool is_vgpu(const tune *t) {
    return !strcmp(tool_exec_device(t->call.exec), "vgpu");
}

static void progress(void *user, const tilus_tune_point *p, size_t done, size_t total) {
    tune *const t = user;
    char cost[40], best[40];
    if (t->worker) {
        t->s->started = p->state == TILUS_TUNE_STARTED;
        alarm(t->s->started ? t->limit : 0); // a kernel that hangs ends the worker
        if (t->s->started) snprintf(t->s->values, sizeof t->s->values, "%s", p->values);
    }
    const bool good = p->state == TILUS_TUNE_TIMED || p->state == TILUS_TUNE_KNOWN;
    if (good && (t->best < 0 || p->cost < t->best)) t->best = p->cost;
    if (isatty(STDERR_FILENO)) {
        enum { WIDTH = 24 };
        char bar[WIDTH + 1];
        for (int i = 0; i < WIDTH; i++) bar[i] = (size_t)i * total < done * WIDTH ? '#' : '.';
        bar[WIDTH] = 0;
        tool_progress("[%s] %zu/%zu %s%s%s", bar, done, total, t->best >= 0 ? "best " : "",
                      t->best >= 0 ? cost_text(best, t->best, is_vgpu(t)) : "",
                      p->state == TILUS_TUNE_STARTED ? p->values : "");
    }
    if (p->state == TILUS_TUNE_STARTED || (good && isatty(STDERR_FILENO) && isatty(STDOUT_FILENO)))
        return;
    tool_progress(NULL);
    if (good) {
        printf("  %s  %s", p->values, cost_text(cost, p->cost, is_vgpu(t)));
        if (p->registers > 0) printf("  %d registers", p->registers);
        if (p->spill_bytes > 0) printf("  spills %d bytes", p->spill_bytes);
        if (p->advisory) printf("  the assembler warns");
        if (p->state == TILUS_TUNE_KNOWN) printf("  known");
        putchar('\n');
    } else
        printf("  %s  %s: %s\n", p->values,
               p->state == TILUS_TUNE_EXCLUDED ? "excluded"
               : p->state == TILUS_TUNE_WRONG  ? "WRONG"
                                               : "failed",
               p->reason);
    fflush(stdout);
}

static int stop(void *user) {
    (void)user;
    return interrupted;
}

static void summary(tune *t, const tilus_tune_result *r) {
    char cost[40];
    printf("%s: %zu of %zu points fit", t->what, r->points, r->product);
    if (r->timed) printf(", %zu timed", r->timed);
    if (r->known) printf(", %zu known", r->known);
    if (r->excluded) printf(", %zu too large", r->excluded);
    if (r->failed) printf(", %zu failed", r->failed);
    if (r->wrong) printf(", %zu WRONG", r->wrong);
    putchar('\n');
    if (r->cost >= 0) {
        printf("%s: best %s  %s", t->what, r->best, cost_text(cost, r->cost, is_vgpu(t)));
        if (r->first_cost > r->cost && r->cost > 0)
            printf("  %.2f times the first point's speed", r->first_cost / r->cost);
        putchar('\n');
    }
    if (r->interrupted) printf("%s: interrupted; the same command goes on from here\n", t->what);
    fflush(stdout);
}

// ---- one shape ----------------------------------------------------------------------------------

static uint32_t pick(void *user, fe_eval *e, const fe_module *m, const ast *kernel, uint32_t n,
                     fe_instance **point, fe_args *args) {
    tune *const t = user;
    const fe_executor inner = tool_exec_hooks(t->call.exec);
    if (kernel != t->call.node) return inner.pick(inner.user, e, m, kernel, n, point, args);
    t->point = point;
    t->npoints = n;
    return 0;
}

/// A lowered point, for the parameters' types: the first that the target can hold.
static const ir_func *signature(tune *t, fe_instance *k) {
    vm_comp *const c = t->call.x->comp;
    vm_diag *const last = c->last_diag;
    const uint32_t errors = c->nerrors, warnings = c->nwarnings;
    ir_func *f = NULL;
    for (uint32_t i = 0; !f && i < (t->npoints ? t->npoints : 1); i++) {
        f = rt_lower(t->call.x, t->npoints ? t->point[i] : k);
        if (f || i + 1 == t->npoints || !t->npoints) break;
        c->last_diag = last;
        if (last)
            last->next = NULL;
        else
            c->diags = NULL;
        c->nerrors = errors;
        c->nwarnings = warnings;
    }
    return f;
}

static bool search(void *user, fe_eval *e, fe_instance *k, fe_args *args, vm_span at,
                   const char **why) {
    tune *const t = user;
    const fe_executor inner = tool_exec_hooks(t->call.exec);
    if (k->node != t->call.node || t->call.results)
        return inner.run(inner.user, e, k, args, at, why); // of --before
    const ir_func *const f = signature(t, k);
    if (!f) {
        *why = "no point of the tuning space can be compiled";
        return false;
    }
    fe_value **const v = vm_newn(e->arena, fe_value *, f->nparams + 1);
    tilus_arg *const a = vm_newn(e->arena, tilus_arg, f->nparams + 1);
    if (!tool_exec_args(t->call.exec, e, f, args, v, at, why)) return false;
    tool_call_keep(&t->call, e, args);
    tilus_meta *const metas = vm_newn(e->arena, tilus_meta, k->nmeta + 1);
    tilus_tune_params p = t->par;
    for (uint32_t i = 0; i < k->nmeta; i++) {
        const fe_value *const m = k->meta[i];
        if (!k->tuned[i])
            metas[p.nmetas++] =
                (tilus_meta){k->meta_name[i], m->kind == FV_STRING ? m->s : fe_describe(e, m)};
    }
    p.metas = metas;
    p.progress = progress;
    p.stop = stop;
    p.user = t;
    t->best = -1;
    tilus_tune_result r = {0};
    tilus_status s = tool_exec_upload(t->call.exec, e, f, v, a);
    if (s == TILUS_OK) s = tilus_tune(t->module, t->call.kernel, &p, a, f->nparams, &r);
    alarm(0);
    tool_progress(NULL);
    if (s == TILUS_OK || r.points) summary(t, &r);
    if (s == TILUS_OK && r.cost >= 0 && !r.interrupted)
        s = tool_exec_download(t->call.exec, e, f, v, a);
    t->status = s;
    t->last = p;
    t->last_args = a;
    t->last_nargs = f->nparams;
    t->interrupted = r.interrupted;
    if (s != TILUS_OK)
        *why = vm_strdup(e->arena, tilus_error(tool_exec_context(t->call.exec)));
    else if (r.cost < 0 && !r.interrupted)
        t->last_args = NULL, *why = "no point of the tuning space could be run";
    tool_exec_release(t->call.exec, f, v, a);
    return s == TILUS_OK && (r.cost >= 0 || r.interrupted);
}

static int at_once(void *user) {
    (void)user;
    return 1;
}

/// A check has failed: the first point was wrong, and with it all that agree with it.
static void forget(tune *t) {
    tilus_tune_result r;
    t->last.again = 1;
    t->last.stop = at_once;
    t->last.progress = NULL;
    tilus_tune(t->module, t->call.kernel, &t->last, t->last_args, t->last_nargs, &r);
    tool_error("%s: the check fails on the best point's results; nothing is kept", t->what);
}

static bool load_module(tune *t) {
    tilus_context *const c = tool_exec_context(t->call.exec);
    tilus_status s = t->module ? TILUS_OK : tilus_module_from_file(c, t->call.file, &t->module);
    for (uint32_t i = 0; s == TILUS_OK && i < t->o.rt.ninclude; i++)
        s = tilus_module_include(t->module, t->o.include[i]);
    if (s != TILUS_OK) tool_error("%s", tilus_error(c));
    return s == TILUS_OK;
}

static int guarded(tune *t) {
    tool_call *const k = &t->call;
    rt_compilation *const x = k->x;
    if (setjmp(x->oom)) return tool_usage("out of memory");
    int code;
    const ast *const test = tool_call_block(k, &code);
    if (!test) return code;
    if (!t->module && !load_module(t)) return TOOL_USAGE;
    tool_exec_bind(k->exec, x);
    t->status = TILUS_OK;
    t->last_args = NULL;
    t->point = NULL;
    t->npoints = 0;
    fe_test_result result = {0};
    const fe_executor hooks = {.run = search, .pick = pick, .user = t};
    fe_run_test(x->eval, x->module, test, &hooks, &result);
    if (t->interrupted) return INTERRUPTED;
    if (t->o.on == ON_CUDA && (t->status == TILUS_TRAP || t->status == TILUS_DRIVER_ERROR))
        return LOST;
    if (!result.passed || !k->results) {
        if (k->results && t->status == TILUS_OK && t->last_args) forget(t);
        if (x->comp->diags) return tool_report(x, &t->o, RT_ERRORS);
        tool_error("%s: %s", t->what, result.message ? result.message : "nothing was run");
        return TOOL_FAILED;
    }
    return tool_call_write(k);
}

// ---- shapes -------------------------------------------------------------------------------------

/// The i-th value (of those between commas) of "NAMES=VALUES", and how many there are.
static uint32_t choices(const char *each) {
    uint32_t n = 1;
    for (const char *p = strchr(each, '=') + 1; *p; p++) n += *p == ',';
    return n;
}
static const char *choice(const char *each, uint32_t i, size_t *n) {
    const char *p = strchr(each, '=') + 1;
    for (; i; i--) p = strchr(p, ',') + 1;
    *n = strcspn(p, ",");
    return p;
}

/// Adds the definitions of one combination to the command line; "NAME=VALUE" texts go into mem.
static bool set_shape(tune *t, uint64_t shape, char *mem, size_t size) {
    tool_call *const k = &t->call;
    const ast *const params = k->node->nkids > 1 ? k->node->kid[1] : NULL;
    size_t used = 0;
    uint32_t nargs = 0;
    t->o.rt.ndefine = t->ndefine;
    snprintf(t->what, sizeof t->what, "%s", k->kernel);
    uint32_t digit[MAX_EACH];
    for (uint32_t i = t->neach; i-- > 0; shape /= choices(t->each[i]))
        digit[i] = (uint32_t)(shape % choices(t->each[i]));
    for (uint32_t i = 0; i < t->neach; i++) {
        size_t n;
        const char *value = choice(t->each[i], digit[i], &n), *const stop = value + n;
        for (const char *name = t->each[i]; *name != '='; name += *name == ',') {
            const size_t len = strcspn(name, ",="),
                         part = strcspn(value, strchr(t->each[i], ',') < strchr(t->each[i], '=') &&
                                                       strchr(t->each[i], ',')
                                                   ? ":,"
                                                   : ",");
            char *const text = mem + used;
            const int wrote =
                snprintf(text, size - used, "%.*s=%.*s", (int)len, name, (int)part, value);
            if (wrote < 0 || (size_t)wrote >= size - used || nargs + t->ngiven == TOOL_MAX_LIST ||
                t->o.rt.ndefine == TOOL_MAX_LIST)
                return false;
            used += (size_t)wrote + 1;
            bool is_param = false;
            for (uint32_t p = 0; params && p < params->nkids; p++)
                is_param |= strlen(params->kid[p]->name) == len &&
                            !strncmp(params->kid[p]->name, name, len);
            if (is_param)
                k->args[nargs++] = text;
            else
                t->o.define[t->o.rt.ndefine++] = text;
            snprintf(t->what + strlen(t->what), sizeof t->what - strlen(t->what), " %s", text);
            name += len;
            value += part + (value + part < stop);
        }
    }
    for (uint32_t i = 0; i < t->ngiven; i++) k->args[nargs++] = t->given[i];
    k->nargs = nargs;
    return true;
}

/// Shape number s->shape, in a compilation of its own.
static int one(tune *t) {
    tool_call *const k = &t->call;
    static char mem[1 << 14];
    int code = tool_call_load(k);
    if (!code) {
        k->node = NULL;
        const ast *const tree = k->x->module->tree;
        for (uint32_t i = 0; i < tree->nkids; i++)
            if (tree->kid[i]->kind == AST_KERNEL && !strcmp(tree->kid[i]->name, k->kernel))
                k->node = tree->kid[i];
        if (k->node && !set_shape(t, t->s->shape, mem, sizeof mem))
            code = tool_usage("too many values");
        if (!code) code = guarded(t);
    }
    tool_exec_bind(k->exec, NULL);
    rt_compilation_free(k->x);
    k->x = NULL;
    return code;
}

/// Shapes from s->shape on. LOST: the GPU is, and another process must go on.
static int work(tune *t) {
    uint64_t shapes = 1;
    for (uint32_t i = 0; i < t->neach; i++) shapes *= choices(t->each[i]);
    if (!(t->call.exec = tool_exec_new(&t->o))) return TOOL_USAGE;
    int code = TOOL_OK;
    for (; t->s->shape < shapes && code != INTERRUPTED; t->s->shape++) {
        const int c = one(t);
        if (c == LOST)
            return LOST; // nothing more can be done with this GPU, not even giving it back
        if (c > code) code = c;
        if (c == TOOL_USAGE) break;
    }
    tool_exec_free(t->call.exec);
    return code;
}

/// Does the work in processes that a fault of the GPU, or a hang, may end.
static int supervise(tune *t) {
    state *const s = t->s;
    for (;;) {
        fflush(stdout);
        s->started = false;
        const pid_t pid = fork();
        if (pid < 0) return tool_usage("cannot start a process: %s", strerror(errno));
        if (pid == 0) {
            t->worker = true;
            const int code = work(t);
            fflush(stdout);
            _exit(code);
        }
        worker = pid;
        if (interrupted) kill(pid, SIGINT);
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        worker = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) != LOST) {
            const int code = WEXITSTATUS(status);
            return code > s->code ? code : s->code;
        }
        tool_progress(NULL);
        if (interrupted) return INTERRUPTED;
        if (WIFSIGNALED(status)) {
            if (!s->started)
                return tool_usage("the tuning process died: %s", strsignal(WTERMSIG(status)));
            if (WTERMSIG(status) == SIGALRM)
                printf("  %s  failed: does not end within %u s\n", s->values, t->limit);
            else
                printf("  %s  failed: the process died: %s\n", s->values,
                       strsignal(WTERMSIG(status)));
        }
        if (++s->restarts > 1000) return tool_usage("too many points fault");
    }
}

// ---- export -------------------------------------------------------------------------------------

static int export(const tune *t) {
    jmp_buf oom;
    vm_comp *const c = vm_comp_new(&vm_malloc, &oom);
    const rt_tune_target target = {0};
    rt_tuner *const db = rt_tuner_new(NULL, t->o.tune_db, &target, tool_warn, NULL);
    int code = TOOL_OK;
    if (!c || !db || setjmp(oom))
        code = tool_usage("out of memory");
    else {
        rt_tune_rows rows = {0}, out = {0};
        rt_tuner_user_rows(db, t->call.kernel, c, &rows);
        const char *const base = t->call.file && strrchr(t->call.file, '/')
                                     ? strrchr(t->call.file, '/') + 1
                                     : t->call.file;
        for (uint32_t i = 0; i < rows.n; i++) {
            const rt_tune_row *const r = &rows.at[i];
            if (base && strcmp(base, r->program) != 0) continue;
            uint32_t k = 0; // of several drivers and compilers, the last
            while (k < out.n &&
                   (strcmp(out.at[k].program, r->program) || strcmp(out.at[k].kernel, r->kernel) ||
                    strcmp(out.at[k].metas, r->metas) || strcmp(out.at[k].shape, r->shape) ||
                    strcmp(out.at[k].gpu, r->gpu) || strcmp(out.at[k].arch, r->arch) ||
                    out.at[k].sms != r->sms))
                k++;
            if (k < out.n)
                out.at[k] = *r;
            else
                vm_push(c->arena, &out, *r);
        }
        fputs(rt_tune_csv(c->arena, &out), stdout);
        if (!out.n) fprintf(stderr, "tilusc: note: '%s' has no results\n", rt_tuner_path(db));
    }
    rt_tuner_free(db);
    vm_comp_free(c);
    return code;
}

// ---- command line -------------------------------------------------------------------------------

static void set_each(tune *t, const char *arg, struct argp_state *s) {
    const char *const eq = strchr(arg, '=');
    size_t names = 1;
    for (const char *p = arg; eq && p < eq; p++) names += *p == ',';
    if (!eq || eq == arg || !eq[1])
        argp_error(s, "--each takes NAME=VALUE,… or NAME,NAME=VALUE:VALUE,…, not '%.100s'", arg);
    else if (t->neach == MAX_EACH)
        argp_error(s, "more than %d --each", MAX_EACH);
    else {
        for (const char *p = eq + 1;; p++) {
            size_t n = strcspn(p, ","), values = 1;
            for (size_t i = 0; names > 1 && i < n; i++) values += p[i] == ':';
            if (!n || values != names)
                argp_error(s, "--each: '%.*s' is not %zu value%s", (int)n, p, names,
                           names > 1 ? "s" : "");
            p += n;
            if (!*p) break;
        }
        t->each[t->neach++] = arg;
    }
}

static double number(const char *arg, const char *what, struct argp_state *s) {
    char *end;
    const double x = strtod(arg, &end);
    if (*end || end == arg || !(x > 0) || x > 1e6)
        argp_error(s, "%s takes a positive number, not '%.50s'", what, arg);
    return x;
}

static error_t parse(int key, char *arg, struct argp_state *s) {
    tune *const t = s->input;
    switch (key) {
    case ARGP_KEY_INIT:
        for (int i = 0; i < 2; i++) s->child_inputs[i] = &t->o;
        s->child_inputs[2] = &t->call;
        return 0;
    case KEY_EACH:
        set_each(t, arg, s);
        return 0;
    case KEY_JOBS:
        t->par.jobs = (int)number(arg, "--jobs", s);
        return 0;
    case KEY_AGAIN:
        t->par.again = 1;
        return 0;
    case KEY_TIMEOUT:
        t->limit = (unsigned)(number(arg, "--timeout", s) + 0.5);
        return 0;
    case KEY_SECONDS:
        t->par.point_seconds = number(arg, "--seconds", s);
        return 0;
    case KEY_TOLERANCE:
        t->par.tolerance = number(arg, "--tolerance", s);
        return 0;
    case KEY_EXPORT:
        t->export = t->call.optional = true;
        return 0;
    case ARGP_KEY_END:
        if (!t->export && !t->call.kernel)
            argp_error(s, "a file and the name of a kernel are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool has_gpu(void) {
    tilus_context *c = NULL;
    if (tilus_context_create(NULL, &c) != TILUS_OK) return false;
    const bool gpu = tilus_context_device(c) == TILUS_DEVICE_CUDA;
    tilus_context_destroy(c);
    return gpu;
}

/// "auto" is the GPU if there is one. It is asked for in a process that ends: a context must not be
/// made before the fork.
static bool find_device(tune *t) {
    if (t->o.on == ON_VM) {
        tool_usage("the VM has no times; '--on=vgpu' ranks by counted instructions and sectors");
        return false;
    }
    if (t->o.on == ON_AUTO) {
        fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) _exit(has_gpu() ? 0 : 1);
        int status = 1;
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        t->o.on = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ON_CUDA : ON_VGPU;
    }
    t->o.profile = t->o.on == ON_VGPU;
    return true;
}

int tool_tune(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"each", KEY_EACH, "NAME=VALUE,…", 0,
         "Tune for each value of an argument or meta-parameter; NAME,NAME=VALUE:VALUE,… for "
         "several together; given more than once: all combinations",
         1},
        {"again", KEY_AGAIN, NULL, 0, "Time points that the database knows, too", 1},
        {"jobs", KEY_JOBS, "N", 0, "Processes that compile (default: one a core)", 1},
        {"seconds", KEY_SECONDS, "S", 0, "How long one point is timed (default 0.15)", 1},
        {"timeout", KEY_TIMEOUT, "S", 0,
         "Most that a point may take to compile, and to run (default 60)", 1},
        {"tolerance", KEY_TOLERANCE, "X", 0,
         "Relative norm by which results of points may differ (default: by type)", 1},
        {"export", KEY_EXPORT, NULL, 0,
         "Write the database's rows (of FILE, of KERNEL) as CSV, the form of programs/tuned.csv",
         1},
        {0}};
    static const struct argp_child children[] = {{&tool_on_argp, 0, NULL, 2},
                                                 {&tool_common_argp, 0, "Shared options:", 10},
                                                 {&tool_call_argp, 0, NULL, 1},
                                                 {0}};
    static const struct argp a = {
        options,
        parse,
        "FILE KERNEL [[NAME=]VALUE…]",
        "Runs a kernel with each point of its tuning space, on arguments as of 'tilusc run', and "
        "keeps the times: later "
        "runs and builds take the best point for the nearest shape. Points that give other results "
        "than the first are "
        "dropped. What the database knows is not timed again, so an interrupted run goes on where "
        "it was. On the virtual "
        "GPU points are ranked by warp instructions and memory sectors.\vexamples:\n"
        "  tilusc tune programs/matmul.tvm matmul m=4096 n=4096 k=4096 'a=random(f16[m, k], seed = "
        "1)' \\\n"
        "      'b=random(f16[k, n], seed = 2)' 'c=zeros(f16[m, n])'\n"
        "  tilusc tune programs/softmax.tvm softmax --each=rows=64,4096 --each=n=1000,32000 \\\n"
        "      'x=random(f32[rows, n], seed = 1)' 'y=zeros(f32[rows, n])'\n"
        "  tilusc tune --export > programs/tuned.csv\n",
        children,
        NULL,
        NULL};
    static tune t;
    t.limit = 60;
    tool_options_init(&t.o);
    t.call.o = &t.o;
    if (tool_argp(&a, "tune", argc, argv, &t)) return TOOL_USAGE;
    if (t.export) return export(&t);
    t.par.compile_seconds = t.limit;
    if (!find_device(&t)) return TOOL_USAGE;
    t.s = mmap(NULL, sizeof *t.s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.s == MAP_FAILED) return tool_usage("out of memory");
    t.ngiven = t.call.nargs;
    t.ndefine = t.o.rt.ndefine;
    memcpy(t.given, t.call.args, sizeof t.given);
    catch_interrupts();
    char temp[] =
        "/tmp/tilus-tune-XXXXXX"; // where nothing is kept: for the points that processes hand on
    const bool none = !strcmp(t.o.tune_db, "none");
    const int fd = none ? mkstemp(temp) : -1;
    if (fd >= 0) {
        close(fd);
        t.o.tune_db = temp;
    }
    const int code = supervise(&t);
    if (fd >= 0) unlink(temp);
    munmap(t.s, sizeof *t.s);
    return code;
}
