"""What a run's mixing has learned, as pictures in its folder and a table."""

import sys

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.place import check_kinds
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.inference import TrainedClassifier
from mlpvis_jax.inference.trained import load_run
from mlpvis_jax.pictures.learned import IMAGES, Learned
from mlpvis_jax.pictures.theme import LIGHT, themed
from mlpvis_jax.running.task import open_data, open_part
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.drawing import save_picture
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import print_places


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
    learned = Learned.of(classifier, _test_images(config, classifier))
    if learned.unknown:
        print(f"{learned.unknown} Its weights are left out.", file=sys.stderr)
    _print_table(learned)
    place.mkdir(exist_ok=True)
    with themed(LIGHT):
        drawings = {**learned.pictures_of_weights(), **learned.pictures_of_measures()}
        for name, draw in drawings.items():
            save_picture(place / f"{name}.png", draw)
    print_places({"pictures": str(place)})


def _test_images(config: RunConfig, classifier: TrainedClassifier) -> np.ndarray | None:
    try:
        source = open_data(config)
        test = source.test
        if config.data.limit is not None:
            test = open_part(config, source, "test").examples
        examples = test.read(0, min(len(test), IMAGES))
    except InputError as error:
        print(f"{error} The receptive field is left out.", file=sys.stderr)
        return None
    return classifier.read([example.image for example in examples])


def _print_table(learned: Learned) -> None:
    """Prints a row a layer; into a pipe with tabs between."""
    titles, rows = learned.table()
    console = console_for()
    if not console.is_terminal:
        print("\n".join("\t".join(row) for row in [titles, *rows]))
        return
    first, *others = titles
    columns = [Column(first, is_text=True), *(Column(title, 1) for title in others)]
    console.print(fitted(columns, rows, console.width))
