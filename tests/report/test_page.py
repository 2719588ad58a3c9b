"""A page is one file that needs nothing else, whatever stands in it; browsers show it right."""

import base64
import io
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mlpvis_jax.pictures.theme import DARK, LIGHT, empty_figure
from mlpvis_jax.report.page import Page, Picture, Section, Table, render
from tests.report.parsed import ParsedPage

NASTY = "<script>alert('&amp;')</script> \"quoted\" $x$"
CAPTION = "A square in the first colour of the theme, which fills the picture."


def square():
    figure = empty_figure(4, 2)
    figure.set_layout_engine("none")
    figure.add_axes((0, 0, 1, 1)).set_facecolor("C0")
    return figure


def page_of(*parts, **changes):
    values = {
        "title": NASTY,
        "subtitle": "of a test",
        "facts": {"accuracy": "97.5%"},
        "sections": [Section("The first part", parts), Section(NASTY, ["Text."])],
        "footer": "The end.",
    }
    return Page(**{**values, **changes})


PARTS = (
    "Text & more.",
    Picture("square", square, CAPTION),
    Table(("name", "#number"), [(NASTY, "1"), ("b", "2")], "Two rows"),
    Table(("name",), [("hidden",)], "Closed", is_closed=True),
)


@pytest.fixture(scope="module")
def files():
    return render(page_of(*PARTS))


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def rgb(colour):
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def test_a_page_needs_nothing_but_itself(files):
    text = files["report.html"].decode()
    parsed = ParsedPage(text)
    parsed.check_self_contained()
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert NASTY in parsed.texts  # as a text, and not as what it says
    assert parsed.rows == [["name", "number"], [NASTY, "1"], ["b", "2"], ["name"], ["hidden"]]
    assert len(parsed.of("details")) == 1


def test_pictures_are_in_it_for_light_and_dark_and_beside_it_as_files(files):
    parsed = ParsedPage(files["report.html"].decode())
    (image,), (dark,) = parsed.of("img"), parsed.of("source")
    assert image["alt"] == CAPTION
    assert dark["media"] == "(prefers-color-scheme: dark)"
    light, dark = (
        base64.b64decode(one.partition(",")[2]) for one in (image["src"], dark["srcset"])
    )
    assert files["square.png"] == light
    assert pixels(light)[40, 40].tolist() == rgb(LIGHT.cycle[0])
    assert pixels(dark)[40, 40].tolist() == rgb(DARK.cycle[0])
    height, width, _ = pixels(light).shape
    assert int(image["width"]) / int(image["height"]) == pytest.approx(width / height, rel=0.01)


def test_a_picture_that_cannot_be_drawn_costs_a_line(capsys):
    files = render(page_of(Picture("broken", lambda: 1 / 0, CAPTION), "Text that stays."))
    assert list(files) == ["report.html"]
    assert capsys.readouterr().err == (
        "The picture broken.png is left out (ZeroDivisionError: division by zero).\n"
    )
    parsed = ParsedPage(files["report.html"].decode())
    assert parsed.of("img") == [] and "broken.png could not be drawn" in parsed.text
    assert "Text that stays." in parsed.text


def test_names_that_are_not_utf_8_cost_no_page():
    page = Page("caf\udce9", "", {}, [], "")
    assert "caf?" in render(page)["report.html"].decode()


def test_a_page_without_facts_has_no_empty_list():
    text = render(page_of("Text.", facts={}))["report.html"].decode()
    assert ParsedPage(text).of("dl") == []


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.slow  # a browser starts for each
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
@pytest.mark.parametrize("theme, scheme", [(LIGHT, 1), (DARK, 0)], ids=["light", "dark"])
@pytest.mark.parametrize("width", [900, 500])
def test_in_a_real_browser(files, tmp_path, theme, scheme, width):
    wide = Table([f"column {n}" for n in range(30)], [["cell"] * 30], "It scrolls within itself.")
    parts = (Picture("square", square, CAPTION), wide)
    page = tmp_path / "report.html"
    page.write_bytes(render(page_of(*parts, title="A title"))["report.html"])
    picture = tmp_path / "seen.png"
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},1400",
        f"--screenshot={picture}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    seen = pixels(picture.read_bytes())
    assert seen.shape[1] == width
    is_paper = (seen == rgb(theme.paper)).all(axis=-1)
    assert is_paper[:, :15].all() and is_paper[:, -15:].all()  # nothing is wider than the page
    assert (seen[is_paper.argmin(axis=1) > 0] == rgb(theme.ink)).all(axis=-1).any()  # text
    coloured = (seen == rgb(theme.cycle[0])).all(axis=-1)
    assert coloured.sum() > 0.5 * 600 * 300 / 1.5**2  # of the square's 600 x 300 pixels
