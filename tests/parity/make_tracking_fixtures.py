"""Write ``tracking_by_trackeval.json``: random clips, and what TrackEval 1.3.0 (MIT) says about them.

TrackEval asks for the GUI build of OpenCV and for matplotlib, which must not stand beside posecli; so its answers are stored. To make
them again, without its requirements, in the environment of the tests:

    pip install --no-deps trackeval==1.3.0 && pip install tabulate
    python tests/parity/make_tracking_fixtures.py tests/parity/tracking_by_trackeval.json
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

NUM_FRAMES = 24
NUM_CLIPS = 10
HOTA_FIELDS = ("HOTA", "DetA", "AssA", "LocA")
CLEAR_FIELDS = (
    *("MOTA", "MOTP", "CLR_Re", "CLR_Pr"),
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "Frag", "MT", "PT", "ML"),
)
IDENTITY_FIELDS = ("IDF1", "IDR", "IDP", "IDTP", "IDFN", "IDFP")


def random_clip(rng: np.random.Generator, *, num_people: int, noise: float) -> dict[str, Any]:
    """People who cross, leave and come back; tracks that tremble, break, swap, double and invent. Quarter pixels: exact in float32."""
    truth: list[list[list[float]]] = [[] for _ in range(NUM_FRAMES)]
    predicted: list[list[list[float]]] = [[] for _ in range(NUM_FRAMES)]
    tracks = list(range(10, 10 + num_people))
    start, speed = rng.uniform(0, 500, (num_people, 2)), rng.normal(0, 25, (num_people, 2))
    for frame in range(NUM_FRAMES):
        if num_people > 1 and rng.random() < 0.15:
            a, b = rng.choice(num_people, 2, replace=False)
            tracks[a], tracks[b] = tracks[b], tracks[a]
        for person in range(num_people):
            if rng.random() < 0.05:
                tracks[person] = max(tracks) + 1
            size = np.array([40.0 + 10 * person, 110.0 + 15 * person])
            corner = start[person] + speed[person] * frame
            box = np.concatenate([corner, corner + size])
            if rng.random() > 0.1:
                truth[frame].append([person + 1, *quarters(box)])
            if rng.random() > 0.2:
                predicted[frame].append([tracks[person], *quarters(box + rng.normal(0, noise, 4))])
        if rng.random() < 0.3:
            corner = rng.uniform(0, 500, 2)
            predicted[frame].append([900 + frame // 4, *quarters(np.concatenate([corner, corner + 80]))])
    return {"truth": truth, "predicted": predicted}


def quarters(values: np.ndarray) -> list[float]:
    return (np.round(values * 4) / 4).tolist()


def clips(rng: np.random.Generator) -> list[dict[str, Any]]:
    found = [
        random_clip(rng, num_people=int(rng.integers(1, 7)), noise=float(rng.choice([2.0, 6.0, 14.0])))
        for _ in range(NUM_CLIPS - 3)
    ]
    nobody: list[list[list[float]]] = [[] for _ in range(NUM_FRAMES)]
    blind = {**random_clip(rng, num_people=3, noise=2.0), "predicted": nobody}
    haunted = {**random_clip(rng, num_people=2, noise=2.0), "truth": nobody}
    crowd = random_clip(rng, num_people=12, noise=5.0)
    return [*found, blind, haunted, crowd]


def as_trackeval(clip: dict[str, Any], box_ious: Any) -> dict[str, Any]:
    """The preprocessed form that its metrics take."""
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": [], "num_timesteps": NUM_FRAMES}
    names = {side: sorted({row[0] for frame in clip[side] for row in frame}) for side in ("truth", "predicted")}
    for truth, predicted in zip(clip["truth"], clip["predicted"], strict=True):
        for key, side, rows in (("gt_ids", "truth", truth), ("tracker_ids", "predicted", predicted)):
            data[key].append(np.array([names[side].index(row[0]) for row in rows], int))
        boxes = [np.array([row[1:] for row in rows], float).reshape(-1, 4) for rows in (truth, predicted)]
        data["similarity_scores"].append(box_ious(*boxes, box_format="x0y0x1y1"))
    data["num_gt_ids"], data["num_tracker_ids"] = len(names["truth"]), len(names["predicted"])
    data["num_gt_dets"] = sum(map(len, clip["truth"]))
    data["num_tracker_dets"] = sum(map(len, clip["predicted"]))
    return data


def summary(results: tuple[dict[str, Any], ...]) -> dict[str, float]:
    hota, clear, identity = results
    return {
        **{name: float(np.mean(hota[name])) for name in HOTA_FIELDS},
        **{name: float(clear[name]) for name in CLEAR_FIELDS},
        **{name: float(identity[name]) for name in IDENTITY_FIELDS},
    }


def main() -> None:
    """Make the file."""
    parser = argparse.ArgumentParser(description="What TrackEval says about random clips")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    metrics_room = importlib.import_module("trackeval.metrics")
    box_ious = importlib.import_module("trackeval.datasets._base_dataset")._BaseDataset._calculate_box_ious
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = [getattr(metrics_room, name)() for name in ("HOTA", "CLEAR", "Identity")]
    made = clips(np.random.default_rng(20))
    by_clip = []
    for clip in made:
        data = as_trackeval(clip, box_ious)
        by_clip.append(tuple(metric.eval_sequence(data) for metric in metrics))
    together = tuple(
        metric.combine_sequences({f"{i}": results[m] for i, results in enumerate(by_clip)})
        for m, metric in enumerate(metrics)
    )
    stored = {
        "by": f"trackeval {importlib.import_module('trackeval').__version__}",
        "clips": [{**clip, "expected": summary(results)} for clip, results in zip(made, by_clip, strict=True)],
        "together": summary(together),
    }
    out.write_text(json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
