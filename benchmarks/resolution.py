"""What another image size costs in accuracy: weights carried over to it, on CIFAR-100.

python -m benchmarks.resolution [--models mixer gmlp] [--sizes 64 48 96 128]

A model is trained at 64 px with `configs/<model>.py:fast`. For each size its weights are carried
over to the new grid of tokens (`config.init_from`), and its test accuracy is measured three times:
as they are, after one epoch of fine-tuning, and, beside these, of a model that was trained anew for
one epoch. All with the recipe of `:fast`, of which fine-tuning takes a smaller learning rate. The
size of 64 px among the sizes says what that epoch gives without a change of size.

Every training is a run of its own in `--folder`; finished ones are not repeated, and begun ones go
on, so the same command finishes what was stopped.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util

from benchmarks import recipes, record, tables
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running.choices import completed
from mlpvis_jax.running.evaluation import normalization_of
from mlpvis_jax.running.placement import DataParallel, describe_devices
from mlpvis_jax.running.programs import Programs
from mlpvis_jax.running.solo import train
from mlpvis_jax.running.start import find_initial_weights
from mlpvis_jax.running.task import Task, open_data
from mlpvis_jax.settings.config import RunConfig

_TRAINED_AT = 64  # px
_WAYS = ("directly", "fine-tuned", "anew")


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: trains, prints the table, writes the JSON; returns the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.resolution", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mixer", "gmlp"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 48, 96, 128], help="px")
    parser.add_argument(
        "--learning-rate", type=float, default=0.005, help="of fine-tuning, at its highest"
    )
    parser.add_argument("--folder", default="runs/resolution", help="of all trainings")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    settings = parser.parse_args(arguments)
    placement = DataParallel.all()
    results = {model: _measure(model, settings, placement) for model in settings.models}
    device = describe_devices(placement.devices)
    named = [one.partition("=")[2] for one in settings.set if one.startswith("data.source=")]
    data = (named or ["cifar100"])[-1]
    path = record.write("resolution", arguments, settings, device, data, results)
    rows = [
        [model, f"{size} px", *(_cell(measured[way]) for way in _WAYS)]
        for model, sizes in results.items()
        for size, measured in sizes.items()
    ]
    columns = ["model", "image size", *_WAYS]
    tables.show("Test accuracy and top-5 accuracy in percent", columns, rows)
    record.say(f"Written to {path}")
    return results


def _measure(
    model: str, settings: argparse.Namespace, placement: DataParallel
) -> dict[int, dict[str, Any]]:
    """Trains one model at its size, and measures it at all others, by size and way."""
    folder = Path(settings.folder)
    base = folder / f"{model}-{_TRAINED_AT}"
    train(_config(model, settings.set), RunFolder(base), placement)
    results = {}
    for size in settings.sizes:
        another = [*settings.set, f"model.image_size={size}"]
        carried = [*another, f"init_from={base}"]
        one_epoch = ["duration=1", "schedule.warmup=0.1"]
        rate = [f"optimizer.learning_rate={settings.learning_rate}"]
        results[size] = {
            "directly": _directly(_config(model, carried), base, placement),
            "fine-tuned": _train(
                _config(model, [*carried, *one_epoch, *rate]),
                folder / f"{model}-{size}-fine-tuned",
                placement,
            ),
            "anew": _train(
                _config(model, [*another, *one_epoch]), folder / f"{model}-{size}-anew", placement
            ),
        }
        record.say(f"{model}, {size} px: {results[size]}")
    return results


def _config(model: str, changes: Sequence[str]) -> RunConfig:
    values = recipe(f"{model}:fast")
    recipes.change_each(values, changes)
    return RunConfig.from_mapping(values)


def _directly(config: RunConfig, run: Path, placement: DataParallel) -> dict[str, Any]:
    """Tests weights that are carried over, and not trained; images are scaled as in their run."""
    config = completed(config)
    source = open_data(config)
    initial = find_initial_weights(config, source)
    assert initial is not None
    weights = RunFolder(run).best_weights
    scaling = normalization_of(read_description(weights), source.image_shape[-1], weights)
    task = Task.of_test_set(config, source, run, scaling)
    params = traverse_util.unflatten_dict(dict(initial.params), sep="/")
    (tested,) = Programs([config], task, placement).test([params])
    return {f"test_{name}": value for name, value in tested.items()}


def _train(config: RunConfig, folder: Path, placement: DataParallel) -> dict[str, Any]:
    start = time.perf_counter()
    results = train(config, RunFolder(folder), placement)
    tested = {key: value for key, value in results.items() if key.startswith("test_")}
    return {**tested, "seconds": time.perf_counter() - start}


def _cell(measured: dict[str, Any]) -> str:
    accuracy, top5 = measured["test_accuracy"], measured["test_top5_accuracy"]
    return f"{100 * accuracy:.1f} / {100 * top5:.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
