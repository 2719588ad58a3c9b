"""What the writers of a run get within its epochs, and of its weights."""

import numpy as np
import pytest

from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running import solo
from mlpvis_jax.show import writers
from tests import tiny


class Recorder:
    """A writer that takes all that there is."""

    steps, weights, first_steps = [], [], []

    def __init__(self, run):
        self.first_steps.append(run.first_step)

    def write(self, record):
        pass

    def write_steps(self, record):
        self.steps.append(record)

    def write_weights(self, epoch, params):
        self.weights.append((epoch, params))

    def finish(self, history, results):
        pass

    def close(self):
        pass


class Epochs:
    """A writer that takes epochs alone."""

    def __init__(self, run):
        pass

    write = finish = close = lambda *_: None


@pytest.fixture
def recorder(monkeypatch):
    for name in ("steps", "weights", "first_steps"):
        monkeypatch.setattr(Recorder, name, [])
    rows = {"recorder": Recorder, "epochs": Epochs}
    monkeypatch.setattr(writers, "WRITERS", rows)
    return Recorder


def config(source, **changes):
    settings = {"batch_size": 6, "steps_per_dispatch": 1, "writers": "recorder epochs", **changes}
    return tiny.config(source, **settings)  # 36 training images: six steps an epoch


def test_points_of_an_epoch_add_up_to_it(recorder, tiny_npz, tmp_path):
    folder = RunFolder(tmp_path / "run")
    warm = {"schedule.warmup": 2.0, "optimizer.learning_rate": 0.012}
    solo.train(config(tiny_npz, duration=2, writers_every_steps=2, **warm), folder)
    assert [point["step"] for point in recorder.steps] == [2, 4, 6, 8, 10, 12]
    for epoch, record in enumerate(tiny.history(folder.path)):
        points = recorder.steps[3 * epoch : 3 * epoch + 3]
        for name in ("train_loss", "train_accuracy"):
            mean = np.mean([point[name] for point in points])  # each of twelve images
            assert mean == pytest.approx(record[name], rel=1e-5)
        assert points[-1]["learning_rate"] == pytest.approx(record["learning_rate"])
    # The learning rate rises to 0.012 over twelve steps.
    rates = [point["learning_rate"] for point in recorder.steps]
    assert np.diff(rates) == pytest.approx(np.full(5, 0.002), rel=1e-4)


def test_no_points_and_no_weights_unless_they_are_asked_for(recorder, tiny_npz, tmp_path):
    solo.train(config(tiny_npz, duration=1), RunFolder(tmp_path / "run"))
    assert recorder.steps == recorder.weights == []


def test_weights_are_those_after_each_epoch_and_the_next_process_goes_on(
    recorder, tiny_npz, tmp_path
):
    folder = RunFolder(tmp_path / "run")
    asked = {"writers_histograms": True, "writers_every_steps": 4}
    solo.train(config(tiny_npz, duration=1, **asked), folder)
    solo.train(config(tiny_npz, duration=2, **asked), folder)
    assert recorder.first_steps == [1, 7]
    assert [point["step"] for point in recorder.steps] == [4, 8, 12]
    assert [epoch for epoch, _ in recorder.weights] == [1, 2]
    from safetensors.numpy import load_file

    stored = load_file(folder.last_weights)
    (kernel,) = [value for key, value in stored.items() if key.startswith("head") and "kern" in key]
    np.testing.assert_array_equal(recorder.weights[-1][1]["head"]["kernel"], kernel)
    assert not np.array_equal(recorder.weights[0][1]["head"]["kernel"], kernel)


def test_a_point_is_of_its_own_epoch_alone(recorder, tiny_npz, tmp_path):
    for every in (2, 4):  # of six steps an epoch
        asked = config(tiny_npz, duration=2, writers_every_steps=every)
        solo.train(asked, RunFolder(tmp_path / str(every)))
    often, seldom = recorder.steps[:6], recorder.steps[6:]
    assert [point["step"] for point in seldom] == [4, 8, 12]
    assert seldom[1]["train_loss"] == often[3]["train_loss"]  # steps 7 and 8, without 5 and 6
