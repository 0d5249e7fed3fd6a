"""Child processes end with their parent, and leave Ctrl-C to it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_id: int) -> None:
    """Called first by a child: on Linux the kernel kills it when its parent dies, however that happens."""
    with contextlib.suppress(ValueError):  # only a main thread may
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_id:  # it died before we asked
            os._exit(1)


__all__ = ["end_with_parent"]
