"""What `convexity` gives: verdict, domain, proof and check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Any

from nablax.derivation.closed_form import ClosedForm


class Verdict(StrEnum):
    """What was proved of a function; the strongest of what holds."""

    AFFINE = "affine"
    LOG_CONVEX = "log-convex"
    CONVEX = "convex"
    CONCAVE = "concave"
    LOG_CONCAVE = "log-concave"
    UNKNOWN = "unknown"


SENTENCES = {
    Verdict.AFFINE: "affine in {0}, so both convex and concave",
    Verdict.LOG_CONVEX: "log-convex in {0}, so convex",
    Verdict.CONVEX: "convex in {0}",
    Verdict.CONCAVE: "concave in {0}",
    Verdict.LOG_CONCAVE: "log-concave in {0}: log f is concave",
    Verdict.UNKNOWN: "unknown: no rule shows {0} to enter as a convex or concave function",
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


@dataclass(frozen=True)
class ConvexityCheck:
    """What the check at random points found.

    Args:
        segments: number of random segments inside the domain on which the inequality was compared.
        worst: the largest violation, relative to the values (of the order of rounding).
        above: whether some point of the function lies above its chord, so that it is not convex.
        below: whether some point of the function lies below its chord, so that it is not concave.
    """

    segments: int
    worst: float
    above: bool = False
    below: bool = False

    def __str__(self) -> str:
        if self.above or self.below:
            return f"compared with the chords of {self.segments} random segments"
        return f"checked on {self.segments} random segments of the domain: no chord contradicts"


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
        notes: what else is to be known.
        verification: what the check at random points found.
        reading: how every name of a formula was read, as a declaration; empty for a function.
    """

    verdict: Verdict
    function: ClosedForm
    wrt: str
    domain: tuple[str, ...]
    proof: tuple[ProofStep, ...]
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
        return SENTENCES[self.verdict].format(self.wrt)

    def __str__(self) -> str:
        lines = [f"read as {self.reading}"] if self.reading else []
        lines += [f"f = {self.function}", self.sentence, *(f"domain: {one}" for one in self.domain)]
        if self.proof:
            lines += ["proof:", *(f"  {step}" for step in self.proof)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), str(self.verification)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{step.expression.mathml()}</td><td>{escape(step.verdict)}</td><td>{escape(step.rule)}</td></tr>"
            for step in self.proof
        )
        listed = [*self.domain, *self.notes, str(self.verification)]
        return (
            f"<p>{self.function.mathml()} is {escape(self.sentence)}.</p>"
            f"<table><tbody>{rows}</tbody></table><p>{escape('; '.join(listed))}</p>"
        )

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
            "notes": list(self.notes),
            "reading": self.reading,
            "verification": {
                "segments": self.verification.segments,
                "worst": self.verification.worst,
                "text": str(self.verification),
            },
        }
