"""Networks of labels: vertices with weights, edges that are chains of matrices, and triples of vertices.

A triple is the cross product's sign of three places, or the two places of a matrix beside the one of its vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nablax.printing.expression import (
    Call,
    Expression,
    Factors,
    Hadamard,
    Ones,
    Transpose,
    product_of,
    reversed_factors,
    shape_of,
)


@dataclass(frozen=True)
class Triple:
    """Three labels that belong together.

    Args:
        name: what holds them together, see `tensors`.
        labels: of a cross product in the order of their sign; of stacked columns those of column, row and place.
        shape: the size of each.
    """

    name: str
    labels: tuple[int, int, int]
    shape: tuple[str, str, str]


@dataclass
class Network:
    """Vertices with weights, edges as chains of matrices from the lower to the higher label, and triples."""

    weights: dict[int, list[Expression]]
    edges: dict[tuple[int, int], list[Factors]]
    triples: list[Triple] = field(default_factory=list)

    def held(self, label: int) -> int:
        """In how many triples a label stands."""
        return sum(triple.labels.count(label) for triple in self.triples)

    def degree(self, label: int) -> int:
        return sum(label in pair for pair in self.edges)

    def neighbours(self, label: int) -> list[tuple[int, Factors]]:
        """Factorss from the label outwards."""
        found = []
        for pair, chains in self.edges.items():
            if label in pair:
                other = pair[1] if pair[0] == label else pair[0]
                for chain in chains:
                    found.append((other, chain if pair[0] == label else reversed_factors(chain)))
        return found

    def vector(self, label: int, size: str) -> Expression:
        """The weights of a label as one vector."""
        weights = self.weights.get(label)
        return hadamard(weights) if weights else Ones((size,))

    def diagonal(self, label: int, size: str) -> Factors:
        """The weights of a label as a matrix in a chain; nothing where there are none."""
        weights = self.weights.get(label)
        return (Call("diag", (hadamard(weights),), (size, size)),) if weights else ()

    def connect(self, a: int, b: int, chain: Factors) -> None:
        if a > b:
            a, b, chain = b, a, reversed_factors(chain)
        self.edges.setdefault((a, b), []).append(chain)

    def remove(self, label: int) -> None:
        self.weights.pop(label, None)
        for pair in [pair for pair in self.edges if label in pair]:
            del self.edges[pair]


def product(chain: Factors) -> Expression:
    """A chain as one expression."""
    chain = crossed(chain)
    return product_of(chain)


def crossed(chain: Factors) -> Factors:
    """A chain whose matrices of cross products meet vectors as cross products: skew(x) y is x × y."""
    if len(chain) < 2:
        return chain
    for k in reversed(range(len(chain) - 1)):
        inside, turned = _skewed(chain[k])
        if inside is not None and len(shape_of(chain[-1])) == 1:
            pair = (inside, product(chain[k + 1 :]))
            return crossed((*chain[:k], Call("cross", pair[::-1] if turned else pair, shape_of(inside))))
    for k in range(1, len(chain)):
        inside, turned = _skewed(chain[k])
        if inside is not None and shape_of(chain[0])[:1] == ("1",):
            pair = (product(reversed_factors(chain[:k])), inside)
            value = Call("cross", pair[::-1] if turned else pair, shape_of(inside))
            return crossed((Transpose(value), *chain[k + 1 :]))
    return chain


def _skewed(factor: Expression) -> tuple[Expression | None, bool]:
    """The vector of a matrix of a cross product, and whether that is transposed."""
    match factor:
        case Call("skew", (inside,)):
            return inside, False
        case Transpose(Call("skew", (inside,))):
            return inside, True
        case _:
            return None, False


def hadamard(parts: Sequence[Expression]) -> Expression:
    """The product of elements, flat."""
    flat = [inner for part in parts for inner in (part.factors if isinstance(part, Hadamard) else (part,))]
    for part in flat:
        match part:
            case Call("tril" | "triu" as side, (Ones(),), shape) if len(flat) > 1:
                return Call(side, (hadamard([other for other in flat if other is not part]),), shape)
            case _:
                pass
    return flat[0] if len(flat) == 1 else Hadamard(tuple(flat))
