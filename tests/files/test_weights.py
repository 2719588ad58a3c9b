"""Weights files: portable, whole or not at all, and checked before they are used."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.weights import count_parameters, load_weights, save_weights

PARAMS = {
    "stem": {
        "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bias": np.ones(3, np.float32),
    },
    "head": {"kernel": np.asarray(jnp.ones((3, 2), jnp.bfloat16))},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "best.safetensors"
    save_weights(path, PARAMS, {"class_names": ["cat", "dog"], "normalization_mean": [0.1]})
    return path


def test_what_is_saved_is_loaded(path):
    params, description = load_weights(path, PARAMS)
    assert description == {"class_names": ["cat", "dog"], "normalization_mean": [0.1]}
    for layer, arrays in PARAMS.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(params[layer][name], array)
            assert params[layer][name].dtype == array.dtype
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]


def test_a_scalar_stays_one(tmp_path):
    params = {"ReZero_0": {"gain": np.float32(0.5).reshape(())}}
    save_weights(tmp_path / "best.safetensors", params, {})
    loaded, _ = load_weights(tmp_path / "best.safetensors", params)
    assert loaded["ReZero_0"]["gain"].shape == () and loaded["ReZero_0"]["gain"] == 0.5


def test_the_file_needs_nothing_of_this_project(path):
    with safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == ["head/kernel", "stem/bias", "stem/kernel"]


def test_parameters_are_counted():
    assert count_parameters(PARAMS) == 15


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"stem": PARAMS["stem"]}, "another model: missing none; not in the model head/kernel"),
        ({**PARAMS, "extra": {"bias": np.ones(1)}}, "missing extra/bias; not in the model none"),
        ({**PARAMS, "head": {"kernel": np.ones((3, 4))}}, r"head/kernel of shape \(3, 2\)"),
    ],
)
def test_weights_of_another_model_are_refused(path, like, message):
    with pytest.raises(InputError, match=message):
        load_weights(path, like)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no weights at .*none.safetensors"):
        load_weights(tmp_path / "none.safetensors", PARAMS)


@pytest.mark.parametrize(
    "damage",
    [*("empty", "cut", "header", "huge header", "no safetensors"), *("a bit", "description")],
)
def test_a_damaged_file_is_refused(path, damage):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["head/kernel"]["shape"] = [30, 20]
    forged = json.dumps(header).encode()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[:-5],
            "header": struct.pack("<Q", len(forged)) + forged + data[8 + length :],
            "huge header": struct.pack("<Q", 1 << 60) + data[8:],
            "no safetensors": b"PK\x03\x04 something else",
            "a bit": data[:-1] + bytes([data[-1] ^ 1]),
            "description": data.replace(b"[0.1]", b"[0.2]"),
        }[damage]
    )
    with pytest.raises(InputError, match=r"best\.safetensors is damaged"):
        load_weights(path, PARAMS)
