"""A scene in time, and the pictures of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from posecli.records import BoolArray, ImageArray
from posecli.training.synthetic.actor import Actor, Body
from posecli.training.synthetic.background import Backdrop
from posecli.training.synthetic.camera import NEAR_M, Camera
from posecli.training.synthetic.occluders import Cover
from posecli.training.synthetic.raster import FrameBuffer, project_vertices, rasterise
from posecli.training.synthetic.shading import Light, Surface, shade_surface
from posecli.training.synthetic.shadow import ShadowMap, make_shadow_map, shade_ground

_SAMPLES = 2  # a side, in frames without motion blur


@dataclass(frozen=True, slots=True)
class Scene:
    """T frames, each exposed at ``num_exposures`` instants (odd; the middle one is when the truth holds).

    Attributes:
        actors: People; number k in the frame buffer is ``actors[k - 1]``.
        things: Everything else that stands about, numbered after the people.
        cameras: (T,).
        backdrop: What is behind them.
        light: On them.
        shadow_strength: Of the shadows on the ground, 0 to 1.
        covers: Flat things before the camera.
        num_exposures: Instants a frame; bodies have T times as many.
    """

    actors: tuple[Actor, ...]
    things: tuple[Body, ...]
    cameras: tuple[Camera, ...]
    backdrop: Backdrop
    light: Light
    shadow_strength: float
    covers: tuple[Cover, ...]
    num_exposures: int = 1

    @property
    def bodies(self) -> tuple[Body, ...]:
        """People, then things; number k in the frame buffer is ``bodies[k - 1]``."""
        return (*(actor.body for actor in self.actors), *self.things)

    @property
    def person_of_body(self) -> np.ndarray:
        """(number of bodies + 1,): by number in the frame buffer, 0 for nobody or the number of the person."""
        actors = range(1, len(self.actors) + 1)
        return np.array([0, *actors, *(thing.wearer + 1 for thing in self.things)], np.uint8)

    def instant(self, frame: int) -> int:
        """The instant at which the truth of a frame holds."""
        return frame * self.num_exposures + self.num_exposures // 2


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture and what its samples show, ``factor`` samples a pixel's side; ``covered`` (H, W) by something before the camera."""

    image: ImageArray
    buffer: FrameBuffer
    factor: int
    covered: BoolArray


def render_frame(scene: Scene, frame: int) -> Rendered:
    """One frame.

    Without motion blur four samples a pixel; with it one sample at each instant, each at another place in the pixel.
    """
    camera = scene.cameras[frame]
    background = scene.backdrop.picture(camera)
    shadows = _cast_shadows(scene, scene.instant(frame))
    if scene.backdrop.has_ground:
        shade_ground(background, camera, shadows, strength=scene.shadow_strength)
    if scene.num_exposures == 1:
        image, buffer = _expose(scene, scene.instant(frame), camera, background, shadows, _SAMPLES)
        factor = _SAMPLES
    else:
        image, buffer = _expose_long(scene, frame, background, shadows)
        factor = 1
    covered = np.zeros(image.shape[:2], np.bool_)
    for cover in scene.covers:
        image, hidden = cover.apply(image, frame)
        covered |= hidden
    return Rendered(image, buffer, factor, covered)


def _expose_long(
    scene: Scene, frame: int, background: ImageArray, shadows: ShadowMap
) -> tuple[ImageArray, FrameBuffer]:
    """The mean of all instants of a frame, and what the middle one shows."""
    middle = scene.instant(frame)
    image, buffer = _expose(scene, middle, scene.cameras[frame], background.copy(), shadows, 1)
    total = image.astype(np.float32)
    half = scene.num_exposures // 2
    for k in (*range(-half, 0), *range(1, half + 1)):
        camera = scene.cameras[frame].shifted(np.array([k, (2 * k) % scene.num_exposures - half]) / scene.num_exposures)
        total += _expose(scene, middle + k, camera, background.copy(), shadows, 1)[0]
    return (total / np.float32(scene.num_exposures) + np.float32(0.5)).astype(np.uint8), buffer


def _cast_shadows(scene: Scene, instant: int) -> ShadowMap:
    points = np.concatenate([actor.points[instant] for actor in scene.actors])
    low, high = points.min(axis=0), points.max(axis=0)
    radius = float(np.linalg.norm(high - low) / 2 + 0.6)
    casters = [(body.at(instant)[0], body.mesh.triangles) for body in scene.bodies]
    return make_shadow_map(casters, scene.light.sun_direction.astype(np.float64), (low + high) / 2, radius)


def _expose(
    scene: Scene, instant: int, camera: Camera, background: ImageArray, shadows: ShadowMap, factor: int
) -> tuple[ImageArray, FrameBuffer]:
    """One instant; ``background`` may be drawn on."""
    view = camera.magnified(factor)
    buffer = FrameBuffer.empty(*view.size_wh)
    flat, eye = view.flat, camera.position.astype(np.float32)
    surfaces = []
    for number, body in enumerate(scene.bodies, start=1):
        vertices, normals = body.at(instant)
        points = np.empty_like(vertices)
        project_vertices(vertices, flat, NEAR_M, points)
        rasterise(points, body.mesh.triangles, number, *buffer)
        surfaces.append(Surface(body.mesh, body.paint, vertices, normals, points, np.array([number], np.int64)))
    image = _enlarge(background, factor)
    for surface in surfaces:
        shade_surface(image, buffer, surface, scene.light, shadows, eye, factor)
    return _shrink(image, factor), buffer


def _enlarge(image: ImageArray, factor: int) -> ImageArray:
    if factor == 1:
        return image
    size_wh = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)


def _shrink(image: ImageArray, factor: int) -> ImageArray:
    if factor == 1:
        return image
    size_wh = (image.shape[1] // factor, image.shape[0] // factor)
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
