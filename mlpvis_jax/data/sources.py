"""From the name a user gives to the source of images it stands for."""

import difflib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlpvis_jax.data.cifar import ARCHIVES, open_cifar
from mlpvis_jax.data.decoding import Decoding
from mlpvis_jax.data.digits import open_digits
from mlpvis_jax.data.examples import Source
from mlpvis_jax.data.folder import open_folder
from mlpvis_jax.data.npz import open_npz
from mlpvis_jax.data.paths import read_path
from mlpvis_jax.data.shards import open_shards
from mlpvis_jax.data.tfds_source import open_tfds
from mlpvis_jax.errors import InputError
from mlpvis_jax.settings.choice import explain_own, find


class Request(NamedTuple):
    """What a user asked for."""

    name: str  # all of it, for instance "folder:~/pets"
    rest: str  # what follows the colon, for instance "~/pets"; "" without a colon
    image_size: int
    data_dir: str | Path | None
    framing: str = "stretch"  # a name of `framing.FRAMES`
    reduced_jpeg: bool = False  # of images to train on

    @property
    def decoding(self) -> Decoding:
        """Says how images that differ in size are decoded."""
        return Decoding(self.image_size, self.framing, self.reduced_jpeg)


def _open_tfds(asked: Request, tfds_name: str) -> Source:
    # CIFAR has a way of its own to be prepared, whichever way it is asked for.
    if tfds_name in ARCHIVES:
        return open_cifar(asked.name, tfds_name, asked.image_size, asked.data_dir)
    return open_tfds(asked.name, tfds_name, asked.data_dir, asked.decoding)


def _path(asked: Request) -> Path:
    return read_path(asked.rest, "The path in config.data.source")


SOURCES: dict[str, Callable[[Request], Source]] = {
    "digits": lambda asked: open_digits(asked.name),
    "cifar10": lambda asked: _open_tfds(asked, "cifar10"),
    "cifar100": lambda asked: _open_tfds(asked, "cifar100"),
    "tfds": lambda asked: _open_tfds(asked, asked.rest),
    "folder": lambda asked: open_folder(asked.name, _path(asked), asked.decoding),
    "npz": lambda asked: open_npz(asked.name, _path(asked)),
    "shards": lambda asked: open_shards(asked.name, _path(asked), asked.decoding),
}
# What follows the colon, for those that need it; the others have no colon.
_RESTS = {"tfds": "NAME", "folder": "PATH", "npz": "PATH", "shards": "PATH"}
_FORMS = [f"{prefix}:{_RESTS[prefix]}" if prefix in _RESTS else prefix for prefix in SOURCES]


def open_source(
    name: str,
    *,
    image_size: int,
    data_dir: str | Path | None = None,
    framing: str = "stretch",
    reduced_jpeg: bool = False,
) -> Source:
    """Opens the source of images that `name` stands for.

    It is one of digits, cifar10, cifar100, tfds:NAME, folder:PATH, npz:PATH and shards:PATH; or
    MODULE:NAME, or MODULE:NAME:REST, of a function that opens a source for a `Request`.
    `image_size` is the side, in pixels, to which images are brought that differ in size; where
    all have one shape they keep it. `data_dir` is where tfds and cifar sets are; without it that
    is the environment variable TFDS_DATA_DIR, else TFDS's default. `framing`, a name of
    `framing.FRAMES`, is what is taken of an image that is brought to a size; with `reduced_jpeg`,
    JPEGs to train on that are much larger are decoded at a reduced scale.

    Raises InputError for a name of none of these forms, and as the function of each form says.
    """
    if image_size < 1:
        raise InputError(f"image_size is {image_size}; it must be 1 or more.")
    prefix, colon, rest = name.partition(":")
    asked = Request(name, rest, image_size, data_dir, framing, reduced_jpeg)
    if prefix not in SOURCES and _is_import_path(prefix, rest):
        attribute, _, rest = rest.partition(":")
        opener = find(SOURCES, f"{prefix}:{attribute}", "config.data.source")
        with explain_own(f"config.data.source={name} cannot be opened"):
            source = opener(asked._replace(rest=rest))
        if not isinstance(source, Source):
            raise InputError(f"config.data.source={name} returns no Source.")
        return _meant(source, asked)
    if prefix not in SOURCES or (prefix in _RESTS) != bool(rest) or (colon and not rest):
        raise InputError(
            f"There is no data source {name!r}{_hint(name, prefix, colon + rest)}; give one of "
            f"{', '.join(_FORMS)}."
        )
    return _meant(SOURCES[prefix](asked), asked)


def _meant(source: Source, asked: Request) -> Source:
    """Returns the source, or refuses what was asked for of images that do not have one shape."""
    for setting in ("framing", "reduced_jpeg"):
        value, default = getattr(asked, setting), Request._field_defaults[setting]
        if value != default and source.train.frame is None:
            raise InputError(
                f"config.data.{setting}={value} is for images of any proportions; those of "
                f"{source.name} have one shape, {list(source.image_shape)}. Set it to {default}."
            )
    return source


def _is_import_path(module: str, rest: str) -> bool:
    names = [*module.split("."), rest.partition(":")[0]]
    if not all(name.isidentifier() for name in names):
        return False
    if "." in module or module in sys.modules:  # __main__ has no spec, and is a notebook's module
        return True
    return importlib.util.find_spec(module) is not None


def _hint(name: str, prefix: str, rest: str) -> str:
    """What the user may have meant, as a part of a sentence; "" without an idea."""
    near = difflib.get_close_matches(prefix.lower(), SOURCES, n=1)
    if near:
        argument = (rest if len(rest) > 1 else f":{_RESTS[near[0]]}") if near[0] in _RESTS else ""
        return f" (did you mean {near[0] + argument!r}?)"
    if os.path.exists(os.path.expanduser(name)):  # which take any text
        form = "npz" if name.lower().endswith(".npz") else "folder"
        return f" (did you mean {form + ':' + name!r}?)"
    return ""
