"""Linear layers and 1x1 convolutions at full speed on a CPU.

torch sends matrix products in 32-bit floats to MKL, which on AMD processors runs at half of the machine's speed, and convolutions to
oneDNN, which does not (measured: 9,600 x 64 by 64 x 128 in 0.66 ms against 1.5). A linear layer *is* a 1x1 convolution of
channels-last pixels, so for inference it is handed over as one; same numbers but for the order of additions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# torch hands a 1x1 convolution to oneDNN only from this many pictures on (or when it has several threads)
_PICTURES = 16
_MAX_PICTURES = 64


class Dense(nn.Linear):
    """A linear layer; parameters and results as `torch.nn.Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return dense(x, self.weight, self.bias)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`: (..., C_in) times (C_out, C_in) -> (..., C_out)."""
    width = x.shape[-1]
    num_rows = x.numel() // width
    # the fewest pictures that divide the rows; some rows are added only where none does
    pictures = next((count for count in range(_PICTURES, _MAX_PICTURES) if num_rows % count == 0), _PICTURES)
    missing = -num_rows % pictures
    if not _is_inference(x) or num_rows == 0 or missing > num_rows // _PICTURES:
        return functional.linear(x, weight, bias)
    rows = x.reshape(num_rows, width)
    if missing:
        rows = functional.pad(rows, (0, 0, 0, missing))
    pixels = rows.view(pictures, 1, -1, width).permute(0, 3, 1, 2)
    y = functional.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    return y.reshape(num_rows + missing, -1)[:num_rows].view(*x.shape[:-1], -1)


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution of stride 1; parameters and results as `torch.nn.Conv2d`."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        batch, _, height, width = x.shape
        is_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        if not _is_inference(x) or not is_channels_last or batch * height < _PICTURES:
            return super().forward(x)
        rows = x.permute(0, 2, 3, 1).reshape(batch * height, 1, width, self.in_channels).permute(0, 3, 1, 2)
        y = functional.conv2d(rows, self.weight, self.bias).permute(0, 2, 3, 1)
        return y.reshape(batch, height, width, self.out_channels).permute(0, 3, 1, 2)


class StridedConv(nn.Conv2d):
    """A convolution that filters every channel by itself, with a stride; parameters and results as `torch.nn.Conv2d`.

    Its gradient in 16 bits takes oneDNN ten times as long as in 32 (192 channels of 96 x 80, 24 pictures: 667 ms against 68).
    """

    def __init__(self, channels: int, kernel: int, stride: int, *, bias: bool = True) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / stride, W / stride)."""
        if not torch.is_grad_enabled() or not torch.is_autocast_enabled("cpu") or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _is_inference(x: Tensor) -> bool:
    is_plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_plain and not torch.is_grad_enabled() and torch.backends.mkldnn.is_available()
