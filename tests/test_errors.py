"""Every error with its full text: what was asked, what was found, what to do."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nablax as nb
from nablax import calling
from nablax.errors import NEEDS_A_VALUE

X = np.array([1.0, 2.0])
SCALAR_VERBS = {
    "hessian_diagonal": lambda f, *args: nb.hessian_diagonal(f)(*args),
    "laplacian": lambda f, *args: nb.laplacian(f)(*args),
    "hvp": lambda f, x, *rest: nb.hvp(f)(x, x, *rest),
    "quadratic_form": lambda f, x, *rest: nb.quadratic_form(f)(x, x, *rest),
    "curvature": lambda f, *args: nb.curvature(f)(*args),
}


def cube(x: Any, *_: Any, **__: Any) -> Any:
    return jnp.sum(x**3)


def message(error: type[nb.NablaxError], ask: Any) -> str:
    """The text of the error that a call raises."""
    with pytest.raises(error) as caught:
        ask()
    assert type(caught.value) is error
    return str(caught.value)


# -- the differentiated argument ---------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["hessian", "hessian_diagonal", "laplacian", "curvature"])
def test_integers(verb: str) -> None:
    assert message(nb.ArgumentError, lambda: getattr(nb, verb)(cube)(np.array([1, 2]))) == (
        f"{verb} was asked for derivatives with respect to argument 0, which holds an array int64[2]; derivatives exist "
        "for real floating-point arrays only. Pass x.astype(float), or leave this argument out of argnums."
    )


def test_booleans() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube, argnums=1)(X, np.array(True))) == (
        "hessian was asked for derivatives with respect to argument 1, which holds an array bool[]; derivatives exist "
        "for real floating-point arrays only. Pass x.astype(float), or leave this argument out of argnums."
    )


def test_complex() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)(1j * X)) == (
        "hessian was asked for derivatives with respect to argument 0, which holds an array complex128[2]; derivatives "
        "exist for real floating-point arrays only. Pass real and imaginary part as two real arrays, or leave this "
        "argument out of argnums."
    )


@pytest.mark.parametrize(("value", "kind"), [(3, "int"), (True, "bool"), ("abc", "str")])
def test_python_values(value: Any, kind: str) -> None:
    assert message(nb.ArgumentError, lambda: nb.hvp(cube)(value, X)) == (
        f"hvp was asked for derivatives with respect to argument 0, which holds a Python {kind} ({value!r}). Pass "
        "floating-point arrays or numbers there, or leave this argument out of argnums."
    )


def test_an_integer_deep_in_a_tree() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(lambda p: cube(p["a"]))({"a": X, "n": 2})) == (
        "hessian was asked for derivatives with respect to argument 0, which holds a Python int (2). Pass "
        "floating-point arrays or numbers there, or leave this argument out of argnums."
    )


@pytest.mark.parametrize("empty", [None, {}, (), [None]])
def test_nothing_to_differentiate(empty: Any) -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)(empty)) == (
        "hessian was asked for derivatives with respect to argument 0, which holds no array. Pass at least one "
        "floating-point array or number there, or choose another argnums."
    )


@pytest.mark.parametrize("argnums", [1, -2, (0, 3)])
def test_argnums_out_of_range(argnums: Any) -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube, argnums=argnums)(X)) == (
        f"hessian was asked for argnums={argnums!r}, but the call has 1 positional argument. Name 0, and pass the "
        "differentiated arguments by position."
    )
    assert message(nb.ArgumentError, lambda: nb.plan(cube, "trace", argnums=2)(X, X)) == (
        "plan was asked for argnums=2, but the call has 2 positional arguments. Name positions between 0 and 1, and "
        "pass the differentiated arguments by position."
    )


def test_the_argument_by_keyword() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)(x=X)) == (
        "hessian was asked for argnums=0, but the call has no positional argument. Pass the differentiated arguments "
        "by position, not by keyword."
    )


@pytest.mark.parametrize("argnums", ["x", None, 1.0, (0, 1.5), (0, "x"), True, (False,), b"0"])
def test_argnums_that_are_no_positions(argnums: Any) -> None:
    assert message(nb.ArgumentError, lambda: calling.positions("hessian", argnums)) == (
        f"hessian was asked for argnums={argnums!r}. Give the position of a positional argument (the first is 0), or a "
        "tuple of positions."
    )


@pytest.mark.parametrize("argnums", ["x", (0, 1.5), (0, "x")])
def test_a_call_with_argnums_that_are_no_positions(argnums: Any) -> None:
    assert "Give the position of a positional argument (the first is 0), or a tuple of positions." in message(
        nb.ArgumentError, lambda: nb.hessian(cube, argnums=argnums)(X)
    )


def test_argnums_may_be_numpys_integers() -> None:
    assert calling.positions("hessian", np.int64(1)) == 1
    assert type(calling.positions("hessian", np.int64(1))) is int
    assert calling.positions("hessian", [np.int64(1), -1]) == (1, -1)


def test_argnums_that_name_nothing() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube, argnums=())(X)) == (
        "hessian was asked for argnums=(), which names no argument. Name at least one position."
    )


@pytest.mark.parametrize("argnums", [(0, 0), (0, -2)])
def test_argnums_twice(argnums: Any) -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube, argnums=argnums)(X, X)) == (
        f"hessian was asked for argnums={argnums!r}, which names an argument twice. Name it once."
    )


def test_other_arguments_that_are_neither_data_nor_static() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)(X, {1, 2})) == (
        "hessian got an argument of type set in position 1, which is neither an array nor hashable. Pass arrays, "
        "numbers, strings, or trees (lists, dicts, tuples) of them."
    )


class Layer(equinox.Module):
    """A module as users write it: weights, a function and a size, all of them leaves."""

    weight: Any
    activation: Any
    size: Any


SPLIT = (
    "Split the module first, params, static = eqx.partition(model, eqx.is_inexact_array), and differentiate with "
    "respect to params, with eqx.combine(params, static) inside the function."
)


@pytest.mark.parametrize(
    ("model", "held"),
    [
        (Layer(X, jnp.tanh, None), "a function (tanh)"),
        (Layer(X, lambda x: x, None), "a function (test_equinox_modules_with_other_leaves.<lambda>)"),
        (Layer(X, None, 3), "a Python int (3)"),
        (Layer(X, None, "a text that is much longer than what a message has room for"), "a Python str"),
        (Layer(X, None, np.array([1, 2])), "an array int64[2]; derivatives exist for real floating-point arrays only"),
        ({"first": [Layer(X, None, 3)]}, "a Python int (3)"),
    ],
)
def test_equinox_modules_with_other_leaves(model: Any, held: str) -> None:
    held = held.replace("test_equinox_modules_with_other_leaves.", "")
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)(model)) == (
        f"hessian was asked for derivatives with respect to argument 0, which holds {held}. {SPLIT}"
    )


def test_equinox_modules_split_as_the_message_says() -> None:
    params, static = equinox.partition(Layer(X, jnp.tanh, 3), equinox.is_inexact_array)

    def loss(params: Any) -> Any:
        model = equinox.combine(params, static)
        return jnp.sum(model.activation(model.weight)) * model.size

    slope = 1.0 - np.tanh(X) ** 2
    got = nb.hessian_diagonal(lambda w: loss(Layer(w, None, None)))(X)
    np.testing.assert_allclose(got, 3.0 * -2.0 * np.tanh(X) * slope, rtol=1e-12)
    np.testing.assert_allclose(nb.hessian_diagonal(loss)(params).weight, got)


def test_a_function_outside_a_module() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)({"x": X, "f": np.sin})) == (
        "hessian was asked for derivatives with respect to argument 0, which holds a function (sin). Pass "
        "floating-point arrays or numbers there, or leave this argument out of argnums. If it is an equinox module: "
        f"{SPLIT[0].lower()}{SPLIT[1:]}"
    )


def test_a_long_value_is_left_out_and_not_cut() -> None:
    assert message(nb.ArgumentError, lambda: nb.hessian(cube)("a text " * 9)) == (
        "hessian was asked for derivatives with respect to argument 0, which holds a Python str. Pass floating-point "
        "arrays or numbers there, or leave this argument out of argnums."
    )


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (None, None), (1, 1.0), (2.5e9, 2.5e9), (np.float32(8.0), 8.0), (np.int64(8), 8.0), (float("inf"), float("inf")),
        ("1GB", 1e9), ("1 gb", 1e9), ("512 MiB", 512.0 * 1024**2), ("1.5 TB", 1.5e12), (".5kB", 500.0), ("3e2 KiB", 307200.0),
        ("1000", 1000.0), (" 7 B ", 7.0),
    ],
)  # fmt: skip
def test_bounds_on_memory(value: Any, count: float | None) -> None:
    assert calling.bytes_of(value) == count


@pytest.mark.parametrize("value", ["", "GB", "1 XB", "-1 GB", "1,5 GB", "0 MB", 0, -1.0, float("nan"), True, [1], 1j])
def test_no_bound_on_memory(value: Any) -> None:
    assert message(nb.ArgumentError, lambda: calling.bytes_of(value)) == (
        f"a bound on memory was given as memory_bytes={value!r}. Give a positive number of bytes, a text such as '8 "
        "GB' or '512 MiB', or None for no bound."
    )


@pytest.mark.parametrize("verb", ["hessian", "hessian_diagonal", "laplacian", "hvp", "quadratic_form", "curvature"])
def test_no_function(verb: str) -> None:
    assert message(nb.ArgumentError, lambda: getattr(nb, verb)(3.0)) == (
        f"{verb} needs a function; it got a float. Pass the function itself."
    )


# -- the vector --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["hvp", "quadratic_form"])
def test_no_vector(verb: str) -> None:
    assert message(nb.ArgumentError, lambda: getattr(nb, verb)(cube)(X)) == (
        f"{verb} needs the point and the vector, (x, v, *rest); the call has 1 positional arguments. Pass v second."
    )


def test_a_vector_of_another_shape() -> None:
    assert message(nb.ArgumentError, lambda: nb.hvp(cube)(X, np.ones(3))) == (
        "hvp got a vector v whose leaf 0 has shape [3]; the differentiated argument has shape [2] there. Give v the "
        "shape of that argument."
    )


def test_a_vector_of_another_tree() -> None:
    leaf, tree = jax.tree.structure(0), jax.tree.structure({"a": 0})
    assert message(nb.ArgumentError, lambda: nb.hvp(lambda p: cube(p["a"]))({"a": X}, X)) == (
        f"hvp got a vector v with tree {leaf}; the differentiated argument has tree {tree}. Give v the same tree, for "
        "example jax.tree.map(jax.numpy.ones_like, x)."
    )


@pytest.mark.parametrize(("v", "dtype"), [(1j * X, "complex128"), (X > 0, "bool")])
def test_a_vector_that_is_not_real(v: Any, dtype: str) -> None:
    assert message(nb.ArgumentError, lambda: nb.curvature(cube)(X) @ v) == (
        f"curvature @ v got a vector v whose leaf 0 is {dtype}; a direction is real. Pass a float array."
    )
    assert message(nb.ArgumentError, lambda: nb.curvature(cube)(X).quadratic_form(v)) == (
        f"curvature.quadratic_form got a vector v whose leaf 0 is {dtype}; a direction is real. Pass a float array."
    )


def test_a_part_that_does_not_exist() -> None:
    c = nb.curvature(lambda p: cube(p["a"]))({"a": X})
    tree = jax.tree.structure({"a": 0})
    assert message(nb.ArgumentError, lambda: c.block("b", "a")) == (
        "curvature.block was asked for the part 'b'; there is no 'b' at depth 0 of the differentiated argument, whose "
        f"tree is {tree}. Use keys and indices of that tree; () is everything."
    )
    assert message(nb.ArgumentError, lambda: c.block("a", ("a", 0))) == (
        "curvature.block was asked for the part ('a', 0); there is no 0 at depth 1 of the differentiated argument, "
        f"whose tree is {tree}. Use keys and indices of that tree; () is everything."
    )


# -- the result --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", SCALAR_VERBS)
@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda x: x**2, "float64[2]"),
        (lambda x: (jnp.sum(x), x), "float64[], float64[2]"),
        (lambda x: (), "nothing"),
        (lambda x: jnp.sum(x)[None], "float64[1]"),
    ],
    ids=["a vector", "a tree", "nothing", "one element"],
)
def test_a_result_that_is_not_one_number(verb: str, f: Any, found: str) -> None:
    assert message(nb.OutputError, lambda: SCALAR_VERBS[verb](f, X)) == (
        f"{verb} needs a function that returns one number; this one returns {found}. Sum or index the result, or use "
        "nablax.hessian or nablax.jacobian, which take any result."
    )


@pytest.mark.parametrize(
    ("f", "dtype"),
    [(lambda x: jnp.sum(1j * x), "complex128"), (lambda x: jnp.argmax(x), "int64"), (lambda x: x > 0, "bool")],
)
def test_a_result_that_is_not_real(f: Any, dtype: str) -> None:
    assert message(nb.OutputError, lambda: nb.hessian(f)(X)) == (
        f"a derivative was asked of a function that returns {dtype} values; derivatives exist for real "
        "floating-point results only. Return a float array (for complex results: real and imaginary part, or the "
        "absolute value)."
    )


def test_a_result_that_is_no_array() -> None:
    assert message(nb.OutputError, lambda: nb.hessian(lambda x: "text")(X)) == (
        "a derivative was asked of a function that returns a str. Return arrays or numbers."
    )
    assert message(nb.OutputError, lambda: nb.laplacian(lambda x: "text")(X)) == (
        "laplacian was asked of a function that returns a str. Return arrays or numbers."
    )


# -- strategies and questions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "question", "listed"),
    [
        ("hessian", "hessian", "'auto', 'legs-backward', 'legs-forward', 'columns', 'rows'"),
        ("laplacian", "trace", "'auto', 'legs-backward', 'legs-forward', 'columns'"),
        ("hvp", "hvp", "'auto', 'vector-first'"),
        ("quadratic_form", "quadratic form", "'auto', 'vector-first'"),
    ],
)
def test_a_strategy_that_does_not_exist(verb: str, question: str, listed: str) -> None:
    arguments = (X, X) if question in ("hvp", "quadratic form") else (X,)
    assert message(nb.StrategyError, lambda: getattr(nb, verb)(cube, strategy="magic")(*arguments)) == (
        f"the question {question!r} was asked with strategy='magic', which does not exist. Use one of: {listed}."
    )


def test_a_strategy_that_does_not_answer_the_question() -> None:
    assert message(nb.StrategyError, lambda: nb.hessian(cube, strategy="vector-first")(X)) == (
        "the question 'hessian' was asked with strategy='vector-first', which does not answer it. Use one of: 'auto', "
        "'legs-backward', 'legs-forward', 'columns', 'rows'."
    )


def test_a_question_that_does_not_exist() -> None:
    assert message(nb.StrategyError, lambda: nb.plan(cube, "determinant")) == (
        "a plan was asked for the question 'determinant', which does not exist. Ask one of: 'hessian', 'diagonal', "
        "'trace', 'hvp', 'quadratic form', 'sparse hessian', 'diagonal estimate', 'jacobian', 'sparse jacobian', "
        "'derivative', 'sparse derivative', 'derivative diagonal'."
    )


def test_legs_through_a_reverse_rule() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sum(x**2)

    f.defvjp(lambda x: (jnp.sum(x**2), x), lambda x, g: (2.0 * g * x,))
    assert message(nb.StrategyError, lambda: nb.derivative(f, 3, strategy="legs-forward")(X)) == (
        "the question 'derivative of order 3' was asked with strategy='legs-forward', which cannot answer it for this "
        "function: a custom reverse rule need not give a symmetric derivative. Use strategy='columns' or "
        "strategy='auto'."
    )
    assert message(nb.StrategyError, lambda: nb.derivative_sparse(f, 3)(X)) == (
        "the question 'sparse derivative of order 3' was asked with strategy='auto', which cannot answer it for this "
        "function: a custom reverse rule need not give a symmetric derivative. Ask for the dense answer, or for its "
        "products with vectors (nablax.hvp, nablax.directional)."
    )


def test_a_bound_that_nothing_keeps() -> None:
    text = message(nb.MemoryBoundError, lambda: nb.hessian(cube, memory_bytes=1.0)(X))
    number = text.split("needs about ")[1].split(" bytes")[0]
    least = text.split("holds least, ")[1].split(",")[0]
    assert float(number) > 1.0
    assert text == (
        f"the question 'hessian' was asked with memory_bytes=1; the candidate that holds least, {least}, needs about "
        f"{number} bytes at once. Raise the bound to that, ask for less (of a Hessian a block, the diagonal or the "
        "trace), or use nablax.hvp."
    )


# -- operations --------------------------------------------------------------------------------------------


def test_a_function_that_needs_a_value() -> None:
    text = message(nb.TracingError, lambda: nb.hessian(lambda x: cube(x) if x[0] > 0 else -cube(x))(X))
    start = (
        f"a derivative was asked of a function that needs, at {__file__}:"
        f"{inspect.getsourcelines(test_a_function_that_needs_a_value)[1] + 1}, the value of an argument while it is traced (a Python 'if', "
        "'while', 'int()' or 'float()' on an array). Use jax.numpy.where or jax.lax.cond, or pass that argument as a "
        "Python int, bool or str, which stays static. JAX says: "
    )
    assert text.startswith(start)
    assert text.removeprefix(start) == "Attempted boolean conversion of traced array with shape bool[]."


def line_of(f: Any, offset: int = 0) -> str:
    """How a message names a line of a function in this file."""
    return f"{__file__}:{inspect.getsourcelines(f)[1] + offset}"


def said_of(f: Any) -> tuple[str, str]:
    """The text that stands for JAX's refusal to trace a function, without and with the line."""
    with pytest.raises(NEEDS_A_VALUE) as caught:
        jax.make_jaxpr(f)(X)
    text = str(nb.TracingError.of(caught.value))
    where = f", at {line_of(f, 1)},"
    assert where in text
    head, _, said = text.replace(where, "").partition(" JAX says: ")
    assert said == str(caught.value).strip().splitlines()[0]
    return head.removeprefix("a derivative was asked of a function that "), said


