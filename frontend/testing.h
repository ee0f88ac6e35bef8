// SPDX-License-Identifier: Apache-2.0
// Private to testing*.c: the state of the test that runs.
#pragma once
#include "frontend/tensor.h"

typedef struct {
    const fe_executor *exec;
    bool failed;
    uint32_t errors;       // reported before the test began
    const char *message, *measured, *skipped;
    const char *expected;  // the next run must fail with this text in its message
} testing;

fe_value *test_bad(fe_eval *e, vm_span at, const char *fmt, ...) VM_PRINTF(3, 4);
void test_fail(fe_eval *e, vm_span at, const char *fmt, ...) VM_PRINTF(3, 4);
fe_value *test_elementwise(fe_eval *e, vm_inst k, const char *what, fe_value *a, fe_value *b, vm_span at);
fe_value *test_call(fe_eval *e, const char *name, fe_args *args, vm_span at);
