"""The feature extractor of MoveNet: MobileNetV2 (Sandler et al. 2018) under a light pyramid.

Its public weights have seen the people of COCO (`posecli weights import movenet`). The paper starts from such an encoder too: ViTPose,
at fifty times the price. The weights come with their batch norms folded in, so there are none here.

Pictures are turned by 180 degrees on the way in and back on the way out. Where a convolution halves an even side, TensorFlow pads at
the right and below, torch at the left and above: turned, with turned kernels, one is the other, and no map is copied for its border.

Legend: B images, H and W pixels (multiples of 32), C output channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from posecli.encoder import ConvNorm, LadderEncoder
from posecli.errors import ConfigError

_CEILING = 6.0
_STEM_CHANNELS = 32
_LAST_CHANNELS = 1280
HIDDEN_CHANNELS = 96
"""Of the layer from which MoveNet reads anything."""

# blocks (stride, expansion, channels at width 1); levels end where the pyramid takes a map: at 1/4, 1/8, 1/16, 1/32
_LEVELS = (
    ((1, 1, 16), (2, 6, 24), (1, 6, 24)),
    ((2, 6, 32), (1, 6, 32), (1, 6, 32)),
    ((2, 6, 64), (1, 6, 64), (1, 6, 64), (1, 6, 64)),
    ((1, 6, 96), (1, 6, 96), (1, 6, 96), (2, 6, 160), (1, 6, 160), (1, 6, 160), (1, 6, 320)),
)
# of the pyramid at 1/4, 1/8, 1/16: of the sum, and after it is smoothed
_SUM_CHANNELS = (24, 32, 64)
_SMOOTH_CHANNELS = (24, 24, 32)
PYRAMID_CHANNELS = _SMOOTH_CHANNELS[0]
"""Of the pyramid's map at 1/4."""


@dataclass(frozen=True)
class MobileEncoderConfig:
    """Sizes.

    Attributes:
        width: On all channels of the ladder; MoveNet Lightning has 1, MultiPose 1.5, Thunder 1.75.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.width <= 4.0:
            raise ConfigError(f"mobile encoder: width {self.width} must be 0.1 to 4")

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return HIDDEN_CHANNELS

    def scaled(self, channels: int) -> int:
        """Channels at this width: multiples of eight, at most a tenth less than asked for."""
        wanted = channels * self.width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter every channel by itself, narrow again; a shortcut where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = _conv(in_channels, hidden, 1)
        self.depthwise = _conv(hidden, hidden, stride=stride, groups=hidden)
        self.project = _conv(hidden, out_channels, 1, is_activated=False)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class SeparableConv(nn.Sequential):
    """Every channel filtered by itself, then mixed: (B, C_in, H, W) -> (B, C_out, H, W), not negative."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = ConvNorm(in_channels, out_channels, 1, is_normalised=False)


class MobilePyramid(LadderEncoder):
    """The ladder and its pyramid."""

    def __init__(self, config: MobileEncoderConfig) -> None:
        stem_channels = config.scaled(_STEM_CHANNELS)
        levels, widths, previous = [], [], stem_channels
        for blocks in _LEVELS:
            level: list[nn.Module] = []
            for stride, expansion, channels in blocks:
                width = config.scaled(channels)
                level.append(InvertedResidual(previous, width, stride=stride, expansion=expansion))
                previous = width
            levels.append(level)
            widths.append(previous)
        levels[-1].append(_conv(previous, _LAST_CHANNELS, 1))
        stem = _conv(3, stem_channels, stride=2)
        super().__init__(stem, [nn.Sequential(*level) for level in levels], widths, is_turned=True)
        self.config = config
        self.top = _conv(_LAST_CHANNELS, _SUM_CHANNELS[-1], 1, is_activated=False)
        self.lateral = nn.ModuleList(
            _conv(width, channels, 1, is_activated=False)
            for width, channels in zip(widths[:-1], _SUM_CHANNELS, strict=True)
        )
        self.smooth = nn.ModuleList(
            SeparableConv(channels, smooth) for channels, smooth in zip(_SUM_CHANNELS, _SMOOTH_CHANNELS, strict=True)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: (B, 3, H, W) float, normalised by `posecli.encoder.normalise_images`; H and W multiples of 32.

        Returns:
            (B, C, H / 4, W / 4).
        """
        return self.turn(self.climb(self.descend(images)))

    def climb(self, maps: list[Tensor]) -> Tensor:
        """The maps of the ladder, which are used up -> the pyramid's last, still turned: (B, C, H / 4, W / 4)."""
        y: Tensor = self.top(maps.pop())
        for lateral, smooth in zip(reversed(self.lateral), reversed(self.smooth), strict=True):
            y = functional.interpolate(y, scale_factor=2.0, mode="bilinear") + lateral(maps.pop())
            y = smooth(y)
        return y


class MobileEncoder(MobilePyramid):
    """The pyramid, and the hidden layer from which MoveNet reads its heatmaps."""

    def __init__(self, config: MobileEncoderConfig) -> None:
        super().__init__(config)
        self.hidden = SeparableConv(PYRAMID_CHANNELS, HIDDEN_CHANNELS)

    def climb(self, maps: list[Tensor]) -> Tensor:
        """The maps of the ladder, which are used up -> the hidden layer's, still turned: (B, C, H / 4, W / 4)."""
        hidden: Tensor = self.hidden(super().climb(maps))
        return hidden


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    is_activated: bool = True,
) -> ConvNorm:
    """A convolution with a bias instead of a norm, ended at 6."""
    return ConvNorm(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        groups=groups,
        ceiling=_CEILING,
        is_activated=is_activated,
        is_normalised=False,
    )
