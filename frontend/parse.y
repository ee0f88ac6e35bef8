/* SPDX-License-Identifier: Apache-2.0
 * The grammar of `.tvm` files (language.md section 4). Actions only build nodes; what a program
 * may mean is checked later. Messages are made in report.c. */
%code requires {
#include "frontend/syntax.h"
}
%code {
#include "frontend/parse_gen.h"

// All of the parser's memory lies in its frame or in the arena, so that running out of memory may
// jump over it. Bison's look-ahead stack has no access to the parser's parameters.
static _Thread_local vm_arena *lookahead_arena;
#define YYSTACK_ALLOC(n) vm_alloc(lookahead_arena, (n))
#define YYINITDEPTH 4096
#define YYMAXDEPTH 4096

#define YYLLOC_DEFAULT(cur, rhs, n)                                                                \
    ((cur) = (n) ? (vm_span){YYRHSLOC(rhs, 1).file, YYRHSLOC(rhs, 1).lo, YYRHSLOC(rhs, n).hi}      \
                 : (vm_span){YYRHSLOC(rhs, 0).file, YYRHSLOC(rhs, 0).hi, YYRHSLOC(rhs, 0).hi})

static int tvm_lex(TVM_STYPE *v, vm_span *at, fe_parser *p);
static void tvm_error(const vm_span *at, fe_parser *p, const char *text);
static ast *binary(fe_parser *p, enum ast_op op, ast *a, ast *b);
static ast *space(fe_parser *p, enum ast_op op, vm_span at, ast *a);
static ast *named(ast *a, const char *name, vm_span at);
static ast *flagged(ast *a);
static ast *item(fe_parser *p, ast *a, const fe_list *attrs, vm_span at);
static void only_index(fe_parser *p, const fe_list *l);
static fe_list *one(fe_parser *p, ast *a);
#define NODE(kind, at, ...) fe_node(p, AST_##kind, at, __VA_ARGS__)
#define LIST(kind, at, l) fe_node_list(p, AST_##kind, at, false, NULL, l)
#define ADD(l, x) fe_list_add(p, l, x)
#define NEW fe_list_new(p)
}

%define api.pure full
%define api.prefix {tvm_}
%define api.token.prefix {TK_}
%define api.location.type {vm_span}
%define parse.error custom
%define parse.lac full
%locations
%param {fe_parser *p}
%expect 0
%initial-action { @$ = (vm_span){p->s->file, 0, 0}; }

%union {
    uint64_t u;
    double f;
    const char *s;
    ast *a;
    fe_list *l;
    enum ast_op op;
}

%token <s> ID <u> INT <f> FLOAT <s> STRING
%token IMPORT AS CONST FN STRUCT KERNEL TEST WHERE REQUIRES TUNE WHEN LAUNCH LET VAR IF ELSE FOR IN
%token STEP WHILE FETCH ROLE SIMT BREAK CONTINUE RETURN RUN REG SHARED GLOBAL TMEM TRUE FALSE
%token LPAREN "(" RPAREN ")" LBRACK "[" RBRACK "]" LBRACE "{" RBRACE "}" ATTR "#[" COMMA ","
%token SEMI ";" COLON ":" DOT "." DOTS ".." WINDOW "+:" ARROW "->" SET "=" SET_ADD "+="
%token SET_SUB "-=" SET_MUL "*=" SET_DIV "/=" SET_REM "%=" SET_AND "&=" SET_OR "|=" SET_XOR "^="
%token SET_SHL "<<=" SET_SHR ">>=" LOR "||" LAND "&&" EQ "==" NE "!=" LT "<" GT ">" LE "<=" GE ">="
%token AT "@" OR "|" XOR "^" AND "&" SHL "<<" SHR ">>" ADD "+" SUB "-" MUL "*" DIV "/" REM "%"
%token NOT "!" INV "~"

%left "||"
%left "&&"
%nonassoc "==" "!=" "<" ">" "<=" ">=" IN
%nonassoc ".."
%left "@"
%left "|"
%left "^"
%left "&"
%left "<<" ">>"
%left "+" "-"
%left "*" "/" "%"
%left AS

%type <l> items attrs binds ids clauses params params_opt fields exprs entries sets stmts
%type <l> args args_opt attr_args
%type <a> item const bind fn struct kernel test meta params_node result clause block stmt if else
%type <a> for simple expr binary unary postfix primary arg attr_arg param entry set role step
%type <a> init typed_opt id
%type <op> opassign

%%

file: items { p->root = LIST(FILE, @$, $1); }
    ;
