"""``posecli info``: what a video says about itself, and how many frames it really has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from posecli.cli import console, options
from posecli.errors import EXIT_WARNINGS


def info(
    video: options.Video,
    count: Annotated[bool, typer.Option("--count", help="Decode everything and count; headers may be wrong.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show size, rate, length, rotation and codec of a video.

    Example: posecli info walk.mp4 --count --json
    """
    from posecli.formats.video_facts import encode_video
    from posecli.video.source import probe

    facts = encode_video(probe(video))
    warnings: list[str] = []
    if count:
        counted, warnings = _count_frames(video)
        facts |= counted
    if json:
        console.print_json(facts)
    else:
        console.print_data(_lines(facts))
    for warning in warnings:
        console.warn(warning)
    if warnings:
        raise typer.Exit(EXIT_WARNINGS)


def _count_frames(video: Path) -> tuple[dict[str, Any], list[str]]:
    from posecli.video.source import open_source

    num_frames = num_corrupt = 0
    with open_source(video) as source, console.progress("decode") as report:
        for frame in source.frames():
            num_frames += 1
            num_corrupt += frame.status == "corrupt"
            report(num_frames, source.info.num_frames_from_header)
        return {"num_frames_decoded": num_frames, "num_frames_corrupt": num_corrupt}, list(source.warnings)


def _lines(facts: Mapping[str, Any]) -> str:
    width = max(len(name) for name in facts)
    return "\n".join(f"{name:<{width}}  {'-' if value is None else value}" for name, value in facts.items())
