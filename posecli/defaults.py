"""The weights that are taken where none are named."""

from __future__ import annotations

from typing import Final

POSE_WEIGHTS: Final = "glsmamba-m"
HEAD_WEIGHTS: Final = "glsmamba-head"
LIFTER_WEIGHTS: Final = "posecli-lifter"
DETECTOR_WEIGHTS: Final = "personnet"
