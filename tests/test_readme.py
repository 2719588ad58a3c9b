"""The README's snippets run, and what it points to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_python_snippets_run():
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})


def test_links_and_files_exist():
    targets = re.findall(r"\]\(([^):]+)\)", README)
    assert len(targets) >= 5
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("## Where things are")[1].split("```")[1]
    folder = ROOT
    for line in tree.strip().splitlines():
        name = line.split()[0]
        folder = ROOT / "mlpvis_jax" if line.startswith("  ") else ROOT
        assert (folder / name).exists(), line
    for target in targets:
        assert (ROOT / target.partition("#")[0]).exists(), target


def test_it_is_short():
    """A screen to start with, a picture, and links; all else is in docs/."""
    assert len(README.splitlines()) <= 80 and README.count("![") == 1


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
