"""Packing: what comes out of the pieces trains as the original does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.errors import ConfigError, FormatError, OutputError, PoseCliError
from posecli.skeletons import POSECLI19
from posecli.training.detector.data import load_pictures
from posecli.training.detector.recipe import read_detector_recipe
from posecli.training.pack import Pack, pack_data
from posecli.training.people import Rendered
from posecli.training.recipe import read_recipe
from posecli.training.sample import Sample
from posecli.training.stills import MAX_BOX_PX, load_stills
from posecli.training.synthetic.shards import shard_name, write_shard
from posecli.training.synthetic.window import RenderedWindow

PIECE_BYTES = 400_000
POSE = """
name = "p"
network = "glsmamba-s"
[[data]]
annotations = "set/train.json"
images = "set/images"
holdout_modulo = 5
[[stages]]
name = "encoder"
part = "encoder"
steps = 1
batch_size = 1
num_frames = 1
crop_hw = [64, 32]
"""
DETECTOR = """
name = "d"
[schedule]
steps = 1
sizes_px = [64]
pixels_per_step = 8192
[[data]]
annotations = "set/train.json"
images = "set/images"
holdout_modulo = 5
group_size = 3
"""
RENDERED = '\n[[rendered]]\nfolder = "rendered"\ncount = {count}\n'

# picture size and the people's boxes, xywh: cut and scaled; cut only; two of different size; neither
SCENES: list[tuple[tuple[int, int], list[list[float]]]] = [
    ((1150, 900), [[400.3, 250.2, 220.4, 405.5]]),
    ((800, 650), [[30.5, 400.25, 90.0, 160.75]]),
    ((900, 1000), [[80.0, 150.0, 300.5, 700.25], [600.2, 380.1, 210.0, 330.0]]),
    ((160, 150), [[20.0, 15.0, 80.0, 130.0]]),
    ((700, 600), [[-12.5, 250.0, 200.0, 380.0]]),  # partly outside of the picture
    ((300, 300), [[100.0, 100.0, 60.0, 90.0]]),  # held out
    ((400, 300), []),
    ((500, 600), [[150.0, 100.0, 160.0, 420.0]]),
]
HELD_OUT, CROWDED, NOBODY = 5, 7, 6


def texture(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Smooth patches with some detail, as photographs have."""
    width, height = size_wh
    coarse = rng.integers(0, 256, (height // 12, width // 12, 3)).astype(np.float32)
    image = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC) + rng.normal(0, 4, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def person(number: int, image_id: int, box: list[float], **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    points = np.array(box[:2]) + rng.uniform(0, 1, (19, 2)) * np.array(box[2:])
    flags = np.where(np.arange(19) % 6 == 0, 0, 1 + np.arange(19) % 2)  # hidden, visible, and some without label
    rows = [[*point, int(flag)] if flag else [0, 0, 0] for point, flag in zip(points.tolist(), flags, strict=True)]
    own = {"id": number, "image_id": image_id, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
    return {**own, "keypoints": [v for row in rows for v in row], "segmentation": [[0, 0, 9, 9]], **changes}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: stills, three files of rendered windows, an asset."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "set" / "images" / "a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for image_id, (size, boxes) in enumerate(SCENES, start=0):
        image_id = image_id if image_id else 21
        name = f"a/{image_id:03d}.png"
        cv2.imwrite(str(folder / "set" / "images" / name), texture(rng, size))
        images.append({"id": image_id, "file_name": name, "width": size[0], "height": size[1], "license": 3})
        people += [person(len(people) + 1 + i, image_id, box) for i, box in enumerate(boxes)]
    few = [0.0, 0.0, 0] * 16 + [200.0, 200.0, 2] * 3
    people.append(person(90, CROWDED, [10.0, 10.0, 480.0, 80.0], iscrowd=1))
    people.append(person(91, CROWDED, [400.0, 500.0, 50.0, 60.0], keypoints=few))
    people.append(person(92, CROWDED, [400.0, 500.0, 50.0, 60.0], category_id=2))  # a dog
    names = list(POSECLI19.keypoint_names)
    categories = [{"id": 1, "name": "person", "keypoints": names}, {"id": 2, "name": "dog", "keypoints": names}]
    content = {"licenses": [{"id": 3}], "images": images, "annotations": people, "categories": categories}
    (folder / "set" / "train.json").write_text(json.dumps(content))
    (folder / "rendered").mkdir()
    (folder / "rendered" / "rendering.json").write_text('{"seed": 1}')
    for number in range(3):
        write_shard([window(10 * number + i) for i in range(2)], folder / "rendered" / shard_name(number))
    (folder / "avatars").mkdir()
    (folder / "avatars" / "one.npz").write_bytes(rng.bytes(5000))
    return folder


def window(number: int) -> RenderedWindow:
    images = np.stack([np.full((40, 30, 3), 4 * number + t, np.uint8) for t in range(5)])
    boxes = np.tile(np.array([2, 3, 20, 30], np.float32), (5, 1))
    points = np.zeros((5, 19, 2), np.float32)
    return RenderedWindow(
        images, points, np.full((5, 19), 2, np.uint8), boxes, np.zeros((5, 19, 3), np.float32), 30.0, "recorded"
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a recipe file."""

    def write(text: str) -> Path:
        path = tmp_path / f"recipe{len(list(tmp_path.glob('recipe*')))}.toml"
        path.write_text(text)
        return path

    return write


def unpack(folder: Path, target: Path) -> Path:
    for piece in sorted(folder.glob("piece-*.zip")):
        with zipfile.ZipFile(piece) as archive:
            archive.extractall(target)
    return target


def packed(recipes: list[Path], data: Path, folder: Path, **options: Any) -> tuple[Pack, Path]:
    found = pack_data(recipes, data, folder / "pieces", **{"piece_bytes": PIECE_BYTES, **options})
    return found, unpack(folder / "pieces", folder / "unpacked")


def labels(data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((data / "set" / "train.json").read_text())
    return content


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def assert_same_person(new: Sample, old: Sample) -> None:
    scale = float((old.box[2:] - old.box[:2]).max() / (new.box[2:] - new.box[:2]).max())
    assert scale == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(new.box[2:] - new.box[:2], old.box[2:] - old.box[:2], atol=0.5)
    np.testing.assert_allclose(new.box, old.box, atol=1.0)  # a second person's cut begins at another whole pixel
    np.testing.assert_array_equal(new.is_labelled, old.is_labelled)
    np.testing.assert_allclose(new.keypoints[0] - new.box[:2], old.keypoints[0] - old.box[:2], atol=0.5)
    height, width = np.minimum(new.images[0].shape[:2], old.images[0].shape[:2])
    assert np.abs(np.array(new.images[0].shape) - old.images[0].shape).max() <= 1
    # moved by what the box moved, so that only JPEG and resampling differ
    shift = (old.box[:2] - new.box[:2]).astype(np.float64)
    moved = cv2.warpAffine(new.images[0], np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (int(width), int(height)))
    difference = np.abs(moved.astype(int) - old.images[0][:height, :width])[2:-2, 2:-2]
    assert difference.mean() < 6.0


def test_stills_are_the_same_people_from_a_fraction_of_the_bytes(
    data: Path, recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    path = recipe(POSE)
    config = read_recipe(path).data[0]
    found, unpacked = packed([path], data, tmp_path)
    old, new = load_stills(config, data), load_stills(config, unpacked)
    assert len(old) == len(new) == 7
    for one, other in zip(new, old, strict=True):
        assert_same_person(one, other)
    for i in (0, 1, 4, 5, 6):  # alone in their pictures
        np.testing.assert_allclose(new[i].box, old[i].box, atol=0.01)
    assert size_bytes(unpacked) < 0.15 * size_bytes(data / "set")
    assert found.num_files == 7 == sum(piece.num_files for piece in found.pieces)
    first = cv2.imread(str(unpacked / "set" / "images" / "a" / "021.png"))
    assert first is not None
    assert max(first.shape) <= 2 * MAX_BOX_PX + 2
    image = labels(unpacked)["images"][0]
    assert (image["width"], image["height"], image["license"]) == (first.shape[1], first.shape[0], 3)


def test_nobody_else_travels(data: Path, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    _, unpacked = packed([recipe(POSE)], data, tmp_path)
    content = labels(unpacked)
    kept = {image["id"] for image in content["images"]}
    assert kept == {21, 1, 2, 3, 4, 7}
    assert {path.name for path in unpacked.rglob("*.png")} == {f"{number:03d}.png" for number in kept}
    assert [row["id"] for row in content["annotations"]] == [1, 2, 3, 4, 5, 6, 8]
    assert content["licenses"] == [{"id": 3}]
    assert not (unpacked / "rendered").exists()


def test_who_is_left_out_travels_so_that_the_recipe_still_fits(
    data: Path, recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    path = recipe(POSE.replace("holdout_modulo", "leave_out = [2, 4]\nholdout_modulo"))
    config = read_recipe(path).data[0]
    _, unpacked = packed([path], data, tmp_path)
    old, new = load_stills(config, data), load_stills(config, unpacked)
    assert len(old) == len(new) == 5
    for one, other in zip(new, old, strict=True):
        assert_same_person(one, other)


def test_detectors_keep_whole_pictures_and_their_boxes(
    data: Path, recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    path, pose = recipe(DETECTOR), recipe(POSE)
    config = read_detector_recipe(path).data[0]
    _, unpacked = packed([pose, path], data, tmp_path, piece_bytes=2_000_000)
    old, new = load_pictures(config, data), load_pictures(config, unpacked)
    assert len(old) == len(new) == 7  # those without people, too
    for one, other in zip(new, old, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.is_ignored, other.is_ignored)
        assert one.images[0].shape == other.images[0].shape
        assert np.abs(one.images[0].astype(int) - other.images[0]).mean() < 6
    assert [row["id"] for row in labels(unpacked)["annotations"]] == [1, 2, 3, 4, 5, 6, 8, 90, 91]
    stills = read_recipe(pose).data[0]
    for still, same in zip(load_stills(stills, unpacked), load_stills(stills, data), strict=True):
        np.testing.assert_array_equal(still.keypoints, same.keypoints)


def test_pieces_are_below_the_limit_and_recorded(data: Path, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    found, _ = packed([recipe(POSE)], data, tmp_path, piece_bytes=240_000, add=["avatars"])
    record = json.loads((tmp_path / "pieces" / "pack.json").read_text())
    assert len(record["pieces"]) == len(found.pieces) > 1
    for row in record["pieces"]:
        content = (tmp_path / "pieces" / row["name"]).read_bytes()
        assert len(content) == row["bytes"] <= 240_000
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
    methods = {
        info.filename: info.compress_type
        for row in record["pieces"]
        for info in members(tmp_path / "pieces" / row["name"])
    }
    assert len(methods) == 8 == sum(row["files"] for row in record["pieces"])
    assert methods["avatars/one.npz"] == zipfile.ZIP_STORED
    assert methods["set/train.json"] == zipfile.ZIP_DEFLATED
    again, _ = packed([recipe(POSE)], data, tmp_path / "again", piece_bytes=240_000, add=["avatars"])
    assert [piece.sha256 for piece in again.pieces] == [piece.sha256 for piece in found.pieces]


def test_a_file_smaller_than_its_jpeg_stays(data: Path, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    images = copy / "set" / "images" / "a"
    images.mkdir(parents=True)
    (copy / "set" / "train.json").write_text(json.dumps(labels(data)))
    for path in (data / "set" / "images" / "a").iterdir():
        image = cv2.imread(str(path))
        assert image is not None
        done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])
        assert done
        (images / path.name).write_bytes(encoded.tobytes())
    config = read_recipe(path := recipe(POSE)).data[0]
    _, unpacked = packed([path], copy, tmp_path, quality=80)
    same = [p.name for p in images.iterdir() if (q := unpacked / p.relative_to(copy)).exists() and _equal(p, q)]
    assert "003.png" in same  # needed whole
    assert "021.png" not in same  # a small part of it is smaller still
    for one, other in zip(load_stills(config, unpacked), load_stills(config, copy), strict=True):
        assert_same_person(one, other)


def members(piece: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(piece) as archive:
        return archive.infolist()


def _equal(a: Path, b: Path) -> bool:
    return a.read_bytes() == b.read_bytes()


def test_labels_added_as_they_are_keep_their_pictures_whole(
    data: Path, recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    path = recipe(POSE)
    _, unpacked = packed([path], data, tmp_path, add=["set/train.json", "set/images/a/005.png"], piece_bytes=1_000_000)
    assert _equal(unpacked / "set" / "train.json", data / "set" / "train.json")
    assert _equal(unpacked / "set" / "images" / "a" / "005.png", data / "set" / "images" / "a" / "005.png")
    config = read_recipe(path).data[0]
    for one, other in zip(load_stills(config, unpacked), load_stills(config, data), strict=True):
        np.testing.assert_array_equal(one.box, other.box)


@pytest.mark.parametrize(("count", "limit", "num_shards"), [(0, 0, 3), (3, 0, 2), (2, 0, 1), (0, 3, 2), (2, 5, 1)])
def test_rendered_windows_are_copied_from_the_first_on(
    data: Path, recipe: Callable[[str], Path], tmp_path: Path, count: int, limit: int, num_shards: int
) -> None:
    path = recipe(POSE + RENDERED.format(count=count))
    _, unpacked = packed([path], data, tmp_path, rendered_count=limit)
    shards = sorted(shard.name for shard in (unpacked / "rendered").glob("windows-*.npz"))
    assert shards == [shard_name(number) for number in range(num_shards)]
    assert all(_equal(unpacked / "rendered" / name, data / "rendered" / name) for name in shards)
    assert _equal(unpacked / "rendered" / "rendering.json", data / "rendered" / "rendering.json")
    assert len(Rendered(read_recipe(path).rendered[0], unpacked)) == (count or 2 * num_shards)


Options = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "options", "kind", "message"),
    [
        (POSE, {"piece_bytes": 9_000}, ConfigError, r"set/images/a/021\.png: .* larger than a piece of 0\.009 MB"),
        (POSE, {"piece_bytes": 4_000, "add": ["avatars"]}, ConfigError, r"avatars/one\.npz: 0\.005 MB"),
        (POSE, {"add": ["../elsewhere"]}, ConfigError, r"\.\./elsewhere: not inside the data folder"),
        (POSE, {"add": ["no-such"]}, ConfigError, "no-such: no such file or folder"),
        (POSE.replace("set/images", "elsewhere"), {}, FormatError, r"elsewhere/a/021\.png: cannot be read"),
        (POSE.replace("train.json", "absent.json"), {}, FormatError, r"absent\.json: cannot be read"),
        (POSE.replace("= 5", "= 1"), {}, FormatError, r"train\.json: no person"),
        (POSE.replace("steps", "stesp"), {}, ConfigError, "stesp"),
        (DETECTOR.replace("group", "gruop"), {}, ConfigError, "gruop_size"),
        ("nonsense", {}, ConfigError, "is not TOML"),
        (POSE + RENDERED.format(count=7), {}, ConfigError, "6 windows, the recipe wants 7"),
        (POSE + RENDERED.format(count=5), {"rendered_count": 4}, ConfigError, "wants 5 windows"),
        (POSE + RENDERED.format(count=0).replace('"rendered"', '"set"'), {}, FormatError, "no rendered windows"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    data: Path,
    recipe: Callable[[str], Path],
    tmp_path: Path,
    text: str,
    options: Options,
    kind: type[PoseCliError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        pack_data([recipe(text)], data, tmp_path / "pieces", **options)
    assert not list((tmp_path / "pieces").glob("*"))
    assert not list((tmp_path / "pieces").glob(".*"))


def test_earlier_pieces_are_replaced_only_if_wanted(data: Path, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    path, folder = recipe(POSE), tmp_path / "pieces"
    many = pack_data([path], data, folder, piece_bytes=240_000)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        pack_data([path], data, folder)
    assert len(list(folder.glob("piece-*.zip"))) == len(many.pieces) > 1
    one = pack_data([path], data, folder, overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == ["notes.txt", "pack.json", "piece-01.zip"]
    assert json.loads((folder / "pack.json").read_text())["pieces"][0]["sha256"] == one.pieces[0].sha256


def test_the_command(data: Path, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    path = recipe(
        POSE.replace('name = "p"', 'name = "p"\ninitial = "earlier.safetensors"\ninitial_encoder = "eyes.safetensors"')
    )
    arguments = ["train", "pack", str(path), "--data", str(data), "--out-dir", str(tmp_path / "pieces")]
    result = CliRunner().invoke(app, [*arguments, "--piece-mb", "0.2", "--add", "avatars", "--quality", "80"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == ["PIECE", "SIZE", "FILES", "SHA256"]
    assert "python -m zipfile -e piece-01.zip DATA" in result.stderr
    for name in ("earlier.safetensors", "eyes.safetensors"):
        assert f"{name}: a recipe starts from these weights" in result.stderr
    target = tmp_path / "elsewhere"
    unzip = [sys.executable, "-m", "zipfile", "-e", str(tmp_path / "pieces" / "piece-01.zip"), str(target)]
    subprocess.run(unzip, check=True, capture_output=True)
    assert (target / "avatars" / "one.npz").stat().st_size == 5000
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 7
    assert "--overwrite" in refused.stderr
    again = CliRunner().invoke(app, [*arguments, "--overwrite", "--json"])
    assert again.exit_code == 0, again.output
    shown = json.loads(again.stdout)
    assert shown["pieces"][0]["num_bytes"] == (tmp_path / "pieces" / "piece-01.zip").stat().st_size
    assert shown["num_files"] == 7
