"""Scalar functions: simplification never changes a value, custom rules are honoured."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb, every_answer

import nablax as nb
from nablax.ops.jaxprs import trace
from nablax.ops.scalar_function import from_jax, number, read


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
    "xlogy, entr": lambda x: jnp.sum(jax.scipy.special.xlogy(x**2, x**2) + jax.scipy.special.entr(x**2)),
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
