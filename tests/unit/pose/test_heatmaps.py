"""Targets and decoding are inverses, and a lit pixel comes back at its own coordinate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posecli.pose.heatmaps import cell_to_crop, crop_to_cell, decode, encode


def test_cells_and_crop_pixels_are_inverse() -> None:
    points = np.random.default_rng(0).uniform(-20, 300, (50, 2)).astype(np.float32)
    assert np.allclose(cell_to_crop(crop_to_cell(points, 4), 4), points, atol=1e-4)


def test_the_centre_of_a_cell_is_the_centre_of_its_pixels() -> None:
    pixels = np.stack(np.meshgrid(np.arange(8, 12), np.arange(4, 8)), axis=-1).reshape(-1, 2)
    assert np.allclose(crop_to_cell(pixels.mean(axis=0).astype(np.float32), 4), [2, 1])


def test_parabola_decoding_is_exact_for_a_gaussian() -> None:
    cells = torch.from_numpy(np.random.default_rng(1).uniform(3, 30, (6, 19, 2)).astype(np.float32))
    found, scores = decode(encode(cells, (48, 40), 2.0), refinement="parabola")
    assert np.abs(found - cells.numpy()).max() < 0.01
    assert scores.min() > 0.9


def test_smoothed_decoding_is_exact_for_a_gaussian_too() -> None:
    cells = torch.from_numpy(np.random.default_rng(1).uniform(6, 30, (6, 19, 2)).astype(np.float32))
    maps = encode(cells, (48, 40), 2.0)
    found, scores = decode(maps, refinement="smoothed")
    assert np.abs(found - cells.numpy()).max() < 0.02
    assert np.array_equal(scores, decode(maps, refinement="parabola")[1])


def test_smoothed_decoding_prefers_a_broad_peak_to_a_single_cell() -> None:
    maps = 0.6 * encode(torch.tensor([[[10.0, 20.0]]]), (48, 40), 2.0)
    maps[0, 0, 5, 30] = 0.7
    assert decode(maps, refinement="parabola")[0][0, 0].tolist() == [30.0, 5.0]
    found, scores = decode(maps, refinement="smoothed")
    assert found[0, 0] == pytest.approx([10.0, 20.0], abs=0.02)
    assert scores[0, 0] == pytest.approx(0.6)


def test_centred_decoding_is_exact_for_a_gaussian_too() -> None:
    cells = torch.from_numpy(np.random.default_rng(1).uniform(8, 30, (6, 19, 2)).astype(np.float32))
    maps = encode(cells, (48, 40), 1.5)
    found, scores = decode(maps, refinement="centred")
    assert np.abs(found - cells.numpy()).max() < 0.01
    assert np.array_equal(scores, decode(maps, refinement="smoothed")[1])


def test_centred_decoding_goes_to_the_middle_of_a_lopsided_peak_and_no_farther() -> None:
    maps = (
        encode(torch.tensor([[[10.0, 20.0]]]), (48, 40), 1.5)
        + encode(torch.tensor([[[14.0, 20.0]]]), (48, 40), 1.5) * 0.9
    )
    maps += 0.8 * encode(torch.tensor([[[32.0, 20.0]]]), (48, 40), 1.5)  # another place altogether
    peak, _ = decode(maps, refinement="smoothed")
    found, _ = decode(maps, refinement="centred")
    xs = torch.arange(40.0)
    centre = 12.0
    for _ in range(50):  # the slow obvious way: the place that is the centre of what is seen around it
        seen = maps[0, 0].square().sum(dim=0) * torch.exp(-0.5 * ((xs - centre) / 3.0) ** 2)
        centre = float((seen * xs).sum() / seen.sum())
    assert abs(found[0, 0, 0] - centre) < 0.1 < 0.5 < abs(peak[0, 0, 0] - centre)
    assert found[0, 0, 1] == pytest.approx(20.0, abs=1e-3)


def test_centred_decoding_leaves_points_along_a_border_where_their_peak_is() -> None:
    maps = encode(torch.tensor([[[1.0, 20.0], [20.0, 46.5]]]), (48, 40), 1.5)
    peaks, _ = decode(maps, refinement="smoothed")
    found, _ = decode(maps, refinement="centred")
    assert found[0, 0, 0] == peaks[0, 0, 0]
    assert found[0, 1, 1] == peaks[0, 1, 1]


def test_quarter_decoding_is_within_a_quarter_cell() -> None:
    cells = torch.tensor([[[10.3, 20.6], [5.0, 7.0]]])
    found, _ = decode(encode(cells, (48, 40), 2.0), refinement="quarter")
    assert np.abs(found - cells.numpy()).max() <= 0.25 + 1e-6


def test_an_unlabelled_point_has_an_empty_map_and_score_zero() -> None:
    maps = encode(torch.tensor([[[float("nan"), float("nan")]]]), (16, 12), 2.0)
    assert float(maps.abs().max()) == 0.0
    _, scores = decode(maps)
    assert scores[0, 0] == 0.0


@pytest.mark.parametrize("corner", [(0, 0), (0, 11), (15, 0), (15, 11)])
def test_a_peak_in_a_corner_decodes_without_reaching_outside(corner: tuple[int, int]) -> None:
    maps = torch.zeros(1, 1, 16, 12)
    maps[0, 0, corner[0], corner[1]] = 0.8
    found, scores = decode(maps)
    assert found[0, 0].tolist() == [corner[1], corner[0]]
    assert scores[0, 0] == pytest.approx(0.8)


def test_scores_stay_between_0_and_1() -> None:
    maps = torch.full((1, 2, 8, 8), -0.3)
    maps[0, 1, 4, 4] = 1.7
    _, scores = decode(maps)
    assert scores.tolist() == [[0.0, 1.0]]
