"""A download that is not finished: the bytes so far, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """What the bytes of an unfinished file belong to; a server that now says otherwise has another content.

    ``total`` is the size in bytes of the whole; what a server does not say is ``None``.
    """

    url: str
    etag: str | None
    last_modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` accepts: a strong entity tag, else a date."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class Partial:
    """The unfinished file of a target: ``NAME.part``, described by ``NAME.part.json``.

    Args:
        target: Where the whole file will be.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def num_bytes(self) -> int:
        """The bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def identity(self) -> Identity | None:
        """Whose bytes they are; ``None`` when there are none or nobody knows."""
        if not self.num_bytes:
            return None
        try:
            values = json.loads(self.note.read_text(encoding="utf-8"))
            found = {field.name: values[field.name] for field in fields(Identity)}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Identity(**found) if _is_plausible(found) else None

    def begin(self, identity: Identity) -> None:
        """Forget the bytes so far and say whose the next ones are."""
        self.drop()
        self.note.write_text(json.dumps(asdict(identity), indent=2) + "\n", encoding="utf-8")

    def drop(self) -> None:
        """Forget everything; the bytes go first, so that they never lie beside a note that is not theirs."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _is_plausible(values: Mapping[str, Any]) -> bool:
    texts = (values["etag"], values["last_modified"])
    return (
        isinstance(values["url"], str)
        and all(text is None or isinstance(text, str) for text in texts)
        and (values["total"] is None or type(values["total"]) is int)
    )
