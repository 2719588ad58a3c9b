"""Weights that a run starts from: found, matched to its model, and told apart by a digest."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from mlpvis_jax.data.paths import read_path
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.models import Classifier
from mlpvis_jax.weights.architecture import build
from mlpvis_jax.weights.formats import read
from mlpvis_jax.weights.matching import Matched, match
from mlpvis_jax.weights.pretrained import PRETRAINED, check_published, fetch_published
from mlpvis_jax.weights.stored import StoredWeights
from mlpvis_jax.weights.transfer import Arrays

# What training does, and how a model is computed: another value leaves a trained model what it is.
_OF_TRAINING = {
    *("dropout_rate", "stochastic_depth_rate", "dropout_before_head", "dropout_after_gelu"),
    *("remat", "remat_keeps_products", "scan", "layer_scale", "head_bias"),
}


class InitialWeights(NamedTuple):
    """Parameters that a run starts from.

    Attributes:
      params: arrays by name, in the shapes and types of the model; what is not among them starts
        as the model initialises it.
      digest: of the arrays of the file, whatever was made of them; it is another for other weights.
      described: where they are from and what was changed, in a line for a person.
    """

    params: dict[str, np.ndarray]
    digest: str
    described: str


class Wanted(NamedTuple):
    """What the weights are to start.

    Attributes:
      model: that takes them.
      image_shape: height, width and channels of what it sees.
      class_names: in the order of the logits.
      resolution: see `matching.match`.
    """

    model: Classifier
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    resolution: str


def initial_weights(path: str, wanted: Wanted) -> InitialWeights:
    """Reads weights and matches them to a model.

    Args:
      path: the folder of a run, whose best weights are taken, a file that `read` takes, or a key
        of PRETRAINED.
      wanted: what they are to start. Classes of other names, or of another number, get a new head.

    Raises:
      InputError: there are no weights, they are damaged, or of another model.
    """
    file = file_of(path)
    status = file.stat()
    # Rates have no parameters, and trials that differ in nothing else share the arrays.
    model = wanted.model.clone(dropout_rate=0.0, stochastic_depth_rate=0.0)
    stamp = (status.st_mtime_ns, status.st_size)
    return _initial_weights(path, file, stamp, wanted._replace(model=model))


def file_of(path: str) -> Path:
    """Finds the file of `config.init_from`; published weights are fetched once.

    Raises:
      InputError: there is none.
    """
    if path in PRETRAINED:
        return fetch_published(path)
    found = read_path(path, "config.init_from")
    if found.is_dir():
        folder = RunFolder(found)
        if not folder.best_weights.is_file():
            raise InputError(
                f"config.init_from={path} is a folder without {folder.best_weights.name}; give the "
                "folder of a run that has ended an epoch, or a file of weights."
            )
        return folder.best_weights
    if not found.is_file():
        raise InputError(
            f"config.init_from={path}: there is nothing; give the folder of a run, a file of "
            "weights, or a name that --list=weights prints."
        )
    return found


@functools.lru_cache(maxsize=2)
def _initial_weights(
    path: str, file: Path, stamp: tuple[int, int], wanted: Wanted
) -> InitialWeights:
    del stamp  # it is a part of the cache's key: a file that has changed is read again
    stored = read(file)
    if path in PRETRAINED:
        check_published(path, file, stored.params)
    arrays = traverse_util.flatten_dict(stored.params, sep="/")
    keeps_head = _has_these_classes(stored, arrays, wanted.class_names)
    try:
        matched = match(arrays, wanted.model, wanted.image_shape, keeps_head, wanted.resolution)
    except InputError as error:
        raise InputError(f"config.init_from={path}: {error}") from None
    digest = _digest(arrays)
    described = [f"{path} ({digest[:8]})", *_changes(matched, len(wanted.class_names))]
    differing = _differing(stored.description.get("model"), wanted.model, bool(matched.carried))
    return InitialWeights(matched.params, digest, ", ".join([*described, *differing]))


def _has_these_classes(stored: StoredWeights, arrays: Arrays, class_names: Sequence[str]) -> bool:
    """Whether the head's logits are of these classes; of no known names the number tells."""
    bias = arrays.get("head/bias")
    if bias is None or bias.shape != (len(class_names),):
        return False
    known = stored.description.get("class_names")
    return known is None or list(known) == list(class_names)


def _changes(matched: Matched, num_classes: int) -> list[str]:
    changes = []
    if matched.new:
        changes.append(f"with a new head for {num_classes} classes")
    if matched.carried:
        before, now = matched.grid or (0, 0)
        changes.append(f"carried over from {before} x {before} to {now} x {now} tokens")
    return changes


def _differing(options: Any, model: Classifier, is_carried: bool = False) -> list[str]:
    """Says in what the models differ that has no parameters, such as the kind of gelu.

    Weights that are carried over to another grid may have become wider token MLPs.
    """
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        return []
    try:
        theirs = _functional(build(options, model.num_classes))
    except InputError:  # a preset that this program lacks
        return []
    return [
        f"whose {key} was {theirs[key]} and is now {value}"
        for key, value in _functional(model).items()
        if theirs.get(key, value) != value and not (is_carried and key == "tokens_hidden_dim")
    ]


def _functional(model: Classifier) -> dict[str, Any]:
    """The fields of a model and of its block that decide what it computes.

    Sizes are among them: they are equal, for the weights fit.
    """
    block = model.block(**model.block_options)
    values = {
        field.name: getattr(module, field.name)
        for module in (model, block)  # of a field that both have, the block's may differ
        for field in dataclasses.fields(module)
        if field.name not in ("parent", "name", "num_classes", *_OF_TRAINING)
    }
    if values.get("gate_epsilon", 0) is None:
        values["gate_epsilon"] = values["epsilon"]
    return {
        key: value for key, value in values.items() if isinstance(value, bool | int | float | str)
    }


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
