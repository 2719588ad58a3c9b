"""The images of a split that is prepared for TensorFlow Datasets, read from ArrayRecord files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.examples import Example, Examples, mark_of
from mlpvis_jax.data.framing import Frame
from mlpvis_jax.data.images import decode_image
from mlpvis_jax.errors import InputError

# Records that are read in one go for their labels.
_RECORDS = 256
# Images of at least so many pixels are decoded in threads; see Examples.decode_in_threads.
_PIXELS_FOR_THREADS = 128 * 128


class TfdsExamples(Examples):
    """The images of one prepared split, decoded when asked for."""

    def __init__(
        self,
        builder: Any,
        split: str,
        *,
        keys: tuple[str, str],
        image_shape: tuple[int, int, int],
        decoding: Decoding | None,
    ):
        """`builder` is a tfds.core.DatasetBuilder; `keys` those of its image and its label.

        Images are decoded to one size as `decoding` says; without it all must have `image_shape`.
        """
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.decode import DeserializeMethod

        self._folder = builder.data_dir
        self._split = split
        paths = builder.info.splits[split].filepaths
        self._files = [(Path(path).name, Path(path).stat().st_size) for path in paths]
        self._image_key, self._label_key = keys
        self._image_shape = image_shape
        self._decoding = decoding
        self.frame = None if decoding is None else decoding.frame
        is_large = image_shape[0] * image_shape[1] >= _PIXELS_FOR_THREADS
        self.decode_in_threads = decoding is not None or is_large
        # Only the two features are parsed (a set may have masks or boxes besides), and the
        # image stays encoded: TFDS would decode it with OpenCV, where that is installed.
        features = builder.info.features
        self._features = tfds.features.FeaturesDict({key: features[key] for key in keys})
        self._decoders = {self._image_key: tfds.decode.SkipDecoding()}
        self._records = builder.as_data_source(
            split,
            deserialize_method=DeserializeMethod.RAW_BYTES,
            file_format="array_record",
        )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in 0 to {len(self) - 1}")
        return self.gather([index])[0]

    def gather(
        self, indices: Sequence[int], frames: Sequence[Frame] | None = None
    ) -> list[Example]:
        of_each = [None] * len(indices) if frames is None else frames
        found = zip(indices, self._parse(indices), of_each, strict=True)
        return [self._decode(index, example, frame) for index, example, frame in found]

    def framed(self, index: int, frame: Frame) -> Example:
        return self.gather([index], [frame])[0]

    def has_labels(self) -> bool:
        """Tells whether the first image has a label; those without one have a number below zero."""
        return not len(self) or int(self._parse([0])[0][self._label_key]) >= 0

    def read_labels(self) -> np.ndarray:
        """Reads the records, and decodes no image."""
        labels = np.empty(len(self), np.int32)
        for start in range(0, len(self), _RECORDS):
            some = range(start, min(start + _RECORDS, len(self)))
            labels[some.start : some.stop] = [one[self._label_key] for one in self._parse(some)]
        return labels

    def marks(self) -> np.ndarray:
        """Marks each image by its place in the split's files and by their names and sizes."""
        first = mark_of(self._split, self._files)
        with np.errstate(over="ignore"):
            return np.arange(len(self), dtype=np.uint64) + np.uint64(first)

    def _parse(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The features of the records at these indices, the images encoded."""
        try:
            # One request for all of them takes a third of the time of one for each.
            records = self._records.__getitems__(indices)
            if not all(records):  # what array_record gives for some truncated files
                raise ValueError("a record is empty")
            return [
                self._features.deserialize_example_np(record, decoders=self._decoders)
                for record in records
            ]
        except Exception as error:  # array_record raises RuntimeError, protobuf DecodeError, ...
            raise InputError(
                f"The {self._split} records in {self._folder} are damaged ({error}); prepare the "
                "set again, or copy it again."
            ) from error

    def _decode(self, index: int, example: dict[str, Any], frame: Frame | None) -> Example:
        name = f"Image {index} of {self._split} in {self._folder}"
        encoded, channels = example[self._image_key], self._image_shape[2]
        if self._decoding is None:
            image = decode_image(encoded, channels=channels, size=None, name=name)
        else:
            image = self._decoding.decode(encoded, name, frame, channels)
        if image.shape != self._image_shape:
            raise InputError(
                f"{name} has shape {list(image.shape)}, where the set declares "
                f"{list(self._image_shape)}; prepare the set again."
            )
        return Example(image, int(example[self._label_key]))
