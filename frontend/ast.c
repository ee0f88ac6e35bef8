// SPDX-License-Identifier: Apache-2.0
// Nodes of the tree: making them (for the parser), their names, and the tree dump.
#include "frontend/syntax.h"
#include <stdarg.h>
#include <string.h>

const char *const ast_kind_names[AST_count_] = {
#define AST(kind, name, children) [AST_##kind] = name,
#include "frontend/ast.def"
#undef AST
};

const char *ast_op_text(enum ast_op op) {
    static const char *const text[] = {
        [OP_NONE] = "=",  [OP_ADD] = "+",         [OP_SUB] = "-",         [OP_MUL] = "*",
        [OP_DIV] = "/",   [OP_REM] = "%",         [OP_AND] = "&",         [OP_OR] = "|",
        [OP_XOR] = "^",   [OP_SHL] = "<<",        [OP_SHR] = ">>",        [OP_LAND] = "&&",
        [OP_LOR] = "||",  [OP_EQ] = "==",         [OP_NE] = "!=",         [OP_LT] = "<",
        [OP_GT] = ">",    [OP_LE] = "<=",         [OP_GE] = ">=",         [OP_IN] = "in",
        [OP_NEG] = "-",   [OP_NOT] = "!",         [OP_INV] = "~",         [OP_STAR] = "*",
        [OP_REG] = "reg", [OP_SHARED] = "shared", [OP_GLOBAL] = "global", [OP_TMEM] = "tmem"};
    return text[op];
}

// ---- making nodes -------------------------------------------------------------------------------

static ast *finish(fe_parser *p, ast *a) {
    uint32_t h = 0;
    for (uint32_t i = 0; i < a->nkids; i++)
        if (a->kid[i] && a->kid[i]->height > h) h = a->kid[i]->height;
    a->height = h + 1;
    // The levels of the file itself are not counted, so that what is bracketed 256 deep is legal.
    if (h < FE_MAX_NESTING || a->kind == AST_FILE) return a;
    fe_too_deep(p, a->span);
    // The kind stays, since the grammar's action may go on to fill it in; the kids go.
    for (uint32_t i = 0; i < a->nkids; i++)
        if (a->kid[i]) a->kid[i] = fe_error_node(p, a->kid[i]->span);
    a->height = 2;
    return a;
}

ast *fe_node(fe_parser *p, enum ast_kind kind, vm_span span, uint32_t n, ...) {
    ast *a = vm_new(p->c->arena, ast);
    a->kind = kind;
    a->span = span;
    a->nkids = n;
    if (n) a->kid = vm_newn(p->c->arena, ast *, n);
    va_list ap;
    va_start(ap, n);
    for (uint32_t i = 0; i < n; i++) a->kid[i] = va_arg(ap, ast *);
    va_end(ap);
    return finish(p, a);
}

ast *fe_node_list(fe_parser *p, enum ast_kind kind, vm_span span, bool has_first, ast *first,
                  const fe_list *rest) {
    ast *a = vm_new(p->c->arena, ast);
    a->kind = kind;
    a->span = span;
    a->nkids = rest->n + has_first;
    if (a->nkids) a->kid = vm_newn(p->c->arena, ast *, a->nkids);
    if (has_first) a->kid[0] = first;
    if (rest->n) memcpy(a->kid + has_first, rest->at, rest->n * sizeof *rest->at);
    return finish(p, a);
}

ast *fe_error_node(fe_parser *p, vm_span span) {
    return fe_node(p, AST_ERROR, span, 0);
}

fe_list *fe_list_new(fe_parser *p) {
    return vm_new(p->c->arena, fe_list);
}

fe_list *fe_list_add(fe_parser *p, fe_list *l, ast *a) {
    vm_push(p->c->arena, l, a);
    return l;
}

void fe_set_name(ast *a, const char *name, vm_span span) {
    a->name = name;
    a->name_span = span;
}

void fe_set_names(fe_parser *p, ast *a, const fe_list *ids) {
    a->nnames = ids->n;
    a->names = vm_newn(p->c->arena, const char *, ids->n);
    a->names_span = vm_newn(p->c->arena, vm_span, ids->n);
    for (uint32_t i = 0; i < ids->n; i++) {
        a->names[i] = ids->at[i]->name;
        a->names_span[i] = ids->at[i]->span;
    }
    if (ids->n) fe_set_name(a, a->names[0], a->names_span[0]);
}

