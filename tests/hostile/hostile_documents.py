"""JSON and text files: mutated ones of every kind that posecli reads, and bombs."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from posecli.evaluation.video_labels import read_video_labels
from posecli.formats.boxes import read_boxes
from posecli.formats.bvh_reader import read_bvh
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.formats.coco_results import write_coco_results
from posecli.formats.ground_truth import read_ground_truth
from posecli.formats.npz import write_npz
from posecli.formats.posetrack import read_posetrack, write_posetrack
from posecli.formats.trc import read_trc, write_trc_files
from posecli.people.boxes_file import BoxesDetector
from posecli.records import Annotation, Frame, FrameTable, PoseSequence, PoseSequence3D, VideoInfo
from posecli.skeletons import COCO17
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_mutation import SEED, mutate, nested, spell

NUM_FRAMES = 5
PER_READER = 24
Use = Callable[[Path, Path], object]


def cases() -> list[Case]:
    """About 330."""
    with tempfile.TemporaryDirectory() as folder:
        good = _good_documents(Path(folder))
    found = [case for kind, document in good.items() for case in _mutated(kind, document)]
    found += [
        case for kind, document in good.items() if kind != "boxes from ground truth" for case in _swept(kind, document)
    ]
    found += [_bomb_case(kind, name) for kind in good for name in _bombs()]
    return found + _text_cases()


def example(path: Path = Path("clips/walk.mp4")) -> Annotation:
    """Two people in five frames, in 2D and 3D."""
    rng = np.random.default_rng(1)
    pts = np.arange(NUM_FRAMES, dtype=np.int64) * 512
    video = VideoInfo(
        path, 96, 64, Fraction(25), NUM_FRAMES, 0.2, 0, Fraction(1, 12800), "h264", "yuv420p", "bt709", False, False
    )
    frames = FrameTable(pts, pts / 12800, np.zeros(NUM_FRAMES, np.bool_))
    flat = tuple(_person(track_id, rng) for track_id in (3, 8))
    solid = tuple(
        PoseSequence3D(
            pose.track_id,
            "h36m17",
            pose.frame_indices,
            rng.normal(0, 300, (NUM_FRAMES, 17, 3)).astype(np.float32),
            rng.normal(3000, 10, (NUM_FRAMES, 3)).astype(np.float32),
            np.full((NUM_FRAMES, 17), 0.5, np.float32),
        )
        for pose in flat
    )
    return Annotation(video, frames, flat, {"posecli": "0.1.0"}, 0, solid)


def _person(track_id: int, rng: np.random.Generator) -> PoseSequence:
    points = rng.uniform(1, 60, (NUM_FRAMES, 19, 2)).astype(np.float32)
    scores = rng.uniform(0.2, 1, (NUM_FRAMES, 19)).astype(np.float32)
    boxes = np.tile(np.array([2, 3, 40, 50], np.float32), (NUM_FRAMES, 1))
    ones, no = np.ones(NUM_FRAMES, np.float32), np.zeros(NUM_FRAMES, np.bool_)
    return PoseSequence(track_id, "posecli19", np.arange(NUM_FRAMES), points, points, scores, boxes, ones, no)


def _good_documents(folder: Path) -> dict[str, Any]:
    annotation = example()
    write_coco_dataset(annotation, folder / "poses.json")
    write_coco_results(annotation, folder / "results.json")
    write_posetrack(annotation, folder / "000001_mpii_test.json")
    found = {
        "poses file": json.loads((folder / "poses.json").read_text()),
        "boxes from COCO results": json.loads((folder / "results.json").read_text()),
        "PoseTrack file": json.loads((folder / "000001_mpii_test.json").read_text()),
        "boxes file": {
            "frames": [
                {"frame_index": k, "boxes": [[1, 2, 30, 40], [5.5, 6, 70, 60]], "scores": [1, 0.5]} for k in (0, 1)
            ]
        },
        "ground truth": _ground_truth(),
    }
    found["boxes from ground truth"] = found["ground truth"]
    found["labels of a video"] = found["ground truth"]
    return found


def _ground_truth() -> dict[str, Any]:
    images = [{"id": k + 1, "file_name": f"{k}.jpg", "width": 96, "height": 64, "frame_index": k} for k in range(3)]
    people = [
        {
            "id": k,
            "image_id": k + 1,
            "category_id": 1,
            "keypoints": [10, 10, 2] * 17,
            "bbox": [1, 2, 30, 40],
            "area": 900.0,
            "iscrowd": 0,
        }
        for k in range(3)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)}
    return {"images": images, "annotations": people, "categories": [category]}


def _use_poses(path: Path, out: Path) -> None:
    """Whatever was read must be writable in every format, and readable again."""
    annotation = read_coco_dataset(path)
    write_coco_dataset(annotation, out / "again.json")
    read_coco_dataset(out / "again.json")
    write_coco_results(annotation, out / "results.json")
    write_posetrack(annotation, out / "000001_mpii_test.json")
    if annotation.poses_3d:
        write_npz(annotation, out / "poses.npz")
        write_trc_files(annotation, out / "trc")


def _use_boxes(path: Path, out: Path) -> None:
    detector = BoxesDetector(read_boxes(path))
    for index in (0, 1, 2):
        (found,) = detector.detect([Frame(index, index, index / 25, np.zeros((64, 96, 3), np.uint8))])
        assert np.isfinite(found.boxes).all() and (found.boxes >= -0.5).all()


def _use_truth(path: Path, out: Path) -> None:
    truth = read_ground_truth(path)
    assert sum(len(rows) for rows in truth.rows_by_image().values()) == len(truth)
    assert np.isfinite(truth.keypoints).all() and np.isfinite(truth.boxes).all() and np.isfinite(truth.areas).all()


def _use_labels(path: Path, out: Path) -> None:
    read_video_labels(path)


def _use_posetrack(path: Path, out: Path) -> None:
    for pose in read_posetrack(path).poses:
        assert not np.isinf(pose.keypoints).any() and not np.isinf(pose.boxes).any()


USES: dict[str, Use] = {
    "poses file": _use_poses,
    "boxes from COCO results": _use_boxes,
    "PoseTrack file": _use_posetrack,
    "boxes file": _use_boxes,
    "ground truth": _use_truth,
    "boxes from ground truth": _use_boxes,
    "labels of a video": _use_labels,
}


def _mutated(kind: str, document: Any) -> list[Case]:
    rng = random.Random(f"{SEED} {kind}")
    return [
        _file_case(kind, f"mutation {k}", spell(mutate(document, rng, 1 + k % 3)), must_refuse=False)
        for k in range(PER_READER)
    ]


def _swept(kind: str, document: Any) -> list[Case]:
    """Every key once with a number too large, and once with a text that breaks lines."""
    found = []
    for name, path in sorted(_keys(document).items()):
        for bad in (2**64 - 1, 3.3e38, -1, "a\nb\x1b[31m"):
            changed = copy.deepcopy(document)
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = [bad] * len(holder[path[-1]]) if isinstance(holder[path[-1]], list) else bad
            found.append(_file_case(kind, f"{name} = {str(bad)[:9]!r}", spell(changed), must_refuse=False))
    return found


def _keys(value: Any, path: tuple[Any, ...] = ()) -> dict[str, tuple[Any, ...]]:
    """One path to each key, by its name with those above; of lists the first element is looked at."""
    found: dict[str, tuple[Any, ...]] = {}
    if isinstance(value, dict):
        for key, item in value.items():
            found[".".join(str(step) for step in (*path, key))] = (*path, key)
            found |= _keys(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found |= _keys(value[0], (*path, 0))
    return found


def _file_case(kind: str, name: str, data: bytes, *, must_refuse: bool) -> Case:
    def run(places: Places) -> None:
        path = places.inside / "hostile.json"
        path.write_bytes(data)
        USES[kind](path, places.out)

    return Case(kind, name, run, "hostile.json", must_refuse)


def _bombs() -> dict[str, Callable[[Path], object]]:
    """Files that are no such document at all."""
    return {
        "nothing": lambda path: path.write_bytes(b""),
        "200000 open brackets": lambda path: path.write_bytes(b"[" * 200_000),
        "900 lists in lists": lambda path: path.write_bytes(json.dumps(nested(900)).encode()),
        "200000 objects in objects": lambda path: path.write_bytes(b'{"frames":' * 200_000),
        "300 objects under every key": lambda path: path.write_bytes(_nested_keys(300)),
        "a million digits": lambda path: path.write_bytes(b'{"frames": ' + b"9" * 1_000_000 + b"}"),
        "not a number": lambda path: path.write_bytes(b'{"frames": [NaN, Infinity, -Infinity]}'),
        "no UTF-8": lambda path: path.write_bytes(b'{"frames": "\xff\xfe\x80"}'),
        "half a pair": lambda path: path.write_bytes(b'{"frames": "\\ud800"}'),
        "UTF-16": lambda path: path.write_bytes('{"frames": []}'.encode("utf-16")),
        "zeros": lambda path: path.write_bytes(bytes(100_000)),
        "a text": lambda path: path.write_bytes(b'"frames annotations posecli"'),
        "null": lambda path: path.write_bytes(b"null"),
        "a folder": lambda path: path.mkdir(),
        "not there": lambda path: None,
        "a link to itself": lambda path: path.symlink_to(path),
        "a device without end": lambda path: path.symlink_to("/dev/zero"),
        "a device without content": lambda path: path.symlink_to("/dev/null"),
        "two million zeros": lambda path: path.write_bytes(b'{"frames": [' + b"0," * 2_000_000 + b"0]}"),
    }


def _nested_keys(depth: int) -> bytes:
    keys = ("frames", "posecli", "images", "annotations", "categories")
    value = b"{" + b",".join(b'"%s":%s' % (key.encode(), json.dumps(nested(depth)).encode()) for key in keys)
    return value + b"}"


def _bomb_case(kind: str, name: str) -> Case:
    def run(places: Places) -> None:
        path = places.inside / "hostile.json"
        _bombs()[name](path)
        USES[kind](path, places.out)

    return Case("JSON bombs", f"{kind}: {name}", run, "hostile.json", must_refuse=True)


def _text_cases() -> list[Case]:
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        (trc,) = write_trc_files(_one_person(), Path(folder) / "trc")
        texts = {"TRC file": trc.read_text(encoding="utf-8"), "BVH file": _BVH}
    readers: dict[str, Callable[[Path], object]] = {"TRC file": read_trc, "BVH file": read_bvh}
    found = []
    for kind, text in texts.items():
        for k in range(24):
            found.append(_text_case(kind, f"mutation {k}", _mutated_text(text, rng).encode("utf-8"), readers[kind]))
        for name, data in (("zeros", bytes(5000)), ("no UTF-8", b"HIERARCHY\n\xff\xfe"), ("nothing", b"")):
            found.append(_text_case(kind, name, data, readers[kind]))
    return found


def _one_person() -> Annotation:
    annotation = example()
    return Annotation(annotation.video, annotation.frames, annotation.poses, {}, 0, annotation.poses_3d[:1])


def _mutated_text(text: str, rng: random.Random) -> str:
    words = text.split(" ") if " " in text else text.split("\t")
    separator = " " if " " in text else "\t"
    nasty = [
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "1e18",
        "9" * 5000,
        "",
        "\n",
        "}",
        "{" * 50,
        "JOINT",
        "\x00",
        "٣",
        "x",
    ]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(words))
        lead = words[place][: -len(words[place].lstrip())] if rng.random() < 0.5 else ""
        words[place] = lead + rng.choice(nasty)
    return separator.join(words)


def _text_case(kind: str, name: str, data: bytes, read: Callable[[Path], object]) -> Case:
    def run(places: Places) -> None:
        path = places.inside / "hostile.txt"
        path.write_bytes(data)
        read(path)

    return Case(kind, name, run, "hostile.txt")


_BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0.0 0.0 0.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0.0 -40.0 0.0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0.0 -40.0 0.0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
0 0 0 0 0 0 1 2 3
0 0 0 0 0 0 1 2 3
"""
