"""A set of zip files, each at most so large, that are unpacked over each other into one folder."""

from __future__ import annotations

import contextlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from posecli.atomic import atomic_path, write_atomic
from posecli.download import file_sha256
from posecli.errors import ConfigError, OutputError

RECORD = "pack.json"
_PIECE = re.compile(r"piece-\d+\.zip")
_MEMBER_BYTES = 30 + 46  # of headers, local and central, each followed by the name
_END_BYTES = 22 + 76  # closing records, those of more than 65,535 members included
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest there is: the same content gives the same bytes
_SAMPLE_BYTES = 1 << 16
_PAYS_BELOW = 0.9


@dataclass(frozen=True, slots=True)
class Piece:
    """A finished zip file."""

    name: str
    num_bytes: int
    sha256: str
    num_files: int


@dataclass(slots=True)
class _OpenPiece:
    name: str
    archive: zipfile.ZipFile
    room: int
    num_files: int = 0


@dataclass(slots=True)
class Pieces:
    """Pieces that are being filled; see `open_pieces`."""

    folder: Path
    piece_bytes: int
    overwrite: bool
    _stack: contextlib.ExitStack
    _open: list[_OpenPiece] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> None:
        """Put a file into the first piece that has room for it, deflated if that makes it clearly smaller.

        Args:
            name: Path inside the folder that the pieces are unpacked into, with slashes.
            data: Its content.

        Raises:
            ConfigError: The file is larger than a piece.
            OutputError: The piece cannot be written.
        """
        method, size = _choose_method(data)
        size += _MEMBER_BYTES + 2 * len(name.encode())
        if size + _END_BYTES > self.piece_bytes:
            raise too_large(name, size + _END_BYTES, self.piece_bytes)
        piece = next((piece for piece in self._open if piece.room >= size), None) or self._begin()
        info = zipfile.ZipInfo(name, _DATE)
        info.compress_type = method
        info.external_attr = 0o644 << 16
        piece.archive.writestr(info, data)
        piece.room -= size
        piece.num_files += 1

    @property
    def num_files(self) -> dict[str, int]:
        """Files in each piece so far, by its name."""
        return {piece.name: piece.num_files for piece in self._open}

    def _begin(self) -> _OpenPiece:
        name = f"piece-{len(self._open) + 1:02d}.zip"
        path = self._stack.enter_context(atomic_path(self.folder / name, overwrite=self.overwrite))
        piece = _OpenPiece(name, self._stack.enter_context(zipfile.ZipFile(path, "w")), self.piece_bytes - _END_BYTES)
        self._open.append(piece)
        return piece


@contextlib.contextmanager
def open_pieces(folder: Path, *, piece_bytes: int, overwrite: bool) -> Iterator[Pieces]:
    """Fill pieces: none appears before the block succeeds, and the record of earlier ones goes before they do.

    Args:
        folder: Created if missing.
        piece_bytes: Size of a file, at most.
        overwrite: Whether earlier pieces may be replaced; those that are not needed any more are deleted.

    Yields:
        Something to add files to.

    Raises:
        OutputError: The folder holds pieces already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error
    earlier = sorted(path for path in folder.iterdir() if path.name == RECORD or _PIECE.fullmatch(path.name))
    if earlier and not overwrite:
        raise OutputError(f"{earlier[0]}: exists already", hint="pass --overwrite to replace it")
    with contextlib.ExitStack() as stack:
        pieces = Pieces(folder, piece_bytes, overwrite, stack)
        yield pieces
        for path in earlier:
            if path.name not in pieces.num_files:
                path.unlink(missing_ok=True)


def write_record(pieces: Pieces) -> list[Piece]:
    """Measure the finished pieces and write ``pack.json``: where it is, the set is complete.

    Raises:
        OutputError: It cannot be written.
    """
    finished = []
    for name, num_files in pieces.num_files.items():
        path = pieces.folder / name
        finished.append(Piece(name, path.stat().st_size, file_sha256(path), num_files))
    rows = [{"name": p.name, "bytes": p.num_bytes, "sha256": p.sha256, "files": p.num_files} for p in finished]
    content = orjson.dumps({"pieces": rows}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_atomic(pieces.folder / RECORD, content, overwrite=pieces.overwrite)
    return finished


def too_large(name: object, num_bytes: int, piece_bytes: int) -> ConfigError:
    """The error about a file that no piece can hold."""
    return ConfigError(
        f"{name}: {num_bytes / 1e6:.3g} MB, larger than a piece of {piece_bytes / 1e6:.3g} MB",
        hint="no file is split: pass a larger --piece-mb",
    )


def _choose_method(data: bytes) -> tuple[int, int]:
    """How to store a file, and its size then. A look at the beginning spares deflating pictures in vain."""
    sample = data[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) >= _PAYS_BELOW * len(sample):
        return zipfile.ZIP_STORED, len(data)
    deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)  # as zipfile does
    return zipfile.ZIP_DEFLATED, len(deflate.compress(data)) + len(deflate.flush())
