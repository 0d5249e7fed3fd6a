"""``posecli evaluate``: how good weights, or finished poses, are against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from posecli.cli import console, evaluate_lifter, options
from posecli.cli.evaluate_joints import joints
from posecli.cli.evaluated_clips import KeypointOptions, annotate_clips, estimate_clips, read_clips
from posecli.cli.threads import make_threads_patient
from posecli.defaults import HEAD_WEIGHTS, POSE_WEIGHTS
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.evaluation.clips import Clip
    from posecli.evaluation.judgement import BoxOrigin, KeypointReport
    from posecli.evaluation.video_keypoints import VideoMode
    from posecli.formats.ground_truth import GroundTruth
    from posecli.records import ImageArray

app = typer.Typer(help="Measure weights, or finished poses, against labels.", no_args_is_help=True)
app.command("joints")(joints)

_BOXES, _MODES = ("given", "detected"), ("clip", "key", "still")

_Annotations = Annotated[Path, typer.Option("--annotations", help="Labels, COCO style.")]
_VideoAnnotations = Annotated[
    Path, typer.Option("--annotations", help="Labels, COCO style; or a folder of them, one file a video.")
]
_Images = Annotated[Path, typer.Option("--images", help="Folder of the pictures.")]
_Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")]
_Modulo = Annotated[
    int, typer.Option("--image-id-modulo", min=0, help="Only images whose id is divisible by it (a held-out part).")
]
_Raw = Annotated[bool, typer.Option("--raw", help="Judge the network's own points, before smoothing.")]


@dataclass(frozen=True)
class _Sheet:
    """A contact sheet that is wanted: how many people, and the file."""

    count: int
    path: Path
    overwrite: bool


@app.command("keypoints")
def keypoints(
    annotations: _VideoAnnotations,
    images: Annotated[Path | None, typer.Option("--images", help="Labelled pictures: their folder.")] = None,
    video: Annotated[
        Path | None, typer.Option("--video", help="A labelled video; or a folder of them, named as the labels.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="Poses of a labelled video (posecli annotate); or a folder: NAME.poses.json."
        ),
    ] = None,
    boxes: Annotated[
        str,
        typer.Option("--boxes", help="given: the labelled boxes. detected: a detector's (videos: posecli annotate)."),
    ] = "given",
    weights: Annotated[str, typer.Option("--weights", help="Pose weights: a name or a file.")] = POSE_WEIGHTS,
    head_weights: options.HeadWeights = HEAD_WEIGHTS,
    detector: Annotated[str, typer.Option("--detector", help="For detected boxes.")] = "embedded",
    detector_weights: Annotated[
        str | None, typer.Option("--detector-weights", help="Detector weights: a name or a file.")
    ] = None,
    window_mode: Annotated[
        str,
        typer.Option("--window-mode", help="Videos. clip, key: see posecli annotate. still: every frame by itself."),
    ] = "clip",
    hop: Annotated[int | None, typer.Option("--hop", min=1, help="Videos: frames between windows.")] = None,
    mirror: Annotated[
        bool | None,
        typer.Option(help="Look at everyone a second time, mirrored, and average. Usual for pictures, not for videos."),
    ] = None,
    raw: _Raw = False,
    per_joint: Annotated[bool, typer.Option("--per-joint", help="Also a table by keypoint.")] = False,
    worst: Annotated[int, typer.Option("--worst", min=1, help="How many people the sheet shows.")] = 24,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Draw the worst people: poses in colour, labels in white. PNG.")
    ] = None,
    device: _Device = "cpu",
    image_id_modulo: _Modulo = 0,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """PCK and OKS AP of a pose network, on labelled pictures or video; or of a poses file.

    Example: posecli evaluate keypoints --annotations val.json --images images --per-joint

    Example: posecli evaluate keypoints --annotations labels.json --predictions walk.poses.json
    """
    make_threads_patient()
    _check_choice("--boxes", boxes, _BOXES)
    _check_choice("--window-mode", window_mode, _MODES)
    given = [path for path in (images, video, predictions) if path is not None]
    if len(given) != 1:
        raise ConfigError("one of --images, --video and --predictions is needed, and only one")
    drawing = None if sheet is None else _checked_sheet(_Sheet(worst, sheet, overwrite))
    chosen = KeypointOptions(
        boxes=cast("BoxOrigin", boxes),
        weights=weights,
        head_weights=options.or_none(head_weights),
        detector=detector,
        detector_weights=detector_weights,
        window_mode=cast("VideoMode", window_mode),
        mirror=images is not None if mirror is None else mirror,
        hop=hop,
        raw=raw,
        device=device,
        modulo=image_id_modulo,
    )
    if images is not None:
        report = _judge_stills(annotations, images, chosen, drawing)
    elif predictions is not None:
        clips = read_clips(annotations, predictions, is_raw=raw, modulo=image_id_modulo)
        report = _judge_clips(clips, "predicted", drawing)
    else:
        gather = estimate_clips if chosen.boxes == "given" else annotate_clips
        report = _judge_clips(gather(annotations, given[0], chosen), chosen.boxes, drawing)
    _show(report, as_json=as_json)
    if per_joint and not as_json:
        _show_joints(report)


@app.command("detector")
def detector(
    annotations: _Annotations,
    images: _Images,
    detector: Annotated[str, typer.Option("--detector", help="embedded, or yolo:FILE.")] = "embedded",
    weights: Annotated[str | None, typer.Option("--weights", help="Detector weights: a name or a file.")] = None,
    device: _Device = "cpu",
    image_id_modulo: _Modulo = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """AP and recall of a person detector; recall by the height of people, precision and recall by score.

    Example: posecli evaluate detector --annotations valid.json --images images
    """
    make_threads_patient()
    from posecli.formats.ground_truth import read_ground_truth

    truth = _held_out(read_ground_truth(annotations), image_id_modulo)
    from posecli.evaluation.boxes import evaluate_detector
    from posecli.people.detector import create_detector

    finder = create_detector(detector, device=device, weights=weights, min_score=0.01)
    with console.progress("evaluate") as line:
        report = evaluate_detector(finder, truth, images, progress=line)
    _show(report, as_json=as_json)
    if not as_json:
        heads = ("min score", "precision", "recall", "tall people")
        _print_columns(
            heads,
            [(f"{p.min_score:g}", [p.precision, p.recall, p.tall_recall]) for p in report.operating_points],
        )


@app.command("tracking")
def tracking(
    annotations: _VideoAnnotations,
    predictions: Annotated[
        Path, typer.Option("--predictions", help="Poses (posecli annotate); or a folder: NAME.poses.json.")
    ],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """HOTA, IDF1 and MOTA of the tracks of a poses file; by boxes and, where keypoints are labelled, by poses (OKS).

    Example: posecli evaluate tracking --annotations labels.json --predictions walk.poses.json
    """
    clips = read_clips(annotations, predictions)
    from posecli.evaluation.tracking import evaluate_tracking

    report = evaluate_tracking(clips)
    if as_json:
        console.print_json(report.to_json())
        return
    _print_columns(("metric", *report.scores), report.rows())
    for switch in next(iter(report.scores.values())).switches:
        console.info(
            f"{switch['clip']}, frame {switch['frame_index']}: "
            f"person {switch['person']} goes from track {switch['from_track']} to {switch['to_track']}"
        )


app.command("lifter")(evaluate_lifter.lifter)


@app.command("jitter")
def jitter(
    poses: Annotated[list[Path], typer.Argument(metavar="POSES...", help="Files that posecli annotate wrote.")],
    per_joint: Annotated[bool, typer.Option("--per-joint", help="Also a table by keypoint.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """How much poses tremble: the mean acceleration of keypoints relative to the person; no labels needed.

    Per cent of the box size (root of its area) per frame squared; and box sizes per second squared. Compare files of the same video.

    Example: posecli evaluate jitter walk.poses.json other.poses.json
    """
    from posecli.formats.coco import read_coco_dataset

    annotations = [read_coco_dataset(path) for path in poses]
    from posecli.evaluation.jitter import measure_jitter

    reports = [measure_jitter(annotation) for annotation in annotations]
    if as_json:
        console.print_json([{"poses": path, **r.to_json()} for path, r in zip(poses, reports, strict=True)])
        return
    heads = ("poses", "raw %/frame2", "final %/frame2", "raw sizes/s2", "final sizes/s2")
    pairs = list(zip(poses, reports, strict=True))
    _print_columns(
        heads,
        [
            (
                str(path),
                [r.raw.percent_per_frame2, r.final.percent_per_frame2, r.raw.sizes_per_s2, r.final.sizes_per_s2],
            )
            for path, r in pairs
        ],
        decimals=3,
    )
    for path, report in pairs if per_joint else []:
        console.print_data(f"\n{path}")
        rows = [(name, list(values)) for name, values in report.per_keypoint.items()]
        _print_columns(("keypoint", "raw %/frame2", "final %/frame2"), rows, decimals=3)


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{option} {value!r} is not one of {', '.join(choices)}")


def _checked_sheet(sheet: _Sheet) -> _Sheet:
    """A sheet that cannot be written is told before the work, not after."""
    from posecli.evaluation.sheet_file import check_sheet

    check_sheet(sheet.path, overwrite=sheet.overwrite)
    return sheet


def _held_out(truth: GroundTruth, modulo: int) -> GroundTruth:
    from posecli.formats.ground_truth import keep_images

    return keep_images(truth, lambda image_id: image_id % modulo == 0) if modulo else truth


def _judge_stills(annotations: Path, images: Path, chosen: KeypointOptions, sheet: _Sheet | None) -> KeypointReport:
    from posecli.formats.ground_truth import read_ground_truth

    truth = _held_out(read_ground_truth(annotations), chosen.modulo)
    from posecli.evaluation.keypoints import evaluate_keypoints
    from posecli.evaluation.worst_sheet import worst_stills
    from posecli.people.detector import create_detector
    from posecli.pose.estimator import PoseEstimator

    estimator = PoseEstimator.load(
        chosen.weights, head_weights=chosen.head_weights, device=chosen.device, is_mirrored=chosen.mirror
    )
    finder = None
    if chosen.boxes == "detected":
        finder = create_detector(chosen.detector, device=chosen.device, weights=chosen.detector_weights)
    with console.progress("evaluate") as line:
        report = evaluate_keypoints(
            estimator,
            truth,
            images,
            boxes="given" if finder is None else "detected",
            detector=finder,
            progress=line,
        )
    if sheet is not None:
        _write_sheet(worst_stills(report.people, truth, images, sheet.count), sheet)
    return report


def _judge_clips(clips: list[Clip], boxes: BoxOrigin, sheet: _Sheet | None) -> KeypointReport:
    from posecli.evaluation.clip_keypoints import judge_clips

    judged = judge_clips(clips, boxes=boxes)
    if sheet is not None:
        _write_sheet(judged.worst_sheet(sheet.count), sheet)
    return judged.report


def _write_sheet(picture: ImageArray, sheet: _Sheet) -> None:
    from posecli.evaluation.sheet_file import write_sheet

    write_sheet(picture, sheet.path, overwrite=sheet.overwrite)
    console.info(f"wrote {sheet.path}")


def _show(report: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(report.to_json())
        return
    console.print_table([{"metric": name, "value": _cell(value, 1)} for name, value in report.rows()])


def _show_joints(report: KeypointReport) -> None:
    console.print_data("")
    _print_columns(("keypoint", *report.pck), report.keypoint_rows())


def _print_columns(
    heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float | int | None]]], *, decimals: int = 1
) -> None:
    """A table: a name, then numbers."""
    table: list[Mapping[str, object]] = [
        dict(zip(heads, (name, *(_cell(value, decimals) for value in values)), strict=True)) for name, values in rows
    ]
    console.print_table(table)


def _cell(value: float | int | None, decimals: int) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{decimals}f}"
