"""Run by `posecli annotate` before it begins: killed the moment after a file has got its name."""

from __future__ import annotations

import os
import signal
from typing import Any

_replace = os.replace


def _replace_and_die(source: Any, target: Any) -> None:
    _replace(source, target)
    if str(target).endswith(os.environ["FAULT_AFTER"]):
        os.kill(os.getpid(), signal.SIGKILL)


os.replace = _replace_and_die  # type: ignore[assignment]
