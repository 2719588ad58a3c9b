"""Trains four epochs straight, and in pieces; prints what differs between them as JSON.

It is a process of its own because the number of devices is fixed when JAX starts.

Usage: resume_script.py FOLDER NUMBER_OF_DEVICES
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={sys.argv[2]}"]
)

import jax
import numpy as np
from mlpvis_jax.running.position import Position, arrays_of

from configs import fnet, gmlp, mixer
from mlpvis_jax.errors import InterruptedRunError
from mlpvis_jax.files.checkpoint import Checkpoints
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running import loop, setup
from mlpvis_jax.running.placement import Devices
from mlpvis_jax.settings.config import RunConfig

CLOCK = {"seconds", "images_per_second"}


class StopAfter:
    """Stands in for Interruption: a signal comes at the given looks of the loop."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def received(self) -> int | None:
        self.looks -= 1
        return 15 if self.looks < 0 else None


def compile_once() -> None:
    """Lets the trainings of one model share its programs, which they would all compile alike."""
    compile_anew, programs = Devices.compile, {}
    begin_anew, states = setup.initial_state, {}

    def initial_state(config: RunConfig, *arguments):
        key = (config.seed, config.model)
        if key not in states:
            states[key] = jax.device_get(begin_anew(config, *arguments))
        return states[key]

    def compile(self: Devices, function, *arguments, **options):
        types = jax.tree.map(lambda leaf: (np.shape(leaf), str(leaf.dtype)), arguments)
        # Functions of one name and types are equal, but for the model, whose parameters differ.
        key = (self, function.__qualname__, str(types))
        if key not in programs:
            programs[key] = compile_anew(self, function, *arguments, **options)
        return programs[key]

    Devices.compile = compile
    setup.initial_state = loop.initial_state = initial_state


def make_config(module, folder: Path) -> RunConfig:
    """A tiny model with all that is random, and rules that soon have something to do."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (54, 8, 8, 3)).astype(np.uint8)
    labels = random.integers(0, 3, 54)
    labels[:3] = 0, 1, 2
    path = folder / "noise.npz"
    np.savez(path, x_train=images[:44], y_train=labels[:44], x_test=images[44:], y_test=labels[44:])
    values = module.get_config()
    values.data.source = f"npz:{path}"
    values.num_epochs, values.batch_size, values.steps_per_dispatch = 4, 7, 2
    values.microbatch_size = 2
    values.model.update(image_size=8, patch_size=4, num_blocks=2, width=8)
    values.model.stochastic_depth_rate = 0.2
    values.optimizer.learning_rate = 0.02
    values.reduce_on_plateau.patience = 1
    return RunConfig.from_mapping(values.to_dict())


def everything(config: RunConfig, folder: RunFolder) -> dict:
    """All that a run leaves behind, but for what the clock says."""
    history = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    results = json.loads(folder.results.read_text())
    model = setup.build_model(config.model, 3)
    state = setup.initial_state(config, model, 3)
    start = Position.start(config, state.params)
    with Checkpoints(folder.checkpoints) as checkpoints:
        saved = checkpoints.newest(arrays_of(state, start.totals, start.best_params))
    for record in (*history, *saved.values["history"]):
        for name in CLOCK:
            del record[name]
    return {
        "history": history,
        "results": {name: results[name] for name in results if name not in CLOCK},
        "values": {name: value for name, value in saved.values.items() if name != "config"},
        "arrays": {
            jax.tree_util.keystr(path): (str(leaf.dtype), leaf.tobytes().hex())
            for path, leaf in jax.tree.leaves_with_path(saved.arrays)
        },
        "best": folder.best_weights.read_bytes().hex(),
        "last": folder.last_weights.read_bytes().hex(),
    }


def main() -> None:
    top = Path(sys.argv[1])
    compile_once()
    loop.report.plot_curves = lambda *_: None  # takes longer than these epochs
    interruption = loop.Interruption
    different: dict[str, list[str]] = {}
    stops = []
    for module in (mixer, fnet, gmlp):
        config = make_config(module, top)

        def folder(name: str, module=module) -> RunFolder:
            return RunFolder(top / f"{module.__name__}-{sys.argv[2]}" / name)

        loop.train(config, folder("straight"))
        # Two epochs; then to the end, but stopped within an epoch.
        # 39 images are 6 steps in 3 dispatches; the loop looks for signals after the first two,
        # and after a validation.
        loop.train(dataclasses.replace(config, num_epochs=2), folder("pieces"))
        loop.Interruption = lambda: StopAfter(looks=1)
        try:
            loop.train(config, folder("pieces"))
        except InterruptedRunError as error:
            stops.append(str(error))
        loop.Interruption = interruption
        loop.train(config, folder("pieces"))
        straight, pieces = (everything(config, folder(name)) for name in ("straight", "pieces"))
        different[module.__name__] = [key for key in straight if straight[key] != pieces[key]]
    if sys.argv[2] == "2":
        # What two devices wrote, one device takes up.
        config = make_config(mixer, top)
        taken_up = RunFolder(top / "taken up")
        loop.train(dataclasses.replace(config, num_epochs=1), taken_up)
        one = Devices(tuple(jax.devices()[:1]))
        loop.train(dataclasses.replace(config, num_epochs=2), taken_up, one)
    print(json.dumps({"different": different, "stops": stops}))


if __name__ == "__main__":
    main()
