// SPDX-License-Identifier: Apache-2.0
// The encoder of the DFloat11-like format, for the tests of its decoder: exponents of bf16 weights as
// one Huffman stream, 64 bits a thread, with the first code start of every thread and block.
#include "frontend/tensor.h"
#include <string.h>

typedef struct { uint64_t count; int left, right, symbol; } node;
typedef struct { uint32_t bits; unsigned len; } code;

static void depths(const node *t, int at, unsigned depth, code *out) {
    if (t[at].symbol >= 0) {
        out[t[at].symbol].len = depth ? depth : 1;
        return;
    }
    depths(t, t[at].left, depth + 1, out);
    depths(t, t[at].right, depth + 1, out);
}

/// Huffman lengths of at most 32 bits: counts are halved until they fit.
static void lengths(const uint64_t *count, code *out) {
    uint64_t c[256];
    memcpy(c, count, sizeof c);
    for (;;) {
        node t[512];
        int live[256], n = 0, used = 0;
        unsigned most = 0;
        memset(out, 0, 256 * sizeof *out);
        for (int s = 0; s < 256; s++)
            if (c[s]) {
                t[used] = (node){c[s], -1, -1, s};
                live[n++] = used++;
            }
        while (n > 1) { // the two rarest become one
            for (int pick = 0; pick < 2; pick++) {
                int least = n - 1 - pick;
                for (int k = n - 2 - pick; k >= 0; k--)
                    if (t[live[k]].count < t[live[least]].count) least = k;
                const int x = live[least];
                live[least] = live[n - 1 - pick];
                live[n - 1 - pick] = x;
            }
            t[used] = (node){t[live[n - 1]].count + t[live[n - 2]].count, live[n - 1], live[n - 2], -1};
            live[n - 2] = used++;
            n--;
        }
        if (n) depths(t, live[0], 0, out);
        for (int s = 0; s < 256; s++) {
            if (out[s].len > most) most = out[s].len;
            if (c[s]) c[s] = c[s] / 2 ? c[s] / 2 : 1;
        }
        if (most <= 32) return;
    }
}

static void canonical(code *c) {
    uint32_t next = 0;
    unsigned before = 0;
    for (unsigned len = 1; len <= 32; len++)
        for (int s = 0; s < 256; s++) {
            if (c[s].len != len) continue;
            if (before) next = (next + 1) << (len - before);
            before = len;
            c[s].bits = next;
        }
}

/// Tables: [k] maps a byte to an exponent, or to 256 - (table) for longer codes; the last row: lengths.
static int tables(const code *c, uint8_t *lut) {
    uint32_t prefix[17] = {0};
    unsigned level[17] = {0};
    int n = 1;
    for (unsigned lv = 1; lv < 4; lv++)
        for (int s = 0; s < 256; s++) {
            if (c[s].len <= 8 * lv) continue;
            const uint32_t p = c[s].bits >> (c[s].len - 8 * lv);
            bool known = false;
            for (int k = 1; k < n; k++) known |= level[k] == lv && prefix[k] == p;
            if (known) continue;
            if (n == 17) return 0;
            prefix[n] = p;
            level[n++] = lv;
        }
    for (int s = 0; s < 256; s++) {
        if (!c[s].len) continue;
        const unsigned lv = (c[s].len - 1) / 8, rest = c[s].len - 8 * lv;
        for (int k = 0; k < n; k++) {
            if (level[k] > lv) continue;
            const uint32_t head = level[k] ? (uint32_t)((uint64_t)c[s].bits >> (c[s].len - 8 * level[k])) : 0;
            if (head != prefix[k]) continue;
            if (level[k] == lv) {
                const unsigned first = (c[s].bits << (8 - rest)) & 0xff;
                memset(lut + k * 256 + first, s, (size_t)1 << (8 - rest));
                continue;
            }
            const uint32_t down = (uint32_t)((uint64_t)c[s].bits >> (c[s].len - 8 * (level[k] + 1)));
            for (int j = 1; j < n; j++)
                if (level[j] == level[k] + 1 && prefix[j] == down) lut[k * 256 + (int)(down & 0xff)] = (uint8_t)(256 - j);
        }
    }
    for (int s = 0; s < 256; s++) lut[n * 256 + s] = (uint8_t)c[s].len;
    return n + 1;
}

