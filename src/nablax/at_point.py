"""One lazy object for many questions at one point; nothing is formed until asked, nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.experimental.sparse import BCOO
from jax.flatten_util import ravel_pytree

from nablax.answering import Memory, Options, nested, options
from nablax.calling import ArgNums, Signature, bind, check_vector, positions
from nablax.endings.forms import Kind
from nablax.errors import ArgumentError
from nablax.pictures.spy import Filled, Named, spy
from nablax.pictures.svg import Picture
from nablax.pictures.table import Table, cells
from nablax.planning.explain import Plan
from nablax.planning.question import (
    DIAGONAL,
    HESSIAN,
    HESSIAN_SPARSE,
    PRODUCT,
    QUADRATIC_FORM,
    TRACE,
    Question,
    question_named,
)
from nablax.program import Program
from nablax.structure.operators import Structured
from nablax.structure.table import Structure
from nablax.structure.whole import apart, inverse_diagonal, slogdet, solved

Function = Callable[..., Any]
Path = Any


_PROGRAMS = Memory()

# Positions that a picture is drawn from one by one, and unknowns whose eigenvalues it shows; rows of its table.
MOST_DRAWN = 2_000_000
MOST_EIGENVALUES = 1_000
MOST_LISTED = 20


class Curvature:
    """Second-order information about a function at a point.

    Made by `curvature`. Every question is answered when it is first asked; answers are kept.
    """

    def __init__(self, program: Program, arrays: Sequence[Any]) -> None:
        self._program = program
        self._arrays = list(arrays)
        self._answers: dict[Question, Any] = {}

    @cached_property
    def _first(self) -> list[Any]:
        with self._at_the_point():
            return list(self._program.first(self._arrays))

    def _at_the_point(self) -> AbstractContextManager[Any]:
        """What is kept is computed now if the point is known now, also inside a transformation of something else."""
        given = any(isinstance(x, jax.core.Tracer) for x in self._arrays)
        if given or self._program.problem.captures_tracers:
            return nullcontext()
        return jax.ensure_compile_time_eval()

    @property
    def _kept(self) -> list[Any]:
        first = 1 + len(self._program.slopes)
        return self._first[first : first + len(self._program.kept)]

    def _answer(self, question: Question) -> Any:
        if question not in self._answers:
            with self._at_the_point():
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

    # -- structure ---------------------------------------------------------------------------------

    @property
    def structure(self) -> Structure:
        """What each block of the Hessian is, read off the operations of the function; prints itself."""
        return self._program.structure

    def sparse(self) -> BCOO:
        """The Hessian over the ravelled argument, as `nablax.hessian_sparse` gives it; no position twice.

        Raises:
            MemoryBoundError: the Hessian is dense and large; the message tells how large.
        """
        places, ordered = self._program.sparse_places
        [values] = self._program.slots(self._program.asked(HESSIAN_SPARSE), self._arrays, self._kept, ()).values()
        size = self._program.problem.size
        return BCOO((values, jnp.asarray(places)), shape=(size, size), indices_sorted=ordered, unique_indices=True)

    @property
    def places(self) -> Any:
        """Row and column of each value of `sparse()`, known before anything is evaluated; shape (values, 2).

        Raises:
            MemoryBoundError: the Hessian is dense and large.
        """
        return self._program.sparse_places[0]

    def matrix(self) -> tuple[Any, Callable[[Any], Any]]:
        """The flat dense Hessian in the order of `jax.flatten_util.ravel_pytree`, and what undoes that order.

        Returns:
            The matrix, shape (n, n), and a function from a vector of n elements to a tree like the argument.

        Example:
            >>> import jax.numpy as jnp
            >>> c = curvature(lambda p: p["a"] ** 2 * p["b"])({"a": 1.0, "b": 3.0})
            >>> H, unravel = c.matrix()
            >>> H
            Array([[6., 2.],
                   [2., 0.]], dtype=float32)
        """
        asked = self._program.asked(HESSIAN)
        blocks = self._program.slots(asked, self._arrays, self._kept, ())
        leaves = self._leaves
        count, dtype = range(len(leaves)), self._program.reading.dtype
        rows = [
            jnp.concatenate(
                [blocks[0, a, b].reshape(leaves[a].size, leaves[b].size).astype(dtype) for b in count], axis=1
            )
            for a in count
        ]
        _, unravel = ravel_pytree(jax.tree.unflatten(self._program.signature.asked_tree, leaves))
        return jnp.concatenate(rows), unravel

    def operator(self) -> lx.AbstractLinearOperator:
        """The Hessian as a lineax operator over the ravelled argument; it keeps the structure and carries its tags.

        A diagonal Hessian is a `lineax.DiagonalLinearOperator`, a tridiagonal one a `lineax.TridiagonalLinearOperator`,
        a dense one a `lineax.MatrixLinearOperator` up to 10,000 unknowns and a `lineax.FunctionLinearOperator` of H v
        beyond; others are operators of this package, symmetric, with products by structure. lineax's own solvers make
        these dense; `solve` does not.

        Example:
            >>> import jax.numpy as jnp
            >>> c = curvature(lambda x: jnp.sum(x**3))(jnp.array([1.0, 2.0]))
            >>> c.operator().mv(jnp.ones(2))
            Array([ 6., 12.], dtype=float32)
        """
        return self._operator.published()

    def solve(self, b: Any) -> Any:
        """H⁻¹ b, by the structure of the Hessian; never by its inverse, and formed dense only where it is dense.

        How is told by `structure`: division; LU of the factors of a Kronecker product; Woodbury's identity; elimination
        in the band; LU of independent blocks; sparse LU (SuperLU, on the host), inside `jit`, `vmap` and `grad`
        conjugate gradients instead, which are meant for definite Hessians; LU of a dense matrix, beyond 10,000 unknowns
        conjugate gradients on products H v. A Hessian need not be positive definite for the direct ones.

        Args:
            b: right-hand side, a tree like the differentiated argument.

        Returns:
            The solution, a tree like `b`.

        Raises:
            equinox.EquinoxRuntimeError: lineax's own outcome where the Hessian is singular or the iteration failed;
                `solution` returns it instead.

        Example:
            >>> import jax.numpy as jnp
            >>> c = curvature(lambda x: jnp.sum(x**4) + jnp.sum(x) ** 2)(jnp.ones(4))
            >>> c.solve(jnp.array([20.0, 20.0, 20.0, 20.0]))
            Array([1., 1., 1., 1.], dtype=float32)
        """
        value, result, failed = self._solved("curvature.solve", b)
        if isinstance(failed, jax.core.Tracer) or bool(failed):
            outcome: Any = result
            value = outcome.error_if(value, failed)
        return jax.tree.unflatten(self._program.signature.asked_tree, value)

    def solution(self, b: Any) -> lx.Solution:
        """As `solve`, without raising.

        Args:
            b: as in `solve`.

        Returns:
            `lineax.Solution`, with the tree of the solution as `value` and one of `lineax.RESULTS` as `result`.
        """
        value, result, _ = self._solved("curvature.solution", b)
        tree = jax.tree.unflatten(self._program.signature.asked_tree, value)
        return lx.Solution(value=tree, result=result, stats={}, state=None)

    def logdet(self) -> Any:
        """The logarithm of the absolute value of det H, by structure; -inf where the Hessian is singular."""
        return self.slogdet()[1]

    def slogdet(self) -> tuple[Any, Any]:
        """The sign of det H and log |det H|, by structure."""
        return slogdet(self._operator)

    def inverse_diagonal(self) -> Any:
        """The diagonal of H⁻¹, by structure, a tree like the differentiated argument."""
        found = apart(inverse_diagonal(self._operator), self._leaves)
        return jax.tree.unflatten(self._program.signature.asked_tree, found)

    @cached_property
    def _operator(self) -> Structured:
        with self._at_the_point():
            return self._program.operator(self._arrays, self._kept)

    @property
    def _leaves(self) -> list[Any]:
        return [jnp.asarray(self._arrays[k]) for k in self._program.signature.asked]

    def _solved(self, verb: str, b: Any) -> tuple[list[Any], lx.RESULTS, Any]:
        right = check_vector(verb, self._program.signature, self._arrays, b)
        return solved(self._operator, right)

    def plan(self, question: str) -> Plan:
        """EXPLAIN: how a question is answered here.

        Args:
            question: as in `nablax.plan`.
        """
        return Plan(self._program.asked(question_named(question)).choice)

    # -- to look at --------------------------------------------------------------------------------

    def draw(self, *, spectrum: bool = True) -> Picture:
        """The Hessian's structure as a picture: where values may stand, blocks named by the tree, the eigenvalues.

        Args:
            spectrum: whether eigenvalues are drawn, up to 1,000 unknowns; they take the dense Hessian.

        Returns:
            A picture: shows itself in notebooks, `svg` is its text, `save` writes a file.
        """
        found = self.structure
        ranges: dict[str, tuple[int, int]] = {}
        start = 0
        for name, leaf in zip(dict.fromkeys(one.row for one in found.blocks), self._leaves, strict=True):
            ranges[name] = (start, start + leaf.size)
            start += leaf.size
        stored = sum(one.density * _area(ranges, one.row, one.column) for one in found.blocks)
        places = self._program.sparse_places[0] if stored <= MOST_DRAWN else None
        fills = [
            Filled(ranges[one.row], ranges[one.column], one.density, one.kind is Kind.DIAGONAL) for one in found.blocks
        ]
        values = None
        if spectrum and found.unknowns <= MOST_EIGENVALUES:
            matrix = np.asarray(self.matrix()[0])
            values = np.linalg.eigvalsh((matrix + matrix.T) / 2) if np.isfinite(matrix).all() else None
        named = [Named(name.strip("[]'\".") if name != "x" else name, *own) for name, own in ranges.items()]
        title = f"Hessian of {found.unknowns:,} unknowns: {found.kind.value}"
        return spy(found.unknowns, named, places, fills, title, values)

    def _repr_html_(self) -> str:
        order = {name: k for k, name in enumerate(dict.fromkeys(b.row for b in self.structure.blocks))}
        upper = [b for b in self.structure.blocks if order[b.row] <= order[b.column]]
        rows = [cells(b.row, b.column, b.kind.value, b.detail, f"{b.stored:,}") for b in upper]
        title = f"Hessian of {self.structure.unknowns:,} unknowns: {self.structure.kind.value}"
        more = (f"and {len(rows) - MOST_LISTED} more blocks",) if len(rows) > MOST_LISTED else ()
        columns = ("rows", "columns", "kind", "detail", "stored")
        table = Table(title, columns, tuple(rows[:MOST_LISTED]), more, frozenset({4}))
        return table.html() + self.draw(spectrum=False).inline()

    def _repr_svg_(self) -> str:
        return self.draw(spectrum=False).svg

    def __repr__(self) -> str:
        leaves = ", ".join(f"{x.dtype.name}{list(x.shape)}" for x in self._program.problem.asked)
        return f"Curvature({self._program.problem.size} unknowns in {leaves})"


def _area(ranges: dict[str, tuple[int, int]], row: str, column: str) -> int:
    (a, b), (c, d) = ranges[row], ranges[column]
    return (b - a) * (d - c)


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
        raise ArgumentError.no_function("curvature", f)
    listed = positions("curvature", argnums)
    chosen = options("curvature", strategy, memory_bytes, calls, has_aux)

    def at(*args: Any, **kwargs: Any) -> Curvature:
        signature, arrays = bind("curvature", listed, args, kwargs)
        shapes = tuple((np.shape(x), jnp.result_type(x).name) for x in arrays)
        program = _PROGRAMS.get(
            f, (signature, shapes, chosen), lambda alive: _planned(alive(), signature, shapes, chosen)
        )
        return Curvature(program, arrays)

    return at


def _planned(f: Function, signature: Signature, shapes: Sequence[Any], options: Options) -> Program:
    return Program(f, signature, [jax.ShapeDtypeStruct(*shape) for shape in shapes], options)
