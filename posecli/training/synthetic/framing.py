"""How a window's picture is composed: from where a person is seen, what of them is in the picture, how the camera moves meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posecli.pose.heads import HEAD_POINTS
from posecli.records import FloatArray
from posecli.training.synthetic.actor import Actor
from posecli.training.synthetic.camera import Camera, framed, look_at
from posecli.training.synthetic.rotations import Reals, about_x, about_y

NUM_FRAMES = 5
_MIN_DEPTH_M = 0.3
_HEAD_PX = (16.0, 90.0)  # of a portrait, from chin or neck to the top
_ROOM_IN_HEADS = 1.3


def random_view(main: Actor, rng: np.random.Generator) -> tuple[Camera, Reals]:
    """A camera of focal length 1 on the person, and the person's box in it over all frames."""
    choice = rng.random()
    if choice < 0.66:
        elevation = rng.normal(5, 10)
    elif choice < 0.9:
        elevation = rng.uniform(20, 75)
    else:
        elevation = rng.uniform(-25, 0)
    azimuth, roll = rng.uniform(0, 2 * np.pi), np.radians(rng.normal(0, 4 if rng.random() < 0.8 else 22))
    target = main.points.mean(axis=(0, 1)) + rng.normal(0, 0.15, 3)
    direction = about_y(azimuth) @ about_x(-np.radians(elevation)) @ np.array([0.0, 0.0, 1.0])
    distance = float(np.exp(rng.uniform(np.log(1.6), np.log(11.0))))
    count = len(main.points) // NUM_FRAMES
    instants = [frame * count + count // 2 for frame in range(NUM_FRAMES)]
    vertices = [main.body.at(i)[0][::3].astype(np.float64) for i in instants]
    while True:
        eye = target + direction * distance
        eye[1] = max(eye[1], 0.15)
        view = look_at(eye, target, roll=roll)
        seen = [view.project(v) for v in vertices]
        if min(float(depth.min()) for _, depth in seen) > _MIN_DEPTH_M:
            break
        distance *= 1.4
    places = np.concatenate([place for place, _ in seen])
    return view, np.concatenate([places.min(axis=0), places.max(axis=0)])


def frame_person(view: Camera, view_box: Reals, rng: np.random.Generator) -> tuple[Camera, FloatArray]:
    """Choose scale and picture; often the picture's edge cuts the person.

    Returns:
        The camera, and the person's box (4,) xyxy px in its picture, cut parts included.
    """
    wanted_px = rng.uniform(150, 196) if rng.random() < 0.6 else np.exp(rng.uniform(np.log(44), np.log(170)))
    kept = view_box.copy()
    wh = view_box[2:] - view_box[:2]
    cut_sides = np.zeros(4, np.bool_)
    if rng.random() < 0.3:
        side = int(rng.choice(4, p=[0.16, 0.08, 0.16, 0.6]))
        axis = side % 2
        part = rng.uniform(0.15, 0.72 if side == 3 else 0.4) * wh[axis]
        kept[side] += part if side < 2 else -part
        cut_sides[side] = True
    focal = wanted_px / float((kept[2:] - kept[:2]).max())
    kept_wh = (kept[2:] - kept[:2]) * focal
    room = np.maximum(kept_wh, kept_wh.max() * 0.55)
    margins = np.concatenate([room, room]) * rng.uniform(0.28, 0.5, 4) + np.tile((room - kept_wh) / 2, 2)
    margins[cut_sides] = 0.0
    corner = margins[:2]
    size = np.ceil(corner + kept_wh + margins[2:]).astype(int)
    middle = corner - 0.5 + kept_wh / 2
    camera = framed(view, kept, focal_px=focal, centre_px=middle, size_wh=(int(size[0]), int(size[1])))
    box = view_box * focal + np.tile(camera.centre, 2)
    return camera, box.astype(np.float32)


def frame_head(view: Camera, main: Actor, rng: np.random.Generator) -> tuple[Camera, FloatArray]:
    """As `frame_person`, of the head: room for two more heads on every side, so that crops of it may turn and shift."""
    count = len(main.points) // NUM_FRAMES
    places = np.concatenate(
        [view.project(main.points[i, HEAD_POINTS])[0] for i in range(count // 2, len(main.points), count)]
    )
    corners = np.stack([places.min(axis=0), places.max(axis=0)])
    side = float((corners[1] - corners[0]).max())
    focal = float(np.exp(rng.uniform(np.log(_HEAD_PX[0]), np.log(_HEAD_PX[1])))) / side
    kept = corners.mean(axis=0) + side * np.array([[-0.5], [0.5]]) * [1, 1]
    side_px = focal * side
    size = int(np.ceil(side_px * (1 + 2 * _ROOM_IN_HEADS)))
    camera = framed(view, kept.reshape(4), focal_px=focal, centre_px=np.full(2, (size - 1) / 2), size_wh=(size, size))
    box = kept.reshape(4) * focal + np.tile(camera.centre, 2)
    return camera, box.astype(np.float32)


def sway(camera: Camera, rng: np.random.Generator) -> tuple[Camera, ...]:
    """A hand-held, panning or zooming camera over the frames; the middle frame is as composed."""
    reach = float(np.exp(rng.uniform(np.log(0.1), np.log(6.0)))) if rng.random() < 0.75 else 0.0
    steady = np.arange(NUM_FRAMES) - NUM_FRAMES // 2
    shaken = np.cumsum(rng.normal(0, 0.5, (NUM_FRAMES, 2)), axis=0)
    path = (steady[:, None] * rng.normal(0, 0.7, 2) + shaken - shaken[NUM_FRAMES // 2]) * reach
    zoom = np.exp(steady * rng.normal(0, 0.006) * float(rng.random() < 0.3))
    cameras = []
    for shift, factor in zip(path, zoom, strict=True):
        pan, nod = np.arctan2(shift, camera.focal_px)
        turned = camera.turned(about_y(pan) @ about_x(-nod))
        cameras.append(replace(turned, focal_px=camera.focal_px * float(factor)))
    return tuple(cameras)
