"""What a run trains on, validates on and is tested on, for each source and rule."""

import dataclasses
import types

import numpy as np
import pytest

from configs import mixer
from mlpvis_jax.data import open_source, prefetching
from mlpvis_jax.data.examples import ArrayExamples
from mlpvis_jax.errors import InputError
from mlpvis_jax.running import task
from mlpvis_jax.running.stream import refuse_workers_without_room
from mlpvis_jax.running.task import Task, is_streamed
from mlpvis_jax.settings.config import RunConfig
from tests.images_on_disk import made, write_folder


@pytest.fixture
def read(tmp_path):
    """A function: reads the data of a run with these settings of `config.data`."""

    def call(source, **data):
        values = mixer.get_config("digits").to_dict()
        values["data"] |= {"source": str(source), **data}
        return Task.read(RunConfig.from_mapping(values), tmp_path / "run")

    return call


@pytest.mark.parametrize("split", [False, True])
def test_a_run_does_not_lie_among_its_images(tmp_path, monkeypatch, split):
    """Its pictures would be another class at the next start."""
    images = tmp_path / "pets"
    splits = {"train": made(25), "test": made(7, seed=1)}
    write_folder(images, splits)
    if not split:
        images = images / "train"
    values = mixer.get_config("digits").to_dict()
    values["data"]["source"] = "folder:."
    monkeypatch.chdir(images)
    inside = images / ("train/runs" if split else "runs/a")
    with pytest.raises(InputError, match=r"--workdir=.* lies in .*, of which every folder is a"):
        Task.read(RunConfig.from_mapping(values), inside)
    values["data"]["cache_dir"] = str(inside)
    with pytest.raises(InputError, match=r"config.data.cache_dir=.* lies in"):
        Task.read(RunConfig.from_mapping(values), tmp_path / "runs/a")
    values["data"]["cache_dir"] = None
    Task.read(RunConfig.from_mapping(values), images / "runs" if split else tmp_path / "runs/a")


@pytest.fixture
def sorted_npz(tmp_path):
    """The digits, class by class, as a folder lists them."""
    source = open_source("digits", image_size=8)
    order = np.argsort(source.train.labels, kind="stable")
    arrays = {"x_train": source.train.images[order], "y_train": source.train.labels[order]}
    path = tmp_path / "sorted.npz"

    def write(**changes):
        tests = {"x_test": source.test.images, "y_test": source.test.labels}
        np.savez(path, **arrays, **tests | changes)
        return f"npz:{path}"

    return write


def test_own_images_validate_on_every_class(read, sorted_npz):
    task = read(sorted_npz())
    in_training, in_validation = (
        np.bincount(one.labels, minlength=10) for one in (task.training, task.validation)
    )
    assert (abs(in_validation / (in_training + in_validation) - 0.1) < 0.005).all()
    assert task.identity["validation_rule"] == "stratified:0.1"


@pytest.mark.parametrize("validation", [None, "last:0.1"])
def test_digits_validate_on_their_last_tenth_as_ever(read, validation):
    task = read("digits", validation=validation)
    source = open_source("digits", image_size=8)
    images = source.train.images.reshape(1438, 64)
    np.testing.assert_array_equal(task.training.images, images[:1294])
    np.testing.assert_array_equal(task.validation.images, images[1294:])
    assert task.training.image_shape == task.validation.image_shape == (8, 8, 1)
    np.testing.assert_array_equal(task.validation.labels, source.train.labels[1294:])
    assert task.training.images.base is not None  # a view: nothing is copied
    assert task.describe() == (
        "digits: 1,294 train, 144 validation (last:0.1), 359 test images, 10 classes"
    )


def test_a_split_of_the_source_validates(read, sorted_npz):
    other = np.full((20, 8, 8), 7, np.uint8)
    source = sorted_npz(x_val=other, y_val=np.arange(20) % 10)
    for validation in (None, "val"):
        task = read(source, validation=validation)
        assert len(task.training) == 1438 and (task.validation.images == 7).all()
    assert len(read(source, validation="stratified:0.5").validation) == pytest.approx(719, abs=10)


