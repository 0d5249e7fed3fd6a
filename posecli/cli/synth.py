"""``posecli synth``: rendered people in motion with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options

if TYPE_CHECKING:
    from posecli.training.synthetic.assets import AssetPaths

app = typer.Typer(help="Render people in motion with exact keypoints.", no_args_is_help=True)

_Avatars = Annotated[Path, typer.Option("--avatars", help="Folder of rigged people (.npz).")]
_Motion = Annotated[Path, typer.Option("--motion", help="File of recorded motions (.npz).")]
_Environments = Annotated[Path, typer.Option("--environments", help="Folder of panoramas (.jpg).")]
_Photographs = Annotated[
    list[Path] | None,
    typer.Option(
        "--photographs",
        help="Background photographs: a COCO-style file with the boxes of all people, pictures in images/ beside it. May be repeated.",
    ),
]
_LeaveOut = Annotated[
    int, typer.Option("--leave-out-modulo", min=0, help="Leave out photographs whose id is divisible by this; 0: none.")
]
_Split = Annotated[str, typer.Option("--split", help="train, or test: the avatars, motions and places held out.")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same pictures.")]
_Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]


@app.command("windows")
def windows(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder of the windows; the same command goes on.")],
    avatars: _Avatars,
    motion: _Motion,
    environments: _Environments,
    count: Annotated[int, typer.Option("--count", min=1, help="Windows in the folder in the end.")],
    photographs: _Photographs = None,
    leave_out_modulo: _LeaveOut = 0,
    split: _Split = "train",
    seed: _Seed = 1,
    workers: _Workers = 1,
    quiet: options.Quiet = False,
) -> None:
    """Render training windows: five frames around one person each.

    Example: posecli synth windows OUT --avatars DATA/avatars --motion DATA/motion.npz --environments DATA/env --count 40000
    """
    from posecli.training.synthetic.rendering import render_windows

    paths = _paths(avatars, motion, environments, photographs, leave_out_modulo, split)
    with console.progress("render", unit="steps") as line:
        render_windows(paths, out, count=count, seed=seed, num_workers=workers, report=line)
    console.info(f"{out}: {count} windows")


def _paths(
    avatars: Path, motion: Path, environments: Path, photographs: list[Path] | None, leave_out: int, split: str
) -> AssetPaths:
    from posecli.training.synthetic.assets import AssetPaths

    return AssetPaths(avatars, motion, environments, tuple(photographs or ()), leave_out, split)
