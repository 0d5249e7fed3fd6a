"""From frames and boxes to keypoints in frame pixels: crops, network, decoding, and back.

Legend: B windows, T frames, K keypoints, N stills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from posecli.crew import Crew
from posecli.defaults import HEAD_WEIGHTS, POSE_WEIGHTS
from posecli.encoder import CompactEncoder, normalise_images, place
from posecli.errors import ConfigError, DeviceError, WeightsError
from posecli.geometry import CropTransform
from posecli.out_of_memory import BatchSize
from posecli.packed import pack_convolutions
from posecli.pose.blocks import SelectiveScan
from posecli.pose.checkpoint import load_network
from posecli.pose.config import PoseConfig, Shown
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.graphs import GraphRunner
from posecli.pose.heads import head_transform, put_heads
from posecli.pose.heatmaps import Refinement, cell_to_crop, find_peaks
from posecli.pose.network import PoseNetwork
from posecli.pose.windows import WindowMode
from posecli.records import FloatArray, ImageArray
from posecli.skeletons import COCO17, POSECLI19
from posecli.ssm import resolve_backend
from posecli.stopwatch import Stopwatch

Precision = Literal["float32", "bfloat16"]
_STRIDE = CompactEncoder.stride
_BATCH_CPU = 1  # threads take a window each; larger batches only leave the caches
_BATCH_CUDA = 32


@dataclass(frozen=True, slots=True)
class _Window:
    """One person in T frames, or in a single one."""

    images: Sequence[ImageArray]
    transform: CropTransform


class PoseEstimator:
    """Estimates poses in windows of frames.

    On a CPU windows are spread over the threads, one torch thread each; one that is left over has all of them. Results do not
    depend on the number of threads: where several work on one window, oneDNN and our kernels share out rows, never the terms of a sum.

    Args:
        network: In eval mode.
        heads: Looks at every head a second time, from close up, with a network of its own; ``None``: once is enough.
        name: Of the weights, for the run record.
        sha256: Of the weights file.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        backend: Of the selective scan, see `posecli.ssm.multi_scan`.
        refinement: Sub-cell decoding, see `posecli.pose.heatmaps.decode`.
        batch_size: Windows a forward pass; ``None``: 1 on a CPU, 32 on a GPU. Halved when memory runs out, which `notes` tells.
        is_mirrored: Whether everybody is looked at a second time in the mirror and the heatmaps are averaged (the field's "flip
            test"): twice the time.
        precision: ``float32`` (on a GPU without TensorFloat-32: results are those of a CPU but for rounding), or ``bfloat16``:
            matrix products and convolutions in 16 bits, on a CUDA device that has them.
        crew: Who works; ``None``: as many threads as torch has, found anew when that number changes.
        stopwatch: Gets the time spent in the stages ``crop`` and ``pose``.

    Raises:
        DeviceError: The device, the backend or the precision is not available.
        ConfigError: ``heads`` looks at people, or at windows of another length.
    """

    def __init__(
        self,
        network: PoseNetwork,
        *,
        heads: PoseEstimator | None = None,
        name: str = "unnamed",
        sha256: str = "",
        device: str = "cpu",
        backend: str = "auto",
        refinement: Refinement = "centred",
        batch_size: int | None = None,
        is_mirrored: bool = False,
        precision: Precision = "float32",
        crew: Crew | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise DeviceError(f"device {device!r} is not available", hint="use --device cpu, or a torch built for CUDA")
        self.device = torch.device(device)
        self.precision = _checked(precision, self.device)
        self.backend = resolve_backend(backend, self.device)
        self.network, self.heads = network, heads
        _check_heads(network.config, heads)
        place(network, self.device)
        for module in network.modules():
            if isinstance(module, SelectiveScan):
                module.backend = self.backend
        self.name, self.sha256, self.refinement, self.is_mirrored = name, sha256, refinement, is_mirrored
        is_gpu = self.device.type == "cuda"
        self.batches = BatchSize(batch_size or (_BATCH_CUDA if is_gpu else _BATCH_CPU), what="windows of poses")
        self.stopwatch = stopwatch or Stopwatch()
        self._given_crew, self._own_crew = crew, Crew(1)
        self._graphs = GraphRunner(self._infer) if is_gpu else None
        self._pinned: Tensor | None = None
        skeleton = POSECLI19 if self.config.num_keypoints == len(POSECLI19) else COCO17
        self._mirror_order = torch.from_numpy(skeleton.flip_indices.copy()).to(self.device)

    @classmethod
    def load(
        cls,
        weights: str | Path = POSE_WEIGHTS,
        *,
        head_weights: str | Path | None = HEAD_WEIGHTS,
        device: str = "cpu",
        backend: str = "auto",
        batch_size: int | None = None,
        is_mirrored: bool = False,
        precision: Precision = "float32",
        crew: Crew | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> PoseEstimator:
        """Build an estimator from weights files, registered names or paths; other arguments as those of the class.

        ``weights`` are those of the network that looks at people, ``head_weights`` of the one that looks at heads (``None``: none).

        Raises:
            WeightsError: See `posecli.pose.checkpoint.load_network`; or the weights look at something else.
            DeviceError: The device, the backend or the precision is not available.
        """

        def build(name: str | Path, shows: Shown, heads: PoseEstimator | None) -> PoseEstimator:
            network, loaded = load_network(name)
            if network.config.shows != shows:
                shown = network.config.shows
                raise WeightsError(f"{loaded.path}: looks at a {shown}, wanted is one that looks at a {shows}")
            if device == "cpu":
                pack_convolutions(network.encoder)  # nobody else has this network
            return cls(
                network,
                heads=heads,
                name=loaded.name,
                sha256=loaded.sha256,
                device=device,
                backend=backend,
                batch_size=batch_size,
                is_mirrored=is_mirrored,
                precision=precision,
                crew=crew,
                stopwatch=stopwatch,
            )

        return build(weights, "person", None if head_weights is None else build(head_weights, "head", None))

    @property
    def config(self) -> PoseConfig:
        """The network's settings."""
        return self.network.config

    @property
    def batch_size(self) -> int:
        """Windows a forward pass, as far as memory is known to allow."""
        return self.batches.size

    @property
    def notes(self) -> list[str]:
        """What the user may want to know about how it went, one line each."""
        graphs = self._graphs.note if self._graphs is not None else None
        return self.batches.notes + ([graphs] if graphs else []) + (self.heads.notes if self.heads is not None else [])

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

        Raises:
            DeviceError: Memory ran out with a single window.
        """
        crop_hw = self.config.crop_hw
        jobs = [_Window(images, window_transform(b, crop_hw)) for images, b in zip(windows, boxes, strict=True)]
        frames = self.config.num_frames
        frame = frames // 2 if mode == "key" else None
        found = self._estimate(jobs, frame)
        if frame is None:
            return found[..., :2], found[..., 2]
        points = np.full((len(jobs), frames, self.config.num_keypoints, 2), np.nan, np.float32)
        scores = np.zeros((len(jobs), frames, self.config.num_keypoints), np.float32)
        points[:, frame], scores[:, frame] = found[:, 0, :, :2], found[:, 0, :, 2]
        return points, scores

    def estimate_images(
        self, images: Sequence[ImageArray], boxes: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Estimate people in stills, each a window of a single frame.

        Args:
            images: N upright RGB pictures.
            boxes: N arrays (4,) xyxy px, one person each.

        Returns:
            (N, K, 2) px and (N, K) scores in [0, 1].

        Raises:
            DeviceError: Memory ran out with a single still.
        """
        crop_hw = self.config.crop_hw
        transforms = [window_transform(box[None], crop_hw) for box in boxes]
        jobs = [_Window([image], transform) for image, transform in zip(images, transforms, strict=True)]
        found = self._estimate(jobs, self.config.num_frames // 2)[:, 0]
        return found[..., :2], found[..., 2]

    def estimate_crops(
        self, windows: Sequence[Sequence[ImageArray]], transforms: Sequence[CropTransform], *, frame: int | None = None
    ) -> FloatArray:
        """Estimate what certain crops show.

        Args:
            windows: B lists of T upright RGB frames.
            transforms: B crops, as large as the network wants them.
            frame: Only this frame of every window; ``None``: all.

        Returns:
            (B, T or 1, K, 3) x and y in frame px, score.

        Raises:
            DeviceError: Memory ran out with a single window.
        """
        return self._estimate(
            [_Window(images, place) for images, place in zip(windows, transforms, strict=True)], frame
        )

    def _estimate(self, jobs: list[_Window], frame: int | None) -> FloatArray:
        """(B, estimated frames, K, 3): x and y in frame px, score."""
        estimated = self.config.num_frames if frame is None else 1
        if not jobs:
            return np.zeros((0, estimated, self.config.num_keypoints, 3), np.float32)
        if self.device.type == "cuda":
            found = self.batches.run(len(jobs), lambda part: self._estimate_on_gpu(jobs[part], frame))
        else:
            found = self.batches.run(
                len(jobs), lambda part: self._estimate_on_cpu(jobs[part], frame), spread=self._spread
            )
        rows = np.concatenate(found)
        for row, job in zip(rows, jobs, strict=True):
            row[..., :2] = job.transform.to_frame(cell_to_crop(row[..., :2], _STRIDE))
        if self.heads is not None:
            self._look_at_heads(self.heads, jobs, rows, frame)
        return rows

    def _look_at_heads(self, heads: PoseEstimator, jobs: list[_Window], rows: FloatArray, frame: int | None) -> None:
        """Put what is seen from close up into the rows (B, estimated frames, K, 3) of `_estimate`."""
        places = [head_transform(row[..., :2], row[..., 2], heads.config.crop_hw) for row in rows]
        seen = [(job.images, place) for job, place in zip(jobs, places, strict=True) if place is not None]
        is_seen = [place is not None for place in places]
        closer = heads.estimate_crops([images for images, _ in seen], [place for _, place in seen], frame=frame)
        sides_px = np.array([heads.config.crop_hw[0] / place.scale for _, place in seen], np.float32)
        rows[is_seen] = put_heads(rows[is_seen], closer, sides_px)

    def _spread(self, work: Callable[[slice], FloatArray], parts: list[slice]) -> list[FloatArray]:
        """Side by side, a thread each; one that would be left over alone has all threads that are free."""
        crew = self._crew()
        is_one_left = len(parts) % crew.num_threads == 1
        found = crew.map(work, parts[:-1] if is_one_left else parts)
        if is_one_left:
            with crew.all_hands():
                found.append(work(parts[-1]))
        return found

    def _crew(self) -> Crew:
        if self._given_crew is not None:
            return self._given_crew
        if self._own_crew.num_threads != torch.get_num_threads():
            self._own_crew = Crew(torch.get_num_threads())
        return self._own_crew

    def _estimate_on_cpu(self, jobs: list[_Window], frame: int | None) -> FloatArray:
        """(B, estimated frames, K, 3): x and y in cells, score. In any thread."""
        with self.stopwatch.time("crop"):
            crops = np.empty(self._crops_shape(jobs), np.uint8)
            for job, out in zip(jobs, crops, strict=True):
                cut_window(job.images, job.transform, out=out)
        with self.stopwatch.time("pose"), torch.inference_mode():
            found: FloatArray = self._infer(torch.from_numpy(crops), frame).numpy()
        return found

    def _estimate_on_gpu(self, jobs: list[_Window], frame: int | None) -> FloatArray:
        """As `_estimate_on_cpu`: one transfer there, one back; all hands cut."""
        with self.stopwatch.time("crop"):
            crops = self._pinned_crops(self._crops_shape(jobs))
            views = crops.numpy()
            self._crew().map(lambda b: cut_window(jobs[b].images, jobs[b].transform, out=views[b]), range(len(jobs)))
        with self.stopwatch.time("pose"), torch.inference_mode():
            run = self._graphs or self._infer
            found: FloatArray = run(crops.to(self.device, non_blocking=True), frame).cpu().numpy()
        return found

    def _crops_shape(self, jobs: list[_Window]) -> tuple[int, ...]:
        return len(jobs), len(jobs[0].images), *self.config.crop_hw, 3

    def _pinned_crops(self, shape: tuple[int, ...]) -> Tensor:
        """Memory the device can fetch from by itself; it is free again when the results are there."""
        size = int(np.prod(shape))
        if self._pinned is None or self._pinned.numel() < size:
            self._pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        return self._pinned[:size].view(shape)

    def _infer(self, crops: Tensor, frame: int | None) -> Tensor:
        """(B, T or 1, H, W, 3) uint8 on the device -> (B, estimated frames, K, 3): x and y in cells, score."""
        batch, frames = crops.shape[:2]
        images = normalise_images(crops.flatten(0, 1).permute(0, 3, 1, 2)).unflatten(0, (batch, frames))
        with _computing_in(self.precision, self.device):
            heatmaps = self.network(images, frame=frame)
            if self.is_mirrored:
                seen = self.network(images.flip(-1), frame=frame)
                heatmaps = (heatmaps + seen.flip(-1)[:, :, self._mirror_order]) / 2
        return find_peaks(heatmaps.flatten(0, 1), refinement=self.refinement).unflatten(0, (batch, -1))


def _check_heads(config: PoseConfig, heads: PoseEstimator | None) -> None:
    if heads is None:
        return
    hint = "look at heads once only (--head-weights none), or name other weights for them"
    if (config.shows, heads.config.shows) != ("person", "head"):
        raise ConfigError(
            f"heads of a {config.shows} cannot be looked at by a network for a {heads.config.shows}", hint=hint
        )
    if heads.config.num_frames != config.num_frames:
        windows = f"heads in windows of {heads.config.num_frames} frames, people in windows of {config.num_frames}"
        raise ConfigError(windows, hint=hint)


def _checked(precision: Precision, device: torch.device) -> Precision:
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"precision {precision!r} is not float32 or bfloat16")
    if precision == "bfloat16" and (device.type != "cuda" or not torch.cuda.is_bf16_supported()):
        raise DeviceError(f"precision bfloat16 is not available on {device}", hint="use float32")
    return precision


@contextmanager
def _computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    # torch lets cuDNN round the factors of convolutions to 10 bits unless told not to
    with (
        torch.backends.cudnn.flags(enabled=True, allow_tf32=precision == "bfloat16"),
        torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield
