// SPDX-License-Identifier: Apache-2.0
// Tuning: rows and their text, the database in every state and from several processes, the search
// on the virtual GPU (points that are wrong, too large, crash or hang their compiler), on a driver
// that fails, interruption and resumption, choices by shape, dispatch tables.
#include "tests/unit/runtime_util.h"

#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "runtime/tune.h"

static const char program[] =
    "kernel scale[T: type = f32, BLOCK: int, W: int, BAD: int](n: i32, x: global T[n], y: global "
    "T[n])\n"
    "    where BLOCK <= 65536;\n"
    "    tune { BLOCK in [128, 256, 1048576]; W in [1, 4]; BAD in [0, 1]; when BAD == 0 || W == 4; "
    "}\n"
    "    launch { grid = cdiv(n, BLOCK); warps = W; }\n"
    "{ store(y[block.x * BLOCK +: BLOCK], load(x[block.x * BLOCK +: BLOCK]) * (2.0 + BAD)); }\n"
    // one point does not fit into shared memory
    "kernel shared_scale[BLOCK: int](n: i32, x: global f32[n], y: global f32[n])\n"
    "    tune { BLOCK in [256, 131072]; }\n"
    "    launch { grid = cdiv(n, BLOCK); warps = 4; }\n"
    "{ let s: shared f32[BLOCK]; store(s, load(x[block.x * BLOCK +: BLOCK])); sync(); "
    "store(y[block.x * BLOCK +: BLOCK], load(s) * 2.0); }\n";

enum { N = 3000 };
typedef struct {
    tilus_context *c;
    tilus_module *m;
    journal j;
    float x[N], y[N];
    void *dx, *dy;
    char dir[64], db[96];
    rt_null null;
} fixture;

static void open_on(fixture *f, const char *device, const char *db) {
    f->j = (journal){{0}, 0};
    const tilus_vgpu_params v = {.profile = 1, .threads = 1};
    const bool vgpu = !strcmp(device, "vgpu");
    const tilus_context_params p = {.device = vgpu ? TILUS_DEVICE_VGPU : TILUS_DEVICE_CUDA,
                                    .vgpu = &v,
                                    .tune_db = db,
                                    .log = take_log,
                                    .log_user = &f->j};
    if (vgpu)
        assert_int_equal(tilus_context_create(&p, &f->c), TILUS_OK);
    else {
        rt_driver d;
        rt_null_driver(&d, &f->null);
        assert_int_equal(rt_context_create(&p, &d, &f->c), TILUS_OK);
    }
    assert_int_equal(
        tilus_module_from_source(f->c, "scale.tvm", program, sizeof program - 1, &f->m), TILUS_OK);
    for (int i = 0; i < N; i++) f->x[i] = rng_float();
    assert_int_equal(tilus_alloc(f->c, sizeof f->x, &f->dx), TILUS_OK);
    assert_int_equal(tilus_alloc(f->c, sizeof f->y, &f->dy), TILUS_OK);
    assert_int_equal(tilus_upload(f->c, f->dx, f->x, sizeof f->x, NULL), TILUS_OK);
    assert_int_equal(tilus_fill(f->c, f->dy, 0xff, sizeof f->y, NULL), TILUS_OK);
}

static void shut(fixture *f) {
    tilus_context_destroy(f->c);
}

static int setup(void **s) {
    fixture *const f = calloc(1, sizeof *f);
    if (!f) return -1;
    temp_folder(f->dir);
    snprintf(f->db, sizeof f->db, "%s/deep/er/tune.sqlite", f->dir);
    rt_null_init(&f->null);
    *s = f;
    return 0;
}

static int teardown(void **s) {
    fixture *const f = *s;
    remove_folder(f->dir);
    free(f);
    rt_tune_before_compile = NULL;
    return 0;
}

typedef struct {
    int state[TILUS_TUNE_WRONG + 1];
    size_t done, total;
    int stop_after; // points; negative: never
    char reason[400];
} seen;

static void progress(void *user, const tilus_tune_point *p, size_t done, size_t total) {
    seen *const k = user;
    k->state[p->state]++;
    k->done = done;
    k->total = total;
    if (p->state == TILUS_TUNE_STARTED) return;
    assert_non_null(strchr(p->values, '='));
    if (*p->reason) snprintf(k->reason, sizeof k->reason, "%s", p->reason);
}

static int stop(void *user) {
    const seen *const k = user;
    return k->stop_after >= 0 && k->state[TILUS_TUNE_TIMED] >= k->stop_after;
}

