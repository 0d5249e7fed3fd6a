"""``posecli annotate``: a video in, poses out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient, set_threads
from posecli.defaults import HEAD_WEIGHTS, LIFTER_WEIGHTS, POSE_WEIGHTS
from posecli.errors import EXIT_WARNINGS, ConfigError

if TYPE_CHECKING:
    from posecli.pipeline.annotate import AnnotateResult, Outputs
    from posecli.pipeline.settings import AnnotateSettings

_Seconds = Annotated[str | None, typer.Option(metavar="TIME", help="Seconds, or HH:MM:SS.mmm.")]


def annotate(
    video: options.Video,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Poses, a COCO data set. Default: VIDEO's name with .poses.json, here."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", help="Also draw the poses over the video, such as overlay.mp4.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also make one PNG with frames from the whole video.")
    ] = None,
    coco_results: Annotated[Path | None, typer.Option("--coco-results", help="Also write a COCO results list.")] = None,
    posetrack: Annotated[Path | None, typer.Option("--posetrack", help="Also write a PoseTrack18 file.")] = None,
    in_3d: Annotated[bool, typer.Option("--3d", help="Also find the poses in 3D.")] = False,
    lifter: options.LifterWeights = LIFTER_WEIGHTS,
    height: options.BodyHeight = 170.0,
    fov: options.FieldOfView = 55.0,
    trc: options.Trc = None,
    bvh: options.Bvh = None,
    npz: options.Npz = None,
    weights: Annotated[
        str, typer.Option("--weights", help="Pose weights: a name (posecli weights list) or a file.")
    ] = POSE_WEIGHTS,
    head_weights: options.HeadWeights = HEAD_WEIGHTS,
    detector: Annotated[
        str, typer.Option("--detector", help="Who finds people: embedded, yolo, or full-frame.")
    ] = "embedded",
    detector_weights: Annotated[
        str | None, typer.Option("--detector-weights", help="Detector weights: a name or a file.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="Person boxes from a JSON, instead of a detector.")
    ] = None,
    min_detection_score: Annotated[
        float | None, typer.Option("--min-detection-score", min=0.0, max=1.0, help="Ignore people found with less.")
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option("--detect-every", min=1, help="Look for people every so many frames.")
    ] = None,
    window_mode: Annotated[
        str, typer.Option("--window-mode", help="clip: fast. key: one window per frame, slower.")
    ] = "clip",
    hop: Annotated[
        int | None, typer.Option("--hop", min=1, help="Frames between windows; fewer overlap more: slower, steadier.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Look at everyone a second time, mirrored: twice the time, more accurate.")
    ] = False,
    persons: Annotated[str, typer.Option("--persons", help="Whom to keep: all, largest, or longest (seen).")] = "all",
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="Smooth over time; raw points are kept too.")
    ] = True,
    start: _Seconds = None,
    end: _Seconds = None,
    fps: Annotated[str, typer.Option("--fps", help="Frame rate of a folder of images; videos have their own.")] = "30",
    style: Annotated[str, typer.Option("--style", help="How the overlay is drawn.")] = "default",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")] = "cpu",
    scan_backend: Annotated[str, typer.Option("--scan-backend", help="See posecli doctor.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads. Default: all cores.")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Find people in a video, follow them, and write their poses.

    An interrupted run goes on where it stopped when the same command is given again.

    Example: posecli annotate walk.mp4 --out poses.json --overlay overlay.mp4
    """
    make_threads_patient()
    from posecli.pipeline.annotate import Outputs
    from posecli.pipeline.lift import MotionFiles

    outputs = Outputs(
        poses=out or Path(f"{video.resolve().stem}.poses.json"),
        coco_results=coco_results,
        posetrack=posetrack,
        overlay=overlay,
        sheet=sheet,
        overlay_style=style,
        motion=MotionFiles(trc, bvh, npz),
    )
    settings = _settings(
        boxes,
        weights=weights,
        head_weights=options.or_none(head_weights),
        detector="boxes" if boxes is not None else detector,
        detector_weights=detector_weights,
        min_detection_score=min_detection_score,
        detect_every=detect_every,
        mode=window_mode,
        hop=hop,
        mirror=mirror,
        persons=persons,
        smooth=smooth,
        start_s=_parse_time(start, "--start"),
        end_s=_parse_time(end, "--end"),
        image_fps=fps,
        device=device,
        scan_backend=scan_backend,
        lift=lifter if in_3d else None,
        height_cm=height,
        fov_deg=fov,
    )
    set_threads(threads)
    result = _run(video, outputs, settings, overwrite=overwrite)
    _report(result, [*result.motion_files, *outputs.paths()], as_json=as_json)
    if result.warnings:
        raise typer.Exit(EXIT_WARNINGS)


def _run(video: Path, outputs: Outputs, settings: AnnotateSettings, *, overwrite: bool) -> AnnotateResult:
    """The work, under a progress line; an interruption says that nothing is lost."""
    from posecli.pipeline.allocator import keep_freed_memory
    from posecli.pipeline.annotate import annotate as run
    from posecli.pipeline.journal import journal_path

    keep_freed_memory()

    command = ("posecli", *sys.argv[1:])
    try:
        with console.progress("annotate") as line:
            return run(video, outputs, settings, overwrite=overwrite, command=command, progress=line.stage)
    except KeyboardInterrupt:
        if journal_path(outputs.poses).exists():
            console.info("what was done so far is kept; the same command goes on from there")
        raise


def _settings(boxes: Path | None, **values: Any) -> AnnotateSettings:
    from posecli.formats.boxes import read_boxes
    from posecli.pipeline.settings import AnnotateSettings

    return AnnotateSettings(boxes=None if boxes is None else read_boxes(boxes), **values)


def _parse_time(text: str | None, option: str) -> float | None:
    """Seconds from ``12.5``, ``1:02.5`` or ``01:02:03.4``."""
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or min(parts) < 0:
        raise ConfigError(f"{option} {text!r} is not a time", hint="give seconds, or HH:MM:SS.mmm")
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))


def _report(result: AnnotateResult, paths: list[Path], *, as_json: bool) -> None:
    for note in result.notes:
        console.info(note)
    if result.resumed_at_frame is not None:
        console.info(f"went on from frame {result.resumed_at_frame} of an interrupted run")
    for warning in result.warnings:
        console.warn(warning)
    annotation = result.annotation
    counts = {
        "frames": len(annotation.frames),
        "people": len(annotation.poses),
        "poses": sum(len(pose) for pose in annotation.poses),
    }
    if as_json:
        facts = {"outputs": paths, **counts, "warnings": list(result.warnings), "timings_s": dict(result.timings_s)}
        console.print_json(facts)
        return
    console.info(", ".join(f"{count} {name}" for name, count in counts.items()))
    for path in paths:
        console.info(f"wrote {path}")
