"""Published weights by name, ready to use: PRETRAINED and `load_pretrained`."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mlpvis_jax.data.paths import read_path
from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.files.weights import count_parameters
from mlpvis_jax.learning import augment
from mlpvis_jax.models import Classifier
from mlpvis_jax.settings.declared import shown
from mlpvis_jax.weights.architecture import build, shapes_of
from mlpvis_jax.weights.fetch import fetch
from mlpvis_jax.weights.formats import read
from mlpvis_jax.weights.naming import check_names, check_shapes
from mlpvis_jax.weights.stored import StoredWeights


@dataclasses.dataclass(frozen=True)
class Published:
    """Weights that somebody has published: a row of PRETRAINED.

    Attributes:
      model: a preset.
      trained_on: the set of images.
      classes: width of the head.
      parameters: numbers in the file, of four bytes each.
      accuracy: top-1 as published, percent, with what it was measured on.
      licence: of the weights.
      source: "hub:OWNER/NAME" on the Hugging Face hub, or a URL.
      revision: commit on the hub; None: the newest.
      sha256: of the file; None: not known.
    """

    model: str
    trained_on: str
    classes: int
    parameters: int
    accuracy: str
    licence: str
    source: str
    revision: str | None = dataclasses.field(default=None, repr=False)
    sha256: str | None = dataclasses.field(default=None, repr=False)


_AUTHORS = "https://storage.googleapis.com/mixer_models"
_APACHE = "Apache 2.0"

# Accuracies of the authors' weights are those of their repository's README, after fine-tuning;
# those of timm's are those of its table of results. The hash is the hub's.
PRETRAINED: dict[str, Published] = {
    "mixer_b16_imagenet21k": Published(
        *("mixer_b16", "ImageNet-21k", 21843, 75_908_739),
        *("96.82 CIFAR-10, fine-tuned", _APACHE, f"{_AUTHORS}/imagenet21k/Mixer-B_16.npz"),
    ),
    "mixer_l16_imagenet21k": Published(
        *("mixer_l16", "ImageNet-21k", 21843, 229_560_243),
        *("98.34 CIFAR-10, fine-tuned", _APACHE, f"{_AUTHORS}/imagenet21k/Mixer-L_16.npz"),
    ),
    "mixer_b16_imagenet1k": Published(
        *("mixer_b16", "ImageNet-1k", 1000, 59_880_472),
        *("96.72 CIFAR-10, fine-tuned", _APACHE, f"{_AUTHORS}/imagenet1k/Mixer-B_16.npz"),
    ),
    "mixer_l16_imagenet1k": Published(
        *("mixer_l16", "ImageNet-1k", 1000, 208_196_168),
        *("96.59 CIFAR-10, fine-tuned", _APACHE, f"{_AUTHORS}/imagenet1k/Mixer-L_16.npz"),
    ),
    "mixer_b16_imagenet1k_timm": Published(
        *("mixer_b16", "ImageNet-21k, then 1k, by its name", 1000, 59_880_472),
        *("76.62 ImageNet-1k", _APACHE, "hub:timm/mixer_b16_224.goog_in21k_ft_in1k"),
    ),
    "mixer_l16_imagenet1k_timm": Published(
        *("mixer_l16", "ImageNet-21k, then 1k, by its name", 1000, 208_196_168),
        *("72.08 ImageNet-1k", _APACHE, "hub:timm/mixer_l16_224.goog_in21k_ft_in1k"),
    ),
    "mixer_b16_imagenet21k_p": Published(
        *("mixer_b16", "ImageNet-21k-P", 11221, 67_740_421),
        *("none", _APACHE, "hub:timm/mixer_b16_224.miil_in21k"),
    ),
    "mixer_b16_imagenet21k_p_imagenet1k": Published(
        *("mixer_b16", "ImageNet-21k-P, then 1k", 1000, 59_880_472),
        *("82.31 ImageNet-1k", _APACHE, "hub:timm/mixer_b16_224.miil_in21k_ft_in1k"),
    ),
    "gmlp_s16_imagenet1k": Published(
        *("gmlp_s16", "ImageNet-1k", 1000, 19_422_656),
        *("79.65 ImageNet-1k", _APACHE, "hub:timm/gmlp_s16_224.ra3_in1k"),
        revision="6a39ae6f76cafcb6dd0bb3a799db22f95ca93603",
        sha256="227698aa36c69936a1c64a001fa9d7110c63957c4e7a43f2ad684b160a47778a",
    ),
    "resmlp_12_imagenet1k": Published(
        *("resmlp_12", "ImageNet-1k", 1000, 15_350_872),
        *("76.66 ImageNet-1k", _APACHE, "hub:timm/resmlp_12_224.fb_in1k"),
    ),
    "resmlp_12_imagenet1k_distilled": Published(
        *("resmlp_12", "ImageNet-1k, distilled", 1000, 15_350_872),
        *("77.95 ImageNet-1k", _APACHE, "hub:timm/resmlp_12_224.fb_distilled_in1k"),
    ),
    "resmlp_24_imagenet1k": Published(
        *("resmlp_24", "ImageNet-1k", 1000, 30_020_680),
        *("79.38 ImageNet-1k", _APACHE, "hub:timm/resmlp_24_224.fb_in1k"),
    ),
    "resmlp_24_imagenet1k_distilled": Published(
        *("resmlp_24", "ImageNet-1k, distilled", 1000, 30_020_680),
        *("80.77 ImageNet-1k", _APACHE, "hub:timm/resmlp_24_224.fb_distilled_in1k"),
    ),
    "resmlp_36_imagenet1k": Published(
        *("resmlp_36", "ImageNet-1k", 1000, 44_690_488),
        *("79.77 ImageNet-1k", _APACHE, "hub:timm/resmlp_36_224.fb_in1k"),
    ),
    "resmlp_36_imagenet1k_distilled": Published(
        *("resmlp_36", "ImageNet-1k, distilled", 1000, 44_690_488),
        *("81.15 ImageNet-1k", _APACHE, "hub:timm/resmlp_36_224.fb_distilled_in1k"),
    ),
    "resmlp_big_24_imagenet1k": Published(
        *("resmlp_big_24", "ImageNet-1k", 1000, 129_138_280),
        *("81.03 ImageNet-1k", _APACHE, "hub:timm/resmlp_big_24_224.fb_in1k"),
    ),
    "resmlp_big_24_imagenet1k_distilled": Published(
        *("resmlp_big_24", "ImageNet-1k, distilled", 1000, 129_138_280),
        *("83.59 ImageNet-1k", _APACHE, "hub:timm/resmlp_big_24_224.fb_distilled_in1k"),
    ),
    "resmlp_big_24_imagenet22k_imagenet1k": Published(
        *("resmlp_big_24", "ImageNet-22k, then 1k", 1000, 129_138_280),
        *("84.41 ImageNet-1k", _APACHE, "hub:timm/resmlp_big_24_224.fb_in22k_ft_in1k"),
    ),
}


class Scaling(NamedTuple):
    """From images as they are stored to what a model sees.

    Attributes:
      image_size: height and width that images are interpolated to.
      normalization: mean and deviation of each channel, in units of pixel values.
    """

    image_size: int
    normalization: augment.Normalization

    def __call__(self, images: jax.Array | np.ndarray) -> jax.Array:
        """Maps uint8 [batch, height, width, channels] to float32 [batch, size, size, channels]."""
        return augment.resize(self.normalization(jnp.asarray(images)), self.image_size)


class Pretrained(NamedTuple):
    """A trained model.

    Attributes:
      model: the linen module.
      parameters: nested dict of arrays, for `model.apply({"params": parameters}, images)`.
      scaling: makes of stored images what the model sees; None if the file does not tell.
    """

    model: Classifier
    parameters: dict[str, Any]
    scaling: Scaling | None


def load_pretrained(
    name_or_path: str | os.PathLike, *, cache_dir: str | os.PathLike | None = None
) -> Pretrained:
    """Loads trained weights with the model that they are of.

    Args:
      name_or_path: a key of PRETRAINED, which is fetched once; or the path of a file of any format
        that `read` knows, for which no network is needed.
      cache_dir: where what is fetched is kept; see `weights.fetch`.

    Raises:
      InputError: there are no such weights, they cannot be fetched, or they are not of the model
        that they should be of.
    """
    published = PRETRAINED.get(str(name_or_path))
    if published is None:
        path = read_path(os.fspath(name_or_path), "name_or_path")
        if not path.is_file():
            near = nearest(str(name_or_path), PRETRAINED)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(PRETRAINED)}."
            name = shown(os.fspath(name_or_path))
            raise InputError(f"No file and no published weights are named {name}; {hint}")
        return _pretrained(path, read(path))
    name = str(name_or_path)
    path = fetch_published(name, cache_dir)
    stored = read(path)
    loaded = _pretrained(path, stored)
    check_published(name, path, stored.params)
    return loaded


def fetch_published(name: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Fetches the file of a row of PRETRAINED, or finds it where it was kept.

    Raises:
      InputError: it cannot be fetched.
    """
    published = PRETRAINED[name]
    folder = None if cache_dir is None else read_path(os.fspath(cache_dir), "cache_dir")
    return fetch(
        name,
        published.source,
        revision=published.revision,
        sha256=published.sha256,
        folder=folder,
    )


