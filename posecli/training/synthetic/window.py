"""One training window: five frames around one person, drawn by chance, with exact labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from posecli.errors import PoseCliError
from posecli.pose.heads import HEAD_POINTS
from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.actor import Actor, Body, carried_prop, make_actor, prop_body, recorded_floor, worn_body
from posecli.training.synthetic.appearance import random_look
from posecli.training.synthetic.assets import Assets
from posecli.training.synthetic.background import Backdrop, Place, Wall, add_things, clutter_wall, photograph_wall
from posecli.training.synthetic.camera import Camera
from posecli.training.synthetic.degrade import degrade, random_degradation
from posecli.training.synthetic.framing import NUM_FRAMES, frame_head, frame_person, random_view, sway
from posecli.training.synthetic.garments import backpack_mesh, hat_meshes, skirt_mesh
from posecli.training.synthetic.labels import OUTSIDE, VISIBLE, PersonTruth, frame_truth
from posecli.training.synthetic.lighting import Environment
from posecli.training.synthetic.occluders import Cover, random_cover, random_textures, seat_prop, table_prop
from posecli.training.synthetic.perturb import turn_head, vary_pose
from posecli.training.synthetic.rotations import Reals
from posecli.training.synthetic.scene import Scene, render_frame
from posecli.training.synthetic.shading import Light

_FPS = (10.0, 12.5, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0)
_FPS_SHARES = (0.08, 0.08, 0.1, 0.08, 0.14, 0.14, 0.26, 0.06, 0.06)
_ATTEMPTS = 30
_MIN_SEEN_POINTS = 5
_MIN_SEEN_PART = 0.2
_MARGIN_PX = 24  # of the background beyond the picture, for a moving camera
_HEADS_TURNED = 0.65
_INSTANTS = 9  # while the shutter is open
_EXPOSURES = ((2.0, 1), (7.0, 3), (18.0, 5))  # moved less than so many px: so many of them


@dataclass(frozen=True, slots=True)
class WindowStyle:
    """How often things go wrong, 0 to 1: ``long_exposure`` (motion blur), ``covered`` by something flat, ``dark``, ``soft`` (lens).

    ``is_crowded``: always somebody close in front or behind, instead of sometimes somebody near. ``is_portrait``: the picture shows
    the head and what is around it, not the person.
    """

    long_exposure: float
    covered: float
    dark: float
    soft: float
    is_crowded: bool = False
    is_portrait: bool = False


STYLES: Final = {
    "usual": WindowStyle(long_exposure=0.4, covered=0.22, dark=0.1, soft=0.25),
    "hard": WindowStyle(long_exposure=0.95, covered=0.6, dark=0.35, soft=0.5),
    "crowded": WindowStyle(long_exposure=0.4, covered=0.1, dark=0.1, soft=0.25, is_crowded=True),
    "portrait": WindowStyle(long_exposure=0.4, covered=0.22, dark=0.1, soft=0.25, is_portrait=True),
}


@dataclass(frozen=True, slots=True)
class RenderedWindow:
    """T frames around one person.

    Attributes:
        images: (T, H, W, 3) RGB.
        keypoints: (T, 19, 2) px of the images, also of points outside them.
        visibility: (T, 19) 2 seen, 1 hidden, 0 outside the picture.
        boxes: (T, 4) xyxy px of what is seen of the person.
        points_mm: (T, 19, 3) in the camera's axes.
        fps: Frames a second.
        kind: The pose's kind, one of `posecli.training.synthetic.perturb.POSE_KINDS`.
    """

    images: ImageArray
    keypoints: FloatArray
    visibility: np.ndarray
    boxes: FloatArray
    points_mm: FloatArray
    fps: float
    kind: str


def render_window(assets: Assets, *, seed: int, index: int, style: WindowStyle = STYLES["usual"]) -> RenderedWindow:
    """Render a window; the same for the same assets, seed, index and style.

    Raises:
        PoseCliError: Thirty scenes in a row showed too little of the person.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, index, attempt))
        window = _try_window(assets, style, rng)
        if window is not None:
            return window
    raise PoseCliError(f"window {index} of seed {seed}: nobody to be seen in {_ATTEMPTS} scenes")


