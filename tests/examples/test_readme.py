"""The README's example runs and prints what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def test_the_example_prints_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    expected = re.findall(r"```text\n(.*?)```", README, re.DOTALL)[0]
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    ours, said = ([float(n) for n in NUMBER.findall(text)] for text in (printed, expected))
    assert ours == pytest.approx(said, rel=1e-5)
    assert len(said) == 4
