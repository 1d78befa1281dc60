"""Opaque nodes: all inputs at once, one forward and one backward pass, each evaluated once."""

from __future__ import annotations

import collections
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core
from oracles import assert_close

import nablax as nb
from nablax.contraction.index import fresh
from nablax.contraction.term import Factor, Term, identity
from nablax.errors import DifferentiationError
from nablax.graph.evaluate import evaluate
from nablax.graph.graph import Graph
from nablax.graph.node import Node, NodeTerm, reachable
from nablax.ops.kinds import Opaque
from nablax.planning.question import Problem, pose
from nablax.sweeps import opaque_calls
from nablax.sweeps.opaque_rules import (
    has_reverse_rule_only,
    legs_together,
    opaque_core,
    pull_opaque_all,
    push_opaque_all,
)


def loop(w: Any, x: Any, b: Any) -> Any:
    """A recurrence with three arguments, no two of the same shape."""
    return jax.lax.scan(lambda c, a: (jnp.tanh(w @ c + a * b), c * a), b, x)[1]


def arguments(generator: np.random.Generator) -> list[Any]:
    return [generator.normal(size=(3, 3)), generator.normal(size=5), generator.normal(size=3)]


@jax.custom_vjp
def summed(x: Any) -> Any:
    """A cumulative sum with a rule of the user's."""
    return jnp.cumsum(x)


summed.defvjp(lambda x: (jnp.cumsum(x), None), lambda _, t: (jax.lax.cumsum(t, reverse=True),))


def only_opaque(problem: Problem) -> Node:
    [node] = [node for node in reachable(problem.outputs) if isinstance(node.kind, Opaque)]
    return node


def vector(node: Node) -> NodeTerm:
    axes = fresh(node.shape)
    return Term(1.0, (Factor(node, axes),), ((), axes))


def dense(graph: Graph, term: NodeTerm, dtype: Any) -> Node:
    return graph.multiply(term, dtype)


def posed(f: Callable[..., Any], arrays: Sequence[Any], extra: Sequence[Any] = ()) -> tuple[Problem, list[Node]]:
    """The problem, and more leaves that stand for arrays of these shapes."""
    problem = pose(f, arrays, list(range(len(arrays))), scalar="")
    more = [problem.graph.leaf(len(arrays) + k, x.shape, x.dtype) for k, x in enumerate(extra)]
    return problem, more


