from __future__ import annotations

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.evaluation.video_labels import NO_TRACK, join_labels


def test_frames_and_identities_are_read(walk_labels) -> None:
    assert walk_labels.frame_indices.tolist() == list(range(12))
    assert walk_labels.track_ids.tolist() == [1, 2] * 12
    assert walk_labels.image_ids[5] == 105


def test_without_frame_index_the_place_counts_and_without_track_nobody_is_known(save_labels, walkers) -> None:
    document = walkers.document(range(3))
    for image in document["images"]:
        del image["frame_index"]
    for row in document["annotations"]:
        del row["track_id"]
    labels = save_labels(document)
    assert labels.frame_indices.tolist() == [0, 1, 2]
    assert set(labels.track_ids.tolist()) == {NO_TRACK}


def test_a_part_keeps_frames_with_their_people(walk_labels) -> None:
    part = walk_labels.keep(lambda image_id, frame: frame >= 10 or image_id == 103)
    assert part.frame_indices.tolist() == [3, 10, 11]
    assert part.truth.image_ids.tolist() == [103, 103, 110, 110, 111, 111]
    assert part.track_ids.tolist() == [1, 2] * 3


def test_joined_videos_share_nothing(walk_labels) -> None:
    both, offsets = join_labels([walk_labels, walk_labels])
    assert len({image.image_id for image in both.truth.images}) == 24
    assert len(both.image_ids) == 24
    assert offsets[1] - offsets[0] == 112
    assert set(both.track_ids.tolist()) == {1, 2, 4, 5}
    assert not {12, 13} <= set(both.frame_indices.tolist())
    np.testing.assert_array_equal(both.truth.keypoints[24:], walk_labels.truth.keypoints)
    assert set(both.truth.image_ids[24:].tolist()) == {i + 100 + offsets[1] for i in range(12)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["images"][1].update(frame_index=0), "images: two images have the same frame_index"),
        (lambda d: d["annotations"][1].update(id=1), "annotations: two annotations have the same id"),
        (lambda d: d["annotations"][1].update(track_id=1), "track_id 1 comes twice in image 100"),
        (lambda d: d["annotations"][1].update(track_id=-4), "track_id: -4 is negative"),
        (lambda d: d["annotations"][1].update(track_id="a"), '"a" is not a whole number'),
    ],
)
def test_what_is_wrong_is_said(save_labels, walkers, change, words: str) -> None:
    document = walkers.document()
    change(document)
    with pytest.raises(FormatError, match=words):
        save_labels(document)


def test_files_with_different_points_are_not_mixed(save_labels, walkers) -> None:
    document = walkers.document(range(2))
    document["categories"][0]["keypoints"] = document["categories"][0]["keypoints"][:17]
    for row in document["annotations"]:
        row["keypoints"] = row["keypoints"][:51]
    fewer = save_labels(document, "fewer.json")
    with pytest.raises(FormatError, match=r"fewer.json: does not label the same keypoints as .*walk.json"):
        join_labels([save_labels(walkers.document()), fewer])
