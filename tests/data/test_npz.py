import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpvis_jax.data import Source, decode, open_source
from mlpvis_jax.errors import InputError


def good() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": random.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8),
        "y_test": np.array([2, 0]),
    }


def open_arrays(folder: Path, **changes: Any) -> Source:
    arrays = {key: value for key, value in (good() | changes).items() if value is not None}
    np.savez(folder / "set.npz", **arrays)
    return open_source(f"npz:{folder / 'set.npz'}", image_size=64)


def test_arrays_are_handed_out_as_they_are(tmp_path: Path) -> None:
    source = open_arrays(tmp_path)
    assert source.image_shape == (4, 5, 3)
    assert source.class_names == ("0", "1", "2")
    images, labels = decode(source, "train", cache_dir=None)
    np.testing.assert_array_equal(images, good()["x_train"])
    np.testing.assert_array_equal(labels, good()["y_train"])
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    images, labels = decode(source, "test", cache_dir=None)
    np.testing.assert_array_equal(images, good()["x_test"])
    np.testing.assert_array_equal(labels, [2, 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int64, ">i2"])
def test_grey_images_and_column_labels_of_any_integer_dtype(tmp_path: Path, dtype: Any) -> None:
    source = open_arrays(
        tmp_path,
        x_train=good()["x_train"][..., 0],
        x_test=good()["x_test"][..., 0],
        y_train=good()["y_train"].astype(dtype)[:, np.newaxis],
    )
    assert source.image_shape == (4, 5, 1)
    images, labels = decode(source, "train", cache_dir=None)
    np.testing.assert_array_equal(images, good()["x_train"][..., :1])
    np.testing.assert_array_equal(labels, good()["y_train"])
    assert labels.dtype == np.dtype(np.int32) and labels.shape == (6,)


def test_class_names_from_the_file(tmp_path: Path) -> None:
    source = open_arrays(tmp_path, class_names=np.array(["ant", "bee", "cat"]))
    assert source.class_names == ("ant", "bee", "cat")


def test_arrays_that_validate(tmp_path: Path) -> None:
    source = open_arrays(tmp_path, x_val=good()["x_test"] // 2, y_val=np.array([[1], [1]]))
    assert source.split_names["validation"] == "val"
    images, labels = decode(source, "validation", cache_dir=None)
    np.testing.assert_array_equal(images, good()["x_test"] // 2)
    assert labels.tolist() == [1, 1]


X, Y = good()["x_train"], good()["y_train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "has no y_test; it needs .* holds x_train, y_train, x_test"),
        ({"x_train": None, "x_test": None}, "has no x_train and no x_test"),
        ({"x_train": X / 255}, "x_train is float64; images must be uint8, from 0 to 255"),
        ({"x_test": X.astype(np.int64)}, "x_test is int64; images must be uint8"),
        ({"x_train": X[0, 0]}, r"x_train has shape \[5, 3\]"),
        ({"x_train": X[:, :0]}, r"x_train has shape \[6, 0, 5, 3\]"),
        ({"x_train": X[np.newaxis]}, r"x_train has shape \[1, 6, 4, 5, 3\]"),
        ({"y_train": Y.astype(np.float32)}, "y_train is float32; labels must be integers"),
        ({"y_train": Y > 0}, "y_train is bool; labels must be integers"),
        ({"y_train": np.eye(6, dtype=int)}, r"y_train has shape \[6, 6\]"),
        ({"y_train": Y[:5]}, "x_train has 6 images and y_train 5 labels"),
        ({"x_test": X[:2, 1:]}, r"x_train are \[4, 5, 3\] and those of x_test \[3, 5, 3\]"),
        ({"y_train": Y - 1}, r"y_train\[0\] is -1; labels count from 0"),
        ({"y_test": np.array([0, -3])}, r"y_test\[1\] is -3; labels count from 0"),
        (
            {"y_test": np.array([0, 3])},
            r"y_test\[1\] is 3, and y_train has only the classes 0 to 2",
        ),
        ({"y_train": np.array([0, 1, 3, 0, 1, 3])}, "y_train has no image of class 2 but one of"),
        ({"y_train": np.array([1, 2, 3, 1, 2, 3])}, "y_train has no image of class 0"),
        ({"y_train": Y.astype(np.uint64) + np.uint64(2**63)}, "y_train has no image of class 0"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty"),
        ({"x_val": X}, "has no y_val; it needs x_train, .*, x_val, y_val and holds"),
        ({"x_val": X, "y_val": Y + 1}, r"y_val\[2\] is 3, and y_train has only the classes 0 to 2"),
        (
            {"x_val": X[:, 1:], "y_val": Y},
            r"x_train are \[4, 5, 3\] and those of x_val \[3, 5, 3\]",
        ),
        ({"class_names": np.array(["ant"])}, "class_names .* each of the 3 classes"),
        ({"class_names": np.arange(3)}, "class_names is int64"),
        ({"class_names": np.array(["ant", "bee", "ant"])}, "class_names has 'ant' more than once"),
        ({"x_train": np.array([None, "a"])}, "x_train is an array of Python objects"),
        ({"y_test": np.array([1, None])}, "y_test is an array of Python objects"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        open_arrays(tmp_path, **changes)
    assert str(tmp_path / "set.npz") in str(raised.value)


def test_an_empty_test_part_is_refused_when_it_is_wanted(tmp_path: Path) -> None:
    source = open_arrays(tmp_path, x_test=good()["x_test"][:0], y_test=good()["y_test"][:0])
    with pytest.raises(InputError, match=r"test part of npz:.*set\.npz is empty"):
        decode(source, "test", cache_dir=None)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    missing = tmp_path / "missing.npz"
    with pytest.raises(InputError, match=f"no file {re.escape(str(missing))}"):
        open_source(f"npz:{missing}", image_size=8)
    with pytest.raises(InputError, match=f"no file {re.escape(str(tmp_path))}"):
        open_source(f"npz:{tmp_path}", image_size=8)
    for content in (b"", b"text that is no archive", b"PK\x03\x04 broken", b"\x80\x04pickle"):
        file = tmp_path / "junk.npz"
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"junk\.npz is not an \.npz file"):
            open_source(f"npz:{file}", image_size=8)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"one\.npy is not an \.npz file"):
        open_source(f"npz:{tmp_path / 'one.npy'}", image_size=8)


def test_a_file_with_a_flipped_byte(tmp_path: Path) -> None:
    open_arrays(tmp_path)
    file = tmp_path / "set.npz"
    content = bytearray(file.read_bytes())
    content[content.index(X.tobytes()[:50]) + 10] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"set\.npz: x_train is damaged"):
        open_source(f"npz:{file}", image_size=8)


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **{key: good()[key] for key in good() if key != "y_test"})
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive:
        archive.writestr("y_test", "0 1")
    with pytest.raises(InputError, match=r"set\.npz: y_test is not an array"):
        open_source(f"npz:{tmp_path / 'set.npz'}", image_size=8)
