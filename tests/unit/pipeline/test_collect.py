"""From the journal's chunks to arrays: what was looked at, and what people wear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from posecli.pipeline.route import Route
from posecli.pipeline.second_pass import collect
from posecli.pose.windows import WindowPlan


def chunk(number: int, *, colours: list[list[Any]]) -> dict[str, Any]:
    frames = range(5 * number, 5 * number + 5)
    return {
        "frames": [[frame, frame * 512, frame / 30.0, False] for frame in frames],
        "boxes": [[0, frames[2], 10.0, 10.0, 50.0, 110.0, 0.9, number != 1]],
        "poses": [[0, frame, [1.0, 2.0] * 19, [0.5] * 19] for frame in frames],
        "colours": colours,
    }


def test_colours_and_looks_come_back_by_track() -> None:
    chunks = [
        chunk(0, colours=[[0, 2, [50.0, 1.0, 2.0, None, None, None]]]),
        chunk(1, colours=[]),
        chunk(2, colours=[[0, 12, [51.0, 1.0, 2.0, 30.0, 3.0, 4.0]]]),
    ]
    collected = collect(chunks, num_keypoints=19)
    np.testing.assert_array_equal(collected.looked_at, [2, 7, 12])
    table = collected.colours[0]
    np.testing.assert_array_equal(table.frames, [2, 12])
    np.testing.assert_array_equal(table.values[0], [50, 1, 2, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(table.values[1], [51, 1, 2, 30, 3, 4])


def test_nobody_is_nothing_to_collect() -> None:
    empty = {"frames": [[0, 0, 0.0, False]], "boxes": [], "poses": [], "colours": []}
    collected = collect([empty], num_keypoints=19)
    assert collected.poses == ()
    assert len(collected.looked_at) == 0
    assert collected.colours == {}


@pytest.mark.parametrize(("look_every", "expected"), [(1, [12, 17, 22, 27]), (2, [12, 22])])
def test_frames_looked_at_are_known_from_the_route(look_every: int, expected: list[int]) -> None:
    route = Route(WindowPlan(5, 5, "clip"), 10, look_every)
    assert [frame for frame in range(10, 30) if route.is_look(frame)] == expected
