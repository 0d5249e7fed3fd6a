"""BVH, the motion file of animation programs: a skeleton of bones, and their rotations over time; one file a person.

- Centimetres (the file itself cannot say so: in Blender import with scale 0.01), degrees, y up, see `posecli.formats.person_motion`.
- The rest pose stands upright with arms out ("T-pose") and faces +z, left side towards +x; every bone has its median length over
  the motion.
- The root has six channels, position and rotation; all others have three. Rotations are Z, then X, then Y, about the bone's own axes.
- A bone turns by the shortest rotation from where its parent holds it: a turn about its own axis cannot be seen in joints. Where
  several bones leave a joint (root, thorax) the joint takes the rotation that fits all of them best, and a helper joint for each
  (``root_to_left_hip``: same place, no length) makes up for what is left, so that every bone points where it should.
- Frames come at even steps of one over the video's frame rate from the person's first frame to the last, as the format demands; on
  video of variable rate, and in frames without the person, joints run straight from the frame before to the one after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import atomic_path
from posecli.formats.bone_rotations import best_rotations, euler_zxy, matrices_zxy, shortest_rotations
from posecli.formats.person_motion import PersonMotion, write_person_files
from posecli.records import Annotation
from posecli.skeletons import H36M17, JointTree

Float64Array = NDArray[np.float64]

BVH_SUFFIX = ".bvh"
_MM_PER_CM = 10.0
_DECIMALS = 4
_END_SHARE = 0.2
ROOT_CHANNELS = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
CHANNELS = "CHANNELS 3 Zrotation Xrotation Yrotation"
_UP, _DOWN, _LEFT, _RIGHT = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_REST: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        **dict.fromkeys("spine thorax neck head".split(), _UP),
        **dict.fromkeys("right_knee right_ankle left_knee left_ankle".split(), _DOWN),
        **dict.fromkeys("left_hip left_shoulder left_elbow left_wrist".split(), _LEFT),
        **dict.fromkeys("right_hip right_shoulder right_elbow right_wrist".split(), _RIGHT),
    }
)


@dataclass(frozen=True)
class BoneTree:
    """Joints as BVH has them, helpers included: M names, parents (-1 for the root; parents come first), (M, 3) offsets in cm."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_cm: Float64Array

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """By joint."""
        return tuple(tuple(c for c, p in enumerate(self.parents) if p == joint) for joint in range(len(self.names)))


@dataclass(frozen=True)
class BoneMotion:
    """What a BVH file says: a tree, seconds a frame, ``root_cm`` (N, 3), ``rotations_deg`` (N, M, 3) about Z, X, Y."""

    tree: BoneTree
    frame_time_s: float
    root_cm: Float64Array
    rotations_deg: Float64Array

    def positions_cm(self) -> Float64Array:
        """(N, M, 3): forward kinematics."""
        local = matrices_zxy(self.rotations_deg)
        turned, placed = np.empty_like(local), np.empty_like(self.rotations_deg)
        for joint, parent in enumerate(self.tree.parents):
            if parent < 0:
                turned[:, joint], placed[:, joint] = local[:, joint], self.root_cm
                continue
            turned[:, joint] = turned[:, parent] @ local[:, joint]
            placed[:, joint] = placed[:, parent] + turned[:, parent] @ self.tree.offsets_cm[joint]
        return placed


def write_bvh_files(
    annotation: Annotation, folder: Path, *, overwrite: bool = False, note: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``NAME_ID.bvh`` for every person who has 3D poses.

    Args:
        annotation: With ``poses_3d``.
        folder: Created if its own folder exists.
        overwrite: Whether existing files may be replaced.
        note: Told each file before it is written.

    Returns:
        The files.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """

    def write(motion: PersonMotion, path: Path) -> None:
        write_bvh(bone_motion(motion), path, overwrite=overwrite)

    return write_person_files(annotation, folder, BVH_SUFFIX, write, note)


def write_bvh(motion: BoneMotion, path: Path, *, overwrite: bool = False) -> None:
    """Write one person.

    Args:
        motion: From `bone_motion`.
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    order = list(_depth_first(motion.tree, 0))
    values = np.concatenate([motion.root_cm, motion.rotations_deg[:, order].reshape(len(motion.root_cm), -1)], axis=1)
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as out,
    ):
        out.write("HIERARCHY\n")
        out.writelines(_hierarchy(motion.tree, 0, 0))
        out.write(f"MOTION\nFrames: {len(values)}\nFrame Time: {motion.frame_time_s:.8f}\n")
        for row in values:
            out.write(" ".join(_number(value) for value in row) + "\n")


