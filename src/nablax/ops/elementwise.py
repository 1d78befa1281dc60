"""Rows of elementwise operations: scalar functions that JAX applies to each element.

A row is needed only to say that a primitive acts element by element, on which domain it may be tested, and
how it is written. Its derivatives come from JAX on the scalar function (they are numerically careful there).
A row may name a primitive that an older JAX does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

Interval = tuple[float, float]
REAL: Interval = (-3.0, 3.0)
POSITIVE: Interval = (0.3, 3.0)
UNIT: Interval = (-0.9, 0.9)


@dataclass(frozen=True, slots=True)
class ElementwiseRow:
    """One elementwise primitive.

    Args:
        name: the primitive's name in JAX.
        domain: an interval per real argument inside which it is smooth almost everywhere; empty for
            operations that carry no derivative (comparisons, logic, integers).
        symbol: how it is written; ``{0}`` and ``{1}`` stand for arguments.
        params: parameters for a test call.
        flat: whether its derivative is zero wherever it exists, by definition of JAX.
    """

    name: str
    domain: tuple[Interval, ...]
    symbol: str
    params: tuple[tuple[str, object], ...] = ()
    flat: bool = False


_AWAY_FROM_ZERO = jax.lax.RoundingMethod.AWAY_FROM_ZERO

_ROWS = (
    ElementwiseRow("abs", (REAL,), "|{0}|"),
    ElementwiseRow("acos", (UNIT,), "arccos {0}"),
    ElementwiseRow("acosh", ((1.2, 3.0),), "arcosh {0}"),
    ElementwiseRow("add", (REAL, REAL), "{0} + {1}"),
    ElementwiseRow("add_any", (REAL, REAL), "{0} + {1}"),
    ElementwiseRow("asin", (UNIT,), "arcsin {0}"),
    ElementwiseRow("asinh", (REAL,), "arsinh {0}"),
    ElementwiseRow("atan", (REAL,), "arctan {0}"),
    ElementwiseRow("atan2", (REAL, POSITIVE), "atan2({0}, {1})"),
    ElementwiseRow("atanh", (UNIT,), "artanh {0}"),
    ElementwiseRow("bessel_i0e", (POSITIVE,), "i0e({0})"),
    ElementwiseRow("bessel_i1e", (POSITIVE,), "i1e({0})"),
    ElementwiseRow("cbrt", (POSITIVE,), "∛{0}", (("accuracy", None),)),
    ElementwiseRow("ceil", (REAL,), "⌈{0}⌉", flat=True),
    ElementwiseRow("clamp", ((-1.0, -0.5), REAL, (0.5, 1.0)), "clamp({0}, {1}, {2})"),
    ElementwiseRow("copy", (REAL,), "{0}"),
    ElementwiseRow("cos", (REAL,), "cos {0}", (("accuracy", None),)),
    ElementwiseRow("cosh", (REAL,), "cosh {0}"),
    ElementwiseRow("digamma", (POSITIVE,), "ψ({0})"),
    ElementwiseRow("div", (REAL, POSITIVE), "{0} / {1}"),
    ElementwiseRow("erf", (REAL,), "erf {0}"),
    ElementwiseRow("erf_inv", (UNIT,), "erf⁻¹ {0}"),
    ElementwiseRow("erfc", (REAL,), "erfc {0}"),
    ElementwiseRow("exp", (REAL,), "exp {0}", (("accuracy", None),)),
    ElementwiseRow("exp2", (REAL,), "2^{0}", (("accuracy", None),)),
    ElementwiseRow("expm1", (REAL,), "expm1 {0}", (("accuracy", None),)),
    ElementwiseRow("floor", (REAL,), "⌊{0}⌋", flat=True),
    ElementwiseRow("integer_pow", (POSITIVE,), "{0}^3", (("y", 3),)),
    ElementwiseRow("lgamma", (POSITIVE,), "ln Γ({0})"),
    ElementwiseRow("log", (POSITIVE,), "log {0}", (("accuracy", None),)),
    ElementwiseRow("log1p", (POSITIVE,), "log1p {0}", (("accuracy", None),)),
    ElementwiseRow("log2", (POSITIVE,), "log₂ {0}", (("accuracy", None),)),
    ElementwiseRow("logistic", (REAL,), "σ({0})", (("accuracy", None),)),
    ElementwiseRow("max", (REAL, REAL), "max({0}, {1})"),
    ElementwiseRow("min", (REAL, REAL), "min({0}, {1})"),
    ElementwiseRow("mul", (REAL, REAL), "{0} {1}", (("out_dtype", None),)),
    ElementwiseRow("neg", (REAL,), "−{0}"),
    ElementwiseRow("one_minus_square", (REAL,), "1 − {0}²"),
    ElementwiseRow("polynomial", (REAL, REAL, REAL), "{1} {0} + {2}"),
    ElementwiseRow("pow", (POSITIVE, REAL), "{0}^{1}"),
    ElementwiseRow("rem", ((0.1, 0.9), (1.0, 2.0)), "{0} mod {1}"),
    ElementwiseRow("round", (REAL,), "round {0}", (("rounding_method", _AWAY_FROM_ZERO),), flat=True),
    ElementwiseRow("rsqrt", (POSITIVE,), "1/√{0}", (("accuracy", None),)),
    ElementwiseRow("sign", (REAL,), "sign {0}", flat=True),
    ElementwiseRow("sin", (REAL,), "sin {0}", (("accuracy", None),)),
    ElementwiseRow("sinh", (REAL,), "sinh {0}"),
    ElementwiseRow("sqrt", (POSITIVE,), "√{0}", (("accuracy", None),)),
    ElementwiseRow("square", (REAL,), "{0}²"),
    ElementwiseRow("sub", (REAL, REAL), "{0} − {1}"),
    ElementwiseRow("tan", (UNIT,), "tan {0}", (("accuracy", None),)),
    ElementwiseRow("tanh", (REAL,), "tanh {0}", (("accuracy", None),)),
    ElementwiseRow("zeta", ((2.0, 4.0), POSITIVE), "ζ({0}, {1})"),
    ElementwiseRow("polygamma", ((1.0, 1.0), POSITIVE), "ψ^{0}({1})"),
    ElementwiseRow("igamma", (POSITIVE, POSITIVE), "P({0}, {1})"),
    ElementwiseRow("igammac", (POSITIVE, POSITIVE), "Q({0}, {1})"),
    ElementwiseRow("igamma_grad_a", (POSITIVE, POSITIVE), "∂P({0}, {1})"),
    ElementwiseRow("regularized_incomplete_beta", (POSITIVE, POSITIVE, (0.1, 0.9)), "I({0}, {1}, {2})"),
    ElementwiseRow("nextafter", (REAL, REAL), "nextafter({0}, {1})"),
    ElementwiseRow("select_n", (REAL, REAL), "select({0}, {1}, {2})"),
    ElementwiseRow("convert_element_type", (REAL,), "{0}"),
    ElementwiseRow("reduce_precision", (REAL,), "{0}", (("exponent_bits", 11), ("mantissa_bits", 52))),
    ElementwiseRow("stop_gradient", (REAL,), "{0}", flat=True),
    ElementwiseRow("bitcast_convert_type", (), "bits {0}", flat=True),
    *(
        ElementwiseRow(name, (), symbol)
        for name, symbol in (
            ("and", "{0} ∧ {1}"), ("or", "{0} ∨ {1}"), ("not", "¬{0}"), ("xor", "{0} ⊕ {1}"),
            ("eq", "{0} = {1}"), ("ne", "{0} ≠ {1}"), ("lt", "{0} < {1}"), ("le", "{0} ≤ {1}"),
            ("gt", "{0} > {1}"), ("ge", "{0} ≥ {1}"), ("eq_to", "{0} = {1}"), ("lt_to", "{0} < {1}"),
            ("le_to", "{0} ≤ {1}"), ("is_finite", "finite {0}"), ("population_count", "popcount {0}"),
            ("clz", "clz {0}"), ("shift_left", "{0} << {1}"), ("shift_right_logical", "{0} >>> {1}"),
            ("shift_right_arithmetic", "{0} >> {1}"),
        )
    ),
)  # fmt: skip

ROWS = {row.name: row for row in _ROWS}
