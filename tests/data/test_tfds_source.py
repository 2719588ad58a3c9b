import io
import json
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.data import Source, decode, open_source, tfds_source
from mlpvis_jax.data.framing import Box, centre
from mlpvis_jax.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")

SHAPE = (6, 5, 3)


def png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return io.BytesIO(file.getvalue())


def example(value: int, shape: tuple[int, ...] = SHAPE, **more: Any) -> dict[str, Any]:
    return {"image": png(np.full(shape, value, np.uint8)), "label": value % 3, **more}


def features(shape: tuple[int | None, ...] = SHAPE) -> dict[str, Any]:
    return {
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(names=["ant", "bee", "cat"]),
    }


@pytest.fixture
def tiny(prepare_set: Callable[..., Path]) -> Path:
    """The folder of a prepared set "tiny": 80 images to train on and 4 to test on."""
    return prepare_set(
        features(),
        {"train": [example(n) for n in range(80)], "test": [example(n) for n in range(4)]},
    )


def open_tiny(folder: Path, name: str = "tfds:tiny") -> Source:
    """`folder` is that of the set, two below the data_dir."""
    return open_source(name, image_size=8, data_dir=folder.parent.parent)


def test_a_prepared_set_is_read(tiny: Path) -> None:
    source = open_tiny(tiny)
    assert source.name == "tfds:tiny"
    assert source.class_names == ("ant", "bee", "cat")
    assert source.image_shape == SHAPE
    assert source.split_names == {"train": "train", "test": "test"}
    images, labels = decode(source, "train", cache_dir=None)
    values = images[:, 0, 0, 0]
    assert sorted(values) == list(range(80))  # TFDS shuffles when it prepares
    assert (images == values[:, None, None, None]).all()
    assert (labels == values % 3).all()
    np.testing.assert_array_equal(source.train[7].image, images[7])
    assert source.train[7].label == labels[7]
    assert len(decode(source, "test", cache_dir=None)[1]) == 4
    with pytest.raises(IndexError):
        source.train[80]
    with pytest.raises(IndexError):
        source.train[-1]


def test_what_a_stream_asks_of_records(tiny: Path) -> None:
    train = open_tiny(tiny).train
    images, labels = decode(open_tiny(tiny), "train", cache_dir=None)
    assert train.labels is None
    np.testing.assert_array_equal(train.read_labels(), labels)
    rows = [79, 0, 40, 40]
    copy = pickle.loads(pickle.dumps(train))  # as a process that decodes is sent it
    for examples in (train, copy, train.take(np.arange(80))):
        found = examples.gather(rows)
        np.testing.assert_array_equal([one.image for one in found], images[rows])
        assert [one.label for one in found] == labels[rows].tolist()
    marks = train.marks()
    assert marks is not None and len(np.unique(marks)) == 80
    np.testing.assert_array_equal(train.take(np.array([7, 3])).marks(), marks[[7, 3]])
    np.testing.assert_array_equal(open_tiny(tiny).train.marks(), marks)
    assert not np.isin(open_tiny(tiny).test.marks(), marks).any()


def test_reading_needs_no_network_no_tensorflow_and_no_code_of_the_set(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"asked the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it fails
    decode(open_tiny(tiny), "train", cache_dir=None)


def test_the_folder_comes_from_the_environment(tiny: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny.parent.parent))
    assert len(open_source("tfds:tiny", image_size=8).train) == 80


