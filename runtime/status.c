// SPDX-License-Identifier: Apache-2.0
// Statuses and messages: what the embedder sees of a failure, and the translation of the driver's.
#include <string.h>
#include "runtime/runtime.h"

const char *tilus_status_text(tilus_status s) {
    static const char *const text[] = {
#define X(name, text) text,
        TILUS_STATUS_LIST(X)
#undef X
    };
    return (unsigned)s < sizeof text / sizeof *text ? text[s] : "unknown status";
}

#define STR2(x) #x
#define STR(x) STR2(x)
const char *tilus_version(void) {
    return STR(TILUS_VERSION_MAJOR) "." STR(TILUS_VERSION_MINOR) "." STR(TILUS_VERSION_PATCH);
}

void rt_log(const tilus_context *c, tilus_log_level level, const char *fmt, ...) {
    if (!c->log) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->log(c->log_user, level, text);
}

static void forget_long(tilus_context *c) {
    rt_free(c, c->text, c->text_size);
    rt_free(c, c->json, c->json_size);
    c->text = c->json = NULL;
}

tilus_status rt_fail(tilus_context *c, tilus_status s, const char *fmt, ...) {
    char text[sizeof c->error]; // an argument may be the old message
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(c->error, text, sizeof text);
    forget_long(c);
    return s;
}

tilus_status rt_no_memory(tilus_context *c) { return rt_fail(c, TILUS_OUT_OF_MEMORY, "out of host memory"); }

tilus_status rt_fail_diagnostics(tilus_context *c, rt_compilation *x) {
    const char *text = rt_diagnostics(x, false, false);
    rt_fail(c, TILUS_COMPILE_ERROR, "%s", *text ? text : "the program has errors");
    c->text_size = strlen(text) + 1;
    c->text = rt_strdup(c, text); // should there be no memory, the cut form remains
    const char *json = rt_diagnostics(x, true, false);
    c->json_size = strlen(json) + 1;
    c->json = rt_strdup(c, json);
    return TILUS_COMPILE_ERROR;
}

const char *tilus_error(const tilus_context *c) { return !c ? "no context" : c->text ? c->text : c->error; }
const char *tilus_error_json(const tilus_context *c) { return c && c->json ? c->json : ""; }

static tilus_status status_of(int rc) {
    switch (rc) {
    case 0: return TILUS_OK;
    case CU_OUT_OF_MEMORY: return TILUS_OUT_OF_DEVICE_MEMORY;
    case CU_NO_DEVICE:
    case CU_INVALID_DEVICE: return TILUS_NO_DEVICE;
    case CU_UNSUPPORTED_PTX:
    case CU_NO_BINARY: return TILUS_DRIVER_TOO_OLD;
    case CU_NOT_FOUND: return TILUS_NOT_FOUND;
    default: return (rc >= 700 && rc <= 702) || (rc >= 710 && rc <= 719) ? TILUS_TRAP : TILUS_DRIVER_ERROR;
    }
}

tilus_status rt_cu(tilus_context *c, int rc, const char *what) {
    if (rc == 0) return TILUS_OK;
    const char *name = NULL, *text = NULL;
    if (c->cu.error_name) c->cu.error_name(rc, &name);
    if (c->cu.error_string) c->cu.error_string(rc, &text);
    return rt_fail(c, status_of(rc), "%s: %s (%s)", what, text ? text : "unknown error", name ? name : "?");
}
