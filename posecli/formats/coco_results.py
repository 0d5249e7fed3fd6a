"""The COCO results file: a bare list for evaluators, 51 numbers a pose, image ids as in the data set file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posecli.formats.coco import coco_image_id
from posecli.formats.rows import pose_rows
from posecli.formats.stream import write_list
from posecli.records import Annotation
from posecli.skeletons import COCO17


def write_coco_results(annotation: Annotation, path: Path, *, overwrite: bool = False) -> None:
    """Write poses as COCO keypoint results.

    The third number of a keypoint is its score (evaluators skip it); a missing keypoint is 0, 0, 0. ``score`` ranks whole poses,
    see `posecli.formats.rows.instance_scores`.

    Args:
        annotation: The poses.
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    write_list(path, _results(annotation), overwrite=overwrite)


def _results(annotation: Annotation) -> Iterator[dict[str, Any]]:
    for row in pose_rows(annotation.poses, COCO17, present_flag=1):
        keypoints = row.keypoints.copy()
        keypoints[2::3] = row.scores
        yield {
            "image_id": coco_image_id(row.frame_index),
            "category_id": 1,
            "keypoints": keypoints,
            "score": row.score,
            "bbox": row.bbox,
            "track_id": row.track_id,
        }
