// SPDX-License-Identifier: Apache-2.0
// .safetensors files: eight bytes with the length of a JSON header, the header, the data. The header
// comes from strangers: its length is bounded, and every offset is checked before it is used.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/runtime.h"

enum { MAX_HEADER = 100 << 20 }; // as the reference implementation has it

static const struct {
    const char *name;
    vm_dtype type;
} types[] = {
    {"F16", T_f16}, {"BF16", T_bf16}, {"F32", T_f32}, {"F64", T_f64}, {"I8", T_i8},   {"I16", T_i16}, {"I32", T_i32}, {"I64", T_i64},
    {"U8", T_u8},   {"U16", T_u16},   {"U32", T_u32}, {"U64", T_u64}, {"F8_E4M3", T_f8e4m3}, {"F8_E5M2", T_f8e5m2}, {"F8_E8M0", T_f8e8m0},
    {"BOOL", T_bool},
};

struct tilus_safetensors {
    vm_allocator alloc;
    rt_map map;
    json_t *header;      // owns the names
    tilus_tensor *at;
    size_t n;
};

static tilus_status bad(tilus_context *c, const char *path, const char *name, const char *why) {
    return rt_fail(c, TILUS_BAD_FORMAT, "'%s' is not a proper .safetensors file: %s%s%s", path, name ? name : "", name ? ": " : "", why);
}

static tilus_status read_entry(tilus_context *c, const char *path, const char *name, const json_t *e, const rt_map *data, tilus_tensor *out) {
    *out = (tilus_tensor){.name = name};
    const char *dtype = json_string_value(json_object_get(e, "dtype"));
    const json_t *shape = json_object_get(e, "shape"), *offsets = json_object_get(e, "data_offsets");
    if (!dtype || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return bad(c, path, name, "dtype, shape or data_offsets is missing or of the wrong kind");
    size_t k = 0;
    while (k < sizeof types / sizeof *types && strcmp(types[k].name, dtype) != 0) k++;
    if (k == sizeof types / sizeof *types)
        return rt_fail(c, TILUS_UNSUPPORTED, "'%s': %s has elements of type '%s'", path, name, dtype);
    const vm_dtype t = types[k].type;
    out->dtype = vm_dtype_name(t);
    if (json_array_size(shape) > TILUS_MAX_RANK)
        return rt_fail(c, TILUS_UNSUPPORTED, "'%s': %s has more than %d dimensions", path, name, TILUS_MAX_RANK);
    out->rank = (int)json_array_size(shape);
    for (int i = 0; i < out->rank; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0) return bad(c, path, name, "an extent is no number, or negative");
        out->dim[i] = json_integer_value(d);
    }
    const json_t *lo = json_array_get(offsets, 0), *hi = json_array_get(offsets, 1);
    if (!json_is_integer(lo) || !json_is_integer(hi)) return bad(c, path, name, "an offset is no integer");
    const int64_t from = json_integer_value(lo), to = json_integer_value(hi);
    if (from < 0 || to < from || (uint64_t)to > data->size) return bad(c, path, name, "its offsets are not inside the file");
    size_t n, bytes;
    if (!rt_shape_bytes(t, out->rank, out->dim, &n, &bytes) || bytes != (size_t)(to - from))
        return bad(c, path, name, "its offsets and its shape do not agree");
    out->bytes = bytes;
    out->data = (void *)(data->at + from);
    return TILUS_OK;
}

static tilus_status read_header(tilus_context *c, const char *path, tilus_safetensors *f) {
    const rt_map *m = &f->map;
    if (m->size < 8) return bad(c, path, NULL, "it is shorter than 8 bytes");
    uint64_t n = 0;
    for (int i = 8; i-- > 0;) n = n << 8 | m->at[i];
    if (n > MAX_HEADER || n > m->size - 8) return bad(c, path, NULL, "its header reaches beyond the end, or is over 100 MiB");
    json_error_t err;
    f->header = json_loadb((const char *)m->at + 8, (size_t)n, JSON_REJECT_DUPLICATES, &err);
    if (!f->header) {
        if (json_error_code(&err) == json_error_out_of_memory) return rt_no_memory(c);
        return bad(c, path, NULL, err.text);
    }
    if (!json_is_object(f->header)) return bad(c, path, NULL, "its header is no object");
    const rt_map data = {m->at + 8 + n, m->size - 8 - (size_t)n};
    const size_t count = json_object_size(f->header);
    f->at = rt_alloc(c, (count + 1) * sizeof *f->at);
    if (!f->at) return rt_no_memory(c);
    const char *name;
    json_t *e;
    json_object_foreach(f->header, name, e) {
        if (!strcmp(name, "__metadata__")) continue;
        const tilus_status s = read_entry(c, path, name, e, &data, &f->at[f->n]);
        if (s != TILUS_OK) return s;
        f->n++;
    }
    return TILUS_OK;
}

