"""What many hours of video take in machines, days, storage and failures: arithmetic on measured figures.

    python tests/benchmarks/model_cost.py [--hours 1000 100000 10000000] [--people 1.5] [--cores 64] [--gpu-frames-per-s F] ...

Prints the tables of posecli/batch/SCALING.md, as Markdown. Every figure is an option; the defaults are measured where `Measured` says
so, and assumed where `Assumed` does. Nothing is known about GPUs; --gpu-frames-per-s takes the person-frames a second that you
measured.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

HOUR_S = 3600.0
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class Measured:
    """From README ("How fast it is"), from real outputs, and from `simulate_driver.py`; one thread of one core.

    Attributes:
        pose_ms: Crop, network and decoding of a person-frame, ``s``, clip mode.
        look_ms: The detector's look at a frame.
        rest_ms: Decoding and tracking, a 720p frame: 21.0 ms for everything less one pose and a fifth of a look.
        whole: Whole run over the sum of its stages.
        mbit_s: Median bitrate of the seven example clips in MP4 (0.19 to 4.11).
        frame_bytes: A frame in poses.json, without people.
        person_bytes: A person-frame in poses.json.
        video_bytes: What poses.json and its run record hold once.
        gzip: poses.json after gzip -6 over before.
        manifest_bytes: Lines of a video in the manifest: ``started`` and ``done``.
        driver_bytes: Memory of the driver for each video of a batch.
        driver_records_s: Manifest records a second, each on disk before the next: a virtual disk that many use, 25 ms a record.
    """

    pose_ms: float = 13.8
    look_ms: float = 22.8
    rest_ms: float = 2.6
    whole: float = 1.03
    mbit_s: float = 2.86
    frame_bytes: float = 148.0
    person_bytes: float = 1149.0
    video_bytes: float = 7000.0
    gzip: float = 0.33
    manifest_bytes: float = 1030.0
    driver_bytes: float = 4500.0
    driver_records_s: float = 33.0


@dataclass(frozen=True)
class Assumed:
    """Nobody has measured these: put in your own.

    Attributes:
        people: Mean number in a frame.
        fps: Frames a second of the videos.
        look_every: Frames from one look of the detector to the next (posecli's default).
        minutes: Mean length of a video.
        cores: Of a machine, one worker of one thread each.
        scaling: Throughput of a full machine over cores times that of one worker.
        machine_mtbf_h: Hours between losses of a machine.
        bad_videos: Part of the videos that cannot be read.
        worker_deaths: Part of the videos at which a worker dies (memory, a decoder's fault).
    """

    people: float = 1.5
    fps: float = 30.0
    look_every: float = 5.0
    minutes: float = 10.0
    cores: float = 64.0
    scaling: float = 0.85
    machine_mtbf_h: float = 2000.0
    bad_videos: float = 0.002
    worker_deaths: float = 0.0001


@dataclass(frozen=True)
class Cost:
    """Of so many hours of video, on so many machines."""

    hours: float
    machines: float
    videos: float
    core_hours: float
    days: float
    read_bytes: float
    poses_bytes: float
    manifest_bytes: float
    driver_bytes: float
    read_gbit_s: float
    files_s: float
    records_s: float
    lost_machines: float
    redone_core_hours: float
    bad_videos: float
    worker_deaths: float


def frame_seconds(measured: Measured, assumed: Assumed) -> float:
    """Seconds of one core for a frame of video with everybody in it."""
    stages_ms = measured.rest_ms + measured.look_ms / assumed.look_every + assumed.people * measured.pose_ms
    return measured.whole * stages_ms / 1000


def core_hours_per_hour(measured: Measured, assumed: Assumed) -> float:
    """Core-hours of a busy machine for an hour of video."""
    return assumed.fps * frame_seconds(measured, assumed) / assumed.scaling


def poses_bytes(measured: Measured, assumed: Assumed, hours: float) -> float:
    """All poses files and run records, not compressed."""
    frames = hours * HOUR_S * assumed.fps
    videos = hours * 60 / assumed.minutes
    return frames * (measured.frame_bytes + assumed.people * measured.person_bytes) + videos * measured.video_bytes


def cost_of(hours: float, machines: float, measured: Measured, assumed: Assumed) -> Cost:
    """What it takes.

    A lost machine costs half a video of each of its workers, because the journals were on its disk; a dead worker costs at most a
    chunk, which is nothing here.
    """
    videos = hours * 60 / assumed.minutes
    core_hours = hours * core_hours_per_hour(measured, assumed)
    wall_h = core_hours / (machines * assumed.cores)
    lost = machines * wall_h / assumed.machine_mtbf_h
    video_core_h = core_hours / videos
    read_bytes = hours * HOUR_S * measured.mbit_s * 1e6 / 8
    return Cost(
        hours=hours,
        machines=machines,
        videos=videos,
        core_hours=core_hours,
        days=wall_h / 24,
        read_bytes=read_bytes,
        poses_bytes=poses_bytes(measured, assumed, hours),
        manifest_bytes=videos * measured.manifest_bytes,
        driver_bytes=videos * measured.driver_bytes,
        read_gbit_s=read_bytes * 8 / 1e9 / (wall_h * HOUR_S),
        files_s=3 * videos / (wall_h * HOUR_S),
        records_s=2 * videos / (wall_h * HOUR_S),
        lost_machines=lost,
        redone_core_hours=lost * assumed.cores * video_core_h / 2,
        bad_videos=videos * assumed.bad_videos,
        worker_deaths=videos * assumed.worker_deaths,
    )


def machines_for(hours: float, days: float, measured: Measured, assumed: Assumed) -> int:
    """Machines that do it in so many days."""
    core_hours = hours * core_hours_per_hour(measured, assumed)
    return max(1, math.ceil(core_hours / (days * 24 * assumed.cores)))


def workers_sustained(records_s: float, video_s: float) -> float:
    """How many workers, each busy so long with a video, one driver keeps up with: two records a video."""
    return records_s * video_s / 2


def short(value: float) -> str:
    """Three digits, for people: 862, 86,200, 10.1 million."""
    if abs(value) >= 999_500:
        return f"{value / 1e6:,.3g} million" if value < 999.5e6 else f"{value / 1e9:,.3g} billion"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}".rstrip("0").rstrip(".") if digits > 0 else f"{rounded:,.0f}"


def size(num_bytes: float) -> str:
    """Bytes in the largest unit of a thousand that leaves a whole."""
    power = min(len(UNITS) - 1, max(0, math.floor(math.log10(num_bytes) / 3 + 1e-9)))
    return f"{short(num_bytes / 1000**power)} {UNITS[power]}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def unit_table(measured: Measured, assumed: Assumed, gpu: float | None) -> str:
    """What one hour of video is."""
    person_frames = HOUR_S * assumed.fps * assumed.people
    one_core = 1 / frame_seconds(measured, assumed)
    rows = [
        ["frames; person-frames", f"{short(HOUR_S * assumed.fps)}; {short(person_frames)}"],
        [
            "one core alone: frames a second; person-frames a second",
            f"{short(one_core)}; {short(one_core * assumed.people)}",
        ],
        ["core-hours, on a full machine", short(core_hours_per_hour(measured, assumed))],
        ["bytes read", size(HOUR_S * measured.mbit_s * 1e6 / 8)],
        ["bytes of poses written; gzipped", _poses_text(measured, assumed)],
        ["GPU-hours", "not measured" if gpu is None else short(person_frames / gpu / HOUR_S)],
    ]
    return table(["an hour of video", ""], rows)


def _poses_text(measured: Measured, assumed: Assumed) -> str:
    num_bytes = poses_bytes(measured, assumed, 1)
    return f"{size(num_bytes)}; {size(num_bytes * measured.gzip)}"


def machine_table(hours: Sequence[float], measured: Measured, assumed: Assumed) -> str:
    """How many machines for which deadline."""
    rows = []
    for amount in hours:
        alone = cost_of(amount, 1, measured, assumed)
        counts = [f"{machines_for(amount, days, measured, assumed):,}" for days in (1, 7, 30)]
        rows.append([short(amount), short(alone.videos), short(alone.core_hours), short(alone.days), *counts])
    return table(
        [
            "hours",
            "videos",
            "core-hours",
            "days of one machine",
            "machines for a day",
            "for a week",
            "for 30 days",
        ],
        rows,
    )


def storage_table(hours: Sequence[float], measured: Measured, assumed: Assumed) -> str:
    """What is read, written and kept in the driver."""
    rows = []
    for amount in hours:
        cost = cost_of(amount, 1, measured, assumed)
        rows.append(
            [
                short(amount),
                size(cost.read_bytes),
                size(cost.poses_bytes),
                size(cost.poses_bytes * measured.gzip),
                short(2 * cost.videos),
                size(cost.manifest_bytes),
                size(cost.driver_bytes),
            ]
        )
    return table(
        ["hours", "videos read", "poses written", "the same gzipped", "files", "manifest", "driver's memory"], rows
    )


def load_table(hours: Sequence[float], days: float, measured: Measured, assumed: Assumed) -> str:
    """What the shared parts have to bear when it is to be done in so many days."""
    rows = []
    for amount in hours:
        machines = machines_for(amount, days, measured, assumed)
        cost = cost_of(amount, machines, measured, assumed)
        rows.append(
            [
                short(amount),
                f"{machines:,}",
                short(machines * assumed.cores),
                f"{short(cost.read_gbit_s)} Gbit/s",
                short(cost.files_s),
                f"{short(cost.records_s)} ({short(100 * cost.records_s / measured.driver_records_s)} %)",
            ]
        )
    head = [
        "hours",
        "machines",
        "workers",
        "read",
        "files opened a second",
        "manifest records a second (of one driver's)",
    ]
    return table(head, rows)


def failure_table(hours: Sequence[float], days: float, measured: Measured, assumed: Assumed) -> str:
    """What breaks meanwhile."""
    rows = []
    for amount in hours:
        cost = cost_of(amount, machines_for(amount, days, measured, assumed), measured, assumed)
        rows.append(
            [
                short(amount),
                short(cost.lost_machines),
                f"{short(cost.redone_core_hours)} ({short(100 * cost.redone_core_hours / cost.core_hours)} %)",
                short(cost.worker_deaths),
                short(cost.bad_videos),
            ]
        )
    return table(
        ["hours", "machines lost", "core-hours done again", "workers dead", "videos that cannot be read"], rows
    )


def tables(
    hours: Sequence[float], days: float, measured: Measured, assumed: Assumed, gpu: float | None = None
) -> list[str]:
    """All of them, in the order of the page."""
    return [
        unit_table(measured, assumed, gpu),
        machine_table(hours, measured, assumed),
        storage_table(hours, measured, assumed),
        load_table(hours, days, measured, assumed),
        failure_table(hours, days, measured, assumed),
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1e3, 1e5, 1e7])
    parser.add_argument("--days", type=float, default=7.0, help="for the tables of loads and failures")
    parser.add_argument("--gpu-frames-per-s", type=float, help="person-frames a second of one GPU")
    for kind in (Measured, Assumed):
        for field in fields(kind):
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    chosen = vars(parser.parse_args())
    measured = Measured(**{field.name: chosen[field.name] for field in fields(Measured)})
    assumed = Assumed(**{field.name: chosen[field.name] for field in fields(Assumed)})
    parts = tables(chosen["hours"], chosen["days"], measured, assumed, chosen["gpu_frames_per_s"])
    sys.stdout.write("\n".join(parts))


if __name__ == "__main__":
    main()
