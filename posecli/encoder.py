"""Convolutional encoders: a ladder of convolutions down to 1/32, then a feature pyramid back up to 1/4.

`CompactEncoder` is a ResNet-like ladder of plain dense convolutions: on CPUs they run closer to the peak than depthwise ones.
`posecli.mobile_encoder` has that of MoveNet, whose weights for poses are public. Batch norms
fold into the convolutions for inference (`fold_batch_norms`).

Legend: B images, H and W pixels (multiples of 32), C output channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.dense import PointwiseConv, StridedConv
from posecli.errors import ConfigError

_NUM_LEVELS = 4


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        widths: Channels at 1/4, 1/8, 1/16, 1/32.
        depths: Residual blocks at each of these levels.
        out_channels: Channels of the pyramid and of the output.
        stem_channels: Channels after the first convolution (1/2).
    """

    widths: tuple[int, int, int, int] = (32, 64, 128, 160)
    depths: tuple[int, int, int, int] = (1, 2, 2, 2)
    out_channels: int = 64
    stem_channels: int = 16

    def __post_init__(self) -> None:
        if len(self.widths) != _NUM_LEVELS or len(self.depths) != _NUM_LEVELS:
            raise ConfigError(f"encoder widths {self.widths} and depths {self.depths} need {_NUM_LEVELS} entries each")
        if min(*self.widths, *self.depths, self.out_channels, self.stem_channels) < 1:
            raise ConfigError("encoder widths, depths and channels must be positive")


class ConvNorm(nn.Sequential):
    """Convolution, batch norm or bias, and an activation: ReLU, ReLU6, or none.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Its side.
        stride: Of the convolution.
        groups: Channels that are filtered apart; as many as there are makes it depthwise.
        ceiling: Where the ReLU ends; ``None``: nowhere.
        is_activated: Whether there is a ReLU at all.
        is_normalised: Whether there is a batch norm; otherwise the convolution has a bias, as if a norm were folded into it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        ceiling: float | None = None,
        is_activated: bool = True,
        is_normalised: bool = True,
    ) -> None:
        super().__init__()
        has_bias = not is_normalised
        self.conv: nn.Conv2d
        if kernel == stride == 1:
            self.conv = PointwiseConv(in_channels, out_channels, bias=has_bias)
        elif groups == in_channels == out_channels and stride > 1:
            self.conv = StridedConv(in_channels, kernel, stride, bias=has_bias)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=has_bias)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels) if is_normalised else nn.Identity()
        if is_activated:
            self.activation = nn.ReLU(inplace=True) if ceiling is None else nn.Hardtanh(0.0, ceiling, inplace=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, stride=stride)
        self.second = ConvNorm(out_channels, out_channels, is_activated=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, is_activated=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


class LadderEncoder(nn.Module):
    """Images to one feature map at 1/4 of their resolution, down a ladder and up again.

    Args:
        stem: Images to the first level's input.
        levels: To 1/4, 1/8, 1/16 and 1/32.
        widths: Channels of the levels' last blocks.
        is_turned: Whether the ladder wants its pictures turned by 180 degrees.
    """

    stride = 4

    def __init__(
        self, stem: nn.Module, levels: Sequence[nn.Module], widths: Sequence[int], *, is_turned: bool = False
    ) -> None:
        super().__init__()
        self.widths, self.is_turned = tuple(widths), is_turned
        self.stem = stem
        self.levels = nn.ModuleList(levels)

    def descend(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the maps of all levels, turned as the ladder wants its pictures."""
        x = self.stem(self.turn(images))
        maps = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps

    def turn(self, x: Tensor) -> Tensor:
        """Turn pictures for the ladder, or maps back: by 180 degrees both are the same."""
        return x.flip(2, 3) if self.is_turned else x

    def hold(self, num_levels: int) -> None:
        """Keep the stem and the first levels as they are while the rest trains, statistics of their batch norms included.

        Args:
            num_levels: Levels to hold; 0: nothing is held, the stem neither.
        """
        held = [self.stem, *self.levels[:num_levels]] if num_levels else []
        for module in held:
            module.requires_grad_(False)
            module.eval()


class CompactEncoder(LadderEncoder):
    """The ladder of `ResidualBlock`s and a pyramid of one width."""

    def __init__(self, config: EncoderConfig) -> None:
        widths, out_channels = config.widths, config.out_channels
        stem = nn.Sequential(
            ConvNorm(3, config.stem_channels, stride=2), ConvNorm(config.stem_channels, widths[0], stride=2)
        )
        levels: list[nn.Module] = []
        previous = widths[0]
        for level, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            blocks = [ResidualBlock(previous, width, stride=1 if level == 0 else 2)]
            blocks += [ResidualBlock(width, width, stride=1) for _ in range(depth - 1)]
            levels.append(nn.Sequential(*blocks))
            previous = width
        super().__init__(stem, levels, widths)
        self.config = config
        self.lateral = nn.ModuleList(ConvNorm(width, out_channels, 1, is_activated=False) for width in widths)
        self.smooth = nn.ModuleList(ConvNorm(out_channels, out_channels) for _ in widths[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """Encode.

        Args:
            images: (B, 3, H, W) float, normalised by `normalise_images`; H and W multiples of 32.

        Returns:
            (B, C, H / 4, W / 4).
        """
        maps = self.descend(images)
        y: Tensor = self.lateral[-1](maps[-1])
        for level_index in reversed(range(_NUM_LEVELS - 1)):
            y = functional.interpolate(y, scale_factor=2.0, mode="nearest") + self.lateral[level_index](
                maps[level_index]
            )
            y = self.smooth[level_index](functional.relu(y))
        return y


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold every `ConvNorm`'s batch norm into its convolution, in place: same outputs in eval mode, one pass over memory less.

    Args:
        module: Any network that holds `ConvNorm`s, in eval mode.

    Returns:
        The same module.
    """
    if module.training:
        raise ValueError("batch norms fold only in eval mode")
    for child in module.modules():
        if isinstance(child, ConvNorm) and isinstance(child.norm, nn.BatchNorm2d):
            child.conv = nn.utils.fusion.fuse_conv_bn_eval(child.conv, child.norm)
            child.norm = nn.Identity()
    return module


IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 or float RGB in 0..255 -> float, ImageNet mean 0 and deviation 1 per channel; channels-last in memory."""
    batch, channels, height, width = images.shape
    # whole rows at a time: an innermost loop over three channels is five times slower
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    mean, std = _row_statistics(width, images.device)
    return torch.sub(rows.float(), mean).div_(std).view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _row_statistics(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(3 W,) mean and deviation of a row of pixels, 0..255; made once, because copies to a device interrupt it."""
    with torch.inference_mode(mode=False):
        mean, std = (torch.tensor(values, device=device).repeat(width) * 255.0 for values in (IMAGE_MEAN, IMAGE_STD))
    return mean, std


def place(module: nn.Module, device: torch.device) -> None:
    """Move a network to a device, its convolutions channels-last, in place."""
    module.to(device)
    # convolutions on channels-last tensors need no layout copies; torch's annotations lack this keyword
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
