"""The picture of a stage: dark ground with a grid, soft shadows on it, and the people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import ImageArray
from posecli.video.figure import Bones, bones_of, draw_figures
from posecli.video.overlay import draw_text, person_colour
from posecli.video.stage import Figure, Stage
from posecli.video.turntable import TurntableCamera, fit_camera, fit_view

_BACKDROP = ((40, 43, 49), (24, 26, 30))  # top and bottom
_GROUND = (74, 79, 88)
_GRID = 46  # added to the ground
_HAZE = (44, 47, 54)
_SHADOW = 0.72
_SHADOW_BLUR_MM = 38.0
_SHADOW_FADES_MM = 1800.0
_GRID_CELLS_MM = (500.0, 1000.0)
_WIDE_MM = 2500.0
_RING_RADIUS_MM = 330.0
_BALL_MM = 110.0  # around a joint: the largest is the head's
_SEVERAL_FILL = 0.95  # of the panel: several people are small enough
_SHIFT = 4


class FigurePanel:
    """Draws the people of a stage, always framed alike.

    Args:
        stage: Who stands where.
        size_wh: Of the pictures, px.
        camera: What looks at the stage; by default one that sees everybody in every frame from every side.
    """

    def __init__(self, stage: Stage, size_wh: tuple[int, int], *, camera: TurntableCamera | None = None) -> None:
        self.stage = stage
        if camera is None and stage.num_people > 1:
            camera = fit_camera(size_wh, stage.rings_mm, filled=_SEVERAL_FILL)
        self.camera = camera or fit_camera(size_wh, stage.rings_mm)
        radius = float(stage.rings_mm[:, 0].max())
        # Not beyond the eye, where lines would turn around.
        self._ground_mm = min(1.35 * radius + 700.0, 0.85 * self.camera.distance_mm)
        self._cell_mm = _GRID_CELLS_MM[radius > _WIDE_MM]
        self._base, self._fading = self._backdrop()

    def close_up(self, frame_index: int, azimuth_rad: float) -> FigurePanel:
        """A panel for one picture: its camera frames the people of one frame as seen from one side.

        Where there is one person in all frames it is this panel, whose camera is near already, so that cells are comparable.
        """
        figures = self.stage.figures_at(frame_index)
        joints = np.concatenate([figure.joints_mm for figure in figures]) if figures else np.empty((0, 3))
        joints = joints[np.isfinite(joints).all(axis=1)]
        if self.stage.num_people == 1 or len(joints) == 0:
            return self
        circles = np.concatenate([_ring(figure) for figure in figures])
        points = np.concatenate([joints, circles])
        radii = np.repeat((_BALL_MM, 0.0), (len(joints), len(circles)))
        camera = fit_view(self.camera.size_wh, points, radii, azimuth_rad, filled=_SEVERAL_FILL)
        return FigurePanel(self.stage, self.camera.size_wh, camera=camera)

    def draw(self, frame_index: int, azimuth_rad: float) -> ImageArray:
        """The people of one frame.

        Args:
            frame_index: Of the video.
            azimuth_rad: Where the camera is on its circle, see `posecli.video.turntable`.

        Returns:
            (H, W, 3) uint8 RGB; without people the empty ground.
        """
        canvas = self._base.copy()
        figures = self.stage.figures_at(frame_index)
        self._draw_grid(canvas, self.stage.centre_at(frame_index), azimuth_rad)
        if figures:
            self._draw_shadows(canvas, bones_of(figures), azimuth_rad)
        if self.stage.num_people > 1:
            self._draw_rings(canvas, figures, azimuth_rad)
        draw_figures(canvas, figures, self.camera, azimuth_rad, haze=_HAZE)
        if self.stage.num_people > 1:
            self._draw_labels(canvas, figures, azimuth_rad)
        return canvas

    def _backdrop(self) -> tuple[ImageArray, NDArray[np.uint8]]:
        """The picture without anything that moves, and (H, W) how visible the ground is, of 255."""
        width, height = self.camera.size_wh
        down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
        backdrop = np.array(_BACKDROP[0]) * (1 - down) + np.array(_BACKDROP[1]) * down
        far = self.camera.ground_radius_mm() / self._ground_mm
        near = np.clip(1.0 - far, 0.0, 1.0)
        fading = near * near * (3 - 2 * near)
        base = backdrop * (1 - fading[..., None]) + np.array(_GROUND) * fading[..., None]
        # Half a level of noise, always the same: a slow gradient in eight bits would show bands.
        noise = np.random.default_rng(0).random((height, width, 1)) - 0.5
        return np.rint(base + noise).astype(np.uint8), np.rint(255 * fading).astype(np.uint8)

    def _draw_grid(self, canvas: ImageArray, centre: tuple[float, float], azimuth_rad: float) -> None:
        """Lines of the video's ground, which pass below people who walk."""
        ends = []
        for axis in (0, 1):
            first = np.ceil((centre[axis] - self._ground_mm) / self._cell_mm)
            at = np.arange(first * self._cell_mm, centre[axis] + self._ground_mm, self._cell_mm) - centre[axis]
            half = np.sqrt(np.maximum(self._ground_mm**2 - at**2, 0.0))
            lines = np.zeros((len(at), 2, 3))
            lines[:, :, 2 * axis] = at[:, None]
            lines[:, :, 2 - 2 * axis] = half[:, None] * (-1, 1)
            ends.append(lines)
        points, _ = self.camera.project(np.concatenate(ends), azimuth_rad)
        mask = np.zeros(canvas.shape[:2], np.uint8)
        thickness = max(round(min(canvas.shape[:2]) / 500), 1)
        for start, end in np.rint(points * (1 << _SHIFT)).astype(int).tolist():
            cv2.line(mask, start, end, (_GRID,), thickness, cv2.LINE_AA, _SHIFT)
        cv2.multiply(mask, self._fading, dst=mask, scale=1 / 255)
        cv2.add(canvas, cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB), dst=canvas)

    def _draw_shadows(self, canvas: ImageArray, bones: Bones, azimuth_rad: float) -> None:
        """As if light came from straight above, paler the higher a limb is."""
        height = np.maximum(-bones.ends_mm[..., 1].mean(axis=1), 0.0)
        darkness = 255 * _SHADOW * np.exp(-height / _SHADOW_FADES_MM)
        points, depths = self.camera.project(bones.ends_mm * (1.0, 0.0, 1.0), azimuth_rad)
        widths = 2 * self.camera.focal_px * bones.radii_mm.mean(axis=1) / depths.mean(axis=1)
        blur_px = self.camera.focal_px * _SHADOW_BLUR_MM / self.camera.distance_mm
        margin = float(widths.max(initial=1.0)) + 3 * blur_px + 2
        low = np.floor((points.reshape(-1, 2) - margin).min(axis=0, initial=1e6)).astype(int).clip(0, None)
        high = np.ceil((points.reshape(-1, 2) + margin).max(axis=0, initial=0)).astype(int).clip(0, None) + 1
        window = canvas[low[1] : high[1], low[0] : high[0]]
        if window.size == 0:
            return
        # Soft things need few pixels.
        mask = np.zeros((window.shape[0] // 2 + 1, window.shape[1] // 2 + 1), np.uint8)
        fixed = np.rint((points - low) / 2 * (1 << _SHIFT)).astype(int).tolist()
        for k in np.argsort(darkness).tolist():
            start, end = fixed[k]
            cv2.line(mask, start, end, (float(darkness[k]),), max(round(widths[k] / 2), 1), cv2.LINE_AA, _SHIFT)
        cv2.GaussianBlur(mask, (0, 0), max(blur_px / 2, 0.5), dst=mask)
        light = cv2.resize(255 - mask, window.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        cv2.multiply(window, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), dst=window, scale=1 / 255)

    def _rings(self, figures: Sequence[Figure], azimuth_rad: float) -> list[NDArray[np.float64]]:
        """(49, 2) px for each person: a circle around them on the ground."""
        return [self.camera.project(_ring(figure), azimuth_rad)[0] for figure in figures]

    def _draw_rings(self, canvas: ImageArray, figures: Sequence[Figure], azimuth_rad: float) -> None:
        """In the colour of the person's box in the overlay."""
        thickness = max(round(min(canvas.shape[:2]) / 270), 1)
        for figure, ring in zip(figures, self._rings(figures, azimuth_rad), strict=True):
            curve = np.rint(ring * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(canvas, [curve], True, person_colour(figure.track_id), thickness, cv2.LINE_AA, _SHIFT)

    def _draw_labels(self, canvas: ImageArray, figures: Sequence[Figure], azimuth_rad: float) -> None:
        """The ids, to the right of the rings."""
        text_px = max(0.024 * min(canvas.shape[:2]), 9.0)
        for figure, ring in zip(figures, self._rings(figures, azimuth_rad), strict=True):
            right = ring[int(np.argmax(ring[:, 0]))]
            place = (float(right[0]), float(right[1]) + text_px)
            draw_text(canvas, f"{figure.track_id}", place, text_px=text_px, background=person_colour(figure.track_id))


def _ring(figure: Figure) -> NDArray[np.float64]:
    """(49, 3): a circle on the ground around the point below a person."""
    angles = np.linspace(0.0, 2 * np.pi, 49)
    circle = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=-1) * _RING_RADIUS_MM
    middle = np.nan_to_num(figure.joints_mm[0].astype(np.float64))
    return np.asarray(circle + middle * (1.0, 0.0, 1.0))
