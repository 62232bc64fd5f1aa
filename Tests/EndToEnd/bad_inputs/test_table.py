"""The table is whole, its tests exist, and docs/security.md shows it."""

import ast
import re

from bad_inputs.table import END_TO_END, ROWS
from conftest import ROOT

FOLDER = ROOT / "Tests/EndToEnd"


def functions(path):
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_number_has_a_row_and_every_row_a_test():
    numbers = [row.number for row in ROWS]
    assert numbers == [str(number) for number in range(1, 70)] + [f"A{number}" for number in range(1, 30)]
    assert all(row.tests and row.input and row.outcome for row in ROWS)


def test_the_named_tests_exist():
    for test in END_TO_END:
        file, function = test.split("::")
        assert function in functions(FOLDER / file), test
    for test in {test for row in ROWS for test in row.tests} - END_TO_END:
        suite, function = test.split(".")
        # Suites of one name in several modules are told apart by what they hold.
        files = list((ROOT / "Tests").glob(f"*/{suite}.swift"))
        assert any(re.search(rf"\bfunc {function}\b", path.read_text()) for path in files), test


def test_every_test_of_this_folder_is_in_the_table():
    for path in (FOLDER / "bad_inputs").glob("test_*.py"):
        if path.name not in ("test_table.py", "test_supply.py"):
            for function in functions(path):
                if function.startswith("test_"):
                    assert f"bad_inputs/{path.name}::{function}" in END_TO_END, function


def documented():
    """The rows as docs/security.md shows them."""
    lines = []
    for row in ROWS:
        names = []
        for test in row.tests:
            file, _, function = test.rpartition("::") if "::" in test else test.rpartition(".")
            names.append(f"`{function}`")
        lines.append(f"| {row.number} | {row.input} | {row.outcome} | {', '.join(names)} |")
    return "\n".join(lines)


def test_the_documentation_shows_the_table():
    text = (ROOT / "docs/security.md").read_text()
    assert documented() in text, "run: .venv/bin/python Tests/EndToEnd/bad_inputs/document.py"
