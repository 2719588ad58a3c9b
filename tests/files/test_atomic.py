"""Files that are replaced as a whole."""

import errno
import os

import pytest

from mlpvis_jax.files.atomic import replacing, sync
from mlpvis_jax.files.run_folder import RunFolder


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order: the names of files that are synced and renamed."""
    seen = []

    def fsync(descriptor):
        seen.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))

    rename = os.replace

    def replace(source, target):
        seen.append(("replace", os.path.basename(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return seen


def test_content_is_on_the_disk_before_its_name_is(tmp_path, calls):
    with replacing(tmp_path / "a") as partial:
        partial.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
    assert calls == [("fsync", "a.partial"), ("replace", "a"), ("fsync", tmp_path.name)]


def test_a_line_of_metrics_is_on_the_disk(tmp_path, calls):
    RunFolder(tmp_path).append_metrics({"epoch": 1})
    assert calls == [("fsync", "metrics.jsonl")]


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("ne")
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number, is_fine", [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_disk_that_cannot_sync_is_not_one_that_fails(tmp_path, monkeypatch, number, is_fine):
    def fsync(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        sync(tmp_path)
    except OSError:
        assert not is_fine
    else:
        assert is_fine