static tilus_status tune(fixture *f, const char *kernel, int n, tilus_tune_params p, seen *k,
                         tilus_tune_result *r) {
    const tilus_arg a[] = {tilus_int(n), tilus_pointer(f->dx), tilus_pointer(f->dy)};
    p.progress = progress;
    p.stop = stop;
    p.user = k;
    return tilus_tune(f->m, kernel, &p, a, 3, r);
}

// ---- rows ---------------------------------------------------------------------------------------

static void rows(void **s) {
    (void)s;
    jmp_buf oom;
    vm_comp *const c = vm_comp_new(NULL, &oom);
    assert_non_null(c);
    if (setjmp(oom)) fail();
    rt_tune_rows in = {0}, out = {0};
    vm_push(c->arena, &in,
            ((rt_tune_row){.program = "a.tvm",
                           .kernel = "k",
                           .metas = "T=f16 S=(1,4)",
                           .shape = "m=1 n=2",
                           .gpu = "GPU, \"x\"",
                           .arch = "sm_90a",
                           .unit = "us",
                           .sms = 132,
                           .best = "W=4",
                           .cost = 1.25}));
    vm_push(c->arena, &in,
            ((rt_tune_row){.program = "a.tvm",
                           .kernel = "kk",
                           .metas = "",
                           .shape = "",
                           .gpu = "",
                           .arch = "sm_80",
                           .unit = "count",
                           .sms = 0,
                           .best = "W=2 V=1",
                           .cost = 7}));
    const char *const text = rt_tune_csv(c->arena, &in);
    rt_tune_parse(text, strlen(text), NULL, c->arena, &out);
    assert_int_equal(out.n, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_string_equal(out.at[i].kernel, in.at[i].kernel);
        assert_string_equal(out.at[i].metas, in.at[i].metas);
        assert_string_equal(out.at[i].shape, in.at[i].shape);
        assert_string_equal(out.at[i].gpu, in.at[i].gpu);
        assert_string_equal(out.at[i].best, in.at[i].best);
        assert_int_equal(out.at[i].sms, in.at[i].sms);
        assert_true(fabs(out.at[i].cost - in.at[i].cost) < 1e-9);
    }
    out.n = 0;
    rt_tune_parse(text, strlen(text), "k", c->arena, &out);
    assert_int_equal(out.n, 1);
    // cut anywhere, or with bytes changed: rows or none, never a fault
    const size_t n = strlen(text);
    char copy[1000];
    assert_true(n < sizeof copy);
    for (size_t i = 0; i <= n; i++) {
        out.n = 0;
        rt_tune_parse(text, i, i % 2 ? "k" : NULL, c->arena, &out);
        memcpy(copy, text, n);
        copy[i % n] = (char)rng();
        rt_tune_parse(copy, n, NULL, c->arena, &out);
    }
    size_t len;
    assert_null(rt_tune_value("mm=1 n=2", "m", &len));
    assert_string_equal(rt_tune_value("mm=1 n=2", "n", &len), "2");
    assert_int_equal(len, 1);
    assert_true(rt_tune_distance("m=16 n=64", "n=64 m=16") == 0);
    assert_true(rt_tune_distance("m=16 n=64", "m=16") < 0 &&
                rt_tune_distance("m=16", "m=16 n=64") < 0 && rt_tune_distance("m=1", "k=1") < 0);
    assert_true(rt_tune_distance("m=100", "m=64") < rt_tune_distance("m=100", "m=200"));
    assert_true(rt_tune_distance("m=0", "m=1") > 0);
    vm_comp_free(c);
}

// ---- the database -------------------------------------------------------------------------------

static const rt_tune_target here = {.gpu = "G", .arch = "sm_90a", .sms = 132, .driver = 13000};
static const rt_tune_row key_row = {.program = "p.tvm",
                                    .kernel = "k",
                                    .source = "00",
                                    .metas = "T=f16",
                                    .shape = "m=1",
                                    .gpu = "G",
                                    .arch = "sm_90a",
                                    .compiler = "c",
                                    .unit = "us",
                                    .sms = 132,
                                    .driver = 13000};

static void note(void *user, const char *text) {
    snprintf(user, 4096, "%s", text);
}

