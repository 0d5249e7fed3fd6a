"""PersonNet: letterbox, boxes in cells, peaks, folded batch norms."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from posecli.encoder import EncoderConfig, fold_batch_norms
from posecli.errors import ConfigError
from posecli.people.duplicates import best_boxes
from posecli.people.letterbox import GREY, Letterbox
from posecli.people.personnet import (
    PersonNet,
    PersonNetConfig,
    boxes_from_sides,
    calibrate,
    find_people,
    sides_from_boxes,
)

TINY = PersonNetConfig(
    EncoderConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), out_channels=16, stem_channels=8), 16, (2,)
)
TINY_MOBILE = replace(TINY, mobile_width=0.25)


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


def test_sides_and_boxes_are_inverses() -> None:
    sides = torch.from_numpy(np.random.default_rng(0).uniform(-1.0, 4.0, (2, 4, 5, 7))).float()
    torch.testing.assert_close(sides_from_boxes(boxes_from_sides(sides)), sides, atol=1e-4, rtol=1e-4)


def test_people_are_peaks_above_the_threshold_best_first() -> None:
    centre = torch.full((1, 6, 8), -8.0)
    centre[0, 1, 2], centre[0, 1, 3], centre[0, 4, 6], centre[0, 5, 0] = 1.0, 0.5, 3.0, -2.0
    boxes = boxes_from_sides(torch.zeros(1, 4, 6, 8))
    [(found, scores)] = find_people(centre, boxes, min_score=0.3, max_people=10)
    torch.testing.assert_close(scores, torch.tensor([3.0, 1.0]).sigmoid())
    expected = torch.tensor(
        [[43.5, 27.5, 59.5, 43.5], [11.5, 3.5, 27.5, 19.5]]
    )  # cells (6, 4) and (2, 1), 8 px to each side
    torch.testing.assert_close(found, expected)
    [(fewer, _)] = find_people(centre, boxes, min_score=0.3, max_people=1)
    assert len(fewer) == 1


def test_best_boxes_drops_duplicates_only() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10]], np.float32)
    kept = best_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.6], np.float32), max_iou=0.6)
    assert kept.tolist() == [1, 2, 3]
    assert best_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), max_iou=0.6).tolist() == []


def test_folded_batch_norms_change_nothing() -> None:
    torch.manual_seed(0)
    network = PersonNet(TINY)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    network.train()
    for _ in range(3):  # so that the norms' statistics are not those of the start
        network(images)
    network.eval()
    with torch.inference_mode():
        before = network(images)
        fold_batch_norms(network)
        after = network(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.encoder.levels.modules())
    torch.testing.assert_close(after[0], before[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[1], before[1], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("config", [TINY, TINY_MOBILE])
def test_output_shapes(config: PersonNetConfig) -> None:
    network = PersonNet(config).eval()
    with torch.inference_mode():
        centre, boxes = network(torch.zeros(3, 3, 96, 160, dtype=torch.uint8))
    assert centre.shape == (3, 12, 20)
    assert boxes.shape == (3, 4, 12, 20)


@pytest.mark.parametrize("config", [TINY, TINY_MOBILE])
def test_cells_speak_of_the_place_they_cover(config: PersonNetConfig) -> None:
    """What changes in one corner is seen in that corner: a turned ladder is turned back."""
    torch.manual_seed(0)
    network = PersonNet(replace(config, context_dilations=())).eval()
    images = torch.full((2, 3, 128, 128), 90, dtype=torch.uint8)
    images[1, :, 8:40, 72:104] = 220
    with torch.inference_mode():
        features = network.encoder(images.float() / 100.0)
    difference = (features[1] - features[0]).abs().sum(0)
    y, x = divmod(int(difference.argmax()), difference.shape[1])
    assert 0 <= y <= 5 and 8 <= x <= 13


def test_config_survives_json() -> None:
    for config in (TINY, TINY_MOBILE):
        assert PersonNetConfig.from_json(json.loads(json.dumps(asdict(config)))) == config
    older = asdict(TINY)
    del older["mobile_width"]
    assert PersonNetConfig.from_json(older) == TINY
    with pytest.raises(ConfigError, match="not understood"):
        PersonNetConfig.from_json({"encoder": {"width": [1, 2, 3, 4]}, "head_channels": 8, "context_dilations": []})
    with pytest.raises(ConfigError, match="positive"):
        PersonNetConfig(head_channels=0)
    with pytest.raises(ConfigError, match="width"):
        PersonNetConfig(mobile_width=9.0)


def test_calibration_keeps_the_order() -> None:
    centre = torch.tensor([-3.0, -0.4, 0.0, 2.0])
    calibrated = calibrate(centre, replace(TINY, score_scale=3.0, score_shift=1.2))
    torch.testing.assert_close(calibrated, torch.tensor([-7.8, 0.0, 1.2, 7.2]))
    assert calibrate(centre, TINY).equal(centre)
    with pytest.raises(ConfigError, match="score_scale"):
        replace(TINY, score_scale=0.0)
