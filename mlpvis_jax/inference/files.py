"""The classification of image files with a run: a table, a CSV file and a contact sheet."""

from pathlib import Path

from mlpvis_jax.errors import StorageError
from mlpvis_jax.files.place import take_name
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.inference.contact_sheet import MOST, draw_contact_sheet
from mlpvis_jax.inference.paths import find_images
from mlpvis_jax.inference.predictions import Predictions, likeliest, percent
from mlpvis_jax.inference.trained import load_run
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.show.table import Column, console_for, fitted
from mlpvis_jax.show.terminal import print_places

_MOST_ROWS = 40  # of a table on a terminal


def predict_files(
    config: RunConfig, folder: RunFolder, images: str, output: Path | None = None
) -> Predictions:
    """Classifies image files with the best weights of a run, and prints the likeliest classes.

    On a terminal they are a table; into a pipe each image is a line of its path, class and
    probability, with tabs between. In the output folder are then predictions.csv, with the five
    likeliest classes of every image, and predictions.png with the first of them. What an earlier
    call wrote is never replaced: the next files are predictions-2.csv and predictions-2.png, and so
    on.

    Args:
      config: settings of the run.
      folder: of the run.
      images: files, folders or patterns; see `find_images`.
      output: the folder to write to; None: the run's.

    Raises:
      InputError: no weights, no such images, or images that cannot be decoded.
      StorageError: the disk is full; the predictions have been printed.
    """
    paths = find_images(images)
    classifier = load_run(config, folder, output)
    predictions = classifier.predict(paths)
    _print(predictions)
    place = folder.path if output is None else output
    try:
        place.mkdir(parents=True, exist_ok=True)
        name = take_name(place, "predictions", (".csv", ".png"))
        table, picture = place / f"{name}.csv", place / f"{name}.png"
        try:
            predictions.write_csv(table)
        except OSError:
            table.unlink(missing_ok=True)  # the empty file by which the name was taken
            raise
    except OSError as error:
        raise StorageError(
            f"The predictions cannot be written to {place} ({error.strerror or error})."
        ) from error
    sheet = classifier.read(paths[:MOST])
    is_drawn = draw_contact_sheet(picture, sheet, predictions, f"Predictions of {folder.path}")
    written = {"predictions": str(table), **({"picture": str(picture)} if is_drawn else {})}
    print_places(written)
    return predictions


def _print(predictions: Predictions) -> None:
    top = predictions.top(3)
    console = console_for()
    if not console.is_terminal:
        for name, (first, *_) in zip(predictions.names, top, strict=True):
            print(f"{name}\t{first.class_name}\t{first.probability:.6f}")
        return
    columns = [
        Column("image", is_text=True, breaks=True),
        Column("class", is_text=True, breaks=True),
        Column("probability"),
        Column("second", 1, is_text=True),
        Column("third", 2, is_text=True),
    ]
    rows = [
        [
            *(name, guesses[0].class_name, percent(guesses[0].probability)),
            *(likeliest(guesses, place) for place in (1, 2)),
        ]
        for name, guesses in zip(predictions.names[:_MOST_ROWS], top, strict=False)
    ]
    console.print(fitted(columns, rows, console.width))
    if len(predictions) > _MOST_ROWS:
        console.print(f"and {len(predictions) - _MOST_ROWS:,} more images")