static void database(void **s) {
    fixture *const f = *s;
    char said[4096] = "";
    jmp_buf oom;
    vm_comp *const c = vm_comp_new(NULL, &oom);
    if (!c || setjmp(oom)) fail();
    // nothing is there: no warning, nothing is made
    rt_tuner *t = rt_tuner_new(NULL, f->db, &here, note, said);
    rt_tune_rows all = {0};
    rt_tuner_user_rows(t, NULL, c, &all);
    assert_int_equal(all.n, 0);
    assert_int_equal(access(f->db, F_OK), -1);
    rt_tuner_free(t);
    // four processes at once
    for (int w = 0; w < 4; w++)
        if (fork() == 0) {
            rt_tuner *const mine = rt_tuner_new(NULL, f->db, &here, note, said);
            bool ok = rt_tuner_write(mine);
            const int64_t key = rt_tuner_key(mine, &key_row);
            for (int i = 0; i < 25; i++) {
                char values[32];
                snprintf(values, sizeof values, "W=%d I=%d", w, i);
                rt_tuner_put(
                    mine, key,
                    &(rt_tune_known){
                        .values = values, .cost = 100 - w - i, .registers = i, .note = ""});
            }
            ok = ok && key && !*said;
            rt_tuner_free(mine);
            _exit(!ok);
        }
    for (int w = 0; w < 4; w++) {
        int status = 1;
        wait(&status);
        assert_int_equal(status, 0);
    }
    t = rt_tuner_new(NULL, f->db, &here, note, said);
    rt_tuner_user_rows(t, "k", c, &all);
    assert_int_equal(all.n, 1);
    assert_string_equal(all.at[0].best, "W=3 I=24");
    assert_true(fabs(all.at[0].cost - 73) < 1e-9);
    assert_string_equal(all.at[0].source, "00");
    rt_tuner_user_rows(t, "other", c, &all);
    assert_int_equal(all.n, 1);
    assert_true(rt_tuner_write(t));
    const int64_t key = rt_tuner_key(t, &key_row);
    rt_tune_knowns points = {0};
    rt_tuner_points(t, key, c, &points);
    assert_int_equal(points.n, 100);
    rt_tuner_put(t, key, &(rt_tune_known){.values = "W=3 I=24", .cost = -1, .note = "faults"});
    all.n = 0;
    rt_tuner_user_rows(t, "k", c, &all);
    assert_string_equal(all.at[0].best, "W=2 I=24"); // the best has failed since
    rt_tuner_forget(t, key);
    points.n = 0;
    rt_tuner_points(t, key, c, &points);
    assert_int_equal(points.n, 0);
    assert_string_equal(said, "");
    rt_tuner_free(t);
    vm_comp_free(c);
}

