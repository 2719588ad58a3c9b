"""Whether a machine has the memory for a model's parameters."""

from types import SimpleNamespace

import psutil
import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.models import create_model
from mlpvis_jax.running.room import refuse_without_room


@pytest.mark.parametrize(
    ("name", "parameters", "overrides", "itemsize"),
    [  # counted by Keras, see models/presets.py
        ("mixer_keras", 242_788, {}, 4),
        ("fnet_keras", 621_924, {"dropout_rate": 0.5}, 4),
        ("gmlp_keras", 885_348, {"param_dtype": "bfloat16"}, 2),
    ],
)
def test_parameters_fill_the_memory_four_times(monkeypatch, name, parameters, overrides, itemsize):
    model = create_model(name, num_classes=100, **overrides)
    needed = 4 * itemsize * parameters

    def machine(total):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total))

    machine(needed)
    refuse_without_room(model, 64)
    machine(needed - 1)
    with pytest.raises(InputError, match=r"\(image_size 64, patch_size 8, width 256, num_blocks 4"):
        refuse_without_room(model, 64)
