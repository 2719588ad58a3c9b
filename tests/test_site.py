"""The site of docs/: what its pages say of the models is what the models have."""

import re
from pathlib import Path

import pytest

from mlpvis_jax.command.lists import models

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_table_of_models_is_that_of_the_command():
    page = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    listed = models()
    titles = ["parameters", "image size", "classes", "blocks", "width", "patch"]
    places = [[column.title for column in listed.columns].index(title) for title in titles]
    expected = [(row[0], " | ".join(row[place] for place in places)) for row in listed.rows]
    assert rows == expected


def test_every_page_is_in_the_site():
    told = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert told == {path.name for path in (ROOT / "docs").glob("*.md")}