items
    : %empty { $$ = NEW; }
    | items IMPORT STRING ";" {
        ast *a = NODE(IMPORT, ((vm_span){@2.file, @2.lo, @4.hi}), 0);
        fe_set_name(a, $3, @3);
        $$ = ADD($1, a);
    }
    | items IMPORT STRING AS ID ";" {
        ast *a = NODE(IMPORT, ((vm_span){@2.file, @2.lo, @6.hi}), 0);
        fe_set_name(a, $3, @3);
        a->name2 = $5;
        $$ = ADD($1, a);
    }
    | items attrs item { $$ = ADD($1, item(p, $3, $2, @2)); }
    | items error { // fe_skip finds the next item; the token of the error must not be tried again
        yyclearin;
        yyerrok;
        p->in_clauses = false;
        $$ = ADD($1, fe_error_node(p, @2));
    }
    ;
item: const | fn | CONST fn { $$ = flagged($2); $$->span.lo = @1.lo; } | struct | kernel | test ;

attrs
    : %empty { $$ = NEW; }
    | attrs "#[" attr_args "]" {
        only_index(p, $3);
        $$ = $1;
        for (uint32_t i = 0; i < $3->n; i++) $$ = ADD($$, $3->at[i]);
    }
    ;
attr_args: args ;

const: CONST binds ";" { $$ = LIST(CONST, @$, $2); } ;
binds: bind { $$ = one(p, $1); } | binds "," bind { $$ = ADD($1, $3); } ;
bind
    : ID typed_opt init {
        $$ = NODE(BIND, @$, 2, $2, $3);
        fe_set_names(p, $$, one(p, named(NODE(ID, @1, 0), $1, @1)));
    }
    | "(" ids ")" typed_opt init {
        $$ = NODE(BIND, @$, 2, $4, $5);
        fe_set_names(p, $$, $2);
        $$->flag = true;
    }
    ;
typed_opt: %empty { $$ = NULL; } | ":" expr { $$ = $2; } ;
init: %empty { $$ = NULL; } | "=" expr { $$ = $2; } ;
id: ID { $$ = named(NODE(ID, @$, 0), $1, @1); } ;
ids: id { $$ = one(p, $1); } | ids "," id { $$ = ADD($1, $3); } ;

fn: FN ID meta "(" params_node ")" result clauses block {
        $$ = named(NODE(FN, @$, 5, $3, $5, $7, LIST(CLAUSES, @8, $8), $9), $2, @2);
    }
    ;
result: %empty { $$ = NULL; } | "->" expr { $$ = $2; } ;
struct
    : STRUCT ID meta "{" fields "}" {
        $$ = named(fe_node_list(p, AST_STRUCT, @$, true, $3, $5), $2, @2);
    }
    ;
fields
    : %empty { $$ = NEW; }
    | fields ID ":" expr ";" {
        const vm_span at = {@2.file, @2.lo, @5.hi};
        $$ = ADD($1, named(NODE(FIELD_DECL, at, 1, $4), $2, @2));
    }
    | fields error ";" { yyerrok; $$ = ADD($1, fe_error_node(p, @2)); }
    ;
kernel
    : KERNEL ID meta "(" params_node ")" clauses block {
        $$ = named(NODE(KERNEL, @$, 4, $3, $5, LIST(CLAUSES, @7, $7), $8), $2, @2);
    }
    ;
meta: %empty { $$ = NULL; } | "[" params "]" { $$ = LIST(PARAMS, @$, $2); } ;
params_node: params_opt { $$ = LIST(PARAMS, @$, $1); } ;
params_opt: %empty { $$ = NEW; } | params ;
params: param_list | param_list "," ;
%nterm <l> param_list;
param_list: param { $$ = one(p, $1); } | param_list "," param { $$ = ADD($1, $3); } ;
param: ID ":" expr init { $$ = named(NODE(PARAM, @$, 2, $3, $4), $1, @1); } ;

clauses
    : %empty { p->in_clauses = true; $$ = NEW; }
    | clauses clause { $$ = ADD($1, $2); }
    | clauses error ";" { yyerrok; $$ = ADD($1, fe_error_node(p, @2)); }
    ;
clause
    : const
    | WHERE exprs ";" { $$ = LIST(WHERE, @$, $2); }
    | REQUIRES exprs ";" { $$ = LIST(REQUIRES, @$, $2); }
    | TUNE "{" entries "}" { $$ = LIST(TUNE, @$, $3); }
    | LAUNCH "{" sets "}" { $$ = LIST(LAUNCH, @$, $3); }
    | TUNE "{" entries error "}" { yyerrok; $$ = LIST(TUNE, @$, $3); }
    | LAUNCH "{" sets error "}" { yyerrok; $$ = LIST(LAUNCH, @$, $3); }
    ;
