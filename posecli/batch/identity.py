"""Whether a file is the same as before: at a glance by size and time, for certain by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posecli.download import file_sha256


@dataclass(frozen=True, slots=True)
class Glance:
    """Size and time of the last change; of a folder, the sum and the latest of its files. Equal glances count as the same content."""

    num_bytes: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> Glance:
        """Look at a file, or a folder of images.

        Raises:
            OSError: It is not there or cannot be read.
        """
        stats = [file.stat() for file in (_files(path) if path.is_dir() else [path])]
        return cls(sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0))

    @classmethod
    def from_json(cls, content: object) -> Glance | None:
        """Inverse of `to_json`; ``None`` for anything else."""
        if not isinstance(content, Mapping):
            return None
        size, time = content.get("num_bytes"), content.get("mtime_ns")
        return cls(size, time) if isinstance(size, int) and isinstance(time, int) else None

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def glance_json(path: Path) -> dict[str, Any] | None:
    """A `Glance` for the manifest; ``None`` where there is nothing to look at."""
    try:
        return Glance.at(path).to_json()
    except OSError:
        return None


def content_sha256(path: Path) -> str:
    """SHA-256 of everything in a file; of a folder, of the names and contents of its files.

    Reads it all: about a second a gigabyte, which is little beside annotating it, and the only way to be certain.

    Raises:
        OSError: It is not there or cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file_sha256(file)} {len(file.name)} {file.name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file())


__all__ = ["Glance", "content_sha256", "glance_json"]
