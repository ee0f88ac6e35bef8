// SPDX-License-Identifier: Apache-2.0
// The search for bit orders. Step one fills each word with as many whole fields as go: a field is the
// mask that the target wants, rotated; fields of a word must not meet. Step two makes the remaining
// pairs from the bits left over in all words, piece by piece, preferring big pieces and rotations that
// exist already. Every choice of step one with the most fields is tried, with several orders of step
// two; the cheapest plan wins, the first of equals.
#include <string.h>

#include "vm/bitorder.h"

enum { MAX_FIELDS = 16, TRIES = 48, CHUNK = 32 };

typedef struct {
    uint8_t rot, shift, rot_top;
    uint16_t mask, top; // in the lane, after rotation; top: the second number's bit
} field;

typedef struct {
    vm_dtype q;
    bits_form form;
    unsigned b, window;      // bits; positions an integer may use
    uint16_t mask;           // of a float, or of an integer at position 0
    uint32_t slots, words, pairs;
    uint16_t *avail;         // a word: lane bits that exist
    bits_pair *best, *now;
    uint16_t *left, *rots;   // scratch, a word each
    unsigned best_cost;
} search;

static uint16_t rotr16(unsigned x, unsigned r) {
    r &= 15;
    return (uint16_t)((x >> r | x << (16 - r)) & 0xffff);
}
static uint16_t rotl16(unsigned x, unsigned r) { return rotr16(x, 16 - (r & 15)); }

/// Bits set among 16; by hand, since plain x86-64 calls a function for it.
static unsigned count(unsigned x) {
    x -= x >> 1 & 0x5555;
    x = (x & 0x3333) + (x >> 2 & 0x3333);
    x = (x + (x >> 4)) & 0x0f0f;
    return (x + (x >> 8)) & 0x1f;
}

/// Lane bits that a field takes from the word.
static uint16_t taken(const field *f) {
    return (uint16_t)(rotr16(f->mask, f->rot) | rotr16(f->top, f->rot_top));
}

static unsigned pieces_cost(search *s, const bits_pair *pair) {
    uint16_t *seen = s->rots;
    unsigned cost = 0;
    memset(seen, 0, s->words * sizeof *seen);
    for (uint32_t p = 0; p < s->pairs; p++) {
        for (unsigned k = 0; k < pair[p].n; k++) {
            const bits_piece *x = &pair[p].piece[k];
            cost++;
            if (x->rot && !(seen[x->word] >> x->rot & 1)) cost++;
            seen[x->word] |= (uint16_t)(1u << x->rot);
        }
    }
    return cost;
}

/// Pair p from bits of `left`; false if it would take too many pieces.
static bool gather(search *s, bits_pair *out, uint32_t *seed) {
    uint16_t *left = s->left, *rots = s->rots;
    const unsigned shifts = s->form == BITS_INT ? s->window - s->b : 0;
    bits_pair best = {0};
    unsigned best_cost = 1000;
    for (unsigned shift = 0; shift <= shifts; shift++) {
        bits_pair y = {.shift = shift};
        uint16_t need = (uint16_t)(s->mask << shift);
        unsigned cost = 0;
        uint16_t used[BITS_MAX_PIECES];
        while (need && y.n < BITS_MAX_PIECES) {
            unsigned top = 0;
            bits_piece pick = {0};
            for (uint32_t w = 0; w < s->words; w++) {
                uint16_t have = left[w];
                for (unsigned k = 0; k < y.n; k++)
                    if (y.piece[k].word == w) have &= (uint16_t)~used[k];
                if (!have) continue;
                for (unsigned r = 0; r < 16; r++) {
                    const uint16_t m = need & rotl16(have, r);
                    const bool there = !r || (rots[w] >> r & 1);
                    *seed = *seed * 1664525u + 1013904223u;
                    const unsigned score = (count(m) * 4 + (there ? 3 : 0)) * 8 + (*seed >> 29);
                    if (m && score > top) {
                        top = score;
                        pick = (bits_piece){.word = (uint16_t)w, .rot = (uint8_t)r, .mask = m};
                    }
                }
            }
            if (!top) break;
            cost += !pick.rot || (rots[pick.word] >> pick.rot & 1) ? 1 : 2;
            used[y.n] = rotr16(pick.mask, pick.rot);
            need &= (uint16_t)~pick.mask;
            y.piece[y.n++] = pick;
        }
        if (!need && cost < best_cost) best = y, best_cost = cost;
    }
    if (best_cost == 1000) return false;
    for (unsigned k = 0; k < best.n; k++) {
        const bits_piece *x = &best.piece[k];
        left[x->word] &= (uint16_t)~rotr16(x->mask, x->rot);
        rots[x->word] |= (uint16_t)(1u << x->rot);
    }
    *out = best;
    return true;
}

