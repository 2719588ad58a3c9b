"""Standard output and error whose reader may go away: `| head -1`, a closed terminal."""

import io
import sys
from typing import Any


class _Output(io.FileIO):
    """A file in which a write that fails is taken for done."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def print_while_somebody_reads() -> None:
    """Lets the process go on in silence where what it prints can no longer be written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # closed, or not a file, as in a notebook
            continue
        raw = _Output(stream.fileno(), "w", closefd=False)
        buffer: Any = raw if stream.write_through else io.BufferedWriter(raw)
        text = io.TextIOWrapper(
            buffer,
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, text)