def bone_motion(motion: PersonMotion, tree: JointTree = H36M17) -> BoneMotion:
    """Rotations from positions; see the module.

    Args:
        motion: Positions of the joints of ``tree``.
        tree: Joints with a direction in the rest pose: those of `H36M17`.

    Returns:
        The motion at even steps, without gaps.
    """
    positions = _even_positions(motion) / _MM_PER_CM
    lengths = np.zeros(len(tree))
    for parent, child in tree.bones:
        measured = np.linalg.norm(motion.positions_mm[:, child] - motion.positions_mm[:, parent], axis=-1) / _MM_PER_CM
        known = measured[np.isfinite(measured)]
        lengths[child] = np.median(known) if known.size else 0.0
    bones, joints = _with_helpers(tree, lengths)
    turned = np.tile(np.eye(3), (len(positions), len(bones.names), 1, 1))
    local = turned.copy()
    for bone, parent in enumerate(bones.parents):
        held = turned[:, parent] if parent >= 0 else turned[:, bone].copy()
        aims = _aims(bones, joints, positions, bone)
        if len(aims) > 1:
            turned[:, bone] = best_rotations(np.stack([r for r, _ in aims]), np.stack([d for _, d in aims], axis=1))
        elif aims:
            rest, wanted = aims[0]
            turned[:, bone] = shortest_rotations(held @ rest, wanted) @ held
        else:
            turned[:, bone] = held
        local[:, bone] = held.swapaxes(1, 2) @ turned[:, bone]
    rotations = np.unwrap(euler_zxy(local), period=360.0, axis=0)
    return BoneMotion(bones, 1.0 / motion.fps, positions[:, 0], rotations)


def _even_positions(motion: PersonMotion) -> Float64Array:
    """(N, J, 3): at even steps, gaps bridged by straight lines; a joint that is never there stays at the root."""
    count = round(float(motion.time_s[-1] - motion.time_s[0]) * motion.fps) + 1
    times = motion.time_s[0] + np.arange(count) / motion.fps
    positions = np.zeros((count, *motion.positions_mm.shape[1:]))
    for joint in range(positions.shape[1]):
        known = np.flatnonzero(np.isfinite(motion.positions_mm[:, joint]).all(axis=-1))
        for axis in range(3):
            if known.size:
                values = motion.positions_mm[known, joint, axis]
                positions[:, joint, axis] = np.interp(times, motion.time_s[known], values)
            else:
                positions[:, joint, axis] = positions[:, 0, axis]
    return positions


def _with_helpers(tree: JointTree, lengths: Float64Array) -> tuple[BoneTree, tuple[int, ...]]:
    """The tree as BVH has it, and for each of its joints the joint of ``tree`` at the same place."""
    counts = [tree.parents.count(joint) for joint in range(len(tree))]
    names, parents, offsets, joints = [tree.joint_names[0]], [-1], [np.zeros(3)], [0]
    place = {0: 0}
    for parent, child in tree.bones:
        above = place[parent]
        if counts[parent] > 1:
            names.append(f"{tree.joint_names[parent]}_to_{tree.joint_names[child]}")
            parents.append(above)
            offsets.append(np.zeros(3))
            joints.append(parent)
            above = len(names) - 1
        place[child] = len(names)
        names.append(tree.joint_names[child])
        parents.append(above)
        offsets.append(np.array(_REST[tree.joint_names[child]]) * lengths[child])
        joints.append(child)
    return BoneTree(tuple(names), tuple(parents), np.array(offsets)), tuple(joints)


def _aims(
    bones: BoneTree, joints: tuple[int, ...], positions: Float64Array, bone: int
) -> list[tuple[Float64Array, Float64Array]]:
    """What a joint must point at: (3,) direction in the rest pose and (N, 3) direction wanted, of every bone that leaves it."""
    found = []
    for child in bones.children[bone]:
        # behind a helper the bone that it holds
        end = bones.children[child][0] if joints[child] == joints[bone] else child
        rest = np.array(_REST[bones.names[end]])
        wanted = positions[:, joints[end]] - positions[:, joints[bone]]
        if np.any(bones.offsets_cm[end]):
            found.append((rest, wanted))
    return found


def _depth_first(tree: BoneTree, joint: int) -> Iterator[int]:
    yield joint
    for child in tree.children[joint]:
        yield from _depth_first(tree, child)


def _hierarchy(tree: BoneTree, joint: int, depth: int) -> Iterator[str]:
    indent, kind = "\t" * depth, "ROOT" if depth == 0 else "JOINT"
    yield f"{indent}{kind} {tree.names[joint]}\n{indent}{{\n"
    yield f"{indent}\tOFFSET {_offset(tree.offsets_cm[joint])}\n"
    yield f"{indent}\t{ROOT_CHANNELS if depth == 0 else CHANNELS}\n"
    for child in tree.children[joint]:
        yield from _hierarchy(tree, child, depth + 1)
    if not tree.children[joint]:
        end = _offset(tree.offsets_cm[joint] * _END_SHARE)
        yield f"{indent}\tEnd Site\n{indent}\t{{\n{indent}\t\tOFFSET {end}\n{indent}\t}}\n"
    yield f"{indent}}}\n"


def _offset(offset: Float64Array) -> str:
    return " ".join(_number(value) for value in offset)


def _number(value: float) -> str:
    return f"{round(float(value), _DECIMALS) + 0.0:.{_DECIMALS}f}"
