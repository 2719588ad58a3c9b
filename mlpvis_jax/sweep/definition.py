"""What a sweep is told: its space, how points are chosen, how many trials, and what is culled."""

import copy
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.running.choices import completed, declarations, differences
from mlpvis_jax.settings.choice import find
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.declared import Count, OneOf, Role, Within, check_all, settings_of, shown
from mlpvis_jax.settings.override import override, override_all
from mlpvis_jax.settings.renamed import refuse_older
from mlpvis_jax.sweep import space
from mlpvis_jax.sweep.space import Dimension, Point, Space, plain
from mlpvis_jax.sweep.strategies import STRATEGIES, Strategy, make


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that a sweep is told but its space."""

    strategy: Annotated[
        str, Role.RULE, "How points are chosen: grid, random, tpe, or MODULE:NAME of your own."
    ] = "grid"
    num_trials: Annotated[
        Count | None, Role.RULE, "Trials, with all seeds; None: the whole grid."
    ] = None
    trials_per_program: Annotated[
        Count | None, Role.MACHINE, "Trials that train together; None: as many as memory holds."
    ] = None
    side_by_side: Annotated[
        Count | None, Role.MACHINE, "Trials that a device vmaps; None: all, or one on CPUs."
    ] = None
    cull_epochs: Annotated[
        str, Role.RULE, "After these epochs the worse trials end, such as '5 10'; '' for never."
    ] = ""
    cull_factor: Annotated[
        float, Within(0, above=1), Role.RULE, "Of so many trials that came there, one goes on."
    ] = 2.0
    objective: Annotated[
        str,
        OneOf(("validation_loss", "validation_accuracy")),
        Role.RULE,
        "What ranks trials, in their best epoch (of the lowest validation loss).",
    ] = "validation_loss"
    suggestion_seed: Annotated[
        int, Within(0, below=2**32), Role.RULE, "Of random points, and of TPE's."
    ] = 0


MOST_TRIALS = 10_000
_MAY_DIFFER = {"num_trials", "trials_per_program", "side_by_side"}
_SETTINGS = settings_of(Settings)


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
        config = completed(RunConfig.from_mapping(base))
        if not isinstance(written, Mapping):
            raise InputError(f"A sweep must be a dict, not {shown(written)}.")
        for key, value in written.items():
            if not isinstance(key, str):
                raise InputError(
                    "The keys of a sweep must be words such as 'optimizer.learning_rate', not "
                    f"{shown(key)}."
                )
            if key in _SETTINGS:
                space.refuse_odd(f"sweep.{key}", value)
        given = {
            key: _SETTINGS[key].parse(value) if isinstance(value, str) else value
            for key, value in written.items()
            if key in _SETTINGS
        }
        if isinstance(given.get("cull_epochs"), list | tuple | int):
            given["cull_epochs"] = str(given["cull_epochs"])
        settings = Settings(**check_all(_SETTINGS, given, "sweep"))
        dimensions = {key: value for key, value in written.items() if key not in _SETTINGS}
        for key in dimensions:
            refuse_older(key, "--sweep")
        its_space = space.read(dimensions, config.seed)
        for key, dimension in its_space.dimensions.items():
            _check_key(key, dimension, config)
        sweep = cls(copy.deepcopy(dict(base)), its_space, settings)
        sweep._check(config)
        return sweep

    @property
    def cull_epochs(self) -> tuple[int, ...]:
        return _epochs(self.settings.cull_epochs)

    @property
    def num_points(self) -> int:
        """Counts the points, each of which is trained with every seed."""
        if self.settings.num_trials is not None:
            return self.settings.num_trials // len(self.space.seeds)
        number = self.strategy.max_points(self.space)
        if number is None:
            raise InputError(f"--sweep.strategy={self.settings.strategy} needs --sweep.num_trials.")
        return number

    @property
    def num_trials(self) -> int:
        return self.num_points * len(self.space.seeds)

    @functools.cached_property
    def strategy(self) -> Strategy:
        """Gives the strategy that chooses points."""
        name, needed = self.settings.strategy, ("knows_points", "max_points", "check")
        return make(find(STRATEGIES, name, "sweep.strategy"), f"sweep.strategy={name}", needed)

    def point(self, index: int) -> Point:
        """Gives the point of an index, where the strategy needs no results to choose it."""
        return plain(self.strategy.point(self.space, index, self.settings.suggestion_seed))

    @property
    def example_point(self) -> Point:
        """Gives the first point, or a corner of the space where results choose the points."""
        return self.point(0) if self.strategy.knows_points else next(self.space.corners())

    def shape_of_point(self, point: Point) -> str:
        """Writes a text that is equal for points of one `program_key`; no config is built."""
        traced, rules = self._free
        shape = [
            (key, value)
            for key, value in point.items()
            if key not in rules and (key not in traced or value is None)
        ]
        return repr(shape)

    @functools.cached_property
    def _free(self) -> tuple[set[str], set[str]]:
        """What the trials of one program may differ in: traced numbers, and rules of the host."""
        roles = declarations(RunConfig.from_mapping(self.base)).items()
        traced, rules = (
            {key for key, one in roles if one.role is role} for role in (Role.TRACED, Role.RULE)
        )
        return traced, rules

    def values_of(self, index: int, point: Point) -> dict[int, dict[str, Any]]:
        """Lists the values of a point's trials, one a seed, by the trial's number."""
        first = index * len(self.space.seeds)
        seeds = enumerate(self.space.seeds, start=first)
        return {number: {**point, space.SEED: seed} for number, seed in seeds}

    def trials(self, index: int, point: Point) -> list[Trial]:
        """Lists the trials of a point, one a seed.

        Raises:
          InputError: the config refuses a value.
        """
        return [
            Trial(number, index, values, config_of(self.base, values))
            for number, values in self.values_of(index, point).items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Writes all of the sweep as sweep.json has it."""
        return {
            "config": self.base,
            "sweep": {**dataclasses.asdict(self.settings), **self.space.to_json()},
        }

    def refuse_other(self, before: "Sweep", place: str) -> None:
        """Raises InputError where a sweep begun as `before` cannot go on as this one."""
        old_config, config = (RunConfig.from_mapping(one.base) for one in (before, self))
        duration = old_config.duration  # a run may grow, and a sweep may not
        found = differences(old_config, dataclasses.replace(config, duration=duration))
        if duration != config.duration:
            found.append(f"config.duration was {duration!r} and is now {config.duration!r}")
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

    def check_cull_epochs(self, num_epochs: int) -> None:
        """Raises InputError for a cull that comes after the last epoch of a trial, or with it."""
        for epoch in self.cull_epochs:
            if not 1 <= epoch < num_epochs:
                raise InputError(
                    "sweep.cull_epochs must lie between 1 and the epochs of config.duration - 1, "
                    f"which is {num_epochs - 1}, not {epoch}."
                )

    def _check(self, config: RunConfig) -> None:
        settings, seeds = self.settings, len(self.space.seeds)
        number = settings.num_trials or (self.space.grid_size or 0) * seeds
        if number > MOST_TRIALS:
            raise InputError(
                f"The sweep has {number:,} trials, and at most {MOST_TRIALS:,} are possible; give "
                "fewer values or seeds, or a lower sweep.num_trials."
            )
        if settings.num_trials is not None and settings.num_trials % seeds:
            raise InputError(
                f"sweep.num_trials must be a multiple of the {seeds} seeds that every point is "
                f"trained with, not {settings.num_trials}."
            )
        most, points = self.strategy.max_points(self.space), self.num_points
        if most is not None and points > most:
            raise InputError(
                f"sweep.num_trials is {settings.num_trials}, but the {settings.strategy} has only "
                f"{most * seeds} trials."
            )
        for key, dimension in self.space.dimensions.items():
            for value in dimension.checked:  # a range's ends, or all of a list
                try:
                    config_of(self.base, {key: value})
                except InputError as error:
                    raise InputError(f"The sweep's point {key}={value}: {error}") from None
        for seed in self.space.seeds:
            config_of(self.base, {space.SEED: seed})
        swept = self.space.dimensions.get("duration")
        choices = [{"duration": value} for value in swept.extremes] if swept else [{}]
        durations = [config_of(self.base, choice).duration for choice in choices]
        if all(one.unit == "epochs" for one in durations):  # of others it takes the data to know
            self.check_cull_epochs(math.ceil(max(one.number for one in durations)))


def config_of(base: Mapping[str, Any], values: Mapping[str, Any]) -> RunConfig:
    """Makes the settings with these values in them.

    Raises:
      InputError: the config refuses one.
    """
    return completed(RunConfig.from_mapping(_with(base, values)))


def _with(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(base))
    texts = {key: value if isinstance(value, str) else repr(value) for key, value in values.items()}
    override_all(changed, texts)
    return changed


def _check_key(key: str, dimension: Dimension, config: RunConfig) -> None:
    declared = declarations(config)
    if key in declared and declared[key].role is Role.MACHINE:
        raise InputError(f"sweep.{key}: it is the same for all trials; give --config.{key}.")
    if key not in declared:
        try:
            override({}, key, "0")  # which says what is wrong with the key
            config_of(config.to_dict(), {key: dimension.checked[0]})  # it may make a transform
        except InputError as error:
            raise InputError(
                f"sweep.{key} is neither a setting of the sweep ({', '.join(sorted(_SETTINGS))}) "
                f"nor of the config. {error}"
            ) from None


def _epochs(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").strip("[]() ").split()
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise InputError(f"sweep.cull_epochs must be epochs such as '5 10', not {shown(text)}.")
    return tuple(sorted(set(map(int, words))))
