"""Long scalar programs: in which order they are evaluated, where they are cut, and what stands between the parts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.ops.parts import LONGEST, parts
from nablax.ops.scalar_function import ScalarFunction, from_jax


def chain(length: int) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        for k in range(length):
            x = 1.5 * jnp.sin(x) if k % 2 else x + 0.25 * x * x
        return x

    return f


def second_derivative(length: int) -> ScalarFunction:
    return from_jax(chain(length), "float64").partial(0).partial(0)


def test_a_short_program_is_one_part_in_its_own_order() -> None:
    function = from_jax(chain(2), "float32")
    [part] = parts(1, function.instructions, function.result)
    assert part.places == tuple(range(len(function.instructions)))
    assert part.held == ()
    assert function.held == 0


def test_every_operation_stands_once_and_after_what_it_reads() -> None:
    function = second_derivative(150)
    found = parts(1, function.instructions, function.result)
    assert len(found) > 3
    assert all(len(part.places) <= LONGEST for part in found)
    order = [place for part in found for place in part.places]
    assert sorted(order) == list(range(len(function.instructions)))
    rank = {place: k for k, place in enumerate(order)}
    for place, step in enumerate(function.instructions):
        assert all(rank[a - 1] < rank[place] for a in step.arguments if isinstance(a, int) and a >= 1)


def test_what_is_used_after_a_part_is_held() -> None:
    function = second_derivative(150)
    made: set[int] = set()
    found = parts(1, function.instructions, function.result)
    for k, part in enumerate(found):
        made |= {1 + place for place in part.places}
        later = {a for p in found[k + 1 :] for place in p.places for a in function.instructions[place].arguments}
        assert set(part.held) == made & later


@pytest.mark.parametrize("length", [60, 240])
def test_the_derivative_of_a_chain_goes_up_beside_its_value(length: int) -> None:
    """Value, first and second derivative, and what is computed of them just then; not one number for each link."""
    function = second_derivative(length)
    assert max(len(part.held) for part in parts(1, function.instructions, function.result)) <= 8


def test_a_program_in_parts_has_the_same_value() -> None:
    f = chain(60)
    x = np.array([0.1, -0.4, 0.7])
    with jax.enable_x64(True):
        function = second_derivative(60)
        expected = jax.vmap(jax.grad(jax.grad(f)))(jnp.asarray(x))
        assert len(parts(1, function.instructions, function.result)) > 1
        np.testing.assert_allclose(function(jnp.asarray(x)), expected, rtol=1e-11)
        np.testing.assert_allclose(nb.hessian_diagonal(lambda v: jnp.sum(f(v)))(jnp.asarray(x)), expected, rtol=1e-11)


def test_numbers_are_arguments_too() -> None:
    function = from_jax(chain(120), "float64")
    with jax.enable_x64(True):
        np.testing.assert_allclose(function(0.3), chain(120)(0.3), rtol=1e-11)


def test_a_program_in_parts_can_be_mapped_and_differentiated() -> None:
    f = chain(120)
    with jax.enable_x64(True):
        function = from_jax(f, "float64")
        x = jnp.linspace(-0.5, 0.5, 3)
        np.testing.assert_allclose(jax.vmap(jax.grad(function))(x), jax.vmap(jax.grad(f))(x), rtol=1e-11)
