"""The whole way: bad videos, images and boxes through annotate, with overlay and sheet, by a tiny network at random weights."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from posecli.crew import Crew
from posecli.formats.boxes import read_boxes
from posecli.formats.coco import read_coco_dataset
from posecli.people.boxes_file import BoxesDetector
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.models import Models, load_models
from posecli.pipeline.settings import AnnotateSettings
from posecli.pose.checkpoint import save_network
from posecli.pose.network import PoseNetwork
from posecli.video.render import render_overlay
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_documents import example
from tests.hostile.hostile_footage import footage, kinds
from tests.hostile.hostile_mutation import spell
from tests.hostile.hostile_stills import cases as still_cases
from tests.hostile.hostile_videos import cases as video_cases
from tests.tiny_networks import POSE

# of each kind of bad video every so many go the whole way
_EVERY = 9
_ALL_OF = ("tiny pictures", "turned oddly", "joined, sizes change", "sound", "times that run wrong")


@cache
def models() -> Models:
    """Loaded once, as by a worker of a batch."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = PoseNetwork(POSE)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.safetensors"
        save_network(path, network.state_dict(), POSE, metadata={})
        return load_models(AnnotateSettings(weights=str(path), head_weights=None, detector="full-frame"), Crew(1))


def cases() -> list[Case]:
    """About 170."""
    models()
    seen: dict[str, int] = {}
    found = []
    for case in [*video_cases(), *still_cases()]:
        seen[case.kind] = seen.get(case.kind, -1) + 1
        if case.kind in _ALL_OF or seen[case.kind] % _EVERY == 0:
            found.append(Case("annotated: " + case.kind, case.name, _whole_way(case), "hostile|x.overlay.mp4"))
    return [*found, *_box_cases(), *_render_cases()]


def _whole_way(case: Case) -> Callable[[Places], None]:
    """What the case puts into its folder, annotated; what reading alone makes of it is another test's business."""

    def run(places: Places) -> None:
        with contextlib.suppress(Exception):
            case.run(places)
        (video,) = (path for path in places.inside.iterdir() if path.name.startswith("hostile"))
        _annotate(video, places, models())

    return run


def _annotate(video: Path, places: Places, loaded: Models) -> None:
    outputs = Outputs(
        places.out / "x.poses.json", overlay=places.out / "x.overlay.mp4", sheet=places.out / "x.sheet.png"
    )
    result = annotate(video, outputs, models=loaded)
    annotation = read_coco_dataset(outputs.poses)
    assert len(annotation.frames) == len(result.annotation.frames) > 0
    assert all("\n" not in line for line in (*result.warnings, *result.notes))


def _box_cases() -> list[Case]:
    boxes = {
        "huge": [[-1e17, -1e17, 1e17, 1e17]],
        "tiny": [[10, 10, 10.0001, 10.0001]],
        "far away": [[1e9, 1e9, 2e9, 2e9]],
        "left of the picture": [[-50, -50, -10, -10]],
        "a line": [[0, 20, 64, 20.001]],
        "five hundred": [[k % 60, k % 40, k % 60 + 4, k % 40 + 8] for k in range(500)],
        "none": [],
        "turned around": [[40, 40, 10, 10]],
        "not numbers": [["@NaN@", 0, 10, 10]],
        "endless": [["@1e400@", 0, 10, 10]],
    }

    def case(name: str) -> Case:
        def run(places: Places) -> None:
            video, path = places.inside / "walk.mp4", places.inside / "hostile.json"
            video.write_bytes(footage(".mp4"))
            frames = [{"frame_index": k, "boxes": boxes[name]} for k in (0, 1, 5, 2**62)]
            path.write_bytes(spell({"frames": frames}))
            tiny = models()
            detector = BoxesDetector(read_boxes(path))
            _annotate(video, places, Models(tiny.settings, tiny.crew, tiny.estimator, detector, None))

        return Case("annotated: boxes", name, run, "hostile")

    return [case(name) for name in boxes]


def _render_cases() -> list[Case]:
    """Poses of one video drawn on another file."""

    def case(name: str, data: bytes) -> Case:
        def run(places: Places) -> None:
            path = places.inside / f"hostile{Path(name).suffix}"
            path.write_bytes(data)
            render_overlay(example(path), places.out / "x.mp4", num_threads=1)

        return Case("drawn on another video", name, run, "hostile")

    return [case(name, data) for name, data in list(kinds().items())[:6]]
