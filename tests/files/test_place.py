"""Paths at which a run's folder can be, and at which it cannot."""

import concurrent.futures
import os
import tempfile
from pathlib import Path

import pytest

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.place import check_folder, describe_free_space, find_folder, take_name


def test_a_tilde_is_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_folder("~/runs/a") == tmp_path / "runs" / "a"
    with pytest.raises(InputError, match="--workdir=~nosuchuser/a .* nobody's home"):
        find_folder("~nosuchuser/a")


def test_the_folder_itself_or_the_parent_that_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_folder(Path("a/b")) == tmp_path
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    assert check_folder(Path("a/b")) == tmp_path / "a" / "b"
    assert check_folder(Path("link/b/c/d")) == tmp_path / "link" / "b"


@pytest.mark.parametrize(
    "path, reason",
    [
        ("a" * 256, "too long for a name|File name too long"),
        ("a[1]/run", "from a path with"),
        ("a\\b", "from a path with"),
        ("new/" + "a" * 256, "too long for a name"),
        ("new/" + "ä" * 128, "too long for a name"),  # 256 bytes
        ("/".join(["a" * 200] * 21), "File name too long"),
        ("/".join(["a" * 200] * 20), "File name too long"),  # no room for what is to be in it
        ("dangling", "dangling is a symbolic link to nothing"),
        ("dangling/run", "dangling is a symbolic link to nothing"),
        ("loop", "Too many levels of symbolic links"),
        ("loop/run", "Too many levels of symbolic links"),
        ("file", "file is a file"),
        ("file/run", "file is a file"),
        ("fifo/run", "fifo is a file"),
        ("nu\0l", "embedded null"),
        ("na\udcefve", "its name is not in UTF-8"),  # as the shell gives the bytes of Latin-1
    ],
    ids=lambda value: value[:20].replace("\0", "0"),
)
def test_where_no_folder_can_be(tmp_path, path, reason):
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match=rf"^--workdir=\S* cannot be a folder: .*({reason})"):
        check_folder(tmp_path / path)


def test_of_several_that_look_for_a_name_each_has_its_own(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: take_name(tmp_path, "a", (".csv", ".png")), range(40)))
    assert len(set(names)) == 40
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.csv" for name in names}


def test_the_longest_name_there_is(tmp_path):
    longest = "a" * os.pathconf(tmp_path, "PC_NAME_MAX")
    assert check_folder(tmp_path / "new" / longest) == tmp_path


def test_a_parent_that_is_closed_to_this_user():
    # Below tmp_path another user could not even come to it.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        closed = Path(folder) / "closed"
        (closed / "run").mkdir(parents=True)
        closed.chmod(0)
        closed.parent.chmod(0o755)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(
                InputError, match="closed/run cannot be a folder: Permission denied"
            ):
                check_folder(closed / "run")
        finally:
            if is_root:
                os.seteuid(0)
            closed.chmod(0o755)


def test_room_where_nothing_is_yet(tmp_path):
    assert describe_free_space(tmp_path / "new" / "run").endswith(" MB are free")
