"""An exported classifier: the file that other programs run, with what stands beside it."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from mlpvis_jax.data.framing import Frame
from mlpvis_jax.errors import InputError, first_line
from mlpvis_jax.files.run_folder import read_json
from mlpvis_jax.inference.pixels import Images, Shape, frame_of, list_images
from mlpvis_jax.inference.predictions import Predictions
from mlpvis_jax.inference.runners import OPENERS, Runner

DESCRIPTION = "export.json"  # in the folder, beside the file that it names
_BATCH_SIZE = 64


class ExportedClassifier:
    """A classifier that was exported, run by JAX or onnxruntime; the model's code has no part.

    Attributes:
      class_names: of the classes, in the order of the logits.
      image_shape: height, width and channels to which `predict` brings images.
      description: what export.json says, JSON values: how it was made and checked, and all that the
        weights' own description says.
    """

    def __init__(
        self, run: Runner, description: Mapping[str, Any], image_shape: Shape, frame: Frame
    ) -> None:
        self._run = run
        self._frame = frame
        self.class_names: tuple[str, ...] = tuple(description["class_names"])
        self.image_shape = image_shape
        self.description = description

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Computes logits, float32 [batch, classes].

        Args:
          images: uint8 [batch, *image_shape]; where it was exported for any size of images, any
            [batch, height, width, channels] whose height and width the patch divides.

        Raises:
          InputError: images of another type or shape.
        """
        images = np.asarray(images)
        sizes = self.description["input"]["shape"]
        fits = images.ndim == 4 and all(
            _fits(size, expected)
            for size, expected in zip(images.shape[1:], sizes[1:], strict=True)
        )
        if images.dtype != np.uint8 or not fits or 0 in images.shape:
            raise InputError(
                f"images is {images.dtype} {list(images.shape)}; the exported classifier takes "
                f"uint8 [{', '.join(map(str, sizes))}]."
            )
        return self._run(images)

    def predict(self, images: Images) -> Predictions:
        """Classifies images of any size, as `TrainedClassifier.predict` does.

        Pillow brings images to the size that the file takes. Where that is any size, it is the
        model's own, while `TrainedClassifier.predict` goes by way of the data set's size.
        """
        listed = list_images(images, self.image_shape, self._frame)
        parts = []
        for start in range(0, len(listed), _BATCH_SIZE):
            some = listed[start : start + _BATCH_SIZE]
            parts.append(self._run(np.stack([image.read() for image in some])))
        probabilities = softmax(np.concatenate(parts), axis=-1)
        return Predictions(probabilities, self.class_names, tuple(one.name for one in listed))


def load_exported(path: str | os.PathLike) -> ExportedClassifier:
    """Opens the folder that an export has written.

    Args:
      path: such as "runs/mixer/export".

    Raises:
      InputError: there is no export, the file is not the one that was written, or what runs it is
        not installed.
    """
    folder = Path(path).expanduser()
    if not (folder / DESCRIPTION).is_file():
        raise InputError(
            f"{folder} holds no export: there is no {folder / DESCRIPTION}. --mode=export makes "
            "one of a run."
        )
    description = read_json(folder / DESCRIPTION)
    try:
        file, digest = folder / description["file"], description["sha256"]
        height, width, channels = description["image_shape"]
        description["class_names"], description["input"]["shape"]
        opener = OPENERS[file.suffix]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / DESCRIPTION} is not what an export writes ({first_line(error)})."
        ) from error
    if not file.is_file():
        raise InputError(f"There is no {file}, which {folder / DESCRIPTION} describes.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        raise InputError(f"{file} is not what was exported: it is damaged, or another file.")
    try:
        run = opener(file)
    except ImportError as error:
        raise InputError(
            f"{file} needs a package that is not installed ({first_line(error)}): "
            f"pip install 'mlpvis_jax[{'onnx' if file.suffix == '.onnx' else 'export'}]'"
        ) from error
    frame = frame_of(description.get("description", {}))
    return ExportedClassifier(run, description, (height, width, channels), frame)


def _fits(size: int, expected: int | str) -> bool:
    """Whether a size is the expected one, or a multiple of the patch, where that is "8*rows"."""
    if isinstance(expected, int):
        return size == expected
    return size % int(expected.partition("*")[0]) == 0
