"""Text in: a formula or a nested list to a typed expression, to a JAX function, to points of its domain.

The pipeline is one module per step: parse or nested (text to syntax), declarations (what names are), shapes
and calls (syntax to typed expression), front (all of that), evaluate (typed expression to function), sample
(points).
"""

from nablax.errors import FormulaError
from nablax.formula.declarations import parse_declarations
from nablax.formula.evaluate import bind_sizes, to_function
from nablax.formula.front import parse_formula
from nablax.formula.parse import parse_expression
from nablax.formula.sample import choose_sizes, sample_point
from nablax.formula.sizes import Shape, Size
from nablax.formula.symmetry import is_symmetric
from nablax.formula.typed import Formula, Kind, Operation, Typed, Variable

__all__ = [
    "Formula",
    "FormulaError",
    "Kind",
    "Operation",
    "Shape",
    "Size",
    "Typed",
    "Variable",
    "bind_sizes",
    "choose_sizes",
    "is_symmetric",
    "parse_declarations",
    "parse_expression",
    "parse_formula",
    "sample_point",
    "to_function",
]
