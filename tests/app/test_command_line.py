"""The command line in this process, on small files: values, layout of the JSON, the full text of refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nablax
from nablax.app.command_line import application

EXAMPLE_ARGS = "\ndef example_args():\n    return ({},)\n"


class Outcome:
    """What a run left: exit code, standard output and standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")

    def runner(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            application(list(arguments), prog_name="nablax")
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return runner


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes model.py into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(body: str, arguments: str | None = None) -> str:
        text = "import jax.numpy as jnp\n" + body
        if arguments is not None:
            text += EXAMPLE_ARGS.format(arguments)
        (tmp_path / "model.py").write_text(text)
        return "model.py"

    return write


def report(run: Run, target: str, *options: str, code: int = 0) -> dict[str, Any]:
    outcome = run("report", target, "--json", *options)
    assert outcome.code == code, outcome.err
    return json.loads(outcome.out)


# -- numbers ---------------------------------------------------------------------------------------

ROSENBROCK = "def f(p):\n    return (1 - p['x']) ** 2 + 100 * (p['y'] - p['x'] ** 2) ** 2 + (p['z'] ** 2).sum()\n"
AT_THE_MINIMUM = "{'x': jnp.float32(1), 'y': jnp.float32(1), 'z': jnp.zeros(3, jnp.float32)}"


def test_report_of_a_minimum(run: Run, file: Callable[..., str]) -> None:
    found = report(run, file(ROSENBROCK, AT_THE_MINIMUM) + ":f")
    assert (found["value"], found["parameters"], found["dtypes"]) == (0.0, 5, ["float32"])
    assert found["gradient"]["norm"] == 0.0
    assert found["gradient"]["is_zero"]
    assert found["hessian"]["shape"] == [5, 5]
    assert found["hessian"]["bytes"] == 100
    assert found["diagonal"] == {"min": 2.0, "max": 802.0}
    assert found["trace"] == 1008.0
    # the block of x and y is [[802, -400], [-400, 200]]: (1002 ± sqrt(602² + 800²)) / 2
    root = math.sqrt(602**2 + 800**2)
    assert found["eigenvalues"]["min"] == pytest.approx((1002 - root) / 2, rel=1e-4)
    assert found["eigenvalues"]["max"] == pytest.approx((1002 + root) / 2, rel=1e-6)
    assert found["verdict"]["kind"] == "minimum"
    assert [(leaf["path"], leaf["shape"], leaf["trace"]) for leaf in found["hessian"]["leaves"]] == [
        ("x", [], 802.0),
        ("y", [], 200.0),
        ("z", [3], 6.0),
    ]
    structures = {(b["row"], b["column"]): (b["structure"], b["nonzeros"]) for b in found["hessian"]["blocks"]}
    assert structures == {
        ("x", "x"): ("dense", 1),
        ("x", "y"): ("dense", 1),
        ("x", "z"): ("zero", 0),
        ("y", "y"): ("dense", 1),
        ("y", "z"): ("zero", 0),
        ("z", "z"): ("diagonal", 3),
    }
    assert next(b["shape"] for b in found["hessian"]["blocks"] if (b["row"], b["column"]) == ("z", "z")) == [
        3,
        3,
    ]


def test_layout_of_the_json(run: Run, file: Callable[..., str]) -> None:
    found = report(run, file(ROSENBROCK, AT_THE_MINIMUM) + ":f")
    assert list(found) == [
        "schema",
        "target",
        "value",
        "parameters",
        "dtypes",
        "gradient",
        "hessian",
        "diagonal",
        "trace",
        "eigenvalues",
        "verdict",
        "plans",
        "seconds",
    ]
    assert found["schema"] == 1
    assert found["target"] == "model.py:f"
    assert list(found["gradient"]) == ["norm", "zero_below", "is_zero"]
    assert list(found["hessian"]) == ["shape", "bytes", "leaves", "blocks"]
    assert list(found["hessian"]["leaves"][0]) == [
        "path",
        "shape",
        "dtype",
        "parameters",
        "diagonal_min",
        "diagonal_max",
        "trace",
    ]
    assert list(found["hessian"]["blocks"][0]) == ["row", "column", "shape", "structure", "nonzeros"]
    assert list(found["eigenvalues"]) == [
        "min",
        "max",
        "method",
        "tolerance",
        "residual_min",
        "residual_max",
        "products",
        "zero_below",
    ]
    assert [plan["question"] for plan in found["plans"]] == ["diagonal", "trace", "hessian"]
    assert list(found["plans"][0]) == [
        "question",
        "strategy",
        "candidates",
        "flops",
        "bytes_moved",
        "peak_bytes",
        "explanation",
    ]
    steps = ["loading", "value and gradient", "diagonal", "trace", "Hessian", "eigenvalues", "total"]
    assert list(found["seconds"]) == steps
    assert found["seconds"]["total"] == pytest.approx(sum(found["seconds"][step] for step in steps[:-1]))


X = "jnp.zeros(3, jnp.float32)"


@pytest.mark.parametrize(
    ("body", "arguments", "verdict"),
    [
        ("(x**2).sum()", X, "minimum"),
        ("-(x**2).sum()", X, "maximum"),
        ("x[0] * x[1] + x[2] ** 2", X, "saddle"),
        ("x[0] ** 2 + x[1] ** 4", X, "degenerate"),
        ("x[0] ** 4", X, "degenerate"),
        ("(x**2).sum()", "jnp.ones(3, jnp.float32)", "positive"),
        ("-(x**2).sum()", "jnp.ones(3, jnp.float32)", "negative"),
        ("x[0] * x[1]", "jnp.ones(3, jnp.float32)", "indefinite"),
        ("x[0] ** 2", "jnp.ones(3, jnp.float32)", "never_negative"),
        ("-x[0] ** 2", "jnp.ones(3, jnp.float32)", "never_positive"),
        ("x.sum()", X, "flat"),
        ("jnp.sqrt(x).sum()", X, "not_finite"),
    ],
)
def test_verdicts(run: Run, file: Callable[..., str], body: str, arguments: str, verdict: str) -> None:
    code = 1 if verdict == "not_finite" else 0
    found = report(run, file(f"def f(x):\n    return {body}\n", arguments) + ":f", code=code)
    assert found["verdict"]["kind"] == verdict


def test_not_finite_is_null(run: Run, file: Callable[..., str]) -> None:
    found = report(run, file("def f(x):\n    return jnp.sqrt(x).sum()\n", X) + ":f", code=1)
    assert found["gradient"]["norm"] is None
    assert found["eigenvalues"] is None


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("jnp.log(x - 1.0).sum()", "the value"),
        ("jnp.sqrt(x).sum()", "the gradient"),
        ("(jnp.abs(x) ** 1.5).sum()", "the Hessian"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--no-spectrum"]])
def test_not_finite_is_said_and_fails(
    run: Run, file: Callable[..., str], body: str, what: str, options: list[str]
) -> None:
    outcome = run("report", file(f"def f(x):\n    return {body}\n", X) + ":f", *options)
    assert outcome.code == 1
    assert "undecided: the value, the gradient or the Hessian is not finite" in " ".join(outcome.out.split())
    assert outcome.err == (
        f"error: {what} of model.py:f is not finite at the point of example_args(), so that its derivatives say nothing "
        "there. Choose a point inside the function's domain.\n"
    )


def test_without_the_spectrum(run: Run, file: Callable[..., str]) -> None:
    target = file("def f(x):\n    return (x**3).sum()\n", "jnp.arange(3, dtype=jnp.float32)") + ":f"
    found = report(run, target, "--no-spectrum")
    assert found["eigenvalues"] is None
    assert found["verdict"] == {"kind": "not_asked", "sentence": "undecided: the eigenvalues were not asked for"}
    assert [plan["question"] for plan in found["plans"]] == ["diagonal", "trace"]
    assert list(found["seconds"]) == ["loading", "value and gradient", "diagonal", "trace", "total"]
    assert (found["trace"], found["diagonal"]) == (18.0, {"min": 0.0, "max": 12.0})
    assert {block["structure"] for block in found["hessian"]["blocks"]} == {"not formed"}
    outcome = run("report", target, "--no-spectrum")
    assert (outcome.code, outcome.err) == (0, "")
    assert "eigenvalues not available the point is undecided: the eigenvalues were not asked for" in " ".join(
        outcome.out.split()
    )


def test_version(run: Run) -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"nablax {nablax.__version__}\n", "")


def test_a_bound_for_the_gradient(run: Run, file: Callable[..., str]) -> None:
    target = file("def f(x):\n    return (x**2).sum()\n", "jnp.full(4, 1e-3, jnp.float32)") + ":f"
    assert report(run, target)["verdict"]["kind"] == "positive"
    assert report(run, target, "--gradient-zero", "0.01")["verdict"]["kind"] == "minimum"


def test_lanczos_finds_both_ends(run: Run, file: Callable[..., str]) -> None:
    # H = diag(-1 … 3) shifted by a rank-one part only at the first element
    body = "def f(x):\n    d = jnp.linspace(-1, 3, 2500, dtype=x.dtype)\n    return (d * x**2).sum() / 2\n"
    found = report(run, file(body, "jnp.zeros(2500, jnp.float32)") + ":f")
    ends = found["eigenvalues"]
    assert ends["method"] == "lanczos"
    assert ends["min"] == pytest.approx(-1.0, abs=2e-3)
    assert ends["max"] == pytest.approx(3.0, abs=2e-3)
    assert max(ends["residual_min"], ends["residual_max"]) < 1e-3
    assert found["verdict"]["kind"] == "saddle"
    assert [plan["question"] for plan in found["plans"]] == ["diagonal", "trace", "hvp"]
    assert {block["structure"] for block in found["hessian"]["blocks"]} == {"not formed"}


@pytest.mark.parametrize(("body", "ends"), [("x.sum()", (0.0, 0.0)), ("(x**2).sum()", (2.0, 2.0))])
def test_lanczos_where_all_eigenvalues_are_equal(
    run: Run, file: Callable[..., str], body: str, ends: tuple[float, float]
) -> None:
    found = report(run, file(f"def f(x):\n    return {body}\n", "jnp.zeros(2100, jnp.float32)") + ":f")
    assert (found["eigenvalues"]["min"], found["eigenvalues"]["max"]) == pytest.approx(ends, abs=1e-5)


def test_strategy_is_taken(run: Run, file: Callable[..., str]) -> None:
    target = file("def f(x):\n    return (x**3).sum()\n", "jnp.arange(3, dtype=jnp.float32)") + ":f"
    found = report(run, target, "--strategy", "columns")
    assert [plan["strategy"] for plan in found["plans"]] == ["columns"] * 3
    assert (found["trace"], found["diagonal"]) == (18.0, {"min": 0.0, "max": 12.0})


# -- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_page(run: Run, file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    target = file(ROSENBROCK, AT_THE_MINIMUM) + ":f"
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = run("report", target)
    assert outcome.code == 0
    assert outcome.err == ""
    assert max(map(len, outcome.out.splitlines())) <= width
    words = " ".join(outcome.out.split())
    for expected in (
        "value 0",
        "gradient norm 0 (counts as zero up to",
        "parameters 5 in 3 leaves, float32",
        "Hessian 5 × 5, 3 × 3 blocks, 100 B if formed",
        "diagonal 2 … 802 (exact)",
        "trace 1008 (exact)",
        "a strict local minimum: the gradient vanishes, every eigenvalue is positive",
        "question diagonal of a function with result float32[]",
    ):
        assert expected in words


def test_help_names_the_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    assert "report" in outcome.out


# -- refusals --------------------------------------------------------------------------------------

SQUARE = "def f(x):\n    return (x**2).sum()\n"
BESIDE = (
    "Define it beside f: a function without parameters that returns the tuple of arguments at which f is to "
    "be differentiated, the first one with respect to which."
)


@pytest.mark.parametrize(
    ("target", "body", "arguments", "message"),
    [
        (
            "model.py",
            SQUARE,
            X,
            "'model.py' names no function. Write FILE.py:function, for example model.py:loss.",
        ),
        (
            "absent.py:f",
            SQUARE,
            X,
            "the file absent.py does not exist. Write FILE.py:function with the path of a Python file.",
        ),
        (
            "model.py:loss",
            SQUARE + "def losses(x):\n    return x\n",
            X,
            "model.py has no function loss; its functions are: f, losses. Did you mean losses?",
        ),
        ("model.py:f", "f = 3\n", X, "f in model.py is no function but of type int."),
        ("model.py:f", SQUARE, None, f"model.py has no example_args(). {BESIDE}"),
        (
            "model.py:f",
            SQUARE + "def example_args():\n    return jnp.ones(3)\n",
            None,
            "example_args() in model.py returned an array; it must return the tuple of all arguments of f, "
            "(x,) if there is only one.",
        ),
        (
            "model.py:f",
            SQUARE + "def example_args():\n    return {}['seed']\n",
            None,
            "example_args() in model.py raised KeyError: 'seed' (line 5)",
        ),
        (
            "model.py:f",
            "def f(x, y):\n    return x\n",
            X,
            "example_args() in model.py returned 1 argument(s), but f cannot be called with them: missing a "
            "required argument: 'y'.",
        ),
        ("model.py:f", "def f(x:\n", X, "model.py is not valid Python: '(' was never closed (line 2)"),
        (
            "model.py:f",
            "import nowhere\n",
            X,
            "running model.py raised ModuleNotFoundError: No module named 'nowhere' (line 2)",
        ),
        ("model.py:f", "raise SystemExit(1)\n", X, "running model.py raised SystemExit: 1 (line 2)"),
        (
            "model.py:f",
            "def f(x):\n    raise ValueError('not here')\n",
            X,
            "model.py:f raised ValueError: not here (line 3)",
        ),
        (
            "model.py:f",
            SQUARE,
            "{}",
            "the first argument of model.py:f holds no numbers, so there is no Hessian. Let example_args() "
            "put first the argument that derivatives are asked for.",
        ),
    ],
)
def test_refusals_of_the_file(
    run: Run, file: Callable[..., str], target: str, body: str, arguments: str | None, message: str
) -> None:
    file(body, arguments)
    outcome = run("report", target)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("body", "arguments", "options", "words"),
    [
        (
            "def f(x):\n    return x * 2.0\n",
            X,
            [],
            "needs a function that returns one number; this one returns float32[3]",
        ),
        ("def f(x):\n    return x.sum()\n", "jnp.arange(3)", [], "int"),
        (SQUARE, X, ["--strategy", "magic"], "strategy='magic'"),
        (SQUARE, X, ["--memory-bytes", "1"], "memory_bytes=1"),
    ],
)
def test_refusals_of_the_engine(
    run: Run, file: Callable[..., str], body: str, arguments: str, options: list[str], words: str
) -> None:
    outcome = run("report", file(body, arguments) + ":f", *options)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "line",
    [
        "return x.sum() if x[0] > 1 else -x.sum()",
        "return float(x[0])",
        "return numpy.sin(x).sum()",
        "return x[x > 0].sum()",
    ],
)
def test_tracing_errors_name_the_line(run: Run, file: Callable[..., str], line: str) -> None:
    outcome = run("report", file(f"import numpy\ndef f(x):\n    x = x + 1.0\n    {line}\n", X) + ":f")
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "(line 5)" in outcome.err or "model.py:5" in outcome.err


def test_usage_errors_have_the_same_exit_code(run: Run) -> None:
    assert run("report").code == 2
    assert run("no-such-command").code == 2
