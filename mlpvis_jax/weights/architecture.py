"""The families of models that others have published weights of, and their sizes in the weights.

A file of weights names no model. What it holds is told from the names of its arrays and from their
shapes; then the model is built, without computing anything, and compared with them.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import traverse_util

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import PRESETS, Classifier, create_model
from mlpvis_jax.models.presets import without_unset
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.weights.naming import Parameter, Shapes

# The parameters of a module, each with the axes of its array.
CONVOLUTION = {"kernel": 4, "bias": 1}
LINEAR = {"kernel": 2, "bias": 1}
NORM = {"scale": 1, "bias": 1}
SCALE = {"scale": 1}
TABLE = {"embedding": 2}

Kind = Mapping[str, int]


class Family(NamedTuple):
    """A family of models: a block, and where its sizes are found.

    Attributes:
      name: for a person.
      block: the name of its class.
      presets: of PRESETS, the published ones.
      modules: kinds of all modules by name, with {} for the index of a block.
      sizes: of each option of the model, the parameter and the axis that it is the size of.
      tokens: the parameter and the axis that is as long as there are tokens.
      unstored: options that no shape tells. Those of a preset are known.
    """

    name: str
    block: str
    presets: tuple[str, ...]
    modules: Mapping[str, Kind]
    sizes: Mapping[str, tuple[str, int]]
    tokens: tuple[str, int]
    unstored: tuple[str, ...] = ()


_OF_STEM = {"patch_size": ("stem/kernel", 0), "width": ("stem/kernel", 3)}

MIXER = Family(
    name="Mixer",
    block="MixerBlock",
    presets=(
        *("mixer_s32", "mixer_s16", "mixer_b32", "mixer_b16", "mixer_l32", "mixer_l16"),
        "mixer_h14",
    ),
    modules={
        "stem": CONVOLUTION,
        "MixerBlock_{}/LayerNorm_0": NORM,
        "MixerBlock_{}/token_mixing/Dense_0": LINEAR,
        "MixerBlock_{}/token_mixing/Dense_1": LINEAR,
        "MixerBlock_{}/LayerNorm_1": NORM,
        "MixerBlock_{}/channel_mixing/Dense_0": LINEAR,
        "MixerBlock_{}/channel_mixing/Dense_1": LINEAR,
        "pre_head_layer_norm": NORM,
        "head": LINEAR,
    },
    sizes={
        **_OF_STEM,
        "tokens_hidden_dim": ("MixerBlock_0/token_mixing/Dense_0/kernel", 1),
        "channels_hidden_dim": ("MixerBlock_0/channel_mixing/Dense_0/kernel", 1),
    },
    tokens=("MixerBlock_0/token_mixing/Dense_0/kernel", 0),
)

GMLP = Family(
    name="gMLP",
    block="GMlpBlock",
    presets=("gmlp_ti16", "gmlp_s16", "gmlp_b16"),
    modules={
        "stem": CONVOLUTION,
        "GMlpBlock_{}/LayerNorm_0": NORM,
        "GMlpBlock_{}/Dense_0": LINEAR,
        "GMlpBlock_{}/spatial_gating/LayerNorm_0": NORM,
        "GMlpBlock_{}/spatial_gating/Dense_0": LINEAR,
        "GMlpBlock_{}/Dense_1": LINEAR,
        "pre_head_layer_norm": NORM,
        "head": LINEAR,
    },
    sizes={**_OF_STEM, "hidden_dim": ("GMlpBlock_0/Dense_0/kernel", 1)},
    tokens=("GMlpBlock_0/spatial_gating/Dense_0/kernel", 0),
)

VIT = Family(
    name="Vision Transformer without a class token",
    block="VitBlock",
    # Not vit_b16: timm has models of its sizes with 12 heads and with 16.
    presets=("vit_ti16", "vit_s16"),
    modules={
        "stem": CONVOLUTION,
        "position_table": TABLE,
        "VitBlock_{}/LayerNorm_0": NORM,
        "VitBlock_{}/self_attention/query_key_value": LINEAR,
        "VitBlock_{}/self_attention/projection": LINEAR,
        "VitBlock_{}/LayerNorm_1": NORM,
        "VitBlock_{}/channel_mixing/Dense_0": LINEAR,
        "VitBlock_{}/channel_mixing/Dense_1": LINEAR,
        "pre_head_layer_norm": NORM,
        "head": LINEAR,
    },
    sizes={**_OF_STEM, "hidden_dim": ("VitBlock_0/channel_mixing/Dense_0/kernel", 1)},
    tokens=("position_table/embedding", 0),
    unstored=("num_heads",),
)

RESMLP = Family(
    name="ResMLP",
    block="ResMlpBlock",
    presets=("resmlp_12", "resmlp_24", "resmlp_36", "resmlp_big_24"),
    modules={
        "stem": CONVOLUTION,
        "ResMlpBlock_{}/Affine_0": NORM,
        "ResMlpBlock_{}/token_mixing": LINEAR,
        "ResMlpBlock_{}/LayerScale_0": SCALE,
        "ResMlpBlock_{}/Affine_1": NORM,
        "ResMlpBlock_{}/channel_mixing/Dense_0": LINEAR,
        "ResMlpBlock_{}/channel_mixing/Dense_1": LINEAR,
        "ResMlpBlock_{}/LayerScale_1": SCALE,
        "pre_head_affine": NORM,
        "head": LINEAR,
    },
    sizes={**_OF_STEM, "hidden_dim": ("ResMlpBlock_0/channel_mixing/Dense_0/kernel", 1)},
    tokens=("ResMlpBlock_0/token_mixing/kernel", 0),
)


def parameters(
    family: Family, num_blocks: int, theirs: Callable[[str, str, int], Parameter]
) -> list[Parameter]:
    """Lists the parameters of a model of a family, in two namings.

    Args:
      family: of the model.
      num_blocks: blocks of the model.
      theirs: makes the row of a parameter from its module's name (as in `modules`), its own, such
        as "kernel", and its number of axes; with {} for the index of a block.
    """
    found = []
    for module, kind in family.modules.items():
        rows = [theirs(module, name, axes) for name, axes in kind.items()]
        for index in range(num_blocks if "{}" in module else 1):
            found += [
                row._replace(ours=row.ours.format(index), theirs=row.theirs.format(index))
                for row in rows
            ]
    return found


def describe(
    family: Family, num_blocks: int, shapes: Shapes, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Tells from the shapes of its parameters what model it is.

    Args:
      family: of the model.
      num_blocks: blocks of the model.
      shapes: by this project's names, those that `parameters` lists.
      known: options that are known besides.

    Returns:
      The model as a config's `model` has it: the preset that it is, or else one of its family with
      all sizes that are others; and the image size.

    Raises:
      InputError: there is no such model, or neither shapes nor `known` tell all of it.
    """
    sizes = {option: shapes[name][axis] for option, (name, axis) in family.sizes.items()}
    sizes["num_blocks"] = num_blocks
    whole = [name for name in family.presets if sizes.items() <= PRESETS[name].items()]
    untold = [option for option in family.unstored if option not in known]
    if untold and not whole:
        raise InputError(f"no shape tells {', '.join(untold)}, and their sizes are of no preset")
    name = whole[0] if whole else family.presets[0]
    options = {option: size for option, size in sizes.items() if PRESETS[name][option] != size}
    array, axis = family.tokens
    tokens = shapes[array][axis]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise InputError(f"they are for {tokens} tokens, which are no square grid")
    return {"name": name, "image_size": side * sizes["patch_size"], **options}


