"""Noticing that somebody changes a video while it is being read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posecli.errors import VideoError
from posecli.pipeline.journal import Journal


class ChangedVideoError(VideoError):
    """A video is not the one that the run began with.

    Args:
        video: Which.
    """

    def __init__(self, video: Path) -> None:
        what = f"{video}: has changed while it was being annotated"
        super().__init__(what, hint="give the same command again when nobody writes to it any more")


class Unchanged:
    """What a video looked like when it was about to be opened: names, sizes and times.

    Args:
        video: File, or folder of images; what is not there is for whoever opens it to complain about.
    """

    def __init__(self, video: Path) -> None:
        self._video = video
        self._before = _look(video)

    def holds(self) -> bool:
        """Whether it still looks the same."""
        return _look(self._video) == self._before

    def check(self) -> None:
        """Look again.

        Raises:
            ChangedVideoError: It looks different.
        """
        if not self.holds():
            raise ChangedVideoError(self._video)


@contextmanager
def dropped_if_changed(journal: Journal, unchanged: Unchanged) -> Iterator[None]:
    """Remove a journal when what is done meanwhile fails and the video has changed.

    Nobody knows then which frames were read: were the old video put back, those of the other would count as its own.
    """
    try:
        yield
    except BaseException:
        if not unchanged.holds():
            journal.remove()
        raise


def _look(video: Path) -> list[tuple[str, int, int]] | None:
    try:
        files = sorted(video.iterdir()) if video.is_dir() else [video]
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return [(name, found.st_size, found.st_mtime_ns) for name, found in stats]


__all__ = ["ChangedVideoError", "Unchanged", "dropped_if_changed"]
