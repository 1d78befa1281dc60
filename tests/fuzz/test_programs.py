"""Random programs of all operations, loops, branches and selections among them: every verb and strategy against JAX."""

from __future__ import annotations

from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz.corpus import CORPUS
from fuzz.programs import FAMILIES, OPERATIONS, Step, draw, function
from hypothesis import given
from hypothesis import strategies as st
from oracles import TOLERANCE, assert_close, check_every_verb

import nablax as nb

STARTS: tuple[tuple[int, ...], ...] = ((4,), (2, 3), (1,), (), (3, 1), (2, 2))
# Programs by chance are worse conditioned than functions that people write.
LOOSE = 100 * TOLERANCE["float64"]

steps: Any = st.sampled_from(FAMILIES).flatmap(
    lambda family: st.tuples(st.sampled_from(family), st.integers(-1, 6), st.integers(0, 6), st.integers(0, 59))
)


def point(start: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).uniform(0.2, 1.0, size=start) * np.resize([1.0, -1.0, 1.0], start)


def is_finite(start: tuple[int, ...], program: list[Step]) -> bool:
    return bool(np.isfinite(jax.jit(jax.hessian(function(program)))(point(start))).all())


def check(start: tuple[int, ...], program: list[Step]) -> None:
    check_every_verb(function(program), point(start), tolerance=LOOSE)


@pytest.mark.exhaustive
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_every_verb_by_every_strategy(start: tuple[int, ...]) -> None:
    @hypothesis.settings(max_examples=12)
    @given(st.lists(steps, min_size=1, max_size=5))
    def composed(program: list[Step]) -> None:
        hypothesis.assume(is_finite(start, program))
        check(start, program)

    composed()


@pytest.mark.exhaustive
@pytest.mark.parametrize("start", STARTS[:3], ids=str)
def test_several_results(start: tuple[int, ...]) -> None:
    @hypothesis.settings(max_examples=8, phases=[hypothesis.Phase.generate])
    @given(st.lists(steps, min_size=1, max_size=4))
    def composed(program: list[Step]) -> None:
        f, x = function(program, several=True), point(start)
        want = jax.jit(lambda x: (jax.jacfwd(f)(x), jax.hessian(f)(x)))(x)
        hypothesis.assume(all(np.isfinite(one).all() for one in jax.tree.leaves(want)))
        got = jax.jit(lambda x: (nb.jacobian(f)(x), nb.hessian(f)(x)))(x)
        size = max((float(np.abs(one).max(initial=0.0)) for one in jax.tree.leaves(want)), default=0.0) or 1.0
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert_close(a, b, tolerance=LOOSE, scale=size)

    composed()


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name: str) -> None:
    assert is_finite(*CORPUS[name])
    check(*CORPUS[name])


def test_each_operation_takes_any_two_arrays() -> None:
    shapes = ((), (1,), (0,), (2, 3), (12,), (3, 1))
    for name, operation in OPERATIONS.items():
        for c in range(18):
            a, b = (jnp.asarray(point(shapes[(c + k) % len(shapes)])) for k in (0, 2))
            found = jax.eval_shape(lambda a, b, operation=operation, c=c: operation(a, b, c), a, b)
            assert found.dtype == jnp.float64, (name, c)


def test_the_same_program_each_time() -> None:
    assert draw(np.random.default_rng(0)) == draw(np.random.default_rng(0))
