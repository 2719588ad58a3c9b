"""How the images of a set, which may have any proportions, are decoded to one size."""

from typing import NamedTuple

import numpy as np

from mlpvis_jax.data.framing import FRAMES, Frame
from mlpvis_jax.data.images import decode_image


class Decoding(NamedTuple):
    """Says how images that differ in size are decoded to one size.

    Attributes:
      size: height and width of an image once it is decoded, pixels.
      framing: a name of `framing.FRAMES`.
      reduced_jpeg: whether JPEGs to train on that are much larger are decoded at a reduced scale.
    """

    size: int
    framing: str = "stretch"
    reduced_jpeg: bool = False

    @property
    def frame(self) -> Frame:
        """Gives the frame, which says what part of an image is decoded."""
        return FRAMES[self.framing]

    @property
    def exact(self) -> "Decoding":
        """Gives the decoding of images that validate or test: every pixel of a file is read."""
        return self._replace(reduced_jpeg=False)

    @property
    def mark(self) -> tuple[str, ...]:
        """Gives what the decoding adds to a fingerprint: nothing by default, as in older ones."""
        framed = () if self.framing == "stretch" else (self.framing,)
        return (*framed, "reduced_jpeg") if self.reduced_jpeg else framed

    def decode(
        self, encoded: bytes, name: str, frame: Frame | None = None, channels: int = 3
    ) -> np.ndarray:
        """Decodes an image to uint8 [size, size, channels]; see `images.decode_image`.

        Args:
          encoded: the bytes of its file.
          name: of the image, for messages.
          frame: what is taken of it; None: what this decoding says.
          channels: 1, 3 or 4.

        Raises:
          InputError: the image cannot be decoded.
        """
        return decode_image(
            encoded,
            channels=channels,
            size=self.size,
            name=name,
            frame=frame or self.frame,
            reduced=self.reduced_jpeg,
        )
