"""``posecli render``: draw poses from a JSON over their video."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from posecli.cli import console, options
from posecli.errors import EXIT_WARNINGS, ConfigError, FormatError


def render(
    poses: Annotated[Path, typer.Argument(metavar="POSES", help="A JSON written by posecli annotate.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The overlay video to write, such as overlay.mp4.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="A picture of some frames to write, such as sheet.png.")
    ] = None,
    figures: Annotated[
        bool, typer.Option("--3d", help="Show the people in 3D too: beside the video, turning, and below frames.")
    ] = False,
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

    if out is None and sheet is None:
        raise ConfigError("nothing to write", hint="pass --out overlay.mp4, --sheet sheet.png, or both")
    for path in (out, sheet):
        if path is not None:
            check_output(path, overwrite=overwrite)
    annotation = read_coco_dataset(poses)
    if figures and not any(len(pose) for pose in annotation.poses_3d):
        raise FormatError(f"{poses}: has no 3D poses", hint=f"posecli lift {poses} estimates them")
    if video is not None:
        annotation = dataclasses.replace(annotation, video=dataclasses.replace(annotation.video, path=video))
    warnings = []
    if out is not None:
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
                has_figures=figures,
                progress=lambda done: report(done, len(annotation.frames)),
            )
        console.info(f"wrote {out}")
    if sheet is not None:
        from posecli.video.sheet import contact_sheet

        contact_sheet(annotation, sheet, style=style, min_score=min_score, has_figures=figures, overwrite=overwrite)
        console.info(f"wrote {sheet}")
    for warning in warnings:
        console.warn(warning)
    if warnings:
        raise typer.Exit(EXIT_WARNINGS)
