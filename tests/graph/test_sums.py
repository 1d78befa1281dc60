"""Sums of terms along index maps: against sums written by hand, and each moved array once."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracles import assert_close

from nablax.contraction.index import Label, affine, along
from nablax.contraction.term import Factor, Term
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.graph.node import NodeTerm, reachable
from nablax.graph.sums import add_up_moved
from nablax.ops.kinds import IndexMap
from nablax.planning.rates import current_rates

N, GATES = 3, 2
RANDOM = np.random.default_rng(0)
A, B, V = RANDOM.normal(size=(N, N)), RANDOM.normal(size=(N, N)), RANDOM.normal(size=N)


def test_terms_along_equal_maps_are_moved_once() -> None:
    graph = Graph()
    a, b, v = (graph.leaf(k, x.shape, "float64") for k, x in enumerate((A, B, V)))

    def gate(operand: Any, offset: int, *, diagonal: bool = False) -> NodeTerm:
        i, j = Label(N), Label(N)
        column = i if diagonal else j
        axes = (along(i),) if diagonal else (along(i), along(j))
        return Term(2.0, (Factor(operand, axes),), ((along(i),), (affine([(column, 1)], offset, N * GATES),)))

    terms = [gate(a, 0), gate(b, N), gate(b, 0), gate(v, 0, diagonal=True), gate(v, N, diagonal=True)]
    total = add_up_moved(graph, terms, (N, N * GATES), "float64", current_rates())
    [found] = evaluate([total], [A, B, V])
    assert_close(found, 2.0 * np.hstack([A + B + np.diag(V), B + np.diag(V)]))
    assert sum(isinstance(node.kind, IndexMap) for node in reachable([total])) == GATES


def test_what_all_terms_keep_on_a_diagonal_stays_there() -> None:
    graph = Graph()
    v = graph.leaf(0, (N,), "float64")

    def term(coefficient: float, offset: int) -> NodeTerm:
        i = Label(N)
        return Term(coefficient, (Factor(v, (along(i),)),), ((along(i),), (affine([(i, 2)], offset, 2 * N),)))

    total = add_up_moved(graph, [term(1.0, 0), term(3.0, 0), term(5.0, 1)], (N, 2 * N), "float64", current_rates())
    expected = np.zeros((N, 2 * N))
    for i in range(N):
        expected[i, 2 * i], expected[i, 2 * i + 1] = 4.0 * V[i], 5.0 * V[i]
    [found] = evaluate([total], [V])
    assert_close(found, expected)
    before = [node for node in reachable([total]) if not isinstance(node.kind, IndexMap) and node is not total]
    assert {node.shape for node in before} == {(), (N,)}
