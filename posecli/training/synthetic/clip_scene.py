"""Scenes for whole clips: people who walk past each other or do things in one place.

The camera stands still, shakes, pans or zooms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posecli.training.synthetic.actor import Actor, Body, carried_prop, make_actor, prop_body, recorded_floor
from posecli.training.synthetic.appearance import random_look
from posecli.training.synthetic.assets import Assets
from posecli.training.synthetic.background import Backdrop, Place, Wall, photograph_wall
from posecli.training.synthetic.camera import NEAR_M, Camera, look_at
from posecli.training.synthetic.lighting import Environment
from posecli.training.synthetic.motion import MotionClip
from posecli.training.synthetic.occluders import Cover, random_cover, table_prop
from posecli.training.synthetic.perturb import vary_pose
from posecli.training.synthetic.rotations import Reals, about_x, about_y
from posecli.training.synthetic.scene import Scene
from posecli.training.synthetic.window import random_garments, random_light

_KINDS = ("recorded", "mixed", "seated", "crouching", "invented", "crawling")
_KIND_SHARES = (0.62, 0.16, 0.08, 0.06, 0.05, 0.03)
_WALKER_M = 1.0  # who gets further than this walks
_WANTED_INSIDE = 0.93  # of all keypoints at all times
_MAX_DISTANCE_M = 14.0
_APART_M = 0.55
_PLACE_ATTEMPTS = 30
_MARGIN_PX = 48
_PASSING_PER_SECOND = 1.5  # things that pass in front of each person of a hard clip


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """What is wanted: ``seconds``, ``fps``, ``size_wh`` px, ``people``: fewest and most, ``is_hard``: blurred, covered, often dark."""

    seconds: float
    fps: float
    size_wh: tuple[int, int]
    people: tuple[int, int]
    is_hard: bool = False

    @property
    def num_frames(self) -> int:
        """T."""
        return max(round(self.seconds * self.fps), 1)


def stage_clip(assets: Assets, config: ClipConfig, rng: np.random.Generator) -> Scene:
    """Compose a clip."""
    num_exposures = 3 if rng.random() < 0.5 or config.is_hard else 1
    count = int(rng.integers(config.people[0], config.people[1] + 1))
    actors = tuple(_cast(assets, config, rng, num_exposures) for _ in range(count))
    for row, actor in enumerate(actors):
        _place(actor, actors[:row], rng)
    camera = _aim(actors, config, rng)
    environment = assets.environment(rng)
    for actor in actors:
        depth = float(np.median(camera.project(actor.points)[1]))
        actor.show(max(depth, 0.1) / camera.focal_px)
    clothes = [body for row, actor in enumerate(actors) for body in random_garments(assets, actor, row, rng)]
    cameras, is_still = _move_camera(camera, actors, num_exposures, config, rng)
    return Scene(
        actors=actors,
        things=(*_things(assets, actors, camera, rng), *clothes),
        cameras=cameras,
        backdrop=_backdrop(assets, environment, camera, is_still, rng),
        light=random_light(environment, rng),
        shadow_strength=rng.uniform(0.5, 0.95),
        covers=_covers(assets, cameras, actors, config, rng, is_still=is_still),
        num_exposures=num_exposures,
    )


def _cast(assets: Assets, config: ClipConfig, rng: np.random.Generator, num_exposures: int) -> Actor:
    avatar = assets.avatar(rng)
    clip = _long_clip(assets, config.seconds, rng)
    shutter = rng.uniform(0.75 if config.is_hard else 0.4, 1.0) / num_exposures
    offsets = (np.arange(num_exposures) - num_exposures // 2) * shutter
    times = (np.arange(config.num_frames)[:, None] + offsets).reshape(-1) / config.fps
    start = rng.uniform(0, max(clip.duration_s - config.seconds, 0.0)) + 1 / config.fps
    kind = str(rng.choice(_KINDS, p=_KIND_SHARES))
    recorded = clip.sample(avatar.rig, times + start)
    motion, kind, is_grounded = vary_pose(recorded, assets.clips, avatar.rig, times, rng, kind=kind)
    whole = clip.sample(avatar.rig, np.linspace(0, clip.duration_s, 30))
    floor = None if is_grounded else recorded_floor(avatar.rig, whole)
    look = random_look(avatar, rng, photograph=None)
    return make_actor(avatar, look, motion.turned(about_y(rng.uniform(0, 2 * np.pi))), floor=floor, kind=kind)


def _long_clip(assets: Assets, seconds: float, rng: np.random.Generator) -> MotionClip:
    """The first long enough of some recordings, else the longest of them."""
    clips = [assets.clip(rng) for _ in range(8)]
    return next((clip for clip in clips if clip.duration_s >= seconds), max(clips, key=lambda clip: clip.duration_s))


def _place(actor: Actor, others: Sequence[Actor], rng: np.random.Generator) -> None:
    """Those who walk pass near the middle, the others stand around it; if possible nobody walks through anybody."""
    way = actor.hips * [1, 0, 1]
    is_walker = float(np.linalg.norm(np.ptp(way, axis=0))) > _WALKER_M
    for _ in range(_PLACE_ATTEMPTS):
        if is_walker:
            here = way[int(len(way) * rng.uniform(0.3, 0.7))]
            there = rng.normal(0, 0.5, 3)
        else:
            here, angle, radius = way.mean(axis=0), rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0 + 0.5 * len(others))
            there = np.array([np.cos(angle), 0.0, np.sin(angle)]) * radius
        shift = (there - here) * [1, 0, 1]
        apart = [np.linalg.norm((way + shift - other.hips) * [1, 0, 1], axis=1).min() for other in others]
        if min(apart, default=np.inf) > _APART_M:
            break
    actor.move(shift)


def _aim(actors: Sequence[Actor], config: ClipConfig, rng: np.random.Generator) -> Camera:
    """A camera that sees nearly everybody nearly all the time, from as near as that allows."""
    width, height = config.size_wh
    focal = width / 2 / np.tan(np.radians(rng.uniform(35, 75)) / 2)
    points = np.concatenate([actor.points.reshape(-1, 3) for actor in actors])
    elevation = np.radians(np.clip(rng.normal(7, 7), -5, 40) if rng.random() < 0.85 else rng.uniform(25, 60))
    direction = about_y(rng.uniform(0, 2 * np.pi)) @ about_x(-elevation) @ np.array([0.0, 0.0, 1.0])
    target = np.median(points, axis=0) + rng.normal(0, 0.1, 3)
    wanted = _WANTED_INSIDE - (0.25 if rng.random() < 0.2 else 0.0)  # sometimes people leave the picture
    roll, distance = np.radians(rng.normal(0, 2.5)), 2.2
    wider = np.exp(rng.uniform(0, 0.7))
    while True:
        camera = _at(target, direction * distance, roll, focal, config)
        places, depth = camera.project(points)
        is_inside = (depth > 10 * NEAR_M) & (places > 0).all(axis=1) & (places < [width, height]).all(axis=1)
        if is_inside.mean() >= wanted or distance > _MAX_DISTANCE_M:
            return _at(target, direction * distance * wider, roll, focal, config)
        distance *= 1.12


def _at(target: Reals, offset: Reals, roll: float, focal: float, config: ClipConfig) -> Camera:
    eye = target + offset
    eye[1] = max(eye[1], 0.3)
    centre = (np.array(config.size_wh) - 1) / 2
    return replace(look_at(eye, target, roll=roll), focal_px=float(focal), centre=centre, size_wh=config.size_wh)


def _move_camera(
    camera: Camera, actors: Sequence[Actor], num_exposures: int, config: ClipConfig, rng: np.random.Generator
) -> tuple[tuple[Camera, ...], bool]:
    """The camera of every frame, and whether it stands still."""
    count = config.num_frames
    kind = rng.choice(4, p=[0.35, 0.3, 0.25, 0.1])
    if kind == 0:
        return (camera,) * count, True
    shake = _smooth(rng.normal(0, 1, (count, 2)), config.fps * 0.25) * rng.uniform(1.0, 5.0)
    zoom = np.ones(count)
    if kind == 2:
        followed = actors[0].points[num_exposures // 2 :: num_exposures].mean(axis=1)
        places = camera.project(followed)[0] - (np.array(config.size_wh) - 1) / 2
        shake += _smooth(places, config.fps * 0.7) * rng.uniform(0.3, 0.8) * [1.0, 0.3]
    if kind == 3:
        zoom = np.exp(np.linspace(-0.5, 0.5, count) * rng.normal(0, 0.35))
    cameras = []
    for shift, factor in zip(shake, zoom, strict=True):
        pan, nod = np.arctan2(shift, camera.focal_px)
        turned = camera.turned(about_y(-pan) @ about_x(nod))
        cameras.append(replace(turned, focal_px=camera.focal_px * float(factor)))
    return tuple(cameras), False


def _smooth(values: Reals, sigma: float) -> Reals:
    """Along time, (T, 2), of unit spread where it was noise."""
    reach = np.arange(-int(3 * sigma) - 1, int(3 * sigma) + 2)
    kernel = np.exp(-0.5 * (reach / max(sigma, 1e-3)) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((len(reach) // 2,) * 2, (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in range(2)], axis=1)


def _things(assets: Assets, actors: Sequence[Actor], camera: Camera, rng: np.random.Generator) -> tuple[Body, ...]:
    count = len(actors[0].hips)
    props = []
    if rng.random() < 0.35:
        props.append(table_prop(camera.position, rng, count, assets.photographs))
    for actor in actors:
        if rng.random() < 0.15:
            props.append(carried_prop(actor, rng, assets.photographs))
    return tuple(prop_body(prop, range(len(prop.matrices))) for prop in props)


def _backdrop(
    assets: Assets, environment: Environment, camera: Camera, is_still: bool, rng: np.random.Generator
) -> Backdrop:
    place = Place(environment, environment.exposure)
    if not is_still:
        return place
    wide = camera.widened(_MARGIN_PX)
    photograph = assets.photographs.pick(rng) if rng.random() < 0.15 else None
    return (
        Wall(place.picture(wide), wide, has_ground=True)
        if photograph is None
        else photograph_wall(photograph, wide, rng)
    )


def _passing(
    assets: Assets, cameras: Sequence[Camera], actors: Sequence[Actor], config: ClipConfig, rng: np.random.Generator
) -> tuple[Cover, ...]:
    """Things close to the camera that pass in front of somebody: what they hide for some frames is seen in others."""
    covers = []
    for _ in range(max(1, round(_PASSING_PER_SECOND * config.seconds * len(actors)))):
        actor, met = actors[int(rng.integers(len(actors)))], int(rng.integers(config.num_frames))
        num_exposures = len(actor.points) // config.num_frames
        places = cameras[met].project(actor.points[met * num_exposures])[0]
        box = np.concatenate([places.min(axis=0), places.max(axis=0)]).astype(np.float32)
        cover = random_cover(box, config.size_wh, rng, assets.photographs)
        heading = rng.uniform(0.0, 2.0 * np.pi)
        seconds = rng.uniform(0.2, 1.0)  # for the length of a body
        speed = float((box[2:] - box[:2]).max()) / (seconds * config.fps)
        velocity = speed * np.array([np.cos(heading), 0.3 * np.sin(heading)])
        covers.append(replace(cover, outline=cover.outline - velocity * met, velocity=velocity))
    return tuple(covers)


def _covers(
    assets: Assets,
    cameras: Sequence[Camera],
    actors: Sequence[Actor],
    config: ClipConfig,
    rng: np.random.Generator,
    *,
    is_still: bool,
) -> tuple[Cover, ...]:
    if config.is_hard:
        return _passing(assets, cameras, actors, config, rng)
    if not is_still or rng.random() > 0.3:
        return ()
    width, height = config.size_wh
    box = np.array([width * 0.2, height * 0.3, width * 0.8, height], np.float32)
    cover = random_cover(box, config.size_wh, rng, assets.photographs)
    middle = cover.outline.mean(axis=0)
    return (replace(cover, outline=middle + (cover.outline - middle) * 0.5, velocity=np.zeros(2)),)
