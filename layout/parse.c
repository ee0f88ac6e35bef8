// SPDX-License-Identifier: Apache-2.0
// Reader of layout expressions as written on the command line, in atoms.def and by text.c:
// recursive descent over the text, evaluating as it goes. Not the language's own evaluator.
#include "layout/parse.h"

#include <ctype.h>
#include <string.h>

// ---- the parser ---------------------------------------------------------------------------------

static bool expression(parser *p, value *out);

static void blanks(parser *p) {
    while (isspace((unsigned char)p->text[p->at])) p->at++;
}

static bool accept(parser *p, char c) {
    blanks(p);
    if (p->text[p->at] != c) return false;
    p->at++;
    return true;
}

static const char *found(parser *p) {
    blanks(p);
    const char c = p->text[p->at];
    if (!c) return "the end";
    return isprint((unsigned char)c) ? vm_format(p->a, "'%c'", c) : "a strange character";
}

static bool require(parser *p, char c) {
    if (accept(p, c)) return true;
    const char *got = found(p);
    return layout_parse_fail(p, p->at, "expected '%c', found %s", c, got);
}

static const char *name(parser *p) { // NULL: none here
    blanks(p);
    const size_t lo = p->at;
    if (!isalpha((unsigned char)p->text[lo]) && p->text[lo] != '_') return NULL;
    while (isalnum((unsigned char)p->text[p->at]) || p->text[p->at] == '_') p->at++;
    return vm_format(p->a, "%.*s", (int)(p->at - lo < 200 ? p->at - lo : 200), p->text + lo);
}

static bool arguments(parser *p, args *as) { // after '('
    as->arg = vm_newn(p->a, arg, MAX_ARGS);
    while (!accept(p, ')')) {
        if (as->n && !require(p, ',')) return false;
        if (as->n && accept(p, ')')) return true;
        if (as->n == MAX_ARGS)
            return layout_parse_fail(p, p->at, "%s: more than %d arguments", as->name, MAX_ARGS);
        arg *x = &as->arg[as->n++];
        const size_t back = p->at;
        x->key = name(p);
        if (x->key && !accept(p, '=')) {
            x->key = NULL;
            p->at = back;
        }
        if (!expression(p, &x->v)) return false;
    }
    return true;
}

static bool unknown(parser *p, size_t at, const char *what, const char *word,
                    const char *const *cands, size_t n) {
    const char *near = vm_nearest(word, cands, n);
    if (near)
        return layout_parse_fail(p, at, "there is no %s '%s'; did you mean '%s'?", what, word,
                                 near);
    return layout_parse_fail(p, at, "there is no %s '%s'", what, word);
}

static bool dot_call(parser *p, size_t at, value *out) {
    args as = {.name = "mma.dot", .at = at};
    return arguments(p, &as) && layout_call(p, layout_call_dot, &as, out);
}

// `word(` has been read; recv is the value before the dot, or NULL.
static bool call(parser *p, const char *word, size_t at, const value *recv, value *out) {
    const char *names[LAYOUT_FUNCTIONS];
    for (size_t i = 0; i < LAYOUT_FUNCTIONS; i++) {
        names[i] = layout_functions[i].name;
        if (strcmp(word, layout_functions[i].name) != 0) continue;
        args as = {.name = layout_functions[i].name, .at = at};
        if (!arguments(p, &as)) return false;
        const bool chained = recv && layout_functions[i].constructor;
        if (recv && !chained) {
            if (as.n == MAX_ARGS) return layout_parse_fail(p, at, "%s: too many arguments", word);
            memmove(as.arg + 1, as.arg, sizeof(arg) * (size_t)as.n++);
            as.arg[0] = (arg){.v = *recv};
        }
        value v = {.at = at};
        if (!layout_call(p, layout_functions[i].run, &as, &v)) return false;
        if (chained) {
            value both = {.at = at};
            if (!layout_values_compose(p, &as, recv, &v, &both)) return false;
            v = both;
        }
        *out = v;
        return true;
    }
    return unknown(p, at, "layout function", word, names, LAYOUT_FUNCTIONS);
}

