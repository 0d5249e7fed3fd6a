"""PoseMamba a second time, written from the paper alone: slow, plain, and without a line of posecli's network.

It knows tensors by the names of the authors' files, in whatever precision they come.

Letters: B clips, F frames, J = 17 joints, C width, E = 2 C inner width, N = 16 states, R rank of the step size, L = F J positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STATES = 16
LOCAL_LIST = [0, 0, 1, 2, 3, 0, 4, 5, 6, 8, 11, 12, 13, 8, 14, 15, 16]


def shapes(width: int, depth: int, frames: int = 243) -> dict[str, tuple[int, ...]]:
    """Every tensor of a state dict of the authors, the prefix ``module.`` left out."""
    inner, rank = 2 * width, (width + 15) // 16
    block: dict[str, tuple[int, ...]] = {
        "norm.weight": (width,),
        "norm.bias": (width,),
        "op.x_proj_weight": (4, rank + 2 * STATES, inner),
        "op.dt_projs_weight": (4, inner, rank),
        "op.dt_projs_bias": (4, inner),
        "op.A_logs": (4 * inner, STATES),
        "op.Ds": (4 * inner,),
        "op.out_norm.weight": (inner,),
        "op.out_norm.bias": (inner,),
        "op.in_proj.weight": (2 * inner, width),
        "op.conv2d.weight": (inner, 1, 3, 3),
        "op.conv2d.bias": (inner,),
        "op.out_proj.weight": (width, inner),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (2 * width, width),
        "mlp.fc1.bias": (2 * width,),
        "mlp.fc2.weight": (width, 2 * width),
        "mlp.fc2.bias": (width,),
    }
    whole: dict[str, tuple[int, ...]] = {
        "Spatial_pos_embed": (1, 17, width),
        "Temporal_pos_embed": (1, frames, width),
        "Spatial_patch_to_embedding.weight": (width, 2),
        "Spatial_patch_to_embedding.bias": (width,),
    }
    for kind in ("STEblocks", "TTEblocks"):
        whole |= {f"{kind}.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}
    for name in ("Spatial_norm", "Temporal_norm"):
        whole |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return whole | {
        "head.0.weight": (width,),
        "head.0.bias": (width,),
        "head.1.weight": (3, width),
        "head.1.bias": (3,),
    }


def random_tensors(width: int, depth: int, frames: int = 243, *, seed: int = 0) -> dict[str, Tensor]:
    """Values of a size at which every tensor matters and nothing explodes, position embeddings included."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes(width, depth, frames).items():
        noise = torch.randn(*shape, generator=generator)
        if name.endswith(("norm.weight", "norm2.weight", "head.0.weight", "Ds")):
            tensors[name] = 1 + 0.3 * noise
        elif name.endswith("A_logs"):
            tensors[name] = torch.arange(1.0, STATES + 1).log() + 0.3 * noise
        elif name.endswith("dt_projs_bias"):
            tensors[name] = 0.5 * noise - 2
        elif len(shape) == 1 or name.endswith("pos_embed"):
            tensors[name] = 0.3 * noise
        else:
            fan_in = shape[1] * 9 if len(shape) == 4 else shape[-1]
            tensors[name] = noise / fan_in**0.5
    return tensors


def forward(tensors: dict[str, Tensor], keypoints: Tensor, *, detach_local: bool) -> Tensor:
    """(B, F, 17, 2) -> (B, F, 17, 3). ``detach_local``: the gradient of the authors' code, which forgets the local term."""
    depth = sum(name.startswith("STEblocks.") and name.endswith(".norm2.bias") for name in tensors)
    x = F.linear(keypoints, tensors["Spatial_patch_to_embedding.weight"], tensors["Spatial_patch_to_embedding.bias"])
    x = x + tensors["Spatial_pos_embed"][:, None]
    for i in range(depth):
        x = _norm(_block(_part(tensors, f"STEblocks.{i}."), x, detach_local), tensors, "Spatial_norm", 1e-6)
        if i == 0:
            x = x + tensors["Temporal_pos_embed"][:, : x.shape[1], None]
        x = _norm(_block(_part(tensors, f"TTEblocks.{i}."), x, detach_local), tensors, "Temporal_norm", 1e-6)
    return F.linear(_norm(x, tensors, "head.0", 1e-5), tensors["head.1.weight"], tensors["head.1.bias"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _norm(x: Tensor, tensors: dict[str, Tensor], name: str, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def _block(t: dict[str, Tensor], x: Tensor, detach_local: bool) -> Tensor:
    x = x + _op(_part(t, "op."), _norm(x, t, "norm", 1e-6), detach_local)
    hidden = F.gelu(F.linear(_norm(x, t, "norm2", 1e-6), t["mlp.fc1.weight"], t["mlp.fc1.bias"]))
    return x + F.linear(hidden, t["mlp.fc2.weight"], t["mlp.fc2.bias"])


def _op(t: dict[str, Tensor], x: Tensor, detach_local: bool) -> Tensor:
    """(B, F, 17, C) -> the same."""
    batch, frames, joints, _ = x.shape
    both = F.linear(x, t["in_proj.weight"])
    inner = both.shape[-1] // 2
    plane, gate = both[..., :inner], F.silu(both[..., inner:])
    plane = plane.permute(0, 3, 1, 2)  # (B, E, F, 17)
    plane = F.silu(F.conv2d(plane, t["conv2d.weight"], t["conv2d.bias"], padding=1, groups=inner))

    local = torch.stack([plane[..., joint] for joint in LOCAL_LIST], dim=-1)
    frame_major = (plane + (local.detach() if detach_local else local)).reshape(batch, inner, frames * joints)
    joint_major = plane.transpose(2, 3).reshape(batch, inner, joints * frames)
    sequences = [frame_major, joint_major, frame_major.flip(-1), joint_major.flip(-1)]
    a_logs, skips = t["A_logs"].view(4, inner, STATES), t["Ds"].view(4, inner)
    outputs = []
    for k, sequence in enumerate(sequences):
        low = torch.einsum("re,bel->brl", t["x_proj_weight"][k], sequence)
        rank = low.shape[1] - 2 * STATES
        steps = torch.einsum("er,brl->bel", t["dt_projs_weight"][k], low[:, :rank])
        steps = F.softplus(steps + t["dt_projs_bias"][k][:, None])
        reads, writes = low[:, rank + STATES :], low[:, rank : rank + STATES]
        outputs.append(_scan(sequence, steps, -a_logs[k].exp(), writes, reads, skips[k]))

    by_frame = outputs[0] + outputs[2].flip(-1)
    by_joint = (outputs[1] + outputs[3].flip(-1)).view(batch, inner, joints, frames).transpose(2, 3)
    merged = (by_frame.view(batch, inner, frames, joints) + by_joint).permute(0, 2, 3, 1)
    return F.linear(_norm(merged, t, "out_norm", 1e-5) * gate, t["out_proj.weight"])


def _scan(u: Tensor, steps: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """One position after the other: u and steps (B, E, L), a (E, N), b and c (B, N, L), d (E)."""
    state = u.new_zeros(u.shape[0], u.shape[1], a.shape[1])
    outputs = []
    for position in range(u.shape[2]):
        step, now = steps[:, :, position, None], u[:, :, position]
        state = (step * a).exp() * state + step * b[:, None, :, position] * now[..., None]
        outputs.append((state * c[:, None, :, position]).sum(-1) + d * now)
    return torch.stack(outputs, dim=-1)
