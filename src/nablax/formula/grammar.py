"""The four grammars, for lark's LALR parser: formulas, formulas as books print them, nested lists, declarations.

Notes on the formula grammar:
- ``'`` and the powers are one level, read left to right, as in MATLAB: ``X^-1'`` is ``(X^-1)'``. A chain
of powers is
  refused by the tree builder, since MATLAB and mathematics read it differently.
- ``2.*x`` is ``2 .* x``: a number does not swallow the dot of an elementwise operator.
- A range of places is ``x[1:-1]``; a name behind its colon is the size of the axis: ``x[2:n]``.
- ``<`` where an operand is due opens an inner product; after an operand it compares. Comparisons stand
only at the
  outermost level of an argument or a parenthesis, so the ``>`` that closes an inner product is never one.
- ``A⁺`` is ``pinv(A)``.
- ``⊗`` and ``×`` stand between sums and products, as they are printed: ``AB ⊗ x`` is ``(AB) ⊗ x``.

Notes on the printed grammar, whose tokens `nablax.formula.paste` finds:
- A product without a sign binds tighter than ``/``, and that tighter than ``⊙``: ``xᵀAx/xᵀx`` is ``(xᵀAx)/(xᵀx)``.
- A function without brackets takes all factors behind it up to another function: ``sin 2x cos y``. One that stands
  directly behind it is its argument: ``log det X``. So a product ends either open, and a factor may follow, or
  in such factors (``_filled``), where it would be one of them.
"""

from __future__ import annotations

GREEK = r"\u0391-\u03a9\u03b1-\u03c9\u03d1\u03d5\u03d6\u03f0\u03f1\u03f5"
WORD = rf"[A-Za-z{GREEK}][A-Za-z0-9_{GREEK}]*"
PREFIX = r"(?:(?:numpy|jnp|np|jax|scipy)\.(?:(?:linalg|nn|numpy|special|scipy)\.)*)?"
NAME = f"/{WORD}/"
NUMBER = r"/(?:\d+\.\d+|\d+\.(?![*\/^T'\d])|\.\d+|\d+)(?:[eE][+-]?\d+)?/"

FORMULA = rf"""
formula: _expression

_expression: comparison | _sum
comparison: _sum (LESS | MORE | LESS_EQUAL | MORE_EQUAL | EQUAL | UNEQUAL) _sum
_sum: sum | _crossed
sum: _sum (PLUS | MINUS) _crossed
_crossed: crossed | _product
crossed: _crossed (KRON | CROSS) _product
_product: product | _signed
product: _product (TIMES | OVER | AT | DOT_TIMES | DOT_OVER) _signed
_signed: signed | _postfix
signed: (PLUS | MINUS) _signed
_postfix: transpose | pseudo | power | _indexed
pseudo: _postfix DAGGER
transpose: _postfix (PRIME | DOT_T)
power: _postfix (HAT | DOT_HAT | STARS) _exponent
_exponent: signed_exponent | _indexed
signed_exponent: (PLUS | MINUS) _exponent
_indexed: index | _atom
index: _indexed LSQB place (COMMA place)* RSQB
place: COLON | bound | range
range: bound COLON | COLON bound | bound COLON bound
bound: MINUS? NUMBER | NAME
_atom: number | name | call | inner | parenthesis
number: NUMBER
name: NAME
call: CALLEE LPAR [_expression (COMMA _expression)*] RPAR
inner: (LESS | LANGLE) _sum COMMA _sum (MORE | RANGLE)
parenthesis: LPAR _expression RPAR

PLUS: "+"
MINUS: "-" | "−"
TIMES: "*"
OVER: "/"
AT: "@"
KRON: "⊗"
CROSS: "×"
DOT_TIMES: ".*"
DOT_OVER: "./"
DOT_HAT: ".^"
HAT: "^"
STARS: "**"
PRIME: "'"
DAGGER: "⁺" | "†"
DOT_T: /\.T(?![A-Za-z0-9_])/
LESS: "<"
MORE: ">"
LESS_EQUAL: "<="
MORE_EQUAL: ">="
EQUAL: "=="
UNEQUAL: "!="
LANGLE: "⟨"
RANGLE: "⟩"
LPAR: "("
RPAR: ")"
LSQB: "["
RSQB: "]"
COMMA: ","
COLON: ":"
CALLEE.2: /{PREFIX}{WORD}(?=\s*\()/
NAME: {NAME}
NUMBER: {NUMBER}
%ignore /\s+/
"""

PRINTED = """
printed: _sum

_sum: sum | _crossed
sum: _sum SIGN _crossed
_crossed: crossed | _entrywise
crossed: _crossed CROSSED _entrywise
_entrywise: entrywise | _quotient
entrywise: _entrywise ENTRYWISE _quotient
_quotient: quotient | _signed
quotient: _quotient (OVER | TIMES) _signed
_signed: signed | _open | _filled
signed: SIGN _signed

_open: _factor | _call | application | product
product: _open (_factor | _call | application) | _filled (_call | application)
_filled: filling | continued
continued: (_open | _filled) filling
application: FUNCTION POWER? (_call | application)
filling: FUNCTION POWER? (_run | filling)
_run: _factor | run
run: _run _factor

_factor: _raisable | root | exponential
_raisable: _atom | raised
raised: _raisable (POWER | INDEX | HAT _exponent)
_call: call | raised_call
raised_call: _call (POWER | INDEX | HAT _exponent)
call: CALLEE POWER? LPAR [_argument (COMMA _argument)*] RPAR
root: ROOT (_atom | call)
exponential: EULER (POWER | HAT _exponent)
_exponent: _atom | call | negative
negative: SIGN _exponent
_argument: comparison | _sum
comparison: _sum (RELATION | LESS | MORE) _sum
_atom: leaf | parenthesis | inner | condition
leaf: NAME | NUMBER
parenthesis: LPAR _sum RPAR
inner: LANGLE _sum COMMA _sum (RANGLE | MORE)
condition: LSQB comparison RSQB

%declare SIGN CROSSED ENTRYWISE OVER TIMES FUNCTION CALLEE POWER INDEX HAT ROOT EULER
%declare NAME NUMBER LPAR RPAR COMMA RELATION LESS MORE LANGLE RANGLE LSQB RSQB
"""

NESTED = r"""
nested: _list
_list: list
list: LSQB [_item (COMMA _item)* COMMA?] RSQB
_item: list | word | numeral
word: WORD
numeral: NUMERAL
LSQB: "["
RSQB: "]"
COMMA: ","
WORD: /'[^'\[\]]*'|"[^"\[\]]*"/
NUMERAL: /-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/
%ignore /\s+/
"""

DECLARATION = rf"""
declarations: [_declaration (_COMMA _declaration)* _COMMA?]
_declaration: declaration
declaration: NAME _COLON kind
kind: WORD+ [LPAR [size (_COMMA size)*] _RPAR]
size: SIZE (_STAR SIZE)*
LPAR: "("
_RPAR: ")"
_COMMA: ","
_STAR: "*"
_COLON: ":"
SIZE: /{WORD}|\d+/
WORD: /[A-Za-z_]+/
NAME: {NAME}
%ignore /\s+/
"""
