import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpvis_jax.data import Source, open_source
from mlpvis_jax.data.examples import ArrayExamples
from mlpvis_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cifar-100", "cifar100"),
        ("Digit", "digits"),
        ("tdfs:mnist", "tfds:mnist"),
        ("fodler", "folder:PATH"),
        ("digits:5", "digits"),
        ("tfds:", "tfds:NAME"),
        ("npz", "npz:PATH"),
    ],
)
def test_a_name_that_is_nearly_right(name: str, meant: str) -> None:
    with pytest.raises(InputError) as raised:
        open_source(name, image_size=8)
    assert repr(name) in str(raised.value)
    assert f"did you mean {meant!r}" in str(raised.value)


def test_a_name_like_none_lists_the_forms() -> None:
    with pytest.raises(InputError) as raised:
        open_source("zzz", image_size=8)
    assert str(raised.value) == (
        "There is no data source 'zzz'; give one of digits, cifar10, cifar100, tfds:NAME, "
        "folder:PATH, npz:PATH, shards:PATH."
    )


def test_a_bare_path_is_told_its_form(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"did you mean 'folder:{tmp_path}'"):
        open_source(str(tmp_path), image_size=8)
    file = tmp_path / "arrays.NPZ"
    file.touch()
    with pytest.raises(InputError, match=f"did you mean 'npz:{file}'"):
        open_source(str(file), image_size=8)


def test_image_size_must_be_positive() -> None:
    with pytest.raises(InputError, match="image_size is 0"):
        open_source("digits", image_size=0)


@pytest.mark.parametrize("changes", [{"validation": True}, {"split_names": {"validation": "val"}}])
def test_images_that_validate_have_a_name_and_a_name_has_images(changes):
    source = open_source("digits", image_size=8)
    if "validation" in changes:
        changes = {"validation": source.test}
    with pytest.raises(InputError, match=r"digits must have images that validate and their name"):
        dataclasses.replace(source, **changes)


def test_a_source_of_ones_own_that_cannot_be_opened_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def floats(asked: Any) -> Source:
        ArrayExamples(np.zeros((int(asked.rest), 8, 8, 3)), np.zeros(4))
        raise AssertionError

    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(floats=floats))
    with pytest.raises(InputError, match=r"source=mine:floats:x cannot be opened .ValueError"):
        open_source("mine:floats:x", image_size=8)
    with pytest.raises(InputError, match=r"Images are float64 \[4, 8, 8, 3\], and must be uint8"):
        open_source("mine:floats:4", image_size=8)
