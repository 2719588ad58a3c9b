"""The settings of a measured run are the configs' own, also without ml_collections."""

import json
import subprocess
import sys

import pytest

from benchmarks import recipes

WITHOUT_ML_COLLECTIONS = """
import json, sys
sys.modules["ml_collections"] = None  # it cannot be imported, nor found
from benchmarks import recipes
print(json.dumps([recipes.run_config(model).to_dict() for model in recipes.MODELS]))
assert not recipes.has_ml_collections()
"""


def test_ml_collections_is_not_needed():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ML_COLLECTIONS], capture_output=True, text=True, check=True
    )
    expected = [recipes.run_config(model).to_dict() for model in recipes.MODELS]
    assert json.loads(done.stdout) == expected
    assert recipes.has_ml_collections()


def test_changes_come_last():
    config = recipes.run_config("gmlp_s16", ["model.dtype=bfloat16", "batch_size=8"])
    assert config.model.name == "gmlp_s16"
    assert config.model.options["dtype"] == "bfloat16"
    assert config.batch_size == 8
    assert config.optimizer.learning_rate == 0.003  # as in configs/gmlp.py


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="mixer, fnet, gmlp"):
        recipes.run_config("vit_b16")
