// SPDX-License-Identifier: Apache-2.0
// Messages, files and times of the tool.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "tools/tool.h"

static bool progress_shown;

static void verror(const char *fmt, va_list ap) {
    tool_progress(NULL);
    fflush(stdout);
    fputs("tilusc: error: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void tool_error(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    verror(fmt, ap);
    va_end(ap);
}

int tool_usage(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    verror(fmt, ap);
    va_end(ap);
    return TOOL_USAGE;
}

int tool_flush(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    return tool_usage("cannot write to standard output: %s", strerror(errno));
}

void tool_warn(void *user, const char *text) {
    (void)user;
    tool_progress(NULL);
    fflush(stdout);
    fprintf(stderr, "tilusc: warning: %s\n", text);
}

bool tool_ends(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static bool write_stream(FILE *f, const char *path, const void *data, size_t size) {
    errno = 0;
    bool ok = fwrite(data, 1, size, f) == size;
    ok = fflush(f) == 0 && ok;
    if (!ok) tool_error("cannot write '%s': %s", path, strerror(errno ? errno : EIO));
    return ok;
}

bool tool_write(const char *path, const void *data, size_t size) {
    struct stat st;
    if (!strcmp(path, "-")) return write_stream(stdout, "standard output", data, size);
    const bool there = stat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) { // a device or pipe: nothing to replace
        FILE *const f = fopen(path, "wb");
        if (!f) {
            tool_error("cannot write '%s': %s", path, strerror(errno));
            return false;
        }
        const bool ok = write_stream(f, path, data, size);
        return fclose(f) == 0 && ok;
    }
    const size_t n = strlen(path) + 16;
    char *const temp = malloc(n);
    if (!temp) {
        tool_error("out of memory");
        return false;
    }
    snprintf(temp, n, "%s.XXXXXX", path);
    const int fd = mkstemp(temp);
    FILE *const f = fd < 0 ? NULL : fdopen(fd, "wb");
    bool ok = false;
    if (!f) tool_error("cannot write '%s': %s", path, strerror(errno));
    else {
        const mode_t mask = umask(0);
        umask(mask);
        ok = write_stream(f, path, data, size);
        ok = fchmod(fd, there ? st.st_mode & 07777 : 0666 & ~mask) == 0 && ok;
        ok = fclose(f) == 0 && ok;
        if (ok && rename(temp, path) != 0) {
            tool_error("cannot write '%s': %s", path, strerror(errno));
            ok = false;
        }
        if (!ok) unlink(temp);
    }
    free(temp);
    return ok;
}

double tool_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *tool_seconds(char buf[32], double s) {
    if (s < 1e-3) snprintf(buf, 32, "%.1f us", s * 1e6);
    else if (s < 1) snprintf(buf, 32, "%.1f ms", s * 1e3);
    else snprintf(buf, 32, "%.2f s", s);
    return buf;
}

void tool_progress(const char *fmt, ...) {
    static double first;
    if (!fmt) {
        if (progress_shown) fputs("\r\033[K", stderr);
        progress_shown = false;
        return;
    }
    if (!isatty(STDERR_FILENO)) return;
    const double t = tool_now();
    if (first == 0) first = t;
    if (t - first < 0.5) return;
    va_list ap;
    va_start(ap, fmt);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
    progress_shown = true;
}
