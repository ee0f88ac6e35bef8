// SPDX-License-Identifier: Apache-2.0
// Where texts come from: files, standard input, and the programs compiled into the library.
#include <errno.h>
#include <string.h>
#include "runtime/embed.h"
#include "runtime/compile.h"

enum { MAX_TEXT = 256 << 20 }; // spans are 32-bit offsets; a longer text is no program

const char *rt_embedded(const char *path, size_t *size) {
    for (uint32_t i = 0; i < embed_count; i++)
        if (!strcmp(embed_files[i].name, path)) {
            *size = embed_files[i].size;
            return embed_files[i].text;
        }
    return NULL;
}

/// Programs come first, tables behind them.
uint32_t rt_embedded_count(void) {
    uint32_t n = 0;
    while (n < embed_count && strstr(embed_files[n].name, ".tvm")) n++;
    return n;
}
const char *rt_embedded_name(uint32_t i) { return i < rt_embedded_count() ? embed_files[i].name : NULL; }

const char *rt_read_file(vm_comp *c, const char *path, size_t *size, const char **why) {
    const bool standard = !strcmp(path, "-");
    FILE *f = standard ? stdin : fopen(path, "rb");
    if (!f) {
        *why = strerror(errno);
        return NULL;
    }
    // Blocks of an arena cannot grow in place, so the text is gathered in doubling pieces. The stream
    // must be closed on the way out of memory too.
    jmp_buf here, *const outer = c->oom;
    if (setjmp(here)) {
        vm_arena_set_oom(c->arena, outer);
        if (!standard) fclose(f);
        longjmp(*outer, 1);
    }
    vm_arena_set_oom(c->arena, &here);
    vm_text *t = vm_new(c->arena, vm_text);
    t->arena = c->arena;
    char *buf = vm_alloc(c->arena, 1 << 16);
    const char *bad = NULL;
    for (size_t n; (n = fread(buf, 1, 1 << 16, f)) > 0;) {
        vm_putn(t, buf, n);
        if (t->n > MAX_TEXT) {
            bad = "the file is larger than 256 MiB";
            break;
        }
    }
    if (ferror(f)) bad = errno ? strerror(errno) : "read error";
    vm_putn(t, "", 1);
    *size = t->n - 1;
    const char *text = vm_text_end(t);
    vm_arena_set_oom(c->arena, outer);
    if (!standard) fclose(f);
    if (bad) *why = bad;
    return bad ? NULL : text;
}

static const char *join(vm_comp *c, const char *dir, size_t n, const char *path) {
    if (path[0] == '/' || !n) return vm_strdup(c->arena, path);
    return vm_format(c->arena, "%.*s%s%s", (int)n, dir, dir[n - 1] == '/' ? "" : "/", path);
}

static const char *try_file(rt_compilation *x, vm_comp *c, const char *name, const char *path, size_t *size) {
    const char *why;
    const char *text = rt_read_file(c, path, size, &why);
    if (!text) return NULL;
    vm_push(c->arena, &x->files, path);
    vm_push(c->arena, &x->imports, vm_strdup(c->arena, name));
    return text;
}

const char *rt_loader(void *compilation, vm_comp *c, const char *importer, const char *path, size_t *size) {
    rt_compilation *x = compilation;
    const char *text = strncmp(path, "std/", 4) ? NULL : rt_embedded(path, size);
    if (text) return text;
    const char *from = importer ? importer : "";
    for (uint32_t i = 0; i < x->files.n; i++)
        if (!strcmp(x->imports.at[i], from)) from = x->files.at[i];
    const char *slash = strrchr(from, '/');
    text = try_file(x, c, path, join(c, from, slash ? (size_t)(slash - from) : 0, path), size);
    for (uint32_t i = 0; !text && i < x->opt.ninclude; i++)
        text = try_file(x, c, path, join(c, x->opt.include[i], strlen(x->opt.include[i]), path), size);
    return text ? text : rt_embedded(path, size);
}
