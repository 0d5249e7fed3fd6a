"""Which videos a batch is about, and where the results of each go: the tree of the inputs, again."""

from __future__ import annotations

import glob
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os.path import abspath, commonpath, expanduser, isdir, realpath
from pathlib import Path

from posecli.batch.job import Job, OutputFiles, printable
from posecli.batch.outcome import Failure
from posecli.batch.request import BatchRequest
from posecli.errors import ConfigError, VideoError

LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})
# with the endings that posecli puts around a name while it works, a file name may not exceed 255 bytes
_MAX_STEM_BYTES = 200


@dataclass(frozen=True, slots=True)
class Found:
    """A video, and its place in the tree of outputs: a relative path, still with the video's own suffix."""

    video: Path
    place: Path
    problem: Failure | None = None


def plan_jobs(request: BatchRequest) -> list[Job]:
    """All videos of a request, its shard only, in the order of their names.

    A folder's tree is mirrored from that folder down, a pattern's from its fixed part down; single files go to the top. In a list,
    relative paths are mirrored as written, absolute ones from the folder they have in common. Videos that differ in nothing but the
    suffix keep it in the names of their results; those that differ only in big and small letters get a mark. What a batch has
    written itself is no input.

    Raises:
        VideoError: An input does not exist, cannot be read, or stands for nothing.
        ConfigError: Two videos would write the same file.
    """
    found: dict[Path, Found] = {}
    for item in request.inputs:
        for each in _expand(item, request):
            found.setdefault(_real(each.video), _looked_at(each))
    jobs = _name_jobs(_without_outputs(found, request), request)
    own = {_real(path) for job in jobs for path in _all_outputs(request.out_dir, job.name).paths()}
    return [job for job in jobs if _real(job.video) not in own and request.shard.holds(job.name)]


def _real(path: Path) -> Path:
    """Where links lead; unlike `Path.resolve`, for any path, one with links in a circle too."""
    return Path(realpath(path))


def _looked_at(each: Found) -> Found:
    """With the problem, where there is nothing that can be read to its end: a link that leads nowhere, a pipe."""
    from posecli.video.no_video import check_file

    if each.problem is not None or isdir(each.video):
        return each
    try:
        check_file(each.video)
    except VideoError as error:
        return replace(each, problem=Failure.of("input", error.message, error.hint, exit_code=error.exit_code))
    return each


def _expand(item: str, request: BatchRequest) -> Iterator[Found]:
    try:
        yield from _look_up(item, request)
    except OSError as error:
        raise VideoError(
            f"{printable(item)}: cannot be searched: {error.strerror}", hint="check its name and permissions"
        ) from error


def _look_up(item: str, request: BatchRequest) -> Iterator[Found]:
    path = Path(expanduser(item))  # unlike that of Path, it leaves ~x alone where there is no user x
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        yield from _read_list(path, request)
    elif path.is_dir():
        for video in _search(path, request):
            yield Found(video, _below(video, path))
    elif path.exists():
        yield Found(path, Path(path.name))
    elif glob.has_magic(item):
        base = _fixed_part(path)
        for video in _search(path, request):
            yield Found(video, video.relative_to(base))
    else:
        raise VideoError(f"{printable(path)}: no such file or folder")


def _search(path: Path, request: BatchRequest) -> list[Path]:
    # numpy and OpenCV come with it: not before there is something to look for
    from posecli.video.discover import discover

    return discover([path], recursive=request.is_recursive)


def _below(video: Path, folder: Path) -> Path:
    """A folder of images is itself the input."""
    return Path(video.resolve().name) if video == folder else video.relative_to(folder)


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before the first one with a wildcard."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _read_list(path: Path, request: BatchRequest) -> Iterator[Found]:
    try:
        # not splitlines: it breaks lines at characters that names may hold
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").replace("\0", "\ufffd").split("\n")
    except OSError as error:
        raise VideoError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    named = [Path(expanduser(line)) for line in map(str.strip, lines) if line and not line.startswith("#")]
    if not named:
        raise VideoError(f"{printable(path)}: names no video", hint="a list has one path a line")
    place_of = _places(named)
    for line in named:
        video = line if line.is_absolute() or _is_there(line) else path.parent / line
        place = place_of(line)
        if not _is_there(video):
            what = f"{printable(line)}: no such file or folder"
            yield Found(video, place, Failure.of("input", what, f"named in {printable(path)}", exit_code=5))
        elif video.is_dir():
            for each in _search(video, request):
                yield Found(each, place if each == video else place / each.relative_to(video))
        else:
            yield Found(video, place)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have, or a folder that may not be looked into
        return False


