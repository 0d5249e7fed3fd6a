"""Every fast path of the pose network against the slow, plain one, on pictures of real people: do the keypoints stay where they are?

    python tests/benchmarks/check_agreement.py LABELS.json IMAGES_DIR [--crops 200] [--config glsmamba-s] [--json]

The oracle: the network as trained, batch norms not folded, the scan step by step, deformable sampling tap by tap, norms, gates,
convolutions and linear layers by their torch definitions with gradients enabled (so that no kernel made for inference is taken),
float32, on the CPU; a minute for a hundred crops. Only the cutting of crops and the search for peaks are shared. Each picture stands
in all frames of its window; stills are windows of one.
Differences are distances between keypoints, in px of the crop and of the picture.

A heatmap with two peaks of the same height, or none, can answer with another peak when floats are added in another order; points
that moved by more than a pixel are counted apart, beside the score they have. Exit code 1 where a path differs by more than 0.1 px in
the median or 0.5 px at the 99th percentile.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from posecli.benchmark.machine import load_average
from posecli.benchmark.subject import Subject
from posecli.evaluation.pictures import read_picture
from posecli.formats.ground_truth import read_ground_truth
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose import blocks
from posecli.pose.blocks import SelectiveScan
from posecli.pose.config import PoseConfig
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.deform import deform_sample
from posecli.pose.estimator import PoseEstimator
from posecli.pose.fused import unfused
from posecli.pose.heatmaps import Refinement, cell_to_crop, decode
from posecli.pose.network import PoseNetwork
from posecli.ssm import available_backends
from posecli.weights import load_weights

STRIDE = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MAX_MEDIAN_PX, MAX_P99_PX = 0.1, 0.5
FAR_PX = 1.0


@dataclass
class People:
    """N pictures (H, W, 3) and a box (4,) xyxy px in each."""

    images: list[np.ndarray]
    boxes: list[np.ndarray]


def read_people(labels: Path, images_dir: Path, count: int) -> People:
    """Labelled people with keypoints, evenly from the whole file."""
    truth = read_ground_truth(labels)
    by_id = {image.image_id: image for image in truth.images}
    rows = np.flatnonzero(truth.has_keypoints)
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    images = [read_picture(images_dir, by_id[int(truth.image_ids[row])]) for row in rows]
    return People(images, [truth.boxes[row] for row in rows])


@contextmanager
def plain_definitions(network: torch.nn.Module) -> Iterator[None]:
    """Everything slow and by the book while this lasts."""
    scans = [module for module in network.modules() if isinstance(module, SelectiveScan)]
    before = [scan.backend for scan in scans]
    for scan in scans:
        scan.backend = "reference"
    slow = functools.partial(deform_sample, backend="reference")
    try:
        with mock.patch.object(blocks, "deform_sample", slow), unfused(), torch.enable_grad():
            yield
    finally:
        for scan, backend in zip(scans, before, strict=True):
            scan.backend = backend


def plain_network(weights: str) -> PoseNetwork:
    """As trained: batch norms not folded, convolutions not packed."""
    loaded = load_weights(weights)
    network = PoseNetwork(PoseConfig.from_json(loaded.config))
    network.load_state_dict(loaded.tensors)
    return network.eval().requires_grad_(False)


def plain_normalise(crops: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 -> (B, T, 3, H, W), by the book."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((crops.float() / 255.0 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()


def oracle_points(
    network: PoseNetwork, people: People, batch: int, refinement: Refinement, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, T, K, 2) px of the pictures and (N, T, K) scores."""
    config, points, scores = network.config, [], []
    for start in range(0, len(people.images), batch):
        transforms = [window_transform(box[None], config.crop_hw) for box in people.boxes[start : start + batch]]
        cut = [
            cut_window([image] * num_frames, transform)
            for image, transform in zip(people.images[start : start + batch], transforms, strict=True)
        ]
        with plain_definitions(network):
            heatmaps = network(plain_normalise(torch.from_numpy(np.stack(cut)))).detach()
        cells, peaks = decode(heatmaps.flatten(0, 1), refinement=refinement)
        in_crop = cell_to_crop(cells, STRIDE).reshape(len(cut), num_frames, -1, 2)
        points += [transform.to_frame(found) for transform, found in zip(transforms, in_crop, strict=True)]
        scores.append(peaks.reshape(in_crop.shape[:-1]))
        sys.stderr.write(f"oracle: {min(start + batch, len(people.images))} of {len(people.images)}\n")
    return np.stack(points), np.concatenate(scores)


