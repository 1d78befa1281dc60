"""What `convexity` says: full texts, functions of JAX, parameters, refusals, and what happens to a wrong rule."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax.convex import Verdict
from nablax.convex.atoms import ATOMS, Piece
from nablax.convex.intervals import EVERYTHING

LASSO = """\
read as A: matrix(m, n), x: vector(n), b: vector(m), lambda: scalar
f = ½‖Ax − b‖² + λ norm₁(x)
convex in x
domain: every vector x
domain: λ ≥ 0
proof:
  Ax is affine   [a linear map of an affine expression]
  Ax − b is affine   [sum]
  ‖Ax − b‖ is convex, ≥ 0   [a norm of an affine expression]
  ‖Ax − b‖² is convex, ≥ 0   [composition with a power]
  ½‖Ax − b‖² is convex, ≥ 0   [a constant multiple]
  norm₁(x) is convex, ≥ 0   [a norm of an affine expression]
  λ norm₁(x) is convex, ≥ 0   [a constant multiple]
  ½‖Ax − b‖² + λ norm₁(x) is convex, ≥ 0   [sum]
checked on 192 random segments{} of the domain: nothing contradicts"""

CUBIC = """\
read as x: scalar
f = x³
neither convex nor concave in x
not convex: f(½x₁ + ½x₂) = −1 > −4 = ½f(x₁) + ½f(x₂), f(x₁) = −8, f(x₂) = 0 at x₁ = −2, x₂ = 0
not concave: f(½x₁ + ½x₂) = 1 < 4 = ½f(x₁) + ½f(x₂), f(x₁) = 0, f(x₂) = 8 at x₁ = 0, x₂ = 2"""


def test_a_proof_by_composition() -> None:
    found = nb.convexity("1/2*norm2(A*x-b)^2 + lambda*norm1(x)", "x")
    assert str(found) == LASSO.format(f" and the Hessian's eigenvalues at {found.verification.hessians} points")


def test_a_refutation() -> None:
    found = nb.convexity("x^3", declare="x: scalar")
    assert str(found) == CUBIC
    assert (found.is_convex, found.is_concave, found.domain, found.proof) == (False, False, (), ())
    assert [one.curvature for one in found.witnesses] == [-6, 6]


def test_an_honest_unknown() -> None:
    found = nb.convexity("exp(x) + exp(-x)/8 - x^2/4", declare="x: scalar")
    assert found.verdict is Verdict.UNKNOWN
    assert found.sentence == "not concave in x; unknown whether convex"
    assert found.notes == ("no rule gives the curvature of exp(x) + ⅛exp(−x) − ¼x²",)


def test_a_proof_by_the_hessian() -> None:
    found = nb.convexity("sum((X*w).^4 + 2*(X*w).^2 - (X*w).^3)", "w")
    assert found.verdict is Verdict.CONVEX  # 12u² − 6u + 4 is positive, though not term by term
    assert str(found.proof[-1].expression) == "2Xᵀ diag(2 + Xw ⊙ (6Xw − 3)) X"
    found = nb.convexity("sum(((X*w).^2 - 1).^2 + 2*(X*w).^2)", "w")
    assert found.verdict is Verdict.CONVEX
    assert [step.verdict for step in found.proof] == ["every entry ≥ 0", "positive semidefinite"]
    assert str(found.proof[-1].expression) == "12Xᵀ diag((Xw)^⊙2) X"


def test_a_matrix_argument_by_the_hessian_as_a_map() -> None:
    found = nb.convexity("sum((X.^2 - 1).^2 + 2*X.^2)", "X")
    assert found.verdict is Verdict.CONVEX


def test_the_domain_is_the_branch_on_which_it_holds() -> None:
    assert nb.convexity("1/x", declare="x: scalar").domain == ("every number x", "x > 0")
    assert nb.convexity("logdet(X)", declare="X: symmetric(n)").domain == (
        "every symmetric matrix X",
        "X is positive definite",
    )
    assert nb.convexity("x*log(x)", declare="x: positive scalar").domain == ("every positive number x",)
    assert nb.convexity("-sum(log(b - A*x))", "x").domain == ("every vector x", "every entry of b − Ax is positive")


def test_only_the_conditions_that_are_needed_stand_on_parameters() -> None:
    found = nb.convexity("a*x^2 + b*x + c", "x", declare="a: scalar, b: scalar, c: scalar, x: scalar")
    assert (found.verdict, found.domain) == (Verdict.CONVEX, ("every number x", "a ≥ 0"))
    found = nb.convexity("b*x + c", "x", declare="b: scalar, c: scalar, x: scalar")
    assert (found.verdict, found.domain) == (Verdict.AFFINE, ("every number x",))


@pytest.mark.parametrize(
    ("function", "args", "verdict"),
    [
        (lambda w, X, y: jnp.mean((X @ w - y) ** 2), (np.ones(3), np.ones((4, 3)), np.ones(4)), Verdict.CONVEX),
        (lambda w, X: jnp.sum(jax.nn.softplus(X @ w)), (np.ones(3), np.ones((4, 3))), Verdict.CONVEX),
        (lambda x: jax.nn.logsumexp(x) - x[0], (np.ones(3),), None),
        (lambda x: jnp.sqrt(x**2), (2.0,), Verdict.CONVEX),
        (lambda x: -jnp.sqrt(x**2), (2.0,), Verdict.CONCAVE),
        (lambda x: -jnp.abs(x), (2.0,), Verdict.CONCAVE),
        # on JAX 0.10 no closed form of its gradient passes the check of derive, so that it is unknown there
        (lambda x: jnp.sum(jnp.maximum(x, 0.0)), (np.ones(3),), None),
        (lambda x: x**3, (2.0,), Verdict.NEITHER),
        (lambda x: jnp.where(x > 0, x, -x), (2.0,), None),
        (lambda x: jnp.where(x > 5, -x * x, x * x), (2.0,), Verdict.NEITHER),
        (lambda x: -jnp.sum(jnp.sort(x)[:1]), (np.arange(3.0),), None),
        (lambda x: jax.lax.stop_gradient(x) * x, (2.0,), None),
        (lambda x: jnp.log(x), (2.0,), Verdict.CONCAVE),
        (lambda x: jnp.sum(np.array([1.0, 2.0, 3.0]) * x**2), (np.ones(3),), Verdict.CONVEX),
        (lambda x: jnp.sum(np.array([1.0, -2.0, 3.0]) * x**2), (np.ones(3),), Verdict.NEITHER),
        (lambda x: jnp.linalg.norm(x), (np.ones(3),), Verdict.CONVEX),
    ],
)
def test_functions(function, args, verdict: Verdict | None) -> None:
    found = nb.convexity(function, 0, args=args)
    if verdict is None:  # true is what the points say; whether it is proved is left open
        value = lambda *x: float(function(*map(jnp.asarray, x)))
        for seed in range(20):
            a, b = (np.random.default_rng((seed, k)).standard_normal(np.shape(args[0])) * 3 for k in (0, 1))
            gap = value((a + b) / 2) - (value(a) + value(b)) / 2
            assert not (found.is_convex and gap > 1e-4)
            assert not (found.is_concave and gap < -1e-4)
    else:
        assert found.verdict is verdict, found


def test_declarations_of_a_function() -> None:
    def f(x, P):
        return x @ P @ x

    args = (np.ones(3), np.eye(3))
    assert nb.convexity(f, "x", args=args, declare="P: spd(n)").domain == ("every vector x",)
    found = nb.convexity(f, "x", args=args, declare="P: symmetric(n)")
    assert found.domain == ("every vector x", "P is positive semidefinite")
    assert nb.convexity(f, "x", args=args).verdict is Verdict.UNKNOWN


def test_refusals() -> None:
    with pytest.raises(nb.DerivationError, match=r"^convexity is of a scalar function; the formula is a vector \(n\)$"):
        nb.convexity("x.^2")
    with pytest.raises(nb.DerivationError, match=r"^convexity is of a scalar function; this one has values of shape"):
        nb.convexity(lambda x: x**2, args=(np.ones(3),))
    with pytest.raises(nb.DerivationError, match=r"^a Python function needs example arguments: convexity\(f, wrt=0,"):
        nb.convexity(lambda x: x)
    with pytest.raises(nb.DerivationError, match=r"^the formula has no variable z; it has A, x$"):
        nb.convexity("norm2(A*x)", "z")
    with pytest.raises(nb.FormulaError):
        nb.convexity("x +")


def test_kinds_without_convex_sets() -> None:
    found = nb.convexity("tr(A*Q)", "Q", declare="Q: orthogonal(n)")
    assert found.verdict is Verdict.UNKNOWN
    assert found.notes[0] == "the orthogonal matrices are not a convex set"


def test_a_wrong_rule_is_caught_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(ATOMS["sin"], pieces=(Piece(EVERYTHING, convex=True),))
    monkeypatch.setitem(ATOMS, "sin", wrong)
    with pytest.raises(nb.VerificationError, match=r"the certificate that f is convex in x failed its check: a chord"):
        nb.convexity("sin(x)", declare="x: scalar")
    with pytest.raises(nb.VerificationError, match=r"a chord contradicts it"):  # small values are no rounding
        nb.convexity("sin(x)/10^12", declare="x: scalar")
    monkeypatch.setitem(
        ATOMS, "log", replace(ATOMS["log"], domain=EVERYTHING, pieces=(Piece(EVERYTHING, concave=True),))
    )
    with pytest.raises(nb.VerificationError, match=r"no number at a point of the domain that the certificate names"):
        nb.convexity("log(x)", declare="x: scalar")


def test_notations() -> None:
    found = nb.convexity("x'*P*x", "x", declare="P: spd(n)")
    page = found._repr_html_()
    assert page.startswith("<p><math")
    assert page.count("<tr>") == len(found.proof) == 2
    data = json.loads(json.dumps(found.to_json()))
    assert (data["verdict"], data["domain"]) == ("convex", ["every vector x"])
    assert [step["verdict"] for step in data["proof"]] == ["positive definite", "convex, ≥ 0"]
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


UNARY = ("exp({})", "log(1 + exp({}))", "sqrt(1 + ({})^2)", "({})^2", "({})^3", "abs({})", "-({})", "sin({})")
UNARY += ("log(2 + ({})^2)", "tanh({})", "sigmoid({})", "max({}, 0)", "1/(1 + ({})^2)", "cosh({})", "({})^(1/2)")
BINARY = ("({}) + ({})", "({}) - ({})", "({})*({})", "({})/({})", "max({}, {})", "min({}, {})")


def random_formula(random: np.random.Generator, depth: int) -> str:
    if depth == 0:
        return str(random.choice(["x", "2*x - 1", "x + a", "3", "a", "1/2*x"]))
    if random.integers(2):
        return str(random.choice(UNARY)).format(random_formula(random, depth - 1))
    return str(random.choice(BINARY)).format(*(random_formula(random, depth - 1) for _ in range(2)))


@pytest.mark.parametrize("seed", range(60))
def test_random_formulas_have_no_wrong_certificate(seed: int) -> None:
    random = np.random.default_rng(seed)
    text = random_formula(random, 2 + seed % 2) + " + 0*x"
    try:  # what fails its check raises
        found = nb.convexity(text, "x", declare="x: scalar, a: scalar")
    except nb.FormulaError:
        return  # no point at which it is finite
    assert found.verdict in Verdict
