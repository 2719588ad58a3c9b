"""Tables that fit the terminal: whole columns are left out, no word is cut or broken.

Into a pipe a table is as wide as it needs to be.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TextIO

import rich.box
import rich.console
import rich.table
import rich.text

_GAP = 3  # characters between two columns: a space, and one on either side
_WIDEST = 10_000  # characters; a pipe has no width of its own
_LEAST_TEXT = 24  # characters of a text that is broken between its words


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      title: its header.
      order: where the table is too wide, the columns of the highest order are left out first, and
        among equal ones the last; those of order 0 stay.
      is_text: the column holds words, and starts at the left; numbers end at the right.
      breaks: its text may be broken between words.
    """

    title: str
    order: int = 0
    is_text: bool = False
    breaks: bool = False


def console_for(stream: TextIO | None = None) -> rich.console.Console:
    """Makes a console that writes to a terminal in its width, and into a pipe in any width."""
    console = rich.console.Console(file=stream or sys.stdout, highlight=False)
    if console.is_terminal:
        return console
    return rich.console.Console(file=stream or sys.stdout, highlight=False, width=_WIDEST)


def fitted(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    styles: Sequence[str | None] = (),
) -> rich.table.Table:
    """Makes a table of the columns that fit into a width; its caption names the others.

    Args:
      columns: from left to right.
      rows: a text for each column.
      width: characters of the terminal.
      styles: of each row, in the terms of rich.
    """
    needed = [
        min(_words(column.title, texts), _LEAST_TEXT) if column.breaks else _longest(texts)
        for column, texts in (
            (column, [column.title, *(row[index] for row in rows)])
            for index, column in enumerate(columns)
        )
    ]
    kept = list(range(len(columns)))
    while sum(needed[index] + _GAP for index in kept) - _GAP > width:
        droppable = [index for index in kept if columns[index].order]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: (columns[index].order, index)))
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index in kept:
        column = columns[index]
        table.add_column(
            column.title,
            justify="left" if column.is_text else "right",
            no_wrap=not column.breaks,
            overflow="fold",
        )
    for number, row in enumerate(rows):
        style = styles[number] if styles else None
        table.add_row(*[rich.text.Text(row[index]) for index in kept], style=style)
    left_out = [
        " ".join(column.title.split()) for index, column in enumerate(columns) if index not in kept
    ]
    if left_out:
        table.caption = f"A wider terminal also shows: {', '.join(left_out)}."
        table.caption_justify = "left"
    return table


def _longest(texts: Sequence[str]) -> int:
    return max(len(line) for text in texts for line in (text.splitlines() or [""]))


def _words(title: str, texts: Sequence[str]) -> int:
    return max(len(title), *(len(word) for text in texts for word in text.split()), 1)
