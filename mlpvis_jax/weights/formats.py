"""Weights in files: which formats there are, and how one is read and written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util
from safetensors import SafetensorError, safe_open

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.weights import read_description, save_weights


class StoredWeights(NamedTuple):
    """The content of a weights file, under this project's names and in its layouts.

    Attributes:
      params: nested dict of NumPy arrays, as a Classifier's "params".
      description: what is known of them, as JSON values. "format" is a key of FORMATS; "model" the
        model as a config's `model` has it: its preset's "name", its "image_size", other options;
        "class_names"; "normalization_mean" and "normalization_deviation" of the images, a number
        for each channel, in units of pixel values, 0 to 255. What is not known is missing.
    """

    params: dict[str, Any]
    description: dict[str, Any]


class Format(NamedTuple):
    """A kind of weights file: a row of FORMATS.

    Attributes:
      meaning: whose files these are.
      read: from a path to StoredWeights without "format".
      write: (path, params, description); replaces the file as a whole.
    """

    meaning: str
    read: Callable[[Path], StoredWeights]
    write: Callable[[Path, Any, Mapping[str, Any]], None]


def _read_own(path: Path) -> StoredWeights:
    description = read_description(path)
    try:
        with safe_open(path, "numpy") as file:
            named = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error}).") from error
    return StoredWeights(traverse_util.unflatten_dict(named, sep="/"), description)


FORMATS: dict[str, Format] = {
    "mlpvis": Format("this project's safetensors", _read_own, save_weights),
}


def read(path: str | Path) -> StoredWeights:
    """Reads a weights file of any format of FORMATS.

    Raises:
      InputError: no such file, a damaged one, or one of no known format.
    """
    params, description = FORMATS["mlpvis"].read(Path(path))
    return StoredWeights(params, {**description, "format": "mlpvis"})


def write(path: str | Path, params: Any, description: Mapping[str, Any], format: str) -> None:
    """Writes parameters in a format of FORMATS, with what the format keeps of the description.

    Raises:
      InputError: an unknown format, or parameters that the format has no names for.
    """
    if format not in FORMATS:
        raise InputError(f"There is no weights format {format!r}; there are {', '.join(FORMATS)}.")
    rest = {key: value for key, value in description.items() if key != "format"}
    FORMATS[format].write(Path(path), params, rest)
