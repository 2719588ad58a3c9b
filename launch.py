"""Trains or evaluates a classifier, or sweeps over its settings.

python launch.py --config=configs/mixer.py
python launch.py --config=configs/mixer.py:digits --config.optimizer.learning_rate=0.003
python launch.py --workdir=runs/mixer --mode=evaluate
python launch.py --config=configs/mixer.py --sweep=configs/sweeps/lr_wd.py --workdir=runs/lr_wd
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

from mlpvis_jax.errors import InputError, RunError
from mlpvis_jax.files.run_folder import RunFolder, read_json
from mlpvis_jax.settings.config import RunConfig, override
from mlpvis_jax.sweep.definition import Sweep
from mlpvis_jax.sweep.folder import SweepFolder

_MODES = ("train", "evaluate")
_FLAGS = ("--config", "--sweep", "--storage", "--workdir", "--mode")
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Settings: a Python file that defines get_config(variant), as FILE or FILE:VARIANT, or a "
    "run's config.json. --config.KEY=VALUE changes one, such as --config.optimizer.weight_decay=0.",
)
_SWEEP = flags.DEFINE_string(
    "sweep",
    None,
    "A Python file that defines get_sweep() -> dict, such as configs/sweeps/lr_wd.py. "
    "--sweep.KEY=VALUE changes one of its settings or adds a dimension, such as "
    "--sweep.optimizer.learning_rate='log_uniform(1e-4, 1e-2)'; that goes without a file, too.",
)
_STORAGE = flags.DEFINE_string(
    "storage",
    None,
    "URL of a PostgreSQL or MySQL database through which several machines share a sweep, such as "
    "postgresql://user:password@host/name.",
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
        for path, text in overrides["config"].items():
            override(values, path, text)
        written = _read_sweep(overrides["sweep"])
        if written:
            _run_sweep(Sweep.read(values, written), _WORKDIR.value or _new_folder(f"{name}-sweep"))
        elif _STORAGE.value is not None:
            raise InputError("--storage is for a sweep; give --sweep=FILE or --sweep.KEY=VALUE.")
        else:
            config = RunConfig.from_mapping(values)
            _run(config, RunFolder(_WORKDIR.value or _new_folder(name)))
    except RunError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parse(arguments: list[str]) -> dict[str, dict[str, str]]:
    """Sets the flags; returns the --config.KEY=VALUE and --sweep.KEY=VALUE arguments by KEY."""
    try:
        rest = flags.FLAGS(arguments, known_only=True)[1:]
    except flags.Error as error:
        raise InputError(str(error)) from error
    overrides: dict[str, dict[str, str]] = {"config": {}, "sweep": {}}
    for argument in rest:
        name, equals, value = argument.partition("=")
        group, dot, key = name.removeprefix("--").partition(".")
        if not name.startswith("--") or group not in overrides or not dot:
            known = [*_FLAGS, "--config.KEY=VALUE", "--sweep.KEY=VALUE"]
            # Not what follows: it may be the URL of a database, with its password.
            shown = name.partition("://")[0]
            raise InputError(f"Unknown argument {shown!r}; there are {', '.join(known)}.")
        if not equals:
            raise InputError(f"{name} needs a value: {name}=VALUE.")
        overrides[group][key] = value
    if _MODE.value not in _MODES:
        raise InputError(f"--mode={_MODE.value} is unknown; there are {', '.join(_MODES)}.")
    return overrides


def _read_config() -> tuple[dict[str, Any], str]:
    """The settings before the command line changes them, and a name for the run."""
    if _CONFIG.value is None:
        if _WORKDIR.value and RunFolder(_WORKDIR.value).config.exists():
            return RunFolder(_WORKDIR.value).read_config().to_dict(), ""
        if _WORKDIR.value and SweepFolder(_WORKDIR.value).definition.exists():
            return dict(SweepFolder(_WORKDIR.value).read().base), ""
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
    config = _call(path, "get_config", f"--config={_CONFIG.value}", variant)
    if not isinstance(config, ConfigDict):
        raise InputError(f"--config={path} must define get_config(variant) -> ConfigDict.")
    return config.to_dict()


def _read_sweep(overrides: dict[str, str]) -> dict[str, Any]:
    """Settings and dimensions of the sweep, by key; none if there is no sweep."""
    folder = SweepFolder(_WORKDIR.value) if _WORKDIR.value else None
    written: dict[str, Any] = {}
    if _SWEEP.value is not None:
        path = Path(_SWEEP.value)
        if not path.is_file():
            nearby = ", ".join(map(str, sorted(Path("configs/sweeps").glob("*.py"))))
            raise InputError(f"--sweep={path} is no file; there are {nearby or 'none here'}.")
        found = _call(path, "get_sweep", f"--sweep={path}")
        if not isinstance(found, dict) or not found:
            raise InputError(
                f"--sweep={path} must define get_sweep() -> dict, and not an empty one."
            )
        written = found
    elif folder is not None and folder.definition.exists():
        written = folder.read().to_json()["sweep"]
    if (written or overrides) and _MODE.value != "train":
        raise InputError(f"--mode={_MODE.value} is of one run, such as a sweep's trials/0000.")
    return {**written, **overrides}


def _call(path: Path, name: str, argument: str, *arguments: str) -> Any:
    """What a function of a Python file returns; None if the file does not define it."""
    try:
        function = runpy.run_path(str(path)).get(name)
        return function(*arguments) if function is not None else None
    except ValueError as error:  # how a config refuses its variant
        raise InputError(f"{argument}: {error}") from error
    except Exception as error:  # a config is anyone's code
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{place}: {type(error).__name__}: {error}.") from error


def _new_folder(name: str) -> Path:
    if _MODE.value == "evaluate":
        raise InputError("--mode=evaluate needs --workdir, the folder of a run.")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _run(config: RunConfig, folder: RunFolder) -> None:
    # JAX starts here, after the settings are known to be good.
    from mlpvis_jax.running import loop
    from mlpvis_jax.running.placement import keep_compiled_programs

    keep_compiled_programs()
    results = {"train": loop.train, "evaluate": loop.evaluate}[_MODE.value](config, folder)
    print(f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%")
    print(f"Test top 5 accuracy: {round(results['test_top5_accuracy'] * 100, 2)}%")


def _run_sweep(sweep: Sweep, folder: str | Path) -> None:
    from mlpvis_jax.running.placement import keep_compiled_programs, spread_over_cores
    from mlpvis_jax.sweep import loop

    keep_compiled_programs()
    spread_over_cores(sweep.num_trials)
    best = loop.run(sweep, folder, _STORAGE.value)
    if best is not None:
        print(f"Best: trial {best['trial']}")
        print(f"Validation accuracy: {round(best['validation_accuracy'] * 100, 2)}%")
        if best.get("test_accuracy") is not None:
            print(f"Test accuracy: {round(best['test_accuracy'] * 100, 2)}%")


if __name__ == "__main__":
    # Until there is something to save, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv))
