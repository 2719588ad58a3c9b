"""The images that are measured on: CIFAR-100 where it is prepared, else made-up ones like it.

They go into one .npz file, so that every process reads the same arrays, whatever it has installed;
the project reads it as any user's, by its npz source. Nothing here imports JAX.
"""

import importlib.util
import math
import os
from pathlib import Path

import numpy as np

MADE_UP = "made-up uint8 images, 32 x 32 x 3"
CIFAR100 = "CIFAR-100 training images, 32 x 32 x 3"
_CLASSES = 100
_TRAINING_SHARE = 0.9  # of a training split; the project sets the rest aside for validation
VALIDATION = "last:0.1"  # the setting that makes it do so
_LARGEST_SPLIT = 50_000
# Beside the runs, where `launch.py` too keeps its decoded images by default.
_CACHE = Path("runs/decoded")


def cifar100_is_prepared() -> bool:
    """Tells whether TFDS_DATA_DIR holds CIFAR-100 and there is something to read it with."""
    folder = os.environ.get("TFDS_DATA_DIR")
    return (
        importlib.util.find_spec("tensorflow_datasets") is not None
        and folder is not None
        and Path(folder, "cifar100").is_dir()
    )


def write_npz(path: Path, number: int) -> str:
    """Writes a set of which the project trains on exactly `number` images.

    Returns:
      What the images are.
    """
    total = split_size(number)
    if cifar100_is_prepared() and total <= _LARGEST_SPLIT:
        images, labels, description = *_cifar100(total), CIFAR100
    else:
        images, labels, description = *_made_up(total), MADE_UP
    # Renumbered, so that each class that is left has an image to train on.
    classes = np.unique(labels[:number])
    labels = (np.searchsorted(classes, labels) % len(classes)).astype(np.int32)
    # The test images are not used, but the format asks for some.
    np.savez(path, x_train=images, y_train=labels, x_test=images[:1], y_test=labels[:1])
    return description


def split_size(number: int) -> int:
    """Gives the size of a training split of which the project trains on `number` images."""
    return math.ceil(number / _TRAINING_SHARE)


def _cifar100(number: int) -> tuple[np.ndarray, np.ndarray]:
    from mlpvis_jax.data import decode, open_source

    source = open_source("cifar100", image_size=32)
    images, labels = decode(source, "train", cache_dir=_CACHE)
    return images[:number], labels[:number]


def _made_up(number: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (number, 32, 32, 3), np.uint8)
    return images, random.permutation(number) % min(_CLASSES, number)
