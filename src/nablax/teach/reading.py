"""From a function or a formula with values to the graph that is shown: one node per operation, names, arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import nablax.errors
from nablax.calling import bind
from nablax.errors import NEEDS_A_VALUE, ArgumentError, FormulaError, OutputError, TracingError
from nablax.formula import parse_expression, parse_formula, to_function
from nablax.formula.functions import SPELLINGS
from nablax.formula.nested import nested_text, parse_nested
from nablax.formula.shapes import CONSTANTS, variable_names
from nablax.graph.from_jaxpr import build
from nablax.graph.graph import Graph
from nablax.graph.node import Node, reachable
from nablax.ops.jaxprs import trace
from nablax.ops.kinds import Constant, Contraction, Leaf
from nablax.printing.expression import Expression
from nablax.teach.notation import operation, symbol

OWN = str(Path(nablax.errors.__file__).parent)
KINDS = {0: "scalar", 1: "vector", 2: "matrix"}


@dataclass(frozen=True, eq=False)
class Reading:
    """A graph with names and a point.

    Args:
        title: the formula, or the function's name.
        engine: makes nodes of derivatives.
        leaves: all arguments.
        inputs: those with respect to which derivatives are shown.
        output: the result.
        arrays: the point: one array per leaf.
        names: what each leaf is called.
        function: the same as a function of the arrays.
        others: further results, of one turn of a loop.
    """

    title: str
    engine: Graph
    leaves: tuple[Node, ...]
    inputs: tuple[Node, ...]
    output: Node
    arrays: tuple[Any, ...]
    names: Mapping[Node, str]
    function: Callable[..., Any]
    others: tuple[Node, ...] = ()

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes that the result needs, and all arguments; arguments first, then in the order of evaluation."""
        found = [node for node in reachable([self.output, *self.others]) if not isinstance(node.kind, Leaf)]
        return (*self.leaves, *found)

    @cached_property
    def called(self) -> Mapping[Node, str]:
        """The name of every node: arguments as the user calls them, constants c, everything else v1, v2, …"""
        found = dict(self.names)
        taken = set(self.names.values())
        count = {"v": 0, "c": 0}
        for node in self.nodes:
            if node in found:
                continue
            letter = "c" if is_known(node) else "v"
            while True:
                count[letter] += 1
                name = f"{letter}{count[letter]}"
                if name not in taken:
                    break
            found[node] = name
        return found

    @cached_property
    def symbols(self) -> Mapping[Node, Expression]:
        """The symbol of every node; single numbers stand for themselves."""
        found: dict[Node, Expression] = {}
        for node in self.nodes:
            found[node] = symbol(self.called[node], node.shape)
        return found

    @cached_property
    def operations(self) -> Mapping[Node, Expression]:
        """What each node does."""
        return {node: operation(node, self.symbols) for node in self.nodes}

    @property
    def is_scalar(self) -> bool:
        """Whether every node is one number."""
        return all(node.shape == () for node in self.nodes)

    @property
    def is_textbook(self) -> bool:
        """Whether the textbooks' tables can spell every number out."""
        return self.is_scalar and self.output.shape == ()

    def at(self, arrays: Sequence[Any]) -> Reading:
        """The same graph at another point."""
        return replace(self, arrays=tuple(arrays))

    def fitted(self, leaf: Node, value: Any) -> Any:
        """A value as an array for a leaf.

        Raises:
            ArgumentError: it has another shape.
        """
        array = jnp.asarray(value)
        if array.shape != leaf.shape:
            raise ArgumentError(
                f"{self.names[leaf]} has shape {list(leaf.shape)} in this graph; it got a value of shape "
                f"{list(array.shape)}. Make a new graph for other shapes."
            )
        return array.astype(leaf.dtype)

    def leaf(self, name: str, verb: str) -> Node:
        """The argument of a name.

        Raises:
            ArgumentError: there is none.
        """
        for node in self.inputs:
            if self.names[node] == name:
                return node
        listed = ", ".join(self.names[node] for node in self.inputs)
        raise ArgumentError(f"{verb} was asked for {name!r}; the graph of {self.title} has the variables {listed}.")


def line_of(node: Node) -> str:
    """The user's source line of a node, ``file:line (function)``; empty for a formula's."""
    return "" if node.line.startswith(OWN) else node.line


def is_known(node: Node) -> bool:
    """Whether a node is a number or array that is known when tracing."""
    return isinstance(node.kind, Constant) or (isinstance(node.kind, Contraction) and not node.inputs)


