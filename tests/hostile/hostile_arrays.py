"""NPZ files and pickles: bombs, lies about sizes, and code that must never run."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from posecli.evaluation.restricted_pickle import load_npz, load_pickle
from posecli.formats.npz import read_npz
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_documents import example
from tests.hostile.hostile_mutation import SEED, flip_bits

SENTINEL = "code-has-run"


def cases() -> list[Case]:
    """About 90."""
    return [*_npz_cases(), *_pickle_cases()]


def _arrays() -> dict[str, np.ndarray]:
    """The arrays of a good file."""
    pose = example().poses_3d[0]
    return {
        "skeleton": np.array("h36m17"),
        "track_ids": np.array([3]),
        "track_3_frame_indices": pose.frame_indices,
        "track_3_joints_mm": pose.joints_mm,
        "track_3_root_mm": pose.root_mm,
        "track_3_scores": pose.scores,
    }


def _npz(arrays: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _npy(descr: str, shape: str, data: bytes = b"", *, version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode("latin1")
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def _zip(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _with_npy(member: bytes, name: str = "track_ids") -> bytes:
    """A good file but for one member."""
    members = {}
    for key, array in _arrays().items():
        stream = io.BytesIO()
        np.save(stream, array)
        members[f"{key}.npy"] = stream.getvalue()
    return _zip(members | {f"{name}.npy": member})


def _deflate_bomb(num_bytes: int) -> bytes:
    """A zip whose one member, claimed and true, is that long."""
    head = _npy("'|u1'", f"({num_bytes - 200},)")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    crc, packed, left = zlib.crc32(head), [packer.compress(head)], num_bytes - len(head)
    while left > 0:
        part = block[: min(left, len(block))]
        crc, left = zlib.crc32(part, crc), left - len(part)
        packed.append(packer.compress(part))
    body = b"".join([*packed, packer.flush()])
    name = b"track_ids.npy"
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(body), num_bytes, len(name), 0)
    local = b"PK\x03\x04" + common + name + body
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def _lying_directory(size: int) -> bytes:
    """A zip that claims another size for its first member."""
    data = bytearray(_npz(_arrays()))
    place = data.find(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, size)
    return bytes(data)


def _npz_cases() -> list[Case]:
    rng = random.Random(SEED)
    good = _npz(_arrays())
    broken: dict[str, bytes] = {
        **{f"bits flipped {k}": flip_bits(good, rng, 1 + 4 * k) for k in range(20)},
        **{f"cut at {k}/8": good[: len(good) * k // 8] for k in range(8)},
        "a million million numbers claimed": _with_npy(_npy("'<f4'", "(1000000000000,)", bytes(64))),
        "a shape beyond 64 bits": _with_npy(_npy("'<f4'", f"({2**70},)", bytes(64))),
        "a product beyond 64 bits": _with_npy(_npy("'<f4'", f"({2**40}, {2**40})", bytes(64))),
        "a negative shape": _with_npy(_npy("'<f4'", "(-1,)", bytes(64))),
        "no shape": _with_npy(_npy("'<f4'", "None", bytes(64))),
        "objects": _with_npy(_npy("'|O'", "(1,)", pickle.dumps(_Bomb()))),
        "a type of no kind": _with_npy(_npy("'<q9'", "(1,)", bytes(64))),
        "a type of a thousand fields": _with_npy(
            _npy(repr([(f"f{k}", "<f4") for k in range(300)]), "(1,)", bytes(1200))
        ),
        "a text as long as memory": _with_npy(_npy("'<U1000000000'", "(1,)", bytes(64))),
        "void of memory": _with_npy(_npy("'|V4000000000'", "(1,)", bytes(64))),
        "a header of code": _with_npy(
            b"\x93NUMPY\x01\x00" + struct.pack("<H", 60) + b"__import__('os').system('id')".ljust(60)
        ),
        "a header in a header": _with_npy(b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000),
        "an unknown version": _with_npy(_npy("'<f4'", "(1,)", bytes(64), version=b"\x09\x09")),
        "ids that are texts": _npz(_arrays() | {"track_ids": np.array(["../x", "y"])}),
        "ids that are not whole": _npz(_arrays() | {"track_ids": np.array([3.5])}),
        "ids that are no list": _npz(_arrays() | {"track_ids": np.array(3)}),
        "ids not there": _npz(_arrays() | {"track_ids": np.array([2**62])}),
        "texts for joints": _npz(_arrays() | {"track_3_joints_mm": np.array(["a"] * 5)}),
        "joints of another shape": _npz(_arrays() | {"track_3_joints_mm": np.zeros((5, 17, 2), np.float32)}),
        "fewer scores than frames": _npz(_arrays() | {"track_3_scores": np.zeros((1, 17), np.float32)}),
        "frames that run backwards": _npz(_arrays() | {"track_3_frame_indices": np.arange(5)[::-1]}),
        "frames that are not whole": _npz(_arrays() | {"track_3_frame_indices": np.linspace(0, 1, 5)}),
        "complex joints": _npz(_arrays() | {"track_3_joints_mm": np.zeros((5, 17, 3), np.complex64)}),
        "joints without end": _npz(_arrays() | {"track_3_joints_mm": np.full((5, 17, 3), 1e300)}),
        "another skeleton": _npz(_arrays() | {"skeleton": np.array("a\nb\x1b[31m")}),
        "a bomb": _deflate_bomb(6 * 1024**3) if os.environ.get("POSECLI_SLOW") else _deflate_bomb(256 * 1024**2),
        "a size of 4 GiB claimed": _lying_directory(2**32 - 2),
        "a size of nothing claimed": _lying_directory(0),
        "a thousand members": _zip({f"m{k}.npy": b"x" for k in range(1000)}),
        "names that lead out": _zip({"../../out.npy": _npy("'<f4'", "(1,)", bytes(4)), "/etc/x.npy": b""}),
        "an empty archive": _zip({}),
        "a plain array": _npy("'<f4'", "(2,)", bytes(8)),
        "a pickle": pickle.dumps({"track_ids": [1]}),
        "nothing": b"",
        "zeros": bytes(4000),
        "bzip2 within": _zip({"track_ids.npy": _npy("'<f4'", "(1,)", bytes(4))}, method=zipfile.ZIP_BZIP2),
        "lzma within": _zip({"track_ids.npy": _npy("'<f4'", "(1,)", bytes(4))}, method=zipfile.ZIP_LZMA),
        "a password": _encrypted(),
    }
    readers: dict[str, Callable[[Path], object]] = {"NPZ of 3D poses": _use_npz, "NPZ of a data set": load_npz}
    is_of_any = (
        "bits",
        "ids",
        "joints",
        "fewer",
        "frames",
        "texts",
        "complex",
        "another",
        "names",
        "bzip2",
        "lzma",
        "a bomb",
    )
    return [
        _case(kind, name, data, read, must_refuse=kind == "NPZ of 3D poses" and not name.startswith("bits"))
        for kind, read in readers.items()
        for name, data in broken.items()
        if kind == "NPZ of 3D poses" or not name.startswith(is_of_any)
    ]


def _encrypted() -> bytes:
    data = bytearray(_npz(_arrays()))
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        data[place + 8] |= 1
    return bytes(data)


def _use_npz(path: Path) -> None:
    for pose in read_npz(path):
        assert pose.joints_mm.shape == (len(pose), 17, 3) and pose.joints_mm.dtype == np.float32
        assert pose.root_mm.shape == (len(pose), 3) and pose.scores.shape == (len(pose), 17)


def _case(kind: str, name: str, data: bytes, read: Callable[[Path], object], *, must_refuse: bool) -> Case:
    def run(places: Places) -> None:
        path = places.inside / "hostile.npz"
        path.write_bytes(data)
        try:
            read(path)
        finally:
            assert not Path(SENTINEL).exists(), "code of the file has run"

    return Case(kind, name, run, "hostile.npz", must_refuse)


class _Bomb:
    def __reduce__(self) -> Any:
        return (os.system, (f"touch {SENTINEL}",))


def _call(module: str, name: str, argument: str) -> bytes:
    """A pickle, protocol 0, that calls a function with a text."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def programs() -> dict[str, bytes]:
    """Pickles that are programs."""
    return {
        "os.system": pickle.dumps(_Bomb()),
        "os.system in a dict in a list": pickle.dumps([{"a": [_Bomb()]}]),
        "posix.system": _call("posix", "system", f"touch {SENTINEL}"),
        "builtins.eval": _call("builtins", "eval", f"open({SENTINEL!r}, 'w')"),
        "builtins.exec of Python 2": _call("__builtin__", "exec", f"open({SENTINEL!r}, 'w')"),
        "subprocess": _call("subprocess", "getoutput", f"touch {SENTINEL}"),
        "pathlib": _call("pathlib", "Path", SENTINEL),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bos.system.x\x93.",
        "numpy.load": _call("numpy", "load", SENTINEL),
        "numpy.testing": _call("numpy.testing._private.utils", "runstring", f"open({SENTINEL!r}, 'w')"),
        "torch.load": _call("torch", "load", SENTINEL),
        "getattr": _call("builtins", "getattr", "x"),
        "a module of ours": _call("posecli.atomic", "write_atomic", SENTINEL),
        "a persistent id": b"Pabc\n.",
        "an extension code": b"\x80\x02\x82\x01.",
        "an old instance": f"(V{SENTINEL}\nios\nsystem\n.".encode(),
    }


