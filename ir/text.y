// SPDX-License-Identifier: Apache-2.0
// Grammar of tile IR's text form (see print.c). One rule covers every operation: which operands,
// attributes and types fit an instruction is the verifier's affair. A value that begins a line is a
// token of its own (RESULT), as operations have no other separator.
%code requires {
#include "ir/text.h"
}
%define api.prefix {ir_text_yy}
%define api.pure full
%define api.location.type {vm_span}
%define parse.error verbose
%locations
%param { ir_text *p }
%expect 0
%union {
    const char *s;
    int64_t i;
    bool b;
    ir_type type;
    enum ir_space space;
}
%code {
#define YYLLOC_DEFAULT(cur, rhs, n)                                                                \
    (cur) = (n) ? (vm_span){YYRHSLOC(rhs, 1).file, YYRHSLOC(rhs, 1).lo, YYRHSLOC(rhs, n).hi}       \
                : (vm_span){YYRHSLOC(rhs, 0).file, YYRHSLOC(rhs, 0).hi, YYRHSLOC(rhs, 0).hi}
// The parser's stack lives in its frame, so that running out of memory may jump over it.
#define YYINITDEPTH 4096
#define YYMAXDEPTH 4096
#define TRY(x)                                                                                     \
    if (!(x)) YYABORT
int ir_text_yylex(IR_TEXT_YYSTYPE *v, vm_span *at, ir_text *p);
static void ir_text_yyerror(vm_span *at, ir_text *p, const char *text) {
    ir_text_error(p, *at, "%s", text);
}
}

%token FUNC "'func'" REG "'reg'" SHARED "'shared'" GLOBAL "'global'" PTR "'ptr'"
%token BARRIER "'barrier'" INFLIGHT "'inflight'" NONE "'none'"
%token ATTRS "attributes"
%token <s> ID "a name" VALUE "a value" RESULT "a result" STRING "a string" LAYOUT "a layout" FNAME "a function name"
%token <i> INT "an integer"
%token END 0 "end of text"

%type <s> word layout
%type <space> space
%type <type> type plain
%type <b> pinned

%%
file: %empty | file func ;

func: FUNC FNAME { TRY(ir_text_func(p, @2, $2)); } '(' params ')' options body host ;
host: %empty | ID { TRY(ir_text_host(p, @1, $1)); } body ;
body: '{' { p->depth++; } ops '}' { p->depth--; } ;

params: %empty | param_list ;
param_list: param | param_list ',' param ;
param: VALUE ':' type { TRY(ir_text_param(p, @1, $1, &$3)); } param_options ;
param_options: %empty | open param_items '}' ;
open: '{' | ATTRS ;
param_items: param_item | param_items ',' param_item ;
param_item:
    ID '=' INT { TRY(ir_text_param_option(p, @1, $1, $3, NULL)); }
  | ID { TRY(ir_text_param_option(p, @1, $1, 0, NULL)); }
  | ID STRING { TRY(ir_text_param_option(p, @1, $1, 0, $2)); }
  ;

options: %empty | options option ;
option:
    ID INT { TRY(ir_text_option(p, @1, $1, 'i', $2, NULL)); }
  | ID STRING { TRY(ir_text_option(p, @1, $1, 's', 0, $2)); }
  | ID '[' ints ']' { TRY(ir_text_option(p, @1, $1, 'v', 0, NULL)); }
  | ID { TRY(ir_text_option(p, @1, $1, 'n', 0, NULL)); }
  ;

ops: %empty | ops op ;
op: results ID operands attrs types { TRY(ir_text_op(p, @2, $2)); } regions { p->op = p->region->parent; } ;

results: %empty | names '=' ;
names: RESULT { vm_push(p->arena, &p->names, $1); } | names ',' VALUE { vm_push(p->arena, &p->names, $3); } ;

operands: %empty | operand_list ;
operand_list: operand | operand_list ',' operand ;
operand: VALUE { TRY(ir_text_operand(p, @1, $1)); } ;

attrs: %empty | ATTRS attr_list '}' ;
attr_list: attr | attr_list ',' attr ;
attr:
    word '=' INT { TRY(ir_text_attr(p, @1, $1, 'i', $3, NULL)); }
  | word '=' STRING { TRY(ir_text_attr(p, @1, $1, 's', 0, $3)); }
  | word '=' ID { TRY(ir_text_attr(p, @1, $1, 'd', 0, $3)); }
  | word '=' '[' ints ']' { TRY(ir_text_attr(p, @1, $1, 'v', 0, NULL)); }
  ;
word: ID | BARRIER { $$ = "barrier"; } ;
ints: no_ints | no_ints int_list ;
no_ints: %empty { p->ints.n = 0; } ;
int_list: int | int_list ',' int ;
int: INT { vm_push(p->arena, &p->ints, $1); } | '?' { vm_push(p->arena, &p->ints, IR_DYN); } ;

types: %empty | ':' type_list ;
type_list: typed | type_list ',' typed ;
typed: type pinned {
    vm_push(p->arena, &p->types, $1);
    vm_push(p->arena, &p->pinned, $2);
} ;
pinned: %empty { $$ = false; } | '!' ID { $$ = true; } ;
type: plain | INFLIGHT plain { $$ = $2; $$.inflight = true; } ;
plain:
    NONE { $$ = (ir_type){.space = IS_NONE}; }
  | ID { TRY(ir_text_type(p, @1, &$$, IS_SCALAR, $1, false, NULL)); }
  | PTR ID { TRY(ir_text_type(p, @2, &$$, IS_PTR, $2, false, NULL)); }
  | BARRIER { $$ = (ir_type){.space = IS_BARRIER}; }
  | BARRIER '[' ints ']' { TRY(ir_text_type(p, @3, &$$, IS_BARRIER, NULL, true, NULL)); }
  | space ID '[' ints ']' layout { TRY(ir_text_type(p, @2, &$$, $1, $2, true, $6)); }
  ;
space: REG { $$ = IS_REG; } | SHARED { $$ = IS_SHARED; } | GLOBAL { $$ = IS_GLOBAL; } ;
layout: %empty { $$ = NULL; } | LAYOUT ;

regions: %empty | regions region ;
region: '{' { TRY(ir_text_open(p, @1)); } args ops '}' { ir_text_close(p); } ;
args: %empty | '(' arg_list ')' ':' ;
arg_list: arg | arg_list ',' arg ;
arg: VALUE ':' type pinned { TRY(ir_text_arg(p, @1, $1, &$3, $4)); } ;
%%
