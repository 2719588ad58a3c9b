"""Tar shards: the images of a folder, at random, and an index that is made once."""

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlpvis_jax.data import decode, open_source, tar_index
from mlpvis_jax.errors import InputError
from tests.images_on_disk import CLASSES, made, write_folder, write_shards, write_tar

SPLITS = {"train": made(25), "test": made(7, seed=1)}
ONE = made(3)
IMAGE = ONE[0][0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("as_json", [False, True])
def test_shards_hold_the_images_of_a_folder(tmp_path: Path, as_json: bool) -> None:
    write_folder(tmp_path / "folder", SPLITS)
    write_shards(tmp_path / "shards", SPLITS, as_json=as_json)
    (tmp_path / "shards/classes.txt").write_text("\n".join(CLASSES))
    folder = open_source(f"folder:{tmp_path / 'folder'}", image_size=8)
    shards = open_source(f"shards:{tmp_path / 'shards'}", image_size=8)
    assert shards.class_names == folder.class_names == CLASSES
    assert len(list((tmp_path / "shards").glob("train*.tar"))) == 3
    for part in ("train", "test"):
        images, labels = decode(shards, part, cache_dir=None)
        of_folder, _ = decode(folder, part, cache_dir=None)
        # A folder lists its images class by class.
        order = np.argsort(labels, kind="stable")
        np.testing.assert_array_equal(images[order], of_folder)
        np.testing.assert_array_equal(labels, [label for _, label in SPLITS[part]])


def test_an_image_is_read_from_its_place(tmp_path: Path) -> None:
    write_shards(tmp_path, SPLITS)
    train = open_source(f"shards:{tmp_path}", image_size=8).train
    images, labels = decode(
        open_source(f"shards:{tmp_path}", image_size=8), "train", cache_dir=None
    )
    for rows in ([24, 0, 13], [13]):
        for row, example in zip(rows, train.gather(rows), strict=True):
            np.testing.assert_array_equal(example.image, images[row])
            assert example.label == labels[row] == row % 3
    assert train.names()[13] == "train-000001.tar/000013"
    copy = pickle.loads(pickle.dumps(train))  # as a process that decodes is sent it
    np.testing.assert_array_equal(copy[24].image, images[24])


def test_the_index_is_made_once_and_anew_where_a_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    read = tar_index._read

    def counted(shards):
        calls.append(len(shards))
        return read(shards)

    monkeypatch.setattr(tar_index, "_read", counted)
    write_shards(tmp_path / "set", SPLITS)
    first = open_source(f"shards:{tmp_path / 'set'}", image_size=8)
    again = open_source(f"shards:{tmp_path / 'set'}", image_size=16)
    assert calls == [3, 1]
    np.testing.assert_array_equal(first.train.marks(), again.train.marks())
    write_shards(tmp_path / "set", {"train": made(28)})
    changed = open_source(f"shards:{tmp_path / 'set'}", image_size=8)
    assert calls == [3, 1, 3] and len(changed.train) == 28
    assert changed.fingerprint != first.fingerprint
    # The marks of images that are what they were stay as they were.
    np.testing.assert_array_equal(changed.train.marks()[:25], first.train.marks())


def test_an_index_that_cannot_be_kept_is_made_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_shards(tmp_path / "set", SPLITS)
    for times_said in (1, 0):
        assert len(open_source(f"shards:{tmp_path / 'set'}", image_size=8).train) == 25
        said = capsys.readouterr().err.count("is not kept, and the next start reads it again.")
        assert said == times_said


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"noise"), Path.unlink])
def test_a_damaged_index_is_made_anew(
    tmp_path: Path, cache: Path, damage: Callable[[Path], object]
) -> None:
    write_shards(tmp_path / "set", SPLITS)
    open_source(f"shards:{tmp_path / 'set'}", image_size=8)
    for file in cache.rglob("offset.npy"):
        damage(file)
    train = open_source(f"shards:{tmp_path / 'set'}", image_size=8).train
    assert train[24].label == 0 and len(train) == 25


