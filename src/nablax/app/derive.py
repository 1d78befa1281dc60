"""A derivation as text for the terminal, in the notation that was asked for."""

from __future__ import annotations

import json
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
            lines = [f"{label.latex} = {form.latex()}" for label, form in derivation.equations()]
            if steps:
                lines += [_latex_step(step.rule, step.before, step.after) for step in derivation.steps]
            return "\n".join([*lines, f"% {derivation.verification}"])
        case Format.MATHML:
            lines = [
                form.mathml().replace(">", f">{label.mathml}<mo>=</mo>", 1) for label, form in derivation.equations()
            ]
            if steps:
                lines += [_mathml_step(step.rule, step.before, step.after) for step in derivation.steps]
            return "\n".join([*lines, f"<!-- {derivation.verification} -->"])
        case _:
            mark = "//" if notation is Format.C else "#"
            lines = [*map(str, derivation.steps), ""] if steps else []
            comments = "".join(f"{mark} {line}".rstrip() + "\n" for line in [*lines, str(derivation.verification)])
            return f"{derivation.code(notation.value)}\n\n{comments}".rstrip()


def _latex_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    return rf"{before.latex()} = {after.latex()} \quad \text{{({rule})}}"


def _mathml_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    left = before.mathml()
    inner = left[left.index(">") + 1 : left.rindex("</math>")]
    right = after.mathml().replace(">", f"><mrow>{inner}</mrow><mo>=</mo>", 1)
    return right.replace("</math>", f"<mspace width='1em'/><mtext>({rule})</mtext></math>")
