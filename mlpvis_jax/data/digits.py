"""`digits`: the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""

import numpy as np

from mlpvis_jax.data.examples import ArrayExamples, Source, fingerprint_of

# Every fifth image, from the fifth on, is for testing.
_EVERY = 5


def open_digits(name: str) -> Source:
    """Opens the digits, uint8 [8, 8, 1], in their order: 1,438 to train on and 359 to test on.

    The grey values 0 to 16 become round(value * 255 / 16). The image at `index` is for testing
    where index % 5 == 4.
    """
    from sklearn import datasets  # takes a second to import, and only this source needs it

    bunch = datasets.load_digits()
    images = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int32)
    is_test = np.arange(len(images)) % _EVERY == _EVERY - 1
    return Source(
        name=name,
        class_names=tuple(str(digit) for digit in range(10)),
        image_shape=(8, 8, 1),
        train=ArrayExamples(images[~is_test], labels[~is_test]),
        test=ArrayExamples(images[is_test], labels[is_test]),
        split_names={"train": "index % 5 != 4", "test": "index % 5 == 4"},
        fingerprint=fingerprint_of("digits", images.tobytes()),
        default_validation="last:0.1",
    )
