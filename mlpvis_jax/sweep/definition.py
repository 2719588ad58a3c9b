"""What a sweep is told: its space, how points are chosen, how many trials, and what is culled."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.config import (
    Count,
    OneOf,
    RunConfig,
    Within,
    differences,
    override,
    parse_text,
    read_section,
)
from mlpvis_jax.sweep import space
from mlpvis_jax.sweep.space import Point, Space

# What a group's trials may differ in: numbers that the compiled program is given, and rules that
# the host applies.
FREE = {
    "seed",
    "num_epochs",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.label_smoothing",
    "model.dropout_rate",
    "model.stochastic_depth_rate",
    "augment.flip_probability",
    "augment.zoom",
    "reduce_on_plateau.factor",
    "reduce_on_plateau.patience",
    "reduce_on_plateau.min_delta",
    "early_stopping.patience",
}
# Where a run lives and how it is watched; one group has one of each.
_NO_DIMENSIONS = {
    "data.data_dir",
    "data.cache_dir",
    "checkpoint.every_minutes",
    "checkpoint.every_steps",
    "steps_per_dispatch",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """All but the space.

    Attributes:
      strategy: how points are chosen.
      num_trials: with all seeds; None: the whole grid.
      trials_per_program: at most; None: as many as there is memory for.
      side_by_side: trials that a device computes together; None: all, or one on CPUs.
      cull_epochs: after these epochs the worse trials end, such as "5 10"; "" for never.
      cull_factor: one trial in so many goes on.
      objective: of ranking, culling and TPE, in a trial's best epoch (of the lowest loss).
      suggestion_seed: of random points and TPE.
    """

    strategy: Annotated[str, OneOf(("grid", "random", "tpe"))] = "grid"
    num_trials: Count | None = None
    trials_per_program: Count | None = None
    side_by_side: Count | None = None
    cull_epochs: str = ""
    cull_factor: Annotated[float, Within(0, above=1)] = 2.0
    objective: Annotated[str, OneOf(("validation_loss", "validation_accuracy"))] = "validation_loss"
    suggestion_seed: Annotated[int, Within(0, below=2**32)] = 0


MOST_TRIALS = 10_000
_MAY_DIFFER = {"num_trials", "trials_per_program", "side_by_side"}
_SETTINGS = {field.name for field in dataclasses.fields(Settings)}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of the sweep.

    Attributes:
      number: from 0; point * seeds + place among the seeds.
      point: index of its point.
      values: of every dimension, and the seed.
      config: its settings.
    """

    number: int
    point: int
    values: Mapping[str, Any]
    config: RunConfig


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
      base: the settings of all trials, a nested dict.
      space: what varies.
      settings: the rest.
    """

    base: Mapping[str, Any]
    space: Space
    settings: Settings

    @classmethod
    def read(cls, base: Mapping[str, Any], written: Mapping[str, Any]) -> "Sweep":
        """Checks a sweep as a file and the command line give it: settings and dimensions by key.

        Raises:
          InputError: anything that would not work, for any of its trials.
        """
        config = RunConfig.from_mapping(base)
        if not isinstance(written, Mapping):
            raise InputError(f"A sweep must be a dict, not {space.shown(written)}.")
        for key, value in written.items():
            if not isinstance(key, str):
                raise InputError(
                    "The keys of a sweep must be words such as 'optimizer.learning_rate', not "
                    f"{space.shown(key)}."
                )
            if key in _SETTINGS:
                space.refuse_odd(f"sweep.{key}", value)
        defaults = dataclasses.asdict(Settings())
        given = {
            key: parse_text(Settings, key, value) if isinstance(value, str) else value
            for key, value in written.items()
            if key in _SETTINGS
        }
        if isinstance(given.get("cull_epochs"), list | tuple | int):
            given["cull_epochs"] = str(given["cull_epochs"])
        settings = read_section(Settings, {**defaults, **given}, "sweep")
        dimensions = {key: value for key, value in written.items() if key not in _SETTINGS}
        for key in dimensions:
            _check_key(key, config)
        sweep = cls(copy.deepcopy(dict(base)), space.read(dimensions, config.seed), settings)
        sweep._check(config)
        return sweep

    @property
    def cull_epochs(self) -> tuple[int, ...]:
        return _epochs(self.settings.cull_epochs)

    @property
    def num_points(self) -> int:
        """Points, each of which is trained with every seed."""
        if self.settings.num_trials is None:
            assert self.space.grid_size is not None
            return self.space.grid_size
        return self.settings.num_trials // len(self.space.seeds)

    @property
    def num_trials(self) -> int:
        return self.num_points * len(self.space.seeds)

    def point(self, index: int) -> Point:
        """The point of an index, where the strategy needs no results to choose it."""
        if self.settings.strategy == "grid":
            return self.space.grid_point(index)
        return self.space.random_point(index, self.settings.suggestion_seed)

    def shape_of_point(self, point: Point) -> str:
        """Text that is equal for points whose trials are of one `shape_of`; no config is built."""
        return repr([value for key, value in point.items() if key not in FREE])

    def values_of(self, index: int, point: Point) -> dict[int, dict[str, Any]]:
        """The values of a point's trials, one a seed, by the trial's number."""
        first = index * len(self.space.seeds)
        seeds = enumerate(self.space.seeds, start=first)
        return {number: {**point, space.SEED: seed} for number, seed in seeds}

    def trials(self, index: int, point: Point) -> list[Trial]:
        """The trials of a point, one a seed.

        Raises:
          InputError: the config refuses a value.
        """
        return [
            Trial(number, index, values, config_of(self.base, values))
            for number, values in self.values_of(index, point).items()
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it, for sweep.json."""
        return {
            "config": self.base,
            "sweep": {**dataclasses.asdict(self.settings), **self.space.to_json()},
        }

    def refuse_other(self, before: "Sweep", place: str) -> None:
        """Raises InputError where a sweep begun as `before` cannot go on as this one."""
        found = differences(RunConfig.from_mapping(before.base), RunConfig.from_mapping(self.base))
        if before.base["num_epochs"] != self.base["num_epochs"]:
            found.append(
                f"config.num_epochs was {before.base['num_epochs']} and is now "
                f"{self.base['num_epochs']}"
            )
        old, new = before.to_json()["sweep"], self.to_json()["sweep"]
        for key in sorted(old.keys() | new.keys()):
            if key not in _MAY_DIFFER and old.get(key) != new.get(key):
                found.append(f"sweep.{key} was {old.get(key)!r} and is now {new.get(key)!r}")
        if self.num_points < before.num_points:
            found.append(
                f"sweep.num_trials was {before.num_trials} and is now {self.num_trials}; "
                "it may only grow"
            )
        if found:
            raise InputError(f"{place} holds another sweep: {'; '.join(found)}.")

    def _check(self, config: RunConfig) -> None:
        settings, seeds = self.settings, len(self.space.seeds)
        grid_size = self.space.grid_size
        number = settings.num_trials or (grid_size or 0) * seeds
        if number > MOST_TRIALS:
            raise InputError(
                f"The sweep has {number:,} trials, and at most {MOST_TRIALS:,} are possible; give "
                "fewer values or seeds, or a lower sweep.num_trials."
            )
        if settings.strategy == "grid" and grid_size is None:
            ranges = [
                f"sweep.{key}"
                for key, dimension in self.space.dimensions.items()
                if not isinstance(dimension, space.Values)
            ]
            raise InputError(
                f"A grid is made of lists, and {', '.join(ranges)} is a range; give a list, or "
                "--sweep.strategy=random."
            )
        if settings.num_trials is None:
            if settings.strategy != "grid":
                raise InputError(f"--sweep.strategy={settings.strategy} needs --sweep.num_trials.")
        else:
            if settings.num_trials % seeds:
                raise InputError(
                    f"sweep.num_trials must be a multiple of the {seeds} seeds that every point "
                    f"is trained with, not {settings.num_trials}."
                )
            if settings.strategy == "grid" and self.num_points > (grid_size or 0):
                raise InputError(
                    f"sweep.num_trials is {settings.num_trials}, but the grid has only "
                    f"{(grid_size or 0) * seeds} trials."
                )
        for epoch in self.cull_epochs:
            if not 1 <= epoch < config.num_epochs:
                raise InputError(
                    f"sweep.cull_epochs must lie between 1 and config.num_epochs - 1, which is "
                    f"{config.num_epochs - 1}, not {epoch}."
                )
        # What the config refuses at either end of a range, or anywhere in a list.
        for key, dimension in self.space.dimensions.items():
            for value in dimension.extremes:
                config_of(self.base, {key: value})
        for seed in self.space.seeds:
            config_of(self.base, {space.SEED: seed})


