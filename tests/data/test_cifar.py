import concurrent.futures
import dataclasses
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpvis_jax.data import cifar, decode, open_source
from mlpvis_jax.data.download import UnreachableError, download
from mlpvis_jax.errors import InputError
from tests.server import Server

tfds = pytest.importorskip("tensorflow_datasets")

TRAIN, TEST = 20, 10  # images in each file


def members_of(archive: cifar.Archive) -> dict[str, bytes]:
    """Made-up content of the archive's files: records with labels in turn."""
    random = np.random.default_rng(0)
    members = {"readme.html": b"<html>"}
    for files, count in ((archive.train_files, TRAIN), (archive.test_files, TEST)):
        for file in files:
            width = len(archive.labels) + 3072
            records = random.integers(0, 256, (count, width), dtype=np.uint8)
            for place, label in enumerate(archive.labels):
                records[:, place] = (np.arange(count) * 3 + place) % label.num_classes
            members[file] = records.tobytes()
    for label in archive.labels:
        names = [f"{label.key}_{number}" for number in range(label.num_classes)]
        members[label.names_file] = ("\n".join(names) + "\n\n").encode()
    return members


def pack(archive: cifar.Archive, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def announce(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, **changes: Any) -> None:
    """Makes `content` the official archive."""
    archive = dataclasses.replace(
        cifar.ARCHIVES[name],
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        images_per_file=TRAIN,
        test_images=TEST,
        **changes,
    )
    monkeypatch.setitem(cifar.ARCHIVES, name, archive)


@pytest.fixture
def archive100(server: Server, monkeypatch: pytest.MonkeyPatch) -> cifar.Archive:
    """The row of cifar100, changed to a small archive on the local server."""
    archive = cifar.ARCHIVES["cifar100"]
    server.content = pack(archive, members_of(archive))
    url = f"http://127.0.0.1:{server.server_port}/kriz/cifar-100-binary.tar.gz"
    announce(monkeypatch, "cifar100", server.content, url=url)
    return cifar.ARCHIVES["cifar100"]


def expected_images(records: bytes, num_labels: int) -> dict[bytes, int]:
    """From the pixels of each image to its last label."""
    table = np.frombuffer(records, np.uint8).reshape(-1, num_labels + 3072)
    images = table[:, num_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {
        image.tobytes(): int(label)
        for image, label in zip(images, table[:, num_labels - 1], strict=True)
    }


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tfds:cifar10"])
def test_downloaded_prepared_and_read(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tfds_name = name.removeprefix("tfds:")
    archive = cifar.ARCHIVES[tfds_name]
    members = members_of(archive)
    server.content = pack(archive, members)
    file_name = archive.url.rpartition("/")[2]
    url = f"http://127.0.0.1:{server.server_port}/{file_name}"
    announce(monkeypatch, tfds_name, server.content, url=url)
    source = open_source(name, image_size=64, data_dir=tmp_path)
    assert source.name == name
    assert source.image_shape == (32, 32, 3)
    assert source.class_names == tuple(f"label_{n}" for n in range(archive.labels[-1].num_classes))
    for split, files in (("train", archive.train_files), ("test", archive.test_files)):
        expected: dict[bytes, int] = {}
        for file in files:
            expected |= expected_images(members[file], len(archive.labels))
        images, labels = decode(source, split, cache_dir=None)
        found = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
        assert found == expected
    # The second time nothing is asked for, and TFDS's own code reads what was prepared.
    assert (tmp_path / "downloads" / file_name).read_bytes() == server.content
    again = open_source(name, image_size=64, data_dir=tmp_path)
    assert again.fingerprint == source.fingerprint
    assert server.ranges == [None]
    stock = tfds.builder(tfds_name, data_dir=str(tmp_path))
    assert type(stock).__module__ == "tensorflow_datasets.image_classification.cifar"
    assert stock.is_prepared()
    assert tuple(stock.info.features["label"].names) == source.class_names
    records = stock.as_data_source("train")
    assert len(records) == len(source.train)
    assert records[0]["image"].tobytes() == source.train[0].image.tobytes()
    assert set(records[0]) == {"id", "image"} | {label.key for label in archive.labels}
    assert sorted(record["id"] for record in records)[3] == b"train_00003"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_table_agrees_with_tfds(name: str) -> None:
    archive = cifar.ARCHIVES[name]
    listed = Path(tfds.__file__).parent / "url_checksums" / f"{name}.txt"
    row = f"{archive.url}\t{archive.size}\t{archive.sha256}\t{archive.url.rpartition('/')[2]}"
    assert row in listed.read_text().splitlines()
    info = tfds.builder(name, data_dir="/nowhere")._cifar_info
    assert info.prefix == archive.folder + "/"
    assert tuple(info.train_files) == archive.train_files
    assert tuple(info.test_files) == archive.test_files
    assert tuple(info.label_files) == tuple(label.names_file for label in archive.labels)
    assert tuple(info.label_keys) == tuple(label.key for label in archive.labels)


def test_a_download_is_resumed(server: Server, archive100: cifar.Archive, tmp_path: Path) -> None:
    server.cut_off_after = 5000
    with pytest.raises(InputError, match=f"broke off after 5000 of {len(server.content)} bytes"):
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    assert (tmp_path / "downloads/cifar-100-binary.tar.gz.part").stat().st_size == 5000
    assert not (tmp_path / "downloads/cifar-100-binary.tar.gz").exists()
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN
    assert server.ranges == [None, "bytes=5000-"]
    assert [path.name for path in (tmp_path / "downloads").glob("*.gz*")] == [
        "cifar-100-binary.tar.gz"
    ]


def test_a_server_that_ignores_ranges_sends_it_again(
    server: Server, archive100: cifar.Archive, tmp_path: Path
) -> None:
    server.knows_ranges = False
    part = tmp_path / "downloads/cifar-100-binary.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(server.content[:5000])
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN
    assert server.ranges == ["bytes=5000-"]


def test_a_part_that_is_too_long_is_started_anew(
    server: Server, archive100: cifar.Archive, tmp_path: Path
) -> None:
    part = tmp_path / "downloads/cifar-100-binary.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(server.content + b"more")
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN
    assert server.ranges == [None]


def test_more_than_was_announced_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = bytes(12)
    path = tmp_path / "file.bin"
    with pytest.raises(UnreachableError, match="it sent more than the 9 bytes"):
        download(f"http://localhost:{server.server_port}/file.bin", path, size=9, checksum=None)
    assert list(tmp_path.glob("file*")) == []


@pytest.mark.parametrize("length", ["same", "longer", "endless"])
def test_another_content_is_refused_and_not_kept(
    server: Server, archive100: cifar.Archive, tmp_path: Path, length: str
) -> None:
    right = server.content
    longer = {"same": b"", "longer": b"!", "endless": bytes(20 << 20)}[length]
    wrong = b"?" + right[1:] + longer
    server.content = wrong
    path = tmp_path / "downloads/cifar-100-binary.tar.gz"
    with pytest.raises(InputError) as raised:
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{path} has the SHA-256 ") and archive100.sha256 in message
    # Of what does not end, only the beginning was taken.
    assert (hashlib.sha256(wrong).hexdigest() in message) == (length != "endless")
    assert list(path.parent.glob("*.gz*")) == []
    server.content = right
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN


def test_an_archive_put_there_by_hand(
    server: Server, archive100: cifar.Archive, tmp_path: Path
) -> None:
    path = tmp_path / "downloads/cifar-100-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"wrong")
    found = hashlib.sha256(b"wrong").hexdigest()
    with pytest.raises(InputError, match=re.escape(f"{path} has the SHA-256 {found}")):
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    assert path.read_bytes() == b"wrong"  # not ours to remove
    path.write_bytes(server.content)
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN
    assert server.ranges == []


def test_a_host_that_does_not_answer(
    server: Server, archive100: cifar.Archive, tmp_path: Path
) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError) as raised:
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    message = str(raised.value)
    assert message.startswith("cifar-100-binary.tar.gz could not be downloaded from 127.0.0.1 (")
    assert f"Put the archive at {tmp_path}/downloads/cifar-100-binary.tar.gz" in message
    assert "set data_dir" in message


def test_a_host_that_refuses(server: Server, archive100: cifar.Archive, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(InputError, match=r"from 127\.0\.0\.1 \(it answered 503"):
        open_source("cifar100", image_size=8, data_dir=tmp_path)


def test_a_data_folder_that_cannot_be_written_to(archive100: cifar.Archive, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=re.escape(f"data folder {file} cannot be written to")):
        open_source("cifar100", image_size=8, data_dir=file)


def test_a_disk_that_is_full(
    archive100: cifar.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "download_and_prepare", fail)
    message = f"data folder {tmp_path} cannot be written to (No space left on device)"
    with pytest.raises(InputError, match=re.escape(message)):
        open_source("cifar100", image_size=8, data_dir=tmp_path)


def test_a_file_where_the_prepared_set_should_be(tmp_path: Path) -> None:
    (tmp_path / "cifar100").write_text("in the way")
    with pytest.raises(InputError, match=f"copy of 'cifar100' in {re.escape(str(tmp_path))}"):
        open_source("cifar100", image_size=8, data_dir=tmp_path)


def test_a_killed_preparation_is_not_taken_for_a_set(
    archive100: cifar.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cifar._examples

    def killed(*arguments: Any) -> Iterator[Any]:
        yield from list(whole(*arguments))[:5]
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar, "_examples", killed)
    with pytest.raises(KeyboardInterrupt):
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    assert not (tmp_path / "cifar100/3.0.2").exists()
    # What is left where even the cleaning up was killed:
    (tmp_path / "cifar100/incomplete.ABCDEF_3.0.2").mkdir(parents=True)
    monkeypatch.setattr(cifar, "_examples", whole)
    assert len(open_source("cifar100", image_size=8, data_dir=tmp_path).train) == TRAIN


def without_a_file(members: dict[str, bytes]) -> None:
    del members["test.bin"]


def without_names(members: dict[str, bytes]) -> None:
    del members["fine_label_names.txt"]


def too_short(members: dict[str, bytes]) -> None:
    members["train.bin"] = members["train.bin"][:-1]


def too_long(members: dict[str, bytes]) -> None:
    members["train.bin"] += b"\0"


def wrong_label(members: dict[str, bytes]) -> None:
    members["train.bin"] = b"\0\x64" + members["train.bin"][2:]


def wrong_coarse_label(members: dict[str, bytes]) -> None:
    members["test.bin"] = b"\x14" + members["test.bin"][1:]


def too_few_names(members: dict[str, bytes]) -> None:
    members["fine_label_names.txt"] = b"apple\nbear\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_file, "cifar-100-binary/test.bin is missing"),
        (without_names, "cifar-100-binary/fine_label_names.txt is missing"),
        (too_short, "train.bin has 61479 bytes, not 61480"),
        (too_long, "cifar-100-binary/train.bin is no file of at most 61480 bytes"),
        (wrong_label, "train.bin has a label of 100, not below 100"),
        (wrong_coarse_label, "test.bin has a coarse_label of 20, not below 20"),
        (too_few_names, "fine_label_names.txt has 2 names, not 100"),
    ],
)
def test_an_archive_with_other_content(
    server: Server,
    archive100: cifar.Archive,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    damage: Any,
    message: str,
) -> None:
    members = members_of(archive100)
    damage(members)
    server.content = pack(archive100, members)
    announce(monkeypatch, "cifar100", server.content, url=archive100.url)
    path = tmp_path / "downloads/cifar-100-binary.tar.gz"
    expected = f"{path} is not the official archive: {message};"
    with pytest.raises(InputError, match="^" + re.escape(expected)):
        open_source("cifar100", image_size=8, data_dir=tmp_path)
    assert not (tmp_path / "cifar100/3.0.2").exists()


def test_an_archive_that_cannot_be_unpacked(
    server: Server, archive100: cifar.Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = server.content
    for content in (b"not compressed", whole[: len(whole) // 2]):
        server.content = content
        announce(monkeypatch, "cifar100", content, url=archive100.url)
        with pytest.raises(InputError, match=r"binary\.tar\.gz is not the official archive"):
            open_source("cifar100", image_size=8, data_dir=tmp_path)
        (tmp_path / "downloads/cifar-100-binary.tar.gz").unlink()


def test_a_member_that_is_a_link(
    server: Server, archive100: cifar.Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        link = tarfile.TarInfo("cifar-100-binary/train.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    server.content = file.getvalue()
    announce(monkeypatch, "cifar100", server.content, url=archive100.url)
    with pytest.raises(InputError, match="train.bin is no file"):
        open_source("cifar100", image_size=8, data_dir=tmp_path)


def test_two_downloads_of_a_file_at_once(
    server: Server, archive100: cifar.Archive, tmp_path: Path
) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opened = [
            pool.submit(open_source, "cifar100", image_size=8, data_dir=tmp_path) for _ in range(2)
        ]
        assert [len(one.result().train) for one in opened] == [TRAIN, TRAIN]
    assert server.ranges == [None]  # one has waited
