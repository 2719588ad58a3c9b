"""A command line from its flags to its exit status."""

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mlpvis_jax.command.arguments import help_text, own_flags, parse
from mlpvis_jax.command.lists import print_list
from mlpvis_jax.command.modes import MODES, Call, refuse_idle_settings
from mlpvis_jax.errors import DivergenceError, InputError, RunError, one_line
from mlpvis_jax.files.config_file import ConfigFile, command
from mlpvis_jax.files.recipe import find_file, read_config, read_sweep, split_variant
from mlpvis_jax.files.run_folder import RunFolder
from mlpvis_jax.running.cluster import Cluster, find_cluster
from mlpvis_jax.settings.config import RunConfig
from mlpvis_jax.settings.override import override_all
from mlpvis_jax.show.output import find_lost_output, print_while_somebody_reads


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit status: 0, or that of the error it printed.

    Args:
      arguments: as sys.argv: the program's name comes first.
    """
    program, folder, end = Path(arguments[0]).name, None, _end_alone
    try:
        flags, overrides = parse(arguments[1:])
        if flags.help:
            _print_help(flags.help)
            return 0
        if flags.list:
            print_list(flags.list)
            return 0
        if not MODES[flags.mode].needs_run:
            MODES[flags.mode].run(own_flags(flags))
            return 0
        if (cluster := _find_cluster(flags, overrides["sweep"])) is not None:
            from mlpvis_jax.running import processes

            end = processes.end
            processes.join(cluster, program)
        values, name = _read_settings(flags)
        override_all(values, overrides["config"])
        if flags.config is None:  # a file's own are for training, too
            refuse_idle_settings(flags.mode, overrides["config"])
        if flags.print_config:
            written = _read_sweep(flags, overrides["sweep"], overrides["config"])
            _print_config(values, written, flags.workdir)
            return 0
        kept = _config_to_keep(flags, values, overrides["config"])
        written = _read_sweep(flags, overrides["sweep"], overrides["config"])
        new = f"{name}-sweep" if written else name
        folder = Path(flags.workdir or _new_folder(flags, new))
        if cluster is not None:  # a new folder has its name by the clock of the first
            of_first = processes.exchange(str(folder))[0]
            folder = Path(flags.workdir or of_first)
        if written:
            _run_sweep(values, written, folder, flags.storage, kept)
        elif flags.storage is not None:
            raise InputError("--storage is for a sweep; give --sweep=FILE or --sweep.KEY=VALUE.")
        else:
            _run(flags, RunConfig.from_mapping(values), folder, kept)
    except RunError as error:
        return end(program, error, str(error), error.exit_status)
    except KeyboardInterrupt:  # before there is something to save
        return 128 + signal.SIGINT
    except Exception as error:
        return end(program, error, f"{one_line(error)}. {_keep_traceback(folder)}", 1)
    return end(program)


def _end_alone(
    program: str, error: Exception | None = None, message: str = "", status: int = 0
) -> int:
    """Ends a process that is the only one of its run; `processes.end` is for several."""
    if error is not None:
        print(f"{program}: {message}", file=sys.stderr)
    return status


def run_as_program() -> NoReturn:
    """Runs the process's own command line, and ends the process."""
    print_while_somebody_reads()
    # Until there is something to save, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A notebook names its own backend for the processes that it starts, too, and matplotlib cannot
    # be imported where that is not installed.
    os.environ["MPLBACKEND"] = "agg"
    sys.path.append(os.getcwd())  # where MODULE:NAME in a config may be
    status = main(sys.argv)
    if (lost := find_lost_output()) is not None:
        program = Path(sys.argv[0]).name
        print(f"{program}: what was printed is not whole: {lost.strerror}.", file=sys.stderr)
        status = status or 1
    sys.exit(status)


def _print_help(topic: str) -> None:
    if topic == "settings":
        from mlpvis_jax.running import manual

        print(manual.text())
        return
    print(help_text(), end="")


def _print_config(values: dict[str, Any], written: dict[str, Any], workdir: str | None) -> None:
    """Prints the settings as config.json, or sweep.json, will have them.

    Raises:
      InputError: what the run, or the sweep, would be refused for.
    """
    from mlpvis_jax.running.choices import completed
    from mlpvis_jax.show import writers
    from mlpvis_jax.sweep.checking import check_settings
    from mlpvis_jax.sweep.definition import Sweep
    from mlpvis_jax.sweep.folder import SweepFolder

    config = completed(RunConfig.from_mapping(values))
    writers.chosen(config.writers)
    shown = config.to_dict()
    if written:
        sweep = Sweep.read(values, written)
        if workdir is None or not SweepFolder(workdir).definition.exists():
            check_settings(sweep)
        shown = sweep.to_json()
    print(json.dumps(shown, indent=2))


def _find_cluster(flags: argparse.Namespace, overrides: dict[str, str]) -> Cluster | None:
    """The processes of the run, if this is one of several; a sweep has workers instead.

    Raises:
      InputError: flags of several processes that do not go together, or with a sweep.
    """
    from mlpvis_jax.sweep.folder import SweepFolder

    if flags.mode != "train" or flags.print_config:
        return None
    given = own_flags(flags)
    is_of_sweep = flags.workdir and SweepFolder(flags.workdir).definition.exists()
    if not (is_of_sweep or overrides or flags.sweep is not None):
        return find_cluster(given)
    if any(given.values()):
        raise InputError(
            "--coordinator, --processes and --process are of one run. Several processes work on a "
            "sweep where each is given the same --workdir, or the same --storage: docs/sweeps.md."
        )
    return None


