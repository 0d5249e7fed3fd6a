"""One file, one noun, below 400 lines; a function fits a screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
PACKAGE = Path(__file__).resolve().parents[2] / "posecli"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE.parent)) for path in FILES]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(source: str) -> list[str]:
    """Functions whose body does not fit a screen; signature and docstring do not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body and (length := (node.end_lineno or 0) - body[0].lineno + 1) > MAX_FUNCTION_LINES:
                found.append(f"{node.name}: {length} lines")
    return found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_stay_small_and_say_what_they_are(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_FILE_LINES
    assert long_functions(source) == []
    assert ast.get_docstring(ast.parse(source)), "the module has no docstring"


def test_the_counter_counts() -> None:
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert long_functions(f'def f():\n    """Say."""\n{body}') == []
    assert long_functions(f"class C:\n  def f(self):\n{body}    y = 1\n") == [f"f: {MAX_FUNCTION_LINES + 1} lines"]
    assert any(path.name == "records.py" for path in FILES)
