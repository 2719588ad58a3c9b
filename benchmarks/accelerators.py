"""The accelerators that programs are compiled for without having one: makers' figures of them.

The figures are of data sheets; only the time of a launch is an assumption. What a program takes at
least follows from them by division: a real device reaches none of these rates all the time.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A kind of device.

    Attributes:
      name: of the device, in words.
      platform: what compiles for it: "tpu", "cuda", or "cpu" for this machine's own processor.
      topologies: what the compiler calls an arrangement of so many chips.
      flop_per_second: of products in bfloat16, without sparsity.
      bytes_per_second: to and from the device's memory.
      memory_bytes: of a device.
      launch_seconds: from one kernel to the next where both are empty; 0 where a program is begun
        once, as a whole.
    """

    name: str
    platform: str
    topologies: Mapping[int, str] = dataclasses.field(default_factory=lambda: {1: ""})
    flop_per_second: float = 0.0
    bytes_per_second: float = 0.0
    memory_bytes: float = 0.0
    launch_seconds: float = 0.0

    def least_seconds(self, flop: float, moved_bytes: float, kernels: int) -> dict[str, float]:
        """Divides what a program does by what the device does in a second, each for itself."""
        if not self.flop_per_second:
            return {}
        return {
            "arithmetic": flop / self.flop_per_second,
            "traffic": moved_bytes / self.bytes_per_second,
            "launches": kernels * self.launch_seconds,
        }


_TPU_TOPOLOGIES = {1: "2x2", 4: "2x2", 16: "4x4", 64: "8x8"}


def _tpu(name: str, generation: str, **figures: float) -> Accelerator:
    names = {chips: f"{generation}:{shape}" for chips, shape in _TPU_TOPOLOGIES.items()}
    return Accelerator(name, "tpu", names, **figures)


ACCELERATORS = {
    "h200": Accelerator(
        "NVIDIA H200",
        "cuda",
        {1: "1x1x1", 4: "1x1x4", 8: "1x1x8"},  # of one machine
        flop_per_second=989e12,
        bytes_per_second=4.8e12,
        memory_bytes=141e9,
        launch_seconds=2e-6,
    ),
    "v5e": _tpu(
        "TPU v5e", "v5e", flop_per_second=197e12, bytes_per_second=819e9, memory_bytes=16e9
    ),
    "v6e": _tpu(
        "TPU v6e", "v6e", flop_per_second=918e12, bytes_per_second=1640e9, memory_bytes=32e9
    ),
    "cpu": Accelerator("this CPU", "cpu"),
}

# What XLA asks of a GPU that it would otherwise look at, from the maker's tables for compute
# capability 9.0 and the H200.
_H200 = {
    "gpu_device_info": {
        "cuda_compute_capability": {"major": 9, "minor": 0},
        "core_count": 132,
        "fpus_per_core": 128,
        "clock_rate_ghz": 1.98,
        "threads_per_warp": 32,
        "threads_per_block_limit": 1024,
        "threads_per_core_limit": 2048,
        "registers_per_block_limit": 1 << 16,
        "registers_per_core_limit": 1 << 16,
        "shared_memory_per_block": 48 << 10,
        "shared_memory_per_block_optin": 227 << 10,
        "shared_memory_per_core": 228 << 10,
        "block_dim_limit_x": (1 << 31) - 1,
        "block_dim_limit_y": (1 << 16) - 1,
        "block_dim_limit_z": (1 << 16) - 1,
        "l2_cache_size": 60 << 20,
        "memory_bandwidth": 4_800_000_000_000,
        "device_memory_size": 141_000_000_000,
    },
    "platform_name": "CUDA",
    "device_description_str": "NVIDIA H200",
    "dnn_version_info": {"major": 9, "minor": 12, "patch": 0},
    "runtime_version": {"major": 13, "minor": 0, "patch": 0},
}


def prepare_environment(accelerator: Accelerator) -> None:
    """Sets what the compilers read when JAX is imported, which must not have happened yet."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if accelerator.platform == "tpu":
        # There is no machine of Google's to ask for any of this.
        os.environ["TPU_SKIP_MDS_QUERY"] = "1"
        os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"
        os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
        # Else libtpu is for one process at a time, as the chips are that are not there.
        os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    if accelerator.platform == "cuda":
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        toolkit = Path(sys.prefix, "lib", version, "site-packages", "nvidia", "cu13")
        # Autotuning runs the kernels that it chooses from.
        flags = f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={toolkit}"
        os.environ["XLA_FLAGS"] = flags


def described_devices(accelerator: Accelerator, chips: int) -> tuple[Any, ...]:
    """Describes so many chips of one program, as JAX devices; of the CPU it is the real one.

    Raises:
      ValueError: no arrangement of so many chips is known.
    """
    import jax
    from jax.experimental import topologies

    if chips not in accelerator.topologies:
        raise ValueError(f"No arrangement of {chips} chips of {accelerator.name} is known.")
    if accelerator.platform == "cpu":
        return tuple(jax.local_devices()[:1])
    if accelerator.platform == "cuda":
        _let_gpu_mean_cuda()
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology=accelerator.topologies[chips],
            target_config=_text_format(_H200),
        )
    else:
        topology = topologies.get_topology_desc(
            topology_name=accelerator.topologies[chips], platform="tpu"
        )
    return tuple(topology.devices[:chips])


def _let_gpu_mean_cuda() -> None:
    """Names the platform of a described GPU, which JAX asks of devices that are there (#23971)."""
    from jax._src import xla_bridge

    known = xla_bridge.canonicalize_platform
    if getattr(known, "knows_gpu", False):
        return

    def canonicalize(platform: str) -> str:
        return "cuda" if platform == "gpu" else known(platform)

    canonicalize.knows_gpu = True  # type: ignore[attr-defined]
    xla_bridge.canonicalize_platform = canonicalize


def _text_format(message: Mapping[str, Any]) -> str:
    """Writes a protocol buffer's fields as its text format has them."""
    fields = []
    for name, value in message.items():
        if isinstance(value, Mapping):
            fields.append(f"{name} {{ {_text_format(value)} }}")
        else:
            fields.append(f'{name}: "{value}"' if isinstance(value, str) else f"{name}: {value}")
    return " ".join(fields)
