"""Nodes and terms of the engine's graph as polys: the planned derivative, read as mathematics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, assert_never

import numpy as np

from nablax.contraction.index import Index, Label
from nablax.derivation.algebra import Algebra, Part
from nablax.derivation.functions import MASKED, apply, is_larger, matrix_function
from nablax.derivation.tensors import EPSILON, FOLD, MASKS, Atom, AtomKind, Poly, rational
from nablax.errors import UnprintableError
from nablax.formula.values import SIGNS
from nablax.graph.node import Node, NodeTerm
from nablax.notation import COMPARED, PRIMITIVES, UNCHANGED
from nablax.ops.kinds import (
    Constant,
    Contraction,
    Elementwise,
    IndexMap,
    Leaf,
    MatrixFunction,
    Opaque,
    Placeholder,
    Selection,
)
from nablax.ops.scalar_function import Argument, Instruction, ScalarFunction
from nablax.ops.scalar_function import Number as Literal

FUNCTIONS_OF_MATRICES = {"inv": "inv", "inv_triangular": "inv", "det": "det", "logdet": "logdet"}
# Values of factorisations: the name of each, and whether it comes transposed.
FACTORS = {
    "eigh": {0: ("eigenvectors", False), 1: ("eigenvalues", False)},
    "svd": {0: ("singular_values", False), 1: ("left_vectors", False), 2: ("right_vectors", True)},
}
# functions of JAX's libraries with a derivative of their own, which are read by their names
LIBRARY = frozenset({"relu", "softplus", "logaddexp", "silu", "xlogy", "xlog1py", "_xlogx"})
SORTED = {  # where the largest and the smallest one are
    ("eigenvalues", "max"): "-1", ("eigenvalues", "min"): "0",
    ("singular_values", "max"): "0", ("singular_values", "min"): "-1",
}  # fmt: skip
MOST_ENTRIES = 4096  # of an array that is written out


class Reader:
    """Reads nodes.

    Args:
        algebra: makes polys.
        leaves: the atom of each leaf.
        known: atoms of other nodes, which are not read any further.
        equalities: whether the function itself asks whether numbers are equal; else only guards of singular
            points do, and derivatives of max, none of which holds where the function is differentiable.
    """

    def __init__(
        self,
        algebra: Algebra,
        leaves: Mapping[int, Atom],
        *,
        known: Mapping[Node, Atom] | None = None,
        equalities: bool = False,
    ) -> None:
        self.algebra = algebra
        self._equalities = equalities
        self._leaves = leaves
        self._known: dict[Node, Poly] = {node: algebra.atom(atom) for node, atom in (known or {}).items()}

    def terms(self, terms: Sequence[NodeTerm], shapes: Sequence[int]) -> Poly:
        """The sum of terms, with all sides one after the other as axes.

        Args:
            terms: terms of a derivative.
            shapes: elements along each axis.

        Returns:
            The poly.
        """
        found = [Poly(tuple(shapes), ())]
        for term in terms:
            parts: list[Part] = []
            for factor in term.factors:
                self._part(self.node(factor.operand), factor.axes, parts)
            output = tuple(self._output(index, parts) for side in term.sides for index in side)
            sizes = {label: label.size for index in (i for s in term.sides for i in s) for label in index.labels}
            found.append(self.algebra.product(parts, output, sizes, rational(term.coefficient)))
        return self.algebra.add(found)

    def _part(self, p: Poly, axes: Sequence[Index], parts: list[Part]) -> None:
        parts.append((p, tuple(self._output(index, parts) for index in axes)))

    def _output(self, index: Index, parts: list[Part]) -> Label:
        """The label of an axis; a fixed place is a unit vector on a label of its own."""
        if index.label is not None:
            return index.label
        if not index.labels:
            label = Label(index.extent)
            parts.append((self._unit(index.offset, index.extent), (label,)))
            return label
        label = Label(index.extent)
        if index.table is None and index.strides == (1,) and not index.leaves:
            parts.append((self.algebra.atom(self._range(index)), (*index.labels, label)))
            return label
        plain = index.table is None and not index.leaves and not index.offset
        sizes = tuple(one.size for one in index.labels)
        if plain and len(sizes) == 2 and index.strides == (sizes[1], 1) and index.extent == math.prod(sizes):
            fold = Atom(AtomKind.CONSTANT, FOLD, (*sizes, index.extent))
            parts.append((self.algebra.atom(fold), (*index.labels, label)))
            return label
        if math.prod(index.shape) * index.extent > MOST_ENTRIES:
            raise UnprintableError("a map of elements", "")
        table = np.zeros((*index.shape, index.extent))
        places = index.positions()[..., None]
        there = (places >= 0) & (places < index.extent)
        np.put_along_axis(table, np.where(there, places, 0), np.where(there, 1.0, 0.0), axis=-1)
        parts.append((self._constant(table), (*index.labels, label)))
        return label

    def _unit(self, place: int, extent: int) -> Poly:
        """The unit vector of a place; symbolic lengths are large: one in the second half was counted from the end."""
        from_end = bool(self.algebra.sizes) and 2 * place >= extent > 1
        return self.algebra.atom(Atom(AtomKind.UNIT, str(place - extent if from_end else place), (extent,)))

    def _range(self, index: Index) -> Atom:
        """Rows of the identity, which take a range of places; in the second half counted from the end."""
        start, stop = index.offset, index.offset + index.labels[0].size
        whole = index.extent
        if any(abs(whole - size) <= 1 for size in self.algebra.sizes):  # n, and n+1 where a column was added
            start, stop = (place - whole if 2 * place >= whole else place for place in (start, stop))
        else:
            stop = 0 if stop == whole else stop
        name = f"[{start or ''}:{stop or ''}]"
        return Atom(AtomKind.CONSTANT, name, (index.labels[0].size, whole))

    def node(self, node: Node) -> Poly:
        """The value of a node."""
        if node not in self._known:
            self._known[node] = self._read(node)
        return self._known[node]

    def _read(self, node: Node) -> Poly:
        kind = node.kind
        algebra = self.algebra
        match kind:
            case Leaf():
                return algebra.atom(self._leaves[kind.position])
            case Constant():
                return self._constant(np.asarray(kind.value))
            case Elementwise():
                return algebra.broadcast(self._elementwise(kind.function, node.inputs), node.shape)
            case Contraction():
                parts = [(self.node(x), labels) for x, labels in zip(node.inputs, kind.inputs, strict=True)]
                sizes = dict(enumerate(kind.sizes))
                return algebra.product(parts, kind.output, sizes, rational(kind.coefficient))
            case IndexMap():
                found = [Poly(node.shape, ())]
                for source, axes in zip(node.inputs, kind.maps, strict=True):
                    moved: list[Part] = []
                    self._part(self.node(source), axes.source, moved)
                    output = tuple(self._output(index, moved) for index in axes.target)
                    found.append(algebra.product(moved, output, {x: x.size for x in axes.labels}))
                return algebra.add(found)
            case MatrixFunction():
                return self._matrix_function(kind, node)
            case Opaque():
                raise UnprintableError(kind.name, kind.line)
            case Selection():
                raise UnprintableError("selection", node.line)
            case Placeholder():
                raise UnprintableError("placeholder", node.line)
            case _:
                assert_never(kind)

    def _matrix_function(self, kind: MatrixFunction, node: Node) -> Poly:
        params = dict(kind.params)
        if kind.name in FUNCTIONS_OF_MATRICES and len(node.inputs[0].shape) == 2:
            return matrix_function(self.algebra, FUNCTIONS_OF_MATRICES[kind.name], self.node(node.inputs[0]))
        if kind.name in ("solve", "solve_triangular") and len(node.inputs[0].shape) == 2:
            inverse = matrix_function(self.algebra, "inv", self.node(node.inputs[0]))
            inverse = self.algebra.transpose(inverse) if params.get("transpose") else inverse
            left, right = inverse, self.node(node.inputs[1])
            if not params.get("left_side", True):
                left, right = right, left
            return self.algebra.product([(left, (0, 1)), (right, (1, 2))], (0, 2), {})
        if kind.name in ("reduce_max", "reduce_min"):
            return self._extremum(kind.name[-3:], self.node(node.inputs[0]), params["axes"])
        if kind.name == "extremum_weights":
            return self._places(self.node(node.inputs[0]), self.node(node.inputs[1]), params["axes"])
        if kind.name in FACTORS and len(node.inputs[0].shape) == 2:
            name, turned = FACTORS[kind.name][params["output"]]
            axes = node.shape[::-1] if turned else node.shape
            trait = "orthonormal" if len(axes) == 2 else ""
            atom = Atom(AtomKind.MATRIX, name, axes, (self.node(node.inputs[0]),), trait=trait)
            found = self.algebra.atom(atom)
            return self.algebra.transpose(found) if turned else found
        if kind.name == "reciprocal_gaps" and len(node.shape) == 2:
            name = "squared_gaps" if params["squared"] else "gaps"
            return self.algebra.atom(Atom(AtomKind.MATRIX, name, node.shape, (self.node(node.inputs[0]),)))
        if kind.name == "cholesky" and len(node.shape) == 2:
            return self.algebra.atom(
                Atom(AtomKind.MATRIX, "cholesky", node.shape, (self.node(node.inputs[0]),), trait="triangular")
            )
        if kind.name == "reciprocal":
            return self.algebra.power(self.node(node.inputs[0]), Fraction(-1))
        raise UnprintableError(kind.name, "")

    def _extremum(self, name: str, p: Poly, along: Sequence[int]) -> Poly:
        """The largest or smallest element, of all or of each row."""
        if len(along) == p.rank:
            return self.algebra.atom(Atom(AtomKind.MATRIX, name, (), (p,)))
        if p.rank != 2:
            raise UnprintableError(f"{name} along an axis", "")
        rows = p if tuple(along) == (1,) else self.algebra.transpose(p)
        return self.algebra.atom(Atom(AtomKind.MATRIX, f"{name}_rows", rows.axes[:1], (rows,)))

    def _places(self, p: Poly, extremum: Poly, along: Sequence[int]) -> Poly:
        """One where the extremum is, zero elsewhere: where it is unique, as it has to be for a derivative."""
        single = p.terms[0].factors[0].atom if len(p.terms) == 1 and len(p.terms[0].factors) == 1 else None
        place = None if single is None else SORTED.get((single.name, extremum.terms[0].factors[0].atom.name))
        if place is not None:
            return self.algebra.atom(Atom(AtomKind.UNIT, place, p.axes))
        labels = tuple(k for k in range(p.rank) if k not in along)
        spread = self.algebra.product([(extremum, labels)], tuple(range(p.rank)), dict(enumerate(p.axes)))
        return apply(self.algebra, "=", [p, spread])

    def _constant(self, array: Any) -> Poly:
        """Known arrays: numbers, identities, and others by value."""
        values = np.asarray(array)
        values = values.astype(float)
        axes = values.shape
        if values.size and np.all(values == values.flat[0]):
            return self.algebra.number(float(values.flat[0]), axes)
        if values.ndim == 2 and axes[0] == axes[1]:
            diagonal = values[0, 0]
            if np.array_equal(values, diagonal * np.eye(axes[0])):
                return self.algebra.scale(rational(float(diagonal)), self.algebra.delta(axes[0]))
            triangles = self._triangles(values)
            if triangles is not None:
                return triangles
        if values.shape == (3, 3, 3) and any(np.array_equal(values, sign * SIGNS) for sign in (1, -1)):
            return self.algebra.scale(int(values[0, 1, 2]), self.algebra.atom(Atom(AtomKind.CONSTANT, EPSILON, axes)))
        if values.ndim == 1 and np.count_nonzero(values) == 1:
            place = int(np.flatnonzero(values)[0])
            return self.algebra.scale(rational(float(values[place])), self._unit(place, len(values)))
        if 1 in axes:
            kept = tuple(k for k, size in enumerate(axes) if size > 1)
            inside = self._constant(values.reshape([axes[k] for k in kept]))
            return self.algebra.product([(inside, kept)], tuple(range(len(axes))), dict(enumerate(axes)))
        name = repr(_nested(values.tolist()))
        if values.size > MOST_ENTRIES:
            raise UnprintableError(f"a constant array of shape {axes}", "")
        symmetric = values.ndim == 2 and axes[0] == axes[1] and np.array_equal(values, values.T)
        return self.algebra.atom(Atom(AtomKind.CONSTANT, name, axes, symmetric=bool(symmetric)))

    def _triangles(self, values: Any) -> Poly | None:
        """A square matrix of one number below the diagonal, one on it and one above."""
        if len(values) < 2:
            return None
        below, on, above = float(values[1, 0]), float(values[0, 0]), float(values[0, 1])
        one = np.ones_like(values)
        if not np.array_equal(values, below * np.tril(one, -1) + on * np.eye(len(values)) + above * np.triu(one, 1)):
            return None
        algebra = self.algebra
        tril, triu = (algebra.atom(Atom(AtomKind.CONSTANT, side, values.shape)) for side in MASKS)
        parts = [(below, tril), (above, triu), (on - below - above, algebra.delta(len(values)))]
        if below == above:
            parts = [(below, algebra.number(1, values.shape)), (on - below, algebra.delta(len(values)))]
        elif on == above:
            parts = [(below, algebra.number(1, values.shape)), (above - below, triu)]
        elif on == below:
            parts = [(above, algebra.number(1, values.shape)), (below - above, tril)]
        return algebra.add([algebra.scale(rational(x), p) for x, p in parts if x])

    # -- scalar functions --------------------------------------------------------------------------

    def _elementwise(self, function: ScalarFunction, inputs: Sequence[Node]) -> Poly:
        values = [self.node(source) for source in inputs]

        def load(argument: Argument) -> Poly:
            if isinstance(argument, Literal):
                return self.algebra.number(float(argument.value))
            return values[argument]

        exact = self._equalities or any(source.dtype.kind in "biu" for source in inputs)  # of labels
        for instruction in function.instructions:
            values.append(self._instruction(instruction, [load(a) for a in instruction.arguments], exact))
        return load(function.result)

    def _instruction(self, instruction: Instruction, values: list[Poly], exact: bool) -> Poly:
        algebra, name = self.algebra, instruction.operation.name
        match name, values:
            case (("add" | "add_any"), [a, b]):
                return algebra.add([a, b])
            case "sub", [a, b]:
                return algebra.add([a, algebra.scale(-1, b)])
            case "mul", [a, b]:
                return algebra.times(a, b)
            case "div", [a, b]:
                return algebra.times(a, algebra.power(b, Fraction(-1)))
            case "neg", [a]:
                return algebra.scale(-1, a)
            case "sqrt", [a]:
                return algebra.power(a, Fraction(1, 2))
            case "rsqrt", [a]:
                return algebra.power(a, Fraction(-1, 2))
            case "square", [a]:
                return algebra.power(a, Fraction(2))
            case "one_minus_square", [a]:  # how JAX 0.12 writes the slope of tanh
                return algebra.add([algebra.number(1), algebra.scale(-1, algebra.power(a, Fraction(2)))])
            case "integer_pow", [a]:
                return algebra.power(a, Fraction(dict(instruction.operation.key)["y"]))
            case "polynomial", [a, constant, *coefficients]:
                powers = (algebra.power(a, Fraction(k)) for k in range(1, len(coefficients) + 1))
                return algebra.add([constant, *map(algebra.times, coefficients, powers)])
            case "log1p", [a]:
                return apply(algebra, "log", [algebra.add([algebra.number(1), a])])
            case "expm1", [a]:
                return algebra.add([algebra.number(-1), apply(algebra, "exp", [a])])
            case "erfc", [a]:
                return algebra.add([algebra.number(1), algebra.scale(-1, apply(algebra, "erf", [a]))])
            case "is_finite", [a]:
                return algebra.number(1, a.axes)
            case "select_n", [condition, no, yes]:
                return self._select(condition, no, yes)
            case "not", [a]:
                return algebra.add([algebra.number(1), algebra.scale(-1, a)])
            case "and", [a, b]:
                return algebra.times(a, b)
            case _ if name in UNCHANGED:
                return values[0]
            case _ if name in PRIMITIVES:
                return apply(algebra, PRIMITIVES[name], self._fitted(values))
            case "exp_neg_sq", [a]:  # the slope of erf, up to a number
                return apply(algebra, "exp", [algebra.scale(-1, algebra.power(a, Fraction(2)))])
            case "polygamma", [order, a] if order.constant in (0, 1):
                return apply(algebra, "trigamma" if order.constant else "digamma", [a])
            case "polygamma", [order, a] if order.constant is not None:
                return apply(algebra, "polygamma", [algebra.number(float(order.constant)), a])
            case "eq", [a, b] if (larger := is_larger(algebra, *self._fitted([a, b]))) is not None:
                return larger
            case (("eq" | "ne"), [a, b]) if not exact:
                return algebra.number(float((name == "eq") == (a == b)))
            case "lt", [_, b] if b.constant == 28:  # JAX takes exp(-28^2) for the zero that it is in floats
                return algebra.number(1, values[0].axes)
            case _ if name in COMPARED:
                return apply(algebra, COMPARED[name], self._fitted(values))
            case _ if name in LIBRARY:
                return self._library(name, values)
            case _:
                raise UnprintableError(name, "")

    def _fitted(self, values: list[Poly]) -> list[Poly]:
        axes = max((p.axes for p in values), key=len)
        return [self.algebra.broadcast(p, axes) for p in values]

    def _select(self, condition: Poly, no: Poly, yes: Poly) -> Poly:
        algebra = self.algebra
        if condition.constant is not None:
            return yes if condition.constant else no
        if no == yes:
            return no
        if no.constant == -math.inf and yes.constant is None:
            axes = max((condition.axes, yes.axes), key=len)
            masked = [algebra.broadcast(p, axes) for p in (condition, yes)]
            return algebra.atom(Atom(AtomKind.FUNCTION, MASKED, axes, tuple(masked)))
        single = condition.terms[0].factors[0].atom if len(condition.terms) == 1 else None
        guards = single is not None and len(condition.terms[0].factors) == 1 and single.kind is AtomKind.FUNCTION
        if guards and no.constant == 1 and yes.constant == 2:
            return no  # JAX halves the slope of max where both sides are equal
        if guards and single is not None and single.name in ("=", "≠"):
            # JAX guards a singular point of a formula: elsewhere the other branch holds
            regular, singular = (no, yes) if single.name == "=" else (yes, no)
            if singular.constant is not None and any(p.constant == 0 for p in single.arguments):
                return regular
        if guards and single is not None and single.name in ("≥", ">") and single.arguments[1].constant == 0:
            slope = yes.constant  # of |u|, which JAX writes as one or minus one, times what it is multiplied by
            if slope is not None and no.constant == -slope:
                return algebra.scale(slope, apply(algebra, "sign", [single.arguments[0]]))
        rest = algebra.add([algebra.number(1, condition.axes), algebra.scale(-1, condition)])
        return algebra.add([algebra.times(condition, yes), algebra.times(rest, no)])

    def _library(self, name: str, values: list[Poly]) -> Poly:
        algebra = self.algebra
        x = values[0]
        if name == "relu":
            return apply(algebra, "max", self._fitted([x, algebra.number(0)]))
        if name == "silu":
            return algebra.times(x, apply(algebra, "sigmoid", [x]))
        if name in ("xlogy", "xlog1py", "_xlogx"):  # with the limit 0 where x is, of which the formula says nothing
            x, inside = self._fitted([x, values[-1]])
            one = algebra.number(float(name == "xlog1py"))
            return algebra.times(x, apply(algebra, "log", [algebra.add(self._fitted([inside, one]))]))
        y = values[1] if len(values) > 1 else algebra.number(0)
        both = algebra.add([apply(algebra, "exp", [x]), apply(algebra, "exp", [y])])
        return apply(algebra, "log", [both])


def _nested(values: Any) -> Any:
    """Lists of lists as tuples of tuples."""
    return tuple(map(_nested, values)) if isinstance(values, list) else values
