"""Noticing that somebody changes a video while it is being read."""

from __future__ import annotations

from pathlib import Path

from posecli.errors import VideoError


class Unchanged:
    """What a video looked like when it was about to be opened: names, sizes and times.

    Args:
        video: File, or folder of images; what is not there is for whoever opens it to complain about.
    """

    def __init__(self, video: Path) -> None:
        self._video = video
        self._before = _look(video)

    def check(self) -> None:
        """Look again.

        Raises:
            VideoError: It looks different.
        """
        if _look(self._video) != self._before:
            raise VideoError(
                f"{self._video}: has changed while it was being annotated",
                hint="give the same command again when nobody writes to it any more",
            )


def _look(video: Path) -> list[tuple[str, int, int]] | None:
    try:
        files = sorted(video.iterdir()) if video.is_dir() else [video]
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return [(name, found.st_size, found.st_mtime_ns) for name, found in stats]


__all__ = ["Unchanged"]
