"""Everything about a function and its shapes that does not depend on the point: graph, plans, compiled answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax

from nablax.answering import Options, posed
from nablax.calling import Signature
from nablax.errors import MemoryBoundError
from nablax.graph.cost import is_fusible, is_given
from nablax.graph.evaluate import evaluate
from nablax.graph.node import reachable
from nablax.planning.answer import gradients
from nablax.planning.choose import Choice, choose
from nablax.planning.question import DIAGONAL, HESSIAN_SPARSE, Problem, Question
from nablax.planning.run import run
from nablax.planning.strategies import STRATEGIES
from nablax.structure.operators import Structured
from nablax.structure.reading import Reading
from nablax.structure.table import Structure, paths, structure_of
from nablax.structure.whole import hessian_operator

Function = Callable[..., Any]

# Values up to which a sparse matrix is made of a dense Hessian.
MOST_DENSE_VALUES = 16_000_000


@dataclass(frozen=True, eq=False)
class Asked:
    """A question with its plan and its compiled answer."""

    choice: Choice
    compiled: Callable[..., Any]


class Program:
    """What is known of a function before it is asked at a point.

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
        self._asked: dict[Any, Asked] = {}

    def asked(
        self, question: Question, rows: tuple[int, ...] | None = None, columns: tuple[int, ...] | None = None
    ) -> Asked:
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

            self._asked[key] = Asked(choice, jax.jit(compiled))
        return self._asked[key]

    @cached_property
    def reading(self) -> Reading:
        """The forms of the Hessian."""
        return Reading(self.problem)

    @cached_property
    def structure(self) -> Structure:
        """The forms, to be told."""
        return structure_of(self.reading, self.signature.asked_tree)

    @cached_property
    def operator(self) -> Callable[..., Structured]:
        """The Hessian as an operator, from the arrays and the kept values."""

        def planned(question: Question, rows: tuple[int, ...] | None, columns: tuple[int, ...] | None) -> Choice:
            return self.asked(question, rows, columns).choice

        reading = self.reading
        return jax.jit(lambda arrays, kept: hessian_operator(reading, planned, self.kept, arrays, kept))

    @cached_property
    def sparse_places(self) -> tuple[Any, bool]:
        """Row and column of each value of the sparse Hessian, and whether they are in order.

        Raises:
            MemoryBoundError: the Hessian is dense and large.
        """
        whole = self.structure
        size = self.problem.size
        held = sum(found.density * self._block_size(found.row, found.column) for found in whole.blocks)
        if held > MOST_DENSE_VALUES and held > size * size / 4:
            entry = self.reading.dtype.itemsize
            values = int(held)
            raise MemoryBoundError(
                f"curvature.sparse was asked of a Hessian that is dense: its structure is {whole.kind.value!r}, with "
                f"{values:,} values in a {size:,} × {size:,} matrix, {values * entry:,} bytes. Ask for c.operator(), "
                "c.solve(b), c.diagonal() or products c @ v, which keep the structure."
            )
        answer = self.asked(HESSIAN_SPARSE).choice.chosen.answer
        assert answer is not None
        assert answer.pattern is not None
        with jax.ensure_compile_time_eval():
            return answer.pattern.pairs(size), answer.pattern.rises

    def _block_size(self, row: str, column: str) -> int:
        return self._sizes[row] * self._sizes[column]

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return dict(zip(paths(self.signature.asked_tree), (leaf.size for leaf in self.problem.asked), strict=True))

    def slots(self, asked: Asked, arrays: Sequence[Any], kept: Sequence[Any], vector: Sequence[Any]) -> dict[Any, Any]:
        """The values of the slots of a question at a point."""
        answer = asked.choice.chosen.answer
        assert answer is not None
        names = sorted([*answer.nodes, *(slot for loop in answer.loops for slot in loop.products)])
        return dict(zip(names, asked.compiled(list(arrays), list(kept), list(vector)), strict=True))
