"""GLSMamba's blocks: global (GSM) and local (LRM) selective state spaces over a window of frames (arXiv 2510.11017).

Legend: B windows, T frames, H x W tokens of one frame, L = T * H * W, D = d_model, E = d_inner, K scan directions, N = d_state,
R = dt_rank, G merge groups (scan types). Tokens are channels-last, (B, T, H, W, D), all the way: no layout copies.
Official Mamba names: A, B, C, D, delta; A = -exp(A_log).
"""

from __future__ import annotations

import math

import torch
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
        hidden = max(1, int(num_frames * channels * ratio))
        self.reduce = nn.Linear(num_frames * channels, hidden)
        self.expand = nn.Linear(hidden, num_frames * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> the same shape."""
        batch, frames, _, _, channels = x.shape
        pooled = x.mean(dim=(2, 3)).reshape(batch, frames * channels)
        weights = torch.sigmoid(self.expand(functional.relu(self.reduce(pooled))))
        return x * weights.view(batch, frames, 1, 1, channels)


class SelectiveScan(nn.Module):
    """S6 along K orders of the same tokens, each with its own weights (open in the paper; as in VMamba).

    Args:
        config: Widths.
        orders: (K, L) token indices, one row a direction.
        groups: (K,) the output each direction is added to.
        seg_len: Steps after which the state starts afresh; ``None`` carries it to the end.
    """

    order: Tensor

    def __init__(self, config: PoseConfig, orders: Tensor, groups: tuple[int, ...], seg_len: int | None) -> None:
        super().__init__()
        width, state, rank, directions = config.d_inner, config.d_state, config.dt_rank, len(groups)
        self.groups, self.seg_len, self.backend = groups, seg_len, "auto"
        self.register_buffer("order", orders, persistent=False)
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
        proj = self.x_proj(tokens).view(batch, tokens.shape[1], len(self.groups), -1)
        y = multi_scan(
            *(tokens, proj, self.dt_weight, self.dt_bias, self.A_log, self.D, self.order),
            groups=self.groups,
            seg_len=self.seg_len,
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
        orders = global_orders(config.num_frames, *config.grid_hw, types=config.scan_types, reading=config.scan_reading)
        num_types = len(config.scan_types)
        groups = tuple(range(num_types)) * 2
        self.selective_scan = SelectiveScan(config, torch.from_numpy(orders.copy()), groups, None)
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
        orders, tube_len = window_orders(config.num_frames, *config.grid_hw, window_hw=config.window_hw)
        seg_len = tube_len if config.reset_state_at_window else None
        self.selective_scan = SelectiveScan(config, torch.from_numpy(orders.copy()), (0, 0), seg_len)

    def scan(self, x: Tensor) -> Tensor:
        """WSTS."""
        both: Tensor = self.selective_scan(x)
        return both[:, 0]
