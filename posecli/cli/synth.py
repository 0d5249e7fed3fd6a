"""``posecli synth``: rendered people in motion with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options
from posecli.errors import ConfigError

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
    hard: Annotated[
        bool, typer.Option("--hard", help="Blur, things in front and low light in most windows, not in some.")
    ] = False,
    crowded: Annotated[
        bool, typer.Option("--crowded", help="Somebody else close in front or behind in every window.")
    ] = False,
    portraits: Annotated[bool, typer.Option("--portraits", help="Heads, and what is around them, close.")] = False,
    workers: _Workers = 1,
    quiet: options.Quiet = False,
) -> None:
    """Render training windows: five frames around one person each.

    Example: posecli synth windows OUT --avatars DATA/avatars --motion DATA/motion.npz --environments DATA/env --count 40000
    """
    from posecli.training.synthetic.rendering import render_windows

    chosen = [name for name, is_on in (("hard", hard), ("crowded", crowded), ("portrait", portraits)) if is_on]
    if len(chosen) > 1:
        raise ConfigError("windows are --hard, --crowded or --portraits, not two of these", hint="render two folders")
    style = chosen[0] if chosen else "usual"
    paths = _paths(avatars, motion, environments, photographs, leave_out_modulo, split)
    with console.progress("render", unit="steps") as line:
        render_windows(paths, out, count=count, seed=seed, style=style, num_workers=workers, report=line)
    console.info(f"{out}: {count} windows")


@app.command("pictures")
def pictures(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder of the pictures; the same command goes on.")],
    avatars: _Avatars,
    motion: _Motion,
    environments: _Environments,
    count: Annotated[int, typer.Option("--count", min=1, help="Pictures in the folder in the end.")],
    size: Annotated[
        str | None, typer.Option("--size", help="Width and height, px, as 640x480; by default four sizes by turns.")
    ] = None,
    people: Annotated[str, typer.Option("--people", help="How many in a scene: 3, or 0..6.")] = "0..6",
    photographs: _Photographs = None,
    leave_out_modulo: _LeaveOut = 0,
    split: _Split = "train",
    seed: _Seed = 1,
    workers: _Workers = 1,
    quiet: options.Quiet = False,
) -> None:
    """Render single pictures of crowds, of few or of nobody, with everybody's box and keypoints (COCO-style), and a contact sheet.

    Example: posecli synth pictures OUT --avatars DATA/avatars --motion DATA/motion.npz --environments DATA/env --count 1200
    """
    from posecli.training.synthetic.pictures import PictureConfig, render_pictures

    size_wh = None if size is None else _parse_pair(size, "x", "--size")
    config = PictureConfig(size_wh, _parse_pair(people, "..", "--people"))
    paths = _paths(avatars, motion, environments, photographs, leave_out_modulo, split)
    with console.progress("render", unit="steps") as line:
        labels = render_pictures(paths, out, config, count=count, seed=seed, num_workers=workers, report=line)
    console.info(f"{labels}: {count} pictures")


@app.command("clips")
def clips(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder of the clips.")],
    avatars: _Avatars,
    motion: _Motion,
    environments: _Environments,
    count: Annotated[int, typer.Option("--clips", min=1, help="How many.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each.")] = 5.0,
    fps: Annotated[float, typer.Option("--fps", help="Frames a second.")] = 30.0,
    size: Annotated[str, typer.Option("--size", help="Width and height, px.")] = "960x540",
    people: Annotated[str, typer.Option("--people", help="How many at a time: 3, or 1..6.")] = "1..3",
    crowded: Annotated[int, typer.Option("--crowded", min=0, help="The last so many show five or six people.")] = 0,
    hard: Annotated[
        bool, typer.Option("--hard", help="Motion blur, things that pass in front, often bad light or a soft lens.")
    ] = False,
    photographs: _Photographs = None,
    leave_out_modulo: _LeaveOut = 0,
    split: _Split = "train",
    seed: _Seed = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Render videos with ground truth (COCO-style and PoseTrack18) and a contact sheet each.

    Example: posecli synth clips OUT --avatars DATA/avatars --motion DATA/motion.npz --environments DATA/env --clips 20 --crowded 4
    """
    from posecli.training.synthetic.assets import open_assets
    from posecli.training.synthetic.clip_scene import ClipConfig
    from posecli.training.synthetic.clips import render_clips

    size_wh, fewest_and_most = _parse_pair(size, "x", "--size"), _parse_pair(people, "..", "--people")
    config = ClipConfig(seconds, fps, size_wh, fewest_and_most, is_hard=hard)
    assets = open_assets(_paths(avatars, motion, environments, photographs, leave_out_modulo, split))
    with console.progress("render") as line:
        files = render_clips(
            assets, out, config, count=count, crowded=crowded, seed=seed, overwrite=overwrite, report=line
        )
    console.info(f"{out}: {len(files)} clips, {files[0].video.name} and so on")


def _parse_pair(text: str, separator: str, option: str) -> tuple[int, int]:
    """``3`` is short for ``3..3``, but a size needs both numbers."""
    first, found, second = text.partition(separator)
    try:
        return int(first), int(second if found or option == "--size" else first)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: two numbers with {separator} between them are needed") from error


def _paths(
    avatars: Path, motion: Path, environments: Path, photographs: list[Path] | None, leave_out: int, split: str
) -> AssetPaths:
    from posecli.training.synthetic.assets import AssetPaths

    return AssetPaths(avatars, motion, environments, tuple(photographs or ()), leave_out, split)
