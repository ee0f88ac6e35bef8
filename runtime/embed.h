// SPDX-License-Identifier: Apache-2.0
// The standard library and the kernels of programs/ as text inside libtilus. The tables are written
// at build time by programs/embed.c.
#pragma once
#include <stddef.h>

typedef struct {
    const char *name; // "std/ref.tvm"
    const char *text; // NUL-terminated twice
    size_t size;
} embed_file;
extern const embed_file embed_files[];
extern const unsigned embed_count;
