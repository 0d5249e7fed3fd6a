"""``posecli evaluate joints``: 3D poses against the truth, or a lifter on a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient
from posecli.defaults import LIFTER_WEIGHTS
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.evaluation.h36m import H36MReport
    from posecli.evaluation.mpi_inf_3dhp import Report3DHP

_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck_150", "auc")
_COUNTS = ("frames", "true_poses", "found_poses", "num_clips", "num_unseen", "num_broken", "missing_joints")


def joints(
    poses: Annotated[
        Path | None,
        typer.Argument(metavar="[POSES]", help="3D poses to judge: of posecli annotate --3d, or posecli lift."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Argument(metavar="[TRUTH]", help="True ones: labels of posecli synth clips, or 3D poses.")
    ] = None,
    same_size: Annotated[
        bool, typer.Option("--same-size", help="Make everybody as large as the true person first: size cannot be seen.")
    ] = False,
    weights: Annotated[
        str, typer.Option("--weights", help="For a data set: lifter weights, a name or a file.")
    ] = LIFTER_WEIGHTS,
    h36m: Annotated[
        Path | None,
        typer.Option("--h36m", help="Human3.6M: MotionBERT's .pkl file, or VideoPose3D's data_3d_h36m.npz."),
    ] = None,
    h36m_2d: Annotated[
        Path | None, typer.Option("--h36m-2d", help="With data_3d_h36m.npz: data_2d_h36m_gt.npz.")
    ] = None,
    mpi_inf_3dhp: Annotated[
        Path | None, typer.Option("--mpi-inf-3dhp", help="MPI-INF-3DHP: P-STMO's data_test_3dhp.npz.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Data sets: frames the lifter sees at a time.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option(help="Data sets: lift everything a second time, mirrored, and average, as papers do.")
    ] = True,
    per_joint: Annotated[bool, typer.Option("--per-joint", help="Also a table by joint.")] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")] = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Errors of 3D joints in millimetres; PCK at 150 mm and AUC in per cent.

    mpjpe: mean distance of joints, the root in place. p_mpjpe: after turning, moving and scaling each pose to fit best. n_mpjpe: after
    scaling only. mpjve: mean error of the motion from frame to frame.

    Example: posecli evaluate joints walk.poses.json clip_0000.json

    Example: posecli evaluate joints --weights posemamba-s.safetensors --h36m h36m_sh_conf_cam_source_final.pkl
    """
    make_threads_patient()
    _check_inputs(poses, truth, h36m, h36m_2d, mpi_inf_3dhp)
    if h36m is not None:
        _show_h36m(_on_h36m(weights, h36m, h36m_2d, frames, device, mirror), as_json=as_json, per_joint=per_joint)
    elif mpi_inf_3dhp is not None:
        found = _on_mpi_inf_3dhp(weights, mpi_inf_3dhp, frames, device, mirror)
        _show_mpi_inf_3dhp(found, as_json=as_json, per_joint=per_joint)
    else:
        assert poses is not None and truth is not None  # noqa: PT018 - checked
        _show_report(_of_files(poses, truth, same_size), as_json=as_json, per_joint=per_joint)


def _check_inputs(*given: Path | None) -> None:
    poses, truth, h36m, h36m_2d, mpi_inf_3dhp = given
    inputs = [name for name, path in (("POSES", poses), ("--h36m", h36m), ("--mpi-inf-3dhp", mpi_inf_3dhp)) if path]
    if len(inputs) != 1 or (truth is None) != (poses is None):
        raise ConfigError("POSES and TRUTH, or --h36m, or --mpi-inf-3dhp is needed, and only one of them")
    if h36m_2d is not None and h36m is None:
        raise ConfigError("--h36m-2d goes with --h36m data_3d_h36m.npz")
    if h36m is not None and (h36m.suffix == ".npz") != (h36m_2d is not None):
        raise ConfigError(f"--h36m {h36m}: an .npz file goes with --h36m-2d data_2d_h36m_gt.npz, a .pkl file without")


def _of_files(poses: Path, truth: Path, is_same_size: bool) -> dict[str, Any]:
    from posecli.evaluation.people_3d import compare_people_3d, read_people_3d

    return compare_people_3d(read_people_3d(poses), read_people_3d(truth), is_same_size=is_same_size)


def _on_h36m(
    weights: str, path: Path, path_2d: Path | None, frames: int | None, device: str, mirror: bool
) -> H36MReport:
    from posecli.evaluation.h36m_files import read_motionbert, read_videopose3d

    test = read_motionbert(path) if path_2d is None else read_videopose3d(path, path_2d)
    from posecli.evaluation.h36m import evaluate_h36m
    from posecli.evaluation.lift_network import load_lifter_under_test

    lifter, config = load_lifter_under_test(weights, device=device, is_mirrored=mirror)
    with console.progress("evaluate") as line:
        return evaluate_h36m(lifter, test, clip_frames=frames or config.max_frames, progress=line)


def _on_mpi_inf_3dhp(weights: str, path: Path, frames: int | None, device: str, mirror: bool) -> Report3DHP:
    from posecli.evaluation.mpi_inf_3dhp import evaluate_mpi_inf_3dhp, read_mpi_inf_3dhp

    sequences = read_mpi_inf_3dhp(path)
    from posecli.evaluation.lift_network import load_lifter_under_test

    lifter, config = load_lifter_under_test(weights, device=device, is_mirrored=mirror)
    with console.progress("evaluate") as line:
        return evaluate_mpi_inf_3dhp(lifter, sequences, clip_frames=frames or config.max_frames, progress=line)


def _show_h36m(report: H36MReport, *, as_json: bool, per_joint: bool) -> None:
    content = report.to_json()
    if not as_json:
        _print_rows("action", {**report.per_action, "mean": report.mean})
        console.print_data("")
    _show_report(content, as_json=as_json, per_joint=per_joint)


def _show_mpi_inf_3dhp(report: Report3DHP, *, as_json: bool, per_joint: bool) -> None:
    from posecli.evaluation.mpi_inf_3dhp import JOINT_NAMES

    if not as_json:
        _print_rows("sequence", report.per_sequence)
        console.print_data("")
    content = report.to_json()
    content["per_joint_mm"] = dict(zip(JOINT_NAMES, content["per_joint_mm"], strict=True))
    _show_report(content, as_json=as_json, per_joint=per_joint)


def _show_report(content: Mapping[str, Any], *, as_json: bool, per_joint: bool) -> None:
    if as_json:
        console.print_json(content)
        return
    names = [name for name in (*_METRICS, *_COUNTS) if name in content]
    console.print_table([{"metric": name, "value": _cell(content[name])} for name in names])
    if per_joint:
        console.print_data("")
        console.print_table([{"joint": name, "mpjpe_mm": _cell(v)} for name, v in content["per_joint_mm"].items()])


def _print_rows(head: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    names = [name for name in (*_METRICS, "frames") if any(name in row for row in rows.values())]
    console.print_table([{head: key, **{name: _cell(row.get(name)) for name in names}} for key, row in rows.items()])


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
