"""What the benchmark is made of: the clock, the split of the network, the rehearsal, random weights."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posecli.benchmark import clip
from posecli.benchmark.clip import default_clip, read_frames, scaled, write_clip
from posecli.benchmark.clock import Clock, Effort
from posecli.benchmark.network_parts import ENCODER, GLOBAL, SCAN, time_parts
from posecli.benchmark.rehearsal import Rehearsal
from posecli.benchmark.subject import Subject, save_random
from posecli.errors import ConfigError
from posecli.pose.estimator import PoseEstimator
from posecli.pose.network import PoseNetwork
from posecli.records import Detections, Frame

CPU = torch.device("cpu")
ONCE = Effort(num_frames=5, seconds=0.0, min_repeats=2)


def test_one_thread_is_measured_in_processor_time_others_on_the_wall() -> None:
    assert Clock.fitting(CPU, 1).kind == "cpu"
    assert Clock.fitting(CPU, 2).kind == "wall"
    assert Clock.fitting(torch.device("cuda"), 1).kind == "wall"


def test_processor_time_does_not_count_waiting() -> None:
    timing = Clock("cpu", CPU).time(lambda: time.sleep(0.05), ONCE)
    assert timing.num_runs == 2
    assert timing.min_ms <= timing.median_ms < 25
    assert Clock("wall", CPU).least_ms(lambda: time.sleep(0.05), ONCE) >= 50


def test_parts_sum_to_the_pass_and_leave_no_hooks(tiny_pose_config: Any) -> None:
    network = PoseNetwork(tiny_pose_config).eval().requires_grad_(False)
    images = torch.zeros(1, 5, 3, 64, 32)
    parts = time_parts(network, images, Clock("cpu", CPU), ONCE)
    assert all(milliseconds > 0 for milliseconds in parts.values())
    assert parts[(GLOBAL, SCAN)] < sum(parts.values())
    assert next(iter(parts))[0] == ENCODER
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Nobody:
    """A detector that finds people only in odd windows, or never."""

    name = "nobody"

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, frames: list[Frame]) -> list[Detections]:
        scores = np.full(len(self.boxes), 0.9, np.float32)
        return [Detections(frame.index, self.boxes, scores) for frame in frames]


def frames_of(count: int) -> list[Frame]:
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    return [Frame(index, index, index / 30, image) for index in range(count)]


@pytest.fixture
def estimator(tiny_weights: Path) -> PoseEstimator:
    return PoseEstimator.load(tiny_weights)


def test_a_rehearsal_can_be_played_again(estimator: PoseEstimator, tmp_path: Path) -> None:
    detector: Any = Nobody([[10, 10, 40, 80], [60, 10, 100, 80]])
    rehearsal = Rehearsal.run(frames_of(13), detector, estimator)
    assert not rehearsal.has_made_up_person
    assert [len(chunk.own) for chunk in rehearsal.chunks] == [5, 5, 3]
    assert rehearsal.num_person_windows == 6
    assert rehearsal.num_person_frames == 26
    assert rehearsal.track().state_dict() == rehearsal.track().state_dict()
    journal = rehearsal.write_journal(tmp_path / "journal")
    rows = [row for chunk in journal.chunks() for row in chunk["poses"]]
    assert len(rows) == 26
    assert json.dumps(rows)
    journal.remove()


def test_where_nobody_is_found_a_person_is_made_up(estimator: PoseEstimator) -> None:
    detector: Any = Nobody([])
    rehearsal = Rehearsal.run(frames_of(10), detector, estimator)
    assert rehearsal.has_made_up_person
    assert rehearsal.num_person_windows == 2
    assert set(rehearsal.detections) == {2, 7}


def test_random_weights_are_always_the_same_and_leave_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (save_random("glsmamba-s", tmp_path / f"{n}.safetensors").read_bytes() for n in "ab")
    assert first == second
    assert torch.equal(torch.rand(1), expected)


def test_a_config_and_weights_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both given"):
        Subject.prepare(config="glsmamba-s", weights="glsmamba-s", device="cpu", folder=tmp_path)
    trained = Subject.prepare(config=None, weights=None, device="cpu", folder=tmp_path)
    assert (trained.config, trained.has_random_weights) == ("glsmamba-m", False)


def test_clips_are_written_in_the_size_asked_for(tmp_path: Path) -> None:
    pictures = scaled(frames_of(3), 48)
    frames = read_frames(write_clip(tmp_path / "small.mp4", pictures), 10)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3


def test_without_the_example_a_clip_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_clip(tmp_path).name == "rendered_people.mp4"
    monkeypatch.setattr(clip, "_EXAMPLE", tmp_path / "not-there.mp4")
    frames = read_frames(default_clip(tmp_path), 100)
    assert len(frames) == 60
    assert not np.array_equal(frames[0].image, frames[30].image)
