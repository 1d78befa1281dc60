"""The planner: candidates, the memory promise, dense blocks that change nothing, the plan as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_close

import nablax as nb
from nablax.graph.evaluate import evaluate
from nablax.planning.question import DIAGONAL, HESSIAN, TRACE, Question, pose
from nablax.planning.strategies import STRATEGIES, legs_backward

QUESTIONS = {"hessian": nb.hessian, "diagonal": nb.hessian_diagonal, "trace": nb.laplacian}
DATA = np.random.default_rng(0).normal(size=(7, 4))
TARGET = np.random.default_rng(1).normal(size=(7, 3))


def network(p: Any) -> Any:
    h = jnp.tanh(DATA @ p["w1"] + p["b1"])
    h = h + jnp.tanh(h @ p["w2"])
    return jnp.mean((jnp.tanh(h) @ p["w3"] - TARGET) ** 2)


def parameters() -> dict[str, Any]:
    generator = np.random.default_rng(2)
    shapes = {"w1": (4, 5), "b1": (5,), "w2": (5, 5), "w3": (5, 3)}
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


SHAPES = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), parameters())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_plan_needs_shapes_only(question: str) -> None:
    from_shapes, from_arrays = nb.plan(network, question)(SHAPES), nb.plan(network, question)(parameters())
    assert str(from_shapes) == str(from_arrays)
    assert from_shapes.strategy in {*STRATEGIES, "mixed"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_cheapest_candidate_is_chosen(question: str) -> None:
    plan = nb.plan(network, question)(SHAPES)
    answered = [c for c in plan.candidates if c.answer is not None]
    assert plan.choice.chosen.total(100) == min(c.total(100) for c in answered)
    assert {"legs-backward", "legs-forward", "columns"} <= {c.strategy for c in plan.candidates}


@pytest.mark.parametrize("question", ["hvp", "quadratic form", "quadratic_form"])
def test_products_go_vector_first(question: str) -> None:
    assert nb.plan(network, question)(SHAPES).strategy == "vector-first"


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("strategy", ["legs-backward", "legs-forward", "columns"])
def test_a_strategy_by_name_is_taken(question: str, strategy: str) -> None:
    assert nb.plan(network, question, strategy=strategy)(SHAPES).strategy == strategy


def test_what_is_explained_is_what_is_run() -> None:
    plan = nb.plan(network, "diagonal")(SHAPES)
    p = parameters()
    got = nb.hessian_diagonal(network)(p)
    leaves = jax.tree.leaves(p)
    answer = plan.choice.chosen.answer
    assert answer is not None
    nodes = answer.nodes
    for (a,), value in zip(nodes, evaluate(list(nodes.values()), leaves), strict=True):
        assert_close(value, jax.tree.leaves(got)[a])


# -- text --------------------------------------------------------------------------------------------------


def test_the_text_of_a_plan() -> None:
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    text = str(nb.plan(lambda x: jnp.sum(x**2), "diagonal")(x))
    lines = text.splitlines()
    assert lines[0] == "question    diagonal of a function with result float32[]"
    assert lines[1] == "unknowns    1,000 in float32[1000]"
    assert lines[2] == ""
    assert lines[3].split() == ["strategy", "flops", "bytes", "moved", "peak", "bytes", "estimate", "preparation"]
    assert [line.split()[0] for line in lines if line.startswith("→")] == ["→"]
    chosen = next(line for line in lines if line.startswith("chosen"))
    assert chosen == "chosen      legs-backward: cores with legs pulled back to the leaves (no dense block)"
    assert re.fullmatch(
        r"because     (it and )?the next, [a-z-]+, (are a tie: |is estimated at )[\d.e+]+ times its time over 100 calls",
        lines[lines.index(chosen) + 1],
    )
    assert lines[lines.index(chosen) + 2] == "steps"
    assert all(line == line.rstrip() for line in lines)
    plan = nb.plan(lambda x: jnp.sum(x**2), "diagonal")(x)
    assert repr(plan) == str(plan)
    assert all(re.search(r"# .*test_choose\.py:\d+", line) for line in lines[lines.index("steps") + 1 :])


def test_the_text_names_the_bound_and_the_loop() -> None:
    text = str(nb.plan(network, "hessian", strategy="columns", memory_bytes=1e6)(SHAPES))
    assert "bound       1 M bytes at once" in text
    assert re.search(r"for each of 25 directions, \d+ at once:", text)
    assert "because     no other strategy answers this question here, or it was asked for by name" in text


def test_many_unknowns_are_counted_not_listed() -> None:
    many = {f"p{k}": jax.ShapeDtypeStruct((2,), jnp.float64) for k in range(9)}
    text = str(nb.plan(lambda p: sum(jnp.sum(x**3) for x in p.values()), "trace")(many))
    assert "unknowns    18 in " + ", ".join(["float64[2]"] * 6) + ", … 3 more" in text


def test_steps_are_named() -> None:
    steps = nb.plan(lambda x: jnp.sum(jnp.linalg.inv(x) ** 2), "hessian", strategy="legs-backward")(np.eye(3)).steps
    assert any(step.startswith("inv → float64[3, 3]") for step in steps)
    assert any(step.startswith("contract ") for step in steps)
    steps = nb.plan(lambda x: jnp.sum(jnp.sort(x) ** 3), "hessian", strategy="legs-backward")(np.ones(3)).steps
    assert any(step.startswith("sort by JAX") for step in steps)


def test_flops_of_a_matrix_product_are_two_per_term() -> None:
    data = jax.ShapeDtypeStruct((50, 20), jnp.float32)
    plan = nb.plan(lambda x, a: jnp.sum((a @ x) ** 2), "hessian", strategy="legs-backward")(
        jax.ShapeDtypeStruct((20,), jnp.float32), data
    )
    # the Gram matrix, or its upper triangle
    assert 50 * 20 * 20 <= plan.choice.chosen.cost.flops <= 1.2 * (2 * 50 * 20 * 20)


# -- memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_plan_keeps_the_bound(question: str) -> None:
    free = nb.plan(network, question)(SHAPES)
    peaks = sorted({c.cost.peak for c in free.candidates if c.answer is not None})
    for bound in (*peaks, 2.0 * peaks[-1]):
        plan = nb.plan(network, question, memory_bytes=bound)(SHAPES)
        assert plan.choice.chosen.cost.peak <= bound
        want = QUESTIONS[question](network, strategy="columns")(parameters())
        bounded = jax.jit(QUESTIONS[question](network, memory_bytes=bound))
        try:
            compiled = bounded.lower(parameters()).compile()
        except nb.MemoryBoundError as error:  # XLA holds more than the estimate; the text says how much is enough
            enough = float(str(error).split("needs about ")[1].split(" bytes")[0])
            assert enough > bound
            continue
        analysis = compiled.memory_analysis()
        assert analysis.temp_size_in_bytes + analysis.output_size_in_bytes <= bound
        got = compiled(parameters())
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("bound", [2e5, 1e6, 1e7])
def test_a_loop_takes_as_many_directions_as_fit(bound: float) -> None:
    x = jax.ShapeDtypeStruct((200,), jnp.float64)
    data = jax.ShapeDtypeStruct((300, 200), jnp.float64)
    # the data, 480 kB, are an argument and do not count
    f = lambda x, a: jnp.sum(jnp.sort(jnp.tanh(a @ x)) ** 3)
    plan = nb.plan(f, "diagonal", strategy="columns", memory_bytes=bound)(x, data)
    assert 1 <= plan.choice.chosen.chunk <= 200
    assert plan.choice.chosen.cost.peak <= bound


def test_a_bound_that_nothing_keeps() -> None:
    with pytest.raises(nb.MemoryBoundError) as caught:
        nb.hessian(network, memory_bytes=100.0)(parameters())
    least = min(
        (c for c in nb.plan(network, "hessian")(SHAPES).candidates if c.answer is not None), key=lambda c: c.cost.peak
    )
    text = str(caught.value)
    found = re.fullmatch(
        r"the question 'hessian' was asked with memory_bytes=100; the candidate that holds least, '([a-z-]+)', needs "
        r"about ([\d.e+]+) bytes at once\. Raise the bound to that, ask for less \(of a Hessian a block, "
        r"the diagonal or the trace\), or use nablax\.hvp\.",
        text,
    )
    assert found, text
    needed = float(found[2])
    assert needed <= 1.01 * least.cost.peak
    for factor in (1.01, 1.3, 1.7, 2.5, 4.0):  # the advice works, and so does every looser bound
        plan = nb.plan(network, "hessian", memory_bytes=factor * needed)(SHAPES)
        assert plan.choice.chosen.cost.peak <= factor * needed


# -- dense blocks ------------------------------------------------------------------------------------------


def deep(x: Any) -> Any:
    p = parameters()
    h = x
    for _ in range(3):
        h = h + jnp.tanh(jnp.tanh(h @ p["w2"]) @ p["w2"].T)
    return jnp.mean(jnp.exp(h @ p["w3"]))


def machines(problem: Any) -> dict[str, Any]:
    """The problem on machines on which summing cores never pays, pays as it does, and always pays."""
    rates = problem.rates
    slow = replace(rates, product_flops=1.0, cache_bytes=1.0)
    never = replace(rates, launch_seconds=1e9)
    return {
        name: replace(problem, rates=own) for name, own in {"never": never, "measured": rates, "always": slow}.items()
    }


def blocks(answer: Any) -> int:
    return sum(step.width > 0 for step in answer.steps)


@pytest.mark.parametrize("question", [HESSIAN, DIAGONAL, TRACE], ids=lambda question: question.name)
@pytest.mark.parametrize("shape", [(5,), (3, 5)], ids=["one vector", "a batch"])
def test_dense_blocks_change_no_answer(question: Question, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(5).normal(size=shape)
    answers = {k: legs_backward(p, question) for k, p in machines(pose(deep, [x], [0], scalar="")).items()}
    assert blocks(answers["never"]) == 0 < blocks(answers["always"])
    values = jax.jit(lambda x: [evaluate(list(a.nodes.values()), [x]) for a in answers.values()])(x)
    want = np.asarray(jax.jit(jax.hessian(deep))(x)).reshape(x.size, x.size)
    right = {HESSIAN: want, DIAGONAL: np.diag(want), TRACE: np.trace(want)}[question]
    for [value] in values:
        assert_close(np.reshape(value, np.shape(right)), right)


def test_dense_blocks_in_a_network_of_many_leaves() -> None:
    p = parameters()
    leaves, tree = jax.tree.flatten(p)
    problem = pose(lambda *flat: network(jax.tree.unflatten(tree, flat)), leaves, range(4), scalar="")
    answers = {name: legs_backward(own, DIAGONAL) for name, own in machines(problem).items()}
    assert blocks(answers["never"]) == 0 < blocks(answers["always"])
    nodes = [list(answer.nodes.values()) for answer in answers.values()]
    got = jax.jit(lambda leaves: [evaluate(own, leaves) for own in nodes])(leaves)
    want = jax.hessian(network)(p)
    for own in got:
        for name, value in zip(sorted(p), own, strict=True):
            assert_close(value, np.diag(np.reshape(want[name][name], (p[name].size,) * 2)).reshape(p[name].shape))


def test_a_mixed_answer_is_right() -> None:
    # columns for a small convolution kernel, legs for a large dense layer
    image = np.random.default_rng(3).normal(size=(4, 1, 12, 12))

    def f(p: Any) -> Any:
        h = jax.lax.conv_general_dilated(image, p["kernel"], (2, 2), "SAME")
        return jnp.mean(jnp.tanh(jnp.tanh(h).reshape(4, -1) @ p["dense"]) ** 2)

    p = {"kernel": np.full((1, 1, 2, 2), 0.3), "dense": np.random.default_rng(4).normal(size=(36, 6))}
    want = nb.hessian_diagonal(f, strategy="columns")(p)
    got = nb.hessian_diagonal(f)(p)
    jax.tree.map(assert_close, got, want)


def test_a_mixed_dtype_trace() -> None:
    f = lambda t: jnp.sum(t[0].astype(jnp.float64) ** 2) + jnp.sum(t[1] ** 3)
    t = (np.ones(2, np.float32), np.ones(3))
    for strategy in ("auto", "legs-backward", "legs-forward", "columns"):
        assert_close(nb.laplacian(f, strategy=strategy)(t), 22.0, "float32")
