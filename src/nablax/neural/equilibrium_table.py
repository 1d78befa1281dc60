"""The equations of a settled recurrent network, as a table with numbers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nablax.neural.activations import Activations
from nablax.neural.equations import Line, Table, empty, index
from nablax.neural.error_functions import ErrorFunction

Solve = Callable[[jax.Array], jax.Array]


def equilibrium_table(
    sigma: Activations,
    error: ErrorFunction,
    w: jax.Array,
    I: jax.Array,
    target: jax.Array,
    v: jax.Array | None,
    y: jax.Array,
    solves: tuple[Solve, Solve],
) -> Table:
    """The lines of both equilibria, each with the value that its right side takes there.

    Args:
        sigma: of each unit.
        error: with its units.
        w: weights.
        I: external input.
        target: of the error.
        v: direction, or None.
        y: outputs at equilibrium.
        solves: of (1 − D W) a = b and of the transposed system.
    """
    solve, transposed = solves
    n, units = len(y), np.array(error.units)
    x = w @ y
    s, slope, curve = sigma.with_curve(x)

    def spread(values: jax.Array) -> jax.Array:
        return jnp.zeros_like(y).at[units].set(values)

    e = spread(error.slope(y[units], target))
    u = transposed(e)
    z = slope * u
    settled, adjoint, gradient = [], [], []
    for i in range(n):
        total, output, through = empty(), empty(), empty()
        for j in range(n):
            total.add(f"w{index(i, j)} y{index(j)}", w[i, j], y[j])
        settled.append(total.line(f"x{index(i)}", x[i], "input: sum over the weights into the unit"))
        output.add(f"{sigma.name(i)}(x{index(i)})", s[i])
        output.add(f"I{index(i)}", I[i])
        settled.append(output.line(f"y{index(i)}", s[i] + I[i], "equilibrium: dy/dt = −y + σ(x) + I = 0"))
        for j in range(n):
            through.add(f"w{index(j, i)} z{index(j)}", w[j, i], z[j])
        through.add(f"e{index(i)}", e[i])
        rule = "equilibrium of the adjoint: dz/dt = −z + σ′ (Wᵀz + e) = 0"
        adjoint.append(_times(f"σ′(x{index(i)})", slope[i], through.line(f"z{index(i)}", z[i], rule)))
    for i in range(n):
        for j in range(n):
            product = empty()
            product.add(f"z{index(i)} y{index(j)}", z[i], y[j])
            gradient.append(product.line(f"∂E/∂w{index(i, j)}", z[i] * y[j], "product of both equilibria"))
    parts = [("equilibrium", settled), ("adjoint", adjoint), ("gradient", gradient)]
    if v is not None:
        Ry = solve(slope * (v @ y))
        Rx = w @ Ry + v @ y
        Re = spread(error.slope_along(y[units], Ry[units], target))
        Ru = transposed((curve * Rx * u) @ w + z @ v + Re)
        Rz = slope * Ru + curve * Rx * u
        R_settled, R_adjoint, product_lines = [], [], []
        for i in range(n):
            total, output = empty(), empty()
            for j in range(n):
                total.add(f"w{index(i, j)} R{{y{index(j)}}}", w[i, j], Ry[j])
                total.add(f"v{index(i, j)} y{index(j)}", v[i, j], y[j])
            R_settled.append(total.line(f"R{{x{index(i)}}}", Rx[i], "R of the input: product rule, R{w} = v"))
            output.add(f"σ′(x{index(i)}) R{{x{index(i)}}}", slope[i], Rx[i])
            R_settled.append(output.line(f"R{{y{index(i)}}}", slope[i] * Rx[i], "R of the equilibrium: chain rule"))
            through = empty()
            through.add(f"σ″(x{index(i)}) R{{x{index(i)}}} u{index(i)}", curve[i], Rx[i], u[i])
            through.add(f"σ′(x{index(i)}) R{{u{index(i)}}}", slope[i], Ru[i])
            rule = "R of the adjoint: product rule, u = Wᵀz + e"
            R_adjoint.append(through.line(f"R{{z{index(i)}}}", Rz[i], rule))
        for i in range(n):
            for j in range(n):
                product = empty()
                product.add(f"y{index(j)} R{{z{index(i)}}}", y[j], Rz[i])
                product.add(f"R{{y{index(j)}}} z{index(i)}", Ry[j], z[i])
                value = y[j] * Rz[i] + Ry[j] * z[i]
                product_lines.append(product.line(f"(H v){index(i, j)}", value, "R of the gradient: product rule"))
        parts += [("R of the equilibrium", R_settled), ("R of the adjoint", R_adjoint), ("H v", product_lines)]
    return Table(tuple((heading, tuple(lines)) for heading, lines in parts))


def _times(letters: str, factor: jax.Array, line: Line) -> Line:
    return Line(
        line.quantity, f"{letters} ({line.equation})", f"{float(factor):.4g}·({line.numbers})", line.value, line.rule
    )
