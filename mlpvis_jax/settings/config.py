"""The settings of a run: every key, with its type, its range, its role and its meaning.

`configs/*.py` give the values and the command line changes them. A section that has a `name` is
open: the name stands for a row of a table (a model's preset, an optimiser, ...), or is the import
path of something of the user's own, and the section's other keys are what that row declares; see
`mlpvis_jax.running.choices`.
"""

import copy
import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.settings.declared import (
    MISSING,
    BatchSize,
    Count,
    OneOf,
    Role,
    Setting,
    Within,
    settings_of,
    shown,
    unknown_key,
)
from mlpvis_jax.settings.durations import Duration
from mlpvis_jax.settings.renamed import rename
from mlpvis_jax.settings.sections import (
    AveragingConfig,
    CheckpointConfig,
    DataConfig,
    EarlyStoppingConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Options,
    ReduceOnPlateauConfig,
    ScheduleConfig,
)
from mlpvis_jax.settings.written_order import in_written_order


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All settings of a run; make one with `from_mapping`.

    In Python: `RunConfig.from_mapping(recipe("mixer:digits"))`, where `recipe` is of
    `mlpvis_jax.files.recipe`, or with any nested dict or ConfigDict of the same keys.
    """

    seed: Annotated[int, Within(0, below=2**32), Role.TRACED, "Decides every random draw."]
    duration: Annotated[
        Duration,
        Within(0, above=0, most=10**12),
        Role.RULE,
        "How long the run is, at most, such as '50 epochs', '10000 steps' or '2_250_000 examples'; "
        "a number alone is of epochs. A constant schedule may go on for longer.",
    ]
    batch_size: Annotated[BatchSize, Role.SHAPE, "Images a step, over all devices."]
    microbatch_size: Annotated[
        BatchSize | None,
        Role.MACHINE,
        "Images of a device whose gradients are computed at a time, at most, and then summed "
        "(gradient accumulation); None: 16 on a CPU, the whole batch elsewhere.",
    ]
    steps_per_dispatch: Annotated[Count, Role.MACHINE, "Steps between two looks at the progress."]
    data: DataConfig
    augment: Annotated[Options, "Transforms of an image, in their order, by a label each."]
    mix: Annotated[Options, "Transforms of a batch, in their order, by a label each."]
    model: ModelConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    averaging: AveragingConfig
    loss: LossConfig
    metrics: Annotated[
        str,
        Role.SHAPE,
        "What is measured besides loss and accuracy, such as 'top5_accuracy class_accuracy'.",
    ]
    writers: Annotated[
        str,
        Role.MACHINE,
        "Who writes each epoch down, such as 'tensorboard curves'; '': nobody.",
    ]
    reduce_on_plateau: ReduceOnPlateauConfig
    early_stopping: EarlyStoppingConfig
    checkpoint: CheckpointConfig
    repeats: Annotated[
        Count,
        Role.SHAPE,
        "Copies of an image in a batch, each transformed by itself (repeated augmentation); an "
        "epoch has as many steps as without, and sees one in `repeats` of the images.",
    ] = 1
    average_flips: Annotated[
        bool,
        Role.SHAPE,
        "Whether validation and test average the logits of each image and its mirror image.",
    ] = False
    writers_every_steps: Annotated[
        Count | None,
        Role.MACHINE,
        "Steps between two points that the writers get within an epoch, each after a whole "
        "dispatch; None: epochs only.",
    ] = None
    writers_histograms: Annotated[
        bool, Role.MACHINE, "Whether the writers get the weights after each epoch, as histograms."
    ] = False
    init_from: Annotated[
        str | None,
        Role.RULE,
        "Weights to start from: a run's folder, a file, or a name of --list=weights; None: at "
        "random.",
    ] = None
    init_from_resolution: Annotated[
        str,
        OneOf(("interpolate", "block_diagonal")),
        Role.RULE,
        "How they are carried over to another image size: along the grid of tokens, or as in the "
        "Mixer paper's appendix C, for a multiple of the size and wider token MLPs.",
    ] = "interpolate"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Checks a nested mapping, such as a ConfigDict or the content of config.json.

        The options of open sections are checked where their rows are known, by
        `running.choices.check`.

        Raises:
          InputError: a key that does not exist or is missing, a wrong type, an impossible value.
        """
        return _section(cls, in_written_order(values), "config")

    def to_dict(self) -> dict[str, Any]:
        """Returns the nested dict that `from_mapping` takes; JSON holds it as it is."""
        return _without_options(dataclasses.asdict(self))

    def flat(self) -> dict[str, Any]:
        """Returns each setting by its key, such as "optimizer.learning_rate"."""
        return dict(_flat(self.to_dict()))

    def orders(self) -> dict[str, list[str]]:
        """Lists the labels of each section whose order counts, which `flat` does not tell."""
        return {section: list(getattr(self, section)) for section in ("augment", "mix")}


