"""PersonNet: a small anchor-free person detector on the ladder of a pose network's encoder.

The encoder's pyramid stops at 1/8; two heads say for every cell whether it is the centre of a person, and how far the four sides of
that person's box are. A peak of the first map is a person (CenterNet, Zhou et al. 2019; the box in the ltrb form of FCOS, so no
offset map is needed).

Legend: B images, H and W input pixels (multiples of 32), h = H / 8 and w = W / 8 cells. The cell (i, j) covers the pixels
8 i .. 8 i + 7, so its centre is at pixel 8 i + 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.encoder import CompactEncoder, ConvNorm, EncoderConfig, LadderEncoder, normalise_images
from posecli.errors import ConfigError
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.weights.fitting import config_values

STRIDE = 8
INPUT_MULTIPLE_PX = 32
LADDER_TENSORS = ("encoder.stem.", "encoder.levels.")
"""How the names of the tensors begin that another encoder with the same ladder has too."""

_PRIOR = 0.01  # of a cell being a centre, at the start of training
_MAX_LOG = 6.0  # sides beyond 8 * exp(6) px do not occur; keeps a wild start finite


@dataclass(frozen=True)
class PersonNetConfig:
    """Sizes of PersonNet.

    Attributes:
        encoder: Sizes of the compact ladder, and channels of the pyramid.
        head_channels: Channels inside the two heads.
        context_dilations: One dilated 3x3 convolution each at 1/32, so that a cell sees all of a person who fills the picture.
        score_scale: A score is the sigmoid of the centre logit times this ...
        score_shift: ... plus this. Focal training makes timid logits; fitted on held-out pictures so that of boxes with a score of
            0.7 about 70 per cent are right.
        mobile_width: If positive, the ladder is MoveNet's, of this width (`posecli.mobile_encoder`), instead of the compact one.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    head_channels: int = 64
    context_dilations: tuple[int, ...] = (2, 3)
    score_scale: float = 1.0
    score_shift: float = 0.0
    mobile_width: float = 0.0

    def __post_init__(self) -> None:
        if self.mobile_width:
            MobileEncoderConfig(self.mobile_width)  # checks it
        if self.head_channels < 1 or any(dilation < 1 for dilation in self.context_dilations):
            raise ConfigError(f"PersonNet: sizes must be positive: {self}")
        if not self.score_scale > 0:
            raise ConfigError(f"PersonNet: score_scale must be positive, not {self.score_scale:g}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PersonNetConfig:
        """From the JSON of a weights file.

        Raises:
            ConfigError: A key is unknown or a value is impossible.
        """
        own = {"mobile_width": 0.0, **config_values("PersonNet", cls, values)}  # older files lack it
        if missing := [field.name for field in fields(cls) if field.name not in own]:
            raise ConfigError(f"PersonNet: config is not understood: {missing[0]} is missing")
        encoder = EncoderConfig(**config_values("PersonNet: encoder", EncoderConfig, own.pop("encoder")))
        return cls(encoder=encoder, **own)


class _Backbone(LadderEncoder):
    """A ladder and its pyramid without the last step (1/4), which costs as much as all before it."""

    stride = STRIDE

    def __init__(self, config: PersonNetConfig) -> None:
        ladder = _ladder(config)
        widths, channels = ladder.widths, config.encoder.out_channels
        super().__init__(ladder.stem, list(ladder.levels), widths, is_turned=ladder.is_turned)
        # numbered by the ladder's levels, of which the first is not used
        self.lateral = nn.ModuleList(
            [nn.Identity(), *(ConvNorm(width, channels, 1, is_activated=False) for width in widths[1:])]
        )
        self.smooth = nn.ModuleList([nn.Identity(), *(ConvNorm(channels, channels) for _ in widths[1:-1])])
        self.context = nn.Sequential(*(_dilated(widths[-1], dilation) for dilation in config.context_dilations))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        maps = self.descend(images)
        top = maps[-1]
        for block in self.context:
            top = top + block(top)
        y: Tensor = self.lateral[-1](top)
        for level_index in range(len(maps) - 2, 0, -1):
            y = functional.interpolate(y, scale_factor=2.0, mode="nearest") + self.lateral[level_index](
                maps[level_index]
            )
            y = self.smooth[level_index](functional.relu(y))
        return self.turn(y)


def _ladder(config: PersonNetConfig) -> LadderEncoder:
    """An encoder of which stem and levels are taken; the mobile one without its last convolution, which widens to 1,280 channels."""
    if not config.mobile_width:
        return CompactEncoder(config.encoder)
    encoder = MobileEncoder(MobileEncoderConfig(config.mobile_width))
    encoder.levels[-1] = nn.Sequential(*list(encoder.levels[-1].children())[:-1])
    return encoder


def _dilated(width: int, dilation: int) -> ConvNorm:
    block = ConvNorm(width, width)
    block.conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
    return block


class PersonNet(nn.Module):
    """Pictures to centre scores and boxes."""

    def __init__(self, config: PersonNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Backbone(config)
        self.centre = _head(config, 1, bias=-math.log((1 - _PRIOR) / _PRIOR))
        self.sides = _head(config, 4, bias=1.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            ``centre`` (B, h, w), logits; ``boxes`` (B, 4, h, w), the xyxy box in input px that each cell believes in.
        """
        features = self.encoder(normalise_images(images))
        centre = self.centre(features)[:, 0].float()
        sides = self.sides(features).float()
        return centre, boxes_from_sides(sides)


def _head(config: PersonNetConfig, channels: int, *, bias: float) -> nn.Sequential:
    last = nn.Conv2d(config.head_channels, channels, 1)
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]  # it has one
    return nn.Sequential(ConvNorm(config.encoder.out_channels, config.head_channels), last)


def cell_centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the cells' centres are: x (w,) and y (h,), input px."""
    offset = (STRIDE - 1) / 2
    return torch.arange(width, device=device) * STRIDE + offset, torch.arange(height, device=device) * STRIDE + offset


def boxes_from_sides(sides: Tensor) -> Tensor:
    """(B, 4, h, w) logarithms of the distances left, top, right, bottom in cells -> (B, 4, h, w) xyxy input px."""
    x, y = cell_centres(sides.shape[2], sides.shape[3], sides.device)
    left, top, right, bottom = (STRIDE * sides.clamp(-_MAX_LOG, _MAX_LOG).exp()).unbind(1)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], dim=1)


def sides_from_boxes(boxes: Tensor) -> Tensor:
    """The inverse of `boxes_from_sides`, where a cell lies inside its box (sides are at least a hundredth of a cell)."""
    x, y = cell_centres(boxes.shape[2], boxes.shape[3], boxes.device)
    x0, y0, x1, y1 = boxes.unbind(1)
    distances = torch.stack([x - x0, y[:, None] - y0, x1 - x, y1 - y[:, None]], dim=1)
    return (distances / STRIDE).clamp_min(0.01).log()


def calibrate(centre: Tensor, config: PersonNetConfig) -> Tensor:
    """Logits of the centre map -> logits of the scores."""
    return centre * config.score_scale + config.score_shift


def find_people(centre: Tensor, boxes: Tensor, *, min_score: float, max_people: int) -> list[tuple[Tensor, Tensor]]:
    """Peaks of the centre map and their boxes, best first; duplicates not yet removed.

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
    found = []
    for peak, box in zip(peaks, boxes.flatten(2), strict=True):
        score, cell = peak.topk(min(max_people, peak.numel()))
        keep = score >= max(min_score, 1e-6)
        found.append((box[:, cell[keep]].T, score[keep]))
    return found
