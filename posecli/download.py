"""One verified download: streamed to a temporary file, measured and hashed on the way, then renamed.

This is the only file of posecli that opens a connection, so ``POSECLI_OFFLINE`` is checked here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from posecli.atomic import atomic_path
from posecli.errors import WeightsError

ByteProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

OFFLINE_VARIABLE = "POSECLI_OFFLINE"
_CHUNK_BYTES = 1 << 20
_SCHEMES = ("https", "http")  # plain http is fine: what arrives is checked against a hash we ship
_RETRY_HINT = "try again later, or fetch the file by hand and pass its path"


def is_offline() -> bool:
    """Whether the user forbade connections (``POSECLI_OFFLINE`` set to anything but 0, false, no or nothing)."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in {"", "0", "false", "no"}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    url: str,
    path: Path,
    *,
    sha256: str,
    num_bytes: int,
    progress: ByteProgress | None = None,
    timeout_s: float = 30.0,
) -> None:
    """Fetch ``url`` into ``path``, which appears whole and verified, or not at all.

    Two processes that want the same file wait for each other; the second finds the file there and fetches nothing.

    Args:
        url: Where the file is (https or http).
        path: Where it goes; its folder is created.
        sha256: What the content must hash to.
        num_bytes: The exact size; not one byte more is accepted.
        progress: Called after each chunk.
        timeout_s: How long the server may stay silent.

    Raises:
        WeightsError: Offline, unreachable, refused, shorter or longer than promised, or another content.
    """
    if is_offline():
        hint = f"unset {OFFLINE_VARIABLE} (or drop --offline) to fetch {url}"
        raise WeightsError(f"{path.name}: not on this machine, and posecli is offline", hint=hint)
    if urlsplit(url).scheme not in _SCHEMES:
        raise WeightsError(f"{url}: not an http or https address")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")):
        if path.is_file() and file_sha256(path) == sha256:
            return
        with atomic_path(path, overwrite=True) as temporary, _connection(url, timeout_s) as response:
            with temporary.open("wb") as sink:
                found = _copy(response, sink, url=url, num_bytes=num_bytes, progress=progress)
            if found != sha256:
                raise WeightsError(
                    f"{url}: checksum is {found[:12]}..., expected {sha256[:12]}...; nothing was kept",
                    hint="the file was changed on the way or on the server; do not use it",
                )


@contextlib.contextmanager
def _connection(url: str, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"User-Agent": "posecli", "Accept-Encoding": "identity"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        raise WeightsError(f"{url}: server answered {error.code} {error.reason}", hint=_RETRY_HINT) from error
    except urllib.error.URLError as error:
        raise WeightsError(f"{url}: cannot be reached: {error.reason}", hint=_RETRY_HINT) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise WeightsError(
            f"{url}: connection broke: {str(error) or type(error).__name__}", hint=_RETRY_HINT
        ) from error


def _copy(
    response: http.client.HTTPResponse,
    sink: IO[bytes],
    *,
    url: str,
    num_bytes: int,
    progress: ByteProgress | None,
) -> str:
    """Copy at most ``num_bytes`` and return their SHA-256; the size is judged before a byte too many reaches the disk."""
    announced = response.headers.get("Content-Length")
    if announced is not None and announced.isdigit() and int(announced) != num_bytes:
        raise WeightsError(f"{url}: server offers {announced} bytes, expected {num_bytes}")
    digest = hashlib.sha256()
    done = 0
    while chunk := response.read(_CHUNK_BYTES):
        done += len(chunk)
        if done > num_bytes:
            raise WeightsError(f"{url}: server sends more than the expected {num_bytes} bytes")
        sink.write(chunk)
        digest.update(chunk)
        if progress is not None:
            progress(done, num_bytes)
    if done < num_bytes:
        raise WeightsError(f"{url}: connection ended after {done} of {num_bytes} bytes", hint=_RETRY_HINT)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created, and left in place: removing it would race with the next waiter)."""
    with path.open("a+b") as stream:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield  # closing the file releases the lock, also when the process dies
