"""Clips of recorded motion seen by random cameras: what the lifter trains on, and the fixed set that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from posecli.errors import ConfigError
from posecli.lifting.normalise import normalise_person
from posecli.lifting.rays import facing_rotations, turned
from posecli.records import FloatArray
from posecli.skeletons import H36M17
from posecli.training.lifting.bones import GROUP_NAMES, group_lengths, rebuild_trunk, with_proportions
from posecli.training.lifting.cameras import Camera, CameraSettings, random_camera
from posecli.training.lifting.mocap import MotionSequence
from posecli.training.lifting.noise import NoiseModel

# Of `GROUP_NAMES`, mm in the standard body, between the points that posecli's estimator finds: the median of the rendered avatars.
# Recordings put hips and shoulders elsewhere, each collection in its own way.
TYPICAL_BONES_MM = (108.0, 429.0, 435.0, 246.0, 104.0, 174.0, 266.0, 240.0)
_FLIP = np.array([-1.0, 1.0, 1.0], np.float32)
_MIN_SHARE = 0.25
_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class LiftSample:
    """One clip of F frames.

    ``joints_px`` (F, 17, 2), NaN where missing; ``scores`` (F, 17); ``target_mm`` (F, 17, 3): relative to the root, standard body,
    x right, y down, z forward for a camera that looks straight at the root (`posecli.lifting.rays`); ``root_mm`` (F, 3) of the root in
    the frame of the camera itself.
    """

    name: str
    joints_px: FloatArray
    scores: FloatArray
    target_mm: FloatArray
    root_mm: FloatArray
    size_wh: tuple[int, int]
    focal_px: float

    def __len__(self) -> int:
        return len(self.joints_px)


@dataclass(frozen=True, slots=True)
class LiftBatch:
    """B samples of the same length.

    ``inputs`` (B, F, 17, 3) x, y, score as `normalise_person` makes them; ``targets_m`` (B, F, 17, 3) metres; ``scale_px`` (B,).
    """

    inputs: FloatArray
    targets_m: FloatArray
    scale_px: FloatArray


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How recordings are varied.

    Attributes:
        stretch: Range of the speed against the recording's.
        flip: Share of clips mirrored.
        typical: Share of clips with the proportions of `TYPICAL_BONES_MM` instead of the recording's own.
        bones: Spread of each group of bones, as a factor.
        tipped: Share of clips turned about a level axis by any angle: people lie, hang and stand on their heads, and recordings hardly
            ever do.
        cameras: What cameras there are.
    """

    stretch: tuple[float, float] = (0.7, 1.4)
    flip: float = 0.5
    typical: float = 0.5
    bones: float = 0.05
    tipped: float = 0.12
    cameras: CameraSettings = field(default_factory=CameraSettings)


class LiftClips:
    """Training clips by number: the same number gives the same clip, whoever asks and in whatever order."""

    def __init__(
        self,
        sequences: Sequence[MotionSequence],
        num_frames: int,
        *,
        seed: int = 0,
        noise: NoiseModel | None = None,
        settings: ClipSettings | None = None,
    ) -> None:
        if not sequences or num_frames < 1:
            raise ConfigError(
                f"clips of {num_frames} frames from {len(sequences)} recordings", hint="at least one each"
            )
        self._sequences = tuple(sequences)
        self._num_frames = num_frames
        self._seed = seed
        self._noise = noise
        self._settings = settings or ClipSettings()
        self._ends = np.cumsum([len(sequence) for sequence in sequences])
        self._typical = [np.array(TYPICAL_BONES_MM) / group_lengths(each.joints_mm) for each in sequences]

    def sample(self, number: int, num_frames: int | None = None) -> LiftSample:
        """Clip ``number``, of ``num_frames`` frames if other than the usual."""
        rng = np.random.default_rng((self._seed, number))
        options = self._settings
        chosen = int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))
        sequence = self._sequences[chosen]
        joints = _stretched(rng, sequence.joints_mm, num_frames or self._num_frames, options.stretch)
        if rng.random() < options.flip:
            joints = mirror(joints)
        factors = rng.normal(1.0, options.bones, len(GROUP_NAMES)).clip(1 - 3 * options.bones, 1 + 3 * options.bones)
        if rng.random() < options.typical:
            factors = factors * self._typical[chosen]
        joints = with_proportions(joints, factors)
        if rng.random() < options.tipped:
            joints = _tipped(rng, joints)
        sample = seen_by(random_camera(rng, joints, options.cameras), joints, sequence.name)
        return sample if self._noise is None else with_noise(sample, self._noise, rng)

    def batch(self, first: int, size: int, num_frames: int | None = None) -> LiftBatch:
        """Clips ``first`` to ``first + size - 1`` as the network takes them."""
        return batch([self.sample(number, num_frames) for number in range(first, first + size)])


