"""The site of docs/: what its pages say of the models is what the models have."""

import re
from pathlib import Path

import pytest

from mlpvis_jax.command.lists import models

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_table_of_models_is_that_of_the_command():
    page = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.MULTILINE)
    assert rows == [(row[0], row[1]) for row in models().rows]


def test_every_page_is_in_the_site():
    told = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert told == {path.name for path in (ROOT / "docs").glob("*.md")}
