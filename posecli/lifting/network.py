"""PoseMamba: 2D joints of a clip in, 3D joints out (arXiv 2408.03540).

Legend: B clips, F frames, J = 17 joints of `posecli.skeletons.H36M17`, C = d_model. Parameter names and shapes are the authors'.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.lifting.blocks import PlaneBlock
from posecli.lifting.config import LiftConfig

_NORM_EPS = 1e-6
_NUM_AXES = 3


class PoseMamba(nn.Module):
    """The lifter.

    Both kinds of block, spatial ("STE") and temporal ("TTE"), are the same and see the whole plane of frames and joints; the two
    norms after them are single layers used at every depth. True parameter counts of the paper's configs: S 1,470,211, B 4,742,659,
    L 9,450,499, and of the 256 x 40 network 33,318,915. The paper prints 0.86, 3.36, 6.71 and 26.5 M: it counts with thop, which
    sees linear, convolution and norm layers but no bare tensors (the projections of the scan, A, D, position embeddings), nor the scan
    among the operations.

    Args:
        config: Its settings.
    """

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.Spatial_patch_to_embedding = nn.Linear(config.in_channels, width)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, config.num_joints, width))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, config.max_frames, width))
        rates = np.linspace(0.0, config.drop_path, config.depth)
        self.STEblocks = nn.ModuleList(PlaneBlock(config, float(rate)) for rate in rates)
        self.TTEblocks = nn.ModuleList(PlaneBlock(config, float(rate)) for rate in rates)
        self.Spatial_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.Temporal_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, _NUM_AXES))

    def forward(self, joints: Tensor) -> Tensor:
        """Lift clips of any length.

        Args:
            joints: (B, F, J, in_channels), normalised as the config says; a missing joint is 0 in all channels.

        Returns:
            (B, F, J, 3): x right, y down, z forward; relative to the root in metres of the standard body (``person``), or in the
            unit of the input (``image``).
        """
        tokens = self.Spatial_patch_to_embedding(joints) + self.Spatial_pos_embed[:, None]
        for index, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            tokens = self.Spatial_norm(spatial(tokens))
            if index == 0:
                tokens = tokens + self._when(tokens.shape[1])[:, :, None]
            tokens = self.Temporal_norm(temporal(tokens))
        lifted: Tensor = self.head(tokens)
        return lifted

    def _when(self, frames: int) -> Tensor:
        """(1, F, C): the position embeddings of a clip, stretched if it is longer than those."""
        known = self.Temporal_pos_embed
        if frames <= known.shape[1]:
            return known[:, :frames]
        stretched = functional.interpolate(known.transpose(1, 2), size=frames, mode="linear", align_corners=True)
        return stretched.transpose(1, 2)
