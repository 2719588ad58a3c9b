"""Who writes epochs down: event files, the picture of curves, Weights & Biases."""

import dataclasses
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running.choices import differences
from mlpvis_jax.running.solo import train
from mlpvis_jax.show import writers
from tests import tiny
from tests.show.records import history

TAGS = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "validation_loss": "validation/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_top5_accuracy": "validation/top5_accuracy",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
    "images_per_second": "images_per_second",
}


SETTINGS = {"model.name": "mixer_keras", "seed": 7, "data.limit": None}


def description(folder, first_epoch=1, first_step=1, is_trial=False):
    return writers.RunDescription(folder, "title", SETTINGS, first_epoch, first_step, is_trial)


def events_in(path):
    from tensorboardX.proto.event_pb2 import Event

    data, offset = path.read_bytes(), 0
    while offset < len(data):  # TFRecord: length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", data[offset : offset + 8])
        yield Event.FromString(data[offset + 12 : offset + 12 + length])
        offset += 16 + length


def test_event_files_hold_the_records(tmp_path):
    events = writers.EventFiles(description(tmp_path))
    for record in history(3):
        events.write(record)
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {
        (value.tag, event.step): value.simple_value
        for event in events_in(path)
        for value in event.summary.value
        if not value.metadata.plugin_data.plugin_name
    }
    wanted = {
        (tag, record["epoch"]): record[name] for record in history(3) for name, tag in TAGS.items()
    }
    assert found == pytest.approx(wanted, rel=1e-6)


