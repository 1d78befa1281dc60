"""Restricted Boltzmann machines."""

from __future__ import annotations

from nablax.neural.arguments import counted
from nablax.neural.boltzmann import Boltzmann


def restricted_boltzmann(
    visible: int, hidden: int, states: tuple[int, int] = (0, 1), temperature: float = 1.0, *, biases: bool = True
) -> Boltzmann:
    """A restricted machine: weights between visible and hidden units only.

    Args:
        visible: number of visible units, which are numbered first.
        hidden: number of hidden units, which follow.
        states: as in `Boltzmann`.
        temperature: as in `Boltzmann`.
        biases: whether one more unit, the last, is always on.

    Returns:
        A `Boltzmann` with two groups: the smaller one is enumerated, and Gibbs sampling draws a whole group at once.

    Raises:
        ArgumentError: as `Boltzmann`.

    Example:
        >>> restricted_boltzmann(3, 2, biases=False)
        Boltzmann(5 units of 0 or 1, T = 1, 6 weights)

    Source:
        Smolensky 1986 ("harmonium").
    """
    counted("restricted_boltzmann", "visible", visible)
    counted("restricted_boltzmann", "hidden", hidden)
    n = visible + hidden
    first, second = range(visible), range(visible, n)
    on = [n] if biases else []
    return Boltzmann(
        n + len(on), states, temperature, visible=list(first), always_on=on, groups=[list(first), list(second)]
    )
