"""The set written for a measurement trains on the number of images that was asked for."""

import numpy as np
import pytest

from benchmarks import images
from configs import mixer
from mlpvis_jax.running.task import Task
from mlpvis_jax.settings.config import RunConfig


@pytest.mark.parametrize("number", [2, 8, 45, 128, 1000])
def test_the_project_trains_on_that_many(number, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    path = tmp_path / "images.npz"
    assert images.write_npz(path, number) == images.MADE_UP
    values = mixer.get_config()
    values.data.update(source=f"npz:{path}", validation=images.VALIDATION)
    task = Task.read(RunConfig.from_mapping(values), tmp_path)
    assert task.source.image_shape == (32, 32, 3)
    assert task.training.images.dtype == np.uint8
    assert len(task.training) == number


def test_the_whole_set_is_cifar100s():
    assert images.split_size(45_000) == 50_000
