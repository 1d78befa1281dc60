"""Derivatives of powers of a matrix: Σ XⁱAXʲ over i + j = n in place of its n + 1 terms (Matrix Cookbook, 2.3.3)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from nablax.derivation.forms import Form
from nablax.printing.expression import (
    Expression,
    Factors,
    PowerSum,
    Transpose,
    product_of,
    reversed_factors,
    shape_of,
)

LEAST = 3  # fewer terms are written out
Exponents = tuple[int, ...]


def with_power_sums(forms: Sequence[Form]) -> list[Form]:
    """Terms that differ only in how a power is divided among its places, all of them, as one term.

    Args:
        forms: the terms of a sum.

    Returns:
        The terms; those that belong together stand where the first of them stood.
    """
    current = list(forms)
    for base in _bases(forms):
        families: defaultdict[tuple[object, ...], dict[Exponents, int]] = defaultdict(dict)
        for k, form in enumerate(current):
            others, exponents = _divided(form.chain, base)
            families[form.coefficient, frozenset(form.scalars.items()), others][exponents] = k
        gone: set[int] = set()
        for members in families.values():
            chain = _whole(base, current[next(iter(members.values()))].chain, list(members))
            if chain is not None:
                first, *rest = members.values()
                current[first] = Form(current[first].coefficient, current[first].scalars, chain)
                gone.update(rest)
        current = [form for k, form in enumerate(current) if k not in gone]
    return current


def _bases(forms: Sequence[Form]) -> list[Expression]:
    """Matrices that stand side by side."""
    if len(forms) < LEAST:
        return []
    pairs = (pair for form in forms for pair in zip(form.chain, form.chain[1:], strict=False))
    return list(dict.fromkeys(one for one, other in pairs if one == other and len(shape_of(one)) == 2))


def _divided(chain: Factors, base: Expression) -> tuple[Factors, Exponents]:
    """The other factors of a chain, and how often the base stands before, between and behind them."""
    exponents, others = [0], []
    for factor in chain:
        if factor == base:
            exponents[-1] += 1
        else:
            others.append(factor)
            exponents.append(0)
    return tuple(others), tuple(exponents)


def _whole(base: Expression, chain: Factors, found: Sequence[Exponents]) -> Factors | None:
    """The chain of all members of a family; None where they are few or one is missing."""
    if len(found) < LEAST or len({sum(exponents) for exponents in found}) > 1:
        return None
    least = [min(column) for column in zip(*found, strict=True)]
    varying = [k for k, column in enumerate(zip(*found, strict=True)) if len(set(column)) > 1]
    degree, places = sum(found[0]) - sum(least), len(varying)
    if len(found) < math.comb(degree + places - 1, places - 1):
        return None
    parts = list(_parts(base, _divided(chain, base)[0], least, varying))
    before, *between, after = parts
    if isinstance(base, Transpose):
        turned = tuple(product_of(reversed_factors(one)) for one in reversed(between))
        middle: Expression = Transpose(PowerSum(base.operand, turned, degree))
    else:
        middle = PowerSum(base, tuple(map(product_of, between)), degree)
    return (*before, middle, *after)


def _parts(base: Expression, others: Factors, least: Sequence[int], varying: Sequence[int]) -> Iterator[Factors]:
    """What stands before the first of the places that vary, between them, and behind the last."""
    part: Factors = ()
    for k, exponent in enumerate(least):
        if k in varying:
            yield (*part, *[base] * exponent)
            part = ()
        else:
            part += (base,) * exponent
        part += others[k : k + 1]
    yield part
