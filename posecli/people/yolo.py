"""YOLO detectors of ultralytics (extra ``posecli[yolo]``, AGPL-3.0): only this file knows them.

Only the network itself and the package's own suppression are used: its ``predict`` would phone home, install packages, and needs a
torchvision that matches torch. Everything of the kind is switched off before the import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from posecli.download import file_sha256
from posecli.errors import DeviceError, WeightsError
from posecli.geometry import clip_boxes
from posecli.out_of_memory import BatchSize
from posecli.people.batches import detect_in_batches
from posecli.people.letterbox import Letterbox
from posecli.records import Detections, FloatArray, Frame
from posecli.weights import cache_folder

DEFAULT_MIN_SCORE = 0.15  # what is left is the tracker's to judge
LONGER_SIDE_PX = 640
MAX_BATCH = 8
MAX_PEOPLE = 100
_MAX_IOU = 0.6
_SECONDS_PER_IMAGE = 10.0  # the package gives up suppressing after 0.05 s, and results would depend on the load
_PACKAGE_HINT = "pip install 'posecli[yolo]'"
# A plain install brings a torchvision; without its metadata the package does not even import. The network does not use it.
_TORCHVISION_HINT = "pip install torchvision (any version: ultralytics asks for it, posecli does not use it)"


class YoloDetector:
    """Finds people with a YOLO11 or YOLO26 network.

    Args:
        weights: The user's ``.pt`` file; a ``.yaml`` of the package gives random weights, for tests and benchmarks.
        device: Torch device.
        min_score: People less sure are dropped.
        longer_side_px: Frames are scaled to it.

    Raises:
        DeviceError: The extra is not installed, or not whole.
        WeightsError: The file is missing or is no detector of people.
    """

    name = "yolo"

    def __init__(
        self,
        weights: str,
        *,
        device: str = "cpu",
        min_score: float = DEFAULT_MIN_SCORE,
        longer_side_px: int = LONGER_SIDE_PX,
    ) -> None:
        path = Path(weights).expanduser()
        is_random = path.suffix in (".yaml", ".yml")
        if not is_random and not path.is_file():
            raise WeightsError(
                f"{path}: no such YOLO weights file",
                hint="posecli weights fetch yolo11n brings one; posecli weights list shows the others",
            )
        self.min_score, self.longer_side_px = min_score, longer_side_px
        self.device = torch.device(device)
        self._batches = BatchSize(MAX_BATCH, what="frames for the detector")
        self.weights_name = path.name
        self.sha256 = None if is_random else file_sha256(path)
        model, self._suppress = _load(str(path))
        self._model = model.to(self.device).float().eval()
        self._person = _person_class(model.names, path)
        self._multiple_px = max(32, int(model.stride.max()))

    @property
    def notes(self) -> list[str]:
        """What the user may want to know about how it went, one line each."""
        return self._batches.notes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people in each frame, best first; boxes are cut to the frame."""
        return detect_in_batches(frames, self._detect_batch, self._batches)

    @torch.inference_mode()
    def _detect_batch(self, frames: list[Frame]) -> list[Detections]:
        height, width = frames[0].image.shape[:2]
        letterbox = Letterbox.fit((width, height), longer_side_px=self.longer_side_px, multiple_px=self._multiple_px)
        images = torch.from_numpy(np.stack([letterbox.apply(frame.image) for frame in frames]))
        output = self._model(images.to(self.device).permute(0, 3, 1, 2).float() / 255.0)
        rows = self._suppress(
            output,
            self.min_score,
            _MAX_IOU,
            classes=[self._person],
            max_det=MAX_PEOPLE,
            max_time_img=_SECONDS_PER_IMAGE,
            end2end=bool(getattr(self._model, "end2end", False)),
        )
        return [_to_frame(frame, letterbox, row.cpu().numpy()) for frame, row in zip(frames, rows, strict=True)]


def _to_frame(frame: Frame, letterbox: Letterbox, rows: FloatArray) -> Detections:
    """(N, 6) xyxy, score, class in input px -> detections in the frame; the package's pixels start at their edges, ours at centres."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    boxes = clip_boxes(letterbox.to_frame(rows[:, :4] - 0.5), *letterbox.frame_wh)
    keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Detections(frame.index, boxes[keep], np.clip(rows[keep, 4], 0.0, 1.0).astype(np.float32))


def _load(weights: str) -> tuple[Any, Any]:
    """The network and the package's suppression."""
    with _quiet_import():
        try:
            from ultralytics import YOLO
            from ultralytics.utils.nms import non_max_suppression
        except ModuleNotFoundError as error:
            hint = _TORCHVISION_HINT if error.name == "torchvision" else _PACKAGE_HINT
            raise DeviceError(f"the detector yolo is not installed: no module {error.name}", hint=hint) from error
        except ImportError as error:  # among them PackageNotFoundError, whose name is the package
            hint = _TORCHVISION_HINT if "torchvision" in str(error) else _PACKAGE_HINT
            raise DeviceError(f"the detector yolo cannot be imported: {error}", hint=hint) from error
        try:
            model = YOLO(weights, task="detect").model
        except Exception as error:  # the package raises whatever torch, yaml and pickle raise
            message = " ".join(str(error).split())
            raise WeightsError(f"{weights}: ultralytics cannot read it: {message[:200]}") from error
    if not isinstance(model, torch.nn.Module):
        raise WeightsError(f"{weights}: not a PyTorch file of ultralytics", hint="give the .pt file")
    return model, non_max_suppression


@contextmanager
def _quiet_import() -> Iterator[None]:
    """No connections, no installs, no prints, settings in our cache; undoes what the import does to the whole process."""
    os.environ.update(
        YOLO_OFFLINE="1",
        YOLO_AUTOINSTALL="0",
        YOLO_VERBOSE="0",
        YOLO_CONFIG_DIR=str(cache_folder() / "ultralytics"),
        ULTRALYTICS_SAFE_LOAD="1",
    )
    (cache_folder() / "ultralytics").mkdir(parents=True, exist_ok=True)
    omp_threads, cv2_threads = os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(cv2_threads)
        if omp_threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = omp_threads


def _person_class(names: Mapping[int, str], path: Path) -> int:
    """The class called person; in a network without names (random weights) or with one class, the first."""
    by_name = {str(name).lower(): index for index, name in names.items()}
    if "person" in by_name:
        return by_name["person"]
    if len(names) == 1 or all(str(index) == str(name) for index, name in names.items()):
        return 0
    raise WeightsError(
        f"{path}: none of its {len(names)} classes is called person", hint="use a detector trained on COCO"
    )
