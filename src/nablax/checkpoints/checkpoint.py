"""`nablax.checkpoint`: the same function, whose reverse mode keeps no more than a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.answering import Memory
from nablax.calling import bytes_of
from nablax.checkpoints.chain import Chain, chain_of, load, size_of
from nablax.checkpoints.schedule import Found, Keep, Schedule, Split, least, schedule, stretches
from nablax.errors import NEEDS_A_VALUE, ArgumentError, MemoryBoundError, TracingError
from nablax.ops.jaxprs import Loop, Variable, trace
from nablax.planning.rates import current_rates

Function = Callable[..., Any]

_PLANS = Memory()


@dataclass(frozen=True, slots=True)
class Piece:
    """A loop that is taken in pieces.

    Args:
        operation: its place in the chain.
        length: number of turns.
        turns: of a piece.
        held: bytes that reverse mode keeps of it.
    """

    operation: int
    length: int
    turns: int
    held: float


@dataclass(frozen=True, eq=False)
class CheckpointPlan:
    """What is kept and what is computed again.

    Args:
        chain: the operations of the function.
        found: the schedule.
        bound: bytes that may be kept.
        before: bytes that reverse mode would keep of the function as it stands.
        loops: those that are taken in pieces.
    """

    chain: Chain
    found: Found
    bound: float
    before: float
    loops: tuple[Piece, ...] = ()

    @property
    def after(self) -> float:
        """Bytes that reverse mode keeps with the schedule."""
        return self.found.kept

    @property
    def again(self) -> float:
        """What is computed again, as a share of one evaluation."""
        return self.found.again / max(sum(one.seconds for one in self.chain.operations), 1e-30)

    def __str__(self) -> str:
        lines = [
            f"reverse mode keeps   {_bytes(self.before)} as the function stands, {_bytes(self.after)} with checkpoints",
            f"bound                {_bytes(self.bound)}",
            f"computed again       {self.again:.2f} of one evaluation",
        ]
        for one in self.loops:
            line = self.chain.operations[one.operation].equation.line
            where = f"   # {line}" if line else ""
            lines.append(f"loop                 {one.length} turns in pieces of {one.turns}{where}")
        for start, stop, times in stretches(self.found.schedule):
            how = "kept" if not times else f"computed again {times} time{'' if times == 1 else 's'}"
            last = self.chain.operations[stop - 1] if stop > start else None
            where = f"   # to {last.equation.line}" if last is not None and last.equation.line else ""
            lines.append(f"operations {start:>4} to {stop:<4} {how}{where}")
        return "\n".join(lines)

    __repr__ = __str__


def checkpoint(f: Function, memory_bytes: float | str) -> Function:
    """The same function, whose reverse mode keeps no more than a bound and computes the rest again.

    The function's operations form a chain. What JAX's reverse mode keeps of each is asked of JAX; a dynamic programme
    over cuts of the chain finds the schedule with the least recomputation, nested where one level does not suffice;
    JAX's own `jax.checkpoint` does the work. A loop (`jax.lax.scan`) that alone keeps more than the bound allows is
    taken in pieces.

    Args:
        f: any function that JAX can differentiate.
        memory_bytes: bound on what reverse mode keeps between the forward and the backward pass: bytes, or a text such
            as "200 MB". Arguments, results and the work space of single operations are not counted.

    Returns:
        A function of the same arguments with the same value. Its `plan(*args)` shows what is kept before and after; it
        composes with `grad`, `vmap`, `jit`, `scan`, and with every verb of nablax. (On CPU, XLA before JAX 0.12
        computes at once what `jax.checkpoint` wants computed late, so that nothing is saved there.)

    Raises:
        ArgumentError: no bound; MemoryBoundError, when called: no schedule keeps so little, with what would suffice.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def deep(x):
        ...     for _ in range(16):
        ...         x = jnp.sin(x)
        ...     return x.sum()
        >>> light = checkpoint(deep, 16e3)
        >>> plan = light.plan(jnp.ones(1000))
        >>> plan.before, plan.after <= 16e3
        (60000.0, True)
        >>> bool(jnp.allclose(jax.grad(light)(jnp.ones(3)), jax.grad(deep)(jnp.ones(3))))
        True

    Source:
        Griewank and Walther 2008, chapter 12; Beaumont, Herrmann, Pallez and Shilova 2019 for chains of unequal parts.
    """
    if not callable(f):
        raise ArgumentError.no_function("checkpoint", f)
    bound = bytes_of(memory_bytes)
    if bound is None:
        raise ArgumentError("checkpoint needs memory_bytes, the bound on what reverse mode keeps (bytes, or '200 MB').")

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        call = _Call(f, args, kwargs)
        plan = _planned(f, call, bound)
        values: dict[Variable, Any] = dict(zip(plan.chain.inputs, call.arrays, strict=True))
        values.update(plan.chain.constants)
        _run(plan.chain, plan.found.schedule, values)
        outputs = [load(values, v) for v in plan.chain.outputs]
        return jax.tree.unflatten(call.result, outputs)

    def plan_of(*args: Any, **kwargs: Any) -> CheckpointPlan:
        return _planned(f, _Call(f, args, kwargs), bound)

    checkpointed.__name__ = f"checkpointed_{getattr(f, '__name__', 'function')}"
    checkpointed.plan = plan_of  # type: ignore[attr-defined]
    return checkpointed


class _Call:
    """A call split into arrays and what is static, and the trace of it."""

    def __init__(self, f: Function, args: Any, kwargs: Any) -> None:
        leaves, tree = jax.tree.flatten((args, kwargs))
        moving = [hasattr(x, "dtype") or isinstance(x, float | complex) for x in leaves]
        self.arrays = [x for x, moves in zip(leaves, moving, strict=True) if moves]
        results: list[Any] = []

        def flat(*arrays: Any) -> list[Any]:
            waiting = iter(arrays)
            given = [next(waiting) if moves else x for x, moves in zip(leaves, moving, strict=True)]
            own, named = jax.tree.unflatten(tree, given)
            found, result = jax.tree.flatten(f(*own, **named))
            results.append(result)
            return [jnp.asarray(x) for x in found]

        try:
            self.program = trace(flat, self.arrays)
        except NEEDS_A_VALUE as error:
            raise TracingError.of(error) from error
        self.result = results[0]
        fixed = tuple((x, type(x)) for x, moves in zip(leaves, moving, strict=True) if not moves)
        self.key = (tree, fixed, tuple((v.shape, v.dtype.name) for v in self.program.inputs))


def _planned(f: Function, call: _Call, bound: float) -> CheckpointPlan:
    chain = chain_of(call.program, current_rates())
    before, loops, found = _PLANS.get(f, (bound, call.key), lambda _: _scheduled(chain, bound))
    return CheckpointPlan(_with_pieces(chain, loops), found, bound, before, loops)


def _scheduled(chain: Chain, bound: float) -> tuple[float, tuple[Piece, ...], Found]:
    before = sum(_kept_alone(chain))
    loops = _in_pieces(chain, bound)
    whole = _with_pieces(chain, loops)
    found = schedule(whole, bound)
    if found is None:
        raise MemoryBoundError(
            f"checkpoint was asked to keep at most {_bytes(bound)}; no schedule keeps less than about "
            f"{_bytes(least(whole))} of this function, which keeps {_bytes(before)} as it stands. Raise the bound to "
            "that."
        )
    return before, loops, found


def _kept_alone(chain: Chain) -> list[float]:
    """Bytes that reverse mode keeps of each operation, none counted twice."""
    seen: set[Variable] = set()
    found = []
    for one in chain.operations:
        own = {v for v in one.saved if v in chain.made} - seen
        seen |= own
        found.append(one.fresh + sum(map(size_of, own)))
    return found


def _run(chain: Chain, found: Schedule, values: dict[Variable, Any]) -> None:
    match found:
        case Keep(start, stop):
            chain.run(values, start, stop)
        case Split(first, rest):
            start, stop = _ends(first)
            read, made = chain.crossing(start, stop)

            def stretch(*given: Any) -> list[Any]:
                own = dict(zip(read, given, strict=True))
                _run(chain, first, own)
                return [own[v] for v in made]

            values.update(zip(made, jax.checkpoint(stretch)(*(values[v] for v in read)), strict=True))
            _run(chain, rest, values)


def _ends(found: Schedule) -> tuple[int, int]:
    if isinstance(found, Keep):
        return found.start, found.stop
    return _ends(found.first)[0], _ends(found.rest)[1]


# -- loops -----------------------------------------------------------------------------------------


def _in_pieces(chain: Chain, bound: float) -> tuple[Piece, ...]:
    """Loops that keep more than half of the bound, in pieces each of which is computed again."""
    loops = []
    for k, one in enumerate(chain.operations):
        loop = one.equation.loop
        if loop is None or one.fresh <= bound / 2:
            continue
        carried = sum(size_of(v) for v in loop.body.inputs[loop.constants : loop.constants + loop.carried])
        turn = one.fresh / max(loop.length, 1)
        pieces = [c for c in range(1, loop.length + 1) if loop.length % c == 0]
        piece = min(pieces, key=lambda c: loop.length / c * carried + c * turn)
        held = loop.length / piece * carried + piece * turn
        if held >= one.fresh:
            continue
        loops.append(Piece(k, loop.length, piece, held))
    return tuple(loops)


def _with_pieces(chain: Chain, loops: Sequence[Piece]) -> Chain:
    operations = list(chain.operations)
    for one in loops:
        whole = operations[one.operation]
        loop = whole.equation.loop
        assert loop is not None
        operations[one.operation] = replace(whole, apply=partial(_taken, loop, one.turns), held=one.held)
    return replace(chain, operations=tuple(operations))


def _taken(loop: Loop, piece: int, *inputs: Any) -> list[Any]:
    """A loop of pieces, each a loop whose turns are computed again when it is reversed."""
    constants = inputs[: loop.constants]
    carried = list(inputs[loop.constants : loop.constants + loop.carried])
    count = loop.length // piece
    stacked = [jnp.reshape(x, (count, piece, *np.shape(x)[1:])) for x in inputs[loop.constants + loop.carried :]]

    def turn(carry: Sequence[Any], slices: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        found = loop.body.apply(*constants, *carry, *slices)
        return found[: loop.carried], found[loop.carried :]

    @jax.checkpoint
    def some(carry: Sequence[Any], slices: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        found: tuple[list[Any], list[Any]] = jax.lax.scan(
            turn, list(carry), list(slices), length=piece, reverse=loop.reverse
        )
        return found

    last, out = jax.lax.scan(some, carried, stacked, length=count, reverse=loop.reverse)
    return [*last, *(jnp.reshape(x, (loop.length, *x.shape[2:])) for x in out)]


def _bytes(value: float) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{math.ceil(value)} B"
