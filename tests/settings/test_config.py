"""Settings: read back as written, and refused by name where they make no sense."""

import dataclasses
import json
import math
import re
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.config import RunConfig, override


def keys_of(section=RunConfig, prefix=""):
    """Every setting as a path such as "optimizer.b1"."""
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            yield from keys_of(hint, f"{prefix}{name}.")
        else:
            yield prefix + name


KEYS = list(keys_of())


def changed(path, value):
    values = mixer.get_config().to_dict()
    section = values
    *groups, key = path.split(".")
    for group in groups:
        section = section[group]
    section[key] = value
    return values


def test_json_holds_all_of_it():
    config = RunConfig.from_mapping(mixer.get_config().to_dict())
    assert RunConfig.from_mapping(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "7", 7),
        ("optimizer.learning_rate", "1e-3", 1e-3),
        ("optimizer.learning_rate", "1", 1.0),
        ("model.name", "gmlp_s16", "gmlp_s16"),
        ("model.width", "None", None),
        ("model.width", "64", 64),
        ("model.dtype", "bfloat16", "bfloat16"),
        ("model.scan", "true", True),
        ("model.scan", "False", False),
        ("data.source", "folder:/some where/7", "folder:/some where/7"),
        ("data.source", "None", "None"),
        ("data.data_dir", "None", None),
        ("data.data_dir", "123", "123"),
    ],
)
def test_the_command_line_changes_one_value(path, text, value):
    values = mixer.get_config().to_dict()
    override(values, path, text)
    config = RunConfig.from_mapping(values)
    assert config == RunConfig.from_mapping(changed(path, value))
    for name in path.split("."):
        config = getattr(config, name)
    assert config == value and type(config) is type(value)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key):
    values = mixer.get_config().to_dict()
    *groups, last = key.split(".")
    section = values
    for group in groups:
        section = section[group]
    del section[last]
    with pytest.raises(InputError, match=f"config.{key} is missing"):
        RunConfig.from_mapping(values)


def test_what_cannot_be_shown_is_refused_all_the_same():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    for value, kind in ((10**5000, "int"), (deep, "list")):
        with pytest.raises(InputError, match=f"^config.seed must be .* not this {kind}.$"):
            RunConfig.from_mapping(changed("seed", value))
    with pytest.raises(InputError, match="^config.model must be .* not this list.$"):
        RunConfig.from_mapping(changed("model", deep))
    with pytest.raises(InputError) as raised:
        RunConfig.from_mapping(changed("seed", "x" * 10**6))
    assert str(raised.value).endswith("xxx....") and len(str(raised.value)) < 1100


@pytest.mark.parametrize("key", [1, None, (2,), 1.5, b"xyz"])
def test_a_key_that_is_no_word_is_named(key):
    values = mixer.get_config().to_dict()
    for path, refused in (
        ("config", {**values, key: 1}),
        ("config.model", changed("model", {key: 1})),
    ):
        with pytest.raises(InputError, match=re.escape(f"There is no {path}.{key}; {path} has ")):
            RunConfig.from_mapping(refused)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(), children),
    max_leaves=3,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KEYS), JSON)
def test_any_value_is_taken_as_it_is_or_refused_by_name(key, value):
    try:
        config = RunConfig.from_mapping(changed(key, value))
    except InputError as error:
        assert f"config.{key}" in str(error) and repr(value) in str(error)
        return
    result = config
    for name in key.split("."):
        result = getattr(result, name)
    assert result == (float(value) if isinstance(result, float) else value)
    assert not isinstance(result, float) or math.isfinite(result)
    assert RunConfig.from_mapping(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*KEYS, "model", "seed.x", "", ".", "a.b"]), st.text(max_size=8))
def test_any_text_on_the_command_line_is_taken_or_refused(key, text):
    values = mixer.get_config().to_dict()
    try:
        override(values, key, text)
        RunConfig.from_mapping(values)
    except InputError as error:
        assert "config." in str(error)
