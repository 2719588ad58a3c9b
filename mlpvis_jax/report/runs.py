"""The runs that are compared: found by patterns, read from their folders, grouped by settings."""

import contextlib
import dataclasses
import glob
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.data import identity
from mlpvis_jax.errors import InputError
from mlpvis_jax.files.run_folder import RunFolder, has_ended, read_json
from mlpvis_jax.files.weights import read_description
from mlpvis_jax.running.choices import declarations
from mlpvis_jax.settings.config import RunConfig, closed_settings
from mlpvis_jax.settings.declared import Role, Setting

SEED = "seed"


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run as its folder has it.

    Attributes:
      name: its path below the folder that all compared runs have in common.
      folder: of the run.
      config: its settings.
      history: the lines of metrics.jsonl.
      results: of the test set; {} of a run that has not ended.
      data: what its weights say of the data, see `data.identity`; {} where they say nothing.
      initial_weights: the digest of the weights that it started from; None of random ones.
    """

    name: str
    folder: RunFolder
    config: RunConfig
    history: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    data: Mapping[str, Any]
    initial_weights: str | None = None

    @classmethod
    def read(cls, name: str, folder: RunFolder) -> "ComparedRun":
        """Reads a run.

        Raises:
          InputError: its settings cannot be read.
        """
        config, results, told = folder.read_config(), {}, {}
        with contextlib.suppress(InputError):  # it has not ended
            results = read_json(folder.results)
            told = read_description(folder.best_weights)
        is_measured = isinstance(results.get("test_accuracy"), float | int)
        if not is_measured or not has_ended(results, config):  # or it goes on for longer
            results = {}
        history, data = _read_history(folder.metrics), told.get("data", {})
        return cls(name, folder, config, history, results, data, told.get("initial_weights"))

    @property
    def settings(self) -> dict[str, Any]:
        """Gives each setting by its key, and the order of transforms where there are several."""
        orders = self.config.orders().items()
        several = {section: ", ".join(order) for section, order in orders if len(order) > 1}
        return {**several, **self.config.flat()}

    @property
    def seconds(self) -> float:
        """Counts the seconds that the epochs of the run took."""
        return float(sum(record.get("seconds") or 0 for record in self.history))

    @property
    def accuracy(self) -> float | None:
        """Gives the test accuracy of the run, or None if the run has not ended."""
        return self.results.get("test_accuracy")


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
      values: of the settings in which the compared runs differ, but for the seed, by key; and a
        number for the images or the initial weights where those differ under equal settings.
      runs: one or several.
    """

    values: Mapping[str, Any]
    runs: Sequence[ComparedRun]

    @property
    def one_of_each_seed(self) -> Sequence[ComparedRun]:
        """Gives the runs that means are of: another run of a seed tells nothing new."""
        found: dict[int, ComparedRun] = {}
        for run in sorted(self.runs, key=lambda run: run.accuracy is None):  # first what has ended
            found.setdefault(run.config.seed, run)
        return list(found.values())

    @property
    def name(self) -> str:
        """Names the first run of the group, and the number of runs, such as "mixer-0 (2 runs)"."""
        number, seeds = len(self.runs), len(self.one_of_each_seed)
        of_seeds = f", {seeds} seed{'s' if seeds > 1 else ''}" if seeds < number else ""
        return self.runs[0].name + (f" ({number} runs{of_seeds})" if number > 1 else "")


def find_runs(patterns: str) -> list[ComparedRun]:
    """Reads the runs of some folders.

    Args:
      patterns: of paths, with commas between them; a folder that a pattern finds and that holds no
        run is passed over.

    Raises:
      InputError: fewer than two runs, a folder without one that is named in full, or runs that were
        tested on other images than one another.
    """
    paths: dict[Path, None] = {}
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        expanded = os.path.expanduser(pattern)
        found = sorted(glob.glob(expanded)) if glob.has_magic(expanded) else [expanded]
        for path in map(Path, found):
            if RunFolder(path).holds_run():
                paths[path.resolve()] = None
            elif not glob.has_magic(expanded):
                raise InputError(f"--workdirs={patterns}: {pattern} holds no run.")
    if len(paths) < 2:
        raise InputError(
            f"--workdirs={patterns} finds {'one run' if paths else 'no run'}, and a comparison "
            "needs two; give a pattern in quotes, such as 'runs/*', or folders with commas between."
        )
    common = os.path.commonpath([path.parent for path in paths])
    here = Path.cwd()
    runs = []
    for path in paths:
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        runs.append(ComparedRun.read(os.path.relpath(path, common), RunFolder(shown)))
    _refuse_other_test_sets(runs, patterns)
    return runs