def test_points_of_an_earlier_process_are_struck_out(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    events = writers.EventFiles(description(tmp_path, first_epoch=3))
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    starts = [
        event.step for event in events_in(path) if event.session_log.status == SessionLog.START
    ]
    assert starts == [3]


def session_in(path):
    """The settings of a run in the HPARAMS tab, and how its session ended."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    given, status = {}, []
    for event in events_in(path):
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if plugin.plugin_name == "hparams":
                told = HParamsPluginData.FromString(plugin.content)
                for key, one in told.session_start_info.hparams.items():
                    given[key] = getattr(one, one.WhichOneof("kind"))
                if told.HasField("session_end_info"):
                    status.append(told.session_end_info.status)
    return given, status


def test_settings_are_text_and_hparams(tmp_path):
    events = writers.EventFiles(description(tmp_path))
    for record in history(3):
        events.write(record)
    events.finish(history(3), {"best_epoch": 2, "epochs": 3, "test_accuracy": 0.125})
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert session_in(path) == (
        {"model.name": "mixer_keras", "seed": 7.0, "data.limit": "None"},
        [1],  # success
    )
    values = [value for event in events_in(path) for value in event.summary.value]
    (text,) = [value.tensor.string_val[0] for value in values if value.tag.startswith("settings")]
    assert text.decode().splitlines()[2:4] == ["| model.name | `mixer_keras` |", "| seed | `7` |"]
    best = {value.tag: value.simple_value for value in values if value.tag.startswith("best/")}
    assert best == {
        "best/validation_loss": 1.75,
        "best/validation_accuracy": pytest.approx(0.14),
        "best/test_accuracy": 0.125,
    }


def test_settings_need_not_be_utf_8(tmp_path):
    settings = {**SETTINGS, "data.source": "folder:caf\udce9"}  # as Linux may name a folder
    events = writers.EventFiles(dataclasses.replace(description(tmp_path), settings=settings))
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert session_in(path)[0]["data.source"] == "folder:caf?"


def test_a_trial_leaves_its_hparams_to_the_sweep(tmp_path):
    events = writers.EventFiles(description(tmp_path, is_trial=True))
    events.write(history(1)[0])
    events.finish(history(1), {"best_epoch": 1, "epochs": 1, "test_accuracy": 0.125})
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert session_in(path) == ({}, [])


def test_points_within_an_epoch_are_a_run_of_their_own(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    events = writers.EventFiles(description(tmp_path, first_epoch=2, first_step=17))
    events.write_steps({"step": 24, "train_loss": 0.5, "learning_rate": 0.25})
    events.close()
    (path,) = (tmp_path / "tensorboard" / "steps").iterdir()
    found = list(events_in(path))
    assert [one.step for one in found if one.session_log.status == SessionLog.START] == [17]
    values = {
        (value.tag, event.step): value.simple_value
        for event in found
        for value in event.summary.value
    }
    assert values == {("train/loss", 24): 0.5, ("learning_rate", 24): 0.25}


def test_weights_become_histograms(tmp_path):
    events = writers.EventFiles(description(tmp_path))
    events.write_weights(3, {"head": {"bias": np.array([-1.0, 0.0, 0.0, 2.0, np.nan])}})
    events.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    (found,) = [
        (event.step, value)
        for event in events_in(path)
        for value in event.summary.value
        if value.HasField("histo")
    ]
    step, value = found
    assert (step, value.tag) == (3, "weights/head/bias")
    assert (value.histo.num, value.histo.min, value.histo.max) == (4, -1.0, 2.0)


def test_curves_are_drawn_when_the_run_ends(tmp_path, figures):
    curves = writers.Curves(description(tmp_path))
    for record in history(3):
        curves.write(record)
    assert not figures
    curves.finish(history(3), {"test_accuracy": 0.5})
    curves.close()
    told = f"title\nrun {tmp_path.name}, seed 7, test accuracy 50.00%"
    assert figures["curves.png"].get_suptitle() == told
    assert list(figures["curves.png"].axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert (tmp_path / "curves.png").exists()


class Wandb:
    """Stands in for the package wandb, and for its run."""

    def __init__(self):
        self.calls, self.summary = [], {}

    def init(self, **options):
        self.calls.append(options)
        return self

    def define_metric(self, name, step_metric):
        self.calls.append(f"{name} over {step_metric}")

    def Histogram(self, values):  # noqa: N802
        return list(values)

    def log(self, numbers, step):
        self.calls.append((step, numbers))

    def finish(self):
        self.calls.append("finish")


def test_weights_and_biases_hold_the_records(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (make,) = writers.chosen("wandb")
    (tmp_path / "run").mkdir()
    writer = make(description(tmp_path / "run"))
    first, second = history(2)
    writer.write_steps({"step": 5, "train_loss": 4.5, "learning_rate": 0.005})
    for record in (first, second):
        writer.write(record)
    writer.write_weights(2, {"head": {"bias": np.array([1.0, 2.0])}})
    results = {
        "test_accuracy": 0.5,
        "epochs": 2,
        "best_epoch": 1,
        "versions": {"jax": "1"},
        "device": "1 x cpu",
    }
    writer.finish(history(2), results)
    writer.close()
    begin, *logged, end = wandb.calls
    defined = {call for call in logged if isinstance(call, str)}
    logged = [call for call in logged if not isinstance(call, str)]
    assert begin == {
        **{"dir": str(tmp_path / "run"), "id": begin["id"], "name": "run", "group": None},
        **{"resume": "allow", "reinit": "create_new", "config": SETTINGS},
    }
    of_epoch = {f"{tag} over epoch" for tag in (*TAGS.values(), "weights/head/bias")}
    assert defined == of_epoch | {
        f"steps/{tag} over step" for tag in ("train/loss", "learning_rate")
    }
    within, *of_epochs, weights = logged
    assert within == (5, {"step": 5, "steps/train/loss": 4.5, "steps/learning_rate": 0.005})
    assert of_epochs == [
        (record["step"], {"epoch": epoch, **{tag: record[name] for name, tag in TAGS.items()}})
        for epoch, record in enumerate((first, second), start=1)
    ]
    assert weights == (20, {"epoch": 2, "weights/head/bias": [1.0, 2.0]})
    assert wandb.summary == {
        **{"test/accuracy": 0.5, "epochs": 2, "best_epoch": 1, "best/test_accuracy": 0.5},
        "best/validation_loss": 3.5,
        "best/validation_accuracy": pytest.approx(0.13),
    }
    assert end == "finish"


def test_weights_and_biases_tell_runs_apart_whose_folders_have_one_name(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (make,) = writers.chosen("wandb")
    for name in ("a/trials/0000", "b/trials/0000", "a/trials/0000"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        make(dataclasses.replace(description(tmp_path / name), is_trial=True))
    first, second, again = (call for call in wandb.calls if isinstance(call, dict))
    assert first["id"] == again["id"] != second["id"]
    assert [(one["name"], one["group"]) for one in (first, second)] == [
        ("a/0000", "a"),
        ("b/0000", "b"),
    ]


def test_weights_and_biases_are_refused_where_they_are_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"config.writers names wandb, .*'mlpvis_jax\[wandb\]'"):
        writers.chosen("curves wandb")


def test_a_run_goes_on_where_the_package_of_its_former_writer_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    before, now = (tiny.config("", writers=names) for names in ("wandb", "tensorboard,curves"))
    assert differences(before, now) == []
    with pytest.raises(InputError, match="config.writers names wandb"):
        train(before, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_config_names_its_writers(monkeypatch):
    own = SimpleNamespace(Mine=lambda run: None)
    monkeypatch.setitem(sys.modules, "own_writers", own)
    assert writers.chosen("") == []
    assert writers.chosen("tensorboard,curves own_writers:Mine") == [
        *(writers.EventFiles, writers.Curves, own.Mine)
    ]
    with pytest.raises(InputError, match=r"config.writers has no 'curve' \(did you mean 'curves'"):
        writers.chosen("tensorboard curve")
    with pytest.raises(InputError, match=r"config\.writers=math:pi"):
        writers.chosen("math:pi")
