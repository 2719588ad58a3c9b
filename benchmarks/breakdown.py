"""What a training step spends its time on, part by part.

python -m benchmarks.breakdown

The parts of a compiled step overlap and fuse, so none can be timed inside of it. Instead the
project's own training is compiled several times, each time without one part more, and a part's
time is the difference between two neighbours. All run as training does, many steps in a loop on
the device, so that memory is warm; they take turns in interleaved rounds.

    full                the training as it is
    no random numbers   dropout left out of the model
    no backward pass    and no gradient asked for; the optimiser still runs, on zeros
    no forward pass     and the model replaced by the mean of its pixels
    optimiser           AdamW alone, on given gradients
    input               gathering the batch alone
    single dispatches   the full training, one step a dispatch

    input         = input
    augmentation  = no forward pass - optimiser - input      (with loss and metrics of the logits)
    forward       = no backward pass - no forward pass
    backward      = no random numbers - no backward pass
    random        = full - no random numbers                 (drawing the masks and using them)
    optimiser     = optimiser
    dispatch      = single dispatches - full                 (not part of a full step)

The first six add up to the full step. Small parts can come out below zero by the noise of the large
ones. The few random numbers of the augmentation and of the epoch's order stay with those.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import images, recipes, record, tables
from benchmarks.device_loop import DeviceLoop
from benchmarks.experiment import Epochs, with_images
from benchmarks.rounds import interleaved, summarize
from mlpvis_jax.data.resident import Batch, ResidentSet, rows_in_order, shuffle
from mlpvis_jax.models import Classifier
from mlpvis_jax.models.features import Outputs
from mlpvis_jax.running.placement import DataParallel, describe_devices
from mlpvis_jax.running.plan import Plan
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig

# Parts of a step are those of one device.
_ONE_DEVICE = DataParallel((jax.local_devices()[0],))
# From about how many seconds to measure to the seconds that one step took.
StepSeconds = Callable[[float], float]


class WithoutBackward(Classifier):
    """The classifier, of which no gradient is computed."""

    def __call__(
        self, images: jax.Array, train: bool = False, outputs: Outputs | None = None
    ) -> jax.Array:
        return jax.lax.stop_gradient(super().__call__(images, train, outputs))


class MeanPixel(Classifier):
    """The mean of an image's pixels as the logit of every class: reads all of them, and no more."""

    def __call__(
        self, images: jax.Array, train: bool = False, outputs: Outputs | None = None
    ) -> jax.Array:
        mean = images.mean(axis=(1, 2, 3))
        return jnp.broadcast_to(mean[:, None], (len(images), self.num_classes))


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the table, writes the JSON; returns the results."""
    settings = _parse(arguments)
    results = {}
    device = describe_devices(_ONE_DEVICE.devices)
    with tempfile.TemporaryDirectory() as folder:
        npz = Path(folder, "images.npz")
        data = images.write_npz(npz, settings.images)
        for model in settings.models:
            config = with_images(recipes.run_config(model, settings.set), npz)
            task = Task.read(config, Path(folder, "run"))
            results[model] = _measure(config, task, model, settings)
    path = record.write("breakdown", arguments, settings, device, data, results)
    _print_table(results, f"Parts of a training step on {device}, ms; {data}")
    record.say(f"Written to {path}")
    return results


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.breakdown", description=__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(recipes.MODELS),
        help="mixer, fnet, gmlp, or a preset's name",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn, at least")
    parser.add_argument("--images", type=int, default=4096, help="in an epoch")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    return parser.parse_args(arguments)


def parts_of(programs: dict[str, float]) -> dict[str, float]:
    """Derives the seconds of each part from those of each program, as the module's text says."""
    optimizer, gather = programs["optimiser"], programs["input"]
    return {
        "input": gather,
        "augmentation": programs["no forward pass"] - optimizer - gather,
        "forward": programs["no backward pass"] - programs["no forward pass"],
        "backward": programs["no random numbers"] - programs["no backward pass"],
        "random": programs["full"] - programs["no random numbers"],
        "optimiser": optimizer,
        "dispatch": programs["single dispatches"] - programs["full"],
    }