def test_the_default_folder_is_that_of_tfds(tiny: Path, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv("TFDS_DATA_DIR")
    (tmp_path / "home").mkdir()
    shutil.move(tiny.parent, tmp_path / "home" / "tensorflow_datasets" / "tiny")
    assert len(open_source("tfds:tiny", image_size=8).train) == 80


def test_a_version_can_be_asked_for(tiny: Path) -> None:
    assert len(open_tiny(tiny, "tfds:tiny:1.0.0").train) == 80
    with pytest.raises(InputError, match="'tiny'"):
        open_tiny(tiny, "tfds:tiny:2.0.0")


def test_images_of_many_shapes_are_resized(prepare_set: Callable[..., Path]) -> None:
    folder = prepare_set(
        features((None, None, 3)),
        {split: [example(n, (5 + n, 9, 3)) for n in range(3)] for split in ("train", "validation")},
    )
    source = open_tiny(folder)
    assert source.image_shape == (8, 8, 3)
    assert source.split_names == {"train": "train", "test": "validation"}
    images, _ = decode(source, "test", cache_dir=None)
    assert images.shape == (3, 8, 8, 3)
    assert sorted(images.mean(axis=(1, 2, 3))) == [0, 1, 2]
    other = open_source("tfds:tiny", image_size=9, data_dir=folder.parent.parent)
    assert other.fingerprint != source.fingerprint


def test_images_of_many_shapes_are_framed(prepare_set: Callable[..., Path]) -> None:
    folder = prepare_set(
        features((None, None, 3)),
        {split: [example(n, (5 + n, 9, 3)) for n in range(3)] for split in ("train", "validation")},
    )
    source = open_source("tfds:tiny", image_size=8, data_dir=folder.parent.parent, framing="centre")
    assert source.train.frame is centre and source.fingerprint != open_tiny(folder).fingerprint
    asked = []

    def frame(width: int, height: int) -> Box:
        asked.append((width, height))
        return centre(width, height)

    one, two = source.train.framed(1, frame), source.train.gather([2], [frame])[0]
    assert one.image.shape == two.image.shape == (8, 8, 3)
    assert sorted(asked) == sorted((9, 5 + int(found.image.mean())) for found in (one, two))
    reduced = open_source(
        "tfds:tiny", image_size=8, data_dir=folder.parent.parent, reduced_jpeg=True
    )
    assert reduced.fingerprint != open_tiny(folder).fingerprint


def test_a_split_that_validates(prepare_set: Callable[..., Path]) -> None:
    parts = {"train": range(6), "validation": range(6, 9), "test": range(9, 12)}
    folder = prepare_set(
        features(), {split: [example(n) for n in numbers] for split, numbers in parts.items()}
    )
    source = open_tiny(folder)
    assert source.split_names == {split: split for split in parts}
    for split, numbers in parts.items():
        images, _ = decode(source, split, cache_dir=None)  # type: ignore[arg-type]
        assert sorted(images[:, 0, 0, 0]) == list(numbers)


def test_a_test_split_without_labels_is_left_out(prepare_set: Callable[..., Path]) -> None:
    examples = {name: [example(n) for n in range(9)] for name in ("train", "validation")}
    examples["test"] = [{**example(n), "label": -1} for n in range(5)]  # as ImageNet's
    source = open_tiny(prepare_set(features(), examples))
    assert source.split_names == {"train": "train", "test": "validation"}
    assert len(source.test) == 9 and source.validation is None


def test_what_files_hold_is_known_whatever_is_decoded(prepare_set: Callable[..., Path]) -> None:
    shapes = [(4, 5 + n % 3, 3) for n in range(6)]
    examples = [example(n, shape) for n, shape in enumerate(shapes)]
    folder = prepare_set(features((None, None, 3)), {"train": examples, "test": examples})
    data_dir = folder.parent.parent
    small, large = (
        open_source("tfds:tiny", image_size=size, data_dir=data_dir) for size in (8, 16)
    )
    assert small.fingerprint != large.fingerprint
    assert small.files_fingerprint == large.files_fingerprint is not None


def test_grey_images_and_other_keys(prepare_set: Callable[..., Path]) -> None:
    of_a_set = features((4, 4, 1))
    folder = prepare_set(
        # The mask would cost time to decode, and is not touched.
        {
            "picture": of_a_set["image"],
            "kind": of_a_set["label"],
            "label": tfds.features.ClassLabel(num_classes=2),
            "mask": tfds.features.Image(shape=(4, 4, 1)),
        },
        {
            split: [
                {
                    "picture": png(np.full((4, 4), 9, np.uint8)),
                    "kind": "cat",
                    "label": 0,
                    "mask": io.BytesIO(b"not an image"),
                }
            ]
            for split in ("train", "test")
        },
        supervised_keys=("picture", "kind"),
    )
    source = open_tiny(folder)
    images, labels = decode(source, "train", cache_dir=None)
    assert images.shape == (1, 4, 4, 1) and (images == 9).all()
    assert labels.tolist() == [2] and source.num_classes == 3


def test_the_fingerprint_changes_with_the_files(tiny: Path) -> None:
    first = open_tiny(tiny).fingerprint
    assert open_source("tfds:tiny", image_size=9, data_dir=tiny.parent.parent).fingerprint == first
    record_file = next(tiny.glob("*train*"))
    record_file.write_bytes(record_file.read_bytes())
    assert open_tiny(tiny).fingerprint != first


def test_neither_test_nor_validation(prepare_set: Callable[..., Path]) -> None:
    folder = prepare_set(features(), {"train": [example(1)], "other": [example(2)]})
    with pytest.raises(InputError, match=f"{re.escape(str(folder))} has the splits .*other"):
        open_tiny(folder)


@pytest.mark.parametrize(
    "unfit",
    [
        lambda: {"image": features()["image"], "text": tfds.features.Text()},
        lambda: {"pixels": features()["image"], "label": features()["label"]},
        lambda: {"image": features()["image"], "label": tfds.features.Scalar(np.int64)},
    ],
)
def test_a_set_that_is_no_image_classification(prepare_set: Any, unfit: Any) -> None:
    def one() -> dict[str, Any]:
        values = {"text": "a", **example(1)}
        return {key: values.get(key, values["image"]) for key in unfit()}

    folder = prepare_set(unfit(), {"train": [one()], "test": [one()]})
    with pytest.raises(InputError, match=r"'tiny/1\.0\.0' is no image classification"):
        open_tiny(folder)


def test_16_bit_images_are_refused(prepare_set: Callable[..., Path]) -> None:
    deep = features((4, 4, 1))
    deep["image"] = tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16)
    splits = {
        split: [{"image": png(np.zeros((4, 4), np.uint16)), "label": 0}]
        for split in ("train", "test")
    }
    folder = prepare_set(deep, splits)
    with pytest.raises(InputError, match="'tiny/1.0.0' are uint16"):
        open_tiny(folder)


