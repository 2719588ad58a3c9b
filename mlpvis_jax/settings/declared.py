"""What declares a setting: its type, its range, its role and its meaning, in one annotation.

A parameter of a function, or a field of a dataclass or of a linen module, is a setting if its
annotation has a role:

    learning_rate: Annotated[NotNegative, Role.TRACED, "Highest step size."]

Everything else that the program knows of a setting follows from that line: how the text of the
command line is read, what is refused, what a run may change when the run goes on, what the trials
of one compiled program may differ in, the tree of traced numbers, and the tables of the manual.
"""

import ast
import dataclasses
import enum
import functools
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from mlpvis_jax.errors import InputError, nearest
from mlpvis_jax.settings.durations import Duration

MISSING = inspect.Parameter.empty
_SHORTENED = reprlib.Repr()
_SHORTENED.maxstring = _SHORTENED.maxother = 200


class Role(enum.Enum):
    """What a setting acts on.

    TRACED: a number that the compiled program is given; another value compiles nothing.
    RULE: a rule that the host applies between two dispatches.
    SHAPE: a part of the compiled program, or of the data.
    MACHINE: where and how a run is computed, without effect on its result (except for dropout
      masks, where another number of microbatches draws other ones).
    """

    TRACED = "traced number"
    RULE = "rule on the host"
    SHAPE = "part of the program"
    MACHINE = "matter of the machine"


@dataclasses.dataclass(frozen=True)
class Within:
    """An interval of allowed numbers; the upper end is open where `below` is given."""

    least: float
    most: float = math.inf
    below: float = math.inf
    above: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        low = f"above {self.above:,}" if self.above > -math.inf else f"at least {self.least:,}"
        if self.below < math.inf:
            return f"{low} and below {self.below:,}"
        return f"{low} and at most {self.most:,}" if self.most < math.inf else low


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A list of allowed words."""

    words: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return "one of " + ", ".join(self.words)


# The upper ends are far above what anyone trains, and keep a slip of the hand from taking hours.
Count = Annotated[int, Within(1, most=2**31 - 1)]  # JAX counts in int32
BatchSize = Annotated[int, Within(1, most=2**20)]
Pixels = Annotated[int, Within(1, most=2**12)]
Channels = Annotated[int, Within(1, most=2**16)]
Depth = Annotated[int, Within(1, most=2**10)]
Rate = Annotated[float, Within(0, below=1)]
Share = Annotated[float, Within(0, most=1)]
NotNegative = Annotated[float, Within(0)]
Positive = Annotated[float, Within(0, above=0)]
Dtype = Annotated[str, OneOf(("float32", "bfloat16"))]

_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127  # of float32, in which programs are given numbers
_NAMES = {int: "a whole number", float: "a number", str: "a word", bool: "True or False"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One declaration, as `settings_of` reads it.

    Attributes:
      kind: int, float, str, bool or Duration.
      bounds: what the value must lie in.
      is_optional: None is allowed as well.
      role: what the setting acts on.
      meaning: one line for a person.
      default: MISSING where a value must be given.
    """

    kind: type
    bounds: tuple[Any, ...]
    is_optional: bool
    role: Role
    meaning: str
    default: Any = MISSING

    def parse(self, text: str) -> Any:
        """Reads the text of a command line; `check` then says whether its type is right."""
        if text == "None" and self.is_optional:
            return None
        if self.kind is str:
            return text
        # Which can be no word here, unless the type is not known yet (object).
        if text == "none" and self.is_optional and self.kind is not object:
            return None
        try:
            return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return text

    def check(self, value: Any, path: str) -> Any:
        """Returns the value in its type.

        Raises:
          InputError: a wrong type or a value out of range; the message begins with `path`.
        """
        if value is None and self.is_optional:
            return None
        given = value
        if self.kind is Duration:
            return self._check_duration(value, path)
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**1023 else math.inf
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            raise InputError(f"{path} must be {_NAMES[self.kind]}, not {shown(given)}.")
        if isinstance(value, float) and not abs(value) <= _LARGEST_FLOAT:
            raise InputError(f"{path} must be a finite number of float32, not {shown(given)}.")
        for bound in self.bounds:
            if value not in bound:
                raise InputError(f"{path} must be {bound}, not {shown(given)}.")
        return value

    def _check_duration(self, given: Any, path: str) -> Duration:
        try:
            value = Duration(given)
        except ValueError as error:
            raise InputError(f"{path} must be {error}, not {shown(given)}.") from None
        for bound in self.bounds:
            if value.number not in bound:
                raise InputError(f"{path} must be {bound}, not {shown(given)}.")
        return value

    def __str__(self) -> str:
        words = [str(bound) for bound in self.bounds] or [_NAMES[self.kind]]
        if self.kind is Duration:
            words[0] = f"a duration, {words[0]}"
        return " and ".join(words) + (" or None" if self.is_optional else "")