/// A database that cannot be used is a warning; tuning goes on and keeps nothing.
static void bad_databases(void **s) {
    fixture *const f = *s;
    char path[5][128];
    for (int i = 0; i < 5; i++) snprintf(path[i], sizeof path[i], "%s/db%d", f->dir, i);
    put_file(path[0],
             "this is no database, and long enough to be looked at as one: "
             "...............................",
             90);
    mkdir(path[1], 0700);
    put_file(path[2], "file", 4);
    strcat(path[2], "/tune.sqlite"); // its folder is a file
    sqlite3 *other;
    assert_int_equal(sqlite3_open(path[3], &other), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(other, "CREATE TABLE tuned (x); PRAGMA user_version = 99", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(sqlite3_open(path[4], &other),
                     SQLITE_OK); // locked by another process, as it were
    assert_int_equal(sqlite3_exec(other, "CREATE TABLE t (x); BEGIN EXCLUSIVE", NULL, NULL, NULL),
                     SQLITE_OK);
    for (int i = 0; i < 5; i++) {
        open_on(f, "null", path[i]);
        seen k = {.stop_after = -1};
        tilus_tune_result r;
        assert_int_equal(
            tune(f, "shared_scale", N, (tilus_tune_params){.point_seconds = 0.001}, &k, &r),
            TILUS_OK);
        assert_int_equal(r.timed, 1);
        assert_string_equal(r.best, "BLOCK=256");
        if (f->j.warnings != 1 || !strstr(f->j.text, "tuning database"))
            fail_msg("%d: %d warnings: %s", i, f->j.warnings, f->j.text);
        tilus_kernel *kernel;
        assert_int_equal(tilus_kernel_get(f->m, "shared_scale", NULL, 0, &kernel), TILUS_OK);
        shut(f);
        // for reading alone
        open_on(f, "null", path[i]);
        assert_int_equal(tilus_kernel_get(f->m, "shared_scale", NULL, 0, &kernel), TILUS_OK);
        if (i != 2 && !f->j.warnings) fail_msg("%d: no warning", i);
        shut(f);
    }
    sqlite3_close(other);
}

/// Pages overwritten at random: warnings and lost results at worst.
static void damage(void **s) {
    fixture *const f = *s;
    open_on(f, "null", f->db);
    seen k = {.stop_after = -1};
    tilus_tune_result r;
    assert_int_equal(tune(f, "scale", N, (tilus_tune_params){.point_seconds = 0.001}, &k, &r),
                     TILUS_OK);
    shut(f);
    FILE *file = fopen(f->db, "rb");
    static uint8_t good[1 << 16], bad[1 << 16];
    const size_t n = fread(good, 1, sizeof good, file);
    fclose(file);
    for (int round = 0; round < 30; round++) {
        memcpy(bad, good, n);
        for (int i = 0; i < 40; i++) bad[rng() % n] = (uint8_t)rng();
        if (round % 3 == 0) memset(bad + rng() % (n / 2), (int)rng(), n / 2);
        put_file(f->db, bad, round % 5 ? n : n / 2);
        open_on(f, "null", f->db);
        k = (seen){.stop_after = -1};
        assert_int_equal(
            tune(f, "shared_scale", N, (tilus_tune_params){.point_seconds = 0.001}, &k, &r),
            TILUS_OK);
        assert_string_equal(r.best, "BLOCK=256");
        tilus_kernel *kernel;
        assert_int_equal(tilus_kernel_get(f->m, "scale", NULL, 0, &kernel), TILUS_OK);
        shut(f);
    }
}

// ---- the search ---------------------------------------------------------------------------------

static void check_y(fixture *f, int n) {
    assert_int_equal(tilus_download(f->c, f->y, f->dy, sizeof f->y, NULL), TILUS_OK);
    for (int i = 0; i < N; i++)
        if (i < n ? f->y[i] != 2 * f->x[i] : f->y[i] == f->y[i])
            fail_msg("element %d: %g for %g", i, (double)f->y[i], (double)f->x[i]);
}

static void searches(void **s) {
    fixture *const f = *s;
    open_on(f, "vgpu", f->db);
    seen k = {.stop_after = -1};
    tilus_tune_result r;
    // of 12 points `when` leaves 9, `where` 6; those with BAD = 1 compute something else
    assert_int_equal(tune(f, "scale", 1000, (tilus_tune_params){.jobs = 1}, &k, &r), TILUS_OK);
    assert_int_equal(r.product, 12);
    assert_int_equal(r.points, 6);
    assert_int_equal(r.timed, 4);
    assert_int_equal(r.wrong, 2);
    assert_int_equal(k.state[TILUS_TUNE_WRONG], 2);
    assert_non_null(strstr(k.reason, "differs from the first point's by 0.5"));
    assert_string_equal(r.unit, "count");
    assert_true(r.cost > 0 && r.cost <= r.first_cost && k.done == 6 && k.total == 6);
    assert_non_null(strstr(r.best, "BAD=0"));
    check_y(f, 1000);
    const tilus_tune_result first = r;
    // all is known now, also for another context, but not for another shape, type or compiler
    for (int round = 0; round < 2; round++) {
        k = (seen){.stop_after = -1};
        assert_int_equal(tune(f, "scale", 1000, (tilus_tune_params){0}, &k, &r), TILUS_OK);
        assert_int_equal(r.known, 4);
        assert_int_equal(r.wrong, 2);
        assert_int_equal(k.state[TILUS_TUNE_STARTED], 0);
        assert_string_equal(r.best, first.best);
        check_y(f, 1000);
        shut(f);
        open_on(f, "vgpu", f->db);
    }
    k = (seen){.stop_after = -1};
    assert_int_equal(tune(f, "scale", 1001, (tilus_tune_params){0}, &k, &r), TILUS_OK);
    assert_int_equal(r.timed, 4);
    k = (seen){.stop_after = -1};
    assert_int_equal(tune(f, "scale", 1000, (tilus_tune_params){.again = 1}, &k, &r), TILUS_OK);
    assert_int_equal(r.timed, 4);
    // fixed values narrow the space
    k = (seen){.stop_after = -1};
    const tilus_meta fixed[] = {{"W", "4"}, {"T", "i32"}, {"BAD", "0"}};
    assert_int_equal(
        tune(f, "scale", 1000, (tilus_tune_params){.metas = fixed, .nmetas = 3}, &k, &r), TILUS_OK);
    assert_int_equal(r.points, 2);
    // shared memory: excluded by the target
    k = (seen){.stop_after = -1};
    assert_int_equal(tune(f, "shared_scale", 1000, (tilus_tune_params){0}, &k, &r), TILUS_OK);
    assert_int_equal(r.excluded, 1);
    assert_int_equal(r.timed, 1);
    assert_int_equal(tune(f, "shared_scale", 1000, (tilus_tune_params){0}, &k, &r), TILUS_OK);
    assert_int_equal(r.excluded, 1);
    assert_int_equal(r.known, 1);
    shut(f);
}

static void stops(void **s) {
    fixture *const f = *s;
    open_on(f, "vgpu", f->db);
    seen k = {.stop_after = 2};
    tilus_tune_result r;
    assert_int_equal(tune(f, "scale", 1000, (tilus_tune_params){.jobs = 1}, &k, &r), TILUS_OK);
    assert_true(r.interrupted);
    assert_int_equal(r.timed, 2);
    assert_true(r.cost > 0 && *r.best);
    shut(f);
    open_on(f, "vgpu", f->db);
    k = (seen){.stop_after = -1};
    assert_int_equal(tune(f, "scale", 1000, (tilus_tune_params){.jobs = 1}, &k, &r), TILUS_OK);
    assert_false(r.interrupted);
    assert_int_equal(r.known, 2);
    assert_int_equal(r.timed, 2);
    assert_int_equal(r.wrong, 2);
    check_y(f, 1000);
    shut(f);
}

static void misbehave(const char *values) {
    if (strstr(values, "BLOCK=128 W=4 BAD=0")) abort();
    if (strstr(values, "BLOCK=256 W=1")) pause();
    if (strstr(values, "BLOCK=256 W=4 BAD=0")) _exit(0);
}

static void children(void **s) {
    fixture *const f = *s;
    open_on(f, "vgpu", f->db);
    rt_tune_before_compile = misbehave;
    seen k = {.stop_after = -1};
    tilus_tune_result r;
    assert_int_equal(
        tune(f, "scale", 1000, (tilus_tune_params){.jobs = 3, .compile_seconds = 2}, &k, &r),
        TILUS_OK);
    assert_int_equal(r.failed, 3);
    assert_int_equal(r.timed + r.wrong, 3);
    // an interruption ends children that hang
    k = (seen){.stop_after = 0};
    assert_int_equal(tune(f, "scale", 1002, (tilus_tune_params){.jobs = 8}, &k, &r), TILUS_OK);
    assert_true(r.interrupted && r.cost < 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // none is left
    shut(f);
}

static void mistakes(void **s) {
    fixture *const f = *s;
    open_on(f, "vgpu", "none");
    seen k = {.stop_after = -1};
    tilus_tune_result r;
    assert_int_equal(tune(f, "skale", 10, (tilus_tune_params){0}, &k, &r), TILUS_NOT_FOUND);
    assert_int_equal(tune(f, "scale", N + 1, (tilus_tune_params){0}, &k, &r),
                     TILUS_OK); // refused by the launch
    assert_int_equal(r.failed, 6);
    assert_int_equal(tune(f, "scale", 10,
                          (tilus_tune_params){.metas = &(tilus_meta){"Q", "4"}, .nmetas = 1}, &k,
                          &r),
                     TILUS_COMPILE_ERROR);
    assert_int_equal(tune(f, "scale", 10,
                          (tilus_tune_params){.metas = &(tilus_meta){"W", "("}, .nmetas = 1}, &k,
                          &r),
                     TILUS_COMPILE_ERROR);
    assert_int_equal(
        tune(f, "scale", 10,
             (tilus_tune_params){.metas = &(tilus_meta){"BLOCK", "131072"}, .nmetas = 1}, &k, &r),
        TILUS_COMPILE_ERROR);
    assert_int_equal(tune(f, "scale", 10, (tilus_tune_params){.nmetas = 1}, &k, &r),
                     TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_tune(f->m, "scale", NULL, (tilus_arg[]){tilus_int(1)}, 1, &r),
                     TILUS_INVALID_ARGUMENT);
    const int stranger = 0;
    const tilus_arg a[] = {tilus_int(1), tilus_pointer(&stranger), tilus_pointer(f->dy)};
    assert_int_equal(tilus_tune(f->m, "scale", NULL, a, 3, &r), TILUS_INVALID_ARGUMENT);
    assert_non_null(strstr(tilus_error(f->c), "'x' is not known"));
    assert_int_equal(tilus_tune(f->m, "scale", NULL, NULL, 3, &r), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_tune(NULL, "scale", NULL, NULL, 0, &r), TILUS_INVALID_ARGUMENT);
    shut(f);
    tilus_context *vm;
    tilus_module *m;
    assert_int_equal(tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VM}, &vm),
                     TILUS_OK);
    assert_int_equal(tilus_module_from_source(vm, NULL, program, sizeof program - 1, &m), TILUS_OK);
    assert_int_equal(tilus_tune(m, "scale", NULL, NULL, 0, &r), TILUS_UNSUPPORTED);
    tilus_context_destroy(vm);
    assert_int_equal(
        tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VGPU}, &vm), TILUS_OK);
    assert_int_equal(tilus_module_from_source(vm, NULL, program, sizeof program - 1, &m), TILUS_OK);
    assert_int_equal(tilus_tune(m, "scale", NULL, NULL, 0, &r), TILUS_UNSUPPORTED);
    tilus_context_destroy(vm);
}