def _read_settings(flags: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The settings before the command line changes them, and a name for the run."""
    from mlpvis_jax.sweep.folder import SweepFolder

    if flags.config is not None:
        return read_config(flags.config)
    if flags.workdir and RunFolder(flags.workdir).holds_run():
        return RunFolder(flags.workdir).read_config().to_dict(), ""
    if flags.workdir and SweepFolder(flags.workdir).definition.exists():
        return SweepFolder(flags.workdir).read_base(), ""
    found = f"; {flags.workdir} holds none" if flags.workdir else ""
    raise InputError(
        f"--mode={flags.mode} needs --config=FILE, such as configs/mixer.py, or a --workdir that "
        f"holds a run{found}."
    )


def _config_to_keep(
    flags: argparse.Namespace, values: dict[str, Any], overrides: dict[str, str]
) -> ConfigFile | None:
    """The Python file of settings, if it is one; it is kept where it has defined the model.

    Raises:
      InputError: the settings are those of a run whose model a file defines that is not given.
    """
    file, variant = split_variant(flags.config or "")
    path = find_file("--config", file, "configs") if file else Path(flags.workdir) / "config.json"
    if path.suffix == ".py":
        flat = RunConfig.from_mapping(values).flat()
        settings = {key: value for key, value in flat.items() if key not in overrides}
        switched_off = [key for key in overrides if key in flat and flat[key] is None]
        return ConfigFile(path.read_bytes(), variant, settings, switched_off)
    given = {"workdir": flags.workdir, "mode": None if flags.mode == "train" else flags.mode}
    more = [f"--{name}={value}" for name, value in given.items() if value]
    needed = command(path.parent, RunConfig.from_mapping(values), *more)
    if needed is not None:
        raise InputError(
            f"The model {values['model']['name']!r} of {path.parent} is defined by a Python file, "
            f"whose copy in the folder is not executed unless you name it: {needed}"
        )
    return None


def _read_sweep(
    flags: argparse.Namespace, overrides: dict[str, str], fixed: Mapping[str, str]
) -> dict[str, Any]:
    """Settings and dimensions of the sweep, by key; none if there is no sweep.

    A setting that is both given and swept is named, for its given value is not used.

    Args:
      flags: of the command line.
      overrides: its --sweep.KEY=VALUE, by key.
      fixed: its --config.KEY=VALUE, by key.

    Raises:
      InputError: the mode is of one run.
    """
    from mlpvis_jax.sweep.folder import SweepFolder
    from mlpvis_jax.sweep.space import SEED

    written: dict[str, Any] = {}
    if flags.sweep is not None:
        written = read_sweep(flags.sweep)
    for key, value in {**written, **overrides}.items():
        counts_on = key == SEED and str(value).startswith("seeds(")
        if key in fixed and not counts_on:  # it may be what makes a transform of that label
            print(f"config.{key} is swept, so {fixed[key]} is not used.", file=sys.stderr)
    if flags.sweep is None and flags.workdir and SweepFolder(flags.workdir).definition.exists():
        written = SweepFolder(flags.workdir).read().to_json()["sweep"]
    if (written or overrides) and flags.mode != "train":
        raise InputError(f"--mode={flags.mode} is of one run, such as a sweep's trials/0000.")
    return {**written, **overrides}


def _new_folder(flags: argparse.Namespace, name: str) -> Path:
    if flags.mode != "train":
        raise InputError(f"--mode={flags.mode} needs --workdir, the folder of a run.")
    # Several runs may begin in the same second, such as those of a job array.
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _run(
    flags: argparse.Namespace, config: RunConfig, path: Path, config_file: ConfigFile | None
) -> None:
    from mlpvis_jax.models.presets import own_presets
    from mlpvis_jax.running.kept_programs import keep_compiled_programs

    keep_compiled_programs()
    folder = RunFolder(path, config_file if config.model.name in own_presets() else None)
    MODES[flags.mode].run(Call(config, folder, own_flags(flags)))


def _run_sweep(
    values: dict[str, Any],
    written: dict[str, Any],
    folder: Path,
    storage: str | None,
    config_file: ConfigFile | None,
) -> None:
    from mlpvis_jax.models.presets import own_presets
    from mlpvis_jax.running.kept_programs import keep_compiled_programs
    from mlpvis_jax.running.machine import use_each_core
    from mlpvis_jax.sweep import loop
    from mlpvis_jax.sweep.definition import Sweep

    sweep = Sweep.read(values, written)
    keep_compiled_programs()
    use_each_core(sweep.num_trials)
    kept = config_file if own_presets() else None
    best = loop.run(sweep, folder, storage, config_file=kept)
    if best is None:
        raise DivergenceError(
            f"No trial of the sweep in {folder} can be used, because all diverged; each one's "
            "trial.json tells at which step."
        )
    print(f"Best: trial {best['trial']}")
    print(f"Validation accuracy: {round(best['validation_accuracy'] * 100, 2)}%")
    if best.get("test_accuracy") is not None:
        print(f"Test accuracy: {round(best['test_accuracy'] * 100, 2)}%")


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
