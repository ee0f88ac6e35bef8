// SPDX-License-Identifier: Apache-2.0
// Tensors between files and host tensors of the evaluator.
#include <string.h>
#include "tools/tool.h"

static const char suffix[] = ".safetensors:";

bool tool_tensor_is_file(const char *text) {
    if (strpbrk(text, "(\"\n")) return false; // an expression
    return tool_ends(text, ".npy") || (strstr(text, suffix) && !tool_ends(text, suffix));
}

static fe_tensor *import(fe_eval *e, const char *who, const tilus_tensor *t) {
    vm_dtype type;
    if (!vm_dtype_find(t->dtype, &type) || t->rank > LAYOUT_MAX_RANK) {
        tool_error("%s: element type '%s' cannot be used", who, t->dtype);
        return NULL;
    }
    fe_tensor *const out = fe_tensor_new(e, type, t->rank, t->dim);
    if (out->n && fe_tensor_bytes(out) == t->bytes) fe_tensor_unpack(out, t->data);
    return out;
}

static void list_names(const char *file, const char *name, const tilus_safetensors *f) {
    enum { MOST = 4096 };
    const char *names[MOST];
    size_t n = 0;
    const size_t count = tilus_safetensors_count(f);
    for (size_t i = 0; i < count && n < MOST; i++) {
        tilus_tensor t;
        if (tilus_safetensors_at(f, i, &t) == TILUS_OK) names[n++] = t.name;
    }
    const char *const near = vm_nearest(name, names, n);
    if (near) tool_error("'%s' has no tensor '%s'; did you mean '%s'?", file, name, near);
    else tool_error("'%s' has no tensor '%s'; it has %zu%s%s", file, name, count, n ? ", the first is " : "", n ? names[0] : "");
}

/// The context of the library is made outside of the arena: it must be closed on the way out of memory.
fe_tensor *tool_tensor_read(tool_exec *x, fe_eval *e, const char *who, const char *path) {
    tilus_context *const c = tool_exec_context(x);
    if (!c) return NULL;
    fe_tensor *out = NULL;
    tilus_tensor t = {0};
    const char *const colon = tool_ends(path, ".npy") ? NULL : strstr(path, suffix);
    if (!colon) {
        if (tilus_npy_read(c, path, &t) != TILUS_OK) {
            tool_error("%s: %s", who, tilus_error(c));
            return NULL;
        }
        out = import(e, who, &t);
        tilus_tensor_free(c, &t);
        return out;
    }
    const char *const file = vm_format(e->arena, "%.*s", (int)(colon - path + (int)sizeof suffix - 2), path);
    const char *const name = colon + sizeof suffix - 1;
    tilus_safetensors *f = NULL;
    if (tilus_safetensors_open(c, file, &f) != TILUS_OK) {
        tool_error("%s: %s", who, tilus_error(c));
        return NULL;
    }
    if (tilus_safetensors_find(f, name, &t) != TILUS_OK) list_names(file, name, f);
    else out = import(e, who, &t);
    tilus_safetensors_close(f);
    return out;
}

/// The tensor as the files know it: whole bytes an element.
static tilus_tensor export(fe_eval *e, const tool_named *n) {
    const fe_tensor *t = n->tensor;
    tilus_tensor out = {.name = n->name, .rank = t->rank, .dtype = vm_dtype_name(t->type)};
    memcpy(out.dim, t->dim, sizeof out.dim);
    const bool small = vm_mem_bits(t->type) < 8;
    if (n->packed && small) {
        out.dtype = "u8";
        out.rank = 1;
        out.dim[0] = (int64_t)fe_tensor_bytes(t);
    } else if (small) {
        const bool sign = vm_dtypes[t->type].kind == K_INT;
        int8_t *const cells = vm_alloc(e->arena, t->n + 1);
        for (size_t i = 0; i < t->n; i++) {
            const uint8_t code = ((const uint8_t *)t->cells)[i];
            cells[i] = (int8_t)(sign ? vm_decode_int(t->type, code) : code);
        }
        out.dtype = sign ? "i8" : "u8";
        out.data = cells;
        out.bytes = t->n;
        return out;
    }
    out.bytes = fe_tensor_bytes(t);
    out.data = vm_alloc(e->arena, out.bytes + 1);
    fe_tensor_pack(t, out.data);
    return out;
}

bool tool_tensors_write(tool_exec *x, fe_eval *e, const char *path, uint32_t n, const tool_named *t) {
    tilus_context *const c = tool_exec_context(x);
    if (!c) return false;
    tilus_tensor *const all = vm_newn(e->arena, tilus_tensor, n + 1);
    for (uint32_t i = 0; i < n; i++) all[i] = export(e, &t[i]);
    tilus_status s = TILUS_OK;
    if (tool_ends(path, ".safetensors")) s = tilus_safetensors_write(c, path, all, n);
    else if (n == 1) s = tilus_npy_write(c, path, &all[0]);
    else {
        tool_error("'%s': only a .safetensors file holds several tensors", path);
        return false;
    }
    if (s != TILUS_OK) tool_error("%s", tilus_error(c));
    return s == TILUS_OK;
}
