"""How far 3D joints are from the true ones.

All of these take (..., J, 3) millimetres, relative to the root already (nothing here moves a pose, but for the alignments that a
metric is defined by), and count what ``is_valid`` (..., J) says; without it every joint whose truth is finite. A prediction that is
missing (NaN) where the truth is known has no distance: it is left out of the averages in millimetres, is wrong for PCK and AUC, and
`joints_report` says how many there are.

- MPJPE: mean Euclidean distance over the joints of a frame (a root that is 0 in both counts, as papers do), then over frames.
- P-MPJPE: the same after the best rotation (no reflection), scale and translation of each frame. N-MPJPE: after the best scale.
- MPJVE: the same for the first differences in time; mm a frame.
- PCK@150: share of joints closer than 150 mm (not at 150), pooled over frames and joints. AUC: its mean over the 31 thresholds
  0, 5, ..., 150 mm.

Definitions: Human3.6M's protocols 1 and 2 as in the code of MotionBERT (and PoseMamba); PCK and AUC as in MPI-INF-3DHP's own script.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posecli.records import BoolArray

Reals = NDArray[np.float64]

PCK_LIMIT_MM = 150.0
AUC_THRESHOLDS_MM = tuple(range(0, 151, 5))
PCK_JOINTS: tuple[int, ...] = (*range(1, 7), 8, *range(10, 17))
"""Of `posecli.skeletons.H36M17`: the joints that MPI-INF-3DHP's PCK counts; not the root, the spine and the neck."""

_LEAST_JOINTS = 3  # fewer have no one best rotation


def mpjpe(predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None = None) -> Reals:
    """Mean joint distance of each frame.

    Args:
        predicted: (..., J, 3) mm.
        truth: (..., J, 3) mm.
        is_valid: (..., J), see the module.

    Returns:
        (...) mm; NaN where no joint can be compared.
    """
    pred, true, is_compared = _compared(predicted, truth, is_valid)
    return _mean_distance(pred, true, is_compared)


def p_mpjpe(predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None = None) -> Reals:
    """Mean joint distance of each frame after the best similarity transform of the prediction (Procrustes; no reflection).

    Args:
        predicted: (..., J, 3) mm.
        truth: (..., J, 3) mm.
        is_valid: (..., J), see the module.

    Returns:
        (...) mm; NaN where fewer than three joints can be compared.
    """
    pred, true, is_compared = _compared(predicted, truth, is_valid)
    errors = _mean_distance(_procrustes(pred, true, is_compared), true, is_compared)
    return np.where(is_compared.sum(axis=-1) >= _LEAST_JOINTS, errors, np.nan)


def n_mpjpe(predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None = None) -> Reals:
    """Mean joint distance of each frame after the scaling of the prediction that is best in the sense of least squares.

    Args:
        predicted: (..., J, 3) mm.
        truth: (..., J, 3) mm.
        is_valid: (..., J), see the module.

    Returns:
        (...) mm; NaN where no joint can be compared.
    """
    pred, true, is_compared = _compared(predicted, truth, is_valid)
    scale = _ratio((pred * true).sum(axis=(-2, -1)), (pred * pred).sum(axis=(-2, -1)))
    return _mean_distance(scale[..., None, None] * pred, true, is_compared)


def mpjve(predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None = None) -> Reals:
    """Mean distance of the joints' steps from each frame to the next.

    Args:
        predicted: (..., T, J, 3) mm; frames that follow each other in time. A gap is a frame without valid joints.
        truth: (..., T, J, 3) mm.
        is_valid: (..., T, J), see the module.

    Returns:
        (..., T - 1) mm a frame; NaN where no joint can be compared in both frames.
    """
    pred, true, is_compared = _compared(predicted, truth, is_valid)
    is_both = is_compared[..., 1:, :] & is_compared[..., :-1, :]
    return _mean_distance(np.diff(pred, axis=-3), np.diff(true, axis=-3), is_both)


def pck(
    predicted: ArrayLike,
    truth: ArrayLike,
    is_valid: BoolArray | None = None,
    *,
    joints: Sequence[int] = PCK_JOINTS,
    limit_mm: float = PCK_LIMIT_MM,
) -> float:
    """Share of joints closer to the truth than a limit, in per cent, pooled over frames and joints.

    Args:
        predicted: (..., J, 3) mm.
        truth: (..., J, 3) mm.
        is_valid: (..., J), see the module.
        joints: Which count.
        limit_mm: A joint exactly there is wrong.

    Returns:
        In [0, 100]; NaN where there is nothing to count.
    """
    return float(_shares_within(predicted, truth, is_valid, joints, [limit_mm])[0])


def auc(
    predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None = None, *, joints: Sequence[int] = PCK_JOINTS
) -> float:
    """Mean of `pck` over the limits 0, 5, ..., 150 mm; the first is always 0, so that 96.8 is the most.

    Args:
        predicted: (..., J, 3) mm.
        truth: (..., J, 3) mm.
        is_valid: (..., J), see the module.
        joints: Which count.

    Returns:
        In [0, 100]; NaN where there is nothing to count.
    """
    return float(_shares_within(predicted, truth, is_valid, joints, AUC_THRESHOLDS_MM).mean())


