"""Peak memory of `posecli annotate` over a short and a long clip: it must not grow with the length.

The clips are the example clip played forwards and backwards, scaled down. Run: python tests/benchmarks/bench_memory.py
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from posecli.video.sink import VideoSink
from posecli.video.source import open_source

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "rendered_people.mp4"
SIZE = (480, 270)


def example_pictures() -> list[np.ndarray]:
    """The example clip, small."""
    with open_source(EXAMPLE) as source:
        return [cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA) for frame in source.frames()]


def ping_pong(pictures: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Forwards, backwards, forwards, ..."""
    return itertools.cycle([*pictures, *pictures[-2:0:-1]])


def write_clip(path: Path, num_frames: int) -> None:
    """A clip of that many frames at 30 fps."""
    with VideoSink(path, size_wh=SIZE, time_base=Fraction(1, 30), fps=Fraction(30)) as sink:
        for index, picture in enumerate(itertools.islice(ping_pong(example_pictures()), num_frames)):
            sink.write(picture, index)


def peak_mb(clip: Path, out: Path, extra: list[str]) -> float:
    """Peak resident memory of one run, MB."""
    command = ["posecli", "annotate", str(clip), "--out", str(out), "--quiet", *extra]
    code = "import sys; sys.argv = sys.argv[1:]; from posecli.cli.app import main; main()"
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code, *command], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print both peaks and their difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs=2, default=(500, 10_000))
    parser.add_argument("rest", nargs="*", help="further options of posecli annotate, after --")
    arguments = parser.parse_args()
    av.logging.set_level(av.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for num_frames in arguments.frames:
            clip = Path(folder) / f"{num_frames}.mp4"
            write_clip(clip, num_frames)
            peaks.append(peak_mb(clip, Path(folder) / f"{num_frames}.json", arguments.rest))
            sys.stdout.write(f"{num_frames:6d} frames: peak {peaks[-1]:7.1f} MB\n")
            sys.stdout.flush()
        sys.stdout.write(f"difference: {peaks[1] - peaks[0]:+.1f} MB\n")


if __name__ == "__main__":
    main()
