"""A derivation as text for the terminal, in the notation that was asked for."""

from __future__ import annotations

import json
from enum import StrEnum

from nablax.derivation import ClosedForm, Derivation, DerivationStep, JointDerivation


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
                lines += [_latex_step(step.rule, step.before, step.after) for step in found]
            return "\n".join([*lines, f"% {derivation.verification}"])
        case Format.MATHML:
            lines = [
                form.mathml().replace(">", f">{label.mathml}<mo>=</mo>", 1) for label, form in derivation.equations()
            ]
            if found:
                lines += [_mathml_step(step.rule, step.before, step.after) for step in found]
            return "\n".join([*lines, f"<!-- {derivation.verification} -->"])
        case _:
            mark = "//" if notation is Format.C else "#"
            lines = [*map(str, found), ""] if found else []
            comments = "".join(f"{mark} {line}".rstrip() + "\n" for line in [*lines, str(derivation.verification)])
            return f"{derivation.code(notation.value)}\n\n{comments}".rstrip()


def _latex_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    return rf"{before.latex()} = {after.latex()} \quad \text{{({rule})}}"


def _mathml_step(rule: str, before: ClosedForm, after: ClosedForm) -> str:
    left = before.mathml()
    inner = left[left.index(">") + 1 : left.rindex("</math>")]
    right = after.mathml().replace(">", f"><mrow>{inner}</mrow><mo>=</mo>", 1)
    return right.replace("</math>", f"<mspace width='1em'/><mtext>({rule})</mtext></math>")
