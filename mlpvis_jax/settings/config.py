"""The settings of a run: every key, its type and the values that make sense.

`configs/*.py` give the values and the command line changes them; here they are checked, once,
before anything is read or compiled. There are no defaults: what a run does stands in its config.
"""

import ast
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from mlpvis_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Within:
    """An interval of allowed numbers; the upper end is open where `below` is given."""

    least: float
    most: float = math.inf
    below: float = math.inf
    above: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        low = f"above {self.above:,}" if self.above > -math.inf else f"at least {self.least:,}"
        if self.below < math.inf:
            return f"{low} and below {self.below:,}"
        return f"{low} and at most {self.most:,}" if self.most < math.inf else low


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A list of allowed words."""

    words: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return "one of " + ", ".join(self.words)


# The upper ends are far above what anyone trains, and keep a slip of the hand from taking hours.
Count = Annotated[int, Within(1, most=2**31 - 1)]  # JAX counts in int32
BatchSize = Annotated[int, Within(1, most=2**20)]
Pixels = Annotated[int, Within(1, most=2**12)]
Channels = Annotated[int, Within(1, most=2**16)]
Rate = Annotated[float, Within(0, below=1)]
NotNegative = Annotated[float, Within(0)]
Dtype = Annotated[str, OneOf(("float32", "bfloat16"))]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: str  # digits, cifar10, cifar100, tfds:NAME, folder:PATH or npz:PATH
    data_dir: str | None  # of TFDS; None: TFDS_DATA_DIR or the TFDS default
    cache_dir: str | None  # of decoded images; None: a folder beside the run
    # A split of the source by its name, last:SHARE or stratified:SHARE of the images to train on;
    # None: the source's own split, else last:0.1 of cifar and digits and stratified:0.1 of others.
    validation: str | None
    limit: Count | None  # images of each split, of all classes, for a quick try; None: all


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    flip_probability: Annotated[float, Within(0, most=1)]  # of mirroring an image left to right
    zoom: Rate  # height and width are scaled by factors within [1 - zoom, 1 + zoom]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A preset by its name; a setting that is None keeps the preset's value."""

    name: str
    image_size: Pixels  # pixels; images are resized to this height and width
    patch_size: Pixels | None
    width: Channels | None
    num_blocks: Annotated[int, Within(1, most=1024)] | None
    tokens_hidden_dim: Channels | None  # Mixer
    channels_hidden_dim: Channels | None  # Mixer
    hidden_dim: Channels | None  # FNet and gMLP
    dropout_rate: Rate | None
    stochastic_depth_rate: Rate | None
    approximate_gelu: bool | None  # the tanh form, which is faster
    dtype: Dtype | None
    param_dtype: Dtype | None
    remat: bool | None
    scan: bool | None


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: NotNegative
    weight_decay: NotNegative  # multiplied by the learning rate
    b1: Rate
    b2: Rate
    epsilon: NotNegative
    label_smoothing: Rate


@dataclasses.dataclass(frozen=True)
class ReduceOnPlateauConfig:
    factor: Annotated[float, Within(0, above=0, below=1)]
    patience: Count  # epochs
    min_delta: NotNegative  # of the validation loss, in nats


@dataclasses.dataclass(frozen=True)
class EarlyStoppingConfig:
    patience: Count  # epochs


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Besides the end of each epoch; None: not by this measure."""

    every_minutes: Annotated[float, Within(0, above=0)] | None
    every_steps: Count | None


@dataclasses.dataclass(frozen=True)
class RunConfig:
    seed: Annotated[int, Within(0, below=2**32)]
    num_epochs: Count
    batch_size: BatchSize  # images a step, over all devices
    # Images of a device whose gradients are computed at a time, at most, and then summed (gradient
    # accumulation); None: 16 on a CPU, the whole batch elsewhere.
    microbatch_size: BatchSize | None
    steps_per_dispatch: Count  # steps between two looks at the progress
    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    reduce_on_plateau: ReduceOnPlateauConfig
    early_stopping: EarlyStoppingConfig
    checkpoint: CheckpointConfig

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Checks a nested mapping, such as a ConfigDict or the content of config.json.

        Raises:
          InputError: a key that does not exist or is missing, a wrong type, an impossible value.
        """
        return _section(cls, values, "config")

    def to_dict(self) -> dict[str, Any]:
        """The nested dict that `from_mapping` takes; JSON holds it as it is."""
        return dataclasses.asdict(self)

    def flat(self) -> dict[str, Any]:
        """Each setting by its key, such as "optimizer.learning_rate"."""
        return _flat(self.to_dict())


