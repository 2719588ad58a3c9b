"""Pictures show the numbers they are given, in the order and the colours that they should."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from mlpvis_jax import pictures
from mlpvis_jax.pictures import DARK, LIGHT, png, themed

NAMES = ["cat", "$dog_1", "owl"]
MATRIX = np.array([[8, 1, 1], [0, 9, 0], [5, 0, 5]])


@pytest.fixture(autouse=True)
def _light():
    with themed(LIGHT):
        yield


def tick_texts(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_a_confusion_matrix_has_its_shares_and_counts_in_the_order():
    axes, _ = pictures.draw_confusion(MATRIX, NAMES, np.array([2, 0, 1])).axes
    assert tick_texts(axes.yaxis) == ["owl", "cat", r"\$dog 1"] == tick_texts(axes.xaxis)
    expected = [[0.5, 0.5, 0], [0.1, 0.8, 0.1], [0, 0, 1]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [text.get_text() for text in axes.texts] == ["5", "5", "1", "8", "1", "9"]


def test_groups_of_many_classes_are_named_once():
    names = [f"class {number}" for number in range(50)]
    groups = ["even" if number % 2 == 0 else "odd" for number in range(50)]
    order = np.argsort(np.arange(50) % 2, kind="stable")
    axes, _ = pictures.draw_confusion(np.eye(50, dtype=int), names, order, groups).axes
    assert tick_texts(axes.yaxis) == ["even", "odd"]
    assert axes.get_yticks().tolist() == [12, 37]


def test_of_a_thousand_classes_some_are_named():
    names = [f"class {number}" for number in range(1000)]
    axes, _ = pictures.draw_confusion(np.eye(1000, dtype=int), names).axes
    assert tick_texts(axes.yaxis) == [f"class {number}" for number in range(0, 1000, 10)]
    assert axes.get_ylabel() == "label (one of 10 is named)"


def test_a_long_or_hidden_name_of_a_run_is_in_the_legend():
    history = [{"epoch": 1, "validation_loss": 1.0, "validation_accuracy": 0.5}]
    names = ["_old", "$a$", "x" * 100]
    figure = pictures.draw_learning_curves(dict.fromkeys(names, history))
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == [" _old", r"\$a\$", f"{'x' * 21}…{'x' * 21}"]
    figure.canvas.draw()


def test_classes_stand_from_the_best_to_the_worst_with_their_intervals():
    correct, counts = np.array([8, 9, 5]), np.array([10, 9, 10])
    (axes,) = pictures.draw_class_accuracy(NAMES, correct, counts).axes
    assert tick_texts(axes.yaxis) == [r"\$dog 1", "cat", "owl"]
    points = axes.lines[-1]
    np.testing.assert_allclose(points.get_xdata(), [1, 0.8, 0.5])
    low, high = pictures.wilson_interval(correct, counts)
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose([one[:, 0] for one in segments], np.stack([low, high], 1)[[1, 0, 2]])
    assert [text.get_text() for text in axes.texts] == ["all: 75.9%"]


def test_of_very_many_classes_the_best_and_the_worst_are_shown():
    names = [str(number) for number in range(300)]
    correct = np.arange(300)
    panels = pictures.draw_class_accuracy(names, correct, np.full(300, 300)).axes
    shown = [name for axes in panels for name in tick_texts(axes.yaxis)]
    assert shown == names[:239:-1] + names[59::-1]


def test_reliability_has_a_bar_for_each_bin_that_holds_something():
    found = pictures.reliability(np.array([0.95, 0.9, 0.3]), np.array([True, False, True]), 10)
    above, below = pictures.draw_reliability(found).axes
    bars = [
        (round(bar.get_x() + bar.get_width() / 2, 2), bar.get_height()) for bar in above.patches
    ]
    assert bars == [(0.25, 1), (0.85, 0), (0.95, 1)]
    shares = [bar.get_height() for bar in below.patches]
    np.testing.assert_allclose(shares, [0, 0, 1 / 3, 0, 0, 0, 0, 0, 1 / 3, 1 / 3])


@pytest.mark.parametrize("channels", [1, 3])
def test_errors_are_images_with_both_names(channels):
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, channels), np.uint8)
    figure = pictures.draw_errors(images, ["cat"] * 7, ["$x"] * 7, np.linspace(1, 0.4, 7))
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 7
    assert shown[6].get_title() == r"\$x (40%)" and shown[6].texts[0].get_text() == "is cat"
    seen = np.asarray(shown[6].images[0].get_array())
    assert np.array_equal(seen, images[6] if channels == 3 else images[6, :, :, 0])


def test_corruptions_begin_at_the_clean_accuracy():
    given = {"contrast": [0.7, 0.6], "zoom_blur": [0.5, 0.4]}
    panels = pictures.draw_corruptions(0.8, given).axes
    assert [axes.get_title() for axes in panels] == ["contrast", "zoom blur"]
    for axes, values in zip(panels, given.values(), strict=True):
        assert axes.lines[-1].get_ydata().tolist() == [0.8, *values]


def test_curves_of_one_group_share_a_colour_and_a_name():
    history = [{"epoch": n, "validation_loss": 1 / n, "validation_accuracy": None} for n in (1, 2)]
    histories = {"a": history, "b": history, "c": history[:1]}
    figure = pictures.draw_learning_curves(histories, {"a": 0, "b": 0, "c": 1})
    loss, accuracy = figure.axes
    colours = [to_hex(line.get_color()) for line in loss.lines]
    assert colours == [colour.lower() for colour in (*LIGHT.cycle[:1] * 2, LIGHT.cycle[1])]
    assert loss.lines[0].get_ydata().tolist() == [1, 0.5]
    assert np.isnan(accuracy.lines[0].get_ydata()).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "c"]


def test_a_part_of_an_epoch_is_drawn_as_a_part():
    history = [
        {"epoch": epoch, "step": step, "validation_loss": 1.0, "validation_accuracy": 0.5}
        for epoch, step in ((1, 10), (2, 20), (3, 25))
    ]
    loss, _ = pictures.draw_learning_curves({"a": history}).axes
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 2.5]


def test_curves_are_drawn_by_the_minutes_that_training_took():
    def epochs(*seconds):
        return [
            {"epoch": n, "seconds": of, "validation_loss": 1.0, "validation_accuracy": 0.5}
            for n, of in enumerate(seconds, 1)
        ]

    histories = {"a": epochs(60, 30, 90), "b": epochs(6, None, 6)}
    loss, accuracy = pictures.draw_learning_curves(histories, by_time=True).axes
    for axes in (loss, accuracy):
        assert axes.get_xlabel() == "minutes of training and validation"
        assert axes.lines[0].get_xdata().tolist() == [1, 1.5, 3]
        places = axes.lines[1].get_xdata()
        assert places[0] == 0.1 and np.isnan(places[1:]).all()


def test_a_picture_is_on_the_paper_of_its_theme():
    def draw():
        return pictures.draw_corruptions(0.8, {"contrast": [0.7]})

    for theme in (LIGHT, DARK):
        corner = Image.open(io.BytesIO(png(draw, theme))).convert("RGB").getpixel((0, 0))
        assert to_hex(np.array(corner) / 255) == theme.paper


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs" / "report.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {})
    assert (tmp_path / "confusion.png").stat().st_size > 5000
    assert 0 <= float(capsys.readouterr().out) <= 1
