"""How long videos are, by their own headers: read in a process of its own, because a broken file may crash or hang a decoder."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic

from posecli.batch.parent import end_with_parent

_PATIENCE_S = 60.0  # starting a process on a busy machine counts too


@dataclass(frozen=True, slots=True)
class Header:
    """What a video says about itself; all ``None`` where it cannot be read."""

    duration_s: float | None = None
    num_frames: int | None = None

    @property
    def is_readable(self) -> bool:
        """Whether anything is known."""
        return self.duration_s is not None or self.num_frames is not None


class HeaderReader:
    """Reads one header after another, in the background.

    Args:
        videos: Whose; in this order.
        image_fps: What folders of images count as.

    Attributes:
        found: By position in ``videos``.
        connection: Ready when there is something for `receive`.
    """

    def __init__(self, videos: Sequence[Path], *, image_fps: str) -> None:
        self._videos, self._image_fps = list(videos), image_fps
        self.found: dict[int, Header] = {}
        self._start()

    @property
    def is_done(self) -> bool:
        """Whether all are read."""
        return len(self.found) >= len(self._videos)

    def receive(self) -> None:
        """Take what has come; does not wait. A file that crashed or hung the reader counts as unreadable."""
        if self.is_done:
            return
        try:
            while len(self.found) < len(self._videos) and self.connection.poll():
                self._note(self.connection.recv())
        except (EOFError, OSError):
            self._replace()
        if monotonic() - self._heard_s > _PATIENCE_S and len(self.found) < len(self._videos):
            self._replace()
        if len(self.found) >= len(self._videos):
            self.close()

    def read_all(self) -> list[Header]:
        """Wait for all of them."""
        while not self.is_done:
            wait([self.connection], timeout=1.0)
            self.receive()
        return [self.found[position] for position in range(len(self._videos))]

    def close(self) -> None:
        """End the process."""
        if self.connection.closed:
            return
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _start(self) -> None:
        self.connection, theirs = multiprocessing.Pipe(duplex=False)
        first = len(self.found)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_read_headers, args=(self._videos[first:], self._image_fps, theirs, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._heard_s = monotonic()

    def _note(self, header: Header) -> None:
        self.found[len(self.found)] = header
        self._heard_s = monotonic()

    def _replace(self) -> None:
        self.close()
        self._note(Header())
        if not self.is_done:
            self._start()


def _read_headers(videos: Sequence[Path], image_fps: str, connection: Connection, parent_id: int) -> None:
    end_with_parent(parent_id)
    with contextlib.suppress(BrokenPipeError):
        for video in videos:
            connection.send(_read(video, Fraction(image_fps)))


def _read(video: Path, image_fps: Fraction) -> Header:
    from posecli.video.source import open_source

    try:
        with open_source(video, image_fps=image_fps, num_threads=1) as source:
            info = source.info
            frames = info.num_frames_from_header
            if frames is None and info.duration_s is not None and info.fps is not None:
                frames = round(info.duration_s * info.fps)
            return Header(info.duration_s, frames)
    except Exception:  # whatever is wrong with it, annotating it will say so
        return Header()


__all__ = ["Header", "HeaderReader"]
