"""How functions are written: one row for each, read by formulas, printers, closed forms and the tables of teaching."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notation:
    """One function.

    Args:
        name: its name in formulas and closed forms.
        primitives: primitives of JAX that are this function.
        spellings: other names in formulas.
        printed: how it is printed: a name, or fences around a blank; empty for its name.
        latex: its command; empty for upright letters.
        numpy: its name in NumPy; empty for the same.
        special: its name in ``scipy.special``, where NumPy lacks it.
        parity: 1 where f(−x) = f(x), -1 where f(−x) = −f(x).
        at_zero: its value there, where that is a whole number.
        raised: whether a power stands behind the name: sin²(x).
        in_formulas: whether formulas have it as a function of each element.
    """

    name: str
    primitives: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()
    printed: str = ""
    latex: str = ""
    numpy: str = ""
    special: str = ""
    parity: int = 0
    at_zero: int | None = None
    raised: bool = False
    in_formulas: bool = True


_ROWS = (
    Notation("sin", ("sin",), latex=r"\sin", parity=-1, at_zero=0, raised=True),
    Notation("cos", ("cos",), latex=r"\cos", parity=1, at_zero=1, raised=True),
    Notation("tan", ("tan",), latex=r"\tan", parity=-1, at_zero=0, raised=True),
    Notation("arcsin", ("asin",), ("asin",), latex=r"\arcsin", parity=-1, at_zero=0),
    Notation("arccos", ("acos",), ("acos",), latex=r"\arccos"),
    Notation("arctan", ("atan",), ("atan",), latex=r"\arctan", parity=-1, at_zero=0),
    Notation("sinh", ("sinh",), latex=r"\sinh", parity=-1, at_zero=0, raised=True),
    Notation("cosh", ("cosh",), latex=r"\cosh", parity=1, at_zero=1, raised=True),
    Notation("tanh", ("tanh",), latex=r"\tanh", parity=-1, at_zero=0, raised=True),
    Notation("exp", ("exp",), latex=r"\exp", at_zero=1),
    Notation("expm1"),
    Notation("log", ("log",), ("ln",), latex=r"\log", raised=True),
    Notation("log1p"),
    Notation("sqrt"),
    Notation("square"),
    Notation("abs", ("abs",), ("absolute",), "|{}|", parity=1, at_zero=0),
    Notation("sign", ("sign",), parity=-1, at_zero=0),
    Notation("relu"),
    Notation("sigmoid", ("logistic",), ("expit", "logistic"), "σ"),
    Notation("softplus"),
    Notation("erf", ("erf",), special="erf", parity=-1, at_zero=0),
    Notation("lgamma", ("lgamma",), ("gammaln",), special="gammaln"),
    Notation("digamma", ("digamma",), ("psi",), special="digamma"),
    Notation("trigamma", special="polygamma"),
    Notation("Phi", (), ("normcdf",), "Φ", r"\Phi", special="ndtr"),
    *(
        Notation(name, primitives, printed=printed, latex=latex, numpy=numpy, special=special, in_formulas=False)
        for name, primitives, printed, latex, numpy, special in (
            ("arsinh", ("asinh",), "", "", "arcsinh", ""), ("arcosh", ("acosh",), "", "", "arccosh", ""),
            ("artanh", ("atanh",), "", "", "arctanh", ""),
            ("polygamma", (), "", "", "", "polygamma"),
            ("max", ("max", "reduce_max"), "", r"\max", "maximum", ""),
            ("min", ("min", "reduce_min"), "", r"\min", "minimum", ""),
            ("pow", ("pow",), "", "", "", ""), ("floor", ("floor",), "⌊{}⌋", "", "", ""),
            ("ceil", ("ceil",), "⌈{}⌉", "", "", ""), ("det", (), "", r"\det", "", ""),
            ("logdet", (), "log det", r"\log\det", "", ""), ("tr", (), "", r"\operatorname{tr}", "", ""),
            ("norm", (), "‖{}‖", "", "", ""), ("norm_F", (), "‖{}‖", "", "", ""), ("norm_2", (), "‖{}‖", "", "", ""),
            ("norm_nuc", (), "‖{}‖", "", "", ""), ("norm_1", (), "norm₁", "", "", ""),
            ("softmax_rows", (), "softmax", "", "", ""), ("diagonal", (), "diag", "", "", ""),
        )
    ),
)  # fmt: skip
FUNCTIONS = {row.name: row for row in _ROWS}
PRIMITIVES = {primitive: row.name for row in _ROWS for primitive in row.primitives}
PRINTED_LATEX = {row.printed or row.name: row.latex for row in _ROWS if row.latex}
UNCHANGED = frozenset({"copy", "convert_element_type", "stop_gradient", "reduce_precision"})

# Columns of the factors of a matrix: of which one each is, and its place.
COLUMNS = {
    "eigenvector": ("eigenvectors", -1), "first_eigenvector": ("eigenvectors", 0),
    "left_vector": ("left_vectors", 0), "right_vector": ("right_vectors", 0),
}  # fmt: skip

# Comparisons: in formulas and in Python, printed, and the primitives of JAX.
_RELATIONS = (
    ("<", "<", ("lt", "lt_to")), (">", ">", ("gt",)), ("<=", "≤", ("le", "le_to")), (">=", "≥", ("ge",)),
    ("==", "=", ("eq", "eq_to")), ("!=", "≠", ("ne",)),
)  # fmt: skip
SIGNS = {plain: printed for plain, printed, _ in _RELATIONS}
RELATIONS = {printed: plain for plain, printed, _ in _RELATIONS}
COMPARED = {primitive: printed for _, printed, primitives in _RELATIONS for primitive in primitives}

_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi"
)
SMALL_GREEK = dict(zip([*_LETTERS.split(), "chi", "psi", "omega"], "αβγδεζηθικλμνξοπρστυφχψω", strict=True))
_LARGE = ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "phi", "psi", "omega")
GREEK = SMALL_GREEK | {name.capitalize(): SMALL_GREEK[name].upper() for name in _LARGE}


def enter(name: str, printed: str | None) -> None:
    """A user's function: printed by a name or fences around a blank; None for its own name."""
    FUNCTIONS[name] = Notation(name, (name,), printed=printed or "")
    PRIMITIVES[name] = name


def printed(name: str) -> str:
    """How a function is printed: a name, or fences around a blank."""
    return (FUNCTIONS[name].printed if name in FUNCTIONS else "") or name
