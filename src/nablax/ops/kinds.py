"""The closed set of kinds of nodes. A sweep is a match over these; operations are rows inside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nablax.contraction.index import Index, Label
from nablax.ops.scalar_function import ScalarFunction


@dataclass(frozen=True, slots=True)
class Leaf:
    """An argument of the traced function.

    Args:
        position: which one, counting flat arrays.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Constant:
    """An array known when tracing; two constants are equal if they are the same object.

    Args:
        value: the array.
    """

    value: Any = field(compare=False, repr=False)
    key: Any


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A scalar function applied to each element of inputs of one shape; scalars may stand among them."""

    function: ScalarFunction


@dataclass(frozen=True, slots=True)
class Contraction:
    """A coefficient times a product of labelled inputs, summed over labels that are not in the output.

    Args:
        inputs: labels (small integers) of each input's axes.
        output: labels of the output's axes; a label of no input is a broadcast axis, a label that
            stands twice puts the values on a diagonal.
        sizes: elements per label.
        coefficient: a number.
        symmetric: whether the result does not change when the first half of the output's axes is exchanged with
            the second half; then half of a large matrix product suffices.
        precision: precision of a matrix product, as in `jax.lax.dot_general`.
    """

    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    sizes: tuple[int, ...]
    coefficient: float
    symmetric: bool = False
    precision: Any = None


@dataclass(frozen=True, eq=False)
class AxesMap:
    """Where the elements of one operand go: ``target[target_axes] += source[source_axes]``.

    Args:
        source: an index per axis of the operand.
        target: an index per axis of the result; over the same labels.
    """

    source: tuple[Index, ...]
    target: tuple[Index, ...]

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """All labels, each once."""
        return tuple(dict.fromkeys(label for index in (*self.target, *self.source) for label in index.labels))

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for equal maps."""
        number = {label: k for k, label in enumerate(self.labels)}
        return (
            tuple(label.size for label in self.labels),
            tuple(index.key(number) for index in self.source),
            tuple(index.key(number) for index in self.target),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AxesMap) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, slots=True)
class IndexMap:
    """Elements moved along static index maps, one per operand; places that none reaches are zero."""

    maps: tuple[AxesMap, ...]


@dataclass(frozen=True, slots=True)
class MatrixFunction:
    """A function of arrays whose differential is a network in its value and its arguments.

    Args:
        name: the row in `nablax.ops.matrix_functions`.
        params: parameters of the row.
    """

    name: str
    params: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Opaque:
    """Anything else that JAX can differentiate.

    Args:
        name: the operation's name, for messages and plans.
        key: equal for equal operations; hashable.
        function: takes the inputs, returns one array.
        flops: estimated operations of one evaluation.
        line: the user's source line.
    """

    name: str
    key: Any
    function: Callable[..., Any] = field(compare=False, repr=False)
    flops: float = field(compare=False)
    line: str = field(compare=False, default="")


Kind = Leaf | Constant | Elementwise | Contraction | IndexMap | MatrixFunction | Opaque
