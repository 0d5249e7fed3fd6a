"""Weights files: headers that lie, configurations of other worlds, numbers that are none, checkpoints with code in them."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posecli.lifting.checkpoint import load_lifter_network, save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.lifting.official import import_posemamba
from posecli.people.embedded import EmbeddedDetector
from posecli.people.personnet import PersonNet, PersonNetConfig
from posecli.pose.checkpoint import load_network, save_network
from posecli.pose.config import PoseConfig, ViTPoseConfig
from posecli.pose.network import PoseNetwork
from posecli.pose.vitpose import ViTPoseEncoder
from posecli.pose.vitpose_checkpoint import import_vitpose
from posecli.weights import save_weights
from posecli.weights.header import METADATA_KEY
from posecli.weights.wholeness import check_whole
from tests.hostile.hostile_arrays import SENTINEL, programs
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_mutation import SEED, flip_bits, nested
from tests.tiny_networks import POSE

VITPOSE = PoseConfig(
    encoder=ViTPoseConfig(embed_dim=32, depth=2, num_heads=2, out_channels=16),
    crop_hw=(64, 32),
    d_model=16,
    num_global_blocks=1,
    num_local_blocks=1,
    d_state=4,
    dt_rank=4,
    window_hw=(8, 8),
    is_encoder_frozen=True,
)
LIFT = LiftConfig(d_model=16, depth=1, max_frames=9, d_state=2)
PERSON = PersonNetConfig(width=0.25)
Header = dict[str, Any]
Load = Callable[[Path], object]

LOADS: dict[str, Load] = {
    "pose": load_network,
    "lifter": load_lifter_network,
    "detector": lambda path: EmbeddedDetector(str(path)),
}


def cases() -> list[Case]:
    """About 170."""
    with tempfile.TemporaryDirectory() as folder:
        good = _good_files(Path(folder))
    return [*_header_cases(good["pose"]), *_config_cases(good), *_value_cases(good), *_checkpoint_cases()]


def _good_files(folder: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    save_network(folder / "pose.safetensors", PoseNetwork(POSE).state_dict(), POSE, metadata={})
    save_lifter_network(folder / "lifter.safetensors", PoseMamba(LIFT).state_dict(), LIFT, metadata={})
    config = {"width": PERSON.width, "score_scale": 1.0, "score_shift": 0.0}
    save_weights(folder / "detector.safetensors", PersonNet(PERSON).state_dict(), kind="detector", config=config)
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


def _case(
    kind: str, name: str, data: bytes, load: Load, *, suffix: str = ".safetensors", must_refuse: bool = True
) -> Case:
    def run(places: Places) -> None:
        path = places.inside / f"hostile{suffix}"
        path.write_bytes(data)
        try:
            load(path)
        finally:
            assert not Path(SENTINEL).exists(), "code of the file has run"

    return Case(kind, name, run, "hostile", must_refuse)


def _split(data: bytes) -> tuple[Header, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _join(header: Header | bytes, body: bytes, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _header_cases(good: bytes) -> list[Case]:
    header, body = _split(good)
    names = [name for name in header if name != "__metadata__"]
    first = names[0]

    def with_entry(**change: Any) -> bytes:
        changed = copy.deepcopy(header)
        changed[first] |= change
        return _join(changed, body)

    text = json.dumps(header).encode()
    doubled = text[:-1] + b"," + json.dumps(first).encode() + b":" + json.dumps(header[first]).encode() + b"}"
    other = json.dumps(header[names[1]]).encode()
    broken = {
        **{f"length {2**k}": _join(header, body, length=2**k) for k in (0, 3, 24, 31, 32, 40, 60, 63)},
        "length 2^64 - 1": _join(header, body, length=2**64 - 1),
        "length 0": _join(header, body, length=0),
        "offsets beyond the file": with_entry(data_offsets=[0, 2**50]),
        "offsets that run backwards": with_entry(data_offsets=[100, 0]),
        "offsets below zero": with_entry(data_offsets=[-8, 0]),
        "offsets of 2^64": with_entry(data_offsets=[0, 2**64]),
        "offsets of another tensor": with_entry(data_offsets=header[names[1]]["data_offsets"]),
        "no offsets": with_entry(data_offsets=[]),
        "a shape of 2^62": with_entry(shape=[2**62, 4]),
        "a shape that overflows": with_entry(shape=[2**40, 2**40]),
        "a shape below zero": with_entry(shape=[-1]),
        "a type of no kind": with_entry(dtype="X99"),
        "a type of 4 bits": with_entry(dtype="F4"),
        "a type of another size": with_entry(dtype="F16"),
        "a name twice": _join(doubled, body),
        "a name twice, other tensor": _join(
            doubled.replace(json.dumps(header[first]).encode() + b"}", other + b"}"), body
        ),
        "lists in lists": _join(json.dumps(nested(900)).encode(), body),
        "no metadata": _join({key: value for key, value in header.items() if key != "__metadata__"}, body),
        "metadata that is a list": _join(header | {"__metadata__": [1, 2]}, body),
        "metadata of numbers": _join(header | {"__metadata__": {METADATA_KEY: 7}}, body),
        "no UTF-8": _join(b'{"\xff": 1}', body),
        "a million names": _join(
            {f"t{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(50_000)}, b""
        ),
        "bytes behind the end": good + b"x" * 1000,
        "nothing": b"",
        "eight bytes": bytes(8),
        "a zip": _zip({"data.pkl": b"x"}),
        "a pickle": programs()["os.system"],
    }
    rng = random.Random(SEED)
    found = [
        _case("safetensors, header", name, data, load_network, must_refuse=not name.startswith("a name twice"))
        for name, data in broken.items()
    ]
    end = len(good) - len(body)
    for k in range(16):
        flipped = flip_bits(good, rng, 1 + k % 4, within=(0, end))
        found.append(_case("safetensors, header", f"bits flipped {k}", flipped, load_network, must_refuse=False))
    return found + [
        _case("safetensors, header", f"cut at {k}/8", good[: len(good) * k // 8], load_network) for k in range(1, 8)
    ]


_HUGE: tuple[Any, ...] = (10**9, 2**63, -1, 0, 1.5, 1e308, None, "x", [], [1, 2, 3], {"a": 1}, True)
_KEYS = {
    "pose": "crop_hw num_frames d_model num_global_blocks num_local_blocks d_state dt_rank expand ffn_ratio window_hw merge_width "
    "attention_ratio drop_path num_keypoints scan_types merge encoder".split(),
    "lifter": "d_model depth in_channels max_frames d_state expand mlp_ratio drop_path scan".split(),
    "detector": "width score_scale score_shift".split(),
}


def _with_config(good: bytes, change: Callable[[Header], Any]) -> bytes:
    header, body = _split(good)
    words = json.loads(header["__metadata__"][METADATA_KEY])
    change(words)
    header["__metadata__"][METADATA_KEY] = json.dumps(words)
    return _join(header, body)


def _set(good: bytes, value: Any, *path: str) -> bytes:
    """The file with one word of its configuration changed."""

    def change(words: Header) -> None:
        for step in path[:-1]:
            words = words[step]
        words[path[-1]] = value

    return _with_config(good, change)


def _config_cases(good: dict[str, bytes]) -> list[Case]:
    rng = random.Random(SEED)
    found = []
    for kind, keys in _KEYS.items():
        row, load = f"configuration, {kind}", LOADS[kind]
        for key in keys:
            for value in rng.sample(_HUGE, 3):
                data = _set(good[kind], value, "config", key)
                found.append(_case(row, f"{key} = {value!r}", data, load, must_refuse=False))
        for name, bad in (
            ("widths", [10**6] * 4),
            ("depths", [10**9] * 4),
            ("out_channels", 60_000),
            ("widths", "abcd"),
        ):
            if kind == "pose":
                data = _set(good[kind], bad, "config", "encoder", name)
                found.append(_case(row, f"encoder {name} = {bad}", data, load))
        for wrong in (4.0, 0.1, "abcd", [1.0]) if kind == "detector" else ():
            found.append(_case(row, f"width {wrong!r}", _set(good[kind], wrong, "config", "width"), load))
        for name, config in (
            ("a list", [1]),
            ("nothing", None),
            ("empty", {}),
            ("a text", "x"),
            ("unknown", {"zz": 1}),
        ):
            found.append(_case(row, f"is {name}", _set(good[kind], config, "config"), load))
        found.append(_case(row, "of another kind", _set(good[kind], "a\nb\x1b[31m", "kind"), load))
    for key in ("d_model", "d_state", "num_keypoints", "num_global_blocks"):
        value = 250 if key.endswith("blocks") else 60_000
        found.append(
            _case("configuration, pose", f"large {key}", _set(good["pose"], value, "config", key), LOADS["pose"])
        )
    return found


def _value_cases(good: dict[str, bytes]) -> list[Case]:
    """Numbers that are none, types that do not fit, tensors too many and too few."""
    found = []
    for kind, data in good.items():
        header, body = _split(data)
        name = next(name for name in header if name.endswith("weight") and header[name]["dtype"] == "F32")
        start, _ = header[name]["data_offsets"]
        for word, bits in (("NaN", b"\x00\x00\xc0\x7f"), ("Infinity", b"\x00\x00\x80\x7f")):
            changed = body[:start] + bits + body[start + 4 :]
            found.append(_case("weights, values", f"{kind}: {word}", _join(header, changed), LOADS[kind]))
        number = header[name]["data_offsets"][1] - start
        for dtype, size in (("I32", 4), ("F16", 2), ("BOOL", 1), ("I64", 8), ("C64", 8), ("U8", 1)):
            shape = header[name]["shape"]
            flat = copy.deepcopy(header)
            flat[name] |= {"dtype": dtype, "shape": shape if size == 4 else [number // size]}
            found.append(_case("weights, values", f"{kind}: {dtype}", _join(flat, body), LOADS[kind]))
    return found


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _saved(value: Any, *, is_zip: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def _states() -> dict[str, dict[str, Tensor]]:
    """What a good checkpoint of each kind holds."""
    torch.manual_seed(0)
    vitpose = {}
    for name, value in ViTPoseEncoder(VITPOSE.encoder, VITPOSE.crop_hw).state_dict().items():  # type: ignore[arg-type]
        is_head = name.startswith("deconv_layers")
        renamed = name.replace("patch_embed.", "patch_embed.proj.")
        vitpose[f"keypoint_head.{name}" if is_head else f"backbone.{renamed}"] = value
    return {
        "ViTPose": vitpose,
        "PoseMamba": dict(PoseMamba(LiftConfig(d_model=16, depth=1, max_frames=9)).state_dict()),
    }


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _checkpoints(state: dict[str, Tensor]) -> dict[str, bytes]:
    good = _saved(state)
    rng = random.Random(SEED)
    parts = _members(good)
    pkl = next(name for name in parts if name.endswith("data.pkl"))
    largest = max((name for name in parts if name != pkl), key=lambda name: len(parts[name]))
    # what the pickle says of the largest tensor: a little number, then a thousand million
    claimed = parts[pkl].replace(_number(len(parts[largest]) // 4), b"J" + struct.pack("<i", 10**9))
    assert claimed != parts[pkl]
    name = next(iter(state))
    old = _saved(state, is_zip=False)
    packed = {
        f"code in an archive: {n}": {"archive/data.pkl": p, "archive/version": b"3\n"} for n, p in programs().items()
    }
    return {
        "as it should be": good,
        "the old way": old,
        **{f"code: {name}": data for name, data in programs().items()},
        **{name: _zip(members) for name, members in list(packed.items())[:5]},
        **{f"bits flipped {k}": flip_bits(good, rng, 1 + 40 * k) for k in range(8)},
        **{
            f"bits of the pickle flipped {k}": _zip(parts | {pkl: flip_bits(parts[pkl], rng, 1 + k)}) for k in range(12)
        },
        **{f"cut at {k}/6": good[: len(good) * k // 6] for k in range(6)},
        "storages shorter than claimed": _zip(parts | {largest: parts[largest][:64]}),
        "no storage at all": _zip(parts | {largest: b""}),
        "numbers that are not there": _zip(parts | {pkl: claimed}),
        "a storage that is missing": _zip({name: data for name, data in parts.items() if name != largest}),
        "a compressed archive": _zip(parts, zipfile.ZIP_DEFLATED),
        "a bomb": _zip(parts | {largest: bytes(48 * 1024**2)}, zipfile.ZIP_DEFLATED),
        "a list": _saved([1, 2]),
        "a tensor": _saved(torch.zeros(3)),
        "an empty dict": _saved({}),
        "numbers for tensors": _saved(state | {name: 7}),
        "a state that is a list": _saved({"state_dict": [1], "model_pos": [1]}),
        "names that are numbers": _saved({1: torch.zeros(2)}),
        "a tensor missing": _saved({key: value for key, value in state.items() if key != name}),
        "a tensor of NaN": _saved(state | {name: state[name] * torch.nan}),
        "a tensor of whole numbers": _saved(state | {name: state[name].long()}),
        "a complex tensor": _saved(state | {name: state[name].to(torch.complex64)}),
        "a sparse tensor": _saved(state | {name: state[name].to_sparse()}),
        "a tensor of strides": _saved(state | {name: torch.zeros(1).expand(state[name].shape)}),
        "a tensor on no device": _saved(state | {name: state[name].to("meta")}),
        "the old way, cut": old[:-1000],
        "the old way, bits flipped": flip_bits(old, rng, 60, within=(0, 800)),
        "lists in lists": b"]" * 20_000 + b"a" * 19_999 + b".",
        "dicts in dicts": pickle.dumps(_dicts(60)),
    }


def _number(value: int) -> bytes:
    """A whole number as pickles of protocol 2 have it."""
    if value < 65536:
        return b"K" + struct.pack("<B", value) if value < 256 else b"M" + struct.pack("<H", value)
    return b"J" + struct.pack("<i", value)


def _dicts(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"state_dict": value}
    return value


def _checkpoint_cases() -> list[Case]:
    states = _states()
    files = {kind: _checkpoints(state) for kind, state in states.items()}
    imports: dict[str, Callable[[Path, Path], object]] = {
        "ViTPose": lambda path, out: import_vitpose(path, out, configs={"tiny": VITPOSE}),
        "PoseMamba": import_posemamba,
    }
    may_be_fine = ("as it should", "the old way", "bits", "a tensor of strides", "a tensor of whole")
    found = []
    for kind, read in imports.items():
        for name, data in files[kind].items():

            def load(path: Path, read: Callable[[Path, Path], object] = read) -> None:
                read(path, path.parent.parent / "out" / "converted.safetensors")

            must_refuse = not name.startswith(may_be_fine)
            found.append(_case(f"checkpoints, {kind}", name, data, load, suffix=".pth", must_refuse=must_refuse))

    def check(path: Path) -> None:
        check_whole(path, suffix=".pth")

    for name in ("code: os.system", "cut at 3/6", "a compressed archive", "a bomb", "cut at 0/6"):
        case = _case("", "", files["ViTPose"][name], check, suffix=".pth")
        found.append(Case("downloads of unknown checksum", name, case.run, "", True))
    return found
