"""Second differentials of matrix-valued functions as maps of two directions, and powers of a matrix as sums.

The printed forms are those of Magnus and Neudecker (2019, 18.5) and of the Matrix Cookbook (2.3.3), written by hand;
arrays are compared with jax.hessian, maps with the array they stand for.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nablax.derivation import derive
from nablax.formula import parse_formula, sample_point, to_function
from nablax.formula.values import JAX

ANSWERS = [
    ("inv(X)", "X", "", "(dX₁, dX₂) ↦ X⁻¹(dX₁ X⁻¹ dX₂ + dX₂ X⁻¹ dX₁)X⁻¹"),
    ("X^2", "X", "", "(dX₁, dX₂) ↦ dX₁ dX₂ + dX₂ dX₁"),
    ("X*X'", "X", "", "(dX₁, dX₂) ↦ dX₁ dX₂ᵀ + dX₂ dX₁ᵀ"),
    ("X*A*X", "X", "", "(dX₁, dX₂) ↦ dX₁ A dX₂ + dX₂ A dX₁"),
    ("exp(X)", "X", "", "(dX₁, dX₂) ↦ exp(X) ⊙ dX₁ ⊙ dX₂"),
    ("kron(X, X)", "X", "", "(dX₁, dX₂) ↦ dX₁ ⊗ dX₂ + dX₂ ⊗ dX₁"),
    ("tr(X)*X", "X", "", "(dX₁, dX₂) ↦ tr(dX₁) dX₂ + tr(dX₂) dX₁"),
    ("x*x'*A", "x", "", "(dx₁, dx₂) ↦ (dx₁ dx₂ᵀ + dx₂ dx₁ᵀ)A"),
    ("S*A*S", "S", "S: symmetric(n)", "(dS₁, dS₂) ↦ dS₁ A dS₂ + dS₂ A dS₁"),
    ("X^5", "X", "", "(dX₁, dX₂) ↦ ∑ᵢ₊ⱼ₊ₖ₌₃ Xⁱ dX₁ Xʲ dX₂ Xᵏ + ∑ᵢ₊ⱼ₊ₖ₌₃ Xⁱ dX₂ Xʲ dX₁ Xᵏ"),
]


@pytest.mark.parametrize(("formula", "wrt", "declare", "printed"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_second_differentials_are_maps_of_two_directions(formula: str, wrt: str, declare: str, printed: str) -> None:
    found = derive(formula, wrt, declare=declare or None)
    assert found.hessian is not None
    assert found.hessian.unicode() == printed
    assert list(found.hessian.directions) == [f"d{wrt}_1", f"d{wrt}_2"]
    parsed = parse_formula(formula, declare or None)
    point = {name: np.asarray(value) for name, value in sample_point(parsed, 3).items()}
    sizes = {size: n for name in point for size, n in zip(found.shapes[name], point[name].shape, strict=True)}
    with jax.enable_x64(True):
        function = to_function(parsed, sizes, JAX)
        rest = {name: value for name, value in point.items() if name != wrt}
        expected = jax.hessian(lambda x: function(**rest, **{wrt: x}))(jnp.asarray(point[wrt]))
    rank = point[wrt].ndim
    start = expected.ndim - 2 * rank
    if declare:
        for axis in (start, start + rank):
            expected = (expected + jnp.swapaxes(expected, axis, axis + 1)) / 2
    np.testing.assert_allclose(found.hessian(**point), expected, atol=1e-9 * np.max(np.abs(expected)) + 1e-12)
    random = np.random.default_rng(0)
    one, two = random.standard_normal((2, *point[wrt].shape))
    if declare:
        one, two = one + one.T, two + two.T
    whole = np.tensordot(np.tensordot(expected, two, axes=rank), one, axes=rank)
    np.testing.assert_allclose(found.hessian.applied([one, two], point), whole, rtol=1e-9, atol=1e-9)


POWERS = [
    ("X^15", "dX ↦ ∑ᵢ₊ⱼ₌₁₄ Xⁱ dX Xʲ", "(dX₁, dX₂) ↦ ∑ᵢ₊ⱼ₊ₖ₌₁₃ Xⁱ dX₁ Xʲ dX₂ Xᵏ + ∑ᵢ₊ⱼ₊ₖ₌₁₃ Xⁱ dX₂ Xʲ dX₁ Xᵏ"),
    ("tr(X^20)", "20(X¹⁹)ᵀ", "dX ↦ 20(∑ᵢ₊ⱼ₌₁₈ Xⁱ dX Xʲ)ᵀ"),
    ("a'*X^5*b", "(∑ᵢ₊ⱼ₌₄ XⁱbaᵀXʲ)ᵀ", "dX ↦ (∑ᵢ₊ⱼ₊ₖ₌₃ XⁱbaᵀXʲ dX Xᵏ)ᵀ + (∑ᵢ₊ⱼ₊ₖ₌₃ Xⁱ dX XʲbaᵀXᵏ)ᵀ"),
    ("i'*X^5*j", "(∑ₖ₊ₗ₌₄ XᵏjiᵀXˡ)ᵀ", None),  # letters of exponents are none of the variables
    ("tr(A*X^3)", "(∑ᵢ₊ⱼ₌₂ XⁱAXʲ)ᵀ", None),
]


@pytest.mark.parametrize(("formula", "gradient", "hessian"), POWERS, ids=[row[0] for row in POWERS])
def test_powers_are_differentiated_to_sums_over_their_exponents(
    formula: str, gradient: str, hessian: str | None
) -> None:
    found = derive(formula, "X")
    assert found.gradient.unicode() == gradient
    assert found.verification.passed
    assert found.hessian is not None
    if hessian is not None:
        assert found.hessian.unicode() == hessian


def test_power_sums_are_multiplied_in_as_many_products_as_the_exponent_is_large() -> None:
    source = derive("X^30", "X", order=1, seconds=10).gradient.code()
    assert source.count("@") == 3 * 29 - 1  # Xⁱ twenty-eight times, X H + dX Xⁿ twenty-nine times


def test_names_in_the_pictures_of_maps_of_two() -> None:
    found = derive("inv(X)", "X")
    assert found.hessian is not None
    assert found.hessian.latex().startswith(r"\left( \mathrm{d}X_{1}, \mathrm{d}X_{2} \right) \mapsto X^{-1}\left( ")
    assert "def derivatives(X, dX, dX_1, dX_2):" in found.code()
    text = str(found.explain())
    assert "linear in each of two directions, that takes them to the second change of the function" in text
