"""Equations of a derivation with what is to be known of them: as text, as LaTeX and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from nablax.derivation.closed_form import ClosedForm
from nablax.printing.labels import Label

Equations = Sequence[tuple[Label, ClosedForm]]


def as_text(
    equations: Equations,
    reading: str,
    domain: Sequence[str],
    shapes: Mapping[str, tuple[str, ...]],
    convention: str,
    notes: Sequence[str],
    verification: object,
) -> str:
    """One line for each."""
    lines = [f"read as {reading}"] if reading else []
    lines += [f"{label.unicode} = {form}" for label, form in equations]
    lines += [f"domain: {sentence}" for sentence in domain]
    listed = ", ".join(f"{name} {'×'.join(shape) if shape else 'scalar'}" for name, shape in shapes.items())
    lines += [f"shapes: {listed}; {convention}", *(f"note: {note}" for note in notes)]
    return "\n".join([*lines, str(verification)])


def as_latex(equations: Equations, between: str = " ") -> str:
    """One aligned block."""
    lines = rf" \\{between}".join(f"{label.latex} &= {form.latex()}" for label, form in equations)
    return rf"\begin{{aligned}}{between}{lines}{between}\end{{aligned}}"


def as_html(equations: Equations, reading: str, domain: Sequence[str], verification: object) -> str:
    """Formulas in MathML, and sentences below them."""
    rows = [
        form.mathml().replace(">", f">{label.mathml}<mo>=</mo>", 1).replace("<math ", '<math display="block" ', 1)
        for label, form in equations
    ]
    said = [*([f"read as {reading}"] if reading else []), *domain, str(verification)]
    return "<div>" + "\n".join([*rows, f"<p>{'<br/>'.join(map(escape, said))}</p>"]) + "</div>"