def primitives(function: Callable[..., Any], *arrays: Any) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()

    def walk(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            found[equation.primitive.name] += 1
            for body in core.jaxprs_in_params(equation.params):
                walk(body)

    walk(jax.make_jaxpr(function)(*arrays).jaxpr)
    return found


def test_one_backward_pass_gives_all_cotangents(generator: np.random.Generator) -> None:
    arrays = arguments(generator)
    weight = generator.normal(size=(5, 3))
    problem, [given] = posed(loop, arrays, [weight])
    pulled = pull_opaque_all(problem.graph, vector(given), only_opaque(problem), -1)
    assert set(pulled) == set(problem.leaves)
    nodes = [dense(problem.graph, pulled[leaf], leaf.dtype) for leaf in problem.leaves]

    def all_at_once(*arrays: Any) -> list[Any]:
        return evaluate([*problem.outputs, *nodes], arrays)

    value, *found = all_at_once(*arrays, weight)
    want, back = jax.vjp(loop, *arrays)
    assert_close(value, want)
    for got, right in zip(found, back(weight), strict=True):
        assert_close(got, right)
    assert primitives(all_at_once, *arrays, weight)["scan"] == 2


def test_legs_without_rows_are_pulled_together(generator: np.random.Generator) -> None:
    x = generator.normal(size=4)
    first, last = generator.normal(size=4), generator.normal(size=4)
    problem, given = posed(summed, [x], [first, last])
    graph, node = problem.graph, only_opaque(problem)
    [leg] = legs_together(graph, [vector(one) for one in given], node)
    pulled = pull_opaque_all(graph, leg, node, -1)[problem.leaves[0]]
    [got] = evaluate([dense(graph, pulled, node.dtype)], [x, first, last])
    assert_close(got, np.cumsum((first + last)[::-1])[::-1])
    rows = identity(fresh(node.shape))
    assert legs_together(graph, [rows, leg], node) == [rows, leg]


def test_what_does_not_depend_on_the_leaves_asked_is_not_differentiated(generator: np.random.Generator) -> None:
    arrays = arguments(generator)
    problem, [given] = posed(loop, arrays, [np.ones((5, 3))])
    w, _, b = problem.leaves
    assert set(pull_opaque_all(problem.graph, vector(given), only_opaque(problem), w.depends | b.depends)) == {w, b}


def test_one_tangent_of_all_inputs(generator: np.random.Generator) -> None:
    arrays, along = arguments(generator), arguments(generator)
    problem, moved = posed(loop, arrays, along)
    node = only_opaque(problem)
    pushed = push_opaque_all(problem.graph, dict(zip(problem.leaves, map(vector, moved), strict=True)), node)
    assert pushed is not None
    tangent = dense(problem.graph, pushed, node.dtype)

    def both(*arrays: Any) -> list[Any]:
        return evaluate([node, tangent], arrays)

    for got, right in zip(both(*arrays, *along), jax.jvp(loop, tuple(arrays), tuple(along)), strict=True):
        assert_close(got, right)
    # the value is computed on the way to the tangent, not a second time
    assert primitives(both, *arrays, *along)["scan"] == 1


def test_forward_over_reverse_is_one_tangent_of_each_pass(generator: np.random.Generator) -> None:
    arrays, along = arguments(generator), arguments(generator)
    weight = generator.normal(size=(5, 3))
    problem, [given, *moved] = posed(loop, arrays, [weight, *along])
    graph, node = problem.graph, only_opaque(problem)
    pulled = pull_opaque_all(graph, vector(given), node, -1)
    gradient = [dense(graph, pulled[leaf], leaf.dtype) for leaf in problem.leaves]
    tangents: dict[Node, NodeTerm] = dict(zip(problem.leaves, map(vector, moved), strict=True))
    for one in reachable(gradient):
        if isinstance(one.kind, Opaque):
            found = push_opaque_all(graph, {x: tangents[x] for x in one.inputs if x in tangents}, one)
            if found is not None:
                tangents[one] = vector(dense(graph, found, one.dtype))
    products = [dense(graph, tangents[one], one.dtype) for one in gradient]

    def run(*arrays: Any) -> list[Any]:
        return evaluate([*gradient, *products], arrays)

    def gradients(*arrays: Any) -> Any:
        return jax.vjp(loop, *arrays)[1](weight)

    slopes, turned = jax.jvp(gradients, tuple(arrays), tuple(along))
    for got, right in zip(run(*arrays, weight, *along), (*slopes, *turned), strict=True):
        assert_close(got, right)
    ours = primitives(run, *arrays, weight, *along)
    theirs = primitives(lambda *a: jax.jvp(gradients, a[:3], a[3:]), *arrays, *along)
    assert ours["scan"] == theirs["scan"] == 2


@pytest.mark.parametrize("bound", [1.0, 2e3, 1e9])
def test_the_core_in_chunks(bound: float, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque_calls, "CORE_BYTES", bound)
    arrays = arguments(generator)
    weight = generator.normal(size=(5, 3))
    problem, [given] = posed(loop, arrays, [weight])
    graph = problem.graph
    cores = opaque_core(graph, only_opaque(problem), vector(given), -1)
    want = jax.hessian(lambda *arrays: jnp.sum(weight * loop(*arrays)), (0, 1, 2))(*arrays)
    place = {leaf: k for k, leaf in enumerate(problem.leaves)}
    for (row, column), terms in cores.items():
        block = graph.sum_of(
            [term.replace(sides=term.sides[1:]) for term in terms], row.shape + column.shape, row.dtype
        )
        assert_close(evaluate([block], [*arrays, weight])[0], want[place[row]][place[column]])
    assert len(cores) == 6
    loops = primitives(
        lambda *a: evaluate([t.factors[0].operand for ts in cores.values() for t in ts], a), *arrays, weight
    )
    held = [t.factors[0].operand.kind.held_bytes for ts in cores.values() for t in ts]
    assert min(held) > 0.0
    # three inputs; for each the two passes, and their tangents; and, where not all columns fit, a loop over them
    assert loops["scan"] == 12 if bound == 1e9 else loops["scan"] > 12


def test_a_core_holds_what_it_says(generator: np.random.Generator) -> None:
    # 100 steps on 200 numbers: all 200 columns at once would hold 200 times the residuals
    def f(x: Any) -> Any:
        return jax.lax.scan(lambda c, _: (jnp.sin(c) * x, None), x, None, 100)[0]

    x = generator.normal(size=200)
    problem, [given] = posed(f, [x], [x])
    [terms] = opaque_core(problem.graph, only_opaque(problem), vector(given), -1).values()
    block = terms[0].factors[0].operand
    assert isinstance(block.kind, Opaque)
    compiled = jax.jit(lambda *a: evaluate([block], a)).lower(x, x).compile()
    held = compiled.memory_analysis().temp_size_in_bytes
    assert held <= 1.5 * (block.kind.held_bytes + block.size * 8)


BATCHED = {
    "branch": (lambda x: jax.lax.cond(x[0, 0] > 9, jnp.sin, lambda x: jnp.cumsum(x, 1) ** 2, x), [(3, 4)]),
    "branch, turned": (lambda x: jax.lax.cond(x[0, 0] > 9, lambda x: x.T, lambda x: jnp.sort(x, 0).T, x), [(3, 4)]),
}


@pytest.mark.parametrize("name", BATCHED)
def test_a_delta_along_the_batch_stays_one(name: str, generator: np.random.Generator) -> None:
    f, shapes = BATCHED[name]
    arrays = [generator.normal(size=shape) for shape in shapes]
    problem, _ = posed(f, arrays)
    node = next(one for one in reachable(problem.outputs) if isinstance(one.kind, Opaque))
    assert isinstance(node.kind, Opaque)
    graph = problem.graph
    assert node.kind.call.batch_axes
    axis, places = node.kind.call.batch_axes[0]
    leg = identity(fresh(node.shape))
    pulled = pull_opaque_all(graph, leg, node, -1)
    shared = leg.sides[0][axis]
    kept = {k: x for k, x in zip(places, node.inputs, strict=True) if k is not None}
    for place, source in kept.items():
        assert pulled[source].sides[1][place].label is shared.label
    leaves = list(node.inputs)

    def alone(*inputs: Any) -> Any:
        return node.kind.call.function(*inputs)[0]

    given = [np.asarray(x) for x in evaluate(leaves, arrays)]
    moving = tuple(k for k, x in enumerate(leaves) if x in pulled)
    want = jax.jacrev(alone, moving)(*given)
    for source, right in zip([leaves[k] for k in moving], want, strict=True):
        block = dense(graph, pulled[source], node.dtype)
        assert_close(evaluate([block], arrays)[0], right, what=name)


def test_a_linear_operation_has_no_core(generator: np.random.Generator) -> None:
    x = generator.normal(size=4)
    problem, [given] = posed(summed, [x], [x])
    assert opaque_core(problem.graph, only_opaque(problem), vector(given), -1) == {}


def test_a_rule_for_reverse_mode_only() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (3.0 * g * x**2,))
    x = np.array([0.3, 1.2])
    for g in (f, lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, 2)[0]):
        problem, _ = posed(g, [x])
        assert has_reverse_rule_only(only_opaque(problem))
    problem, _ = posed(lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, 2)[0], [x])
    assert not has_reverse_rule_only(only_opaque(problem))


