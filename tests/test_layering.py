"""Imports go downward only, and TensorFlow and Keras are imported nowhere."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlpvis_jax"

# What the modules of each part may import of the package, besides their own part.
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "settings": {"errors"},
    "data": {"errors"},
    "models": {"errors"},
    "learning": {"data"},
    "files": {"errors", "settings"},
    "show": {"files"},
    "running": {
        *("data", "errors", "files", "learning", "models", "settings", "show", "__init__"),
    },
    "sweep": {
        *("data", "errors", "files", "learning", "models", "running", "settings", "show"),
    },
}


def imports(path):
    """Dotted names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(dotted):
    """The part of the package that a dotted name belongs to, such as "data"."""
    name = [*dotted.split("."), "__init__"][1]
    is_part = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()
    return name if is_part else "__init__"


def own(path):
    return {part_of(name) for name in imports(path) if name.split(".")[0] == "mlpvis_jax"}


def test_imports_go_downward():
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert own(path) <= ALLOWED[part] | {part}, path


def test_every_part_has_its_rule():
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name[0] != "_"}
    assert parts | {"__init__"} == set(ALLOWED)


def test_configs_import_nothing_of_the_package():
    for path in (ROOT / "configs").rglob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= {"ml_collections", "configs"}


def test_neither_tensorflow_nor_keras():
    for path in [ROOT / "launch.py", *PACKAGE.rglob("*.py"), *(ROOT / "configs").rglob("*.py")]:
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"tensorflow", "keras", "torch"}, path
