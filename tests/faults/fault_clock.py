"""Run by a batch before it begins: a clock that is a day wrong, this way and that, and changes in the middle."""

from __future__ import annotations

import datetime
import itertools
import time

DAY_S = 86_400.0
_calls = itertools.count()
_now, _now_ns, _datetime = time.time, time.time_ns, datetime.datetime


def _shift_s() -> float:
    return DAY_S if next(_calls) % 3 == 0 else -DAY_S


class JumpingDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return _datetime.now(tz) + datetime.timedelta(seconds=_shift_s())


time.time = lambda: _now() + _shift_s()
time.time_ns = lambda: _now_ns() + int(_shift_s() * 1e9)
datetime.datetime = JumpingDatetime  # type: ignore[misc]
for name in ("posecli.batch.manifest", "posecli.batch.log", "posecli.formats.run"):
    __import__(name)
    __import__("sys").modules[name].datetime = JumpingDatetime
