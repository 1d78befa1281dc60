"""Generated code as it runs in its own language, without anything of the package."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shape = tuple[str, ...]


def letters(shapes: Sequence[Shape]) -> list[str]:
    """The letters of sizes in the order in which they stand."""
    parts = [part for shape in shapes for size in shape for part in re.split(r"[*·]", re.sub(r"[+-]\d+$", "", size))]
    return list(dict.fromkeys(part for part in parts if not part.isdigit()))


def lengths(shapes: Sequence[Shape], arrays: Sequence[Array]) -> dict[str, int]:
    """What the letters stand for."""
    found: dict[str, int] = {}
    for shape, array in zip(shapes, arrays, strict=True):
        for size, length in zip(shape, array.shape, strict=True):
            number = prod(int(part) for part in re.split(r"[*·]", size) if part.isdigit())
            own = letters([(size,)])
            if len(own) == 1:
                found[own[0]] = length // number
    return found


def in_python(source: str, arguments: Sequence[Any]) -> list[Array]:
    """What a function of a Python source gives."""
    space: dict[str, Any] = {}
    exec(source, space)
    found = space[re.findall(r"def (\w+)\(", source)[-1]](*arguments)
    return [np.asarray(one, np.float64) for one in (found if isinstance(found, tuple) else (found,))]


def in_c(
    source: str, folder: Path, shapes: Mapping[str, Shape], arrays: Sequence[Array], outputs: Sequence[tuple[int, ...]]
) -> list[Array]:
    """What a C function writes: compiled without a warning, called with lengths, arguments and pointers."""
    (folder / "code.c").write_text(source)
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    command = ["cc", *flags, "-o", str(folder / "code.so"), str(folder / "code.c"), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    function = getattr(ctypes.CDLL(str(folder / "code.so")), re.findall(r"int (\w+)\(", source)[-1])
    known = lengths(list(shapes.values()), arrays)
    given: list[Any] = [ctypes.c_long(known[letter]) for letter in letters(list(shapes.values())) if letter in known]
    kept = [np.array(array, np.float64, order="C") for array in arrays]
    given += [array.ctypes.data_as(ctypes.c_void_p) if array.ndim else ctypes.c_double(float(array)) for array in kept]
    found = [np.full(shape, np.nan) for shape in outputs]
    given += [array.ctypes.data_as(ctypes.c_void_p) for array in found]
    assert function(*given) == 0
    return found
