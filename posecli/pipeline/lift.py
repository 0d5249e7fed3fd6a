"""The step from tracks to 3D poses, and the files made of these: for `annotate` and for a poses file alike."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from posecli.atomic import check_output
from posecli.formats.bvh import BVH_SUFFIX, write_bvh_files
from posecli.formats.npz import write_npz
from posecli.formats.person_motion import check_person_files
from posecli.formats.run import UsedWeights
from posecli.formats.trc import TRC_SUFFIX, write_trc_files
from posecli.lifting.lifter import Lifter
from posecli.records import Annotation

ROLE = "lifting"


@dataclass(frozen=True)
class MotionFiles:
    """Files of 3D poses to write; ``None`` is not written. ``trc`` and ``bvh`` are folders, one file a person; ``npz`` is a file."""

    trc: Path | None = None
    bvh: Path | None = None
    npz: Path | None = None

    def __bool__(self) -> bool:
        return any(path is not None for path in (self.trc, self.bvh, self.npz))

    def check(self, video: Path, *, overwrite: bool, own: Container[str] = ()) -> None:
        """Refuse outputs early.

        Args:
            video: Whose name the files carry.
            overwrite: Whether existing files may be replaced.
            own: Names of files that may be replaced in any case.

        Raises:
            OutputError: See `posecli.atomic.check_output`.
        """
        for folder, suffix in ((self.trc, TRC_SUFFIX), (self.bvh, BVH_SUFFIX)):
            if folder is not None:
                check_person_files(folder, video.stem, suffix, overwrite=overwrite, own=own)
        if self.npz is not None:
            check_output(self.npz, overwrite=overwrite or self.npz.name in own)

    def write(self, annotation: Annotation, note: Callable[[Path], None]) -> list[Path]:
        """Write them all, replacing what is there.

        Args:
            annotation: With ``poses_3d``.
            note: Told each file before it is written.

        Returns:
            The files.

        Raises:
            OutputError: See `posecli.atomic.check_output`.
        """
        written = []
        for folder, write in ((self.trc, write_trc_files), (self.bvh, write_bvh_files)):
            if folder is not None:
                written += write(annotation, folder, overwrite=True, note=note)
        if self.npz is not None:
            note(self.npz)
            write_npz(annotation, self.npz, overwrite=True)
            written.append(self.npz)
        return written


def used_weights(lifter: Lifter) -> UsedWeights:
    """For the run record."""
    return UsedWeights(ROLE, lifter.name, lifter.sha256)


def lift_annotation(
    annotation: Annotation, lifter: Lifter, progress: Callable[[int], None] | None = None
) -> Annotation:
    """The same annotation with every track in 3D; its run record says by which lifter, in the place of any other.

    Args:
        annotation: With 2D poses.
        lifter: What lifts.
        progress: Told how many poses are done.
    """
    weights = [used for used in annotation.run.get("weights", ()) if used["role"] != ROLE]
    run = {**annotation.run, "weights": [*weights, asdict(used_weights(lifter))], "lifting": lifter.facts()}
    return replace(annotation, poses_3d=lifter.lift_all(annotation, progress), run=run)