static void add_field(bits_pair *y, uint32_t w, const field *f) {
    *y = (bits_pair){.n = 1, .shift = f->shift,
                     .piece = {{.word = (uint16_t)w, .rot = f->rot, .mask = f->mask}}};
    if (f->top) y->piece[y->n++] = (bits_piece){(uint16_t)w, f->rot_top, f->top, true};
}

/// A whole plan from the fields of a full word (and of the partial one).
static void try_fields(search *s, const field *full, unsigned nfull, const field *part, unsigned npart) {
    for (unsigned t = 0; t < TRIES; t++) {
        uint32_t seed = t * 7919 + 17, p = 0;
        bits_pair *pair = s->now;
        for (uint32_t w = 0; w < s->words; w++) {
            const bool whole = s->avail[w] == 0xffff;
            s->left[w] = s->avail[w];
            s->rots[w] = 0;
            for (unsigned k = 0; k < (whole ? nfull : npart) && p < s->pairs; k++, p++) {
                const field *f = whole ? &full[k] : &part[k];
                add_field(&pair[p], w, f);
                s->left[w] &= (uint16_t)~taken(f);
                s->rots[w] |= (uint16_t)(1u << f->rot | 1u << f->rot_top);
            }
        }
        const bool gathers = p < s->pairs;
        bool ok = true;
        while (p < s->pairs && ok) ok = gather(s, &pair[p++], &seed);
        const unsigned cost = ok ? pieces_cost(s, pair) : UINT32_MAX;
        if (cost < s->best_cost) {
            memcpy(s->best, pair, s->pairs * sizeof *pair);
            s->best_cost = cost;
        }
        if (!gathers) return;
    }
}

/// Integers: fields side by side, one rotation for as many as the window holds.
static unsigned int_fields(const search *s, uint16_t avail, field *out) {
    const unsigned bits = count(avail), per = s->window / s->b;
    unsigned n = 0;
    for (unsigned at = 0; at + s->b <= bits; at += s->b, n++) {
        const unsigned first = n / per * per * s->b, shift = at - first;
        out[n] = (field){.rot = (uint8_t)((16 - first) & 15), .shift = (uint8_t)shift,
                         .mask = (uint16_t)(s->mask << shift)};
    }
    return n;
}

/// Signed: both numbers lie under one rotation. Unsigned: the top bit must be one of the exponent's.
static unsigned wide_fields(const search *s, uint16_t avail, field *out) {
    const bool sign = vm_dtypes[s->q].kind == K_INT;
    unsigned n = 0;
    if (sign) {
        for (unsigned r = 0; r < 16 && 8 * n + 8 <= count(avail); r += 8, n++)
            out[n] = (field){.rot = (uint8_t)r, .rot_top = (uint8_t)r, .mask = 0x7f, .top = 0x80};
        return n;
    }
    out[n++] = (field){.mask = 0x7f, .top = avail >> 14 & 1 ? 0x4000 : 0x2000, .rot_top = avail >> 14 & 1 ? 0 : 6};
    if (count(avail) > 8) out[n++] = (field){.rot = 9, .mask = 0x7f, .rot_top = 15, .top = 0x4000};
    return n;
}

/// Floats: every set of rotations of the mask that do not meet, of the greatest size.
typedef struct {
    field at[256][MAX_FIELDS];
    unsigned n, size;
} sets;

static void float_sets(const search *s, uint16_t free, unsigned from, field *now, unsigned n, sets *out) {
    if (n > out->size) out->size = n, out->n = 0;
    if (n == out->size && out->n < 256) memcpy(out->at[out->n++], now, n * sizeof *now);
    for (unsigned r = from; r < 16; r++) {
        const field f = {.rot = (uint8_t)r, .mask = s->mask};
        if ((taken(&f) & free) != taken(&f)) continue;
        now[n] = f;
        float_sets(s, (uint16_t)(free & ~taken(&f)), r + 1, now, n + 1, out);
    }
}

/// By way of f16, which keeps NaN; where there is none to keep, placing the bits is shorter to bf16.
static bool is_native(vm_dtype q, vm_dtype t, bool numbers) {
    return q == T_f8e5m2 || (q == T_f8e4m3 && !(numbers && t == T_bf16));
}