def joints_report(
    pred_mm: ArrayLike, true_mm: ArrayLike, is_valid: BoolArray | None = None, *, pck_joints: Sequence[int] = PCK_JOINTS
) -> dict[str, Any]:
    """Every metric of this module.

    Args:
        pred_mm: (..., T, J, 3) mm relative to the root; T frames that follow each other (for MPJVE).
        true_mm: (..., T, J, 3) mm relative to the root.
        is_valid: (..., T, J), see the module.
        pck_joints: Which joints count for PCK and AUC.

    Returns:
        ``mpjpe_mm``, ``p_mpjpe_mm``, ``n_mpjpe_mm``, ``mpjve_mm`` (mm a frame), ``pck_150`` and ``auc`` (per cent), ``per_joint_mm``
        (a list of J mean distances), ``frames`` (how many have a joint that is compared), ``missing_joints`` (how many known ones have
        no prediction). ``None`` where there is nothing to average.
    """
    pred, true, is_compared = _compared(pred_mm, true_mm, is_valid)
    is_known = _known(true_mm, is_valid)
    per_frame = _mean_distance(pred, true, is_compared)
    distances = np.where(is_compared, np.linalg.norm(pred - true, axis=-1), np.nan)
    return {
        "mpjpe_mm": _mean(per_frame),
        "p_mpjpe_mm": _mean(p_mpjpe(pred, true, is_compared)),
        "n_mpjpe_mm": _mean(n_mpjpe(pred, true, is_compared)),
        "mpjve_mm": _mean(mpjve(pred, true, is_compared)),
        "pck_150": _finite(pck(pred_mm, true_mm, is_valid, joints=pck_joints)),
        "auc": _finite(auc(pred_mm, true_mm, is_valid, joints=pck_joints)),
        "per_joint_mm": [_mean(column) for column in np.moveaxis(distances, -1, 0)],
        "frames": int(np.isfinite(per_frame).sum()),
        "missing_joints": int((is_known & ~is_compared).sum()),
    }


def _known(truth: ArrayLike, is_valid: BoolArray | None) -> BoolArray:
    is_finite = np.isfinite(np.asarray(truth, np.float64)).all(axis=-1)
    return np.asarray(is_finite if is_valid is None else is_finite & is_valid)


def _compared(predicted: ArrayLike, truth: ArrayLike, is_valid: BoolArray | None) -> tuple[Reals, Reals, BoolArray]:
    """Both poses with 0 in place of what is not compared, and what is."""
    pred, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if pred.shape != true.shape or pred.shape[-1:] != (3,):
        raise ValueError(f"predicted joints {pred.shape} and true ones {true.shape}: both must be (..., J, 3)")
    is_compared = _known(true, is_valid) & np.isfinite(pred).all(axis=-1)
    shown = is_compared[..., None]
    return np.where(shown, pred, 0.0), np.where(shown, true, 0.0), is_compared


def _mean_distance(pred: Reals, true: Reals, is_compared: BoolArray) -> Reals:
    distances = np.linalg.norm(pred - true, axis=-1)
    counts = is_compared.sum(axis=-1)
    total = np.where(is_compared, distances, 0.0).sum(axis=-1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _procrustes(pred: Reals, true: Reals, is_compared: BoolArray) -> Reals:
    """The predictions moved on the truths; joints that are not compared end up anywhere."""
    counts = np.maximum(is_compared.sum(axis=-1), 1)[..., None, None]
    pred_middle, true_middle = pred.sum(axis=-2, keepdims=True) / counts, true.sum(axis=-2, keepdims=True) / counts
    shown = is_compared[..., None]
    own, wanted = np.where(shown, pred - pred_middle, 0.0), np.where(shown, true - true_middle, 0.0)
    left, sizes, right = np.linalg.svd(np.swapaxes(own, -2, -1) @ wanted)
    # where the best orthogonal map is a reflection, the weakest direction is turned round
    signs = np.ones_like(sizes)
    signs[..., 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation = (left * signs[..., None, :]) @ right
    scale = _ratio((sizes * signs).sum(axis=-1), (own * own).sum(axis=(-2, -1)))
    return scale[..., None, None] * own @ rotation + true_middle


def _ratio(numerator: Reals, denominator: Reals) -> Reals:
    """0 where the denominator is: a prediction that is a single point cannot be scaled."""
    is_zero = denominator == 0.0
    return np.where(is_zero, 0.0, numerator / np.where(is_zero, 1.0, denominator))


def _shares_within(
    predicted: ArrayLike,
    truth: ArrayLike,
    is_valid: BoolArray | None,
    joints: Sequence[int],
    limits_mm: Sequence[float],
) -> Reals:
    pred, true, is_compared = _compared(predicted, truth, is_valid)
    columns = list(joints)
    is_counted = _known(truth, is_valid)[..., columns]
    distances = np.where(is_compared, np.linalg.norm(pred - true, axis=-1), np.inf)[..., columns][is_counted]
    if not len(distances):
        return np.full(len(limits_mm), np.nan)
    return np.array([100.0 * (distances < limit).mean() for limit in limits_mm])


def _mean(values: Reals) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
