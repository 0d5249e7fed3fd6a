"""Single rendered pictures of several people or nobody, with the boxes and keypoints of everybody: what a detector learns from."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from posecli.atomic import write_atomic
from posecli.errors import ConfigError, FormatError, OutputError, PoseCliError
from posecli.formats.coco import coco_category
from posecli.formats.stream import write_document
from posecli.geometry import xyxy_to_xywh
from posecli.records import FloatArray, ImageArray
from posecli.skeletons import POSECLI19
from posecli.training.synthetic.assets import AssetPaths, Assets, describe, open_assets
from posecli.training.synthetic.background import Backdrop, Place, Wall, add_things, clutter_wall, photograph_wall
from posecli.training.synthetic.camera import NEAR_M, Camera, look_at
from posecli.training.synthetic.clip_scene import ClipConfig, stage_clip
from posecli.training.synthetic.degrade import degrade, encode_jpeg, random_degradation
from posecli.training.synthetic.labels import OUTSIDE, PersonTruth, frame_truth
from posecli.training.synthetic.lighting import Environment
from posecli.training.synthetic.occluders import Cover, random_cover
from posecli.training.synthetic.rendering import RENDERER_VERSION
from posecli.training.synthetic.rotations import Reals, about_y
from posecli.training.synthetic.scene import Scene, render_frame
from posecli.video.overlay import DrawnPose, OverlayStyle, draw_poses

_STREAM = 0x51C  # pictures and clips of the same seed are different scenes
_ATTEMPTS = 20
_SIZES = ((640, 480), (640, 360), (480, 640), (512, 512))
_SECONDS, _FPS = 1.5, 30.0  # of the clip of which a picture is a frame: long enough to walk past each other
_QUALITY = 92
_MIN_AREA_PX = 12.0  # who shows less is not in the picture
_BACKDROP_SHARES = (0.45, 0.15, 0.28, 0.12)  # a place, a place full of things, a photograph, clutter
_SHOT_SHARES = (0.45, 0.17, 0.22, 0.16)  # as staged, from far away, close, with somebody on the picture's edge
_CROSSING, _COVERED = 0.35, 0.35  # how often
_LARGEST_ZOOM = 8.0
_MARGIN_PX = 4  # exposures of a picture are shifted by parts of a pixel
_MARGIN_M = 0.05  # for rounding
_SHEET_PICTURES, _SHEET_COLUMNS, _CELL_WH = 12, 4, (400, 300)


@dataclass(frozen=True, slots=True)
class PictureConfig:
    """What is wanted: ``size_wh`` px (``None``: several, landscape and portrait), ``people``: fewest and most in a scene."""

    size_wh: tuple[int, int] | None = None
    people: tuple[int, int] = (0, 6)

    def __post_init__(self) -> None:
        least, most = self.people
        if not 0 <= least <= most <= 20:
            raise ConfigError(f"people {least}..{most}: between 0 and 20, fewest first")
        if self.size_wh is not None and min(self.size_wh) < 64:
            raise ConfigError(f"pictures of {self.size_wh[0]}x{self.size_wh[1]} px", hint="at least 64 px a side")


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """``image`` (H, W, 3) RGB, ``people``: those of whom something is to be seen."""

    image: ImageArray
    people: tuple[PersonTruth, ...]


def render_picture(assets: Assets, config: PictureConfig, *, seed: int, index: int) -> RenderedPicture:
    """Render a picture; the same for the same assets, configuration, seed and index.

    Raises:
        PoseCliError: Twenty scenes in a row were to show somebody and did not.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((_STREAM, seed, index, attempt))
        count = int(rng.integers(config.people[0], config.people[1] + 1))
        picture = _try_picture(assets, config, count, rng)
        if picture is not None:
            return picture
    raise PoseCliError(f"picture {index} of seed {seed}: nobody to be seen in {_ATTEMPTS} scenes")


