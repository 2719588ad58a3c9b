"""Models of a known size, one row each, and `create_model`, which builds one by its name."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict

from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.models.classifier import Classifier
from mlpvis_jax.models.fnet import FNetBlock
from mlpvis_jax.models.gmlp import GMlpBlock
from mlpvis_jax.models.mixer import MixerBlock
from mlpvis_jax.models.resmlp import Affine, ResMlpBlock
from mlpvis_jax.models.vit import VitBlock
from mlpvis_jax.settings.choice import find
from mlpvis_jax.settings.declared import MISSING, Setting, settings_of

Row = Mapping[str, Any]

_GLOROT = nn.initializers.glorot_uniform()
_NORMAL = nn.initializers.normal(0.02)
_LECUN = nn.initializers.lecun_normal()


def _mixer(patch: int, blocks: int, width: int, tokens: int, channels: int, **rest: Any) -> Row:
    return {
        "block": MixerBlock,
        "patch_size": patch,
        "num_blocks": blocks,
        "width": width,
        "tokens_hidden_dim": tokens,
        "channels_hidden_dim": channels,
        **rest,
    }


def _fnet(patch: int, blocks: int, width: int, hidden: int, heads: int, **rest: Any) -> Row:
    return {
        "block": FNetBlock,
        "patch_size": patch,
        "num_blocks": blocks,
        "width": width,
        "hidden_dim": hidden,
        "num_heads": heads,  # of 64 channels, where attention_blocks are set
        "final_norm": False,  # the block ends in one
        "position_init": _NORMAL,
        "kernel_init": _NORMAL,
        "head_kernel_init": _NORMAL,
        **rest,
    }


def _gmlp(patch: int, blocks: int, width: int, hidden: int, **rest: Any) -> Row:
    return {
        "block": GMlpBlock,
        "patch_size": patch,
        "num_blocks": blocks,
        "width": width,
        "hidden_dim": hidden,
        "head_kernel_init": _LECUN,
        **rest,
    }


def _vit(patch: int, blocks: int, width: int, hidden: int, heads: int, **rest: Any) -> Row:
    return {
        "block": VitBlock,
        "patch_size": patch,
        "num_blocks": blocks,
        "width": width,
        "hidden_dim": hidden,
        "num_heads": heads,
        "position_init": _NORMAL,
        "kernel_init": _NORMAL,
        "head_kernel_init": _NORMAL,
        **rest,
    }


def _resmlp(
    patch: int, blocks: int, width: int, hidden: int, layer_scale: float, **rest: Any
) -> Row:
    return {
        "block": ResMlpBlock,
        "patch_size": patch,
        "num_blocks": blocks,
        "width": width,
        "hidden_dim": hidden,
        "layer_scale": layer_scale,
        "norm": Affine,
        "kernel_init": _NORMAL,
        "head_kernel_init": _NORMAL,
        **rest,
    }


# What the Keras example does with all three: its library's defaults.
_KERAS: Row = {
    "dropout_rate": 0.2,
    "dropout_before_head": True,
    "final_norm": False,
    "approximate_gelu": False,
    "epsilon": 1e-6,
    "kernel_init": _GLOROT,
    "head_kernel_init": _GLOROT,
}
# The papers' blocks at the Keras example's size, with its dropout.
_PAPER: Row = {"dropout_rate": 0.2, "dropout_before_head": True}

PRESETS: Mapping[str, Row] = {
    # The Keras example (Khalid Salama, 2021): 64 px images. Counts at 100 classes.
    "mixer_keras": _mixer(8, 4, 256, 64, 64, **_KERAS, shared_norm=True),  # 242,788
    "fnet_keras": _fnet(  # 621,924
        8, 4, 256, 256, 4, **{**_KERAS, "position_init": _GLOROT, "dropout_after_gelu": True}
    ),
    "gmlp_keras": _gmlp(  # 885,348
        8, 4, 256, 512, **_KERAS, normalized_skip=True, gate_kernel_init=_GLOROT
    ),
    "mixer_paper": _mixer(8, 4, 256, 64, 64, **_PAPER),
    "fnet_paper": _fnet(8, 4, 256, 256, 4, **_PAPER),
    "fnet_hybrid_paper": _fnet(8, 4, 256, 256, 4, **_PAPER, attention_blocks=2),
    "gmlp_paper": _gmlp(8, 4, 256, 512, **_PAPER),
    "amlp_paper": _gmlp(8, 4, 256, 512, **_PAPER, attention_dim=64),
    "resmlp_paper": _resmlp(8, 4, 256, 256, 0.1, **_PAPER),
    "vit_paper": _vit(8, 4, 256, 256, 4, **_PAPER),  # fnet_paper's shape; heads of 64 channels
    # Tolstikhin et al., 2021, table 1: 224 px images.
    "mixer_s32": _mixer(32, 8, 512, 256, 2048),
    "mixer_s16": _mixer(16, 8, 512, 256, 2048),
    "mixer_b32": _mixer(32, 12, 768, 384, 3072),
    "mixer_b16": _mixer(16, 12, 768, 384, 3072),
    "mixer_l32": _mixer(32, 24, 1024, 512, 4096),
    "mixer_l16": _mixer(16, 24, 1024, 512, 4096),
    "mixer_h14": _mixer(14, 32, 1280, 640, 5120),
    # Liu et al., 2021, table 1: 224 px images.
    "gmlp_ti16": _gmlp(16, 30, 128, 768),
    "gmlp_s16": _gmlp(16, 30, 256, 1536),
    "gmlp_b16": _gmlp(16, 30, 512, 3072),
    # Derived: the same with the tiny attention of section 4, where it is for text alone.
    "amlp_ti16": _gmlp(16, 30, 128, 768, attention_dim=64),
    "amlp_s16": _gmlp(16, 30, 256, 1536, attention_dim=64),
    "amlp_b16": _gmlp(16, 30, 512, 3072, attention_dim=64),
    # Derived: the FNet paper has no image model. Its Base is 12 layers of width 768, and every
    # size of it keeps a feed-forward of four times the width, dropout 0.1 and positions; Ti and S
    # take the widths that those letters stand for in vision (192 and 384).
    "fnet_ti16": _fnet(16, 12, 192, 768, 3, dropout_rate=0.1),
    "fnet_s16": _fnet(16, 12, 384, 1536, 6, dropout_rate=0.1),
    "fnet_b16": _fnet(16, 12, 768, 3072, 12, dropout_rate=0.1),
    # The same with self-attention in the last two blocks, as in the paper's FNet-Hybrid.
    "fnet_hybrid_ti16": _fnet(16, 12, 192, 768, 3, dropout_rate=0.1, attention_blocks=2),
    "fnet_hybrid_s16": _fnet(16, 12, 384, 1536, 6, dropout_rate=0.1, attention_blocks=2),
    "fnet_hybrid_b16": _fnet(16, 12, 768, 3072, 12, dropout_rate=0.1, attention_blocks=2),
    # Touvron et al., 2021, ResMLP-S12, S24, S36 and B24/8: 224 px images.
    "resmlp_12": _resmlp(16, 12, 384, 1536, 0.1),
    "resmlp_24": _resmlp(16, 24, 384, 1536, 1e-5),
    "resmlp_36": _resmlp(16, 36, 384, 1536, 1e-6),
    "resmlp_big_24": _resmlp(8, 24, 768, 3072, 1e-6),
    # The control with attention: B as in Dosovitskiy et al., 2021, table 1, S and Ti as in Touvron
    # et al., 2021 (DeiT), table 1, but for the class token: the mean over tokens is classified.
    "vit_ti16": _vit(16, 12, 192, 768, 3),
    "vit_s16": _vit(16, 12, 384, 1536, 6),
    "vit_b16": _vit(16, 12, 768, 3072, 12),
}

_PUBLISHED = {name: dict(row) for name, row in PRESETS.items()}
# What no config can set: Flax or `create_model` gives these.
_NO_OVERRIDE = {"parent", "name", "block", "block_options", "num_classes"}
# What the Classifier tells its blocks itself.
_HANDED_ON = {"dropout_rate", "stochastic_depth_rate", "dtype", "param_dtype"}


def own_presets() -> set[str]:
    """Lists the presets that a program has added or changed since this module had them."""
    return {name for name, row in PRESETS.items() if _PUBLISHED.get(name) != row}


def create_model(name: str, num_classes: int, **overrides: Any) -> Classifier:
    """Builds the preset `name`, with any field of its Classifier or block replaced.

    Args:
      name: a key of PRESETS; or MODULE:NAME of a preset, or of a block, of your own.
      num_classes: width of the head.
      **overrides: fields of Classifier or of the preset's block, such as patch_size, num_blocks,
        dropout_rate, dtype ("float32" or "bfloat16"), scan, or tokens_hidden_dim.

    Raises:
      InputError: an unknown preset, a field that the model lacks, or an impossible value.
    """
    row = _row(name)
    block, settings = row["block"], {**row, **overrides}
    of_classifier, of_block = _fields(Classifier), _fields(block)
    allowed = of_classifier | of_block
    # A preset of one's own may be a copy of one of ours with another block, which need not have all
    # fields of the one that it replaces; any other key of it is a mistake.
    for key in [*overrides, *(row.keys() - {"block"} - _fields_of_ours())]:
        if key not in allowed:
            near = nearest(key, allowed)
            hint = f" (did you mean {near!r}?)" if near else ""
            raise InputError(
                f"Model {name!r} has no setting {key!r}{hint}; it has {', '.join(sorted(allowed))}."
            )
    _check(name, num_classes, settings)
    for key in ("dtype", "param_dtype"):
        if key in settings:
            settings[key] = jnp.dtype(settings[key]).type
    # A field that both have, such as epsilon or kernel_init, means both.
    options: FrozenDict[str, Any] = FrozenDict(
        {key: settings[key] for key in settings if key in of_block - _HANDED_ON}
    )
    fields = {key: value for key, value in settings.items() if key in of_classifier}
    try:
        return Classifier(block=block, num_classes=num_classes, block_options=options, **fields)
    except InputError as error:  # of fields that do not go together
        raise InputError(f"Model {name!r} cannot be built: {error}") from None


def model_settings(name: str) -> dict[str, Setting]:
    """Lists the settings of a model's classifier and block, by name.

    Raises:
      InputError: an unknown preset.
    """
    return {**settings_of(_row(name)["block"]), **settings_of(Classifier)}


def without_unset(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out options that are None: the preset's own value, but where a setting can be None.

    Raises:
      InputError: an unknown preset.
    """
    declared = model_settings(name)
    return {
        key: value
        for key, value in options.items()
        if value is not None or (key in declared and declared[key].is_optional)
    }


