"""Downloads against a real server on the loopback: whole and verified, or an error and nothing on disk."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from posecli.download import download
from posecli.errors import WeightsError

CONTENT = bytes(range(256)) * 12000  # three chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT in several truthful and untruthful ways; remembers what it was asked."""

    url: str
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("POSECLI_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.requests.append(self.path)
            if self.path == "/missing":
                self.send_error(404, "Not Found")
                return
            body = CONTENT + b"more" if self.path in {"/large", "/endless"} else CONTENT
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
                return
            if self.path == "/slow":
                time.sleep(0.5)
            self.send_response(200)
            if self.path != "/endless":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/truncated" else body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        serving = Server(url=f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        listening.shutdown()
        thread.join()


def fetch(url: str, path: Path, *, sha256: str = SHA256) -> None:
    download(url, path, sha256=sha256, num_bytes=len(CONTENT), timeout_s=5.0)


def visible_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("page", ["good", "moved"])
def test_download_writes_the_verified_file_and_reports_every_chunk(server: Server, tmp_path: Path, page: str) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "new folder" / "w.safetensors"
    download(
        f"{server.url}/{page}",
        path,
        sha256=SHA256,
        num_bytes=len(CONTENT),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == CONTENT
    assert visible_files(path.parent) == ["w.safetensors"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("missing", "server answered 404 Not Found"),
        ("large", f"server offers {len(CONTENT) + 4} bytes, expected {len(CONTENT)}"),
        ("endless", f"server sends more than the expected {len(CONTENT)} bytes"),
        ("truncated", f"connection ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"),
    ],
)
def test_a_download_that_goes_wrong_names_the_address_and_leaves_nothing(
    server: Server, tmp_path: Path, page: str, message: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch(f"{server.url}/{page}", tmp_path / "w.safetensors")
    assert caught.value.message == f"{server.url}/{page}: {message}"
    assert visible_files(tmp_path) == []


def test_wrong_checksum_keeps_nothing_and_says_both(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"checksum is {SHA256[:12]}..., expected 000000000000...; nothing was kept"):
        fetch(f"{server.url}/good", tmp_path / "w.safetensors", sha256="0" * 64)
    assert visible_files(tmp_path) == []


def test_a_damaged_file_in_place_is_replaced(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(CONTENT[:-1])
    fetch(f"{server.url}/good", path)
    assert path.read_bytes() == CONTENT


def test_offline_asks_nobody(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSECLI_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"w\.safetensors: not on this machine, and posecli is offline"):
        fetch(f"{server.url}/good", tmp_path / "w.safetensors")
    assert server.requests == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/w", "w.safetensors"])
def test_only_http_addresses_are_opened(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSECLI_OFFLINE")
    with pytest.raises(WeightsError, match="not an http or https address"):
        fetch(url, tmp_path / "w.safetensors")


def test_a_server_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSECLI_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/good"
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        fetch(url, tmp_path / "w.safetensors")
    assert caught.value.hint is not None


def test_two_processes_fetch_once_and_both_succeed(server: Server, tmp_path: Path) -> None:
    """The second waits for the lock of the first and finds the file there."""
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "w.safetensors"
    workers = [
        context.Process(
            target=download, args=(f"{server.url}/slow", path), kwargs={"sha256": SHA256, "num_bytes": len(CONTENT)}
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert server.requests == ["/slow"]
    assert path.read_bytes() == CONTENT
