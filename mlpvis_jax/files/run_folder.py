"""A run is a folder: what it was told, what it measured, what it learned."""

import contextlib
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.files import config_file
from mlpvis_jax.files.atomic import replacing, sync
from mlpvis_jax.files.command_line import command_line
from mlpvis_jax.files.config_file import ConfigFile
from mlpvis_jax.files.lock import lock
from mlpvis_jax.files.place import check_kinds, check_writable
from mlpvis_jax.settings.config import RunConfig

# (settings before, settings now) -> sentences about those that keep a run from going on
Differences = Callable[[RunConfig, RunConfig], list[str]]

_HOLDER = re.compile(r"process \d+ on .*")


class RunFolder:
    """The files of one run, under `path`.

    config.json        every setting; `launch.py --config=.../config.json` runs it again
    begun_with.py      the config file, where the model is the user's own; see `config_file`
    metrics.jsonl      a line an epoch
    results.json       of the test set, with the best weights
    best.safetensors   the weights of the lowest validation loss
    averaged.safetensors  the averaged weights of their lowest validation loss, if any are kept
    last.safetensors   the weights after the last epoch
    curves.png         loss and accuracy by epoch
    tensorboard/       the same as event files
    checkpoints/       all that a run needs to go on
    lock               held while a process trains

    Args:
      path: of the folder.
      config_file: to be kept with config.json.
    """

    def __init__(self, path: str | os.PathLike, config_file: ConfigFile | None = None) -> None:
        self.path = Path(os.path.expanduser(path))
        self._config_file = config_file
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.best_weights = self.path / "best.safetensors"
        self.averaged_weights = self.path / "averaged.safetensors"
        self.last_weights = self.path / "last.safetensors"
        self.curves = self.path / "curves.png"
        self.events = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self._lock = self.path / "lock"

    def check(self, config: RunConfig, differences: Differences) -> None:
        """Refuses a folder that holds another run, or that cannot be written.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        self.check_place()
        weights = (self.best_weights, self.last_weights, self.averaged_weights)
        files = (self.config, self.metrics, self.results, *weights, self.curves, self._lock)
        check_kinds(files, folders=(self.events, self.checkpoints))
        if self.holds_run():
            self.refuse_other(self.read_config(), config, differences)
            return
        for taken in (self.metrics, self.results, *weights):
            if not is_blank(taken):
                raise InputError(
                    f"--workdir={self.path} holds a run ({taken.name}) without its config.json; "
                    "choose another folder."
                )
        # The lock of a run that was killed before its config.json was there names its process; that
        # lock is not foreign, nor are the event files beside it.
        is_of_run = bool(_HOLDER.fullmatch(self.holder()))
        for taken in (self.curves, *([] if is_of_run else [self._lock])):
            if not is_blank(taken):
                raise InputError(
                    f"--workdir={self.path} holds a file {taken.name} that is of no run, and a run "
                    "would write over it; choose another folder."
                )
        if not is_of_run and any(self.events.glob("*")):
            raise InputError(
                f"--workdir={self.path} holds a folder {self.events.name} that is of no run, and "
                "TensorBoard would show its curves as those of a run; choose another folder."
            )

    def check_place(self) -> None:
        """Raises InputError for a path where no folder can be, or that cannot be written."""
        check_writable(self.path)

    def refuse_other(self, before: RunConfig, config: RunConfig, differences: Differences) -> None:
        """Raises InputError where a run begun with other settings cannot go on with these."""
        differing = differences(before, config)
        if differing:
            raise InputError(
                f"--workdir={self.path} holds a run with other settings: {'; '.join(differing)}. "
                "Choose another folder, or give it its own settings."
            )

    def holds_run(self) -> bool:
        """Tells whether settings are here, in config.json or in a checkpoint."""
        return not is_blank(self.config) or bool(self._checkpoint_steps())

    def has_checkpoint(self) -> bool:
        """Tells whether there is a checkpoint, whole or not."""
        return bool(self._checkpoint_steps())

    def has_lost_checkpoints(self) -> bool:
        """Tells whether a run was trained here whose checkpoints are gone."""
        if self.has_checkpoint() or self.results.exists():
            return not self.has_checkpoint()
        if not self.metrics.exists():
            return not is_blank(self.best_weights)
        # A run that was killed may have written two epochs before its first checkpoint.
        return self.metrics.read_bytes().count(b"\n") > 2

    def command(self, config: RunConfig, *more: str) -> str:
        """Writes the command that goes on with this run of these settings; `more` are arguments."""
        more = (f"--workdir={self.path}", *more)
        return config_file.command(self.path, config, *more) or command_line(*more)

    def _checkpoint_steps(self) -> list[int]:
        """Those of the checkpoints, the newest first."""
        names = [path.name for path in self.checkpoints.glob("*")]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder if need be, and keeps other processes from training in it.

        The system gives the lock back when the process ends, however it ends.

        Raises:
          InputError: another process has it, or the file system has no locks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            if not lock(file, self.path):
                file.seek(0)
                raise InputError(
                    f"--workdir={self.path} is in use by {file.read().strip() or 'a process'}; "
                    "wait for it, or choose another folder."
                )
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield

    def holder(self) -> str:
        """Says which process holds the lock, or held it last; empty where none did."""
        try:
            return self._lock.read_text(errors="replace").strip()
        except OSError:
            return ""

    def finished(self, config: RunConfig) -> dict[str, Any] | None:
        """Reads the results of a run that has nothing left to do under these settings, or None.

        A run of which a file is missing or damaged has something left to do: to restore it.
        """
        try:
            results = read_json(self.results)
        except InputError:  # none, or damaged
            return None
        tested = [results.get(f"test_{name}") for name in ("loss", "accuracy")]
        is_measured = all(isinstance(value, int | float) for value in tested)
        if not is_measured or not has_ended(results, config):
            return None
        needed = [self.config, self.metrics, self.best_weights, self.last_weights]
        needed += [] if config.averaging.decay is None else [self.averaged_weights]
        is_whole = not any(map(is_blank, needed)) and self._has_line_of_each_epoch(results)
        return results if is_whole or not self._checkpoint_steps() else None

    def _has_line_of_each_epoch(self, results: Mapping[str, Any]) -> bool:
        lines = self.metrics.read_bytes().count(b"\n")
        return "duration" not in results or lines == results.get("epochs")

    def check_weights(self, config: RunConfig) -> None:
        """Raises InputError where best.safetensors is lost and a checkpoint can restore it."""
        if is_blank(self.best_weights) and self._checkpoint_steps():
            raise InputError(
                f"There are no weights at {self.best_weights}, but there is a checkpoint. To "
                f"restore them: {self.command(config)}"
            )

    def write_config(self, config: RunConfig) -> None:
        if self._config_file is not None:
            self._config_file.write(self.path)
        write_json(self.config, config.to_dict())

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Makes metrics.jsonl hold these epochs and no others."""
        _replace(self.metrics, "".join(_line(record) for record in history))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Adds an epoch's line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(_line(record))
        sync(self.metrics)

    def write_results(self, results: Mapping[str, Any]) -> None:
        write_json(self.results, results)

    def read_config(self) -> RunConfig:
        """Reads the settings in config.json; where that is empty or missing, in the checkpoint.

        Raises:
          InputError: there is none, or it does not hold settings.
        """
        if is_blank(self.config) and (steps := self._checkpoint_steps()):
            from mlpvis_jax.files.checkpoint import read_values  # loads JAX

            for step in steps:
                with contextlib.suppress(InputError, KeyError):
                    values = read_values(self.checkpoints, step)
                    return RunConfig.from_mapping(values["configs"][0])
        try:
            return RunConfig.from_mapping(read_json(self.config))
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from None


def has_ended(results: Mapping[str, Any], config: RunConfig) -> bool:
    """Tells whether results are those of the end of a run, and not of one that goes on since."""
    done = results.get("duration", results.get("epochs"))  # the latter of an older version
    is_over = done in (config.duration, config.duration.number, None)
    return is_over or bool(results.get("stopped_early"))


def is_blank(path: Path) -> bool:
    """Tells whether a file is missing, or is empty or all zeros, as a power cut may leave it."""
    try:
        if not path.is_file():
            return True
        with path.open("rb") as file:
            return not file.read(1 << 16).strip(b"\0\n ")
    except OSError:  # something is there, and whoever reads it says what is wrong
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: no such file, no JSON object in it, or one that has a key twice.
    """
    try:
        if path.exists() and not path.is_file():  # of which some would never end
            raise InputError(f"{path} is not a file.")
        content = json.loads(path.read_text(), object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        raise InputError(f"There is no {path}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    except RecursionError as error:
        raise InputError(f"{path} cannot be read as JSON (it is nested too deeply).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(content).__name__}.")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {key!r} is there twice")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object, replacing the file as a whole."""
    _replace(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(record), allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
