"""Who writes epochs down: event files, the picture of curves, Weights & Biases."""

import struct
import sys
from types import SimpleNamespace

import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.show import writers
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


def description(folder, first_epoch=1):
    return writers.RunDescription(folder, "title", {"model.name": "mixer_keras"}, first_epoch)


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


def test_curves_are_drawn_when_the_run_ends(tmp_path, figures):
    curves = writers.Curves(description(tmp_path))
    for record in history(3):
        curves.write(record)
    assert not figures
    curves.finish(history(3), {})
    curves.close()
    assert list(figures["curves.png"].axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert (tmp_path / "curves.png").exists()


class Wandb:
    """Stands in for the package wandb, and for its run."""

    def __init__(self):
        self.calls, self.summary = [], {}

    def init(self, **options):
        self.calls.append(options)
        return self

    def log(self, numbers, step):
        self.calls.append((step, numbers))

    def finish(self):
        self.calls.append("finish")


def test_weights_and_biases_hold_the_records(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (make,) = writers.chosen("wandb")
    writer = make(description(tmp_path / "run"))
    for record in history(2):
        writer.write(record)
    results = {"test_accuracy": 0.5, "epochs": 2, "versions": {"jax": "1"}, "device": "1 x cpu"}
    writer.finish(history(2), results)
    writer.close()
    begin, *logged, end = wandb.calls
    assert begin == {
        **{"dir": str(tmp_path / "run"), "id": "run", "name": "run", "resume": "allow"},
        "config": {"model.name": "mixer_keras"},
    }
    assert logged == [
        (record["epoch"], {tag: record[name] for name, tag in TAGS.items()})
        for record in history(2)
    ]
    assert wandb.summary == {"test/accuracy": 0.5, "epochs": 2} and end == "finish"


def test_weights_and_biases_are_refused_where_they_are_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"config.writers names wandb, .*'mlpvis_jax\[wandb\]'"):
        writers.chosen("curves wandb")


def test_a_config_names_its_writers(monkeypatch):
    own = SimpleNamespace(Mine=lambda run: None)
    monkeypatch.setitem(sys.modules, "own_writers", own)
    assert writers.chosen("") == []
    assert writers.chosen("tensorboard,curves own_writers:Mine") == [
        *(writers.EventFiles, writers.Curves, own.Mine)
    ]
    with pytest.raises(InputError, match=r"config.writers has no 'curve' \(did you mean 'curves'"):
        writers.chosen("tensorboard curve")
