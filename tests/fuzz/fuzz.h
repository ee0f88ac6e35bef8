// SPDX-License-Identifier: Apache-2.0
// What the fuzzers share: a reproducible random sequence, and saying which input crashed or hung.
#pragma once
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { HANG_SECONDS = 60 };
static uint64_t state;
static volatile unsigned long current; // number of the input at work

static uint64_t next(void) { // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static size_t below(size_t n) { return n ? (size_t)(next() % n) : 0; }

/// Says which input it was; async-signal-safe.
static inline void died(int sig) {
    char buf[80];
    size_t n = 0;
    for (const char *s = sig == SIGALRM ? "hang at input " : "crash at input "; *s; s++) buf[n++] = *s;
    char digits[24];
    size_t k = 0;
    for (unsigned long x = current; x || !k; x /= 10) digits[k++] = (char)('0' + x % 10);
    while (k) buf[n++] = digits[--k];
    buf[n++] = '\n';
    if (write(STDERR_FILENO, buf, n) < 0) _exit(3);
    _exit(1);
}

/// Crashes and alarms name the input from now on.
static inline void watch(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], died);
}

static inline int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
