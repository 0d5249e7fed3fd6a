"""Options that several commands share, spelled once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from posecli.cli.console import QUIET_VARIABLE
from posecli.errors import VideoError


def _be_quiet(value: bool) -> bool:
    if value:
        os.environ[QUIET_VARIABLE] = "1"
    return value


def _stay_offline(value: bool) -> bool:
    if value:
        os.environ["POSECLI_OFFLINE"] = "1"
    return value


def _must_exist(value: Path) -> Path:
    """A misspelt path is told at once, before the decoder is even imported."""
    if not value.exists():
        raise VideoError(f"{value}: no such file or folder")
    return value


# Quiet and offline travel by environment variable, so that worker processes inherit them.
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="No progress, no remarks on stderr.")]
Offline = Annotated[bool, typer.Option("--offline", callback=_stay_offline, help="Open no connection.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
LifterWeights = Annotated[
    str, typer.Option("--lifter", help="Weights for 3D: a name (posecli weights list) or a file.")
]
HeadWeights = Annotated[
    str,
    typer.Option("--head-weights", help="Who looks at heads again, from close up: a name, a file, or none: nobody."),
]
BodyHeight = Annotated[
    float, typer.Option("--height", help="How tall the people are, in cm: a picture does not show it.")
]
FieldOfView = Annotated[
    float, typer.Option("--fov", help="How wide the camera sees, in degrees: decides how far away people are put.")
]
Trc = Annotated[
    Path | None, typer.Option("--trc", metavar="DIR", help="Also write one TRC file a person there (OpenSim).")
]
Bvh = Annotated[
    Path | None, typer.Option("--bvh", metavar="DIR", help="Also write one BVH file a person there (Blender).")
]
Npz = Annotated[Path | None, typer.Option("--npz", help="Also write NumPy arrays of all people in 3D.")]
Video = Annotated[
    Path,
    typer.Argument(metavar="VIDEO", callback=_must_exist, help="A video file, an image, or a folder of images."),
]


def or_none(weights: str) -> str | None:
    """What was asked for, or ``None`` where that was "none"."""
    return None if weights == "none" else weights
