"""The derivation by differentials: one named rule per operation, from the outside in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from nablax.derivation.forms import cost, powered, scaled
from nablax.derivation.from_formula import read, sizes
from nablax.errors import NotShown
from nablax.formula import Formula, Operation, Typed, Variable
from nablax.printing.expression import (
    ONE,
    Call,
    Expression,
    Function,
    Hadamard,
    Identity,
    Inverse,
    Number,
    Power,
    Product,
    Scale,
    Sum,
    Symbol,
    Transpose,
    children,
    shape_of,
)
from nablax.printing.rewrite import replaced

MOST_SUBSTITUTIONS = 40
LONGEST = 40.0


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        rule: the rule's name.
        before: what it is applied to.
        after: what that equals.
    """

    rule: str
    before: Expression
    after: Expression


def _fraction(value: int) -> Number:
    return Number(Fraction(value))


def _over(above: Expression | None, below: Expression) -> Expression:
    if shape_of(below):
        inverse = Power(below, _fraction(-1))
        return inverse if above is None else Hadamard((above, inverse))
    return Scale(Fraction(1), (() if above is None else (above,)), (below,), None)


SLOPES: Mapping[str, Callable[[Expression], Expression]] = {
    "exp": lambda u: Function("exp", (u,)),
    "log": lambda u: _over(None, u),
    "sin": lambda u: Function("cos", (u,)),
    "cos": lambda u: scaled(Fraction(-1), Function("sin", (u,))),
    "tan": lambda u: Sum((ONE, powered(Function("tan", (u,)), Fraction(2)))),
    "tanh": lambda u: Sum((ONE, scaled(Fraction(-1), powered(Function("tanh", (u,)), Fraction(2))))),
    "sinh": lambda u: Function("cosh", (u,)),
    "cosh": lambda u: Function("sinh", (u,)),
    "arctan": lambda u: _over(None, Sum((ONE, powered(u, Fraction(2))))),
    "arcsin": lambda u: _over(None, powered(_one_minus_square(u), Fraction(1, 2))),
    "arccos": lambda u: scaled(Fraction(-1), _over(None, powered(_one_minus_square(u), Fraction(1, 2)))),
    "abs": lambda u: Function("sign", (u,)),
    "sqrt": lambda u: _over(None, scaled(Fraction(2), powered(u, Fraction(1, 2)))),
    "square": lambda u: scaled(Fraction(2), u),
    "sigmoid": lambda u: _times(_sigmoid(u), Sum((ONE, scaled(Fraction(-1), _sigmoid(u))))),
    "softplus": lambda u: _sigmoid(u),
    "relu": lambda u: Function(">", (u, _fraction(0))),
    "sign": lambda u: _fraction(0),
    "log1p": lambda u: _over(None, Sum((ONE, u))),
    "expm1": lambda u: Function("exp", (u,)),
}


def _sigmoid(u: Expression) -> Expression:
    return Function("sigmoid", (u,))


def _one_minus_square(u: Expression) -> Expression:
    return Sum((ONE, scaled(Fraction(-1), powered(u, Fraction(2)))))


def _times(left: Expression, right: Expression) -> Expression:
    """A scalar or elementwise product."""
    if shape_of(left) and shape_of(right):
        return Hadamard((left, right))
    if isinstance(left, Number):
        return scaled(left.value, right)
    if not shape_of(left) and not shape_of(right):
        return scalar_product(left, right)
    scalar, body = (left, right) if not shape_of(left) else (right, left)
    if isinstance(scalar, Number):
        return scaled(scalar.value, body)
    return Scale(Fraction(1), (scalar,), (), body)


def scalar_product(*factors: Expression) -> Expression:
    """Scalars multiplied, flat."""
    number: Fraction | float = Fraction(1)
    above: list[Expression] = []
    below: list[Expression] = []
    for factor in factors:
        match factor:
            case Number(value):
                number *= value
            case Scale(coefficient, scalars, divisors, None):
                number *= coefficient
                above += scalars
                below += divisors
            case _:
                above.append(factor)
    if number == 1 and len(above) == 1 and not below:
        return above[0]
    return Scale(number, tuple(above), tuple(below), None)


def _inner(left: Expression, right: Expression) -> Expression:
    if not shape_of(left):
        return _times(left, right)
    return Call("inner", (left, right))


