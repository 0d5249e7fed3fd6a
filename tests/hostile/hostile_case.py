"""What a hostile case is: something done with a bad input, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The folders of one case. Only ``out`` may be written to by the product; ``inside`` is for the inputs that the case makes."""

    inside: Path
    out: Path


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        kind: Row of the table.
        name: Unique in its group.
        run: Makes the input and hands it to the product; may end well or raise a `PoseCliError`, and nothing else.
        subject: What the error must contain: the name of the bad file; or one of several, with | between.
        must_refuse: Whether ending well would be a fault.
    """

    kind: str
    name: str
    run: Callable[[Places], None]
    subject: str = ""
    must_refuse: bool = False


Group = Callable[[], list[Case]]
