"""Made-up JPEG files to read, as hard to decode as photographs, in a folder or in shards."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

_CLASSES = 10
_FALL = 1.05  # of the contrast from one scale to the next; files are then as large as ImageNet's
_DISTINCT = 256  # small images that shards repeat: what is in them does not matter there


def encoded(generator: np.random.Generator, height: int, width: int, quality: int = 90) -> bytes:
    """Makes a JPEG whose detail falls off with its scale as that of photographs does."""
    pixels = np.zeros((height, width, 3), np.float32)
    for octave in range(8):
        cells = 4 << octave
        coarse = generator.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        shape = (width, height)
        planes = [Image.fromarray(coarse[..., channel]) for channel in range(3)]
        resized = [plane.resize(shape, Image.Resampling.BICUBIC) for plane in planes]
        pixels += np.stack([np.asarray(plane) for plane in resized], axis=-1) / _FALL**octave
    stream = io.BytesIO()
    uint8 = (128 + 50 * pixels).clip(0, 255).astype(np.uint8)
    Image.fromarray(uint8).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write_folder(path: Path, number: int, height: int, width: int) -> str:
    """Writes so many images to train on, and one of each class to test; says what they are."""
    generator, size = np.random.default_rng(0), 0
    for index in range(number):
        content = encoded(generator, height, width)
        size += len(content)
        for split in ("train", "test") if index < _CLASSES else ("train",):
            file = path / split / f"class{index % _CLASSES}" / f"{index:06d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    mean = size / number / 1000
    return f"{number:,} made-up JPEGs of {width} x {height} pixels, {mean:.0f} KB each, quality 90"


def write_shards(path: Path, number: int, side: int, of_shard: int = 10_000) -> None:
    """Writes tar shards of so many small images to train on, and a few to test."""
    path.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    distinct = [encoded(generator, side, side) for _ in range(_DISTINCT)]
    for split, images in (("train", number), ("test", 10 * _CLASSES)):
        for start in range(0, images, of_shard):
            with tarfile.open(path / f"{split}-{start // of_shard:06d}.tar", "w") as tar:
                for index in range(start, min(start + of_shard, images)):
                    _add(tar, f"{index:08d}.jpg", distinct[index % _DISTINCT])
                    _add(tar, f"{index:08d}.cls", str(index % _CLASSES).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
