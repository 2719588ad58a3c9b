"""What a person looks at: a line an epoch, a bar on a terminal, curves, event files."""

import io
import itertools
import math
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mlpvis_jax.show import report

ROOT = Path(__file__).parents[2]


def history(number):
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 4.0 / epoch,
            "train_accuracy": 0.1 + 0.01 * epoch,
            "validation_loss": 3.5 / epoch if epoch < 4 else 1.5,
            "validation_accuracy": 0.12 + 0.01 * epoch,
            "validation_top5_accuracy": 0.5,
            "learning_rate": 0.005 if epoch < 3 else 0.0025,
            "seconds": 75.6,
            "images_per_second": 1234.4,
        }
        for epoch in range(1, number + 1)
    ]


class Clock:
    """Says what it is told."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(stream, clock, epochs=2, num_epochs=4):
    with report.Progress(num_epochs, 100, stream=stream, clock=clock) as progress:
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
        "epoch 1/4: loss 4.000, 11.0% | validation: loss 3.500, 13.0%, top-5 50.0% | rate 0.005 | "
        "75.6 s, 1,234 images/s | 03:00 left"
    )
    assert second.startswith("epoch 2/4: loss 2.000, 12.0% |")
    assert second.endswith("| 02:00 left")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar_besides(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    run(stream, Clock())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "epoch 1/4: loss 4.000" in text
    assert "━" in text
    assert "epoch 2/4" in text


def test_the_cursor_comes_back_after_an_error(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(KeyError), report.Progress(2, 100, stream=stream) as progress:
        progress.advance(10)
        raise KeyError
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_nan_is_shown_and_not_fatal():
    stream = io.StringIO()
    record = {**history(1)[0], "train_loss": math.nan, "validation_loss": math.nan}
    with report.Progress(1, 100, stream=stream) as progress:
        progress.advance(100)
        progress.epoch_done(record)
    assert "loss nan" in stream.getvalue()


@pytest.mark.parametrize("number", [1, 3, 50])
def test_curves_are_a_picture(tmp_path, number):
    path = tmp_path / "curves.png"
    report.plot_curves(history(number), path, "title")
    with Image.open(path) as image:
        assert image.size == (1500, 600)
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 24)}
    for hexadecimal in (report._TRAIN, report._VALIDATION, report._TOP5):
        assert tuple(bytes.fromhex(hexadecimal[1:])) in colours
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_a_validation_loss_of_nothing_but_nan_leaves_the_other_curves(tmp_path, figures):
    records = [{**record, "validation_loss": math.nan} for record in history(2)]
    report.plot_curves(records, tmp_path / "curves.png", "title")
    loss, accuracy = figures["curves.png"].axes
    assert [line.get_label() for line in loss.lines] == [
        "train",
        "validation",
        "best: epoch 1, nan",
    ]
    assert list(loss.lines[0].get_ydata()) == [4.0, 2.0]
    assert list(accuracy.lines[1].get_ydata()) == pytest.approx([0.13, 0.14])


def test_a_picture_that_fails_costs_a_line_of_warning(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise RuntimeError("no font\nat all")

    path = tmp_path / "curves.png"
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    report.plot_curves(history(2), path, "title")
    expected = f"The picture {path} is left out (RuntimeError: no font).\n"
    assert capsys.readouterr() == ("", expected)
    monkeypatch.undo()
    report.plot_curves(history(2), tmp_path / "no folder" / "curves.png", "title")
    assert "curves.png is left out (FileNotFoundError" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pyplot_is_not_imported(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.show.test_report import history\n"
        "from mlpvis_jax.show import report\n"
        "report.plot_curves(history(2), Path(sys.argv[1]), 'title')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = tmp_path / "curves.png"
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True)
    assert path.exists()


def test_event_files_hold_the_records(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    with report.EventWriter(tmp_path) as events:
        for record in history(3):
            events.write(record)
    (path,) = tmp_path.iterdir()
    data, found = path.read_bytes(), {}
    offset = 0
    while offset < len(data):  # TFRecord: length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", data[offset : offset + 8])
        event = Event.FromString(data[offset + 12 : offset + 12 + length])
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        offset += 16 + length
    for name, record in itertools.product(report._TAGS, history(3)):
        assert found[report._TAGS[name], record["epoch"]] == pytest.approx(record[name], rel=1e-6)


def test_the_header_is_aligned():
    stream = io.StringIO()
    report.print_header({"model": "small", "devices": "1 x cpu"}, stream)
    assert stream.getvalue() == "model    small\ndevices  1 x cpu\n"
