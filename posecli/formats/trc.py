"""TRC, the marker file of OpenSim: tab-separated text, millimetres, one file a person, one marker a joint.

Axes are OpenSim's: y up; here x right and z backward, see `posecli.formats.person_motion`. ``DataRate`` is the video's true frame
rate, ``Frame#`` the frame index + 1, ``Time`` the frame's own seconds. A marker that is missing is left empty, and so is a frame in
which the person was not seen; OpenSim reads both as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import atomic_path
from posecli.errors import FormatError
from posecli.formats.person_motion import PersonMotion, write_person_files
from posecli.records import Annotation, IntArray
from posecli.skeletons import H36M17

TRC_SUFFIX = ".trc"
POSITION_DECIMALS = 3
TIME_DECIMALS = 6
_KEYS = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames".split()
_NUM_HEADER_LINES = 5
_MAX_FRAME_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class MarkerFile:
    """What a TRC file says: markers by name, ``frame_numbers`` (N,), ``time_s`` (N,), ``positions`` (N, M, 3), NaN where missing."""

    marker_names: tuple[str, ...]
    rate_hz: float
    units: str
    frame_numbers: IntArray
    time_s: NDArray[np.float64]
    positions: NDArray[np.float64]


def write_trc_files(
    annotation: Annotation, folder: Path, *, overwrite: bool = False, note: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``NAME_ID.trc`` for every person who has 3D poses.

    Args:
        annotation: With ``poses_3d``.
        folder: Created if its own folder exists.
        overwrite: Whether existing files may be replaced.
        note: Told each file before it is written.

    Returns:
        The files.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """

    def write(motion: PersonMotion, path: Path) -> None:
        write_trc(motion, path, overwrite=overwrite)

    return write_person_files(annotation, folder, TRC_SUFFIX, write, note)


def write_trc(
    motion: PersonMotion, path: Path, *, marker_names: Sequence[str] = H36M17.joint_names, overwrite: bool = False
) -> None:
    """Write one person.

    Args:
        motion: Positions of as many markers as there are names.
        path: The file to be written.
        marker_names: In the order of the positions.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as out,
    ):
        out.writelines(_header(motion, path.name, marker_names))
        out.writelines(_rows(motion))


def read_trc(path: Path) -> MarkerFile:
    """Read a TRC file.

    Raises:
        FormatError: The file cannot be read, or is no TRC; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    if len(lines) < _NUM_HEADER_LINES or not lines[0].startswith("PathFileType") or lines[1].split() != _KEYS:
        raise FormatError(f"{path}: not a TRC file: its first two lines are others")
    try:
        facts = dict(zip(_KEYS, lines[2].split("\t"), strict=True))
        count, rate = int(facts["NumMarkers"]), float(facts["DataRate"])
    except ValueError as error:
        raise FormatError(f"{path}: line 3: {error}") from error
    names = tuple(name for name in lines[3].split("\t")[2:] if name)
    if len(names) != count:
        raise FormatError(f"{path}: line 4: {len(names)} markers, {count} expected")
    first = _NUM_HEADER_LINES
    rows = [_read_row(path, n, line, count) for n, line in enumerate(lines[first:], first + 1) if line.strip()]
    table = np.array(rows, np.float64).reshape(-1, 2 + 3 * count)
    if not (np.abs(table[:, 0]) < _MAX_FRAME_NUMBER).all():  # nor NaN
        raise FormatError(f"{path}: column Frame#: not a frame number in every line")
    return MarkerFile(
        marker_names=names,
        rate_hz=rate,
        units=facts["Units"],
        frame_numbers=table[:, 0].astype(np.int64),
        time_s=table[:, 1],
        positions=table[:, 2:].reshape(-1, count, 3),
    )


def _header(motion: PersonMotion, name: str, marker_names: Sequence[str]) -> Iterator[str]:
    rate = f"{motion.fps:.6f}".rstrip("0").rstrip(".")
    count, start = len(motion.frame_indices), int(motion.frame_indices[0]) + 1
    values = (rate, rate, count, len(marker_names), "mm", rate, start, count)
    yield f"PathFileType\t4\t(X/Y/Z)\t{name}\n"
    yield "\t".join(_KEYS) + "\n"
    yield "\t".join(map(str, values)) + "\n"
    yield "Frame#\tTime\t" + "".join(f"{marker}\t\t\t" for marker in marker_names) + "\n"
    yield "\t\t" + "".join(f"X{n}\tY{n}\tZ{n}\t" for n in range(1, len(marker_names) + 1)) + "\n"
    yield "\n"


def _rows(motion: PersonMotion) -> Iterator[str]:
    """Each cell ends with a tab, the last one too: so OpenSim counts them."""
    for frame, time_s, markers in zip(motion.frame_indices, motion.time_s, motion.positions_mm, strict=True):
        yield f"{frame + 1}\t{time_s:.{TIME_DECIMALS}f}\t" + "".join(map(_cells, markers)) + "\n"


def _cells(position: NDArray[np.float64]) -> str:
    if not np.isfinite(position).all():
        return "\t\t\t"
    # adding zero turns -0.0 into 0.0
    return "".join(f"{value:.{POSITION_DECIMALS}f}\t" for value in np.round(position, POSITION_DECIMALS) + 0.0)


def _read_row(path: Path, number: int, line: str, count: int) -> list[float]:
    cells = line.removesuffix("\t").split("\t")
    wanted = 2 + 3 * count
    if len(cells) != wanted:
        raise FormatError(f"{path}: line {number}: {len(cells)} cells, {wanted} expected")
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError as error:
        raise FormatError(f"{path}: line {number}: {error}") from error
