"""What factors of a product tell by themselves: selections, guards, the labels of windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nablax.contraction.index import Index, Label, same_index
from nablax.graph.node import NodeFactor
from nablax.ops.kinds import Constant, Selection


def selected_label(factor: NodeFactor) -> Label | None:
    """The label along which a factor selects; None where it is no selection, or not along a label of its own."""
    if not isinstance(factor.operand.kind, Selection):
        return None
    label = factor.axes[-1].label
    return None if label is None or any(label in index.labels for index in factor.axes[:-1]) else label


def first_selected(factors: Sequence[NodeFactor]) -> Label | None:
    """A label along which a factor selects; one that tells where another selection's positions stand comes first."""
    labels = [label for factor in factors if (label := selected_label(factor)) is not None]
    inner = {x for factor in factors if selected_label(factor) is not None for i in factor.axes[:-1] for x in i.labels}
    return next((label for label in labels if label in inner), labels[0] if labels else None)


def unguarded(factors: Sequence[NodeFactor]) -> tuple[NodeFactor, ...]:
    """Factors without guards that say nothing: another factor is read at the index, and is zero outside as well.

    Where the index does not leave its axis any more, only its labels have to stand elsewhere, to be summed over.
    """
    guards = [factor for factor in factors if is_guard(factor)]
    if not guards:
        return tuple(factors)
    kept = [factor for factor in factors if not is_guard(factor)]
    for guard in guards:
        [at] = guard.axes
        if at.leaves:
            known = any(same_index(at, index) for factor in kept for index in factor.axes)
        else:
            known = {*at.labels} <= {label for factor in kept for label in factor.labels}
        if not known:
            kept.append(guard)
    return tuple(kept)


def is_guard(factor: NodeFactor) -> bool:
    """Whether a factor is a row of ones."""
    kind = factor.operand.kind
    if not isinstance(kind, Constant) or len(factor.axes) != 1:
        return False
    return isinstance(kind.value, np.ndarray) and bool((kind.value == 1).all())


def windows_last(axes: Sequence[Index]) -> tuple[Label, ...]:
    """The labels of axes; the places in windows together, where the last window stands.

    A product with a kernel sums over them: it is one matrix product of arrays as they lie in memory.
    """
    last = max((k for k, index in enumerate(axes) if len(index.labels) > 1), default=-1)
    windows = [label for index in axes[: last + 1] for label in index.labels[1:]]
    first = [label for index in axes[: last + 1] for label in index.labels[:1]]
    rest = [label for index in axes[last + 1 :] for label in index.labels]
    return tuple(dict.fromkeys((*first, *windows, *rest)))