static bool member(parser *p, const value *v, const char *word, size_t at, value *out) {
    static const char *const operands[] = {"a", "b", "c", "a_warps", "b_warps", "c_warps"};
    out->at = at;
    if (v->kind == V_MMA) {
        const char *const *atoms;
        const size_t n = mma_atom_names(&atoms);
        out->kind = V_ATOM;
        out->atom = mma_atom_find(p->a, word);
        return out->atom || unknown(p, at, "mma atom", word, atoms, n);
    }
    if (v->kind != V_ATOM && v->kind != V_DOT)
        return layout_parse_fail(p, at, "%s has no member '%s'", layout_kind_names[v->kind], word);
    const layout *all[6] = {0};
    size_t n = 3;
    if (v->kind == V_ATOM) {
        all[0] = v->atom->a, all[1] = v->atom->b, all[2] = v->atom->c;
    } else {
        all[0] = v->dot->a, all[1] = v->dot->b, all[2] = v->dot->c;
        all[3] = v->dot->a_warps, all[4] = v->dot->b_warps, all[5] = v->dot->c_warps;
        n = 6;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, operands[i]) == 0) {
            out->kind = V_REG;
            out->reg = all[i];
            return true;
        }
    return unknown(p, at, "mma operand", word, operands, n);
}

// Items up to the closing bracket. "(x)" is x itself.
static bool sequence(parser *p, char close, value *out) {
    int64_t *items = vm_newn(p->a, int64_t, MAX_LIST);
    const size_t at = out->at;
    int n = 0;
    bool comma = false;
    value v = {0};
    while (!accept(p, close)) {
        if (n) {
            if (!require(p, ',')) return false;
            comma = true;
            if (accept(p, close)) break;
            if (v.kind != V_INT)
                return layout_parse_fail(p, v.at, "lists hold numbers, not %s",
                                         layout_kind_names[v.kind]);
        }
        if (n == MAX_LIST)
            return layout_parse_fail(p, p->at, "the list has more than %d entries", MAX_LIST);
        v = (value){0};
        if (!expression(p, &v)) return false;
        if (v.kind == V_INT) items[n] = v.i;
        n++;
    }
    if (close == ')' && n == 1 && !comma) {
        *out = v;
        return true;
    }
    if (n && v.kind != V_INT)
        return layout_parse_fail(p, v.at, "lists hold numbers, not %s", layout_kind_names[v.kind]);
    *out = (value){.kind = V_LIST, .at = at, .n = n, .list = items};
    return true;
}

static bool number(parser *p, value *out) {
    const size_t at = p->at;
    int64_t x = 0;
    while (isdigit((unsigned char)p->text[p->at])) {
        x = x * 10 + (p->text[p->at++] - '0');
        if (x > (int64_t)1 << 48) return layout_parse_fail(p, at, "the number is too large");
    }
    *out = (value){.kind = V_INT, .at = at, .i = x};
    return true;
}

static bool primary(parser *p, value *out) {
    blanks(p);
    const size_t at = p->at;
    out->at = at;
    if (accept(p, '(')) return sequence(p, ')', out);
    if (accept(p, '[')) return sequence(p, ']', out);
    if (isdigit((unsigned char)p->text[at])) return number(p, out);
    if (accept(p, '-')) {
        blanks(p);
        if (!isdigit((unsigned char)p->text[p->at]))
            return layout_parse_fail(p, p->at, "expected a number after '-'");
        if (!number(p, out)) return false;
        out->i = -out->i;
        out->at = at;
        return true;
    }
    const char *word = name(p);
    if (!word) {
        const char *got = found(p);
        return layout_parse_fail(p, at, "expected a layout, found %s", got);
    }
    const bool yes = strcmp(word, "true") == 0 || strcmp(word, "True") == 0;
    if (yes || strcmp(word, "false") == 0 || strcmp(word, "False") == 0) {
        *out = (value){.kind = V_BOOL, .at = at, .i = yes};
        return true;
    }
    if (strcmp(word, "mma") == 0) {
        out->kind = V_MMA;
        return true;
    }
    if (accept(p, '(')) return call(p, word, at, NULL, out);
    const char *names[LAYOUT_FUNCTIONS];
    for (size_t i = 0; i < LAYOUT_FUNCTIONS; i++) names[i] = layout_functions[i].name;
    return unknown(p, at, "layout", word, names, LAYOUT_FUNCTIONS);
}

