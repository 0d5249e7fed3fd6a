"""``posecli lift``: poses from a JSON, in 3D."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient, set_threads
from posecli.defaults import LIFTER_WEIGHTS

if TYPE_CHECKING:
    from posecli.lifting.lifter import Lifter
    from posecli.records import Annotation


def lift(
    poses: Annotated[Path, typer.Argument(metavar="POSES", help="A JSON written by posecli annotate.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write: the same poses, and in 3D.")],
    weights: Annotated[
        str, typer.Option("--weights", help="Weights for 3D: a name (posecli weights list) or a file.")
    ] = LIFTER_WEIGHTS,
    height: options.BodyHeight = 170.0,
    fov: options.FieldOfView = 55.0,
    trc: options.Trc = None,
    bvh: options.Bvh = None,
    npz: options.Npz = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Lift everyone a second time, mirrored: twice the time, more accurate.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")] = "cpu",
    scan_backend: Annotated[str, typer.Option("--scan-backend", help="See posecli doctor.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads. Default: all cores.")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Turn the poses of a JSON into 3D.

    Joints are relative to the middle of the hips, in millimetres; where people stand is a rough estimate.

    Example: posecli lift poses.json --out poses3d.json --trc markers
    """
    from posecli.atomic import check_output
    from posecli.formats.coco import read_coco_dataset, write_coco_dataset

    check_output(out, overwrite=overwrite)
    annotation = read_coco_dataset(poses)
    make_threads_patient()
    from posecli.lifting.lifter import Lifter
    from posecli.pipeline.lift import MotionFiles

    files = MotionFiles(trc, bvh, npz)
    files.check(annotation.video.path, overwrite=overwrite)
    set_threads(threads)
    lifter = Lifter.load(
        weights, device=device, backend=scan_backend, height_cm=height, fov_deg=fov, is_mirrored=mirror
    )
    lifted, seconds = _lift(annotation, lifter)
    written = files.write(lifted, lambda path: None)
    write_coco_dataset(lifted, out, overwrite=True)
    _report(lifted, [*written, out], seconds, as_json=as_json)


def _lift(annotation: Annotation, lifter: Lifter) -> tuple[Annotation, float]:
    """The work, under a progress line, and the seconds it took."""
    from posecli.pipeline.lift import lift_annotation

    total, start = sum(map(len, annotation.poses)), perf_counter()
    with console.progress("lift") as line:
        lifted = lift_annotation(annotation, lifter, lambda done: line(done, total))
    return lifted, perf_counter() - start


def _report(annotation: Annotation, paths: list[Path], seconds: float, *, as_json: bool) -> None:
    import numpy as np

    num_lifted = sum(
        int(np.count_nonzero(np.isfinite(pose.joints_mm).all(axis=(1, 2)))) for pose in annotation.poses_3d
    )
    counts = {
        "people": len(annotation.poses),
        "poses": sum(len(pose) for pose in annotation.poses),
        "poses in 3D": num_lifted,
    }
    if as_json:
        facts = {name.replace(" ", "_").lower(): count for name, count in counts.items()}
        console.print_json({"outputs": paths, **facts, "timings_s": {"lift": round(seconds, 3)}})
        return
    console.info(", ".join(f"{count} {name}" for name, count in counts.items()))
    for path in paths:
        console.info(f"wrote {path}")