def _try_window(assets: Assets, style: WindowStyle, rng: np.random.Generator) -> RenderedWindow | None:
    fps = float(rng.choice(_FPS, p=_FPS_SHARES))
    shutter = rng.uniform(0.3, 1.0) if rng.random() < style.long_exposure else 0.0
    timing = _Timing(fps, shutter)
    main = _random_actor(assets, rng, timing)
    main.move(-main.hips.mean(axis=0) * [1, 0, 1])
    view, view_box = random_view(main, rng)
    others = _others(assets, main, view, style, rng, timing)
    camera, box = frame_head(view, main, rng) if style.is_portrait else frame_person(view, view_box, rng)
    actors = (main, *others)
    num_exposures = _choose_exposures(actors, camera, timing)
    metres_per_px = 1 / (camera.focal_px / max(float(np.median(camera.project(main.points)[1])), 0.1))
    for actor in actors:
        actor.show(metres_per_px)
    cameras = sway(camera, rng)
    environment = assets.environment(rng)
    scene = Scene(
        actors=actors,
        things=(*_things(assets, main, view, rng), *_clothes(assets, actors, rng)),
        cameras=cameras,
        backdrop=_backdrop(assets, environment, camera, rng),
        light=random_light(environment, rng),
        shadow_strength=rng.uniform(0.4, 0.95),
        covers=_covers(assets, box, camera.size_wh, style, rng),
        num_exposures=num_exposures,
    )
    return _shoot(scene, fps, style, rng)


