"""Poses that nobody recorded: other people's limbs, seats, falls, handstands; smooth over time and within human limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np

from posecli.training.synthetic.motion import BodyMotion, MotionClip
from posecli.training.synthetic.rig import ARMS, BONE_INDEX, LEGS, SIDES, UPPER_BODY, Rig
from posecli.training.synthetic.rotations import (
    Reals,
    about_x,
    about_y,
    about_z,
    between,
    from_vector,
    random_direction,
)

_CHEST = BONE_INDEX["Spine2"]
_SIGN = MappingProxyType({"Left": 1.0, "Right": -1.0})
_HEAD = tuple(BONE_INDEX[name] for name in ("Neck", "Head", "LeftEye", "RightEye"))
_BENDING = MappingProxyType(
    {"Spine": 0.3, "Spine1": 0.6, "Spine2": 0.9, "Neck": 1.0, "Head": 1.0, "LeftEye": 1.0, "RightEye": 1.0}
)

Change = Callable[[BodyMotion, np.random.Generator], BodyMotion]


def take_bones(motion: BodyMotion, other: BodyMotion, bones: Sequence[int], *, anchor: int) -> BodyMotion:
    """Some bones of another motion, turned with the bone ``anchor`` that carries them."""
    carry = motion.rotations[:, anchor] @ np.swapaxes(other.rotations[:, anchor], -1, -2)
    rotations = motion.rotations.copy()
    rotations[:, list(bones)] = carry[:, None] @ other.rotations[:, list(bones)]
    return BodyMotion(rotations, motion.roots)


def mix_limbs(motion: BodyMotion, others: Sequence[BodyMotion], rng: np.random.Generator) -> BodyMotion:
    """Trunk and arms, or single limbs, of other recordings."""
    choice = rng.random()
    if choice < 0.5:
        return take_bones(motion, others[0], UPPER_BODY, anchor=0)
    for side, other in zip(SIDES, others, strict=False):
        if choice < 0.75 or rng.random() < 0.5:
            motion = take_bones(motion, other, ARMS[side], anchor=_CHEST)
        if choice >= 0.75:
            motion = take_bones(motion, other, LEGS[side], anchor=0)
    return motion


def level_hips(motion: BodyMotion) -> BodyMotion:
    """The hips upright, as they are on a seat; the trunk keeps its bend against them."""
    forward = motion.rotations[:, 0, :, 2]
    upright = about_y(np.arctan2(forward[:, 0], forward[:, 2]))
    change = upright @ np.swapaxes(motion.rotations[:, 0], -1, -2)
    rotations = motion.rotations.copy()
    rotations[:, list(UPPER_BODY)] = change[:, None] @ rotations[:, list(UPPER_BODY)]
    rotations[:, 0] = upright
    return BodyMotion(rotations, motion.roots)


def bend_trunk(motion: BodyMotion, bend: Reals) -> BodyMotion:
    """Bend the trunk by a rotation (T, 3, 3) or (3, 3) in the axes of the hips, spread over the spine."""
    vector = _to_vector(np.broadcast_to(bend, (len(motion.roots), 3, 3)))
    hips = motion.rotations[:, 0]
    back = np.swapaxes(hips, -1, -2)
    rotations = motion.rotations.copy()
    for bone in UPPER_BODY:
        part = next((p for name, p in _BENDING.items() if BONE_INDEX[name] == bone), 0.9)
        rotations[:, bone] = hips @ from_vector(vector * part) @ back @ rotations[:, bone]
    return BodyMotion(rotations, motion.roots)


def _to_vector(rotation: Reals) -> Reals:
    cosine = np.clip((np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2, -1, 1)
    axis = np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        axis=-1,
    )
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    return np.asarray(axis / np.maximum(length, 1e-9) * np.arccos(cosine)[..., None])


def set_leg(
    motion: BodyMotion, side: str, *, flexion: Reals, knee: Reals, spread: float, twist: float = 0.0, foot: float = 0.0
) -> BodyMotion:
    """Put a leg, by the angles (T,) of hip and knee and the angles to the side, about itself, and of the foot; radians."""
    rotations = motion.rotations.copy()
    thigh = rotations[:, 0] @ about_z(_SIGN[side] * spread) @ about_x(-flexion) @ about_y(_SIGN[side] * twist)
    shin = thigh @ about_x(knee)
    for bone, rotation in zip(LEGS[side], (thigh, shin, shin @ about_x(foot), shin @ about_x(foot)), strict=True):
        rotations[:, bone] = rotation
    return BodyMotion(rotations, motion.roots)


def set_arm(motion: BodyMotion, side: str, *, direction: Reals, elbow: Reals, twist: float) -> BodyMotion:
    """Put an arm: ``direction`` (T, 3) of the upper arm in the axes of the chest, ``elbow`` (T,) and ``twist`` radians."""
    rotations = motion.rotations.copy()
    rest = np.array([_SIGN[side], 0.0, 0.0])
    swing = np.stack([between(rest, d) for d in direction])
    upper = rotations[:, _CHEST] @ swing @ about_x(twist)
    fore = upper @ about_y(-_SIGN[side] * elbow)
    for bone, rotation in zip(ARMS[side], (upper, fore, fore), strict=True):
        rotations[:, bone] = rotation
    return BodyMotion(rotations, motion.roots)


def seat(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """On a chair, a bench, or the ground; legs alike or not."""
    motion = bend_trunk(level_hips(motion), about_x(rng.normal(0.12, 0.25)))
    is_alike = rng.random() < 0.6
    first = _seat_angles(rng)
    for side in SIDES:
        flexion, knee, spread, foot = first if is_alike else _seat_angles(rng)
        still = np.ones(len(motion.roots))
        motion = set_leg(motion, side, flexion=flexion * still, knee=knee * still, spread=spread, foot=foot)
    return motion


def _seat_angles(rng: np.random.Generator) -> tuple[float, float, float, float]:
    low, high = np.radians([[50, 20, -8, -20], [120, 130, 35, 25]])
    flexion, knee, spread, foot = rng.uniform(low, high)
    return float(flexion), float(knee), float(spread), float(foot)


def invent_limbs(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Arms and legs anywhere that joints allow, moving slowly or fast, as in sport."""
    part = _swing_curve(len(motion.roots), rng)
    motion = bend_trunk(motion, from_vector(rng.normal(0, 1, 3) * [0.45, 0.3, 0.25]))
    for side in SIDES:
        if rng.random() < 0.8:
            first, second = _arm_direction(side, rng), _arm_direction(side, rng)
            direction = first + (second - first) * part[:, None]
            elbow = np.radians(rng.uniform(0, 130)) + part * rng.normal(0, 0.6)
            motion = set_arm(
                motion, side, direction=direction, elbow=np.clip(elbow, 0.0, 2.5), twist=rng.uniform(-1.2, 1.2)
            )
        if rng.random() < 0.8:
            low, high = np.radians([[-30, 0, -12, -35], [125, 140, 55, 35]])
            flexion, knee, spread, twist = rng.uniform(low, high)
            bend = np.clip(knee + part * rng.normal(0, 0.7), 0.0, 2.5)
            swing = np.clip(flexion + part * rng.normal(0, 0.5), -0.5, 2.3)
            motion = set_leg(
                motion, side, flexion=swing, knee=bend, spread=spread, twist=twist, foot=rng.uniform(-0.3, 0.7)
            )
    return motion


