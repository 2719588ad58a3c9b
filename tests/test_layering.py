"""Imports go downward only, and TensorFlow and Keras are imported nowhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlpvis_jax"

# What the modules of each part may import of the package, besides their own part.
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "settings": {"errors"},
    "data": {"errors", "settings"},
    "models": {"errors", "settings"},
    "learning": {"data", "settings"},
    "files": {"errors", "settings"},
    "weights": {"data", "errors", "files", "learning", "models", "settings"},
    "show": {"errors", "files", "settings"},
    "running": {
        *("data", "errors", "files", "learning", "models", "settings", "show", "weights"),
        "__init__",
    },
    "inference": {
        *("data", "errors", "files", "learning", "models", "running", "settings", "show"),
        "__init__",
    },
    "pictures": {
        *("data", "errors", "files", "inference", "learning", "models", "running", "settings"),
        "show",
    },
    "report": {
        *("data", "errors", "files", "inference", "learning", "models", "pictures", "running"),
        *("settings", "show"),
    },
    "sweep": {
        *("data", "errors", "files", "learning", "models", "running", "settings", "show"),
        "weights",
    },
    "command": {
        *(
            "errors",
            "files",
            "inference",
            "models",
            "pictures",
            "report",
            "running",
            "settings",
            "show",
            "sweep",
            "weights",
        ),
    },
    "py.typed": set(),
}
# Inside a part, what each file may import of its own part: only what stands before it.
ORDER = {
    "settings": "durations declared choice renamed sections written_order config override",
    "models": (
        "fields checks layers attention patches shapes scan fnet gmlp mixer resmlp vit features "
        "classifier arithmetic presets __init__"
    ),
    "learning": (
        "augment corruptions pixels colour crops policies auto_augment transforms metrics losses "
        "mix freezing layer_decay optimizers schedule_free plateau schedules state averaging "
        "sharpness step evaluation"
    ),
    "files": (
        "atomic place command_line config_file lock orbax_messages checkpoint run_folder recipe "
        "weights"
    ),
    "weights": (
        "stored naming architecture foreign mixer_npz timm formats fetch pretrained transfer "
        "matching initial __init__"
    ),
    "show": (
        "drawing output fitting table terminal curves writer event_files weights_and_biases writers"
    ),
    "running": (
        "machine cluster native_output processes kept_programs interruption room length task "
        "placement trials feed stream frozen choices own_functions start plan evaluation_program "
        "programs progress failures outcome run points group_files restore testing trainer "
        "evaluation solo manual"
    ),
    "inference": (
        "pixels paths predictions contact_sheet trained files runners exporters exported agreement "
        "export __init__"
    ),
    "pictures": (
        "statistics theme errors learning_curves robustness mixing kernels depth receptive_field "
        "learned mixing_files __init__"
    ),
    "report": (
        "folder predictions page measured sections evaluation runs paired comparison __init__"
    ),
    "sweep": (
        "space strategies definition culling records database_url storage folder ranking live "
        "marks heat_map parallel pictures data checking capacity tpe importance retry store study "
        "held_points database stores report loop"
    ),
    "command": "modes lists arguments program __init__",
}


def imports(path, top_level=False):
    """Dotted names of all that a file imports, wherever in it, or at its top level."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
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


@pytest.mark.parametrize("part", ORDER)
def test_inside_a_part_imports_go_one_way(part):
    names = ORDER[part].split()
    files = {path.stem for path in (PACKAGE / part).glob("*.py") if path.stat().st_size}
    assert files == set(names)
    for path in (PACKAGE / part).glob("*.py"):
        for dotted in imports(path, top_level=True):
            own_part, _, rest = dotted.removeprefix("mlpvis_jax.").partition(".")
            other = rest.partition(".")[0]
            if own_part == part and other in names:
                assert names.index(other) < names.index(path.stem), f"{path} imports {other}"


def test_launch_and_benchmarks_import_the_package_alone():
    assert own(ROOT / "launch.py") == {"command"}
    for path in PACKAGE.rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"benchmarks", "tests", "launch", "configs"}, path
    for path in (ROOT / "benchmarks").glob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert "tests" not in roots, path


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