def test_a_limit_comes_before_the_split(read, sorted_npz):
    for source in ("digits", sorted_npz()):
        task = read(source, limit=100, validation="stratified:0.2")
        assert [len(one) for one in (task.training, task.validation, task.test)] == [80, 20, 100]
        for one in (task.training, task.validation, task.test):
            assert len(np.unique(one.labels)) == 10
    assert len(read("digits", limit=1000).test) == 359


def test_a_class_that_a_set_lacks_is_said(read, sorted_npz):
    digits = open_source("digits", image_size=8).test
    some = digits.labels < 5
    source = sorted_npz(x_test=digits.images[some], y_test=digits.labels[some])
    assert read(source).describe().endswith("; no test image of '5', '6', '7' and 2 more")
    with pytest.raises(InputError, match=r"last:0.2 leaves no image of the class '8' .* to train"):
        read(source, validation="last:0.2")
    for limit in (9, 10):  # the second leaves one image of each class, which cannot do both
        with pytest.raises(InputError, match=r"config\.data\.limit"):
            read(source, limit=limit)


def test_a_single_class_is_refused(read, tmp_path):
    images, labels = np.zeros((9, 8, 8), np.uint8), np.zeros(9, int)
    path = tmp_path / "one.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(InputError, match="has only the class '0'; at least 2 classes are needed"):
        read(f"npz:{path}")


def test_the_identity_tells_data_apart(read, sorted_npz):
    identity = read(sorted_npz()).identity
    assert read(sorted_npz()).identity == identity
    tests = open_source("digits", image_size=8).test
    images, labels = tests.images.copy(), tests.labels.copy()
    images[-1, -1, -1] ^= 1
    labels[-1] ^= 1
    for changes, part in (({"x_test": images}, "images"), ({"y_test": labels}, "labels")):
        changed = read(sorted_npz(**changes)).identity
        assert changed["test"].pop(part) != identity["test"][part]
        assert changed["training"] == identity["training"]
        assert changed["test"] == {k: v for k, v in identity["test"].items() if k != part}


def test_a_limit_shortens_what_is_decoded_only_where_labels_are_known(sorted_npz, monkeypatch):
    pytest.importorskip("grain")
    source = open_source(sorted_npz(), image_size=8)
    config = mixer.get_config("digits")
    config.data.limit = 20
    config = RunConfig.from_mapping(config.to_dict())
    few = 2 * 20 * int(np.prod(source.image_shape))
    monkeypatch.setattr(task, "device_bytes", lambda: few / task._SHARE_OF_MEMORY)
    assert not is_streamed(config, source)

    class Unknown(ArrayExamples):
        labels = None

        def __init__(self, images):
            self.images = images

    unknown = dataclasses.replace(source, train=Unknown(source.train.images))
    assert is_streamed(config, unknown)


def test_processes_without_shared_memory_for_all_three_sets_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("grain")
    monkeypatch.setattr(prefetching, "_SHARED_MEMORY", str(tmp_path))
    write_folder(tmp_path / "images", {"train": made(25), "test": made(7, seed=1)})
    config = mixer.get_config("digits")
    config.data.update(source=f"folder:{tmp_path / 'images'}", feed="stream", workers=2)
    config = RunConfig.from_mapping(config.to_dict())
    source = task.open_data(config)
    piece = config.batch_size * int(np.prod(source.image_shape))
    needed = 3 * 2 * (2 * 16 + 3) * piece  # three sets, two processes
    for free, is_enough in ((needed, True), (needed - 1, False)):
        usage = types.SimpleNamespace(free=free)
        monkeypatch.setattr(prefetching.shutil, "disk_usage", lambda _, usage=usage: usage)
        if is_enough:
            refuse_workers_without_room(source, config)
            continue
        with pytest.raises(InputError, match="config.data.workers: processes hand images over in"):
            refuse_workers_without_room(source, config)
