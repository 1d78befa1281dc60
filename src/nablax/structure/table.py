"""What is told about the structure of a Hessian: one row for each block, one line for each group of leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from nablax.endings.factored import size_of
from nablax.endings.forms import Banded, Batch, Dense, Diagonal, Form, Group, Kind, Kronecker, LowRank, Sparse
from nablax.structure.operators import MOST_DENSE
from nablax.structure.reading import Reading

# Blocks that are printed at most.
MOST_PRINTED = 40


@dataclass(frozen=True, slots=True)
class BlockStructure:
    """What is known of the block of a Hessian between two leaves before anything is computed.

    Args:
        row: path of the row leaf in the differentiated argument; ``x`` where that is one array.
        column: path of the column leaf.
        kind: what the block is.
        detail: band width, number of values, factors or rank.
        constant: whether no value depends on the differentiated argument.
        stored: values that are held for it (elements).
        density: share of the block that may hold a value other than zero.
    """

    row: str
    column: str
    kind: Kind
    detail: str
    constant: bool
    stored: int
    density: float


@dataclass(frozen=True, slots=True)
class PartStructure:
    """Leaves that meet in the Hessian, as one matrix.

    Args:
        leaves: their paths.
        kind: what the matrix is.
        detail: band width, number of values, factors or rank.
        stored: values that are held for it (elements).
        solved: how systems with it are solved.
    """

    leaves: tuple[str, ...]
    kind: Kind
    detail: str
    stored: int
    solved: str


@dataclass(frozen=True, slots=True, repr=False)
class Structure:
    """The structure of a Hessian; prints itself as a table.

    It is read off the function's operations, never off numbers: it holds for every value of the arguments.

    Args:
        unknowns: number of elements of the differentiated argument.
        blocks: one for each pair of leaves, row by row.
        parts: groups of leaves that do not meet in the Hessian.

    Example:
        >>> import jax.numpy as jnp
        >>> import nablax as nb
        >>> f = lambda p: jnp.sum((p["A"] @ p["x"]) ** 2) + jnp.sum(p["x"] ** 4)
        >>> g = lambda x, A: f({"x": x, "A": A})
        >>> print(nb.curvature(g)(jnp.ones(100), jnp.ones((3, 100))).structure)
        Hessian of 100 unknowns
        rows  columns  kind                 detail  constant  stored  density
        x     x        diagonal + low rank  rank 3  no        409     1
        solved by Woodbury's identity
    """

    unknowns: int
    blocks: tuple[BlockStructure, ...]
    parts: tuple[PartStructure, ...]

    @property
    def kind(self) -> Kind:
        """What the whole Hessian is."""
        if len(self.parts) == 1:
            return self.parts[0].kind
        kinds = {part.kind for part in self.parts}
        if kinds == {Kind.ZERO}:
            return Kind.ZERO
        return Kind.DIAGONAL if kinds <= {Kind.DIAGONAL, Kind.ZERO} else Kind.BLOCK_DIAGONAL

    @property
    def stored(self) -> int:
        """Values that are held for the whole Hessian (elements)."""
        return sum(part.stored for part in self.parts)

    def block(self, row: str, column: str) -> BlockStructure:
        """The block between two leaves, by their paths.

        Raises:
            KeyError: there is no such leaf.
        """
        for found in self.blocks:
            if (found.row, found.column) == (row, column):
                return found
        known = ", ".join(dict.fromkeys(found.row for found in self.blocks))
        raise KeyError(f"no block ({row!r}, {column!r}); the leaves are {known}")

    def __str__(self) -> str:
        order = {name: k for k, name in enumerate(dict.fromkeys(found.row for found in self.blocks))}
        upper = [found for found in self.blocks if order[found.row] <= order[found.column]]
        shown = [found for found in upper if found.kind is not Kind.ZERO] or upper[:1]
        rows = [("rows", "columns", "kind", "detail", "constant", "stored", "density")]
        for found in shown[:MOST_PRINTED]:
            constant = "yes" if found.constant else "no"
            stored = f"{found.stored:,}"
            rows.append((found.row, found.column, found.kind.value, found.detail, constant, stored, _share(found)))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if len(shown) > MOST_PRINTED:
            lines.append(f"and {len(shown) - MOST_PRINTED} more blocks")
        zero = len(upper) - len(shown)
        if zero:
            lines.append(f"{zero} block{'s' if zero > 1 else ''}: zero")
        title = f"Hessian of {self.unknowns:,} unknowns"
        if len(order) > 1:
            title += f" in {len(order)} leaves: {self.kind.value}"
            for part in self.parts[:MOST_PRINTED]:
                detail = f" ({part.detail})" if part.detail else ""
                lines.append(f"{', '.join(part.leaves)}: {part.kind.value}{detail}, solved by {part.solved}")
        else:
            lines.append(f"solved by {self.parts[0].solved}")
        return "\n".join([title, *lines])

    def __repr__(self) -> str:
        return str(self)


def _share(found: BlockStructure) -> str:
    return f"{found.density:.2g}"


def structure_of(reading: Reading, tree: Any) -> Structure:
    """The record of a reading.

    Args:
        reading: the forms.
        tree: of the differentiated argument.
    """
    leaves = reading.problem.asked
    names = paths(tree)
    found: dict[tuple[int, int], BlockStructure] = {}
    for a in range(len(leaves)):
        for b in range(len(leaves)):
            if (b, a) in found and a != b:  # the transpose
                found[a, b] = replace(found[b, a], row=names[a], column=names[b])
                continue
            form = reading.form_of(a, b)
            kind, detail = described(form)
            share = density(form, leaves[a].size * leaves[b].size)
            found[a, b] = BlockStructure(names[a], names[b], kind, detail, reading.constant(a, b), size_of(form), share)
    parts = []
    for component in reading.components:
        kind, detail = described(component.form)
        own = tuple(names[a] for a in component.leaves)
        parts.append(PartStructure(own, kind, detail, size_of(component.form), _solved(component.form)))
    return Structure(reading.problem.size, tuple(found.values()), tuple(parts))


def paths(tree: Any) -> list[str]:
    """The paths of the leaves of a tree."""
    numbered = jax.tree.unflatten(tree, list(range(tree.num_leaves)))
    found, _ = jax.tree_util.tree_flatten_with_path(numbered)
    return [jax.tree_util.keystr(path) or "x" for path, _ in found]


def described(form: Form) -> tuple[Kind, str]:
    """The kind of a form, and its particulars."""
    match form:
        case Diagonal():
            return (Kind.DIAGONAL if form.pieces else Kind.ZERO), ""
        case Kronecker():
            return Kind.KRONECKER, " ⊗ ".join(_factor(group) for group in form.groups)
        case LowRank():
            return (Kind.DIAGONAL_LOW_RANK if form.diagonal else Kind.LOW_RANK), f"rank {form.rank}"
        case Batch():
            return Kind.BLOCK_DIAGONAL, f"{form.count} blocks of {form.width}×{form.width}"
        case Banded():
            return Kind.BANDED, f"width {form.width}"
        case Sparse():
            return Kind.SPARSE, f"{form.positions.size:,} values"
        case Dense():
            return Kind.DENSE, ""


def _factor(group: Group) -> str:
    rows, columns = math.prod(group.shape), math.prod(group.column_shape)
    if group.identity:
        return f"I({rows})"
    return f"diagonal({rows})" if group.diagonal else f"{rows}×{columns}"


def density(form: Form, size: int) -> float:
    """Share of a block of so many elements that may hold a value other than zero."""
    if size == 0:
        return 0.0
    match form:
        case Diagonal():
            return form.rows.size / size if form.pieces else 0.0
        case Kronecker():
            return math.prod(1.0 / math.prod(g.shape) for g in form.groups if g.identity or g.diagonal)
        case Batch():
            return 1.0 / form.count
        case Banded() | Sparse():
            return float(form.positions.size / size)
        case LowRank() | Dense():
            return 1.0


def _solved(form: Form) -> str:
    match form:
        case Diagonal():
            return "division"
        case Kronecker():
            return "LU of each factor"
        case LowRank():
            return "Woodbury's identity"
        case Batch():
            return "LU of each block"
        case Banded():
            return "tridiagonal elimination" if form.width == 1 else "elimination with row exchanges in the band"
        case Sparse():
            return "sparse LU on the host (SuperLU); inside jit, vmap or grad by conjugate gradients"
        case Dense():
            return "LU" if form.rows.size <= MOST_DENSE else "conjugate gradients on products H v"


def leaf_ranges(sizes: Sequence[int], leaves: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Where leaves lie in the ravelled argument."""
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple((starts[k], starts[k] + sizes[k]) for k in leaves)
