"""What checkpoints cost a run: training with them and without, in turns.

python -m benchmarks.checkpointing

A turn trains epochs of `--images` images with one of the Keras example's models, and either saves
all of the run after each, as a run does, or does not. The difference is what a save costs, the work
in the background included. A run at its defaults saves once an epoch and every ten minutes; so the
share is that cost over the seconds of an epoch of CIFAR-100 at the same speed, or over ten minutes
where an epoch takes longer.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import images, recipes, record, tables
from benchmarks.experiment import Epochs, with_images
from benchmarks.rounds import interleaved, summarize
from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.learning.metrics import no_sums
from mlpvis_jax.learning.state import TrainState
from mlpvis_jax.running.placement import DataParallel, describe_devices
from mlpvis_jax.running.progress import RunProgress
from mlpvis_jax.running.run import Run, snapshot
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig

_CIFAR100 = 45_000  # training images
_INTERVAL_SECONDS = 600.0


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the table, writes the JSON; returns the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.checkpointing", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(recipes.MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn, at least")
    parser.add_argument("--images", type=int, default=512, help="in an epoch")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    settings = parser.parse_args(arguments)
    placement = DataParallel.all()
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder, "images.npz")
        data = images.write_npz(npz, settings.images)
        results = {
            model: _measure(
                with_images(recipes.run_config(model, settings.set), npz),
                Path(folder, model),
                placement,
                settings,
            )
            for model in settings.models
        }
    device = describe_devices(placement.devices)
    path = record.write("checkpointing", arguments, settings, device, data, results)
    rows = [
        [
            model,
            f"{1e3 * measured['with']['median']:.1f}",
            f"{1e3 * measured['without']['median']:.1f}",
            f"{1e3 * measured['cost_seconds']['median']:.1f}",
            f"{1e3 * measured['cost_seconds']['least']:.1f} to "
            f"{1e3 * measured['cost_seconds']['most']:.1f}",
            f"{100 * measured['share_at_defaults']:.2f} %",
        ]
        for model, measured in results.items()
    ]
    columns = ["model", "saved, ms an epoch", "not saved", "a save costs", "least to most"]
    tables.show(f"Checkpoints on {device}; {data}", [*columns, "share at defaults"], rows)
    record.say(f"Written to {path}")
    return results


def _measure(
    config: RunConfig, folder: Path, placement: DataParallel, settings: argparse.Namespace
) -> dict[str, Any]:
    task = Task.read(config, folder)
    epochs = Epochs([config], task, placement)
    plan = epochs.programs.plan
    nothing = no_sums(plan.learner.metrics, plan.learner.num_classes)
    run = Run(0, config, RunFolder(folder), lambda _: ())
    run.progress = RunProgress.start(config, plan.initial_state(config), nothing)
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with Checkpoints(folder) as checkpoints:

        def save(state: TrainState, epoch: int) -> None:
            states = placement.fetch(state)
            checkpoints.save(epoch, snapshot([0], [run], states, task.identity))

        epochs.run(0, save)
        checkpoints.wait()
        for _, kind in interleaved(["with", "without"], settings.rounds):
            done = epochs.run(settings.seconds, save if kind == "with" else None)
            start = time.perf_counter()
            checkpoints.wait()  # the last save's work in the background is part of what it costs
            waited = time.perf_counter() - start
            number = done["images"] / len(task.training)
            seconds[kind].append((done["seconds"] + waited) / number)
    cost = [one - other for one, other in zip(seconds["with"], seconds["without"], strict=True)]
    summaries = {kind: summarize(values) for kind, values in seconds.items()}
    cost_seconds = summarize(cost)
    epoch = summaries["without"]["median"] * _CIFAR100 / len(task.training)
    share = cost_seconds["median"] / min(epoch, _INTERVAL_SECONDS)
    return {**summaries, "cost_seconds": cost_seconds, "share_at_defaults": share}


if __name__ == "__main__":
    main(sys.argv[1:])
