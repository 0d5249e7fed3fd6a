"""From the 2D track of a person to the 3D pose in every frame.

Legend: T rows of a track, S samples of a stretch, F frames of a window, B windows, J = 17 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posecli.defaults import LIFTER_WEIGHTS
from posecli.errors import DeviceError
from posecli.lifting.blocks import PlaneScan
from posecli.lifting.bones import check_height, steady_bones, to_standard_size
from posecli.lifting.checkpoint import load_lifter_network
from posecli.lifting.clip_windows import ClipMerger, window_starts
from posecli.lifting.config import LiftConfig
from posecli.lifting.normalise import normalise_person
from posecli.lifting.rays import facing_rotations, turned
from posecli.lifting.timeline import Stretch, stretches
from posecli.lifting.trajectory import DEFAULT_FOV_DEG, Camera, root_trajectory
from posecli.records import Annotation, FloatArray, PoseSequence, PoseSequence3D
from posecli.skeletons import H36M17, STANDARD_HEIGHT_CM, get_skeleton, to_h36m17
from posecli.ssm import resolve_backend

# Of the training data: posecli's own, and Human3.6M.
_RATE_HZ = {"person": 30.0, "image": 50.0}
_MM_PER_M = 1000.0
_BATCH_CPU, _BATCH_CUDA = 1, 16
# Neighbouring windows share a sixth of their frames.
_OVERLAP_SHARE = 6
_ROOT, _NOSE_JOINT, _HEAD_TOP_JOINT = 0, H36M17.joint_names.index("neck"), H36M17.joint_names.index("head")


class LifterNetwork(Protocol):
    """What a lifter needs of its network: (B, F, J, in_channels) in, (B, F, J, 3) out; see `posecli.lifting.network.PoseMamba`."""

    @property
    def config(self) -> LiftConfig:
        """Its settings."""

    def __call__(self, joints: Tensor, /) -> Tensor:
        """Lift clips of one length."""


class Lifter:
    """Turns 2D tracks into 3D poses.

    A track is cut where nobody is seen for more than 0.3 s; each part goes through the network in windows of ``config.max_frames``
    frames that overlap and are faded into each other. The size of a person cannot be seen: poses are those of a body of
    ``height_cm``.

    A joint that was not seen (score 0) but whose frame was lifted is the network's guess from the others; it keeps score 0. Frames
    that were not lifted are NaN.

    Networks with ``normalisation`` "image" (the authors') see places in the picture; their joints 9 and 10 are the nose and the top
    of the head, where the skeleton of the track has these, and every frame is scaled so that the bones together are as long
    as the standard body's.

    Args:
        network: In eval mode.
        name: Of the weights, for the run record.
        sha256: Of the weights file.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        backend: Of the selective scan, see `posecli.ssm.multi_scan`.
        height_cm: How tall the people are.
        fov_deg: Of the camera, see `posecli.lifting.trajectory.Camera`; decides the root trajectory only.
        is_mirrored: Whether every clip is lifted a second time in the mirror and averaged: twice the time, more accurate.
        has_steady_bones: Whether each bone is held at its median length over the track.
        batch_size: Windows a forward pass; ``None``: 1 on a CPU, 16 on a GPU.

    Raises:
        ConfigError: A height or a field of view that cannot be.
        DeviceError: The device or the backend is not available.
    """

    def __init__(
        self,
        network: LifterNetwork,
        *,
        name: str = "unnamed",
        sha256: str = "",
        device: str = "cpu",
        backend: str = "auto",
        height_cm: float = STANDARD_HEIGHT_CM,
        fov_deg: float = DEFAULT_FOV_DEG,
        is_mirrored: bool = False,
        has_steady_bones: bool = True,
        batch_size: int | None = None,
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise DeviceError(f"device {device!r} is not available", hint="use --device cpu, or a torch built for CUDA")
        check_height(height_cm)
        Camera.check_fov(fov_deg)
        self.device = torch.device(device)
        self.network, self.name, self.sha256 = network, name, sha256
        self.backend = resolve_backend(backend, self.device)
        if isinstance(network, torch.nn.Module):
            network.to(self.device)
            for module in network.modules():
                if isinstance(module, PlaneScan):
                    module.backend = self.backend
        self.height_cm, self.fov_deg = height_cm, fov_deg
        self.is_mirrored, self.has_steady_bones = is_mirrored, has_steady_bones
        self._batch_size = batch_size or (_BATCH_CUDA if self.device.type == "cuda" else _BATCH_CPU)
        self._mirror_order = torch.from_numpy(H36M17.flip_indices.copy()).to(self.device)

    @classmethod
    def load(cls, name_or_path: str | Path = LIFTER_WEIGHTS, **options: Any) -> Lifter:
        """A lifter from weights.

        Args:
            name_or_path: A registered name, or a file.
            options: As for the class.

        Raises:
            WeightsError: The weights cannot be found, read, or are no lifter's.
            ConfigError: See the class.
            DeviceError: See the class.
        """
        network, loaded = load_lifter_network(name_or_path)
        return cls(network, name=loaded.name, sha256=loaded.sha256, **options)

    def facts(self) -> dict[str, Any]:
        """For the run record: what decided the result."""
        return {
            "weights": self.name,
            "sha256": self.sha256,
            "height_cm": self.height_cm,
            "fov_deg": self.fov_deg,
            "mirror": self.is_mirrored,
            "steady_bones": self.has_steady_bones,
            "scan": self.backend,
        }

    def lift_all(
        self, annotation: Annotation, progress: Callable[[int], None] | None = None
    ) -> tuple[PoseSequence3D, ...]:
        """Every track of a video in 3D, in the order of ``annotation.poses``; ``progress`` is told how many poses are done."""
        lifted: list[PoseSequence3D] = []
        for pose in annotation.poses:
            if progress is not None:
                progress(sum(map(len, lifted)))
            lifted.append(
                self.lift(
                    pose,
                    annotation.frames.time_s,
                    width_px=annotation.video.width_px,
                    height_px=annotation.video.height_px,
                    first_frame_index=annotation.first_frame_index,
                )
            )
        return tuple(lifted)

    def lift(
        self,
        pose: PoseSequence,
        time_s: NDArray[np.float64],
        *,
        width_px: int,
        height_px: int,
        first_frame_index: int = 0,
    ) -> PoseSequence3D:
        """One track in 3D.

        Args:
            pose: A track of skeleton ``coco17`` or ``posecli19``.
            time_s: (F,) seconds of all frames of the video (``FrameTable.time_s``): row i is frame ``first_frame_index + i``.
            width_px: Of the picture.
            height_px: Of the picture.
            first_frame_index: The frame of the first row of ``time_s``.

        Returns:
            The same frames in 3D, with a rough root trajectory.

        Raises:
            ValueError: ``time_s`` does not cover the track's frames, or does not ascend over them.
        """
        joints_px, scores = self._joints(pose)
        size_px = (width_px, height_px)
        joints_mm = np.full((len(pose), len(H36M17), 3), np.nan, np.float32)
        rate_hz = _RATE_HZ[self.network.config.normalisation]
        for stretch in stretches(
            joints_px, scores, pose.frame_indices, time_s, first_frame_index=first_frame_index, rate_hz=rate_hz
        ):
            joints_mm[stretch.rows] = stretch.at_rows(self._lift_stretch(stretch, size_px))
        joints_mm = steady_bones(joints_mm) if self.has_steady_bones else joints_mm
        joints_mm *= np.float32(self.height_cm / STANDARD_HEIGHT_CM)
        camera = Camera.from_fov(self.fov_deg, width_px=width_px, height_px=height_px)
        if self.network.config.normalisation == "person":
            joints_mm = turned(joints_mm, facing_rotations(camera.rays(_filled(joints_px[:, _ROOT]))).swapaxes(1, 2))
        is_lifted = np.isfinite(joints_mm).all(axis=-1)  # (T, J): in a frame all joints or none
        root_mm = root_trajectory(
            joints_mm,
            joints_px,
            scores,
            time_s[pose.frame_indices - first_frame_index],
            camera,
        )
        return PoseSequence3D(
            track_id=pose.track_id,
            skeleton=H36M17.name,
            frame_indices=pose.frame_indices,
            joints_mm=joints_mm,
            root_mm=root_mm,
            scores=np.where(is_lifted, scores, np.float32(0.0)),
        )

    def _joints(self, pose: PoseSequence) -> tuple[FloatArray, FloatArray]:
        """(T, J, 2) px and (T, J) as this network knows the joints; score 0 where missing."""
        skeleton = get_skeleton(pose.skeleton)
        present = np.isfinite(pose.keypoints).all(axis=-1) & (pose.scores > 0.0)
        points = np.where(present[..., None], pose.keypoints, np.float32(np.nan))
        known = np.where(present, pose.scores, np.float32(0.0))
        joints, scores = to_h36m17(points, known, skeleton)
        if self.network.config.normalisation == "image":
            for joint, name in ((_NOSE_JOINT, "nose"), (_HEAD_TOP_JOINT, "head_top")):
                if name in skeleton.keypoint_names:
                    joints[:, joint] = points[:, skeleton.index(name)]
                    scores[:, joint] = known[:, skeleton.index(name)]
        return joints, scores

    def _lift_stretch(self, stretch: Stretch, size_px: tuple[int, int]) -> FloatArray:
        """(S, J, 3) mm of the standard body."""
        config = self.network.config
        window = min(config.max_frames, len(stretch.times_s))
        overlap = min(config.max_frames // _OVERLAP_SHARE, window - 1)
        merger = ClipMerger(len(stretch.times_s), (len(H36M17), 3))
        all_starts = window_starts(len(stretch.times_s), window, overlap)
        for first in range(0, len(all_starts), self._batch_size):
            starts = all_starts[first : first + self._batch_size]
            answers = self._infer(list(self._clips(stretch, starts, window, size_px)))
            for start, answer in zip(starts, answers, strict=True):
                merger.add(start, answer)
        lifted = merger.merged()
        lifted -= lifted[:, _ROOT : _ROOT + 1]
        return to_standard_size(lifted) if config.normalisation == "image" else lifted * np.float32(_MM_PER_M)

    def _clips(
        self, stretch: Stretch, starts: Sequence[int], window: int, size_px: tuple[int, int]
    ) -> Iterator[FloatArray]:
        """(F, J, in_channels) a window, as the network wants it."""
        config = self.network.config
        for start in starts:
            joints, scores = stretch.joints[start : start + window], stretch.scores[start : start + window]
            if config.normalisation == "person":
                inputs = normalise_person(joints, scores).inputs
            else:
                inputs = _normalise_image(joints, scores, size_px)
            yield inputs[..., : config.in_channels]

    def _infer(self, clips: Sequence[FloatArray]) -> FloatArray:
        """(B, F, J, 3): the network's answers, averaged with those to the mirrored clips."""
        inputs = torch.from_numpy(np.stack(clips)).to(self.device)
        with torch.inference_mode():
            lifted = self.network(inputs)
            if self.is_mirrored:
                lifted = (lifted + self._mirrored(self.network(self._mirrored(inputs)))) / 2.0
        return np.asarray(lifted.float().cpu().numpy(), np.float32)

    def _mirrored(self, joints: Tensor) -> Tensor:
        """(B, F, J, C) with x negated, left and right exchanged."""
        swapped = joints[:, :, self._mirror_order]
        return torch.cat([-swapped[..., :1], swapped[..., 1:]], dim=-1)


def _filled(points_px: FloatArray) -> FloatArray:
    """(T, 2) px: missing points on straight lines between those known; as they are where none is."""
    rows, is_known = np.arange(len(points_px)), np.isfinite(points_px).all(axis=-1)
    if not is_known.any():
        return points_px
    return np.stack([np.interp(rows, rows[is_known], axis[is_known]) for axis in points_px.T], axis=1).astype(
        np.float32
    )


def _normalise_image(joints: FloatArray, scores: FloatArray, size_px: tuple[int, int]) -> FloatArray:
    """(F, J, 3): x and y over half the picture's width, the middle being 0 (the authors' ``normalize_screen_coordinates``), and score.

    Their data miss no joint: one that is missing is put where it was last, or next, seen; one that is never seen, at the root; and
    without a root, in the middle of the picture.
    """
    width, height = size_px
    filled = joints.copy()
    frames = np.arange(len(joints))
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(np.isfinite(joints[:, joint]).all(axis=-1))
        for axis in range(2):
            if known.size:
                filled[:, joint, axis] = np.interp(frames, known, joints[known, joint, axis])
            elif joint != _ROOT:
                filled[:, joint, axis] = filled[:, _ROOT, axis]
            else:
                filled[:, joint, axis] = size_px[axis] / 2.0
    xy = filled / width * 2.0 - np.array([1.0, height / width], np.float32)
    return np.concatenate([xy, scores[..., None]], axis=-1).astype(np.float32)
