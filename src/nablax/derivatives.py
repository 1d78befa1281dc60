"""The public verbs. Each builds one question and lets the planner answer it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from nablax.calling import ArgNums, Same, Signature, bind, check_vector
from nablax.errors import ArgumentError
from nablax.graph.evaluate import evaluate
from nablax.planning.choose import Choice, choose
from nablax.planning.explain import Plan
from nablax.planning.question import Question, pose, question_named
from nablax.planning.run import run
from nablax.planning.strategies import diagonal_only

Function = Callable[..., Any]


class DiagonalEstimate(NamedTuple):
    """Result of the recipe that drops cross terms.

    Args:
        estimate: a tree like the differentiated argument.
        exact: whether nothing had to be dropped on this function, so that the estimate is the diagonal.
    """

    estimate: Any
    exact: bool


def hessian(
    f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None
) -> Function:
    """The Hessian, dense, nested like the result of `jax.hessian`.

    Args:
        f: function of arrays (or trees of arrays) with any float result.
        argnums: position, or positions, of the differentiated arguments.
        strategy: "auto", "legs-backward", "legs-forward" or "columns".
        memory_bytes: bound on the peak of intermediate arrays (bytes).

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
    return _verb("hessian", Question.HESSIAN, f, argnums, strategy, memory_bytes)


def hessian_diagonal(
    f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None
) -> Function:
    """The exact diagonal of the Hessian.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`.
        strategy: as in `hessian`, or "diagonal-only": the recipe that costs one gradient and drops cross terms;
            then the result is a `DiagonalEstimate`, which says whether anything was dropped.
        memory_bytes: as in `hessian`.

    Returns:
        A function that returns a tree like the differentiated argument (a tuple of trees for several argnums).

    Raises:
        As `hessian`.

    Example:
        >>> import jax.numpy as jnp
        >>> hessian_diagonal(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]))
        Array([6., 0.], dtype=float32)
    """
    if strategy == "diagonal-only":
        return _diagonal_only(f, argnums)
    return _verb("hessian_diagonal", Question.DIAGONAL, f, argnums, strategy, memory_bytes)