static bits_form form_of(vm_dtype q, vm_dtype t, bool numbers) {
    const vm_dtype_info *d = &vm_dtypes[q];
    if ((t != T_f16 && t != T_bf16) || d->bits > 8 || q == T_bool || is_native(q, t, numbers)) return BITS_NONE;
    if (!vm_is_float(q)) return d->bits < 8 ? BITS_INT : t == T_f16 ? BITS_NONE : BITS_WIDE_INT;
    if (t == T_f16 && d->e > 5) return BITS_SPLIT;
    return d->special == SP_SCALE ? BITS_SCALE : BITS_FLOAT;
}

vm_dtype bits_target(vm_dtype q, vm_dtype t) {
    // bf16 holds every type exactly, and f32 is a shift away
    if (t != T_f32) return t;
    return is_native(q, T_f16, false) ? T_f16 : T_bf16;
}

int bits_offset(vm_dtype q, vm_dtype t) {
    const unsigned b = vm_bits(q);
    t = bits_target(q, t);
    if (!vm_is_int(q) || q == T_bool || b > 8 || (t == T_bf16 ? b > 7 : t != T_f16)) return 0;
    return (t == T_f16 ? 1024 : 128) + (vm_dtypes[q].kind == K_INT ? 1 << (b - 1) : 0);
}

bits_split bits_split_of(vm_dtype q) {
    const vm_dtype_info *d = &vm_dtypes[q];
    if (d->special == SP_SCALE) return (bits_split){.top = 0x7f, .next = 0x80};
    const unsigned low = d->e - 1u, next = (1u << (d->m + 1)) - 1; // the sign is on top of both
    return (bits_split){.top = (uint8_t)(0x80 | ((1u << low) - 1)), .next = (uint8_t)(next << low),
                        .up = (uint8_t)(7 - d->m - low), .add = (uint8_t)((128 - (1 << (d->e - 1))) / 2)};
}

static unsigned mantissa_of(vm_dtype t) { return t == T_f16 ? 10 : 7; }

/// At most CHUNK slots.
static bits_plan plan_chunk(vm_arena *a, vm_dtype q, vm_dtype t, uint32_t slots, bool numbers) {
    const vm_dtype_info *d = &vm_dtypes[q];
    bits_plan plan = {.form = form_of(q, t, numbers), .slots = slots, .rest = 32};
    const uint32_t total = slots * d->bits;
    if (plan.form == BITS_NONE || !slots || slots % 2) return (bits_plan){.slots = slots, .rest = 32};
    if (plan.form == BITS_SPLIT) {
        plan.words = (total + 31) / 32;
        return plan;
    }
    if (plan.form == BITS_WIDE_INT && d->kind == K_UINT && total % 32) // its fields want a whole lane
        return (bits_plan){.slots = slots, .rest = 32};
    const unsigned mantissa = mantissa_of(t);
    search s = {.q = q, .form = plan.form, .b = d->bits, .window = mantissa, .slots = slots,
                .words = (total + 31) / 32, .pairs = slots / 2, .best_cost = UINT32_MAX};
    s.mask = (uint16_t)(plan.form == BITS_INT ? ((1u << d->bits) - 1)
             : plan.form == BITS_WIDE_INT ? 0xff
             : plan.form == BITS_SCALE ? 0x7f80
             : (0x8000 | ((1u << (d->e + d->m)) - 1) << (mantissa - d->m)));
    s.avail = vm_newn(a, uint16_t, s.words);
    s.left = vm_newn(a, uint16_t, s.words);
    s.rots = vm_newn(a, uint16_t, s.words);
    s.best = vm_newn(a, bits_pair, s.pairs);
    s.now = vm_newn(a, bits_pair, s.pairs);
    for (uint32_t w = 0; w < s.words; w++) s.avail[w] = 0xffff;
    if (total % 32) plan.rest = total % 32, s.avail[s.words - 1] = (uint16_t)((1u << plan.rest / 2) - 1);
    const uint16_t last = s.avail[s.words - 1];
    if (plan.form == BITS_INT || plan.form == BITS_WIDE_INT) {
        field full[MAX_FIELDS] = {0}, part[MAX_FIELDS] = {0};
        const bool wide = plan.form == BITS_WIDE_INT;
        const unsigned n = wide ? wide_fields(&s, 0xffff, full) : int_fields(&s, 0xffff, full);
        const unsigned k = last == 0xffff ? 0 : wide ? wide_fields(&s, last, part) : int_fields(&s, last, part);
        try_fields(&s, full, n, part, k);
    } else {
        sets *full = vm_new(a, sets), *part = vm_new(a, sets);
        field now[MAX_FIELDS] = {0};
        float_sets(&s, 0xffff, 0, now, 0, full);
        float_sets(&s, last, 0, now, 0, part);
        for (unsigned i = 0; i < full->n; i++) try_fields(&s, full->at[i], full->size, part->at[0], part->size);
    }
    if (s.best_cost == UINT32_MAX) return (bits_plan){.slots = slots, .rest = 32};
    plan.words = s.words;
    plan.pairs = s.pairs;
    plan.pair = s.best;
    return plan;
}

