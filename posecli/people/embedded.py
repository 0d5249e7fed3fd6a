"""The embedded detector: PersonNet on letterboxed frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from posecli.defaults import DETECTOR_WEIGHTS
from posecli.encoder import fold_batch_norms, place
from posecli.errors import ConfigError, WeightsError
from posecli.geometry import clip_boxes
from posecli.out_of_memory import BatchSize
from posecli.packed import pack_convolutions
from posecli.people.batches import detect_in_batches
from posecli.people.duplicates import fuse_looks
from posecli.people.letterbox import Letterbox
from posecli.people.personnet import (
    INPUT_MULTIPLE_PX,
    PersonNet,
    PersonNetConfig,
    before_calibration,
    calibrate,
    find_people,
)
from posecli.records import Detections, FloatArray, Frame, ImageArray
from posecli.weights import LoadedWeights, load_weights
from posecli.weights.fitting import build_fitting

DEFAULT_MIN_SCORE = 0.15  # what is left is the tracker's to judge
LONGER_SIDES_PX = (512, 288)
MAX_BATCH = 8
MAX_PEOPLE = 100
_MAX_IOU = 0.6
_SAME_PERSON_IOU = 0.55  # of boxes of two looks


class EmbeddedDetector:
    """Finds people with PersonNet.

    Args:
        weights: A registered name or a path; see `posecli.weights`.
        device: Torch device.
        min_score: People less sure are dropped.
        longer_sides_px: Frames are looked at in each of these sizes: people who fill the picture are found more surely in a small one.

    Raises:
        WeightsError: The weights are missing, corrupt, or not a detector's.
        ConfigError: One of ``longer_sides_px`` is too small.
    """

    name = "embedded"

    def __init__(
        self,
        weights: str = DETECTOR_WEIGHTS,
        *,
        device: str = "cpu",
        min_score: float = DEFAULT_MIN_SCORE,
        longer_sides_px: tuple[int, ...] = LONGER_SIDES_PX,
    ) -> None:
        if min(longer_sides_px) < INPUT_MULTIPLE_PX:
            raise ConfigError(
                f"detector inputs of {longer_sides_px} px: none may be smaller than {INPUT_MULTIPLE_PX} px"
            )
        self.min_score, self.longer_sides_px = min_score, longer_sides_px
        self.device = torch.device(device)
        self._batches = BatchSize(MAX_BATCH, what="frames for the detector")
        loaded = load_weights(weights)
        self.weights_name, self.sha256 = loaded.name, loaded.sha256
        self._network = build_personnet(loaded)
        # a look may be so unsure and still, if all others are as sure, the person counts
        doubt = 1.0 - before_calibration(min_score, self._network.config)
        self._min_look_score = 1.0 - doubt ** (1.0 / len(longer_sides_px))
        place(self._network, self.device)
        if self.device.type == "cpu":
            pack_convolutions(self._network)

    @property
    def notes(self) -> list[str]:
        """What the user may want to know about how it went, one line each."""
        return self._batches.notes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people in each frame, best first; boxes are cut to the frame."""
        return detect_in_batches(frames, self._detect_batch, self._batches)

    def _detect_batch(self, frames: list[Frame]) -> list[Detections]:
        height, width = frames[0].image.shape[:2]
        pictures, looks = [frame.image for frame in frames], []
        for side in sorted(self.longer_sides_px, reverse=True):
            letterbox = Letterbox.fit((width, height), longer_side_px=side, multiple_px=INPUT_MULTIPLE_PX)
            inputs = [letterbox.apply(picture) for picture in pictures]
            looks.append(self._look(inputs, letterbox))
            scaled_w, scaled_h = letterbox.scaled_wh
            pictures = [
                picture[:scaled_h, :scaled_w] for picture in inputs
            ]  # the next, smaller size is made of this one
        return [self._merge(frame, list(found)) for frame, *found in zip(frames, *looks, strict=True)]

    @torch.inference_mode()
    def _look(self, inputs: list[ImageArray], letterbox: Letterbox) -> list[tuple[FloatArray, FloatArray]]:
        """Boxes (N, 4) in frame px and scores (N,) of each letterboxed picture; duplicates not yet removed."""
        images = torch.from_numpy(np.stack(inputs))
        centre, boxes = self._network(images.to(self.device).permute(0, 3, 1, 2))
        people = find_people(centre, boxes, min_score=self._min_look_score, max_people=MAX_PEOPLE)
        return [
            (clip_boxes(letterbox.to_frame(box.cpu().numpy()), *letterbox.frame_wh), score.cpu().numpy())
            for box, score in people
        ]

    def _merge(self, frame: Frame, looks: list[tuple[FloatArray, FloatArray]]) -> Detections:
        boxes, scores = fuse_looks(looks, min_iou=_SAME_PERSON_IOU, max_iou=_MAX_IOU)
        scores = calibrate(scores, self._network.config)
        is_kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (scores >= self.min_score)
        return Detections(frame.index, boxes[is_kept][:MAX_PEOPLE], scores[is_kept][:MAX_PEOPLE])


def build_personnet(loaded: LoadedWeights) -> PersonNet:
    """The network of a weights file, batch norms folded, ready to look.

    Raises:
        WeightsError: The weights are not a detector's, or do not fit their own configuration.
    """
    if loaded.kind != "detector":
        raise WeightsError(
            f"{loaded.path}: these are {loaded.kind} weights", hint="a detector needs weights of kind detector"
        )
    try:
        config = PersonNetConfig.from_json(loaded.config)
    except ConfigError as error:
        raise WeightsError(f"{loaded.path}: {error}") from error
    network = build_fitting(loaded, lambda: PersonNet(config))
    fold_batch_norms(network.eval())
    return network
