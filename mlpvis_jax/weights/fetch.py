"""Published weights from their hosts, kept on this machine."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from mlpvis_jax.data.download import Checksum, UnreachableError, announced, check, download
from mlpvis_jax.errors import InputError, one_line

_HUB = "hub:"
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


def fetch(
    name: str, source: str, *, revision: str | None, sha256: str | None, folder: Path | None
) -> Path:
    """Finds a file of weights on this machine, or fetches it.

    Args:
      name: of the weights; names the file.
      source: "hub:OWNER/NAME" of a repository of the Hugging Face hub, whose model.safetensors it
        is, with a config.json; or the URL of an .npz file.
      revision: commit of the repository; None: its newest.
      sha256: of the content; None: unknown, and what the host tells of the content is checked.
      folder: where fetched files are kept. By default mlpvis_jax/weights under XDG_CACHE_HOME or
        ~/.cache; files of the hub in its own cache.

    Raises:
      InputError: the weights cannot be had, or are not the right ones.
    """
    if not source.startswith(_HUB):
        return _from_url(name, source, sha256, folder or default_folder())
    path = _from_hub(name, source.removeprefix(_HUB), revision, folder)
    if sha256 is not None:
        file = path.resolve()  # the path is a link, which alone would be made again
        check(file, file, Checksum("sha256", sha256), advice="remove it and try again")
    return path


def default_folder() -> Path:
    """Names the folder that fetched files are kept in by default."""
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if home.startswith("~"):
        raise InputError("There is no home folder to keep weights in; set cache_dir.")
    return Path(home) / "mlpvis_jax" / "weights"


def _from_url(name: str, url: str, sha256: str | None, folder: Path) -> Path:
    parts = urlsplit(url)
    path = folder / f"{name}{Path(parts.path).suffix}"
    if path.is_file():  # its content was checked when it came, unless it was put there by hand
        if sha256 is not None:
            check(path, path, Checksum("sha256", sha256), advice="remove it and try again")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size, checksum = announced(url)
        if sha256 is not None:
            checksum = Checksum("sha256", sha256)
        # Without either: an .npz file has a CRC-32 of each array, and reading checks it.
        download(url, path, size=size, checksum=checksum)
    except UnreachableError as error:
        raise InputError(
            f"The weights {name} could not be downloaded from {parts.hostname} ({error}). Put "
            f"{url} at {path} by hand, or give the path of the file instead of the name."
        ) from error
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be written to ({error.strerror or error}); set cache_dir."
        ) from error
    return path


def _from_hub(name: str, repository: str, revision: str | None, folder: Path | None) -> Path:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            f"The weights {name} are on the Hugging Face hub; pip install 'mlpvis_jax[hub]'."
        ) from None

    def files(is_kept: bool) -> list[str]:
        return [
            huggingface_hub.hf_hub_download(
                repository, file, revision=revision, cache_dir=folder, local_files_only=is_kept
            )
            for file in (_CONFIG, _WEIGHTS)
        ]

    try:
        try:
            path = files(is_kept=True)[-1]
        except huggingface_hub.errors.LocalEntryNotFoundError:
            path = files(is_kept=False)[-1]
    except Exception as error:  # of whichever library it goes through
        raise InputError(
            f"The weights {name} could not be fetched from the Hugging Face hub, repository "
            f"{repository} ({one_line(error).rstrip('.')}). Give the path of {_WEIGHTS} instead of "
            f"the name, with {_CONFIG} beside it."
        ) from error
    return Path(path)
