"""The languages of generated code: one row each, read by the writer of array expressions and the writer of loops.

A template's fields are operands, ``{0}``, ``{1}``; what a language lacks has no entry, and is refused by name.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nablax.errors import DerivationError
from nablax.notation import FUNCTIONS, GREEK, RELATIONS


@dataclass(frozen=True)
class Language:
    """How one language writes programs.

    Args:
        name: as the user asks for it.
        title: as a text names it.
        start: the first lines of a source.
        special: the line that imports a special function.
        reserved: names that a variable must not have.
        block: the line that opens a function, of its name and its parameters, and the text that closes it.
        functions: templates of functions of numbers, and of arrays element by element.
        imports: what functions have to import.
        operations: templates of everything else.
        static: templates of functions of numbers that are no arrays, where they differ.
        first: the number of the first axis and place.
        dotted: whether operators and calls on elements have a dot.
        defined: whether functions that the user defined can be called.
        is_ascii: whether names have Latin letters only.
    """

    name: str
    title: str
    start: str
    special: str
    reserved: frozenset[str]
    block: tuple[str, str]
    functions: Mapping[str, str] = field(hash=False)
    imports: Mapping[str, str] = field(hash=False)
    operations: Mapping[str, str] = field(hash=False)
    static: Mapping[str, str] = field(default_factory=dict, hash=False)
    first: int = 0
    dotted: bool = False
    defined: bool = False
    is_ascii: bool = False

    def lacks(self, function: str) -> DerivationError:
        """The refusal of a function that the language does not have."""
        return DerivationError(f"{self.title} has no function {function}; code of this form is not written in it")


class Names:
    """Names of a source, each once, and none that its language has.

    Args:
        language: in which it is written.
        preferred: names that a closed form gives to values, by place.
    """

    def __init__(self, language: Language, preferred: Mapping[int, str]) -> None:
        self._language = language
        self.preferred = dict(preferred)
        self._taken: set[str] = set(language.reserved)
        self._count = 0

    def free(self, name: str) -> str:
        """A name like one that is wanted."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def variable(self, name: str) -> str:
        """The name of what a formula calls so."""
        return self.free(identifier(name, self._language))

    def value(self, place: int) -> str:
        """The name of a value: that of the closed form, or a number."""
        if place in self.preferred:
            return self.variable(self.preferred[place])
        self._count += 1
        return self.free(f"t{self._count}")

    def release(self, *names: str) -> None:
        """Names that may be used again."""
        self._taken -= set(names)


# Functions that the user defined: the source calls them by name.
DEFINED: dict[str, Callable[..., Any]] = {}


def enter(name: str, function: Callable[..., Any]) -> None:
    """A user's function, which printed source calls by its name."""
    DEFINED[name] = function


def identifier(name: str, language: Language) -> str:
    """A variable's name in a language, different for different names.

    Languages take some letters for others (``ϵ`` for ``ε``): these have the number of the letter behind them. One
    that has Latin letters only, spells Greek ones.
    """
    folded = unicodedata.normalize("NFKC", name)
    if language.is_ascii:
        plain = "".join(letter if letter.isascii() else SPELLED.get(letter, f"u{ord(letter):x}") for letter in folded)
    else:
        plain = folded
    if folded != name:
        plain += "_" + "".join(f"{ord(letter):x}" for letter in name if not letter.isascii())
    return f"{plain}_" if plain in language.reserved else plain


SPELLED = {letter: name for name, letter in GREEK.items()}
SPECIAL = {row.name: row.special for row in FUNCTIONS.values() if row.special} | {"sigmoid": "expit"}
PYTHON = ("def {0}({1}):", "")
PLAIN: tuple[str, ...] = (
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "exp",
    "expm1",
    "log",
    "log1p",
)
PLAIN += ("sqrt", "abs", "sign", "floor", "ceil", "arsinh", "arcosh", "artanh")
SHORT = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh"}