entries
    : %empty { $$ = NEW; }
    | entries entry { $$ = ADD($1, $2); }
    | entries error ";" { yyerrok; $$ = ADD($1, fe_error_node(p, @2)); }
    ;
entry
    : id IN expr ";" { $$ = NODE(TUNE_IN, @$, 1, $3); fe_set_names(p, $$, one(p, $1)); }
    | "(" ids ")" IN expr ";" {
        $$ = flagged(NODE(TUNE_IN, @$, 1, $5));
        fe_set_names(p, $$, $2);
    }
    | WHEN expr ";" { $$ = NODE(TUNE_WHEN, @$, 1, $2); }
    ;
sets
    : %empty { $$ = NEW; }
    | sets set { $$ = ADD($1, $2); }
    | sets error ";" { yyerrok; $$ = ADD($1, fe_error_node(p, @2)); }
    ;
set: ID "=" expr ";" { $$ = named(NODE(SET, @$, 1, $3), $1, @1); } ;
exprs: expr_list | expr_list "," ;
%nterm <l> expr_list;
expr_list: expr { $$ = one(p, $1); } | expr_list "," expr { $$ = ADD($1, $3); } ;

test: TEST STRING block { $$ = named(NODE(TEST, @$, 1, $3), $2, @2); } ;
block
    : "{" stmts "}" { $$ = LIST(BLOCK, @$, $2); }
    | "{" stmts error "}" { yyerrok; $$ = LIST(BLOCK, @$, ADD($2, fe_error_node(p, @3))); }
    ;
stmts
    : %empty { $$ = NEW; }
    | stmts attrs stmt { $3->attrs = fe_chain($2); $$ = ADD($1, $3); }
    | stmts error ";" { yyerrok; $$ = ADD($1, fe_error_node(p, @2)); }
    ;
stmt: const
    | simple ";" { $$ = $1; $$->span.hi = @2.hi; }
    | block
    | if
    | CONST if {
        $$ = $2;
        $$->span.lo = @1.lo;
        for (ast *a = $$; a && a->kind == AST_IF; a = a->kid[2]) a->flag = true;
    }
    | for
    | CONST for { $$ = flagged($2); $$->span.lo = @1.lo; }
    | WHILE expr block { $$ = NODE(WHILE, @$, 2, $2, $3); }
    | FETCH block { $$ = NODE(FETCH, @$, 1, $2); }
    | role
    | SIMT ID block { $$ = named(NODE(SIMT, @$, 1, $3), $2, @2); }
    ;
for: FOR ID IN expr step block { $$ = named(NODE(FOR, @$, 3, $4, $5, $6), $2, @2); } ;
step: %empty { $$ = NULL; } | STEP expr { $$ = $2; } ;
role: ROLE ID IN expr step block { $$ = named(NODE(ROLE, @$, 3, $4, $5, $6), $2, @2); }
    | ROLE ID "[" ID "]" IN expr step block {
        $$ = named(NODE(ROLE, @$, 3, $7, $8, $9), $2, @2);
        $$->name2 = $4;
    }
    ;
if: IF expr block else { $$ = NODE(IF, @$, 3, $2, $3, $4); } ;
else: %empty { $$ = NULL; } | ELSE block { $$ = $2; } | ELSE if { $$ = $2; } ;
simple
    : LET binds { $$ = LIST(LET, @$, $2); }
    | VAR binds { $$ = LIST(VAR, @$, $2); }
    | expr { $$ = NODE(EXPR, @$, 1, $1); }
    | expr opassign expr { $$ = NODE(ASSIGN, @$, 2, $1, $3); $$->op = $2; }
    | BREAK { $$ = NODE(BREAK, @$, 0); }
    | CONTINUE { $$ = NODE(CONTINUE, @$, 0); }
    | RETURN { $$ = NODE(RETURN, @$, 1, (ast *)NULL); }
    | RETURN expr { $$ = NODE(RETURN, @$, 1, $2); }
    | RUN expr { $$ = NODE(RUN, @$, 1, $2); }
    ;
opassign
    : "=" { $$ = OP_NONE; } | "+=" { $$ = OP_ADD; } | "-=" { $$ = OP_SUB; } | "*=" { $$ = OP_MUL; }
    | "/=" { $$ = OP_DIV; } | "%=" { $$ = OP_REM; } | "&=" { $$ = OP_AND; } | "|=" { $$ = OP_OR; }
    | "^=" { $$ = OP_XOR; } | "<<=" { $$ = OP_SHL; } | ">>=" { $$ = OP_SHR; }
    ;

