"""GLSMamba's blocks: global (GSM) and local (LRM) selective state spaces over a window of frames (arXiv 2510.11017).

Legend: B windows, T frames, H x W tokens of one frame, L = T * H * W, D = d_model, E = d_inner, K scan directions, N = d_state,
R = dt_rank, G merge groups (scan types). Tokens are channels-last, (B, T, H, W, D), all the way: no layout copies.
Official Mamba names: A, B, C, D, delta; A = -exp(A_log).

Every block takes windows of the config's T frames, or a single frame: then the temporal scan follows the spatial one and nothing is
computed five times.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from posecli.dense import Dense
from posecli.pose import fused
from posecli.pose.config import PoseConfig
from posecli.pose.deform import deform_sample
from posecli.ssm import global_orders, multi_scan, window_orders

_TAPS = 9
_DELTA_RANGE = (1e-3, 1e-1)
_DELTA_FLOOR = 1e-4


class DepthwiseConv(nn.Module):
    """3x3 convolution per channel and frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, *, has_silu: bool = False) -> Tensor:
        """(B, T, H, W, E) -> the same shape, through SiLU if wanted."""
        return fused.depthwise(x, self.conv, has_silu=has_silu)


class ChannelAttention(nn.Module):
    """Sequential channel attention: each frame's channel weights are computed from the pooled channels of all frames."""

    def __init__(self, num_frames: int, channels: int, ratio: float) -> None:
        super().__init__()
        self.num_frames = num_frames
        hidden = max(1, int(num_frames * channels * ratio))
        self.reduce = nn.Linear(num_frames * channels, hidden)
        self.expand = nn.Linear(hidden, num_frames * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape; one frame alone stands for T alike and takes the middle one's weights."""
        pooled = x.mean(dim=(2, 3))
        if x.shape[1] == 1:
            pooled = pooled.expand(-1, self.num_frames, -1)
        weights = torch.sigmoid(self.expand(functional.relu(self.reduce(pooled.flatten(1)))))
        weights = weights.view(len(x), self.num_frames, 1, 1, -1)
        return x * (weights[:, self.num_frames // 2, None] if x.shape[1] == 1 else weights)


class ScanPath(NamedTuple):
    """Where scans go."""

    orders: NDArray[np.signedinteger]
    """(K, L) token indices, one row a direction."""
    seg_len: int | None = None
    """Steps after which the state starts afresh; ``None`` carries it to the end."""


class SelectiveScan(nn.Module):
    """S6 along K orders of the same tokens, each with its own weights (open in the paper; as in VMamba).

    Args:
        config: Widths.
        clip: The way through windows of T frames.
        still: The way through a single frame.
        groups: (K,) the output each direction is added to.
    """

    order: Tensor
    still_order: Tensor

    def __init__(self, config: PoseConfig, clip: ScanPath, still: ScanPath, groups: tuple[int, ...]) -> None:
        super().__init__()
        width, state, rank, directions = config.d_inner, config.d_state, config.dt_rank, len(groups)
        self.groups, self.backend = groups, "auto"
        self.seg_len, self.still_seg_len = clip.seg_len, still.seg_len
        self.register_buffer("order", torch.from_numpy(clip.orders.copy()), persistent=False)
        self.register_buffer("still_order", torch.from_numpy(still.orders.copy()), persistent=False)
        self.x_proj = Dense(width, directions * (rank + 2 * state), bias=False)
        self.dt_weight = nn.Parameter(torch.empty(directions, rank, width).uniform_(-(rank**-0.5), rank**-0.5))
        low, high = (math.log(v) for v in _DELTA_RANGE)
        delta = torch.exp(torch.rand(directions, width) * (high - low) + low).clamp(min=_DELTA_FLOOR)
        self.dt_bias = nn.Parameter(delta + torch.log(-torch.expm1(-delta)))  # inverse of softplus
        levels = torch.log(torch.arange(1, state + 1, dtype=torch.float32))
        self.A_log = nn.Parameter(levels.view(1, state, 1).repeat(directions, 1, width))
        self.D = nn.Parameter(torch.ones(directions, width))
        for parameter in (self.dt_bias, self.A_log, self.D):
            parameter.no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, E) -> (B, G, T, H, W, E)."""
        batch, *grid, width = x.shape
        tokens = x.reshape(batch, -1, width)
        is_clip = tokens.shape[1] == self.order.shape[1]
        order, seg_len = (self.order, self.seg_len) if is_clip else (self.still_order, self.still_seg_len)
        proj = self.x_proj(tokens).view(batch, tokens.shape[1], len(self.groups), -1)
        y = multi_scan(
            *(tokens, proj, self.dt_weight, self.dt_bias, self.A_log, self.D, order),
            groups=self.groups,
            seg_len=seg_len,
            backend=self.backend,
        )
        return y.view(batch, -1, *grid, width).to(x.dtype)


class Modulation(nn.Module):
    """One half of STMM: adds a modulated deformable view of one scan's output to another's.

    Offsets and masks are predicted once per position from the time average of both maps and used for all frames (the reading of A4.4
    that fits the paper's budget). At initialisation offsets are 0, masks 1, weights the identity tap: plain addition.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.reduce: nn.Module = Dense(width, hidden) if hidden else nn.Identity()
        self.predict = nn.Conv2d(hidden or width, _TAPS * 3, 3, padding=1)
        nn.init.zeros_(self.predict.weight)
        assert self.predict.bias is not None
        nn.init.zeros_(self.predict.bias)
        weight = torch.zeros(_TAPS, width)
        weight[_TAPS // 2] = 1.0
        self.weight = nn.Parameter(weight)

    def forward(self, base: Tensor, added: Tensor) -> Tensor:
        """(B, T, H, W, E) twice -> (B, T, H, W, E)."""
        batch, _, height, width, _ = base.shape
        pooled = (base + added).mean(dim=1)
        predicted = self.predict(self.reduce(pooled).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()
        offsets = predicted[..., : 2 * _TAPS].reshape(batch, height, width, _TAPS, 2)
        masks = 2.0 * torch.sigmoid(predicted[..., 2 * _TAPS :])
        return base + deform_sample(added, offsets, masks, self.weight).to(base.dtype)


class ScanMerging(nn.Module):
    """STMM: unified + modulated spatial + modulated temporal; or their plain sum (the paper's ablation)."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__()
        count = len(config.scan_types) - 1 if config.merge == "modulated" else 0
        self.steps = nn.ModuleList(Modulation(config.d_inner, config.merge_width) for _ in range(count))

    def forward(self, by_type: Tensor) -> Tensor:
        """(B, G, T, H, W, E), one map a scan type -> (B, T, H, W, E)."""
        if not self.steps:
            return by_type.sum(dim=1)
        merged = by_type[:, 0]
        for index, step in enumerate(self.steps, start=1):
            merged = step(merged, by_type[:, index])
        return merged


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = Dense(width, hidden)
        self.last = Dense(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> the same shape."""
        y: Tensor = self.last(functional.gelu(self.first(x)))
        return y


class MambaBlock(nn.Module):
    """The frame both blocks share: norm, gate and main stream, product, feed-forward (A4.2).

    Args:
        config: Widths.
        drop_path: Probability of skipping a residual branch for a sample in training.
    """

    def __init__(self, config: PoseConfig, drop_path: float) -> None:
        super().__init__()
        width, inner = config.d_model, config.d_inner
        self.drop_path = drop_path
        self.norm_in = nn.LayerNorm(width)
        self.in_proj = Dense(width, 2 * inner)
        self.main_conv = DepthwiseConv(inner)
        self.gate_conv = DepthwiseConv(inner)
        self.main_norm = nn.LayerNorm(inner)
        self.gate_norm = nn.LayerNorm(inner)
        self.out_proj = Dense(inner, width)
        self.norm_ffn = nn.LayerNorm(width)
        self.ffn = FeedForward(width, int(width * config.ffn_ratio))

    def quieten(self, std: float) -> None:
        """Start both residual branches small, weights of deviation ``std``."""
        for layer in (self.out_proj, self.ffn.last):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def attend(self, x: Tensor) -> Tensor:
        """What is done to the normalised input; nothing here."""
        return x

    def scan(self, x: Tensor) -> Tensor:
        """The main stream's scans and their merging: (B, T, H, W, E) -> the same shape."""
        raise TypeError(f"{type(self).__name__} does not say how it scans")

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape."""
        normed = fused.layer_norm(tokens, self.norm_in)
        main, gate = self.in_proj(self.attend(normed)).chunk(2, dim=-1)
        main = self.scan(self.main_conv(main, has_silu=True))
        product = fused.norm_gate(main, self.gate_conv(gate), self.main_norm, self.gate_norm)
        tokens, normed = fused.add_norm(tokens, self._drop(self.out_proj(product)), self.norm_ffn)
        return tokens + self._drop(self.ffn(normed))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], *([1] * (branch.ndim - 1)), device=branch.device) >= self.drop_path
        return branch * keep / (1.0 - self.drop_path)


class GlobalBlock(MambaBlock):
    """GSM: channel attention, six space-time scans (STS6D), spatial- and temporal-modulated merging (STMM)."""

    def __init__(self, config: PoseConfig, drop_path: float) -> None:
        super().__init__(config, drop_path)
        self.attention: nn.Module = nn.Identity()
        if config.has_channel_attention:
            self.attention = ChannelAttention(config.num_frames, config.d_model, config.attention_ratio)
        clip, still = (
            ScanPath(global_orders(frames, *config.grid_hw, types=config.scan_types, reading=config.scan_reading))
            for frames in (config.num_frames, 1)
        )
        groups = tuple(range(len(config.scan_types))) * 2
        self.selective_scan = SelectiveScan(config, clip, still, groups)
        self.merging = ScanMerging(config)

    def attend(self, x: Tensor) -> Tensor:
        """Channel attention over all frames."""
        attended: Tensor = self.attention(x)
        return attended

    def scan(self, x: Tensor) -> Tensor:
        """STS6D, then STMM."""
        merged: Tensor = self.merging(self.selective_scan(x))
        return merged


class LocalBlock(MambaBlock):
    """LRM: one windowed scan forward and backward (WSTS), added; no channel attention."""

    def __init__(self, config: PoseConfig, drop_path: float) -> None:
        super().__init__(config, drop_path)
        clip, still = (self._path(config, frames) for frames in (config.num_frames, 1))
        self.selective_scan = SelectiveScan(config, clip, still, (0, 0))

    @staticmethod
    def _path(config: PoseConfig, frames: int) -> ScanPath:
        orders, tube_len = window_orders(frames, *config.grid_hw, window_hw=config.window_hw)
        return ScanPath(orders, tube_len if config.reset_state_at_window else None)

    def scan(self, x: Tensor) -> Tensor:
        """WSTS."""
        both: Tensor = self.selective_scan(x)
        return both[:, 0]
