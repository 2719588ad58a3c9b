"""One file from the network: resumed where it was cut off, and checked before it is used."""

import base64
import binascii
import contextlib
import fcntl
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import rich.console
import rich.progress

from mlpvis_jax.errors import InputError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30


class UnreachableError(Exception):
    """The file could not be had from its host; the message says why."""


class Checksum(NamedTuple):
    """What a file's content must hash to: a name of hashlib's, and a hexadecimal number."""

    algorithm: str
    digest: str


def download(url: str, path: Path, *, size: int, checksum: Checksum | None) -> None:
    """Makes `path` the file at `url`, which has `size` bytes and the given checksum.

    A file that is there already is checked and kept. What has arrived of one that was cut off
    is in `path` with ".part" at the end of its name; the next call goes on from there. Without a
    checksum the content is not checked, and the file's own format has to.

    Of several processes that download to a folder, one does, and the others wait for it.

    Raises UnreachableError where the host does not answer or the transfer breaks off; OSError where
    the disk cannot be written to; and InputError where the content is not the expected: a
    downloaded file is removed then, one that was put there by hand is left for its owner.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # The system gives a lock back when its process ends, however it ends.
        with contextlib.suppress(OSError):  # some network file systems have none of a folder
            fcntl.flock(folder, fcntl.LOCK_EX)
        _download_alone(url, path, size, checksum)
    finally:
        os.close(folder)


def _download_alone(url: str, path: Path, size: int, checksum: Checksum | None) -> None:
    if path.exists():
        check(path, path, checksum, advice="put the right file there, or remove it")
        return
    part = path.with_name(path.name + ".part")
    if not part.exists() or part.stat().st_size != size:
        _fetch(url, part, size)
        if checksum is None and part.stat().st_size > size:  # a checksum says it better
            part.unlink()
            raise UnreachableError(f"it sent more than the {size} bytes that it had announced")
    try:
        check(part, path, checksum, advice="it was removed, so try again")
    except InputError:
        part.unlink()
        raise
    part.rename(path)


def announced(url: str) -> tuple[int, Checksum | None]:
    """Asks a host for the size of a file, bytes, and for its MD5, which Google's storage tells.

    Raises UnreachableError where the host does not answer, or does not tell the size.
    """
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            headers = response.headers
    except OSError as error:  # those of urllib are, too
        raise _unreachable(error) from error
    except http.client.HTTPException as error:
        raise UnreachableError(f"it gave no proper answer: {error}") from error
    size = headers.get("Content-Length", "")
    if not size.isdecimal():
        raise UnreachableError("it does not tell the size of the file")
    hashes = ",".join(headers.get_all("x-goog-hash", [])).split(",")
    for word in hashes:
        algorithm, _, value = word.strip().partition("=")
        if algorithm == "md5":
            try:
                return int(size), Checksum("md5", base64.b64decode(value, validate=True).hex())
            except binascii.Error as error:
                raise UnreachableError(f"it tells of the MD5 {value!r}") from error
    return int(size), None


def _unreachable(error: OSError) -> UnreachableError:
    if isinstance(error, urllib.error.HTTPError):
        return UnreachableError(f"it answered {error.code} {error.reason}")
    if isinstance(error, urllib.error.URLError):
        return UnreachableError(str(error.reason))
    return UnreachableError(f"the transfer broke off: {error}")


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
    except (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _unreachable(error) from error
    except http.client.HTTPException as error:
        raise UnreachableError(f"the transfer broke off: {error}") from error
    if have < size:
        raise UnreachableError(
            f"the transfer broke off after {have} of {size} bytes; another try goes on from there"
        )


def _goes_on_from(response: http.client.HTTPResponse, offset: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {offset}-")


def check(file: Path, path: Path, checksum: Checksum | None, *, advice: str) -> None:
    """Checks the content of `file`.

    Raises InputError, which speaks of `path` and ends in `advice`, where it has another checksum.
    """
    if checksum is None:
        return
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, checksum.algorithm).hexdigest()
    if found != checksum.digest:
        name = {"sha256": "SHA-256", "md5": "MD5"}.get(checksum.algorithm, checksum.algorithm)
        raise InputError(
            f"{path} has the {name} {found} and must have {checksum.digest}; {advice}."
        )


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
