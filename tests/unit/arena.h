// SPDX-License-Identifier: Apache-2.0
// An arena for the tests of one file: cmocka's group set-up and teardown.
#pragma once
#include "vm/vm.h"

static jmp_buf oom;
static vm_arena *arena;

static int setup(void **state) {
    (void)state;
    arena = vm_arena_new(NULL, &oom);
    return arena ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    vm_arena_free(arena);
    return 0;
}