def config_of(base: Mapping[str, Any], values: Mapping[str, Any]) -> RunConfig:
    """The settings with these values in them.

    Raises:
      InputError: the config refuses one.
    """
    changed = copy.deepcopy(dict(base))
    for key, value in values.items():
        override(changed, key, value if isinstance(value, str) else repr(value))
    return RunConfig.from_mapping(changed)


def _check_key(key: str, config: RunConfig) -> None:
    if key in _NO_DIMENSIONS:
        raise InputError(f"sweep.{key}: it is the same for all trials; give --config.{key}.")
    if key not in config.flat():
        try:
            override({}, key, "0")  # which says what is wrong with the key
        except InputError as error:
            raise InputError(
                f"sweep.{key} is neither a setting of the sweep ({', '.join(sorted(_SETTINGS))}) "
                f"nor of the config. {error}"
            ) from None


def _epochs(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").strip("[]() ").split()
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise InputError(
            f"sweep.cull_epochs must be epochs such as '5 10', not {space.shown(text)}."
        )
    return tuple(sorted(set(map(int, words))))


def shape_of(config: RunConfig) -> str:
    """What trials must agree in to be one program; a text that is equal for them."""
    return repr(
        {key: value for key, value in config.flat().items() if key not in FREE | _NO_DIMENSIONS}
    )
