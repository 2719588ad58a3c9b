"""The flags of the command, and the --config.KEY=VALUE and --sweep.KEY=VALUE beside them."""

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from mlpvis_jax.command.lists import LISTS
from mlpvis_jax.command.modes import MODES, Flag
from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.files.place import find_folder

_EXAMPLES = """\
examples:
  mlpvis --config=mixer:digits                            train on scikit-learn's digits
  mlpvis --config=gmlp --config.data.source=folder:PATH   train on your own images
  mlpvis --workdir=runs/mixer                             go on with a run
  mlpvis --workdir=runs/mixer --mode=evaluate             test its best weights, write a report
  mlpvis --workdir=runs/mixer --mode=predict --images='*.png'
                                                          classify images with them
  mlpvis --mode=compare --workdirs='runs/*'               compare runs
  mlpvis --config=mixer --sweep=lr_wd --workdir=runs/lr_wd
                                                          a sweep over two settings
  mlpvis --list=models                                    what there is to choose from
  mlpvis --config=mixer --print_config                    all settings of a run; nothing is run
python launch.py takes the same flags. --help=settings explains every --config.KEY.
"""

Overrides = dict[str, dict[str, str]]
_FLAGS, _SETTINGS = "flags", "settings"  # what --help is of


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}.")


def _parser() -> _Parser:
    parser = _Parser(
        prog="mlpvis",
        description="Trains or evaluates a classifier, or sweeps over its settings.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE[:VARIANT]",
        help="settings: a Python file that defines get_config(variant), a recipe's name (mixer, "
        "fnet, gmlp), or a run's config.json; --config.KEY=VALUE changes one",
    )
    add(
        "--sweep",
        metavar="FILE",
        help="a Python file that defines get_sweep() -> dict, or a recipe's name (lr_wd); "
        "--sweep.KEY=VALUE changes one of its settings or adds a dimension, such as "
        "--sweep.optimizer.learning_rate='[0.001, 0.003]', also without a file",
    )
    add(
        "--storage",
        metavar="URL",
        help="a PostgreSQL or MySQL database through which several machines share a sweep",
    )
    add(
        "--workdir",
        metavar="FOLDER",
        help="of the run; by default a new one under runs/; a run that is in it goes on",
    )
    meanings = "; ".join(f"{name}: {mode.meaning}" for name, mode in MODES.items())
    add("--mode", default="train", metavar="|".join(MODES), help=f"what to do: {meanings}")
    for flag, modes in _modes_by_flag().items():
        meanings = "; ".join(f"of --mode={name}: {one.meaning}" for name, one in modes.items())
        add(f"--{flag}", metavar=next(iter(modes.values())).metavar, help=meanings)
    add(
        "--list",
        metavar="TABLE",
        help=f"prints what there is to choose from, and runs nothing: {', '.join(LISTS)}",
    )
    add(
        "--print_config",
        action="store_true",
        help="prints every setting as the run, or the sweep, would have it, and runs nothing; of a "
        "run the text is a config.json",
    )
    add(
        "-h",
        "--help",
        nargs="?",
        const=_FLAGS,
        metavar=_SETTINGS,
        help="shows this help, or every setting",
    )
    return parser


def help_text() -> str:
    """Writes the text of --help."""
    return _parser().format_help()


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Reads the flags, and the --config.KEY=VALUE and --sweep.KEY=VALUE arguments by KEY.

    Raises:
      InputError: an argument that does not exist, lacks a value, or belongs to another mode.
    """
    flags, rest = _parser().parse_known_args(arguments)
    overrides: Overrides = {"config": {}, "sweep": {}}
    for argument in rest:
        name, equals, value = argument.partition("=")
        group, dot, key = name.removeprefix("--").partition(".")
        if not name.startswith("--") or group not in overrides or not dot:
            known = [f"--{flag}" for flag in vars(flags)]
            # Not what follows: it may be the URL of a database, with its password.
            shown = name.partition("://")[0]
            near = nearest(shown, known)
            hint = f" (did you mean {near}?)" if near else ""
            raise InputError(
                f"Unknown argument {shown!r}{hint}; there are {', '.join(known)}, "
                "--config.KEY=VALUE, --sweep.KEY=VALUE."
            )
        if not equals:
            raise InputError(f"{name} needs a value: {name}=VALUE.")
        overrides[group][key] = value
    for name, value in vars(flags).items():
        if value == "":  # as an unset variable of a shell gives it
            raise InputError(f"--{name} is empty; give it a value, or leave it out.")
    if flags.help not in (None, _FLAGS, _SETTINGS):
        raise InputError(f"--help={flags.help} is unknown; there are --help and --help=settings.")
    _check_mode(flags.mode, vars(flags), overrides)
    if flags.workdir is not None:
        flags.workdir = str(find_folder(flags.workdir))
    return flags, overrides


def own_flags(flags: argparse.Namespace) -> dict[str, str | None]:
    """Picks the values of the flags that the mode alone has, by name."""
    return {name: getattr(flags, name) for name in MODES[flags.mode].flags}


def _modes_by_flag() -> dict[str, dict[str, Flag]]:
    """The modes that have each flag of their own, by name."""
    found: dict[str, dict[str, Flag]] = {}
    for name, mode in MODES.items():
        for flag, one in mode.flags.items():
            found.setdefault(flag, {})[name] = one
    return found


def _check_mode(name: str, given: Mapping[str, Any], overrides: Overrides) -> None:
    if name not in MODES:
        raise InputError(f"--mode={name} is unknown; there are {', '.join(MODES)}.")
    for flag, modes in _modes_by_flag().items():
        if given[flag] is not None and name not in modes:
            of = " and ".join(f"--mode={other}" for other in modes)
            raise InputError(f"--{flag} is a flag of {of}, and the mode is {name}.")
        if given[flag] is None and name in modes and modes[name].is_needed:
            one = modes[name]
            raise InputError(f"--mode={name} needs --{flag}={one.metavar}: {one.meaning}.")
    if MODES[name].needs_run:
        return
    of_a_run = [
        flag for flag in ("config", "sweep", "storage", "workdir") if given[flag] is not None
    ]
    of_a_run += ["print_config"] if given["print_config"] else []
    of_a_run += [f"{group}.{key}" for group, keys in overrides.items() for key in keys]
    if of_a_run:
        raise InputError(f"--{of_a_run[0]} is of one run, and --mode={name} is not.")
