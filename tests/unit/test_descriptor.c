// SPDX-License-Identifier: Apache-2.0
// Matrix descriptors against the addresses of the elements: a walk written from the PTX ISA's description
// of the fields, started where the compiler would start it, must meet every element where its layout
// puts it; and what cannot be walked must be refused with a reason.
#include "layout/descriptor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena.h"

/// Byte address of element (i, j) as the hardware finds it from 64 bits of descriptor.
static int64_t hardware(uint64_t bits, bool across, int64_t i, int64_t j, unsigned elem) {
    const int64_t start = (int64_t)(bits & 0x3fff) << 4, leading = (int64_t)(bits >> 16 & 0x3fff) << 4, stride = (int64_t)(bits >> 32 & 0x3fff) << 4;
    static const int width_of[4] = {16, 128, 64, 32};
    const int64_t width = width_of[bits >> 62];
    const int64_t chunk = 16 / elem; // elements of 16 bytes
    int64_t at = start;
    assert_int_equal(bits >> 49 & 7, 0);
    if (!across) {
        at += i % 8 * width + i / 8 * stride + j % chunk * elem;
        at += j / chunk * (width == 16 ? leading : 16);
    } else if (width == 16) {
        at += i % 8 * 2 + i / 8 * stride + j % 8 * 16 + j / 8 * leading;
    } else {
        at += i % (width / 2) * 2 + i / (width / 2) * leading + j % 8 * width + j / 8 * stride;
    }
    return width == 16 ? at : at ^ ((at >> 7 & (width / 16 - 1)) << 4);
}

/// Every instruction of the box at each origin that its divisors allow.
static void walk(const descriptor_box *b, const char *what) {
    descriptor d;
    const char *why = "";
    if (!layout_descriptor(arena, b, &d, &why)) fail_msg("%s: %s", what, why);
    const unsigned elem = b->elem_bits / 8;
    int32_t origin[LAYOUT_MAX_RANK] = {0};
    for (;;) {
        descriptor_box zero = *b; // byte offset of the origin before the swizzle
        int64_t base = 0;
        for (int k = 0; k < b->tile->rank; k++) {
            zero.dim[0] = zero.dim[1] = k;
            base += layout_descriptor_offset(&zero, origin[k], 0);
        }
        for (int64_t m = 0; m < b->extent[0]; m += b->step[0])
            for (int64_t k = 0; k < b->extent[1]; k += b->step[1]) {
                const int64_t start = base + layout_descriptor_offset(b, m, k);
                assert_int_equal(start % 16, 0);
                for (int64_t i = 0; i < b->step[0] && m + i < b->extent[0]; i++)
                    for (int64_t j = 0; j < b->step[1]; j++) {
                        int32_t at[LAYOUT_MAX_RANK];
                        memcpy(at, origin, sizeof at);
                        at[b->dim[0]] += (int32_t)(m + i);
                        at[b->dim[1]] += (int32_t)(k + j);
                        const int64_t want = shared_offset(b->tile, at) * elem;
                        const int64_t is = hardware(descriptor_bits(&d) | (uint64_t)start >> 4, d.across, i, j, elem);
                        if (is != want)
                            fail_msg("%s: element (%d, %d) of the instruction at (%d, %d): %d, not %d", what, (int)i, (int)j, (int)m, (int)k,
                                     (int)is, (int)want);
                    }
            }
        int k = b->tile->rank - 1;
        for (; k >= 0; k--) {
            const int64_t room = b->tile->shape[k] - (k == b->dim[0] ? b->extent[0] : k == b->dim[1] ? b->extent[1] : 1);
            if (b->divisor[k] && origin[k] + (int64_t)b->divisor[k] <= room) {
                origin[k] += (int32_t)b->divisor[k];
                break;
            }
            origin[k] = 0;
        }
        if (k < 0) return;
    }
}

static const shared_layout *swizzled(int stages, int rows, int cols, unsigned bits, int w) {
    const int32_t shape[3] = {stages, rows, cols};
    const shared_layout *l = shared_swizzle(arena, stages ? 3 : 2, stages ? shape : shape + 1, bits, w, NULL);
    assert_non_null(l);
    return l;
}

static void contiguous_along_k(void **s) {
    (void)s;
    static const int ns[] = {8, 64, 96, 256}, widths[] = {16, 32, 64, 128};
    for (unsigned bits = 8; bits <= 32; bits *= 2)
        for (int w = 0; w < 4; w++)
            for (int n = 0; n < 4; n++)
                for (int rows = 1; rows <= 4; rows *= 2) { // rows of 1, 2, 4 swizzle widths
                    const int cols = widths[w] * 8 / (int)bits * rows;
                    if (cols * (int)bits % 256) continue;
                    const descriptor_box b = {swizzled(ns[n] > 96 ? 1 : 3, ns[n], cols, bits, widths[w]), {1, 2}, {ns[n], cols}, {ns[n], 256 / bits}, {1, 0, 0}, bits};
                    walk(&b, "along k");
                }
}