args: arg_list | arg_list "," ;
args_opt: %empty { $$ = NEW; } | args ;
%nterm <l> arg_list;
arg_list: arg { $$ = one(p, $1); } | arg_list "," arg { $$ = ADD($1, $3); } ;
arg: attr_arg ;
attr_arg
    : expr
    | ID "=" expr { $$ = named(NODE(ARG, @$, 1, $3), $1, @1); }
    | ".." { $$ = NODE(ALL, @$, 0); }
    | expr "+:" expr { $$ = NODE(WINDOW, @$, 2, $1, $3); }
    | expr STEP expr {
        if ($1->kind == AST_RANGE) $$ = NODE(RANGE, @$, 3, $1->kid[0], $1->kid[1], $3);
        else {
            vm_diag *d = fe_error(p, D_E0203, @2, "'step' needs a range before it");
            if (d) vm_help(p->c, d, "write lo..hi step d");
            $$ = fe_error_node(p, @$);
        }
    }
    ;

expr: "|" ids "|" expr { $$ = NODE(LAMBDA, @$, 1, $4); fe_set_names(p, $$, $2); } | binary ;
binary
    : unary
    | binary "||" binary { $$ = binary(p, OP_LOR, $1, $3); }
    | binary "&&" binary { $$ = binary(p, OP_LAND, $1, $3); }
    | binary "==" binary { $$ = binary(p, OP_EQ, $1, $3); }
    | binary "!=" binary { $$ = binary(p, OP_NE, $1, $3); }
    | binary "<" binary { $$ = binary(p, OP_LT, $1, $3); }
    | binary ">" binary { $$ = binary(p, OP_GT, $1, $3); }
    | binary "<=" binary { $$ = binary(p, OP_LE, $1, $3); }
    | binary ">=" binary { $$ = binary(p, OP_GE, $1, $3); }
    | binary IN binary { $$ = binary(p, OP_IN, $1, $3); }
    | binary ".." binary { $$ = NODE(RANGE, @$, 2, $1, $3); }
    | binary "@" binary { $$ = NODE(AT, @$, 2, $1, $3); }
    | binary "|" binary { $$ = binary(p, OP_OR, $1, $3); }
    | binary "^" binary { $$ = binary(p, OP_XOR, $1, $3); }
    | binary "&" binary { $$ = binary(p, OP_AND, $1, $3); }
    | binary "<<" binary { $$ = binary(p, OP_SHL, $1, $3); }
    | binary ">>" binary { $$ = binary(p, OP_SHR, $1, $3); }
    | binary "+" binary { $$ = binary(p, OP_ADD, $1, $3); }
    | binary "-" binary { $$ = binary(p, OP_SUB, $1, $3); }
    | binary "*" binary { $$ = binary(p, OP_MUL, $1, $3); }
    | binary "/" binary { $$ = binary(p, OP_DIV, $1, $3); }
    | binary "%" binary { $$ = binary(p, OP_REM, $1, $3); }
    | binary AS binary { $$ = NODE(AS, @$, 2, $1, $3); }
    ;
unary
    : postfix
    | "-" unary { $$ = NODE(UNARY, @$, 1, $2); $$->op = OP_NEG; }
    | "!" unary { $$ = NODE(UNARY, @$, 1, $2); $$->op = OP_NOT; }
    | "~" unary { $$ = NODE(UNARY, @$, 1, $2); $$->op = OP_INV; }
    | "*" unary { $$ = NODE(UNARY, @$, 1, $2); $$->op = OP_STAR; }
    | REG unary { $$ = space(p, OP_REG, @$, $2); }
    | SHARED unary { $$ = space(p, OP_SHARED, @$, $2); }
    | GLOBAL unary { $$ = space(p, OP_GLOBAL, @$, $2); }
    | TMEM unary { $$ = space(p, OP_TMEM, @$, $2); }
    ;
postfix
    : primary
    | postfix "(" args_opt ")" {
        only_index(p, $3);
        $$ = fe_node_list(p, AST_CALL, @$, true, $1, $3);
    }
    | postfix "[" args_opt "]" { $$ = fe_node_list(p, AST_INDEX, @$, true, $1, $3); }
    | postfix "." ID { $$ = named(NODE(MEMBER, @$, 1, $1), $3, @3); }
    ;