def closed_settings(section: type = RunConfig, prefix: str = "") -> dict[str, Setting]:
    """Reads the settings that every config has, by key; `running.choices` knows the others."""
    found = {f"{prefix}{name}": one for name, one in settings_of(section).items()}
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            found |= closed_settings(typing.cast(type, hint), f"{prefix}{name}.")
    return found


def hints_of(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def keys_of(section: Any) -> list[str]:
    return [name for name in hints_of(section) if name != "options"]


def _section(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise InputError(f"{path} must be a group of settings, not {shown(values)}.")
    values = dict(values.items())
    rename(values, path)
    hints, declared, checked = hints_of(cls), settings_of(cls), {}
    for key in values:
        if not isinstance(key, str):
            raise InputError(
                f"{path} has the key {shown(key)}; keys are {', '.join(keys_of(cls))}."
            )
    missing = hints.keys() - values.keys() - {"options"}
    for key in values.keys() - hints.keys():
        if "options" not in hints or nearest(key, missing):
            raise InputError(unknown_key(f"{path}.{key}", keys_of(cls)))
    for key in hints:
        if key == "options":
            continue
        if key not in values and key in declared and declared[key].default is not MISSING:
            values[key] = declared[key].default  # a config.json from before there was the setting
        if key not in values:
            raise InputError(
                f"{path}.{key} is missing; to a config.json of an older version it can be added on "
                f"the command line: --config=FILE --{path}.{key}=VALUE."
            )
        value = values.pop(key)
        if key in declared:
            checked[key] = declared[key].check(value, f"{path}.{key}")
        elif dataclasses.is_dataclass(hints[key]):
            checked[key] = _section(typing.cast(type, hints[key]), value, f"{path}.{key}")
        else:
            checked[key] = _options(value, f"{path}.{key}")
    if "options" in hints:
        checked["options"] = _options(values, path)
    return cls(**checked)


def _options(values: Any, path: str) -> dict[str, Any]:
    """Checks that options are plain values, which JSON holds, or groups of such."""
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise InputError(f"{path} must be a group of settings, not {shown(values)}.")
    found: dict[str, Any] = {}
    for key, value in values.items():
        place = f"{path}.{key}"
        if not isinstance(key, str):
            raise InputError(f"{path} has the key {key!r}; keys are words.")
        if isinstance(value, Mapping) or hasattr(value, "items"):
            found[key] = _options(value, place)
        elif value is None or isinstance(value, bool | int | float | str):
            found[key] = value
        else:
            raise InputError(
                f"{place} must be a number, a word, True, False or None, not {shown(value)}."
            )
    return found


def _without_options(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {
        key: _without_options(value) if isinstance(value, Mapping) else copy.copy(value)
        for key, value in values.items()
        if key != "options"
    }
    return {**plain, **values.get("options", {})}


def _flat(values: Mapping[str, Any], prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
