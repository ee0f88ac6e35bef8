// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files. The header is a Python dictionary of three known keys; only that is understood,
// and every length in it is checked against the file.
#include <stdlib.h>
#include <string.h>
#include "runtime/runtime.h"

static const struct {
    const char *descr;
    vm_dtype type;
} descrs[] = {
    {"<f2", T_f16}, {"<f4", T_f32}, {"<f8", T_f64}, {"|i1", T_i8},  {"<i2", T_i16}, {"<i4", T_i32}, {"<i8", T_i64},
    {"|u1", T_u8},  {"<u2", T_u16}, {"<u4", T_u32}, {"<u8", T_u64}, {"|b1", T_bool}, {"|V2", T_bf16}, {"<V2", T_bf16},
    {"bfloat16", T_bf16},
};

// ---- the header ---------------------------------------------------------------------------------

typedef struct {
    tilus_context *c;
    const char *path, *at, *end;
    char descr[32];
    bool fortran, has_descr, has_order, has_shape;
    int rank;
    int64_t dim[TILUS_MAX_RANK];
} header;

static tilus_status bad(const header *h, const char *why) {
    return rt_fail(h->c, TILUS_BAD_FORMAT, "'%s' is not a proper .npy file: %s", h->path, why);
}

static void blanks(header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t' || *h->at == '\r')) h->at++;
}

static bool eat(header *h, char ch) {
    blanks(h);
    if (h->at == h->end || *h->at != ch) return false;
    h->at++;
    return true;
}

static bool word(header *h, const char *w) {
    blanks(h);
    const size_t n = strlen(w);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, w, n) != 0) return false;
    h->at += n;
    return true;
}

static bool string(header *h, char *out, size_t size) {
    blanks(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"')) return false;
    const char quote = *h->at++;
    size_t n = 0;
    while (h->at < h->end && *h->at != quote) {
        if (n + 1 >= size || *h->at == '\\') return false;
        out[n++] = *h->at++;
    }
    out[n] = 0;
    return eat(h, quote);
}

static bool number(header *h, int64_t *out) {
    blanks(h);
    const char *from = h->at;
    int64_t x = 0;
    while (h->at < h->end && *h->at >= '0' && *h->at <= '9') {
        if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, *h->at - '0', &x)) return false;
        h->at++;
    }
    if (h->at == from) return false;
    if (h->at < h->end && *h->at == 'L') h->at++; // Python 2
    *out = x;
    return true;
}

static tilus_status shape(header *h) {
    if (!eat(h, '(')) return bad(h, "the shape is no tuple");
    while (!eat(h, ')')) {
        if (h->rank == TILUS_MAX_RANK)
            return rt_fail(h->c, TILUS_UNSUPPORTED, "'%s' has more than %d dimensions", h->path, TILUS_MAX_RANK);
        if (!number(h, &h->dim[h->rank])) return bad(h, "an extent is no number of 63 bits");
        h->rank++;
        if (!eat(h, ',')) {
            if (!eat(h, ')')) return bad(h, "the shape does not end");
            break;
        }
    }
    h->has_shape = true;
    return TILUS_OK;
}

static tilus_status dictionary(header *h) {
    if (!eat(h, '{')) return bad(h, "the header is no dictionary");
    while (!eat(h, '}')) {
        char key[32];
        if (!string(h, key, sizeof key) || !eat(h, ':')) return bad(h, "a key is malformed");
        if (!strcmp(key, "descr") && !h->has_descr) {
            if (!string(h, h->descr, sizeof h->descr))
                return rt_fail(h->c, TILUS_UNSUPPORTED, "'%s' has a structured element type", h->path);
            h->has_descr = true;
        } else if (!strcmp(key, "fortran_order") && !h->has_order) {
            h->fortran = word(h, "True");
            if (!h->fortran && !word(h, "False")) return bad(h, "fortran_order is neither True nor False");
            h->has_order = true;
        } else if (!strcmp(key, "shape") && !h->has_shape) {
            const tilus_status s = shape(h);
            if (s != TILUS_OK) return s;
        } else return bad(h, "the header has an unknown key, or one twice");
        if (!eat(h, ',')) {
            if (!eat(h, '}')) return bad(h, "the header does not end");
            break;
        }
    }
    return h->has_descr && h->has_order && h->has_shape ? TILUS_OK : bad(h, "the header lacks descr, fortran_order or shape");
}

/// *data: offset of the elements.
static tilus_status parse(header *h, const rt_map *m, size_t *data) {
    const uint8_t *b = m->at;
    if (m->size < 10 || memcmp(b, "\x93NUMPY", 6) != 0) return bad(h, "it does not begin with the magic bytes");
    if (b[6] < 1 || b[6] > 3) return rt_fail(h->c, TILUS_UNSUPPORTED, "'%s' is of .npy version %d", h->path, b[6]);
    const size_t start = b[6] == 1 ? 10 : 12;
    if (m->size < start) return bad(h, "it is cut off");
    size_t n = (size_t)b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) n |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (n > m->size - start) return bad(h, "the header reaches beyond the end of the file");
    h->at = (const char *)b + start;
    h->end = h->at + n;
    *data = start + n;
    return dictionary(h);
}

static tilus_status element_type(const header *h, vm_dtype *t) {
    const char *d = h->descr;
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++) {
        const char *k = descrs[i].descr;
        // byte order means nothing for single bytes; '=' is the writer's own and taken for little
        const bool same = strlen(d) == 3 && strlen(k) == 3 && !memcmp(d + 1, k + 1, 2) && (d[0] == k[0] || d[0] == '=' || d[0] == '|' || k[0] == '|');
        if (!strcmp(d, k) || same) {
            *t = descrs[i].type;
            return TILUS_OK;
        }
    }
    if (d[0] == '>') return rt_fail(h->c, TILUS_UNSUPPORTED, "'%s' is big-endian ('%s')", h->path, d);
    return rt_fail(h->c, TILUS_UNSUPPORTED, "'%s' has elements of type '%s'", h->path, d);
}

