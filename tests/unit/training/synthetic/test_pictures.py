"""Single pictures of crowds and of nobody: labels that fit, the same whoever renders them, and work that can be continued."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError, FormatError
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.training.synthetic.assets import AssetPaths, Assets
from posecli.training.synthetic.clip_scene import ClipConfig, stage_clip
from posecli.training.synthetic.labels import OUTSIDE
from posecli.training.synthetic.pictures import (
    PictureConfig,
    RenderedPicture,
    _is_drawable,
    render_picture,
    render_pictures,
)
from posecli.training.synthetic.rotations import about_y

SMALL = PictureConfig((128, 96), (0, 3))
SEED = 5


def pictures(assets: Assets, people: tuple[int, int], count: int) -> list[RenderedPicture]:
    return [render_picture(assets, PictureConfig((128, 96), people), seed=SEED, index=k) for k in range(count)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def rendered(asset_paths: AssetPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    render_pictures(asset_paths, folder, SMALL, count=6, seed=SEED)
    return folder


@pytest.fixture(scope="module")
def truth(rendered: Path) -> GroundTruth:
    return read_ground_truth(rendered / "train.json")


def test_nobody_is_nobody(assets: Assets) -> None:
    for picture in pictures(assets, (0, 0), 4):
        assert picture.people == ()
        assert picture.image.shape == (96, 128, 3)


def test_somebody_is_seen_and_the_picture_shows_it(assets: Assets) -> None:
    """Boxes lie in the picture, around what is seen, and keypoints that are seen lie in or near the box."""
    for picture in pictures(assets, (1, 4), 8):
        assert 1 <= len(picture.people) <= 4
        for person in picture.people:
            assert person.box is not None
            assert (person.box >= -0.5).all()
            assert (person.box <= [127.5, 95.5, 127.5, 95.5]).all()
            assert 12 <= person.area_px <= np.prod(person.box[2:] - person.box[:2]) + 1e-3
            seen = person.keypoints[person.visibility == 2]
            assert (seen >= person.box[:2] - 4).all()
            assert (seen <= person.box[2:] + 4).all()


def test_some_are_cut_by_the_edge_and_sizes_differ(assets: Assets) -> None:
    people = [person for picture in pictures(assets, (1, 3), 16) for person in picture.people]
    is_cut = [bool((person.visibility == OUTSIDE).any()) for person in people]
    assert 0 < sum(is_cut) < len(people)
    heights = [float(person.box[3] - person.box[1]) for person in people if person.box is not None]
    assert max(heights) > 80
    assert min(heights) < 24


def test_the_labels_fit_the_pictures(rendered: Path, truth: GroundTruth) -> None:
    assert [image.file_name for image in truth.images] == [f"{k:06d}.jpg" for k in range(1, 7)]
    for image in truth.images:
        picture = cv2.imread(str(rendered / "images" / image.file_name))
        assert picture is not None
        assert picture.shape == (image.height_px, image.width_px, 3) == (96, 128, 3)
    assert len(truth) > 0
    assert not truth.is_crowd.any()
    assert len(truth.labelled_points) == 19
    sheet = cv2.imread(str(rendered / "preview.png"))
    assert sheet is not None
    assert sheet.shape == (600, 1600, 3)
    assert sheet[:300, :400].std() > 5


def test_the_people_are_those_rendered(assets: Assets, truth: GroundTruth) -> None:
    rows = truth.rows_by_image()
    for index, image in enumerate(truth.images):
        people = render_picture(assets, SMALL, seed=SEED, index=index).people
        boxes = [person.box for person in people if person.box is not None]
        expected = np.array(boxes, np.float32).reshape(-1, 4)
        np.testing.assert_allclose(truth.boxes[rows[image.image_id]], expected, atol=0.011)


def test_work_goes_on_where_it_stopped(asset_paths: AssetPaths, rendered: Path, tmp_path: Path) -> None:
    """The same files in the end, byte for byte; what is there is not touched."""
    reports: list[tuple[int, int]] = []
    render_pictures(asset_paths, tmp_path, SMALL, count=2, seed=SEED)
    before = (tmp_path / "images" / "000001.jpg").stat().st_mtime_ns
    (tmp_path / "labels" / "000002.json").unlink()
    render_pictures(asset_paths, tmp_path, SMALL, count=6, seed=SEED, report=lambda *at: reports.append(at))
    assert reports == [(done, 6) for done in range(1, 7)]
    assert (tmp_path / "images" / "000001.jpg").stat().st_mtime_ns == before
    assert files_of(tmp_path) == files_of(rendered)


def test_the_number_of_workers_does_not_matter(asset_paths: AssetPaths, rendered: Path, tmp_path: Path) -> None:
    render_pictures(asset_paths, tmp_path, SMALL, count=6, seed=SEED, num_workers=2)
    assert files_of(tmp_path) == files_of(rendered)


def test_other_pictures_are_not_mixed_in(asset_paths: AssetPaths, rendered: Path) -> None:
    before = files_of(rendered)
    with pytest.raises(ConfigError, match="seed differ"):
        render_pictures(asset_paths, rendered, SMALL, count=6, seed=SEED + 1)
    with pytest.raises(ConfigError, match="people differ"):
        render_pictures(asset_paths, rendered, PictureConfig((128, 96), (0, 2)), count=6, seed=SEED)
    assert files_of(rendered) == before


def test_a_damaged_label_is_told(asset_paths: AssetPaths, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "000001.json").write_text("{}")
    with pytest.raises(FormatError, match="000001.json: damaged"):
        render_pictures(asset_paths, tmp_path, SMALL, count=1, seed=SEED)


def test_sizes_differ_by_default(assets: Assets) -> None:
    shapes = {render_picture(assets, PictureConfig(people=(0, 0)), seed=SEED, index=k).image.shape for k in range(6)}
    assert len(shapes) > 1


@pytest.mark.parametrize(("people", "size"), [((3, 2), None), ((-1, 2), None), ((0, 21), None), ((0, 1), (640, 20))])
def test_what_makes_no_sense_is_refused(people: tuple[int, int], size: tuple[int, int] | None) -> None:
    with pytest.raises(ConfigError):
        PictureConfig(size, people)


def test_who_is_behind_the_camera_is_not_drawn(assets: Assets) -> None:
    """Shading reads beyond the picture for a body of which nothing is before the camera: such scenes are not rendered."""
    scene = stage_clip(assets, ClipConfig(0.2, 30.0, (128, 96), (1, 1)), np.random.default_rng(1))
    assert _is_drawable(scene, 0)
    turned = replace(scene.cameras[0], rotation=scene.cameras[0].rotation @ about_y(np.pi))
    assert not _is_drawable(replace(scene, cameras=(turned,) * len(scene.cameras)), 0)
