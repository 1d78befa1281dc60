"""What is known of an expression as a function of the variable, and who answers for the expressions inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Protocol

from nablax.convex.intervals import EVERYTHING, NONNEGATIVE, POSITIVE, Interval
from nablax.printing.expression import Expression


class Definite(IntEnum):
    """How much is known of the definiteness of a symmetric matrix."""

    UNKNOWN = 0
    SEMIDEFINITE = 1
    POSITIVE = 2


class Relation(Enum):
    """What a condition says of an expression; the value is how it is written."""

    POSITIVE = "> 0"
    NONNEGATIVE = "≥ 0"
    DEFINITE = "positive definite"
    SEMIDEFINITE = "positive semidefinite"


@dataclass(frozen=True)
class Condition:
    """One condition of the domain.

    Args:
        expression: a scalar, a vector or matrix of which it is said of every entry, or a symmetric matrix.
        relation: what is said.
    """

    expression: Expression
    relation: Relation

    @property
    def interval(self) -> Interval:
        """Where every entry lies."""
        match self.relation:
            case Relation.POSITIVE:
                return POSITIVE
            case Relation.NONNEGATIVE:
                return NONNEGATIVE
            case _:
                return EVERYTHING


@dataclass(frozen=True)
class Facts:
    """What is known of every entry of an expression, on the domain.

    Each of the five properties, if true, is proved; if false, nothing is said.

    Args:
        constant: whether the variable does not occur.
        convex: whether every entry is convex.
        concave: whether every entry is concave.
        log_convex: whether every entry is positive and its logarithm convex.
        log_concave: whether every entry is nonnegative and its logarithm concave (−∞ at zero).
        root_convex: whether every entry is nonnegative and its square root convex: a square u² with convex u ≥ 0.
        interval: where the entries lie.
        rule: why, in words.
        uses: the expressions that the rule asks something of.
    """

    constant: bool = False
    convex: bool = False
    concave: bool = False
    log_convex: bool = False
    log_concave: bool = False
    root_convex: bool = False
    interval: Interval = EVERYTHING
    rule: str = ""
    uses: tuple[Expression, ...] = ()

    @property
    def affine(self) -> bool:
        """Whether every entry is affine."""
        return self.convex and self.concave

    @property
    def known(self) -> bool:
        """Whether some property is proved."""
        return self.convex or self.concave or self.log_concave

    def closed(self) -> Facts:
        """With what follows: of log-convex that it is convex, of concave and positive that it is log-concave."""
        nonnegative = self.interval.nonnegative
        log_convex = self.log_convex or (self.constant and self.interval.positive)
        root_convex = self.root_convex or log_convex or (self.constant and nonnegative)
        convex = self.convex or self.constant or root_convex
        concave = self.concave or self.constant
        return replace(
            self,
            convex=convex,
            concave=concave,
            log_convex=log_convex,
            log_concave=self.log_concave or (nonnegative and concave),
            root_convex=root_convex,
            interval=self.interval if nonnegative or not root_convex else self.interval.common(NONNEGATIVE),
        )

    def joined(self, other: Facts) -> Facts:
        """What either of two arguments about one expression proves."""
        first = other if not self.known else self
        return Facts(
            self.constant or other.constant,
            self.convex or other.convex,
            self.concave or other.concave,
            self.log_convex or other.log_convex,
            self.log_concave or other.log_concave,
            self.root_convex or other.root_convex,
            self.interval.common(other.interval),
            first.rule,
            first.uses,
        ).closed()

    def words(self) -> str:
        """The strongest of the properties, and the sign."""
        sign = "> 0" if self.interval.positive else "≥ 0" if self.interval.nonnegative else ""
        if self.constant:
            return sign or "constant"
        kind = (
            "affine" if self.affine
            else "log-affine" if self.log_convex and self.log_concave
            else "log-convex" if self.log_convex
            else "convex" if self.convex
            else "concave" if self.concave
            else "log-concave" if self.log_concave
            else "of unknown curvature"
        )  # fmt: skip
        said = sign and not kind.startswith("log-")
        return f"{kind}, {sign}" if said else kind


UNKNOWN = Facts()


def scaled(facts: Facts, by: Interval) -> Facts:
    """The facts of an expression times a constant that lies in an interval."""
    interval = facts.interval * by
    if by.is_zero:
        return Facts(constant=facts.constant, convex=True, concave=True, interval=interval)
    if by.nonnegative:
        logs = by.positive
        return replace(
            facts, log_convex=facts.log_convex and logs, log_concave=facts.log_concave, interval=interval
        ).closed()
    down = -by
    turned = down.nonnegative
    return Facts(
        constant=facts.constant,
        convex=facts.affine or (turned and facts.concave),
        concave=facts.affine or (turned and facts.convex),
        interval=interval,
    ).closed()


class Analysis(Protocol):
    """Answers for expressions; rules ask it, and tell it where what they say holds."""

    def facts(self, expression: Expression) -> Facts:
        """What is known of the entries."""
        ...

    def definite(self, expression: Expression) -> Definite:
        """Whether a symmetric matrix is known to be positive (semi)definite; of a scalar, its sign."""
        ...

    def loewner(self, expression: Expression) -> tuple[bool, bool]:
        """Whether vᵀMv is convex, and whether it is concave, for every constant v."""
        ...

    def apart(
        self, expression: Expression, names: frozenset[str], assumed: tuple[Condition, ...] = ()
    ) -> tuple[Facts, tuple[Condition, ...]] | None:
        """What is known as a function of other variables, of all together, and where; None if that is no convex set."""
        ...

    @property
    def variables(self) -> frozenset[str]:
        """The names of what is not constant."""
        ...

    @property
    def assumed(self) -> tuple[Condition, ...]:
        """The conditions of the domain, those that were found so far among them."""
        ...

    def require(self, expression: Expression, relation: Relation) -> None:
        """Says that the rule holds where the condition does; nothing, where it holds anyway."""
        ...

    def refuse(self, reason: str) -> None:
        """Says that the set where the expression is defined is not known to be convex."""
        ...
