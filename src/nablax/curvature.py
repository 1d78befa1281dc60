"""One lazy object for many questions at one point; nothing is formed until asked, nothing is computed twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import jax
import numpy as np

from nablax.calling import ArgNums, Same, Signature, bind, check_vector
from nablax.derivatives import Function, assembled
from nablax.errors import ArgumentError
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import reachable
from nablax.ops.kinds import Constant, Leaf
from nablax.planning.choose import Choice, choose
from nablax.planning.estimate import is_fusible
from nablax.planning.explain import Plan
from nablax.planning.question import Problem, Question, pose, question_named
from nablax.planning.run import run
from nablax.planning.strategies import gradients

Path = Any


class _Program:
    """Everything about a function and its shapes that does not depend on the point.

    All questions share one graph. The first evaluation computes value and gradient and keeps every array on the
    way that other questions read; their compiled functions take these arrays as arguments.
    """

    def __init__(self, f: Function, signature: Signature, arrays: Sequence[Any], strategy: str, memory: float | None):
        self.signature = signature
        self.strategy, self.memory = strategy, memory
        self.problem: Problem = pose(signature.function(f), arrays, signature.asked, scalar="curvature")
        [self.value] = self.problem.outputs
        self.slopes = gradients(self.problem, self.value)
        self.kept = [
            node
            for node in reachable([self.value, *self.slopes])
            if not is_fusible(node) and not isinstance(node.kind, Leaf | Constant)
        ]
        self.first = jax.jit(lambda flat: evaluate([self.value, *self.slopes, *self.kept], flat))
        self._choices: dict[Question, Choice] = {}
        self._compiled: dict[Question, Callable[..., Any]] = {}
        self._blocks: dict[tuple[tuple[int, ...], tuple[int, ...]], Callable[..., Any]] = {}

    def choice(self, question: Question) -> Choice:
        """The plan of a question, made once."""
        if question not in self._choices:
            self._choices[question] = choose(self.problem, question, self.strategy_for(question), self.memory)
        return self._choices[question]

    def strategy_for(self, question: Question) -> str:
        """The user's strategy for questions that have a choice."""
        return "auto" if question in (Question.PRODUCT, Question.QUADRATIC_FORM) else self.strategy

    def block(self, rows: tuple[int, ...], columns: tuple[int, ...]) -> Callable[..., Any]:
        """The compiled function of some blocks."""
        if (rows, columns) not in self._blocks:
            problem = replace(self.problem, rows=rows, columns=columns)
            choice = choose(problem, Question.HESSIAN, self.strategy, self.memory)
            self._blocks[rows, columns] = jax.jit(
                lambda arrays, kept: run(choice, arrays, dict(zip(self.kept, kept, strict=True)))
            )
        return self._blocks[rows, columns]

    def answer(self, question: Question, arrays: Sequence[Any], kept: Sequence[Any], vector: Sequence[Any]) -> Any:
        """The answer at a point."""
        if question not in self._compiled:
            choice = self.choice(question)

            def compiled(arrays: Sequence[Any], kept: Sequence[Any], vector: Sequence[Any]) -> Any:
                known = dict(zip(self.kept, kept, strict=True))
                return assembled(choice, self.signature, run(choice, (*arrays, *vector), known))

            self._compiled[question] = jax.jit(compiled)
        return self._compiled[question](list(arrays), list(kept), list(vector))


@lru_cache(maxsize=256)
def _cached(f: Same, signature: Signature, shapes: tuple[Any, ...], strategy: str, memory: float | None) -> _Program:
    return _Program(f.function, signature, [jax.ShapeDtypeStruct(*shape) for shape in shapes], strategy, memory)


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
        return self._first[1 + len(self._program.slopes) :]

    def _answer(self, question: Question) -> Any:
        if question not in self._answers:
            self._answers[question] = self._program.answer(question, self._arrays, self._kept, ())
        return self._answers[question]

    def _along(self, question: Question, verb: str, v: Any) -> Any:
        vector = check_vector(verb, self._program.signature, self._arrays, v)
        return self._program.answer(question, self._arrays, self._kept, vector)

    @property
    def value(self) -> Any:
        """The function's value."""
        return self._first[0]

    @property
    def gradient(self) -> Any:
        """The gradient, a tree like the differentiated argument."""
        slopes = self._first[1 : 1 + len(self._program.slopes)]
        return jax.tree.unflatten(self._program.signature.asked_tree, slopes)

    def dense(self) -> Any:
        """The Hessian, nested like the result of `jax.hessian`."""
        return self._answer(Question.HESSIAN)

    def diagonal(self) -> Any:
        """The diagonal of the Hessian, a tree like the differentiated argument."""
        return self._answer(Question.DIAGONAL)

    def trace(self) -> Any:
        """The trace of the Hessian."""
        return self._answer(Question.TRACE)

    def __matmul__(self, v: Any) -> Any:
        """Hessian times `v`, a tree like the differentiated argument."""
        return self._along(Question.PRODUCT, "curvature @ v", v)

    def quadratic_form(self, v: Any) -> Any:
        """vᵀ H v."""
        return self._along(Question.QUADRATIC_FORM, "curvature.quadratic_form", v)

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
        blocks = self._program.block(rows, columns)(self._arrays, self._kept)
        nested = [jax.tree.unflatten(column_tree, [blocks[0, a, b] for b in columns]) for a in rows]
        return jax.tree.unflatten(row_tree, nested)

    def plan(self, question: str) -> Plan:
        """EXPLAIN: how a question is answered here.

        Args:
            question: as in `nablax.plan`.
        """
        return Plan(self._program.choice(question_named(question)))

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
    f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None
) -> Callable[..., Curvature]:
    """Second-order information at a point, as one lazy object.

    Args:
        f: function with one number as result.
        argnums: position, or positions, of the differentiated arguments.
        strategy: for the questions that have a choice; see `nablax.hessian`.
        memory_bytes: bound on the peak of intermediate arrays (bytes).

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

    def at(*args: Any, **kwargs: Any) -> Curvature:
        signature, arrays = bind("curvature", listed, args, kwargs)
        return Curvature(_program(f, signature, arrays, strategy, memory_bytes), arrays)

    return at


def _program(f: Function, signature: Signature, arrays: Sequence[Any], strategy: str, memory: float | None) -> _Program:
    shapes = tuple((np.shape(x), jax.numpy.result_type(x).name) for x in arrays)
    try:
        if inspect.ismethod(f):
            return _Program(f, signature, arrays, strategy, memory)
        program = _cached(Same(f), signature, shapes, strategy, memory)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _Program(f, signature, arrays, strategy, memory)
    if program.problem.captures_tracers:
        # values of a surrounding transformation must not outlive it
        return _Program(f, signature, arrays, strategy, memory)
    return program
