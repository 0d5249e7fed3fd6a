"""MediaPipe in its own environment, fed through a pipe: what the scripts that compare with it share, on both ends of the pipe.

Only of the standard library: MediaPipe's environment has no posecli.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO, Self

# COCO's 17 points among MediaPipe's 33.
LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)


class MediaPipeProcess:
    """A script run with ``--serve`` by another interpreter; it reads from a pipe until this end is closed, and answers.

    Args:
        python: The interpreter of the environment with mediapipe.
        script: Runs there.
        arguments: Of the script, after ``--serve``.
    """

    def __init__(self, python: Path, script: str, *arguments: object) -> None:
        command = [str(python), script, "--serve", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def send(self, content: bytes) -> None:
        """Write to it at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(content)
        self._process.stdin.flush()

    def read(self, num_bytes: int) -> bytes:
        """An answer of known length."""
        assert self._process.stdout is not None
        return self._answered(self._process.stdout.read(num_bytes))

    def read_json(self) -> Any:
        """An answer that is a line of JSON."""
        assert self._process.stdout is not None
        return json.loads(self._answered(self._process.stdout.readline()))

    def _answered(self, content: bytes) -> bytes:
        if not content:
            raise SystemExit("mediapipe ended without an answer: is mediapipe==0.10.21 in that environment?")
        return content


def answers() -> BinaryIO:
    """The way back, for the script there; whatever MediaPipe prints goes elsewhere from now on."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def answer_json(stream: BinaryIO, content: Any) -> None:
    """Answer with a line."""
    stream.write(json.dumps(content).encode() + b"\n")
    stream.flush()
