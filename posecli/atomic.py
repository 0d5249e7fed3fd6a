"""Files that appear whole or not at all: write beside the target, then rename."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from posecli.errors import OutputError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output early, before hours of work are spent on it.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file exists and ``overwrite`` is false, or its folder cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, a file name is needed")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", hint="pass --overwrite to replace it")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: folder {folder} does not exist", hint="create it first")
    probe = folder / f".{path.name}.{secrets.token_hex(4)}.probe"
    try:
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)  # a run that starts beside this one clears it away, too
    except OSError as error:
        raise OutputError(f"{path}: cannot write in {folder}: {error.strerror}") from error


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` when the block succeeds, remove it when it fails.

    The temporary name keeps the suffix, because encoders choose the container by it.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Yields:
        The path to write to.

    Raises:
        OutputError: See `check_output`; also when the disk fails during the rename.
    """
    check_output(path, overwrite=overwrite)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield temporary
        if temporary.exists():
            _flush_to_disk(temporary)
            os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    Args:
        path: The file to be written.
        data: Its content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `check_output`.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def remove_partial_files(path: Path) -> None:
    """Remove what killed processes were writing when ``path`` was to be written; nobody may be writing it now.

    Only names are touched that this module makes up itself.
    """
    mark = "[0-9a-f]" * 8
    stem, name = glob.escape(path.stem), glob.escape(path.name)
    for pattern in (f".{stem}.{mark}.partial{glob.escape(path.suffix)}", f".{name}.{mark}.probe"):
        for leftover in path.parent.glob(pattern):
            leftover.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
