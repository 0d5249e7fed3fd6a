"""What posecli's 2D estimator does wrong, as the parameters of `posecli.training.lifting.noise.NoiseModel`.

    python tests/benchmarks/measure_keypoint_noise.py TRUTH_DIR POSES_DIR [--all-poses] [--raw]

TRUTH_DIR holds the clips of ``posecli synth clips`` with their truth (``clip_0000.json``), POSES_DIR for each of them what
``posecli annotate`` wrote (``clip_0000.poses.json``); clips without poses are left out. A predicted person belongs to the truth that
is nearest; runs of at least twenty frames of the same pair count. Errors are relative to the person's size, as the noise is; a joint
that is further away than a tenth of it is lost, and its error does not count for the spread. By default only people in recorded
poses count: the invented ones stand on their heads.

How the parameters follow: the model says error = spread * clip * burst * v with v Gaussian. The logarithm of |v| has the mean -0.635
and the variance 1.2337, so the mean of log |error| gives the spread, and the rest of its variance is that of clip and burst, told
apart by how much people differ and by how the logarithm covaries over half a second (that of v itself, correlated by r, covaries by
arcsin(r)^2 / 2). v's own correlation follows from how often signs stay (arcsine law).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from posecli.formats.coco import read_coco_dataset
from posecli.skeletons import POSECLI19, to_h36m17
from posecli.training.lifting.noise import ARMS, KIND_OF, KINDS, LEGS, NOISY, NoiseModel, person_size

LOG_MEAN, LOG_VARIANCE = -0.6352, 1.2337  # of |v|, v standard Gaussian
NEAR = 0.15  # mean error of a pair that belongs together
MIN_RUN = 20
LATE = 15
LOST = 0.1
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
FLOOR = 1e-4


@dataclass
class Run:
    """One person found: ``errors`` (F, 17, 2) relative to its size, ``scores`` (F, 17), ``swapped`` (F, 2) legs and arms."""

    errors: np.ndarray
    scores: np.ndarray
    swapped: np.ndarray


def read_truth(path: Path, *, all_poses: bool) -> dict[int, np.ndarray]:
    """(T, 17, 2) px by track, NaN where the person is not."""
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    frames = {image["id"]: image["frame_index"] for image in content["images"]}
    kinds = content["info"]["poses"]
    people: dict[int, np.ndarray] = {}
    for row in content["annotations"]:
        if not all_poses and kinds[row["track_id"] - 1] != "recorded":
            continue
        points = np.array(row["keypoints"], np.float32).reshape(19, 3)
        points[points[:, 2] == 0, :2] = np.nan
        joints, _ = to_h36m17(points[:, :2], points[:, 2], POSECLI19)
        people.setdefault(row["track_id"], np.full((len(frames), 17, 2), np.nan, np.float32))
        people[row["track_id"]][frames[row["image_id"]]] = joints
    return people


def runs_of_clip(truth: dict[int, np.ndarray], poses: Path, *, raw: bool) -> Iterator[Run]:
    """The people of a clip, wherever they are found for long enough."""
    known = {track: joints[~np.isnan(joints).any(axis=(1, 2))] for track, joints in truth.items()}
    sizes = {track: person_size(joints) for track, joints in known.items() if len(joints)}
    for sequence in read_coco_dataset(poses).poses:
        points = sequence.raw_keypoints if raw else sequence.keypoints
        joints, scores = to_h36m17(points, sequence.scores, POSECLI19)
        distances = {}
        for track, size in sizes.items():
            there = truth[track][sequence.frame_indices]
            distances[track] = np.nanmean(np.linalg.norm(joints - there, axis=-1)[:, NOISY], axis=1) / size
        if not distances:
            continue
        table = np.nan_to_num(np.stack(list(distances.values())), nan=9.0)
        owners = np.where(table.min(axis=0) < NEAR, table.argmin(axis=0), -1)
        edges = np.flatnonzero(np.diff(owners) | (np.diff(sequence.frame_indices) != 1)) + 1
        for rows in np.split(np.arange(len(owners)), edges):
            if len(rows) >= MIN_RUN and owners[rows[0]] >= 0:
                track = list(distances)[owners[rows[0]]]
                yield compare(joints[rows], scores[rows], truth[track][sequence.frame_indices[rows]], sizes[track])


def compare(joints: np.ndarray, scores: np.ndarray, truth: np.ndarray, size: float) -> Run:
    """Errors, after undoing exchanged sides."""
    swapped = np.zeros((len(joints), 2), bool)
    joints, scores = joints.copy(), scores.copy()
    for column, (left, right) in enumerate((LEGS, ARMS)):
        own, other = left + right, right + left
        straight = np.linalg.norm(joints[:, own] - truth[:, own], axis=-1).sum(axis=1)
        crossed = np.linalg.norm(joints[:, other] - truth[:, own], axis=-1).sum(axis=1)
        apart = np.linalg.norm(truth[:, left] - truth[:, right], axis=-1).mean(axis=1)
        rows = swapped[:, column] = (crossed < 0.6 * straight) & (apart > 0.04 * size)
        at = np.flatnonzero(rows)[:, None]
        joints[at, own], scores[at, own] = joints[at, other], scores[at, other]
    return Run((joints - truth) / size, scores, swapped)


def covariance(values: list[np.ndarray], lag: int) -> float:
    """Of (F, ...) arrays, each column against itself ``lag`` frames later; the mean over all is taken off before."""
    pairs = [(each[:-lag], each[lag:]) for each in values if len(each) > lag]
    first, second = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    known = ~np.isnan(first * second)
    return float((first[known] * second[known]).mean())


def shape_of_noise(runs: list[Run]) -> dict[str, Any]:
    """Spread, correlations, burst and clip of joints that are not lost; and how many are."""
    lengths = [np.linalg.norm(run.errors[:, NOISY], axis=-1) for run in runs]
    lost = [each > LOST for each in lengths]
    lost_share = [float(np.concatenate(lost)[:, kind == KIND_OF].mean()) for kind in range(len(KINDS))]
    far = np.concatenate(lengths)[np.concatenate(lost)]
    runs = [
        Run(np.where(_at_noisy(flags), np.nan, run.errors), run.scores, run.swapped)
        for run, flags in zip(runs, lost, strict=True)
    ]
    logs = [np.log(np.abs(run.errors[:, NOISY]) + FLOOR) for run in runs]
    everything = np.concatenate(logs)
    centres = np.array([np.nanmedian(everything[:, kind == KIND_OF]) for kind in range(len(KINDS))])
    spread = np.exp(centres + 0.3935)  # the median of |v| is 0.6745
    rest = [each - centres[KIND_OF, None] for each in logs]
    rest = [each - np.nanmean(everything - centres[KIND_OF, None]) for each in rest]
    excess = max(covariance_at_zero(rest) - LOG_VARIANCE, 0.0)
    per_run = np.array([np.nanmean(each) for each in rest if len(each) >= 2 * MIN_RUN])
    clip = min(float(per_run.std()), np.sqrt(excess))
    burst = np.sqrt(max(excess - clip**2, 0.0))
    signs = [np.sign(run.errors[:, NOISY]) for run in runs]
    stay = {lag: np.sin(np.pi / 2 * covariance(signs, lag)) for lag in (1, 5)}
    own = np.arcsin(stay[5] ** (LATE / 5)) ** 2 / 2
    late = max(covariance(rest, LATE) - clip**2 - own, 1e-3) / max(burst**2, 1e-3)
    return {
        "spread": spread.round(4).tolist(),
        "correlation": round(stay[5] ** (1 / 5), 3),
        "correlation from one frame": round(stay[1], 3),
        "burst": round(float(burst), 3),
        "burst_correlation": round(float(min(late, 0.999) ** (1 / LATE)), 3),
        "clip": round(float(clip), 3),
        "lost_share": np.round(lost_share, 3).tolist(),
        "lost_frames": round(rates(lost)[1], 1),
        "lost_spread": round(
            float(np.median(far) / 1.1774), 3
        ),  # the median of the length of a standard Gaussian in the plane
    }


def _at_noisy(flags: np.ndarray) -> np.ndarray:
    """(F, 13) -> (F, 17, 1)."""
    spread = np.zeros((len(flags), 17, 1), bool)
    spread[:, NOISY, 0] = flags
    return spread


def covariance_at_zero(values: list[np.ndarray]) -> float:
    """The variance of all values, each taken with its sign about 0."""
    every = np.concatenate([each.ravel() for each in values])
    return float(np.nanmean(every**2))


def scores_given_errors(runs: list[Run]) -> dict[str, Any]:
    """Quantiles of the score in bins of the error's length, and how long a score keeps its place."""
    lengths = np.concatenate([np.linalg.norm(run.errors[:, NOISY], axis=-1) for run in runs])
    scores = np.concatenate([run.scores[:, NOISY] for run in runs])
    known = ~np.isnan(lengths) & (scores > 0)
    edges = NoiseModel().error_edges
    bins = np.searchsorted(edges, lengths)
    table = [np.quantile(scores[known & (bins == i)], QUANTILES).round(3).tolist() for i in range(len(edges) + 1)]
    logs = [run.scores[:, NOISY] - np.mean(scores[known]) for run in runs]
    return {
        "score_quantiles": table,
        "share of each bin": [round(float((bins[known] == i).mean()), 3) for i in range(len(edges) + 1)],
        "score_correlation": round(covariance(logs, 1) / covariance_at_zero(logs), 3),
    }


