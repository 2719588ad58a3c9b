"""Weights files of every format, read and written."""

import numpy as np
import pytest

from mlpvis_jax import weights
from mlpvis_jax.errors import InputError

PARAMS = {"stem": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}


def test_own_weights_are_read_without_knowing_the_model(tmp_path):
    path = tmp_path / "best.safetensors"
    weights.write(path, PARAMS, {"class_names": ["cat", "dog"]}, "mlpvis")
    params, description = weights.read(path)
    np.testing.assert_array_equal(params["stem"]["kernel"], PARAMS["stem"]["kernel"])
    assert description == {"class_names": ["cat", "dog"], "format": "mlpvis"}


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="no weights format 'pth'; there are mlpvis"):
        weights.write(tmp_path / "x", PARAMS, {}, "pth")
