"""A run that is fed by a stream is the run on resident images, to the bit, also when it goes on."""

import dataclasses
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlpvis_jax.data import Example, Examples, Source, open_source
from mlpvis_jax.data.framing import frame_seeds, random_frame
from mlpvis_jax.data.images import decode_image
from mlpvis_jax.data.resident import PADDING, ResidentSet, rows_in_order
from mlpvis_jax.data.streamed import StreamedSet
from mlpvis_jax.errors import InputError
from mlpvis_jax.running import stream, task
from mlpvis_jax.running.feed import ResidentFeed, order_of_epoch
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.task import Task
from mlpvis_jax.running.trials import TrialParallel
from tests import tiny
from tests.images_on_disk import made, write_folder, write_shards

pytest.importorskip("grain", reason="Grain, which streams are read with, is not installed")

pytestmark = pytest.mark.optimised

ROOT = Path(__file__).parents[2]
# 36 of 40 images train: 6 steps of 7, the last one padded, in chunks of two.
CHANGES = {
    "batch_size": 7,
    "steps_per_dispatch": 2,
    "microbatch_size": 2,
    "duration": 3,
    "reduce_on_plateau.patience": 1,
    "optimizer.learning_rate": 0.02,
}


@pytest.fixture(scope="module")
def splits():
    return {"train": made(42), "test": made(10, seed=1)}


