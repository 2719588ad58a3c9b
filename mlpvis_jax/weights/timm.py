"""Weights of timm's MLP-Mixer and gMLP models, as safetensors files under the names of PyTorch.

Every model whose name begins with `mixer_` or `gmlp_` has one of these two layouts. timm computes
the exact gelu in both, and epsilon 1e-6 in every LayerNorm but the one before gMLP's spatial
projection, which has PyTorch's default, 1e-5. A Linear's weight is [outputs, inputs], and a
convolution's [outputs, inputs, height, width].
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing
from mlpvis_jax.weights.architecture import GMLP, MIXER
from mlpvis_jax.weights.foreign import Layout, from_foreign, to_foreign
from mlpvis_jax.weights.naming import Arrays, Parameter
from mlpvis_jax.weights.stored import StoredWeights

FORMAT = "timm"
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # of a convolution's kernel, a Linear's, a vector

_MODULES = {
    "stem": "stem.proj",
    "MixerBlock_{}/LayerNorm_0": "blocks.{}.norm1",
    "MixerBlock_{}/token_mixing/Dense_0": "blocks.{}.mlp_tokens.fc1",
    "MixerBlock_{}/token_mixing/Dense_1": "blocks.{}.mlp_tokens.fc2",
    "MixerBlock_{}/LayerNorm_1": "blocks.{}.norm2",
    "MixerBlock_{}/channel_mixing/Dense_0": "blocks.{}.mlp_channels.fc1",
    "MixerBlock_{}/channel_mixing/Dense_1": "blocks.{}.mlp_channels.fc2",
    "GMlpBlock_{}/LayerNorm_0": "blocks.{}.norm",
    "GMlpBlock_{}/Dense_0": "blocks.{}.mlp_channels.fc1",
    "GMlpBlock_{}/spatial_gating/LayerNorm_0": "blocks.{}.mlp_channels.gate.norm",
    "GMlpBlock_{}/spatial_gating/Dense_0": "blocks.{}.mlp_channels.gate.proj",
    "GMlpBlock_{}/Dense_1": "blocks.{}.mlp_channels.fc2",
    "pre_head_layer_norm": "norm",
    "head": "head",
}


def _rename(module: str, name: str, axes: int) -> Parameter:
    theirs = "bias" if name == "bias" else "weight"
    return Parameter(f"{module}/{name}", f"{_MODULES[module]}.{theirs}", _AXES[axes])


_MIXER = Layout(FORMAT, MIXER, _rename, {"approximate_gelu": False, "epsilon": 1e-6})
_GMLP = Layout(
    FORMAT,
    GMLP,
    _rename,
    {
        "approximate_gelu": False,
        "epsilon": 1e-6,
        "gate_epsilon": 1e-5,
        "normalized_skip": False,
    },
)


def read_timm(path: Path) -> StoredWeights:
    """Reads the weights of a Mixer or a gMLP of timm's.

    How the images were scaled is in the config.json that timm publishes beside a file, and is read
    from there if it is for these weights.

    Raises:
      InputError: the file is damaged, or holds another model; it lists what differs.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error}).") from error
    return from_timm(path, arrays)


def from_timm(path: Path, arrays: Arrays) -> StoredWeights:
    """Takes over the arrays of a timm model; see `read_timm`."""
    is_gmlp = any(".mlp_channels.gate." in name for name in arrays)
    params, description = from_foreign(path, arrays, _GMLP if is_gmlp else _MIXER)
    head, channels = params["head"]["bias"], params["stem"]["kernel"].shape[2]
    scaling = _scaling(path.with_name("config.json"), len(head), channels)
    return StoredWeights(params, {**description, **scaling})


def write_timm(path: Path, params: Any, description: Mapping[str, Any]) -> None:
    """Writes the weights of a Mixer or a gMLP for timm; of the description nothing is kept.

    Raises:
      InputError: timm has no such model, or would compute something else.
    """
    layouts = {layout.family.block: layout for layout in (_MIXER, _GMLP)}
    blocks = {name.rpartition("_")[0] for name in params if name.rpartition("_")[2].isdecimal()}
    if len(blocks) != 1 or not blocks <= layouts.keys():
        raise InputError(
            f"The format {FORMAT} is for models of the blocks {', '.join(layouts)}, not "
            f"{', '.join(sorted(blocks)) or 'for these parameters'}."
        )
    arrays = to_foreign(params, description, layouts[blocks.pop()])
    data = save(dict(arrays), {"format": "pt"})  # PyTorch's readers look for it
    with replacing(path) as partial:
        partial.write_bytes(data)


def _scaling(path: Path, num_classes: int, channels: int) -> dict[str, Any]:
    """Statistics of the images from a config.json of timm's; none if it is of other weights."""
    try:
        config = json.loads(path.read_text())["pretrained_cfg"]
        is_theirs = config["num_classes"] == num_classes and config["input_size"][0] == channels
        statistics = {
            f"normalization_{ours}": [float(value) * 255 for value in config[theirs]]
            for ours, theirs in (("mean", "mean"), ("deviation", "std"))
        }
    except (OSError, ValueError, TypeError, LookupError):
        return {}
    right = all(
        len(values) == channels and np.isfinite(values).all() for values in statistics.values()
    )
    return statistics if is_theirs and right else {}