/// df11_encode(w: bf16 tensor, threads) -> (luts, codes, gaps, offsets, signs, room): room is the most
/// elements that start in one block.
fe_value *ref_df11(fe_eval *e, fe_args *args, vm_span at) {
    if (args->n < 1 || args->at[0].form != FA_VALUE || args->at[0].v->kind != FV_TENSOR || args->at[0].v->tensor->type != T_bf16)
        return ref_fail(e, at, "df11_encode takes a tensor of bf16");
    const fe_tensor *w = args->at[0].v->tensor;
    const int64_t threads = args->n > 1 && args->at[1].v->kind == FV_INT ? args->at[1].v->i : 256;
    if (threads < 8 || threads > 1024 || threads % 8 || w->n == 0 || w->n > INT32_MAX)
        return ref_fail(e, at, "df11_encode takes 8 to 1024 threads, a multiple of 8, and 1 to 2^31 - 1 elements");
    uint64_t count[256] = {0}, total = 0;
    code c[256];
    uint8_t lut[18 * 256] = {0};
    for (size_t k = 0; k < w->n; k++) count[tensor_get(w, k) >> 7 & 0xff]++;
    for (int s = 240; s < 256; s++)
        if (count[s]) return ref_fail(e, at, "exponent %d cannot be encoded: 240 and more are pointers", s);
    lengths(count, c);
    canonical(c);
    const int rows = tables(c, lut);
    if (!rows) return ref_fail(e, at, "the code needs more than 16 deeper tables");
    int symbols = 0, only = 0;
    for (int s = 0; s < 256; s++) {
        total += count[s] * c[s].len;
        if (count[s]) symbols++, only = s;
    }
    if (symbols == 1) memset(lut, only, 256); // a code that is not complete: every bit string must decode
    const int64_t nbytes = (int64_t)((total + 7) / 8), blocks = (nbytes + 8 * threads - 1) / (8 * threads);
    fe_tensor *luts = fe_tensor_new(e, T_u8, 2, (int64_t[]){rows, 256});
    memcpy(luts->cells, lut, (size_t)rows * 256);
    fe_tensor *codes = fe_tensor_new(e, T_u8, 1, &nbytes);
    fe_tensor *gaps = fe_tensor_new(e, T_u8, 1, (int64_t[]){blocks * threads * 5 / 8});
    fe_tensor *offsets = fe_tensor_new(e, T_u32, 1, (int64_t[]){blocks + 1});
    fe_tensor *signs = fe_tensor_new(e, T_u8, 1, (int64_t[]){(int64_t)w->n});
    uint8_t *out = codes->cells, *gap = gaps->cells, *sm = signs->cells;
    uint32_t *first = offsets->cells;
    uint64_t bit = 0;
    int64_t window = -1, block = -1;
    for (size_t k = 0; k < w->n; k++) {
        const uint64_t x = tensor_get(w, k);
        const code s = c[x >> 7 & 0xff];
        sm[k] = (uint8_t)(x >> 8 & 0x80) | (uint8_t)(x & 0x7f);
        for (const int64_t here = (int64_t)(bit / 64); window < here;) { // the first code start of a thread
            window++;
            const uint64_t g = (bit - (uint64_t)window * 64) & 31, p = (uint64_t)window * 5;
            for (unsigned b = 0; b < 5; b++)
                if (g >> (4 - b) & 1) gap[(p + b) / 8] |= (uint8_t)(0x80 >> ((p + b) % 8));
        }
        for (const int64_t here = (int64_t)(bit / 64 / (uint64_t)threads); block < here;) first[++block] = (uint32_t)k;
        for (unsigned b = 0; b < s.len; b++, bit++)
            if (s.bits >> (s.len - 1 - b) & 1) out[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    }
    while (block < blocks) first[++block] = (uint32_t)w->n;
    int64_t room = 0;
    for (int64_t b = 0; b < blocks; b++)
        if ((int64_t)first[b + 1] - first[b] > room) room = (int64_t)first[b + 1] - first[b];
    fe_value *items[] = {tensor_value(e, luts), tensor_value(e, codes), tensor_value(e, gaps), tensor_value(e, offsets),
                         tensor_value(e, signs), fe_int(e, room)};
    return fe_tuple(e, 6, items);
}
