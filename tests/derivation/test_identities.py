"""Every row of the table of identities holds at random arrays, for every shape; a wrong row is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nablax.derivation.identities import IDENTITIES, WHOLE, Identity, Stage, sides
from nablax.derivation.patterns import patterns
from nablax.formula import parse_formula, sample_point, to_function
from nablax.formula.sample import choose_sizes
from nablax.formula.values import NUMPY


def difference(row: Identity) -> float:
    """The largest relative difference of both sides, at three points of the domain of both."""
    worst = 0.0
    for left, right in sides(row):
        sizes = choose_sizes(left)
        for seed in range(3):
            point = sample_point(left, seed, sizes)
            if row.left.startswith(("prod", "log(abs(det", "logdet", "a")):
                point = {name: positive(value) for name, value in point.items()}
            values = []
            for side in (left, right):
                chosen = {name: point[name] for name in side.variables}
                given = {name: size for name, size in sizes.items() if name in side.sizes}
                values.append(np.asarray(to_function(side, given, NUMPY)(**chosen), np.float64))
            assert values[0].shape == values[1].shape
            worst = max(worst, float(np.max(np.abs(values[0] - values[1])) / (1e-2 + np.max(np.abs(values[0])))))
    return worst


def positive(value: np.ndarray) -> np.ndarray:
    return np.abs(value) + 0.5 + (3 * np.eye(len(value)) if value.ndim == 2 and len(set(value.shape)) == 1 else 0.0)


@pytest.mark.parametrize("row", IDENTITIES, ids=lambda row: row.left)
def test_row_holds(row: Identity) -> None:
    assert difference(row) < 1e-9


@pytest.mark.parametrize("whole", [2, 3, 5])
@pytest.mark.parametrize("row", [row for row in IDENTITIES if str(WHOLE) in row.left], ids=lambda row: row.left)
def test_row_holds_for_every_whole_number(row: Identity, whole: int) -> None:
    texts = (side.replace(str(WHOLE), str(whole)) for side in (row.left, row.right))
    assert difference(Identity(row.stage, *texts, row.kinds)) < 1e-9


def test_a_wrong_row_is_noticed() -> None:
    row = next(row for row in IDENTITIES if row.left == "sigmoid(u) ./ exp(u)")
    assert difference(replace(row, right="1 + sigmoid(u)")) > 0.1


def test_every_row_for_products_is_one_product() -> None:
    rows = [row for row in IDENTITIES if row.stage in (Stage.PRODUCT, Stage.EXPANDED)]
    assert len(patterns()) == sum(len(sides(row)) for row in rows)
    assert {len(p.left) for p in patterns()} <= {1, 2}


def test_sides_are_formulas_of_the_same_names() -> None:
    for row in IDENTITIES:
        for left, right in sides(row):
            assert set(right.variables) <= set(left.variables)
            assert parse_formula(str(left), left.declaration).expression == left.expression
