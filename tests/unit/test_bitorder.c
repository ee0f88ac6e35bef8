// SPDX-License-Identifier: Apache-2.0
// Bit orders: permutations of every length; and the plans, carried out in exact arithmetic the way the
// emitted instructions do, give what vm_cast gives for every code of every type.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "vm/bitorder.h"

static uint32_t seed = 1;
static uint32_t rnd(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; }

static unsigned get(const uint32_t *w, uint32_t i) { return w[i / 32] >> i % 32 & 1; }

static uint32_t rotated(const bits_plan *p, const uint32_t *w, const bits_piece *x) {
    uint32_t v = w[x->word];
    if (p->rest != 32 && x->word == p->words - 1) v = (v & 0xffff) | v << (16 - p->rest / 2) >> 16 << 16;
    return x->rot ? v << x->rot | v >> (32 - x->rot) : v;
}

static uint32_t lane(const bits_plan *p, const uint32_t *w, const bits_pair *y, unsigned k, bool top) {
    uint32_t bits = 0;
    for (unsigned i = 0; i < y->n; i++) {
        if (y->piece[i].top != top) continue;
        const uint32_t part = rotated(p, w, &y->piece[i]) >> 16 * k & y->piece[i].mask;
        assert_int_equal(bits & part, 0);
        bits |= part;
    }
    return bits;
}

/// The code that the emitted arithmetic leaves in lane k.
static uint64_t carried_out(const bits_plan *p, vm_dtype q, vm_dtype t, bool numbers, const uint32_t *w,
                            const bits_pair *y, unsigned k) {
    const vm_dtype_info *d = &vm_dtypes[q];
    const uint32_t low = lane(p, w, y, k, false), high = lane(p, w, y, k, true);
    const bool sign = d->kind == K_INT;
    double x = 0;
    switch (p->form) {
    case BITS_INT: {
        const uint32_t flip = sign ? 1u << (d->bits - 1) : 0;
        x = vm_decode(t, (low ^ flip << y->shift) | (t == T_f16 ? 0x6400 : 0x4300));
        x = ldexp(x - (t == T_f16 ? 1024 : 128), -(int)y->shift) - flip;
        break;
    }
    case BITS_WIDE_INT: {
        x = vm_decode(t, low | 0x4300);
        const bits_piece *top = y->piece;
        while (!top->top) top++;
        const uint32_t other = ~high & top->mask;
        x += sign ? -vm_decode(t, high | 0x4300) : vm_decode(t, other) * (-128 / vm_decode(t, top->mask));
        break;
    }
    case BITS_SCALE:
        if (low == 0x7f80) return numbers ? low : 0x7fc0;
        x = fmax(vm_decode(t, low), ldexp(1, -127));
        break;
    default: {
        const int by = (t == T_f16 ? 15 : 127) - ((1 << (d->e - 1)) - 1);
        if (!by) return (low & 0x7fff) > 0x7c00 ? (low & 0x8000) | 0x7c00 : low;
        x = ldexp(vm_decode(t, low), by);
        if (x == 0) return low;
    }
    }
    return vm_encode(t, x, vm_default_rounding(t));
}

/// The f32 that BITS_SPLIT puts together from a byte, rounded.
static uint64_t put_together(vm_dtype q, bool numbers, unsigned byte) {
    const bits_split s = bits_split_of(q);
    const unsigned top = (byte & s.top) + s.add, next = (byte & s.next) << s.up;
    assert_true(top < 256 && next < 256);
    const uint32_t last = vm_dtypes[q].special == SP_SCALE && !numbers && next & 0x80 ? 0xff : 0;
    return vm_cast(T_f32, T_f16, top << 24 | next << 16 | last, vm_default_rounding(T_f16));
}

static void check(vm_dtype q, vm_dtype to, uint32_t slots, bool numbers, jmp_buf *oom) {
    vm_arena *a = vm_arena_new(NULL, oom);
    const unsigned b = vm_bits(q);
    const uint32_t n = slots * b, words = (n + 31) / 32;
    uint32_t *order = vm_newn(a, uint32_t, n), *w = vm_newn(a, uint32_t, words);
    uint8_t *seen = vm_newn(a, uint8_t, n), *code = vm_newn(a, uint8_t, slots);
    bits_order(a, q, to, slots, numbers, order);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(order[i] < n && !seen[order[i]]);
        seen[order[i]] = 1;
    }
    const bits_plan p = bits_plan_make(a, q, to, slots, numbers);
    const vm_dtype t = bits_target(q, to);
    for (uint32_t first = 0; p.form != BITS_NONE && first < 256 + slots; first += slots) {
        for (uint32_t s = 0; s < slots; s++) code[s] = (uint8_t)((first < 256 ? first + s : rnd()) & ((1u << b) - 1));
        for (uint32_t i = 0; i < words; i++) w[i] = rnd() * 2654435761u;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t bit = code[order[i] / b] >> order[i] % b & 1;
            w[i / 32] = (w[i / 32] & ~(1u << i % 32)) | bit << i % 32;
            assert_int_equal(get(w, i), bit);
        }
        for (uint32_t s = 0; s < slots; s++) {
            const uint64_t is = p.form == BITS_SPLIT ? put_together(q, numbers, w[s / 4] >> s % 4 * 8 & 255)
                                                     : carried_out(&p, q, t, numbers, w, &p.pair[s / 2], s % 2);
            vm_rounding r = vm_default_rounding(t);
            r.numbers = numbers;
            const uint64_t want = vm_cast(q, t, code[s], r);
            if (is != want && !(isnan(vm_decode(t, is)) && isnan(vm_decode(t, want))))
                fail_msg("%s to %s, slot %u of %u, code %u: 0x%x, not 0x%x", vm_dtypes[q].name, vm_dtypes[t].name,
                         s, slots, code[s], (unsigned)is, (unsigned)want);
        }
    }
    vm_arena_free(a);
}

static void test_every_code(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 2, 3, 4, 6, 8, 10, 16, 24, 32, 34, 40, 64, 96, 256};
    jmp_buf oom;
    if (setjmp(oom)) fail();
    for (int q = 0; q < T_count_; q++) {
        if (vm_bits((vm_dtype)q) > 8 || q == T_bool) continue;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            for (int k = 0; k < 6; k++)
                check((vm_dtype)q, k / 2 == 0 ? T_f16 : k / 2 == 1 ? T_bf16 : T_f32, lengths[i], k % 2 != 0, &oom);
        }
    }
}

/// Packed files live on: an order, once given, stays.
static void test_orders_stay(void **state) {
    (void)state;
    jmp_buf oom;
    if (setjmp(oom)) fail();
    uint32_t hash = 2166136261u;
    for (int q = 0; q < T_count_; q++) {
        if (vm_bits((vm_dtype)q) > 8 || q == T_bool) continue;
        for (int k = 0; k < 4; k++) {
            vm_arena *a = vm_arena_new(NULL, &oom);
            const uint32_t n = 32 * vm_bits((vm_dtype)q);
            uint32_t *order = vm_newn(a, uint32_t, n);
            bits_order(a, (vm_dtype)q, k % 2 ? T_bf16 : T_f16, 32, k >= 2, order);
            for (uint32_t i = 0; i < n; i++) hash = (hash ^ order[i]) * 16777619u;
            vm_arena_free(a);
        }
    }
    assert_int_equal(hash, 0x55969275);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_code), cmocka_unit_test(test_orders_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
