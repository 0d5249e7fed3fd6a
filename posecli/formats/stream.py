"""Large JSON files written one object at a time: memory stays flat, one object a line, so that files compare by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from posecli.atomic import atomic_path
from posecli.json_bytes import json_bytes

_BUFFER_BYTES = 1 << 20


def write_document(
    path: Path, head: Mapping[str, Any], lists: Mapping[str, Iterable[Mapping[str, Any]]], *, overwrite: bool
) -> None:
    """Write an object whose last keys hold long lists.

    Args:
        path: The file to be written, whole or not at all.
        head: Short entries, written first.
        lists: Long lists, each consumed once, in order.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb", _BUFFER_BYTES) as stream:
        stream.write(b"{\n")
        for chunk in _separated(_entries(stream, head, lists)):
            stream.write(chunk)
        stream.write(b"\n}\n")


def write_list(path: Path, rows: Iterable[Mapping[str, Any]], *, overwrite: bool) -> None:
    """Write a bare list of objects.

    Args:
        path: The file to be written, whole or not at all.
        rows: The objects, consumed once.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb", _BUFFER_BYTES) as stream:
        _write_rows(stream, rows)
        stream.write(b"\n")


def _entries(
    stream: IO[bytes], head: Mapping[str, Any], lists: Mapping[str, Iterable[Mapping[str, Any]]]
) -> Iterator[bytes]:
    for key, value in head.items():
        yield json_bytes(key) + b": " + json_bytes(value)
    for key, rows in lists.items():
        yield json_bytes(key) + b": "
        _write_rows(stream, rows)


def _write_rows(stream: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> None:
    stream.write(b"[\n")
    for chunk in _separated(map(json_bytes, rows)):
        stream.write(chunk)
    stream.write(b"\n]")


def _separated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for i, chunk in enumerate(chunks):
        yield chunk if i == 0 else b",\n" + chunk
