"""Checkpoints: read as written, the newest whole one, and never a damaged one unnoticed."""

import math
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlpvis_jax.errors import InputError, StorageError
from mlpvis_jax.files import checkpoint
from mlpvis_jax.files.checkpoint import Checkpoints, Snapshot


def snapshot(seed):
    random = np.random.default_rng(seed)
    arrays = {
        "state": {
            "step": np.int32(seed),
            "params": {"kernel": random.normal(size=(40, 30)).astype(np.float32)},
            "half": random.normal(size=5).astype(jnp.bfloat16),
        },
        "totals": {"count": np.int32(7), "loss": np.float32(np.nan)},
    }
    values = {"seconds": 0.1 + seed, "best": math.inf, "history": [{"a": 1 / 3}]}
    return Snapshot(jax.tree.map(np.asarray, arrays), values)


def same(first, second):
    """Bit by bit; NaN is NaN."""
    jax.tree.map(np.testing.assert_array_equal, first.arrays, second.arrays)
    return first.values == second.values


def write(folder, *seeds):
    with Checkpoints(folder) as checkpoints:
        for seed in seeds:
            checkpoints.save(seed, snapshot(seed))
        checkpoints.wait()


def read(folder):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.newest(snapshot(0).arrays)


def test_it_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("checkpoints")  # a relative path
    write(folder, 3)
    assert same(read(folder), snapshot(3))
    assert read(folder).arrays["state"]["half"].dtype == jnp.bfloat16


def test_what_comes_after_the_save_is_not_in_it(tmp_path, monkeypatch):
    growing = snapshot(1)
    with Checkpoints(tmp_path) as checkpoints:
        save = checkpoints._manager.save

        def save_late(*arguments, **options):  # as where the disk makes its folders slowly
            growing.values["history"].append({"a": 0.5})
            save(*arguments, **options)

        monkeypatch.setattr(checkpoints._manager, "save", save_late)
        checkpoints.save(1, growing)
    assert same(read(tmp_path), snapshot(1))


def test_the_newest_two_are_kept(tmp_path):
    write(tmp_path, 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    assert same(read(tmp_path), snapshot(3))


def test_an_empty_folder_has_none(tmp_path):
    assert read(tmp_path / "new") is None


def test_when_one_is_due(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    with Checkpoints(tmp_path / "steps", every_steps=5) as checkpoints:
        assert [checkpoints.is_due(step) for step in (1, 4, 5, 6)] == [False, False, True, True]
        checkpoints.save(6, snapshot(6))
        assert [checkpoints.is_due(step) for step in (10, 11)] == [False, True]
        now[0] += 1e9
        assert not checkpoints.is_due(7)
    with Checkpoints(tmp_path / "minutes", every_minutes=2.0) as checkpoints:
        now[0] += 119
        assert not checkpoints.is_due(10**9)
        now[0] += 1
        assert checkpoints.is_due(1)
    with Checkpoints(tmp_path / "steps", every_steps=5) as checkpoints:
        assert checkpoints.newest(snapshot(0).arrays).values["seconds"] == 6.1
        assert [checkpoints.is_due(step) for step in (10, 11)] == [False, True]


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path):
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [flip, truncate, empty, os.remove])
def test_whatever_happens_to_a_file_the_state_is_a_true_one(tmp_path, damage, capfd):
    """Each file of the newest checkpoint in turn; where it is not used, the one before is."""
    write(tmp_path / "whole", 1, 2)
    names = [
        path.relative_to(tmp_path / "whole" / "2") for path in files_of(tmp_path / "whole" / "2")
    ]
    used = []
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / "2" / name)
        capfd.readouterr()
        found = read(folder)
        step = int(found.arrays["state"]["step"])
        used.append(step)
        assert same(found, snapshot(step)), name
        reported = "The checkpoint of step 2 cannot be used (" in capfd.readouterr().err
        assert reported == (step == 1) == (folder / "2.damaged").exists(), name
    assert used.count(1) >= len(names) // 3  # the arrays and values are most of the files


def test_every_flipped_bit_of_the_values_is_noticed(tmp_path):
    write(tmp_path / "whole", 1, 2)
    name = tmp_path / "whole" / "2" / "values" / "metadata"
    content = name.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        name.write_bytes(damaged)
        found = read(tmp_path / "whole")
        assert found.values["seconds"] == 1.1, (place, bytes(damaged))
        os.replace(tmp_path / "whole" / "2.damaged", tmp_path / "whole" / "2")


def test_an_empty_checkpoint_and_foreign_files(tmp_path):
    write(tmp_path, 1)
    (tmp_path / "2").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
    assert same(read(tmp_path), snapshot(1))
    assert (tmp_path / "notes.txt").exists()


def test_a_damaged_one_does_not_stand_in_the_way(tmp_path):
    write(tmp_path, 1, 2)
    shutil.rmtree(tmp_path / "2" / "values")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest(snapshot(0).arrays).values["seconds"] == 1.1
        checkpoints.save(2, snapshot(2))
    assert same(read(tmp_path), snapshot(2))


def test_another_format_version_is_not_read(tmp_path, monkeypatch, capfd):
    write(tmp_path, 1)
    ours = checkpoint.FORMAT_VERSION
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", ours + 1)
    with pytest.raises(InputError, match=f"version {ours}, and {ours + 1} is needed"):
        read(tmp_path)
    write(tmp_path, 2)
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", ours)
    assert same(read(tmp_path), snapshot(1))
    assert "step 2" in capfd.readouterr().err


@pytest.mark.parametrize("shape", [(40, 31), (1 << 20, 1 << 20)])
def test_arrays_of_another_shape_are_not_read(tmp_path, shape):
    write(tmp_path, 1)
    like = snapshot(0).arrays
    like["state"]["params"]["kernel"] = np.broadcast_to(np.float32(0), shape)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(InputError, match="not those of this"):
        checkpoints.newest(like)


def test_with_none_that_can_be_used_nothing_is_touched(tmp_path):
    write(tmp_path, 1, 2)
    for step in ("1", "2"):
        for path in files_of(tmp_path / step / "arrays"):
            empty(path)
    before = files_of(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match="step 2.*step 1.*anew in another folder"):
            read(tmp_path)
    advised = pytest.raises(InputError, match="Mend it")
    with Checkpoints(tmp_path, advice="Mend it.") as checkpoints, advised:
        checkpoints.newest(snapshot(0).arrays)
    assert files_of(tmp_path) == before


def test_a_full_disk_leaves_the_one_before(mounted):
    folder = mounted("size=2m") / "checkpoints"
    write(folder, 1)
    large = snapshot(2)
    # Noise does not compress.
    large.arrays["state"]["params"]["kernel"] = np.random.default_rng(0).normal(size=(700, 700))
    with Checkpoints(folder) as checkpoints:  # noqa: SIM117
        with pytest.raises(StorageError, match=r"MB, cannot be written to .*MB are free.*is whole"):
            checkpoints.save(2, large)
            checkpoints.wait()
    assert same(read(folder), snapshot(1))
    with Checkpoints(folder.with_name("empty")) as checkpoints:
        with pytest.raises(StorageError, match="MB are free") as raised:
            checkpoints.save(1, large)
            checkpoints.wait()
        assert "is whole" not in str(raised.value)  # there is none before it
