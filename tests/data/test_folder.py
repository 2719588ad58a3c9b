import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.data import Source, decode, open_source
from mlpvis_jax.errors import InputError


def put(path: Path, value: int = 0, shape: tuple[int, ...] = (4, 4, 3)) -> None:
    """An image of one grey at `path`, encoded as its extension says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def open_it(path: Path, image_size: int = 8) -> Source:
    return open_source(f"folder:{path}", image_size=image_size)


def test_train_and_test_folders(tmp_path: Path) -> None:
    put(tmp_path / "train/dog/1.png", 10)
    put(tmp_path / "train/cat/2.PNG", 20, (30, 11, 3))
    put(tmp_path / "train/cat/1.JPG", 30, (5, 50))
    put(tmp_path / "train/cat/more/0.jpeg", 40)
    put(tmp_path / "train/ant/1.webp", 50)
    put(tmp_path / "test/dog/1.png", 60)  # and no folder for the others, which is fine
    put(tmp_path / "other/cat/1.png", 70)
    source = open_it(tmp_path)
    assert source.class_names == ("ant", "cat", "dog")
    assert source.image_shape == (8, 8, 3)
    assert source.split_names == {"train": "train", "test": "test"}
    images, labels = decode(source, "train", cache_dir=None)
    assert images.shape == (5, 8, 8, 3)
    assert abs(images.mean(axis=(1, 2, 3)) - [50, 30, 20, 40, 10]).max() <= 2
    assert labels.tolist() == [0, 1, 1, 1, 2]
    images, labels = decode(source, "test", cache_dir=None)
    assert (images == 60).all() and labels.tolist() == [2]


@pytest.mark.parametrize("name", ["validation", "val"])
def test_a_folder_of_images_that_validate(tmp_path: Path, name: str) -> None:
    put(tmp_path / "train/cat/1.png", 10)
    put(tmp_path / "train/dog/1.png", 20)
    put(tmp_path / "test/cat/1.png", 30)
    put(tmp_path / name / "dog/1.png", 40)
    source = open_it(tmp_path)
    assert source.split_names == {"train": "train", "test": "test", "validation": name}
    images, labels = decode(source, "validation", cache_dir=None)
    assert (images == 40).all() and labels.tolist() == [1]


def test_kinds_of_images(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for value, kind in enumerate(("bmp", "GIF", "jpeg", "jpg", "png", "webp")):
            put(tmp_path / part / f"cat/{value}.{kind}", 10 * value)
    (tmp_path / "train/cat/3.jpg").rename(tmp_path / "train/cat/3.jfif")
    images, _ = decode(open_it(tmp_path), "train", cache_dir=None)
    assert abs(images.mean(axis=(1, 2, 3)) - [0, 10, 20, 30, 40, 50]).max() <= 2


def test_the_split_by_hash_is_the_documented_one(tmp_path: Path) -> None:
    names = [f"{label}/{number:02}.png" for label in ("a", "b") for number in range(30)]
    for value, name in enumerate(names):
        put(tmp_path / name, value)
    source = open_it(tmp_path)
    expected: dict[str, list[int]] = {"train": [], "test": []}
    for value, name in enumerate(names):
        number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        expected["test" if number % 5 == 0 else "train"].append(value)
    assert 5 <= len(expected["test"]) <= 20
    for split, values in expected.items():
        images, labels = decode(source, split, cache_dir=None)
        assert images[:, 0, 0, 0].tolist() == values
        assert labels.tolist() == [value // 30 for value in values]


def test_hidden_files_and_other_files_are_ignored(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(tmp_path / part / "cat/1.png")
        (tmp_path / part / "cat/notes.txt").write_text("about cats")
        (tmp_path / part / "cat/.DS_Store").write_text("?")
        put(tmp_path / part / "cat/._1.png")
        put(tmp_path / part / ".thumbnails/1.png")
        put(tmp_path / part / "cat/.thumbnails/1.png")
        put(tmp_path / part / "loose.png")
    source = open_it(tmp_path)
    assert source.class_names == ("cat",)
    assert len(source.train) == len(source.test) == 1


def nothing(path: Path) -> None:
    pass


def a_file(path: Path) -> None:
    path.write_text("")


def an_empty_folder(path: Path) -> None:
    path.mkdir()


def loose_images(path: Path) -> None:
    put(path / "1.png")


def a_class_without_images(path: Path) -> None:
    put(path / "train/cat/1.png")
    put(path / "test/cat/1.png")
    (path / "train/dog").mkdir()
    (path / "train/dog/notes.txt").write_text("")


def an_unknown_class_to_test(path: Path) -> None:
    put(path / "train/cat/1.png")
    put(path / "test/cow/1.png")


def no_test_folder(path: Path) -> None:
    put(path / "train/cat/1.png")


def no_train_folder(path: Path) -> None:
    put(path / "test/cat/1.png")


def a_class_only_to_test(path: Path) -> None:
    put(path / "cat/1.png")
    put(path / "cat/2.png")
    number = 0
    while int(hashlib.sha256(f"dog/{number}.png".encode()).hexdigest(), 16) % 5:
        number += 1
    put(path / f"dog/{number}.png")


def split_folders(*names: str) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        for name in names:
            put(path / name / "cat/1.png")

    return build


def another_kind_of_image(path: Path) -> None:
    put(path / "cat/1.png")
    put(path / "cat/more/2.tif")


def linked(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """A class folder, in which `make` is to make `link.png`."""

    def build(path: Path) -> None:
        put(path / "cat/1.png")
        make(path / "cat/link.png")

    return build


def a_socket(path: Path) -> None:
    # A socket's path is short, so it is one of the folder it is in.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)


def a_dangling_class(path: Path) -> None:
    put(path / "cat/1.png")
    (path / "dog").symlink_to("nowhere")


def a_folder_above(path: Path) -> None:
    put(path / "cat/1.png")
    (path / "cat/more").symlink_to("..")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (split_folders("Train", "Test"), "PATH/Test is no class, as it seems; name the folders of"),
        (split_folders("train", "test", "Val"), "PATH/Val is no class, as it seems"),
        (split_folders("training", "testing"), "PATH/testing is no class, as it seems"),
        (split_folders("train", "val"), "PATH has a folder 'train' but no folder 'test';"),
        (split_folders("cat", "val"), "PATH has a folder 'val' but no folder 'train';"),
        (split_folders("train", "test", "val", "validation"), "PATH has a folder 'validation' and"),
        (another_kind_of_image, "PATH/cat/more/2.tif is of a kind of images that is not decoded"),
        (linked(os.mkfifo), "PATH/cat/link.png is not a file, but a pipe or a device;"),
        (linked(a_socket), "PATH/cat/link.png is not a file, but a pipe or a device;"),
        (linked(lambda link: link.symlink_to("/dev/zero")), "PATH/cat/link.png is not a file, but"),
        (
            linked(lambda link: link.symlink_to("nowhere")),
            "PATH/cat/link.png is a link that cannot be followed (No such file or directory);",
        ),
        (
            linked(lambda link: link.symlink_to("link.png")),
            "PATH/cat/link.png is a link that cannot be followed (Too many levels",
        ),
        (a_dangling_class, "PATH/dog is a link that cannot be followed (No such file"),
        (a_folder_above, "PATH/cat/more is a link to a folder, which is not followed;"),
        (nothing, "There is no folder PATH;"),
        (a_file, "PATH is not a folder;"),
        (an_empty_folder, "PATH has no folders;"),
        (loose_images, "PATH has no folders;"),
        (a_class_without_images, "PATH/train/dog has no images"),
        (an_unknown_class_to_test, "PATH/test/cow: the class 'cow' is not in PATH/train;"),
        (no_test_folder, "PATH has a folder 'train' but no folder 'test';"),
        (no_train_folder, "PATH has a folder 'test' but no folder 'train';"),
        (a_class_only_to_test, "PATH/dog has so few images"),
    ],
)
def test_folders_that_cannot_be_used(
    tmp_path: Path, build: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "set"
    build(path)
    with pytest.raises(InputError, match="^" + re.escape(message.replace("PATH", str(path)))):
        open_it(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n and no more", None])
def test_an_unreadable_image_is_named_and_not_skipped(
    tmp_path: Path, content: bytes | None
) -> None:
    for part in ("train", "test"):
        for number in range(100):
            put(tmp_path / part / f"cat/{number:02}.png")
    broken = tmp_path / "train/cat/77.png"
    if content is None:
        content = broken.read_bytes()[:-30]
    broken.write_bytes(content)
    source = open_it(tmp_path)
    with pytest.raises(InputError, match=re.escape(f"{broken} cannot be decoded")):
        decode(source, "train", cache_dir=None)
    decode(source, "test", cache_dir=None)
    broken.unlink()
    with pytest.raises(InputError, match=re.escape(f"{broken} cannot be read")):
        decode(source, "train", cache_dir=None)


def test_the_fingerprint_changes_with_what_matters(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(tmp_path / part / "cat/1.png", 1)
    first = open_it(tmp_path).fingerprint
    assert open_it(tmp_path).fingerprint == first
    assert open_it(tmp_path, image_size=9).fingerprint != first
    file = tmp_path / "train/cat/1.png"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = open_it(tmp_path).fingerprint
    assert second != first
    file.rename(file.with_name("2.png"))
    assert open_it(tmp_path).fingerprint not in (first, second)


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    for part in ("train", "test"):
        put(tmp_path / "home/pets" / part / "cat/1.png")
    assert len(open_source("folder:~/pets", image_size=8).train) == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 200)
    with pytest.raises(InputError, match="is no path: File name too long"):
        open_it(long)
    with pytest.raises(InputError, match="config.data.source is '~nosuchuser/x', which is no path"):
        open_source("folder:~nosuchuser/x", image_size=8)
    with pytest.raises(InputError, match="There is no data source"):
        open_source("~nosuchuser/x", image_size=8)
    with pytest.raises(InputError, match="There is no data source"):
        open_source(str(long), image_size=8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_must_not_be_read_is_said(tmp_path: Path) -> None:
    put(tmp_path / "set/cat/1.png")
    for closed in (tmp_path / "set/cat", tmp_path / "set", tmp_path):
        closed.chmod(0)
        try:
            with pytest.raises(InputError, match="Permission denied"):
                open_it(tmp_path / "set")
        finally:
            closed.chmod(0o700)
