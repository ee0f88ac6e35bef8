// SPDX-License-Identifier: Apache-2.0
// tilusc quantize: a weight from a file to codes of a low-bit type with one scale (and zero point) for
// each group of rows, and optionally packed by the kernel that the matrix product reads.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/tool.h"

enum { KEY_TYPE = 1000, KEY_GROUP, KEY_TRANSPOSE, KEY_ZEROS, KEY_SCALES, KEY_PACK, KEY_ENCODE, KEY_NAME };
typedef struct {
    tool_options o;
    const char *in, *out, *name;
    vm_dtype type, scales;
    bool scales_given, transpose, zeros, pack, encode;
    vm_dtype target; // of encoded bits
    int64_t group;
    tool_exec *exec;
    rt_compilation *x;
} quantizer;

static error_t parse(int key, char *arg, struct argp_state *s) {
    quantizer *const q = s->input;
    switch (key) {
    case ARGP_KEY_INIT:
        s->child_inputs[0] = &q->o;
        s->child_inputs[1] = &q->o;
        return 0;
    case 'o': q->out = arg; return 0;
    case KEY_NAME: q->name = arg; return 0;
    case KEY_TYPE:
        if (!vm_dtype_find(arg, &q->type) || vm_bits(q->type) > 8 || q->type == T_bool || q->type == T_f8e8m0)
            argp_error(s, "--type takes a type of 1 to 8 bits, not '%.50s'", arg);
        return 0;
    case KEY_SCALES:
        if (!vm_dtype_find(arg, &q->scales) || (q->scales != T_f16 && q->scales != T_bf16 && q->scales != T_f32))
            argp_error(s, "--scales takes f16, bf16 or f32, not '%.50s'", arg);
        q->scales_given = true;
        return 0;
    case KEY_GROUP: {
        char *end;
        q->group = strtol(arg, &end, 10);
        if (*end || q->group < 1 || q->group > 1 << 30) argp_error(s, "--group takes a positive number, not '%.50s'", arg);
        return 0;
    }
    case KEY_TRANSPOSE: q->transpose = true; return 0;
    case KEY_ZEROS: q->zeros = true; return 0;
    case KEY_PACK: q->pack = true; return 0;
    case KEY_ENCODE:
        if (!vm_dtype_find(arg, &q->target) || (q->target != T_f16 && q->target != T_bf16))
            argp_error(s, "--encode takes f16 or bf16, not '%.50s'", arg);
        q->pack = q->encode = true;
        return 0;
    case ARGP_KEY_ARG:
        if (q->in) argp_error(s, "one weight at a time, please: '%.100s' is the second", arg);
        q->in = arg;
        return 0;
    case ARGP_KEY_END:
        if (!q->in) argp_error(s, "no weight is given");
        else if (!tool_tensor_is_file(q->in)) argp_error(s, "the weight is a .npy file or FILE.safetensors:TENSOR, not '%.100s'", q->in);
        else if (!q->out || (!tool_ends(q->out, ".npy") && !tool_ends(q->out, ".safetensors")))
            argp_error(s, "-o OUT.npy or OUT.safetensors is needed");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/// Largest finite value of a low-bit float.
static double largest(vm_dtype t) {
    double most = 0;
    for (uint64_t c = 0; c < 1u << vm_bits(t); c++) {
        const double x = vm_decode(t, c);
        if (isfinite(x) && x > most) most = x;
    }
    return most;
}

typedef struct {
    fe_tensor *codes, *scales, *zeros;
    double error, power; // sums of squares, of the error and of the weight
} result;

static void put(fe_tensor *t, size_t at, uint64_t code) {
    memcpy((char *)t->cells + at * vm_cell(t->type), &code, vm_cell(t->type));
}

/// Column j, rows [lo, hi). False: the scale does not fit its type.
static bool group(const quantizer *q, const float *w, size_t n, size_t lo, size_t hi, size_t j, size_t at, double most, result *r) {
    double min = 0, max = 0;
    for (size_t i = lo; i < hi; i++) {
        const double x = (double)w[i * n + j];
        if (x < min) min = x;
        if (x > max) max = x;
    }
    const bool flt = vm_is_float(q->type), sign = vm_is_signed(q->type);
    const int64_t steps = flt ? 0 : ((int64_t)1 << vm_bits(q->type)) - 1;
    const int64_t low = flt || !sign ? 0 : q->zeros ? -(steps / 2) - 1 : -(steps / 2), high = low + (q->zeros || !sign ? steps : 2 * (steps / 2));
    const double span = q->zeros ? (max - min) / (double)steps : (max > -min ? max : -min) / (flt ? most : (double)high);
    static const vm_rounding near = {.round = R_NEAREST};
    uint64_t code = vm_encode(q->scales, span > 0 ? span : 1, near);
    double scale = vm_decode(q->scales, code);
    if (!isfinite(scale)) return false;
    if (scale == 0) scale = vm_decode(q->scales, code = 1); // the smallest there is
    put(r->scales, at, code);
    double zero = 0;
    if (q->zeros) {
        zero = (double)low + nearbyint(-min / scale);
        if (zero > (double)high) zero = (double)high;
        put(r->zeros, at, vm_encode(q->scales, zero, near));
    }
    for (size_t i = lo; i < hi; i++) {
        const double x = (double)w[i * n + j];
        double back;
        if (flt) {
            code = vm_encode(q->type, x / scale, vm_default_rounding(q->type));
            back = vm_decode(q->type, code) * scale;
        } else {
            double v = nearbyint(x / scale) + zero;
            v = v < (double)low ? (double)low : v > (double)high ? (double)high : v;
            code = vm_encode_int(q->type, (int64_t)v);
            back = (v - zero) * scale;
        }
        put(r->codes, i * n + j, code);
        r->error += (back - x) * (back - x);
        r->power += x * x;
    }
    return true;
}

/// The weight as [k, n]; NULL after a message.
static float *weight(quantizer *q, fe_eval *e, size_t *k, size_t *n, vm_dtype *from) {
    fe_tensor *const t = tool_tensor_read(q->exec, e, "weight", q->in);
    if (!t) return NULL;
    if (t->rank != 2 || !vm_is_float(t->type)) {
        tool_error("weight: '%s' is no matrix of floats: rank %d of %s", q->in, t->rank, vm_dtype_name(t->type));
        return NULL;
    }
    *from = t->type;
    *k = (size_t)t->dim[q->transpose];
    *n = (size_t)t->dim[!q->transpose];
    float *const w = vm_newn(e->arena, float, t->n + 1);
    if (t->type == T_f64 || t->type == T_tf32) {
        double *const d = vm_newn(e->arena, double, t->n + 1);
        vm_bulk_to_f64(t->type, t->n, t->cells, d);
        for (size_t i = 0; i < t->n; i++) w[i] = (float)d[i];
    } else vm_bulk_to_f32(t->type, t->n, t->cells, w);
    for (size_t i = 0; i < t->n; i++)
        if (!isfinite(w[i])) {
            tool_error("weight: element %zu is %s", i, isnan(w[i]) ? "not a number" : "infinite");
            return NULL;
        }
    if (!q->transpose) return w;
    float *const x = vm_newn(e->arena, float, t->n + 1);
    for (size_t i = 0; i < *k; i++)
        for (size_t j = 0; j < *n; j++) x[i * *n + j] = w[j * *k + i];
    return x;
}

static void bind(quantizer *q, const char *name, fe_tensor *t) {
    fe_eval *const e = q->x->eval;
    fe_value *const v = vm_new(e->arena, fe_value);
    v->kind = FV_TENSOR;
    v->tensor = t;
    e->scope = q->x->module->globals;
    fe_bind(e, vm_intern(e->comp, name), v, NULL, false, VM_NOWHERE);
}

/// Runs the pack kernel of the library. The packed tensor, or NULL after a message.
static fe_tensor *packed(quantizer *q, fe_tensor *codes) {
    fe_eval *const e = q->x->eval;
    int64_t tk = 16, tn = vm_bits(q->type) % 2 ? 16 : 8; // whole bytes a thread
    if (q->encode) tk = tn = 32;                          // 32 elements
    for (uint32_t i = 0; i < q->o.rt.ndefine; i++) {
        const char *const d = q->o.define[i];
        char *end = NULL;
        int64_t *const to = !strncmp(d, "TK=", 3) ? &tk : !strncmp(d, "TN=", 3) ? &tn : NULL;
        if (to) *to = strtol(d + 3, &end, 10);
        if (!to || *end || *to < 8 || *to > 1024) {
            tool_error("packing takes -D TK=… and -D TN=… (8 to 1024), not '%s'", d);
            return NULL;
        }
    }
    const int64_t k = codes->dim[0], n = codes->dim[1], bits = (int64_t)vm_bits(q->type);
    const int64_t dim[3] = {(k + tk - 1) / tk, (n + tn - 1) / tn, tk * tn * bits / 8};
    fe_tensor *const out = fe_tensor_new(e, T_u8, 3, dim);
    bind(q, "_codes", codes);
    bind(q, "_packed", out);
    const char *const text = vm_format(e->arena, "test \"pack\" { run pack[%s, %lld, %lld%s%s](%lld, %lld, _codes, _packed); }\n",
                                       vm_dtype_name(q->type), (long long)tk, (long long)tn, q->encode ? ", ENC = true, T = " : "",
                                       q->encode ? vm_dtype_name(q->target) : "", (long long)k, (long long)n);
    const uint32_t file = vm_source_add(e->comp, "<pack>", text, strlen(text));
    const ast *const tree = fe_parse(e->comp, file);
    tool_exec_bind(q->exec, q->x);
    const fe_executor hooks = tool_exec_hooks(q->exec);
    fe_test_result r = {0};
    tool_progress("packing");
    if (fe_run_test(e, q->x->module, tree->kid[0], &hooks, &r)) return out;
    tool_progress(NULL);
    tool_error("packing failed: %s", r.message ? r.message : "");
    if (tool_exec_diagnostics(q->exec)) fputs(tool_exec_diagnostics(q->exec), stderr);
    return NULL;
}

static const char *beside(vm_arena *a, const char *path, const char *what) {
    return vm_format(a, "%.*s.%s.npy", (int)(strlen(path) - 4), path, what);
}

static int write_all(quantizer *q, const result *r, const fe_tensor *packs) {
    fe_eval *const e = q->x->eval;
    vm_arena *const a = e->arena;
    const char *const dot = *q->name ? "." : "";
    const tool_named t[3] = {
        {vm_format(a, "%s%s%s", q->name, dot, packs ? "packed" : "codes"), packs ? packs : r->codes, false},
        {vm_format(a, "%s%sscales", q->name, dot), r->scales, false},
        {vm_format(a, "%s%szeros", q->name, dot), r->zeros, false}};
    if (tool_ends(q->out, ".safetensors")) return tool_tensors_write(q->exec, e, q->out, r->zeros ? 3 : 2, t) ? TOOL_OK : TOOL_USAGE;
    bool ok = tool_tensors_write(q->exec, e, q->out, 1, &t[0]) && tool_tensors_write(q->exec, e, beside(a, q->out, "scales"), 1, &t[1]);
    if (ok && r->zeros) ok = tool_tensors_write(q->exec, e, beside(a, q->out, "zeros"), 1, &t[2]);
    return ok ? TOOL_OK : TOOL_USAGE;
}

static int quantize(quantizer *q) {
    if (setjmp(q->x->oom)) return tool_usage("out of memory");
    if (rt_load(q->x) != RT_OK || q->x->comp->nerrors) return tool_usage("the library's pack kernel cannot be read");
    fe_eval *const e = q->x->eval;
    size_t k, n;
    vm_dtype from;
    const float *const w = weight(q, e, &k, &n, &from);
    if (!w) return TOOL_USAGE;
    if (!q->scales_given) q->scales = from == T_bf16 ? T_bf16 : T_f16;
    const size_t g = (size_t)q->group, groups = (k + g - 1) / g;
    const int64_t wide[2] = {(int64_t)k, (int64_t)n}, narrow[2] = {(int64_t)groups, (int64_t)n};
    result r = {.codes = fe_tensor_new(e, q->type, 2, wide), .scales = fe_tensor_new(e, q->scales, 2, narrow)};
    if (q->zeros) r.zeros = fe_tensor_new(e, q->scales, 2, narrow);
    const double most = vm_is_float(q->type) ? largest(q->type) : 0;
    for (size_t i = 0; i < groups; i++) {
        tool_progress("group %zu of %zu", i + 1, groups);
        for (size_t j = 0; j < n; j++)
            if (!group(q, w, n, i * g, (i + 1) * g < k ? (i + 1) * g : k, j, i * n + j, most, &r))
                return tool_usage("a scale is beyond the range of %s; use --scales=f32", vm_dtype_name(q->scales));
    }
    tool_progress(NULL);
    const fe_tensor *const packs = q->pack ? packed(q, r.codes) : NULL;
    if (q->pack && !packs) return TOOL_USAGE;
    const int code = write_all(q, &r, packs);
    if (!code)
        fprintf(stderr, "%zu x %zu %s to %s, groups of %zu: relative error %.3g\n", k, n, vm_dtype_name(from), vm_dtype_name(q->type), g,
                r.power > 0 ? sqrt(r.error / r.power) : 0);
    return code;
}

int tool_quantize(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"output", 'o', "OUT", 0, ".safetensors with NAME.codes or NAME.packed, NAME.scales, NAME.zeros; or .npy, scales and zeros in OUT.scales.npy, OUT.zeros.npy", 1},
        {"type", KEY_TYPE, "TYPE", 0, "Type of 1 to 8 bits (default u4)", 1},
        {"group", KEY_GROUP, "N", 0, "Rows of k that share a scale (default 128)", 1},
        {"zero-points", KEY_ZEROS, NULL, 0, "Scale from minimum to maximum, with zero points; unsigned types always do", 1},
        {"scales", KEY_SCALES, "TYPE", 0, "Type of scales and zero points: f16, bf16, f32 (default: bf16 for bf16 weights, else f16)", 1},
        {"transpose", KEY_TRANSPOSE, NULL, 0, "The file's matrix is [n, k], as linear layers are stored", 1},
        {"pack", KEY_PACK, NULL, 0, "Pack for tensor cores by kernel `pack` of matmul_lowbit.tvm; tiles by -D TK=…, -D TN=…", 1},
        {"encode", KEY_ENCODE, "TYPE", 0, "Pack with bits in the order that converts to f16 or bf16 in fewest instructions: for ENC=true", 1},
        {"name", KEY_NAME, "NAME", 0, "Prefix of the names in OUT.safetensors (default: weight)", 1},
        {0}};
    static const struct argp_child children[] = {{&tool_on_argp, 0, NULL, 2}, {&tool_common_argp, 0, "Shared options:", 10}, {0}};
    static const struct argp a = {options, parse, "FILE.npy|FILE.safetensors:TENSOR",
        "Quantises a weight [k, n] in groups of rows: w is about (code - zero) * scale.\vexamples:\n"
        "  tilusc quantize model.safetensors:layers.0.up.weight --transpose --pack -o up.safetensors\n"
        "  tilusc quantize w.npy --type=f6e3m2 --group=64 -o q.npy\n", children, NULL, NULL};
    quantizer q = {.type = T_u4, .group = 128, .name = "weight"};
    tool_options_init(&q.o);
    if (tool_argp(&a, "quantize", argc, argv, &q)) return TOOL_USAGE;
    if (!vm_is_float(q.type) && !vm_is_signed(q.type)) q.zeros = true;
    if (q.zeros && vm_is_float(q.type)) return tool_usage("zero points are for integer types");
    if (!q.zeros && vm_dtypes[q.type].kind == K_INT && vm_bits(q.type) < 2) return tool_usage("'%s' has no positive value", vm_dtype_name(q.type));
    if (!(q.exec = tool_exec_new(&q.o))) return TOOL_USAGE;
    rt_options opt = {.name = "matmul_lowbit.tvm", .stage = RT_STAGE_CHECK, .arch = tool_exec_arch(q.exec)};
    opt.text = rt_embedded(opt.name, &opt.size);
    q.x = rt_compilation_new(NULL, &opt);
    const int code = q.x ? quantize(&q) : tool_usage("out of memory");
    rt_compilation_free(q.x);
    tool_exec_free(q.exec);
    return code;
}
