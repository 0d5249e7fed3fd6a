"""``posecli batch``: a folder of videos in, poses of each out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient
from posecli.defaults import HEAD_WEIGHTS, LIFTER_WEIGHTS, POSE_WEIGHTS
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.batch.request import BatchRequest
    from posecli.batch.run import EngineMaker
    from posecli.pipeline.settings import AnnotateSettings
    from posecli.pipeline.stretches import SplitConfig


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Folders, videos, patterns in quotes, or text files (.txt) with one path a line."
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out-dir", "-o", help="Gets NAME.poses.json for each video, in the same subfolders.")
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Search the subfolders of folders too.")
    ] = True,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw the poses over each video.")] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also make a PNG with frames from the whole of each video.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing/--overwrite", help="Leave out what is done and unchanged, or make all anew."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done and how long.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many videos this time.")] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Only part I of N, for several machines at one folder.")
    ] = "1/1",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Videos at a time. Default: one for every two cores.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of each worker. Default: cores / workers.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up a video that takes longer.")
    ] = None,
    in_3d: Annotated[bool, typer.Option("--3d", help="Also find the poses in 3D.")] = False,
    lifter: options.LifterWeights = LIFTER_WEIGHTS,
    height: options.BodyHeight = 170.0,
    fov: options.FieldOfView = 55.0,
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
    fps: Annotated[str, typer.Option("--fps", help="Frame rate of folders of images; videos have their own.")] = "30",
    style: Annotated[str, typer.Option("--style", help="How overlays are drawn.")] = "default",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")] = "cpu",
    scan_backend: Annotated[str, typer.Option("--scan-backend", help="See posecli doctor.")] = "auto",
    engine: Annotated[
        str, typer.Option("--engine", help="Who does the work: local (processes of this machine) or ray.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Of a Ray cluster: HOST:PORT, ray://HOST:PORT or auto; else RAY_ADDRESS. Default: a Ray of this machine.",
        ),
    ] = None,
    gpus_per_task: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-task", help="Part of a GPU for each Ray worker, 0.25: four share one. Default: all of it."
        ),
    ] = None,
    split_minutes: Annotated[
        float | None,
        typer.Option(
            "--split-minutes",
            min=0.0,
            help="Share out videos longer than this among the workers, in parts; 0: never. Default: 10 with ray, 0 with local.",
        ),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", help="Append a line of JSON there for everything that happens.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what happens to each video.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON lines on stdout, one a video, the summary last.")
    ] = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Annotate many videos, each as annotate would.

    Whatever happens to one video, the others are done; at the end a table says which failed and what to do. The same command again
    goes on where it stopped, and leaves out what is done. Exit code 0: all done; 3: some videos failed. OUT_DIR gets manifest.jsonl
    (what happened to each video) and summary.json besides.

    With --engine ray, the videos and OUT_DIR must lie where all machines of the cluster see them under the same path. A long video is
    done by several workers at a time, in parts that overlap: the poses are those of one worker, but for the last digits at the seams.

    Example: posecli batch videos/ --out-dir poses/
    """
    make_threads_patient()
    from posecli.batch.request import BatchRequest, Shard

    settings = _settings(
        weights=weights,
        head_weights=options.or_none(head_weights),
        detector=detector,
        detector_weights=detector_weights,
        min_detection_score=min_detection_score,
        detect_every=detect_every,
        mode=window_mode,
        hop=hop,
        mirror=mirror,
        persons=persons,
        smooth=smooth,
        image_fps=fps,
        device=device,
        scan_backend=scan_backend,
        lift=lifter if in_3d else None,
        height_cm=height,
        fov_deg=fov,
    )
    request = BatchRequest(
        inputs=tuple(inputs),
        out_dir=out_dir,
        settings=settings,
        overlay=overlay,
        sheet=sheet,
        overlay_style=style,
        overwrite=not skip_existing,
        is_recursive=recursive,
        limit=limit,
        shard=Shard.parse(shard),
        workers=workers,
        threads=threads,
        timeout_s=timeout,
        command=("posecli", *sys.argv[1:]),
        split=_split(split_minutes, engine),
    )
    make_engine = _engine(engine, address, gpus_per_task)
    if dry_run:
        _show_plan(request, as_json=as_json)
    else:
        _run(request, make_engine, log_file, as_json=as_json, is_verbose=verbose)


def _settings(**values: Any) -> AnnotateSettings:
    """Those of ``posecli annotate``; what makes no sense is refused there."""
    from posecli.pipeline.settings import AnnotateSettings

    return AnnotateSettings(**values)


def _split(minutes: float | None, engine: str) -> SplitConfig | None:
    from posecli.pipeline.stretches import SplitConfig

    if minutes is None:
        return SplitConfig() if engine == "ray" else None
    return SplitConfig(minutes) if minutes else None


def _engine(name: str, address: str | None, gpus_per_task: float | None) -> EngineMaker:
    """Nothing of Ray is imported before it is to work."""
    if name == "ray":
        from posecli.batch.ray_engine import RayOptions, ray_engine

        return ray_engine(RayOptions(address or os.environ.get("RAY_ADDRESS"), gpus_per_task))
    if name != "local":
        raise ConfigError(f"engine {name!r} is not known", hint="local or ray")
    if gpus_per_task is not None or address is not None:
        raise ConfigError("--address and --gpus-per-task are for Ray", hint="add --engine ray")
    from posecli.batch.engine import LocalEngine

    return LocalEngine


def _run(
    request: BatchRequest, make_engine: EngineMaker, log_file: Path | None, *, as_json: bool, is_verbose: bool
) -> None:
    from posecli.batch.run import run_batch
    from posecli.cli.batch_report import Reporter, print_summary
    from posecli.errors import EXIT_INTERRUPTED

    with console.board() as board:
        reporter = Reporter(board, as_json=as_json, is_verbose=is_verbose)
        summary = run_batch(
            request, watch=reporter.watch, show=reporter.show, log_file=log_file, make_engine=make_engine
        )
    if as_json:
        console.print_json_line({"event": "summary", **summary.to_json()})
    else:
        print_summary(summary)
    if summary.exit_code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _show_plan(request: BatchRequest, *, as_json: bool) -> None:
    from posecli.batch.forecast import forecast
    from posecli.cli.batch_report import print_forecast

    plan = forecast(request, say=console.info)
    if as_json:
        console.print_json(plan.to_json())
    else:
        print_forecast(plan)


__all__ = ["batch"]
