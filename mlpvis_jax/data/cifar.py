"""`cifar10` and `cifar100`: from a copy prepared for TFDS, or from the official archive.

TFDS's own code for CIFAR reads and encodes images through TensorFlow. Here the archive is read
with NumPy and the images are encoded with Pillow, under TFDS's name, version and features, so
that TFDS reads the result as its own.
"""

import dataclasses
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from mlpvis_jax.data.cifar_superclasses import superclasses_of
from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.download import Checksum, UnreachableError, download
from mlpvis_jax.data.examples import Source
from mlpvis_jax.data.tfds_source import find_prepared, source_of, tfds_folder
from mlpvis_jax.errors import InputError

_SIDE = 32
_IMAGE_BYTES = 3 * _SIDE * _SIDE
# No list of class names is longer; a member that says it is comes from another archive.
_MOST_BYTES_OF_NAMES = 1 << 16


class Label(NamedTuple):
    """One of the labels that a record begins with, a byte each."""

    key: str  # of the TFDS feature
    names_file: str  # the names of the classes, one a line
    num_classes: int


@dataclasses.dataclass(frozen=True)
class Archive:
    """The official binary archive of one of the two sets."""

    tfds_name: str
    class_name: str  # of the TFDS builder
    url: str
    size: int  # bytes
    sha256: str
    folder: str  # of all files in the archive
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    images_per_file: int  # the same in every file to train on
    test_images: int
    labels: tuple[Label, ...]  # in the order of their bytes


# Sizes and hashes are those in TFDS's url_checksums.
ARCHIVES = {
    "cifar10": Archive(
        tfds_name="cifar10",
        class_name="Cifar10",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test_files=("test_batch.bin",),
        images_per_file=10_000,
        test_images=10_000,
        labels=(Label("label", "batches.meta.txt", 10),),
    ),
    "cifar100": Archive(
        tfds_name="cifar100",
        class_name="Cifar100",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        train_files=("train.bin",),
        test_files=("test.bin",),
        images_per_file=50_000,
        test_images=10_000,
        labels=(
            Label("coarse_label", "coarse_label_names.txt", 20),
            Label("label", "fine_label_names.txt", 100),
        ),
    ),
}


def open_cifar(name: str, tfds_name: str, image_size: int, data_dir: str | Path | None) -> Source:
    """Opens TFDS's cifar10 or cifar100: 50,000 images to train on and 10,000 to test on.

    Images are uint8 [32, 32, 3]; of the labels of CIFAR-100, the fine one is handed out.

    A prepared copy in the folder that `tfds_folder` gives is read where there is one. Otherwise
    the official archive is downloaded to the folder's "downloads" (or found there), and the
    copy is prepared from it.

    Raises InputError where the archive cannot be had or is not the official one, and where the
    folder cannot be written to.
    """
    archive = ARCHIVES[tfds_name]
    folder = tfds_folder(data_dir)
    builder = find_prepared(archive.tfds_name, folder)
    if builder is None:
        path = _fetch(archive, folder)
        _prepare(archive, path, folder)
        builder = find_prepared(archive.tfds_name, folder)
    if builder is None:
        raise InputError(f"{name} was prepared, but {folder} does not hold it.")
    source = source_of(name, builder, Decoding(image_size))
    return dataclasses.replace(
        source,
        default_validation="last:0.1",  # as in the Keras example; TFDS has shuffled the images
        superclasses=superclasses_of(source.class_names),
    )


