"""Bodies that perform recorded rotations: true proportions, and joints exactly where posecli's 19 points are put on people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posecli.records import FloatArray
from posecli.skeletons import POSECLI19, to_h36m17
from posecli.training.lifting.held_out import HELD_OUT_MOTIONS
from posecli.training.lifting.mocap import MotionSequence, standardise
from posecli.training.synthetic.avatar import Avatar, read_avatar
from posecli.training.synthetic.motion import MotionClip, read_motions
from posecli.training.synthetic.rotations import Reals
from posecli.training.synthetic.split import TEST_AVATARS, choose_split

_FPS = 30.0
_MM_PER_M = 1000.0
# The recordings of people who stand about are as long as all others together, and much alike: each gives a part.
_LONG_S, _PART_S = 50.0, 20.0


def perform(
    motions: Path, avatars: Path, *, seed: int = 0, bodies_each: int = 2, split: str = "train"
) -> list[MotionSequence]:
    """Let bodies perform recordings.

    Args:
        motions: See `posecli.training.synthetic.motion.read_motions`.
        avatars: Folder of ``.npz`` files, see `posecli.training.synthetic.avatar.read_avatar`.
        seed: Decides who performs what.
        bodies_each: How many perform each recording.
        split: ``train``, or ``test``: bodies and motions that are held out.

    Returns:
        Sequences of the standard body, named after recording and body, 30 fps.

    Raises:
        FormatError: A file cannot be read.
        ConfigError: Nothing belongs to the split.
    """
    rng = np.random.default_rng(seed)
    paths = choose_split(
        ((path.stem, path) for path in sorted(avatars.glob("*.npz"))), TEST_AVATARS, split, what="avatar"
    )
    clips = choose_split(((clip.name, clip) for clip in read_motions(motions)), HELD_OUT_MOTIONS, split, what="motion")
    bodies = [read_avatar(path) for path in paths]
    return [
        _performance(rng, clip, bodies[int(chosen)])
        for clip in clips
        for chosen in rng.permutation(len(bodies))[:bodies_each]
    ]


def joints_of(body: Avatar, clip: MotionClip, times_s: Reals) -> FloatArray:
    """(T, 17, 3) mm of `posecli.skeletons.H36M17`, y up, of a body that does what was recorded at (T,) seconds."""
    motion = clip.sample(body.rig, times_s)
    points = body.points.positions(body.rig.bone_matrices(motion.rotations, motion.roots))
    joints, _ = to_h36m17((points * _MM_PER_M).astype(np.float32), np.ones(points.shape[:2], np.float32), POSECLI19)
    return joints


def _performance(rng: np.random.Generator, clip: MotionClip, body: Avatar) -> MotionSequence:
    start, length = 0.0, clip.duration_s
    if length > _LONG_S:
        start, length = rng.uniform(0.0, length - _PART_S), _PART_S
    times = start + np.arange(int(length * _FPS) + 1) / _FPS
    return MotionSequence(f"{clip.name}@{body.name}", standardise(joints_of(body, clip, times)), _FPS)
