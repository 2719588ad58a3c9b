"""Images that are named on the command line: what is found, printed and written."""

import csv
import io
import re

import numpy as np
import pytest
import rich.console
from PIL import Image

from mlpvis_jax.errors import InputError
from mlpvis_jax.inference import files
from mlpvis_jax.inference.paths import find_images
from mlpvis_jax.inference.predictions import Predictions, likeliest, percent
from tests import tiny


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    for name in (
        "a.png",
        "b.JPG",
        "c d.png",
        "sub/e.png",
        "sub/deep/f.png",
        ".hidden.png",
        "[1].png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(path, "PNG")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text, names",
    [
        ("a.png", ["a.png"]),
        ("c d.png", ["c d.png"]),
        ("'c d.png' a.png", ["c d.png", "a.png"]),
        ("*.png", ["[1].png", "a.png", "c d.png"]),
        ("*.png *", ["[1].png", "a.png", "c d.png", "b.JPG"]),
        ("[1].png", ["[1].png"]),
        (".hidden.png", [".hidden.png"]),
        ("sub", ["sub/deep/f.png", "sub/e.png"]),
        ("sub/*", ["sub/e.png"]),
        ("**/*.png", ["[1].png", "a.png", "c d.png", "sub/deep/f.png", "sub/e.png"]),
    ],
)
def test_what_a_text_names(pictures, text, names):
    assert [str(path) for path in find_images(text)] == names
    assert [str(path) for path in find_images(str(pictures / "sub"))][1:] == [
        str(pictures / "sub/e.png")
    ]


def test_a_kind_that_is_not_decoded_is_said(pictures):
    (pictures / "scan.TIFF").write_text("")
    with pytest.raises(InputError, match="scan.TIFF is of a kind of images that is not decoded"):
        find_images("*")
    with pytest.raises(InputError, match="notes.* names no image"):
        find_images("notes*")


def test_percentages():
    shown = [percent(value) for value in (0, 0.0004, 0.0006, 0.123, 0.9994, 0.9996, 1)]
    assert shown == ["0.0%", "<0.1%", "0.1%", "12.3%", "99.9%", ">99.9%", "100.0%"]


def test_the_mode(launch_main, tiny_npz, pictures, capfd, monkeypatch):
    run = f"--workdir={pictures / 'run'}"
    (pictures / "configs").symlink_to(tiny.__file__.removesuffix("tests/tiny.py") + "configs")
    assert launch_main(*tiny.settings(tiny_npz, duration=1), run) == 0
    capfd.readouterr()
    for number in ("", "-2"):
        assert launch_main("--mode=predict", run, "--images=a.png sub") == 0
        out, err = capfd.readouterr()
        lines = [line.split("\t") for line in out.splitlines()]
        assert [line[0] for line in lines] == ["a.png", "sub/deep/f.png", "sub/e.png"]
        written = pictures / "run" / f"predictions{number}.csv"
        assert str(written) in err and str(written.with_suffix(".png")) in err
        rows = list(csv.reader(written.open()))
        titles = ["image", "class_name_1", "probability_1", "class_name_2", "probability_2"]
        assert rows[0] == titles and [row[:3] for row in rows[1:]] == lines
        assert float(rows[1][2]) + float(rows[1][4]) == pytest.approx(1, abs=2e-6)
        assert Image.open(written.with_suffix(".png")).format == "PNG"
    assert len(list((pictures / "run").glob("predictions*"))) == 4
    # The folder of a run may be another person's, to read only.
    elsewhere = pictures / "new" / "place"
    assert launch_main("--mode=predict", run, "--images=a.png", f"--output={elsewhere}") == 0
    assert sorted(path.name for path in elsewhere.iterdir()) == [
        "predictions.csv",
        "predictions.png",
    ]
    assert len(list((pictures / "run").glob("predictions*"))) == 4
    assert launch_main("--mode=predict", run, "--images=a.png", "--output=a.png") == 2
    assert "--output=a.png cannot be a folder: " in capfd.readouterr().err

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Predictions, "write_csv", fail)
    assert launch_main("--mode=predict", run, "--images=a.png") == 1
    out, err = capfd.readouterr()
    assert out.startswith("a.png\t")
    assert "The predictions cannot be written to" in err
    assert err.endswith("/run (No space left on device).\n")
    assert not (pictures / "run/predictions-3.csv").exists()


def test_the_table_fits_a_terminal(monkeypatch):
    names = tuple(f"a/long/way/to/a_picture_with_a_very_long_name_{n}.png" for n in range(50))
    classes = tuple(f"a class with a long name, number {n}" for n in range(3))
    predictions = Predictions(np.full((50, 3), 1 / 3, np.float32), classes, names)
    stream = io.StringIO()
    console = rich.console.Console(file=stream, width=80, force_terminal=True, no_color=True)
    monkeypatch.setattr(files, "console_for", lambda: console)
    files._print(predictions)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "and 10 more images" and "33.3%" in stream.getvalue()
    assert likeliest(predictions.top(2)[0], 1) == "a class with a long name, number 1 33.3%"


def test_the_contact_sheet(figures, tmp_path):
    from mlpvis_jax.inference.contact_sheet import draw_contact_sheet

    probabilities = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)
    names = ("x/a.png", "x/$b\udce9$.png")  # one is not in UTF-8
    predictions = Predictions(probabilities, ("cat", "$dog", "owl"), names)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    assert draw_contact_sheet(tmp_path / "sheet.png", images, predictions, "runs/first")
    picture, bars, *_ = figures["sheet.png"].axes
    assert picture.get_title("left") == "a.png"
    assert figures["sheet.png"].axes[2].get_title("left") == "$b?$.png"
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.7, 0.2, 0.1])
    assert [text.get_text() for text in bars.texts] == [
        *("$dog", "70.0%", "owl", "20.0%", "cat", "10.0%")
    ]
