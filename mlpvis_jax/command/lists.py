"""The tables of --list: what there is to choose from; a row of LISTS each.

Nothing is read, trained or compiled for them.
"""

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.recipe import read_config, read_sweep, recipe_files
from mlpvis_jax.show.table import Column, console_for, fitted


class Listing(NamedTuple):
    """A table with a sentence below it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str


def models() -> Listing:
    """Lists the presets with what they cost."""
    from mlpvis_jax.models.arithmetic import cost_of
    from mlpvis_jax.models.presets import PRESETS, create_model, image_size_of

    rows = []
    for name in PRESETS:
        size = image_size_of(name)
        model = create_model(name, num_classes=100 if size == 64 else 1000)
        cost = cost_of(model, size)
        rows.append(
            [
                *(name, f"{cost.parameters:,}", f"{cost.forward_flop / 1e9:.3g}"),
                *(f"{cost.activation_bytes:,}", str(size), str(cost.tokens)),
                *(str(model.num_classes), str(model.num_blocks), str(model.width)),
                str(model.patch_size),
            ]
        )
    columns = [
        Column("model", is_text=True),
        *(Column("parameters"), Column("GFLOP"), Column("activations, bytes", 2)),
        *(Column("image size", 1), Column("tokens", 3), Column("classes", 4)),
        *(Column("blocks", 5), Column("width", 6), Column("patch", 7)),
    ]
    note = (
        "GFLOP: billions of floating-point operations of the forward pass of one image; a "
        "multiplication and its addition are two. Activations: what the forward pass keeps of one "
        "image for the backward pass. To train one: --config=mixer --config.model.name=MODEL."
    )
    return Listing(columns, rows, note)


def sources() -> Listing:
    """Lists where images can come from."""
    rows = [
        ["digits", "1,797 grey digits of 8 x 8 pixels, part of scikit-learn; nothing is fetched"],
        ["cifar10", "60,000 images of 32 x 32 pixels, 10 classes; fetched once"],
        ["cifar100", "60,000 images of 32 x 32 pixels, 100 classes; fetched once"],
        ["tfds:NAME", "a prepared image set of TensorFlow Datasets (--config.data.data_dir)"],
        ["folder:PATH", "your own images: PATH/train/CLASS/*.png, or PATH/CLASS/*.png"],
        ["npz:PATH", "your own arrays: x_train, y_train, x_test, y_test"],
        ["shards:PATH", "tar shards in WebDataset's layout: PATH/train-*.tar, PATH/test-*.tar"],
        ["MODULE:NAME", "your own function: docs/extending.md"],
    ]
    columns = [Column("source", is_text=True), Column("images", is_text=True, breaks=True)]
    return Listing(columns, rows, "To train on one: --config=mixer --config.data.source=SOURCE.")


def settings() -> Listing:
    """Lists every setting of a run."""
    from mlpvis_jax.running import manual

    rows = [
        [f"config.{key}", owner, str(setting), setting.meaning]
        for key, owner, setting in manual.rows()
    ]
    columns = [
        Column("setting", is_text=True),
        Column("of", 1, is_text=True),
        Column("value", 2, is_text=True, breaks=True),
        Column("meaning", is_text=True, breaks=True),
    ]
    return Listing(columns, rows, "To change one: --SETTING=VALUE. All of them: docs/settings.md.")


def variants() -> Listing:
    """Lists the recipes with their variants."""
    rows = []
    for path in [*recipe_files("configs"), *recipe_files("configs/imagenet")]:
        recipe = f"imagenet/{path.stem}" if path.parent.name == "imagenet" else path.stem
        for variant, meaning in _variants_of(path, recipe).items():
            name = f"{recipe}{variant}"
            config, _ = read_config(f"{path}{variant}")
            model, data = config["model"]["name"], config["data"]["source"]
            rows.append([name, model, data, config["duration"], meaning])
    columns = [
        *(Column("config", is_text=True), Column("model", is_text=True)),
        *(Column("source", is_text=True), Column("duration", is_text=True)),
        Column("meaning", 1, is_text=True, breaks=True),
    ]
    return Listing(columns, rows, "To train one: --config=CONFIG.")


def sweeps() -> Listing:
    """Lists the sweeps that come with the package."""
    rows = []
    for path in recipe_files("configs/sweeps"):
        written = read_sweep(str(path))
        keys = ", ".join(key for key in written if "." in key)
        rows.append([path.stem, written.get("strategy", "grid"), keys, _first_line(path)])
    columns = [
        *(Column("sweep", is_text=True), Column("strategy", 2, is_text=True)),
        *(
            Column("dimensions", 1, is_text=True, breaks=True),
            Column("meaning", is_text=True, breaks=True),
        ),
    ]
    return Listing(columns, rows, "To run one: --config=mixer --sweep=SWEEP --workdir=FOLDER.")


def weights() -> Listing:
    """Lists the published weights that can be loaded by name."""
    from mlpvis_jax.weights import PRETRAINED

    first = next(iter(PRETRAINED.values()))
    names = [one.name for one in dataclasses.fields(first) if one.repr]
    rows = [
        [name, *(_cell(getattr(one, field)) for field in names)] for name, one in PRETRAINED.items()
    ]
    columns = [
        Column("name", is_text=True),
        *(
            Column(field.replace("_", " "), order, is_text=True, breaks=True)
            for order, field in enumerate(names)
        ),
    ]
    return Listing(columns, rows, "To use one: mlpvis_jax.load_pretrained(NAME).")


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


LISTS: Mapping[str, Callable[[], Listing]] = {
    "models": models,
    "sources": sources,
    "settings": settings,
    "variants": variants,
    "sweeps": sweeps,
    "weights": weights,
}


def print_list(topic: str) -> None:
    """Prints a table of LISTS, in the width of the terminal.

    Raises:
      InputError: there is no such table.
    """
    if topic not in LISTS:
        raise InputError(f"--list={topic} is unknown; there are {', '.join(LISTS)}.")
    columns, rows, note = LISTS[topic]()
    console = console_for()
    console.print(fitted(columns, rows, console.width))
    console.print(f"\n{note}", markup=False)


def _variants_of(path: Path, recipe: str) -> dict[str, str]:
    """What a recipe's docstring says of its variants, by ":NAME": the sentence below each command.

    A recipe that names no command there has the variant "" alone.
    """
    command = rf"--config=configs/{recipe}\.py(:\w+)?[^\n]*\n\s+([^.:\n]+)"
    found: dict[str, str] = dict(re.findall(command, _docstring(path)))
    return found or {"": _first_line(path)}


def _first_line(path: Path) -> str:
    return _docstring(path).partition("\n")[0]


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""
