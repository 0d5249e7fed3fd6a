"""PersonNet: the embedded person detector, built as the person centres and boxes of MoveNet MultiPose are, so that it can start there.

A light pyramid on MobileNetV2 ends at 1/4 (`posecli.mobile_encoder`). Three heads say for every cell whether it speaks for a person,
where that person's box has its middle, and how large the box is (CenterNet, Zhou et al. 2019). A peak of the first map is a person.

Legend: B images, H and W input pixels (multiples of 32), h = H / 4 and w = W / 4 cells. The cell (i, j) covers the pixels
4 i .. 4 i + 3, so its centre is at pixel 4 i + 1.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional

from posecli.encoder import normalise_images
from posecli.errors import ConfigError
from posecli.mobile_encoder import (
    HIDDEN_CHANNELS,
    PYRAMID_CHANNELS,
    MobileEncoderConfig,
    MobilePyramid,
    SeparableConv,
)
from posecli.records import FloatArray
from posecli.weights.fitting import config_values

STRIDE = MobilePyramid.stride
INPUT_MULTIPLE_PX = 32
ENCODER_TENSORS = "encoder."
"""How the names of the tensors begin that a pose network on the same encoder has too."""

_PRIOR = 0.01  # of a cell being a centre, at the start of training
_FIRST_SIZE = 8.0  # cells
_LEAST_CHANCE = 1e-6
_SHARPNESS = 4.0  # of the softplus that keeps sizes positive: above a cell it changes less than a hundredth


@dataclass(frozen=True)
class PersonNetConfig:
    """Sizes of PersonNet.

    Attributes:
        width: Of the ladder, see `posecli.mobile_encoder.MobileEncoderConfig`.
        score_scale: A score is the sigmoid of the logit of what all looks say together times this ...
        score_shift: ... plus this. Focal training makes timid scores; fitted on held-out pictures so that of boxes with a score of
            0.7 about 70 per cent are right.
    """

    width: float = 1.5
    score_scale: float = 1.0
    score_shift: float = 0.0

    def __post_init__(self) -> None:
        MobileEncoderConfig(self.width)  # checks it
        if not self.score_scale > 0:
            raise ConfigError(f"PersonNet: score_scale must be positive, not {self.score_scale:g}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PersonNetConfig:
        """From the JSON of a weights file.

        Raises:
            ConfigError: A key is unknown or missing, or a value is impossible.
        """
        own = config_values("PersonNet", cls, values)
        if missing := [field.name for field in fields(cls) if field.name not in own]:
            raise ConfigError(f"PersonNet: config is not understood: {missing[0]} is missing")
        return cls(**own)


class PersonNet(nn.Module):
    """Pictures to centre scores and boxes."""

    def __init__(self, config: PersonNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MobilePyramid(MobileEncoderConfig(config.width))
        self.centre = _head(1, bias=-math.log((1 - _PRIOR) / _PRIOR))
        self.offset = _head(2, bias=0.0)
        self.size = _head(2, bias=_FIRST_SIZE)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            ``centre`` (B, h, w), logits; ``boxes`` (B, 4, h, w), the xyxy box in input px that each cell believes in.
        """
        features = self.encoder(normalise_images(images))
        centre = self.centre(features)[:, 0].float()
        return centre, boxes_from_cells(self.offset(features).float(), self.size(features).float())


def _head(channels: int, *, bias: float) -> nn.Sequential:
    last = nn.Conv2d(HIDDEN_CHANNELS, channels, 1)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]  # it has one
    return nn.Sequential(SeparableConv(PYRAMID_CHANNELS, HIDDEN_CHANNELS), last)


def cell_centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the cells' centres are: x (w,) and y (h,), input px."""
    offset = (STRIDE - 1) / 2
    return torch.arange(width, device=device) * STRIDE + offset, torch.arange(height, device=device) * STRIDE + offset


def boxes_from_cells(offset: Tensor, size: Tensor) -> Tensor:
    """What the cells say to boxes.

    Args:
        offset: (B, 2, h, w) y and x of the box's middle less those of the cell's corner, in cells.
        size: (B, 2, h, w) height and width in cells, before they are made positive.

    Returns:
        (B, 4, h, w) xyxy input px.
    """
    x, y = cell_centres(offset.shape[2], offset.shape[3], offset.device)
    half_h, half_w = (STRIDE / 2 * functional.softplus(size, beta=_SHARPNESS)).unbind(1)
    down, right = (STRIDE * (offset - 0.5)).unbind(1)
    middle_x, middle_y = x + right, y[:, None] + down
    return torch.stack([middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h], dim=1)


def calibrate(scores: FloatArray, config: PersonNetConfig) -> FloatArray:
    """What the looks at a frame say together, (N,) -> how likely their boxes are right, (N,)."""
    safe = np.clip(scores.astype(np.float64), _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    return np.asarray(expit(config.score_scale * logit(safe) + config.score_shift), np.float32)


def before_calibration(score: float, config: PersonNetConfig) -> float:
    """The score that `calibrate` makes this one of."""
    safe = min(max(score, _LEAST_CHANCE), 1.0 - _LEAST_CHANCE)
    return float(expit((logit(safe) - config.score_shift) / config.score_scale))


def find_people(centre: Tensor, boxes: Tensor, *, min_score: float, max_people: int) -> list[tuple[Tensor, Tensor]]:
    """Peaks of the centre map and their boxes, best first; duplicates not yet removed.

    A peak's box is the average of those that the nine cells around it believe in, weighted by their scores.

    Args:
        centre: (B, h, w) logits.
        boxes: (B, 4, h, w) xyxy input px.
        min_score: Peaks below it are dropped.
        max_people: At most so many peaks an image.

    Returns:
        For each image boxes (N, 4) and scores (N,).
    """
    scores = centre.sigmoid()
    neighbourhood = functional.max_pool2d(scores[:, None], 3, 1, 1)[:, 0]
    peaks = torch.where(scores >= neighbourhood, scores, 0.0).flatten(1)
    weights = scores.clamp(min=_LEAST_CHANCE)[:, None]
    agreed = functional.avg_pool2d(boxes * weights, 3, 1, 1) / functional.avg_pool2d(weights, 3, 1, 1)
    found = []
    for peak, box in zip(peaks, agreed.flatten(2), strict=True):
        score, cell = peak.topk(min(max_people, peak.numel()))
        keep = score >= max(min_score, _LEAST_CHANCE)
        found.append((box[:, cell[keep]].T, score[keep]))
    return found
