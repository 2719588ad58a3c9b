"""Training images/s of trials that train as one program, by their number, against a solo run.

python -m benchmarks.population [--numbers 1 2 4 8 16 32 64]

For each number a sweep's own program is compiled, and takes turns with that of a solo run. Images
are counted over all trials. A number that there is no memory for ends the list; beside it stands
how many trials a sweep would have taken to fit.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import images, recipes, record, tables
from benchmarks.experiment import Epochs, with_images
from benchmarks.rounds import interleaved, summarize
from mlpvis_jax.running.machine import use_each_core
from mlpvis_jax.running.placement import DataParallel, describe_devices
from mlpvis_jax.running.task import Task
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.capacity import trials_that_fit


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the table, writes the JSON; returns the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.population", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(recipes.MODELS))
    parser.add_argument("--numbers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn, at least")
    parser.add_argument("--images", type=int, default=2048, help="in an epoch of a trial")
    parser.add_argument("--side-by-side", type=int, help="trials that a device computes together")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    settings = parser.parse_args(arguments)
    use_each_core(max(settings.numbers))
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        devices = devices[:1]  # the solo run has one, and on a CPU its one uses all cores
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder, "images.npz")
        data = images.write_npz(npz, settings.images)
        results = {
            model: _measure(recipes.run_config(model, settings.set), npz, devices, settings)
            for model in settings.models
        }
    device = describe_devices(devices)
    path = record.write("population", arguments, settings, device, data, results)
    rows = []
    for model, measured in results.items():
        for number, one in measured["populations"].items():
            ratio, rate = one["times_solo"], one["images_per_second"]
            rows.append(
                [
                    *(model, number, f"{rate['median']:,.0f}"),
                    f"{one['solo_images_per_second']['median']:,.0f}",
                    f"{ratio['median']:.2f}",
                    f"{ratio['least']:.2f} to {ratio['most']:.2f}",
                ]
            )
    columns = ["model", "trials", "images/s", "solo", "times solo", "least to most"]
    tables.show(f"Populations on {device}; {data}", columns, rows)
    record.say(f"Written to {path}")
    return results


def _measure(
    config: RunConfig, npz: Path, devices: Sequence[jax.Device], settings: argparse.Namespace
) -> dict[str, Any]:
    config = with_images(config, npz)
    task = Task.read(config, npz.parent / "run")
    solo = Epochs([config], task, DataParallel((devices[0],)))
    solo.run(0)
    results: dict[str, Any] = {
        "trials_that_fit": trials_that_fit(config, task, devices, settings.side_by_side),
        "out_of_memory": None,
        "populations": {},
    }
    for number in settings.numbers:
        record.say(f"{config.model.name}: {number} trials")
        rates: dict[str, list[float]] = {"solo": [], "population": []}
        try:
            placement = TrialParallel.with_capacity(devices, number, settings.side_by_side)
            population = Epochs(_with_rates(config, number), task, placement)
            population.run(0)
            for _, name in interleaved(["solo", "population"], settings.rounds):
                done = (solo if name == "solo" else population).run(settings.seconds)
                rates[name].append(done["images"] / done["seconds"])
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            results["out_of_memory"] = number
            break
        pairs = zip(rates["population"], rates["solo"], strict=True)
        ratios = [rate / other for rate, other in pairs]
        results["populations"][str(number)] = {
            "images_per_second": summarize(rates["population"]),
            "solo_images_per_second": summarize(rates["solo"]),
            "times_solo": summarize(ratios),
        }
        del population  # which holds memory
    return results


def _with_rates(config: RunConfig, number: int) -> list[RunConfig]:
    """Makes a config for each trial, of learning rates from 0.001 to 0.01."""
    return [
        dataclasses.replace(
            config, optimizer=dataclasses.replace(config.optimizer, learning_rate=float(rate))
        )
        for rate in np.geomspace(1e-3, 1e-2, number)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