/// 32 elements of any type are whole words: longer runs repeat their plan.
bits_plan bits_plan_make(vm_arena *a, vm_dtype q, vm_dtype t, uint32_t slots, bool numbers) {
    numbers = numbers && t != T_f32; // there an instruction is shorter
    t = bits_target(q, t);
    if (slots <= CHUNK || form_of(q, t, numbers) == BITS_SPLIT) return plan_chunk(a, q, t, slots, numbers);
    const uint32_t times = slots / CHUNK, step = vm_bits(q);
    bits_plan one = plan_chunk(a, q, t, CHUNK, numbers), rest = {.rest = 32};
    if (slots % CHUNK) rest = plan_chunk(a, q, t, slots % CHUNK, numbers);
    if (one.form == BITS_NONE || (slots % CHUNK && rest.form == BITS_NONE)) return (bits_plan){.slots = slots, .rest = 32};
    bits_plan all = {.form = one.form, .slots = slots, .words = times * one.words + rest.words,
                     .pairs = slots / 2, .rest = rest.rest, .pair = vm_newn(a, bits_pair, slots / 2)};
    for (uint32_t i = 0; i < all.pairs; i++) {
        const uint32_t k = i / one.pairs;
        bits_pair *y = &all.pair[i];
        *y = k < times ? one.pair[i % one.pairs] : rest.pair[i % one.pairs];
        for (unsigned j = 0; j < y->n; j++) y->piece[j].word = (uint16_t)(y->piece[j].word + k * step);
    }
    return all;
}

unsigned bits_plan_cost(const bits_plan *p) {
    if (p->form == BITS_NONE) return 0;
    unsigned cost = p->rest == 32 ? 0 : 2;
    for (uint32_t i = 0; i < p->pairs; i++) {
        for (unsigned k = 0; k < p->pair[i].n; k++) {
            const bits_piece *x = &p->pair[i].piece[k];
            bool seen = !x->rot;
            for (uint32_t j = 0; j <= i && !seen; j++)
                for (unsigned l = 0; l < (j < i ? p->pair[j].n : k) && !seen; l++)
                    seen = p->pair[j].piece[l].word == x->word && p->pair[j].piece[l].rot == x->rot;
            cost += seen ? 1 : 2;
        }
    }
    return cost;
}

/// Which bit of the code lies at a bit of the lane.
static unsigned code_bit(const bits_plan *p, vm_dtype q, vm_dtype t, const bits_pair *y, bool top, unsigned pos) {
    const vm_dtype_info *d = &vm_dtypes[q];
    switch (p->form) {
    case BITS_INT: return pos - y->shift;
    case BITS_WIDE_INT: return top ? 7 : pos;
    case BITS_SCALE: return pos - 7;
    default: return pos == 15 ? d->bits - 1u : pos - (mantissa_of(bits_target(q, t)) - d->m);
    }
}

/// The bits of a code in a byte of BITS_SPLIT: sign; the exponent's last bit and the mantissa; the rest.
static unsigned split_bit(vm_dtype q, unsigned at) {
    const vm_dtype_info *d = &vm_dtypes[q];
    if (d->special == SP_SCALE) return (at + 1) % 8;
    const unsigned low = d->e - 1u;
    return at == 7 ? 7 : at < low ? at + d->m + 1u : at - low;
}

void bits_order(vm_arena *a, vm_dtype q, vm_dtype t, uint32_t slots, bool numbers, uint32_t *order) {
    const bits_plan p = bits_plan_make(a, q, t, slots, numbers);
    const unsigned b = vm_bits(q);
    for (uint32_t i = 0; i < slots * b; i++) order[i] = p.form == BITS_SPLIT ? i / 8 * 8 + split_bit(q, i % 8) : i;
    if (p.form == BITS_NONE) return;
    for (uint32_t i = 0; i < p.pairs; i++) {
        for (unsigned k = 0; k < p.pair[i].n; k++) {
            const bits_piece *x = &p.pair[i].piece[k];
            for (unsigned at = 0; at < 32; at++) {
                if (!(x->mask >> at % 16 & 1)) continue;
                unsigned from = (at - x->rot) & 31;
                const uint32_t slot = 2 * i + at / 16;
                if (p.rest != 32 && x->word == p.words - 1 && from >= 16) from -= 16 - p.rest / 2;
                order[x->word * 32 + from] = slot * b + code_bit(&p, q, t, &p.pair[i], x->top, at % 16);
            }
        }
    }
}