def _fetch(archive: Archive, folder: Path) -> Path:
    """The path of the archive, checked; downloaded first where it is not there."""
    url = urlsplit(archive.url)
    path = folder / "downloads" / Path(url.path).name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        checksum = Checksum("sha256", archive.sha256)
        download(archive.url, path, size=archive.size, checksum=checksum)
    except UnreachableError as error:
        raise InputError(
            f"{path.name} could not be downloaded from {url.hostname} ({error}). Put the archive "
            f"at {path} by hand, or set data_dir to where TFDS has a prepared copy of "
            f"{archive.tfds_name}."
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    return path


def _prepare(archive: Archive, path: Path, folder: Path) -> None:
    """Writes the set into `folder` for TFDS, from the archive at `path`.

    TFDS writes into a folder of another name and renames it at the end, so that what a killed
    preparation leaves is not taken for a set.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.image_classification import cifar

    # TFDS keeps a register of builders by their names, and has one of this name already.
    with tfds.core.registered.skip_registration():

        class Prepared(getattr(cifar, archive.class_name)):  # type: ignore[misc]
            """TFDS's own description of the set, with another way to the examples."""

            name = archive.tfds_name

            def _split_generators(self, download_manager: Any) -> dict[str, Any]:
                members = _read_members(archive, path)
                for label in archive.labels:
                    names = _class_names(members[label.names_file], label, path)
                    self.info.features[label.key].names = names
                # The keys are those of TFDS: they decide about the order the images end up in.
                return {
                    "train": _examples(archive, members, archive.train_files, "train", path),
                    "test": _examples(archive, members, archive.test_files, "test", path),
                }

    try:
        builder = Prepared(data_dir=str(folder), file_format="array_record")
        builder.download_and_prepare(
            download_dir=str(folder / "downloads"),
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
    except InputError:
        raise
    except OSError as error:
        # Another process may have prepared it meanwhile; then the renaming fails.
        if find_prepared(archive.tfds_name, folder) is None:
            raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"The data folder {folder} cannot be written to ({error.strerror or error}); set data_dir "
        "to one that can, or to one that holds a prepared copy."
    )


def _read_members(archive: Archive, path: Path) -> dict[str, bytes]:
    """The files of the archive that are needed, by name; nothing is extracted to the disk."""
    record_bytes = len(archive.labels) + _IMAGE_BYTES
    sizes = dict.fromkeys(archive.train_files, archive.images_per_file * record_bytes)
    sizes |= dict.fromkeys(archive.test_files, archive.test_images * record_bytes)
    names_files = [label.names_file for label in archive.labels]
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                folder, _, file = member.name.removeprefix("./").rpartition("/")
                if folder != archive.folder or file not in [*sizes, *names_files]:
                    continue
                most = sizes.get(file, _MOST_BYTES_OF_NAMES)
                opened = tar.extractfile(member) if member.isfile() else None
                if opened is None or member.size > most:
                    raise _unofficial(path, f"{member.name} is no file of at most {most} bytes")
                members[file] = opened.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _unofficial(path, f"it cannot be unpacked: {error}") from error
    for file in [*sizes, *names_files]:
        if file not in members:
            raise _unofficial(path, f"{archive.folder}/{file} is missing")
        if file in sizes and len(members[file]) != sizes[file]:
            raise _unofficial(path, f"{file} has {len(members[file])} bytes, not {sizes[file]}")
    return members


def _class_names(text: bytes, label: Label, path: Path) -> list[str]:
    names = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    if len(names) != label.num_classes:
        raise _unofficial(
            path, f"{label.names_file} has {len(names)} names, not {label.num_classes}"
        )
    return names


def _examples(
    archive: Archive,
    members: dict[str, bytes],
    files: tuple[str, ...],
    split: str,
    path: Path,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The examples of a split as TFDS wants them, each with its key."""
    num_labels = len(archive.labels)
    index = 0
    for file in files:
        records = np.frombuffer(members[file], np.uint8).reshape(-1, num_labels + _IMAGE_BYTES)
        for place, label in enumerate(archive.labels):
            largest = records[:, place].max(initial=0)
            if largest >= label.num_classes:
                raise _unofficial(
                    path, f"{file} has a {label.key} of {largest}, not below {label.num_classes}"
                )
        for record in records:
            # Stored channel by channel, each row by row.
            pixels = record[num_labels:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)
            encoded = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(pixels)).save(encoded, "PNG")
            encoded.seek(0)
            example: dict[str, Any] = {"id": f"{split}_{index:05d}", "image": encoded}
            for place, label in enumerate(archive.labels):
                example[label.key] = int(record[place])
            yield index, example
            index += 1


def _unofficial(path: Path, what: str) -> InputError:
    return InputError(f"{path} is not the official archive: {what}; remove it and try again.")
