"""The ViTPose encoder of the paper's configs: a plain vision transformer and two deconvolutions to 1/4 resolution.

Shapes and names follow the public ViTPose checkpoints (classic decoder), so that `load_vitpose` can read them.
Legend: B images, H x W px, n = H/16 * W/16 patches, V = embed_dim, C = out_channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.dense import Dense
from posecli.errors import WeightsError
from posecli.pose.config import ViTPoseConfig

_PADDING = 2


class Attention(nn.Module):
    """Multi-head self-attention over all patches."""

    def __init__(self, config: ViTPoseConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = Dense(config.embed_dim, 3 * config.embed_dim)
        self.proj = Dense(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, V) -> the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Dense(width, 4 * width)
        self.fc2 = Dense(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


class _Block(nn.Module):
    def __init__(self, config: ViTPoseConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = _Mlp(config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class _Upsampling(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ViTPoseEncoder(nn.Module):
    """Images to features at 1/4 of their resolution.

    Args:
        config: Sizes.
        crop_hw: The input it is used at, px; its position table is that large.
    """

    def __init__(self, config: ViTPoseConfig, crop_hw: tuple[int, int]) -> None:
        super().__init__()
        patch = config.patch_size
        self.patch_hw = (crop_hw[0] // patch, crop_hw[1] // patch)
        num_patches = self.patch_hw[0] * self.patch_hw[1]
        self.patch_embed = nn.Conv2d(3, config.embed_dim, patch, stride=patch, padding=_PADDING)
        # one more row than patches: ViTPose keeps its ancestor's class token in the table and adds that row to every patch
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches + 1, config.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.deconv_layers = _Upsampling(config.embed_dim, config.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/4, W/4)."""
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x).transpose(1, 2).unflatten(2, self.patch_hw)
        features: Tensor = self.deconv_layers(x)
        return features


def load_vitpose(encoder: ViTPoseEncoder, tensors: Mapping[str, Tensor]) -> None:
    """Fill an encoder from a public ViTPose state dict (``backbone.*`` and ``keypoint_head.deconv_layers.*``).

    Args:
        encoder: To be filled.
        tensors: The checkpoint's ``state_dict``.

    Raises:
        WeightsError: A tensor is missing or has another shape.
    """
    renamed = {}
    for name, value in tensors.items():
        key = name.removeprefix("backbone.").replace("patch_embed.proj.", "patch_embed.")
        renamed[key.removeprefix("keypoint_head.")] = value
    own = encoder.state_dict()
    missing = [name for name, value in own.items() if name not in renamed or renamed[name].shape != value.shape]
    if missing:
        raise WeightsError(
            f"not a ViTPose checkpoint of this size: {len(missing)} tensors are missing or differ, first {missing[0]}",
            hint="use the classic-decoder weights of the size that the config names",
        )
    encoder.load_state_dict({name: renamed[name] for name in own})
