"""HOTA, IDF1 and MOTA equal TrackEval; its answers are stored, see ``make_tracking_fixtures.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecli.evaluation.clip_tracks import ClipTracks, FrameTracks
from posecli.evaluation.overlap import overlap
from posecli.evaluation.tracking import TrackingScores, score_tracks

STORED: dict[str, Any] = json.loads(Path(__file__).with_name("tracking_by_trackeval.json").read_text())
PERCENTAGES = {
    "HOTA": "hota",
    "DetA": "det_a",
    "AssA": "ass_a",
    "LocA": "loc_a",
    "MOTA": "mota",
    "MOTP": "motp",
    "CLR_Re": "recall",
    "CLR_Pr": "precision",
    "IDF1": "idf1",
    "IDR": "id_recall",
    "IDP": "id_precision",
}
COUNTS = {
    "CLR_TP": "matched",
    "CLR_FN": "missed",
    "CLR_FP": "false",
    "IDSW": "id_switches",
    "Frag": "fragmentations",
    "MT": "mostly_tracked",
    "PT": "partly_tracked",
    "ML": "mostly_lost",
}


def as_tracks(clip: dict[str, Any]) -> ClipTracks:
    names = [
        np.unique([row[0] for frame in clip[side] for row in frame]).astype(int) for side in ("truth", "predicted")
    ]
    frames = []
    for sides in zip(clip["truth"], clip["predicted"], strict=True):
        ids = [np.searchsorted(own, [row[0] for row in rows]) for own, rows in zip(names, sides, strict=True)]
        boxes = [np.array([row[1:] for row in rows], np.float32).reshape(-1, 4) for rows in sides]
        frames.append(FrameTracks(ids[0], ids[1], overlap(*boxes)))
    return ClipTracks(tuple(frames), np.arange(len(frames)), names[0], names[1])


def check(scores: TrackingScores, expected: dict[str, float]) -> None:
    ours = scores.percentages()
    for name, own in PERCENTAGES.items():
        # where there is nothing to divide by, TrackEval says 0 (LocA: 1) and posecli nothing
        if ours[own] is None:
            assert expected[name] == (1.0 if name == "LocA" else 0.0)
        else:
            assert ours[own] == pytest.approx(100 * expected[name], abs=1e-9, rel=1e-12), name
    assert {name: scores.counts()[own] for name, own in COUNTS.items()} == {name: expected[name] for name in COUNTS}
    identity = scores.identity
    assert [identity.num_right, identity.num_missed, identity.num_false] == [
        expected[name] for name in ("IDTP", "IDFN", "IDFP")
    ]
    assert len(scores.switches) == expected["IDSW"]


@pytest.mark.parametrize("number", range(len(STORED["clips"])))
def test_every_clip_equals_the_referee(number: int) -> None:
    clip = STORED["clips"][number]
    check(score_tracks(["clip"], [as_tracks(clip)]), clip["expected"])


def test_all_clips_together_equal_the_referee() -> None:
    clips = [as_tracks(clip) for clip in STORED["clips"]]
    check(score_tracks([str(i) for i in range(len(clips))], clips), STORED["together"])
    assert STORED["together"]["IDSW"] > 50
    assert STORED["together"]["Frag"] > 50
