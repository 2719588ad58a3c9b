"""What native libraries print in one of several processes: passed on, but for reports of a death.

When a process of a run dies, the library of JAX that watches them prints pages in each of the
others and aborts them; no Python gets to run in between. So what native code prints goes through a
process beside, which is this file run as a program: it leaves those pages out and prints the one
message that it was told instead. It uses the standard library alone.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

_TOLD = "\0"  # begins a line that is a message to have ready
_WHO = "{who}"  # stands in that message for the process that has died
_FATAL = "Terminating process because the JAX distributed service detected fatal errors"
_PREFIX = r"^[IWEF]\d{4} [\d:.]+ +\d+ "  # of abseil's log
_NOISE = re.compile(
    rf"{_PREFIX}(coordination_service\w*|client|add_port)\.(cc|h):"
    r"|^\d+$"  # the number of a process, in a list of them
    r"|^\[Gloo\] Rank \d+ is connected to|^The tasks have crashed\. Check the task logs"
    r"|^RPC: /xla\.coordination|^Additional GRPC error information|^:UNKNOWN:Error received"
)
_DIED = re.compile(r"unhealthy \(stopped sending heartbeats\)")
_LOST_FIRST = re.compile(
    r"Failed to send RPC to coordination service|Socket closed|UNAVAILABLE: fa"
)


def divert() -> None:
    """Makes native code print through a process beside, and Python as before.

    The process beside ends when this one does.
    """
    reading, writing = os.pipe()
    subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=reading, start_new_session=True)
    os.close(reading)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        own = open(  # noqa: SIM115
            os.dup(number),
            "w",
            encoding=stream.encoding,
            errors=stream.errors,
            buffering=1,
            closefd=False,
        )
        setattr(sys, name, own)
        os.dup2(writing, number)
    os.close(writing)


def tell(message: str, is_only_for_first: bool = False) -> None:
    """Has a line ready for the case that this process is aborted because another one has died.

    Args:
      message: in which `{who}` stands for the other one; empty for no message.
      is_only_for_first: the line is wanted only where it is process 0 that has died.
    """
    os.write(2, f"{_TOLD}{int(is_only_for_first)}{message}\n".encode())


def passed_on(lines: Iterable[str]) -> Iterator[str]:
    """Gives the lines that a person is to see, and the message that was told in the end."""
    told = "0"
    lines = iter(lines)
    for line in lines:
        if line.startswith(_TOLD):
            told = line[1:]
        elif _FATAL in line:
            yield from _message(told, [line, *lines])
            return
        elif not _NOISE.search(line):
            yield line


def _message(told: str, report: Iterable[str]) -> Iterator[str]:
    """The message that was told, with the process that the report names."""
    who, is_list = "another process", False
    for line in report:
        if is_list and line.strip().isdecimal():
            who = f"process {line.strip()}"
            break
        if _LOST_FIRST.search(line):
            who = "process 0"
        is_list = is_list or _DIED.search(line) is not None
    is_only_for_first, message = told[0] == "1", told[1:]
    if message.strip() and (who == "process 0" or not is_only_for_first):
        yield message.replace(_WHO, who)


def _main(reading: TextIO) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # it ends with the other process, and not before
    for line in passed_on(reading):
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except OSError:  # nobody reads any more
            continue


if __name__ == "__main__":
    _main(open(0, encoding="utf-8", errors="replace"))  # noqa: SIM115
