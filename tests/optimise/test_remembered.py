"""What is compiled for a function is found again, for bound methods too, and forgotten with it."""

from __future__ import annotations

import gc
import weakref
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.optimise.remembered import Remembered


class Model:
    def __init__(self, centre: Any) -> None:
        self.centre = centre
        self.traced = [0]

    def loss(self, x: Any) -> Any:
        TRACED.append(self)
        return jnp.sum((x - self.centre) ** 2)

    def other(self, x: Any) -> Any:
        return jnp.sum(jnp.cosh(x - self.centre))


class Module(eqx.Module):
    centre: Any

    def loss(self, x: Any) -> Any:
        TRACED.append(1)
        return jnp.sum((x - self.centre) ** 2)


TRACED: list[Any] = []


@pytest.mark.parametrize(
    "model", [Model(2.0), Model(jnp.full(2, 2.0)), Model(np.full(2, 2.0)), Module(jnp.full(2, 2.0))]
)
def test_a_method_is_compiled_once(model: Any) -> None:
    nb.minimise(model.loss, jnp.zeros(2))
    before = len(TRACED)
    assert before > 0
    np.testing.assert_allclose(nb.minimise(model.loss, jnp.ones(2)).x, 2.0, atol=1e-9)
    assert len(TRACED) == before
    TRACED.clear()


def test_a_replaced_attribute_is_noticed() -> None:
    model = Model(2.0)
    for centre in (2.0, 3.0, 2.0, jnp.full(2, 4.0), jnp.full(2, 5.0)):
        model.centre = centre
        np.testing.assert_allclose(nb.minimise(model.loss, jnp.zeros(2)).x, centre, atol=1e-9)
    TRACED.clear()


def test_two_methods_and_two_objects_are_told_apart() -> None:
    one, two = Model(1.0), Model(2.0)
    kept = Remembered()
    made = [kept.get(f, "key", lambda own: object()) for f in (one.loss, one.other, two.loss, one.loss)]
    assert made[0] is made[3]
    assert len(set(map(id, made))) == 3


def test_a_change_inside_a_list_is_noticed() -> None:
    model, kept = Model(1.0), Remembered()
    first = kept.get(model.loss, 0, lambda own: object())
    model.traced[0] = 1
    assert kept.get(model.loss, 0, lambda own: object()) is not first


def test_an_object_is_forgotten_with_what_was_compiled_for_it() -> None:
    model = Model(2.0)
    nb.minimise(model.loss, jnp.zeros(2))
    TRACED.clear()
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_what_cannot_be_compared_is_made_anew() -> None:
    class Pair(NamedTuple):
        a: float

        def loss(self, x: Any) -> Any:
            return jnp.sum((x - self.a) ** 2)

    kept = Remembered()
    model = Model({1, 2})  # a set may change inside
    for f in (Pair(1.0).loss, model.loss):
        assert kept.get(f, 0, lambda own: object()) is not kept.get(f, 0, lambda own: object())
    np.testing.assert_allclose(nb.minimise(Pair(1.0).loss, jnp.zeros(2)).x, 1.0, atol=1e-9)