static bool postfix(parser *p, value *out) {
    if (!primary(p, out)) return false;
    while (accept(p, '.')) {
        blanks(p);
        const size_t at = p->at;
        const char *word = name(p);
        if (!word) {
            const char *got = found(p);
            return layout_parse_fail(p, at, "expected a name after '.', found %s", got);
        }
        const value recv = *out;
        value v = {.at = at};
        const bool dot = recv.kind == V_MMA && strcmp(word, "dot") == 0;
        if (dot && !require(p, '(')) return false;
        const bool ok = dot              ? dot_call(p, at, &v)
                        : accept(p, '(') ? call(p, word, at, &recv, &v)
                                         : member(p, &recv, word, at, &v);
        if (!ok) return false;
        *out = v;
    }
    return true;
}

static bool arithmetic(parser *p, char op, size_t at, value *x, const value *y) {
    if (op == '/') {
        if (y->i == 0) return layout_parse_fail(p, at, "division by zero");
        x->i /= y->i;
        return true;
    }
    const int64_t cap = (int64_t)1 << 48;
    const int64_t ax = x->i < 0 ? -x->i : x->i, ay = y->i < 0 ? -y->i : y->i;
    if (ax && ay > cap / ax) return layout_parse_fail(p, at, "the number is too large");
    x->i *= y->i;
    return true;
}

static bool expression(parser *p, value *out) {
    if (p->depth == MAX_DEPTH)
        return layout_parse_fail(p, p->at, "the expression is nested more than %d deep", MAX_DEPTH);
    p->depth++;
    *out = (value){0};
    if (!postfix(p, out)) return false;
    for (;;) {
        blanks(p);
        const size_t at = p->at;
        const char op = p->text[at];
        if (op != '*' && op != '/') break;
        p->at++;
        value y = {0};
        if (!postfix(p, &y)) return false;
        if (out->kind == V_INT && y.kind == V_INT) {
            if (!arithmetic(p, op, at, out, &y)) return false;
            continue;
        }
        const args as = {.name = op == '*' ? "*" : "/", .at = at};
        value z = {.at = out->at};
        if (op == '*') {
            if (!layout_values_compose(p, &as, out, &y, &z)) return false;
        } else {
            if (!layout_values_divide(p, &as, out, &y, &z)) return false;
        }
        *out = z;
    }
    p->depth--;
    return true;
}

bool layout_parse(vm_arena *a, const char *expr, const layout **reg, const shared_layout **sh,
                  layout_why why, size_t *where) {
    parser p = {.a = a, .text = expr};
    value v;
    *reg = NULL;
    *sh = NULL;
    bool ok = expression(&p, &v);
    if (ok && (blanks(&p), p.text[p.at])) {
        const char *got = found(&p);
        ok = layout_parse_fail(&p, p.at, "expected the end of the layout, found %s", got);
    }
    if (ok && v.kind != V_REG && v.kind != V_SHARED)
        ok = layout_parse_fail(&p, v.at,
                               v.kind == V_ATOM || v.kind == V_DOT
                                   ? "%s is not a layout: name an operand, .a, .b or .c"
                                   : "%s is not a layout",
                               layout_kind_names[v.kind]);
    if (ok) {
        if (v.kind == V_REG)
            *reg = v.reg;
        else
            *sh = v.sh;
        return true;
    }
    if (why) *why = p.why;
    if (where) *where = p.where;
    return false;
}
