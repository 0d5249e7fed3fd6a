"""The ladder of EfficientNet-Lite0 (Tan & Le 2019; the Lite variant has no squeeze-and-excitation) under posecli's feature pyramid.

Its weights for ImageNet are public and small (`posecli weights import efficientnet-lite`), so training starts from an encoder that has
seen a million photographs. Activations end at 6 as in the original: without that the public weights see other things.

Legend: B images, H and W pixels (multiples of 32), C output channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from posecli.encoder import ConvNorm, PyramidEncoder
from posecli.errors import ConfigError

_STEM_CHANNELS = 32
_CEILING = 6.0
_EPSILON = 1e-3  # of the batch norms the public weights were trained with


@dataclass(frozen=True)
class _Stage:
    """Inverted residuals of one width: the first may stride and widen, the others have shortcuts."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# by level: 1/4, 1/8, 1/16, 1/32
_LEVELS = (
    (_Stage(1, 3, 1, 1, 16), _Stage(2, 3, 2, 6, 24)),
    (_Stage(2, 5, 2, 6, 40),),
    (_Stage(3, 3, 2, 6, 80), _Stage(3, 5, 1, 6, 112)),
    (_Stage(4, 5, 2, 6, 192), _Stage(1, 3, 1, 6, 320)),
)


@dataclass(frozen=True)
class MobileEncoderConfig:
    """Sizes that are not those of EfficientNet-Lite0.

    Attributes:
        out_channels: Channels of the pyramid and of the output.
    """

    out_channels: int = 64

    def __post_init__(self) -> None:
        if self.out_channels < 1:
            raise ConfigError(f"mobile encoder: out_channels {self.out_channels} must be positive")


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter every channel by itself, narrow again; a shortcut where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = ConvNorm(in_channels, hidden, 1, ceiling=_CEILING, epsilon=_EPSILON)
        self.depthwise = ConvNorm(
            hidden, hidden, kernel, stride=stride, groups=hidden, ceiling=_CEILING, epsilon=_EPSILON
        )
        self.project = ConvNorm(hidden, out_channels, 1, is_activated=False, epsilon=_EPSILON)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class MobileEncoder(PyramidEncoder):
    """EfficientNet-Lite0 up to its last block, and the pyramid."""

    def __init__(self, config: MobileEncoderConfig) -> None:
        levels, previous = [], _STEM_CHANNELS
        for stages in _LEVELS:
            blocks = []
            for stage in stages:
                for index in range(stage.repeats):
                    blocks.append(
                        InvertedResidual(
                            previous,
                            stage.channels,
                            kernel=stage.kernel,
                            stride=stage.stride if index == 0 else 1,
                            expansion=stage.expansion,
                        )
                    )
                    previous = stage.channels
            levels.append(nn.Sequential(*blocks))
        widths = [stages[-1].channels for stages in _LEVELS]
        stem = ConvNorm(3, _STEM_CHANNELS, stride=2, ceiling=_CEILING, epsilon=_EPSILON)
        super().__init__(stem, levels, widths, out_channels=config.out_channels)
        self.config = config
