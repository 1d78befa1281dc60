"""A derivation as a lesson: what is asked, how it is read, each step with its reason, the answers, check and code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nablax.derivation.closed_form import ClosedForm
from nablax.errors import DerivationError
from nablax.printing.document import Block, Document, Equation, Items, Listing, Paragraph, Section, Table, sentences
from nablax.printing.expression import LinearMap
from nablax.printing.labels import Label, differential, function, of

if TYPE_CHECKING:  # a derivation explains itself
    from nablax.derivation.derivation import Derivation
    from nablax.derivation.joint import JointDerivation
    from nablax.derivation.shown import Shown

# Why a step of that rule holds.
REASONS = {
    "sum": "The differential is linear: of a sum it is the sum of the differentials.",
    "constant": "What does not depend on the variable has no differential and drops out.",
    "scaling": "A constant number stays in front.",
    "constant factor": "A constant matrix stays where it stands.",
    "product": "The product rule: each factor changes in its turn, the others stay, and their order is kept.",
    "transpose": "To transpose is linear.",
    "quotient": "The quotient rule: d(u/v) = du/v − u dv/v².",
    "power": "The power rule: d(uᵏ) = k uᵏ⁻¹ du.",
    "squared norm": "‖u‖² = ⟨u, u⟩, and the product rule gives the same term twice: 2⟨u, du⟩.",
    "norm": "A norm changes by the inner product of its own gradient with du; of ‖u‖ that is u/‖u‖, of ‖u‖₁ sign(u).",
    "inner": "The product rule for inner products: ⟨u, v⟩ changes by ⟨du, v⟩ + ⟨u, dv⟩.",
    "trace": "The trace is linear, and its factors may be turned round in a cycle.",
    "inverse": "XX⁻¹ = I gives dX X⁻¹ + X d(X⁻¹) = 0; solve for d(X⁻¹).",
    "det": "Jacobi's formula: the determinant changes by det(X) tr(X⁻¹ dX).",
    "logdet": "Jacobi's formula, divided by the determinant: tr(X⁻¹ dX).",
    "cases": "Each case has its own differential.",
    "linear": "The operation is linear: it is applied to the differential.",
    "element": "To take an entry is linear.",
    "tril": "To keep the lower triangle is linear.",
    "triu": "To keep the upper triangle is linear.",
    "elements": "To choose and move entries is linear.",
    "prod": "The product rule for all entries: the product of the others times the change of each.",
    "max": "The larger one alone changes the maximum.",
    "min": "The smaller one alone changes the minimum.",
    "abs": "The slope of |u| is sign(u).",
    "softmax": "p = softmax(u) changes by p ⊙ du − p⟨p, du⟩.",
    "softmax, chain": "p = softmax(u) changes by p ⊙ du − p⟨p, du⟩, du that of what stands inside.",
    "logsumexp": "The gradient of log Σ exp(u) is softmax(u).",
    "eig": "A simple eigenvalue changes by vᵀ dS v, v its eigenvector of length one.",
    "cholesky": "LLᵀ = A gives dL Lᵀ + L dLᵀ = dA: L⁻¹dL is the lower triangle of L⁻¹ dA L⁻ᵀ, its diagonal halved.",
    "cross": "The cross product is linear in each of its factors; their order is kept, for a × b = −b × a.",
    "skew": "The matrix of a cross product is linear in its vector.",
    "vec": "To stack the columns of a matrix is linear.",
    "kron": "The Kronecker product is linear in each of its factors.",
    "substitution": "Each differential is put into the one before it, until the variable's own is the only one left.",
    "gradient: ⟨A dx, r⟩ = ⟨dx, Aᵀr⟩": "All that stands around the differential is moved to the other side of the "
    "inner product: what the differential meets there is the gradient.",
    "gradient": "What the differential is multiplied by is the derivative.",
    "Hessian: the differential of the gradient": "The gradient is a function too: its differential, in a second "
    "direction, is the Hessian applied to that.",
}
CHAIN = "The chain rule: the slope of {0} at each entry, times the differential of what stands inside."
SLOPE = "The slope of {0} at each entry, times the differential."
MAP = (
    "It would have more than two axes, so it is written as the linear map that takes a direction to the change of the "
    "{0}; evaluate gives the whole array."
)
MAP_OF_TWO = (
    "It would have more than two axes, so it is written as the map, linear in each of two directions, that takes them "
    "to the second change of the function; evaluate gives the whole array."
)


def lesson(derivation: Shown, middle: Sequence[Section], language: str = "numpy") -> Document:
    """The lesson of a derivation; see `Derivation.explain`.

    Args:
        derivation: what is explained.
        middle: what is said between the differential and the check.
        language: of the code.
    """
    found = [
        Section("The question", tuple(_question(derivation))),
        Section("How it is read", tuple(_reading(derivation))),
        Section("Domain", tuple(_domain(derivation))),
        Section("Differential", tuple(_differential(derivation))),
        *middle,
        Section("Check", (Paragraph(f"{_capital(str(derivation.verification))}."),)),
        Section("Code", tuple(_code(derivation, language))),
    ]
    several = "s" if len(derivation.variables) > 1 else ""
    title = f"The derivative{several} of {derivation.function} by {' and '.join(derivation.variables)}"
    return Document(title, (*found, *_notes(derivation)))


def answers(derivation: Derivation) -> Sequence[Section]:
    """Steps, gradient and Hessian."""
    return (
        Section("Steps", tuple(_steps(derivation))),
        Section(_title(derivation), tuple(_gradient(derivation))),
        Section("Hessian" if not derivation.value_shape else "Second derivative", tuple(_hessian(derivation))),
    )


def joint_answers(derivation: JointDerivation) -> Sequence[Section]:
    """Gradients by every variable, and blocks of the Hessian."""
    gradients = derivation.equations()[2 : 2 + len(derivation.gradients)]
    blocks = derivation.equations()[2 + len(derivation.gradients) :]
    said = f"Each is what its own differential meets in d{derivation.called}, in the variable's shape."
    return (
        Section("Gradients", (Paragraph(said), *(Equation(label, form.expression) for label, form in gradients))),
        Section("Blocks of the Hessian", tuple(_blocks(blocks))),
    )


def reason(rule: str) -> str:
    """Why a step of a rule holds.

    Example:
        >>> reason("transpose")
        'To transpose is linear.'
    """
    if rule in REASONS:
        return REASONS[rule]
    name, chained, _ = rule.partition(", chain")
    if chained:
        return CHAIN.format(name)
    return SLOPE.format(name)


def described(shape: tuple[str, ...]) -> str:
    """A shape in words: vector (n), matrix (m×n)."""
    kinds = ("number", "vector", "matrix")
    kind = kinds[len(shape)] if len(shape) < len(kinds) else "array"
    return f"{kind} ({'×'.join(shape)})" if shape else kind


def shape_table(names: Mapping[str, tuple[str, ...]], reading: str) -> Table:
    """What every name is, as a table; of a formula in the words of its reading."""
    said = dict(part.split(": ", 1) for part in _declared(reading))
    rows = tuple((name, said.get(name, described(shape))) for name, shape in names.items())
    return Table(("name", "meaning"), rows)


def _declared(reading: str) -> Iterator[str]:
    """The declarations of a reading; a comma inside brackets belongs to a size."""
    depth, start = 0, 0
    for k, letter in enumerate(reading):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            yield reading[start:k].strip()
            start = k + 1
    if reading:
        yield reading[start:].strip()


def _blocks(blocks: Sequence[tuple[Label, ClosedForm]]) -> Iterator[Block]:
    if not blocks:
        yield Paragraph("They were not asked for.")
        return
    yield Paragraph(
        "Each gradient is differentiated by each variable. The block of two variables is the transpose of the one in "
        "the other order. A block with more than two axes is the linear map from a change of the second variable to "
        "that of the gradient by the first, or the map of both changes to that of the function."
    )
    for label, form in blocks:
        yield Equation(label, form.expression)


def _notes(derivation: Shown) -> Iterator[Section]:
    if derivation.notes:
        yield Section("Notes", (sentences([f"{_capital(note)}." for note in derivation.notes]),))


def _question(derivation: Shown) -> Iterator[Block]:
    yield Paragraph(f"Given is the function {derivation.called} of {', '.join(derivation.function.arguments)}:")
    yield Equation(function(derivation.called), derivation.function.expression)
    yield Paragraph(f"How does it change with {' and '.join(derivation.variables)}, all else kept as it is?")


def _reading(derivation: Shown) -> Iterator[Block]:
    yield shape_table(derivation.function.arguments, derivation.reading)
    yield from (Paragraph(f"{sentence}.") for sentence in derivation.fixed)
    yield Paragraph(f"The value {derivation.called} is a {described(derivation.value_shape)}.")
    if derivation.reading:
        yield Paragraph("A name that is meant otherwise is given in declare.")


def _domain(derivation: Shown) -> Iterator[Block]:
    if derivation.domain:
        yield Paragraph("What follows holds under these conditions:")
        yield Items(tuple((Paragraph(sentence),) for sentence in derivation.domain))
    elif derivation.reading:
        yield Paragraph("Nothing in the formula restricts its arguments.")
    else:
        yield Paragraph("The domain of a Python function is not looked for; the check says where it was evaluated.")


def _differential(derivation: Shown) -> Iterator[Block]:
    names, called = derivation.variables, derivation.called
    moved, plain, changes = (", ".join(text.format(name) for name in names) for text in ("{0} + d{0}", "{0}", "d{0}"))
    yield Paragraph(
        f"The differential d{called} is the part of {called}({moved}) − {called}({plain}) that is linear in {changes}. "
        "In short:"
    )
    yield Equation(differential(derivation.called), derivation.differential.expression)


def _steps(derivation: Derivation) -> Iterator[Block]:
    if not derivation.steps:
        yield Paragraph("No step of it can be shown in this notation.")
        return
    yield Paragraph("From the outermost operation inwards; both sides of every step were compared as numbers.")
    yield Items(
        tuple(
            (
                Paragraph(f"{_capital(step.rule.partition(':')[0])}. {reason(step.rule)}"),
                Equation(of(step.before.expression), step.after.expression),
            )
            for step in derivation.steps
        ),
        numbered=True,
    )


def _title(derivation: Derivation) -> str:
    if derivation.value_shape:
        return "Jacobian" if derivation.shapes[f"∇{derivation.called}"] else "Derivative"
    return "Gradient" if derivation.shapes[f"∇{derivation.called}"] else "Derivative"


def _gradient(derivation: Derivation) -> Iterator[Block]:
    yield Equation(derivation.label(1), derivation.gradient.expression)
    yield Paragraph(
        f"It is a {described(derivation.shapes[f'∇{derivation.called}'])}. {_capital(derivation.convention)}."
    )
    if derivation.gradient.is_map:
        yield Paragraph(MAP.format("function"))


def _hessian(derivation: Derivation) -> Iterator[Block]:
    if derivation.hessian is None:
        yield Paragraph("It was not asked for, or was left out; see the notes.")
        return
    yield Equation(derivation.label(2), derivation.hessian.expression)
    if isinstance(derivation.hessian.expression, LinearMap):
        directions = derivation.hessian.expression.arguments
        yield Paragraph(MAP.format("gradient") if len(directions) == 1 else MAP_OF_TWO)
    else:
        yield Paragraph(f"It is a {described(derivation.shapes[f'∇²{derivation.called}'])}.")
    for order, form in enumerate(derivation.higher, 3):
        yield Equation(derivation.label(order), form.expression)


def _code(derivation: Shown, language: str) -> Iterator[Block]:
    try:
        source = derivation.code(language)
    except DerivationError as error:
        if "no closed form" not in str(error):
            raise
        yield Paragraph(f"{_capital(str(error))}.")
        return
    yield Paragraph("Value and derivatives in one function; what they share is computed once.")
    yield Listing("python" if language in ("numpy", "jax", "torch") else language, source)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