def steps(formula: Formula, wrt: str) -> tuple[Step, ...]:
    """The steps for one variable, outermost operation first.

    Args:
        formula: what is differentiated.
        wrt: the variable.

    Returns:
        The steps; each d(…) that stands in one is explained by a later one.
    """
    writer = _Steps(formula.variables, wrt)
    found: list[Step] = []
    seen: set[Typed] = set()
    waiting = [formula.expression]
    while waiting:
        node = waiting.pop(0)
        if node in seen or not writer.active(node) or node.operation is Operation.VARIABLE:
            continue
        seen.add(node)
        step = writer.step(node)
        if step is not None:
            found.append(step)
        below = node.operands
        if step is not None and step.rule == "squared norm":
            below = below[0].operands
        if len(_chain(node)) > 2:
            factors = _chain(node)
            below = tuple(f.operands[0] if f.operation is Operation.TRANSPOSE else f for f in factors)
        waiting += below
    return tuple(found)


class _Steps:
    def __init__(self, variables: Mapping[str, Variable], wrt: str) -> None:
        self._variables = variables
        self._wrt = wrt

    def active(self, node: Typed) -> bool:
        """Whether a node depends on the variable."""
        return any(one.operation is Operation.VARIABLE and one.label == self._wrt for one in node.walk())

    def read(self, node: Typed) -> Expression:
        """A node as an expression."""
        return read(node, self._variables)

    def d(self, node: Typed) -> Expression:
        """The differential of a node, not yet worked out."""
        return Call("d", (self.read(node),), sizes(node))

    def step(self, node: Typed) -> Step | None:
        """The rule for one node; None where it has no notation."""
        try:
            rule, after = self.rule(node)
            before = self.d(node)
        except NotShown:
            return None
        return None if before == after else Step(rule, before, after)

    def rule(self, node: Typed) -> tuple[str, Expression]:
        """The rule's name and the differential."""
        a = node.operands[0]
        match node.operation:
            case Operation.NEGATE:
                return "scaling", self._scaled(Fraction(-1), self.d(a))
            case Operation.TRANSPOSE:
                return "transpose", Transpose(self.d(a))
            case Operation.ADD | Operation.SUBTRACT:
                return self._sum(node)
            case Operation.MULTIPLY | Operation.PRODUCT | Operation.OUTER:
                return self._product(node)
            case Operation.DIVIDE:
                return self._quotient(node)
            case Operation.POWER:
                return self._power(node)
            case Operation.MATRIX_POWER:
                return self._matrix_power(node)
            case Operation.CALL:
                return self._call(node)
            case _:
                raise NotShown

    def _scaled(self, number: Fraction, body: Expression) -> Expression:
        return scaled(number, body)

    def _sum(self, node: Typed) -> tuple[str, Expression]:
        sign = Fraction(-1 if node.operation is Operation.SUBTRACT else 1)
        left, right = node.operands
        parts = [self.d(left)] if self.active(left) else []
        if self.active(right):
            parts.append(self._scaled(sign, self.d(right)))
        if len(parts) == 1:
            return "constant", parts[0]
        return "sum", Sum(tuple(parts))

    def _product(self, node: Typed) -> tuple[str, Expression]:
        left, right = node.operands
        chain = _chain(node)
        if len(chain) > 2:
            return self._long_product(chain)
        both = self.active(left) and self.active(right)
        values = self.read(left), self.read(right)
        parts = []
        if self.active(left):
            parts.append(self._of_product(node, self.d(left), values[1]))
        if self.active(right):
            parts.append(self._of_product(node, values[0], self.d(right)))
        if not both:
            return ("scaling" if node.operation is Operation.MULTIPLY else "constant factor"), parts[0]
        name = "inner product" if node.operation is Operation.PRODUCT and not node.shape.rank else "product"
        return name, Sum(tuple(parts))

    def _long_product(self, chain: Sequence[Typed]) -> tuple[str, Expression]:
        """d(ABC) = dA BC + A dB C + AB dC; a transposed factor has the transpose of the differential."""
        values = [self.read(factor) for factor in chain]
        parts: list[Expression] = []
        for place, factor in enumerate(chain):
            if not self.active(factor):
                continue
            change = self.d(factor)
            if factor.operation is Operation.TRANSPOSE:
                change = Transpose(self.d(factor.operands[0]))
            factors = [*values[:place], change, *values[place + 1 :]]
            parts.append(
                Product(tuple(f for part in factors for f in (part.factors if isinstance(part, Product) else (part,))))
            )
        if len(parts) == 1:
            return "constant factor", parts[0]
        return "product", Sum(tuple(parts))

    def _of_product(self, node: Typed, left: Expression, right: Expression) -> Expression:
        if node.operation is Operation.MULTIPLY:
            return _times(left, right)
        if isinstance(left, Identity) or isinstance(right, Identity):
            return right if isinstance(left, Identity) else left
        if node.operation is Operation.OUTER and not node.operands[1].shape.is_row:
            right = Transpose(right)
        match left:
            case Call("d", (Transpose(operand),), shape) if node.operands[0].shape.is_row:
                left = Transpose(Call("d", (operand,), shape))
            case _:
                pass
        if isinstance(left, Scale):
            inner = self._of_product(node, left.body, right) if left.body is not None else right
            return (
                Scale(left.coefficient, left.scalars, left.divisors, inner)
                if shape_of(inner)
                else Scale(left.coefficient, (*left.scalars, inner), left.divisors, None)
            )
        return Product(
            tuple(f for part in (left, right) for f in (part.factors if isinstance(part, Product) else (part,)))
        )

    def _quotient(self, node: Typed) -> tuple[str, Expression]:
        a, b = node.operands
        above, below = self.read(a), self.read(b)
        if not self.active(b):
            number = isinstance(below, Number) and isinstance(below.value, Fraction)
            if number and isinstance(below, Number) and isinstance(below.value, Fraction):
                return "scaling", scaled(1 / below.value, self.d(a))
            return "scaling", Scale(Fraction(1), (), (below,), self.d(a)) if shape_of(above) else _over(
                self.d(a), below
            )
        if shape_of(below) or shape_of(above):
            raise NotShown
        square = powered(below, Fraction(2))
        second = _times(above, self.d(b)) if above != ONE else self.d(b)
        if isinstance(above, Number):
            return "quotient", Scale(-above.value, (self.d(b),), (square,), None)
        if not self.active(a):
            return "quotient", scaled(Fraction(-1), _over(second, square))
        top = Sum((_times(self.d(a), below), scaled(Fraction(-1), second)))
        return "quotient", Scale(Fraction(1), (top,), (square,), None)

    def _power(self, node: Typed) -> tuple[str, Expression]:
        a, b = node.operands
        base, exponent = self.read(a), self.read(b)
        if not self.active(b) and isinstance(exponent, Number) and isinstance(exponent.value, Fraction):
            k = exponent.value
            if a.operation is Operation.CALL and a.label == "norm2" and k == 2:
                inside = a.operands[0]
                return "squared norm", scaled(Fraction(2), _inner(self.read(inside), self.d(inside)))
            slope = base if k == 2 else powered(base, k - 1) if k > 1 else _over(None, powered(base, 1 - k))
            return "power", scaled(k, _times(slope, self.d(a)))
        if shape_of(base) or shape_of(exponent):
            raise NotShown
        value = self.read(node)
        parts: list[Expression] = []
        if self.active(a):
            parts.append(Scale(Fraction(1), (exponent, self.d(a)), (base,), None))
        if self.active(b):
            parts.append(_times(Function("log", (base,)), self.d(b)))
        inside_sum = parts[0] if len(parts) == 1 else Sum(tuple(parts))
        return "power", _times(value, inside_sum)

    def _matrix_power(self, node: Typed) -> tuple[str, Expression]:
        [a] = node.operands
        k = int(str(node.options[0]))
        base = self.read(a)
        if k in (0, 1):
            raise NotShown
        if k == -1:
            return "inverse", scaled(Fraction(-1), Product((Inverse(base), self.d(a), Inverse(base))))
        if k < 0:
            raise NotShown
        parts = [Product((*(base,) * p, self.d(a), *(base,) * (k - 1 - p))) for p in range(k)]
        return "product", Sum(tuple(parts))

    def _call(self, node: Typed) -> tuple[str, Expression]:
        a = node.operands[0]
        if node.label in ("sum", "prod") and a.label == "eig":
            matrix = a.operands[0]
            if node.label == "sum":
                return "sum of eigenvalues", Call("tr", (self.d(matrix),))
            return "product of eigenvalues", self._of_det(self.read(matrix), self.d(matrix))
        u, du = self.read(a), self.d(a)
        if node.label in SLOPES:
            slope = SLOPES[node.label](u)
            name = "chain" if a.operation is not Operation.VARIABLE else node.label
            if isinstance(slope, Scale) and slope.body is None and not slope.scalars and not shape_of(du):
                return f"{node.label}, {name}" if name == "chain" else name, Scale(
                    slope.coefficient, (du,), slope.divisors, None
                )
            return f"{node.label}, {name}" if name == "chain" else name, _times(slope, du)
        match node.label:
            case "det":
                return "det", self._of_det(u, du)
            case "logdet":
                return "logdet", Call("tr", (Product((Inverse(u), du)),))
            case "tr" | "sum":
                return ("trace" if node.label == "tr" else "sum"), Call(node.label, (du,))
            case "inv":
                return "inverse", scaled(Fraction(-1), Product((Inverse(u), du, Inverse(u))))
            case "norm2":
                return "norm", Scale(Fraction(1), (_inner(u, du),), (self.read(node),), None)
            case "norm1":
                return "norm", _inner(Function("sign", (u,)), du)
            case "logsumexp":
                return "logsumexp", _inner(Call("softmax", (u,), shape_of(u)), du)
            case "inner" | "hadamard":
                return self._pair(node)
            case "softmax" if len(sizes(node)) == 1:
                value = self.read(node)
                mean = Product((Transpose(value), du))
                return "softmax", Hadamard((value, Sum((du, scaled(Fraction(-1), mean)))))
            case "where":
                return self._where(node)
            case "max" | "min" if len(node.operands) == 2:
                return self._larger(node)
            case "diag":
                shape = sizes(node)
                return "linear", Call("diag" if len(shape) == 2 else "diagonal", (du,), shape)
            case _:
                raise NotShown

    def _where(self, node: Typed) -> tuple[str, Expression]:
        """Where the condition does not change, each branch by itself."""
        condition, yes, no = node.operands
        holds = self.read(condition)
        rest = Sum((ONE, scaled(Fraction(-1), holds)))
        parts = [_times(weight, self.d(one)) for weight, one in ((holds, yes), (rest, no)) if self.active(one)]
        return "cases", parts[0] if len(parts) == 1 else Sum(tuple(parts))

    def _larger(self, node: Typed) -> tuple[str, Expression]:
        """The differential of the larger one, or of the smaller."""
        left, right = node.operands
        sign, other = (">", "<") if node.label == "max" else ("<", ">")
        parts = []
        for one, relation in ((left, sign), (right, other)):
            if self.active(one):
                parts.append(_times(Function(relation, (self.read(left), self.read(right))), self.d(one)))
        return node.label, parts[0] if len(parts) == 1 else Sum(tuple(parts))

    def _of_det(self, u: Expression, du: Expression) -> Expression:
        return Scale(Fraction(1), (Call("det", (u,)), Call("tr", (Product((Inverse(u), du)),))), (), None)

    def _pair(self, node: Typed) -> tuple[str, Expression]:
        left, right = node.operands
        make = _inner if node.label == "inner" else _times
        name = "inner product" if node.label == "inner" else "product"
        if left == right and node.label == "inner":
            return name, scaled(Fraction(2), make(self.read(left), self.d(left)))
        parts = [make(self.d(left), self.read(right))] if self.active(left) else []
        if self.active(right):
            parts.append(make(self.read(left), self.d(right)))
        return name, (parts[0] if len(parts) == 1 else Sum(tuple(parts)))


