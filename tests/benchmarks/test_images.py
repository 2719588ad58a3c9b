"""The set written for a measurement trains on the number of images that was asked for."""

import numpy as np
import pytest
from mlpvis_jax.running.setup import split_off_validation

from benchmarks import images
from mlpvis_jax.data import open_source
from mlpvis_jax.data.resident import ResidentSet


@pytest.mark.parametrize("number", [1, 8, 45, 128, 1000])
def test_the_project_trains_on_that_many(number, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    path = tmp_path / "images.npz"
    assert images.write_npz(path, number) == images.MADE_UP
    source = open_source(f"npz:{path}", image_size=64)
    assert source.image_shape == (32, 32, 3)
    assert source.train.images.dtype == np.uint8
    split = ResidentSet(source.train.images, source.train.labels)
    assert len(split_off_validation(source, split)[0]) == number


def test_the_whole_set_is_cifar100s():
    assert images.split_size(45_000) == 50_000
