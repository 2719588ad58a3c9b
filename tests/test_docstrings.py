"""The first line of a public function's docstring is a sentence: it begins with its verb."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("mlpvis_jax", "configs", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
VERB = re.compile(r"[A-Z][a-z]+s[ ,]")  # in the third person: "Reads a run."
# Plurals that a line may begin with in place of its verb.
NOUNS = ("Examples", "Images", "Labels", "Pixels", "Points", "Settings", "Shards", "Trials")


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            if isinstance(child, ast.FunctionDef):
                yield child
            yield from public_functions(child)


def without_verb(text: str) -> list[str]:
    documented = [
        (function.name, (ast.get_docstring(function) or "").partition("\n")[0])
        for function in public_functions(ast.parse(text))
    ]
    return [
        f"{name}: {line}"
        for name, line in documented
        if line and (not VERB.match(line) or line.startswith(NOUNS))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_first_line_begins_with_its_verb(path: Path) -> None:
    assert without_verb(path.read_text("utf-8")) == []


def test_a_line_without_a_verb_is_found() -> None:
    text = 'class A:\n    def count(self):\n        """The number of images."""\n'
    assert without_verb(text) == ["count: The number of images."]
    assert without_verb(text.replace("The number of", "Images, as a")) != []
    assert without_verb(text.replace("The number of", "Counts")) == []