def _chain(node: Typed) -> list[Typed]:
    """The factors of nested matrix products."""
    if node.operation is not Operation.PRODUCT:
        return [node]
    return [factor for operand in node.operands for factor in _chain(operand)]


def substituted(found: Sequence[Step], value: str) -> Step | None:
    """The first differential with all others put in; None where one of them has no step, or it is long."""
    if len(found) < 2 or not isinstance(found[0].before, Call):
        return None
    known = {step.before: step.after for step in found}
    whole = found[0].after
    for _ in range(MOST_SUBSTITUTIONS):
        for node in _differentials(whole):
            if node in known:
                whole = replaced(whole, node, known[node])
                break
        else:
            break
    if cost(whole) > LONGEST or any(not isinstance(node.arguments[0], Symbol) for node in _differentials(whole)):
        return None
    return Step("substitution", Symbol(f"d{value}", ()), whole)


def _differentials(expression: Expression) -> list[Call]:
    found = [expression] if isinstance(expression, Call) and expression.name == "d" else []
    return found or [one for child in children(expression) for one in _differentials(child)]


def closing(value: str, gradient: Expression, hessian: Expression | None, direction: Symbol) -> Sequence[Step]:
    """The last steps: df = ⟨∇f, dx⟩ and d²f = ⟨∇²f dx₁, dx₂⟩."""
    rule = "gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩" if direction.shape else "gradient"
    found = [Step(rule, Symbol(f"d{value}", ()), _inner(gradient, direction))]
    if hessian is not None:
        one, two = (Symbol(f"{direction.name}_{k}", direction.shape, direction.symmetric) for k in (1, 2))
        if not direction.shape:
            second = scalar_product(hessian, one, two)
        else:
            second = Call("inner", (_applied(hessian, direction, one), two))
        found.append(Step("Hessian: the differential of the gradient", Symbol(f"d²{value}", ()), second))
    return found


def _applied(hessian: Expression, direction: Symbol, one: Symbol) -> Expression:
    del direction
    if isinstance(hessian, Scale) and hessian.body is not None:
        return Scale(hessian.coefficient, hessian.scalars, hessian.divisors, _applied(hessian.body, one, one))
    if isinstance(hessian, Identity):
        return one
    factors = hessian.factors if isinstance(hessian, Product) else (hessian,)
    return Product((*factors, one))
