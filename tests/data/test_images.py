import io

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.data.images import decode_image
from mlpvis_jax.errors import InputError


def encode(image: np.ndarray, format: str = "PNG") -> bytes:
    """`image`, [h, w] or [h, w, c] (c 1, 3 or 4), as the bytes of an image file."""
    squeezed = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    file = io.BytesIO()
    Image.fromarray(squeezed).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_stay_as_they_are_without_a_size(random: np.random.Generator, channels: int) -> None:
    image = random.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    decoded = decode_image(encode(image), channels=channels, size=None, name="it")
    np.testing.assert_array_equal(decoded, image)
    assert decoded.dtype == np.uint8


def test_resizing_averages_over_what_it_drops() -> None:
    # Stripes a pixel wide: sampling without averaging would give black or white.
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    decoded = decode_image(encode(stripes), channels=3, size=8, name="it")
    assert decoded.shape == (8, 8, 3)
    assert abs(decoded.astype(int) - 127).max() < 20


def test_exif_orientation_is_honoured_where_images_are_resized() -> None:
    left_red = np.zeros((8, 8, 3), np.uint8)
    left_red[:, :4, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    file = io.BytesIO()
    Image.fromarray(left_red).save(file, "PNG", exif=exif)
    turned = decode_image(file.getvalue(), channels=3, size=8, name="it")
    np.testing.assert_array_equal(turned, np.rot90(left_red, k=-1))
    stored = decode_image(file.getvalue(), channels=3, size=None, name="it")
    np.testing.assert_array_equal(stored, left_red)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    decoded = decode_image(file.getvalue(), channels=3, size=4, name="it")
    np.testing.assert_array_equal(decoded, np.full((4, 4, 3), 255, np.uint8))


def test_16_bit_grey_is_scaled_and_not_cut_off() -> None:
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    decoded = decode_image(encode(grey), channels=1, size=None, name="it")
    np.testing.assert_array_equal(decoded[..., 0], [[0, 1, 128, 255]])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused_by_name(random: np.random.Generator, format: str) -> None:
    encoded = encode(random.integers(0, 256, (64, 64, 3), dtype=np.uint8), format)
    decode_image(encoded, channels=3, size=8, name="it")
    for length in (0, 10, len(encoded) // 2):
        with pytest.raises(InputError, match=r"pets/cat\.png cannot be decoded"):
            decode_image(encoded[:length], channels=3, size=8, name="pets/cat.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("factor", [1.5, 5])
def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    bomb = encode(np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(100 * 100 / factor))
    with pytest.raises(InputError, match=r"bomb\.png has .* smaller"):
        decode_image(bomb, channels=3, size=8, name="bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    decode_image(bomb, channels=3, size=8, name="bomb.png")


def test_formats_that_no_image_set_uses_are_not_tried() -> None:
    with pytest.raises(InputError, match="it cannot be decoded"):
        decode_image(encode(np.zeros((4, 4, 3), np.uint8), "TIFF"), channels=3, size=8, name="it")
