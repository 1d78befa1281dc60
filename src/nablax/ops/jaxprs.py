"""The only file that reads a jaxpr: traces a function into neutral equations.

A JAX upgrade that changes the layout of jaxprs fails in tests/ops/test_jaxprs.py and is mended here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core, source_info_util

# Calls whose body is ordinary code: they are read as if the body stood at the place of the call.
INLINED = frozenset({
    "jit", "pjit", "call", "closed_call", "core_call", "remat", "remat2", "checkpoint", "eval_jaxpr"
})  # fmt: skip


# A call of one of JAX's own functions with rules; jax 0.12 has them.
_OF_JAX = "call_hi_primitive"

# Operations that pass on what they are given.
_PASSED_ON = frozenset({"device_put", "name", "sharding_constraint", "optimization_barrier"})


@dataclass(frozen=True, eq=False, slots=True)
class Variable:
    """A value computed by an equation or given as an input; identity is equality.

    Args:
        shape: elements along each axis.
        dtype: dtype of the elements; object where it is none of NumPy's.
        key: the type of a typed random key, where it is one.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    key: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Literal:
    """A value known when tracing: a Python or NumPy number written into the equation."""

    value: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Value = Variable | Literal

# An axis of the result, and for each input the axis that goes with it; None for an input that all elements share.
BatchAxis = tuple[int, tuple[int | None, ...]]


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """A loop of known length: its body and what its inputs and outputs are.

    The inputs of the body are constants of the loop, then what one turn carries to the next, then a slice of each
    stacked input; its outputs are the carried values, then a slice of each stacked output.

    Args:
        body: one turn.
        constants: number of inputs that all turns share.
        carried: number of values that one turn hands to the next.
        length: number of turns.
        reverse: whether the last slice is taken first.
    """

    body: Program
    constants: int
    carried: int
    length: int
    reverse: bool


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """A loop that goes on while a condition holds.

    Its inputs are constants of the condition, then constants of the body, then what one turn carries to the next.

    Args:
        condition: of its own constants and what is carried: whether there is another turn.
        body: one turn, of its own constants and what is carried.
        shared: number of constants of the condition.
        constants: number of constants of the body.
    """

    condition: Program
    body: Program
    shared: int
    constants: int


