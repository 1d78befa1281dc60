"""From a question and a bound call to a compiled answer, remembered as long as the function lives."""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.calling import Signature, bytes_of
from nablax.errors import ArgumentError
from nablax.graph.evaluate import evaluate
from nablax.planning.choose import Choice, choose, nothing_fits, without
from nablax.planning.question import Ending, Problem, Question, pose
from nablax.planning.run import run

with warnings.catch_warnings():  # it imports scipy.sparse, which sets a filter; the user's stay as they were
    from jax.experimental.sparse import BCOO

Function = Callable[..., Any]

# Candidates compiled at most before a memory bound is given up, and how far over it an estimate may be to be tried.
MOST_COMPILED = 12
SLACK = 1.5


@dataclass(frozen=True, slots=True)
class Options:
    """How a question may be answered.

    Args:
        strategy: "auto" or the name of a strategy.
        memory_bytes: bound on temporaries and results of the compiled program (bytes); None for none.
        calls: how often the answer is expected to be asked.
        has_aux: whether the function returns a pair, of which only the first is differentiated.
    """

    strategy: str = "auto"
    memory_bytes: float | None = None
    calls: int = 100
    has_aux: bool = False


def options(verb: str, strategy: str, memory_bytes: float | str | None, calls: Any, has_aux: bool) -> Options:
    """Options of a verb, checked.

    Raises:
        ArgumentError: a bound that is no number of bytes, a count below one.
    """
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
        raise ArgumentError(f"{verb} got calls={calls!r}; it is a number of calls, at least 1.")
    return Options(strategy, bytes_of(memory_bytes), calls, bool(has_aux))


@partial(jax.tree_util.register_dataclass, data_fields=["estimate"], meta_fields=["exact"])
@dataclass(frozen=True, slots=True)
class DiagonalEstimate:
    """Result of the recipe that drops cross terms.

    Args:
        estimate: a tree like the differentiated argument.
        exact: whether nothing had to be dropped on this function, so that the estimate is the diagonal.
    """

    estimate: Any
    exact: bool


# -- what is remembered ----------------------------------------------------------------------------


