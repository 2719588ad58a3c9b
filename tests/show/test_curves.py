"""The picture of a run's learning curves."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlpvis_jax.show import curves
from mlpvis_jax.show.drawing import save_picture
from tests.show.records import history

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [1, 3, 50])
def test_curves_are_a_picture(tmp_path, number):
    path = tmp_path / "curves.png"
    curves.plot_curves(history(number), path, "title")
    with Image.open(path) as image:
        assert image.size == (1500, 720)
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 24)}
    for hexadecimal in (curves._TRAIN, curves._VALIDATION, curves._TOP5):
        assert tuple(bytes.fromhex(hexadecimal[1:])) in colours
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_a_validation_loss_of_nothing_but_nan_leaves_the_other_curves(tmp_path, figures):
    records = [{**record, "validation_loss": math.nan} for record in history(2)]
    curves.plot_curves(records, tmp_path / "curves.png", "title")
    loss, accuracy, rate = figures["curves.png"].axes
    assert [line.get_label() for line in loss.lines] == [
        "train",
        "validation",
        "best: epoch 1, nan",
    ]
    assert list(loss.lines[0].get_ydata()) == [4.0, 2.0]
    assert list(accuracy.lines[1].get_ydata()) == pytest.approx([0.13, 0.14])
    assert list(rate.lines[0].get_ydata()) == [0.005, 0.005]


def test_a_picture_that_fails_costs_a_line_of_warning(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise RuntimeError("no font\nat all")

    path = tmp_path / "curves.png"
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    curves.plot_curves(history(2), path, "title")
    expected = f"The picture {path} is left out (RuntimeError: no font).\n"
    assert capsys.readouterr() == ("", expected)
    monkeypatch.undo()
    curves.plot_curves(history(2), tmp_path / "no folder" / "curves.png", "title")
    assert "curves.png is left out (FileNotFoundError" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pyplot_is_not_imported(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.show.records import history\n"
        "from mlpvis_jax.show import curves\n"
        "curves.plot_curves(history(2), Path(sys.argv[1]), 'title')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = tmp_path / "curves.png"
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True)
    assert path.exists()


def test_what_is_not_measured_is_not_drawn(tmp_path, figures):
    records = history(2)
    for record in records:
        del record["validation_top5_accuracy"]
    curves.plot_curves(records, tmp_path / "curves.png", "title")
    _, accuracy, _ = figures["curves.png"].axes
    labels = [line.get_label() for line in accuracy.lines]
    assert labels == ["train", "validation", "best: 14.0%"]


def test_the_averaged_weights_and_the_name_of_the_run(tmp_path, figures):
    records = [
        {**record, "averaged_loss": 0.5 * record["epoch"], "averaged_accuracy": 0.25}
        for record in history(2)
    ]
    curves.plot_curves(records, tmp_path / "curves.png", "title", "run first, seed 7")
    figure = figures["curves.png"]
    assert figure.get_suptitle() == "title\nrun first, seed 7"
    for axes, values in zip(figure.axes, ([0.5, 1.0], [0.25, 0.25]), strict=False):
        (line,) = [one for one in axes.lines if "averaged weights" in one.get_label()]
        assert list(line.get_ydata()) == values


def test_letters_that_no_font_has_cost_a_line(tmp_path, capsys):
    def draw():
        figure = Figure()
        figure.suptitle("\N{CJK UNIFIED IDEOGRAPH-732B}\N{CJK UNIFIED IDEOGRAPH-72D7}")
        return figure

    path = tmp_path / "picture.png"
    assert save_picture(path, draw) and path.exists()
    assert capsys.readouterr().err == f"The picture {path} has letters that no font here has.\n"
