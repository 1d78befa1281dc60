"""Derivatives of all orders along one direction: Taylor mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nablax.answering import Memory, Options, memory_of, posed
from nablax.calling import ArgNums, Signature, bind, check_vector, positions
from nablax.errors import ArgumentError
from nablax.orders.arguments import check_order
from nablax.planning.question import JACOBIAN
from nablax.sweeps.taylor import taylor

Function = Callable[..., Any]

_PROGRAMS = Memory()


def directional(f: Function, order: int = 1, argnums: ArgNums = 0) -> Function:
    """All derivatives of a function along a direction, up to an order: dʲ/dtʲ f(x + t v) at t = 0 for j = 0, …, order.

    Taylor mode: coefficients of power series go through the function's graph once, so that order k costs O(k²) times
    the function and the program does not grow with nesting. Loops of known length stay loops, branches stay branches,
    matrix functions follow from their differentials; what no row describes is differentiated once by JAX and read
    again.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        order: the highest derivative, at least 1.
        argnums: as in `hessian`, counting the arguments of `f`.

    Returns:
        A function ``(x, v, *rest)`` that returns a tuple of ``order + 1`` trees like the result of `f`: the value, the
        first derivative along `v`, and so on; its index is the order.

    Raises:
        ArgumentError, OutputError, TracingError: as `hvp`; DifferentiationError: an operation has no derivative of that
        order.

    Example:
        >>> import jax.numpy as jnp
        >>> [float(d) for d in directional(jnp.exp, order=3)(0.0, 2.0)]
        [1.0, 2.0, 4.0, 8.0]

    Source:
        Griewank and Walther 2008, chapter 13; Bettencourt, Johnson and Duvenaud 2019.
    """
    highest = check_order("directional", order)
    if not callable(f):
        raise ArgumentError.no_function("directional", f)
    listed = positions("directional", argnums)
    memory = memory_of(f, _PROGRAMS)

    def answered(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            raise ArgumentError(
                f"directional needs the point and the vector, (x, v, *rest); the call has {len(args)} positional "
                "arguments. Pass v second."
            )
        signature, arrays = bind("directional", listed, (args[0], *args[2:]), kwargs)
        vector = check_vector("directional", signature, arrays, args[1])
        key = ("directional", highest, signature)
        return memory.get(f, key, lambda alive: _compiled(alive, signature, highest))(list(arrays), vector)

    answered.__name__ = f"directional_of_{getattr(f, '__name__', 'function')}"
    return answered


def _compiled(alive: Callable[[], Function], signature: Signature, order: int) -> Function:
    def run(arrays: Sequence[Any], vector: Sequence[Any]) -> Any:
        problem = posed("directional", JACOBIAN, alive(), signature, Options(), arrays)
        moved = {leaf: [v] for leaf, v in zip(problem.asked, vector, strict=True)}
        given = [jnp.asarray(x) if hasattr(x, "dtype") or isinstance(x, float) else x for x in arrays]
        found = taylor(problem.graph, problem.outputs, given, moved, order)
        orders = []
        for j in range(order + 1):
            own = [x[j] if j < 2 else x[j] * jnp.asarray(math.factorial(j), x[j].dtype) for x in found]
            orders.append(jax.tree.unflatten(problem.output_tree, own))
        return tuple(orders)

    return jax.jit(run)
