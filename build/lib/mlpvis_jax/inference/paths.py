"""From what a person writes for images to the paths of files: patterns, folders, file names."""

import glob
import os
import shlex
from pathlib import Path

from mlpvis_jax.data.images import EXTENSIONS, NOT_DECODED
from mlpvis_jax.errors import InputError


def find_images(text: str) -> list[Path]:
    """Finds the image files that `text` names, each once, in the order of the text.

    Args:
      text: a file, a folder (all images below it), or a pattern as a shell has it, in which `**`
        stands for any folders; or several of them, with spaces between. A name that holds spaces is
        quoted, unless it is alone. A leading `~` is a home. Hidden files are left out unless they
        are named.

    Raises:
      InputError: a name without any image, or an image of a kind that is not decoded.
    """
    whole = os.path.expanduser(text)
    found: dict[Path, None] = {}
    for name in [whole] if os.path.exists(whole) else _names(text):
        found |= dict.fromkeys(_find(name))
    return list(found)


def _names(text: str) -> list[str]:
    try:
        names = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--images={text} cannot be read ({error}).") from error
    if not names:
        raise InputError("--images is empty; give files, folders or patterns, such as '*.png'.")
    return [os.path.expanduser(name) for name in names]


def _find(name: str) -> list[Path]:
    if os.path.isfile(name):
        return [Path(name)]
    pattern = os.path.join(glob.escape(name), "**") if os.path.isdir(name) else name
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    files = [path for path in paths if path.is_file()]
    for path in files:
        if path.suffix.lower() in NOT_DECODED:
            raise InputError(
                f"{path} is of a kind of images that is not decoded ({', '.join(EXTENSIONS)} are); "
                "convert it, or name others."
            )
    images = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not images:
        raise InputError(f"--images: {name} names no image ({', '.join(EXTENSIONS)}).")
    return images
