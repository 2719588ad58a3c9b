"""Settings: read back as written, and refused by name where they make no sense."""

import dataclasses
import json
import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import mixer
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.recipe import read_config
from mlpvis_jax.running.choices import completed, declarations, differences
from mlpvis_jax.settings.config import RunConfig, closed_settings
from mlpvis_jax.settings.declared import MISSING, shown
from mlpvis_jax.settings.durations import Duration
from mlpvis_jax.settings.override import override, override_all

CLOSED = list(closed_settings())
OPTIONS = sorted(
    declarations(RunConfig.from_mapping(mixer.get_config().to_dict())).keys() - set(CLOSED)
)


def changed(path, value):
    values = mixer.get_config().to_dict()
    section = values
    *groups, key = path.split(".")
    for group in groups:
        section = section[group]
    section[key] = value
    return values


def found(config, path):
    values = config.to_dict()
    for name in path.split("."):
        values = values[name]
    return values


def test_json_holds_all_of_it():
    config = RunConfig.from_mapping(mixer.get_config().to_dict())
    assert RunConfig.from_mapping(json.loads(json.dumps(config.to_dict()))) == config


ORDERED = """
from configs import mixer
def get_config(variant=""):
    config = mixer.get_config()
    config.augment = {"random_crop": {"padding": 2.0}, "flip_zoom": dict(config.augment.flip_zoom)}
    config.batch_size = config.data.get_ref("workers") + 5
    return config
"""


def test_transforms_keep_the_order_in_which_they_are_written(tmp_path):
    """ConfigDict sorts its keys."""
    (tmp_path / "own.py").write_text(ORDERED)
    values, _ = read_config(str(tmp_path / "own.py"))
    assert list(values["augment"]) == ["random_crop", "flip_zoom"] and values["batch_size"] == 5
    assert list(RunConfig.from_mapping(ConfigDict(values)).augment) == ["random_crop", "flip_zoom"]

    added = {"a.probability": "0.5", "erasing.name": "random_erasing", "a.name": "flip"}
    override_all(values, {f"augment.{key}": text for key, text in added.items()})
    config = completed(RunConfig.from_mapping(values))
    assert list(config.augment) == ["random_crop", "flip_zoom", "a", "erasing"]
    assert config.augment["a"] == {"name": "flip", "probability": 0.5}

    other = dict(reversed(config.augment.items()))
    found = differences(config, dataclasses.replace(config, augment=other))
    assert found == [
        "the order of config.augment was random_crop, flip_zoom, a, erasing and is now erasing, a, "
        "flip_zoom, random_crop"
    ]


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
        ("model.positions", "none", "none"),  # of a block of one's own it may be a word
        ("model.scan", "False", False),
        ("data.source", "folder:/some where/7", "folder:/some where/7"),
        ("data.source", "None", "None"),
        ("data.data_dir", "None", None),
        ("data.data_dir", "123", "123"),
        ("optimizer.b1", "0.5", 0.5),
        ("loss.label_smoothing", "0.1", 0.1),
        ("augment.flip_zoom.zoom", "0", 0),
    ],
)
def test_the_command_line_changes_one_value(path, text, value):
    values = mixer.get_config().to_dict()
    override(values, path, text)
    config = RunConfig.from_mapping(values)
    assert config == RunConfig.from_mapping(changed(path, value))
    assert found(config, path) == value and type(found(config, path)) is type(value)


def test_another_name_drops_the_options_of_the_row_that_stood_there():
    values = mixer.get_config().to_dict()
    # Names first, in whatever order they are given.
    override_all(values, {"optimizer.momentum": "0.5", "optimizer.name": "sgd"})
    config = completed(RunConfig.from_mapping(values))
    assert config.optimizer.name == "sgd" and config.optimizer.options.get("momentum") == 0.5
    assert not config.optimizer.options.keys() & {"b1", "b2", "epsilon"}
    assert config.optimizer.learning_rate == values["optimizer"]["learning_rate"] == 0.005
    # Options of a model replace fields of any preset.
    override_all(values, {"model.width": "64"})
    override_all(values, {"model.name": "mixer_s32"})
    assert RunConfig.from_mapping(values).model.options == {"width": 64}


NEEDED = [key for key, one in closed_settings().items() if one.default is MISSING]


@pytest.mark.parametrize("key", sorted(set(CLOSED) - set(NEEDED)))
def test_a_setting_that_came_later_has_its_default(key):
    values = mixer.get_config().to_dict()
    *groups, last = key.split(".")
    section = values
    for group in groups:
        section = section[group]
    del section[last]
    assert RunConfig.from_mapping(values).flat()[key] == closed_settings()[key].default


