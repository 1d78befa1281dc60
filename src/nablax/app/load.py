"""A function and its example arguments, from a file: ``FILE.py:function``."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from nablax.errors import NablaxError, TargetError, TracingError

EXAMPLE = "example_args"


@dataclass(frozen=True)
class Target:
    """A function of a file, ready to be called.

    Args:
        path: the file, as it was named.
        name: the function's name.
        function: the function.
        arguments: what `example_args()` of the file returned; never empty.
        seconds: time that loading took, `example_args()` included.
    """

    path: Path
    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Errors that the function's own code raises become one message with its line."""
        try:
            yield
        except TracingError as error:
            line = _line_in(self.path, error.__cause__ or error)
            if line is None or f":{line}" in str(error):  # no line to add, or the text has it
                raise
            raise TargetError(f"{self}: {error} (line {line})") from error
        except NablaxError:
            raise
        except Exception as error:
            line = _line_in(self.path, error)
            if line is None:
                raise
            raise TargetError(f"{self} raised {_said(error)} (line {line})") from error


def load(text: str) -> Target:
    """Read a file, find the function and call `example_args()`.

    Args:
        text: ``FILE.py:function``.

    Returns:
        The function with its arguments.

    Raises:
        TargetError: no such file or function, no `example_args`, or the file's own code fails.
    """
    file, colon, name = text.rpartition(":")
    if not colon or not file or not name:
        raise TargetError(f"{text!r} names no function. Write FILE.py:function, for example model.py:loss.")
    path = Path(file)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise TargetError(f"the file {file} {found}. Write FILE.py:function with the path of a Python file.")
    start = time.perf_counter()
    module = _run(path)
    function = _function(module, path, name)
    arguments = _arguments(module, path, name, function)
    return Target(path, name, function, arguments, time.perf_counter() - start)


def _run(path: Path) -> ModuleType:
    """The module of a file; its folder comes first on the path, as when Python runs it."""
    name = f"nablax_report_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is not a Python file: its name does not end in .py.")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise TargetError(f"{path} is not valid Python: {error.msg} (line {error.lineno})") from error
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        raise TargetError(f"running {path} raised {_said(error)} (line {line})") from error
    return module


def _function(module: ModuleType, path: Path, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    if found is not None:
        raise TargetError(f"{name} in {path} is no function but of type {type(found).__name__}.")
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isroutine(inspect.unwrap(value) if callable(value) else value)
        and value.__module__ == module.__name__
        and key != EXAMPLE
    ]
    listed = ", ".join(key for key in own if not key.startswith("_")) or "none"
    similar = get_close_matches(name, own, n=1)
    advice = f" Did you mean {similar[0]}?" if similar else ""
    raise TargetError(f"{path} has no function {name}; its functions are: {listed}.{advice}")


def _arguments(module: ModuleType, path: Path, name: str, function: Callable[..., Any]) -> tuple[Any, ...]:
    make = getattr(module, EXAMPLE, None)
    if not callable(make):
        raise TargetError(
            f"{path} has no {EXAMPLE}(). Define it beside {name}: a function without parameters that returns "
            f"the tuple of arguments at which {name} is to be differentiated, the first one with respect to "
            "which."
        )
    try:
        arguments = make()
    except (Exception, SystemExit) as error:
        line = _line_in(path, error)
        raise TargetError(f"{EXAMPLE}() in {path} raised {_said(error)} (line {line})") from error
    if type(arguments) is not tuple or not arguments:
        found = "an empty tuple" if type(arguments) is tuple else _kind(arguments)
        raise TargetError(
            f"{EXAMPLE}() in {path} returned {found}; it must return the tuple of all arguments of {name}, "
            "(x,) if there is only one."
        )
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise TargetError(
            f"{EXAMPLE}() in {path} returned {len(arguments)} argument(s), but {name} cannot be called with "
            f"them: {error}."
        ) from error
    except ValueError:  # no signature to compare with
        pass
    return arguments


def _kind(value: Any) -> str:
    return "an array" if isinstance(value, np.ndarray | jax.Array) else f"a value of type {type(value).__name__}"


def _said(error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _line_in(path: Path, error: BaseException) -> int | None:
    """The last line of the file that the error passed through."""
    own = os.path.realpath(path)
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if os.path.realpath(frame.filename) == own
    ]
    return lines[-1] if lines else None
