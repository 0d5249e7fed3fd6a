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

_SHOWN_CHARS = 60


def load_json(path: Path) -> Node:
    """Read a whole JSON file.

    Raises:
        FormatError: The file is missing, unreadable, truncated or not JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return Node(path, "", orjson.loads(data))
    except orjson.JSONDecodeError as error:
        message = f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise FormatError(message, hint="the file may be truncated") from error


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
        """A whole number (1.0 counts, true does not).

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if isinstance(node.value, bool) or not isinstance(node.value, int | float) or node.value != int(node.value):
            raise node._unexpected("a whole number")
        return int(node.value)

    def number(self, key: str) -> float:
        """A number.

        Raises:
            FormatError: The key is missing or holds something else.
        """
        node = self.child(key)
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise node._unexpected("a number")
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
        return np.array(values, np.float64)

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._unexpected("an object")
        return self.value

    def _unexpected(self, wanted: str) -> FormatError:
        text = orjson.dumps(self.value).decode()
        shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
        return self.error(f"{shown} is not {wanted}")
