"""Configs and sweeps as Python files: where they are, and what their functions return.

A recipe of the package (`mixer`, `gmlp:paper`, `sweeps/lr_wd`) is found by its name alone, in a
checkout and where the package is installed.
"""

import contextlib
import importlib.resources
import os
import runpy
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mlpvis_jax.errors import InputError, one_line
from mlpvis_jax.files.run_folder import read_json
from mlpvis_jax.settings.declared import shown
from mlpvis_jax.settings.written_order import in_written_order


def recipe(name: str) -> dict[str, Any]:
    """Reads one of the package's recipes as a nested dict, such as recipe("mixer:digits").

    Raises:
      InputError: there is no such recipe, or no such variant of it.
    """
    return read_config(name)[0]


def read_config(argument: str) -> tuple[dict[str, Any], str]:
    """Reads the settings that --config names, and makes a name for their run.

    Args:
      argument: FILE.py, FILE.py:VARIANT, a run's config.json, or a recipe's name in place of FILE.

    Raises:
      InputError: no such file, or one that does not give settings.
    """
    file, variant = split_variant(argument)
    path = find_file("--config", file, "configs")
    if path.suffix == ".json":
        if variant:
            raise InputError(f"--config={argument}: a config.json has no variants; give {file}.")
        return read_json(path), path.absolute().parent.name
    if path.suffix != ".py":
        raise InputError(f"--config={file} is neither a .py file nor a run's config.json.")
    with _code_of(path, f"--config={argument}"):
        config = _call(path, "get_config", variant)
        values = in_written_order(config) if isinstance(config, ConfigDict | Mapping) else None
    if values is None:
        returned = "" if config is None else f"; it returns {shown(config)}"
        raise InputError(
            f"--config={path} must define get_config(variant) -> ConfigDict{returned}."
        )
    return values, "-".join(filter(None, (path.stem, variant)))


def split_variant(argument: str) -> tuple[str, str]:
    """Splits FILE:VARIANT; the path of a file may hold a colon itself."""
    ends = [place for place, letter in enumerate(argument + ":") if letter == ":"]
    end = next((end for end in ends if os.path.isfile(os.path.expanduser(argument[:end]))), ends[0])
    return argument[:end], argument[end + 1 :]


def read_sweep(argument: str) -> dict[str, Any]:
    """Reads the settings and dimensions that --sweep names, by key.

    Raises:
      InputError: no such file, or one that does not give a dict.
    """
    path = find_file("--sweep", argument, "configs/sweeps")
    with _code_of(path, f"--sweep={path}"):
        found = _call(path, "get_sweep")
    if not isinstance(found, dict) or not found:
        raise InputError(f"--sweep={path} must define get_sweep() -> dict, and not an empty one.")
    return found


def find_file(flag: str, file: str, folder: str) -> Path:
    """Finds the file that a flag names; ~ means home.

    Args:
      flag: for messages.
      file: a path, or the name of a recipe.
      folder: where the recipes are in a checkout.

    Raises:
      InputError: there is no such file.
    """
    shipped = _shipped() / f"{Path(folder).relative_to('configs') / file}.py"
    for path in (Path(os.path.expanduser(file)), shipped):
        # Path.is_file raises where the path is too long, or a folder on the way cannot be read.
        if os.path.isfile(path):
            return path
    recipes = sorted(path for path in Path(folder).glob("*.py") if path.stem != "recipe")
    nearby = [str(path) for path in recipes] or [path.stem for path in recipe_files(folder)]
    raise InputError(f"{flag}={file} is no file; there are {', '.join(nearby)}.")


def recipe_files(folder: str) -> list[Path]:
    """Lists the package's own recipes, or sweeps, in the folder of a checkout that holds them."""
    shipped = _shipped() / Path(folder).relative_to("configs")
    return sorted(path for path in shipped.glob("*.py") if path.stem not in ("recipe", "__init__"))


def _shipped() -> Path:
    """The folder of the recipes: configs/ of a checkout, or that of the installed package."""
    package = Path(str(importlib.resources.files("mlpvis_jax")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _call(path: Path, name: str, *arguments: str) -> Any:
    """What a function of a Python file returns; None if the file does not define it."""
    # A recipe imports its neighbour as configs.recipe.
    place = str(_shipped().parent)
    is_added = place not in sys.path  # what is there already keeps its place
    if is_added:
        sys.path.append(place)
    is_ours = path.absolute().is_relative_to(_shipped().absolute())
    try:
        with _own_configs() if is_ours else contextlib.nullcontext():
            function = runpy.run_path(str(path)).get(name)
            return function(*arguments) if function is not None else None
    finally:
        if is_added:
            sys.path.remove(place)


@contextlib.contextmanager
def _own_configs() -> Iterator[None]:
    """Lets `configs` be the folder of the recipes, also in a project that has one of its own."""

    def of_configs() -> dict[str, types.ModuleType]:
        return {name: one for name, one in sys.modules.items() if name.split(".")[0] == "configs"}

    others = of_configs()
    package = types.ModuleType("configs")
    package.__path__ = [str(_shipped())]
    for name in others:
        del sys.modules[name]
    sys.modules["configs"] = package
    try:
        yield
    finally:
        for name in of_configs():
            del sys.modules[name]
        sys.modules.update(others)


@contextlib.contextmanager
def _code_of(path: Path, argument: str) -> Iterator[None]:
    """A config is anyone's code: whatever it raises is told with the line that raised it."""
    try:
        yield
    except ValueError as error:  # how a config refuses its variant
        # Not all end in a full stop, such as Python's of a file that it cannot read.
        raise InputError(f"{argument}: {str(error).rstrip('.')}.") from error
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{place}: {one_line(error)}.") from error
