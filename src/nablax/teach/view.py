"""The graph of a function or formula as something to look at: the verb `graph` and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nablax.errors import ArgumentError
from nablax.pictures.svg import Picture
from nablax.pictures.table import Cell, Table
from nablax.teach import cells
from nablax.teach.bodies import inside
from nablax.teach.counts import operation_counts
from nablax.teach.domains import check_slopes, check_values, corners
from nablax.teach.numbers import Numbers
from nablax.teach.pictured import picture
from nablax.teach.reading import Reading, line_of, of_formula, of_function
from nablax.teach.second import second_order_table
from nablax.teach.tables import forward_table, reverse_table, shown, tangents_along, written


class GraphView:
    """The computational graph of a function at a point: one node per operation, with values.

    Made by `graph`. Prints itself as a list of nodes, draws itself in notebooks, and gives the tables of forward mode,
    reverse mode and second order. It also runs as textbooks run it: `forward`, then `backward`.
    """

    def __init__(self, reading: Reading) -> None:
        self._numbers = Numbers(reading)
        self._forward = self._backward = False

    @property
    def _reading(self) -> Reading:
        return self._numbers.reading

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the arguments that derivatives are shown for."""
        return tuple(self._reading.names[leaf] for leaf in self._reading.inputs)

    # -- the executor of textbooks -------------------------------------------------------------------

    def forward(self, **values: Any) -> Any:
        """Evaluate every node, arguments first.

        Args:
            **values: new values for some of the variables.

        Returns:
            The result.

        Raises:
            DomainError: a node on numbers has no value there (the logarithm of a negative number, a division by zero,
                zero to a negative power); the text names the node and its values.
            ArgumentError: no such variable, or a value of another shape.

        Example:
            >>> g = graph("w2*log(w1)", w1=1.0, w2=3.0)
            >>> g.forward(), g.backward()
            (0.0, {'w2': 0.0, 'w1': 3.0})
        """
        if values:
            self._numbers = Numbers(self._moved(values))
        check_values(self._reading, self._numbers.values)
        self._forward, self._backward = True, False
        return self.output

    def backward(self) -> dict[str, Any]:
        """Adjoints of every node, the result first; `forward` comes before.

        Returns:
            The derivative of the result with respect to each variable, by name.

        Raises:
            ArgumentError: `forward` has not been run.
            DomainError: a node on numbers has a value but no derivative there.
            OutputError: the result is not one number.
        """
        if not self._forward:
            raise ArgumentError("backward needs the values of all nodes. Run forward() first.")
        check_slopes(self._reading, self._numbers.values)
        self._numbers.need_one_number("backward")
        pulled = self._numbers.pulled
        self._backward = True
        return {self._reading.names[leaf]: _number(pulled[leaf]) for leaf in self._reading.inputs}

    @property
    def output(self) -> Any:
        """The result, after `forward`."""
        if not self._forward:
            raise ArgumentError("the output is not known yet. Run forward() first.")
        return _number(self._numbers.values[self._reading.output])

    @property
    def derivative(self) -> dict[str, Any]:
        """The derivative of the result with respect to each variable, by name, after `backward`."""
        if not self._backward:
            raise ArgumentError("derivatives are not known yet. Run forward() and then backward().")
        return self.backward()

    def _moved(self, values: Mapping[str, Any]) -> Reading:
        reading = self._reading
        arrays = list(reading.arrays)
        for name, value in values.items():
            leaf = reading.leaf(name, "forward")
            place = reading.leaves.index(leaf)
            arrays[place] = reading.fitted(leaf, value)
        return reading.at(arrays)

    # -- tables --------------------------------------------------------------------------------------

    def forward_table(self, wrt: str | None = None, direction: Any = None) -> Table:
        """Forward mode, node by node: formula, value, tangent formula, tangent.

        Args:
            wrt: the variable that moves; may be left out where there is only one.
            direction: for a variable with axes the direction in which it moves.

        Returns:
            The table.

        Raises:
            ArgumentError: no such variable, or a direction of another shape.
            DomainError: the point lies outside the domain of a node on numbers.

        Example:
            >>> print(graph("log(x)*x", x=1.0).forward_table())
            Forward mode: log(x)*x, along x
            node  formula   value  tangent formula  tangent
            ────  ────────  ─────  ───────────────  ───────
            x     argument      1  ẋ                      1
            v₁    log(x)        0  v̇₁ = ẋ/x               1
            v₂    v₁x           0  v̇₂ = x v̇₁ + v₁ẋ        1
            ∂v₂/∂x = 1
        """
        self._check()
        return self._noted(forward_table(self._numbers, self._only(wrt, "forward_table"), direction))

    def reverse_table(self) -> Table:
        """Reverse mode: the forward pass, then the adjoint of each node as the sum over the nodes that read it.

        Returns:
            The table.

        Raises:
            OutputError: the result is not one number.
            DomainError: the point lies outside the domain of a node on numbers.
        """
        self._check()
        return self._noted(reverse_table(self._numbers))

    def second_order_table(self) -> Table:
        """Cores and legs of the Hessian in numbers; beside them what the textbooks' recipe for the diagonal drops.

        Returns:
            The table.

        Raises:
            OutputError: the result is not one number.
            DomainError: the point lies outside the domain of a node on numbers.
        """
        self._check()
        return self._noted(second_order_table(self._numbers))

    def operation_counts(self, order: int = 3) -> Table:
        """How many operations forward mode, reverse mode, a Hessian by rows, order k and the plan take.

        Args:
            order: of the derivatives by repetition.

        Returns:
            The table.
        """
        return operation_counts(self._numbers, order)

    def _check(self) -> None:
        check_values(self._reading, self._numbers.values)
        check_slopes(self._reading, self._numbers.values)

    def _noted(self, table: Table) -> Table:
        found = corners(self._reading, self._numbers.values, self._numbers.slope_values)
        return replace(table, notes=(*table.notes, *found))

    def _only(self, wrt: str | None, verb: str) -> str:
        if wrt is not None:
            return wrt
        names = self.variables
        if len(names) > 1:
            raise ArgumentError(f"{verb} needs the variable that moves: wrt= one of {', '.join(names)}.")
        return names[0]

    def inside(self, name: str, turn: int = 1) -> GraphView:
        """The graph of one turn of a loop, or of the case of a branch that is taken, at its own point.

        Args:
            name: of the loop's or branch's node, such as "v1".
            turn: of a loop, counted from 1.

        Returns:
            A `GraphView` of its own: with tables, pictures, and loops inside it.

        Raises:
            ArgumentError: no such loop, or no such turn.

        Example:
            >>> import jax
            >>> doubled = lambda x: jax.lax.fori_loop(0, 3, lambda k, s: 2.0 * s, x)
            >>> print(graph(doubled)(1.5).inside("v1", turn=2).table().rows[-1]["value"])
            6.0
        """
        body = inside(self._numbers, name, "inside")
        return GraphView(body.at(body.checked(turn, 0)).reading)

    # -- printing ------------------------------------------------------------------------------------

    def table(self) -> Table:
        """Every node: what it does, its value, the user's source line."""
        reading = self._reading
        lines = [line_of(node) for node in shown(reading)]
        columns = ("node", "formula", "value", *(("source line",) if any(lines) else ()))
        rows = tuple(
            (
                cells.formula(reading.symbols[node]),
                written(reading, node),
                cells.value(self._numbers.values[node]),
                *((Cell(line.rpartition("/")[2]),) if any(lines) else ()),
            )
            for node, line in zip(shown(reading), lines, strict=True)
        )
        return Table(reading.title, columns, rows, (), frozenset({2}))

    def draw(
        self, beside: str | None = None, wrt: str | None = None, direction: Any = None, fold: str = "auto"
    ) -> Picture:
        """The graph as a picture in layers, arguments above, the result below.

        Nodes show what they do and their value, edges the local derivative. Nodes that are not linear open a core of
        the Hessian and are orange; edges that carry a leg of a core are blue.

        Args:
            beside: "adjoints" or "tangents", to show them below the values.
            wrt: for tangents the variable that moves.
            direction: for tangents of a variable with axes.
            fold: "auto" folds a graph of more than 24 nodes by source line, then by function; or "none", "line",
                "function".

        Returns:
            A `Picture`: shows itself in notebooks, `svg` is its text, `save` writes a file.

        Raises:
            ArgumentError: something else was asked for.
            OutputError: adjoints were asked for, and the result is not one number.
        """
        if beside not in (None, "adjoints", "tangents"):
            raise ArgumentError(f"draw got beside={beside!r}; give 'adjoints', 'tangents' or None.")
        moved = None
        if beside == "tangents":
            moved = tangents_along(self._numbers, self._only(wrt, "draw"), direction, "draw")
        if beside == "adjoints":
            self._numbers.need_one_number("draw with adjoints")
        return picture(self._numbers, beside, moved, fold)

    @property
    def svg(self) -> str:
        """The picture's text."""
        return self.draw().svg

    def _repr_html_(self) -> str:
        return self.draw().inline()

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_latex_(self) -> str:
        """What each node does, as aligned equations."""
        reading = self._reading
        lines = [
            f"{cells.formula(reading.symbols[node]).latex} &= {cells.formula(reading.operations[node]).latex}"
            for node in shown(reading)
            if node not in reading.leaves
        ]
        return "$$\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}$$"

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__


