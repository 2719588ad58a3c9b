"""Tables that fit the terminal: whole columns go, in their order, and no word is broken."""

import io

import rich.console

from mlpvis_jax.show.table import Column, console_for, fitted

COLUMNS = [
    Column("trial"),
    Column("learning_rate", 1),
    Column("dropout_rate", 2),
    Column("validation\nloss", 3),
    Column("meaning", is_text=True, breaks=True),
]
ROWS = [["0", "0.001", "0.25", "1.234", "a text of several words [which] is long"]]


def printed(width):
    console = rich.console.Console(file=io.StringIO(), width=width)
    console.print(fitted(COLUMNS, ROWS, width))
    return console.file.getvalue()


def test_columns_go_in_their_order():
    titles = {}
    for width in (120, 70, 55, 40):
        text = printed(width)
        assert max(map(len, text.splitlines())) <= width
        table, _, left_out = text.partition("A wider terminal also shows: ")
        titles[width] = [
            word for word in ("learning_rate", "dropout_rate", "loss") if word in table
        ]
        for word in ["trial", "meaning", *ROWS[0][-1].split()]:
            assert word in table.split()
        assert ("loss" in left_out) == (width < 70)
    assert titles == {
        120: ["learning_rate", "dropout_rate", "loss"],
        70: ["learning_rate", "dropout_rate", "loss"],
        55: ["learning_rate", "dropout_rate"],
        40: ["learning_rate"],
    }


def test_a_pipe_has_any_width():
    stream = io.StringIO()
    console = console_for(stream)
    console.print(fitted(COLUMNS, [["0", "0.1", "0.2", "1.5", "word " * 100]], console.width))
    assert "word " * 99 in stream.getvalue()