tilus_status tilus_safetensors_open(tilus_context *c, const char *path, tilus_safetensors **out) {
    if (!c || !path || !out) return TILUS_INVALID_ARGUMENT;
    *out = NULL;
    tilus_safetensors *f = rt_alloc(c, sizeof *f);
    if (!f) return rt_no_memory(c);
    f->alloc = c->alloc;
    tilus_status s = rt_map_file(c, path, &f->map);
    if (s == TILUS_OK) s = read_header(c, path, f);
    if (s != TILUS_OK) tilus_safetensors_close(f);
    else *out = f;
    return s;
}

void tilus_safetensors_close(tilus_safetensors *f) {
    if (!f) return;
    const vm_allocator mem = f->alloc;
    if (f->at) mem.release(mem.user, f->at, (json_object_size(f->header) + 1) * sizeof *f->at);
    json_decref(f->header);
    rt_unmap(&f->map);
    mem.release(mem.user, f, sizeof *f);
}

size_t tilus_safetensors_count(const tilus_safetensors *f) { return f ? f->n : 0; }

tilus_status tilus_safetensors_at(const tilus_safetensors *f, size_t i, tilus_tensor *out) {
    if (!f || !out || i >= f->n) return TILUS_INVALID_ARGUMENT;
    *out = f->at[i];
    return TILUS_OK;
}

tilus_status tilus_safetensors_find(const tilus_safetensors *f, const char *name, tilus_tensor *out) {
    if (!f || !name || !out) return TILUS_INVALID_ARGUMENT;
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->at[i].name, name)) {
            *out = f->at[i];
            return TILUS_OK;
        }
    return TILUS_NOT_FOUND;
}

// ---- writing ------------------------------------------------------------------------------------

/// The header, to be freed by json_decref; NULL after a message.
static json_t *make_header(tilus_context *c, const char *path, const tilus_tensor *t, size_t n, tilus_status *s) {
    json_t *h = json_object();
    uint64_t at = 0;
    *s = TILUS_OK;
    for (size_t i = 0; h && i < n && *s == TILUS_OK; i++) {
        vm_dtype type;
        size_t count, bytes, k = 0;
        if (!t[i].name || !*t[i].name || !t[i].dtype || !vm_dtype_find(t[i].dtype, &type) || t[i].rank < 0 || t[i].rank > TILUS_MAX_RANK ||
            !rt_shape_bytes(type, t[i].rank, t[i].dim, &count, &bytes) || bytes != t[i].bytes || (bytes && !t[i].data) ||
            json_object_get(h, t[i].name)) {
            *s = rt_fail(c, TILUS_INVALID_ARGUMENT, "tensor %zu for '%s' is malformed, or its name stands twice", i, path);
            break;
        }
        while (k < sizeof types / sizeof *types && types[k].type != type) k++;
        if (k == sizeof types / sizeof *types) {
            *s = rt_fail(c, TILUS_UNSUPPORTED, "safetensors has no element type for %s; view it as u8 first", t[i].dtype);
            break;
        }
        json_t *shape = json_array();
        for (int d = 0; shape && d < t[i].rank; d++)
            if (json_array_append_new(shape, json_integer(t[i].dim[d]))) json_decref(shape), shape = NULL;
        json_t *e = shape ? json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[k].name, "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + bytes))
                          : NULL;
        if (!e || json_object_set_new(h, t[i].name, e)) *s = rt_no_memory(c);
        at += bytes;
    }
    if (!h) *s = rt_no_memory(c);
    if (*s == TILUS_OK) return h;
    json_decref(h);
    return NULL;
}

tilus_status tilus_safetensors_write(tilus_context *c, const char *path, const tilus_tensor *t, size_t n) {
    if (!c || !path || (n && !t)) return TILUS_INVALID_ARGUMENT;
    tilus_status s;
    json_t *h = make_header(c, path, t, n, &s);
    if (!h) return s;
    char *text = json_dumps(h, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(h);
    if (!text) return rt_fail(c, TILUS_INVALID_ARGUMENT, "a name is no UTF-8, or out of memory");
    char temp[4096];
    FILE *f = rt_create_file(c, path, temp);
    if (f) {
        const size_t len = strlen(text), pad = (8 - len % 8) % 8; // data is aligned to 8 bytes
        uint8_t head[8];
        for (int i = 0; i < 8; i++) head[i] = (uint8_t)((uint64_t)(len + pad) >> (8 * i));
        fwrite(head, 1, 8, f);
        fwrite(text, 1, len, f);
        fwrite("       ", 1, pad, f);
        for (size_t i = 0; i < n; i++)
            if (t[i].bytes) fwrite(t[i].data, 1, t[i].bytes, f);
        s = rt_finish_file(c, f, temp, path);
    } else s = TILUS_IO_ERROR;
    free(text);
    return s;
}
