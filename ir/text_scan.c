// SPDX-License-Identifier: Apache-2.0
// Scanner of tile IR's text form. Layouts after `@` are taken whole, up to the comma, colon or bracket
// that ends them, and given to layout_parse.
#include "ir/text.h"
#include "text_gen.h"

#include <string.h>

int ir_text_yylex(IR_TEXT_YYSTYPE *v, vm_span *at, ir_text *p);

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static uint32_t word_end(const char *s, uint32_t i) {
    while (is_letter(s[i]) || is_digit(s[i]) || s[i] == '.') i++;
    return i;
}

static bool begins_line(const char *s, uint32_t i) {
    while (i && (s[i - 1] == ' ' || s[i - 1] == '\t' || s[i - 1] == '\r')) i--;
    return i == 0 || s[i - 1] == '\n';
}

static int word_token(const char *w) {
    static const struct {
        const char *text;
        int token;
    } words[] = {{"func", FUNC},       {"reg", REG},           {"shared", SHARED}, {"global", GLOBAL},
                 {"barrier", BARRIER}, {"inflight", INFLIGHT}, {"none", NONE},     {"ptr", PTR}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(w, words[i].text) == 0) return words[i].token;
    return ID;
}

static int hex(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int scan_string(ir_text *p, IR_TEXT_YYSTYPE *v, vm_span *at) {
    const char *s = p->src->text;
    vm_text t = {.arena = p->arena};
    uint32_t i = at->lo + 1;
    while (s[i] != '"') {
        if (i >= p->src->size || s[i] == '\n') {
            at->hi = i;
            ir_text_error(p, *at, "string is not closed");
            return END;
        }
        char c = s[i++];
        if (c == '\\') {
            c = s[i++];
            if (c == 'n') c = '\n';
            else if (c == 't') c = '\t';
            else if (c == 'x' && hex(s[i]) >= 0 && hex(s[i + 1]) >= 0 && hex(s[i]) + hex(s[i + 1]) > 0) {
                c = (char)(hex(s[i]) * 16 + hex(s[i + 1]));
                i += 2;
            } else if (c != '"' && c != '\\') {
                at->hi = i;
                ir_text_error(p, *at, "unknown escape sequence");
                return END;
            }
        }
        vm_putn(&t, &c, 1);
    }
    p->at = at->hi = i + 1;
    v->s = vm_text_end(&t);
    return STRING;
}

static int scan_number(ir_text *p, IR_TEXT_YYSTYPE *v, vm_span *at) {
    const char *s = p->src->text;
    uint32_t i = at->lo;
    const bool minus = s[i] == '-';
    i += minus;
    uint64_t x = 0;
    bool over = false, any = false;
    const unsigned base = s[i] == '0' && s[i + 1] == 'x' ? 16 : 10;
    if (base == 16) i += 2;
    for (; base == 16 ? hex(s[i]) >= 0 : is_digit(s[i]); i++, any = true)
        over = over || __builtin_mul_overflow(x, (uint64_t)base, &x) ||
               __builtin_add_overflow(x, (uint64_t)hex(s[i]), &x);
    p->at = at->hi = i;
    if (over || !any) {
        ir_text_error(p, *at, any ? "number does not fit 64 bits" : "malformed number");
        return END;
    }
    v->i = (int64_t)(minus ? 0 - x : x);
    return INT;
}

static int scan_layout(ir_text *p, IR_TEXT_YYSTYPE *v, vm_span *at) {
    const char *s = p->src->text;
    uint32_t lo = at->lo + 1, i;
    int depth = 0;
    while (s[lo] == ' ') lo++;
    for (i = lo; i < p->src->size; i++) {
        const char c = s[i];
        if (c == '(' || c == '[') depth++;
        if ((c == ')' || c == ']') && depth-- == 0) break;
        if (c == '\n' || c == '{' || c == '}' || c == '!') break;
        if (depth == 0 && (c == ',' || c == ':')) break;
    }
    p->at = at->hi = i;
    while (i > lo && s[i - 1] == ' ') i--;
    v->s = vm_internn(p->comp, s + lo, i - lo);
    return LAYOUT;
}

int ir_text_yylex(IR_TEXT_YYSTYPE *v, vm_span *at, ir_text *p) {
    const char *s = p->src->text;
    const uint32_t size = p->src->size;
    uint32_t i = p->at;
    for (;;) {
        while (i < size && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r')) i++;
        if (s[i] != '/' || s[i + 1] != '/') break;
        while (i < size && s[i] != '\n') i++;
    }
    *at = (vm_span){p->file, i, i};
    p->at = i;
    if (i >= size || p->failed) return END;
    const char c = s[i];
    if (c == '"') return scan_string(p, v, at);
    if (is_digit(c) || c == '-') return scan_number(p, v, at);
    if (is_letter(c) || c == '%' || (c == '@' && p->after_func)) {
        const uint32_t skip = !is_letter(c), end = word_end(s, i + skip);
        p->at = at->hi = end;
        v->s = vm_internn(p->comp, s + i + skip, end - i - skip);
        p->after_func = false;
        if (end == i + skip) {
            at->hi = end + 1;
            ir_text_error(p, *at, "a name is missing");
            return END;
        }
        if (c == '%') return begins_line(s, i) ? RESULT : VALUE;
        if (c == '@') return FNAME;
        const int token = word_token(v->s);
        p->after_func = token == FUNC;
        return token;
    }
    if (c == '@') return scan_layout(p, v, at);
    p->at = at->hi = i + 1;
    if (c == '{') { // a list of attributes if `name =` follows
        uint32_t j = i + 1;
        while (s[j] == ' ') j++;
        const uint32_t k = word_end(s, j);
        j = k > j ? k : size;
        while (j < size && s[j] == ' ') j++;
        return j < size && s[j] == '=' ? ATTRS : '{';
    }
    if (strchr("(){}[],:=!?", c) && c) return c;
    ir_text_error(p, *at, "unexpected character");
    return END;
}
