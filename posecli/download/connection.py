"""One connection: proxies of the environment honoured, redirects limited, every way to fail told in one line.

This is the only file of posecli that opens a connection.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

OFFLINE_VARIABLE = "POSECLI_OFFLINE"
SCHEMES = ("https", "http")
RETRY_HINT = "try again later, or fetch the file by hand and pass its path"
MAX_REDIRECTS = 8
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class Failure(Exception):
    """One address did not give the file.

    Args:
        message: One line, starting with the address.
        hint: What the user can do about it.
        is_transient: Whether the same address may well give it in a moment.
        retry_after_s: How long the server asked to wait.
        status: The server's answer, if it was an HTTP error.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        is_transient: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
        self.is_transient, self.retry_after_s, self.status = is_transient, retry_after_s, status


def is_offline() -> bool:
    """Whether the user forbade connections (``POSECLI_OFFLINE`` set to anything but 0, false, no or nothing)."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in {"", "0", "false", "no"}


@contextlib.contextmanager
def connection(url: str, *, headers: Mapping[str, str], silence_s: float) -> Iterator[http.client.HTTPResponse]:
    """Ask for ``url`` and yield the answer, 200 or 206.

    Args:
        url: Where the file is (https or http).
        headers: Of the request.
        silence_s: How long the server may stay silent, also while the block reads.

    Yields:
        The answer; its body is not read yet.

    Raises:
        Failure: Unreachable, refused, redirected in circles or to an unsafe place, or broken while the block reads.
    """
    plain = {"User-Agent": "posecli", "Accept-Encoding": "identity", **headers}
    try:
        request = urllib.request.Request(url, headers=plain)
        with _opener().open(request, timeout=silence_s) as response:
            if response.status not in (200, 206):
                raise Failure(f"{url}: server answered {response.status} {response.reason}", hint=RETRY_HINT)
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(url, error) from error
    except urllib.error.URLError as error:
        is_forged = isinstance(error.reason, ssl.SSLCertVerificationError)
        raise Failure(
            f"{url}: cannot be reached: {_one_line(error.reason)}", hint=RETRY_HINT, is_transient=not is_forged
        ) from error
    except TimeoutError as error:
        raise Failure(f"{url}: no byte came for {silence_s:g} s", hint=RETRY_HINT, is_transient=True) from error
    except (http.client.HTTPException, OSError) as error:
        raise Failure(f"{url}: connection broke: {_one_line(error)}", hint=RETRY_HINT, is_transient=True) from error
    except UnicodeError as error:
        raise Failure(f"{url}: not an address that can be opened: {_one_line(error)}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, none of them from an encrypted connection to a plain one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, or an error that says why there is none."""
        fp.close()  # unread: a redirect's body is of no use and may have no end
        so_far: Mapping[str, int] = getattr(req, "redirect_dict", {})
        first = getattr(req, "origin_url", req.full_url)
        if newurl in so_far:
            raise Failure(f"{first}: server redirects in a circle, at {newurl}")
        if len(so_far) >= MAX_REDIRECTS:
            raise Failure(f"{first}: server redirects more than {MAX_REDIRECTS} times")
        if urlsplit(newurl).scheme not in SCHEMES:
            raise Failure(f"{first}: server redirects to {newurl}, which is not an http or https address")
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme == "http":
            raise Failure(f"{first}: server redirects from https to plain http ({newurl}), refused")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.origin_url = first  # type: ignore[attr-defined]
        return following


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows http and https only; the proxies are those of the environment now."""
    opener = urllib.request.OpenerDirector()
    handlers: tuple[urllib.request.BaseHandler, ...] = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_tls()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _refused(url: str, error: urllib.error.HTTPError) -> Failure:
    retry_after_s = _seconds(error.headers.get("Retry-After"))
    # A host that only asks for patience sometimes says 403; with the time to wait it means "later", without it "no".
    is_transient = error.code in _TRANSIENT_STATUS or (error.code == 403 and retry_after_s is not None)
    return Failure(
        f"{url}: server answered {error.code} {_one_line(error.reason)}".rstrip(),
        hint=RETRY_HINT,
        is_transient=is_transient,
        retry_after_s=retry_after_s,
        status=error.code,
    )


def _seconds(text: str | None) -> float | None:
    """``Retry-After``: seconds, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split()) or type(reason).__name__