def _places(named: list[Path]) -> Callable[[Path], Path]:
    """Relative paths as written, the others from the folder they have in common."""
    others = [_absolute(path) for path in named if _is_elsewhere(path)]
    base = Path(commonpath([path.parent for path in others])) if others else Path()
    return lambda path: _absolute(path).relative_to(base) if _is_elsewhere(path) else path


def _absolute(path: Path) -> Path:
    text = abspath(path)
    return Path(text[1:] if text.startswith("//") else text)  # two slashes mean nothing to the systems we know


def _is_elsewhere(path: Path) -> bool:
    return path.is_absolute() or ".." in path.parts


def _without_outputs(found: dict[Path, Found], request: BatchRequest) -> list[Found]:
    """Leave out what lies in an output folder inside an input folder; single files that were named are meant."""
    out_dir = _real(request.out_dir)
    roots = [Path(item).resolve() for item in request.inputs if isdir(item)]
    is_inside = any(root in out_dir.parents for root in roots)
    return [
        each
        for resolved, each in found.items()
        if not (is_inside and (out_dir == resolved or out_dir in resolved.parents)) and not _is_our_sheets(resolved)
    ]


def _is_our_sheets(folder: Path) -> bool:
    """Contact sheets make an output folder look like a folder of images."""
    from posecli.video.image_source import list_images

    # unlike that of Path, this isdir takes any name
    return isdir(folder) and all(image.name.endswith(".sheet.png") for image in list_images(folder))


def _name_jobs(found: list[Found], request: BatchRequest) -> list[Job]:
    plain = Counter(_key(_plain_place(each)) for each in found)
    places = [_inside(e.place) if plain[_key(_plain_place(e))] > 1 else _plain_place(e) for e in found]
    spellings: dict[str, set[Path]] = {}
    for place in places:
        spellings.setdefault(_key(place), set()).add(place)
    jobs: dict[str, Job] = {}
    for each, place in zip(found, places, strict=True):
        own = place if len(spellings[_key(place)]) == 1 else _marked(place)
        job = _make_job(each, _short(own), request)
        other = jobs.setdefault(job.name.casefold(), job)
        if other is not job:
            raise ConfigError(
                f"{printable(other.video)} and {printable(job.video)} would both write {printable(job.files.poses)}",
                hint="give the folder that holds both, or make two batches with an --out-dir each",
            )
    return sorted(jobs.values(), key=_in_natural_order)


def _in_natural_order(job: Job) -> tuple[tuple[int, str], ...]:
    from posecli.video.image_source import natural_key

    return natural_key(Path(job.name))


def _plain_place(each: Found) -> Path:
    place = _inside(each.place)
    return place if isdir(each.video) else place.with_suffix("")


def _inside(place: Path) -> Path:
    """Nothing may be written above the output folder, however the path to a video was spelt."""
    return Path(place.name) if ".." in place.parts or place.is_absolute() else place


def _key(place: Path) -> str:
    """Some file systems see no difference between a and A."""
    return place.as_posix().casefold()


def _short(place: Path) -> Path:
    name = place.name.encode("utf-8", "surrogateescape")
    if len(name) <= _MAX_STEM_BYTES:
        return place
    mark = hashlib.sha256(name).hexdigest()[:8]
    return place.with_name(f"{name[: _MAX_STEM_BYTES - 9].decode('utf-8', 'ignore')}-{mark}")


def _marked(place: Path) -> Path:
    """For videos whose paths differ in big and small letters only: some file systems see one file in them."""
    mark = hashlib.sha256(place.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return place.with_name(f"{place.name}-{mark}")


def _make_job(found: Found, place: Path, request: BatchRequest) -> Job:
    name = f"{place.as_posix()}.poses.json"
    files = _all_outputs(request.out_dir, name)
    wanted = OutputFiles(
        files.poses,
        overlay=files.overlay if request.overlay else None,
        sheet=files.sheet if request.sheet else None,
    )
    return Job(found.video, name, wanted, found.problem)


def _all_outputs(out_dir: Path, name: str) -> OutputFiles:
    stem = name.removesuffix(".poses.json")
    return OutputFiles(out_dir / name, out_dir / f"{stem}.overlay.mp4", out_dir / f"{stem}.sheet.png")


__all__ = ["LIST_SUFFIXES", "plan_jobs"]
