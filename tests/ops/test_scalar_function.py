"""Scalar functions: simplification never changes a value, custom rules are honoured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb, every_answer

import nablax as nb
from nablax.errors import DifferentiationError
from nablax.ops.elementwise import ROWS
from nablax.ops.jaxprs import trace
from nablax.ops.scalar_function import compose, from_jax, number, read, read_equation
from nablax.ops.straight_line import FORWARD_INPUTS


def test_partials_by_hand() -> None:
    f = from_jax(lambda x, y: x**3 * y, "float64", "float64")
    x, y = 2.0, 5.0
    assert float(f(x, y)) == 40.0
    assert float(f.partial(0)(x, y)) == 60.0
    assert float(f.partial(1)(x, y)) == 8.0
    assert float(f.partial(0).partial(1)(x, y)) == 12.0
    assert f.partial(1).partial(1).constant == 0.0


def test_constants_compare_by_bits() -> None:
    assert number(np.nan, "float64") == number(np.nan, "float64")
    assert number(0.0, "float64") != number(-0.0, "float64")
    assert number(1, "float32") != number(1, "float64")


def test_zero_times_infinity_in_the_users_code_stays_nan() -> None:
    f = from_jax(lambda x: 0.0 * x, "float64")
    assert np.isnan(f(np.inf))


def test_a_value_computed_twice_is_one_instruction() -> None:
    f = from_jax(lambda x: jnp.exp(x) + jnp.exp(x), "float64")
    assert [step.operation.name for step in f.instructions] == ["exp", "add"]


def test_pruned_reads_only_what_it_needs() -> None:
    f = from_jax(lambda x, y, z: x * z, "float64", "float32", "float64")
    assert f.reads == (0, 2)
    assert f.pruned().inputs == ("float64", "float64")
    assert float(f.pruned()(2.0, 3.0)) == 6.0


def test_what_mixes_elements_is_not_elementwise() -> None:
    x = jax.ShapeDtypeStruct((3,), jnp.float64)
    assert read(trace(lambda x: [jnp.flip(x)], [x]), (3,)) is None
    assert read(trace(lambda x: [x - x.mean()], [x]), (3,)) is None
    with pytest.raises(ValueError, match=r"^not an elementwise function$"):
        from_jax(lambda x: jax.lax.fori_loop(0, 3, lambda _, a: a * x, x), "float64")


# -- partials by the chain rule ------------------------------------------------------------------------------

POINTS = np.linspace(0.35, 0.85, 3)

PROGRAMS: dict[str, tuple[Callable[..., Any], int]] = {
    "a chain": (lambda x: jnp.tanh(jnp.sin(x * 1.1) ** 3), 1),
    "a value used three times": (lambda x: (u := jnp.exp(x)) * jnp.sin(u) + u**2, 1),
    "two arguments": (lambda x, y: x**3 / y + jnp.arctan2(x, y) * jnp.power(x, y), 2),
    "three arguments": (lambda x, y, z: jnp.where(x > 0.5, x * y, jnp.log(z)) * jnp.maximum(y, z) + z, 3),
    "guards that share": (lambda x: jnp.where(x > 0.5, jnp.log(x) + x * jnp.log(x), 0.0) * x, 1),
    "careful functions": (lambda x: jax.nn.sigmoid(x) * jnp.log1p(x) + jax.nn.softplus(x) * jnp.expm1(x), 1),
    "a power by a number": (lambda x: x**2.5 + jnp.sqrt(x) + 2.0**x, 1),
    "integers between": (lambda x: x * jnp.floor(3.0 * x).astype(jnp.int32).astype(jnp.float64) * x, 1),
    "in another dtype": (lambda x: jnp.sin(x.astype(jnp.float32)).astype(jnp.float64) * x, 1),
}


@pytest.mark.parametrize("more", [0, FORWARD_INPUTS], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_partials_are_those_of_jax(name: str, more: int) -> None:
    f, count = PROGRAMS[name]
    wide = from_jax(lambda *x: f(*x[:count]) + sum(u * u for u in x[count:]), *["float64"] * (count + more))
    assert (len(wide.moving()) > FORWARD_INPUTS) == bool(more)
    g = wide if more else from_jax(f, *["float64"] * count)
    tolerance = 1e-6 if "dtype" in name else 1e-13
    for x in POINTS:
        arguments = [x, 1.3 - x, x * x][:count]
        rest = [1.0] * more
        for p in range(count):
            want = jax.grad(f, p)(*arguments)
            assert_close(g.partial(p)(*arguments, *rest), want, what=f"{name}: {p}", tolerance=tolerance)
            for q in range(count):
                want = jax.grad(jax.grad(f, p), q)(*arguments)
                got = g.partial(p).partial(q)(*arguments, *rest)
                assert_close(got, want, what=f"{name}: {p}, {q}", tolerance=tolerance)


@pytest.mark.parametrize("name", PROGRAMS)
def test_couplings_leave_no_second_partial_out(name: str) -> None:
    f, count = PROGRAMS[name]
    g = from_jax(f, *["float64"] * count)
    for p in range(count):
        for q in range(p, count):
            if g.partial(p).partial(q).constant != 0.0:
                assert (p, q) in g.couplings()


def test_couplings_by_hand() -> None:
    def of(f: Callable[..., Any], count: int) -> list[tuple[int, int]]:
        return sorted(from_jax(f, *["float64"] * count).couplings())

    assert of(lambda x, y: x * y, 2) == [(0, 1)]
    assert of(lambda x, y: x + y, 2) == []
    assert of(lambda x, y: x / y, 2) == [(0, 1), (1, 1)]
    assert of(lambda x, y: x / 3.0 - 2.0 * y, 2) == []
    assert of(lambda x, y: jnp.exp(x) + y, 2) == [(0, 0)]
    assert of(lambda x, y: jnp.tanh(x + y), 2) == [(0, 0), (0, 1), (1, 1)]
    assert of(lambda x, y, z: jnp.where(jnp.sin(x) > 0, jnp.maximum(y, z), jnp.abs(z)), 3) == []
    assert of(lambda x, y: jnp.sign(x * y) * jax.lax.stop_gradient(jnp.exp(x)), 2) == []
    assert of(lambda x, y: (x * y) * 2.0 + jnp.sin(y), 2) == [(0, 1), (1, 1)]


def test_moving_by_hand() -> None:
    g = from_jax(lambda x, y, n: jnp.where(y > 0, x, 1.0) * n, "float64", "float64", "int32")
    assert g.moving() == {0}


def test_numbers_that_are_not_real_have_no_partial() -> None:
    g = from_jax(lambda x, n: x * n, "float64", "int32")
    assert g.partial(1).constant == 0.0
    assert from_jax(lambda x: jnp.floor(x).astype(jnp.int32), "float64").partial(0).constant == 0.0
    assert from_jax(lambda x: x.astype(jnp.int32) * 2.0, "float64").partial(0).constant == 0.0


@pytest.mark.parametrize("more", [0, FORWARD_INPUTS], ids=["forward", "reverse"])
def test_values_that_are_cut_off_do_not_leak(more: int) -> None:
    def cut(x: Any, *rest: Any) -> Any:
        inside = jnp.where(x > -1, jnp.log(x) * jnp.sqrt(x) + jnp.log(x), 2.0)
        return jnp.where(x > 0, 3.0 * inside, 0.0) + sum(u * u for u in rest)

    f = from_jax(cut, *["float64"] * (1 + more))
    for g in (f.partial(0), f.partial(0).partial(0)):
        assert [float(g(x, *[1.0] * more)) for x in (0.0, -1.0)] == [0.0, 0.0]
        assert np.isfinite(float(g(0.5, *[1.0] * more)))
    # exp overflows inside, but what is inside is cut off
    g = from_jax(lambda x: jnp.exp(jnp.where(x < 0, x, 0.0) * 1e4) + jnp.where(x > 0, jnp.exp(x), 0.0), "float64")
    assert float(g.partial(0)(800.0)) == np.inf
    assert float(g.partial(0)(-800.0)) == 0.0


def test_a_zero_that_the_user_computes_does_not_hide_an_infinity() -> None:
    # d (max(x, 0) sqrt(x)) at 0: 0 · inf
    f = from_jax(lambda x, y: jnp.where(x > 1, x, 0.0) * jnp.sqrt(y), "float64", "float64")
    assert np.isnan(f.partial(1)(0.0, 0.0))


@pytest.mark.parametrize("count", [10, 1000])
def test_deep_programs_are_differentiated_in_linear_time(count: int) -> None:
    def f(x: Any) -> Any:
        for k in range(count):
            x = jnp.sin(x) if k % 2 else x * 1.01
        return x

    g = from_jax(f, "float64")
    from_jax(lambda x: jnp.sin(x * 1.01), "float64").partial(0).partial(0)
    start = time.perf_counter()
    first, second = g.partial(0), g.partial(0).partial(0)
    seconds = time.perf_counter() - start
    assert seconds < 3.0, f"{seconds:.2f} s"
    assert g.couplings() == {(0, 0)}
    assert len(first.instructions) < 5 * count
    assert len(second.instructions) < 16 * count
    if count == 10:
        assert_close(second(0.4), jax.grad(jax.grad(f))(0.4))


def test_a_derivative_that_jax_does_not_have_names_the_operation_and_the_line() -> None:
    f = from_jax(lambda a, x: jax.lax.igamma(a, x) * 2.0, "float64", "float64")
    slope = f.partial(0)
    assert np.isfinite(float(slope(1.5, 2.0)))
    assert np.isfinite(float(f.partial(1).partial(1)(1.5, 2.0)))
    with pytest.raises(DifferentiationError) as caught:
        slope.partial(0)
    text = str(caught.value)
    assert text.startswith("a derivative of the operation 'igamma_grad_a' was asked for, at ")
    assert "test_scalar_function.py" in text
    assert "but JAX cannot differentiate it here" in text
    assert f.couplings() == {(0, 0), (0, 1), (1, 1)}


def test_what_no_row_describes_inside_a_derivative_makes_the_operation_opaque(monkeypatch: pytest.MonkeyPatch) -> None:
    x = jax.ShapeDtypeStruct((3,), jnp.float64)

    def read_last(f: Callable[[Any], Any]) -> Any:
        return read_equation(trace(lambda x: [f(x)], [x]).equations[-1], (3,))

    assert read_last(jnp.cosh).name == "cosh"
    # unseen under this dtype so far, or the tables would remember: d cosh = sinh
    x = jax.ShapeDtypeStruct((3,), jnp.float16)
    monkeypatch.delitem(ROWS, "sinh")
    assert read_last(jax.lax.cosh) is None
    f = from_jax(jax.lax.cosh, "float16")
    with pytest.raises(DifferentiationError, match=r"^a derivative of the operation 'cosh' was asked for, at .*"):
        f.partial(0)


def test_composition() -> None:
    outer = from_jax(lambda u, y: u * y, "float64", "float64")
    inner = from_jax(lambda a, b: jnp.sin(a) + b, "float64", "float64")
    f = compose(outer, {0: inner}, {0: [1, 2]}, {1: 0}, ["float64"] * 3)
    assert_close(f(2.0, 0.5, 3.0), 2.0 * (np.sin(0.5) + 3.0))
    assert f.couplings() == {(0, 1), (0, 2), (1, 1)}


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.sum(x * jnp.floor(2.0 * x).astype(jnp.int32).astype(jnp.float64) * jnp.sin(x)),
        lambda x: jnp.sum(jnp.ldexp(jnp.sin(x), jnp.array([1, 2, 0, 3])) * x),
        lambda x: jnp.sum(jax.nn.relu((3.0 * x).astype(jnp.int32)).astype(jnp.float64) * x**2),
        lambda x: jnp.sum(jnp.where((3.0 * x).astype(jnp.int32) % 2 == 0, jnp.exp(x), x**2)),
    ],
    ids=["casts to integers", "ldexp", "a custom rule on integers", "remainders of integers"],
)
def test_integers_carry_no_derivative(f: Any) -> None:
    x = np.array([0.3, -1.2, 0.7, 2.1])
    assert_close(nb.hessian(f)(x), np.asarray(jax.hessian(f)(x)))


# -- derivative rules of the user's own --------------------------------------------------------------------


@jax.custom_jvp
def wrong_slope(x: Any) -> Any:
    return jnp.sin(x)


wrong_slope.defjvp(lambda primals, tangents: (wrong_slope(*primals), 7.0 * primals[0] ** 2 * tangents[0]))


@jax.custom_jvp
def slope_from_value(x: Any) -> Any:
    return jnp.exp(x)


slope_from_value.defjvp(lambda p, t: (slope_from_value(*p), 3.0 * slope_from_value(*p) * t[0]))


@jax.custom_jvp
def of_two(x: Any, y: Any) -> Any:
    return x * y


# the rule of x^2 y^3, a gradient, so that the second derivative is symmetric
of_two.defjvp(lambda p, t: (of_two(*p), 2.0 * p[0] * p[1] ** 3 * t[0] + 3.0 * p[0] ** 2 * p[1] ** 2 * t[1]))


@jax.custom_jvp
def normalised_slope(x: Any) -> Any:
    return 1.0 * x


# a rule that is not elementwise, of a function that is
normalised_slope.defjvp(lambda p, t: (normalised_slope(*p), t[0] / jnp.sqrt(1.0 + jnp.sum(p[0]) ** 2)))

RULES = {
    "a rule that is not the derivative": lambda x: jnp.sum(wrong_slope(x) * x) + wrong_slope(x[0]) ** 2,
    "a rule that calls its function": lambda x: jnp.sum(slope_from_value(x) * x),
    "a rule of two arguments": lambda x: jnp.sum(of_two(x, x[::-1])) + of_two(x[0], 2.0),
    "a rule inside another function": lambda x: jnp.tanh(jnp.sum(wrong_slope(2.0 * x) * 3.0)),
    "relu": lambda x: jnp.sum(jax.nn.relu(x) ** 2 * x),
    "logaddexp": lambda x: jnp.sum(jnp.logaddexp(x, 2.0 * x[::-1])),
    "softplus": lambda x: jnp.sum(jax.nn.softplus(x) ** 2),
    "silu": lambda x: jnp.sum(jax.nn.silu(x) * x),
    "gelu": lambda x: jnp.sum(jax.nn.gelu(x) * x),
    "sinc": lambda x: jnp.sum(jnp.sinc(x)),
    "log_sigmoid": lambda x: jnp.sum(jax.nn.log_sigmoid(x)),
    "relu6, elu, selu, celu": lambda x: jnp.sum(jax.nn.relu6(x) * jax.nn.elu(x) + jax.nn.selu(x) * jax.nn.celu(x)),
    "xlogy, entr": lambda x: jnp.sum(jax.scipy.special.xlogy(x**2, x**2) + 3 * jax.scipy.special.entr(x**2)),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_honoured(name: str) -> None:
    check_every_verb(RULES[name], np.array([0.3, -1.2, 0.7, 2.1]))


def test_a_wrong_rule_gives_the_wrong_slope_on_purpose() -> None:
    # d sum(x wrong(x)): wrong + 7 x^3, then 7 x^2 + 21 x^2
    x = np.array([0.5, -2.0])
    for name, got in every_answer(lambda x: jnp.sum(x * wrong_slope(x)), x, x).items():
        if name.startswith("hessian_diagonal"):
            assert_close(got, 28.0 * x**2, what=name)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0])
def test_relu_at_its_kink_is_flat(value: float) -> None:
    check_every_verb(lambda x: jnp.sum(jax.nn.relu(x) ** 3 + jax.nn.relu(x)), np.array([value, 0.0]))


def test_a_rule_that_is_not_elementwise_is_left_to_jax() -> None:
    check_every_verb(lambda x: jnp.sum(normalised_slope(x)), np.array([0.3, -1.2, 0.7]))


# -- custom reverse rules ----------------------------------------------------------------------------------


@jax.custom_vjp
def reverse_only(x: Any) -> Any:
    return jnp.sin(x)


reverse_only.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.cos(x) * g,))


@jax.custom_vjp
def of_vectors(x: Any, y: Any) -> Any:
    return jnp.sin(x) @ y


of_vectors.defvjp(lambda x, y: (jnp.sin(x) @ y, (x, y)), lambda r, g: (jnp.cos(r[0]) * r[1] * g, jnp.sin(r[0]) * g))


@jax.custom_vjp
def straight_through(x: Any) -> Any:
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))


@pytest.mark.parametrize("strategy", ["auto", "columns"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.sum(reverse_only(x) * x),
        lambda x: of_vectors(x, x[::-1]) ** 2,
        lambda x: jnp.sum(straight_through(x) ** 2 * x),
    ],
    ids=["elementwise", "of vectors", "straight through"],
)
def test_reverse_rules_are_honoured_as_in_jax(f: Any, strategy: str) -> None:
    x, v = np.array([0.3, -1.2, 0.7]), np.array([1.0, 2.0, -0.5])
    want = np.asarray(jax.hessian(f)(x))
    assert_close(nb.hessian(f, strategy=strategy)(x), want)
    assert_close(nb.hessian_diagonal(f, strategy=strategy)(x), np.diag(want))
    assert_close(nb.laplacian(f, strategy=strategy)(x), np.trace(want))
    assert_close(nb.hvp(f)(x, v), want @ v)
    assert_close(nb.quadratic_form(f)(x, v), v @ want @ v)


def test_a_multiple_of_a_multiple_is_one_multiple() -> None:
    f = from_jax(lambda x: 100.0 * (-(2.0 * x) * 2.0), "float32")
    [step] = f.instructions
    assert step.operation.name == "mul"
    assert {a.value for a in step.arguments if not isinstance(a, int)} == {-400.0}
    x = np.float32(0.3)
    assert f(x) == np.float32(-400.0) * x
    assert from_jax(lambda x: jnp.negative(-x), "float64").instructions == ()
    assert [s.operation.name for s in from_jax(lambda x: -(3.0 * x), "float64").instructions] == ["mul"]


def test_multiples_that_are_rounded_twice_stay_apart() -> None:
    """0.1 · (0.2 x) and 0.02 x differ in the last place."""
    f = from_jax(lambda x: 0.1 * (0.2 * x), "float64")
    assert len(f.instructions) == 2
    x = np.float64(0.7)
    assert f(x) == 0.1 * (0.2 * x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_constants_out_of_range_are_not_gathered(dtype: str) -> None:
    huge = float(np.finfo(dtype).max) / 2
    f = from_jax(lambda x: 4.0 * (huge * x), dtype)
    assert len(f.instructions) == 2
    tiny = float(np.finfo(dtype).smallest_subnormal)
    assert len(from_jax(lambda x: 0.5 * (tiny * x), dtype).instructions) == 2