def render_pictures(
    paths: AssetPaths,
    folder: Path,
    config: PictureConfig,
    *,
    count: int,
    seed: int,
    num_workers: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Render pictures 0 to ``count`` - 1 into a folder; those that are there already stay.

    The pictures lie in ``images``; ``train.json`` or ``test.json`` (the split's name; COCO's form) describes all of them,
    ``preview.png`` shows some. What is needed to go on after an interruption lies in ``labels``, a file a picture. Picture i depends
    on the assets, the configuration, the seed and i only, whatever the number of processes.

    Args:
        paths: What scenes are made of.
        folder: Created if missing.
        config: What the pictures are like.
        count: Pictures in the end.
        seed: Any number.
        num_workers: Processes.
        report: Called with (done, all) pictures.

    Returns:
        The file with the annotations.

    Raises:
        ConfigError: The folder holds pictures of other assets, another configuration or another seed.
        FormatError: An input cannot be read.
        OutputError: The folder cannot be written.
    """
    open_assets(paths)  # mistakes are told here, not by a worker
    try:
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error
    wanted = {"size": list(config.size_wh or ()), "people": list(config.people)}
    recipe = {"version": RENDERER_VERSION, "seed": seed, **wanted, **describe(paths)}
    labels = [_label_path(folder, index) for index in range(count)]
    missing = [index for index, path in enumerate(labels) if not _is_made(path, recipe)]
    done = count - len(missing)
    if report is not None:
        report(done, count)
    for _ in _run(_Worker(paths, folder, config, recipe, seed), missing, num_workers):
        done += 1
        if report is not None:
            report(done, count)
    return _gather(folder, labels, paths.split)


def _try_picture(assets: Assets, config: PictureConfig, count: int, rng: np.random.Generator) -> RenderedPicture | None:
    size_wh = config.size_wh or _SIZES[int(rng.integers(len(_SIZES)))]
    if count == 0:
        return RenderedPicture(_degraded(_without_people(assets, size_wh, rng), (), rng), ())
    staged = _stage(assets, size_wh, count, rng)
    if staged is None:
        return None
    scene, frame = staged
    rendered = render_frame(scene, frame)
    people = tuple(p for p in frame_truth(scene, frame, rendered) if p.box is not None and p.area_px >= _MIN_AREA_PX)
    return RenderedPicture(_degraded(rendered.image, people, rng), people) if people else None


def _degraded(image: ImageArray, people: tuple[PersonTruth, ...], rng: np.random.Generator) -> ImageArray:
    sizes = [float((p.box[2:] - p.box[:2]).max()) for p in people if p.box is not None]
    person_px = float(np.median(sizes)) if sizes else image.shape[0] / 2
    how = random_degradation(rng, person_px=person_px, brightness=float(image.mean()), allow_video=False)
    return degrade([image], how, rng)[0]


def _without_people(assets: Assets, size_wh: tuple[int, int], rng: np.random.Generator) -> ImageArray:
    """What detectors take for people: places, photographs of anything else, clutter, patterned things in front of it."""
    eye = np.array([0.0, rng.uniform(0.5, 2.5), 0.0])
    ahead = about_y(rng.uniform(0, 2 * np.pi)) @ np.array([0.0, np.tan(np.radians(rng.normal(-5, 8))), 1.0])
    focal = size_wh[0] / 2 / np.tan(np.radians(rng.uniform(35, 75)) / 2)
    view = look_at(eye, eye + ahead, roll=np.radians(rng.normal(0, 2.5)))
    camera = replace(view, focal_px=float(focal), centre=(np.array(size_wh) - 1) / 2, size_wh=size_wh)
    image = _choose_backdrop(assets, assets.environment(rng), camera, rng).picture(camera)
    width, height = size_wh
    if rng.random() < _COVERED:
        part = np.array([width * 0.25, height * 0.2, width * 0.75, height * 0.8], np.float32)
        for _ in range(int(rng.integers(1, 4))):
            image, _ = random_cover(part, size_wh, rng, assets.photographs).apply(image, 0)
    return image


def _stage(assets: Assets, size_wh: tuple[int, int], count: int, rng: np.random.Generator) -> tuple[Scene, int] | None:
    """A scene of a clip, and the frame of it that becomes the picture; ``None`` if somebody or something is behind the camera."""
    row = int(rng.integers(len(assets.environment_paths)))
    here = replace(assets, environment_paths=[assets.environment_paths[row]])  # one for the light and for the backdrop
    scene = stage_clip(here, ClipConfig(_SECONDS, _FPS, size_wh, (count, count)), rng)
    frame = _choose_frame(scene, rng)
    camera = _choose_shot(scene.cameras[frame], _boxes(scene, scene.cameras[frame], frame), rng)
    scene = replace(
        scene,
        cameras=(camera,) * len(scene.cameras),
        backdrop=_choose_backdrop(assets, here.environment(rng), camera.widened(_MARGIN_PX), rng),
        covers=_covers(assets, _boxes(scene, camera, frame), size_wh, rng),
    )
    for actor in scene.actors:
        depth = float(np.median(camera.project(actor.points[scene.instant(frame)])[1]))
        actor.show(max(depth, 0.1) / camera.focal_px)
    return (scene, frame) if _is_drawable(scene, frame) else None


def _is_drawable(scene: Scene, frame: int) -> bool:
    """Whether a part of every body is before the camera.

    `posecli.training.synthetic.shading.shade_surface` must not be given others: it would read beyond the picture.
    """
    camera = scene.cameras[frame]
    instants = range(frame * scene.num_exposures, (frame + 1) * scene.num_exposures)
    depths = (camera.project(body.at(k)[0].astype(np.float64))[1] for body in scene.bodies for k in instants)
    return all(float(depth.max()) > NEAR_M + _MARGIN_M for depth in depths)


def _choose_frame(scene: Scene, rng: np.random.Generator) -> int:
    """Any, or the one in which two people are nearest each other in the picture."""
    count = len(scene.cameras)
    frame = int(rng.integers(count))
    if len(scene.actors) < 2 or rng.random() > _CROSSING:
        return frame
    hips = np.stack([actor.hips[[scene.instant(k) for k in range(count)]] for actor in scene.actors])
    places = np.stack([camera.project(hips[:, k])[0] for k, camera in enumerate(scene.cameras)])
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    apart[:, np.arange(len(hips)), np.arange(len(hips))] = np.inf
    return int(apart.min(axis=(1, 2)).argmin())


def _boxes(scene: Scene, camera: Camera, frame: int) -> Reals:
    """(N, 4) xyxy px around the keypoints of the people."""
    instant = scene.instant(frame)
    places = np.stack([camera.project(actor.points[instant])[0] for actor in scene.actors])
    return np.concatenate([places.min(axis=1), places.max(axis=1)], axis=1)


def _choose_shot(camera: Camera, boxes: Reals, rng: np.random.Generator) -> Camera:
    """The camera where it is, or with another lens and pointed elsewhere: at somebody close, at the edge, or all far away."""
    size = np.array(camera.size_wh, np.float64)
    kind = rng.choice(4, p=_SHOT_SHARES)
    if kind == 0:
        return camera
    box = boxes[int(rng.integers(len(boxes)))]
    middle, wh = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 8.0)
    if kind == 1:
        zoom, target = rng.uniform(0.35, 0.8), size * rng.uniform(0.25, 0.75, 2)
    elif kind == 2:
        zoom = min(float(size.min() * rng.uniform(0.6, 1.8) / wh.max()), _LARGEST_ZOOM)
        target = size * rng.uniform(0.2, 0.8, 2)
        if rng.random() < 0.75:  # the upper end is what people point cameras at
            target[1] = size[1] * rng.uniform(0.05, 0.25) + wh[1] * zoom / 2
    else:
        zoom, target = rng.uniform(0.8, 1.6), size * rng.uniform(0.3, 0.7, 2)
        axis = 0 if rng.random() < 0.7 else 1
        inside = rng.uniform(-0.3, 0.35) * wh[axis] * zoom
        target[axis] = inside if axis == 0 and rng.random() < 0.5 else size[axis] - inside
    return replace(camera, focal_px=camera.focal_px * zoom, centre=target - (middle - camera.centre) * zoom)


def _choose_backdrop(assets: Assets, environment: Environment, wide: Camera, rng: np.random.Generator) -> Backdrop:
    kind = rng.choice(4, p=_BACKDROP_SHARES)
    photograph = assets.photographs.pick(rng) if kind == 2 else None
    if photograph is not None:
        return photograph_wall(photograph, wide, rng)
    if kind == 3:
        return clutter_wall(wide, rng, assets.photographs)
    picture = Place(environment, environment.exposure * float(np.exp(rng.normal(0, 0.25)))).picture(wide)
    if kind == 1:
        add_things(picture, rng, assets.photographs, count=int(rng.integers(1, 14)))
    return Wall(picture, wide, has_ground=True)


def _covers(assets: Assets, boxes: Reals, size_wh: tuple[int, int], rng: np.random.Generator) -> tuple[Cover, ...]:
    """Flat things before some of the people."""
    if rng.random() > _COVERED:
        return ()
    chosen = boxes[rng.integers(len(boxes), size=int(rng.integers(1, 3)))].astype(np.float32)
    covers = (random_cover(box, size_wh, rng, assets.photographs) for box in chosen)
    return tuple(replace(cover, velocity=np.zeros(2)) for cover in covers)


def _run(worker: _Worker, indices: Sequence[int], num_workers: int) -> Iterator[None]:
    if num_workers == 1 or len(indices) < 2:
        yield from map(worker, indices)
        return
    with multiprocessing.get_context("spawn").Pool(min(num_workers, len(indices))) as pool:
        yield from pool.imap_unordered(worker, indices, chunksize=4)


_OPENED: dict[AssetPaths, Assets] = {}  # in every process


@dataclass(frozen=True, slots=True)
class _Worker:
    """Renders a picture; assets are opened in the process that does it. The label comes last: it says that the picture is there."""

    paths: AssetPaths
    folder: Path
    config: PictureConfig
    recipe: dict[str, Any]
    seed: int

    def __call__(self, index: int) -> None:
        cv2.setNumThreads(1)
        if self.paths not in _OPENED:
            _OPENED[self.paths] = open_assets(self.paths)
        picture = render_picture(_OPENED[self.paths], self.config, seed=self.seed, index=index)
        path = _label_path(self.folder, index)
        height, width = picture.image.shape[:2]
        image = {"id": index + 1, "file_name": f"{path.stem}.jpg", "width": width, "height": height}
        data = encode_jpeg(picture.image, _QUALITY).tobytes()
        write_atomic(self.folder / "images" / f"{path.stem}.jpg", data, overwrite=True)
        label = {"made": self.recipe, "image": image, "people": [_encode(person) for person in picture.people]}
        write_atomic(path, orjson.dumps(label), overwrite=True)


def _label_path(folder: Path, index: int) -> Path:
    return folder / "labels" / f"{index + 1:06d}.json"


def _encode(person: PersonTruth) -> dict[str, Any]:
    """The part of COCO's object that is the person's own. ``v``: 2 seen, 1 hidden, 0 outside the picture."""
    assert person.box is not None  # those without are not shown
    is_inside = person.visibility != OUTSIDE
    xy = np.where(is_inside[:, None], person.keypoints.astype(np.float64).round(2), 0.0)
    rows = zip(xy.tolist(), person.visibility.tolist(), strict=True)
    return {
        "iscrowd": 0,
        "bbox": xyxy_to_xywh(person.box).astype(np.float64).round(2).tolist(),
        "area": round(person.area_px, 2),
        "num_keypoints": int(is_inside.sum()),
        "keypoints": [value for (x, y), v in rows for value in (x, y, v)],
    }


def _read_label(path: Path) -> dict[str, Any]:
    try:
        label = orjson.loads(path.read_bytes())
        return {key: label[key] for key in ("made", "image", "people")}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: damaged: {error}", hint="delete it and render again") from error


def _is_made(path: Path, recipe: dict[str, Any]) -> bool:
    """Whether the picture of a label is there, made in the same way."""
    if not path.exists():
        return False
    found = _read_label(path)["made"]
    if found != recipe:
        different = sorted(key for key in {*found, *recipe} if found.get(key) != recipe.get(key))
        raise ConfigError(
            f"{path}: its picture is of another kind: {', '.join(different)} differ", hint="render into another folder"
        )
    return True


def _gather(folder: Path, labels: list[Path], split: str) -> Path:
    """One file of all labels, and a sheet of some pictures."""
    rows = [_read_label(path) for path in labels]
    people = ((row["image"]["id"], person) for row in rows for person in row["people"])
    annotations = (
        {"id": row_id, "image_id": image_id, "category_id": 1, **person}
        for row_id, (image_id, person) in enumerate(people, start=1)
    )
    out = folder / f"{split}.json"
    head = {
        "info": {
            "description": "rendered by posecli synth pictures: exact; boxes of what is seen",
            "made": rows[0]["made"],
        },
        "categories": [coco_category(POSECLI19)],
    }
    lists = {"images": (row["image"] for row in rows), "annotations": annotations}
    write_document(out, head, lists, overwrite=True)
    shown = np.unique(np.linspace(0, len(rows) - 1, _SHEET_PICTURES).round().astype(int))
    cells = [_cell(folder / "images" / rows[k]["image"]["file_name"], rows[k]["people"]) for k in shown]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % _SHEET_COLUMNS)
    lines = [np.hstack(cells[k : k + _SHEET_COLUMNS]) for k in range(0, len(cells), _SHEET_COLUMNS)]
    sheet = cv2.imencode(".png", cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))[1]
    write_atomic(folder / "preview.png", sheet.tobytes(), overwrite=True)
    return out


def _cell(path: Path, people: list[dict[str, Any]]) -> ImageArray:
    """A picture with its boxes and points, scaled before drawing, so that lines stay legible."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FormatError(f"{path}: cannot be read as an image", hint="delete its label and render again")
    factor = float(min(_CELL_WH[0] / image.shape[1], _CELL_WH[1] / image.shape[0]))
    small = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    poses = [_drawn(row, person, factor) for row, person in enumerate(people)]
    cell = np.zeros((_CELL_WH[1], _CELL_WH[0], 3), np.uint8)
    drawn = draw_poses(small, poses, style=OverlayStyle(line_scale=0.5, has_labels=False))[: _CELL_WH[1], : _CELL_WH[0]]
    cell[: drawn.shape[0], : drawn.shape[1]] = drawn
    return cell


def _drawn(row: int, person: dict[str, Any], factor: float) -> DrawnPose:
    xyv = np.array(person["keypoints"], np.float32).reshape(-1, 3)
    x, y, width, height = person["bbox"]
    points = (
        np.vstack([xyv[:, :2], [[x, y], [x + width, y + height]]]) + 0.5
    ) * factor - 0.5  # pixel edges fall on edges
    scaled: FloatArray = np.asarray(points, np.float32)
    return DrawnPose(row, scaled[:-2], (xyv[:, 2] > 0).astype(np.float32), scaled[-2:].reshape(4), POSECLI19)
