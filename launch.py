"""Trains or evaluates a classifier, or sweeps over its settings.

python launch.py --config=configs/mixer.py
python launch.py --config=configs/mixer.py:digits --config.optimizer.learning_rate=0.003
python launch.py --workdir=runs/mixer --mode=evaluate
python launch.py --config=configs/mixer.py --sweep=configs/sweeps/lr_wd.py --workdir=runs/lr_wd
"""

import contextlib
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mlpvis_jax.errors import InputError, RunError
from mlpvis_jax.files.config_file import ConfigFile, command
from mlpvis_jax.files.place import find_folder
from mlpvis_jax.files.run_folder import RunFolder, read_json
from mlpvis_jax.settings.config import RunConfig, override
from mlpvis_jax.show.output import print_while_somebody_reads
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
    """Runs the command line; returns the exit status: 0, or that of the error it printed."""
    folder: Path | None = None
    try:
        overrides = _parse(arguments)
        values, name = _read_config()
        for path, text in overrides["config"].items():
            override(values, path, text)
        kept = _config_to_keep(values, overrides["config"])
        written = _read_sweep(overrides["sweep"])
        if written:
            sweep = Sweep.read(values, written)
            folder = Path(_WORKDIR.value or _new_folder(f"{name}-sweep"))
            _run_sweep(sweep, folder, kept)
        elif _STORAGE.value is not None:
            raise InputError("--storage is for a sweep; give --sweep=FILE or --sweep.KEY=VALUE.")
        else:
            config = RunConfig.from_mapping(values)
            folder = Path(_WORKDIR.value or _new_folder(name))
            _run(config, folder, kept)
    except RunError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # before there is something to save
        return 128 + signal.SIGINT
    except Exception as error:
        print(f"launch.py: {_one_line(error)}. {_keep_traceback(folder)}", file=sys.stderr)
        return 1
    return 0


def _one_line(error: BaseException) -> str:
    """Its type, and what it says if it says something."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()))))


def _keep_traceback(folder: Path | None) -> str:
    """Writes down what nobody foresaw, in the run's folder if it can; tells where."""
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    places = [folder] if folder is not None and os.path.isdir(folder) else []
    with contextlib.suppress(OSError):
        places.append(Path(tempfile.gettempdir()))
    for place in places:
        with contextlib.suppress(OSError):
            (place / name).write_text(traceback.format_exc(), errors="backslashreplace")
            return f"This was not foreseen; the traceback is in {place / name}"
    return "This was not foreseen, and there is no folder to write the traceback to."


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
    if _WORKDIR.value:
        flags.FLAGS["workdir"].value = str(find_folder(_WORKDIR.value))
    return overrides


def _read_config() -> tuple[dict[str, Any], str]:
    """The settings before the command line changes them, and a name for the run."""
    if _CONFIG.value is None:
        if _WORKDIR.value and RunFolder(_WORKDIR.value).holds_run():
            return RunFolder(_WORKDIR.value).read_config().to_dict(), ""
        if _WORKDIR.value and SweepFolder(_WORKDIR.value).definition.exists():
            return dict(SweepFolder(_WORKDIR.value).read().base), ""
        raise InputError(
            f"--mode={_MODE.value} needs --config=FILE, such as configs/mixer.py, or a --workdir "
            "that holds a run."
        )
    file, _, variant = _CONFIG.value.partition(":")
    path = _existing("--config", file, "configs")
    if path.suffix == ".json":
        if variant:
            raise InputError(
                f"--config={_CONFIG.value}: a config.json has no variants; give {file}."
            )
        return read_json(path), path.absolute().parent.name
    if path.suffix != ".py":
        raise InputError(f"--config={file} is neither a .py file nor a run's config.json.")
    with _code_of(path, f"--config={_CONFIG.value}"):
        config = _call(path, "get_config", variant)
        values = config.to_dict() if isinstance(config, ConfigDict) else None
    if values is None:
        raise InputError(f"--config={path} must define get_config(variant) -> ConfigDict.")
    return values, "-".join(filter(None, (path.stem, variant)))


