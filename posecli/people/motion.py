"""How a box moves: a Kalman filter over time in seconds, so that 10 fps and 120 fps behave alike.

A state is a value: `predict_motion` and `update_motion` return new ones, so that a track which misses ten detections is predicted
once, over the whole gap, and not in ten steps. Centre and size are four independent filters of (value, rate): cx, cy in px; log
width, log height. A rate fades to nothing with a time constant, because nobody walks on in a straight line for ever while hidden
and a box that grows by jitter must not explode. Noise is in units of the box height, so that distance from the camera cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray

Float64Array = NDArray[np.float64]

# Rows: cx, cy (in box heights), log width, log height.
_MEASUREMENT_STD = np.array([0.05, 0.05, 0.15, 0.08])
_FIRST_RATE_STD = np.array([0.8, 0.5, 0.2, 0.2])  # per second: a brisk walk is about 0.8 body heights per second
_RATE_NOISE_STD = np.array([1.0, 0.7, 0.3, 0.3])  # per second and root second: from standing to walking within a step
_FADE_S = np.array([2.0, 2.0, 0.5, 0.5])
_MIN_SIDE_PX = 1.0


@dataclass(frozen=True, slots=True)
class MotionState:
    """Where a box is believed to be at ``time_s``.

    ``mean`` (4, 2): rows cx, cy (px), log width, log height; columns value and rate (per second). ``covariance`` (4, 2, 2): the
    four filters are independent of each other.
    """

    time_s: float
    mean: Float64Array
    covariance: Float64Array

    @property
    def box(self) -> Float64Array:
        """(4,) xyxy px."""
        centre, half = self.mean[:2, 0], np.exp(self.mean[2:, 0]) / 2.0
        return np.concatenate([centre - half, centre + half])

    @property
    def centre(self) -> Float64Array:
        """(2,) px."""
        return self.mean[:2, 0]

    @property
    def height_px(self) -> float:
        """The height of the box."""
        return float(np.exp(self.mean[3, 0]))

    def centre_at(self, time_s: float) -> Float64Array:
        """(2,) px: the centre at another time, earlier ones included (straight backwards)."""
        dt_s = time_s - self.time_s
        reach = np.where(dt_s < 0.0, dt_s, _FADE_S[:2] * -np.expm1(-max(dt_s, 0.0) / _FADE_S[:2]))
        return np.asarray(self.mean[:2, 0] + reach * self.mean[:2, 1], np.float64)


def start_motion(box: FloatArray | Float64Array, time_s: float) -> MotionState:
    """The state after a first box: it may move either way, at walking speed or so."""
    value = _measure(box)
    unit = _units(value)
    covariance = np.zeros((4, 2, 2))
    covariance[:, 0, 0] = (_MEASUREMENT_STD * unit) ** 2
    covariance[:, 1, 1] = (_FIRST_RATE_STD * unit) ** 2
    return MotionState(time_s, np.stack([value, np.zeros(4)], axis=1), covariance)


def predict_motion(state: MotionState, time_s: float) -> MotionState:
    """The state moved on to ``time_s``; a time before the state's own leaves it where it is."""
    dt_s = max(time_s - state.time_s, 0.0)
    fade = np.exp(-dt_s / _FADE_S)
    reach = _FADE_S * (1.0 - fade)
    transition = np.zeros((4, 2, 2))
    transition[:, 0, 0], transition[:, 0, 1], transition[:, 1, 1] = 1.0, reach, fade
    # Exact noise of a fading rate driven by white noise: two steps of dt give the same as one of 2 dt.
    density = (_RATE_NOISE_STD * _units(state.mean[:, 0])) ** 2
    noise = np.zeros((4, 2, 2))
    noise[:, 0, 0] = density * _FADE_S**2 * (dt_s - 2.0 * reach + _FADE_S / 2.0 * (1.0 - fade**2))
    noise[:, 0, 1] = noise[:, 1, 0] = density * reach**2 / 2.0
    noise[:, 1, 1] = density * _FADE_S / 2.0 * (1.0 - fade**2)
    mean = (transition @ state.mean[:, :, None])[:, :, 0]
    covariance = transition @ state.covariance @ transition.transpose(0, 2, 1) + noise
    return MotionState(max(time_s, state.time_s), mean, covariance)


def update_motion(state: MotionState, box: FloatArray | Float64Array, *, noise_factor: float = 1.0) -> MotionState:
    """Correct a predicted state by the box seen at its time.

    Args:
        state: Predicted to the time of the box.
        box: (4,) xyxy px.
        noise_factor: How many times the usual jitter this box has (weak detections: above 1).
    """
    innovation = _measure(box) - state.mean[:, 0]
    measurement_var = (noise_factor * _MEASUREMENT_STD * _units(state.mean[:, 0])) ** 2
    gain = state.covariance[:, :, 0] / (state.covariance[:, 0, 0] + measurement_var)[:, None]
    mean = state.mean + gain * innovation[:, None]
    covariance = state.covariance - gain[:, :, None] * state.covariance[:, None, 0, :]
    return MotionState(state.time_s, mean, (covariance + covariance.transpose(0, 2, 1)) / 2.0)


def motion_surprise(state: MotionState, boxes: FloatArray | Float64Array) -> tuple[Float64Array, float]:
    """How badly boxes fit a predicted state.

    Args:
        state: Predicted to the time of the boxes.
        boxes: (N, 4) xyxy px.

    Returns:
        (N,) squared Mahalanobis distances (chi-square with 4 degrees of freedom when the box is the track's), and the log
        determinant of the innovation covariance in units of the box height: add it to compare the claims of several tracks,
        because a track that knows little must not win by its own vagueness.
    """
    unit = _units(state.mean[:, 0])
    variance = (state.covariance[:, 0, 0] + (_MEASUREMENT_STD * unit) ** 2) / unit**2
    innovation = (
        (np.stack([_measure(box) for box in boxes]) - state.mean[:, 0]) / unit if len(boxes) else np.zeros((0, 4))
    )
    return np.asarray((innovation**2 / variance).sum(axis=1), np.float64), float(np.log(variance).sum())


def reverse_motion(state: MotionState) -> MotionState:
    """The same state in a film run backwards: at minus its time, with opposite rates."""
    sign = np.array([1.0, -1.0])
    return MotionState(-state.time_s, state.mean * sign, state.covariance * np.outer(sign, sign))


def motion_misfit(state: MotionState, other: MotionState) -> Float64Array:
    """How badly two states of the same moment, known independently, fit one person.

    Args:
        state: From the past.
        other: From the future, see `reverse_motion`.

    Returns:
        (4,) squared Mahalanobis distances of value and rate: chi-square with 2 degrees of freedom for each of cx, cy, log width and
        log height when it is one person.
    """
    difference = state.mean - other.mean
    solved = np.linalg.solve(state.covariance + other.covariance, difference[:, :, None])[:, :, 0]
    return np.asarray((difference * solved).sum(axis=1), np.float64)


def _measure(box: FloatArray | Float64Array) -> Float64Array:
    """(4,) xyxy px -> cx, cy, log width, log height."""
    corners = np.asarray(box, np.float64)
    sides = np.maximum(corners[2:] - corners[:2], _MIN_SIDE_PX)
    return np.concatenate([(corners[:2] + corners[2:]) / 2.0, np.log(sides)])


def _units(value: Float64Array) -> Float64Array:
    """(4,): px per unit of noise; the box height for the centre, 1 for the logarithms."""
    height = np.exp(value[3])
    return np.array([height, height, 1.0, 1.0])
