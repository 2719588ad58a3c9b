"""Text that fits the terminal: whole parts of a line are left out, and no word is broken."""

import dataclasses
import shlex
import textwrap
from collections.abc import Mapping, Sequence

import rich.console

_COMMANDS = ("python ", "mlpvis ")  # how a command of this program begins
_NO_BREAK = "\0"  # stands for a space where no line may end; no text of a person has it


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a line.

    Attributes:
      text: such as "learning rate 0.005".
      order: where the line is too long, the parts of the highest order are left out first; those
        of order 0 stay.
      separator: what stands between the part and the one before it.
    """

    text: str
    order: int = 0
    separator: str = " | "


def fit(parts: Sequence[Part], width: int | None) -> str:
    """Joins the parts that fit into a width; all of them where there is none, as into a pipe."""
    kept = [part for part in parts if part.text]
    while width is not None and len(_joined(kept)) > width:
        highest = max((part.order for part in kept), default=0)
        if not highest:
            break
        kept = [part for part in kept if part.order != highest]
    return _joined(kept)


def _joined(parts: Sequence[Part]) -> str:
    return "".join(
        part.text if index == 0 else f"{part.separator}{part.text}"
        for index, part in enumerate(parts)
    )


def width_of(console: rich.console.Console) -> int | None:
    """Says how wide a terminal is, in characters; None of a pipe."""
    return console.width if console.is_terminal else None


def name_and_value(rows: Mapping[str, str], width: int | None) -> list[str]:
    """Writes a name and a value a line; a value that is too long goes on below itself.

    A command of this program goes on after a backslash, so that it can be copied.
    """
    longest = max(map(len, rows))
    lines = []
    for name, value in rows.items():
        head, indent = f"{name:<{longest}}  ", " " * (longest + 2)
        if width is None or len(head + value) <= width:
            lines.append(head + value)
            continue
        is_command = value.startswith(_COMMANDS)
        wrapped = textwrap.wrap(
            _with_whole_arguments(value) if is_command else value,
            width - (2 if is_command else 0),
            initial_indent=head,
            subsequent_indent=indent + ("    " if is_command else ""),
            break_long_words=False,
            break_on_hyphens=False,
        )
        end = " \\" if is_command else ""
        lines += [f"{line}{end}" for line in wrapped[:-1]] + wrapped[-1:]
    return [line.replace(_NO_BREAK, " ") for line in lines]


def _with_whole_arguments(command: str) -> str:
    """Marks the spaces within an argument: inside of quotes, a shell takes a backslash as it is."""
    return " ".join(
        shlex.quote(argument).replace(" ", _NO_BREAK) for argument in shlex.split(command)
    )