/// Times come from events; every call of the driver fails once.
static void failing_driver(void **s) {
    fixture *const f = *s;
    seen k = {.stop_after = -1};
    tilus_tune_result r;
    open_on(f, "null", "none");
    assert_int_equal(tune(f, "scale", N, (tilus_tune_params){.point_seconds = 0.001}, &k, &r),
                     TILUS_OK);
    assert_int_equal(r.timed, 6); // nothing is computed, nothing is wrong
    assert_string_equal(r.unit, "us");
    assert_true(r.cost > 0 && f->null.count[RT_CALL_graph_launch] > 0);
    shut(f);
    static const int calls[] = {RT_CALL_launch,
                                RT_CALL_graph_launch,
                                RT_CALL_graph_instantiate,
                                RT_CALL_stream_capture_begin,
                                RT_CALL_stream_capture_end,
                                RT_CALL_event_record,
                                RT_CALL_event_elapsed,
                                RT_CALL_event_create,
                                RT_CALL_stream_create,
                                RT_CALL_mem_alloc,
                                RT_CALL_copy_any,
                                RT_CALL_copy_d2h,
                                RT_CALL_module_load,
                                RT_CALL_mem_info,
                                RT_CALL_stream_synchronize};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int at = 1; at < 40; at += 1 + at / 2) {
            rt_null_init(&f->null);
            open_on(f, "null", "none");
            f->null.fail_at[calls[i]] = f->null.count[calls[i]] + at;
            f->null.error[calls[i]] = 700;
            k = (seen){.stop_after = -1};
            const tilus_status st =
                tune(f, "scale", N, (tilus_tune_params){.point_seconds = 0.0001}, &k, &r);
            if (st != TILUS_OK) assert_true(*tilus_error(f->c));
            shut(f);
            assert_int_equal(f->null.live, 0);
            assert_int_equal(f->null.depth, 0);
        }
}

