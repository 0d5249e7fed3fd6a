"""More than five hundred bad inputs: each ends well or with one `PoseCliError`, in time, in memory, within its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

GOOD = ("fine", "refused")
MIN_CASES = 500


@pytest.mark.parametrize("group", ["documents", "arrays", "weights", "stills", "videos", "annotated", "names"])
def test_bad_input_ends_well_or_with_one_line(group: str, run_group: Callable[[str], list[Any]]) -> None:
    results = run_group(group)
    bad = [f"{r.outcome}: {r.kind}: {r.name}: {r.detail}" for r in results if r.outcome not in GOOD]
    assert not bad, "\n".join(["", *bad])
    # a generator that makes nothing but rubbish, or nothing bad at all, proves little
    assert {r.outcome for r in results} == set(GOOD)


def test_there_are_enough_cases(tally: Counter[tuple[str, str]], request: pytest.FixtureRequest) -> None:
    groups = [item for item in request.session.items if item.name.startswith("test_bad_input")]
    if len(groups) < 7:
        pytest.skip("only some groups were run")
    assert sum(tally.values()) >= MIN_CASES
