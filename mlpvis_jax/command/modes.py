"""What the command can do: a row of MODES for each --mode, with the flags that are its own."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.place import find_folder
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
    """A flag that only the modes have that list it.

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
      run: does what the mode is for, and prints what came out. It is given a Call; if the mode
        needs no run, the values of its own flags alone, by name.
      meaning: one line for a person.
      flags: its own flags by name; several modes may have a flag of one name.
      needs_run: the mode is of one run, whose settings and folder are read first.
      reads: the settings and sections that the mode reads; None: all.
    """

    run: Callable[[Any], None]
    meaning: str
    flags: Mapping[str, Flag] = dataclasses.field(default_factory=dict)
    needs_run: bool = True
    reads: tuple[str, ...] | None = None


def refuse_idle_settings(mode: str, keys: Iterable[str]) -> None:
    """Raises InputError for settings, by key, that the mode does not read."""
    read = MODES[mode].reads
    if read is None:
        return
    idle = [
        f"config.{key}" for key in keys if key not in read and key.partition(".")[0] not in read
    ]
    if idle:
        raise InputError(
            f"--mode={mode} does not read {', '.join(idle)}, which would change nothing; leave "
            f"{'them' if len(idle) > 1 else 'it'} out."
        )


def _train(call: Call) -> None:
    from mlpvis_jax.running.solo import train

    results = train(call.config, call.folder)
    _print_what_is_left(call, results)
    _print_results(results, call.config)


def _evaluate(call: Call) -> None:
    from mlpvis_jax.report.evaluation import evaluate_and_report

    results = evaluate_and_report(
        call.config,
        call.folder,
        output=_output(call),
        corruptions=call.flags["corruptions"],
    )
    _print_results(results, call.config)


def _output(call: Call) -> Path | None:
    output = call.flags["output"]
    return None if output is None else find_folder(output, "--output")


def _compare(flags: Mapping[str, str | None]) -> None:
    from mlpvis_jax.report.comparison import compare
    from mlpvis_jax.running.kept_programs import keep_compiled_programs

    keep_compiled_programs()
    workdirs = flags["workdirs"]
    assert workdirs is not None  # it is needed
    compare(workdirs, find_folder(flags["output"] or "comparison", "--output"))


def _predict(call: Call) -> None:
    from mlpvis_jax.inference.files import predict_files

    images = call.flags["images"]
    assert images is not None  # the flag is needed
    predict_files(call.config, call.folder, images, _output(call))


def _mixing(call: Call) -> None:
    from mlpvis_jax.pictures.mixing_files import show_mixing

    show_mixing(call.config, call.folder)


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
    rows["predict"] = folder.command(config, "--mode=predict", "--images=*.png")
    # A schedule that ends with the run has no more epochs to give, nor has one that was cut.
    is_whole = config.duration.unit == "epochs" and config.duration.number.denominator == 1
    if is_whole and not results["stopped_early"] and config.schedule.name == "constant":
        more = f"--config.duration={config.duration.times(2)}"
        rows["go on"] = folder.command(config, more)
    print_header(rows)


def _print_results(results: Mapping[str, Any], config: RunConfig) -> None:
    said = " (average of each image and its mirror image)" if config.average_flips else ""
    print(f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%{said}")
    if "test_top5_accuracy" in results:
        print(f"Test top 5 accuracy: {round(results['test_top5_accuracy'] * 100, 2)}%")


_CORRUPTIONS = Flag(
    "all|NAMES",
    "also tests on corrupted images, of five strengths each: all, or names with commas",
)

# Images are scaled as the weights say, and the loss of a test is the cross-entropy. What a source
# cannot be opened with (`random_crop`, `reduced_jpeg`, `validation`) can be set to its default.
_READ_OF_IMAGES = (
    *("data.source", "data.data_dir", "data.limit", "data.framing", "data.random_crop"),
    *("data.reduced_jpeg", "data.validation"),
)

MODES: Mapping[str, Mode] = {
    "train": Mode(
        _train,
        "trains a run, or goes on with it",
        {
            "coordinator": Flag(
                "HOST:PORT",
                "where the processes of one run meet: the machine of process 0, and a port of it "
                "that is free; not needed under Slurm and on a TPU pod, see docs/scale.md",
            ),
            "processes": Flag("N", "so many processes train one run; 1: this one alone"),
            "process": Flag("I", "which of them this is, from 0"),
        },
    ),
    "evaluate": Mode(
        _evaluate,
        "tests the best weights of a run, and writes a report",
        {
            "output": Flag("FOLDER", "of the report; by default report/ in the run's folder"),
            "corruptions": _CORRUPTIONS,
        },
        reads=(
            *("model", "batch_size", "microbatch_size", "average_flips", "metrics"),
            *("data.cache_dir", "data.feed", "data.workers", *_READ_OF_IMAGES),
        ),
    ),
    "predict": Mode(
        _predict,
        "classifies images with the best weights of a run",
        {
            "images": Flag(
                "IMAGES", "files, folders or patterns, such as 'a.png photos **/*.jpg'", True
            ),
            "output": Flag("FOLDER", "of the table and the picture; by default the run's"),
        },
        reads=("model",),
    ),
    "mixing": Mode(
        _mixing,
        "draws what the mixing across tokens has learned",
        reads=("model", *_READ_OF_IMAGES),
    ),
    "export": Mode(
        _export,
        "writes the best weights of a run as a program for other programs",
        {
            "format": Flag("stablehlo|onnx", "what it is written as; by default stablehlo"),
            "image_size": Flag("any", "images of any size are taken, and none are resized"),
        },
        reads=("model",),
    ),
    "compare": Mode(
        _compare,
        "compares runs: settings, accuracies, learning curves, predictions",
        {
            "workdirs": Flag(
                "PATTERNS",
                "folders of runs, such as 'runs/*'; several with commas",
                is_needed=True,
            ),
            "output": Flag("FOLDER", "of the comparison; by default comparison/ here"),
        },
        needs_run=False,
    ),
}
