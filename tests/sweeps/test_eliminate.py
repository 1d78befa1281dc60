"""Elimination step by step: frontiers that never change, what is asked, what lies below, where cores are summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

from nablax.contraction.index import fresh
from nablax.contraction.rates import Rates
from nablax.contraction.term import Term, identity
from nablax.endings.dense import dense
from nablax.graph.evaluate import evaluate
from nablax.graph.node import Node, identify
from nablax.ops.kinds import Contraction, Elementwise, Opaque
from nablax.planning.question import Problem, pose
from nablax.sweeps.asked import Asked
from nablax.sweeps.below import Below
from nablax.sweeps.eliminate import Elimination, eliminate
from nablax.sweeps.frontier import Frontier, SecondOrder
from nablax.sweeps.second_order import active, mask_of, second_order
from nablax.sweeps.steps import Rule, Step

Function = Callable[..., Any]
# A machine of round numbers, so that a new calibration changes no test.
RATES = Rates(1e11, 5e10, 1e10, 2e10, 1e10, 1e10, 4e10, 1e6, 1e-6, 1e-7, 1e-4)
# A machine on which nothing but arithmetic takes time: cores are summed as soon as legs have more rows than a node.
ARITHMETIC = Rates(1e9, 1e9, 1e9, 1e9, 1e9, 1e15, 1e15, 1e6, 0.0, 0.0, 0.0)


def shaped(*shapes: Sequence[int]) -> list[Any]:
    return [jax.ShapeDtypeStruct(tuple(shape), np.float64) for shape in shapes]


def posed(f: Function, *arguments: Any, asked: Sequence[int] | None = None) -> Problem:
    return pose(f, arguments, range(len(arguments)) if asked is None else asked, scalar="a test")


def begun(problem: Problem, asked: Asked, rates: Rates | None = RATES) -> tuple[Elimination, Frontier]:
    [output] = problem.outputs
    mask = mask_of(problem.asked)
    sweep = Elimination(problem.graph, active(output, mask), frozenset(problem.asked), mask, asked, 2, rates)
    return sweep, Frontier(adjoints={output: (identity(fresh(output.shape)),)})


def swept(problem: Problem, asked: Asked, rates: Rates | None = RATES) -> SecondOrder:
    return second_order(problem.graph, problem.outputs[0], problem.asked, asked, rates)


def network(depth: int, residual: bool) -> Function:
    def loss(inputs: Any, *weights: Any) -> Any:
        h = inputs
        for w in weights:
            t = jnp.tanh(h @ w)
            h = h + t if residual else t
        return jnp.sum(jax.nn.logsumexp(h, axis=-1))

    return loss


def small(depth: int, residual: bool) -> tuple[Function, list[Any]]:
    generator = np.random.default_rng(0)
    return network(depth, residual), [generator.normal(size=(3, 2)), *(generator.normal(size=(depth, 2, 2)) / 2)]


# -- the frontier --------------------------------------------------------------------------------------


def written(frontier: Frontier) -> tuple[Any, ...]:
    """All that a frontier holds, labels named by their order."""

    def legs(mapping: Mapping[Node, Sequence[Term[Node]]]) -> Any:
        return {node.number: [(t.coefficient, t.key(identify)) for t in terms] for node, terms in mapping.items()}

    cores = {
        number: (
            core.origin.number,
            [(form.slots, form.term.coefficient, form.term.key(identify)) for form in core.forms],
            [legs(slot) for slot in core.legs],
        )
        for number, core in frontier.cores.items()
    }
    standing = {node.number: numbers for node, numbers in frontier.standing.items()}
    return legs(frontier.adjoints), cores, standing, frontier.count


@pytest.mark.parametrize("residual", [False, True])
def test_a_frontier_can_be_eliminated_again(residual: bool) -> None:
    f, arguments = small(3, residual)
    problem = posed(f, *arguments, asked=(1, 2, 3))
    sweep, frontier = begun(problem, Asked.own_blocks(problem.asked), ARITHMETIC)
    kept: list[tuple[Frontier, Any, Node]] = []
    results = []
    for node in reversed(sweep.nodes):
        if node not in sweep.leaves:
            kept.append((frontier, written(frontier), node))
            frontier, step = eliminate(sweep, frontier, node)
            results.append((written(frontier), step))
    made = problem.graph.count
    for (before, was, node), (after, step) in zip(kept, results, strict=True):
        assert written(before) == was  # eliminating did not touch it
        again, same = eliminate(sweep, before, node)
        assert written(again) == after
        assert same == step
    assert problem.graph.count == made  # the second time nothing new is made
    assert any(step is not None and Rule.SUM in step.rules for _, step in results)


def test_a_frontier_takes_a_core_and_stays_as_it_was() -> None:
    problem = posed(lambda x: jnp.sum(jnp.sin(x) ** 2 * x), np.ones(3))
    sweep, empty = begun(problem, Asked.own_blocks(problem.asked))
    after = empty
    for node in reversed(sweep.nodes):
        if node not in sweep.leaves:
            after, _ = eliminate(sweep, after, node)
    [core] = after.cores.values()
    [leaf] = problem.asked
    more = empty.with_core(core, [])
    assert (dict(empty.cores), empty.count, empty.on(leaf)) == ({}, 0, ())
    assert (more.cores[0], more.count, more.on(leaf)) == (core, 1, (0,))
    assert more.with_core(core, [leaf]).on(leaf) == (0,)
    assert eliminate(sweep, empty, leaf) == (empty, None)  # nothing stands there


# -- steps ---------------------------------------------------------------------------------------------


def test_the_steps_of_a_square_by_hand() -> None:
    # sum((x @ w)**2): the sum is linear, the square opens a core, the product with known numbers is linear
    known = np.arange(6.0).reshape(3, 2)
    problem = posed(lambda x: jnp.sum((known @ x) ** 2), np.ones(2))
    found = swept(problem, Asked.own_blocks(problem.asked))
    assert [(step.node.shape, step.rules, step.cores, step.opened) for step in found.steps] == [
        ((), (Rule.PULL,), (0, 0), False),
        ((3,), (Rule.PULL,), (0, 1), True),
        ((3,), (Rule.PULL,), (1, 0), False),
    ]
    assert [len(core.forms) for core in found.cores] == [1]


def test_a_linear_function_opens_nothing() -> None:
    problem = posed(lambda x: jnp.sum(3.0 * x[::2]) + x[0], np.ones(4))
    found = swept(problem, Asked.own_blocks(problem.asked))
    assert found.cores == ()
    assert not any(step.opened for step in found.steps)
    [terms] = found.gradient.values()
    assert_close(evaluate([problem.graph.sum_of(terms, (4,), np.dtype("float64"))], [np.ones(4)])[0], [4, 0, 3, 0])


def opened_products(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.opened and isinstance(step.node.kind, Contraction)]


def test_no_core_between_a_weight_and_its_layers_input_for_a_diagonal() -> None:
    f, arguments = small(2, False)
    problem = posed(f, *arguments, asked=(1, 2))
    assert opened_products(swept(problem, Asked.own_blocks(problem.asked)).steps) == []
    [step] = opened_products(swept(problem, Asked.between(problem.asked, problem.asked)).steps)
    assert step.node.shape == (3, 2)
    # one weight on both layers: then its own block has such a core
    shared = posed(lambda inputs, w: f(inputs, w, w), *arguments[:2], asked=(1,))
    assert len(opened_products(swept(shared, Asked.own_blocks(shared.asked)).steps)) == 1


# -- what is asked -------------------------------------------------------------------------------------


def test_asked_pairs() -> None:
    problem = posed(lambda a, b, c: jnp.sum(a * b * c), *map(np.ones, (2, 2, 2)))
    a, b, c = problem.asked
    own, some = Asked.own_blocks([a, b]), Asked.between([a], [b, c])
    assert [own.couples(a, a), own.couples(a, b), own.couples(c, c)] == [True, False, False]
    assert [some.couples(a, b), some.couples(b, a), some.couples(c, a)] == [True] * 3
    assert [some.couples(a, a), some.couples(b, c)] == [False, False]
    assert not Asked.nothing().couples(a, a)
    [output] = problem.outputs
    assert own.couples(output, a)  # below the output stands everything
    assert not own.couples(output, c)
    assert some.couples(output, output)


# -- what lies below -----------------------------------------------------------------------------------


def look(problem: Problem) -> tuple[Below, Elimination]:
    sweep, _ = begun(problem, Asked.own_blocks(problem.asked))
    assert sweep.below is not None
    return sweep.below, sweep


def test_passing_axes_of_two_layers() -> None:
    problem = posed(network(2, False), *shaped((5, 3), (3, 4), (4, 6)), asked=(1, 2))
    below, sweep = look(problem)
    layers = [node for node in sweep.nodes if len(node.shape) == 2 and node not in sweep.leaves]
    found = [(type(x.kind), x.shape, set(below.passing[x]), below.batch(x), below.width(x)) for x in layers[:4]]
    assert found == [
        (Contraction, (5, 4), {0, 1}, 20, 1),  # on the first weight: every element is alone
        (Elementwise, (5, 4), {0, 1}, 20, 1),
        (Contraction, (5, 6), {0}, 5, 6),  # mixed by the second weight, examples apart
        (Elementwise, (5, 6), {0}, 5, 6),
    ]
    assert [below.seconds[x] for x in sweep.leaves] == [0.0, 0.0]
    times = [below.seconds[x] for x in layers]
    assert times == sorted(times)
    assert times[0] > 0.0


def test_waists_of_a_residual_network() -> None:
    problem = posed(network(3, True), *shaped((5, 3), (3, 3), (3, 3), (3, 3)), asked=(1, 2, 3))
    below, sweep = look(problem)
    inner = [node for node in sweep.nodes if node not in sweep.leaves and node.shape == (5, 3)]
    first, tanh, *_ = inner
    assert below.waist[first] is None
    assert below.waist[tanh] is first
    sums = [node for node in inner if len([x for x in inner if node in x.inputs]) > 1]
    assert len(sums) == 2  # h1 and h2 are read by a layer and by the next sum
    lower, upper = sums
    assert below.waist[upper] is lower
    between = [x for x in inner if lower.number < x.number < upper.number]
    assert all(below.waist[x] is lower for x in between)  # none of them: a path leads around the layer


def test_an_opaque_node_lets_no_axis_pass() -> None:
    def mixed(x: Any) -> Any:
        return jnp.sin(x) * jnp.sum(x)

    problem = posed(lambda x: jnp.sum(jax.lax.cond(x[0, 0] > 0, mixed, jnp.cos, x**2) ** 2), *shaped((3, 4)))
    below, sweep = look(problem)
    [branch] = [node for node in sweep.nodes if isinstance(node.kind, Opaque)]
    assert below.passing[branch] == frozenset()
    assert below.width(branch) == 12


def test_a_branch_that_takes_each_element_alone_lets_all_axes_pass() -> None:
    problem = posed(lambda x: jnp.sum(jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x**2) ** 2), *shaped((3, 4)))
    below, sweep = look(problem)
    [branch] = [node for node in sweep.nodes if isinstance(node.kind, Opaque)]
    assert below.passing[branch] == frozenset({0, 1})


def test_a_sort_along_one_axis_lets_the_other_pass() -> None:
    problem = posed(lambda x: jnp.sum(jnp.sort(x**2, axis=1) ** 2), *shaped((3, 4)))
    below, sweep = look(problem)
    squared = [node for node in sweep.nodes if isinstance(node.kind, Elementwise) and node.shape == (3, 4)]
    assert {below.passing[node] for node in squared} == {frozenset({0}), frozenset({0, 1})}


# -- where cores are summed ----------------------------------------------------------------------------


def summed_at(found: SecondOrder) -> list[Step]:
    return [step for step in found.steps if Rule.SUM in step.rules]


def test_sums_happen_at_the_running_sum_of_a_residual_network() -> None:
    depth, batch, width = 8, 256, 64
    problem = posed(network(depth, True), *shaped((batch, width), *[(width, width)] * depth), asked=range(1, depth + 1))
    found = summed_at(swept(problem, Asked.own_blocks(problem.asked)))
    wide = [step for step in found if step.node.shape == (batch, width)]
    assert len(wide) >= depth - 4  # the lowest layers end at their leaves anyway
    nodes = active(problem.outputs[0], mask_of(problem.asked))
    for step in wide:
        assert isinstance(step.node.kind, Elementwise)
        assert len([x for x in nodes if step.node in x.inputs]) == 2
        assert step.rank > step.width == width


def test_never_for_a_chain_of_stencils() -> None:
    def rolled(x: Any) -> Any:
        for _ in range(6):
            x = jnp.sin(x[1:] - x[:-1] ** 2)
        return jnp.sum(x**2)

    def least_squares(u: Any) -> Any:
        inside = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4.0 * u[1:-1, 1:-1]
        return jnp.sum((inside + 0.1 * u[1:-1, 1:-1] ** 3) ** 2)

    for f, shape in ((rolled, (400,)), (least_squares, (30, 30))):
        problem = posed(f, *shaped(shape))
        for asked in (Asked.own_blocks(problem.asked), Asked.between(problem.asked, problem.asked)):
            assert summed_at(swept(problem, asked)) == summed_at(swept(problem, asked, ARITHMETIC)) == []


def test_without_rates_nothing_is_summed() -> None:
    f, arguments = small(4, True)
    problem = posed(f, *arguments, asked=(1, 2, 3, 4))
    asked = Asked.own_blocks(problem.asked)
    assert summed_at(swept(problem, asked, None)) == []
    assert summed_at(swept(problem, asked, ARITHMETIC)) != []


@pytest.mark.parametrize("residual", [False, True])
def test_where_cores_are_summed_changes_no_number(residual: bool) -> None:
    f, arguments = small(3, residual)
    leaves = (1, 2, 3)
    answers = []
    for rates in (None, RATES, ARITHMETIC, replace(ARITHMETIC, batched_flops=1e15)):
        problem = posed(f, *arguments, asked=leaves)
        found = swept(problem, Asked.between(problem.asked, problem.asked), rates)
        pairs = ((a, b) for a in problem.asked for b in problem.asked)
        answers.append(
            [dense(problem.graph, found.block(a, b), a.shape + b.shape, 0, a.dtype, RATES) for a, b in pairs]
        )
    got = jax.jit(lambda arguments: [evaluate(nodes, arguments) for nodes in answers])(arguments)
    want = jax.tree.leaves(jax.jit(jax.hessian(f, leaves))(*arguments))
    scale = max(float(np.abs(x).max()) for x in want)
    for blocks in got:
        for one, right in zip(blocks, want, strict=True):
            assert_close(one, right, scale=scale)
