"""How each primitive of JAX is read: the documentation's table, and a test that keeps it complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from nablax.graph.from_jaxpr import TABLES
from nablax.graph.linear_rows import row_of
from nablax.graph.recognise import CALLED
from nablax.graph.rewritten import PRODUCTS
from nablax.ops.elementwise import ROWS as ELEMENTWISE
from nablax.ops.jaxprs import INLINED
from nablax.ops.library_functions import ROWS as WHOLE
from nablax.ops.linear_map import ROWS as LINEAR
from nablax.ops.matrix_functions import ROWS as MATRIX


class Reading(Enum):
    """What a primitive becomes in the graph."""

    ELEMENTWISE = "a scalar function of each element"
    STRUCTURED = "a row of its own"
    REWRITTEN = "read as other operations"
    LOOP = "opaque for first derivatives; second ones turn by turn"
    INLINED = "read as its body"
    WHOLE = "one operation, whose derivatives are stated as programs"
    OPAQUE = "opaque: differentiated by JAX"
    DATA = "no derivative"


@dataclass(frozen=True, slots=True)
class Entry:
    """One primitive.

    Args:
        name: its name in JAX.
        reading: what it becomes.
        reason: in which table its row stands; why it has none, where it has none.
    """

    name: str
    reading: Reading
    reason: str = ""


_AT_RUN_TIME = "which elements are meant is known at run time only"
_COLLECTIVE = "moves values between devices"
_COMPLEX = "complex values stand in the graph as pairs of real ones, inside JAX's rule"
_RANDOM = "random numbers"
_EFFECT = "an effect or a placement, no arithmetic"
_USER = "a rule of the user's, honoured as such"
_FACTORS = "a factorisation without a row"

# Primitives without a row that JAX differentiates, or that only pass values on, and why they have none.
OPAQUE: Mapping[str, str] = {
    **dict.fromkeys(("approx_top_k", "select_and_scatter"), _AT_RUN_TIME),
    **dict.fromkeys(("all_gather", "all_to_all", "pmax", "pmin", "ppermute", "psum", "ragged_all_to_all"), _COLLECTIVE),
    **dict.fromkeys(("eig", "schur"), _COMPLEX),
    "custom_lin": _USER,
    "custom_vjp_call": "a rule of the user's for reverse mode, honoured as such; an axis that it keeps passes",
    "custom_linear_solve": "solved as the user says; its derivatives follow from its product, which is read as a graph",
    **dict.fromkeys(("householder_product", "hessenberg", "lu", "tridiagonal", "tridiagonal_solve"), _FACTORS),
    **dict.fromkeys(("device_put", "name", "sharding_constraint", "get", "swap"), _EFFECT),
    **dict.fromkeys(("reduce", "reduce_window"), "combines elements by a function of the user's"),
    "cond": "the branch is chosen at run time; an axis on which every case acts element by element passes",
    "while": "the number of turns is known at run time only",
    "random_gamma": "JAX differentiates the sampler in its parameter",
}

# Primitives that are read as others.
REWRITTEN: Mapping[str, str] = {
    **dict.fromkeys(PRODUCTS, "a tree of operations on pairs of elements, as in JAX's own derivative"),
    **dict.fromkeys(("complex", "conj", "imag", "real"), "a pair of real arrays stands for a complex one"),
}

# Primitives whose results carry no derivative.
DATA: Mapping[str, str] = {
    **dict.fromkeys(("argmax", "argmin", "axis_index", "iota"), "integers"),
    **dict.fromkeys(("reduce_and", "reduce_or", "reduce_xor"), "logic"),
    **dict.fromkeys(
        ("random_bits", "random_fold_in", "random_seed", "random_split", "rng_bit_generator", "rng_uniform"), _RANDOM
    ),
    "threefry2x32": _RANDOM,
    **dict.fromkeys(("after_all", "create_token", "empty2"), _EFFECT),
}


def entry(name: str) -> Entry | None:
    """How a primitive is read.

    Args:
        name: its name in JAX.

    Returns:
        The entry; None for a primitive that no table knows. The reader makes such a one opaque.

    Example:
        >>> entry("tanh").reading.name, entry("cond").reason
        ('ELEMENTWISE', 'the branch is chosen at run time; an axis on which every case acts element by element passes')
    """
    rooms = [room for room, table in TABLES.items() if name in table]
    rooms += ["linear map"] if row_of(name) is not None else []
    if rooms:
        return Entry(name, Reading.STRUCTURED, " or ".join(rooms))
    if name in ELEMENTWISE:
        flat = ELEMENTWISE[name]
        if flat.flat or not flat.domain:
            return Entry(name, Reading.DATA, "constant between its steps, or no real number")
        return Entry(name, Reading.ELEMENTWISE)
    if name in REWRITTEN:
        return Entry(name, Reading.REWRITTEN, REWRITTEN[name])
    if name in INLINED or name == "custom_jvp_call":
        return Entry(name, Reading.INLINED)
    if name == "scan":
        return Entry(name, Reading.LOOP)
    if name in OPAQUE:
        return Entry(name, Reading.OPAQUE, OPAQUE[name])
    if name in DATA:
        return Entry(name, Reading.DATA, DATA[name])
    return None


def library() -> tuple[Entry, ...]:
    """How functions of JAX's library are read that are calls and become one operation, sorted by name.

    Example:
        >>> [one.name for one in library()]
        ['det', 'expm', 'inv', 'slogdet', 'solve']
    """
    rows = (row for table in (MATRIX, LINEAR) for row in table.values())
    named = {*CALLED, *(row.name for row in rows if row.function is not None)}
    found = [
        Entry(name, Reading.STRUCTURED, "matrix function" if name not in LINEAR else "linear map") for name in named
    ]
    return tuple(sorted([*found, *(Entry(name, Reading.WHOLE) for name in WHOLE)], key=lambda one: one.name))
