"""Labelled networks to matrix expressions: chains to products, cycles to traces, crossings to diag and ⊙.

A label is a vertex. An atom on two labels is an edge, an atom on one label a weight of its vertex. A summed
vertex with one edge is a matrix-vector product, with two edges a matrix product, with none a sum;
what is left between the free labels is the expression. A vertex with more edges has no matrix notation:
`NotMatrices`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from nablax.derivation.factoring import factored
from nablax.derivation.forms import Form
from nablax.derivation.functions import MASKED
from nablax.derivation.labelled import Network, Triple, crossed, hadamard, product
from nablax.derivation.tensors import EPSILON, FOLD, MASKS, Atom, AtomKind, Factor, Monomial, Number, Poly, components
from nablax.derivation.triples import eliminated
from nablax.errors import NotMatrices, UnprintableError
from nablax.printing.definitions import places
from nablax.printing.expression import (
    SIGNS,
    Array,
    Call,
    Expression,
    Factors,
    Function,
    Hadamard,
    Identity,
    Indexed,
    Inverse,
    Ones,
    Piece,
    Product,
    Scale,
    Shape,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    factors_of,
    reversed_factors,
)
from nablax.printing.expression import Number as NumberExpression
from nablax.printing.multiples import multiply, powered

MOST_CUT = 5  # elements: lengths of traces are further apart
LETTERS = "ijklpqrstuvwabcdefghmnoxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _with_roots_below(
    coefficient: Number, scalars: dict[Expression, Fraction], term: Monomial, chain: Factors = ()
) -> Form:
    """½√2 is 1/√2."""
    for factor in term.factors:
        name = factor.atom.name
        if factor.atom.kind is AtomKind.SIZE and name in ("2", "3", "5") and factor.exponent == Fraction(1, 2):
            base, whole = SizeOf(name), int(name)
            if isinstance(coefficient, Fraction) and coefficient.denominator % whole == 0 and base in scalars:
                coefficient *= whole
                scalars[base] -= 1
    return Form(coefficient, scalars, chain)


class Writer:
    """Writes polys as matrix expressions.

    Args:
        names: names of axis lengths.
        joined: how a sum is written.
    """

    def __init__(
        self, names: Mapping[int, str], joined: Callable[[Sequence[Form], Shape], Expression] = factored
    ) -> None:
        self._names = dict(names)
        self._joined = joined
        self._known: dict[str, Expression] = {}

    def size(self, length: int) -> str:
        """The name of an axis length; products of sizes are written as such, and a size of which a few are cut off."""
        if length in self._names:
            return self._names[length]
        found = []
        rest = length
        for size, name in self._names.items():
            while rest % size == 0 and rest > 1:
                rest //= size
                found.append(name)
        near = [(name, length - size) for size, name in self._names.items() if 0 < abs(length - size) <= MOST_CUT]
        if not found and len(near) == 1 and not near[0][0].isdigit():
            return f"{near[0][0]}{near[0][1]:+d}"
        return "·".join([*([str(rest)] if rest != 1 or not found else []), *found])

    def shape(self, axes: Sequence[int]) -> tuple[str, ...]:
        """Names of the sizes of axes."""
        return tuple(self.size(length) for length in axes)

    def write(self, p: Poly) -> Expression:
        """The expression of a poly; in index notation where matrices do not suffice."""
        if p.key not in self._known:
            self._known[p.key] = self._written(p)
        return self._known[p.key]

    def _written(self, p: Poly) -> Expression:
        if p.rank > 2:
            return self.indexed(p)
        try:
            forms = [self.form(term, p) for term in p.terms]
        except NotMatrices:
            return self.indexed(p)
        return self._joined(forms, self.shape(p.axes))

    # -- atoms -------------------------------------------------------------------------------------

    def atom(self, atom: Atom) -> Expression:
        """The expression of an atom."""
        shape = self.shape(atom.axes)
        arguments = tuple(self._argument(argument, atom) for argument in atom.arguments)
        match atom.kind:
            case AtomKind.LEAF:
                return Symbol(atom.name, shape, atom.symmetric)
            case AtomKind.SIZE:
                return SizeOf(atom.name)
            case AtomKind.DELTA:
                return Identity(shape[0])
            case AtomKind.UNIT:
                return Unit(int(atom.name), shape[0])
            case AtomKind.GROUP:
                return arguments[0]
            case AtomKind.CONSTANT if atom.name in MASKS:
                return Call(atom.name, (Ones(shape),), shape)
            case AtomKind.CONSTANT if atom.name == EPSILON:
                return SIGNS
            case AtomKind.CONSTANT if ":" in atom.name:
                return Call(atom.name, (Identity(shape[1]),), shape)
            case AtomKind.CONSTANT:
                return Array(atom.name, shape)
            case AtomKind.MATRIX if atom.name == "inv":
                return Inverse(arguments[0])
            case AtomKind.MATRIX:
                return Call(atom.name, arguments, shape)
            case AtomKind.FUNCTION if atom.name == MASKED:
                raise UnprintableError("an infinite number", "")
            case AtomKind.FUNCTION if atom.name.startswith("softmax"):
                return Call(atom.name, arguments, shape)
            case AtomKind.FUNCTION:
                return Function(atom.name, arguments)
        raise AssertionError(atom.kind)

    def _argument(self, p: Poly, atom: Atom) -> Expression:
        """An argument; numbers of scalar functions are numbers, not arrays."""
        if atom.kind is AtomKind.FUNCTION and p.constant is not None:
            if not math.isfinite(p.constant):
                raise UnprintableError("an infinite number", "")
            return NumberExpression(p.constant)
        if atom.kind is AtomKind.FUNCTION and not any(
            label < p.rank for term in p.terms for factor in term.factors for label in factor.labels
        ):
            shift = {k: k - p.rank for term in p.terms for f in term.factors for k in f.labels}
            terms = (Monomial(t.coefficient, tuple(f.relabelled(shift) for f in t.factors)) for t in p.terms)
            return self.write(Poly((), tuple(terms)))
        return self.write(p)

    def powered(self, factor: Factor) -> Expression:
        """An atom with axes to its power; e⁻ᵘ as exp(−u)."""
        if factor.atom.name == "exp" and factor.exponent < 0:
            [p] = factor.atom.arguments
            turned = Poly(p.axes, tuple(Monomial(-t.coefficient, t.factors) for t in p.terms))
            return powered(Function("exp", (self.write(turned),)), -factor.exponent)
        return powered(self.atom(factor.atom), factor.exponent)

    # -- one product -------------------------------------------------------------------------------

    def form(self, term: Monomial, p: Poly) -> Form:
        """A monomial as scalars times a chain of matrices."""
        scalars: dict[Expression, Fraction] = {}
        coefficient = term.coefficient
        if isinstance(coefficient, float) and not math.isfinite(coefficient):
            raise UnprintableError("an infinite number", "")
        rest: list[Factor] = []
        for group in components(term.factors, p.rank):
            labels = {label for factor in group for label in factor.labels}
            if any(label < p.rank for label in labels):
                rest += group
                continue
            if len(group) == 1 and not labels:
                base, exponent = self._scalar(group[0])
            else:
                base, exponent = self._component(group)
            coefficient *= multiply(scalars, base, exponent)
        if p.rank == 0:
            return _with_roots_below(coefficient, scalars, term)
        pulled: list[Scale] = []
        network = self._network(rest, pulled)
        for scale in pulled:
            coefficient *= multiply(scalars, replace(scale, body=None))
        self._reduce(network, p.rank, {})
        chain = self._chain(network, p)
        for k, factor in enumerate(chain):
            match factor:
                case Transpose(Call("skew") as turned):  # the transpose is the negative
                    coefficient, chain = -coefficient, (*chain[:k], turned, *chain[k + 1 :])
                case _:
                    pass
        return _with_roots_below(coefficient, scalars, term, chain)

    def _scalar(self, factor: Factor) -> tuple[Expression, Fraction]:
        """A scalar atom as base and exponent: norms rather than roots of inner products."""
        atom, exponent = factor.atom, factor.exponent
        if atom.name == "exp" and exponent < 0:
            return self.powered(Factor(atom, (), Fraction(-1))), -exponent
        if atom.kind is AtomKind.GROUP:
            squared = self._norm(atom.arguments[0])
            simple = squared is not None and isinstance(squared.arguments[0], Symbol) and squared.name == "norm"
            if squared is not None and (exponent.denominator == 2 or not simple):
                return squared, 2 * exponent
        return self.atom(atom), exponent

    def _norm(self, p: Poly) -> Call | None:
        """‖v‖ where a scalar is vᵀv."""
        if len(p.terms) != 1 or p.terms[0].coefficient != 1 or p.rank:
            return None
        [term] = p.terms
        if (
            len(term.factors) == 1
            and term.factors[0].exponent == 2
            and len(set(term.factors[0].labels)) == len(term.factors[0].labels)
        ):
            inside = self.atom(term.factors[0].atom)
            return Call("norm" if len(term.factors[0].labels) == 1 else "norm_F", (inside,))
        written = self.write(p)
        if isinstance(written, Product):
            half = len(written.factors) // 2
            left, right = written.factors[:half], written.factors[half:]
            if 2 * half == len(written.factors) and reversed_factors(right) == left:
                return Call("norm", (product(right),))
        return None

    def _component(self, group: Sequence[Factor]) -> tuple[Expression, Fraction]:
        """A connected scalar: inner product, trace, sum or norm."""
        if len(group) == 1 and group[0].exponent == 2 and len(set(group[0].labels)) == len(group[0].labels):
            inside = self.atom(group[0].atom)
            if len(group[0].labels) == 1 and isinstance(inside, Symbol):
                return Product((Transpose(inside), inside)), Fraction(1)
            return Call("norm" if len(group[0].labels) == 1 else "norm_F", (inside,)), Fraction(2)
        if len(group) == 1 and len(set(group[0].labels)) == 2:
            return Call("sum", (self.powered(group[0]),)), Fraction(1)
        network = self._network(group)
        scalars: dict[Expression, Fraction] = {}
        self._reduce(network, 0, scalars)
        if len(scalars) != 1:
            raise NotMatrices
        [(base, exponent)] = scalars.items()
        return base, exponent

    def _network(self, factors: Sequence[Factor], pulled: list[Scale] | None = None) -> Network:
        """Vertices and edges; scalars of scaled factors go to `pulled`, where there is one."""
        network = Network({}, {})
        for factor in factors:
            for label in factor.labels:
                network.weights.setdefault(label, [])
            if factor.atom.name in (EPSILON, FOLD):
                a, b, c = factor.labels
                network.triples.append(Triple(factor.atom.name, (a, b, c), self._three(factor.atom)))
                continue
            is_loop = len(factor.labels) == 2 and len(set(factor.labels)) == 1
            written = self.atom(factor.atom) if is_loop else self.powered(factor)
            if pulled is not None and isinstance(written, Scale) and written.body is not None and not is_loop:
                pulled.append(written)
                written = written.body
            match factor.labels:
                case (label,):
                    network.weights[label].append(written)
                case (a, b) if a == b:
                    shape = self.shape(factor.atom.axes[:1])
                    diagonal = powered(Call("diagonal", (written,), shape), factor.exponent)  # 1 ⊘ diag(L)
                    network.weights[a].append(diagonal)
                case (a, b):
                    network.connect(a, b, factors_of(written))
                case _:
                    raise NotMatrices
        self._sizes = {x: n for f in factors for x, n in zip(f.labels, f.atom.axes, strict=True)}
        return network

    def _three(self, atom: Atom) -> tuple[str, str, str]:
        first, second, third = self.shape(atom.axes)
        return first, second, third

    def _reduce(self, network: Network, rank: int, scalars: dict[Expression, Fraction]) -> None:
        """Eliminate all summed labels."""
        while True:
            left = [label for label in network.weights if label >= rank]
            if not left and not network.triples:
                return
            if eliminated(network, rank):
                continue
            if self._close(network, self._free(network, rank)):
                continue
            self._merge(network)
            summed = self._free(network, rank)
            if not self._eliminate_one(network, summed, scalars) and any(x >= rank for x in network.weights):
                raise NotMatrices

    def _free(self, network: Network, rank: int) -> list[int]:
        """Summed labels that stand in no triple."""
        return [label for label in network.weights if label >= rank and not network.held(label)]

    def _close(self, network: Network, summed: Sequence[int]) -> bool:
        """A summed label with two edges to one other and nothing else: a loop there, the diagonal of P Q."""
        for (a, b), chains in network.edges.items():
            for kept, gone in ((a, b), (b, a)):
                if len(chains) == 2 and gone in summed and not network.weights[gone] and network.degree(gone) == 1:
                    forward, back = chains if kept == a else map(reversed_factors, chains)
                    loop = product((*forward, *reversed_factors(back)))
                    network.weights[kept].append(Call("diagonal", (loop,), (self.size(self._sizes[kept]),)))
                    network.remove(gone)
                    return True
        return False

    def _merge(self, network: Network) -> None:
        """Edges between the same labels become one, elementwise."""
        for pair, chains in network.edges.items():
            if len(chains) > 1:
                network.edges[pair] = [(hadamard([product(chain) for chain in chains]),)]

    def _eliminate_one(self, network: Network, summed: list[int], scalars: dict[Expression, Fraction]) -> bool:
        for degree in (0, 1, 2):
            for label in summed:
                if label not in network.weights or network.degree(label) != degree:
                    continue
                around, size = network.neighbours(label), self.size(self._sizes[label])
                if degree == 0:
                    base, exponent = _inner(network.weights[label])
                    multiply(scalars, base, exponent)
                elif degree == 1:
                    [(other, chain)] = around
                    vector = factors_of(network.vector(label, size))
                    network.weights[other].append(product((*reversed_factors(chain), *vector)))
                else:
                    (a, left), (b, right) = around
                    middle = network.diagonal(label, size)
                    network.remove(label)
                    network.connect(a, b, (*reversed_factors(left), *middle, *right))
                    return True
                network.remove(label)
                return True
        return False

    def _chain(self, network: Network, p: Poly) -> Factors:
        """What is left between the free labels."""
        self._merge(network)
        shape = self.shape(p.axes)
        rows, columns = network.weights.get(0, []), network.weights.get(1, [])
        left = factors_of(network.vector(0, shape[0]))
        if p.rank == 1:
            return left
        outer = (*left, *reversed_factors(factors_of(network.vector(1, shape[1]))))
        edges = network.edges.get((0, 1))
        if edges is None:
            return outer
        [chain] = edges
        match chain, rows, columns:
            case (Identity() as identity,), [Call("diagonal", (matrix,))], []:
                return (Hadamard((identity, matrix)),)
            case (Call("tril" | "triu" as side, (Ones(),), _),), _, _ if rows or columns:
                return (Call(side, (Product(outer),), shape),)
            case _:
                chain = (*network.diagonal(0, shape[0]), *chain, *network.diagonal(1, shape[1]))
        kept = tuple(factor for factor in chain if not isinstance(factor, Identity))
        return crossed(kept) or (chain[0],)

    # -- index notation ----------------------------------------------------------------------------

    def indexed(self, p: Poly) -> Expression:
        """The poly in index notation."""
        terms: list[Expression] = []
        for term in p.terms:
            labels = dict.fromkeys([*range(p.rank), *(x for f in term.factors for x in f.labels)])
            if len(labels) > len(LETTERS):
                raise UnprintableError("a sum over that many indices", "")
            letters = dict(zip(labels, LETTERS, strict=False))
            pieces: list[Piece] = []
            for f in term.factors:
                if f.atom.name == FOLD:
                    columns, rows, _ = self.shape(f.atom.axes)
                    column, row, place = (letters[x] for x in f.labels)
                    pieces += reversed(places(rows, columns, (row, column, place)))
                    continue
                pieces.append(Piece(self.atom(f.atom), tuple(letters[x] for x in f.labels), f.exponent))
            free = tuple(letters[k] for k in range(p.rank))
            terms.append(Indexed(term.coefficient, tuple(pieces), free, self.shape(p.axes)))
        if not terms:
            return Indexed(Fraction(0), (), tuple(LETTERS[: p.rank]), self.shape(p.axes))
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))


def _inner(vectors: list[Expression]) -> tuple[Expression, Fraction]:
    """Σᵢ of a product of vectors."""
    if len(vectors) == 1:
        [vector] = vectors
        if isinstance(vector, Call) and vector.name == "diagonal":
            [loop] = vector.arguments
            return Call("tr", (product(best_rotation(factors_of(loop))),)), Fraction(1)
        return Call("sum", (vector,)), Fraction(1)
    left, right = vectors[0], hadamard(vectors[1:])
    if left == right and not isinstance(left, Symbol):
        return Call("norm", (left,)), Fraction(2)
    options = [(*reversed_factors(factors_of(a)), *factors_of(b)) for a, b in ((left, right), (right, left))]
    return Product(min(options, key=lambda chain: (_transposes(chain), repr(chain)))), Fraction(1)


def _transposes(chain: Factors) -> int:
    return sum(isinstance(factor, Transpose) for factor in chain)


def best_rotation(chain: Factors) -> Factors:
    """The trace's cyclic order with the fewest transposes, then the least by name."""
    options = []
    for one in (chain, reversed_factors(chain)):
        options += [(*one[k:], *one[:k]) for k in range(len(one))]
    return min(options, key=lambda option: (_transposes(option), repr(option)))
