"""From image files and arrays to pixels of the one shape that a classifier was trained on."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpvis_jax.data.framing import FRAMES, Frame, whole
from mlpvis_jax.data.images import DECODED_CHANNELS, decode_image, resize_image
from mlpvis_jax.errors import InputError

Shape = tuple[int, int, int]  # height, width, channels
# A path, the paths of several files, arrays [h, w, c] or [h, w], or one array [n, h, w, c].
Images = str | os.PathLike | np.ndarray | Iterable[str | os.PathLike | np.ndarray]


class Image(NamedTuple):
    """One image that has not been read yet.

    Attributes:
      name: its path; of an array, such as "images[3]".
      read: gives its pixels, uint8 of the shape that was asked for.
    """

    name: str
    read: Callable[[], np.ndarray]


def list_images(images: Images, shape: Shape, frame: Frame = whole) -> list[Image]:
    """Lists images to be read at `shape`; files are looked for, and decoded when they are read.

    A file is turned upright as its EXIF orientation says, and brought to the channels of `shape`,
    as `data.images.decode_image` does it. Arrays must have these channels. Where height or width
    are others, what `frame` takes of the image is resized, as image files are in training.

    Args:
      images: see `Images`; arrays are uint8.
      shape: of the images that the classifier was trained on.
      frame: what it is shown of an image of any proportions; see `frame_of`.

    Raises:
      InputError: no image, a file that is missing, an array of another type or number of channels.
        Whoever reads a file that cannot be decoded gets one, too.
    """
    if isinstance(images, str | os.PathLike):
        images = [images]
    elif _is_array(images):
        images = np.asarray(images)
        if images.ndim != 4:
            raise InputError(
                f"images has shape {list(images.shape)}; an array must be [number, height, width, "
                "channels]. Give images[None] for one image, and images[..., None] for grey ones."
            )
    if not isinstance(images, Iterable):
        raise InputError(f"images is a {type(images).__name__}; give paths, or uint8 arrays.")
    found = [_image(index, image, shape, frame) for index, image in enumerate(images)]
    if not found:
        raise InputError("images is empty; give one image or more.")
    return found


def frame_of(description: Mapping[str, Any]) -> Frame:
    """Reads from the description beside weights how images were framed; older ones do not say it.

    Raises:
      InputError: there is no such framing.
    """
    framing = description.get("framing", "stretch")
    if framing not in FRAMES:
        raise InputError(
            f"The weights were trained with images framed as {framing!r}, which this version does "
            f"not know; it knows {', '.join(FRAMES)}."
        )
    return FRAMES[framing]


def _image(index: int, image: Any, shape: Shape, frame: Frame) -> Image:
    if isinstance(image, str | os.PathLike):
        return _file(Path(image), shape, frame)
    name = f"images[{index}]"
    if not _is_array(image):
        raise InputError(
            f"{name} is a {type(image).__name__}; give paths, or uint8 arrays [height, width, "
            "channels]."
        )
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{name} is of type {pixels.dtype}; pixels are given as uint8, from 0 to 255, and are "
            "scaled as in training. If yours go from 0 to 1, give "
            "(255 * images).round().astype('uint8')."
        )
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] != shape[-1] or 0 in pixels.shape:
        raise InputError(
            f"{name} has shape {list(image.shape)}; the classifier was trained on images of "
            f"{shape[-1]} channel{'s' * (shape[-1] > 1)}: [height, width, {shape[-1]}]."
        )
    if pixels.shape != shape:
        _check_channels(name, shape)
    return Image(name, lambda: _resized(pixels, shape, frame))


def _resized(pixels: np.ndarray, shape: Shape, frame: Frame) -> np.ndarray:
    return pixels if pixels.shape == shape else resize_image(pixels, shape[:2], frame)


def _file(path: Path, shape: Shape, frame: Frame) -> Image:
    if not os.path.isfile(path):  # Path.is_file raises where the path is too long
        kind = "a folder" if os.path.isdir(path) else "no file"
        raise InputError(f"{path} is {kind}; give the path of an image file.")
    _check_channels(str(path), shape)
    height, width, channels = shape

    def read() -> np.ndarray:
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from error
        size = height, width
        return decode_image(encoded, channels=channels, size=size, name=str(path), frame=frame)

    return Image(str(path), read)


def _check_channels(name: str, shape: Shape) -> None:
    if shape[-1] not in DECODED_CHANNELS:
        raise InputError(
            f"{name} cannot be brought to the {shape[-1]} channels that the classifier was trained "
            f"on; give uint8 arrays of shape {list(shape)}."
        )


def _is_array(images: Any) -> bool:
    return hasattr(images, "__array__") and hasattr(images, "shape")
