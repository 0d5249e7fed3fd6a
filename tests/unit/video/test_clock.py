"""Seconds always go forward."""

from __future__ import annotations

from fractions import Fraction

import pytest

from posecli.video.clock import FrameClock

MS = Fraction(1, 1000)


def _run(clock, pts):
    return [clock.tick(p) for p in pts]


def test_the_first_frame_is_zero():
    assert _run(FrameClock(MS, None), [500, 540]) == [(500, 0.0), (540, 0.04)]


def test_a_known_zero_is_used():
    assert _run(FrameClock(MS, None, zero_pts=100), [500]) == [(500, 0.4)]


def test_missing_timestamps_continue_at_the_nominal_rate():
    clock = FrameClock(MS, Fraction(50))
    assert _run(clock, [None, None, 100, None]) == [(0, 0.0), (20, 0.02), (100, 0.04), (120, 0.06)]
    assert clock.warnings() == ["3 frames without timestamps: times made up from 50 frames a second"]


def test_repeats_move_one_tick_and_are_told():
    clock = FrameClock(MS, Fraction(25))
    assert [t for _, t in _run(clock, [0, 40, 40, 80, 79])] == pytest.approx([0, 0.04, 0.041, 0.08, 0.081])
    assert clock.warnings() == ["2 timestamps repeat, run backwards or leap ahead: moved"]


def test_a_jump_back_carries_on():
    clock = FrameClock(MS, Fraction(25))
    assert [t for _, t in _run(clock, [0, 5000, 5040, 0, 40])] == pytest.approx([0, 5, 5.04, 5.08, 5.12])


def test_a_leap_ahead_of_a_day_is_a_jump_back():
    clock = FrameClock(Fraction(1, 90_000), Fraction(25))
    pts = [0, 3600, 2**33 - 900_000, 2**33 - 896_400, 7200]
    assert _run(clock, pts) == [(p, pytest.approx(k / 25)) for k, p in enumerate(pts)]
    assert clock.warnings() == ["2 timestamps repeat, run backwards or leap ahead: moved"]


@pytest.mark.parametrize("gap_s", [62 * 3600, 20 * 3600, 10**9])
def test_gaps_stay(gap_s):
    clock = FrameClock(MS, Fraction(25))
    assert [t for _, t in _run(clock, [0, 40, 40 + gap_s * 1000])] == [0, 0.04, 0.04 + gap_s]
    assert not any("moved" in warning for warning in clock.warnings())


def test_a_frame_a_day_is_no_leap():
    clock = FrameClock(Fraction(1), Fraction(1, 86_400))
    assert [t for _, t in _run(clock, [0, 86_400, 172_800])] == [0, 86_400, 172_800]
    assert clock.warnings() == []


def test_raw_numbers_stay():
    assert [p for p, _ in _run(FrameClock(MS, None), [7, 7, 3])] == [7, 7, 3]


def test_rounding_to_a_coarse_time_base_is_no_variable_rate():
    clock = FrameClock(MS, Fraction(60))
    _run(clock, [round(k * 1000 / 60) for k in range(100)])
    assert clock.warnings() == []


def test_latest_time():
    clock = FrameClock(MS, None)
    assert clock.latest_s == 0.0
    clock.tick(0)
    clock.tick(250)
    assert clock.latest_s == 0.25
