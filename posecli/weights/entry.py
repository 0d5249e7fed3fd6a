"""One released weights file, and what is known about it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posecli.atomic import write_atomic
from posecli.errors import WeightsError
from posecli.weights import folders

Origin = Literal["posecli", "posemamba", "vitpose", "ultralytics"]
Where = Literal["embedded", "cached", "not fetched"]
_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One released file: what it is, where it comes from, and what it must hash to.

    Attributes:
        name: What users say.
        kind: Which network reads it: ``pose``, ``detector``, ``lifting``, ``encoder``.
        file: A bare file name.
        sha256: What the content must hash to; ``None`` where nobody has published it: then the first fetch records it.
        num_bytes: The exact size; ``None`` where it is not known.
        licence: SPDX identifier.
        description: One line.
        skeleton: ``None`` where the network predicts no keypoints.
        urls: Where it is, in the order to be tried; none for embedded weights.
        max_bytes: The largest size accepted where the exact one is not known.
        origin: Whose layout it has; only posecli's own can be loaded, others are imported or given to their own software.
        config: Name of posecli's config of that size, for files that have to be imported.
        accuracy: One line on how accurate it is, and who measured that.
    """

    name: str
    kind: str
    file: str
    sha256: str | None
    num_bytes: int | None
    licence: str
    description: str
    skeleton: str | None = None
    urls: tuple[str, ...] = ()
    max_bytes: int | None = None
    origin: Origin = "posecli"
    config: str | None = None
    accuracy: str | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not re.fullmatch(_SHA256, self.sha256):
            raise WeightsError(f"weights {self.name}: sha256 is not 64 hexadecimal digits: {self.sha256!r}")
        if self.num_bytes is not None and self.num_bytes <= 0:
            raise WeightsError(f"weights {self.name}: num_bytes must be positive, not {self.num_bytes}")
        if not self.file or Path(self.file).name != self.file:
            raise WeightsError(f"weights {self.name}: file must be a bare file name, not {self.file!r}")
        if self.is_embedded and (self.sha256 is None or self.num_bytes is None):
            raise WeightsError(f"weights {self.name}: embedded weights need a sha256 and num_bytes")
        if self.num_bytes is None and self.max_bytes is None:
            raise WeightsError(f"weights {self.name}: needs num_bytes, or max_bytes as a cap")

    @property
    def is_embedded(self) -> bool:
        """Whether the file comes with posecli itself."""
        return not self.urls

    @property
    def path(self) -> Path:
        """Where the file is, or would be after `posecli.weights.fetch_weights`."""
        if self.is_embedded:
            return folders.embedded_folder() / self.file
        stem, suffix = os.path.splitext(self.file)
        version = "unpinned" if self.sha256 is None else self.sha256[:8]
        return folders.cache_folder() / "weights" / f"{stem}-{version}{suffix}"

    @property
    def where(self) -> Where:
        """Where the file is now; nothing is hashed."""
        if self.is_embedded:
            return "embedded"
        return "cached" if self.path.is_file() else "not fetched"

    @property
    def how_to_use(self) -> str:
        """What to do with the file."""
        if self.origin == "posecli":
            return f"give its name where weights are asked for: {self.name}"
        if self.origin == "ultralytics":
            return f"use it with: --detector yolo --detector-weights {self.path}"
        return f"convert it once with: posecli weights import {self.origin} {self.path} --out {self.name}.safetensors"

    @property
    def record_path(self) -> Path:
        """Where the checksum of the first fetch is kept, in the form that ``sha256sum --check`` reads."""
        return self.path.with_name(f"{self.path.name}.sha256")

    def expected_sha256(self) -> str | None:
        """What the content must hash to: the published checksum, else the recorded one, else ``None``.

        Raises:
            WeightsError: The record cannot be read.
        """
        if self.sha256 is not None or not self.record_path.exists():
            return self.sha256
        try:
            found = re.match(rf"({_SHA256})\s", self.record_path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{self.record_path}: recorded checksum cannot be read: {error}") from error
        if found is None:
            hint = "remove that file to trust the next fetch anew"
            raise WeightsError(f"{self.record_path}: holds no recorded checksum", hint=hint)
        return found[1]

    def record(self, sha256: str) -> None:
        """Keep the checksum of the first fetch.

        Raises:
            OutputError: It cannot be written.
        """
        write_atomic(self.record_path, f"{sha256}  {self.path.name}\n".encode(), overwrite=True)