@dataclass(frozen=True, eq=False, slots=True)
class LinearSolve:
    """A linear system given as a function: matvec(constants, x) = b, solved for x as the user says.

    Args:
        matvec: of its own constants, then the unknowns.
        first: position of the first right-hand side among the inputs; those before it that are no constants of the
            matvec belong to the solver.
    """

    matvec: Program
    first: int

    @property
    def constants(self) -> int:
        """Number of constants of the matvec, the first inputs."""
        return len(self.matvec.inputs) - len(self.matvec.outputs)


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
        return self.name in (*INLINED, _OF_JAX) and self.body is not None

    @cached_property
    def text(self) -> str:
        """The printed body: equal for calls of the same function on the same shapes."""
        return "" if self.body is None else self.body.text

    @cached_property
    def flops(self) -> float:
        """Estimated operations of one evaluation (for the planner; bodies of loops count per turn)."""
        return _flops(self._equation)

    @cached_property
    def bytes(self) -> float:
        """Estimated bytes that one evaluation holds inside, results not counted."""
        return _inside(self._equation)

    @cached_property
    def batch_axes(self) -> tuple[BatchAxis, ...]:
        """Axes of its result along which it acts on each element alone; only where the primitive is known to."""
        return _batch_axes(self.name, self.params, [len(value.shape) for value in self.inputs])

    @cached_property
    def loop(self) -> Loop | None:
        """The loop that it is, where its length is known."""
        if self.name != "scan":
            return None
        inner = self.params["jaxpr"]
        body = _program(*((inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())))
        # what is stacked has one axis more outside than inside
        sliced, stacked = (
            sum(len(a.shape) > len(b.shape) for a, b in zip(outside, inside, strict=True))
            for outside, inside in ((self.inputs, body.inputs), (self.outputs, body.outputs))
        )
        carried = len(self.outputs) - stacked
        constants = len(self.inputs) - carried - sliced
        return Loop(body, constants, carried, self.params["length"], self.params["reverse"])

    @cached_property
    def open_loop(self) -> OpenLoop | None:
        """The loop that it is, where its length is not known before it runs."""
        if self.name != "while":
            return None
        condition, body = (
            _program(*((inner.jaxpr, inner.consts) if isinstance(inner, core.ClosedJaxpr) else (inner, ())))
            for inner in (self.params["cond_jaxpr"], self.params["body_jaxpr"])
        )
        return OpenLoop(condition, body, self.params["cond_nconsts"], self.params["body_nconsts"])

    @property
    def is_ruled(self) -> bool:
        """Whether it calls a function with a forward rule of its own: `jax.custom_jvp`, `jax.lax.custom_root`."""
        # jax 0.12 has a primitive for such functions of its own, 0.10 a custom_jvp for the root, too
        return self.name == "custom_jvp_call" or _kind_of_jax(self.name, self.params) == "CustomRoot"

    def calls_as(self, other: Equation) -> bool:
        """Whether it calls the function that another equation calls."""
        if self.name != other.name or self.called != other.called:
            return False
        if self.body is None or other.body is None:
            return all(self.params[name] is value for name, value in other.params.items())
        constants = zip(self.body.constants, other.body.constants, strict=False)
        return self.text == other.text and all(a is b for (_, a), (_, b) in constants)

    @cached_property
    def linear_solve(self) -> LinearSolve | None:
        """The linear system that it solves, where it gives nothing but the solution and can be transposed."""
        if self.name != "custom_linear_solve":
            return None
        lengths, programs = self.params["const_lengths"], self.params["jaxprs"]
        found = LinearSolve(_program(programs.matvec.jaxpr, programs.matvec.consts), sum(lengths))
        alone = len(self.outputs) == len(found.matvec.outputs)
        return found if alone and programs.transpose_solve is not None else None

    @cached_property
    def branches(self) -> tuple[Program, ...] | None:
        """The cases of a branch, where it is one; its first input chooses among them."""
        if self.name != "cond":
            return None
        closed = (x if isinstance(x, core.ClosedJaxpr) else core.ClosedJaxpr(x, []) for x in self.params["branches"])
        return tuple(_program(one.jaxpr, one.consts) for one in closed)

    @cached_property
    def primitives(self) -> frozenset[str]:
        """Names of the primitives that it is made of: its own, and those in bodies of loops, branches and rules."""
        return _names(self._equation)

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

    @cached_property
    def dependence(self) -> tuple[frozenset[int], ...]:
        """For each output the positions of the inputs that it may depend on."""
        none: frozenset[int] = frozenset()
        known: dict[Value, frozenset[int]] = {variable: frozenset([k]) for k, variable in enumerate(self.inputs)}
        for equation in self.equations:
            read = none.union(*(known.get(value, none) for value in equation.inputs))
            known.update(dict.fromkeys(equation.outputs, read))
        return tuple(known.get(value, none) for value in self.outputs)

    @cached_property
    def zeros(self) -> frozenset[int]:
        """Positions of the outputs that are zero as written: a literal, or one that is broadcast."""
        filled = {
            equation.outputs[0]: equation.inputs[0]
            for equation in self.equations
            if equation.name == "broadcast_in_dim" and len(equation.inputs) == 1
        }

        def is_zero(value: Value) -> bool:
            while isinstance(value, Variable) and value in filled:
                value = filled[value]
            return isinstance(value, Literal) and not np.any(value.value)

        return frozenset(k for k, value in enumerate(self.outputs) if is_zero(value))

    @cached_property
    def read(self) -> frozenset[Value]:
        """The values that an equation or a result needs."""
        return frozenset(value for equation in self.equations for value in equation.inputs) | set(self.outputs)

    @cached_property
    def primitives(self) -> frozenset[str]:
        """Names of all primitives in it, and in the bodies of its loops, branches and rules."""
        return frozenset[str]().union(*(equation.primitives for equation in self.equations))

    @cached_property
    def flops(self) -> float:
        """Estimated operations of one evaluation."""
        return sum(equation.flops for equation in self.equations)

    @cached_property
    def bytes(self) -> float:
        """Estimated bytes held at once while it is evaluated, arguments not counted."""
        return _held(self._jaxpr)

    @cached_property
    def apply(self) -> Callable[..., list[Any]]:
        """The program as a function of its inputs. Needs a program made by `trace`."""
        arrays = [array for _, array in self.constants]
        run: Callable[..., list[Any]] = core.jaxpr_as_fun(core.ClosedJaxpr(self._jaxpr, arrays))
        return run

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


@dataclass(frozen=True, eq=False)
class Closed:
    """A function apart from what it refers to.

    Args:
        run: of those arrays, as one argument, and of the function's arguments.
        referred: those arrays; some may be traced.
        output: tree of shapes of its result.
    """

    run: Callable[..., Any]
    referred: list[Any]
    output: Any


def closed(function: Callable[..., Any], arguments: Sequence[Any]) -> Closed:
    """A function taken apart.

    Args:
        function: of arguments like these, with any tree of arrays as result.
        arguments: trees of arrays or shape structs; only shapes and dtypes are used.
    """
    found, output = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(output)

    def run(referred: list[Any], *arguments: Any) -> Any:
        evaluate = core.jaxpr_as_fun(core.ClosedJaxpr(found.jaxpr, referred))
        return jax.tree.unflatten(structure, evaluate(*jax.tree.leaves(arguments)))

    return Closed(run, list(found.consts), output)


def trace_alone(function: Callable[..., Any], arguments: Sequence[Any]) -> Program:
    """Trace a function that has nothing to do with the mesh of devices that the caller stands in.

    A rule of an operation is asked of JAX once and kept; traced inside `jax.shard_map` it would hold the placement of
    the arrays of that one call.

    Args:
        function: as for `trace`.
        arguments: as for `trace`.

    Returns:
        The program.
    """
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        return trace(function, arguments)


