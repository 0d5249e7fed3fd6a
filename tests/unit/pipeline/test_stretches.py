"""How a long video is cut, and who is who where the pieces meet: sequences made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.people.tracker import Tracker
from posecli.pipeline.long_video import alike_once
from posecli.pipeline.seams import Seams, StretchRecords, match_tracks
from posecli.pipeline.second_pass import collect
from posecli.pipeline.stretches import SplitConfig, Stretch, plan_stretches
from posecli.pose.windows import WindowPlan
from posecli.records import PoseSequence
from posecli.skeletons import POSECLI19

SIGMAS = POSECLI19.sigma_array
K = len(SIGMAS)
HOP = 5


@pytest.mark.parametrize("look_every", [1, 3])
@pytest.mark.parametrize("plan", [WindowPlan(5, 5), WindowPlan(5, 2), WindowPlan(5, 1, "key")])
@pytest.mark.parametrize("num_frames", [1801, 100_003])
def test_stretches_cover_a_video_once_and_begin_where_the_detector_looks(
    plan: WindowPlan, look_every: int, num_frames: int
) -> None:
    config = SplitConfig(max_minutes=1.0, overlap_s=10.0)
    stretches = plan_stretches(num_frames, 30.0, plan, look_every=look_every, config=config)
    seams = [stretch.seam for stretch in stretches]
    assert seams[0] == stretches[0].start == 0
    assert len(stretches) == -(-num_frames // 1800)
    assert seams == sorted(set(seams))
    assert seams[-1] * plan.hop < num_frames
    assert all(stretch.start % look_every == stretch.seam % look_every == 0 for stretch in stretches)
    assert all((stretch.seam - stretch.start) * plan.hop >= 300 for stretch in stretches[1:])
    assert stretches[-1].stop is None
    for before, after in pairwise(stretches):
        # the last window that has a say in a frame before the seam is done
        assert before.stop is not None
        assert before.stop * plan.hop - plan.num_before >= after.seam * plan.hop
        assert after.start < after.seam <= before.stop


def test_short_videos_are_not_split_and_lies_do_not_make_millions() -> None:
    plan, config = WindowPlan(5, 5), SplitConfig(max_minutes=1.0)
    assert plan_stretches(1800, 30.0, plan, look_every=1, config=config) == ()
    assert len(plan_stretches(10**12, 30.0, plan, look_every=1, config=config)) == 200
    for minutes in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="split-minutes"):
            SplitConfig(minutes)


def pose_at(centre: float, *, height: float = 100.0) -> np.ndarray:
    """(K, 2): some spread of points around (centre, 200)."""
    angles = np.arange(K) * 2.4
    return np.stack([centre + 0.2 * height * np.cos(angles), 200.0 + 0.5 * height * np.sin(angles)], axis=1)


def sequence(track_id: int, frames: Sequence[int], centres: Sequence[float], *, score: float = 0.9) -> PoseSequence:
    points = np.stack([pose_at(centre) for centre in centres]).astype(np.float32)
    at = np.asarray(centres)
    boxes = np.stack([at - 25.0, np.full(len(at), 140.0), at + 25.0, np.full(len(at), 260.0)], axis=1)
    return PoseSequence(
        track_id=track_id,
        skeleton=POSECLI19.name,
        frame_indices=np.asarray(frames, np.int64),
        keypoints=points,
        raw_keypoints=points.copy(),
        scores=np.full((len(frames), K), score, np.float32),
        boxes=boxes.astype(np.float32),
        box_scores=np.full(len(frames), 0.9, np.float32),
        interpolated=np.zeros(len(frames), np.bool_),
    )


FRAMES = range(100, 200)


def test_people_who_cross_in_the_overlap_stay_who_they_are() -> None:
    right = [300.0 + 4.0 * k for k in range(100)]
    left = right[::-1]
    earlier = [sequence(7, FRAMES, right), sequence(8, FRAMES, left)]
    later = [sequence(0, FRAMES, [x + 1.0 for x in left]), sequence(1, FRAMES, [x - 1.0 for x in right])]
    assert match_tracks(earlier, later, since=100, sigmas=SIGMAS) == {0: 8, 1: 7}


def test_a_switch_in_one_stretch_is_decided_at_the_seam() -> None:
    """One stretch mixed up two people in the first half of the overlap; who they are at its end counts."""
    near, far = [300.0] * 100, [600.0] * 100
    earlier = [sequence(0, FRAMES, near), sequence(1, FRAMES, far)]
    later = [sequence(0, FRAMES, far[:45] + near[45:]), sequence(1, FRAMES, near[:45] + far[45:])]
    assert match_tracks(earlier, later, since=100, sigmas=SIGMAS) == {0: 0, 1: 1}


def test_of_two_tracks_of_a_person_the_one_at_the_seam_goes_on() -> None:
    earlier = [sequence(3, FRAMES[:40], [300.0] * 40), sequence(4, FRAMES[45:], [300.0] * 55)]
    assert match_tracks(earlier, [sequence(0, FRAMES, [300.0] * 100)], since=100, sigmas=SIGMAS) == {0: 4}


def test_whoever_is_in_one_stretch_only_has_no_partner() -> None:
    earlier = [sequence(0, FRAMES, [300.0] * 100), sequence(1, FRAMES, [600.0] * 100)]
    later = [sequence(5, FRAMES, [602.0] * 100), sequence(6, FRAMES[90:], [900.0] * 10)]
    assert match_tracks(earlier, later, since=100, sigmas=SIGMAS) == {5: 1}
    assert match_tracks(earlier, [], since=100, sigmas=SIGMAS) == {}
    assert match_tracks([], later, since=100, sigmas=SIGMAS) == {}
    apart = [sequence(2, FRAMES[:50], [300.0] * 50)], [sequence(2, FRAMES[50:], [300.0] * 50)]
    assert match_tracks(*apart, since=100, sigmas=SIGMAS) == {}


def test_boxes_decide_where_poses_say_nothing() -> None:
    def unsure(track_id: int, centre: float) -> PoseSequence:
        return sequence(track_id, FRAMES, [centre] * 100, score=0.05)

    earlier = [unsure(0, 300.0), unsure(1, 600.0)]
    later = [unsure(0, 605.0), unsure(1, 304.0)]
    assert match_tracks(earlier, later, since=100, sigmas=SIGMAS) == {0: 1, 1: 0}
    misled = replace(later[0], keypoints=earlier[0].keypoints)  # points nobody is sure of are not looked at
    assert match_tracks(earlier, [misled], since=100, sigmas=SIGMAS) == {0: 1}


def chunk(number: int, people: dict[int, float]) -> dict[str, Any]:
    """What pass 1 notes about a window: people by id, each where they stand."""
    frames = range(HOP * number, HOP * number + HOP)
    return {
        "chunk": number,
        "frames": [[frame, frame * 512, frame / 25.0, False] for frame in frames],
        "boxes": [[i, frames[2], x - 25.0, 140.0, x + 25.0, 260.0, 0.9, True] for i, x in people.items()],
        "poses": [[i, f, pose_at(x).ravel().tolist(), [0.9] * K] for i, x in people.items() for f in frames],
        "colours": [[i, frames[2], [50.0, *[None] * 5]] for i in people],
    }


def state(next_id: int, confirmed: list[int], merged: Sequence[tuple[int, int]] = ()) -> dict[str, Any]:
    tracker = {**Tracker().state_dict(), "next_id": next_id, "confirmed": confirmed, "merged": merged, "alike": []}
    return {"first_frame": 0, "needed_time_s": None, "tracker": tracker, "mergers": {}}


def part(stretch: Stretch, chunks: list[dict[str, Any]], last: dict[str, Any] | None) -> StretchRecords:
    return StretchRecords(stretch, lambda: iter(chunks), chunks[-1]["chunk"] + 1 if chunks else 0, last)


def test_joined_records_are_those_of_one_pass() -> None:
    """0 stays; 1 goes before the seam; 2 comes after it; the second stretch has other ids, and never saw 1 at the seam."""

    def whole(number: int) -> dict[int, float]:
        return {0: 300.0, **({1: 600.0} if number < 8 else {}), **({2: 900.0} if number >= 14 else {})}

    def second(number: int) -> dict[int, float]:
        names = {0: 1, 1: 0, 2: 2}
        return {names[person]: x for person, x in whole(number).items()}

    parts = [
        part(Stretch(0, 0, 10), [chunk(n, whole(n)) for n in range(10)], state(2, [0, 1])),
        part(Stretch(6, 10, None), [chunk(n, second(n)) for n in range(6, 20)], state(3, [0, 1, 2])),
        part(Stretch(16, 20, None), [chunk(n, {0: 300.0}) for n in range(16, 20)], state(1, [0])),  # ends at its seam
        part(Stretch(26, 30, None), [], None),  # the header had promised more
    ]
    seams = Seams(parts, hop=HOP)
    joined = list(seams.records())
    assert (seams.num_matched, seams.next_chunk) == ([2], 20)
    assert [record["chunk"] for record in joined] == list(range(20))
    expected, found = (
        collect(records, num_keypoints=K) for records in ([chunk(n, whole(n)) for n in range(20)], joined)
    )
    np.testing.assert_array_equal(found.frames.pts, expected.frames.pts)
    np.testing.assert_array_equal(found.looked_at, expected.looked_at)
    assert [pose.track_id for pose in found.poses] == [0, 1, 2 + 2]  # the second stretch's own ids begin at 2
    for got, wanted in zip(found.poses, expected.poses, strict=True):
        np.testing.assert_array_equal(got.frame_indices, wanted.frame_indices)
        np.testing.assert_array_equal(got.keypoints, wanted.keypoints)
        np.testing.assert_array_equal(got.boxes, wanted.boxes)
    end = Tracker()
    end.load_state_dict(seams.state()["tracker"])
    assert end.finish().confirmed_ids == (0, 1, 4)


def test_what_both_sides_of_a_seam_know_to_be_one_person_is_one() -> None:
    """Each stretch merged the pair the other way round; ids must not go in circles."""
    people, other = {0: 300.0, 1: 306.0}, {1: 300.0, 0: 306.0}
    parts = [
        part(Stretch(0, 0, 10), [chunk(n, people) for n in range(10)], state(2, [0, 1], [(1, 0)])),
        part(Stretch(6, 10, None), [chunk(n, other) for n in range(6, 12)], state(2, [0, 1], [(1, 0)])),
    ]
    end = Tracker()
    end.load_state_dict(Seams(parts, hop=HOP).state()["tracker"])
    ledger = end.finish()
    assert ledger.confirmed_ids == (0,)
    assert dict(ledger.merged) == {1: 0}


def test_nobody_is_left_without_a_look() -> None:
    """A window reaches across the seam: it has poses there of somebody who was looked at on the other side only."""
    chunks = [chunk(n, {0: 300.0}) for n in range(6, 12)]
    gone = chunk(9, {1: 600.0})
    late = {**chunks[4], "poses": [*chunks[4]["poses"], [1, 50, *gone["poses"][0][2:]]]}
    second = [*chunks[:3], {**chunks[3], "boxes": [*chunks[3]["boxes"], *gone["boxes"]]}, late, chunks[5]]
    first = [chunk(n, {0: 300.0}) for n in range(10)]
    parts = [part(Stretch(0, 0, 10), first, state(1, [0])), part(Stretch(6, 10, None), second, state(2, [0, 1]))]
    found = collect(Seams(parts, hop=HOP).records(), num_keypoints=K)
    assert [pose.track_id for pose in found.poses] == [0]


def test_a_stretch_without_anybody_is_normal() -> None:
    parts = [
        part(Stretch(0, 0, 10), [chunk(n, {}) for n in range(10)], state(0, [])),
        part(Stretch(6, 10, 16), [chunk(n, {}) for n in range(6, 16)], state(0, [])),
        part(Stretch(12, 16, None), [chunk(n, {0: 300.0}) for n in range(12, 20)], state(1, [0])),
    ]
    seams = Seams(parts, hop=HOP)
    found = collect(seams.records(), num_keypoints=K)
    assert seams.num_matched == [0, 0]
    assert len(found.frames) == 100
    assert [pose.frame_indices.tolist() for pose in found.poses] == [list(range(80, 100))]


def test_warnings_alike_are_told_once() -> None:
    lines = ["3 corrupt frames: x", "HDR video: y", "12 corrupt frames: x", "HDR video: y"]
    assert alike_once(lines) == ["3 corrupt frames: x (and alike in 1 other stretches)", "HDR video: y"]
