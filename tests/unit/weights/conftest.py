"""A real HTTP server on the loopback that can be told to misbehave, request by request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONTENT = bytes(range(256)) * 1200
OTHER = bytes(reversed(CONTENT))
Step = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    range: str | None
    if_range: str | None


@dataclass
class Server:
    """``steps[path]`` are the answers to come, the last of them again and again; ``asked`` is what was asked."""

    url: str = ""
    steps: dict[str, list[Step]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, *steps: Step) -> str:
        """Say how a path answers; returns its address."""
        self.steps[path] = list(steps)
        return self.url + path

    @property
    def ranges(self) -> list[str | None]:
        return [asked.range for asked in self.asked]

    # The ways to answer.

    @staticmethod
    def whole(
        content: bytes = CONTENT, *, etag: str | None = '"a"', modified: str | None = None, knows_ranges: bool = True
    ) -> Step:
        """As a good server does."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start = _start(handler, etag, modified) if knows_ranges else None
            if start is not None and start >= len(content):
                _head(handler, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            body = content[start or 0 :]
            headers = _identity(etag, modified) | {"Content-Length": str(len(body))}
            if start is not None:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            _head(handler, 200 if start is None else 206, headers)
            handler.wfile.write(body)

        return answer

    @staticmethod
    def cut(after: int, content: bytes = CONTENT, *, etag: str | None = '"a"', modified: str | None = None) -> Step:
        """Promises everything, closes the connection after so many bytes; knows no ranges."""
        return Server.raw(content[:after], _identity(etag, modified) | {"Content-Length": str(len(content))})

    @staticmethod
    def raw(body: bytes, headers: dict[str, str], status: int = 200) -> Step:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            _head(handler, status, headers)
            handler.wfile.write(body)

        return answer

    def stalling(self, after: int, content: bytes = CONTENT) -> Step:
        """Falls silent after so many bytes, and keeps the connection."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start = _start(handler, '"a"', None) or 0
            headers = {"Content-Length": str(len(content) - start), "ETag": '"a"'}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            _head(handler, 206 if start else 200, headers)
            handler.wfile.write(content[start : start + after])
            self.released.wait(20)

        return answer

    def mute(self) -> Step:
        """Takes the request and says nothing at all."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            self.released.wait(20)

        return answer

    @staticmethod
    def dripping(size: int, pause_s: float, content: bytes = CONTENT) -> Step:
        """A few bytes at a time; knows ranges."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start = _start(handler, '"a"', None) or 0
            headers = {"Content-Length": str(len(content) - start), "ETag": '"a"'}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            _head(handler, 206 if start else 200, headers)
            for at in range(start, len(content), size):
                handler.wfile.write(content[at : at + size])
                handler.wfile.flush()
                time.sleep(pause_s)

        return answer

    @staticmethod
    def chunked(body: bytes, *, is_ended: bool = True) -> Step:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            _head(handler, 200, {"Transfer-Encoding": "chunked"})
            for at in range(0, len(body), 50_000):
                piece = body[at : at + 50_000]
                handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if is_ended:
                handler.wfile.write(b"0\r\n\r\n")

        return answer

    @staticmethod
    def status(code: int, **headers: str) -> Step:
        return lambda handler: _head(
            handler, code, {"Content-Length": "0"} | {name.replace("_", "-"): value for name, value in headers.items()}
        )

    @staticmethod
    def redirect(target: str) -> Step:
        return Server.status(302, Location=target)


def _identity(etag: str | None, modified: str | None) -> dict[str, str]:
    return {name: value for name, value in {"ETag": etag, "Last-Modified": modified}.items() if value is not None}


def _start(handler: BaseHTTPRequestHandler, etag: str | None, modified: str | None) -> int | None:
    """Where the asked range starts; ``None`` when none was asked or its condition does not hold."""
    asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked is None or (condition is not None and condition not in {etag, modified}):
        return None
    return int(asked.removeprefix("bytes=").removesuffix("-"))


def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: object) -> None:
        """A client that hung up is what these tests are about."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("POSECLI_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serving, lock = Server(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                serving.asked.append(Asked(self.path, self.headers.get("Range"), self.headers.get("If-Range")))
                steps = serving.steps.get(self.path, [Server.status(404)])
                step = steps.pop(0) if len(steps) > 1 else steps[0]
            step(self)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with _Quiet(("127.0.0.1", 0), Handler) as listening:
        serving.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.released.set()
        listening.shutdown()
        thread.join()


@pytest.fixture
def content() -> bytes:
    return CONTENT


@pytest.fixture
def other() -> bytes:
    return OTHER


@pytest.fixture
def sha256() -> str:
    return hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def other_sha256() -> str:
    return hashlib.sha256(OTHER).hexdigest()