def settings_of(owner: Callable | type, path: str = "") -> dict[str, Setting]:
    """Reads the settings that a function, a dataclass or a linen module declares, by name.

    Args:
      owner: of the settings; of a `functools.partial`, parameters that are given are none.
      path: the setting that names it, for messages.

    Raises:
      InputError: an annotation with a role whose type no config can hold.
    """
    parameters = inspect.signature(owner).parameters
    found = {}
    for name, hint in typing.get_type_hints(_annotated(owner), include_extras=True).items():
        setting = _setting(hint, parameters[name].default if name in parameters else MISSING)
        is_given = isinstance(owner, functools.partial) and (
            name in owner.keywords or name not in parameters
        )
        if setting is None or is_given:
            continue
        if setting.kind not in (*_NAMES, Duration):
            raise InputError(
                f"{path or owner}: {name} cannot be a setting: its type must be int, float, str or "
                f"bool, perhaps with None, and is {setting.kind}."
            )
        found[name] = setting
    return found


def _annotated(owner: Callable | type) -> Any:
    """What has the annotations of a class, a function, a partial, or an object that is called."""
    if isinstance(owner, type):
        return owner
    target: Any = inspect.unwrap(owner)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    is_function = isinstance(target, type) or inspect.isroutine(target)
    return target if is_function else type(target).__call__


def _setting(hint: Any, default: Any) -> Setting | None:
    if typing.get_origin(hint) is not Annotated:
        return None
    kind, *extras = typing.get_args(hint)
    roles = [extra for extra in extras if isinstance(extra, Role)]
    if not roles:
        return None
    kind, is_optional = _without_none(kind)
    if typing.get_origin(kind) is Annotated:  # such as `Count | None`
        kind, *inner = typing.get_args(kind)
        extras = [*inner, *extras]
    kind = str if kind is Any else kind  # a dtype is a word in a config
    words = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if words and all(isinstance(word, str) for word in words):
        kind, extras = str, [*extras, OneOf(words)]
    bounds = tuple(extra for extra in extras if isinstance(extra, Within | OneOf))
    meaning = " ".join(extra for extra in extras if isinstance(extra, str))
    return Setting(kind, bounds, is_optional, roles[-1], meaning, default)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    # Of `float | jax.Array` the first counts: a config holds no arrays.
    options = typing.get_args(hint)
    return next(one for one in options if one is not type(None)), type(None) in options


def check_all(
    settings: Mapping[str, Setting], values: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Checks the values of a group of settings, and fills in the declared defaults.

    Raises:
      InputError: a key that does not exist or is missing, a wrong type, a value out of range.
    """
    for key in values:
        if key not in settings:
            raise InputError(unknown_key(f"{path}.{key}", settings))
    checked = {}
    for key, setting in settings.items():
        if key not in values and setting.default is MISSING:
            raise InputError(f"{path}.{key} is missing.")
        value = values.get(key, setting.default)
        checked[key] = setting.check(value, f"{path}.{key}")
    return checked


def shown(value: Any) -> str:
    """Writes a value as Python does, shortened and in one line."""
    try:
        return " ".join(_SHORTENED.repr(value).split())
    except (RecursionError, ValueError):  # nested too deeply; too many digits
        return f"this {type(value).__name__}"


def unknown_key(path: str, known: typing.Iterable[str]) -> str:
    """Writes the message for a key that does not exist, with the nearest one that does."""
    known = list(known)
    parent, _, key = path.rpartition(".")
    near = nearest(key, known)
    if near:
        return f"There is no {path}; did you mean {parent}.{near}?"
    if not known:
        return f"There is no {path}; {parent} has no options, which are parameters with a Role."
    return f"There is no {path}; {parent} has {', '.join(known)}."
