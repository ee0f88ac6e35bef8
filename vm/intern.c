// SPDX-License-Identifier: Apache-2.0
// Names: equal spellings become equal pointers, and near misses are found for "did you mean".
// An open hash table keyed by content, so nothing depends on addresses.
#include "vm/vm.h"

#include <string.h>

struct vm_interner {
    const char **at;
    uint32_t *len;
    uint32_t n, cap; // cap is a power of two
};

static uint32_t hash_of(const char *s, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

static uint32_t slot_of(const struct vm_interner *in, const char *s, size_t n) {
    uint32_t i = hash_of(s, n) & (in->cap - 1);
    while (in->at[i] && !(in->len[i] == n && memcmp(in->at[i], s, n) == 0))
        i = (i + 1) & (in->cap - 1);
    return i;
}

static void grow(vm_comp *c, struct vm_interner *in) {
    struct vm_interner old = *in;
    in->cap = old.cap ? old.cap * 2 : 256;
    in->at = vm_newn(c->arena, const char *, in->cap);
    in->len = vm_newn(c->arena, uint32_t, in->cap);
    for (uint32_t i = 0; i < old.cap; i++) {
        if (!old.at[i]) continue;
        const uint32_t j = slot_of(in, old.at[i], old.len[i]);
        in->at[j] = old.at[i];
        in->len[j] = old.len[i];
    }
}

const char *vm_internn(vm_comp *c, const char *s, size_t n) {
    if (!c->names) c->names = vm_new(c->arena, struct vm_interner);
    struct vm_interner *in = c->names;
    if (in->n * 2 >= in->cap) grow(c, in);
    const uint32_t i = slot_of(in, s, n);
    if (!in->at[i]) {
        char *copy = vm_alloc(c->arena, n + 1);
        if (n) memcpy(copy, s, n);
        in->at[i] = copy;
        in->len[i] = (uint32_t)n;
        in->n++;
    }
    return in->at[i];
}

const char *vm_intern(vm_comp *c, const char *s) { return vm_internn(c, s, strlen(s)); }

enum { NEAR_MAX = 64 };

/// Edit distance with transpositions of neighbours, for names of at most NEAR_MAX bytes.
static unsigned distance(const char *a, size_t na, const char *b, size_t nb) {
    unsigned row[3][NEAR_MAX + 1];
    for (size_t j = 0; j <= nb; j++) row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        cur[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned d = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < d) d = up[j] + 1;
            if (cur[j - 1] + 1 < d) d = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < d)
                d = up2[j - 2] + 1;
            cur[j] = d;
        }
    }
    return row[na % 3][nb];
}

const char *vm_nearest(const char *name, const char *const *cands, size_t n) {
    const size_t len = strlen(name);
    if (len == 0 || len > NEAR_MAX) return NULL;
    const char *best = NULL;
    unsigned best_d = (unsigned)(len / 3) + 1;
    for (size_t i = 0; i < n; i++) {
        const size_t m = cands[i] ? strlen(cands[i]) : 0;
        if (m == 0 || m > NEAR_MAX) continue;
        const unsigned d = distance(name, len, cands[i], m);
        if (d < best_d) best_d = d, best = cands[i];
    }
    return best;
}
