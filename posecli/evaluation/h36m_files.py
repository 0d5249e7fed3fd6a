"""Readers of Human3.6M's test part (S9, S11) as two projects publish it, for people who have the files.

Neither file was at hand when this was written: the layouts are those that the projects' own code reads and writes (MotionBERT's
``datareader_h36m.py``, VideoPose3D's ``prepare_data_h36m.py`` and ``run.py``), the numbers of the actions are from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from posecli.errors import FormatError
from posecli.evaluation.camera_from_points import camera_axes
from posecli.evaluation.joints import Reals
from posecli.evaluation.restricted_pickle import load_npz, load_pickle
from posecli.records import FloatArray, IntArray

_J = 17
_MM = 1000.0
_SIZES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"54138969": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1000, 1002)}
)
_ACTIONS = tuple(
    "Directions Discussion Eating Greeting Phoning Posing Purchases Sitting SittingDown Smoking Photo Waiting Walking WalkDog "
    "WalkTogether".split()
)
_FIRST_ACTION = 2  # Human3.6M counts its actions from 2
_KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_TEST_SUBJECTS = ("S9", "S11")


@dataclass(frozen=True, slots=True)
class H36MTest:
    """N frames, the videos one after the other.

    Attributes:
        joints_px: (N, 17, 2) the input, in the order of `posecli.skeletons.H36M17`.
        scores: (N, 17); 1 where the file has none.
        sizes_wh: (N, 2) px of the pictures.
        truth_mm: (N, 17, 3) in the camera's axes: x right, y down, z forward; root-relative or not.
        video_ids: (N,) into ``video_names``.
        video_names: One for each video.
        actions: One for each video.
        factors: (N,) millimetres in a pixel at the person's depth (``2.5d_factor``); ``None``: the file has none, and lifters that
            predict pixels cannot be judged by it.
    """

    joints_px: FloatArray
    scores: FloatArray
    sizes_wh: FloatArray
    truth_mm: FloatArray
    video_ids: IntArray
    video_names: tuple[str, ...]
    actions: tuple[str, ...]
    factors: Reals | None

    def __len__(self) -> int:
        return len(self.joints_px)


def read_motionbert(path: Path) -> H36MTest:
    """Read ``h36m_sh_conf_cam_source_final.pkl``, or one made like it.

    Of its key ``test``, N frames (566,920): ``joint_2d`` (N, 17, 2) px, ``confidence`` (N, 17) or (N, 17, 1), which may be absent,
    ``joints_2.5d_image`` (N, 17, 3) mm, ``2.5d_factor`` (N,), and lists of N: ``camera_name``, ``source`` (the video, such as
    ``s_09_act_02_subact_01_ca_01``) and ``action`` (a number from 2 or a name). The key ``train`` is read over.

    Raises:
        FormatError: The file cannot be read, holds anything but data, or is laid out differently.
    """
    part = _mapping(path, load_pickle(path), "test")
    joints = _joints(path, part, "joint_2d", 2)
    count = len(joints)
    truth = _joints(path, part, "joints_2.5d_image", 3)
    columns = {name: _column(path, part, name, count) for name in ("2.5d_factor", "camera_name", "source", "action")}
    if len(truth) != count:
        raise FormatError(f"{path}: test.joints_2.5d_image has {len(truth)} frames, joint_2d {count}")
    video_ids, names, firsts = _videos(columns["source"])
    return H36MTest(
        joints_px=joints,
        scores=_confidence(path, part, count),
        sizes_wh=_camera_sizes(path, columns["camera_name"]),
        truth_mm=truth,
        video_ids=video_ids,
        video_names=names,
        actions=tuple(_action_name(columns["action"][first]) for first in firsts),
        factors=np.asarray(columns["2.5d_factor"], np.float64),
    )


def read_videopose3d(path_3d: Path, path_2d: Path) -> H36MTest:
    """Read ``data_3d_h36m.npz`` with ``data_2d_h36m_gt.npz``.

    The first holds ``positions_3d``: subject, then action (``Directions 1``), then (T, 32, 3) metres of the world; the second
    ``positions_2d``: the same with a list of four cameras, (T, 17, 2) px, whose videos may have extra frames at the end. The cameras
    themselves are in neither: they are found from the points (`posecli.evaluation.camera_from_points`), so the 2D file must be
    the ground truth, not detections.

    Raises:
        FormatError: A file cannot be read, holds anything but data, or is laid out differently; or the two do not belong together.
    """
    worlds, pictures = (
        _mapping(path_3d, load_npz(path_3d), "positions_3d"),
        _mapping(path_2d, load_npz(path_2d), "positions_2d"),
    )
    sizes = tuple(_SIZES.values())  # cameras come in this order
    parts: list[tuple[str, str, FloatArray, FloatArray, tuple[int, int]]] = []
    for subject in _TEST_SUBJECTS:
        own_world, own_picture = _mapping(path_3d, worlds, subject), _mapping(path_2d, pictures, subject)
        taken = {action: _recording(path_3d, path_2d, own_world, own_picture, action) for action in own_world}
        for camera, size in enumerate(sizes):
            points = [(world, views[camera][: len(world)]) for world, views in taken.values()]
            turned = camera_axes(points, size, f"{path_2d}: {subject}, camera {camera}")
            for action, (_, view), truth in zip(taken, points, turned, strict=True):
                parts.append((f"{subject}/{action}/{camera}", action.split(" ")[0], view, truth, size))
    lengths = [len(part[2]) for part in parts]
    joints = np.concatenate([part[2] for part in parts])
    return H36MTest(
        joints_px=joints,
        scores=np.ones(joints.shape[:2], np.float32),
        sizes_wh=np.repeat(np.array([part[4] for part in parts], np.float32), lengths, axis=0),
        truth_mm=np.concatenate([part[3] for part in parts]),
        video_ids=np.repeat(np.arange(len(parts)), lengths),
        video_names=tuple(part[0] for part in parts),
        actions=tuple(part[1] for part in parts),
        factors=None,
    )


def _recording(
    path_3d: Path, path_2d: Path, worlds: Mapping[str, Any], pictures: Mapping[str, Any], action: str
) -> tuple[FloatArray, list[FloatArray]]:
    """(T, 17, 3) mm of the world, and at least T frames of each camera."""
    where = f"{path_3d}: {action}"
    world = _array(where, worlds[action], 3)
    if world.shape[1] not in (32, _J):
        raise FormatError(f"{where}: {world.shape[1]} joints, wanted are 32 or 17")
    world = world[:, list(_KEPT_JOINTS)] if world.shape[1] == 32 else world
    views = pictures.get(action)
    if not isinstance(views, Sequence | np.ndarray) or len(views) != len(_SIZES):
        raise FormatError(f"{path_2d}: {action}: not a list of {len(_SIZES)} cameras")
    found = [_array(f"{path_2d}: {action}", view, 2) for view in views]
    if any(view.shape[1] != _J or len(view) < len(world) for view in found):
        raise FormatError(f"{path_2d}: {action}: wanted are {_J} joints in at least {len(world)} frames")
    return world * np.float32(_MM), found


def _mapping(path: Path, content: Any, key: str) -> Mapping[str, Any]:
    value = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, Mapping):
        raise FormatError(f"{path}: has no table {key!r}")
    return value


def _array(where: str, value: Any, coordinates: int) -> FloatArray:
    """(T, joints, coordinates)."""
    if (
        not isinstance(value, np.ndarray)
        or value.ndim != 3
        or value.shape[2] < coordinates
        or value.dtype.kind not in "iuf"
    ):
        shape = value.shape if isinstance(value, np.ndarray) else type(value).__name__
        raise FormatError(f"{where}: {shape} is not (frames, joints, {coordinates})")
    return np.asarray(value[..., :coordinates], np.float32)


def _joints(path: Path, part: Mapping[str, Any], key: str, coordinates: int) -> FloatArray:
    joints = _array(f"{path}: test.{key}", part.get(key), coordinates)
    if joints.shape[1] != _J:
        raise FormatError(f"{path}: test.{key}: {joints.shape[1]} joints, wanted are {_J}")
    return joints


def _column(path: Path, part: Mapping[str, Any], key: str, count: int) -> Any:
    values = part.get(key)
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or len(values) != count:
        raise FormatError(f"{path}: test.{key}: not a list of {count}, one for each frame")
    return values


def _confidence(path: Path, part: Mapping[str, Any], count: int) -> FloatArray:
    if "confidence" not in part:
        return np.ones((count, _J), np.float32)
    values = np.asarray(part["confidence"], np.float32)
    if values.shape not in ((count, _J), (count, _J, 1)):
        raise FormatError(f"{path}: test.confidence: {values.shape} is not ({count}, {_J})")
    return values.reshape(count, _J)


def _camera_sizes(path: Path, names: Any) -> FloatArray:
    known, own = np.unique(np.asarray(names).astype(str), return_inverse=True)
    unknown = [str(name) for name in known if str(name) not in _SIZES]
    if unknown:
        raise FormatError(f"{path}: test.camera_name: {unknown[0]!r} is not one of {', '.join(_SIZES)}")
    return np.array([_SIZES[str(name)] for name in known], np.float32)[own.reshape(-1)]


def _videos(sources: Any) -> tuple[IntArray, tuple[str, ...], IntArray]:
    """The video of each frame, the names, and the first frame of each."""
    names, firsts, own = np.unique(np.asarray(sources).astype(str), return_index=True, return_inverse=True)
    return own.reshape(-1).astype(np.int64), tuple(str(name) for name in names), firsts.astype(np.int64)


def _action_name(value: Any) -> str:
    """Numbers become names."""
    text = str(value)
    number = int(text) - _FIRST_ACTION if text.isdigit() else -1
    return _ACTIONS[number] if 0 <= number < len(_ACTIONS) else text