ast *fe_chain(const fe_list *l) {
    for (uint32_t i = 1; i < l->n; i++) l->at[i - 1]->next = l->at[i];
    return l->n ? l->at[0] : NULL;
}

/// The `///` lines right before the item that starts at `lo` or after.
void fe_set_doc(fe_parser *p, ast *a, uint32_t lo) {
    const fe_stream *s = p->s;
    uint32_t i = 0, n = s->tok.n - 1;
    while (i < n) {
        const uint32_t m = i + (n - i) / 2;
        if (s->tok.at[m].lo < lo)
            i = m + 1;
        else
            n = m;
    }
    const uint32_t end = s->tok.at[i].comment;
    uint32_t k = end;
    for (; k > fe_comment_lo(s, i); k--) {
        const fe_comment *m = &s->comment.at[k - 1];
        const char *t = s->src->text + m->lo;
        if (!m->line || !m->first || m->hi - m->lo < 3 || t[2] != '/' || t[3] == '/') break;
    }
    if (k == end) return;
    vm_text out = {.arena = p->c->arena};
    for (; k < end; k++) {
        const fe_comment *m = &s->comment.at[k];
        uint32_t from = m->lo + 3;
        if (from < m->hi && s->src->text[from] == ' ') from++;
        vm_putn(&out, s->src->text + from, m->hi - from);
        if (k + 1 < end) vm_put(&out, "\n");
    }
    a->doc = vm_text_end(&out);
}

// ---- the dump -----------------------------------------------------------------------------------

static void quoted(vm_text *t, const char *s) {
    vm_put(t, "\"");
    for (; *s; s++) {
        if (*s == '\n')
            vm_put(t, "\\n");
        else if (*s == '\t')
            vm_put(t, "\\t");
        else if (*s == '"' || *s == '\\')
            vm_put(t, "\\%c", *s);
        else
            vm_putn(t, s, 1);
    }
    vm_put(t, "\"");
}

static void dump(vm_text *t, const ast *a, int depth, const char *mark) {
    vm_put(t, "%*s%s", depth * 2, "", mark);
    if (!a) {
        vm_put(t, "-\n");
        return;
    }
    vm_put(t, "%s", ast_kind_names[a->kind]);
    switch (a->kind) {
    case AST_ASSIGN:
        vm_put(t, " %s%s", a->op ? ast_op_text(a->op) : "", "=");
        break;
    case AST_BINARY:
    case AST_UNARY:
    case AST_SPACE:
        vm_put(t, " %s", ast_op_text(a->op));
        break;
    case AST_INT:
    case AST_BOOL:
        vm_put(t, " %llu", (unsigned long long)a->u);
        break;
    case AST_FLOAT:
        vm_put(t, " %.17g", a->f);
        break;
    default:
        break;
    }
    if (a->nnames) {
        for (uint32_t i = 0; i < a->nnames; i++) vm_put(t, "%s%s", i ? ", " : " ", a->names[i]);
    } else if (a->name) {
        vm_put(t, " ");
        if (a->kind == AST_STRING || a->kind == AST_TEST || a->kind == AST_IMPORT)
            quoted(t, a->name);
        else
            vm_put(t, "%s", a->name);
    }
    if (a->name2) vm_put(t, " %s", a->name2);
    if (a->flag) {
        const bool tuple = a->kind == AST_BIND || a->kind == AST_TUNE_IN;
        vm_put(t, tuple ? " (tuple)" : " (const)");
    }
    if (a->doc) {
        vm_put(t, " doc ");
        quoted(t, a->doc);
    }
    vm_put(t, "\n");
    for (const ast *x = a->attrs; x; x = x->next) dump(t, x, depth + 1, "#");
    for (uint32_t i = 0; i < a->nkids; i++) dump(t, a->kid[i], depth + 1, "");
}

char *fe_ast_text(vm_comp *c, const ast *a) {
    vm_text t = {.arena = c->arena};
    dump(&t, a, 0, "");
    return vm_text_end(&t);
}
