"""``posecli bench``: where the time goes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient
from posecli.errors import VideoError

if TYPE_CHECKING:
    from posecli.benchmark.report import BenchReport
    from posecli.cli.console import Grid

_CLOCKS = {"cpu": "processor time", "wall": "elapsed time"}


def bench(
    video: Annotated[
        Path | None, typer.Option("--video", help="Measure on this video. Default: the example clip.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="Network by name; random weights where none are trained.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Pose weights instead: a name or a file.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds, rough figures.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Measure this machine: where the milliseconds of annotate go.

    With one thread on a CPU times are processor time, which busy neighbours hardly change; otherwise elapsed time.

    Example: posecli bench --video walk.mp4 --json
    """
    if video is not None and not video.exists():
        raise VideoError(f"{video}: no such file or folder")
    make_threads_patient()
    from posecli.benchmark.report import Request, run_benchmark
    from posecli.pipeline.allocator import keep_freed_memory

    keep_freed_memory()
    request = Request(video, config, weights, device, threads, quick)
    report = run_benchmark(request, console.info)
    if as_json:
        console.print_json(report.to_json())
        return
    console.print_data(_headline(report))
    for grid in _grids(report):
        console.print_grid(grid)


def _headline(report: BenchReport) -> str:
    machine = report.machine
    where = f"{machine.cpu}, {machine.cores} cores" + (f", {machine.gpu}" if machine.gpu else "")
    kind = "random weights" if report.has_random_weights else "trained weights"
    load = (
        "" if machine.load_average is None else f"; load average {machine.load_average} to {report.load_average_after}"
    )
    return (
        f"{where}; torch {machine.torch_version}{load}\n"
        f"{report.config} ({kind}), {report.device}, scan {report.scan_backend}, "
        f"threads: {report.threads}, {_CLOCKS[report.clock]}"
    )


def _grids(report: BenchReport) -> Iterator[Grid]:
    yield _stages(report)
    yield (
        "window modes",
        ("mode", "hop", "ms / person-frame", "times clip"),
        [(row.mode, str(row.hop), _ms(row.ms_per_person_frame), f"{row.ratio:.2f}") for row in report.window_modes],
    )
    if report.scans is not None:
        size = report.scans
        title = (
            f"scan backends, one window: {size.tokens} tokens, {size.directions} directions, "
            f"width {size.width}, {size.states} states"
        )
        yield (
            title,
            ("backend", "ms", "times", ""),
            [(row.backend, "-" if row.ms is None else _ms(row.ms), _ratio(row.ratio), row.remark) for row in size.rows],
        )
    yield (
        "people in a batch",
        ("people", "ms / person-frame", "person-frames / s", "times one"),
        [
            (str(row.persons), _ms(row.ms_per_person_frame), f"{row.person_frames_per_second:.0f}", f"{row.ratio:.2f}")
            for row in report.persons
        ],
    )
    yield (
        "resolutions",
        ("picture", "decode, ms", "detect, ms / look", "crop, ms / person-frame"),
        [
            (f"{row.width_px}x{row.height_px}", _ms(row.decode_ms), _ms(row.detect_ms_per_look), _ms(row.crop_ms))
            for row in report.resolutions
        ],
    )
    if report.threads_section:
        yield (
            "threads, pose stage",
            ("threads", "people", "elapsed ms / person-frame", "processor ms", "speed-up"),
            [
                (
                    str(row.threads),
                    str(row.persons),
                    _ms(row.wall_ms_per_person_frame),
                    _ms(row.cpu_ms_per_person_frame),
                    f"{row.speed_up:.2f}",
                )
                for row in report.threads_section
            ],
        )
    if report.memory is not None:
        gpu = report.memory.gpu_peak_mb
        yield (
            "peak memory of annotate",
            ("what", "MB"),
            [
                ("whole process", f"{report.memory.peak_mb:.0f}"),
                ("of which libraries", f"{report.memory.libraries_mb:.0f}"),
                *([("on the GPU, stages", f"{gpu:.0f}")] if gpu is not None else []),
            ],
        )


def _stages(report: BenchReport) -> Grid:
    stages = report.stages
    people = "1 person made up" if stages.has_made_up_person else f"{stages.persons_per_frame:.1f} people in a frame"
    rows = []
    for row in stages.rows:
        name = f"  {row.stage}" if row.part_of else row.stage
        name += " (with --overlay)" if row.is_optional else ""
        name += f" ({row.ms_per_look:.1f} ms a look)" if row.ms_per_look is not None else ""
        share = "-" if row.share_percent is None else f"{row.share_percent:.1f} %"
        rows.append((name, _ms(row.ms_per_frame), _ms(row.ms_per_person_frame), share))
    rows.append(("sum", _ms(stages.sum_ms_per_frame), _ms(stages.sum_ms_per_person_frame), "100.0 %"))
    whole = report.whole_run
    detection = "" if whole.has_detection else ", detector left out"
    ratio = f"{whole.ratio_to_stages:.2f} x"
    rows.append((f"annotate, end to end{detection}", _ms(whole.ms_per_frame), "-", ratio))
    rows.append(("pose stage in one call", "-", _ms(stages.pose_ms_per_person_frame), "-"))
    title = f"stages, {stages.num_frames} frames, {people}"
    return title, ("stage", "ms / frame", "ms / person-frame", "share"), rows


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
