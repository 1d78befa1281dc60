"""One lazy object for many questions at one point; nothing is formed until asked, nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.answering import Memory, Options, nested, options, posed
from nablax.calling import ArgNums, Signature, bind, check_vector
from nablax.errors import ArgumentError
from nablax.graph.cost import is_fusible, is_given
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import reachable
from nablax.planning.choose import Choice, choose
from nablax.planning.explain import Plan
from nablax.planning.question import (
    DIAGONAL,
    HESSIAN,
    PRODUCT,
    QUADRATIC_FORM,
    TRACE,
    Problem,
    Question,
    question_named,
)
from nablax.planning.run import run
from nablax.planning.strategies import STRATEGIES, gradients

Function = Callable[..., Any]
Path = Any


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question with its plan and its compiled answer."""

    choice: Choice
    compiled: Callable[..., Any]


class _Program:
    """Everything about a function and its shapes that does not depend on the point.

    All questions share one graph. The first evaluation computes value and gradient and keeps every array on the
    way that other questions read; their compiled functions take these arrays as arguments.
    """

    def __init__(self, f: Function, signature: Signature, arrays: Sequence[Any], options: Options) -> None:
        self.signature, self.options = signature, options
        self.problem: Problem = posed("curvature", DIAGONAL, f, signature, options, arrays)
        [self.value] = self.problem.outputs
        self.slopes = gradients(self.problem, self.value)
        shared = reachable([self.value, *self.slopes])
        self.kept = [node for node in shared if not is_fusible(node) and not is_given(node)]
        read = [self.value, *self.slopes, *self.kept, *self.problem.aux]
        self.first = jax.jit(lambda flat: evaluate(read, flat))
        self._asked: dict[Any, _Asked] = {}

    def asked(
        self, question: Question, rows: tuple[int, ...] | None = None, columns: tuple[int, ...] | None = None
    ) -> _Asked:
        """A question, planned and compiled once.

        Args:
            question: the question.
            rows: positions of the leaves whose rows are asked; None for all.
            columns: the same for columns.
        """
        key = (question, rows, columns)
        if key not in self._asked:
            problem = self.problem if rows is None else replace(self.problem, rows=rows, columns=columns)
            named = self.options.strategy
            if named in STRATEGIES and question not in STRATEGIES[named].questions and question.has_vector:
                named = "auto"  # the user's strategy is for the questions that have a choice
            choice = choose(problem, question, named, self.options.memory_bytes)

            def compiled(arrays: Sequence[Any], kept: Sequence[Any], vector: Sequence[Any]) -> list[Any]:
                known = dict(zip(self.kept, kept, strict=True))
                found = run(choice, (*arrays, *vector), known)
                return [found[slot] for slot in sorted(found)]

            self._asked[key] = _Asked(choice, jax.jit(compiled))
        return self._asked[key]

    def slots(self, asked: _Asked, arrays: Sequence[Any], kept: Sequence[Any], vector: Sequence[Any]) -> dict[Any, Any]:
        """The values of the slots of a question at a point."""
        answer = asked.choice.chosen.answer
        assert answer is not None
        names = sorted([*answer.nodes, *(slot for loop in answer.loops for slot in loop.products)])
        return dict(zip(names, asked.compiled(list(arrays), list(kept), list(vector)), strict=True))


_PROGRAMS = Memory()


