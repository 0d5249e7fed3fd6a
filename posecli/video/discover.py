"""Which videos are meant: files, folders and globs made into one list."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
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
    comes once.

    Args:
        inputs: Paths or patterns.
        recursive: Whether folders are searched with their subfolders.

    Raises:
        VideoError: One of the inputs does not exist or stands for nothing.
    """
    found: dict[Path, Path] = {}
    for item in inputs:
        for path in _expand(Path(item), recursive=recursive):
            found.setdefault(path.resolve(), path)
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
    for match in sorted(map(Path, glob.glob(str(pattern), recursive=True)), key=natural_key):
        if match.is_dir():
            paths += _in_folder(match, recursive=recursive)
        elif is_video(match) or is_image(match):
            paths.append(match)
    if not paths:
        raise VideoError(f"{pattern}: matches no video, image or folder with any")
    return paths


def _in_folder(folder: Path, *, recursive: bool) -> list[Path]:
    folders = [folder, *(_folders_below(folder) if recursive else [])]
    return [path for each in folders for path in _directly_in(each)]


def _directly_in(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if p.is_file()]
    videos = sorted(filter(is_video, files), key=natural_key)
    if videos:
        return videos
    return [folder] if any(map(is_image, files)) else []


def _folders_below(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir(), key=natural_key):
        if child.is_dir() and not child.name.startswith("."):
            yield child
            yield from _folders_below(child)


def _has_folders(folder: Path) -> bool:
    return any(p.is_dir() for p in folder.iterdir())
