"""The Mixer's weights as its authors publish them: an .npz file of NumPy arrays.

Names and layouts are this project's. What they are for is in the authors' code: the tanh form of
gelu, epsilon 1e-6 in every LayerNorm, and images scaled to [-1, 1].
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.weights.architecture import MIXER
from mlpvis_jax.weights.foreign import Layout, from_foreign, to_foreign, unchanged
from mlpvis_jax.weights.naming import Arrays
from mlpvis_jax.weights.stored import StoredWeights

LAYOUT = Layout("mixer_npz", MIXER, unchanged, {"approximate_gelu": True, "epsilon": 1e-6})
_HALF_RANGE = 127.5  # (pixel - 127.5) / 127.5


def read_mixer_npz(path: Path) -> StoredWeights:
    """Reads a Mixer's weights from an .npz file of its authors.

    Raises:
      InputError: the file is damaged, or holds no Mixer; it lists what differs.
    """
    params, description = from_foreign(path, _arrays(path), LAYOUT)
    statistics = [_HALF_RANGE] * params["stem"]["kernel"].shape[2]
    description["normalization_mean"] = description["normalization_deviation"] = statistics
    return StoredWeights(params, description)


def write_mixer_npz(path: Path, params: Any, description: Mapping[str, Any]) -> None:
    """Writes a Mixer's weights as its authors do; of the description nothing is kept.

    Raises:
      InputError: the parameters are no Mixer's, or the model computes something else.
    """
    arrays = to_foreign(params, description, LAYOUT)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise InputError(
                f"An .npz file has no type {array.dtype}, that {name} has; cast it to float32."
            )
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # each has its CRC-32 checked
    # The zip and zlib layers have errors of their own.
    except (
        *(OSError, EOFError, ValueError, KeyError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise InputError(
            f"{path} is damaged or no .npz file of numbers ({error}); remove it and fetch it again."
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} is no array of numbers, but of {array.dtype}.")
    return arrays
