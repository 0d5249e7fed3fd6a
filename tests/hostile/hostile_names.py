"""File names that are tricks: searched, mirrored into the output folder, annotated there, and all through ``posecli batch``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from os.path import realpath
from pathlib import Path

from posecli.atomic import write_atomic
from posecli.batch.job import Job, printable
from posecli.batch.plan import plan_jobs
from posecli.batch.request import BatchRequest
from posecli.batch.task import annotate_job
from posecli.errors import PoseCliError
from posecli.formats.coco import read_coco_dataset
from posecli.pipeline.settings import AnnotateSettings
from posecli.pose.checkpoint import save_network
from posecli.pose.network import PoseNetwork
from posecli.video.discover import discover
from posecli.video.source import probe
from tests.hostile.hostile_annotated import models
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_footage import footage
from tests.hostile.hostile_stills import good as good_stills
from tests.tiny_networks import POSE

NAMES = {
    "a line break": "a\nb.mp4",
    "line breaks around": "\na\r.mp4",
    "a carriage return": "a\rb.mp4",
    "colours of a terminal": "\x1b[31mred\x1b]0;title\x07.mp4",
    "control characters": "\x01\x02\x7f\x9b.mp4",
    "a tab and a vertical one": "a\tb\x0bc.mp4",
    "other ends of lines": "a\u2028b\u2029c\x85d\x1ce.mp4",
    "emoji": "🎥👩‍👩‍👧‍👦🏳️‍🌈.mp4",
    "right to left": "\u202egpj.\u202c.mp4",
    "no width": "\u200b\ufeff.mp4",
    "no UTF-8": "\udcff\udcfe\udc80.mp4",
    "half a character": "gr\udcc3.mp4",
    "250 bytes": "x" * 246 + ".mp4",
    "255 bytes": "x" * 251 + ".mp4",
    "250 bytes of emoji": "🎥" * 61 + ".mp4",
    "250 bytes of no UTF-8": "\udcff" * 246 + ".mp4",
    "accents piled up": "e" + "\u0301" * 120 + ".mp4",
    "spaces": "  a  .mp4",
    "only spaces": "   .mp4",
    "an option": "--help.mp4",
    "another option": "-o.mp4",
    "a home": "~.mp4",
    "a home of root": "~root.mp4",
    "a home of nobody": "~no.such.user.mp4",
    "a shell's": "$(touch code-has-run);`id`|&>x.mp4",
    "a variable": "$HOME${HOME}%HOME%.mp4",
    "formats": "%s%n%d{0}{name}%.mp4",
    "markup": "[bold]<b>&amp;[/bold].mp4",
    "quotes": "'a\"b'.mp4",
    "backslashes": "..\\..\\a\\b.mp4",
    "dots": "....mp4",
    "dots before": "..a.mp4",
    "a wildcard": "*.mp4",
    "two wildcards": "**.mp4",
    "a set": "[a-z][!x].mp4",
    "half a set": "[a.mp4",
    "a question": "?.mp4",
    "braces": "{a,b}.mp4",
    "a device of Windows": "con.mp4",
    "a stream of Windows": "a:b.mp4",
    "an address": "http:127.0.0.1.mp4",
    "a protocol": "concat:a|b.mp4",
    "another protocol": "pipe:0.mp4",
    "a part of a file": "subfile,,start,0,end,9,,:x.mp4",
    "numbers of a pattern": "%05d.mp4",
    "digits": "9" * 200 + ".mp4",
    "digits of other kinds": "٣²①.mp4",
    "two suffixes": "a.mp4.mp4",
    "an upper suffix": "a.MP4",
    "our own suffix": "a.poses.json.mp4",
    "our own overlay": "a.overlay.mp4",
    "our own leftovers": "a.0123abcd.partial.mp4",
    "our manifest": "manifest.jsonl.mp4",
    "our summary": "summary.json.mp4",
    "a comment": "#a.mp4",
    "hidden": ".a.mp4",
    "hidden and nothing else": ".mp4",
}
TREES = {
    "a folder with a line break": ["a\nb/x.mp4", "a/x.mp4"],
    "a folder like a file of ours": ["manifest.jsonl/x.mp4", "y.mp4"],
    "a folder like the summary": ["summary.json/x.mp4", "y.mp4"],
    "a folder like a result": ["a.mp4", "a.poses.json/b.mp4", "a.overlay.mp4/c.mp4"],
    "a folder like a video": ["a.mp4/b.mp4"],
    "a folder like a wildcard": ["**/[a]/*.mp4"],
    "a folder of no UTF-8": ["\udcff/x.mp4", "\udcfe/x.mp4"],
    "big and small": ["A.mp4", "a.mp4", "a.MP4", "Day/x.mp4", "day/x.mp4"],
    "two ways to write an accent": ["\u00e9.mp4", "e\u0301.mp4"],
    "long ones that differ at the end": ["x" * 240 + "1.mp4", "x" * 240 + "2.mp4", "x" * 240 + "2.mov"],
    "marks of ours": ["a.mp4", "a.mov", "a.mp4.mp4"],
    "images with tricks in their names": ["seq\n/1\x1b.png", "seq\n/\udcff.png"],
    "so deep that results have no room": ["/".join(["d" * 60] * 62) + "/x.mp4", "y.mp4"],
}
LINES = (
    *(
        "../hostile.mp4",
        "../../../../../etc/passwd",
        "a/../../../x.mp4",
        "/etc/passwd",
        "/etc/../etc/passwd",
        "//etc//passwd",
    ),
    *("/dev/zero", "/dev/null", "/dev/stdin", "/dev/random", "/proc/self/mem", "/proc/self/environ", "/proc/self/fd/0"),
    *("pipe", "socket", "~no.such.user/x.mp4", "\0.mp4", "a\0b/x.mp4", "x" * 300 + ".mp4"),
    *("/" + "a/" * 2500 + "x.mp4", "file:///etc/passwd", "http://127.0.0.1:9/x.mp4", "\\\\server\\share\\x.mp4", "-"),
)
# what is made while a video is annotated has to be allowed by its name, too
_TRIED = (
    *("a line break", "colours of a terminal", "emoji", "right to left", "no UTF-8", "250 bytes", "250 bytes of emoji"),
    *(
        "250 bytes of no UTF-8",
        "only spaces",
        "an option",
        "a shell's",
        "formats",
        "backslashes",
        "two wildcards",
        "a set",
    ),
    *(
        "a protocol",
        "another protocol",
        "numbers of a pattern",
        "our own suffix",
        "our own leftovers",
        "hidden and nothing else",
    ),
)


def cases() -> list[Case]:
    """About 190."""
    models()
    return [*_searched(), *_trees(), *_links(), *_annotated(), *_lists(), *_written(), _batch()]


def _request(places: Places, *inputs: object, settings: AnnotateSettings | None = None) -> BatchRequest:
    return BatchRequest(tuple(map(str, inputs)), places.out, settings or models().settings, overlay=True, sheet=True)


def _put(places: Places, name: str, data: bytes | None = None) -> Path:
    """A video (or image) in the folder of inputs, however deep."""
    folder = places.inside / "hostile"
    still = good_stills()[".png"]
    folder.mkdir(exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    *parents, last = name.split("/")
    for part in parents:  # step by step: the whole of a path may be longer than the system takes at once
        if not os.access(part, os.F_OK, dir_fd=here):
            os.mkdir(part, dir_fd=here)
        here, above = os.open(part, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    file = os.open(last, os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, data if data is not None else still if last.endswith(".png") else footage(".mp4"))
    os.close(file)
    os.close(here)
    return folder / name


def _plan(request: BatchRequest) -> list[Job]:
    """The jobs; all of their results must lie in the output folder, under names that can be written and said."""
    jobs = plan_jobs(request)
    real = realpath(request.out_dir)
    paths = [path for job in jobs for path in job.files.paths()]
    assert len({str(path).casefold() for path in paths}) == len(paths), "two videos for one file"
    for path in paths:
        assert realpath(path).startswith(real + os.sep), f"leads out: {path}"
        assert len(os.fsencode(path.name)) <= 231, f"no room for our endings: {path.name}"
    assert all(printable(job.name).isprintable() for job in jobs)
    return jobs


def _do(job: Job) -> None:
    """Annotate; what is wrong comes as a failure, and is raised here."""
    if job.problem is not None:
        raise PoseCliError(job.problem.message, hint=job.problem.hint)
    outcome = annotate_job(job, models())
    if outcome.failure is not None:
        assert outcome.failure.kind in ("input", "output"), outcome.failure
        assert outcome.failure.message.isprintable()
        raise PoseCliError(outcome.failure.message, hint=outcome.failure.hint)
    assert all(path.stat().st_size for path in job.files.paths())
    assert len(read_coco_dataset(job.files.poses).frames) == outcome.facts["frames"]


def _searched() -> list[Case]:
    def case(kind: str, name: str) -> Case:
        def run(places: Places) -> None:
            video = _put(places, name, b"x")
            assert discover([video]) == [video]
            (job,) = _plan(_request(places, video))
            assert job.video == video
            for item in (video.parent, video.parent / "*.[mM][pP]4", places.inside / "**" / "*.[mM][pP]4"):
                found = _plan(_request(places, item))  # hidden ones are not found: an error that names the folder
                assert [job.video for job in found] == [video], item

        return Case("file names, searched", kind, run, "hostile|**")

    return [case(kind, name) for kind, name in NAMES.items()]


def _trees() -> list[Case]:
    def case(kind: str, names: list[str]) -> Case:
        def run(places: Places) -> None:
            for name in names:
                _put(places, name)
            jobs = _plan(_request(places, places.inside / "hostile"))
            expected = {name.split("/")[0] if name.endswith(".png") else name for name in names}
            assert {str(job.video.relative_to(places.inside / "hostile")) for job in jobs} == expected
            for job in jobs[:-1]:
                annotate_job(job, models())
            _do(jobs[-1])

        return Case("file names, trees", kind, run, "")

    return [case(kind, names) for kind, names in TREES.items()]


def _links() -> list[Case]:
    """Links in circles, to nothing, to devices, and to much more than was meant; the one good video is found once."""
    targets: dict[str, dict[str, str]] = {
        "a link to itself": {"x.mp4": "x.mp4"},
        "two links to one another": {"x.mp4": "y.mp4", "y.mp4": "x.mp4"},
        "a link to nothing": {"x.mp4": "gone.mp4"},
        "a link to a device": {"x.mp4": "/dev/zero", "y.mp4": "/dev/stdin"},
        "a link to a secret": {"x.mp4": "/etc/passwd"},
        "a folder in itself": {"loop": "."},
        "a folder in its folder": {"sub/loop": ".."},
        "folders in each other": {"sub/loop": "..", "sub/again": "..", "more": "sub", "sub/deep/up": "../..", "sub/deep/on": ".."},
        "fifty links in every folder": {f"{folder}l{k}": "." if not folder else ".." for k in range(50) for folder in ("", "sub/")},
        "the same video by another name": {"z.mp4": "good.mp4", "sub/y.mp4": "../good.mp4"},
        "a chain of forty links": {f"{k}.mp4": f"{k + 1}.mp4" if k < 40 else "good.mp4" for k in range(41)},
        "a link out of the folder": {"up": "../.."},
    }  # fmt: skip

    def case(kind: str, links: dict[str, str]) -> Case:
        def run(places: Places) -> None:
            good = _put(places, "good.mp4")
            for name, target in links.items():
                link = places.inside / "hostile" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
            for item in (places.inside / "hostile", places.inside / "hostile" / "**" / "*.mp4"):
                jobs = _plan(_request(places, item))
                assert [realpath(job.video) for job in jobs].count(realpath(good)) == 1
                for job in jobs:
                    if realpath(job.video) != realpath(good):
                        assert annotate_job(job, models()).failure is not None
            _do(next(job for job in jobs if realpath(job.video) == realpath(good)))

        return Case("links", kind, run, "")

    return [case(kind, links) for kind, links in targets.items()]


def _annotated() -> list[Case]:
    def case(kind: str) -> Case:
        def run(places: Places) -> None:
            video = _put(places, NAMES[kind])
            assert probe(video).width_px == 64
            (job,) = _plan(_request(places, video))
            _do(job)
            assert [path.name for path in video.parent.iterdir()] == [video.name]

        return Case("file names, annotated", kind, run, "")

    return [case(kind) for kind in _TRIED]


def _lists() -> list[Case]:
    """Lines of a list; one good video beside them, which must not suffer."""

    def case(line: str) -> Case:
        def run(places: Places) -> None:
            good = _put(places, "good.mp4")
            _put_specials(places.inside)
            written = places.inside / "hostile.txt"
            written.write_bytes(os.fsencode(f"{line}\nhostile/good.mp4\n"))
            jobs = _plan(_request(places, written))
            (mine,) = (job for job in jobs if job.video == good)
            _do(mine)
            for job in jobs:
                if job is not mine:
                    _do(job)

        return Case("paths in a list", repr(line)[1:40], run, "")

    def folder_case(line: str) -> Case:
        def run(places: Places) -> None:
            written = places.inside / "hostile.txt"
            written.write_text(f"{line}\n")
            _plan(_request(places, written))

        return Case("paths in a list", f"{line} searched", run, "")

    return [folder_case("."), folder_case(".."), *(case(line) for line in LINES)]


def _put_specials(folder: Path) -> None:
    os.mkfifo(folder / "hostile" / "pipe.mp4")
    os.mkfifo(folder / "pipe")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # their names may not be long
        listener.bind("socket")
        os.chdir(here)


def _written() -> list[Case]:
    """What the user calls an output, written by the one way everything is written."""

    def case(kind: str) -> Case:
        def run(places: Places) -> None:
            path = places.out / NAMES[kind]
            write_atomic(path, b"x", overwrite=False)
            assert path.read_bytes() == b"x"
            assert os.listdir(places.out) == [path.name]

        return Case("file names, written", kind, run, "")

    return [case(kind) for kind in NAMES]


def _batch() -> Case:
    """All of it at once through the command, in processes of its own; then again, which finds everything done."""

    def run(places: Places) -> None:
        names = [NAMES[kind] for kind in _TRIED if not NAMES[kind].startswith(".")]
        for name in names:
            _put(places, name)
        _put(places, "sub\n/no video\x1b.mp4", b"text")
        weights = places.inside / "hostile.safetensors"
        save_network(weights, PoseNetwork(POSE).state_dict(), POSE, metadata={})
        before = {path: path.stat().st_mtime_ns for path in places.inside.rglob("*")}
        first = _posecli_batch(places, weights, "--sheet")
        assert first.returncode == 3, first.stderr[-3000:]
        assert "Traceback" not in first.stderr, first.stderr[-1500:]
        summary = json.loads((places.out / "summary.json").read_text())
        assert (summary["done"], summary["failed"]) == (len(names), 1), summary["failures"]
        again = _posecli_batch(places, weights, "--sheet", "--json")
        lines = [json.loads(line) for line in again.stdout.splitlines()]
        assert (lines[-1]["skipped"], lines[-1]["failed"], again.returncode) == (len(names), 1, 3)
        for text in (first.stdout, first.stderr, again.stderr):
            assert all(c.isprintable() or c == "\n" for c in text), "the names command the terminal"
        assert {path: path.stat().st_mtime_ns for path in places.inside.rglob("*")} == before

    return Case("posecli batch", "a folder of all these names", run)


def _posecli_batch(places: Places, weights: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posecli", "batch", str(places.inside / "hostile"), "--out-dir", str(places.out)]
    options = ["--weights", str(weights), "--detector", "full-frame", "--workers", "1", "--threads", "1", *more]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


__all__ = ["cases"]