def _numpy(np: str) -> dict[str, str]:
    """Functions of NumPy and of JAX, which has the names of NumPy."""
    found = {name: f"{np}.{FUNCTIONS[name].numpy or name}({{0}})" for name in PLAIN}
    found |= {"max": f"{np}.maximum({{0}}, {{1}})", "min": f"{np}.minimum({{0}}, {{1}})"}
    found |= {"square": f"{np}.square({{0}})", "softplus": f"{np}.logaddexp(0, {{0}})", "trigamma": "polygamma(1, {0})"}
    found |= {name: f"{special}({{0}})" for name, special in SPECIAL.items() if name != "trigamma"}
    found["polygamma"] = "polygamma({0}, {1})"
    return found | {sign: f"1.0 * ({{0}} {plain} {{1}})" for sign, plain in RELATIONS.items()}


def _operations(np: str) -> dict[str, str]:
    """Array operations of NumPy and of JAX."""
    whole = ("max", "min", "prod", "sum", "trace", "outer", "kron", "tril", "triu")
    found = {name: f"{np}.{name}({{0}})" for name in whole}
    found |= {name: f"{np}.{name}({{0}}, {{1}})" for name in ("outer", "kron")}
    found |= {f"{name}_rows": f"{np}.{name}({{0}}, axis=1)" for name in ("max", "min", "prod", "sum")}
    found |= {name: f"{np}.linalg.{name}({{0}})" for name in ("inv", "det", "pinv")}
    return found | {
        "solve": f"{np}.linalg.solve({{0}}, {{1}})",
        "logdet": f"{np}.linalg.slogdet({{0}})[1]",
        "cholesky": f"{np}.linalg.cholesky({{0}})",
        "eigenvalues": f"{np}.linalg.eigvalsh({{0}})",
        "eigenvectors": f"{np}.linalg.eigh({{0}})[1]",
        "singular_values": f"{np}.linalg.svd({{0}}, compute_uv=False)",
        "left_vectors": f"{np}.linalg.svd({{0}}, full_matrices=False)[0]",
        "right_vectors": f"{np}.linalg.svd({{0}}, full_matrices=False)[2].T",
        "sum_columns": f"{np}.sum({{0}}, axis=0)",
        "dot": "{0} @ {1}",
        "matmul": "{0} @ {1}",
        "einsum": f"{np}.einsum('{{spec}}', {{operands}})",
        "transpose": "{0}.T",
        "diagonal": f"{np}.diag({{0}})",
        "diag": f"{np}.diag({{0}})",
        "column": "{0}[:, None]",
        "row": "{0}[None, :]",
        "eye": f"{np}.eye({{size}})",
        "basis": f"{np}.eye({{size}})[{{place}}]",
        "ones": f"{np}.ones(({{sizes}}))",
        "zeros": f"{np}.zeros(({{sizes}}))",
        "table": f"{np}.array({{values}})",
        "length": "{0}.shape[{axis}]",
        "guard": 'if {0} != {1}:\n        raise ValueError("this code is for {2} only")',
        "pi": f"{np}.pi",
        "negate": "-{0}",
        "add": "+",
        "multiply": "*",
        "divide": "/",
        "power": "**",
        "inner": f"{np}.sum({{0}} * {{1}})",
        "squares": f"{np}.sum({{0}} ** 2)",
        "to_column": "{0}[:, None]",
        "whole": "{0} // {1}",
    }


