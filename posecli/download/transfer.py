"""From addresses to one verified file: resumed, retried, measured, hashed, renamed."""

from __future__ import annotations

import errno
import http.client
import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from urllib.parse import urlsplit

from posecli.download.connection import OFFLINE_VARIABLE, RETRY_HINT, SCHEMES, Failure, connection, is_offline
from posecli.download.digest import file_sha256
from posecli.download.lock import locked
from posecli.download.partial import Identity, Partial
from posecli.download.patience import Patience
from posecli.errors import OutputError, WeightsError

ByteProgress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in all; ``None`` where nobody says)."""

_CHUNK_BYTES = 1 << 18
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SPACE_HINT = "free some space, or set POSECLI_HOME to a folder on another disk"


def download(
    urls: str | Sequence[str],
    path: Path,
    *,
    sha256: str | Callable[[], str | None],
    num_bytes: int | None = None,
    max_bytes: int | None = None,
    accept: Callable[[Path, str], None] | None = None,
    progress: ByteProgress | None = None,
    patience: Patience | None = None,
) -> str:
    """Fetch a file into ``path``, which appears whole and verified, or not at all.

    Two processes that want the same file wait for each other; the second finds the file there and fetches nothing. What a broken
    connection left is kept beside ``path`` (see `Partial`) and continued where the server still has the same content.

    Args:
        urls: Where the file is (https or http), one address or several in the order to be tried.
        path: Where it goes; its folder is created.
        sha256: What the content must hash to; or a function that is asked for it once no other process fetches the file, and may
            say ``None`` when nobody knows yet. Content that nobody knows comes encrypted or from this machine, and its length is told.
        num_bytes: The exact size, if known; not one byte more is accepted.
        max_bytes: The largest size accepted where the exact one is not known.
        accept: Called with the whole file, not yet in place, and its SHA-256; raises to refuse it.
        progress: Called after each chunk.
        patience: How long to wait and how often to try again.

    Returns:
        The file's SHA-256.

    Raises:
        WeightsError: Offline; or no address gave the file: unreachable, refused, of another size or content. The message is one line.
        OutputError: The folder or the disk cannot take it.
    """
    addresses = (urls,) if isinstance(urls, str) else tuple(urls)
    _check_addresses(addresses, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            expected = sha256() if callable(sha256) else sha256
            if expected is not None and path.is_file() and file_sha256(path) == expected:
                return expected
            if expected is None:
                _check_origin(addresses)
            wanted = _Wanted(path, expected, num_bytes, max_bytes, accept)
            return _Transfer(wanted, progress, patience or Patience()).run(addresses)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    hint = _SPACE_HINT if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return OutputError(f"{path}: cannot be written: {error.strerror or error}", hint=hint)


def _check_addresses(addresses: Sequence[str], path: Path) -> None:
    if not addresses:
        raise WeightsError(f"{path.name}: no address to fetch it from is known")
    for url in addresses:
        if urlsplit(url).scheme not in SCHEMES:
            raise WeightsError(f"{url}: not an http or https address")
    if is_offline():
        hint = f"unset {OFFLINE_VARIABLE} (or drop --offline) to fetch {addresses[0]}"
        raise WeightsError(f"{path.name}: not on this machine, and posecli is offline", hint=hint)


def _check_origin(addresses: Sequence[str]) -> None:
    """Plain http will do for what is checked against a known hash, not for what is trusted at first use."""
    for url in addresses:
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in _LOOPBACK:
            raise WeightsError(f"{url}: no checksum is known for it, so it has to come by https")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The file asked for; see `download`."""

    path: Path
    sha256: str | None
    num_bytes: int | None
    max_bytes: int | None
    accept: Callable[[Path, str], None] | None

    def check_offer(self, url: str, total: int | None) -> None:
        """Refuse a size before a byte of it is read."""
        if total is None:
            return
        if self.num_bytes is not None and total != self.num_bytes:
            raise Failure(f"{url}: server offers {total} bytes, expected {self.num_bytes}")
        if self.max_bytes is not None and total > self.max_bytes:
            raise Failure(f"{url}: server offers {total} bytes, more than the {self.max_bytes} allowed")

    def size(self, total: int | None) -> int | None:
        """The size of the whole: what we know, else what the server says."""
        return total if self.num_bytes is None else self.num_bytes


