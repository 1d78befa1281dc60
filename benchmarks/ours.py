"""nablax on a row, through its public verbs."""

import time
from typing import Any

import jax

import nablax as nb
from benchmarks.cases import Case
from benchmarks.timing import Contender, compiled


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
