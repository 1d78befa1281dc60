"""Steps, domain, Python functions, refusals and the fallback of `derive`."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from nablax.derivation import DerivationError, derive


def test_steps_of_least_squares() -> None:
    found = derive("1/2*norm2(A*x-y)^2", "x")
    assert [(step.rule, f"{step.before} = {step.after}") for step in found.steps] == [
        ("scaling", "d(½‖Ax − y‖²) = ½d(‖Ax − y‖²)"),
        ("squared norm", "d(‖Ax − y‖²) = 2⟨Ax − y, d(Ax − y)⟩"),
        ("constant", "d(Ax − y) = d(Ax)"),
        ("constant factor", "d(Ax) = A dx"),
        ("gradient", "df = ⟨Aᵀ(Ax − y), dx⟩"),
        ("Hessian", "d²f = ⟨AᵀA dx₁, dx₂⟩"),
    ]


def test_domain() -> None:
    assert derive("norm2(x)").domain == ("differentiable where x ≠ 0",)
    assert derive("log(x'*A*x)", "x").domain == ("xᵀAx > 0; for all x ≠ 0 that is so if A is positive definite",)


def test_python_function() -> None:
    arguments = (np.ones((4, 3)), np.ones(3), np.ones(4))
    found = derive(lambda A, x, b: jax.nn.logsumexp(A @ x + b), wrt="x", args=arguments)
    assert found.gradient.unicode() == "Aᵀp  where  p = softmax(Ax + b)"


def test_what_has_no_notation_is_still_evaluated() -> None:
    found = derive("tr(cholesky(S))", declare="S: spd(n)")
    np.testing.assert_allclose(found.gradient(S=np.diag([4.0, 9.0])), np.diag([1 / 4, 1 / 6]), atol=1e-12)
    assert any("cholesky" in note for note in found.notes)


def test_json_is_plain_data() -> None:
    assert json.loads(json.dumps(derive("x'*x").to_json()))["gradient"]["unicode"] == "2x"


def test_refusals() -> None:
    with pytest.raises(DerivationError, match="has no variable z; it has A, x"):
        derive("A*x", "z")
    with pytest.raises(DerivationError, match="say by which variable"):
        derive("A*x")