def test_an_operation_without_a_derivative_names_the_users_line() -> None:
    def f(x: Any) -> Any:
        return jax.lax.while_loop(lambda c: jnp.sum(c) < 10.0, lambda c: c * 2.0, x)

    x = np.ones(2)
    problem, [given] = posed(f, [x], [x])
    with pytest.raises(DifferentiationError, match=r"operation 'while' was asked for, at .*test_opaque_rules.py"):
        pull_opaque_all(problem.graph, vector(given), only_opaque(problem), -1)


def test_derivatives_keep_no_graph_alive(generator: np.random.Generator) -> None:
    arrays = arguments(generator)
    problem, [given] = posed(loop, arrays, [np.ones((5, 3))])
    node = only_opaque(problem)
    assert isinstance(node.kind, Opaque)
    opaque_core(problem.graph, node, vector(given), -1)
    call = weakref.ref(node.kind.call)
    del problem, node, given
    gc.collect()
    assert call() is None


def test_a_stack_of_factorisations_couples_no_two_matrices() -> None:
    """The pivots are integers beside the float result, and follow along the batch."""
    stack = np.random.default_rng(2).normal(size=(3, 2, 2)) + 3 * np.eye(2)
    right = np.array([0.4, -1.2])

    def f(vector: Any) -> Any:
        solve = lambda a: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), right)
        return jnp.sum(jnp.tanh(jax.vmap(solve)(vector.reshape(3, 2, 2))))

    found = nb.hessian_sparse(f)(stack.ravel())
    assert found.nse == 3 * 4 * 4
    assert_close(found.todense(), jax.hessian(f)(stack.ravel()))
