// SPDX-License-Identifier: Apache-2.0
// A kernel and its arguments on the command line, as run, profile and tune take them. They become a test
// block (`let` and `var` for the arguments, `run`, checks), so that values are written and checked as in
// programs.
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "tools/tool.h"

enum { KEY_CHECK = 1000, KEY_LET, KEY_BEFORE };
typedef tool_call command;

static error_t add(struct argp_state *s, const char *list[TOOL_MAX_LIST], uint32_t *n, const char *text) {
    if (*n == TOOL_MAX_LIST) argp_error(s, "more than %d of one kind", TOOL_MAX_LIST);
    else list[(*n)++] = text;
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *s) {
    command *const c = s->input;
    switch (key) {
    case 'o':
        if (!strchr(arg, '=') || *arg == '=') argp_error(s, "-o takes NAME=FILE, not '%.100s'", arg);
        return add(s, c->outs, &c->nouts, arg);
    case KEY_CHECK: return add(s, c->checks, &c->nchecks, arg);
    case KEY_BEFORE: return add(s, c->befores, &c->nbefores, arg);
    case KEY_LET:
        if (!strchr(arg, '=') || *arg == '=') argp_error(s, "--let takes NAME=VALUE, not '%.100s'", arg);
        return add(s, c->lets, &c->nlets, arg);
    case ARGP_KEY_ARG:
        if (!c->file) c->file = arg;
        else if (!c->kernel) c->kernel = arg;
        else return add(s, c->args, &c->nargs, arg);
        return 0;
    case ARGP_KEY_END:
        if (!c->kernel && !c->optional) argp_error(s, "a file and the name of a kernel are needed");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}
static const struct argp_option options[] = {
    {"output", 'o', "NAME=FILE", 0, "Write tensor NAME after the run to a .npy or .safetensors file, or print it (-)", 1},
    {"check", KEY_CHECK, "STATEMENT", 0, "An expectation over the arguments, such as 'expect_close(c, ref.matmul(a, b))'", 1},
    {"let", KEY_LET, "NAME=VALUE", 0, "A name for use in other values and in checks", 1},
    {"before", KEY_BEFORE, "STATEMENT", 0, "A statement before the run, such as 'run pack[u4](k, n, w, b)'", 1},
    {0}};
const struct argp tool_call_argp = {.options = options, .parser = parse};

// ---- the test block -----------------------------------------------------------------------------

static const ast *find_kernel(command *c) {
    const ast *const tree = c->x->module->tree;
    vm_arena *const a = c->x->comp->arena;
    VM_VEC(const char *) names = {0};
    for (uint32_t i = 0; i < tree->nkids; i++) {
        const ast *const k = tree->kid[i];
        if (k->kind != AST_KERNEL) continue;
        if (!strcmp(k->name, c->kernel)) return k;
        vm_push(a, &names, k->name);
    }
    const char *const near = vm_nearest(c->kernel, names.at, names.n);
    vm_text t = {.arena = a};
    for (uint32_t i = 0; i < names.n && i < 20; i++) vm_put(&t, "%s%s", i ? ", " : "", names.at[i]);
    if (near) tool_error("'%s' has no kernel '%s'; did you mean '%s'?", c->file, c->kernel, near);
    else tool_error("'%s' has no kernel '%s'%s%s", c->file, c->kernel, names.n ? "; it has " : "", names.n ? vm_text_end(&t) : "");
    return NULL;
}

/// Length of NAME in "NAME=…"; 0 if the text does not begin so.
static size_t name_of(const char *text) {
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_') n++;
    return n && !isdigit((unsigned char)*text) && text[n] == '=' && text[n + 1] != '=' ? n : 0;
}

static int param_index(const ast *params, const char *name, size_t n) {
    for (uint32_t i = 0; params && i < params->nkids; i++)
        if (strlen(params->kid[i]->name) == n && !strncmp(params->kid[i]->name, name, n)) return (int)i;
    return -1;
}

static bool is_let(const command *c, const char *name, size_t n) {
    for (uint32_t i = 0; i < c->nlets; i++)
        if (!strncmp(c->lets[i], name, n) && c->lets[i][n] == '=') return true;
    return false;
}

static bool is_tensor(const ast *param) { return param->nkids && param->kid[0] && param->kid[0]->kind == AST_SPACE; }

static const char *signature(command *c, const ast *params) {
    const vm_source *const s = vm_source_at(c->x->comp, params->span.file);
    vm_text t = {.arena = c->x->comp->arena};
    for (uint32_t i = 0; i < params->nkids; i++) {
        const ast *const type = params->kid[i]->kid[0];
        vm_put(&t, "%s%s: %.*s", i ? ", " : "", params->kid[i]->name, (int)(type->span.hi - type->span.lo), s->text + type->span.lo);
    }
    return t.n ? vm_text_end(&t) : "no parameters";
}

/// Puts "let name = value;". A file is read and bound under another name. False after a message.
static bool put_value(command *c, vm_text *t, const char *word, const char *name, const char *value) {
    fe_eval *const e = c->x->eval;
    const char *as = strstr(value, " as ");
    const char *file = as ? vm_format(e->arena, "%.*s", (int)(as - value), value) : value;
    if (!tool_tensor_is_file(file)) {
        vm_put(t, "    %s %s = %s;\n", word, name, value);
        return true;
    }
    fe_tensor *const tensor = tool_tensor_read(c->exec, e, name, file);
    if (!tensor) return false;
    fe_value *const v = vm_new(e->arena, fe_value);
    v->kind = FV_TENSOR;
    v->tensor = tensor;
    const char *const bound = vm_intern(e->comp, vm_format(e->arena, "_file_%s", name));
    e->scope = c->x->module->globals;
    fe_bind(e, bound, v, NULL, false, VM_NOWHERE);
    vm_put(t, "    %s %s = %s%s;\n", word, name, bound, as ? as : "");
    return true;
}

/// TOOL_OK or the exit code after a message.
static int block_text(command *c, vm_text *t) {
    vm_arena *const a = c->x->comp->arena;
    const ast *const params = c->node->nkids > 1 ? c->node->kid[1] : NULL;
    const uint32_t n = params ? params->nkids : 0;
    const char **const value = vm_newn(a, const char *, n + 1);
    const char *const *names = NULL;
    VM_VEC(const char *) all = {0};
    for (uint32_t i = 0; i < n; i++) vm_push(a, &all, params->kid[i]->name);
    names = all.at;
    for (uint32_t i = 0, next = 0; i < c->nargs; i++) {
        const size_t len = name_of(c->args[i]);
        int p;
        if (len) {
            p = param_index(params, c->args[i], len);
            if (p < 0) {
                const char *const near = vm_nearest(vm_format(a, "%.*s", (int)len, c->args[i]), names, n);
                return tool_usage("'%s' has no parameter '%.*s'%s%s%s: %s", c->kernel, (int)len, c->args[i], near ? "; did you mean '" : "",
                                  near ? near : "", near ? "'?" : "", signature(c, params ? params : c->node));
            }
        } else {
            while (next < n && value[next]) next++;
            if (next == n) return tool_usage("too many arguments: '%s' takes %u: %s", c->kernel, n, n ? signature(c, params) : "none");
            p = (int)next;
        }
        if (value[p]) return tool_usage("parameter '%s' is given twice", names[p]);
        value[p] = c->args[i] + (len ? len + 1 : 0);
        if (!*value[p]) return tool_usage("parameter '%s' has no value", names[p]);
    }
    for (uint32_t i = 0; i < n; i++)
        if (!value[i]) return tool_usage("no value for parameter '%s' of '%s': %s", names[i], c->kernel, signature(c, params));
    vm_put(t, "test \"run\" {\n");
    for (uint32_t i = 0; i < c->o->rt.ndefine; i++) { // values may use them: u8[n * bits(Q) / 8]
        const char *const d = c->o->define[i], *const eq = strchr(d, '=');
        if (param_index(params, d, (size_t)(eq - d)) < 0 && !is_let(c, d, (size_t)(eq - d)))
            vm_put(t, "    let %.*s = %s;\n", (int)(eq - d), d, eq + 1);
    }
    for (uint32_t i = 0; i < c->nlets; i++) {
        const char *const eq = strchr(c->lets[i], '=');
        if (!put_value(c, t, "let", vm_format(a, "%.*s", (int)(eq - c->lets[i]), c->lets[i]), eq + 1)) return TOOL_USAGE;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!put_value(c, t, is_tensor(params->kid[i]) ? "var" : "let", names[i], value[i])) return TOOL_USAGE;
    for (uint32_t i = 0; i < c->nbefores; i++) vm_put(t, "    %s;\n", c->befores[i]);
    vm_put(t, "    run %s", c->kernel);
    for (uint32_t i = 0; i < c->o->rt.ndefine; i++) vm_put(t, "%s%s", i ? ", " : "[", c->o->define[i]);
    vm_put(t, "%s(", c->o->rt.ndefine ? "]" : "");
    for (uint32_t i = 0; i < n; i++) vm_put(t, "%s%s", i ? ", " : "", names[i]);
    vm_put(t, ");\n");
    for (uint32_t i = 0; i < c->nchecks; i++) vm_put(t, "    %s;\n", c->checks[i]);
    vm_put(t, "}\n");
    for (uint32_t i = 0; i < c->nouts; i++) {
        const char *const eq = strchr(c->outs[i], '=');
        const int p = param_index(params, c->outs[i], (size_t)(eq - c->outs[i]));
        if (p < 0 || !is_tensor(params->kid[p]))
            return tool_usage("-o: '%s' has no tensor '%.*s': %s", c->kernel, (int)(eq - c->outs[i]), c->outs[i], signature(c, params ? params : c->node));
        if (strcmp(eq + 1, "-") != 0 && !tool_ends(eq, ".npy") && !tool_ends(eq, ".safetensors"))
            return tool_usage("-o: the file is a .npy or .safetensors, or '-' to print, not '%s'", eq + 1);
    }
    return TOOL_OK;
}

// ---- before and after the run -------------------------------------------------------------------

static void print_tensor(const fe_tensor *t) {
    const size_t row = t->rank ? (size_t)t->dim[t->rank - 1] : 1;
    for (size_t i = 0; i < t->n; i++) {
        uint64_t code = 0;
        memcpy(&code, (const char *)t->cells + i * vm_cell(t->type), vm_cell(t->type));
        if (vm_is_float(t->type)) printf("%.9g", vm_decode(t->type, code));
        else if (t->type == T_u64) printf("%" PRIu64, code);
        else printf("%" PRId64, vm_decode_int(t->type, code));
        putchar((i + 1) % (row ? row : 1) ? ' ' : '\n');
    }
}

int tool_call_write(command *c) {
    const ast *const params = c->node->kid[1];
    fe_eval *const e = c->x->eval;
    int code = TOOL_OK;
    for (uint32_t i = 0; i < c->nouts; i++) {
        if (!c->outs[i]) continue;
        const char *const path = strchr(c->outs[i], '=') + 1;
        tool_named *const t = vm_newn(e->arena, tool_named, c->nouts);
        uint32_t n = 0;
        for (uint32_t k = i; k < c->nouts; k++) {
            const char *const eq = c->outs[k] ? strchr(c->outs[k], '=') : NULL;
            if (!eq || strcmp(eq + 1, path) != 0) continue;
            const int p = param_index(params, c->outs[k], (size_t)(eq - c->outs[k]));
            if (c->results && c->results[p]->kind == FV_TENSOR)
                t[n++] = (tool_named){.name = params->kid[p]->name, .tensor = c->results[p]->tensor};
            c->outs[k] = NULL;
        }
        if (!strcmp(path, "-"))
            for (uint32_t k = 0; k < n; k++) print_tensor(t[k].tensor);
        else if (!tool_tensors_write(c->exec, e, path, n, t)) code = TOOL_USAGE;
    }
    return code;
}

/// Reads the program.
static int load(command *c) {
    if (setjmp(c->x->oom)) return tool_usage("out of memory");
    enum rt_result r = rt_load(c->x);
    if (r == RT_OK && !c->x->module) return tool_usage("'%s' is no program", c->file);
    if (r == RT_OK && c->x->comp->nerrors) r = RT_ERRORS;
    return r != RT_OK || c->x->comp->diags ? tool_report(c->x, c->o, r) : TOOL_OK;
}

int tool_call_load(command *c) {
    rt_options opt = c->o->rt;
    opt.name = c->file;
    opt.arch = tool_exec_arch(c->exec);
    opt.stage = RT_STAGE_CHECK;
    opt.ndefine = 0; // they go into the run statement
    c->results = NULL;
    c->x = rt_compilation_new(NULL, &opt);
    return c->x ? load(c) : tool_usage("out of memory");
}

void tool_call_keep(command *c, fe_eval *e, const fe_args *args) {
    c->results = vm_newn(e->arena, fe_value *, args->n + 1);
    for (uint32_t i = 0; i < args->n; i++) c->results[i] = args->at[i].v;
}

const ast *tool_call_block(command *c, int *code) {
    rt_compilation *const x = c->x;
    vm_comp *const comp = x->comp;
    comp->diags = comp->last_diag = NULL; // shown
    *code = TOOL_FAILED;
    c->node = find_kernel(c);
    if (!c->node) return NULL;
    vm_text t = {.arena = comp->arena};
    *code = block_text(c, &t);
    if (*code) return NULL;
    const uint32_t file = vm_source_add(comp, "<command line>", vm_text_end(&t), t.n);
    const ast *const tree = fe_parse(comp, file);
    if (comp->nerrors) *code = tool_report(x, c->o, RT_ERRORS);
    else if (tree->nkids != 1 || tree->kid[0]->kind != AST_TEST) *code = tool_usage("a value or check is not an expression");
    return *code ? NULL : tree->kid[0];
}
