"""The table of bad inputs: each row is refused with exit status 2 and one message.

To add one, add a line to ROWS of the module beside this one whose subject it is:

    bad("--config.seed=-1", "config.seed must be")

- The first text is what follows `launch.py --config=configs/mixer.py:digits`, split as a shell
  does; `bare(...)` leaves that config out. `{here}` in any text is an empty folder of the test's
  own, and the run's folder is `{here}/run` unless --workdir is given.
- The other texts are parts of the message, of which it must have all.
- Functions among them make files before: they are called with the path `{here}`. Those that several
  rows need are below: file, folder, images, npz, run, checkpoint, weights.

tests/test_bad_input.py runs every row through launch.py in its own process.
"""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from configs import mixer
from mlpvis_jax.files.weights import save_weights
from mlpvis_jax.models import create_model

Make = Callable[[Path], Any]


class Row(NamedTuple):
    arguments: str
    parts: tuple[str, ...]
    make: tuple[Make, ...]


NO_WORKDIR = "NO_WORKDIR"  # a row without it is given a --workdir


def bare(arguments: str, *parts_and_make: str | Make) -> Row:
    parts = tuple(part for part in parts_and_make if isinstance(part, str))
    return Row(arguments, parts, tuple(make for make in parts_and_make if callable(make)))


def bad(arguments: str, *parts_and_make: str | Make) -> Row:
    return bare(f"--config=configs/mixer.py:digits {arguments}", *parts_and_make)


def file(name: str, content: str | bytes) -> Make:
    def make(here: Path) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def folder(name: str) -> Make:
    return lambda here: (here / name).mkdir(parents=True, exist_ok=True)


def images(*names: str, mode: str = "RGB") -> Make:
    """Image files, each of which is given as `FOLDER/NAME.png`, or as `FOLDER` for 20 of them."""

    def make(here: Path) -> None:
        for name in names:
            files = [name] if Path(name).suffix else [f"{name}/{n}.png" for n in range(20)]
            for grey, path in enumerate(here / one for one in files):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (9, 9), grey).convert(mode).save(path)

    return make


def encoded(kind: str = "PNG") -> bytes:
    """The content of an image file."""
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, kind)
    return stream.getvalue()


# Ten images of two classes, and as many to test.
GOOD = {
    "x_train": np.arange(10 * 8 * 8 * 3).reshape(10, 8, 8, 3).astype(np.uint8),
    "y_train": np.arange(10) % 2,
    "x_test": np.zeros((10, 8, 8, 3), np.uint8),
    "y_test": np.arange(10) % 2,
}


def npz(**changes: Any) -> Make:
    """{here}/set.npz; an array that is None is left out."""
    arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return lambda here: np.savez(here / "set.npz", **arrays)


def run(**changes: Any) -> Make:
    """{here}/run as a run on the digits leaves it before its first epoch, with other settings."""
    config = mixer.get_config("digits")
    config.update_from_flattened_dict(changes)
    return file("run/config.json", json.dumps(config.to_dict()))


def checkpoint(step: str) -> Make:
    """A damaged checkpoint of {here}/run."""
    return file(f"run/checkpoints/{step}/arrays/manifest.ocdbt", b"noise")


def weights(description: Any = None, num_classes: int = 10, **overrides: Any) -> Make:
    """{here}/run with weights of the run on the digits; by default they can be evaluated."""
    if description is None:
        description = {"normalization_mean": [0.0], "normalization_deviation": [1.0]}

    def make(here: Path) -> None:
        run()(here)
        settings = {"patch_size": 2, "width": 64, "num_blocks": 2, **overrides}
        model = create_model("mixer_keras", num_classes, **settings)
        images = np.zeros((1, 16, 16, 1), np.float32)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        save_weights(here / "run/best.safetensors", params, description)

    return make


def damaged(change: Callable[[bytes], bytes], name: str = "run/best.safetensors") -> Make:
    """A file that was made before, with another content."""
    return lambda here: (here / name).write_bytes(change((here / name).read_bytes()))


def with_key(values: Mapping[str, Any], key: str, value: Any) -> str:
    """JSON of nested settings, one of them changed, or left out if the value is `...`."""
    content = json.loads(json.dumps(values))
    *groups, last = key.split(".")
    section = content
    for group in groups:
        section = section[group]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return json.dumps(content)
