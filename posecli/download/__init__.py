"""Verified downloads: resumed, retried, measured and hashed on the way, then renamed into place.

Only `posecli.download.connection` opens connections, and `download` is the only way there, so ``POSECLI_OFFLINE`` is checked once.
"""

from __future__ import annotations

from posecli.download.connection import OFFLINE_VARIABLE, is_offline
from posecli.download.digest import file_sha256
from posecli.download.lock import locked
from posecli.download.partial import Partial
from posecli.download.patience import Patience
from posecli.download.transfer import ByteProgress, download

__all__ = [
    "OFFLINE_VARIABLE",
    "ByteProgress",
    "Partial",
    "Patience",
    "download",
    "file_sha256",
    "is_offline",
    "locked",
]
