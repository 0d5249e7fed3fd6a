"""``posecli render``: draw poses from a JSON over their video."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from posecli.cli import console, options
from posecli.errors import EXIT_WARNINGS


def render(
    poses: Annotated[Path, typer.Argument(metavar="POSES", help="A JSON written by posecli annotate.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The overlay video to write, such as overlay.mp4.")],
    video: Annotated[
        Path | None, typer.Option("--video", help="The video, where it is not at the path the JSON names.")
    ] = None,
    style: Annotated[str, typer.Option("--style", help="default, thin, bold, or skeleton.")] = "default",
    min_score: Annotated[
        float, typer.Option("--min-score", min=0.0, max=1.0, help="Keypoints below it are not drawn.")
    ] = 0.3,
    crf: Annotated[
        int, typer.Option("--crf", min=0, max=51, help="Quality: 0 is lossless, 51 the smallest file.")
    ] = 20,
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Copy the sound.")] = True,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw poses over their video.

    Example: posecli render poses.json --out overlay.mp4
    """
    from posecli.atomic import check_output
    from posecli.formats.coco import read_coco_dataset

    check_output(out, overwrite=overwrite)
    annotation = read_coco_dataset(poses)
    if video is not None:
        annotation = dataclasses.replace(annotation, video=dataclasses.replace(annotation.video, path=video))
    from posecli.video.render import render_overlay

    with console.progress("render") as report:
        warnings = render_overlay(
            annotation,
            out,
            style=style,
            overwrite=overwrite,
            min_score=min_score,
            crf=crf,
            has_audio=audio,
            progress=lambda done: report(done, len(annotation.frames)),
        )
    console.info(f"wrote {out}")
    for warning in warnings:
        console.warn(warning)
    if warnings:
        raise typer.Exit(EXIT_WARNINGS)