// ---- reading ------------------------------------------------------------------------------------

/// Column-major to row-major: walks the destination in order and keeps the source offset up to date.
static void transpose(const header *h, size_t n, size_t elem, const uint8_t *src, uint8_t *dst) {
    size_t stride[TILUS_MAX_RANK], at = 0;
    int64_t idx[TILUS_MAX_RANK] = {0};
    size_t s = 1;
    for (int i = 0; i < h->rank; i++) {
        stride[i] = s;
        s *= (size_t)h->dim[i];
    }
    for (size_t k = 0; k < n; k++) {
        memcpy(dst + k * elem, src + at * elem, elem);
        for (int i = h->rank; i-- > 0;) {
            at += stride[i];
            if (++idx[i] < h->dim[i]) break;
            at -= stride[i] * (size_t)h->dim[i];
            idx[i] = 0;
        }
    }
}

static tilus_status take(const header *h, rt_map *m, size_t data, tilus_tensor *out) {
    vm_dtype t = T_u8;
    tilus_status s = element_type(h, &t);
    if (s != TILUS_OK) return s;
    size_t n, bytes;
    if (!rt_shape_bytes(t, h->rank, h->dim, &n, &bytes)) return bad(h, "the shape is larger than memory");
    if (bytes > m->size - data) return bad(h, "it holds fewer bytes than its shape says");
    *out = (tilus_tensor){.dtype = vm_dtype_name(t), .name = "", .rank = h->rank, .bytes = bytes};
    memcpy(out->dim, h->dim, sizeof out->dim);
    if (h->fortran && h->rank > 1 && n) {
        out->data = rt_alloc(h->c, bytes);
        if (!out->data) return rt_no_memory(h->c);
        transpose(h, n, bytes / n, m->at + data, out->data);
        out->owner = out->data;
        out->owner_bytes = bytes;
        rt_unmap(m);
        return TILUS_OK;
    }
    out->data = (void *)(m->at + data);
    out->owner = (void *)m->at;
    out->owner_bytes = m->size;
    return TILUS_OK;
}

tilus_status tilus_npy_read(tilus_context *c, const char *path, tilus_tensor *out) {
    if (!c || !path || !out) return TILUS_INVALID_ARGUMENT;
    *out = (tilus_tensor){.dtype = "", .name = ""};
    rt_map m;
    tilus_status s = rt_map_file(c, path, &m);
    if (s != TILUS_OK) return s;
    header h = {.c = c, .path = path};
    size_t data = 0;
    s = parse(&h, &m, &data);
    if (s == TILUS_OK) s = take(&h, &m, data, out);
    if (s != TILUS_OK) {
        rt_unmap(&m);
        *out = (tilus_tensor){.dtype = "", .name = ""};
    }
    return s;
}

void tilus_tensor_free(tilus_context *c, tilus_tensor *t) {
    if (!c || !t || !t->owner) return;
    if (t->owner == t->data) rt_free(c, t->owner, t->owner_bytes); // a mapping begins before its data
    else {
        rt_map m = {t->owner, t->owner_bytes};
        rt_unmap(&m);
    }
    *t = (tilus_tensor){.dtype = "", .name = ""};
}

// ---- writing ------------------------------------------------------------------------------------

static const char *descr_of(vm_dtype t) {
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++)
        if (descrs[i].type == t) return descrs[i].descr;
    switch (vm_mem_bits(t)) {
    case 8: return "|u1";
    case 16: return "<u2";
    case 32: return "<u4";
    case 64: return "<u8";
    default: return NULL;
    }
}

tilus_status tilus_npy_write(tilus_context *c, const char *path, const tilus_tensor *t) {
    if (!c || !path || !t) return TILUS_INVALID_ARGUMENT;
    vm_dtype type;
    size_t n, bytes;
    if (!t->dtype || !vm_dtype_find(t->dtype, &type) || t->rank < 0 || t->rank > TILUS_MAX_RANK ||
        !rt_shape_bytes(type, t->rank, t->dim, &n, &bytes) || bytes != t->bytes || (bytes && !t->data))
        return rt_fail(c, TILUS_INVALID_ARGUMENT, "the tensor for '%s' is malformed: type, shape and size do not agree", path);
    const char *descr = descr_of(type);
    if (!descr) return rt_fail(c, TILUS_UNSUPPORTED, "NumPy has no elements like %s; view them as u8 first", t->dtype);
    char text[400];
    int k = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++)
        k += snprintf(text + k, sizeof text - (size_t)k, "%lld%s", (long long)t->dim[i], t->rank == 1 ? "," : i + 1 < t->rank ? ", " : "");
    k += snprintf(text + k, sizeof text - (size_t)k, "), }");
    while ((10 + k + 1) % 64) text[k++] = ' '; // elements are aligned to 64 bytes
    text[k++] = '\n';
    char temp[4096];
    FILE *f = rt_create_file(c, path, temp);
    if (!f) return TILUS_IO_ERROR;
    const uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)(k & 255), (uint8_t)(k >> 8)};
    fwrite(head, 1, sizeof head, f);
    fwrite(text, 1, (size_t)k, f);
    if (bytes) fwrite(t->data, 1, bytes, f);
    return rt_finish_file(c, f, temp, path);
}
