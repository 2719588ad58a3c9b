"""A trained classifier, from its weights alone: probabilities and features of any images."""

import concurrent.futures
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.files.place import check_writable
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.files.weights import load_weights, read_description
from mlpvis_jax.inference.pixels import Image, Images, Shape, frame_of, list_images
from mlpvis_jax.inference.predictions import Predictions
from mlpvis_jax.learning import augment
from mlpvis_jax.models import Classifier
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.running.choices import build_model
from mlpvis_jax.running.evaluation import normalization_of
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.sections import ModelConfig

_THREADS = 4  # that decode; Pillow releases the interpreter lock meanwhile
_LOGITS = "head"


class TrainedClassifier:
    """A model with its parameters, and with all that it takes to give it images.

    Attributes:
      model: the linen module; with `params`, it can be applied to images of one's own scaling.
      params: the parameters, nested dict of arrays.
      class_names: of the classes, in the order of the logits.
      image_shape: height, width and channels of the images it was trained on, to which others are
        brought first.
      image_size: height and width of what the model sees, to which these are interpolated.
      frame: what of an image of any proportions is brought to that shape; see `data.framing`.
      normalization: per-channel statistics of the training images.
      description: all that the file of the weights says of them, JSON values.
      batch_size: images that are computed at a time.
    """

    def __init__(
        self,
        model: Classifier,
        params: Any,
        description: Mapping[str, Any],
        image_size: int,
        image_shape: Shape,
        normalization: augment.Normalization,
        batch_size: int,
    ) -> None:
        self.model = model
        self.params = jax.device_put(params)
        self.class_names: tuple[str, ...] = tuple(description["class_names"])
        self.image_shape = image_shape
        self.image_size = image_size
        self.frame = frame_of(description)
        self.normalization = normalization
        self.description = description
        self.batch_size = batch_size
        self._compute = jax.jit(self._output, static_argnames="layer")

    def predict(self, images: Images) -> Predictions:
        """Classifies images of any size, scaled as in training.

        Args:
          images: the path of an image file, or of several; uint8 arrays [height, width, channels],
            or [height, width] of grey images; or one array [number, height, width, channels].
            Files may be grey, with an alpha channel, of 16 bits, or lying on their side.

        Returns:
          The probabilities of all classes for each image, and the likeliest by name.

        Raises:
          InputError: no image, a file that is missing or no image, an array that is not uint8 or
            has other channels than the images that the model was trained on.
        """
        listed = list_images(images, self.image_shape, self.frame)
        logits = self._outputs(listed, _LOGITS)
        probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
        names = tuple(image.name for image in listed)
        return Predictions(probabilities, self.class_names, names)

    def features(self, images: Images, layer: str = "pooled") -> np.ndarray:
        """Computes what a layer makes of images.

        Args:
          images: as `predict` takes them.
          layer: a name of `layers()`.

        Returns:
          float32: [number, width] of "pooled", the mean over tokens; [number, classes] of "head",
          the logits; [number, tokens, width] of all other layers.

        Raises:
          InputError: no such layer, or images as `predict` refuses them.
        """
        if layer not in self.layers():
            near = nearest(layer, self.layers())
            hint = f" (did you mean {near!r}?)" if near else ""
            known = ", ".join(self.layers())
            raise InputError(f"There is no layer {layer!r}{hint}; there are {known}.")
        return self._outputs(list_images(images, self.image_shape, self.frame), layer)

    def layers(self) -> tuple[str, ...]:
        """Lists the names of the layers, from the first to the last."""
        return tuple(self.model.layer_names)

    def read(self, images: Images) -> np.ndarray:
        """Reads images as the model is given them, uint8 [number, *image_shape]."""
        return np.stack(
            [image.read() for image in list_images(images, self.image_shape, self.frame)]
        )

    def _output(self, params: Any, images: jax.Array, layer: str) -> jax.Array:
        prepared = augment.resize(self.normalization(images), self.image_size)
        if layer == _LOGITS:  # as in training: of a scanned model one block is compiled
            logits: Any = self.model.apply({"params": params}, prepared)
            return logits
        outputs: Any = self.model.apply({"params": params}, prepared, method="features")
        return outputs[layer].astype(jnp.float32)

    def _outputs(self, images: Sequence[Image], layer: str) -> np.ndarray:
        """The output of a layer, float32 [number, ...]."""
        fetched: list[np.ndarray] = []
        # A batch is computed while the next is decoded, and the one before it is fetched.
        computed: list[tuple[jax.Array, int]] = []
        for batch, number in self._batches(images):
            computed.append((self._compute(self.params, batch, layer=layer), number))
            if len(computed) > 1:
                output, of_output = computed.pop(0)
                fetched.append(np.asarray(output)[:of_output])
        return np.concatenate([*fetched, *(np.asarray(one)[:of_one] for one, of_one in computed)])

    def _batches(self, images: Sequence[Image]) -> Iterator[tuple[np.ndarray, int]]:
        """Batches of one size, the last filled up with zeros, and the images in each."""
        # One program for all batches; of few images a smaller one, of a power of two.
        size = min(self.batch_size, 1 << (len(images) - 1).bit_length())
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, len(images), size):
                some = images[start : start + size]
                batch = np.zeros((size, *self.image_shape), np.uint8)
                for row, pixels in enumerate(threads.map(lambda image: image.read(), some)):
                    batch[row] = pixels
                yield batch, len(some)


