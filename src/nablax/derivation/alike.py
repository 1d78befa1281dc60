"""Arrays of other lengths that are like an example: symmetric, positive definite or triangular where that is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def alike(example: npt.NDArray[Any], shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[Any]:
    """An array whose entries are those of an example, changed a little.

    Args:
        example: numbers; whole ones are data, of which only the order changes.
        shape: of the array.
        random: chooses.

    Returns:
        The array. Of a square example it has the kind: a function of a covariance matrix has no value elsewhere.
    """
    found = random.choice(example.ravel(), shape)
    if example.dtype.kind != "f":
        return np.asarray(found)
    found = np.asarray(found * random.uniform(0.9, 1.1, shape))
    if example.ndim != 2 or example.shape[0] != example.shape[1] or shape[0] != shape[1] or len(example) < 2:
        return found
    lower, upper = np.tril(found, -1), np.triu(found, 1)
    diagonal = np.diag(random.choice(np.diag(example), shape[0]) * random.uniform(0.9, 1.1, shape[0]))
    below, above = np.any(np.tril(example, -1)), np.any(np.triu(example, 1))
    if not (below and above):
        return np.asarray(diagonal + lower * below + upper * above)
    if not np.allclose(example, example.T):
        return found
    if np.min(np.linalg.eigvalsh(example)) > 0:
        scale = np.mean(np.diag(example))
        return np.asarray(scale * (found @ found.T / np.trace(found @ found.T) + np.eye(shape[0])))
    return np.asarray(diagonal + lower + lower.T)
