"""What a run's mixing has learned, as pictures in its folder and a table."""

import sys
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.place import check_kinds
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.inference import TrainedClassifier
from mlpvis_jax.inference.trained import load_run
from mlpvis_jax.learning import augment
from mlpvis_jax.models import FNetBlock, GMlpBlock
from mlpvis_jax.pictures.depth import draw_by_depth
from mlpvis_jax.pictures.kernels import draw_kernels
from mlpvis_jax.pictures.mixing import (
    Grid,
    Kernels,
    Measures,
    grid_of,
    measure,
    order_in_pairs,
    token_kernels,
    uniform,
)
from mlpvis_jax.pictures.receptive_field import (
    draw_receptive_fields,
    field_distance,
    receptive_fields,
)
from mlpvis_jax.pictures.theme import LIGHT, themed
from mlpvis_jax.running.task import open_data
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.drawing import save_picture
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import print_header

_IMAGES = 32  # over which the receptive fields are means


def show_mixing(config: RunConfig, folder: RunFolder) -> None:
    """Draws what the mixing across tokens of a run's best weights has learned, and measures it.

    In the run's folder, `mixing/` then holds a picture of the weights of each block (FNet's, which
    are the same in all, once), by_depth.png and receptive_field.png. They replace those of an
    earlier call. The receptive fields are means over the first 32 test images; where these cannot
    be read, they are left out, and so are the weights of a block of one's own.

    Args:
      config: settings of the run.
      folder: of the run.

    Raises:
      InputError: no weights, or a place that cannot be written.
    """
    classifier = load_run(config, folder)
    place = folder.path / "mixing"
    check_kinds((), folders=(place,))
    grid = grid_of(classifier.model, classifier.image_size)
    kernels = _kernels(classifier, grid)
    fields = _receptive_fields(config, classifier)
    measures = {name: measure(one, grid) for name, one in kernels.items()}
    patch = classifier.model.patch_size
    sizes = {name: field_distance(field, patch) for name, field in fields.items()}
    _print_table(measures, sizes, grid)
    place.mkdir(exist_ok=True)
    with themed(LIGHT):
        _save_kernels(place, classifier, kernels, grid)
        if fields:
            save_picture(place / "receptive_field.png", draw_receptive_fields, fields)
        if measures or sizes:
            save_picture(place / "by_depth.png", draw_by_depth, measures, grid, sizes)
    print_header({"pictures": str(place)}, sys.stdout if sys.stdout.isatty() else sys.stderr)


def _kernels(classifier: TrainedClassifier, grid: Grid) -> dict[str, Kernels]:
    try:
        return token_kernels(classifier.model, classifier.params, grid)
    except InputError as error:
        print(f"{error} Its weights are left out.", file=sys.stderr)
        return {}


def _receptive_fields(config: RunConfig, classifier: TrainedClassifier) -> dict[str, np.ndarray]:
    try:
        test = open_data(config).test
        examples = test.read(0, min(len(test), _IMAGES))
    except InputError as error:
        print(f"{error} The receptive field is left out.", file=sys.stderr)
        return {}
    pixels = classifier.read([example.image for example in examples])
    images = augment.resize(classifier.normalization(jnp.asarray(pixels)), classifier.image_size)
    return receptive_fields(classifier.model, classifier.params, np.asarray(images))


def _save_kernels(
    place: Path, classifier: TrainedClassifier, kernels: Mapping[str, Kernels], grid: Grid
) -> None:
    block = classifier.model.block
    if issubclass(block, FNetBlock) and kernels:
        units = next(iter(kernels.values())).units
        title = "FNet: the transform's basis functions, cos(2 pi j k / n)"
        save_picture(place / "basis_functions.png", draw_kernels, units, grid, title, grid[1])
        return
    for name, one in kernels.items():
        if issubclass(block, GMlpBlock):
            title = f"{name}: the weights of each token's gate, where the token is"
            units, columns = one.units, grid[1]
        else:
            title = f"{name}: the hidden units across tokens, in pairs of opposite phase"
            units, columns = one.units[order_in_pairs(one.units, grid)], 0
        save_picture(place / f"{name}.png", draw_kernels, units, grid, title, columns)


def _print_table(measures: Mapping[str, Measures], sizes: Mapping[str, float], grid: Grid) -> None:
    """Prints a row a layer; into a pipe with tabs between."""
    titles = ("layer", "entropy (nats)", "mean distance (tokens)", "receptive field (patches)")
    rows = []
    for name in dict.fromkeys([*sizes, *measures]):
        texts = [_number(value) for value in measures[name]] if name in measures else ["", ""]
        rows.append([name, *texts, _number(sizes[name]) if name in sizes else ""])
    if measures:
        rows.append(["all tokens alike", *map(_number, uniform(grid)), ""])
    console = console_for()
    if not console.is_terminal:
        print("\n".join("\t".join(row) for row in [titles, *rows]))
        return
    first, *others = titles
    columns = [Column(first, is_text=True), *(Column(title, 1) for title in others)]
    console.print(fitted(columns, rows, console.width))


def _number(values: float | np.ndarray) -> str:
    known = np.asarray(values)[~np.isnan(values)]  # a token that reads nothing has no measure
    return f"{known.mean():.2f}" if known.size else "none"
