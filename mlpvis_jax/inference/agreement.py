"""Compares an exported file, run in a fresh process, with the classifier that it was made from."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from mlpvis_jax.errors import RunError
from mlpvis_jax.inference import runners
from mlpvis_jax.inference.trained import TrainedClassifier

_BATCHES = (1, 3, 8)  # in which the file is run again
# Of a probability, between the file and the model that it was made from. Elsewhere than on a CPU,
# and in bfloat16, products are rounded to fewer bits, in an order that a compiler chooses.
_FLOAT32_ON_CPU, _ELSEWHERE = 1e-4, 2e-2


class Agreement(NamedTuple):
    """How an exported file, run again in a fresh process, agrees with the model.

    Attributes:
      images: that were compared; they are made up.
      batch_sizes: in which they were given.
      same_class: of how many images the likeliest class is the same.
      largest_probability_difference: over all images and classes.
      largest_logit_difference: likewise.
      platform: on which it was run.
    """

    images: int
    batch_sizes: tuple[int, ...]
    same_class: int
    largest_probability_difference: float
    largest_logit_difference: float
    platform: str


def compare(classifier: TrainedClassifier, file: Path, any_size: bool) -> Agreement:
    """Runs an exported file in a fresh process, on images that are made up, and compares.

    Args:
      classifier: that the file was made from.
      file: one that `runners.OPENERS` opens, in a folder that can be written.
      any_size: the file takes images of any size, and resizes none.

    Raises:
      RunError: it does not run, or gives other probabilities.
    """
    batches = _made_up_images(classifier, any_size)
    found = _run_in_fresh_process(file, batches)
    ours_on = jax.default_backend()
    # A TPU is this process's alone, and onnxruntime is used on the CPU.
    platform = "cpu" if file.suffix == ".onnx" or ours_on == "tpu" else ours_on
    # A CPU's products have all digits, and an accelerator's only if they are asked for.
    precise = jax.default_matmul_precision("highest")
    with precise if platform == "cpu" else contextlib.nullcontext():
        expected = {
            name: _expected(classifier, images, any_size) for name, images in batches.items()
        }
    ours, theirs = (np.concatenate([one[name] for name in batches]) for one in (expected, found))
    logits = np.abs(ours - theirs).max()
    probabilities = np.abs(softmax(ours, axis=-1) - softmax(theirs, axis=-1)).max()
    is_exact = ours_on == "cpu" and classifier.model.dtype == jnp.float32
    limit = _FLOAT32_ON_CPU if is_exact else _ELSEWHERE
    if not probabilities <= limit:  # NaN is no agreement
        raise RunError(
            f"The exported file gives other probabilities than the model: they differ by "
            f"{probabilities:.2g} at most, and {limit:g} is allowed. Nothing was kept."
        )
    same = int((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).sum())
    sizes = tuple(map(len, batches.values()))
    return Agreement(len(ours), sizes, same, float(probabilities), float(logits), platform)


def _made_up_images(classifier: TrainedClassifier, any_size: bool) -> dict[str, np.ndarray]:
    """Batches of several sizes, by a name: patches of colour under noise, uint8."""
    height, width, channels = classifier.image_shape
    shapes = [(height, width)] * len(_BATCHES)
    if any_size:
        size, patch = classifier.image_size, classifier.model.patch_size
        shapes = [(size, size), (size + patch, size), (patch, 2 * patch)]
    draw, batches = np.random.default_rng(0), {}
    for number, (height, width) in zip(_BATCHES, shapes, strict=True):
        colours = draw.integers(0, 256, (number, 4, 4, channels))
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        noise = draw.integers(0, 256, (number, height, width, channels))
        images = 0.7 * colours[:, rows][:, :, columns] + 0.3 * noise
        batches[f"{number}"] = images.astype(np.uint8)
    return batches


def _expected(classifier: TrainedClassifier, images: np.ndarray, any_size: bool) -> np.ndarray:
    """What the model itself makes of images, float32 [batch, classes]."""
    if not any_size:
        return classifier.features(images, "head")
    normalized = classifier.normalization(jnp.asarray(images))
    logits: Any = jax.jit(classifier.model.apply)({"params": classifier.params}, normalized)
    return np.asarray(logits)


def _run_in_fresh_process(file: Path, batches: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    images, logits = (file.with_name(f"{name}.npz") for name in ("images", "logits"))
    np.savez(images, **batches)  # type: ignore[arg-type]  # its stub takes `allow_pickle` from them
    # Not through the package, which has no part in running the file. On a GPU this process has
    # most of the memory, and a TPU is of one process alone.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if jax.default_backend() == "tpu":
        environment["JAX_PLATFORMS"] = "cpu"
    program = [sys.executable, "-P", runners.__file__]
    done = subprocess.run(
        [*program, *map(str, (file, images, logits))],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RunError(f"The exported file does not run in a fresh process ({reason}).")
    with np.load(logits) as stored:
        found = dict(stored)
    images.unlink()
    logits.unlink()
    return found