def build(description: Mapping[str, Any], num_classes: int) -> Classifier:
    """Builds the model that a description is of.

    Raises:
      InputError: there is no such model.
    """
    name = description["name"]
    options = {key: description[key] for key in description if key not in ("name", "image_size")}
    return create_model(name, num_classes, **without_unset(name, options))


@functools.lru_cache
def shapes_of(model: Classifier, image_size: int, channels: int) -> dict[str, tuple[int, ...]]:
    """Lists the shapes of a model's parameters by name; nothing is computed.

    Raises:
      InputError: the model cannot take images of this size.
    """
    named = traverse_util.flatten_dict(parameter_shapes(model, image_size, channels), sep="/")
    return {name: tuple(leaf.shape) for name, leaf in named.items()}


def computes_otherwise(
    description: Mapping[str, Any] | None, needed: Mapping[str, Any]
) -> list[str]:
    """Compares how a described model computes with how another program's does.

    Args:
      description: of the model, as a config's `model`; None if it is not known.
      needed: fields of the block or the Classifier, with the values of the other program.

    Returns:
      Sentences such as "approximate_gelu is True, and there False".
    """
    if description is None:
        return []
    model = build(description, num_classes=1)
    block = model.block(**model.block_options)
    found = []
    for key, value in needed.items():
        # A field that both have means both; a block's that is None is as the others are.
        own = getattr(block if hasattr(block, key) else model, key)
        own = block.epsilon if key == "gate_epsilon" and own is None else own
        if own != value:
            found.append(f"{key} is {own}, and there {value}")
    return found
