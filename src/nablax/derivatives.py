"""The public verbs. Each is a preset of one question, which the planner answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from nablax.answering import Options, answer, memory_of, options, posed
from nablax.calling import ArgNums, bind, check_vector, positions
from nablax.errors import ArgumentError
from nablax.planning.choose import choose
from nablax.planning.explain import Plan
from nablax.planning.question import (
    DIAGONAL,
    DIAGONAL_RECIPE,
    HESSIAN,
    HESSIAN_SPARSE,
    JACOBIAN,
    JACOBIAN_SPARSE,
    PRODUCT,
    QUADRATIC_FORM,
    TRACE,
    Question,
    question_named,
)

Function = Callable[..., Any]


def hessian(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The Hessian, dense, nested like the result of `jax.hessian`.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        argnums: position, or positions, of the differentiated arguments.
        strategy: "auto", "legs-backward", "legs-forward" or "columns"; "rows" is the textbook's way, one gradient of
            the gradient for each row, for comparison.
        memory_bytes: bound on temporaries and results of the compiled program: a number of bytes, or a text such as
            "2 GB". XLA's own figures for the program are held to it; what an outer `vmap` multiplies is not counted.
        calls: how often the answer is expected to be asked; tracing and compiling are weighed against it.
        has_aux: whether `f` returns a pair of which only the first is differentiated; then the answer is a pair too.

    Returns:
        A function of the arguments of `f`. For a result of shape `s` and leaves of shapes `a` and `b` the block has
        shape ``s + a + b``.

    Raises:
        ArgumentError, OutputError, StrategyError, MemoryBoundError, DifferentiationError, TracingError: when
            the returned function is called; the text says what to do.

    Example:
        >>> import jax.numpy as jnp
        >>> hessian(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]))
        Array([[6., 2.],
               [2., 0.]], dtype=float32)

    Source:
        Cores and legs, ``H = sum_k L_k' M_k L_k``; Gower and Mello 2012 for the elimination.
    """
    return _verb("hessian", HESSIAN, f, argnums, strategy, memory_bytes, calls, has_aux)


