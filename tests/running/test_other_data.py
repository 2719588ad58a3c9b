"""Data that changed under a run or a sweep: refused in words, and nothing is touched."""

import json
import shutil

import numpy as np
import pytest

from mlpvis_jax.files.run_folder import RunFolder, read_json
from mlpvis_jax.running.placement import DataParallel
from mlpvis_jax.running.trials import TrialParallel
from mlpvis_jax.sweep import loop as sweep_loop
from tests import soak

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8, 3), np.uint8)
LABELS = np.arange(60) % 3
NAMES = np.array(["ant", "bee", "cat"])


def write(path, training=slice(40), test=slice(40, 60), images=IMAGES, labels=LABELS, names=NAMES):
    train = {"x_train": images[training], "y_train": labels[training]}
    tests = {"x_test": images[test], "y_test": labels[test]}
    np.savez(path, **train, **tests, class_names=names)


def with_other_pixel():
    images = IMAGES.copy()
    images[3, 0, 0, 0] ^= 1
    return images


def with_other_label():
    labels = LABELS.copy()
    labels[[3, 4]] = labels[[4, 3]]
    return labels


CHANGES = {
    "grown": ({"training": slice(59)}, "the training images changed: 37 before, 53 now"),
    "shrunk": ({"training": slice(20)}, "the training images changed: 37 before, 17 now"),
    "a pixel": ({"images": with_other_pixel()}, "the training images changed, 37 before and now"),
    "a label": ({"labels": with_other_label()}, " images changed"),
    "a test image": ({"test": slice(41, 60)}, "the test images changed: 20 before, 19 now"),
    "a name": (
        {"names": np.array(["ant", "bee", "cow"])},
        "class names differ: 'cat' is gone and 'cow' is new.",
    ),
    "the order": ({"names": NAMES[::-1]}, "the class names have another order."),
    "a class more": (
        {"labels": np.where(np.arange(60) % 4 == 3, 3, LABELS), "names": np.append(NAMES, "dog")},
        "class names differ: 'dog' is new;",
    ),
}


@pytest.fixture(scope="module")
def begun(launch_main, tmp_path_factory):
    """The data and the folder of a run of one epoch, of two that are wanted."""
    folder = tmp_path_factory.mktemp("begun")
    write(folder / "set.npz")
    arguments = [*soak.settings(folder / "set.npz"), f"--workdir={folder / 'run'}"]
    assert launch_main(*arguments, "--config.duration=1") == 0
    return folder, [*arguments, "--config.duration=2"]


def times(folder):
    # Orbax, when it opens a folder, may touch it.
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "lock"}


@pytest.mark.parametrize("changes, message", CHANGES.values(), ids=CHANGES)
def test_a_run_does_not_go_on_with_other_data(
    begun, launch_main, changes, message, monkeypatch, capsys
):
    folder, arguments = begun
    for cls in (DataParallel, TrialParallel):
        monkeypatch.setattr(cls, "compile", None)
    before = {path: when for path, when in times(folder / "run").items() if path.is_file()}
    write(folder / "set.npz", **changes)
    capsys.readouterr()
    assert launch_main(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert f"What trains in {folder / 'run'} was begun on other data: " in err and message in err
    after = times(folder / "run")
    assert {path: after[path] for path in before} == before


def test_a_run_goes_on_with_the_same_data_in_a_new_file(begun, launch_main, tmp_path):
    folder, arguments = begun
    write(folder / "set.npz")
    shutil.copytree(folder / "run", tmp_path / "run")  # the others find it as it is
    *arguments, duration = arguments
    assert launch_main(*arguments[:-1], duration, f"--workdir={tmp_path / 'run'}") == 0
    assert len(RunFolder(tmp_path / "run").metrics.read_text().splitlines()) == 2


@pytest.mark.slow
def test_evaluation_takes_other_images_but_no_other_classes(begun, launch_main, capsys):
    folder, _ = begun
    evaluate = ["--mode=evaluate", f"--workdir={folder / 'run'}"]
    write(folder / "set.npz")
    assert launch_main(*evaluate) == 0
    assert "not those of the run" not in capsys.readouterr().out
    write(folder / "set.npz", test=slice(45, 60))
    assert launch_main(*evaluate) == 0
    assert "The 15 test images are not those of the run.\n" in capsys.readouterr().out
    for key in ("a name", "the order", "a class more"):
        changes, message = CHANGES[key]
        write(folder / "set.npz", **changes)
        assert launch_main(*evaluate) == 2
        err = capsys.readouterr().err
        assert "best.safetensors was trained on other classes than those of npz:" in err
        assert message.rstrip(".;") in err and err.count("\n") == 1


def test_a_config_of_an_older_version_is_told_how_to_go_on(begun, launch_main, capsys):
    folder, _ = begun
    write(folder / "set.npz")
    path = folder / "old.json"
    values = read_json(folder / "run" / "config.json")
    del values["data"]["limit"]
    path.write_text(json.dumps(values))
    arguments = [f"--config={path}", "--mode=evaluate", f"--workdir={folder / 'run'}"]
    assert launch_main(*arguments) == 2
    err = capsys.readouterr().err
    assert "config.data.limit is missing; " in err and "--config.data.limit=VALUE" in err
    assert launch_main(*arguments, "--config.data.limit=None") == 0


class StopsAtOnce(sweep_loop.Interruption):
    """As if SIGTERM came before the first look."""

    def __enter__(self):
        super().__enter__()
        self.received = 15
        return self


@pytest.fixture
def sweep(tmp_path):
    write(tmp_path / "set.npz")
    return [
        *soak.settings(tmp_path / "set.npz"),
        *("--config.duration=1", f"--workdir={tmp_path / 'sweep'}"),
        *("--sweep.strategy=random", "--sweep.optimizer.learning_rate=uniform(0, 0.1)"),
    ]


@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_other_data(sweep, launch_main, tmp_path, capsys, monkeypatch):
    assert launch_main(*sweep, "--sweep.num_trials=1") == 0
    write(tmp_path / "set.npz", training=slice(30))
    monkeypatch.setattr(TrialParallel, "compile", None)
    before = times(tmp_path / "sweep" / "trials")
    capsys.readouterr()
    assert launch_main(*sweep, "--sweep.num_trials=2") == 2
    message = capsys.readouterr().err
    assert f"The sweep in {tmp_path / 'sweep'} was begun on other data: the training" in message
    assert times(tmp_path / "sweep" / "trials") == before


@pytest.mark.slow
def test_a_group_of_trials_does_not_go_on_with_other_data(
    sweep, launch_main, tmp_path, capsys, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(sweep_loop, "Interruption", StopsAtOnce)
        assert launch_main(*sweep, "--sweep.num_trials=1") == 143
    write(tmp_path / "set.npz", images=with_other_pixel())
    capsys.readouterr()
    assert launch_main(*sweep, "--sweep.num_trials=1") == 2
    err = capsys.readouterr().err
    assert "was begun on other data: the training images changed, 37 before and now" in err
    write(tmp_path / "set.npz")
    assert launch_main(*sweep, "--sweep.num_trials=1") == 0