def _pretrained(path: Path, stored: StoredWeights) -> Pretrained:
    description = stored.description.get("model")
    if not isinstance(description, Mapping) or not {"name", "image_size"} <= description.keys():
        raise InputError(f"{path} does not say of which model its weights are.")
    named = traverse_util.flatten_dict(stored.params, sep="/")
    found = {name: array.shape for name, array in named.items()}
    if not {"stem/kernel", "head/bias"} <= found.keys():
        raise InputError(f"{path} holds no classifier: it lacks stem/kernel or head/bias.")
    channels, classes = found["stem/kernel"][2], found["head/bias"][0]
    model, size = build(description, classes), description["image_size"]
    wanted = shapes_of(model, size, channels)
    subject = f"{path} holds weights of another model than {description['name']}"
    check_names(subject, found, {name: len(shape) for name, shape in wanted.items()})
    check_shapes(subject, found, wanted)
    return Pretrained(
        model, jax.device_put(stored.params), _scaling(stored.description, size, channels)
    )


def _scaling(description: Mapping[str, Any], image_size: int, channels: int) -> Scaling | None:
    mean, deviation = (description.get(f"normalization_{key}") for key in ("mean", "deviation"))
    if mean is None or deviation is None:
        return None
    statistics = np.asarray([mean, deviation], np.float32)
    if statistics.shape != (2, channels):
        raise InputError(
            f"The weights are for {channels} channels, and their normalization_mean and "
            f"normalization_deviation are {mean} and {deviation}."
        )
    return Scaling(image_size, augment.Normalization(*statistics))


def check_published(name: str, path: Path, params: Mapping[str, Any]) -> None:
    """Refuses a file that is not what the table says, such as one that was put there by hand.

    Args:
      name: a key of PRETRAINED.
      path: of the file.
      params: what it holds, a nested dict of arrays.

    Raises:
      InputError: it has another number of classes, or of parameters.
    """
    row = PRETRAINED[name]
    found = len(params.get("head", {}).get("bias", ())), count_parameters(params)
    if found != (row.classes, row.parameters):
        raise InputError(
            f"{path} has {found[0]:,} classes and {found[1]:,} parameters, and {name} has "
            f"{row.classes:,} and {row.parameters:,}; it is another file."
        )
