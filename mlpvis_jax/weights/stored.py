"""What weights are once they are read, whichever file they come from."""

from typing import Any, NamedTuple


class StoredWeights(NamedTuple):
    """The content of a weights file, under this project's names and in its layouts.

    Attributes:
      params: nested dict of NumPy arrays, as a Classifier's "params".
      description: what is known of them, as JSON values. "format" is a key of FORMATS; "model" the
        model as a config's `model` has it: its preset's "name", its "image_size", other options;
        "class_names"; "normalization_mean" and "normalization_deviation" of the images, a number
        for each channel, in units of pixel values, 0 to 255. What is not known is missing.
    """

    params: dict[str, Any]
    description: dict[str, Any]
