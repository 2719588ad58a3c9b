"""A folder that holds a report and nothing else; it is replaced as a whole, and only then."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpvis_jax.errors import InputError
from mlpvis_jax.files.atomic import replacing, sync
from mlpvis_jax.files.run_folder import read_json, write_json

FACTS = "report.json"


def check_replaceable(folder: Path) -> None:
    """Refuses the current folder, and one that holds anything but a report that was written here.

    A report lists its own files in report.json; whatever else lies beside them is somebody's.

    Raises:
      InputError: naming the folder, and the first file that no report has written.
    """
    if folder.exists() and folder.samefile("."):
        raise InputError(
            f"--output={folder} is the current folder, and a report replaces all of its folder; "
            "give --output=FOLDER, another one."
        )
    for place in (folder, _unfinished(folder)):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise InputError(
                f"{place} must be a folder for the report, and something else is there; move that "
                "away, or give --output=FOLDER."
            )
        foreign = _foreign(place)
        if foreign:
            raise InputError(
                f"{place} holds {foreign[0]}, which no report has written, and a report replaces "
                "all of its folder; move that away, or give --output=FOLDER."
            )


def replace_report(folder: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Writes a report in place of the one that is there.

    The new files are complete before the old ones go.

    Args:
      folder: of the report.
      files: contents by name.
      facts: JSON values for report.json, which also lists the files.

    Raises:
      InputError: the folder holds what no report has written.
      OSError: it cannot be written.
    """
    check_replaceable(folder)
    unfinished = _unfinished(folder)
    _remove(unfinished)
    unfinished.mkdir(parents=True)
    # First of all: it is what makes the folder known as ours, if this process is killed.
    write_json(unfinished / FACTS, {**facts, "files": sorted([*files, FACTS])})
    for name, content in files.items():
        with replacing(unfinished / name) as partial:
            partial.write_bytes(content)
    _remove(folder)
    unfinished.rename(folder)
    sync(folder.parent)


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads what report.json holds; {} where there is none, or it is damaged."""
    with contextlib.suppress(InputError):
        return read_json(folder / FACTS)
    return {}


def _unfinished(folder: Path) -> Path:
    return Path(f"{os.path.abspath(folder)}.partial")  # "." has no name to add to


def _own_files(folder: Path) -> set[str]:
    listed = read_facts(folder).get("files")
    names = (
        {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    )
    # What a killed process may leave of a file.
    return names | {f"{name}.partial" for name in [*names, FACTS]}


def _foreign(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    own = _own_files(folder)
    return sorted(
        path.name for path in folder.iterdir() if path.name not in own or not path.is_file()
    )


def _remove(folder: Path) -> None:
    """Removes the files of a report and its folder; never one that is not in the list."""
    if not folder.exists():
        return
    for name in sorted(_own_files(folder), key=lambda name: name == FACTS):  # the list goes last
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