def hessian_sparse(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The Hessian as a sparse matrix over the ravelled argument.

    The positions follow from the static index maps of the function when it is planned: nothing is detected and nothing
    is coloured. What couples all unknowns is stored in full.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`.
        strategy: "auto" or "legs-backward".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function of the arguments of `f` that returns a `jax.experimental.sparse.BCOO` of shape ``(n, n)``, ``n`` the
        number of unknowns in the order of `jax.flatten_util.ravel_pytree`; no position stands twice.

    Raises:
        As `hessian`; MemoryBoundError where the Hessian of a large function is dense.

    Example:
        >>> import jax.numpy as jnp
        >>> sparse = hessian_sparse(lambda x: jnp.sum((x[1:] - x[:-1]) ** 2))(jnp.ones(3))
        >>> sparse.nse, sparse.todense()
        (7, Array([[ 2., -2.,  0.],
               [-2.,  4., -2.],
               [ 0., -2.,  2.]], dtype=float32))
    """
    return _verb("hessian_sparse", HESSIAN_SPARSE, f, argnums, strategy, memory_bytes, calls, has_aux)


def hessian_diagonal(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The exact diagonal of the Hessian.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`.
        strategy: as in `hessian`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function that returns a tree like the differentiated argument (a tuple of trees for several argnums).

    Raises:
        As `hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> hessian_diagonal(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]))
        Array([6., 0.], dtype=float32)
    """
    return _verb("hessian_diagonal", DIAGONAL, f, argnums, strategy, memory_bytes, calls, has_aux)


def hessian_diagonal_estimate(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The textbook recipe for the diagonal of the Hessian, at the cost of one gradient.

    It keeps second derivatives on the diagonal of each intermediate value and drops the cross terms. The result says
    whether there were any; where there were none it is the diagonal. `hessian_diagonal` is always exact.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`.
        strategy: "auto" or "diagonal-only".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function that returns a `DiagonalEstimate`.

    Raises:
        As `hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> hessian_diagonal_estimate(lambda x: jnp.sum(jnp.sin(x) ** 2))(jnp.zeros(2))
        DiagonalEstimate(estimate=Array([2., 2.], dtype=float32), exact=True)

    Source:
        Becker and LeCun 1988.
    """
    return _verb("hessian_diagonal_estimate", DIAGONAL_RECIPE, f, argnums, strategy, memory_bytes, calls, has_aux)


def laplacian(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The trace of the Hessian.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`; several arguments are traced together.
        strategy: as in `hessian`.
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function that returns a number.

    Raises:
        As `hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> laplacian(lambda x: jnp.sum(x**3))(jnp.array([1.0, 2.0]))
        Array(18., dtype=float32)

    Source:
        Li et al. 2024 (forward Laplacian), one of the candidates.
    """
    return _verb("laplacian", TRACE, f, argnums, strategy, memory_bytes, calls, has_aux)


def hvp(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """Hessian times vector, at the cost of about two gradients.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`, counting the arguments of `f`.
        strategy: "auto" or "vector-first".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function ``(x, v, *rest)``: the vector comes second, the other arguments are those of `f` in order. `v`
        and the result are trees like the differentiated argument.

    Raises:
        As `hessian`; ArgumentError also when `v` does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> hvp(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0]))
        Array([6., 2.], dtype=float32)

    Source:
        Pearlmutter 1994.
    """
    return _verb("hvp", PRODUCT, f, argnums, strategy, memory_bytes, calls, has_aux)


def quadratic_form(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """vᵀ H v: the second derivative along a direction.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`, counting the arguments of `f`.
        strategy: "auto" or "vector-first".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function ``(x, v, *rest)`` that returns a number.

    Raises:
        As `hvp`.

    Example:
        >>> import jax.numpy as jnp
        >>> quadratic_form(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0]))
        Array(10., dtype=float32)
    """
    return _verb("quadratic_form", QUADRATIC_FORM, f, argnums, strategy, memory_bytes, calls, has_aux)


def jacobian(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The Jacobian, dense, nested like the result of `jax.jacobian`.

    Forward, reverse, and reverse that begins anew at a narrow waist are orders of multiplying the chain of local
    Jacobians; the cheapest is taken.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        argnums: as in `hessian`.
        strategy: "auto", "legs-backward" (reverse), "legs-forward" (forward) or "columns".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function of the arguments of `f`. For a result of shape `s` and a leaf of shape `a` the block has shape
        ``s + a``.

    Raises:
        As `hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> jacobian(lambda x: jnp.stack([x[0] * x[1], x[1] ** 2]))(jnp.array([2.0, 3.0]))
        Array([[3., 2.],
               [0., 6.]], dtype=float32)

    Source:
        Griewank and Walther 2008, chapter 10.
    """
    return _verb("jacobian", JACOBIAN, f, argnums, strategy, memory_bytes, calls, has_aux)


def jacobian_sparse(
    f: Function,
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Function:
    """The Jacobian as a sparse matrix, ravelled results by ravelled argument.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        argnums: as in `hessian`.
        strategy: "auto", "legs-backward" or "legs-forward".
        memory_bytes: as in `hessian`.
        calls: as in `hessian`.
        has_aux: as in `hessian`.

    Returns:
        A function of the arguments of `f` that returns a `jax.experimental.sparse.BCOO` of shape ``(m, n)``; no
        position stands twice.

    Raises:
        As `hessian_sparse`.

    Example:
        >>> import jax.numpy as jnp
        >>> sparse = jacobian_sparse(lambda x: x[1:] - x[:-1] ** 2)(jnp.ones(3))
        >>> sparse.nse, sparse.todense()
        (4, Array([[-2.,  1.,  0.],
               [ 0., -2.,  1.]], dtype=float32))
    """
    return _verb("jacobian_sparse", JACOBIAN_SPARSE, f, argnums, strategy, memory_bytes, calls, has_aux)


def plan(
    f: Function,
    question: str = "hessian",
    argnums: ArgNums = 0,
    *,
    order: int | None = None,
    strategy: str = "auto",
    memory_bytes: float | str | None = None,
    calls: int = 100,
    has_aux: bool = False,
) -> Callable[..., Plan]:
    """EXPLAIN: how a question would be answered. Nothing is computed; shapes suffice.

    Args:
        f: the function.
        question: "hessian", "diagonal", "trace", "hvp", "quadratic form", "sparse hessian", "diagonal estimate",
            "jacobian" or "sparse jacobian"; "derivative", "sparse derivative" or "derivative diagonal" with an order.
        argnums: as in `hessian`.
        order: of the derivative, for the questions that are about any order.
        strategy: as in the verb.
        memory_bytes: as in the verb; here the estimate is held to it.
        calls: as in the verb.
        has_aux: as in the verb.

    Returns:
        A function of the arguments of the verb (arrays or `jax.ShapeDtypeStruct`; a vector may be left out) that
        returns a `Plan`, which prints itself.

    Raises:
        As the verb.

    Example:
        >>> import jax
        >>> x = jax.ShapeDtypeStruct((1000,), "float32")
        >>> plan(lambda x: (x**2).sum(), "diagonal")(x).strategy
        'legs-backward'
    """
    asked = question_named(question, order)
    listed = positions("plan", argnums)
    chosen = options("plan", strategy, memory_bytes, calls, has_aux)

    def planned(*args: Any, **kwargs: Any) -> Plan:
        if asked.has_vector and len(args) > 1 and not _takes(f, args, kwargs):
            args = (args[0], *args[2:])
        signature, arrays = bind("plan", listed, args, kwargs)
        problem = posed(f"the question {asked.name!r}", asked, f, signature, chosen, arrays)
        return Plan(choose(problem, asked, chosen.strategy, chosen.memory_bytes))

    return planned


def _takes(f: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function can be called with arguments, the vector left out."""
    try:
        inspect.signature(f).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # a function without a signature
        return True
    return True


