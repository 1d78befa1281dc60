"""The last values of a way that may go uphill, and the way back to its best point."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp

# Values of the last points, of which the highest may serve as the reference; and points in a row that may be higher
# than the best one.
REMEMBERED = 5


class Past(eqx.Module):
    """The values of the last points, and the best point of all.

    A curved valley is left by short cuts that go uphill for a few steps; where they lead nowhere, the best point is
    returned to, and the first step from there has to go downhill.

    Args:
        values: newest first; minus infinity where there were none.
        x: the best point.
        value: the function there.
        gradient: there.
        radius: of the ball there.
        since: points since then.

    Source:
        Toint 1996, Non-monotone trust-region algorithms for nonlinear optimization; Chamberlain, Powell, Lemaréchal
        and Pedersen 1982, The watchdog technique.
    """

    values: Any
    x: Any
    value: Any
    gradient: Any
    radius: Any
    since: Any

    @classmethod
    def none(cls, x: Any) -> Past:
        """Before the first look."""
        unknown = jnp.full((), jnp.inf, x.dtype)
        return cls(jnp.full((REMEMBERED,), -jnp.inf, x.dtype), x, unknown, jnp.zeros_like(x), unknown, jnp.asarray(0))

    def with_point(self, x: Any, value: Any, gradient: Any, radius: Any) -> Past:
        """One more point.

        Args:
            x: the point.
            value: the function there.
            gradient: there.
            radius: of the ball for the next step.
        """
        better = value < self.value
        values = jnp.roll(self.values, 1).at[0].set(value)
        return Past(
            values,
            jnp.where(better, x, self.x),
            jnp.where(better, value, self.value),
            jnp.where(better, gradient, self.gradient),
            jnp.where(better, radius, self.radius),
            jnp.where(better, 0, self.since + 1),
        )

    @property
    def highest(self) -> Any:
        """The highest of the last values."""
        return jnp.max(self.values)

    @property
    def lost(self) -> Any:
        """Whether the way leads nowhere."""
        return self.since >= REMEMBERED

    def returned(self) -> Past:
        """At the best point again: what was tried from there is forgotten."""
        return Past(
            jnp.full_like(self.values, -jnp.inf),
            self.x,
            self.value,
            self.gradient,
            self.radius,
            jnp.zeros_like(self.since),
        )
