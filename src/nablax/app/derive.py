"""A derivation as text for the terminal, in the notation that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum

from nablax.derivation import ClosedForm, Derivation


class Format(StrEnum):
    """Notations of the command `nablax derive`."""

    UNICODE = "unicode"
    LATEX = "latex"
    MATHML = "mathml"
    NUMPY = "numpy"
    JAX = "jax"
    TORCH = "torch"
    JULIA = "julia"
    C = "c"
    JSON = "json"


def render(derivation: Derivation, notation: Format, *, steps: bool) -> str:
    """The whole answer.

    Args:
        derivation: what `derive` gave.
        notation: how expressions are written.
        steps: whether the derivation by differentials is shown; JSON always has it.

    Returns:
        Text without a line end.

    Raises:
        DerivationError: code was asked for, of something without a closed form.
    """
    match notation:
        case Format.JSON:
            return json.dumps(derivation.to_json(), ensure_ascii=False, indent=2)
        case Format.UNICODE:
            lines = [str(derivation)]
            if steps:
                lines += ["steps:", *(f"  {step}" for step in derivation.steps)]
            return "\n".join(lines)
        case Format.LATEX:
            lines = [f"{label} = {form.latex()}" for label, _, form in _equations(derivation)]
            if steps:
                lines += [_latex_step(step.rule, step.before, step.after) for step in derivation.steps]
            return "\n".join([*lines, f"% {derivation.verification}"])
        case Format.MATHML:
            lines = [form.mathml().replace(">", f">{label}<mo>=</mo>", 1) for _, label, form in _equations(derivation)]
            if steps:
                lines += [_mathml_step(step.rule, step.before, step.after) for step in derivation.steps]
            return "\n".join([*lines, f"<!-- {derivation.verification} -->"])
        case _:
            mark = "//" if notation is Format.C else "#"
            lines = [*map(str, derivation.steps), ""] if steps else []
            comments = "".join(f"{mark} {line}".rstrip() + "\n" for line in [*lines, str(derivation.verification)])
            return f"{derivation.code(notation.value)}\n\n{comments}".rstrip()


def _derivatives(derivation: Derivation) -> Iterator[ClosedForm]:
    yield derivation.gradient
    if derivation.hessian is not None:
        yield derivation.hessian
    yield from derivation.higher


def _equations(derivation: Derivation) -> Iterator[tuple[str, str, ClosedForm]]:
    """Function, differential and derivatives, each with its left side in LaTeX and in MathML."""
    yield "f", "<mi>f</mi>", derivation.function
    yield "df", "<mrow><mi>d</mi><mi>f</mi></mrow>", derivation.differential
    for order, form in enumerate(_derivatives(derivation), 1):
        yield _latex_label(derivation, order), _mathml_label(derivation, order), form


def _latex_label(derivation: Derivation, order: int) -> str:
    power = f"^{{{order}}}" if order > 1 else ""
    if derivation.shapes["f"]:
        return rf"\frac{{\partial{power} f}}{{\partial {derivation.wrt}{power}}}"
    return rf"\nabla{power} f" if derivation.shapes["∇f"] else f"f^{{({order})}}"


def _mathml_label(derivation: Derivation, order: int) -> str:
    def raised(base: str) -> str:
        return f"<msup>{base}<mn>{order}</mn></msup>" if order > 1 else base

    if derivation.shapes["f"]:
        above, below = raised("<mo>∂</mo>"), raised(f"<mi>{derivation.wrt}</mi>")
        return f"<mfrac><mrow>{above}<mi>f</mi></mrow><mrow><mo>∂</mo>{below}</mrow></mfrac>"
    if derivation.shapes["∇f"]:
        return f"<mrow>{raised('<mo>∇</mo>')}<mi>f</mi></mrow>"
    return f"<msup><mi>f</mi><mrow><mo>(</mo><mn>{order}</mn><mo>)</mo></mrow></msup>"


def _latex_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    left = before.latex().replace(r"\mathit{d²f}", r"\mathrm{d}^{2}f")
    return rf"{left} = {after.latex()} \quad \text{{({rule})}}"


def _mathml_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    left = before.mathml()
    inner = left[left.index(">") + 1 : left.rindex("</math>")]
    right = after.mathml().replace(">", f"><mrow>{inner}</mrow><mo>=</mo>", 1)
    return right.replace("</math>", f"<mspace width='1em'/><mtext>({rule})</mtext></math>")
