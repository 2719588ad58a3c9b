"""One file from the network: resumed where it was cut off, and checked before it is used."""

import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import rich.console
import rich.progress

from mlpvis_jax.errors import InputError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


class UnreachableError(Exception):
    """The file could not be had from its host; the message says why."""


def download(url: str, path: Path, *, size: int, sha256: str) -> None:
    """Makes `path` the file at `url`, which has `size` bytes and the given SHA-256.

    A file that is there already is checked and kept. What has arrived of one that was cut off
    is in `path` with ".part" at the end of its name; the next call goes on from there.

    Raises UnreachableError where the host does not answer or the transfer breaks off; OSError where
    the disk cannot be written to; and InputError where the content is not the expected: a
    downloaded file is removed then, one that was put there by hand is left for its owner.
    """
    if path.exists():
        _check(path, path, sha256, advice="put the right file there, or remove it")
        return
    part = path.with_name(path.name + ".part")
    if not part.exists() or part.stat().st_size != size:
        _fetch(url, part, size)
    try:
        _check(part, path, sha256, advice="it was removed, so try again")
    except InputError:
        part.unlink()
        raise
    part.rename(path)


def _fetch(url: str, part: Path, size: int) -> None:
    """Appends to `part` what is missing of its `size` bytes, or starts it anew."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:  # cannot be the beginning of it
        have = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            # 206 is the answer of a server that goes on; any other sends it all again.
            if have and not _goes_on_from(response, have):
                have = 0
            with open(part, "ab" if have else "wb") as file, _progress() as progress:
                task = progress.add_task(part.stem, total=size, completed=have)
                # Never more than was announced: the disk is not filled by a wrong server.
                while have <= size:
                    try:
                        chunk = response.read(_CHUNK_BYTES)
                    except http.client.IncompleteRead as error:
                        chunk = error.partial
                    if not chunk:
                        break
                    file.write(chunk)
                    have += len(chunk)
                    progress.advance(task, len(chunk))
    except urllib.error.HTTPError as error:
        raise UnreachableError(f"it answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise UnreachableError(str(error.reason)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise UnreachableError(f"the transfer broke off: {error}") from error
    if have < size:
        raise UnreachableError(
            f"the transfer broke off after {have} of {size} bytes; another try goes on from there"
        )


def _goes_on_from(response: http.client.HTTPResponse, offset: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {offset}-")


def _check(file: Path, path: Path, sha256: str, *, advice: str) -> None:
    """InputError, speaking of `path`, unless the content of `file` has this SHA-256."""
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise InputError(f"{path} has the SHA-256 {found} and must have {sha256}; {advice}.")


def _progress() -> rich.progress.Progress:
    console = rich.console.Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
