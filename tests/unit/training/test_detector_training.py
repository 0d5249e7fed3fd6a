"""The detector's training: targets, losses, augmentation, resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posecli.encoder import EncoderConfig
from posecli.errors import ConfigError
from posecli.formats.ground_truth import read_ground_truth
from posecli.people.detector import create_detector
from posecli.people.personnet import STRIDE, PersonNet, PersonNetConfig, find_people
from posecli.records import Detections, Frame
from posecli.training.detector.augment import Example, make_example
from posecli.training.detector.calibration import fit_calibration
from posecli.training.detector.data import Picture, is_group, load_pictures
from posecli.training.detector.initialise import initialise_encoder
from posecli.training.detector.loop import DetectorStep, DetectorTrainer, train_detector
from posecli.training.detector.loss import box_loss, centre_loss, generalised_iou, make_targets
from posecli.training.detector.recipe import (
    BoxAugmentConfig,
    BoxDataConfig,
    DetectorRecipe,
    ScheduleConfig,
    read_detector_recipe,
)
from posecli.weights import load_weights, save_weights

TINY = PersonNetConfig(
    EncoderConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), out_channels=16, stem_channels=8), 16, (2,)
)
SHIPPED = Path(__file__).resolve().parents[3] / "posecli" / "training" / "recipes" / "personnet.toml"


def example(
    boxes: list[list[float]], *, ignored: list[bool] | None = None, unlabelled: list[list[float]] | None = None
) -> Example:
    return Example(
        np.zeros((96, 128, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(boxes), np.float32),
        np.array(ignored or [False] * len(boxes), np.bool_),
        np.array(unlabelled or [], np.float32).reshape(-1, 4),
    )


def bright_picture(rng: np.random.Generator) -> Picture:
    """Dark, with one bright upright rectangle: the simplest person."""
    image = rng.integers(0, 40, (96, 96, 3), dtype=np.uint8)
    x, y = int(rng.integers(5, 60)), int(rng.integers(5, 40))
    image[y : y + 45, x : x + 22] = rng.integers(200, 256, (45, 22, 3))
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    box = np.array([[x - 0.5, y - 0.5, x + 21.5, y + 44.5]], np.float32)
    return Picture((image, half), box, np.zeros(1, np.bool_), True, 1.0)


def test_targets_decode_to_the_boxes_they_were_made_of() -> None:
    boxes = [[10.0, 5.0, 40.0, 80.0], [60.5, 30.0, 120.0, 60.0], [90.0, 70.0, 100.0, 92.0]]
    targets = make_targets([example(boxes)])
    logits = torch.logit(targets.centre.clamp(1e-4, 1 - 1e-4))
    [(found, _)] = find_people(logits, targets.boxes, min_score=0.99, max_people=10)
    assert sorted(found.tolist()) == boxes
    assert centre_loss(torch.where(targets.centre >= 1.0, 20.0, -20.0), targets) < 1e-3
    assert box_loss(targets.boxes, targets) < 1e-5


def test_ignored_people_and_unlabelled_surroundings_teach_nothing() -> None:
    targets = make_targets([example([[8, 8, 40, 40], [64, 8, 120, 90]], ignored=[False, True])])
    assert targets.centre.sum() > 0
    assert targets.centre[0, :, 8:].sum() == 0  # the ignored one is no centre ...
    assert (targets.centre_weight[0, 1:11, 8:15] == 0).all()  # ... and no background
    assert targets.centre_weight[0, 2, 2] == 1
    partly = make_targets([example([[8, 8, 40, 40]], unlabelled=[[-0.5, -0.5, 99.5, 95.5]])])
    assert partly.centre_weight[0, 8, 8] == 0
    assert partly.centre_weight[0, 2, 2] == 1
    assert partly.centre_weight[0, 8, 14] == 1  # the border around the picture is known


def test_box_weights_sum_over_cells_in_proportion() -> None:
    one = make_targets([example([[8, 8, 100, 90]])])
    rough = make_targets([replace(example([[8, 8, 100, 90]]), box_weights=np.array([0.25], np.float32))])
    assert (one.box_weight > 0).sum() > 9
    torch.testing.assert_close(rough.box_weight, one.box_weight * 0.25)


def test_losses_of_a_picture_without_people_are_finite() -> None:
    targets = make_targets([example([])])
    boxes = torch.zeros(1, 4, 96 // STRIDE, 128 // STRIDE, requires_grad=True)
    loss = centre_loss(torch.full((1, 12, 16), -3.0), targets) + box_loss(boxes, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert box_loss(boxes, targets) == 0


def test_generalised_iou_against_hand_values() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    torch.testing.assert_close(generalised_iou(a, b), torch.tensor([1 / 3, -1 / 3]))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("side", [96, 256])
def test_boxes_move_with_the_pixels(count: int, side: int) -> None:
    rng = np.random.default_rng(count)
    config = BoxAugmentConfig(colour=0.0, blur=0.0, greyscale=0.0, min_side_px=4.0, scale=(0.3, 1.5))
    num_checked = 0
    for _ in range(20):
        made = make_example([bright_picture(rng) for _ in range(count)], config, side_px=side, rng=rng)
        assert made.image.shape == (side, side, 3)
        for box, is_ignored in zip(made.boxes, made.is_ignored, strict=True):
            low, high = np.rint(box[:2] + 0.5).astype(int), np.rint(box[2:] + 0.5).astype(int)
            if is_ignored or (high - low).min() < 8:
                continue
            assert (
                made.image[low[1] + 2 : high[1] - 2, low[0] + 2 : high[0] - 2].min() > 120
            )  # bright throughout inside
            for beyond in (
                made.image[low[1] : high[1], max(low[0] - 4, 0) : max(low[0] - 2, 0)],
                made.image[high[1] + 2 : high[1] + 4],
            ):
                assert beyond.size == 0 or np.median(beyond) < 120  # dark or grey just outside
            num_checked += 1
    assert num_checked > 10


def test_groups_are_boxes_around_many() -> None:
    members = [[i * 10, 0, i * 10 + 9, 20] for i in range(4)]
    boxes = np.array([[0, 0, 40, 21], *members, [100, 0, 140, 21]], np.float32)
    assert is_group(boxes, 4).tolist() == [True, False, False, False, False, False]
    assert is_group(boxes, 5).tolist() == [False] * 6
    assert is_group(np.zeros((0, 4), np.float32), 4).shape == (0,)


def write_set(root: Path) -> BoxDataConfig:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for i in range(1, 9):
        picture = bright_picture(rng)
        cv2.imwrite(str(root / "images" / f"{i}.png"), picture.images[0][..., ::-1])
        x0, y0, x1, y1 = picture.boxes[0].tolist()
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 96})
        box = [x0, y0, x1 - x0, y1 - y0]
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": int(i == 3), "bbox": box, "area": box[2] * box[3]}
        )
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "train.json").write_text(json.dumps(document))
    return BoxDataConfig("train.json", "images")


def test_pictures_are_read_with_holdout_and_crowds(tmp_path: Path) -> None:
    config = write_set(tmp_path)
    assert len(load_pictures(config, tmp_path)) == 8
    kept = load_pictures(replace(config, holdout_modulo=4, box_weight=0.5, has_all_people=False), tmp_path)
    assert len(kept) == 6  # 4 and 8 are held out
    assert [bool(picture.is_ignored[0]) for picture in kept] == [False, False, True, False, False, False]
    assert kept[0].images[1].shape == (48, 48, 3)
    assert (kept[0].box_weight, kept[0].has_all_people) == (0.5, False)


def tiny_recipe(steps: int) -> DetectorRecipe:
    schedule = ScheduleConfig(
        steps=steps, sizes_px=(96,), pixels_per_step=6 * 96 * 96, learning_rate=1e-2, warmup_steps=5, precision="fp32"
    )
    return DetectorRecipe(
        "tiny", schedule, (BoxDataConfig("train.json", "images"),), network=TINY, seed=1, ema_decay=0.9
    )


def collect(trainer: DetectorTrainer) -> list[DetectorStep]:
    steps: list[DetectorStep] = []
    trainer.run(steps.append)
    return steps


def test_training_learns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = collect(DetectorTrainer(tiny_recipe(40), [[bright_picture(rng) for _ in range(16)]], tmp_path))
    first, last = steps[:5], steps[-5:]
    assert sum(s.centre_loss for s in last) < 0.7 * sum(s.centre_loss for s in first)
    assert sum(s.box_loss for s in last) < 0.7 * sum(s.box_loss for s in first)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [[bright_picture(rng) for _ in range(4)]]
    whole = DetectorTrainer(tiny_recipe(6), pictures, tmp_path / "whole").run(lambda step: None)

    class Interrupted(Exception):
        pass

    def stop_after_three(step: DetectorStep) -> None:
        if step.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        DetectorTrainer(tiny_recipe(6), pictures, tmp_path / "parts", checkpoint_every=3).run(stop_after_three)
    resumed = DetectorTrainer(tiny_recipe(6), pictures, tmp_path / "parts")
    assert resumed.step == 3
    for name, value in resumed.run(lambda step: None).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    with pytest.raises(ConfigError, match="another recipe"):
        DetectorTrainer(tiny_recipe(7), pictures, tmp_path / "parts")


def test_encoder_comes_from_pose_weights(tmp_path: Path) -> None:
    donor, model = PersonNet(TINY), PersonNet(TINY)
    stem, head = "encoder.stem.0.conv.weight", "centre.0.conv.weight"
    tensors = {
        f"network.{name}": value + 1 for name, value in donor.state_dict().items() if name.startswith("encoder.")
    }
    torch.save({"averaged": tensors}, tmp_path / "checkpoint.pt")
    assert initialise_encoder(model, tmp_path / "checkpoint.pt") > 30
    torch.testing.assert_close(model.state_dict()[stem], donor.state_dict()[stem] + 1)
    assert not torch.equal(model.state_dict()[head], donor.state_dict()[head] + 1)
    path = tmp_path / "other.safetensors"
    save_weights(path, {"encoder.stem.0.conv.weight": torch.zeros(1)}, kind="pose", config={})
    with pytest.raises(ConfigError, match="does not fit"):
        initialise_encoder(model, path)


def test_recipe_and_init_must_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="initialise_encoder_from"):
        DetectorTrainer(tiny_recipe(1), [[bright_picture(rng)]], tmp_path, init=tmp_path / "x.pt")


def test_a_recipe_becomes_a_detector(tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(
        'name = "tiny"\n[schedule]\nsteps = 2\nsizes_px = [64]\npixels_per_step = 8192\n'
        '[[data]]\nannotations = "train.json"\nimages = "images"\n'
        "[network]\nhead_channels = 8\ncontext_dilations = [2]\n"
        "[network.encoder]\nwidths = [8, 8, 8, 8]\ndepths = [1, 1, 1, 1]\nout_channels = 8\nstem_channels = 8\n"
    )
    path = train_detector(tmp_path / "recipe.toml", tmp_path / "data", tmp_path / "run")
    loaded = load_weights(path)
    assert (loaded.kind, loaded.metadata["steps"], loaded.metadata["num_pictures"]) == ("detector", 2, [8])
    [found] = create_detector("embedded", weights=str(path)).detect([Frame(0, 0, 0.0, np.zeros((50, 90, 3), np.uint8))])
    assert found.frame_index == 0


def test_the_shipped_recipe_parses_and_typos_do_not(tmp_path: Path) -> None:
    recipe = read_detector_recipe(SHIPPED)
    assert recipe.name == "personnet"
    assert sum(data.holdout_modulo == 5 for data in recipe.data) == 1
    path = tmp_path / "typo.toml"
    path.write_text(SHIPPED.read_text().replace("share =", "shaer =", 1))
    with pytest.raises(ConfigError, match=r"typo\.toml.*shaer"):
        read_detector_recipe(path)
    with pytest.raises(ConfigError, match="multiples of 32"):
        ScheduleConfig(steps=1, sizes_px=(100,))


def test_calibrated_scores_are_how_often_boxes_are_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config = write_set(tmp_path)
    truth = read_ground_truth(tmp_path / config.annotations)
    found = {}
    logits = rng.normal(-1.0, 1.0, 4000)
    is_right = rng.random(4000) < 1 / (1 + np.exp(-(3.0 * logits + 1.5)))  # the law to be found again
    for i in range(4000):
        person = truth.boxes[i % 8]
        box = person if is_right[i] else person + 200
        found[i] = Detections(i, box[None], np.array([1 / (1 + np.exp(-logits[i]))], np.float32))
    many = replace(truth, images=tuple(replace(truth.images[i % 8], image_id=i) for i in range(4000)))
    many = replace(many, image_ids=np.arange(4000), boxes=np.tile(truth.boxes, (500, 1)))
    scale, shift = fit_calibration(found, many)
    assert scale == pytest.approx(3.0, abs=0.3)
    assert shift == pytest.approx(1.5, abs=0.3)
    with pytest.raises(ConfigError, match="not enough"):
        fit_calibration({}, truth)