def test_needs_a_truth_value() -> None:
    def f(x: Any) -> Any:
        return cube(x) if x[0] > 0 else -cube(x)

    assert said_of(f)[0] == (
        "needs the value of an argument while it is traced (a Python 'if', 'while', 'int()' or 'float()' on an array). "
        "Use jax.numpy.where or jax.lax.cond, or pass that argument as a Python int, bool or str, which stays static."
    )


def test_needs_numbers_for_numpy() -> None:
    def f(x: Any) -> Any:
        return np.sin(x).sum()

    assert said_of(f)[0] == (
        "gives an array that is being traced to NumPy, which needs its numbers. Use the function of that name in "
        "jax.numpy or jax.scipy."
    )


def test_needs_a_mask() -> None:
    def f(x: Any) -> Any:
        return x[x > 1.0].sum()

    assert said_of(f)[0] == (
        "takes the elements of an array under a mask, so that the number of elements depends on values. Use "
        "jax.numpy.where(mask, x, 0.0), or the argument where= of a reduction."
    )


def test_needs_a_python_index() -> None:
    def f(x: Any) -> Any:
        return [1.0, 2.0][x[0].astype(int)] * x.sum()

    assert said_of(f)[0] == (
        "uses an array as an index of a Python list or as a Python int. Index an array in place of the list, or pass "
        "that argument as a Python int, which stays static."
    )


