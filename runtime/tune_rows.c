// SPDX-License-Identifier: Apache-2.0
// Rows of tuning results: as text (the library's own are a CSV file among the programs), compared
// with the points of a kernel's space, and the choice of a point by them.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/tune.h"

// ---- pairs --------------------------------------------------------------------------------------

void rt_tune_pair(vm_text *t, const char *name, const char *value) {
    vm_put(t, "%s%s=%s", t->n ? " " : "", name, value);
}

const char *rt_tune_value(const char *pairs, const char *name, size_t *n) {
    const size_t len = strlen(name);
    for (const char *p = pairs; *p;) {
        const size_t word = strcspn(p, " ");
        if (word > len && p[len] == '=' && !strncmp(p, name, len)) {
            *n = word - len - 1;
            return p + len + 1;
        }
        p += word + (p[word] == ' ');
    }
    return NULL;
}

const char *rt_tune_meta(fe_eval *e, const fe_value *v) {
    const char *const s = v->kind == FV_STRING ? v->s : fe_describe(e, v);
    char *const out = vm_newn(e->arena, char, strlen(s) + 1);
    char *to = out;
    for (const char *p = s; *p; p++)
        if (*p != ' ' && *p != '\n') *to++ = *p;
    return out;
}

const char *rt_tune_values(fe_eval *e, const fe_instance *k) {
    vm_text t = {.arena = e->arena};
    for (uint32_t i = 0; i < k->nmeta; i++)
        if (k->tuned[i]) rt_tune_pair(&t, k->meta_name[i], rt_tune_meta(e, k->meta[i]));
    return t.n ? vm_text_end(&t) : "";
}

const char *rt_tune_fixed(fe_eval *e, uint32_t n, fe_instance *const *point) {
    vm_text t = {.arena = e->arena};
    for (uint32_t i = 0; n && i < point[0]->nmeta; i++) {
        bool same = !point[0]->tuned[i];
        const char *const value = same ? rt_tune_meta(e, point[0]->meta[i]) : "";
        for (uint32_t p = 1; same && p < n; p++)
            same = fe_equal(point[0]->meta[i], point[p]->meta[i]);
        if (same)
            rt_tune_pair(&t, point[0]->meta_name[i], value); // others follow from what is tuned
    }
    return t.n ? vm_text_end(&t) : "";
}

const char *rt_tune_shape(vm_arena *a, const ast *kernel, uint32_t n, const int64_t *value,
                          const bool *is_int) {
    const ast *const params = kernel->nkids > 1 ? kernel->kid[1] : NULL;
    vm_text t = {.arena = a};
    for (uint32_t i = 0; params && i < params->nkids && i < n; i++) {
        char number[32];
        if (is_int && !is_int[i]) continue;
        snprintf(number, sizeof number, "%lld", (long long)value[i]);
        rt_tune_pair(&t, params->kid[i]->name, number);
    }
    return t.n ? vm_text_end(&t) : "";
}

double rt_tune_distance(const char *a, const char *b) {
    double sum = 0;
    uint32_t names = 0;
    for (const char *p = a; *p;) {
        const size_t word = strcspn(p, " "), len = strcspn(p, "=");
        char name[128];
        size_t n;
        if (len >= word || len >= sizeof name) return -1;
        memcpy(name, p, len);
        name[len] = 0;
        const char *const other = rt_tune_value(b, name, &n);
        if (!other) return -1;
        const double x = strtod(p + len + 1, NULL), y = strtod(other, NULL);
        const double d = log1p(x > 0 ? x : 0) - log1p(y > 0 ? y : 0);
        sum += x != y && d == 0 ? 1e-12 : d * d;
        names++;
        p += word + (p[word] == ' ');
    }
    for (const char *p = b; *p; p += strcspn(p, " "), p += *p == ' ') names--;
    return names ? -1 : sum;
}

// ---- CSV ----------------------------------------------------------------------------------------

enum { PROGRAM, KERNEL, METAS, SHAPE, GPU, ARCH, SMS, VALUES, COST, UNIT, COLUMNS };
static const char *const columns[COLUMNS] = {"program", "kernel", "metas",  "shape", "gpu",
                                             "arch",    "sms",    "values", "cost",  "unit"};

static void put_field(vm_text *t, int column, const char *s) {
    if (column) vm_put(t, ",");
    if (!strpbrk(s, ",\"\n")) {
        vm_put(t, "%s", s);
        return;
    }
    vm_put(t, "\"");
    for (; *s; s++) vm_put(t, *s == '"' ? "\"\"" : "%c", *s);
    vm_put(t, "\"");
}