def mirror(joints: FloatArray) -> FloatArray:
    """The mirrored body, (..., 17, 3) or (..., 17, 2): x reversed, left and right exchanged."""
    return joints[..., H36M17.flip_indices, :] * _FLIP[: joints.shape[-1]]


def seen_by(camera: Camera, joints_mm: FloatArray, name: str) -> LiftSample:
    """What a camera sees of (F, 17, 3) joints in the world: exact, every score 1; the trunk in 2D is made of the limbs, as in use."""
    seen = camera.to_camera(joints_mm)
    return LiftSample(
        name=name,
        joints_px=rebuild_trunk(camera.project_seen(seen)),
        scores=np.ones(seen.shape[:2], np.float32),
        target_mm=turned(seen - seen[:, :1], facing_rotations(seen[:, 0])),
        root_mm=seen[:, 0],
        size_wh=camera.size_wh,
        focal_px=camera.focal_px,
    )


def with_noise(sample: LiftSample, noise: NoiseModel, rng: np.random.Generator) -> LiftSample:
    """The same clip, with joints as an estimator finds them."""
    joints, scores = noise.apply(rng, sample.joints_px, size_wh=sample.size_wh)
    return LiftSample(sample.name, joints, scores, sample.target_mm, sample.root_mm, sample.size_wh, sample.focal_px)


def batch(samples: Sequence[LiftSample]) -> LiftBatch:
    """Stack clips of the same length.

    Raises:
        ConfigError: There are none, or their lengths differ.
    """
    if len({len(sample) for sample in samples}) != 1:
        raise ConfigError(f"a batch of clips of lengths {[len(sample) for sample in samples]}", hint="one length")
    people = [normalise_person(sample.joints_px, sample.scores) for sample in samples]
    return LiftBatch(
        inputs=np.stack([person.inputs for person in people]),
        targets_m=np.stack([sample.target_mm for sample in samples]) / np.float32(1000),
        scale_px=np.array([person.scale_px for person in people], np.float32),
    )


def held_out_clips(
    sequences: Sequence[MotionSequence],
    num_frames: int,
    *,
    seed: int = 0,
    cameras_each: int = 3,
    noise: NoiseModel | None = None,
) -> list[LiftSample]:
    """The clips to measure on: windows that do not overlap, seen by fixed cameras, own proportions, own speed.

    Args:
        sequences: All of them are used.
        num_frames: Length of a window; the last one of a recording may be shorter (a quarter of it is the least), and a recording
            shorter than that is one clip.
        seed: Of cameras and noise. Each recording draws its own, by its name: leaving one out does not change the others.
        cameras_each: How many cameras see each window.
        noise: None for exact joints.
    """
    samples = []
    for sequence in sequences:
        for start in window_starts(len(sequence), num_frames):
            joints = sequence.joints_mm[start : start + num_frames]
            for view in range(cameras_each):
                rng = np.random.default_rng((seed, view, start, *sequence.name.encode()))
                sample = seen_by(random_camera(rng, joints), joints, sequence.name)
                samples.append(sample if noise is None else with_noise(sample, noise, rng))
    return samples


def _tipped(rng: np.random.Generator, joints_mm: FloatArray) -> FloatArray:
    """The whole clip turned about a level axis through its first root, and put on the floor again."""
    azimuth, angle = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-np.pi, np.pi)
    axis = angle * np.array([np.cos(azimuth), 0.0, np.sin(azimuth)])
    turn = Rotation.from_rotvec(axis).as_matrix().astype(np.float32)
    turned_mm = (joints_mm - joints_mm[:1, :1]) @ turn.T
    turned_mm[..., 1] -= turned_mm[..., 1].min()
    return np.asarray(turned_mm, np.float32)


def window_starts(length: int, num_frames: int) -> list[int]:
    """Where windows begin that do not overlap; a rest too short to tell anything is left out."""
    least = max(_SHORTEST, round(num_frames * _MIN_SHARE))
    return [start for start in range(0, length, num_frames) if start == 0 or length - start >= least]


def _stretched(
    rng: np.random.Generator, joints_mm: FloatArray, num_frames: int, stretch: tuple[float, float]
) -> FloatArray:
    """(F, 17, 3) from a random start at a random speed; beyond the end a recording runs backwards, like a pendulum."""
    last = len(joints_mm) - 1
    speed = np.exp(rng.uniform(*np.log(stretch)))
    span = speed * (num_frames - 1)
    start = rng.uniform(0.0, max(last - span, 0.0)) if span < last else rng.uniform(0.0, 2.0 * last)
    position = start + speed * np.arange(num_frames)
    position = np.abs((position + last) % (2 * last) - last) if last else np.zeros(num_frames)
    before = np.minimum(position.astype(np.int64), max(last - 1, 0))
    part = (position - before).astype(np.float32)[:, None, None]
    after = np.minimum(before + 1, last)
    return joints_mm[before] * (1 - part) + joints_mm[after] * part