def _shoot(scene: Scene, fps: float, style: WindowStyle, rng: np.random.Generator) -> RenderedWindow | None:
    """Render the frames, the middle one first: it decides whether the person can be seen."""
    images: dict[int, ImageArray] = {}
    truths: dict[int, PersonTruth] = {}
    for frame in sorted(range(NUM_FRAMES), key=lambda k: abs(k - NUM_FRAMES // 2)):
        rendered = render_frame(scene, frame)
        truth = frame_truth(scene, frame, rendered)[0]
        if truth.box is None or (frame == NUM_FRAMES // 2 and not _is_seen(truth, style)):
            return None
        images[frame], truths[frame] = rendered.image, truth
    ordered = [truths[k] for k in range(NUM_FRAMES)]
    person_px = float(np.ptp(ordered[NUM_FRAMES // 2].keypoints, axis=0).max())
    how = random_degradation(
        rng, person_px=person_px, brightness=float(images[NUM_FRAMES // 2].mean()), dark=style.dark, soft=style.soft
    )
    frames = degrade([images[k] for k in range(NUM_FRAMES)], how, rng)
    return RenderedWindow(
        images=np.stack(frames),
        keypoints=np.stack([truth.keypoints for truth in ordered]),
        visibility=np.stack([truth.visibility for truth in ordered]),
        boxes=np.stack([truth.box for truth in ordered if truth.box is not None]),
        points_mm=np.stack([truth.points_mm for truth in ordered]),
        fps=fps,
        kind=scene.actors[0].kind,
    )


def _is_seen(truth: PersonTruth, style: WindowStyle) -> bool:
    """Enough points, and not just a sliver between two others; of a head, which may be turned away, any."""
    inside = truth.visibility != OUTSIDE
    is_visible = truth.visibility == VISIBLE
    if style.is_portrait:
        return bool(is_visible[HEAD_POINTS].any())
    if is_visible.sum() < _MIN_SEEN_POINTS or truth.box is None:
        return False
    points = truth.keypoints[inside]
    whole = float(np.prod(np.maximum(np.ptp(points, axis=0), 8.0)))
    return float(np.prod(truth.box[2:] - truth.box[:2])) >= _MIN_SEEN_PART * whole


@dataclass(frozen=True, slots=True)
class _Timing:
    """Frames a second, and for how much of a frame's time the shutter is open (0: an instant)."""

    fps: float
    shutter: float

    @property
    def offsets(self) -> Reals:
        """Instants of a frame, in frames, about its middle."""
        return np.linspace(-0.5, 0.5, _INSTANTS) * self.shutter if self.shutter else np.zeros(1)


def _choose_exposures(actors: tuple[Actor, ...], camera: Camera, timing: _Timing) -> int:
    """As many instants a frame as the motion needs; the actors keep only those."""
    count = len(timing.offsets)
    if count == 1:
        return 1
    moved = 0.0
    for actor in actors:
        places = camera.project(actor.points)[0].reshape(NUM_FRAMES, count, -1, 2)
        moved = max(moved, float(np.linalg.norm(places[:, -1] - places[:, 0], axis=-1).max()))
    wanted = next((n for limit, n in _EXPOSURES if moved < limit), count)
    chosen = np.linspace(0, count - 1, wanted).round().astype(int) if wanted > 1 else np.array([count // 2])
    instants = (np.arange(NUM_FRAMES)[:, None] * count + chosen).reshape(-1)
    for actor in actors:
        actor.keep_instants(instants)
    return wanted


def _random_actor(assets: Assets, rng: np.random.Generator, timing: _Timing) -> Actor:
    avatar, clip = assets.avatar(rng), assets.clip(rng)
    speed = rng.uniform(0.8, 1.3)
    times = (np.arange(NUM_FRAMES)[:, None] + timing.offsets).reshape(-1) / timing.fps * speed
    start = rng.uniform(0, max(clip.duration_s - times[-1], 0.0)) - times[0]
    recorded = clip.sample(avatar.rig, times + start)
    motion, kind, is_grounded = vary_pose(recorded, assets.clips, avatar.rig, times, rng)
    if rng.random() < _HEADS_TURNED:
        motion = turn_head(motion, rng)
    whole = clip.sample(avatar.rig, np.linspace(0, clip.duration_s, 30))
    floor = None if is_grounded else recorded_floor(avatar.rig, whole)
    if is_grounded and kind in {"tumbling", "invented", "tilted"} and rng.random() < 0.4:
        motion = motion.moved(np.array([0.0, rng.uniform(0.0, 0.8), 0.0]))
    photograph = assets.photographs.pick(rng) if rng.random() < 0.1 else None
    return make_actor(avatar, random_look(avatar, rng, photograph=photograph), motion, floor=floor, kind=kind)


def _others(
    assets: Assets, main: Actor, view: Camera, style: WindowStyle, rng: np.random.Generator, timing: _Timing
) -> list[Actor]:
    count = int(rng.choice(3, p=[0.55, 0.3, 0.15])) + int(style.is_crowded)
    place = _place_close if style.is_crowded else _place_near
    actors = []
    for _ in range(count):
        actors.append(_random_actor(assets, rng, timing))
        place(actors[-1], main, view, rng)
    return actors


def _place_near(actor: Actor, main: Actor, view: Camera, rng: np.random.Generator) -> None:
    """Before, behind or beside the person, as the camera sees it."""
    behind = rng.uniform(0.25, 2.5) if rng.random() < 0.6 else -rng.uniform(0.25, _room(main, view, 1.0))
    _place(actor, main, view, behind, rng.normal(0, 0.45))


def _place_close(actor: Actor, main: Actor, view: Camera, rng: np.random.Generator) -> None:
    """So that the two cover each other, mostly the person that counts."""
    behind = rng.uniform(0.25, 0.9) if rng.random() < 0.3 else -rng.uniform(0.25, _room(main, view, 1.4))
    _place(actor, main, view, behind, rng.normal(0, 0.25))


def _room(main: Actor, view: Camera, limit_m: float) -> float:
    """How far before the person somebody may stand without filling the picture, m."""
    return min(limit_m, float(np.linalg.norm(view.position - main.hips.mean(axis=0))) * 0.4)


def _place(actor: Actor, main: Actor, view: Camera, behind_m: float, aside_m: float) -> None:
    ahead = view.rotation[2] * [1, 0, 1]
    ahead /= max(float(np.linalg.norm(ahead)), 1e-6)
    aside = np.array([ahead[2], 0.0, -ahead[0]])
    place = ahead * behind_m + aside * aside_m
    actor.move(place - actor.hips.mean(axis=0) * [1, 0, 1])


def _things(assets: Assets, main: Actor, view: Camera, rng: np.random.Generator) -> tuple[Body, ...]:
    count = len(main.hips)
    props = []
    if main.kind == "seated" and rng.random() < 0.6:
        props.append(seat_prop(main.hips, main.facing, rng, assets.photographs))
    if rng.random() < 0.08:
        towards = view.position - main.hips.mean(axis=0)
        if np.linalg.norm(towards * [1, 0, 1]) > 1.8:
            props.append(table_prop(towards, rng, count, assets.photographs))
    if rng.random() < 0.14:
        props.append(carried_prop(main, rng, assets.photographs))
    return tuple(prop_body(prop, range(len(prop.matrices))) for prop in props)


def _clothes(assets: Assets, actors: tuple[Actor, ...], rng: np.random.Generator) -> list[Body]:
    return [body for row, actor in enumerate(actors) for body in random_garments(assets, actor, row, rng)]


def random_garments(assets: Assets, actor: Actor, row: int, rng: np.random.Generator) -> list[Body]:
    """A skirt or a coat, a hat, a backpack, mostly nothing.

    Args:
        assets: What they may show.
        actor: Who wears them.
        row: Index of the actor in the scene.
        rng: All randomness comes from here.
    """
    worn = []
    if rng.random() < 0.14:
        mesh = skirt_mesh(actor.avatar, random_textures(rng, assets.photographs), rng)
        worn.append(worn_body(mesh, actor, wearer=row))
    if rng.random() < 0.15:
        hat = hat_meshes(actor.avatar, random_textures(rng, assets.photographs), rng)
        worn += [worn_body(mesh, actor, wearer=row) for mesh in hat]
    if rng.random() < 0.07:
        mesh = backpack_mesh(actor.avatar, random_textures(rng, assets.photographs), rng)
        worn.append(worn_body(mesh, actor, wearer=-1))
    return worn


def _backdrop(assets: Assets, environment: Environment, camera: Camera, rng: np.random.Generator) -> Backdrop:
    wide = camera.widened(_MARGIN_PX)
    shares = [0.42, 0.4, 0.18] if assets.photographs.places else [0.0, 0.65, 0.35]
    kind = rng.choice(3, p=shares)
    photograph = assets.photographs.pick(rng) if kind == 0 else None
    if photograph is not None:
        return photograph_wall(photograph, wide, rng)
    if kind == 2:
        return clutter_wall(wide, rng, assets.photographs)
    place = Place(environment, environment.exposure * float(np.exp(rng.normal(0, 0.25))))
    picture = place.picture(wide)
    if rng.random() < 0.5:
        add_things(picture, rng, assets.photographs, count=int(rng.integers(1, 14)))
    return Wall(picture, wide, has_ground=True)


def random_light(environment: Environment, rng: np.random.Generator) -> Light:
    """The light of a place, with a weaker or stronger sun."""
    return Light(
        environment.irradiance,
        environment.sun_direction.astype(np.float32),
        environment.sun_colour * np.float32(rng.uniform(0.3, 1.3)),
        np.array([environment.exposure * np.exp(rng.normal(0, 0.25))], np.float32),
    )


def _covers(
    assets: Assets, box: FloatArray, size_wh: tuple[int, int], style: WindowStyle, rng: np.random.Generator
) -> tuple[Cover, ...]:
    if rng.random() > style.covered:
        return ()
    return tuple(random_cover(box, size_wh, rng, assets.photographs) for _ in range(int(rng.integers(1, 3))))
