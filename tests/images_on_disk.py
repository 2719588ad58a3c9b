"""The same made-up images in a folder and in tar shards."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


def encoded(generator: np.random.Generator, label: int, side: int = 12) -> bytes:
    """A JPEG of noise, of a colour that its class has."""
    pixels = generator.integers(0, 120, (side, side + 3, 3))
    pixels[..., label % 3] += 100
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def made(number: int, seed: int = 0) -> list[tuple[bytes, int]]:
    """Encoded images and their labels, as many of each class."""
    generator = np.random.default_rng(seed)
    return [(encoded(generator, label), label) for label in np.arange(number) % len(CLASSES)]


def write_folder(path: Path, splits: Mapping[str, Sequence[tuple[bytes, int]]]) -> None:
    """PATH/SPLIT/CLASS/NUMBER.jpg."""
    for split, images in splits.items():
        for number, (content, label) in enumerate(images):
            file = path / split / CLASSES[label] / f"{number:06d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def write_shards(
    path: Path,
    splits: Mapping[str, Sequence[tuple[bytes, int]]],
    of_shard: int = 10,
    as_json: bool = False,
) -> None:
    """PATH/SPLIT-NUMBER.tar, with so many images in each."""
    path.mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        for start in range(0, len(images), of_shard):
            members = []
            for number, (content, label) in enumerate(images[start : start + of_shard], start):
                text = json.dumps({"label": int(label)}) if as_json else str(label)
                members.append((f"{number:06d}.jpg", content))
                members.append((f"{number:06d}.{'json' if as_json else 'cls'}", text.encode()))
            write_tar(path / f"{split}-{start // of_shard:06d}.tar", members)


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar file of these names and contents."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
