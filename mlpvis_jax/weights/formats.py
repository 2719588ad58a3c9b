"""Weights in files: which formats there are, and how one is read and written."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.weights import DESCRIPTION, read_weights, save_weights
from mlpvis_jax.weights.mixer_npz import read_mixer_npz, write_mixer_npz
from mlpvis_jax.weights.stored import StoredWeights
from mlpvis_jax.weights.timm import read_timm, write_timm


class Contents(NamedTuple):
    """What a file shows before it is read.

    Attributes:
      kind: "safetensors" or "npz".
      names: of its arrays.
      is_described: it has a description as `files.weights.save_weights` writes it.
    """

    kind: str
    names: frozenset[str]
    is_described: bool


class Format(NamedTuple):
    """A kind of weights file: a row of FORMATS.

    Attributes:
      meaning: whose files these are.
      recognises: whether a file with these contents is one.
      read: from a path to StoredWeights without "format".
      write: (path, params, description); replaces the file as a whole.
    """

    meaning: str
    recognises: Callable[[Contents], bool]
    read: Callable[[Path], StoredWeights]
    write: Callable[[Path, Any, Mapping[str, Any]], None]


def _read_own(path: Path) -> StoredWeights:
    return StoredWeights(*read_weights(path))


def _is_own(contents: Contents) -> bool:
    is_named_as_ours = any("/" in name for name in contents.names)
    return contents.kind == "safetensors" and (contents.is_described or is_named_as_ours)


_STEMS = {"stem.proj.weight", "patch_embed.proj.weight"}  # of timm's models

FORMATS: dict[str, Format] = {
    "mlpvis": Format("this project's safetensors", _is_own, _read_own, save_weights),
    "mixer_npz": Format(
        "the Mixer authors' .npz",
        lambda contents: contents.kind == "npz" and "stem/kernel" in contents.names,
        read_mixer_npz,
        write_mixer_npz,
    ),
    "timm": Format(
        "safetensors of timm's mixer_*, gmlp_*, resmlp_*, and vit_* without a class token",
        lambda contents: contents.kind == "safetensors" and bool(_STEMS & contents.names),
        read_timm,
        write_timm,
    ),
}


def read(path: str | Path) -> StoredWeights:
    """Reads a weights file of any format of FORMATS.

    Raises:
      InputError: no such file, a damaged one, or one of no known format.
    """
    path = Path(path)
    contents = _contents(path)
    for name, row in FORMATS.items():
        if row.recognises(contents):
            params, description = row.read(path)
            return StoredWeights(params, {**description, "format": name})
    known = "; ".join(f"{name}, {row.meaning}" for name, row in FORMATS.items())
    some = ", ".join(sorted(contents.names)[:3]) or "nothing"
    raise InputError(f"{path} holds {some}, and so is of no known format. There are {known}.")


def write(path: str | Path, params: Any, description: Mapping[str, Any], format: str) -> None:
    """Writes parameters in a format of FORMATS, with what the format keeps of the description.

    Args:
      path: is replaced as a whole.
      params: nested dict of arrays, as a Classifier's "params".
      description: of StoredWeights; with its "model" a format can refuse a model that the other
        program would compute differently.
      format: a key of FORMATS.

    Raises:
      InputError: an unknown format, or parameters that the format has no names for.
    """
    if format not in FORMATS:
        raise InputError(f"There is no weights format {format!r}; there are {', '.join(FORMATS)}.")
    rest = {key: value for key, value in description.items() if key != "format"}
    FORMATS[format].write(Path(path), params, rest)


def _contents(path: Path) -> Contents:
    if not path.is_file():
        raise InputError(f"There are no weights at {path}.")
    try:
        with open(path, "rb") as file:
            is_zip = file.read(2) == b"PK"
        if not is_zip:
            with safe_open(path, "numpy") as tensors:
                described = DESCRIPTION in (tensors.metadata() or {})
                return Contents("safetensors", frozenset(tensors.keys()), described)
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile, SafetensorError) as error:
        raise InputError(
            f"{path} is damaged, or neither a safetensors nor an .npz file ({error})."
        ) from error
    if any(member.endswith("data.pkl") for member in members):
        raise InputError(
            f"{path} is a pickle of PyTorch's, which may run any program when it is read. Save "
            "its tensors with safetensors.torch.save_file."
        )
    return Contents("npz", frozenset(name.removesuffix(".npy") for name in members), False)
