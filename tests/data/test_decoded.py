import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpvis_jax.data import Example, Examples, Source, decode
from mlpvis_jax.data.examples import ArrayExamples
from mlpvis_jax.errors import InputError

COUNT = 300


class Counted(Examples):
    """Images [2, 3, 1] that tell their index, and count how often they were decoded."""

    def __init__(self, count: int = COUNT, threads: bool = True):
        self.count = count
        self.decode_in_threads = threads
        self.decoded = 0
        self.wrong_label: dict[int, int] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        self.decoded += 1
        image = np.full((2, 3, 1), index % 256, np.uint8)
        return Example(image, self.wrong_label.get(index, index % 7))


def source_of(train: Examples, name: str = "folder:/a b/c") -> Source:
    return Source(
        name=name,
        class_names=tuple("abcdefg"),
        image_shape=(2, 3, 1),
        train=train,
        test=Counted(5),
        split_names={"train": "train", "test": "test"},
        fingerprint="0123abcd",
    )


def check(images: np.ndarray, labels: np.ndarray) -> None:
    assert images.shape == (COUNT, 2, 3, 1) and images.dtype == np.uint8
    assert labels.shape == (COUNT,) and labels.dtype == np.int32
    assert (images == (np.arange(COUNT) % 256)[:, None, None, None]).all()
    assert (labels == np.arange(COUNT) % 7).all()


@pytest.mark.parametrize("threads", [False, True])
def test_all_images_in_order_without_a_cache(threads: bool) -> None:
    check(*decode(source_of(Counted(threads=threads)), "train", cache_dir=None))


def test_the_second_time_they_are_mapped_from_the_cache(tmp_path: Path) -> None:
    source = source_of(Counted())
    cache = tmp_path / "not" / "yet"
    for _ in range(3):
        images, labels = decode(source, "train", cache_dir=cache)
        check(images, labels)
        assert isinstance(images, np.memmap) and not images.flags.writeable
    assert source.train.decoded == COUNT
    assert [entry.name for entry in cache.iterdir()] == ["folder-a-b-c-0123abcd"]
    assert [entry.name for entry in (cache / "folder-a-b-c-0123abcd").iterdir()] == ["train"]
    assert len(decode(source, "test", cache_dir=cache)[0]) == 5
    check(*decode(source, "train", cache_dir=cache))


def test_another_fingerprint_is_another_entry(tmp_path: Path) -> None:
    decode(source_of(Counted()), "train", cache_dir=tmp_path)
    changed = dataclasses.replace(source_of(Counted()), fingerprint="other")
    decode(changed, "train", cache_dir=tmp_path)
    assert changed.train.decoded == COUNT


def test_a_failed_decoding_leaves_nothing(tmp_path: Path) -> None:
    source = source_of(Counted())
    source.train.wrong_label = {200: 7}
    with pytest.raises(InputError):
        decode(source, "train", cache_dir=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    source.train.wrong_label = {}
    check(*decode(source, "train", cache_dir=tmp_path))


def test_an_entry_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    class Watching(Counted):
        def __getitem__(self, index: int) -> Example:
            assert list(tmp_path.rglob("train")) in ([], [unfinished()])
            return super().__getitem__(index)

    def unfinished() -> Path:
        return next(path for path in tmp_path.rglob("train") if ".train-" in str(path.parent))

    check(*decode(source_of(Watching()), "train", cache_dir=tmp_path))


def test_another_process_may_finish_first(tmp_path: Path) -> None:
    class Raced(Counted):
        def __getitem__(self, index: int) -> Example:
            if index == COUNT - 1:
                check(*decode(source_of(Counted()), "train", cache_dir=tmp_path))
            return super().__getitem__(index)

    check(*decode(source_of(Raced()), "train", cache_dir=tmp_path))
    again = source_of(Counted())
    check(*decode(again, "train", cache_dir=tmp_path))
    assert again.train.decoded == 0


def truncate_images(entry: Path) -> None:
    content = (entry / "images.npy").read_bytes()
    (entry / "images.npy").write_bytes(content[:-1])


def empty_images(entry: Path) -> None:
    (entry / "images.npy").write_bytes(b"")


def truncate_labels(entry: Path) -> None:
    content = (entry / "labels.npy").read_bytes()
    (entry / "labels.npy").write_bytes(content[:-1])


def remove_labels(entry: Path) -> None:
    (entry / "labels.npy").unlink()


def other_shape(entry: Path) -> None:
    np.save(entry / "images.npy", np.zeros((COUNT, 3, 2, 1), np.uint8))


def other_dtype(entry: Path) -> None:
    np.save(entry / "images.npy", np.zeros((COUNT, 2, 3, 1), np.int8))


def labels_outside(entry: Path) -> None:
    np.save(entry / "labels.npy", np.full(COUNT, 7, np.int32))


class RunsCode:
    """Makes a file next to the entry when it is unpickled."""

    def __init__(self, entry: Path):
        self.entry = entry

    def __reduce__(self) -> Any:
        return Path.touch, (self.entry.parent / "code ran",)


def pickled_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.array([RunsCode(entry)] * COUNT), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [
        truncate_images,
        empty_images,
        truncate_labels,
        remove_labels,
        other_shape,
        other_dtype,
        labels_outside,
        pickled_labels,
    ],
)
def test_a_damaged_entry_is_decoded_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    decode(source_of(Counted()), "train", cache_dir=tmp_path)
    damage(tmp_path / "folder-a-b-c-0123abcd" / "train")
    source = source_of(Counted())
    check(*decode(source, "train", cache_dir=tmp_path))
    check(*decode(source, "train", cache_dir=tmp_path))
    assert source.train.decoded == COUNT
    assert list(tmp_path.rglob("code ran")) == []


def test_arrays_are_not_copied_to_the_cache(tmp_path: Path) -> None:
    images = np.zeros((4, 2, 3, 1), np.uint8)
    source = source_of(ArrayExamples(images, np.arange(4)))
    assert decode(source, "train", cache_dir=tmp_path)[0] is images
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    # A file where a folder should be: it fails for root too, unlike a missing permission.
    for folder in (file, file / "cache"):
        with pytest.raises(InputError, match=re.escape(f"The cache folder {folder} cannot be")):
            decode(source_of(Counted()), "train", cache_dir=folder)


def test_a_cache_without_room(tmp_path: Path) -> None:
    class Huge(Counted):
        def __getitem__(self, index: int) -> Example:
            raise AssertionError("decoded, though there is no room")

    with pytest.raises(InputError, match=re.escape(str(tmp_path)) + r".* GB are needed"):
        decode(source_of(Huge(10**15)), "train", cache_dir=tmp_path)


def test_an_empty_split() -> None:
    with pytest.raises(InputError, match="train part of folder:/a b/c is empty"):
        decode(source_of(Counted(0)), "train", cache_dir=None)


@pytest.mark.parametrize("label", [7, -1, 2**40])
def test_a_label_outside_the_classes_is_named(label: int) -> None:
    source = source_of(Counted())
    source.train.wrong_label = {130: label}
    message = f"Label {label} of image 130 in the train part of folder:/a b/c .* 0 to 6"
    with pytest.raises(InputError, match=message):
        decode(source, "train", cache_dir=None)
    labels = np.array([0, 6, 0, label if label < 2**31 else 9])
    arrays = ArrayExamples(np.zeros((4, 2, 3, 1), np.uint8), labels)
    with pytest.raises(InputError, match="of image 3 in the train part"):
        decode(source_of(arrays), "train", cache_dir=None)