def test_no_line_where_there_is_none_of_the_users() -> None:
    with pytest.raises(NEEDS_A_VALUE) as caught:
        jax.make_jaxpr(np.sin)(X)
    caught.value.__traceback__ = None
    assert ", at" not in str(nb.TracingError.of(caught.value))


def test_an_operation_without_derivative() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(jax.lax.while_loop(lambda a: jnp.sum(a) < 9.0, lambda a: 2.0 * a, x) ** 2)

    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work for lax.while_loop"):
        jax.hessian(f)(X)
    text = message(nb.DifferentiationError, lambda: nb.hessian(f)(X))
    assert text.startswith(f"a derivative of the operation 'while' was asked for, at {line_of(f, 1)}")
    assert "but JAX cannot differentiate it here: Reverse-mode differentiation does not work for " in text
    assert text.endswith(" Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient.")
    # an element of the diagonal takes forward mode alone
    want = np.diag(jax.jacfwd(jax.jacfwd(f))(X))
    np.testing.assert_allclose(nb.hessian_diagonal(f)(X), want, rtol=1e-12)
    np.testing.assert_allclose(nb.laplacian(f)(X), want.sum(), rtol=1e-12)


def test_a_callback_without_derivative() -> None:
    def f(x: Any) -> Any:
        return jax.pure_callback(lambda x: np.sum(x), jax.ShapeDtypeStruct((), x.dtype), x)

    text = message(nb.DifferentiationError, lambda: nb.hessian(f)(X))
    assert text == (
        "a derivative of the operation 'pure_callback' was asked for, at "
        f"{text.split(', at ')[1].split(', but')[0]}, but JAX cannot differentiate it here: Pure callbacks do not "
        "support JVP. Please use `jax.custom_jvp` to use callbacks while taking gradients. Rewrite that line with "
        "differentiable operations, or cut it with jax.lax.stop_gradient."
    )
    assert line_of(f, 1) in text


