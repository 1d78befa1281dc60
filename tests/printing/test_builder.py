"""Values of a program: one line for what is equal up to order, sign, scale and transposition."""

from __future__ import annotations

from fractions import Fraction

import pytest

from nablax.printing.builder import Builder
from nablax.printing.costs import cost, length
from nablax.printing.program import Argument, Contraction, Elementwise, Routine


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_differences_are_one_up_to_sign(build: Builder) -> None:
    x, m = build.add(Argument("x", ("n",))), build.add(Argument("m", ("n",)))
    first = build.elementwise("add", x, build.elementwise("negate", m))
    assert build.elementwise("add", build.elementwise("negate", x), m) == build.elementwise("negate", first)
    assert build.elementwise("negate", build.elementwise("negate", x)) == x


def test_signs_stand_behind_products_and_systems(build: Builder) -> None:
    S, x = build.add(Argument("S", ("n", "n"))), build.add(Argument("x", ("n",)))
    minus = build.elementwise("negate", x)
    Sx = build.contraction((S, x), ((0, 1), (1,)), ("n",))
    assert build.contraction((S, minus), ((0, 1), (1,)), ("n",)) == build.elementwise("negate", Sx)
    assert build.contraction((minus, minus), ((0,), (0,)), ()) == build.contraction((x, x), ((0,), (0,)), ())
    solution = build.add(Routine("solve", (S, x), ("n",)))
    assert build.add(Routine("solve", (S, minus), ("n",))) == build.elementwise("negate", solution)
    tanh = build.elementwise("tanh", x)
    assert build.elementwise("tanh", minus) == build.elementwise("negate", tanh)
    assert build.elementwise("cos", minus) == build.elementwise("cos", x)
    two = build.scalar(Fraction(2))
    assert build.elementwise("power", minus, two) == build.elementwise("power", x, two)
    assert build.elementwise("exp", minus) != build.elementwise("exp", x)


def test_a_sign_stays_where_the_result_is_larger(build: Builder) -> None:
    s, A = build.add(Argument("s", ())), build.add(Argument("A", ("n", "n")))
    minus = build.elementwise("negate", s)
    found = build.values[build.elementwise("multiply", minus, A)]
    assert isinstance(found, Elementwise)
    assert (found.function, found.operands) == ("multiply", (minus, A))


def test_multiples_and_transposes_of_products_that_are_there(build: Builder) -> None:
    A, B = build.add(Argument("A", ("m", "n"))), build.add(Argument("B", ("n", "m")))
    product = build.contraction((A, B), ((0, 2), (2, 1)), ("m", "m"))
    turned = build.contraction((build.transposed(B), build.transposed(A)), ((0, 2), (2, 1)), ("m", "m"))
    assert turned == build.transposed(product)
    x, s = build.add(Argument("x", ("n",))), build.add(Argument("s", ()))
    Ax = build.contraction((A, x), ((0, 1), (1,)), ("m",))
    scaled = build.elementwise("multiply", s, x)
    assert build.contraction((A, scaled), ((0, 1), (1,)), ("m",)) == build.elementwise("multiply", s, Ax)


def test_a_symmetric_sum_is_its_own_transpose(build: Builder) -> None:
    A = build.add(Argument("A", ("n", "n")))
    both = build.elementwise("add", A, build.transposed(A))
    assert build.transposed(both) == both
    S = build.symmetric(build.add(Argument("S", ("n", "n"))))
    inverse = build.add(Routine("inv", (build.elementwise("exp", S),), ("n", "n")))
    assert build.transposed(inverse) == inverse
    gram = build.contraction((A, A), ((0, 2), (1, 2)), ("n", "n"))
    assert build.transposed(gram) == gram
    assert build.transposed(A) != A


def test_the_sum_of_a_product_is_an_inner_product(build: Builder) -> None:
    x, y = build.add(Argument("x", ("n",))), build.add(Argument("y", ("n",)))
    found = build.values[build.total(build.elementwise("multiply", x, y))]
    assert found == Contraction((x, y), ((0,), (0,)), ())


def test_costs() -> None:
    assert [length(size) for size in ("7", "n", "2·n", "n-1", "m*n", "min(3,n)")] == [7, 1000, 2000, 999, 10**6, 3]
    build = Builder()
    A, x = build.add(Argument("A", ("n", "n"))), build.add(Argument("x", ("n",)))
    product = build.contraction((A, x), ((0, 1), (1,)), ("n",))
    both = build.elementwise("add", A, build.transposed(A))
    assert cost(build.values, [product]) == 10**6 + 10 * 10**3
    assert cost(build.values, [both]) == 10 * 10**6
    assert cost(build.values, [product, both]) == cost(build.values, [product]) + cost(build.values, [both])
