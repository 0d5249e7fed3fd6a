"""PersonNet: letterbox, boxes in cells, peaks, places."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from posecli.errors import ConfigError
from posecli.people.duplicates import best_boxes, fuse_looks
from posecli.people.letterbox import GREY, Letterbox
from posecli.people.personnet import (
    PersonNet,
    PersonNetConfig,
    before_calibration,
    boxes_from_cells,
    calibrate,
    find_people,
)

TINY = PersonNetConfig(width=0.1)


@pytest.mark.parametrize("frame_wh", [(1920, 1080), (1088, 1920), (640, 480), (97, 31), (416, 416), (30, 3000)])
def test_letterbox_round_trip(frame_wh: tuple[int, int]) -> None:
    letterbox = Letterbox.fit(frame_wh, longer_side_px=416, multiple_px=32)
    boxes = np.array([[-0.5, -0.5, frame_wh[0] - 0.5, frame_wh[1] - 0.5], [3, 4, 20.25, 30.5]], np.float32)
    np.testing.assert_allclose(letterbox.to_frame(letterbox.to_input(boxes)), boxes, atol=1e-3)
    assert max(letterbox.scaled_wh) == 416
    assert all(
        side % 32 == 0 and 0 <= side - scaled < 32
        for side, scaled in zip(letterbox.input_wh, letterbox.scaled_wh, strict=True)
    )


def test_letterbox_maps_picture_edges_to_picture_edges() -> None:
    letterbox = Letterbox.fit((1000, 500), longer_side_px=320, multiple_px=32)
    edges = letterbox.to_input(np.array([[-0.5, -0.5, 999.5, 499.5]], np.float32))
    np.testing.assert_allclose(edges, [[-0.5, -0.5, 319.5, 159.5]], atol=1e-4)


def test_letterbox_moves_pixels_where_it_moves_boxes() -> None:
    frame = np.zeros((300, 600, 3), np.uint8)
    frame[90:150, 240:300] = 255
    letterbox = Letterbox.fit((600, 300), longer_side_px=416, multiple_px=32)
    image = letterbox.apply(frame)
    box = letterbox.to_input(np.array([[239.5, 89.5, 299.5, 149.5]], np.float32))[0]
    weights = image[: letterbox.scaled_wh[1], :, 0].astype(np.float64)
    ys, xs = np.indices(weights.shape)
    centre = np.array([(weights * xs).sum(), (weights * ys).sum()]) / weights.sum()
    np.testing.assert_allclose(centre, (box[:2] + box[2:]) / 2, atol=0.1)
    assert (image[letterbox.scaled_wh[1] :] == GREY).all()


def test_boxes_lie_where_the_cells_say() -> None:
    offset, size = torch.zeros(1, 2, 3, 5), torch.full((1, 2, 3, 5), 8.0)
    offset[0, :, 1, 2], size[0, :, 1, 2] = torch.tensor([0.5, 1.25]), torch.tensor([10.0, 4.0])
    boxes = boxes_from_cells(offset, size)
    # the cell's corner is at (7.5, 3.5); the middle 5 px right of it and 2 below, 16 px wide and 40 high
    torch.testing.assert_close(boxes[0, :, 1, 2], torch.tensor([4.5, -14.5, 20.5, 25.5]))
    torch.testing.assert_close(boxes[0, :, 2, 0], torch.tensor([-16.5, -8.5, 15.5, 23.5]))


def test_sizes_are_positive_and_can_be_learnt_from_anywhere() -> None:
    size = torch.tensor([-3.0, 0.0, 0.5, 4.0]).reshape(1, 1, 1, 4).repeat(1, 2, 1, 1).requires_grad_()
    boxes = boxes_from_cells(torch.zeros(1, 2, 1, 4), size)
    wh = boxes[:, 2:] - boxes[:, :2]
    assert (wh > 0).all()
    wh.sum().backward()
    assert size.grad is not None
    assert (size.grad > 0).all()
    torch.testing.assert_close(wh[0, :, 0, 3], torch.full((2,), 16.0))


def test_people_are_peaks_above_the_threshold_best_first() -> None:
    centre = torch.full((1, 6, 8), -8.0)
    centre[0, 1, 2], centre[0, 1, 3], centre[0, 4, 6], centre[0, 5, 0] = 1.0, 0.5, 3.0, -2.0
    boxes = boxes_from_cells(torch.full((1, 2, 6, 8), 0.5), torch.full((1, 2, 6, 8), 4.0))
    [(found, scores)] = find_people(centre, boxes, min_score=0.3, max_people=10)
    torch.testing.assert_close(scores, torch.tensor([3.0, 1.0]).sigmoid())
    # the boxes of all cells reach 8 px to each side of their own middles, 4 px apart; (2, 1) has a sure neighbour at its right
    sure, unsure, none = (float(torch.tensor(value).sigmoid()) for value in (1.0, 0.5, -8.0))
    right = 4 * (unsure - none) / (sure + unsure + 7 * none)
    expected = torch.tensor([[17.5, 9.5, 33.5, 25.5], [1.5 + right, -2.5, 17.5 + right, 13.5]])
    torch.testing.assert_close(found, expected)
    [(fewer, _)] = find_people(centre, boxes, min_score=0.3, max_people=1)
    assert len(fewer) == 1


def test_best_boxes_drops_duplicates_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10]], np.float32)
    kept = best_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.6], np.float32), max_iou=0.6)
    assert kept.tolist() == [1, 2, 3]
    assert best_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), max_iou=0.6).tolist() == []


def test_a_person_whom_two_looks_see_has_the_average_box_and_is_surer() -> None:
    large = (np.array([[0, 0, 100, 100]], np.float32), np.array([0.6], np.float32))
    small = (np.array([[0, 0, 90, 100], [200, 0, 220, 50]], np.float32), np.array([0.3, 0.5], np.float32))
    boxes, scores = fuse_looks([large, small], min_iou=0.55, max_iou=0.6)
    assert boxes == pytest.approx(np.array([[0, 0, 100 - 10 / 3, 100], [200, 0, 220, 50]]), abs=1e-4)
    assert scores == pytest.approx([1 - 0.4 * 0.7, 0.5])


def test_two_people_of_one_look_stay_two() -> None:
    apart = np.array([[0, 0, 100, 100], [30, 0, 130, 100]], np.float32)  # they overlap by 0.54
    wide = np.array([[10, 0, 110, 100]], np.float32)
    boxes, _ = fuse_looks(
        [(apart, np.array([0.9, 0.8], np.float32)), (wide, np.array([0.5], np.float32))], min_iou=0.5, max_iou=0.6
    )
    assert len(boxes) == 2
    assert boxes[1] == pytest.approx(apart[1])
    assert fuse_looks([(apart[:0], np.zeros(0, np.float32))] * 2, min_iou=0.5, max_iou=0.6)[0].shape == (0, 4)


def test_output_shapes() -> None:
    network = PersonNet(TINY).eval()
    with torch.inference_mode():
        centre, boxes = network(torch.zeros(3, 3, 96, 160, dtype=torch.uint8))
    assert centre.shape == (3, 24, 40)
    assert boxes.shape == (3, 4, 24, 40)


def test_cells_speak_of_the_place_they_cover() -> None:
    """What changes in one corner is seen in that corner: the turned ladder is turned back."""
    torch.manual_seed(0)
    network = PersonNet(TINY).eval()
    images = torch.full((2, 3, 128, 128), 90, dtype=torch.uint8)
    images[1, :, 8:40, 72:104] = 220
    with torch.inference_mode():
        features = network.encoder(images.float() / 100.0)
    difference = (features[1] - features[0]).abs().sum(0)
    y, x = divmod(int(difference.argmax()), difference.shape[1])
    assert 0 <= y <= 11 and 16 <= x <= 27


def test_config_survives_json() -> None:
    assert PersonNetConfig.from_json(json.loads(json.dumps(asdict(TINY)))) == TINY
    with pytest.raises(ConfigError, match="unknown setting"):
        PersonNetConfig.from_json({"encoder": {"width": [1, 2, 3, 4]}, "head_channels": 8, "context_dilations": []})
    with pytest.raises(ConfigError, match="score_shift is missing"):
        PersonNetConfig.from_json({"width": 1.0, "score_scale": 1.0})
    with pytest.raises(ConfigError, match="width"):
        PersonNetConfig(width=9.0)


def test_calibration_keeps_the_order() -> None:
    config = replace(TINY, score_scale=3.0, score_shift=1.2)
    scores = np.array([0.0, 0.05, 0.4, 0.9, 1.0], np.float32)
    calibrated = calibrate(scores, config)
    assert calibrated[1:4] == pytest.approx(
        [1 / (1 + 19**3 * np.exp(-1.2)), 1 / (1 + 1.5**3 * np.exp(-1.2)), 1 / (1 + 9**-3 * np.exp(-1.2))]
    )
    assert (np.diff(calibrated) > 0).all()
    assert np.isfinite(calibrated).all()
    assert [before_calibration(float(score), config) for score in calibrated[1:4]] == pytest.approx(
        scores[1:4], rel=1e-4
    )
    assert calibrate(scores[1:4], TINY) == pytest.approx(scores[1:4])
    with pytest.raises(ConfigError, match="score_scale"):
        replace(TINY, score_scale=0.0)
