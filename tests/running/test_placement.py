"""How a batch is cut for the devices, and where compiled programs are kept."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from mlpvis_jax.data.resident import PADDING, rows_in_order
from mlpvis_jax.errors import InputError
from mlpvis_jax.running import kept_programs
from mlpvis_jax.running.kept_programs import keep_compiled_programs
from mlpvis_jax.running.machine import local_devices
from mlpvis_jax.running.placement import DataParallel, num_microbatches


class Device:
    """What is asked of a device here."""

    def __init__(self, platform):
        self.platform = platform


@pytest.mark.parametrize(
    ("platform", "devices", "batch_size", "largest", "parts"),
    [
        ("cpu", 1, 128, None, 8),  # of 16 images
        ("cpu", 2, 128, None, 4),
        ("cpu", 1, 7, None, 1),
        ("cpu", 1, 100, None, 7),
        ("gpu", 1, 128, None, 1),
        ("gpu", 4, 1024, 64, 4),
        ("tpu", 1, 128, 128, 1),
        ("cpu", 1, 128, 1000, 1),
        ("gpu", 1, 10, 1, 10),
        # Of 64 images three parts would need padding, which moves images to other devices.
        ("gpu", 2, 128, 24, 4),
        ("gpu", 1, 128, 50, 3),
        ("cpu", 2, 254, None, 8),  # nothing up to 15 divides 127
    ],
)
def test_a_batch_is_cut_for_the_kind_of_device(platform, devices, batch_size, largest, parts):
    chosen = DataParallel((Device(platform),) * devices)
    assert num_microbatches(chosen, batch_size, largest) == parts
    rows = rows_in_order(2 * batch_size, batch_size, devices, parts)
    assert rows.shape[2] % parts == 0
    assert (rows[0] != PADDING).sum() == batch_size
    if largest is not None:
        assert rows.shape[2] // parts <= largest


@pytest.fixture
def unset():
    """JAX without a folder for compiled programs, and its settings put back afterwards."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_compiled_programs_are_kept_in_the_cache_of_the_user(unset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    expected = str(tmp_path / "mlpvis_jax/compiled")
    assert jax.config.jax_compilation_cache_dir == expected
    # A folder that JAX was given already, by its own variable or by a project, stays.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == expected


def test_a_cache_that_cannot_be_written_costs_a_line(unset, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "file/mlpvis_jax/compiled cannot be written" in err


def test_a_user_without_a_home_keeps_no_compiled_programs(unset, monkeypatch):
    monkeypatch.setattr(jax.config, "update", None)  # which would be called
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is without HOME
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    keep_compiled_programs()


@pytest.mark.parametrize(
    ("backend", "other", "is_used"),
    [("gpu", "the same", True), ("gpu", "another", False), ("cpu", "another", True)],
)
def test_processes_with_gpus_keep_programs_in_the_folder_of_their_run(
    unset, tmp_path, monkeypatch, backend, other, is_used
):
    """XLA's search for fast kernels would wait for those that need not compile."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(
        kept_programs, "exchange", lambda said: [said, said if other == "the same" else other]
    )
    before = jax.config.jax_enable_compilation_cache
    keep_compiled_programs()
    kept_programs.keep_programs_in(tmp_path / "run")
    found = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", before)
    assert found == is_used
    folder = "run/compiled" if backend == "gpu" else "mlpvis_jax/compiled"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / folder)


def test_a_machine_of_several_of_a_tpu_is_told_to_be_alone(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match="one of 4 machines of a TPU, .* TPU_PROCESS_BOUNDS=1,1,1"):
        local_devices()