# What a run may change when it goes on: but for its length, and for dropout masks in the case of
# microbatches (as with another number of devices), its result does not depend on them.
_MAY_DIFFER = {
    "num_epochs",
    "microbatch_size",
    "steps_per_dispatch",
    "data.data_dir",
    "data.cache_dir",
    "model.remat",
    "checkpoint.every_minutes",
    "checkpoint.every_steps",
}


def differences(before: RunConfig, now: RunConfig) -> list[str]:
    """The settings that keep a run begun with `before` from going on with `now`.

    Returns:
      Sentences such as "config.seed was 0 and is now 1"; none if it can go on.
    """
    old, new = before.flat(), now.flat()
    found = [
        f"config.{key} was {old[key]!r} and is now {new[key]!r}"
        for key in old
        if old[key] != new[key] and key not in _MAY_DIFFER
    ]
    if now.num_epochs < before.num_epochs:
        found.append(
            f"config.num_epochs was {before.num_epochs} and is now {now.num_epochs}; "
            "it may only grow"
        )
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def override(values: dict[str, Any], path: str, text: str) -> None:
    """Sets one value of a nested dict from the command line, where everything is text.

    Args:
      values: changed in place.
      path: such as "optimizer.learning_rate".
      text: a number, a word, True, False or None, as the setting's type asks.

    Raises:
      InputError: no such setting, or a text that is none of its type.
    """
    *groups, key = path.split(".")
    section: Any = RunConfig
    for depth, name in enumerate([*groups, key]):
        hints = typing.get_type_hints(section, include_extras=True)
        place = ".".join(["config", *groups[:depth], name])
        if name not in hints:
            raise InputError(_unknown_key(place, name, hints))
        section = hints[name]
        is_group = dataclasses.is_dataclass(section)
        if is_group and name == key and depth == len(groups):
            keys = ", ".join(typing.get_type_hints(section))
            raise InputError(f"{place} is a group of settings; set one of {keys} in it.")
        if not is_group and depth < len(groups):
            raise InputError(f"{place} is one setting; there is no config.{path}.")
    value = _parse(section, text)
    _value(section, value, f"config.{path}")
    for name in groups:
        values = values.setdefault(name, {})
    values[key] = value


def read_section(cls: type, values: Mapping[str, Any], path: str) -> Any:
    """Checks a mapping as `RunConfig.from_mapping` does, for another dataclass of settings."""
    return _section(cls, values, path)


def parse_text(cls: type, key: str, text: str) -> Any:
    """The value of a setting of a dataclass from the command line; its type is checked later."""
    return _parse(typing.get_type_hints(cls, include_extras=True)[key], text)


def _parse(hint: Any, text: str) -> Any:
    kind, optional = _without_none(hint)
    if text == "None" and optional:
        return None
    if kind is str or str in typing.get_args(kind):
        return text
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text  # whose type will then be found wrong


def _without_none(hint: Any) -> tuple[Any, bool]:
    """The type of a setting, and whether None is allowed as well."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(option for option in typing.get_args(hint) if option is not type(None)), True
    return hint, False


def _section(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise InputError(f"{path} must be a group of settings, not {_shown(values)}.")
    values = dict(values.items())
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in hints:
            raise InputError(_unknown_key(f"{path}.{key}", str(key), hints))
    for key in hints:
        if key not in values:
            raise InputError(
                f"{path}.{key} is missing; to a config.json of an older version it can be added on "
                f"the command line: --config=FILE --{path}.{key}=VALUE."
            )
    return cls(**{key: _value(hint, values[key], f"{path}.{key}") for key, hint in hints.items()})


def _unknown_key(path: str, key: str, known: typing.Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest one that does."""
    known = list(known)
    parent = path.removesuffix(key)
    matches = difflib.get_close_matches(key, known, n=1)
    if matches:
        return f"There is no {path}; did you mean {parent}{matches[0]}?"
    return f"There is no {path}; {parent.rstrip('.')} has {', '.join(known)}."


def _shown(value: Any) -> str:
    """A value as Python writes it, if that is of a readable length."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; too many digits
        return f"this {type(value).__name__}"
    return text if len(text) <= 1000 else f"{text[:1000]}..."


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _section(typing.cast(type, hint), value, path)
    hint, optional = _without_none(hint)
    if value is None and optional:
        return None
    bounds: Any = ()
    if typing.get_origin(hint) is Annotated:
        hint, *bounds = typing.get_args(hint)
    given = value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.inf
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        names = {int: "a whole number", float: "a number", str: "a word", bool: "True or False"}
        raise InputError(f"{path} must be {names[hint]}, not {_shown(given)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path} must be a finite number, not {_shown(given)}.")
    for bound in bounds:
        if value not in bound:
            raise InputError(f"{path} must be {bound}, not {_shown(given)}.")
    return value
