import dataclasses
import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
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
    names = sorted(path.name for path in (cache / "folder-a-b-c-0123abcd").iterdir())
    assert names == [".train.lock", "train"]
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
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".train.lock"]
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


def test_one_of_two_decodes_and_the_other_waits_for_it(tmp_path: Path, capsys: Any) -> None:
    second = source_of(Counted())
    waiting = threading.Thread(
        target=decode, args=(second, "train"), kwargs={"cache_dir": tmp_path}
    )

    class First(Counted):
        def __getitem__(self, index: int) -> Example:
            if index == COUNT - 1:
                waiting.start()
                end = time.monotonic() + 60
                while "Waiting for another process" not in capsys.readouterr().err:
                    assert waiting.is_alive() and time.monotonic() < end
                    time.sleep(0.01)
            return super().__getitem__(index)

    check(*decode(source_of(First(threads=False)), "train", cache_dir=tmp_path))
    waiting.join()
    assert second.train.decoded == 0


def test_what_a_killed_decoding_left_is_removed(tmp_path: Path) -> None:
    """Also that of another entry; what a living process decodes stays."""
    program = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from mlpvis_jax.data import decode
from tests.data.test_decoded import Counted, source_of
import dataclasses

class Stuck(Counted):
    def __getitem__(self, index):
        print("decoding", flush=True)
        time.sleep(60)

source = dataclasses.replace(source_of(Stuck()), fingerprint=sys.argv[1])
decode(source, "train", cache_dir=Path({str(tmp_path)!r}))
"""

    def begin(fingerprint: str) -> subprocess.Popen:
        command = [sys.executable, "-c", program, fingerprint]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        # Two threads may print at once.
        assert process.stdout is not None and process.stdout.readline().startswith("decoding")
        return process

    killed = [begin("0123abcd"), begin("other")]
    alive = begin("alive")
    for process in killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    try:
        assert len(list(tmp_path.glob("*/.train-*"))) == 3
        check(*decode(source_of(Counted()), "train", cache_dir=tmp_path))
        (left,) = tmp_path.glob("*/.train-*")
        assert left.parent.name.endswith("alive")
    finally:
        alive.kill()
        alive.wait()


def test_the_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    decode(source_of(Counted()), "train", cache_dir=tmp_path)
    entry = tmp_path / "folder-a-b-c-0123abcd" / "train"
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=entry, capture_output=True)
    assert done.returncode == 0 and done.stdout == b"images.npy: OK\nlabels.npy: OK\n"


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


def zero_some_images(entry: Path) -> None:
    with open(entry / "images.npy", "r+b") as file:
        file.seek(500)
        file.write(bytes(550))


def flip_a_bit_of_a_label(entry: Path) -> None:
    with open(entry / "labels.npy", "r+b") as file:
        file.seek(-4, 2)  # the last label is (COUNT - 1) % 7 == 5; another class is another label
        file.write(b"\x04")


def remove_digests(entry: Path) -> None:  # as an older version leaves it
    (entry / "SHA256SUMS").unlink()


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
        zero_some_images,
        flip_a_bit_of_a_label,
        remove_digests,
    ],
)
def test_a_damaged_entry_is_decoded_anew(
    tmp_path: Path, damage: Callable[[Path], None], capsys: Any
) -> None:
    decode(source_of(Counted()), "train", cache_dir=tmp_path)
    entry = tmp_path / "folder-a-b-c-0123abcd" / "train"
    damage(entry)
    source = source_of(Counted())
    check(*decode(source, "train", cache_dir=tmp_path))
    check(*decode(source, "train", cache_dir=tmp_path))
    assert source.train.decoded == COUNT
    assert capsys.readouterr().err.count(f"{entry} is damaged, or of an older version") == 1
    assert list(tmp_path.rglob("code ran")) == []


@pytest.mark.parametrize("damage", [other_shape, other_dtype, labels_outside, pickled_labels])
def test_an_entry_of_something_else_is_not_taken_for_its_digests(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    decode(source_of(Counted()), "train", cache_dir=tmp_path)
    entry = tmp_path / "folder-a-b-c-0123abcd" / "train"
    damage(entry)
    digests = [
        f"{hashlib.sha256((entry / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("images.npy", "labels.npy")
    ]
    (entry / "SHA256SUMS").write_text("".join(digests))
    check(*decode(source_of(Counted()), "train", cache_dir=tmp_path))
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


def test_an_image_that_a_source_of_ones_own_cannot_read_is_no_error_of_the_cache(
    tmp_path: Path,
) -> None:
    class Lost(Counted):
        def __getitem__(self, index: int) -> Example:
            raise FileNotFoundError(2, "No such file or directory", "17.png")

    with pytest.raises(InputError, match=r"Images 0 to .* train part .* cannot be read .*17\.png"):
        decode(source_of(Lost(threads=False)), "train", cache_dir=tmp_path)


def test_a_cache_without_room(tmp_path: Path) -> None:
    class Huge(Counted):
        def __getitem__(self, index: int) -> Example:
            raise AssertionError("decoded, though there is no room")

    with pytest.raises(InputError, match=re.escape(str(tmp_path)) + r".* MB are needed"):
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


def test_a_disk_that_has_less_room_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota, or another process that decodes; a page written later would kill the process."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    source = source_of(Counted())
    with pytest.raises(InputError, match="cannot be used .No space left on device."):
        decode(source, "train", cache_dir=tmp_path)
    assert source.train.decoded == 0
    assert not list(tmp_path.rglob("images.npy"))