class _Transfer:
    """The work of one `download`, under its lock."""

    def __init__(self, wanted: _Wanted, progress: ByteProgress | None, patience: Patience) -> None:
        self.wanted, self.progress, self.patience = wanted, progress, patience
        self.partial = Partial(wanted.path)
        self.rng = random.Random(patience.seed)

    def run(self, addresses: Sequence[str]) -> str:
        """Try every address; the first that gives the file wins."""
        failures = []
        for url in addresses:
            try:
                found = self._fetch_patiently(url)
            except Failure as failure:
                failures.append(failure)
                continue
            self._install()
            return found
        if len(failures) == 1:
            raise WeightsError(failures[0].message, hint=failures[0].hint) from failures[0]
        told = "; ".join(failure.message for failure in failures)
        raise WeightsError(
            f"{self.wanted.path.name}: none of {len(failures)} addresses gave it: {told}", hint=RETRY_HINT
        )

    def _fetch_patiently(self, url: str) -> str:
        """Try one address again and again while that makes sense; the whole file is in `partial` afterwards."""
        num_failures, furthest = 0, 0
        while True:
            try:
                return self._checked(url, was_resumed=self._attempt(url))
            except Failure as failure:
                num_bytes = self.partial.num_bytes
                got_further = num_bytes >= furthest + self.patience.progress_bytes
                furthest = max(furthest, num_bytes)
                num_failures = 1 if got_further else num_failures + 1
                if not failure.is_transient:
                    raise
                if num_failures >= self.patience.attempts:
                    if num_failures > 1:
                        failure.message += f" (tried {num_failures} times)"
                    raise
                self.patience.sleep(self.patience.pause(num_failures, failure.retry_after_s, self.rng))

    def _attempt(self, url: str) -> bool:
        """One request. Returns whether bytes of an earlier one were continued."""
        known = self._resumable(url)
        offset = 0 if known is None else self.partial.num_bytes
        if known is not None and offset == known.total:
            return True
        headers = {} if known is None else _range_headers(url, known, offset)
        try:
            with connection(url, headers=headers, silence_s=self.patience.silence_s) as response:
                if known is not None and response.status == 206:
                    self._check_continues(url, response, known, offset)
                else:
                    known, offset = self._begin(url, response), 0
                self._copy(url, response, offset, self.wanted.size(known.total))
        except Failure as failure:
            if failure.status == 416 and offset:  # the content is shorter now, or the server cannot tell: start anew
                self.partial.drop()
                failure.is_transient = True
            raise
        return offset > 0

    def _resumable(self, url: str) -> Identity | None:
        """Whose the bytes so far are, if a request can continue them; else they are dropped."""
        known = self.partial.identity()
        if known is not None:
            size = self.wanted.size(known.total)
            is_pinned = self.wanted.sha256 is not None  # a mixture of two contents would be found out
            is_same = known.url == url and known.validator is not None
            fits = size is None or self.partial.num_bytes <= size
            if fits and (is_pinned or is_same) and known.total in (None, size):
                return known
        self.partial.drop()
        return None

    def _check_continues(self, url: str, response: http.client.HTTPResponse, known: Identity, offset: int) -> None:
        """A part of the same content, from where we are, or nothing of it is used."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        etag = response.headers.get("ETag")
        is_same = known.url != url or None in (etag, known.etag) or etag == known.etag
        if (
            found is None
            or int(found[1]) != offset
            or (found[2] != "*" and known.total is not None and int(found[2]) != known.total)
            or not is_same
            or _is_encoded(response)
        ):
            self.partial.drop()
            raise Failure(f"{url}: the content changed while it was fetched", hint=RETRY_HINT, is_transient=True)

    def _begin(self, url: str, response: http.client.HTTPResponse) -> Identity:
        """Start from the first byte of this answer."""
        if response.status != 200:
            raise Failure(f"{url}: server sends a part of the file that nobody asked for")
        if _is_encoded(response):
            raise Failure(f"{url}: server sends the file compressed, which nobody asked for")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        self.wanted.check_offer(url, total)
        if total is None and self.wanted.sha256 is None and not response.chunked:
            raise Failure(f"{url}: server does not say how long the file is, so nobody can tell whether it is whole")
        headers = response.headers
        identity = Identity(url, headers.get("ETag"), headers.get("Last-Modified"), total)
        try:
            self.partial.begin(identity)
        except OSError as error:  # told apart from the connection's own here, while both are at work
            raise _unwritable(self.wanted.path, error) from error
        return identity

    def _copy(self, url: str, response: http.client.HTTPResponse, done: int, size: int | None) -> None:
        """Append the body; a byte too many never reaches the disk."""
        self._check_space(0 if size is None else size - done)
        limit = self.wanted.max_bytes if size is None else size
        with self.partial.path.open("ab", buffering=0) as sink:
            while chunk := response.read1(_CHUNK_BYTES):
                done += len(chunk)
                if limit is not None and done > limit:
                    sink.close()
                    self.partial.drop()
                    raise Failure(f"{url}: server sends more than the expected {limit} bytes")
                self._write(sink, chunk)
                if self.progress is not None:
                    self.progress(done, size)
        if size is not None and done < size:
            message = f"{url}: connection ended after {done} of {size} bytes"
            raise Failure(message, hint=RETRY_HINT, is_transient=True)

    def _check_space(self, num_bytes: int) -> None:
        folder = self.wanted.path.parent
        free = shutil.disk_usage(folder).free
        if num_bytes > free:
            text = f"needs {num_bytes / 1e6:.1f} MB, {folder} has {free / 1e6:.1f} MB free"
            raise OutputError(f"{self.wanted.path.name}: {text}", hint=_SPACE_HINT)

    def _write(self, sink: RawIOBase, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[sink.write(rest) or 0 :]
        except OSError as error:
            raise _unwritable(self.wanted.path, error) from error

    def _checked(self, url: str, *, was_resumed: bool) -> str:
        """The hash of the whole file, if it is the right one."""
        found = file_sha256(self.partial.path)
        expected = self.wanted.sha256
        if expected is not None and found != expected:
            self.partial.drop()
            raise Failure(
                f"{url}: checksum is {found[:12]}..., expected {expected[:12]}...; nothing was kept",
                hint="the file was changed on the way or on the server; do not use it",
                is_transient=was_resumed,  # the earlier part may have been of another content
            )
        if self.wanted.accept is not None:
            try:
                self.wanted.accept(self.partial.path, found)
            except WeightsError as error:
                self.partial.drop()
                raise Failure(f"{url}: {error.message}", hint=error.hint) from error
        return found

    def _install(self) -> None:
        with self.partial.path.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(self.partial.path, self.wanted.path)
        self.partial.drop()


def _range_headers(url: str, known: Identity, offset: int) -> dict[str, str]:
    headers = {"Range": f"bytes={offset}-"}
    if known.url == url and known.validator is not None:
        headers["If-Range"] = known.validator
    return headers


def _is_encoded(response: http.client.HTTPResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
