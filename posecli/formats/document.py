"""A JSON file somebody else wrote: every look inside it names the file, the key and the value found there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from posecli.errors import FormatError

MAX_NUMBER = 1e18
"""The largest number accepted, either sign: its square still is a 32-bit float, and no pixel, second or millimetre comes near."""

_MAX_INTEGER = 2**63 - 1
_SHOWN_CHARS = 60


def load_json(path: Path) -> Node:
    """Read a whole JSON file.

    Raises:
        FormatError: The file is missing, unreadable, truncated, not JSON, or larger than memory.
    """
    try:
        if path.is_char_device() or path.is_block_device():
            raise FormatError(f"{path}: is a device, not a file")
        return Node(path, "", orjson.loads(path.read_bytes()))
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself, before Python 3.13
        raise FormatError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except orjson.JSONDecodeError as error:
        message = f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise FormatError(message, hint="the file may be truncated") from error
    except MemoryError as error:
        raise FormatError(f"{path}: larger than memory ({path.stat().st_size:,} bytes)") from error


@dataclass(frozen=True, slots=True)
class Node:
    """A value inside a JSON file and where it is: ``where`` reads like ``annotations[3].keypoints``."""

    path: Path
    where: str
    value: Any

    def error(self, problem: str, hint: str | None = None) -> FormatError:
        """The error that says what is wrong with this value; for the caller to raise."""
        return FormatError(f"{self.path}: {self.where or 'top level'}: {problem}", hint=hint)

    def has(self, key: str) -> bool:
        """Whether this object has the key, and not as null."""
        return self._object().get(key) is not None

    def child(self, key: str) -> Node:
        """The value of a key that must be there.

        Raises:
            FormatError: This is no object, or it lacks the key.
        """
        fields = self._object()
        if key not in fields:
            raise self.error(f"key {key!r} is missing")
        return Node(self.path, f"{self.where}.{key}" if self.where else key, fields[key])

    def items(self, key: str) -> Iterator[Node]:
        """The elements of the list under ``key``.

        Raises:
            FormatError: The key is missing or holds no list.
        """
        node = self.child(key)
        if not isinstance(node.value, list):
            raise node._unexpected("a list")
        return (Node(self.path, f"{node.where}[{i}]", value) for i, value in enumerate(node.value))

    def integer(self, key: str) -> int:
        """A whole number of 64 bits (1.0 counts, true does not).

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if not _is_number(node.value) or node.value != np.floor(node.value):
            raise node._unexpected("a whole number")
        if abs(node.value) > _MAX_INTEGER:
            raise node._unexpected("a whole number of 64 bits")
        return int(node.value)

    def size(self, key: str) -> int:
        """A side of a picture, px: a whole number from 1 on.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        value = self.integer(key)
        if value < 1:
            raise self.child(key)._unexpected("a size in pixels")
        return value

    def number(self, key: str) -> float:
        """A number.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if not _is_number(node.value):
            raise node._unexpected("a number")
        if abs(node.value) > MAX_NUMBER:
            raise node._unexpected(f"a number up to {MAX_NUMBER:g}")
        return float(node.value)

    def string(self, key: str) -> str:
        """A text.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if not isinstance(node.value, str):
            raise node._unexpected("a text")
        return node.value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of texts.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if not isinstance(node.value, list) or not all(isinstance(value, str) for value in node.value):
            raise node._unexpected("a list of texts")
        return tuple(node.value)

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers of 64 bits, each written as one (1.0 does not count).

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if not isinstance(node.value, list) or not all(type(v) is int and abs(v) <= _MAX_INTEGER for v in node.value):
            raise node.error("is not a list of whole numbers")
        return node.value

    def flag(self, key: str) -> bool:
        """A boolean; 0 and 1 count.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if node.value not in (0, 1):
            raise node._unexpected("true or false")
        return bool(node.value)

    def numbers(self, key: str, count: int, *, nullable: bool = False) -> NDArray[np.float64]:
        """A list of exactly ``count`` numbers; with ``nullable``, null becomes NaN.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        return self.child(key).as_numbers(count, nullable=nullable)

    def as_numbers(self, count: int, *, nullable: bool = False) -> NDArray[np.float64]:
        """This value as `numbers` reads it."""
        if not isinstance(self.value, list):
            raise self._unexpected(f"a list of {count} numbers")
        if len(self.value) != count:
            raise self.error(f"{len(self.value)} numbers, {count} expected")
        values = [np.nan if v is None else v for v in self.value] if nullable else self.value
        for i, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Node(self.path, f"{self.where}[{i}]", value)._unexpected("a number")
        array = np.array(values, np.float64)
        too_large = np.flatnonzero(np.abs(array) > MAX_NUMBER)  # not so NaN, which stands for null
        if too_large.size:
            node = Node(self.path, f"{self.where}[{too_large[0]}]", values[too_large[0]])
            raise node._unexpected(f"a number up to {MAX_NUMBER:g}")
        return array

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._unexpected("an object")
        return self.value

    def _unexpected(self, wanted: str) -> FormatError:
        try:
            text = orjson.dumps(self.value).decode()
        except TypeError:  # what may be read 1024 levels deep may be written 254 levels deep
            text = f"{str(self.value)[:_SHOWN_CHARS]}..."
        shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
        return self.error(f"{shown} is not {wanted}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