def _swing_curve(count: int, rng: np.random.Generator) -> Reals:
    """(T,) between 0 and 1: part of a swing."""
    start, end = np.sort(rng.uniform(0, 1, 2)) if rng.random() < 0.7 else (0.0, 0.0)
    return np.asarray((1 - np.cos(np.pi * np.linspace(start, end, count))) / 2)


def _arm_direction(side: str, rng: np.random.Generator) -> Reals:
    """Anywhere but through the trunk or far behind the back."""
    while True:
        direction = random_direction(rng)
        outwards = direction[0] * _SIGN[side]
        if outwards > -0.35 and direction[2] > (-0.5 if outwards > 0.2 else 0.0):
            return direction


def crouch(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Squats, lunges, kneeling."""
    motion = bend_trunk(level_hips(motion), about_x(rng.uniform(0.0, 0.9)))
    still = np.ones(len(motion.roots))
    is_alike = rng.random() < 0.5
    flexion, knee = np.radians(rng.uniform([40, 60], [125, 150]))
    for side in SIDES:
        if side == "Right" and not is_alike:
            flexion, knee = np.radians(rng.uniform([-30, 20], [60, 130]))
        spread = np.radians(rng.uniform(0, 35))
        motion = set_leg(motion, side, flexion=flexion * still, knee=knee * still, spread=spread, foot=-0.3)
    return motion


def crawl(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """On hands and knees, or a plank: the trunk level, arms and thighs down."""
    step = 0.35 * np.sin(np.linspace(0, rng.uniform(0, 3), len(motion.roots)) + rng.uniform(0, 6.28))
    is_plank = rng.random() < 0.35
    for side in SIDES:
        swing = step * _SIGN[side]
        thigh = 0.1 + 0 * swing if is_plank else np.radians(85) + swing
        knee = 0.1 + 0 * swing if is_plank else np.radians(80) + 0 * swing
        motion = set_leg(motion, side, flexion=thigh, knee=knee, spread=rng.uniform(0, 0.25), foot=0.5)
        ahead = np.stack([0.15 * _SIGN[side] + 0 * swing, -0.1 - swing, np.ones_like(swing)], axis=-1)
        motion = set_arm(motion, side, direction=ahead, elbow=np.full(len(swing), rng.uniform(0, 0.5)), twist=0.0)
    return motion.turned(about_x(np.radians(rng.uniform(65, 95))))


def lie(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """On the back, the front or a side."""
    about = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.3)
    return level_hips(motion).turned(about_x(np.radians(rng.normal(-90, 8))) @ about_y(about))


def stand_on_hands(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Upside down, the arms mostly beside the head."""
    motion = level_hips(motion)
    if rng.random() < 0.7:
        for side in SIDES:
            up = np.array([_SIGN[side] * rng.uniform(0.0, 0.6), 1.0, rng.normal(0.1, 0.25)])
            direction = np.tile(up, (len(motion.roots), 1))
            elbow = np.full(len(motion.roots), abs(rng.normal(0, 0.4)))
            motion = set_arm(motion, side, direction=direction, elbow=elbow, twist=rng.normal(0, 0.5))
    return motion.turned(about_x(np.pi + rng.normal(0, 0.35)) @ about_z(rng.normal(0, 0.35)))


def tumble(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Any attitude, turning: a fall, a dive, a somersault."""
    start, axis = from_vector(random_direction(rng) * rng.uniform(0.5, np.pi)), random_direction(rng)
    angle = np.linspace(0, rng.normal(0, 0.5), len(motion.roots))
    return motion.turned(from_vector(axis * angle[:, None]) @ start)


def tilt(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Off balance."""
    return motion.turned(from_vector(rng.normal(0, 0.3, 3) * [1, 0, 1]))


def jitter(motion: BodyMotion, rng: np.random.Generator, *, spread: float) -> BodyMotion:
    """A small constant turn of every limb bone with all that hangs on it."""
    rotations = motion.rotations.copy()
    for bones in (*ARMS.values(), *LEGS.values()):
        for k in range(2):
            _turn_bones(rotations, bones[k:], from_vector(rng.normal(0, spread, 3)))
    return BodyMotion(rotations, motion.roots)


def _turn_bones(rotations: Reals, bones: Sequence[int], turn: Reals) -> None:
    """Turn the first of some bones in its own axes by (3, 3) or (T, 3, 3), and the others, which hang on it, with it; in place."""
    anchor = rotations[:, bones[0]].copy()
    local = anchor @ turn @ np.swapaxes(anchor, -1, -2)
    rotations[:, list(bones)] = local[:, None] @ rotations[:, list(bones)]


def turn_head(motion: BodyMotion, rng: np.random.Generator) -> BodyMotion:
    """Look down, up, aside, or with the head inclined, while the body does what it does; half of it in the neck."""
    spread = np.radians([18.0, 28.0, 9.0])
    start = rng.normal(0, 1, 3) * spread + np.radians([6.0, 0.0, 0.0])  # people look down more than up
    end = start + rng.normal(0, 0.4, 3) * spread
    limit = np.radians([50.0, 70.0, 25.0])
    angles = np.clip(start + (end - start) * _swing_curve(len(motion.roots), rng)[:, None], -limit, limit) / 2
    turn = about_y(angles[:, 1]) @ about_x(angles[:, 0]) @ about_z(angles[:, 2])
    rotations = motion.rotations.copy()
    for bones in (_HEAD, _HEAD[1:]):
        _turn_bones(rotations, bones, turn)
    return BodyMotion(rotations, motion.roots)


# How often, whether the body touches the ground afterwards (else the feet of the recording do), and what is done.
_KINDS: tuple[tuple[str, float, bool, Change | None], ...] = (
    ("recorded", 0.28, False, None),
    ("mixed", 0.22, False, None),
    ("seated", 0.12, True, seat),
    ("invented", 0.10, True, invent_limbs),
    ("crouching", 0.06, True, crouch),
    ("tilted", 0.05, True, tilt),
    ("lying", 0.05, True, lie),
    ("crawling", 0.03, True, crawl),
    ("upside down", 0.04, True, stand_on_hands),
    ("tumbling", 0.05, True, tumble),
)
POSE_KINDS: tuple[str, ...] = tuple(kind[0] for kind in _KINDS)


def vary_pose(
    motion: BodyMotion,
    clips: Sequence[MotionClip],
    rig: Rig,
    times_s: Reals,
    rng: np.random.Generator,
    *,
    kind: str | None = None,
) -> tuple[BodyMotion, str, bool]:
    """Change a recorded motion.

    Args:
        motion: Of one person.
        clips: Where limbs of others come from.
        rig: The person's bones.
        times_s: (T,) of the motion's frames.
        rng: All randomness comes from here.
        kind: One of `POSE_KINDS`; by default drawn.

    Returns:
        The motion, its kind, and whether its lowest point belongs on the ground (else the recorded floor does).
    """
    shares = np.array([share for _, share, _, _ in _KINDS])
    row = POSE_KINDS.index(kind) if kind is not None else int(rng.choice(len(_KINDS), p=shares / shares.sum()))
    name, _, is_grounded, change = _KINDS[row]
    is_mixed = name == "mixed" or (change is not None and rng.random() < 0.4)
    if is_mixed:
        motion = mix_limbs(motion, [_sample_any(clips, rig, times_s, rng) for _ in range(2)], rng)
    if change is not None:
        if name in {"upside down", "tumbling", "tilted"} and rng.random() < 0.5:
            motion = invent_limbs(motion, rng)
        motion = change(motion, rng)
    return jitter(motion, rng, spread=0.07), name, is_grounded


def _sample_any(clips: Sequence[MotionClip], rig: Rig, times_s: Reals, rng: np.random.Generator) -> BodyMotion:
    clip = clips[int(rng.integers(len(clips)))]
    return clip.sample(rig, times_s - times_s[0] + rng.uniform(0, clip.duration_s))
