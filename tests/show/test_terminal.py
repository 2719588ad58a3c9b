"""What a person looks at while a run trains: a header, a line an epoch, a bar on a terminal."""

import io
import math
import re
import shlex

import pytest

from mlpvis_jax.learning.metrics import chosen
from mlpvis_jax.show import terminal
from mlpvis_jax.show.fitting import name_and_value
from tests.show.records import history

METRICS = chosen("top5_accuracy")


class Clock:
    """Says what it is told."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(stream, clock, epochs=2, num_epochs=4):
    with terminal.Progress(METRICS, num_epochs, 100, stream=stream, clock=clock) as progress:
        for record in history(epochs):
            for images in (50, 100):
                clock.seconds += 30
                progress.advance(images)
            progress.epoch_done(record)


def test_a_pipe_gets_a_plain_line_an_epoch():
    stream = io.StringIO()
    run(stream, Clock())
    first, second = stream.getvalue().splitlines()
    assert first == (
        "epoch 1/4: train loss 4.000, 11.0% | validation loss 3.500, 13.0%, top-5 50.0% | "
        "learning rate 0.005 | 75.6 s, 1,234 images/s | 03:00 left"
    )
    assert second.startswith("epoch 2/4: train loss 2.000, 12.0% |")
    assert second.endswith("| 02:00 left")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar_besides(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    run(stream, Clock())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "epoch 1/4: train loss 4.000" in text
    assert "━" in text
    assert "epoch 2/4" in text


def test_the_last_epoch_may_be_a_part():
    stream, clock = io.StringIO(), Clock()
    with terminal.Progress(METRICS, 1.5, 100, stream=stream, clock=clock) as progress:
        whole, part = history(2)
        clock.seconds += 60
        progress.advance(100)
        progress.epoch_done(whole)
        clock.seconds += 30
        progress.epoch_done(part)
    first, second = stream.getvalue().splitlines()
    assert first.startswith("epoch 1/2: ") and first.endswith("| 00:30 left")
    assert second.startswith("epoch 2/2: ") and second.endswith("| 00:00 left")


def test_the_cursor_comes_back_after_an_error(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(KeyError), terminal.Progress(METRICS, 2, 100, stream=stream) as progress:
        progress.advance(10)
        raise KeyError
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def lines_at(width, monkeypatch, epochs=2):
    """What a terminal of a width gets, without the bar and the control codes."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    record = history(1)[0]
    record |= {"averaged_loss": 3.25, "averaged_accuracy": 0.25}
    with terminal.Progress(METRICS, epochs, 100, stream=stream, clock=Clock()) as progress:
        progress.epoch_done(record)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return re.findall("epoch 1/2: [^\\r\\n]*", text)


@pytest.mark.parametrize(
    ("width", "ends"),
    [
        (175, "| learning rate 0.005 | 75.6 s, 1,234 images/s | 00:00 left"),
        (174, "| learning rate 0.005 | 75.6 s | 00:00 left"),
        (153, "25.0% | learning rate 0.005 | 00:00 left"),
        (144, "top-5 50.0% | averaged weights loss 3.250, 25.0% | 00:00 left"),
        (120, "| validation loss 3.500, 13.0%, top-5 50.0% | 00:00 left"),
        (90, "| validation loss 3.500, 13.0% | 00:00 left"),
        (77, "| validation loss 3.500, 13.0%"),
        (20, "| validation loss 3.500, 13.0%"),
    ],
)
def test_a_narrow_terminal_gets_fewer_parts_of_the_line(monkeypatch, width, ends):
    (line,) = lines_at(width, monkeypatch)
    assert line.startswith("epoch 1/2: train loss 4.000, 11.0% | validation loss 3.500, 13.0%")
    assert line.endswith(ends)
    assert len(line) <= width or width == 20


def test_compilation_is_told_and_takes_no_time_of_the_epochs():
    stream, clock = io.StringIO(), Clock()
    with terminal.Progress(METRICS, 2, 100, stream=stream, clock=clock) as progress:
        progress.compiling()
        clock.seconds = 12.0
        assert progress._status() == "compiling, 12 s"
        clock.seconds = 60.0
        progress.compiled()
        progress.advance(0)
        clock.seconds = 70.0
        progress.advance(50, {"loss": 1.5, "accuracy": 0.25})
        # Five images a second; fifty of this epoch and a hundred of the next are left.
        assert progress._status() == "loss 1.500, 25.0% | 5 images/s, 00:30 left"
    assert stream.getvalue() == "compiling the programs\ncompiled in 60 s\n"


def test_long_values_are_broken_between_words_and_commands_after_a_backslash():
    rows = {"data": "some images and more images", "evaluate": "python launch.py --mode=evaluate"}
    assert name_and_value(rows, 28) == [
        "data      some images and",
        "          more images",
        "evaluate  python launch.py \\",
        "              --mode=evaluate",
    ]
    assert len(name_and_value(rows, None)) == 2
    installed = {"evaluate": "mlpvis --workdir=run --mode=evaluate"}
    assert name_and_value(installed, 30) == [
        "evaluate  mlpvis \\",
        "              --workdir=run \\",
        "              --mode=evaluate",
    ]


def test_no_argument_of_a_command_is_broken():
    """In single quotes a backslash and a new line are part of what is quoted."""
    command = "python launch.py --workdir=run '--config.duration=4 epochs'"
    for width in range(24, 70):
        (joined,) = [" ".join(name_and_value({"go on": command}, width))]
        assert shlex.split(joined.replace(" \\ ", " "))[2:] == shlex.split(command)


def test_nan_is_shown_and_not_fatal():
    stream = io.StringIO()
    record = {**history(1)[0], "train_loss": math.nan, "validation_loss": math.nan}
    with terminal.Progress(METRICS, 1, 100, stream=stream) as progress:
        progress.advance(100)
        progress.epoch_done(record)
    assert "loss nan" in stream.getvalue()


def test_the_header_is_aligned():
    stream = io.StringIO()
    terminal.print_header({"model": "small", "devices": "1 x cpu"}, stream)
    assert stream.getvalue() == "model    small\ndevices  1 x cpu\n"


def test_a_line_has_what_is_measured_and_no_more():
    record = history(1)[0]
    stream = io.StringIO()
    with terminal.Progress(chosen(""), 1, 100, stream=stream, clock=Clock()) as progress:
        progress.epoch_done(record)
    assert "| validation loss 3.500, 13.0% | learning rate" in stream.getvalue()
    stream = io.StringIO()
    of_averaged = {"averaged_loss": 3.25, "averaged_accuracy": 0.25}
    metrics = chosen("class_accuracy")
    shares = {"validation_class_accuracy": [0.5, None, 0.75]}  # no image of the second class
    with terminal.Progress(metrics, 1, 100, stream=stream, clock=Clock()) as progress:
        progress.epoch_done({**record, **of_averaged, **shares})
    assert (
        "| validation loss 3.500, 13.0%, classes 50.0% to 75.0% | "
        "averaged weights loss 3.250, 25.0% | learning rate"
    ) in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (299, "04:59"), (59.6, "01:00"), (3607, "1:00:07"), (math.nan, "--:--")],
)
def test_durations(seconds, text):
    assert terminal.format_duration(seconds) == text


def test_places_are_printed_where_standard_output_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(terminal.sys, "stdout", None)
    terminal.print_places({"table": "x.csv"})
    assert capsys.readouterr().err == "table  x.csv\n"
