"""PoseMamba's block: one selective scan over the plane of frames and joints, then a feed-forward network (arXiv 2408.03540, 3.2).

Legend: B clips, F frames, J joints, C = d_model, E = d_inner, K = 4 directions, N = d_state, R = dt_rank. Tokens are channels-last,
(B, F, J, C). Parameter names and shapes are the authors', so that their checkpoints fit; the paper's equation 8 leaves out the gate
that their code has.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.dense import Dense, dense
from posecli.lifting.config import LiftConfig
from posecli.ssm import global_orders, multi_scan

NUM_DIRECTIONS = 4
LOCAL_ORDER = (0, 0, 1, 2, 3, 0, 4, 5, 6, 8, 11, 12, 13, 8, 14, 15, 16)
"""The joint that is added at each position of the spatial scan: root, right leg, left leg, left arm, right arm, each chain from the
trunk outwards. Not a table of parents: position 4, the left hip, is paired with joint 3, the right ankle."""

_NORM_EPS = 1e-6
_DELTA_RANGE = (1e-3, 1e-1)
_DELTA_FLOOR = 1e-4
# Which of the four parameter sets scan the tokens with the local order added, and which the plain ones. Slices copy nothing.
_SPATIAL, _TEMPORAL = slice(0, None, 2), slice(1, None, 2)


class PlaneScan(nn.Module):
    """``BiSTSSM``: gate, 3x3 convolution over frames and joints, four scans, norm (the authors' "v2_plus_poselimbs").

    Directions: 0 frame by frame with the local order added, 1 joint by joint, 2 and 3 their reversals; each over the whole clip, the
    state is never reset. Output goes back to the position it was computed at, and all four are added.
    """

    local_order: Tensor

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        width, inner, state, rank = config.d_model, config.d_inner, config.d_state, config.dt_rank
        self.config, self.backend = config, "auto"
        self.in_proj = Dense(width, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        bound = inner**-0.5
        self.x_proj_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, rank + 2 * state, inner).uniform_(-bound, bound))
        bound = rank**-0.5
        self.dt_projs_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, inner, rank).uniform_(-bound, bound))
        low, high = (math.log(v) for v in _DELTA_RANGE)
        delta = torch.exp(torch.rand(NUM_DIRECTIONS, inner) * (high - low) + low).clamp(min=_DELTA_FLOOR)
        self.dt_projs_bias = nn.Parameter(delta + torch.log(-torch.expm1(-delta)))  # inverse of softplus
        levels = torch.log(torch.arange(1, state + 1, dtype=torch.float32))
        self.A_logs = nn.Parameter(levels.repeat(NUM_DIRECTIONS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(NUM_DIRECTIONS * inner))
        for parameter in (self.dt_projs_bias, self.A_logs, self.Ds):
            parameter.no_weight_decay = True  # type: ignore[attr-defined]
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = Dense(inner, width, bias=False)
        self.register_buffer("local_order", torch.tensor(LOCAL_ORDER), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, F, J, C) -> the same shape."""
        x, gate = self.in_proj(tokens).chunk(2, dim=-1)
        x = functional.silu(self.conv2d(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        y = self._scan(self._with_local_order(x), _SPATIAL) + self._scan(x, _TEMPORAL)
        y = self.out_norm(y.to(x.dtype)) * functional.silu(gate)
        projected: Tensor = self.out_proj(y)
        return projected

    def _with_local_order(self, x: Tensor) -> Tensor:
        if self.config.scan != "global-local":
            return x
        local = x.detach() if self.config.match_official_gradient else x
        return x + local.index_select(2, self.local_order)

    def _scan(self, x: Tensor, directions: slice) -> Tensor:
        """Two of the four directions over (B, F, J, E), added."""
        batch, frames, joints, inner = x.shape
        tokens = x.reshape(batch, frames * joints, inner)
        weight = self.x_proj_weight[directions]
        proj = dense(tokens, weight.flatten(0, 1)).view(batch, frames * joints, len(weight), -1)
        y = multi_scan(
            tokens,
            proj,
            self.dt_projs_weight[directions].transpose(1, 2),
            self.dt_projs_bias[directions],
            self.A_logs.view(NUM_DIRECTIONS, inner, -1)[directions].transpose(1, 2),
            self.Ds.view(NUM_DIRECTIONS, inner)[directions],
            self._orders(frames, joints, directions, x.device),
            backend=self.backend,
        )
        return y.view(batch, frames, joints, inner)

    def _orders(self, frames: int, joints: int, directions: slice, device: torch.device) -> Tensor:
        is_backward = self.config.scan != "unidirectional"
        return scan_orders(frames, joints, directions == _SPATIAL, is_backward, device)


_orders: dict[tuple[int, int, bool, bool, torch.device], Tensor] = {}
_MAX_ORDERS = 64


def scan_orders(frames: int, joints: int, is_spatial: bool, is_backward: bool, device: torch.device) -> Tensor:
    """(2, F * J) token indices: frame by frame or joint by joint, and its reversal (or itself again). Kept for the next call."""
    key = (frames, joints, is_spatial, is_backward, device)
    if key not in _orders:
        table = global_orders(frames, 1, joints, types=("spatial" if is_spatial else "temporal",))
        rows = table if is_backward else np.repeat(table[:1], 2, axis=0)
        while len(_orders) >= _MAX_ORDERS:
            _orders.pop(next(iter(_orders)))
        with torch.inference_mode(False):  # the scan trusts a table it has seen, unless it was made for inference alone
            _orders[key] = torch.from_numpy(rows.copy()).to(device)
    return _orders[key]


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Dense(width, hidden)
        self.fc2 = Dense(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


class PlaneBlock(nn.Module):
    """``BiSTSSMBlock``: scan and feed-forward network, each behind a norm and beside a residual.

    Args:
        config: Widths.
        drop_path: Probability of skipping a residual branch for a sample in training.
    """

    def __init__(self, config: LiftConfig, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm = nn.LayerNorm(config.d_model, eps=_NORM_EPS)
        self.op = PlaneScan(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=_NORM_EPS)
        self.mlp = FeedForward(config.d_model, int(config.d_model * config.mlp_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, F, J, C) -> the same shape."""
        tokens = tokens + self._drop(self.op(self.norm(tokens)))
        return tokens + self._drop(self.mlp(self.norm2(tokens)))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1.0 - self.drop_path)
