"""A derivation as text for the terminal, in the notation that was asked for."""

from __future__ import annotations

import json
from enum import StrEnum

from nablax.derivation import Derivation, DerivationStep, JointDerivation
from nablax.printing.labels import equation, of


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


def render(derivation: Derivation | JointDerivation, notation: Format, *, steps: bool) -> str:
    """The whole answer.

    Args:
        derivation: what `derive` gave.
        notation: how expressions are written.
        steps: whether the derivation by differentials is shown, which one by several variables has not; JSON always
            has it.

    Returns:
        Text without a line end.

    Raises:
        DerivationError: code was asked for, of something without a closed form.
    """
    found: tuple[DerivationStep, ...] = derivation.steps if steps and isinstance(derivation, Derivation) else ()
    match notation:
        case Format.JSON:
            return json.dumps(derivation.to_json(), ensure_ascii=False, indent=2)
        case Format.UNICODE:
            lines = [str(derivation)]
            if found:
                lines += ["steps:", *(f"  {step}" for step in found)]
            return "\n".join(lines)
        case Format.LATEX:
            lines = [f"{label.latex} = {form.latex()}" for label, form in derivation.equations()]
            if found:
                lines += map(_latex_step, found)
            return "\n".join([*lines, f"% {derivation.verification}"])
        case Format.MATHML:
            lines = [equation(label, form.expression) for label, form in derivation.equations()]
            if found:
                lines += map(_mathml_step, found)
            return "\n".join([*lines, f"<!-- {derivation.verification} -->"])
        case _:
            mark = "//" if notation is Format.C else "#"
            lines = [*map(str, found), ""] if found else []
            comments = "".join(f"{mark} {line}".rstrip() + "\n" for line in [*lines, str(derivation.verification)])
            return f"{derivation.code(notation.value)}\n\n{comments}".rstrip()


def _latex_step(step: DerivationStep) -> str:
    return rf"{step.before.latex()} = {step.after.latex()} \quad \text{{({step.rule})}}"


def _mathml_step(step: DerivationStep) -> str:
    shown = equation(of(step.before.expression), step.after.expression)
    return shown.replace("</math>", f"<mspace width='1em'/><mtext>({step.rule})</mtext></math>")
