"""What `convexity` gives: verdict, domain, proof and check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Any, TypeAlias

import numpy as np

from nablax.derivation.closed_form import ClosedForm
from nablax.printing.expression import Symbol
from nablax.printing.latex import latex
from nablax.printing.unicode import unicode


class Verdict(StrEnum):
    """What was proved of a function; the strongest of what holds. NEITHER is proved by witnesses."""

    AFFINE = "affine"
    LOG_CONVEX = "log-convex"
    CONVEX = "convex"
    CONCAVE = "concave"
    LOG_CONCAVE = "log-concave"
    NEITHER = "neither"
    UNKNOWN = "unknown"


SENTENCES = {
    Verdict.AFFINE: "affine in {0}, so both convex and concave",
    Verdict.LOG_CONVEX: "log-convex in {0}, so convex",
    Verdict.CONVEX: "convex in {0}",
    Verdict.CONCAVE: "concave in {0}",
    Verdict.LOG_CONCAVE: "log-concave in {0}: log f is concave",
    Verdict.NEITHER: "neither convex nor concave in {0}",
    Verdict.UNKNOWN: "unknown whether convex or concave in {0}",
}


@dataclass(frozen=True)
class ProofStep:
    """One step of a proof.

    Args:
        rule: why it holds.
        expression: of what something is said.
        verdict: what is said of it.
    """

    rule: str
    expression: ClosedForm
    verdict: str

    def __str__(self) -> str:
        return f"{self.expression} is {self.verdict}   [{self.rule}]"


Values: TypeAlias = "float | tuple[Values, ...]"


@dataclass(frozen=True)
class Witness:
    """Two points that break the inequality of a convex (or concave) function at the middle between them.

    Args:
        against: what the function is not: CONVEX or CONCAVE.
        name: of the variable.
        first: its value at one end, row by row as nested tuples.
        last: its value at the other end.
        others: names and values of the other arguments.
        values: of the function, at the first end, at the last, and in the middle.
    """

    against: Verdict
    name: str
    first: Values
    last: Values
    others: tuple[tuple[str, Values], ...]
    values: tuple[float, float, float]

    @property
    def chord(self) -> float:
        """The mean of the values at both ends."""
        return (self.values[0] + self.values[1]) / 2

    @property
    def curvature(self) -> float:
        """The mean second derivative along the segment, of which the sign is wrong.

        Example:
            >>> Witness(Verdict.CONVEX, "x", -2.0, 0.0, (), (-8.0, 0.0, -1.0)).curvature  # of x³
            -6.0
        """
        square = float(np.sum((np.asarray(self.last) - np.asarray(self.first)) ** 2))
        return 4 * (self.values[0] + self.values[1] - 2 * self.values[2]) / square

    def __str__(self) -> str:
        name = unicode(Symbol(self.name, ()))
        word, sign = ("convex", ">") if self.against is Verdict.CONVEX else ("concave", "<")
        at = [f"{name}₁ = {_written(self.first)}", f"{name}₂ = {_written(self.last)}"]
        at += [f"{unicode(Symbol(other, ()))} = {_written(value)}" for other, value in self.others]
        first, last, middle = map(_digits, self.values)
        return (
            f"not {word}: f(½{name}₁ + ½{name}₂) = {middle} {sign} {_digits(self.chord)} = ½f({name}₁) + ½f({name}₂), "
            f"f({name}₁) = {first}, f({name}₂) = {last} at {', '.join(at)}"
        )

    def latex(self) -> str:
        """The broken inequality, for math mode."""
        one, other = (latex(Symbol(f"{self.name}_{k}", ())) for k in (1, 2))
        sign = ">" if self.against is Verdict.CONVEX else "<"
        half = r"\tfrac{1}{2}"
        middle, chord = (_digits(value).replace("−", "-") for value in (self.values[2], self.chord))
        return (
            rf"f({half} {one} + {half} {other}) = {middle} {sign} {chord} "
            rf"= {half} f({one}) + {half} f({other})"
        )


@dataclass(frozen=True)
class ConvexityCheck:
    """What the check at random points found.

    Args:
        segments: number of random segments inside the domain on which the inequality was compared.
        worst: the largest violation, relative to the values (of the order of rounding).
        hessians: number of points at which eigenvalues of the Hessian, by differences of values, were compared.
    """

    segments: int
    worst: float
    hessians: int

    def __str__(self) -> str:
        if not self.segments:
            return "nothing was compared"
        points = f" and the Hessian's eigenvalues at {self.hessians} points" if self.hessians else ""
        return f"checked on {self.segments} random segments{points} of the domain: nothing contradicts"


@dataclass(frozen=True, repr=False)
class Convexity:
    """The curvature of a scalar function of one of its arguments.

    Args:
        verdict: the strongest of what was proved, on the domain.
        function: the function.
        wrt: the argument; the others are constant.
        domain: conditions under which it holds, on the argument and on the others; all of them together are convex in
            the argument.
        proof: steps, each from those above it; empty where nothing was proved.
        witnesses: segments on which it is not convex, or not concave; of UNKNOWN, LOG_CONCAVE and NEITHER.
        notes: what else is to be known.
        verification: what the check at random points found.
        reading: how every name of a formula was read, as a declaration; empty for a function.
    """

    verdict: Verdict
    function: ClosedForm
    wrt: str
    domain: tuple[str, ...]
    proof: tuple[ProofStep, ...]
    witnesses: tuple[Witness, ...]
    notes: tuple[str, ...]
    verification: ConvexityCheck
    reading: str = ""

    @property
    def is_convex(self) -> bool:
        """Whether it is proved to be convex."""
        return self.verdict in (Verdict.AFFINE, Verdict.LOG_CONVEX, Verdict.CONVEX)

    @property
    def is_concave(self) -> bool:
        """Whether it is proved to be concave."""
        return self.verdict in (Verdict.AFFINE, Verdict.CONCAVE)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.verdict is Verdict.UNKNOWN and self.witnesses:
            other = "concave" if self.witnesses[0].against is Verdict.CONVEX else "convex"
            return f"not {self.witnesses[0].against} in {self.wrt}; unknown whether {other}"
        return SENTENCES[self.verdict].format(self.wrt)

    def __str__(self) -> str:
        lines = [f"read as {self.reading}"] if self.reading else []
        lines += [f"f = {self.function}", self.sentence, *(f"domain: {one}" for one in self.domain)]
        if self.proof:
            lines += ["proof:", *(f"  {step}" for step in self.proof)]
        lines += [*map(str, self.witnesses), *(f"note: {note}" for note in self.notes)]
        return "\n".join([*lines, *self._checked])

    @property
    def _checked(self) -> list[str]:
        return [str(self.verification)] if self.verification.segments else []

    def __repr__(self) -> str:
        return str(self)

    def latex(self) -> str:
        """Verdict, domain, proof and witnesses as one aligned block of LaTeX, for display."""
        rows = [rf"& f = {self.function.latex()} \text{{ is {_escaped(self.sentence)}}}"]
        rows += [rf"& \text{{domain: {_escaped(one)}}}" for one in self.domain]
        rows += [
            rf"& {step.expression.latex()} \text{{ is {_escaped(step.verdict)}}} && \text{{{_escaped(step.rule)}}}"
            for step in self.proof
        ]
        rows += [rf"& {one.latex()} && \text{{not {one.against}}}" for one in self.witnesses]
        body = " \\\\\n".join(rows)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"

    def html(self) -> str:
        """Verdict, proof and witnesses with formulas in MathML, for a page or a notebook."""
        rows = "".join(
            f"<tr><td>{step.expression.mathml()}</td><td>{escape(step.verdict)}</td><td>{escape(step.rule)}</td></tr>"
            for step in self.proof
        )
        parts = [f"<p>{self.function.mathml()} is {escape(self.sentence)}.</p>"]
        parts += [f"<p>{escape(f'domain: {one}')}</p>" for one in self.domain]
        parts += [f"<table><tbody>{rows}</tbody></table>"] if rows else []
        parts += [f"<p>{escape(one)}</p>" for one in (*map(str, self.witnesses), *self.notes, *self._checked)]
        return "".join(parts)

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data that the ``json`` module writes.

        Example:
            >>> from nablax.convex import convexity
            >>> convexity("x'*x").to_json()["verdict"]
            'convex'
        """
        return {
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "function": {"unicode": self.function.unicode(), "latex": self.function.latex()},
            "wrt": self.wrt,
            "domain": list(self.domain),
            "proof": [
                {
                    "rule": step.rule,
                    "unicode": step.expression.unicode(),
                    "latex": step.expression.latex(),
                    "verdict": step.verdict,
                }
                for step in self.proof
            ],
            "witnesses": [
                {
                    "against": str(one.against),
                    "first": one.first,
                    "last": one.last,
                    "others": dict(one.others),
                    "values": list(one.values),
                    "text": str(one),
                    "latex": one.latex(),
                }
                for one in self.witnesses
            ],
            "notes": list(self.notes),
            "reading": self.reading,
            "verification": {
                "segments": self.verification.segments,
                "worst": self.verification.worst,
                "hessians": self.verification.hessians,
                "text": str(self.verification),
            },
        }


MOST_WRITTEN = 40  # entries of an array, up to which a text shows them


def _digits(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _written(value: Values) -> str:
    if not isinstance(value, tuple):
        return _digits(value)
    if np.size(np.asarray(value)) > MOST_WRITTEN:
        return f"an array of shape {np.shape(np.asarray(value))}"
    return f"[{', '.join(map(_written, value))}]"


LATEX_WORDS = {
    "≥": r"$\ge$", "≤": r"$\le$", "ᵀ": r"$^\top$", "Σ": r"$\Sigma$", "½": r"$\tfrac{1}{2}$", "−": "$-$",
    "‖": r"$\|$", "√": r"$\surd$", "⊙": r"$\odot$", "²": "$^2$", "₁": "$_1$", "₂": "$_2$",
    "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "^": r"\^{}",
}  # fmt: skip


def _escaped(words: str) -> str:
    """Words for a text in LaTeX."""
    return "".join(LATEX_WORDS.get(letter, letter) for letter in words)
