"""Which inputs a straight-line program depends on, and which pairs it couples, read off its structure.

Two inputs are coupled if the second partial in both is not identically zero. An instruction with arguments u and v
has the second derivative φ_uv du dv; so it couples the inputs that u depends on with those that v depends on. Nothing
is differentiated but the operations, each once. Sets of inputs are bit masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nablax.ops.instruction import Argument, Instruction

Positions = frozenset[int]
Pairs = frozenset[tuple[int, int]]
Moving = Callable[[int], Positions]
Coupling = Callable[[int], Pairs]


def moving_values(inputs: int, instructions: Sequence[Instruction], result: Argument, moving: Moving) -> Positions:
    """Values (inputs and results of instructions) in which the result has a partial that is not zero.

    Args:
        inputs: how many arguments the program has.
        instructions: the program.
        result: the value returned.
        moving: for an instruction, the places among its arguments in which it has a partial.

    Returns:
        The values, the result among them.
    """
    live = {result} if isinstance(result, int) else set()
    for place in range(len(instructions) - 1, -1, -1):
        if inputs + place in live:
            arguments = instructions[place].arguments
            live.update(a for k in moving(place) if isinstance(a := arguments[k], int))
    return frozenset(live)


def coupled_inputs(
    inputs: Sequence[bool], instructions: Sequence[Instruction], live: Positions, moving: Moving, couplings: Coupling
) -> Pairs:
    """Pairs of inputs that some instruction couples.

    Args:
        inputs: for each argument of the program, whether it carries a derivative.
        instructions: the program.
        live: see `moving_values`.
        moving: as there.
        couplings: for an instruction, the pairs of places among its arguments that it couples.

    Returns:
        Pairs (p, q) with p ≤ q.
    """
    depends = [1 << k if real else 0 for k, real in enumerate(inputs)]
    partners: dict[int, int] = {}
    for place, step in enumerate(instructions):
        mask = 0
        for k in moving(place):
            argument = step.arguments[k]
            mask |= depends[argument] if isinstance(argument, int) else 0
        depends.append(mask)
        if len(inputs) + place not in live:
            continue
        for p, q in couplings(place):
            u, v = step.arguments[p], step.arguments[q]
            if isinstance(u, int) and isinstance(v, int):
                for one, other in ((u, v), (v, u)):
                    for k in _bits(depends[one]):
                        partners[k] = partners.get(k, 0) | depends[other]
    return frozenset((p, q) for p, mask in partners.items() for q in _bits(mask >> p << p))


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
