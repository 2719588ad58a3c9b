"""Which images validate: a share of every class, whatever the order, and copies together."""

import dataclasses
import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.data import Source, open_source, split
from mlpvis_jax.data.examples import ArrayExamples, Example, Examples
from mlpvis_jax.errors import InputError


def source_of(labels: np.ndarray, images: np.ndarray | None = None, **more: Any) -> Source:
    """Images of 2 x 2 random pixels, unless they are given."""
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 2, 2, 1), np.uint8)
    examples = ArrayExamples(images, labels)
    names = tuple(f"class {label}" for label in range(labels.max() + 1))
    return Source(
        name="made up",
        class_names=names,
        image_shape=(2, 2, 1),
        train=examples,
        test=examples,
        split_names={"train": "train", "test": "test"} | more,
        fingerprint="0",
        validation=examples if "validation" in more else None,
    )


def divide(source: Source, rule: str, rows: Any = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """The images that train and those that validate, of these rows of the source."""
    assert isinstance(source.train, ArrayExamples)
    images, labels = source.train.images[rows], source.train.labels[rows]
    parts = split.divide(source, rule, ArrayExamples(images, labels), images, labels)
    return images[parts[0]], images[parts[1]]


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_each_class_gives_its_share_however_it_is_sorted() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 40, 7, 2])  # as a folder lists them
    source = source_of(labels)
    assert isinstance(source.train, ArrayExamples)
    train, validation = split.divide(
        source, "stratified:0.1", source.train, source.train.images, labels
    )
    assert np.bincount(labels[validation]).tolist() == [10, 4, 1, 1]
    assert sorted([*train, *validation]) == list(range(149))
    assert list(train) == sorted(train) and list(validation) == sorted(validation)


def test_the_draw_does_not_depend_on_the_order() -> None:
    source = source_of(np.arange(200) % 5)
    _, expected = divide(source, "stratified:0.2")
    _, found = divide(source, "stratified:0.2", np.random.default_rng(1).permutation(200))
    assert len(expected) == 40 and as_set(found) == as_set(expected)


def test_the_draw_is_the_documented_one() -> None:
    source = source_of(np.zeros(30, int) + np.arange(30) % 2)
    images = source.train.images[::2]  # type: ignore[attr-defined]
    names = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    # uint64 of little-endian bytes, in hexadecimal digits.
    names = [bytes.fromhex(name[:16])[::-1].hex() for name in names]
    keys = [hashlib.sha256(f"validation {name}".encode()).digest()[:8][::-1] for name in names]
    smallest = sorted(range(15), key=lambda index: keys[index])[:3]
    _, validation = divide(source, "stratified:0.2")
    assert as_set(images[smallest]) == as_set(validation) & as_set(images)


def test_copies_of_an_image_stay_together() -> None:
    random = np.random.default_rng(2)
    which = random.integers(0, 40, 400)
    images = random.integers(0, 256, (40, 2, 2, 1), np.uint8)[which]
    train, validation = divide(source_of(which % 2, images), "stratified:0.3")
    assert 120 <= len(validation) < 180 and not as_set(train) & as_set(validation)


def test_copies_in_files_of_other_names_stay_together(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(40):
            path = tmp_path / "train" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), number // 4).save(path)
            (tmp_path / "test" / label).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(tmp_path / "test" / label / "0.png")
    source = open_source(f"folder:{tmp_path}", image_size=4)
    images = np.stack([source.train[index].image for index in range(80)])
    assert source.train.labels is not None
    train, validation = split.divide(
        source, "stratified:0.1", source.train, images, source.train.labels
    )
    assert len(validation) == 8
    for label in (0, 1):
        of_class = [part[source.train.labels[part] == label] for part in (train, validation)]
        assert not as_set(images[of_class[0]]) & as_set(images[of_class[1]])


@pytest.mark.parametrize("number", [2, 9, 10, 11, 1438, 50_000])
def test_the_last_tenth_is_that_of_the_keras_example(number: int) -> None:
    labels = np.zeros(number, np.int32)
    source = source_of(np.array([0, 1]))
    rows = split.divide(source, "last:0.1", source.train, labels, labels)
    assert rows == (slice(int(number * 0.9)), slice(int(number * 0.9), None))


@pytest.mark.parametrize(("number", "share", "train"), [(1000, "0.9", 100), (10, "0.9", 1)])
def test_a_share_is_exact(number: int, share: str, train: int) -> None:
    labels = np.zeros(number, np.int32)
    source = source_of(np.array([0, 1]))
    rows = split.divide(source, f"last:{share}", source.train, labels, labels)
    assert rows == (slice(train), slice(train, None))


