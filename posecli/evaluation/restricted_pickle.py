"""Data sets that are published as Python pickles, read without running anything they say.

A pickle is a program. The reader here gives it numbers, texts, lists, tuples, dicts, sets and NumPy arrays of plain numbers and
texts (or of those containers), and refuses whatever else it names with one line. NumPy never sees what the file says about an array:
the reader checks it and builds the array itself, from bytes that are in the file. A file is also refused above a size; apart from
that nothing keeps a hostile file from asking for memory.
"""

from __future__ import annotations

import math
import pickle
import re
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from posecli.errors import FormatError

MAX_BYTES = 8 * 1024**3
"""Human3.6M as MotionBERT publishes it has about 1 GB."""

_MAX_DEPTH = 64
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[?bBhHiIlLqQefd]|[SU]\d{1,6})")
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    UnicodeError,
    SyntaxError,
    tokenize.TokenError,
)
_TOO_MUCH = (MemoryError, OverflowError, RecursionError)


def load_pickle(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a pickle of containers, texts, numbers and arrays.

    Args:
        path: The file.
        max_bytes: The largest accepted.

    Returns:
        What is in it. Arrays may be read-only. An array of objects without dimensions gives its object.

    Raises:
        FormatError: The file cannot be read, is too large, is no such pickle, or names anything else.
    """
    try:
        size = path.stat().st_size
        _check_size(path, size, max_bytes)
        with path.open("rb") as stream:
            return _unpickle(stream, path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def load_npz(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read an ``.npz`` whose arrays may be pickled objects.

    Args:
        path: The file.
        max_bytes: The largest accepted, unpacked.

    Returns:
        By name: plain arrays; of pickled ones what `load_pickle` gives.

    Raises:
        FormatError: The file cannot be read, is too large, is no such archive, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            _check_size(path, sum(member.file_size for member in members), max_bytes)
            return {m.filename.removesuffix(".npy"): _read_member(archive, m, path) for m in members}
    except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: a password
        raise FormatError(f"{path}: not an .npz file: {_first_line(error)}") from error
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_size(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FormatError(f"{path}: {size:,} bytes, more than the {max_bytes:,} that are accepted")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Any:
    with archive.open(member) as stream:
        try:
            is_first = np.lib.format.read_magic(stream) == (1, 0)
            _, _, dtype = (np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0)(
                stream
            )
        except _BROKEN as error:
            raise FormatError(f"{path}: {member.filename}: not an array: {_first_line(error)}") from error
        if dtype.hasobject:
            return _unpickle(stream, path)
    with archive.open(member) as stream:
        try:
            return np.lib.format.read_array(stream, allow_pickle=False)
        except (*_BROKEN, *_TOO_MUCH) as error:
            raise FormatError(f"{path}: {member.filename}: not an array: {_first_line(error)}") from error


def _unpickle(stream: IO[bytes], path: Path) -> Any:
    try:
        return _Settling().settle(_Restricted(stream).load())
    except _Refused as error:
        hint = "only numbers, texts, lists, dicts and NumPy arrays of them are accepted"
        raise FormatError(f"{path}: {error}", hint=hint) from error
    except _BROKEN as error:
        raise FormatError(f"{path}: not a pickle that can be read: {_first_line(error)}") from error
    except _TOO_MUCH as error:
        raise FormatError(f"{path}: the pickle asks for too much: {type(error).__name__}") from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


class _Refused(Exception):
    """The pickle wants what it may not have; not one of the errors that broken data raise."""


class _PickledType:
    """A data type as the pickle describes it: stands in for `numpy.dtype`, and never becomes one unless it is plain."""

    __slots__ = ("_code",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not (code == "O8" or code == "O" or _PLAIN.fullmatch(code)):
            raise _Refused(f"an array of type {str(code)[:40]!r}")
        self._code = code

    def __setstate__(self, state: Any) -> None:
        order, structure = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise _Refused("an array with fields")
        self._code = order + self._code.lstrip("<>|=")

    @property
    def is_object(self) -> bool:
        return self._code.lstrip("<>|=").startswith("O")

    def plain(self) -> np.dtype[Any]:
        if self.is_object:
            raise _Refused("objects where plain numbers belong")
        return np.dtype(self._code)


class _PickledArray:
    """An array being read: stands in for `numpy.ndarray` until `_Settling` puts the real one in its place."""

    __slots__ = ("content",)

    def __init__(self) -> None:
        self.content: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        self.content = _array(shape, kind, "F" if is_fortran else "C", data)


def _array(shape: Any, kind: Any, order: str, data: Any) -> Any:
    """A plain array; of objects a (shape, order, list) to be settled later."""
    if not isinstance(kind, _PickledType) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise _Refused("an array of unknown form")
    if any(not isinstance(side, int) or side < 0 for side in shape):
        raise _Refused(f"an array of shape {str(shape)[:40]}")
    if kind.is_object:
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _Refused("an array of objects whose number does not fit")
        return _Objects(shape, order, data)
    if isinstance(data, str):  # from Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise _Refused("an array without its bytes")
    if len(data) != math.prod(shape) * kind.plain().itemsize:
        raise _Refused("an array whose bytes do not fit its shape")
    flat = np.frombuffer(data, kind.plain()) if data else np.empty(0, kind.plain())
    return flat.reshape(shape, order="F" if order == "F" else "C")


class _Objects:
    """What an array of objects holds, before it is settled."""

    __slots__ = ("items", "order", "shape")

    def __init__(self, shape: tuple[int, ...], order: str, items: list[Any]) -> None:
        self.shape, self.order, self.items = shape, order, items


class _Restricted(pickle.Unpickler):
    """Knows a handful of functions of NumPy, each replaced by a method of its own that makes nothing but data.

    They are methods, looked up anew for each file: a pickle can set attributes of what it is given, and a method takes none.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")
        self._array_class = object()

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle gets when it asks for something by name."""
        module = module.replace("numpy._core", "numpy.core")
        known: dict[tuple[str, str], Callable[..., Any] | object] = {
            ("numpy", "ndarray"): self._array_class,
            ("numpy", "dtype"): self._dtype,
            ("numpy.core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy.core.multiarray", "scalar"): self._scalar,
            ("numpy.core.numeric", "_frombuffer"): self._from_buffer,
            ("_codecs", "encode"): self._encode,
        }
        if (module, name) not in known:
            raise _Refused(f"the pickle asks for {module}.{name}"[:160])
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Never."""
        raise _Refused("the pickle refers to things outside it")

    def _reconstruct(self, kind: Any, shape: Any, code: Any) -> _PickledArray:
        if kind is not self._array_class:
            raise _Refused("an array of a class of its own")
        return _PickledArray()

    def _dtype(self, code: Any, align: Any = False, copy: Any = True) -> _PickledType:
        return _PickledType(code)

    def _from_buffer(self, data: Any, kind: Any, shape: Any, order: Any) -> Any:
        return _array(shape, kind, order, data)

    def _scalar(self, kind: Any, data: Any) -> Any:
        return _array((), kind, "C", data)[()]

    def _encode(self, text: Any, encoding: Any) -> bytes:
        if encoding != "latin1" or not isinstance(text, str):
            raise _Refused(f"a text in the encoding {str(encoding)[:20]!r}")
        return text.encode("latin1")


class _Settling:
    """Puts real arrays in the place of those being read; each container once, however often it is referred to."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}  # the first keeps the id from being given away
        self._depth = 0

    def settle(self, value: Any) -> Any:
        """The value with arrays in it.

        Raises:
            _Refused: It contains itself, or containers are nested too deep, or there is something else in it.
        """
        if (
            isinstance(value, str | bytes | bytearray | int | float | complex | np.ndarray | np.generic)
            or value is None
        ):
            return value
        if id(value) not in self._known:
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise _Refused(f"containers nested more than {_MAX_DEPTH} deep, or in themselves")
            self._known[id(value)] = (value, self._settled(value))
            self._depth -= 1
        return self._known[id(value)][1]

    def _settled(self, value: Any) -> Any:
        match value:
            case dict():
                return {self.settle(key): self.settle(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(self.settle(item) for item in value)
            case _PickledArray():
                return self.settle(value.content)
            case _Objects():
                return self._objects(value)
        raise _Refused("the pickle holds something that is no data")

    def _objects(self, value: _Objects) -> Any:
        if not value.shape:
            return self.settle(value.items[0])
        flat = np.empty(len(value.items), object)
        for i, item in enumerate(value.items):
            flat[i] = self.settle(item)
        return flat.reshape(value.shape, order="F" if value.order == "F" else "C")
