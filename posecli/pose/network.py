"""The GLSMamba network: encoder, tokens, GSM and LRM blocks, heatmap head (arXiv 2510.11017; every open choice is in `PoseConfig`).

Legend: B windows, T frames, H x W crop px, h x w = H/4 x W/4 tokens of a frame, C encoder channels, D = d_model, K keypoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posecli.dense import Dense
from posecli.encoder import CompactEncoder
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.pose import fused
from posecli.pose.blocks import GlobalBlock, LocalBlock, MambaBlock
from posecli.pose.config import PoseConfig, ViTPoseConfig
from posecli.pose.vitpose import ViTPoseEncoder


class PoseNetwork(nn.Module):
    """Crops of T consecutive frames to heatmaps of all T."""

    spatial_embedding: Tensor

    def __init__(self, config: PoseConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        width = config.d_model
        self.embed = Dense(config.encoder.out_channels, width)
        self.register_buffer("spatial_embedding", sine_cosine_table(*config.grid_hw, width), persistent=False)
        self.temporal_embedding = nn.Parameter(torch.zeros(config.num_frames, width))
        num_blocks = config.num_global_blocks + config.num_local_blocks
        rates = [config.drop_path * i / max(1, num_blocks - 1) for i in range(num_blocks)]
        kinds = [GlobalBlock] * config.num_global_blocks + [LocalBlock] * config.num_local_blocks
        self.blocks: Sequence[MambaBlock] = nn.ModuleList(  # type: ignore[assignment]
            kind(config, rate) for kind, rate in zip(kinds, rates, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.head = Dense(width, config.num_keypoints)
        self._initialise()

    def _initialise(self) -> None:
        """Small weights where tokens meet the residual stream, so that the network starts as encoder plus linear head."""
        for block in self.blocks:
            block.quieten(0.02 / math.sqrt(2 * len(self.blocks)))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        if self.config.is_encoder_frozen:
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> PoseNetwork:
        """As usual, but a frozen encoder stays in eval mode: its batch norms' running statistics must not move."""
        super().train(mode)
        if self.config.is_encoder_frozen:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor, *, frame: int | None = None) -> Tensor:
        """Estimate.

        Args:
            images: (B, T, 3, H, W), normalised by `posecli.encoder.normalise_images`; T as in the config, or 1: stills.
            frame: Only this frame's heatmaps (the paper's key frame is T // 2); ``None``: all.

        Returns:
            (B, T, K, h, w) heatmaps, or (B, 1, K, h, w) for one frame.
        """
        return self.refine(self.encode(images), frame=frame)

    def encode(self, images: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, h, w, D) tokens, before position embeddings."""
        batch, frames = images.shape[:2]
        folded = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.is_encoder_frozen):
            features = self.encoder(folded)
        return torch.unflatten(self.embed(features.permute(0, 2, 3, 1)), 0, (batch, frames))

    def refine(self, tokens: Tensor, *, frame: int | None = None) -> Tensor:
        """(B, T, h, w, D) tokens -> heatmaps as `forward`; a single frame stands in the middle of time."""
        in_time: Tensor = self.temporal_embedding
        if tokens.shape[1] == 1:
            in_time = in_time[len(in_time) // 2, None]
        tokens = tokens + self.spatial_embedding + in_time[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens)
        if frame is not None and tokens.shape[1] > 1:
            tokens = tokens[:, frame : frame + 1]
        heatmaps: Tensor = self.head(fused.layer_norm(tokens.contiguous(), self.norm))
        return heatmaps.permute(0, 1, 4, 2, 3)


def build_encoder(config: PoseConfig) -> nn.Module:
    """The encoder that a config asks for, freshly initialised."""
    if isinstance(config.encoder, ViTPoseConfig):
        return ViTPoseEncoder(config.encoder, config.crop_hw)
    if isinstance(config.encoder, MobileEncoderConfig):
        return MobileEncoder(config.encoder)
    return CompactEncoder(config.encoder)


def sine_cosine_table(height: int, width: int, channels: int) -> Tensor:
    """(h, w, D) fixed 2D position table: the first half of the channels encodes y, the second x, sines then cosines."""
    quarter = channels // 4
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(quarter) / quarter)

    def along(count: int) -> Tensor:
        angles = torch.arange(count)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    ys = along(height)[:, None, :].expand(height, width, 2 * quarter)
    xs = along(width)[None, :, :].expand(height, width, 2 * quarter)
    table = torch.zeros(height, width, channels)
    table[..., : 4 * quarter] = torch.cat([ys, xs], dim=-1)
    return table
