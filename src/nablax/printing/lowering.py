"""From matrix expressions to programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from nablax.errors import DerivationError
from nablax.notation import COLUMNS, FUNCTIONS, RELATIONS
from nablax.printing.builder import Builder
from nablax.printing.costs import cost
from nablax.printing.expression import (
    Array,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Indexed,
    Inverse,
    Kronecker,
    LinearMap,
    Number,
    Ones,
    Piece,
    Power,
    PowerSum,
    Product,
    Quotient,
    Scale,
    Shape,
    SizeOf,
    Sum,
    Symbol,
    Transpose,
    Unit,
    Where,
    factors_of,
    is_row,
    product_of,
    shape_of,
)
from nablax.printing.products import Choices, Products, multiplied
from nablax.printing.program import (
    Argument,
    Basis,
    Contraction,
    Elementwise,
    Eye,
    Fill,
    Length,
    Part,
    Pick,
    Program,
    Reduction,
    Routine,
    Table,
    by_place,
    offset_of,
    parts_of,
)
from nablax.printing.rewrite import replaced

# Functions of whole matrices that are one routine: the name of the routine, and the axes of its value.
ROUTINES = {
    "det": ("det", 0), "logdet": ("logdet", 0), "pinv": ("pinv", 2),
    "eig": ("eigenvalues", 1), "eigenvalues": ("eigenvalues", 1), "eigenvectors": ("eigenvectors", 2),
    "singular_values": ("singular_values", 1), "left_vectors": ("left_vectors", 2),
    "right_vectors": ("right_vectors", 2), "cholesky": ("cholesky", 2),
}  # fmt: skip


def lowered(
    expressions: Mapping[str, Expression],
    arguments: Mapping[str, Shape],
    called: str,
    *,
    is_weighed: bool = True,
) -> Program:
    """The program of expressions that are computed together.

    Args:
        expressions: what is returned, by name; of a linear map its value, of more parameters, the directions.
        arguments: names and shapes (names of sizes) of the parameters, in order.
        called: the function's name.
        is_weighed: whether other ways to multiply are tried for what the whole program costs with them.

    Returns:
        The program, multiplied in the planner's order.

    Raises:
        DerivationError: an expression that no program computes, named.
    """
    parameters = dict(arguments)
    bodies = {}
    for name, expression in expressions.items():
        if isinstance(expression, LinearMap):
            directions, expression = expression.arguments, expression.body
            for direction in directions:
                parameters[direction.name] = direction.shape
                # Of a direction that is not symmetric one gets what is printed, in whatever order it is multiplied.
                expression = replaced(expression, direction, Symbol(direction.name, direction.shape))
        bodies[name] = expression
    best = _Lowering(parameters, Choices(), bodies)
    tried: set[Choices] = set()
    while is_weighed and (choice := next((one for one in best.choices() if one not in tried), None)) is not None:
        tried.add(choice)
        other = _Lowering(parameters, best.made ^ choice, bodies)
        best = other if other.cost < best.cost else best
    return Program(called, parameters, tuple(best.builder.values), by_place(best.names), best.outputs)


class _Lowering:
    def __init__(
        self,
        arguments: Mapping[str, Shape],
        choices: Choices,
        bodies: Mapping[str, Expression],
    ) -> None:
        self.builder, self.made = Builder(), choices
        self.names: list[tuple[str, int]] = []
        self._arguments = arguments
        self._named: dict[Symbol, int] = {}
        self._known: dict[Expression, int] = {}
        self._products = Products(self.builder, self.of, choices)
        self.outputs = self._outputs(bodies)
        self.cost = cost(self.builder.values, (place for _, place in self.outputs))

    def _outputs(self, bodies: Mapping[str, Expression]) -> tuple[tuple[str, int], ...]:
        found = []
        for name, body in bodies.items():
            self._named, self._known = {}, {}  # two closed forms may use one name for two things
            found.append((name, self.of(body)))
        return tuple(found)

    def choices(self) -> Iterator[Choices]:
        """Where another way could be cheaper."""
        return self._products.met.choices()

    def of(self, node: Expression) -> int:
        """The place of an expression's value."""
        if node not in self._known:
            self._known[node] = self._of(node)
        return self._known[node]

    def _of(self, node: Expression) -> int:
        add, elementwise = self.builder.add, self.builder.elementwise
        match node:
            case Symbol(name, shape, is_symmetric):
                if node in self._named:
                    return self._named[node]
                place = add(Argument(name, self._arguments.get(name, shape)))
                return self.builder.symmetric(place) if is_symmetric else place
            case Number(value):
                return self._number(value)
            case SizeOf(name):
                return self._length(name)
            case Array(values, shape):
                return add(Table(values, shape))
            case Sum(terms):
                return elementwise("add", *map(self.of, terms))
            case Product(factors):
                return self._products.product(factors)
            case Hadamard(factors):
                return elementwise("multiply", *map(self.of, factors))
            case Scale():
                return self._scale(node)
            case Quotient(numerator, denominator):
                return elementwise("divide", self.of(numerator), self.of(denominator))
            case Transpose(operand):
                inside = self.of(operand)
                return self.builder.transposed(inside) if len(self.builder.shape(inside)) == 2 else inside
            case Inverse(operand):
                return self._products.inverse(operand)
            case PowerSum():
                return self._power_sum(node)
            case Power(Call("norm" | "norm_F", (inside,)), Number(value)) if value == 2:
                return self._squares(inside)
            case Power(base, exponent):
                return self._power(base, exponent)
            case Function(name, inside):
                return self._function(name, inside)
            case Call(name, (array,), shape) if name.startswith("["):
                return self._part(name, self.of(array), shape)
            case Call(name, inside):
                return self._call(name, inside)
            case Kronecker(left, right):
                return self._kronecker(left, right)
            case Identity(size):
                return add(Eye((size, size)))
            case Ones(shape):
                return add(Fill(1, shape))
            case Unit(place, size):
                return add(Basis(place, (size,)))
            case Piece(array, _, exponent):
                return self._power(array, Number(exponent)) if exponent != 1 else self.of(array)
            case Indexed():
                return self._indexed(node)
            case Where(body, names):
                for symbol, meaning in names:
                    place = self._named[symbol] = self.of(meaning)
                    self.names.append((symbol.name, place))
                return self.of(body)
            case _:
                raise DerivationError(f"{type(node).__name__} has no program")

    # -- numbers and sums --------------------------------------------------------------------------

    def _number(self, value: Fraction | float) -> int:
        """A number; a fraction that is not exact in binary as a quotient."""
        size = _magnitude(value)
        if isinstance(size, Fraction) and size.denominator & (size.denominator - 1):  # not exact in binary
            above, below = (self.builder.scalar(Fraction(x)) for x in (size.numerator, size.denominator))
            place = self.builder.elementwise("divide", above, below)
        else:
            whole = isinstance(size, Fraction) and size.denominator == 1
            place = self.builder.scalar(size if whole else float(size))
        return self.builder.elementwise("negate", place) if value < 0 else place

    def _length(self, size: str) -> int:
        if size == "pi":
            return self.builder.scalar("pi")
        if size.isdigit() and any(size in shape for shape in self._arguments.values()):
            return self.builder.add(Length(size))
        stem, offset = offset_of(size)
        if offset:
            return self.builder.elementwise("add", self._length(stem), self.builder.scalar(Fraction(offset)))
        times, letters = parts_of(size)
        factors = [] if times == 1 and letters else [self.builder.scalar(Fraction(times))]
        for letter in letters:
            is_argument = letter in self._arguments and not self._arguments[letter]
            known = any(letter in parts_of(one)[1] for shape in self._arguments.values() for one in shape)
            whole = Argument(letter, ()) if is_argument and not known else Length(letter)
            factors.append(self.builder.add(whole))
        return factors[0] if len(factors) == 1 else self.builder.elementwise("multiply", *factors)

    def _scale(self, node: Scale) -> int:
        elementwise = self.builder.elementwise
        coefficient = _magnitude(node.coefficient)
        if coefficient == 0 and node.body is not None:
            return self.builder.add(Fill(0, self.builder.shape(self.of(node.body))))
        above, below = [], []
        if isinstance(coefficient, Fraction) and coefficient.denominator & (coefficient.denominator - 1):
            above += [self.builder.scalar(Fraction(coefficient.numerator))] if coefficient.numerator != 1 else []
            below.append(self.builder.scalar(Fraction(coefficient.denominator)))
        elif coefficient != 1:
            above.append(self._number(coefficient))
        above += [self.of(scalar) for scalar in node.scalars]
        below += [self.of(divisor) for divisor in node.divisors]
        over = below[0] if len(below) == 1 else elementwise("multiply", *below) if below else None
        place = above[0] if len(above) == 1 else elementwise("multiply", *above) if above else None
        body = None if node.body is None else self.of(node.body)
        if place is None and body is not None:
            place, body = body, None
        place = self.builder.scalar(Fraction(1)) if place is None else place
        if over is not None:
            place = elementwise("divide", place, over)
        if body is not None:
            place = elementwise("multiply", place, body)
        return elementwise("negate", place) if node.coefficient < 0 else place

    def _power(self, base: Expression, exponent: Expression) -> int:
        elementwise = self.builder.elementwise
        match exponent:
            case Number(value) if value < 0:
                return elementwise(
                    "divide", self.builder.scalar(Fraction(1)), self._power(base, Number(_magnitude(value)))
                )
            case Number(value) if value == 1:
                return self.of(base)
            case Number(value) if value == Fraction(1, 2):
                return elementwise("sqrt", self.of(base))
            case Number(value) if value in (3, 4) and shape_of(base):  # products take a tenth of the time of a power
                half = self._power(base, Number(Fraction(2)))
                return elementwise("multiply", half, self.of(base)) if value == 3 else self._square(half)
            case _:
                return elementwise("power", self.of(base), self.of(exponent))

    def _square(self, place: int) -> int:
        return self.builder.elementwise("power", place, self.builder.scalar(Fraction(2)))

    def _power_sum(self, node: PowerSum) -> int:
        """H(n; A, B, …) = X H(n − 1; A, B, …) + A H(n; B, …), with the power Xⁿ for nothing between."""
        if not node.degree:
            return self.of(product_of(node.between))
        if not node.between:
            return self.of(product_of((node.base,) * node.degree))
        first, *rest = node.between
        inside = PowerSum(node.base, tuple(rest), node.degree)
        less = PowerSum(node.base, node.between, node.degree - 1)
        products = [product_of((*factors_of(left), right)) for left, right in ((node.base, less), (first, inside))]
        return self.builder.elementwise("add", *map(self.of, products))

    # -- functions ---------------------------------------------------------------------------------

    def _function(self, name: str, inside: Sequence[Expression]) -> int:
        elementwise, number = self.builder.elementwise, self.builder.scalar
        match name, inside:
            case "log", [Sum((Number(one), Function("exp", (u,))) | (Function("exp", (u,)), Number(one)))] if one == 1:
                return elementwise("softplus", self.of(u))
            case "log", [Call("sum", (Function("exp", (u,)),))]:
                return self._exponentials("logsumexp", self.of(u))
            case "log", [Function("cosh", (u,))]:  # |u| + log(1 + exp(−2|u|)) − log 2 does not overflow
                size = elementwise("abs", self.of(u))
                rest = elementwise("softplus", elementwise("multiply", number(Fraction(-2)), size))
                return elementwise("add", size, rest, elementwise("negate", elementwise("log", number(Fraction(2)))))
            case "log", [Call("det", (matrix,))]:
                return self._routine("logdet", self.of(matrix))
            case "pow", [base, exponent]:
                return self._power(base, exponent)
            case _ if name in FUNCTIONS or name in RELATIONS:
                return elementwise(name, *map(self.of, inside))
            case _:
                raise DerivationError(f"{name} has no program")

    def _call(self, name: str, inside: Sequence[Expression]) -> int:
        build = self.builder
        if name == "tr" and isinstance(inside[0], Product) and len(inside[0].factors) > 1:
            return self._products.product(inside[0].factors, trace=True)
        places = list(map(self.of, inside))
        first, shape = places[0], build.shape(places[0])
        match name:
            case "tr":
                return build.add(Contraction((first,), ((0, 0),), ()))
            case "norm" | "norm_F":
                return build.elementwise("sqrt", self._squares(inside[0]))
            case "inner":
                axes = tuple(range(len(shape)))
                return build.add(Contraction((first, places[1]), (axes, axes), ()))
            case "sum":
                return build.total(first)
            case "norm_1":
                return build.total(build.elementwise("abs", first))
            case "prod" | "max" | "min" if shape and len(places) == 1:
                return build.add(Reduction(name, first, ()))
            case "max_rows" | "min_rows":
                return build.add(Reduction(name[:3], first, shape[:1]))
            case "diag" if len(shape) == 1:
                return build.add(Elementwise("diag", (first,), ((0,),), shape * 2))
            case "diag" | "diagonal":
                return build.moved(first, (0, 0), shape[:1])
            case "tril" | "triu":
                return build.elementwise(name, first)
            case "norm_2":
                return build.add(Reduction("max", self._routine("singular_values", first), ()))
            case "norm_nuc":
                return build.total(self._routine("singular_values", first))
            case "softmax" | "softmax_rows" | "logsumexp":
                return self._exponentials(name, first)
            case "gaps" | "squared_gaps":
                return self._gaps(first, 2 if name == "squared_gaps" else 1)
            case _ if name in COLUMNS:
                of, place = COLUMNS[name]
                vectors = self._routine(of, first)
                return build.add(Pick(vectors, 1, place, build.shape(vectors)[:1]))
            case _ if name in ROUTINES:
                return self._routine(name, first)
            case _:
                raise DerivationError(f"{name} has no program")

    def _part(self, name: str, array: int, shape: Shape) -> int:
        """A range of places; all of the axes that are not named."""
        rank = len(self.builder.shape(array))
        ranges = [_range(text) for text in name[1:-1].split(",")]
        ranges += [(None, None)] * (rank - len(ranges))
        return self.builder.add(Part(array, tuple(ranges), shape[-rank:]))

    def _routine(self, name: str, matrix: int) -> int:
        routine, rank = ROUTINES[name]
        rows, columns = self.builder.shape(matrix)
        if routine in ("det", "logdet", "cholesky") or routine.startswith("eigen"):
            shape: Shape = (rows, columns)
        else:  # of singular values there are as many as the shorter side is long
            least = rows if rows == columns else f"min({rows},{columns})"
            shape = {"left_vectors": (rows, least), "right_vectors": (columns, least), "pinv": (columns, rows)}.get(
                routine, (least,)
            )
        return self.builder.add(Routine(routine, (matrix,), shape[:rank]))

    def _squares(self, inside: Expression) -> int:
        """‖x‖², which is shared by ‖x‖."""
        place = self.of(inside)
        axes = tuple(range(len(self.builder.shape(place))))
        if not axes:
            return self.builder.elementwise("multiply", place, place)
        return self.builder.add(Contraction((place, place), (axes, axes), ()))

    def _exponentials(self, name: str, u: int) -> int:
        """Soft maximum and log-sum-exp, which share exp(u − max u)."""
        build = self.builder
        shape = build.shape(u)
        kept = 1 if name == "softmax_rows" else 0
        axes = tuple(range(len(shape)))
        most = build.add(Reduction("max", u, shape[:kept]))

        def spread(function: str, left: int, right: int) -> int:
            return build.add(Elementwise(function, (left, right), (axes, axes[:kept]), shape))

        below = spread("add", u, build.elementwise("negate", most))
        exponentials = build.elementwise("exp", below)
        total = build.total(exponentials, kept)
        if name == "logsumexp":
            return build.elementwise("add", most, build.elementwise("log", total))
        return spread("divide", exponentials, total)

    def _gaps(self, w: int, power: int) -> int:
        """1/(w_i − w_j), or of squares, with zeros on the diagonal."""
        build = self.builder
        [size] = build.shape(w)
        shape = (size, size)
        w = build.elementwise("power", w, build.scalar(Fraction(2))) if power == 2 else w
        eye = build.add(Eye(shape))
        apart = build.add(Elementwise("add", (w, build.elementwise("negate", w)), ((0,), (1,)), shape))
        inverse = build.elementwise("divide", build.scalar(Fraction(1)), build.elementwise("add", apart, eye))
        return build.elementwise("add", inverse, build.elementwise("negate", eye))

    def _kronecker(self, left: Expression, right: Expression) -> int:
        pair = []
        for side in (left, right):
            place = self.of(side)
            shape = self.builder.shape(place)
            if len(shape) == 1:
                axis, shape = (1, ("1", *shape)) if is_row(side) else (0, (*shape, "1"))
                place = self.builder.moved(place, (axis,), shape)
            pair.append(place)
        shapes = zip(*map(self.builder.shape, pair), strict=True)
        shape = tuple(one if other == "1" else other if one == "1" else f"{one}·{other}" for one, other in shapes)
        return self.builder.add(Routine("kron", tuple(pair), shape))

    # -- index notation ----------------------------------------------------------------------------

    def _indexed(self, node: Indexed) -> int:
        """A labelled product, multiplied pair by pair in the planner's order."""
        if node.coefficient == 0:
            return self.builder.add(Fill(0, node.shape))
        number = {letter: k for k, letter in enumerate(node.free)}
        pieces = [_diagonal_first(piece) for piece in node.pieces]
        for piece in pieces:
            for letter in piece.indices:
                number.setdefault(letter, len(number))
        waiting = [(self.of(piece), tuple(number[letter] for letter in piece.indices)) for piece in pieces]
        used = {label for _, labels in waiting for label in labels}
        for letter, size in zip(node.free, node.shape, strict=True):
            if number[letter] not in used:
                waiting.append((self.builder.add(Fill(1, (size,))), (number[letter],)))
        factor = self._number(_magnitude(node.coefficient))
        output = tuple(range(len(node.free)))
        place = factor
        if waiting:
            place = multiplied(self.builder, waiting, output)
            place = place if _magnitude(node.coefficient) == 1 else self.builder.elementwise("multiply", factor, place)
        return self.builder.elementwise("negate", place) if node.coefficient < 0 else place


def _diagonal_first(piece: Piece) -> Piece:
    """A power on the diagonal of a matrix as that of its diagonal: beside it there may be zeros to divide by."""
    if piece.exponent == 1 or len(piece.indices) != 2 or len(set(piece.indices)) == 2:
        return piece
    diagonal = Call("diagonal", (piece.array,), shape_of(piece.array)[:1])
    return Piece(diagonal, piece.indices[:1], piece.exponent)


def _range(text: str) -> tuple[int | None, int | None]:
    """A range of places; the name of a size is the end."""
    start, _, stop = text.partition(":")
    return int(start) if start else None, int(stop) if stop.lstrip("-").isdigit() else None


def _magnitude(value: Fraction | float) -> Fraction | float:
    return -value if value < 0 else value
