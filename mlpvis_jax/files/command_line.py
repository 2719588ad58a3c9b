"""How a person gives a command of this program again."""

import shlex
import sys
from pathlib import Path

_INSTALLED = "mlpvis"
_LAUNCH = "launch.py"


def command_line(*arguments: str) -> str:
    """Writes the command with these arguments as a shell takes it.

    It is `mlpvis` where this process was begun as the installed command, for there need not be a
    launch.py then, and otherwise the launch.py that was begun, wherever it is.
    """
    begun = Path(sys.argv[0])
    if begun.stem == _INSTALLED:
        return shlex.join([_INSTALLED, *arguments])
    program = sys.argv[0] if begun.name == _LAUNCH else _LAUNCH
    return shlex.join(["python", program, *arguments])
