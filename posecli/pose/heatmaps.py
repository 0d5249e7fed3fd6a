"""Keypoints to heatmaps and back (PAPERS: Gaussian targets with peak 1; arg-max decoding with a sub-cell refinement).

Legend: N crops, K keypoints, h and w heatmap cells. Cell (i, j) of a map with ``stride`` s lies over crop pixels whose centre is
((j + 0.5) s - 0.5, (i + 0.5) s - 0.5): the same pixel-centre convention as everywhere, so encode and decode are inverses.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from posecli.records import FloatArray

Refinement = Literal["quarter", "parabola", "smoothed"]

_SMOOTHING_CELLS = 1.0


def crop_to_cell(points: FloatArray, stride: int) -> FloatArray:
    """(..., 2) crop px -> (..., 2) heatmap cells."""
    return np.asarray((points + 0.5) / stride - 0.5, np.float32)


def cell_to_crop(points: FloatArray, stride: int) -> FloatArray:
    """(..., 2) heatmap cells -> (..., 2) crop px; the inverse of `crop_to_cell`."""
    return np.asarray((points + 0.5) * stride - 0.5, np.float32)


def encode(cells: Tensor, size_hw: tuple[int, int], sigma: float) -> Tensor:
    """Gaussian target maps with peak 1 at the exact (unrounded) position.

    Args:
        cells: (..., K, 2) positions (x, y) in cells; NaN or far outside gives a map of zeros.
        size_hw: Cells.
        sigma: Standard deviation in cells.

    Returns:
        (..., K, h, w) float32.
    """
    height, width = size_hw
    ys = torch.arange(height, dtype=torch.float32, device=cells.device)
    xs = torch.arange(width, dtype=torch.float32, device=cells.device)
    far = torch.nan_to_num(cells, nan=-1e4)
    scale = -0.5 / sigma**2
    along_y = torch.exp(scale * (ys - far[..., 1:2]) ** 2)
    along_x = torch.exp(scale * (xs - far[..., 0:1]) ** 2)
    return along_y[..., :, None] * along_x[..., None, :]


def decode(heatmaps: Tensor, *, refinement: Refinement = "parabola") -> tuple[FloatArray, FloatArray]:
    """Positions and scores of the peaks.

    Args:
        heatmaps: (N, K, h, w).
        refinement: ``quarter`` shifts by a quarter cell towards the larger neighbour (the paper's family); ``parabola`` fits a
            parabola through the logarithms of the peak and its two neighbours on each axis, exact for a Gaussian. ``smoothed`` does
            that to the map smoothed by a Gaussian of one cell, which finds the peak with the most around it (after DARK, Zhang et
            al. 2020); scores stay those of the map itself.

    Returns:
        (N, K, 2) cells (x, y) and (N, K) peak values clamped to [0, 1].
    """
    found = find_peaks(heatmaps, refinement=refinement).cpu().numpy()
    return found[..., :2], found[..., 2]


def find_peaks(heatmaps: Tensor, *, refinement: Refinement = "parabola") -> Tensor:
    """As `decode`, but all on the heatmaps' device and in one tensor: (N, K, 3) float32 of x, y and peak value."""
    num, num_keypoints, height, width = heatmaps.shape
    maps = heatmaps.float()
    own = maps.reshape(num, num_keypoints, -1)
    flat = own if refinement != "smoothed" else _smoothed(maps).reshape(num, num_keypoints, -1)
    peaks, index = flat.max(dim=-1)
    scores = peaks if refinement != "smoothed" else own.gather(-1, index[..., None])[..., 0]
    y, x = index // width, index % width
    offset_x = _offset(flat, index, x, width, 1, peaks, refinement)
    offset_y = _offset(flat, index, y, height, width, peaks, refinement)
    return torch.stack([x + offset_x, y + offset_y, scores.clamp(0.0, 1.0)], dim=-1).float()


def _smoothed(maps: Tensor) -> Tensor:
    """(..., h, w), as two products with banded matrices: for maps this small cheaper than convolutions."""
    height, width = maps.shape[-2:]
    return _band(height, maps.device) @ maps @ _band(width, maps.device).T


@lru_cache(maxsize=64)
def _band(size: int, device: torch.device) -> Tensor:
    """(size, size) rows of Gaussians that sum to 1, at the borders too."""
    with torch.inference_mode(mode=False):
        places = torch.arange(size, dtype=torch.float32, device=device)
        weights = torch.exp(-0.5 * ((places[:, None] - places) / _SMOOTHING_CELLS) ** 2)
        return weights / weights.sum(dim=1, keepdim=True)


def _offset(
    flat: Tensor, index: Tensor, position: Tensor, size: int, step: int, peaks: Tensor, refinement: Refinement
) -> Tensor:
    """Sub-cell shift along one axis, 0 at the border and where the peak is not positive."""
    inside = (position > 0) & (position < size - 1)
    before = flat.gather(-1, (index - step).clamp(min=0)[..., None])[..., 0]
    after = flat.gather(-1, (index + step).clamp(max=flat.shape[-1] - 1)[..., None])[..., 0]
    if refinement == "quarter":
        shift = 0.25 * torch.sign(after - before)
    else:
        floor = 1e-4
        left, mid, right = (torch.log(v.clamp(min=floor)) for v in (before, peaks, after))
        curvature = (left + right - 2 * mid).clamp(max=-1e-3)
        shift = (0.5 * (left - right) / curvature).clamp(-0.5, 0.5)
    return torch.where(inside & (peaks > 0), shift, torch.zeros_like(shift))
