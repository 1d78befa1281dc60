"""`nablax.define`: a function of the user's own enters the registry."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Sequence
from typing import Any

from nablax.definitions.elementwise import Interval, check_elementwise, elementwise, in_double, takes_value
from nablax.definitions.matrix import check_terms, einsum_term, matrix_row, square, with_terms
from nablax.errors import DefinitionError
from nablax.formula.evaluate import enter as enter_value
from nablax.formula.functions import SPELLINGS
from nablax.formula.functions import enter as enter_spelling
from nablax.notation import enter as enter_notation
from nablax.ops.elementwise import ROWS as PRIMITIVES
from nablax.ops.matrix_functions import ROWS
from nablax.ops.registry import enter as enter_row
from nablax.printing.languages import enter as enter_source

Function = Callable[..., Any]

# Where a function is checked that states no domain.
ANYWHERE: Interval = (-3.0, 3.0)

_DEFINED: set[str] = set()


def define(
    name: str,
    value: Function,
    partials: Any,
    *,
    notation: str | None = None,
    domain: Any = None,
) -> Function:
    """A function with derivatives of your own, for JAX code and formulas, every verb and print.

    The rule is compared with differences of the value at random points of the domain before anything else happens; a
    wrong one is refused, with the point and the two numbers. Higher derivatives follow from the partials, which are
    JAX code themselves.

    Args:
        name: an identifier; how formulas call it. A name of your own may be defined again.
        value: JAX code. Elementwise: a function of numbers that works on arrays of one shape. Matrix function: any
            function of arrays.
        partials: for an elementwise function its derivative, or a sequence of partial derivatives, one per argument:
            functions of the same arguments. One that has a keyword argument `value` is given the function's value, so
            that the derivative of exp is ``lambda x, *, value: value``. For a matrix function a sequence with, for
            each argument, a list of einsum terms ``(coefficient, "factors->value axes,argument axes", factor, …)``,
            each factor "value" or the number of an argument; a letter on both sides is a Kronecker delta.
        notation: how it is printed: a name ("Φ"), or fences around a blank ("⟨{}⟩"); None for its name.
        domain: where the rule holds: (low, high), one for all arguments or a sequence of one for each; for a matrix
            function a function of a `numpy.random.Generator` that gives arguments. None for (-3, 3), or one
            well-conditioned 3 × 3 matrix.

    Returns:
        The function. It works under `jit`, `vmap` and JAX's own derivatives, which use the rule as well.

    Raises:
        DefinitionError: the name is taken, the rule is wrong, or what is given does not fit together.

    Example:
        >>> from nablax.derivatives import hessian
        >>> import jax.numpy as jnp
        >>> cube = define("cube", lambda x: x**3, lambda x: 3 * x**2)
        >>> hessian(lambda x: jnp.sum(cube(x)))(jnp.array([1.0, 2.0]))
        Array([[ 6.,  0.],
               [ 0., 12.]], dtype=float32)

    Source:
        The rule is a `jax.custom_jvp`; Griewank and Walther 2008, section 13.2, for elementals in general.
    """
    _check_name(name)
    if not callable(value):
        raise DefinitionError(f"{name} needs a value that is a function; it got a {type(value).__name__}.")
    rules = [partials] if callable(partials) else list(partials)
    if not rules:
        raise DefinitionError(f"{name} was given no partials. Give one for each argument.")
    if all(callable(rule) for rule in rules):
        function = _elementwise(name, value, rules, domain)
        if len(rules) <= 2:
            enter_spelling(name, len(rules))
            enter_value(name, function, len(rules))
        enter_source(name, in_double(function))
    elif not any(callable(rule) for rule in rules):
        terms = [[einsum_term(name, one) for one in rule] for rule in rules]
        sample = square if domain is None else domain
        if not callable(sample):
            raise DefinitionError(
                f"{name} was given domain={domain!r}. For a matrix function it is a function of a "
                "numpy.random.Generator that gives one array for each argument."
            )
        check_terms(name, value, terms, sample)
        function = with_terms(name, value, terms)
        enter_row(matrix_row(name, function, terms, sample))
    else:
        raise DefinitionError(
            f"{name} was given both functions and einsum terms as partials. Give functions for an elementwise "
            "function, lists of einsum terms for a matrix function."
        )
    enter_notation(name, notation)
    _DEFINED.add(name)
    function.__doc__ = f"{name}, defined with a derivative rule of its own."
    return function


def _elementwise(name: str, value: Function, rules: Sequence[Function], domain: Any) -> Function:
    count = len(rules)
    _check_arity(name, value, rules)
    check_elementwise(name, value, rules, _intervals(name, domain, count))
    return elementwise(name, value, rules)


def _check_arity(name: str, value: Function, rules: Sequence[Function]) -> None:
    for what, function in (("value", value), *((f"partial {k}", rule) for k, rule in enumerate(rules))):
        try:
            inspect.signature(function).bind(*rules, **({"value": 0} if takes_value(function) else {}))
        except TypeError as error:
            plural = "" if len(rules) == 1 else "s"
            raise DefinitionError(
                f"{name} was given {len(rules)} partial{plural}, so that it has {len(rules)} argument{plural}; its "
                f"{what} does not take them: {error}."
            ) from error
        except ValueError:  # a function without a signature
            continue


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise DefinitionError(f"a function was to be defined under the name {name!r}. Give an identifier.")
    if name not in _DEFINED and (name in SPELLINGS or name in ROWS or name in PRIMITIVES):
        raise DefinitionError(f"a function was to be defined under the name {name!r}, which is taken. Give another.")


def _intervals(name: str, domain: Any, count: int) -> list[Interval]:
    if domain is None:
        return [ANYWHERE] * count
    try:
        listed = [domain] * count if isinstance(domain[0], int | float) else list(domain)
        found = [(float(low), float(high)) for low, high in listed]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        found = []
        raise DefinitionError(_wrong_domain(name, domain, count)) from error
    if len(found) != count or any(not low < high for low, high in found):
        raise DefinitionError(_wrong_domain(name, domain, count))
    return found


def _wrong_domain(name: str, domain: Any, count: int) -> str:
    return (
        f"{name} was given domain={domain!r}. Give (low, high) with low < high, or one such pair for each of its "
        f"{count} argument{'' if count == 1 else 's'}."
    )
