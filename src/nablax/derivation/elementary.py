"""A formula before it is traced: rewritten by the rows of the table of identities that are for formulas.

Two passes, operands first: identities of functions of functions, then definitions of single functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nablax.derivation.identities import IDENTITIES, WHOLE, Stage, sides
from nablax.formula import Formula, Operation, Shape, Size, Typed


def elementary(formula: Formula) -> Formula:
    """The same function without guards, in terms that have derivatives with a notation.

    Args:
        formula: what was parsed.

    Returns:
        A formula with the same variables; its expressions keep the syntax of what they came from.

    Example:
        >>> from nablax.formula import parse_formula
        >>> elementary(parse_formula("det(X^3)")).expression.operation.name
        'POWER'
    """
    expression = formula.expression
    for stage in (Stage.FUNCTION, Stage.DEFINITION):
        expression = rebuilt(expression, lambda node, stage=stage: _rewritten(node, stage))  # type: ignore[misc]
    return replace(formula, expression=expression)


def rebuilt(node: Typed, change: Callable[[Typed], Typed], known: dict[int, Typed] | None = None) -> Typed:
    """A tree with a change made to every node, operands first."""
    known = {} if known is None else known
    if id(node) not in known:
        operands = tuple(rebuilt(operand, change, known) for operand in node.operands)
        same = all(new is old for new, old in zip(operands, node.operands, strict=True))
        known[id(node)] = change(node if same else replace(node, operands=operands, value=None))
    return known[id(node)]


def _rewritten(node: Typed, stage: Stage) -> Typed:
    """The right side of the first row whose left side a node is, as long as there is one."""
    if node.operation is not Operation.CALL or node.label not in HEADS[stage]:
        return node
    for identity in IDENTITIES:
        if identity.stage is not stage or not identity.left.startswith(f"{node.label}("):
            continue
        for left, right in sides(identity):
            match = _Match(stage)
            if match.binds(left.expression, node):
                return match.built(right.expression, node)
    return node


HEADS = {stage: {row.left.partition("(")[0] for row in IDENTITIES if row.stage is stage} for stage in Stage}


class _Match:
    """What the variables, sizes and the whole number of a row stand for."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._values: dict[str, Typed] = {}
        self._sizes: dict[str, Size] = {}
        self._wholes: list[int] = []

    def binds(self, pattern: Typed, node: Typed) -> bool:
        """Whether a node is an instance of a pattern."""
        if pattern.operation is Operation.VARIABLE:
            if pattern.label in self._values:
                return self._values[pattern.label] == node
            self._values[pattern.label] = node
            axes = pattern.shape.axes, node.shape.axes
            return len(axes[0]) == len(axes[1]) and all(
                self._sizes.setdefault(str(own), found) == found for own, found in zip(*axes, strict=True)
            )
        if pattern.operation is Operation.NUMBER and pattern.value == WHOLE:
            is_whole = node.operation is Operation.NUMBER and node.value is not None and float(node.value).is_integer()
            self._wholes += [int(node.value)] if is_whole and node.value is not None else []
            return is_whole and (node.value or 0) > 0
        if pattern.operation is Operation.NUMBER:
            return node.value == pattern.value
        same = pattern.operation is node.operation and pattern.label == node.label
        if not same or len(pattern.operands) != len(node.operands) or not self._options(pattern, node):
            return False
        return all(self.binds(one, other) for one, other in zip(pattern.operands, node.operands, strict=True))

    def _options(self, pattern: Typed, node: Typed) -> bool:
        if pattern.options == (WHOLE,) and isinstance(node.options[0], int):
            self._wholes.append(node.options[0])
            return True
        return pattern.options == node.options

    def built(self, pattern: Typed, at: Typed) -> Typed:
        """An instance of a pattern."""
        if pattern.operation is Operation.VARIABLE:
            return self._values[pattern.label]
        if pattern.value == WHOLE:
            return replace(pattern, value=self._wholes[0], options=(self._wholes[0],), syntax=at.syntax)
        shape = Shape(tuple(self._sizes.get(str(size), size) for size in pattern.shape.axes), pattern.shape.is_row)
        operands = tuple(self.built(one, at) for one in pattern.operands)
        options = (self._wholes[0],) if pattern.options == (WHOLE,) else pattern.options
        made = replace(pattern, operands=operands, shape=shape, syntax=at.syntax, options=options)
        return _rewritten(made, self._stage)
