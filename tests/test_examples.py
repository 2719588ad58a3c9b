"""The notebook runs from its first cell to its last, and shows what it says."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "digits.ipynb"


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook):
    """The kinds of what the cells show, and all that they print."""
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    return kinds, "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow  # it trains twice
@pytest.mark.filterwarnings("ignore:.*")  # Jupyter's own, about event loops and sockets
def test_the_notebook_runs(tmp_path, monkeypatch, compiled_quickly):
    for name, value in compiled_quickly.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_of(notebook):
        cell.outputs = []
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    kinds, printed = shown(notebook)
    assert kinds.count("image/png") == 3  # curves, units, receptive field
    accuracies = [line.split()[-1] for line in printed.splitlines() if "accuracy" in line]
    assert len(accuracies) == 2 and all(float(text[:-1]) > 90 for text in accuracies)


def test_the_notebook_is_kept_as_it_ran():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_of(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    kinds, printed = shown(notebook)
    assert kinds.count("image/png") == 3 and "accuracy" in printed
    assert NOTEBOOK.stat().st_size < 400_000
