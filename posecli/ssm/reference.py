"""The selective scan written out step by step: slow, obvious, in any floating type. The oracle of all other backends.

Per direction k, in the order of row k (letters as in ``scan.py``):

    delta_t = softplus(dt_low_t @ dt_weight_k + dt_bias_k)
    h_t     = exp(delta_t * A_k) * h_(t-1) + delta_t * x_t * B_t          h is (N, D), 0 at the start and at each reset
    out_t   = sum over n of C_t * h_t + D_k * x_t
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

_LINEAR_ABOVE = 40.0  # torch changes to softplus(v) = v at 20, too early for float64


def scan_reference(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    order: Tensor,
    groups: tuple[int, ...],
    seg_len: int,
) -> Tensor:
    """Same arguments and result as ``posecli.ssm.scan.multi_scan``, checked and complete; differentiable by autograd."""
    outputs = [torch.zeros_like(x) for _ in range(max(groups) + 1)]
    for k, group in enumerate(groups):
        row = order[k].long()
        sequence = _scan_one(x[:, row], proj[:, row, k], dt_weight[k], dt_bias[k], -torch.exp(A_log[k]), D[k], seg_len)
        outputs[group] = outputs[group].index_add(1, row, sequence)
    return torch.stack(outputs, dim=1)


def _scan_one(
    x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, seg_len: int
) -> Tensor:
    """One direction, tokens already in scan order: x (B, L, D), proj (B, L, R + 2 N), A (N, D) -> (B, L, D)."""
    (state_size, width), rank = A.shape, dt_weight.shape[0]
    dt_low, b, c = proj.split([rank, state_size, state_size], dim=-1)
    delta = softplus(dt_low @ dt_weight + dt_bias, threshold=_LINEAR_ABOVE)
    h = x.new_zeros(x.shape[0], state_size, width)
    outputs = []
    # unbind, because the gradient of a slice is a full-size tensor for each step
    steps = zip(x.unbind(1), delta.unbind(1), b.unbind(1), c.unbind(1), strict=True)
    for t, (x_t, delta_t, b_t, c_t) in enumerate(steps):
        if t % seg_len == 0:
            h = torch.zeros_like(h)
        h = torch.exp(delta_t[:, None] * A) * h + (delta_t * x_t)[:, None] * b_t[..., None]
        outputs.append((c_t[..., None] * h).sum(1) + D * x_t)
    return torch.stack(outputs, dim=1)