_NUMPY = Language(
    "numpy",
    "NumPy",
    "import numpy as np",
    "from scipy.special import {0}",
    frozenset({*keyword.kwlist, *SPECIAL.values(), "np"}),
    PYTHON,
    MappingProxyType(_numpy("np")),
    MappingProxyType(SPECIAL),
    MappingProxyType(_operations("np")),
    defined=True,
)
_JAX = Language(
    "jax",
    "JAX",
    "import jax.numpy as jnp",
    "from jax.scipy.special import {0}",
    frozenset({*keyword.kwlist, *SPECIAL.values(), "jax", "jnp"}),
    PYTHON,
    MappingProxyType(_numpy("jnp")),
    MappingProxyType(SPECIAL),
    MappingProxyType(_operations("jnp")),
    defined=True,
)
_TORCH = Language(
    "torch",
    "PyTorch",
    "import math\n\nimport torch",
    "",
    frozenset({*keyword.kwlist, "torch", "math", "like"}),
    PYTHON,
    MappingProxyType(
        {name: f"torch.{SHORT.get(name, name)}({{0}})" for name in PLAIN}
        | {sign: f"({{0}} {plain} {{1}}).to(**like)" for sign, plain in RELATIONS.items()}
        | {
            "max": "torch.maximum({0}, {1})",
            "min": "torch.minimum({0}, {1})",
            "max_number": "torch.clamp({0}, min={1})",
            "min_number": "torch.clamp({0}, max={1})",
            "square": "torch.square({0})",
            "softplus": "torch.logaddexp({0}, torch.zeros_like({0}))",
            "sigmoid": "torch.sigmoid({0})",
            "erf": "torch.special.erf({0})",
            "lgamma": "torch.special.gammaln({0})",
            "digamma": "torch.special.digamma({0})",
            "trigamma": "torch.special.polygamma(1, {0})",
            "polygamma": "torch.special.polygamma({0}, {1})",
            "Phi": "torch.special.ndtr({0})",
        }
    ),
    MappingProxyType({}),
    MappingProxyType(
        {key: text.replace("np.", "torch.") for key, text in _operations("np").items()}
        | {
            **{f"{name}_rows": f"torch.a{name}({{0}}, dim=1)" for name in ("max", "min")},
            "prod_rows": "torch.prod({0}, dim=1)",
            "sum_rows": "torch.sum({0}, dim=1)",
            "sum_columns": "torch.sum({0}, dim=0)",
            "pinv": "torch.linalg.pinv({0})",
            "singular_values": "torch.linalg.svdvals({0})",
            "einsum": "torch.einsum('{spec}', {operands})",
            "eye": "torch.eye({size}, **like)",
            "basis": "torch.eye({size}, **like)[{place}]",
            "ones": "torch.ones(({sizes}), **like)",
            "zeros": "torch.zeros(({sizes}), **like)",
            "table": "torch.tensor({values}, **like)",
            "pi": "math.pi",
            "like": 'like = {{"dtype": {0}.dtype, "device": {0}.device}}',
        }
    ),
    MappingProxyType(
        {name: f"math.{SHORT.get(name, name)}({{0}})" for name in PLAIN if name not in ("abs", "sign")}
        | {"abs": "abs({0})", "lgamma": "math.lgamma({0})", "erf": "math.erf({0})"}
    ),
)
_JULIA_WORDS = (
    "baremodule begin break catch const continue do else elseif end export false finally for function global if "
    "import let local macro module quote return struct true try using while in isa where im pi I size sum ones zeros "
    "diag diagm tr det logabsdet inv kron tril triu eigen svd svdvals pinv cholesky Symmetric Matrix vec maximum "
    "minimum prod max min abs sign exp log sqrt ifelse"
)
_JULIA = Language(
    "julia",
    "Julia",
    "using LinearAlgebra",
    "using SpecialFunctions: {0}",
    frozenset({*_JULIA_WORDS.split(), *PLAIN, *SHORT.values()}),
    ("function {0}({1})", "end\n"),
    MappingProxyType(
        {name: f"{SHORT.get(name, name)}({{0}})" for name in PLAIN}
        | {sign: f"1.0 * ({{0}} {{{{dot}}}}{plain} {{1}})" for sign, plain in RELATIONS.items()}
        | {
            "max": "max({0}, {1})",
            "min": "min({0}, {1})",
            "square": "abs2({0})",
            "softplus": "(u -> max(u, 0) + log1p(exp(-abs(u))))({0})",
            "sigmoid": "(u -> 1 / (1 + exp(-u)))({0})",
            "erf": "erf({0})",
            "lgamma": "loggamma({0})",
            "digamma": "digamma({0})",
            "trigamma": "trigamma({0})",
            "polygamma": "polygamma({0}, {1})",
            "Phi": "(u -> erfc(-u / sqrt(2)) / 2)({0})",
        }
    ),
    MappingProxyType(
        {
            "erf": "erf",
            "lgamma": "loggamma",
            "digamma": "digamma",
            "trigamma": "trigamma",
            "polygamma": "polygamma",
            "Phi": "erfc",
        }
    ),
    MappingProxyType(
        {name: f"{name}({{0}})" for name in ("inv", "det", "pinv", "sum", "prod", "tril", "triu")}
        | {
            "max": "maximum({0})",
            "min": "minimum({0})",
            "max_rows": "vec(maximum({0}, dims=2))",
            "min_rows": "vec(minimum({0}, dims=2))",
            "prod_rows": "vec(prod({0}, dims=2))",
            "sum_rows": "vec(sum({0}, dims=2))",
            "sum_columns": "vec(sum({0}, dims=1))",
            "trace": "tr({0})",
            "outer": "{0} * {1}'",
            "kron": "kron({0}, {1})",
            "solve": "{0} \\ {1}",
            "logdet": "logabsdet({0})[1]",
            "cholesky": "Matrix(cholesky(Symmetric({0})).L)",
            "eigenvalues": "eigen(Symmetric({0})).values",
            "eigenvectors": "eigen(Symmetric({0})).vectors",
            "singular_values": "svdvals({0})",
            "left_vectors": "svd({0}).U",
            "right_vectors": "svd({0}).V",
            "dot": "{0}' * {1}",
            "matmul": "{0} * {1}",
            "transpose": "{0}'",
            "diagonal": "diag({0})",
            "diag": "diagm({0})",
            "column": "{0}",
            "row": "{0}'",
            "eye": "Matrix(1.0I, {size}, {size})",
            "basis": "Matrix(1.0I, {size}, {size})[:, {place}]",
            "ones": "ones({sizes})",
            "zeros": "zeros({sizes})",
            "table": "{values}",
            "length": "size({0}, {axis})",
            "guard": '{0} == {1} || throw(DimensionMismatch("this code is for {2} only"))',
            "pi": "pi",
            "negate": "-{0}",
            "add": "+",
            "multiply": "*",
            "divide": "/",
            "power": "^",
            "inner": "dot({0}, {1})",
            "squares": "sum(abs2, {0})",
            "to_column": "reshape({0}, :, 1)",
            "whole": "{0} ÷ {1}",
        }
    ),
    first=1,
    dotted=True,
)
_C_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while main space "
    "free calloc pow fmax fmin fabs erf erfc lgamma j0 j1 jn y0 y1 yn gamma size_t sign softplus digamma trigamma "
    "sigmoid eliminate solve inv cholesky det logdet INFINITY abs div exit"
)
C = Language(
    "c",
    "C",
    "",
    "",
    frozenset({*_C_WORDS.split(), *PLAIN, *SHORT.values()}),
    ("", ""),
    MappingProxyType(
        {name: f"{SHORT.get(name, name)}({{0}})" for name in PLAIN}
        | {sign: f"(double)({{0}} {plain} {{1}})" for sign, plain in RELATIONS.items()}
        | {
            "abs": "fabs({0})",
            "max": "fmax({0}, {1})",
            "min": "fmin({0}, {1})",
            "square": "pow({0}, 2.0)",
            "softplus": "softplus({0})",
            "sigmoid": "sigmoid({0})",
            "erf": "erf({0})",
            "lgamma": "lgamma({0})",
            "digamma": "digamma({0})",
            "trigamma": "trigamma({0})",
            "Phi": "(0.5 * erfc(-0.70710678118654752440 * {0}))",
        }
    ),
    MappingProxyType({name: name for name in ("sign", "softplus", "sigmoid", "digamma", "trigamma")}),
    MappingProxyType({}),
    is_ascii=True,
)
LANGUAGES = {row.name: row for row in (_NUMPY, _JAX, _TORCH, _JULIA)}
