"""What each change of a recipe gives: from the Keras example's to another, one change at a time.

python -m benchmarks.ablation [--model mixer] [--variant best] [--duration '10 epochs'] [--seeds 2]

Each row has the settings of the row above it and one change more, so that the last row is the
recipe of `configs/<model>.py:<variant>`, but for the duration; a change that the variant does not
make has no row. Each row is a sweep over the seed.
Sweeps that have ended are not repeated and begun ones go on; with `--rows` and one `--out`, a table
is made in several sittings. Accuracies are those of the best epoch by the validation loss. Test
accuracies, which the sweeps print as well, are not in the table, because recipes are chosen by it.
"""

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import recipes, record, tables
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.running.machine import local_devices, use_each_core
from mlpvis_jax.running.placement import describe_devices
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep import loop
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder

# What a row takes from the recipe that the table leads to: settings, or whole sections.
ROWS: Mapping[str, Sequence[str]] = {
    "the example's recipe": (),
    "no dropout": ("model.dropout_rate",),
    "less zoom": ("augment.flip_zoom.zoom",),
    "label smoothing": ("loss.label_smoothing",),
    "a linear decay after a warm-up": ("schedule", "reduce_on_plateau", "early_stopping"),
    "gradients clipped": ("optimizer.clip_norm",),
    "Muon in place of AdamW": ("optimizer",),
    "random crops": ("augment",),
    "images mixed": ("mix",),
}


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: trains, prints the table, writes the JSON; returns the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.ablation", description=__doc__)
    parser.add_argument("--model", default="mixer", help="of configs/")
    parser.add_argument("--variant", default="best", help="the recipe that the table leads to")
    parser.add_argument("--duration", default="10 epochs", help="of each run")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--rows", nargs="+", type=int, choices=range(len(ROWS)), help="from 0; by default all"
    )
    parser.add_argument("--folder", default="runs/ablation", help="of all sweeps")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs"
    )
    parser.add_argument(
        "--out", help="JSON file, whose other rows are kept; by default a new one in results/"
    )
    settings = parser.parse_args(arguments)
    use_each_core(settings.seeds)
    results = _read_rows(settings)
    configs = configs_of_rows(settings.model, settings.variant)
    wanted = range(len(ROWS)) if settings.rows is None else settings.rows
    for number in wanted:
        name = list(ROWS)[number]
        if name not in configs:
            record.say(f"{name}: left out, for {settings.variant} does not change it")
            continue
        if name in results:
            record.say(f"{name}: measured before")
            continue
        results[name] = _measure(configs[name], Path(settings.folder, f"row{number}"), settings)
        record.say(f"{name}: {results[name]}")
    results = {name: results[name] for name in ROWS if name in results}
    if not results:
        parser.error(f"--rows: {settings.variant} changes nothing there; see --help.")
    device = describe_devices(local_devices())
    data = next(iter(results.values()))["config"]["data"]["source"]
    path = record.write("ablation", arguments, settings, device, data, results)
    rows = [
        [name, *(_cell(one[key]) for key in ("validation_accuracy", "train_accuracy"))]
        for name, one in results.items()
    ]
    title = f"Accuracy in percent after {settings.duration}, each row with one change more"
    tables.show(title, ["", "validation images", "images trained on"], rows)
    record.say(f"Written to {path}")
    return results


def configs_of_rows(model: str, variant: str) -> dict[str, dict[str, Any]]:
    """Makes the settings of each row, from the example's recipe to the variant's.

    A row that would change nothing is left out.

    Raises:
      ValueError: the variant has settings that no row takes.
    """
    values, goal = recipe(model), recipe(f"{model}:{variant}")
    goal["duration"] = values["duration"]
    configs: dict[str, dict[str, Any]] = {}
    for name, keys in ROWS.items():
        before = copy.deepcopy(values)
        for key in keys:
            *groups, last = key.split(".")
            into, source = values, goal
            for group in groups:
                into, source = into[group], source[group]
            if last in source:
                into[last] = source[last]
        if values != before or not configs:
            configs[name] = copy.deepcopy(values)  # the next row changes it again
    left = [key for key in goal if values.get(key) != goal[key]]
    if left:
        raise ValueError(
            f"The rows do not lead to {model}:{variant}, which differs from the last one in "
            f"{', '.join(left)}; name a variant that they lead to, such as fast or best."
        )
    return configs


def _measure(values: dict[str, Any], folder: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Trains a row with each of its seeds, and gives the accuracies and seconds of the seeds."""
    recipes.change_each(values, [f"duration={settings.duration}", *settings.set])
    sweep = Sweep.read(values, {"seed": f"seeds({settings.seeds})"})
    loop.run(sweep, folder)
    best = [_best_epoch(SweepFolder(folder), number) for number in range(sweep.num_trials)]
    measured = ("validation_accuracy", "train_accuracy", "seconds")
    return {
        **{key: [one[key] for one in best] for key in measured},
        "config": RunConfig.from_mapping(values).to_dict(),
        "git_revision": record.git_revision(),
    }


def _best_epoch(folder: SweepFolder, trial: int) -> dict[str, Any]:
    """Reads the epoch of the lowest validation loss, with the seconds of all epochs."""
    history = folder.read_history(trial)
    best = min(history, key=lambda epoch: epoch["validation_loss"])
    return {**best, "seconds": sum(epoch["seconds"] for epoch in history)}


def _read_rows(settings: argparse.Namespace) -> dict[str, Any]:
    """Reads the rows that the file has already, if there is one.

    Raises:
      ValueError: the file is of other settings.
    """
    if settings.out is None or not Path(settings.out).exists():
        return {}
    before = json.loads(Path(settings.out).read_text())
    for key in ("model", "variant", "duration", "seeds", "set"):
        if before["settings"][key] != getattr(settings, key):
            raise ValueError(
                f"{settings.out} has rows of --{key} {before['settings'][key]}, not "
                f"{getattr(settings, key)}; give another --out."
            )
    return before["results"]


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main(sys.argv[1:])
