"""Cores and legs: the Hessian as a sum of L' M L, by elimination in reverse topological order.

For a scalar f computed by nodes v_k = phi_k(inputs) with adjoints a_k = df/dv_k,

    H = sum_k  L_k' M_k L_k,     M_k = a_k . phi_k''     (core),     L_k = d(inputs of k)/dx     (legs).

The adjoint is a leg too: that of the output. For a vector-valued f its rows stay open to the end, and so the
same sweep gives the Hessian of every output.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nablax.contraction.block import Block
from nablax.contraction.index import fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import compose, identity
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.sweeps.asked import Asked
from nablax.sweeps.eliminate import Elimination, eliminate
from nablax.sweeps.frontier import Frontier, SecondOrder
from nablax.sweeps.legs import merge, multiply_out
from nablax.sweeps.loops import run, swept
from nablax.sweeps.steps import Rule, Step


def active(output: Node, mask: int) -> tuple[Node, ...]:
    """Nodes between an output and the leaves of a mask, inputs first."""
    return tuple(node for node in reachable([output]) if node.depends & mask)


def mask_of(leaves: Iterable[Node]) -> int:
    """The bits of leaves."""
    mask = 0
    for leaf in leaves:
        mask |= leaf.depends
    return mask


def second_order(
    graph: Graph, output: Node, leaves: Iterable[Node], asked: Asked, rates: Rates | None = None, calls: int = 100
) -> SecondOrder:
    """Eliminate all nodes between an output and leaves.

    Args:
        graph: makes the nodes of the derivative.
        output: the node whose Hessian is asked; any shape.
        leaves: the leaves with respect to which it is asked.
        asked: which blocks between leaves are asked.
        rates: of the machine, for deciding where cores are summed; None to keep all legs.
        calls: among how many calls preparation is shared.

    Returns:
        Cores with legs on leaves, the gradient, and the steps.
    """
    chosen = frozenset(leaves)
    mask = mask_of(chosen)
    sweep = Elimination(graph, active(output, mask), chosen, mask, asked, 2, rates, calls)
    return swept(sweep, _begin(output))


def _begin(output: Node) -> Frontier:
    return Frontier(adjoints={output: (identity(fresh(output.shape)),)})


def adjoints(graph: Graph, output: Node, leaves: Iterable[Node]) -> dict[Node, list[NodeTerm]]:
    """Adjoints of all nodes between an output and leaves, sides (axes of the output, axes of the node)."""
    sweep = _first_order(graph, output, leaves)
    frontier = _begin(output)
    found: dict[Node, list[NodeTerm]] = {}
    for node in reversed(sweep.nodes):
        if node not in sweep.leaves:
            own = merge(graph, frontier.adjoints.get(node, ()), node.dtype)
            if own:
                found[node] = own
                frontier = replace(frontier, adjoints={**frontier.adjoints, node: tuple(own)})
            frontier, _ = eliminate(sweep, frontier, node)
    return found


def _first_order(graph: Graph, output: Node, leaves: Iterable[Node]) -> Elimination:
    chosen = frozenset(leaves)
    mask = mask_of(chosen)
    return Elimination(graph, active(output, mask), chosen, mask, Asked.nothing(), 1, None)


def reverse(graph: Graph, output: Node, leaves: Iterable[Node]) -> dict[Node, list[NodeTerm]]:
    """Reverse mode: the adjoint leg of the output pulled to the leaves.

    Returns:
        For each leaf the terms of the Jacobian of the output, sides (axes of the output, axes of the leaf).
    """
    sweep = _first_order(graph, output, leaves)
    frontier, _ = run(sweep, _begin(output))
    return {leaf: merge(graph, frontier.adjoints.get(leaf, ()), leaf.dtype) for leaf in sweep.leaves}


def jacobian(
    graph: Graph, output: Node, leaves: Iterable[Node], rates: Rates | None = None
) -> tuple[dict[Node, Block[Node]], tuple[Step, ...]]:
    """Reverse mode that begins anew at a narrow waist.

    Where one node carries all adjoints and has fewer elements than the output has rows, the rows above are kept as one
    block, and only the node's own elements are pulled further; the two are multiplied when the answer is formed.

    Args:
        graph: makes the nodes of the derivative.
        output: the node whose Jacobian is asked; any shape.
        leaves: the leaves with respect to which it is asked.
        rates: of the machine; None to pull all rows to the leaves.

    Returns:
        For each leaf its block, sides (no open axes, axes of the output, axes of the leaf), and the steps.
    """
    chosen = frozenset(leaves)
    mask = mask_of(chosen)
    sweep = Elimination(graph, active(output, mask), chosen, mask, Asked.nothing(), 1, rates)
    above: list[NodeTerm] | None = None
    found: dict[Node, Block[Node]] = {leaf: Block() for leaf in chosen}

    def settle(frontier: Frontier) -> None:
        for leaf in chosen & set(frontier.adjoints):
            for leg in merge(graph, frontier.adjoints[leaf], leaf.dtype):
                parts = [leg] if above is None else [compose(head, 1, leg, 0) for head in above]
                found[leaf] += Block.of(part.replace(sides=((), *part.sides)) for part in parts if part is not None)

    frontier = _begin(output)
    steps: list[Step] = []
    for node in reversed(sweep.nodes):
        if node in chosen:
            continue
        alone = node is not output and node in frontier.adjoints and not set(frontier.adjoints) - chosen - {node}
        if alone and sweep.below is not None and rates is not None:
            own = merge(graph, frontier.adjoints[node], node.dtype)
            rank = max((sweep.below.rank(leg, node) for leg in own), default=0)
            width = sweep.below.width(node)
            again = 2.0 * rank * node.size * sum(leaf.size for leaf in chosen if leaf.depends & node.depends)
            if rank > width and (rank - width) * sweep.below.seconds[node] > again / rates.product_flops:
                settle(frontier)
                heads = own if above is None else [compose(head, 1, leg, 0) for head in above for leg in own]
                above = [multiply_out(graph, head) for head in heads if head is not None]
                frontier = Frontier(adjoints={node: (identity(fresh(node.shape)),)})
                steps.append(Step(node, (Rule.RESTART,), (0, 0), False, rank, width))
        frontier, step = eliminate(sweep, frontier, node)
        if step is not None:
            steps.append(step)
    settle(frontier)
    return found, tuple(steps)
