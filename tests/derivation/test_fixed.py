"""Functions with arrays of their own, and functions whose example is a kink."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from nablax.derivation import derive

RANDOM = np.random.default_rng(0)
ONE, OTHER = RANDOM.normal(size=(2, 4, 8))
AT = RANDOM.normal(size=8)


def test_fixed_arrays_have_names_and_a_line_each() -> None:
    found = derive(lambda x: (ONE @ x) @ (OTHER @ x), "x", args=(AT,), seconds=60)
    assert [found.function.unicode(), found.gradient.unicode()] == ["xᵀCᵀDx", "(CᵀD + DᵀC)x"]
    assert found.fixed == ("C: a fixed array of the function, 4×8", "D: a fixed array of the function, 4×8")
    lines = str(found).splitlines()
    assert lines.index(found.fixed[0]) == 1 + lines.index("∇²f = CᵀD + DᵀC")
    assert found.fixed[1] in found.html()
    assert found.fixed[0] in found.explain().markdown()
    np.testing.assert_allclose(found.gradient(x=AT), (ONE.T @ OTHER + OTHER.T @ ONE) @ AT)


@pytest.mark.parametrize("language", ["numpy", "jax", "torch", "julia", "c"])
def test_fixed_arrays_stand_in_the_code(language: str) -> None:
    found = derive(lambda x: jnp.sum((jnp.array([[2.5, 1.0], [0.0, 3.0]]) @ x) ** 2), "x", args=(AT[:2],), seconds=60)
    assert "2.5" in found.code(language)


def test_names_of_fixed_arrays_are_free() -> None:
    found = derive(lambda C, x: C * jnp.sum((ONE @ x) ** 2), "x", args=(1.0, AT), seconds=60)
    assert found.gradient.unicode() == "2CDᵀDx"
    assert found.fixed == ("D: a fixed array of the function, 4×8",)


def test_several_arguments() -> None:
    found = derive(lambda x, y: (ONE @ x) @ (OTHER @ y), ("x", "y"), args=(AT, AT), seconds=60)
    assert found.blocks["x", "y"].unicode() == "CᵀD"
    assert len(found.fixed) == 2


def test_integer_labels_are_one_array() -> None:
    labels = jnp.array([0, 2, 1])

    def loss(X: jnp.ndarray) -> jnp.ndarray:
        return -jnp.sum(jnp.take_along_axis(X, labels[:, None], axis=1))

    found = derive(loss, "X", args=(np.ones((3, 4)),), seconds=60)
    np.testing.assert_allclose(found.gradient(X=np.ones((3, 4))), -np.eye(4)[[0, 2, 1]])


def test_ranges_stand_at_the_array() -> None:
    found = derive(lambda x: x[1:] @ x[:-1], "x", args=(AT,), seconds=60)
    assert found.function.unicode() == "x[1:]ᵀx[:-1]"


HUBER = jnp.array([0.0, 1.0, 2.0, -3.0])


def test_an_example_at_a_kink_is_compared_beside_it() -> None:
    found = derive(
        lambda x: jnp.sum(jnp.where(jnp.abs(x) <= 1, x**2 / 2, jnp.abs(x) - 0.5)), "x", args=(HUBER,), seconds=60
    )
    assert found.notes == ("the example is where a derivative jumps; it holds on either side",)
    assert str(found.verification).startswith("verified at 3 points near the example: ")
    np.testing.assert_allclose(found.gradient(x=[0.5, -2.0, 3.0]), [0.5, -1.0, 1.0])


def test_several_arguments_at_a_kink_are_compared_beside_it() -> None:
    found = derive(
        lambda w, b: jnp.sum(jnp.maximum(w - b, 0)) + jnp.sum(b * b), ("w", "b"), args=(np.zeros(3), np.zeros(3))
    )
    assert found.notes == ("the example is where a derivative jumps; it holds on either side",)
    w, b = np.array([1.0, -1.0, 2.0]), np.array([0.5, 0.5, 3.0])
    np.testing.assert_allclose(found.gradients["w"](w, b), [1, 0, 0])
    np.testing.assert_allclose(found.gradients["b"](w, b), 2 * b - [1, 0, 0])
    np.testing.assert_allclose(found.blocks["b", "b"](w, b), 2 * np.eye(3))


def test_the_slope_of_a_polygamma_function_has_a_notation() -> None:
    found = derive("sum(digamma(x))", seconds=60)
    assert found.gradient.unicode() == "trigamma(x)"
    assert found.hessian is not None
    assert found.hessian.unicode() == "diag(polygamma(2, x))"
