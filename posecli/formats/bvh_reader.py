"""Reading BVH as `posecli.formats.bvh` writes it: six channels at the root, three below, rotations about Z, X, Y."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posecli.errors import FormatError
from posecli.formats.bvh import CHANNELS, ROOT_CHANNELS, BoneMotion, BoneTree


def read_bvh(path: Path) -> BoneMotion:
    """Read a BVH file.

    Raises:
        FormatError: The file cannot be read, is no BVH, or has other channels; the message names the line.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    reader = _Reader(path, lines)
    tree = reader.hierarchy()
    return reader.motion(tree)


class _Reader:
    """A file and how far it has been read."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self._path, self._lines, self._next = path, lines, 0

    def hierarchy(self) -> BoneTree:
        """Everything down to the line MOTION."""
        self._expect("HIERARCHY")
        names: list[str] = []
        parents: list[int] = []
        offsets: list[list[float]] = []
        open_joints: list[int] = []  # -1 stands for an end site
        while (line := self._line()) != "MOTION":
            word, _, rest = line.partition(" ")
            if word in ("ROOT", "JOINT"):
                names.append(rest)
                parents.append(open_joints[-1] if open_joints else -1)
                open_joints.append(len(names) - 1)
            elif line == "End Site":
                open_joints.append(-1)
            elif word == "OFFSET" and open_joints and open_joints[-1] >= 0:
                offsets.append(self._numbers(rest, 3))
            elif word == "CHANNELS" and line != (CHANNELS if len(names) > 1 else ROOT_CHANNELS):
                raise self._error(f"{line!r}, posecli reads only the channels that it writes")
            elif word == "}" and open_joints:
                open_joints.pop()
            elif word not in ("{", "OFFSET", "CHANNELS"):
                raise self._error(f"{line!r} is not expected here")
        if not names or open_joints or len(offsets) != len(names):
            raise self._error("the hierarchy above is not complete")
        return BoneTree(tuple(names), tuple(parents), np.array(offsets, np.float64))

    def motion(self, tree: BoneTree) -> BoneMotion:
        """Everything below the line MOTION."""
        count = self._value("Frames:")
        if not 0 <= count < np.inf:
            raise self._error(f"{count:g} frames")
        frame_time_s = self._value("Frame Time:")
        width = 3 + 3 * len(tree.names)
        rows = [self._numbers(self._line(), width) for _ in range(int(count))]
        table = np.array(rows, np.float64).reshape(-1, width)
        return BoneMotion(tree, frame_time_s, table[:, :3], table[:, 3:].reshape(-1, len(tree.names), 3))

    def _line(self) -> str:
        if self._next >= len(self._lines):
            raise FormatError(f"{self._path}: ends after line {self._next}", hint="the file may be truncated")
        self._next += 1
        return self._lines[self._next - 1].strip()

    def _expect(self, text: str) -> None:
        if (line := self._line()) != text:
            raise self._error(f"{line!r}, {text!r} expected")

    def _value(self, key: str) -> float:
        line = self._line()
        if not line.startswith(key):
            raise self._error(f"{line!r}, {key!r} expected")
        return self._numbers(line.removeprefix(key), 1)[0]

    def _numbers(self, text: str, count: int) -> list[float]:
        words = text.split()
        if len(words) != count:
            raise self._error(f"{len(words)} numbers, {count} expected")
        try:
            return [float(word) for word in words]
        except ValueError as error:
            raise self._error(str(error)) from error

    def _error(self, problem: str) -> FormatError:
        return FormatError(f"{self._path}: line {self._next}: {problem}")
