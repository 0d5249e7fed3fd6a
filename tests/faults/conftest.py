"""Batches that meet with faults, what they leave behind, and a table of it all."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HOST = Path(__file__).with_name("fault_host.py")
PATIENCE_S = 240.0  # a busy machine; nothing here takes long
SIZE = (96, 64)
FRAMES = {"a.mp4": 80, "b.mp4": 40, "sub/c.mp4": 15}
_BOOKS = re.compile(r"manifest[-\w]*\.jsonl|summary[-\w]*\.json|\.batch-\d+-of-\d+\.lock")
_EVENTS = {"write": 0x2, "moved": 0x80, "create": 0x100}

Bytes = dict[str, bytes]


@dataclass
class Row:
    """What a fault has cost."""

    tried: int = 0
    lost_frames: int = 0
    wrong_outputs: int = 0
    hangs: int = 0
    writes_outside: int = 0


@dataclass
class Tally:
    """Rows by fault."""

    rows: dict[str, Row] = field(default_factory=dict)

    def row(self, fault: str) -> Row:
        return self.rows.setdefault(fault, Row())

    def table(self) -> str:
        heads = ("tried", "lost frames", "wrong outputs", "hangs", "writes outside")
        lines = ["", "".join([f"{'fault':<44}", *(f"{head:>16}" for head in heads)])]
        for fault, row in self.rows.items():
            numbers = (row.tried, row.lost_frames, row.wrong_outputs, row.hangs, row.writes_outside)
            lines.append("".join([f"{fault:<44}", *(f"{number:>16}" for number in numbers)]))
        return "\n".join([*lines, ""])


class Watch:
    """Events in folders as the kernel tells them: no write is missed, and nobody looks again and again."""

    def __init__(self, *folders: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0
        for folder in folders:
            mask = sum(_EVENTS.values())
            assert self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) >= 0, folder

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def events(self, wait_s: float) -> Iterator[tuple[str, str]]:
        """What has happened: kind, name."""
        if not select.select([self._fd], [], [], wait_s)[0]:
            return
        data, at = os.read(self._fd, 1 << 16), 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
            at += 16 + length
            yield from ((kind, name) for kind, bit in _EVENTS.items() if mask & bit)


class Host:
    """See `fault_host`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HOST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.can_mount = bool(self._answer()["can_mount"])
        self.groups: set[int] = set()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def do(self, *words: str) -> None:
        """Run a program where the batches are."""
        answer = self.ask(do="run", words=list(words))
        assert answer["code"] == 0, answer["said"]

    def view(self, path: Path) -> Path:
        """A path as the batches see it."""
        return Path(f"/proc/{self._process.pid}/root") / path.relative_to("/")

    def close(self) -> None:
        for group in self.groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the host of the batches has died"
        return dict(json.loads(line))


