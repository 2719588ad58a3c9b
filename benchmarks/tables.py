"""How a table of results is printed."""

from collections.abc import Sequence

import rich.box
import rich.console
import rich.table

_WIDTH_OF_A_FILE = 160  # characters; a pipe has no width of its own


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; the first column is flush left, the others flush right."""
    console = rich.console.Console()
    if not console.is_terminal:
        console = rich.console.Console(width=_WIDTH_OF_A_FILE)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n{title}", highlight=False)
    console.print(table)
