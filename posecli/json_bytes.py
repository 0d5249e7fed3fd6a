"""JSON of values that may hold names of files: those need not be text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson


def json_bytes(value: Any, *, option: int | None = None, default: Callable[[Any], Any] | None = None) -> bytes:
    r"""As `orjson.dumps`, but bytes of a file name that are no UTF-8 (surrogates in Python) are written as text: ``\xff``.

    Raises:
        TypeError: The value holds something else that JSON cannot say.
    """
    try:
        return orjson.dumps(value, default=default, option=option)
    except TypeError:
        return orjson.dumps(_as_text(value), default=default, option=option)


def text_of(name: str) -> str:
    r"""A file name as text: bytes that are no UTF-8 as ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, Mapping):
        return {_as_text(key): _as_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return value


__all__ = ["json_bytes", "text_of"]
