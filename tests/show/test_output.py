"""What becomes of printed lines that nobody can read, or that cannot be written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpvis_jax.show.output import find_lost_output, print_while_somebody_reads

ROOT = Path(__file__).parents[2]


@pytest.fixture
def printing_to(monkeypatch, tmp_path):
    """A function: what is printed from now on goes to this file."""
    monkeypatch.setattr(sys, "stderr", (tmp_path / "errors").open("w"))

    def redirect(file):
        monkeypatch.setattr(sys, "stdout", file)
        print_while_somebody_reads()

    return redirect


def test_a_full_disk_is_found_and_a_reader_that_is_gone_is_no_loss(printing_to):
    with open("/dev/full", "w") as full:
        printing_to(full)
        print("lost")
        assert find_lost_output().errno == errno.ENOSPC
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        printing_to(pipe)
        print("unread")
        assert find_lost_output() is None


def test_a_name_that_is_not_in_utf_8_is_printed_as_it_is(printing_to, tmp_path):
    with (tmp_path / "printed").open("w", encoding="utf-8") as file:
        printing_to(file)
        print(os.fsdecode(b"caf\xe9.png"))
        assert find_lost_output() is None
    assert (tmp_path / "printed").read_bytes() == b"caf\xe9.png\n"


def test_a_program_whose_output_is_not_whole_says_so():
    with open("/dev/full", "w") as full:
        command = [sys.executable, ROOT / "launch.py", "--list=sources"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.stderr == "launch.py: what was printed is not whole: No space left on device.\n"
    assert done.returncode == 1
