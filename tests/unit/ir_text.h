// SPDX-License-Identifier: Apache-2.0
// Tile IR in tests: reads text, runs passes, counts operations.
#pragma once
#include "ir/ir.h"
#include "tests/unit/golden.h"

static jmp_buf ir_oom;

static inline vm_comp *ir_fresh(void) {
    vm_comp *c = vm_comp_new(NULL, &ir_oom);
    assert_non_null(c);
    return c;
}

static inline ir_module *ir_read(vm_comp *c, const char *text) {
    return ir_parse(c, vm_source_add(c, "t.ir", text, strlen(text)));
}

static inline ir_func *ir_must_read(vm_comp *c, const char *text) {
    ir_module *m = ir_read(c, text);
    if (!m) fail_msg("%s", vm_diags_text(c, false));
    return m->funcs.at[0];
}

static inline unsigned count_text(const char *text, const char *part) {
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part)) n++;
    return n;
}