def test_shards_that_validate(tmp_path: Path) -> None:
    write_shards(tmp_path / "two", {"train": made(9), "val": made(6)})
    source = open_source(f"shards:{tmp_path / 'two'}", image_size=8)
    assert source.validation is None and len(source.test) == 6
    assert source.split_names == {"train": "train", "test": "validation"}
    write_shards(tmp_path / "three", {"train": made(9), "test": made(3), "set-validation": made(6)})
    source = open_source(f"shards:{tmp_path / 'three'}", image_size=8)
    assert source.validation is not None and len(source.validation) == 6
    assert source.split_names["validation"] == "validation"


BAD = {
    "no label": ([("1.jpg", IMAGE)], "the example '1' has 1 images and 0 labels"),
    "no image": ([("1.cls", b"0")], "the example '1' has 0 images and 1 labels"),
    "apart": ([("1.jpg", IMAGE), ("2.jpg", IMAGE), ("1.cls", b"0")], "must follow one another"),
    "a word": ([("1.jpg", IMAGE), ("1.cls", b"cat")], "1.cls gives no class: it must be a whole"),
    "negative": ([("1.jpg", IMAGE), ("1.cls", b"-1")], "1.cls gives no class"),
    "two": (
        [("1.jpg", IMAGE), ("1.cls", b"1"), ("1.json", b'{"label": 3}')],
        "the example '1' is said to be of the classes 1 and 3",
    ),
    "two in one": (
        [("1.jpg", IMAGE), ("1.json", b'{"label": 0, "cls": 2}')],
        "is said to be of the classes 0 and 2",
    ),
    "no key": ([("1.jpg", IMAGE), ("1.json", b'{"name": 1}')], "1.json gives no class"),
    "other kind": ([("1.tif", IMAGE), ("1.cls", b"0")], "of a kind of images that is not decoded"),
    "no extension": (
        [("1.jpg", IMAGE), ("1", b"")],
        "0 labels, of the members 1.jpg, 1; one image and a label",
    ),
    "from one": (
        [("1.jpg", IMAGE), ("1.cls", b"1")],
        "no image of the class 0, and 1 in .*train-0.tar has the class 1; classes are number",
    ),
    "a slip": (  # which would be the classes of a gigabyte
        [("1.jpg", IMAGE), ("1.cls", b"0"), ("2.jpg", IMAGE), ("2.cls", b"1000000000")],
        "no image of the class 1, and 2 in .*train-0.tar has the class 1000000000",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_members_of_no_use_are_refused(tmp_path: Path, name: str) -> None:
    members, message = BAD[name]
    write_tar(tmp_path / "train-0.tar", members)
    write_shards(tmp_path, {"test": ONE})
    with pytest.raises(InputError, match=message):
        open_source(f"shards:{tmp_path}", image_size=8)


def test_folders_of_no_use_are_refused(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            open_source(f"shards:{tmp_path / 'set'}", image_size=8)

    refused("There is no folder .*; shards:PATH takes the folder of tar files")
    write_shards(tmp_path / "set", {"test": ONE})
    refused("has shards of test; it needs tar files named")
    write_shards(tmp_path / "set", {"train": ONE})
    (tmp_path / "set/classes.txt").write_text("ant\nbee")
    refused("names 2 classes, and .* has the class 2")
    (tmp_path / "set/classes.txt").unlink()
    (tmp_path / "set/more.tar").write_bytes(b"")
    refused("more.tar does not say which split it is of")
    (tmp_path / "set/more.tar").rename(tmp_path / "set/train-1.tar")
    refused("train-1.tar is not a tar file that can be read")
    whole = (tmp_path / "set/train-000000.tar").read_bytes()
    (tmp_path / "set/train-1.tar").write_bytes(whole[:700])
    refused("train-1.tar is not a tar file that can be read .*unexpected end of data")


def test_a_label_may_stand_in_a_long_json_member(tmp_path: Path) -> None:
    text = json.dumps({"caption": "a" * 100_000, "label": 0}).encode()
    for split in ("train", "test"):
        write_tar(tmp_path / f"{split}-0.tar", [("1.jpg", IMAGE), ("1.json", text)])
    assert len(open_source(f"shards:{tmp_path}", image_size=8).train) == 1


@pytest.mark.parametrize("name", ["train-1.tar.gz", "train-1.TAR", "test-1.tgz"])
def test_a_shard_is_not_passed_over(tmp_path: Path, name: str) -> None:
    write_shards(tmp_path, SPLITS)
    (tmp_path / "train-000000.tar.idx").write_bytes(b"")  # of another library, and no shard
    open_source(f"shards:{tmp_path}", image_size=8)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name} is not read: a shard is a tar file that is not"):
        open_source(f"shards:{tmp_path}", image_size=8)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ant\nbee\nant\n", "classes.txt has 'ant' a second time in line 3"),
        ("ant\n\ncat\n", "classes.txt has no name in line 2"),
        ("ant\nbee\ncat\ndog", "the class 3, which .*classes.txt names 'dog'; classes are"),
        ("ant\nbee", "classes.txt names 2 classes, and 000002 in .*train-.*tar has the class 2"),
    ],
)
def test_names_of_no_use_are_refused(tmp_path: Path, names: str, message: str) -> None:
    write_shards(tmp_path, SPLITS)
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(InputError, match=message):
        open_source(f"shards:{tmp_path}", image_size=8)


