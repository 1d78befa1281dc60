"""No text makes the parser do anything but read it or say where it cannot."""

from __future__ import annotations

import pytest
from fuzz.formulas import read, text

EACH = 50_000


def test_texts_are_formulas_or_refusals() -> None:
    counts = read(0, 2000)
    assert min(counts.values()) > 5
    assert counts["refused as a whole"] < 20  # those that are empty


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(0, 1_000_000, EACH))
def test_a_million_texts_are_formulas_or_refusals(first: int) -> None:
    assert sum(read(first, EACH).values()) == EACH


def test_a_text_follows_from_its_number() -> None:
    assert text(12345) == text(12345)
    assert len({text(number) for number in range(600)}) > 400
