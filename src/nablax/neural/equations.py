"""The passes of a small network as a table of equations with numbers; every line names its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nablax.errors import ArgumentError
from nablax.neural.activations import Activations
from nablax.neural.arguments import is_traced
from nablax.neural.error_functions import ErrorFunction

LARGEST = 30
SUBSCRIPTS = str.maketrans("0123456789,", "₀₁₂₃₄₅₆₇₈₉,")


@dataclass(frozen=True)
class Line:
    """One equation.

    Attributes:
        quantity: what is computed, such as "∂E/∂x₂".
        equation: its right side in letters.
        numbers: its right side in numbers.
        value: its value.
        rule: why it holds.
    """

    quantity: str
    equation: str
    numbers: str
    value: float
    rule: str


@dataclass(frozen=True)
class Table:
    """Lines under headings; printed as text.

    Attributes:
        parts: heading and lines, in the order of computation.
    """

    parts: tuple[tuple[str, tuple[Line, ...]], ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines in order."""
        return tuple(line for _, part in self.parts for line in part)

    def __getitem__(self, quantity: str) -> float:
        """The value of a quantity, such as ``table["x₂"]``."""
        for line in self.lines:
            if line.quantity == quantity:
                return line.value
        raise ArgumentError(f"the table has no quantity {quantity!r}. Its first is {self.lines[0].quantity!r}.")

    def __str__(self) -> str:
        rows = []
        for heading, part in self.parts:
            rows.append(heading)
            cells = [(line.quantity, line.equation, line.numbers, _number(line.value)) for line in part]
            width = [max(map(len, column)) for column in zip(*cells, strict=True)]
            for line, (quantity, equation, numbers, value) in zip(part, cells, strict=True):
                left = f"  {quantity:<{width[0]}} = {equation:<{width[1]}} = {numbers:<{width[2]}}"
                rows.append(f"{left} = {value:>{width[3]}}   {line.rule}")
        return "\n".join(rows)

    __repr__ = __str__


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _factor(value: float) -> str:
    return f"({_number(value)})" if value < 0 else _number(value)


def index(*units: int) -> str:
    """Unit numbers as a subscript; a comma parts them where one has two digits."""
    return ("," if any(unit > 9 for unit in units) else "").join(map(str, units)).translate(SUBSCRIPTS)


@dataclass
class Sum:
    """Terms of a right side, collected in letters and in numbers."""

    letters: list[str]
    numbers: list[str]

    def add(self, letters: str, *factors: Any) -> None:
        """One product."""
        self.letters.append(letters)
        self.numbers.append("·".join(_factor(float(factor)) for factor in factors))

    def line(self, quantity: str, value: Any, rule: str) -> Line:
        """The finished line; an empty sum is 0."""
        letters, numbers = " + ".join(self.letters) or "0", " + ".join(self.numbers) or "0"
        return Line(quantity, letters, numbers, float(value), rule)


def empty() -> Sum:
    """A right side without terms."""
    return Sum([], [])


