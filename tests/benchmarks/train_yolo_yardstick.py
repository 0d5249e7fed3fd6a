"""A yardstick for PersonNet: YOLO11n's architecture on the same pictures, trained from nothing by ultralytics' trainer (AGPL-3.0).

    python tests/benchmarks/train_yolo_yardstick.py PERSON_BOXES_DIR RUN_DIR --epochs 18

PERSON_BOXES_DIR holds ``train.json``, ``valid.json`` (COCO style) and ``images``. The trainer's own settings but for the size of the
pictures (320 px, as they are), one process and one thread. Judged by the code that judges PersonNet: the last weights, pictures at
their own size and at twice that. Needs the extra ``posecli[yolo]`` and a torchvision that fits the installed torch: unlike posecli the
trainer uses its compiled part. Nothing is sent: the package's own settings for that are switched off before it is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

SIDE_PX = 320
MIN_SCORE = 0.001


def main() -> None:
    """Lay the pictures out, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=18)
    arguments = parser.parse_args()
    data, run = arguments.data.resolve(), arguments.run.resolve()
    weights = run / "yolo" / "weights" / "last.pt"
    if not weights.exists():
        train(lay_out(data, run), run, epochs=arguments.epochs)
    sys.stdout.write(json.dumps(judge(weights, data), indent=2) + "\n")


def lay_out(data: Path, run: Path) -> Path:
    """Pictures and boxes as the trainer wants them; returns the file that names them."""
    root = run / "data"
    for part in ("train", "valid"):
        content = json.loads((data / f"{part}.json").read_text())
        images, labels = root / "images" / part, root / "labels" / part
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        boxes: dict[int, list[list[float]]] = {}
        for person in content["annotations"]:
            if not person.get("iscrowd"):
                boxes.setdefault(person["image_id"], []).append(person["bbox"])
        for image in content["images"]:
            source = data / "images" / image["file_name"]
            (images / source.name).unlink(missing_ok=True)
            (images / source.name).symlink_to(source)
            rows = [_row(box, image) for box in boxes.get(image["id"], [])]
            (labels / f"{source.stem}.txt").write_text("\n".join(rows))
    listing = run / "data.yaml"
    listing.write_text(f"path: {root}\ntrain: images/train\nval: images/valid\nnames: {{0: person}}\n")
    return listing


def _row(box: list[float], image: dict[str, Any]) -> str:
    """Class, middle and size, as parts of the picture."""
    x, y, w, h = box
    width, height = image["width"], image["height"]
    return f"0 {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}"


def train(listing: Path, run: Path, *, epochs: int) -> None:
    """From nothing, one thread."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    import torch
    from ultralytics import YOLO, settings

    torch.set_num_threads(1)
    settings.update({"sync": False})
    YOLO("yolo11n.yaml").train(
        data=str(listing),
        epochs=epochs,
        close_mosaic=max(1, round(0.22 * epochs)),
        imgsz=SIDE_PX,
        batch=16,
        device="cpu",
        workers=0,
        cache="ram",
        amp=False,
        plots=False,
        val=False,
        seed=0,
        project=str(run),
        name="yolo",
        exist_ok=True,
    )


def judge(weights: Path, data: Path) -> dict[str, Any]:
    """AP, AP50 and recall by the side that pictures are scaled to."""
    from posecli.evaluation.boxes import evaluate_detector
    from posecli.formats.ground_truth import read_ground_truth
    from posecli.people.yolo import YoloDetector

    truth = read_ground_truth(data / "valid.json")
    found = {}
    for side in (SIDE_PX, 2 * SIDE_PX):
        detector = YoloDetector(str(weights), min_score=MIN_SCORE, longer_side_px=side)
        found[f"{side} px"] = evaluate_detector(detector, truth, data / "images").to_json()
    return found


if __name__ == "__main__":
    main()
