// SPDX-License-Identifier: Apache-2.0
// Files that hold tensors: mapped for reading, replaced as a whole for writing.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/runtime.h"

tilus_status rt_map_file(tilus_context *c, const char *path, rt_map *out) {
    *out = (rt_map){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        const tilus_status s = rt_fail(c, TILUS_IO_ERROR, "cannot open '%s': %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return s;
    }
    tilus_status s = TILUS_OK;
    if (!S_ISREG(st.st_mode)) s = rt_fail(c, TILUS_IO_ERROR, "'%s' is no regular file", path);
    else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) s = rt_fail(c, TILUS_IO_ERROR, "cannot map '%s': %s", path, strerror(errno));
        else *out = (rt_map){p, (size_t)st.st_size};
    }
    close(fd);
    return s;
}

void rt_unmap(rt_map *m) {
    if (m->at) munmap((void *)m->at, m->size);
    *m = (rt_map){0};
}

FILE *rt_create_file(tilus_context *c, const char *path, char temp[4096]) {
    const int n = snprintf(temp, 4096, "%s.%ld.part", path, (long)getpid());
    if (n < 0 || n >= 4096) {
        rt_fail(c, TILUS_IO_ERROR, "the path is too long");
        return NULL;
    }
    FILE *f = fopen(temp, "wb");
    if (!f) rt_fail(c, TILUS_IO_ERROR, "cannot write '%s': %s", path, strerror(errno));
    return f;
}

tilus_status rt_finish_file(tilus_context *c, FILE *f, const char *temp, const char *path) {
    bool ok = !ferror(f);
    ok = fclose(f) == 0 && ok;
    ok = ok && rename(temp, path) == 0;
    if (ok) return TILUS_OK;
    const tilus_status s = rt_fail(c, TILUS_IO_ERROR, "cannot write '%s': %s", path, strerror(errno));
    unlink(temp);
    return s;
}

bool rt_shape_bytes(vm_dtype t, int rank, const int64_t *dim, size_t *n, size_t *bytes) {
    const size_t limit = SIZE_MAX / 128; // bits stay countable
    size_t k = 1;
    for (int i = 0; i < rank; i++)
        if (dim[i] == 0) k = 0;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0) return false;
        if (k && (uint64_t)dim[i] > limit / k) return false;
        k *= (size_t)dim[i];
    }
    *n = k;
    *bytes = (k * vm_mem_bits(t) + 7) / 8;
    return true;
}
