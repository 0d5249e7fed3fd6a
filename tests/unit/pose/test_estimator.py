"""The estimator: any number of threads, any batch, too little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posecli.crew import Crew
from posecli.encoder import normalise_images
from posecli.errors import ConfigError, DeviceError
from posecli.pose import graphs
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.estimator import PoseEstimator
from posecli.pose.graphs import GraphRunner
from posecli.pose.heatmaps import cell_to_crop, decode
from posecli.skeletons import POSECLI19

_NUM_WINDOWS = 5
_TOO_MUCH = 1 << 58  # floats: more than there are addresses


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def boxes() -> list[np.ndarray]:
    return [np.tile(np.array([4 + 9 * b, 3 + 4 * b, 60 + 9 * b, 70], np.float32), (5, 1)) for b in range(_NUM_WINDOWS)]


@pytest.fixture
def load(tiny_weights: Path) -> Callable[..., PoseEstimator]:
    return lambda **options: PoseEstimator.load(tiny_weights, head_weights=None, **options)


def _windows(estimator: PoseEstimator, images: list[np.ndarray], boxes: list[np.ndarray], mode: Any = "clip") -> Any:
    return estimator.estimate_windows([images] * len(boxes), boxes, mode=mode)


def _on_call(estimator: PoseEstimator, note: Callable[[int], object]) -> None:
    """Have ``note`` told how many windows enter the network, each time."""

    def hook(module: object, arguments: tuple[torch.Tensor, ...], options: object) -> None:
        note(len(arguments[0]))

    estimator.network.register_forward_pre_hook(hook, with_kwargs=True)


@pytest.mark.parametrize("mode", ["clip", "key"])
@pytest.mark.parametrize("num_windows", [1, _NUM_WINDOWS])
def test_results_do_not_depend_on_the_number_of_threads(
    load: Callable[..., PoseEstimator],
    images: list[np.ndarray],
    boxes: list[np.ndarray],
    num_windows: int,
    mode: str,
) -> None:
    expected = _windows(load(), images, boxes[:num_windows], mode)
    for num_threads in (2, 3):
        torch.set_num_threads(num_threads)
        found = _windows(load(), images, boxes[:num_windows], mode)
        assert torch.get_num_threads() == num_threads
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True)


def test_stills_do_not_depend_on_it_either(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    stills = [box[0] for box in boxes]
    expected = load().estimate_images(images, stills)
    torch.set_num_threads(2)
    for ours, theirs in zip(load().estimate_images(images, stills), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_still_is_a_window_of_a_single_frame(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    estimator = load()
    points, scores = estimator.estimate_images(images[:1], [boxes[0][0]])
    crop = cut_window(images[:1], window_transform(boxes[0][:1], estimator.config.crop_hw))
    with torch.inference_mode():
        heatmaps = estimator.network(normalise_images(torch.from_numpy(crop).permute(0, 3, 1, 2))[None])
    cells, expected_scores = decode(heatmaps[0], refinement=estimator.refinement)
    assert heatmaps.shape[1] == 1 and points.shape == (1, 19, 2)
    transform = window_transform(boxes[0][:1], estimator.config.crop_hw)
    assert np.abs(points - transform.to_frame(cell_to_crop(cells, 4))).max() < 1e-3
    assert np.abs(scores - expected_scores).max() < 1e-5


def test_mirrored_estimates_mirror_exactly(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    """A mirrored picture gives the mirrored pose, left and right exchanged; one look alone is not that even."""
    image, box = images[0], boxes[0][0]
    width = image.shape[1]
    turned = np.array([width - 1 - box[2], box[1], width - 1 - box[0], box[3]], np.float32)
    errors = []
    for is_mirrored in (True, False):
        estimator = load(is_mirrored=is_mirrored)
        points, scores = estimator.estimate_images([image, np.ascontiguousarray(image[:, ::-1])], [box, turned])
        back = points[1][POSECLI19.flip_indices] * [-1, 1] + [width - 1, 0]
        same = scores[0] - scores[1][POSECLI19.flip_indices]
        errors.append(float(np.abs(back - points[0]).max() + np.abs(same).max()))
    assert errors[0] < 0.05 < errors[1]


def test_windows_take_a_thread_each_and_one_left_over_takes_all(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    torch.set_num_threads(2)
    estimator, seen = load(), []
    _on_call(estimator, lambda size: seen.append((size, torch.get_num_threads())))
    _windows(estimator, images, boxes[:4])
    assert seen == [(1, 1)] * 4
    for count in (1, 3):
        seen.clear()
        _windows(estimator, images, boxes[:count])
        assert seen == [(1, 1)] * (count - 1) + [(1, 2)]


def test_a_crew_that_is_given_does_the_work(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    with Crew(3) as crew:
        found = _windows(load(crew=crew), images, boxes)
    assert np.array_equal(found[0], _windows(load(), images, boxes)[0])


def test_larger_batches_give_the_same_but_for_rounding(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    estimator = load(batch_size=3)
    sizes: list[int] = []
    _on_call(estimator, sizes.append)
    points, scores = _windows(estimator, images, boxes)
    assert sizes == [3, 2]
    expected_points, expected_scores = _windows(load(), images, boxes)
    assert np.abs(points - expected_points).max() < 1e-2
    assert np.abs(scores - expected_scores).max() < 1e-4


def test_nobody_is_no_work(load: Callable[..., PoseEstimator]) -> None:
    points, scores = load().estimate_windows([], [])
    assert points.shape == (0, 5, 19, 2)
    assert scores.shape == (0, 5, 19)
    assert load().estimate_images([], [])[0].shape == (0, 19, 2)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_too_little_memory_halves_the_batch_once_and_says_so(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray], num_threads: int
) -> None:
    torch.set_num_threads(num_threads)
    estimator, sizes = load(batch_size=4), []

    def take(size: int) -> None:
        sizes.append(size)
        torch.empty(size // 3, _TOO_MUCH)  # with three windows or more: an allocation that fails

    _on_call(estimator, take)
    points, _ = _windows(estimator, images, boxes)
    assert np.abs(points - _windows(load(), images, boxes)[0]).max() < 1e-2
    assert estimator.batch_size == 2
    assert estimator.notes == [
        "memory ran out with larger batches: 2 windows of poses at a time instead of 4",
    ]
    sizes.clear()
    _windows(estimator, images, boxes)
    assert sorted(sizes) == [1, 2, 2]


def test_too_little_memory_for_one_window_is_one_clear_error(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    estimator = load()
    _on_call(estimator, lambda size: torch.empty(_TOO_MUCH))
    with pytest.raises(DeviceError, match="memory ran out with one of the windows") as caught:
        _windows(estimator, images, boxes)
    assert caught.value.hint is not None


def test_stages_are_timed(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    estimator = load()
    _windows(estimator, images, boxes)
    assert 0.0 < estimator.stopwatch.wall_s["crop"] < estimator.stopwatch.wall_s["pose"]


def test_precisions_that_are_not_there_are_refused(load: Callable[..., PoseEstimator]) -> None:
    with pytest.raises(DeviceError, match="bfloat16 is not available on cpu"):
        load(precision="bfloat16")
    with pytest.raises(ConfigError, match="precision 'half'"):
        load(precision="half")


def test_a_graph_that_cannot_be_recorded_is_told_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(*arguments: object) -> None:
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_record", fail)
    run = GraphRunner(lambda crops, frame: crops * 2)
    for _ in range(2):
        assert run(torch.ones(1, 2), None).tolist() == [[2.0, 2.0]]
    assert tries == [1]
    assert run.note == "CUDA graphs are not used: operation not permitted when stream is capturing"


def test_a_graph_that_answers_differently_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replay:
        def replay(self) -> None:
            """Nothing is computed."""

    monkeypatch.setattr(graphs, "_record", lambda work, crops, frame: graphs._Recorded(Replay(), crops, crops * 3))  # type: ignore[arg-type]
    run = GraphRunner(lambda crops, frame: crops * 2)
    assert run(torch.ones(1, 2), None).tolist() == [[2.0, 2.0]]
    assert run.note == "CUDA graphs are not used: a replay differs by 1 from an ordinary run"


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["clip", "key"])
def test_graphs_on_a_gpu_answer_as_ordinary_runs_do(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray], mode: str
) -> None:
    estimator, plain = load(device="cuda"), load(device="cuda")
    plain._graphs = None
    for _ in range(3):  # recorded in the first, replayed in the others
        for count in (1, 2):
            windows = boxes[-count:]
            for ours, theirs in zip(
                _windows(estimator, images, windows, mode), _windows(plain, images, windows, mode), strict=True
            ):
                assert np.allclose(ours, theirs, atol=1e-2, equal_nan=True)
    assert estimator.notes == []


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(
    load: Callable[..., PoseEstimator], images: list[np.ndarray], boxes: list[np.ndarray]
) -> None:
    points, scores = _windows(load(device="cuda"), images, boxes)
    expected_points, expected_scores = _windows(load(), images, boxes)
    assert np.abs(scores - expected_scores).max() < 1e-3
    assert np.median(np.abs(points - expected_points)) < 0.1