static void no_memory(void **s) {
    fixture *const f = *s;
    rt_driver d;
    rt_null_driver(&d, &f->null);
    bool done = false;
    for (long left = 0; !done && left < 4000; left += 1 + left / 6) {
        counter n = {.left = left};
        const tilus_allocator a = {count_alloc, count_release, &n};
        tilus_context *c;
        tilus_module *m;
        if (rt_context_create(
                &(tilus_context_params){.device = TILUS_DEVICE_CUDA, .alloc = &a, .tune_db = f->db},
                &d, &c) == TILUS_OK) {
            void *x, *y;
            if (tilus_module_from_source(c, "scale.tvm", program, sizeof program - 1, &m) ==
                    TILUS_OK &&
                tilus_alloc(c, 4 * N, &x) == TILUS_OK && tilus_alloc(c, 4 * N, &y) == TILUS_OK) {
                const tilus_arg args[] = {tilus_int(N), tilus_pointer(x), tilus_pointer(y)};
                tilus_tune_result r;
                const tilus_status st = tilus_tune(
                    m, "shared_scale", &(tilus_tune_params){.point_seconds = 0.0001}, args, 3, &r);
                tilus_kernel *kernel;
                tilus_dispatch *t;
                done = st == TILUS_OK &&
                       tilus_kernel_get_for(m, "scale", NULL, 0, args, 3, &kernel) == TILUS_OK &&
                       tilus_dispatch_create(
                           m, &(tilus_dispatch_params){.kernel = "shared_scale", .scalar = "n"},
                           &t) == TILUS_OK;
            }
            tilus_context_destroy(c);
        }
        assert_int_equal(n.live, 0);
    }
    assert_true(done);
}

// ---- choices ------------------------------------------------------------------------------------

