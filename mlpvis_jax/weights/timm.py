"""Weights of timm's models, as safetensors files under the names of PyTorch.

Every model whose name begins with `mixer_`, `gmlp_` or `resmlp_` has one of these layouts, and its
Vision Transformers that are made with `class_token=False, global_pool="avg", fc_norm=False`. timm
computes the exact gelu in all, and epsilon 1e-6 in every LayerNorm but the one before gMLP's
spatial projection, which has PyTorch's default, 1e-5. A Linear's weight is [outputs, inputs], and a
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
from mlpvis_jax.weights.architecture import GMLP, MIXER, RESMLP, VIT
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
    "ResMlpBlock_{}/Affine_0": "blocks.{}.norm1",
    "ResMlpBlock_{}/token_mixing": "blocks.{}.linear_tokens",
    "ResMlpBlock_{}/Affine_1": "blocks.{}.norm2",
    "ResMlpBlock_{}/channel_mixing/Dense_0": "blocks.{}.mlp_channels.fc1",
    "ResMlpBlock_{}/channel_mixing/Dense_1": "blocks.{}.mlp_channels.fc2",
    "pre_head_affine": "norm",
    "VitBlock_{}/LayerNorm_0": "blocks.{}.norm1",
    "VitBlock_{}/self_attention/query_key_value": "blocks.{}.attn.qkv",
    "VitBlock_{}/self_attention/projection": "blocks.{}.attn.proj",
    "VitBlock_{}/LayerNorm_1": "blocks.{}.norm2",
    "VitBlock_{}/channel_mixing/Dense_0": "blocks.{}.mlp.fc1",
    "VitBlock_{}/channel_mixing/Dense_1": "blocks.{}.mlp.fc2",
    "pre_head_layer_norm": "norm",
    "head": "head",
}


def _rename(module: str, name: str, axes: int) -> Parameter:
    theirs = "bias" if name == "bias" else "weight"
    return Parameter(f"{module}/{name}", f"{_MODULES[module]}.{theirs}", _AXES[axes])


def _rename_vit(module: str, name: str, axes: int) -> Parameter:
    if module == "position_table":
        return Parameter(f"{module}/{name}", "pos_embed", (0, 1), ones=1)
    row = _rename(module, name, axes)
    return row._replace(theirs=row.theirs.replace("stem.", "patch_embed."))


def _rename_resmlp(module: str, name: str, axes: int) -> Parameter:
    kind = module.rpartition("/")[2]
    if kind.startswith("LayerScale"):
        number = int(kind.rpartition("_")[2]) + 1
        return Parameter(f"{module}/{name}", f"blocks.{{}}.ls{number}", (0,))
    if "affine" in kind.lower():
        theirs = {"scale": "alpha", "bias": "beta"}[name]
        return Parameter(f"{module}/{name}", f"{_MODULES[module]}.{theirs}", (0,), ones=2)
    return _rename(module, name, axes)


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
_VIT = Layout(FORMAT, VIT, _rename_vit, {"approximate_gelu": False, "epsilon": 1e-6})
_RESMLP = Layout(FORMAT, RESMLP, _rename_resmlp, {"approximate_gelu": False})
_LAYOUTS = (_MIXER, _GMLP, _RESMLP, _VIT)


def read_timm(path: Path) -> StoredWeights:
    """Reads the weights of a model of timm's.

    How the images were scaled is in the config.json that timm publishes beside a file, and is read
    from there if it is for these weights; so is the number of heads of a Vision Transformer, where
    it was given when the model was made.

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
    config = _config(path.with_name("config.json"))
    params, description = from_foreign(path, arrays, _layout_of(arrays, config))
    head, channels = params["head"]["bias"], params["stem"]["kernel"].shape[2]
    return StoredWeights(params, {**description, **_scaling(config, len(head), channels)})


def _layout_of(arrays: Arrays, config: Mapping[str, Any]) -> Layout:
    if "patch_embed.proj.weight" in arrays:
        told = config.get("model_args")
        heads = told.get("num_heads") if isinstance(told, Mapping) else None
        known = {"num_heads": heads} if isinstance(heads, int) and heads > 0 else {}
        return _VIT._replace(computes={**_VIT.computes, **known})
    parts = {".mlp_channels.gate.": _GMLP, ".linear_tokens.": _RESMLP}
    found = (layout for part, layout in parts.items() if any(part in name for name in arrays))
    return next(found, _MIXER)


def write_timm(path: Path, params: Any, description: Mapping[str, Any]) -> None:
    """Writes the weights of a model for timm; of the description nothing is kept.

    Raises:
      InputError: timm has no such model, or would compute something else.
    """
    layouts = {layout.family.block: layout for layout in _LAYOUTS}
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


def _config(path: Path) -> dict[str, Any]:
    """The config.json that timm publishes beside a file; {} where none can be read."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _scaling(config: Mapping[str, Any], num_classes: int, channels: int) -> dict[str, Any]:
    """Statistics of the images; none if the config is of other weights."""
    try:
        # What stands outside is of these weights; inside it may be of those they were tuned from.
        told = config.get("pretrained_cfg", config)
        classes = config.get("num_classes", told.get("num_classes"))
        is_theirs = classes == num_classes and told["input_size"][0] == channels
        statistics = {
            f"normalization_{ours}": [float(value) * 255 for value in told[theirs]]
            for ours, theirs in (("mean", "mean"), ("deviation", "std"))
        }
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}
    right = all(
        len(values) == channels and np.isfinite(values).all() for values in statistics.values()
    )
    return statistics if is_theirs and right else {}
