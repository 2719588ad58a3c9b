"""The examples of the pages of docs/ run, one after another."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from mlpvis_jax.data import open_source
from mlpvis_jax.files.recipe import recipe
from mlpvis_jax.running.choices import completed
from mlpvis_jax.running.own_functions import check_functions
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.weights import PRETRAINED

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = Path(__file__).parent / "parity" / "published" / "mixer_authors.npz"


def examples(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def run_examples(page, number, names=None):
    """Runs the Python of a page, after that of another, and returns the names that it leaves."""
    path = DOCS / page
    snippets = examples(page)
    assert len(snippets) == number
    names = {} if names is None else names
    for snippet in snippets:
        exec(compile(snippet, str(path), "exec"), names)
    return names


@pytest.mark.slow  # it trains as a user does
def test_the_examples_of_using_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_examples("mixing.md", 1, run_examples("using.md", 4))
    assert names["predictions"].top(1)[0][0].class_name == "0"
    assert names["classifier"].layers() == (
        *("stem", "MixerBlock_0", "MixerBlock_1", "pooled", "head"),
    )
    assert names["pooled"].shape == (1797, 64) and names["tokens"].shape == (8, 64, 64)
    assert list(names["outputs"]) == list(names["classifier"].layers())
    tokens = np.asarray(names["tokens"]).mean(axis=1)
    np.testing.assert_allclose(tokens, names["pooled"][:8], rtol=1e-4, atol=1e-4)
    assert names["units"].shape == (64, 64) and names["grid"] == (8, 8)
    assert (tmp_path / "units.png").exists() and (tmp_path / "by_depth.png").exists()
    assert "zero.png 0 " in capsys.readouterr().out
    # docs/export.md goes on with that run
    names = run_examples("export.md", 2, names)
    digits = names["digits"][:7, ..., None]
    expected = names["classifier"].features(digits, "head")
    np.testing.assert_allclose(names["logits"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(names["exported"].logits(digits), expected, rtol=1e-4, atol=1e-4)
    assert "'same_class': 12" in capsys.readouterr().out


@pytest.mark.slow  # a process that compiles five training steps
def test_the_examples_of_own_project_run_on_four_devices(tmp_path, compiled_quickly):
    # The page's own names, and what is to be true of them.
    told = """
import json
placed = jax.device_put(params, jax.tree.map(sharding_of, params))
of_block = encoder.block(encoder.stem(patches))
print(json.dumps({
    "plain": plain_losses,
    "nnx": nnx_losses,
    "encoder": encoder_losses,
    "pure": pure_losses,
    "mesh": mesh_losses,
    "differences": [float(jnp.abs(a - b).max()) for a, b in [
        (logits, model(images)), (tokens, of_block),
    ]],
    "same names": jax.tree.structure(trained) == jax.tree.structure(params),
    "whole": [leaf.ndim > 1 and leaf.is_fully_replicated for leaf in jax.tree.leaves(placed)],
}))
"""
    page = tmp_path / "page.py"
    page.write_text("\n".join([*examples("own_project.md"), told]))
    environment = {"JAX_NUM_CPU_DEVICES": "4", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", page],
        env={**os.environ, **compiled_quickly, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("plain", "nnx", "pure", "mesh"):
        assert found[name][0] == pytest.approx(np.log(10), rel=1e-5)  # the head is zero
    for name, drop in {"plain": 0.3, "nnx": 0.3, "encoder": 0.2, "pure": 0.01}.items():
        assert found[name][-1] < found[name][0] - drop
    assert found["mesh"] == pytest.approx(found["pure"], rel=1e-4)
    assert found["differences"] == [0, 0] and found["same names"]
    assert not any(found["whole"])  # every kernel is spread


def test_the_examples_of_weights_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A small file stands for the published one.
    name = "mixer_b16_imagenet1k"
    small = dataclasses.replace(PRETRAINED[name], classes=7, parameters=3469)
    monkeypatch.setitem(PRETRAINED, name, small)
    shutil.copy(PUBLISHED, "Mixer-B_16.npz")
    monkeypatch.setattr(
        "mlpvis_jax.weights.pretrained.fetch", lambda *_, **__: Path("Mixer-B_16.npz")
    )
    names = run_examples("weights.md", 2)
    assert names["logits"].shape == (2, 7) and names["scaling"].image_size == 12
    assert "'tokens_hidden_dim': 6" in capsys.readouterr().out
    with np.load("copy.npz") as copy, np.load(PUBLISHED) as original:
        assert {key: copy[key].tobytes() for key in copy} == {
            key: original[key].tobytes() for key in original
        }


def test_the_table_of_weights_is_pretrained():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| (\S+?),? ", (DOCS / "weights.md").read_text(), re.M
    )
    assert rows == [
        (name, f"{one.classes:,}", f"{one.parameters:,}", one.accuracy.partition(" ")[0])
        for name, one in PRETRAINED.items()
    ]


def test_the_examples_of_extending_are_what_a_run_takes(monkeypatch):
    own = types.ModuleType("own")
    vars(own).update(run_examples("extending.md", 3, {"__name__": "own"}))
    monkeypatch.setitem(sys.modules, "own", own)
    source = open_source("own:stripes:3", image_size=8)
    assert (len(source.train), len(source.test), source.num_classes) == (500, 100, 3)
    values = recipe("mixer:digits")
    values["augment"]["dark"] = {"name": "own:darken", "most": 1.0}
    values["metrics"] = "own:confidence own:predicted"
    config = completed(RunConfig.from_mapping(values))
    check_functions(config, source.num_classes)
    white = np.full((4, 8, 8, 3), 255.0, np.float32)
    dark = np.asarray(own.darken(jax.random.split(jax.random.key(0), 4), white, 8))
    assert own.darken.acts_on_pixels and dark.min() >= 0 and dark.max() < 255
