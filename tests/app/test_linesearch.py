"""The command `nablax linesearch`: the page, and the full text of refusals."""

from __future__ import annotations

import pytest

from nablax.app.command_line import application


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        application(["linesearch", *arguments], prog_name="nablax")
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "(t - 1)^2", "--on", "0,4", "--tol", "0.3", "--search", "dichotomy", "--search", "newton_1d"
    )
    assert code == 0
    assert out == (
        "step           dichotomy           newton_1d\n"
        "               x   b − a           x   b − a\n"
        "   0  2.00000000 4.0e+00  2.00000000 2.0e+00\n"
        "   1  1.00000000 2.0e+00  1.00000000 0.0e+00\n"
        "   2  1.00000000 1.0e+00\n"
        "   3  1.00000000 5.0e-01\n"
        "\n"
        "dichotomy  x = 1, f(x) = 0, 6 evaluations. The minimum lies within the tolerance of x.\n"
        "newton_1d  x = 1, f(x) = 0, 4 evaluations. The minimum lies within the tolerance of x.\n"
    )


def test_an_interval_without_a_minimum_is_one_line_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "exp(x)", "--on=0,1", "--search", "slope_bisection")
    assert (code, out) == (
        0,
        "slope_bisection  a minimum was asked for between 0 and 1; the slope is 1 at the left end and 2.71828 at the right "
        "one, so that the function does not fall into the interval from both ends. Give an interval where the slope is "
        "negative at the left end and positive at the right one.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("x + y", "--on=0,1"),
            "error: linesearch takes a formula of one variable; the variables here are: x, y\n",
        ),
        (("x^2", "--on=0"), "error: the interval was given as '0'; write two numbers with a comma: --on=-1,2.5.\n"),
        (("x^2", "--on=1,0"), "error: dichotomy got the interval [1, 0]; its ends are finite and in order, a < b.\n"),
        (
            ("x^2", "--on=0,1", "--search", "simplex"),
            "error: there is no search 'simplex'; there are dichotomy, golden_section, parabolic, brent, slope_bisection, "
            "newton_1d.\n",
        ),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str) -> None:
    assert run(capsys, *arguments) == (2, "", text)
