"""How the time and memory of a training step grow with tokens, width, depth and batch.

python -m benchmarks.scaling

Beside the example's models stands a Vision Transformer of FNet's shape, with heads of 64 channels.
What is timed is what the architecture decides: forward and backward pass with dropout, and AdamW,
over images that are ready on the device. Input and augmentation, the same for all, are left to
`breakdown`. Steps run in one loop on the device. Around a base of 64 tokens, width 256, 4 blocks
and a batch of 32, one size is changed at a time:

 - tokens, by cutting the same 96 px image into smaller patches, so that the stem's work stays;
 - width, the blocks' hidden widths over channels growing with it;
 - depth, the number of blocks;
 - batch.

The Mixer's hidden width over tokens stays the preset's, as in its paper. In every round all models
at all sizes of an axis take turns. An exponent is that of a power law fitted to all points of an
axis in a round, or of the one through its two largest sizes, where constant parts weigh least; its
median is taken over rounds. Memory is what the compiled program says it holds: parameters,
optimiser, images, and all that is kept for the backward pass.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import jax
import optax

from benchmarks import recipes, record, tables
from benchmarks.device_loop import DeviceLoop
from benchmarks.power_law import crossings, fit_exponent
from benchmarks.rounds import interleaved, summarize
from mlpvis_jax.learning.losses import softmax_cross_entropy
from mlpvis_jax.learning.optimizers import adamw
from mlpvis_jax.models import PRESETS
from mlpvis_jax.running.choices import build_model
from mlpvis_jax.running.placement import describe_devices
from mlpvis_jax.settings.config import RunConfig

AXES = {
    "tokens": (16, 36, 64, 144, 256, 576, 1024),
    "width": (64, 128, 256, 512, 1024),
    "depth": (1, 2, 4, 8, 16),
    "batch": (8, 16, 32, 64, 128, 256),
}
BASE = {"tokens": 64, "width": 256, "depth": 4, "batch": 32}
IMAGE_SIZE = 96  # pixels a side; every grid above divides it
_NUM_CLASSES = 100
_ATTENTION = "vit"
_PRESETS = {**{model: f"{model}_keras" for model in recipes.MODELS}, _ATTENTION: "vit_paper"}
_HEAD = 64  # channels of a head of attention
_HIDDEN_OVER_CHANNELS = ("channels_hidden_dim", "hidden_dim")


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command line: prints the tables, writes the JSON; returns the results."""
    settings = _parse(arguments)
    results = {axis: _measure_axis(axis, settings) for axis in settings.axes}
    device = describe_devices(jax.local_devices()[:1])
    data = f"random float32 images, {IMAGE_SIZE} x {IMAGE_SIZE} x 3"
    path = record.write("scaling", arguments, settings, device, data, results)
    for axis, result in results.items():
        _print_axis(axis, result, device)
    record.say(f"Written to {path}")
    return results


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(_PRESETS), choices=list(_PRESETS))
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn, about")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the models"
    )
    parser.add_argument("--out", help="JSON file; by default a new one in benchmarks/results/")
    return parser.parse_args(arguments)