def rates(flags: list[np.ndarray]) -> tuple[float, float]:
    """How often a burst begins, per frame and column, and its mean length."""
    begins = sum(int((~each[:-1] & each[1:]).sum() + each[0].sum()) for each in flags)
    frames = sum(int(each.sum()) for each in flags)
    return begins / sum(each.size for each in flags), frames / max(begins, 1)


def tail(errors: np.ndarray) -> list[float]:
    """Quantiles of the length of errors."""
    lengths = np.linalg.norm(errors, axis=-1)
    return [round(float(each), 4) for each in np.nanquantile(lengths, (0.25, 0.5, 0.75, 0.9, 0.95, 0.99))]


def simulated(runs: list[Run], model: NoiseModel) -> list[np.ndarray]:
    """Errors (F, 13, 2) of the model, as many as were measured."""
    rng = np.random.default_rng(0)
    return [model.draw_errors(rng, len(run.errors)) for run in runs for _ in range(5)]


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description="Fit the noise of 2D joints to an estimator's mistakes.")
    parser.add_argument("truth", type=Path)
    parser.add_argument("poses", type=Path)
    parser.add_argument("--all-poses", action="store_true", help="count people in invented poses too")
    parser.add_argument("--raw", action="store_true", help="judge the points before smoothing")
    options = parser.parse_args()
    clips = sorted(path for path in options.truth.glob("*.json") if path.stem.count(".") == 0)
    runs, used = [], 0
    for path in clips:
        poses = options.poses / f"{path.stem}.poses.json"
        if poses.is_file():
            used += 1
            runs += list(runs_of_clip(read_truth(path, all_poses=options.all_poses), poses, raw=options.raw))
    if not runs:
        sys.stdout.write(f"no person found in {len(clips)} clips\n")
        return 1
    missing = [np.isnan(run.errors[:, NOISY]).any(axis=-1) for run in runs]
    swaps = [run.swapped for run in runs]
    report: dict[str, Any] = {"clips": used, "runs": len(runs), "frames": sum(len(run.errors) for run in runs)}
    report |= shape_of_noise(runs) | scores_given_errors(runs)
    report |= {"missing rate, frames": rates(missing), "swap rate, frames": rates(swaps)}
    measured = np.concatenate([run.errors[:, NOISY] for run in runs])
    model = np.concatenate(simulated(runs, replace(NoiseModel(), level=0.0, clip=float(report["clip"]))))
    for kind, name in enumerate(KINDS):
        report[f"tail {name}"] = tail(measured[:, kind == KIND_OF])
        report[f"tail {name}, model"] = tail(model[:, kind == KIND_OF])
    for key, value in report.items():
        sys.stdout.write(f"{key:28} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