def edit_info(folder: Path, **changes: Any) -> None:
    file = folder / "dataset_info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def remove_records(folder: Path) -> None:
    next(folder.glob("*train*")).unlink()


def other_format(folder: Path) -> None:
    edit_info(folder, fileFormat="tfrecord")


def malformed_info(folder: Path) -> None:
    (folder / "dataset_info.json").write_text("{")


def no_features(folder: Path) -> None:
    (folder / "features.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_records, "FOLDER lacks the file tiny-train.array_record-00000-of-00001;"),
        (other_format, "The set in FOLDER was prepared as tfrecord; array_record is needed"),
        (malformed_info, "The prepared copy of 'tiny' in DATA_DIR is damaged"),
        (no_features, "FOLDER lacks the file features.json;"),
    ],
)
def test_a_copy_that_cannot_be_opened(tiny: Path, damage: Any, message: str) -> None:
    damage(tiny)
    expected = message.replace("FOLDER", str(tiny)).replace("DATA_DIR", str(tiny.parent.parent))
    with pytest.raises(InputError, match="^" + re.escape(expected)):
        open_tiny(tiny)


OWN = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"


def name_in_features(folder: Path) -> None:
    """As TFDS writes it today."""
    file = folder / "features.json"
    file.write_text(file.read_text().replace(OWN, "runs_code.Feature"))


def name_in_old_features(folder: Path) -> None:
    """As TFDS wrote it up to 4.4, and still reads it."""
    content = {"label": {"type": "runs_code.Feature", "content": {}}}
    dictionary = {"type": "tensorflow_datasets.core.features.features_dict.FeaturesDict"}
    (folder / "features.json").write_text(json.dumps({**dictionary, "content": content}))


def name_in_json_in_features(folder: Path) -> None:
    """As TFDS writes features that have no message of their own."""
    inner = {"label": {"type": "runs_code.Feature", "content": {}}}
    described = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "jsonFeature": {"json": json.dumps(inner)},
    }
    (folder / "features.json").write_text(json.dumps(described))


def name_in_info(folder: Path) -> None:
    described = json.loads((folder / "features.json").read_text().replace(OWN, "runs_code.Feature"))
    edit_info(folder, features=described)


@pytest.mark.parametrize(
    "damage", [name_in_features, name_in_old_features, name_in_json_in_features, name_in_info]
)
def test_no_module_that_a_copy_names_is_imported(
    tiny: Path, damage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "runs_code.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'code ran')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "modules")
    open_tiny(tiny)
    damage(tiny)
    with pytest.raises(InputError, match="names the feature 'runs_code.Feature', which is not of"):
        open_tiny(tiny)
    assert not (tmp_path / "code ran").exists() and "runs_code" not in sys.modules


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def junk(content: bytes) -> bytes:
    return b"x" * len(content)


@pytest.mark.parametrize("damage", [truncated, empty, junk])
def test_damaged_records_are_refused(tiny: Path, damage: Callable[[bytes], bytes]) -> None:
    record_file = next(tiny.glob("*train*"))
    record_file.write_bytes(damage(record_file.read_bytes()))
    with pytest.raises(InputError, match=f"train records in {re.escape(str(tiny))} are damaged"):
        decode(open_tiny(tiny), "train", cache_dir=None)


def test_fewer_records_than_declared(tiny: Path) -> None:
    splits = json.loads((tiny / "dataset_info.json").read_text())["splits"]
    for split in splits:
        split["shardLengths"] = ["81"]
    edit_info(tiny, splits=splits)
    with pytest.raises(InputError, match=f"train records in {re.escape(str(tiny))} are damaged"):
        decode(open_tiny(tiny), "train", cache_dir=None)


def test_an_image_of_another_shape_than_declared(tiny: Path) -> None:
    file = tiny / "features.json"
    file.write_text(file.read_text().replace('"5"', '"7"'))
    with pytest.raises(InputError, match=r"Image 0 of train .* \[6, 5, 3\], .* \[6, 7, 3\]"):
        decode(open_tiny(tiny), "train", cache_dir=None)


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no set 'mnits', .* did you mean tfds:mnist?") as raised:
        open_source("tfds:mnits", image_size=8, data_dir=tmp_path)
    assert str(tmp_path) in str(raised.value)
    with pytest.raises(InputError, match="no set 'zzzzzz'"):
        open_source("tfds:zzzzzz", image_size=8, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["../tiny", "a b", "/", "tiny/../../x", "-x"])
def test_a_name_that_cannot_be_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"tfds:{name} does not name a set")):
        open_source(f"tfds:{name}", image_size=8, data_dir=tmp_path)