def _program(jaxpr: Any, constants: Sequence[Any]) -> Program:
    known: dict[Any, Variable] = {}

    def variable(var: Any) -> Variable:
        aval = var.aval
        known[var] = Variable(tuple(getattr(aval, "shape", ())), _dtype(aval), _key(aval))
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
        name = equation.primitive.name
        read = tuple(value(atom) for atom in equation.invars)
        if _only_differs_inside_kernels(name, params):
            name, params, read = "closed_call", {"call_jaxpr": params["branches"][-1]}, read[1:]
        body, called = _body(name, params)
        written = tuple(variable(var) for var in equation.outvars)
        line = source_info_util.summarize(equation.source_info)
        equations.append(Equation(name, params, read, written, body, called, line, equation, jaxpr.debug_info))
    outputs = tuple(value(atom) for atom in jaxpr.outvars)
    return Program(inputs, captured, tuple(equations), outputs, jaxpr)


def _live(jaxpr: Any) -> set[Any]:
    """Variables that an output depends on; tracing leaves equations behind that nobody reads."""
    live = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    for equation in reversed(jaxpr.eqns):
        if not live.isdisjoint(equation.outvars):
            live.update(atom for atom in equation.invars if not isinstance(atom, core.Literal))
    return live


def _only_differs_inside_kernels(name: str, params: dict[str, Any]) -> bool:
    """Whether a branch over platforms has a case of its own for the inside of kernels only (jnp.diagonal has)."""
    platforms: Any = params.get("branches_platforms") or ()
    return name == "cond" and len(platforms) == 2 and platforms[0] == ("mosaic",) and platforms[1] is None


def _kind_of_jax(name: str, params: Mapping[str, Any]) -> str:
    """Which of JAX's own functions with rules is called; empty for anything else."""
    return type(params["_prim"]).__name__ if name == _OF_JAX else ""


def _body(name: str, params: dict[str, Any]) -> tuple[Program | None, str]:
    if _kind_of_jax(name, params) == "_RootLinearMap":  # the derivative of a root's function, by its own text
        function = params["_prim"]
        structs, tree = jax.tree.flatten(function.in_avals)
        flat = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in structs]
        return trace(lambda *given: jax.tree.leaves(function.expand(*jax.tree.unflatten(tree, given))), flat), ""
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


def _batch_axes(name: str, params: dict[str, Any], ranks: Sequence[int]) -> tuple[BatchAxis, ...]:
    if name in _PASSED_ON and len(ranks) == 1:
        return tuple((k, (k,)) for k in range(ranks[0]))
    if name in ("cholesky", "lu"):
        return tuple((k, (k,)) for k in range(ranks[0] - 2))
    if name == "triangular_solve" and ranks[0] == ranks[1]:
        return tuple((k, (k, k)) for k in range(ranks[0] - 2))
    if name == "sort" and len(ranks) == 1:
        return tuple((k, (k,)) for k in range(ranks[0]) if k != params["dimension"])
    return ()


def _held(jaxpr: Any) -> float:
    """Bytes alive at once if equations run in order and a value is freed after its last use."""
    last = {
        atom: k
        for k, equation in enumerate(jaxpr.eqns)
        for atom in (*equation.invars, *equation.outvars)
        if not isinstance(atom, core.Literal)
    }
    kept = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    made: dict[Any, float] = {}
    alive = peak = 0.0
    for k, equation in enumerate(jaxpr.eqns):
        own = {var: _size(var.aval) for var in equation.outvars}
        made |= own
        alive += sum(own.values())
        peak = max(peak, alive + _inside(equation))
        for atom in {*equation.outvars, *(x for x in equation.invars if not isinstance(x, core.Literal))}:
            if last[atom] == k and atom not in kept:
                alive -= made.pop(atom, 0.0)
    return peak


def _inside(equation: Any) -> float:
    return max((_held(body) for body in core.jaxprs_in_params(equation.params)), default=0.0)


def _names(equation: Any) -> frozenset[str]:
    inner = (_names(one) for body in core.jaxprs_in_params(equation.params) for one in body.eqns)
    return frozenset([equation.primitive.name]).union(*inner)


def _size(aval: Any) -> float:
    dtype = _dtype(aval)
    return 0.0 if dtype.hasobject else float(math.prod(getattr(aval, "shape", ())) * dtype.itemsize)


def _key(aval: Any) -> Any:
    dtype = getattr(aval, "dtype", None)
    return dtype if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) else None


def _dtype(aval: Any) -> np.dtype[Any]:
    dtype = getattr(aval, "dtype", None)
    # extended dtypes (random keys) and tokens carry no derivative and no arithmetic of ours
    return np.dtype(object) if dtype is None or not isinstance(dtype, np.dtype) else dtype