# -- calls -----------------------------------------------------------------------------------------


def _verb(
    name: str,
    question: Question,
    f: Function,
    argnums: ArgNums,
    strategy: str,
    memory_bytes: float | str | None,
    calls: int,
    has_aux: bool,
) -> Function:
    return verb(name, question, f, positions(name, argnums), options(name, strategy, memory_bytes, calls, has_aux))


def verb(name: str, question: Question, f: Function, listed: int | tuple[int, ...], chosen: Options) -> Function:
    """The function of the user's arguments that answers a question.

    Args:
        name: of the verb, for messages.
        question: what is asked.
        f: the user's function.
        listed: positions of the differentiated arguments.
        chosen: how it may be answered.

    Returns:
        A function of the arguments of `f`; where the question has a vector it stands second.

    Raises:
        ArgumentError: `f` cannot be called.
    """
    if not callable(f):
        raise ArgumentError.no_function(name, f)
    memory = memory_of(f)

    def answered(*args: Any, **kwargs: Any) -> Any:
        vector: list[Any] = []
        v: Any = None
        if question.has_vector:
            if len(args) < 2:
                raise ArgumentError(
                    f"{name} needs the point and the vector, (x, v, *rest); the call has {len(args)} positional "
                    "arguments. Pass v second."
                )
            v, args = args[1], (args[0], *args[2:])
        signature, arrays = bind(name, listed, args, kwargs)
        if question.has_vector:
            vector = check_vector(name, signature, arrays, v)
        return answer(name, question, f, signature, chosen, arrays, vector, memory)

    answered.__name__ = f"{name}_of_{getattr(f, '__name__', 'function')}"
    return answered
