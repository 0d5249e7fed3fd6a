"""Every error posecli raises on purpose.

PoseCliError                exit 1   something the user can act on
|-- ConfigError             exit 2   an option, recipe or config value is wrong
|-- WeightsError            exit 4   weights unknown, missing, corrupt, or not reachable offline
|-- VideoError              exit 5   an input cannot be read as video or image
|-- FormatError             exit 5   a JSON (annotations, boxes, poses) is not what it should be
|-- DeviceError             exit 6   a device or backend is not available, or memory ran out
`-- OutputError             exit 7   an output exists already or cannot be written

Exit 3 is not an error: the work finished, with warnings (for example corrupt frames); of a batch it says that some videos failed,
each of which has its own code in the summary. Exit 130 means interrupted. The command line turns any of these into one line on
stderr (``cli/app.py``); a traceback therefore always means a bug in posecli.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

EXIT_WARNINGS = 3
EXIT_INTERRUPTED = 130


def printable(text: str) -> str:
    """Text for people, whatever it quotes: what would break a line or command a terminal is escaped.

    Names of files hold line breaks, escape sequences and bytes that are no text; so do values of files somebody else made. A line
    break with two spaces behind it is meant: a list.
    """
    if text.isprintable():
        return text
    return "\n  ".join("".join(map(_escaped, line)) for line in text.split("\n  "))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode()


class PoseCliError(Exception):
    """An error with a remedy.

    Args:
        message: One line that names the file or the option and the value found there; or a list, its lines indented by two spaces.
        hint: What to do about it, one line; shown after the message.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = printable(message)
        self.hint = None if hint is None else printable(hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


class ConfigError(PoseCliError):
    """An option, recipe or config value is wrong."""

    exit_code = 2


class WeightsError(PoseCliError):
    """Weights are unknown, missing, corrupt, or cannot be reached."""

    exit_code = 4


class VideoError(PoseCliError):
    """An input cannot be read as video or image."""

    exit_code = 5


class FormatError(PoseCliError):
    """A JSON file is not what it should be."""

    exit_code = 5


class DeviceError(PoseCliError):
    """A device or backend is not available, or memory ran out."""

    exit_code = 6


class OutputError(PoseCliError):
    """An output exists already or cannot be written."""

    exit_code = 7


def check_above_zero(settings: Any, *, what: str) -> None:
    """Every field of some settings must be a number above 0.

    Args:
        settings: A dataclass of numbers only.
        what: They decide, for the message.

    Raises:
        ConfigError: One is not.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if not value > 0:
            raise ConfigError(f"{what} {field.name} is {value}", hint="give a number above 0")