def load(path: str | os.PathLike, *, batch_size: int = 64) -> TrainedClassifier:
    """Loads a trained classifier.

    Args:
      path: the folder of a run, of which the best weights are taken; or a safetensors file of this
        package's, such as a run's averaged.safetensors.
      batch_size: images that are computed at a time.

    Raises:
      InputError: there are no weights, they are damaged, or they lack the description that
        training writes beside them.
    """
    path = Path(os.path.expanduser(path))  # which leaves the home of nobody as it is
    if not os.path.exists(path):
        raise InputError(f"There is no {path}; give the folder of a run, or a safetensors file.")
    if not os.path.isdir(path):
        return load_file(path, batch_size=batch_size)
    folder = RunFolder(path)
    if not folder.best_weights.exists() and not folder.holds_run():
        raise InputError(f"{path} holds no run: there is no {folder.best_weights.name}.")
    if folder.holds_run():
        folder.check_weights(folder.read_config())
    return load_file(folder.best_weights, batch_size=batch_size)


def load_run(config: RunConfig, folder: RunFolder, output: Path | None = None) -> TrainedClassifier:
    """Loads the best weights of a run, of which something is going to be written.

    Args:
      config: settings of the run.
      folder: of the run.
      output: the folder to be written to; None: the run's.

    Raises:
      InputError: as `load` does, or the folder cannot be written to.
    """
    folder.check_weights(config)
    classifier = load_file(folder.best_weights, config=config.model)
    if output is None:
        folder.check_place()
    else:
        check_writable(output, "--output")
    return classifier


def load_file(
    path: Path, *, config: ModelConfig | None = None, batch_size: int = 64
) -> TrainedClassifier:
    """Loads a classifier from a file that `files.weights.save_weights` wrote.

    Args:
      path: of the file.
      config: settings of the model; by default those in the file's description.
      batch_size: images that are computed at a time.

    Raises:
      InputError: as `load` does.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more.")
    description = read_description(path)
    names = description.get("class_names")
    if not isinstance(names, list) or len(names) < 2:
        raise InputError(f"{path} does not say what its classes are; weights of a run do.")
    config = _model_config(description, path) if config is None else config
    shape = _image_shape(description, config.image_size, path)
    normalization = normalization_of(description, shape[-1], path)
    model = build_model(config, len(names))
    params, _ = load_weights(path, parameter_shapes(model, config.image_size, shape[-1]))
    return TrainedClassifier(
        model, params, description, config.image_size, shape, normalization, batch_size
    )


def _model_config(description: Mapping[str, Any], path: Path) -> ModelConfig:
    options = description.get("model")
    try:
        assert isinstance(options, Mapping)
        name, size = options["name"], options["image_size"]
        assert isinstance(name, str) and isinstance(size, int) and size > 0
    except (AssertionError, KeyError):
        raise InputError(f"{path} does not say of which model its weights are.") from None
    closed = ("name", "image_size")
    return ModelConfig(name, size, {key: options[key] for key in options if key not in closed})


def _image_shape(description: Mapping[str, Any], image_size: int, path: Path) -> Shape:
    """The shape of the images of the data set; of weights without one, what the model sees."""
    channels = len(description.get("normalization_mean") or [])
    data = description.get("data")
    shape = data.get("image_shape") if isinstance(data, Mapping) else None
    if shape is None:
        shape = [image_size, image_size, channels]
    if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(n, int) for n in shape):
        raise InputError(f"{path} says of its images that they have the shape {shape}.")
    height, width, channels = shape
    return height, width, channels
