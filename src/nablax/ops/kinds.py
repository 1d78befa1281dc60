"""The closed set of kinds of nodes. A sweep is a match over these; operations are rows inside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nablax.contraction.index import Index, Label
from nablax.ops.jaxprs import Equation, LinearSolve, Loop, OpenLoop, Program
from nablax.ops.scalar_function import ScalarFunction


@dataclass(frozen=True, slots=True)
class Leaf:
    """An argument of the traced function.

    Args:
        position: which one, counting flat arrays.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for one input of a node while that node alone is differentiated; never evaluated.

    Args:
        position: which one.
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
    symmetric: bool = field(default=False, compare=False)
    precision: Any = field(default=None, compare=False)


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
class Selection:
    """One at the position that the input names along a new last axis, zero elsewhere; positions lie inside the axis.

    A product with it that is summed over the new axis reads what the positions name, one that is not writes there.
    It is never computed on the way.
    """


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
class Packed:
    """One output of an equation within the array of its float outputs.

    Args:
        output: which output (of a loop: of its body).
        start: position of its first element along the last axis of the array.
        shape: its shape, the turns first where it is stacked.
        shared: its axes that it has in common with the other outputs, the first axes of the array; the last axis of the
            array holds all its other axes.
    """

    output: int
    start: int
    shape: tuple[int, ...]
    shared: tuple[int, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Its axes, the shared ones first."""
        return (*self.shared, *(k for k in range(len(self.shape)) if k not in self.shared))

    @property
    def ordered(self) -> tuple[int, ...]:
        """Its shape in that order."""
        return tuple(self.shape[k] for k in self.order)

    @property
    def size(self) -> int:
        """How many places of the last axis it takes."""
        return math.prod(self.ordered[len(self.shared) :])

    def laid(self, value: Any) -> Any:
        """The output as it lies in the array."""
        return value.transpose(self.order).reshape(*self.ordered[: len(self.shared)], self.size)

    def taken(self, array: Any) -> Any:
        """The output, out of the array."""
        part = array[..., self.start : self.start + self.size].reshape(self.ordered)
        return part.transpose([self.order.index(k) for k in range(len(self.shape))])


@dataclass(frozen=True, eq=False)
class Call:
    """One evaluation that gives several arrays, each the value of an opaque node.

    Calls of one family on the same inputs begin with the same results: a function's value stands alone in one call,
    and before the residuals of its reverse mode in another. Only the widest call that is needed is evaluated for them.

    Args:
        key: equal for equal calls; hashable.
        function: takes the inputs, returns the results as a list.
        family: equal for calls that begin with the same results.
        common: how many results those of a family share.
        width: number of results of its own.
        inner: the call whose results follow its own, where it computes them on the way: that which it is the forward
            derivative of, on the first inputs.
        arity: number of inputs of `inner`.
        primitives: names of the primitives of JAX inside.
        zeros: positions of results that are zero whatever the inputs are.
        batch_axes: axes of the (only) result along which it acts on each element alone, each with the axis of every
            input that goes with it, None for an input that all share.
        loop: the loop that it is, if it is one.
        packed: outputs of the equation that its first result holds.
        branches: the cases of the branch that it is, if it is one.
        open_loop: the loop of unknown length that it is, if it is one.
        solve: the linear system that it solves, if it is a solve.
        ruled: the function with a forward rule of its own that it calls, if it is such a call.
        second: of its only input, weights of its result and a direction the gradient of the weighted sum along the
            direction, where that is known better than from its text.
        case: the only value of its first input for which its results are not zero, if there is one.
        memory: derivatives of the call, once found.
    """

    key: Any
    function: Callable[..., Sequence[Any]] = field(repr=False)
    family: Any
    common: int
    width: int
    inner: Call | None = field(default=None, repr=False)
    arity: int = 0
    primitives: frozenset[str] = field(default=frozenset(), repr=False)
    zeros: frozenset[int] = frozenset()
    batch_axes: tuple[tuple[int, tuple[int | None, ...]], ...] = ()
    loop: Loop | None = field(default=None, repr=False)
    packed: tuple[Packed, ...] = ()
    branches: tuple[Program, ...] | None = field(default=None, repr=False)
    open_loop: OpenLoop | None = field(default=None, repr=False)
    solve: LinearSolve | None = field(default=None, repr=False)
    ruled: Equation | None = field(default=None, repr=False)
    second: Callable[..., Any] | None = field(default=None, repr=False)
    case: int | None = None
    memory: dict[Any, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Opaque:
    """Anything else that JAX can differentiate: one result of a call.

    Args:
        name: the operation's name, for messages and plans.
        key: equal for equal operations; hashable.
        call: what is evaluated.
        place: which of its results is the node's value.
        flops: estimated operations of one evaluation; a call's are shared out among its results.
        line: the user's source line.
        held_bytes: estimated bytes that one evaluation holds inside, the value not counted.
        seconds: estimated time of one evaluation, where that is known better than from its operations; else zero.
    """

    name: str
    key: Any
    call: Call = field(compare=False, repr=False)
    place: int = 0
    flops: float = field(compare=False, default=0.0)
    line: str = field(compare=False, default="")
    held_bytes: float = field(compare=False, default=0.0)
    seconds: float = field(compare=False, default=0.0)


Kind = Leaf | Placeholder | Constant | Elementwise | Contraction | IndexMap | Selection | MatrixFunction | Opaque