@pytest.fixture(scope="module")
def folder(splits, tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    write_folder(path, splits)
    return f"folder:{path}"


@pytest.fixture(scope="module")
def shards(splits, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    write_shards(path, splits)
    return f"shards:{path}"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def settings(source, **changes):
    return tiny.settings("", **{**CHANGES, "data.source": source, **changes})


def left_behind(path):
    """What a run leaves: its history, its results and its weights."""
    weights = {
        f"{name} {key}": (leaf.dtype, leaf.tobytes())
        for name in ("best", "last")
        for key, leaf in load_file(path / f"{name}.safetensors").items()
    }
    results = tiny.without_clock(json.loads((path / "results.json").read_text()))
    return tiny.history(path), results, weights


@pytest.mark.slow
def test_a_streamed_run_is_the_resident_run(launch_main, shards, tiny_npz, tmp_path):
    for name, source in (("npz", f"npz:{tiny_npz}"), ("shards", shards)):
        found = []
        for feed in ("resident", "stream"):
            path = tmp_path / f"{name}-{feed}"
            arguments = settings(source, **{"data.feed": feed})
            assert launch_main(*arguments, f"--workdir={path}") == 0
            found.append(left_behind(path))
        assert found[0] == found[1]
        assert len(found[0][0]) == 3


@pytest.mark.slow
def test_a_resident_run_goes_on_streamed_and_back(launch_main, folder, tmp_path):
    assert launch_main(*settings(folder), f"--workdir={tmp_path / 'straight'}") == 0
    for epochs, feed in ((1, "resident"), (2, "stream"), (3, "resident")):
        changes = {"data.feed": feed, "duration": epochs}
        assert launch_main(*settings(folder, **changes), f"--workdir={tmp_path / 'pieces'}") == 0
    assert left_behind(tmp_path / "pieces") == left_behind(tmp_path / "straight")


@pytest.mark.slow
def test_other_files_are_refused_by_name(launch_main, splits, tmp_path, capsys):
    write_folder(tmp_path / "set", splits)
    arguments = [
        *settings(f"folder:{tmp_path / 'set'}", **{"data.feed": "stream", "duration": 1}),
        f"--workdir={tmp_path / 'run'}",
    ]
    assert launch_main(*arguments) == 0
    file = tmp_path / "set/train/ant/000000.jpg"
    file.write_bytes(file.read_bytes() + b" ")  # the same pixels, but who can tell undecoded
    assert launch_main(*arguments, "--config.duration=2") == 2
    assert re.search(r"the (training|validation) images changed", capsys.readouterr().err)
    assert launch_main(f"--workdir={tmp_path / 'run'}", "--mode=evaluate") == 0


@pytest.mark.slow
def test_a_report_of_a_streamed_run(launch_main, shards, tmp_path, capsys):
    path = tmp_path / "run"
    assert launch_main(*settings(shards, **{"data.feed": "stream"}), f"--workdir={path}") == 0
    results = json.loads((path / "results.json").read_text())
    capsys.readouterr()
    assert launch_main(f"--workdir={path}", "--mode=evaluate") == 0
    assert "are not those of the run" not in capsys.readouterr().out
    report = json.loads((path / "report/report.json").read_text())
    assert report["test_loss"] == results["test_loss"]


@pytest.fixture
def start(start_python):
    """A function: starts a program, with a cache of compiled programs and so many devices."""

    def call(arguments, cache, devices=1, program=("launch.py",)):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
        }
        return start_python(*program, *arguments, env=environment)

    return call


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_with_other_workers(folder, start, tmp_path):
    """Stopped by a signal within epochs, by two numbers of workers, and gone on with by a third."""

    def train(path, workers, program=("launch.py",), status=0):
        arguments = settings(folder, **{"data.feed": "stream", "data.workers": workers})
        done = start([*arguments, f"--workdir={path}"], tmp_path / "compiled", 2, program)
        _, err = done.communicate()
        assert done.returncode == status, err
        assert "leaked" not in err and "ignored" not in err
        return err

    script = "tests/running/resume_script.py"
    train(tmp_path / "straight", 0)
    err = train(tmp_path / "pieces", 1, (script, "0"), 128 + signal.SIGTERM)
    assert "stopped after step 2," in err
    err = train(tmp_path / "pieces", 2, (script, "1"), 128 + signal.SIGTERM)
    assert re.search(r"stopped after step \d+,", err)
    train(tmp_path / "pieces", 2)
    assert left_behind(tmp_path / "pieces") == left_behind(tmp_path / "straight")


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process_and_goes_on(folder, start, tmp_path):
    import psutil

    changes = {"data.feed": "stream", "duration": 24, "checkpoint.every_steps": 4}
    straight = start(
        [*settings(folder, **changes), f"--workdir={tmp_path / 'straight'}"], tmp_path / "compiled"
    )
    assert straight.wait() == 0
    path = tmp_path / "pieces"
    arguments = [*settings(folder, **changes, **{"data.workers": 2}), f"--workdir={path}"]
    for kills in range(2):
        process = start(arguments, tmp_path / "compiled")
        children = []
        while process.poll() is None:
            children += psutil.Process(process.pid).children()
            if len(tiny.history(path) if (path / "metrics.jsonl").exists() else []) > 4 * kills:
                process.kill()
            time.sleep(0.05)
        assert process.returncode == -signal.SIGKILL
        gone, alive = psutil.wait_procs(children, timeout=30)
        assert gone and not alive
    assert start(arguments, tmp_path / "compiled").wait() == 0
    assert left_behind(path) == left_behind(tmp_path / "straight")


def feed_of(kind, placement, examples, config, seeds):
    return kind(placement, examples, config, 2, placement.place(seeds))


def batches(feed, placement, seeds, epoch, first_step):
    """Every batch that a feed gives, as its first device sees them."""
    found = []
    chunks = feed.chunks(len(seeds), placement.place(seeds), epoch, first_step, 2)
    for data, first, number in chunks:
        if feed.layout is not stream.StreamFeed.layout:  # each run has its own
            data = placement.fetch(data, len(seeds))[0]
        for step in range(first, first + number):
            batch = feed.batch(feed.resident, data, np.int32(step))
            found.append([np.asarray(one) for one in (batch.images, batch.labels, batch.mask)])
    return found


@pytest.mark.parametrize(("repeats", "order_bytes"), [(1, 1 << 25), (3, 1 << 25), (1, 1)])
def test_batches_are_those_of_the_resident_feed(folder, monkeypatch, repeats, order_bytes):
    monkeypatch.setattr(stream, "_ORDER_BYTES", order_bytes)  # of one: a stream for each epoch
    config = tiny.config("", **{**CHANGES, "data.source": folder, "repeats": repeats})
    source = open_source(folder, image_size=8)
    streamed = StreamedSet.of(source, "train")
    images = np.stack([example.image for example in streamed.examples.read(0, 42)])
    resident = ResidentSet.of(images, streamed.labels)
    placement, seeds = DataParallel.all(), [np.uint32(3)]
    of_stream = feed_of(stream.StreamFeed, placement, streamed, config, seeds)
    of_resident = feed_of(ResidentFeed, placement, resident, config, seeds)
    assert of_stream.steps_per_epoch == of_resident.steps_per_epoch == 6
    # On from the epoch before, on from elsewhere, within an epoch, and again.
    for epoch, first_step in ((1, 0), (2, 0), (2, 3), (1, 4), (3, 0), (7, 0)):
        wanted = batches(of_resident, placement, seeds, epoch, first_step)
        found = batches(of_stream, placement, seeds, epoch, first_step)
        assert len(found) == 6 - first_step
        for one, other in zip(found, wanted, strict=True):
            for leaf, expected in zip(one, other, strict=True):
                np.testing.assert_array_equal(leaf, expected)
        if first_step == 0 and repeats == 1:
            shown = np.concatenate([images[mask] for images, _, mask in found]).reshape(42, -1)
            assert len(np.unique(shown, axis=0)) == 42  # every image once


def test_an_epoch_that_is_left_is_begun_again(folder):
    config = tiny.config("", **{**CHANGES, "data.source": folder})
    streamed = StreamedSet.of(open_source(folder, image_size=8), "train")
    placement, seeds = DataParallel.all(), [np.uint32(3)]
    feed = feed_of(stream.StreamFeed, placement, streamed, config, seeds)
    wanted = batches(feed, placement, seeds, 1, 0)
    next(feed.chunks(1, placement.place(seeds), 1, 0, 2))
    for first_step in (2, 0):  # where it was left, and from the beginning
        found = batches(feed, placement, seeds, 1, first_step)
        for one, other in zip(found, wanted[first_step:], strict=True):
            np.testing.assert_array_equal(one[0], other[0])


def test_chunks_are_no_larger_than_memory_is_meant_for_them(folder, monkeypatch):
    streamed = StreamedSet.of(open_source(folder, image_size=8), "train")
    placement, seeds = DataParallel.all(), [np.uint32(3)]
    config = dataclasses.replace(tiny.config("", **CHANGES), steps_per_dispatch=100)
    wide = feed_of(stream.StreamFeed, placement, streamed, config, seeds)
    assert wide.example_chunk().data.images.shape == (100, 8, 192)
    monkeypatch.setattr(stream, "_CHUNK_BYTES", 3 * 8 * 192)
    narrow = feed_of(stream.StreamFeed, placement, streamed, config, seeds)
    assert narrow.example_chunk().data.images.shape == (3, 8, 192)
    assert len(batches(narrow, placement, seeds, 1, 0)) == 6


def test_a_set_is_streamed_where_it_would_fill_a_quarter_of_the_memory(
    folder, tmp_path, monkeypatch
):
    decoded = 52 * 8 * 8 * 3
    for memory, feed, kind in (
        (4 * decoded, None, ResidentSet),
        (4 * decoded - 1, None, StreamedSet),
        (1, "resident", ResidentSet),
        (1 << 40, "stream", StreamedSet),
    ):
        monkeypatch.setattr(task, "device_bytes", lambda memory=memory: memory)
        config = tiny.config("", **{**CHANGES, "data.source": folder, "data.feed": feed})
        found = Task.read(config, tmp_path / "run")
        for one in (found.training, found.validation, found.test):
            assert isinstance(one, kind)
        assert found.describe().endswith("; streamed") == (kind is StreamedSet)


def test_statistics_are_those_of_all_training_images_and_are_kept(folder, tmp_path, monkeypatch):
    def read(feed):
        config = tiny.config("", **{**CHANGES, "data.source": folder, "data.feed": feed})
        return Task.read(config, tmp_path / "run")

    streamed, resident = read("stream"), read("resident")
    np.testing.assert_array_equal(streamed.normalization.mean, resident.normalization.mean)
    images = np.asarray(resident.training.images, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(streamed.normalization.mean, images.mean(axis=0), rtol=1e-6)
    monkeypatch.setattr(task, "count_values", None)
    np.testing.assert_array_equal(read("stream").normalization.mean, resident.normalization.mean)


class _Plain(Examples):
    """Images of one pixel value, and nothing that tells them apart undecoded."""

    def __init__(self, value, number):
        self.value, self.number = value, number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return Example(np.full((8, 8, 3), self.value, np.uint8), (index + self.value) % 2)


@pytest.mark.parametrize("changed", ["name", "fingerprint"])
def test_what_is_kept_is_not_taken_for_another_source(tmp_path, monkeypatch, changed):
    """Labels, statistics and copies, also where there are no marks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = Source(
        name="mine", class_names=("a", "b"), image_shape=(8, 8, 3), train=_Plain(10, 60),
        test=_Plain(10, 4), split_names={}, fingerprint="1",
    )  # fmt: skip
    second = dataclasses.replace(
        first, train=_Plain(61, 60), test=_Plain(61, 4), **{changed: "another"}
    )
    for source, value, limit in ((first, 10, 20), (second, 61, None), (first, 10, None)):
        monkeypatch.setattr(task, "open_source", lambda *_, source=source, **__: source)
        changes = {"data.feed": "stream", "data.validation": "stratified:0.2", "data.limit": limit}
        found = Task.read(tiny.config("", **{**CHANGES, **changes}), tmp_path / "run")
        np.testing.assert_allclose(found.normalization.mean, value)
        assert len(found.training) + len(found.validation) == (limit or 60)
        labels = [found.training.examples[row].label for row in range(len(found.training))]
        np.testing.assert_array_equal(labels, found.training.labels)


def test_copies_stay_together_as_they_do_where_all_are_decoded(tmp_path):
    copies = made(6)
    images = [*made(30, seed=2), *copies, *copies, *copies[::-1]]
    write_folder(tmp_path / "set", {"train": images, "test": made(3)})
    found = []
    for feed in ("stream", "resident"):
        changes = {"data.source": f"folder:{tmp_path / 'set'}", "data.feed": feed}
        changes["data.validation"] = "stratified:0.3"
        found.append(Task.read(tiny.config("", **{**CHANGES, **changes}), tmp_path / "run"))
    for part in ("training", "validation"):
        marks = [task.identity[part]["marks"] for task in found]
        assert marks[0] == marks[1]
        streamed = getattr(found[0], part)
        shown = {streamed.examples[row].image.tobytes() for row in range(len(streamed))}
        in_copies = {image for image in shown if image in _decoded(copies)}
        assert len(shown) + 2 * len(in_copies) == len(streamed)


def _decoded(images):
    return {decode_image(one, channels=3, size=8, name="").tobytes() for one, _ in images}


def test_a_limit_takes_the_same_images_of_a_stream(folder, tmp_path):
    found = []
    for feed in ("stream", "resident"):
        changes = {"data.source": folder, "data.feed": feed, "data.limit": 20}
        found.append(Task.read(tiny.config("", **{**CHANGES, **changes}), tmp_path / "run"))
    streamed, resident = found
    for part in ("training", "validation", "test"):
        rows = range(len(getattr(streamed, part)))
        images = [getattr(streamed, part).examples[row].image.ravel() for row in rows]
        np.testing.assert_array_equal(np.stack(images), getattr(resident, part).images)
    assert [len(streamed.training) + len(streamed.validation), len(streamed.test)] == [20, 10]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_stream_crops_each_image_anew_in_each_epoch(folder, repeats):
    changes = {"data.source": folder, "data.random_crop": 0.2, "repeats": repeats}
    config = tiny.config("", **{**CHANGES, **changes})
    streamed = StreamedSet.of(open_source(folder, image_size=8), "train")
    placement, seeds = DataParallel.all(), [np.uint32(3)]
    order = np.asarray(
        order_of_epoch(rows_in_order(42, 7, 1, 4), np.uint32(3), np.int32(2), 42, repeats)
    )
    feed = feed_of(stream.StreamFeed, placement, streamed, config, seeds)
    straight = [batches(feed, placement, seeds, epoch, 0) for epoch in (1, 2)]
    resumed = batches(
        feed_of(stream.StreamFeed, placement, streamed, config, seeds), placement, seeds, 2, 3
    )
    for one, other in zip(resumed, straight[1][3:], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    shown = [np.concatenate([images[mask] for images, _, mask in epoch]) for epoch in straight]
    assert len(np.unique(np.concatenate(shown).reshape(84, -1), axis=0)) == 84
    # Each is what its frame takes of its own image.
    crops = frame_seeds(order, 3, 2)[order != PADDING]
    for image, row, seed in zip(shown[1], order[order != PADDING], crops, strict=True):
        expected = streamed.examples.framed(int(row), random_frame(int(seed), 0.2))
        np.testing.assert_array_equal(image, expected.image)


@pytest.mark.slow
def test_trials_of_one_seed_share_a_stream(launch_main, folder, tmp_path, capsys):
    found = []
    for feed in ("resident", "stream"):
        path = tmp_path / feed
        arguments = settings(folder, **{"data.feed": feed})
        rates = "--sweep.optimizer.learning_rate=[0.01, 0.02, 0.03]"
        assert launch_main(*arguments, rates, f"--workdir={path}") == 0
        found.append([left_behind(one) for one in sorted((path / "trials").iterdir())])
    assert found[0] == found[1] and len(found[0]) == 3
    arguments = settings(folder, **{"data.feed": "stream"})
    assert launch_main(*arguments, "--sweep.seed=seeds(2)", f"--workdir={tmp_path / 'two'}") == 2
    assert "so a sweep has one seed" in capsys.readouterr().err


def test_a_stream_on_several_devices_is_told_apart_by_shards(folder):
    streamed = StreamedSet.of(open_source(folder, image_size=8), "train")
    devices = DataParallel.all().devices
    trials = TrialParallel.with_capacity(devices, 3)
    config = tiny.config("", **CHANGES)
    seeds = [np.uint32(3)] * 3
    shared = feed_of(stream.StreamFeed, trials, streamed, config, seeds)
    alone = feed_of(stream.StreamFeed, DataParallel.all(), streamed, config, seeds[:1])
    for one, other in zip(
        batches(shared, trials, seeds, 1, 0),
        batches(alone, DataParallel.all(), seeds[:1], 1, 0),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], other[0])


def test_a_batch_larger_than_the_set_is_refused(folder):
    streamed = StreamedSet.of(open_source(folder, image_size=8), "train")
    with pytest.raises(InputError, match="config.batch_size is 43, and there are 42 images"):
        streamed.refuse_larger_batch(43)
