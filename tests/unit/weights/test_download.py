"""Downloads against a real server on the loopback: the right file, or one clear line; never a wrong file."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request

import pytest

from posecli.download import Patience, download, locked
from posecli.download.connection import Failure, _Redirects
from posecli.errors import OutputError, WeightsError

NUM_BYTES = 256 * 1200
HALF = NUM_BYTES // 2
HURRIED = Patience(silence_s=0.25, attempts=3, pause_s=0.01, progress_bytes=50_000, seed=1)

Fetch = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.safetensors"


@pytest.fixture
def fetch(path: Path, sha256: str) -> Fetch:
    """`download` of the known content to ``path``, in a hurry."""

    def fetch(url: str | list[str], **options: Any) -> str:
        settings: dict[str, Any] = {"sha256": sha256, "num_bytes": NUM_BYTES, "patience": HURRIED}
        return download(url, path, **(settings | options))

    return fetch


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def failing(fetch: Fetch, *arguments: Any, **options: Any) -> str:
    """The message of a download that has to fail: one line."""
    with pytest.raises(WeightsError) as caught:
        fetch(*arguments, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


# Good servers


def test_a_download_is_verified_reported_and_leaves_nothing_else(
    server: Any, tmp_path: Path, sha256: str, content: bytes
) -> None:
    url = server.serve("/w", server.redirect("/elsewhere"))
    server.serve("/elsewhere", server.whole())
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "new folder" / "w.safetensors"
    found = download(url, path, sha256=sha256, num_bytes=NUM_BYTES, progress=lambda *row: seen.append(row))
    assert found == sha256
    assert path.read_bytes() == content
    assert left(path.parent) == ["w.safetensors"]
    assert seen[-1] == (NUM_BYTES, NUM_BYTES)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("has_size", [True, False])
def test_a_server_that_sends_chunks_of_unknown_number(
    server: Any, fetch: Fetch, path: Path, content: bytes, has_size: bool
) -> None:
    seen: list[int | None] = []
    fetch(
        server.serve("/w", server.chunked(content)),
        num_bytes=NUM_BYTES if has_size else None,
        progress=lambda done, total: seen.append(total),
    )
    assert path.read_bytes() == content
    assert set(seen) == {NUM_BYTES if has_size else None}


def test_drips_are_fine_while_bytes_come(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    start = time.monotonic()
    fetch(server.serve("/w", server.dripping(NUM_BYTES // 8, 0.1)))
    assert time.monotonic() - start > 2 * HURRIED.silence_s
    assert path.read_bytes() == content
    assert len(server.asked) == 1


def test_a_damaged_file_in_place_is_replaced_and_a_good_one_kept(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.whole())
    path.write_bytes(content[:-1])
    fetch(url)
    assert path.read_bytes() == content
    fetch(url)
    assert len(server.asked) == 1


def test_the_proxy_of_the_environment_is_asked(
    server: Any, fetch: Fetch, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("http://weights.invalid/w", server.whole())
    monkeypatch.setenv("http_proxy", server.url)
    fetch("http://weights.invalid/w")
    assert path.read_bytes() == content
    assert [asked.path for asked in server.asked] == ["http://weights.invalid/w"]


# Broken connections: continued where the content is still the same


def test_a_cut_connection_is_continued_and_the_progress_too(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.cut(HALF), server.whole())
    seen: list[int] = []
    fetch(url, progress=lambda done, total: seen.append(done))
    assert path.read_bytes() == content
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert server.asked[1].if_range == '"a"'
    assert seen == sorted(seen)
    assert left(path.parent) == ["w.safetensors"]


def test_the_next_call_goes_on_where_the_last_one_stopped(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.cut(HALF, etag=None, modified=formatdate(1e9, usegmt=True)), server.status(404))
    assert failing(fetch, url) == f"{url}: server answered 404 Not Found"
    assert left(path.parent) == ["w.safetensors.part", "w.safetensors.part.json"]
    server.serve("/w", server.whole(etag=None, modified=formatdate(1e9, usegmt=True)))
    fetch(url)
    assert path.read_bytes() == content
    assert server.ranges[-1] == f"bytes={HALF}-"
    assert server.asked[-1].if_range == formatdate(1e9, usegmt=True)


def test_a_part_that_is_already_whole_needs_no_connection(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.cut(HALF), server.status(404))
    failing(fetch, url)
    path.with_name("w.safetensors.part").write_bytes(content)
    num_asked = len(server.asked)
    fetch(url)
    assert path.read_bytes() == content
    assert len(server.asked) == num_asked


def test_a_server_without_ranges_sends_everything_again(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    fetch(server.serve("/w", server.cut(HALF), server.whole(knows_ranges=False)))
    assert path.read_bytes() == content
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_many_cuts_are_outlived_as_long_as_each_gets_further(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    def piece(handler: BaseHTTPRequestHandler) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        headers = {"ETag": '"a"', "Content-Length": str(NUM_BYTES - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{NUM_BYTES - 1}/{NUM_BYTES}"
        server.raw(content[start : start + 55_000], headers, 206 if start else 200)(handler)

    fetch(server.serve("/w", piece))
    assert path.read_bytes() == content
    assert len(server.asked) == 6 > HURRIED.attempts


def test_cuts_without_getting_further_end_after_the_agreed_attempts(server: Any, fetch: Fetch) -> None:
    url = server.serve("/w", server.cut(HALF, etag=None))
    message = failing(fetch, url)
    assert message == f"{url}: connection ended after {HALF} of {NUM_BYTES} bytes (tried 3 times)"
    assert len(server.asked) == HURRIED.attempts


def test_a_killed_process_left_a_part_that_is_continued(
    server: Any, fetch: Fetch, path: Path, content: bytes, sha256: str
) -> None:
    url = server.serve("/w", server.dripping(20_000, 0.05), server.whole())
    worker = multiprocessing.get_context("spawn").Process(
        target=download, args=(url, path), kwargs={"sha256": sha256, "num_bytes": NUM_BYTES}
    )
    worker.start()
    part = path.with_name("w.safetensors.part")
    while not (part.exists() and part.stat().st_size > 40_000):
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    fetch(url)
    assert path.read_bytes() == content
    assert int((server.ranges[-1] or "")[6:-1]) > 40_000


# Content that changes


@pytest.mark.parametrize("is_pinned", [True, False])
def test_changed_content_is_never_mixed_with_what_was_there(
    server: Any, fetch: Fetch, path: Path, other: bytes, other_sha256: str, is_pinned: bool
) -> None:
    """The server notices (If-Range) and sends the new content whole."""
    url = server.serve("/w", server.cut(HALF), server.whole(other, etag='"b"'))
    fetch(url, sha256=other_sha256 if is_pinned else lambda: None)
    assert path.read_bytes() == other
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_server_that_sends_a_part_of_other_content_is_found_out_by_its_tag(
    server: Any, fetch: Fetch, path: Path, other: bytes, other_sha256: str, is_pinned: bool
) -> None:
    headers = {"Content-Range": f"bytes {HALF}-{NUM_BYTES - 1}/{NUM_BYTES}", "ETag": '"b"', "Content-Length": str(HALF)}
    url = server.serve("/w", server.cut(HALF), server.raw(other[HALF:], headers, 206), server.whole(other, etag='"b"'))
    fetch(url, sha256=other_sha256 if is_pinned else lambda: None)
    assert path.read_bytes() == other
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_a_mixture_that_nothing_else_tells_is_found_out_by_the_checksum(
    server: Any, fetch: Fetch, path: Path, other: bytes, other_sha256: str
) -> None:
    headers = {"Content-Range": f"bytes {HALF}-{NUM_BYTES - 1}/{NUM_BYTES}", "Content-Length": str(HALF)}
    url = server.serve(
        "/w", server.cut(HALF, etag=None), server.raw(other[HALF:], headers, 206), server.whole(other, etag=None)
    )
    fetch(url, sha256=other_sha256)
    assert path.read_bytes() == other
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_without_a_tag_and_a_checksum_nothing_is_continued(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    fetch(server.serve("/w", server.cut(HALF, etag='W/"weak"'), server.whole()), sha256=lambda: None)
    assert path.read_bytes() == content
    assert server.ranges == [None, None]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda part, note: note.write_text("no JSON"),
        lambda part, note: note.unlink(),
        lambda part, note: note.write_text(json.dumps({"url": 3, "etag": None, "last_modified": None, "total": "x"})),
        lambda part, note: part.write_bytes(b"x" * (NUM_BYTES + 1)),
        lambda part, note: part.write_bytes(b"x" * HALF),
        lambda part, note: part.write_bytes(b"x" * NUM_BYTES),
    ],
    ids=["bad note", "no note", "wrong note", "too long", "other bytes", "other bytes, as many"],
)
def test_a_part_that_cannot_be_right_is_not_used(
    server: Any, fetch: Fetch, path: Path, content: bytes, spoil: Callable[[Path, Path], object]
) -> None:
    url = server.serve("/w", server.cut(HALF), server.status(404))
    failing(fetch, url)
    spoil(path.with_name("w.safetensors.part"), path.with_name("w.safetensors.part.json"))
    server.serve("/w", server.whole())
    fetch(url)
    assert path.read_bytes() == content
    assert left(path.parent) == ["w.safetensors"]


@pytest.mark.parametrize(
    ("found", "status"),
    [("bytes 5-9/10", 206), (f"bytes {HALF}-{HALF}/{NUM_BYTES + 1}", 206), ("nonsense", 206), ("bytes */5", 416)],
)
def test_a_range_that_was_not_asked_for_starts_afresh(
    server: Any, fetch: Fetch, path: Path, content: bytes, found: str, status: int
) -> None:
    odd = server.raw(b"x", {"Content-Range": found, "Content-Length": "1"}, status)
    fetch(server.serve("/w", server.cut(HALF), odd, server.whole()))
    assert path.read_bytes() == content
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_the_right_content_from_the_wrong_place_is_not_appended(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    """Tag and size are right, and no checksum would tell."""
    headers = {"Content-Range": f"bytes 0-{HALF - 1}/{NUM_BYTES}", "ETag": '"a"', "Content-Length": str(HALF)}
    url = server.serve("/w", server.cut(HALF), server.raw(content[:HALF], headers, 206), server.whole())
    fetch(url, sha256=lambda: None)
    assert path.read_bytes() == content
    assert server.ranges == [None, f"bytes={HALF}-", None]


# Answers that are none


@pytest.mark.parametrize("code", [403, 404, 410, 416])
def test_a_refusal_is_one_line_and_not_asked_again(server: Any, fetch: Fetch, path: Path, code: int) -> None:
    url = server.serve("/w", server.status(code), server.whole())
    assert failing(fetch, url).startswith(f"{url}: server answered {code} ")
    assert (len(server.asked), left(path.parent)) == (1, [])


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_asked_again(server: Any, fetch: Fetch, path: Path, content: bytes, code: int) -> None:
    fetch(server.serve("/w", server.status(code), server.whole()))
    assert path.read_bytes() == content


def test_a_fault_that_stays_ends_after_the_agreed_attempts(server: Any, fetch: Fetch) -> None:
    url = server.serve("/w", server.status(500))
    assert failing(fetch, url) == f"{url}: server answered 500 Internal Server Error (tried 3 times)"
    assert len(server.asked) == HURRIED.attempts


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        ("7", 7.0),
        ("3600", 60.0),
        # named: workers that collect it in different seconds must agree on what it is called
        pytest.param(formatdate(time.time() + 3600, usegmt=True), 60.0, id="in an hour"),
        ("soon", None),
        (formatdate(0), None),
    ],
)
def test_retry_after_is_honoured_up_to_a_cap(
    server: Any, fetch: Fetch, path: Path, content: bytes, asked_for: str, waited: float | None
) -> None:
    """403 with the time to wait means later, too; without it, no."""
    pauses: list[float] = []
    patience = Patience(pause_s=0.5, max_retry_after_s=60.0, seed=1, sleep=pauses.append)
    fetch(server.serve("/w", server.status(503, Retry_After=asked_for), server.whole()), patience=patience)
    assert path.read_bytes() == content
    assert len(pauses) == 1
    assert pauses[0] == waited if waited is not None else 0.25 <= pauses[0] <= 0.5


def test_a_refusal_with_a_time_to_wait_is_asked_again(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    fetch(server.serve("/w", server.status(403, Retry_After="0"), server.whole()))
    assert path.read_bytes() == content


def test_pauses_grow_to_a_bound_and_the_seed_decides_the_jitter() -> None:
    patience = Patience(pause_s=1.0, max_pause_s=10.0)
    pauses = [patience.pause(k, None, Random(3)) for k in range(1, 8)]
    assert pauses == [patience.pause(k, None, Random(3)) for k in range(1, 8)]
    assert all(min(2.0 ** (k - 1), 10.0) / 2 <= pause <= min(2.0 ** (k - 1), 10.0) for k, pause in enumerate(pauses, 1))


def test_a_silent_server_times_out_and_is_continued(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    fetch(server.serve("/w", server.stalling(HALF), server.whole()))
    assert path.read_bytes() == content
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("says_nothing", [True, False])
def test_a_server_that_stays_silent_ends_in_one_line(server: Any, fetch: Fetch, says_nothing: bool) -> None:
    url = server.serve("/w", server.mute() if says_nothing else server.stalling(0))
    start = time.monotonic()
    assert failing(fetch, url) == f"{url}: no byte came for 0.25 s (tried 3 times)"
    assert time.monotonic() - start < 5.0


def test_a_server_that_is_not_there_is_an_error_with_a_remedy(server: Any, fetch: Fetch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/w"
    with pytest.raises(WeightsError, match="cannot be reached: .*refused.* \\(tried 3 times\\)") as caught:
        fetch(url)
    assert caught.value.hint is not None


def test_bytes_that_are_no_http_are_one_line(server: Any, fetch: Fetch) -> None:
    url = server.serve("/w", lambda handler: handler.wfile.write(b"garbage\r\n\r\n"))
    assert "connection broke: " in failing(fetch, url)


# Lies about the length


@pytest.mark.parametrize("more", [100, -100])
def test_a_known_size_is_held_against_the_promise(
    server: Any, fetch: Fetch, path: Path, content: bytes, more: int
) -> None:
    url = server.serve("/w", server.raw(content, {"Content-Length": str(NUM_BYTES + more)}))
    assert failing(fetch, url) == f"{url}: server offers {NUM_BYTES + more} bytes, expected {NUM_BYTES}"
    assert (len(server.asked), left(path.parent)) == (1, [])


def test_without_a_known_size_a_longer_promise_is_not_kept(server: Any, fetch: Fetch, content: bytes) -> None:
    url = server.serve("/w", server.raw(content, {"Content-Length": str(NUM_BYTES + 100)}))
    message = failing(fetch, url, num_bytes=None)
    assert message == f"{url}: connection ended after {NUM_BYTES} of {NUM_BYTES + 100} bytes (tried 3 times)"


def test_without_a_known_size_a_shorter_promise_gives_another_checksum(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.raw(content, {"Content-Length": str(NUM_BYTES - 100)}))
    assert "checksum is " in failing(fetch, url, num_bytes=None)
    assert left(path.parent) == []


def test_a_server_without_a_promise_is_stopped_at_the_known_size(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    url = server.serve("/w", server.raw(content + b"more", {}))
    assert failing(fetch, url) == f"{url}: server sends more than the expected {NUM_BYTES} bytes"
    assert left(path.parent) == []


def test_the_cap_holds_with_and_without_a_promise(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    url = server.serve("/w", server.whole())
    message = failing(fetch, url, num_bytes=None, max_bytes=HALF)
    assert message == f"{url}: server offers {NUM_BYTES} bytes, more than the {HALF} allowed"
    server.serve("/w", server.chunked(content))
    assert "sends more than" in failing(fetch, url, num_bytes=None, max_bytes=HALF)
    assert left(path.parent) == []


def test_content_nobody_knows_must_have_an_end(server: Any, fetch: Fetch, path: Path, content: bytes) -> None:
    url = server.serve("/w", server.raw(content, {}))
    assert "does not say how long the file is" in failing(fetch, url, sha256=lambda: None, num_bytes=None)
    server.serve("/w", server.chunked(content[:HALF], is_ended=False))
    assert "connection broke" in failing(fetch, url, sha256=lambda: None, num_bytes=None)
    assert not path.exists()


def test_compressed_answers_are_refused(server: Any, fetch: Fetch, content: bytes) -> None:
    url = server.serve("/w", server.raw(content, {"Content-Length": str(NUM_BYTES), "Content-Encoding": "gzip"}))
    assert "compressed" in failing(fetch, url)


def test_wrong_checksum_keeps_nothing_and_says_both(server: Any, fetch: Fetch, path: Path, sha256: str) -> None:
    url = server.serve("/w", server.whole())
    message = failing(fetch, url, sha256="0" * 64)
    assert message == f"{url}: checksum is {sha256[:12]}..., expected 000000000000...; nothing was kept"
    assert (len(server.asked), left(path.parent)) == (1, [])


def test_what_the_caller_refuses_is_not_kept(server: Any, fetch: Fetch, path: Path, sha256: str) -> None:
    def refuse(part: Path, found: str) -> None:
        assert (part.stat().st_size, found) == (NUM_BYTES, sha256)
        raise WeightsError("not what I wanted")

    url = server.serve("/w", server.whole())
    assert failing(fetch, url, accept=refuse) == f"{url}: not what I wanted"
    assert left(path.parent) == []


# Redirects


def test_redirects_in_a_circle_and_without_end_are_one_line(server: Any, fetch: Fetch) -> None:
    url = server.serve("/a", server.redirect("/b"))
    server.serve("/b", server.redirect("/a"))
    assert failing(fetch, url).startswith(f"{url}: server redirects in a circle")
    for k in range(20):
        server.serve(f"/{k}", server.redirect(f"/{k + 1}"))
    assert failing(fetch, server.url + "/0") == f"{server.url}/0: server redirects more than 8 times"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/w"])
def test_redirects_leave_http_for_nothing_else(server: Any, fetch: Fetch, target: str) -> None:
    assert target in failing(fetch, server.serve("/w", server.redirect(target)))
    assert len(server.asked) == 1


def test_redirects_from_https_to_http_are_refused() -> None:
    follow: Any = partial(_Redirects().redirect_request, fp=BytesIO(), code=302, msg="Found", headers={})
    with pytest.raises(
        Failure, match=r"https://a/w: server redirects from https to plain http \(http://b/w\), refused"
    ):
        follow(Request("https://a/w"), newurl="http://b/w")
    followed = follow(Request("http://a/w"), newurl="https://b/w")
    assert followed is not None
    assert followed.full_url == "https://b/w"


def test_a_redirect_with_an_endless_body_is_followed_all_the_same(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        server.raw(b"", {"Location": "/good"}, 302)(handler)
        while not server.released.is_set():
            handler.wfile.write(b"x" * 100_000)

    server.serve("/good", server.whole())
    fetch(server.serve("/w", endless))
    assert path.read_bytes() == content


# Mirrors


def test_mirrors_are_tried_in_order_and_may_finish_what_another_began(
    server: Any, fetch: Fetch, path: Path, content: bytes
) -> None:
    first = server.serve("/first", server.cut(HALF), server.status(404))
    fetch([first, server.serve("/second", server.whole(etag='"mirror"')), server.serve("/third", server.whole())])
    assert path.read_bytes() == content
    assert [asked.path for asked in server.asked] == ["/first", "/first", "/second"]
    assert server.asked[-1].range == f"bytes={HALF}-"
    assert server.asked[-1].if_range is None


def test_when_no_mirror_gives_it_the_line_names_every_one(server: Any, fetch: Fetch) -> None:
    urls = [server.serve("/a", server.status(404)), server.serve("/b", server.status(403))]
    message = failing(fetch, urls)
    assert message == (
        f"w.safetensors: none of 2 addresses gave it: {urls[0]}: server answered 404 Not Found; "
        f"{urls[1]}: server answered 403 Forbidden"
    )


# This machine


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/w", "w.safetensors"])
def test_only_http_addresses_are_opened(url: str, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSECLI_OFFLINE")
    assert "not an http or https address" in failing(fetch, url)


def test_content_nobody_knows_does_not_come_by_plain_http_from_elsewhere(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSECLI_OFFLINE")
    assert "has to come by https" in failing(fetch, "http://weights.invalid/w", sha256=lambda: None)


def test_no_address_is_an_error(fetch: Fetch) -> None:
    assert "no address" in failing(fetch, [])


def test_offline_asks_nobody(server: Any, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSECLI_OFFLINE", "1")
    assert (
        failing(fetch, server.serve("/w", server.whole()))
        == "w.safetensors: not on this machine, and posecli is offline"
    )
    assert server.asked == []


def test_a_full_disk_is_told_before_a_byte_is_written(
    server: Any, fetch: Fetch, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100_000})())
    with pytest.raises(OutputError, match=r"w\.safetensors: needs 0\.3 MB, .* has 0\.1 MB free") as caught:
        fetch(server.serve("/w", server.whole()))
    assert "POSECLI_HOME" in (caught.value.hint or "")
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_told(server: Any, tmp_path: Path, sha256: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        download(server.serve("/w", server.whole()), tmp_path / "file" / "w", sha256=sha256)
    assert server.asked == []


def test_two_processes_fetch_once_and_both_succeed(server: Any, path: Path, content: bytes, sha256: str) -> None:
    """The second waits for the lock of the first and finds the file there."""
    url = server.serve("/w", server.dripping(NUM_BYTES // 5, 0.1))
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=download, args=(url, path), kwargs={"sha256": sha256, "num_bytes": NUM_BYTES})
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(server.asked) == 1
    assert path.read_bytes() == content


def test_an_impatient_lock_says_whether_it_is_held(tmp_path: Path) -> None:
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock", is_patient=False) as second:
        assert (first, second) == (True, False)
    with locked(tmp_path / "lock", is_patient=False) as third:
        assert third


def test_a_patient_lock_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
