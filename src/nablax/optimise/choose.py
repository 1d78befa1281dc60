"""Which minimiser, and why: from the size of the problem and the structure that its Hessian is known to have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optax  # type: ignore[import-untyped]
import optimistix

from nablax.at_point import Curvature
from nablax.errors import ArgumentError, StrategyError
from nablax.optimise.bounded import ProjectedNewton
from nablax.optimise.cubic import CubicRegularisation
from nablax.optimise.elimination import elimination
from nablax.optimise.least_squares import GaussNewton, LevenbergMarquardt
from nablax.optimise.line import LineSearch
from nablax.optimise.newton import GradientDescent, Newton, NewtonCG
from nablax.optimise.rounding import rounding
from nablax.optimise.sparse_trust_region import SparseTrustRegion
from nablax.optimise.state import Method
from nablax.optimise.trust_region import SMALL, SteihaugToint, TrustRegion
from nablax.optimise.wrapped import Optimistix, Transformation

METHODS = (
    "auto", "newton", "trust-region", "steihaug", "cubic", "newton-cg", "gauss-newton", "levenberg-marquardt",
    "gradient-descent", "bfgs", "l-bfgs", "projected-newton",
)  # fmt: skip
LEAST_SQUARES = ("gauss-newton", "levenberg-marquardt")
SEARCHING = ("newton", "newton-cg", "gradient-descent", "gauss-newton")

# One object, so that its programs are compiled once.
LBFGS = Transformation(optax.lbfgs())
# Unknowns up to which a dense factor costs no more than the overhead of another.
MOST_SMALL = 200
# Unknowns up to which a Hessian is factorised densely.
MOST_DENSE = 1_000
# Stored values of a sparse Hessian, for each unknown, up to which it is factorised: fill-in grows with it. A band has
# no fill-in.
MOST_STORED, MOST_IN_BAND = 100, 1_000
# Multiplications of a factor, in all or for each stored value, up to which a step by factors takes no longer than one
# by some hundred products. Minimum degree takes fewer than are counted.
LITTLE_WORK, MOST_WORK = 1e8, 1e4
# Structures that are sparse as matrices, and those that are not but have a solve of their own.
SPARSE = ("zero", "diagonal", "banded", "block diagonal", "sparse")
FACTORED = ("low rank", "diagonal + low rank", "Kronecker")
# Of the sparse ones, those whose solve is compiled into the step.
COMPILED = ("diagonal", "banded", "block diagonal")


@dataclass(frozen=True)
class Chosen:
    """A minimiser.

    Args:
        method: the method.
        reason: why.
    """

    method: Method
    reason: str

    @property
    def name(self) -> str:
        """Of the method."""
        return self.method.name


def choose(
    name: Any, c: Curvature | None, size: int, *, bounds: Any, search: LineSearch | None, traced: bool, dtype: Any
) -> Chosen:
    """The minimiser of a name.

    Args:
        name: one of METHODS, or a method of this package, an optimistix minimiser or an optax transformation.
        c: the function at the start; None for residuals.
        size: unknowns.
        bounds: lower and upper, flat; None for none.
        search: the line search; None for the method's own.
        traced: whether the call is inside a transformation, where the host factorises nothing.
        dtype: of the unknowns.

    Raises:
        StrategyError: no such method, or one that cannot keep bounds, or a search for a method that has none.
        ArgumentError: the method is of another kind.
    """
    if isinstance(name, optax.GradientTransformation):
        return Chosen(Transformation(name), "given by the caller")
    if isinstance(name, optimistix.AbstractMinimiser):
        return Chosen(Optimistix(name), "given by the caller")
    if isinstance(name, Method):
        return Chosen(name, "given by the caller")
    if not isinstance(name, str):
        raise ArgumentError(
            f"minimise got a method of type {type(name).__name__}; it takes a name, a minimiser of optimistix or a "
            "gradient transformation of optax."
        )
    if name not in METHODS:
        raise StrategyError(f"minimise was asked for the method {name!r}; there are {', '.join(METHODS)}.")
    if search is not None and name not in (*SEARCHING, "auto"):
        raise StrategyError(
            f"minimise was given a line search for the method {name!r}, which has none to replace; methods "
            f"with one are {', '.join(SEARCHING)}."
        )
    if bounds is not None and name not in ("auto", "projected-newton"):
        raise StrategyError(
            f"minimise was asked for the method {name!r} with bounds; only 'projected-newton' keeps them, and 'auto' "
            "takes it."
        )
    if bounds is None and name == "projected-newton":
        raise StrategyError(
            "minimise was asked for the method 'projected-newton' without bounds. Give bounds=(lower, upper)."
        )
    if bounds is not None:
        return _bounded(bounds, size)
    if name == "auto":
        return _by_structure(c, size, search, traced)
    return _named(name, c, size, search, traced, dtype)


def _counted(size: int) -> str:
    return f"{size:,} unknown{'s' if size > 1 else ''}"


def _bounded(bounds: Any, size: int) -> Chosen:
    products = size > MOST_DENSE
    how = "by conjugate gradients on products" if products else "by a dense factor"
    return Chosen(
        ProjectedNewton(lower=bounds[0], upper=bounds[1], products=products),
        f"keeps the bounds; {_counted(size)}, {how}",
    )


def _by_structure(c: Curvature | None, size: int, search: LineSearch | None, traced: bool) -> Chosen:
    assert c is not None
    if search is not None:
        return Chosen(Newton(search), "has a line search, which was asked for")
    if size <= SMALL:
        return Chosen(TrustRegion(), f"{_counted(size)}: all eigenvalues of the Hessian cost next to nothing")
    structure = c.structure
    kind, stored = structure.kind.value, structure.stored
    if size > MOST_SMALL and not traced and _is_sparse(c, size):
        return Chosen(
            SparseTrustRegion(len(c.places)),
            f"{_counted(size)}, the Hessian is {kind} with {stored:,} values: sparse factors on the host",
        )
    if kind in COMPILED and size > MOST_SMALL and not any(part.kind.value == "sparse" for part in structure.parts):
        found = f"{_counted(size)}, the Hessian is {kind}"
        return Chosen(Newton(structured=True), f"{found}: systems are solved by {structure.parts[0].solved}")
    if kind in FACTORED and size > MOST_DENSE:
        solved = structure.parts[0].solved
        return Chosen(
            Newton(structured=True), f"{_counted(size)}, the Hessian is {kind}: systems are solved by {solved}"
        )
    if size <= MOST_DENSE:
        return Chosen(TrustRegion(), f"{_counted(size)}, the Hessian is {kind}: dense Cholesky factors are affordable")
    where = ""
    if kind in SPARSE:
        where = ", inside a transformation" if traced else ", and its factors would fill in"
    return Chosen(SteihaugToint(), f"{_counted(size)}, the Hessian is {kind}{where}: products with vectors only")


def _named(name: str, c: Curvature | None, size: int, search: LineSearch | None, traced: bool, dtype: Any) -> Chosen:
    asked = "asked for"
    given = {} if search is None else {"search": search}
    eps = rounding(dtype)
    match name:
        case "trust-region":
            if c is not None and size > SMALL and not traced and _is_sparse(c, size):
                return Chosen(SparseTrustRegion(len(c.places)), f"{asked}; sparse factors on the host")
            return Chosen(TrustRegion(), f"{asked}; dense")
        case "newton":
            structured = c is not None and size > SMALL and c.structure.kind.value in (*SPARSE, *FACTORED)
            assert c is not None
            how = f"; systems by {c.structure.parts[0].solved}" if structured else "; dense factors"
            return Chosen(Newton(**given, structured=structured), asked + how)
        case "steihaug":
            return Chosen(SteihaugToint(), asked)
        case "cubic":
            return Chosen(CubicRegularisation(), asked)
        case "newton-cg":
            return Chosen(NewtonCG(**given), asked)
        case "gauss-newton":
            return Chosen(GaussNewton(**given), asked)
        case "levenberg-marquardt":
            return Chosen(LevenbergMarquardt(), asked)
        case "gradient-descent":
            return Chosen(GradientDescent(**given), asked)
        case "bfgs":
            return Chosen(Optimistix(optimistix.BFGS(rtol=eps**0.75, atol=eps**0.75)), f"{asked}; optimistix.BFGS")
        case _:
            return Chosen(LBFGS, f"{asked}; optax.lbfgs")


def _is_sparse(c: Curvature, size: int) -> bool:
    structure = c.structure
    kind = structure.kind.value
    if kind not in SPARSE or structure.stored > (MOST_IN_BAND if kind == "banded" else MOST_STORED) * size:
        return False
    places = c.places
    return elimination(places[:, 0], places[:, 1], size).work <= max(LITTLE_WORK, MOST_WORK * len(places))
