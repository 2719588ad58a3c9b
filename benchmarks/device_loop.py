"""A computation repeated in one loop on the device, and timed there.

Inside a loop the memory of one iteration serves the next, as it does in training; run one by one,
each would pay for fresh memory and for its dispatch.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import memory


class DeviceLoop:
    """Compiles the loop, and runs it once.

    Args:
      body: (index, carry, data) -> carry, pure.
      carry: what an iteration hands to the next; its memory is taken over.
      data: what every iteration sees.

    Attributes:
      bytes: that the compiled program holds.
    """

    def __init__(self, body: Callable[[Any, Any, Any], Any], carry: Any, data: Any) -> None:
        def loop(carry: Any, data: Any, number: jax.Array) -> Any:
            return jax.lax.fori_loop(
                0, number, lambda index, carry: body(index, carry, data), carry
            )

        self._carry, self._data = jax.tree.map(jnp.copy, carry), jax.device_put(data)
        program = jax.jit(loop, donate_argnums=0)
        self._loop = program.lower(self._carry, self._data, jnp.int32(0)).compile()
        self._number = 1
        self.bytes = memory.program_bytes(self._loop)
        self._run()  # meets memory that was never touched

    def seconds_per_iteration(self, seconds: float) -> float:
        """Measures for about so many seconds, at least for half of them."""
        while True:
            elapsed = self._run()
            if elapsed >= seconds / 2:
                return elapsed / self._number
            self._number *= 2

    def _run(self) -> float:
        start = time.perf_counter()
        self._carry = jax.block_until_ready(
            self._loop(self._carry, self._data, jnp.int32(self._number))
        )
        return time.perf_counter() - start
