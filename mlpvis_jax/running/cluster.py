"""How a process learns that it is one of several of a run: from flags, or from what started it.

Nothing here loads JAX, so that a process that is alone pays nothing for it.
"""

import dataclasses
import glob
import importlib.util
import os
from collections.abc import Mapping

from mlpvis_jax.errors import InputError

# What launchers tell a process: how many there are, which one it is, and which one of its machine.
_SLURM = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_MPI = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),  # MPICH, Intel MPI
)
# What JAX needs besides to find the first process by itself. A shell in an allocation of Slurm has
# no step; Open MPI tells its address up to version 4.
_STEP_OF_SLURM = "SLURM_STEP_NODELIST"
_ADDRESS_OF_OPEN_MPI = "OMPI_MCA_orte_hnp_uri"
_PATIENCE = "MLPVIS_PATIENCE"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a run, and which one this is.

    Attributes:
      coordinator: HOST:PORT at which process 0 meets the others; None: JAX finds all by itself.
      number: of processes; None where JAX finds it.
      index: of this process, from 0; None where JAX finds it.
      local_devices: numbers of the GPUs of the machine that are this process's; None: all.
      may_be_one: whether there may turn out to be one process only, as on a single TPU host.
      patience: seconds without a sign after which a process is taken for dead.
    """

    coordinator: str | None = None
    number: int | None = None
    index: int | None = None
    local_devices: list[int] | None = None
    may_be_one: bool = False
    patience: int = 20


def find_cluster(flags: Mapping[str, str | None]) -> Cluster | None:
    """Finds the processes of a run, and how long they wait for a sign of another (MLPVIS_PATIENCE).

    Args:
      flags: values of --coordinator, --processes and --process by name; None where not given.

    Returns:
      The processes; None where this one is alone.

    Raises:
      InputError: flags that do not go together, or a launcher that does not say enough.
    """
    found = _find_cluster(flags)
    if found is None or _PATIENCE not in os.environ:
        return found
    patience = _environment(_PATIENCE)
    if patience < 1:
        raise InputError(f"{_PATIENCE}={patience} must be a whole number of seconds from 1.")
    return dataclasses.replace(found, patience=patience)


def _find_cluster(flags: Mapping[str, str | None]) -> Cluster | None:
    coordinator = flags["coordinator"]
    number = _number(flags, "processes", 1)
    index = _number(flags, "process", 0)
    if coordinator is None and index is None and number in (None, 1):
        return None if number == 1 else _launched()
    local: list[int] | None = None
    if coordinator is not None and number is None and index is None:
        number, index, local = _ranks()
    names = ("coordinator", "processes", "process")
    missing = [
        f"--{name}"
        for name, value in zip(names, (coordinator, number, index), strict=True)
        if value is None
    ]
    if coordinator is None or number is None or index is None:
        raise InputError(
            "--coordinator=HOST:PORT, --processes=N and --process=I belong together, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; only under "
            "mpirun is --coordinator enough."
        )
    if index >= number:
        raise InputError(f"--process={index} must be below --processes={number}: it counts from 0.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InputError(
            f"--coordinator={coordinator} must be HOST:PORT of process 0, such as node0:12345."
        )
    return None if number == 1 else Cluster(coordinator, number, index, local)


def _number(flags: Mapping[str, str | None], name: str, least: int) -> int | None:
    text = flags[name]
    if text is not None and (not text.isdecimal() or not text.isascii() or int(text) < least):
        raise InputError(f"--{name}={text} must be a whole number from {least}.")
    return None if text is None else int(text)


def _launched() -> Cluster | None:
    """What started this process, if that has started several and not this one alone."""
    if _STEP_OF_SLURM in os.environ and all(name in os.environ for name in _SLURM):
        return Cluster() if _environment(_SLURM[0]) > 1 else None
    number, _, _ = _ranks()
    if number is not None and number > 1:
        if _ADDRESS_OF_OPEN_MPI in os.environ:
            return Cluster()
        raise InputError(
            f"mpirun has started {number} processes, and this version of it does not say where: "
            "give all of them --coordinator=HOST:PORT, HOST being the machine of the first. If "
            "each is to be a run of its own, give --processes=1."
        )
    platforms = os.environ.get("JAX_PLATFORMS", "")
    devices = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*")
    is_tpu = (not platforms or "tpu" in platforms) and devices
    if is_tpu and importlib.util.find_spec("libtpu") is not None:
        return Cluster(may_be_one=True)
    return None


def _ranks() -> tuple[int | None, int | None, list[int] | None]:
    """What mpirun says: how many processes, which one this is, and its GPU, as JAX chooses it."""
    for size, rank, local in _MPI:
        if size in os.environ and rank in os.environ:
            chosen = "JAX_LOCAL_DEVICE_IDS" in os.environ or local not in os.environ
            return (
                _environment(size),
                _environment(rank),
                None if chosen else [_environment(local)],
            )
    return None, None, None


def _environment(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise InputError(f"{name}={os.environ[name]} is not a whole number.") from None
