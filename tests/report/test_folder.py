"""The folder of a report is replaced as a whole, and what is not the report's is left alone."""

import json
from pathlib import Path

import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.report.folder import check_replaceable, read_facts, replace_report

FIRST = {"report.html": b"first", "old.png": b"old"}
SECOND = {"report.html": b"second"}


@pytest.fixture
def place(tmp_path):
    replace_report(tmp_path / "report", FIRST, {"kind": "test"})
    return tmp_path / "report"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_second_report_takes_the_place_of_the_first(place):
    assert contents(place).keys() == {"report.html", "old.png", "report.json"}
    assert read_facts(place) == {"kind": "test", "files": ["old.png", "report.html", "report.json"]}
    replace_report(place, SECOND, {"kind": "other"})
    assert contents(place).keys() == {"report.html", "report.json"}
    assert (place / "report.html").read_bytes() == b"second"
    assert [path.name for path in place.parent.iterdir()] == ["report"]


@pytest.mark.parametrize("name", ["notes.txt", "old.png.txt", "folder"])
def test_what_somebody_else_put_there_stays(place, name):
    if name == "folder":
        (place / name).mkdir()
    else:
        (place / name).write_text("mine")
    before = {path.name for path in place.iterdir()}
    for call in (lambda: check_replaceable(place), lambda: replace_report(place, SECOND, {})):
        with pytest.raises(InputError, match=f"holds {name}, which no report has written"):
            call()
    assert {path.name for path in place.iterdir()} == before
    assert (place / "report.html").read_bytes() == b"first"


@pytest.mark.parametrize("facts", ["", "[1]", '{"files": 3}', '{"files": [3]}'])
def test_a_damaged_list_of_files_makes_all_of_them_somebodys(place, facts):
    (place / "report.json").write_text(facts)
    with pytest.raises(InputError, match="which no report has written"):
        check_replaceable(place)


def test_what_a_killed_process_left_is_cleared(place):
    left = place.with_name("report.partial")
    left.mkdir()
    (left / "report.json").write_text(json.dumps({"files": ["report.html", "report.json"]}))
    (left / "report.html.partial").write_text("half")
    replace_report(place, SECOND, {})
    assert not left.exists() and (place / "report.html").read_bytes() == b"second"


def test_a_killed_process_between_the_old_and_the_new(place):
    place.rename(place.with_name("report.partial"))
    replace_report(place, SECOND, {})
    assert [path.name for path in place.parent.iterdir()] == ["report"]


def test_no_folder_can_be_there(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match=f"{name} must be a folder"):
            check_replaceable(tmp_path / name)


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path(), tmp_path):
        with pytest.raises(InputError, match="is the current folder, and a report replaces all"):
            check_replaceable(folder)
    with pytest.raises(InputError, match="which no report has written"):
        check_replaceable(Path("/"))