/// Stores results as if the points had been timed.
static void remember(fixture *f, const char *shape, const char *values, double cost) {
    rt_options o = rt_kernel_options(f->m, "scale", 0, NULL);
    o.stage = RT_STAGE_CHECK;
    rt_compilation *const x = rt_compilation_new(NULL, &o);
    if (!x || setjmp(x->oom)) fail();
    assert_int_equal(rt_load(x), RT_OK);
    rt_tuner *const t = f->c->tuner;
    const rt_tune_target *const at = rt_tuner_target(t);
    const rt_tune_row key = {.program = "scale.tvm",
                             .kernel = "scale",
                             .source = rt_tune_source(x->eval, x->module, x->module->tree->kid[0]),
                             .metas = "T=f32",
                             .shape = shape,
                             .gpu = at->gpu,
                             .arch = at->arch,
                             .compiler = rt_tuner_compiler(t),
                             .unit = "count",
                             .sms = at->sms,
                             .driver = at->driver};
    assert_true(rt_tuner_write(t));
    rt_tuner_put(t, rt_tuner_key(t, &key),
                 &(rt_tune_known){.values = values, .cost = cost, .note = ""});
    rt_compilation_free(x);
}

static const char *entry_for(fixture *f, int n) {
    tilus_kernel *k;
    tilus_kernel_info info;
    const tilus_arg a[] = {tilus_int(n), tilus_pointer(f->dx), tilus_pointer(f->dy)};
    const tilus_status st = n ? tilus_kernel_get_for(f->m, "scale", NULL, 0, a, 3, &k)
                              : tilus_kernel_get(f->m, "scale", NULL, 0, &k);
    if (st != TILUS_OK) fail_msg("%s", tilus_error(f->c));
    tilus_kernel_describe(k, &info);
    return info.entry;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void choices(void **s) {
    fixture *const f = *s;
    open_on(f, "vgpu", f->db);
    remember(f, "n=100", "BLOCK=256 W=1 BAD=0", 10);
    remember(f, "n=1000", "BLOCK=128 W=4 BAD=0", 20);
    remember(f, "n=2000", "BLOCK=128 W=4 BAD=0", 30);
    remember(f, "n=4000", "BLOCK=512 W=4 BAD=0", 30); // no point of the space: of an older program
    shut(f);
    open_on(f, "vgpu", f->db);
    assert_string_equal(entry_for(f, 1), "scale__BLOCK_256_W_1_BAD_0");
    assert_string_equal(entry_for(f, 150), "scale__BLOCK_256_W_1_BAD_0");
    assert_string_equal(entry_for(f, 900), "scale__BLOCK_128_W_4_BAD_0");
    assert_string_equal(entry_for(f, 100000), "scale__BLOCK_128_W_4_BAD_0");
    assert_string_equal(entry_for(f, 0), "scale__BLOCK_128_W_4_BAD_0"); // of most shapes

    tilus_dispatch *d;
    tilus_kernel *k[2];
    int64_t from[2];
    assert_int_equal(
        tilus_dispatch_create(f->m, &(tilus_dispatch_params){.kernel = "scale", .scalar = "n"}, &d),
        TILUS_OK);
    assert_int_equal(tilus_dispatch_count(d), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(tilus_dispatch_at(d, i, &from[i], &k[i]), TILUS_OK);
    assert_int_equal(tilus_dispatch_at(d, 2, NULL, NULL), TILUS_INVALID_ARGUMENT);
    assert_true(from[0] == INT64_MIN && from[1] == 317); // the square root of 100 * 1000 is 316.2
    assert_ptr_equal(tilus_dispatch_find(d, -5), k[0]);
    assert_ptr_equal(tilus_dispatch_find(d, 316), k[0]);
    assert_ptr_equal(tilus_dispatch_find(d, 317), k[1]);
    assert_ptr_equal(tilus_dispatch_find(d, INT64_MAX), k[1]);
    for (int n = 300; n < 330; n += 17) {
        assert_int_equal(tilus_fill(f->c, f->dy, 0xff, sizeof f->y, NULL), TILUS_OK);
        assert_int_equal(tilus_dispatch_launch(d, NULL,
                                               (tilus_arg[]){tilus_int(n), tilus_pointer(f->dx),
                                                             tilus_pointer(f->dy)},
                                               3),
                         TILUS_OK);
        check_y(f, n);
    }
    assert_int_equal(tilus_dispatch_launch(d, NULL, (tilus_arg[]){tilus_float(1)}, 1),
                     TILUS_INVALID_ARGUMENT);
    tilus_dispatch_destroy(d);

    // a larger table: right at every border, and fast
    int64_t value[64];
    for (int i = 0; i < 64; i++) value[i] = 1 + 40 * i;
    const tilus_dispatch_params p = {
        .kernel = "scale", .scalar = "n", .values = value, .nvalues = 64};
    assert_int_equal(tilus_dispatch_create(f->m, &p, &d), TILUS_OK);
    assert_int_equal(tilus_dispatch_count(d), 2);
    for (int i = 0; i < 64; i++) { // at the values themselves it is the choice for that shape
        tilus_kernel *want;
        const tilus_arg a[] = {tilus_int(value[i]), tilus_pointer(f->dx), tilus_pointer(f->dy)};
        assert_int_equal(tilus_kernel_get_for(f->m, "scale", NULL, 0, a, 3, &want), TILUS_OK);
        tilus_kernel_info x, y;
        tilus_kernel_describe(want, &x);
        tilus_kernel_describe(tilus_dispatch_find(d, value[i]), &y);
        assert_string_equal(x.entry, y.entry);
    }
    enum { LOOKUPS = 1000000 };
    double best = 1;
    for (int round = 0; round < 5; round++) {
        size_t hits = 0;
        const double t = now();
        for (int i = 0; i < LOOKUPS; i++)
            hits += tilus_dispatch_find(d, (int64_t)(rng() & 4095)) == k[0];
        const double took = (now() - t) / LOOKUPS;
        assert_true(hits > 0);
        if (took < best) best = took;
    }
    print_message("# dispatch: %.1f ns a lookup\n", 1e9 * best);
    assert_true(best < 1e-6);
    // mistakes
    tilus_dispatch *e;
    assert_int_equal(
        tilus_dispatch_create(f->m, &(tilus_dispatch_params){.kernel = "scale", .scalar = "q"}, &e),
        TILUS_INVALID_ARGUMENT);
    assert_int_equal(
        tilus_dispatch_create(f->m, &(tilus_dispatch_params){.kernel = "scale", .scalar = "x"}, &e),
        TILUS_INVALID_ARGUMENT);
    assert_int_equal(
        tilus_dispatch_create(f->m, &(tilus_dispatch_params){.kernel = "skale", .scalar = "n"}, &e),
        TILUS_NOT_FOUND);
    assert_int_equal(tilus_dispatch_create(f->m, &(tilus_dispatch_params){.kernel = "scale"}, &e),
                     TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_dispatch_create(f->m,
                                           &(tilus_dispatch_params){.kernel = "scale",
                                                                    .scalar = "n",
                                                                    .values = (int64_t[]){4, 4},
                                                                    .nvalues = 2},
                                           &e),
                     TILUS_INVALID_ARGUMENT);
    assert_null(e);
    assert_null(tilus_dispatch_find(NULL, 1));
    assert_int_equal(tilus_dispatch_launch(NULL, NULL, NULL, 0), TILUS_INVALID_ARGUMENT);
    shut(f); // the table is destroyed with its module

    open_on(f, "vgpu", "none");
    assert_string_equal(entry_for(f, 0), "scale__BLOCK_128_W_1_BAD_0"); // the first legal point
    shut(f);
    open_on(f, "null", f->db); // counts say nothing of a GPU
    assert_string_equal(entry_for(f, 150), "scale__BLOCK_128_W_1_BAD_0");
    shut(f);
}

/// The kernel cache knows that a choice has changed.
static void cached_choices(void **s) {
    fixture *const f = *s;
    for (int round = 0; round < 3; round++) {
        const tilus_vgpu_params v = {.threads = 1};
        const tilus_context_params p = {
            .device = TILUS_DEVICE_VGPU, .vgpu = &v, .tune_db = f->db, .cache_dir = f->dir};
        assert_int_equal(tilus_context_create(&p, &f->c), TILUS_OK);
        assert_int_equal(
            tilus_module_from_source(f->c, "scale.tvm", program, sizeof program - 1, &f->m),
            TILUS_OK);
        if (round == 1) remember(f, "n=100", "BLOCK=256 W=4 BAD=0", 10);
        tilus_kernel *k;
        tilus_kernel_info info;
        assert_int_equal(tilus_kernel_get(f->m, "scale", NULL, 0, &k), TILUS_OK);
        tilus_kernel_describe(k, &info);
        assert_string_equal(info.entry,
                            round ? "scale__BLOCK_256_W_4_BAD_0" : "scale__BLOCK_128_W_1_BAD_0");
        assert_int_equal(info.from_cache, round == 2);
        shut(f);
    }
}

int main(void) {
    cmocka_set_message_output(CM_OUTPUT_TAP);
    signal(SIGPIPE, SIG_IGN);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(rows),      TEST(database), TEST(bad_databases),
                                       TEST(damage),    TEST(searches), TEST(stops),
                                       TEST(children),  TEST(mistakes), TEST(failing_driver),
                                       TEST(no_memory), TEST(choices),  TEST(cached_choices)};
    return cmocka_run_group_tests_name("tune", tests, NULL, NULL);
}