static void contiguous_across(void **s) {
    (void)s;
    static const int ns[] = {8, 16, 64, 96, 256}, widths[] = {16, 32, 64, 128};
    for (int w = 0; w < 4; w++)
        for (int n = 0; n < 5; n++)
            for (int k = 16; k <= 64; k *= 2) {
                if (ns[n] * 2 % widths[w]) continue;
                const descriptor_box b = {swizzled(2, k, ns[n], 16, widths[w]), {2, 1}, {ns[n], k}, {ns[n], 16}, {1, 0, 0}, 16};
                walk(&b, "across");
            }
}

static void parts_of_tiles(void **s) {
    (void)s;
    // 64 rows of 256, 128 of 256 columns, several instructions in one operand
    descriptor_box b = {swizzled(4, 256, 64, 16, 128), {1, 2}, {64, 64}, {64, 16}, {1, 64, 0}, 16};
    walk(&b, "rows");
    b = (descriptor_box){swizzled(4, 256, 64, 16, 128), {1, 2}, {128, 32}, {64, 16}, {1, 8, 32}, 16};
    walk(&b, "rows from any multiple of 8, half of k");
    b = (descriptor_box){swizzled(2, 64, 256, 16, 128), {2, 1}, {128, 64}, {128, 16}, {1, 0, 128}, 16};
    walk(&b, "columns");
    b = (descriptor_box){swizzled(2, 64, 256, 16, 128), {2, 1}, {32, 32}, {32, 16}, {1, 8, 32}, 16};
    walk(&b, "columns within a panel");
    b = (descriptor_box){swizzled(0, 64, 512, 16, 128), {0, 1}, {64, 512}, {64, 16}, {0}, 16};
    walk(&b, "k over eight panels");
    b = (descriptor_box){swizzled(0, 320, 64, 16, 128), {0, 1}, {320, 64}, {160, 16}, {0}, 16};
    walk(&b, "n in two parts");
    // The no-swizzle form as a layout of 8 x 16-byte blocks, rows of blocks outermost.
    const int32_t shape[2] = {64, 32}, modes[4] = {8, 8, 4, 8};
    const int64_t strides[4] = {4 * 64, 8, 64, 1};
    const shared_layout *l = shared_make(arena, 2, shape, 4, modes, strides, 0, 0, 0, NULL);
    b = (descriptor_box){l, {0, 1}, {64, 32}, {64, 16}, {0}, 16};
    walk(&b, "blocks of 8 rows");
}

static void refused(const descriptor_box *b, const char *part) {
    descriptor d;
    const char *why = NULL;
    assert_false(layout_descriptor(arena, b, &d, &why));
    assert_non_null(why);
    if (!strstr(why, part)) fail_msg("'%s' is not in '%s'", part, why);
}

static void errors(void **s) {
    (void)s;
    const int32_t shape[2] = {64, 64};
    const shared_layout *rows = shared_row_major(arena, 2, shape);
    descriptor_box b = {rows, {0, 1}, {64, 64}, {64, 16}, {0}, 16};
    refused(&b, "swizzle(128)");
    b = (descriptor_box){rows, {1, 0}, {64, 64}, {64, 16}, {0}, 16};
    refused(&b, "swizzle(128)");
    b = (descriptor_box){swizzled(0, 64, 64, 8, 64), {1, 0}, {64, 64}, {64, 32}, {0}, 8};
    refused(&b, "contiguous along k");
    b = (descriptor_box){swizzled(0, 256, 64, 16, 128), {0, 1}, {64, 64}, {64, 16}, {4, 0}, 16};
    refused(&b, "multiples of 8 rows");
    b = (descriptor_box){swizzled(0, 64, 256, 16, 128), {0, 1}, {64, 64}, {64, 16}, {0, 16}, 16};
    refused(&b, "begins anywhere");
    b = (descriptor_box){swizzled(0, 64, 72, 16, 16), {0, 1}, {64, 72}, {64, 16}, {0}, 16};
    refused(&b, "no multiple of 16");
    b = (descriptor_box){rows, {0, 1}, {64, 64}, {64, 64}, {0}, 4};
    refused(&b, "elements of 4 bits");
    // Another xor than the hardware's.
    const int32_t modes[2] = {64, 64};
    const int64_t strides[2] = {64, 1};
    b = (descriptor_box){shared_make(arena, 2, shape, 2, modes, strides, 3, 3, 4, NULL), {0, 1}, {64, 64}, {64, 16}, {0}, 16};
    refused(&b, "swizzle(128)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(contiguous_along_k, setup, teardown),
        cmocka_unit_test_setup_teardown(contiguous_across, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_of_tiles, setup, teardown),
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
    };
    if (setjmp(oom)) return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
