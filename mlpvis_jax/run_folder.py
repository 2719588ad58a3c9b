"""A run is a folder: what it was told, what it measured, what it learned."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError


class RunFolder:
    """The files of one run, under `path`.

    config.json        every setting; `launch.py --config=.../config.json` runs it again
    metrics.jsonl      a line an epoch
    results.json       of the test set, with the best weights
    best.safetensors   the weights of the lowest validation loss
    last.safetensors   the weights after the last epoch
    curves.png         loss and accuracy by epoch
    tensorboard/       the same as event files
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

    def check_free(self) -> None:
        """Refuses a folder that holds a run, or that cannot be written.

        Raises:
          InputError: naming the folder and what stands in the way.
        """
        for taken in (self.config, self.metrics, self.results, self.best_weights):
            if taken.exists():
                raise InputError(
                    f"--workdir={self.path} holds a run already ({taken.name}); "
                    "choose another folder, or --mode=evaluate to evaluate that run."
                )
        existing = next(
            folder for folder in (self.path, *self.path.absolute().parents) if folder.exists()
        )
        if not existing.is_dir():
            raise InputError(f"--workdir={self.path} cannot be a folder: {existing} is a file.")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"--workdir={self.path} cannot be written: no permission at {existing}."
            )

    def create(self, config: Mapping[str, Any]) -> None:
        """Makes the folder and writes config.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, config)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Adds an epoch's line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def write_results(self, results: Mapping[str, Any]) -> None:
        write_json(self.results, results)

    def read_config(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
          InputError: there is none, or it is no JSON object.
        """
        return read_json(self.config)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      InputError: no such file, or no JSON object in it.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"There is no {path}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(content).__name__}.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object, replacing the file as a whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
    os.replace(partial, path)


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content