class Memory:
    """Values under (function, key), forgotten with the function; functions are told apart by identity.

    A function that closes over values of a surrounding transformation must not outlive it, so that neither the
    function nor anything that holds it may be kept alive from here: values hold it by a weak reference.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], dict[Hashable, Any]]] = {}

    def get(self, function: Function, key: Hashable, make: Callable[[Callable[[], Function]], Any]) -> Any:
        """The value of a key, made at the first call.

        Args:
            function: the user's function.
            key: everything else that the value depends on.
            make: takes a way to reach the function again.

        Returns:
            The value. Methods are not remembered: their object may change. Functions are taken to be pure, as
            `jax.jit` takes them.
        """
        own = id(function)
        try:
            hash(key)
            if inspect.ismethod(function):
                return make(lambda: function)
            if own not in self._known:
                hash(function)  # what cannot be hashed may change, and is not remembered
                forget = partial(_forget, self._known, own)
                self._known[own] = (weakref.ref(function, forget), {})
        except TypeError:
            return make(lambda: function)
        reference, values = self._known[own]
        if key not in values:
            values[key] = make(partial(_alive, reference))
        return values[key]


def _forget(known: dict[int, Any], own: int, reference: Any) -> None:
    known.pop(own, None)


def _alive(reference: weakref.ref[Any]) -> Function:
    function: Function | None = reference()
    if function is None:
        raise AssertionError("a verb holds its function as long as it can be called")
    return function


_ANSWERS = Memory()


class _OfMethod(Memory):
    """Remembers the answers of one bound method."""

    def __init__(self, method: Function) -> None:
        super().__init__()
        self._method = method
        self._values: dict[Any, Any] = {}

    def get(self, function: Function, key: Hashable, make: Callable[[Callable[[], Function]], Any]) -> Any:
        """The value of a key, made at the first call."""
        if key not in self._values:
            self._values[key] = make(lambda: self._method)
        return self._values[key]


def memory_of(function: Function, shared: Memory = _ANSWERS) -> Memory:
    """Where a verb keeps what it has compiled for a function.

    Args:
        function: the user's function.
        shared: for functions that are objects of their own.

    Returns:
        `shared`; for a method a memory of the verb's own. A method's object may change between calls: its answers live
        as long as the verb made from it.
    """
    return _OfMethod(function) if inspect.ismethod(function) else shared


def answer(
    verb: str,
    question: Question,
    function: Function,
    signature: Signature,
    options: Options,
    arrays: Sequence[Any],
    vector: Sequence[Any],
    memory: Memory,
) -> Any:
    """Answer a question about a function at arguments.

    Args:
        verb: the verb's name, for messages.
        question: what is asked.
        function: the user's function.
        signature: the static part of the call.
        options: how it may be answered.
        arrays: the arrays of the call.
        vector: the arrays of the vector, if the question has one.
        memory: where compiled answers are kept.

    Returns:
        The answer in the trees that the user expects; with `has_aux` a pair of it and the second result.
    """
    key: tuple[Hashable, ...] = (verb, question, signature, options)
    if question.ending is Ending.COORDINATES or options.memory_bytes is not None:
        # planned for these shapes, outside of any trace: positions are data of the plan, a bound is checked
        traced = any(isinstance(x, jax.core.Tracer) for x in arrays)
        key = (*key, tuple((np.shape(x), jnp.result_type(x).name) for x in arrays), traced)
    compiled = memory.get(
        function, key, lambda alive: _compiled(verb, question, alive, signature, options, arrays, vector)
    )
    return compiled(list(arrays), list(vector))


def _compiled(
    verb: str,
    question: Question,
    alive: Callable[[], Function],
    signature: Signature,
    options: Options,
    arrays: Sequence[Any],
    vector: Sequence[Any],
) -> Function:
    def planned(given: Sequence[Any]) -> Choice:
        problem = posed(verb, question, alive(), signature, options, given)
        return choose(problem, question, options.strategy, options.memory_bytes, SLACK)

    if question.ending is Ending.COORDINATES:
        return _sparse(planned(arrays), signature, arrays, vector)
    if options.memory_bytes is not None:
        choice = planned(arrays)
        if not choice.problem.captures_tracers:
            return _bounded(choice, signature, arrays, vector)

    def answered(given: Sequence[Any], along: Sequence[Any]) -> Any:
        choice = planned(given)
        return assembled(choice, signature, given, run(choice, (*given, *along)))

    return jax.jit(answered)


def posed(
    verb: str, question: Question, function: Function, signature: Signature, options: Options, arrays: Sequence[Any]
) -> Problem:
    """The traced function of a call."""
    scalar = verb if question.needs_scalar else ""
    problem = pose(
        signature.function(function),
        arrays,
        signature.asked,
        scalar=scalar,
        calls=options.calls,
        has_aux=options.has_aux,
        verb=verb,
    )
    if question.slots is None:
        return problem
    places = [positions for _, positions in _arguments(signature)]
    slots = tuple(places[k] for k in question.slots)
    if question.order == 2:
        return replace(problem, rows=slots[0], columns=slots[1])
    return replace(problem, slots=slots)


def _arguments(signature: Signature) -> list[tuple[Any, tuple[int, ...]]]:
    """The tree of each differentiated argument, and the positions of its leaves."""
    found, start = [], 0
    for tree in signature.asked_tree.children():
        found.append((tree, tuple(range(start, start + tree.num_leaves))))
        start += tree.num_leaves
    return found


def _bounded(choice: Choice, signature: Signature, arrays: Sequence[Any], vector: Sequence[Any]) -> Function:
    """The compiled answer of the first candidate whose program XLA says to stay within the bound."""
    bound = choice.memory_bytes
    assert bound is not None
    # shapes suffice, so that a bound holds under an outer jit as well; a batch of vmap's is the caller's to count
    structs = [[jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x)) for x in own] for own in (arrays, vector)]
    held = 0.0
    for _ in range(MOST_COMPILED):
        compiled = _jitted(choice, signature)
        held = held_bytes(compiled, *structs)
        if held <= bound:
            return compiled
        choice = without(choice, held)
    measured = replace(choice.chosen, cost=replace(choice.chosen.cost, peak=held))
    raise nothing_fits(choice.question, [measured], bound)


def _jitted(choice: Choice, signature: Signature) -> Function:
    return jax.jit(lambda given, along: assembled(choice, signature, given, run(choice, (*given, *along))))


def held_bytes(compiled: Function, *arguments: Any) -> float:
    """Temporaries and results of a jitted function's program, as XLA allocates them (bytes)."""
    jitted: Any = compiled
    analysis = jitted.lower(*arguments).compile().memory_analysis()
    return 0.0 if analysis is None else float(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def _sparse(choice: Choice, signature: Signature, arrays: Sequence[Any], vector: Sequence[Any]) -> Function:
    """Values are computed; where they go is known."""
    answered = choice.chosen.answer
    assert answered is not None
    problem = choice.problem
    columns = problem.size
    rows = columns if choice.question.order == 2 else sum(node.size for node in problem.outputs)
    shape: tuple[int, ...] = (rows, columns)
    with jax.ensure_compile_time_eval():
        if answered.pattern is not None:
            placed, ordered = answered.pattern.pairs(columns), answered.pattern.rises
        else:
            assert answered.positions is not None
            shape = (columns,) * choice.question.order
            placed = jnp.asarray(answered.positions.astype(np.int32))
            ranks = np.lexsort(answered.positions.T[::-1])
            ordered = bool(np.array_equal(ranks, np.arange(ranks.size)))

    def values(given: Sequence[Any], along: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
        [found] = run(choice, (*given, *along)).values()
        return found, tuple(evaluate(problem.aux, given))

    compiled = values if problem.captures_tracers else jax.jit(values)

    def answered_at(given: Sequence[Any], along: Sequence[Any]) -> Any:
        found, aux = compiled(given, along)
        matrix = BCOO((found, placed), shape=shape, indices_sorted=ordered, unique_indices=True)
        return matrix if problem.aux_tree is None else (matrix, jax.tree.unflatten(problem.aux_tree, aux))

    return answered_at


# -- trees -----------------------------------------------------------------------------------------


def assembled(choice: Choice, signature: Signature, arrays: Sequence[Any], values: dict[tuple[int, ...], Any]) -> Any:
    """Values of slots in the trees that the user expects, with the second result of the function if it has one."""
    result = nested(choice, signature, values)
    problem = choice.problem
    if problem.aux_tree is None:
        return result
    return result, jax.tree.unflatten(problem.aux_tree, evaluate(problem.aux, arrays))


def _tensor(question: Question, signature: Signature, values: dict[tuple[int, ...], Any], name: tuple[int, ...]) -> Any:
    """The blocks of a derivative, a tree for each slot, from the first to the last."""
    slot = len(name) - 1
    if slot == question.order:
        return values[name]
    if question.slots is None:
        tree = signature.asked_tree
        places = tuple(range(tree.num_leaves))
    else:
        tree, places = _arguments(signature)[question.slots[slot]]
    return jax.tree.unflatten(tree, [_tensor(question, signature, values, (*name, k)) for k in places])


def nested(choice: Choice, signature: Signature, values: dict[tuple[int, ...], Any]) -> Any:
    tree, count = signature.asked_tree, len(choice.problem.asked)
    outputs = range(len(choice.problem.outputs))
    match choice.question.ending:
        case Ending.DENSE:
            if choice.question.order > 2 or choice.question.along or choice.question.slots is not None:
                blocks = [_tensor(choice.question, signature, values, (k,)) for k in outputs]
            elif choice.question.order == 1:
                blocks = [jax.tree.unflatten(tree, [values[k, b] for b in range(count)]) for k in outputs]
            else:
                rows = [[[values[k, a, b] for b in range(count)] for a in range(count)] for k in outputs]
                blocks = [jax.tree.unflatten(tree, [jax.tree.unflatten(tree, row) for row in own]) for own in rows]
            return jax.tree.unflatten(choice.problem.output_tree, blocks)
        case Ending.DIAGONAL | Ending.PRODUCT:
            return jax.tree.unflatten(tree, [values[(a,)] for a in range(count)])
        case Ending.RECIPE:
            found = choice.chosen.answer
            assert found is not None
            kept = jax.tree.unflatten(tree, [values[(a,)] for a in range(count)])
            return DiagonalEstimate(kept, found.exact)
        case Ending.TRACE:
            parts = [values[(a,)] for a in range(count)]
            return sum(parts[1:], start=parts[0])
        case _:
            return values[()]
