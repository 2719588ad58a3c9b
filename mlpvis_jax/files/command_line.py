"""How a person gives a command of this program again."""

import shlex
import sys
from pathlib import Path

_INSTALLED = "mlpvis"


def command_line(*arguments: str) -> str:
    """Writes the command with these arguments as a shell takes it.

    It is `mlpvis` where this process was begun as the installed command, for there need not be a
    launch.py then.
    """
    is_installed = Path(sys.argv[0]).stem == _INSTALLED
    program = [_INSTALLED] if is_installed else ["python", "launch.py"]
    return shlex.join([*program, *arguments])
