"""Trains or evaluates a classifier.

python launch.py --config=configs/mixer.py
python launch.py --config=configs/mixer.py:digits --config.optimizer.learning_rate=0.003
python launch.py --workdir=runs/mixer --mode=evaluate
"""

import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mlpvis_jax.config import RunConfig, override
from mlpvis_jax.errors import InputError, RunError
from mlpvis_jax.run_folder import RunFolder, read_json

_MODES = ("train", "evaluate")
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Settings: a Python file that defines get_config(variant), as FILE or FILE:VARIANT, or a "
    "run's config.json. --config.KEY=VALUE changes one, such as --config.optimizer.weight_decay=0.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; by default a new one under runs/. A run that is in it already goes on, "
    "with or without --config.",
)
_MODE = flags.DEFINE_string(
    "mode",
    "train",
    "train: begin a run, or go on. evaluate: test the best weights of the run in --workdir.",
)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status: 0, or that of the RunError it printed."""
    try:
        overrides = _parse(arguments)
        values, name = _read_config()
        for path, text in overrides:
            override(values, path, text)
        config = RunConfig.from_mapping(values)
        _run(config, RunFolder(_WORKDIR.value or _new_folder(name)))
    except RunError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parse(arguments: list[str]) -> list[tuple[str, str]]:
    """Sets the flags; returns the --config.KEY=VALUE arguments as pairs."""
    try:
        rest = flags.FLAGS(arguments, known_only=True)[1:]
    except flags.Error as error:
        raise InputError(str(error)) from error
    overrides = []
    for argument in rest:
        key, equals, value = argument.partition("=")
        if not key.startswith("--config."):
            known = ["--config", "--workdir", "--mode", "--config.KEY=VALUE"]
            raise InputError(f"Unknown argument {argument!r}; there are {', '.join(known)}.")
        if not equals:
            raise InputError(f"{key} needs a value: {key}=VALUE.")
        overrides.append((key.removeprefix("--config."), value))
    if _MODE.value not in _MODES:
        raise InputError(f"--mode={_MODE.value} is unknown; there are {', '.join(_MODES)}.")
    return overrides


def _read_config() -> tuple[dict[str, Any], str]:
    """The settings before the command line changes them, and a name for the run."""
    if _CONFIG.value is None:
        if _WORKDIR.value and RunFolder(_WORKDIR.value).config.exists():
            return RunFolder(_WORKDIR.value).read_config().to_dict(), ""
        raise InputError(
            f"--mode={_MODE.value} needs --config=FILE, such as configs/mixer.py, or a --workdir "
            "that holds a run."
        )
    file, _, variant = _CONFIG.value.partition(":")
    path = Path(file)
    if not path.is_file():
        recipes = sorted(path for path in Path("configs").glob("*.py") if path.stem != "recipe")
        nearby = ", ".join(map(str, recipes)) or "none in configs/ here"
        raise InputError(f"--config={file} is no file; there are {nearby}.")
    if path.suffix == ".json":
        return read_json(path), path.absolute().parent.name
    if path.suffix != ".py":
        raise InputError(f"--config={file} is neither a .py file nor a run's config.json.")
    return _run_config_file(path, variant), "-".join(filter(None, (path.stem, variant)))


def _run_config_file(path: Path, variant: str) -> dict[str, Any]:
    """What the file's get_config(variant) returns, as a dict."""
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config(variant) if get_config is not None else None
    except ValueError as error:  # how a config refuses its variant
        raise InputError(f"--config={_CONFIG.value}: {error}") from error
    except Exception as error:  # a config is anyone's code
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{place}: {type(error).__name__}: {error}.") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path} must define get_config(variant) -> ConfigDict.")
    return config.to_dict()


def _new_folder(name: str) -> Path:
    if _MODE.value == "evaluate":
        raise InputError("--mode=evaluate needs --workdir, the folder of a run.")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _run(config: RunConfig, folder: RunFolder) -> None:
    # JAX starts here, after the settings are known to be good.
    from mlpvis_jax.parallel import keep_compiled_programs
    from mlpvis_jax.train import loop

    keep_compiled_programs()
    results = {"train": loop.train, "evaluate": loop.evaluate}[_MODE.value](config, folder)
    print(f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%")
    print(f"Test top 5 accuracy: {round(results['test_top5_accuracy'] * 100, 2)}%")


if __name__ == "__main__":
    # Until there is something to save, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv))
