import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mlpvis_jax.data.framing import Box
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


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    """A smooth photograph, as it were: a JPEG with an EXIF orientation."""
    waves = np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))
    pixels = np.stack([waves, -waves, waves**2], axis=-1) * 100 + 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def at_scale(encoded: bytes, scale: int, size: int) -> np.ndarray:
    """What Pillow gives of a JPEG that its decoder reads at 1/scale, resized."""
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft(None, (image.width // scale, image.height // scale))
        upright = ImageOps.exif_transpose(image)
        return np.array(upright.resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("width", "height", "orientation", "scale"),
    [(127, 400, 1, 1), (400, 128, 1, 2), (300, 257, 1, 4), (513, 700, 6, 8), (1100, 1000, 1, 8)],
)
def test_a_large_jpeg_is_decoded_at_a_reduced_scale(
    width: int, height: int, orientation: int, scale: int
) -> None:
    encoded = jpeg(width, height, orientation)
    reduced = decode_image(encoded, channels=3, size=64, name="it", reduced=True)
    np.testing.assert_array_equal(reduced, at_scale(encoded, scale, 64))
    whole = decode_image(encoded, channels=3, size=64, name="it").astype(int)
    assert np.abs(reduced - whole).mean() < 4  # about the same picture, turned the same way
    assert (scale == 1) == np.array_equal(reduced, whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_orientation_turns_as_pillow_turns(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3) * 4
    Image.fromarray(pixels).save(file, kind, exif=exif)
    with Image.open(file) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    size = upright.shape[:2]
    decoded = decode_image(file.getvalue(), channels=3, size=size, name="it")
    np.testing.assert_array_equal(decoded, upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, when it looks for the DPI
@pytest.mark.parametrize("damage", [b"MM\0\x2a", b"neither"])
def test_damaged_exif_says_nothing_and_the_pixels_are_read(damage: bytes) -> None:
    encoded = jpeg(200, 300, 6)
    before, header, after = encoded.partition(b"Exif\0\0")
    damaged = before + header + damage.ljust(8, b"?") + after[8:]
    assert damaged != encoded and len(damaged) == len(encoded)
    for reduced in (False, True):
        found = decode_image(damaged, channels=3, size=64, name="it", reduced=reduced)
        upright = decode_image(jpeg(200, 300, 1), channels=3, size=64, name="it", reduced=reduced)
        np.testing.assert_array_equal(found, upright)


def test_an_orientation_that_is_no_number_is_none() -> None:
    encoded = jpeg(200, 300, 6)
    short, ascii_ = (b"\x01\x12\x00" + bytes([kind]) for kind in (3, 2))  # types of TIFF
    assert encoded.count(short) == 1
    encoded = encoded.replace(short, ascii_)
    found = decode_image(encoded, channels=3, size=64, name="it", reduced=True)
    upright = decode_image(jpeg(200, 300, 1), channels=3, size=64, name="it", reduced=True)
    np.testing.assert_array_equal(found, upright)


def test_what_a_frame_takes_is_never_decoded_below_the_size() -> None:
    def left_third(width: int, height: int) -> Box:
        return 0.0, 0.0, width / 3, float(height)

    def upper_third(width: int, height: int) -> Box:
        return 0.0, 0.0, float(width), height / 3

    encoded = jpeg(600, 400)
    for frame, size, scale in ((left_third, 64, 2), (upper_third, 64, 2), (left_third, 128, 1)):
        reduced = decode_image(encoded, channels=3, size=size, name="it", frame=frame, reduced=True)
        with Image.open(io.BytesIO(encoded)) as image:
            image.draft(None, (600 // scale, 400 // scale))
            assert image.size == (600 // scale, 400 // scale)
            box = frame(*image.size)
            expected = image.resize((size, size), Image.Resampling.BILINEAR, box)
        np.testing.assert_array_equal(reduced, np.array(expected))
    # A camera that was held upright: what is left in the picture is above in the file.
    turned = jpeg(400, 600, orientation=6)
    reduced = decode_image(
        turned, channels=3, size=64, name="it", frame=left_third, reduced=True
    ).astype(int)
    whole = decode_image(turned, channels=3, size=64, name="it", frame=left_third)
    assert 0 < np.abs(reduced - whole).mean() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_jpeg_can_be_reduced(mode: str) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg(200, 200))).convert(mode).save(file, "JPEG", quality=95)
    for channels in (1, 3):
        reduced = decode_image(file.getvalue(), channels=channels, size=50, name="", reduced=True)
        whole = decode_image(file.getvalue(), channels=channels, size=50, name="").astype(int)
        assert np.abs(reduced - whole).mean() < 4
    with pytest.raises(InputError, match="truncated"):
        decode_image(file.getvalue()[:-500], channels=3, size=50, name="it", reduced=True)


def test_only_a_jpeg_is_reduced(random: np.random.Generator) -> None:
    encoded = encode(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = decode_image(encoded, channels=3, size=8, name="it")
    reduced = decode_image(encoded, channels=3, size=8, name="it", reduced=True)
    np.testing.assert_array_equal(reduced, whole)
