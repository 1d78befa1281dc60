"""The verbs of order k: the symmetric tensor of all k-th derivatives, its diagonal, blocks, nonzeros, contractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nablax.answering import answer, memory_of, options
from nablax.calling import ArgNums, bind, check_vector, positions
from nablax.derivatives import verb
from nablax.errors import ArgumentError
from nablax.orders.arguments import check_order
from nablax.planning.question import Ending, of_order

Function = Callable[..., Any]


def derivative(
    f: Function,
    order: int = 1,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The derivative of any order: the symmetric tensor of all partial derivatives of that order.

    The terms of the Hessian are differentiated as they stand, so that what is separable, banded or of low rank stays
    so; a loop of derivatives along unit vectors is the other candidate. `nablax.plan(f, "derivative", order=k)` shows
    both, and the count O(m n^(k-1)) of repetition against what symmetry and structure leave.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        order: at least 1; 1 is the Jacobian, 2 the Hessian.
        argnums: as in `hessian`.
        strategy: "auto", "legs-backward", "legs-forward" or "columns".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function of the arguments of `f`. For a result of shape `s` and leaves of shapes `a`, `b`, `c` the block of
        order three has shape ``s + a + b + c``; trees are nested as those of `jax.hessian`.

    Raises:
        As `hessian`; ArgumentError where the order is no number from 1 on; MemoryBoundError where the dense tensor is
        larger than any memory.

    Example:
        >>> import jax.numpy as jnp
        >>> derivative(lambda x: x[0] ** 2 * x[1], order=3)(jnp.array([1.0, 3.0]))
        Array([[[0., 2.],
                [2., 0.]],
        <BLANKLINE>
               [[2., 0.],
                [0., 0.]]], dtype=float32)

    Source:
        Griewank and Walther 2008, chapter 13; Faà di Bruno 1857 for the partitions that the product rule makes.
    """
    chosen = options("derivative", strategy, memory_bytes, calls, has_aux)
    return verb("derivative", of_order(check_order("derivative", order)), f, positions("derivative", argnums), chosen)


def derivative_diagonal(
    f: Function,
    order: int = 2,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The diagonal of the derivative of an order: ∂ᵏf/∂x_iᵏ for every unknown.

    Args:
        f: function with one number as result.
        order: at least 2.
        argnums: as in `hessian`.
        strategy: as in `derivative`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function that returns a tree like the differentiated argument.

    Raises:
        As `derivative`.

    Example:
        >>> import jax.numpy as jnp
        >>> derivative_diagonal(lambda x: jnp.sum(x**4), order=3)(jnp.array([1.0, 2.0]))
        Array([24., 48.], dtype=float32)
    """
    least = check_order("derivative_diagonal", order, least=2)
    chosen = options("derivative_diagonal", strategy, memory_bytes, calls, has_aux)
    listed = positions("derivative_diagonal", argnums)
    return verb("derivative_diagonal", of_order(least, Ending.DIAGONAL), f, listed, chosen)


def derivative_sparse(
    f: Function,
    order: int = 2,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The derivative of an order as a sparse tensor over the ravelled argument.

    The positions follow from the static index maps of the function, as in `hessian_sparse`: a separable or banded
    function of n unknowns takes time and memory linear in n at every order.

    Args:
        f: function with one number as result.
        order: at least 1.
        argnums: as in `hessian`.
        strategy: as in `hessian_sparse`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function that returns a `jax.experimental.sparse.BCOO` of shape ``(n,) * order`` (``(1, n)`` for order 1), all
        permutations of a position listed; no position stands twice.

    Raises:
        As `derivative`; MemoryBoundError where the derivative of a large function is dense.

    Example:
        >>> import jax.numpy as jnp
        >>> sparse = derivative_sparse(lambda x: jnp.sum(x[1:] * x[:-1] ** 2), order=3)(jnp.ones(1000))
        >>> sparse.shape, sparse.nse
        ((1000, 1000, 1000), 2997)
    """
    found = of_order(check_order("derivative_sparse", order), Ending.COORDINATES)
    chosen = options("derivative_sparse", strategy, memory_bytes, calls, has_aux)
    return verb("derivative_sparse", found, f, positions("derivative_sparse", argnums), chosen)


def derivative_block(
    f: Function,
    argnums: Sequence[int],
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """One block of a derivative: the partial derivative in the named arguments, one after the other.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        argnums: the argument of each slot; ``(0, 0, 1)`` is ∂³f/∂x∂x∂y. Their number is the order.
        strategy: as in `derivative`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function of the arguments of `f`; for a result of shape `s` and arguments of shapes `a` and `b` the block of
        ``(0, 0, 1)`` has shape ``s + a + a + b``.

    Raises:
        As `derivative`.

    Example:
        >>> import jax.numpy as jnp
        >>> derivative_block(lambda x, y: x**3 * y**2, (0, 0, 1))(2.0, 5.0)
        Array(120., dtype=float32)
    """
    listed = positions("derivative_block", argnums)
    if isinstance(listed, int) or not listed:
        raise ArgumentError(
            f"derivative_block was asked for argnums={argnums!r}. Give the position of the argument of each slot, "
            "for example (0, 0, 1)."
        )
    each = tuple(sorted(set(listed)))
    slots = tuple(each.index(k) for k in listed)
    question = of_order(len(listed))
    if len(listed) > 1:
        question = replace(question, slots=slots)
    chosen = options("derivative_block", strategy, memory_bytes, calls, has_aux)
    return verb("derivative_block", question, f, each if len(listed) > 1 else each[0], chosen)


def derivative_along(
    f: Function,
    order: int = 2,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The derivative of an order contracted with vectors in some of its slots: T[v, w, ·].

    Slots that are contracted cost a small multiple of the function, whatever the number of unknowns; only the slots
    that stay open cost as much as a derivative of their number.

    Args:
        f: function with one number as result.
        order: at least 1.
        argnums: as in `hessian`.
        strategy: "auto", "vector-first" (at most one slot open), or as in `derivative`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function ``(x, vectors, *rest)``: `vectors` is a sequence of at least one and at most `order` trees like the
        differentiated argument. The result is a number where all slots are contracted, else the tensor of the slots
        that are left.

    Raises:
        As `derivative`; ArgumentError also when the vectors do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> x, v = jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])
        >>> third = derivative_along(lambda x: x[0] ** 2 * x[1], order=3)
        >>> third(x, [v, v])
        Array([0., 2.], dtype=float32)
    """
    asked = check_order("derivative_along", order)
    listed = positions("derivative_along", argnums)
    chosen = options("derivative_along", strategy, memory_bytes, calls, has_aux)
    if not callable(f):
        raise ArgumentError.no_function("derivative_along", f)
    memory = memory_of(f)

    def answered(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 or not isinstance(args[1], Sequence) or isinstance(args[1], str):
            raise ArgumentError(
                "derivative_along needs the point and a list of vectors, (x, [v, …], *rest). Pass the list second."
            )
        vectors = args[1]
        if not 1 <= len(vectors) <= asked:
            raise ArgumentError(
                f"derivative_along of order {asked} got {len(vectors)} vectors. Give at least one and at most {asked}; "
                "without vectors it is nablax.derivative."
            )
        signature, arrays = bind("derivative_along", listed, (args[0], *args[2:]), kwargs)
        flat = [x for v in vectors for x in check_vector("derivative_along", signature, arrays, v)]
        question = of_order(asked - len(vectors), along=len(vectors))
        return answer("derivative_along", question, f, signature, chosen, arrays, flat, memory)

    return answered