def laplacian(
    f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None
) -> Function:
    """The trace of the Hessian.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`; several arguments are traced together.
        strategy: as in `hessian`.
        memory_bytes: as in `hessian`.

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
    return _verb("laplacian", Question.TRACE, f, argnums, strategy, memory_bytes)


def hvp(f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None) -> Function:
    """Hessian times vector, at the cost of about two gradients.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`, counting the arguments of `f`.
        strategy: "auto" or "vector-first".
        memory_bytes: as in `hessian`.

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
    return _verb("hvp", Question.PRODUCT, f, argnums, strategy, memory_bytes)


def quadratic_form(
    f: Function, argnums: ArgNums = 0, *, strategy: str = "auto", memory_bytes: float | None = None
) -> Function:
    """vᵀ H v: the second derivative along a direction.

    Args:
        f: function with one number as result.
        argnums: as in `hessian`, counting the arguments of `f`.
        strategy: "auto" or "vector-first".
        memory_bytes: as in `hessian`.

    Returns:
        A function ``(x, v, *rest)`` that returns a number.

    Raises:
        As `hvp`.

    Example:
        >>> import jax.numpy as jnp
        >>> quadratic_form(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0]))
        Array(10., dtype=float32)
    """
    return _verb("quadratic_form", Question.QUADRATIC_FORM, f, argnums, strategy, memory_bytes)


def plan(
    f: Function,
    question: str = "hessian",
    argnums: ArgNums = 0,
    *,
    strategy: str = "auto",
    memory_bytes: float | None = None,
) -> Callable[..., Plan]:
    """EXPLAIN: how a question would be answered. Nothing is computed; shapes suffice.

    Args:
        f: the function.
        question: "hessian", "diagonal", "trace", "hvp" or "quadratic form".
        argnums: as in `hessian`.
        strategy: as in the verb.
        memory_bytes: as in the verb.

    Returns:
        A function of the arguments of `f` (arrays or `jax.ShapeDtypeStruct`; no vector) that returns a `Plan`,
        which prints itself.

    Raises:
        As the verb.

    Example:
        >>> import jax
        >>> x = jax.ShapeDtypeStruct((1000,), "float32")
        >>> plan(lambda x: (x**2).sum(), "diagonal")(x).strategy
        'legs-backward'
    """
    asked = question_named(question)

    def planned(*args: Any, **kwargs: Any) -> Plan:
        scalar = f"the question {asked.value!r}" if asked.needs_scalar else ""
        signature, arrays = bind("plan", argnums, args, kwargs)
        problem = pose(signature.function(f), arrays, signature.asked, scalar=scalar)
        return Plan(choose(problem, asked, strategy, memory_bytes))

    return planned


# -- calls -----------------------------------------------------------------------------------------


def _verb(
    name: str, question: Question, f: Function, argnums: ArgNums, strategy: str, memory_bytes: float | None
) -> Function:
    if not callable(f):
        raise ArgumentError(f"{name} needs a function; it got a {type(f).__name__}. Pass the function itself.")
    listed = argnums if isinstance(argnums, int) else tuple(argnums)
    # A method's object may change between calls; its answers live as long as the verb made from it. Functions are
    # taken to be pure, as jax.jit takes them.
    prepare = lru_cache(maxsize=64)(_prepare) if inspect.ismethod(f) else _cached
    has_vector = question in (Question.PRODUCT, Question.QUADRATIC_FORM)

    def answered(*args: Any, **kwargs: Any) -> Any:
        vector: list[Any] = []
        v: Any = None
        if has_vector:
            if len(args) < 2:
                raise ArgumentError(
                    f"{name} needs the point and the vector, (x, v, *rest); the call has {len(args)} positional "
                    "arguments. Pass v second."
                )
            v, args = args[1], (args[0], *args[2:])
        signature, arrays = bind(name, listed, args, kwargs)
        if has_vector:
            vector = check_vector(name, signature, arrays, v)
        compiled = _compiled(prepare, name, question, f, signature, strategy, memory_bytes)
        return compiled(arrays, vector)

    answered.__name__ = f"{name}_of_{getattr(f, '__name__', 'function')}"
    return answered


def _compiled(
    prepare: Callable[..., Function],
    name: str,
    question: Question,
    f: Function,
    signature: Signature,
    strategy: str,
    memory_bytes: float | None,
) -> Function:
    try:
        return prepare(name, question, Same(f), signature, strategy, memory_bytes)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _prepare(name, question, Same(f), signature, strategy, memory_bytes)


def _prepare(
    name: str,
    question: Question,
    f: Same,
    signature: Signature,
    strategy: str,
    memory_bytes: float | None,
) -> Function:
    """The compiled answer for one function and one signature; shapes are told apart by JAX."""

    def answer(arrays: Sequence[Any], vector: Sequence[Any]) -> Any:
        scalar = name if question.needs_scalar else ""
        problem = pose(signature.function(f.function), arrays, signature.asked, scalar=scalar)
        choice = choose(problem, question, strategy, memory_bytes)
        return assembled(choice, signature, run(choice, (*arrays, *vector)))

    return jax.jit(answer)


_cached = lru_cache(maxsize=512)(_prepare)


def assembled(choice: Choice, signature: Signature, values: dict[tuple[int, ...], Any]) -> Any:
    """Values of slots in the trees that the user expects."""
    tree, count = signature.asked_tree, len(choice.problem.asked)
    match choice.question:
        case Question.HESSIAN:
            blocks = [
                jax.tree.unflatten(
                    tree,
                    [jax.tree.unflatten(tree, [values[output, a, b] for b in range(count)]) for a in range(count)],
                )
                for output in range(len(choice.problem.outputs))
            ]
            return jax.tree.unflatten(choice.problem.output_tree, blocks)
        case Question.DIAGONAL | Question.PRODUCT:
            return jax.tree.unflatten(tree, [values[(a,)] for a in range(count)])
        case Question.TRACE:
            parts = [values[(a,)] for a in range(count)]
            return sum(parts[1:], start=parts[0])
        case Question.QUADRATIC_FORM:
            return values[()]


def _diagonal_only(f: Function, argnums: ArgNums) -> Function:
    def estimated(*args: Any, **kwargs: Any) -> DiagonalEstimate:
        signature, arrays = bind("hessian_diagonal", argnums, args, kwargs)
        problem = pose(signature.function(f), arrays, signature.asked, scalar="hessian_diagonal")
        answer, exact = diagonal_only(problem)
        nodes = list(answer.direct.nodes.values())
        values = jax.jit(lambda flat: evaluate(nodes, flat))(arrays)
        return DiagonalEstimate(jax.tree.unflatten(signature.asked_tree, values), exact)

    return estimated