def _measure(
    config: RunConfig, task: Task, name: str, settings: argparse.Namespace
) -> dict[str, Any]:
    programs = _compile_programs(config, task)
    for step_seconds in programs.values():
        step_seconds(0)  # the first one meets memory that was never touched
    measured: dict[str, list[float]] = {program: [] for program in programs}
    for number, program in interleaved(list(programs), settings.rounds):
        record.say(f"{name}, round {number + 1} of {settings.rounds}: {program}")
        measured[program].append(programs[program](settings.seconds))
    summaries = {program: summarize(seconds) for program, seconds in measured.items()}
    medians = {program: summary["median"] for program, summary in summaries.items()}
    return {"program_seconds": summaries, "part_seconds": parts_of(medians)}


def _compile_programs(config: RunConfig, task: Task) -> dict[str, StepSeconds]:
    def training(model: Classifier | None = None, config: RunConfig = config) -> StepSeconds:
        epochs = Epochs([config], task, _ONE_DEVICE, model)

        def step_seconds(seconds: float) -> float:
            done = epochs.run(seconds)
            return done["seconds"] / done["steps"]

        return step_seconds

    model = Plan.of([config], task).model
    plain = model.clone(dropout_rate=0.0, stochastic_depth_rate=0.0)
    single = dataclasses.replace(config, steps_per_dispatch=1)
    return {
        "full": training(),
        "no random numbers": training(model=plain),
        "no backward pass": training(model=_changed(WithoutBackward, plain)),
        "no forward pass": training(model=_changed(MeanPixel, plain)),
        "optimiser": _compile_optimizer(config, task),
        "input": _compile_input(config, task),
        "single dispatches": training(config=single),
    }


def _changed(kind: type[Classifier], model: Classifier) -> Classifier:
    """A model of that kind with all fields of the given one."""
    own = kind.__dataclass_fields__
    fields = {name: getattr(model, name) for name in own if name not in ("parent", "name")}
    return kind(**fields)


def _compile_optimizer(config: RunConfig, task: Task) -> StepSeconds:
    """Makes the optimiser alone, on gradients that are there already."""
    plan = Plan.of([config], task)
    optimizer = plan.learner.optimizer(0, plan.numbers(config))

    def update(index: jax.Array, state: Any, gradients: Any) -> Any:
        params, opt_state = state
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params = plan.initial_state(config).params
    gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, 1e-3), params)
    return DeviceLoop(update, (params, optimizer.init(params)), gradients).seconds_per_iteration


def _compile_input(config: RunConfig, task: Task) -> StepSeconds:
    """Gathers one batch after the other, in an order of their own."""
    examples = jax.device_put(task.training)
    number, batch_size = len(examples), config.batch_size
    rows = jnp.asarray(rows_in_order(number, batch_size, num_shards=1)[:, 0])
    rows = shuffle(rows, jax.random.key(0), number)

    def gather(index: jax.Array, batch: Batch, data: tuple[ResidentSet, jax.Array]) -> Batch:
        examples, rows = data
        return examples.batch(rows[index % len(rows)])

    return DeviceLoop(gather, examples.batch(rows[0]), (examples, rows)).seconds_per_iteration


def _print_table(results: dict[str, Any], title: str) -> None:
    rows = []
    for part in next(iter(results.values()))["part_seconds"]:
        cells = []
        for measured in results.values():
            seconds = measured["part_seconds"][part]
            full = measured["program_seconds"]["full"]["median"]
            cells += [f"{1e3 * seconds:.3f}", f"{100 * seconds / full:.1f} %"]
        rows.append([part, *cells])
    totals = [measured["program_seconds"]["full"] for measured in results.values()]
    spreads = [f"{1e3 * full['least']:.3g} to {1e3 * full['most']:.3g}" for full in totals]
    whole = [f"{1e3 * full['median']:.3f}" for full in totals]
    rows.append(["full step", *itertools.chain(*zip(whole, spreads, strict=True))])
    columns = itertools.chain(*((name, "of a step") for name in results))
    tables.show(title, ["part", *columns], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