class Curvature:
    """Second-order information about a function at a point.

    Made by `curvature`. Every question is answered when it is first asked; answers are kept.
    """

    def __init__(self, program: _Program, arrays: Sequence[Any]) -> None:
        self._program = program
        self._arrays = list(arrays)
        self._answers: dict[Question, Any] = {}

    @cached_property
    def _first(self) -> list[Any]:
        return list(self._program.first(self._arrays))

    @property
    def _kept(self) -> list[Any]:
        first = 1 + len(self._program.slopes)
        return self._first[first : first + len(self._program.kept)]

    def _answer(self, question: Question) -> Any:
        if question not in self._answers:
            self._answers[question] = self._asked(question, ())
        return self._answers[question]

    def _asked(self, question: Question, vector: Sequence[Any]) -> Any:
        asked = self._program.asked(question)
        slots = self._program.slots(asked, self._arrays, self._kept, vector)
        return nested(asked.choice, self._program.signature, slots)

    def _along(self, question: Question, verb: str, v: Any) -> Any:
        return self._asked(question, check_vector(verb, self._program.signature, self._arrays, v))

    @property
    def value(self) -> Any:
        """The function's value."""
        return self._first[0]

    @property
    def gradient(self) -> Any:
        """The gradient, a tree like the differentiated argument."""
        slopes = self._first[1 : 1 + len(self._program.slopes)]
        return jax.tree.unflatten(self._program.signature.asked_tree, slopes)

    @property
    def aux(self) -> Any:
        """The second result of a function asked about with `has_aux=True`; None without."""
        tree = self._program.problem.aux_tree
        count = len(self._program.problem.aux)
        return None if tree is None else jax.tree.unflatten(tree, self._first[len(self._first) - count :])

    def dense(self) -> Any:
        """The Hessian, nested like the result of `jax.hessian`."""
        return self._answer(HESSIAN)

    def diagonal(self) -> Any:
        """The diagonal of the Hessian, a tree like the differentiated argument."""
        return self._answer(DIAGONAL)

    def trace(self) -> Any:
        """The trace of the Hessian."""
        return self._answer(TRACE)

    def __matmul__(self, v: Any) -> Any:
        """Hessian times `v`, a tree like the differentiated argument."""
        return self._along(PRODUCT, "curvature @ v", v)

    def quadratic_form(self, v: Any) -> Any:
        """vᵀ H v."""
        return self._along(QUADRATIC_FORM, "curvature.quadratic_form", v)

    def block(self, row: Path, column: Path) -> Any:
        """The block of the Hessian between two parts of the differentiated argument.

        Args:
            row: path to a part: a key or index, or a tuple of them; ``()`` is everything.
            column: the same.

        Returns:
            The block, nested like the two parts; shapes ``row + column``.

        Raises:
            ArgumentError: no such part.
        """
        tree = self._program.signature.asked_tree
        rows, row_tree = _part(tree, row)
        columns, column_tree = _part(tree, column)
        asked = self._program.asked(HESSIAN, rows, columns)
        blocks = self._program.slots(asked, self._arrays, self._kept, ())
        nested = [jax.tree.unflatten(column_tree, [blocks[0, a, b] for b in columns]) for a in rows]
        return jax.tree.unflatten(row_tree, nested)

    def plan(self, question: str) -> Plan:
        """EXPLAIN: how a question is answered here.

        Args:
            question: as in `nablax.plan`.
        """
        return Plan(self._program.asked(question_named(question)).choice)

    def __repr__(self) -> str:
        leaves = ", ".join(f"{x.dtype.name}{list(x.shape)}" for x in self._program.problem.asked)
        return f"Curvature({self._program.problem.size} unknowns in {leaves})"


def _part(tree: Any, path: Path) -> tuple[tuple[int, ...], Any]:
    """Positions of the leaves under a path, and the tree of that part."""
    keys = path if isinstance(path, tuple) else (path,)
    part = jax.tree.unflatten(tree, list(range(tree.num_leaves)))
    for depth, key in enumerate(keys):
        try:
            part = getattr(part, key) if isinstance(key, str) and hasattr(part, key) else part[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ArgumentError(
                f"curvature.block was asked for the part {path!r}; there is no {key!r} at depth {depth} of the "
                f"differentiated argument, whose tree is {tree}. Use keys and indices of that tree; () is everything."
            ) from error
    leaves, part_tree = jax.tree.flatten(part)
    return tuple(leaves), part_tree


def curvature(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Callable[..., Curvature]:
    """Second-order information at a point, as one lazy object.

    Args:
        f: function with one number as result.
        argnums: position, or positions, of the differentiated arguments.
        strategy: for the questions that have a choice; see `nablax.hessian`.
        memory_bytes: bound on the estimated peak of intermediate arrays; as in `nablax.hessian`.
        calls: as in `nablax.hessian`.
        has_aux: as in `nablax.hessian`; the second result is the attribute `aux`.

    Returns:
        A function of the arguments of `f` that returns a `Curvature`.

    Raises:
        As `nablax.hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> c = curvature(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]))
        >>> c.gradient, c.trace()
        (Array([6., 1.], dtype=float32), Array(6., dtype=float32))
        >>> c @ jnp.array([1.0, 0.0])
        Array([6., 2.], dtype=float32)
    """
    if not callable(f):
        raise ArgumentError(f"curvature needs a function; it got a {type(f).__name__}. Pass the function itself.")
    listed = argnums if isinstance(argnums, int) else tuple(argnums)
    chosen = options("curvature", strategy, memory_bytes, calls, has_aux)

    def at(*args: Any, **kwargs: Any) -> Curvature:
        signature, arrays = bind("curvature", listed, args, kwargs)
        shapes = tuple((np.shape(x), jnp.result_type(x).name) for x in arrays)
        program = _PROGRAMS.get(
            f, (signature, shapes, chosen), lambda alive: _planned(alive(), signature, shapes, chosen)
        )
        return Curvature(program, arrays)

    return at


def _planned(f: Function, signature: Signature, shapes: Sequence[Any], options: Options) -> _Program:
    return _Program(f, signature, [jax.ShapeDtypeStruct(*shape) for shape in shapes], options)