@pytest.mark.parametrize("key", [*NEEDED, "model", "optimizer", "augment", "mix"])
def test_a_missing_key_is_named(key):
    values = mixer.get_config().to_dict()
    *groups, last = key.split(".")
    section = values
    for group in groups:
        section = section[group]
    del section[last]
    with pytest.raises(InputError, match=f"config.{key} is missing"):
        RunConfig.from_mapping(values)


def test_settings_of_an_older_name_are_read_and_written_by_that_of_today():
    older = mixer.get_config().to_dict()
    del older["duration"], older["schedule"]["warmup"]
    older["num_epochs"], older["schedule"]["warmup_epochs"] = 7, 0.5
    config = RunConfig.from_mapping(older)
    assert (config.duration, config.schedule.warmup) == ("7 epochs", "0.5 epochs")
    assert not {"num_epochs", "schedule.warmup_epochs"} & config.flat().keys()
    # The command line changes them by the names of today alone.
    override(older, "duration", "9 steps")
    override(older, "schedule.warmup", "2")
    config = RunConfig.from_mapping(older)
    assert (config.duration, config.schedule.warmup) == ("9 steps", "2 epochs")
    with pytest.raises(InputError, match=r"give --config.schedule.warmup='3 epochs'"):
        override(older, "schedule.warmup_epochs", "3")
    with pytest.raises(InputError, match=r"num_epochs is an older name of config.duration; give"):
        RunConfig.from_mapping({**older, "num_epochs": 7})


def test_what_cannot_be_shown_is_refused_all_the_same():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    for value, text in ((10**5000, "this int"), (deep, "[[[[[[[...]]]]]]]")):
        with pytest.raises(InputError, match=f"^config.seed must be .* not {re.escape(text)}.$"):
            RunConfig.from_mapping(changed("seed", value))
    with pytest.raises(InputError, match=r"^config.model must be .* not \[\[\[.*\]\]\].$"):
        RunConfig.from_mapping(changed("model", deep))
    with pytest.raises(InputError) as raised:
        RunConfig.from_mapping(changed("seed", "x" * 10**6))
    assert "xxx...xxx" in str(raised.value) and len(str(raised.value)) < 1100


@pytest.mark.parametrize("key", [1, None, (2,), 1.5, b"xyz"])
def test_a_key_that_is_no_word_is_named(key):
    values = mixer.get_config().to_dict()
    for path, refused in (
        ("config", {**values, key: 1}),
        ("config.model", changed("model", {**values["model"], key: 1})),
        ("config.augment", changed("augment", {key: {}})),
        ("config.augment.flip_zoom", changed("augment.flip_zoom", {key: 1})),
    ):
        with pytest.raises(InputError, match=f"^{path} has .*key.*{re.escape(repr(key))}"):
            RunConfig.from_mapping(refused)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(), children),
    max_leaves=3,
)


@settings(max_examples=300)
@given(st.sampled_from(CLOSED), JSON)
def test_any_value_is_taken_as_it_is_or_refused_by_name(key, value):
    try:
        config = RunConfig.from_mapping(changed(key, value))
    except InputError as error:
        assert f"config.{key}" in str(error) and shown(value) in str(error)
        return
    result = found(config, key)
    if isinstance(result, Duration):
        value = Duration(value)
    assert result == (float(value) if isinstance(result, float) else value)
    assert not isinstance(result, float) or math.isfinite(result)
    assert RunConfig.from_mapping(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=300)
@example("model.epsilon", 2**31)  # a number of a setting that is a float, which JAX takes for int32
@example("model.attention_blocks", 1)
@given(st.sampled_from(OPTIONS), JSON)
def test_any_value_of_an_option_is_taken_as_it_is_or_refused_by_name(key, value):
    try:
        config = completed(RunConfig.from_mapping(changed(key, value)))
    except InputError as error:
        section, _, name = key.rpartition(".")
        assert section in str(error).lower() and name in str(error)
        return
    result = found(config, key)
    assert result == (float(value) if isinstance(result, float) else value)
    assert not isinstance(result, float) or math.isfinite(result)
    assert RunConfig.from_mapping(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.sampled_from([*CLOSED, *OPTIONS, "model", "augment", "mix.x", "seed.x", "", ".", "a.b"]),
    st.text(max_size=8),
)
def test_any_text_on_the_command_line_is_taken_or_refused(key, text):
    values = mixer.get_config().to_dict()
    try:
        override(values, key, text)
        completed(RunConfig.from_mapping(values))
    except InputError as error:
        assert "config." in str(error)