def test_an_elementwise_operation_without_derivative() -> None:
    def f(a: Any) -> Any:
        return jnp.sum(jax.scipy.special.betainc(a, 2.0, 0.3))

    text = message(nb.DifferentiationError, lambda: nb.hessian(f)(X))
    assert "'regularized_incomplete_beta'" in text
    assert "but JAX cannot differentiate it here: Betainc gradient with respect to a and b not supported." in text
    assert text.endswith(" Rewrite that line with differentiable operations, or cut it with jax.lax.stop_gradient.")
    assert line_of(f, 1) in text


def test_errors_of_the_users_own_pass_through() -> None:
    def f(x: Any) -> Any:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="^mine"):
        nb.hessian(f)(X)
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        nb.hessian(lambda x: {[1]: x})(X)


# -- the family --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (nb.ArgumentError, TypeError),
        (nb.OutputError, TypeError),
        (nb.StrategyError, ValueError),
        (nb.MemoryBoundError, MemoryError),
        (nb.DifferentiationError, NotImplementedError),
        (nb.TracingError, TypeError),
        (nb.FormulaError, ValueError),
        (nb.DerivationError, ValueError),
        (nb.UnprintableError, nb.DerivationError),
        (nb.VerificationError, nb.DerivationError),
        (nb.TargetError, Exception),
    ],
)
def test_every_error_is_ours_and_pythons(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, nb.NablaxError)
    assert issubclass(error, builtin)
    assert error.__doc__


# -- names in texts ----------------------------------------------------------------------------------------

# Verbs that are being built and that texts already send users to; take each away when it exists.


def named_in(source: str) -> set[str]:
    """The names of the package that the strings of a source mention: nablax.x and nb.x."""
    strings = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return {name for text in strings for name in re.findall(r"\b(?:nablax|nb)((?:\.[A-Za-z_]\w*)+)", text)}


def exists(name: str) -> bool:
    """Whether ``.x.y`` is there, as an attribute or as a module."""
    found: Any = nb
    for part in name.strip(".").split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_names_in_strings_are_found() -> None:
    source = (
        """f'use nablax.hvp({x}) or nb.hessian.' + "import nablax" if nb.other else 'nablax.planning.run, xnb.no'"""
    )
    assert named_in(source) == {".hvp", ".hessian", ".planning.run"}
    assert not exists(".magic")
    assert not exists(".planning.magic")


@pytest.mark.parametrize("path", sorted(Path(nb.__path__[0]).rglob("*.py")), ids=lambda path: path.stem)
def test_texts_name_what_exists(path: Path) -> None:
    named = named_in(path.read_text())
    assert {name for name in named if not exists(name)} == set()