def test_not_prepared_and_no_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_source, "_can_import_tensorflow", lambda: False)
    with pytest.raises(InputError) as raised:
        open_source("tfds:mnist", image_size=8, data_dir=tmp_path / "data")
    assert str(raised.value) == (
        f"The TFDS set 'mnist' is not prepared in {tmp_path / 'data'}, and preparing it needs "
        "TensorFlow: `pip install 'mlpvis_jax[tensorflow]'`, or set data_dir to where there is "
        "a prepared copy (as array_record)."
    )
    assert not (tmp_path / "data").exists()


@pytest.fixture
def registered_set(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A set that TFDS has code for, and that can be prepared without TensorFlow."""
    monkeypatch.setattr(tfds_source, "_can_import_tensorflow", lambda: True)
    monkeypatch.setattr(tfds, "list_builders", lambda **_: ["freshly_made"])

    class FreshlyMade(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        broken = False

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features())
            )

        def _split_generators(self, download_manager: Any) -> dict[str, Any]:
            if self.broken:
                raise RuntimeError("the host is on fire\nand more")
            return {"train": enumerate([example(1)]), "test": enumerate([example(2)])}

        def _generate_examples(self) -> None:
            raise NotImplementedError

    yield FreshlyMade
    tfds.core.registered._DATASET_REGISTRY.pop("freshly_made")


def test_a_missing_set_is_prepared_where_tensorflow_is(registered_set: Any, tmp_path: Path) -> None:
    source = open_source("tfds:freshly_made", image_size=8, data_dir=tmp_path)
    assert decode(source, "test", cache_dir=None)[1].tolist() == [2]
    assert list((tmp_path / "freshly_made" / "1.0.0").glob("*.array_record-*"))


def test_a_preparation_that_fails(registered_set: Any, tmp_path: Path) -> None:
    registered_set.broken = True
    with pytest.raises(InputError) as raised:
        open_source("tfds:freshly_made", image_size=8, data_dir=tmp_path)
    assert str(raised.value) == (
        f"TFDS could not prepare 'freshly_made' in {tmp_path}: the host is on fire"
    )


def test_importing_the_package_does_not_import_tfds() -> None:
    code = "import sys, mlpvis_jax.data; print('tensorflow_datasets' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.slow
def test_the_real_cifar100(real_cifar100: Path, tmp_path: Path) -> None:
    source = open_source("cifar100", image_size=64, data_dir=real_cifar100)
    assert source.image_shape == (32, 32, 3) and source.num_classes == 100
    assert source.class_names[:2] == ("apple", "aquarium_fish")
    images, labels = decode(source, "train", cache_dir=tmp_path)
    assert images.shape == (50_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [500] * 100
    # 50 million values a channel, counted rather than copied to floats.
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)]
    values = np.arange(256) / 255
    mean = np.array([(count * values).sum() / count.sum() for count in counts])
    square = np.array([(count * values**2).sum() / count.sum() for count in counts])
    np.testing.assert_allclose(mean, [0.50708, 0.48655, 0.44092], atol=6e-6)
    np.testing.assert_allclose(np.sqrt(square - mean**2), [0.26733, 0.25644, 0.27615], atol=6e-6)
    images, labels = decode(source, "test", cache_dir=tmp_path)
    assert images.shape == (10_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [100] * 100
    again = decode(source, "train", cache_dir=tmp_path)[0]
    assert isinstance(again, np.memmap)