def test_what_cannot_be_divided() -> None:
    with pytest.raises(InputError, match="'class 1' of made up has one image to train on"):
        divide(source_of(np.array([0, 0, 1])), "stratified:0.1")
    images = np.zeros((5, 2, 2, 1), np.uint8)
    with pytest.raises(InputError, match="'class 0' of made up has 5 copies of one image"):
        divide(source_of(np.zeros(5, int), images), "stratified:0.5")
    with pytest.raises(InputError, match=r"1 training images, of which .*last:0.1 leaves none"):
        divide(source_of(np.array([0])), "last:0.1")


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        (None, None, "stratified:0.1"),
        (None, "val", "val"),
        ("val", "val", "val"),
        ("last:.25", "val", "last:0.25"),
        ("stratified:0.10", None, "stratified:0.1"),
    ],
)
def test_rules(asked: str | None, own: str | None, expected: str) -> None:
    source = source_of(np.array([0, 1]), **({"validation": own} if own else {}))
    assert split.find_rule(source, asked) == expected


@pytest.mark.parametrize(
    "asked", ["val", "test", "last", "last:0", "last:1", "last:x", "last:nan", "first:0.1", ""]
)
def test_rules_that_cannot_be_followed(asked: str) -> None:
    with pytest.raises(InputError) as raised:
        split.find_rule(source_of(np.array([0, 1]), validation="validation"), asked)
    message = str(raised.value)
    assert f"config.data.validation is {asked!r}" in message
    assert "'validation', its own split, or stratified:0.1" in message


def first(source: Source, limit: int) -> list[int]:
    assert isinstance(source.train, ArrayExamples)
    rows = split.first_rows(source, source.train, source.train.labels, limit)
    assert rows.tolist() == sorted(rows)
    return rows.tolist()


def test_a_limit_takes_of_each_class_its_share_and_a_larger_one_more() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    source = source_of(labels)
    counts = {limit: np.bincount(labels[first(source, limit)]) for limit in (3, 6, 100, 500)}
    assert {limit: count.tolist() for limit, count in counts.items()} == {
        3: [1, 1, 1],
        6: [2, 2, 2],
        100: [60, 30, 10],
        500: [300, 150, 50],
    }
    taken = [set(first(source, limit)) for limit in (3, 4, 6, 50, 100, 999, 1000)]
    assert all(less < more for less, more in itertools.pairwise(taken))
    with pytest.raises(InputError, match=r"config.data.limit is 2, and made up has 3 classes"):
        first(source, 2)


def test_a_limit_takes_the_same_images_in_any_order() -> None:
    source = source_of(np.arange(200) % 5)
    assert isinstance(source.train, ArrayExamples)
    order = np.random.default_rng(1).permutation(200)
    other = source_of(source.train.labels[order], source.train.images[order])
    assert {int(order[row]) for row in first(other, 60)} == set(first(source, 60))


def test_only_images_within_the_limit_are_decoded() -> None:
    class Watching(Examples):
        labels = np.arange(100) % 2
        asked: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> Example:
            self.asked.append(index)
            return Example(np.zeros((2, 2, 1), np.uint8), index % 2)

    source = dataclasses.replace(source_of(np.array([0, 1])), train=Watching())
    limited = split.limit_known(source, "train", 10)
    assert len(limited.train.read(0, 10)) == len(Watching.asked) == 10
    assert limited.fingerprint != source.fingerprint
    assert split.limit_known(source, "train", 100) is source


def test_the_same_file_in_two_classes_is_divided_alike_by_both_feeds(tmp_path: Path) -> None:
    """A stream looks for copies within classes alone, and the split may not tell of the feed."""
    for number in range(60):
        shared = number < 20  # in both classes
        for place, label in enumerate(("a", "b")):
            for part in ("train", "test"):
                path = tmp_path / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), number if shared else 100 + 60 * place + number).save(path)
    source = open_source(f"folder:{tmp_path}", image_size=4)
    labels = source.train.labels
    assert labels is not None
    images = np.stack([source.train[index].image for index in range(120)])
    resident = split.divide(source, "stratified:0.3", source.train, images, labels)
    streamed = split.divide(source, "stratified:0.3", source.train, None, labels)
    assert [rows.tolist() for rows in resident] == [rows.tolist() for rows in streamed]


def test_a_limit_refuses_labels_outside_the_classes_by_name() -> None:
    source = source_of(np.arange(40) % 2)
    labels = np.arange(40) % 2
    labels[7] = -1
    unlabelled = dataclasses.replace(source, train=ArrayExamples(source.train.images, labels))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="Label -1 of image 7 in the train part of made up"):
        split.limit_known(unlabelled, "train", 20)
