"""nablax on a row, through its public verbs."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

import nablax as nb
from benchmarks.cases import Case
from benchmarks.report import failure
from benchmarks.timing import Contender, compiled, limited

VERBS: dict[str, Callable[..., Any]] = {
    "hessian": nb.hessian,
    "diagonal": nb.hessian_diagonal,
    "trace": nb.laplacian,
    "hvp": nb.hvp,
    "sparse hessian": nb.hessian_sparse,
    "jacobian": nb.jacobian,
    "sparse jacobian": nb.jacobian_sparse,
}


@dataclass(frozen=True)
class Prepared:
    """nablax on a question, with what it took to get there.

    Attributes:
        plan_seconds: the first trace and plan, by `nablax.plan`; None where it failed.
        nodes: of the planned graph.
        contender: None where something failed.
        failure: why.
    """

    plan_seconds: float | None = None
    nodes: int | None = None
    contender: Contender | None = None
    failure: str = ""


def prepare(
    f: Callable[..., Any], question: str, arguments: tuple[Any, ...], limit: float = 600.0, plan: bool = True
) -> Prepared:
    """Plans, traces and compiles; a failure is a result.

    Args:
        f: the function.
        question: a key of `VERBS`.
        arguments: of the verb.
        limit: seconds that the plan may take, or, where it is not made apart, the verb with XLA.
        plan: whether to plan apart before; the verb's own trace is not the first then.
    """
    seconds = nodes = None
    try:
        if plan:
            start = time.perf_counter()
            with limited(limit):
                planned = nb.plan(f, question)(*arguments)
            seconds = time.perf_counter() - start
            nodes = planned.choice.chosen.cost.nodes
        with contextlib.nullcontext() if plan else limited(limit):
            contender = compiled("nablax", VERBS[question](f), arguments)
    except Exception as error:  # shown in the table; the peers are still measured
        return Prepared(seconds, nodes, failure=failure(error))
    return Prepared(seconds, nodes, contender)


def contender(case: Case, arguments: tuple[Any, ...]) -> Contender:
    """The jitted verb that answers the row's question."""
    f = case.function
    match case.question:
        case "hessian":
            return compiled("nablax", nb.hessian(f), arguments)
        case "diagonal":
            return compiled("nablax", nb.hessian_diagonal(f), arguments)
        case "hvp":
            return compiled("nablax", nb.hvp(f), arguments)
        case "trace":
            per_point = jax.vmap(nb.laplacian(f), in_axes=(0, *[None] * (len(arguments) - 1)))
            return compiled("nablax", per_point, arguments)
        case "curvature":

            def both(x: Any, *data: Any) -> tuple[Any, Any]:
                c = nb.curvature(f)(x, *data)
                return c.gradient, c.dense()

            return compiled("nablax", both, arguments)


def plan_seconds(case: Case, arguments: tuple[Any, ...]) -> tuple[float, str]:
    """Trace and plan for the first time; the time it took and the plan as text."""
    question = "hessian" if case.question == "curvature" else case.question
    if case.question == "trace":
        arguments = (arguments[0][0], *arguments[1:])
    if case.question == "hvp":
        arguments = (arguments[0], *arguments[2:])
    start = time.perf_counter()
    plan = nb.plan(case.function, question)(*arguments)
    return time.perf_counter() - start, str(plan)
