"""Windows and their labels: exact, repeatable, stored and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError, FormatError
from posecli.pose.heads import HEAD_POINTS
from posecli.skeletons import POSECLI19
from posecli.training.synthetic import rendering
from posecli.training.synthetic.actor import Actor, make_actor, prop_body
from posecli.training.synthetic.appearance import random_look
from posecli.training.synthetic.assets import AssetPaths, Assets, open_assets
from posecli.training.synthetic.avatar import Avatar
from posecli.training.synthetic.background import Wall
from posecli.training.synthetic.camera import Camera, look_at
from posecli.training.synthetic.labels import HIDDEN, OUTSIDE, VISIBLE, frame_truth
from posecli.training.synthetic.mesh import ball_mesh, box_mesh
from posecli.training.synthetic.motion import BodyMotion
from posecli.training.synthetic.occluders import Cover, Prop
from posecli.training.synthetic.rendering import render_windows
from posecli.training.synthetic.scene import Rendered, Scene, render_frame
from posecli.training.synthetic.shading import Light
from posecli.training.synthetic.shards import RenderedWindows, count_windows, shard_name, write_shard
from posecli.training.synthetic.split import (
    TEST_AVATARS,
    TEST_ENVIRONMENTS,
    TEST_MOTIONS,
    choose_split,
)
from posecli.training.synthetic.textures import stack_textures
from posecli.training.synthetic.window import STYLES, RenderedWindow, WindowStyle, render_window

GREY = stack_textures([np.full((8, 8, 4), 200, np.uint8)])


def front_camera() -> Camera:
    """Before a person at the origin, who looks at it."""
    view = look_at((0, 1, 4), (0, 1, 0))
    return replace(view, focal_px=200.0, centre=np.array([79.5, 99.5]), size_wh=(160, 200))


def standing(avatar: Avatar, place: tuple[float, float, float] = (0, 0, 0), count: int = 1) -> Actor:
    motion = BodyMotion(np.tile(np.eye(3), (count, 24, 1, 1)), np.tile(avatar.rig.joints[0], (count, 1)))
    look = random_look(avatar, np.random.default_rng(0), photograph=None)
    actor = make_actor(avatar, look, motion, floor=0.0, kind="recorded")
    actor.show(0.001)
    actor.move(np.array(place, np.float64))
    return actor


def scene_of(
    *actors: Actor, covers: tuple[Cover, ...] = (), things: tuple[Prop, ...] = (), exposures: int = 1
) -> Scene:
    soft = np.zeros((9, 3), np.float32)
    soft[0] = 0.5
    up = np.array([0, 1, 0], np.float32)
    view = front_camera()
    return Scene(
        actors=actors,
        things=tuple(prop_body(prop, range(len(prop.matrices))) for prop in things),
        cameras=(view,),
        backdrop=Wall(np.full((200, 160, 3), 90, np.uint8), view, has_ground=False),
        light=Light(soft, up, np.zeros(3, np.float32), np.ones(1, np.float32)),
        shadow_strength=0.5,
        covers=covers,
        num_exposures=exposures,
    )


def visibility(scene: Scene, row: int = 0) -> dict[str, int]:
    truth = frame_truth(scene, 0, render_frame(scene, 0))[row]
    return dict(zip(POSECLI19.keypoint_names, truth.visibility.tolist(), strict=True))


def own_mask(rendered: Rendered, number: int) -> np.ndarray:
    return rendered.buffer.owner == number


def test_keypoints_lie_in_the_pixel_where_their_place_is_drawn(avatar: Avatar) -> None:
    """A small ball at a keypoint: the middle of its picture is the keypoint, to a twentieth of a pixel."""
    actor = standing(avatar)
    wrist = actor.points[0, POSECLI19.index("left_wrist")]
    ball = ball_mesh(np.full(3, 0.7, np.float32), GREY, rings=60, columns=90)  # as large as to hide the hand
    matrix = np.concatenate([np.eye(3), wrist[:, None]], axis=1)[None, None].astype(np.float32)
    view = replace(front_camera(), position=wrist + np.array([0, 0, 4]), centre=np.array([71.3, 94.8]))
    scene = replace(scene_of(actor, things=(Prop(ball, matrix),)), cameras=(view,))
    rendered = render_frame(scene, 0)
    rows, columns = np.nonzero(own_mask(rendered, 2))
    middle = (np.array([columns.mean(), rows.mean()]) + 0.5) / rendered.factor - 0.5
    keypoint = frame_truth(scene, 0, rendered)[0].keypoints[POSECLI19.index("left_wrist")]
    assert middle == pytest.approx(keypoint, abs=0.05)


def test_a_person_seen_from_the_front(avatar: Avatar) -> None:
    scene = scene_of(standing(avatar))
    rendered = render_frame(scene, 0)
    truth = frame_truth(scene, 0, rendered)[0]
    left, right = (truth.keypoints[POSECLI19.index(f"{side}_shoulder")] for side in ("left", "right"))
    assert left[0] > 79.5 > right[0]  # facing the camera, its left is on our right
    seen = visibility(scene)
    assert {seen[name] for name in ("left_wrist", "left_knee", "right_hip", "neck", "left_shoulder")} == {VISIBLE}
    rows, columns = np.nonzero(own_mask(rendered, 1))
    assert truth.box is not None
    assert truth.box[:2] == pytest.approx([columns.min() / 2 - 0.5, rows.min() / 2 - 0.5])
    assert truth.box[2:] == pytest.approx([(columns.max() + 1) / 2 - 0.5, (rows.max() + 1) / 2 - 0.5])
    assert truth.area_px == pytest.approx(len(rows) / 4)
    depth = truth.points_mm[:, 2]
    assert depth == pytest.approx(np.full(19, 4000), abs=250)


def test_from_behind_the_face_is_hidden(avatar: Avatar) -> None:
    scene = scene_of(standing(avatar))
    behind = replace(look_at((0, 1, -4), (0, 1, 0)), focal_px=200.0, centre=np.array([79.5, 99.5]), size_wh=(160, 200))
    scene = replace(scene, cameras=(behind,), backdrop=replace(scene.backdrop, taken_by=behind))  # type: ignore[type-var]
    seen = visibility(scene)
    assert {seen[name] for name in ("nose", "left_eye", "right_eye")} == {HIDDEN}
    assert seen["left_elbow"] == VISIBLE


def test_what_stands_or_hangs_before_a_point_hides_it(avatar: Avatar) -> None:
    near = standing(avatar, (0, 0, 1.0))
    hidden = visibility(scene_of(standing(avatar), near))
    assert {hidden[name] for name in ("left_hip", "right_knee", "neck")} == {HIDDEN}
    wall = box_mesh(np.array([2, 1.0, 0.1], np.float32), GREY)
    matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0.3], [0, 0, 1, 0.8]], np.float32)[None, None]
    behind_wall = visibility(scene_of(standing(avatar), things=(Prop(wall, matrix),)))
    assert (behind_wall["left_ankle"], behind_wall["left_shoulder"]) == (HIDDEN, VISIBLE)
    curtain = Cover(
        np.array([[-1, -1], [200, -1], [200, 82], [-1, 82]], float), np.zeros(2), np.zeros((200, 160, 3), np.uint8)
    )
    scene = scene_of(standing(avatar), covers=(curtain,))
    covered = visibility(scene)
    assert (covered["neck"], covered["left_knee"]) == (HIDDEN, VISIBLE)
    box = frame_truth(scene, 0, render_frame(scene, 0))[0].box
    assert box is not None
    assert box[1] == pytest.approx(82, abs=1.5)


def test_points_beyond_the_edge_are_outside_and_people_beyond_it_have_no_box(avatar: Avatar) -> None:
    half = visibility(scene_of(standing(avatar, (0, -1.3, 0))))
    assert (half["left_ankle"], half["nose"]) == (OUTSIDE, VISIBLE)
    scene = scene_of(standing(avatar, (30.0, 0, 0)), standing(avatar))
    truth = frame_truth(scene, 0, render_frame(scene, 0))
    assert truth[0].box is None
    assert (truth[0].visibility == OUTSIDE).all()
    assert truth[1].box is not None


def test_a_long_exposure_blurs_what_moves_and_keeps_what_rests(avatar: Avatar) -> None:
    sharp, moving = standing(avatar, count=1), standing(avatar, count=5)
    moving.body.matrices[..., 0, 3] += np.linspace(-0.15, 0.15, 5, dtype=np.float32)[:, None]
    one = render_frame(scene_of(sharp), 0)
    long = render_frame(scene_of(moving, exposures=5), 0)
    assert (one.factor, long.factor) == (2, 1)
    edges = [np.abs(np.diff(r.image[60:160].astype(float), axis=1)).max() for r in (one, long)]
    assert edges[1] < 0.6 * edges[0]
    resting = render_frame(scene_of(standing(avatar, count=5), exposures=5), 0)
    assert np.abs(resting.image.astype(float) - one.image).mean() < 2.5
    keypoints = [
        frame_truth(s, 0, render_frame(s, 0))[0].keypoints
        for s in (scene_of(sharp), scene_of(standing(avatar, count=5), exposures=5))
    ]
    assert keypoints[0] == pytest.approx(keypoints[1])


@pytest.fixture(scope="module")
def windows(asset_paths: AssetPaths) -> list[RenderedWindow]:
    assets = open_assets(asset_paths)
    return [render_window(assets, seed=5, index=index) for index in range(12)]


def test_windows_have_what_they_promise(windows: list[RenderedWindow]) -> None:
    for window in windows:
        height, width = window.images.shape[1:3]
        assert window.images.shape == (5, height, width, 3)
        assert window.images.dtype == np.uint8
        assert window.keypoints.shape == (5, 19, 2)
        assert window.boxes.shape == (5, 4)
        assert np.isin(window.visibility, [0, 1, 2]).all()
        assert (window.boxes[:, 2:] > window.boxes[:, :2]).all()
        assert (window.boxes >= -0.5).all()
        assert (window.boxes <= np.array([width, height, width, height]) - 0.5).all()
        inside = (window.keypoints > -0.5).all(axis=-1) & (window.keypoints < np.array([width, height]) - 0.5).all(
            axis=-1
        )
        assert np.array_equal(inside, window.visibility != OUTSIDE)
        assert (window.visibility[2] == VISIBLE).sum() >= 5
        assert 10 <= window.fps <= 60
        assert max(height, width) < 620


def test_keypoints_are_the_picture_of_the_points_in_space(windows: list[RenderedWindow]) -> None:
    for window in windows:
        rays = window.points_mm[2, :, :2] / window.points_mm[2, :, 2:]
        design = np.column_stack([rays, np.ones(19)])
        fit, *_ = np.linalg.lstsq(design, window.keypoints[2], rcond=None)
        assert design @ fit == pytest.approx(window.keypoints[2], abs=0.05)
        assert fit[0, 0] == pytest.approx(fit[1, 1], rel=1e-3)  # one focal length for both


def test_visible_points_lie_in_or_at_the_box(windows: list[RenderedWindow]) -> None:
    for window in windows:
        slack = 0.08 * float((window.boxes[2, 2:] - window.boxes[2, :2]).max()) + 2
        seen = window.keypoints[2][window.visibility[2] == VISIBLE]
        assert (seen > window.boxes[2, :2] - slack).all()
        assert (seen < window.boxes[2, 2:] + slack).all()


def test_a_window_depends_on_seed_and_index_only(asset_paths: AssetPaths, windows: list[RenderedWindow]) -> None:
    again = render_window(open_assets(asset_paths), seed=5, index=3)
    assert np.array_equal(again.images, windows[3].images)
    assert np.array_equal(again.keypoints, windows[3].keypoints)
    other = render_window(open_assets(asset_paths), seed=6, index=3)
    assert other.images.shape != again.images.shape or not np.array_equal(other.images, again.images)


def test_styles_make_windows_dark_and_covered(asset_paths: AssetPaths) -> None:
    assets = open_assets(asset_paths)
    fine = WindowStyle(long_exposure=0.0, covered=0.0, dark=0.0, soft=0.0)

    def rendered(style: WindowStyle) -> list[RenderedWindow]:
        return [render_window(assets, seed=8, index=index, style=style) for index in range(10)]

    usual, dark, covered = (rendered(style) for style in (fine, replace(fine, dark=1.0), replace(fine, covered=1.0)))
    darker = [a.images.mean() < b.images.mean() for a, b in zip(dark, usual, strict=True)]
    assert sum(darker) >= 8
    seen = [np.mean([(window.visibility == VISIBLE).mean() for window in some]) for some in (covered, usual)]
    assert seen[0] < seen[1]


def test_windows_are_stored_and_read_back(windows: list[RenderedWindow], tmp_path: Path) -> None:
    write_shard(windows[:5], tmp_path / shard_name(0))
    write_shard(windows[5:], tmp_path / shard_name(1))
    stored = RenderedWindows(tmp_path)
    assert len(stored) == 12
    assert stored.num_frames == 5
    for own, read in zip(windows, stored, strict=True):
        assert np.array_equal(read.keypoints, own.keypoints)
        assert np.array_equal(read.visibility, own.visibility)
        assert np.array_equal(read.boxes, own.boxes)
        assert np.array_equal(read.points_mm, own.points_mm)
        assert read.kind == own.kind
        assert read.fps == pytest.approx(own.fps)
        assert read.images.shape == own.images.shape
        assert np.abs(read.images.astype(float) - own.images).mean() < 9
    middle = stored.read(7, frames=[2])
    assert np.array_equal(middle.images[0], stored[7].images[2])
    assert np.array_equal(middle.keypoints, windows[7].keypoints[2:3])
    with pytest.raises(IndexError):
        stored[12]


def test_damaged_and_missing_windows_are_named(windows: list[RenderedWindow], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no rendered windows"):
        RenderedWindows(tmp_path)
    path = tmp_path / shard_name(0)
    assert count_windows(path) == 0
    write_shard(windows[:1], path)
    assert count_windows(path) == 1
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError, match=r"windows-00000\.npz: damaged"):
        RenderedWindows(tmp_path)


@pytest.fixture
def two_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "WINDOWS_PER_SHARD", 2)


@pytest.mark.usefixtures("two_a_shard")
def test_rendering_goes_on_where_it_stopped(asset_paths: AssetPaths, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    render_windows(asset_paths, tmp_path / "a", count=3, seed=1)
    render_windows(asset_paths, tmp_path / "a", count=5, seed=1, report=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]
    render_windows(asset_paths, tmp_path / "b", count=5, seed=1)
    first, second = RenderedWindows(tmp_path / "a"), RenderedWindows(tmp_path / "b")
    assert len(first) == len(second) == 5
    assert all(np.array_equal(x.images, y.images) for x, y in zip(first, second, strict=True))
    before = (tmp_path / "a" / shard_name(0)).stat().st_mtime_ns
    render_windows(asset_paths, tmp_path / "a", count=5, seed=1)
    assert (tmp_path / "a" / shard_name(0)).stat().st_mtime_ns == before


@pytest.mark.usefixtures("two_a_shard")
def test_two_processes_render_what_one_does(asset_paths: AssetPaths, tmp_path: Path) -> None:
    render_windows(asset_paths, tmp_path / "one", count=4, seed=2)
    render_windows(asset_paths, tmp_path / "two", count=4, seed=2, num_workers=2)
    pairs = zip(RenderedWindows(tmp_path / "one"), RenderedWindows(tmp_path / "two"), strict=True)
    assert all(np.array_equal(one.images, two.images) for one, two in pairs)


@pytest.mark.usefixtures("two_a_shard")
def test_windows_of_another_kind_are_not_mixed_in(asset_paths: AssetPaths, tmp_path: Path) -> None:
    render_windows(asset_paths, tmp_path, count=1, seed=1)
    with pytest.raises(ConfigError, match="seed differ"):
        render_windows(asset_paths, tmp_path, count=1, seed=2)
    with pytest.raises(ConfigError, match="hard differ"):
        render_windows(asset_paths, tmp_path, count=1, seed=1, style="hard")


def test_somebody_is_close_in_every_crowded_window(asset_paths: AssetPaths) -> None:
    assets = open_assets(asset_paths)
    crowd = [render_window(assets, seed=4, index=i, style=STYLES["crowded"]) for i in range(6)]
    usual = [render_window(assets, seed=4, index=i) for i in range(6)]

    def hidden(windows: list[RenderedWindow]) -> float:
        return float(np.mean([window.visibility[2] != 2 for window in windows]))

    assert hidden(crowd) > hidden(usual)


def test_portraits_show_heads_with_room_around(asset_paths: AssetPaths) -> None:
    assets = open_assets(asset_paths)
    portraits = [render_window(assets, seed=4, index=i, style=STYLES["portrait"]) for i in range(6)]
    for window in portraits:
        height, width = window.images.shape[1:3]
        points = window.keypoints[2][HEAD_POINTS]
        assert height == width and (window.visibility[2][HEAD_POINTS] == 2).any()
        assert np.abs(points.mean(axis=0) - [width / 2, height / 2]).max() < 0.15 * width
        assert 0.08 < np.ptp(points, axis=0).max() / width < 0.4


def test_windows_have_one_style(asset_paths: AssetPaths, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from posecli.cli.synth import app

    places = {"avatars": asset_paths.avatars, "motion": asset_paths.motions, "environments": asset_paths.environments}
    options = [text for name, path in places.items() for text in (f"--{name}", str(path))]
    result = CliRunner().invoke(app, ["windows", str(tmp_path), *options, "--count", "1", "--hard", "--crowded"])
    assert isinstance(result.exception, ConfigError)
    assert "not two of these" in str(result.exception)


def test_held_out_names() -> None:
    assert [len(names) for names in (TEST_AVATARS, TEST_MOTIONS, TEST_ENVIRONMENTS)] == [6, 20, 6]
    items = [("city", 1), ("park", 2)]
    assert choose_split(items, TEST_ENVIRONMENTS, "test", what="place") == [1]
    assert choose_split(items, TEST_ENVIRONMENTS, "train", what="place") == [2]
    with pytest.raises(ConfigError, match="neither train nor test"):
        choose_split(items, TEST_ENVIRONMENTS, "val", what="place")
    with pytest.raises(ConfigError, match="no place for the split 'test' among 1"):
        choose_split(items[1:], TEST_ENVIRONMENTS, "test", what="place")


def test_assets_that_are_not_there_are_named(asset_paths: AssetPaths, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no \*\.npz in it"):
        open_assets(replace(asset_paths, avatars=tmp_path))
    with pytest.raises(ConfigError, match="no avatar for the split 'test'"):
        open_assets(replace(asset_paths, split="test"))


def test_assets_are_read_once(assets: Assets) -> None:
    rng = np.random.default_rng(0)
    assert assets.avatar(rng) is assets.avatar(rng)
    assert assets.environment(rng) is assets.environment(rng)
