"""Long straight-line programs in parts: what a compiler takes as one loop stays small.

XLA makes one loop body of all elementwise operations that hang together, and the time to compile a body grows faster
than its length: 1,000 links of a chain with their first and second derivatives took more than two minutes. Cut by
barriers, the parts are compiled one by one. What stands on both sides of a cut is an array in memory; so the operations
are ordered first, such that few values are held at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nablax.ops.instruction import Argument, Instruction

LONGEST = 128  # operations in one part; on a CPU, loading and storing a few values is small beside computing so many


@dataclass(frozen=True, slots=True)
class Part:
    """Operations that are evaluated one after the other.

    Args:
        places: of the instructions, in order of evaluation.
        held: values (inputs and results of instructions) made by instructions before its end, and used after it.
    """

    places: tuple[int, ...]
    held: tuple[int, ...]


def parts(inputs: int, instructions: Sequence[Instruction], result: Argument) -> tuple[Part, ...]:
    """A program in parts of at most `LONGEST` operations.

    Args:
        inputs: how many arguments the program has.
        instructions: the program.
        result: the value returned.

    Returns:
        The parts, in order of evaluation; one if the program is short.
    """
    if len(instructions) <= LONGEST:
        return (Part(tuple(range(len(instructions))), ()),)
    order = _ordered(inputs, instructions, result)
    last = {a: k for k, place in enumerate(order) for a in instructions[place].arguments if isinstance(a, int)}
    found = []
    alive: list[int] = []
    for start in range(0, len(order), LONGEST):
        own = order[start : start + LONGEST]
        end = start + len(own)
        alive = [value for value in (*alive, *(inputs + place for place in own)) if last.get(value, -1) >= end]
        found.append(Part(tuple(own), tuple(alive)))
    return tuple(found)


def _ordered(inputs: int, instructions: Sequence[Instruction], result: Argument) -> list[int]:
    """The needed instructions, each after what it reads, first what most of the program has to come before.

    The derivative of a chain goes up beside its value in this way, and a link is forgotten once the next is reached; in
    the order in which the sweep wrote them, all values come first and are held until the derivative reaches them.
    """
    before = _numbers_before(inputs, instructions)
    done: set[int] = set()
    order: list[int] = []
    waiting = [result] if isinstance(result, int) else []
    while waiting:
        value = waiting[-1]
        if value < inputs or value in done:
            waiting.pop()
            continue
        read = {a for a in instructions[value - inputs].arguments if isinstance(a, int) and a >= inputs} - done
        if read:
            waiting += sorted(read, key=lambda a: before[a - inputs])
        else:
            done.add(value)
            order.append(value - inputs)
            waiting.pop()
    return order


def _numbers_before(inputs: int, instructions: Sequence[Instruction]) -> list[int]:
    """For each instruction, how many have to come before it: counted in bit masks, forgotten after their last use."""
    last = {a: place for place, step in enumerate(instructions) for a in step.arguments if isinstance(a, int)}
    needs: dict[int, int] = {}
    counts = []
    for place, step in enumerate(instructions):
        read = {a for a in step.arguments if isinstance(a, int) and a >= inputs}
        own = 0
        for a in read:
            own |= needs[a] | 1 << (a - inputs)
        counts.append(own.bit_count())
        needs[inputs + place] = own
        for a in read:
            if last[a] == place:
                del needs[a]
    return counts