const char *rt_tune_csv(vm_arena *a, const rt_tune_rows *rows) {
    vm_text t = {.arena = a};
    for (int i = 0; i < COLUMNS; i++) put_field(&t, i, columns[i]);
    vm_put(&t, "\n");
    for (uint32_t i = 0; i < rows->n; i++) {
        const rt_tune_row *const r = &rows->at[i];
        const char *const field[COLUMNS] = {
            [PROGRAM] = r->program,
            [KERNEL] = r->kernel,
            [METAS] = r->metas,
            [SHAPE] = r->shape,
            [GPU] = r->gpu,
            [ARCH] = r->arch,
            [SMS] = vm_format(a, "%d", r->sms),
            [VALUES] = r->best,
            [COST] = vm_format(a, strcmp(r->unit, "us") ? "%.0f" : "%.3f", r->cost),
            [UNIT] = r->unit};
        for (int k = 0; k < COLUMNS; k++) put_field(&t, k, field[k]);
        vm_put(&t, "\n");
    }
    return vm_text_end(&t);
}

/// One field from *p on; *p is then behind its separator. NULL: the line has no more.
static const char *take_field(const char **p, const char *end, vm_arena *a) {
    const char *s = *p;
    if (s > end) return NULL;
    vm_text t = {.arena = a};
    if (s < end && *s == '"') {
        for (s++; s < end; s++) {
            if (*s == '"' && (s + 1 == end || s[1] != '"')) break;
            s += *s == '"';
            vm_putn(&t, s, 1);
        }
        while (s < end && *s != ',') s++;
    } else {
        while (s < end && *s != ',') s++;
        vm_putn(&t, *p, (size_t)(s - *p));
    }
    *p = s + 1;
    return t.n ? vm_text_end(&t) : "";
}

void rt_tune_parse(const char *text, size_t size, const char *kernel, vm_arena *a,
                   rt_tune_rows *out) {
    const char *const stop = text + size;
    for (const char *line = text; line < stop;) {
        const char *const nl = memchr(line, '\n', (size_t)(stop - line));
        const char *const next = nl ? nl + 1 : stop;
        const char *end = nl ? nl : stop, *p = line, *field[COLUMNS];
        if (end > line && end[-1] == '\r') end--;
        line = next;
        // most lines are of other kernels: those are not copied
        const char *const comma = memchr(p, ',', (size_t)(end - p));
        const size_t len = kernel ? strlen(kernel) : 0;
        if (kernel && (!comma || (size_t)(end - comma) < len + 2 ||
                       strncmp(comma + 1, kernel, len) != 0 || comma[len + 1] != ','))
            continue;
        int n = 0;
        while (n < COLUMNS && (field[n] = take_field(&p, end, a))) n++;
        char *bad = NULL;
        const double cost = n == COLUMNS ? strtod(field[COST], &bad) : -1;
        if (n < COLUMNS || bad == field[COST] || *bad || !(cost >= 0)) continue;
        vm_push(a, out,
                ((rt_tune_row){.program = field[PROGRAM],
                               .kernel = field[KERNEL],
                               .source = "",
                               .metas = field[METAS],
                               .shape = field[SHAPE],
                               .gpu = field[GPU],
                               .arch = field[ARCH],
                               .compiler = "",
                               .unit = field[UNIT],
                               .sms = atoi(field[SMS]),
                               .best = field[VALUES],
                               .cost = cost}));
    }
}

// ---- what a kernel is ---------------------------------------------------------------------------

bool rt_is_tuned(const ast *kernel, const char *name) {
    const ast *const clauses = kernel->nkids > 2 ? kernel->kid[2] : NULL;
    for (uint32_t i = 0; clauses && i < clauses->nkids; i++) {
        const ast *const c = clauses->kid[i];
        for (uint32_t k = 0; c && c->kind == AST_TUNE && k < c->nkids; k++)
            for (uint32_t j = 0; c->kid[k]->kind == AST_TUNE_IN && j < c->kid[k]->nnames; j++)
                if (!name || !strcmp(c->kid[k]->names[j], name)) return true;
    }
    return false;
}

static void put_tree(fe_eval *e, vm_text *t, const ast *a) {
    if (a)
        vm_put(t, "%s", fe_ast_text(e->comp, a));
    else
        vm_put(t, "-\n");
}

const char *rt_tune_source(fe_eval *e, const fe_module *m, const ast *kernel) {
    vm_text t = {.arena = e->arena};
    vm_put(&t, "kernel %s\n", kernel->name);
    for (uint32_t i = 0; i < kernel->nkids; i++) {
        const ast *const part = kernel->kid[i];
        if (i != 2 || !part)
            put_tree(e, &t, part);
        else // a larger space has the same points
            for (uint32_t k = 0; k < part->nkids; k++)
                if (part->kid[k]->kind != AST_TUNE) put_tree(e, &t, part->kid[k]);
    }
    put_tree(e, &t, kernel->attrs);
    for (uint32_t i = 0; i < e->modules.n; i++) {
        const ast *const tree = e->modules.at[i]->tree;
        // of files that are open besides (a command line, other tests) nothing can be used
        if (e->modules.at[i] != m && i == 0) continue;
        for (uint32_t k = 0; tree && k < tree->nkids; k++)
            if (tree->kid[k]->kind != AST_KERNEL && tree->kid[k]->kind != AST_TEST)
                put_tree(e, &t, tree->kid[k]);
    }
    const char *const text = vm_text_end(&t);
    uint8_t hash[32];
    cg_hash(&(cg_piece){text, t.n}, 1, hash);
    char hex[33];
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    return vm_strdup(e->arena, hex);
}

