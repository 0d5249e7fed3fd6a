"""Which videos are meant: files, folders and globs made into one list."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from os.path import realpath
from pathlib import Path

from posecli.errors import VideoError
from posecli.video.image_source import is_image, natural_key

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .wmv .flv .mpg .mpeg .m2ts .mts .ts .3gp .ogv .vob .mxf .gif .y4m .h264 .264 .hevc .265".split()
)


def is_video(path: Path) -> bool:
    """Whether a name looks like a video; hidden files do not count (cameras and file systems leave such twins)."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def discover(inputs: Sequence[Path | str], *, recursive: bool = False) -> list[Path]:
    """The inputs that files, folders and globs stand for.

    A file stands for itself, whatever its name. A folder stands for the videos in it; a folder with images but no videos is one
    input, an image sequence. A pattern with ``*``, ``?`` or ``[`` (``**`` for any depth) stands for what it matches. Within one
    folder or pattern the order is natural (``clip2`` before ``clip10``); the order of the inputs is kept; what is named twice
    comes once. Links to folders are followed; each folder is looked into once, however many links lead there.

    Args:
        inputs: Paths or patterns.
        recursive: Whether folders are searched with their subfolders.

    Raises:
        VideoError: One of the inputs does not exist, cannot be searched, or stands for nothing.
    """
    found: dict[Path, Path] = {}
    for item in inputs:
        try:
            for path in _expand(Path(item), recursive=recursive):
                found.setdefault(Path(realpath(path)), path)  # its own resolve stumbles over links in a circle
        except OSError as error:
            hint = "check its name and permissions"
            raise VideoError(f"{item}: cannot be searched: {error.strerror}", hint=hint) from error
    return list(found.values())


def _expand(path: Path, *, recursive: bool) -> list[Path]:
    if path.is_dir():
        paths = _in_folder(path, recursive=recursive)
        if not paths:
            hint = "it has subfolders: search them with --recursive" if not recursive and _has_folders(path) else None
            raise VideoError(f"{path}: folder without videos or images", hint=hint)
        return paths
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        return _matches(path, recursive=recursive)
    raise VideoError(f"{path}: no such file or folder")


def _matches(pattern: Path, *, recursive: bool) -> list[Path]:
    paths: list[Path] = []
    for match in sorted(dict.fromkeys(_glob(pattern)), key=natural_key):
        if match.is_dir():
            paths += _in_folder(match, recursive=recursive)
        elif is_video(match) or is_image(match):
            paths.append(match)
    if not paths:
        raise VideoError(f"{pattern}: matches no video, image or folder with any")
    return paths


def _glob(pattern: Path) -> Iterator[Path]:
    """As `glob.glob`, whose ``**`` goes round in circles of links; two of them in a folder are enough for an age."""
    if "**" not in pattern.parts:
        yield from map(Path, glob.glob(str(pattern)))
        return
    place = pattern.parts.index("**")
    rest = pattern.parts[place + 1 :]
    for top in _glob(Path(*pattern.parts[:place])):
        for folder in [top, *_folders_below(top)] if top.is_dir() else []:
            if rest:
                yield from _glob(Path(glob.escape(str(folder)), *rest))
            else:
                yield from (folder, *(p for p in folder.iterdir() if not p.name.startswith(".")))


def _in_folder(folder: Path, *, recursive: bool) -> list[Path]:
    folders = [folder, *(_folders_below(folder) if recursive else [])]
    return [path for each in folders for path in _directly_in(each)]


def _directly_in(folder: Path) -> list[Path]:
    others = [p for p in folder.iterdir() if not p.is_dir()]
    # a link that leads nowhere too: by its name it is meant, and whoever opens it says what is wrong
    videos = sorted(filter(is_video, others), key=natural_key)
    if videos:
        return videos
    return [folder] if any(is_image(p) and p.is_file() for p in others) else []


def _folders_below(folder: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    seen = {folder.resolve()} if seen is None else seen
    for child in sorted(folder.iterdir(), key=natural_key):
        if child.name.startswith(".") or not child.is_dir() or (real := child.resolve()) in seen:
            continue
        seen.add(real)
        yield child
        yield from _folders_below(child, seen)


def _has_folders(folder: Path) -> bool:
    return any(p.is_dir() for p in folder.iterdir())
