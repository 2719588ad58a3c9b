"""What a run is told of the weights that it starts from, and which of them it takes."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from mlpvis_jax import weights
from mlpvis_jax.errors import InputError
from mlpvis_jax.models import create_model
from mlpvis_jax.models.presets import PRESETS
from mlpvis_jax.models.shapes import parameter_shapes
from mlpvis_jax.weights import initial, matching
from mlpvis_jax.weights.pretrained import PRETRAINED, Published

SIZES = {"width": 8, "num_blocks": 1, "patch_size": 4}


class Axial(nn.Module):
    """A block of one's own that mixes along rows: its kernel has a side of the grid, not tokens."""

    power: int = 1
    dropout_rate: Any = 0.0
    stochastic_depth_rate: Any = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        batch, tokens, channels = inputs.shape
        side = int(tokens**0.5)
        kernel = self.param("kernel", nn.initializers.normal(), (side, side))
        table = self.param("offsets", nn.initializers.normal(), ((2 * side - 1) ** 2,))
        rows = inputs.reshape(batch, side, side, channels)
        mixed = jnp.einsum("brci,cd->brdi", rows, kernel) ** self.power + table[0]
        return inputs + mixed.reshape(inputs.shape)


@pytest.fixture
def _axial(monkeypatch):
    monkeypatch.setitem(PRESETS, "axial", {"block": Axial, **SIZES})


@pytest.mark.usefixtures("_axial")
@pytest.mark.parametrize("side", [4, 8])
def test_arrays_that_fit_are_taken_whatever_their_axes_are(side):
    model = create_model("axial", 3)
    shapes = traverse_util.flatten_dict(parameter_shapes(model, 4 * side, 3), sep="/")
    stored = {name: np.ones(leaf.shape, np.float32) for name, leaf in shapes.items()}
    found = matching.match(stored, model, (4 * side, 4 * side, 3), keeps_head=True)
    assert found.params.keys() == stored.keys() and found.carried == ()


@pytest.mark.usefixtures("_axial")
@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"name": "gmlp_keras"}, {"name": "gmlp_keras"}, []),
        (
            {"name": "gmlp_keras", "gate_epsilon": 1e-5},
            {"name": "gmlp_keras"},
            ["whose gate_epsilon was 1e-05 and is now 1e-06"],
        ),
        (
            {"name": "gmlp_keras"},
            {"name": "gmlp_keras", "gate_epsilon": 1e-5},
            ["whose gate_epsilon was 1e-06 and is now 1e-05"],
        ),
        (
            {"name": "fnet_paper"},
            {"name": "fnet_paper", "epsilon": 1e-6},
            ["whose epsilon was 1e-12 and is now 1e-06"],
        ),
        ({"name": "axial", "power": 2}, {"name": "axial"}, ["whose power was 2 and is now 1"]),
        # Of training, not of what is computed.
        ({"name": "mixer_keras", "dropout_rate": 0.0}, {"name": "mixer_keras"}, []),
    ],
)
def test_a_difference_that_has_no_parameters_is_said(before, now, said):
    assert initial._differing(before, create_model(num_classes=3, **now)) == said


def test_a_file_that_was_put_in_the_place_of_published_weights_is_refused(monkeypatch, tmp_path):
    model = create_model("mixer_paper", 3, **SIZES)
    shapes = parameter_shapes(model, 8, 3)
    ones = traverse_util.path_aware_map(lambda _, leaf: np.ones(leaf.shape, np.float32), shapes)
    path = tmp_path / "small.safetensors"
    weights.write(
        path, ones, {"model": {"name": "mixer_paper", "image_size": 8, **SIZES}}, "mlpvis"
    )
    row = Published("mixer_paper", "-", 4, 12, "-", "-", "https://host.invalid/x.npz")
    monkeypatch.setitem(PRETRAINED, "small", row)
    monkeypatch.setattr(initial, "fetch_published", lambda name: path)
    names = ("a", "b", "c")
    wanted = initial.Wanted(model, (8, 8, 3), names, "interpolate")
    with pytest.raises(InputError, match="has 3 classes and .* and small has 4 and 12; it is anot"):
        initial.initial_weights("small", wanted)
    number = sum(leaf.size for leaf in traverse_util.flatten_dict(ones).values())
    right = dataclasses.replace(row, classes=3, parameters=number)
    monkeypatch.setitem(PRETRAINED, "small", right)
    assert initial.initial_weights("small", wanted).params
