"""One encoded image, from its bytes to the pixels a model is given."""

import io
import warnings

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from mlpvis_jax.data.framing import Frame, whole
from mlpvis_jax.errors import InputError

# The only decoders that Pillow may try: what image sets are made of, and nothing exotic.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# What turns an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = [_TURNS[orientation] for orientation in (5, 6, 7, 8)]  # height becomes width
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DECODED_CHANNELS = tuple(_MODES)
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp")
# Images as well, but of kinds that are not decoded; to ignore them would be to lose them.
NOT_DECODED = (
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".ico", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".raw", ".psd", ".exr", ".dcm"),
)

# Pillow warns about images that are suspiciously large and raises for those twice as large.
# Both are refused below by their size; a warning filter is process-wide, so it is set once.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# That transparent pixels get the colour that their palette says, which is what is wanted.
warnings.filterwarnings("ignore", message="Palette images with Transparency")
# Of damaged EXIF, which turns no image; the warning does not say of which image it is.
warnings.filterwarnings("ignore", message="Corrupt EXIF data")


def decode_image(
    encoded: bytes,
    *,
    channels: int,
    size: int | tuple[int, int] | None,
    name: str,
    frame: Frame = whole,
    reduced: bool = False,
) -> np.ndarray:
    """Decodes a PNG, JPEG, WebP, GIF (first frame) or BMP: uint8 [height, width, channels].

    With `size`, the image is turned upright as its EXIF orientation says, and what `frame` takes of
    it is resized to `size` x `size`, or to (height, width): see `resize_image`. Without, the pixels
    stay as they are stored.
    16-bit grey is brought to 8; an alpha channel is dropped unless `channels` is 4.
    `reduced` lets a JPEG that is at least twice as large as is needed be decoded at a half, a
    quarter or an eighth of its height and width, which takes less time and gives slightly other
    pixels.

    Raises InputError, with `name` for the culprit, if the image cannot be decoded or is so
    large that decoding it might exhaust the memory.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
            pixels = opened.width * opened.height
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and pixels > limit:
                raise InputError(
                    f"{name} has {opened.width}x{opened.height} pixels; at most {limit} in all "
                    "are decoded, so make it smaller."
                )
            array = np.array(_read(opened, _MODES[channels], size, frame, reduced))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name} has too many pixels to be decoded safely; make it smaller."
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        # Of a file without a picture Pillow tells no more than the object that it was given.
        is_none = isinstance(error, UnidentifiedImageError)
        reason = "its content is that of no picture" if is_none else error
        raise InputError(
            f"{name} cannot be decoded as an image ({reason}); replace it or take it out."
        ) from error
    return array.reshape(array.shape[0], array.shape[1], channels)


def _read(
    image: Image.Image,
    mode: str,
    size: int | tuple[int, int] | None,
    frame: Frame,
    reduced: bool,
) -> Image.Image:
    """What `decode_image` gives of an opened image."""
    if size is None:
        return _in_mode(image, mode)
    size = (size, size) if isinstance(size, int) else size
    if reduced and isinstance(image, JpegImageFile):
        _reduce(image, size, frame)
    image.load()  # of a PNG, what says the orientation may follow the pixels
    turn = _turn_of(image)
    return _resized(_in_mode(image if turn is None else image.transpose(turn), mode), size, frame)


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns `image` upright; None where its EXIF says nothing, or is damaged.

    `ImageOps.exif_transpose` would raise then, though the pixels are whole.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF
        return None


def _reduce(image: JpegImageFile, size: tuple[int, int], frame: Frame) -> None:
    """Asks a JPEG's decoder for its smallest scale at which what `frame` takes fills `size`."""
    is_turned = _turn_of(image) in _QUARTER_TURNS
    left, top, right, bottom = frame(*(image.size[::-1] if is_turned else image.size))
    larger = min((right - left) / size[1], (bottom - top) / size[0])
    for scale in (8, 4, 2):
        if larger >= scale:
            # The decoder takes the least of its scales that is not below the size it is asked for.
            image.draft(None, (image.width // scale, image.height // scale))
            return


def resize_image(pixels: np.ndarray, size: tuple[int, int], frame: Frame = whole) -> np.ndarray:
    """Resizes what `frame` takes of uint8 [h, w, channels] to [height, width, channels].

    There are 1, 3 or 4 channels. It is what `decode_image` does with the pixels of a file: Pillow's
    bilinear filter, which averages over every source pixel when it shrinks. All of an image that
    has this size stays as it is.
    """
    channels = pixels.shape[-1]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return np.array(_resized(image, size, frame)).reshape(*size, channels)


def _resized(image: Image.Image, size: tuple[int, int], frame: Frame) -> Image.Image:
    """What `frame` takes of `image`, with this height and width."""
    height, width = size
    box = frame(image.width, image.height)
    if box == (0, 0, width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR, box)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` in the 8-bit `mode`. Pillow alone would cut 16-bit grey off at 255."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64) // 257
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)
