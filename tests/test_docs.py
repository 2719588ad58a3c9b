"""The examples of docs/using.md run, one after another."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "using.md"


@pytest.mark.slow  # it trains as a user does
def test_the_examples_of_using_run(tmp_path, monkeypatch, capsys):
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) == 4
    monkeypatch.chdir(tmp_path)
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert names["predictions"].top(1)[0][0].class_name == "0"
    assert names["classifier"].layers() == (
        *("stem", "MixerBlock_0", "MixerBlock_1", "pooled", "head"),
    )
    assert names["pooled"].shape == (1797, 64) and names["tokens"].shape == (8, 64, 64)
    assert list(names["outputs"]) == list(names["classifier"].layers())
    tokens = np.asarray(names["tokens"]).mean(axis=1)
    np.testing.assert_allclose(tokens, names["pooled"][:8], rtol=1e-4, atol=1e-4)
    assert "zero.png 0 " in capsys.readouterr().out