def _number(value: Any) -> Any:
    return value.item() if value.ndim == 0 else value


def graph(f: Callable[..., Any] | str | Sequence[object], /, **values: Any) -> Any:
    """The computational graph of a function or formula at a point, as something to look at.

    Args:
        f: a function of arrays with one result; or a formula, as text or as nested lists with the operator first
            (``["*", "w2", ["log", "w1"]]``) or between (``["w2", "*", ["log", "w1"]]``).
        **values: of a formula, a number or array for each variable; what the variable is (scalar, vector, matrix)
            follows from it.

    Returns:
        A `GraphView`. For a function, a function of its arguments that returns one; derivatives are shown with respect
        to all of its floating-point arguments.

    Raises:
        FormulaError: a formula that cannot be read, a variable without a value, a value without a variable.
        ArgumentError, OutputError, TracingError: when the returned function is called; as the verbs.

    Example:
        >>> print(graph("w2*log(w1) + sqrt(w2*log(w1))", w1=2.0, w2=3.0))
        w2*log(w1) + sqrt(w2*log(w1))
        node  formula      value
        ────  ────────  ────────
        w₂    argument         3
        w₁    argument         2
        v₁    log(w₁)   0.693147
        v₂    w₂v₁       2.07944
        v₃    √v₂        1.44203
        v₄    v₂ + v₃    3.52147
    """
    if callable(f):
        if values:
            raise ArgumentError(
                f"graph got a function together with values for {', '.join(values)}. Call what it returns with the "
                "arguments: graph(f)(x)."
            )
        function = f

        def at(*args: Any, **kwargs: Any) -> GraphView:
            return GraphView(of_function(function, args, kwargs))

        return at
    if not isinstance(f, str | list | tuple):
        raise ArgumentError(f"graph needs a function, a formula or nested lists; it got a {type(f).__name__}.")
    return GraphView(of_formula(f, values))
