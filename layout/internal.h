// SPDX-License-Identifier: Apache-2.0
// Shared between the .c files of this folder only: how an operation says why it cannot be done.
#pragma once
#include "layout/layout.h"

/// Sets *why (if any) and gives NULL.
void *layout_fail(vm_arena *a, layout_why why, const char *fmt, ...) VM_PRINTF(3, 4);
/// "[2, 3]"
const char *layout_list(vm_arena *a, int n, const int32_t *v);
/// Resolves negative positions, rejects those out of range and duplicates; out gets n entries.
bool layout_positions(vm_arena *a, const char *what, int n, const int32_t *in, int rank,
                      int32_t *out, layout_why why);
int64_t layout_gcd(int64_t a, int64_t b);
