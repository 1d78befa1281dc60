"""The only file that reads a jaxpr: traces a function into neutral equations.

A JAX upgrade that changes the layout of jaxprs fails in tests/ops/test_jaxprs.py and is mended here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.extend import core, source_info_util

# Calls whose body is ordinary code: they are read as if the body stood at the place of the call.
INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})


@dataclass(frozen=True, eq=False, slots=True)
class Variable:
    """A value computed by an equation or given as an input; identity is equality."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Literal:
    """A value known when tracing: a Python or NumPy number written into the equation."""

    value: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Value = Variable | Literal


@dataclass(frozen=True, eq=False)
class Equation:
    """One primitive applied to values.

    Args:
        name: the primitive's name.
        params: its parameters.
        inputs: values read.
        outputs: variables written.
        body: the body of a call primitive whose body is ordinary code, or of a custom rule; None otherwise.
        called: the name of the function that a call primitive calls; empty otherwise.
        line: the user's source line, ``file:line (function)``.
    """

    name: str
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Variable, ...]
    body: Program | None
    called: str
    line: str
    _equation: Any
    _debug_info: Any

    @property
    def primitive(self) -> Any:
        """The JAX primitive."""
        return self._equation.primitive

    @property
    def is_call(self) -> bool:
        """Whether the body may be read in place of the call."""
        return self.name in INLINED and self.body is not None

    @cached_property
    def text(self) -> str:
        """The printed body: equal for calls of the same function on the same shapes."""
        return "" if self.body is None else self.body.text

    @cached_property
    def flops(self) -> float:
        """Estimated operations of one evaluation (for the planner; bodies of loops count per turn)."""
        return _flops(self._equation)

    @cached_property
    def apply(self) -> Callable[..., list[Any]]:
        """The equation as a function of its inputs (literals included), with all its JAX rules."""
        equation = self._equation
        invars = [core.Var(atom.aval) for atom in equation.invars]
        outvars = [core.Var(var.aval) for var in equation.outvars]
        alone = core.Jaxpr(
            [],
            invars,
            outvars,
            [equation.replace(invars=invars, outvars=outvars)],
            equation.effects,
            self._debug_info.with_unknown_names(),
        )
        run: Callable[..., list[Any]] = core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))
        return run


@dataclass(frozen=True, eq=False)
class Program:
    """A traced function.

    Args:
        inputs: one variable per traced argument.
        constants: captured arrays with the variables that stand for them.
        equations: in order of evaluation.
        outputs: the results.
    """

    inputs: tuple[Variable, ...]
    constants: tuple[tuple[Variable, Any], ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Value, ...]
    _jaxpr: Any

    @property
    def reads(self) -> frozenset[int]:
        """Positions of the inputs that an output depends on."""
        read = {value for equation in self.equations for value in equation.inputs} | set(self.outputs)
        return frozenset(k for k, variable in enumerate(self.inputs) if variable in read)

    @cached_property
    def text(self) -> str:
        """The printed program; constants by shape only."""
        return str(self._jaxpr)


def trace(function: Callable[..., Any], arguments: Sequence[Any]) -> Program:
    """Trace a function of flat arrays that returns a flat sequence of arrays.

    Args:
        function: any JAX-traceable function of positional arrays.
        arguments: arrays, tracers or shape structs; only shapes, dtypes and weak types are used.

    Returns:
        The program.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _program(closed.jaxpr, closed.consts)


def _program(jaxpr: Any, constants: Sequence[Any]) -> Program:
    known: dict[Any, Variable] = {}

    def variable(var: Any) -> Variable:
        aval = var.aval
        known[var] = Variable(tuple(getattr(aval, "shape", ())), _dtype(aval))
        return known[var]

    def value(atom: Any) -> Value:
        if isinstance(atom, core.Literal):
            return Literal(atom.val, tuple(np.shape(atom.val)), _dtype(atom.aval))
        return known[atom]

    inputs = tuple(variable(var) for var in jaxpr.invars)
    live = _live(jaxpr)
    captured = tuple((variable(var), array) for var, array in zip(jaxpr.constvars, constants, strict=True))
    equations = []
    for equation in jaxpr.eqns:
        if live.isdisjoint(equation.outvars):
            continue
        params = dict(equation.params)
        body, called = _body(equation.primitive.name, params)
        read = tuple(value(atom) for atom in equation.invars)
        written = tuple(variable(var) for var in equation.outvars)
        line = source_info_util.summarize(equation.source_info)
        equations.append(
            Equation(equation.primitive.name, params, read, written, body, called, line, equation, jaxpr.debug_info)
        )
    outputs = tuple(value(atom) for atom in jaxpr.outvars)
    return Program(inputs, captured, tuple(equations), outputs, jaxpr)


def _live(jaxpr: Any) -> set[Any]:
    """Variables that an output depends on; tracing leaves equations behind that nobody reads."""
    live = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    for equation in reversed(jaxpr.eqns):
        if not live.isdisjoint(equation.outvars):
            live.update(atom for atom in equation.invars if not isinstance(atom, core.Literal))
    return live


def _body(name: str, params: dict[str, Any]) -> tuple[Program | None, str]:
    if name not in INLINED and name not in ("custom_jvp_call", "custom_vjp_call"):
        return None, ""
    inner = params.get("jaxpr") or params.get("call_jaxpr")
    if inner is None:
        return None, ""
    jaxpr, constants = (inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())
    called = params.get("name") or jaxpr.debug_info.func_name
    return _program(jaxpr, constants), str(called)


def _flops(equation: Any) -> float:
    outputs = sum(float(np.prod(var.aval.shape)) for var in equation.outvars if hasattr(var.aval, "shape"))
    inputs = sum(float(np.prod(atom.aval.shape)) for atom in equation.invars if hasattr(atom.aval, "shape"))
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * outputs * float(np.prod(kernel)) / max(float(out_features), 1.0)
    if equation.primitive.name == "dot_general":
        (left, _), _ = equation.params["dimension_numbers"]
        return 2.0 * outputs * float(np.prod([equation.invars[0].aval.shape[k] for k in left]))
    turns = float(equation.params.get("length", 1) or 1)
    bodies = [_flops(inner) for body in core.jaxprs_in_params(equation.params) for inner in body.eqns]
    return float(turns * sum(bodies)) if bodies else max(inputs, outputs)


def _dtype(aval: Any) -> np.dtype[Any]:
    dtype = getattr(aval, "dtype", None)
    # extended dtypes (random keys) and tokens carry no derivative and no arithmetic of ours
    return np.dtype(object) if dtype is None or not isinstance(dtype, np.dtype) else dtype
