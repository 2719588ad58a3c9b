"""A sweep of launch.py against the same trials as runs of their own, by whole wall time.

python -m benchmarks.sweep [--models mixer] [--trials 16] [--images 4096]

Each trial is an epoch. Half of the solo runs come before the sweep and half after it, so that a
machine that grows slower or faster favours neither. Both sides begin with empty caches of compiled
programs and of decoded images, in which the later solo runs find what the first one has left.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import images, recipes, record, tables

_RATES = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02]
_DROPOUTS = [0.1, 0.2]


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the table, writes the JSON; returns the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.sweep", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mixer"], choices=recipes.MODELS)
    number = len(_points())
    parser.add_argument("--trials", type=int, default=number, choices=range(1, number + 1))
    parser.add_argument("--images", type=int, default=4096, help="in the epoch of a trial")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    settings = parser.parse_args(arguments)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder, "images.npz")
        data = images.write_npz(npz, settings.images)
        with np.load(npz) as arrays:  # as large a share to test with as CIFAR-100 has
            train = {name: arrays[name] for name in ("x_train", "y_train")}
        fifth = len(train["x_train"]) // 5
        test = {"x_test": train["x_train"][:fifth], "y_test": train["y_train"][:fifth]}
        np.savez(npz, **train, **test)
        for model in settings.models:
            results[model] = _measure(model, npz, Path(folder, model), settings)
    device = os.environ.get("JAX_PLATFORMS", "as launch.py finds")
    path = record.write("sweep", arguments, settings, device, data, results)
    rows = [
        [
            model,
            f"{sum(one['solo_seconds']):.0f}",
            f"{one['sweep_seconds']:.0f}",
            f"{one['ratio']:.2f}",
            f"{one['pure_training_seconds']:.0f}",
            f"{one['images_per_second']['solo']:,.0f}",
            f"{one['images_per_second']['sweep']:,.0f}",
        ]
        for model, one in results.items()
    ]
    columns = ["model", "solo runs, s", "sweep, s", "ratio", "solo runs' training alone, s"]
    columns += ["images/s, solo", "images/s, sweep"]
    tables.show(f"{settings.trials} trials of {settings.images:,} images; {data}", columns, rows)
    record.say(f"Written to {path}")
    return results


def _points() -> list[tuple[float, float]]:
    """Learning rate and dropout of the trials, in the order of a grid."""
    return list(itertools.product(_RATES, _DROPOUTS))


def _measure(model: str, npz: Path, folder: Path, settings: argparse.Namespace) -> dict[str, Any]:
    common = [
        f"--config=configs/{model}.py",
        f"--config.data.source=npz:{npz}",
        f"--config.data.validation={images.VALIDATION}",
        "--config.duration=1",
        *(f"--config.{change}" for change in settings.set),
    ]
    points = _points()[: settings.trials]
    solo = []
    for number, (rate, dropout) in enumerate(points):
        if number == len(points) // 2:
            record.say(f"{model}: the sweep")
            sweep = _launch(
                folder / "for_sweep",
                *(*common, f"--workdir={folder / 'sweep'}"),
                f"--sweep.optimizer.learning_rate={_RATES}",
                f"--sweep.model.dropout_rate={_DROPOUTS}",
                f"--sweep.num_trials={len(points)}",
            )
        record.say(f"{model}: solo run {number + 1} of {len(points)}")
        solo.append(
            _launch(
                folder / "for_solo",
                *(*common, f"--workdir={folder / f'solo-{number}'}"),
                f"--config.optimizer.learning_rate={rate}",
                f"--config.model.dropout_rate={dropout}",
            )
        )
    epochs = {
        "solo": [_epoch(folder / f"solo-{number}") for number in range(len(points))],
        "sweep": [_epoch(folder / f"sweep/trials/{number:04}") for number in range(len(points))],
    }
    return {
        "solo_seconds": solo,
        "sweep_seconds": sweep,
        "ratio": sweep / sum(solo),
        # The seconds of an epoch's record are those of its validation, too.
        "pure_training_seconds": sum(
            settings.images / one["images_per_second"] for one in epochs["solo"]
        ),
        "images_per_second": {
            name: statistics.median(one["images_per_second"] for one in some)
            for name, some in epochs.items()
        },
        "same_validation_loss": sum(
            one["validation_loss"] == other["validation_loss"]
            for one, other in zip(epochs["solo"], epochs["sweep"], strict=True)
        ),
    }


def _launch(home: Path, *arguments: str) -> float:
    """Seconds of launch.py, from its start to its end, with this home directory."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "launch.py", *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"launch.py failed: {done.stderr[-2000:]}")
    return time.perf_counter() - start


def _epoch(run: Path) -> dict[str, Any]:
    """The record of a run's only epoch."""
    return json.loads((run / "metrics.jsonl").read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
