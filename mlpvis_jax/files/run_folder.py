"""A run is a folder: what it was told, what it measured, what it learned."""

import contextlib
import fcntl
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.config import RunConfig, differences


class RunFolder:
    """The files of one run, under `path`.

    config.json        every setting; `launch.py --config=.../config.json` runs it again
    metrics.jsonl      a line an epoch
    results.json       of the test set, with the best weights
    best.safetensors   the weights of the lowest validation loss
    last.safetensors   the weights after the last epoch
    curves.png         loss and accuracy by epoch
    tensorboard/       the same as event files
    checkpoints/       all that a run needs to go on
    lock               held while a process trains
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.best_weights = self.path / "best.safetensors"
        self.last_weights = self.path / "last.safetensors"
        self.curves = self.path / "curves.png"
        self.events = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self._lock = self.path / "lock"

    def check(self, config: RunConfig) -> None:
        """Refuses a folder that holds another run, or that cannot be written.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        self.check_place()
        if self.config.exists():
            self.refuse_other(self.read_config(), config)
            return
        for taken in (self.metrics, self.results, self.best_weights, self.checkpoints):
            if taken.exists():
                raise InputError(
                    f"--workdir={self.path} holds a run ({taken.name}) without its config.json; "
                    "choose another folder."
                )

    def check_place(self) -> None:
        """Refuses a path where no folder can be, or that cannot be written.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        existing = next(
            folder for folder in (self.path, *self.path.absolute().parents) if folder.exists()
        )
        if not existing.is_dir():
            raise InputError(f"--workdir={self.path} cannot be a folder: {existing} is a file.")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"--workdir={self.path} cannot be written: {existing} gives no permission, or is "
                "on a read-only disk."
            )

    def refuse_other(self, before: RunConfig, config: RunConfig) -> None:
        """Raises InputError where a run begun with other settings cannot go on with these."""
        differing = differences(before, config)
        if differing:
            raise InputError(
                f"--workdir={self.path} holds a run with other settings: {'; '.join(differing)}. "
                "Choose another folder, or give it its own settings."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder if need be, and keeps other processes from training in it.

        The system gives the lock back when the process ends, however it ends.

        Raises:
          InputError: another process has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"--workdir={self.path} is in use by {file.read().strip() or 'a process'}; "
                    "wait for it, or choose another folder."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield

    def finished(self, config: RunConfig) -> dict[str, Any] | None:
        """The results of a run that has nothing left to do under these settings, or None."""
        if not self.results.exists():
            return None
        results = read_json(self.results)
        is_over = results.get("stopped_early") or results.get("epochs") == config.num_epochs
        return results if is_over else None

    def write_config(self, config: RunConfig) -> None:
        write_json(self.config, config.to_dict())

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Makes metrics.jsonl hold these epochs and no others."""
        _replace(self.metrics, "".join(_line(record) for record in history))

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Adds an epoch's line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(_line(record))

    def write_results(self, results: Mapping[str, Any]) -> None:
        write_json(self.results, results)

    def read_config(self) -> RunConfig:
        """The settings in config.json.

        Raises:
          InputError: there is none, or it does not hold settings.
        """
        try:
            return RunConfig.from_mapping(read_json(self.config))
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: no such file, or no JSON object in it.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"There is no {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(content).__name__}.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object, replacing the file as a whole."""
    _replace(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(record), allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content
