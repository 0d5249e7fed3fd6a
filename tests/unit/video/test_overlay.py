"""Light falls where it should, on a copy, in the right colour, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.skeletons import POSECLI19
from posecli.video.overlay import (
    OVERLAY_STYLES,
    PERSON_COLOURS,
    SIDE_COLOURS,
    DrawnPose,
    OverlayStyle,
    draw_poses,
    draw_text,
    get_style,
    limb_colour,
    person_colour,
)

BARE = OverlayStyle(has_boxes=False, has_labels=False, has_outline=False, dot_scale=0.0)
DOTS = OverlayStyle(has_boxes=False, has_labels=False, has_outline=False)


def _black(width=320, height=240) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def _pose(points: dict[str, tuple[float, float]], *, score=1.0, box=(40, 20, 280, 220), track_id=0, **options):
    keypoints = np.full((len(POSECLI19), 2), np.nan, np.float32)
    scores = np.zeros(len(POSECLI19), np.float32)
    for name, point in points.items():
        keypoints[POSECLI19.index(name)] = point
        scores[POSECLI19.index(name)] = score
    corners = None if box is None else np.array(box, np.float32)
    return DrawnPose(track_id, keypoints, scores, corners, POSECLI19, **options)


def _centroid(image: np.ndarray) -> tuple[float, float]:
    weight = image.astype(float).sum(axis=2)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


@pytest.mark.parametrize("point", [(100.0, 80.0), (100.25, 80.75), (51.5, 200.125)])
def test_a_dot_lies_on_its_keypoint(point):
    image = draw_poses(_black(), [_pose({"nose": point})], style=DOTS)
    assert _centroid(image) == pytest.approx(point, abs=0.15)


def test_the_centre_of_the_first_pixel_is_zero():
    image = draw_poses(_black(), [_pose({"nose": (0.0, 0.0)})], style=DOTS)
    reach = [int(image[0].any(axis=1).sum()), int(image[:, 0].any(axis=1).sum())]
    assert image[0, 0].tolist() == list(SIDE_COLOURS["middle"])
    assert abs(reach[0] - reach[1]) <= 1


@pytest.mark.parametrize(
    "points", [((60, 50), (200, 50)), ((60.5, 50.5), (200.5, 190.5)), ((100.25, 30), (100.25, 200))]
)
def test_a_limb_lies_between_its_keypoints(points):
    image = draw_poses(_black(), [_pose({"left_knee": points[0], "left_ankle": points[1]})], style=BARE)
    middle = (np.array(points[0]) + points[1]) / 2
    assert _centroid(image) == pytest.approx(tuple(middle), abs=0.3)
    assert image[round(middle[1]), round(middle[0])].tolist() == list(SIDE_COLOURS["left"])


def test_no_person_looks_like_a_side():
    for person in PERSON_COLOURS:
        assert min(np.abs(np.subtract(person, side)).sum() for side in SIDE_COLOURS.values()) > 90
    assert len(set(PERSON_COLOURS)) == 10


def test_sides_have_colours():
    names = POSECLI19.keypoint_names
    by_limb = {(names[a], names[b]): limb_colour(POSECLI19, (a, b)) for a, b in POSECLI19.limbs}
    assert by_limb["left_ankle", "left_knee"] == SIDE_COLOURS["left"]
    assert by_limb["right_shoulder", "right_elbow"] == SIDE_COLOURS["right"]
    assert by_limb["left_hip", "right_hip"] == SIDE_COLOURS["middle"]
    assert len(set(SIDE_COLOURS.values())) == 3


def test_the_picture_given_is_not_changed():
    image = _black()
    drawn = draw_poses(image, [_pose({"nose": (50, 50)})])
    assert image.max() == 0
    assert drawn.max() > 0


def test_no_people_no_change():
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    assert np.array_equal(draw_poses(image, []), image)


def test_low_scores_are_not_drawn_and_middling_ones_faint():
    limb = {"left_knee": (60.0, 50.0), "left_ankle": (200.0, 50.0)}
    assert draw_poses(_black(), [_pose(limb, score=0.2)], style=BARE).max() == 0
    faint = draw_poses(_black(), [_pose(limb, score=0.4)], style=BARE)[50, 130].astype(int)
    full = draw_poses(_black(), [_pose(limb, score=0.9)], style=BARE)[50, 130].astype(int)
    assert (faint < 0.7 * full).all()
    assert (faint > 0.2 * full).all()


def test_a_limb_needs_both_ends():
    assert draw_poses(_black(), [_pose({"left_knee": (60, 50)})], style=BARE).max() == 0


def test_interpolated_limbs_are_dashed_and_thinner():
    limb = {"left_knee": (40.0, 100.0), "left_ankle": (280.0, 100.0)}
    solid = draw_poses(_black(), [_pose(limb)], style=BARE)
    dashed = draw_poses(_black(), [_pose(limb, interpolated=True)], style=BARE)
    assert solid[100, 40:281].any(axis=1).all()
    on = np.asarray(dashed[100, 40:281].any(axis=1))
    assert int((np.diff(on.astype(int)) == 1).sum()) >= 3
    assert on[0]
    assert on[-1]
    assert dashed.any(axis=(1, 2)).sum() < solid.any(axis=(1, 2)).sum()


def test_widths_follow_picture_and_person():
    def width(height_px: int, part: float, style=BARE) -> int:
        size = (height_px * 4 // 3, height_px)
        box = (0, 0, 10, part * height_px)
        limb = {"left_knee": (10.0, height_px / 2), "left_ankle": (size[0] - 10.0, height_px / 2)}
        return int(draw_poses(_black(*size), [_pose(limb, box=box)], style=style)[:, size[0] // 2].any(axis=1).sum())

    assert 1 <= width(240, 0.1) <= 3
    assert width(360, 0.5) < width(1080, 0.5) < width(2160, 0.5)
    assert width(1080, 0.1) < width(1080, 0.9)
    bold, thin = (OverlayStyle(f, 0.0, has_outline=False, has_boxes=False, has_labels=False) for f in (1.8, 0.5))
    assert width(1080, 0.5, thin) < width(1080, 0.5) < width(1080, 0.5, bold)


def test_boxes_and_labels_have_the_persons_colour():
    style = OverlayStyle(has_outline=False)
    image = draw_poses(_black(), [_pose({}, track_id=4)], style=style)
    # A thin line is a little see-through.
    for x in (40, 280):
        assert image[120, x].astype(int) == pytest.approx(list(person_colour(4)), abs=25)
    assert image[12, 42].tolist() == list(person_colour(4))  # the label's background, above the box
    assert person_colour(4) != person_colour(5)


@pytest.mark.parametrize("box", [(-50, -50, 20, 30), (300, 230, 500, 400), (0, 0, 320, 240)])
def test_labels_stay_inside_the_picture(box):
    image = draw_poses(_black(), [_pose({}, box=box, track_id=12345)], style=OverlayStyle())
    colour = np.array(person_colour(12345))
    rows, columns = np.where((image == colour).all(axis=2))
    assert len(rows) > 100
    assert np.ptp(columns) >= 20


def test_text_is_readable_on_any_colour():
    for background in ((240, 228, 66), (0, 0, 80), (255, 255, 255)):
        canvas = _black()
        draw_text(canvas, "17", (20, 60), text_px=20, background=background)
        inside = canvas[45:50, 22:60].reshape(-1, 3).astype(int)
        assert (inside == background).all(axis=1).any()
        contrast = np.abs(inside - background).sum(axis=1).max()
        assert contrast > 250


def test_wild_coordinates_do_no_harm():
    points = {"left_knee": (-1e9, 50.0), "left_ankle": (1e9, 50.0), "nose": (1e20, -1e20), "left_hip": (-500.0, -500.0)}
    pose = _pose(points, box=(np.nan, 0, 10, 10))
    for style in OVERLAY_STYLES.values():
        image = draw_poses(_black(), [pose], style=style)
        assert image.shape == (240, 320, 3)


def test_a_pose_without_any_point_or_box_is_fine():
    assert draw_poses(_black(), [_pose({}, box=None)]).max() == 0


def test_the_skeleton_style_has_a_black_background():
    image = np.full((240, 320, 3), 200, np.uint8)
    drawn = draw_poses(image, [_pose({"left_knee": (60, 120), "left_ankle": (200, 120)})], style=get_style("skeleton"))
    assert drawn[230, 310].tolist() == [0, 0, 0]
    assert drawn[120, 130].tolist() == list(SIDE_COLOURS["left"])


def test_styles_are_found_by_name():
    assert {"default", "thin", "bold", "skeleton"} <= set(OVERLAY_STYLES)
    with pytest.raises(ConfigError, match=r"unknown overlay style 'pretty' \(one of default"):
        get_style("pretty")
    with pytest.raises(ConfigError, match="line_scale 0"):
        OverlayStyle(line_scale=0)
