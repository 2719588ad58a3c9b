"""The examples of docs/using.md and docs/weights.md run, one after another."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlpvis_jax.weights import PRETRAINED

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = Path(__file__).parent / "parity" / "published" / "mixer_authors.npz"


def run_examples(page, number):
    """Runs the Python of a page, and returns the names that it leaves."""
    path = DOCS / page
    snippets = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    assert len(snippets) == number
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(path), "exec"), names)
    return names


@pytest.mark.slow  # it trains as a user does
def test_the_examples_of_using_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_examples("using.md", 4)
    assert names["predictions"].top(1)[0][0].class_name == "0"
    assert names["classifier"].layers() == (
        *("stem", "MixerBlock_0", "MixerBlock_1", "pooled", "head"),
    )
    assert names["pooled"].shape == (1797, 64) and names["tokens"].shape == (8, 64, 64)
    assert list(names["outputs"]) == list(names["classifier"].layers())
    tokens = np.asarray(names["tokens"]).mean(axis=1)
    np.testing.assert_allclose(tokens, names["pooled"][:8], rtol=1e-4, atol=1e-4)
    assert "zero.png 0 " in capsys.readouterr().out


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