def _pickle_cases() -> list[Case]:
    rng = random.Random(SEED)
    good = pickle.dumps({"a": np.arange(50.0), "b": ["text", (1, 2.5)], "c": np.array([{"k": np.ones(3)}], object)})
    broken = {
        **{f"bits flipped {k}": flip_bits(good, rng, 1 + k) for k in range(12)},
        **{f"cut at {k}/6": good[: len(good) * k // 6] for k in range(6)},
        "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        "a text of 4 GB claimed": b"\x80\x04\x8d" + struct.pack("<Q", 2**32) + b"x.",
        "a text of 2^63 bytes claimed": b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b"x.",
        "bytes of 2^62 claimed": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
        "a frame of 2^60 claimed": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        "a number of 100 MB claimed": b"\x80\x02\x8b" + struct.pack("<i", 100_000_000) + b"\x01.",
        "a memo at 2^31": b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",
        "a list that holds itself": b"]q\x00h\x00a.",
        "a billion laughs": _laughs(),
        "protocol 200": b"\x80\xc8N.",
    }
    found = [_case("pickles, broken", name, data, load_pickle, must_refuse=False) for name, data in broken.items()]
    return found + [
        _case("pickles with code", name, data, load_pickle, must_refuse=True) for name, data in programs().items()
    ]


def _laughs() -> bytes:
    """Lists of the list before, ten times each."""
    value: Any = ["ha"]
    for _ in range(30):
        value = [value] * 10
    return pickle.dumps(value)