def _config_to_keep(values: dict[str, Any], overrides: dict[str, str]) -> ConfigFile | None:
    """The Python file of settings, if it is one; it is kept where it has defined the model.

    Raises:
      InputError: the settings are those of a run whose model a file defines that is not given.
    """
    file, _, variant = (_CONFIG.value or "").partition(":")
    if file.endswith(".py"):
        flat = RunConfig.from_mapping(values).flat()
        settings = {key: value for key, value in flat.items() if key not in overrides}
        text = _existing("--config", file, "configs").read_bytes()
        return ConfigFile(text, variant, settings)
    more = [f"--{flag.name}={flag.value}" for flag in (_WORKDIR, _MODE) if flag.present]
    folder = Path(file).parent if file else Path(_WORKDIR.value or "")
    needed = command(folder, RunConfig.from_mapping(values), *more)
    if needed is not None:
        raise InputError(
            f"The model {values['model']['name']!r} of {folder} is defined by a Python file, whose "
            f"copy in the folder is not executed unless you name it: {needed}"
        )
    return None


def _existing(flag: str, file: str, folder: str) -> Path:
    """The path of a file that a flag names; ~ means home."""
    path = Path(os.path.expanduser(file))
    # Path.is_file raises where the path is too long, or a folder on the way cannot be read.
    if not os.path.isfile(path):
        recipes = sorted(path for path in Path(folder).glob("*.py") if path.stem != "recipe")
        nearby = ", ".join(map(str, recipes)) or f"none in {folder}/ here"
        raise InputError(f"{flag}={file} is no file; there are {nearby}.")
    return path


def _read_sweep(overrides: dict[str, str]) -> dict[str, Any]:
    """Settings and dimensions of the sweep, by key; none if there is no sweep."""
    folder = SweepFolder(_WORKDIR.value) if _WORKDIR.value else None
    written: dict[str, Any] = {}
    if _SWEEP.value is not None:
        path = _existing("--sweep", _SWEEP.value, "configs/sweeps")
        with _code_of(path, f"--sweep={path}"):
            found = _call(path, "get_sweep")
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


def _call(path: Path, name: str, *arguments: str) -> Any:
    """What a function of a Python file returns; None if the file does not define it."""
    function = runpy.run_path(str(path)).get(name)
    return function(*arguments) if function is not None else None


@contextlib.contextmanager
def _code_of(path: Path, argument: str) -> Iterator[None]:
    """A config is anyone's code: whatever it raises is told with the line that raised it."""
    try:
        yield
    except ValueError as error:  # how a config refuses its variant
        raise InputError(f"{argument}: {error}") from error
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{place}: {_one_line(error)}.") from error


def _new_folder(name: str) -> Path:
    if _MODE.value == "evaluate":
        raise InputError("--mode=evaluate needs --workdir, the folder of a run.")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _run(config: RunConfig, path: str | Path, config_file: ConfigFile | None) -> None:
    # JAX starts here, after the settings are known to be good.
    from mlpvis_jax.models.presets import own_presets
    from mlpvis_jax.running import loop
    from mlpvis_jax.running.placement import keep_compiled_programs

    keep_compiled_programs()
    folder = RunFolder(path, config_file if config.model.name in own_presets() else None)
    results = {"train": loop.train, "evaluate": loop.evaluate}[_MODE.value](config, folder)
    print(f"Test accuracy: {round(results['test_accuracy'] * 100, 2)}%")
    print(f"Test top 5 accuracy: {round(results['test_top5_accuracy'] * 100, 2)}%")


def _run_sweep(sweep: Sweep, folder: str | Path, config_file: ConfigFile | None) -> None:
    from mlpvis_jax.models.presets import own_presets
    from mlpvis_jax.running.placement import keep_compiled_programs, spread_over_cores
    from mlpvis_jax.sweep import loop

    keep_compiled_programs()
    spread_over_cores(sweep.num_trials)
    best = loop.run(
        sweep, folder, _STORAGE.value, config_file=config_file if own_presets() else None
    )
    if best is not None:
        print(f"Best: trial {best['trial']}")
        print(f"Validation accuracy: {round(best['validation_accuracy'] * 100, 2)}%")
        if best.get("test_accuracy") is not None:
            print(f"Test accuracy: {round(best['test_accuracy'] * 100, 2)}%")


if __name__ == "__main__":
    print_while_somebody_reads()
    # Until there is something to save, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A notebook names its own backend for the processes that it starts, too, and matplotlib cannot
    # be imported where that is not installed.
    os.environ["MPLBACKEND"] = "agg"
    sys.exit(main(sys.argv))
