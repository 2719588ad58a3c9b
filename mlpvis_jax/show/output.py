"""Standard output and error whose reader may go away: `| head -1`, a closed terminal."""

import errno
import io
import sys
from typing import Any

_NO_READER = (errno.EPIPE, errno.EIO)  # the latter of a terminal that is gone


class _Output(io.FileIO):
    """A file in which a write that fails is taken for done.

    Attributes:
      lost: why something that somebody would have read was not written, or None.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost if error.errno in _NO_READER else error
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
            # A name of a file that is not in UTF-8 is printed in its own bytes.
            "surrogateescape" if stream.errors == "strict" else stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, text)


def find_lost_output() -> OSError | None:
    """Finds why standard output is not whole, such as a full disk; None where nobody reads it."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, _Output):
        return None
    sys.stdout.flush()
    return raw.lost