def point_config(model: str, sizes: dict[str, int], changes: Sequence[str] = ()) -> RunConfig:
    """Gives the settings of a model at one point.

    Args:
      model: mixer, fnet, gmlp or vit.
      sizes: tokens (a square), width, depth and batch.
      changes: settings as KEY=VALUE.
    """
    preset = PRESETS[_PRESETS[model]]
    grid = round(sizes["tokens"] ** 0.5)
    values: dict[str, Any] = {
        "model.name": _PRESETS[model],
        "batch_size": sizes["batch"],
        "model.image_size": IMAGE_SIZE,
        "model.patch_size": IMAGE_SIZE // grid,
        "model.width": sizes["width"],
        "model.num_blocks": sizes["depth"],
    }
    for name in _HIDDEN_OVER_CHANNELS:
        if name in preset:
            values[f"model.{name}"] = preset[name] * sizes["width"] // preset["width"]
    if model == _ATTENTION:
        values["model.num_heads"] = max(1, sizes["width"] // _HEAD)
    family = model if model in recipes.MODELS else recipes.MODELS[0]
    return recipes.run_config(
        family, [*(f"{key}={value}" for key, value in values.items()), *changes]
    )


def compile_steps(config: RunConfig) -> DeviceLoop:
    """Compiles a loop of training steps over one batch."""
    model = build_model(config.model, _NUM_CLASSES)
    settings = config.optimizer
    optimizer = adamw(settings.learning_rate, settings.weight_decay)
    key = jax.random.key(config.seed)
    shape = (config.batch_size, config.model.image_size, config.model.image_size, 3)

    @jax.jit  # one program instead of one for every array
    def begin(key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        images = jax.random.normal(key, shape)
        labels = jax.random.randint(key, shape[:1], 0, _NUM_CLASSES)
        params = model.init(key, images[:1])["params"]
        return (params, optimizer.init(params)), (images, labels)

    def loss(params: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": params}, images, train=True, rngs={"dropout": key})
        return softmax_cross_entropy(logits, labels).mean()

    def step(index: jax.Array, state: Any, batch: tuple[jax.Array, jax.Array]) -> Any:
        params, opt_state = state
        gradients = jax.grad(loss)(params, *batch, jax.random.fold_in(key, index))
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return DeviceLoop(step, *begin(key))


def _measure_axis(axis: str, settings: argparse.Namespace) -> dict[str, Any]:
    """Step times and memory of all models at all sizes; every round has all of them."""
    loops: dict[tuple[str, int], DeviceLoop] = {}
    for size, model in itertools.product(AXES[axis], settings.models):
        record.say(f"{axis} {size}: compiling {model}")
        config = point_config(model, {**BASE, axis: size}, settings.set)
        loops[model, size] = compile_steps(config)
        loops[model, size].seconds_per_iteration(settings.seconds)  # finds how many fill a turn
    seconds: dict[tuple[str, int], list[float]] = {place: [] for place in loops}
    for number, (model, size) in interleaved(list(loops), settings.rounds):
        record.say(f"{axis} {size}, round {number + 1} of {settings.rounds}: {model}")
        seconds[model, size].append(loops[model, size].seconds_per_iteration(settings.seconds))
    points, fits = {}, {}
    for model in settings.models:
        times = [seconds[model, size] for size in AXES[axis]]
        memory = [loops[model, size].bytes for size in AXES[axis]]
        points[model] = [
            {"size": size, "step_seconds": summarize(of_size), "bytes": held}
            for size, of_size, held in zip(AXES[axis], times, memory, strict=True)
        ]
        # An exponent is of one round, in which the sizes took turns.
        rounds = [_exponents(AXES[axis], of_round) for of_round in zip(*times, strict=True)]
        fits[model] = {
            "time": {kind: summarize([one[kind] for one in rounds]) for kind in rounds[0]},
            "memory": _exponents(AXES[axis], memory),
        }
    return {"points": points, "exponents": fits, "crossings": _crossings(points)}


def _exponents(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Of values at rising sizes."""
    return {
        "all": fit_exponent(sizes, values),
        "largest_two": fit_exponent(sizes[-2:], values[-2:]),
    }


def _crossings(points: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Where one model's step becomes shorter than another's: size, faster and slower beyond it."""
    found = []
    for one, other in itertools.combinations(points, 2):
        sizes = [point["size"] for point in points[one]]
        times = [
            [point["step_seconds"]["median"] for point in points[model]] for model in (one, other)
        ]
        for size, one_is_faster in crossings(sizes, *times):
            faster, slower = (one, other) if one_is_faster else (other, one)
            found.append({"size": size, "faster_beyond": faster, "slower_beyond": slower})
    return found


def _print_axis(axis: str, result: dict[str, Any], device: str) -> None:
    models = list(result["points"])
    rows = []
    for measured in zip(*result["points"].values(), strict=True):
        times = [f"{1e3 * point['step_seconds']['median']:.3g}" for point in measured]
        sizes = [f"{point['bytes'] / 1e6:,.0f}" for point in measured]
        rows.append([str(measured[0]["size"]), *times, *sizes])
    fits = [result["exponents"][model] for model in models]
    for kind, name in (("all", "exponent"), ("largest_two", "of the largest two")):
        times = [f"{fit['time'][kind]['median']:.2f}" for fit in fits]
        rows.append([name, *times, *(f"{fit['memory'][kind]:.2f}" for fit in fits)])
    columns = [axis, *(f"{model}, ms" for model in models), *(f"{model}, MB" for model in models)]
    tables.show(f"A step by {axis}, on {device}", columns, rows)
    for crossing in result["crossings"]:
        faster, slower = crossing["faster_beyond"], crossing["slower_beyond"]
        print(f"  Above {axis} {crossing['size']:.0f}, {faster} is faster than {slower}.")
    if not result["crossings"]:
        print(f"  In this range of {axis}, none overtakes another.")


if __name__ == "__main__":
    main(sys.argv[1:])
