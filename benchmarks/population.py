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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import images, recipes, record, tables
from benchmarks.experiment import Experiment
from benchmarks.rounds import interleaved, summarize
from mlpvis_jax.learning.state import EpochTotals
from mlpvis_jax.running.placement import Devices, spread_over_cores
from mlpvis_jax.running.setup import describe_devices
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.sweep.definition import Trial
from mlpvis_jax.sweep.population import Population, trials_that_fit


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
    spread_over_cores(max(settings.numbers))
    devices = Devices.all()
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
    config: RunConfig, npz: Path, devices: Devices, settings: argparse.Namespace
) -> dict[str, Any]:
    alone = Devices(devices.devices[:1])
    experiment = Experiment.prepare(config, npz, alone)
    solo = experiment.compile()
    solo.run(0)
    data = Task.read(experiment.config, npz.parent / "run")
    trial = Trial(0, 0, {}, experiment.config)
    results: dict[str, Any] = {
        "trials_that_fit": trials_that_fit(trial, data, devices, settings.side_by_side),
        "out_of_memory": None,
        "populations": {},
    }
    for number in settings.numbers:
        record.say(f"{config.model.name}: {number} trials")
        rates: dict[str, list[float]] = {"solo": [], "population": []}
        try:
            population = _Epochs(experiment.config, data, devices, number, settings.side_by_side)
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


class _Epochs:
    """A population that goes on from epoch to epoch; stands beside `experiment.Epochs`."""

    def __init__(
        self,
        config: RunConfig,
        data: Task,
        devices: Devices,
        number: int,
        side_by_side: int | None,
    ) -> None:
        rates = np.geomspace(1e-3, 1e-2, number)
        configs = [
            dataclasses.replace(
                config, optimizer=dataclasses.replace(config.optimizer, learning_rate=float(rate))
            )
            for rate in rates
        ]
        self._population = Population(configs, data, devices, number, side_by_side)
        place = self._population.trials.place
        self._told = place([self._population.hyperparameters(one) for one in configs])
        self._state = place([self._population.initial_state(one) for one in configs])
        self._images = number * len(data.training)
        self._epoch = 0

    def run(self, seconds: float) -> dict[str, float]:
        """See `experiment.Epochs.run`."""
        trials, epochs = self._population.trials, 0
        start = time.perf_counter()
        while epochs == 0 or time.perf_counter() - start < seconds:
            self._epoch += 1
            epochs += 1
            totals = trials.copies(EpochTotals.zero())
            dispatches = self._population.training.run_epoch(
                self._state, totals, self._epoch, 0, self._told
            )
            for state, newest, _ in dispatches:
                trials.fetch(totals)  # the loop looks at the dispatch before
                self._state, totals = state, newest
            trials.fetch(totals)
        return {"images": epochs * self._images, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main(sys.argv[1:])
