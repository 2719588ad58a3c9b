"""Files and functions stay small, and so does the path from a config to an accuracy."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    ROOT / "launch.py",
    *(
        path
        for part in ("mlpvis_jax", "configs", "benchmarks")
        for path in (ROOT / part).rglob("*.py")
    ),
]


def lines_of(path):
    return len(path.read_text().splitlines())


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_no_file_is_longer_than_300_lines():
    assert [str(path) for path in FILES if lines_of(path) > 300] == []


def test_no_function_is_longer_than_70_lines():
    assert [name for name, node in functions() if node.end_lineno - node.lineno >= 70] == []


def test_no_function_has_more_than_seven_parameters():
    def parameters(arguments):
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return [one for one in every if one.arg not in ("self", "cls")]

    assert [name for name, node in functions() if len(parameters(node.args)) > 7] == []


def test_the_core_path_is_as_contributing_says_and_under_800_lines():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\S+\.py)` \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 5
    assert [(name, lines_of(ROOT / "mlpvis_jax" / name)) for name, _ in rows] == [
        (name, int(lines)) for name, lines in rows
    ]
    assert sum(int(lines) for _, lines in rows) < 800
