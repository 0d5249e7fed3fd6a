"""From frames and boxes to keypoints in frame pixels: crops, network, decoding, and back.

Legend: B windows, T frames, K keypoints, N stills.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from posecli.encoder import CompactEncoder, normalise_images, place
from posecli.errors import DeviceError
from posecli.geometry import CropTransform
from posecli.pose.blocks import SelectiveScan
from posecli.pose.checkpoint import load_network
from posecli.pose.config import PoseConfig
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.heatmaps import Refinement, cell_to_crop, decode
from posecli.pose.network import PoseNetwork
from posecli.pose.windows import WindowMode
from posecli.records import FloatArray, ImageArray
from posecli.ssm import resolve_backend

_STRIDE = CompactEncoder.stride


class PoseEstimator:
    """Estimates poses in windows of frames.

    Args:
        network: In eval mode.
        name: Of the weights, for the run record.
        sha256: Of the weights file.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        backend: Of the selective scan, see `posecli.ssm.multi_scan`.
        refinement: Sub-cell decoding, see `posecli.pose.heatmaps.decode`.
        batch_size: Windows a forward pass.

    Raises:
        DeviceError: The device or the backend is not available.
    """

    def __init__(
        self,
        network: PoseNetwork,
        *,
        name: str = "unnamed",
        sha256: str = "",
        device: str = "cpu",
        backend: str = "auto",
        refinement: Refinement = "parabola",
        batch_size: int = 4,
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise DeviceError(f"device {device!r} is not available", hint="use --device cpu, or a torch built for CUDA")
        self.device = torch.device(device)
        self.backend = resolve_backend(backend, self.device)
        self.network = network
        place(network, self.device)
        for module in network.modules():
            if isinstance(module, SelectiveScan):
                module.backend = self.backend
        self.name, self.sha256, self.refinement, self.batch_size = name, sha256, refinement, batch_size

    @classmethod
    def load(cls, weights: str | Path = "glsmamba-s", *, device: str = "cpu", backend: str = "auto") -> PoseEstimator:
        """Build an estimator from a weights file.

        Raises:
            WeightsError: See `posecli.pose.checkpoint.load_network`.
            DeviceError: The device or the backend is not available.
        """
        network, loaded = load_network(weights)
        return cls(network, name=loaded.name, sha256=loaded.sha256, device=device, backend=backend)

    @property
    def config(self) -> PoseConfig:
        """The network's settings."""
        return self.network.config

    def estimate_windows(
        self,
        windows: Sequence[Sequence[ImageArray]],
        boxes: Sequence[FloatArray],
        *,
        mode: WindowMode = "clip",
    ) -> tuple[FloatArray, FloatArray]:
        """Estimate one person per window.

        Args:
            windows: B lists of T upright RGB frames.
            boxes: B arrays (T, 4) xyxy px; rows of NaN where a frame has no box.
            mode: ``clip``: all frames; ``key``: only the middle frame of the window is estimated, the others come back NaN.

        Returns:
            (B, T, K, 2) frame px and (B, T, K) scores in [0, 1].
        """
        transforms = [window_transform(b, self.config.crop_hw) for b in boxes]
        frame = self.config.num_frames // 2 if mode == "key" else None
        points, scores = [], []
        for start in range(0, len(windows), self.batch_size):
            part = slice(start, start + self.batch_size)
            crops = np.stack([cut_window(images, t) for images, t in zip(windows[part], transforms[part], strict=True)])
            part_points, part_scores = self._estimate_crops(crops, transforms[part], frame)
            points.append(part_points)
            scores.append(part_scores)
        shape = (self.config.num_frames, self.config.num_keypoints)
        if not points:
            return np.zeros((0, *shape, 2), np.float32), np.zeros((0, *shape), np.float32)
        return np.concatenate(points), np.concatenate(scores)

    def estimate_images(
        self, images: Sequence[ImageArray], boxes: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Estimate people in stills: each still stands T times in its window.

        Args:
            images: N upright RGB pictures.
            boxes: N arrays (4,) xyxy px, one person each.

        Returns:
            (N, K, 2) px and (N, K) scores in [0, 1].
        """
        frames = self.config.num_frames
        windows = [[image] * frames for image in images]
        points, scores = self.estimate_windows(windows, [np.tile(box, (frames, 1)) for box in boxes], mode="key")
        return points[:, frames // 2], scores[:, frames // 2]

    def _estimate_crops(
        self, crops: ImageArray, transforms: Sequence[CropTransform], frame: int | None
    ) -> tuple[FloatArray, FloatArray]:
        """(B, T, H, W, 3) uint8 -> (B, T, K, 2) frame px, (B, T, K)."""
        batch, frames = crops.shape[:2]
        with torch.inference_mode():
            images = torch.from_numpy(crops).to(self.device).flatten(0, 1).permute(0, 3, 1, 2)
            heatmaps = self.network(torch.unflatten(normalise_images(images), 0, (batch, frames)), frame=frame)
            cells, peaks = decode(heatmaps.flatten(0, 1), refinement=self.refinement)
        estimated = heatmaps.shape[1]
        crop_points = cell_to_crop(cells, _STRIDE).reshape(batch, estimated, -1, 2)
        points = np.full((batch, frames, self.config.num_keypoints, 2), np.nan, np.float32)
        scores = np.zeros((batch, frames, self.config.num_keypoints), np.float32)
        kept = slice(None) if frame is None else slice(frame, frame + 1)
        for b, transform in enumerate(transforms):
            points[b, kept] = transform.to_frame(crop_points[b])
        scores[:, kept] = peaks.reshape(batch, estimated, -1)
        return points, scores