def test_empty_lines_at_the_end_name_nothing(tmp_path: Path) -> None:
    write_shards(tmp_path, SPLITS)
    (tmp_path / "classes.txt").write_bytes(b"ant\r\nbee\r\ncat\r\n\r\n")
    assert open_source(f"shards:{tmp_path}", image_size=8).class_names == ("ant", "bee", "cat")


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    members = [("a/1.jpg", IMAGE), ("a/1.cls", b"0"), ("a/2.jpg", b"noise"), ("a/2.cls", b"0")]
    write_tar(tmp_path / "train-0.tar", members)
    write_tar(tmp_path / "test-0.tar", members[:2])
    train = open_source(f"shards:{tmp_path}", image_size=8).train
    with pytest.raises(InputError, match="a/2.jpg in .*train-0.tar cannot be decoded"):
        train.gather([0, 1])


def test_shards_without_an_image_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", [])
    write_tar(tmp_path / "test-0.tar", [])
    with pytest.raises(InputError, match="The shards to train on in .* hold no image"):
        open_source(f"shards:{tmp_path}", image_size=8)


def _with_a_wrong_header(data: bytes) -> bytes:
    place = data.index(b"000003.")  # the name in a member's header, which has a checksum
    return data[:place] + b"9" + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        _with_a_wrong_header,
        lambda data: data[: data.index(b"000003.")],
        lambda data: data[: data.index(b"000003.") + 100],
        lambda data: data + data,
    ],
    ids=["header", "cut between members", "cut in a header", "two in one"],
)
def test_a_shard_that_is_not_whole_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Where tarfile stops without a word, images would be lost."""
    write_shards(tmp_path, SPLITS)
    shard = tmp_path / "train-000000.tar"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(InputError, match="train-000000.tar is .*Write it anew"):
        open_source(f"shards:{tmp_path}", image_size=8)


def test_links_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, SPLITS)
    with tarfile.open(tmp_path / "train-9.tar", "w") as tar:
        link = tarfile.TarInfo("9.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "8.jpg"
        tar.addfile(link)
    with pytest.raises(InputError, match="9.jpg is a link to another file"):
        open_source(f"shards:{tmp_path}", image_size=8)
    (tmp_path / "train-9.tar").unlink()
    (tmp_path / "train-9.tar").symlink_to("nothing")
    with pytest.raises(InputError, match="train-9.tar cannot be read"):
        open_source(f"shards:{tmp_path}", image_size=8)


def test_marks_are_of_the_names_that_shards_have_here(tmp_path: Path) -> None:
    """Two folders may link to one file by other names, as a hub's cache does."""
    write_shards(tmp_path / "files", SPLITS)
    found = []
    for name in ("train-7.tar", "train-8.tar", "train-7.tar"):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / name).symlink_to(tmp_path / "files/train-000000.tar")
        (folder / "test-0.tar").symlink_to(tmp_path / "files/test-000000.tar")
        found.append(open_source(f"shards:{folder}", image_size=8).train.marks())
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.isin(found[0], found[1]).any()


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_tar(tmp_path / "train-0.tar", [(f"{name}.jpg", IMAGE), (f"{name}.cls", b"0")])
    write_tar(tmp_path / "test-0.tar", [("1.jpg", IMAGE), ("1.cls", b"0")])
    assert open_source(f"shards:{tmp_path}", image_size=8).train.names() == [f"train-0.tar/{name}"]
