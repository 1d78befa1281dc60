"""Functions with a rule for reverse mode inside: their gradient as JAX traces it, with the rules written out.

Such a rule and the derivative of its forward pass may differ (straight-through estimators do). Then the Hessian is the
derivative of the gradient, as in JAX, and no product L' M L with equal legs on both sides. The gradient is an ordinary
function, so its Jacobian has legs again and knows its zeros.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nablax.graph.evaluate import evaluate
from nablax.graph.from_jaxpr import read
from nablax.graph.fuse import fuse
from nablax.graph.node import Node, reachable
from nablax.ops.jaxprs import trace
from nablax.planning.question import Problem
from nablax.sweeps.opaque_rules import has_reverse_rule_only
from nablax.sweeps.second_order import mask_of


def has_reverse_rule(problem: Problem) -> bool:
    """Whether a custom reverse rule stands between the outputs and the leaves asked about."""
    mask = mask_of(problem.asked)
    return any(node.depends & mask and has_reverse_rule_only(node) for node in reachable(problem.outputs))


def gradients_written_out(problem: Problem) -> list[list[Node]] | None:
    """For each output the derivative in each asked leaf, axes (output, leaf), each rule read as what it does.

    Args:
        problem: the traced function.

    Returns:
        The nodes; None where an argument is no array of numbers, or a rule refuses.
    """
    leaves, asked = problem.leaves, problem.asked
    if not all(jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == jnp.bool_ for leaf in leaves):
        return None
    places = [leaves.index(leaf) for leaf in asked]

    def slopes(*arrays: Any) -> list[Any]:
        def outputs(*values: Any) -> list[Any]:
            moved = dict(zip(places, values, strict=True))
            return evaluate(problem.outputs, [moved.get(k, x) for k, x in enumerate(arrays)])

        found = jax.jacrev(outputs, tuple(range(len(places))))(*(arrays[k] for k in places))
        return [one for of_output in found for one in of_output]

    try:
        program = trace(slopes, [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves])
    except Exception:  # a rule may refuse with any type; the loop over columns names its operation and line
        return None
    nodes = fuse(problem.graph, read(problem.graph, program, leaves), mask_of(asked))
    return [nodes[k : k + len(asked)] for k in range(0, len(nodes), len(asked))]