const char *rt_tune_program(fe_eval *e, const fe_module *m) {
    const vm_source *const s = vm_source_at(e->comp, m->file);
    const char *const name = s ? s->name : "";
    return strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
}

// ---- choosing -----------------------------------------------------------------------------------

static void library_rows(rt_tuner *t, const char *kernel, vm_arena *a, rt_tune_rows *out) {
    size_t size = 0;
    const char *const text = rt_tuner_is_none(t) ? NULL : rt_embedded("tuned.csv", &size);
    if (text) rt_tune_parse(text, size, kernel, a, out);
}

bool rt_tuner_knows(rt_tuner *t, fe_eval *e, const char *kernel) {
    rt_tune_rows rows = {0};
    rt_tuner_user_rows(t, kernel, e->comp, &rows);
    if (!rows.n) library_rows(t, kernel, e->arena, &rows);
    return rows.n > 0;
}

/// How near the row's machine is to ours: 0 the same, 1 another GPU of the architecture, -1 of no
/// use.
static int machine(const rt_tune_target *t, const rt_tune_row *r) {
    const bool counted = !strcmp(r->unit, "count");
    if (strcmp(r->arch, t->arch) != 0 || (counted && !t->counts)) return -1;
    return (counted == t->counts) && *t->gpu && !strcmp(r->gpu, t->gpu) &&
                   (!t->sms || !r->sms || r->sms == t->sms)
               ? 0
               : 1;
}

/// Whether the row's meta-parameters are those of this space; a row may lack some, of newer
/// programs.
static bool same_metas(const char *row, const char *fixed) {
    for (const char *p = row; *p;) {
        const size_t word = strcspn(p, " "), len = strcspn(p, "=");
        char name[128];
        size_t n;
        if (len >= word || len >= sizeof name) return false;
        memcpy(name, p, len);
        name[len] = 0;
        const char *const v = rt_tune_value(fixed, name, &n);
        if (!v || n != word - len - 1 || strncmp(v, p + len + 1, n) != 0) return false;
        p += word + (p[word] == ' ');
    }
    return true;
}

typedef struct {
    int machine;
    double distance;
    int strange;  // differences of driver and compiler; the library's rows last
    double votes; // without a shape: how many shapes have this best point
    double cost;
} rank;

/// Whether a is the better guide.
static bool better(const rank *a, const rank *b) {
    if (a->machine != b->machine) return a->machine < b->machine;
    if (a->distance != b->distance) return a->distance < b->distance;
    if (a->votes != b->votes) return a->votes > b->votes;
    if (a->strange != b->strange) return a->strange < b->strange;
    return a->cost > b->cost; // the larger problem matters more
}

uint32_t rt_tuner_pick(rt_tuner *t, fe_eval *e, const fe_module *m, const ast *kernel,
                       const char *shape, uint32_t n, fe_instance *const *point) {
    rt_tune_rows rows = {0};
    rt_tuner_user_rows(t, kernel->name, e->comp, &rows);
    const uint32_t mine = rows.n;
    library_rows(t, kernel->name, e->arena, &rows);
    if (!rows.n || !n) return n;
    const rt_tune_target *const target = rt_tuner_target(t);
    const char *const fixed = rt_tune_fixed(e, n, point), *const program = rt_tune_program(e, m);
    const char *const source = mine ? rt_tune_source(e, m, kernel) : "";
    const char **const values = vm_newn(e->arena, const char *, n);
    for (uint32_t i = 0; i < n; i++) values[i] = rt_tune_values(e, point[i]);
    uint32_t *const at = vm_newn(e->arena, uint32_t, rows.n); // point of each row, n: none
    for (uint32_t i = 0; i < rows.n; i++) {
        const rt_tune_row *const r = &rows.at[i];
        at[i] = n;
        if (machine(target, r) < 0 || !same_metas(r->metas, fixed)) continue;
        if (i < mine ? strcmp(r->source, source) != 0 : strcmp(r->program, program) != 0) continue;
        for (uint32_t p = 0; p < n && at[i] == n; p++)
            if (!strcmp(values[p], r->best)) at[i] = p;
    }
    uint32_t best = n;
    rank first = {0};
    for (uint32_t i = 0; i < rows.n; i++) {
        const rt_tune_row *const r = &rows.at[i];
        if (at[i] == n) continue;
        rank k = {.machine = machine(target, r), .cost = r->cost};
        k.strange = i >= mine ? 3
                              : (target->driver && r->driver != target->driver) +
                                    (strcmp(r->compiler, rt_tuner_compiler(t)) != 0);
        if (*shape)
            k.distance = rt_tune_distance(shape, r->shape);
        else
            for (uint32_t j = 0; j < rows.n; j++)
                k.votes += at[j] == at[i] && machine(target, &rows.at[j]) == k.machine;
        if (k.distance < 0 || (best < n && !better(&k, &first))) continue;
        best = at[i];
        first = k;
    }
    return best;
}
