"""Timestamps of a stream made into seconds that always go forward."""

from __future__ import annotations

from fractions import Fraction

_NOMINAL_FPS = Fraction(25)
_JUMP_S = 1
WRAP_S = Fraction(2**33, 90_000)
"""Clocks of transport streams begin anew after 26.5 hours; FFmpeg adds as much to what comes after a jump back in one."""
LEAP_S = WRAP_S - 6 * 3600
"""A step ahead between this and `WRAP_S` is a jump back in truth."""


class FrameClock:
    """Turns the pts of successive frames into seconds since the first frame.

    ``time_s`` is exact (pts times time base, as a fraction) where the file is sane. A missing pts is put one nominal frame after
    the one before; a repeated or slightly smaller one is put one tick after; after a jump back of more than a second, or a leap
    ahead of about 26 hours, which is such a jump too, the clock carries on.

    Args:
        time_base: Seconds per tick.
        fps: Nominal rate, for frames without a timestamp.
        zero_pts: The pts of the video's first frame when it is known before (decoding that begins later); else the first pts seen.
    """

    def __init__(self, time_base: Fraction, fps: Fraction | None, *, zero_pts: int | None = None) -> None:
        self._time_base = time_base
        self._frame_s = 1 / (fps or _NOMINAL_FPS)
        self._zero_pts = zero_pts
        self._shift_s = Fraction(0)
        self._previous_s: Fraction | None = None
        self._num_missing = 0
        self._num_repaired = 0
        self._steps_s: tuple[Fraction, Fraction] | None = None

    def tick(self, pts: int | None) -> tuple[int, float]:
        """The pts (raw, or made up when missing) and the time in seconds of the next frame."""
        time_s = self._missing() if pts is None else self._given(pts)
        self._count_step(time_s)
        self._previous_s = time_s
        if pts is None:
            pts = (self._zero_pts or 0) + round((time_s - self._shift_s) / self._time_base)
        return pts, float(time_s)

    def _missing(self) -> Fraction:
        self._num_missing += 1
        return Fraction(0) if self._previous_s is None else self._previous_s + self._frame_s

    def _given(self, pts: int) -> Fraction:
        if self._zero_pts is None:
            # Frames without a timestamp may have come before.
            already = Fraction(0) if self._previous_s is None else self._previous_s + self._frame_s
            self._zero_pts = pts - round(already / self._time_base)
        time_s = (pts - self._zero_pts) * self._time_base + self._shift_s
        if self._previous_s is None or (time_s > self._previous_s and not self._is_leap(time_s - self._previous_s)):
            return time_s
        self._num_repaired += 1
        if 0 <= self._previous_s - time_s <= _JUMP_S:
            return self._previous_s + self._time_base
        self._shift_s += self._previous_s + self._frame_s - time_s
        return self._previous_s + self._frame_s

    def _is_leap(self, step_s: Fraction) -> bool:
        return LEAP_S < step_s <= WRAP_S and step_s > 2 * self._frame_s

    def _count_step(self, time_s: Fraction) -> None:
        if self._previous_s is None:
            return
        step = time_s - self._previous_s
        low, high = self._steps_s or (step, step)
        self._steps_s = (min(low, step), max(high, step))

    @property
    def latest_s(self) -> float:
        """The time of the newest frame; 0 before any."""
        return float(self._previous_s or 0)

    def warnings(self) -> list[str]:
        """What was odd about the timestamps so far, one line each."""
        lines = []
        if self._num_missing:
            lines.append(
                f"{self._num_missing} frames without timestamps: times made up from {1 / self._frame_s} frames a second"
            )
        if self._num_repaired:
            lines.append(f"{self._num_repaired} timestamps repeat, run backwards or leap ahead: moved")
        elif self._steps_s and not self._num_missing:
            low, high = self._steps_s
            # Two ticks: rounding of a constant rate to a coarse time base.
            if high - low > 2 * self._time_base and high > 1.2 * low:
                lines.append(
                    f"variable frame rate: {float(low) * 1000:.1f} to {float(high) * 1000:.1f} ms a frame; "
                    "times are those of the file"
                )
        return lines
