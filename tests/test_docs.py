"""The examples of docs/using.md run, one after another, and then those of docs/mixing.md."""

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow  # it trains as a user does
def test_the_examples_of_using_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for page, number in ((DOCS / "using.md", 4), (DOCS / "mixing.md", 1)):
        snippets = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        assert len(snippets) == number
        for snippet in snippets:
            exec(compile(snippet, str(page), "exec"), names)
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
