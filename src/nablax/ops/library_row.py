"""What a row of a library function states that stays whole: JAX differentiates it as one, from a text of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nablax.ops.jaxprs import Equation, Variable


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """One function of an array whose local Jacobian is no product of small factors.

    Args:
        name: its name.
        function: the function whose calls it is, of JAX's library.
        instead: the same values, computed in a way whose derivatives are cheap; batch axes first.
        second: from an argument, weights of the value and a direction the gradient of the weighted sum, differentiated
            along the direction.
        options: from a call the keywords that it was given; what is wrong is noticed, the texts then differ.
        dtypes: those of the argument that it takes.
        flops: operations from the shape of the argument.
        rank: number of axes that are no batch.
        sample: an argument for tests, from a generator.
    """

    name: str
    function: Callable[..., Any]
    instead: Callable[..., Any]
    second: Callable[..., Any]
    options: Callable[[Equation], Mapping[str, Any]]
    dtypes: tuple[str, ...]
    flops: Callable[[tuple[int, ...]], float]
    rank: int
    sample: Callable[[np.random.Generator], npt.NDArray[Any]]


@dataclass(frozen=True)
class LibraryCall:
    """A call of such a function; stands in for an `Equation`. Calls of one function with the same keywords are equal.

    Args:
        row: the function.
        options: the keywords of the call.
        outputs: its value.
        line: the user's source line.
    """

    row: LibraryRow
    options: tuple[tuple[str, Any], ...]
    outputs: tuple[Variable, ...] = field(compare=False)
    line: str = field(compare=False)

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.row.name

    @property
    def flops(self) -> float:
        """Operations of one evaluation."""
        return self.row.flops(self.outputs[0].shape)

    @property
    def bytes(self) -> float:
        """Bytes that one evaluation holds inside."""
        [value] = self.outputs
        return 8.0 * value.dtype.itemsize * float(np.prod(value.shape))

    @property
    def primitives(self) -> frozenset[str]:
        """Names of the primitives inside that ask for care: none."""
        return frozenset()

    @property
    def batch_axes(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Axes of its value along which it acts on each element alone."""
        return tuple((k, (k,)) for k in range(len(self.outputs[0].shape) - self.row.rank))

    def apply(self, *arrays: Any) -> list[Any]:
        """The function of flat arrays."""
        return [self.row.instead(*arrays, **dict(self.options))]

    def second(self, *arrays: Any) -> Any:
        """The gradient of a weighted sum along a direction, from argument, weights and direction."""
        return self.row.second(*arrays, **dict(self.options))
