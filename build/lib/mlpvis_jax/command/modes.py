"""What the command can do: a row of MODES for each --mode, with the flags that are its own."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.settings.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Call:
    """What a mode's function is given.

    Attributes:
      config: the settings of the run, as they were given or as its folder has them.
      folder: of the run.
      flags: values of the mode's own flags by name; a flag that was not given is None.
    """

    config: RunConfig
    folder: RunFolder
    flags: Mapping[str, str | None]


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag that one mode alone has.

    Attributes:
      metavar: stands for its value in the help.
      meaning: one line for a person.
      is_needed: the mode does nothing without it.
    """

    metavar: str
    meaning: str
    is_needed: bool = False


@dataclasses.dataclass(frozen=True)
class Mode:
    """A row of MODES.

    Attributes:
      run: does what the mode is for, and prints what came out.
      meaning: one line for a person.
      flags: its own flags by name.
    """

    run: Callable[[Call], None]
    meaning: str
    flags: Mapping[str, Flag] = dataclasses.field(default_factory=dict)


def _train(call: Call) -> None:
    from mlpvis_jax.running.solo import train

    results = train(call.config, call.folder)
    _print_what_is_left(call, results)
    _print_results(results)


def _evaluate(call: Call) -> None:
    from mlpvis_jax.running.evaluation import evaluate

    _print_results(evaluate(call.config, call.folder))


def _predict(call: Call) -> None:
    from mlpvis_jax.inference.files import predict_files

    images = call.flags["images"]
    assert images is not None  # the flag is needed
    predict_files(call.config, call.folder, images)


def _export(call: Call) -> None:
    from mlpvis_jax.inference.export import export_run

    export_run(call.config, call.folder, call.flags["format"], call.flags["image_size"])


def _print_what_is_left(call: Call, results: Mapping[str, Any]) -> None:
    """Prints where the run's files are, and the commands that use them."""
    from mlpvis_jax.show.terminal import print_header

    config, folder = call.config, call.folder
    rows = {
        "folder": str(folder.path),
        "best epoch": f"{results['best_epoch']} of {results['epochs']}, by the validation loss",
    }
    if folder.curves.exists():
        rows["picture"] = str(folder.curves)
    rows["evaluate"] = folder.command(config, "--mode=evaluate")
    if "predict" in MODES:
        rows["predict"] = folder.command(config, "--mode=predict", "--images=*.png")
    # A schedule that ends with the run has no more epochs to give.
    if not results["stopped_early"] and config.schedule.name == "constant":
        more = f"--config.num_epochs={2 * config.num_epochs}"
        rows["go on"] = folder.command(config, more)
    print_header(rows)


def _print_results(results: Mapping[str, Any]) -> None:
    print(f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%")
    if "test_top5_accuracy" in results:
        print(f"Test top 5 accuracy: {round(results['test_top5_accuracy'] * 100, 2)}%")


MODES: Mapping[str, Mode] = {
    "train": Mode(_train, "trains a run, or goes on with it"),
    "evaluate": Mode(_evaluate, "tests the best weights of a run"),
    "predict": Mode(
        _predict,
        "classifies images with the best weights of a run",
        {
            "images": Flag(
                "IMAGES", "files, folders or patterns, such as 'a.png photos **/*.jpg'", True
            )
        },
    ),
    "export": Mode(
        _export,
        "writes the best weights of a run as a program for other programs",
        {
            "format": Flag("stablehlo|onnx", "what it is written as; by default stablehlo"),
            "image_size": Flag("any", "images of any size are taken, and none are resized"),
        },
    ),
}