def group_by_settings(runs: Sequence[ComparedRun]) -> tuple[list[Group], list[str]]:
    """Groups runs that differ in the seed alone, and lists the settings in which groups differ.

    Settings that are a matter of the machine, such as folders, count for nothing. Runs of the same
    settings that were trained on other images under one name, or that began with other weights, are
    no group.
    """
    declared = {key: one for run in runs for key, one in _declared(run.config).items()}
    flats = [run.settings for run in runs]
    keys = [
        key
        for key in dict.fromkeys(key for flat in flats for key in flat)
        if key != SEED
        and not (key in declared and declared[key].role is Role.MACHINE)
        and len({repr(flat.get(key)) for flat in flats}) > 1
    ]
    values = [{key: flat.get(key) for key in keys} for flat in flats]
    for key, found in (("training images", _sets(runs)), ("initial weights", _starts(runs))):
        told = [{**one, key: place} for one, place in zip(values, found, strict=True)]
        if len(set(map(repr, told))) > len(set(map(repr, values))):
            keys, values = [*keys, key], told
    groups: dict[str, Group] = {}
    for run, one in zip(runs, values, strict=True):
        before = groups.get(repr(one), Group(one, []))
        groups[repr(one)] = Group(one, [*before.runs, run])
    return list(groups.values()), keys


def _sets(runs: Sequence[ComparedRun]) -> list[int]:
    """A number from 1 for the images that each run was trained and validated on."""
    parts = ("training", "validation")
    known: list[Mapping[str, Any]] = []
    found = []
    for run in runs:
        if "training" not in run.data:  # it has not ended, or is of an older version
            found.append(1)
            continue
        same = [
            all(identity.is_same_set(one.get(part, {}), run.data.get(part, {})) for part in parts)
            for one in known
        ]
        if True not in same:
            known.append(run.data)
            same.append(True)
        found.append(same.index(True) + 1)
    return found


def _starts(runs: Sequence[ComparedRun]) -> list[int]:
    """A number from 1 for the weights that each run began with."""
    known = list(dict.fromkeys(run.initial_weights for run in runs if run.data))
    return [known.index(run.initial_weights) + 1 if run.data else 1 for run in runs]


def _declared(config: RunConfig) -> dict[str, Setting]:
    try:
        return declarations(config)
    except InputError:  # it names a module of the user's own, which is not here
        return closed_settings()


def _refuse_other_test_sets(runs: Sequence[ComparedRun], patterns: str) -> None:
    known = [run for run in runs if "test" in run.data]
    for run in known[1:]:
        first = known[0]
        differing = identity.class_differences(
            first.data.get("class_names", []), run.data.get("class_names", [])
        )
        if not differing and not identity.is_same_set(*_described_alike(first, run)):
            numbers = [f"{one.data['test']['number']:,}" for one in (first, run)]
            differing = [f"{numbers[0]} images of the one, {numbers[1]} others of the other"]
        if differing:
            raise InputError(
                f"--workdirs={patterns}: {first.name} and {run.name} were tested on different test "
                f"sets ({first.config.data.source} and {run.config.data.source}: "
                f"{'; '.join(differing)}). Compare runs of one test set."
            )


def _described_alike(one: ComparedRun, other: ComparedRun) -> list[dict[str, Any]]:
    """The test sets of two runs; without their pixels where these were decoded to other shapes."""
    tests = [dict(run.data["test"]) for run in (one, other)]
    decoded = [(run.data.get("image_shape"), run.config.data.framing) for run in (one, other)]
    if decoded[0] != decoded[1] and all("marks" in test for test in tests):
        for test in tests:
            test.pop("images", None)
    return tests


def _read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; of a file that is damaged or missing, those that can be read."""
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and "epoch" in record:
                    found.append(record)
    return found
