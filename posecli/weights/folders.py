"""Where weights lie on this machine."""

from __future__ import annotations

import functools
import os
from pathlib import Path


@functools.cache
def embedded_folder() -> Path:
    """The folder of the embedded weights: inside the wheel, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def cache_folder() -> Path:
    """Where downloads are kept: ``POSECLI_HOME``, else the user's cache folder."""
    if home := os.environ.get("POSECLI_HOME"):
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("posecli"))
