"""Rows of elementwise operations: scalar functions that JAX applies to each element.

A row is needed only to say that a primitive acts element by element, and on which domain it may be tested; how it is
written says `nablax.notation`. Its derivatives come from JAX on the scalar function, numerically careful.
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
        params: parameters for a test call.
        flat: whether its derivative is zero wherever it exists, by definition of JAX.
    """

    name: str
    domain: tuple[Interval, ...]
    params: tuple[tuple[str, object], ...] = ()
    flat: bool = False


_AWAY_FROM_ZERO = jax.lax.RoundingMethod.AWAY_FROM_ZERO

_ROWS = (
    ElementwiseRow("abs", (REAL,)),
    ElementwiseRow("acos", (UNIT,)),
    ElementwiseRow("acosh", ((1.2, 3.0),)),
    ElementwiseRow("add", (REAL, REAL)),
    ElementwiseRow("add_any", (REAL, REAL)),
    ElementwiseRow("asin", (UNIT,)),
    ElementwiseRow("asinh", (REAL,)),
    ElementwiseRow("atan", (REAL,)),
    ElementwiseRow("atan2", (REAL, POSITIVE)),
    ElementwiseRow("atanh", (UNIT,)),
    ElementwiseRow("bessel_i0e", (POSITIVE,)),
    ElementwiseRow("bessel_i1e", (POSITIVE,)),
    ElementwiseRow("cbrt", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("ceil", (REAL,), flat=True),
    ElementwiseRow("clamp", ((-1.0, -0.5), REAL, (0.5, 1.0))),
    ElementwiseRow("copy", (REAL,)),
    ElementwiseRow("cos", (REAL,), (("accuracy", None),)),
    ElementwiseRow("cosh", (REAL,)),
    ElementwiseRow("digamma", (POSITIVE,)),
    ElementwiseRow("div", (REAL, POSITIVE)),
    ElementwiseRow("erf", (REAL,)),
    ElementwiseRow("erf_inv", (UNIT,)),
    ElementwiseRow("erfc", (REAL,)),
    ElementwiseRow("exp", (REAL,), (("accuracy", None),)),
    ElementwiseRow("exp2", (REAL,), (("accuracy", None),)),
    ElementwiseRow("expm1", (REAL,), (("accuracy", None),)),
    ElementwiseRow("floor", (REAL,), flat=True),
    ElementwiseRow("integer_pow", (POSITIVE,), (("y", 3),)),
    ElementwiseRow("lgamma", (POSITIVE,)),
    ElementwiseRow("log", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("log1p", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("log2", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("logistic", (REAL,), (("accuracy", None),)),
    ElementwiseRow("max", (REAL, REAL)),
    ElementwiseRow("min", (REAL, REAL)),
    ElementwiseRow("mul", (REAL, REAL), (("out_dtype", None),)),
    ElementwiseRow("neg", (REAL,)),
    ElementwiseRow("one_minus_square", (REAL,)),
    ElementwiseRow("polynomial", (REAL, REAL, REAL)),
    ElementwiseRow("pow", (POSITIVE, REAL)),
    ElementwiseRow("rem", ((0.1, 0.9), (1.0, 2.0))),
    ElementwiseRow("round", (REAL,), (("rounding_method", _AWAY_FROM_ZERO),), flat=True),
    ElementwiseRow("rsqrt", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("sign", (REAL,), flat=True),
    ElementwiseRow("sin", (REAL,), (("accuracy", None),)),
    ElementwiseRow("sinh", (REAL,)),
    ElementwiseRow("sqrt", (POSITIVE,), (("accuracy", None),)),
    ElementwiseRow("square", (REAL,)),
    ElementwiseRow("sub", (REAL, REAL)),
    ElementwiseRow("tan", (UNIT,), (("accuracy", None),)),
    ElementwiseRow("tanh", (REAL,), (("accuracy", None),)),
    ElementwiseRow("zeta", ((2.0, 4.0), POSITIVE)),
    ElementwiseRow("polygamma", ((1.0, 1.0), POSITIVE)),
    ElementwiseRow("igamma", (POSITIVE, POSITIVE)),
    ElementwiseRow("igammac", (POSITIVE, POSITIVE)),
    ElementwiseRow("igamma_grad_a", (POSITIVE, POSITIVE)),
    ElementwiseRow("regularized_incomplete_beta", (POSITIVE, POSITIVE, (0.1, 0.9))),
    ElementwiseRow("nextafter", (REAL, REAL)),
    ElementwiseRow("select_n", (REAL, REAL)),
    ElementwiseRow("convert_element_type", (REAL,)),
    ElementwiseRow("reduce_precision", (REAL,), (("exponent_bits", 11), ("mantissa_bits", 52))),
    ElementwiseRow("stop_gradient", (REAL,), flat=True),
    ElementwiseRow("bitcast_convert_type", (), flat=True),
    *(
        ElementwiseRow(name, ())
        for name in (
            "and", "or", "not", "xor", "eq", "ne", "lt", "le", "gt", "ge", "eq_to", "lt_to", "le_to", "is_finite",
            "population_count", "clz", "shift_left", "shift_right_logical", "shift_right_arithmetic",
        )
    ),
)  # fmt: skip

ROWS = {row.name: row for row in _ROWS}
