"""``posecli evaluate``: how good weights are, on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from posecli.cli import console, options
from posecli.errors import ConfigError

app = typer.Typer(help="Measure weights on labelled pictures.", no_args_is_help=True)

_Annotations = Annotated[Path, typer.Option("--annotations", help="Labels, COCO style.")]
_Images = Annotated[Path, typer.Option("--images", help="Folder of the pictures.")]
_Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")]
_Modulo = Annotated[
    int, typer.Option("--image-id-modulo", min=0, help="Only images whose id is divisible by it (a held-out part).")
]


@app.command("keypoints")
def keypoints(
    annotations: _Annotations,
    images: _Images,
    boxes: Annotated[str, typer.Option("--boxes", help="given: the labelled boxes. detected: a detector's.")] = "given",
    weights: Annotated[str, typer.Option("--weights", help="Pose weights: a name or a file.")] = "glsmamba-s",
    detector: Annotated[str, typer.Option("--detector", help="For detected boxes.")] = "embedded",
    device: _Device = "cpu",
    image_id_modulo: _Modulo = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """PCK and OKS AP of a pose network.

    Example: posecli evaluate keypoints --annotations val.json --images images --json
    """
    if boxes not in ("given", "detected"):
        raise ConfigError(f"--boxes {boxes!r} is neither given nor detected")
    truth = _truth(annotations, image_id_modulo)
    from posecli.evaluation.keypoints import evaluate_keypoints
    from posecli.people.detector import create_detector
    from posecli.pose.estimator import PoseEstimator

    estimator = PoseEstimator.load(weights, device=device)
    finder = create_detector(detector, device=device) if boxes == "detected" else None
    with console.progress("evaluate") as line:
        report = evaluate_keypoints(estimator, truth, images, boxes=boxes, detector=finder, progress=line)  # type: ignore[arg-type]
    _show(report, as_json=as_json)


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
    """AP and recall of a person detector.

    Example: posecli evaluate detector --annotations valid.json --images images
    """
    truth = _truth(annotations, image_id_modulo)
    from posecli.evaluation.boxes import evaluate_detector
    from posecli.people.detector import create_detector

    finder = create_detector(detector, device=device, weights=weights, min_score=0.01)
    with console.progress("evaluate") as line:
        report = evaluate_detector(finder, truth, images, progress=line)
    _show(report, as_json=as_json)


def _truth(annotations: Path, modulo: int) -> Any:
    from posecli.formats.ground_truth import keep_images, read_ground_truth

    truth = read_ground_truth(annotations)
    return keep_images(truth, lambda image_id: image_id % modulo == 0) if modulo else truth


def _show(report: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(report.to_json())
        return
    console.print_table(
        [{"metric": name, "value": "-" if value is None else f"{value:.1f}"} for name, value in report.rows()]
    )
