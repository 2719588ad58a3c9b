"""What a name in a config stands for: a row of a table, or the import path of the user's own."""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlpvis_jax.errors import InputError, first_line, nearest
from mlpvis_jax.settings.declared import Role, Setting, check_all, settings_of, shown, unknown_key


def find(
    table: Mapping[str, Any], name: str, path: str, is_row: Callable[[Any], bool] = callable
) -> Any:
    """Finds the row of a table, or imports what MODULE:NAME names.

    A run keeps the name in its config.json, so it goes on, and is evaluated, wherever the module
    can be imported.

    Args:
      table: the rows that the package has.
      name: a row's name, or an import path such as "my_package.blocks:Pool".
      path: the setting that gives the name, for messages.
      is_row: whether what is imported can stand in the table.

    Raises:
      InputError: no such row, or a module or an attribute that cannot be imported or used.
    """
    if name in table:
        return table[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        near = nearest(name, table)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise InputError(
            f"{path} has no {name!r}{hint}; there are {', '.join(table)}, and MODULE:NAME for what "
            "is your own."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of the user's own may raise anything
        raise InputError(
            f"{path}={name} cannot be imported ({type(error).__name__}: {first_line(error)}); the "
            "module must be installed, on PYTHONPATH, or in the folder where the command runs."
        ) from error
    if not is_row(found):
        raise InputError(f"{path}={name} is not what the setting needs, but {shown(found)}.")
    return found


@contextlib.contextmanager
def explain_own(what: str) -> Iterator[None]:
    """Turns what a function of the user's own raises into an InputError that begins with `what`.

    An InputError of the function itself stays as it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} ({type(error).__name__}: {first_line(error)}).") from error


def find_each(
    table: Mapping[str, Any],
    paths: Sequence[str],
    path: str,
    is_row: Callable[[Any], bool] = callable,
    taken: Sequence[str] = (),
) -> dict[str, Any]:
    """Finds several rows; what is the user's own is known by the name of its attribute.

    Args:
      table: the rows that the package has.
      paths: names of rows, or import paths.
      path: the setting, for messages.
      is_row: whether what is imported can stand in the table.
      taken: names that no row may have.

    Raises:
      InputError: as `find`; or a name that is another row's.
    """
    found: dict[str, Any] = {}
    for one in paths:
        row, name = find(table, one, path, is_row), one.rpartition(":")[2]
        if name in taken or {**table, **found}.get(name, row) is not row:
            raise InputError(
                f"{path}: there is another {name}, by whose name {one} would be known; give the "
                "attribute another name."
            )
        found[name] = row
    return found


@dataclasses.dataclass(frozen=True)
class Choice:
    """A function with the options that a config gives it.

    Attributes:
      function: the row of the table.
      settings: what the function declares, by name.
      values: checked options by name, defaults filled in.
    """

    function: Callable
    settings: Mapping[str, Setting]
    values: Mapping[str, Any]

    @property
    def traced(self) -> dict[str, float]:
        """Lists the options that the compiled program is given as numbers."""
        return {name: value for name, value in self.values.items() if self._is_traced(name)}

    def __call__(self, *arguments: Any, **numbers: Any) -> Any:
        """Calls the function with its options; `numbers` are those of `traced`, as arrays."""
        fixed = {key: value for key, value in self.values.items() if not self._is_traced(key)}
        return self.function(*arguments, **fixed, **numbers)

    def _is_traced(self, name: str) -> bool:
        # None is no number: the option is left out of the program.
        return self.settings[name].role is Role.TRACED and self.values[name] is not None


def choose(
    table: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    path: str,
    closed: Sequence[str] = (),
) -> Choice:
    """Finds a function by its name and checks the options that a config gives it.

    Args:
      table: the functions that the package has.
      name: a row, or an import path; see `find`.
      options: values by the names of the function's settings.
      path: the config's section, such as "config.schedule".
      closed: the section's other keys, which no option may have.

    Raises:
      InputError: no such function, an option that it lacks, or a value of no use.
    """
    function = find(table, name, f"{path}.name")
    settings = settings_of(function, f"{path}.name={name}")
    taken = settings.keys() & {*closed, "name"}
    if taken:
        raise InputError(
            f"{path}.name={name} declares {', '.join(sorted(taken))}, which {path} has itself; "
            "give the parameter another name."
        )
    for key in options:
        if key not in settings:
            raise InputError(unknown_key(f"{path}.{key}", [*closed, *settings]))
    return Choice(function, settings, check_all(settings, options, path))


def choose_each(
    table: Mapping[str, Any], groups: Mapping[str, Any], path: str
) -> dict[str, Choice]:
    """Chooses a function for each label of an ordered section, such as `config.augment`.

    A group's `name` says which function; without one the label does. A group that is None is off.

    Raises:
      InputError: as `choose`.
    """
    chosen = {}
    for label, group in groups.items():
        if group is None:
            continue
        if not isinstance(group, Mapping):
            raise InputError(f"{path}.{label} must be a group of options, or None, not {group!r}.")
        options = dict(group)
        name = options.pop("name", label)
        chosen[label] = choose(table, str(name), options, f"{path}.{label}")
    return chosen
