"""Sums of fractions over one denominator: 1/(a + b) − (a − b)/(a + b)² = 2b/(a + b)²."""

from __future__ import annotations

from fractions import Fraction

from nablax.derivation.algebra import Algebra
from nablax.derivation.tensors import AtomKind, Factor, Monomial, Poly

MOST_TERMS = 12
HIGHEST = 6


def over_one_denominator(algebra: Algebra, p: Poly) -> Poly | None:
    """A scalar, or an elementwise vector, as one fraction.

    Args:
        algebra: makes the result.
        p: what is to be written.

    Returns:
        The same value; None where it has no denominators to bring together, or is no function of elements.
    """
    found = _split(Algebra(algebra.sizes, expand=True), p)
    if found is None or not found[1]:
        return None
    numerator, below = found
    if len(p.terms) < 2 and not _is_nested(p):
        return None
    under = Algebra(algebra.sizes, expand=False)
    return under.times(numerator, under.monomial(Fraction(1), [Factor(f.atom, f.labels, -e) for f, e in below], p.axes))


def _is_nested(p: Poly) -> bool:
    """Whether a denominator has denominators in it."""
    inside = [f.atom.arguments[0] for t in p.terms for f in t.factors if f.atom.kind is AtomKind.GROUP]
    return any(f.exponent < 0 for q in inside for t in q.terms for f in t.factors)


def _split(wide: Algebra, p: Poly) -> tuple[Poly, list[tuple[Factor, Fraction]]] | None:
    """Numerator and denominators with their exponents; None for what is no function of elements."""
    if p.rank > 1 or len(p.terms) > MOST_TERMS:
        return None
    everywhere = tuple(range(p.rank))
    terms = []
    for term in p.terms:
        opened = _opened(wide, term, p)
        if opened is None or any(f.labels not in ((), everywhere) for f in opened.factors):
            return None
        terms.append(opened)
    below: dict[tuple[str, tuple[int, ...]], tuple[Factor, Fraction]] = {}
    for term in terms:
        for f in term.factors:
            if f.exponent < 0 and f.atom.kind in (AtomKind.GROUP, AtomKind.LEAF):
                key = (f.atom.key, f.labels)
                below[key] = (f, max(-f.exponent, below[key][1] if key in below else Fraction(0)))
    parts = []
    for term in terms:
        rest = [f for f in term.factors if (f.atom.key, f.labels) not in below]
        part = wide.monomial(term.coefficient, rest, p.axes)
        for key, (f, most) in below.items():
            own = sum((g.exponent for g in term.factors if (g.atom.key, g.labels) == key), Fraction(0))
            turns = most + own
            if turns.denominator != 1 or turns > HIGHEST:
                return None
            base = f.atom.arguments[0] if f.atom.kind is AtomKind.GROUP else wide.atom(f.atom)
            for _ in range(int(turns)):
                part = wide.times(part, base)
        parts.append(part)
    return wide.add([Poly(p.axes, ()), *parts]), list(below.values())


def _opened(wide: Algebra, term: Monomial, p: Poly) -> Monomial | None:
    """A product with the fractions inside its denominators brought out: (1 + a²/b²)⁻¹ = b² (a² + b²)⁻¹."""
    factors: list[Factor] = []
    coefficient = term.coefficient
    for f in term.factors:
        inside = (
            _split(wide, f.atom.arguments[0]) if f.atom.kind is AtomKind.GROUP and f.exponent.denominator == 1 else None
        )
        if inside is None or not inside[1]:
            factors.append(f)
            continue
        numerator, below = inside
        content, group = wide.group(numerator)
        coefficient *= content ** int(f.exponent)
        factors.append(Factor(group, f.labels, f.exponent))
        factors += [Factor(g.atom, f.labels if g.labels else (), -e * f.exponent) for g, e in below]
    made = wide.monomial(coefficient, factors, p.axes)
    return made.terms[0] if len(made.terms) == 1 else None