class Batch:
    """A batch under way."""

    def __init__(self, host: Host, row: Row, process_id: int, said: Path) -> None:
        self._host, self._row, self.process_id, self._said = host, row, process_id, said

    @property
    def code(self) -> int | None:
        """Exit code; ``None``: it runs."""
        return self._host.ask(do="poll", process_id=self.process_id)["code"]

    @property
    def said(self) -> str:
        return self._said.read_text()

    @property
    def plainly_said(self) -> str:
        """Without the breaks of lines."""
        return " ".join(self.said.split())

    def children(self) -> list[int]:
        """Its processes, workers and all."""
        return [child for child in _processes() if _parent(child) == self.process_id]

    def at_work_on(self, name: str) -> int | None:
        """The child that has this file open; any, if it has closed it by now."""
        children = self.children()
        for child in children:
            with contextlib.suppress(OSError):
                for fd in Path(f"/proc/{child}/fd").iterdir():
                    if os.readlink(fd).endswith(name):
                        return child
        return children[-1] if children else None

    def wait(self) -> int:
        """Its exit code; its processes are gone too."""
        deadline = time.monotonic() + PATIENCE_S
        code = self.code
        while code is None or self._remains():
            if time.monotonic() > deadline:
                self._row.hangs += 1
                os.killpg(self.process_id, signal.SIGKILL)
                pytest.fail(f"hangs: {self.said}")
            time.sleep(0.05)
            code = self.code
        assert "Traceback" not in self.said, self.said
        return code

    def wait_for(self, watch: Watch, kind: str, name: str, count: int = 1) -> str | None:
        """The name of the file to which it has happened so many times; ``None`` if the batch has ended before."""
        pattern, deadline = re.compile(name), time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event, file in watch.events(0.1):
                if event == kind and pattern.fullmatch(file):
                    count -= 1
                    if not count:
                        return file
            if self.code is not None:
                return None
        self._row.hangs += 1
        pytest.fail(f"nothing happens to {name}: {self.said}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """It and its workers stand still meanwhile, so that a busy machine does not let them finish first."""
        os.killpg(self.process_id, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process_id, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.process_id, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def kill_all(self) -> None:
        """Its workers too, at one blow; ``False``: it has just ended by itself."""
        os.killpg(self.process_id, signal.SIGKILL)
        assert self.wait() in (0, -signal.SIGKILL)

    def _remains(self) -> bool:
        return any(_group(process) == self.process_id for process in _processes())


@dataclass
class Bench:
    """A place for one test: its own output folder, everything around it watched.

    Attributes:
        root: Holds videos, output folder, and the working, temporary and home folders of the batches.
        expected: Files of an undisturbed batch and their content.
    """

    root: Path
    videos: Path
    host: Host
    tally: Tally
    fault: str
    weights: Path
    expected: Bytes

    def __post_init__(self) -> None:
        self.out = self.root / "poses"
        self._numbers = itertools.count()
        self.row = self.tally.row(self.fault)
        for name in ("folder", "temporary", "home"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._said = self.root.with_name(f"{self.root.name}-said")
        self._said.mkdir(exist_ok=True)
        self._before = self.around()

    def start(
        self,
        *more: str,
        videos: Path | None = None,
        out: Path | None = None,
        limits: Mapping[str, int] | None = None,
        prelude: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Batch:
        """Begin the command; the same each time, unless told otherwise."""
        words = ["batch", str(videos or self.videos), "--out-dir", str(out or self.out), "--overlay", "--quiet"]
        words += ["--workers", "1"] if "--workers" not in more else []
        return self._start([*words, *more], limits, prelude, environment)

    def annotate(
        self, name: str, *more: str, prelude: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Batch:
        """Begin to annotate one video alone, with the files that a batch would write."""
        stem = str(self.out / name.removesuffix(".mp4"))
        words = ["annotate", str(self.videos / name), "--out", f"{stem}.poses.json", "--overlay", f"{stem}.overlay.mp4"]
        return self._start([*words, *more], None, prelude, environment)

    def _start(
        self,
        words: list[str],
        limits: Mapping[str, int] | None,
        prelude: Path | None,
        environment: Mapping[str, str] | None,
    ) -> Batch:
        words += [
            "--weights",
            str(self.weights),
            "--head-weights",
            "none",
            "--detector",
            "full-frame",
            "--threads",
            "1",
        ]
        said = self._said / f"{next(self._numbers)}.txt"
        home = str(self.root / "home")
        answer = self.host.ask(
            do="start",
            words=words,
            said=str(said),
            folder=str(self.root / "folder"),
            environment={
                "TMPDIR": str(self.root / "temporary"),
                "HOME": home,
                "POSECLI_HOME": home,
                **(environment or {}),
            },
            limits=dict(limits or {}),
            prelude=None if prelude is None else str(prelude),
        )
        self.host.groups.add(answer["process_id"])
        return Batch(self.host, self.row, answer["process_id"], said)

    def run(self, *more: str, **how: Any) -> int:
        """Run the command to its end."""
        return self.start(*more, **how).wait()

    def finish(self, **how: Any) -> None:
        """The same command once more, undisturbed: everything is there, and nothing else."""
        batch = self.start(**how)
        assert batch.wait() == 0, batch.said
        self.check(is_complete=True)

    def watch(self) -> Watch:
        """Of the output folder, made here if need be."""
        folders = {(self.out / name).parent for name in FRAMES}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return Watch(*sorted(folders))

    def check(self, *, is_complete: bool = False, out: Path | None = None) -> None:
        """What is there is right; when the batch has come to its end, nothing is missing and nothing lies about."""
        self.row.tried += not is_complete
        found = contents(out or self.out)
        wrong = [name for name, data in found.items() if name in self.expected and data != self.expected[name]]
        strange = [name for name in found if name not in self.expected and not is_book(name) and not is_hidden(name)]
        changed = self._changes()
        self.row.wrong_outputs += len(wrong) + len(strange)
        self.row.writes_outside += len(changed)
        assert (wrong, strange, changed) == ([], [], [])
        if is_complete:
            lost = num_frames(self.expected) - num_frames(found)
            self.row.lost_frames += max(0, lost)
            assert lost == 0
            assert {name for name in found if not is_book(name) and not name.endswith(".run.json")} == set(
                self.expected
            )

    def around(self) -> dict[str, tuple[int, int]]:
        """Everything but the output folder."""
        roots = {self.root, self.videos.parent}
        files = (path for root in roots for path in root.rglob("*") if self.out not in (path, *path.parents))
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()}

    def settle(self) -> None:
        """The test itself has changed something."""
        self._before = self.around()

    def _changes(self) -> list[str]:
        now = self.around()
        return sorted(name for name in {*now, *self._before} if now.get(name) != self._before.get(name))


def contents(out: Path) -> Bytes:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def is_book(name: str) -> bool:
    return _BOOKS.fullmatch(name) is not None


def is_hidden(name: str) -> bool:
    """What an interrupted batch may leave until the next one; and the run reports, which tell of times."""
    return Path(name).name.startswith(".") or name.endswith(".run.json")


def num_frames(files: Bytes) -> int:
    return sum(len(json.loads(data)["images"]) for name, data in files.items() if name.endswith(".poses.json"))


def _processes() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc").glob("[0-9]*"))


def _stat(process: int) -> list[str]:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "0", "0"]
    return fields if fields[0] not in "ZX" else ["X", "0", "0"]


def _parent(process: int) -> int:
    return int(_stat(process)[1])


def _group(process: int) -> int:
    return int(_stat(process)[2])


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    """Printed at the end."""
    tally = Tally()
    yield tally
    sys.stdout.write(tally.table())


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    if sys.platform != "linux":
        pytest.skip("processes, limits and disks are those of Linux")
    host = Host()
    yield host
    host.close()


@pytest.fixture(scope="session")
def common_videos(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("common") / "videos"
    (folder / "sub").mkdir(parents=True)
    for name, count in FRAMES.items():
        make_video(folder / name, count, SIZE)
    return folder


@pytest.fixture(scope="session")
def undisturbed(host: Host, common_videos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    """What a batch leaves that nothing happens to."""
    root = tmp_path_factory.mktemp("undisturbed")
    bench = Bench(root, common_videos, host, Tally(), "none", tiny_weights, {})
    assert bench.run() == 0
    files = {name: data for name, data in contents(bench.out).items() if not (is_book(name) or is_hidden(name))}
    assert num_frames(files) == sum(FRAMES.values())
    assert len(files) == 2 * len(FRAMES)
    return files


@pytest.fixture
def make_bench(
    host: Host, tally: Tally, common_videos: Path, tiny_weights: Path, undisturbed: Bytes, tmp_path: Path
) -> Iterator[Callable[[str], Bench]]:
    """A bench for a fault; videos that the test changes are put right afterwards (their paths are in the poses, so no copies)."""
    before = contents(common_videos)
    yield lambda fault: Bench(tmp_path / "bench", common_videos, host, tally, fault, tiny_weights, undisturbed)
    for name, data in before.items():
        if (common_videos / name).read_bytes() != data:
            (common_videos / name).write_bytes(data)