primary
    : ID { $$ = named(NODE(ID, @$, 0), $1, @1); }
    | INT { $$ = NODE(INT, @$, 0); $$->u = $1; }
    | FLOAT { $$ = NODE(FLOAT, @$, 0); $$->f = $1; }
    | STRING { $$ = named(NODE(STRING, @$, 0), $1, @1); }
    | TRUE { $$ = NODE(BOOL, @$, 0); $$->u = 1; }
    | FALSE { $$ = NODE(BOOL, @$, 0); }
    | "(" expr ")" { $$ = NODE(PAREN, @$, 1, $2); }
    | "(" expr "," ")" { $$ = LIST(TUPLE, @$, one(p, $2)); }
    | "(" expr "," exprs ")" { $$ = fe_node_list(p, AST_TUPLE, @$, true, $2, $4); }
    | "[" exprs "]" { $$ = LIST(LIST, @$, $2); }
    ;

%%

// The declarations above and tokens.def agree.
#define TOKEN(id, spelling, cls)                                                                   \
    _Static_assert(TK_##id == FE_FIRST + K_##id##_, "tokens.def and parse.y differ at " spelling); \
    _Static_assert(YYSYMBOL_##id == 3 + K_##id##_, "bison numbers its symbols differently");
#include "frontend/tokens.def"
#undef TOKEN
_Static_assert(YYNTOKENS == FE_END + 3, "parse.y declares a token that tokens.def lacks");

static fe_list *one(fe_parser *p, ast *a) { return fe_list_add(p, fe_list_new(p), a); }

static ast *named(ast *a, const char *name, vm_span at) {
    fe_set_name(a, name, at);
    return a;
}

static ast *flagged(ast *a) {
    a->flag = true;
    return a;
}

static ast *binary(fe_parser *p, enum ast_op op, ast *a, ast *b) {
    ast *x = fe_node(p, AST_BINARY, (vm_span){a->span.file, a->span.lo, b->span.hi}, 2, a, b);
    x->op = op;
    return x;
}

static ast *space(fe_parser *p, enum ast_op op, vm_span at, ast *a) {
    ast *x = fe_node(p, AST_SPACE, at, 1, a);
    x->op = op;
    return x;
}

static ast *item(fe_parser *p, ast *a, const fe_list *attrs, vm_span at) {
    p->in_clauses = false;
    a->attrs = fe_chain(attrs);
    fe_set_doc(p, a, attrs->n ? at.lo : a->span.lo);
    return a;
}

/// `..` and `+:` select parts of a dimension; calls and attributes have none.
static void only_index(fe_parser *p, const fe_list *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        const ast *a = l->at[i];
        if (a->kind == AST_ALL || a->kind == AST_WINDOW)
            fe_error(p, D_E0203, a->span, "'%s' can stand only in an index, x[…]",
                     a->kind == AST_ALL ? ".." : "+:");
    }
}

static int tvm_lex(TVM_STYPE *v, vm_span *at, fe_parser *p) {
    if (p->recover && !p->again) fe_skip(p);
    const fe_token *t = &p->s->tok.at[p->at];
    p->last = p->at;
    if (p->nqueue) {
        const uint32_t prev = p->at ? t[-1].hi : 0;
        *at = (vm_span){p->s->file, prev, prev};
        return FE_FIRST + p->queue[--p->nqueue];
    }
    *at = (vm_span){p->s->file, t->lo, t->hi};
    if (t->row == FE_END || p->again) return 0;
    p->at++;
    v->u = t->u;
    return FE_FIRST + t->row;
}

static int yyreport_syntax_error(const yypcontext_t *ctx, fe_parser *p) {
    if (p->seen.n >= FE_MAX_ERRORS || p->again) {
        p->recover = p->s->bad = true;
        return 0;
    }
    yysymbol_kind_t want[YYNTOKENS];
    uint8_t rows[YYNTOKENS];
    uint32_t m = 0;
    const int n = yypcontext_expected_tokens(ctx, want, YYNTOKENS);
    for (int i = 0; i < n; i++)
        rows[m++] = (uint8_t)(want[i] == YYSYMBOL_YYEOF ? FE_END : want[i] - 3);
    fe_syntax_error(p, rows, m);
    return 0;
}

static void tvm_error(const vm_span *at, fe_parser *p, const char *text) {
    (void)text; // only "memory exhausted": the stack of YYMAXDEPTH is full
    fe_too_deep(p, *at);
}

void fe_parse_run(fe_parser *p) {
    lookahead_arena = p->c->arena;
    p->root = NULL;
    tvm_parse(p);
}
