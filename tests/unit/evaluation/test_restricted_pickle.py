"""Pickles that are data are read; pickles that are programs are not."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.evaluation.restricted_pickle import load_npz, load_pickle

CONTENT: dict[str, Any] = {
    "floats": np.arange(24.0, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "longer"]),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float16),
    "bytes": b"raw",
    "objects": np.array([{"x": np.ones(2)}, None], object),
    "one": np.array({"deep": [np.arange(3), (1, 2.5, "text", True)]}, object),
    "scalar": np.float64(2.5),
    "list": ["s_09", 3, 10**30, {1, 2}],
}


def same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, np.ndarray) and a.dtype != object:
        np.testing.assert_array_equal(a, b, strict=True)
    elif isinstance(a, list | tuple | np.ndarray):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b
        assert type(a) is type(b)


@pytest.mark.parametrize("protocol", [4, 5])
def test_data_comes_back(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    wanted = {**CONTENT, "one": CONTENT["one"].item()}
    same(wanted, load_pickle(path))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_old_protocols(tmp_path: Path, protocol: int) -> None:
    content = {"x": CONTENT["floats"], "objects": CONTENT["objects"], "names": ["a", "b"], "scalar": np.int64(4)}
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    same(content, load_pickle(path))
    path.write_bytes(pickle.dumps(content, protocol).replace(b"numpy._core", b"numpy.core"))
    same(content, load_pickle(path))


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    inner = [np.arange(3)]
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({"a": inner, "b": inner}))
    found = load_pickle(path)
    assert found["a"] is found["b"]


def test_a_bomb_of_shared_lists_is_small(tmp_path: Path) -> None:
    bomb: list[Any] = [1]
    for _ in range(50):
        bomb = [bomb, bomb]
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(bomb))
    found = load_pickle(path)
    assert found[0] is found[1]


@pytest.mark.parametrize("is_compressed", [True, False])
def test_npz(tmp_path: Path, is_compressed: bool) -> None:
    path = tmp_path / "data.npz"
    (np.savez_compressed if is_compressed else np.savez)(path, data=np.array(CONTENT, object), plain=np.arange(3))
    found = load_npz(path)
    same({**CONTENT, "one": CONTENT["one"].item()}, found["data"])
    np.testing.assert_array_equal(found["plain"], np.arange(3))


class Program:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "function", [os.system, eval, getattr, np.load, np.ones, Path, pickle.loads, bytearray, np.ndarray]
)
def test_programs_are_refused(tmp_path: Path, protocol: int, function: Any) -> None:
    path, marker = tmp_path / "data.pkl", tmp_path / "it_ran"
    path.write_bytes(pickle.dumps({"x": [Program(function, f"touch {marker}")]}, protocol))
    with pytest.raises(FormatError, match=r"data\.pkl: ") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    archive = tmp_path / "data.npz"
    np.savez(archive, data=np.array(Program(function, f"touch {marker}"), object))
    with pytest.raises(FormatError, match=r"data\.npz: "):
        load_npz(archive)
    assert not marker.exists()


def test_the_refused_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(Program(os.system, "true")))
    with pytest.raises(FormatError, match=r"asks for posix\.system \(only numbers"):
        load_pickle(path)


def crafted(shape: str, code: bytes, data: bytes) -> bytes:
    """A text pickle of an array whose parts do not fit each other, as no NumPy writes it."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n" + shape.encode() + b"cnumpy\ndtype\n(S'" + code + b"'\nI00\nI01\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'" + data + b"'\ntb."
    )


def test_the_crafted_one_would_work(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(crafted("(I4\nt", b"i1", b"abcd"))
    assert load_pickle(path).tolist() == [97, 98, 99, 100]


@pytest.mark.parametrize(
    ("shape", "code", "problem"),
    [
        ("(I1000000000000\nt", b"i1", "do not fit"),
        ("(I-4\nt", b"i1", "shape"),
        ("(I4\nt", b"f8", "do not fit"),
        ("(I4\nt", b"O8", "number does not fit"),
        ("(I4\nt", b"V4", "type 'V4'"),
        ("(I4\nt", b"i1,i1", "type 'i1,i1'"),
        ("I4\n", b"i1", "unknown form"),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path: Path, shape: str, code: bytes, problem: str) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(crafted(shape, code, b"abcd"))
    with pytest.raises(FormatError, match=problem):
        load_pickle(path)


def test_records_classes_and_references_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(np.zeros(2, [("a", "f4")])))
    with pytest.raises(FormatError, match="type 'V4'|fields"):
        load_pickle(path)
    path.write_bytes(pickle.dumps(np.ma.masked_array([1.0])))
    with pytest.raises(FormatError, match="asks for numpy"):
        load_pickle(path)
    path.write_bytes(b"S'x'\nQ.")
    with pytest.raises(FormatError, match="outside"):
        load_pickle(path)
    itself: list[Any] = []
    itself.append(itself)
    path.write_bytes(pickle.dumps(itself))
    with pytest.raises(FormatError, match="nested"):
        load_pickle(path)


def test_broken_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "data.pkl"
    whole = pickle.dumps(CONTENT)
    for data in (b"", whole[: len(whole) // 2], b"no pickle", b"\x80\x05\x8e" + struct.pack("<Q", 2**60) + b"abc"):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"data\.pkl: "):
            load_pickle(path)
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        load_pickle(tmp_path / "absent.pkl")
    with pytest.raises(FormatError, match=r"not an \.npz file"):
        load_npz(path)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("data.npy", b"no array")
    with pytest.raises(FormatError, match=r"data\.npy: not an array"):
        load_npz(tmp_path / "bad.npz")


def test_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.zeros(100_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(FormatError, match="more than the 10,000"):
        load_npz(path, max_bytes=10_000)
    stream = io.BytesIO()
    pickle.dump(np.zeros(100), stream)
    plain = tmp_path / "data.pkl"
    plain.write_bytes(stream.getvalue())
    with pytest.raises(FormatError, match="more than the 100 "):
        load_pickle(plain, max_bytes=100)
