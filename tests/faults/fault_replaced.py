"""Run by `posecli annotate` before it begins: its video is replaced when it has been opened, and before anything is read."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

room: Any = importlib.import_module("posecli.pipeline.annotate")
_load = room.load_models


def _replace_and_load(*args: Any, **named: Any) -> Any:
    [video] = [Path(word) for word in sys.argv if word.endswith("a.mp4")]
    new = video.with_name("b.mp4").read_bytes()
    video.unlink()  # what is open stays as it was
    video.write_bytes(new)
    return _load(*args, **named)


room.load_models = _replace_and_load