def check_small(verb: str, n: int, *arrays: Any) -> None:
    """Whether a table can be written.

    Raises:
        ArgumentError: many units, several examples, or traced numbers.
    """
    if is_traced(*arrays):
        raise ArgumentError(
            f"{verb} got traced arrays; a table is made of numbers. Call it outside jit, vmap and grad."
        )
    if n > LARGEST:
        raise ArgumentError(
            f"{verb} was asked for the equations of {n} units; the table is for networks of at most {LARGEST}."
        )
    if np.ndim(arrays[0]) != 1:
        raise ArgumentError(
            f"{verb} got an external input I of shape {list(np.shape(arrays[0]))}; a table shows one example. "
            f"Pass shape [{n}]."
        )


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a feed-forward network, computed unit by unit, as one would by hand.

    It shares no code with the passes over levels, so that each can be tested against the other.

    Attributes:
        mask: which weights exist.
        sigma: of each unit.
        error: with its units.
        order: units, each after those that it reads.
        w: weights.
        I: external input.
        target: of the error.
    """

    mask: np.ndarray
    sigma: Activations
    error: ErrorFunction
    order: Sequence[int]
    w: np.ndarray
    I: np.ndarray
    target: jax.Array

    def table(self, v: np.ndarray | None) -> Table:
        """The lines of forward, backward and gradient; with a direction those of their R-versions too."""
        x, y, forward = self._forward()
        E_x, E_y, backward = self._backward(x, y)
        gradient = []
        for i, j in np.argwhere(self.mask):
            product = empty()
            product.add(f"y{index(j)} ∂E/∂x{index(i)}", y[j], E_x[i])
            gradient.append(product.line(f"∂E/∂w{index(i, j)}", y[j] * E_x[i], "chain rule: ∂x_i/∂w_ij = y_j"))
        parts = [("forward", forward), ("backward", backward), ("gradient", gradient)]
        if v is not None:
            Rx, Ry, R_forward = self._R_forward(v, x, y)
            RE_x, R_backward = self._R_backward(v, x, y, E_x, E_y, Rx, Ry)
            product_lines = []
            for i, j in np.argwhere(self.mask):
                product = empty()
                product.add(f"y{index(j)} R{{∂E/∂x{index(i)}}}", y[j], RE_x[i])
                product.add(f"R{{y{index(j)}}} ∂E/∂x{index(i)}", Ry[j], E_x[i])
                value = y[j] * RE_x[i] + Ry[j] * E_x[i]
                product_lines.append(product.line(f"(H v){index(i, j)}", value, "R of the gradient: product rule"))
            parts += [("R forward", R_forward), ("R backward", R_backward), ("H v", product_lines)]
        return Table(tuple((heading, tuple(lines)) for heading, lines in parts))

    def _forward(self) -> tuple[np.ndarray, np.ndarray, list[Line]]:
        x, y, lines = np.zeros_like(self.I), np.zeros_like(self.I), []
        for i in self.order:
            if self._reads(i).size:
                total = empty()
                for j in self._reads(i):
                    total.add(f"w{index(i, j)} y{index(j)}", self.w[i, j], y[j])
                    x[i] += self.w[i, j] * y[j]
                lines.append(total.line(f"x{index(i)}", x[i], "input: sum over the weights into the unit"))
            output, through = empty(), float(self._own(i).value(jnp.asarray(x[i : i + 1]))[0])
            output.add(f"{self.sigma.name(i)}(x{index(i)})", through)
            output.add(f"I{index(i)}", self.I[i])
            y[i] = through + self.I[i]
            lines.append(output.line(f"y{index(i)}", y[i], "output: σ of the input, plus the external input"))
        value = float(self.error.value(self._compared(y), self.target))
        lines.append(Line("E", "E(y)", _number(value), value, "the error"))
        return x, y, lines

    def _backward(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Line]]:
        E_x, E_y, lines = np.zeros_like(x), np.zeros_like(x), []
        e = self._of_units(self.error.slope(self._compared(y), self.target))
        for i in reversed(self.order):
            total = empty()
            if i in self._units:
                total.add(f"e{index(i)}", e[i])
            E_y[i] = e[i]
            for k in self._readers(i):
                total.add(f"w{index(k, i)} ∂E/∂x{index(k)}", self.w[k, i], E_x[k])
                E_y[i] += self.w[k, i] * E_x[k]
            rule = "chain rule: E itself, and the units that read the output"
            lines.append(total.line(f"∂E/∂y{index(i)}", E_y[i], rule))
            if self._reads(i).size:
                slope = self._slope(i, x)
                E_x[i] = slope * E_y[i]
                through = empty()
                through.add(f"σ′(x{index(i)}) ∂E/∂y{index(i)}", slope, E_y[i])
                lines.append(through.line(f"∂E/∂x{index(i)}", E_x[i], "chain rule through σ"))
        return E_x, E_y, lines

    def _R_forward(self, v: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Line]]:
        Rx, Ry, lines = np.zeros_like(x), np.zeros_like(x), []
        for i in self.order:
            if not self._reads(i).size:
                lines.append(Line(f"R{{y{index(i)}}}", "0", "0", 0.0, "R of a constant: the external input"))
                continue
            total = empty()
            for j in self._reads(i):
                total.add(f"w{index(i, j)} R{{y{index(j)}}}", self.w[i, j], Ry[j])
                total.add(f"v{index(i, j)} y{index(j)}", v[i, j], y[j])
                Rx[i] += self.w[i, j] * Ry[j] + v[i, j] * y[j]
            lines.append(total.line(f"R{{x{index(i)}}}", Rx[i], "R of the input: sum and product rule, R{w} = v"))
            Ry[i] = self._slope(i, x) * Rx[i]
            through = empty()
            through.add(f"σ′(x{index(i)}) R{{x{index(i)}}}", self._slope(i, x), Rx[i])
            lines.append(through.line(f"R{{y{index(i)}}}", Ry[i], "R of the output: chain rule"))
        return Rx, Ry, lines

    def _R_backward(
        self,
        v: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        E_x: np.ndarray,
        E_y: np.ndarray,
        Rx: np.ndarray,
        Ry: np.ndarray,
    ) -> tuple[np.ndarray, list[Line]]:
        RE_x, RE_y, lines = np.zeros_like(x), np.zeros_like(x), []
        Re = self._of_units(self.error.slope_along(self._compared(y), self._compared(Ry), self.target))
        for i in reversed(self.order):
            total = empty()
            if i in self._units:
                total.add(f"R{{e{index(i)}}}", Re[i])
            RE_y[i] = Re[i]
            for k in self._readers(i):
                total.add(f"w{index(k, i)} R{{∂E/∂x{index(k)}}}", self.w[k, i], RE_x[k])
                total.add(f"v{index(k, i)} ∂E/∂x{index(k)}", v[k, i], E_x[k])
                RE_y[i] += self.w[k, i] * RE_x[k] + v[k, i] * E_x[k]
            rule = "R of the backward sum: sum and product rule"
            lines.append(total.line(f"R{{∂E/∂y{index(i)}}}", RE_y[i], rule))
            if self._reads(i).size:
                slope, curve = self._slope(i, x), self._curve(i, x)
                RE_x[i] = slope * RE_y[i] + curve * Rx[i] * E_y[i]
                through = empty()
                through.add(f"σ′(x{index(i)}) R{{∂E/∂y{index(i)}}}", slope, RE_y[i])
                through.add(f"σ″(x{index(i)}) R{{x{index(i)}}} ∂E/∂y{index(i)}", curve, Rx[i], E_y[i])
                rule = "R through σ: product rule, R{σ′(x)} = σ″(x) R{x}"
                lines.append(through.line(f"R{{∂E/∂x{index(i)}}}", RE_x[i], rule))
        return RE_x, lines

    @property
    def _units(self) -> tuple[int, ...]:
        return self.error.units or ()

    def _compared(self, values: np.ndarray) -> jax.Array:
        return jnp.asarray(values[list(self._units)])

    def _of_units(self, values: jax.Array) -> np.ndarray:
        found = np.zeros_like(self.I)
        found[list(self._units)] = np.asarray(values)
        return found

    def _reads(self, unit: int) -> np.ndarray:
        return np.flatnonzero(self.mask[unit])

    def _readers(self, unit: int) -> np.ndarray:
        return np.flatnonzero(self.mask[:, unit])

    def _own(self, unit: int) -> Activations:
        return self.sigma.of(np.array([unit]))

    def _slope(self, unit: int, x: np.ndarray) -> float:
        return float(self._own(unit).with_curve(jnp.asarray(x[unit : unit + 1]))[1][0])

    def _curve(self, unit: int, x: np.ndarray) -> float:
        return float(self._own(unit).with_curve(jnp.asarray(x[unit : unit + 1]))[2][0])