def _row(name: str) -> Row:
    found = find(PRESETS, name, "config.model.name", is_row=lambda row: True)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return {"block": found}
    if isinstance(found, Mapping) and "block" in found:
        return found
    raise InputError(f"config.model.name={name} is neither a block (a linen module) nor a preset.")


def _fields(module: type[nn.Module]) -> set[str]:
    return {field.name for field in dataclasses.fields(module)} - _NO_OVERRIDE


@functools.cache
def _fields_of_ours() -> set[str]:
    return set().union(*(_fields(row["block"]) for row in _PUBLISHED.values()))


def _check(name: str, num_classes: int, settings: Row) -> None:
    declared = model_settings(name)
    for key in ("patch_size", "width", "num_blocks"):
        if key not in settings:
            raise InputError(f"{key} of model {name!r} is missing; set config.model.{key}.")
    given = {**settings, "num_classes": num_classes}
    for key, setting in {**declared, "num_classes": declared["width"]}.items():
        value = given.get(key, setting.default)
        if key in ("dtype", "param_dtype") and isinstance(value, type | np.dtype):
            with contextlib.suppress(TypeError):  # a dtype of JAX or NumPy is as good as its name
                value = jnp.dtype(value).name
        if value is not MISSING and not isinstance(value, jax.Array):
            setting.check(value, f"{key} of model {name!r}")
    block, of_block = settings["block"], _fields(settings["block"])
    try:
        block(**{key: settings[key] for key in settings if key in of_block})
    except TypeError as error:  # a field without a value
        raise InputError(f"Model {name!r} cannot be built: {error}.") from error


def image_size_of(name: str) -> int:
    """Says for how large images a preset was published: pixels a side."""
    return 64 if name.endswith(("_keras", "_paper")) else 224
