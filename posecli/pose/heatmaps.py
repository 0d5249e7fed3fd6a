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

Refinement = Literal["quarter", "parabola", "smoothed", "centred"]

_SMOOTHING_CELLS = 1.0
_SIGHT_CELLS = 3.0
_CENTRING_ROUNDS = 3
_BORDER_CELLS = 3  # nearer to the border, the map around a point is cut: its centre lies too far inside


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
            al. 2020); ``centred`` goes on from there to the centre of what the map shows around the point: of its squares, seen
            through a Gaussian of three cells around the place found so far, three times (mean shift). Scores stay those of the
            map itself.

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
    is_smoothed = refinement in ("smoothed", "centred")
    flat = _smoothed(maps).reshape(num, num_keypoints, -1) if is_smoothed else own
    peaks, index = flat.max(dim=-1)
    scores = own.gather(-1, index[..., None])[..., 0] if is_smoothed else peaks
    y, x = index // width, index % width
    offset_x = _offset(flat, index, x, width, 1, peaks, refinement)
    offset_y = _offset(flat, index, y, height, width, peaks, refinement)
    x, y = x + offset_x, y + offset_y
    if refinement == "centred":
        x, y = _centred(maps, x, y)
    return torch.stack([x, y, scores.clamp(0.0, 1.0)], dim=-1).float()


def _centred(maps: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """From places (N, K) to the centres of what the maps (N, K, h, w) show around them; along a border they stay."""
    shown = maps.clamp(min=0.0).square()
    xs, ys = (torch.arange(size, dtype=torch.float32, device=maps.device) for size in (maps.shape[-1], maps.shape[-2]))
    at_x, at_y = x.float(), y.float()
    for _ in range(_CENTRING_ROUNDS):
        away_x, away_y = xs - at_x[..., None], ys - at_y[..., None]
        seen_x, seen_y = (torch.exp(-0.5 * (away / _SIGHT_CELLS) ** 2) for away in (away_x, away_y))
        columns = (seen_y[..., None, :] @ shown)[..., 0, :] * seen_x
        rows = (shown @ seen_x[..., None])[..., 0] * seen_y
        mass = rows.sum(dim=-1).clamp(min=1e-9)
        at_x = at_x + (columns * away_x).sum(dim=-1) / mass
        at_y = at_y + (rows * away_y).sum(dim=-1) / mass
    places = []
    for start, found, size in ((x, at_x, xs), (y, at_y, ys)):
        is_inside = (start >= _BORDER_CELLS) & (start <= len(size) - 1 - _BORDER_CELLS)
        places.append(torch.where(is_inside, found, start.float()))
    return places[0], places[1]


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