def fast_points(estimator: PoseEstimator, people: People, *, as_stills: bool) -> np.ndarray:
    """(N, T, K, 2) px of the pictures, T = 1 for stills."""
    if as_stills:
        return estimator.estimate_images(people.images, people.boxes)[0][:, None]
    num_frames = estimator.config.num_frames
    windows = [[image] * num_frames for image in people.images]
    return estimator.estimate_windows(windows, [np.tile(box, (num_frames, 1)) for box in people.boxes])[0]


def differences(
    found: np.ndarray, points: np.ndarray, scores: np.ndarray, px_per_crop_px: np.ndarray
) -> dict[str, Any]:
    """Distances of a path from the oracle; ``px_per_crop_px`` (N,) is the size of a crop pixel in its picture."""
    distance = np.linalg.norm(found - points, axis=-1)
    known = np.isfinite(distance)
    result: dict[str, Any] = {"points": int(known.sum())}
    for unit, values in (("crop_px", distance / px_per_crop_px[:, None, None]), ("frame_px", distance)):
        kept = values[known]
        result[unit] = {
            "median": float(np.median(kept)),
            "p99": float(np.percentile(kept, 99)),
            "max": float(kept.max()),
        }
    far = known & (distance / px_per_crop_px[:, None, None] > FAR_PX)
    result["moved_over_1_crop_px"] = int(far.sum())
    result["mean_score_of_moved"] = float(scores[far].mean()) if far.any() else None
    result["agrees"] = all(
        result[unit]["median"] <= MAX_MEDIAN_PX and result[unit]["p99"] <= MAX_P99_PX
        for unit in ("crop_px", "frame_px")
    )
    return result


def paths(subject: Subject) -> Iterator[tuple[str, dict[str, Any], int, bool]]:
    """Name, arguments of `PoseEstimator.load`, threads, whether through `estimate_images`."""
    yield "cpu, default, one thread", {}, 1, False
    yield "cpu, default, two threads", {}, 2, False
    yield "cpu, stills", {}, 1, True
    yield "cpu, chunked scan", {"backend": "chunked"}, 1, False
    if torch.cuda.is_available():
        yield "cuda, default", {"device": "cuda"}, 1, False
        yield "cuda, stills", {"device": "cuda"}, 1, True
        for backend in ("triton", "mamba", "chunked"):
            if available_backends().get(backend) == "ok":
                yield f"cuda, {backend} scan", {"device": "cuda", "backend": backend}, 1, False
        yield "cuda, bfloat16", {"device": "cuda", "precision": "bfloat16"}, 1, False


def check(arguments: argparse.Namespace) -> dict[str, Any]:
    """All paths; one JSON object."""
    people = read_people(arguments.labels, arguments.images_dir, arguments.crops)
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject.prepare(config=arguments.config, weights=arguments.weights, device="cpu", folder=Path(folder))
        torch.set_num_threads(1)
        estimator = subject.estimator
        network = plain_network(subject.weights)
        oracles = {
            num_frames: oracle_points(network, people, arguments.batch, estimator.refinement, num_frames)
            for num_frames in (1, estimator.config.num_frames)
        }
        crop_hw = estimator.config.crop_hw
        sizes = np.array([1.0 / window_transform(box[None], crop_hw).scale for box in people.boxes])
        results = {}
        for name, options, threads, as_stills in paths(subject):
            torch.set_num_threads(threads)
            estimator = PoseEstimator.load(subject.weights, **options)
            found = fast_points(estimator, people, as_stills=as_stills)
            results[name] = differences(found, *oracles[found.shape[1]], sizes)
            torch.set_num_threads(1)
    return {
        "config": subject.config,
        "random_weights": subject.has_random_weights,
        "crops": len(people.images),
        "load_average": load_average(),
        "paths": results,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("images_dir", type=Path)
    parser.add_argument("--config", default=None)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--crops", type=int, default=200)
    parser.add_argument("--batch", type=int, default=10, help="crops the oracle takes at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    keep_freed_memory()
    result = check(arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        sys.stdout.write(f"{result['config']}, {result['crops']} crops; px: median / 99th percentile / largest\n")
        for name, row in result["paths"].items():
            crop, frame = (
                " / ".join(f"{row[unit][key]:.2g}" for key in ("median", "p99", "max"))
                for unit in ("crop_px", "frame_px")
            )
            score = row["mean_score_of_moved"]
            moved = f"{row['moved_over_1_crop_px']} of {row['points']}" + (
                "" if score is None else f", mean score {score:.2f}"
            )
            verdict = "agrees" if row["agrees"] else "DIFFERS"
            sys.stdout.write(f"{name:28s} crop {crop:28s} picture {frame:28s} moved over 1 px: {moved}; {verdict}\n")
    return 0 if all(row["agrees"] for row in result["paths"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