def of_formula(formula: str | Sequence[object], values: Mapping[str, Any]) -> Reading:
    """The graph of a formula at a point.

    Args:
        formula: text or nested lists.
        values: a number or array for each variable; what a variable is follows from its value.

    Returns:
        The reading.

    Raises:
        FormulaError: unreadable text, a variable without a value, a value without a variable, shapes that do not fit.
    """
    arrays = {name: _array(name, value) for name, value in values.items()}
    kinds = {name: KINDS.get(array.ndim, "matrix") for name, array in arrays.items()}
    source = formula if isinstance(formula, str) else nested_text(formula)
    tree = parse_nested(source) if source.lstrip().startswith("[") else parse_expression(source)
    known = {*CONSTANTS, "eye", *SPELLINGS} - values.keys()
    needed = list(dict.fromkeys(node.name for node in variable_names(tree) if node.name not in known))
    expected = f"the variables are {', '.join(needed) or 'none'}"
    missing = [name for name in needed if name not in values]
    unknown = [name for name in values if name not in needed]
    if unknown:
        raise FormulaError(f"the formula {source} has no variable {unknown[0]}", advice=expected)
    if missing:
        example = ", ".join(f"{name}=…" for name in missing)
        raise FormulaError(f"no value for {', '.join(missing)}", source, advice=f"{expected}; give {example}")
    if not needed:
        raise FormulaError("a formula without variables has no derivatives", source)
    read = parse_formula(formula, kinds)
    ordered = [arrays[name] for name in read.variables]
    function = to_function(read)
    program = trace(lambda *given: [function(*given)], ordered)
    engine = Graph()
    leaves, [output] = build(engine, program)
    names = dict(zip(leaves, read.variables, strict=True))
    return Reading(str(read), engine, tuple(leaves), tuple(leaves), output, tuple(ordered), names, function)


def _array(name: str, value: Any) -> Any:
    try:
        known = isinstance(value, jax.Array) or np.asarray(value).dtype.kind in "fiubc"
    except ValueError:  # rows of different lengths
        known = False
    if not known:
        raise FormulaError(f"the value of {name} is a {type(value).__name__}, not a number or an array")
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.ndim > 2:
        raise FormulaError(f"the value of {name} is {array.dtype.name}{list(array.shape)}, not a real number or matrix")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def of_function(f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Reading:
    """The graph of a function at a point; derivatives with respect to all floating-point arguments.

    Args:
        f: returns one array or number.
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        The reading.

    Raises:
        ArgumentError, OutputError, TracingError: as for the verbs of the package.
    """
    floats = [k for k, argument in enumerate(args) if _all_float(argument)]
    signature, arrays = bind("graph", tuple(floats) if floats else 0, args, kwargs)

    def flat(*given: Any) -> list[Any]:
        results = jax.tree.leaves(signature.function(f)(*given))
        if len(results) != 1:
            raise OutputError(f"graph needs a function with one result; {_called(f)} returns {len(results)}.")
        return [jnp.asarray(results[0])]

    try:
        program = trace(flat, arrays)
    except NEEDS_A_VALUE as error:
        raise TracingError.of(error) from error
    if not jnp.issubdtype(program.outputs[0].dtype, jnp.floating):
        raise OutputError(
            f"graph was asked of a function that returns {program.outputs[0].dtype.name} values; derivatives exist for "
            "real floating-point results only. Return a float array."
        )
    engine = Graph()
    leaves, [output] = build(engine, program)
    listed = _names(f, args, kwargs)
    names = dict(zip(leaves, (n for n, box in zip(listed, signature.fixed, strict=True) if box is None), strict=True))
    inputs = tuple(leaves[k] for k in sorted(signature.asked))
    point = tuple(map(jnp.asarray, arrays))
    return Reading(_called(f), engine, tuple(leaves), inputs, output, point, names, lambda *given: flat(*given)[0])


def _all_float(argument: Any) -> bool:
    leaves = jax.tree.leaves(argument)
    kinds = float | np.floating | np.ndarray | jax.Array
    return bool(leaves) and all(
        isinstance(leaf, kinds) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves
    )


def _called(f: Callable[..., Any]) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else name


def _names(f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """A name for each leaf of a call: the parameter's, or the key inside it."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    paths, _ = jax.tree_util.tree_flatten_with_path((tuple(args), kwargs), is_leaf=lambda x: x is None)
    found: list[str] = []
    for path, _value in paths:
        place: Any = path[1]
        position = getattr(place, "idx", None)
        own = plain[position] if position is not None and position < len(plain) else f"x{position}"
        found.append(_within(str(getattr(place, "key", own)), path[2:]))
    twice = {name for name in found if found.count(name) > 1}
    whole = [jax.tree_util.keystr(path[1:]) for path, _ in paths]
    return [full if name in twice else name for name, full in zip(found, whole, strict=True)]


def _within(name: str, keys: Sequence[Any]) -> str:
    """The name of a part: its last key that is a word, with the numbers behind it."""
    for key in keys:
        part = str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))
        name = name + part if part.isdigit() else part
    return name
