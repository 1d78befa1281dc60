"""The judge of the corpus: values in NumPy by hand, central differences of them, and lengths in symbols."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special
from corpus.formulas import Entry

Array = npt.NDArray[np.float64]
STEP = 1e-3


def _softmax(u: Array) -> Array:
    e = np.exp(u - u.max())
    return e / e.sum()


def _softmax_rows(u: Array) -> Array:
    return np.stack([_softmax(row) for row in u])


NAMES: dict[str, Any] = {
    "np": np,
    "inv": np.linalg.inv,
    "det": np.linalg.det,
    "logdet": lambda X: np.linalg.slogdet(X)[1],
    "norm": lambda u: np.sqrt(np.sum(u * u)),
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "softmax": _softmax,
    "softmax_rows": _softmax_rows,
    "lse": lambda u: np.log(np.sum(np.exp(u))),
    "erf": scipy.special.erf,
    "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
    "Phi": scipy.special.ndtr,
}


def value(entry: Entry, point: dict[str, Array]) -> Array:
    """The value by hand; a variable whose name Python reserves has an underscore behind it."""
    space = {**NAMES, "m": float(next((len(point[k]) for k in ("X", "A") if k in point), 0)), **point}
    space["lambda_"] = point.get("lambda", 0.0)
    return np.asarray(eval(entry.value, space), np.float64)


def along(function: Any, at: Array, direction: Array, step: float = STEP) -> Array:
    """The slope along a direction: central differences of fourth order."""
    near = function(at + step * direction) - function(at - step * direction)
    far = function(at + 2 * step * direction) - function(at - 2 * step * direction)
    return np.asarray((8 * near - far) / (12 * step), np.float64)


def error(found: Array, expected: Array) -> float:
    """The largest relative error; infinite for arrays that are not finite or differ in shape."""
    if found.shape != expected.shape and found.ndim:
        return float("inf")
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(expected))):
        return float("inf")
    return float(
        np.max(np.abs(found - expected), initial=0.0) / max(1e-2, float(np.max(np.abs(expected), initial=0.0)))
    )


SYMBOL = re.compile(r"[a-z]{3,}|d?[A-Za-zΑ-ω][₀-₉]*|[0-9.]+|[⁰¹²³⁴-⁹]+|\^⊙|\S")


def symbols(text: str) -> int:
    """How many symbols a formula has: a name, a number, an operator, a bracket each count one."""
    return len(SYMBOL.findall(text.replace("where", ";")))
