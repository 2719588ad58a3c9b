"""Weights as one portable safetensors file: named arrays, and what it takes to use them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing

DESCRIPTION = "description"  # the key of the file's metadata, whose value is JSON
_DIGEST = "sha256"  # of the description and of all arrays; a key of that JSON


def save_weights(path: Path, params: Any, description: Mapping[str, Any]) -> None:
    """Writes parameters under names such as `MixerBlock_0/token_mixing/Dense_0/kernel`.

    Args:
      path: replaced as a whole: a write that is cut short leaves the file that was there.
      params: nested dict of arrays.
      description: JSON values about them; kept in the file's header.
    """
    named = traverse_util.flatten_dict(params, sep="/")
    # np.ascontiguousarray would make a vector of a scalar.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named.items()}
    # One entry: of several, the file's order would be another every time.
    told = {**description, _DIGEST: _digest(arrays, description)}
    data = save(arrays, {DESCRIPTION: json.dumps(told)})
    with replacing(path) as partial:
        partial.write_bytes(data)


def load_weights(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads what `save_weights` wrote.

    Args:
      path: a safetensors file.
      like: nested dict of arrays or ShapeDtypeStructs, the parameters that are wanted.

    Returns:
      The parameters as NumPy arrays, and the description.

    Raises:
      InputError: no such file, a damaged one, or one that does not hold these parameters.
    """
    _read_description(path)
    wanted = traverse_util.flatten_dict(like, sep="/")
    try:
        with safe_open(path, "numpy") as file:
            _compare_names(path, set(file.keys()), set(wanted))
            for name, leaf in wanted.items():
                shape = tuple(file.get_slice(name).get_shape())
                if shape != leaf.shape:
                    raise InputError(
                        f"{path} holds {name} of shape {shape}, but the model's is {leaf.shape}; "
                        "its image_size, patch_size and widths must be those of the weights."
                    )
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    return read_weights(path)


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads all parameters of a file that `save_weights` wrote, and the description.

    Raises:
      InputError: no such file, or a damaged one.
    """
    description, digest = _read_description(path)
    try:
        with safe_open(path, "numpy") as file:
            named = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if digest not in (None, _digest(named, description)):  # None: older, or of another program
        raise _damaged(path, "its content is not what was written")
    return traverse_util.unflatten_dict(named, sep="/"), description


def read_description(path: Path) -> dict[str, Any]:
    """Reads what stands beside the weights in a file that `save_weights` wrote.

    Raises:
      InputError: no such file, or a damaged one.
    """
    return _read_description(path)[0]


def _read_description(path: Path) -> tuple[dict[str, Any], str | None]:
    """What stands beside the weights, and the digest of both."""
    if not path.is_file():
        raise InputError(f"There are no weights at {path}.")
    try:
        with safe_open(path, "numpy") as file:
            description = json.loads((file.metadata() or {}).get(DESCRIPTION, "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(description, dict):
        raise InputError(f"The description in {path} is no JSON object.")
    return description, description.pop(_DIGEST, None)


def _digest(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> InputError:
    if path.suffix != ".safetensors":
        return InputError(f"{path} is no safetensors file ({reason}).")
    return InputError(
        f"{path} is damaged or no safetensors file ({reason}). Weights of a run are restored from "
        "its checkpoint by the command that goes on with it, once the file is removed."
    )


def count_parameters(params: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def _compare_names(path: Path, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        missing, surplus = sorted(wanted - found), sorted(found - wanted)
        raise InputError(
            f"{path} holds weights of another model: "
            f"missing {', '.join(missing[:3]) or 'none'}{' ...' if len(missing) > 3 else ''}; "
            f"not in the model {', '.join(surplus[:3]) or 'none'}"
            f"{' ...' if len(surplus) > 3 else ''}."
        )
