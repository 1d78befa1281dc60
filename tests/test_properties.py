"""Random graphs composed from the rows: every verb and every strategy against jax.hessian.

A graph grows from the argument: each step applies an operation to values that are there already, so that paths part
and meet again. All values end in the result. Shapes are small and awkward on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import TOLERANCE, check_every_verb

Draw = Callable[..., Any]
Shape = tuple[int, ...]
MOST = 12  # elements of a value
STEPS = 6


@dataclass(frozen=True)
class Step:
    """An operation on earlier values.

    Args:
        name: for the report of a failure.
        apply: takes all earlier values.
    """

    name: str
    apply: Callable[[list[Any]], Any]


def unary(draw: Draw, shapes: list[Shape]) -> Step:
    functions = {
        "tanh": jnp.tanh,
        "exp": lambda v: jnp.exp(0.3 * v),
        "square": jnp.square,
        "times itself": lambda v: v * v,
        "sin": jnp.sin,
        "cos": jnp.cos,
        "softplus": jax.nn.softplus,
        "logistic": jax.nn.sigmoid,
        "root": lambda v: jnp.sqrt(1.0 + v**2),
        "where": lambda v: jnp.where(v > 0.1, v**2, jnp.sin(v)),
        "clip": lambda v: jnp.clip(v, -0.7, 0.8) * v,
        "stopped": lambda v: v * jax.lax.stop_gradient(jnp.cos(v)),
        "cube": lambda v: v**3,
    }
    k, name = draw(st.integers(0, len(shapes) - 1)), draw(st.sampled_from(sorted(functions)))
    return Step(f"{name} of {k}", lambda values: functions[name](values[k]))


def binary(draw: Draw, shapes: list[Shape]) -> Step:
    functions = {
        "plus": jnp.add,
        "minus": jnp.subtract,
        "times": jnp.multiply,
        "over": lambda a, b: a / (2.0 + jnp.sin(b)),
        "maximum": jnp.maximum,
        "logaddexp": jnp.logaddexp,
        "arctangent": lambda a, b: jnp.arctan2(a, 2.0 + b**2),
    }
    j = draw(st.integers(0, len(shapes) - 1))
    k = draw(st.sampled_from([k for k, shape in enumerate(shapes) if fits(shapes[j], shape)]))
    name = draw(st.sampled_from(sorted(functions)))
    return Step(f"{j} {name} {k}", lambda values: functions[name](values[j], values[k]))


def fits(a: Shape, b: Shape) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(a, b))) <= MOST
    except ValueError:
        return False


def product(draw: Draw, shapes: list[Shape]) -> Step:
    j = draw(st.integers(0, len(shapes) - 1))
    if not shapes[j]:
        return unary(draw, shapes)
    partners = [k for k, shape in enumerate(shapes) if shape and shape[0] == shapes[j][-1]]
    kind = draw(st.sampled_from(["with another", "with data", "with its transpose", "inner"]))
    if kind == "with another" and partners:
        k = draw(st.sampled_from(partners))
        if int(np.prod(shapes[j][:-1] + shapes[k][1:])) <= MOST:
            return Step(f"{j} dot {k}", lambda values: jnp.tensordot(values[j], values[k], 1))
    if kind == "with its transpose" and shapes[j][0] <= 3:
        axes = (tuple(range(1, len(shapes[j]))),) * 2
        return Step(f"{j} with its transpose", lambda values: jnp.tensordot(values[j], values[j], axes))
    if kind == "inner":
        return Step(f"{j} inner", lambda values: jnp.vdot(values[j], values[j]))
    data = np.random.default_rng(shapes[j][-1]).normal(size=(shapes[j][-1], 2))
    return Step(f"{j} times data", lambda values: (values[j] @ data).reshape(-1)[:MOST])


def reduction(draw: Draw, shapes: list[Shape]) -> Step:
    k = draw(st.integers(0, len(shapes) - 1))
    rank = len(shapes[k])
    axes = tuple(sorted(draw(st.sets(st.integers(0, rank - 1)))) if rank else ())
    full = all(shapes[k][axis] for axis in axes)
    functions = {"sum": jnp.sum, "mean": jnp.mean, "max": jnp.max, "logsumexp": jax.nn.logsumexp}
    name = draw(st.sampled_from(sorted(functions))) if full else "sum"
    keep = draw(st.booleans())
    return Step(f"{name} of {k} over {axes}", lambda values: functions[name](values[k], axis=axes, keepdims=keep))


def move(draw: Draw, shapes: list[Shape]) -> Step:
    k = draw(st.integers(0, len(shapes) - 1))
    shape = shapes[k]
    size = int(np.prod(shape))
    functions: dict[str, Callable[[Any], Any]] = {
        "flat": jnp.ravel,
        "transposed": jnp.transpose,
        "unit axis": lambda v: v[..., None],
        "repeated": lambda v: jnp.broadcast_to(v, (2, *shape)).reshape(-1)[:MOST],
        "empty": lambda v: v.reshape(-1)[:0],
    }
    if shape:
        n = shape[0]
        functions |= {
            "reversed": lambda v: v[::-1],
            "without the first": lambda v: v[1:],
            "every other": lambda v: v[::2],
            "padded": lambda v: jax.lax.pad(v, 0.3, [(1, 0, 0), *[(0, 0, 0)] * (len(shape) - 1)])[: max(n, 1)],
            "spread": lambda v: jax.lax.pad(v.reshape(-1), 0.0, [(1, -1, 1)])[:MOST],
            "rolled": lambda v: jnp.roll(v, 1, 0),
        }
        if n:
            places = np.array(draw(st.lists(st.integers(0, n - 1), max_size=3)), dtype=int)
            functions["gathered"] = lambda v: v[places]
        if size % 2 == 0 and size:
            functions["two rows"] = lambda v: v.reshape(2, -1)
            functions["two columns"] = lambda v: v.reshape(-1, 2)
        if len(shape) == 1 and 0 < n <= 3:
            functions["diagonal matrix"] = jnp.diag
    name = draw(st.sampled_from(sorted(functions)))
    return Step(f"{name} {k}", lambda values: functions[name](values[k]))


def join(draw: Draw, shapes: list[Shape]) -> Step:
    j, k = (draw(st.integers(0, len(shapes) - 1)) for _ in range(2))
    return Step(f"{j} then {k}", lambda values: jnp.concatenate([values[j].ravel(), values[k].ravel()])[:MOST])


def matrix(draw: Draw, shapes: list[Shape]) -> Step:
    k = draw(st.integers(0, len(shapes) - 1))
    size = int(np.prod(shapes[k]))
    if not size:
        return join(draw, shapes)

    def definite(values: list[Any]) -> Any:
        root = jnp.resize(values[k].ravel(), (2, 2))
        return root @ root.T + 2.0 * jnp.eye(2)

    functions = {
        "inverse": lambda m: jnp.linalg.inv(m),
        "log determinant": lambda m: jnp.linalg.slogdet(m)[1],
        "determinant": lambda m: jnp.linalg.det(m) / 10.0,
        "solution": lambda m: jnp.linalg.solve(m, m[0]),
        "Cholesky factor": jnp.linalg.cholesky,
    }
    name = draw(st.sampled_from(sorted(functions)))
    return Step(f"{name} from {k}", lambda values: functions[name](definite(values)))


def left_to_jax(draw: Draw, shapes: list[Shape]) -> Step:
    k = draw(st.integers(0, len(shapes) - 1))
    functions = {
        "cumulated": jnp.cumsum,
        "sorted": jnp.sort,
        "softmax": jax.nn.softmax,
        "scanned": lambda v: jax.lax.scan(lambda c, a: (jnp.tanh(c + a), c * a), 0.5, v)[1],
        "spectrum": lambda v: jnp.abs(jnp.fft.fft(jnp.append(v, 0.7))) ** 2,
        "set": lambda v: jnp.append(v, 1.0).at[0].set(0.5),
    }
    name = draw(st.sampled_from(sorted(functions)))
    if not int(np.prod(shapes[k])):
        name = "spectrum"
    return Step(f"{name} {k}", lambda values: functions[name](jnp.ravel(values[k])))


KINDS = [unary, unary, binary, binary, product, product, reduction, move, move, join, matrix, left_to_jax]


@st.composite
def programs(draw: st.DrawFn, start: Shape) -> list[Step]:
    shapes, steps = [start], []
    for _ in range(draw(st.integers(1, STEPS))):
        step = draw(st.sampled_from(KINDS))(draw, shapes)
        structs = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
        shapes.append(jax.eval_shape(step.apply, structs).shape)
        steps.append(step)
    return steps


def function(steps: list[Step]) -> Callable[[Any], Any]:
    def composed(x: Any) -> Any:
        values = [x]
        for step in steps:
            values.append(step.apply(values))
        ends = [jnp.sum(jnp.sin(v + 0.1 * k)) for k, v in enumerate(values[1:])]
        return sum(ends) + ends[-1] * jnp.sum(x)

    return composed


STARTS: list[Shape] = [(4,), (2, 3), (1,), (), (3, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_every_verb_by_every_strategy(start: Shape) -> None:
    @hypothesis.settings(max_examples=8, phases=[hypothesis.Phase.generate])
    @given(programs(start))
    def composed(steps: list[Step]) -> None:
        hypothesis.note(" ; ".join(step.name for step in steps))
        x = np.random.default_rng(7).uniform(0.2, 1.0, size=start) * np.resize([1.0, -1.0, 1.0], start)
        f = function(steps)
        hypothesis.assume(np.isfinite(jax.jit(jax.hessian(f))(x)).all())
        check_every_verb(f, x, tolerance=10 * TOLERANCE["float64"])

    composed()
