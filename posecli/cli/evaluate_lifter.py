"""``posecli evaluate lifter``: 3D weights on recorded motion that they were never trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from posecli.cli import console, options
from posecli.defaults import LIFTER_WEIGHTS
from posecli.errors import ConfigError

_COLUMNS = {
    "mpjpe_mm": "MPJPE mm",
    "p_mpjpe_mm": "P-MPJPE mm",
    "n_mpjpe_mm": "N-MPJPE mm",
    "mpjve_mm": "MPJVE mm/frame",
    "pck_150": "PCK@150",
    "auc": "AUC",
}


def lifter(
    mocap: Annotated[Path, typer.Argument(metavar="MOCAP", help="Recorded joints, an NPZ.", exists=True)],
    weights: Annotated[str, typer.Option("--weights", help="3D weights: a name or a file.")] = LIFTER_WEIGHTS,
    frames: Annotated[str, typer.Option("--frames", help="Lengths of the clips.")] = "243,81,27",
    mirror: Annotated[
        bool, typer.Option("--mirror/--once", help="Look a second time in the mirror, as papers do.")
    ] = True,
    views: Annotated[int, typer.Option("--views", min=1, help="Cameras for each clip.")] = 3,
    seed: Annotated[int, typer.Option("--seed", help="Of cameras and errors.")] = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure 3D weights on recordings held out of their training, with exact keypoints and with an estimator's errors.

    Example: posecli evaluate lifter mocap/cmu_17j_30fps.npz
    """
    lengths = _lengths(frames)
    from posecli.lifting.checkpoint import load_lifter_network
    from posecli.training.lifting.clips import held_out_clips
    from posecli.training.lifting.held_out import HELD_OUT
    from posecli.training.lifting.judge import judge, keypoint_error_mm
    from posecli.training.lifting.mocap import read_mocap
    from posecli.training.lifting.noise import NoiseModel

    network, loaded = load_lifter_network(weights)
    if network.config.normalisation != "person":
        raise ConfigError(
            f"{loaded.path}: reads places in the picture; recordings under random cameras suit posecli's own lifters only",
            hint="judge it with posecli evaluate joints --h36m",
        )
    sequences = [sequence for sequence in read_mocap(mocap).sequences if sequence.name in HELD_OUT]
    if not sequences:
        raise ConfigError(f"{mocap}: holds none of the recordings that are held out of training")
    rows: list[dict[str, Any]] = []
    for length in lengths:
        exact = held_out_clips(sequences, length, seed=seed, cameras_each=views)
        seen = held_out_clips(sequences, length, seed=seed, cameras_each=views, noise=NoiseModel())
        for keypoints, clips in (("exact", exact), ("with errors", seen)):
            off_mm = keypoint_error_mm(exact, clips)
            report = judge(network, clips, is_mirrored=mirror)
            rows.append({"keypoints": keypoints, "keypoints_off_mm": off_mm, "frames_a_clip": length, **report})
    rows.sort(key=lambda row: row["keypoints_off_mm"] > 0)  # exact ones first
    if as_json:
        console.print_json({"weights": loaded.name, "sha256": loaded.sha256, "mirror": mirror, "results": rows})
        return
    console.print_table([_shown(row) for row in rows])


def _lengths(text: str) -> list[int]:
    try:
        lengths = [int(part) for part in text.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 1:
        raise ConfigError(f"--frames {text!r} is not a list of lengths", hint="for example 243,81,27")
    return lengths


def _shown(row: dict[str, Any]) -> dict[str, object]:
    figures = {title: f"{row[key]:.1f}" for key, title in _COLUMNS.items()}
    return {
        "keypoints": row["keypoints"],
        "off by, mm": f"{row['keypoints_off_mm']:.1f}",
        "frames a clip": row["frames_a_clip"],
        **figures,
    }
