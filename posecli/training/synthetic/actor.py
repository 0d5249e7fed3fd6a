"""People and things placed in the world, and what they look like in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from posecli.records import FloatArray
from posecli.training.synthetic.appearance import WHITE, Look
from posecli.training.synthetic.avatar import Avatar
from posecli.training.synthetic.mesh import Mesh
from posecli.training.synthetic.motion import BodyMotion
from posecli.training.synthetic.occluders import Prop, held_prop
from posecli.training.synthetic.photographs import Photographs
from posecli.training.synthetic.raster import skin
from posecli.training.synthetic.rig import BONE_INDEX, Rig
from posecli.training.synthetic.rotations import Reals
from posecli.training.synthetic.shading import Paint

_FEET = tuple(BONE_INDEX[side + bone] for side in ("Left", "Right") for bone in ("Foot", "ToeBase"))
_COARSE_M = 0.015  # enough to find the ground and the box
_CACHED = 24  # posed meshes; a window has five frames


@dataclass(slots=True)
class Body:
    """A mesh that moves: ``matrices`` (N, B, 3, 4) at N instants."""

    mesh: Mesh
    paint: Paint
    rest: FloatArray
    matrices: FloatArray
    wearer: int = -1  # index of the actor it belongs to, for clothes
    _posed: dict[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def at(self, instant: int) -> tuple[FloatArray, FloatArray]:
        """(V, 3) vertices and normals in the world."""
        if instant not in self._posed:
            if len(self._posed) >= _CACHED:
                self._posed.clear()
            self._posed[instant] = skin(self.mesh, self.rest, self.matrices[instant])
        return self._posed[instant]

    def move(self, shift: Reals) -> None:
        """Shift by (3,) metres."""
        self.matrices[..., 3] += shift.astype(np.float32)
        self._posed.clear()


@dataclass(slots=True)
class Actor:
    """A person: ``points`` (N, 19, 3) metres at the instants of ``body``."""

    avatar: Avatar
    look: Look
    body: Body
    points: Reals
    hips: Reals
    facing: float
    kind: str

    def show(self, metres_per_px: float) -> None:
        """Use no more detail than can be seen."""
        mesh = self.avatar.mesh_for(metres_per_px)
        self.body = Body(mesh, self.body.paint, self.look.rest(mesh), self.body.matrices)

    def keep_instants(self, instants: np.ndarray) -> None:
        """Forget the others."""
        self.body = Body(self.body.mesh, self.body.paint, self.body.rest, self.body.matrices[instants])
        self.points, self.hips = self.points[instants], self.hips[instants]

    def move(self, shift: Reals) -> None:
        """Shift by (3,) metres."""
        self.body.move(shift)
        self.points += shift
        self.hips += shift


def make_actor(avatar: Avatar, look: Look, motion: BodyMotion, *, floor: float | None, kind: str) -> Actor:
    """Put a person on the ground.

    Args:
        avatar: Who.
        look: Dressed how.
        motion: (N) instants.
        floor: Height of the ground in the motion's metres; ``None``: the lowest point of the body touches the ground.
        kind: Name of the pose's kind.
    """
    matrices = avatar.rig.bone_matrices(motion.rotations, motion.roots)
    mesh = avatar.mesh_for(_COARSE_M)
    body = Body(mesh, look.paint, look.rest(mesh), matrices)
    forward = motion.rotations[len(motion.roots) // 2, 0, :, 2]
    facing = float(np.arctan2(forward[0], forward[2]))
    actor = Actor(avatar, look, body, avatar.points.positions(matrices), motion.roots.copy(), facing, kind)
    if floor is None:
        instants = np.unique(np.linspace(0, len(matrices) - 1, 3).astype(int))
        floor = min(float(body.at(int(i))[0][:, 1].min()) for i in instants)
    actor.move(np.array([0.0, -floor, 0.0]))
    return actor


def recorded_floor(rig: Rig, motion: BodyMotion) -> float:
    """Height of the ground under a recording: where the feet are when they are low."""
    positions = rig.joint_positions(motion.rotations, motion.roots)
    above = positions[:, _FEET, 1] - rig.joints[list(_FEET), 1]
    return float(np.percentile(above.min(axis=1), 5))


def carried_prop(actor: Actor, rng: np.random.Generator, photographs: Photographs) -> Prop:
    """Something in a random hand of an actor, see `held_prop`."""
    side, sign = ("Left", 1.0) if rng.random() < 0.5 else ("Right", -1.0)
    hand = BONE_INDEX[side + "Hand"]
    return held_prop(actor.body.matrices[:, hand], actor.avatar.rig.joints[hand], sign, rng, photographs)


def prop_body(prop: Prop, instants: Sequence[int]) -> Body:
    """A thing of the room, at the instants of the scene; its places are per frame."""
    return Body(prop.mesh, _as_it_is(prop.mesh), prop.mesh.vertices, prop.matrices[list(instants)])


def worn_body(mesh: Mesh, actor: Actor, *, wearer: int) -> Body:
    """Something an actor wears, moved by the same bones; ``wearer`` is -1 for what is no part of the person."""
    return Body(mesh, _as_it_is(mesh), mesh.vertices, actor.body.matrices, wearer)


def _as_it_is(mesh: Mesh) -> Paint:
    num_parts = len(mesh.part_modes)
    ones, styles = np.ones((num_parts, 3), np.float32), np.zeros((num_parts, 4), np.float32)
    return Paint(ones, ones, styles, WHITE, np.ones(3, np.float32))
